"""(b) Replaying the whole course: stock nbval, nbmake, ours, and the limit."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from grading.course import ROOT, course_notebooks

from . import stock, venv
from .grade import CORES, code_cells, limit
from .measure import BenchError, Contender, run

PLAIN = ["-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider", "-q", "--color=no"]
FAILED = 1  # pytest's exit code when something it ran is not as stored


def pytest_counts(text: str) -> dict[str, int]:
    """{"passed": …, "failed": …} of pytest's closing line."""
    closing = [line for line in text.splitlines() if re.search(r"\d+ (passed|failed).* in ", line)]
    found = re.findall(r"(\d+) (passed|failed|skipped|errors?)", closing[-1] if closing else "")
    return {kind: int(number) for number, kind in found}


def with_pytest(
    python: Callable[[], Path | str], options: list[str], items: int, what: str
) -> Callable[[], tuple[float, str]]:
    """A contender that is a plugin of pytest, and must run ``items`` items over all notebooks."""

    def once() -> tuple[float, str]:
        words = [python(), "-m", "pytest", *PLAIN, *options, *course_notebooks()]
        ran = run(words, ROOT, stock.environment(), codes=(0, FAILED))
        counts = pytest_counts(ran.text)
        if sum(counts.values()) != items:
            raise BenchError(f"{counts or 'nothing'} of {items} {what}:\n{ran.text[-500:]}")
        return ran.seconds, ", ".join(f"{n} {what} {kind}" for kind, n in counts.items())

    return once


def ours(*options: str) -> Callable[[], tuple[float, str]]:
    """Our command over the same notebooks; with no path, as `make replay` runs it."""

    def once() -> tuple[float, str]:
        ran = run([sys.executable, "-m", "grading", "replay", *options], ROOT, stock.environment())
        compared = re.search(r"replay compared (\d+) of (\d+) notebooks.*", ran.text)
        if not compared or compared[1] != compared[2] or compared[1] != str(len(paths())):
            raise BenchError(f"not all was compared:\n{ran.text[-500:]}")
        return ran.seconds, compared[0].removeprefix("replay ")

    return once


def paths() -> list[str]:
    """The notebooks that are replayed."""
    return [str(path) for path in course_notebooks()]


def contenders(rounds: int, slow_rounds: int) -> list[Contender]:
    """All ways to replay the course."""
    notebooks = course_notebooks()
    cells = code_cells(notebooks)
    nbval, side_by_side = ["--nbval"], ["-n", str(CORES), "--dist", "loadscope"]

    def course() -> str:
        return sys.executable

    return [
        Contender("pytest --nbval（原版）", "stock pytest --nbval",
                  with_pytest(course, nbval, cells, "cells"), slow_rounds),
        Contender(f"pytest --nbval -n {CORES}（xdist）", f"pytest --nbval -n {CORES} (xdist)",
                  with_pytest(course, [*nbval, *side_by_side], cells, "cells"), 1),
        Contender("pytest --nbmake（只执行）", "pytest --nbmake (executes only)",
                  with_pytest(venv.python, ["--nbmake"], len(notebooks), "notebooks"), 1),
        Contender("本课程，冷内核", "ours, cold kernels", ours("--cold", *paths()), 1),
        Contender("本课程，热内核", "ours, warm kernels", ours(*paths()), rounds),
        Contender("make replay（另加发布版）", "make replay (the releases as well)",
                  ours(), 1),
        Contender("极限，1 个进程", "the limit, 1 process",
                  lambda: limit(notebooks, 1), rounds),
        Contender(f"极限，{CORES} 个进程", f"the limit, {CORES} processes",
                  lambda: limit(notebooks, CORES), rounds),
    ]  # fmt: skip
