"""`python -m grading grade`: from what was asked for to tables, a CSV and an exit code."""

import logging
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from . import kernels
from .course import assignments
from .engine import Cluster, Here, Processes
from .settings import require_isolation

INTERRUPTED = 130  # as shells say it of Ctrl-C


@dataclass(frozen=True)
class How:
    """What was asked for beside the assignment; see `python -m grading grade --help`."""

    students: list[str] | None = None
    force: bool = False
    csv: Path | None = None
    workers: int | None = None
    scheduler: str | None = None
    isolation: bool = True
    verbose: bool = False


def grade(folder: Path, assignment: str | None, how: How) -> int:
    """Grade one assignment or all that were handed in; an exit code.

    Raises what `grading.runner.Course.grade` raises.
    """
    console = Console()
    _log_to(Console(stderr=True), how.verbose)
    try:
        return _grade(folder, assignment, how, console)
    except KeyboardInterrupt:
        console.print(
            "\n已中断；得到的结果都记下了。再运行同样的命令就接着批改。 / Interrupted; every "
            "result so far is recorded. Run the same command again to go on."
        )
        sys.stdout.flush()
        return INTERRUPTED


def _log_to(console: Console, verbose: bool) -> None:
    """Show our own warnings as plain sentences; with ``verbose`` nbgrader's log as well."""
    logging.getLogger("traitlets").setLevel(logging.INFO if verbose else logging.ERROR)
    ours = logging.getLogger("grading")
    ours.setLevel(logging.DEBUG if verbose else logging.WARNING)
    if not ours.handlers:
        ours.addHandler(
            RichHandler(console=console, show_time=False, show_level=False, show_path=False)
        )


def _grade(folder: Path, assignment: str | None, how: How, console: Console) -> int:
    from .progress import Tally, class_table, state_table, track
    from .runner import Course, NoSubmissions

    course = Course(folder)
    settings = course.settings if how.isolation else course.settings.without_isolation()
    if how.scheduler:
        engine = Cluster(how.scheduler)  # whose workers look at their own machines
    else:
        engine = Here() if how.workers == 0 else Processes(how.workers or kernels.cores())
        console.print(require_isolation(settings))
    names = [assignment] if assignment else [a for a in assignments() if course.students(a)]
    if not names:
        raise NoSubmissions("submitted/ 是空的。 / There is no submission in submitted/.")
    failed = graded = 0
    for name in names:
        tally = Tally()
        count = len(how.students or course.students(name))
        options = {"engine": engine, "settings": settings}
        with closing(course.grade(name, how.students, how.force, **options)) as scores:
            track(console, name, count, scores, tally)
        if tally.scores:
            console.print(class_table(name, tally.scores))
        console.print(state_table(name, tally))
        failed += tally.failed
        graded += tally.count
    path = how.csv or course.folder / "grades.csv"
    course.export(path, *names)
    print(f"{graded} 份提交，成绩在 {path} / {graded} submissions, scores in {path}")
    return 1 if failed else 0
