"""Every attack, graded among honest neighbours in a real run, and four assertions on each.

1. No point is gained: its score is exactly what it deserves.
2. Nobody else is touched: neighbours before and behind it, bystanders in the gradebook.
3. The run goes on: in time, with the state that is due, and nothing is left on the machine.
4. Nothing leaks: what a student receives holds no secret and nothing that acts.
"""

import re
from collections import Counter

import pytest

from grading import leaks
from grading.answers import ASSIGNMENT
from grading.course import ROOT
from grading.kernels import isolation
from grading.key import Reference
from grading.seeds import seed_for
from tutor.evidence import MIME
from tutor.exercise import exercises

from .attack import MOST, WON
from .families import ATTACKS, MODULES
from .harness import CANARIES, CELL, KIND, SECRET, TOTAL, Run, kind_of, run_all
from .pages import active
from .report import PAGE, page

NAMES = list(ATTACKS)
SECONDS = TOTAL + 3 * CELL  # for a submission, kernels started again and again included
MEMORY = 1 << 30  # bytes, that a process of the grader may hold
# More digits than a number of an exercise's text has: one that is drawn under the seed.
DRAWN = re.compile(r"-?\d+\.\d{4,}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    """All attacks, graded once for all tests of this file."""
    if not isolation().isolated:
        pytest.skip(str(isolation()))  # never outside a sandbox
    return run_all(tmp_path_factory.mktemp("attacks"))


@pytest.fixture(scope="module")
def find(runs):
    """find(name): the run in which an attack was graded."""
    return {name: run for run in runs for name in run.part.attacks}.__getitem__


@pytest.fixture(scope="module")
def secrets():
    """{line without spacing: whose} for every telling line of an answer that nobody may get."""
    question = leaks.question_of(ASSIGNMENT)
    return {
        short: answer.name
        for answer in leaks.answers(ASSIGNMENT)
        for short in answer.secret_lines(question)
    }


@pytest.fixture(scope="module")
def reference():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_SECRET", SECRET)
        yield Reference(ASSIGNMENT)


def test_there_are_attacks_of_every_family(runs):
    counts = Counter(m.__name__ for m in MODULES for _ in m.ATTACKS)
    print(f"{len(ATTACKS)} attacks:", dict(counts))
    assert len(ATTACKS) >= 80 and min(counts.values()) >= 10
    assert sorted(n for run in runs for n in run.part.attacks) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_point_is_gained(find, name):
    run, attack = find(name), ATTACKS[name]
    assert run.points(name) == attack.points
    assert run.scores[name]["total"] == sum(attack.points.values())


@pytest.mark.parametrize("name", NAMES)
def test_nobody_else_is_touched(find, name):
    run = find(name)
    for neighbour in run.part.beside(name):
        score, kind = run.scores[neighbour], KIND[kind_of(neighbour)]
        assert score["exercises"] == kind.expected
        assert (score["total"], score["state"]) == (sum(kind.expected.values()), "graded")
    assert run.rows == {}


@pytest.mark.parametrize("name", NAMES)
def test_the_run_goes_on(find, name):
    run = find(name)
    score = run.scores[name]
    assert score["state"] in ATTACKS[name].states
    assert score["seconds"] is not None and score["seconds"] <= SECONDS
    assert not [thing for thing in run.left if run.part.mark(name) in thing]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaks(find, secrets, reference, name):
    run = find(name)
    shown, kept = run.page(name), run.autograded(name).read_text(encoding="utf-8")
    received = shown + kept
    for canary in (*CANARIES, "".join(WON), str(run.part.folder), str(ROOT)):
        assert canary not in received
    assert seed_for(ASSIGNMENT, name) not in received
    assert MIME not in shown
    assert active(shown) == active(run.page(run.part.neighbours[0]))
    given = leaks.squeezed("\0".join(leaks.texts(run.part.given(name))))
    tight = leaks.squeezed("\0".join(leaks.texts(run.autograded(name))))
    assert not [who for line, who in secrets.items() if line in tight and line not in given]
    assert not _numbers_of_the_key(run, reference, name) & set(DRAWN.findall(shown))


def _numbers_of_the_key(run: Run, reference: Reference, name: str) -> set[str]:
    """What the page would show of the key's numbers, for exercises that earned nothing."""
    points = run.points(name)
    lost = [e.name for e in exercises(ASSIGNMENT) if points[e.name] == 0 and MOST[e.name]]
    found: set[str] = set()
    for exercise in lost:
        key = reference.key(exercise, seed_for(ASSIGNMENT, name))
        found |= {f"{number:.6g}" for number in _floats(key)}
    return {text for text in found if DRAWN.fullmatch(text)}


def _floats(value):
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)


def test_the_grader_stays_small(runs):
    for run in runs:
        assert run.memory < MEMORY


def test_nothing_is_left_on_this_machine(runs):
    assert [thing for run in runs for thing in run.left] == []


def test_the_page_says_what_the_attacks_do(runs):
    """The page is written anew; it fails where that changes it."""
    committed = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(runs), encoding="utf-8")
    assert committed == page(runs)
