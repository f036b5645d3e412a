"""The machine and the versions that a measurement was made with; no path, no name of a host."""

import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from .grade import CORES

PACKAGES = ("torch", "ipykernel", "jupyter_client", "nbclient", "nbgrader", "nbval", "pytest")
GIB = 1 << 30


def facts() -> dict[str, str]:
    """What a reader needs to compare figures with their own: {name: value}."""
    memory = psutil.virtual_memory().total / GIB
    others = requirements("nbmake", "otter-grader")
    versions = {name: version(name) for name in PACKAGES} | others
    return {
        "处理器 processor": f"{processor()}, {CORES} 个核 cores",
        "内存 memory": f"{memory:.0f} GiB",
        "系统 system": f"{system()}, Python {platform.python_version()}",
        "版本 versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def system() -> str:
    """The operating system's name and version."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def requirements(*names: str) -> dict[str, str]:
    """The versions that bench/requirements.txt has of these packages."""
    lines = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("#")[0].strip().split("==") for line in lines if "==" in line)
    return {name: pinned[name] for name in names}
