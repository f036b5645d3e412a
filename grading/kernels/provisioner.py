"""Kernel provisioners: jupyter_client's way to say how a kernel's process comes about.

The kernelspecs in jupyter/kernels name them, so that nbval, nbclient, nbgrader and JupyterLab all
take warm or sandboxed kernels when JUPYTER_PATH has that folder.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner
from traitlets import List, Unicode

from . import sandbox, warm
from .parent import CHANNELS

LAUNCHER = ["-m", "ipykernel_launcher"]
STREAMS = ("stdin", "stdout", "stderr")
PAUSE = 0.005  # seconds between two looks whether a kernel has ended
_said: set[str] = set()


def say_once(zh: str, en: str) -> None:
    """One line on standard error, once in a process."""
    if en not in _said:
        _said.add(en)
        print(f"{zh} / {en}", file=sys.stderr)


class Forking(LocalProvisioner):
    """What kernels have in common whose process is a `warm.Forked`."""

    async def wait(self) -> int | None:
        """Wait for the kernel to end; its exit code."""
        if not isinstance(self.process, warm.Forked):
            return await super().wait()
        while (code := self.process.poll()) is None:
            await asyncio.sleep(PAUSE)
        self.process = None
        return code

    async def kill(self, restart: bool = False) -> None:
        """End the kernel; its parent sees to it, before it forks another."""
        if isinstance(self.process, warm.Forked):
            self.process.kill()
        else:
            await super().kill(restart)

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group."""
        if isinstance(self.process, warm.Forked):
            self.process.send_signal(signum)
        else:
            await super().send_signal(signum)


class Warm(Forking):
    """Forks the kernel from a parent that has imported torch and matplotlib, where it can."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork, or start cold where forking is not to be had, with one line saying so."""
        if problem := self._problem(cmd, kwargs):
            say_once(f"内核将冷启动：{problem[0]}", f"kernels start cold: {problem[1]}")
            return await super().launch_kernel(cmd, **kwargs)
        request = {
            "argv": cmd[3:],
            "env": dict(kwargs["env"]),
            "cwd": os.path.abspath(kwargs.get("cwd") or "."),  # noqa: PTH100 (a plain string)
        }
        modules = request["env"].pop(warm.MODULES, None)
        request["preload"] = warm.PLOTS if modules is None else modules.split()
        parent = warm.warm_parent(request["env"])
        with ExitStack() as stack:
            streams = [stream(kwargs.get(name), fd, stack) for fd, name in enumerate(STREAMS)]
            self.process = await asyncio.to_thread(parent.fork, request, streams)
        self.pid, self.cwd = self.process.pid, request["cwd"]
        return self.connection_info

    def _problem(self, cmd: list[str], kwargs: dict[str, Any]) -> tuple[str, str] | None:
        """Why this kernel cannot be forked."""
        if not warm.can_fork():
            return "这个系统上不能安全地 fork", f"this system ({sys.platform}) cannot fork safely"
        if cmd[1:3] != LAUNCHER or Path(cmd[0]).resolve() != Path(sys.executable).resolve():
            return "不是本环境的 ipykernel", "it is not this environment's ipykernel"
        if subprocess.PIPE in [kwargs.get(name) for name in STREAMS]:
            return "调用者要读管道", "the caller wants pipes"
        return None


def stream(wanted: Any, inherited: int, stack: ExitStack) -> int:
    """The descriptor that Popen would take for an argument like its own."""
    if wanted is None:
        return inherited
    if wanted == subprocess.DEVNULL:
        return stack.enter_context(open(os.devnull, "r+b", buffering=0)).fileno()  # noqa: PTH123
    return wanted if isinstance(wanted, int) else wanted.fileno()


class Sandboxed(Forking):
    """Forks the kernel inside a sandbox; never starts one outside."""

    environment = List(
        Unicode(), ["TUTOR_SEED"], help="Variables handed on to the kernel; no others are"
    ).tag(config=True)
    _folder: Path | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Have the kernel talk through named sockets: in the sandbox there is no network."""
        manager = self.parent
        if manager.transport != "ipc":
            self._folder = Path(tempfile.mkdtemp(prefix="kernel-"))
            manager.transport, manager.ip = "ipc", str(self._folder / "kernel")
            manager.cache_ports = False
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork in the sandbox. Raises `sandbox.NoSandbox`, `warm.ParentFailed`."""
        given = kwargs.get("env", {})
        request = {
            "argv": without_file(cmd[3:]),
            "env": sandbox.ENVIRONMENT | {k: given[k] for k in self.environment if k in given},
            "cwd": sandbox.FOLDER,
            "folders": [sandbox.FOLDER, sandbox.HOME],
            "hooks": sandbox.HOOKS,
            "connection": readable(self.connection_info),
        }
        with ExitStack() as stack:
            nowhere = stream(subprocess.DEVNULL, 0, stack)
            sockets = [self._bound(name, stack) for name in CHANNELS]
            descriptors = [nowhere, nowhere, nowhere, *sockets]
            self.process = await asyncio.to_thread(sandbox.fork, request, descriptors)
        self.pid = self.process.pid
        return self.connection_info

    def _bound(self, channel: str, stack: ExitStack) -> int:
        """A listening socket for a channel, where clients will look for it."""
        info = self.connection_info
        path = Path(f"{info['ip']}-{info[f'{channel}_port']}")
        path.unlink(missing_ok=True)
        bound = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        bound.bind(str(path))
        bound.listen()
        return bound.fileno()

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the named sockets' folder, if it is this provisioner's own."""
        if self._folder and not restart:
            shutil.rmtree(self._folder, ignore_errors=True)


def without_file(arguments: list[str]) -> list[str]:
    """A kernel's arguments but for its connection file, which the sandbox cannot see."""
    if "-f" not in arguments:
        return arguments
    place = arguments.index("-f")
    return arguments[:place] + arguments[place + 2 :]


def readable(info: KernelConnectionInfo) -> dict[str, Any]:
    """Connection information as JSON holds it, without the place of the sockets outside."""
    named = {k: v.decode() if isinstance(v, bytes) else v for k, v in info.items()}
    return {**named, "ip": "/kernel"}
