"""Present: the verdicts in the notebook that its student will read, and what there is to record.

What the grader notes about a submission is in the metadata of its autograded notebook, under
COURSE. `summary` is the part of it that the gradebook needs.
"""

from html import escape
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from tutor.evidence import MIME, dumps
from tutor.table import as_html, as_text
from tutor.verdict import Verdict

from .course import check_cells
from .judge import Claim
from .rebuild import grade_id, is_answer
from .states import UNREADABLE, Note, State, gravest

COURSE = "autograd_course"
STYLE = "border-left: 4px solid #cf222e; padding: 0.2em 0.8em"
Judged = dict[str, tuple[Claim, Verdict]]


def course_metadata(notebook: NotebookNode) -> dict[str, Any]:
    """What the grader noted about a submission in its autograded notebook."""
    return notebook.metadata.setdefault(COURSE, {})


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
            "unproven": list(claim.unproven),
            "doubt": claim.doubt and list(claim.doubt),
            "points": verdict.points,
            "max_points": verdict.max_points,
            "misconception": verdict.misconception and verdict.misconception.name,
        }
        for name, (claim, verdict) in judged.items()
    }


def _shown(verdict: Verdict) -> NotebookNode:
    # MathJax must not typeset what a student wrote: \href takes any address.
    table = f'<div class="tex2jax_ignore">{as_html(verdict, expected=False)}</div>'
    data = {"text/html": table, "text/plain": as_text(verdict, expected=False)}
    # nbformat's own constructor would validate each output, and then all of them again.
    return nbformat.from_dict({"output_type": "display_data", "metadata": {}, "data": data})


def finish(notebook: NotebookNode, released: NotebookNode) -> None:
    """Note the points, leave no evidence in any output, say at the top what happened."""
    course_metadata(notebook).update(
        points=_points_by_cell(notebook), untouched=_untouched(notebook, released)
    )
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


def _points_by_cell(notebook: NotebookNode) -> dict[str, float]:
    """The points of each check cell, by its grade_id; 0 where no verdict was reached."""
    exercises = course_metadata(notebook).get("exercises", {})
    return {
        cell.metadata.nbgrader.grade_id: exercises.get(name, {}).get("points", 0.0)
        for name, cell in check_cells(notebook).items()
    }


def _untouched(notebook: NotebookNode, released: NotebookNode) -> list[str]:
    """The grade_ids of the answer cells that are as they were released."""
    if state_of(notebook) in UNREADABLE:
        return []  # who handed in a broken file may have answered
    stubs = {grade_id(cell): cell.source for cell in released.cells if is_answer(cell)}
    named = {grade_id(cell): cell.source for cell in notebook.cells}
    return [name for name, stub in stubs.items() if named.get(name) == stub]


def summary(notebook: NotebookNode) -> dict[str, Any]:
    """What the gradebook needs of a finished notebook, as JSON.

    key: of the task, "" if the result must not be kept. digest: of the submitted file. state: its
    label. points: by check cell. untouched: answer cells. exercises: points and misconceptions.
    """
    noted = course_metadata(notebook)
    exercises = {
        name: {"points": found["points"], "misconception": found["misconception"]}
        for name, found in noted.get("exercises", {}).items()
    }
    plain = {name: noted[name] for name in ("key", "digest", "points", "untouched")}
    return {**plain, "state": state_of(notebook).label, "exercises": exercises}
