"""`check` in a student's notebook and in the grader, on the toy exercise."""

import functools
import importlib
import json

import pytest

from grading import keys as make_keys
from grading.key import Reference
from tutor import evidence as ev
from tutor import keys
from tutor.check import CheckFailed, check

from . import toy

module = importlib.import_module("tutor.check")  # tutor.check itself is the function


@pytest.fixture
def shown(toy_course, monkeypatch):
    """Keys of the toy course in place of the course's; what check() displays is collected."""
    made = json.loads(json.dumps(make_keys.public_keys(toy.ASSIGNMENT, toy_course)))
    monkeypatch.setattr(keys, "_read", lambda assignment: made)
    monkeypatch.delenv(module.SEED_VARIABLE, raising=False)
    shown = []
    monkeypatch.setattr(module, "display", lambda data, raw: shown.append(data))
    shown_reference = Reference(toy.ASSIGNMENT, toy_course)
    return shown, shown_reference


def ask(answer, name="scaled"):
    """Run check(answer) in a namespace that knows the answer under ``name``."""
    exec("check(answer)", {"check": check, "answer": answer, name: answer})  # noqa: S102


def test_a_right_answer_passes_in_silence_and_shows_the_table(shown):
    outputs, _ = shown
    ask(lambda x, factor: x * factor)
    assert "✓ 3/3" in outputs[0]["text/plain"] and "✓ 3/3" in outputs[0]["text/html"]


def test_a_wrong_answer_is_named_and_raises_at_the_end(shown):
    outputs, _ = shown
    with pytest.raises(CheckFailed, match="scaled  ✗ 0/3.*还没有全对.*Not all right"):
        ask(lambda x, factor: x + factor)
    assert "加成了乘" in outputs[0]["text/plain"]
    assert "adds instead" in outputs[0]["text/html"]


def test_the_unsolved_stub_is_a_wrong_answer(shown):
    def scaled(x, factor):
        raise NotImplementedError("scaled")

    with pytest.raises(CheckFailed):
        ask(scaled)
    assert "NotImplementedError: scaled" in shown[0][0]["text/plain"]


@pytest.mark.parametrize("kind", ["partial", "callable object", "another name", "a class"])
def test_any_callable_of_the_right_name_is_an_answer(shown, kind):
    def multiply(x, factor):
        return x * factor

    class Scale:
        def __call__(self, x, factor):
            return x * factor

    answers = {
        "partial": functools.partial(multiply),
        "callable object": Scale(),
        "another name": multiply,
        "a class": Scale().__call__,
    }
    ask(answers[kind])
    assert len(shown[0]) == 1


def test_a_renamed_function_gets_a_sentence(shown):
    with pytest.raises(LookupError, match="保留题目给出的函数名.*keep the name"):
        ask(lambda x, factor: x * factor, name="my_scaled")


def test_in_the_grader_it_only_hands_out_evidence(shown, monkeypatch):
    outputs, reference = shown
    monkeypatch.setenv(module.SEED_VARIABLE, "s3cret")
    ask(lambda x, factor: x + factor)
    (output,) = outputs
    assert set(output) == {ev.MIME, "text/plain"}
    name, evidence = ev.loads(output[ev.MIME])
    assert name == "scaled"
    assert evidence == reference.misconceptions("scaled", "s3cret")[0].evidence
    assert "s3cret" not in str(output)


def test_keys_hold_no_code_and_only_what_differs(shown, toy_course):
    made = make_keys.public_keys(toy.ASSIGNMENT, toy_course)
    entry = made["exercises"]["scaled"]
    rows_only = next(m for m in entry["misconceptions"] if m["name"] == "rows_only")
    assert set(rows_only["evidence"]) == {"scalar"}
    assert "clone" not in json.dumps(made)
    key, misconceptions = keys.load(toy.ASSIGNMENT, "scaled")
    assert set(key) == {"value", "scalar"} == set(misconceptions[0].evidence)
