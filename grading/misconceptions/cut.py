"""Answers to assignment 06: the wrong ones that people give, and right ones unlike the source's."""

import copy

import torch
from torch.autograd import grad

from . import alternative, misconception

# ------------------------------------------------------------------------------------ outcome


def _slope(program, x, h=1e-5):
    """The gradient of program, which returns (), by central differences."""
    steps = h * torch.eye(x.numel()).reshape(-1, *x.shape)
    changes = [(program(x + s) - program(x - s)).detach() for s in steps]
    return torch.stack(changes).reshape(x.shape) / (2 * h)


def _program(op, write, x):
    start = x.detach().clone().requires_grad_()
    y = op(start)
    write(start, y)
    return start, y.sum()


def _gradient(op, write, x):
    start, z = _program(op, write, x)
    return grad(z, start)[0]


def _unwritten(op, x):
    return _gradient(op, lambda x, y: None, x)


def _measured(op, write, x):
    return _slope(lambda x: _program(op, write, x)[1], x.detach())


@alternative("outcome")
def along_drawn_directions(op, write, x):
    before = _unwritten(op, x)
    try:
        found = _gradient(op, write, x)
    except RuntimeError:
        return "error"
    h, consistent = 1e-5, True
    for _ in range(x.numel() + 1):
        u = torch.randn(x.shape)
        ends = [_program(op, write, x + s * u)[1].detach() for s in (h, -h)]
        consistent &= torch.isclose((ends[0] - ends[1]) / (2 * h), (u * found).sum()).item()
    if consistent:
        return "consistent"
    return "inconsistent" if torch.allclose(found, before) else "silent-wrong"


@alternative("outcome")
def backward_into_a_fresh_leaf(op, write, x):
    fresh = x.detach().clone().requires_grad_()
    op(fresh).sum().backward(inputs=[fresh])
    try:
        start, z = _program(op, write, x)
        z.backward(inputs=[start])
    except RuntimeError:
        return "error"
    right = _measured(op, write, x.clone())
    if (start.grad - right).abs().max() < 1e-6:
        return "consistent"
    return "inconsistent" if (start.grad - fresh.grad).abs().max() < 1e-6 else "silent-wrong"


@misconception(
    "outcome",
    zh="没有报错不等于对：你把每个不报错的结局都叫作 consistent，请去比较梯度。",
    en="No error does not mean right: you call every outcome without one consistent; compare "
    "gradients.",
)
def no_error_is_right(op, write, x):
    try:
        _gradient(op, write, x)
    except RuntimeError:
        return "error"
    return "consistent"


@misconception(
    "outcome",
    zh="你拿来比较的变化率里没有写入这一步：z 是写入之后的值，梯度就该和写入之后的程序比。",
    en="The rate of change you compare with leaves out the write: z is the value after it, so "
    "compare the gradient with the program after it.",
)
def write_left_out_of_the_slope(op, write, x):
    before = _unwritten(op, x)
    try:
        found = _gradient(op, write, x)
    except RuntimeError:
        return "error"
    return "consistent" if torch.allclose(found, before) else "silent-wrong"


@misconception(
    "outcome",
    zh="你先和没有写入的梯度比：写入没有影响时两个梯度相同，这种情形是 consistent，先问它。",
    en="You compare with the gradient without the write first: where the write has no effect both "
    "are equal, and that is consistent; ask for it first.",
)
def inconsistent_asked_first(op, write, x):
    before = _unwritten(op, x)
    try:
        found = _gradient(op, write, x)
    except RuntimeError:
        return "error"
    if torch.allclose(found, before):
        return "inconsistent"
    return "consistent" if torch.allclose(found, _measured(op, write, x)) else "silent-wrong"


@misconception(
    "outcome",
    zh="x.detach() 与 x 共享内存：write 改写了调用者的 x，此后的测量也都不在原来的点上。",
    en="x.detach() shares memory with x: write changed the caller's x, and what you measure "
    "afterwards is at another point.",
)
def caller_s_x_written_to(op, write, x):
    before = _unwritten(op, x)

    def program(start):
        start = start.detach().requires_grad_()
        y = op(start)
        write(start, y)
        return start, y.sum()

    try:
        start, z = program(x)
        (found,) = grad(z, start)
    except RuntimeError:
        return "error"
    if torch.allclose(found, _slope(lambda start: program(start)[1], x)):
        return "consistent"
    return "inconsistent" if torch.allclose(found, before) else "silent-wrong"


@misconception(
    "outcome",
    zh="write 自己也会报错：直接写叶子张量时，异常来自 write，你只接住了求导的。",
    en="write can raise too: when it writes to the leaf itself the error is that of write, and you "
    "catch only that of differentiation.",
)
def write_outside_try(op, write, x):
    before = _unwritten(op, x)
    start, z = _program(op, write, x)
    try:
        (found,) = grad(z, start)
    except RuntimeError:
        return "error"
    if torch.allclose(found, _measured(op, write, x)):
        return "consistent"
    return "inconsistent" if torch.allclose(found, before) else "silent-wrong"


@misconception(
    "outcome",
    zh="你把一切异常都叫作 error：op 或 write 自己写错了（例如 KeyError），并不是 torch 的结局。",
    en="You call every exception an error: a mistake of op or write itself (a KeyError, say) is "
    "none of torch's outcomes.",
)
def every_exception_an_error(op, write, x):
    try:
        before = _unwritten(op, x)
        found = _gradient(op, write, x)
    except Exception:
        return "error"
    if torch.allclose(found, _measured(op, write, x)):
        return "consistent"
    return "inconsistent" if torch.allclose(found, before) else "silent-wrong"


@misconception(
    "outcome",
    zh="你只看版本计数器：计数增加不一定报错，要看节点是否保存了那个张量；没有增加也不一定对。",
    en="You look at version counters only: a count that grows need not raise, it depends on what "
    "the node saved; and one that does not grow need not be right.",
)
def by_version_counters(op, write, x):
    start = x.detach().clone().requires_grad_()
    y = op(start)
    before = start._version + y._version
    try:
        write(start, y)
    except RuntimeError:
        return "error"
    return "error" if start._version + y._version > before else "consistent"


@misconception(
    "outcome",
    zh="你比较的是 z 的值，不是梯度：值变没变，说明不了梯度对不对。",
    en="You compare the values of z, not gradients: whether the value changes does not tell "
    "whether the gradient is right.",
)
def values_compared(op, write, x):
    try:
        start, z = _program(op, write, x)
        grad(z, start)
    except RuntimeError:
        return "error"
    return "consistent" if torch.allclose(z, op(x.detach()).sum()) else "inconsistent"


@misconception(
    "outcome",
    zh="有一个元素相同你就满足了：写入可能只改了一个元素，每个元素都要比。",
    en="You are content with one equal element: a write may have changed just one; compare all.",
)
def one_equal_element_will_do(op, write, x):
    before = _unwritten(op, x)
    try:
        found = _gradient(op, write, x)
    except RuntimeError:
        return "error"
    if torch.isclose(found, _measured(op, write, x)).any():
        return "consistent"
    return "inconsistent" if torch.isclose(found, before).any() else "silent-wrong"


@misconception(
    "outcome",
    zh="你只比较了第一个元素：写入可能只影响别的元素，每个元素都要比。",
    en="You compare the first element only: a write may concern others; compare all of them.",
)
def first_element_compared(op, write, x):
    before = _unwritten(op, x)
    try:
        found = _gradient(op, write, x)
    except RuntimeError:
        return "error"
    if torch.isclose(found.flatten()[0], _measured(op, write, x).flatten()[0]):
        return "consistent"
    same = torch.isclose(found.flatten()[0], before.flatten()[0])
    return "inconsistent" if same else "silent-wrong"


@misconception(
    "outcome",
    zh="你把所有元素一起移动，量到的只是梯度的和：各元素的差别可能互相抵消，要逐个元素量。",
    en="You move all elements at once and measure only the sum of the gradient: differences may "
    "cancel; measure element by element.",
)
def sum_of_the_gradient(op, write, x):
    before = _unwritten(op, x)
    try:
        found = _gradient(op, write, x)
    except RuntimeError:
        return "error"
    ends = [_program(op, write, x.detach() + h)[1].detach() for h in (1e-5, -1e-5)]
    if torch.isclose(found.sum(), (ends[0] - ends[1]) / 2e-5):
        return "consistent"
    return "inconsistent" if torch.allclose(found, before) else "silent-wrong"


@misconception(
    "outcome",
    zh="backward 把梯度累积到图中每一个叶子张量：op 里的权重也得到了 .grad。",
    en="backward accumulates into every leaf of the graph: the weights inside op get a .grad too.",
)
def backward_into_the_weights(op, write, x):
    before = _unwritten(op, x)
    try:
        start, z = _program(op, write, x)
        z.backward()
    except RuntimeError:
        return "error"
    if torch.allclose(start.grad, _measured(op, write, x)):
        return "consistent"
    return "inconsistent" if torch.allclose(start.grad, before) else "silent-wrong"


# ---------------------------------------------------------------------------------- make_case


def _cases(**changed):
    """A make_case that is right but for the cases of ``changed``."""
    right = {
        "error": (torch.sigmoid, lambda x, y: y.detach().mul_(2)),
        "consistent": (torch.sin, lambda x, y: y.mul_(2)),
        "inconsistent": (torch.sin, lambda x, y: y.detach().mul_(2)),
        "silent_wrong": (torch.sigmoid, lambda x, y: y.data.mul_(2)),
    }
    cases = right | changed
    return lambda kind: (*cases[kind.replace("-", "_")], torch.tensor([0.5, -1.5, 2.0]))


@alternative("make_case")
def inputs_written_to(kind):
    x = torch.tensor([[0.3, 0.8], [1.2, -0.4], [2.0, 0.1]])
    cases = {
        "error": (torch.square, lambda x, y: x.detach().add_(1)),
        "consistent": (torch.cos, lambda x, y: y.mul_(-3)),
        "inconsistent": (torch.cos, lambda x, y: y.detach()[0].mul_(5)),
        "silent-wrong": (torch.square, lambda x, y: x.data.add_(1)),
    }
    return *cases[kind], x


def _under_no_grad(x, y):
    with torch.no_grad():
        y.mul_(2)


def _by_numpy(x, y):
    y.detach().numpy()[:] = 0.7


@alternative("make_case")
def by_no_grad_and_numpy(kind):
    cases = {
        "error": (torch.exp, _under_no_grad),
        "consistent": (lambda x: torch.exp(x) + 0, lambda x, y: y.square_()),
        "inconsistent": (lambda x: x**3, _under_no_grad),
        "silent-wrong": (torch.tanh, _by_numpy),
    }
    return *cases[kind], torch.arange(1.0, 5)


@misconception(
    "make_case",
    zh="S4 的例子都写零：sigmoid 经由 .data 写零，得到的零梯度碰巧就是整段程序的变化率。",
    en="All of S4's examples write zeros: with sigmoid through .data the gradient of zero happens "
    "to be the rate of change of the whole program.",
)
def zeros_everywhere(kind):
    return _cases(
        error=(torch.sigmoid, lambda x, y: y.detach().zero_()),
        consistent=(torch.square, lambda x, y: y.zero_()),
        inconsistent=(torch.square, lambda x, y: y.detach().zero_()),
        silent_wrong=(torch.sigmoid, lambda x, y: y.data.zero_()),
    )(kind)


@misconception(
    "make_case",
    zh="你的 consistent 什么都没有写：要的是 y 变了、梯度也跟着变的例子。",
    en="Your consistent example writes nothing: it should change y, and the gradient with it.",
)
def nothing_written(kind):
    return _cases(consistent=(torch.sin, lambda x, y: None))(kind)


@misconception(
    "make_case",
    zh="你的 inconsistent 经由 .data 写入：计数器没有看见，这驳不倒“用 detach 就会报错”。",
    en="Your inconsistent example writes through .data: no counter saw it, and that does not "
    "refute “with detach it raises”.",
)
def inconsistent_by_data(kind):
    return _cases(inconsistent=(torch.sin, lambda x, y: y.data.mul_(2)))(kind)


@misconception(
    "make_case",
    zh="你的 error 是 write 自己抛出的：直接写叶子张量，等不到反向传播就被拒绝了。",
    en="Your error is that of write itself: a write to the leaf is refused before there is any "
    "backward pass.",
)
def leaf_written_for_error(kind):
    return _cases(error=(torch.square, lambda x, y: x.mul_(2)))(kind)


@misconception(
    "make_case",
    zh="经由 .data 写入并不总是 silent-wrong：sin 的节点没有保存输出，写坏了也没人去读它。",
    en="A write through .data is not always silent-wrong: the node of sin did not save its output, "
    "and nobody reads what you spoiled.",
)
def data_always_wrong(kind):
    return _cases(silent_wrong=(torch.sin, lambda x, y: y.data.mul_(2)))(kind)


@misconception(
    "make_case",
    zh="经由 detach() 写入并不总是报错：节点没有保存那个张量，就没有什么可检查的。",
    en="A write through detach() does not always raise: where the node has not saved that tensor, "
    "there is nothing to check.",
)
def detach_always_refused(kind):
    return _cases(error=(torch.sin, lambda x, y: y.detach().mul_(2)))(kind)


@misconception(
    "make_case",
    zh="你的 silent-wrong 经由 detach() 写入了被保存的张量：计数器看见了，反向传播会拒绝。",
    en="Your silent-wrong example writes to a saved tensor through detach(): the counter sees it, "
    "and the backward pass refuses.",
)
def detach_for_silent_wrong(kind):
    return _cases(silent_wrong=(torch.sigmoid, lambda x, y: y.detach().mul_(2)))(kind)


@misconception(
    "make_case",
    zh="你的 consistent 直接写了 sigmoid 的输出：写入会进图，可节点保存的正是这个输出，于是报错。",
    en="Your consistent example writes to the output of sigmoid itself: the write is recorded, but "
    "the node has saved this very output, and so it raises.",
)
def saved_output_written_to(kind):
    return _cases(consistent=(torch.sigmoid, lambda x, y: y.mul_(2)))(kind)


@misconception(
    "make_case",
    zh="你的 consistent 经由 detach() 写入：y 变了，图里却没有这一步，梯度还是原来的。",
    en="Your consistent example writes through detach(): y changes, but the graph has no such "
    "step, and the gradient is the old one.",
)
def consistent_by_detach(kind):
    return _cases(consistent=(torch.sin, lambda x, y: y.detach().mul_(2)))(kind)


@misconception(
    "make_case",
    zh="你把 inconsistent 与 silent-wrong 弄反了：前者的梯度属于写入之前的函数，后者两边都不是。",
    en="You mixed up inconsistent and silent-wrong: the former's gradient belongs to the function "
    "before the write, the latter's to none.",
)
def two_kinds_swapped(kind):
    swap = {"inconsistent": "silent-wrong", "silent-wrong": "inconsistent"}
    return _cases()(swap.get(kind, kind))


def _rebinds(x, y):
    y = y * 2


@misconception(
    "make_case",
    zh="你的 write 里写的是 y = y * 2：它造出一个新张量，没有改写任何内存。",
    en="Your write says y = y * 2: that makes a new tensor, and changes no memory.",
)
def name_rebound(kind):
    return (*_cases()(kind)[:1], _rebinds, torch.tensor([0.5, -1.5, 2.0]))


@misconception(
    "make_case",
    zh="x 只有一个元素：请给至少两个，写入才分得出改的是谁。",
    en="Your x has a single element: give two or more, so that a write can be told apart.",
)
def single_element(kind):
    return (*_cases()(kind)[:2], torch.tensor([0.5]))


@misconception(
    "make_case",
    zh="x 是 float32：差分在单精度下量不准，请用 float64。",
    en="Your x is float32: differences cannot be measured in single precision; use float64.",
)
def single_precision(kind):
    return (*_cases()(kind)[:2], torch.tensor([0.5, -1.5, 2.0], dtype=torch.float32))


# ----------------------------------------------------------------------------------- snapshot


@alternative("snapshot")
def cloned_under_no_grad(h):
    with torch.no_grad():
        return h.clone()


@alternative("snapshot")
def copied_into_new_memory(h):
    taken = torch.empty(h.shape, dtype=h.dtype)
    taken.copy_(h.detach())
    return taken


@alternative("snapshot")
def tensor_of_a_tensor(h):
    return torch.tensor(h)


@alternative("snapshot")
def copied_by_numpy(h):
    return torch.from_numpy(h.detach().numpy().copy())


@misconception(
    "snapshot",
    zh="detach() 切断了图，却没有复制：快照与 h 共享内存，写一个，另一个也变。",
    en="detach() cuts the graph and copies nothing: the snapshot shares the memory of h; write to "
    "one, and the other changes.",
)
def detached_only(h):
    return h.detach()


@misconception(
    "snapshot",
    zh=".data 也不复制，而且写入它连版本计数器都看不见：h 的梯度会悄悄出错。",
    en=".data copies nothing either, and no version counter sees a write to it: the gradient of h "
    "goes wrong in silence.",
)
def data_only(h):
    return h.data


@misconception(
    "snapshot",
    zh="clone() 复制了内存，却没有切断图：快照还连着 h，看看它的 requires_grad。",
    en="clone() copies the memory and does not cut the graph: the snapshot still hangs on h; look "
    "at its requires_grad.",
)
def cloned_only(h):
    return h.clone()


@misconception(
    "snapshot",
    zh="经过 Python 列表，dtype 就丢了，形状含 0 的张量连形状也丢了。",
    en="A Python list loses the dtype, and of a tensor with a 0 in its shape, the shape as well.",
)
def by_way_of_a_list(h):
    return torch.tensor(h.tolist())


@misconception(
    "snapshot",
    zh="deepcopy 只接受叶子张量；对叶子张量，它连 requires_grad 也一起复制。",
    en="deepcopy accepts leaf tensors only; and of a leaf it copies requires_grad as well.",
)
def deep_copy(h):
    return copy.deepcopy(h)


@misconception(
    "snapshot",
    zh="deepcopy 复制的是整块存储：h 若是大张量的一小片，快照就占着大张量那么多内存。",
    en="deepcopy copies the whole storage: where h is a small part of a large tensor, the snapshot "
    "takes as much memory as the large one.",
)
def deep_copy_of_detached(h):
    return copy.deepcopy(h.detach())


@misconception(
    "snapshot",
    zh="inference_mode 里造出的是推理张量：以后不能原地修改，也不能参与求导。",
    en="What is made under inference_mode is an inference tensor: it cannot be written to later, "
    "nor differentiated with.",
)
@torch.inference_mode()
def cloned_under_inference_mode(h):
    return h.clone()


@misconception(
    "snapshot",
    zh="快照不该要求梯度：它只是一份值，以后的运算不必为它建图。",
    en="A snapshot should ask for no gradient: it is just values, and no graph need be built for "
    "it.",
)
def snapshot_as_a_leaf(h):
    taken = h.detach().clone()
    return taken.requires_grad_() if h.requires_grad else taken


@misconception(
    "snapshot",
    zh="快照是一份值，不是参数：Parameter 放进模块就会被登记成可训练的权重。",
    en="A snapshot is values, not a parameter: a Parameter that is put into a module is registered "
    "as one of its weights.",
)
def snapshot_as_a_parameter(h):
    return torch.nn.Parameter(h.detach().clone(), requires_grad=False)


@misconception(
    "snapshot",
    zh="contiguous() 只在需要时才复制：h 本来就连续时，你返回的是 h 的别名。",
    en="contiguous() copies only if it has to: where h is contiguous already, you return an alias "
    "of h.",
)
def contiguous_taken_for_a_copy(h):
    return h.detach().contiguous()


@misconception(
    "snapshot",
    zh="detach_() 切断的是 h 自己：梯度再也传不回 h 之前的计算。",
    en="detach_() cuts h itself: no gradient gets back any more to what h was computed from.",
)
def h_itself_cut(h):
    return h.clone().detach() if h._is_view() else h.detach_().clone()


@misconception(
    "snapshot",
    zh="requires_grad_(False) 只能用在叶子张量上：算出来的张量要用别的办法切断。",
    en="requires_grad_(False) is for leaf tensors only: cut one that was computed in another way.",
)
def flag_of_the_clone_switched_off(h):
    return h.clone().requires_grad_(False)


@misconception(
    "snapshot",
    zh="关掉梯度时返回的还是 h 自己：no_grad 只管新算出来的张量，不改变已有的。",
    en="With gradients off you still return h itself: no_grad concerns tensors that are newly "
    "computed, and changes none that exist.",
)
def h_under_no_grad(h):
    with torch.no_grad():
        return h


@misconception(
    "snapshot",
    zh="快照的 dtype 变了：float32 应当还是 float32，整数还是整数。",
    en="Your snapshot has another dtype: float32 should stay float32, and integers integers.",
)
def as_double(h):
    return h.detach().clone().double()


@misconception(
    "snapshot",
    zh="expand 出来的元素共享同一块内存：保留步长的复制品，写一个元素，别的也变。",
    en="Expanded elements share memory: in a copy that keeps the strides, a write to one element "
    "changes others.",
)
def strides_kept(h):
    bare = h.detach()
    if 0 not in bare.stride():
        return bare.clone()
    one = bare[tuple(slice(1) if s == 0 else slice(None) for s in bare.stride())].clone()
    return one.expand(bare.shape)


# ---------------------------------------------------------------------------------- sgd_step_


@alternative("sgd_step_")
@torch.no_grad()
def scaled_addition(params, lr):
    for p in params:
        if p.grad is not None:
            p.add_(p.grad, alpha=-lr)


@alternative("sgd_step_")
def through_detach(params, lr):
    for p in params:
        if p.grad is not None:
            p.detach().sub_(lr * p.grad.detach())


@alternative("sgd_step_")
def copied_back(params, lr):
    for p in params:
        if p.grad is not None:
            new = p.detach() - lr * p.grad.detach()
            with torch.no_grad():
                p.copy_(new)


@alternative("sgd_step_")
def flag_off_and_on(params, lr):
    for p in params:
        if p.grad is not None:
            p.requires_grad_(False)
            p -= lr * p.grad.detach()
            p.requires_grad_(True)


@misconception(
    "sgd_step_",
    zh="经由 .data 的写入没有被计数：拿更新前的图再求导，得到错误的梯度而没有任何提示。",
    en="A write through .data is not counted: a backward pass through the old graph gives a wrong "
    "gradient, and no warning.",
)
def through_data(params, lr):
    for p in params:
        if p.grad is not None:
            p.data -= lr * p.grad


@misconception(
    "sgd_step_",
    zh="给 p.data 赋值换掉了内存：与 p 共享内存的张量还指着旧的值。",
    en="Assigning to p.data puts other memory in place: tensors that share memory with p still "
    "hold the old values.",
)
def data_replaced(params, lr):
    for p in params:
        if p.grad is not None:
            p.data = p.data - lr * p.grad


@misconception(
    "sgd_step_",
    zh="p = p - … 只是改变了名字 p 指向谁：调用者的参数没有动。",
    en="p = p - … changes only what the name p stands for: the caller's parameters have not moved.",
)
def parameter_name_rebound(params, lr):
    for p in params:
        if p.grad is not None:
            p = p - lr * p.grad


@misconception(
    "sgd_step_",
    zh="你没有关掉记录：要求梯度的叶子张量不能原地修改，看看报错。",
    en="You did not switch off the recording: a leaf that asks for gradients cannot be changed in "
    "place; look at the message.",
)
def unguarded(params, lr):
    for p in params:
        if p.grad is not None:
            p -= lr * p.grad


@misconception(
    "sgd_step_",
    zh="有的参数 .grad 是 None：它没有参加这次计算，应当跳过，不能拿来乘。",
    en="Some parameter has None for .grad: it took no part this time; skip it, it cannot be "
    "multiplied.",
)
@torch.no_grad()
def none_multiplied(params, lr):
    for p in params:
        p -= lr * p.grad


@misconception(
    "sgd_step_",
    zh="遇到没有梯度的参数你就停下了：它后面的参数也要更新。",
    en="You stop at the first parameter without a gradient: those after it want their update too.",
)
@torch.no_grad()
def stops_at_none(params, lr):
    for p in params:
        if p.grad is None:
            break
        p -= lr * p.grad


@misconception(
    "sgd_step_",
    zh="你给没有梯度的参数补上了零：None 与零不同，例如动量会让零梯度的参数继续移动。",
    en="You gave zeros to a parameter without a gradient: None is not zero; with momentum, say, a "
    "parameter whose gradient is zero moves on.",
)
@torch.no_grad()
def zeros_for_none(params, lr):
    for p in params:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        p -= lr * p.grad


@misconception(
    "sgd_step_",
    zh="你顺手清掉了 .grad：更新与清零是两步，题目要求 .grad 原样保留。",
    en="You cleared .grad on the way: the update and the clearing are two steps, and .grad should "
    "stay as it is.",
)
@torch.no_grad()
def gradients_cleared(params, lr):
    for p in params:
        if p.grad is not None:
            p -= lr * p.grad
            p.grad = None


@misconception(
    "sgd_step_",
    zh="你把 lr 原地乘进了 .grad：看看调用之后 .grad 还是不是原来的数。",
    en="You multiplied lr into .grad in place: look whether .grad still holds its numbers after "
    "the call.",
)
@torch.no_grad()
def gradients_scaled(params, lr):
    for p in params:
        if p.grad is not None:
            p -= p.grad.mul_(lr)


@misconception(
    "sgd_step_",
    zh="符号反了：沿着梯度走是上升。",
    en="The sign is wrong: to go along the gradient is to go up.",
)
@torch.no_grad()
def ascent(params, lr):
    for p in params:
        if p.grad is not None:
            p += lr * p.grad


@misconception(
    "sgd_step_",
    zh="你没有用 lr：步长总是 1。",
    en="You made no use of lr: your step is always 1.",
)
@torch.no_grad()
def lr_forgotten(params, lr):
    for p in params:
        if p.grad is not None:
            p -= p.grad


@misconception(
    "sgd_step_",
    zh="你关掉了梯度却没有恢复：此后的计算都没有图了。",
    en="You switched gradients off and never put it back: nothing that follows has a graph.",
)
def grad_left_off(params, lr):
    torch.set_grad_enabled(mode=False)
    for p in params:
        if p.grad is not None:
            p -= lr * p.grad


@misconception(
    "sgd_step_",
    zh="你最后总是打开梯度：调用者本来可能就关着它，应当恢复成调用前的样子。",
    en="You always switch gradients on at the end: the caller may have had them off; put back what "
    "was there before.",
)
def grad_forced_on(params, lr):
    torch.set_grad_enabled(mode=False)
    for p in params:
        if p.grad is not None:
            p -= lr * p.grad
    torch.set_grad_enabled(mode=True)


@misconception(
    "sgd_step_",
    zh="你先关、后开 requires_grad，也打开了本来冻结的参数。",
    en="You switch requires_grad off and on again, and so you also switch on what was frozen.",
)
def frozen_switched_on(params, lr):
    for p in params:
        p.requires_grad_(False)
        if p.grad is not None:
            p -= lr * p.grad
        p.requires_grad_(True)


@misconception(
    "sgd_step_",
    zh="你把列表里的张量换成了新的：模型手里的还是旧张量，没有更新。",
    en="You put new tensors into the list: the model holds the old ones, which were not updated.",
)
def list_items_replaced(params, lr):
    for i, p in enumerate(params):
        if p.grad is not None:
            params[i] = (p - lr * p.grad).detach().requires_grad_()


@misconception(
    "sgd_step_",
    zh="params 可能是生成器：它没有长度，也不能按下标取，而且只能走一遍。",
    en="params may be a generator: it has no length and no items by number, and can be gone "
    "through once only.",
)
@torch.no_grad()
def needs_a_list(params, lr):
    for i in range(len(params)):
        if params[i].grad is not None:
            params[i] -= lr * params[i].grad


# --------------------------------------------------------------------------------- ema_update


def _pairs(teacher, student):
    return zip(teacher.parameters(), student.parameters(), strict=True)


def _copy_buffers(teacher, student):
    for t, s in zip(teacher.buffers(), student.buffers(), strict=True):
        t.copy_(s)


@alternative("ema_update")
@torch.no_grad()
def linear_interpolation(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.lerp_(s, 1 - m)
    _copy_buffers(teacher, student)


@alternative("ema_update")
def scaled_and_added(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.detach().mul_(m).add_(s.detach(), alpha=1 - m)
    _copy_buffers(teacher, student)


@alternative("ema_update")
def loaded_from_a_dictionary(teacher, student, m):
    old, new = teacher.state_dict(), student.state_dict()
    names = {name for name, _ in student.named_parameters(remove_duplicate=False)}
    mixed = {k: m * old[k] + (1 - m) * s if k in names else s for k, s in new.items()}
    teacher.load_state_dict(mixed)


@misconception(
    "ema_update",
    zh="经由 .data 的写入没有被计数：教师在前向与反向之间被更新时，梯度会悄悄出错。",
    en="A write through .data is not counted: when the teacher is updated between a forward and a "
    "backward pass, the gradient is wrong and nothing is raised.",
)
def teacher_through_data(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.data.mul_(m).add_(s.data, alpha=1 - m)
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="给 t.data 赋值换掉了教师的内存：与它共享内存的张量（优化器、别名）还指着旧的值。",
    en="Assigning to t.data gives the teacher other memory: whatever shares the old one, as an "
    "alias does, still holds old values.",
)
def teacher_s_data_replaced(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.data = m * t.data + (1 - m) * s.data
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="m 与 1 − m 用反了：m 接近 1 时，教师应当几乎不动。",
    en="You swapped m and 1 − m: with m close to 1 the teacher should hardly move.",
)
@torch.no_grad()
def m_swapped(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.mul_(1 - m).add_(s, alpha=m)
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="你忘了缓冲区：教师的 BatchNorm 还在用旧的统计量。",
    en="You forgot the buffers: the teacher's BatchNorm still uses old statistics.",
)
@torch.no_grad()
def buffers_forgotten(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s, alpha=1 - m)


@misconception(
    "ema_update",
    zh="你平均了浮点的缓冲区：题目要求缓冲区照学生的原样复制。",
    en="You averaged those buffers that are floats: buffers should be copied as the student has "
    "them.",
)
@torch.no_grad()
def float_buffers_averaged(teacher, student, m):
    new = dict(student.named_buffers())
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s, alpha=1 - m)
    for name, t in teacher.named_buffers():
        if t.is_floating_point():
            t.mul_(m).add_(new[name], alpha=1 - m)
        else:
            t.copy_(new[name])


@misconception(
    "ema_update",
    zh="你把缓冲区也拿来平均：计数是整数，乘以小数就报错了。",
    en="You average the buffers too: a count is a whole number, and to multiply it by a fraction "
    "is an error.",
)
@torch.no_grad()
def every_buffer_averaged(teacher, student, m):
    new = dict(student.named_buffers())
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s, alpha=1 - m)
    for name, t in teacher.named_buffers():
        t.mul_(m).add_(new[name], alpha=1 - m)


@misconception(
    "ema_update",
    zh="你没有关掉记录：冻结的教师长出了通往学生的计算图，没有冻结的则报错。",
    en="You did not switch off the recording: a frozen teacher grows a graph that leads to the "
    "student, and one that is not frozen raises an error.",
)
def teacher_with_a_graph(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s, alpha=1 - m)
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="t = m * t + … 只是改变了名字 t 指向谁：教师的参数没有动。",
    en="t = m * t + … changes only what the name t stands for: the teacher's parameters have not "
    "moved.",
)
@torch.no_grad()
def teacher_s_name_rebound(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t = m * t + (1 - m) * s
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="你让教师直接用上了学生的缓冲区：学生一训练，教师的也跟着变。",
    en="You let the teacher use the student's own buffers: as the student trains, the teacher's "
    "change with them.",
)
@torch.no_grad()
def buffers_shared(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s, alpha=1 - m)
    modules = dict(teacher.named_modules())
    for name, s in student.named_buffers():
        owner, _, last = name.rpartition(".")
        modules[owner]._buffers[last] = s


@misconception(
    "ema_update",
    zh="m = 0 时你让教师直接用上了学生的参数：要复制数值，不要共享内存。",
    en="For m = 0 you let the teacher use the student's own parameters: copy the values, do not "
    "share the memory.",
)
@torch.no_grad()
def student_s_memory_at_zero(teacher, student, m):
    for t, s in _pairs(teacher, student):
        if m == 0:
            t.data = s.data
        else:
            t.mul_(m).add_(s, alpha=1 - m)
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="你逐个更新 state_dict 的条目：共享的参数在其中出现两次，被平均了两次。",
    en="You update the entries of state_dict one by one: a shared parameter stands there twice, "
    "and is averaged twice.",
)
def shared_parameter_twice(teacher, student, m):
    new, names = student.state_dict(), dict(student.named_parameters(remove_duplicate=False))
    for name, t in teacher.state_dict().items():
        if name in names:
            t.mul_(m).add_(new[name], alpha=1 - m)
        else:
            t.copy_(new[name])


@misconception(
    "ema_update",
    zh="你把学生整个复制给了教师：m 没有起作用。",
    en="You copied the student to the teacher as a whole: m has no effect.",
)
def student_copied(teacher, student, m):
    teacher.load_state_dict(student.state_dict())


@misconception(
    "ema_update",
    zh="教师那一项没有乘 m：两个系数加起来应当是 1。",
    en="The teacher's term is not multiplied by m: the two factors should add up to 1.",
)
@torch.no_grad()
def teacher_not_scaled(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.add_(s, alpha=1 - m)
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="你原地缩小了学生的参数：只有教师可以改。",
    en="You scaled the student's parameters in place: only the teacher may be changed.",
)
@torch.no_grad()
def student_scaled(teacher, student, m):
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s.mul_(1 - m))
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="你替教师换上了新的 Parameter：它又要求梯度了，手里握着旧参数的人也看不到更新。",
    en="You gave the teacher new Parameters: they ask for gradients again, and whoever holds the "
    "old ones sees no update.",
)
@torch.no_grad()
def parameters_replaced(teacher, student, m):
    modules, new = dict(teacher.named_modules()), dict(student.named_parameters())
    for name, t in list(teacher.named_parameters()):
        owner, _, last = name.rpartition(".")
        mixed = torch.nn.Parameter(m * t + (1 - m) * new[name])
        for module in modules.values():
            for key, p in module._parameters.items():
                if p is t:
                    module._parameters[key] = mixed
    _copy_buffers(teacher, student)


@misconception(
    "ema_update",
    zh="你关掉了梯度却没有恢复：学生此后的训练都没有图了。",
    en="You switched gradients off and never put it back: the student's training has no graph "
    "from here on.",
)
def grad_left_off_by_ema(teacher, student, m):
    torch.set_grad_enabled(mode=False)
    for t, s in _pairs(teacher, student):
        t.mul_(m).add_(s, alpha=1 - m)
    _copy_buffers(teacher, student)


# ----------------------------------------------------------------------------------- evaluate


def _put_back(training):
    for module, flag in training.items():
        module.training = flag


def _training(model):
    return {module: module.training for module in model.modules()}


@torch.inference_mode()
def _inferred(model, x):
    return model(x)


@alternative("evaluate")
def clones_of_inference_tensors(model, batches):
    training, outputs = _training(model), []
    try:
        model.eval()
        for x in batches:
            outputs.append(_inferred(model, x).clone().detach())
    finally:
        _put_back(training)
    return outputs


@alternative("evaluate")
def modes_by_name(model, batches):
    training = [name for name, module in model.named_modules() if module.training]
    were_on = torch.is_grad_enabled()
    torch.set_grad_enabled(mode=False)
    model.train(False)
    try:
        return [model(x).detach().clone() for x in batches]
    finally:
        torch.set_grad_enabled(mode=were_on)
        for name in training:
            model.get_submodule(name).training = True


@alternative("evaluate")
@torch.no_grad()
def parents_before_children(model, batches):
    training = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in training:
            module.training = False
        outputs = []
        for x in batches:
            outputs += [model(x).detach()]
        return outputs
    finally:
        for module, flag in training:
            module.train(flag)


@misconception(
    "evaluate",
    zh="eval() 不管建图：你的前向传播仍然为反向传播保存张量。",
    en="eval() has nothing to do with graphs: your forward passes still save tensors for a "
    "backward pass.",
)
def eval_only(model, batches):
    training = _training(model)
    model.eval()
    try:
        return [model(x) for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你先建图、后丢图：detach 之前，前向传播已经为反向传播保存了张量。",
    en="You build the graph and throw it away: before detach, the forward pass has saved tensors "
    "for a backward pass.",
)
def detached_afterwards(model, batches):
    training = _training(model)
    model.eval()
    try:
        return [model(x).detach() for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="no_grad 不管层的行为：你的模型还在做 dropout，BatchNorm 还在用当前批的统计量。",
    en="no_grad has nothing to do with what layers do: your model still drops out, and BatchNorm "
    "still uses statistics of the batch.",
)
@torch.no_grad()
def no_grad_only(model, batches):
    return [model(x).detach() for x in batches]


@misconception(
    "evaluate",
    zh="你只关了认得的几种层：自己写的层也可能有训练模式，请对整个模型用 eval()。",
    en="You switch only those layers that you know: one of somebody's own may have a training mode "
    "too; use eval() on the whole model.",
)
def layers_by_class(model, batches):
    training = _training(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm1d):
            module.eval()
    try:
        with torch.no_grad():
            return [model(x).detach() for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="把状态存下再载入，等于改写了每个参数：等着反向传播的图会因此报错。评估本来就不该改它们。",
    en="Saving the state and loading it again writes to every parameter: a graph that waits for "
    "its backward pass will be refused. Evaluation should not change them in the first place.",
)
def state_saved_and_loaded(model, batches):
    training, state = _training(model), copy.deepcopy(model.state_dict())
    model.eval()
    try:
        with torch.no_grad():
            return [model(x).detach() for x in batches]
    finally:
        model.load_state_dict(state)
        _put_back(training)


@misconception(
    "evaluate",
    zh="你没有恢复训练模式：评估之后的训练就没有 dropout 了。",
    en="You did not put the training mode back: the training that follows has no dropout.",
)
@torch.no_grad()
def left_in_eval(model, batches):
    model.eval()
    return [model(x).detach() for x in batches]


@misconception(
    "evaluate",
    zh="最后的 train() 打开了所有子模块，本来就冻结在评估模式的也不例外。",
    en="The train() at the end switches on all submodules, those too that were frozen in "
    "evaluation mode.",
)
def everything_trained_afterwards(model, batches):
    model.eval()
    try:
        with torch.no_grad():
            return [model(x).detach() for x in batches]
    finally:
        model.train()


@misconception(
    "evaluate",
    zh="你只记下了最外层的 training：train(flag) 会把它强加给每个子模块。",
    en="You noted the training flag of the outermost module only: train(flag) forces it upon "
    "every submodule.",
)
def outermost_mode_only(model, batches):
    flag = model.training
    model.eval()
    try:
        with torch.no_grad():
            return [model(x).detach() for x in batches]
    finally:
        model.train(flag)


@misconception(
    "evaluate",
    zh="你只记下了直接的子模块：更深一层的没有恢复。",
    en="You noted the direct children only: those further down are not put back.",
)
def children_only(model, batches):
    flags = {module: module.training for module in (model, *model.children())}
    model.eval()
    try:
        with torch.no_grad():
            return [model(x).detach() for x in batches]
    finally:
        for module, flag in flags.items():
            module.train(flag)


@misconception(
    "evaluate",
    zh="inference_mode 里造出的是推理张量：以后拿它们求导就会报错。",
    en="What is made under inference_mode is an inference tensor: to differentiate with it later "
    "is an error.",
)
@torch.inference_mode()
def inference_tensors(model, batches):
    training = _training(model)
    model.eval()
    try:
        return [model(x).detach() for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你关掉了梯度却没有恢复：评估之后的训练没有图了。",
    en="You switched gradients off and never put it back: the training that follows has no graph.",
)
def grad_left_off_by_evaluate(model, batches):
    training = _training(model)
    torch.set_grad_enabled(mode=False)
    model.eval()
    try:
        return [model(x).detach() for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你最后总是打开梯度：调用者本来可能就关着它，应当恢复成调用前的样子。",
    en="You always switch gradients on at the end: the caller may have had them off; put back what "
    "was there before.",
)
def grad_forced_on_by_evaluate(model, batches):
    training = _training(model)
    torch.set_grad_enabled(mode=False)
    model.eval()
    try:
        return [model(x).detach() for x in batches]
    finally:
        torch.set_grad_enabled(mode=True)
        _put_back(training)


@misconception(
    "evaluate",
    zh="模型中途报错时，你来不及恢复：恢复要放在 finally 里。",
    en="When the model fails halfway you do not get to putting things back: that belongs in "
    "finally.",
)
def error_leaves_eval(model, batches):
    training = _training(model)
    model.eval()
    with torch.no_grad():
        outputs = [model(x).detach() for x in batches]
    _put_back(training)
    return outputs


@misconception(
    "evaluate",
    zh="你吞掉了模型的异常：调用者得到一个不完整的列表，却不知道出了事。",
    en="You swallow the model's error: the caller gets half a list, and does not know that "
    "anything happened.",
)
def errors_swallowed(model, batches):
    training, outputs = _training(model), []
    model.eval()
    try:
        with torch.no_grad():
            for x in batches:
                outputs.append(model(x).detach())
    except Exception:
        return outputs
    finally:
        _put_back(training)
    return outputs


@misconception(
    "evaluate",
    zh="no_grad 不会剥掉已有的图：模型原样传出带图的输入时，你的输出还连着它。",
    en="no_grad does not strip off a graph that is there: where the model passes on an input that "
    "has one, your output still hangs on it.",
)
def input_s_graph_kept(model, batches):
    training = _training(model)
    model.eval()
    try:
        with torch.no_grad():
            return [model(x) for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你关、开了每个参数的 requires_grad：本来冻结的参数也被打开了。",
    en="You switched requires_grad of every parameter off and on: those that were frozen are on "
    "now, too.",
)
def parameters_switched_on(model, batches):
    training = _training(model)
    model.eval().requires_grad_(False)
    try:
        return [model(x).detach() for x in batches]
    finally:
        model.requires_grad_(requires_grad=True)
        _put_back(training)


@misconception(
    "evaluate",
    zh="你先把所有批次收进了一个列表：数据流可能放不进内存，请取一批、算一批。",
    en="You collect all batches in a list first: a stream may not fit in memory; take one, compute "
    "one.",
)
def all_batches_collected(model, batches):
    batches, training = list(batches), _training(model)
    model.eval()
    try:
        with torch.no_grad():
            return [model(x).detach() for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你直接调用了 forward：注册在模型上的钩子被绕过了。",
    en="You call forward directly: that bypasses hooks registered on the model.",
)
def forward_called(model, batches):
    training = _training(model)
    model.eval()
    try:
        with torch.no_grad():
            return [model.forward(x).detach() for x in batches]
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你把各批的输出拼成了一个张量：题目要的是列表，每批一个。",
    en="You joined the outputs into one tensor: the task asks for a list, one for each batch.",
)
def outputs_joined(model, batches):
    training = _training(model)
    model.eval()
    try:
        with torch.no_grad():
            return torch.cat([model(x).detach() for x in batches])
    finally:
        _put_back(training)


@misconception(
    "evaluate",
    zh="你评估的是模型的副本：结果相同，可是内存里有了两个模型。",
    en="You evaluate a copy of the model: the results are the same, but there are two models in "
    "memory.",
)
def copy_evaluated(model, batches):
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        return [twin(x).detach() for x in batches]


EQUIVALENT = {
    "outcome": {
        "line 27: start.detach() → start": (
            "where x is a leaf its copy is not, but a write to that is refused as well: y does not "
            "depend on what the copy has become"
        ),
        "line 39: torch.allclose(found, slope(lambda start: program(start)[1]… → "
        "torch.allclose(slope(lambda start: program(start)[1], x), f…": "equality has no order",
        "line 41: torch.allclose(found, before) → torch.allclose(before, found)": (
            "equality has no order"
        ),
    },
    "make_case": {
        "line 20: y.detach() → y": "a write to y itself is counted and refused as well",
        "line 25: return -torch.tensor([1.0, 2.0]) for torch.tensor([1.0, 2.0])": "any x will do",
        "line 25: return 2 * torch.tensor([1.0, 2.0]) for torch.tensor([1.0, 2.0])": (
            "any x will do"
        ),
        "line 25: 1.0 → 2.0": "any x will do",
        "line 25: 2.0 → 4.0": "any x will do",
    },
    "ema_update": dict.fromkeys(
        (
            "line 18: zip: no strict=True",
            "line 20: zip: no strict=True",
            "line 18: True → False",
            "line 20: True → False",
        ),
        "two modules of the same structure have as many parameters and buffers",
    ),
}
