"""The benchmarks build what they say, and stock's assertions ask what our probes ask."""

import ast
import subprocess
import sys
import time

import pytest

from bench import classes, grade, measure, memory, page, parts, replay, scale, stock
from grading import misconceptions
from grading.answers import ASSIGNMENT, code_of
from grading.course import ROOT, check_cells, read_source
from tutor.exercise import exercises, known_state

NAMES = [exercise.name for exercise in exercises(ASSIGNMENT)]


@pytest.fixture(scope="module")
def source():
    """Stock's source notebook: its code cells' texts by their grade_id."""
    cells = [cell for cell in stock.source_notebook().cells if cell.cell_type == "code"]
    return {cell.metadata.nbgrader.grade_id: cell.source for cell in cells}


def refused(source: dict[str, str], exercise: str, answer: str) -> bool:
    """Whether the assertions of an exercise fail when all of stock's notebook runs in order."""
    own = read_source(ASSIGNMENT).cells
    (solution,) = [c.source for c in own if c.metadata.nbgrader.grade_id == exercise]
    namespace = {"__name__": "__main__"}
    with known_state():
        for name, text in source.items():
            if name == exercise:
                text = code_of(exercise, answer, solution)
            if name == "language" or name.startswith("check-") and name != f"check-{exercise}":
                continue
            try:
                exec(compile(text, name, "exec"), namespace)  # noqa: S102 (the course's own)
            except Exception:
                assert name == f"check-{exercise}", (name, answer)
                return True
    return False


@pytest.mark.parametrize("exercise", NAMES)
def test_stocks_assertions_tell_right_from_wrong(source, exercise):
    right = ["source", *(f"alternative {a.name}" for a in misconceptions.alternatives(exercise))]
    wrong = ["stub", *(f"wrong {w.name}" for w in misconceptions.misconceptions(exercise))]
    assert len(right) >= 3 and len(wrong) >= 10
    stub = f"def {exercise}(*_):\n    raise NotImplementedError"
    assert [a for a in right if refused(source, exercise, a)] == []
    assert [a for a in wrong if not refused(source, exercise, stub if a == "stub" else a)] == []


def test_stocks_notebook_is_ours_but_for_its_checks(source):
    ours, theirs = read_source(ASSIGNMENT), stock.source_notebook()
    checks = check_cells(ours)
    assert len(checks) == len(NAMES) and check_cells(theirs) == {}
    assert len(theirs.cells) == len(ours.cells) + 1
    for cell in ours.cells:
        name = cell.metadata.nbgrader.grade_id
        (same,) = [c for c in theirs.cells if c.metadata.nbgrader.grade_id == name]
        assert same.metadata == cell.metadata
        assert (same.source != cell.source) == (name in {f"check-{n}" for n in NAMES})
    for name in NAMES:
        asserts = [n for n in ast.walk(ast.parse(source[f"check-{name}"])) if is_question(n)]
        facets = next(e for e in exercises(ASSIGNMENT) if e.name == name).facets
        assert len(asserts) >= len(facets), name


def is_question(node: ast.AST) -> bool:
    """An assertion, or a call of a function that asserts."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "ask" or node.func.id.startswith("assert_")
    return isinstance(node, ast.Assert)


def test_no_name_of_the_notebook_hides_a_tool(source):
    def defined(text: str) -> set[str]:
        stored = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)]
        tops = {n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}
        return tops | {n.id for n in stored if isinstance(n.ctx, ast.Store)}

    tools = {n.name for n in ast.parse(stock.tools()).body if isinstance(n, ast.FunctionDef)}
    assert len(tools) >= 10
    for name, text in source.items():
        assert name == stock.TOOLS or not tools & defined(text), name


def test_otters_tests_are_the_same(source):
    tests = stock.otter_tests()
    assert sorted(tests) == sorted(f"{name}.py" for name in NAMES)
    for name, text in tests.items():
        functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
        (check,) = [f for f in functions if f.name == f"check_{name.removesuffix('.py')}"]
        assert [ast.dump(a) for a in check.body] == [
            ast.dump(a) for a in ast.parse(source[check.name.replace("_", "-", 1)]).body
        ]


def test_classes_have_the_mix_they_say(tmp_path):
    paths = classes.hand_in(tmp_path, 10)
    assert len(paths) == 10 and all(path.stat().st_size > 1000 for path in paths)
    kinds = [sorted({a.split()[0] for a in classes.answers(i).values()}) for i in range(20)]
    assert [kinds.count(k) for k in ([], ["alternative"], ["wrong"], ["stub"])] == [8, 4, 6, 2]
    assert classes.answers(3) == classes.answers(23) and classes.answers(6) != classes.answers(16)
    cells = [classes.answer_cells(i) for i in range(20)]
    assert all(sorted(c) == sorted(NAMES) for c in cells)
    assert sum(classes.is_right(i) for i in range(60)) == 36


def test_a_grader_that_did_not_do_its_work_does_not_count():
    right = {
        classes.student(i): 20.0 if classes.is_right(i) else 0.0 if i % 10 == 9 else 9.0
        for i in range(20)
    }
    assert grade.verify(right, 20).startswith("20 graded, 12 with full marks")
    for name, points in {"student-0000": 16.0, "student-0006": 20.0, "student-0009": 1.0}.items():
        with pytest.raises(measure.BenchError, match=name):
            grade.verify(right | {name: points}, 20)
    with pytest.raises(measure.BenchError, match="20 of 21"):
        grade.verify(right, 21)


def test_the_limit_executes_every_cell():
    path = ROOT / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    cells = grade.code_cells([path])
    seconds, note = grade.limit([path], 1)
    assert cells >= 15 and seconds > 0
    assert note == f"{cells} cells executed, 0 ended in an error"


def test_pytests_closing_line_is_read():
    assert replay.pytest_counts("…\n3 failed, 561 passed in 43.61s\n") == {
        "failed": 3, "passed": 561,
    }  # fmt: skip
    assert replay.pytest_counts("no tests ran in 0.01s") == {}
    assert len(replay.paths()) >= 10


def test_contenders_take_turns_and_ratios_have_a_spread():
    order = []

    def once(name, seconds):
        order.append(name)
        if name == "C":
            raise measure.BenchError("it broke")
        return seconds, "done"

    contenders = [
        measure.Contender(name, name, lambda n=name, s=seconds: once(n, s), rounds)
        for name, seconds, rounds in (("A", 8.0, 1), ("B", 2.0, 3), ("C", 1.0, 3))
    ]
    measure.alternate(contenders, lambda text: None)
    assert order == ["A", "B", "C", "B", "B"]
    assert contenders[2].problem == "it broke" and contenders[2].seconds == []
    assert measure.ratios([8.0], [2.0, 4.0]) == [4.0, 2.0]
    assert measure.spread([4.0, 2.0, 3.0]) == "3.00 (2.00–4.00)" and measure.spread([1.5]) == "1.50"


def test_a_missed_target_is_said_plainly():
    met, missed = (
        page.Target("快", "fast", [21.0, 30.0, 19.0], 20),
        page.Target("少", "few", [2.6], 2.5, most=True),
    )
    nothing = page.Target("无", "none", [], 1)
    assert (met.met, missed.met, nothing.met) == (True, False, False)
    section = page.Section("标题 heading", "中文。", "English.", [], [met, missed, nothing])
    text = page.page([section], {"内存 memory": "24 GiB"}, 30)
    assert "3 项目标，2 项未达到" in text and "3 targets, 2 missed" in text
    assert text.count(page.MISSED) == 4  # in the summary and in the section


def test_costs_are_net_of_the_start_up():
    small, middle, large = (scale.Size(n, 1, seconds=[5 + 0.2 * n]) for n in (10, 100, 1000))
    assert scale.marginal(small, middle) == pytest.approx([0.2])
    assert scale.growth_of_cost(small, middle, large) == pytest.approx([1.0])
    assert "0.200" in parts.cost_table([small, middle, large])
    middle.seconds = [small.seconds[0] - 1]  # noise: it proves nothing
    assert scale.growth_of_cost(small, middle, large) == []


def test_memory_is_seen_by_role():
    code = "import time; block = bytearray(64 << 20); time.sleep(2)"
    with memory.watched() as peaks, subprocess.Popen([sys.executable, "-c", code]) as process:
        time.sleep(1.8)
        process.kill()
    assert peaks.looks > 0
    # Between fork and exec a process has its parent's memory, shared: in "rss", not in "uss".
    assert 64 << 20 <= peaks.roles["main"]["uss"] < 256 << 20
    assert peaks.roles["main"]["uss"] <= peaks.roles["main"]["rss"]
    assert peaks.together >= 64 << 20


class Process:
    """As much of a process as `memory.role_of` looks at; ``above`` is what started it."""

    def __init__(self, pid, name, words, above=None):
        self.pid, self.above = pid, above
        self.name, self.cmdline = lambda: name, lambda: words.split()

    def ppid(self):
        return self.above.pid

    def parents(self):
        return [self.above, *self.above.parents()] if self.above else []


def test_processes_are_told_apart_by_what_they_are_for():
    """The fork server is no worker: it has what they share as its own, when there is none yet."""
    script = "python /course/parent.py {}"
    main = Process(1, "python", "python -m grading grade 03-vjp")
    server = Process(2, "python", "python -c multiprocessing.forkserver", main)
    helper = Process(3, "python", "python -c multiprocessing.resource_tracker", main)
    worker = Process(4, "python", "python -c multiprocessing.forkserver", server)
    bubblewrap = Process(5, "bwrap", f"bwrap -- {script}", main)
    importer = Process(6, "python", script, bubblewrap)
    partition = Process(7, "python", script, importer)
    kernel = Process(8, "python", script, partition)
    child = Process(9, "python", script, kernel)
    warm = Process(10, "python", script, main)
    found = [main, server, helper, worker, bubblewrap, importer, partition, kernel, child, warm]
    roles = [memory.role_of(process, main.pid) for process in found]
    assert roles == [
        "main", None, None, "worker", None, "parent", "parent", "kernel", "kernel", "parent",
    ]  # fmt: skip
    assert memory.role_of(Process(11, "python", script, warm), main.pid) == "kernel"


def test_a_contender_that_failed_says_why():
    boxed = "python … ended with 2:\n╭─ Error ─╮\n│ No such option: --cold  │\n╰─────────╯\n"
    broken = measure.Contender("坏", "broken", lambda: (1.0, ""), 1, problem=boxed)
    fine = measure.Contender("好", "fine", lambda: (1.0, ""), 1, seconds=[2.0], note="done")
    assert page.notes([broken, fine]).splitlines() == [
        "- broken: could not be measured: `No such option: --cold`",
        "- fine: done",
    ]
    assert page.contenders_table([broken, fine], broken, [fine]).count("—") >= 4
