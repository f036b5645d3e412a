"""Mutations make one small change each, of every kind, and describe it."""

import ast

import pytest

from grading.mutations import mutate

SOURCE = '''
def task(x, w, dim=0):
    """Not -1 of this."""
    def inner(t):
        return t * 2.0
    if dim < 1 and not w:
        x = x.detach()
    y = torch.sum(x, dim=0) - w @ x
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    return inner(y), g
'''
EXPECTED = {
    "line 5: t * 2.0 → t / 2.0",
    "line 5: 2.0 → 4.0",
    "line 6: dim < 1 → dim <= 1",
    "line 6: dim < 1 and (not w) → dim < 1 or not w",
    "line 6: not w → w",
    "line 6: 1 → 2",
    "line 7: x.detach() → x",
    "line 8: torch.sum(x, dim=0) - w @ x → torch.sum(x, dim=0) + w @ x",
    "line 8: torch.sum: no dim=0",
    "line 8: 0 → 1",
    "line 8: w @ x → x @ w",
    "line 9: torch.autograd.grad: no create_graph=True",
    "line 9: True → False",
    "line 10: return -g for g",
    "line 10: return None for inner(y)",
    "line 6: if dim < 1 and (not w): never",
}


def test_each_kind_of_change_is_made():
    made = dict(mutate(SOURCE))
    for text in EXPECTED:
        assert any(found.startswith(text) for found in made), text
    assert len(made) > len(EXPECTED)
    assert not any("Not -1" in text for text in made)


@pytest.mark.parametrize("text", [t for t, _ in mutate(SOURCE)])
def test_each_mutation_is_one_change_that_compiles(text):
    mutated = dict(mutate(SOURCE))[text]
    compile(mutated, "<mutated>", "exec")
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(SOURCE))
