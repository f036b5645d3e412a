"""A task: everything that a worker needs to grade one submission, as plain data.

A task holds content, never a path; its key is a hash of all that can change the result. Nothing
heavy is imported here, for tasks are made, sent on and queued where no judge is needed.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import nbformat
from nbformat import NotebookNode

from .rebuild import Limits
from .states import Note

Result = dict[str, Any]


class WorkerUnfit(Exception):
    """A worker cannot do any task of this run: trying others there would be in vain."""


@dataclass(frozen=True)
class Assignment:
    """What a worker knows of an assignment.

    released, source: notebooks as JSON, the source without its outputs. code: the
    `grading.version.code_digest` of whoever asks.
    """

    name: str
    released: str
    source: str
    code: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return _digest([self.name, self.released, self.source, self.code])

    @property
    def released_cells(self) -> list[NotebookNode]:
        """The cells of the released notebook."""
        return nbformat.reads(self.released, as_version=4).cells


@dataclass(frozen=True)
class Task:
    """One submission to grade.

    content: the submitted file's bytes, or None where ``refusal`` says why they were not read.
    digest: SHA-256 of the bytes, or of the refusal. times: what is set of `grading.run.Limits`.
    kernel: the kernelspec to run it in. isolation: whether a worker must refuse to run it where
    nothing isolates.
    """

    student: str
    assignment: Assignment = field(repr=False)
    content: bytes | None = field(repr=False)
    digest: str
    refusal: Note | None
    seed: str = field(repr=False)
    size: Limits
    times: dict[str, float]
    kernel: str
    isolation: bool

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that can change the score.

        The kernel is left out: warm, cold or sandboxed, a submission gets the same score.
        """
        limits = [asdict(self.size), self.times]
        return _digest([self.digest, self.assignment.digest, self.seed, limits])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def perform(task: Task) -> Result:
    """What `grading.worker` makes of a task: JSON, see there.

    This function is what is sent to workers. Whoever sends it, or passes it on as Dask's scheduler
    does, does not import the judge.
    """
    from . import worker

    return worker.perform(task)
