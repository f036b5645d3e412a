"""Claims: what a student's process says of itself, and when that is enough.

Numbers that depend on the seed nobody can state who cannot solve the exercise. A flag, a count, a
number that is the same for every seed: these the process could as well have made up, or copied
from the public key. They are claims. They count where all code of the student's is plain (see
`grading.plain`), which means nearly always. Otherwise the notebook is run once more, under the
same seed, without what is not plain; what is claimed then as well is proven. What is not earns
nothing by itself, and a person is asked to look.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

from nbformat import NotebookNode

from tutor import keys
from tutor.evidence import Evidence, Observation
from tutor.exercise import Exercise
from tutor.verdict import MISSING, difference

from . import plain
from .course import check_cells
from .judge import judge_claim, read_claim
from .key import Reference
from .plain import Fault
from .present import Judged, notes_of
from .rebuild import grade_id, is_answer

OWN = (
    "答题单元第 {line} 行有 `{what}`，能绕到提问的背后，所以标着“由教师复核”的检查项暂不计分；"
    "换成不用它的写法，就会自动计分。",
    "Line {line} of the answer cell has `{what}`, which can reach behind the questions: facets "
    "marked for a teacher earn nothing yet. Written without it, they are graded at once.",
)
ELSEWHERE = (
    "你的另一个单元里有 `{what}`，能绕到提问的背后；去掉那个单元，这道题的有些检查项就不成立，"
    "所以标着“由教师复核”的检查项暂不计分。把答案需要的代码写进答题单元，就会自动计分。",
    "Another cell of yours has `{what}`, which can reach behind the questions, and without that "
    "cell some facets do not hold: those marked for a teacher earn nothing yet. With all that the "
    "answer needs in its own cell, they are graded at once.",
)


def claims(exercise: Exercise, key: Evidence) -> list[str]:
    """The facets that are claims: their key is the same as under the public seed.

    Or in part the same, where the part is no number: one count among numbers can be made up.
    """
    names = [facet.name for facet in exercise.facets]
    if exercise.holds_answer:
        return names
    public, _ = keys.load(exercise.assignment, exercise.name)
    return [name for name in names if _proves_nothing(key[name], public[name])]


def _proves_nothing(one: Observation, other: Observation) -> bool:
    a, b = dict(_leaves(one)), dict(_leaves(other))
    told = [path for path in a if path in b and not _is_value(a[path])]
    if any(difference(a[path], b[path]) is None for path in told):
        return True
    return a.keys() == b.keys() and all(_says_the_same(a[path], b[path]) for path in a)


def _leaves(observation: Observation, path: tuple = ()) -> Iterator[tuple[tuple, Observation]]:
    """(path, observation) for all that an observation is made of; empty lists and such, too."""
    kind = next(iter(observation))
    parts = observation[kind]
    if kind == "dict" and parts:
        for name, part in parts.items():
            yield from _leaves(part, (*path, name))
    elif kind == "list" and parts:
        for place, part in enumerate(parts):
            yield from _leaves(part, (*path, place))
    else:
        yield path, observation


def _is_value(leaf: Observation) -> bool:
    """Whether it is what a function returned, or computed, and not what was seen of it."""
    return "tensor" in leaf or "number" in leaf


def _says_the_same(one: Observation, other: Observation) -> bool:
    """Whether two leaves agree; so do zeros of one shape and zeros of another."""
    if difference(one, other) is None:
        return True
    if "tensor" not in one or "tensor" not in other:
        return False
    numbers = {str(n) for leaf in (one, other) for n in leaf["tensor"]["values"]}
    return one["tensor"]["dtype"] == other["tensor"]["dtype"] and len(numbers) < 2


def unplain(notebook: NotebookNode, released: NotebookNode) -> dict[int, Fault]:
    """The student's code cells that are not plain, by their index, with what was found first."""
    given = {grade_id(cell): cell.source for cell in released.cells}
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    own = [(i, cell) for i, cell in code if _is_own(cell, given)]
    names = plain.Names.of(
        [cell.source for cell in released.cells if cell.cell_type == "code"]
        + [cell.source for _, cell in own]
    )
    found = {i: plain.faults(cell.source, names) for i, cell in own}
    return {i: faults[0] for i, faults in found.items() if faults}


def _is_own(cell: NotebookNode, given: dict[str | None, str]) -> bool:
    name = grade_id(cell)
    return name not in given or (is_answer(cell) and cell.source != given[name])


def without(
    notebook: NotebookNode, released: NotebookNode, left_out: set[int], asked: set[str]
) -> NotebookNode:
    """The rebuilt notebook again, as if nobody had written the cells that are left out.

    Only the exercises in ``asked`` are checked, and what broke down in the first run is not
    tried a second time.
    """
    given = {grade_id(cell): cell.source for cell in released.cells}
    broken = {note.cell for note in notes_of(notebook)}
    other = copy.deepcopy(notebook)
    idle = [id(cell) for name, cell in check_cells(other).items() if name not in asked]
    for index, cell in enumerate(other.cells):
        if cell.cell_type == "code":
            cell.outputs = []
            if index in left_out:
                cell.source = given.get(grade_id(cell), "")
            if id(cell) in idle or (grade_id(cell) or cell.id) in broken:
                cell.source = ""
    return other


def proven(
    notebook: NotebookNode,
    released: NotebookNode,
    judged: Judged,
    seed: str,
    reference: Reference,
    run: Callable[[NotebookNode], NotebookNode],
) -> Judged:
    """The same verdicts, but for claims that nothing proves.

    notebook: executed under ``seed``; judged: by what it shows; run: executes another one.
    """
    faulty = unplain(notebook, released)
    stakes = _at_stake(judged, seed, reference) if faulty else {}
    if not stakes:
        return judged
    again = check_cells(run(without(notebook, released, set(faulty), set(stakes))))
    better = dict(judged)
    for name, facets in stakes.items():
        evidence = read_claim(again.get(name, NotebookNode()), name).evidence
        key = reference.key(name, seed)
        unproven = [f for f in facets if difference(evidence.get(f, MISSING), key[f])]
        if unproven:
            claim, _ = judged[name]
            doubt = _sentences(notebook, name, faulty)
            claim = replace(claim, unproven=tuple(unproven), doubt=doubt)
            better[name] = claim, judge_claim(claim, name, seed, reference)
    return better


def _at_stake(judged: Judged, seed: str, reference: Reference) -> dict[str, list[str]]:
    """The claims that would earn points, by exercise."""
    found = {}
    for name, (_, verdict) in judged.items():
        earning = {line.facet.name for line in verdict.facets if line.points > 0}
        claimed = claims(verdict.exercise, reference.key(name, seed)) if earning else []
        if facets := [facet for facet in claimed if facet in earning]:
            found[name] = facets
    return found


def _sentences(notebook: NotebookNode, name: str, faulty: dict[int, Fault]) -> tuple[str, str]:
    """What stands in the way of the claims of an exercise, and what its student may do."""
    own = [fault for i, fault in faulty.items() if grade_id(notebook.cells[i]) == name]
    texts, fault = (OWN, own[0]) if own else (ELSEWHERE, next(iter(faulty.values())))
    zh, en = (text.format(what=fault.what, line=fault.line) for text in texts)
    return zh, en
