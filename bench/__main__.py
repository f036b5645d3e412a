"""`python -m bench`: measure, print the page, and, when all was measured, write it."""

import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from grading.course import ROOT

from .machine import facts
from .measure import BenchError
from .page import page
from .parts import FULL, PARTS, QUICK

PAGE = ROOT / "docs" / "performance.md"
Parts = Annotated[list[str] | None, typer.Argument(help="、".join(PARTS) + "；默认全部 / all")]


def main(
    parts: Parts = None,
    quick: Annotated[bool, typer.Option(help="少量，几分钟 / small counts, minutes")] = False,
):
    """量性能，与原版工具并排；量了全部时写出 docs/performance.md。

    Measure side by side with stock tools; a whole run writes docs/performance.md.
    """
    console = Console()
    chosen = parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        console.print(
            f"没有 {'、'.join(unknown)} 这一部分；有：{'、'.join(PARTS)}。 / "
            f"There is no part {', '.join(unknown)}; there is {', '.join(PARTS)}."
        )
        raise typer.Exit(2)
    started, sections = time.monotonic(), []
    for name in chosen:
        console.rule(name)
        try:
            sections.append(PARTS[name](QUICK if quick else FULL, console.print))
        except BenchError as error:
            console.print(f"{name}：无法测量。 / {name} could not be measured.\n{error}")
            raise typer.Exit(1) from None
    text = page(sections, facts(), (time.monotonic() - started) / 60)
    console.print(Markdown(text))
    if not quick and not parts:
        PAGE.write_text(text, encoding="utf-8")
        console.print(f"已写出 {PAGE.relative_to(ROOT)} / written")


if __name__ == "__main__":
    sys.exit(typer.run(main))
