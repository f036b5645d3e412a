"""Assignment 03 as other graders take it: the same answers, asked with `bench.assertions`."""

import ast
import inspect
import os
import subprocess
import sys
import textwrap
import zipfile
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from grading.answers import ASSIGNMENT
from grading.course import check_cells, read_source

from . import assertions, classes

SETTINGS = "c.CourseDirectory.course_id = 'stock'\n"
TOOLS = "assertion-tools"
# To stock nbgrader any text on stderr, a warning say, makes a right answer worth nothing.
NO_WARNINGS = "import warnings\n\nwarnings.simplefilter('ignore')\n"


@cache
def _module() -> tuple[str, dict[str, ast.FunctionDef]]:
    """(the source of bench.assertions, its check functions by exercise)"""
    source = inspect.getsource(assertions)
    functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
    return source, {
        n.name.removeprefix("check_"): n for n in functions if n.name.startswith("check_")
    }


def tools() -> str:
    """What the assertions use: the module without its checks and its docstring."""
    source, checks = _module()
    first = min(function.lineno for function in checks.values())
    docstring, *_ = ast.parse(source).body
    return "\n".join(source.splitlines()[docstring.end_lineno : first - 1]).strip()


def cell_of(exercise: str) -> str:
    """The plain assertions on one exercise, as a cell. Raises KeyError."""
    source, checks = _module()
    body = checks[exercise].body
    lines = source.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    return textwrap.dedent("\n".join(lines))


def source_notebook() -> NotebookNode:
    """The source of 03 for stock nbgrader: each check cell holds assertions instead."""
    notebook = read_source(ASSIGNMENT)
    checks = check_cells(notebook)
    for exercise, cell in checks.items():
        cell.source, cell.outputs, cell.execution_count = cell_of(exercise), [], None
    index = next(i for i, c in enumerate(notebook.cells) if c.metadata.nbgrader.grade)
    locked = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3}
    text = f"{NO_WARNINGS}{tools()}"
    cell = new_code_cell(text, id=TOOLS, metadata={"nbgrader": {**locked, "grade_id": TOOLS}})
    notebook.cells.insert(index, cell)
    return notebook


def build(folder: Path, count: int) -> None:
    """Make a course of stock nbgrader, its assignment generated, with ``count`` submissions."""
    path = folder / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(source_notebook(), path)
    (folder / "nbgrader_config.py").write_text(SETTINGS, encoding="utf-8")
    command = nbgrader("generate_assignment", ASSIGNMENT)
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    released = folder / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"

    def answered(index: int) -> NotebookNode:
        notebook, given = nbformat.read(released, as_version=4), classes.answer_cells(index)
        for cell in notebook.cells:
            cell.source = given.get(cell.metadata.nbgrader.grade_id, cell.source)
        return notebook

    classes.hand_in(folder, count, answered)


def nbgrader(*words: str) -> list[str]:
    """The command line of an nbgrader subcommand."""
    return [sys.executable, "-m", "nbgrader", *words]


def environment() -> dict[str, str]:
    """This process's environment, with this Python's commands found (nbgrader calls alembic)."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path}


TEST_FILE = """\
from otter.test_files import test_case

OK_FORMAT = False
name = {name!r}
points = {points}

{tools}


@test_case()
{check}
"""


def otter_tests() -> dict[str, str]:
    """The same assertions as otter-grader's test files, by their names."""
    source, checks = _module()
    points = {
        n: c.metadata.nbgrader.points for n, c in check_cells(read_source(ASSIGNMENT)).items()
    }
    return {
        f"{exercise}.py": TEST_FILE.format(
            name=exercise,
            points=points[exercise],
            tools=tools(),
            check=ast.get_source_segment(source, function),
        )
        for exercise, function in checks.items()
    }


def build_otter(folder: Path, count: int) -> None:
    """Write otter's autograder.zip and ``count`` notebooks, submitted/*.ipynb.

    They lack the check cells: otter runs its tests behind the last cell by itself.
    """
    (folder / "submitted").mkdir(parents=True)
    with zipfile.ZipFile(folder / "autograder.zip", "w") as file:
        for name, text in otter_tests().items():
            file.writestr(f"tests/{name}", text)
        file.writestr("otter_config.json", "{}")
    for index in range(count):
        notebook = nbformat.from_dict(classes.notebook(index % classes.PATTERNS))
        notebook.cells = [cell for cell in notebook.cells if not cell.metadata.nbgrader.grade]
        nbformat.write(notebook, folder / "submitted" / f"{classes.student(index)}.ipynb")
