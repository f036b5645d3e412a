"""Answers to assignment 04: the wrong ones that people give, and right ones unlike the source's."""

import torch
from torch.autograd import grad
from torch.autograd.graph import get_gradient_edge

from . import alternative, misconception

# ------------------------------------------------------------------------------- grad_or_zero


def _with_graph(ys, vs):
    """The ys that carry a graph, and their vs (None for each where there are no vs)."""
    vs = [None] * len(ys) if vs is None else vs
    pairs = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    return [y for y, _ in pairs], [v for _, v in pairs]


def _or_none(ys, xs, vs):
    """The gradients, None for an x that is unused."""
    ys, vs = _with_graph(ys, vs)
    return grad(ys, xs, vs, allow_unused=True)


def _or_alarm(grads):
    if all(g is None for g in grads):
        raise ValueError("the graph has been cut")
    return grads


def _filled(xs, grads):
    return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, grads, strict=True)]


@alternative("grad_or_zero")
def one_scalar_product(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    total = torch.zeros((), requires_grad=True)
    for y, v in zip(ys, vs, strict=True):
        if v is None and y.numel() != 1:
            raise ValueError("None stands for 1 at a y of one element only")
        total = total + (y if v is None else v * y).sum()
    return tuple(_filled(xs, _or_alarm(grad(total, xs, allow_unused=True))))


@alternative("grad_or_zero")
def borrowed_grads(ys, xs, vs=None):
    before = [x.grad for x in xs]
    ys, vs = _with_graph(ys, vs)
    for x in xs:
        x.grad = None
    try:
        if ys:
            torch.autograd.backward(ys, vs, inputs=xs)
        return _filled(xs, _or_alarm([x.grad for x in xs]))
    finally:
        for x, g in zip(xs, before, strict=True):
            x.grad = g


@alternative("grad_or_zero")
def by_gradient_edges(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    edges = [get_gradient_edge(x) for x in xs]
    return _filled(xs, _or_alarm(grad(ys, edges, vs, allow_unused=True)))


@alternative("grad_or_zero")
def reachable_nodes_first(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    seen, waiting = set(), [get_gradient_edge(y) for y in ys]
    while waiting:
        edge = waiting.pop()
        if edge[0] is not None and (edge[0], edge[1]) not in seen:
            seen.add((edge[0], edge[1]))
            waiting += edge[0].next_functions
    if not any((e.node, e.output_nr) in seen for e in map(get_gradient_edge, xs)):
        raise ValueError("no way leads from the outputs to an input")
    return grad(ys, xs, vs, materialize_grads=True)


@misconception(
    "grad_or_zero",
    zh="你一律补零，这正是 S0-29 的办法：所有的 x 都没有用到时，你的函数也不作声。",
    en="You fill in zeros always, as S0-29 advises: your function is silent even where all xs are "
    "unused.",
)
def zeros_always(ys, xs, vs=None):
    return _filled(xs, _or_none(ys, xs, vs))


@misconception(
    "grad_or_zero",
    zh="全都没有用到时，你只靠 torch 自己报错：y 连着别的输入时它不报错，你给的就是零。",
    en="Where all are unused you leave the error to torch: if y hangs on other inputs there is "
    "none, and you give zeros.",
)
def zeros_unless_torch_refuses(ys, xs, vs=None):
    vs = [None] * len(ys) if vs is None else vs
    if len(vs) != len(ys):
        raise ValueError("one v for every y")
    return _filled(xs, grad(ys, xs, vs, allow_unused=True))


@misconception(
    "grad_or_zero",
    zh="你只看 y.requires_grad：y 带着计算图，不等于那个图里有 x。",
    en="You look at y.requires_grad only: that y has a graph does not mean that there is an x in "
    "it.",
)
def graph_taken_for_use(ys, xs, vs=None):
    if not any(y.requires_grad for y in ys):
        raise ValueError("no y has a graph")
    return zeros_always(ys, xs, vs)


@misconception(
    "grad_or_zero",
    zh="只要有一个 x 没有用到，你就报错：题目要的是一部分没有用到时给零，全都没有用到才报错。",
    en="You raise an error as soon as one x is unused: where only some are, zeros are asked for; "
    "the error is for the case that all are.",
)
def alarm_at_the_first(ys, xs, vs=None):
    grads = _or_none(ys, xs, vs)
    if any(g is None for g in grads):
        raise ValueError("an input is unused")
    return grads


@misconception(
    "grad_or_zero",
    zh="你只检查了第一个 x：它没有用到时，别的 x 可能用到了。",
    en="You check the first x only: where that is unused, another may be used.",
)
def alarm_for_the_first_x(ys, xs, vs=None):
    grads = _or_none(ys, xs, vs)
    if grads[0] is None:
        raise ValueError("the graph has been cut")
    return _filled(xs, grads)


@misconception(
    "grad_or_zero",
    zh="你对每个 y 都要求它用到某个 x：一个 y 与这些 x 无关是允许的，只要别的 y 用到了。",
    en="You want every y to use some x: a y that has nothing to do with these xs is allowed, as "
    "long as another y uses one.",
)
def alarm_for_every_y(ys, xs, vs=None):
    ys_, vs_ = _with_graph(ys, vs)
    if len(ys_) < len(ys):
        raise ValueError("a y has no graph")
    for y, v in zip(ys_, vs_, strict=True):
        _or_alarm(grad(y, xs, v, retain_graph=True, allow_unused=True))
    return zeros_always(ys, xs, vs)


@misconception(
    "grad_or_zero",
    zh="你从梯度的数值判断：算出来的零是正当的结果，只有 None 才说明没有用到。",
    en="You judge by the numbers: a zero that was computed is a proper result, and only None says "
    "that an input is unused.",
)
def alarm_for_zeros(ys, xs, vs=None):
    grads = zeros_always(ys, xs, vs)
    if not any(g.any() for g in grads):
        raise ValueError("all gradients are zero")
    return grads


@misconception(
    "grad_or_zero",
    zh="没有用到的 x 得到了 None：题目要的是零，形状和 dtype 与它相同。",
    en="An x that is unused gets None: zeros are asked for, of its shape and dtype.",
)
def none_for_some(ys, xs, vs=None):
    return _or_alarm(_or_none(ys, xs, vs))


@misconception(
    "grad_or_zero",
    zh="补的零没有照着 x 的 dtype：看看没有用到的、float32 的 x。",
    en="The zeros you fill in do not have the dtype of x: look at an unused x of float32.",
)
def zeros_in_default_dtype(ys, xs, vs=None):
    grads = none_for_some(ys, xs, vs)
    return [torch.zeros(x.shape) if g is None else g for x, g in zip(xs, grads, strict=True)]


@misconception(
    "grad_or_zero",
    zh="补的零只有一个数：它的形状要和 x 相同。",
    en="The zero you fill in is a single number: it should have the shape of x.",
)
def zero_without_a_shape(ys, xs, vs=None):
    grads = none_for_some(ys, xs, vs)
    return [x.new_zeros(()) if g is None else g for x, g in zip(xs, grads, strict=True)]


@misconception(
    "grad_or_zero",
    zh="全都没有用到时，你让 torch 的 RuntimeError 传了出去：题目要的是 ValueError。",
    en="Where all are unused you let torch's RuntimeError through: the task asks for ValueError.",
)
def runtime_error_passed_on(ys, xs, vs=None):
    grads = _or_none(ys, xs, vs)
    if all(g is None for g in grads):
        raise RuntimeError("The differentiated Tensor appears to not have been used in the graph.")
    return _filled(xs, grads)


@misconception(
    "grad_or_zero",
    zh="有一个 y 不带计算图，你的函数就报错，而且不是 ValueError：先把这样的 y 连同它的 v 拿掉。",
    en="One y without a graph and your function fails, and not with ValueError: take such a y out "
    "first, and its v with it.",
)
def fails_at_a_constant(ys, xs, vs=None):
    vs = [None] * len(ys) if vs is None else vs
    if len(vs) != len(ys):
        raise ValueError("one v for every y")
    return _filled(xs, _or_alarm(grad(ys, xs, vs, allow_unused=True)))


@misconception(
    "grad_or_zero",
    zh="没有 v 时你都当成全 1：单元素的 y 可以，别处等于替调用者选了一个 v。",
    en="Where there is no v you take ones: that is right for a y of one element, but elsewhere it "
    "chooses a v for the caller.",
)
def ones_for_missing_vs(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    vs = [torch.ones_like(y) if v is None else v for y, v in zip(ys, vs, strict=True)]
    return _filled(xs, _or_alarm(grad(ys, xs, vs, allow_unused=True)))


@misconception(
    "grad_or_zero",
    zh="v 为 None 的 y 被你略去了：None 的意思是 1，不是 0。",
    en="You leave out a y whose v is None: None stands for 1, not for 0.",
)
def none_taken_for_zero(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    vs = [torch.zeros_like(y) if v is None else v for y, v in zip(ys, vs, strict=True)]
    return _filled(xs, _or_alarm(grad(ys, xs, vs, allow_unused=True)))


@misconception(
    "grad_or_zero",
    zh="你拿掉了不带计算图的 y，却留下了它的 v：后面的 y 和 v 错开了一位。",
    en="You took out a y without a graph but kept its v: the ys and vs behind it are out of step.",
)
def vs_out_of_step(ys, xs, vs=None):
    vs = [None] * len(ys) if vs is None else vs
    if len(vs) != len(ys):
        raise ValueError("one v for every y")
    ys = [y for y in ys if y.requires_grad]
    return _filled(xs, _or_alarm(grad(ys, xs, vs[: len(ys)], allow_unused=True)))


@misconception(
    "grad_or_zero",
    zh="v 没有起作用：你对每个 y 的和求导。",
    en="The vs have no effect: you differentiate the sum of every y.",
)
def vs_without_effect(ys, xs, vs=None):
    ys, _ = _with_graph(ys, vs)
    return _filled(xs, _or_alarm(grad([y.sum() for y in ys], xs, allow_unused=True)))


@misconception(
    "grad_or_zero",
    zh="v 太多时你没有作声：torch 会忽略多余的 v，要自己比较个数。",
    en="One v too many passes in silence: torch ignores it, so compare the numbers yourself.",
)
def too_many_vs_ignored(ys, xs, vs=None):
    vs = [None] * len(ys) if vs is None else list(vs)
    if len(vs) < len(ys):
        raise ValueError("one v for every y")
    return _filled(xs, _or_alarm(_or_none(ys, xs, vs[: len(ys)])))


@misconception(
    "grad_or_zero",
    zh="只有第一个 y 起了作用：结果是对所有 y 的 Σ。",
    en="Only the first y has an effect: the result is a Σ over all ys.",
)
def first_y_only(ys, xs, vs=None):
    return _filled(xs, _or_alarm(_or_none(ys[:1], xs, vs if vs is None else vs[:1])))


@misconception(
    "grad_or_zero",
    zh="你用 backward 再读 .grad：它加在旧的 .grad 上，改变了调用者的张量，也不写不是叶子的 x。",
    en="You called backward and read .grad: it adds to what .grad held, changes the caller's "
    "tensors, and does not write to an x that is no leaf.",
)
def backward_then_grad(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    if ys:
        torch.autograd.backward(ys, vs)
    return _filled(xs, _or_alarm([x.grad for x in xs]))


@misconception(
    "grad_or_zero",
    zh="数值都对，但每个 x 都做了一次反向传播：一次 grad 就能对全部 xs 回答 None 或梯度。",
    en="The numbers are right, but every x takes a backward pass of its own: one grad answers for "
    "all xs, with None or a gradient.",
)
def one_pass_for_every_x(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    found = [grad(ys, x, vs, retain_graph=True, allow_unused=True)[0] for x in xs]
    return _filled(xs, _or_alarm(found))


@misconception(
    "grad_or_zero",
    zh="数值都对，但每个 y 都做了一次反向传播：一次 grad 就接收全部的 ys 和 vs。",
    en="The numbers are right, but every y takes a backward pass of its own: one grad accepts all "
    "ys and vs.",
)
def one_pass_for_every_y(ys, xs, vs=None):
    total = [None] * len(xs)
    for y, v in zip(*_with_graph(ys, vs), strict=True):
        found = grad(y, xs, v, retain_graph=True, allow_unused=True)
        total = [
            g if t is None else t if g is None else t + g for t, g in zip(total, found, strict=True)
        ]
    return _filled(xs, _or_alarm(total))


@misconception(
    "grad_or_zero",
    zh="你补的零要求梯度：它们是结果，不是新的叶子。",
    en="The zeros you fill in ask for gradients: they are results, not new leaves.",
)
def zeros_that_ask_for_gradients(ys, xs, vs=None):
    grads = none_for_some(ys, xs, vs)
    zeros = [torch.zeros_like(x, requires_grad=True) for x in xs]
    return [z if g is None else g for z, g in zip(zeros, grads, strict=True)]


@misconception(
    "grad_or_zero",
    zh="结果还带着计算图：这里不求高阶导数，用不着 create_graph。",
    en="Your results carry a graph: no higher derivative is asked for, and no create_graph.",
)
def results_with_a_graph(ys, xs, vs=None):
    ys, vs = _with_graph(ys, vs)
    return _filled(xs, _or_alarm(grad(ys, xs, vs, create_graph=True, allow_unused=True)))


# ------------------------------------------------------------------------------ backward_like


def _write(leaf, g):
    """What backward does to the .grad of a leaf that is used."""
    if leaf.grad is None:
        leaf.grad = g.clone()
    else:
        leaf.grad += g


@alternative("backward_like")
def added_to_zeros(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            if leaf.grad is None:
                leaf.grad = torch.zeros_like(leaf)
            leaf.grad.add_(g)


@alternative("backward_like")
def gradient_of_the_product(y, leaves, v=None):
    if v is None and y.numel() != 1:
        raise RuntimeError("v may be left out at a y of one element only")
    if v is not None and v.shape != y.shape:
        raise RuntimeError("v must have the shape of y")
    product = y.sum() if v is None else (v.detach() * y).sum()
    for leaf, g in zip(leaves, grad(product, leaves, allow_unused=True), strict=True):
        if g is not None:
            _write(leaf, g)


@alternative("backward_like")
def copied_into_a_buffer(y, leaves, v=None):
    grads = grad(y, dict(enumerate(leaves)), v, allow_unused=True)
    for i, g in grads.items():
        if g is not None and leaves[i].grad is not None:
            torch.add(leaves[i].grad, g, out=leaves[i].grad)
        elif g is not None:
            leaves[i].grad = torch.empty_like(leaves[i]).copy_(g).detach()


@misconception(
    "backward_like",
    zh="你覆盖了 .grad：backward 把梯度加到已有的数上。",
    en="You overwrite .grad: backward adds to what is there.",
)
def overwrites(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            leaf.grad = g.clone()


@misconception(
    "backward_like",
    zh="你先把 .grad 清零：那是 zero_grad 的事，backward 只加不清，没有用到的叶子更不该动。",
    en="You set .grad to zero first: that is what zero_grad is for; backward only adds, and leaves "
    "that are unused are none of its business.",
)
def zeroes_first(y, leaves, v=None):
    for leaf in leaves:
        if leaf.grad is not None:
            leaf.grad.zero_()
    added_to_zeros(y, leaves, v)


@misconception(
    "backward_like",
    zh="你把 grad 返回的张量直接当成 .grad：它可能就是 v，也可能是两个叶子共有的，甚至步长是 0。",
    en="You take what grad returns for .grad: it may be v itself, or be shared by two leaves, or "
    "even have a stride of 0.",
)
def alias_for_grad(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            if leaf.grad is None:
                leaf.grad = g
            else:
                leaf.grad += g


@misconception(
    "backward_like",
    zh="contiguous 不一定复制：张量已经连续时，它返回的就是同一个张量。",
    en="contiguous does not always copy: of a tensor that is contiguous already it returns the "
    "very same.",
)
def contiguous_is_no_copy(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            if leaf.grad is None:
                leaf.grad = g.contiguous()
            else:
                leaf.grad += g


@misconception(
    "backward_like",
    zh="你只防着 .grad 就是 v：两个叶子的 .grad 也可能是同一个张量。",
    en="You guard only against .grad being v: the .grad of two leaves may be one tensor, too.",
)
def copies_v_only(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            _write(leaf, g) if g is v or leaf.grad is not None else setattr(leaf, "grad", g)


@misconception(
    "backward_like",
    zh="累积时你造了一个新张量：.grad 应当一直是同一个对象，原地改变。",
    en="To accumulate you make a new tensor: .grad should stay one and the same object, changed in "
    "place.",
)
def new_tensor_for_the_sum(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            leaf.grad = g.clone() if leaf.grad is None else leaf.grad + g


@misconception(
    "backward_like",
    zh="没有用到的叶子得到了零：None 的意思是没有人写过，优化器会区别对待。",
    en="A leaf that is unused gets zeros: None means that nobody wrote there, and optimisers know "
    "the difference.",
)
def zeros_for_unused_leaves(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, materialize_grads=True), strict=True):
        _write(leaf, g)


@misconception(
    "backward_like",
    zh="没有用到的叶子，你把它的 .grad 换成了 None：里面原有的梯度就丢了。",
    en="You set the .grad of an unused leaf to None: what it held is lost.",
)
def unused_reset_to_none(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is None:
            leaf.grad = None
        else:
            _write(leaf, g)


@misconception(
    "backward_like",
    zh="你吞掉了报错：v 不对，或者被保存张量已经释放，调用者都不会知道。",
    en="You swallow the errors: whether v is wrong or the saved tensors were freed, the caller "
    "does not learn it.",
)
def errors_swallowed(y, leaves, v=None):
    try:
        added_to_zeros(y, leaves, v)
    except RuntimeError:
        return


@misconception(
    "backward_like",
    zh="有一个叶子没有用到，你的函数就报错：backward 在这里并不报错，只是不写它。",
    en="One leaf that is unused and your function fails: backward raises no error here, it just "
    "does not write to it.",
)
def refuses_unused_leaves(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v), strict=True):
        _write(leaf, g)


@misconception(
    "backward_like",
    zh="遇到第一个没有用到的叶子你就停下了：后面的叶子还等着梯度。",
    en="You stop at the first leaf that is unused: the leaves behind it still wait for theirs.",
)
def stops_at_an_unused_leaf(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is None:
            return
        _write(leaf, g)


@misconception(
    "backward_like",
    zh=".grad 是 None 的叶子什么也没有得到：第一次反向传播之前，每个 .grad 都是 None。",
    en="A leaf whose .grad is None gets nothing: before the first backward pass every .grad is "
    "None.",
)
def skips_empty_grads(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None and leaf.grad is not None:
            leaf.grad += g


@misconception(
    "backward_like",
    zh="你返回了梯度，却没有写进 .grad：那是 grad 的做法。",
    en="You return the gradients instead of writing to .grad: that is what grad does.",
)
def returns_gradients(y, leaves, v=None):
    return grad(y, leaves, v, allow_unused=True)


@misconception(
    "backward_like",
    zh=".grad 写对了，但你还返回了梯度：backward 什么也不返回。",
    en=".grad is right, but you return the gradients as well: backward returns nothing.",
)
def writes_and_returns(y, leaves, v=None):
    grads = grad(y, leaves, v, allow_unused=True)
    for leaf, g in zip(leaves, grads, strict=True):
        if g is not None:
            _write(leaf, g)
    return grads


@misconception(
    "backward_like",
    zh="你调用了 backward 本身：这道题要用 torch.autograd.grad 把它写出来。",
    en="You call backward itself: the exercise is to write it with torch.autograd.grad.",
)
def backward_itself(y, leaves, v=None):
    torch.autograd.backward(y, v, inputs=list(leaves))


@misconception(
    "backward_like",
    zh="v 没有起作用：你对 y 的和求导，v 成了全 1。",
    en="v has no effect: you differentiate the sum of y, as if v were ones.",
)
def v_without_effect(y, leaves, v=None):
    added_to_zeros(y.sum(), leaves)


@misconception(
    "backward_like",
    zh="没有 v 时你用了全 1：y 有多个元素时，backward 会报错，而不是替调用者选一个 v。",
    en="Without v you take ones: for a y of several elements backward raises an error and does not "
    "choose a v for the caller.",
)
def ones_without_v(y, leaves, v=None):
    added_to_zeros(y, leaves, torch.ones_like(y) if v is None else v)


@misconception(
    "backward_like",
    zh="v * y 会广播：形状不对的 v 也被接受了。",
    en="v * y broadcasts: a v of the wrong shape is accepted, too.",
)
def broadcast_product(y, leaves, v=None):
    added_to_zeros(y if v is None else (v.detach() * y).sum(), leaves)


@misconception(
    "backward_like",
    zh="你保留了被保存张量：backward 默认会释放它们，第二次应当报错。",
    en="You keep the saved tensors: backward frees them by default, and a second call should fail.",
)
def saved_tensors_kept(y, leaves, v=None):
    grads = grad(y, leaves, v, retain_graph=True, allow_unused=True)
    for leaf, g in zip(leaves, grads, strict=True):
        if g is not None:
            _write(leaf, g)


@misconception(
    "backward_like",
    zh="每个叶子都做了一次反向传播：一次 grad 就能求出全部梯度。",
    en="Every leaf takes a backward pass of its own: one grad gives all gradients.",
)
def one_pass_for_every_leaf(y, leaves, v=None):
    for i, leaf in enumerate(leaves):
        last = i == len(leaves) - 1
        (g,) = grad(y, leaf, v, retain_graph=not last, allow_unused=True)
        if g is not None:
            _write(leaf, g)


@misconception(
    "backward_like",
    zh=".grad 带上了计算图：没有 create_graph 时，backward 写的是普通的数。",
    en="Your .grad carries a graph: without create_graph, backward writes plain numbers.",
)
def grad_with_a_graph(y, leaves, v=None):
    grads = grad(y, leaves, v, create_graph=True, retain_graph=False, allow_unused=True)
    for leaf, g in zip(leaves, grads, strict=True):
        if g is not None:
            _write(leaf, g)


@misconception(
    "backward_like",
    zh="新的 .grad 没有照着叶子的 dtype：看看 float32 的叶子。",
    en="A new .grad does not have the dtype of its leaf: look at a leaf of float32.",
)
def grad_in_default_dtype(y, leaves, v=None):
    for leaf, g in zip(leaves, grad(y, leaves, v, allow_unused=True), strict=True):
        if g is not None:
            if leaf.grad is None:
                leaf.grad = torch.zeros(leaf.shape)
            leaf.grad += g


# ----------------------------------------------------------------------------- grad_wrt_slice


@alternative("grad_wrt_slice")
def whole_around_the_part(f, x, i):
    part = x.detach()[i].clone().requires_grad_()
    whole = x.detach().clone()
    whole[i] = part
    return grad(f(whole), part)[0]


@alternative("grad_wrt_slice")
def shift_of_the_part(f, x, i):
    shift = torch.zeros_like(x.detach()[i]).requires_grad_()
    whole = x.detach().clone()
    whole[i] += shift
    return grad(f(whole), shift)[0]


@alternative("grad_wrt_slice")
def backward_into_a_fresh_leaf(f, x, i):
    fresh = x.detach().clone().requires_grad_()
    f(fresh).backward(inputs=[fresh])
    return fresh.grad[i].clone()


@alternative("grad_wrt_slice")
def chosen_by_position(f, x, i):
    fresh = x.detach().clone().requires_grad_()
    positions = torch.arange(x.numel()).reshape(x.shape)[i]
    return grad(f(fresh), fresh)[0].flatten()[positions]


def _all_of_x(f, x, **options):
    """The gradient of f with respect to all of x."""
    x = x.detach().requires_grad_()
    return grad(f(x), x, **options)[0]


@misconception(
    "grad_wrt_slice",
    zh="x[i] 是一个新节点：f(x) 没有经过它，不管你在之前还是之后取它。",
    en="x[i] is a new node: f(x) does not pass through it, whether you take it before or after.",
)
def slice_as_input(f, x, i):
    x = x.detach().requires_grad_()
    part = x[i]
    return grad(f(x), part)[0]


@misconception(
    "grad_wrt_slice",
    zh="你用 allow_unused 关掉了报错：报错说的是实话，x[i] 没有用到，所以你得到的是 None。",
    en="You switched the error off with allow_unused: it told the truth, x[i] was not used, and so "
    "you get None.",
)
def slice_with_allow_unused(f, x, i):
    x = x.detach().requires_grad_()
    part = x[i]
    return grad(f(x), part, allow_unused=True)[0]


@misconception(
    "grad_wrt_slice",
    zh="你用 materialize_grads 关掉了报错：结果永远是零，因为 f(x) 不经过 x[i] 这个新节点。",
    en="You switched the error off with materialize_grads: the result is always zero, since f(x) "
    "does not pass through the new node x[i].",
)
def slice_with_materialized_zeros(f, x, i):
    x = x.detach().requires_grad_()
    part = x[i]
    return grad(f(x), part, materialize_grads=True)[0]


@misconception(
    "grad_wrt_slice",
    zh="你只把 x[i] 交给了 f：f 要的是整个 x，梯度也取决于其余的元素。",
    en="You hand only x[i] to f: it wants all of x, and the gradient depends on the other "
    "elements, too.",
)
def function_of_the_part(f, x, i):
    return _all_of_x(f, x.detach()[i].clone())


@misconception(
    "grad_wrt_slice",
    zh="你把 x 的其余部分换成了零：梯度要在原来的点上求。",
    en="You replaced the rest of x by zeros: the gradient is to be taken at the point given.",
)
def zeros_around_the_part(f, x, i):
    part = x.detach()[i].clone().requires_grad_()
    whole = torch.zeros_like(x)
    whole[i] = part
    return grad(f(whole), part)[0]


@misconception(
    "grad_wrt_slice",
    zh="你返回的是对整个 x 的梯度：只要 x[i] 的那一部分。",
    en="You return the gradient with respect to all of x: only the part for x[i] is wanted.",
)
def gradient_of_all(f, x, i):
    return _all_of_x(f, x)


@misconception(
    "grad_wrt_slice",
    zh="你保留了 x 的形状，别处填零：结果的形状要与 x[i] 相同。",
    en="You keep the shape of x, with zeros elsewhere: the result should have the shape of x[i].",
)
def zeros_elsewhere(f, x, i):
    g = _all_of_x(f, x)
    kept = torch.zeros_like(g)
    kept[i] = g[i]
    return kept


@misconception(
    "grad_wrt_slice",
    zh="你先把梯度压平再取：索引 i 说的是 x 本来的形状。",
    en="You lay the gradient flat before you index it: i refers to the shape that x has.",
)
def index_into_the_flat(f, x, i):
    return _all_of_x(f, x).flatten()[i]


@misconception(
    "grad_wrt_slice",
    zh="结果被压平了：它的形状要与 x[i] 相同，看看 i 选中一块的情形。",
    en="Your result is flat: it should have the shape of x[i]; look at an i that chooses a block.",
)
def flat_result(f, x, i):
    return _all_of_x(f, x)[i].flatten()


@misconception(
    "grad_wrt_slice",
    zh="你去掉了长度为 1 的维度：x[1:2] 有这样一维，结果也要有。",
    en="You dropped a dimension of length 1: x[1:2] has one, and so should the result.",
)
def squeezed_result(f, x, i):
    return _all_of_x(f, x)[i].squeeze()


@misconception(
    "grad_wrt_slice",
    zh="你只取了第一维：索引可以是元组，也可以选中不止一行。",
    en="You index the first dimension only: an index may be a tuple, and may choose several rows.",
)
def first_dimension_only(f, x, i):
    return _all_of_x(f, x)[i[0] if isinstance(i, tuple) else i]


@misconception(
    "grad_wrt_slice",
    zh="f 没有用到 x 时你给了零：图断了也没有人知道，这里要报错。",
    en="Where f does not use x you give zeros: nobody learns that the graph was cut; this should "
    "be an error.",
)
def zeros_for_a_cut_graph(f, x, i):
    x = x.detach().requires_grad_()
    y = f(x)
    if not y.requires_grad:
        return torch.zeros_like(x)[i]
    return grad(y, x, materialize_grads=True)[0][i]


@misconception(
    "grad_wrt_slice",
    zh="你假定 x 已经要求梯度：调用者给的多半是普通张量。",
    en="You take it that x asks for gradients: callers mostly give plain tensors.",
)
def x_as_it_comes(f, x, i):
    return grad(f(x), x)[0][i]


@misconception(
    "grad_wrt_slice",
    zh="你改动了调用者的 x，又用 backward 写了 .grad，连 f 里的权重也得到了梯度。",
    en="You changed the caller's x and let backward write to .grad; even the weights inside f got "
    "a gradient.",
)
def backward_on_x(f, x, i):
    x.requires_grad_()
    f(x).backward()
    return x.grad[i]


@misconception(
    "grad_wrt_slice",
    zh="x 是副本，可 f 里的权重不是：backward 把梯度累积到每个叶子，看看 w.grad。",
    en="x is a copy, but the weights inside f are not: backward accumulates into every leaf; look "
    "at w.grad.",
)
def backward_into_weights(f, x, i):
    fresh = x.detach().clone().requires_grad_()
    f(fresh).backward()
    return fresh.grad[i]


@misconception(
    "grad_wrt_slice",
    zh="结果还带着计算图：这里不求高阶导数。",
    en="Your result carries a graph: no higher derivative is asked for here.",
)
def slice_with_a_graph(f, x, i):
    return _all_of_x(f, x, create_graph=True)[i]


@misconception(
    "grad_wrt_slice",
    zh="你把 x 重新造成了一个新张量，dtype 丢了：看看 float32 的 x。",
    en="You made x anew and lost its dtype: look at an x of float32.",
)
def x_in_default_dtype(f, x, i):
    return _all_of_x(f, x.detach().to(torch.get_default_dtype()))[i]


@misconception(
    "grad_wrt_slice",
    zh="你写进了调用者的 x：detach 不复制，whole 与 x 共享存储，先 clone 再写。",
    en="You write into the caller's x: detach does not copy, whole and x share storage; clone "
    "before you write.",
)
def whole_shares_storage(f, x, i):
    part = x.detach()[i].clone().requires_grad_()
    whole = x.detach()
    whole[i] = part
    return grad(f(whole), part)[0]


@misconception(
    "grad_wrt_slice",
    zh="你逐个元素求导：每个元素都运行一次 f、反向一次，空切片时又没有东西可叠。",
    en="You go element by element: each one takes a run of f and a backward pass, and for an empty "
    "slice there is nothing to stack.",
)
def element_by_element(f, x, i):
    positions = torch.arange(x.numel()).reshape(x.shape)[i]
    found = []
    for k in positions.flatten().tolist():
        flat = x.detach().flatten().clone()
        one = flat[k].clone().requires_grad_()
        flat[k] = one
        found += grad(f(flat.reshape(x.shape)), one)
    return torch.stack(found).reshape(positions.shape)


@misconception(
    "grad_wrt_slice",
    zh="这是差分近似：位数只有大约一半，而且每个元素都要运行 f。",
    en="These are finite differences: they have about half of the digits, and run f for every "
    "element.",
)
def differences(f, x, i):
    x, h = x.detach().clone(), 1e-6
    g = torch.zeros_like(x)
    for k in range(x.numel()):
        step = torch.zeros(x.numel(), dtype=x.dtype)
        step[k] = h
        step = step.reshape(x.shape)
        slope = (f(x + step) - f(x - step)).detach().reshape(()) / (2 * h)
        g.view(-1)[k] = slope
    return g[i]


# ------------------------------------------------------------------------ predict_second_call


def _leads_to(root, leaves):
    """The nodes on the ways from ``root`` to the given leaves, ends included."""
    found = {}

    def visit(node):
        if node not in found:
            found[node] = any(node is get_gradient_edge(x).node for x in leaves)
            for child, _ in node.next_functions:
                if child is not None:
                    found[node] |= visit(child)
        return found[node]

    visit(root)
    return {node for node, leads in found.items() if leads}


def _has_saved(node):
    """Whether a node has saved tensors, alone or in a tuple."""
    values = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
    flat = [t for value in values for t in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(t, torch.Tensor) for t in flat)


class _Story:
    """What a case is about: nodes executed in each call, those with saved tensors, the inputs."""

    def __init__(self, f, xs, first, second):
        leaves = [x.detach().requires_grad_() for x in xs]
        self.y = f(*leaves)
        self.root = self.y.grad_fn
        self.all = _leads_to(self.root, leaves)
        self.first, self.second = (
            _leads_to(self.root, [leaves[i] for i in chosen]) for chosen in (first, second)
        )
        self.saved = {node for node in self.all if _has_saved(node)}
        self.unused = any(get_gradient_edge(leaves[i]).node not in self.all for i in second)


def _kept(options):
    """Whether the first call keeps saved tensors: retain_graph, by default as create_graph is."""
    kept = options.get("retain_graph")
    return options.get("create_graph", False) if kept is None else kept


def _by_rule(f, xs, first, second, options, fails):
    """A prediction in which ``fails(story)`` says whether a graph that is not kept has failed."""
    story = _Story(f, xs, first, second)
    if story.unused:
        return "unused"
    return "ok" if _kept(options) or not fails(story) else "freed"


@alternative("predict_second_call")
def by_the_rule(f, xs, first, second, options):
    rule = lambda s: s.first & s.second & s.saved  # noqa: E731
    return _by_rule(f, xs, first, second, options, rule)


@alternative("predict_second_call")
def tried_with_backward(f, xs, first, second, options):
    leaves = [x.detach().clone().requires_grad_() for x in xs]
    y = f(*leaves)
    known = {name: options[name] for name in ("retain_graph", "create_graph") if name in options}
    y.backward(inputs=[leaves[i] for i in first], **known)
    for leaf in leaves:
        leaf.grad = None
    try:
        y.backward(inputs=[leaves[i] for i in second])
    except RuntimeError:
        return "freed"
    return "unused" if any(leaves[i].grad is None for i in second) else "ok"


@alternative("predict_second_call")
def tried_with_allow_unused(f, xs, first, second, options):
    leaves = [x.detach().requires_grad_() for x in xs]
    y = f(*leaves)
    grad(y, [leaves[i] for i in first], **options)
    try:
        grads = grad(y, [leaves[i] for i in second], allow_unused=True)
    except RuntimeError:
        return "freed"
    return "unused" if None in grads else "ok"


@misconception(
    "predict_second_call",
    zh="你认为第二次总会报错：没有保存张量的节点可以反复执行（S0-23、S1-10 也这样说错了）。",
    en="You take it that a second call always fails: nodes without saved tensors can be executed "
    "again and again (S0-23 and S1-10 get it wrong like this).",
)
def second_always_fails(f, xs, first, second, options):
    return "freed"


@misconception(
    "predict_second_call",
    zh="你认为第二次从不报错：第一次之后，被保存张量默认会释放。",
    en="You take it that a second call never fails: after the first, saved tensors are freed by "
    "default.",
)
def second_never_fails(f, xs, first, second, options):
    return "ok"


@misconception(
    "predict_second_call",
    zh="你照 S4-18 说的，只看有没有保留图：先问哪些节点要执行第二次，它们有没有保存张量。",
    en="As S4-18 does, you look only at whether the graph is kept: ask first which nodes are "
    "executed again, and whether they saved a tensor.",
)
def fails_unless_retained(f, xs, first, second, options):
    return _by_rule(f, xs, first, second, options, lambda s: True)


@misconception(
    "predict_second_call",
    zh="图里有被保存张量还不够：要看带着它的节点是不是两次都要执行。",
    en="A saved tensor somewhere in the graph is not enough: ask whether the node that has it is "
    "executed in both calls.",
)
def any_saved_tensor(f, xs, first, second, options):
    return _by_rule(f, xs, first, second, options, lambda s: s.saved)


@misconception(
    "predict_second_call",
    zh="你只看了 y 自己的节点：要沿着 next_functions 一直看到输入。",
    en="You look at the node of y alone: follow next_functions all the way down to the inputs.",
)
def root_alone(f, xs, first, second, options):
    return _by_rule(f, xs, first, second, options, lambda s: s.root in s.saved)


@misconception(
    "predict_second_call",
    zh="你只沿着 next_functions 的第一项走：有几个输入的节点还有别的路。",
    en="You follow the first of next_functions only: a node with several inputs has other ways, "
    "too.",
)
def first_way_only(f, xs, first, second, options):
    def rule(story):
        node, chain = story.root, set()
        while node is not None:
            chain.add(node)
            node = node.next_functions[0][0] if node.next_functions else None
        return story.first & story.second & story.saved & chain

    return _by_rule(f, xs, first, second, options, rule)


@misconception(
    "predict_second_call",
    zh="有的节点保存的是一组张量，你没有看到：a[[0, 2]] 保存了它的索引。",
    en="Some nodes have saved several tensors in a tuple, which you overlook: a[[0, 2]] has saved "
    "its index.",
)
def tuples_overlooked(f, xs, first, second, options):
    def rule(story):
        common = story.first & story.second
        names = {node: [n for n in dir(node) if n.startswith("_saved_")] for node in common}
        return any(
            isinstance(getattr(node, name), torch.Tensor) for node in common for name in names[node]
        )

    return _by_rule(f, xs, first, second, options, rule)


@misconception(
    "predict_second_call",
    zh="你认为同一个输入求两次才报错：两个输入的路可能共用一个保存了张量的节点。",
    en="You take it that only the same input twice fails: the ways to two inputs may share a node "
    "that saved a tensor.",
)
def same_input_twice(f, xs, first, second, options):
    fails = bool(set(first) & set(second))
    return _by_rule(f, xs, first, second, options, lambda s: fails)


@misconception(
    "predict_second_call",
    zh="你以为线性的函数可以反复求导：3 * a 也保存了那个 3，它的节点不能再次执行。",
    en="You take linear functions to be safe: 3 * a saves the 3, and its node cannot be executed "
    "again.",
)
def linear_is_safe(f, xs, first, second, options):
    leaves = [x.detach().requires_grad_() for x in xs]
    y = f(*leaves)
    slopes = grad(y, leaves, create_graph=True, allow_unused=True)
    curved = any(g is not None and g.requires_grad for g in slopes)
    return _by_rule(f, xs, first, second, options, lambda s: curved)


@misconception(
    "predict_second_call",
    zh="你以为第一次之后整个图都释放了：第一次没有执行的节点还留着它们的张量。",
    en="You take the whole graph to be freed by the first call: nodes that it did not execute "
    "still have their tensors.",
)
def whole_graph_freed(f, xs, first, second, options):
    rule = lambda s: s.second & s.saved  # noqa: E731
    return _by_rule(f, xs, first, second, options, rule)


@misconception(
    "predict_second_call",
    zh="你只看第一次释放了什么：第二次不经过那些节点，就不需要它们。",
    en="You look only at what the first call frees: a second one that does not pass those nodes "
    "has no need of them.",
)
def first_frees_something(f, xs, first, second, options):
    rule = lambda s: s.first & s.saved  # noqa: E731
    return _by_rule(f, xs, first, second, options, rule)


@misconception(
    "predict_second_call",
    zh="你没有看 options：第一次可能保留了被保存张量。",
    en="You did not look at options: the first call may have kept the saved tensors.",
)
def options_ignored(f, xs, first, second, options):
    return by_the_rule(f, xs, first, second, {})


@misconception(
    "predict_second_call",
    zh="你只看了 retain_graph：没有写它时，它跟着 create_graph 走。",
    en="You looked at retain_graph alone: where it is not given, it follows create_graph.",
)
def retain_graph_alone(f, xs, first, second, options):
    kept = {"retain_graph": bool(options.get("retain_graph"))}
    return by_the_rule(f, xs, first, second, kept)


@misconception(
    "predict_second_call",
    zh="你以为 create_graph=True 一定保留旧图：那只是默认值，retain_graph=False 会把它关掉。",
    en="You take it that create_graph=True always keeps the old graph: that is only the default, "
    "and retain_graph=False switches it off.",
)
def create_graph_always_keeps(f, xs, first, second, options):
    kept = {"retain_graph": bool(options.get("retain_graph") or options.get("create_graph"))}
    return by_the_rule(f, xs, first, second, kept)


@misconception(
    "predict_second_call",
    zh="两种报错你没有分开：输入没有用到，与被保存张量已释放，是两回事。",
    en="You do not tell the two errors apart: an input that is unused, and saved tensors that were "
    "freed, are not the same.",
)
def every_error_is_freed(f, xs, first, second, options):
    return by_the_rule(f, xs, first, second, options).replace("unused", "freed")


@misconception(
    "predict_second_call",
    zh="输入没有用到，你却说不报错：没有 allow_unused，grad 会拒绝。",
    en="An input is unused, and you say that there is no error: without allow_unused, grad "
    "refuses.",
)
def unused_is_ok(f, xs, first, second, options):
    return by_the_rule(f, xs, first, second, options).replace("unused", "ok")


@misconception(
    "predict_second_call",
    zh='你返回的是真假：题目要的是 "ok"、"freed" 或 "unused"。',
    en='You return a truth value: the task asks for "ok", "freed" or "unused".',
)
def true_or_false(f, xs, first, second, options):
    return by_the_rule(f, xs, first, second, options) == "ok"


@misconception(
    "predict_second_call",
    zh="你直接对调用者的 xs 求导：它们不一定要求梯度。",
    en="You differentiate with respect to the caller's own xs: they may not ask for gradients.",
)
def xs_as_they_come(f, xs, first, second, options):
    y = f(*xs)
    grad(y, [xs[i] for i in first], **options)
    try:
        grad(y, [xs[i] for i in second])
    except RuntimeError as error:
        return "unused" if "not have been used" in str(error) else "freed"
    return "ok"


@misconception(
    "predict_second_call",
    zh="预测都对，但你打开了调用者的张量的 requires_grad，没有还原。",
    en="The predictions are right, but you set requires_grad of the caller's tensors and left it "
    "so.",
)
def callers_tensors_changed(f, xs, first, second, options):
    for x in xs:
        x.requires_grad_()
    return xs_as_they_come(f, xs, first, second, options)


@misconception(
    "predict_second_call",
    zh="预测都对，但 backward 把梯度写进了 f 里的权重：试一试也不该留下痕迹。",
    en="The predictions are right, but backward wrote to the weights inside f: trying should leave "
    "no trace.",
)
def backward_leaves_traces(f, xs, first, second, options):
    f(*[x.detach().requires_grad_() for x in xs]).backward()
    return by_the_rule(f, xs, first, second, options)


# -------------------------------------------------------------------------- flat_grad_breaker


@alternative("flat_grad_breaker")
def transposed_inside():
    scale = torch.arange(1.0, 7).reshape(3, 2)
    return lambda x, b: (scale * x.T).sum() * b.sum(), [torch.ones(2, 3), torch.ones(4)]


@alternative("flat_grad_breaker")
def transposed_outside():
    return lambda x: (x**3).sum(), (torch.arange(6.0).reshape(2, 3).T,)


@alternative("flat_grad_breaker")
def sum_of_rows():
    x = torch.arange(1.0, 13).reshape(2, 2, 3).div(9).requires_grad_()
    return lambda x: torch.exp(x.sum(1)).sum().log(), (x,)


@alternative("flat_grad_breaker")
def sparse_gradient():
    table, rows = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 2])
    look_up = torch.nn.functional.embedding
    return lambda table: (look_up(rows, table, sparse=True) ** 2).sum(), (table,)


@misconception(
    "flat_grad_breaker",
    zh="你的反例靠的是没有用到的输入：那是第 04 课已经演示过的毛病，这里要每个输入都用到。",
    en="Your counterexample rests on an input that is unused: lesson 04 has shown that fault; here "
    "every input is to be used.",
)
def unused_input():
    return lambda x, b: (x**2).sum(), (torch.arange(6.0).reshape(2, 3), torch.ones(2))


@misconception(
    "flat_grad_breaker",
    zh="梯度不连续是对的，但还有一个输入没有用到：那样它怎么修都会报错。",
    en="A gradient that is not contiguous is right, but there is also an input that is unused: "
    "even grad refuses it.",
)
def unused_besides():
    f = lambda x, b: (x.sum(0) ** 2).sum()  # noqa: E731
    return f, (torch.arange(6.0).reshape(2, 3), torch.ones(2))


@misconception(
    "flat_grad_breaker",
    zh="flat_grad 在你的输入上没有出错：逐元素的函数，梯度在内存里与 x 一样连续。",
    en="flat_grad does not fail on your input: for a function that works element by element, the "
    "gradient is as contiguous in memory as x is.",
)
def elementwise():
    return lambda x: (x**2).sum(), (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="梯度确实不连续，拉平它却没有问题：它的步长全是 0，或者它只有一个维度。",
    en="The gradient is not contiguous, yet laying it flat is no problem: all of its strides are "
    "0, or it has one dimension only.",
)
def sum_of_everything():
    return lambda x: x.sum(), (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="f(*xs) 有多个元素：这时 grad 自己就会报错，不是 flat_grad 的毛病。",
    en="f(*xs) has several elements: then grad itself raises the error, and the fault is not that "
    "of flat_grad.",
)
def vector_output():
    return lambda x: x.T.sum(1), (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="你的 f 切断了计算图：grad 自己就会报错。",
    en="Your f cuts the graph: grad itself raises the error.",
)
def cut_from_its_graph():
    return lambda x: (x.T.detach() ** 2).sum(), (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="f 里的一部分被切断了：flat_grad 确实报错，但 autograd 求出的也不是 f 的梯度。",
    en="Part of your f is cut off: flat_grad fails indeed, but what autograd finds is not the "
    "gradient of f either.",
)
def partly_cut():
    return lambda x: (x.sum(0) * x.detach().sum(0)).sum(), (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="在你选的点上，y 或梯度不是有限的：换一个 f 可微的点。",
    en="At the point you chose y or a gradient is not finite: take one at which f is "
    "differentiable.",
)
def not_finite():
    return lambda x: x.sum(0).sqrt().sum(), (torch.zeros(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="你的 f 每次结果都不同：反例要经得起再算一次。",
    en="Your f is different every time: a counterexample must stand being computed again.",
)
def different_every_time():
    return lambda x: (x.sum(0) * torch.rand(3)).sum(), (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="f 确实是反例，但 xs 不是 float64。",
    en="Your f is a counterexample, but xs are not float64.",
)
def breaker_in_float32():
    x = torch.arange(6.0).reshape(2, 3).float()
    return lambda x: (x.sum(0).double() ** 2).sum(), (x,)


@misconception(
    "flat_grad_breaker",
    zh="f 确实是反例，但 f(*xs) 的形状不是 ()：看看 keepdim 留下了什么。",
    en="Your f is a counterexample, but f(*xs) does not have the shape (): look at what keepdim "
    "leaves behind.",
)
def output_of_shape_one():
    f = lambda x: (x.sum(0) ** 2).sum(0, keepdim=True)  # noqa: E731
    return f, (torch.arange(6.0).reshape(2, 3),)


@misconception(
    "flat_grad_breaker",
    zh="你返回的是 f(x) 的值，不是函数 f：返回函数本身，不要调用它。",
    en="You return the value f(x), not the function f: return the function itself, uncalled.",
)
def value_instead_of_function():
    x = torch.arange(6.0).reshape(2, 3)
    return (x.sum(0) ** 2).sum(), (x,)


@misconception(
    "flat_grad_breaker",
    zh="xs 是单个张量：题目要的是元组，写成 (x,)。",
    en="Your xs is a single tensor: the task asks for a tuple; write (x,).",
)
def tensor_instead_of_tuple():
    return lambda x: (x.sum(0) ** 2).sum(), torch.arange(6.0).reshape(2, 3)


@misconception(
    "flat_grad_breaker",
    zh="xs 是整数张量：整数没有导数，请写成 1.0 这样的小数。",
    en="Your xs hold whole numbers: integers have no derivative; write them as 1.0.",
)
def integers():
    return lambda x: (x.sum(0) ** 2).sum(), (torch.arange(6).reshape(2, 3),)


# ---------------------------------------------------------------------------------- flat_grad


def _list(x):
    return [x] if isinstance(x, torch.Tensor) else list(x)


def _gradients(y, x, retain_graph=False, create_graph=False, **options):
    """(inputs, gradients): None for an unused input; an error if all are unused."""
    xs = _list(x)
    options = {"allow_unused": True} | options
    keep = retain_graph or create_graph
    grads = grad(y, xs, retain_graph=keep, create_graph=create_graph, **options)
    if all(g is None for g in grads):
        raise ValueError("y uses none of the inputs")
    return xs, grads


def _joined(xs, grads):
    return torch.cat([g.flatten() for g in _filled(xs, grads)])


@alternative("flat_grad")
def contiguous_first(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    return torch.cat([g.contiguous().view(-1) for g in _filled(xs, grads)])


@alternative("flat_grad")
def zeros_of_that_length(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    pieces = [
        x.new_zeros(x.numel()) if g is None else g.ravel() for x, g in zip(xs, grads, strict=True)
    ]
    return torch.hstack(pieces)


@alternative("flat_grad")
def by_name(y, x, retain_graph=None, create_graph=False):
    xs = _list(x)
    named = {str(i): x for i, x in enumerate(xs)}
    keep = True if create_graph else retain_graph
    grads = grad(y, named, None, keep, create_graph, allow_unused=True)
    if not [g for g in grads.values() if g is not None]:
        raise RuntimeError("y uses none of the inputs")
    empty = xs[0].new_zeros(0)
    for name, x in named.items():
        g = torch.zeros_like(x) if grads[name] is None else grads[name]
        empty = torch.cat((empty, g.reshape(-1)))
    return empty


@misconception(
    "flat_grad",
    zh="这还是 S2-25 的写法：梯度在内存里不连续时，view 报错；有一个输入没有用到时，grad 报错。",
    en="This is still S2-25: view fails for a gradient that is not contiguous, and grad fails for "
    "an input that is unused.",
)
def the_seed_itself(y, x, retain_graph=False, create_graph=False):
    # Not in the seed's own words: the lesson shows those, and no answer may stand in a lesson.
    found = grad(y, x, None, retain_graph or create_graph, create_graph)
    return torch.cat([piece.view(piece.numel()) for piece in found])


@misconception(
    "flat_grad",
    zh="没有用到的输入修好了，view 却留着：看看梯度在内存里不连续的情形。",
    en="Unused inputs are mended, but view is still there: look at a gradient that is not "
    "contiguous.",
)
def view_kept(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    return torch.cat([g.view(-1) for g in _filled(xs, grads)])


@misconception(
    "flat_grad",
    zh="view 修好了，没有用到的输入却仍然让它报错。",
    en="view is mended, but an input that is unused still makes it fail.",
)
def unused_still_refused(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph, allow_unused=False)
    return _joined(xs, grads)


@misconception(
    "flat_grad",
    zh="你略去了没有用到的输入：后面的梯度因此都往前移，占了别人的位置。",
    en="You leave out an input that is unused: all gradients behind it move up into places that "
    "belong to others.",
)
def unused_left_out(y, x, retain_graph=False, create_graph=False):
    _, grads = _gradients(y, x, retain_graph, create_graph)
    return torch.cat([g.flatten() for g in grads if g is not None])


@misconception(
    "flat_grad",
    zh="没有用到的输入只占了一个零：它要占的位置与它的元素一样多。",
    en="An unused input gets a single zero: it takes up as many places as it has elements.",
)
def one_zero_for_unused(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    return torch.cat([xs[0].new_zeros(1) if g is None else g.flatten() for g in grads])


@misconception(
    "flat_grad",
    zh="补的零没有照着输入的 dtype：float32 的梯度与它们接在一起，整个变成了 float64。",
    en="The zeros do not have the dtype of the inputs: joined with them, gradients of float32 all "
    "become float64.",
    rounded=True,
)
def default_dtype_zeros(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    pairs = zip(xs, grads, strict=True)
    return torch.cat([torch.zeros(x.numel()) if g is None else g.flatten() for x, g in pairs])


@misconception(
    "flat_grad",
    zh="一个输入也没有用到时，你给了一整个零向量：图断了也没有人知道。",
    en="Where not one input is used you give a vector of zeros: nobody learns that the graph was "
    "cut.",
)
def zeros_for_a_cut(y, x, retain_graph=False, create_graph=False):
    xs, keep = _list(x), retain_graph or create_graph
    if not y.requires_grad:
        return torch.cat([torch.zeros_like(x).flatten() for x in xs])
    options = {"retain_graph": keep, "create_graph": create_graph}
    return torch.cat([g.flatten() for g in grad(y, xs, materialize_grads=True, **options)])


@misconception(
    "flat_grad",
    zh="materialize_grads 只修好了一半：y 连着别的输入、却没有用到一个 x 时，你给了零，没有报错。",
    en="materialize_grads mends half of it: where y hangs on other inputs and uses no x at all, "
    "you give zeros and no error.",
)
def materialized_in_silence(y, x, retain_graph=False, create_graph=False):
    xs, keep = _list(x), retain_graph or create_graph
    options = {"retain_graph": keep, "create_graph": create_graph}
    return torch.cat([g.flatten() for g in grad(y, xs, materialize_grads=True, **options)])


@misconception(
    "flat_grad",
    zh="你从数值判断图断没断：算出来的零是正当的结果，不该报错。",
    en="You judge by the numbers whether the graph was cut: a zero that was computed is a proper "
    "result, and no error.",
)
def alarm_for_computed_zeros(y, x, retain_graph=False, create_graph=False):
    flat = _joined(*_gradients(y, x, retain_graph, create_graph))
    if not flat.any():
        raise ValueError("all gradients are zero")
    return flat


@misconception(
    "flat_grad",
    zh="你按内存里的顺序取出了数：转置过的梯度因此打乱了次序，而且没有报错。",
    en="You read the numbers in the order of memory: a transposed gradient comes out scrambled, "
    "and without an error.",
)
def memory_order(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    pieces = []
    for g in _filled(xs, grads):
        dims = sorted(range(g.dim()), key=lambda d: -g.stride(d))
        pieces.append(g.permute(dims).flatten())
    return torch.cat(pieces)


@misconception(
    "flat_grad",
    zh="每个梯度都转置着拉平了：次序应当是行优先。",
    en="Every gradient is laid flat as its transpose: the order should go row by row.",
)
def column_by_column(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    pieces = [g.permute(*reversed(range(g.dim()))).flatten() for g in _filled(xs, grads)]
    return torch.cat(pieces)


@misconception(
    "flat_grad",
    zh="你没有把梯度接起来：题目要的是一个长向量，不是一列向量。",
    en="You did not join the gradients: one long vector is asked for, not a list of vectors.",
)
def list_of_vectors(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    return [g.flatten() for g in _filled(xs, grads)]


@misconception(
    "flat_grad",
    zh="x 是单个张量时你对它写了 for：得到的是各行，每一行都是新节点。",
    en="Where x is one tensor alone you go through it with for: that gives its rows, and every row "
    "is a new node.",
)
def rows_of_a_tensor(y, x, retain_graph=False, create_graph=False):
    return _joined(*_gradients(y, list(x), retain_graph, create_graph))


@misconception(
    "flat_grad",
    zh="你只认得元组：x 也可以是列表。",
    en="You know tuples only: x may be a list as well.",
)
def tuples_only(y, x, retain_graph=False, create_graph=False):
    xs = x if isinstance(x, tuple) else (x,)
    return _joined(*_gradients(y, xs, retain_graph, create_graph))


@misconception(
    "flat_grad",
    zh="你没有理会 create_graph，或用 detach 切断了结果：它应当还能求导。",
    en="You take no notice of create_graph, or cut the result off with detach: it should still be "
    "differentiable.",
)
def create_graph_ignored(y, x, retain_graph=False, create_graph=False):
    return _joined(*_gradients(y, x, retain_graph or create_graph))


@misconception(
    "flat_grad",
    zh="你去掉了 create_graph 时保留图的那两行：retain_graph 默认为 False，新图借用的张量释放了。",
    en="You dropped the two lines that keep the graph for create_graph: retain_graph is False by "
    "default, and tensors that the new graph borrows are freed.",
)
def old_graph_not_kept(y, x, retain_graph=False, create_graph=False):
    xs = _list(x)
    options = {"retain_graph": retain_graph, "create_graph": create_graph, "allow_unused": True}
    return _joined(xs, _or_alarm(grad(y, xs, **options)))


@misconception(
    "flat_grad",
    zh="你总是保留被保存张量：默认应当释放。",
    en="You always keep the saved tensors: by default they should be freed.",
)
def always_retains(y, x, retain_graph=False, create_graph=False):
    return _joined(*_gradients(y, x, True, create_graph))


@misconception(
    "flat_grad",
    zh="你把 retain_graph 当成了 create_graph：留住旧图，不等于为导数建新图。",
    en="You took retain_graph for create_graph: to keep the old graph is not to build a new one "
    "for the derivative.",
)
def retain_taken_for_create(y, x, retain_graph=False, create_graph=False):
    xs, both = _list(x), retain_graph or create_graph
    return _joined(xs, _or_alarm(grad(y, xs, create_graph=both, allow_unused=True)))


@misconception(
    "flat_grad",
    zh="有一个输入没有用到，你就报错：要占住它的位置，全都没有用到才报错。",
    en="You raise an error as soon as one input is unused: hold its place; the error is for the "
    "case that all are.",
)
def alarm_for_some_unused(y, x, retain_graph=False, create_graph=False):
    xs, grads = _gradients(y, x, retain_graph, create_graph)
    if any(g is None for g in grads):
        raise ValueError("an input is unused")
    return _joined(xs, grads)


@misconception(
    "flat_grad",
    zh="你没有理会 retain_graph=True：第二次求导报错了。",
    en="You take no notice of retain_graph=True: a second differentiation fails.",
)
def retain_graph_ignored(y, x, retain_graph=False, create_graph=False):
    return _joined(*_gradients(y, x, False, create_graph))


@misconception(
    "flat_grad",
    zh="你总是打开 create_graph：没有要求时，结果不该带计算图。",
    en="You always switch create_graph on: unless it is asked for, the result should carry no "
    "graph.",
)
def always_creates_a_graph(y, x, retain_graph=False, create_graph=False):
    xs, options = _list(x), {"create_graph": True, "allow_unused": True}
    grads = grad(y, xs, retain_graph=retain_graph or create_graph, **options)
    return _joined(xs, _or_alarm(grads))


@misconception(
    "flat_grad",
    zh="你用 backward 再读 .grad：旧的 .grad 混了进来，别的叶子也被写了。",
    en="You called backward and read .grad: what .grad held gets mixed in, and other leaves are "
    "written to as well.",
)
def flat_backward(y, x, retain_graph=False, create_graph=False):
    xs = _list(x)
    y.backward(retain_graph=retain_graph or create_graph, create_graph=create_graph)
    return _joined(xs, _or_alarm([x.grad for x in xs]))


@misconception(
    "flat_grad",
    zh="每个输入都做了一次反向传播：一次 grad 就能求出全部梯度。",
    en="Every input takes a backward pass of its own: one grad gives all gradients.",
)
def one_pass_for_every_input(y, x, retain_graph=False, create_graph=False):
    xs, keep, grads = _list(x), retain_graph or create_graph, []
    for i, each in enumerate(xs):
        last = i == len(xs) - 1
        options = {"retain_graph": keep or not last, "create_graph": create_graph}
        grads += grad(y, each, allow_unused=True, **options)
    return _joined(xs, _or_alarm(grads))


_ONE_EACH = "grad returns one gradient for every input: the lengths are always equal"
EQUIVALENT = {
    "grad_or_zero": {
        "line 27: zip: no strict=True": _ONE_EACH,
        "line 27: True → False": _ONE_EACH,
    },
    "backward_like": {
        "line 22: zip: no strict=True": _ONE_EACH,
        "line 22: True → False": _ONE_EACH,
    },
    "flat_grad_breaker": {
        "line 15: torch.arange(6.0).reshape(2, 3) → torch.arange(6.0).reshape(3, 2)": (
            "3 rows can be summed as well as 2"
        ),
        "line 16: 2 → 3": "the strides of the gradient are those of the sum, whatever the power",
        "line 16: 0 → 1": "a sum over the other dimension has a gradient with a stride of 0, too",
    },
    "flat_grad": {
        "line 25: zip: no strict=True": _ONE_EACH,
        "line 25: True → False": _ONE_EACH,
    },
}
