"""Counters for probes: how often the engine ran, how large a tensor was made."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass
class Count:
    """A number that grows while its context is open."""

    value: int = 0


@contextmanager
def backward_passes():
    """Count runs of the backward engine, by whatever name it is called.

    Every public way to it (`backward`, `autograd.grad`, `autograd.functional`, `torch.func`)
    goes through the one private function that is wrapped here; a test holds that it still does.
    A batch of cotangents under ``is_grads_batched`` or `vmap` is one run.
    """
    count = Count()
    original = torch.autograd._engine_run_backward

    def counted(*args, **kwargs):
        count.value += 1
        return original(*args, **kwargs)

    torch.autograd._engine_run_backward = counted
    try:
        yield count
    finally:
        torch.autograd._engine_run_backward = original


class _Largest(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.value = 0

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # True, the default, makes the first operation import torch._dynamo: seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, list | tuple) else (result,):
            if isinstance(made, torch.Tensor):
                self.value = max(self.value, made.numel())
        return result


@contextmanager
def largest_tensor():
    """The number of elements of the largest tensor that any operation returns."""
    with _Largest() as largest:
        yield largest
