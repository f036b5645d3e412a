"""`check`: one line at the end of an exercise, for the student and for the grader."""

import inspect
import os
from typing import Any

from IPython import get_ipython
from IPython.display import display

from . import evidence as ev
from .exercise import Exercise, collect, exercises, find
from .keys import PUBLIC_SEED, load
from .table import as_html, as_text, heading
from .verdict import judge

SEED_VARIABLE = "TUTOR_SEED"


class CheckFailed(AssertionError):
    """The answer is not right yet; the table above says where."""

    def _render_traceback_(self) -> list[str]:
        return [f"CheckFailed: {self}"]


def check(answer: Any) -> None:
    """Check the answer to an exercise: ``check(vjp)``.

    In a student's notebook it compares with the key for the public seed, shows a table and raises
    CheckFailed if anything is wrong. In the grader (which sets TUTOR_SEED) it only hands out
    evidence. Raises LookupError if ``answer`` belongs to no exercise.
    """
    found = _which(answer, inspect.currentframe().f_back.f_globals)
    seed = os.environ.get(SEED_VARIABLE)
    if seed:
        claim = ev.dumps(found.name, collect(found, answer, seed))
        display({ev.MIME: claim, "text/plain": f"evidence: {found.name}"}, raw=True)
        return
    key, misconceptions = load(found.assignment, found.name)
    verdict = judge(found, collect(found, answer, PUBLIC_SEED), key, misconceptions)
    display({"text/html": as_html(verdict), "text/plain": as_text(verdict)}, raw=True)
    if not verdict.passed:
        raise CheckFailed(
            f"{heading(verdict)} · 还没有全对，见上表。 / Not all right yet: see above."
        )


def _which(answer: Any, namespace: dict[str, Any]) -> Exercise:
    """The exercise that ``answer`` answers: the one under whose name the notebook knows it."""
    bound = [e for e in exercises() if namespace.get(e.name) is answer]
    named = find(getattr(answer, "__name__", ""))
    if named in bound or (named and not bound):
        return named
    if len(bound) == 1:
        return bound[0]
    raise LookupError(
        f"check() 不知道这是哪道题的答案（{type(answer).__name__}）：请保留题目给出的函数名。 / "
        f"check() cannot tell which exercise this {type(answer).__name__} answers: "
        "keep the name that the exercise gives."
    )


def explain_missing_names() -> None:
    """Let a NameError for an exercise's function say what to do, under IPython."""
    shell = get_ipython()
    if shell is None:
        return

    def handler(shell, etype, error, tb, tb_offset=None):
        if find(error.name or ""):
            error.add_note(
                f"还没有名为 {error.name} 的函数：请先运行定义它的单元，并保留这个名字。\n"
                f"There is no {error.name} yet: run the cell that defines it, and keep its name."
            )
        shell.showtraceback((etype, error, tb), tb_offset=tb_offset)

    shell.set_custom_exc((NameError,), handler)
