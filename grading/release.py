"""Release: what students get of an assignment, and the proof that no answer is left in it."""

import json
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.preprocessors import ClearSolutions, SaveCells
from traitlets.utils.importstring import import_item

from .course import ROOT, read_source

# nbgrader's own list, with a stub that names its task. The course uses neither hidden tests nor
# generated ones, since its check cells hold no test.
PREPROCESSORS = [
    "nbgrader.preprocessors.LockCells",
    "grading.release.NamedStubs",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]


class NamedStubs(ClearSolutions):
    """nbgrader's ClearSolutions with a stub that says which task it belongs to."""

    def preprocess_cell(self, cell, resources, cell_index):
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        message = json.dumps(stub_message(name), ensure_ascii=False)
        self.code_stub = {"python": f"raise NotImplementedError({message})"}
        return super().preprocess_cell(cell, resources, cell_index)


def stub_message(name: str) -> str:
    """What the untouched stub of an exercise says when it is called."""
    return f"{name}：请把这一行换成你的解答 / {name}: replace this line with your solution"


def released(assignment: str, root: Path = ROOT) -> NotebookNode:
    """The notebook that students get, made from source/ by nbgrader's own preprocessors.

    Raises `grading.course.UnknownAssignment`.
    """
    notebook = read_source(assignment, root)
    resources = {"nbgrader": {"assignment": assignment, "notebook": assignment, "student": "."}}
    for name in PREPROCESSORS:
        preprocessor = import_item(name)
        if preprocessor is not SaveCells:  # the gradebook has no part in it
            notebook, resources = preprocessor().preprocess(notebook, resources)
    return notebook
