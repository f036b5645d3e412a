"""Export: nbgrader's CSV of scores.

Columns, rows and values are those of nbgrader's CsvExportPlugin. That one asks six questions a
student, and a name with a comma or a quote in it breaks its rows.
"""

import csv
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from nbgrader.api import Gradebook, Student, SubmittedAssignment
from sqlalchemy import and_, select

COLUMNS = (
    "assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
    "raw_score", "late_submission_penalty", "score", "max_score",
)  # fmt: skip


def write_csv(path: Path, gradebook: Gradebook, assignments: Iterable[str]) -> None:
    """Write the scores of these assignments, a row for every student. Raises OSError."""
    chosen = set(assignments)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".grades-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for assignment in gradebook.assignments:
                if assignment.name in chosen:
                    rows.writerows(_rows(gradebook, assignment))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _rows(gradebook: Gradebook, assignment) -> Iterable[list[str]]:
    handed_in = and_(
        SubmittedAssignment.student_id == Student.id,
        SubmittedAssignment.assignment_id == assignment.id,
    )
    question = (
        select(
            Student.id, Student.last_name, Student.first_name, Student.email,
            SubmittedAssignment.timestamp, SubmittedAssignment.score,
            SubmittedAssignment.late_submission_penalty,
        )
        .outerjoin(SubmittedAssignment, handed_in)
        .order_by(Student.last_name, Student.first_name, Student.id)
        .execution_options(yield_per=1000)
    )  # fmt: skip
    name, due, most = assignment.name, assignment.duedate, assignment.max_score
    for student, last, first, email, when, raw, penalty in gradebook.db.execute(question):
        raw, penalty = raw or 0.0, penalty or 0.0
        values = [name, due, when, student, last, first, email, raw, penalty,
                  max(0.0, raw - penalty), most]  # fmt: skip
        yield ["" if value is None else str(value) for value in values]
