"""The proofs hold for a sound exercise, and find a fault of each kind in an unsound one."""

import pytest

from grading import misconceptions, proofs
from grading.key import Reference
from tutor import exercise as ex
from tutor.evidence import observe
from tutor.exercise import collect
from tutor.verdict import judge

from . import toy

SEEDS = ("public", "proof-1")


@pytest.fixture(autouse=True)
def equivalents(monkeypatch):
    known = {"line 4: x.clone() → x": "the product is a new tensor anyway"}
    monkeypatch.setattr(proofs, "equivalent", lambda name: known)
    return known


def prove(root, task=toy.TOY):
    return proofs.prove(task, Reference(toy.ASSIGNMENT, root), SEEDS)


def test_a_sound_exercise_is_proven(toy_course):
    proof = prove(toy_course)
    assert proof.faults == []
    assert len(proof.misconceptions) == 5
    assert all(max(scores) < 3 for scores in proof.misconceptions.values())
    assert proof.alternatives == ["by_broadcasting", "by_division"]
    assert proof.killed >= 4
    assert "scaled" in proofs.report({"99-toy": [proof]})


def test_a_lenient_probe_is_caught(toy_course, monkeypatch):
    def lenient(answer, rng):
        return {"value": observe(True), "scalar": observe(True)}

    task = ex.Exercise("scaled", toy.ASSIGNMENT, toy.FACETS, lenient)
    monkeypatch.setitem(ex._registry, "scaled", task)
    faults = prove(toy_course, task).faults
    for kind in ("earns 3", "is not refused", "cannot be told from", "mutation survives"):
        assert any(kind in fault for fault in faults), kind


def test_a_refused_alternative_is_caught(toy_course):
    misconceptions.alternative("scaled")(lambda x, factor: factor + x)
    assert any("gets 0.0/3" in fault for fault in prove(toy_course).faults)


def test_two_misconceptions_with_the_same_evidence_are_caught(toy_course):
    @misconceptions.misconception("scaled", zh="又是加", en="adds again")
    def adds_again(x, factor):
        return factor + x

    assert any("adds_again cannot be told from adds" in f for f in prove(toy_course).faults)


def test_a_stale_equivalent_is_caught(toy_course, equivalents):
    equivalents["line 4: 1 → 2"] = "no such line"
    assert any("line 4: 1 → 2" in fault for fault in prove(toy_course).faults)


def test_too_few_wrong_answers_are_caught(toy_course):
    misconceptions._wrong["scaled"].popitem()
    misconceptions._right["scaled"].popitem()
    faults = prove(toy_course).faults
    assert any("only 4 misconceptions" in fault for fault in faults)
    assert any("only 1 alternatives" in fault for fault in faults)


def test_a_mutation_that_never_ends_is_refused(toy_course, monkeypatch):
    monkeypatch.setattr(proofs, "SECONDS", 1)
    reference = Reference(toy.ASSIGNMENT, toy_course)
    endless = "def scaled(x, factor):\n    while True:\n        pass"

    def verdict(answer, seed):
        return judge(toy.TOY, collect(toy.TOY, answer, seed), reference.key("scaled", seed))

    assert not proofs._survives(reference, "scaled", endless, verdict, SEEDS)
    assert proofs._survives(reference, "scaled", toy.SOLUTION, verdict, SEEDS)
