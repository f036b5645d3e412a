"""Kernels that talk through named sockets: a free TCP port may be taken before it is bound."""

import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.session import json_unpacker
from jupyter_core.utils import run_sync

from .kernels import JUPYTER

# Of messages that a kernel sends: bytes of one, after which the connection breaks off, and how many
# wait to be read, after which the kernel drops them. What a cell may send at all is less.
LARGEST, WAITING = 32 << 20, 200
PATIENCE = 0.5  # seconds until a kernel that has not answered is asked again
LAG = 0.02  # and one that has, but whose word that it is idle has not arrived


class Manager(KernelManager):
    """A manager of a kernel and of a client that has no other thread, both in one context.

    jupyter_client's client would make a context of its own, without this one's options.
    """

    _begun: BlockingKernelClient | None = None

    def client(self, **options: Any) -> BlockingKernelClient:
        """A client in the manager's context."""
        return super().client(**{"context": self.context} | options)

    def begin(self, seconds: float, **options: Any) -> BlockingKernelClient:
        """Start the kernel with these options; a client that it has answered.

        Raises RuntimeError if it does not come up within ``seconds``, and what its start raises.
        """
        self.start_kernel(**options)
        self._begun = self.client()
        self._begun.start_channels(stdin=False, hb=False, control=False)
        self._wait_until_ready(self._begun, seconds)
        return self._begun

    def _wait_until_ready(self, client: BlockingKernelClient, seconds: float) -> None:
        """Wait until the kernel answers, and what it publishes arrives. Raises RuntimeError.

        The client's own `wait_for_ready` waits a fifth of a second longer, for silence.
        """
        asked, deadline = set(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            asked.add(client.kernel_info())
            with suppress(Empty):
                client.shell_channel.get_msg(PATIENCE)
                while True:
                    message = client.iopub_channel.get_msg(LAG)
                    if is_idle(message) and message["parent_header"].get("msg_id") in asked:
                        return
            if not self.alive:
                raise RuntimeError("the kernel ended before it answered")
        raise RuntimeError(f"the kernel did not answer within {seconds:.0f} s")

    @property
    def alive(self) -> bool:
        """Whether the kernel's process is there, asked without waiting."""
        process = self.provisioner and self.provisioner.process
        return process is not None and process.poll() is None

    def end(self) -> None:
        """End what `begin` began, as far as it came."""
        if self._begun:
            # Its own stop_channels would open the three others first, to close them.
            for channel in (self._begun.iopub_channel, self._begun.shell_channel):
                channel.stop()
        if self.provisioner:
            # Its own shutdown_kernel looks for the end every tenth of a second, in vain for a
            # kernel whose parent ends it.
            run_sync(self.provisioner.kill)()
            run_sync(self.provisioner.wait)()
            self.cleanup_resources()


def manager(folder: Path, kernel_name: str = "python3", **options) -> AsyncKernelManager:
    """A manager of one kernel whose sockets lie in ``folder``, which must outlive the kernel."""
    return AsyncKernelManager(
        kernel_name=kernel_name, kernel_spec_manager=kernelspecs(), **_sockets(folder), **options
    )


def guarded_manager(folder: Path, kernel_name: str) -> Manager:
    """The same for a student's kernel, which cannot fill this process's memory by what it sends.

    It does not need asyncio. kernel_name: "sandbox", "warm" or an installed one.
    """
    manager = blocking_manager(
        folder,
        kernel_name,
        kernel_spec_manager=kernelspecs(),
        context=Guarded.instance(),
        client_class="grading.client.KernelClient",
    )
    manager.session.unpack = undated
    return manager


def is_idle(message: dict[str, Any]) -> bool:
    """Whether a message says that its kernel has done what it was asked."""
    return (
        message.get("msg_type") == "status" and message["content"].get("execution_state") == "idle"
    )


def undated(text: bytes) -> Any:
    """A part of a message, without the time it was sent: to read it takes longer than the rest."""
    part = json_unpacker(text)
    if isinstance(part, dict):
        part.pop("date", None)
    return part


class Guarded(zmq.Context):
    """Sockets that take nothing larger than LARGEST, and let no more than WAITING wait.

    `instance` is one for the process, and a new one behind a fork.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        self.setsockopt(zmq.RCVHWM, WAITING)
        self.setsockopt(zmq.LINGER, 0)  # a kernel that is gone keeps nobody from ending


def blocking_manager(folder: Path, kernel_name: str, **options) -> Manager:
    """The same without asyncio and without limits, as nbval needs it."""
    return Manager(kernel_name=kernel_name, **_sockets(folder), **options)


@lru_cache(maxsize=1)
def kernelspecs() -> KernelSpecManager:
    """The installed kernelspecs, and this course's "warm" and "sandbox"."""
    specs = KernelSpecManager()
    specs.kernel_dirs = [str(JUPYTER / "kernels"), *specs.kernel_dirs]
    return specs


def _sockets(folder: Path) -> dict[str, str]:
    # Absolute: a relative name would mean another file in the kernel's own folder.
    return {"transport": "ipc", "ip": str(folder.resolve() / "kernel")}
