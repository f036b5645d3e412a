"""What a worker does with a task: rebuild, run, judge and present one submission.

It sees the task alone: no database, no folder of the course, no other student. `perform` is all
that `nbgrader autograde`, the formgrader's button and `python -m grading grade` have in common.
"""

import copy
import threading
import time
from dataclasses import replace
from functools import lru_cache

import nbformat
from nbformat import NotebookNode

from . import claims
from . import rebuild as rebuilding
from . import run as running
from .course import check_cells
from .judge import judge_notebook
from .key import Reference
from .present import (
    Judged,
    add_notes,
    course_metadata,
    finish,
    notes_of,
    present,
    state_of,
    summary,
)
from .rebuild import grade_id
from .states import UNREADABLE, Note, State
from .submission import parse
from .task import Assignment, Result, Task, WorkerUnfit
from .version import code_digest

# Judging sets torch's global state, and a process has one parent of kernels.
_one_at_a_time = threading.Lock()


def perform(task: Task) -> Result:
    """Grade one submission: {notebook: its text, summary: see `grading.present`, seconds}.

    Raises `grading.task.WorkerUnfit` where this process may not or cannot do it, and whatever is
    wrong with the grader itself; never for what a student did.
    """
    check_fitness(task)
    with _one_at_a_time:
        started = time.monotonic()
        released = _released(task.assignment.released)
        notebook = _rebuilt(task, released)
        if state_of(notebook) not in UNREADABLE:
            deadline = started + _limits(task).total
            notebook = _executed(task, notebook)
            _judge(task, notebook, released, deadline)
        return _result(notebook, released, time.monotonic() - started)


@lru_cache(maxsize=8)
def _released(text: str) -> NotebookNode:
    """The released notebook, for everybody to read and nobody to change."""
    return nbformat.reads(text, as_version=4)


def failed(task: Task) -> Result:
    """The result for a submission that the grader itself could not grade; it is not kept."""
    released = _released(task.assignment.released)
    notebook = copy.deepcopy(released)
    course_metadata(notebook).update(digest=task.digest, key="")
    add_notes(notebook, [Note.of(State.INFRASTRUCTURE_ERROR)])
    return _result(notebook, released, 0.0)


def check_fitness(task: Task) -> None:
    """Raise WorkerUnfit unless this process has the asker's code, and isolates if it must."""
    if task.assignment.code != code_digest():
        raise WorkerUnfit(
            "工作进程上的 tutor 与 grading（或 Python、torch）同这里的版本不一样："
            "请在每台机器上安装同一版本。 / A worker has another version of tutor and grading, "
            "or of Python or torch, than this process: install the same one on every machine."
        )
    if task.isolation:
        from . import kernels

        level = kernels.isolation()
        if not level.isolated:
            raise WorkerUnfit(str(level))


def _rebuilt(task: Task, released: NotebookNode) -> NotebookNode:
    """The released notebook with the submission's answers, and notes on what there was."""
    notes = [task.refusal] if task.refusal else []
    submitted = None
    if task.content is not None:
        submitted, notes = parse(task.content)
    if submitted is None:
        notebook = copy.deepcopy(released)
    else:
        notebook, notes = rebuilding.rebuild(released, submitted, task.size)
    course_metadata(notebook).update(digest=task.digest, key=task.key)
    add_notes(notebook, notes)
    return notebook


def _limits(task: Task) -> running.Limits:
    return replace(running.DEFAULT, **task.times)


def _executed(task: Task, notebook: NotebookNode) -> NotebookNode:
    notebook, notes = running.run(notebook, task.seed, _limits(task), task.kernel)
    add_notes(notebook, notes)
    return notebook


def _judge(task: Task, notebook: NotebookNode, released: NotebookNode, deadline: float) -> None:
    """Judge an executed notebook. deadline: when the submission's time is used up."""
    reference = _reference(task.assignment)
    judged = judge_notebook(notebook, task.seed, reference)

    def again(other: NotebookNode) -> NotebookNode:
        limits = _limits(task)
        # A first run that was slow, by a loop without end, say, must not cost the rest its proof.
        left = max(limits.cell, deadline - time.monotonic())
        return running.run(other, task.seed, replace(limits, total=left), task.kernel)[0]

    judged = claims.proven(notebook, released, judged, task.seed, reference, again)
    tampered = [name for name, (claim, _) in judged.items() if claim.tampered]
    add_notes(notebook, [Note.of(State.SUSPECTED_TAMPERING, cell=n) for n in tampered])
    unproven = [name for name, (claim, _) in judged.items() if claim.unproven]
    add_notes(notebook, [Note.of(State.UNPROVEN, cell=n) for n in unproven])
    present(notebook, explained(notebook, judged))


@lru_cache(maxsize=8)
def _reference(assignment: Assignment) -> Reference:
    """The assignment's solutions, from the content that came with the task."""
    return Reference(assignment.name, notebook=nbformat.reads(assignment.source, as_version=4))


def explained(notebook: NotebookNode, judged: Judged) -> Judged:
    """The same verdicts; one without evidence says what became of its cells, where that is known.

    "The answer cell took too long" helps more than the NameError that came of it.
    """
    notes = {note.cell: (note.zh, note.en) for note in notes_of(notebook)}
    checks = check_cells(notebook)
    better = dict(judged)
    for name, (claim, verdict) in judged.items():
        note = notes.get(grade_id(checks[name])) or notes.get(name)
        if claim.problem and note:
            better[name] = (replace(claim, problem=note), replace(verdict, note=note))
    return better


def _result(notebook: NotebookNode, released: NotebookNode, seconds: float) -> Result:
    finish(notebook, released)
    text = nbformat.writes(notebook)
    if not text.endswith("\n"):
        text += "\n"  # as nbgrader's exporter writes it
    return {"notebook": text, "summary": summary(notebook), "seconds": seconds}
