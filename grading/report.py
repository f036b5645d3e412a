"""What an instructor sees: a class in one table, and one submission facet by facet."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from tutor.evidence import loads
from tutor.exercise import exercises
from tutor.table import as_text, number
from tutor.verdict import Verdict

from .judge import Claim, judge_claim
from .key import Reference
from .record import course_metadata
from .runner import Score
from .seeds import seed_for
from .states import Note

# A student's text must not steer the terminal.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class NotGraded(LookupError):
    """The submission has not been graded, or by another grader than this one."""


def plain(text: str) -> Text:
    """Text to print as it is: no markup, no control characters."""
    return Text(CONTROL.sub("�", text))


def class_table(assignment: str, scores: list[Score]) -> Table:
    """Points by student and exercise, with each submission's state and its misconceptions."""
    table = Table(
        title=f"{assignment}：{len(scores)} 份提交 / {len(scores)} submissions", padding=(0, 0)
    )
    table.add_column("学生\nstudent", no_wrap=True)
    known = exercises(assignment)
    for exercise in known:
        title = f"{exercise.name}\n/{number(exercise.points)}"
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("总分\ntotal", justify="right", no_wrap=True)
    table.add_column("状态\nstate", no_wrap=True)
    table.add_column("秒\ns", justify="right")
    for score in scores:
        points = [number(score.exercises.get(e.name, 0)) for e in known]
        total = f"{number(score.total)}/{number(score.max_total)}"
        seconds = "–" if score.seconds is None else f"{score.seconds:.1f}"
        table.add_row(plain(score.student), *points, total, score.state.label, seconds)
    return table


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
        claim = Claim(evidence, found["problem"] and tuple(found["problem"]))
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


def track(console: Console, assignment: str, count: int, scores: Iterator[Score]) -> list[Score]:
    """The scores as they come, with a progress bar that says whose was the last."""
    found = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(assignment, total=count)
        for score in scores:
            found.append(score)
            progress.update(task, advance=1, description=f"{assignment} {escape(score.student)}")
    return found
