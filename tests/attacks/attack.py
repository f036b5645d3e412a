"""What an attack is: a submission of 03-vjp, what it tries, and the exact points it deserves.

The code of an attack may use these words, which become expressions of Python when it is handed in:

``@COURSE@``, ``@ROOT@``, ``@HOME@``  the course's folder, the repository's, the grader's home;
                                      not in clear, so that a path in what comes back is a leak
``@MARK@``    a word of this attack and this run, for names of what it leaves behind
``@WON@``     a text for an attack to print when it has done what nobody may do
"""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from grading.answers import solved
from tests.grading.conftest import CLASS  # noqa: F401 (makes `classroom` and `members` importable)

from classroom import where  # isort: skip
from members import MOST  # isort: skip

WON = ("attack-", "succeeded")
NOTHING = dict.fromkeys(MOST, 0)


@dataclass(frozen=True)
class Attack:
    """One hostile or unlucky submission.

    cell: code of a cell of the student's own, behind the imports. answers: code by exercise; the
    others are ``rest``, "source" (solved) or "stub" (as they were released). last: code of a cell
    at the very end. edit changes the notebook, files the submission's folder, given the notebook's
    path. deserves: points by exercise where they are not those of the answers that are no attacks.
    state: what it ends in; or_state: another that is as right, where it depends on the machine's
    speed which limit is reached first. again: whether a solved submission was graded before it.
    only_here: (zh, en) why stock nbgrader has no counterpart.
    """

    name: str
    zh: str
    en: str
    cell: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    last: str = ""
    edit: Callable[[NotebookNode], None] | None = None
    files: Callable[[Path], None] | None = None
    rest: str = "source"
    deserves: dict[str, float] = field(default_factory=dict)
    state: str = "graded"
    or_state: str = ""
    again: bool = False
    only_here: tuple[str, str] | None = None

    @property
    def points(self) -> dict[str, float]:
        """Exactly what the submission deserves, by exercise."""
        unsolved = NOTHING if self.rest == "stub" else {}
        return MOST | unsolved | dict.fromkeys(self.answers, 0) | self.deserves

    @property
    def states(self) -> list[str]:
        """The states that are right."""
        return [state for state in (self.state, self.or_state) if state]

    @property
    def digest(self) -> str:
        """Names this version of the attack: what was measured of another is not of this one."""
        blank = dict.fromkeys(words(Path(), Path(), Path(), ""), '""')
        cells = [cell.source for cell in self.notebook(blank).cells]
        edited = inspect.getsource(self.files) if self.files else ""
        return hashlib.sha256("\0".join([*cells, edited]).encode()).hexdigest()[:16]

    def notebook(self, words: dict[str, str], base=solved) -> NotebookNode:
        """The notebook to hand in.

        words: {"@COURSE@": expression, …}; base: what makes a notebook of answers by exercise.
        """
        rest = dict.fromkeys(MOST, self.rest)
        answers = {name: _filled(code, words) for name, code in self.answers.items()}
        notebook = base(rest | answers)
        if self.cell:
            own = new_code_cell(_filled(self.cell, words))
            notebook.cells.insert(where(notebook, "imports") + 1, own)
        if self.last:
            notebook.cells.append(new_code_cell(_filled(self.last, words)))
        if self.edit:
            self.edit(notebook)
        return notebook


def _filled(code: str, words: dict[str, str]) -> str:
    for word, expression in words.items():
        code = code.replace(word, expression)
    return code.strip("\n")


def words(course: Path, root: Path, home: Path, mark: str) -> dict[str, str]:
    """The expressions that stand for an attack's words; none shows its value."""
    hidden = {"@COURSE@": str(course), "@ROOT@": str(root), "@HOME@": str(home), "@MARK@": mark}
    found = {
        word: f"bytes.fromhex({text.encode().hex()!r}).decode()" for word, text in hidden.items()
    }
    return found | {"@WON@": f"({WON[0]!r} + {WON[1]!r})"}
