"""The runner: by whichever way, and whatever comes in between, a class gets the same scores."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nbformat
import psutil
import pytest
from classroom import ASSIGNMENT, hand_in
from nbformat.v4 import new_code_cell

from grading import engine as engines
from grading import folders, intake, runner, version, worker
from grading.course import ROOT
from grading.engine import Cluster, Engine, Processes, Unreachable, outcomes
from grading.gradebook import GradebookTrouble
from grading.journal import Journal
from grading.settings import NotIsolated, require_isolation
from grading.states import State
from grading.task import WorkerUnfit, perform

from . import killing
from .conftest import member
from .rows import rows_of

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")


def submit(course, name: str, of: str) -> Path:
    """Hand in a member's submission under another name; its notebook."""
    folder = course.folder / "submitted" / name / ASSIGNMENT
    hand_in(member(of), folder)
    return folder / f"{ASSIGNMENT}.ipynb"


def fake(course, monkeypatch):
    """Let nothing be run: every notebook comes out as it went in."""
    monkeypatch.setattr(worker.running, "run", lambda nb, *_: (nb, []))


def environment(**more: str) -> dict[str, str]:
    """The tests' environment, secret included, in which nbgrader finds its programs."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def grade_command(course, *words: str) -> list[str]:
    return [sys.executable, "-m", "grading", "grade", ASSIGNMENT,
            "--course", str(course.folder), *words]  # fmt: skip


# Content, keys, workers


def task_of(course, name: str):
    path = course.submitted(ASSIGNMENT, name)
    return intake.take_in(intake.assignment_content(ASSIGNMENT), name, path, course.settings)


def test_a_key_changes_with_all_that_can_change_a_score(make_course, monkeypatch):
    course = make_course("perfect", "nearly")
    task = task_of(course, "perfect")
    assert task_of(course, "perfect").key == task.key
    other = replace(task.assignment, code="other code")
    keys = {
        task.key,
        task_of(course, "nearly").key,
        replace(task, digest="another file").key,
        replace(task, seed="another seed").key,
        replace(task, times={"cell": 1.0}).key,
        replace(task, size=replace(task.size, cells=3)).key,
        replace(task, assignment=other).key,
        replace(task, assignment=replace(task.assignment, released="{}")).key,
        replace(task, assignment=replace(task.assignment, source="{}")).key,
    }
    assert len(keys) == 9
    assert replace(task, kernel="warm", isolation=False).key == task.key


def test_a_task_holds_no_path_and_no_secret_but_its_own_seed(make_course, secret):
    course = make_course("perfect")
    task = task_of(course, "perfect")
    text = repr(vars(task)) + repr(vars(task.assignment))
    assert len(text) > 10_000
    assert str(course.folder) not in text and str(ROOT) not in text and secret not in text


def test_the_judging_code_is_all_that_a_worker_imports():
    code = (
        "import sys, json; import grading.worker, grading.misconceptions as m; m._modules();"
        "from grading import kernels; import grading.kernels.sandbox, grading.kernels.warm;"
        "print(json.dumps([getattr(x, '__file__', None) for n, x in list(sys.modules.items())"
        " if n.split('.')[0] in ('grading', 'tutor')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    imported = {Path(name) for name in json.loads(done.stdout) if name}
    assert len(imported) > 20
    judging = set(version.judging_files())
    missing = imported - judging - {ROOT / "grading" / "__init__.py"}
    assert not missing, f"grading/version.py does not list {missing}"
    assert all(path.is_file() for path in judging)


def test_who_hands_out_tasks_imports_no_torch():
    code = (
        "import sys; import grading.command, grading.runner, grading.progress, grading.task;"
        "from pathlib import Path; grading.runner.Course(Path('.')).shelf();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_worker_with_other_code_or_without_isolation_refuses(make_course, monkeypatch):
    task = task_of(make_course("perfect"), "perfect")
    other = replace(task, assignment=replace(task.assignment, code="other"))
    with pytest.raises(WorkerUnfit, match=" / A worker has another version"):
        perform(other)
    monkeypatch.setattr("grading.kernels.isolation", lambda: NOTHING)
    with pytest.raises(WorkerUnfit, match=" / Nothing"):
        perform(replace(task, isolation=True))


class Level:
    """An isolation that is none."""

    isolated = False

    def __str__(self):
        return "什么也没有。 / Nothing."


NOTHING = Level()


def test_without_isolation_grading_is_refused_unless_that_is_asked_for(make_course, monkeypatch):
    course = make_course("hollow")
    monkeypatch.setattr("grading.kernels.isolation", lambda: NOTHING)
    with pytest.raises(NotIsolated, match="--no-isolation"):
        require_isolation(course.settings)
    trusting = course.settings.without_isolation()
    assert "Nothing" in require_isolation(trusting)
    assert (trusting.kernel, trusting.isolation) == ("warm", False)
    (score,) = course.grade(ASSIGNMENT, settings=trusting)
    assert score.state is State.INVALID_FILE


# Engines


def tasks(course, count: int):
    """So many tasks, each of another student."""
    first = task_of(course, "perfect")
    for number in range(count):
        yield replace(first, student=f"student {number}")


@pytest.fixture
def one(make_course):
    return make_course("perfect")


def reply(task):
    return {"student": task.student}


def test_no_more_is_in_flight_than_there_is_room_for(one, monkeypatch):
    """However many submissions there are, and however slowly their results are taken."""
    monkeypatch.setattr(engines, "perform", reply)
    drawn = 0

    def items():
        nonlocal drawn
        for task in tasks(one, 200):
            drawn += 1
            yield task

    engine = Engine(lambda: ThreadPoolExecutor(3), 3)
    found = outcomes(engine, items())
    for number, (task, result) in enumerate(found, start=1):
        assert result == {"student": task.student}
        assert drawn <= number + engine.room()
    assert number == drawn == 200


def test_what_is_no_task_comes_back_at_once(one, monkeypatch):
    monkeypatch.setattr(engines, "perform", reply)
    items = ["graded", *tasks(one, 3), "as well"]
    found = [item for item, _ in outcomes(Engine(lambda: ThreadPoolExecutor(1), 1), iter(items))]
    assert found[0] == "graded" and len(found) == 5 and "as well" in found


def die_of(task):
    """Students 3 and 7 are the end of the process that grades them."""
    if task.student in ("student 3", "student 7"):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"student": task.student, "worker": os.getpid()}


def test_a_worker_that_dies_loses_its_own_submission_alone(one, monkeypatch):
    monkeypatch.setattr(engines, "perform", die_of)
    found = {
        task.student: result for task, result in outcomes(Processes(2), tasks(one, 12))
    }
    assert len(found) == 12
    failed = {name for name, result in found.items() if isinstance(result, Exception)}
    assert failed == {"student 3", "student 7"}


def test_workers_that_are_killed_from_outside_lose_nothing(one, monkeypatch):
    """Once: a submission that is in flight in two deaths is recorded as what failed."""
    monkeypatch.setattr(engines, "perform", slow)
    found, killed = {}, set()
    for task, result in outcomes(Processes(2), tasks(one, 10)):
        found[task.student] = result
        if len(found) == 3:
            killed = {result["worker"]}
            os.kill(result["worker"], signal.SIGKILL)
    assert killed and len(found) == 10
    assert not [r for r in found.values() if isinstance(r, Exception)]
    assert {r["worker"] for r in found.values()} - killed


def slow(task):
    time.sleep(0.05)
    return {"student": task.student, "worker": os.getpid()}


def test_a_pool_that_always_breaks_ends_the_run_with_a_sentence(one, monkeypatch):
    monkeypatch.setattr(engines, "_become_worker", always_dies)
    monkeypatch.setattr(engines, "BREAKS", 2)
    with pytest.raises(WorkerUnfit, match="again and again"):
        list(outcomes(Processes(1), tasks(one, 50)))


def always_dies(*_):
    os._exit(1)


def test_a_run_that_is_given_up_leaves_no_process(one, monkeypatch):
    monkeypatch.setattr(engines, "perform", slow)
    found = outcomes(Processes(2), tasks(one, 1000))
    _, result = next(found)
    assert psutil.pid_exists(result["worker"])
    found.close()
    for _ in range(100):
        if not psutil.pid_exists(result["worker"]):
            break
        time.sleep(0.05)
    assert not psutil.pid_exists(result["worker"])


def test_a_scheduler_that_is_not_there_is_one_sentence_in_seconds(one):
    started = time.monotonic()
    done = subprocess.run(
        grade_command(one, "--scheduler", "tcp://127.0.0.1:9"),
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert "tcp://127.0.0.1:9" in line and " / There is no scheduler" in line
    assert time.monotonic() - started < 60
    with pytest.raises(Unreachable, match=" / "):
        Cluster("not an address").begin()


# nbgrader's way and ours


def test_both_ways_leave_the_same_behind(make_course):
    """`nbgrader autograde` and the runner: every row of the gradebook, every file, its mode."""
    names = ("perfect", "nearly", "hollow", "absent", "helper")
    courses = [make_course(*names) for _ in range(2)]
    shutil.rmtree(courses[1].folder / "submitted")
    shutil.copytree(courses[0].folder / "submitted", courses[1].folder / "submitted")
    for course in courses:
        settings = (course.folder / "nbgrader_config.py").read_text()
        settings += "c.LateSubmissionPlugin.penalty_method = 'zero'\n"
        (course.folder / "nbgrader_config.py").write_text(settings)
        for name, when in (("nearly", "2026-03-02 10:00:00.5 UTC"), ("helper", "2026-02-01 UTC")):
            folder = course.folder / "submitted" / name / ASSIGNMENT
            (folder / "timestamp.txt").write_text(when)
    theirs, ours = (runner.Course(course.folder) for course in courses)
    for course in (theirs, ours):
        course.prepare(ASSIGNMENT)
        with course.gradebook() as gradebook:
            gradebook.find_assignment(ASSIGNMENT).duedate = datetime(2026, 3, 1)
            gradebook.db.commit()
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "nbgrader", "autograde", ASSIGNMENT, "--force"],
            cwd=theirs.folder, env=environment(), check=True, capture_output=True,
        )  # fmt: skip
        list(ours.grade(ASSIGNMENT, force=True, engine=Processes(2)))
        one, other = rows_of(theirs), rows_of(ours)
        for table, rows in one.items():
            assert rows == other[table], table
            assert len(rows) >= len(names)
        penalties = {row[1]: row[-1] for row in one["submission"]}
        assert penalties["nearly"] == 15.75 and penalties["perfect"] is None
        assert files_of(theirs) == files_of(ours)
        # What the runner finds graded by nbgrader it leaves as it is.
        assert {s.seconds for s in theirs.grade(ASSIGNMENT)} == {None}
        submit(theirs, "perfect", "partly")
        shutil.copytree(
            theirs.folder / "submitted" / "perfect", ours.folder / "submitted" / "perfect",
            dirs_exist_ok=True,
        )  # fmt: skip


def files_of(course) -> dict[str, tuple]:
    found = {
        str(path.relative_to(course.folder)): (path.read_bytes(), oct(path.stat().st_mode))
        for path in (course.folder / "autograded").rglob("*")
        if path.is_file()
    }
    assert len(found) >= 5
    return found


def test_nbgrader_refuses_where_nothing_isolates(one, tmp_path):
    """With the same sentence, and a setting that allows it."""
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import grading.kernels as k\n"
        "class Level:\n    isolated = False\n    def __str__(self): return '无。 / None.'\n"
        "k.isolation = Level\n"
    )
    patched = environment(PYTHONPATH=f"{tmp_path}:{ROOT}")
    settings = one.folder / "nbgrader_config.py"
    submit(one, "perfect", "hollow")
    for word in ("generate_assignment", "autograde"):
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", word, ASSIGNMENT],
            cwd=one.folder, env=patched, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "无。 / None. " in done.stderr and "c.Run.isolation = False" in done.stderr
    assert not one.autograded(ASSIGNMENT, "perfect").exists()
    settings.write_text(settings.read_text() + "c.Run.isolation = False\n")
    subprocess.run(
        [sys.executable, "-m", "nbgrader", "autograde", ASSIGNMENT],
        cwd=one.folder, env=patched, check=True, capture_output=True,
    )  # fmt: skip
    assert one.autograded(ASSIGNMENT, "perfect").exists()


# Interruptions


def test_a_result_that_was_reached_is_recorded_and_not_run_again(one, monkeypatch):
    """The gradebook fails after the journal has the result, as a kill between the two would."""
    fake(one, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(runner.Recorder, "record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(one.grade(ASSIGNMENT))
    monkeypatch.setattr(worker, "perform", lambda _: pytest.fail("it was run again"))
    (score,) = one.grade(ASSIGNMENT)
    assert score.seconds is None and score.state is State.GRADED
    path = one.folder / ".journal" / f"{ASSIGNMENT}.jsonl"
    assert path.stat().st_size == 0


def test_a_result_of_a_file_that_has_changed_since_is_not_recorded(one, monkeypatch):
    fake(one, monkeypatch)
    (before,) = one.grade(ASSIGNMENT)
    submit(one, "perfect", "hollow")
    with monkeypatch.context() as patch:
        patch.setattr(runner.Recorder, "record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(one.grade(ASSIGNMENT))
    # The first file again; of the second there is a notebook, and a line in the journal.
    submit(one, "perfect", "perfect")
    (after,) = one.grade(ASSIGNMENT)
    assert after.seconds is not None
    assert (after.total, after.state) == (before.total, before.state)
    assert State.INVALID_FILE.en not in one.autograded(ASSIGNMENT, "perfect").read_text()


def test_a_line_of_the_journal_that_is_damaged_is_graded_again(one, monkeypatch, caplog):
    fake(one, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(runner.Recorder, "record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(one.grade(ASSIGNMENT))
    path = one.folder / ".journal" / f"{ASSIGNMENT}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"points": 0.0', b'"points": 4.0'))
    path.write_bytes(path.read_bytes()[:-30] + b"\n")
    (score,) = one.grade(ASSIGNMENT)
    assert score.seconds is not None and score.total == 0
    assert "1 lines of the journal" in caplog.text


def test_what_is_graded_is_graded_again_where_its_notebook_is_gone_or_by_force(one, monkeypatch):
    fake(one, monkeypatch)
    (first,) = one.grade(ASSIGNMENT)
    (left,) = one.grade(ASSIGNMENT)
    assert left.seconds is None
    (forced,) = one.grade(ASSIGNMENT, force=True)
    assert forced.seconds is not None
    one.autograded(ASSIGNMENT, "perfect").unlink()
    (again,) = one.grade(ASSIGNMENT)
    assert again.seconds is not None
    monkeypatch.setattr(intake, "code_digest", lambda: "another judge")
    monkeypatch.setattr(worker, "code_digest", lambda: "another judge")
    intake._content.cache_clear()
    (anew,) = one.grade(ASSIGNMENT)
    assert anew.seconds is not None
    intake._content.cache_clear()
    assert {s.total for s in (first, left, forced, again, anew)} == {first.total}


def test_two_runs_at_once_are_one_sentence(one, monkeypatch):
    with Journal(one.folder / ".journal" / f"{ASSIGNMENT}.jsonl"):
        done = subprocess.run(
            grade_command(one, "--workers", "0"),
            cwd=ROOT, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 2
    assert " / Another process is grading" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_killed_run_ends_as_one_that_was_left_alone(tmp_path, record_property):
    """kill -9 of the command in the middle; see tests/grading/killing.py for more of it."""
    found = killing.compare(tmp_path, copies=12, kills=2, seed=1)
    record_property("found", str(found))
    print(found)
    assert found.notebooks == 12 and found.left > 0


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(make_course):
    course = make_course("perfect")
    for number in range(6):  # half a minute of work after the first is done
        submit(course, f"slow-{number}", "looper")
    process = subprocess.Popen(
        grade_command(course), cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not killing.done(course) and time.monotonic() < deadline:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    started = time.monotonic()
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - started < 10
    assert "Run the same command again to go on" in said.replace("\n", " ") and not errors
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    # What was done is not run again: at worst it was in the journal alone.
    (score,) = course.grade(ASSIGNMENT, ["perfect"])
    assert (score.seconds, score.total) == (None, 20)


# Bad input


def test_odd_names_are_names(make_course, monkeypatch, tmp_path):
    course = make_course("hollow")
    fake(course, monkeypatch)
    names = ["王 芳", "O'Neil", 'the "boss"', "a..b", "...", "[abc]*?", "{student_id}", "%s", "a,b",
             "-rf", "two\nlines", "x" * 128, "<img src=x>"]  # fmt: skip
    for name in names:
        submit(course, name, "perfect")
    found = {score.student: score for score in course.grade(ASSIGNMENT)}
    assert sorted(found) == sorted([*names, "hollow"])
    assert {found[name].state for name in names} == {State.GRADED}
    assert {s.seconds for s in course.grade(ASSIGNMENT)} == {None}
    course.export(tmp_path / "grades.csv", ASSIGNMENT)
    with (tmp_path / "grades.csv").open(encoding="utf-8", newline="") as file:
        assert {row["student_id"] for row in csv.DictReader(file)} == {*names, "hollow"}


@pytest.mark.parametrize("name", ["y" * 129, os.fsdecode(b"caf\xe9")])
def test_a_name_that_the_gradebook_cannot_have_is_said_and_the_rest_goes_on(
    make_course, name, monkeypatch, caplog
):
    course = make_course("hollow")
    submit(course, name, "perfect")
    found = {score.student: score for score in course.grade(ASSIGNMENT)}
    assert found[name].state is State.INFRASTRUCTURE_ERROR
    assert found["hollow"].state is State.INVALID_FILE
    assert " / " in caplog.text and "rename the folder" in caplog.text


def test_nobody_is_called_dot_dot(one):
    for name in ("..", ".", "../perfect", ""):
        with pytest.raises(runner.NoSubmissions):
            list(one.grade(ASSIGNMENT, [name]))


def test_a_submission_of_100_megabytes_is_not_loaded(one):
    path = one.submitted(ASSIGNMENT, "perfect")
    with path.open("r+b") as file:
        file.truncate(100_000_000)
    tracemalloc.start()
    (score,) = one.grade(ASSIGNMENT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert score.state is State.INVALID_FILE and peak < 50_000_000
    assert "larger than 20000000 bytes" in one.autograded(ASSIGNMENT, "perfect").read_text()


def test_a_notebook_of_a_thousand_cells_is_refused_in_a_sentence(one):
    path = one.submitted(ASSIGNMENT, "perfect")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [new_code_cell(f"x = {n}") for n in range(1000)]
    nbformat.write(notebook, path)
    (score,) = one.grade(ASSIGNMENT)
    assert score.state is State.INVALID_FILE
    assert "400 are allowed" in one.autograded(ASSIGNMENT, "perfect").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root to be mounted")
@pytest.mark.parametrize("what", ["autograded", ".journal", "."])
def test_a_full_disk_is_one_sentence_and_loses_nothing(make_course, monkeypatch, what):
    """A real one: a file system of a few pages, under the folder that is written to."""
    course = make_course("perfect", "nearly")
    fake(course, monkeypatch)
    folder = course.folder / what
    course.prepare(ASSIGNMENT)
    database = course.folder / "gradebook.db"
    if what == ".":
        folder = course.folder / "small"
        course.config.CourseDirectory.db_url = f"sqlite:///{folder / 'gradebook.db'}"
    folder.mkdir(exist_ok=True)
    size = database.stat().st_size + 8192 if what == "." else 16_384
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here: " + mounted.stderr.decode().strip())
    try:
        if what == ".":
            shutil.copy(database, folder / "gradebook.db")
        with pytest.raises((runner.CannotWrite, GradebookTrouble)) as caught:
            list(course.grade(ASSIGNMENT))
        assert " / " in str(caught.value) and "\n" not in str(caught.value)
        subprocess.run(
            ["mount", "-o", "remount,size=50m", "tmpfs", str(folder)], check=True
        )
        found = {score.student: score for score in course.grade(ASSIGNMENT)}
        assert sorted(found) == ["nearly", "perfect"]
        assert {score.state for score in found.values()} == {State.GRADED}
        assert not list(folder.rglob("tmp*"))
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_that_cannot_be_written_is_one_sentence(one, monkeypatch):
    fake(one, monkeypatch)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folders.Shelf, "put", full)
        with pytest.raises(runner.CannotWrite, match=" / .*No space left"):
            list(one.grade(ASSIGNMENT))
    monkeypatch.setattr(worker, "perform", lambda _: pytest.fail("it was run again"))
    (score,) = one.grade(ASSIGNMENT)
    assert score.state is State.GRADED
