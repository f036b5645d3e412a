"""All that a gradebook holds, by names instead of ids: what two gradebooks can be compared by."""

from nbgrader.api import (
    Assignment,
    BaseCell,
    Comment,
    Grade,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
)
from sqlalchemy import select

from grading.record import GRADED, GRADED_FILE


def rows_of(course) -> dict[str, list[tuple]]:
    """{table: its rows, sorted} of a `grading.runner.Course`."""
    who = (Assignment.name, SubmittedAssignment.student_id)
    kinds = {
        "student": select(Student.id, Student.first_name, Student.last_name, Student.email),
        "submission": select(
            *who, SubmittedAssignment.timestamp, SubmittedAssignment.extension,
            SubmittedNotebook.flagged, SubmittedNotebook.late_submission_penalty,
        ),
        "grade": select(
            *who, BaseCell.name, Grade.auto_score, Grade.manual_score, Grade.extra_credit,
            Grade.needs_manual_grade,
        ).join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, BaseCell.id == Grade.cell_id),
        "comment": select(*who, BaseCell.name, Comment.auto_comment, Comment.manual_comment)
        .join(Comment, Comment.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, BaseCell.id == Comment.cell_id),
        "file": select(*who, GRADED_FILE.c.digest)
        .join(GRADED_FILE, GRADED_FILE.c.submitted_notebook == SubmittedNotebook.id),
        "graded": select(*who, GRADED.c.key, GRADED.c.summary)
        .join(GRADED, GRADED.c.submitted_notebook == SubmittedNotebook.id),
    }  # fmt: skip
    found = {}
    with course.gradebook() as gradebook:
        for name, question in kinds.items():
            if name != "student":
                question = question.join(
                    SubmittedAssignment,
                    SubmittedAssignment.id == SubmittedNotebook.assignment_id,
                ).join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
                question = question.select_from(SubmittedNotebook)
            found[name] = sorted(map(tuple, gradebook.db.execute(question)), key=repr)
    return found
