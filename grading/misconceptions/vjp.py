"""Answers to assignment 03: the wrong ones that people give, and right ones unlike the source's."""

import torch
from torch.autograd import grad
from torch.autograd.functional import jacobian

from . import alternative, misconception

# ---------------------------------------------------------------------------------------- vjp


def _checked(v, y):
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")


def _grad_or_zeros(y, x, v):
    if not y.requires_grad:
        return torch.zeros_like(x)
    return grad(y, x, v, materialize_grads=True)[0]


@alternative("vjp")
def scalar_product(f, x, v):
    x = x.clone().detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    # Adding 0 · x ties a constant f to x, so that there is always a graph.
    return y.detach(), grad((v * y).sum() + (0 * x).sum(), x)[0]


@alternative("vjp")
def backward_into_a_copy(f, x, v):
    copy = x.detach().clone().requires_grad_()
    y = f(copy)
    _checked(v, y)
    if y.requires_grad:
        y.backward(v, inputs=[copy])
    return y.detach(), torch.zeros_like(x) if copy.grad is None else copy.grad


@alternative("vjp")
def functional_vjp(f, x, v):
    def checked(x):
        y = f(x)
        _checked(v, y)
        return y

    return torch.autograd.functional.vjp(checked, x.detach(), v)


@alternative("vjp")
def func_vjp(f, x, v):
    y, pull = torch.func.vjp(f, x.detach())
    _checked(v, y)
    return y.detach(), pull(v)[0].detach()


@misconception(
    "vjp",
    zh="你算的是 J·v（前推），不是 vᵀJ（拉回）：看看 v 应当和谁的形状相同，g 又应当和谁相同。",
    en="You computed J·v (forward), not vᵀJ (back): look at whose shape v has, and whose g has.",
)
def jvp_instead(f, x, v):
    return f(x), jacobian(f, x) @ v


@misconception(
    "vjp",
    zh="你把 v 当成了全 1：换一个 v，你的 g 并不改变，请找找代码里 v 在哪里进入了求导。",
    en="You took v to be ones: your g stays the same for another v; look for where v enters.",
)
def ones_for_v(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    return y.detach(), _grad_or_zeros(y, x, torch.ones_like(y))


@misconception(
    "vjp",
    zh="你先对 y 的和求导、再乘 v：各个输出已经加在一起，来不及加权；v 的形状也不是 x 的。",
    en="You differentiated the sum of y and multiplied by v afterwards: the outputs are already "
    "added up, too late to weigh them, and v is shaped like y, not like x.",
)
def times_v_afterwards(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    return y.detach(), v * _grad_or_zeros(y.sum(), x, None)


@misconception(
    "vjp",
    zh="数值都对，但你构造了整个雅可比矩阵：vᵀJ 只要一次反向传播，看看“代价”一项数了什么。",
    en="The numbers are right, but you built the whole Jacobian: vᵀJ takes one backward pass; "
    "look at what the line on cost counts.",
)
def full_jacobian(f, x, v):
    y = f(x).detach()
    _checked(v, y)
    J = jacobian(f, x.detach())
    return y, torch.tensordot(v.to(J.dtype), J, dims=y.dim()).to(x.dtype)


@misconception(
    "vjp",
    zh="你改动了调用者的 x，又用 backward 写了 .grad：看看调用前后 x 和 f 里的权重变了什么。",
    en="You changed the caller's x and let backward write to .grad: look at what a call changes in "
    "x and in the weights inside f.",
)
def backward_on_the_callers_x(f, x, v):
    x.requires_grad_()
    y = f(x)
    _checked(v, y)
    if y.requires_grad:
        y.backward(v)
    return y.detach(), torch.zeros_like(x) if x.grad is None else x.grad


@misconception(
    "vjp",
    zh="x 是副本，可 f 里的权重不是：backward 把梯度累积到图中每一个叶子张量，看看 w.grad。",
    en="x is a copy, but the weights inside f are not: backward accumulates into every leaf of "
    "the graph; look at w.grad.",
)
def backward_into_every_leaf(f, x, v):
    copy = x.detach().clone().requires_grad_()
    y = f(copy)
    _checked(v, y)
    if y.requires_grad:
        y.backward(v)
    return y.detach(), torch.zeros_like(x) if copy.grad is None else copy.grad


@misconception(
    "vjp",
    zh="你把 v 的形状交给 torch 检查：它抛出的不是题目要的异常，而且 y 是常数时它根本不会检查。",
    en="You left the shape of v to torch: it raises another exception than the task asks for, and "
    "it never looks when y is a constant.",
)
def shape_left_to_torch(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    return y.detach(), _grad_or_zeros(y, x, v)


@misconception(
    "vjp",
    zh="v * y 会广播：形状不对的 v 也得出了一个数，错误就这样藏起来了，请在相乘之前比较形状。",
    en="v * y broadcasts: a v of the wrong shape gives a number too, and so the mistake is hidden; "
    "compare the shapes before you multiply.",
)
def broadcasts_v(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    return y.detach(), _grad_or_zeros((v * y).sum(), x, None)


@misconception(
    "vjp",
    zh="你用 assert 检查形状：它抛出的是 AssertionError，题目要的是 ValueError。",
    en="You check the shape with assert: that raises AssertionError, and the task asks for "
    "ValueError.",
)
def shape_by_assert(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    assert v.shape == y.shape
    return y.detach(), _grad_or_zeros(y, x, v)


@misconception(
    "vjp",
    zh="你只比较了元素个数：(1, m) 与 (m,) 的个数相同，形状却不同。",
    en="You compare the numbers of elements only: (1, m) and (m,) have as many, and are not the "
    "same shape.",
)
def elements_counted_only(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    if v.numel() != y.numel():
        raise ValueError("v must have as many elements as y")
    return y.detach(), _grad_or_zeros(y, x, v.reshape(y.shape))


@misconception(
    "vjp",
    zh="你把一切异常都换成了 ValueError：f 自己的错误也被说成是 v 的错，调用者就找不到原因了。",
    en="You turn every exception into ValueError: a mistake inside f is blamed on v, and nobody "
    "finds its cause.",
)
def every_error_a_value_error(f, x, v):
    try:
        x = x.detach().requires_grad_()
        y = f(x)
        _checked(v, y)
        return y.detach(), _grad_or_zeros(y, x, v)
    except Exception as error:
        raise ValueError("v must have the shape of f(x)") from error


@misconception(
    "vjp",
    zh="f 没有用到 x 时你返回了 None：对 x 的导数这时是存在的，想一想它是多少、什么形状。",
    en="You return None when f does not use x: the derivative exists there; think what it is, and "
    "of which shape.",
)
def none_when_unused(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    return y.detach(), grad(y, x, v, allow_unused=True)[0] if y.requires_grad else None


@misconception(
    "vjp",
    zh="补零时你没有照着 x 来：float32 的 x 得到了另一种 dtype 的零。",
    en="The zeros you fill in do not take after x: an x of float32 gets zeros of another dtype.",
)
def zeros_of_default_dtype(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    g = grad(y, x, v, allow_unused=True)[0] if y.requires_grad else None
    return y.detach(), torch.zeros(x.shape) if g is None else g


@misconception(
    "vjp",
    zh="f 的输出是常数时你的函数报错：这样的 y 没有计算图，torch 无从求导，要在求导之前分出来。",
    en="Your function fails when f returns a constant: such a y has no graph to differentiate; "
    "tell it apart before you call torch.",
)
def fails_on_a_constant(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    return y.detach(), grad(y, x, v, materialize_grads=True)[0]


@misconception(
    "vjp",
    zh="返回的 y 还连着计算图：只要它活着，整个图就占着内存，看看 y.requires_grad。",
    en="The y you return still hangs on its graph, which stays in memory as long as y does; look "
    "at y.requires_grad.",
)
def y_with_its_graph(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    return y, _grad_or_zeros(y, x, v)


@misconception(
    "vjp",
    zh="你假定 x 已经要求梯度：调用者给的多半是普通张量，这时 y 没有计算图。",
    en="You take it that x asks for gradients: callers mostly give plain tensors, and then y has "
    "no graph.",
)
def expects_a_leaf(f, x, v):
    y = f(x)
    _checked(v, y)
    return y.detach(), grad(y, x, v, materialize_grads=True)[0]


@misconception(
    "vjp",
    zh="你把 x 重新造成了一个新张量，它的 dtype 丢了：看看 float32 的 x 变成了什么。",
    en="You made x anew and lost its dtype: look at what becomes of an x of float32.",
)
def x_in_another_dtype(f, x, v):
    x = torch.tensor(x.tolist()).reshape(x.shape).requires_grad_()
    y = f(x)
    _checked(v, y)
    return y.detach(), _grad_or_zeros(y, x, v)


@misconception(
    "vjp",
    zh="g 被压平了：梯度的形状永远和 x 相同，看看 x 是矩阵或标量的情形。",
    en="Your g is flat: a gradient always has the shape of x; look at an x that is a matrix or a "
    "scalar.",
)
def flat_gradient(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    _checked(v, y)
    return y.detach(), _grad_or_zeros(y, x, v).flatten()


@misconception(
    "vjp",
    zh="你只返回了 g：题目要的是一对 (y, g)。",
    en="You return g alone: the task asks for the pair (y, g).",
)
def gradient_alone(f, x, v):
    return shape_left_to_torch(f, x, v)[1]


@misconception(
    "vjp",
    zh="这是差分近似：它只有大约一半的有效位数，而且每个输入元素都要运行 f。",
    en="These are finite differences: they have about half of the digits, and run f for every "
    "element of x.",
)
def finite_differences(f, x, v):
    # So long a step that its error is the formula's, not the rounding of this or that processor.
    y, h, g = f(x).detach(), 1e-4, torch.zeros_like(x)
    _checked(v, y)
    for i in range(x.numel()):
        step = torch.zeros_like(x, dtype=torch.float64).flatten()
        step[i] = h
        step = step.reshape(x.shape)
        slope = (f(x + step) - f(x - step)) / (2 * h)
        g.view(-1)[i] = (v * slope).sum().detach()
    return y, g


# ---------------------------------------------------------------------------------- vjp_multi


def _counted(ys, vs):
    if len(ys) != len(vs):
        raise ValueError("one v for every y")


def _tracked(ys, vs):
    """The ys that carry a graph, and their vs."""
    pairs = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    return [y for y, _ in pairs], [v for _, v in pairs]


def _zeros(xs):
    return tuple(torch.zeros_like(x) for x in xs)


@alternative("vjp_multi")
def one_scalar(ys, xs, vs):
    _counted(ys, vs)
    total = torch.zeros(())
    for y, v in zip(ys, vs, strict=True):
        if v is None and y.numel() != 1:
            raise ValueError("None stands for 1 at a y of one element only")
        total = total + (y if v is None else v * y).sum()
    return grad(total, xs, materialize_grads=True) if total.requires_grad else _zeros(xs)


@alternative("vjp_multi")
def one_long_vector(ys, xs, vs):
    _counted(ys, vs)
    if any(v is None and y.numel() != 1 for y, v in zip(ys, vs, strict=True)):
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    vs = [torch.ones_like(y) if v is None else v for y, v in zip(ys, vs, strict=True)]
    y, v = (torch.cat([t.reshape(-1) for t in ts]) for ts in (ys, vs))
    return list(grad(y, xs, v, materialize_grads=True)) if y.requires_grad else _zeros(xs)


@alternative("vjp_multi")
def borrowed_grad(ys, xs, vs):
    _counted(ys, vs)
    before = [x.grad for x in xs]
    for x in xs:
        x.grad = None
    ys, vs = _tracked(ys, vs)
    try:
        if ys:
            torch.autograd.backward(ys, vs, inputs=xs)
        return [torch.zeros_like(x) if x.grad is None else x.grad for x in xs]
    finally:
        for x, g in zip(xs, before, strict=True):
            x.grad = g


@misconception(
    "vjp_multi",
    zh="只有第一个 y 起了作用：数一数 Σ 一共有几项。",
    en="Only the first y has an effect: count the terms of the Σ.",
)
def first_output_only(ys, xs, vs):
    _counted(ys, vs)
    return grad(ys[0], xs, vs[0], materialize_grads=True)


@misconception(
    "vjp_multi",
    zh="你没有用 v：每个输出都按全 1 计算，换一组 vs 你的结果不变。",
    en="You made no use of vs: every output counts with ones, and other vs give you the same.",
)
def ones_for_every_v(ys, xs, vs):
    _counted(ys, vs)
    ys, _ = _tracked(ys, vs)
    if not ys:
        return _zeros(xs)
    return grad(ys, xs, [torch.ones_like(y) for y in ys], materialize_grads=True)


@misconception(
    "vjp_multi",
    zh="你先求导、再乘 v 的和：v 的每个元素属于 y 的一个元素，求和之后就分不开了。",
    en="You differentiated first and multiplied by the sum of v: each element of v belongs to one "
    "element of y, and a sum cannot tell them apart.",
)
def times_sum_of_v(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    parts = [
        [
            g if v is None else v.sum() * g
            for g in grad(y.sum(), xs, retain_graph=True, materialize_grads=True)
        ]
        for y, v in zip(ys, vs, strict=True)
    ]
    return [sum(gs) for gs in zip(*parts, strict=True)] if parts else _zeros(xs)


@misconception(
    "vjp_multi",
    zh="没有用到的 x 得到了 None：题目要的是与它形状、dtype 都相同的零。",
    en="An x that is not used gets None: the task asks for zeros of its shape and dtype.",
)
def none_for_unused(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    return grad(ys, xs, vs, allow_unused=True) if ys else tuple(None for _ in xs)


@misconception(
    "vjp_multi",
    zh="有一个 x 没有被用到，torch 就拒绝求导：看看报错里的 allow_unused，再想想你要的结果是什么。",
    en="One x that is not used, and torch refuses: look at allow_unused in its message, and think "
    "what result you want.",
)
def refuses_unused(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    return grad(ys, xs, vs) if ys else _zeros(xs)


@misconception(
    "vjp_multi",
    zh="补的零没有照着 x 来：看看没有用到的、dtype 是 float32 的 x。",
    en="The zeros you fill in do not take after x: look at an unused x of dtype float32.",
)
def zeros_in_default_dtype(ys, xs, vs):
    gs = none_for_unused(ys, xs, vs)
    return [torch.zeros(x.shape) if g is None else g for x, g in zip(xs, gs, strict=True)]


@misconception(
    "vjp_multi",
    zh="你用 backward 再读 .grad：它加在旧的 .grad 上，也不写不是叶子的 x。",
    en="You called backward and read .grad: it adds to what .grad held, and does not write to an "
    "x that is no leaf.",
)
def backward_and_read(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    if ys:
        torch.autograd.backward(ys, vs)
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in xs]


@misconception(
    "vjp_multi",
    zh="你清掉了 .grad 里原有的梯度：那是调用者累积的，题目要求原样留下。",
    en="You cleared what .grad held: the caller had accumulated it, and it has to stay.",
)
def clears_grad(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    for x in xs:
        x.grad = None
    if ys:
        torch.autograd.backward(ys, vs, inputs=xs)
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in xs]


@misconception(
    "vjp_multi",
    zh="数值都对，但你对每个 x 各做了一次反向传播：xs 可以一次全部交给 grad。",
    en="The numbers are right, but every x takes a backward pass of its own: grad accepts all xs "
    "at once.",
)
def one_pass_per_input(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    if not ys:
        return _zeros(xs)
    return [grad(ys, x, vs, retain_graph=True, materialize_grads=True)[0] for x in xs]


@misconception(
    "vjp_multi",
    zh="数值都对，但每个 y 都做了一次反向传播：一次调用就能接收全部的 ys 和 vs。",
    en="The numbers are right, but every y takes a backward pass of its own: one call accepts all "
    "ys and vs.",
)
def one_pass_per_output(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    totals = _zeros(xs)
    for y, v in zip(ys, vs, strict=True):
        gs = grad(y, xs, v, retain_graph=True, materialize_grads=True)
        totals = tuple(t + g for t, g in zip(totals, gs, strict=True))
    return totals


@misconception(
    "vjp_multi",
    zh="你把每个 None 都换成了全 1：对多个元素的 y，这等于替调用者选了一个 v，错误就看不见了。",
    en="You turned every None into ones: for a y of several elements that chooses a v for the "
    "caller, and hides the mistake.",
)
def ones_for_none(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    vs = [torch.ones_like(y) if v is None else v for y, v in zip(ys, vs, strict=True)]
    return grad(ys, xs, vs, materialize_grads=True) if ys else _zeros(xs)


@misconception(
    "vjp_multi",
    zh="v 为 None 时你跳过了这个 y：None 的意思是 1，不是 0。",
    en="You skip a y whose v is None: None stands for 1, not for 0.",
)
def skips_none(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    if any(v is None and y.numel() != 1 for y, v in zip(ys, vs, strict=True)):
        raise ValueError("None needs a y of one element")
    pairs = [(y, v) for y, v in zip(ys, vs, strict=True) if v is not None]
    if not pairs:
        return _zeros(xs)
    return grad([y for y, _ in pairs], xs, [v for _, v in pairs], materialize_grads=True)


@misconception(
    "vjp_multi",
    zh="有一个 y 不带计算图，torch 就拒绝求导：这样的 y 对结果没有贡献，要连同它的 v 一起先拿掉。",
    en="One y without a graph, and torch refuses: such a y adds nothing; take it out beforehand, "
    "and its v with it.",
)
def fails_on_constants(ys, xs, vs):
    _counted(ys, vs)
    return grad(ys, xs, vs, materialize_grads=True)


@misconception(
    "vjp_multi",
    zh="你拿掉了不带计算图的 y，却留下了它的 v：后面的 y 和 v 错开了一位。",
    en="You took out a y without a graph but kept its v: the ys and vs behind it are out of step.",
)
def vs_out_of_step(ys, xs, vs):
    _counted(ys, vs)
    ys = [y for y in ys if y.requires_grad]
    return grad(ys, xs, vs[: len(ys)], materialize_grads=True) if ys else _zeros(xs)


@misconception(
    "vjp_multi",
    zh="vs 的个数不对时你没有作声：zip 到最短的为止，多余的被悄悄丢掉，torch 也会忽略多余的 v。",
    en="A wrong number of vs passes in silence: zip stops at the shortest and drops the rest, and "
    "torch, too, ignores a v too many.",
)
def silent_about_numbers(ys, xs, vs):
    pairs = [(y, v) for y, v in zip(ys, vs, strict=False) if y.requires_grad]
    if not pairs:
        return _zeros(xs)
    return grad([y for y, _ in pairs], xs, [v for _, v in pairs], materialize_grads=True)


@misconception(
    "vjp_multi",
    zh="你对每个 y 各返回了一组梯度：它们应当按 x 加起来，每个 x 只有一个结果。",
    en="You return a group of gradients for every y: they are to be added up, one result for "
    "every x.",
)
def not_added_up(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    return [
        grad(y, xs, v, retain_graph=True, materialize_grads=True)
        for y, v in zip(ys, vs, strict=True)
    ]


@misconception(
    "vjp_multi",
    zh="结果还带着计算图：create_graph 是为求高阶导数准备的，这里用不着。",
    en="Your results carry a graph: create_graph is for higher derivatives, which nobody asked "
    "for here.",
)
def graph_on_the_results(ys, xs, vs):
    _counted(ys, vs)
    ys, vs = _tracked(ys, vs)
    if not ys:
        return _zeros(xs)
    return grad(ys, xs, vs, create_graph=True, materialize_grads=True)


# ----------------------------------------------------------------------------------- jac_rows


def _one_hot(row, y):
    v = torch.zeros_like(y)
    v[row] = 1
    return v


def _rows(f, x, rows, **options):
    """The rows of J one by one; a list of tensors shaped like x."""
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    if not y.requires_grad:
        return [torch.zeros_like(x) for _ in rows]
    options = {"retain_graph": True, "materialize_grads": True} | options
    return [grad(y, x, _one_hot(row, y), **options)[0] for row in rows]


def _stacked(gradients, x):
    return torch.stack(gradients) if gradients else torch.zeros(0, *x.shape, dtype=x.dtype)


@alternative("jac_rows")
def batch_of_cotangents(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    if not rows or not y.requires_grad:
        return torch.zeros(len(rows), *x.shape, dtype=x.dtype)
    one_hot = torch.nn.functional.one_hot(torch.tensor(rows), y.numel()).to(y.dtype)
    (J,) = grad(y, x, one_hot, is_grads_batched=True, allow_unused=True)
    return torch.zeros(len(rows), *x.shape, dtype=x.dtype) if J is None else J


@alternative("jac_rows")
def gradient_of_each_element(f, x, rows):
    x = x.detach().requires_grad_()
    elements = f(x).flatten()[rows] + 0 * x.sum()
    return _stacked([grad(y, x, retain_graph=True)[0] for y in elements], x)


@alternative("jac_rows")
def jacrev_of_the_rows(f, x, rows):
    if not rows:
        return torch.zeros(0, *x.shape, dtype=x.dtype)
    return torch.func.jacrev(lambda x: f(x).flatten()[rows])(x.detach()).detach()


@misconception(
    "jac_rows",
    zh="各行用的是同一个被原地修改的 v：f 原样传出 x 时，grad 返回的就是 v 本身（S2-29）。",
    en="All rows use the same v, changed in place: where f passes x on as it is, grad returns v "
    "itself (S2-29).",
)
def one_v_for_all_rows(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    if not y.requires_grad:
        return torch.zeros(len(rows), *x.shape, dtype=x.dtype)
    v, found = torch.zeros_like(y), []
    for row in rows:
        v[row] = 1
        found += grad(y, x, v, retain_graph=True, materialize_grads=True)
        v[row] = 0
    return _stacked(found, x)


@misconception(
    "jac_rows",
    zh="你给的是 J 的列，不是行：第 i 行是 y 的第 i 个元素对整个 x 的导数。",
    en="These are columns of J, not rows: row i is the derivative of element i of y by all of x.",
)
def columns_instead(f, x, rows):
    J = jacobian(f, x.detach())
    return J.reshape(-1, x.numel())[:, rows].T


@misconception(
    "jac_rows",
    zh="你把行排了序、去了重：调用者要的顺序和重复都要保留。",
    en="You sorted the rows and dropped repeated ones: keep the caller's order, and repetitions.",
)
def sorted_rows(f, x, rows):
    return _stacked(_rows(f, x, sorted(set(rows))), x)


@misconception(
    "jac_rows",
    zh="数值都对，但你先算出了整个 J 再挑行：m 行的代价，只用了几行。",
    en="The numbers are right, but you computed all of J and picked from it: the price of m rows "
    "for a few.",
)
def full_jacobian_first(f, x, rows):
    J = jacobian(f, x.detach())
    return J.reshape(-1, *x.shape)[rows]


@misconception(
    "jac_rows",
    zh="你把 v 在所有要求的行上都设成了 1：得到的是这些行的和，一次 vᵀJ 只能取出一行。",
    en="Your v is 1 in all of the rows at once: that gives their sum; one vᵀJ takes out one row.",
)
def sum_of_the_rows(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    if not y.requires_grad:
        return torch.zeros_like(x)
    return grad(y, x, _one_hot(rows, y), materialize_grads=True)[0]


@misconception(
    "jac_rows",
    zh="成批求导时 materialize_grads 补的零少了最前面的一维：看看 f 没有用到 x 的情形。",
    en="In a batch, the zeros of materialize_grads lack the leading dimension: look at an f that "
    "uses weights and not x.",
)
def batch_with_materialized_zeros(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    if not rows or not y.requires_grad:
        return torch.zeros(len(rows), *x.shape, dtype=x.dtype)
    one_hot = torch.stack([_one_hot(row, y) for row in rows])
    return grad(y, x, one_hot, is_grads_batched=True, materialize_grads=True)[0]


@misconception(
    "jac_rows",
    zh="第一行之后计算图里保存的张量已经释放：第二次求导时的报错说了该怎么办。",
    en="After the first row the tensors that the graph had saved are gone: the error of the "
    "second one says what to do.",
)
def graph_freed_after_one_row(f, x, rows):
    return _stacked(_rows(f, x, rows, retain_graph=False), x)


@misconception(
    "jac_rows",
    zh="f 与 x 无关时你的函数报错：y 可能没有计算图，也可能有图却没有 x，两种情形都要得到零。",
    en="Your function fails when f does not depend on x: y may have no graph, or a graph without "
    "x in it, and both must give zeros.",
)
def fails_when_unused(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    return _stacked([grad(y, x, _one_hot(row, y), retain_graph=True)[0] for row in rows], x)


@misconception(
    "jac_rows",
    zh="每一行被压平了：结果的形状是 (行数, *x.shape)，看看 x 是矩阵的情形。",
    en="Your rows are flat: the result has the shape (number of rows, *x.shape); look at an x "
    "that is a matrix.",
)
def flat_rows(f, x, rows):
    return _stacked(_rows(f, x, rows), x).reshape(len(rows), x.numel())


@misconception(
    "jac_rows",
    zh="没有行时你的函数报错：空的 rows 应当得到第一维为 0 的结果。",
    en="Your function fails for no rows: an empty list should give a result whose first dimension "
    "is 0.",
)
def fails_without_rows(f, x, rows):
    return torch.stack(_rows(f, x, rows))


@misconception(
    "jac_rows",
    zh="dtype 没有照着 x 来：看看 float32 的 x。",
    en="The dtype does not take after x: look at an x of float32.",
    rounded=True,
)
def rows_in_default_dtype(f, x, rows):
    J = torch.zeros(len(rows), *x.shape)
    for k, row in enumerate(_rows(f, x, rows)):
        J[k] = row
    return J


@misconception(
    "jac_rows",
    zh="f 的输出是矩阵时你按第一维取行：行号数的是压平以后的 y 的元素。",
    en="For a matrix y you index its first dimension: a row's number counts the elements of y "
    "laid flat.",
)
def index_into_first_dimension(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x)
    if not y.requires_grad:
        return torch.zeros(len(rows), *x.shape, dtype=x.dtype)
    found = [grad(y[i].sum(), x, retain_graph=True, materialize_grads=True)[0] for i in rows]
    return _stacked(found, x)


@misconception(
    "jac_rows",
    zh="每一行都重新运行了一次 f：保留计算图，f 只要运行一次。",
    en="You run f anew for every row: keep the graph, and one run is enough.",
)
def f_again_for_every_row(f, x, rows):
    return _stacked([_rows(f, x, [row])[0] for row in rows], x)


@misconception(
    "jac_rows",
    zh="你用 backward 再读 x.grad：它不断累加，后面的行里混着前面的行。",
    en="You called backward and read x.grad: it accumulates, so that later rows hold the earlier "
    "ones as well.",
)
def accumulated_rows(f, x, rows):
    x = x.detach().requires_grad_()
    y = f(x).flatten()
    found = []
    for row in rows:
        if y.requires_grad:
            y[row].backward(retain_graph=True)
        found.append(torch.zeros_like(x) if x.grad is None else x.grad.clone())
    return _stacked(found, x)


@misconception(
    "jac_rows",
    zh="结果还带着计算图：create_graph=True 保留的不只是图，还把求导过程也记录了下来。",
    en="Your result carries a graph: create_graph=True does more than keep the graph, it records "
    "the differentiation as well.",
)
def rows_with_a_graph(f, x, rows):
    return _stacked(_rows(f, x, rows, create_graph=True), x)


# ---------------------------------------------------------------------------- weighted_losses


def _weights(weights, losses):
    return torch.as_tensor(weights, dtype=losses.dtype).detach()


@alternative("weighted_losses")
def weighted_sum(losses, weights, params):
    return grad((_weights(weights, losses) * losses).sum(), params, materialize_grads=True)


@alternative("weighted_losses")
def list_of_scalars(losses, weights, params):
    return list(
        grad(
            list(losses.unbind()),
            params,
            list(_weights(weights, losses).unbind()),
            materialize_grads=True,
        )
    )


@alternative("weighted_losses")
def python_sum(losses, weights, params):
    total = sum(float(w) * loss for w, loss in zip(weights, losses, strict=True))
    return grad(total, params, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="你让权重的和变成了 1：vᵀJ 里的 v 没有这样的限制，权重要原样使用。",
    en="You made the weights sum to 1: the v of vᵀJ knows no such limit; use them as they are.",
)
def normalised(losses, weights, params):
    w = _weights(weights, losses)
    return grad(losses, params, w / w.sum(), materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="你又除以了损失的个数：题目要的是加权和，不是加权平均。",
    en="You divided by the number of losses: the task asks for a weighted sum, not a mean.",
)
def mean_instead_of_sum(losses, weights, params):
    return grad((_weights(weights, losses) * losses).mean(), params, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="你对权重用了 softmax：权重要原样使用，可以是负数，也可以是 0。",
    en="You sent the weights through softmax: use them as they are; they may be negative, or 0.",
)
def softmax_of_weights(losses, weights, params):
    w = _weights(weights, losses).softmax(0)
    return grad(losses, params, w, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="权重没有起作用：每个损失都按 1 计算了。",
    en="The weights have no effect: every loss counts with 1.",
)
def weights_unused(losses, weights, params):
    return grad(losses.sum(), params, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="你先把损失加起来求导、再乘权重的和：加在一起之后，各个损失就分不开了。",
    en="You added the losses up, and multiplied the gradient by the sum of the weights: once "
    "added, the losses cannot be told apart.",
)
def scaled_afterwards(losses, weights, params):
    scale = _weights(weights, losses).sum()
    return [scale * g for g in grad(losses.sum(), params, materialize_grads=True)]


@misconception(
    "weighted_losses",
    zh="数值都对，但每个损失都做了一次反向传播：权重可以一次全部交给 grad。",
    en="The numbers are right, but every loss takes a backward pass of its own: grad accepts all "
    "weights at once.",
)
def one_pass_per_loss(losses, weights, params):
    totals = _zeros(params)
    for loss, w in zip(losses, _weights(weights, losses), strict=True):
        gs = grad(loss, params, w, retain_graph=True, materialize_grads=True)
        totals = tuple(t + g for t, g in zip(totals, gs, strict=True))
    return totals


@misconception(
    "weighted_losses",
    zh="你用 backward 再读 .grad：它加在旧的 .grad 上，也改变了调用者的参数。",
    en="You called backward and read .grad: it adds to what .grad held, and changes the caller's "
    "parameters.",
)
def backward_and_grad(losses, weights, params):
    losses.backward(_weights(weights, losses))
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in params]


@misconception(
    "weighted_losses",
    zh="加权和连着 weights 的计算图：backward 把梯度也写进了 weights.grad。",
    en="Your weighted sum hangs on the graph of weights: backward writes a gradient into "
    "weights.grad, too.",
)
def gradient_of_the_weights(losses, weights, params):
    before = [p.grad for p in params]
    for p in params:
        p.grad = None
    (torch.as_tensor(weights, dtype=losses.dtype) * losses).sum().backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
    for p, g in zip(params, before, strict=True):
        p.grad = g
    return found


@misconception(
    "weighted_losses",
    zh="没有用到的参数得到了 None：题目要的是零。",
    en="A parameter that is not used gets None: the task asks for zeros.",
)
def none_for_unused_parameter(losses, weights, params):
    return grad(losses, params, _weights(weights, losses), allow_unused=True)


@misconception(
    "weighted_losses",
    zh="你只把权重当成了开关：不是 0 的都按 1 计算了。",
    en="You use the weights as switches only: whatever is not 0 counts with 1.",
)
def weights_as_switches(losses, weights, params):
    w = (_weights(weights, losses) != 0).to(losses.dtype)
    return grad(losses, params, w, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="负的权重被你截成了 0：v 可以有任何符号。",
    en="You cut negative weights to 0: a v may have any sign.",
)
def negative_weights_cut(losses, weights, params):
    w = _weights(weights, losses).clamp(min=0)
    return grad(losses, params, w, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="你把权重直接交给了 grad：它只收张量，列表要先转换。",
    en="You hand the weights to grad as they come: it takes tensors only; convert a list first.",
)
def weights_not_converted(losses, weights, params):
    return grad(losses, params, weights, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="权重被你取整了：0.4 变成了 0。",
    en="You rounded the weights to whole numbers: 0.4 became 0.",
)
def weights_rounded(losses, weights, params):
    w = _weights(weights, losses).trunc()
    return grad(losses, params, w, materialize_grads=True)


@misconception(
    "weighted_losses",
    zh="结果还带着计算图：这里只要梯度的数值，不求高阶导数。",
    en="Your results carry a graph: here the numbers are enough, no higher derivative is asked "
    "for.",
)
def gradients_with_a_graph(losses, weights, params):
    w = _weights(weights, losses)
    return grad(losses, params, w, create_graph=True, materialize_grads=True)


# ---------------------------------------------------------------------------- jac_from_oracle


@alternative("jac_from_oracle")
def placed_row_by_row(vjp_fn, m, n, bandwidth=None):
    J = torch.zeros(m, n)
    stride = m if bandwidth is None else 2 * bandwidth + 1
    for start in range(min(m, stride)):
        v = torch.zeros(m)
        v[start::stride] = 1
        g = vjp_fn(v)
        for row in range(start, m, stride):
            left, right = (0, n) if bandwidth is None else (row - bandwidth, row + bandwidth + 1)
            left = max(left, 0)
            J[row, left:right] = g[left:right]
    return J


@alternative("jac_from_oracle")
def weights_instead_of_ones(vjp_fn, m, n, bandwidth=None):
    size = torch.arange(1, m + 1).double()
    rows = torch.arange(m)
    b = max(m, n) if bandwidth is None else bandwidth
    groups = [rows[k :: 2 * b + 1] for k in range(min(m, 2 * b + 1))]
    J = torch.zeros(m, n)
    for group in groups:
        v = torch.zeros(m)
        v[group] = size[group]
        J[group] = vjp_fn(v) / size[group, None]
    return J * ((rows[:, None] - torch.arange(n)).abs() <= b)


@alternative("jac_from_oracle")
def differences_of_sums(vjp_fn, m, n, bandwidth=None):
    if bandwidth is not None:
        return placed_row_by_row(vjp_fn, m, n, bandwidth)
    sums = torch.stack([vjp_fn(v) for v in torch.ones(m, m).tril()])
    return torch.diff(sums, dim=0, prepend=torch.zeros(1, n))


def _places(m, n, b):
    return (torch.arange(m)[:, None] - torch.arange(n)).abs() <= b


def _by_stride(vjp_fn, m, n, b, stride):
    """The rows of a band, found with one question for each remainder of the row's number."""
    remainder = torch.arange(m) % stride
    found = torch.stack([vjp_fn((remainder == k).double()) for k in range(stride)])
    return torch.where(_places(m, n, b), found[remainder], 0)


def _dense(vjp_fn, m):
    return torch.stack([vjp_fn(v) for v in torch.eye(m)])


@misconception(
    "jac_from_oracle",
    zh="J 被你转置了：每个回答是 J 的一行，不是一列。",
    en="Your J is transposed: every answer is a row of J, not a column.",
)
def transposed(vjp_fn, m, n, bandwidth=None):
    stride = m if bandwidth is None else min(m, 2 * bandwidth + 1)
    b = max(m, n) if bandwidth is None else bandwidth
    return _by_stride(vjp_fn, m, n, b, stride).T


@misconception(
    "jac_from_oracle",
    zh="数值都对，但带状时你仍然问了 m 次：互不重叠的行可以放进同一个问题。",
    en="The numbers are right, but for a band you still asked m times: rows that do not overlap "
    "fit into one question.",
)
def every_row_of_a_band(vjp_fn, m, n, bandwidth=None):
    return _dense(vjp_fn, m)


@misconception(
    "jac_from_oracle",
    zh="你只用全 1 问了一次：得到的是各行的和，仅当 J 是对角矩阵时才看不出错。",
    en="You asked once, with ones: that is the sum of the rows, and only a diagonal J hides it.",
)
def ones_once(vjp_fn, m, n, bandwidth=None):
    return torch.where(_places(m, n, bandwidth or 0), vjp_fn(torch.ones(m)), 0)


@misconception(
    "jac_from_oracle",
    zh="同一个问题里的行还有重叠：算一算第 i 行和第 i + b + 1 行各占哪些列。",
    en="Rows in one of your questions still overlap: work out which columns rows i and i + b + 1 "
    "take up.",
)
def half_the_stride(vjp_fn, m, n, bandwidth=None):
    if bandwidth is None:
        return _dense(vjp_fn, m)
    return _by_stride(vjp_fn, m, n, bandwidth, min(m, bandwidth + 1))


@misconception(
    "jac_from_oracle",
    zh="只差一点：间隔 2b 的两行仍共用一列，带宽 b 的一行有几个元素？",
    en="Off by one: two rows 2b apart still share a column; how many elements has a row of "
    "bandwidth b?",
)
def stride_off_by_one(vjp_fn, m, n, bandwidth=None):
    if bandwidth is None:
        return _dense(vjp_fn, m)
    return _by_stride(vjp_fn, m, n, bandwidth, min(m, max(1, 2 * bandwidth)))


@misconception(
    "jac_from_oracle",
    zh="你按 n 造了 v：v 的形状与 y 相同，也就是 (m,)。",
    en="You made v with n elements: a v has the shape of y, which is (m,).",
)
def n_questions(vjp_fn, m, n, bandwidth=None):
    return torch.stack([vjp_fn(v) for v in torch.eye(n)])


@misconception(
    "jac_from_oracle",
    zh="你把一个回答整个抄给了每一行：带外的元素属于别的行，应当是 0。",
    en="You copied a whole answer into each of its rows: what lies outside the band belongs to "
    "other rows and should be 0.",
)
def outside_the_band_kept(vjp_fn, m, n, bandwidth=None):
    if bandwidth is None:
        return _dense(vjp_fn, m)
    return _by_stride(vjp_fn, m, n, max(m, n), min(m, 2 * bandwidth + 1))


@misconception(
    "jac_from_oracle",
    zh="2b + 1 大于 m 时你多问了几次：那些 v 全是 0，什么也问不出来。",
    en="Where 2b + 1 exceeds m you asked too often: those vs are all 0 and tell nothing.",
)
def empty_questions(vjp_fn, m, n, bandwidth=None):
    if bandwidth is None:
        return _dense(vjp_fn, m)
    return _by_stride(vjp_fn, m, n, bandwidth, 2 * bandwidth + 1)


@misconception(
    "jac_from_oracle",
    zh="你的 v 是 float32：题目说 v 是 float64。",
    en="Your v is float32: the task says that v is float64.",
)
def float32_questions(vjp_fn, m, n, bandwidth=None):
    return torch.stack([vjp_fn(v) for v in torch.eye(m, dtype=torch.float32)])


@misconception(
    "jac_from_oracle",
    zh="你先试问了一次：这一次也算在内，m 和 n 已经告诉你了。",
    en="You asked once to try: that counts too, and you have been told m and n.",
)
def one_question_to_try(vjp_fn, m, n, bandwidth=None):
    vjp_fn(torch.zeros(m))
    stride = m if bandwidth is None else min(m, 2 * bandwidth + 1)
    b = max(m, n) if bandwidth is None else bandwidth
    return _by_stride(vjp_fn, m, n, b, stride)


@misconception(
    "jac_from_oracle",
    zh="b = 0 被你当成了“没有给带宽”：0 是一个带宽，None 才是没有。",
    en="You took b = 0 for “no bandwidth”: 0 is a bandwidth, None is none.",
)
def zero_taken_for_none(vjp_fn, m, n, bandwidth=None):
    if not bandwidth:
        return _dense(vjp_fn, m)
    return _by_stride(vjp_fn, m, n, bandwidth, min(m, 2 * bandwidth + 1))


@misconception(
    "jac_from_oracle",
    zh="你假定 J 是方阵：看看很高和很宽的 J。",
    en="You take J to be square: look at a very tall and a very wide one.",
)
def square_only(vjp_fn, m, n, bandwidth=None):
    if bandwidth is None:
        return _dense(vjp_fn, m)
    k = min(m, n)
    J = torch.zeros(m, n)
    J[:k] = _by_stride(vjp_fn, m, n, bandwidth, min(m, 2 * bandwidth + 1))[:k]
    return J


# ---------------------------------------------------------------------- layout_counterexample


@alternative("layout_counterexample")
def products():
    return lambda x: torch.stack((x[0] * x[1], x[1] * x[2], x[0] ** 2)), torch.tensor([1.0, 2, 3])


@alternative("layout_counterexample")
def an_unsymmetric_matrix():
    A = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])
    return lambda x: torch.sin(A @ x), torch.tensor([0.1, 0.2, 0.3], requires_grad=True)


@alternative("layout_counterexample")
def one_element_for_all():
    return [lambda x: x[0].expand(3), torch.ones(3)]


@misconception(
    "layout_counterexample",
    zh="你的 f 逐元素作用，J 是对角矩阵：这正是公式看起来正确的情形。",
    en="Your f works element by element, so that J is diagonal: the very case in which the "
    "formula looks right.",
)
def elementwise():
    return lambda x: x**2, torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="你的 J 是对称的：J 与 Jᵀ 相同，两种乘法就分不出来。",
    en="Your J is symmetric: J equals Jᵀ, and the two products cannot be told apart.",
)
def symmetric():
    return lambda x: torch.softmax(x, 0), torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="J 不对称还不够：比较一下它各行的和与各列的和。",
    en="An unsymmetric J is not enough: compare its row sums with its column sums.",
)
def equal_sums():
    return lambda x: x + 2 * x.roll(1), torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="f 确实是反例，但 x 和 f(x) 的元素个数不对：题目要 3 个。",
    en="Your f is a counterexample, but x and f(x) have the wrong number of elements: the task "
    "asks for 3.",
)
def two_elements():
    return lambda x: torch.stack((x[0] * x[1], x[0] ** 2)), torch.tensor([1.0, 2])


@misconception(
    "layout_counterexample",
    zh="f 确实是反例，但 x 不是 float64：看看它的 dtype。",
    en="Your f is a counterexample, but x is not float64: look at its dtype.",
)
def in_float32():
    return lambda x: torch.cumsum(x, 0), torch.tensor([1.0, 2, 3], dtype=torch.float32)


@misconception(
    "layout_counterexample",
    zh="y 的元素个数与 x 不同，J 不是方阵：公式这时连写都写不出来，算不上反例。",
    en="y has not as many elements as x, and J is not square: the formula cannot even be written "
    "down, so this is no counterexample.",
)
def not_square():
    return lambda x: torch.stack((x[0] * x[1], x[2])), torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="你的 f 每次结果都不同：反例要经得起再算一次。",
    en="Your f is different every time: a counterexample must stand being computed again.",
)
def random_function():
    return lambda x: torch.cumsum(x * torch.rand(3), 0), torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="f 里有一部分被切断了计算图：autograd 的 J 不是 f 真正的 J，错的就不是公式了。",
    en="Part of your f is cut off from its graph: what autograd takes for J is not the J of f, "
    "and then the fault is not the formula's.",
)
def cut_graph():
    return lambda x: torch.cumsum(x, 0) * x.detach(), torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="f 用 torch.tensor 重新造了结果：新张量不带计算图，autograd 看到的 J 全是零（S2-23）。",
    en="Your f makes its result anew with torch.tensor: that has no graph, and to autograd all of "
    "J is zero (S2-23).",
)
def rebuilt_with_torch_tensor():
    return lambda x: torch.tensor([x[0] * x[1], x[1], x[0]]), torch.tensor([1.0, 2, 3])


@misconception(
    "layout_counterexample",
    zh="你返回的是 f(x) 的值，不是函数 f：返回函数本身，不要调用它。",
    en="You return the value f(x), not the function f: return the function itself, uncalled.",
)
def value_for_function():
    x = torch.tensor([1.0, 2, 3])
    return torch.cumsum(x, 0), x


@misconception(
    "layout_counterexample",
    zh="x 是整数张量：整数没有导数，请写成 1.0 这样的小数。",
    en="Your x holds whole numbers: integers have no derivative; write them as 1.0.",
)
def whole_numbers():
    return lambda x: torch.cumsum(x, 0), torch.tensor([1, 2, 3])


@misconception(
    "layout_counterexample",
    zh="在你选的点上 J 不是有限的：换一个 f 可微的点。",
    en="J is not finite at the point you chose: take one at which f is differentiable.",
)
def not_differentiable_there():
    return lambda x: torch.cumsum(torch.sqrt(x), 0), torch.tensor([0.0, 1, 2])


EQUIVALENT = {
    "weighted_losses": {
        "line 15: torch.as_tensor: no dtype=losses.dtype": (
            "torch 2.13 itself casts a cotangent to the dtype of its output"
        ),
    },
    "jac_from_oracle": {
        "line 14: min(m, 2 * bandwidth + 1) → min(2 * bandwidth + 1, m)": (
            "the smaller of two numbers has no order"
        ),
    },
    "layout_counterexample": {
        "line 10: return -x for x": "J of a linear f is the same everywhere",
        "line 10: return 2 * x for x": "J of a linear f is the same everywhere",
    },
}
