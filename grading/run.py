"""Run: a rebuilt notebook in a kernel of its own, whatever its code does to that kernel.

The kernel is a sandboxed one unless another is asked for. A cell that takes too long is
interrupted. A cell that ends its kernel, cannot be interrupted, or goes beyond what a submission
may use, is left out, and a fresh kernel runs the notebook again: one exercise is lost, not the
rest.
"""

import copy
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output

from tutor.check import SEED_VARIABLE

from . import kernels, sockets
from .client import DEFAULT, Client, KernelLost, Limits
from .rebuild import grade_id
from .states import Note, State

# What the kernel must not inherit: the way to everybody's seeds.
WITHHELD = ("COURSE_SECRET",)


class OutOfTime(Exception):
    """The submission used up its time before the cell at ``index``."""

    def __init__(self, index: int):
        super().__init__(f"cell {index}: no time left")
        self.index = index


@dataclass
class Budget:
    """The seconds that are left for cells; that kernels start is not charged to a submission."""

    left: float

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Count the time in which something is done."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.left -= time.monotonic() - started


def run(
    notebook: NotebookNode, seed: str, limits: Limits = DEFAULT, kernel: str = kernels.SANDBOX
) -> tuple[NotebookNode, list[Note]]:
    """Execute a rebuilt notebook under ``seed``: (the notebook with outputs, what happened).

    Outputs keep text, errors, PNG pictures and evidence, each within ``limits``. kernel: "sandbox",
    or without isolation "warm" or an installed one. Raises only for what is no fault of the
    submission, as a kernel that does not start.
    """
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    kernels.prepare(kernel, code)
    lost: dict[int, State] = {}
    budget = Budget(limits.total)
    furthest = (-1, notebook)
    while True:
        attempt = copy.copy(notebook)
        attempt.cells = [copy.copy(cell) for cell in notebook.cells]
        try:
            interrupted = _attempt(attempt, seed, limits, kernel, budget, set(lost))
        except KernelLost as error:
            lost[error.index] = error.state
            furthest = max(furthest, (error.index, attempt), key=lambda pair: pair[0])
            continue
        except OutOfTime as error:
            _, attempt = max(furthest, (error.index, attempt), key=lambda pair: pair[0])
            return _marked(attempt, lost), [*_notes(attempt, lost), Note.of(State.TIMEOUT)]
        happened = lost | dict.fromkeys(interrupted, State.TIMEOUT)
        return _marked(attempt, happened), _notes(attempt, happened)


def _attempt(
    notebook: NotebookNode, seed: str, limits: Limits, kernel: str, budget: Budget, skip: set[int]
) -> list[int]:
    """Run all cells but ``skip`` in one kernel; the indices of the cells that were interrupted.

    Raises KernelLost, OutOfTime.
    """
    interrupted = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        client = Client(limits, sockets.guarded_manager(Path(home), kernel))
        try:
            client.begin(**_surroundings(Path(home), seed, kernel))
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or index in skip:
                    continue
                if budget.left <= 0:
                    raise OutOfTime(index)
                with budget.spent():
                    in_time = client.perform(cell, index, min(limits.cell, budget.left))
                if not in_time:
                    interrupted.append(index)
        finally:
            client.end()
    return interrupted


def _surroundings(home: Path, seed: str, kernel: str) -> dict[str, Any]:
    """Where a kernel is to run, and in what environment: in the sandbox nothing but the seed."""
    if kernel == kernels.SANDBOX:
        return {"env": {SEED_VARIABLE: seed}}
    folder = home / "submission"
    for name in (folder, home / "ipython", home / "config"):
        name.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in WITHHELD} | {
        SEED_VARIABLE: seed,
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "config"),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {"cwd": str(folder), "env": environment}


def _notes(notebook: NotebookNode, happened: dict[int, State]) -> list[Note]:
    return [
        Note.of(state, cell=grade_id(notebook.cells[index]) or notebook.cells[index].id)
        for index, state in sorted(happened.items())
    ]


def _marked(notebook: NotebookNode, happened: dict[int, State]) -> NotebookNode:
    """Let each cell that was lost or stopped say so, in place of the error it shows."""
    for index, state in happened.items():
        cell = notebook.cells[index]
        kept = [o for o in cell.get("outputs", []) if o.output_type != "error"]
        name = "".join(part.title() for part in state.label.split("_"))
        line = f"{state.zh} / {state.en}"
        error = new_output("error", ename=name, evalue=line, traceback=[f"{name}: {line}"])
        cell.outputs = [*kept, error]
    return notebook
