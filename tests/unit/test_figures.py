import base64
import io
import subprocess
import sys

import matplotlib
import nbclient
import nbformat
import numpy as np
import pytest
from matplotlib import pyplot

from tutor import figures

matplotlib.use("agg")

X = np.linspace(0.0, 1.0, 11)


def lines(ax, y=X, **style):
    ax.plot(X, y, **style)


def image(ax, values=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), cmap="RdBu"):
    ax.imshow(values, cmap=cmap)


def arrows(ax, u=1.0, color="k"):
    ax.quiver([0, 1], [0, 1], [u, 2.0], [1.0, 1.0], color=color)


def bars(ax, heights=(1.0, 2.0), color="C0"):
    ax.bar(["a", "b"], heights, color=color)


def dots(ax, y=X, **style):
    ax.scatter(X, y, **style)


def mesh(ax, factor=1.0):
    ax.pcolormesh(np.outer(X, X) * factor)


def contours(ax, levels=(0.2, 0.5)):
    ax.contour(X, X, np.outer(X, X), levels=levels)


def area(ax, top=1.0, color="C0"):
    ax.fill_between(X, 0, X * top, color=color)


def text(ax, words="v", x=0.5):
    ax.text(x, 0.5, words)


def note(ax, words="v", xy=(0.5, 0.5)):
    ax.annotate(words, xy, (0, 0), arrowprops={"arrowstyle": "->"})


def span(ax, low=0.2):
    ax.axvspan(low, 0.5)


def polygon(ax, corner=1.0):
    ax.fill([0, 1, corner], [0, 0, 1])


def described(draw, *args, set_up=None, **kwargs):
    figure, ax = pyplot.subplots(figsize=(4, 3))
    try:
        draw(ax, *args, **kwargs)
        if set_up:
            set_up(ax)
        return figures.describe(figure)
    finally:
        pyplot.close(figure)


CHANGES = [
    (lines, {"y": X**2}), (lines, {"color": "C1"}), (lines, {"linestyle": "--"}),
    (lines, {"marker": "o"}), (lines, {"label": "f"}), (lines, {"linewidth": 3}),
    (lines, {"y": np.where(X > 0.5, np.nan, X)}),
    (image, {"values": ((1.0, 2.0, 3.0), (4.0, 5.0, 6.1))}), (image, {"cmap": "viridis"}),
    (image, {"values": ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))}),
    (arrows, {"u": 1.5}), (arrows, {"color": "r"}),
    (bars, {"heights": (1.0, 2.1)}), (bars, {"color": "C2"}),
    (dots, {"y": X**2}), (dots, {"s": 4}), (dots, {"c": X}), (dots, {"color": "r"}),
    (mesh, {"factor": 1.1}), (contours, {"levels": (0.2, 0.6)}),
    (area, {"top": 1.1}), (area, {"color": "r"}),
    (text, {"words": "w"}), (text, {"x": 0.6}), (note, {"words": "w"}), (note, {"xy": (0.6, 0.5)}),
    (span, {"low": 0.3}), (polygon, {"corner": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "change"), CHANGES)
def test_a_changed_artist_changes_the_description(draw, change):
    assert described(draw) == described(draw)
    assert described(draw, **change) != described(draw)


SETTINGS = {
    "title": lambda ax: ax.set_title("J"),
    "xlabel": lambda ax: ax.set_xlabel("x"),
    "ylabel": lambda ax: ax.set_ylabel("y"),
    "scale": lambda ax: ax.set_xscale("symlog"),
    "limits": lambda ax: ax.set_ylim(0, 2),
    "legend": lambda ax: ax.legend(["a"]),
    "ticks": lambda ax: ax.set_xticks([0, 1], ["a", "b"]),
    "axis off": lambda ax: ax.set_axis_off(),
    "second axes": lambda ax: ax.figure.add_axes((0, 0, 0.1, 0.1)),
    "suptitle": lambda ax: ax.figure.suptitle("J"),
    "figure text": lambda ax: ax.figure.text(0, 0, "J"),
    "size": lambda ax: ax.figure.set_size_inches(5, 3),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_changed_setting_changes_the_description(name):
    assert described(lines, set_up=SETTINGS[name]) != described(lines)


@pytest.mark.parametrize("draw", [lines, dots])
def test_noise_does_not_change_the_description(draw):
    noise = 1e-7 * np.sin(1000 * X)
    assert described(draw, y=np.sin(2 * np.pi * X) + noise) == described(
        draw, y=np.sin(2 * np.pi * X)
    )


def test_noise_in_a_heat_map_does_not_change_the_description():
    values = np.array([[0.0, 1.0], [0.03125, 2.5]])
    assert described(image, values=values + 1e-8) == described(image, values=values)


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.03125, "0.0313"), (0.03125 - 1e-12, "0.0313"), (-0.03125, "-0.0313"), (1e-7, "0"),
        (-1e-7, "0"), (1234567, "1.23e+06"), (2.0, "2"), (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_numbers(value, printed):
    assert figures.number(value) == printed


def test_small_values_count_on_a_logarithmic_axis():
    def log(ax):
        ax.set_yscale("log")

    assert described(lines, y=X * 1e-9 + 1e-9, set_up=log) != described(
        lines, y=X * 2e-9 + 1e-9, set_up=log
    )


def test_the_words_of_a_line():
    words = described(lines, y=2 * X, label="f", color="r", set_up=lambda ax: ax.legend())
    assert words.splitlines() == [
        "图 figure 4 × 3, 1 axes",
        "坐标系 axes 0: x linear -0.05 … 1.05; y linear -0.1 … 2.1",
        "  图例 legend: 'f'",
        "  折线 line 'f': #ff0000, - None width 1.5, 11 points, x 0 … 1, mean 0.5; y 0 … 2, mean 1",
    ]


def test_an_empty_figure_and_empty_artists_are_described():
    assert figures.describe(matplotlib.figure.Figure()).endswith("0 axes")
    assert "0 points, x 0 nan" in described(lambda ax: ax.plot([], []))


CELLS = [
    "from tutor import figures\nfigures.inline()",
    "from matplotlib import pyplot as plt\nplt.plot([0, 1], [0, 3])\nplt.ylabel('y' * 40)\n"
    "plt.show()",
    "fig, ax = plt.subplots()\nax.plot([0, 1], [0, 3])\nplt.close(fig)\nfig",
]


def test_in_a_notebook_a_picture_has_its_description_and_a_fixed_size():
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    shown = [cell.outputs for cell in notebook.cells]
    assert shown[0] == []
    for outputs in shown[1:]:
        (output,) = outputs
        assert set(output.data) == {"text/plain", "image/png"}
        assert "y 0 … 3, mean 1.5" in output.data["text/plain"]
        assert output.metadata["image/png"]["alt"] == output.data["text/plain"]
        header = base64.b64decode(output.data["image/png"])[:24]
        size = np.frombuffer(header[16:], ">u4")
        assert list(size) == [640, 400]


@pytest.mark.parametrize("layout", ["constrained", "tight", None])
def test_a_picture_is_drawn_once_and_is_the_one_that_savefig_draws_twice(layout):
    def draw(draws):
        figure, (left, right) = pyplot.subplots(1, 2, layout=layout, facecolor="0.9")
        lines(left, label="$\\frac{dy}{dx}$")
        left.set_ylabel("y" * 20)
        left.legend()
        image(right)
        before = figure.draw
        figure.draw = lambda renderer: (draws.append(1), before(renderer))
        return figure

    once, twice, stored = [], [], io.BytesIO()
    picture, described = figures._png(draw(once))
    draw(twice).savefig(stored, format="png", facecolor="auto", dpi="figure")
    assert base64.b64decode(picture) == stored.getvalue()
    assert len(once) == 1 and len(twice) == (2 if layout else 1)
    assert described["alt"].startswith("图 figure")
    pyplot.close("all")


def test_a_figure_without_a_canvas_that_can_draw_is_given_one_and_an_empty_one_is_not_shown():
    figure = matplotlib.figure.Figure()
    assert figures._png(figure) is None
    lines(figure.subplots())
    assert base64.b64decode(figures._png(figure)[0]).startswith(b"\x89PNG")


def test_outside_a_notebook_inline_is_refused_in_both_languages():
    code = "from tutor import figures\nfigures.inline()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "RuntimeError" in run.stderr and "works in a notebook only" in run.stderr
