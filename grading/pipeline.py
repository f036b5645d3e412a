"""The way from a submission to a score, as nbgrader's own extension points take it.

nbgrader_config.py names these classes, so that `nbgrader autograde` and the formgrader's button
grade as `python -m grading grade` does: each submission is a task, performed in this process.

The judge is imported when it is needed: nbgrader reads the settings, and with them this module, in
processes that judge nothing.
"""

from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.converters.base import NbGraderException
from nbgrader.preprocessors import NbGraderPreprocessor

from .engine import Here, outcomes
from .folders import Submissions, timestamp_line
from .intake import assignment_content, take_in
from .record import Recorder
from .settings import NotIsolated, Settings, require_isolation
from .submission import TIMESTAMP, read_timestamp

TASK = "task"


class SubmissionExporter(NotebookExporter):
    """Takes in any submitted file; what cannot be graded goes on as a state, not as an error."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # nbgrader makes the exporter when it has chosen what to grade and before it begins.
        if isinstance(self.parent, Autograde):
            self._refuse_without_isolation()
            if self.parent.coursedir.notebook_id == "*":
                self.parent.coursedir = Submissions.of(self.parent.coursedir)
                self.parent.assignments = self.parent.coursedir.notebooks()

    def _refuse_without_isolation(self):
        try:
            self.log.info(require_isolation(Settings.of(self.config)))
        except NotIsolated as error:
            self.log.error(str(error))
            raise NbGraderException(str(error)) from None

    def from_filename(self, filename, resources=None, **kw):
        path, course = Path(filename), self.parent.coursedir
        who = resources["nbgrader"]
        folder = course.format_path(course.submitted_directory, who["student"], who["assignment"])
        if path.parent != Path(folder):
            # Between grading and recording nbgrader writes our own notebook and reads it again.
            return super().from_filename(filename, resources=resources, **kw)
        assignment = assignment_content(who["assignment"])
        task = take_in(assignment, who["student"], path, Settings.of(self.config))
        resources = {**resources, TASK: task, "outputs": {}}
        if when := read_timestamp(path.parent):
            # By it nbgrader will know a newer submission.
            resources["outputs"][TIMESTAMP] = timestamp_line(when)
        return self.from_notebook_node(new_notebook(), resources, **kw)


class Grade(NbGraderPreprocessor):
    """Sanitising, and all the rest: see `grading.worker`."""

    def preprocess(self, nb, resources):
        ((task, result),) = outcomes(Here(), iter([resources[TASK]]))
        if isinstance(result, Exception):
            from .worker import failed

            self.log.error("%s: %s", task.student, result)
            result = failed(task)
        return nbformat.reads(result["notebook"], as_version=4), resources


class Record(NbGraderPreprocessor):
    """Recording: see `grading.record`."""

    def preprocess(self, nb, resources):
        from .present import summary

        who = resources["nbgrader"]
        with Gradebook(who["db_url"]) as gradebook:
            Recorder(gradebook, who["assignment"]).save(who["student"], summary(nb))
        return nb, resources
