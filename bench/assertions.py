"""The questions of assignment 03's probes as plain assertions with fixed inputs.

What an instructor writes for stock nbgrader: one cell of assertions an exercise. `bench.stock`
puts `TOOLS` into a cell of its own and the body of each ``check_…`` into its exercise's cell;
otter-grader gets the same functions as test files. Every facet of `tutor.probes.vjp` is asked.
"""

import torch

from tutor.counting import backward_passes, largest_tensor

F32 = torch.float32


def numbers(*shape, dtype=torch.float64, seed=0):
    """Fixed numbers of both signs, away from 0."""
    generator = torch.Generator().manual_seed(17 + seed)
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
    signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return (drawn * signs).to(dtype)


def leaf(*shape, dtype=torch.float64, seed=0):
    return numbers(*shape, dtype=dtype, seed=seed).requires_grad_()


def stale(tensor):
    """A leaf whose .grad holds something from before."""
    tensor.requires_grad_().grad = numbers(*tensor.shape, dtype=tensor.dtype, seed=9)
    return tensor


def curve(m, n, dtype=torch.float64):
    """A function from (n,) to (m,) with a full Jacobian."""
    a, b = numbers(m, n, dtype=dtype, seed=1).abs(), numbers(m, n, dtype=dtype, seed=2).abs()
    return lambda x: torch.sin(a @ x) + (b @ x) ** 2


def surface(rows, columns, height, width):
    """A function from (rows, columns) to a transposed (height, width)."""
    p, q = numbers(width, rows, seed=3), numbers(columns, height, seed=4)
    return lambda x: (p @ torch.sin(x) @ q).T


def sparse(m, n):
    """A function from (n,) to (m,) that makes no large tensor."""
    i, j = torch.arange(m) * 7 % n, torch.arange(m) * 11 % n
    return lambda x: torch.sin(x[i]) * x[j]


def assert_same(found, wanted):
    assert isinstance(found, torch.Tensor), type(found).__name__
    assert found.dtype == wanted.dtype, (found.dtype, wanted.dtype)
    assert found.shape == wanted.shape, (tuple(found.shape), tuple(wanted.shape))
    room = 1e-4 if wanted.dtype == F32 else 1e-9
    assert torch.allclose(found, wanted, rtol=room, atol=room)


def assert_all_same(found, wanted):
    assert isinstance(found, (tuple, list)), type(found).__name__
    assert len(found) == len(wanted), (len(found), len(wanted))
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def state(tensors):
    """What a call must not change: (values, requires_grad, .grad and its values)."""
    grads = [None if t.grad is None else t.grad.clone() for t in tensors]
    return [
        (t.detach().clone(), t.requires_grad, t.grad, g)
        for t, g in zip(tensors, grads, strict=True)
    ]


def assert_untouched(tensors, before):
    for tensor, (values, requires_grad, grad, old) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, values) and tensor.requires_grad == requires_grad
        assert tensor.grad is grad and (grad is None or torch.equal(grad, old))


def assert_raises(kind, function, *args):
    try:
        function(*args)
    except Exception as error:
        assert type(error) is kind or kind is Exception, type(error).__name__
        assert not isinstance(error, NotImplementedError)
    else:
        raise AssertionError("no error")


def counted(function):
    """(the function, a list that grows by one with every call)"""
    calls = []
    return lambda *args: (calls.append(1), function(*args))[1], calls


def pulled_back(ys, xs, vs):
    """Σⱼ vⱼᵀJⱼᵢ for every xᵢ, by one scalar."""
    total = sum((y if v is None else y * v).sum() for y, v in zip(ys, vs, strict=True))
    total = total + sum(0 * x.sum() for x in xs)
    grads = torch.autograd.grad(total, xs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, grads, strict=True)]


def system(m, n, k, dtype=torch.float64):
    """Outputs (m,), (2, n), (); inputs (n,), (k, 2); a v for each output."""
    a, c = numbers(m, n, dtype=dtype, seed=5), numbers(k, n, dtype=dtype, seed=6)
    x, w = leaf(n, dtype=dtype, seed=7), leaf(k, 2, dtype=dtype, seed=8)
    ys = torch.sin(a @ x) * w.sum(), w.T @ c * x, (w**2).sum() * x.prod()
    return ys, (x, w), tuple(numbers(*y.shape, dtype=dtype, seed=i) for i, y in enumerate(ys))


def banded(m, n, b):
    """A Jacobian whose elements [i, j] with |i − j| > b are 0."""
    return numbers(m, n, seed=b).triu(-b).tril(b)


def oracle(jac):
    """(v ↦ vᵀ·jac, the list of the vs it was asked about)"""
    asked = []

    def vjp_fn(v):
        if v.shape != jac.shape[:1] or v.dtype != jac.dtype:
            raise ValueError("v must be float64, of shape (m,)")
        asked.append(v)
        return v @ jac

    return vjp_fn, asked


def model(k, n, dtype=torch.float64):
    """k losses and the parameters (n,) and (3, n)."""
    a, c = numbers(k, n, dtype=dtype, seed=1), numbers(k, 3, dtype=dtype, seed=2)
    p, q = leaf(n, dtype=dtype, seed=3), leaf(3, n, dtype=dtype, seed=4)
    return torch.sin(a @ p) + (c @ (q * p)).square().sum(1), (p, q)


def check_vjp(vjp):
    def ask(f, x, v):
        pair = vjp(f, x, v)
        assert isinstance(pair, (tuple, list)) and len(pair) == 2
        y, g = pair
        wanted_y, wanted_g = torch.autograd.functional.vjp(f, x.detach(), v)
        assert_same(y, wanted_y)
        assert_same(g, wanted_g)

    # value
    ask(curve(7, 3), numbers(3), numbers(7))
    ask(curve(3, 7), numbers(7), numbers(3))
    # shapes
    ask(surface(3, 4, 4, 3), numbers(3, 4), numbers(4, 3))
    ask(surface(3, 4, 2, 3), numbers(4, 3).T, numbers(3, 2).T)
    ask(curve(3, 4), numbers(1).expand(4), numbers(3))
    ask(torch.sin, numbers(), numbers())
    ask(lambda x: torch.arange(1.0, 4, dtype=x.dtype) * torch.sin(x), numbers(), numbers(3))
    ask(lambda x: torch.sin(x).sum(), numbers(4), numbers())
    ask(curve(1, 1), numbers(1), numbers(1))
    ask(curve(3, 0), numbers(0), numbers(3))
    # float32
    ask(curve(3, 4, F32), numbers(4, dtype=F32), numbers(3, dtype=F32))
    ask(lambda x: numbers(3) * torch.sin(x.double().sum()), numbers(4, dtype=F32), numbers(3))
    # unused
    weight = leaf(4)
    ask(lambda x: numbers(3) * 1, numbers(3, 4), numbers(3))
    ask(lambda x: numbers(3) * 1, numbers(3, 1, dtype=F32), numbers(3))
    pair = vjp(lambda x: weight**2, numbers(3, 1, dtype=F32), numbers(4))
    assert_same(pair[1], torch.zeros(3, 1, dtype=F32))
    ask(lambda x: x[:2] * 3, numbers(5), numbers(2))
    # refused
    for shape in [(), (1,), (1, 3), (3, 1), (4,)]:
        assert_raises(ValueError, vjp, lambda x: x.sum().expand(3), numbers(4), numbers(*shape))
    for shape in [(1,), (3,)]:
        assert_raises(ValueError, vjp, lambda x: x.sum(), numbers(4), numbers(*shape))
    for shape in [(3, 2), (3,)]:
        assert_raises(ValueError, vjp, lambda x: x.sum().expand(2, 3), numbers(4), numbers(*shape))
    assert_raises(ValueError, vjp, lambda x: numbers(3), numbers(4), numbers(4))
    assert_raises(KeyError, vjp, lambda x: {}["w"] * x, numbers(4), numbers(4))
    # untouched
    for x in (numbers(4), stale(numbers(4))):
        weight, v, f = stale(numbers(3)), numbers(3), curve(3, 4)
        before = state([x, v, weight])
        y, g = vjp(lambda x, weight=weight, f=f: weight * f(x), x, v)
        assert_untouched([x, v, weight], before)
        assert not y.requires_grad and not g.requires_grad
    # cost
    f, calls = counted(sparse(60, 700))
    with backward_passes() as passes, largest_tensor() as largest:
        vjp(f, numbers(700), numbers(60))
    assert len(calls) == 1 and passes.value == 1 and largest.value < 60 * 700 / 2


def check_vjp_multi(vjp_multi):
    def ask(ys, xs, vs):
        wanted = pulled_back(ys, xs, vs)
        assert_all_same(vjp_multi(ys, xs, vs), wanted)

    # value
    ask(*system(3, 4, 5))
    ask(*system(5, 3, 4, F32))
    a = leaf(4)
    middle = a * numbers(4, seed=1)
    ask((torch.sin(middle), a.sum()), (a, middle), (numbers(4), numbers()))
    # none
    x = leaf(4)
    ask((torch.sin(x).sum(),), (x,), (None,))
    ask(((x**2).sum(0, keepdim=True),), (x,), (None,))
    ask((torch.exp(x).prod().reshape(1, 1),), (x,), (None,))
    ask((x**3, (x**2).sum(), numbers(4) @ x), (x,), (numbers(4), None, numbers()))
    assert_raises(Exception, vjp_multi, (torch.sin(x),), (x,), (None,))
    # unused
    w, alone = leaf(2, 3, dtype=F32), leaf(5, dtype=F32)
    ask((x**2, torch.sin(w)), (x, w), (numbers(4), numbers(2, 3, dtype=F32)))
    ask((x**3,), (alone, x), (numbers(4),))
    ask((x.sum(),), (alone, w), (numbers(),))
    # constants
    fixed = numbers(5)
    ask((fixed, x**2), (x,), (numbers(5), numbers(4)))
    ask((x**2, fixed.sum()), (x,), (numbers(4), None))
    ask((fixed,), (alone, x), (numbers(5),))
    # refused
    assert_raises(ValueError, vjp_multi, (x**2, x.sum()), (x,), (numbers(4),))
    assert_raises(ValueError, vjp_multi, (x.sum(),), (x,), ())
    assert_raises(ValueError, vjp_multi, (x**2,), (x,), (numbers(4), numbers(3)))
    assert_raises(ValueError, vjp_multi, (fixed,), (x,), (numbers(5), numbers(5)))
    # untouched
    ys, xs, vs = system(3, 4, 5)
    other = stale(numbers(4))
    tensors = [*map(stale, xs), *vs, other]
    before = state(tensors)
    found = vjp_multi((ys[0], ys[1] * other, ys[2]), xs, vs)
    assert_untouched(tensors, before)
    assert not any(g.requires_grad for g in found)
    # cost
    asked = system(3, 4, 5)
    with backward_passes() as passes:
        vjp_multi(*asked)
    assert passes.value == 1


def check_jac_rows(jac_rows):
    def ask(f, x, rows):
        found = jac_rows(f, x, rows)
        jac = torch.autograd.functional.jacobian(f, x.detach())
        assert_same(found, jac.reshape(-1, *x.shape)[rows])

    # value, order
    ask(curve(7, 3), numbers(3), [0, 2, 5])
    ask(curve(4, 7), numbers(7), [1, 3])
    ask(curve(4, 5), numbers(5), [3, 2, 0])
    ask(curve(4, 5), numbers(5), [3, 2, 0, 3, 3])
    # shapes
    ask(surface(4, 3, 3, 5), numbers(4, 3), [2, 7])
    ask(surface(3, 4, 2, 4), numbers(4, 3).T, [1, 4, 7])
    ask(torch.sin, numbers(), [0])
    ask(lambda x: torch.arange(1.0, 5, dtype=x.dtype) * torch.sin(x), numbers(), [1, 3])
    ask(lambda x: (x**3).sum(), numbers(3), [0])
    ask(curve(4, 3), numbers(3), [])
    ask(curve(4, 3, F32), numbers(3, dtype=F32), [0, 2])
    # alias
    swap = torch.tensor([2, 0, 1])
    ask(lambda x: x, numbers(3), [0, 2])
    ask(lambda x: x + 2, numbers(2, 3), [0, 3, 5])
    ask(lambda x: x[swap], numbers(3), [0, 1, 2])
    # unused
    weight = leaf(4)
    assert_same(
        jac_rows(lambda x: numbers(4) * 1, numbers(3, 2, dtype=F32), [0, 3]),
        torch.zeros(2, 3, 2, dtype=F32),
    )
    assert_same(jac_rows(lambda x: weight**2, numbers(3), [1, 2]), torch.zeros(2, 3))
    ask(lambda x: torch.cat((weight, x**2)), numbers(3), [0, 4, 5])
    # untouched
    for x in (numbers(3), stale(numbers(3))):
        weight, rows, f = stale(numbers(4)), [2, 0], curve(4, 3)
        before = state([x, weight])
        found = jac_rows(lambda x, weight=weight, f=f: weight * f(x), x, rows)
        assert_untouched([x, weight], before)
        assert rows == [2, 0] and not found.requires_grad
    # cost
    f, calls = counted(sparse(60, 700))
    with backward_passes() as passes, largest_tensor() as largest:
        jac_rows(f, numbers(700), [3, 20, 41, 59])
    assert len(calls) == 1 and 1 <= passes.value <= 4 and largest.value < 60 * 700 / 2


def check_weighted_losses(weighted_losses):
    def ask(weights, dtype=torch.float64):
        losses, params = model(len(weights), 4, dtype)
        v = torch.as_tensor(weights, dtype=dtype).detach()
        wanted = pulled_back([losses], params, [v])
        assert_all_same(weighted_losses(losses, weights, params), wanted)

    # value
    ask(torch.tensor([0.7, 1.4, 0.9, 0.6]))
    ask(torch.tensor([0.7, 1.4]))
    # weights
    both = torch.tensor([0.7, -1.2, 1.9, -0.6])
    ask(both)
    ask(both * torch.tensor([0.0, 1, 0, 1]))
    ask(torch.tensor([0.7, -1.2, 1.9, -1.4]))
    ask(torch.zeros(4))
    ask(torch.tensor([-0.8]))
    # kinds
    ask([0.7, -1.2, 1.9])
    ask(torch.tensor([2, 7, 3, 5]))
    ask(torch.tensor([False, True, True, False]))
    ask(leaf(4) ** 2)
    ask(both, F32)
    # unused
    losses, params = model(4, 4)
    params = (*params, leaf(2, 4, dtype=F32))
    wanted = pulled_back([losses], params, [both])
    assert_all_same(weighted_losses(losses, both, params), wanted)
    # untouched
    losses, params = model(4, 4)
    weights = stale(numbers(4))
    tensors = [losses.detach(), *map(stale, params), weights]
    before = state(tensors)
    found = weighted_losses(losses, weights, params)
    assert_untouched(tensors, before)
    assert not any(g.requires_grad for g in found)
    # cost
    losses, params = model(4, 4)
    with backward_passes() as passes:
        weighted_losses(losses, both, params)
    assert passes.value == 1


def check_jac_from_oracle(jac_from_oracle):
    def ask(jac, b, budget=None):
        vjp_fn, asked = oracle(jac)
        assert_same(jac_from_oracle(vjp_fn, *jac.shape, b), jac)
        assert budget is None or len(asked) <= budget, len(asked)

    # value, calls
    ask(numbers(9, 4), None, 9)
    ask(numbers(4, 9), None, 4)
    # banded, budget
    ask(banded(13, 11, 2), 2, 5)
    ask(banded(9, 12, 2), 2, 5)
    ask(banded(10, 10, 3), 3, 7)
    ask(banded(6, 6, 0), 0, 1)
    ask(numbers(3, 4), 3, 3)
    # edges
    ask(banded(4, 6, 0), 0)
    ask(banded(14, 3, 2), 2)
    ask(banded(3, 14, 2), 2)
    ask(numbers(1, 1), None)
    ask(numbers(3, 4), 5)


def check_layout_counterexample(layout_counterexample):
    f, x = layout_counterexample()
    jac = torch.autograd.functional.jacobian(f, x.detach())
    # differs
    assert jac.shape == (x.numel(), x.numel())
    assert jac.isfinite().all()
    assert ((jac.sum(0) - jac.sum(1)).abs() > 1e-6 * jac.abs().max()).any()
    # setting
    for tensor in (x, f(x)):
        assert tensor.dtype == torch.float64 and tensor.shape == (3,)
    # honest
    x, h = x.detach(), 1e-5
    assert torch.equal(f(x), f(x))
    slopes = [(f(x + step) - f(x - step)) / (2 * h) for step in h * torch.eye(3)]
    assert torch.allclose(
        torch.stack(slopes, dim=1), jac, rtol=0, atol=1e-4 * float(jac.abs().max())
    )
