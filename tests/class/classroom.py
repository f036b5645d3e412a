"""Makes a course folder with the made-up class's submissions: ``python classroom.py FOLDER``."""

import inspect
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from members import ASSIGNMENT, MEMBERS, OTHERS, Member
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from grading.answers import solved
from grading.course import ROOT

SETTINGS = """\
load_subconfig("nbgrader_config.py", path={root!r})
c.CourseDirectory.root = {folder!r}
c.Run.cell = {cell}
c.Run.grace = 2.0
"""


def build(folder: Path, members: Sequence[Member] = (*MEMBERS, *OTHERS), cell: float = 8.0) -> None:
    """Make a course folder: settings, the sources and each member's submission.

    cell: seconds that a cell may take.
    """
    folder = folder.resolve()
    settings = SETTINGS.format(root=str(ROOT), folder=str(folder), cell=cell)
    (folder / "nbgrader_config.py").write_text(settings, encoding="utf-8")
    for assignment in {ASSIGNMENT, *(member.assignment for member in members)}:
        shutil.copytree(ROOT / "source" / assignment, folder / "source" / assignment)
    for member in members:
        hand_in(member, folder / "submitted" / member.name / member.assignment)


def hand_in(member: Member, folder: Path) -> None:
    """Write one member's submission, in place of an earlier one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    notebook = solved(member.answers, member.assignment)
    path = folder / f"{member.assignment}.ipynb"
    edit = globals()[member.edit] if member.edit else None
    if edit and "path" in inspect.signature(edit).parameters:
        nbformat.write(notebook, path)
        edit(path)
    else:
        if edit:
            edit(notebook)
        nbformat.write(notebook, path)


def where(notebook: NotebookNode, name: str) -> int:
    """The index of the cell with that grade_id."""
    (index,) = [
        i
        for i, cell in enumerate(notebook.cells)
        if cell.metadata.get("nbgrader", {}).get("grade_id") == name
    ]
    return index


def copy_of(cell: NotebookNode) -> NotebookNode:
    """A cell as copy and paste makes it: another id, the same metadata."""
    return nbformat.from_dict({**json.loads(json.dumps(cell)), "id": f"{cell.id}-copy"})


# Edits of the notebook


def help(notebook: NotebookNode) -> None:
    helper = "def fresh(x):\n    return x.detach().requires_grad_()"
    notebook.cells.insert(where(notebook, "vjp"), new_code_cell(helper))
    notebook.cells.append(new_markdown_cell("My own notes."))
    notebook.cells.append(new_code_cell("1 / 0"))


def delete(notebook: NotebookNode) -> None:
    del notebook.cells[where(notebook, "vjp")]
    del notebook.cells[where(notebook, "check-jac_rows")]


def rewrite(notebook: NotebookNode) -> None:
    index = where(notebook, "vjp")
    notebook.cells[index] = new_code_cell(notebook.cells[index].source)


def duplicate(notebook: NotebookNode) -> None:
    index = where(notebook, "vjp")
    first = copy_of(notebook.cells[index])
    first.source = "def vjp(f, x, v):\n    return None"
    notebook.cells.insert(index, first)
    index = where(notebook, "check-jac_rows")
    notebook.cells.insert(index, copy_of(notebook.cells[index]))


def retype(notebook: NotebookNode) -> None:
    for name, kind in (("vjp", "markdown"), ("check-jac_rows", "raw"), ("vjp_multi", "raw")):
        cell = notebook.cells[where(notebook, name)]
        cell.cell_type = kind
        del cell["outputs"], cell["execution_count"]


def rename(notebook: NotebookNode) -> None:
    cell = notebook.cells[where(notebook, "vjp")]
    cell.source = cell.source.replace("def vjp(", "def my_vjp(")


def poison(notebook: NotebookNode) -> None:
    """Everything that a student may put beside the code: outputs, metadata, tags, points."""
    attack = "<script>alert('metadata')</script>"
    notebook.metadata["title"] = attack
    notebook.metadata["autograd_course"] = {"state": attack, "notes": [{"state": "graded"}]}
    notebook.metadata.kernelspec = {"name": attack, "display_name": attack, "language": "python"}
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution", "hide_input"]
        cell.metadata.nbgrader["points"] = 1000
        cell.metadata["magics_language"] = attack
        if cell.cell_type == "code":
            cell.outputs = [new_output("display_data", data={"text/html": attack})]
    notebook.cells.insert(1, new_markdown_cell(attack, attachments={attack: {"image/png": ""}}))
    check = notebook.cells[where(notebook, "check-weighted_losses")]
    check.source = f"print({attack!r})"


# Edits of the folder


def add_files(path: Path) -> None:
    folder = path.parent
    for name in ("torch.py", "tutor.py", "sitecustomize.py"):
        (folder / name).write_text("raise SystemExit('a foreign module')\n", encoding="utf-8")
    (folder / "timestamp.txt").write_text("<script>no time</script>\n", encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "secret.txt").symlink_to(ROOT / "nbgrader_config.py")
    (folder / "others").symlink_to(folder.parent.parent)
    (folder / "<img src=x onerror=alert(7)>.txt").touch()


def format_3(path: Path) -> None:
    notebook = nbformat.convert(nbformat.read(path, as_version=4), 3)
    path.write_text(nbformat.writes(notebook, version=3), encoding="utf-8")


def format_9(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**notebook, "nbformat": 9}), encoding="utf-8")


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def hollow(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(Path("..", "..", "perfect", ASSIGNMENT, path.name))


def confuse(path: Path) -> None:
    nbformat.write(nbformat.read(ROOT / "notebooks" / path.name, as_version=4), path)


def misname(path: Path) -> None:
    path.rename(path.with_name("homework final (2).ipynb"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("classroom.py FOLDER")
    build(Path(sys.argv[1]))
