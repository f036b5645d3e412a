"""Submissions made of the answers that the course knows: for the made-up class and the benchmarks.

An answer is "source", "stub", "alternative NAME", "wrong NAME" (of grading.misconceptions) or the
code itself.
"""

import ast
import inspect

from nbformat import NotebookNode

from . import misconceptions
from .course import read_source
from .release import released

ASSIGNMENT = "03-vjp"  # the made-up class's own


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
    """The code of an answer to an exercise; ``source`` is the source's."""
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
