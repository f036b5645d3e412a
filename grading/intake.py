"""Intake: a submitted file becomes a task, which holds all that a worker needs."""

import copy
from functools import lru_cache
from pathlib import Path

import nbformat

from .course import read_source, source_path
from .release import released
from .seeds import seed_for
from .settings import Settings
from .submission import read_file
from .task import Assignment, Task
from .version import code_digest


def assignment_content(name: str) -> Assignment:
    """An assignment as workers get it. Raises `grading.course.UnknownAssignment`."""
    return _content(name, source_path(name).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _content(name: str, changed: int) -> Assignment:
    """The content, read anew when the source notebook has changed."""
    source = copy.deepcopy(read_source(name))
    for cell in source.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    return Assignment(name, nbformat.writes(released(name)), nbformat.writes(source), code_digest())


def take_in(assignment: Assignment, student: str, path: Path, settings: Settings) -> Task:
    """The task of grading the file at ``path``, whatever it is."""
    found = read_file(path, settings.size.file)
    return Task(
        student=student,
        assignment=assignment,
        content=found.content,
        digest=found.digest,
        refusal=found.refusal,
        seed=seed_for(assignment.name, student),
        size=settings.size,
        times=settings.times,
        kernel=settings.kernel,
        isolation=settings.isolation,
    )
