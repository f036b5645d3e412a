"""Makes a course folder with the made-up class's submissions: ``python classroom.py FOLDER``."""

import ast
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

from grading import misconceptions
from grading.course import ROOT, read_source
from grading.release import released

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


def solved(answers: dict[str, str], assignment: str = ASSIGNMENT) -> NotebookNode:
    """What a student hands in: the released notebook with answers, the source's by default."""
    notebook = released(assignment)
    source = {c.metadata.nbgrader.grade_id: c.source for c in read_source(assignment).cells}
    for cell in notebook.cells:
        name = cell.metadata.nbgrader.grade_id
        answer = answers.get(name, "source")
        if cell.metadata.nbgrader.solution and answer != "stub":
            cell.source = code_of(name, answer, source[name])
    return notebook


def code_of(exercise: str, answer: str, source: str) -> str:
    """The code of an answer as members.py gives it."""
    kind, _, name = answer.partition(" ")
    if answer == "source":
        return source
    if kind == "alternative":
        return named(exercise, name, misconceptions.alternatives(exercise))
    if kind == "wrong":
        return named(exercise, name, misconceptions.misconceptions(exercise))
    return answer


def named(exercise: str, name: str, among: list) -> str:
    """The function of that name as a student would write it, with all that it uses."""
    (found,) = [candidate.answer for candidate in among if candidate.name == name]
    body = ast.parse(inspect.getsource(inspect.getmodule(found))).body
    imports = [
        node
        for node in body
        if isinstance(node, ast.Import) or isinstance(node, ast.ImportFrom) and not node.level
    ]
    known = {defined: node for node in body for defined in names_of(node)}
    needed, queue = {name}, [name]
    while queue:
        used = {n.id for n in ast.walk(known[queue.pop()]) if isinstance(n, ast.Name)}
        queue += (used & set(known)) - needed
        needed |= used & set(known)
    known[name].name = exercise
    chosen = [node for node in body if needed & set(names_of(node)) or node is known[name]]
    for node in chosen:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = [d for d in node.decorator_list if not registers(d)]
    return "\n\n".join(ast.unparse(node) for node in [*imports, *chosen])


def registers(decorator: ast.expr) -> bool:
    """Whether a decorator is one of grading.misconceptions, which no student has."""
    return ast.unparse(decorator).startswith(("misconception(", "alternative("))


def names_of(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


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
