"""The canonical form, and executing notebooks in place."""

import ast
import json

import nbformat
import pytest

from grading import course, notebooks, strict

from .conftest import POINTS, as_png, small_notebook


def edit(path, change):
    """Apply `change` to the notebook's JSON and write it back the way it was written."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")


def cell(data, name):
    return next(cell for cell in data["cells"] if cell["id"] == name)


def test_executed_is_canonical_and_stays_so(clean):
    text = clean.read_text(encoding="utf-8")
    assert notebooks.check_canonical([clean]) == []
    nb = notebooks.read(clean)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    assert cell(nb, "printed").outputs[0].text == "1.4142\n"
    assert "3.11" not in text and text.endswith("}\n")
    assert notebooks.execute([clean]) == []
    assert clean.read_text(encoding="utf-8") == text


SPOILERS = {
    "version": lambda data: data["metadata"]["language_info"].update(version="3.11.7"),
    "widgets": lambda data: data["metadata"].update(widgets={"state": {}}),
    "timestamps": lambda data: cell(data, "printed")["metadata"].update(execution={"a": "2026"}),
    "scrolled": lambda data: cell(data, "printed")["metadata"].update(scrolled=True),
    "split streams": lambda data: cell(data, "printed").update(outputs=[
        {"name": "stdout", "output_type": "stream", "text": [part]} for part in ("1.41", "42\n")]),
    "one id twice": lambda data: cell(data, "silent").update(id="picture"),
    "no id": lambda data: cell(data, "silent").pop("id"),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_another_form_is_noticed_and_mended(clean, name):
    edit(clean, SPOILERS[name])
    faults = notebooks.check_canonical([clean])
    assert len(faults) == 1 and "canonical form from line" in faults[0]
    mended = notebooks.canonical(notebooks.read(clean))
    clean.write_text(mended, encoding="utf-8")
    assert notebooks.check_canonical([clean]) == []
    nb = nbformat.read(clean, as_version=4)
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)


def test_missing_newline_is_noticed(clean):
    clean.write_text(clean.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    assert len(notebooks.check_canonical([clean])) == 1


def test_nbgrader_metadata_and_tags_survive():
    nb = small_notebook()
    graded = {"grade_id": "vjp", "grade": False, "solution": True, "locked": False,
              "schema_version": 3, "task": False}
    nb.cells[1].metadata = nbformat.from_dict({"nbgrader": graded, "tags": ["raises-exception"],
                                               "collapsed": True})
    metadata = json.loads(notebooks.canonical(nb))["cells"][1]["metadata"]
    assert metadata == {"nbgrader": graded, "tags": ["raises-exception"]}


def test_streams_are_merged_between_other_outputs():
    stream, data = nbformat.v4.new_output, {"text/plain": "1"}
    outputs = [stream("stream", name="stderr", text="w"), stream("stream", name="stdout", text="a"),
               stream("stream", name="stdout", text="b"), stream("display_data", data=data),
               stream("stream", name="stdout", text="c")]
    merged = notebooks.merge_streams(outputs)
    assert [output.get("text", "-") for output in merged] == ["ab", "w", "-", "c"]


def test_a_picture_within_the_noise_is_kept(executed):
    old, new = notebooks.read(executed), notebooks.read(executed)
    was, now = (cell(nb, "picture").outputs[0].data for nb in (old, new))
    now["image/png"] = as_png(POINTS, noise=1)
    notebooks.keep_pictures(old, new)
    assert now["image/png"] == was["image/png"]
    now["image/png"] = changed = as_png([*POINTS[:2], (60, 50), *POINTS[3:]])
    notebooks.keep_pictures(old, new)
    assert now["image/png"] == changed
    now["image/png"] = noisy = as_png(POINTS, noise=1)
    now["text/plain"] = "another description"
    notebooks.keep_pictures(old, new)
    assert now["image/png"] == noisy


def test_a_failing_cell_is_named_and_the_file_left_alone(tmp_path):
    path = tmp_path / "broken.ipynb"
    nb = small_notebook()
    nb.cells[3].source = "1 / 0"
    nbformat.write(nb, path)
    before = path.read_bytes()
    with pytest.raises(notebooks.NotebookError) as caught:
        notebooks.execute([path])
    zh, en = str(caught.value).split("\n")
    assert "第 4 个单元格" in zh and "ZeroDivisionError: division by zero" in zh
    assert en.startswith("Cell 4 (id result) of broken.ipynb failed: ZeroDivisionError")
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"nbformat": 3, "worksheets": []}',
                                  '{"nbformat": 4, "nbformat_minor": 5, "cells": [{}]}'])
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, text, capsys):
    path = tmp_path / "bad.ipynb"
    path.write_text(text)
    with pytest.raises(notebooks.NotebookError, match="读不了 bad.ipynb.*\n.*Cannot read bad"):
        notebooks.read(path)
    assert notebooks.main([path]) == 1 and "Cannot read" in capsys.readouterr().err


def test_the_course_is_canonical_and_passes_the_gate():
    paths = course.course_notebooks()
    assert {path.parts[-2] for path in paths} >= {"notebooks"}
    assert notebooks.check_canonical(paths) == []
    faults = {path.name: strict.static_faults(notebooks.read(path)) for path in paths}
    assert not any(faults.values()), faults
    switch = ast.dump(ast.parse("from tutor import language; language()"))
    for path in paths:
        code = next(cell for cell in notebooks.read(path).cells if cell.cell_type == "code")
        assert ast.dump(ast.parse(code.source)) == switch, path.name
