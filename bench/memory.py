"""Memory of a running command's processes, by what each of them is for."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MIB = 1 << 20
PERIOD = 0.5  # seconds between two looks
PARENT = "/parent.py"
# In bytes: memory of its own, its share of all memory, the most it ever had resident.
KINDS = ("uss", "pss", "rss")
ROLES = ("main", "worker", "parent", "kernel")


@dataclass
class Peaks:
    """The greatest values seen: of one process of each role, and of all processes together.

    unseen: looks at a process that the system did not allow (as an ordinary user: at the
    parent, which keeps itself from being traced).
    """

    roles: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    together: int = 0
    looks: int = 0
    unseen: int = 0

    def take(self, role: str, found: dict[str, int]) -> None:
        for kind, value in found.items():
            self.roles[role][kind] = max(value, self.roles[role].get(kind, 0))


def role_of(process: psutil.Process, root: int) -> str | None:
    """What a process of our grader is for; None for those that only pass by."""
    if process.pid == root:
        return "main"
    words = process.cmdline()
    if any(word.endswith(PARENT) for word in words):
        if process.name() == "bwrap":
            return None  # it starts the parent, and waits
        above = [p for p in process.parents() if any(w.endswith(PARENT) for w in p.cmdline())]
        # In a sandbox a parent forks one for each worker, which forks the kernels.
        sandboxed = any(p.name() == "bwrap" for p in above)
        return "kernel" if len(above) > (2 if sandboxed else 0) else "parent"
    if "forkserver" in " ".join(words) and process.ppid() == root:
        return None  # it has imported what workers share with it, and forks them
    helps = any("resource_tracker" in word for word in words)
    return "worker" if "python" in process.name() and not helps else None


def high_water(process: psutil.Process) -> int:
    """The most memory that a process ever had resident, in bytes, as the system keeps it.

    A kernel lives for less than the time between two looks: what it needs now says little.
    """
    status = Path("/proc", str(process.pid), "status")
    if not status.exists():
        return process.memory_info().rss
    lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0


def look(root: psutil.Process, peaks: Peaks) -> None:
    """Measure all processes below ``root`` once."""
    together = 0
    try:
        below = root.children(recursive=True)
    except psutil.NoSuchProcess:
        return  # it has just ended
    for process in [root, *below]:
        try:
            role = role_of(process, root.pid)
            try:
                memory = process.memory_full_info()
                found = {"uss": memory.uss, "pss": memory.pss}
                together += memory.pss
            except psutil.AccessDenied:
                peaks.unseen += 1
                found = {}
            found["rss"] = high_water(process)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if role:
            peaks.take(role, found)
    peaks.together = max(peaks.together, together)
    peaks.looks += 1


@contextmanager
def watched() -> Iterator[Peaks]:
    """Watch the children of this process, and theirs, until the context ends.

    Those it has already are not watched. The first new one is the command under test: its role is
    "main".
    """
    peaks, ended = Peaks(), threading.Event()
    this = psutil.Process()
    others = set(this.children())

    def watch() -> None:
        while not ended.wait(PERIOD):
            for child in set(this.children()) - others:
                started = time.perf_counter()
                look(child, peaks)
                # Looking must not take what is looked at from the processors.
                ended.wait(4 * (time.perf_counter() - started))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()
