"""The parent of warm kernels: it imports what every notebook needs once, and forks on request.

A script, started with one argument, the settings as JSON (see `Settings`), by
`grading.kernels.warm`. Of the course it imports `partition.py` beside it alone, and that in the
sandbox, where the two are the only ones of it that there are. Its standard input is a leash: when
that closes, the parent ends, and in the sandbox, where it is process 1, everything ends with it.

A client connects to the listening socket and asks for one kernel (a JSON object, with file
descriptors beside it); the connection then carries signals one way and the exit the other. When
it closes, the kernel ends.
"""

import atexit
import ctypes
import gc
import importlib.util
import json
import os
import re
import resource
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Collection
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

MESSAGE = 1 << 20  # bytes; a request with a whole environment has a few thousand
DESCRIPTORS = 8
CHANNELS = ("shell", "iopub", "stdin", "control")
PULSE = 0.05  # seconds between two looks at what a sandboxed submission uses
CALM = 0.5  # seconds without a request, after which what is to be imported later is
PATIENCE = 5.0  # seconds for killed processes to be gone
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
KIB = 1024
MUCH = 1 << 16  # characters, that a kernel prints before it sends them


@dataclass(frozen=True)
class Settings:
    """listener: its file descriptor. preload: modules to import. later: others, to be imported
    once the first kernels are at work and nobody waits for one. sandboxed: whether this is
    process 1 of a sandbox, and splits off partitions (see `partition.serve`), whose process 1
    takes the rest of its settings from who asked. It serves one submission at a time within these
    limits: memory (bytes of all processes together), processes, threads, files (how many), file
    (bytes of one), cpu (seconds of one process). scratch: folders to empty between submissions.
    """

    listener: int
    preload: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    sandboxed: bool = False
    memory: int = 0
    processes: int = 0
    threads: int = 0
    files: int = 0
    file: int = 0
    cpu: int = 0
    scratch: tuple[str, ...] = ()


def main(settings: Settings) -> None:
    """Import, then serve until the leash is let go."""
    libc = ctypes.CDLL(None)
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)  # as process 1, deaf to all of its own
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    preload(settings.preload, settings.sandboxed)
    if settings.sandboxed:
        import partition

        told = partition.serve(
            settings.listener, lambda more: preload(more, True), settings.later
        )
        settings = Settings(sandboxed=True, **told)
    Parent(settings, libc).serve()


def preload(modules: Collection[str], sandboxed: bool) -> None:
    """Import modules, in a state that such kernels can be forked from.

    Raises RuntimeError if they cannot.
    """
    if all(module in sys.modules for module in modules):
        return
    # What ipykernel would set in a fresh process: matplotlib reads it when it is imported.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    gc.disable()  # nothing that is imported is ever let go; the kernels look for garbage again
    importlib.import_module("numpy")  # OpenBLAS starts threads, and can take them up after a fork
    before = thread_count()
    if sandboxed:
        sys.modules["debugpy"] = None  # nobody is there to debug
    for module in modules:
        importlib.import_module(module)
    kernel_application.cache_clear()
    kernel_application(sandboxed)
    if thread_count() > before:
        raise RuntimeError("an import started a thread, which no forked kernel would have")
    gc.freeze()  # what is never looked at stays shared with the kernels


def thread_count() -> int:
    """How many threads the system sees in this process."""
    return len(list(Path("/proc/self/task").iterdir()))


@dataclass
class Kernel:
    """A forked kernel: its process, a descriptor that tells its end, and its client."""

    pid: int
    pidfd: int
    client: socket.socket


class Parent:
    """Forks kernels, passes on signals, watches and cleans up."""

    def __init__(self, settings: Settings, libc: ctypes.CDLL):
        self.settings, self.libc = settings, libc
        self.kernels: list[Kernel] = []
        self.later = [*settings.later]
        self.listener = socket.socket(fileno=settings.listener)
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ, self._leash)

    def serve(self) -> None:
        """Serve; never returns."""
        if self.settings.sandboxed:
            clean(self.settings.scratch)  # of what the imports left there
        self._listen(True)
        while True:
            busy = self.kernels and (self.settings.sandboxed or self.later)
            pause = CALM if self.later else PULSE
            ready = self.selector.select(pause if busy else None)
            for key, _ in ready:
                key.data()
            if busy and self.later and not ready:
                preload([self.later.pop(0)], self.settings.sandboxed)
            if self.settings.sandboxed and self.kernels:
                self._watch()

    def _listen(self, wanted: bool) -> None:
        if wanted:
            self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        else:
            self.selector.unregister(self.listener)

    def _leash(self) -> None:
        if not os.read(0, 1):
            for kernel in self.kernels:
                end_group(kernel.pid)
            os._exit(0)

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        if self.settings.sandboxed:
            self._listen(False)  # one submission at a time

        def first():
            self.selector.unregister(client)
            self._start(client)

        self.selector.register(client, selectors.EVENT_READ, first)

    def _start(self, client: socket.socket) -> None:
        message, descriptors, _, _ = socket.recv_fds(client, MESSAGE, DESCRIPTORS)
        if not message:  # the client changed its mind
            self._let_go(client)
            return
        request = json.loads(message)
        preload(request.get("preload", ()), self.settings.sandboxed)
        pid = os.fork()
        if pid == 0:
            become_kernel(request, descriptors, self.settings, self.libc)
        for descriptor in descriptors:
            os.close(descriptor)
        kernel = Kernel(pid, os.pidfd_open(pid), client)
        self.kernels.append(kernel)
        self.selector.register(kernel.pidfd, selectors.EVENT_READ, lambda: self._ended(kernel))
        self.selector.register(client, selectors.EVENT_READ, lambda: self._asked(kernel))
        tell(client, pid=pid)

    def _let_go(self, client: socket.socket) -> None:
        client.close()
        if self.settings.sandboxed:
            self._listen(True)

    def _asked(self, kernel: Kernel) -> None:
        """Pass on a signal; a closed connection means that the kernel is wanted no more."""
        message = b""
        with suppress(OSError):
            message = kernel.client.recv(MESSAGE)
        if message:
            with suppress(ProcessLookupError):
                os.killpg(kernel.pid, json.loads(message)["signal"])
        else:
            self.selector.unregister(kernel.client)
            end_group(kernel.pid)

    def _ended(self, kernel: Kernel, cause: str = "") -> None:
        end_group(kernel.pid)
        self.selector.unregister(kernel.pidfd)
        with suppress(KeyError):
            self.selector.unregister(kernel.client)
        if self.settings.sandboxed:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        _, status = os.waitpid(kernel.pid, 0)
        os.close(kernel.pidfd)
        self.kernels.remove(kernel)
        tell(kernel.client, exit=os.waitstatus_to_exitcode(status), cause=cause)
        if self.settings.sandboxed:
            clean(self.settings.scratch)
        self._let_go(kernel.client)

    def _watch(self) -> None:
        """End the submission that uses more than it may."""
        (kernel,) = self.kernels
        if cause := excess(self.settings, kernel.pid):
            os.kill(-1, signal.SIGKILL)
            self._ended(kernel, cause)


def excess(limits: Settings, kernel: int) -> str:
    """Which limit is passed, "" for none."""
    # First of all, and at once: where processes multiply, each further look takes too long.
    if len(names := others()) > limits.processes:
        return "processes"
    reap_orphans(kernel)
    if sum(count_files(folder) for folder in limits.scratch) > limits.files:
        return "files"
    memory, threads = usage(names)
    if threads > limits.threads:
        return "threads"
    if memory <= limits.memory:
        return ""
    with held_still(names):
        if len(names := others()) > limits.processes:
            return "processes"
        return "memory" if sum(map(proportional, names)) > limits.memory else ""


def others() -> list[str]:
    """The numbers of all processes here but this one, which is the first."""
    names = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [name for name in names if name != str(os.getpid())]


@contextmanager
def held_still(names: list[str]):
    """All processes here stand still meanwhile, and none is added.

    A process that forks without end would hold the lock on the map of its memory, and keep who
    looks at it waiting while others multiply. Those of ``names`` that stood still before are
    stopped again: only a signal to all also reaches a process that is being forked.
    """
    standing = [int(name) for name in names if stands_still(name)]
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGCONT)
        for number in standing:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGSTOP)


def stands_still(name: str) -> bool:
    """Whether a process is stopped, or is to be as soon as it has its turn."""
    try:
        status = fields(Path("/proc", name, "status"))
    except OSError:  # it has ended
        return False
    return status["State"][0] == "T" or bool(int(status["ShdPnd"], 16) >> (signal.SIGSTOP - 1) & 1)


def tell(client: socket.socket, **message) -> None:
    """Send a message to a client that may be gone."""
    with suppress(OSError):
        client.send(json.dumps(message).encode())


def end_group(pid: int) -> None:
    """Kill a kernel and what it started, unless that took another process group."""
    for kill in (os.killpg, os.kill):  # a kernel that has just been forked leads no group yet
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def usage(processes: list[str]) -> tuple[int, int]:
    """Of these processes: at most how much memory of their own in bytes, and threads.

    What forks have in common is counted for each of them: the exact amount takes milliseconds.
    """
    found = []
    for name in processes:
        with suppress(OSError):  # it has ended meanwhile
            found.append(fields(Path("/proc", name, "status")))
    memory = sum(resident(status, "RssAnon", "RssShmem") for status in found)
    return memory, sum(int(status["Threads"]) for status in found)


def proportional(name: str) -> int:
    """Bytes of a process's memory, its share of what it has in common with others."""
    with suppress(OSError):
        return resident(fields(Path("/proc", name, "smaps_rollup")), "Pss_Anon", "Pss_Shmem")
    return usage([name])[0]  # it hides itself, or has ended


def fields(path: Path) -> dict[str, str]:
    """The fields of a file of /proc, by name. Raises OSError."""
    with path.open(errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


def resident(found: dict[str, str], *names: str) -> int:
    """The sum of these fields in bytes; a process that has just ended has none."""
    return sum(int(found.get(name, "0 kB").split()[0]) for name in names) * KIB


def reap_orphans(kernel: int) -> None:
    """Take leave of processes whose own parent has ended, not of the kernel itself."""
    peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, peek)) and found.si_pid != kernel:
            os.waitpid(found.si_pid, 0)


def count_files(folder: str) -> int:
    """How many files the file system of a scratch folder holds."""
    found = os.statvfs(folder)
    return found.f_files - found.f_ffree


def clean(folders: tuple[str, ...]) -> None:
    """Wait for the killed to be gone, and empty the scratch folders.

    Where that is not to be had, this process ends, and with it the sandbox; its owner then makes
    a new one.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)
        except ChildProcessError:
            break
    else:
        os._exit(1)
    try:
        for folder in folders:
            for path in Path(folder).iterdir():
                remove(path)
    except (OSError, RecursionError):
        os._exit(1)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, whatever its permissions. Raises OSError."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(0o700)
    for folder, inside, _ in os.walk(path):
        for name in inside:
            if not Path(folder, name).is_symlink():
                Path(folder, name).chmod(0o700)
    shutil.rmtree(path)


# --- what follows runs in the kernel's own process ---


def become_kernel(request: dict, descriptors: list[int], settings: Settings, libc) -> None:
    """Turn this forked process into the kernel that was asked for; never returns.

    request: argv (the arguments of ipykernel_launcher), env, cwd; preload, modules that were
    imported before, if that took asking. In the sandbox also: connection,
    what a connection file holds; folders, to be made; hooks, functions ("module:name") to be called
    once there is a shell.
    descriptors: standard input, output and error; in the sandbox also the listening sockets of
    CHANNELS.
    """
    code = 1
    try:
        os.setsid()
        gc.enable()
        settle(descriptors, settings, libc)
        os.environ.clear()
        os.environ.update(request["env"])
        for folder in request.get("folders", ()):
            Path(folder).mkdir()
        os.chdir(request["cwd"])
        start_kernel(request, settings.sandboxed)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(code)  # at once: of what is half made, some could not be ended
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
        os._exit(code)


def settle(descriptors: list[int], settings: Settings, libc) -> None:
    """Keep no descriptor but those handed over, numbered from 0; take on limits and defaults."""
    count = len(descriptors)
    for target, source in enumerate([os.dup2(d, 1000 + i) for i, d in enumerate(descriptors)]):
        os.dup2(source, target, inheritable=target < 3)
    os.closerange(count, os.sysconf("SC_OPEN_MAX"))
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as Python does when it starts
        signal.signal(number, signal.SIG_IGN)
    if not settings.sandboxed:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return
    for what, limit in (
        (resource.RLIMIT_AS, settings.memory),
        (resource.RLIMIT_FSIZE, settings.file),
        (resource.RLIMIT_CPU, settings.cpu),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def start_kernel(request: dict, sandboxed: bool) -> None:
    """Run ipykernel's application until the kernel is shut down."""
    import numpy

    numpy.random.seed()  # `random` does this itself
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()  # torch.seed() reads whole source files
    application = kernel_application(sandboxed)
    application.request = request
    sys.argv = [importlib.util.find_spec("ipykernel_launcher").origin, *request["argv"]]
    # 1: no watch over a parent process is needed, the kernel dies with this one's
    application.launch_instance(parent_handle=1)


@lru_cache(maxsize=2)
def kernel_application(sandboxed: bool) -> type:
    """The class of a kernel's application; to make it takes as long as to execute two cells."""
    from ipykernel.kernelapp import IPKernelApp

    application = direct(IPKernelApp)
    return with_sockets(application, frozenset(sys.modules), shell()) if sandboxed else application


SHELL = {"HistoryManager": {"enabled": False}}  # the configuration of the one made in advance
KERNEL = {"IPKernelApp", "IPythonKernel", "ForkedKernel"}  # what a shell does not read
ESCAPES = re.compile(r"[%!?]|^\s*[,;/]", re.MULTILINE)  # where IPython's own syntax may begin


@lru_cache(maxsize=1)
def shell():
    """The shell of kernels to come, but for what each of them has of its own.

    For a cell that is Python alone it does less: one without IPython's escape characters is not
    split into tokens, twice, to look for them; and a cell's name is a hash that takes no loop.
    """
    from ipykernel.compiler import XCachingCompiler, get_tmp_directory
    from ipykernel.ipkernel import IPythonKernel
    from IPython.core.inputtransformer2 import TransformerManager
    from traitlets.config import Config

    class Compiler(XCachingCompiler):
        def get_code_name(self, raw_code, code, number):
            return f"{get_tmp_directory()}/{zlib.crc32(raw_code.encode('utf-8', 'replace'))}.py"

    class Transformers(TransformerManager):
        own = len(TransformerManager().token_transformers)

        def do_token_transforms(self, lines):
            if len(self.token_transformers) == self.own and not ESCAPES.search("".join(lines)):
                return lines
            return super().do_token_transforms(lines)

    Path.home().mkdir(exist_ok=True)
    kind = IPythonKernel.shell_class.default_value
    made = kind.instance(config=Config(SHELL), user_ns={}, compiler_class=Compiler)
    made.input_transformer_manager = Transformers()
    return made


def direct(base: type) -> type:
    """The kernel's application without what costs most at its start and with every cell.

    Messages are sent by the thread that has them: handed to another, each would wait twice for
    Python's lock. Arguments are read without a parser, which takes longer to make than to use.
    """
    from ipykernel import iostream, kernelapp
    from ipykernel.ipkernel import IPythonKernel
    from traitlets import default

    kernel = forked_kernel(IPythonKernel)

    class Publisher(iostream.IOPubThread):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.turn = threading.RLock()  # of the socket: other threads may print, too

        def start(self):
            """Start nothing: then whoever has a message sends it."""

        def stop(self):
            self.io_loop.close(all_fds=True)  # the thread would have done it

        def schedule(self, f):
            with self.turn:
                f()

    class Stream(iostream.OutStream):
        held, flushed = 0, 0.0  # characters, and when there were none

        def write(self, string):
            if isinstance(string, str) and len(string) > MUCH:
                for i in range(0, len(string), MUCH):
                    self.write(string[i : i + MUCH])
                return len(string)
            self.held += len(string) if isinstance(string, str) else 0
            return super().write(string)

        def _schedule_flush(self):
            """What is printed goes out with the cell's end, if not for its size or age before."""
            if self.held >= MUCH or time.monotonic() - self.flushed > self.flush_interval:
                self._flush()

        def _flush(self):
            self.held, self.flushed = 0, time.monotonic()
            # What cannot be sent is lost, as it is where a thread of its own sends it; and what is
            # taken first is sent first.
            with suppress(Exception), self.pub_thread.turn:
                super()._flush()

    class Application(base):
        request: ClassVar[dict] = {}  # of this process, which has but one kernel

        @default("kernel_class")
        def _forked(self):
            return kernel

        def parse_command_line(self, argv=None):
            config = plain_config(sys.argv[1:] if argv is None else argv)
            if config is None:
                return super().parse_command_line(argv)
            self.cli_config = config
            return self.update_config(config)

        def init_iopub(self, context):
            with replaced(kernelapp, "IOPubThread", Publisher):
                super().init_iopub(context)

        def init_io(self):
            with replaced(iostream, "OutStream", Stream):
                super().init_io()

    return Application


def forked_kernel(base: type) -> type:
    """A kernel whose client may do without being told what it knows itself:
    ``--ForkedKernel.announces=False``.
    """
    from traitlets import Bool

    class ForkedKernel(base):
        announces = Bool(
            True, help="Say that a request was taken up, and what code it has"
        ).tag(config=True)

        def _publish_execute_input(self, code, parent, execution_count):
            if self.announces:
                super()._publish_execute_input(code, parent, execution_count)

        def _publish_status(self, status, channel, parent=None):
            if self.announces or status == "idle":
                super()._publish_status(status, channel, parent)

    return ForkedKernel


@contextmanager
def replaced(module, name: str, value):
    """A module's name stands for something else meanwhile."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def plain_config(arguments: list[str]):
    """The configuration that arguments of the forms ``--Class.trait=value`` and ``-f FILE`` make.

    None where there are others.
    """
    from traitlets.config.loader import Config, DeferredConfigString

    config, rest = Config(), iter(arguments)
    for argument in rest:
        found = re.fullmatch(r"--(\w+)\.(\w+)=(.*)", argument, re.DOTALL)
        if argument == "-f":
            config.IPKernelApp.connection_file = DeferredConfigString(next(rest, ""))
        elif found:
            config[found[1]][found[2]] = DeferredConfigString(found[3])
        else:
            return None
    return config


def plain(config) -> dict[str, dict[str, str]]:
    """What a configuration has for a shell, whether from arguments or made here."""
    return {
        name: {trait: str(value) for trait, value in found.items()}
        for name, found in config.items()
        if found and name not in KERNEL
    }


def with_sockets(base: type, loaded: frozenset[str], shell) -> type:
    """The kernel's application on sockets that are bound already, and with less around it.

    It takes a ``shell`` that has been made already, unless it is asked for another. It has no log,
    notes nothing for a debugger, and takes the names of the modules that are ``loaded`` from its
    parent: to look at every module and logger in the kernel's own process copies all the pages
    they are on.
    """
    import zmq
    from ipykernel import ipkernel
    from IPython.core import shellapp

    def unseen(module):
        return replaced(module, "sys", SimpleNamespace(**{**vars(sys), "modules": {}}))

    class Application(base):
        def load_config_file(self, suppress_errors=None):
            """There is none."""

        def init_connection_file(self):
            self.load_connection_info(self.request["connection"])

        def write_connection_file(self):
            """There is none."""

        def _try_bind_socket(self, s, port):
            ports = [self.request["connection"][f"{name}_port"] for name in CHANNELS]
            s.setsockopt(zmq.USE_FD, 3 + ports.index(port))
            s.bind(f"ipc:///kernel-{port}")
            return port

        def init_heartbeat(self):
            """Nobody listens to it: the client asks this parent whether the kernel lives."""

        def init_pdb(self):
            """Nobody is there to debug."""

        def _configure_logging(self):
            """Nobody reads its log."""

        def init_control(self, context):
            super().init_control(context)
            self.shell_channel_thread = None  # there are no subshells: one hop less for a message

        def init_kernel(self):
            if plain(self.config) != plain(shell.config):
                type(shell).clear_instance()
            with unseen(ipkernel):
                super().init_kernel()
            if self.kernel.shell is shell:
                shell.kernel = shell.parent = self.kernel
                shell.profile_dir = self.kernel.profile_dir
                shell.init_environment()

        def init_code(self):
            with unseen(shellapp):
                super().init_code()
            self.shell._sys_modules_keys = loaded
            for hook in self.request.get("hooks", ()):
                module, _, name = hook.partition(":")
                getattr(importlib.import_module(module), name)()

    return Application


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    main(Settings(**json.loads(sys.argv[1])))
