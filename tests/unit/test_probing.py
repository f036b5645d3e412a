"""What probes are made of: results are looked at in every question, whatever else is asked."""

from contextlib import suppress

import numpy as np
import pytest
import torch

from tutor.probing import afresh, gist, positive, with_results


def numbers(seed=1):
    return np.random.default_rng(seed)


def test_what_a_gist_looks_at():
    """Every number, its place, the shape and the dtype; lists, names and other things as well."""
    t = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    def of(value):
        return gist(numbers(), value)

    assert of(t) == of(t.clone().requires_grad_())
    assert of(t).dtype == torch.float32 and of(t.double()).dtype == torch.float64
    for other in (t.flip(0), t.flip(1), t + 1e-3, t * 0, t[:1], torch.zeros(0)):
        assert not torch.isclose(of(other), of(t))
    assert of(torch.tensor([True, False])) != of(torch.tensor([False, True]))
    assert of({"b": t, "a": None}) == of({"a": None, "b": t})
    assert of([t, (t, 1, "x")])[1][1:] == [1, "x"]
    with torch.inference_mode():
        inferred = t.double() * 1
    assert of(inferred) == of(t.double())


def test_results_are_told_beside_what_was_asked():
    def count(answer, x):
        return {"same": torch.equal(answer(x), answer(x=x))}

    x = torch.tensor([1.0, 2.0])
    told = with_results(numbers(), count)(lambda x: x * 2, x)
    assert told["same"] and len(told["results"]) == 2
    assert told == with_results(numbers(), count)(lambda x: x + x, x)
    lazy = with_results(numbers(), count)(torch.zeros_like, x)
    assert lazy["same"] and lazy["results"] == [0, 0] != told["results"]


def test_an_answer_that_raises_changes_no_later_question():
    """Neither what it left undrawn nor how much its gist would have taken."""

    def ask(answer, rng):
        answer(positive(rng, 2))
        return {"drawn": positive(rng, 3)}

    def later(answer):
        rng = numbers()
        with suppress(KeyError):
            with_results(rng, ask)(answer, afresh(rng))
        return positive(afresh(rng), 4)

    def fails(x):
        raise KeyError

    assert torch.equal(later(fails), later(lambda x: x))
    assert torch.equal(later(fails), later(lambda x: [x, x]))


@pytest.mark.parametrize("value", [None, "text", 3, 2.5, True])
def test_a_gist_of_no_tensor_is_the_value_itself(value):
    assert gist(numbers(), value) is value
