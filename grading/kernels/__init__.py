"""Kernels that start warm, and kernels in a sandbox, for whatever speaks jupyter_client."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .sandbox import SANDBOX, Isolation, NoSandbox, borrow, isolation, lend
from .warm import shut_down

__all__ = [
    "CELL_TIMEOUT",
    "JUPYTER",
    "QUIET",
    "SANDBOX",
    "Isolation",
    "NoSandbox",
    "borrow",
    "cores",
    "environment",
    "isolation",
    "lend",
    "prepare",
    "shut_down",
]

# For JUPYTER_PATH: the kernelspecs "warm" and "sandbox".
JUPYTER = Path(__file__).with_name("jupyter")

# Arguments for a kernel that only works off cells: no database of inputs, no pause of half a
# millisecond before each reply, no messages that say again what was asked.
QUIET = [
    "--HistoryManager.enabled=False",
    "--IPythonKernel._execute_sleep=0",
    "--ForkedKernel.announces=False",
]

CELL_TIMEOUT = 120  # seconds, for a cell of the course's own notebooks
# What a developer's or a CI's shell may set and what would show in an output.
FOREIGN_VARIABLES = ("TUTOR_SEED", "MPLBACKEND", "MATPLOTLIBRC", "PYTHONWARNINGS")


def prepare(kernel: str, code: str = "") -> None:
    """Let what kernels like this need get ready while this process does something else.

    kernel: a kernelspec's name; only SANDBOX has anything to get ready. code: what the kernels
    will run, to tell what they will import: it takes seconds, and is done once for all of them.
    Raises NoSandbox.
    """
    if kernel == SANDBOX:
        from . import sandbox

        sandbox.prepare(code)


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The environment that notebooks run in: this process's, with private, empty settings."""
    with tempfile.TemporaryDirectory() as folder:
        env = {key: value for key, value in os.environ.items() if key not in FOREIGN_VARIABLES}
        for variable in ("IPYTHONDIR", "MPLCONFIGDIR"):
            env[variable] = str(Path(folder, variable.lower()))
            Path(env[variable]).mkdir()
        env["PYTHONHASHSEED"] = "0"
        yield env


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
