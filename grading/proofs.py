"""`make proofs`: show for each exercise that right answers pass and wrong ones are refused.

For several seeds: the source and every alternative score full marks; every misconception loses
points and is named as itself; the untouched stub loses all points; every mutation of the solution
is refused, unless it is listed with a reason as equivalent. docs/proofs.md is the matrix.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutor.exercise import Exercise, collect
from tutor.verdict import Misconception, Verdict, difference, judge

from .course import ROOT, assignments
from .key import Reference
from .misconceptions import alternatives, equivalent
from .mutations import mutate

SEEDS = ("public", "proof-1", "proof-2", "proof-3", "proof-4")
LEAST_MISCONCEPTIONS = 5
LEAST_ALTERNATIVES = 2
SECONDS = 10


class Stuck(BaseException):
    """A mutation did not come to an end; a BaseException, so that no probe takes it for one."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise Stuck in the main thread after ``seconds``: a mutation may loop for ever."""

    def stop(*_: Any) -> None:
        raise Stuck

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Proof:
    """What was shown of one exercise; ``faults`` must be empty."""

    exercise: Exercise
    alternatives: list[str] = field(default_factory=list)
    misconceptions: dict[str, list[float]] = field(default_factory=dict)
    stub: float = 0.0
    killed: int = 0
    equivalents: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        self.faults.append(f"{self.exercise.name}: {text}")


def stub(*args: Any, **kwargs: Any) -> None:
    """What an untouched exercise does."""
    raise NotImplementedError


def prove(exercise: Exercise, reference: Reference, seeds: tuple[str, ...] = SEEDS) -> Proof:
    """Try every answer there is to an exercise under every seed."""
    proof = Proof(exercise)
    keys = {seed: reference.key(exercise.name, seed) for seed in seeds}
    wrong = {seed: reference.misconceptions(exercise.name, seed) for seed in seeds}

    def verdict(answer: Any, seed: str) -> Verdict:
        return judge(exercise, collect(exercise, answer, seed), keys[seed], wrong[seed])

    for seed in seeds:
        _prove_right(proof, reference, verdict, seed)
        _prove_wrong(proof, keys[seed], wrong[seed], seed)
        proof.stub = max(proof.stub, verdict(stub, seed).points)
    if proof.stub > 0:
        proof.fault(f"the untouched stub earns {proof.stub} points")
    if len(proof.misconceptions) < LEAST_MISCONCEPTIONS:
        proof.fault(f"only {len(proof.misconceptions)} misconceptions")
    if len(proof.alternatives) < LEAST_ALTERNATIVES:
        proof.fault(f"only {len(proof.alternatives)} alternatives")
    _prove_mutations(proof, reference, verdict, seeds)
    return proof


def _prove_right(proof: Proof, reference: Reference, verdict, seed: str) -> None:
    name = proof.exercise.name
    right = {"the source": reference.answer(name)}
    right |= {a.name: a.answer for a in alternatives(name)}
    for label, answer in right.items():
        found = verdict(answer, seed)
        if not found.passed or found.points != found.max_points:
            bad = [f"{f.facet.name}: {f.difference}" for f in found.facets if not f.passed]
            proof.fault(f"{label} gets {found.points}/{found.max_points} under {seed}: {bad}")
    proof.alternatives = [label for label in right if label != "the source"]


def _prove_wrong(proof: Proof, key, wrong: list[Misconception], seed: str) -> None:
    for m in wrong:
        found = judge(proof.exercise, m.evidence, key, wrong)
        proof.misconceptions.setdefault(m.name, []).append(found.points)
        if found.points >= found.max_points:
            proof.fault(f"{m.name} is not refused under {seed}")
        twins = [
            other.name
            for other in wrong
            if other is not m
            and not any(difference(m.evidence[f], other.evidence[f]) for f in m.evidence)
        ]
        if twins:
            proof.fault(f"{m.name} cannot be told from {', '.join(twins)} under {seed}")
        elif found.misconception is not m:
            named = found.misconception and found.misconception.name
            proof.fault(f"{m.name} is named {named} under {seed}")


def _prove_mutations(proof: Proof, reference: Reference, verdict, seeds) -> None:
    name = proof.exercise.name
    known = equivalent(name)
    for text, source in mutate(reference.sources[name]):
        if _survives(reference, name, source, verdict, seeds):
            if text in known:
                proof.equivalents[text] = known[text]
            else:
                proof.fault(f"a mutation survives: {text}")
        else:
            proof.killed += 1
    for text in set(known) - set(proof.equivalents):
        proof.fault(f"listed as equivalent, but refused or not a mutation: {text}")
    if not proof.killed:
        proof.fault("no mutation was tried")


def _survives(reference: Reference, name: str, source: str, verdict, seeds) -> bool:
    """Whether a mutation scores full marks under every seed."""
    try:
        with time_limit(SECONDS):
            answer = reference.run(source)[name]
            return all(verdict(answer, seed).passed for seed in seeds)
    except (Stuck, Exception):
        return False


def report(proofs: dict[str, list[Proof]]) -> str:
    """The matrix in Markdown, for docs/proofs.md."""
    lines = [
        "# 评分器的证明 · Proofs of the graders",
        "",
        "<!-- made by `make proofs`; do not edit -->",
        "",
        f"每道题在 {len(SEEDS)} 个种子下验证；得分一栏是各种子下的最低分与最高分。",
        "",
        f"Each exercise is tried under {len(SEEDS)} seeds; a score is the lowest and the highest.",
    ]
    for assignment, found in proofs.items():
        lines += ["", f"## {assignment}", "", _summary(found)]
        for proof in found:
            lines += ["", *_section(proof)]
    return "\n".join(lines) + "\n"


def _summary(found: list[Proof]) -> str:
    head = "| 题目 exercise | 分 points | 别解 alternatives | 误解 misconceptions | 空答 stub | "
    head += "变异 mutations refused | 等价 equivalent |\n|---|---|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| `{p.exercise.name}` | {p.exercise.points:g} | {len(p.alternatives)} ✓ | "
        f"{len(p.misconceptions)} ✗ | {p.stub:g} | {p.killed} ✗ | {len(p.equivalents)} |"
        for p in found
    )


def _section(proof: Proof) -> Iterator[str]:
    yield f"### `{proof.exercise.name}`"
    yield ""
    yield "| 答案 answer | 得分 score |"
    yield "|---|---|"
    full = f"{proof.exercise.points:g}"
    yield f"| 源解 source | {full}/{full} |"
    for name in proof.alternatives:
        yield f"| 别解 alternative `{name}` | {full}/{full} |"
    for name, scores in proof.misconceptions.items():
        low, high = min(scores), max(scores)
        span = f"{low:g}" if low == high else f"{low:g}–{high:g}"
        yield f"| 误解 misconception `{name}` | {span}/{full} |"
    yield f"| 空答 stub | {proof.stub:g}/{full} |"
    for text, reason in proof.equivalents.items():
        yield f"| 等价变异 equivalent mutation `{text}`: {reason} | {full}/{full} |"


def prove_course(only: str | None = None, root: Path = ROOT) -> dict[str, list[Proof]]:
    """The proofs of every exercise of every assignment, or of one."""
    found = {}
    for assignment in [only] if only else assignments(root):
        reference = Reference(assignment, root)
        found[assignment] = [prove(exercise, reference) for exercise in reference.exercises]
    return found


def main(only: str | None = None, root: Path = ROOT) -> int:
    """Prove and print the counts; an exit code, not 0 for any fault.

    Of the whole course it also writes docs/proofs.md.
    """
    proofs = prove_course(only, root)
    flat = [proof for found in proofs.values() for proof in found]
    if not only:
        (root / "docs" / "proofs.md").write_text(report(proofs), "utf-8")
    for fault in (fault for proof in flat for fault in proof.faults):
        print(f"✗ {fault}")
    print(
        f"proofs: {len(flat)} exercises × {len(SEEDS)} seeds; "
        f"{sum(len(p.alternatives) for p in flat)} alternatives accepted, "
        f"{sum(len(p.misconceptions) for p in flat)} misconceptions refused and named, "
        f"{sum(p.killed for p in flat)} mutations refused, "
        f"{sum(len(p.equivalents) for p in flat)} equivalent; "
        f"{sum(len(p.faults) for p in flat)} faults"
    )
    return 0 if flat and not any(p.faults for p in flat) else 1
