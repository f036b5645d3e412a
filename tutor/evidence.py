"""Evidence: what a probe observed, as plain data that may cross from one process to another.

An observation is a dictionary with one entry that names its kind::

    {"tensor": {"dtype": "float64", "shape": [2], "values": [1.0, "nan"]}}
    {"number": 1.5}  {"integer": 3}  {"text": "leaf"}  {"flag": true}  {"none": true}
    {"list": [...]}  {"dict": {...}}  {"object": "type name"}
    {"raises": "ValueError", "message": "first line of its message"}

Evidence is a dictionary from the names of facets to observations. It leaves a student's process
as JSON text and is read back strictly: it is a claim, never code.
"""

import json
import math
from typing import Any

import torch

MIME = "application/vnd.tutor.evidence"
MAX_BYTES = 512 * 1024
MAX_ELEMENTS = 4096
MAX_DEPTH = 8
MAX_TEXT = 500
BITS = 64  # of the largest integer of any dtype

Observation = dict[str, Any]
Evidence = dict[str, Observation]


class EvidenceError(ValueError):
    """The text is not evidence: too large, not JSON, or not of the form above."""


def observe(value: Any, depth: int = 0) -> Observation:
    """Describe any value as plain data; a tensor keeps its dtype, shape and numbers.

    Tensors of more than MAX_ELEMENTS elements are described without their numbers.
    """
    if isinstance(value, torch.Tensor):
        return {"tensor": _tensor(value)}
    if value is None:
        return {"none": True}
    if isinstance(value, bool):
        return {"flag": value}
    if isinstance(value, int):
        return {"integer": value} if value.bit_length() <= BITS else {"object": "huge int"}
    if isinstance(value, float):
        return {"number": _plain(value)}
    if isinstance(value, str):
        return {"text": _text(value)}
    if isinstance(value, list | tuple) and depth < MAX_DEPTH and len(value) <= MAX_ELEMENTS:
        return {"list": [observe(item, depth + 1) for item in value]}
    if isinstance(value, dict) and depth < MAX_DEPTH and len(value) <= MAX_ELEMENTS:
        return {"dict": {_text(str(k)): observe(v, depth + 1) for k, v in value.items()}}
    return {"object": _text(type(value).__name__)}


def attempt(call, *args, **kwargs) -> Observation:
    """Observe what ``call(*args, **kwargs)`` returns, or the exception it raises."""
    try:
        return observe(call(*args, **kwargs))
    except (Exception, SystemExit) as error:
        return raised(error)


def raised(error: BaseException) -> Observation:
    """Observe an exception: its type's name and the first line of its message."""
    lines = str(error).strip().splitlines()
    return {"raises": _text(type(error).__name__), "message": _text(lines[0]) if lines else ""}


def _text(text: str) -> str:
    """The beginning of a text, as any file can hold it: half a surrogate pair becomes "?"."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _plain(number: complex | float | int) -> Any:
    """A number as JSON has it: non-finite floats by name, complex numbers as a pair."""
    if isinstance(number, complex):
        return [_plain(number.real), _plain(number.imag)]
    if isinstance(number, float) and not math.isfinite(number):
        return str(number)
    return number


def _tensor(tensor: torch.Tensor) -> dict[str, Any]:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    described = {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "values": [],
    }
    if tensor.numel() > MAX_ELEMENTS:
        described["omitted"] = tensor.numel()
    else:
        # clone(): the second derivative of abs is a tensor without storage, which has no tolist().
        described["values"] = [_plain(v) for v in tensor.cpu().clone().flatten().tolist()]
    return described


def dumps(exercise: str, evidence: Evidence) -> str:
    """Write evidence as JSON text."""
    return json.dumps({"exercise": exercise, "evidence": evidence}, allow_nan=False)


def loads(text: Any) -> tuple[str, Evidence]:
    """Read back what `dumps` wrote: (exercise name, evidence).

    Raises EvidenceError for anything else: larger than MAX_BYTES, not JSON, a name given
    twice, an unknown kind of observation, or nesting deeper than MAX_DEPTH.
    """
    if not isinstance(text, str):
        raise EvidenceError("evidence must be text")
    if len(text) > MAX_BYTES:
        raise EvidenceError(f"evidence has {len(text)} characters, more than {MAX_BYTES}")
    try:
        claim = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        # Half a surrogate pair is no text; only as an escape can it hide in one.
        (json.dumps(claim, ensure_ascii=False) if "\\u" in text else text).encode()
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"evidence is not JSON: {error}"[:MAX_TEXT]) from None
    if not isinstance(claim, dict) or set(claim) != {"exercise", "evidence"}:
        raise EvidenceError("evidence must name its exercise and its observations")
    exercise, evidence = claim["exercise"], claim["evidence"]
    if not isinstance(exercise, str) or not isinstance(evidence, dict):
        raise EvidenceError("evidence must name its exercise and its observations")
    for facet, observation in evidence.items():
        _validate(observation, facet, 0)
    return exercise, evidence


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is given twice")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _validate(observation: Any, where: str, depth: int) -> None:
    if not isinstance(observation, dict) or depth > MAX_DEPTH + 1:
        raise EvidenceError(f"{where}: not an observation")
    kinds = tuple(observation)
    if kinds not in {("raises", "message"), ("message", "raises")} and len(kinds) != 1:
        raise EvidenceError(f"{where}: an observation has one kind, not {len(kinds)}")
    kind = "raises" if "raises" in observation else kinds[0]
    if kind not in _VALID or not _VALID[kind](observation[kind]):
        raise EvidenceError(f"{where}: not a valid {kind[:40]}")
    if kind == "raises" and not isinstance(observation.get("message", ""), str):
        raise EvidenceError(f"{where}: not a valid message")
    if kind == "list":
        for index, item in enumerate(observation["list"]):
            _validate(item, f"{where}[{index}]", depth + 1)
    if kind == "dict":
        for name, item in observation["dict"].items():
            _validate(item, f"{where}[{name!r}]", depth + 1)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or _is_integer(value) or value in ("nan", "inf", "-inf")


def _is_integer(value: Any) -> bool:
    """Whether it is one that a tensor can hold; others cannot be compared with a float."""
    return type(value) is int and value.bit_length() <= BITS


def _is_element(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 2 and all(map(_is_number, value))
    return _is_number(value)


def _is_tensor(value: Any) -> bool:
    if not isinstance(value, dict) or not {"dtype", "shape", "values"} <= set(value):
        return False
    shape, values, omitted = value["shape"], value["values"], value.get("omitted")
    if set(value) - {"dtype", "shape", "values", "omitted"}:
        return False
    if not isinstance(value["dtype"], str) or not isinstance(values, list):
        return False
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        return False
    count = math.prod(shape)
    if omitted is not None:
        return omitted == count and not values
    return len(values) == count and all(map(_is_element, values))


_VALID = {
    "tensor": _is_tensor,
    "number": lambda v: not isinstance(v, bool) and _is_number(v),
    "integer": _is_integer,
    "text": lambda v: isinstance(v, str),
    "flag": lambda v: isinstance(v, bool),
    "none": lambda v: v is True,
    "list": lambda v: isinstance(v, list),
    "dict": lambda v: isinstance(v, dict),
    "object": lambda v: isinstance(v, str),
    "raises": lambda v: isinstance(v, str),
}
