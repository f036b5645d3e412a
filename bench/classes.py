"""Classes of submissions of any size: right answers, known mistakes, untouched notebooks.

The same twenty submissions come round again, so that a class of 100 and one of 1,000 ask the same
work of a grader for each of theirs; no two students share a seed.
"""

import random
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from grading import misconceptions
from grading.answers import ASSIGNMENT, solved
from tutor.exercise import exercises

PATTERNS = 20
POINTS = 20
SETTINGS = """\
load_subconfig("nbgrader_config.py", path={root!r})
c.CourseDirectory.root = {folder!r}
"""


@cache
def answers(index: int) -> dict[str, str]:
    """The answers of student number ``index``, as `grading.answers` takes them.

    Of ten, four hand in the source's solutions, two other right ones, three some mistakes, and
    one the notebook as it was released.
    """
    number = index % PATTERNS
    draw, names = random.Random(number), [exercise.name for exercise in exercises(ASSIGNMENT)]
    if number % 10 < 4:
        return {}
    if number % 10 < 6:
        return {n: f"alternative {draw.choice(misconceptions.alternatives(n)).name}" for n in names}
    if number % 10 < 9:
        wrong = draw.sample(names, 3)
        return {n: f"wrong {draw.choice(misconceptions.misconceptions(n)).name}" for n in wrong}
    return dict.fromkeys(names, "stub")


def is_right(index: int) -> bool:
    """Whether student number ``index`` deserves full marks."""
    return index % 10 < 6


def student(index: int) -> str:
    """The name of student number ``index``; names sort as their numbers do."""
    return f"student-{index:04d}"


@cache
def notebook(pattern: int) -> NotebookNode:
    """What the students of one pattern hand in."""
    return solved(answers(pattern))


def answer_cells(index: int) -> dict[str, str]:
    """The text of student number ``index``'s answer cells, by grade_id."""
    return {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in notebook(index % PATTERNS).cells
        if cell.metadata.nbgrader.solution
    }


def hand_in(folder: Path, count: int, make=lambda index: notebook(index % PATTERNS)) -> list[Path]:
    """Write the submissions of ``count`` students into a course folder; ``make`` makes each."""
    paths = []
    for index in range(count):
        path = folder / "submitted" / student(index) / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(make(index), path)
        paths.append(path)
    return paths
