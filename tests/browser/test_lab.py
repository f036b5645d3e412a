"""The course as its readers meet it: JupyterLab started by the launcher, read in Chromium."""

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import urllib.request

import nbformat
import pytest
from playwright.sync_api import expect

from grading.course import assignments, read_source
from grading.misconceptions import misconceptions

from .conftest import TOKEN

LESSON = "notebooks/03-vjp.ipynb"
ASSIGNMENT, EXERCISE = "03-vjp", "vjp"
GREEN, RED = "rgb(26, 127, 55)", "rgb(207, 34, 46)"
SHOWN = {"中文": (True, False), "English": (False, True), "双语": (True, True)}

# For each language: how many halves there are in the rendered Markdown, and how many are shown.
HALVES = """() => ["zh", "en"].map(lang => {
  const halves = [...document.querySelectorAll(`.jp-RenderedMarkdown [lang=${lang}]`)];
  return [halves.length,
          halves.filter(half => getComputedStyle(half).display !== "none").length];
})"""


def pairs(path) -> int:
    """How many pairs of languages a notebook's Markdown cells hold."""
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return sum(text.count('<div lang="zh">') for text in texts)


def choose(page, word: str) -> None:
    page.locator(".tutor-language label", has_text=word).click()


def open_notebook(page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=60_000)
    # What is run before the kernel has answered is lost without a word.
    expect(page.get_by_text("| Idle")).to_be_visible(timeout=60_000)


def assert_the_switch_works(page, count: int, album, name: str) -> None:
    """Click through the three choices; see which halves of all ``count`` pairs are shown."""
    assert count > 0
    for number, (word, shown) in enumerate(SHOWN.items()):
        choose(page, word)
        wanted = [[count, count * shown[0]], [count, count * shown[1]]]
        # JupyterLab renders what is out of sight when the page has nothing else to do. To look in
        # each frame, as Playwright would, leaves it hardly any time for that.
        page.wait_for_function(f"wanted => JSON.stringify(({HALVES})()) === JSON.stringify(wanted)",
                               arg=wanted, polling=500)  # fmt: skip
        page.screenshot(path=album / f"{name}-{number}.png")
    print(f"{name}: {count} pairs looked at, in {len(SHOWN)} positions of the switch")


def test_the_switch_works_at_once_in_lab(lab, page, album):
    """No cell is run here: the lesson is trusted, or else the switch would be dead."""
    open_notebook(page, lab.address(LESSON))
    expect(page.locator(".tutor-language input")).to_have_count(3)
    assert_the_switch_works(page, pairs(lab.root / LESSON), album, "lesson")


def test_the_switch_of_an_untrusted_notebook_is_dead(lab, page):
    """The control of the test above: the launcher's signature is what makes the switch work."""
    stranger = nbformat.read(lab.root / LESSON, as_version=4)
    stranger.cells[-1].source += "\n\nchanged by somebody else"
    nbformat.write(stranger, lab.root / "notebooks" / "99-stranger.ipynb")
    open_notebook(page, lab.address("notebooks/99-stranger.ipynb"))
    buttons = page.locator(".tutor-language input")
    expect(buttons).to_have_count(3)
    assert all(buttons.nth(number).is_disabled() for number in range(3))


def test_two_notebooks_do_not_share_a_switch(lab, page):
    """JupyterLab shows several notebooks in one document: each keeps its own choice."""
    shutil.copy(lab.root / LESSON, lab.root / "notebooks" / "98-second.ipynb")
    open_notebook(page, lab.address(LESSON))
    choose(page, "中文")
    page.locator(".jp-DirListing-item", has_text="98-second").dblclick()
    expect(page.locator(".jp-Notebook")).to_have_count(2)
    second = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    second.locator(".tutor-language label", has_text="English").click()
    checked = page.eval_on_selector_all(
        ".tutor-language input:checked", "inputs => inputs.map(input => input.className).sort()"
    )
    assert checked == ["lang-en", "lang-zh"]


def test_graphs_are_drawn(lab, page, album):
    open_notebook(page, lab.address(LESSON))
    cells = nbformat.read(lab.root / LESSON, as_version=4).cells
    graphs = sum(
        "text/vnd.mermaid" in output.get("data", {})
        for cell in cells
        for output in cell.get("outputs", [])
    )
    assert graphs > 0
    drawn = page.locator(".jp-RenderedMermaid img, .jp-RenderedMermaid svg")
    for number in range(graphs):
        drawn.nth(number).scroll_into_view_if_needed()
    expect(drawn).to_have_count(graphs)
    assert all(drawn.nth(n).bounding_box()["width"] > 50 for n in range(graphs))
    assert page.locator(".jp-RenderedMermaid.jp-mod-warning").count() == 0
    drawn.first.screenshot(path=album / "graph.png")


def position(cells, grade_id: str) -> int:
    """The number of the cell with this grade_id."""
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells]
    return ids.index(grade_id)


def run_cell(page, number: int, source: str | None = None):
    """Run one cell as a person does, after typing ``source`` over it. Returns the cell."""
    cell = page.locator(".jp-Notebook .jp-Cell").nth(number)
    prompt = cell.locator(".jp-InputPrompt")
    select(cell)
    if source is not None:
        cell.locator(".cm-content").first.click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(source)
    before = prompt.inner_text().strip()
    page.keyboard.press("Shift+Enter")
    expect(prompt).not_to_have_text(before, timeout=60_000)
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)
    return cell


def select(cell) -> None:
    """Click beside a cell until it is active and has the keyboard: early clicks can miss."""
    ready = """cell => cell.classList.contains("jp-mod-active")
        && document.activeElement.closest(".jp-Notebook") !== null"""
    for _ in range(20):
        cell.locator(".jp-InputPrompt").click()
        if cell.evaluate(ready):
            return
    raise AssertionError("the cell cannot be selected")


def wrong_answer(exercise: str):
    """The first misconception, with the helpers it calls, as a student would have typed it."""
    wrong = misconceptions(exercise)[0]
    tree = ast.parse(inspect.getsource(inspect.getmodule(wrong.answer)))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    needed, left = [], [wrong.name]
    while left:
        node = functions[left.pop()]
        needed.insert(0, node)
        called = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        left += [name for name in functions if name in called and functions[name] not in needed]
    functions[wrong.name].name = exercise
    functions[wrong.name].decorator_list = []
    lines = [ast.unparse(node) for node in imports if not getattr(node, "level", 0)]
    return wrong, "\n".join(lines + [ast.unparse(node) for node in needed])


@pytest.fixture
def assignment(lab, page):
    """The student's copy of the assignment, opened, and its first cells run."""
    path = f"homework/{ASSIGNMENT}/{ASSIGNMENT}.ipynb"
    open_notebook(page, lab.address(path))
    cells = nbformat.read(lab.root / path, as_version=4).cells
    for number in range(position(cells, EXERCISE)):
        if cells[number].cell_type == "code":
            run_cell(page, number)
    return cells


def test_a_right_answer_is_green(lab, page, album, assignment):
    cells = assignment
    solved = read_source(ASSIGNMENT, lab.root).cells
    right = solved[position(solved, EXERCISE)].source
    run_cell(page, position(cells, EXERCISE), right)
    checked = run_cell(page, position(cells, f"check-{EXERCISE}"))
    head = checked.locator(".tutor p").first
    expect(head).to_have_text(re.compile(rf"{EXERCISE}\s+✓"))
    expect(head).to_have_css("color", GREEN)
    assert "✗" not in checked.locator(".tutor").inner_text()
    checked.screenshot(path=album / "right.png")


def test_a_wrong_answer_is_named_in_both_languages(lab, page, album, assignment):
    cells = assignment
    wrong, source = wrong_answer(EXERCISE)
    run_cell(page, position(cells, EXERCISE), source)
    checked = run_cell(page, position(cells, f"check-{EXERCISE}"))
    expect(checked.locator(".tutor p").first).to_have_css("color", RED)
    zh = checked.locator(".tutor .name [lang=zh]")
    en = checked.locator(".tutor .name [lang=en]")
    expect(zh).to_have_text(wrong.zh)
    expect(en).to_have_text(wrong.en)
    expect(checked.locator("text=CheckFailed").first).to_be_visible()
    checked.screenshot(path=album / "wrong.png")
    choose(page, "中文")
    expect(zh).to_be_visible()
    expect(en).to_be_hidden()
    choose(page, "English")
    expect(zh).to_be_hidden()
    expect(en).to_be_visible()


def test_exported_html_has_the_switch(lab, page, album):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", LESSON, "--output-dir", "out"]
    subprocess.run(command, cwd=lab.root, check=True, capture_output=True, timeout=120)
    # Nothing outside this machine is asked: MathJax and Mermaid would come from the network.
    page.route(re.compile("^https?://"), lambda route: route.abort())
    page.goto((lab.root / "out" / "03-vjp.html").as_uri())
    assert_the_switch_works(page, pairs(lab.root / LESSON), album, "exported")
    assert page.evaluate("getComputedStyle(document.body).display") != "none"


def test_the_lesson_is_the_start_page(lab, page):
    page.goto(f"{lab.url}/?token={TOKEN}")
    page.wait_for_url(re.compile(r"/lab/tree/notebooks/\d\d-"))
    first = sorted((lab.root / "notebooks").glob("[0-8]*.ipynb"))[0].name
    expect(page.locator(".lm-TabBar-tab.lm-mod-current", has_text=first).first).to_be_visible()


def test_nbgrader_is_on(lab, page):
    """The formgrader finds this course, and JupyterLab shows nbgrader's menu and its button."""
    with urllib.request.urlopen(f"{lab.url}/formgrader/api/assignments?token={TOKEN}") as answer:
        listed = [found["name"] for found in json.load(answer)]
    assert sorted(listed) == assignments(lab.root)
    open_notebook(page, lab.address(f"homework/{ASSIGNMENT}/{ASSIGNMENT}.ipynb"))
    expect(page.get_by_role("menuitem", name="Nbgrader")).to_be_visible()
    expect(page.get_by_role("button", name="Validate").first).to_be_visible()
