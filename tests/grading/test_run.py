"""Run: what a student's code does to its kernel does no harm to the rest, nor to the grader."""

import base64
import json
import os
import time

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from grading import sockets
from grading.client import Client, KernelClient, Limits, is_png, merged
from grading.run import run
from grading.states import State
from tutor.evidence import MIME

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"picture").decode()
SEED = "5eed"


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(s, id=f"c{i}") for i, s in enumerate(sources)])


def texts(cell):
    return "".join(o.get("text", "") for o in cell.outputs)


def test_surroundings_outputs_and_limits(monkeypatch):
    """One kernel for all that is seen from within and from without."""
    monkeypatch.setenv("COURSE_SECRET", "nobody may know")
    show = "from IPython.display import display\ndisplay({}, raw=True)"
    executed, notes = run(
        notebook(
            "import os, sys, json\n"
            "print(json.dumps([os.listdir(), dict(os.environ), sys.path, os.path.realpath('.')]))",
            "print('x' * 50_000)\nprint('more')",
            "for _ in range(3): print('out'); print('err', file=sys.stderr)",
            show.format({"image/png": PNG, "text/html": "<b>", "image/svg+xml": "<svg/>"}),
            show.format({"image/png": '"><script>', "text/html": "<b>", "text/latex": "$x$"}),
            show.format({MIME: "{}", "text/plain": "evidence"}),
            show.format({MIME: {"no": "text"}}),
            "from IPython.display import clear_output\nprint('stays')\nclear_output()",
            "h = display('first', display_id='d')",
            "from IPython.display import update_display\nupdate_display('second', display_id='d')",
            "raise ValueError('<b>' * 10_000)",
            "input('?')",
            "1 + 1",
            "print('\\ud800')",
        ),
        SEED,
        Limits(text=20_000),
    )
    cells = executed.cells
    listed, environment, path, folder = json.loads(texts(cells[0]))
    assert listed == []
    assert environment["TUTOR_SEED"] == SEED and "COURSE_SECRET" not in environment
    assert not os.path.exists(folder)  # noqa: PTH110
    assert os.getcwd() not in (folder, *path[:1])  # noqa: PTH109
    assert len(texts(cells[1])) <= 20_010 and texts(cells[1]).endswith("…\n")
    assert texts(cells[2]).count("out") == texts(cells[2]).count("err") == 3
    assert [dict(o.data) for o in cells[3].outputs] == [{"image/png": PNG}]
    assert cells[4].outputs == []
    assert dict(cells[5].outputs[0].data) == {MIME: "{}", "text/plain": "evidence"}
    assert cells[6].outputs == []
    assert texts(cells[7]) == "stays\n"
    assert cells[8].outputs[0].data["text/plain"] == "'first'"
    error = cells[10].outputs[0]
    assert error.ename == "ValueError" and len(error.evalue) <= 2000
    assert sum(map(len, error.traceback)) <= 20_010
    assert cells[11].outputs[0].ename == "StdinNotImplementedError"
    assert cells[12].outputs[0].data == {"text/plain": "2"}
    json.dumps(cells[13].outputs).encode()
    assert notes == []


def test_a_loop_is_interrupted_and_the_kernel_goes_on():
    started = time.monotonic()
    executed, (note,) = run(
        notebook("x = 1", "while True: pass", "print(x)"), SEED, Limits(cell=1.0)
    )
    assert (note.state, note.cell) == (State.TIMEOUT, "c1")
    assert texts(executed.cells[2]) == "1\n"
    assert executed.cells[1].outputs[-1].ename == "Timeout"
    assert time.monotonic() - started < 15


def test_what_cannot_be_stopped_is_left_out():
    stubborn = (
        "while True:\n    try:\n        while True: pass\n    except BaseException: continue"
    )
    executed, (note,) = run(
        notebook("x = 1", stubborn, "print(x)"), SEED, Limits(cell=1.0, grace=1.0)
    )
    assert (note.state, note.cell) == (State.TIMEOUT, "c1")
    assert texts(executed.cells[2]) == "1\n"


def test_two_crashes_cost_two_cells():
    executed, notes = run(
        notebook("import os", "os._exit(0)", "print('a')", "os.kill(os.getpid(), 9)", "print('b')"),
        SEED,
    )
    assert [(n.state, n.cell) for n in notes] == [
        (State.CRASHED, "c1"),
        (State.OUT_OF_MEMORY, "c3"),
    ]
    assert [texts(c) for c in executed.cells] == ["", "", "a\n", "", "b\n"]


def test_the_budget_of_a_submission_ends_it_and_keeps_what_there_is():
    sleep = "import time; time.sleep(1.5)"
    executed, notes = run(
        notebook("print('a')", sleep, sleep, sleep, "print('b')"), SEED, Limits(total=4.0)
    )
    assert texts(executed.cells[0]) == "a\n"
    assert texts(executed.cells[4]) == ""
    assert {n.state for n in notes} == {State.TIMEOUT}


def test_a_budget_that_ends_in_a_second_kernel_keeps_the_better_first_one():
    executed, notes = run(
        notebook("import time; time.sleep(2)", "print('a')", "import os; os._exit(0)", "1"),
        SEED,
        Limits(total=3.5),
    )
    assert texts(executed.cells[1]) == "a\n"
    assert {n.state for n in notes} >= {State.TIMEOUT}


def test_a_kernel_that_does_not_start_is_not_the_students_fault():
    with pytest.raises(Exception, match="no-such-kernel"):
        run(notebook("1"), SEED, kernel="no-such-kernel")


MALFORMED = [
    {"msg_type": "stream", "content": None},
    {"msg_type": "display_data", "content": {"data": 7}},
    {"msg_type": "display_data", "content": {}},
    {"msg_type": "error", "content": {"traceback": 5}},
    {"msg_type": "status", "content": {}},
    {"msg_type": "execute_result", "content": []},
    {"msg_type": "comm_open", "content": {"comm_id": "x", "target_name": "y", "data": {}}},
    {"msg_type": ["x"], "content": {}},
    {},
]


@pytest.mark.parametrize("message", MALFORMED)
def test_a_forged_message_is_no_error_and_no_output(message):
    """A kernel's process holds the key that signs its messages, so it may send any."""
    cell = new_code_cell("1")
    client = Client(Limits(), "python3")
    client._room = {"text": 100, "pictures": 100, MIME: 100}
    client.take_in({"parent_header": {"msg_id": "1"}, **message}, cell)
    assert cell.outputs == []


def test_streams_are_merged_and_what_was_overwritten_is_gone():
    def stream(name, text):
        return new_output("stream", name=name, text=text)

    result = new_output("execute_result", data={"text/plain": "1"})
    outputs = [stream("stderr", "e1\n"), stream("stdout", "10 %\r"), stream("stderr", "e2"),
               stream("stdout", "20 %\n"), result]  # fmt: skip
    found = merged(outputs)
    assert [(o.name, o.text) for o in found[:2]] == [("stdout", "20 %\n"), ("stderr", "e1\ne2")]
    assert found[2:] == [result]


def test_what_comes_after_a_forged_end_is_no_output():
    """A cell that says it is idle, and then prints."""
    forged = (
        "kernel = get_ipython().kernel\n"
        "kernel.session.send(kernel.iopub_socket, 'status', {'execution_state': 'idle'},"
        " parent=kernel.get_parent('shell'))\nprint('late')"
    )
    executed, notes = run(notebook(forged, "print('next')"), SEED)
    assert [texts(cell) for cell in executed.cells] == ["", "next\n"] and notes == []


def test_a_flood_that_is_read_after_the_end_of_its_cell_costs_no_other_cell(monkeypatch):
    """A grader slower than its kernel, as on a busy machine: all has been sent before it looks."""
    execute = KernelClient.execute

    def slow(self, code, **options):
        asked = execute(self, code, **options)
        time.sleep(1.5 if "flood" in code else 0)
        return asked

    monkeypatch.setattr(KernelClient, "execute", slow)
    limits = Limits(flood=100_000)
    executed, notes = run(notebook("print('flood' * 10**5)", "print('next')"), SEED, limits)
    assert [(n.state, n.cell) for n in notes] == [(State.OVER_LIMIT, "c0")]
    assert texts(executed.cells[1]) == "next\n"


def test_a_message_larger_than_a_cell_may_send_at_all_is_not_taken_in(monkeypatch):
    """The connection breaks off; what is within the limits still arrives, be it large."""
    monkeypatch.setattr(sockets, "LARGEST", 1 << 20)
    monkeypatch.setattr(sockets.Guarded, "_instance", None)
    show = "from IPython.display import display\ndisplay({'text/plain': 'x' * %d}, raw=True)"
    cells = ["x = 1", show % 1_000_000, show % 2_000_000, "print(x)"]
    executed, notes = run(notebook(*cells), SEED)
    assert [(n.state, n.cell) for n in notes] == [(State.OVER_LIMIT, "c2")]
    assert len(executed.cells[1].outputs[0].data["text/plain"]) > 10_000
    assert [o.output_type for o in executed.cells[2].outputs] == ["error"]
    assert texts(executed.cells[3]) == "1\n"


GIF = base64.b64encode(b"GIF89a").decode()


@pytest.mark.parametrize("text", ["", "!", None, 7, PNG + "'", GIF])
def test_what_is_no_png(text):
    assert not is_png(text)
    assert is_png(PNG)
