"""Probes of assignment 06: what students' code cuts, shares and writes over.

No probe knows an answer: it runs the student's function on drawn tensors and modules, and writes
down numbers, flags and errors. Gradients are asked for, losses never.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd import grad
from torch.autograd.graph import increment_version, saved_tensors_hooks

from ..evidence import attempt
from ..exercise import Facet, exercise
from ..probing import (
    Guard,
    afresh,
    ask_all,
    errors,
    gist,
    leaf,
    once,
    positive,
    signed,
    sizes,
    stale,
    with_results,
)

F32 = torch.float32


def _apart(call):
    """The same function; where it leaves gradients switched off, what follows is not spoiled."""

    def asked(*args):
        with torch.enable_grad():
            return call(*args)

    return asked


# ------------------------------------------------------------------------------------ outcome


@exercise(
    "06-cut",
    facets=[
        Facet("value", 1.5, "写入 y：经由五种途径", "writes to y, by five ways"),
        Facet("input", 1, "写入 x：经由五种途径", "writes to x, by five ways", needs=("value",)),
        Facet("luck", 0.5, "碰巧：写入副本、写零、加常数、不改变正负",
              "luck: a copy written to, zeros, a constant added, signs that stay",
              needs=("value",)),
        Facet("shapes", 0.5, "标量、矩阵、转置，以及不是逐元素的 op",
              "scalars, matrices, transposes, and an op that mixes elements", needs=("value",)),
        Facet("passed on", 0.25, "op 和 write 自己的异常原样传出",
              "an exception of op or write itself goes through", needs=("value",)),
        Facet("untouched", 0.25, "x 和 op 里的权重保持原样",
              "x and the weights in op stay as they are", needs=("value",)),
    ],
)  # fmt: skip
def outcome(answer, rng):
    ops, n = _ops(rng), sizes(rng, 1, low=3)[0]
    c, d = (float(value) for value in rng.uniform(1.5, 2.5, 2))
    for facet, target in ("value", "y"), ("input", "x"):
        cases = {
            f"{op}, {name.format(target)}": (ops[op], _writes_to(target, way, c, d), signed(rng, n))
            for op in ops
            for name, way in WAYS.items()
        }
        yield facet, ask_all(answer, cases)
    yield "luck", ask_all(answer, _lucky(rng, n, c, d))
    yield "shapes", ask_all(answer, _outcome_shapes(rng, n, c, d))
    yield "passed on", errors(answer, _broken(rng, n))
    yield "untouched", attempt(_outcome_untouched, answer, rng, n, c, d)


# The ways to a tensor's memory, and under what name a student reads of them.
WAYS = {
    "{}.mul_": lambda t: t,
    "{}.detach()": lambda t: t.detach(),
    "{}.data": lambda t: t.data,
    "{}.detach().numpy()": lambda t: t.detach().numpy(),
    "no_grad": None,
}


def _ops(rng):
    """One function of each sort: its node saves its output, its input, or nothing."""
    saving = ["sigmoid", "tanh", "exp"], ["sin", "cos", "square"], ["neg", "clone"]
    return {name: getattr(torch, name) for name in (str(rng.choice(names)) for names in saving)}


def _affine(way, c, d):
    """A function that changes a tensor t to c·t + d in place, by one of the WAYS."""

    def write(tensor):
        with torch.set_grad_enabled(way is not None):
            handle = tensor if way is None else way(tensor)
            handle *= c
            handle += d

    return write


def _writes_to(target, way, c, d):
    write = _affine(way, c, d)
    return lambda x, y: write(x if target == "x" else y)


def _lucky(rng, n, c, d):
    mixed = torch.cat((-positive(rng, n), positive(rng, 2)))

    def uncounted(x, y):
        y.data.mul_(c)
        increment_version(y)

    return {
        "sigmoid, a copy": (torch.sigmoid, lambda x, y: y.detach().clone().zero_(), mixed),
        "sigmoid, y.data.zero_()": (torch.sigmoid, lambda x, y: y.data.zero_(), mixed),
        "tanh, y.data.zero_()": (torch.tanh, lambda x, y: y.data.zero_(), mixed),
        "exp, y.data.mul_()": (torch.exp, lambda x, y: y.data.mul_(c), mixed),
        "sin, y.detach().add_()": (torch.sin, lambda x, y: y.detach().add_(d), mixed),
        "relu, y.data.mul_()": (torch.relu, lambda x, y: y.data.mul_(c), mixed),
        "relu, y.data.add_()": (torch.relu, lambda x, y: y.data.add_(d), mixed),
        "one element of y": (torch.sin, lambda x, y: y.detach()[-1].mul_(c), mixed),
        "one element of x": (torch.sin, lambda x, y: x.data[-1].add_(d), mixed),
        "increment_version": (torch.sigmoid, uncounted, mixed),
        "nothing written": (torch.sigmoid, lambda x, y: None, mixed),
    }


def _outcome_shapes(rng, n, c, d):
    full, many = _affine(lambda t: t.detach(), c, d), _affine(lambda t: t.data, c, d)
    own, a, b = _affine(lambda t: t, c, d), positive(rng, n + 2, n), positive(rng, n)

    def on_y(write):
        return lambda x, y: write(y)

    def mixing(x):
        return torch.softmax(x, dim=0) @ b * b

    return {
        "x ()": (torch.sigmoid, on_y(many), signed(rng)),
        "x (n, 2)": (torch.sin, on_y(full), signed(rng, n, 2)),
        "x transposed": (torch.tanh, on_y(many), signed(rng, 2, n).T),
        "y longer than x": (lambda x: a @ torch.sin(x), on_y(full), signed(rng, n)),
        "softmax, y.data": (lambda x: torch.softmax(x, dim=0) * b, on_y(many), signed(rng, n)),
        "softmax, itself": (mixing, on_y(own), signed(rng, n)),
        "exp(x) + 0, itself": (lambda x: torch.exp(x) + 0, on_y(own), signed(rng, n)),
        "x expanded": (torch.sin, lambda x, y: x.data.mul_(c), signed(rng, 1).expand(n)),
    }


def _broken(rng, n):
    """Cases in which the mistake is the caller's own, not one of torch's outcomes."""
    nothing = {}

    def misspelt(x, y):
        nothing[y] = y.dat

    return {
        "op raises": (lambda x: nothing["w"] * x, lambda x, y: None, signed(rng, n)),
        "write raises": (torch.sin, misspelt, signed(rng, n)),
    }


def _outcome_untouched(answer, rng, n, c, d):
    weight, report = stale(rng, positive(rng, n)), {}
    ways = {"plain x": lambda t: t.data, "leaf x": lambda t: t.detach(), "itself": lambda t: t}
    for kind, way in ways.items():
        x = signed(rng, n) if kind == "plain x" else stale(rng, signed(rng, n))
        guard = Guard(x=x, w=weight)
        found = answer(lambda x: weight * torch.sin(x), _writes_to("x", way, c, d), x)
        report[kind] = guard.report() | {"outcome": found}
    return report


# ---------------------------------------------------------------------------------- make_case


@exercise(
    "06-cut",
    facets=[
        Facet("error", 0.5, "error：写入能运行，反向传播拒绝",
              "error: the write runs, the backward pass refuses"),
        Facet("consistent", 0.5, "consistent：y 变了，梯度也跟着变",
              "consistent: y changes, and the gradient with it"),
        Facet("inconsistent", 0.5, "inconsistent：y 变了，梯度还是原来的",
              "inconsistent: y changes, and the gradient is that of before"),
        Facet("silent-wrong", 0.5, "silent-wrong：梯度两边都不是",
              "silent-wrong: the gradient is neither"),
        Facet("counted", 0.5, "inconsistent：版本计数器看见了写入，却没有报错",
              "inconsistent: the version counter saw the write, and yet no error",
              needs=("inconsistent",)),
        Facet("honest", 0.5, "op 可微、每次相同；x 是至少两个 float64",
              "op is differentiable and the same every time; x is two or more float64",
              needs=("error", "consistent", "inconsistent", "silent-wrong")),
    ],
)  # fmt: skip
def make_case(answer, rng):
    answer, kinds = once(answer), ("error", "consistent", "inconsistent", "silent-wrong")
    yield "error", attempt(_refused, answer)
    for kind in kinds[1:]:
        yield kind, attempt(_compared, answer, kind)
    yield "counted", attempt(_counted, answer)
    yield "honest", {"dict": {kind: attempt(_honest, answer, kind) for kind in kinds}}


def _written(op, write, x):
    """Run a case: (x as a leaf, y before the write, y after it)."""
    start = leaf(x.detach().clone())
    y = op(start)
    before = y.detach().clone()
    write(start, y)
    return start, before, y


def _refused(answer):
    """Whether the write runs, and what the backward pass then says."""
    start, before, y = _written(*answer("error"))
    try:
        grad(y.sum(), start)
        refusal = "no error"
    except RuntimeError as error:
        counted = "modified by an inplace operation" in str(error)
        refusal = "a version counter" if counted else type(error).__name__
    return {"the write runs": True, "the backward pass is refused by": refusal}


def _compared(answer, kind):
    """What the write changes, and whether the gradient is that of y after it, or before it."""
    op, write, x = answer(kind)
    start, before, y = _written(op, write, x)
    found = grad(y.sum(), start, retain_graph=True)[0]
    now = _slopes(lambda x: _written(op, write, x)[2], x.detach())
    fresh = leaf(x.detach().clone())
    report = {"the gradient is that of y now": _near(found, now)}
    if kind == "silent-wrong":
        wrote = not (torch.equal(y, before) and torch.equal(start, x))
        report["y or x changes"] = wrote
    else:
        report["y changes"] = not torch.equal(y, before)
    if kind != "consistent":
        report["the gradient is that of before"] = _near(found, grad(op(fresh).sum(), fresh)[0])
    return report


def _counted(answer):
    op, write, x = answer("inconsistent")
    start = leaf(x.detach().clone())
    y = op(start)
    version = y._version
    write(start, y)
    return {"y._version grows": y._version > version}


def _honest(answer, kind):
    op, _, x = answer(kind)
    start = leaf(x.detach().clone())
    found = grad(op(start).sum(), start)[0]
    return {
        "x is float64": x.dtype == torch.float64,
        "x has two elements or more": x.numel() >= 2,
        "op is the same every time": torch.equal(op(start), op(start)),
        "op depends on x": bool((found != 0).any()),
        "op is differentiable": _near(found, _slopes(op, x.detach())),
    }


def _slopes(function, x, h=1e-5):
    """The gradient of function(x).sum() by central differences; shaped like x."""
    steps = h * torch.eye(x.numel()).reshape(-1, *x.shape)
    ends = [(function(x + s).sum() - function(x - s).sum()).detach() for s in steps]
    return torch.stack(ends).reshape(x.shape) / (2 * h)


def _near(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-6)


# ----------------------------------------------------------------------------------- snapshot


@exercise(
    "06-cut",
    facets=[
        Facet("memory", 1, "写入 h 不改变快照，写入快照不改变 h",
              "a write to h leaves the snapshot as it is, and the other way round"),
        Facet("graph", 0.5, "快照没有计算图，也不要求梯度",
              "the snapshot has no graph and asks for no gradient", needs=("memory",)),
        Facet("kinds", 0.5, "dtype 与形状：float32、整数、布尔、标量、空、转置",
              "dtype and shape: float32, whole numbers, flags, scalars, empty, transposed",
              needs=("memory",)),
        Facet("intact", 0.5, "h 的图和梯度保持原样", "the graph and the gradient of h stay right",
              needs=("memory",)),
        Facet("usable", 0.25, "快照是普通张量：可以原地修改，可以参与求导",
              "the snapshot is an ordinary tensor, to write to and to differentiate with",
              needs=("memory",)),
        Facet("size", 0.25, "快照只占它自己的元素那么多内存",
              "the snapshot takes the memory of its own elements only", needs=("memory",)),
    ],
)  # fmt: skip
def snapshot(answer, rng):
    m, n = sizes(rng, 2)
    yield "memory", ask_all(lambda h: _overwritten(answer, h), _states(rng, m, n))
    yield "graph", ask_all(lambda h: _graph_of(answer(h)), _states(rng, m, n))
    yield "kinds", ask_all(answer, _snapshot_kinds(rng, m, n))
    rng = afresh(rng)
    yield "intact", attempt(_snapshot_intact, answer, rng, m, n)
    rng = afresh(rng)
    yield "usable", attempt(_snapshot_usable, answer, rng, m, n)
    rng = afresh(rng)
    yield "size", attempt(_snapshot_size, answer, rng, n)


def _states(rng, m, n):
    """Tensors to take a snapshot of, in every state of autograd: {name: (h,)}."""
    w = leaf(positive(rng, n))
    return {
        "in a graph": (torch.sigmoid(w * signed(rng, m, n)),),
        "a view": ((signed(rng, n, m) * w[:, None]).T,),
        "a leaf": (stale(rng, signed(rng, n)),),
        "a parameter": (nn.Parameter(signed(rng, m, n)),),
        "plain": (signed(rng, n),),
    }


def _graph_of(t):
    kind = {"type": type(t).__name__, "requires_grad": t.requires_grad}
    return kind | {"grad_fn": t.grad_fn is not None, "leaf": t.is_leaf, "values": t}


def _overwritten(answer, h):
    """The snapshot after h is written to, and h after the snapshot is."""
    first = answer(h)
    with torch.no_grad():
        h += 1
    second = answer(h)
    with torch.no_grad():
        second.mul_(3)
    return [first, h.detach().clone()]


def _snapshot_kinds(rng, m, n):
    whole = torch.tensor(rng.integers(2, 99, (m, n)))
    return {
        "float32": (leaf(signed(rng, m, n, dtype=F32)) * 2,),
        "transposed": (leaf(signed(rng, m, n)).T,),
        "expanded": (leaf(signed(rng, 1)).expand(n),),
        "()": (leaf(signed(rng)) * 2,),
        "(0, n)": (leaf(signed(rng, 0, n)) * 2,),
        "whole numbers": (whole,),
        "flags": (whole > 50,),
    }


def _snapshot_intact(answer, rng, m, n):
    x, report = leaf(signed(rng, n)), {}
    h = torch.sigmoid(x * positive(rng, n))
    guard, node = Guard(h=h.detach()), h.grad_fn
    before = h.requires_grad
    taken = answer(h)
    report["snapshot"] = taken.detach().clone()
    with torch.no_grad():
        taken.zero_()
    report |= guard.report() | {"same graph": h.grad_fn is node and h.requires_grad == before}
    report["gradient"] = grad(h, x, signed(rng, n))[0]
    weight = stale(rng, signed(rng, m, n))
    guard = Guard(w=weight)
    report["of a leaf"] = answer(weight)
    return report | guard.report()


def _snapshot_usable(answer, rng, m, n):
    x, w = leaf(signed(rng, n)), leaf(signed(rng, n))
    taken = answer(torch.sin(x).expand(m, n))
    taken[0, 0] += 1  # of an expanded tensor: elements that share memory would change together
    return {"snapshot": taken, "gradient": grad(taken @ w, w, signed(rng, m))[0]}


def _snapshot_size(answer, rng, n):
    """Bytes of storage beyond the elements; `h` is a small part of a large tensor."""
    h = leaf(signed(rng, 40, n))[7:9]
    taken = answer(h)
    return {
        "snapshot": taken,
        "bytes too many": taken.untyped_storage().nbytes() - taken.numel() * taken.element_size(),
    }


# ---------------------------------------------------------------------------------- sgd_step_


@exercise(
    "06-cut",
    facets=[
        Facet("value", 1, "p ← p − lr·p.grad：各种形状和 dtype",
              "p ← p − lr·p.grad, for all shapes and dtypes"),
        Facet("none", 0.5, "没有梯度的、冻结的参数，生成器，空列表",
              "no gradient, frozen parameters, a generator, an empty list", needs=("value",)),
        Facet("in place", 0.5, "同一块内存、同一个叶子张量，.grad 原样保留",
              "the same memory, the same leaf, and .grad as it was", needs=("value",)),
        Facet("counted", 0.5, "拿更新前的图再求导会报错，而不是悄悄出错",
              "a backward pass through the old graph is refused, not silently wrong",
              needs=("value",)),
        Facet("graph", 0.25, "更新不进计算图，下一步的梯度正确",
              "the update leaves no graph, and the next gradient is right", needs=("value",)),
        Facet("mode", 0.25, "梯度模式与调用前相同", "the gradient mode is as it was before",
              needs=("value",)),
    ],
)  # fmt: skip
def sgd_step_(answer, rng):
    m, n = sizes(rng, 2)
    lr = float(rng.uniform(0.05, 0.4))

    def step(params, lr):
        answer(params, lr)
        return [p.detach() for p in params]

    values = {
        "two parameters": ([_trained(rng, m, n), _trained(rng, n)], lr),
        "()": ([_trained(rng)], lr),
        "float32": ([_trained(rng, n, dtype=F32), _trained(rng, m)], lr),
        "transposed": ([_trained(rng, m, n, turned=True)], lr),
        "a gradient of 0": ([_trained(rng, n, scale=0), _trained(rng, n)], lr),
        "lr > 1": ([_trained(rng, m)], 1 + lr),
    }
    yield "value", ask_all(_apart(step), values)
    alone = _apart(answer)
    yield "none", _sgd_none(alone, rng, m, n, lr)
    yield "in place", attempt(_sgd_in_place, alone, rng, m, n, lr)
    yield "counted", attempt(_sgd_counted, alone, rng, m, n, lr)
    yield "graph", attempt(_sgd_graph, alone, rng, m, n, lr)
    yield "mode", ask_all(lambda *args: _mode_after(step, *args), _modes(rng, n, lr))


def _trained(rng, *shape, dtype=torch.float64, turned=False, scale=1.0):
    """A leaf with a gradient; ``turned``: a transposed one, whose gradient is contiguous."""
    p = leaf(signed(rng, *shape, dtype=dtype).T if turned else signed(rng, *shape, dtype=dtype))
    p.grad = scale * signed(rng, *p.shape, dtype=dtype)
    return p


def _sgd_none(answer, rng, m, n, lr):
    """Parameters without a gradient, or frozen, among others; and none of them at all."""
    new, frozen = leaf(signed(rng, m)), signed(rng, m, n)
    mixed = [new, frozen, _trained(rng, n), leaf(signed(rng, n)), _trained(rng, m, n)]
    ones = [_trained(rng, n), _trained(rng, m)]

    def stepped(params, given):
        answer(given, lr)
        kept = [p.grad is None for p in params], [p.requires_grad for p in params]
        return [[p.detach() for p in params], *kept]

    cases = {"list": (mixed, mixed), "generator": (ones, (p for p in ones)), "empty": ([], [])}
    return ask_all(stepped, cases)


def _sgd_in_place(answer, rng, m, n, lr):
    params = [_trained(rng, m, n), _trained(rng, n)]
    shared = [p.detach() for p in params]
    before = [(p.data_ptr(), p.grad) for p in params]
    listed = list(params)
    answer(params, lr)
    pairs = list(zip(listed, before, strict=True))
    return {
        "the list keeps its tensors": all(p is q for p, q in zip(params, listed, strict=True)),
        "same memory": all(p.data_ptr() == address for p, (address, _) in pairs),
        "leaves": all(p.is_leaf and p.requires_grad for p in listed),
        "same .grad": all(p.grad is old for p, (_, old) in pairs),
        ".grad": [p.grad for p in listed],
        "who shares the memory sees": shared,
    }


def _sgd_counted(answer, rng, m, n, lr):
    """What a graph that saved the old parameters does after the step."""
    x, w = leaf(signed(rng, n)), _trained(rng, m, n)
    y = torch.sin(w @ x)
    answer([w], lr)
    return grad(y, x, signed(rng, m))[0]


def _sgd_graph(answer, rng, m, n, lr):
    """Two steps with gradients that carry a graph themselves, then one more gradient."""
    a, w = positive(rng, m, n), leaf(positive(rng, n))
    for _ in range(2):
        w.grad = None
        torch.sin(a @ w).backward(signed(rng, m), create_graph=True)
        answer([w], lr)
    w.grad = None
    no_graph = w.grad_fn is None and w.is_leaf
    torch.sin(a @ w).backward(signed(rng, m))
    return {"no graph": no_graph, "gradient": w.grad}


def _modes(rng, n, lr):
    return {name: (name == "grad on", [_trained(rng, n)], lr) for name in ("grad on", "grad off")}


def _mode_after(call, enabled, *args):
    with torch.set_grad_enabled(enabled):
        result = call(*args)
        return {"result": result, "grad is on": torch.is_grad_enabled()}


# --------------------------------------------------------------------------------- ema_update


@exercise(
    "06-cut",
    facets=[
        Facet("value", 1, "参数：m·教师 + (1 − m)·学生", "parameters: m·teacher + (1 − m)·student"),
        Facet("buffers", 0.5, "缓冲区照学生的原样复制，dtype 不变",
              "buffers are copied as the student has them, with their dtypes", needs=("value",)),
        Facet("in place", 0.5, "教师的张量还是原来的叶子，没有计算图",
              "the teacher's tensors are the same leaves as before, without a graph",
              needs=("value",)),
        Facet("counted", 0.5, "拿更新前的图再求导会报错，而不是悄悄出错",
              "a backward pass through the old graph is refused, not silently wrong",
              needs=("value",)),
        Facet("student", 0.25, "学生和梯度模式保持原样",
              "the student and the gradient mode stay as they were", needs=("value",)),
        Facet("edges", 0.25, "共享的参数、m = 0 与 1、连续三次、之后互不相干",
              "a shared parameter, m = 0 and 1, three times in a row, nothing shared afterwards",
              needs=("value",)),
    ],
)  # fmt: skip
def ema_update(answer, rng):
    m = float(rng.uniform(0.6, 0.9))

    alone = _apart(answer)

    def updated(teacher, student, m):
        alone(teacher, student, m)
        return [p.detach() for p in teacher.parameters()]

    values = {"frozen teacher": (*_pair(rng), m), "float32": (*_pair(rng, dtype=F32), m)}
    yield "value", ask_all(updated, values)
    yield "buffers", attempt(_ema_buffers, alone, rng, m)
    kinds = {"frozen teacher": (rng, True), "trainable teacher": (rng, False)}
    yield "in place", ask_all(lambda *case: _ema_in_place(alone, *case, m), kinds)
    yield "counted", attempt(_ema_counted, alone, rng, m)
    rng = afresh(rng)
    yield "student", attempt(_ema_student, answer, rng, m)
    rng = afresh(rng)
    edges = {"m = 0": (*_pair(rng), 0.0), "m = 1": (*_pair(rng), 1.0)}
    edges["shared"] = (*_pair(rng, shared=True), m)

    def thrice(teacher, student, m):
        found = [updated(teacher, student, m) for _ in range(3)][-1]
        with torch.no_grad():
            for p in student.parameters():
                p.zero_()  # shows where the teacher uses the student's memory
        return found

    yield "edges", ask_all(thrice, edges | {"three times": (*_pair(rng), m)})


def _net(rng, dims, norm=False, shared=False, dtype=torch.float64):
    """A network (…, a) → (…, c) with drawn parameters and buffers; dims: (a, b, c)."""
    a, b, c = dims
    layers = [nn.Linear(a, b), nn.BatchNorm1d(b) if norm else nn.Tanh(), nn.Linear(b, c)]
    if shared:
        layers += [nn.Linear(c, b), nn.Linear(b, c)]
        layers[-1].weight = layers[2].weight
    net = nn.Sequential(*layers).to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(signed(rng, *p.shape))
        for buffer in net.buffers():
            whole = not buffer.is_floating_point()
            buffer.copy_(torch.tensor(rng.integers(3, 99)) if whole else positive(rng, b))
    return net


def _pair(rng, frozen=True, **kinds):
    """(teacher, student) of one kind with parameters of their own."""
    dims = sizes(rng, 3)
    teacher, student = _net(rng, dims, **kinds), _net(rng, dims, **kinds)
    teacher.requires_grad_(not frozen)
    for p in student.parameters():
        stale(rng, p)
    return teacher, student


def _ema_buffers(answer, rng, m):
    teacher, student = _pair(rng, norm=True)
    before = list(teacher.buffers())
    answer(teacher, student, m)
    with torch.no_grad():
        for buffer in student.buffers():
            buffer.zero_()
    same = all(b is old for b, old in zip(teacher.buffers(), before, strict=True))
    return {"buffers": [b.detach() for b in before], "the same tensors": same}


def _ema_in_place(answer, rng, frozen, m):
    teacher, student = _pair(rng, frozen=frozen)
    before = {name: (p, p.data_ptr()) for name, p in teacher.named_parameters()}
    answer(teacher, student, m)
    after = dict(teacher.named_parameters())
    return {
        "the same tensors": all(after[name] is p for name, (p, _) in before.items()),
        "same memory": all(p.data_ptr() == address for p, address in before.values()),
        "no graph": all(p.grad_fn is None for p in after.values()),
        "requires_grad": all(p.requires_grad is not frozen for p in after.values()),
        "no .grad": all(p.grad is None for p in after.values()),
        "values": [p.detach() for p in after.values()],
    }


def _ema_counted(answer, rng, m):
    """What a graph through the old teacher does after the update."""
    teacher, student = _pair(rng)
    x = leaf(signed(rng, 2, teacher[0].in_features))
    y = teacher(x)
    answer(teacher, student, m)
    return grad(y, x, signed(rng, *y.shape))[0]


def _ema_student(answer, rng, m):
    teacher, student = _pair(rng, norm=True)
    teacher.eval()
    weights = afresh(rng)
    versions = [t._version for t in student.state_dict(keep_vars=True).values()]
    guard = Guard(**{name.replace(".", "_"): p for name, p in student.named_parameters()})
    buffers = [b.clone() for b in student.buffers()]
    report = {}
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            answer(teacher, student, m)
            report[f"grad on: {enabled}"] = torch.is_grad_enabled()
    now = [t._version for t in student.state_dict(keep_vars=True).values()]
    return report | {
        "unchanged": all(guard.report().values()),
        "buffers unchanged": all(map(torch.equal, student.buffers(), buffers)),
        "never written to": now == versions,
        "modes unchanged": student.training and not teacher.training,
        "teacher": gist(weights, list(teacher.parameters())),
    }


# ----------------------------------------------------------------------------------- evaluate


@exercise(
    "06-cut",
    facets=[
        Facet("value", 1, "评估模式下的输出，每批一个", "outputs in evaluation mode, one a batch"),
        Facet("modes", 0.5, "每个子模块的 training 与调用前相同",
              "the training flag of every submodule is as it was before", needs=("value",)),
        Facet("grad mode", 0.5, "梯度模式与调用前相同", "the gradient mode is as it was before",
              needs=("value",)),
        Facet("usable", 0.5, "输出没有计算图，可以再参与求导",
              "the outputs carry no graph, and can be differentiated with", needs=("value",)),
        Facet("after an error", 0.5, "模型报错时，异常传出，状态恢复",
              "when the model fails, the error goes through and the modes are put back",
              needs=("value",)),
        Facet("untouched", 0.5, "参数、缓冲区、.grad、requires_grad 保持原样",
              "parameters, buffers, .grad and requires_grad stay as they were",
              needs=("value",)),
        Facet("cost", 0.5, "每批一次前向，逐批取用，不为反向保存张量",
              "one run a batch, one batch at a time, no tensor saved for a backward pass",
              needs=("value",)),
    ],
)  # fmt: skip
def evaluate(answer, rng):
    dims, alone = sizes(rng, 3), _apart(answer)
    yield "value", ask_all(alone, _evaluations(rng, dims))
    rng = afresh(rng)
    yield "modes", attempt(with_results(rng, _eval_modes), alone, rng, dims)
    cases = {name: (name == "grad on", *_task(rng, dims)) for name in ("grad on", "grad off")}
    yield "grad mode", ask_all(lambda *args: _mode_after(answer, *args), cases)
    yield "usable", attempt(_eval_usable, alone, rng, dims)
    yield "after an error", attempt(_eval_error, answer, rng, dims)
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _eval_untouched), alone, rng, dims)
    rng = afresh(rng)
    yield "cost", attempt(with_results(rng, _eval_cost), alone, rng, dims)


class _Spy(nn.Module):
    """Passes its input on, counts its runs, and fails in run number ``fail``."""

    def __init__(self, fail=None):
        super().__init__()
        self.runs, self.fail = 0, fail

    def forward(self, x):
        self.runs += 1
        if self.runs == self.fail:
            raise KeyError("the model fails")
        return x


class _Doubling(nn.Module):
    """A layer of one's own that knows a training mode: it doubles its input there."""

    def forward(self, x):
        return 2 * x if self.training else x


def _model(rng, dims, dtype=torch.float64, fail=None):
    """A network with dropout and batch norm, some of it frozen in evaluation mode already."""
    net = _net(rng, dims, norm=True, dtype=dtype)
    end = nn.Sequential(nn.Dropout(0.4), _Spy(fail), _Doubling())
    model = nn.Sequential(net, nn.Dropout(0.5), end)
    model.train()
    net[1].eval()
    model[2][1].eval()
    return model


def _batches(rng, dims, counts=(3, 5, 4), dtype=torch.float64):
    return [signed(rng, count, dims[0], dtype=dtype) for count in counts]


def _task(rng, dims, **kinds):
    return _model(rng, dims, **kinds), _batches(rng, dims, **kinds)


def _evaluations(rng, dims):
    single, doubling = _model(rng, dims), _model(rng, dims)
    doubling.register_forward_hook(lambda module, args, y: 2 * y)
    all_training = _model(rng, dims).train()
    resting = _model(rng, dims).eval()
    return {
        "three batches": _task(rng, dims),
        "all in training mode": (all_training, _batches(rng, dims)),
        "all in evaluation mode": (resting, _batches(rng, dims)),
        "float32": _task(rng, dims, dtype=F32),
        "batches of one": (single, _batches(rng, dims, (1, 1))),
        "no batch": (_model(rng, dims), []),
        "a hook": (doubling, _batches(rng, dims, (2, 3))),
    }


def _flags(model):
    return {name or "model": module.training for name, module in model.named_modules()}


def _eval_modes(answer, rng, dims):
    report = {}
    for kind in "mixed", "training", "evaluation", "only the model":
        model = _model(rng, dims)
        if kind != "mixed":
            model.train(kind != "evaluation")
        if kind == "only the model":
            model.training = False
        answer(model, _batches(rng, dims))
        report[kind] = _flags(model)
    return report


def _eval_usable(answer, rng, dims):
    model, batches = _task(rng, dims)
    outputs = answer(model, batches)
    passed_on = answer(nn.Identity(), [torch.sin(leaf(signed(rng, dims[0])))])
    w = leaf(positive(rng, dims[2]))
    mixed = [out * w for out in outputs]
    vs = [signed(rng, *y.shape) for y in mixed]
    return {
        "no graph": not any(out.requires_grad for out in outputs),
        "no graph, by a model that passes x on": not passed_on[0].requires_grad,
        "gradient": grad(mixed, w, vs)[0],
        "inference tensors": any(out.is_inference() for out in (*outputs, *passed_on)),
    }


def _eval_error(answer, rng, dims):
    model = _model(rng, dims, fail=2)
    before = _flags(model)
    try:
        answer(model, _batches(rng, dims))
        error = "no error"
    except NotImplementedError:
        raise
    except Exception as raised:
        error = type(raised).__name__
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    return {"error": error, "modes as before": _flags(model) == before, "grad is on": enabled}


def _eval_untouched(answer, rng, dims):
    model, batches = _task(rng, dims)
    model.train()
    for p in model.parameters():
        stale(rng, p)
    next(model.parameters()).requires_grad_(False)
    named = model.state_dict(keep_vars=True)
    guard = Guard(**{name.replace(".", "_"): t for name, t in named.items()})
    inputs = Guard(**{f"batch{i}": x for i, x in enumerate(batches)})
    versions = [t._version for t in named.values()]
    answer(model, batches)
    return {
        "changed": [what for what, kept in guard.report().items() if not kept],
        "never written to": [t._version for t in named.values()] == versions,
        "batches unchanged": all(inputs.report().values()),
    }


@contextmanager
def _saving():
    """A list of the tensors that are saved for a backward pass while the context is open."""
    saved = []

    def pack(tensor):
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def _eval_cost(answer, rng, dims):
    model, batches = _task(rng, dims)
    spy, lead = model[2][1], []

    def stream():
        for k, x in enumerate(batches):
            lead.append(k - spy.runs)
            yield x

    with _saving() as saved:
        answer(model, stream())
    return {
        "runs": spy.runs,
        "batches waiting": max(lead, default=None),
        "tensors saved for a backward pass": len(saved),
    }
