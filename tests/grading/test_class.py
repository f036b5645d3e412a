"""A whole class through the grader: exact scores, states, pages, and what comes of a regrade."""

import asyncio
import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from classroom import ASSIGNMENT, hand_in
from members import MEMBERS, Member
from nbgrader.apps.api import NbGraderAPI
from typer.testing import CliRunner

from grading import example
from grading.__main__ import app
from grading.engine import Processes
from grading.key import Reference
from grading.present import course_metadata
from grading.progress import class_table
from grading.release import released
from grading.runner import Course
from grading.seeds import seed_for
from tutor.evidence import MIME
from tutor.exercise import exercises
from tutor.verdict import brief, difference

from .conftest import member

# nbgrader's own, on every new submission.
pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")
NAMES = [m.name for m in MEMBERS]


@pytest.fixture(scope="module")
def course(make_course):
    return make_course(*NAMES)


@pytest.fixture(scope="module")
def scores(course):
    """The class, graded once for all the tests of this file."""
    return {score.student: score for score in course.grade(ASSIGNMENT, engine=Processes(2))}


@pytest.fixture(scope="module")
def pages(course, scores):
    """Each member's feedback page."""
    course.feedback(ASSIGNMENT)
    folder = course.folder / "feedback"
    found = {p.parent.parent.name: p.read_text("utf-8") for p in folder.glob("*/*/*.html")}
    assert sorted(found) == sorted(NAMES)
    return found


def graded(course, name: str) -> nbformat.NotebookNode:
    return nbformat.read(course.autograded(ASSIGNMENT, name), as_version=4)


def test_everybody_is_graded(scores):
    assert sorted(scores) == sorted(NAMES)
    assert len(scores) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_score_and_state(scores, name):
    score, who = scores[name], member(name)
    assert score.state.label == who.state
    points = {e.name: score.exercises.get(e.name, 0) for e in exercises(ASSIGNMENT)}
    assert points == who.expected
    assert score.total == sum(who.expected.values())
    assert score.max_total == 20
    for exercise, mistake in who.misconceptions.items():
        assert score.misconceptions[exercise] == mistake


def test_the_csv_has_the_scores(course, scores, tmp_path):
    course.export(tmp_path / "grades.csv", ASSIGNMENT)
    with (tmp_path / "grades.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["student_id"]: float(row["score"]) for row in rows} == {
        m.name: sum(m.expected.values()) for m in MEMBERS
    }
    assert {row["max_score"] for row in rows} == {"20.0"}


def test_the_table_names_everybody(scores):
    table = class_table(ASSIGNMENT, list(scores.values()))
    assert table.row_count == len(MEMBERS)


def test_a_person_looks_at_what_is_suspicious_alone(course, scores):
    with course.gradebook() as gradebook:
        flagged = {
            name
            for name in NAMES
            if gradebook.find_submission(ASSIGNMENT, name).needs_manual_grade
        }
    assert flagged == {"forger"}


def test_only_our_own_files_are_in_autograded(course, scores):
    files = [p for p in (course.folder / "autograded").rglob("*") if not p.is_dir()]
    assert len(files) >= len(NAMES)
    assert {p.name for p in files} <= {f"{ASSIGNMENT}.ipynb", "timestamp.txt"}
    assert not [p for p in files if p.is_symlink()]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_code_survives_of_a_submission(course, scores, name):
    notebook = graded(course, name)
    original = {c.metadata.nbgrader.grade_id: c for c in released(ASSIGNMENT).cells}
    locked = 0
    for cell in notebook.cells:
        found = original.get(cell.metadata.get("nbgrader", {}).get("grade_id"))
        if found is None:
            assert cell.id == "submission-state" or cell.id.startswith("added-")
            assert dict(cell.metadata) == {}
            assert cell.cell_type == ("code" if cell.id.startswith("added-") else "markdown")
            continue
        assert cell.metadata == found.metadata
        assert cell.cell_type == found.cell_type
        if not found.metadata.nbgrader.solution:
            assert cell.source == found.source
            locked += 1
    assert locked > 10
    allowed = {"kernelspec", "language_info", "autograd_course"}
    assert set(notebook.metadata) <= allowed
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_text_pictures_and_our_verdicts(course, scores, name):
    html = 0
    for cell in graded(course, name).cells:
        is_check = cell.metadata.get("nbgrader", {}).get("grade")
        for index, output in enumerate(cell.get("outputs", [])):
            kinds = set(output.get("data", {}))
            if "text/html" in kinds:
                assert is_check and index == 0
                assert output.data["text/html"].startswith('<div class="tex2jax_ignore">')
                html += 1
            else:
                assert kinds <= {"text/plain", "image/png"}
    unread = {"invalid_file", "wrong_notebook", "missing_notebook"}
    assert html == (0 if member(name).state in unread else 6)


def tags(page: str) -> list[tuple[str, str]]:
    """What in a page can act: scripts, handlers, addresses, foreign elements."""
    found = []
    for element in BeautifulSoup(page, "html.parser").find_all(True):
        if element.name in ("script", "iframe", "object", "embed", "svg", "form", "link", "base"):
            found.append((element.name, str(element)[:80]))
        for name, value in element.attrs.items():
            if name.startswith("on") or "javascript:" in str(value).lower():
                found.append((name, str(value)))
        if element.name == "img" and not element["src"].startswith("data:image/png;base64,"):
            found.append(("img", element["src"]))
    return found


def test_feedback_lets_nothing_of_the_students_act(pages):
    harmless = tags(pages["perfect"])
    assert harmless  # nbgrader's own scripts: the search finds what there is
    for name, page in pages.items():
        assert tags(page) == harmless, name
    # The attacks are there, as text.
    assert "&lt;script&gt;alert" in pages["hostile"]
    text = BeautifulSoup(pages["hostile"], "html.parser").get_text()
    assert "<script>alert('stolen')</script>" in text
    assert "<script>alert(6)</script>" in text


def test_mathjax_typesets_nothing_of_the_students(pages):
    page = BeautifulSoup(pages["hostile"], "html.parser")
    found = list(page.find_all(string=lambda s: "\\href{" in s))
    assert found
    for node in found:
        parents = {p.name for p in node.parents}
        ignored = any("tex2jax_ignore" in (p.get("class") or []) for p in node.parents)
        assert ignored or parents & {"pre", "code"}, str(node)[:200]


def test_feedback_speaks_both_languages_and_holds_no_key(pages, secret):
    reference, looked_at = Reference(ASSIGNMENT), 0
    for name in ("mistaken", "nearly", "partly"):
        page = pages[name]
        tables = BeautifulSoup(page, "html.parser").select("div.tutor")
        assert len(tables) == 6
        text = "\n".join(table.get_text() for table in tables)
        assert MIME not in page and seed_for(ASSIGNMENT, name) not in page
        assert "期望" not in text and "expected" not in text
        for exercise in exercises(ASSIGNMENT):
            for facet in exercise.facets:
                assert facet.zh in text and facet.en in text
            seed = seed_for(ASSIGNMENT, name)
            key = reference.key(exercise.name, seed)
            mistake = member(name).misconceptions[exercise.name]
            (wrong,) = [
                m for m in reference.misconceptions(exercise.name, seed) if m.name == mistake
            ]
            assert wrong.zh in text and wrong.en in text
            for facet, expected in key.items():
                if found := difference(wrong.evidence[facet], expected):
                    # A number that differs is a secret; a flag or a shape may stand elsewhere.
                    if re.fullmatch(r"-?\d+\.\d{3,}", found.expected):
                        assert found.expected not in page, (name, exercise.name, facet)
                        looked_at += 1
                    # What is right in the student's own value is no secret.
                    assert brief(expected) == brief(wrong.evidence[facet]) or (
                        brief(expected) not in page
                    )
    assert looked_at >= 5


def test_states_are_told_in_both_languages(pages, scores):
    told = 0
    for name, page in pages.items():
        text = BeautifulSoup(page, "html.parser").get_text()
        if member(name).state != "graded":
            state = scores[name].state
            notes = BeautifulSoup(page, "html.parser").select("div.tex2jax_ignore[lang]")
            assert {n["lang"] for n in notes} == {"zh", "en"}, name
            told += 1
            assert state.zh in text or name in {"hollow", "futuristic", "linker"}
    assert told >= 8


def test_evidence_is_kept_for_the_report_alone(course, scores, pages):
    exercise = course_metadata(graded(course, "nearly"))["exercises"]["vjp"]
    assert '"evidence"' in exercise["evidence"]
    assert exercise["evidence"][:60] not in pages["nearly"]


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def test_the_report_shows_yours_expected_and_the_misconception(course, scores):
    result = run("report", ASSIGNMENT, "nearly", "--course", str(course.folder))
    assert result.exit_code == 0
    assert "nearly  15.75/20" in result.output
    assert result.output.count("expected:") >= 6
    assert result.output.count("→") == 12  # six misconceptions, two languages
    for exercise in exercises(ASSIGNMENT):
        assert exercise.name in result.output


def test_the_report_of_a_crash_says_where(course, scores):
    result = run("report", ASSIGNMENT, "crasher", "--course", str(course.folder))
    assert "crashed [check-vjp]" in result.output
    assert "out_of_memory [check-jac_rows]" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("grade", "99-nothing"),
        ("report", "99-nothing", "perfect"),
        ("report", ASSIGNMENT, "nobody"),
        ("grade", ASSIGNMENT, "--student", "nobody"),
        ("release", "99-nothing"),
        ("export", "99-nothing"),
        ("feedback", "99-nothing"),
    ],
)
def test_a_wrong_name_is_one_sentence(course, words):
    result = run(*words, "--course", str(course.folder))
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and " / " in lines[0]
    if words[1] == "99-nothing":
        assert ASSIGNMENT in lines[0]  # what there is


def test_grade_prints_the_table_and_writes_the_csv(course, scores):
    words = ["--student", "broken", "--student", "absent", "--course", str(course.folder)]
    result = run("grade", ASSIGNMENT, "--force", *words)
    assert result.exit_code == 0, result.output
    assert "invalid_file" in result.output and "missing_notebook" in result.output
    assert "0/20" in result.output and "2/2" in result.output  # scores, progress
    assert (course.folder / "grades.csv").read_text().count("\n") == 1 + len(MEMBERS)


def test_without_submissions_there_is_a_made_up_class(tmp_path):
    example.build(tmp_path)
    assert Course(tmp_path).students(ASSIGNMENT) == sorted(NAMES)


def test_a_folder_that_is_no_course_is_one_sentence(tmp_path):
    result = run("grade", ASSIGNMENT, "--course", str(tmp_path))
    assert result.exit_code == 2 and "nbgrader_config.py" in result.stderr


def test_a_regrade_gives_the_same(course, scores):
    names = ["nearly", "helper", "broken"]
    again = {s.student: s for s in course.grade(ASSIGNMENT, names, force=True)}
    for name in names:
        assert again[name].seconds is not None
        assert (again[name].exercises, again[name].total, again[name].state) == (
            scores[name].exercises, scores[name].total, scores[name].state,
        )  # fmt: skip


def test_what_has_not_changed_is_left_as_it_is(course, scores):
    again = list(course.grade(ASSIGNMENT))
    assert [s.student for s in again] == sorted(NAMES)
    assert {s.student for s in again if s.seconds is not None} == set()
    assert {s.student: s.total for s in again} == {n: s.total for n, s in scores.items()}


def submit(course, name: str, of: Member) -> None:
    hand_in(of, course.folder / "submitted" / name / ASSIGNMENT)


def test_a_worse_resubmission_lowers_the_score(course, scores):
    for worse, total, state in (("partly", 13, "graded"), ("hollow", 0, "invalid_file")):
        submit(course, "otherwise", member(worse))
        (score,) = course.grade(ASSIGNMENT, ["otherwise"])
        assert (score.total, score.state.label) == (total, state)
    submit(course, "otherwise", member("otherwise"))
    (score,) = course.grade(ASSIGNMENT, ["otherwise"])
    assert score.total == 20


def test_a_score_given_by_hand_belongs_to_the_file_it_was_given_for(course, scores):
    def grade_of(gradebook):
        return gradebook.find_grade("check-vjp", ASSIGNMENT, ASSIGNMENT, "deleter")

    with course.gradebook() as gradebook:
        grade_of(gradebook).manual_score = 3
        grade_of(gradebook).extra_credit = 1
        gradebook.db.commit()
    (score,) = course.grade(ASSIGNMENT, ["deleter"], force=True)
    assert score.total == 16 + 3 + 1
    with course.gradebook() as gradebook:
        assert grade_of(gradebook).needs_manual_grade  # for the instructor to look again
    submit(course, "deleter", member("unsolved"))
    (score,) = course.grade(ASSIGNMENT, ["deleter"])
    assert score.total == 0
    with course.gradebook() as gradebook:
        assert not grade_of(gradebook).needs_manual_grade


# nbgrader's own ways to grade


@pytest.fixture(scope="module")
def by_hand(make_course):
    """A part of the class, with nbgrader's commands run as an instructor would."""
    course = make_course("perfect", "nearly", "broken", "absent", "foreigner", "forger")
    nbgrader(course.folder, "generate_assignment", ASSIGNMENT)
    return course


def nbgrader(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", "nbgrader", *words],
        cwd=folder, env={**os.environ, "PATH": path}, check=check, capture_output=True, text=True,
    )  # fmt: skip


def totals(course) -> dict[str, float]:
    with course.gradebook() as gradebook:
        return {s.student.id: s.score for s in gradebook.assignment_submissions(ASSIGNMENT)}


def test_nbgrader_autograde_grades_alike(by_hand):
    nbgrader(by_hand.folder, "autograde", ASSIGNMENT)
    expected = {n: sum(member(n).expected.values()) for n in by_hand.students(ASSIGNMENT)}
    assert len(expected) == 6
    assert totals(by_hand) == expected
    files = {p.name for p in (by_hand.folder / "autograded").rglob("*") if not p.is_dir()}
    assert files == {f"{ASSIGNMENT}.ipynb"}
    # And once more, over worse submissions.
    submit(by_hand, "perfect", member("absent"))
    submit(by_hand, "foreigner", member("hollow"))
    (by_hand.folder / "submitted" / "nearly" / ASSIGNMENT / "timestamp.txt").write_text("0 0 0 0")
    nbgrader(by_hand.folder, "autograde", ASSIGNMENT, "--force")
    assert totals(by_hand) == expected | {"perfect": 0, "foreigner": 0}


def test_the_formgraders_button_grades_alike(by_hand):
    """The button calls this from a running event loop."""
    submit(by_hand, "nearly", member("partly"))
    api = NbGraderAPI(by_hand.directory(ASSIGNMENT), config=by_hand.config)

    async def press():
        return api.autograde(ASSIGNMENT, "nearly")

    result = asyncio.run(press())
    assert result["success"], result
    assert totals(by_hand)["nearly"] == 13
