"""Kernels that talk through named sockets: a free TCP port may be taken before it is bound."""

from pathlib import Path

from jupyter_client.manager import AsyncKernelManager, KernelManager


def manager(folder: Path, kernel_name: str = "python3", **options) -> AsyncKernelManager:
    """A manager of one kernel whose sockets lie in ``folder``, which must outlive the kernel."""
    return AsyncKernelManager(kernel_name=kernel_name, **_sockets(folder), **options)


def blocking_manager(folder: Path, kernel_name: str, **options) -> KernelManager:
    """The same without asyncio, as nbval needs it."""
    return KernelManager(kernel_name=kernel_name, **_sockets(folder), **options)


def _sockets(folder: Path) -> dict[str, str]:
    # Absolute: a relative name would mean another file in the kernel's own folder.
    return {"transport": "ipc", "ip": str(folder.resolve() / "kernel")}
