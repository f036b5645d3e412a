"""Judge: the evidence that an executed notebook shows, against the key, in this process."""

from dataclasses import dataclass, replace
from functools import cache

from nbformat import NotebookNode

from tutor import evidence as ev
from tutor import keys
from tutor.exercise import Exercise, find
from tutor.verdict import (
    Misconception,
    Verdict,
    alike,
    difference,
    judge,
    name_misconception,
)

from .course import check_cells
from .key import Reference

UNWRITTEN = NotImplementedError.__name__  # what a stub raises
NOT_RUN = ("检查单元没有给出结果。", "The check cell gave no result.")
TAMPERED = (
    "检查单元的输出不是一份完整的证据，这道题记 0 分，请与教师联系。",
    "The check cell's output is not one whole piece of evidence: no points; ask your instructor.",
)


@dataclass(frozen=True)
class Claim:
    """What one check cell says: evidence, or why there is none (a sentence in each language).

    unproven: facets for which its word is not enough; doubt: why, in each language.
    """

    evidence: ev.Evidence
    problem: tuple[str, str] | None = None
    tampered: bool = False
    unproven: tuple[str, ...] = ()
    doubt: tuple[str, str] | None = None


def read_claim(cell: NotebookNode, name: str) -> Claim:
    """The evidence in a check cell's outputs; strictly one piece, for the exercise asked about."""
    texts = [o.data[ev.MIME] for o in cell.get("outputs", []) if ev.MIME in o.get("data", {})]
    if not texts:
        return Claim({}, _error_of(cell) or NOT_RUN)
    try:
        claims = [ev.loads(text) for text in texts]
    except ev.EvidenceError:
        return Claim({}, TAMPERED, tampered=True)
    (exercise, evidence), *more = claims
    facets = {facet.name for facet in find(name).facets}
    if more or exercise != name or set(evidence) != facets:
        return Claim({}, TAMPERED, tampered=True)
    if error := _error_of(cell):
        return Claim({}, error)  # an honest check ends when it has handed out its evidence
    return Claim(evidence)


def _error_of(cell: NotebookNode) -> tuple[str, str] | None:
    """What stopped a check cell, as a sentence in each language."""
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            first = (output.evalue.strip().splitlines() or [""])[0][:200]
            error = f"{output.ename}: {first}".rstrip(": ")
            return f"检查单元没有运行完：{error}", f"The check cell did not finish: {error}"
    return None


def judge_claim(claim: Claim, name: str, seed: str, reference: Reference) -> Verdict:
    """The verdict on one exercise of a submission made under ``seed``."""
    key = reference.key(name, seed)
    verdict = judge(find(name), claim.evidence, key, (), claim.problem, claim.unproven, claim.doubt)
    if verdict.note or not verdict.wrong:
        return verdict
    known = reference.misconceptions(name, seed)
    return replace(verdict, misconception=_named(claim.evidence, key, known, verdict))


def _named(
    evidence: ev.Evidence, key: ev.Evidence, known: list[Misconception], verdict: Verdict
) -> Misconception | None:
    """The misconception that the evidence looks like, see `tutor.verdict.name_misconception`.

    To ask all of them takes ten times as long as all the rest of judging. So those come first
    that under the public seed are wrong in the same facets; the others only where none of these
    is like the evidence in everything. An answer that is not written yet is no misconception.
    """
    if all(UNWRITTEN in ev.dumps(name, evidence.get(name, {})) for name in verdict.wrong):
        return None
    passed = tuple(facet.passed for facet in verdict.facets)
    public = _passed_in_public(verdict.exercise)
    likely = [m for m in known if public.get(m.name) == passed]
    named = name_misconception(evidence, key, likely, verdict.wrong)
    if named and all(alike(evidence[name], named.evidence[name]) for name in key):
        return named
    return name_misconception(evidence, key, known, verdict.wrong)


@cache
def _passed_in_public(exercise: Exercise) -> dict[str, tuple[bool, ...]]:
    """Which facets each misconception passes under the public seed; empty without keys."""
    try:
        key, known = keys.load(exercise.assignment, exercise.name)
    except (OSError, LookupError):
        return {}
    names = [facet.name for facet in exercise.facets]
    return {m.name: tuple(not difference(m.evidence[n], key[n]) for n in names) for m in known}


def judge_notebook(
    notebook: NotebookNode, seed: str, reference: Reference
) -> dict[str, tuple[Claim, Verdict]]:
    """Claim and verdict for every exercise of the assignment, in its order.

    ``notebook``: the rebuilt notebook, executed under ``seed``. A check cell that is not there
    counts as one that gave no result.
    """
    cells = check_cells(notebook)
    judged = {}
    for exercise in reference.exercises:
        cell = cells.get(exercise.name, NotebookNode())
        claim = read_claim(cell, exercise.name)
        judged[exercise.name] = (claim, judge_claim(claim, exercise.name, seed, reference))
    return judged
