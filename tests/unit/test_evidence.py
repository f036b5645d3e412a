"""Evidence crosses between processes as plain data, and nothing else gets through."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutor import evidence as ev

x = torch.arange(6.0, dtype=torch.float32).reshape(2, 3)
VALUES = {
    "tensor of another layout": (x.T, "tensor"),
    "scalar": (torch.tensor(2.5), "tensor"),
    "empty": (torch.zeros(0, 3), "tensor"),
    "non-finite": (torch.tensor([math.nan, math.inf, -math.inf]), "tensor"),
    "complex": (torch.tensor([1 + 2j]), "tensor"),
    "bool tensor": (torch.tensor([True, False]), "tensor"),
    "sparse": (torch.eye(2).to_sparse(), "tensor"),
    "bfloat16": (torch.ones(2, dtype=torch.bfloat16), "tensor"),
    "tracked": (torch.ones(2, requires_grad=True), "tensor"),
    "nested": ((x, [1, None]), "list"),
    "dict": ({"w": 1.5, 3: True}, "dict"),
    "flag": (True, "flag"),
    "integer": (3, "integer"),
    "huge integer": (10**40, "object"),
    "number": (math.nan, "number"),
    "text": ("leaf", "text"),
    "object": (object(), "object"),
}


@pytest.mark.parametrize("name", VALUES)
def test_every_value_has_a_kind_and_survives_the_crossing(name):
    value, kind = VALUES[name]
    observation = ev.observe(value)
    assert next(iter(observation)) == kind
    assert ev.loads(ev.dumps("e", {"f": observation})) == ("e", {"f": observation})


def test_a_tensor_keeps_dtype_shape_and_numbers():
    assert ev.observe(x.T) == {
        "tensor": {"dtype": "float32", "shape": [3, 2], "values": [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]}
    }


def test_a_tensor_without_storage_has_numbers_too():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    (g,) = torch.autograd.grad(x.abs().sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    assert h._is_zerotensor()
    assert ev.observe(h)["tensor"]["values"] == [0.0, 0.0]


def test_a_large_tensor_is_described_without_its_numbers():
    observation = ev.observe(torch.zeros(ev.MAX_ELEMENTS + 1))
    assert observation["tensor"]["omitted"] == ev.MAX_ELEMENTS + 1
    assert observation["tensor"]["values"] == []
    ev.loads(ev.dumps("e", {"f": observation}))


def test_an_exception_is_an_observation_even_system_exit():
    def fails(error):
        raise error

    assert ev.attempt(fails, ValueError("first\nsecond")) == {
        "raises": "ValueError",
        "message": "first",
    }
    assert ev.attempt(fails, SystemExit())["raises"] == "SystemExit"
    with pytest.raises(KeyboardInterrupt):
        ev.attempt(fails, KeyboardInterrupt())


def wrap(observation):
    return json.dumps({"exercise": "e", "evidence": {"f": observation}})


def nested(depth):
    observation = {"flag": True}
    for _ in range(depth):
        observation = {"list": [observation]}
    return observation


TENSOR = {"dtype": "float64", "shape": [2], "values": [1.0, 2.0]}
FORGED = {
    "not text": {"exercise": "e"},
    "empty": "",
    "not json": "{",
    "not an object": "[]",
    "other names": '{"exercise": "e"}',
    "one name too many": '{"exercise": "e", "evidence": {}, "points": 4}',
    "a name twice": '{"exercise": "e", "evidence": {"f": {"flag": true}, "f": {"flag": false}}}',
    "too large": " " * (ev.MAX_BYTES + 1),
    "deep json": "[" * 10_000,
    "nan": '{"exercise": "e", "evidence": {"f": {"number": NaN}}}',
    "overflow": '{"exercise": "e", "evidence": {"f": {"number": 1e999}}}',
    "a huge integer": '{"exercise": "e", "evidence": {"f": {"integer": ' + "9" * 5000 + "}}}",
    "a huge number": wrap({"number": 10**400}),
    "a huge element": wrap({"tensor": TENSOR | {"values": [10**400, 1.0]}}),
    "unknown kind": wrap({"pickle": "gASV"}),
    "two kinds": wrap({"flag": True, "number": 1}),
    "no kind": wrap({}),
    "not an observation": wrap(3),
    "deep list": wrap(nested(20)),
    "a flag that is none": wrap({"flag": 1}),
    "a number that is text": wrap({"number": "1"}),
    "too few numbers": wrap({"tensor": TENSOR | {"values": [1.0]}}),
    "a negative shape": wrap({"tensor": TENSOR | {"shape": [-2]}}),
    "an extra entry": wrap({"tensor": TENSOR | {"points": 1}}),
    "an element that is text": wrap({"tensor": TENSOR | {"values": ["a", 1.0]}}),
    "an element of three parts": wrap({"tensor": TENSOR | {"values": [[1, 2, 3], 1.0]}}),
    "omitted, but there": wrap({"tensor": TENSOR | {"omitted": 2}}),
    "a message that is none": wrap({"raises": "E", "message": 3}),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_not_evidence_is_refused(name):
    with pytest.raises(ev.EvidenceError):
        ev.loads(FORGED[name])


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=10))
def test_any_plain_value_survives_the_crossing(value):
    text = ev.dumps("e", {"f": ev.observe(value)})
    assert ev.dumps(*ev.loads(text)) == text


@given(st.text())
def test_any_text_is_evidence_or_refused(text):
    with pytest.raises(ev.EvidenceError):
        ev.loads(text)
