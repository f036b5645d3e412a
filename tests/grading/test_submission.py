"""Reading what was handed in: any file gives a notebook or a sentence, never an error."""

import json
import os
from datetime import datetime

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from grading.rebuild import grade_id
from grading.states import State
from grading.submission import parse, read_file, read_timestamp


def read(path):
    """(the notebook or None, the notes) for whatever is at a path."""
    found = read_file(path)
    return parse(found.content) if found.refusal is None else (None, [found.refusal])


CELL = {"nbgrader": {"grade_id": "one", "solution": True}}


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "student" / "01-a"
    folder.mkdir(parents=True)
    return folder / "01-a.ipynb"


def notebook():
    return new_notebook(cells=[new_code_cell("answer = 1", metadata=CELL)])


def test_a_notebook_is_read(path):
    nbformat.write(notebook(), path)
    nb, notes = read(path)
    assert [c.source for c in nb.cells] == ["answer = 1"]
    assert notes == []
    assert len(read_file(path).digest) == 64


def test_a_byte_order_mark_and_format_3_are_read(path):
    old = nbformat.writes(nbformat.convert(notebook(), 3), version=3)
    path.write_text(old, encoding="utf-8-sig")
    nb, _ = read(path)
    (cell,) = nb.cells
    assert (cell.source, grade_id(cell)) == ("answer = 1", "one")


GOOD = nbformat.writes(notebook())
BAD = {
    "empty": b"",
    "blank": b" \n\n ",
    "half": GOOD[: len(GOOD) // 2].encode(),
    "utf-16": GOOD.encode("utf-16"),
    "binary": bytes(range(256)),
    "list": b"[1, 2]",
    "text": b'"notebook"',
    "null": b"null",
    "no format": b'{"cells": []}',
    "deep": b"[" * 100_000,
    "huge number": b'{"nbformat": 4, "cells": ' + b"9" * 10_000 + b"}",
    "format 1": b'{"nbformat": 1, "cells": []}',
    "format 9": GOOD.replace('"nbformat": 4', '"nbformat": 9').encode(),
    "format <b>": GOOD.replace('"nbformat": 4', '"nbformat": "<b>"').encode(),
    "format []": b'{"nbformat": [], "cells": []}',
    "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells no list": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": {"a": 1}}',
    "cell no dict": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [7]}',
    "cell without source": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, '
    b'"cells": [{"cell_type": "code", "metadata": {}}]}',
    "source no text": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, '
    b'"cells": [{"cell_type": "code", "metadata": {}, "source": {"a": 1}}]}',
    "metadata no dict": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, '
    b'"cells": [{"cell_type": "code", "metadata": 3, "source": "x"}]}',
    "malformed 3": b'{"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": 3}]}',
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_is_no_notebook_is_refused_in_both_languages(path, content):
    path.write_bytes(content)
    nb, (note,) = read(path)
    assert nb is None
    assert note.state is State.INVALID_FILE
    assert "。" in note.zh and note.en.endswith(".")


def test_a_missing_notebook_has_its_own_state(path):
    assert read(path)[1][0].state is State.MISSING_NOTEBOOK
    assert read(path / "deeper")[1][0].state is State.MISSING_NOTEBOOK


def test_too_large_a_file_is_not_read(path):
    path.write_text(GOOD)
    size = len(GOOD.encode())
    assert read_file(path, size).content == GOOD.encode()
    found = read_file(path, size - 1)
    assert found.content is None and "larger" in found.refusal.en


def test_no_link_is_followed(path, tmp_path):
    target = tmp_path / "other.ipynb"
    target.write_text(GOOD)
    path.symlink_to(target)
    assert "symbolic link" in read(path)[1][0].en
    path.unlink()
    nbformat.write(notebook(), path)
    for link, to in (("by-assignment", path.parent), ("by-student", path.parent.parent)):
        other = tmp_path / link
        if link == "by-student":
            other.symlink_to(to)
            found = other / "01-a" / "01-a.ipynb"
        else:
            other.mkdir()
            (other / "01-a").symlink_to(to)
            found = other / "01-a" / "01-a.ipynb"
        assert found.exists()
        assert "symbolic link" in read(found)[1][0].en


def test_a_folder_and_a_pipe_are_refused(path):
    path.mkdir()
    assert "not an ordinary file" in read(path)[1][0].en
    path.rmdir()
    os.mkfifo(path)
    assert "not an ordinary file" in read(path)[1][0].en


def test_the_digest_tells_files_and_reasons_apart(path):
    digests = set()
    for content in (GOOD.encode(), GOOD.encode() + b" ", b"", b"x"):
        path.write_bytes(content)
        digests.add(read_file(path).digest)
        assert read_file(path).digest == read_file(path).digest
    path.unlink()
    digests.add(read_file(path).digest)
    path.symlink_to(path.parent)
    digests.add(read_file(path).digest)
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01 12:00:00.5 UTC", datetime(2026, 3, 1, 12, 0, 0, 500_000)),
        ("2026-03-01 12:00:00 Asia/Shanghai", datetime(2026, 3, 1, 4)),
        ("", None),
        ("not a time", None),
        ("0 0 0 0", None),
        ("9" * 190, None),
        ("2026-03-01 " * 100, None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_timestamps(path, text, expected):
    content = text if isinstance(text, bytes) else text.encode()
    (path.parent / "timestamp.txt").write_bytes(content)
    assert read_timestamp(path.parent) == expected


def test_a_timestamp_is_not_read_through_a_link(path, tmp_path):
    (tmp_path / "time.txt").write_text("2026-03-01 12:00:00 UTC")
    (path.parent / "timestamp.txt").symlink_to(tmp_path / "time.txt")
    assert read_timestamp(path.parent) is None


def test_json_that_repeats_or_adds_is_no_harm(path):
    data = json.loads(GOOD)
    data["surprise"] = {"a": [1]}
    data["cells"][0]["surprise"] = 1
    path.write_text(json.dumps(data))
    assert read(path)[0].cells[0].source == "answer = 1"
