"""A Jupyter client for code that nobody vouches for: limits that hold, messages that may be forged.

Whatever comes out of a student's kernel is the student's claim, its messages too: the session's
key and the sockets lie in the student's own process.

nbclient's client keeps several tasks waiting for every message, which costs a grader as much as
the cells themselves; and its limits can be talked out of. This one waits in one place.
"""

import base64
import binascii
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import Any

import nbformat
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.channels import ZMQSocketChannel
from nbformat import NotebookNode
from traitlets import Type

from tutor.evidence import MAX_BYTES, MIME

from .kernels import QUIET
from .sockets import Manager, is_idle
from .states import State

PNG = "image/png"
TEXT = "text/plain"
PULSE = 0.05  # seconds between two looks whether the kernel is alive
ENDING = 2.0  # seconds for a kernel whose connection broke off to have ended
LAST_WORDS = 4.0  # seconds, as nbclient's, for what a cell printed to arrive after its reply
BROKEN_OFF = zmq.EVENT_DISCONNECTED
OVERWRITTEN = re.compile(r".*\r(?=[^\n])")


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


class Channel(ZMQSocketChannel):
    """A channel that passes over what cannot be read: nested too deep, wrongly signed, no JSON,
    or not of a message's form. No kernel sends such things: the student made them.
    """

    def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message that can be read. Raises queue.Empty."""
        while True:
            try:
                message = super().get_msg(timeout)
            except Empty:
                raise
            except Exception:
                continue
            parts = message.get("content"), message.get("parent_header")
            if all(isinstance(part, dict) for part in parts):
                return message


class KernelClient(BlockingKernelClient):
    """A client whose channels a forged message does not break."""

    shell_channel_class = Type(Channel)
    iopub_channel_class = Type(Channel)
    control_channel_class = Type(Channel)


class Client:
    """Runs cells in a kernel, with limits that also hold against code that will not stop."""

    def __init__(self, limits: Limits, kernel: Manager):
        self.limits, self.km = limits, kernel
        self.kc: BlockingKernelClient | None = None
        self._monitors: list[zmq.Socket] = []
        self._room: dict[str, int] = {}
        self._sent = self._messages = self._number = 0

    def begin(self, **options: Any) -> None:
        """Start the kernel with ``cwd`` and ``env``. Raises if it does not come up."""
        # What a process writes past its kernel must not reach the grader's own terminal.
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.kc = self.km.begin(self.limits.start, extra_arguments=QUIET, **silent, **options)
        self._monitors = [c.socket.get_monitor_socket(BROKEN_OFF) for c in self._channels]

    @property
    def _channels(self) -> list[Channel]:
        return [self.kc.iopub_channel, self.kc.shell_channel]

    def end(self) -> None:
        """End the kernel and all that it left running in its process group."""
        if self._monitors:
            for channel in self._channels:
                channel.socket.disable_monitor()
        for monitor in self._monitors:
            monitor.close(linger=0)
        group = getattr(self.km.provisioner, "pgid", None)
        self.km.end()
        if group and group != os.getpgrp():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def perform(self, cell: NotebookNode, index: int, seconds: float) -> bool:
        """Run one cell; whether it ended by itself. Raises KernelLost."""
        self._room = {"text": self.limits.text, "pictures": self.limits.pictures, MIME: MAX_BYTES}
        self._sent = self._messages = 0
        cell.outputs = []
        if not cell.source.strip():
            return True
        self._number += 1
        cell.execution_count = self._number
        waiting = Waiting(self.kc.execute(cell.source, allow_stdin=False, stop_on_error=False))
        try:
            in_time = self._wait(waiting, cell, index, seconds)
            if not in_time:
                with suppress(Exception):  # the kernel may have died just now
                    self.km.interrupt_kernel()
                if not self._wait(waiting, cell, index, self.limits.grace):
                    raise KernelLost(index, State.TIMEOUT)
        finally:
            cell.outputs = merged(cell.outputs)
        return in_time

    def _wait(self, waiting: "Waiting", cell: NotebookNode, index: int, seconds: float) -> bool:
        """Take in what the cell sends until it has ended; whether it has, in this time.

        Raises KernelLost.
        """
        iopub, shell = self._channels
        poller = zmq.Poller()
        for socket in (iopub.socket, shell.socket, *self._monitors):
            poller.register(socket, zmq.POLLIN)
        deadline = time.monotonic() + seconds
        while not waiting.done:
            now = time.monotonic()
            if waiting.replied and now > waiting.replied + LAST_WORDS:
                return True
            if now > deadline:
                return False
            ready = dict(poller.poll(1000 * min(PULSE, deadline - now)))
            if not ready and not self.km.alive:
                raise KernelLost(index, self._cause_of_death())
            if ready and ready.keys() <= {*self._monitors}:
                raise KernelLost(index, self._cause_of_breaking_off())
            if iopub.socket in ready:
                with suppress(Empty):
                    self._published(iopub.get_msg(0), waiting, cell)
                if self._flooded:  # though its end may have arrived long before it was read
                    raise KernelLost(index, State.OVER_LIMIT)
            if shell.socket in ready:
                with suppress(Empty):
                    self._replied(shell.get_msg(0), waiting, index)
        return True

    def _published(self, message: dict[str, Any], waiting: "Waiting", cell: NotebookNode) -> None:
        if message["parent_header"].get("msg_id") == waiting.asked:
            # What comes after it is no output of the cell's, but still a flood, if it is one.
            self.take_in(message, NotebookNode(outputs=[]) if waiting.idle else cell)
            waiting.idle = waiting.idle or is_idle(message)

    def _replied(self, message: dict[str, Any], waiting: "Waiting", index: int) -> None:
        if message["parent_header"].get("msg_id") != waiting.asked:
            return
        waiting.replied = time.monotonic()
        payload = message["content"].get("payload")
        # A cell that asks its kernel to exit has ended it: not the next cell.
        if isinstance(payload, list) and {"source": "ask_exit", "keepkernel": False} in payload:
            raise KernelLost(index, self._cause_of_death())

    def _cause_of_breaking_off(self) -> State:
        """Why a connection broke: the kernel has ended, or sent more at a time than it may."""
        with suppress(subprocess.TimeoutExpired):
            self.km.provisioner.process.wait(ENDING)
            return self._cause_of_death()
        return State.OVER_LIMIT

    def _cause_of_death(self) -> State:
        process = self.km.provisioner.process
        code, cause = process.poll(), getattr(process, "cause", "")
        if cause and cause != "memory":
            if cause == "parent":
                raise RuntimeError("the sandbox ended by itself")
            return State.OVER_LIMIT
        return State.OUT_OF_MEMORY if code in (-signal.SIGKILL, 137) else State.CRASHED

    @property
    def _flooded(self) -> bool:
        return self._sent > self.limits.flood or self._messages > self.limits.messages

    def take_in(self, message: dict[str, Any], cell: NotebookNode) -> None:
        """Keep of a message what there is room for, as an output of the cell."""
        self._messages += 1
        # No message that is not of its kind's form comes from a kernel: the student made it.
        with suppress(LookupError, TypeError, AttributeError, ValueError):
            kind, content = message["msg_type"], message["content"]
            self._sent += size(content)
            if not self._flooded and (kept := self._kept(kind, content)):
                # Its own constructors would validate each output, and then all of them again.
                cell.outputs.append(nbformat.from_dict({"output_type": kind, **kept}))

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
            return None  # status, input, widgets; clear_output and updates, which reach elsewhere
        data = self._kept_data(content["data"])
        if not data:
            return None
        count = {"execution_count": self._number} if kind == "execute_result" else {}
        return {"data": data, "metadata": {}, **count}

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


@dataclass
class Waiting:
    """What a cell that was sent still owes: the message that says it is idle, and its reply.

    asked: the request's message id. replied: when the reply came (time.monotonic), 0 before.
    """

    asked: str
    idle: bool = False
    replied: float = 0.0

    @property
    def done(self) -> bool:
        return self.idle and self.replied > 0


def merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs with one stream of each name, as nbclient merges them: stdout before stderr,
    and of a line that was overwritten only what a reader would have seen last.
    """
    streams: dict[str, NotebookNode] = {}
    others = []
    for output in outputs:
        if output.output_type != "stream":
            others.append(output)
        elif output.name in streams:
            streams[output.name].text += output.text
        else:
            streams[output.name] = output
            others.append(output)
    for output in streams.values():
        output.text = OVERWRITTEN.sub("", output.text)
    if {"stdout", "stderr"} <= set(streams):
        first, second = (others.index(streams[name]) for name in ("stderr", "stdout"))
        if second == first + 1:
            others[first], others[second] = others[second], others[first]
    return others


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
