"""Hold the two languages of every Markdown cell together.

A cell is made of headings and of pairs: `<div lang="zh">` … `</div>` and then `<div lang="en">` …
`</div>`, each with a blank line inside its tags, since Markdown is not rendered without. Anything
else outside a pair is refused. The halves of a pair must agree, kind by kind and in order, in

- formulas (white space aside), code spans and fences, targets of links and images;
- numbers in the prose. Only digits are numbers ("two" and 两个 are words). A sign counts after a
  blank or a bracket, thousands may have commas, `1st` is 1, `S4-29` is one name; `1-D`, `2D`,
  `3 维` and `全 1` (ones) are terms of the glossary rather than numbers;
- shape: paragraphs, lists and their items, quotes, tables with rows and columns, HTML tags.

Terms follow docs/glossary.csv: columns zh and en with variants parted by `|`, the longest matches
first, and `avoid` with words of either language that nobody may use. A half that uses a term needs
any of its partners in the other half. `~` marks a variant that only answers and never asks (图 also
means picture), `*` at the end stands for any ending. English plurals are known, all dashes are one,
what has a blank may have a hyphen, and capitals count in terms that have some (VJP).

Chinese: full-width punctuation beside Han, code or formulas; a space between Han and Latin, digits,
code or formulas, and none beside full-width punctuation or between Han (a line break is a space),
except after a bold label that opens a paragraph or a sentence; no full-width Latin. English: no
Han, no full-width punctuation. Titles in 《》 are quotes and not read. Emphasis that CommonMark
leaves as asterisks is a fault in both.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from grading import notebooks
from grading.course import ROOT, course_notebooks
from grading.notebooks import name_of

GLOSSARY = ROOT / "docs" / "glossary.csv"
KINDS = ("formulas", "code spans", "code fences", "links", "images", "numbers", "shape")

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
CODE, MATH = "\ue000", "\ue001"  # stand for a code span and a formula in the prose
LABEL = "\ue003"  # ends a bold label
THING = CODE + MATH

PAIR = re.compile(
    r'^<div lang="zh">\n(?P<zh>.*?)\n</div>\s*^<div lang="en">\n(?P<en>.*?)\n</div>[ \t]*$',
    re.MULTILINE | re.DOTALL,
)
HEADING = re.compile(r"#{1,6} +(\S.*)")


# --- reading one half -----------------------------------------------------------------------


@dataclass
class Half:
    """What one language says: its lists of each kind, and its prose by block."""

    kinds: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    blocks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def prose(self) -> str:
        return "\n\n".join(self.blocks)


# Code first, since a dollar inside code is a dollar.
CODE_OR_MATH = re.compile(
    r"(?P<fence>^ *(`{3,}|~{3,}).*?^ *\2 *$)|(?P<code>(?<!`)(`+)(?!`).+?(?<!`)\4(?!`))"
    r"|(?P<display>\$\$.+?\$\$)|(?P<inline>(?<![\\$])\$(?![\s$])(?:\\.|[^$\\])+?(?<!\s)\$(?!\d))",
    re.MULTILINE | re.DOTALL,
)


def read_half(markdown: str) -> Half:
    """Parse the Markdown of one language."""
    half = Half()
    without_math = CODE_OR_MATH.sub(lambda match: _take_formula(match, half), markdown)
    for token in MarkdownIt("commonmark").enable("table").parse(without_math):
        _read_block(token, half)
    half.kinds["numbers"] = [number for block in half.blocks for number in numbers(block)]
    if re.search(r"\*\*|__", half.prose):
        half.faults.append("emphasis is not rendered: ** stays in the text; move the punctuation")
    return half


def _take_formula(match: re.Match, half: Half) -> str:
    formula = match["display"] or match["inline"]
    if not formula:
        return match[0]
    half.kinds["formulas"].append(_tight(formula))
    return MATH


def _tight(formula: str) -> str:
    """A formula without the white space that TeX ignores."""
    text = re.sub(r"\s+", " ", formula)
    return re.sub(r"(?<![A-Za-z\\]) | (?![A-Za-z])", "", text)


def _read_block(token: Token, half: Half) -> None:
    if token.type == "inline":
        half.blocks.append(_inline_text(token.children or [], half))
    elif token.type in ("fence", "code_block"):
        half.kinds["code fences"].append(f"{token.info.strip()}\n{token.content.rstrip()}")
    elif token.type == "html_block":
        half.blocks.append(_html_text(token.content, half))
    elif token.type == "heading_open":
        half.faults.append("a heading stands inside a half; headings stand outside, in one line")
    elif token.nesting >= 0 and not token.hidden:
        half.kinds["shape"].append(token.tag)


def _inline_text(tokens: list[Token], half: Half) -> str:
    text, label = "", False
    for token in tokens:
        if token.type in ("text", "softbreak", "hardbreak"):
            text += token.content if token.type == "text" else "\n"
        elif token.type == "code_inline":
            half.kinds["code spans"].append(token.content)
            text += CODE
        elif token.type == "strong_open":
            label = not text.strip() or text.rstrip()[-1] in "。！？：）"
        elif token.type == "strong_close" and label:
            text += LABEL
        elif token.type == "html_inline":
            text += _html_text(token.content, half)
        elif token.type == "image":
            half.kinds["images"].append(str(token.attrGet("src")))
            half.blocks.append(_inline_text(token.children or [], half))
        elif token.type == "link_open":
            half.kinds["links"].append(str(token.attrGet("href")))
    return text


def _html_text(html: str, half: Half) -> str:
    """The text of raw HTML; its tags go to the shape, links and code to their kinds."""
    reader = _HtmlReader(half)
    reader.feed(html)
    reader.close()
    return reader.text


class _HtmlReader(HTMLParser):
    def __init__(self, half: Half):
        super().__init__()
        self.half, self.text, self.code = half, "", None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "code":
            self.code = ""
            return
        self.half.kinds["shape"].append(tag)
        if tag == "a" and "href" in attributes:
            self.half.kinds["links"].append(attributes["href"])
        if tag == "img":
            self.half.kinds["images"].append(attributes.get("src", ""))
            self.half.blocks.append(attributes.get("alt") or "")

    def handle_endtag(self, tag):
        if tag == "code" and self.code is not None:
            self.half.kinds["code spans"].append(self.code)
            self.text, self.code = self.text + CODE, None

    def handle_data(self, data):
        if self.code is None:
            self.text += data
        else:
            self.code += data


NUMBER = re.compile(
    r"(?P<name>S\d+-\d+)|(?P<term>\d+(?:-?D\b| ?维)|全 [01](?![\d.]))|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<number>(?:(?:(?<=[\s(（])|^)[-−+])?\d+(?:,\d{3})*(?:\.\d+)*(?:[eE][-+]?\d+)?%?)"
)


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, as plain strings; see the module's rules."""
    found = []
    for match in NUMBER.finditer(text):
        if match["name"]:
            found.append(match["name"])
        elif match["number"]:
            found.append(match["number"].replace(",", "").replace("−", "-").lstrip("+"))
        elif match["word"] and re.fullmatch(r"[A-Za-z]+\d\w*", match["word"]):
            found.append(match["word"])  # float64, x1: a name, which must be the same too
    return found


# --- terms ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    row: int
    text: str
    asks: bool
    pattern: re.Pattern


@dataclass(frozen=True)
class Glossary:
    """Rows of variants, longest first; `avoid` holds (word, pattern, what to say instead)."""

    names: list[str]
    zh: list[Variant]
    en: list[Variant]
    avoid: list[tuple[str, re.Pattern, str]]

    def compare(self, zh: str, en: str) -> tuple[list[str], int]:
        """Faults of a pair's prose, and how many terms were compared."""
        used_zh, used_en = _used(self.zh, zh), _used(self.en, en)
        faults = []
        for row in sorted({*used_zh, *used_en}):
            asking = [used[row] for used in (used_zh, used_en) if used.get(row, ("", False))[1]]
            if asking and not (row in used_zh and row in used_en):
                word = asking[0][0]
                side = "en" if row in used_zh else "zh"
                faults.append(f"term: {word!r} without its partner in {side} ({self.names[row]})")
        for text in (zh, en):
            for word, pattern, instead in self.avoid:
                if pattern.search(_plain(text)):
                    faults.append(f"term: {word!r} is not used here ({instead})")
        return faults, len({*used_zh, *used_en})


def _plain(text: str) -> str:
    """One kind of dash, no titles, single blanks: what terms are looked for in."""
    return re.sub(r"\s+", " ", re.sub("[‐‑‒–—−]", "-", re.sub("《[^》]*》", " ", text)))


def _used(variants: list[Variant], text: str) -> dict[int, tuple[str, bool]]:
    """Row → (the word found, whether one of the words found asks for a partner)."""
    text = _plain(text)
    used: dict[int, tuple[str, bool]] = {}
    for variant in variants:
        text, count = variant.pattern.subn("\ue002", text)
        if count:
            word, asks = used.get(variant.row, (variant.text, False))
            used[variant.row] = (variant.text if variant.asks and not asks else word,
                                 asks or variant.asks)
    return used


def _pattern(word: str) -> re.Pattern:
    stem = re.escape(_plain(word.rstrip("*"))).replace(r"\ ", "[- ]")
    if re.search(f"[{HAN}]", word):
        return re.compile(stem)
    if word.endswith("*"):
        ending = "[a-z]*"
    elif word[-1] == "y":
        stem, ending = stem[:-1], "(?:y|ies)"
    else:
        ending = "(?:es|s)?"
    # Capitals are part of a word, but a sentence may begin with any.
    if any(letter.isupper() for letter in word):
        pattern, flags = f"[{stem[0].upper()}{stem[0]}]{stem[1:]}{ending}", 0
    else:
        pattern, flags = f"{stem}{ending}", re.IGNORECASE
    return re.compile(rf"(?<![A-Za-z]){pattern}(?![A-Za-z])", flags)


@cache
def glossary(path: Path = GLOSSARY) -> Glossary:
    """Read the glossary. Raises ValueError for a row with an empty side or a word given twice."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sides: dict[str, list[Variant]] = {"zh": [], "en": []}
    avoid = []
    for number, row in enumerate(rows):
        for side, variants in sides.items():
            for word in (row[side] or "").split("|"):
                text = word.strip().lstrip("~")
                if not text or text in {other.text for other in variants}:
                    line = f"{path.name}, line {number + 2}"
                    raise ValueError(f"{line}: the {side} variant {text!r} is empty or there twice")
                asks = not word.strip().startswith("~")
                variants.append(Variant(number, text, asks, _pattern(text)))
        for word in filter(None, (row.get("avoid") or "").split("|")):
            avoid.append((word, _pattern(word), f"{row['zh']} / {row['en']}"))
    for variants in sides.values():
        variants.sort(key=lambda variant: -len(variant.text))
    names = [f"{row['zh']} ↔ {row['en']}" for row in rows]
    return Glossary(names, sides["zh"], sides["en"], avoid)


# --- typography -----------------------------------------------------------------------------

CHINESE_RULES = [
    (
        rf"[{HAN}{THING}][ ]?[,;:?!]|[,;:?!][ ]?[{HAN}{THING}]|[{HAN}][(\"']|[)\"'][{HAN}]"
        rf"|[({HAN}]\([^()]*[{HAN}]|[{HAN}{THING}]\.(?=\s|$)",
        "half-width punctuation beside Chinese",
    ),
    (
        rf"[{HAN}][A-Za-z0-9{THING}]|[A-Za-z0-9%{THING}][{HAN}]",
        "no space between Chinese and Latin, a digit, code or a formula",
    ),
    (rf"[{HAN}]\s+[{HAN}]", "a space (or a line break, which shows as one) inside Chinese"),
    (
        r"[ \n](?=[，。：；？！）、”])|(?<=[，。：；？！（、“])[ \n]+(?=\S)",
        "a space (or a line break, which shows as one) beside full-width punctuation",
    ),
]
CHINESE = [(re.compile(pattern), what) for pattern, what in CHINESE_RULES]
WIDE_LATIN = re.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u3000]")
NOT_ENGLISH = re.compile(rf"[{HAN}，。：；？！（）、「」【】]+")


def typography(half: Half, language: str) -> list[str]:
    """Faults of the writing of one half, each with the place it was found."""
    faults = []
    for block in half.blocks:
        text = re.sub("《[^》]*》", "《》", block)
        rules = [*CHINESE] if language == "zh" else [(NOT_ENGLISH, "Chinese in the English half")]
        for pattern, what in [*rules, (WIDE_LATIN, "full-width Latin or digits")]:
            match = pattern.search(text)
            if match:
                near = text[max(match.start() - 8, 0) : match.end() + 8]
                for mark, shown in ((CODE, "`…`"), (MATH, "$…$"), (LABEL, ""), ("\n", "⏎")):
                    near = near.replace(mark, shown)
                faults.append(f"{language}: {what}: “{near.strip()}”")
    return faults


# --- a pair, a cell, a notebook ----------------------------------------------------------------


def compare(zh: str, en: str) -> tuple[list[str], Counter]:
    """Faults of a pair of Markdown texts, and how many things of each kind were compared."""
    left, right = read_half(zh), read_half(en)
    counts = Counter(pairs=1)
    faults = [f"zh: {fault}" for fault in left.faults] + [f"en: {fault}" for fault in right.faults]
    for kind in KINDS:
        ours, theirs = left.kinds[kind], right.kinds[kind]
        if kind == "links":  # a document that has a file for each language
            ours = [re.sub(r"\.zh\.md\b", ".md", url) for url in ours]
            theirs = [re.sub(r"\.zh\.md\b", ".md", url) for url in theirs]
        counts[kind] += len(ours)
        if ours != theirs:
            faults.append(f"{kind} differ: {_difference(ours, theirs)}")
    if bool(re.search(f"[{HAN}]", left.prose)) != bool(re.search("[A-Za-z]{2}", right.prose)):
        faults.append("one half has a text, the other has none")
    terms, compared = glossary().compare(left.prose, right.prose)
    counts["terms"] += compared
    return faults + terms + typography(left, "zh") + typography(right, "en"), counts


def _difference(zh: list[str], en: list[str]) -> str:
    """The first place where two lists part, with a little of what follows."""
    start = next(
        (n for n, (a, b) in enumerate(zip(zh, en, strict=False)) if a != b), min(len(zh), len(en))
    )
    shown = [" ".join(repr(item) for item in items[start : start + 3]) for items in (zh, en)]
    return f"zh {shown[0] or 'nothing'} — en {shown[1] or 'nothing'} (from number {start + 1} on)"


def split_heading(text: str) -> tuple[str, str] | None:
    """The Chinese and the English part of a heading, or None when it has not both.

    Parts are parted by ` · `; one without letters of a language (a number, code) serves both.
    """
    parts = [part.strip() for part in text.split(" · ")]
    spoken = [part for part in parts if re.search(r"[^\W\d]", read_half(part).prose)]
    han = [bool(re.search(f"[{HAN}]", part)) for part in spoken]
    return (spoken[0], spoken[1]) if han == [True, False] else None


def cell_faults(source: str) -> tuple[list[str], Counter]:
    """Faults of one Markdown cell, and the counts of what was compared in it."""
    faults, counts = [], Counter()
    for match in PAIR.finditer(source):
        for language in ("zh", "en"):
            inside = match[language]
            if not (inside.startswith("\n") and inside.endswith("\n") and inside.strip()):
                faults.append(f"{language}: needs a text with a blank line before and after it")
            if "<div" in inside:
                faults.append(f"{language}: a <div> inside the half")
        found, compared = compare(match["zh"], match["en"])
        faults += found
        counts += compared
    for line in PAIR.sub("", source).splitlines():
        found, compared = _outside(line.strip())
        faults += found
        counts += compared
    return faults, counts


def _outside(line: str) -> tuple[list[str], Counter]:
    if not line:
        return [], Counter()
    if line.startswith("<div lang=") or line == "</div>":
        return [f"a half is missing or out of place: {line}"], Counter()
    heading = HEADING.fullmatch(line)
    if not heading:
        return [f"outside a pair: “{line[:60]}”"], Counter()
    parts = split_heading(heading[1])
    if not parts:
        return [f"the heading must be 中文 · English on one line: “{line[:60]}”"], Counter()
    faults, counts = compare(*parts)
    counts["headings"] = counts.pop("pairs")
    return [f"heading: {fault}" for fault in faults], counts


def notebook_faults(paths: Iterable[Path | str]) -> tuple[list[str], Counter]:
    """Faults of these notebooks' Markdown cells, naming notebook and cell, and the counts."""
    faults, counts = [], Counter()
    for path in paths:
        nb = notebooks.read(path)
        counts["notebooks"] += 1
        for index, cell in enumerate(nb.cells):
            if cell.cell_type == "markdown":
                found, compared = cell_faults(cell.source)
                where = f"{name_of(path)} cell {index + 1} (id {cell.id})"
                faults += [f"{where}: {fault}" for fault in found]
                counts += compared
    if not counts["pairs"]:
        faults.append("no pair of languages was compared")
    return faults, counts


def document_faults(zh: Path | str, en: Path | str) -> tuple[list[str], Counter]:
    """Faults of a document that has a file for each language, compared section by section."""
    sections = [_sections(Path(path).read_text(encoding="utf-8")) for path in (zh, en)]
    levels = [[level for level, _, _ in parts] for parts in sections]
    where = f"{name_of(zh)}, {name_of(en)}"
    if levels[0] != levels[1]:
        return [f"{where}: headings differ: levels {levels[0]} and {levels[1]}"], Counter()
    faults, counts = [], Counter()
    for (_, title, ours), (_, _, theirs) in zip(*sections, strict=True):
        found, compared = compare(ours, theirs)
        faults += [f"{where}, “{title}”: {fault}" for fault in found]
        counts += compared
    return faults, counts


def _sections(markdown: str) -> list[tuple[int, str, str]]:
    """(level, title, text below it) of each heading; level 0 is what stands before the first."""
    lines = markdown.splitlines()
    tokens = MarkdownIt("commonmark").parse(markdown)
    starts = [token for token in tokens if token.type == "heading_open" and token.level == 0]
    edges = [token.map[0] for token in starts] + [len(lines)]
    sections = [(0, "", "\n".join(lines[: edges[0]]))]
    for token, end in zip(starts, edges[1:], strict=True):
        title = lines[token.map[0]].strip("# ")
        sections.append((int(token.tag[1]), title, "\n".join(lines[token.map[1] : end])))
    return sections


def main(paths: Iterable[Path | str] = ()) -> int:
    """Compare the languages of these notebooks, by default all and the README; an exit code."""
    given = [Path(path) for path in paths]
    try:
        faults, counts = notebook_faults(given or course_notebooks())
    except notebooks.NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    if not given and (ROOT / "README.zh.md").exists():
        found, compared = document_faults(ROOT / "README.zh.md", ROOT / "README.md")
        faults, counts = faults + found, counts + compared
    for fault in faults:
        print(fault)
    shown = ("notebooks", "pairs", "headings", *KINDS, "terms")
    print(f"parity compared {', '.join(f'{counts[kind]} {kind}' for kind in shown)}; "
          f"{len(faults)} faults")
    return int(bool(faults))
