"""Record: the verdicts into the notebook that its student will read, the scores into the gradebook.

Scores are set for every graded cell of the submission in one transaction, whatever stood there.
A score that a person gave by hand belongs to the answers that person read: it stays when the
very same file is graded again, and goes, as extra credit does, when another one was handed in.
"""

import hashlib
from html import escape
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook, SubmittedNotebook
from nbgrader.utils import compute_checksum
from sqlalchemy import Column, MetaData, String, Table, delete, insert, select

from tutor.evidence import MIME, dumps
from tutor.table import as_html, as_text
from tutor.verdict import Verdict

from .course import check_cells
from .judge import Claim
from .rebuild import is_answer
from .states import UNREADABLE, Note, State, gravest

COURSE = "autograd_course"
STYLE = "border-left: 4px solid #cf222e; padding: 0.2em 0.8em"
NO_ANSWER = "没有作答。 / No response."
Judged = dict[str, tuple[Claim, Verdict]]

# Beside nbgrader's own tables: which file the scores of a submission belong to.
GRADED_FILE = Table(
    "autograd_course_graded_file",
    MetaData(),
    Column("submitted_notebook", String(32), primary_key=True),
    Column("digest", String(64), nullable=False),
)


def course_metadata(notebook: NotebookNode) -> dict[str, Any]:
    """What the grader noted about a submission in its autograded notebook."""
    return notebook.metadata.setdefault(COURSE, {})


def fingerprint(digest: str, released: NotebookNode) -> str:
    """Names what was graded: a file, by its SHA-256, against an assignment as it was released."""
    return hashlib.sha256(f"{digest}\n{nbformat.writes(released)}".encode()).hexdigest()


def notes_of(notebook: NotebookNode) -> list[Note]:
    """The notes on a submission so far."""
    return [Note.from_json(note) for note in course_metadata(notebook).get("notes", [])]


def state_of(notebook: NotebookNode) -> State:
    """The state of a submission so far."""
    return gravest(notes_of(notebook))


def add_notes(notebook: NotebookNode, notes: list[Note]) -> None:
    """Append notes to those on a submission, and set its state to the gravest of them."""
    notes = [*notes_of(notebook), *notes]
    course_metadata(notebook)["notes"] = [note.to_json() for note in notes]
    course_metadata(notebook)["state"] = gravest(notes).label


def present(notebook: NotebookNode, judged: Judged) -> None:
    """Put the verdicts into a judged notebook; they show nothing of the key.

    Evidence goes into the notebook's metadata, where `grading.report` finds it.
    """
    checks = check_cells(notebook)
    for name, (_, verdict) in judged.items():
        checks[name].outputs.insert(0, _shown(verdict))
    course_metadata(notebook)["exercises"] = {
        name: {
            # As text: nbformat sorts the keys of metadata, and the facets have their order.
            "evidence": dumps(name, claim.evidence),
            "problem": claim.problem and list(claim.problem),
            "points": verdict.points,
            "max_points": verdict.max_points,
            "misconception": verdict.misconception and verdict.misconception.name,
        }
        for name, (claim, verdict) in judged.items()
    }


def _shown(verdict: Verdict) -> NotebookNode:
    # MathJax must not typeset what a student wrote: \href takes any address.
    table = f'<div class="tex2jax_ignore">{as_html(verdict, expected=False)}</div>'
    return new_output(
        "display_data", data={"text/html": table, "text/plain": as_text(verdict, expected=False)}
    )


def finish(notebook: NotebookNode) -> None:
    """Leave no evidence in any output, and say at the top what happened to the submission."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if MIME not in o.get("data", {})]
    sentences = dict.fromkeys((note.zh, note.en) for note in notes_of(notebook))
    blocks = [
        f'<div class="tex2jax_ignore" lang="{lang}" style="{STYLE}">{escape(text)}</div>'
        for pair in sentences
        for lang, text in zip(("zh", "en"), pair, strict=True)
    ]
    if blocks:
        notebook.cells.insert(0, new_markdown_cell("\n".join(blocks), id="submission-state"))


def points_by_cell(notebook: NotebookNode) -> dict[str, float]:
    """The points of each check cell, by its grade_id; 0 where no verdict was reached."""
    exercises = course_metadata(notebook).get("exercises", {})
    return {
        cell.metadata.nbgrader.grade_id: exercises.get(name, {}).get("points", 0.0)
        for name, cell in check_cells(notebook).items()
    }


def save_scores(
    gradebook: Gradebook, submission: SubmittedNotebook, notebook: NotebookNode
) -> None:
    """Set all scores of one submission from its judged notebook, in one transaction."""
    GRADED_FILE.create(gradebook.engine, checkfirst=True)
    state = state_of(notebook)
    digest = course_metadata(notebook)["digest"]
    points = points_by_cell(notebook)
    untouched = {c.metadata.nbgrader.grade_id for c in notebook.cells if _is_untouched(c)}
    if state in UNREADABLE:
        untouched = set()  # who handed in a broken file may have answered
    try:
        same = _remember(gradebook.db, submission.id, digest)
        for grade in submission.grades:
            grade.auto_score = points.get(grade.name, 0.0)
            if not same:
                grade.manual_score = grade.extra_credit = None
            grade.needs_manual_grade = state.person or grade.manual_score is not None
        for comment in submission.comments:
            comment.auto_comment = NO_ANSWER if comment.name in untouched else None
        gradebook.db.commit()
    except Exception:
        gradebook.db.rollback()
        raise


def _remember(session, key: str, digest: str) -> bool:
    """Note which file a submission's scores belong to; whether it is the same as before."""
    column = GRADED_FILE.c.submitted_notebook
    before = session.execute(select(GRADED_FILE.c.digest).where(column == key)).scalar()
    session.execute(delete(GRADED_FILE).where(column == key))
    session.execute(insert(GRADED_FILE).values(submitted_notebook=key, digest=digest))
    return before == digest


def _is_untouched(cell: NotebookNode) -> bool:
    return is_answer(cell) and cell.metadata.nbgrader.get("checksum") == compute_checksum(cell)
