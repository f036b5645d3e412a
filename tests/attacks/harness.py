"""A class of attackers among honest neighbours: made, graded, and looked at afterwards.

Each part of the class is a course folder of its own, graded by one worker in a process of its own,
``python -m tests.attacks.harness FOLDER``, with a temporary and a home folder that hold nothing
else, so that whatever is left over can be seen.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from bench.memory import high_water
from grading.answers import ASSIGNMENT, solved
from grading.course import ROOT
from grading.engine import Processes
from grading.runner import Course

from .attack import words
from .families import ATTACKS, rounds

from classroom import build  # isort: skip
from members import MEMBERS, MOST  # isort: skip

PARTS = 2
SECRET = "secret-of-the-attacks-95a1"
KIND = {m.name: m for m in MEMBERS if m.name in ("perfect", "nearly", "unsolved")}
NEIGHBOUR = "neighbour-4c07"  # in the name of each of them
OWN_CODE = "neighbours-own-code-61d2"  # in the notebook of each of them
SOLUTION = "solution-of-the-course-b83e"  # in the solutions of the course's folder
AT_HOME = "kept-at-home-0f66"  # in files of the grader's home
CANARIES = (SECRET, NEIGHBOUR, OWN_CODE, SOLUTION, AT_HOME)
# Seconds: for a cell, and for the cells of a submission.
CELL, TOTAL = 4.0, 16.0
SETTINGS = f"""
c.Run.grace = 1.0
c.Run.total = {TOTAL}
"""


@dataclass(frozen=True)
class Part:
    """A part of the class: where it is, and who hands in, in order."""

    folder: Path
    names: list[str]

    @property
    def course(self) -> Path:
        return self.folder / "course"

    @property
    def attacks(self) -> list[str]:
        return [name for name in self.names if name in ATTACKS]

    @property
    def neighbours(self) -> list[str]:
        return [name for name in self.names if name not in ATTACKS]

    def beside(self, attack: str) -> tuple[str, str]:
        """The neighbours graded last before an attack and first after it."""
        at = self.names.index(attack)
        before = [name for name in self.names[:at] if name not in ATTACKS][-1]
        after = next(name for name in self.names[at:] if name not in ATTACKS)
        return before, after

    def given(self, attack: str) -> Path:
        """What an attack's notebook was before it was made into something else."""
        return self.folder / "given" / f"{self.names.index(attack)}.ipynb"

    def mark(self, attack: str) -> str:
        """A word for what an attack leaves behind, found nowhere else on the machine."""
        return f"left-{(self.folder / 'mark').read_text()}-{[*ATTACKS].index(attack):03}"


@dataclass(frozen=True)
class Run:
    """What came of grading a part.

    scores: by student. rows: the gradebook's that changed, of who was not graded in this run.
    seconds: of the whole run. memory: the most that one process of the grader held, in bytes.
    left: what is left on this machine.
    """

    part: Part
    scores: dict[str, dict]
    rows: dict[str, list]
    seconds: float
    memory: int
    left: list[str]

    def page(self, student: str) -> str:
        """The feedback page of a student."""
        folder = self.part.course / "feedback" / student / ASSIGNMENT
        return (folder / f"{ASSIGNMENT}.html").read_text(encoding="utf-8", errors="replace")

    def autograded(self, student: str) -> Path:
        """The autograded notebook of a student."""
        folder = self.part.course / "autograded" / student / ASSIGNMENT
        return folder / f"{ASSIGNMENT}.ipynb"

    def points(self, attack: str) -> dict[str, float]:
        """What an attack got, by exercise."""
        found = self.scores[attack]["exercises"]
        return {name: found.get(name, 0) for name in MOST}


def kind_of(neighbour: str) -> str:
    """Which of the honest members a neighbour is."""
    return neighbour.split("-")[1]


def parts(folder: Path, only: set[str] | None = None) -> list[Part]:
    """The class in PARTS parts of like work: neighbour, attacks, neighbour, attacks, … ."""
    groups = [[n for n in names if only is None or n in only] for names in rounds()]
    groups = [names for names in groups if names]
    found = []
    for number in range(PARTS):
        names = []
        for place, group in enumerate(groups[number::PARTS]):
            names += [_neighbour(number, place), *group]
        names.append(_neighbour(number, len(groups)))
        found.append(Part(folder / str(number), names))
    return [part for part in found if part.attacks]


def _neighbour(part: int, place: int) -> str:
    kind = list(KIND)[place % len(KIND)]
    return f"{part}{place:03}-{kind}-{NEIGHBOUR}"


# Making


def make(part: Part) -> None:
    """The course's folder, with what the first run grades: bystanders and earlier submissions."""
    part.folder.mkdir(parents=True)
    (part.folder / "mark").write_text(uuid.uuid4().hex[:12])
    for name in ("course", "home", "tmp"):
        (part.folder / name).mkdir()
    build(part.course, [], cell=CELL)
    with (part.course / "nbgrader_config.py").open("a", encoding="utf-8") as file:
        file.write(SETTINGS)
    (part.course / ".course-secret").write_text(SECRET)
    for name in (".netrc", ".bash_history", "notes.txt"):
        (part.folder / "home" / name).write_text(f"{AT_HOME}\n")
    source = part.course / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("### BEGIN SOLUTION", f"### BEGIN SOLUTION\\n# {SOLUTION}"))
    for kind in KIND:
        hand_in(part, f"bystander-{kind}-{NEIGHBOUR}", honest(kind))
    for name in part.attacks:
        if ATTACKS[name].again:
            hand_in(part, name, honest("perfect"))


def honest(kind: str) -> NotebookNode:
    """What a neighbour hands in."""
    notebook = solved(KIND[kind].answers)
    notebook.cells.append(new_code_cell(f"# {OWN_CODE}"))
    return notebook


def hand_in(part: Part, student: str, notebook: NotebookNode) -> Path:
    """Write a submission in place of an earlier one; the notebook's path."""
    folder = part.course / "submitted" / student / ASSIGNMENT
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    path = folder / f"{ASSIGNMENT}.ipynb"
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


def hand_in_all(part: Part) -> None:
    """Write the submissions of everybody of the part; given/ keeps the attacks' notebooks."""
    (part.folder / "given").mkdir()
    for name in part.names:
        if name not in ATTACKS:
            hand_in(part, name, honest(kind_of(name)))
            continue
        attack = ATTACKS[name]
        found = words(part.course, ROOT, part.folder / "home", part.mark(name))
        path = hand_in(part, name, attack.notebook(found))
        shutil.copy(path, part.given(name))
        if attack.files:
            attack.files(path)


# Grading, in a process of its own


def grade(part: Part) -> None:
    """Grade twice, bystanders first; write what came of it to result.json."""
    course = Course(part.course)
    list(course.grade(ASSIGNMENT, engine=Processes(1)))
    hand_in_all(part)
    began, scores, most = time.monotonic(), {}, 0
    before = _rows(course, part)
    for score in course.grade(ASSIGNMENT, part.names, engine=Processes(1)):
        scores[score.student] = {
            "state": score.state.label,
            "exercises": score.exercises,
            "total": score.total,
            "seconds": score.seconds,
        }
        most = max(most, *_held())
    seconds = time.monotonic() - began
    changed = {name: row for name, row in _rows(course, part).items() if row != before[name]}
    for neighbour in part.neighbours[1:]:  # one of their pages is enough, and a page takes time
        shutil.rmtree(part.course / "autograded" / neighbour)
    course.feedback(ASSIGNMENT)
    result = {"scores": scores, "rows": changed, "seconds": seconds, "memory": most}
    (part.folder / "result.json").write_text(json.dumps(result))


def _held() -> tuple[int, int]:
    """The most that this process ever held, and its worker, in bytes. Raises ValueError."""
    this = psutil.Process()
    (server,) = (child for child in this.children() if "forkserver" in " ".join(child.cmdline()))
    (worker,) = server.children()
    return high_water(this), high_water(worker)


def _rows(course: Course, part: Part) -> dict[str, list]:
    """The gradebook's rows of everybody who is not graded in this run."""
    with course.gradebook() as gradebook:
        return {
            submission.student_id: [
                [g.name, g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade]
                for notebook in submission.notebooks
                for g in sorted(notebook.grades, key=lambda g: g.name)
            ]
            for submission in gradebook.assignment_submissions(ASSIGNMENT)
            if submission.student_id not in part.names
        }


# Looking on, from outside


def run(part: Part, timeout: float = 900) -> Run:
    """Make and grade a part of the class. Raises RuntimeError, TimeoutExpired."""
    make(part)
    environment = os.environ | {
        "COURSE_SECRET": SECRET,
        "HOME": str(part.folder / "home"),
        "TMPDIR": str(part.folder / "tmp"),
    }
    names = json.dumps(part.names)
    with (part.folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.harness", str(part.folder), names],
            cwd=ROOT, env=environment, start_new_session=True, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
    if code:
        raise RuntimeError((part.folder / "log").read_text()[-5000:])
    result = json.loads((part.folder / "result.json").read_text())
    return Run(part, **result, left=_in_the_end(lambda: left_behind(part, process.pid)))


def _in_the_end(look, seconds: float = 5.0) -> list[str]:
    """What ``look()`` still finds when what was told to end has had time to."""
    deadline = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def run_all(folder: Path, only: set[str] | None = None) -> list[Run]:
    """Grade all parts at once."""
    found = parts(folder, only)
    runs: list[Run | Exception] = [None] * len(found)

    def work(number: int) -> None:
        try:
            runs[number] = run(found[number])
        except Exception as error:
            runs[number] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in runs:
        if isinstance(one, Exception):
            raise one
    return runs


def left_behind(part: Part, session: int) -> list[str]:
    """What a part has left on this machine: processes, files, sockets, shared memory."""
    mark = (part.folder / "mark").read_text()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
            its_session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, IndexError):
            continue
        if its_session == session or mark in line or str(part.folder) in line:
            found.append(f"process {line[:200]}")
    found += [f"file {p}" for p in sorted((part.folder / "tmp").iterdir())]
    found += [
        f"file {p}"
        for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/dev/mqueue", "/")
        if Path(folder).is_dir()
        for p in Path(folder).iterdir()
        if mark in p.name or "answers-of-a-friend" in p.name or p.name == "friend"
    ]
    sockets = Path("/proc/net/unix").read_text()
    names = mark, str(part.folder), "answers-of-a-friend"
    found += [f"socket {name}" for name in names if name in sockets]
    for kind in ("shm", "sem", "msg"):
        table = Path("/proc/sysvipc", kind).read_text().splitlines()[1:]
        found += [f"{kind} {line}" for line in table if int(line.split()[0]) == 0x41545443]
    return found


if __name__ == "__main__":
    where_to, who = sys.argv[1:]
    grade(Part(Path(where_to), json.loads(who)))
