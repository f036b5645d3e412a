"""A strict nbval, a pytest plugin that `grading.replay` runs: `pytest --nbval -p grading.strict …`.

It puts its own collector in nbval's place. Each notebook gets one more item, `gate`, which judges
the file alone; each cell is compared as nbval does, and then by kind, mime types, metadata and
pictures of its outputs. No rule sanitises anything. Counts of what was compared must equal what
the files hold.

A kernel gets all cells of its notebook at once, and the next notebooks' kernels run while one
notebook is compared: several work at a time, and none waits for the comparison.
"""

import gc
import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty

import pytest
import zmq
from jupyter_core.utils import run_sync
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams

from grading import notebooks, sockets
from grading.kernels import QUIET, warm
from grading.notebooks import PICTURE_RMS, PICTURES, name_of, picture_distance

PULSE = 20  # milliseconds between two tries to reach a kernel that is starting
SILENCE = 10  # seconds without a reply, after which it is asked again
READY = 500  # replies without anything published, after which it is given up
COUNTED = ("notebooks", "cells", "outputs", "pictures")
STARTING = 4  # kernels that start at a time
AHEAD = "replay-ahead"  # the name of the plugin that starts kernels
REPLAYED = "replayed"  # the key of the counts in the reports' user properties

LOOSE_TAG = re.compile(r"skip|ignore|nbval", re.IGNORECASE)
LOOSE_COMMENT = re.compile(r"^\s*#\s*(NBVAL_|PYTEST_VALIDATE_)", re.MULTILINE)
UNCOMPARED = ("application/vnd.jupyter.widget-view+json",)
PASSING = {
    "an address": re.compile(r"\b0x[0-9a-f]{6,}\b"),
    "a path": re.compile(r"(?<![\w.:/])/(?:home|Users|tmp|usr|var|opt)/\w"),
    "the name of a kernel's file": re.compile(r"ipykernel_\d+"),
}


# --- the gate on the file alone -------------------------------------------------------------


def static_faults(nb: NotebookNode) -> list[str]:
    """What is wrong with a stored notebook before anything runs; each sentence names its cell.

    Looks at code cells: run, in order, nothing excused from comparison, nothing in an output
    that changes from run to run. A notebook without a code cell is a fault.
    """
    code = [(index, cell) for index, cell in enumerate(nb.cells) if cell.cell_type == "code"]
    faults = [] if code else ["the notebook has no code cell"]
    for number, (index, cell) in enumerate(code, start=1):
        where = f"cell {index + 1} (id {cell.get('id', '?')})"
        faults += [f"{where}: {fault}" for fault in _cell_faults(cell, number)]
    return faults


def _cell_faults(cell: NotebookNode, number: int) -> list[str]:
    faults = []
    if not cell.source.strip():
        faults.append("an empty code cell")
    if cell.execution_count is None:
        faults.append("was never run")
    elif cell.execution_count != number:
        faults.append(f"ran as number {cell.execution_count}, it stands as number {number}")
    tags = cell.metadata.get("tags", [])
    faults += [f"the tag {tag!r} excuses it" for tag in tags if LOOSE_TAG.search(tag)]
    if LOOSE_COMMENT.search(cell.source):
        faults.append("a comment NBVAL_… excuses it")
    for output in cell.outputs:
        faults += _output_faults(output, cell, "raises-exception" in tags)
    return faults


def _output_faults(output: NotebookNode, cell: NotebookNode, may_raise: bool) -> list[str]:
    faults = []
    if output.output_type == "error" and not may_raise:
        faults.append(f"ends in {output.ename} without the tag 'raises-exception'")
    if output.get("execution_count", cell.execution_count) != cell.execution_count:
        faults.append("an output has another execution count than the cell")
    texts = [output.get("text", ""), output.get("evalue", "")]
    for mime, value in output.get("data", {}).items():
        if mime in UNCOMPARED:
            faults.append(f"an output of the type {mime}, which cannot be compared")
        elif mime not in PICTURES:
            texts.append(value if isinstance(value, str) else json.dumps(value))
    for what, pattern in PASSING.items():
        found = pattern.search("\n".join(texts))
        if found:
            faults.append(f"{what} in an output: {found.group()}")
    return faults


def stored_counts(nb: NotebookNode) -> Counter:
    """How much a replay of this notebook has to compare."""
    counts = Counter(notebooks=1)
    for cell in nb.cells:
        if cell.cell_type == "code":
            counts += Counter(cells=1) + output_counts(coalesce_streams(cell.outputs) or [])
    return counts


def output_counts(outputs: list[NotebookNode]) -> Counter:
    pictures = sum(mime in PICTURES for output in outputs for mime in output.get("data", {}))
    return Counter(outputs=len(outputs), pictures=pictures)


# --- the comparison -------------------------------------------------------------------------


def output_differences(stored: list[NotebookNode], new: list[NotebookNode]) -> list[str]:
    """What nbval does not compare: order and kind of outputs, mime types, metadata, pictures.

    Both lists have their streams merged. Pictures may differ by an RMS of PICTURE_RMS.
    """
    was, now = [_kind(output) for output in stored], [_kind(output) for output in new]
    if was != now:
        return [f"the file has the outputs {was}, this run gave {now}"]
    differences = []
    for number, (left, right) in enumerate(zip(stored, new, strict=True), start=1):
        if dict(left.get("metadata", {})) != dict(right.get("metadata", {})):
            differences.append(f"output {number}: metadata differ")
        for mime in PICTURES:
            if mime in left.get("data", {}):
                differences += _picture_difference(number, left.data[mime], right.data[mime])
    return differences


def _kind(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return output.name
    return " ".join([output.output_type, *sorted(output.get("data", {}))])


def _picture_difference(number: int, left: str, right: str) -> list[str]:
    if left == right:
        return []
    try:
        distance = picture_distance(left, right)
    except (OSError, ValueError) as error:
        return [f"output {number}: the picture cannot be decoded ({error})"]
    if distance <= PICTURE_RMS:
        return []
    return [f"output {number}: the pictures differ (RMS {distance:.2f}, at most {PICTURE_RMS})"]


class StrictCell(IPyNbCell):
    """A code cell, compared as nbval does and then by `output_differences`."""

    def compare_outputs(self, test, ref, skip_compare=None) -> bool:
        self.user_properties.append((REPLAYED, dict(Counter(cells=1) + output_counts(ref))))
        if not super().compare_outputs(test, ref, skip_compare):
            return False
        self.comparison_traceback = output_differences(ref, test)
        return not self.comparison_traceback


class Gate(pytest.Item):
    """The file alone: `static_faults`."""

    def runtest(self) -> None:
        faults = static_faults(self.parent.nb)
        if faults:
            raise GateError("\n".join(faults))
        self.user_properties.append((REPLAYED, {"notebooks": 1}))

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, GateError):
            return f"{name_of(self.path)}\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, 0, f"{name_of(self.path)}::gate"


class GateError(Exception):
    """The stored notebook breaks a rule; the message has one line for each fault."""


class SocketKernel(RunningKernel):
    """nbval's kernel in this environment, with its sockets in ``folder`` and all it has to do."""

    def __init__(self, folder: Path, cwd: Path, timeout: float, sources: Sequence[str]):
        specs = NbvalKernelspecManager()
        context = zmq.Context()
        context.setsockopt(zmq.RCVHWM, 0)  # what is not read yet must not be lost
        context.setsockopt(zmq.RECONNECT_IVL, PULSE)  # until the kernel listens
        self.km = sockets.blocking_manager(
            folder, CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=specs, context=context
        )
        # What Python writes to stderr comes as messages; the rest is the kernel's own chatter.
        options = {"stderr": subprocess.DEVNULL, "cwd": str(cwd), "extra_arguments": QUIET}
        modules = " ".join(sorted(warm.named("\n".join(sources))))
        self.km.start_kernel(env={**os.environ, warm.MODULES: modules}, **options)
        self.kc = self.km.client(context=self.km.context)
        self.kc.start_channels()
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._ensure_iopub_up()
                break
            except RuntimeError:
                if time.monotonic() > deadline or not self.km.is_alive():
                    self.stop()
                    raise
        asked = [super(SocketKernel, self).execute_cell_input(s, False) for s in sources]
        self._asked = iter(asked)

    def _ensure_iopub_up(self):
        """Wait until what the kernel publishes arrives; nbval's way waits in whole seconds.

        Raises RuntimeError.
        """
        asked = self.kc.kernel_info()
        for _ in range(READY):
            try:
                self.await_reply(asked, SILENCE)
            except Empty:
                raise RuntimeError(f"the kernel said nothing for {SILENCE} s") from None
            try:
                return self.await_idle(asked, PULSE / 1000)
            except Empty:
                asked = self.kc.kernel_info()
        raise RuntimeError("the kernel replies, but what it publishes does not arrive")

    def execute_cell_input(self, cell_input, allow_stdin=None):
        """The id of the message that asked the kernel for the next cell: it was sent long ago."""
        return next(self._asked)

    def get_message(self, stream, timeout=None):
        """As nbval's, which lays out every message for a log, pictures too."""
        channel = self.kc.iopub_channel if stream == "iopub" else self.kc.shell_channel
        return channel.get_msg(timeout)

    def is_alive(self):
        """Whether there is something to hear from it; a later cell may have ended it."""
        return hasattr(self, "km") and (self.kc.iopub_channel.msg_ready() or super().is_alive())

    def stop(self):
        """End the kernel; nbval's way looks for the end every tenth of a second."""
        if not hasattr(self, "km"):
            return  # nbval has done so, when the kernel fell silent
        self.kc.stop_channels()
        run_sync(self.km.provisioner.kill)()
        run_sync(self.km.provisioner.wait)()
        self.km.cleanup_resources()
        self.km.context.destroy(linger=0)
        del self.km


class StrictFile(IPyNbFile):
    """A notebook; collected in nbval's place."""

    def begin(self) -> SocketKernel:
        """Start a kernel on all cells of the notebook."""
        timeout = self.config.option.nbval_kernel_startup_timeout
        sources = [cell.source for cell in self.nb.cells if cell.cell_type == "code"]
        self._names = tempfile.TemporaryDirectory()
        return SocketKernel(Path(self._names.name), self.path.parent, timeout, sources)

    def setup(self):
        """Have the notebook's kernel running, and the next ones starting."""
        self.kernel = self.config.pluginmanager.get_plugin(AHEAD).take(self)

    def teardown(self):
        """End the kernel."""
        self.config.pluginmanager.get_plugin(AHEAD).leave(self)
        if self.kernel is not None:
            self.kernel.stop()
            self.kernel = None
        self._names.cleanup()

    def collect(self):
        cells = list(super().collect())
        yield Gate.from_parent(self, name="gate")
        for item in cells:
            yield StrictCell.from_parent(
                self,
                name=f"{item.name} ({item.cell.get('id', '?')})",
                cell_num=item.cell_num,
                cell=item.cell,
                options={
                    "check": True,
                    "check_exception": item.options["check_exception"],
                    "skip": False,
                },
            )


class Ahead:
    """Starts the notebooks' kernels in their order, so many at once.

    It does so in threads: while one waits for its kernel, another notebook is compared.
    """

    def __init__(self, at_once: int):
        self.at_once = at_once
        self.files: list[StrictFile] = []  # whose kernels were not started yet
        self.begun: dict[StrictFile, Future[SocketKernel]] = {}
        self.threads = ThreadPoolExecutor(STARTING)

    def pytest_collection_finish(self, session) -> None:
        parents = dict.fromkeys(item.parent for item in session.items)
        self.files = [parent for parent in parents if isinstance(parent, StrictFile)]

    def pytest_sessionfinish(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    def take(self, file: StrictFile) -> SocketKernel:
        """This notebook's kernel; and let the next ones start. Raises what its start raised."""
        while self.files and (len(self.begun) < self.at_once or file not in self.begun):
            following = self.files.pop(0)
            self.begun[following] = self.threads.submit(following.begin)
        return self.begun[file].result()

    def leave(self, file: StrictFile) -> None:
        """This notebook needs its kernel no more."""
        self.begun.pop(file, None)


# --- the plugin -----------------------------------------------------------------------------


def pytest_addoption(parser) -> None:
    parser.getgroup("replay", "Strict replay of notebooks").addoption(
        "--replay-without-pictures",
        action="store_true",
        help="do not fail when the notebooks hold no picture at all",
    )
    parser.getgroup("replay").addoption(
        "--replay-at-once", type=int, default=1, help="how many notebooks run at a time"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collected = yield
    return [
        StrictFile.from_parent(parent, path=file_path) if type(file) is IPyNbFile else file
        for file in collected
    ]


def pytest_collection_finish() -> None:
    gc.freeze()  # what was collected stays to the end: nobody need look for garbage in it


def pytest_configure(config) -> None:
    config.pluginmanager.register(Tally(config), "replay-tally")
    config.pluginmanager.register(Ahead(config.option.replay_at_once), AHEAD)


def _notebooks_in(arguments: list[str]) -> list[Path]:
    paths = {Path(argument.split("::")[0]) for argument in arguments}
    inside = {found for path in paths if path.is_dir() for found in path.rglob("*.ipynb")}
    return sorted({path for path in paths if path.is_file()} | inside)


class Tally:
    """Adds up the reports; the run fails when something was left out or nothing was compared."""

    def __init__(self, config):
        self.needed = [
            name
            for name in COUNTED
            if name != "pictures" or not config.option.replay_without_pictures
        ]
        self.compared, self.stored = Counter(), Counter()
        for path in _notebooks_in(config.args):
            try:
                self.stored += stored_counts(notebooks.read(path))
            except notebooks.NotebookError as error:
                raise pytest.UsageError(str(error)) from None
        self.skipped = 0

    def pytest_runtest_logreport(self, report) -> None:
        self.skipped += report.outcome == "skipped"
        if report.when == "call":
            for key, counts in report.user_properties:
                self.compared.update(counts if key == REPLAYED else {})

    def faults(self) -> list[str]:
        faults = [f"no {name} compared" for name in self.needed if not self.compared[name]]
        if self.compared != self.stored:
            faults.append("not everything that is stored was compared")
        if self.skipped:
            faults.append("cells were skipped")
        return faults

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session) -> None:
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = int(bool(self.faults()))

    def pytest_terminal_summary(self, terminalreporter) -> None:
        counts = [f"{self.compared[name]} of {self.stored[name]} {name}" for name in COUNTED]
        terminalreporter.write_line(
            f"replay compared {', '.join(counts)}; skipped {self.skipped}"
        )
        for fault in self.faults():
            terminalreporter.write_line(f"replay: {fault}", red=True)
