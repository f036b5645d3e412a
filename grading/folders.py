"""A course's folders as the grader sees them, and what it writes into autograded/."""

import os
import tempfile
from datetime import datetime
from pathlib import Path

from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory

from .submission import TIMESTAMP, read_timestamp


class Submissions(CourseDirectory):
    """A course's folders; of a submission, the notebook alone."""

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

    def folders(self) -> list[Path]:
        """The folder of every submission of `assignment_id` by `student_id`.

        One that lacks the notebook counts as well: nbgrader would pass over it, and its old score
        would stay.
        """
        pattern = self.format_path(self.submitted_directory, self.student_id, self.assignment_id)
        # The course's own folder is no pattern, even if it is called [2026].
        return sorted(Path(self.root).glob(os.path.relpath(pattern, self.root)))

    def notebooks(self) -> dict[str, list[str]]:
        """{folder: [the notebook it should have]}, as nbgrader's converters want it."""
        return {str(f): [str(f / f"{self.assignment_id}.ipynb")] for f in self.folders()}


def timestamp_line(when: datetime) -> bytes:
    """What timestamp.txt says of a time in UTC."""
    return f"{when:%Y-%m-%d %H:%M:%S.%f} UTC\n".encode()


class Shelf:
    """autograded/: one notebook for each submission, and when it was handed in."""

    def __init__(self, converter: Autograde):
        """converter: nbgrader's own, for the permissions that it gives."""
        self._converter, self._course = converter, converter.coursedir

    def path(self, assignment: str, student: str) -> Path:
        """The notebook that grading a submission wrote, or will write."""
        course = self._course
        folder = course.format_path(course.autograded_directory, student, assignment)
        return Path(folder) / f"{assignment}.ipynb"

    def put(self, assignment: str, student: str, notebook: str, when: datetime | None) -> None:
        """Replace what is there, each file whole or not at all. Raises OSError.

        It may take the system a while to have it on disk; the journal waits for that.
        """
        path = self.path(assignment, student)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.put_time(assignment, student, when)
        self._replace(path, notebook.encode())
        self._converter.set_permissions(assignment, student)

    def put_time(self, assignment: str, student: str, when: datetime | None) -> None:
        """Note when the submission was handed in, by which nbgrader will know a newer one."""
        path = self.path(assignment, student).with_name(TIMESTAMP)
        if when is None:
            path.unlink(missing_ok=True)
        else:
            self._replace(path, timestamp_line(when))

    def _replace(self, path: Path, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
