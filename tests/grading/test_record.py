"""Record and the stages: one transaction, no stale score, an error of ours is not the student's."""

import copy

import nbformat
import pytest
from classroom import ASSIGNMENT

from grading import pipeline, record, runner
from grading.release import released
from grading.states import ORDER, Note, State, gravest

from .conftest import member

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")


@pytest.fixture
def course(make_course):
    return make_course("perfect")


def notebook(points: dict[str, float], digest: str = "1", notes: list[Note] = ()):
    nb = released(ASSIGNMENT)
    record.course_metadata(nb).update(
        digest=digest, exercises={name: {"points": p} for name, p in points.items()}
    )
    record.add_notes(nb, list(notes))
    return nb


@pytest.fixture
def submission(course):
    """A gradebook and a submission in it that has 4 + 4 points."""
    course.prepare(ASSIGNMENT)
    with course.gradebook() as gradebook:
        gradebook.update_or_create_student("ann")
        gradebook.update_or_create_submission(ASSIGNMENT, "ann")
        found = gradebook.find_submission_notebook(ASSIGNMENT, ASSIGNMENT, "ann")
        record.save_scores(gradebook, found, notebook({"vjp": 4, "vjp_multi": 4}))
        yield gradebook, found


def test_every_score_is_set_anew(submission):
    gradebook, found = submission
    assert found.score == 8
    record.save_scores(gradebook, found, notebook({"jac_rows": 1.5}))
    assert {g.name: g.auto_score for g in found.grades if g.auto_score} == {"check-jac_rows": 1.5}
    assert all(g.auto_score is not None for g in found.grades)
    record.save_scores(gradebook, found, notebook({}))
    assert found.score == 0


def test_an_error_halfway_leaves_all_as_it_was(submission, monkeypatch):
    gradebook, found = submission
    monkeypatch.setattr(record, "_remember", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record.save_scores(gradebook, found, notebook({"vjp": 1}))
    assert found.score == 8
    monkeypatch.undo()
    broken = copy.deepcopy(notebook({"vjp": 1}))
    record.course_metadata(broken)["exercises"]["jac_rows"] = {"points": "many"}
    with pytest.raises(Exception, match="many|float"):
        record.save_scores(gradebook, found, broken)
    gradebook.db.expire_all()
    assert found.score == 8


def test_an_untouched_answer_has_a_comment_in_both_languages(submission):
    gradebook, found = submission
    comments = {c.name: c.auto_comment for c in found.comments}
    assert len(comments) == 6 and set(comments.values()) == {record.NO_ANSWER}
    broken = notebook({}, notes=[Note.of(State.INVALID_FILE)])
    record.save_scores(gradebook, found, broken)
    assert {c.auto_comment for c in found.comments} == {None}


def test_suspicion_calls_for_a_person(submission):
    gradebook, found = submission
    for state in State:
        nb = notebook({"vjp": 4}, notes=[Note.of(state)] if state is not State.GRADED else [])
        record.save_scores(gradebook, found, nb)
        assert found.needs_manual_grade is state.person, state


def test_the_gravest_state_counts():
    notes = [Note.of(State.TIMEOUT), Note.of(State.CRASHED), Note.of(State.GRADED)]
    assert gravest(notes) is State.CRASHED
    assert gravest([]) is State.GRADED
    assert len(ORDER) == len(State) == len({s.label for s in State})
    for state in State:
        assert State.named(state.label) is state
        assert Note.from_json(Note.of(state, "c").to_json()) == Note.of(state, "c")
        assert state.zh.endswith("。") and state.en.endswith(".")


@pytest.mark.parametrize("stage", ["running", "judge_notebook"])
def test_an_error_of_the_graders_own_is_recorded_and_never_a_stale_score(
    course, monkeypatch, stage
):
    """A kernel that does not start; a judge that breaks: the next grading tries again."""

    def fail(*_, **__):
        raise RuntimeError("out of order")

    if stage == "running":
        monkeypatch.setattr(pipeline.running, "run", fail)
    else:
        monkeypatch.setattr(pipeline.running, "run", lambda nb, *_: (nb, []))
        monkeypatch.setattr(pipeline, "judge_notebook", fail)
    (score,) = course.grade(ASSIGNMENT)
    assert score.state is State.INFRASTRUCTURE_ERROR
    assert score.total == 0
    with course.gradebook() as gradebook:
        assert gradebook.find_submission(ASSIGNMENT, "perfect").needs_manual_grade
    (score,) = course.grade(ASSIGNMENT)
    assert score.seconds is not None  # it is not left as "graded and unchanged"


def test_a_submission_that_nbgrader_itself_fails_on_is_recorded_too(course, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of order")

    monkeypatch.setattr(pipeline.Rebuild, "preprocess", fail)
    (score,) = course.grade(ASSIGNMENT)
    assert (score.state, score.total) == (State.INFRASTRUCTURE_ERROR, 0)
    with course.gradebook() as gradebook:
        assert gradebook.find_submission(ASSIGNMENT, "perfect").needs_manual_grade


def test_points_follow_the_source_and_cells_may_not(submission, course, monkeypatch):
    source = course.folder / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    nb = nbformat.read(source, as_version=4)
    checks = [c for c in nb.cells if c.metadata.nbgrader.grade]
    checks[0].metadata.nbgrader.points = 40
    nbformat.write(nb, source)
    monkeypatch.setattr(runner, "points_of", lambda _: {"changed": 1.0})
    course.prepare(ASSIGNMENT)
    with course.gradebook() as gradebook:
        assert gradebook.find_assignment(ASSIGNMENT).max_score == 20 - 4 + 40
    nb.cells.remove(checks[0])
    nbformat.write(nb, source)
    with pytest.raises(runner.CellsChanged, match="gradebook.db"):
        course.prepare(ASSIGNMENT)


def test_sentences_are_escaped(course):
    nb = nbformat.v4.new_notebook()
    record.add_notes(nb, [Note.of(State.INVALID_FILE, zh="<b>。", en="<script>.")])
    record.finish(nb)
    assert "<b>" not in nb.cells[0].source and "<script>" not in nb.cells[0].source
    assert "&lt;script&gt;" in nb.cells[0].source


def test_the_class_has_every_kind_of_state(course):
    from members import MEMBERS

    labels = {m.state for m in MEMBERS} | {"out_of_memory", "infrastructure_error"}
    assert labels == {s.label for s in State}
    assert member("crasher").answers  # which has the process killed, too
