"""A small real notebook, run once, for the checks to be tried on."""

import base64
import inspect
import io
import shutil

import nbformat
import pytest
from PIL import Image, ImageDraw

from grading import notebooks

POINTS = [(5, 70), (30, 20), (60, 60), (90, 10), (115, 40)]


def draw(points):
    """A curve as a picture; without matplotlib, which takes seconds to load in a kernel."""
    picture = Image.new("RGB", (120, 80), "white")
    ImageDraw.Draw(picture).line(points, fill="black", width=2)
    return picture


def as_png(points, noise=0):
    """The small notebook's picture, made here; with `noise` one pixel is off by that much."""
    picture = draw(points)
    if noise:
        picture.putpixel((0, 0), (255 - noise,) * 3)
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


PAIR = """## 1 · 梯度 · The gradient

<div lang="zh">

`grad` 返回 $v^\\top J$，它有 3 个分量，见[文档](https://example.org/grad)：

- 一个向量；
- 一个**标量**。

</div>
<div lang="en">

`grad` returns $v^\\top J$, it has 3 components, see the [documentation](https://example.org/grad):

- a vector;
- a **scalar**.

</div>"""


def small_notebook():
    code = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell(PAIR, id="pair"),
        code(f"from PIL import Image, ImageDraw\n{inspect.getsource(draw)}", id="figure"),
        code("import math\nvalue = math.sqrt(2)\nprint(f'{value:.4f}')", id="printed"),
        code("round(value, 3)", id="result"),
        code(f"draw({POINTS})", id="picture"),
        code("value += 1", id="silent"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture(scope="session")
def executed(tmp_path_factory):
    """The path of the small notebook, executed and in canonical form."""
    path = tmp_path_factory.mktemp("clean") / "clean.ipynb"
    nbformat.write(small_notebook(), path)
    notebooks.execute([path])
    return path


@pytest.fixture
def clean(executed, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copy(executed, tmp_path / "clean.ipynb")
