"""Judge: the evidence that an executed notebook shows, against the key, in this process."""

from dataclasses import dataclass

from nbformat import NotebookNode

from tutor import evidence as ev
from tutor.exercise import find
from tutor.verdict import Verdict, judge

from .course import check_cells
from .key import Reference

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
    key, wrong = reference.key(name, seed), reference.misconceptions(name, seed)
    exercise = find(name)
    return judge(exercise, claim.evidence, key, wrong, claim.problem, claim.unproven, claim.doubt)


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
