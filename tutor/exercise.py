"""Exercises: a probe that asks a student's function questions, and the facets it reports on.

A probe is a function ``probe(answer, rng)`` in `tutor.probes`. It draws inputs from ``rng``, a
`numpy.random.Generator`, and returns {facet name: observation} or yields such pairs one by one.
It holds no answer, so students may read it.
"""

import hashlib
import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from .evidence import Evidence, Observation, raised


@dataclass(frozen=True)
class Facet:
    """One thing that is worth a line of feedback.

    ``needs`` names facets that must be right before this one can earn its points: "leaves .grad
    alone" is no merit in a function that does nothing.
    """

    name: str
    points: float
    zh: str
    en: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exercise:
    """The name of the student's function, what is asked about it, and who asks.

    ``holds_answer``: see `exercise`.
    """

    name: str
    assignment: str
    facets: tuple[Facet, ...]
    probe: Callable[[Any, np.random.Generator], Any]
    holds_answer: bool = False

    @property
    def points(self) -> float:
        return sum(facet.points for facet in self.facets)


_registry: dict[str, Exercise] = {}


def exercise(assignment: str, facets: Iterable[Facet], holds_answer: bool = False):
    """Register the decorated probe; its ``__name__`` is the name of the student's function.

    holds_answer: the probe has in its memory the very numbers that are asked for, not only what
    they are computed from; whoever reads that memory need not solve anything. None of its facets
    is then proven by numbers alone (see `grading.claims`).
    Raises ValueError for a name used twice in the course or a facet that needs an unknown one.
    """
    facets = tuple(facets)
    names = [facet.name for facet in facets]

    def register(probe):
        name = probe.__name__
        if name in _registry and _registry[name].probe.__module__ != probe.__module__:
            raise ValueError(f"two exercises are called {name}")
        for facet in facets:
            if not set(facet.needs) <= set(names[: names.index(facet.name)]):
                raise ValueError(f"{name}: {facet.name} needs a facet that does not precede it")
        _registry[name] = Exercise(name, assignment, facets, probe, holds_answer)
        return probe

    return register


@cache
def _load() -> dict[str, Exercise]:
    """The registry, once every module of `tutor.probes` has filled it."""
    from . import probes

    for module in pkgutil.iter_modules(probes.__path__):
        importlib.import_module(f"{probes.__name__}.{module.name}")
    return _registry


def find(name: str) -> Exercise | None:
    """The exercise of that name, or None."""
    return _load().get(name)


def exercises(assignment: str | None = None) -> list[Exercise]:
    """All exercises of an assignment (of the course), in the order of their definition."""
    return [e for e in _load().values() if assignment in (None, e.assignment)]


def generator(exercise_name: str, seed: str) -> np.random.Generator:
    """The random numbers for one exercise under one seed; numpy's streams are portable."""
    digest = hashlib.sha256(f"{seed}\0{exercise_name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


@contextmanager
def known_state():
    """float64, gradients on, a fixed seed, one thread, no warnings; all put back afterwards.

    One thread: normalisations and softmax hand even a few numbers to all threads, and on a busy
    machine these wait for each other for seconds. Only the CPU's generator is seeded:
    torch.manual_seed would seed those of GPUs too, and nothing would put them back.
    """
    dtype, grad, rng = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state()
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(True)
            torch.default_generator.manual_seed(0)
            torch.set_num_threads(1)
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            torch.set_rng_state(rng)
            torch.set_num_threads(threads)


def collect(exercise: Exercise, answer: Any, seed: str, last: str | None = None) -> Evidence:
    """Ask ``answer`` the exercise's questions under ``seed``; one observation per facet.

    Where the probe itself breaks on an answer, the facets it has not yet reported on say how.
    ``last`` names a facet to stop after: those that the probe reports on later are left out.
    """
    evidence: Evidence = {}
    problem = None
    with known_state():
        try:
            with closing(_observations(exercise, answer, seed)) as found:
                for name, observation in found:
                    evidence[name] = observation
                    if name == last:
                        break
        except (Exception, SystemExit) as error:
            problem = raised(error)
    names = [facet.name for facet in exercise.facets]
    unknown = set(evidence) - set(names)
    if unknown:
        raise ValueError(f"{exercise.name}: the probe reports on unknown facets {sorted(unknown)}")
    if last in evidence:
        return {name: evidence[name] for name in names if name in evidence}
    missing = problem or {"raises": "LookupError", "message": "the probe did not report on this"}
    return {name: evidence.get(name, missing) for name in names}


def _observations(exercise: Exercise, answer: Any, seed: str) -> Iterator[tuple[str, Observation]]:
    found = exercise.probe(answer, generator(exercise.name, seed))
    yield from found.items() if isinstance(found, dict) else found
