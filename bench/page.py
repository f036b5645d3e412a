"""docs/performance.md: what was measured, beside what it should be, in both languages."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .measure import Contender, ratios, spread

MET, MISSED = "✓ 达到 met", "✗ 未达到 missed"


@dataclass(frozen=True)
class Target:
    """Something that a figure should reach. most: whether the limit is one from above."""

    zh: str
    en: str
    values: Sequence[float]
    limit: float
    most: bool = False

    @property
    def met(self) -> bool:
        """Whether the median reaches it; nothing measured reaches nothing."""
        if not self.values:
            return False
        middle = statistics.median(self.values)
        return middle <= self.limit if self.most else middle >= self.limit

    @property
    def row(self) -> list[str]:
        sign = "≤" if self.most else "≥"
        measured = spread(self.values) if self.values else "—"
        return [f"{self.zh} {self.en}", f"{sign} {self.limit:g}", measured, verdict(self.met)]


def verdict(met: bool) -> str:
    """The word for a target."""
    return MET if met else MISSED


@dataclass
class Section:
    """A part of the page: a heading in both languages, a paragraph in each, tables."""

    heading: str
    zh: str
    en: str
    tables: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    @property
    def text(self) -> str:
        parts = [f"## {self.heading}", self.zh, self.en, *self.tables]
        if self.targets:
            parts.append(targets_table(self.targets))
        return "\n\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: bool = True) -> str:
    """A table in Markdown; the columns after the first are set to the right."""
    rule = ["---"] + ["---:" if right else "---"] * (len(head) - 1)
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |" for line in lines)


def targets_table(targets: Sequence[Target]) -> str:
    """The targets, what was measured, and whether it reaches them."""
    head = ["目标 target", "要求 wanted", "实测 measured", ""]
    return table(head, [target.row for target in targets])


def contenders_table(
    contenders: Sequence[Contender], stock: Contender, limits: Sequence[Contender]
) -> str:
    """Seconds of each, and its ratios to stock and to the limits, each with its spread."""
    head = ["做法 way", "轮 rounds", "秒 s", "快于原版 × stock"]
    head += [f"÷ {limit.zh} {limit.en}" for limit in limits]
    rows = []
    for one in contenders:
        if one.problem:
            rows.append([f"{one.zh} {one.en}", "—", "—", "—", *["—"] * len(limits)])
            continue
        cells = [f"{one.zh} {one.en}", str(len(one.seconds)), spread(one.seconds, 1)]
        cells += [against(stock.seconds, one.seconds) if one is not stock else "1"]
        cells += [against(one.seconds, limit.seconds) if one is not limit else "1"
                  for limit in limits]  # fmt: skip
        rows.append(cells)
    return table(head, rows)


def against(slow: Sequence[float], fast: Sequence[float]) -> str:
    """The ratios of two, as text; a dash where one of them was not measured."""
    return spread(ratios(slow, fast)) if slow and fast else "—"


def notes(contenders: Sequence[Contender]) -> str:
    """What each contender did, and why one could not be measured."""
    return "\n".join(
        f"- {one.en}: " + (f"could not be measured: `{short(one.problem)}`" if one.problem
                           else one.note)
        for one in contenders
    )  # fmt: skip


def short(problem: str) -> str:
    """The last line of an error that has words: it says what it was."""
    lines = [line.strip("│╭╰╮╯─ ") for line in problem.splitlines()]
    said = [line for line in lines if any(letter.isalnum() for letter in line)]
    return said[-1][:200].replace("`", "'") if said else "?"


HEAD = """\
# 性能 · Performance

<!-- made by `make bench`; do not edit -->

下面的数字来自 `make bench` 的一次运行（{minutes:.0f} 分钟）。各种做法轮流运行，所以机器快慢的变化对它们一视同仁；要看的是比值。一栏里的数是中位数，括号里是各轮的最小值与最大值；只跑一轮的没有括号，与它相比时每一轮都用这一轮。秒数是整条命令的墙钟时间，从启动 Python 到结束。每次运行之后都核对它做了什么：份数、分数、单元数不对的，不计入。

These figures come from one run of `make bench` ({minutes:.0f} minutes). The ways run in turn, so that all of them share whatever the machine is doing; look at the ratios. A figure is the median, with the least and the greatest of the rounds in brackets; one that ran in a single round has no brackets, and stands for every round when another is compared with it. Seconds are wall-clock time of a whole command, from the start of Python to its end. After every run it is checked what was done: a wrong number of submissions, points or cells does not count.

重复：`make bench`（全部，写出本页），`python -m bench --quick`（几分钟，只打印），`python -m bench replay`（只量一部分，只打印）。第一次会把 otter-grader 与 nbmake 装进 `.cache/bench-venv`。

To repeat: `make bench` (all of it, writes this page), `python -m bench --quick` (a few minutes, prints only), `python -m bench replay` (a part, prints only). The first run installs otter-grader and nbmake into `.cache/bench-venv`.
"""  # noqa: E501 (a paragraph is a line in Markdown)


def page(sections: Sequence[Section], facts: dict[str, str], minutes: float) -> str:
    """The whole page."""
    targets = [target for section in sections for target in section.targets]
    missed = sum(not target.met for target in targets)
    said = (
        f"**{len(targets)} 项目标，{missed} 项未达到。 {len(targets)} targets, {missed} missed.**"
    )
    parts = [HEAD.format(minutes=minutes)]
    parts += [said, targets_table(targets)] if targets else []
    parts += [table(["机器 machine", ""], facts.items(), right=False)]
    parts += [section.text for section in sections]
    return "\n\n".join(part.strip() for part in parts) + "\n"
