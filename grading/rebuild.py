"""Rebuild: the released notebook with the student's answers transplanted into it.

Of a submission survive the text of its answer cells, found by `grade_id`, and the text of the
code cells that the student added. Nothing else: no outputs, metadata, cell types, attachments.
"""

import copy
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from .states import Note, State


@dataclass(frozen=True)
class Limits:
    """What a submission may hold; sizes in bytes of UTF-8."""

    file: int = 20_000_000
    cells: int = 400
    cell: int = 100_000


DEFAULT = Limits()


def grade_id(cell: NotebookNode) -> str | None:
    """The cell's nbgrader grade_id, whatever a student may have put in its place."""
    nbgrader = cell.get("metadata", {}).get("nbgrader")
    name = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return name if isinstance(name, str) else None


def is_answer(cell: NotebookNode) -> bool:
    """Whether a cell of the released notebook is one to answer in."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_check(cell: NotebookNode) -> bool:
    """Whether a cell of the released notebook is one that gives points."""
    nbgrader = cell.metadata.get("nbgrader", {})
    return bool(nbgrader.get("grade")) and not nbgrader.get("solution")


def rebuild(
    released: NotebookNode, submitted: NotebookNode, limits: Limits = DEFAULT
) -> tuple[NotebookNode, list[Note]]:
    """The released notebook with the answers of ``submitted``, and what there is to say of it.

    An answer cell that occurs twice counts the last time; the earlier ones stay, as cells the
    student added. An answer cell that is gone keeps its stub. Added cells stay after the known
    cell that precedes them. Neither argument is changed.
    """
    if problem := _beyond_limits(submitted, limits):
        return copy.deepcopy(released), [problem]
    known = {grade_id(cell): cell for cell in released.cells}
    if not any(is_answer(known[g]) for c in submitted.cells if (g := grade_id(c)) in known):
        return copy.deepcopy(released), [Note.of(State.WRONG_NOTEBOOK)]
    answers, added = _sort(known, submitted.cells)
    present = {grade_id(cell) for cell in submitted.cells}
    _past_missing_answers(released.cells, present, added)
    return _assemble(released, answers, added), []


def _beyond_limits(submitted: NotebookNode, limits: Limits) -> Note | None:
    if len(submitted.cells) > limits.cells:
        return Note.of(
            State.INVALID_FILE,
            zh=f"笔记本有 {len(submitted.cells)} 个单元，最多允许 {limits.cells} 个；"
            "请删减后重新提交。",
            en=f"The notebook has {len(submitted.cells)} cells, {limits.cells} are allowed: "
            "remove some and submit again.",
        )
    largest = max((len(_text(cell).encode()) for cell in submitted.cells), default=0)
    if largest > limits.cell:
        return Note.of(
            State.INVALID_FILE,
            zh=f"有一个单元长 {largest} 字节，最多允许 {limits.cell} 字节；请删减后重新提交。",
            en=f"A cell is {largest} bytes long, {limits.cell} are allowed: "
            "shorten it and submit again.",
        )
    return None


def _text(cell: NotebookNode) -> str:
    """The cell's text; half a surrogate pair, which no file can hold, becomes a "?"."""
    return cell.source.encode("utf-8", "replace").decode()


def _sort(
    known: dict[str, NotebookNode], cells: list[NotebookNode]
) -> tuple[dict[str, str], dict[str | None, list[str]]]:
    """(the text of each answer, the added cells' texts by the grade_id that precedes them)."""
    last = {grade_id(cell): index for index, cell in enumerate(cells)}
    answers: dict[str, str] = {}
    added: dict[str | None, list[str]] = {}
    seen: set[str] = set()
    anchor = None
    for index, cell in enumerate(cells):
        name, text = grade_id(cell), _text(cell)
        if name in known and is_answer(known[name]):
            if last[name] == index:
                answers[name] = text
                anchor = name
            else:
                added.setdefault(anchor, []).append(text)
        elif name in known and (name not in seen or text == known[name].source):
            seen.add(name)
            anchor = name
        elif cell.cell_type == "code":
            # Also a copy of a locked cell that the student made into something of their own.
            added.setdefault(anchor, []).append(text)
    return answers, added


def _past_missing_answers(
    released: list[NotebookNode], present: set[str | None], added: dict[str | None, list[str]]
) -> None:
    """Move added cells behind the stub of a deleted answer cell, which would undo them."""
    names = [grade_id(cell) for cell in released]
    for anchor in list(added):
        target = anchor
        for cell in released[names.index(anchor) + 1 if anchor else 0 :]:
            if grade_id(cell) in present or is_check(cell):
                break
            if is_answer(cell):
                target = grade_id(cell)
        if target != anchor:
            added[target] = added.pop(anchor) + added.get(target, [])


def _assemble(
    released: NotebookNode, answers: dict[str, str], added: dict[str | None, list[str]]
) -> NotebookNode:
    notebook = copy.deepcopy(released)
    cells = []
    count = 0
    for cell in [None, *notebook.cells]:
        if cell is not None:
            cell.source = answers.get(grade_id(cell), cell.source)
            cells.append(cell)
        for text in added.get(cell and grade_id(cell), []):
            count += 1
            cells.append(new_code_cell(text, id=f"added-{count}"))
    notebook.cells = cells
    return notebook
