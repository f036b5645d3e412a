"""Grading a class: every submission in submitted/, through nbgrader's converter and gradebook."""

import glob
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin
from sqlalchemy.exc import SAWarning
from traitlets.config import Config, PyFileConfigLoader

from . import record
from .course import source_path
from .pipeline import Submissions
from .rebuild import is_check
from .release import released
from .states import Note, State
from .submission import read_submission

CONFIG = "nbgrader_config.py"
# nbgrader 0.9.6 gives rise to these on every new submission; nothing is lost.
warnings.filterwarnings("ignore", "Object of type <Submitted", SAWarning)
log = logging.getLogger("grading")


class NoSubmissions(LookupError):
    """There is nothing to grade."""


class NoCourse(LookupError):
    """The folder is not a course's."""


class CellsChanged(LookupError):
    """The gradebook knows the assignment with other cells, and has submissions of it."""


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


class Grader(Autograde):
    """nbgrader's Autograde for submissions whose notebook may be missing.

    `grading.pipeline.SubmissionExporter`, which the course's settings name, does the same for
    `nbgrader autograde`, unless that is asked for a lone submission without a notebook.
    """

    def init_notebooks(self):
        """Find the submissions, each with the notebook it should have."""
        self.assignments = Submissions.of(self.coursedir).notebooks()


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

    def directory(self, assignment: str, student: str = "*") -> CourseDirectory:
        """nbgrader's view of the folders of an assignment."""
        return CourseDirectory(config=self.config, assignment_id=assignment, student_id=student)

    def gradebook(self) -> Gradebook:
        """The gradebook, to be used in a with statement."""
        directory = self.directory("")
        return Gradebook(directory.db_url, directory.course_id)

    def students(self, assignment: str) -> list[str]:
        """Who has handed in the assignment, by the names of their folders."""
        folders = Submissions.of(self.directory(assignment)).notebooks()
        return sorted(Path(folder).parent.name for folder in folders)

    def autograded(self, assignment: str, student: str) -> Path:
        """The notebook that grading a submission wrote, or will write."""
        directory = self.directory(assignment)
        folder = directory.format_path(directory.autograded_directory, student, assignment)
        return Path(folder) / f"{assignment}.ipynb"

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
        self, assignment: str, students: list[str] | None = None, force: bool = False
    ) -> Iterator[Score]:
        """Grade submissions one by one; without ``force`` not those graded and unchanged.

        Raises UnknownAssignment, NoSubmissions.
        """
        self.prepare(assignment)
        found = self.students(assignment)
        wanted = found if students is None else students
        if not wanted or set(wanted) - set(found):
            who = "、".join(sorted(set(wanted) - set(found)))
            raise NoSubmissions(
                f"submitted/ 里没有{f' {who} 的' if who else ''} {assignment} 提交。 / "
                f"submitted/ has no submission of {assignment}{f' by {who}' if who else ''}."
            )
        for student in wanted:
            yield self._grade_one(assignment, student, force)

    def _grade_one(self, assignment: str, student: str, force: bool) -> Score:
        started = time.monotonic()
        if not force and self._is_graded(assignment, student):
            return self.score(assignment, student)
        directory = self.directory(assignment, glob.escape(student))
        try:
            Grader(coursedir=directory, config=self.config, force=True).start()
        except Exception:
            # Nothing in a submission should bring us here; if it does, others are graded still.
            log.exception("%s: the grader failed", student)
            self._record_failure(assignment, student)
        return self.score(assignment, student, time.monotonic() - started)

    def _is_graded(self, assignment: str, student: str) -> bool:
        """Whether this very file was graded against the assignment as it is now."""
        graded = self.autograded(assignment, student)
        if not graded.exists():
            return False
        submission = Submissions.of(self.directory(assignment, glob.escape(student)))
        ((path,),) = submission.notebooks().values()
        found = record.fingerprint(read_submission(Path(path)).digest, released(assignment))
        metadata = record.course_metadata(nbformat.read(graded, as_version=4))
        return (
            metadata.get("fingerprint") == found
            and metadata.get("state") != State.INFRASTRUCTURE_ERROR.label
        )

    def _record_failure(self, assignment: str, student: str) -> None:
        notebook = released(assignment)
        record.course_metadata(notebook)["digest"] = ""
        record.add_notes(notebook, [Note.of(State.INFRASTRUCTURE_ERROR)])
        with self.gradebook() as gradebook:
            gradebook.update_or_create_student(student)
            gradebook.update_or_create_submission(assignment, student)
            submission = gradebook.find_submission_notebook(assignment, assignment, student)
            record.save_scores(gradebook, submission, notebook)

    def score(self, assignment: str, student: str, seconds: float | None = None) -> Score:
        """What a graded submission got, as the gradebook and the autograded notebook say."""
        path = self.autograded(assignment, student)
        if path.exists():
            notebook = nbformat.read(path, as_version=4)
        else:
            notebook = released(assignment)
            record.add_notes(notebook, [Note.of(State.INFRASTRUCTURE_ERROR)])
        exercises = record.course_metadata(notebook).get("exercises", {})
        with self.gradebook() as gradebook:
            submission = gradebook.find_submission(assignment, student)
            return Score(
                student,
                record.state_of(notebook),
                {name: found["points"] for name, found in exercises.items()},
                submission.score,
                submission.max_score,
                seconds,
                {n: e["misconception"] for n, e in exercises.items() if e["misconception"]},
            )

    def feedback(self, assignment: str) -> None:
        """Write the feedback pages of all graded submissions, through nbgrader."""
        directory = self.directory(assignment)
        GenerateFeedback(coursedir=directory, config=self.config, force=True).start()

    def export(self, path: Path, *assignments: str) -> None:
        """Write nbgrader's CSV of these assignments' scores. Raises UnknownAssignment."""
        for assignment in assignments:
            source_path(assignment)
        with self.gradebook() as gradebook:
            CsvExportPlugin(to=str(path), assignment=list(assignments)).export(gradebook)


def points_of(assignment: str) -> dict[str, float]:
    """The points of each cell of an assignment that gives points, by its grade_id."""
    return {
        cell.metadata.nbgrader.grade_id: float(cell.metadata.nbgrader.points)
        for cell in released(assignment).cells
        if is_check(cell)
    }
