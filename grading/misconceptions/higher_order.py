"""Answers to assignment 10: the wrong ones that people give, and right ones unlike the source's."""

import torch
from torch.autograd import functional, grad

from . import alternative, misconception

# ----------------------------------------------------------------------------- nth_derivative


def _next(d, x, **options):
    """The derivative of the sum of d by x, with a graph; zeros where x is not in d's graph."""
    if not d.requires_grad:
        return torch.zeros_like(x)
    return grad(d.sum(), x, **{"create_graph": True, "materialize_grads": True} | options)[0]


def _leaf(x):
    return x.detach().requires_grad_()


@alternative("nth_derivative")
def tied_to_x(f, x, n):
    x = _leaf(x)
    d = f(x)
    for left in range(n, 0, -1):
        # Adding 0 · x ties a constant d to x, so that there is always a graph with x in it.
        (d,) = grad((d + 0 * x).sum(), x, create_graph=left > 1)
    return d.detach()


@alternative("nth_derivative")
def nested_func_grad(f, x, n):
    def derivative(f):
        return torch.func.grad(lambda x: f(x).sum())

    for _ in range(n):
        f = derivative(f)
    return f(x.detach()).detach()


@alternative("nth_derivative")
def nested_forward_mode(f, x, n):
    def derivative(f):
        return lambda x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]

    for _ in range(n):
        f = derivative(f)
    return f(x.detach().clone()).detach()


@alternative("nth_derivative")
def backward_into_a_leaf_of_its_own(f, x, n):
    x = x.clone().detach().requires_grad_()
    d = f(x)
    for _ in range(n):
        if not d.requires_grad:
            return torch.zeros_like(x)
        d.backward(torch.ones_like(d), create_graph=True, inputs=[x])
        d, x.grad = x.grad, None
        if d is None:
            return torch.zeros_like(x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="你写的是 retain_graph：它保留旧图，却没有为导数建图，第二次求导就报错了。",
    en="You wrote retain_graph: it keeps the old graph, but builds none for the derivative, and "
    "the second order is an error.",
)
def retain_graph_only(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        (d,) = grad(d.sum(), x, retain_graph=True, materialize_grads=True)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="你的二阶导数全是零：一阶导数没有图，是因为求导时没有为它建图，不是因为它是常数。",
    en="All your second derivatives are zero: the first one has no graph because none was built "
    "for it, not because it is constant.",
)
def no_graph_taken_for_zero(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d, x, create_graph=False)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="没有对 d 求和：逐元素函数的输出不是标量，grad 不知道该用哪个 v。",
    en="You did not sum d: an elementwise function has no scalar output, and grad does not know "
    "which v to use.",
)
def no_sum(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        (d,) = grad(d, x, create_graph=True, materialize_grads=True)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="你用 mean 代替了 sum：每升一阶，结果就多除一次元素个数。",
    en="You took mean for sum: every order divides once more by the number of elements.",
)
def mean_for_sum(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d.mean(), x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="materialize_grads 管不到没有图的导数：看看线性函数一阶导数的 requires_grad。",
    en="materialize_grads cannot help a derivative without a graph: look at requires_grad of the "
    "first derivative of a linear function.",
)
def materialize_alone(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        (d,) = grad(d.sum(), x, create_graph=True, materialize_grads=True)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="只看 requires_grad 还不够：w * x 的一阶导数有图，图里却只有 w，没有 x。",
    en="To look at requires_grad is not enough: the first derivative of w * x has a graph, but "
    "there is only w in it, and no x.",
)
def requires_grad_alone(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d, x, materialize_grads=False)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="allow_unused 给的是 None：你把它原样返回，或者又拿去求导；题目要的是零。",
    en="allow_unused gives None, which you return as it is, or differentiate again: the task asks "
    "for zeros.",
)
def none_for_zero(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d, x, materialize_grads=False, allow_unused=True)
    return d if d is None else d.detach()


@misconception(
    "nth_derivative",
    zh="你把一切错误都换成了零：f 自己出错时，调用者得到的是一个看上去正常的导数。",
    en="You turn every error into zero: when f itself fails, its caller gets a derivative that "
    "looks fine.",
)
def every_error_a_zero(f, x, n):
    try:
        x = _leaf(x)
        d = f(x)
        for _ in range(n):
            (d,) = grad(d.sum(), x, create_graph=True, materialize_grads=True)
        return d.detach()
    except Exception:
        return torch.zeros_like(x)


@misconception(
    "nth_derivative",
    zh="求导时的任何错误都被你当成了零：计算图被原地操作破坏时，那不是零，而是错误。",
    en="You take any error of a differentiation for zero: where an in-place operation broke the "
    "graph, it is no zero but a mistake.",
)
def broken_graph_a_zero(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        try:
            (d,) = grad(d.sum(), x, create_graph=True, materialize_grads=True)
        except RuntimeError:
            return torch.zeros_like(x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="各阶导数加在了一起：backward 往 .grad 里累积，上一阶还在里面（S4-25）。",
    en="The orders are added up: backward accumulates into .grad, and the order before is still "
    "in there (S4-25).",
)
def orders_added_up(f, x, n):
    x = x.clone().detach().requires_grad_()
    d = f(x)
    for _ in range(n):
        if not d.requires_grad:
            return torch.zeros_like(x)
        d.sum().backward(create_graph=True, inputs=[x])
        d = torch.zeros_like(x) if x.grad is None else x.grad
    d, x.grad = d.detach(), None
    return d


@misconception(
    "nth_derivative",
    zh="多求了一阶：n = 0 时应当得到 f(x) 本身。",
    en="One order too many: n = 0 should give f(x) itself.",
)
def one_order_too_many(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n + 1):
        d = _next(d, x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="少求了一阶：n = 1 时应当得到一阶导数。",
    en="One order too few: n = 1 should give the first derivative.",
)
def one_order_short(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n - 1):
        d = _next(d, x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="n = 0 时你也求了导：零阶导数就是 f(x)。",
    en="You differentiate for n = 0 as well: the derivative of order zero is f(x).",
)
def order_zero_is_the_first(f, x, n):
    x = _leaf(x)
    d = _next(f(x), x)
    for _ in range(n - 1):
        d = _next(d, x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="你返回的是一阶导数的 n 次方：高阶导数是反复求导，不是反复相乘。",
    en="You return the first derivative to the power n: a higher order differentiates again, it "
    "does not multiply again.",
)
def power_of_the_first(f, x, n):
    x = _leaf(x)
    y = f(x)
    return (_next(y, x, create_graph=False) ** n if n else y).detach()


@misconception(
    "nth_derivative",
    zh="数值都对，但每一阶你都求了整个雅可比矩阵：逐元素函数的雅可比矩阵只有对角线，求和之后一次就够。",
    en="The numbers are right, but for every order you make a full Jacobian: that of an "
    "elementwise function is diagonal, and after a sum one pass is enough.",
)
def full_jacobians(f, x, n):
    def derivative(f):
        def g(x):
            J = functional.jacobian(f, x, create_graph=True)
            return J.reshape(x.numel(), x.numel()).diagonal().reshape(x.shape)

        return g

    for _ in range(n):
        f = derivative(f)
    return f(x.detach()).detach()


@misconception(
    "nth_derivative",
    zh="你改动了调用者的 x：调用之后，它的 requires_grad 变了。",
    en="You changed the caller's x: after the call its requires_grad is another.",
)
def asks_the_callers_x(f, x, n):
    x.requires_grad_()
    d = f(x)
    for _ in range(n):
        d = _next(d, x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="结果还拖着计算图：最后一阶不再求导，图就不该留着，看看结果的 requires_grad。",
    en="Your result drags its graph along: the last order is not differentiated again; look at "
    "requires_grad of the result.",
)
def result_with_its_graph(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d, x)
    return d


@misconception(
    "nth_derivative",
    zh="补的零没有照着 x 来：float32 的 x 得到了另一种 dtype 的零。",
    en="The zeros you fill in do not take after x: an x of float32 gets zeros of another dtype.",
)
def zeros_of_default_dtype(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d, x) if d.requires_grad else torch.zeros(x.shape)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="每升一阶你都从头再来：f 运行了 n 次，反向的次数是平方级的；上一阶的结果可以接着用。",
    en="You start from scratch for every order: f runs n times, and the passes grow like a "
    "square; go on from the order before.",
)
def from_scratch_for_every_order(f, x, n):
    x, d = _leaf(x), f(x.detach())
    for order in range(1, n + 1):
        d = f(x)
        for _ in range(order):
            d = _next(d, x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="这是差分近似：阶数越高，有效位数越少，而且 f 要运行许多次。",
    en="These are finite differences: every order costs digits, and f has to run many times.",
)
def finite_differences(f, x, n):
    if n == 0:
        return f(x.detach()).detach()
    h = 0.1  # coarse: rounding, unlike on every processor, must not show in the evidence
    higher = finite_differences(f, x + h, n - 1) - finite_differences(f, x - h, n - 1)
    return (higher / (2 * h)).detach()


@misconception(
    "nth_derivative",
    zh="导数的数值处处相等，不等于它是常数：看看各元素相同的 x，要问的是图，不是数值。",
    en="A derivative whose numbers are all equal need not be constant: look at an x whose elements "
    "are the same, and ask the graph, not the numbers.",
)
def equal_numbers_taken_for_a_constant(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        if d.numel() > 1 and bool((d == d.flatten()[0]).all()):
            return torch.zeros_like(x)
        d = _next(d, x)
    return d.detach()


@misconception(
    "nth_derivative",
    zh="x 是副本，可 f 里的权重不是：不写 inputs，backward 就把各阶导数累积进它们的 .grad。",
    en="x is a copy, but the weights inside f are not: without inputs, backward accumulates "
    "derivatives of every order into their .grad.",
)
def backward_into_the_weights_of_f(f, x, n):
    x = x.clone().detach().requires_grad_()
    d = f(x)
    for _ in range(n):
        if not d.requires_grad:
            return torch.zeros_like(x)
        x.grad = None
        d.sum().backward(create_graph=True)
        d = torch.zeros_like(x) if x.grad is None else x.grad
    d, x.grad = d.detach(), None
    return d


@misconception(
    "nth_derivative",
    zh="补的零只有一个数：每个元素都要有自己的导数，形状与 x 相同。",
    en="The zero you fill in is a single number: every element has a derivative of its own, in the "
    "shape of x.",
)
def a_single_zero(f, x, n):
    x = _leaf(x)
    d = f(x)
    for _ in range(n):
        d = _next(d, x) if d.requires_grad else torch.zeros((), dtype=x.dtype)
    return d.detach()


# ------------------------------------------------------------------------------------ hessian


def _flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def _slope(y, xs, **options):
    """The gradient of y by xs as one vector, with a graph."""
    options = {"create_graph": True, "materialize_grads": True} | options
    return _flat(grad(y, xs, **options))


def _row(g, xs, **options):
    """The gradient of the number g by xs as one vector; zeros where there is no graph."""
    if not g.requires_grad:
        return torch.zeros_like(_flat(xs)).detach()
    return _flat(grad(g, xs, **{"retain_graph": True, "materialize_grads": True} | options))


@alternative("hessian")
def batch_of_rows(y, xs):
    g = _slope(y, xs)
    if not g.requires_grad:
        return torch.zeros(len(g), len(g), dtype=g.dtype)
    eye = torch.eye(len(g), dtype=g.dtype)
    columns = grad(g, xs, eye, is_grads_batched=True, retain_graph=True, allow_unused=True)
    parts = [
        torch.zeros(len(g), x.numel(), dtype=g.dtype) if c is None else c.reshape(len(g), -1)
        for x, c in zip(xs, columns, strict=True)
    ]
    return torch.cat(parts, dim=1)


@alternative("hessian")
def unit_vectors(y, xs):
    g = _slope(y, xs) + 0 * _flat(xs)  # now it has a graph with every x in it
    rows = [_flat(grad(g, xs, e, retain_graph=True)) for e in torch.eye(len(g), dtype=g.dtype)]
    return torch.stack(rows)


@alternative("hessian")
def lower_half_mirrored(y, xs):
    g = _slope(y, xs)
    half = torch.stack([_row(number, xs) for number in g]).tril()
    return half + half.tril(-1).T


@misconception(
    "hessian",
    zh="你只求了每个 x 自己的块：不同的 x 之间的混合偏导数，也就是对角块之外的部分，被当成了零。",
    en="You computed only the block of each x by itself: the mixed partial derivatives between "
    "different xs, off the diagonal blocks, were taken for zero.",
)
def blocks_on_the_diagonal_only(y, xs):
    return torch.block_diag(
        *[
            torch.stack([_row(number, (x,)) for number in _slope(y, (x,))])
            if x.numel()
            else torch.zeros(0, 0, dtype=x.dtype)
            for x in xs
        ]
    )


@misconception(
    "hessian",
    zh="你对梯度的和求了导：得到的是行和（S3-12），每一行要单独求。",
    en="You differentiated the sum of the gradient: that gives row sums (S3-12); every row has to "
    "be taken by itself.",
)
def row_sums_on_the_diagonal(y, xs):
    return torch.diag(_row(_slope(y, xs).sum(), xs))


@misconception(
    "hessian",
    zh="你只保留了对角线：混合偏导数并不是零。",
    en="You kept the diagonal only: the mixed partial derivatives are not zero.",
)
def diagonal_only(y, xs):
    return torch.diag(torch.stack([_row(g, xs) for g in _slope(y, xs)]).diagonal())


@misconception(
    "hessian",
    zh="你求的是 g gᵀ，一阶导数的乘积（经验费舍尔、高斯–牛顿一类的近似），不是二阶导数。",
    en="You computed g gᵀ, a product of first derivatives (as in the empirical Fisher or "
    "Gauss–Newton), not a second derivative.",
)
def outer_product_of_gradients(y, xs):
    g = _slope(y, xs).detach()
    return torch.outer(g, g)


@misconception(
    "hessian",
    zh="第一次求导没有写 create_graph：梯度没有图，求不出第二次。",
    en="The first differentiation has no create_graph: the gradient has no graph, and there is no "
    "second one.",
)
def gradient_without_a_graph(y, xs):
    g = _slope(y, xs, create_graph=False, retain_graph=True)
    return torch.stack([_flat(grad(number, xs, retain_graph=True)) for number in g])


@misconception(
    "hessian",
    zh="梯度没有图时你的函数报错：y 对某个 x 是线性的，二阶导数就是零，而 torch 拒绝求导。",
    en="Your function fails when the gradient has no graph: y is linear in an x, the second "
    "derivative is zero, and torch refuses to differentiate.",
)
def fails_on_a_linear_y(y, xs):
    g = _slope(y, xs)
    rows = [_flat(grad(n, xs, retain_graph=True, materialize_grads=True)) for n in g]
    return torch.stack(rows)


@misconception(
    "hessian",
    zh="有的 x 不在梯度的图里，torch 就拒绝求导：这时的零确实是零，有一个参数直接给零。",
    en="Where an x is not in the graph of the gradient, torch refuses: here the zero is really "
    "meant, and one argument gives it at once.",
)
def fails_on_an_unused_x(y, xs):
    g = _slope(y, xs, materialize_grads=False)
    return torch.stack([_row(number, xs, materialize_grads=False) for number in g])


@misconception(
    "hessian",
    zh="allow_unused 给的是 None，你却把它当成了张量：None 没有形状，也不能相连。",
    en="allow_unused gives None, and you treat it as a tensor: None has no shape and cannot be "
    "joined to others.",
)
def none_taken_for_a_tensor(y, xs):
    g = _flat(grad(y, xs, create_graph=True, allow_unused=True))
    if not g.requires_grad:
        return torch.zeros(len(g), len(g), dtype=g.dtype)
    rows = [_flat(grad(n, xs, retain_graph=True, allow_unused=True)) for n in g]
    return torch.stack(rows)


@misconception(
    "hessian",
    zh="你先对 y 求和：向量没有一个海森矩阵，而是每个输出各有一个（S2-32），应当拒绝。",
    en="You summed y first: a vector has no one Hessian, each output has its own (S2-32); refuse "
    "it.",
)
def sums_a_vector(y, xs):
    return torch.stack([_row(g, xs) for g in _slope(y.sum(), xs)])


@misconception(
    "hessian",
    zh="y 没有计算图时你返回了零：图可能是被切断的，这时应当报错，而不是补零（S0-29）。",
    en="You return zeros for a y without a graph: the graph may have been cut, which should be an "
    "error and not be filled with zeros (S0-29).",
)
def zeros_for_a_cut_graph(y, xs):
    n = sum(x.numel() for x in xs)
    if not y.requires_grad:
        return torch.zeros(n, n, dtype=xs[0].dtype)
    return torch.stack([_row(g, xs) for g in _slope(y, xs)])


@misconception(
    "hessian",
    zh="你只看 y 有没有图、梯度有没有图，却没有看 y 有几个元素：线性的向量也得到了一个“海森矩阵”。",
    en="You look whether y and its gradient have a graph, but not how many elements y has: a "
    "vector gets a “Hessian” too, if it is linear.",
)
def zeros_for_a_linear_vector(y, xs):
    total = _slope(y.sum(), xs)
    if not total.requires_grad:
        return torch.zeros(len(total), len(total), dtype=total.dtype)
    return torch.stack([_row(g, xs) for g in _slope(y, xs)])


@misconception(
    "hessian",
    zh="最后一行释放了图：导数的图伸进 y 的旧图，所以调用者再对 y 求导时就报错了。",
    en="Your last row frees the graph: the graph of a derivative reaches into that of y, and the "
    "caller cannot differentiate y any more.",
)
def last_row_frees_the_graph(y, xs):
    g = _slope(y, xs)
    keep = [True] * (len(g) - 1) + [False]
    rows = [_row(n, xs, retain_graph=k) for n, k in zip(g, keep, strict=True)]
    return torch.stack(rows)


@misconception(
    "hessian",
    zh="每一行你都重新求了一次梯度：2N 次反向传播，梯度其实求一次就够。",
    en="You take the gradient again for every row: 2N backward passes, where one gradient serves "
    "them all.",
)
def gradient_again_for_every_row(y, xs):
    count = sum(x.numel() for x in xs)
    return torch.stack([_row(_slope(y, xs)[i], xs) for i in range(count)])


@misconception(
    "hessian",
    zh="每一行的每一块都单独求导：一次 grad 可以同时给出对所有 xs 的导数。",
    en="You differentiate for every block of every row: one call of grad gives the derivatives by "
    "all of xs.",
)
def one_pass_per_block(y, xs):
    g = _slope(y, xs)
    return torch.stack([torch.cat([_row(n, (x,)) for x in xs]) for n in g])


@misconception(
    "hessian",
    zh="你用 backward 求了梯度：它往每个叶子的 .grad 里累积，读到的还混着从前的数。",
    en="You took the gradient with backward: it accumulates into .grad of every leaf, and what "
    "you read is mixed with what was there.",
)
def backward_and_grad(y, xs):
    y.backward(create_graph=True)
    g = _flat([torch.zeros_like(x) if x.grad is None else x.grad for x in xs])
    rows = torch.stack([_row(number, xs) for number in g])
    return rows


@misconception(
    "hessian",
    zh="结果还带着计算图：最后一次求导不必为导数建图。",
    en="Your result carries a graph: the last differentiation need not build one.",
)
def result_with_a_graph(y, xs):
    g = _slope(y, xs)
    return torch.stack([_row(number, xs, create_graph=True) for number in g])


@misconception(
    "hessian",
    zh="你返回的是一块一块的列表：题目要的是一个 (N, N) 的矩阵，每个 x 都要压平，再连在一起。",
    en="You return a list of blocks: the task asks for one matrix (N, N), with every x laid flat "
    "and all joined.",
)
def list_of_blocks(y, xs):
    H = unit_vectors(y, xs)
    counts = [x.numel() for x in xs]
    return [row.split(counts, dim=1) for row in H.split(counts)]


@misconception(
    "hessian",
    zh="梯度没有图时你补的零是默认的 dtype：xs 是 float32 时，矩阵也应当是 float32。",
    en="Where the gradient has no graph you fill in zeros of the default dtype: with xs of float32 "
    "the matrix should be float32, too.",
)
def default_dtype(y, xs):
    g = _slope(y, xs)
    if not g.requires_grad:
        return torch.zeros(len(g), len(g))
    return torch.stack([_row(number, xs) for number in g])


@misconception(
    "hessian",
    zh="view(-1) 压不平转置的张量（S2-25）：它的元素在内存里不是按行排的。",
    en="view(-1) cannot flatten a transposed tensor (S2-25): its elements do not lie in memory "
    "row by row.",
)
def view_instead_of_reshape(y, xs):
    def flat(tensors):
        return torch.cat([t.view(-1) for t in tensors])

    g = flat(grad(y, xs, create_graph=True, materialize_grads=True))
    if not g.requires_grad:
        return torch.zeros(len(g), len(g), dtype=g.dtype)
    rows = [flat(grad(n, xs, retain_graph=True, materialize_grads=True)) for n in g]
    return torch.stack(rows)


@misconception(
    "hessian",
    zh="你把 S2-29 的函数用了两次：余切向量成了被保存的张量，原地改回 0 之后版本对不上。",
    en="You used the function of S2-29 twice: the cotangent is a saved tensor that double backward "
    "needs, and to set it back to 0 in place spoils its version.",
)
def one_cotangent_changed_in_place(y, xs):
    def rows(flat, **options):
        e, found = torch.zeros_like(flat), []
        for i in range(len(flat)):
            e[i] = 1
            found.append(_flat(grad(flat, xs, e, retain_graph=True, **options)))
            e[i] = 0
        return torch.stack(found)

    options = {"materialize_grads": True}
    return rows(rows(y.reshape(-1), create_graph=True, **options)[0], **options)


@misconception(
    "hessian",
    zh="你把没有用到的 x 整个丢掉了：它的行和列都是零，但要留着位置，N 不变。",
    en="You dropped an x that is not used: its rows and columns are zero but keep their place, and "
    "N stays the same.",
)
def unused_xs_dropped(y, xs):
    found = grad(y, xs, create_graph=True, allow_unused=True)
    xs = [x for x, g in zip(xs, found, strict=True) if g is not None]
    if not xs:
        return torch.zeros(0, 0, dtype=y.dtype)
    g = _slope(y, xs)
    return torch.stack([_row(number, xs) for number in g])


@misconception(
    "hessian",
    zh="y 是向量时你只取了它的第一个输出：每个输出各有一个海森矩阵，应当拒绝。",
    en="Of a vector y you took the first output only: each output has a Hessian of its own; refuse "
    "it.",
)
def first_of_a_vector(y, xs):
    return torch.stack([_row(g, xs) for g in _slope(y.reshape(-1)[0], xs)])


@misconception(
    "hessian",
    zh="你按列压平了矩阵参数：题目的顺序是 x.flatten()，一行接一行。",
    en="You laid matrices flat column by column: the task goes by x.flatten(), row after row.",
)
def column_by_column(y, xs):
    order, start = [], 0
    for x in xs:
        at = torch.arange(start, start + x.numel()).reshape(x.shape)
        order.append((at.T if x.dim() == 2 else at).reshape(-1))
        start += x.numel()
    order, H = torch.cat(order), lower_half_mirrored(y, xs)
    return H[order][:, order]


# --------------------------------------------------------------------- row_sum_counterexample


@alternative("row_sum_counterexample")
def two_by_two_determinants():
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    return lambda x: x[:, 0] * x[:, 3] - x[:, 1] * x[:, 2], x


@alternative("row_sum_counterexample")
def quadratic_form():
    H = torch.tensor([[3.0, 1, 2, 1], [1, -1, 1, 1], [2, 1, 5, -6], [1, 1, -6, 2]])
    return [lambda x: ((x @ H) * x).sum(1) / 2, torch.ones(3, 4).requires_grad_()]


@alternative("row_sum_counterexample")
def cubic():
    # Off-diagonal elements of the rows: 2a, 2a, -2a, -2a with a = x0 + x1 = x2 + x3.
    x = torch.tensor([[1.0, 2, 2, 1], [3, 1, 2, 2], [0.5, 0.5, 0.25, 0.75]])
    return lambda x: (x[:, 0] + x[:, 1]) ** 3 / 3 - (x[:, 2] + x[:, 3]) ** 3 / 3, x


@misconception(
    "row_sum_counterexample",
    zh="你的 f 逐元素作用再相加：变量互不相关，海森矩阵是对角的，正是 S3-12 看起来正确的情形。",
    en="Your f works element by element and adds up: no two variables meet, the Hessian is "
    "diagonal, the very case in which S3-12 looks right.",
)
def no_two_variables_meet():
    return lambda x: (x**3).sum(1), torch.arange(12.0).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="行和确实错了，但每个样本的总和也错了：对角线之外的元素加起来应当是零。",
    en="The row sums are wrong all right, but so is every sample's sum: what is off the diagonal "
    "should add up to zero.",
)
def product_of_all():
    return lambda x: x.prod(1), torch.arange(1.0, 13).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="有几个数碰巧是对的：没有和别的变量相乘的变量，行和就等于对角线；题目要每个数都错。",
    en="Some numbers happen to be right: a variable that meets no other has its row sum on the "
    "diagonal; the task asks for every number to be wrong.",
)
def only_two_variables_meet():
    return lambda x: x[:, 0] * x[:, 1], torch.arange(12.0).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="海森矩阵不是对角的，可是每一行对角线之外的元素恰好抵消，行和就是对角线：换一种搭配。",
    en="The Hessian is not diagonal, but in each row what is off the diagonal happens to cancel, "
    "and the row sums are the diagonal: pair the variables in another way.",
)
def cancels_in_every_row():
    x = torch.arange(12.0).reshape(3, 4)
    return lambda x: (x[:, 0] - x[:, 2]) * (x[:, 1] - x[:, 3]), x


@misconception(
    "row_sum_counterexample",
    zh="你的 f 让样本互相影响：S3-12 是对一批样本写的，每个 f(x)[i] 只该依赖 x[i]。",
    en="Your f lets samples affect each other: S3-12 is written for a batch, in which f(x)[i] "
    "depends on x[i] alone.",
)
def samples_meet():
    def f(x):
        y = x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3]
        return y - y.mean() / 2

    return f, torch.arange(12.0).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="你的 f 是线性的：二阶导数全是零，S3-12 的写法连结果都给不出来，只会报错。",
    en="Your f is linear: all second derivatives are zero, and the recipe of S3-12 gives no result "
    "at all, but an error.",
)
def linear():
    return lambda x: x[:, 0] + x[:, 1], torch.arange(12.0).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="f 的一部分被切断了计算图：autograd 给出的导数不是 f 真正的导数，错的就不是 S3-12 了。",
    en="Part of your f is cut off from its graph: autograd's derivatives are not those of f, and "
    "then the fault is not that of S3-12.",
)
def cut_graph():
    def f(x):
        return x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3] + (x**2).sum(1).detach()

    return f, torch.arange(12.0).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="f 确实是反例，但形状不对：题目要 x 是 (3, 4)，f(x) 是 (3,)。",
    en="Your f is a counterexample, but of another shape: the task asks for an x of (3, 4) and an "
    "f(x) of (3,).",
)
def other_shapes():
    x = torch.arange(8.0).reshape(2, 4)
    return lambda x: x[:, :1] * x[:, 1:2] - x[:, 2:3] * x[:, 3:], x


@misconception(
    "row_sum_counterexample",
    zh="你的 f 只返回一个数：把整批加起来，样本就分不开了；每个样本要有自己的输出。",
    en="Your f returns a single number: with the whole batch added up, samples cannot be told "
    "apart; each needs an output of its own.",
)
def one_number_for_the_batch():
    x = torch.arange(12.0).reshape(3, 4)
    return lambda x: (x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3]).sum(), x


@misconception(
    "row_sum_counterexample",
    zh="f 确实是反例，但 x 不是 float64：看看它的 dtype。",
    en="Your f is a counterexample, but x is not float64: look at its dtype.",
)
def in_float32():
    x = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return lambda x: x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3], x


@misconception(
    "row_sum_counterexample",
    zh="你的 f 每次结果都不同：反例要经得起再算一次。",
    en="Your f is different every time: a counterexample must stand being computed again.",
)
def random_function():
    def f(x):
        return (x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3]) + torch.rand(3)

    return f, torch.arange(12.0).reshape(3, 4)


@misconception(
    "row_sum_counterexample",
    zh="你返回的是 f(x) 的值，不是函数 f：返回函数本身，不要调用它。",
    en="You return the value f(x), not the function f: return the function itself, uncalled.",
)
def value_for_function():
    x = torch.arange(12.0).reshape(3, 4)
    return x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3], x


# ---------------------------------------------------------------------------------- hess_diag


def _gradient(f, x, **options):
    """(leaf, gradient laid flat): the gradient of f at x with a graph, or zeros without one."""
    x = _leaf(x)
    y = f(x)
    if not y.requires_grad:
        return x, torch.zeros_like(x).flatten()
    options = {"create_graph": True, "materialize_grads": True} | options
    return x, grad(y, x, **options)[0].flatten()


def _entry(g, x, i, **options):
    """Element [i, i] of the Hessian, from its row; zero where there is no graph."""
    if not g.requires_grad:
        return torch.zeros_like(g[i])
    options = {"retain_graph": True, "materialize_grads": True} | options
    return grad(g[i], x, **options)[0].flatten()[i].clone()


def _diagonal(entries, x):
    return torch.stack(entries).reshape(x.shape) if entries else torch.zeros_like(x)


@alternative("hess_diag")
def unit_vector_products(f, x):
    x, g = _gradient(f, x)
    found = torch.zeros_like(g).detach()
    for i in range(len(g)):
        e = torch.zeros_like(found)
        e[i] = 1
        if g.requires_grad:
            (row,) = grad(g, x, e, retain_graph=True, materialize_grads=True)
            found[i] = row.flatten()[i]
    return found.reshape(x.shape)


@alternative("hess_diag")
def func_vjp_of_func_grad(f, x):
    x = x.detach()
    _, pull = torch.func.vjp(torch.func.grad(lambda x: f(x).sum()), x)
    found = torch.zeros(x.numel(), dtype=x.dtype)
    for i in range(x.numel()):
        e = torch.zeros(x.numel(), dtype=x.dtype)
        e[i] = 1
        found[i] = pull(e.reshape(x.shape))[0].detach().flatten()[i]
    return found.reshape(x.shape)


@alternative("hess_diag")
def tied_to_every_element(f, x):
    x = _leaf(x)
    (g,) = grad(f(x).sum() + 0 * x.sum(), x, create_graph=True)
    numbers = (g + 0 * x).flatten()
    rows = (grad(number, x, retain_graph=True)[0].flatten() for number in numbers)
    return torch.tensor([row[i].item() for i, row in enumerate(rows)], dtype=x.dtype).reshape(
        x.shape
    )


@misconception(
    "hess_diag",
    zh="你用全一向量求了第二次导：得到的是行和，不是对角线（S3-12）。",
    en="You differentiated with ones the second time: that gives row sums, not the diagonal "
    "(S3-12).",
)
def row_sums(f, x):
    x, g = _gradient(f, x)
    return _next(g, x, create_graph=False)


@misconception(
    "hess_diag",
    zh="数值都对，但你造出了 n × n 的矩阵：只要对角线，就不该有那么大的张量。",
    en="The numbers are right, but you made an n × n matrix: for the diagonal alone no tensor "
    "need be that large.",
)
def diagonal_of_the_full_hessian(f, x):
    if not x.numel():
        return torch.zeros_like(x)
    H = functional.hessian(lambda x: f(x).sum(), x.detach())
    return H.reshape(x.numel(), x.numel()).diagonal().reshape(x.shape)


@misconception(
    "hess_diag",
    zh="你把所有单位向量一次交给了 is_grads_batched：反向只有一次，那一批结果却正是整个 H。",
    en="You hand all unit vectors to is_grads_batched at once: that is one backward pass, but the "
    "batch of its results is all of H.",
)
def all_unit_vectors_at_once(f, x):
    x, g = _gradient(f, x)
    eye = torch.eye(len(g), dtype=g.dtype)
    if not g.requires_grad or not len(g):
        return torch.zeros_like(x)
    (H,) = grad(g, x, eye, is_grads_batched=True, allow_unused=True)
    if H is None:
        raise TypeError("unsupported: None")
    return H.reshape(len(g), len(g)).diagonal().reshape(x.shape)


@misconception(
    "hess_diag",
    zh="你返回的是梯度的平方：它是一阶导数的乘积，不是二阶导数。",
    en="You return the gradient squared: a product of first derivatives is no second derivative.",
)
def gradient_squared(f, x):
    x, g = _gradient(f, x)
    return (g**2).detach().reshape(x.shape)


@misconception(
    "hess_diag",
    zh="你乘了一个随机的 ±1 向量：v ⊙ Hv 只在平均意义上是对角线，单独一次不是。",
    en="You multiplied by a random vector of ±1: v ⊙ Hv is the diagonal on average only, not in a "
    "single draw.",
)
def one_random_sign_vector(f, x):
    x, g = _gradient(f, x)
    v = torch.randint(0, 2, g.shape).to(g.dtype) * 2 - 1
    if not g.requires_grad:
        return torch.zeros_like(x)
    return v.reshape(x.shape) * grad(g, x, v, materialize_grads=True)[0]


@misconception(
    "hess_diag",
    zh="你只沿第一维循环：x 是矩阵时，x[i] 是一整行，标量则根本没有第一维。",
    en="You loop over the first dimension only: of a matrix, x[i] is a whole row, and a scalar has "
    "no first dimension.",
)
def first_dimension_only(f, x):
    x, g = _gradient(f, x)
    g, found = g.reshape(x.shape), torch.zeros_like(x)
    for i in range(len(x)):
        if g.requires_grad:
            found[i] = grad(g[i].sum(), x, retain_graph=True, materialize_grads=True)[0][i]
    return found


@misconception(
    "hess_diag",
    zh="结果被压平了：对角线要和 x 的形状相同，第 i 个数属于 x 的第 i 个元素。",
    en="Your result is flat: the diagonal should have the shape of x, a number for each of its "
    "elements.",
)
def flat_diagonal(f, x):
    x, g = _gradient(f, x)
    return _diagonal([_entry(g, x, i) for i in range(len(g))], x).flatten()


@misconception(
    "hess_diag",
    zh="你把对角线加起来了：那是迹，一个数；题目要的是每个元素各自的数。",
    en="You added the diagonal up: that is the trace, one number; the task asks for a number for "
    "each element.",
)
def trace_instead(f, x):
    x, g = _gradient(f, x)
    return _diagonal([_entry(g, x, i) for i in range(len(g))], x).sum()


@misconception(
    "hess_diag",
    zh="梯度没有图时你的函数报错：f 是线性或常数时，对角线就是零。",
    en="Your function fails when the gradient has no graph: where f is linear or constant, the "
    "diagonal is zero.",
)
def fails_without_a_graph(f, x):
    x = _leaf(x)
    (g,) = grad(f(x), x, create_graph=True, materialize_grads=True)
    g, options = g.flatten(), {"retain_graph": True, "materialize_grads": True}
    rows = [grad(number, x, **options)[0].flatten() for number in g]
    return _diagonal([row[i] for i, row in enumerate(rows)], x)


@misconception(
    "hess_diag",
    zh="梯度有图、图里却没有 x 时你的函数报错：看看 w @ x 这样的 f。",
    en="Your function fails when the gradient has a graph, but one without x in it: look at an f "
    "like w @ x.",
)
def fails_on_weights(f, x):
    x, g = _gradient(f, x, materialize_grads=False)
    return _diagonal([_entry(g, x, i, materialize_grads=False) for i in range(len(g))], x)


@misconception(
    "hess_diag",
    zh="第一行之后图就释放了：同一个梯度还要再求 n − 1 次导。",
    en="The graph is freed after the first row: the same gradient has to be differentiated n − 1 "
    "times more.",
)
def graph_freed_after_one_row(f, x):
    x, g = _gradient(f, x)
    return _diagonal([_entry(g, x, i, retain_graph=False) for i in range(len(g))], x)


@misconception(
    "hess_diag",
    zh="求梯度时没有写 create_graph，你又把没有图当成了零：结果总是零。",
    en="The gradient was taken without create_graph, and then you took “no graph” for zero: your "
    "result is always zero.",
)
def no_graph_always_zero(f, x):
    x, g = _gradient(f, x, create_graph=False)
    return _diagonal([_entry(g, x, i) for i in range(len(g))], x)


@misconception(
    "hess_diag",
    zh="结果还带着计算图：对角线求出来之后，没有人再对它求导。",
    en="Your result carries a graph: once the diagonal is found, nobody differentiates it again.",
)
def diagonal_with_a_graph(f, x):
    x, g = _gradient(f, x)
    return _diagonal([_entry(g, x, i, create_graph=True) for i in range(len(g))], x)


@misconception(
    "hess_diag",
    zh="你用 backward 求了梯度：f 里的权重也是叶子，它们的 .grad 变了。",
    en="You took the gradient with backward: the weights inside f are leaves too, and their .grad "
    "has changed.",
)
def backward_into_the_weights(f, x):
    x = x.clone().detach().requires_grad_()
    y = f(x)
    if not y.requires_grad:
        return torch.zeros_like(x)
    y.backward(create_graph=True)
    g, x.grad = torch.zeros_like(x) if x.grad is None else x.grad, None
    g = g.flatten()
    return _diagonal([_entry(g, x, i) for i in range(len(g))], x)


@misconception(
    "hess_diag",
    zh="每个元素你都重新运行 f、重新求梯度：这些只要做一次，以后每个元素一次反向就够。",
    en="For every element you run f and take its gradient again: do that once, and each element "
    "takes one more pass.",
)
def f_again_for_every_element(f, x):
    found = []
    for i in range(x.numel()):
        leaf, g = _gradient(f, x)
        found.append(_entry(g, leaf, i))
    return _diagonal(found, x)


@misconception(
    "hess_diag",
    zh="梯度没有图时你补的零是默认的 dtype：x 是 float32 时，结果也应当是 float32。",
    en="Where the gradient has no graph you fill in zeros of the default dtype: with an x of "
    "float32 the result should be float32, too.",
)
def diagonal_of_default_dtype(f, x):
    x, g = _gradient(f, x)
    if not g.requires_grad:
        return torch.zeros(x.shape)
    return _diagonal([_entry(g, x, i) for i in range(len(g))], x)


@misconception(
    "hess_diag",
    zh="这是差分近似：二阶差商只剩几位有效数字，而且每个元素都要运行 f。",
    en="These are finite differences: a second difference keeps a few digits only, and runs f for "
    "every element.",
)
def second_differences(f, x):
    h, x, found = 0.1, x.detach(), []  # coarse, as in finite_differences
    for i in range(x.numel()):
        e = torch.zeros(x.numel(), dtype=x.dtype)
        e[i] = h
        e = e.reshape(x.shape)
        found.append(((f(x + e) - 2 * f(x) + f(x - e)) / h**2).detach().sum())
    return _diagonal(found, x)


@misconception(
    "hess_diag",
    zh="数值都对，但每一行都还在内存里：row[i] 是视图，与整行共享存储，留着一个数就留着一行。",
    en="The numbers are right, but every row is still in memory: row[i] is a view that shares "
    "storage with all of its row, and to keep the number keeps the row.",
)
def rows_kept_alive(f, x):
    x, g = _gradient(f, x)
    if not g.requires_grad:
        return torch.zeros_like(x)
    options = {"retain_graph": True, "materialize_grads": True}
    rows = [grad(number, x, **options)[0].flatten() for number in g]
    return _diagonal([row[i] for i, row in enumerate(rows)], x)


@misconception(
    "hess_diag",
    zh="你把一切错误都换成了零：f 自己出错，或者图被原地操作破坏，都成了“对角线是零”。",
    en="You turn every error into zero: when f itself fails, or an in-place operation broke the "
    "graph, the diagonal is said to be zero.",
)
def errors_become_zeros(f, x):
    try:
        return fails_without_a_graph(f, x)
    except Exception:
        return torch.zeros_like(x)


@misconception(
    "hess_diag",
    zh="你取了绝对值：二阶导数可以是负的，函数在那个方向上向下弯。",
    en="You took absolute values: a second derivative may be negative, where the function bends "
    "down.",
)
def absolute_values(f, x):
    x, g = _gradient(f, x)
    return _diagonal([_entry(g, x, i) for i in range(len(g))], x).abs()


# ---------------------------------------------------------------------------------- laplacian


def _points(X):
    """X, if it asks for gradients; else a leaf with its numbers."""
    return X if X.requires_grad else X.detach().requires_grad_()


def _field(u, X, **options):
    """The gradient of u at every point, (N, d), with a graph; zeros where there is none."""
    return _next(u(X), X, **options)


def _second(g, X, k, **options):
    """The second derivative by coordinate k at every point, (N,)."""
    return _next(g[:, k], X, **options)[:, k]


@alternative("laplacian")
def coordinates_apart(u, X):
    columns = [X[:, k] if X.requires_grad else _leaf(X[:, k]) for k in range(X.shape[1])]
    y = u(torch.stack(columns, dim=1))
    if not y.requires_grad:
        return torch.zeros_like(X[:, 0])
    firsts = grad(y.sum(), columns, create_graph=True, materialize_grads=True)
    return sum(_next(first, column) for first, column in zip(firsts, columns, strict=True))


@alternative("laplacian")
def unit_cotangents(u, X):
    X = _points(X)
    g = _field(u, X) + 0 * X
    total = 0 * X[:, 0]
    for e in torch.eye(X.shape[1], dtype=X.dtype):
        (row,) = grad(g, X, e.expand_as(g), create_graph=True)
        total = total + (row * e).sum(1)
    return total


@alternative("laplacian")
def batch_of_coordinates(u, X):
    X = _points(X)
    g, d = _field(u, X) + 0 * X, X.shape[1]
    if not len(X):
        return X.sum(1)
    units = torch.eye(d, dtype=X.dtype)[:, None, :].expand(d, *X.shape)
    (rows,) = grad(g, X, units, is_grads_batched=True, create_graph=True)
    return torch.einsum("kik->i", rows)


@misconception(
    "laplacian",
    zh="你用全一向量求了两次导，再加起来：这是 H 所有元素的和，混合偏导数也算了进去。",
    en="You differentiated twice with ones and added up: that is the sum of all elements of H, "
    "mixed derivatives among them.",
)
def ones_twice(u, X):
    X = _points(X)
    return _next(_field(u, X), X).sum(1)


@misconception(
    "laplacian",
    zh="第二次求导没有写 create_graph：数值对，但加进损失里它只是常数，权重学不到任何东西。",
    en="The second differentiation has no create_graph: the numbers are right, but in a loss they "
    "are a constant, and the weights learn nothing from it.",
)
def not_trainable(u, X):
    X = _points(X)
    g = _field(u, X)
    options = {"create_graph": False, "retain_graph": True}
    return sum(_second(g, X, k, **options) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="第一次求导没有写 create_graph，你又把没有图当成了零：结果处处是零。",
    en="The first differentiation has no create_graph, and you took “no graph” for zero: so it is "
    "zero everywhere.",
)
def zero_everywhere(u, X):
    X = _points(X)
    g = _field(u, X, create_graph=False)
    return sum(_second(g, X, k) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="你返回的是 ‖∇u‖²：梯度的平方和是一阶的，拉普拉斯是二阶的。",
    en="You return ‖∇u‖²: the squared length of the gradient is of first order, a Laplacian of "
    "second.",
)
def squared_gradient(u, X):
    return (_field(u, _points(X)) ** 2).sum(1)


@misconception(
    "laplacian",
    zh="你把一阶偏导数加了起来：还差一次求导。",
    en="You added up the first partial derivatives: one differentiation is missing.",
)
def sum_of_first_derivatives(u, X):
    return _field(u, _points(X)).sum(1)


@misconception(
    "laplacian",
    zh="X 已经要求梯度时你把它分离了：结果与调用者的 X 断开，Δ(Δu) 就求不出来。",
    en="You detach an X that asks for gradients: the result is cut off from the caller's X, and "
    "Δ(Δu) cannot be found.",
)
def always_detaches_X(u, X):
    X = _leaf(X)
    g = _field(u, X)
    return sum(_second(g, X, k) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="你改动了调用者的 X：调用之后，它的 requires_grad 变成了 True。",
    en="You changed the caller's X: after the call its requires_grad is True.",
)
def asks_the_callers_X(u, X):
    X.requires_grad_()
    g = _field(u, X)
    return sum(_second(g, X, k) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="数值都对，但你造出了整批的海森矩阵：点与点互不影响，那里面几乎全是零。",
    en="The numbers are right, but you made the Hessian of the whole batch: points do not affect "
    "each other, and nearly all of it is zero.",
)
def hessian_of_the_batch(u, X):
    H = functional.hessian(lambda X: u(X).sum(), _points(X), create_graph=True)
    return torch.einsum("ikik->i", H.reshape(*X.shape, *X.shape))


@misconception(
    "laplacian",
    zh="你一个点一个点地求：u 运行了 N 次；每个点只依赖自己，对总和求导就全有了。",
    en="You go point by point: u runs N times; every point depends on itself alone, so the "
    "derivatives of the sum give them all.",
)
def point_by_point(u, X):
    found = []
    for i in range(len(X)):
        x = _points(X[i : i + 1])
        g = _field(u, x)
        found.append(sum(_second(g, x, k) for k in range(X.shape[1])))
    return torch.cat(found) if found else X.sum(1)


@misconception(
    "laplacian",
    zh="你把所有点加在了一起：每个点要有自己的 Δu，形状是 (N,)。",
    en="You added all points up: every point should have a Δu of its own, in the shape (N,).",
)
def summed_over_points(u, X):
    X = _points(X)
    g = _field(u, X)
    return sum(_second(g, X, k) for k in range(X.shape[1])).sum()


@misconception(
    "laplacian",
    zh="你对 u 的平均值求了导：每个导数都被除以了点的个数。",
    en="You differentiated the mean of u: every derivative is divided by the number of points.",
)
def mean_over_points(u, X):
    X = _points(X)
    g = _next(u(X).mean(), X)
    return sum(_second(g, X, k) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="你写死了两个坐标：d 可以是 1，也可以是 3 或更多。",
    en="You took it that there are two coordinates: d may be 1, or 3, or more.",
)
def two_coordinates(u, X):
    X = _points(X)
    g = _field(u, X)
    return _second(g, X, 0) + _second(g, X, 1)


@misconception(
    "laplacian",
    zh="你只求了第一个坐标的二阶导数：Δu 是对所有坐标求和。",
    en="You took the second derivative by the first coordinate only: Δu sums over all of them.",
)
def first_coordinate_only(u, X):
    X = _points(X)
    return _second(_field(u, X), X, 0)


@misconception(
    "laplacian",
    zh="梯度没有图时你的函数报错：u 是线性或常数时，Δu 是零。",
    en="Your function fails when a gradient has no graph: where u is linear or constant, Δu is "
    "zero.",
)
def fails_on_a_linear_u(u, X):
    X = _points(X)
    options = {"create_graph": True, "materialize_grads": True}
    (g,) = grad(u(X).sum(), X, **options)
    return sum(grad(g[:, k].sum(), X, **options)[0][:, k] for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="梯度的图里没有 X 时你的函数报错：看看 u 是 X @ w、w 要求梯度的情形。",
    en="Your function fails when there is no X in the graph of the gradient: look at a u like "
    "X @ w, where w asks for gradients.",
)
def fails_on_linear_weights(u, X):
    X = _points(X)
    options = {"materialize_grads": False}
    g = _field(u, X, **options)
    return sum(_second(g, X, k, **options) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="结果的形状是 (N, 1)：题目要 (N,)，否则与 (N,) 相减会广播成 (N, N)。",
    en="Your result has the shape (N, 1): the task asks for (N,), since a difference with (N,) "
    "would broadcast to (N, N).",
)
def column_of_numbers(u, X):
    X = _points(X)
    g = _field(u, X)
    return sum(_second(g, X, k) for k in range(X.shape[1]))[:, None]


@misconception(
    "laplacian",
    zh="你用 backward 求了梯度：X 和权重的 .grad 都变了。",
    en="You took the gradient with backward: .grad of X and of the weights has changed.",
)
def backward_for_the_gradient(u, X):
    held, X = X, X if X.requires_grad else X.clone().requires_grad_()
    y, before = u(X), X.grad
    if not y.requires_grad:
        return torch.zeros_like(X[:, 0])
    X.retain_grad()
    X.grad = None
    y.sum().backward(create_graph=True)
    g = torch.zeros_like(X) if X.grad is None else X.grad
    X.grad = before if X is held else None
    return sum(_second(g, X, k) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="梯度没有图时你补的零是默认的 dtype：X 是 float32 时，结果也应当是 float32。",
    en="Where the gradient has no graph you fill in zeros of the default dtype: with an X of "
    "float32 the result should be float32, too.",
)
def total_of_default_dtype(u, X):
    X = _points(X)
    g = _field(u, X)
    if not g.requires_grad:
        return torch.zeros(len(X))
    return sum(_second(g, X, k) for k in range(X.shape[1]))


@misconception(
    "laplacian",
    zh="你把一切错误都换成了零：u 自己出错，或者图被原地操作破坏，都成了“Δu 是零”。",
    en="You turn every error into zero: when u itself fails, or an in-place operation broke the "
    "graph, Δu is said to be zero.",
)
def failures_become_zeros(u, X):
    try:
        return fails_on_a_linear_u(u, X)
    except Exception:
        return torch.zeros_like(X[:, 0])


@misconception(
    "laplacian",
    zh="squeeze() 去掉了所有长度为 1 的维：只有一个点时，形状 (1,) 变成了 ()。",
    en="squeeze() drops every dimension of length 1: for a single point the shape (1,) becomes ().",
)
def squeezed(u, X):
    X = _points(X)
    g = _field(u, X)
    return sum(_second(g, X, k) for k in range(X.shape[1])).squeeze()


@misconception(
    "laplacian",
    zh="你除以了坐标的个数：Δu 是各个二阶导数的和，不是平均。",
    en="You divided by the number of coordinates: Δu is the sum of second derivatives, not their "
    "mean.",
)
def mean_over_coordinates(u, X):
    X = _points(X)
    g = _field(u, X)
    return sum(_second(g, X, k) for k in range(X.shape[1])) / X.shape[1]


# -------------------------------------------------------------------------------- second_grad


def _first(z, x, **options):
    options = {"create_graph": True, "materialize_grads": True} | options
    return grad(z, x, **options)[0]


def _bend(g, x, **options):
    """The derivative of g by x; zero where g has no graph."""
    if not g.requires_grad:
        return torch.zeros_like(x)
    return grad(g, x, **{"retain_graph": True, "materialize_grads": True} | options)[0]


@alternative("second_grad")
def tied_second_grad(z, x):
    (g,) = grad(z + 0 * x.sum(), x, create_graph=True)
    (s,) = grad(g + 0 * x, x, retain_graph=True)
    return [g.detach(), s]


@alternative("second_grad")
def borrowed_grad(z, x):
    before, x.grad = x.grad, None
    try:
        z.backward(create_graph=True, inputs=[x])
        g, x.grad = torch.zeros_like(x) if x.grad is None else x.grad, None
        if g.requires_grad:
            g.backward(retain_graph=True, inputs=[x])
        return g.detach(), torch.zeros_like(x) if x.grad is None else x.grad
    finally:
        x.grad = before


@alternative("second_grad")
def with_a_cotangent(z, x):
    v = torch.ones_like(z)
    (g,) = grad(z, x, v, create_graph=True, allow_unused=True)
    if g is None or not g.requires_grad:
        return torch.zeros_like(x) if g is None else g, torch.zeros_like(x)
    (s,) = grad(g, x, retain_graph=True, allow_unused=True)
    return g.detach(), torch.zeros_like(x) if s is None else s


@misconception(
    "second_grad",
    zh="你写了 x.grad.backward()：二阶导数加到了一阶上，两个数的和没有意义（S4-25）。",
    en="You wrote x.grad.backward(): the second derivative was added to the first, and the sum of "
    "the two means nothing (S4-25).",
)
def second_added_to_first(z, x):
    x.grad = None
    z.backward(create_graph=True)
    g = x.grad.detach().clone()
    x.grad.backward()
    return g, x.grad.detach()


@misconception(
    "second_grad",
    zh="x.grad.zero_() 也被记进了图里：清零之后它是常数 0，二阶导数就成了零。",
    en="x.grad.zero_() is recorded in the graph, too: after it x.grad is the constant 0, and so "
    "the second derivative is zero.",
)
def zeroed_in_the_graph(z, x):
    x.grad = None
    z.backward(create_graph=True)
    g = x.grad.detach().clone()
    x.grad.zero_()
    x.grad.backward()
    return g, x.grad.detach()


@misconception(
    "second_grad",
    zh="数值对，但清零之后 .grad 仍抓着整个图，x 放不掉；别的叶子也被写了（S4-26）。",
    en="The numbers are right, but after x.grad.data.zero_() .grad still holds the graph, x cannot "
    "be freed, and other leaves are written to (S4-26).",
)
def zeroed_behind_the_graph(z, x):
    x.grad = None
    z.backward(create_graph=True)
    g = x.grad.detach().clone()
    x.grad.data.zero_()
    x.grad.backward(retain_graph=True)
    return g, x.grad.detach().clone()


@misconception(
    "second_grad",
    zh="backward(create_graph=True) 让 x 和 x.grad 互相抓住（S4-24）：数值对，内存却放不掉。",
    en="backward(create_graph=True) makes x and x.grad hold each other (S4-24): the numbers are "
    "right, but the memory is never freed.",
)
def backward_with_a_graph(z, x):
    x.retain_grad()
    x.grad = None
    z.backward(create_graph=True)
    g = torch.zeros_like(x) if x.grad is None else x.grad
    return g.detach().clone(), _bend(g, x)


@misconception(
    "second_grad",
    zh="x 你收拾干净了，别的叶子却没有：不写 inputs，backward 就往图里所有的叶子累积。",
    en="You cleaned up x, but no other leaf: without inputs, backward accumulates into all leaves "
    "of the graph.",
)
def only_x_cleaned_up(z, x):
    x.retain_grad()
    before, x.grad = x.grad, None
    z.backward(create_graph=True)
    g, x.grad = torch.zeros_like(x) if x.grad is None else x.grad, before
    return g.detach(), _bend(g, x)


@misconception(
    "second_grad",
    zh="你把 x.grad 设成了 None：泄漏没有了，可是调用者原来放在里面的梯度也没有了。",
    en="You set x.grad to None: the leak is gone, but so is the gradient that the caller kept "
    "there.",
)
def callers_grad_thrown_away(z, x):
    x.grad = None
    z.backward(create_graph=True, inputs=[x])
    g, x.grad = torch.zeros_like(x) if x.grad is None else x.grad, None
    return g.detach(), _bend(g, x)


@misconception(
    "second_grad",
    zh="retain_graph 不会为导数建图：要再求一次导，第一次就得写另一个参数。",
    en="retain_graph builds no graph for a derivative: to differentiate again, the first call "
    "needs another argument.",
)
def retained_only(z, x):
    (g,) = grad(z, x, retain_graph=True, materialize_grads=True)
    return g, grad(g, x, retain_graph=True)[0]


@misconception(
    "second_grad",
    zh="第二次求导释放了图：导数的图伸进 z 的旧图，调用者再用 z 时就报错了。",
    en="The second differentiation frees the graph: that of a derivative reaches into that of z, "
    "and the caller's next use of z is an error.",
)
def graph_of_z_freed(z, x):
    g = _first(z, x)
    return g.detach(), _bend(g, x, retain_graph=False)


@misconception(
    "second_grad",
    zh="z 对 x 是线性的时候你的函数报错：一阶导数没有图，二阶导数是零。",
    en="Your function fails where z is linear in x: the first derivative has no graph, and the "
    "second is zero.",
)
def fails_on_a_linear_z(z, x):
    g = _first(z, x)
    return g.detach(), grad(g, x, retain_graph=True, materialize_grads=True)[0]


@misconception(
    "second_grad",
    zh="图里没有 x 时你的函数报错：看看 z = w * x 的二阶导数，以及与 x 无关的 z。",
    en="Your function fails where x is not in a graph: look at the second derivative of z = w * x, "
    "and at a z that does not depend on x.",
)
def fails_without_x(z, x):
    g = _first(z, x, materialize_grads=False)
    return g.detach(), _bend(g, x, materialize_grads=False)


@misconception(
    "second_grad",
    zh="没有用到 x 时你返回了 None：那里的导数是零。",
    en="You return None where x is not used: the derivative there is zero.",
)
def none_where_unused(z, x):
    options = {"materialize_grads": False, "allow_unused": True}
    g = _first(z, x, **options)
    if g is None:
        return None, None
    return g.detach(), _bend(g, x, **options)


@misconception(
    "second_grad",
    zh="你返回的是一阶导数的平方：再求一次导，不是再乘一次。",
    en="You return the first derivative squared: differentiate again, do not multiply again.",
)
def first_squared(z, x):
    g = _first(z, x).detach()
    return g, g**2


@misconception(
    "second_grad",
    zh="你只返回了二阶导数：题目要一对数，先一阶，后二阶。",
    en="You return the second derivative only: the task asks for a pair, the first and then the "
    "second.",
)
def second_alone(z, x):
    return _bend(_first(z, x), x)


@misconception(
    "second_grad",
    zh="一阶导数还带着计算图：谁拿着它，谁就拿着整个图，看看 first.requires_grad。",
    en="Your first derivative carries its graph: who keeps it keeps the graph; look at "
    "first.requires_grad.",
)
def first_with_its_graph(z, x):
    g = _first(z, x)
    return g, _bend(g, x)


@misconception(
    "second_grad",
    zh="你先分离了一阶导数，再求第二次：它已经没有图了，得到的零不是真的。",
    en="You detached the first derivative before the second: it has no graph any more, and the "
    "zero that you get is not true.",
)
def detached_too_early(z, x):
    g = _first(z, x).detach()
    return g, _bend(g, x)


@misconception(
    "second_grad",
    zh="你把一阶导数写进了 x.grad：调用者没有要求，那里原来的东西也没有了。",
    en="You wrote the first derivative to x.grad: nobody asked for it, and what was there is gone.",
)
def written_to_x_grad(z, x):
    g = _first(z, x)
    s = _bend(g, x)
    x.grad = g.detach()
    return g.detach(), s


@misconception(
    "second_grad",
    zh="一阶和二阶的次序反了：题目要 (first, second)。",
    en="The two orders are swapped: the task asks for (first, second).",
)
def pair_swapped(z, x):
    g = _first(z, x)
    return _bend(g, x), g.detach()


@misconception(
    "second_grad",
    zh="求第二次导出错时，你把两个导数都当成了零：z 是线性的时候，一阶导数并不是零。",
    en="When the second differentiation fails you take both derivatives for zero: where z is "
    "linear, the first one is not.",
)
def both_zero_on_an_error(z, x):
    try:
        (g,) = grad(z, x, create_graph=True)
        return g.detach(), grad(g, x, retain_graph=True)[0]
    except RuntimeError:
        return torch.zeros_like(x), torch.zeros_like(x)


EQUIVALENT = {
    "hessian": {
        "line 24: torch.zeros(len(g), len(g), dtype=g.dtype) → "
        "torch.zeros(len(g), len(g), dtype=g.dtype)": "the matrix is square",
        "line 21: return -torch.cat([part.reshape(-1) for part in parts]) for "
        "torch.cat([part.reshape(-1) for part in parts])": (
            "both differentiations change their sign, and the signs cancel"
        ),
    },
    "row_sum_counterexample": {
        "line 12: return -x for x": "the second derivatives of f are the same everywhere",
        "line 12: return 2 * x for x": "the second derivatives of f are the same everywhere",
    },
    "hess_diag": {
        "line 20: return -torch.zeros_like(x) for torch.zeros_like(x)": "zero has no sign",
        "line 20: return 2 * torch.zeros_like(x) for torch.zeros_like(x)": "twice zero is zero",
    },
    "laplacian": {
        "line 24: return -torch.zeros_like(X) for torch.zeros_like(X)": "zero has no sign",
        "line 24: return 2 * torch.zeros_like(X) for torch.zeros_like(X)": "twice zero is zero",
        "line 25: return -torch.autograd.grad(of.sum(), X, create_graph=True, materi… for "
        "torch.autograd.grad(of.sum(), X, create_graph=True, materia…": (
            "both differentiations change their sign, and the signs cancel"
        ),
    },
}
