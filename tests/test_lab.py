"""`make lab`: the working copies it places and the JupyterLab it starts."""

import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from grading import homework
from grading.course import assignments
from tutor import lab

ASSIGNMENT = assignments()[0] if assignments() else ""


@pytest.fixture
def course(tmp_path):
    """A course folder with the real source notebooks and nothing else."""
    for name in assignments():
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        source = homework.ROOT / "source" / name / f"{name}.ipynb"
        (folder / source.name).write_bytes(source.read_bytes())
    return tmp_path


def test_a_working_copy_is_placed_unsolved(course, capsys):
    assert homework.main(course) == 0
    copy = course / "homework" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    notebook = nbformat.read(copy, as_version=4)
    nbformat.validate(notebook)
    answers = [c.source for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")]
    assert len(answers) >= 4
    assert all("NotImplementedError" in text for text in answers)
    assert not any("BEGIN SOLUTION" in text for text in answers)
    outputs = [number for number, cell in enumerate(notebook.cells) if cell.get("outputs")]
    assert outputs == [0], "the language switch, and it alone, is shown before anything is run"
    assert str(copy.relative_to(course)) in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"my own work", b""])
def test_a_working_copy_is_never_written_to_again(course, capsys, content):
    homework.main(course)
    copy = course / "homework" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    copy.write_bytes(content)
    before = copy.stat().st_mtime_ns
    capsys.readouterr()
    assert homework.main(course) == 0
    assert copy.read_bytes() == content
    assert copy.stat().st_mtime_ns == before
    assert "已存在" in capsys.readouterr().out


def test_a_link_that_leads_nowhere_is_left_alone(course):
    copy = course / "homework" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    copy.parent.mkdir(parents=True)
    copy.symlink_to(course / "nowhere.ipynb")
    assert homework.place(ASSIGNMENT, course) == (copy, False)
    assert not (course / "nowhere.ipynb").exists()


def test_a_course_without_assignments_says_so(tmp_path, capsys):
    assert homework.main(tmp_path) == 1
    assert "source/" in capsys.readouterr().out


def test_notebooks_are_trusted_and_broken_ones_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), good)
    bad.write_text("{")
    lost = tmp_path / "lost.ipynb"
    assert not NotebookNotary().check_signature(nbformat.read(good, as_version=4))
    assert lab.trust([good, bad, lost]) == [bad, lost]
    assert NotebookNotary().check_signature(nbformat.read(good, as_version=4))


def test_only_copies_of_assignments_are_trusted(tmp_path):
    for name in ["03-vjp/03-vjp.ipynb", "03-vjp/from-a-stranger.ipynb", "loose.ipynb"]:
        path = tmp_path / "homework" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert lab.working_copies(tmp_path) == [tmp_path / "homework/03-vjp/03-vjp.ipynb"]


def test_the_command_opens_the_first_lesson_and_passes_options_on(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    for name in ["11-hvp.ipynb", "03-vjp.ipynb"]:
        (tmp_path / "notebooks" / name).touch()
    words = lab.command(tmp_path, ["--no-browser", "--port", "8890"])
    assert words[:3] == [sys.executable, "-m", "jupyterlab"]
    assert words[-3:] == ["--no-browser", "--port", "8890"]
    assert f"--ServerApp.root_dir={tmp_path}" in words
    assert "--LabApp.default_url=/lab/tree/notebooks/03-vjp.ipynb" in words
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "--allow-root" not in lab.command(tmp_path, [])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--allow-root" in lab.command(tmp_path, [])


def test_commands_beside_this_python_come_first():
    found = subprocess.run(["nbgrader", "--version"], env=lab.environment(), capture_output=True)
    assert found.returncode == 0
