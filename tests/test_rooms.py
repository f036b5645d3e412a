"""The rooms of the course: who may import whom, and what may lie where."""

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The whole list: a new top-level name is a decision, and is made here.
TOP_LEVEL = {
    ".ci", ".github", ".gitignore", "Makefile", "README.md", "README.zh.md", "autograded", "bench",
    "docs", "grading", "nbgrader_config.py", "notebooks", "pyproject.toml", "requirements.txt",
    "source", "tests", "tutor",
}  # fmt: skip
NEEDED = TOP_LEVEL
RUN_TIME = [
    "homework", "release", "submitted", "feedback", "gradebook.db", ".course-secret",
    ".journal/03-vjp.jsonl",
]  # fmt: skip


def imported(source: str, package: str = "") -> set[str]:
    """The full names of all modules that this code imports, relative ones resolved."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            # importlib.import_module("grading.key") and __import__("grading")
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"import_module", "__import__"}:
                names.add(str(node.args[0].value))
    return names


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names} & {"tutor", "grading", "tests", "bench"}


def python_files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports_of_file(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return imported(path.read_text(encoding="utf-8"), package)


def course_notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted(
        (ROOT / "source").glob("*/*.ipynb")
    )


def plain_python(cell_source: str) -> str:
    """A cell's code without IPython's own lines (%magic, !command), which import nothing."""
    return re.sub(r"(?m)^\s*[%!].*$", "pass", cell_source)


def tracked(*paths: str) -> list[str]:
    """The files that git tracks, or would take in with `git add` (names not yet committed)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: " + done.stderr.strip())
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.mark.parametrize(
    ("source", "package", "found"),
    [
        ("import grading.key as k", "", {"grading"}),
        ("def f():\n    from grading import key", "", {"grading"}),
        ("from ..grading import key", "tutor.probes", set()),  # tutor.grading: another module
        ("from ...grading import key", "tutor.probes", {"grading"}),
        ("from . import table", "tutor", {"tutor"}),
        ("import importlib\nimportlib.import_module('grading.key')", "", {"grading"}),
        ("import gradings, numpy", "", set()),
    ],
)
def test_every_way_of_importing_is_seen(source, package, found):
    assert rooms_of(imported(source, package)) - ({"tutor"} if not found else set()) == found


def test_tutor_never_imports_grading(record_property):
    files = python_files("tutor")
    record_property("files", len(files))
    assert len(files) >= 10, f"only {len(files)} files of tutor were found"
    wrong = {
        str(path.relative_to(ROOT)): sorted(names)
        for path in files
        if (names := rooms_of(imports_of_file(path)) - {"tutor"})
    }
    assert not wrong


def test_grading_imports_no_test():
    files = python_files("grading")
    assert len(files) >= 10, f"only {len(files)} files of grading were found"
    wrong = [p.name for p in files if rooms_of(imports_of_file(p)) - {"tutor", "grading"}]
    assert not wrong


def test_notebooks_import_only_tutor():
    notebooks = course_notebooks()
    cells, users, wrong = 0, 0, {}
    for path in notebooks:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            cells += 1
            rooms = rooms_of(imported(plain_python("".join(cell["source"]))))
            users += "tutor" in rooms
            if rooms - {"tutor"}:
                wrong[f"{path.name} {cell.get('id')}"] = rooms
    print(f"{cells} code cells of {len(notebooks)} notebooks looked at, {users} import tutor")
    assert not wrong
    assert len(notebooks) >= 2
    assert users >= len(notebooks), "every notebook begins with tutor's language()"


def test_lessons_and_assignments_have_names_that_match():
    names = [path.stem for path in course_notebooks()]
    assert names
    assert all(re.fullmatch(r"\d\d-[a-z0-9-]+", name) for name in names), names
    assert all(path.stem == path.parent.name for path in (ROOT / "source").glob("*/*.ipynb"))


def test_tracked_top_level_names_are_the_design():
    names = {name.split("/")[0] for name in tracked()}
    assert names <= TOP_LEVEL, sorted(names - TOP_LEVEL)
    assert names >= NEEDED, sorted(NEEDED - names)


def test_only_the_readme_is_tracked_in_autograded():
    assert tracked("autograded") == ["autograded/README.md"]


def test_what_is_made_at_run_time_is_never_tracked():
    assert tracked(*RUN_TIME) == []
    for name in RUN_TIME:
        path = name if "." in name else f"{name}/student/file.ipynb"
        command = ["git", "check-ignore", "-q", path]
        assert subprocess.run(command, cwd=ROOT).returncode == 0, f"{path} is not ignored"


def test_no_folder_is_named_work():
    assert not [name for name in tracked() if "work" in name.split("/")[:-1]]


def test_make_prints_what_every_target_does():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()
    printed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  make ([a-z]+) +\S.*/ \S", printed, re.M)
    assert len(listed) > 10
    assert sorted(listed) == sorted(phony)


def test_clean_never_removes_work_or_scores(tmp_path):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    removed = [word for line in re.findall(r"rm -rf (.*)", text) for word in shlex.split(line)]
    assert ".venv" in removed
    kept = {"homework", "submitted", "gradebook.db", ".course-secret", "autograded", "grades.csv"}
    kept |= {".journal"}
    assert not kept & {word.rstrip("/*") for word in removed}
    # And for certain: run it on a folder that holds one of each.
    (tmp_path / "Makefile").write_text(text, encoding="utf-8")
    for room in ["tutor", "grading", "tests", *kept, "release"]:
        (tmp_path / room).mkdir()
        (tmp_path / room / "kept.txt").touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} >= kept
    assert all((tmp_path / name / "kept.txt").exists() for name in kept)
    assert not (tmp_path / "release").exists()


def test_requirements_are_exact_and_complete():
    from importlib.metadata import distribution

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    assert len(wanted) > 100
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}
    pinned = {}
    for requirement in wanted:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        pinned[canonicalize_name(requirement.name)] = specifier.version
    # What every pinned package needs (on Linux) is pinned too, and each is installed as pinned.
    for name, version in pinned.items():
        found = distribution(name)
        assert found.version.split("+")[0] == version, (name, found.version)
        for need in map(Requirement, found.requires or []):
            # Another build of torch needs CUDA's packages: pip chooses those that fit it.
            if name != "torch" and (need.marker is None or need.marker.evaluate(linux)):
                assert canonicalize_name(need.name) in pinned, f"{name} needs {need}"
