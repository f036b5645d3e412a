"""Record: one transaction, no stale score, as nbgrader would have it, and at the same price in a
class of thousands."""

import json
import sqlite3
import threading
import time
from datetime import datetime, timedelta

import nbformat
import pytest
from classroom import ASSIGNMENT
from sqlalchemy import event, text

from grading import gradebook as gradebooks
from grading import record, runner, worker
from grading.gradebook import GradebookTrouble
from grading.present import add_notes, course_metadata, finish, summary
from grading.record import Recorder
from grading.release import released
from grading.states import ORDER, Note, State, gravest

from .conftest import member

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")
EXERCISES = ("vjp", "vjp_multi", "jac_rows", "weighted_losses")


@pytest.fixture
def course(make_course):
    return make_course("perfect")


def result(points: dict[str, float], digest: str = "1", notes: list[Note] = (), key: str = "k"):
    """The summary of a submission that got these points by exercise."""
    nb = released(ASSIGNMENT)
    course_metadata(nb).update(
        digest=digest,
        key=key,
        exercises={name: {"points": p, "misconception": None} for name, p in points.items()},
    )
    add_notes(nb, list(notes))
    finish(nb, released(ASSIGNMENT))
    return summary(nb)


@pytest.fixture
def gradebook(course):
    course.prepare(ASSIGNMENT)
    with course.gradebook() as found:
        yield found


@pytest.fixture
def recorder(gradebook):
    """A recorder, with a submission by ann that has 4 + 4 points."""
    found = Recorder(gradebook, ASSIGNMENT)
    assert found.record("ann", result({"vjp": 4, "vjp_multi": 4}), None) == 8
    return found


def ann(gradebook):
    gradebook.db.rollback()
    gradebook.db.expire_all()
    return gradebook.find_submission_notebook(ASSIGNMENT, ASSIGNMENT, "ann")


def test_every_score_is_set_anew(gradebook, recorder):
    assert ann(gradebook).score == 8
    assert recorder.record("ann", result({"jac_rows": 1.5}), None) == 1.5
    grades = ann(gradebook).grades
    assert {g.name: g.auto_score for g in grades if g.auto_score} == {"check-jac_rows": 1.5}
    assert all(g.auto_score is not None for g in grades) and len(grades) == 6
    recorder.record("ann", result({}), None)
    assert ann(gradebook).score == 0


def test_an_error_halfway_leaves_all_as_it_was(gradebook, recorder, monkeypatch):
    before = recorder.recorded("ann")
    broken = result({"vjp": 1}, key="other")
    broken["points"]["check-jac_rows"] = "many"
    with pytest.raises(ValueError, match="many"):
        recorder.record("ann", broken, datetime(2026, 1, 1))
    monkeypatch.setattr(recorder, "_note_time", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recorder.record("ann", result({"vjp": 1}, key="other"), None)
    with pytest.raises(ZeroDivisionError):
        recorder.record("bob", result({"vjp": 1}), None)
    assert ann(gradebook).score == 8
    assert recorder.recorded("ann") == before
    assert recorder.recorded("bob") is None
    assert [s.id for s in gradebook.students] == ["ann"]


def test_an_untouched_answer_has_a_comment_in_both_languages(gradebook, recorder):
    comments = {c.name: c.auto_comment for c in ann(gradebook).comments}
    assert len(comments) == 6 and set(comments.values()) == {record.NO_ANSWER}
    recorder.record("ann", result({}, notes=[Note.of(State.INVALID_FILE)]), None)
    assert {c.auto_comment for c in ann(gradebook).comments} == {None}


def test_suspicion_calls_for_a_person(gradebook, recorder):
    for state in State:
        notes = [Note.of(state)] if state is not State.GRADED else []
        recorder.record("ann", result({"vjp": 4}, notes=notes), None)
        assert ann(gradebook).needs_manual_grade is state.person, state


def test_a_key_says_what_is_recorded(recorder):
    assert recorder.recorded("ann").key == "k"
    assert recorder.recorded("ann").total == 8
    assert recorder.unchanged("ann", "k", None).total == 8
    assert recorder.unchanged("ann", "other", None) is None
    assert recorder.unchanged("bob", "k", None) is None
    recorder.forget("ann")
    assert recorder.unchanged("ann", "k", None) is None
    recorder.forget("nobody")


def test_lateness_costs_what_the_plugin_says_and_is_kept_up_to_date(gradebook):
    due = datetime(2026, 3, 1)
    gradebook.find_assignment(ASSIGNMENT).duedate = due
    gradebook.db.commit()
    asked = []

    def plugin(student, score, late):
        asked.append((student, score, late))
        return late / 3600

    recorder = Recorder(gradebook, ASSIGNMENT, plugin)
    found = result({"vjp": 4})
    for hours, penalty in ((-1, None), (1, 1), (9, 4), (2, 2)):  # never more than the score
        recorder.record("ann", found, due + timedelta(hours=hours))
        assert ann(gradebook).late_submission_penalty == penalty
        assert ann(gradebook).assignment.timestamp == due + timedelta(hours=hours)
    assert asked == [("ann", 4, 3600), ("ann", 4, 9 * 3600), ("ann", 4, 2 * 3600)]
    # The same file, a new time; no time is no news; an extension takes effect.
    recorder.unchanged("ann", "k", due + timedelta(hours=3))
    assert ann(gradebook).late_submission_penalty == 3
    recorder.record("ann", found, None)
    assert ann(gradebook).late_submission_penalty == 3
    gradebook.grant_extension(ASSIGNMENT, "ann", hours=2)
    recorder.unchanged("ann", "k", None)
    assert ann(gradebook).late_submission_penalty == 1


def test_what_it_costs_to_record_does_not_grow_with_the_class(gradebook):
    """As many statements for the thousandth as for the second, each of them through an index."""
    recorder = Recorder(gradebook, ASSIGNMENT)
    statements = []

    @event.listens_for(recorder.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, many):
        statements.append((statement, parameters[0] if many else parameters))

    counts, seconds = [], []
    for number in range(1000):
        statements.clear()
        started = time.perf_counter()
        recorder.record(f"student {number}", result_of_all, datetime(2026, 1, 1))
        seconds.append(time.perf_counter() - started)
        counts.append(len(statements))
    assert len(set(counts)) == 1 and 5 < counts[0] < 20
    plans = 0
    with recorder.engine.connect() as connection:
        for statement, parameters in list(statements):
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                for *_, line in plan:
                    assert "SCAN" not in line, (statement, line)
                    plans += 1
    assert plans >= 5
    first, last = sorted(seconds[:100])[50], sorted(seconds[-100:])[50]
    print(f"{len(counts)} submissions, {counts[0]} statements each; "
          f"{1000 * first:.1f} ms for the first, {1000 * last:.1f} ms for the last")  # fmt: skip


result_of_all = None


@pytest.fixture(autouse=True, scope="module")
def _result_of_all():
    global result_of_all
    result_of_all = result(dict.fromkeys(EXERCISES, 2))


def test_the_csv_is_nbgraders(gradebook, recorder, course, tmp_path):
    from nbgrader.plugins import CsvExportPlugin

    recorder.record("王 '芳'", result({"vjp": 3}), datetime(2026, 1, 2, 3, 4, 5, 6))
    gradebook.update_or_create_student("carl", last_name="A", email="a@b")
    CsvExportPlugin(to=str(tmp_path / "theirs.csv"), assignment=[ASSIGNMENT]).export(gradebook)
    course.export(tmp_path / "ours.csv", ASSIGNMENT)
    theirs, ours = (sorted((tmp_path / f"{who}.csv").read_text().splitlines())
                    for who in ("theirs", "ours"))  # fmt: skip
    assert ours == theirs and len(ours) == 4


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
    calls = []

    def fail(*_, **__):
        calls.append(1)
        raise RuntimeError("out of order")

    if stage == "running":
        monkeypatch.setattr(worker.running, "run", fail)
    else:
        monkeypatch.setattr(worker.running, "run", lambda nb, *_: (nb, []))
        monkeypatch.setattr(worker, "judge_notebook", fail)
    (score,) = course.grade(ASSIGNMENT)
    assert score.state is State.INFRASTRUCTURE_ERROR
    assert score.total == 0
    assert len(calls) == 2  # once more, before it is recorded
    with course.gradebook() as gradebook:
        assert gradebook.find_submission(ASSIGNMENT, "perfect").needs_manual_grade
    assert State.INFRASTRUCTURE_ERROR.en in course.autograded(ASSIGNMENT, "perfect").read_text()
    (score,) = course.grade(ASSIGNMENT)
    assert score.seconds is not None  # it is not left as "graded and unchanged"


def test_points_follow_the_source_and_cells_may_not(recorder, course, monkeypatch):
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


def test_sentences_are_escaped():
    nb = released(ASSIGNMENT)
    add_notes(nb, [Note.of(State.INVALID_FILE, zh="<b>。", en="<script>.")])
    finish(nb, released(ASSIGNMENT))
    assert "<b>" not in nb.cells[0].source and "<script>" not in nb.cells[0].source
    assert "&lt;script&gt;" in nb.cells[0].source


def test_the_class_has_every_kind_of_state():
    from members import MEMBERS

    labels = {m.state for m in MEMBERS} | {"out_of_memory", "infrastructure_error"}
    assert labels <= {s.label for s in State} and len(labels) >= 8
    assert member("crasher").answers  # which has the process killed, too


# Gradebooks that are none of ours


def path_of(course):
    return course.folder / "gradebook.db"


def sentence(course) -> str:
    """What is said of a gradebook; one sentence in each language, and nothing is written."""
    before = path_of(course).read_bytes()
    with pytest.raises(GradebookTrouble) as caught, course.gradebook():
        pass
    assert path_of(course).read_bytes() == before
    zh, en = str(caught.value).split(" / ")
    assert zh.endswith("。") and en.endswith(".")
    return en


def test_a_gradebook_of_another_course(course, gradebook):
    course.config.CourseDirectory.course_id = "physics"
    assert "another course (autograd), this one is physics" in sentence(course)


def test_a_gradebook_that_is_no_database(course):
    path_of(course).write_text("scores, on paper\n" * 100)
    assert "not a database" in sentence(course)


def test_a_database_of_something_else(course):
    with sqlite3.connect(path_of(course)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    assert "something else" in sentence(course)


def test_a_gradebook_of_another_nbgrader(course, gradebook):
    with gradebook.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'old'"))
    assert "nbgrader db upgrade" in sentence(course)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql+psycopg2://nobody@localhost:1/none", "db_url"),
        ("postgresql+pg8000://nobody@localhost/none", "pg8000"),
        ("no url", "db_url"),
    ],
)
def test_a_gradebook_that_cannot_be_reached(course, url, word):
    course.config.CourseDirectory.db_url = url
    with pytest.raises(GradebookTrouble, match=word) as caught, course.gradebook():
        pass
    assert str(caught.value).count(" / ") == 1 and "\n" not in str(caught.value)


def test_a_locked_gradebook_is_waited_for_and_then_given_up(course, monkeypatch, caplog):
    course.prepare(ASSIGNMENT)
    # SQLite itself waits for a fifth of a second, we for one.
    course.config.CourseDirectory.db_url = f"sqlite:///{path_of(course)}?timeout=0.2"
    monkeypatch.setattr(gradebooks, "PATIENCE", 1.0)
    other = sqlite3.connect(path_of(course), isolation_level=None, check_same_thread=False)
    with course.gradebook() as gradebook:
        recorder = Recorder(gradebook, ASSIGNMENT)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GradebookTrouble, match="locked"):
            recorder.record("ann", result_of_all, None)
        (told,) = [r.getMessage() for r in caplog.records if "waiting" in r.getMessage()]
        assert " / " in told
        assert recorder.recorded("ann") is None
        threading.Timer(0.4, other.execute, ["ROLLBACK"]).start()
        assert recorder.record("ann", result_of_all, None) == 8
    other.close()


def test_a_summary_is_json():
    assert json.loads(json.dumps(result_of_all)) == result_of_all
