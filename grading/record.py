"""Record: the scores of submissions into nbgrader's gradebook, one transaction a submission.

Scores are set for every graded cell of a submission, whatever stood there. A score that a person
gave by hand belongs to the answers that person read: it stays when the very same file is graded
again, and goes, as extra credit does, when another one was handed in.

nbgrader's tables are written directly: its converter makes ten transactions of a submission, and
scans whole tables in them. What they hold afterwards is the same (a test compares).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nbgrader.api import (
    Assignment,
    BaseCell,
    Comment,
    Grade,
    Gradebook,
    GradeCell,
    Notebook,
    SolutionCell,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
    TaskCell,
)
from sqlalchemy import (
    Column,
    Connection,
    Index,
    MetaData,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from .gradebook import patiently, transaction
from .states import State

NO_ANSWER = "没有作答。 / No response."
# late_submission_penalty(student, score, seconds late) of nbgrader's plugin
Penalty = Callable[[str, float, float], float | None]
Summary = dict[str, Any]

# Beside nbgrader's own tables: which file the scores of a submission belong to,
OURS = MetaData()
GRADED_FILE = Table(
    "autograd_course_graded_file",
    OURS,
    Column("submitted_notebook", String(32), primary_key=True),
    Column("digest", String(64), nullable=False),
)
# and which task they are the result of (see `grading.task`), with what a table of scores shows.
GRADED = Table(
    "autograd_course_graded",
    OURS,
    Column("submitted_notebook", String(32), primary_key=True),
    Column("key", String(64), nullable=False),
    Column("summary", Text, nullable=False),
)
STUDENT, SUBMISSION, NOTEBOOK, GRADE, COMMENT = (
    kind.__table__ for kind in (Student, SubmittedAssignment, SubmittedNotebook, Grade, Comment)
)
# nbgrader looks these up without an index: in a class of thousands, seconds for every submission.
INDICES = [
    Index("ix_autograd_course_grade", GRADE.c.notebook_id),
    Index("ix_autograd_course_comment", COMMENT.c.notebook_id),
    Index("ix_autograd_course_notebook", NOTEBOOK.c.assignment_id),
    Index("ix_autograd_course_submission", SUBMISSION.c.student_id),
]


@dataclass(frozen=True)
class Recorded:
    """What the gradebook holds of a submission.

    key: of the task that gave it, "" if it must be done again. total: with what a person gave.
    """

    key: str
    summary: Summary
    total: float


class Recorder:
    """Records the results of one assignment in an open gradebook.

    penalty: what nbgrader's plugin for late submissions takes off; None for nothing.
    """

    def __init__(self, gradebook: Gradebook, assignment: str, penalty: Penalty | None = None):
        self.engine, self.penalty = gradebook.engine, penalty
        patiently(self._make_tables)
        transaction(self.engine, lambda db: self._read_layout(db, assignment))

    def _make_tables(self) -> None:
        OURS.create_all(self.engine)
        for index in INDICES:
            index.create(self.engine, checkfirst=True)

    def _read_layout(self, db: Connection, assignment: str) -> None:
        """Find the assignment's rows, and its cells' ids by their names."""
        notebook = Notebook.__table__
        self.assignment = db.execute(
            select(Assignment.__table__.c.id, Assignment.__table__.c.duedate)
            .where(Assignment.__table__.c.name == assignment)
        ).one()  # fmt: skip
        self.notebook: str = db.execute(
            select(notebook.c.id)
            .where(notebook.c.assignment_id == self.assignment.id, notebook.c.name == assignment)
        ).scalar_one()  # fmt: skip
        cells = BaseCell.__table__
        rows = db.execute(
            select(cells.c.id, cells.c.name, cells.c.type)
            .where(cells.c.notebook_id == self.notebook)
        ).all()  # fmt: skip
        kinds = {kind: kind.__mapper_args__["polymorphic_identity"] for kind in
                 (GradeCell, SolutionCell, TaskCell)}  # fmt: skip
        self.scored = {r.id: r.name for r in rows
                       if r.type in (kinds[GradeCell], kinds[TaskCell])}  # fmt: skip
        self.commented = {r.id: r.name for r in rows
                          if r.type in (kinds[SolutionCell], kinds[TaskCell])}  # fmt: skip

    def recorded(self, student: str) -> Recorded | None:
        """What the gradebook holds of a student's submission; None if it was never graded."""
        return transaction(self.engine, lambda db: self._recorded(db, self._find(db, student)))

    def unchanged(self, student: str, key: str, when: datetime | None) -> Recorded | None:
        """The same, if it is the result of the task ``key``; what being late costs is updated.

        when: the submission was handed in, as in `record`.
        """

        def look(db: Connection) -> Recorded | None:
            found = self._find(db, student)
            known = self._recorded(db, found)
            if known is None or known.key != key:
                return None
            self._note_time(db, student, found, when, known.total)
            return known

        return transaction(self.engine, look)

    def _recorded(self, db: Connection, found: Row | None) -> Recorded | None:
        if found is None:
            return None
        here = GRADED.c.submitted_notebook == found.notebook
        row = db.execute(select(GRADED).where(here)).first()
        total = sum(map(score_of, self._grades(db, found.notebook)))
        return row and Recorded(row.key, json.loads(row.summary), total)

    def record(self, student: str, summary: Summary, when: datetime | None) -> float:
        """Record a result (`grading.present.summary`); the submission's score.

        when: it was handed in (UTC, naive); None leaves the time that is known.
        """

        def write(db: Connection) -> float:
            found = self._find(db, student) or self._add(db, student)
            total = self._save(db, found.notebook, summary)
            self._note_time(db, student, found, when, total)
            return total

        return transaction(self.engine, write)

    def save(self, student: str, summary: Summary) -> float:
        """Record the scores alone, of a submission that the gradebook knows; its score."""

        def write(db: Connection) -> float:
            return self._save(db, self._find(db, student).notebook, summary)

        return transaction(self.engine, write)

    def forget(self, student: str) -> None:
        """Let the submission be graded again, whatever is known of it."""

        def write(db: Connection) -> None:
            if found := self._find(db, student):
                here = GRADED.c.submitted_notebook == found.notebook
                db.execute(update(GRADED).where(here).values(key=""))

        transaction(self.engine, write)

    def _find(self, db: Connection, student: str) -> Row | None:
        return db.execute(
            select(
                SUBMISSION.c.id, SUBMISSION.c.timestamp, SUBMISSION.c.extension,
                NOTEBOOK.c.id.label("notebook"), NOTEBOOK.c.late_submission_penalty,
            )
            .join(NOTEBOOK, NOTEBOOK.c.assignment_id == SUBMISSION.c.id)
            .where(
                SUBMISSION.c.assignment_id == self.assignment.id,
                SUBMISSION.c.student_id == student,
                NOTEBOOK.c.notebook_id == self.notebook,
            )
        ).first()  # fmt: skip

    def _add(self, db: Connection, student: str) -> Row:
        """Add a submission with all its cells, as nbgrader's Gradebook.add_submission does."""
        if db.execute(select(STUDENT.c.id).where(STUDENT.c.id == student)).first() is None:
            db.execute(insert(STUDENT).values(id=student))
        submission = _key_of(db, SUBMISSION, assignment_id=self.assignment.id, student_id=student)
        notebook = _key_of(db, NOTEBOOK, assignment_id=submission, notebook_id=self.notebook)
        for table, cells in ((GRADE, self.scored), (COMMENT, self.commented)):
            if cells:
                db.execute(insert(table), [{"cell_id": c, "notebook_id": notebook} for c in cells])
        return self._find(db, student)

    def _grades(self, db: Connection, notebook: str) -> list[Row]:
        return db.execute(select(GRADE).where(GRADE.c.notebook_id == notebook)).all()

    def _save(self, db: Connection, notebook: str, summary: Summary) -> float:
        same = _remember(db, notebook, summary)
        person = State.named(summary["state"]).person
        rows, total = [], 0.0
        for grade in self._grades(db, notebook):
            auto = float(summary["points"].get(self.scored[grade.cell_id], 0.0))
            manual = grade.manual_score if same else None
            extra = grade.extra_credit if same else None
            flag = person or manual is not None
            rows.append({"row": grade.id, "auto_score": auto, "manual_score": manual,
                         "extra_credit": extra, "needs_manual_grade": flag})  # fmt: skip
            total += (auto if manual is None else manual) + (extra or 0.0)
        _update(db, GRADE, rows)
        comments = db.execute(
            select(COMMENT.c.id, COMMENT.c.cell_id).where(COMMENT.c.notebook_id == notebook)
        )
        untouched = set(summary["untouched"])
        _update(db, COMMENT, [
            {"row": c.id, "auto_comment": NO_ANSWER if self.commented[c.cell_id] in untouched
             else None}
            for c in comments
        ])  # fmt: skip
        return total

    def _note_time(
        self, db: Connection, student: str, found: Row, when: datetime | None, total: float
    ) -> None:
        when = when or found.timestamp
        if when != found.timestamp:
            here = SUBMISSION.c.id == found.id
            db.execute(update(SUBMISSION).where(here).values(timestamp=when))
        penalty = None
        late = seconds_late(when, self.assignment.duedate, found.extension)
        if late and self.penalty:
            penalty = self.penalty(student, total, late)
        if penalty is not None:
            penalty = max(0.0, min(penalty, total))
        if penalty != found.late_submission_penalty:
            here = NOTEBOOK.c.id == found.notebook
            db.execute(update(NOTEBOOK).where(here).values(late_submission_penalty=penalty))


def score_of(grade: Row) -> float:
    """The score of a graded cell, as `nbgrader.api.Grade.score` has it."""
    given = grade.auto_score if grade.manual_score is None else grade.manual_score
    return 0.0 if given is None else given + (grade.extra_credit or 0.0)


def seconds_late(
    when: datetime | None, due: datetime | None, extension: timedelta | None
) -> float:
    """How late a submission is, as `nbgrader.api.SubmittedAssignment.total_seconds_late` has it."""
    if when is None or due is None:
        return 0.0
    return max(0.0, (when - due - (extension or timedelta())).total_seconds())


def _key_of(db: Connection, table: Table, **values: Any) -> str:
    """Insert a row; its primary key."""
    (key,) = db.execute(insert(table).values(**values)).inserted_primary_key
    return key


def _update(db: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Set the columns of many rows, each named by its id as "row"."""
    if rows:
        values = {name: bindparam(name) for name in rows[0] if name != "row"}
        db.execute(update(table).where(table.c.id == bindparam("row")).values(values), rows)


def _remember(db: Connection, notebook: str, summary: Summary) -> bool:
    """Note which file and task a submission's scores belong to; whether the file is the same."""
    here = GRADED_FILE.c.submitted_notebook == notebook
    before = db.execute(select(GRADED_FILE.c.digest).where(here)).scalar()
    shown = {name: summary[name] for name in ("state", "exercises")}
    for table, values in (
        (GRADED_FILE, {"digest": summary["digest"]}),
        (GRADED, {"key": summary["key"], "summary": json.dumps(shown, sort_keys=True)}),
    ):
        db.execute(delete(table).where(table.c.submitted_notebook == notebook))
        db.execute(insert(table).values(submitted_notebook=notebook, **values))
    return before == summary["digest"]
