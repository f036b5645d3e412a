"""Grading a class: every submission in submitted/, by workers, into nbgrader's gradebook.

This process alone reads submissions, writes autograded/ and holds the gradebook. Workers get
content and return JSON; what they return is in the journal before anything is made of it.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy.exc import SAWarning
from traitlets.config import Config, PyFileConfigLoader

from .course import source_path
from .engine import Engine, Here, outcomes
from .export import write_csv
from .folders import Shelf, Submissions
from .gradebook import GradebookTrouble, open_gradebook
from .intake import assignment_content, take_in
from .journal import Journal
from .rebuild import is_check
from .record import Recorder, Summary
from .settings import Settings
from .states import State
from .submission import read_timestamp
from .task import Result, Task

CONFIG = "nbgrader_config.py"
JOURNAL = ".journal"
LONGEST_NAME = 128  # characters, of a student's id in nbgrader's gradebook
# nbgrader 0.9.6 gives rise to these on every new submission; nothing is lost.
warnings.filterwarnings("ignore", "Object of type <Submitted", SAWarning)
log = logging.getLogger("grading")


class NoSubmissions(LookupError):
    """There is nothing to grade."""


class NotGraded(LookupError):
    """The submission has not been graded, or by another grader than this one."""


class NoCourse(LookupError):
    """The folder is not a course's."""


class CellsChanged(LookupError):
    """The gradebook knows the assignment with other cells, and has submissions of it."""


class CannotWrite(OSError):
    """A result could not be put on disk."""


@dataclass(frozen=True)
class Score:
    """What one submission got: points by exercise, its total as the gradebook has it, its state.

    seconds: how long grading took; None for one that was left as it was.
    """

    student: str
    state: State
    exercises: dict[str, float]
    total: float
    max_total: float
    seconds: float | None = None
    misconceptions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, student: str, summary: Summary, total: float, most: float, seconds: float | None = None
    ) -> "Score":
        """The score that a summary tells (see `grading.present.summary`)."""
        found = summary["exercises"]
        return cls(
            student,
            State.named(summary["state"]),
            {name: exercise["points"] for name, exercise in found.items()},
            total,
            most,
            seconds,
            {n: e["misconception"] for n, e in found.items() if e["misconception"]},
        )


def find_commands() -> None:
    """Let nbgrader find `alembic`, which it calls by name and which is beside this Python."""
    beside, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if beside not in path.split(os.pathsep):
        os.environ["PATH"] = beside + os.pathsep + path


class Course:
    """A course folder: nbgrader's settings, folders and gradebook."""

    def __init__(self, folder: Path):
        """folder: where nbgrader_config.py is. Raises NoCourse if it is not there."""
        self.folder = folder.resolve()
        if not (self.folder / CONFIG).is_file():
            raise NoCourse(
                f"{self.folder} 里没有 {CONFIG}：请在课程的文件夹里运行。 / "
                f"There is no {CONFIG} in {self.folder}: run this in the course's folder."
            )
        find_commands()
        self.config: Config = PyFileConfigLoader(CONFIG, path=str(self.folder)).load_config()

    @property
    def settings(self) -> Settings:
        """What nbgrader_config.py sets for the grader."""
        return Settings.of(self.config)

    def directory(self, assignment: str, student: str = "*") -> CourseDirectory:
        """nbgrader's view of the folders of an assignment."""
        return CourseDirectory(config=self.config, assignment_id=assignment, student_id=student)

    def gradebook(self) -> Gradebook:
        """The gradebook, to be used in a with statement. Raises GradebookTrouble."""
        directory = self.directory("")
        return open_gradebook(directory.db_url, directory.course_id)

    def shelf(self) -> Shelf:
        """What is in autograded/."""
        return Shelf(Autograde(coursedir=self.directory(""), config=self.config))

    def students(self, assignment: str) -> list[str]:
        """Who has handed in the assignment, by the names of their folders."""
        folders = Submissions.of(self.directory(assignment)).folders()
        return sorted(folder.parent.name for folder in folders)

    def submitted(self, assignment: str, student: str) -> Path:
        """The notebook that a student handed in, or should have."""
        directory = self.directory(assignment)
        folder = directory.format_path(directory.submitted_directory, student, assignment)
        return Path(folder) / f"{assignment}.ipynb"

    def autograded(self, assignment: str, student: str) -> Path:
        """The notebook that grading a submission wrote, or will write."""
        return self.shelf().path(assignment, student)

    def prepare(self, assignment: str) -> None:
        """Let the gradebook know the assignment as its source is now.

        Raises `grading.course.UnknownAssignment`; CellsChanged where cells came or went after
        submissions were graded.
        """
        source_path(assignment)
        if self._known_points(assignment) == points_of(assignment):
            return
        directory = self.directory(assignment)
        try:
            GenerateAssignment(coursedir=directory, config=self.config, force=True).start()
        except NbGraderException:
            raise CellsChanged(
                f"{assignment} 的单元增减过，而成绩册里已有它的提交：请备份并移走 gradebook.db，"
                f"再重新批改。 / Cells of {assignment} came or went, and the gradebook has its "
                "submissions: back up gradebook.db, move it away and grade again."
            ) from None

    def _known_points(self, assignment: str) -> dict[str, float] | None:
        with self.gradebook() as gradebook:
            try:
                notebook = gradebook.find_notebook(assignment, assignment)
            except MissingEntry:
                return None
            return {cell.name: cell.max_score for cell in notebook.grade_cells}

    def grade(
        self,
        assignment: str,
        students: list[str] | None = None,
        force: bool = False,
        *,
        engine: Engine | None = None,
        settings: Settings | None = None,
    ) -> Iterator[Score]:
        """Grade submissions, in the order in which they are done; all of ``students`` by default.

        Without ``force`` those that are graded and unchanged are left as they are. engine: this
        process by default. settings: the course's own by default.
        To be closed where it is not used up: that ends the workers.

        Raises UnknownAssignment, NoSubmissions, CannotWrite, `grading.journal.Busy`,
        `grading.gradebook.GradebookTrouble`, `grading.task.WorkerUnfit`,
        `grading.engine.Unreachable`.
        """
        self.prepare(assignment)
        wanted = self._wanted(assignment, students)
        settings, engine = settings or self.settings, engine or Here()
        engine.kernel = settings.kernel, code_of(assignment)
        with ExitStack() as stack:
            gradebook = stack.enter_context(self.gradebook())
            with on_disk():
                journal = Journal(self.folder / JOURNAL / f"{assignment}.jsonl")
            stack.enter_context(journal)
            run = Run(self, assignment, gradebook, journal, settings)
            run.recover()
            yield from run.scores(wanted, force, engine)

    def _wanted(self, assignment: str, students: list[str] | None) -> list[str]:
        found = self.students(assignment)
        wanted = found if students is None else list(dict.fromkeys(students))
        if not wanted or set(wanted) - set(found):
            who = "、".join(sorted(set(wanted) - set(found)))
            raise NoSubmissions(
                f"submitted/ 里没有{f' {who} 的' if who else ''} {assignment} 提交。 / "
                f"submitted/ has no submission of {assignment}{f' by {who}' if who else ''}."
            )
        return wanted

    def feedback(self, assignment: str) -> None:
        """Write the feedback pages of all graded submissions, through nbgrader."""
        directory = self.directory(assignment)
        GenerateFeedback(coursedir=directory, config=self.config, force=True).start()

    def export(self, path: Path, *assignments: str) -> None:
        """Write nbgrader's CSV of these assignments' scores. Raises UnknownAssignment."""
        for assignment in assignments:
            source_path(assignment)
        with self.gradebook() as gradebook:
            write_csv(path, gradebook, assignments)


class Run:
    """One run over an assignment: what is left to do is done, and recorded one by one."""

    def __init__(
        self,
        course: Course,
        assignment: str,
        gradebook: Gradebook,
        journal: Journal,
        settings: Settings,
    ):
        self.course, self.name, self.settings, self.journal = course, assignment, settings, journal
        self.content = assignment_content(assignment)
        self.most = sum(points_of(assignment).values())
        late = AssignLatePenalties(config=course.config)
        late.init_plugin()
        penalty = late.plugin_inst.late_submission_penalty
        self.recorder = Recorder(gradebook, assignment, penalty)
        self.shelf = course.shelf()

    def recover(self) -> None:
        """Record what an earlier run reached and did not record."""
        for student, result in self.journal.results():
            key = result["summary"]["key"]
            known = self.recorder.recorded(student)
            if known and known.key == key:
                continue
            path = self.course.submitted(self.name, student)
            task = self.task(student) if path.parent.is_dir() else None
            if task and task.key == key:
                self.record_or_blame(task, result)
            else:
                # Another file came since, and autograded/ may hold half of that result.
                self.recorder.forget(student)
        if self.journal.damaged:
            log.warning(
                "日志中有 %d 行不完整，对应的提交会重新批改。 / %d lines of the journal are not "
                "whole: those submissions are graded again.", *[self.journal.damaged] * 2
            )  # fmt: skip
        self.journal.all_recorded(at_end=True)

    def scores(self, students: list[str], force: bool, engine: Engine) -> Iterator[Score]:
        """The score of each submission, those that are unchanged among them."""
        with closing(outcomes(engine, self.items(students, force))) as found:
            for item, result in found:
                yield item if isinstance(item, Score) else self.finish(item, result)
        self.journal.all_recorded(at_end=True)

    def items(self, students: list[str], force: bool) -> Iterator[Score | Task]:
        """For each submission the score that stands, or the task that will give one."""
        for student in students:
            if unusable(student):
                log.error(
                    "%r 不能作学生的名字（太长，或不是 UTF-8）：请改文件夹名。 / %r cannot be a "
                    "student's name, too long or not UTF-8: rename the folder.", student, student
                )  # fmt: skip
                yield Score(student, State.INFRASTRUCTURE_ERROR, {}, 0.0, self.most)
            else:
                task = self.task(student)
                yield (None if force else self.standing(task)) or task

    def task(self, student: str) -> Task:
        """The task of grading what a student handed in."""
        path = self.course.submitted(self.name, student)
        return take_in(self.content, student, path, self.settings)

    def standing(self, task: Task) -> Score | None:
        """The score of a submission that is graded and unchanged."""
        student, path = task.student, self.shelf.path(self.name, task.student)
        when = self.handed_in(student)
        known = path.exists() and self.recorder.unchanged(student, task.key, when)
        if not known:
            return None
        if when and when != read_timestamp(path.parent):
            self.shelf.put_time(self.name, student, when)
        return Score.of(student, known.summary, known.total, self.most)

    def handed_in(self, student: str) -> datetime | None:
        """When a student's submission was handed in, as far as it says."""
        return read_timestamp(self.course.submitted(self.name, student).parent)

    def finish(self, task: Task, result: Result | Exception) -> Score:
        """Have a result on disk, then record it; the score."""
        if isinstance(result, Exception):
            from .worker import failed  # the judge is imported where it is needed: it takes seconds

            log.error("%s: %s", task.student, result)
            result = failed(task)
        with on_disk():
            self.journal.append(task.student, result)
        result, total = self.record_or_blame(task, result)
        self.journal.all_recorded()
        summary, seconds = result["summary"], result["seconds"]
        return Score.of(task.student, summary, total, self.most, seconds)

    def record_or_blame(self, task: Task, result: Result) -> tuple[Result, float]:
        """Record a result, or, if that fails for this one alone, that the grader failed."""
        try:
            return result, self.record(task.student, result)
        except (CannotWrite, GradebookTrouble):
            raise  # it would fail for the others, too
        except Exception as error:
            from .worker import failed

            log.exception("%s: %s", task.student, error)
            result = failed(task)
            return result, self.record(task.student, result)

    def record(self, student: str, result: Result) -> float:
        """Make of a result what it is for: a notebook to read, scores; the submission's score."""
        when = self.handed_in(student)
        with on_disk():
            self.shelf.put(self.name, student, result["notebook"], when)
        return self.recorder.record(student, result["summary"], when)


@contextmanager
def on_disk() -> Iterator[None]:
    """Say in a sentence what keeps a file from being written: raises CannotWrite."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"写不了文件（{error.strerror}）：请检查磁盘空间与权限，再运行同样的命令；已记下的成绩"
            f"都在。 / A file cannot be written ({error.strerror}): check the disk's space and the "
            "permissions, and run the same command again; what is recorded is kept."
        ) from error


def unusable(student: str) -> bool:
    """Whether nbgrader's gradebook cannot have a student of that name."""
    try:
        student.encode()
    except UnicodeEncodeError:
        return True
    return len(student) > LONGEST_NAME


def code_of(assignment: str) -> str:
    """The code of an assignment as it is released."""
    cells = assignment_content(assignment).released_cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def points_of(assignment: str) -> dict[str, float]:
    """The points of each cell of an assignment that gives points, by its grade_id."""
    return {
        cell.metadata.nbgrader.grade_id: float(cell.metadata.nbgrader.points)
        for cell in assignment_content(assignment).released_cells
        if is_check(cell)
    }
