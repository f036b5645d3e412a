"""The judge believes one whole piece of evidence, and says why when there is none."""

import nbformat
import pytest
from nbformat.v4 import new_output

from grading import key
from grading.course import UnknownAssignment, check_cells, checked_exercise, read_source
from grading.judge import judge_notebook
from grading.key import LazyEvidence, Reference
from grading.misconceptions import misconceptions
from grading.seeds import course_secret, seed_for
from tutor import evidence as ev
from tutor.exercise import collect, find

from . import toy

SEED = "a" * 64


def claimed(*texts):
    return [new_output("display_data", data={ev.MIME: text}) for text in texts]


@pytest.fixture
def judged(toy_course):
    reference = Reference(toy.ASSIGNMENT, toy_course)

    def judged(outputs):
        notebook = read_source(toy.ASSIGNMENT, toy_course)
        check_cells(notebook)["scaled"].outputs = outputs
        return judge_notebook(notebook, SEED, reference)["scaled"]

    judged.reference = reference
    return judged


def test_right_evidence_scores_full_marks(judged):
    text = ev.dumps("scaled", judged.reference.key("scaled", SEED))
    claim, verdict = judged(claimed(text))
    assert verdict.points == 3 and not claim.tampered


def test_a_wrong_answer_is_named(judged):
    m = judged.reference.misconceptions("scaled", SEED)[0]
    _, verdict = judged(claimed(ev.dumps("scaled", dict(m.evidence))))
    assert verdict.points == 0
    assert verdict.misconception.en == "adds instead"


@pytest.fixture
def asked(monkeypatch):
    """The answers that the judge asks, and the facet after which it stops asking."""
    asked = []

    def recording(exercise, answer, seed, last=None):
        asked.append((answer.__name__, last))
        return collect(exercise, answer, seed, last)

    monkeypatch.setattr(key, "collect", recording)
    return asked


def test_no_misconception_is_asked_about_a_right_answer_or_none(judged, asked):
    text = ev.dumps("scaled", judged.reference.key("scaled", SEED))
    asked.clear()
    assert judged(claimed(text))[1].passed
    assert not judged([])[1].passed
    assert asked == [("scaled", None)] * 2


def test_a_misconception_is_asked_no_more_than_it_takes(judged, asked):
    wrong = {m.name: dict(m.evidence) for m in judged.reference.misconceptions("scaled", SEED)}
    asked.clear()
    assert judged(claimed(ev.dumps("scaled", wrong["adds"])))[1].misconception.name == "adds"
    assert asked == [("scaled", None), *((name, "value") for name in wrong)]


def test_lazy_evidence_is_what_collect_gives(judged):
    for m in judged.reference.misconceptions("scaled", SEED):
        (answer,) = [w.answer for w in misconceptions("scaled") if w.name == m.name]
        whole = collect(find("scaled"), answer, SEED)
        fresh = LazyEvidence(find("scaled"), answer, SEED)
        for name in reversed(whole):
            assert fresh[name] == whole[name]
        assert m.evidence["value"] == whole["value"]
        assert m.evidence == whole and list(m.evidence) == list(whole)
        assert len(m.evidence) == len(whole) == 2
        with pytest.raises(KeyError):
            m.evidence["points"]


def test_evidence_for_another_seed_is_wrong(judged):
    _, verdict = judged(claimed(ev.dumps("scaled", judged.reference.key("scaled", "public"))))
    assert verdict.points == 0


@pytest.mark.parametrize(
    "kind", ["twice", "cut", "other exercise", "facet missing", "one too many"]
)
def test_anything_but_one_whole_piece_is_tampering(judged, kind):
    whole = judged.reference.key("scaled", SEED)
    right = ev.dumps("scaled", whole)
    outputs = {
        "twice": claimed(right, right),
        "cut": claimed(right[:-5]),
        "other exercise": claimed(ev.dumps("vjp", whole)),
        "facet missing": claimed(ev.dumps("scaled", {"value": whole["value"]})),
        "one too many": claimed(ev.dumps("scaled", whole | {"points": {"integer": 3}})),
    }
    claim, verdict = judged(outputs[kind])
    assert claim.tampered and verdict.points == 0
    assert all(verdict.note)


def test_a_check_that_failed_says_how(judged):
    error = new_output("error", ename="NameError", evalue="name 'scaled' is not defined")
    _, verdict = judged([error])
    assert verdict.points == 0
    assert all("NameError: name 'scaled'" in part for part in verdict.note)


def test_a_check_that_said_nothing_earns_nothing(judged, toy_course):
    assert judged([])[1].points == 0
    empty = nbformat.v4.new_notebook()
    verdict = judge_notebook(empty, SEED, judged.reference)["scaled"][1]
    assert verdict.points == 0 and verdict.note


def test_which_cell_checks_what():
    assert checked_exercise("check(vjp)") == "vjp"
    for other in ("check(vjp); x", "check('vjp')", "check(vjp, 1)", "print(vjp)", "check(", ""):
        assert checked_exercise(other) is None


def test_an_unknown_assignment_is_one_sentence_that_names_the_known(toy_course):
    with pytest.raises(UnknownAssignment, match="99-toy"):
        Reference("98-none", toy_course)


def test_seeds_are_secret_stable_and_apart(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_SECRET", raising=False)
    first = seed_for("a", "s1", tmp_path)
    assert first == seed_for("a", "s1", tmp_path)
    assert len({first, seed_for("a", "s2", tmp_path), seed_for("b", "s1", tmp_path)}) == 3
    assert (tmp_path / ".course-secret").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("COURSE_SECRET", "another")
    assert course_secret(tmp_path) == b"another"
    assert seed_for("a", "s1", tmp_path) != first


def test_evidence_beside_an_error_is_none(judged):
    """An honest check has nothing left to do once it has handed out its evidence."""
    text = ev.dumps("scaled", judged.reference.key("scaled", SEED))
    error = new_output("error", ename="KeyboardInterrupt", evalue="", traceback=[])
    claim, verdict = judged([*claimed(text), error])
    assert verdict.points == 0 and "KeyboardInterrupt" in claim.problem[1]
