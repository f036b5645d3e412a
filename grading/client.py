"""nbclient for code that nobody vouches for: limits that hold, messages that may be forged.

Whatever comes out of a student's kernel is the student's claim, its messages too: the session's
key and the sockets lie in the student's own process.
"""

import asyncio
import base64
import binascii
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from traitlets import Type

from tutor.evidence import MAX_BYTES, MIME

from .states import State

PNG = "image/png"
TEXT = "text/plain"
PULSE = 0.05  # seconds between two looks whether the kernel is alive
PATIENCE = 0.5  # seconds until a kernel that has not answered is asked again


@dataclass(frozen=True)
class Limits:
    """What the running of one submission may use.

    cell, grace, total and start in seconds: for a cell, for it to obey an interrupt, for all
    cells of all kernels, for a kernel to start. text and pictures: what is kept of a cell's
    output, in bytes. flood and messages: what a cell may send at all, in bytes and messages.
    Memory, processes and files are limited by `grading.kernels.sandbox`.
    """

    cell: float = 30.0
    grace: float = 4.0
    total: float = 180.0
    start: float = 60.0
    text: int = 20_000
    pictures: int = 1_000_000
    flood: int = 20_000_000
    messages: int = 20_000


DEFAULT = Limits()


class KernelLost(Exception):
    """The cell at ``index`` ended its kernel, or could not be stopped."""

    def __init__(self, index: int, state: State):
        super().__init__(f"cell {index}: {state.label}")
        self.index, self.state = index, state


class Channel(AsyncZMQSocketChannel):
    """A channel that passes over what cannot be read: nested too deep, wrongly signed, no JSON,
    or not of a message's form. No kernel sends such things: the student made them.
    """

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message that can be read. Raises queue.Empty."""
        while True:
            try:
                message = await super().get_msg(timeout)
            except Empty:
                raise
            except Exception:
                continue
            parts = message.get("content"), message.get("parent_header")
            if all(isinstance(part, dict) for part in parts):
                return message


class KernelClient(AsyncKernelClient):
    """A client whose channels a forged message does not break."""

    shell_channel_class = Type(Channel)
    iopub_channel_class = Type(Channel)
    control_channel_class = Type(Channel)


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
        )
        self.limits = limits
        self._room: dict[str, int] = {}
        self._sent = self._messages = self._number = 0

    async def begin(self, **options: Any) -> None:
        """Start the kernel with ``cwd`` and ``env``. Raises if it does not come up."""
        # No database of inputs, and no pause of half a millisecond before each reply.
        arguments = ["--HistoryManager.enabled=False", "--IPythonKernel._execute_sleep=0"]
        # What a process writes past its kernel must not reach the grader's own terminal.
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        await self.km.start_kernel(extra_arguments=arguments, **silent, **options)
        self.kc = self.km.client()
        self.kc.start_channels()
        self.kc.allow_stdin = False
        await asyncio.wait_for(self._ready(), self.limits.start)

    async def _ready(self) -> None:
        """Wait until the kernel answers, and what it publishes arrives. Raises RuntimeError.

        The client's own `wait_for_ready` waits a fifth of a second longer, for silence.
        """
        asked = set()
        while True:
            asked.add(self.kc.kernel_info())
            with suppress(Empty):
                await self.kc.get_shell_msg(timeout=PATIENCE)
                while True:
                    message = await self.kc.get_iopub_msg(timeout=PATIENCE)
                    idle = message["content"].get("execution_state") == "idle"
                    if idle and message["parent_header"].get("msg_id") in asked:
                        return
            if not await self.km.is_alive():
                raise RuntimeError("the kernel ended before it answered")

    async def _async_poll_kernel_alive(self) -> None:
        """As nbclient's, which looks once a second, waiting for a reply that a dead kernel owes."""
        while await self.km.is_alive():
            await asyncio.sleep(PULSE)
        self.task_poll_for_reply.cancel()

    async def _async_poll_for_reply(self, *args: Any) -> dict[str, Any]:
        """As nbclient's; a cell that asks its kernel to exit has ended it: not the next cell."""
        reply = await super()._async_poll_for_reply(*args)
        payload = reply["content"].get("payload")
        if isinstance(payload, list) and {"source": "ask_exit", "keepkernel": False} in payload:
            raise DeadKernelError("asked to exit")
        return reply

    async def end(self) -> None:
        """End the kernel and all that it left running in its process group."""
        group = getattr(self.km.provisioner, "pgid", None)
        with suppress(Exception):
            self.kc.stop_channels()
        # The manager's own shutdown_kernel looks for the end every tenth of a second, in vain
        # for a kernel whose parent ends it.
        await self.km.provisioner.kill()
        await self.km.provisioner.wait()
        await self.km.cleanup_resources()
        if group and group != os.getpgrp():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    async def perform(self, cell: NotebookNode, index: int, seconds: float) -> bool:
        """Run one cell; whether it ended by itself. Raises KernelLost."""
        self._room = {"text": self.limits.text, "pictures": self.limits.pictures, MIME: MAX_BYTES}
        self._sent = self._messages = 0
        self._number = cell.execution_count = self.code_cells_executed + 1
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
        if self._flooded:
            return State.OVER_LIMIT
        code = await self.km.provisioner.poll()
        cause = getattr(self.km.provisioner.process, "cause", "")
        if cause and cause != "memory":
            if cause == "parent":
                raise RuntimeError("the sandbox ended by itself")
            return State.OVER_LIMIT
        return State.OUT_OF_MEMORY if code in (-signal.SIGKILL, 137) else State.CRASHED

    @property
    def _flooded(self) -> bool:
        return self._sent > self.limits.flood or self._messages > self.limits.messages

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int):
        """Take in what the grader keeps of a message, and no more than there is room for."""
        self._messages += 1
        try:
            self._sent += size(msg["content"])
            if self._flooded:
                self._end_flood()
                return None
            if msg["msg_type"] == "execute_input":
                return None  # the cell's number, which `perform` knows
            if msg["msg_type"] != "status":
                content = self._kept(msg["msg_type"], msg["content"])
                if content is None:
                    return None
                msg = {**msg, "content": content}
            return super().process_message(msg, cell, cell_index)
        except (LookupError, TypeError, AttributeError, ValueError):
            return None  # no message of that form comes from a kernel: the student made it

    def _end_flood(self) -> None:
        process = self.km.provisioner.process
        if process:
            process.kill()

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
        return {"data": data, "metadata": {}, "execution_count": self._number}

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


def size(content: Any) -> int:
    """About how many characters a message has."""
    if isinstance(content, dict):
        return sum(map(size, content.values()))
    if isinstance(content, list):
        return sum(map(size, content))
    return len(content) if isinstance(content, str) else 1


def plain(text: Any) -> str:
    """A text that any file can hold: half surrogate pairs become "?"."""
    return str(text or "").encode("utf-8", "replace").decode()


def is_png(text: Any) -> bool:
    """Whether a text is a PNG picture in base 64."""
    try:
        return base64.b64decode(text.replace("\n", ""), validate=True)[:8] == b"\x89PNG\r\n\x1a\n"
    except (AttributeError, ValueError, binascii.Error):
        return False
