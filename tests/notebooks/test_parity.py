"""The parity check: a clean cell passes, and each planted fault is caught and named."""

import nbformat
import pytest

from grading import notebooks, parity
from grading.course import course_notebooks

from .conftest import PAIR

FAULTS = {
    "a formula in one language": ("returns $v^\\top J$", "returns $J v$", "formulas differ"),
    "a number in one language": ("has 3 components", "has 4 components", "numbers differ"),
    "a code span": ("`grad` returns", "`backward` returns", "code spans differ"),
    "a link": ("[documentation](https://example.org/grad)",
               "[documentation](https://example.org/vjp)", "links differ"),
    "a list item": ("- a vector;\n", "", "shape differ"),
    "a missing English half": (PAIR[PAIR.index('<div lang="en">'):], "", "missing or out of place"),
    "a missing Chinese half": (
        PAIR[PAIR.index('<div lang="zh">'):PAIR.index('<div lang="en">')], "",
        "missing or out of place"),
    "an empty half": (PAIR[PAIR.index("`grad` returns"):PAIR.index("\n\n</div>", 200)], "",
                      "needs a text"),
    "no blank line": ('<div lang="zh">\n\n', '<div lang="zh">\n', "blank line"),
    "prose outside": ('<div lang="zh">', 'Both.\n\n<div lang="zh">', "outside a pair"),
    "a heading in one language": ("## 1 · 梯度 · The gradient", "## 1 · 梯度", "the heading must"),
    "a wrong term in a heading": ("· The gradient", "· The Jacobian", "heading: term"),
    "a heading in a half": ("- 一个向量；", "### 小节\n\n- 一个向量；", "inside a half"),
    "a wrong term": ("一个**标量**", "一个**张量**", "term: "),
    "a term nobody uses": ("一个**标量**", "一个**纯量**", "'纯量' is not used"),
    "a half-width comma": ("$v^\\top J$，它", "$v^\\top J$, 它", "half-width punctuation"),
    "a half-width full stop": ("**标量**。", "**标量**.", "half-width punctuation"),
    "half-width brackets": ("一个向量；", "一个向量(行)；", "half-width punctuation"),
    "no space before code": ("`grad` 返回", "`grad`返回", "no space"),
    "no space before a digit": ("它有 3 个", "它有3个", "no space"),
    "a space before punctuation": ("一个向量；", "一个向量 ；", "beside full-width punctuation"),
    "a line break inside Chinese": ("，它有", "，它\n有", "inside Chinese"),
    "full-width digits": ("它有 3 个", "它有 ３ 个", "full-width Latin"),
    "Chinese in the English half": ("a vector;", "a vector；", "Chinese in the English half"),
    "emphasis that stays asterisks": ("一个**标量**。", "一个**标量。**好", "not rendered"),
}


def notebook(tmp_path, *cells):
    path = tmp_path / "parity.ipynb"
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in cells])
    nbformat.write(nb, path)
    return path


def test_a_clean_cell_passes_and_is_counted(tmp_path):
    faults, counts = parity.notebook_faults([notebook(tmp_path, PAIR, PAIR)])
    assert faults == []
    assert counts["pairs"] == counts["headings"] == 2
    kinds = ("formulas", "code spans", "links", "numbers", "terms")
    assert all(counts[kind] >= 2 for kind in kinds), counts


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(tmp_path, name):
    good, bad, message = FAULTS[name]
    assert PAIR.count(good) == 1
    path = notebook(tmp_path, PAIR, PAIR.replace(good, bad))
    faults, _ = parity.notebook_faults([path])
    assert any(message in fault for fault in faults), faults
    assert all("parity.ipynb cell 2" in fault for fault in faults)


def test_nothing_compared_is_a_failure(tmp_path, capsys):
    path = notebook(tmp_path, "## 1 · 梯度 · The gradient")
    assert parity.main([path]) == 1
    assert "no pair of languages was compared" in capsys.readouterr().out


@pytest.mark.parametrize(("zh", "en"), [
    ("有 1000 行、2 列。", "It has 1,000 rows and 2 columns."),
    ("第 2 个是 $-1$，也就是 −1 倍。", "The 2nd is $-1$, that is −1 times."),
    ("一维张量；见 S4-29。", "A 1-D tensor; see S4-29."),
    ("两个叶子。", "Two leaves."),
    ("这张图里有节点。", "The nodes are in the graph."),
    ("算出向量–雅可比积。", "Compute vector-Jacobian products."),
    ("《Pytorch autograd.grad 函数研究》里有。", "It is in 《Pytorch autograd.grad 函数研究》."),
    ("| 名 | 值 |\n|---|---|\n| 甲 | `x` |", "| name | value |\n|---|---|\n| one | `x` |"),
    ("**坑** 全 1 藏住了错。**猜一猜** 哪一行？", "**Trap** Ones hide it. **Predict** Which row?"),
    ("设 $x \\in  R$。", "Let $x\\in R$."),
    ("<details>\n<summary>我看到 <code>E: $1</code></summary>\n\n提示。\n\n</details>",
     "<details>\n<summary>I see <code>E: $1</code></summary>\n\nA hint.\n\n</details>"),
])
def test_real_prose_passes(zh, en):
    assert parity.compare(zh, en)[0] == []


@pytest.mark.parametrize(("zh", "en", "message"), [
    ("值是 −1。", "The value is 1.", "numbers differ"),
    ("见 S4-29。", "See S4-30.", "numbers differ"),
    ("| 名 | 值 |\n|---|---|\n| 甲 | 乙 |", "| name |\n|---|\n| one |", "shape differ"),
    ("```python\nx = 1\n```", "```python\nx = 2\n```", "code fences differ"),
    ("![热图](a.png)", "![heat map](b.png)", "images differ"),
    ("<details>\n<summary>看 <code>a</code></summary>\n</details>",
     "<details>\n<summary>See <code>b</code></summary>\n</details>", "code spans differ"),
    ("`a` 和 `b`", "`b` and `a`", "code spans differ"),
    ("值是 **梯度** 吗", "Is it the **gradient**", "inside Chinese"),
    ("全 1 的 $v$", "$v$ of the value", "term: "),
    ("雅可比–向量积", "vector–Jacobian product", "term: "),
    ("The value.", "The value.", "one half has a text"),
])
def test_subtle_differences_are_caught(zh, en, message):
    faults, _ = parity.compare(zh, en)
    assert any(message in fault for fault in faults), faults


def test_documents_are_compared_section_by_section(tmp_path):
    zh, en = tmp_path / "README.zh.md", tmp_path / "README.md"
    zh.write_text("# 课程\n\n有 3 课，见 [README](README.md)。\n\n## 用法\n\n`make lab`\n", "utf-8")
    en.write_text("# Course\n\n3 lessons, see [README](README.zh.md).\n\n## Use\n\n`make lab`\n")
    assert parity.document_faults(zh, en)[0] == []
    en.write_text(en.read_text().replace("`make lab`", "`make test`"))
    faults, counts = parity.document_faults(zh, en)
    assert len(faults) == 1 and "用法" in faults[0] and counts["pairs"] == 3
    en.write_text(en.read_text().replace("## Use", "### Use"))
    assert "headings differ" in parity.document_faults(zh, en)[0][0]


def test_the_glossary_is_sound():
    glossary = parity.glossary()
    assert len(glossary.names) >= 40
    for row in range(len(glossary.names)):
        assert any(variant.row == row and (variant.asks or other.asks)
                   for variant in glossary.zh for other in glossary.en if other.row == row), row


def test_the_course_speaks_both_languages():
    paths = course_notebooks()
    faults, counts = parity.notebook_faults(paths)
    print(dict(counts))
    assert faults == []
    assert counts["notebooks"] == len(paths) > 0
    assert all(counts[kind] > 0 for kind in (*parity.KINDS[:2], "links", "numbers", "terms"))


def test_the_readme_speaks_both_languages():
    faults, counts = parity.document_faults(notebooks.ROOT / "README.zh.md",
                                            notebooks.ROOT / "README.md")
    assert faults == []
    assert counts["pairs"] > 1 and counts["code spans"] > 0
