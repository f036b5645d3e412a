"""A notebook run again, all cells in a row, for `grading.strict`: nbval would have each cell wait
until the one before it is compared.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import zmq
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager, RunningKernel

from . import sockets
from .kernels import QUIET, warm

RECONNECT = 20  # milliseconds between two tries to reach a kernel that is starting
LOOK = 100  # milliseconds between two looks whether it is alive, and wanted


class Run(RunningKernel):
    """A kernel in this environment and all its cells, worked off in a thread.

    What nbval asks of a kernel is answered from what that thread has taken in.
    """

    def __init__(self, sources: Sequence[str], cwd: Path, timeout: float):
        """sources: of the code cells. timeout: seconds for the kernel to start."""
        self.sources, self.cwd, self.timeout = sources, cwd, timeout
        self.km = self.kc = None
        self._error: BaseException | None = None
        self._requests: Future[list[str]] = Future()
        self._received = {"shell": SimpleQueue(), "iopub": SimpleQueue()}
        self._unwanted, self._over = threading.Event(), threading.Event()

    # --- in its own thread ---

    def work_off(self) -> None:
        """Start the kernel, take in what its cells send, end it. What goes wrong is kept."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    self._start(Path(folder))
                    execute = super().execute_cell_input
                    requests = [execute(source, allow_stdin=False) for source in self.sources]
                    self._requests.set_result(requests)
                    self._take_in(requests)
                finally:
                    self._end()
        except BaseException as error:
            self._error = error
            if not self._requests.done():
                self._requests.set_exception(error)
        finally:
            for received in self._received.values():
                received.put(None)
            self._over.set()

    def _start(self, folder: Path) -> None:
        context = zmq.Context()
        context.setsockopt(zmq.RCVHWM, 0)  # what is not read yet must not be lost
        context.setsockopt(zmq.RECONNECT_IVL, RECONNECT)
        specs = NbvalKernelspecManager()
        self.km = sockets.blocking_manager(
            folder, CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=specs, context=context
        )
        # What Python writes to stderr comes as messages; the rest is the kernel's own chatter.
        options = {"stderr": subprocess.DEVNULL, "cwd": str(self.cwd), "extra_arguments": QUIET}
        modules = " ".join(sorted(warm.named("\n".join(self.sources))))
        env = {**os.environ, warm.MODULES: modules}
        self.kc = self.km.begin(self.timeout, env=env, **options)

    def _take_in(self, requests: list[str]) -> None:
        """Until all of the last cell has come, the kernel has ended, or nobody wants it."""
        channels = {"iopub": self.kc.iopub_channel, "shell": self.kc.shell_channel}
        poller = zmq.Poller()
        for channel in channels.values():
            poller.register(channel.socket, zmq.POLLIN)
        missing = {*channels} if requests else set()
        while missing and not self._unwanted.is_set():
            ready = dict(poller.poll(LOOK))
            if not ready and not self.km.alive:
                return
            for name, channel in channels.items():
                if channel.socket in ready:
                    message = channel.get_msg(0)
                    self._received[name].put(message)
                    of_the_last = message["parent_header"].get("msg_id") == requests[-1]
                    if of_the_last and (name == "shell" or sockets.is_idle(message)):
                        missing.discard(name)

    def _end(self) -> None:
        if self.km is not None:
            self.km.end()
            self.km.context.destroy(linger=0)

    # --- what nbval asks ---

    def await_start(self) -> None:
        """Wait until the kernel has started. Raises what its start raised."""
        self._asked = iter(self._requests.result())

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """The id of the message that asked the kernel for the next cell: it was sent long ago."""
        return next(self._asked)

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next message of a stream. Raises queue.Empty, or RuntimeError at the end."""
        message = self._received[stream].get(timeout=timeout)
        if message is None:
            self._received[stream].put(None)
            raise RuntimeError("内核已经结束。 / The kernel has ended.") from self._error
        return message

    def is_alive(self) -> bool:
        """Whether there is something to hear from it; a later cell may have ended it."""
        return not self._over.is_set() or self._received["iopub"].qsize() > 1

    def stop(self) -> None:
        """Have it ended, and wait for that."""
        self.let_go()
        self._over.wait()

    def let_go(self) -> None:
        """Nobody wants more of it."""
        self._unwanted.set()
