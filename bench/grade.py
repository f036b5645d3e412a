"""(a) Grading a class of assignment 03: stock nbgrader, otter-grader, ours, and the limit."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook

from grading import kernels
from grading.answers import ASSIGNMENT
from grading.course import ROOT

from . import classes, stock, venv
from .measure import BenchError, Contender, run, run_together

SECRET = "the benchmarks' own"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def environment() -> dict[str, str]:
    """What our commands run in: a secret of the benchmarks', not the course's."""
    return stock.environment() | {"COURSE_SECRET": SECRET}


def build(folder: Path, size: int) -> Path:
    """Make a course of ours with ``size`` submissions."""
    shutil.copytree(ROOT / "source" / ASSIGNMENT, folder / "source" / ASSIGNMENT)
    settings = classes.SETTINGS.format(root=str(ROOT), folder=str(folder))
    (folder / "nbgrader_config.py").write_text(settings, encoding="utf-8")
    classes.hand_in(folder, size)
    return folder


def command(folder: Path, workers: int) -> list[str]:
    """Our command for a whole class; without isolation where this machine has none."""
    words = [sys.executable, "-m", "grading", "grade", ASSIGNMENT, "--course", str(folder)]
    words += ["--workers", str(workers)]
    return words if kernels.isolation().isolated else [*words, "--no-isolation"]


def verify(points: dict[str, float], size: int) -> str:
    """What a grader did, in a few words. Raises BenchError unless it graded as it should."""
    if len(points) != size:
        raise BenchError(f"{len(points)} of {size} submissions were graded")
    for index in range(size):
        found, right = points[classes.student(index)], classes.is_right(index)
        if right != (found == classes.POINTS) or (index % 10 == 9 and found):
            raise BenchError(f"{classes.student(index)} has {found} of {classes.POINTS} points")
    full = sum(value == classes.POINTS for value in points.values())
    return f"{len(points)} graded, {full} with full marks, {sum(points.values()):g} points"


def points_of(folder: Path) -> dict[str, float]:
    """The scores in the CSV of a course that was graded by our command."""
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}


def ours(folder: Path, size: int, workers: int) -> tuple[float, str]:
    """Grade a fresh course of ours with ``workers`` processes: (seconds, what was done)."""
    seconds = run(command(folder, workers), ROOT, environment()).seconds
    return seconds, verify(points_of(folder), size)


def _stock(folder: Path, size: int) -> tuple[float, str]:
    words = stock.nbgrader("autograde", ASSIGNMENT)
    seconds = run(words, folder, stock.environment()).seconds
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as gradebook:
        found = {s.student.id: s.score for s in gradebook.assignment_submissions(ASSIGNMENT)}
    return seconds, verify(found, size)


def _otter(folder: Path, size: int) -> tuple[float, str]:
    notebooks = sorted((folder / "submitted").iterdir())
    words = [venv.python(), Path(__file__).with_name("run_otter.py"), folder / "autograder.zip"]
    ran = run([*words, *notebooks], folder, stock.environment())
    return ran.seconds, verify(json.loads(ran.text.strip().splitlines()[-1]), size)


def limit(notebooks: list[Path], processes: int, **variables: str) -> tuple[float, str]:
    """Execute all cells with `bench.limit`: (seconds, what was done).

    Raises BenchError if a cell was left out.
    """
    words, cells = [sys.executable, "-m", "bench.limit"], code_cells(notebooks)
    parts = [[*words, *map(str, notebooks[i::processes])] for i in range(processes)]
    # One thread each, as in our kernels: more only get into each other's way.
    env = stock.environment() | {"OMP_NUM_THREADS": "1"} | variables
    ran = run_together(parts, ROOT, env)
    done = [json.loads(line) for line in ran.text.splitlines() if line.startswith('{"cells"')]
    found = sum(part["cells"] for part in done)
    if not cells or found != cells:
        raise BenchError(f"{found} of {cells} cells were executed")
    return (
        ran.seconds,
        f"{found} cells executed, {sum(part['errors'] for part in done)} ended in an error",
    )


def code_cells(notebooks: list[Path]) -> int:
    """How many code cells these notebooks have."""
    found = [nbformat.read(path, as_version=4).cells for path in notebooks]
    return sum(cell.cell_type == "code" for cells in found for cell in cells)


def contenders(folder: Path, size: int, rounds: int, slow_rounds: int) -> list[Contender]:
    """All ways to grade the class, their courses made in ``folder``."""
    templates = {"stock": stock.build, "otter": stock.build_otter, "ours": build}
    for name, make in templates.items():
        make(folder / name, size)
    notebooks = sorted((folder / "ours" / "submitted").rglob("*.ipynb"))
    number = count()

    def fresh(kind: str, once: Callable, *arguments) -> Callable[[], tuple[float, str]]:
        def timed():
            copy = folder / f"{kind}-{next(number)}"
            shutil.copytree(folder / kind, copy)
            settings = copy / "nbgrader_config.py"
            if kind == "ours":
                text = classes.SETTINGS.format(root=str(ROOT), folder=str(copy))
                settings.write_text(text, encoding="utf-8")
            with removed(copy):
                return once(copy, size, *arguments)

        return timed

    return [
        Contender("nbgrader autograde（原版）", "stock nbgrader autograde",
                  fresh("stock", _stock), slow_rounds),
        Contender("otter-grader（不用容器）", "otter-grader, no containers",
                  fresh("otter", _otter), 1),
        Contender("本课程，1 个核", "ours, on 1 core", fresh("ours", ours, 1), rounds),
        Contender(f"本课程，{CORES} 个核", f"ours, on {CORES} cores",
                  fresh("ours", ours, CORES), rounds),
        Contender("极限，1 个进程", "the limit, 1 process",
                  lambda: limit(notebooks, 1, TUTOR_SEED="of the limit"), rounds),
        Contender(f"极限，{CORES} 个进程", f"the limit, {CORES} processes",
                  lambda: limit(notebooks, CORES, TUTOR_SEED="of the limit"), rounds),
    ]  # fmt: skip


@contextmanager
def removed(folder: Path) -> Iterator[None]:
    """Remove a folder afterwards."""
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
