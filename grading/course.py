"""Where the course is, which assignments it has, and what its source notebooks hold."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # to import it takes as long as everything else that a command needs at first
    import nbformat

ROOT = Path(__file__).resolve().parent.parent


def course_notebooks(root: Path = ROOT) -> list[Path]:
    """The lessons and the source assignments below `root`, in order."""
    return sorted(root.glob("notebooks/*.ipynb")) + sorted(root.glob("source/*/*.ipynb"))


class UnknownAssignment(LookupError):
    """There is no assignment of that name in source/."""


def assignments(root: Path = ROOT) -> list[str]:
    """The names of the course's assignments, in order: the folders of source/ with a notebook."""
    return sorted(p.parent.name for p in root.glob("source/*/*.ipynb") if p.stem == p.parent.name)


def source_path(assignment: str, root: Path = ROOT) -> Path:
    """The source notebook of an assignment. Raises UnknownAssignment."""
    known = assignments(root)
    if assignment not in known:
        raise UnknownAssignment(
            f"没有名为 {assignment!r} 的作业；现有作业：{'、'.join(known) or '无'}。 / "
            f"There is no assignment {assignment!r}; there is {', '.join(known) or 'none'}."
        )
    return root / "source" / assignment / f"{assignment}.ipynb"


def read_source(assignment: str, root: Path = ROOT) -> nbformat.NotebookNode:
    """The source notebook of an assignment, solved. Raises UnknownAssignment."""
    import nbformat

    return nbformat.read(source_path(assignment, root), as_version=4)


def checked_exercise(source: str) -> str | None:
    """The exercise that a check cell asks about: "vjp" for ``check(vjp)``; None for other cells."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None
    match body:
        case [ast.Expr(ast.Call(func=ast.Name("check"), args=[ast.Name(name)], keywords=[]))]:
            return name
    return None


def check_cells(notebook: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    """The check cells of a notebook that nbgrader grades, by the name of their exercise."""
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade"):
            name = checked_exercise(cell.source)
            if name:
                found[name] = cell
    return found
