"""Claims: what no seed enters counts in plain code, or if a second run without the rest agrees."""

from dataclasses import replace

import nbformat
import pytest
from classroom import where
from members import ASSIGNMENT, MOST
from nbformat.v4 import new_code_cell
from traitlets.config import Config

from grading import claims, plain, worker
from grading.answers import solved
from grading.course import assignments
from grading.intake import assignment_content, take_in
from grading.key import Reference
from grading.release import released
from grading.seeds import seed_for
from grading.settings import Settings
from grading.states import State
from tutor import keys
from tutor.exercise import find

SOURCE = {c.metadata.nbgrader.grade_id: c.source for c in solved({}).cells}
ODD = "import os\n\n" + SOURCE["vjp"]  # right, and not plain
PROVEN = 2.5  # the points of vjp's numbers, which depend on the seed


@pytest.fixture
def runs(monkeypatch):
    """The notebooks that were executed, with the seconds that there were for each."""
    seen, run = [], worker.running.run

    def watched(notebook, seed, limits, kernel):
        seen.append((notebook, limits.total))
        return run(notebook, seed, limits, kernel)

    monkeypatch.setattr(worker.running, "run", watched)
    return seen


@pytest.fixture
def grade(tmp_path, secret):
    """grade(answers, cell): the result for these answers, with a cell of one's own at the top."""

    def grade(answers, cell=""):
        notebook = solved(answers)
        if cell:
            notebook.cells.insert(where(notebook, "imports") + 1, new_code_cell(cell))
        path = tmp_path / f"{ASSIGNMENT}.ipynb"
        nbformat.write(notebook, path)
        config = Config({"Run": {"cell": 8.0, "total": 60.0, "grace": 1.0}})
        task = take_in(assignment_content(ASSIGNMENT), "ann", path, Settings.of(config))
        return worker.perform(task)

    return grade


def points(result):
    return {name: found["points"] for name, found in result["summary"]["exercises"].items()}


def test_plain_code_runs_once(grade, runs):
    result = grade({}, "import time\nstart = time.perf_counter()")
    assert points(result) == MOST and result["summary"]["state"] == "graded"
    assert len(runs) == 1


def test_a_cell_that_is_not_plain_and_not_needed_costs_nothing(grade, runs):
    result = grade({}, "%timeit -n1 -r1 torch.zeros(3)\n!echo hello")
    assert points(result) == MOST and result["summary"]["state"] == "graded"
    (first, time), (second, left) = runs
    own = where(first, "imports") + 1
    assert (first.cells[own].source[:7], second.cells[own].source) == ("%timeit", "")
    assert 0 < left < time == 60


def test_an_answer_that_is_not_plain_keeps_what_is_proven(grade, runs):
    result = grade({"vjp": ODD})
    assert points(result) == MOST | {"vjp": PROVEN}
    assert result["summary"]["state"] == State.UNPROVEN.label and State.UNPROVEN.person
    text = result["notebook"]
    assert "`import os`" in text and "由教师复核" in text and "for a teacher to look at" in text
    _, (second, _) = runs
    assert second.cells[where(second, "vjp")].source == released(ASSIGNMENT).cells[
        where(released(ASSIGNMENT), "vjp")].source  # fmt: skip


def test_a_plain_answer_that_needs_what_is_left_out(grade):
    helper = "import os\n\ndef fresh(x):\n    return x.detach().requires_grad_()"
    answer = SOURCE["vjp"].replace("x.detach().requires_grad_()", "fresh(x)")
    result = grade({"vjp": answer}, helper)
    assert points(result) == MOST | {"vjp": PROVEN}
    assert "Another cell of yours has `import os`" in result["notebook"]


@pytest.mark.parametrize("answer", ["stub", "import os", "import os\ndef vjp(f, x, v):\n    pass"])
def test_nobody_is_asked_where_no_point_is_at_stake(grade, runs, answer):
    others = dict.fromkeys(MOST, "stub")
    result = grade(others | {"vjp": answer})
    assert sum(points(result).values()) == 0 and result["summary"]["state"] == "graded"
    assert len(runs) == 1


def test_both_runs_share_the_time_of_a_submission(grade, runs):
    grade({}, "import os, time\ntime.sleep(2)")
    (_, total), (_, left) = runs
    assert total == 60 and left < 58


def test_without_time_for_a_second_run_a_person_looks(grade, monkeypatch):
    run = worker.running.run

    def first_alone(notebook, seed, limits, kernel):
        limits = replace(limits, total=limits.total if limits.total == 60 else 0.0)
        return run(notebook, seed, limits, kernel)

    monkeypatch.setattr(worker.running, "run", first_alone)
    result = grade({}, "import os")
    assert points(result)["vjp"] == PROVEN and points(result)["layout_counterexample"] == 0
    assert result["summary"]["state"] == State.UNPROVEN.label


def test_claims_are_found_by_another_seed(secret):
    """Every exercise is looked at; numbers drawn from the seed are no claims."""
    found, count = {}, 0
    for assignment in assignments():
        reference = Reference(assignment)
        for exercise in reference.exercises:
            key = reference.key(exercise.name, seed_for(assignment, "ann"))
            found[exercise.name] = claims.claims(exercise, key)
            count += len(exercise.facets)
            public, _ = keys.load(assignment, exercise.name)
            every = {facet.name for facet in exercise.facets}
            assert set(claims.claims(exercise, public)) == every  # under the same seed, all are
    total = sum(map(len, found.values()))
    print(f"{total} claims among {count} facets of {len(found)} exercises")
    assert 0 < total < count
    assert found["vjp"] == ["refused", "untouched", "cost"]
    assert found["layout_counterexample"] == ["differs", "setting", "honest"]
    assert found["predict_step"] == []
    oracle = find("jac_from_oracle")
    assert oracle.holds_answer and found[oracle.name] == [f.name for f in oracle.facets]


def test_the_students_cells_are_looked_at_and_no_others():
    given, notebook = released(ASSIGNMENT), solved({"vjp": ODD})
    assert claims.unplain(given, given) == {}
    found = claims.unplain(notebook, given)
    assert found == {where(notebook, "vjp"): plain.Fault("import os", 1)}
