"""Verdicts: a student's evidence beside the key, facet by facet."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .evidence import Evidence, Observation
from .exercise import Exercise, Facet

# (rtol, atol) by dtype: room for a right answer that adds in another order, none for a wrong one.
TOLERANCE = {
    "float64": (1e-8, 1e-10),
    "complex128": (1e-8, 1e-10),
    "float32": (1e-4, 1e-5),
    "complex64": (1e-4, 1e-5),
    "float16": (1e-2, 1e-2),
    "bfloat16": (1e-1, 1e-1),
}
EXACT = (0.0, 0.0)
MISSING: Observation = {"raises": "LookupError", "message": "no evidence"}


@dataclass(frozen=True)
class Difference:
    """The first thing in which two observations differ.

    kind: "raises", "no error", "type", "dtype", "shape", "length", "names" or "value";
    where: the path to it ("[1]", "['w'][0, 2]", or ""); yours and expected: its two sides;
    mine and theirs: the smallest observations that hold them (the whole tensor of a number).
    """

    kind: str
    where: str
    yours: str
    expected: str
    mine: Observation
    theirs: Observation


@dataclass(frozen=True)
class Misconception:
    """A named wrong answer: one sentence in each language, and the evidence it gives.

    The evidence may be made when it is first looked at: nobody looks for a right answer.
    """

    name: str
    zh: str
    en: str
    evidence: Mapping[str, Observation]


@dataclass(frozen=True)
class FacetVerdict:
    """One line of a verdict; ``blocked`` names an earlier facet that has to be mended first.

    ``unproven``: it agrees, but earns nothing until a person has looked (see `grading.claims`).
    """

    facet: Facet
    yours: Observation
    expected: Observation
    difference: Difference | None
    blocked: str | None
    points: float
    unproven: bool = False

    @property
    def passed(self) -> bool:
        return self.difference is None


@dataclass(frozen=True)
class Verdict:
    """What an answer is worth, why, and which misconception it looks like.

    Each of these is a sentence in each language, for above the table: ``note`` says why there is
    no evidence, ``doubt`` why some facets are unproven.
    """

    exercise: Exercise
    facets: tuple[FacetVerdict, ...]
    misconception: Misconception | None
    note: tuple[str, str] | None = None
    doubt: tuple[str, str] | None = None

    @property
    def points(self) -> float:
        return round(sum(facet.points for facet in self.facets), 4)

    @property
    def wrong(self) -> list[str]:
        """The facets that are wrong by themselves, not for want of another."""
        return [f.facet.name for f in self.facets if not f.passed and f.blocked is None]

    @property
    def max_points(self) -> float:
        return self.exercise.points

    @property
    def passed(self) -> bool:
        return all(facet.passed and not facet.unproven for facet in self.facets)


def judge(
    exercise: Exercise,
    evidence: Evidence,
    key: Evidence,
    misconceptions: list[Misconception] = (),
    note: tuple[str, str] | None = None,
    unproven: Collection[str] = (),
    doubt: tuple[str, str] | None = None,
) -> Verdict:
    """Compare ``evidence`` with ``key`` and give points by facet.

    A facet earns its points if it agrees with the key and so do all facets that it needs; but not
    if it is among the ``unproven``, nor one that needs these. ``note`` and ``doubt``: see Verdict.
    """
    lines: dict[str, FacetVerdict] = {}
    for facet in exercise.facets:
        yours, expected = evidence.get(facet.name, MISSING), key[facet.name]
        blocked = next((n for n in facet.needs if not _earned(lines[n])), None)
        found = difference(yours, expected)
        doubted = found is None and (
            facet.name in unproven or any(lines[n].unproven for n in facet.needs)
        )
        if doubted and blocked and lines[blocked].unproven:
            blocked = None
        earned = found is None and blocked is None and not doubted
        points = facet.points if earned else 0.0
        line = FacetVerdict(facet, yours, expected, found, blocked, points, doubted)
        lines[facet.name] = line
    verdict = Verdict(exercise, tuple(lines.values()), None, note, doubt)
    named = None if note else name_misconception(evidence, key, misconceptions, verdict.wrong)
    return replace(verdict, misconception=named)


def _earned(line: FacetVerdict) -> bool:
    return line.passed and line.blocked is None and not line.unproven


def name_misconception(
    evidence: Evidence, key: Evidence, misconceptions: list[Misconception], wrong: list[str]
) -> Misconception | None:
    """The misconception whose evidence explains one of the ``wrong`` facets; None if none does.

    Of several, the one that agrees with the evidence on most facets, right ones included.
    """

    def agrees(candidate: Misconception, name: str) -> bool:
        return alike(evidence.get(name, MISSING), candidate.evidence[name])

    # The last facet first: a candidate that is asked when looked at is then asked only once.
    explaining = [m for m in misconceptions if any(agrees(m, n) for n in reversed(wrong))]
    if len(explaining) < 2:
        return next(iter(explaining), None)
    return max(explaining, key=lambda m: sum(agrees(m, name) for name in key))


def alike(mine: Observation, theirs: Observation) -> bool:
    """Whether two wrong answers show the same: as `difference`, and the messages count."""
    return mine.get("message") == theirs.get("message") and not difference(mine, theirs)


def difference(yours: Observation, expected: Observation, where: str = "") -> Difference | None:
    """The first thing in which two observations differ; None if they agree.

    Types, dtypes and shapes must be equal, numbers within TOLERANCE of the expected dtype, nan
    equals nan. Of two exceptions the type counts, the message does not.
    """
    mine, theirs = _kind(yours), _kind(expected)
    if mine != theirs:
        kind = "raises" if mine == "raises" else "no error" if theirs == "raises" else "type"
        return Difference(kind, where, brief(yours), brief(expected), yours, expected)
    a, b = yours[mine], expected[mine]
    if mine == "tensor":
        return _tensors(yours, expected, where)
    if mine == "list":
        if len(a) != len(b):
            return Difference("length", where, str(len(a)), str(len(b)), yours, expected)
        pairs = enumerate(zip(a, b, strict=True))
        return _first(difference(x, y, f"{where}[{i}]") for i, (x, y) in pairs)
    if mine == "dict":
        if set(a) != set(b):
            mine, theirs = ", ".join(sorted(a)), ", ".join(sorted(b))
            return Difference("names", where, mine, theirs, yours, expected)
        return _first(difference(a[name], b[name], f"{where}[{name!r}]") for name in b)
    same = close(a, b, TOLERANCE["float64"]) if mine == "number" else a == b
    kind = "raises" if mine == "raises" else "value"
    if same:
        return None
    return Difference(kind, where, brief(yours), brief(expected), yours, expected)


def _kind(observation: Observation) -> str:
    return "raises" if "raises" in observation else next(iter(observation))


def _first(differences) -> Difference | None:
    return next((found for found in differences if found), None)


def _tensors(yours: Observation, expected: Observation, where: str) -> Difference | None:
    a, b = yours["tensor"], expected["tensor"]
    for kind in ("dtype", "shape"):
        if a[kind] != b[kind]:
            return Difference(kind, where, _text(a[kind]), _text(b[kind]), yours, expected)
    if a.get("omitted") or b.get("omitted"):
        return Difference("type", where, brief(yours), brief(expected), yours, expected)
    tolerance = TOLERANCE.get(b["dtype"], EXACT)
    for flat, (x, y) in enumerate(zip(a["values"], b["values"], strict=True)):
        if not close(x, y, tolerance):
            place = where + _unravel(flat, b["shape"])
            return Difference("value", place, _number(x), _number(y), yours, expected)
    return None


def close(a: Any, b: Any, tolerance: tuple[float, float]) -> bool:
    """Whether two JSON numbers agree: |a − b| ≤ atol + rtol·|b|, nan and inf only with their like.

    tolerance: (rtol, atol).
    """
    if isinstance(a, list) or isinstance(b, list):
        both = isinstance(a, list) and isinstance(b, list)
        return both and all(close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    rtol, atol = tolerance
    return abs(a - b) <= atol + rtol * abs(b)


def _unravel(flat: int, shape: list[int]) -> str:
    index = []
    for size in reversed(shape):
        flat, rest = divmod(flat, size)
        index.append(rest)
    return f"[{', '.join(map(str, reversed(index)))}]" if index else ""


def _text(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def _number(value: Any) -> str:
    if isinstance(value, list):
        return f"{_number(value[0])}{'' if str(value[1]).startswith('-') else '+'}" + (
            f"{_number(value[1])}j"
        )
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)


def brief(observation: Observation, room: int = 72) -> str:
    """An observation in one short line, for a table."""
    kind = _kind(observation)
    value = observation[kind]
    if kind == "tensor":
        numbers = _nested([_number(v) for v in value["values"]], value["shape"])
        text = f"{value['dtype']} {_text(value['shape'])} {numbers if value['values'] else ''}"
    elif kind == "raises":
        text = f"{value}: {observation.get('message', '')}".rstrip(": ")
    elif kind == "list":
        text = "(" + ", ".join(brief(item, room) for item in value) + ")"
    elif kind == "dict":
        text = "{" + ", ".join(f"{k}: {brief(v, room)}" for k, v in value.items()) + "}"
    elif kind == "number":
        text = _number(value)
    elif kind == "none":
        text = "None"
    else:
        text = str(value)
    text = " ".join(text.split())
    return text if len(text) <= room else text[: room - 1] + "…"


def _nested(numbers: list[str], shape: list[int]) -> str:
    if not shape:
        return numbers[0] if numbers else ""
    step = math.prod(shape[1:])
    rows = [_nested(numbers[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]
    return "[" + ", ".join(rows) + "]"
