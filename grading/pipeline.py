"""The way from a submission to a score, as nbgrader's own extension points take it.

nbgrader_config.py names these classes, so that `nbgrader autograde`, the formgrader's button and
`python -m grading grade` all grade alike. Each hands content to a plain function and keeps notes
on it; nothing here raises for what a student did.
"""

import traceback
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades
from traitlets import Float, Integer, Unicode

from . import rebuild as rebuilding
from . import record as recording
from . import run as running
from .course import check_cells, source_path
from .judge import judge_notebook
from .key import Reference
from .rebuild import grade_id
from .release import released
from .seeds import seed_for
from .states import UNREADABLE, Note, State
from .submission import TIMESTAMP, Submission, read_submission, read_timestamp

SUBMISSION = "submission"


class Submissions(CourseDirectory):
    """A course's folders as the grader sees them: of a submission, the notebook alone."""

    @classmethod
    def of(cls, course: CourseDirectory) -> "Submissions":
        """The same course, with no file but the notebook and any timestamp readable."""
        same = {name: getattr(course, name) for name in course.trait_names(config=True)}
        # nbgrader copies what it does not ignore, through symbolic links, to autograded/, and
        # from there to the feedback.
        return cls(parent=course.parent, **{**same, "ignore": ["*", ".*"]})

    def get_existing_timestamp(self, dest_path):
        """As nbgrader's, which breaks on a malformed file and follows links."""
        return read_timestamp(Path(dest_path))

    def notebooks(self) -> dict[str, list[str]]:
        """{folder: [its notebook]} for every submission of `assignment_id` by `student_id`.

        A folder that lacks the notebook counts as well: nbgrader would pass over it, and its
        old score would stay.
        """
        step = self.submitted_directory
        pattern = Path(self.format_path(step, self.student_id, self.assignment_id))
        folders = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
        return {str(f): [str(f / f"{self.assignment_id}.ipynb")] for f in sorted(folders)}


class SubmissionExporter(NotebookExporter):
    """Reads any submitted file; what cannot be graded goes on as a state, not as an error."""

    file_limit = Integer(rebuilding.DEFAULT.file, help="Largest file, in bytes").tag(config=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # nbgrader makes the exporter when it has chosen what to grade and before it begins.
        if isinstance(self.parent, Autograde) and self.parent.coursedir.notebook_id == "*":
            self.parent.coursedir = Submissions.of(self.parent.coursedir)
            self.parent.assignments = self.parent.coursedir.notebooks()

    def from_filename(self, filename, resources=None, **kw):
        path, course = Path(filename), self.parent.coursedir
        who = resources["nbgrader"]
        folder = course.format_path(course.submitted_directory, who["student"], who["assignment"])
        if path.parent != Path(folder):
            # Between rebuilding and running nbgrader writes our own notebook and reads it again.
            return super().from_filename(filename, resources=resources, **kw)
        found = read_submission(path, rebuilding.Limits(file=self.file_limit))
        resources = {**resources, SUBMISSION: found, "outputs": {}}
        if when := read_timestamp(path.parent):
            # By it nbgrader will know a newer submission.
            resources["outputs"][TIMESTAMP] = f"{when:%Y-%m-%d %H:%M:%S.%f} UTC\n".encode()
        return self.from_notebook_node(found.notebook or new_notebook(), resources, **kw)


class Stage(NbGraderPreprocessor):
    """A preprocessor that turns an error of the grader's own into a state."""

    def preprocess(self, nb, resources):
        """Do the stage's work unless an earlier one has failed."""
        who = resources["nbgrader"]
        if recording.state_of(nb) not in UNREADABLE | {State.INFRASTRUCTURE_ERROR}:
            try:
                nb = self.work(nb, who["assignment"], who["student"])
            except Exception:
                self.log.error("%s: %s", who["student"], traceback.format_exc())
                recording.add_notes(nb, [Note.of(State.INFRASTRUCTURE_ERROR)])
        return nb, resources

    def work(self, nb: NotebookNode, assignment: str, student: str) -> NotebookNode:
        """The notebook after this stage."""
        raise NotImplementedError


class Rebuild(NbGraderPreprocessor):
    """Sanitising: see `grading.rebuild`."""

    cells = Integer(rebuilding.DEFAULT.cells, help="Most cells of a notebook").tag(config=True)
    cell_limit = Integer(rebuilding.DEFAULT.cell, help="Largest cell, in bytes").tag(config=True)

    def preprocess(self, nb, resources):
        found: Submission = resources[SUBMISSION]
        notebook, notes = released(resources["nbgrader"]["assignment"]), found.notes
        fingerprint = recording.fingerprint(found.digest, notebook)
        if found.notebook is not None:
            limits = rebuilding.Limits(cells=self.cells, cell=self.cell_limit)
            notebook, notes = rebuilding.rebuild(notebook, nb, limits)
        recording.course_metadata(notebook).update(digest=found.digest, fingerprint=fingerprint)
        recording.add_notes(notebook, notes)
        return notebook, resources


class Run(Stage):
    """Running: see `grading.run`. Times in seconds."""

    kernel = Unicode("python3", help="The kernelspec to run submissions in").tag(config=True)
    cell = Float(running.DEFAULT.cell, help="Longest time for a cell").tag(config=True)
    grace = Float(running.DEFAULT.grace, help="Time to obey an interrupt").tag(config=True)
    total = Float(running.DEFAULT.total, help="Longest time for a notebook").tag(config=True)

    def work(self, nb, assignment, student):
        limits = running.Limits(cell=self.cell, grace=self.grace, total=self.total)
        notebook, notes = running.run(nb, seed_for(assignment, student), limits, self.kernel)
        recording.add_notes(notebook, notes)
        return notebook


class Judge(Stage):
    """Judging: see `grading.judge`."""

    def work(self, nb, assignment, student):
        changed = source_path(assignment).stat().st_mtime_ns
        judged = judge_notebook(nb, seed_for(assignment, student), _reference(assignment, changed))
        tampered = [name for name, (claim, _) in judged.items() if claim.tampered]
        recording.add_notes(nb, [Note.of(State.SUSPECTED_TAMPERING, cell=n) for n in tampered])
        recording.present(nb, explained(nb, judged))
        return nb


def explained(nb: NotebookNode, judged: recording.Judged) -> recording.Judged:
    """The same verdicts; one without evidence says what became of its cells, where that is known.

    "The answer cell took too long" helps more than the NameError that came of it.
    """
    notes = {note.cell: (note.zh, note.en) for note in recording.notes_of(nb)}
    checks = check_cells(nb)
    better = dict(judged)
    for name, (claim, verdict) in judged.items():
        note = notes.get(grade_id(checks[name])) or notes.get(name)
        if claim.problem and note:
            better[name] = (replace(claim, problem=note), replace(verdict, note=note))
    return better


@lru_cache(maxsize=8)
def _reference(assignment: str, changed: int) -> Reference:
    """The assignment's solutions, read anew when the source notebook has changed."""
    return Reference(assignment)


class Record(SaveAutoGrades):
    """Recording: see `grading.record`."""

    def preprocess(self, nb, resources):
        who = resources["nbgrader"]
        recording.finish(nb)
        with Gradebook(who["db_url"]) as gradebook:
            submission = gradebook.find_submission_notebook(
                who["notebook"], who["assignment"], who["student"]
            )
            recording.save_scores(gradebook, submission, nb)
        return nb, resources
