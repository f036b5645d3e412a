"""Read docs/coverage.md, docs/errata.md, the lessons and the README's table of the course."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
COVERAGE, ERRATA = ROOT / "docs" / "coverage.md", ROOT / "docs" / "errata.md"
ITEMS_OF_SEED = {"S0": 39, "S1": 24, "S2": 36, "S3": 13, "S4": 48}
MARKS = {"✓", "≈", "↑", "✗", "∅", "–"}
KINDS = {"文字 · prose": "prose", "笔误 · typo": "typo"}

ITEM = re.compile(r"(?<![A-Za-z0-9-])S[0-4]-\d+(?![A-Za-z0-9-])")
LESSON = re.compile(r"\[(\d\d)((?: §\d+)*)\]\(\.\./notebooks/([\w-]+)\.ipynb\)")
SOON = re.compile(r"(\d\d)（即将推出 / to come）")
ERRATUM = re.compile(r"\[勘误 · errata\]\(errata\.md#([\w-]+)\)")


@dataclass
class Where:
    """Places an item is treated: lessons with their sections, lessons to come, an erratum."""

    lessons: dict[str, list[str]]
    soon: list[str]
    erratum: str | None = None


@dataclass
class Row:
    item: str
    mark: str
    zh: str
    en: str
    where: Where


@dataclass
class Entry:
    item: str
    mark: str
    kind: str  # run, prose or typo
    where: Where
    zh: str
    en: str
    code: str = ""
    output: str = ""


@dataclass
class Lesson:
    """What a lesson says of the seeds' items, and its numbered sections."""

    text: set[str]  # items named anywhere in its Markdown
    sources: set[str]  # items named in its sources and corrections
    corrected: dict[str, list[str]]  # item of its table of corrections → sections
    sections: set[str]


def read_where(parts: list[str], what: str) -> Where:
    """Places from their Markdown. Raises ValueError for a place that is none of the known kinds."""
    where = Where({}, [])
    for part in parts:
        if match := LESSON.fullmatch(part):
            number, sections, stem = match.groups()
            if not stem.startswith(number + "-") or stem in where.lessons:
                raise ValueError(f"{what}: {part} names another lesson, or one twice")
            where.lessons[stem] = re.findall(r"\d+", sections)
        elif match := SOON.fullmatch(part):
            where.soon.append(match[1])
        elif (match := ERRATUM.fullmatch(part)) and where.erratum is None:
            where.erratum = match[1]
        else:
            raise ValueError(f"{what}: cannot read the place {part!r}")
    return where


@cache
def rows() -> list[Row]:
    """The rows of coverage.md in order. Raises ValueError for a row that cannot be read."""
    found = []
    for line in COVERAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| S"):
            item, mark, zh, en, where = (cell.strip() for cell in line.strip("|").split("|"))
            if not (ITEM.fullmatch(item) and mark in MARKS and zh and en and where):
                raise ValueError(f"coverage.md: cannot read the row {line!r}")
            found.append(Row(item, mark, zh, en, read_where(where.split(", "), item)))
    return found


@cache
def entries() -> list[Entry]:
    """The entries of errata.md in order. Raises ValueError for one that has not its form."""
    tokens = MarkdownIt("commonmark").parse(ERRATA.read_text(encoding="utf-8"))
    found: list[tuple[str, list[tuple[str, str]]]] = []
    blocks: list[tuple[str, str]] | None = None  # of the entry that is open
    for before, token in zip(tokens, tokens[1:], strict=False):
        if token.type == "inline" and before.type == "heading_open":
            blocks = [] if before.tag == "h3" else None
            if blocks is not None:
                found.append((token.content, blocks))
        elif blocks is not None and token.type == "inline" and before.type == "paragraph_open":
            blocks.append(("paragraph", token.content))
        elif blocks is not None and token.type == "fence":
            blocks.append((token.info, token.content.rstrip("\n")))
    return [read_entry(item, blocks) for item, blocks in found]


def read_entry(item: str, blocks: list[tuple[str, str]]) -> Entry:
    """One entry: a line of places, Chinese, English, and for a run its code and its output."""
    kinds = [kind for kind, _ in blocks]
    if kinds not in (["paragraph"] * 3, ["paragraph"] * 3 + ["python", "text"]):
        raise ValueError(f"errata.md, {item}: needs a line of places, 中文, English, and either "
                         f"nothing more or one python and one text block; it has {kinds}")
    (_, line), (_, zh), (_, en), *run = blocks
    label = re.match(rf"(\S)(?: · ({'|'.join(KINDS)}))?(?: · |$)", line)
    if not label or label[1] not in MARKS or bool(label[2]) == bool(run):
        raise ValueError(f"errata.md, {item}: needs a mark, and either evidence or the words for "
                         f"prose or typo: {line!r}")
    places = [part for part in line[label.end():].split(" · ") if part]
    code, output = [text for _, text in run] or ("", "")
    kind = KINDS.get(label[2], "run")
    return Entry(item, label[1], kind, read_where(places, item), zh, en, code, output)


def introductions(path: Path) -> list[str]:
    """The paragraphs of a page that stand outside its entries and its tables."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    found, in_entry = [], False
    for before, token in zip(tokens, tokens[1:], strict=False):
        if before.type == "heading_open":
            in_entry = before.tag == "h3"
        elif before.type == "paragraph_open" and not in_entry:
            found.append(token.content)
    return found


@cache
def lessons() -> dict[str, Lesson]:
    """The lessons that exist, by the stem of their file."""
    return {path.stem: read_lesson(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def read_lesson(path: Path) -> Lesson:
    lesson, in_sources = Lesson(set(), set(), {}, set()), False
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "markdown":
            continue
        if heading := re.match(r"## (?:(\d+) · )?(.*)", cell.source):
            in_sources = "出处与勘误" in heading[2]
            lesson.sections |= {heading[1]} - {None}
        named = set(ITEM.findall(cell.source))
        lesson.text |= named
        if in_sources:
            lesson.sources |= named
            for item, sections in re.findall(r"(?m)^\| (S\S+) \|.*\| ([\d、, ]+) \|$", cell.source):
                lesson.corrected[item] = re.findall(r"\d+", sections)
    return lesson


@cache
def course() -> set[str]:
    """The numbers of all lessons, those to come too, as the README's table has them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^\| (\d\d) \|", readme))
