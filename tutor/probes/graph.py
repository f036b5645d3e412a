"""Probes of assignment 01: what students' functions find in graphs that autograd has recorded.

Programs, graphs and models are drawn from ``rng``, names included. No probe knows an answer.
A graph may be walked in any order: what is written down of one is the same for every order.
"""

from collections import Counter

import torch
from torch import nn

from ..counting import backward_passes
from ..evidence import attempt
from ..exercise import Facet, exercise
from ..probing import (
    Guard,
    afresh,
    ask_all,
    errors,
    gist,
    graphless,
    leaf,
    positive,
    signed,
    sizes,
    stale,
    with_results,
)

F32 = torch.float32
DEEP = 2000  # more nodes in a chain than Python allows calls within calls
NO_GRAD = "with torch.no_grad(): "

# What a step of a program does: a and b stand for the tensors that the step names.
OPERATIONS = {
    "torch.rand(3)": lambda: torch.rand(3),
    "torch.rand(3, requires_grad=True)": lambda: torch.rand(3, requires_grad=True),
    NO_GRAD + "torch.rand(3, requires_grad=True)": torch.no_grad()(
        lambda: torch.rand(3, requires_grad=True)
    ),
    "a + b": lambda a, b: a + b,
    "a * b": lambda a, b: a * b,
    NO_GRAD + "a * b": torch.no_grad()(lambda a, b: a * b),
    "a > b": lambda a, b: a > b,
    "a.argmax()": lambda a: a.argmax(),
    "a.clone()": lambda a: a.clone(),
    "a.detach()": lambda a: a.detach(),
    "a.float()": lambda a: a.float(),
    "a.double()": lambda a: a.double(),
    "a.requires_grad_()": lambda a: a.requires_grad_(),
    "nn.Parameter(a)": nn.Parameter,
}
DATA, LEAF, LEAF_IN_NO_GRAD = list(OPERATIONS)[:3]


# ------------------------------------------------------------------------------ predict_flags


@exercise(
    "01-graph",
    facets=[
        Facet("is_leaf", 0.5, "is_leaf：谁是叶子", "is_leaf: which tensors are leaves"),
        Facet("requires_grad", 0.5, "requires_grad：谁需要梯度",
              "requires_grad: which tensors require a gradient"),
        Facet("has_grad", 1, "has_grad：谁的 .grad 会被填上", "has_grad: whose .grad is filled",
              needs=("is_leaf", "requires_grad")),
        Facet("cut", 0.5, "no_grad、detach、比较、argmax、Parameter",
              "no_grad, detach, comparisons, argmax, Parameter", needs=("has_grad",)),
        Facet("dtypes", 0.5, "改 dtype：哪一种是运算", "another dtype: which one is an operation",
              needs=("has_grad",)),
        Facet("late", 0.25, "算完之后才 requires_grad_()",
              "requires_grad_() after the computation", needs=("has_grad",)),
        Facet("kept", 0.5, "调用过 retain_grad 的张量", "tensors that have called retain_grad",
              needs=("has_grad",)),
        Facet("no graph", 0.25, "最后一个张量没有计算图时", "when the last tensor has no graph",
              needs=("has_grad",)),
    ],
)  # fmt: skip
def predict_flags(answer, rng):
    plain = {f"program {i + 1}": (_arithmetic(rng),) for i in range(3)}
    plain["only leaves"] = (_only_leaves(rng),)
    for index, name in enumerate(("is_leaf", "requires_grad", "has_grad")):
        yield name, ask_all(_column(answer, index), plain)
    yield "cut", ask_all(answer, _cut_programs(rng))
    yield "dtypes", ask_all(answer, _dtype_programs(rng))
    yield "late", ask_all(answer, _late_programs(rng))
    yield "kept", ask_all(answer, _kept_programs(rng))
    yield "no graph", ask_all(answer, _graphless_programs(rng))


def _column(answer, index):
    """``answer``, but of the flags of each tensor only the one at ``index``."""
    return lambda *args: {name: flags[index] for name, flags in answer(*args).items()}


class Program:
    """Steps (name, operation, *sources) that make one tensor each, by names drawn from ``rng``."""

    def __init__(self, rng):
        self._rng = rng
        self._names = iter(rng.permutation(list("cdefghklmnpqrstuvwxyz")).tolist())
        self.steps = []

    def do(self, operation, *sources) -> str:
        """Add a step; the name of the tensor that it makes."""
        name = next(self._names)
        self.steps.append((name, operation, *sources))
        return name

    def mix(self, *sources) -> str:
        """Add or multiply tensors, in any order; the name of the result."""
        first, *others = self._rng.permutation(sources).tolist()
        for other in others:
            first = self.do(str(self._rng.choice(["a + b", "a * b"])), first, other)
        return first

    def leaves(self, data=0, leaf=0) -> list[str]:
        """So many tensors of data, then so many leaves, made in any order; their names."""
        kinds = [DATA] * data + [LEAF] * leaf
        made = {int(i): self.do(kinds[i]) for i in self._rng.permutation(len(kinds))}
        return [made[i] for i in range(len(kinds))]


def _arithmetic(rng):
    """Data that is computed with, a leaf on the way to the end, one aside of it, one unused."""
    program = Program(rng)
    one, two, near, far, aside, _ = program.leaves(data=2, leaf=4)
    computed = program.mix(one, two)
    copied = program.do("a.clone()", str(rng.choice([one, computed])))
    inner = program.mix(computed, far)
    program.mix(inner, aside)
    again = program.do("a.clone()", inner)
    more = rng.choice([one, computed, copied, inner], int(rng.integers(0, 3))).tolist()
    program.mix(again, near, copied, *more)
    return program.steps


def _only_leaves(rng):
    program = Program(rng)
    program.leaves(data=2, leaf=2)
    program.do(LEAF)
    return program.steps


def _cut_programs(rng):
    """One way to cut each; another path leads to some other leaf."""
    alone, in_pairs = ("a.detach()", "a.argmax()", "nn.Parameter(a)"), ("a > b", NO_GRAD + "a * b")
    found = {}
    for cut in alone + in_pairs:
        program = Program(rng)
        one, behind, other = program.leaves(data=1, leaf=2)
        made = program.do(LEAF_IN_NO_GRAD)
        inner = program.mix(one, behind)
        result = program.do(cut, inner, *([other] if cut in in_pairs else []))
        program.mix(program.do("a.clone()", result), made)
        found[cut] = (program.steps,)
    return found


def _dtype_programs(rng):
    """A leaf in another dtype, back again, and in the one that it has; each used in turn."""
    found = {}
    for used in ("all", "back again", "the same dtype", "data"):
        program = Program(rng)
        one, behind, other = program.leaves(data=1, leaf=2)
        single = program.do("a.float()", behind)
        back = program.do("a.double()", single)
        same = program.do("a.double()", behind)
        data = program.do("a.float()", one)
        choices = {"all": (back, same), "back again": (back,), "the same dtype": (same,)}
        program.mix(data, other, *choices.get(used, ()))
        found[used] = (program.steps,)
    return found


def _late_programs(rng):
    """Data that is used before it is switched on, or before and after."""
    found = {}
    for used in ("before", "before and after", "after"):
        program = Program(rng)
        one, two, weight = program.leaves(data=2, leaf=1)
        computed = program.mix(one, two)
        before = program.mix(program.mix(one, weight), program.mix(computed, weight))
        on = program.do("a.requires_grad_()", str(rng.choice([one, computed])))
        choices = {"before": (before, two), "before and after": (before, on), "after": (two, on)}
        program.mix(*choices[used])
        found[used] = (program.steps,)
    return found


def _kept_programs(rng):
    """Intermediate results that keep their gradient: on the way to the end, or aside of it."""
    found = {}
    for kind in ("on the way", "aside", "a leaf", "the last"):
        program = Program(rng)
        one, near, far = program.leaves(data=1, leaf=2)
        inner = program.mix(one, far)
        aside = program.mix(inner, near)
        outer = program.do("a.clone()", inner)
        last = program.mix(outer, one, near)
        choices = {"on the way": [inner], "aside": [aside, outer], "a leaf": [far]}
        found[kind] = (program.steps, choices.get(kind, [last]))
    return found


def _graphless_programs(rng):
    found = {}
    for end in ("a.detach()", "a > b", "a * b"):
        program = Program(rng)
        one, two, weight = program.leaves(data=2, leaf=1)
        inner = program.mix(one, weight)
        sources = {"a > b": (inner, weight), "a.detach()": (inner,), "a * b": (one, two)}
        program.do(end, *sources[end])
        found[end] = (program.steps, [inner])
    return found


# --------------------------------------------------------------------------------- walk_graph


@exercise(
    "01-graph",
    facets=[
        Facet("nodes", 0.75, "每个节点的名字", "the names of all nodes"),
        Facet("edges", 0.75, "每条边从哪里到哪里", "where each edge starts and ends",
              needs=("nodes",)),
        Facet("shared", 0.75, "一个节点有许多条路，两条边通向同一处",
              "one node, many paths; two edges to the same place", needs=("nodes", "edges")),
        Facet("outputs", 0.5, "有好几个输出的节点：边上的第二个数",
              "nodes with several outputs: the second number of an edge", needs=("edges",)),
        Facet("ends", 0.25, "out 自己是叶子，或者没有计算图", "out is a leaf, or has no graph",
              needs=("nodes",)),
        Facet("once", 0.5, "不走重复的路", "goes no path twice", needs=("shared",)),
        Facet("deep", 0.5, f"{DEEP} 层的图", f"a graph of {DEEP} levels",
              needs=("nodes", "edges")),
    ],
)  # fmt: skip
def walk_graph(answer, rng):
    graphs = {"a tree": _tree(rng), "a model": _model_loss(rng)}
    asked = {name: (out,) for name, out in graphs.items()}
    yield "nodes", ask_all(lambda out: _names(*answer(out)), asked)
    yield "edges", ask_all(lambda out: _joints(*answer(out)), asked)
    shared = {"reused": (_reused(rng),), "squares": (_doubled(rng, 4),)}
    yield "shared", ask_all(lambda out: _graph(*answer(out)), shared)
    yield "outputs", ask_all(lambda out: _graph(*answer(out)), _many_outputs(rng))
    ends = {
        "a leaf": (leaf(signed(rng, 2)),),
        "no graph": (positive(rng, 2) * 2,),
        "one step": (leaf(signed(rng, 3)).exp(),),
    }
    yield "ends", ask_all(lambda out: _graph(*answer(out)), ends)
    rng = afresh(rng)
    yield "once", attempt(_looks, answer, rng)
    rng = afresh(rng)
    chain = ask_all(lambda out: _graph(*answer(out)), {"a chain": (_chain(rng),)})
    yield "deep", chain


def _tree(rng):
    """A graph in which a single path leads to each node; several nodes have the same name."""
    m, n = sizes(rng, 2)
    terms = [positive(rng, m) * leaf(positive(rng, m)) for _ in range(int(rng.integers(2, 4)))]
    terms += [torch.sin(leaf(signed(rng, n, m))) @ positive(rng, m, m), positive(rng, n, 1)]
    total = torch.exp(terms[0])
    for i in rng.permutation(len(terms) - 1).tolist():
        total = (total * terms[i + 1]) if rng.integers(2) else (terms[i + 1] - total)
    return total.sum()


def _model_loss(rng):
    m, n, k = sizes(rng, 3)
    x, target = positive(rng, k, m), positive(rng, k, n)
    first, second = leaf(positive(rng, m, k)), leaf(positive(rng, k, n))
    hidden = torch.tanh(x @ first + leaf(positive(rng, k)))
    return ((hidden @ second + leaf(positive(rng, n)) - target) ** 2).mean()


def _reused(rng):
    """Leaves and intermediate results that are used more than once."""
    n, k = sizes(rng, 2)
    w, v = leaf(positive(rng, n)), leaf(positive(rng, k, n))
    inner = torch.sin(w * positive(rng, n))
    outer = inner * inner + w
    for _ in range(int(rng.integers(1, 4))):
        outer = outer * inner + positive(rng, n)
    return (v @ outer).sum() + (w - v).exp().sum() + inner.sum()


def _doubled(rng, times):
    h = leaf(positive(rng, 2))
    for _ in range(times):
        h = h * h
    return h


def _many_outputs(rng):
    n = int(rng.integers(3, 6))
    a, b, c = leaf(positive(rng, n, 2)), leaf(positive(rng, n + 2)), leaf(positive(rng, 3, n))
    rows, parts = (a * 2).unbind(), b.exp().split([2, n])
    largest, _ = (c * 3).max(dim=1)
    chosen = rng.choice(n - 1, 2, replace=False).tolist()
    return {
        "rows": (rows[chosen[0]] * rows[n - 1] - rows[chosen[1]],),
        "parts": (parts[1].sum() * parts[0].sum(),),
        "the largest": (largest * parts[1][:3].sum(),),
        "one of them": (rows[1],),
    }


def _chain(rng):
    h, factor = leaf(positive(rng, 1)), positive(rng, 1)
    for _ in range(DEEP):
        h = h * factor
    return h


def _short(name):
    """A node's name without its namespace, which only some ways of asking for it give."""
    return name.rpartition("::")[2]


def _names(nodes, edges):
    """How often each name is among ``nodes``."""
    return dict(Counter(_short(name) for name in nodes))


def _joints(nodes, edges):
    """How often each kind of edge is there, and each kind of node by the numbers of its edges."""
    short = [_short(name) for name in nodes]
    leaving, arriving = Counter(e[0] for e in edges), Counter(e[1] for e in edges)
    kinds = (f"{name}: {leaving[i]} out, {arriving[i]} in" for i, name in enumerate(short))
    joints = (f"{short[here]} → {short[there]} [{number}]" for here, there, number in edges)
    return {"edges": dict(Counter(joints)), "nodes": dict(Counter(kinds))}


def _graph(nodes, edges):
    return {"names": _names(nodes, edges)} | _joints(nodes, edges)


class Blend(torch.autograd.Function):
    """a + b by a node of its own, whose edges can be watched."""

    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


PLAIN_EDGES = torch._C._FunctionBase.next_functions


class Watched:
    """Counts how often anybody looks at the edges of Blend's nodes, while the context is open."""

    def __enter__(self):
        self.looks = 0

        def look(node):
            self.looks += 1
            return PLAIN_EDGES.__get__(node)

        Blend._backward_cls.next_functions = property(look)
        return self

    def __exit__(self, *_):
        del Blend._backward_cls.next_functions


def _ladder(rng, levels):
    """h = h + h again and again: 2 ** levels paths, and only ``levels`` nodes."""
    h = leaf(positive(rng, 2))
    for _ in range(levels):
        h = Blend.apply(h, h)
    return h


def _looks(answer, rng):
    levels = int(rng.integers(11, 14))
    out = _ladder(rng, levels)
    with Watched() as watched:
        found = answer(out)
    # A right way may look at a node a few times, once for nodes and once for edges, say.
    looks = {"looked at": watched.looks > 0, "few looks": watched.looks <= 5 * levels}
    return looks | _graph(*found)


# ---------------------------------------------------------------------------------- leaves_of


@exercise(
    "01-graph",
    facets=[
        Facet("value", 1, "哪些张量：就是它们自己，不是副本",
              "which tensors: they themselves, no copies"),
        Facet("shared", 0.5, "用过多次的叶子只算一个", "a leaf that is used often counts once",
              needs=("value",)),
        Facet("equal", 0.25, "数值相同的两个叶子", "two leaves with the same numbers",
              needs=("value",)),
        Facet("ends", 0.5, "out 自己是叶子，或者没有计算图", "out is a leaf, or has no graph",
              needs=("value",)),
        Facet("cost", 0.25, f"不走重复的路，也不怕 {DEEP} 层",
              f"goes no path twice, and {DEEP} levels are no trouble", needs=("value",)),
        Facet("untouched", 0.5, "没有副作用，图还能再用", "no side effects, the graph still works",
              needs=("value",)),
    ],
)  # fmt: skip
def leaves_of(answer, rng):
    found = {f"graph {i + 1}": _known_leaves(rng) for i in range(2)}
    yield "value", ask_all(_recognised(answer), found)
    yield "shared", ask_all(_recognised(answer), _shared_leaves(rng))
    yield "equal", ask_all(_recognised(answer), _equal_leaves(rng))
    alone, data = leaf(signed(rng, 3)), positive(rng, 2)
    ends = {
        "a leaf": (alone, {"out": alone}),
        "data": (data, {"out": data}),
        "computed data": (data * 2, {"data": data}),
        "all is cut": ((alone * 2).detach().sum(), {"alone": alone}),
    }
    yield "ends", ask_all(_recognised(answer), ends)
    rng = afresh(rng)
    yield "cost", attempt(_leaves_cost, answer, rng)
    rng = afresh(rng)
    yield "untouched", attempt(_leaves_untouched, answer, rng)


def _recognised(answer):
    """Ask for the leaves of ``out``; those that are in ``known`` by name, sorted."""

    def asked(out, known):
        return sorted(_which(tensor, known) for tensor in list(answer(out)))

    return asked


def _which(tensor, known):
    """The name of a tensor, by identity; else what it is."""
    name = next((name for name, one in known.items() if one is tensor), None)
    if name is None and isinstance(tensor, torch.Tensor):
        name = next((f"a copy of {k}" for k, t in known.items() if _same_numbers(t, tensor)), None)
    return name or f"some {type(tensor).__name__}"


def _same_numbers(one, other):
    return one.dtype == other.dtype and torch.equal(one.detach(), other.detach())


def _known_leaves(rng):
    """An output and all tensors that a walk might mistake for its leaves, by name."""
    m, n = sizes(rng, 2)
    leaves = {f"w{i}": leaf(positive(rng, n)) for i in range(int(rng.integers(2, 5)))}
    matrix, single = leaf(positive(rng, n, m).mT), leaf(positive(rng, n, dtype=F32))
    data, frozen = positive(rng, m, n), positive(rng, n)
    behind, unused = leaf(positive(rng, n)), leaf(positive(rng, n))
    computed, cut = frozen * 2, (behind * 2).detach()
    total = computed * cut
    for weight in (*leaves.values(), single):
        total = total * torch.sin(weight) if rng.integers(2) else weight.exp() + total * frozen
    out = ((data * matrix) @ total).sum()
    others = {"data": data, "frozen": frozen, "computed": computed, "cut": cut, "out": out}
    others |= {"behind": behind, "unused": unused, "total": total}
    return out, leaves | {"matrix": matrix, "single": single} | others


def _shared_leaves(rng):
    n, k = sizes(rng, 2)
    w, v, only = leaf(positive(rng, n)), leaf(positive(rng, k, n)), leaf(positive(rng, n))
    inner = torch.sin(w) * w
    out = (v * inner).sum() + (w + only - inner).exp().sum() * v.sum()
    return {
        "several uses": (out, {"w": w, "v": v, "only": only}),
        "w * w": (w * w, {"w": w}),
        "parts": (sum(v.unbind()[:2]), {"v": v}),
    }


def _equal_leaves(rng):
    found = {}
    for kind, shape in {"matrices": (2, 3), "one element": (1,), "scalars": ()}.items():
        values = positive(rng, *shape)
        one, other, third = (leaf(values.clone()) for _ in range(3))
        out = (one * other).sum() + third.detach().sum()
        found[kind] = (out, {"one": one, "other": other, "third": third})
    return found


def _leaves_cost(answer, rng):
    out, chain, weights = _ladder(rng, 12), _chain(rng), afresh(rng)
    with Watched() as watched:
        found = list(answer(out))
    few = watched.looks <= 60
    return {
        "looked at": watched.looks > 0,
        "few looks": few,
        "found": gist(weights, list({id(tensor): tensor for tensor in found}.values())),
        "deep": gist(weights, list(answer(chain))),
    }


def _leaves_untouched(answer, rng):
    n = int(rng.integers(2, 6))
    w, fresh, other = stale(rng, positive(rng, n)), leaf(positive(rng, n)), positive(rng, n)
    inner = w * fresh
    out = (torch.exp(inner) * other).sum()
    guard = Guard(w=w, fresh=fresh, other=other)
    known = {"w": w, "fresh": fresh, "other": other, "inner": inner, "out": out}
    with backward_passes() as passes:
        leaves = _recognised(answer)(out, known)
    report = guard.report() | {"no backward pass": passes.value == 0}
    report["leaves"] = leaves
    report["inner keeps nothing"] = not inner.retains_grad
    return report | {"works again": torch.autograd.grad(out, (w, inner))}


# --------------------------------------------------------------------------- intermediate_grads


@exercise(
    "01-graph",
    facets=[
        Facet("value", 1, "中间结果的梯度", "the gradients of intermediate results"),
        Facet("leaves", 0.25, "steps 里的叶子", "leaves among the steps", needs=("value",)),
        Facet("none", 0.5, "没有路：None", "no path: None", needs=("value",)),
        Facet("zero", 0.25, "有路，导数是零：零", "a path with a zero derivative: zeros",
              needs=("value",)),
        Facet("kinds", 0.5, "标量、float32、转置，一个元素的 loss",
              "scalars, float32, transposes, a loss of one element", needs=("value",)),
        Facet("again", 0.5, "图还能再用：再问一次，答案相同",
              "the graph still works: ask again, and the answer is the same", needs=("value",)),
        Facet("untouched", 0.5, ".grad 保持原样，不留下 retain_grad 与钩子",
              ".grad as it was, no retain_grad and no hooks left behind", needs=("value",)),
        Facet("cost", 0.5, "一次反向传播", "a single backward pass", needs=("value",)),
    ],
)  # fmt: skip
def intermediate_grads(answer, rng):
    values = {}
    for i in range(2):
        loss, steps, _ = _network(rng)
        values[f"network {i + 1}"] = (loss, steps)
    yield "value", ask_all(answer, values)
    loss, steps, weights = _network(rng)
    yield "leaves", attempt(answer, loss, _shuffled(rng, steps | weights))
    yield "none", ask_all(answer, _no_path(rng))
    yield "zero", ask_all(answer, _zero_derivatives(rng))
    yield "kinds", ask_all(answer, _kinds_of_steps(rng))
    loss, steps, weights = _network(rng)
    everything = _shuffled(rng, steps | weights)
    yield "again", attempt(lambda: [answer(loss, everything), answer(loss, steps)])
    rng = afresh(rng)
    yield "untouched", attempt(_steps_untouched, answer, rng)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _steps_cost), answer, rng)


def _shuffled(rng, tensors):
    names = list(tensors)
    return {names[i]: tensors[names[i]] for i in rng.permutation(len(names))}


def _network(rng, dtype=torch.float64):
    """(loss, {name: intermediate result}, {name: weight}); an intermediate result is used twice."""
    m, n, k = sizes(rng, 3)
    x, last = positive(rng, k, m, dtype=dtype), positive(rng, k, n, dtype=dtype)
    weights = {
        "first": leaf(positive(rng, m, n, dtype=dtype)),
        "bias": leaf(signed(rng, n, dtype=dtype)),
        "scale": leaf(positive(rng, dtype=dtype)),
    }
    z = x @ weights["first"] + weights["bias"]
    h = torch.sin(z) * weights["scale"]
    y = h * h + z
    loss = (last * y).sum() + (h**3).mean()
    return loss, _shuffled(rng, {"z": z, "h": h, "y": y, "loss": loss, "same": h}), weights


def _no_path(rng):
    n, k = sizes(rng, 2)
    data, w, v = positive(rng, n), leaf(positive(rng, n)), leaf(positive(rng, k))
    h, aside = data * w, v.exp()
    loss, later = torch.sin(h).sum(), (h * 2).sum()
    steps = {"h": h, "aside": aside, "data": data, "cut": h.detach(), "later": later}
    steps |= {"mask": h > 1, "best": h.argmax(), "v": v}
    blind = {"data": data, "computed": data * 2}
    return {
        "some": (loss, _shuffled(rng, steps)),
        "all of them": (loss, {"aside": aside, "v": v}),
        "no graph at all": (loss, blind),
        "no steps": (loss, {}),
        "a loss without a graph": (data.sum(), {"h": h, "data": data}),
    }


def _zero_derivatives(rng):
    n = int(rng.integers(2, 6))
    w = leaf(positive(rng, n))
    below, above, tossed = -2 * w, torch.round(3 * w), w * w
    loss = (torch.relu(below) + above + 0 * tossed + torch.sin(w)).sum()
    rounded = 3 * w
    flat = (torch.round(rounded) + w).sum()
    return {
        "relu, times 0": (loss, {"below": below, "above": above, "tossed": tossed}),
        "round": (flat, {"rounded": rounded}),
    }


def _kinds_of_steps(rng):
    m, n = sizes(rng, 2)
    w, s = leaf(positive(rng, m, n)), leaf(positive(rng))
    turned, wide = (2 * w).T, (s * 3).expand(n)
    single = (w.float() * 1.5).sin()
    loss = (turned @ positive(rng, m) * wide).sum() + single.double().prod()
    steps = {"turned": turned, "wide": wide, "single": single, "product": s * 1}
    inner = torch.sin(s * positive(rng))
    singles = _network(rng, F32)
    return {
        "transposed, expanded, float32": (loss, steps),
        "scalars": (inner.exp(), {"inner": inner}),
        "loss (1,)": (inner.reshape(1) ** 2, {"inner": inner}),
        "loss (1, 1)": (inner.reshape(1, 1) * 3, {"inner": inner}),
        "loss is a leaf": (s, {"s": s}),
        "all float32": singles[:2],
    }


def _steps_untouched(answer, rng):
    loss, steps, weights = _network(rng)
    for weight in (weights["first"], weights["scale"]):
        stale(rng, weight)
    asked, numbers = list(steps), afresh(rng)
    steps |= weights
    guard, given = Guard(**steps), list(steps)
    result = answer(loss, steps)
    kept = {name: bool(tensor.retains_grad) for name, tensor in steps.items()}
    hooked = {name: bool(tensor._backward_hooks) for name, tensor in steps.items()}
    return guard.report() | {
        "retains_grad": kept,
        "hooks": hooked,
        "steps unchanged": list(steps) == given,
        "no graph": graphless(t for t in result.values() if t is not None),
        "gradients": gist(numbers, {name: result[name] for name in asked}),
    }


def _steps_cost(answer, rng):
    loss, steps, _ = _network(rng)
    with backward_passes() as passes:
        answer(loss, steps)
    return {"backward passes": passes.value}


# ------------------------------------------------------------------------------------- freeze


@exercise(
    "01-graph",
    facets=[
        Facet("frozen", 1, "哪些参数冻结了", "which parameters are frozen"),
        Facet("names", 1, "名字只是开头相同的参数；一层里的一层；单独一个参数",
              "names that merely start alike; a layer in a layer; a single parameter",
              needs=("frozen",)),
        Facet("grads", 0.75, "反向传播之后谁有 .grad（旧的也算）",
              "who has a .grad after a backward pass, old ones included", needs=("frozen",)),
        Facet("through", 0.5, "梯度穿过冻结的层", "gradients go through a frozen layer",
              needs=("frozen",)),
        Facet("tied", 0.5, "两层共用的参数", "a parameter that two layers share",
              needs=("frozen",)),
        Facet("refused", 0.5, "没有这个名字时抛出 ValueError", "an unknown name raises ValueError",
              needs=("frozen",)),
        Facet("untouched", 0.75, "其余一切照旧：参数、数值、模式、以前冻结的",
              "all else as it was: parameters, numbers, modes, what was frozen before",
              needs=("frozen",)),
    ],
)  # fmt: skip
def freeze(answer, rng):
    def frozen(model, prefix):
        answer(model, prefix)
        return _frozen(model)

    parts = {prefix: (Model(rng), prefix) for prefix in ("encoder2", "scale_head", "body_1")}
    yield "frozen", ask_all(frozen, parts)
    later = f"body.{rng.integers(10, Model.LAYERS)}"
    inside = "encoder.inner", "body.1", later, "body.1.weight"
    prefixes = ("encoder", "body", "head", "scale", *inside)
    yield "names", ask_all(frozen, {prefix: (Model(rng), prefix) for prefix in prefixes})
    apart, part = "encoder2", f"body.{rng.integers(2, 9)}"
    yield "grads", ask_all(_frozen_grads(answer, rng), {apart: (apart,), part: (part,)})
    behind = {name: (name,) for name in ("body", "scale_head")}
    yield "through", ask_all(_front_grads(answer, rng), behind)
    tied = {name: (_tied(rng), name) for name in ("decoder", "encoder", "decoder.weight")}
    yield "tied", ask_all(frozen, tied)
    strangers = {name: (Model(rng), name) for name in _strangers(rng)}
    yield "refused", ask_all(_refusal(answer), strangers)
    yield "untouched", ask_all(_left_alone(answer, rng), {apart: (apart,), part: (part,)})


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return torch.tanh(self.norm(self.inner(x)))


class Model(nn.Module):
    """Layers in layers, with names that start alike; all numbers are drawn from ``rng``."""

    LAYERS = 13

    def __init__(self, rng):
        super().__init__()
        self.encoder = Encoder()
        self.encoder2 = nn.Linear(4, 2)
        self.body_1 = nn.Linear(2, 2)
        self.body = nn.Sequential(*(nn.Linear(2, 2, bias=i % 2 == 1) for i in range(self.LAYERS)))
        self.scale = nn.Parameter(torch.zeros(2))
        self.scale_head = nn.Linear(2, 3)
        self.head = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.0)
        self.idle = nn.BatchNorm1d(3)  # not run, which is slow; it has buffers and a mode
        _fill(self, rng)

    def forward(self, x):
        hidden = self.body_1(self.encoder2(self.encoder(x)))
        for layer in self.body:
            hidden = torch.sin(layer(hidden)) + hidden
        return self.head(self.dropout(self.scale_head(hidden * self.scale)))


def _fill(model, rng):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * signed(rng, *parameter.shape))


def _parameters(model):
    """(name, parameter) by every name that a parameter has."""
    return list(model.named_parameters(remove_duplicate=False))


def _frozen(model):
    return [name for name, p in _parameters(model) if not p.requires_grad]


def _tied(rng):
    """Two layers with one weight, and the usual list of names mentions it only once."""
    model = nn.ModuleDict({"encoder": nn.Linear(3, 3), "decoder": nn.Linear(3, 3)})
    model["decoder"].weight = model["encoder"].weight
    model["other"] = nn.Linear(3, 2)
    _fill(model, rng)
    return model


def _frozen_grads(answer, rng):
    """Every parameter's .grad after freezing and a backward pass; some have one from before."""

    def grads(prefix):
        model, x = Model(rng), signed(rng, 5, 3)
        for name, p in _parameters(model):
            if name in (f"{prefix}.weight", "encoder.inner.bias", "body.1.bias"):
                stale(rng, p)
        answer(model, prefix)
        before = [name for name, p in _parameters(model) if p.grad is not None]
        model(x).sin().sum().backward()
        after = {name: p.grad for name, p in _parameters(model) if name.startswith(prefix[:4])}
        return {"before the pass": before, "after it": after}

    return grads


def _front_grads(answer, rng):
    """The gradients of the input and of the parameters in front of the frozen ones."""

    def grads(prefix):
        model, x = Model(rng), leaf(signed(rng, 5, 3))
        answer(model, prefix)
        model(x).sin().sum().backward()
        front = {name: p.grad for name, p in model.encoder.named_parameters()}
        return {"frozen": _frozen(model.scale_head), "x": x.grad} | front

    return grads


def _refusal(answer):
    """The name of the exception, and whether the model is as it was."""

    def asked(model, prefix):
        raised = errors(answer, {"": (model, prefix)})["dict"][""]["text"]
        return [raised, all(p.requires_grad for p in model.parameters())]

    return asked


def _strangers(rng):
    """Names of nothing in the model, though some look like one."""
    known = str(rng.choice(["enc", "bod", "hea", "scal"]))
    return [known, "weight", "body.99", "inner", "body.1.weigh", "dropout"]


def _left_alone(answer, rng):
    def report(prefix):
        model = Model(rng)
        for module in (model.dropout, model.encoder.norm, model.body[2]):
            module.eval()
        for parameter in (model.scale, model.head.weight, model.body[11].weight):
            stale(rng, parameter)
        model.scale.requires_grad_(False)
        before = dict(_parameters(model))
        numbers = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        places = {name: value.data_ptr() for name, value in model.state_dict().items()}
        guard = Guard(head=model.head.weight, late=model.body[11].weight, scale=model.scale)
        answer(model, prefix)
        now = model.state_dict()
        changed = [name for name in numbers if not torch.equal(now[name], numbers[name])]
        return guard.report() | {
            "the same parameters": all(before[name] is p for name, p in _parameters(model)),
            "the same names": list(now) == list(numbers),
            "the same storage": {name: v.data_ptr() for name, v in now.items()} == places,
            "numbers changed": changed,
            "modes unchanged": [module.training for module in model.modules()] == modes,
            "frozen": _frozen(model),
            "hooks": [n for n, p in _parameters(model) if p._backward_hooks],
        }

    return report
