"""Figures that say what they draw: a text that nbval compares and a blind reader hears.

`inline()` makes pictures in a notebook deterministic and puts the description beside every one of
them, as text/plain and as the picture's alternative text.
"""

from binascii import b2a_base64
from io import BytesIO

import numpy as np
from IPython import get_ipython
from matplotlib import (
    collections,
    colors,
    container,
    contour,
    image,
    patches,
    pyplot,
    quiver,
    ticker,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib_inline.config import InlineBackend

DPI = 100
SIZE = (6.4, 4.0)  # inches
FLOOR = 1e-6  # below this a number on a linear axis is called 0


def number(value, floor=FLOOR):
    """Returns a number with 3 significant digits, the same for values that differ by noise.

    A value below `floor` in size is "0". A value in the middle between two roundings (0.03125) is
    moved up by a millionth of itself, so that noise cannot decide which of the two is printed.
    """
    value = float(value)
    if not np.isfinite(value):
        return str(value)
    if abs(value) < floor:
        return "0"
    return f"{value * (1 + 1e-6):.3g}"


def _range(values, floor=FLOOR):
    """Describes numbers by count, least, greatest and mean; any shape, non-finite ones counted."""
    values = np.ma.masked_invalid(np.ma.asarray(values, dtype=float)).ravel()
    finite = values.compressed()
    if not len(finite):
        return f"{len(values)} nan"
    least, greatest, mean = (number(f(finite), floor) for f in (np.min, np.max, np.mean))
    text = f"{least} … {greatest}, mean {mean}"
    hidden = len(values) - len(finite)
    return f"{text}, {hidden} nan" if hidden else text


def _colours(values):
    """Returns the different colours of an artist, in order, as hex with alpha unless opaque."""
    rgba = colors.to_rgba_array(values)
    names = [colors.to_hex(c, keep_alpha=c[3] < 1) for c in rgba]
    return " ".join(dict.fromkeys(names)) or "none"


def _floors(axes):
    # On a logarithmic axis small numbers are as visible as large ones.
    scales = (axes.get_xscale(), axes.get_yscale())
    return [0 if scale in ("log", "logit", "symlog") else FLOOR for scale in scales]


def _points(points, axes):
    points = np.ma.asarray(points, dtype=float).reshape(-1, 2)
    x, y = (_range(points[:, i], floor) for i, floor in enumerate(_floors(axes)))
    return f"{len(points)} points, x {x}; y {y}"


def _label(artist):
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else f" {label!r}"


def _line(line, axes):
    style = f"{line.get_linestyle()} {line.get_marker()} width {number(line.get_linewidth())}"
    return (
        f"折线 line{_label(line)}: {_colours([line.get_color()])}, {style}, "
        f"{_points(line.get_xydata(), axes)}"
    )


def _values(mappable):
    low, high = (number(limit) for limit in mappable.get_clim())
    return f"{mappable.get_cmap().name} {low} … {high}, {_range(mappable.get_array())}"


def _image(picture, axes):
    rows, columns = np.shape(picture.get_array())[:2]
    extent = " ".join(number(edge) for edge in picture.get_extent())
    return f"图像 image: {rows}×{columns}, extent {extent}, {_values(picture)}"


def _arrows(arrows, axes):
    return (
        f"箭头 arrows{_label(arrows)}: {_colours(arrows.get_facecolor())}, "
        f"{_points(arrows.XY, axes)}; u {_range(arrows.U)}; v {_range(arrows.V)}"
    )


def _contour(lines, axes):
    levels = " ".join(number(level) for level in lines.levels)
    return f"等高线 contour: levels {levels}, {_points(_vertices(lines), axes)}"


def _vertices(collection):
    paths = [path.vertices for path in collection.get_paths()]
    return np.concatenate(paths) if paths else np.empty((0, 2))


def _scatter(dots, axes):
    sizes = _range(dots.get_sizes())
    text = f"散点 dots{_label(dots)}: size {sizes}, {_points(dots.get_offsets(), axes)}"
    if dots.get_array() is not None:
        return f"{text}; {_values(dots)}"
    return f"{text}, {_colours(dots.get_facecolor())}"


def _collection(items, axes):
    kind = type(items).__name__
    text = f"{kind}{_label(items)}: {len(items.get_paths())} paths, "
    if items.get_array() is not None:
        text += _values(items)
    else:
        text += f"face {_colours(items.get_facecolor())}, edge {_colours(items.get_edgecolor())}"
    return f"{text}, {_points(_vertices(items), axes)}"


def _corners(patch):
    return patch.get_patch_transform().transform(patch.get_path().vertices)


def _patch(patch, axes):
    kind = type(patch).__name__
    fill = f"face {_colours([patch.get_facecolor()])}, edge {_colours([patch.get_edgecolor()])}"
    if isinstance(patch, patches.FancyArrowPatch):  # its path exists only once it is drawn
        return f"形状 shape {kind}: {fill}"
    return f"形状 shape {kind}{_label(patch)}: {fill}, {_points(_corners(patch), axes)}"


def _bars(bars, axes):
    places = [(bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height()) for bar in bars]
    fill = _colours([bar.get_facecolor() for bar in bars])
    return f"条形 bars{_label(bars)}: {fill}, {_points(places, axes)}"


def _text(text, axes):
    place = ", ".join(number(value) for value in text.get_position())
    words = f"文字 text {text.get_text()!r} ({place}) {_colours([text.get_color()])}"
    if isinstance(text, Annotation):
        words += f" -> ({', '.join(number(value) for value in text.xy)})"
    return words


# The first class that fits decides.
COLLECTIONS = (
    (quiver.Quiver, _arrows),
    (contour.ContourSet, _contour),
    (collections.PathCollection, _scatter),
    (collections.Collection, _collection),
)


def _artists(axes):
    bars = [c for c in axes.containers if isinstance(c, container.BarContainer)]
    in_bars = {id(bar) for group in bars for bar in group}
    for line in axes.get_lines():
        yield _line(line, axes)
    for items in axes.collections:
        describe_it = next(write for kind, write in COLLECTIONS if isinstance(items, kind))
        yield describe_it(items, axes)
    for picture in axes.get_images():
        if isinstance(picture, image.AxesImage):
            yield _image(picture, axes)
    for group in bars:
        yield _bars(group, axes)
    for patch in axes.patches:
        if id(patch) not in in_bars:
            yield _patch(patch, axes)
    for text in axes.texts:
        yield _text(text, axes)


def _axis(name, axis, scale, limits, floor):
    low, high = (number(limit, floor) for limit in limits)
    words = [name]
    if axis.get_label_text():
        words.append(repr(axis.get_label_text()))
    words.append(f"{scale} {low} … {high}")
    if isinstance(axis.get_major_locator(), ticker.FixedLocator):
        ticks = axis.get_major_formatter().format_ticks(axis.get_major_locator().locs)
        words.append(f"[{' '.join(ticks)}]")
    return " ".join(words)


def _axes(i, axes):
    x_floor, y_floor = _floors(axes)
    head = f"坐标系 axes {i}:"
    if axes.get_title():
        head += f" {axes.get_title()!r}"
    x = _axis("x", axes.xaxis, axes.get_xscale(), axes.get_xlim(), x_floor)
    y = _axis("y", axes.yaxis, axes.get_yscale(), axes.get_ylim(), y_floor)
    yield f"{head} {x}; {y}{'' if axes.axison else '; axis off'}"
    if axes.get_legend() is not None:
        entries = " ".join(repr(text.get_text()) for text in axes.get_legend().get_texts())
        yield f"  图例 legend: {entries}"
    for words in _artists(axes):
        yield f"  {words}"


def describe(figure):
    """Returns what a figure draws, in words and numbers, one line an artist.

    figure: matplotlib.figure.Figure. Numbers have 3 significant digits: count, least, greatest and
    mean of what each artist shows; sizes are in inches, places in data units.
    """
    width, height = (number(side) for side in figure.get_size_inches())
    lines = [f"图 figure {width} × {height}, {len(figure.axes)} axes"]
    if figure.get_suptitle():
        lines[0] += f", {figure.get_suptitle()!r}"
    lines += [f"  {_text(text, None)}" for text in figure.texts if text is not figure._suptitle]
    for i, axes in enumerate(figure.axes):
        lines += _axes(i, axes)
    return "\n".join(lines)


def _png(figure):
    if not figure.axes and not figure.lines:  # as IPython: an empty figure is not shown
        return None
    # Figure.savefig draws twice: once for the layout, which print_png finds as it draws.
    agg = isinstance(figure.canvas, FigureCanvasAgg)
    canvas = figure.canvas if agg else FigureCanvasAgg(figure)
    picture = BytesIO()
    canvas.print_png(picture)
    return b2a_base64(picture.getvalue(), newline=False).decode("ascii"), {"alt": describe(figure)}


def inline():
    """Shows the figures of this notebook as PNG of a fixed size, with their description.

    Raises RuntimeError outside a notebook.
    """
    shell = get_ipython()
    if shell is None:
        raise RuntimeError(
            "figures.inline() 只能在 notebook 里调用。 / figures.inline() works in a notebook only."
        )
    backend = InlineBackend.instance(parent=shell)
    # "tight" would make a picture's size depend on the width of its text.
    backend.print_figure_kwargs = {"bbox_inches": None}
    backend.figure_formats = {"png"}
    shell.run_line_magic("matplotlib", "inline")
    pyplot.rcParams.update({"figure.figsize": SIZE, "figure.dpi": DPI, "savefig.dpi": "figure"})
    pyplot.rcParams["figure.constrained_layout.use"] = True
    # %matplotlib inline removes Figure from every formatter, so this comes after it.
    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Figure, _png)
    formatters["text/plain"].for_type(Figure, lambda figure, p, cycle: p.text(describe(figure)))
