"""Kernels that start warm, and kernels in a sandbox, for whatever speaks jupyter_client."""

from pathlib import Path

from .sandbox import Isolation, NoSandbox, isolation
from .warm import shut_down

__all__ = ["JUPYTER", "QUIET", "Isolation", "NoSandbox", "isolation", "prepare", "shut_down"]

# For JUPYTER_PATH: the kernelspecs "warm" and "sandbox".
JUPYTER = Path(__file__).with_name("jupyter")

# Arguments for a kernel that only works off cells: no database of inputs, no pause of half a
# millisecond before each reply, no messages that say again what was asked.
QUIET = [
    "--HistoryManager.enabled=False",
    "--IPythonKernel._execute_sleep=0",
    "--ForkedKernel.announces=False",
]


def prepare(kernel: str, code: str = "") -> None:
    """Let what kernels like this need get ready while this process does something else.

    kernel: a kernelspec's name; only "sandbox" has anything to get ready. code: what the kernels
    will run, to tell what they will import: it takes seconds, and is done once for all of them.
    Raises NoSandbox, `grading.kernels.warm.ParentFailed`.
    """
    if kernel == "sandbox":
        from . import sandbox

        sandbox.prepare(code)
