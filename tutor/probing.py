"""Tools for probes: inputs that leave a wrong answer no place to hide, and what a call changed.

Numbers are drawn away from 0, sizes are never equal, cotangents are never ones.
"""

from contextlib import ExitStack

import numpy as np
import torch

from .counting import backward_passes, largest_tensor
from .evidence import Observation, attempt

SIGNS = np.array([-1.0, 1.0])


def positive(rng, *shape, dtype=torch.float64):
    """A tensor of numbers in [0.5, 1.5): its row sums and column sums never cancel."""
    return torch.tensor(rng.uniform(0.5, 1.5, shape), dtype=dtype)


def signed(rng, *shape, dtype=torch.float64):
    """A tensor of numbers of both signs, with magnitudes in [0.5, 2)."""
    values = rng.uniform(0.5, 2, shape) * SIGNS[rng.integers(0, 2, shape)]
    return torch.tensor(values, dtype=dtype)


def sizes(rng, count, low=2, high=7):
    """``count`` different sizes in [low, high): no Jacobian made of them is square."""
    return [int(size) for size in rng.choice(np.arange(low, high), count, replace=False)]


def leaf(tensor):
    """The same tensor, as a leaf that asks for a gradient."""
    return tensor.requires_grad_()


def stale(rng, tensor):
    """A leaf whose .grad holds something from before, which a call must leave alone."""
    leaf(tensor).grad = signed(rng, *tensor.shape, dtype=tensor.dtype)
    return tensor


def curve(rng, m, n, dtype=torch.float64):
    """A function from (n,) to (m,); its Jacobian is full and without symmetry."""
    a, b = positive(rng, m, n, dtype=dtype), positive(rng, m, n, dtype=dtype)
    return lambda x: torch.sin(a @ x) + (b @ x) ** 2


def surface(rng, shape, out, dtype=torch.float64):
    """A function from a matrix of ``shape`` to a transposed (not contiguous) one of ``out``."""
    (rows, columns), (height, width) = shape, out
    p, q = positive(rng, width, rows, dtype=dtype), positive(rng, columns, height, dtype=dtype)
    return lambda x: (p @ torch.sin(x) @ q).T


def sparse(rng, m, n):
    """A function from (n,) to (m,) that makes no tensor of more than max(m, n) elements."""
    i, j = (torch.tensor(rng.integers(0, n, m)) for _ in range(2))
    return lambda x: torch.sin(x[i]) * x[j]


def once(answer):
    """The same function, called once for the same arguments: its result is one for all facets."""
    given = {}

    def asked(*args):
        if args not in given:
            given[args] = answer(*args)
        return given[args]

    return asked


def a_tensor(value):
    """The value, which must be a tensor and nothing that passes for one. Raises TypeError."""
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise TypeError(f"a tensor is expected, not {type(value).__name__}")
    return value


def afresh(rng):
    """Random numbers of their own.

    They do not depend on how many were drawn before an answer raised, nor do others on them.
    """
    return rng.spawn(1)[0]


def ask_all(answer, cases) -> Observation:
    """Ask ``answer(*args)`` for each of {name: args}; one that breaks does not spoil the others."""
    return {"dict": {name: attempt(answer, *args) for name, args in cases.items()}}


def with_results(rng, ask):
    """``ask(answer, …)``, whose report then also tells what the answer returned, as `gist` does.

    A question about what an answer costs or leaves alone must look at what it returns as well:
    plain code can recognise a question, by its sizes, say, and do nothing there.
    """
    weights = afresh(rng)

    def asked(answer, *args):
        returned = []

        def kept(*args, **kwargs):
            returned.append(answer(*args, **kwargs))
            return returned[-1]

        return ask(kept, *args) | {"results": gist(weights, returned)}

    return asked


def gist(rng, value):
    """The same value with one number for each tensor: a sum with weights that are drawn now.

    rng: one of its own (see `afresh`), for how much is drawn is up to the answer.
    """
    if isinstance(value, torch.Tensor):
        numbers = value.clone().detach()  # clone: of an inference tensor there is no detach()
        numbers = numbers if numbers.is_floating_point() else numbers.double()
        return (numbers * signed(rng, *numbers.shape, dtype=numbers.dtype)).sum()
    if isinstance(value, dict):
        return {name: gist(rng, value[name]) for name in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [gist(rng, part) for part in value]
    return value


def errors(answer, cases) -> Observation:
    """For each of {name: args} the exception that ``answer(*args)`` raises, or "no error"."""
    return {"dict": {name: {"text": _error(answer, args)} for name, args in cases.items()}}


def _error(answer, args) -> str:
    try:
        answer(*args)
    except Exception as error:
        return type(error).__name__
    return "no error"


def graphless(tensors) -> bool:
    """Whether none of the tensors carries a graph."""
    return not any(tensor.requires_grad for tensor in tensors)


class Guard:
    """Remembers tensors, and reports which of them a call has changed."""

    def __init__(self, **tensors):
        self._before = {
            name: (t, t.detach().clone(), t.requires_grad, t.grad, _copy(t.grad))
            for name, t in tensors.items()
        }

    def report(self) -> dict[str, bool]:
        """{"x unchanged": …, "x.grad unchanged": …} for every tensor."""
        kept = {}
        for name, (t, values, requires_grad, grad, old) in self._before.items():
            kept[f"{name} unchanged"] = torch.equal(t, values) and t.requires_grad == requires_grad
            kept[f"{name}.grad unchanged"] = t.grad is grad and (
                grad is None or torch.equal(grad, old)
            )
        return kept


def _copy(tensor):
    return None if tensor is None else tensor.clone()


class Counted:
    """A function that counts its calls in ``calls``; calls of copies count as well."""

    def __init__(self, function):
        self._function, self.calls = function, 0

    def __call__(self, *args):
        self.calls += 1
        return self._function(*args)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def cost(call) -> tuple[int, int]:
    """Run ``call``: (how often the backward engine ran, elements of the largest tensor made)."""
    with ExitStack() as stack:
        passes = stack.enter_context(backward_passes())
        largest = stack.enter_context(largest_tensor())
        call()
    return passes.value, largest.value


def count_passes(answer, *args) -> dict[str, int]:
    """How often the backward engine runs in ``answer(*args)``."""
    return {"backward passes": cost(lambda: answer(*args))[0]}
