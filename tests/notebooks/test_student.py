"""What a student sees in the notebook, from a real kernel: stubs, wrong names, wrong answers."""

import nbformat
import pytest
from nbclient import NotebookClient

from grading.course import assignments, check_cells
from grading.release import released


@pytest.fixture(scope="module", params=assignments())
def session(request):
    """The released notebook run as it is, then a few more cells, in one kernel."""
    notebook = released(request.param)
    exercises = list(check_cells(notebook))
    first = exercises[0]
    more = [f"del {first}", f"check({first})", f"def my_{first}(*a): ...", f"check(my_{first})"]
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in more]
    client = NotebookClient(notebook, allow_errors=True, timeout=120, kernel_name="python3")
    return exercises, client.execute()


def errors(cell):
    return [o for o in cell.outputs if o.output_type == "error"]


def test_every_stub_shows_a_table_and_then_raises(session):
    exercises, notebook = session
    assert exercises
    for name, cell in check_cells(notebook).items():
        table, error = cell.outputs
        assert {"text/html", "text/plain"} == set(table.data)
        assert f"{name}  ✗ 0/" in table.data["text/plain"]
        assert f"NotImplementedError: {name}：" in table.data["text/plain"]
        assert error.ename == "CheckFailed"
        assert "还没有全对" in error.evalue and "Not all right yet" in error.evalue
        assert len(error.traceback) == 1  # no page of frames below the table


def test_a_missing_function_gets_a_sentence_in_both_languages(session):
    exercises, notebook = session
    *_, missing, _, renamed = notebook.cells
    text = "\n".join(errors(missing)[0].traceback)
    assert f"还没有名为 {exercises[0]} 的函数" in text
    assert f"There is no {exercises[0]} yet" in text
    assert "keep the name" in errors(renamed)[0].evalue
