"""A course of one small exercise, for tests of what proves, judges and ships exercises."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tutor import exercise as ex
from tutor.evidence import attempt

ASSIGNMENT = "99-toy"
SOLUTION = '''def scaled(x, factor):
    """factor * x."""
    ### BEGIN SOLUTION
    return factor * x.clone()
    ### END SOLUTION
'''
FACETS = (
    ex.Facet("value", 2, "数值", "value"),
    ex.Facet("scalar", 1, "标量", "a scalar", needs=("value",)),
)


def probe_scaled(answer, rng):
    """Ask for a matrix and for a scalar."""
    import torch

    x = torch.from_numpy(rng.uniform(1, 2, (2, 3)))
    factor = float(rng.uniform(2, 3))
    yield "value", attempt(answer, x, factor)
    yield "scalar", attempt(answer, x[0, 0], factor)


probe_scaled.__name__ = "scaled"
TOY = ex.Exercise("scaled", ASSIGNMENT, FACETS, probe_scaled)


def nbgrader(grade_id, **flags):
    base = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3}
    return {"nbgrader": base | {"grade_id": grade_id} | flags}


def make(root: Path, solution: str = SOLUTION) -> Path:
    """Write source/99-toy/99-toy.ipynb below ``root``; returns ``root``."""
    cells = [
        new_code_cell("import torch\nfrom tutor import check", metadata=nbgrader("imports")),
        new_code_cell(solution, metadata=nbgrader("scaled", solution=True, locked=False)),
        new_code_cell("check(scaled)", metadata=nbgrader("check-scaled", grade=True, points=3)),
    ]
    path = root / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), path)
    return root
