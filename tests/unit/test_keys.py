"""The committed keys are those that the source notebooks give today."""

import json

from grading.course import ROOT, assignments
from grading.key import Reference
from tutor import keys
from tutor.verdict import difference


def test_the_committed_keys_are_todays():
    looked_at = 0
    for assignment in assignments():
        reference = Reference(assignment)
        committed = json.loads((ROOT / f"tutor/keys/{assignment}.json").read_text("utf-8"))
        assert set(committed["exercises"]) == {e.name for e in reference.exercises}
        for exercise in reference.exercises:
            key, known = keys.load(assignment, exercise.name)
            made = {m.name: m for m in reference.misconceptions(exercise.name, keys.PUBLIC_SEED)}
            assert list(made) == [m.name for m in known]
            pairs = [(key, reference.key(exercise.name, keys.PUBLIC_SEED))]
            for m in known:
                assert (m.zh, m.en) == (made[m.name].zh, made[m.name].en)
                pairs.append((m.evidence, made[m.name].evidence))
            for old, new in pairs:
                assert list(old) == list(new) == [f.name for f in exercise.facets]
                for facet in old:
                    # Equal but for the last digits, which other processors round differently.
                    assert difference(old[facet], new[facet]) is None, (exercise.name, facet)
                    looked_at += 1
    print(f"{looked_at} observations compared")
    assert looked_at > 0


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
