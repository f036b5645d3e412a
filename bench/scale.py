"""(c, d) Ours at growing numbers of submissions: seconds and memory for each."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .grade import CORES, build, ours, removed
from .measure import ratios
from .memory import Peaks, watched


@dataclass
class Size:
    """A class of ``count`` submissions, graded once in each of ``rounds`` rounds."""

    count: int
    rounds: int
    seconds: list[float] = field(default_factory=list)
    peaks: list[Peaks] = field(default_factory=list)


def grade_all(sizes: list[Size], say: Callable[[str], None]) -> None:
    """Grade every class in turn, on all cores, and watch its processes. Raises BenchError."""
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(max(size.rounds for size in sizes)):
            for size in sizes:
                if number < size.rounds:
                    folder = Path(temporary, f"{size.count}-{number}")
                    with removed(build(folder, size.count)), watched() as peaks:
                        seconds, note = ours(folder, size.count, CORES)
                    size.seconds.append(seconds)
                    size.peaks.append(peaks)
                    say(f"{size.count}: {seconds:.1f} s; {note}")


def marginal(small: Size, size: Size) -> list[float]:
    """Seconds for each submission that ``size`` has beyond ``small``, round by round.

    The start-up is in both, and so in neither: no model of it is needed.
    """
    more = size.count - small.count
    count = max(len(small.seconds), len(size.seconds))
    return [
        (size.seconds[i % len(size.seconds)] - small.seconds[i % len(small.seconds)]) / more
        for i in range(count)
    ]


def growth_of_cost(small: Size, middle: Size, large: Size) -> list[float]:
    """What a further submission costs in the large class, as a multiple of the middle one's.

    Nothing where the machine was so busy that more submissions took less time: no such figure
    stands.
    """
    many, few = marginal(small, large), marginal(small, middle)
    return ratios(many, few) if min(many + few) > 0 else []


def peak(size: Size, role: str, kind: str) -> int | None:
    """The greatest value in all rounds, in bytes; None where it was never seen."""
    found = [p.roles[role][kind] for p in size.peaks if kind in p.roles.get(role, {})]
    return max(found, default=None)
