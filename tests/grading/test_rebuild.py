"""Rebuild: the released notebook with the answers of a submission, and nothing else of it."""

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grading.rebuild import Limits, rebuild
from grading.states import State


def nbgrader(name, solution=False, grade=False):
    kind = {"solution": solution, "grade": grade, "locked": not solution, "task": False}
    return {"nbgrader": {"schema_version": 3, "grade_id": name, **kind}}


@pytest.fixture
def released():
    cells = [
        new_code_cell("import torch", metadata=nbgrader("imports"), id="imports"),
        new_markdown_cell("Task 1", metadata=nbgrader("task-1"), id="task-1"),
        new_code_cell("stub 1", metadata=nbgrader("one", solution=True), id="one"),
        new_code_cell("check(one)", metadata=nbgrader("check-one", grade=True), id="check-one"),
        new_markdown_cell("Task 2", metadata=nbgrader("task-2"), id="task-2"),
        new_code_cell("stub 2", metadata=nbgrader("two", solution=True), id="two"),
        new_code_cell("check(two)", metadata=nbgrader("check-two", grade=True), id="check-two"),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def submitted(released):
    notebook = copy.deepcopy(released)
    notebook.cells[2].source = "answer 1"
    notebook.cells[5].source = "answer 2"
    return notebook


def sources(notebook):
    return [cell.source for cell in notebook.cells]


WHOLE = ["import torch", "Task 1", "answer 1", "check(one)", "Task 2", "answer 2", "check(two)"]


def test_answers_are_transplanted_and_the_arguments_stay(released, submitted):
    before = copy.deepcopy((released, submitted))
    rebuilt, notes = rebuild(released, submitted)
    assert sources(rebuilt) == WHOLE
    assert notes == []
    assert (released, submitted) == before
    nbformat.validate(rebuilt)


def test_nothing_but_text_survives(released, submitted):
    for cell in submitted.cells:
        cell.metadata = {**cell.metadata, "tags": ["skip-execution"], "evil": 1}
        cell.metadata["nbgrader"] = {**cell.metadata["nbgrader"], "points": 99, "grade": True}
        if cell.cell_type == "code":
            cell.outputs = [{"output_type": "stream", "name": "stdout", "text": "forged"}]
            cell.execution_count = 7
        cell["attachments"] = {"x": {"image/png": ""}}
    submitted.metadata["kernelspec"] = {"name": "evil"}
    rebuilt, _ = rebuild(released, submitted)
    expected = copy.deepcopy(released)
    expected.cells[2].source, expected.cells[5].source = "answer 1", "answer 2"
    assert rebuilt == expected


def test_locked_cells_are_restored_and_moved_back(released, submitted):
    submitted.cells[3].source = "pass"
    submitted.cells[0].source = "import numpy as torch"
    submitted.cells.reverse()
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt) == WHOLE


def test_added_code_stays_after_the_cell_before_it(released, submitted):
    submitted.cells.insert(6, new_code_cell("after two"))
    submitted.cells.insert(2, new_code_cell("before one"))
    submitted.cells.insert(0, new_code_cell("first"))
    submitted.cells.append(new_code_cell("last"))
    submitted.cells.append(new_markdown_cell("prose"))
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt) == [
        "first", "import torch", "Task 1", "before one", "answer 1", "check(one)",
        "Task 2", "answer 2", "after two", "check(two)", "last",
    ]  # fmt: skip
    assert len({cell.id for cell in rebuilt.cells}) == len(rebuilt.cells)
    nbformat.validate(rebuilt)


def test_of_two_answer_cells_the_last_counts(released, submitted):
    first = copy.deepcopy(submitted.cells[2])
    first.source = "older answer"
    submitted.cells.insert(2, first)
    submitted.cells.insert(3, new_code_cell("between"))
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt)[1:6] == ["Task 1", "older answer", "between", "answer 1", "check(one)"]


def test_a_copied_check_is_dropped_and_one_made_into_something_else_stays(released, submitted):
    check = copy.deepcopy(submitted.cells[3])
    other = copy.deepcopy(check)
    other.source = "helper = 1"
    submitted.cells[4:4] = [check, other]
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt) == [*WHOLE[:4], "helper = 1", *WHOLE[4:]]


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_retyped_answer_is_its_text(released, submitted, kind):
    submitted.cells[2].cell_type = kind
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt) == WHOLE
    assert rebuilt.cells[2].cell_type == "code"


def test_a_deleted_answer_keeps_its_stub_and_a_deleted_check_comes_back(released, submitted):
    del submitted.cells[2:4]
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt) == [*WHOLE[:2], "stub 1", *WHOLE[3:]]


def test_an_answer_in_a_new_cell_comes_after_the_stub_that_it_replaces(released, submitted):
    submitted.cells[2] = new_code_cell("answer of my own")
    rebuilt, _ = rebuild(released, submitted)
    assert sources(rebuilt)[1:5] == ["Task 1", "stub 1", "answer of my own", "check(one)"]


@pytest.mark.parametrize("junk", [None, 3, [], {"grade_id": 3}, {"grade_id": ["one"]}, "one"])
def test_malformed_nbgrader_metadata_is_none(released, submitted, junk):
    submitted.cells.append(new_code_cell("mine", metadata={"nbgrader": junk}))
    rebuilt, notes = rebuild(released, submitted)
    assert sources(rebuilt) == [*WHOLE, "mine"]
    assert notes == []


def test_a_notebook_without_our_answers_is_the_wrong_one(released):
    other = new_notebook(cells=[new_code_cell("1", metadata=nbgrader("three", solution=True))])
    for notebook in (other, new_notebook(), new_notebook(cells=[released.cells[0]])):
        rebuilt, (note,) = rebuild(released, notebook)
        assert note.state is State.WRONG_NOTEBOOK
        assert rebuilt == released


@pytest.mark.parametrize(
    ("limits", "word"), [(Limits(cells=6), "7 cells"), (Limits(cell=7), "12 bytes")]
)
def test_too_much_is_refused_in_a_sentence(released, submitted, limits, word):
    rebuilt, (note,) = rebuild(released, submitted, limits)
    assert note.state is State.INVALID_FILE
    assert word in note.en and word.split()[0] in note.zh
    assert rebuilt == released
    assert rebuild(released, submitted, Limits(cells=7, cell=12))[1] == []


def test_half_a_surrogate_pair_does_no_harm(released, submitted):
    submitted.cells[2].source = "x = '\ud800'"
    rebuilt, _ = rebuild(released, submitted)
    assert rebuilt.cells[2].source == "x = '?'"
    nbformat.writes(rebuilt).encode()
