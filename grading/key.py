"""Keys: the evidence of the source notebook's own solutions under a seed."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from tutor.evidence import Evidence, Observation
from tutor.exercise import Exercise, collect, exercises, find, known_state
from tutor.verdict import Misconception

from .course import ROOT, read_source
from .misconceptions import misconceptions

SETUP = "imports"


class Reference:
    """The solutions of one assignment, run in this process: they are the instructor's own code.

    notebook: the source notebook, where it is at hand. Otherwise it is read, which raises
    `grading.course.UnknownAssignment` for an assignment that is not in source/.
    """

    def __init__(self, assignment: str, root: Path = ROOT, notebook: NotebookNode | None = None):
        self.assignment = assignment
        self.notebook = notebook or read_source(assignment, root)

    @property
    def exercises(self) -> list[Exercise]:
        return exercises(self.assignment)

    @cached_property
    def sources(self) -> dict[str, str]:
        """The code of each solution cell by its grade_id, which is the exercise's name."""
        return {
            cell.metadata.nbgrader.grade_id: cell.source
            for cell in self.notebook.cells
            if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution")
        }

    @cached_property
    def setup(self) -> str:
        """The code of the cell of imports, which solutions rely on."""
        return next(
            cell.source
            for cell in self.notebook.cells
            if cell.metadata.get("nbgrader", {}).get("grade_id") == SETUP
        )

    def run(self, source: str) -> dict[str, Any]:
        """The names that a solution cell's code defines, after the cell of imports.

        The code is the instructor's: the source notebook's, or a mutation of it.
        """
        namespace: dict[str, Any] = {"__name__": "answers"}
        with known_state():
            exec(compile(self.setup, "<imports>", "exec"), namespace)  # noqa: S102 (see above)
            exec(compile(source, "<solution>", "exec"), namespace)  # noqa: S102 (see above)
        return namespace

    @cached_property
    def _answers(self) -> dict[str, Any]:
        return self.run("\n\n".join(self.sources.values()))

    def answer(self, name: str) -> Any:
        """The source's answer to an exercise. Raises KeyError."""
        return self._answers[name]

    def key(self, name: str, seed: str) -> Evidence:
        """What the source's answer shows under ``seed``."""
        return collect(find(name), self.answer(name), seed)

    def misconceptions(self, name: str, seed: str) -> list[Misconception]:
        """What each known wrong answer shows under ``seed``; they are asked when looked at."""
        return [
            Misconception(w.name, w.zh, w.en, LazyEvidence(find(name), w.answer, seed))
            for w in misconceptions(name)
        ]


class LazyEvidence(Mapping[str, Observation]):
    """What `tutor.exercise.collect` gives, collected when it is looked at.

    Most answers are right, and then no misconception is asked anything; most wrong ones are wrong
    in an early facet. So the first facet looked at is asked about with what precedes it alone,
    the second with all the rest.
    """

    def __init__(self, exercise: Exercise, answer: Any, seed: str):
        self._question = exercise, answer, seed
        self._seen: Evidence = {}

    def __getitem__(self, name: str) -> Observation:
        if name not in self._seen:
            self._seen = collect(*self._question, last=None if self._seen else name)
        return self._seen[name]

    def __iter__(self) -> Iterator[str]:
        exercise, *_ = self._question
        return (facet.name for facet in exercise.facets)

    def __len__(self) -> int:
        exercise, *_ = self._question
        return len(exercise.facets)
