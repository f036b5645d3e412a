"""nbgrader's settings for this course. `nbgrader` reads them when it is run in this folder."""

from pathlib import Path

c = get_config()  # noqa: F821 (nbgrader provides it)

c.CourseDirectory.course_id = "autograd"
c.CourseDirectory.root = str(Path(__file__).resolve().parent)

# What students get: the source without its solutions.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.LockCells",
    "grading.release.NamedStubs",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# A notebook under another name is refused when it is submitted, not when it is graded.
c.ExchangeSubmit.strict = True

# From a submission to a score: see grading/pipeline.py.
c.Autograde.exporter_class = "grading.pipeline.SubmissionExporter"
c.Autograde.sanitize_preprocessors = ["grading.pipeline.Grade"]
c.Autograde.autograde_preprocessors = [
    "grading.pipeline.Record",
    "nbgrader.preprocessors.AssignLatePenalties",
]
c.Run.cell = 30.0  # seconds for a cell,
c.Run.total = 180.0  # and for a submission
# Where nothing isolates students' code, grading is refused. If you trust them all, say so here.
c.Run.isolation = True
