"""Every other assignment of the course through the grader: solved, emptied, typical mistakes."""

import csv

import pytest
from classroom import build
from members import ASSIGNMENT, OTHERS

from grading.course import assignments
from grading.runner import Course
from tutor.exercise import exercises

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")
KINDS = ("perfect", "emptied", "typical")


@pytest.fixture(scope="module")
def course(tmp_path_factory, secret):
    folder = tmp_path_factory.mktemp("course")
    build(folder, OTHERS)
    return Course(folder)


@pytest.fixture(scope="module")
def scores(course):
    """{(assignment, student): score} of all who hand in another assignment than 03-vjp."""
    return {
        (assignment, score.student): score
        for assignment in sorted({member.assignment for member in OTHERS})
        for score in course.grade(assignment)
    }


def test_the_class_hands_in_every_assignment():
    expected = {(a, kind) for a in assignments() if a != ASSIGNMENT for kind in KINDS}
    assert expected
    assert {(member.assignment, member.name) for member in OTHERS} == expected


@pytest.mark.parametrize("who", OTHERS, ids=lambda who: f"{who.assignment}-{who.name}")
def test_score_and_misconceptions(scores, who):
    score = scores[who.assignment, who.name]
    points = {e.name: score.exercises.get(e.name, 0) for e in exercises(who.assignment)}
    assert points == who.expected
    assert score.state.label == "graded"
    assert (score.total, score.max_total) == (sum(who.expected.values()), 20)
    assert score.misconceptions == who.misconceptions


def test_one_csv_has_the_scores_of_all_assignments(course, scores, tmp_path):
    course.export(tmp_path / "grades.csv", *{member.assignment for member in OTHERS})
    with (tmp_path / "grades.csv").open() as file:
        rows = {(r["assignment"], r["student_id"]): float(r["score"]) for r in csv.DictReader(file)}
    assert rows == {key: score.total for key, score in scores.items()}
