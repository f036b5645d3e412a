"""(e) From `check()` to its table, as a student waits for it in a running kernel."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

from jupyter_client.manager import KernelManager

from grading import misconceptions
from grading.answers import code_of
from grading.course import assignments
from grading.key import Reference

from .measure import BenchError

PATIENCE = 120  # seconds for any one cell
MILLI = 1000


@dataclass
class Waits:
    """Milliseconds that a student waits for the table of one exercise."""

    assignment: str
    exercise: str
    right: list[float] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.right + self.wrong)

    @property
    def most(self) -> float:
        return max(self.right + self.wrong)


@contextmanager
def kernel():
    """A client of a student's own kernel: started cold, in an empty folder, ready."""
    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=PATIENCE)
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def table_after(client, code: str) -> float:
    """Milliseconds from sending ``code`` to its table being here. Raises BenchError without one."""
    seen = []

    def look(message: dict) -> None:
        data = message["content"].get("data", {})
        if message["msg_type"] == "display_data" and "text/html" in data:
            seen.append(time.perf_counter())

    started = time.perf_counter()
    client.execute_interactive(
        code, store_history=False, output_hook=look, timeout=PATIENCE, allow_stdin=False
    )
    if len(seen) != 1:
        raise BenchError(f"{code} showed {len(seen)} tables")
    return (seen[0] - started) * MILLI


def run_cell(client, code: str) -> None:
    """Run a cell that must succeed. Raises BenchError."""
    reply = client.execute_interactive(
        code, store_history=False, output_hook=lambda message: None, timeout=PATIENCE
    )
    if reply["content"]["status"] != "ok":
        raise BenchError(f"{code[:80]} …: {reply['content'].get('evalue')}")


def first_check(rounds: int) -> list[float]:
    """Milliseconds for the first check of the course in a new kernel, one kernel each time.

    The kernel has run the notebook's cell of imports, torch among them, and the answer.
    """
    found = []
    for _ in range(rounds):
        reference = Reference(assignments()[0])
        name = reference.exercises[0].name
        with kernel() as client:
            run_cell(client, reference.setup)
            run_cell(client, reference.sources[name])
            found.append(table_after(client, f"check({name})"))
    return found


def every_exercise(rounds: int, say: Callable[[str], None]) -> list[Waits]:
    """Each exercise of the course in a kernel that has checked before, right and wrong in turn."""
    found = []
    for assignment in assignments():
        reference = Reference(assignment)
        with kernel() as client:
            run_cell(client, reference.setup)
            for exercise in reference.exercises:
                waits = _waits(client, assignment, exercise.name, reference, rounds)
                found.append(waits)
                say(f"{assignment} {exercise.name}: median {waits.median:.0f} ms")
    return found


def _waits(client, assignment: str, name: str, reference: Reference, rounds: int) -> Waits:
    waits, source = Waits(assignment, name), reference.sources[name]
    wrong = code_of(name, f"wrong {misconceptions.misconceptions(name)[0].name}", source)
    run_cell(client, source)
    table_after(client, f"check({name})")  # whatever this exercise loads, it has loaded
    for _ in range(rounds):
        for code, times in ((source, waits.right), (wrong, waits.wrong)):
            run_cell(client, code)
            times.append(table_after(client, f"check({name})"))
    return waits
