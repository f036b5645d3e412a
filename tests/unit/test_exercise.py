"""Probes are asked in a known state, and what breaks leaves what was seen before."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tutor import exercise as ex
from tutor.counting import backward_passes, largest_tensor
from tutor.evidence import observe
from tutor.exercise import Exercise, Facet, collect, exercise

FACETS = (Facet("first", 1, "一", "one"), Facet("second", 1, "二", "two"))


def test_a_generator_keeps_what_it_already_saw():
    def probe(answer, rng):
        yield "first", observe(answer(1))
        yield "second", observe(answer(0))

    evidence = collect(Exercise("e", "a", FACETS, probe), lambda x: 1 // x, "s")
    assert evidence["first"] == {"integer": 1}
    assert evidence["second"]["raises"] == "ZeroDivisionError"


def test_a_probe_must_report_on_every_facet_and_on_no_other():
    silent = Exercise("e", "a", FACETS, lambda answer, rng: {"first": observe(1)})
    assert collect(silent, None, "s")["second"]["raises"] == "LookupError"
    loud = Exercise("e", "a", FACETS, lambda answer, rng: {"third": observe(1)})
    with pytest.raises(ValueError, match="third"):
        collect(loud, None, "s")


def test_it_can_stop_after_a_facet_and_leaves_the_known_state_in_order():
    closed = []

    def probe(answer, rng):
        try:
            yield "first", observe(rng.random())
            yield "second", observe(answer())
        finally:
            closed.append(torch.get_default_dtype())

    task = Exercise("e", "a", FACETS, probe)
    whole = collect(task, lambda: 1, "s")
    assert collect(task, lambda: 1, "s", last="first") == {"first": whole["first"]}
    assert collect(task, lambda: 1, "s", last="second") == whole
    assert closed == [torch.float64] * 3

    unordered = Exercise("e", "a", FACETS, lambda a, r: {"second": observe(2), "first": observe(1)})
    assert collect(unordered, None, "s", last="second") == {"second": {"integer": 2}}
    assert list(collect(unordered, None, "s", last="first")) == ["first", "second"]

    def breaks(answer, rng):
        raise KeyError

    evidence = collect(Exercise("e", "a", FACETS, breaks), None, "s", last="first")
    assert [observation["raises"] for observation in evidence.values()] == ["KeyError"] * 2


def test_generators_of_gpus_are_left_alone(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(1)
    assert seeded == [1]
    collect(Exercise("e", "a", FACETS, lambda answer, rng: {}), None, "s")
    assert seeded == [1]


def test_the_state_is_known_inside_and_put_back_outside():
    def probe(answer, rng):
        assert torch.get_num_threads() == 1
        seen = (torch.get_default_dtype(), torch.is_grad_enabled(), float(torch.rand(())))
        torch.set_default_dtype(torch.float16)
        return {"first": observe(str(seen)), "second": observe(True)}

    task = Exercise("e", "a", FACETS, probe)
    torch.manual_seed(5)
    torch.set_num_threads(2)
    with torch.no_grad():
        first = collect(task, None, "s")
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == 2
    after = torch.rand(())
    assert torch.get_default_dtype() is torch.float32
    torch.manual_seed(5)
    assert torch.rand(()) == after
    torch.manual_seed(7)
    assert collect(task, None, "s") == first
    assert "float64" in first["first"]["text"]


def test_streams_differ_by_seed_and_by_exercise():
    draws = {
        tuple(ex.generator(name, seed).integers(0, 2**31, 4))
        for name in ("vjp", "jac_rows")
        for seed in ("public", "s1", "s2")
    }
    assert len(draws) == 6
    assert np.array_equal(ex.generator("vjp", "s1").random(3), ex.generator("vjp", "s1").random(3))


def test_a_facet_needs_only_what_precedes_it():
    with pytest.raises(ValueError, match="precede"):
        exercise("a", [Facet("first", 1, "一", "one", needs=("later",))])(lambda a, r: {})


def test_the_engine_is_counted_by_whatever_name_it_is_called():
    from torch.autograd import grad

    W = torch.rand(3, 2)
    x = torch.rand(2, requires_grad=True)
    counts = {}
    with backward_passes() as passes:
        (W @ x).sum().backward()
        counts["backward"] = passes.value
        grad(W @ x, x, torch.rand(3))
        counts["grad"] = passes.value
        torch.autograd.functional.jacobian(lambda x: W @ x, x)
        counts["functional.jacobian"] = passes.value
        torch.func.jacrev(lambda x: W @ x)(x)
        counts["jacrev"] = passes.value
        torch.func.jacfwd(lambda x: W @ x)(x)
        counts["jacfwd"] = passes.value
    grad(W @ x, x, torch.rand(3))
    assert counts == {
        "backward": 1,
        "grad": 2,
        "functional.jacobian": 5,
        "jacrev": 6,
        "jacfwd": 6,
    }
    assert passes.value == 6


def test_counting_tensors_does_not_import_dynamo():
    code = (
        "import sys, torch\n"
        "from tutor.counting import largest_tensor\n"
        "with largest_tensor() as largest:\n"
        "    torch.zeros(3) + 1\n"
        "print(largest.value, 'torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "3 False\n"


def test_the_largest_tensor_is_seen():
    with largest_tensor() as largest:
        x = torch.rand(5, requires_grad=True)
        (torch.rand(7, 5) @ x).sum().backward()
    assert largest.value == 35
