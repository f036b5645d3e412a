"""What takes seconds to get ready, and is begun before the grader itself is imported."""

import gc
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

from . import kernels
from .course import assignments, source_path


@contextmanager
def imports() -> Iterator[None]:
    """Import without looking for garbage among what is never let go, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def begin(assignment: str | None, workers: bool, sandbox: bool) -> None:
    """Let what grading an assignment on this machine needs get ready; None: all assignments.

    Raises `grading.course.UnknownAssignment`.
    """
    if workers:
        workers_context()
    if sandbox:
        names = [assignment] if assignment else assignments()
        text = "".join(source_path(name).read_text(encoding="utf-8") for name in names)
        with suppress(kernels.NoSandbox):  # whoever needs one will say so
            kernels.prepare(kernels.SANDBOX, text)


def workers_context() -> BaseContext:
    """How to start workers: from a process that has imported the judge and run nothing.

    That one is Python's fork server: a process with threads, as the grader is, must not fork. It
    gets ready while this returns. Where there is none, each worker starts by itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["grading.ready"])
    # numpy would start threads as it is imported.
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["OPENBLAS_NUM_THREADS"]
        if before is not None:
            os.environ["OPENBLAS_NUM_THREADS"] = before
    return context
