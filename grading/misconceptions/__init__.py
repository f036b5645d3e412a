"""Wrong answers that people really give, and other right ways, one module per assignment.

A misconception is the function itself, decorated with what it gets wrong in both languages::

    @misconception("vjp", zh="…", en="…")
    def jvp_instead(f, x, v): ...

An alternative is a right answer that is not the source's. EQUIVALENT of a module lists the
mutations of its solutions that are still right, each with the reason.
"""

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Wrong:
    """A named wrong answer with one sentence on it in each language.

    rounded: that its numbers differ from processor to processor by more than the last digits.
    """

    name: str
    zh: str
    en: str
    answer: Callable
    rounded: bool = False


@dataclass(frozen=True)
class Right:
    """A named right answer."""

    name: str
    answer: Callable


_wrong: dict[str, dict[str, Wrong]] = defaultdict(dict)
_right: dict[str, dict[str, Right]] = defaultdict(dict)


def misconception(exercise: str, *, zh: str, en: str, rounded: bool = False):
    """Register the decorated function as a wrong answer to ``exercise``; see `Wrong`."""

    def register(answer):
        _wrong[exercise][answer.__name__] = Wrong(answer.__name__, zh, en, answer, rounded)
        return answer

    return register


def alternative(exercise: str):
    """Register the decorated function as another right answer to ``exercise``."""

    def register(answer):
        _right[exercise][answer.__name__] = Right(answer.__name__, answer)
        return answer

    return register


@cache
def _modules() -> tuple:
    return tuple(
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    )


def misconceptions(exercise: str) -> list[Wrong]:
    """The wrong answers to an exercise, in the order of their definition."""
    _modules()
    return list(_wrong[exercise].values())


def rounding(exercise: str) -> set[str]:
    """The names of those whose numbers are made of rounding; see `Wrong.rounded`."""
    return {wrong.name for wrong in misconceptions(exercise) if wrong.rounded}


def alternatives(exercise: str) -> list[Right]:
    """The other right answers to an exercise."""
    _modules()
    return list(_right[exercise].values())


def equivalent(exercise: str) -> dict[str, str]:
    """Mutations of the exercise's solution that are still right: {description: reason}."""
    found = {}
    for module in _modules():
        found |= getattr(module, "EQUIVALENT", {}).get(exercise, {})
    return found
