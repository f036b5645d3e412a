"""Probes of assignment 10: derivatives of derivatives, asked for at drawn inputs.

No probe knows an answer. Functions are asked for all the ways in which a second derivative can be
zero, and for all that a call may leave behind: a `.grad`, a freed graph, a leaf that never dies.
"""

import gc
import weakref

import torch
from torch.autograd.functional import hessian as full_hessian
from torch.autograd.functional import jacobian
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ..evidence import attempt
from ..exercise import Facet, exercise
from ..probing import (
    Counted,
    Guard,
    a_tensor,
    afresh,
    ask_all,
    cost,
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

A = "10-higher-order"
F32 = torch.float32
IN_PLACE = "a graph broken in place gives zeros"
NO_SIDE_EFFECTS = "没有副作用，结果不带计算图", "no side effects, and no graph on the results"


def _ordinary(answer):
    """The same function, with results that can be read.

    A second derivative of abs is a ZeroTensor, without storage: as right as any other zero.
    """

    def asked(*args):
        found = answer(*args)
        if isinstance(found, list | tuple):
            return [_copied(item) for item in found]
        return _copied(found)

    return asked


def _copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


# ----------------------------------------------------------------------------- nth_derivative


@exercise(
    A,
    facets=[
        Facet("value", 1, "一、二、三阶导数", "first, second and third derivatives"),
        Facet("orders", 0.5, "零阶和高阶", "order zero, and high orders", needs=("value",)),
        Facet("families", 0.5, "零：常数、线性、clamp、relu、abs、幂",
              "zero: constants, linear functions, clamp, relu, abs, powers", needs=("value",)),
        Facet("weights", 0.5, "零：导数的图里只有权重，没有 x",
              "zero: a derivative whose graph has weights, but no x", needs=("value",)),
        Facet("shapes", 0.5, "标量、矩阵、转置、空张量，以及 float32",
              "scalars, matrices, transposes, empty tensors, and float32", needs=("value",)),
        Facet("honest", 0.25, "错误不会变成零", "errors do not become zeros", needs=("value",)),
        Facet("untouched", 0.5, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.25, "f 运行一次，最多反向 n 次，不构造雅可比矩阵",
              "one run of f, at most n backward passes, no full Jacobian", needs=("value",)),
    ],
)  # fmt: skip
def nth_derivative(answer, rng):
    asked, (m, k) = _ordinary(answer), sizes(rng, 2)
    values = {f"n = {n}": (_waves(rng, m), signed(rng, m), n) for n in (1, 2, 3)}
    yield "value", ask_all(asked, values)
    yield "orders", ask_all(asked, _nth_orders(rng, m))
    yield "families", ask_all(asked, _nth_families(rng))
    w = leaf(positive(rng, m))
    weights = {
        "w alone, n = 1": (lambda x: w**2, signed(rng, m), 1),
        "w alone, n = 3": (lambda x: w.sin() + 0, signed(rng, m), 3),
        "w x, n = 2": (lambda x: w * x, signed(rng, m), 2),
        "w x, n = 3": (lambda x: w * x, signed(rng, m), 3),
        "w x x, n = 3": (lambda x: w * x * x, signed(rng, m), 3),
        "w x + sin x, n = 2": (lambda x: w * x + x.sin(), signed(rng, m), 2),
    }
    yield "weights", ask_all(asked, weights)
    shapes = {
        "()": (_waves(rng), signed(rng), 2),
        "(1,)": (_waves(rng, 1), signed(rng, 1), 2),
        "(m, k)": (_waves(rng, m, k), signed(rng, m, k), 2),
        "transposed": (_waves(rng, m, k), signed(rng, k, m).T, 2),
        "expanded": (_waves(rng), signed(rng, 1).expand(m), 2),
        "empty": (_waves(rng, 0), signed(rng, 0), 2),
        "float32": (_waves(rng, m, dtype=F32), signed(rng, m, dtype=F32), 2),
        "float32, linear": (lambda x: 2 * x, signed(rng, m, dtype=F32), 2),
    }
    yield "shapes", ask_all(asked, shapes)
    yield "honest", _nth_honest(answer, rng, m)
    rng = afresh(rng)
    yield "untouched", attempt(_nth_untouched, answer, rng, m)
    rng = afresh(rng)
    f, x = Counted(_waves(rng, 30)), signed(rng, 30)
    yield "cost", attempt(with_results(rng, _nth_cost), answer, f, x, 2)


def _waves(rng, *shape, dtype=torch.float64):
    """An elementwise function whose derivatives of every order are unlike each other."""
    a, b = positive(rng, *shape, dtype=dtype), positive(rng, *shape, dtype=dtype)
    return lambda x: torch.sin(a * x) * torch.exp(b * x / 2)


def _nth_orders(rng, m):
    return {
        "n = 0": (_waves(rng, m), signed(rng, m), 0),
        "n = 0, constant": (lambda x: x.detach() * 0 + 2, signed(rng, m), 0),
        "n = 5": (_waves(rng, 2), signed(rng, 2), 5),
        "x ** 3, n = 3": (lambda x: x**3, signed(rng, m), 3),
        "1 / x, n = 4": (lambda x: 1 / x, signed(rng, 3), 4),
    }


def _nth_families(rng):
    # Few elements: whoever makes full Jacobians of Jacobians should not have to wait for it.
    constant, slope = positive(rng, 3), positive(rng, 3)
    functions = {
        "constant, n = 1": (lambda x: constant * 1, 1),
        "constant, n = 3": (lambda x: constant * 1, 3),
        "linear, n = 1": (lambda x: slope * x + constant, 1),
        "linear, n = 2": (lambda x: slope * x + constant, 2),
        "linear, n = 4": (lambda x: slope * x + constant, 4),
        "clamp, n = 2": (lambda x: x.clamp(-1, 1), 2),
        "relu, n = 2": (torch.relu, 2),
        "relu, n = 3": (torch.relu, 3),
        "abs, n = 2": (torch.abs, 2),
        "abs, n = 3": (torch.abs, 3),
        "x ** 3, n = 5": (lambda x: x**3, 5),
        "x * x * x, n = 4": (lambda x: x * x * x, 4),
    }
    return {name: (f, signed(rng, 3), n) for name, (f, n) in functions.items()}


def _fails(error):
    def f(x):
        raise error

    return f


def _broken(x):
    """exp(x) + 1 with a mistake in it: exp needs its own result, which is changed in place."""
    return x.exp().add_(1)


def _gives_zeros(answer, *args) -> bool:
    """Whether the answer is nothing but zeros; it may as well raise, or be right all the same."""
    try:
        return bool((answer(*args) == 0).all())
    except Exception:
        return False


def _nth_honest(answer, rng, m):
    x = signed(rng, m)
    own = {
        "f raises RuntimeError": (_fails(RuntimeError("f itself")), x, 2),
        "f raises KeyError": (_fails(KeyError("f itself")), x, 1),
        "f of n = 0 raises": (_fails(RuntimeError("f itself")), x, 0),
    }
    zeros = _gives_zeros(answer, _broken, x, 2)
    return {"dict": errors(answer, own)["dict"] | {IN_PLACE: {"flag": zeros}}}


def _nth_untouched(answer, rng, m):
    report, waves, w = {}, _waves(rng, m), stale(rng, positive(rng, m))
    numbers = afresh(rng)
    for kind, x in {"plain": signed(rng, m), "leaf": stale(rng, signed(rng, m))}.items():
        guard = Guard(x=x, w=w)
        results = [answer(lambda x: w * waves(x), x, n) for n in (0, 1, 2)]
        results.append(answer(lambda x: w * x, x, 1))
        told = {"no graph": graphless(results), "results": gist(numbers, results[1:3])}
        report[f"{kind} x"] = guard.report() | told
    return report


def _nth_cost(answer, f, x, n):
    passes, largest = cost(lambda: answer(f, x, n))
    return {
        "runs of f": f.calls,
        "backward passes beyond n": max(0, passes - n),
        "no tensor as large as a Jacobian": largest < x.numel() ** 2 / 2,
    }


# ------------------------------------------------------------------------------------ hessian


@exercise(
    A,
    facets=[
        Facet("value", 1, "对所有 xs 的海森矩阵", "the Hessian by all of xs"),
        Facet("shapes", 0.5, "标量、转置、空张量、中间结果，以及 float32",
              "scalars, transposes, empty tensors, intermediate results, and float32",
              needs=("value",)),
        Facet("families", 0.5, "梯度没有计算图时的零", "zeros where a gradient has no graph",
              needs=("value",)),
        Facet("weights", 0.5, "梯度的图里缺了某个 x 时的零",
              "zeros where an x is missing in the graph of a gradient", needs=("value",)),
        Facet("refused", 0.5, "y 不是单元素，或没有计算图时报错",
              "an error for a y of several elements, or without a graph", needs=("value",)),
        Facet("untouched", 0.5, "没有副作用，y 的图还能再用，结果不带计算图",
              "no side effects, y's graph can be used again, and no graph on the result",
              needs=("value",)),
        Facet("cost", 0.5, "最多 N + 1 次反向传播", "at most N + 1 backward passes",
              needs=("value",)),
    ],
)  # fmt: skip
def hessian(answer, rng):
    asked, (m, n) = _ordinary(answer), sizes(rng, 2, high=5)
    orders = {"p and q": slice(None), "q and p": slice(None, None, -1), "q alone": slice(1, None)}
    losses = {name: _loss(rng, n) for name in orders}
    values = {name: (y, xs[orders[name]]) for name, (y, xs) in losses.items()}
    yield "value", ask_all(asked, values)
    yield "shapes", ask_all(asked, _hessian_shapes(rng, m, n))
    x, z, a = leaf(signed(rng, n)), leaf(positive(rng, m)), positive(rng, n)
    single = leaf(signed(rng, n, dtype=F32))
    families = {
        "linear": (a @ x, (x,)),
        "linear, float32": ((2 * single).sum(), (single,)),
        "one of two": ((z**3).sum() * 2 + a @ x, (x, z)),
        "clamp": ((a * x.clamp(-1, 1)).sum(), (x,)),
        "abs": ((a * x.abs()).sum(), (x,)),
        "relu": ((a * torch.relu(x)).sum() + z.prod(), (x, z)),
    }
    yield "families", ask_all(asked, families)
    w, alone = leaf(positive(rng, n)), leaf(positive(rng, 2))
    weights = {
        "bilinear": (w @ x, (w, x)),
        "weights outside xs": (w @ x, (x,)),
        "no x in it": ((w**2).sum(), (x, alone)),
        "one x unused": ((w * x * x).sum(), (alone, x)),
        "parts that never meet": ((x**3).sum() + z.exp().sum(), (x, z)),
    }
    yield "weights", ask_all(asked, weights)
    refused = {
        "(n,)": (x**2, (x,)),
        "(n,), linear": (2 * x, (x,)),
        "no elements": ((x**2)[:0], (x,)),
        "no graph": (a.sum(), (x,)),
    }
    yield "refused", {"dict": {k: {"flag": _refuses(answer, *v)} for k, v in refused.items()}}
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _hessian_untouched), answer, rng, n)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _hessian_cost), answer, *_loss(rng, n))


def _loss(rng, n, dtype=torch.float64):
    """A scalar of p (n,) and q (2, n), in which everything meets everything: (y, (p, q))."""
    c = positive(rng, 2, dtype=dtype)
    p, q = leaf(positive(rng, n, dtype=dtype)), leaf(signed(rng, 2, n, dtype=dtype))
    return torch.sin(c @ (q @ p)) + ((q * p) ** 3).sum() + (p**2).sum() * q.sum(), (p, q)


def _hessian_shapes(rng, m, n):
    a, c = leaf(positive(rng, n)), positive(rng, n)
    middle = a * c
    tilted, number = leaf(signed(rng, n, m).T), leaf(positive(rng))
    one, empty = leaf(positive(rng, 1)), leaf(positive(rng, 0))
    spread = torch.sin(tilted.sum(0)) @ positive(rng, n) * tilted.square().sum()
    return {
        "x ()": (number.exp() * number, (number,)),
        "x () and (1,)": (torch.sin(number * one).sum(), (number, one)),
        "y (1,)": ((c * a**3).sum(0, keepdim=True) * a[0], (a,)),
        "y (1, 1)": ((a.prod() ** 2).reshape(1, 1), (a,)),
        "transposed x": (spread, (tilted,)),
        "an empty x": (a.prod() + empty.sum(), (a, empty)),
        "an x on the way": (torch.sin(middle).sum() * middle.prod(), (middle,)),
        "float32": _loss(rng, n, F32),
    }


def _refuses(answer, *args) -> bool:
    """Whether the answer raises something; the task does not say which type."""
    try:
        answer(*args)
    except NotImplementedError:
        return False
    except Exception:
        return True
    return False


def _hessian_untouched(answer, rng, n):
    y, (p, q) = _loss(rng, n)
    w, fresh = stale(rng, positive(rng)), leaf(positive(rng))
    y = torch.sin(y) * w + fresh**3 * p.sum()
    guard = Guard(p=stale(rng, p), q=stale(rng, q), w=w, fresh=fresh)
    result = answer(y, (p, q))
    again = torch.autograd.grad(y, p)
    return guard.report() | {"no graph": graphless([result]), "y again": again}


def _hessian_cost(answer, y, xs):
    passes, _ = cost(lambda: answer(y, xs))
    return {"backward passes beyond N + 1": max(0, passes - 1 - sum(x.numel() for x in xs))}


# --------------------------------------------------------------------- row_sum_counterexample


@exercise(
    A,
    facets=[
        Facet("differs", 1, "S3-12 给出的每个数都不是对角线",
              "every number of S3-12 is not the diagonal's"),
        Facet("sums", 0.5, "每个样本的总和却相同", "and yet the sum of every sample is right",
              needs=("differs",)),
        Facet("setting", 0.25, "x 是 (3, 4)，f(x) 是 (3,)，样本互不影响",
              "x is (3, 4), f(x) is (3,), and samples do not affect each other",
              needs=("differs",)),
        Facet("honest", 0.25, "f 每次结果相同，autograd 求出的导数正确",
              "f is the same every time, and autograd has its derivatives right",
              needs=("differs",)),
    ],
)  # fmt: skip
def row_sum_counterexample(answer, rng):
    answer = once(answer)
    yield "differs", attempt(_differs, answer)
    yield "sums", attempt(_sums, answer)
    yield "setting", attempt(_setting, answer)
    yield "honest", attempt(_honest, answer)


def _example(answer):
    """(f, x) as the answer gives it; x must be a tensor."""
    f, x = answer()
    return f, a_tensor(x)


def _recipe(f, x):
    """The second derivative as S3-12 takes it: with ones, and with ones again."""
    x = leaf(x.detach().clone())
    y = f(x)
    (g,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    return torch.autograd.grad(g, x, torch.ones_like(g))[0]


def _hessian_of_sum(f, x):
    """The Hessian of f(x).sum(), (numel, numel)."""
    return full_hessian(lambda x: f(x).sum(), x.detach()).reshape(x.numel(), x.numel())


def _differs(answer):
    f, x = _example(answer)
    found, matrix = _recipe(f, x).flatten(), _hessian_of_sum(f, x)
    tiny = 1e-6 * matrix.abs().max()
    wrong = (found - matrix.diagonal()).abs() > tiny
    off_diagonal = matrix - torch.diag(matrix.diagonal())
    return {
        "H is finite": bool(matrix.isfinite().all()),
        "H is diagonal": bool((off_diagonal.abs() <= tiny).all()),
        "numbers that are right": int((~wrong).sum()),
    }


def _sums(answer):
    f, x = _example(answer)
    diagonal = _hessian_of_sum(f, x).diagonal().reshape(x.shape)
    found = _recipe(f, x)
    room = 1e-8 * (diagonal.abs().max() + found.abs().max())
    right = (found.sum(1) - diagonal.sum(1)).abs() <= room
    return {"samples whose sum is wrong": int((~right).sum())}


def _setting(answer):
    f, x = _example(answer)
    report = {
        name: [str(t.dtype).removeprefix("torch."), *t.shape]
        for name, t in {"x": x, "f(x)": a_tensor(f(x))}.items()
    }
    return report | {"samples that affect others": _meddling(f, x.detach())}


def _meddling(f, x) -> int:
    """How many rows of x change f(x) at another row when they are changed."""
    found = 0
    with torch.no_grad():
        y = f(x)
        for row in range(len(x)):
            moved = x.clone()
            moved[row] = moved[row].roll(1) * 0.7 + 0.3
            others = torch.arange(len(x)) != row
            found += not torch.allclose(f(moved)[others], y[others], rtol=1e-9, atol=1e-12)
    return found


def _honest(answer):
    """Whether f can be trusted: the same twice, and autograd agrees with central differences."""
    f, x = _example(answer)
    jac, matrix = jacobian(f, x.detach()), _hessian_of_sum(f, x)
    x, h = x.detach(), 1e-5
    steps = h * torch.eye(x.numel()).reshape(-1, *x.shape)
    with torch.no_grad():
        again = torch.equal(f(x), f(x))
        slopes = torch.stack([(f(x + s) - f(x - s)) / (2 * h) for s in steps], dim=-1)
    bends = torch.stack([(_slope(f, x + s) - _slope(f, x - s)) / (2 * h) for s in steps])
    return {
        "the same every time": again,
        "first derivatives are right": _near(jac.reshape(slopes.shape), slopes),
        "second derivatives are right": _near(matrix, bends),
    }


def _slope(f, x):
    x = leaf(x.clone())
    return torch.autograd.grad(f(x).sum(), x)[0].flatten()


def _near(a, b) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * (1 + float(a.abs().max())))


# ---------------------------------------------------------------------------------- hess_diag


@exercise(
    A,
    facets=[
        Facet("value", 1, "对角线的数值", "the numbers on the diagonal"),
        Facet("shapes", 0.5, "标量、矩阵、转置、空张量，以及 float32",
              "scalars, matrices, transposes, empty tensors, and float32", needs=("value",)),
        Facet("zeros", 0.5, "线性、双线性、没有用到的元素与常数",
              "linear and bilinear functions, elements that are not used, and constants",
              needs=("value",)),
        Facet("honest", 0.25, "错误不会变成零", "errors do not become zeros", needs=("value",)),
        Facet("untouched", 0.25, *NO_SIDE_EFFECTS, needs=("value",)),
        Facet("cost", 0.5, "f 运行一次，最多反向 n + 1 次，内存里从来没有 n × n 个数",
              "one run of f, at most n + 1 backward passes, never n × n numbers in memory",
              needs=("value",)),
    ],
)  # fmt: skip
def hess_diag(answer, rng):
    asked, (m, n) = _ordinary(answer), sizes(rng, 2)
    values = {"(m,)": (_bowl(rng, m), signed(rng, m)), "(n,)": (_bowl(rng, n), signed(rng, n))}
    yield "value", ask_all(asked, values)
    shapes = {
        "()": (_bowl(rng), signed(rng)),
        "(1,)": (_bowl(rng, 1), signed(rng, 1)),
        "(m, n)": (_bowl(rng, m, n), signed(rng, m, n)),
        "transposed": (_bowl(rng, m, n), signed(rng, n, m).T),
        "f(x) is (1,)": (lambda x: (x**3).prod(0, keepdim=True), signed(rng, m)),
        "empty": (_bowl(rng, 0), signed(rng, 0)),
        "float32": (_bowl(rng, m, dtype=F32), signed(rng, m, dtype=F32)),
    }
    yield "shapes", ask_all(asked, shapes)
    yield "zeros", ask_all(asked, _diag_zeros(rng, m, n))
    x = signed(rng, m)
    honest = errors(answer, {"f raises RuntimeError": (_fails(RuntimeError("f itself")), x)})
    zeros = _gives_zeros(answer, lambda x: _broken(x).prod(), x)
    yield "honest", {"dict": honest["dict"] | {IN_PLACE: {"flag": zeros}}}
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _diag_untouched), answer, rng, m)
    rng = afresh(rng)
    a = positive(rng, 80)
    f = Counted(lambda x: torch.sin(a * x * x.roll(1)).sum())
    yield "cost", attempt(with_results(rng, _diag_cost), answer, f, signed(rng, 80))


def _bowl(rng, *shape, dtype=torch.float64):
    """A scalar function whose Hessian has no zero, and no equal numbers on its diagonal."""
    a, b = positive(rng, *shape, dtype=dtype), positive(rng, *shape, dtype=dtype)
    return lambda x: torch.sin((a * x).sum()) * (b * x**2).sum() + (b * x**3).sum()


def _diag_zeros(rng, m, n):
    a, w, constant = positive(rng, m), leaf(positive(rng, m)), positive(rng)
    swap = torch.tensor(rng.permutation(m)).roll(1)
    return {
        "linear": (lambda x: a @ x, signed(rng, m)),
        "linear, float32": (lambda x: 2 * x.sum(), signed(rng, n, m, dtype=F32)),
        "weights": (lambda x: w @ x, signed(rng, m)),
        "weights alone": (lambda x: (w**2).sum(), signed(rng, n)),
        "constant": (lambda x: constant * 1, signed(rng, n)),
        "bilinear": (lambda x: x[0] * x[1] * 3, signed(rng, m + 1)),
        "product": (lambda x: x.prod(), signed(rng, m)),
        "two of x": (lambda x: x[0] ** 3 * x[1].exp(), signed(rng, m + 1)),
        "relu": (lambda x: (a * torch.relu(x)).sum() * constant, signed(rng, m)),
        "abs": (lambda x: (a[swap] * x.abs()).sum(), signed(rng, m)),
    }


def _diag_untouched(answer, rng, m):
    report, bowl, w = {}, _bowl(rng, m), stale(rng, positive(rng))
    for kind, x in {"plain": signed(rng, m), "leaf": stale(rng, signed(rng, m))}.items():
        guard = Guard(x=x, w=w)
        results = [answer(lambda x: w * bowl(x), x), answer(lambda x: w * x.sum(), x)]
        report[f"{kind} x"] = guard.report() | {"no graph": graphless(results)}
    return report


class _Alive(TorchDispatchMode):
    """Keeps the largest number of elements that were in memory at once, in ``most``.

    A view has no memory of its own: it keeps that of the tensor it looks into.
    """

    def __init__(self):
        super().__init__()
        self.most, self._made = 0, {}

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # see tutor.counting

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, list | tuple) else (result,):
            if isinstance(made, torch.Tensor):
                storage = made.untyped_storage()
                elements = storage.nbytes() // made.element_size()
                self._made[storage._cdata] = StorageWeakRef(storage), elements
        self._made = {at: kept for at, kept in self._made.items() if not kept[0].expired()}
        self.most = max(self.most, sum(elements for _, elements in self._made.values()))
        return result


def _diag_cost(answer, f, x):
    n = x.numel()
    with _Alive() as alive:
        passes, largest = cost(lambda: answer(f, x))
    return {
        "runs of f": f.calls,
        "backward passes beyond n + 1": max(0, passes - n - 1),
        "no tensor as large as H": largest < n * n / 2,
        "memory stays below that of H": alive.most < n * n / 2,
    }


# ---------------------------------------------------------------------------------- laplacian


@exercise(
    A,
    facets=[
        Facet("value", 1, "每个点的 Δu", "Δu at every point"),
        Facet("shapes", 0.5, "一个坐标、一个点、没有点、转置，以及 float32",
              "one coordinate, one point, no points, transposes, and float32",
              needs=("value",)),
        Facet("zeros", 0.5, "线性、调和、relu、没有用到的坐标与常数",
              "linear and harmonic functions, relu, a coordinate not used, and constants",
              needs=("value",)),
        Facet("trainable", 0.75, "含 Δu 的损失对权重的梯度",
              "gradients by the weights, of a loss with Δu in it", needs=("value",)),
        Facet("again", 0.5, "对 X 再求导：Δ(Δu)", "differentiated by X again: Δ(Δu)",
              needs=("value",)),
        Facet("honest", 0.25, "错误不会变成零", "errors do not become zeros", needs=("value",)),
        Facet("untouched", 0.25, "没有副作用", "no side effects", needs=("value",)),
        Facet("cost", 0.25, "u 运行一次，最多反向 d + 1 次，不构造整批的海森矩阵",
              "one run of u, at most d + 1 backward passes, no Hessian of the whole batch",
              needs=("value",)),
    ],
)  # fmt: skip
def laplacian(answer, rng):
    asked, (n, k) = _ordinary(answer), sizes(rng, 2, low=4, high=9)
    values = {
        "d = 2": (_network(rng, 2)[0], signed(rng, n, 2)),
        "d = 3": (_network(rng, 3)[0], signed(rng, k, 3)),
    }
    yield "value", ask_all(asked, values)
    column, (single, _) = _network(rng, 2)[0], _network(rng, 2, F32)
    shapes = {
        "d = 1": (_network(rng, 1)[0], signed(rng, n, 1)),
        "d = 5": (_network(rng, 5)[0], signed(rng, 3, 5)),
        "one point": (_network(rng, 3)[0], signed(rng, 1, 3)),
        "no points": (_network(rng, 2)[0], signed(rng, 0, 2)),
        "u is (N, 1)": (lambda X: column(X)[:, None], signed(rng, n, 2)),
        "transposed": (_network(rng, 3)[0], signed(rng, 3, k).T),
        "float32": (single, signed(rng, n, 2, dtype=F32)),
    }
    yield "shapes", ask_all(asked, shapes)
    yield "zeros", ask_all(asked, _laplacian_zeros(rng, n))
    yield "trainable", attempt(_laplacian_trainable, answer, rng, n)
    yield "again", attempt(_laplacian_again, answer, rng, n)
    X = signed(rng, n, 2)
    honest = errors(answer, {"u raises RuntimeError": (_fails(RuntimeError("u itself")), X)})
    zeros = _gives_zeros(answer, lambda X: _broken(X).prod(1), X)
    yield "honest", {"dict": honest["dict"] | {IN_PLACE: {"flag": zeros}}}
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _laplacian_untouched), answer, rng, n)
    rng = afresh(rng)
    u, X = Counted(_network(rng, 3)[0]), signed(rng, 40, 3)
    yield "cost", attempt(with_results(rng, _laplacian_cost), answer, u, X)


def _network(rng, d, dtype=torch.float64):
    """(u, weights): u maps points (N, d) to (N,), every point for itself."""
    weights = [signed(rng, d, 3, dtype=dtype) / 2, signed(rng, 3, dtype=dtype) / 2]
    weights.append(positive(rng, 3, dtype=dtype))
    first, shift, last = (leaf(weight) for weight in weights)
    return lambda X: torch.tanh(X @ first + shift) @ last, (first, shift, last)


def _laplacian_zeros(rng, n):
    a, w = positive(rng, 2), leaf(positive(rng, 2))
    hidden, last, constant = signed(rng, 2, 4), positive(rng, 4), positive(rng, n)
    functions = {
        "x y": lambda X: X[:, 0] * X[:, 1],
        "x x - y y": lambda X: X[:, 0] ** 2 - X[:, 1] ** 2,
        "linear": lambda X: X @ a,
        "linear, weights": lambda X: X @ w,
        "w x + y y": lambda X: X[:, 0] * w[0] + X[:, 1] ** 2 * w[1],
        "x x + y": lambda X: X[:, 0] ** 2 + X[:, 1],
        "x alone": lambda X: torch.exp(X[:, 0]),
        "relu": lambda X: torch.relu(X @ hidden) @ last,
        "constant": lambda X: constant * 1,
        "weights alone": lambda X: w.prod() * constant,
    }
    cases = {name: (u, signed(rng, n, 2)) for name, u in functions.items()}
    return cases | {"linear, float32": (lambda X: X.sum(1), signed(rng, n, 2, dtype=F32))}


def _laplacian_trainable(answer, rng, n):
    u, weights = _network(rng, 2)
    X, border, pull = signed(rng, n, 2), signed(rng, n - 1, 2), signed(rng, n)
    found = answer(u, X)
    loss = (u(border) ** 2).sum() + (pull * (found - pull) ** 2).sum()
    return torch.autograd.grad(loss, weights)


def _laplacian_again(answer, rng, n):
    (u, _), X, v = _network(rng, 2), signed(rng, n, 2), signed(rng, n)
    x = leaf(signed(rng, n, 2))
    return {
        "Δ(Δu)": answer(lambda X: answer(u, X), X),
        "Δu by X": torch.autograd.grad(answer(u, x), x, v),
    }


def _laplacian_untouched(answer, rng, n):
    report = {}
    for kind, X in {"plain": signed(rng, n, 2), "leaf": stale(rng, signed(rng, n, 2))}.items():
        u, (first, shift, last) = _network(rng, 2)
        guard = Guard(X=X, A=stale(rng, first), b=stale(rng, shift), c=last)
        answer(u, X)
        report[f"{kind} X"] = guard.report()
    return report


def _laplacian_cost(answer, u, X):
    passes, largest = cost(lambda: answer(u, X))
    return {
        "runs of u": u.calls,
        "backward passes beyond d + 1": max(0, passes - X.shape[1] - 1),
        "no tensor as large as the batch's Hessian": largest < X.numel() ** 2 / 2,
    }


# -------------------------------------------------------------------------------- second_grad


@exercise(
    A,
    facets=[
        Facet("value", 1, "一阶与二阶导数", "first and second derivative"),
        Facet("shapes", 0.25, "(1,)、中间结果与 float32",
              "(1,), intermediate results and float32", needs=("value",)),
        Facet("zeros", 0.5, "线性、只有权重、没有用到 x",
              "linear functions, weights alone, an x that is not used", needs=("value",)),
        Facet("untouched", 0.5, "一切 .grad 保持原样，结果不带计算图",
              "every .grad stays as it is, and no graph on the results", needs=("value",)),
        Facet("leak", 0.5, "调用之后，x 和权重可以释放",
              "after the call x and the weights can be freed", needs=("value",)),
        Facet("again", 0.25, "z 的图之后还能用", "the graph of z can be used afterwards",
              needs=("value",)),
    ],
)  # fmt: skip
def second_grad(answer, rng):
    asked = _ordinary(answer)
    yield "value", ask_all(asked, {"S4-21": _seed(rng), "exp and sin": _mixture(rng)})
    yield "shapes", ask_all(asked, _second_shapes(rng))
    x, w = leaf(signed(rng)), leaf(positive(rng))
    f = leaf(signed(rng, dtype=F32))
    zeros = {
        "linear": (positive(rng) * x, x),
        "linear, float32": (3 * f, f),
        "w x": (w * x, x),
        "w alone": (w**2, x),
        "clamp": (x.clamp(-1, 1) * 2, x),
        "abs": (x.abs() * 3, x),
    }
    yield "zeros", ask_all(asked, zeros)
    rng = afresh(rng)
    yield "untouched", attempt(_second_untouched, answer, rng)
    rng = afresh(rng)
    yield "leak", attempt(_second_leak, answer, rng)
    rng = afresh(rng)
    z, x = _mixture(rng)
    twice = {"first call": (z, x), "second call": (z, x)}
    yield "again", ask_all(asked, twice)


def _seed(rng):
    """x²y, the z of S4-21: (z, x)."""
    x, y = leaf(positive(rng)), leaf(signed(rng))
    return x * x * y, x


def _mixture(rng, *shape, dtype=torch.float64):
    """A scalar of x and of three weights: (z, x)."""
    x, w = leaf(positive(rng, *shape, dtype=dtype)), leaf(positive(rng, 3, dtype=dtype))
    return (torch.exp(w * x) * torch.sin(w + x)).sum(), x


def _second_shapes(rng):
    a = leaf(positive(rng))
    middle = a * signed(rng)
    z, x = _mixture(rng, 1)
    return {
        "x (1,)": _mixture(rng, 1),
        "x and z (1,)": (z.reshape(1) * x, x),
        "x (1, 1)": _mixture(rng, 1, 1),
        "x on the way": (torch.sin(middle) * middle**2, middle),
        "float32": _mixture(rng, dtype=F32),
    }


def _second_untouched(answer, rng):
    report, weights = {}, afresh(rng)
    for kind in ("stale", "None"):
        x, w = leaf(positive(rng)), leaf(positive(rng))
        if kind == "stale":
            stale(rng, x), stale(rng, w)
        guard = Guard(x=x, w=w)
        curved, linear = answer(torch.exp(w * x) * w, x), answer(w * x, x)
        told = {"no graph": graphless([*curved, *linear]), "results": gist(weights, curved)}
        report[f".grad {kind}"] = guard.report() | told
    return report


def _second_leak(answer, rng):
    """Whether the leaves of z die with their last name, as they do after autograd.grad."""
    x, w = leaf(positive(rng)), leaf(positive(rng, 3))
    references = {"x": weakref.ref(x), "w": weakref.ref(w)}
    weights = afresh(rng)
    results = gist(weights, answer((torch.exp(w * x) * w).sum(), x))
    del x, w
    gc.collect()
    freed = {f"{name} is freed": reference() is None for name, reference in references.items()}
    return freed | {"results": results}
