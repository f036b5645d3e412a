"""A run that is killed again and again ends as one that was left alone: ``python -m
tests.grading.killing --copies 300 --kills 3`` grades a class twice and compares all there is."""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "class"))

import classroom
import members

from grading.course import ROOT
from grading.runner import Course

from .rows import rows_of

KINDS = ("perfect", "nearly", "mistaken", "helper", "hollow", "deleter", "otherwise", "absent")
SECRET = "a secret of the tests"


@dataclass(frozen=True)
class Outcome:
    """What came of it. left: submissions recorded before the last kill, and not run again."""

    copies: int
    kills: int
    left: int
    rows: dict[str, int]
    notebooks: int


def build(folder: Path, copies: int) -> Course:
    """A course folder with that many submissions, of several kinds."""
    folder.mkdir(parents=True)
    made = {m.name: m for m in members.MEMBERS if m.name in KINDS}
    firsts = [replace(made[kind], name=f"copy {n:04d}") for n, kind in enumerate(KINDS)]
    classroom.build(folder, firsts[:copies], cell=60.0)
    submitted = folder / "submitted"
    for number in range(len(KINDS), copies):
        kind = submitted / f"copy {number % len(KINDS):04d}"
        shutil.copytree(kind, submitted / f"copy {number:04d}")
    return Course(folder)


def command(course: Course, *words: str) -> list[str]:
    """The command line that grades the class."""
    words = ("grade", members.ASSIGNMENT, "--course", str(course.folder), *words)
    return [sys.executable, "-m", "grading", *words]


def environment() -> dict[str, str]:
    """The tests' environment, with a secret of its own."""
    return {**os.environ, "COURSE_SECRET": SECRET}


def done(course: Course) -> dict[Path, int]:
    """{autograded notebook: when it was written} so far."""
    return {p: p.stat().st_mtime_ns for p in course.folder.glob("autograded/*/*/*.ipynb")}


def kill_at_random(course: Course, chance: random.Random, more: int, *words: str) -> set[Path]:
    """Start the command, kill it when about ``more`` others are done; what was done by then.

    Raises AssertionError if any of its processes outlives it.
    """
    before = len(done(course))
    process = subprocess.Popen(
        command(course, *words), cwd=ROOT, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while len(done(course)) < before + more and process.poll() is None:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 0.5))
    assert process.poll() is None, "the command ended before it was killed"
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "there were no workers"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive, f"outlived the command: {alive}"
    return set(done(course))


def compare(folder: Path, copies: int, kills: int, seed: int, *words: str) -> Outcome:
    """Grade the class twice, once killed that often. Raises AssertionError where they differ."""
    chance = random.Random(seed)
    calm, killed = build(folder / "calm", copies), build(folder / "killed", 1)
    for part in ("source", "submitted"):
        shutil.rmtree(killed.folder / part)
        shutil.copytree(calm.folder / part, killed.folder / part)
    subprocess.run(
        command(calm, *words), cwd=ROOT, env=environment(), check=True, capture_output=True
    )
    for _ in range(kills):
        reached = kill_at_random(killed, chance, copies // (kills + 2), *words)
    times = done(killed)
    subprocess.run(
        command(killed, *words), cwd=ROOT, env=environment(), check=True, capture_output=True
    )
    # Of what was on disk, the very last may have been waiting for the gradebook.
    again = {path for path in reached if done(killed)[path] != times[path]}
    assert len(again) <= 1, again
    one, other = rows_of(calm), rows_of(killed)
    for table, rows in one.items():
        assert rows == other[table], f"{table} differs"
        assert len(rows) >= copies, f"{table} has {len(rows)} rows only"
    notebooks = 0
    for path in sorted(calm.folder.glob("autograded/*/*/*.ipynb")):
        same = killed.folder / path.relative_to(calm.folder)
        assert path.read_bytes() == same.read_bytes(), path
        notebooks += 1
    assert notebooks == copies
    counts = {table: len(rows) for table, rows in one.items()}
    return Outcome(copies, kills, len(reached) - len(again), counts, notebooks)


def main() -> int:
    """Run it from the command line, and print what was compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as folder:
        print(compare(Path(folder), chosen.copies, chosen.kills, chosen.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
