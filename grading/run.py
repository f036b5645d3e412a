"""Run: a rebuilt notebook in a kernel of its own, whatever its code does to that kernel.

A cell that takes too long is interrupted. A cell that ends its kernel, or cannot be interrupted,
is left out, and a fresh kernel runs the notebook again: one exercise is lost, not the rest.
"""

import asyncio
import base64
import binascii
import copy
import os
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

from tutor.check import SEED_VARIABLE
from tutor.evidence import MAX_BYTES, MIME

from . import sockets
from .rebuild import grade_id
from .states import Note, State

PNG = "image/png"
TEXT = "text/plain"
# What the kernel must not inherit: the way to everybody's seeds.
WITHHELD = ("COURSE_SECRET",)


@dataclass(frozen=True)
class Limits:
    """What the running of one submission may use.

    cell, grace, total and start in seconds: for a cell, for it to obey an interrupt, for all
    cells of all kernels, for a kernel to start. text and pictures in bytes per cell.
    """

    cell: float = 30.0
    grace: float = 4.0
    total: float = 180.0
    start: float = 60.0
    text: int = 20_000
    pictures: int = 1_000_000


DEFAULT = Limits()


class KernelLost(Exception):
    """The cell at ``index`` ended its kernel, or could not be stopped."""

    def __init__(self, index: int, state: State):
        super().__init__(f"cell {index}: {state.label}")
        self.index, self.state = index, state


class OutOfTime(Exception):
    """The submission used up its time before the cell at ``index``."""

    def __init__(self, index: int):
        super().__init__(f"cell {index}: no time left")
        self.index = index


def run(
    notebook: NotebookNode, seed: str, limits: Limits = DEFAULT, kernel: str = "python3"
) -> tuple[NotebookNode, list[Note]]:
    """Execute a rebuilt notebook under ``seed``: (the notebook with outputs, what happened).

    Outputs keep text, errors, PNG pictures and evidence, each within ``limits``. Raises only for
    what is no fault of the submission, as a kernel that does not start.
    """
    return run_sync(_run)(notebook, seed, limits, kernel)


async def _run(
    notebook: NotebookNode, seed: str, limits: Limits, kernel: str
) -> tuple[NotebookNode, list[Note]]:
    lost: dict[int, State] = {}
    deadline = time.monotonic() + limits.total
    furthest = (-1, notebook)
    while True:
        attempt = copy.deepcopy(notebook)
        try:
            interrupted = await _attempt(attempt, seed, limits, kernel, deadline, set(lost))
        except KernelLost as error:
            lost[error.index] = error.state
            furthest = max(furthest, (error.index, attempt), key=lambda pair: pair[0])
            continue
        except OutOfTime as error:
            _, attempt = max(furthest, (error.index, attempt), key=lambda pair: pair[0])
            return _marked(attempt, lost), [*_notes(attempt, lost), Note.of(State.TIMEOUT)]
        happened = lost | dict.fromkeys(interrupted, State.TIMEOUT)
        return _marked(attempt, happened), _notes(attempt, happened)


async def _attempt(
    notebook: NotebookNode, seed: str, limits: Limits, kernel: str, deadline: float, skip: set[int]
) -> list[int]:
    """Run all cells but ``skip`` in one kernel; the indices of the cells that were interrupted.

    Raises KernelLost, OutOfTime.
    """
    interrupted = []
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        folder, environment = _surroundings(Path(home), seed)
        client = Client(notebook, limits, sockets.manager(Path(home), kernel))
        await client.begin(cwd=str(folder), env=environment)
        try:
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or index in skip:
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    raise OutOfTime(index)
                if not await client.perform(cell, index, min(limits.cell, left)):
                    interrupted.append(index)
        finally:
            await client.end()
    return interrupted


def _surroundings(home: Path, seed: str) -> tuple[Path, dict[str, str]]:
    """An empty folder to run in, and an environment that points every cache beside it."""
    folder = home / "submission"
    for name in (folder, home / "ipython", home / "matplotlib", home / "config"):
        name.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in WITHHELD} | {
        SEED_VARIABLE: seed,
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "config"),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return folder, environment


class Client(NotebookClient):
    """nbclient with time limits that also hold against code that will not be interrupted."""

    def __init__(self, notebook: NotebookNode, limits: Limits, kernel: AsyncKernelManager):
        super().__init__(
            notebook,
            km=kernel,
            timeout=None,
            allow_errors=True,
            record_timing=False,
            coalesce_streams=True,
            store_widget_state=False,
            raise_on_iopub_timeout=False,
            startup_timeout=int(limits.start),
        )
        self.limits = limits
        self._room: dict[str, int] = {}

    async def begin(self, **options: Any) -> None:
        """Start the kernel with ``cwd`` and ``env``. Raises if it does not come up."""
        arguments = ["--HistoryManager.enabled=False"]
        # What a process writes past its kernel must not reach the grader's own terminal.
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        await self.km.start_kernel(extra_arguments=arguments, **silent, **options)
        await self.async_start_new_kernel_client()

    async def end(self) -> None:
        """End the kernel and all that it left running in its process group."""
        group = getattr(self.km.provisioner, "pgid", None)
        with suppress(Exception):
            self.kc.stop_channels()
        await self.km.shutdown_kernel(now=True)
        if group and group != os.getpgrp():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    async def perform(self, cell: NotebookNode, index: int, seconds: float) -> bool:
        """Run one cell; whether it ended by itself. Raises KernelLost."""
        self._room = {"text": self.limits.text, "pictures": self.limits.pictures, MIME: MAX_BYTES}
        task = asyncio.ensure_future(self.async_execute_cell(cell, index))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        in_time = bool(done)
        if not in_time:
            with suppress(Exception):  # the kernel may have died just now
                await self.km.interrupt_kernel()
            done, _ = await asyncio.wait({task}, timeout=self.limits.grace)
        if not done:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
            raise KernelLost(index, State.TIMEOUT)
        try:
            task.result()
        except DeadKernelError:
            raise KernelLost(index, await self._cause_of_death()) from None
        return in_time

    async def _cause_of_death(self) -> State:
        code = await self.km.provisioner.poll()
        return State.OUT_OF_MEMORY if code in (-signal.SIGKILL, 137) else State.CRASHED

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int):
        """Take in what the grader keeps of a message, and no more than there is room for."""
        try:
            if msg["msg_type"] not in ("status", "execute_input"):
                content = self._kept(msg["msg_type"], msg["content"])
                if content is None:
                    return None
                msg = {**msg, "content": content}
            return super().process_message(msg, cell, cell_index)
        except (LookupError, TypeError, AttributeError, ValueError):
            return None  # no message of that form comes from a kernel: the student made it

    def _kept(self, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
        """What is kept of a message's content, nothing of it but what is named here."""
        if kind == "stream":
            text = self._cut(content.get("text"))
            name = "stderr" if content.get("name") == "stderr" else "stdout"
            return {"name": name, "text": text} if text else None
        if kind == "error":
            trace = self._cut("\n".join(map(str, content.get("traceback") or [])))
            return {
                "ename": plain(content.get("ename"))[:200],
                "evalue": plain(content.get("evalue"))[:2000],
                "traceback": trace.split("\n"),
            }
        if kind not in ("display_data", "execute_result"):
            return None  # widgets; clear_output and updates, which reach into other outputs
        data = self._kept_data(content["data"])
        if not data:
            return None
        return {"data": data, "metadata": {}, "execution_count": content.get("execution_count")}

    def _kept_data(self, data: dict[str, Any]) -> dict[str, str]:
        kept = {}
        if MIME in data and self._fits(MIME, data[MIME]):
            kept[MIME] = data[MIME]
        if PNG in data and is_png(data[PNG]) and self._fits("pictures", data[PNG]):
            kept[PNG] = data[PNG]
        if TEXT in data and (text := self._cut(data[TEXT])):
            kept[TEXT] = text
        return kept

    def _fits(self, what: str, text: Any) -> bool:
        if not isinstance(text, str) or len(text) > self._room[what]:
            return False
        self._room[what] -= len(text)
        return True

    def _cut(self, text: Any) -> str:
        """As much of a text as there is room for in the cell."""
        text = plain(text)
        room = self._room["text"]
        self._room["text"] = max(0, room - len(text))
        return text if len(text) <= room else text[:room] + ("…\n" if room else "")


def plain(text: Any) -> str:
    """A text that any file can hold: half surrogate pairs become "?"."""
    return str(text or "").encode("utf-8", "replace").decode()


def is_png(text: Any) -> bool:
    """Whether a text is a PNG picture in base 64."""
    try:
        return base64.b64decode(text.replace("\n", ""), validate=True)[:8] == b"\x89PNG\r\n\x1a\n"
    except (AttributeError, ValueError, binascii.Error):
        return False


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
