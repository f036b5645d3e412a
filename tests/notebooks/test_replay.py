"""The replay: a clean notebook passes, and each planted fault is caught in its cell."""

import re
import shutil
import subprocess
import threading
import time

import nbformat
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory

from grading import kernels, notebooks, replay, rerun, strict, stubs
from grading.kernels import warm

from .conftest import POINTS, as_png
from .test_notebooks import cell, edit

MOVED = [*POINTS[:2], (60, 50), *POINTS[3:]]  # one data point of five, by ten pixels


def stale(data):
    cell(data, "picture")["outputs"][0]["data"]["image/png"] = as_png(MOVED)


def without_picture(data):
    output = cell(data, "picture")["outputs"][0]
    output["data"] = {"text/plain": output["data"]["text/plain"]}


def warning(data):
    cell(data, "silent")["source"] = ["import warnings\n", "warnings.warn('old')\n", "value += 1"]


def never_run(data):
    cell(data, "printed").update(outputs=[], execution_count=None)


# What is planted in the stored file → the test that must fail. Cells count from 0, code only.
RUN_FAULTS = {
    "digit": (lambda data: cell(data, "printed")["outputs"][0].update(text=["1.4143\n"]), "Cell 1"),
    "stale": (stale, "Cell 3"),
    "nopicture": (without_picture, "Cell 3"),
    "neverrun": (never_run, "gate"),
    "noise": (lambda data: cell(data, "silent").update(source="print('more')"), "Cell 4"),
    "warning": (warning, "Cell 4"),
    "kind": (lambda data: cell(data, "result")["outputs"][0].update(
        output_type="display_data") or cell(data, "result")["outputs"][0].pop("execution_count"),
        "Cell 2"),
    "missing": (lambda data: cell(data, "result").update(source="None"), "Cell 2"),
    "metadata": (lambda data: cell(data, "picture")["outputs"][0].update(
        metadata={"image/png": {"alt": "another"}}), "Cell 3"),
    "error": (lambda data: cell(data, "silent").update(source="1 / 0"), "Cell 4"),
}


@pytest.fixture(scope="session")
def failures(executed, tmp_path_factory):
    """Spoiled file's name → its failed tests, and the whole text of one replay of them all."""
    folder = tmp_path_factory.mktemp("spoiled")
    for name, (spoil, _) in RUN_FAULTS.items():
        edit(shutil.copy(executed, folder / f"{name}.ipynb"), spoil)
    paths = [shutil.copy(executed, folder / "clean.ipynb"), *sorted(folder.glob("*.ipynb"))]
    log = folder / "log.txt"
    with log.open("w") as file:
        assert replay.replay(sorted({*paths}), at_once=3, output=file) == 1
    text = log.read_text(encoding="utf-8")
    found = re.findall(r"^(?:FAILED|ERROR) .*?(\w+)\.ipynb::(gate|Cell \d+)", text, re.MULTILINE)
    return found, text


def test_each_planted_fault_fails_in_its_cell_and_nothing_else(failures):
    found, text = failures
    wanted = {(name, where) for name, (_, where) in RUN_FAULTS.items()}
    assert set(found) == wanted and len(found) == len(RUN_FAULTS), text


def test_the_report_says_what_differs_and_counts(failures):
    _, text = failures
    for sentence in ("the pictures differ (RMS", "was never run", "1.4143", "metadata differ",
                     "Unexpected output fields", "this run gave ['execute_result"):
        assert sentence in text, sentence
    files = len(RUN_FAULTS) + 1
    assert f"of {files} notebooks" in text and f"of {5 * files} cells" in text
    assert "skipped 0" in text


def test_a_clean_notebook_passes_and_everything_is_counted(executed, capfd):
    assert replay.replay([executed]) == 0
    out = capfd.readouterr().out
    pictures = strict.stored_counts(notebooks.read(executed))["pictures"]
    assert pictures > 0
    assert (f"compared 1 of 1 notebooks, 5 of 5 cells, 3 of 3 outputs, {pictures} of {pictures} "
            "pictures; skipped 0") in out


def test_a_replay_that_compares_no_picture_fails_unless_told(tmp_path, capfd):
    path = tmp_path / "text.ipynb"
    cells = [nbformat.v4.new_code_cell("print(1)", id="one")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    notebooks.execute([path])
    assert replay.replay([path]) == 1
    assert "replay: no pictures compared" in capfd.readouterr().out
    assert replay.replay([path], pictures=False) == 0


def test_cells_after_an_endless_loop_are_not_taken_for_replayed(clean, monkeypatch, capfd):
    edit(clean, lambda data: cell(data, "picture").update(source="while True: pass"))
    monkeypatch.setattr(kernels, "CELL_TIMEOUT", 1)
    assert replay.replay([clean]) == 1
    out = capfd.readouterr().out
    assert "Timeout of 1 seconds exceeded" in out
    assert "4 of 5 cells" in out and "not everything that is stored was compared" in out


def test_no_notebook_and_a_broken_one_fail(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(replay, "course_notebooks", list)
    assert replay.main() == 1
    (tmp_path / "bad.ipynb").write_text("{")
    assert replay.main([tmp_path / "bad.ipynb"]) == 1
    assert "Cannot read bad.ipynb" in capfd.readouterr().err


def test_those_come_last_that_import_what_takes_longest(tmp_path, monkeypatch):
    texts = {"optimizer": "torch.optim", "long": "figures " * 9, "figure": "figures"}
    for name, text in {**texts, "plain": "1 + 1"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff")
    asked = []

    def run(command, **options):
        asked.extend(name for name in command if str(tmp_path) in name)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(replay.subprocess, "run", run)
    replay.replay([*sorted(tmp_path.iterdir()), tmp_path / "absent"], cold=True)
    names = [path.rpartition("/")[2] for path in asked]
    assert names == ["plain", "bytes", "absent", "long", "figure", "optimizer"]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """begun(sources, folder): a run in a thread of its own, which ends with the test."""
    if not warm.can_fork():
        pytest.skip("kernels cannot be forked here")
    monkeypatch.setenv(replay.DEFAULT_PROVISIONER, "warm")
    KernelProvisionerFactory.clear_instance()  # it has read the variable before
    started = []

    def begin(sources, folder=tmp_path):
        run = rerun.Run(sources, folder, 60.0)
        started.append((run, threading.Thread(target=run.work_off)))
        started[-1][1].start()
        return run

    yield begin
    for run, thread in started:
        run.stop()
        thread.join()
    KernelProvisionerFactory.clear_instance()


def printed(run, source):
    """What a cell prints, as nbval reads it."""
    asked, texts = run.execute_cell_input(source), []
    run.await_reply(asked, timeout=30)
    while (message := run.get_message("iopub", 30))["msg_type"] != "status" or (
        message["content"]["execution_state"], message["parent_header"]["msg_id"]
    ) != ("idle", asked):
        texts.append(message["content"].get("text", ""))
    return "".join(texts)


def test_a_run_goes_on_without_being_asked_and_ends_its_kernel(begun):
    sources = ["print('one')", "print('x' * 300_000)", *["print(1)"] * 30]
    run = begun(sources)
    run.await_start()
    assert run._over.wait(60) and not run.km.alive
    assert [printed(run, source) for source in sources[:2]] == ["one\n", "x" * 300_000 + "\n"]
    assert all(run.is_alive() and printed(run, s) == "1\n" for s in sources[2:])
    assert not run.is_alive()


def test_a_run_whose_kernel_ends_does_not_keep_its_reader_waiting(begun):
    run = begun(["import os; os._exit(2)", "print(3)"])
    run.await_start()
    with pytest.raises(RuntimeError, match="内核已经结束"):
        printed(run, "import os; os._exit(2)")
    assert not run.is_alive()


def test_a_run_that_cannot_start_says_why_and_one_that_is_unwanted_ends(begun, tmp_path):
    with pytest.raises(RuntimeError, match="ended before it answered"):
        begun(["1"], tmp_path / "absent").await_start()
    run = begun(["import time; time.sleep(600)"])
    run.await_start()
    run.stop()
    assert not run.km.alive


class Notebook:
    """A notebook whose run counts how many run at a time."""

    running, most, order = 0, 0, []

    def __init__(self, name):
        self.name = name

    def run(self):
        return self

    def work_off(self):
        Notebook.order.append(self.name)
        Notebook.running += 1
        Notebook.most = max(Notebook.most, Notebook.running)
        time.sleep(0.05)
        Notebook.running -= 1

    def let_go(self):
        Notebook.order.append(f"no more of {self.name}")


def test_all_notebooks_run_in_their_order_and_so_many_at_a_time():
    runs = strict.Runs(at_once=2)
    runs.files = [Notebook(name) for name in "abcde"]
    assert runs.of(runs.files[3]).name == "d"
    time.sleep(0.02)
    runs.pytest_sessionfinish()
    runs.pool.shutdown()
    assert Notebook.order == ["a", "b", *(f"no more of {name}" for name in "abcde")]
    assert Notebook.most == 2


# --- the gate on the file alone ---------------------------------------------------------------

STATIC_FAULTS = {
    "never run": (never_run, "cell 3 (id printed): was never run"),
    "order": (lambda data: cell(data, "result").update(execution_count=7), "ran as number 7"),
    "swapped": (lambda data: data["cells"].insert(2, data["cells"].pop(3)), "ran as number 3"),
    "skip tag": (lambda data: cell(data, "printed")["metadata"].update(tags=["skip-execution"]),
                 "the tag 'skip-execution'"),
    "nbval tag": (lambda data: cell(data, "printed")["metadata"].update(
        tags=["nbval-ignore-output"]), "the tag 'nbval-ignore-output'"),
    "comment": (lambda data: cell(data, "printed").update(source="# NBVAL_SKIP\nprint(1)"),
                "a comment NBVAL_"),
    "empty": (lambda data: cell(data, "silent").update(source=""), "an empty code cell"),
    "error": (lambda data: cell(data, "silent").update(outputs=[
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]), "ends in E"),
    "address": (lambda data: cell(data, "printed")["outputs"][0].update(
        text="<object at 0x7f1234567890>\n"), "an address in an output"),
    "path": (lambda data: cell(data, "printed")["outputs"][0].update(text="/home/x/a.py\n"),
             "a path in an output"),
    "widget": (lambda data: cell(data, "result")["outputs"][0]["data"].update(
        {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}), "cannot be compared"),
    "no code": (lambda data: data["cells"].__delitem__(slice(1, None)), "has no code cell"),
}


def test_a_clean_file_has_no_static_fault(clean):
    assert strict.static_faults(notebooks.read(clean)) == []


@pytest.mark.parametrize("name", STATIC_FAULTS)
def test_a_static_fault_is_caught(clean, name):
    spoil, message = STATIC_FAULTS[name]
    edit(clean, spoil)
    faults = strict.static_faults(notebooks.read(clean))
    assert any(message in fault for fault in faults), faults


# --- released assignments -----------------------------------------------------------------------

STUB = 'def double(x):\n    raise NotImplementedError("double：请解答 / double: write it")'
SOLVED = "def double(x):\n    ### BEGIN SOLUTION\n    return x + x\n    ### END SOLUTION"


def assignment(answer, example="double", check="assert double(2) == 4", outputs=()):
    def code(source, **flags):
        nbgrader = {"grade_id": "double", "solution": False, "grade": False, **flags}
        cell = nbformat.v4.new_code_cell(source, metadata={"nbgrader": nbgrader})
        return cell
    cells = [code("one = 1", grade_id="setup"), code(answer, solution=True),
             code(example, grade_id="example"), code(check, grade=True, grade_id="check-double")]
    cells[0].outputs = list(outputs)
    return nbformat.v4.new_notebook(cells=cells)


STREAM = nbformat.v4.new_output("stream", name="stdout", text="4")
RELEASES = {
    "clean": (assignment(STUB), None),
    "solved": (assignment("def double(x):\n    return  x+x"), "left of the solution: returnx+x"),
    "marked": (assignment(STUB + "\n    ### END SOLUTION"), "END SOLUTION"),
    "unnamed": (assignment("def double(x):\n    raise NotImplementedError"), "naming it"),
    "passes": (assignment(STUB, check="assert True"), "passes an unsolved exercise"),
    "breaks": (assignment(STUB, example="1 / 0"), "ZeroDivisionError"),
    "output": (assignment(STUB, outputs=[STREAM]), "an output is left"),
}


@pytest.fixture(scope="session")
def releases():
    source = assignment(SOLVED)
    with kernels.environment() as env:
        return {
            name: stubs.released_faults(nb, source, env, "warm")
            for name, (nb, _) in RELEASES.items()
        }


@pytest.mark.parametrize("name", RELEASES)
def test_a_released_assignment(releases, name):
    faults, counts = releases[name]
    message = RELEASES[name][1]
    assert (faults == []) if message is None else any(message in fault for fault in faults), faults
    if name == "clean":
        assert counts == {"cells": 3, "stubs": 1, "checks": 1, "lines": 1}
