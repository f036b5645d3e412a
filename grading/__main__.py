"""`python -m grading`: what instructors and CI run. The work is done in the modules it calls."""

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .course import ROOT, UnknownAssignment

# Each command imports what it needs when it runs: torch and nbgrader take seconds.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Assignment = Annotated[str, typer.Argument(help="作业名，如 03-vjp / the assignment's name")]
Chosen = Annotated[str | None, typer.Argument(help="作业名；默认全部 / default: all")]
Folder = Annotated[Path, typer.Option("--course", help="课程文件夹 / the course's folder")]
HELP_WORKERS = "进程数，默认每个核一个；0 为不用 / processes, by default one a core; 0 for none"
Paths = Annotated[list[Path] | None, typer.Argument(help="笔记本；默认全部 / default: all")]


@contextmanager
def one_sentence():
    """Say in one sentence what a user did wrong, or the machine refuses, and exit with 2."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if not isinstance(error, _sentences()):
            raise
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _sentences() -> tuple[type[Exception], ...]:
    """The errors that are a sentence for people, in both languages."""
    from .engine import Unreachable
    from .gradebook import GradebookTrouble
    from .journal import Busy
    from .runner import CannotWrite, CellsChanged, NoCourse, NoSubmissions, NotGraded
    from .settings import NotIsolated
    from .task import WorkerUnfit

    return (
        Busy, CannotWrite, CellsChanged, GradebookTrouble, NoCourse, NoSubmissions, NotGraded,
        NotIsolated, Unreachable, UnknownAssignment, WorkerUnfit,
    )  # fmt: skip


@app.command()
def notebooks(
    paths: Paths = None,
    check: Annotated[bool, typer.Option(help="只比较 / compare only")] = False,
):
    """就地执行笔记本，写成规范形式 / execute notebooks in place, in their canonical form."""
    from . import notebooks

    raise typer.Exit(notebooks.main(paths or (), check))


@app.command()
def replay(
    paths: Paths = None,
    at_once: Annotated[
        int | None, typer.Option("-n", min=1, help="同时几个 / how many at a time")
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="冷内核 / cold kernels")] = False,
):
    """重放笔记本，比较每个输出 / replay notebooks and compare every output."""
    from . import replay

    raise typer.Exit(replay.main(paths or (), at_once, cold))


@app.command()
def parity(paths: Paths = None):
    """比较两种语言 / compare the two languages."""
    from . import parity

    raise typer.Exit(parity.main(paths or ()))


@app.command()
def keys(assignment: Chosen = None):
    """由 source/ 重新生成 tutor/keys/ / make tutor/keys/ again from source/."""
    from . import keys

    with one_sentence():
        raise typer.Exit(keys.main(assignment))


@app.command()
def proofs(assignment: Chosen = None):
    """证明每个判分器，写出 docs/proofs.md / prove every grader, write docs/proofs.md."""
    from . import proofs

    with one_sentence():
        raise typer.Exit(proofs.main(assignment))


@app.command()
def release(assignment: Chosen = None, course: Folder = ROOT):
    """生成学生版，并证明其中没有答案 / make the students' version, prove it has no answer."""
    from . import leaks
    from .course import assignments
    from .runner import Course

    with one_sentence():
        names = [assignment] if assignment else assignments()
        failed = [name for name in names if leaks.main(Course(course), name)]
        raise typer.Exit(1 if failed or not names else 0)


@app.command()
def grade(
    assignment: Chosen = None,
    course: Folder = ROOT,
    student: Annotated[list[str] | None, typer.Option(help="只批改这些 / only these")] = None,
    force: Annotated[bool, typer.Option(help="没有改动也重批 / also what is unchanged")] = False,
    csv: Annotated[Path | None, typer.Option(help="默认 grades.csv / default")] = None,
    workers: Annotated[
        int | None, typer.Option("-n", "--workers", min=0, help=HELP_WORKERS)
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Dask: tcp://HOST:8786")] = None,
    isolation: Annotated[
        bool, typer.Option("--isolation/--no-isolation", help="没有沙箱就拒绝 / refuse without")
    ] = True,
    verbose: Annotated[bool, typer.Option(help="显示日志 / show the log")] = False,
):
    """批改提交，写出 nbgrader 的 CSV；没有提交时批改示例班级。

    Grade the submissions and write nbgrader's CSV; without any, a made-up class.
    """
    from . import early

    with one_sentence(), tempfile.TemporaryDirectory() as temporary:
        if scheduler is None:
            early.begin(assignment, workers=workers != 0, sandbox=isolation)
        with early.imports():
            from . import command, runner  # noqa: F401 (it takes seconds)

        if assignment is None and not (course / "submitted").is_dir():
            from . import example

            print("submitted/ 不存在：批改示例班级。 / There is no submitted/: a made-up class.")
            course = Path(temporary)
            example.build(course)
            csv = csv or Path("grades.csv")
        how = command.How(student, force, csv, workers, scheduler, isolation, verbose)
        raise typer.Exit(command.grade(course, assignment, how))


@app.command()
def report(assignment: Assignment, student: str, course: Folder = ROOT):
    """显示一份提交的逐项判定 / show one submission's verdicts, facet by facet."""
    from rich.console import Console

    from .course import source_path
    from .report import print_submission, rejudge
    from .runner import Course

    with one_sentence():
        source_path(assignment)
        path = Course(course).autograded(assignment, student)
        print_submission(Console(), student, *rejudge(path, assignment, student))


@app.command()
def feedback(assignment: Assignment, course: Folder = ROOT):
    """由 nbgrader 生成反馈页 / write the feedback pages through nbgrader."""
    from .course import source_path
    from .runner import Course

    with one_sentence():
        source_path(assignment)
        Course(course).feedback(assignment)


@app.command()
def export(
    assignment: Assignment,
    course: Folder = ROOT,
    to: Annotated[Path, typer.Option(help="文件 / the file")] = Path("grades.csv"),
):
    """写出 nbgrader 的成绩 CSV / write nbgrader's CSV of scores."""
    from .runner import Course

    with one_sentence():
        Course(course).export(to, assignment)


if __name__ == "__main__":
    sys.exit(app())
