"""Execute the course's notebooks in place and keep every file in one canonical form.

The form leaves nothing in a file that changes without a reason, so that a diff shows what an
author did: stable cell ids, a fixed set of metadata, merged streams, no tracebacks (nobody
compares them), JSON as nbformat writes it. `execute` makes the outputs, `canonical` only orders
what is there: it never invents an execution count.
"""

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, ValidationError
from PIL import Image

from . import kernels, sockets
from .course import ROOT, course_notebooks

PICTURE_RMS = 1.0  # of decoded pixels, 0 to 255: noise stays below 0.005, real changes above 1.6
PICTURES = ("image/png", "image/jpeg")

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
NOTEBOOK_METADATA = ("title", "authors")
CELL_METADATA = ("nbgrader", "tags", "editable", "deletable")
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class NotebookError(Exception):
    """A notebook that cannot be read or run; the message is a sentence in both languages."""

    def __init__(self, zh: str, en: str):
        super().__init__(f"{zh}\n{en}")


def name_of(path: Path | str) -> str:
    """The path as a reader of a message knows it: relative to the course where it can be."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def read(path: Path | str) -> NotebookNode:
    """Read an nbformat 4 file, without the random cell ids that nbformat.read would add.

    Raises NotebookError for a file that is no notebook, or a notebook of another format.
    """
    name = name_of(path)
    try:
        nb = nbformat.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        if nb["nbformat"] != 4:
            raise ValueError(f"nbformat {nb['nbformat']}")
        nb.nbformat_minor = 5
        give_ids(nb.cells)
        for cell in nb.cells:
            _join_lines(cell)
        nbformat.validate(nb)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise NotebookError(
            f"读不了 {name}：它不是 nbformat 4 的笔记本（{reason}）。",
            f"Cannot read {name}: it is no notebook of nbformat 4 ({reason}).",
        ) from error
    return nb


def _join_lines(cell: NotebookNode) -> None:
    """Join the lists of lines that nbformat keeps texts in (nbformat.reads would do it)."""
    cell.source = _joined(cell.source)
    for output in cell.get("outputs", []):
        if "text" in output:
            output.text = _joined(output.text)
        for mime, value in output.get("data", {}).items():
            if not mime.endswith("json"):
                output.data[mime] = _joined(value)


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def give_ids(cells: list[NotebookNode]) -> None:
    """Keep the ids that are valid and unique; derive the others from the cell's own text."""
    taken: set[str] = set()
    for cell in cells:
        if not CELL_ID.fullmatch(str(cell.get("id", ""))) or cell.id in taken:
            cell.id = _derived_id(cell, taken)
        taken.add(cell.id)


def _derived_id(cell: NotebookNode, taken: set[str]) -> str:
    stem = hashlib.sha256(_joined(cell.source).encode()).hexdigest()[:8]
    count = 1
    candidate = stem
    while candidate in taken:
        count += 1
        candidate = f"{stem}-{count}"
    return candidate


def canonical(nb: NotebookNode) -> str:
    """The one text of this notebook. Pure: `nb` stays as it is. ASCII newline at the end."""
    nb = nbformat.from_dict(json.loads(json.dumps(nb)))
    nb.nbformat, nb.nbformat_minor = 4, 5
    give_ids(nb.cells)
    kept = {key: nb.metadata[key] for key in NOTEBOOK_METADATA if key in nb.metadata}
    nb.metadata = nbformat.from_dict(
        {**kept, "kernelspec": KERNELSPEC, "language_info": LANGUAGE_INFO}
    )
    for cell in nb.cells:
        cell.metadata = NotebookNode(
            {key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key) is not None}
        )
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = merge_streams([_plain_output(output) for output in cell.outputs])
    return nbformat.writes(nb, version=4).rstrip("\n") + "\n"


def _plain_output(output: NotebookNode) -> NotebookNode:
    if output.output_type == "error":
        output.traceback = [f"{output.ename}: {output.evalue}"]
    for mime in PICTURES:
        if mime in output.get("data", {}):
            output.data[mime] = _joined(output.data[mime]).replace("\n", "")
    return output


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One stdout, then one stderr, between two outputs of other kinds.

    The kernel flushes its streams when it likes, so pieces and their order are chance.
    """
    merged: list[NotebookNode] = []
    run: dict[str, NotebookNode] = {}
    for output in outputs:
        if output.output_type != "stream":
            merged += [run[name] for name in sorted(run, reverse=True)]
            run = {}
            merged.append(output)
        elif output.name in run:
            run[output.name].text += output.text
        else:
            run[output.name] = output
    return merged + [run[name] for name in sorted(run, reverse=True)]


def picture_distance(left: str, right: str) -> float:
    """RMS of the decoded pixels (RGBA, 0 to 255) of two base64 pictures; inf for other sizes."""
    pixels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA"), dtype=float)
        for text in (left, right)
    ]
    if pixels[0].shape != pixels[1].shape:
        return float("inf")
    return float(np.sqrt(np.mean((pixels[0] - pixels[1]) ** 2)))


def run(
    nb: NotebookNode,
    folder: Path,
    env: dict[str, str],
    kernel_name: str = "python3",
    **options,
) -> NotebookNode:
    """Run `nb` in a fresh kernel in `folder`, in place; `options` are nbclient's traits."""
    with tempfile.TemporaryDirectory() as names:
        client = NotebookClient(
            nb,
            km=sockets.manager(Path(names), kernel_name),
            timeout=kernels.CELL_TIMEOUT,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            **options,
        )
        # What Python writes to stderr comes as messages; the rest is the kernel's own chatter.
        return client.execute(env=env, stderr=subprocess.DEVNULL)


def execute(paths: Iterable[Path | str]) -> list[Path]:
    """Run each notebook where it lies and write it in the canonical form.

    Returns the paths whose text changed. Raises NotebookError, with the cell's number (from 1,
    every kind of cell counts) and id, for a notebook that fails; its file then stays as it was.
    """
    changed = []
    with kernels.environment() as env:
        for path in map(Path, paths):
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            old = read(path)
            nb = nbformat.from_dict(json.loads(json.dumps(old)))
            for cell in nb.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            try:
                run(nb, path.resolve().parent, env)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                raise _failure(path, nb, error) from error
            keep_pictures(old, nb)
            text = canonical(nb)
            if text != before:
                path.write_text(text, encoding="utf-8")
                changed.append(path)
    return changed


def _failure(path: Path, nb: NotebookNode, error: Exception) -> NotebookError:
    """The cell that failed is the last one that was started: nbclient stops there."""
    started = [
        index
        for index, cell in enumerate(nb.cells)
        if cell.cell_type == "code" and (cell.execution_count or cell.outputs)
    ]
    index = started[-1] if started else 0
    if isinstance(error, CellExecutionError):
        reason = f"{error.ename}: {error.evalue}".split("\n")[0]
    else:
        reason = type(error).__name__
    name, cell = name_of(path), nb.cells[index].id
    return NotebookError(
        f"{name} 的第 {index + 1} 个单元格（id {cell}）运行失败：{reason}。文件未改动。",
        f"Cell {index + 1} (id {cell}) of {name} failed: {reason}. The file is left as it was.",
    )


def keep_pictures(old: NotebookNode, new: NotebookNode) -> None:
    """Put the old picture back wherever the new one shows the same, so that diffs stay quiet."""
    stored = {cell.id: cell.get("outputs", []) for cell in old.cells}
    for cell in new.cells:
        for before, after in zip(stored.get(cell.id, []), cell.get("outputs", []), strict=False):
            was, now = before.get("data", {}), after.get("data", {})
            if was.get("text/plain") != now.get("text/plain"):
                continue
            for mime in PICTURES:
                if mime in was and mime in now and _same(was[mime], now[mime]):
                    now[mime] = was[mime]


def _same(left: str, right: str) -> bool:
    try:
        return picture_distance(left, right) <= PICTURE_RMS
    except OSError:  # the stored picture is broken: the new one is better
        return False


def check_canonical(paths: Iterable[Path | str]) -> list[str]:
    """One sentence for each file that is not in the canonical form."""
    faults = []
    for path in map(Path, paths):
        text, wanted = path.read_text(encoding="utf-8"), canonical(read(path))
        if text != wanted:
            faults.append(f"{name_of(path)}: {_first_difference(text, wanted)}")
    return faults


def _first_difference(text: str, wanted: str) -> str:
    have, want = text.split("\n"), wanted.split("\n")
    number = next(
        (n for n, (a, b) in enumerate(zip(have, want, strict=False)) if a != b),
        min(len(have), len(want)),
    )
    shown = have[number].strip()[:80] if number < len(have) else "end of the file"
    return f"not in the canonical form from line {number + 1} on ({shown}); run `make notebooks`"


def main(paths: Iterable[Path | str] = (), check: bool = False) -> int:
    """Execute (or, with `check`, only compare) these notebooks, by default all; an exit code."""
    paths = [Path(path) for path in paths] or course_notebooks()
    if not paths:
        print("没有找到笔记本。 / No notebook found.", file=sys.stderr)
        return 1
    try:
        if check:
            faults = check_canonical(paths)
            print("\n".join(faults + [f"{len(paths)} notebooks checked, {len(faults)} faults"]))
            return int(bool(faults))
        for path in paths:
            changed = execute([path])
            print(f"{name_of(path)}: {'written' if changed else 'unchanged'}", flush=True)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
