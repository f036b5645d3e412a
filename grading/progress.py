"""What an instructor sees while a class is graded, and after."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from .course import checked_exercise
from .intake import assignment_content
from .rebuild import is_check
from .runner import Score
from .states import ORDER, State

# A student's text must not steer the terminal.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST_TABLE = 60  # students: a longer one nobody reads, and the CSV has them all


def plain(text: str) -> Text:
    """Text to print as it is: no markup, no control characters."""
    return Text(CONTROL.sub("�", text))


@dataclass
class Tally:
    """What a run came to: its states and, unless there are too many, its scores.

    reused: how many submissions were left as they were.
    """

    states: Counter[State] = field(default_factory=Counter)
    scores: list[Score] = field(default_factory=list)
    reused: int = 0

    def add(self, score: Score) -> None:
        """Count a score in."""
        self.states[score.state] += 1
        self.reused += score.seconds is None
        if self.count <= LONGEST_TABLE:
            self.scores.append(score)
        else:
            self.scores.clear()

    @property
    def count(self) -> int:
        """How many submissions there were."""
        return self.states.total()

    @property
    def failed(self) -> int:
        """How many the grader itself could not grade."""
        return self.states[State.INFRASTRUCTURE_ERROR]


class Rate(ProgressColumn):
    """Submissions in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "–/s")


def track(console: Console, assignment: str, count: int, scores: Iterator[Score], tally: Tally):
    """Count the scores in as they come, with a bar: done, failed, rate, time left."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("失败 / failed {task.fields[failed]}"), Rate(), TimeElapsedColumn(),
        TextColumn("剩 / left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(assignment, total=count, failed=0)
        for score in scores:
            tally.add(score)
            progress.update(task, advance=1, failed=tally.failed)


def class_table(assignment: str, scores: list[Score]) -> Table:
    """Points by student and exercise, with each submission's state."""
    title = f"{assignment}：{len(scores)} 份提交 / {len(scores)} submissions"
    table = Table(title=title, padding=(0, 0))
    table.add_column("学生\nstudent", no_wrap=True)
    known = {
        name: float(cell.metadata.nbgrader.points)
        for cell in assignment_content(assignment).released_cells
        if is_check(cell) and (name := checked_exercise(cell.source))
    }
    for name, points in known.items():
        table.add_column(f"{name}\n/{points:g}", justify="right", overflow="fold")
    table.add_column("总分\ntotal", justify="right", no_wrap=True)
    table.add_column("状态\nstate", no_wrap=True)
    table.add_column("秒\ns", justify="right")
    for score in sorted(scores, key=lambda score: score.student):
        points = [f"{score.exercises.get(name, 0):g}" for name in known]
        total = f"{score.total:g}/{score.max_total:g}"
        seconds = "–" if score.seconds is None else f"{score.seconds:.1f}"
        table.add_row(plain(score.student), *points, total, score.state.label, seconds)
    return table


def state_table(assignment: str, tally: Tally) -> Table:
    """How many submissions are in which state, which want a person, how many were left alone."""
    table = Table(title=assignment, padding=(0, 1))
    table.add_column("状态\nstate", no_wrap=True)
    table.add_column("份数\ncount", justify="right")
    table.add_column("要人看\nfor a person", justify="center")
    for state in sorted(tally.states, key=ORDER.__getitem__):
        table.add_row(state.label, str(tally.states[state]), "✓" if state.person else "")
    if tally.reused:
        table.add_row("没有改动\nunchanged", str(tally.reused), "")
    return table
