"""A strict nbval, a pytest plugin that `grading.replay` runs: `pytest --nbval -p grading.strict …`.

It puts its own collector in nbval's place. Each notebook gets one more item, `gate`, which judges
the file alone; each cell is compared as nbval does, and then by kind, mime types, metadata and
pictures of its outputs. No rule sanitises anything. Counts of what was compared must equal what
the files hold.

Notebooks run in threads (`grading.rerun`), several at a time, and none waits until it is compared.
"""

import gc
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams

from grading import notebooks
from grading.notebooks import PICTURE_RMS, PICTURES, name_of, picture_distance
from grading.rerun import Run

COUNTED = ("notebooks", "cells", "outputs", "pictures")
RUNS = "replay-runs"  # the name of the plugin that runs notebooks
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


class StrictFile(IPyNbFile):
    """A notebook; collected in nbval's place."""

    def run(self) -> Run:
        """A run of all cells of the notebook."""
        timeout = self.config.option.nbval_kernel_startup_timeout
        sources = [cell.source for cell in self.nb.cells if cell.cell_type == "code"]
        return Run(sources, self.path.parent, timeout)

    def setup(self):
        """Have the notebook's kernel running, and the next ones."""
        self.kernel = self.config.pluginmanager.get_plugin(RUNS).of(self)
        self.kernel.await_start()

    def teardown(self):
        """End the kernel, if it has not ended."""
        if self.kernel is not None:
            self.kernel.stop()
            self.kernel = None

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


class Runs:
    """The notebooks' runs, begun in the order in which they are compared, so many at a time."""

    def __init__(self, at_once: int):
        self.pool = ThreadPoolExecutor(at_once)
        self.files: list[StrictFile] = []
        self.runs: dict[StrictFile, Run] = {}

    def pytest_collection_finish(self, session) -> None:
        parents = dict.fromkeys(item.parent for item in session.items)
        self.files = [parent for parent in parents if isinstance(parent, StrictFile)]

    def of(self, file: StrictFile) -> Run:
        """A notebook's run; all are in the queue as soon as one is asked for."""
        if not self.runs:
            self.runs = {file: file.run() for file in self.files}
            for run in self.runs.values():
                self.pool.submit(run.work_off)
        return self.runs[file]

    def pytest_sessionfinish(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for run in self.runs.values():
            run.let_go()


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
    config.pluginmanager.register(Runs(config.option.replay_at_once), RUNS)


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
