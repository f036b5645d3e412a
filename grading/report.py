"""What an instructor sees of one submission: its notes, and its verdicts facet by facet."""

from pathlib import Path

import nbformat
from rich.console import Console

from tutor.evidence import loads
from tutor.exercise import exercises
from tutor.table import as_text, number
from tutor.verdict import Verdict

from .judge import Claim, judge_claim
from .key import Reference
from .present import course_metadata
from .progress import plain
from .runner import NotGraded
from .seeds import seed_for
from .states import Note


def rejudge(path: Path, assignment: str, student: str) -> tuple[list[Note], list[Verdict]]:
    """The notes on a graded submission, and its verdicts made again from its stored evidence.

    Raises NotGraded.
    """
    try:
        metadata = course_metadata(nbformat.read(path, as_version=4))
    except FileNotFoundError:
        metadata = {}
    if "digest" not in metadata:
        raise NotGraded(
            f"{student} 的 {assignment} 还没有批改：请先运行 python -m grading grade {assignment}。"
            f" / {assignment} by {student} is not graded yet: "
            f"run python -m grading grade {assignment} first."
        )
    reference = Reference(assignment)
    seed = seed_for(assignment, student)
    verdicts = []
    graded = metadata.get("exercises", {})
    for name in [e.name for e in exercises(assignment) if e.name in graded]:
        found = graded[name]
        _, evidence = loads(found["evidence"])
        problem, doubt = (found.get(n) and tuple(found[n]) for n in ("problem", "doubt"))
        claim = Claim(evidence, problem, False, tuple(found.get("unproven", ())), doubt)
        verdicts.append(judge_claim(claim, name, seed, reference))
    return [Note.from_json(note) for note in metadata["notes"]], verdicts


def print_submission(console: Console, student: str, notes: list[Note], verdicts: list[Verdict]):
    """Print a submission's notes and the facets of every exercise, in both languages."""
    total, most = sum(v.points for v in verdicts), sum(v.max_points for v in verdicts)
    console.print(plain(f"{student}  {number(total)}/{number(most)}"), style="bold")
    for note in notes:
        where = f" [{note.cell}]" if note.cell else ""
        console.print(plain(f"! {note.state.label}{where}\n  {note.zh}\n  {note.en}"))
    for verdict in verdicts:
        style = "green" if verdict.passed else "red"
        first, _, rest = as_text(verdict).partition("\n")
        console.rule(plain(first), style=style, align="left")
        console.print(plain(rest))
