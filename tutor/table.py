"""A verdict as its reader sees it: a table in HTML, and the same in plain text."""

from html import escape

from .verdict import Difference, FacetVerdict, Verdict, brief

# Each kind of difference in one sentence; the second pair says nothing of the key.
SENTENCES = {
    "raises": (
        "{where}抛出 {yours}",
        "{where}raises {yours}",
        "{where}抛出 {yours}",
        "{where}raises {yours}",
    ),
    "no error": (
        "这里应当抛出 {expected}，却返回了结果",
        "should raise {expected} here, but returns a result",
        "这里应当抛出异常，却返回了结果",
        "should raise an error here, but returns a result",
    ),
    "type": (
        "{where}类型不对：应为 {expected}",
        "{where}is of the wrong type: expected {expected}",
        "{where}类型不对",
        "{where}is of the wrong type",
    ),
    "dtype": (
        "{where}dtype 是 {yours}，应为 {expected}",
        "{where}has dtype {yours}, expected {expected}",
        "{where}dtype 不该是 {yours}",
        "{where}should not have dtype {yours}",
    ),
    "shape": (
        "{where}形状是 {yours}，应为 {expected}",
        "{where}has shape {yours}, expected {expected}",
        "{where}形状不该是 {yours}",
        "{where}should not have shape {yours}",
    ),
    "length": (
        "{where}有 {yours} 项，应为 {expected} 项",
        "{where}has length {yours}, expected {expected}",
        "{where}不该有 {yours} 项",
        "{where}should not have length {yours}",
    ),
    "names": (
        "{where}的键是 {yours}，应为 {expected}",
        "{where}has the keys {yours}, expected {expected}",
        "{where}的键不该是 {yours}",
        "{where}should not have the keys {yours}",
    ),
    "value": (
        "{where}是 {yours}，应为 {expected}",
        "{where}is {yours}, expected {expected}",
        "{where}不该是 {yours}",
        "{where}should not be {yours}",
    ),
}
CSS = (
    "<style>.tutor table{border-collapse:collapse;margin:.4em 0}"
    ".tutor td,.tutor th{text-align:left!important;vertical-align:top;padding:.2em .6em}"
    ".tutor .yes{color:#1a7f37}.tutor .no{color:#cf222e}.tutor .wait{color:#6e7781}"
    ".tutor code{white-space:pre-wrap}.tutor .name{border-left:4px solid #bf8700;"
    "padding:.2em .8em;margin:.4em 0}.tutor p{margin:.3em 0}</style>"
)


def sentences(difference: Difference, expected: bool = True) -> tuple[str, str]:
    """What a difference says in Chinese and in English; without the key if not ``expected``."""
    zh, en, zh_hidden, en_hidden = SENTENCES[difference.kind]
    values = {"yours": difference.yours, "expected": difference.expected}
    first_zh = f"{difference.where} 处" if difference.where else "结果"
    first_en = f"item {difference.where} " if difference.where else "the result "
    chosen = (zh, en) if expected else (zh_hidden, en_hidden)
    return chosen[0].format(where=first_zh, **values), chosen[1].format(where=first_en, **values)


def _remark(line: FacetVerdict, verdict: Verdict, expected: bool) -> tuple[str, str]:
    """What is left to say of a facet: how it differs, or which facet has to be mended first."""
    if line.difference:
        return sentences(line.difference, expected)
    if line.unproven:
        return "由教师复核", "for a teacher to look at"
    if line.blocked:
        first = next(f.facet for f in verdict.facets if f.facet.name == line.blocked)
        return f"先修好“{first.zh}”", f"first mend “{first.en}”"
    return "", ""


def _mark(line: FacetVerdict) -> str:
    return "✗" if not line.passed else "–" if line.blocked or line.unproven else "✓"


def number(value: float) -> str:
    """Points without needless zeros."""
    return f"{value:g}"


def heading(verdict: Verdict) -> str:
    """The exercise's name and its points: ``vjp  ✓ 4/4``."""
    mark = "✓" if verdict.passed else "✗"
    points = f"{number(verdict.points)}/{number(verdict.max_points)}"
    return f"{verdict.exercise.name}  {mark} {points}"


def as_text(verdict: Verdict, expected: bool = True) -> str:
    """The verdict in plain text; ``expected=False`` shows nothing of the key."""
    lines = [heading(verdict)]
    for said in filter(None, (verdict.note, verdict.doubt)):
        lines += [f"  {part}" for part in said]
    for line in verdict.facets:
        points = f"{number(line.points)}/{number(line.facet.points)}"
        lines.append(f"{_mark(line)} {line.facet.zh} / {line.facet.en}  [{points}]")
        if line.difference and not verdict.note:
            zh, en = _remark(line, verdict, expected)
            lines.append(f"    你的 / yours:    {brief(line.difference.mine)}")
            if expected:
                lines.append(f"    期望 / expected: {brief(line.difference.theirs)}")
            lines.append(f"    {zh} / {en}")
        elif (line.blocked or line.unproven) and not verdict.note:
            lines.append("    " + " / ".join(_remark(line, verdict, expected)))
    if verdict.misconception:
        lines += [f"→ {verdict.misconception.zh}", f"→ {verdict.misconception.en}"]
    return "\n".join(lines)


def _both(zh: str, en: str, tag: str = "div") -> str:
    return "".join(
        f'<{tag} lang="{lang}">{escape(text)}</{tag}>' for lang, text in (("zh", zh), ("en", en))
    )


def _sides(line: FacetVerdict, expected: bool) -> list[str]:
    """What holds the difference, as the student has it and as it should be."""
    sides = [line.difference.mine] + ([line.difference.theirs] if expected else [])
    return [f"<code>{escape(brief(side))}</code>" for side in sides]


def _blank(expected: bool) -> list[str]:
    return ["", ""] if expected else [""]


def _row(line: FacetVerdict, verdict: Verdict, expected: bool) -> str:
    mark = _mark(line)
    style = {"✓": "yes", "✗": "no", "–": "wait"}[mark]
    cells = [
        f'<span class="{style}">{mark}</span>',
        _both(line.facet.zh, line.facet.en),
        f"{number(line.points)}/{number(line.facet.points)}",
    ]
    if not verdict.passed:
        cells += (
            _sides(line, expected) if line.difference and not verdict.note else _blank(expected)
        )
        cells.append("" if verdict.note else _both(*_remark(line, verdict, expected)))
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def as_html(verdict: Verdict, expected: bool = True) -> str:
    """The verdict as HTML, everything in it escaped; ``expected=False`` shows nothing of the key.

    Both languages are marked with ``lang``, so that `tutor.language` hides the other one.
    """
    names = [("", ""), ("检查项", "facet"), ("分", "points")]
    if not verdict.passed:
        names += [("你的", "yours")] + ([("期望", "expected")] if expected else [])
        names.append(("首先不同之处", "what differs first"))
    head = "".join(f"<th>{_both(zh, en)}</th>" for zh, en in names)
    rows = "".join(_row(line, verdict, expected) for line in verdict.facets)
    style = "yes" if verdict.passed else "no"
    parts = [CSS, f'<p class="{style}"><b>{escape(heading(verdict))}</b></p>']
    for said in filter(None, (verdict.note, verdict.doubt)):
        parts.append(f'<div class="name">{_both(*said, "p")}</div>')
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    if verdict.misconception:
        named = _both(verdict.misconception.zh, verdict.misconception.en, "p")
        parts.append(f'<div class="name">{named}</div>')
    return f'<div class="tutor">{"".join(parts)}</div>'
