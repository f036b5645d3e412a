"""The released form of an assignment: everything before the first answer runs, every stub says so,
no check passes, and nothing of the solutions is left.
"""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import notebooks
from .course import source_path

CALL_STUB = """
def _call_stub(name):
    import inspect, json
    function = globals()[name]
    parameters = inspect.signature(function).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    keywords = {p.name: None for p in parameters
                if p.default is p.empty and p.kind == p.KEYWORD_ONLY}
    try:
        function(*[None] * len(needed), **keywords)
        raised = ["nothing", ""]
    except Exception as error:
        raised = [type(error).__name__, str(error)]
    print(json.dumps(raised))
"""
SOLUTION = re.compile(r"### BEGIN SOLUTION(.*?)### END SOLUTION", re.DOTALL)
MARKS = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "BEGIN MARK SCHEME")


def replay_released(assignment: str, env: dict[str, str], kernel_name: str) -> list[str]:
    """What is wrong with the released form of an assignment; prints what it looked at.

    env and kernel_name: what its kernel sees, and what kind it is.
    """
    from .release import released  # imported late: nbgrader takes seconds to load

    source = notebooks.read(source_path(assignment))
    faults, counts = released_faults(released(assignment), source, env, kernel_name)
    shown = ", ".join(f"{counts[name]} {name}" for name in ("cells", "stubs", "checks"))
    print(f"released {assignment}: ran {shown}; {counts['lines']} solution lines looked for")
    return [f"released {assignment}: {fault}" for fault in faults]


def released_faults(
    nb: NotebookNode, source: NotebookNode, env: dict[str, str], kernel_name: str
) -> tuple[list[str], Counter]:
    """Run an unsolved notebook and look for what it must not have; (faults, counts).

    Every cell before the first stub runs; every stub raises NotImplementedError naming its
    task; no check passes; nothing of the solutions in `source` and no output is left.
    """
    counts: Counter = Counter()
    faults = _left_over(nb, source, counts)
    probed = nbformat.from_dict(json.loads(json.dumps(nb)))
    probed.cells = [part for cell in probed.cells for part in (cell, *_stub_calls(cell))]
    folder = Path(env["IPYTHONDIR"])
    notebooks.run(probed, folder, env, kernel_name, allow_errors=True)
    answered = False
    for cell in probed.cells:
        answered = answered or is_answer(cell)
        if cell.cell_type == "code":
            faults += _ran_as_it_must(cell, answered, counts)
    faults += [f"no {name} found" for name in ("cells", "stubs", "checks") if not counts[name]]
    return faults, counts


def is_answer(cell: NotebookNode) -> bool:
    """A code cell that the student fills in."""
    return cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution", False)


def _functions(source: str) -> list[str]:
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def _stub_calls(cell: NotebookNode) -> list[NotebookNode]:
    if not is_answer(cell):
        return []
    return [
        nbformat.v4.new_code_cell(f"{CALL_STUB}_call_stub({name!r})", metadata={"stub": name})
        for name in _functions(cell.source)
    ]


def _ran_as_it_must(cell: NotebookNode, answered: bool, counts: Counter) -> list[str]:
    errors = [output for output in cell.outputs if output.output_type == "error"]
    ended = f"{errors[0].ename}: {errors[0].evalue}".split("\n")[0] if errors else "no error"
    where = f"cell {cell.metadata.get('nbgrader', {}).get('grade_id', cell.id)}"
    if "stub" in cell.metadata:
        counts["stubs"] += 1
        return _stub_faults(cell.metadata.stub, cell.outputs)
    if cell.metadata.get("nbgrader", {}).get("grade", False) and not is_answer(cell):
        counts["checks"] += 1
        return [] if errors else [f"{where}: the check passes an unsolved exercise"]
    counts["cells"] += 1
    if is_answer(cell) and not _functions(cell.source):
        counts["stubs"] += 1
        named = cell.metadata.nbgrader.grade_id in ended
        if not ended.startswith("NotImplementedError") or not named:
            return [f"{where}: the stub must raise NotImplementedError naming it, got {ended}"]
        return []
    if errors and not (answered and ended.startswith("NotImplementedError")):
        return [f"{where}: {ended}"]
    return []


def _stub_faults(name: str, outputs: list[NotebookNode]) -> list[str]:
    text = "".join(output.get("text", "") for output in outputs)
    try:
        kind, message = json.loads(text)
    except ValueError:
        return [f"the stub {name} could not be called"]
    if kind != "NotImplementedError" or name not in message:
        return [f"the stub {name} must raise NotImplementedError naming it, got {kind}: {message}"]
    return []


def _left_over(nb: NotebookNode, source: NotebookNode, counts: Counter) -> list[str]:
    """Solution lines of `source` that stand nowhere else in it, outputs, and nbgrader's marks."""
    solutions, rest = set(), set()
    for cell in source.cells:
        if is_answer(cell):
            blocks = SOLUTION.findall(cell.source) or [cell.source]
            solutions |= {line for block in blocks for line in _lines(block)}
            rest |= _lines(SOLUTION.sub("", cell.source)) if blocks != [cell.source] else set()
        else:
            rest |= _lines(cell.source)
    secret = solutions - rest
    counts["lines"] += len(secret)
    faults = [] if secret else ["no solution found in the source notebook"]
    for cell in nb.cells:
        where = f"cell {cell.metadata.get('nbgrader', {}).get('grade_id', cell.get('id'))}"
        left = sorted(secret & _lines(cell.source))
        left += [mark for mark in MARKS if mark in cell.source]
        faults += [f"{where}: left of the solution: {line}" for line in left]
        if cell.get("outputs"):
            faults.append(f"{where}: an output is left")
    return faults


def _lines(text: str) -> set[str]:
    """Lines of code without white space and comments that say something on their own."""
    lines = (re.sub(r"\s+", "", line.split("#")[0]) for line in text.splitlines())
    return {line for line in lines if len(line) > 5 and line != "return"}
