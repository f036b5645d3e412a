"""The guides and the README say the same in both languages, and name only what exists."""

import re
import subprocess
from pathlib import Path

import pytest

from grading.parity import document_faults

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ["docs/student.md", "docs/instructor.md", "docs/author.md"]
DOCUMENTS = ["README.md", "README.zh.md", *GUIDES]


def halves(guide: str) -> tuple[str, str]:
    """The Chinese and the English half of a guide, without its title."""
    _, zh, en = re.split(r"(?m)^## (?:中文|English)$", (ROOT / guide).read_text(encoding="utf-8"))
    return zh, en


@pytest.mark.parametrize("guide", GUIDES)
def test_the_halves_of_a_guide_agree(guide, tmp_path):
    paths = tmp_path / "zh.md", tmp_path / "en.md"
    for path, text in zip(paths, halves(guide), strict=True):
        path.write_text(text, encoding="utf-8")
    faults, counts = document_faults(*paths)
    assert faults == []
    assert counts["pairs"] >= 5, counts


def test_both_readmes_agree():
    faults, counts = document_faults(ROOT / "README.zh.md", ROOT / "README.md")
    assert faults == []
    assert counts["pairs"] >= 5, counts


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    if document.startswith("README"):
        assert len(links) > 5
    lost = [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert lost == []


@pytest.mark.parametrize(
    ("readme", "words"),
    [
        ("README.md", ("lesson and assignment", "lesson", "planned")),
        ("README.zh.md", ("课文与作业", "课文", "计划中")),
    ],
)
def test_the_table_of_the_course_says_what_exists(readme, words):
    """A lesson that git tracks is linked, and its state is true."""
    tracked = subprocess.run(
        ["git", "ls-files", "notebooks", "source"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    rows = re.findall(r"^\| (\d\d) \| (.+) \| (.+) \|$", (ROOT / readme).read_text("utf-8"), re.M)
    assert len(rows) > 10
    for number, title, state in rows:
        lessons = [name for name in tracked if name.startswith(f"notebooks/{number}-")]
        work = [name for name in tracked if name.startswith(f"source/{number}-")]
        assert state == words[0 if lessons and work else 1 if lessons else 2], (number, state)
        assert re.findall(r"\]\((.+?)\)", title) == lessons
    listed = {number for number, _, _ in rows}
    assert {name.split("/")[1][:2] for name in tracked} <= listed


def test_every_make_target_and_command_named_exists():
    from typer.main import get_command

    from grading.__main__ import app

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"(?m)^\.PHONY: (.*)$", makefile)[1].split())
    commands = set(get_command(app).commands)
    texts = [makefile] + [(ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS]
    made = {name for text in texts[1:] for name in re.findall(r"(?:`|^)make ([a-z]+)", text, re.M)}
    called = {name for text in texts for name in re.findall(r"-m grading ([a-z]+)", text)}
    assert len(made) > 5
    assert len(called) > 5
    assert made <= targets, made - targets
    assert called <= commands, called - commands


def test_each_lesson_leads_to_its_neighbours_and_to_its_assignment():
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(lessons) >= 6
    looked_at = 0
    for before, lesson, after in zip([None, *lessons], lessons, [*lessons[1:], None], strict=False):
        text = lesson.read_text(encoding="utf-8")
        wanted = [near.name for near in (before, after) if near]
        wanted.append(f"../homework/{lesson.stem}/{lesson.name}")
        for target in wanted:
            assert f"({target})" in text, (lesson.name, target)
            looked_at += 1
    print(f"{looked_at} links between lessons")
