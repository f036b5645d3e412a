"""Probes of assignment 03: what students' vector–Jacobian products do with drawn inputs.

No probe knows an answer: it asks and writes down. What it counts (runs of f, backward passes,
questions) is the same for every right way of solving an exercise.
"""

import torch

from ..evidence import attempt, observe
from ..exercise import Facet, exercise
from ..probing import (
    SIGNS,
    Counted,
    Guard,
    a_tensor,
    afresh,
    ask_all,
    cost,
    count_passes,
    curve,
    errors,
    gist,
    graphless,
    leaf,
    once,
    positive,
    signed,
    sizes,
    sparse,
    stale,
    surface,
    with_results,
)

F32 = torch.float32
NO_SIDE_EFFECTS = "没有副作用，结果不带计算图", "no side effects, and no graph on the results"


# ---------------------------------------------------------------------------------------- vjp


@exercise(
    "03-vjp",
    facets=[
        Facet("value", 1, "y 和 g 的数值", "the numbers in y and g"),
        Facet("shapes", 0.5, "标量、矩阵、转置、空张量",
              "scalars, matrices, transposes, empty tensors", needs=("value",)),
        Facet("float32", 0.5, "x 是 float32 时", "an x of dtype float32", needs=("value",)),
        Facet("unused", 0.5, "f 没有用到 x 时", "an f that does not use x", needs=("value",)),
        Facet("refused", 0.5, "v 的形状不对时抛出 ValueError",
              "a v of the wrong shape raises ValueError", needs=("value",)),
        Facet("untouched", 0.5, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.5, "f 运行一次，反向一次，不构造 J",
              "one run of f, one backward pass, no full J", needs=("value",)),
    ],
)  # fmt: skip
def vjp(answer, rng):
    m, n = sizes(rng, 2)
    values = {
        "m > n": (curve(rng, m + n, n), signed(rng, n), signed(rng, m + n)),
        "m < n": (curve(rng, m, m + n), signed(rng, m + n), signed(rng, m)),
    }
    yield "value", ask_all(answer, values)
    yield "shapes", ask_all(answer, _vjp_shapes(rng, m, n))
    sines = _sines(positive(rng, m))
    kept, widened = signed(rng, n, dtype=F32), signed(rng, n, dtype=F32)
    singles = {
        "y float32": (curve(rng, m, n, F32), kept, signed(rng, m, dtype=F32)),
        "y float64": (lambda x: sines(x.double().sum()), widened, signed(rng, m)),
    }
    yield "float32", ask_all(answer, singles)
    yield "unused", ask_all(answer, _vjp_unused(rng, m, n))
    yield "refused", errors(answer, _vjp_wrong(rng, m, n))
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _vjp_untouched), answer, rng, m, n)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _vjp_cost), answer, rng)


def _sines(scale):
    """A function from () to the shape of ``scale``."""
    return lambda x: scale * torch.sin(x)


def _vjp_shapes(rng, m, n):
    row = positive(rng, n)
    square, tilted = signed(rng, m, n), signed(rng, n, m).T
    return {
        "x (m, n), y (n, 3)": (surface(rng, (m, n), (n, 3)), square, signed(rng, n, 3)),
        "x, v transposed": (surface(rng, (m, n), (2, m)), tilted, signed(rng, m, 2).T),
        "x expanded": (curve(rng, m, n), signed(rng, 1).expand(n), signed(rng, m)),
        "x (), y ()": (_sines(positive(rng)), signed(rng), signed(rng)),
        "x (), y (m,)": (_sines(positive(rng, m)), signed(rng), signed(rng, m)),
        "x (n,), y ()": (lambda x: row @ torch.sin(x), signed(rng, n), signed(rng)),
        "x (1,), y (1,)": (curve(rng, 1, 1), signed(rng, 1), signed(rng, 1)),
        "x (0,), y (m,)": (curve(rng, m, 0), signed(rng, 0), signed(rng, m)),
    }


def _vjp_unused(rng, m, n):
    constant, weight = positive(rng, m), leaf(positive(rng, n))
    return {
        "constant y": (lambda x: constant * 1, signed(rng, m, n), signed(rng, m)),
        "weights only": (lambda x: weight**2, signed(rng, m, 1, dtype=F32), signed(rng, n)),
        "two of x": (lambda x: x[:2] * constant[0], signed(rng, n + 1), signed(rng, 2)),
    }


def _vjp_wrong(rng, m, n):
    """Calls that must be refused: a v of the wrong shape, and an f that raises an error itself."""
    constant = positive(rng, m)
    wrong = {(m,): [(), (1,), (1, m), (m, 1), (m + 1,)], (): [(1,), (m,)], (2, 3): [(3, 2), (3,)]}
    cases = {
        f"y {y}, v {v}": (lambda x, y=y: x.sum().expand(y), signed(rng, n), signed(rng, *v))
        for y, shapes in wrong.items()
        for v in shapes
    }
    cases["constant y"] = (lambda x: constant, signed(rng, n), signed(rng, m + 1))
    cases["f raises KeyError"] = (lambda x: {}["w"] * x, signed(rng, n), signed(rng, n))
    return cases


def _vjp_untouched(answer, rng, m, n):
    function, weight = curve(rng, m, n), stale(rng, positive(rng, m))
    report = {}
    for kind, x in {"plain": signed(rng, n), "leaf": stale(rng, signed(rng, n))}.items():
        v = signed(rng, m)
        guard = Guard(x=x, v=v, w=weight)
        result = answer(lambda x: weight * function(x), x, v)
        report[f"{kind} x"] = guard.report() | {"no graph": graphless(result)}
    return report


def _vjp_cost(answer, rng):
    m, n = 60, 700
    f, x, v = Counted(sparse(rng, m, n)), signed(rng, n), signed(rng, m)
    passes, largest = cost(lambda: answer(f, x, v))
    return {
        "runs of f": f.calls,
        "backward passes": passes,
        "no tensor as large as J": largest < m * n / 2,
    }


# ---------------------------------------------------------------------------------- vjp_multi


@exercise(
    "03-vjp",
    facets=[
        Facet("value", 1, "每个 xᵢ 的 Σⱼ vⱼᵀJⱼᵢ", "Σⱼ vⱼᵀJⱼᵢ for every xᵢ"),
        Facet("none", 0.5, "v 为 None 时", "a v that is None", needs=("value",)),
        Facet("unused", 0.5, "没有用到的 x 得到零", "zeros for an x that is not used",
              needs=("value",)),
        Facet("constants", 0.5, "不带计算图的 y 没有贡献", "a y without a graph adds nothing",
              needs=("value",)),
        Facet("refused", 0.5, "v 的个数不对时抛出 ValueError",
              "a wrong number of v raises ValueError", needs=("value",)),
        Facet("untouched", 0.5, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.5, "一次反向传播", "a single backward pass", needs=("value",)),
    ],
)  # fmt: skip
def vjp_multi(answer, rng):
    m, n, k = sizes(rng, 3)
    a, b = leaf(positive(rng, n)), positive(rng, n)
    middle = a * b
    inner = (torch.sin(middle), a.sum()), (a, middle), (signed(rng, n), signed(rng))
    values = {
        "3 outputs, 2 inputs": _system(rng, m, n, k),
        "float32": _system(rng, n + 1, m, k, F32),
        "an x on the way": inner,
    }
    yield "value", ask_all(answer, values)
    yield "none", ask_all(_name_refusal(answer), _multi_none(rng, n))
    yield "unused", ask_all(answer, _multi_unused(rng, m, n, k))
    yield "constants", ask_all(answer, _multi_constants(rng, m, n))
    x = leaf(positive(rng, n))
    counts = {
        "too few": ((x**2, x.sum()), (x,), (signed(rng, n),)),
        "none at all": ((x.sum(),), (x,), ()),
        "too many": ((x**2,), (x,), (signed(rng, n), signed(rng, k))),
        "too many, constant y": ((b,), (x,), (signed(rng, n), signed(rng, n))),
    }
    yield "refused", errors(answer, counts)
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _multi_untouched), answer, rng, m, n, k)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _multi_cost), answer, rng, m, n, k)


def _system(rng, m, n, k, dtype=torch.float64):
    """Outputs (m,), (2, n) and (); inputs (n,) and (k, 2); a cotangent for each output."""
    a, c = positive(rng, m, n, dtype=dtype), positive(rng, k, n, dtype=dtype)
    x, w = leaf(positive(rng, n, dtype=dtype)), leaf(signed(rng, k, 2, dtype=dtype))
    ys = torch.sin(a @ x) * w.sum(), w.T @ c * x, (w**2).sum() * x.prod()
    return ys, (x, w), tuple(signed(rng, *y.shape, dtype=dtype) for y in ys)


def _name_refusal(answer):
    """The same function, but "refused" for any exception: the task does not say which type."""

    def asked(*args):
        try:
            return answer(*args)
        except NotImplementedError:
            raise
        except Exception:
            return "refused"

    return asked


def _multi_none(rng, n):
    x, row = leaf(positive(rng, n)), positive(rng, n)
    return {
        "()": ((torch.sin(x).sum(),), (x,), (None,)),
        "(1,)": (((x**2).sum(0, keepdim=True),), (x,), (None,)),
        "(1, 1)": ((torch.exp(x).prod().reshape(1, 1),), (x,), (None,)),
        "(n,)": ((torch.sin(x),), (x,), (None,)),
        "some": ((x**3, (x**2).sum(), row @ x), (x,), (signed(rng, n), None, signed(rng))),
    }


def _multi_unused(rng, m, n, k):
    x, w = leaf(positive(rng, n)), leaf(positive(rng, 2, k, dtype=F32))
    alone = leaf(positive(rng, m, dtype=F32))
    both = signed(rng, n), signed(rng, 2, k, dtype=F32)
    return {
        "each by one y": ((x**2, torch.sin(w)), (x, w), both),
        "one by none": ((x**3,), (alone, x), (signed(rng, n),)),
        "all by none": ((x.sum(),), (alone, w), (signed(rng),)),
    }


def _multi_constants(rng, m, n):
    x, alone = leaf(positive(rng, n)), leaf(positive(rng, m, dtype=F32))
    fixed = positive(rng, m)
    return {
        "one of two": ((fixed, x**2), (x,), (signed(rng, m), signed(rng, n))),
        "with None": ((x**2, fixed.sum()), (x,), (signed(rng, n), None)),
        "all": ((fixed,), (alone, x), (signed(rng, m),)),
    }


def _multi_untouched(answer, rng, m, n, k):
    ys, xs, vs = _system(rng, m, n, k)
    other = stale(rng, positive(rng, n))
    for x in xs:
        stale(rng, x)
    guard = Guard(x0=xs[0], x1=xs[1], v0=vs[0], v1=vs[1], w=other)
    result = answer((ys[0], ys[1] * other, ys[2]), xs, vs)
    return guard.report() | {"no graph": graphless(result)}


def _multi_cost(answer, rng, m, n, k):
    return count_passes(answer, *_system(rng, m, n, k))


# ----------------------------------------------------------------------------------- jac_rows


@exercise(
    "03-vjp",
    facets=[
        Facet("value", 0.5, "所求各行的数值", "the numbers in the rows"),
        Facet("order", 0.5, "行的顺序与重复", "the order of rows, and repeated rows",
              needs=("value",)),
        Facet("shapes", 0.5, "标量、矩阵、转置、没有行，以及 float32",
              "scalars, matrices, transposes, no rows, and float32", needs=("value",)),
        Facet("alias", 0.5, "f 原样传出 x 时", "an f that passes x on as it is",
              needs=("value",)),
        Facet("unused", 0.5, "f 没有用到 x 时", "an f that does not use x", needs=("value",)),
        Facet("untouched", 0.25, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.25, "f 运行一次，每行最多反向一次，不构造 J",
              "one run of f, at most one backward pass a row, no full J", needs=("value",)),
    ],
)  # fmt: skip
def jac_rows(answer, rng):
    m, n = sizes(rng, 2, low=3)
    values = {
        "m > n": (curve(rng, m + n, n), signed(rng, n), _some(rng, 3, m + n)),
        "m < n": (curve(rng, m, m + n), signed(rng, m + n), _some(rng, 2, m)),
    }
    yield "value", ask_all(answer, values)
    falling = _some(rng, 3, m)[::-1]
    orders = {
        "falling": (curve(rng, m, n), signed(rng, n), falling),
        "repeated": (curve(rng, m, n), signed(rng, n), [*falling, falling[0], falling[0]]),
    }
    yield "order", ask_all(answer, orders)
    yield "shapes", ask_all(answer, _rows_shapes(rng, m, n))
    shift, swap = positive(rng), torch.tensor(rng.permutation(n))
    passed_on = {
        "x": (lambda x: x, signed(rng, n), _some(rng, 2, n)),
        "x + c": (lambda x: x + shift, signed(rng, 2, n), _some(rng, 3, 2 * n)),
        "x reordered": (lambda x: x[swap], signed(rng, n), _some(rng, 3, n)),
    }
    yield "alias", ask_all(answer, passed_on)
    constant, weight = positive(rng, m), leaf(positive(rng, m))
    unused = {
        "constant y": (lambda x: constant * 1, signed(rng, n, 2, dtype=F32), _some(rng, 2, m)),
        "weights only": (lambda x: weight**2, signed(rng, n), _some(rng, 2, m)),
        "some rows": (lambda x: torch.cat((weight, x**2)), signed(rng, n), [0, m, m + 1]),
    }
    yield "unused", ask_all(answer, unused)
    rng = afresh(rng)
    yield "untouched", attempt(_rows_untouched, answer, rng, m, n)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _rows_cost), answer, rng)


def _some(rng, count, of):
    """``count`` different row numbers below ``of``, rising."""
    return sorted(int(i) for i in rng.choice(of, count, replace=False))


def _rows_shapes(rng, m, n):
    square, tilted = signed(rng, m, n), signed(rng, n, m).T
    return {
        "x (m, n), y (n, 3)": (surface(rng, (m, n), (n, 3)), square, _some(rng, 2, 3 * n)),
        "x transposed": (surface(rng, (m, n), (2, m)), tilted, _some(rng, 3, 2 * m)),
        "x (), y ()": (_sines(positive(rng)), signed(rng), [0]),
        "x (), y (m,)": (_sines(positive(rng, m)), signed(rng), _some(rng, 2, m)),
        "x (n,), y ()": (lambda x: (x**3).sum(), signed(rng, n), [0]),
        "no rows": (curve(rng, m, n), signed(rng, n), []),
        "float32": (curve(rng, m, n, F32), signed(rng, n, dtype=F32), _some(rng, 2, m)),
    }


def _rows_untouched(answer, rng, m, n):
    function, weight = curve(rng, m, n), stale(rng, positive(rng, m))
    report, weights = {}, afresh(rng)
    for kind, x in {"plain": signed(rng, n), "leaf": stale(rng, signed(rng, n))}.items():
        rows = [2, 0]
        guard = Guard(x=x, w=weight)
        result = answer(lambda x: weight * function(x), x, rows)
        kept = {"rows unchanged": rows == [2, 0], "no graph": graphless([result])}
        kept["the rows' sum"] = gist(weights, result.sum(0))  # their order is another question
        report[f"{kind} x"] = guard.report() | kept
    return report


def _rows_cost(answer, rng):
    m, n = 60, 700
    rows = _some(rng, 4, m)
    f, x = Counted(sparse(rng, m, n)), signed(rng, n)
    passes, largest = cost(lambda: answer(f, x, rows))
    # A batch of cotangents is one pass: within the bound, the number depends on the way chosen.
    return {
        "runs of f": f.calls,
        "some backward pass": passes > 0,
        "backward passes beyond one a row": max(0, passes - len(rows)),
        "no tensor as large as J": largest < m * n / 2,
    }


# ---------------------------------------------------------------------------- weighted_losses


@exercise(
    "03-vjp",
    facets=[
        Facet("value", 1, "每个参数的 Σᵢ wᵢ ∂Lᵢ/∂p", "Σᵢ wᵢ ∂Lᵢ/∂p for every parameter"),
        Facet("weights", 0.5, "权重原样使用：负数、零、和不为 1",
              "weights as they are: negative, zero, of any sum", needs=("value",)),
        Facet("kinds", 0.5, "权重是列表、整数、掩码或带计算图的张量",
              "weights in a list, whole numbers, a mask, or with a graph", needs=("value",)),
        Facet("unused", 0.25, "没有用到的参数得到零", "zeros for a parameter that is not used",
              needs=("value",)),
        Facet("untouched", 0.25, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.5, "一次反向传播", "a single backward pass", needs=("value",)),
    ],
)  # fmt: skip
def weighted_losses(answer, rng):
    k, n = sizes(rng, 2, low=3)

    def case(weights, dtype=torch.float64):
        losses, params = _losses(rng, len(weights), n, dtype)
        return losses, weights, params

    values = {"k losses": case(positive(rng, k)), "2 losses": case(positive(rng, 2))}
    yield "value", ask_all(answer, values)
    both = torch.cat((positive(rng, 1), -positive(rng, 1), signed(rng, k)))
    weights = {
        "both signs": case(both),
        "some zero": case(both * torch.tensor([0.0, 1] * len(both))[: len(both)]),
        "sum 0": case(torch.cat((both, -both.sum(0, keepdim=True)))),
        "all zero": case(torch.zeros(k)),
        "one loss": case(-positive(rng, 1)),
    }
    yield "weights", ask_all(answer, weights)
    kinds = {
        "list": case(signed(rng, k).tolist()),
        "whole numbers": case(torch.tensor(rng.integers(2, 9, k))),
        "mask": case(torch.tensor([False, True, *(rng.integers(0, 2, k) == 1)])),
        "with a graph": case(leaf(signed(rng, k)) ** 2),
        "losses float32": case(signed(rng, k), F32),
    }
    yield "kinds", ask_all(answer, kinds)
    losses, params = _losses(rng, k, n)
    alone = leaf(positive(rng, 2, n, dtype=F32))
    yield "unused", attempt(answer, losses, signed(rng, k), (*params, alone))
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _losses_untouched), answer, rng, k, n)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _losses_cost), answer, rng, k, n)


def _losses(rng, k, n, dtype=torch.float64):
    """k losses of one model, a tensor (k,), and its parameters (n,) and (3, n)."""
    a, c = positive(rng, k, n, dtype=dtype), positive(rng, k, 3, dtype=dtype)
    p, q = leaf(positive(rng, n, dtype=dtype)), leaf(positive(rng, 3, n, dtype=dtype))
    return torch.sin(a @ p) + (c @ (q * p)).square().sum(1), (p, q)


def _losses_untouched(answer, rng, k, n):
    losses, params = _losses(rng, k, n)
    for p in params:
        stale(rng, p)
    weights = stale(rng, positive(rng, k))
    guard = Guard(losses=losses.detach(), p0=params[0], p1=params[1], weights=weights)
    result = answer(losses, weights, params)
    return guard.report() | {"no graph": graphless(result)}


def _losses_cost(answer, rng, k, n):
    losses, params = _losses(rng, k, n)
    weights = positive(rng, k)
    return count_passes(answer, losses, weights, params)


# ---------------------------------------------------------------------------- jac_from_oracle


@exercise(
    "03-vjp",
    facets=[
        Facet("value", 1, "没有带宽信息时的 J", "J when nothing is known of it"),
        Facet("calls", 0.5, "没有带宽信息时最多提问 m 次",
              "at most m questions when nothing is known of J", needs=("value",)),
        Facet("banded", 1, "带状的 J", "a banded J"),
        Facet("budget", 1, "带状时最多提问 min(m, 2b + 1) 次",
              "at most min(m, 2b + 1) questions for a band", needs=("banded",)),
        Facet("edges", 0.5, "b = 0、很高、很宽或很小的 J",
              "b = 0, and a very tall, wide or small J", needs=("value", "banded")),
    ],
    holds_answer=True,
)  # fmt: skip
def jac_from_oracle(answer, rng):
    m, n = sizes(rng, 2, low=3)
    b = int(rng.integers(2, 4))
    dense = {"m > n": _unknown(rng, m + n, n), "m < n": _unknown(rng, m, m + n)}
    bands = {
        "m > n": _band(rng, 11 + b, 11, b),
        "m < n": _band(rng, 9, 12, b),
        "m = n": _band(rng, 10, 10, b),
    }
    edges = {
        "b = 0": (_band(rng, m, m + 2, 0), 0),
        "very tall": (_band(rng, 14, 3, b), b),
        "very wide": (_band(rng, 3, 14, b), b),
        "m = n = 1": (_unknown(rng, 1, 1), None),
        "b > m": (_unknown(rng, 3, 4), 5),
    }
    found, asked = _recovered(answer, {name: (jac, None) for name, jac in dense.items()})
    yield "value", found
    yield "calls", asked
    found, asked = _recovered(answer, {name: (jac, b) for name, jac in bands.items()})
    yield "banded", found
    # Every element of a full column has to be told apart, which takes 2b + 1 questions: an honest
    # answer within the budget asks exactly that often.
    small = {"b = 0": (_band(rng, 6, 6, 0), 0), "m < 2b + 1": (_unknown(rng, 3, 4), 3)}
    yield "budget", {"dict": asked["dict"] | _recovered(answer, small)[1]["dict"]}
    yield "edges", _recovered(answer, edges)[0]


def _unknown(rng, m, n):
    """What `signed` gives, of which no copy is left in memory that np.empty would hand out."""
    values = rng.uniform(0.5, 2, (m, n))
    values *= SIGNS[rng.integers(0, 2, (m, n))]
    return torch.from_numpy(values)


def _band(rng, m, n, b):
    """A Jacobian (m, n) whose elements [i, j] with |i − j| > b are 0."""
    return _unknown(rng, m, n).triu_(-b).tril_(b)


def _oracle(jac):
    """(vjp_fn, asked): a function that tells vᵀ·jac, and the list of the vs it was asked about.

    jac: (m, n) float64; v: (m,) float64. vjp_fn raises ValueError for any other v. Of v it takes
    the numbers alone: no graph, no hook and no vmap gets at jac.
    """
    asked = []

    def vjp_fn(v):
        if not isinstance(v, torch.Tensor) or v.shape != jac.shape[:1] or v.dtype != jac.dtype:
            raise ValueError(f"v must be a {jac.dtype} tensor of shape {tuple(jac.shape[:1])}")
        asked.append(v)
        return torch.tensor(v.tolist(), dtype=jac.dtype) @ jac

    return vjp_fn, asked


def _recovered(answer, cases):
    """(what ``answer`` takes each of {name: (jac, bandwidth)} to be, how often it asked for it)."""
    found, counts = {}, {}
    for name, (jac, b) in cases.items():
        vjp_fn, asked = _oracle(jac)
        found[name] = attempt(answer, vjp_fn, *jac.shape, b)
        counts[name] = found[name] if "raises" in found[name] else observe(len(asked))
    return {"dict": found}, {"dict": counts}


# ---------------------------------------------------------------------- layout_counterexample


@exercise(
    "03-vjp",
    facets=[
        Facet("differs", 1, "公式与 torch 的结果不同", "the formula differs from torch"),
        Facet("setting", 0.5, "x 和 f(x) 都是 3 个 float64", "x and f(x) are 3 numbers, float64",
              needs=("differs",)),
        Facet("honest", 0.5, "f 每次结果相同，autograd 求出的 J 正确",
              "f is the same every time, and autograd has its J right", needs=("differs",)),
    ],
)  # fmt: skip
def layout_counterexample(answer, rng):
    answer = once(answer)
    yield "differs", attempt(_differs, answer)
    yield "setting", attempt(_setting, answer)
    yield "honest", attempt(_honest, answer)


def _example(answer):
    """(f, x) as the answer gives it; x must be a tensor."""
    f, x = answer()
    return f, a_tensor(x)


def _jacobian(f, x):
    """J of f at x, both laid flat: (numel of y, numel of x)."""
    jac = torch.autograd.functional.jacobian(f, x.detach())
    return jac.reshape(-1, x.numel())


def _differs(answer):
    """How 1ᵀJ, which torch computes, compares with 1ᵀJᵀ, which the formula says.

    The formula can be written down for a square J only.
    """
    jac = _jacobian(*_example(answer))
    if jac.shape[0] != jac.shape[1]:
        raise ValueError(f"J is {tuple(jac.shape)}, not square: the formula has no meaning")
    tiny = 1e-6 * jac.abs().max()
    off_diagonal = jac - torch.diag(jac.diagonal())
    return {
        "J is finite": bool(jac.isfinite().all()),
        "J is diagonal": bool((off_diagonal.abs() <= tiny).all()),
        "J is symmetric": bool(((jac - jac.T).abs() <= tiny).all()),
        "1ᵀJ differs from 1ᵀJᵀ": bool(((jac.sum(0) - jac.sum(1)).abs() > tiny).any()),
    }


def _setting(answer):
    f, x = _example(answer)
    return {
        name: [str(t.dtype).removeprefix("torch."), *t.shape]
        for name, t in {"x": x, "f(x)": a_tensor(f(x))}.items()
    }


def _honest(answer):
    """Whether f can be trusted: the same twice, and autograd's J is that of central differences."""
    f, x = _example(answer)
    jac, x, h = _jacobian(f, x), x.detach(), 1e-5
    steps = h * torch.eye(x.numel()).reshape(-1, *x.shape)
    with torch.no_grad():
        slopes = [(f(x + step) - f(x - step)).flatten() / (2 * h) for step in steps]
        again = torch.equal(f(x), f(x))
    room = 1e-4 * float(jac.abs().max())
    agree = torch.allclose(torch.stack(slopes, dim=1), jac, rtol=0, atol=room)
    return {"the same y every time": again, "J agrees with central differences": agree}
