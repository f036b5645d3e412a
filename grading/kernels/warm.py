"""The owner's side of warm kernels: one parent process per kind of kernel, and what it forks.

See `grading.kernels.parent` for the other side.
"""

import atexit
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("parent.py")
BACKWARD = "torch.fx.experimental.symbolic_shapes"  # torch imports it with its first backward pass
# What every notebook of this course needs: torch, what torch imports on its first backward pass and
# its first count of operations, and a kernel with what that imports as it starts.
PRELOAD = (
    "numpy.random",
    "torch",
    BACKWARD,
    "torch._subclasses.schema_check_mode",
    "faulthandler",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "tornado.platform.asyncio",
)
# What some need. Not the inline backend itself, whose import connects it with the kernel's shell.
PLOTS = (
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "IPython.core.magics.pylab",
    "IPython.core.pylabtools",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
)
# Optimizers and torch.func import it on their first use, which takes as long as torch itself.
DYNAMO = ("torch._dynamo",)
# What else to import early where the code names what needs it.
NAMED = {
    PLOTS: re.compile(r"\bmatplotlib\b|\bfigures\b"),
    DYNAMO: re.compile(
        r"\b(torch\.(optim|compile)|func\.(grad|hessian)|func import|jacrev|jacfwd|"
        r"grad_and_value|checkpoint)\b"
    ),
}
SHARED = "AUTOGRAD_WARM_PARENT"  # the variable that names another process's parent
MODULES = "AUTOGRAD_WARM_MODULES"  # and that names what a kernel's code will import
START = 60.0  # seconds for a parent to have imported everything and answer
MESSAGE = 1 << 16
# Modules read these when they are imported: a kernel that wants others needs another parent.
READ_AT_IMPORT = (
    "ATEN_", "BLAS_", "CUDA", "DNNL_", "GOTO_", "KMP_", "LANG", "LC_", "LD_", "MKL_", "MPL",
    "NUMEXPR_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH", "TZ", "VIRTUAL_ENV",
)  # fmt: skip


class ParentFailed(RuntimeError):
    """The parent of warm kernels did not start, or has ended."""


def can_fork() -> bool:
    """Whether kernels can be forked here. Elsewhere than on Linux system libraries forbid it."""
    return platform.system() == "Linux" and hasattr(os, "pidfd_open")


class Owned:
    """The owner's side of a process that forks kernels: a folder to find it in, and its errors."""

    def __init__(self):
        self.owner = os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix="warm-"))
        self.errors = (self.folder / "errors").open("w+b")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.address)
        self.listener.listen()

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.folder / "parent")

    @property
    def alive(self) -> bool:
        """Whether it can still be asked; a copy in a forked process is nobody's to ask."""
        return self.owner == os.getpid() and not self.gone(0)

    def gone(self, timeout: float) -> bool:
        """Whether it has ended, or does within so many seconds."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Let go of the leash, and see that it ends."""
        raise NotImplementedError

    def fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> "Forked":
        """Ask for a kernel (see `parent.become_kernel`). Raises ParentFailed."""
        try:
            connection, answer = ask(self.address, request, descriptors)
        except (OSError, ValueError) as error:
            raise ParentFailed(self.why(error)) from None
        return Forked(connection, answer["pid"])

    def why(self, error: Exception) -> str:
        """Why asking failed with this error, as far as it can be told."""
        if isinstance(error, TimeoutError):
            return f"no kernel within {START:.0f} s: a sandbox runs one at a time"
        self.gone(1)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"{type(error).__name__}: {error}"

    def end(self) -> None:
        """End it, and all its kernels with it."""
        if self.owner != os.getpid():
            return
        self.let_go()
        self.errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Parent(Owned):
    """A process that has imported what notebooks need, and forks kernels."""

    def __init__(
        self,
        environment: Mapping[str, str],
        preload: Sequence[str] = PRELOAD,
        command: Sequence[str] = (sys.executable,),
        script: str = str(SCRIPT),
        **settings: Any,
    ):
        """Start it; it gets ready while this returns.

        environment: what it sees. command: how to call Python. script: where that sees
        `parent.py`. settings: see `parent.Settings`.
        """
        super().__init__()
        told = json.dumps({"listener": self.listener.fileno(), "preload": [*preload], **settings})
        self.process = subprocess.Popen(
            [*command, script, told],
            stdin=subprocess.PIPE,  # the leash
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            pass_fds=[self.listener.fileno()],
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for its owner, who then lets go of the leash
        )
        self.listener.close()  # its only holder now is the parent: nobody connects once that ends

    def gone(self, timeout: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        return self.process.returncode is not None

    def let_go(self) -> None:
        self.process.stdin.close()
        if not self.gone(5):
            self.process.kill()
            self.process.wait()


class Shared:
    """A parent that another process owns."""

    def __init__(self, address: str):
        self.address = address

    def fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> "Forked":
        """As `Parent.fork`. Raises ParentFailed."""
        try:
            connection, answer = ask(self.address, request, descriptors)
        except (OSError, ValueError) as error:
            raise ParentFailed(f"{type(error).__name__}: {error}") from None
        return Forked(connection, answer["pid"])


Answer = tuple[socket.socket, dict[str, Any]]


def ask(address: str, request: dict[str, Any], descriptors: Sequence[int] = ()) -> Answer:
    """Ask the parent that listens there: the connection and its answer.

    Raises OSError, ValueError.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(START)
    try:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(request).encode()], list(descriptors))
        answer = json.loads(connection.recv(MESSAGE))
    except (OSError, ValueError):
        connection.close()
        raise
    return connection, answer


class Forked:
    """A forked kernel, as `subprocess.Popen` would present it to a kernel provisioner.

    cause: why the parent ended it: "memory", "processes", "threads" or "files" where that limit
    was passed, else "".
    """

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int):
        connection.settimeout(None)
        self.connection, self.pid = connection, pid
        self.returncode: int | None = None
        self.cause = ""

    def poll(self) -> int | None:
        """The exit code as Popen gives it, None while the kernel runs."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self._receive()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("kernel", timeout)
            self._receive()
        return self.returncode

    def _receive(self) -> None:
        try:
            answer = json.loads(self.connection.recv(MESSAGE))
        except (OSError, ValueError):  # the parent is gone, and its kernels with it
            answer = {"exit": -signal.SIGKILL, "cause": "parent"}
        self.returncode, self.cause = answer["exit"], answer["cause"]
        self.connection.close()

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and its process group."""
        if self.poll() is None:
            with suppress(OSError):
                self.connection.send(json.dumps({"signal": int(number)}).encode())

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the kernel, and do not wait for that: the parent does, before the next one."""
        if self.poll() is None:
            self.returncode = -signal.SIGKILL
            self.connection.close()


_parents: dict[Any, Owned] = {}
_lock = threading.RLock()  # to make one may take another


def parent_for(key: Any, make: Callable[[], Owned], fits=lambda found: True) -> Any:
    """What has that key in this process; ``make()`` makes one where none is alive, or fits."""
    with _lock:
        found = _parents.get(key)
        if found is None or not found.alive or not fits(found):
            if found is not None:
                found.end()
                del _parents[key]
            found = _parents[key] = make()
        return found


def running(key: Any) -> Owned | None:
    """What has that key in this process and is alive."""
    found = _parents.get(key)
    return found if found is not None and found.alive else None


def named(code: str) -> set[str]:
    """What this code will import of what takes long, and not every notebook does."""
    return {name for group, needed in NAMED.items() if needed.search(code) for name in group}


def warm_parent(environment: Mapping[str, str]) -> Parent | Shared:
    """The parent of kernels without a sandbox, for kernels with this environment."""
    address, _, digest = os.environ.get(SHARED, "").rpartition(":")
    if digest == read_at_import(environment):
        return Shared(address)
    return parent_for(
        read_at_import(environment), lambda: Parent(environment, later=DYNAMO)
    )


def share(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of processes that are to fork from this one's parent."""
    if not can_fork():
        return {}
    parent = warm_parent(environment)
    return {SHARED: f"{parent.address}:{read_at_import(environment)}"}


def read_at_import(environment: Mapping[str, str]) -> str:
    """A hash of the variables that make one parent unlike another."""
    read = sorted(kv for kv in environment.items() if kv[0].startswith(READ_AT_IMPORT))
    return hashlib.sha256(repr(read).encode()).hexdigest()


@atexit.register
def shut_down() -> None:
    """End every parent of this process."""
    with _lock:
        while _parents:
            _parents.popitem()[1].end()
