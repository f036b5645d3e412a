"""The students' version: its stubs, what may not leak into it, and nbgrader's exchange."""

import ast
import builtins
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from classroom import ASSIGNMENT, solved
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from typer.testing import CliRunner

from grading import leaks, release
from grading.__main__ import app
from grading.course import ROOT, read_source
from grading.key import Reference
from grading.misconceptions import alternatives, misconceptions
from grading.rebuild import grade_id, is_answer, is_check
from grading.release import PREPROCESSORS, released
from grading.runner import Course
from grading.seeds import seed_for
from tutor import keys
from tutor.evidence import MIME

pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")


def cell_of(notebook, name):
    (cell,) = [c for c in notebook.cells if grade_id(c) == name]
    return cell


def test_the_released_notebook():
    source, made = read_source(ASSIGNMENT), released(ASSIGNMENT)
    assert [grade_id(c) for c in made.cells] == [grade_id(c) for c in source.cells]
    stubs, checks, locked = 0, 0, 0
    for old, new in zip(source.cells, made.cells, strict=True):
        assert not new.get("outputs")
        assert new.id == old.id
        if is_answer(new):
            name = grade_id(new)
            assert new.source.endswith(
                f'raise NotImplementedError("{name}：请把这一行换成你的解答 / '
                f'{name}: replace this line with your solution")'
            )
            assert '"""' in new.source and "SOLUTION" not in new.source
            assert new.metadata.get("editable", True) and not new.metadata.deletable
            stubs += 1
        else:
            assert new.source == old.source and not new.metadata.editable
            checks += is_check(new)
            locked += 1
    assert (stubs, checks) == (6, 6) and locked > 12
    nbformat.validate(made)


def test_the_settings_name_the_same_preprocessors(make_course):
    course = make_course()
    assert course.config.GenerateAssignment.preprocessors == PREPROCESSORS


# What may not leak


@pytest.fixture(scope="module")
def students_version(tmp_path_factory, secret):
    """A copy of all that students get: release/, notebooks/, tutor/."""
    root = tmp_path_factory.mktemp("students")
    for name in leaks.GIVEN_OUT:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = root / "release" / ASSIGNMENT
    folder.mkdir(parents=True)
    nbformat.write(released(ASSIGNMENT), folder / f"{ASSIGNMENT}.ipynb")
    return root


def faults(root: Path) -> list[str]:
    """What leaks from the version in ``root``; the answers are this checkout's."""
    files = sorted(
        p for name in (*leaks.GIVEN_OUT, "release") for p in (root / name).rglob("*.*")
        if p.is_file()
    )  # fmt: skip
    found, looked = leaks.code_faults(ASSIGNMENT, files)
    more, also = leaks.secret_faults(files)
    assert looked["texts"] > 100 and looked["lines"] > 100 and also["keys"] >= 1
    return found + more


@pytest.fixture
def planted(students_version):
    """planted(path, change): what leaks once a file of the version is changed (put back after)."""
    changed = []

    def plant(name: str, change) -> list[str]:
        path = students_version / name
        before = path.read_text("utf-8") if path.exists() else None
        changed.append((path, before))
        if name.endswith(".ipynb"):
            notebook = nbformat.reads(before, as_version=4)
            change(notebook)
            path.write_text(nbformat.writes(notebook), "utf-8")
        else:
            path.write_text(change(before), "utf-8")
        return faults(students_version)

    yield plant
    for path, before in changed:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")


RELEASE = f"release/{ASSIGNMENT}/{ASSIGNMENT}.ipynb"
LESSON = f"notebooks/{ASSIGNMENT}.ipynb"
CODE = read_source(ASSIGNMENT)
SOLUTION = cell_of(CODE, "vjp").source


class Rename(ast.NodeTransformer):
    """Every variable of a function under another name."""

    def __init__(self, function):
        names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)} - {"torch"}
        names |= {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
        self.names = {name: f"mine_{name}" for name in names - set(dir(builtins))}

    def visit_Name(self, node):
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node):
        return ast.arg(self.names[node.arg])


FUNCTION = ast.parse(SOLUTION).body[-1]
del FUNCTION.body[0]  # the docstring is the students' too
LINES = leaks.Answer("vjp", tuple(FUNCTION.body)).lines.values()
LINE = max((line for line in LINES if "grad(" in line), key=len)
WIDE = LINE.replace("(", "( ").replace(", ", " ,\n    ").replace("=", " =\n    ")
RENAMED = ast.unparse(Rename(FUNCTION).visit(FUNCTION))


def body_of(name: str, among) -> str:
    """A known answer's code, its function under another name."""
    (found,) = [kind.answer for kind in among if kind.name == name]
    code = inspect.getsource(found)
    return code[code.index("def ") :].replace(f"def {name}(", "def attempt(")


def add_code(text):
    return lambda notebook: notebook.cells.append(new_code_cell(text))


def add_prose(text):
    return lambda notebook: notebook.cells.append(new_markdown_cell(text))


def append(text):
    return lambda before: before + "\n\n" + text


PLANTS = {
    "an unsolved cell left solved": (
        RELEASE,
        lambda nb: cell_of(nb, "vjp").update(source=cell_of(CODE, "vjp").source),
    ),
    "one line of a solution": (RELEASE, add_code(LINE)),
    "the same with other spaces": (RELEASE, add_code(WIDE)),
    "in a help text": (RELEASE, add_prose(f"<details>\n\n`{LINE}`\n\n</details>")),
    "in a lesson": (LESSON, add_code(LINE)),
    "with other names": (LESSON, add_code(RENAMED)),
    "in an output": (
        LESSON,
        lambda nb: nb.cells[0].outputs.append(new_output("stream", text=f"{LINE}\n")),
    ),
    "in metadata": (RELEASE, lambda nb: nb.metadata.update(hint={"text": LINE})),
    "a solution in tutor": ("tutor/probes/vjp.py", append(RENAMED)),
    "a solution in a new file": ("tutor/answers.txt", lambda _: LINE),
    "a misconception in a lesson": (
        LESSON,
        add_code(body_of("backward_and_read", misconceptions("vjp_multi"))),
    ),
    "an alternative in tutor": (
        "tutor/table.py",
        append(body_of("borrowed_grad", alternatives("vjp_multi"))),
    ),
}


def test_as_it_is_nothing_leaks(students_version):
    assert faults(students_version) == []


@pytest.mark.parametrize("name", PLANTS)
def test_planted_code_is_found(planted, name):
    found = planted(*PLANTS[name])
    assert found, name
    assert all("(" in fault or ":" in fault for fault in found)


def test_what_the_question_quotes_is_no_secret_but_half_an_answer_is():
    right = leaks.Answer("vjp", tuple(FUNCTION.body))
    wrong = leaks.Answer("vjp", tuple(FUNCTION.body), wrong=True)
    lines = list(right.lines)
    assert len(lines) > 2
    for answer in (right, wrong):
        assert set(answer.secret_lines("")) == set(lines)
        assert set(answer.secret_lines(lines[0])) == set(lines[1:])
    assert set(right.secret_lines("".join(lines))) == set(lines)
    assert not wrong.secret_lines("".join(lines))


def test_harmless_code_is_no_leak(planted):
    harmless = "y = f(x)\nfor k in range(3):\n    x = x.detach()\nreturn_value = torch.ones(3)"
    assert planted(LESSON, add_code(harmless)) == []


def secret_key(text: str) -> str:
    """A file of keys whose first exercise has the key of a student's seed."""
    data = json.loads(text)
    data["exercises"]["vjp"]["key"] = Reference(ASSIGNMENT).key("vjp", seed_for(ASSIGNMENT, "ann"))
    return json.dumps(data)


SECRETS = {
    "a key of a secret seed": (f"tutor/keys/{ASSIGNMENT}.json", secret_key),
    "a file of keys more": ("tutor/keys/04-secret.json", lambda _: '{"seed": "0123"}'),
    "another seed's name": (
        f"tutor/keys/{ASSIGNMENT}.json",
        lambda text: text.replace(f'"seed":"{keys.PUBLIC_SEED}"', '"seed":"0123"'),
    ),
    "an answer among the keys": (
        f"tutor/keys/{ASSIGNMENT}.json",
        lambda text: json.dumps({**json.loads(text), "answers": ["x"]}),
    ),
    "the secret itself": ("tutor/keys/__init__.py", append("# a secret of the tests")),
    "evidence": (
        RELEASE,
        lambda nb: nb.cells[0].outputs.append(new_output("display_data", data={MIME: "{}"})),
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_planted_secrets_are_found(planted, name):
    assert planted(*SECRETS[name]), name


def test_make_release_fails_and_removes_what_it_made(make_course, monkeypatch):
    course = make_course()

    class Leaky(release.NamedStubs):
        def preprocess_cell(self, cell, resources, cell_index):
            if grade_id(cell) == "jac_rows":
                return cell, resources
            return super().preprocess_cell(cell, resources, cell_index)

    done = CliRunner().invoke(app, ["release", ASSIGNMENT, "--course", str(course.folder)])
    assert done.exit_code == 0, done.output
    path = course.folder / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    assert path.exists() and "0 leaks" in done.output
    monkeypatch.setattr(release, "NamedStubs", Leaky)
    done = CliRunner().invoke(app, ["release", ASSIGNMENT, "--course", str(course.folder)])
    assert done.exit_code == 1
    assert not path.parent.exists()
    assert "jac_rows: solution" in done.output and "jac_rows: no stub" in done.output


def test_looking_at_nothing_is_a_fault(tmp_path, secret):
    folder = tmp_path / "release" / ASSIGNMENT
    folder.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(), folder / f"{ASSIGNMENT}.ipynb")
    (tmp_path / "source").symlink_to(ROOT / "source")
    found, _ = leaks.faults_of(folder, ASSIGNMENT, tmp_path)
    assert "no keys were looked at" in found and "no stubs were looked at" in found


# The exchange


def nbgrader(folder: Path, *words: str, check=True, **environment) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *words],
        cwd=folder, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done


def test_the_exchange_from_release_to_score(make_course, tmp_path):
    course = make_course()
    exchange, home = tmp_path / "exchange", tmp_path / "student"
    exchange.mkdir(mode=0o777)
    exchange.chmod(0o777)
    home.mkdir()
    there = f"--Exchange.root={exchange}"
    data = {"JUPYTER_DATA_DIR": str(tmp_path / "data")}
    for folder in (home, course.folder):
        cache = f"c.Exchange.cache = {str(tmp_path / 'cache' / folder.name)!r}\n"
        with (folder / "nbgrader_config.py").open("a") as file:
            file.write("c = get_config()\n" * (folder == home) + cache)
    with (home / "nbgrader_config.py").open("a") as file:
        file.write("c.ExchangeSubmit.strict = True\n")
    nbgrader(course.folder, "generate_assignment", ASSIGNMENT)
    nbgrader(course.folder, "release_assignment", ASSIGNMENT, there, **data)
    nbgrader(home, "fetch_assignment", ASSIGNMENT, "--course=autograd", there, **data)
    path = home / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    assert [c.source for c in nbformat.read(path, as_version=4).cells] == [
        c.source for c in released(ASSIGNMENT).cells
    ]
    submit = ["submit", ASSIGNMENT, "--course=autograd", "--student=ann", there]
    misnamed = path.with_name("mine.ipynb")
    path.rename(misnamed)
    refused = nbgrader(home, *submit, check=False, **data)
    assert refused.returncode != 0 and "missing notebooks" in refused.stderr
    misnamed.rename(path)
    answers = dict.fromkeys(["jac_rows"], "def jac_rows(f, x, rows):\n    return None")
    nbformat.write(solved(answers), path)
    nbgrader(home, *submit, **data)
    nbgrader(course.folder, "collect", ASSIGNMENT, there, **data)
    collected = course.folder / "submitted" / "ann" / ASSIGNMENT
    assert {p.name for p in collected.iterdir()} >= {f"{ASSIGNMENT}.ipynb", "timestamp.txt"}
    course = Course(course.folder)
    (score,) = course.grade(ASSIGNMENT)
    assert (score.student, score.total, score.exercises["jac_rows"]) == ("ann", 17, 0)
    with course.gradebook() as gradebook:
        assert gradebook.find_submission(ASSIGNMENT, "ann").timestamp is not None
    # A later, worse one: nbgrader's own command sees by its timestamp that it is newer.
    nbformat.write(solved(answers | {"vjp": ""}), path)
    nbgrader(home, *submit, **data)
    nbgrader(course.folder, "collect", ASSIGNMENT, "--update", there, **data)
    nbgrader(course.folder, "autograde", ASSIGNMENT)
    with course.gradebook() as gradebook:
        assert gradebook.find_submission(ASSIGNMENT, "ann").score == 13
