"""`make release`: make the students' version of an assignment and prove that it holds no answer.

What students get is release/, notebooks/ and tutor/. None may hold code of a solution, of a
misconception or of an alternative: no telling line of it, however it is spaced, and no whole body,
however its variables are called. Nor may they hold anything made under a secret seed.
"""

import ast
import inspect
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

import nbformat
from nbgrader.converters import GenerateAssignment

from tutor.evidence import MIME

from .course import ROOT, assignments, read_source
from .keys import agree, public_keys
from .misconceptions import alternatives, misconceptions, rounding
from .rebuild import grade_id, is_answer
from .release import stub_message
from .seeds import course_secret

GIVEN_OUT = ("notebooks", "tutor")
# What a line or a body must have to give something away: `y = f(x)` is in every notebook.
TELLING_LENGTH = 24
TELLING_NODES = 25


@dataclass(frozen=True)
class Answer:
    """Code that students must not get: the body of a function, without its docstring.

    wrong: whether it is a misconception.
    """

    name: str
    body: tuple[ast.stmt, ...]
    wrong: bool = False

    @cached_property
    def lines(self) -> dict[str, str]:
        """{line without spacing: line} for every line that tells something."""
        heads = [ast.unparse(node).split("\n")[0] for node in _statements(self.body)]
        return {s: line for line in heads if len(s := squeezed(line)) >= TELLING_LENGTH}

    def secret_lines(self, question: str) -> dict[str, str]:
        """The lines but those that the question quotes, as it may quote a mistake or an idiom.

        Where it shows half of a right answer or more, all of its lines count.
        """
        secret = {short: line for short, line in self.lines.items() if short not in question}
        return secret if self.wrong or 2 * len(secret) > len(self.lines) else self.lines

    @cached_property
    def shape(self) -> str | None:
        """The body whatever its names are; None if it is too small to tell anything."""
        nodes = sum(1 for node in self.body for _ in ast.walk(node))
        return shape(self.body) if nodes >= TELLING_NODES else None


def answers(assignment: str, root: Path = ROOT) -> list[Answer]:
    """All answers to an assignment's exercises that the instructor's side knows."""
    found = []
    for cell in read_source(assignment, root).cells:
        if is_answer(cell):
            name = grade_id(cell)
            found.append(Answer(f"{name}: solution", _body(cell.source)))
            for wrong, kinds in ((True, misconceptions(name)), (False, alternatives(name))):
                for kind in kinds:
                    body = _body(inspect.getsource(kind.answer))
                    found.append(Answer(f"{name}: {kind.name}", body, wrong))
    return found


def question_of(assignment: str, root: Path = ROOT) -> str:
    """All that an assignment's own locked cells say, without spacing."""
    cells = read_source(assignment, root).cells
    return "\0".join(squeezed(cell.source) for cell in cells if not is_answer(cell))


def _body(source: str) -> tuple[ast.stmt, ...]:
    """The statements of the last function that a piece of code defines."""
    *_, function = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
    return tuple(function.body[ast.get_docstring(function) is not None :])


def _statements(body: tuple[ast.stmt, ...]) -> Iterator[ast.stmt]:
    for node in body:
        yield from (found for found in ast.walk(node) if isinstance(found, ast.stmt))


def squeezed(text: str) -> str:
    """Text without white space, and with one kind of quotes."""
    return re.sub(r"\s+", "", text).replace('"', "'")


def shape(body: tuple[ast.stmt, ...]) -> str:
    """A run of statements with its names numbered in order, so that renaming does not show."""
    numbers: dict[str, int] = {}

    def dump(node) -> str:
        match node:
            case ast.Name(id=name) | ast.arg(arg=name):
                return f"n{numbers.setdefault(name, len(numbers))}"
            case ast.FunctionDef(name=name):
                dump(ast.Name(name))
                return f"def({dump(node.args)},{dump(node.body)})"
            case ast.AST():
                fields = (dump(value) for _, value in ast.iter_fields(node))
                return f"{type(node).__name__}({','.join(fields)})"
            case list() | tuple():
                return f"[{','.join(map(dump, node))}]"
        return repr(node)

    return dump(body)


@lru_cache(maxsize=50_000)
def shapes(code: str, lengths: frozenset[int]) -> frozenset[str]:
    """The shape of every run of so many statements in a piece of code; of none if it is not one."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    blocks = [
        block
        for node in ast.walk(tree)
        for name in ("body", "orelse", "finalbody")
        if isinstance(block := getattr(node, name, None), list)
    ]
    return frozenset(
        shape(tuple(block[start : start + length]))
        for block in blocks
        for length in lengths
        for start in range(len(block) - length + 1)
    )


def texts(path: Path) -> set[str]:
    """Everything readable in a file: of a notebook every string, of Python code the whole."""
    content = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix not in (".ipynb", ".json"):
        return {content}
    return set(_strings(json.loads(content)))


def _strings(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _strings(item)
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield "".join(value)  # a notebook's lines
        else:
            for item in value:
                yield from _strings(item)


def given_out(release: Path, root: Path = ROOT) -> list[Path]:
    """The files that students get: the released assignment, the lessons, what they import."""
    folders = [release, *(root / name for name in GIVEN_OUT)]
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and ".ipynb_checkpoints" not in path.parts
    )


def code_faults(
    assignment: str, files: list[Path], root: Path = ROOT
) -> tuple[list[str], Counter]:
    """(the answers' code found in these files, counts of what was looked at)."""
    known, question = answers(assignment, root), question_of(assignment, root)
    secret = {answer.name: answer.secret_lines(question) for answer in known}
    lengths = frozenset(len(answer.body) for answer in known if answer.shape)
    faults: dict[str, None] = {}
    counts = Counter(answers=len(known), lines=sum(map(len, secret.values())), files=len(files))
    for path in files:
        found = texts(path)
        counts["texts"] += len(found)
        tight = "\0".join(map(squeezed, found))
        seen = {run for text in found for run in shapes(text, lengths)}
        for answer in known:
            for short, line in secret[answer.name].items():
                if short in tight:
                    faults[f"{path.name}: {line!r} ({answer.name})"] = None
            if answer.shape in seen:
                faults[f"{path.name}: {answer.name}"] = None
    return list(faults), counts


# Every release looks at all keys, and making them takes seconds.
todays_keys = cache(public_keys)


def secret_faults(files: list[Path], root: Path = ROOT) -> tuple[list[str], Counter]:
    """(what in these files was made under a secret seed, counts of what was looked at).

    Every file of keys must be what the public seed gives, made again here.
    """
    secret = course_secret(root).decode()
    faults, counts = [], Counter()
    for path in files:
        content = path.read_text(encoding="utf-8", errors="replace")
        if secret in content:
            faults.append(f"{path.name}: the course's secret")
        if path.suffix == ".ipynb" and MIME in content:
            faults.append(f"{path.name}: evidence, which the grader alone makes")
        if path.suffix == ".json":
            counts["keys"] += 1
            public = todays_keys(path.stem, root) if path.stem in assignments(root) else {}
            if not same_keys(json.loads(content), public):
                faults.append(f"{path.name}: not today's keys of the public seed (run make keys)")
    return faults, counts


def same_keys(given: dict, public: dict) -> bool:
    """Whether two files of keys hold the same and no more, but for the last digits."""
    if _bones(given) != _bones(public):
        return False
    for name, made in public["exercises"].items():
        entry = given["exercises"][name]
        if not agree(entry["key"], made["key"]):
            return False
        names = rounding(name)
        for mine, theirs in zip(entry["misconceptions"], made["misconceptions"], strict=True):
            both = entry["key"] | mine["evidence"], made["key"] | theirs["evidence"]
            if not agree(*both, rounded=theirs["name"] in names):
                return False
    return True


def _bones(keys: dict) -> dict:
    """A file of keys without its evidence."""
    bare = {
        name: {
            **{field: set(value) for field, value in entry.items() if field == "key"},
            "misconceptions": [
                {field: value for field, value in found.items() if field != "evidence"}
                for found in entry["misconceptions"]
            ],
            "fields": set(entry),
        }
        for name, entry in keys.get("exercises", {}).items()
    }
    return {**keys, "exercises": bare}


def stub_faults(notebook: nbformat.NotebookNode) -> tuple[list[str], Counter]:
    """(the answer cells that do not say what to do, counts of what was looked at)."""
    cells = [cell for cell in notebook.cells if is_answer(cell)]
    faults = [
        f"{grade_id(cell)}: no stub that names it"
        for cell in cells
        if stub_message(grade_id(cell)) not in cell.source
    ]
    return faults, Counter(stubs=len(cells))


def faults_of(release: Path, assignment: str, root: Path = ROOT) -> tuple[list[str], Counter]:
    """All that is wrong with what students get of an assignment, and what was looked at."""
    files = given_out(release, root)
    notebook = nbformat.read(release / f"{assignment}.ipynb", as_version=4)
    faults, counts = [], Counter()
    for found, looked in (
        code_faults(assignment, files, root),
        secret_faults(files, root),
        stub_faults(notebook),
    ):
        faults += found
        counts += looked
    for what in ("answers", "lines", "files", "texts", "keys", "stubs"):
        if not counts[what]:
            faults.append(f"no {what} were looked at")
    return faults, counts


def main(course, assignment: str) -> int:
    """Release an assignment in a course folder; an exit code.

    course: a `grading.runner.Course`. Where something leaks, the release is removed again. Raises
    `grading.course.UnknownAssignment`.
    """
    read_source(assignment)
    directory = course.directory(assignment)
    release = Path(directory.format_path(directory.release_directory, ".", assignment))
    GenerateAssignment(coursedir=directory, config=course.config, force=True).start()
    faults, counts = faults_of(release, assignment)
    looked = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"{assignment}: {looked}; {len(faults)} leaks")
    if not faults:
        print(f"学生版在 {release} / The students' version is in {release}")
        return 0
    shutil.rmtree(release)
    print("\n".join(f"✗ {fault}" for fault in faults))
    print("学生版已删除：其中有答案。 / The students' version is removed: it holds answers.")
    return 1
