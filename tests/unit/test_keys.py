"""The committed keys are those that the source notebooks give today."""

import json

from grading.course import ROOT, assignments
from grading.key import Reference
from grading.keys import agree
from grading.misconceptions import rounding
from tutor import keys


def test_the_committed_keys_are_todays():
    looked_at = 0
    for assignment in assignments():
        reference = Reference(assignment)
        committed = json.loads((ROOT / f"tutor/keys/{assignment}.json").read_text("utf-8"))
        assert set(committed["exercises"]) == {e.name for e in reference.exercises}
        for exercise in reference.exercises:
            key, known = keys.load(assignment, exercise.name)
            rounded = rounding(exercise.name)
            made = {m.name: m for m in reference.misconceptions(exercise.name, keys.PUBLIC_SEED)}
            assert list(made) == [m.name for m in known]
            pairs = [(key, reference.key(exercise.name, keys.PUBLIC_SEED), False)]
            for m in known:
                assert (m.zh, m.en) == (made[m.name].zh, made[m.name].en)
                pairs.append((m.evidence, made[m.name].evidence, m.name in rounded))
            for old, new, loosely in pairs:
                assert list(old) == list(new) == [f.name for f in exercise.facets]
                for facet in old:
                    assert agree({facet: old[facet]}, {facet: new[facet]}, loosely), (
                        exercise.name, facet
                    )  # fmt: skip
                    looked_at += 1
    print(f"{looked_at} observations compared")
    assert looked_at > 0


def test_evidence_that_rounding_decides_is_compared_but_for_its_numbers():
    def evidence(number, dtype="float32", name="a"):
        tensor = {"tensor": {"dtype": dtype, "shape": [1], "values": [number]}}
        return {"value": {"dict": {name: {"list": [tensor, {"number": number}]}}}}

    assert agree(evidence(1.0), evidence(1.0 + 1e-9))
    assert not agree(evidence(1.0), evidence(1.1))
    assert agree(evidence(1.0), evidence(1.1), rounded=True)
    assert not agree(evidence(1.0), evidence(1.1, "float64"), rounded=True)
    assert not agree(evidence(1.0), evidence(1.1, name="b"), rounded=True)
    assert not agree(evidence(1.0), {}, rounded=True)
    raised = {"value": {"raises": "ValueError", "message": ""}}
    assert not agree(evidence(1.0), raised, rounded=True)
    named = [name for a in assignments() for e in Reference(a).exercises
             for name in rounding(e.name)]  # fmt: skip
    print(named)
    assert 0 < len(named) < 10


def test_every_check_cell_has_its_exercise_and_its_points():
    from grading.course import check_cells, read_source

    looked_at = 0
    for assignment in assignments():
        cells = check_cells(read_source(assignment))
        exercises = Reference(assignment).exercises
        assert list(cells) == [e.name for e in exercises]
        assert sum(e.points for e in exercises) == 20
        for exercise in exercises:
            nbgrader = cells[exercise.name].metadata.nbgrader
            assert nbgrader.points == exercise.points
            assert nbgrader.grade_id == f"check-{exercise.name}"
            assert exercise.name in Reference(assignment).sources
            looked_at += 1
    assert looked_at > 0
