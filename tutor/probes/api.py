"""Probes of assignment 04: what students do with the arguments of `backward` and `grad`.

No probe knows an answer: it asks and writes down. What happens on a second call, and whether the
seed's `flat_grad` breaks, is found by running it, on torch itself.
"""

from contextlib import contextmanager

import torch

from ..evidence import attempt
from ..exercise import Facet, exercise
from ..probing import (
    Counted,
    Guard,
    a_tensor,
    afresh,
    ask_all,
    count_passes,
    errors,
    gist,
    graphless,
    leaf,
    once,
    positive,
    signed,
    sizes,
    stale,
    with_results,
)

F32 = torch.float32
NO_SIDE_EFFECTS = "没有副作用，结果不带计算图", "no side effects, and no graph on the results"


def _refusing(answer):
    """The same function, but "refused" for any exception: the task does not say which type."""

    def asked(*args):
        try:
            return answer(*args)
        except NotImplementedError:
            raise
        except Exception:
            return "refused"

    return asked


# ------------------------------------------------------------------------------- grad_or_zero


@exercise(
    "04-api",
    facets=[
        Facet("value", 0.75, "每个 xᵢ 的 Σⱼ vⱼᵀJⱼᵢ", "Σⱼ vⱼᵀJⱼᵢ for every xᵢ"),
        Facet("none", 0.5, "没有 vs，或其中有 None", "no vs, or a None among them",
              needs=("value",)),
        Facet("unused", 0.5, "一部分没有用到：得到零", "some are unused: they get zeros",
              needs=("value",)),
        Facet("cut", 1, "全都没有用到：抛出 ValueError", "all are unused: ValueError is raised",
              needs=("value",)),
        Facet("computed", 0.25, "算出来的零不是没有用到", "a zero that was computed is no alarm",
              needs=("value",)),
        Facet("untouched", 0.5, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.5, "一次反向传播", "a single backward pass", needs=("value",)),
    ],
)  # fmt: skip
def grad_or_zero(answer, rng):
    m, n, k = sizes(rng, 3)
    a, b = leaf(positive(rng, n)), positive(rng, n)
    middle = a * b
    values = {
        "3 outputs, 2 inputs": _system(rng, m, n, k),
        "float32": _system(rng, n + 1, m, k, F32),
        "an x on the way": (
            (torch.sin(middle), a.sum()), (a, middle), (signed(rng, n), signed(rng)),
        ),
    }  # fmt: skip
    yield "value", ask_all(answer, values)
    yield "none", ask_all(_refusing(answer), _without_vs(rng, n))
    yield "unused", ask_all(answer, _partly_unused(rng, m, n, k))
    yield "cut", errors(answer, _all_unused(rng, m, n, k))
    yield "computed", ask_all(answer, _computed_zeros(rng, n))
    rng = afresh(rng)
    yield "untouched", attempt(_zero_untouched, answer, rng, m, n, k)
    rng = afresh(rng)
    system = _system(rng, m, n, k)
    yield "cost", attempt(with_results(rng, count_passes), answer, *system)


def _system(rng, m, n, k, dtype=torch.float64):
    """Outputs (m,), (2, n) and (); inputs (n,) and (k, 2); a cotangent for each output."""
    a, c = positive(rng, m, n, dtype=dtype), positive(rng, k, n, dtype=dtype)
    x, w = leaf(positive(rng, n, dtype=dtype)), leaf(signed(rng, k, 2, dtype=dtype))
    ys = torch.exp(-a @ x) * w.sum(), (w**2).T @ c * x, torch.tanh(w).sum() * x.prod()
    return ys, (x, w), tuple(signed(rng, *y.shape, dtype=dtype) for y in ys)


def _without_vs(rng, n):
    x, row = leaf(positive(rng, n)), positive(rng, n)
    return {
        "no vs, y ()": ((torch.sin(x).sum(),), (x,)),
        "no vs, y () and (1, 1)": (((x**3).sum(), x.prod().reshape(1, 1)), (x,)),
        "no vs, y (n,)": ((torch.sin(x),), (x,)),
        "None, y (n,)": ((x**2,), (x,), (None,)),
        "some None": ((x**3, (x**2).sum(), row @ x), (x,), (signed(rng, n), None, signed(rng))),
        "one v too many": ((x**2,), (x,), (signed(rng, n), signed(rng, n))),
        "one v too few": ((x**2, x.sum()), (x,), (signed(rng, n),)),
    }


def _partly_unused(rng, m, n, k):
    x, w = leaf(positive(rng, n)), leaf(positive(rng, 2, k, dtype=F32))
    alone, fixed = leaf(positive(rng, m, dtype=F32)), positive(rng, m)
    both = signed(rng, n), signed(rng, 2, k, dtype=F32)
    return {
        "the first of three": ((x**2, torch.sin(w)), (alone, x, w), both),
        "all but the last": ((x**3,), (alone, w, x), (signed(rng, n),)),
        "each by one y": ((x**2, torch.sin(w)), (x, w), both),
        "a y without a graph": ((fixed, x**2), (x, w), (signed(rng, m), signed(rng, n))),
        "a y of others": ((alone**2, x**2), (x, w), (both[1].new_ones(m) * 3, signed(rng, n))),
    }


def _all_unused(rng, m, n, k):
    """Graphs that were cut, by accident or not: no way leads from a y to an x."""
    x, w = leaf(positive(rng, n)), leaf(positive(rng, 2, k))
    other, single = leaf(positive(rng, n)), leaf(positive(rng))
    fixed, v = positive(rng, m), signed(rng, n)
    return {
        "other inputs": ((other**2,), (x, w), (v,)),
        "x.detach()": ((x.detach() * other,), (x,), (v,)),
        "x.item()": ((single.item() * other,), (single,), (v,)),
        "no graph": ((fixed,), (x, w), (signed(rng, m),)),
        "no graph, None": ((fixed.sum(),), (x,), (None,)),
        "torch.tensor": ((torch.tensor(x.tolist()), other.sum()), (x, w), (v, signed(rng))),
    }


def _computed_zeros(rng, n):
    x, w = leaf(positive(rng, n)), leaf(positive(rng, n))
    v = signed(rng, n)
    return {
        "0 * x": ((0 * x + w,), (x,), (v,)),
        "x - x": ((x - x,), (x,), (v,)),
        "relu": ((torch.relu(-x),), (x,), (v,)),
        "v = 0": ((x**2,), (x,), (torch.zeros(n),)),
    }


def _zero_untouched(answer, rng, m, n, k):
    ys, xs, vs = _system(rng, m, n, k)
    other, alone = stale(rng, positive(rng, n)), stale(rng, positive(rng, m))
    for x in xs:
        stale(rng, x)
    guard = Guard(x0=xs[0], x1=xs[1], v0=vs[0], v1=vs[1], w=other, unused=alone)
    weights = afresh(rng)
    result = answer((ys[0], ys[1] * other, ys[2]), (*xs, alone), vs)
    return guard.report() | {
        "no graph": graphless(result[:-1]),
        "no graph on zeros": graphless(result[-1:]),
        "gradients": gist(weights, result[:-1]),
    }


# ------------------------------------------------------------------------------ backward_like


@exercise(
    "04-api",
    facets=[
        Facet("value", 1, "写进 .grad 的数值", "the numbers written to .grad"),
        Facet("accumulates", 0.5, "加到已有的 .grad 上", "adds to what .grad holds",
              needs=("value",)),
        Facet("in_place", 0.25, "累积是原地的", "accumulates in place", needs=("accumulates",)),
        Facet("unused", 0.5, "没有用到的叶子保持原样", "leaves that are unused stay as they are",
              needs=("value",)),
        Facet("own", 0.5, "每个 .grad 有自己的内存", "every .grad has memory of its own",
              needs=("value",)),
        Facet("none", 0.25, "没有 v，或 v 的形状不对", "no v, or a v of the wrong shape",
              needs=("value",)),
        Facet("untouched", 0.5, "别的都不变，.grad 不带计算图",
              "nothing else changes, and no graph on .grad", needs=("value",)),
        Facet("graph", 0.5, "一次反向传播，之后释放被保存张量",
              "a single backward pass, which frees the saved tensors", needs=("value",)),
    ],
)  # fmt: skip
def backward_like(answer, rng):
    m, n = sizes(rng, 2)
    with _grad_alone():
        yield "value", ask_all(_grads_after(answer), _fresh(rng, m, n))
        yield "accumulates", ask_all(_grads_after(answer), _with_grads(rng, m, n))
        yield "in_place", attempt(_in_place, answer, rng, m, n)
        yield "unused", ask_all(_grads_after(answer), _unused_leaves(rng, m, n))
        yield "own", _own_memory(answer, rng, n)
        yield "none", ask_all(_refusing(_grads_after(answer)), _without_v(rng, m, n))
        yield "untouched", attempt(_backward_untouched, answer, rng, m, n)
        yield "graph", _backward_graph(answer, rng, m, n)


@contextmanager
def _grad_alone():
    """Within it `backward` raises RuntimeError by whatever name it is called; `grad` works."""
    original = torch.autograd._engine_run_backward

    def guarded(*args, **kwargs):
        if kwargs.get("accumulate_grad"):
            raise RuntimeError("这里不能调用 backward / backward is not to be called here")
        return original(*args, **kwargs)

    torch.autograd._engine_run_backward = guarded
    try:
        yield
    finally:
        torch.autograd._engine_run_backward = original


def _grads_after(answer):
    """A function that calls ``answer`` and returns the .grad of every leaf it was given."""

    def asked(y, leaves, *v):
        answer(y, leaves, *v)
        return [x.grad for x in leaves]

    return asked


def _pair(rng, m, n, dtype=torch.float64):
    """An output (m,) of two leaves (n,) and (m, n)."""
    a = positive(rng, m, n, dtype=dtype)
    x, w = leaf(positive(rng, n, dtype=dtype)), leaf(signed(rng, m, n, dtype=dtype))
    return torch.sin(a @ x) + (w**2) @ x, (x, w)


def _fresh(rng, m, n):
    single, tilted = leaf(signed(rng)), leaf(signed(rng, n, m).T)
    scale, row = positive(rng, m), positive(rng, n)
    return {
        "two leaves": (*_pair(rng, m, n), signed(rng, m)),
        "float32": (*_pair(rng, m, n, F32), signed(rng, m, dtype=F32)),
        "a leaf ()": (scale * torch.sin(single), (single,), signed(rng, m)),
        "a transposed leaf": (torch.exp(tilted) @ row, (tilted,), signed(rng, m)),
    }


def _with_grads(rng, m, n):
    cases = {}
    for name, old in {"both": (0, 1), "the first": (0,), "the second": (1,)}.items():
        y, leaves = _pair(rng, m, n)
        for i in old:
            stale(rng, leaves[i])
        cases[f"{name} from before"] = y, leaves, signed(rng, m)
    return cases


def _in_place(answer, rng, m, n):
    y, leaves = _pair(rng, m, n)
    kept = [stale(rng, x).grad for x in leaves]
    before = [old.clone() for old in kept]
    answer(y, leaves, signed(rng, m))
    pairs = list(zip(leaves, kept, before, strict=True))
    return {
        "the same tensor": [x.grad is old for x, old, _ in pairs],
        "it has changed": [not torch.equal(old, was) for _, old, was in pairs],
        "now": kept,
    }


def _unused_leaves(rng, m, n):
    y, (x, w) = _pair(rng, m, n)
    empty, filled = leaf(positive(rng, m, dtype=F32)), stale(rng, positive(rng, n))
    z = leaf(positive(rng, n))
    return {
        "between others": (y, (x, empty, filled, w), signed(rng, m)),
        "all of them": ((z**2).sum(), (leaf(positive(rng, m)), stale(rng, positive(rng, n)))),
    }


def _own_memory(answer, rng, n):
    """What the .grad of leaves is after the caller changed v, or one .grad, in place."""

    def change_v(y, x):
        v = signed(rng, *y.shape)
        answer(y, (x,), v)
        v.zero_()
        return x.grad

    def change_first(y, leaves, *v):
        answer(y, leaves, *v)
        leaves[0].grad.mul_(3)
        return [x.grad for x in leaves]

    a, b, c, d, e, f = (leaf(signed(rng, n)) for _ in range(6))
    row = leaf(signed(rng, 1, n))
    v_changed = {"v, y = x + 1": (a + 1, a), "v, y = x": (b, b)}
    first_changed = {
        "a.grad, y = a.sum()": (row.sum(), (row,)),
        "a.grad, y = (a + b).sum()": ((e + f).sum(), (e, f)),
        "a.grad, y = a + b": (c + d, (c, d), signed(rng, n)),
    }
    return {
        "dict": ask_all(change_first, first_changed)["dict"] | ask_all(change_v, v_changed)["dict"]
    }


def _without_v(rng, m, n):
    x = [leaf(positive(rng, n)) for _ in range(6)]
    return {
        "()": (torch.exp(x[0]).sum(), (x[0],)),
        "(1,)": ((x[1] ** 2).sum(0, keepdim=True), (x[1],)),
        "(1, 1), None": (x[2].prod().reshape(1, 1), (x[2],), None),
        "(n,)": (torch.sin(x[3]), (x[3],)),
        "v (1, n)": (torch.sin(x[4]), (x[4],), signed(rng, 1, n)),
        "v ()": (torch.sin(x[5]), (x[5],), signed(rng)),
    }


def _backward_untouched(answer, rng, m, n):
    y, (x, w) = _pair(rng, m, n)
    bare, filled = leaf(positive(rng, m)), stale(rng, positive(rng, m))
    y, v = y * bare * filled, stale(rng, signed(rng, m))
    leaves = [x, w]
    guard = Guard(y=y.detach(), v=v, bare=bare, filled=filled)
    values = [t.detach().clone() for t in leaves]
    result = answer(y, leaves, v)
    return guard.report() | {
        "returns None": result is None,
        "leaves unchanged": all(map(torch.equal, leaves, values)) and leaves[0] is x,
        "leaves ask for gradients": x.requires_grad and w.requires_grad,
        "no graph": graphless([x.grad, w.grad]),
        "grads": [x.grad, w.grad],
    }


def _backward_graph(answer, rng, m, n):
    def twice(y, x):
        for _ in range(2):
            answer(y, (x,))
        return x.grad

    y, leaves = _pair(rng, m, n)
    v = signed(rng, m)
    x, z = leaf(signed(rng, n)), leaf(signed(rng, n))
    passes = attempt(with_results(rng, count_passes), _grads_after(answer), y, leaves, v)
    cases = {
        "twice, saved tensors": (torch.exp(x).sum(), x),
        "twice, none saved": ((z.flip(0) - 1).sum(), z),
    }
    return {"dict": {"once": passes} | ask_all(_refusing(twice), cases)["dict"]}


# ----------------------------------------------------------------------------- grad_wrt_slice


@exercise(
    "04-api",
    facets=[
        Facet("value", 1, "对 x[i] 的梯度", "the gradient with respect to x[i]"),
        Facet("indices", 0.5, "切片、元组、列表、掩码、空切片",
              "slices, tuples, lists, masks, an empty slice", needs=("value",)),
        Facet("kinds", 0.25, "x 是 float32、标量、转置或带计算图时",
              "an x of float32, (), transposed or with a graph", needs=("value",)),
        Facet("unused_part", 0.25, "f 只用到 x 的别处：得到零",
              "f uses other parts of x: zeros", needs=("value",)),
        Facet("alarm", 0.25, "f 根本没有用到 x：报错", "f does not use x at all: an error",
              needs=("value",)),
        Facet("untouched", 0.5, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.25, "f 运行一次，反向一次", "one run of f, one backward pass",
              needs=("value",)),
    ],
)  # fmt: skip
def grad_wrt_slice(answer, rng):
    m, n = sizes(rng, 2, low=3)
    values = {
        "x (n,), one element": (_whole(rng, n), signed(rng, n), int(rng.integers(n))),
        "x (m, n), one row": (_whole(rng, m, n), signed(rng, m, n), int(rng.integers(m))),
        "x (m, n), last row": (_whole(rng, m, n), signed(rng, m, n), -1),
    }
    yield "value", ask_all(answer, values)
    yield "indices", ask_all(answer, _indices(rng, m, n))
    yield "kinds", ask_all(answer, _kinds_of_x(rng, m, n))
    front = positive(rng, 2)
    part = {
        "none of it": (lambda x: (front * x[:2] ** 2).sum(), signed(rng, n), slice(2, None)),
        "half of it": (lambda x: (front * x[:2] ** 2).sum(), signed(rng, n), slice(1, 3)),
    }
    yield "unused_part", ask_all(answer, part)
    yield "alarm", ask_all(_refusing(answer), _cut_functions(rng, n))
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _slice_untouched), answer, rng, m, n)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _slice_cost), answer, rng, m, n)


def _whole(rng, *shape, dtype=torch.float64):
    """A function to (), each of whose partial derivatives depends on all of x."""
    a, b = positive(rng, *shape, dtype=dtype), positive(rng, *shape, dtype=dtype)
    return lambda x: (a * x).sum() * (b * x**2).sum() + torch.sin(b * x).sum()


def _indices(rng, m, n):
    mask = torch.tensor([True, False, *(rng.integers(0, 2, n - 2) == 1)])
    column, row = int(rng.integers(n)), int(rng.integers(m))
    indices = {
        "a slice": slice(1, None),
        "a slice of one": slice(1, 2),
        "every other": slice(0, None, 2),
        "one element": (row, column),
        "a column": (slice(None), column),
        "a block": (slice(0, 2), slice(-2, None)),
        "a list": [m - 1, 0],
        "a mask": (..., mask),
        "nothing": slice(0, 0),
        "all of it": ...,
    }
    return {name: (_whole(rng, m, n), signed(rng, m, n), i) for name, i in indices.items()}


def _kinds_of_x(rng, m, n):
    inner, single = _whole(rng, n), _whole(rng, n)
    return {
        "float32": (_whole(rng, m, n, dtype=F32), signed(rng, m, n, dtype=F32), 1),
        "transposed": (_whole(rng, m, n), signed(rng, n, m).T, (slice(None), 1)),
        "expanded": (_whole(rng, m, n), signed(rng, n).expand(m, n), (1, slice(1, None))),
        "with a graph": (inner, leaf(signed(rng, n)) * 2, 0),
        "x ()": (_whole(rng), signed(rng), ()),
        "y (1,)": (lambda x: single(x).reshape(1), signed(rng, n), slice(0, 2)),
    }


def _cut_functions(rng, n):
    weight, fixed = leaf(positive(rng, n)), positive(rng)
    return {
        "constant y": (lambda x: fixed * 1, signed(rng, n), 0),
        "weights only": (lambda x: (weight**2).sum(), signed(rng, n), 1),
        "x.detach()": (lambda x: (x.detach() * weight).sum(), signed(rng, n), slice(1, None)),
    }


def _slice_untouched(answer, rng, m, n):
    function, weight = _whole(rng, m, n), stale(rng, positive(rng, n))
    report = {}
    cases = {"plain x": signed(rng, m, n), "leaf x": stale(rng, signed(rng, m, n))}
    for name, x in cases.items():
        guard, version = Guard(x=x, w=weight), x._version
        result = answer(lambda x: function(weight * x), x, 1)
        kept = {"x not written to": x._version == version, "no graph": graphless([result])}
        report[name] = guard.report() | kept
    return report


def _slice_cost(answer, rng, m, n):
    f, x = Counted(_whole(rng, m, n)), signed(rng, m, n)
    passes = count_passes(answer, f, x, slice(1, None))
    return {"runs of f": f.calls} | passes


# ------------------------------------------------------------------------ predict_second_call


@exercise(
    "04-api",
    facets=[
        Facet("lines", 1, "S4-18 的例子与它的变形", "the example of S4-18, and variations"),
        Facet("saved", 0.5, "对同一个输入求导两次", "the same input twice", needs=("lines",)),
        Facet("paths", 0.5, "两次走不同的路", "different ways in the two calls",
              needs=("lines",)),
        Facet("options", 0.5, "第一次带有参数", "arguments in the first call",
              needs=("lines",)),
        Facet("unused", 0.25, "第二次的输入没有用到", "an input of the second call is unused",
              needs=("lines",)),
        Facet("untouched", 0.25, "没有副作用", "no side effects", needs=("lines",)),
    ],
)  # fmt: skip
def predict_second_call(answer, rng):
    n = sizes(rng, 1, low=3)[0]
    yield "lines", ask_all(answer, _lines(rng))
    yield "saved", ask_all(answer, _one_input(rng, n))
    yield "paths", ask_all(answer, _two_inputs(rng, n))
    yield "options", ask_all(answer, _first_options(rng, n))
    yield "unused", ask_all(answer, _unused_second(rng, n))
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _prediction_untouched), answer, rng, n)


def _curved(rng):
    """A drawn operation, element by element, whose derivative depends on where it is taken."""
    chosen = [torch.exp, torch.sin, torch.tanh, torch.sigmoid, torch.square, torch.sqrt]
    return chosen[int(rng.integers(len(chosen)))]


def _moving(rng):
    """A drawn operation on a vector that adds, moves or repeats numbers."""
    shift = positive(rng)
    chosen = [
        torch.neg,
        torch.clone,
        lambda t: t + shift,
        lambda t: shift - t,
        lambda t: t.flip(0),
        lambda t: t.roll(1),
        lambda t: t.cumsum(0),
        lambda t: torch.cat((t, t)),
        lambda t: t.reshape(1, -1),
    ]
    return chosen[int(rng.integers(len(chosen)))]


def _lines(rng):
    x, outer = positive(rng), _curved(rng)
    functions = {
        "x w + b": lambda w, b: x * w + b,
        "x w - b": lambda w, b: x * w - b,
        "(x w + b)**2": lambda w, b: (x * w + b) ** 2,
        "g(x w + b)": lambda w, b: outer(x * w + b),
    }
    orders = [([0], [1]), ([1], [0]), ([0], [0]), ([1], [1]), ([0, 1], [1]), ([1], [1, 0])]
    return {
        f"{name}: {first} {second}": (f, (positive(rng), positive(rng)), first, second, {})
        for name, f in functions.items()
        for first, second in orders
    }


def _one_input(rng, n):
    factor, weights = positive(rng), positive(rng, n)
    functions = {f"moved {i}": _summed(_moving(rng)) for i in range(3)}
    functions |= {f"curved {i}": _summed(_curved(rng)) for i in range(3)}
    functions |= {
        "moved twice": _summed(_moving(rng), torch.flatten, _moving(rng)),
        "moved, curved": _summed(_moving(rng), _curved(rng)),
        "curved, moved": _summed(_curved(rng), _moving(rng)),
        "mean": lambda a: a.mean(),
        "a number times": lambda a: (float(factor) * a).sum(),
        "divided by a number": lambda a: a.sum() / 3,
        "weights times": lambda a: (weights * a).sum(),
        "a * a": lambda a: (a * a).sum(),
        "a + a": lambda a: (a + a).sum(),
        "chosen": lambda a: a[[0, 2]].sum(),
        "sliced": lambda a: a[1:].sum(),
    }
    return {name: (f, (positive(rng, n),), [0], [0], {}) for name, f in functions.items()}


def _summed(*operations):
    """The operations one after the other, then the sum."""

    def function(a):
        for operation in operations:
            a = operation(a)
        return a.sum()

    return function


def _two_inputs(rng, n):
    inner, outer, move = _curved(rng), _curved(rng), _moving(rng)
    weights = positive(rng, n)
    functions = {
        "g(a) + h(b)": lambda a, b: (inner(a) + outer(b)).sum(),
        "g(a) + b": lambda a, b: (inner(a) + b).sum(),
        "g(a) + c b": lambda a, b: (move(inner(a)) + move(weights * b)).sum(),
        "a + b": lambda a, b: move(a + b).sum(),
        "a b": lambda a, b: (a * b).sum(),
        "g(a) b": lambda a, b: (inner(a) * b).sum(),
        "g(a + b)": lambda a, b: outer(a + b).sum(),
        "g(a), b joined": lambda a, b: torch.cat((inner(a), b)).sum(),
    }
    orders = [([0], [1]), ([1], [0]), ([1], [1]), ([0, 1], [1]), ([0], [0, 1])]
    return {
        f"{name}: {first} {second}": (f, (positive(rng, n), positive(rng, n)), first, second, {})
        for name, f in functions.items()
        for first, second in orders
    }


def _first_options(rng, n):
    functions = {"curved": _summed(_curved(rng)), "moved": _summed(_moving(rng))}
    options = [
        {"retain_graph": True},
        {"retain_graph": False},
        {"retain_graph": None},
        {"create_graph": True},
        {"create_graph": False},
        {"create_graph": True, "retain_graph": False},
        {"create_graph": False, "retain_graph": True},
        {"allow_unused": True},
        {"materialize_grads": True},
    ]
    return {
        f"{name}, {chosen}": (f, (positive(rng, n),), [0], [0], chosen)
        for name, f in functions.items()
        for chosen in options
    }


def _unused_second(rng, n):
    inner, move = _curved(rng), _moving(rng)
    functions = {
        "moved a": lambda a, b: move(a).sum(),
        "g(a)": lambda a, b: inner(a).sum(),
        "a b.detach()": lambda a, b: (a * b.detach()).sum(),
        "0 b": lambda a, b: (a + 0 * b).sum(),
    }
    orders = [([0], [1]), ([0], [0])]
    return {
        f"{name}: {first} {second}": (f, (positive(rng, n), positive(rng, n)), first, second, {})
        for name, f in functions.items()
        for first, second in orders
    }


def _prediction_untouched(answer, rng, n):
    weight = stale(rng, positive(rng, n))
    report = {}
    for name, make in {"plain": lambda a: a, "leaves": lambda a: stale(rng, a)}.items():
        xs = make(positive(rng, n)), make(positive(rng, n))
        first, second, options = [0], [1, 0], {"retain_graph": False}
        guard = Guard(x0=xs[0], x1=xs[1], w=weight)
        answer(lambda a, b: (weight * a * torch.exp(b)).sum(), xs, first, second, options)
        same = (first, second, options) == ([0], [1, 0], {"retain_graph": False})
        report[name] = guard.report() | {"arguments unchanged": same}
    return report


# -------------------------------------------------------------------------- flat_grad_breaker


@exercise(
    "04-api",
    facets=[
        Facet("breaks", 1, "每个输入都用到了，flat_grad 仍然报错",
              "every input is used, and still flat_grad fails"),
        Facet("setting", 0.5, "xs 是几个 float64 张量，f(*xs) 是 float64 标量",
              "xs are float64 tensors, f(*xs) is a float64 scalar", needs=("breaks",)),
        Facet("honest", 0.5, "f 每次结果相同，autograd 求出的梯度正确",
              "f is the same every time, and autograd has its gradients right",
              needs=("breaks",)),
    ],
)  # fmt: skip
def flat_grad_breaker(answer, rng):
    answer = once(answer)
    yield "breaks", attempt(_breaks, answer)
    yield "setting", attempt(_breaker_setting, answer)
    yield "honest", attempt(_breaker_honest, answer)


MOST_ELEMENTS = 64


def _seeds_flat_grad(y, x):
    """S2-25 with its default arguments."""
    g = torch.autograd.grad(y, x, retain_graph=False, create_graph=False)
    return torch.cat([t.view(-1) for t in g])


def _breaker_inputs(answer):
    """(f, leaves): what the answer gives, its tensors as leaves with the strides they had."""
    f, xs = answer()
    if not isinstance(xs, tuple | list) or not all(isinstance(x, torch.Tensor) for x in xs):
        raise ValueError("xs must be a tuple of tensors")
    xs = [a_tensor(x) for x in xs]
    if sum(x.numel() for x in xs) > MOST_ELEMENTS:
        raise ValueError(f"xs have more than {MOST_ELEMENTS} elements")
    return f, [x.detach().requires_grad_() for x in xs]


def _breaks(answer):
    """Whether the seed's function fails where torch.autograd.grad, before and after, does not."""
    f, xs = _breaker_inputs(answer)
    before = torch.autograd.grad(f(*xs), xs, allow_unused=True)
    y, failed = f(*xs), False
    try:
        _seeds_flat_grad(y, xs)
    except Exception:
        failed = True
    after = torch.autograd.grad(f(*xs), xs, allow_unused=True)
    return {
        "every input is used": all(g is not None for g in (*before, *after)),
        "every gradient is contiguous": all(g.is_contiguous() for g in before if g is not None),
        "flat_grad fails": failed,
    }


def _breaker_setting(answer):
    f, xs = _breaker_inputs(answer)
    y = a_tensor(f(*xs))
    return {
        "xs are float64": all(x.dtype == torch.float64 for x in xs),
        "f(*xs)": [str(y.dtype).removeprefix("torch."), *y.shape],
    }


def _breaker_honest(answer):
    """Whether f can be trusted: the same twice, and autograd agrees with central differences."""
    f, xs = _breaker_inputs(answer)
    grads, h = torch.autograd.grad(f(*xs), xs), 1e-5
    flat = torch.cat([g.to_dense().reshape(-1) for g in grads])
    with torch.no_grad():
        slopes = [
            (f(*_moved(xs, i, h, j)) - f(*_moved(xs, i, -h, j))) / (2 * h)
            for i, x in enumerate(xs)
            for j in range(x.numel())
        ]
        again = torch.equal(f(*xs).nan_to_num(), f(*xs).nan_to_num())
    finite = bool(flat.isfinite().all()) and bool(f(*xs).isfinite().all())
    room = 1e-4 * max(1.0, float(flat.abs().max()))
    agree = torch.allclose(torch.stack(slopes).reshape(-1), flat, rtol=0, atol=room)
    return {
        "y and gradients are finite": finite,
        "the same y every time": again,
        "gradients agree with differences": agree,
    }


def _moved(xs, i, h, j):
    """xs with element j of xs[i] moved by h; every tensor keeps its strides."""
    step = torch.zeros(xs[i].numel())
    step[j] = h
    moved = [x.detach() for x in xs]
    moved[i] = moved[i] + step.reshape(xs[i].shape)
    return moved


# ---------------------------------------------------------------------------------- flat_grad


@exercise(
    "04-api",
    facets=[
        Facet("value", 0.5, "依次接起来的梯度", "the gradients, one after the other"),
        Facet("strided", 1, "梯度在内存里不连续时", "gradients that are not contiguous",
              needs=("value",)),
        Facet("unused", 0.75, "没有用到的输入占零的位置", "zeros in the place of unused inputs",
              needs=("value",)),
        Facet("cut", 0.5, "一个也没有用到：报错", "none is used: an error", needs=("unused",)),
        # What the seed had right counts for an answer that mends it.
        Facet("again", 0.25, "create_graph=True：结果可以再求导",
              "create_graph=True: the result can be differentiated", needs=("strided",)),
        Facet("lifetime", 0.25, "默认释放被保存张量，retain_graph=True 保留",
              "saved tensors are freed, but kept by retain_graph=True", needs=("strided",)),
        Facet("shapes", 0.25, "单个张量、标量、空张量、float32",
              "one tensor alone, (), an empty tensor, float32", needs=("strided",)),
        Facet("untouched", 0.25, *NO_SIDE_EFFECTS, needs=("strided",)),
        Facet("cost", 0.25, "一次反向传播", "a single backward pass", needs=("strided",)),
    ],
)  # fmt: skip
def flat_grad(answer, rng):
    m, n, k = sizes(rng, 3)
    values = {"3 inputs": _layers(rng, m, n, k), "2 inputs": _layers(rng, k, m, n, inputs=2)}
    yield "value", ask_all(answer, values)
    yield "strided", ask_all(answer, _strided(rng, m, n))
    yield "unused", ask_all(answer, _flat_unused(rng, m, n, k))
    yield "cut", ask_all(_refusing(answer), _flat_cut(rng, m, n))
    yield "again", _flat_again(answer, rng, n)
    yield "lifetime", _flat_lifetime(answer, rng, n)
    yield "shapes", ask_all(answer, _flat_shapes(rng, m, n))
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _flat_untouched), answer, rng, m, n, k)
    rng = afresh(rng)
    y, xs = _layers(rng, m, n, k)
    yield "cost", attempt(with_results(rng, count_passes), answer, y, xs)


def _layers(rng, m, n, k, inputs=3, dtype=torch.float64):
    """(y, xs): a small network's loss and its parameters (m, n), (m,) and (k, m), or two."""
    w, b, u = (leaf(signed(rng, *s, dtype=dtype)) for s in ((m, n), (m,), (k, m)))
    x = positive(rng, n, dtype=dtype)
    y = ((u @ torch.tanh(w @ x + b)) ** 2).sum() + torch.exp(-b).sum()
    return y, (w, b, u)[:inputs]


def _strided(rng, m, n):
    x, scale, row = leaf(signed(rng, m, n)), positive(rng, n, m), positive(rng, n)
    tilted, b = leaf(signed(rng, n, m).T), leaf(positive(rng, n))
    cube = leaf(signed(rng, 2, m, n))
    return {
        "x.T": ((scale * x.T).sum() + (b**2).sum(), (b, x)),
        "x.sum(0)": ((x.sum(0) * row * b).sum(), (x, b)),
        "x.sum(1)": (torch.sin(x.sum(1)).sum(), (x,)),
        "a transposed x": ((tilted**3).sum() * b.sum(), (tilted, b)),
        "three dimensions": ((cube.permute(2, 0, 1)[1:] * cube.sum()).sum(), (cube,)),
    }


def _flat_unused(rng, m, n, k):
    y, (w, b, u) = _layers(rng, m, n, k)
    alone = leaf(positive(rng, k, 2))
    single, (c, d, e) = _layers(rng, n, k, m, dtype=F32)
    lone = leaf(positive(rng, n, dtype=F32))
    z = leaf(positive(rng, n))
    return {
        "in front": (y, (alone, w, b, u)),
        "between": ((z**2).sum(), (b, z, alone)),
        "float32": (single, (c, lone, d, e)),
        "a computed zero": ((0 * z).sum() + z.new_ones(()), (z, alone)),
    }


def _flat_cut(rng, m, n):
    x, w = leaf(positive(rng, n)), leaf(positive(rng, n))
    return {
        "other inputs": ((w**2).sum(), (x, leaf(positive(rng, m)))),
        "x.detach()": ((x.detach() * w).sum(), (x,)),
        "no graph": (positive(rng), (x,)),
    }


def _flat_again(answer, rng, n):
    """Hessian–vector products by way of the flat gradient, and y's own graph afterwards."""

    def product(y, xs):
        flat = answer(y, xs, create_graph=True)
        u = torch.linspace(0.5, 1.5, flat.numel())
        return torch.autograd.grad(flat @ u, xs)

    def y_again(y, xs):
        answer(y, xs, create_graph=True)
        return torch.autograd.grad(y, xs)

    a, b = leaf(signed(rng, n)), leaf(signed(rng, 2, n))
    row = positive(rng, n)
    mixed = torch.exp(a @ row / n) * (b**3).sum()
    products = {
        "Hv": (mixed, (a, b)),
        "Hv, exp": (torch.exp(a).sum(), (a,)),
        "Hv, b in front": ((torch.sin(b) * a).sum(), (b, a)),
    }
    kept = {"y's graph is kept": (torch.exp(b).sum(), (b,))}
    return {"dict": ask_all(product, products)["dict"] | ask_all(y_again, kept)["dict"]}


def _flat_lifetime(answer, rng, n):
    def twice(function, options):
        x = leaf(signed(rng, n))
        y = function(x)
        answer(y, (x,), **options)
        return answer(y, (x,))

    def curved(x):
        return torch.exp(x).sum()

    cases = {
        "default, saved": (curved, {}),
        "default, none saved": (lambda x: (x - 1).sum(), {}),
        "retain_graph=True": (curved, {"retain_graph": True}),
        "retain_graph=False": (curved, {"retain_graph": False}),
    }
    return ask_all(_refusing(twice), cases)


def _flat_shapes(rng, m, n):
    x, square = leaf(signed(rng, n)), leaf(signed(rng, m, n))
    s, empty, wide = leaf(signed(rng)), leaf(signed(rng, 0, n)), leaf(signed(rng, n))
    y, xs = _layers(rng, m, n, 2, dtype=F32)
    return {
        "one vector": ((x**3).sum(), x),
        "one matrix": (torch.sin(square).sum() * s, square),
        "one ()": (torch.exp(s), s),
        "with ()": ((s * wide).sum() ** 2, [s, wide]),
        "with an empty one": ((empty.sum() + wide).prod(), (empty, wide)),
        "y (1,)": ((wide**2).sum(0, keepdim=True), (wide,)),
        "float32": (y, xs),
    }


def _flat_untouched(answer, rng, m, n, k):
    y, xs = _layers(rng, m, n, k)
    other = stale(rng, positive(rng))
    for x in xs:
        stale(rng, x)
    guard = Guard(w=xs[0], b=xs[1], u=xs[2], other=other)
    retained = answer(y, xs, retain_graph=True)
    result = answer(y * other, xs)
    return guard.report() | {
        "no graph": graphless([result]),
        "no graph, retain_graph=True": graphless([retained]),
    }
