"""Kernels that start warm, and kernels in a sandbox, for whatever speaks jupyter_client."""

from pathlib import Path

from .sandbox import Isolation, NoSandbox, isolation
from .warm import shut_down

__all__ = ["JUPYTER", "Isolation", "NoSandbox", "isolation", "prepare", "shut_down"]

# For JUPYTER_PATH: the kernelspecs "warm" and "sandbox".
JUPYTER = Path(__file__).with_name("jupyter")


def prepare(kernel: str, code: str = "") -> None:
    """Let what kernels like this need get ready while this process does something else.

    kernel: a kernelspec's name; only "sandbox" has anything to get ready. code: what the kernels
    will run, to tell what they will import: it takes seconds, and is done once for all of them.
    Raises NoSandbox, `grading.kernels.warm.ParentFailed`.
    """
    if kernel == "sandbox":
        from . import sandbox

        sandbox.prepare(code)
