"""Answers to assignment 08: the wrong ones that people give, and right ones unlike the source's."""

import copy
import itertools

import torch
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from . import alternative, misconception

# ----------------------------------------------------------------------------------- accumulate


def _samples(batches):
    return sum(len(x) for x, _ in batches)


def _share(model, loss_fn, x, y, samples):
    """What a micro-batch adds to the mean loss of the big batch."""
    return loss_fn(model(x), y) * len(x) / samples


def _add_penalty(model, penalty):
    """One backward pass for the regulariser; its value."""
    if penalty is None:
        return 0.0
    loss = penalty(model)
    loss.backward()
    return loss.item()


@alternative("accumulate")
def sums_divided_late(model, loss_fn, batches, penalty=None):
    for param in model.parameters():
        param.grad = None
    samples = value = 0
    for x, y in batches:
        loss = loss_fn(model(x), y) * len(x)
        loss.backward()
        value += loss.item()
        samples += len(x)
    for param in model.parameters():
        if param.grad is not None:
            param.grad = param.grad / samples
    return value / samples + _add_penalty(model, penalty)


@alternative("accumulate")
def gradients_added_by_hand(model, loss_fn, batches, penalty=None):
    params = [p for p in model.parameters() if p.requires_grad]
    totals, value = [None] * len(params), 0.0
    samples = _samples(batches)

    def add(loss):
        found = torch.autograd.grad(loss, params, allow_unused=True)
        for i, g in enumerate(found):
            if g is not None:
                totals[i] = g if totals[i] is None else totals[i] + g
        return loss.item()

    for x, y in batches:
        value += add(_share(model, loss_fn, x, y, samples))
    if penalty is not None:
        value += add(penalty(model))
    model.zero_grad()
    for p, total in zip(params, totals, strict=True):
        p.grad = total
    return value


@alternative("accumulate")
def penalty_shared_out(model, loss_fn, batches, penalty=None):
    model.zero_grad(set_to_none=True)
    samples, value = _samples(batches), 0.0
    for x, y in batches:
        loss = loss_fn(model(x), y)
        if penalty is not None:
            loss = loss + penalty(model)
        (loss * (len(x) / samples)).backward()
        value += loss.item() * len(x) / samples
    return value


@misconception(
    "accumulate",
    zh="你除以微批的个数 k：大小不一时，小微批里的样本权重更大，看看各个微批有多少样本。",
    en="You divide by the number of micro-batches, k: when they are uneven, samples in small ones "
    "weigh more; look at how many samples each has.",
)
def divided_by_k(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value = 0.0
    for x, y in batches:
        loss = loss_fn(model(x), y) / len(batches)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你没有除：各个微批的平均值直接相加，梯度大了几倍，等于偷偷放大了学习率。",
    en="You did not divide: the means of the micro-batches are simply added, and the gradient is "
    "several times too long, like a learning rate raised in secret.",
)
def means_added(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value = 0.0
    for x, y in batches:
        loss = loss_fn(model(x), y)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你在 backward 之后才去缩放 loss：返回的数对了，可梯度早已写好，看看 .grad 变没变。",
    en="You scale the loss after backward: the number returned is right, but the gradient was "
    "written before; look at whether .grad changes.",
)
def scaled_after_backward(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value = 0.0
    for x, y in batches:
        loss = loss_fn(model(x), y)
        loss.backward()
        loss = loss * len(x) / _samples(batches)
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你把平均值又除以样本总数：平均已经除过一次了，先想想 loss_fn 返回的是什么。",
    en="You divide a mean by the number of all samples: a mean has been divided once already; "
    "think about what loss_fn returns.",
)
def mean_divided_by_samples(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value = 0.0
    for x, y in batches:
        loss = loss_fn(model(x), y) / _samples(batches)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你按第一个微批的大小估计样本总数：微批大小不一，请数一数每一个。",
    en="You estimate the number of samples from the first micro-batch: they are uneven; count "
    "every one.",
)
def all_as_large_as_the_first(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, samples = 0.0, len(batches) * len(batches[0][0])
    for x, y in batches:
        loss = _share(model, loss_fn, x, y, samples)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你数的是 x 的元素，不是样本：序列长短不一时，两者不成比例。",
    en="You count elements of x, not samples: when sequences differ in length the two are not in "
    "proportion.",
)
def elements_for_samples(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, elements = 0.0, sum(x.numel() for x, _ in batches)
    for x, y in batches:
        loss = loss_fn(model(x), y) * x.numel() / elements
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你在循环里清零：留下来的只有最后一个微批，看看 zero_grad 站在哪里。",
    en="You zero inside the loop: only the last micro-batch is left; look at where zero_grad "
    "stands.",
)
def zeroed_in_the_loop(model, loss_fn, batches, penalty=None):
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        model.zero_grad()
        loss = _share(model, loss_fn, x, y, samples)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你从不清零：.grad 里原有的梯度混了进来。",
    en="You never zero: what .grad held before is mixed in.",
)
def never_zeroed(model, loss_fn, batches, penalty=None):
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        loss = _share(model, loss_fn, x, y, samples)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你写了 p.grad.zero_()（S1-17）：第一次反向传播之前 .grad 是 None，没有 zero_。",
    en="You write p.grad.zero_() (S1-17): before the first backward pass .grad is None, which has "
    "no zero_.",
)
def zeroes_none(model, loss_fn, batches, penalty=None):
    for param in model.parameters():
        param.grad.zero_()
    return never_zeroed(model, loss_fn, batches, penalty)


@misconception(
    "accumulate",
    zh="你把旧梯度变成全 0 而不是 None：对没有用到的参数，优化器会把全 0 当作梯度。",
    en="You turn old gradients to zeros, not to None: of a parameter that is not used an optimiser "
    "takes zeros for a gradient.",
)
def zeros_for_none(model, loss_fn, batches, penalty=None):
    model.zero_grad(set_to_none=False)
    return never_zeroed(model, loss_fn, batches, penalty)


@misconception(
    "accumulate",
    zh="你只清掉要求梯度的参数：冻结的参数还留着旧的 .grad，优化器照样会用它。",
    en="You clear only parameters that ask for gradients: a frozen one keeps its old .grad, and an "
    "optimiser will use it.",
)
def frozen_not_cleared(model, loss_fn, batches, penalty=None):
    for param in model.parameters():
        if param.requires_grad:
            param.grad = None
    return never_zeroed(model, loss_fn, batches, penalty)


@misconception(
    "accumulate",
    zh="你没有用 penalty：题目要求把正则项也加进去。",
    en="You made no use of penalty: the task asks for the regulariser too.",
)
def penalty_left_out(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    return never_zeroed(model, loss_fn, batches)


@misconception(
    "accumulate",
    zh="你在每个微批里都加了正则项，一共加了 k 次：它不属于样本，每个窗口只加一次。",
    en="You add the regulariser in every micro-batch, k times in all: it belongs to no sample, and "
    "counts once in a window.",
)
def penalty_every_time(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        loss = _share(model, loss_fn, x, y, samples)
        if penalty is not None:
            loss = loss + penalty(model)
        loss.backward()
        value += loss.item()
    return value


@misconception(
    "accumulate",
    zh="你把正则项也除以了样本总数：它不是样本的平均，应当原样加上。",
    en="You divide the regulariser by the number of samples as well: it is no mean over samples, "
    "and is to be added as it is.",
)
def penalty_divided(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    samples = _samples(batches)
    value = never_zeroed(model, loss_fn, batches)
    return value + (_add_penalty(model, lambda m: penalty(m) / samples) if penalty else 0.0)


@misconception(
    "accumulate",
    zh="梯度都对，但你在循环里只把损失加起来，最后反向一次：所有微批的图同时活着，内存一点没省。",
    en="The gradients are right, but the loop only adds up losses, with one backward pass at the "
    "end: the graphs of all micro-batches are alive together, and no memory is saved.",
)
def one_backward_at_the_end(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    samples = _samples(batches)
    total = sum(_share(model, loss_fn, x, y, samples) for x, y in batches)
    if penalty is not None:
        total = total + penalty(model)
    total.backward()
    return total.item()


@misconception(
    "accumulate",
    zh="你把微批拼回了大批：数值当然相等，可是显存装不下的正是这个大批。",
    en="You put the micro-batches back together: of course the numbers are equal, but this big "
    "batch is what did not fit into memory.",
)
def one_big_batch(model, loss_fn, batches, penalty=None):
    shapes = {x.shape[1:] for x, _ in batches}
    if len(shapes) > 1:
        return penalty_shared_out(model, loss_fn, batches, penalty)
    model.zero_grad()
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    loss = loss_fn(model(x), y)
    if penalty is not None:
        loss = loss + penalty(model)
    loss.backward()
    return loss.item()


@misconception(
    "accumulate",
    zh="每次 backward 都写了 retain_graph=True：上一个微批的图还没有释放，下一个又建好了。",
    en="Every backward has retain_graph=True: the graph of one micro-batch is still there when the "
    "next is built.",
)
def graphs_retained(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        loss = _share(model, loss_fn, x, y, samples)
        loss.backward(retain_graph=True)
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="梯度都对，但返回的是带计算图的张量：累加损失时要先用 item 取出数来。",
    en="The gradients are right, but you return a tensor with a graph: take the number out with "
    "item before you add up losses.",
)
def tensor_returned(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        loss = _share(model, loss_fn, x, y, samples)
        loss.backward()
        value = value + loss
    if penalty is not None:
        loss = penalty(model)
        loss.backward()
        value = value + loss
    return value


@misconception(
    "accumulate",
    zh="你返回的只是最后一个微批的损失：题目要的是整个大批的。",
    en="You return the loss of the last micro-batch: the task asks for that of the big batch.",
)
def last_loss_returned(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    samples = _samples(batches)
    for x, y in batches:
        loss = loss_fn(model(x), y)
        (loss * len(x) / samples).backward()
    return loss.item() + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="梯度都对，但你返回的是各微批损失的平均：和梯度一样，小微批不该与大微批同样重。",
    en="The gradients are right, but you return the mean of the micro-batches' losses: as with "
    "gradients, a small one must not weigh as much as a large one.",
)
def mean_of_means_returned(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        loss = loss_fn(model(x), y)
        (loss * len(x) / samples).backward()
        value += loss.item() / len(batches)
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="梯度都对，但你什么也没有返回。",
    en="The gradients are right, but you return nothing.",
)
def nothing_returned(model, loss_fn, batches, penalty=None):
    penalty_shared_out(model, loss_fn, batches, penalty)


@misconception(
    "accumulate",
    zh="你用了 torch.autograd.grad：它返回梯度，不写 .grad，优化器什么也看不到。",
    en="You used torch.autograd.grad: it returns gradients and does not write .grad; an optimiser "
    "sees nothing.",
)
def grad_alone(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    params = [p for p in model.parameters() if p.requires_grad]
    value, samples = 0.0, _samples(batches)
    for x, y in batches:
        loss = _share(model, loss_fn, x, y, samples)
        torch.autograd.grad(loss, params, allow_unused=True)
        value += loss.item()
    return value + (penalty(model).item() if penalty else 0.0)


@misconception(
    "accumulate",
    zh="你顺手走了一步：这个函数只准备梯度，参数应当原样留下。",
    en="You took a step on the way: this function only prepares the gradient, and parameters "
    "stay as they are.",
)
def step_taken(model, loss_fn, batches, penalty=None):
    value = penalty_shared_out(model, loss_fn, batches, penalty)
    with torch.no_grad():
        for param in model.parameters():
            if param.grad is not None:
                param -= 0.1 * param.grad
    return value


@misconception(
    "accumulate",
    zh="你调用了 model.train()：调用者特意设成 eval 的层也被打开了，看看模式变了没有。",
    en="You called model.train(): layers that the caller had put in eval mode are switched as "
    "well; look at what became of the modes.",
)
def mode_switched(model, loss_fn, batches, penalty=None):
    model.train()
    return penalty_shared_out(model, loss_fn, batches, penalty)


@misconception(
    "accumulate",
    zh="梯度都对，但你用 pop 取出微批：调用者的列表被你取空了。",
    en="The gradients are right, but you take micro-batches out with pop: the caller's list is "
    "empty afterwards.",
)
def batches_used_up(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value, samples = 0.0, _samples(batches)
    while batches:
        loss = _share(model, loss_fn, *batches.pop(0), samples)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="你除以的是到目前为止的样本数：前面的微批得到的权重太大，分母要属于整个窗口。",
    en="You divide by the samples seen so far: earlier micro-batches weigh too much; the divisor "
    "belongs to the whole window.",
)
def divided_by_samples_so_far(model, loss_fn, batches, penalty=None):
    model.zero_grad()
    value = samples = 0
    for x, y in batches:
        samples += len(x)
        loss = _share(model, loss_fn, x, y, samples)
        loss.backward()
        value += loss.item()
    return value + _add_penalty(model, penalty)


@misconception(
    "accumulate",
    zh="数值都对，但你一个样本一个样本地反向传播：微批本来就装得下，这样白白多做了许多次。",
    en="The numbers are right, but every sample takes a backward pass of its own: a micro-batch "
    "does fit into memory, and that makes many passes for nothing.",
)
def one_sample_at_a_time(model, loss_fn, batches, penalty=None):
    singles = [pair for x, y in batches for pair in zip(x.split(1), y.split(1), strict=True)]
    return penalty_shared_out(model, loss_fn, singles, penalty)


@misconception(
    "accumulate",
    zh="数值都对，但为了返回损失，你把每个微批又前向了一遍：反向传播之前的 loss 就是它。",
    en="The numbers are right, but you run every micro-batch forward once more for the loss that "
    "you return: the loss before backward is that number.",
)
def forward_twice(model, loss_fn, batches, penalty=None):
    penalty_shared_out(model, loss_fn, batches, penalty)
    with torch.no_grad():
        samples = _samples(batches)
        value = sum(_share(model, loss_fn, x, y, samples).item() for x, y in batches)
        return value + (penalty(model).item() if penalty else 0.0)


# ---------------------------------------------------------------------------- accumulate_tokens


def _token_sum(logits, labels, weight):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weight=weight, reduction="sum")


def _token_mean(logits, labels, weight):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weight=weight)


def _weight_sum(labels, weight):
    valid = labels[labels != -100]
    return float(len(valid) if weight is None else weight[valid].sum())


def _divide(model, total):
    for param in model.parameters():
        if param.grad is not None:
            param.grad /= total


def _tokens(model, batches, weight, loss_of, count_of, clear=True):
    """Sums of loss_of over the window, divided by the sum of count_of at its end."""
    if clear:
        model.zero_grad()
    total = value = 0.0
    for x, labels in batches:
        loss = loss_of(model(x), labels, weight)
        loss.backward()
        value += loss.item()
        total += count_of(labels, weight)
    if not total:
        return 0.0
    _divide(model, total)
    return value / total


@alternative("accumulate_tokens")
def counted_first(model, batches, weight=None):
    batches = list(batches)
    total = sum(_weight_sum(labels, weight) for _, labels in batches) or 1.0
    for param in model.parameters():
        param.grad = None
    value = 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight) / total
        loss.backward()
        value += loss.item()
    return value


@alternative("accumulate_tokens")
def log_probabilities(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        keep = labels != -100
        chosen = labels.clamp(min=0)
        each = -logits.log_softmax(-1).gather(-1, chosen[..., None])[..., 0]
        s = torch.ones_like(each) if weight is None else weight[chosen]
        return (each * s * keep).sum()

    return _tokens(model, batches, weight, loss_of, _weight_sum)


@alternative("accumulate_tokens")
def means_times_weight(model, batches, weight=None):
    model.zero_grad()
    total = value = 0.0
    for x, labels in batches:
        part = _weight_sum(labels, weight)
        if part == 0:
            continue
        loss = _token_mean(model(x), labels, weight) * part
        loss.backward()
        value += loss.item()
        total += part
    if total == 0:
        return 0.0
    _divide(model, total)
    return value / total


@misconception(
    "accumulate_tokens",
    zh="你把各个微批的平均再除以 k：只有一个有效 token 的微批，与有许多个的一样重。",
    en="You take the means of the micro-batches and divide by k: one with a single valid token "
    "weighs as much as one with many.",
)
def token_means_over_k(model, batches, weight=None):
    return _tokens(model, batches, weight, _token_mean, lambda labels, weight: 1)


@misconception(
    "accumulate_tokens",
    zh="你按句子的个数加权：有效 token 的个数与句子的个数不成比例。",
    en="You weigh by the number of texts: valid tokens are not in proportion to texts.",
)
def weighted_by_texts(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        return _token_mean(logits, labels, weight) * len(labels)

    return _tokens(model, batches, weight, loss_of, lambda labels, weight: len(labels))


@misconception(
    "accumulate_tokens",
    zh="你把空位也数进了分母：-100 的位置不是 token，不该让梯度变小。",
    en="You count the empty places in the divisor too: a place with -100 is no token, and must not "
    "make the gradient smaller.",
)
def places_counted(model, batches, weight=None):
    def count_of(labels, weight):
        if weight is None:
            return labels.numel()
        return _weight_sum(labels, weight) * labels.numel() / max(1, int((labels != -100).sum()))

    return _tokens(model, batches, weight, _token_sum, count_of)


@misconception(
    "accumulate_tokens",
    zh="你数 token 时把类别 0 也当成了空位：空位的标签是 -100。",
    en="In counting tokens you took class 0 for an empty place: empty places have the label -100.",
)
def class_0_not_counted(model, batches, weight=None):
    def count_of(labels, weight):
        valid = labels[labels > 0]
        return float(len(valid) if weight is None else weight[valid].sum())

    return _tokens(model, batches, weight, _token_sum, count_of)


@misconception(
    "accumulate_tokens",
    zh="你没有除：总和就这样留在了 .grad 里，句子越多、越长，步子就越大。",
    en="You did not divide: the sum stays in .grad as it is, and more or longer texts make larger "
    "steps.",
)
def token_sums_kept(model, batches, weight=None):
    return _tokens(model, batches, weight, _token_sum, lambda labels, weight: 0) or 0.0


@misconception(
    "accumulate_tokens",
    zh="你只除了返回的损失，没有除 .grad：backward 之后再除 loss，梯度不会改变。",
    en="You divide the loss that you return, and not .grad: to divide a loss after backward does "
    "not change the gradient.",
)
def loss_divided_only(model, batches, weight=None):
    model.zero_grad()
    total = value = 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight)
        loss.backward()
        value += loss.item()
        total += _weight_sum(labels, weight)
    return value / total if total else 0.0


@misconception(
    "accumulate_tokens",
    zh="带权重时你仍除以 token 的个数：F.cross_entropy 的平均除以的是各标签权重之和。",
    en="With weights you still divide by the number of tokens: the mean of F.cross_entropy divides "
    "by the sum of the labels' weights.",
)
def tokens_for_weights(model, batches, weight=None):
    return _tokens(
        model, batches, weight, _token_sum, lambda labels, weight: _weight_sum(labels, None)
    )


@misconception(
    "accumulate_tokens",
    zh="带权重时，你把微批的平均乘以 token 的个数：平均里的分母是权重之和，两者对不上。",
    en="With weights you multiply the mean of a micro-batch by its number of tokens: the mean was "
    "divided by the sum of weights, and the two do not match.",
)
def weighted_means_by_tokens(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        count = _weight_sum(labels, None)
        mean = _token_mean(logits, labels, weight) if count else 0 * logits.sum()
        return mean * count

    return _tokens(
        model, batches, weight, loss_of, lambda labels, weight: _weight_sum(labels, None)
    )


@misconception(
    "accumulate_tokens",
    zh="你没有用 weight：各个类别的权重都成了 1。",
    en="You made no use of weight: every class has the weight 1.",
)
def weights_left_out(model, batches, weight=None):
    return _tokens(model, batches, None, _token_sum, _weight_sum)


@misconception(
    "accumulate_tokens",
    zh="你把分母限制为至少 1：权重之和可以比 1 小得多，这时梯度就不对了。",
    en="You hold the divisor to at least 1: a sum of weights can be far below 1, and then the "
    "gradient is wrong.",
)
def divisor_at_least_1(model, batches, weight=None):
    model.zero_grad()
    total = value = 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight)
        loss.backward()
        value += loss.item()
        total += _weight_sum(labels, weight)
    _divide(model, max(total, 1))
    return value / max(total, 1)


@misconception(
    "accumulate_tokens",
    zh="你在权重之和里也算上了空位（clamp 把 -100 变成了类别 0）：先去掉空位，再取权重。",
    en="Your sum of weights counts the empty places as well (clamp turns -100 into class 0): take "
    "them away before you pick weights.",
)
def weights_of_empty_places(model, batches, weight=None):
    def count_of(labels, weight):
        if weight is None:
            return _weight_sum(labels, None)
        return float(weight[labels.clamp(min=0)].sum())

    return _tokens(model, batches, weight, _token_sum, count_of)


@misconception(
    "accumulate_tokens",
    zh="你把 -100 变成了类别 0，却没有遮住它：空位也成了要学的 token。",
    en="You turned -100 into class 0 and did not mask it: empty places became tokens to learn.",
)
def empty_places_learnt(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        return _token_sum(logits, labels.clamp(min=0), weight)

    return _tokens(model, batches, weight, loss_of, _weight_sum)


@misconception(
    "accumulate_tokens",
    zh="你手写的“遮住再平均”在没有有效 token 的微批上是 0/0：一个 nan 毁掉整个窗口的 .grad。",
    en="Your mean over a mask is 0/0 in a micro-batch without a valid token: one nan spoils the "
    ".grad of the whole window.",
)
def masked_mean(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        keep = (labels != -100).to(logits.dtype)
        chosen = labels.clamp(min=0)
        if weight is not None:
            keep = keep * weight[chosen]
        each = F.cross_entropy(logits.flatten(0, -2), chosen.flatten(), reduction="none")
        mean = (each * keep.flatten()).sum() / keep.sum()
        return mean * keep.sum()

    return _tokens(model, batches, weight, loss_of, _weight_sum)


@misconception(
    "accumulate_tokens",
    zh="梯度都对，但没有有效 token 的微批给出的平均损失是 nan，它混进了你返回的损失。",
    en="The gradients are right, but the mean loss of a micro-batch without a valid token is nan, "
    "and it slips into the loss that you return.",
)
def nan_in_the_loss(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        return _token_mean(logits, labels, weight) * _weight_sum(labels, weight)

    return _tokens(model, batches, weight, loss_of, _weight_sum)


@misconception(
    "accumulate_tokens",
    zh="整个窗口没有有效 token 时，你除以了 0：.grad 里全是 nan，这一步会毁掉所有参数。",
    en="With no valid token in the whole window you divide by 0: .grad is all nan, and this step "
    "will spoil every parameter.",
)
def divided_by_0(model, batches, weight=None):
    model.zero_grad()
    total, value = torch.zeros(()), 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight)
        loss.backward()
        value += loss.item()
        total += _weight_sum(labels, weight)
    _divide(model, total)
    return value / total.item() if total else 0.0


@misconception(
    "accumulate_tokens",
    zh="你把 batches 走了两遍：它可能是只能走一遍的迭代器，数完 token 就空了。",
    en="You walk through batches twice: it may be an iterator to be walked once, and is empty when "
    "its tokens have been counted.",
)
def walked_twice(model, batches, weight=None):
    model.zero_grad()
    total = sum(_weight_sum(labels, weight) for _, labels in batches) or 1.0
    value = 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight) / total
        loss.backward()
        value += loss.item()
    return value


@misconception(
    "accumulate_tokens",
    zh="你从不清零：.grad 里原有的梯度混了进来，还一起被除了。",
    en="You never zero: what .grad held before is mixed in, and divided as well.",
)
def tokens_never_zeroed(model, batches, weight=None):
    return _tokens(model, batches, weight, _token_sum, _weight_sum, clear=False)


@misconception(
    "accumulate_tokens",
    zh="有的参数是冻结的，它的 .grad 是 None，除它就报错：先看一看再除。",
    en="Some parameter is frozen, its .grad is None, and dividing that is an error: look before "
    "you divide.",
)
def none_divided(model, batches, weight=None):
    value = _tokens(model, batches, weight, _token_sum, _weight_sum)
    for param in model.parameters():
        param.grad /= 1
    return value


@misconception(
    "accumulate_tokens",
    zh="你用 reshape 把类别换到第二维：它只改形状，不换顺序，logits 都乱了。",
    en="You brought the classes to the second dimension with reshape: it changes the shape, not "
    "the order, and the logits are mixed up.",
)
def reshaped_for_transposed(model, batches, weight=None):
    def loss_of(logits, labels, weight):
        if logits.dim() < 3:
            return _token_sum(logits, labels, weight)
        n, t, c = logits.shape
        return F.cross_entropy(logits.reshape(n, c, t), labels, weight=weight, reduction="sum")

    return _tokens(model, batches, weight, loss_of, _weight_sum)


@misconception(
    "accumulate_tokens",
    zh="梯度都对，但你返回的是各微批平均损失的平均，而不是大批的损失。",
    en="The gradients are right, but you return the mean of the micro-batches' mean losses, and "
    "not the loss of the big batch.",
)
def token_mean_of_means_returned(model, batches, weight=None):
    model.zero_grad()
    total, values = 0.0, []
    for x, labels in batches:
        part = _weight_sum(labels, weight)
        loss = _token_sum(model(x), labels, weight)
        loss.backward()
        total += part
        if part:
            values.append(loss.item() / part)
    _divide(model, total or 1)
    return sum(values) / len(values) if values else 0.0


@misconception(
    "accumulate_tokens",
    zh="梯度都对，但返回的损失没有除以总数。",
    en="The gradients are right, but the loss that you return is not divided by the total.",
)
def token_sum_returned(model, batches, weight=None):
    model.zero_grad()
    total = value = 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight)
        loss.backward()
        value += loss.item()
        total += _weight_sum(labels, weight)
    _divide(model, total or 1)
    return value


@misconception(
    "accumulate_tokens",
    zh="梯度都对，但你把所有微批的损失加起来才反向一次：它们的图同时活着，内存一点没省。",
    en="The gradients are right, but you add up the losses of all micro-batches for one backward "
    "pass: their graphs are alive together, and no memory is saved.",
)
def tokens_in_one_backward(model, batches, weight=None):
    model.zero_grad()
    total, loss = 0.0, 0.0
    for x, labels in batches:
        loss = loss + _token_sum(model(x), labels, weight)
        total += _weight_sum(labels, weight)
    loss = loss / (total or 1)
    loss.backward()
    return loss.item()


@misconception(
    "accumulate_tokens",
    zh="每次 backward 都写了 retain_graph=True：上一个微批的图还没有释放，下一个又建好了。",
    en="Every backward has retain_graph=True: the graph of one micro-batch is still there when the "
    "next is built.",
)
def token_graphs_retained(model, batches, weight=None):
    model.zero_grad()
    total = value = 0.0
    for x, labels in batches:
        loss = _token_sum(model(x), labels, weight)
        loss.backward(retain_graph=True)
        value += loss.item()
        total += _weight_sum(labels, weight)
    _divide(model, total or 1)
    return value / (total or 1)


# ------------------------------------------------------------------------- accumulate_then_clip


def _mean_gradient(model, loss_fn, batches):
    """Leave the gradient of the mean loss in .grad."""
    model.zero_grad()
    samples = _samples(batches)
    for x, y in batches:
        (loss_fn(model(x), y) / samples).backward()


def _found(model):
    return [p.grad for p in model.parameters() if p.grad is not None]


def _norm(gs):
    return torch.cat([g.flatten() for g in gs]).norm()


@alternative("accumulate_then_clip")
def clipped_by_hand(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = _norm(_found(model)).item()
    if norm > max_norm:
        for g in _found(model):
            g.mul_(max_norm / norm)
    return norm


@alternative("accumulate_then_clip")
def divided_late_then_clipped(model, loss_fn, batches, max_norm):
    for param in model.parameters():
        param.grad = None
    samples = 0
    for x, y in batches:
        loss_fn(model(x), y).backward()
        samples += len(x)
    _divide(model, samples)
    return float(clip_grad_norm_(list(model.parameters()), max_norm))


@alternative("accumulate_then_clip")
def measured_then_scaled(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = torch.nn.utils.get_total_norm(_found(model))
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), max_norm, norm)
    return norm.item()


@misconception(
    "accumulate_then_clip",
    zh="你在循环里裁剪：前面的微批一次次被压短，方向就变了，看看裁剪站在哪里。",
    en="You clip inside the loop: earlier micro-batches are shortened again and again, and the "
    "direction changes; look at where clipping stands.",
)
def clipped_in_the_loop(model, loss_fn, batches, max_norm):
    model.zero_grad()
    for x, y in batches:
        (loss_fn(model(x), y) / _samples(batches)).backward()
        norm = clip_grad_norm_(model.parameters(), max_norm)
    return norm.item()


@misconception(
    "accumulate_then_clip",
    zh="你先裁剪每个微批自己的梯度再相加：长的微批被压短，短的没有，方向就变了。",
    en="You clip each micro-batch's own gradient and add them: long ones are shortened, short ones "
    "are not, and the direction changes.",
)
def each_clipped_then_added(model, loss_fn, batches, max_norm):
    total = {}
    for x, y in batches:
        model.zero_grad()
        (loss_fn(model(x), y) / _samples(batches)).backward()
        norm = clip_grad_norm_(model.parameters(), max_norm)
        for param in model.parameters():
            if param.grad is not None:
                total[param] = total.get(param, 0) + param.grad
    for p, g in total.items():
        p.grad = g
    return norm.item()


@misconception(
    "accumulate_then_clip",
    zh="你逐个参数裁剪：范数应当是所有参数一起算的，否则参数之间的比例就变了。",
    en="You clip one parameter at a time: the norm is that of all parameters together, or else "
    "their proportions change.",
)
def each_parameter_clipped(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = _norm(_found(model)).item()
    for param in model.parameters():
        clip_grad_norm_([param], max_norm)
    return norm


@misconception(
    "accumulate_then_clip",
    zh="你用了 clip_grad_value_：它逐个分量截断，方向会变，题目要的是范数。",
    en="You used clip_grad_value_: it cuts every component by itself and turns the direction; the "
    "task asks for the norm.",
)
def values_clipped(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = _norm(_found(model)).item()
    clip_grad_value_(model.parameters(), max_norm)
    return norm


@misconception(
    "accumulate_then_clip",
    zh="你先裁剪、后除：除完之后的梯度远比 max_norm 短，本不必裁剪的也被裁剪了。",
    en="You clip first and divide later: after the division the gradient is far shorter than "
    "max_norm, and one that needed no clipping is clipped.",
)
def clipped_before_dividing(model, loss_fn, batches, max_norm):
    model.zero_grad()
    for x, y in batches:
        loss_fn(model(x), y).backward()
    norm = clip_grad_norm_(model.parameters(), max_norm)
    _divide(model, _samples(batches))
    return norm.item()


@misconception(
    "accumulate_then_clip",
    zh="你没有除：梯度很长时裁剪把这个错误掩盖了，看看本来很短的梯度。",
    en="You did not divide: where the gradient is long, clipping hides the mistake; look at one "
    "that is short.",
)
def clipped_without_dividing(model, loss_fn, batches, max_norm):
    model.zero_grad()
    for x, y in batches:
        loss_fn(model(x), y).backward()
    return clip_grad_norm_(model.parameters(), max_norm).item()


@misconception(
    "accumulate_then_clip",
    zh="你对各微批的平均再求平均：微批大小不一，请除以整个窗口的样本数。",
    en="You take the mean of the micro-batches' means: they are uneven; divide by the number of "
    "samples in the whole window.",
)
def means_of_means_clipped(model, loss_fn, batches, max_norm):
    model.zero_grad()
    for x, y in batches:
        (loss_fn(model(x), y) / len(x) / len(batches)).backward()
    return clip_grad_norm_(model.parameters(), max_norm).item()


@misconception(
    "accumulate_then_clip",
    zh="你除以的是微批的个数，不是样本数：loss_fn 这次返回的是总和。",
    en="You divide by the number of micro-batches, not of samples: this time loss_fn returns the "
    "sum.",
)
def sums_divided_by_k(model, loss_fn, batches, max_norm):
    model.zero_grad()
    for x, y in batches:
        (loss_fn(model(x), y) / len(batches)).backward()
    return clip_grad_norm_(model.parameters(), max_norm).item()


@misconception(
    "accumulate_then_clip",
    zh="你总是缩放到 max_norm：短的梯度被拉长了，范数为 0 时还会得到 nan。",
    en="You always scale to max_norm: a short gradient is lengthened, and a norm of 0 gives nan.",
)
def always_scaled(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = _norm(_found(model))
    for g in _found(model):
        g.mul_(max_norm / norm)
    return norm.item()


@misconception(
    "accumulate_then_clip",
    zh="你返回的是裁剪之后的范数：它最多是 max_norm，看不出梯度原来有多长。",
    en="You return the norm after clipping: it is max_norm at most, and does not tell how long the "
    "gradient was.",
)
def norm_after_clipping(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    clip_grad_norm_(model.parameters(), max_norm)
    return _norm(_found(model)).item()


@misconception(
    "accumulate_then_clip",
    zh="你把各个参数的范数直接相加：长度要先平方、相加、再开方。",
    en="You add up the norms of the parameters: lengths are squared, added, and then the root is "
    "taken.",
)
def norms_added(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = sum(g.norm() for g in _found(model)).item()
    if norm > max_norm:
        for g in _found(model):
            g.mul_(max_norm / norm)
    return norm


@misconception(
    "accumulate_then_clip",
    zh="你用平方和当作范数：少了开方。",
    en="You take the sum of squares for the norm: the square root is missing.",
)
def squares_without_root(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = sum((g**2).sum() for g in _found(model)).item()
    if norm > max_norm:
        for g in _found(model):
            g.mul_(max_norm / norm)
    return norm


@misconception(
    "accumulate_then_clip",
    zh="你用的是最大的分量，不是 2-范数：裁剪默认用的是 2-范数。",
    en="You use the largest component, not the 2-norm: clipping goes by the 2-norm.",
)
def largest_component(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    return clip_grad_norm_(model.parameters(), max_norm, norm_type=float("inf")).item()


@misconception(
    "accumulate_then_clip",
    zh="你从不清零：旧的梯度混了进来，和新的一起被裁剪。",
    en="You never zero: the old gradient is mixed in, and clipped together with the new one.",
)
def clipped_with_the_old(model, loss_fn, batches, max_norm):
    for x, y in batches:
        (loss_fn(model(x), y) / _samples(batches)).backward()
    return clip_grad_norm_(model.parameters(), max_norm).item()


@misconception(
    "accumulate_then_clip",
    zh="有的参数的 .grad 是 None，你没有防备：没有用到的或冻结的参数不参与裁剪。",
    en="The .grad of some parameter is None, and you did not expect it: a parameter unused or "
    "frozen takes no part in clipping.",
)
def none_not_expected(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = _norm([p.grad for p in model.parameters()]).item()
    clip_grad_norm_(model.parameters(), max_norm)
    return norm


@misconception(
    "accumulate_then_clip",
    zh="你裁剪的是参数本身，不是它们的梯度：参数变了，.grad 没有变。",
    en="You clip the parameters themselves, not their gradients: parameters have changed, .grad "
    "has not.",
)
def parameters_clipped(model, loss_fn, batches, max_norm):
    _mean_gradient(model, loss_fn, batches)
    norm = _norm(_found(model)).item()
    with torch.no_grad():
        for param in model.parameters():
            param.mul_(min(1.0, max_norm / param.norm().item()))
    return norm


@misconception(
    "accumulate_then_clip",
    zh="梯度都对，但循环里只把损失加起来，最后反向一次：所有微批的图同时活着。",
    en="The gradients are right, but the loop only adds up losses, with one backward pass at the "
    "end: the graphs of all micro-batches are alive together.",
)
def clipped_after_one_backward(model, loss_fn, batches, max_norm):
    model.zero_grad()
    (sum(loss_fn(model(x), y) for x, y in batches) / _samples(batches)).backward()
    return clip_grad_norm_(model.parameters(), max_norm).item()


# --------------------------------------------------------------------------------- predict_step


def _sgd_by_hand(options, start, gradients, kept=1.0, damped=False):
    """SGD by its formula; kept: what a step with None leaves of the velocity."""
    lr, mu = options["lr"], options.get("momentum", 0.0)
    decay = options.get("weight_decay", 0.0)
    p, grad, velocity, places = start, None, None, []
    for g in gradients:
        grad = grad if g == "stale" else g
        if grad is not None:
            d = grad + decay * p
            fresh = (1 - mu) * d if damped else d
            velocity = d if velocity is None else mu * velocity + fresh
            p -= lr * (velocity if mu else d)
        elif velocity is not None:
            velocity *= kept
        places.append(p)
    return places


def _adam_by_hand(optimizer, options, start, gradients, corrected=True, coupled=None, clock=False):
    """Adam or AdamW by its formula; clock: whether its steps count on where .grad is None."""
    lr, (b1, b2) = options["lr"], options["betas"]
    decay = options.get("weight_decay", 0.0)
    coupled = optimizer == "Adam" if coupled is None else coupled
    p, grad, m, v, t, places = start, None, 0.0, 0.0, 0, []
    for g in gradients:
        grad = grad if g == "stale" else g
        t += clock and grad is None
        if grad is not None:
            t += 1
            d = grad + decay * p if coupled else grad
            p -= 0.0 if coupled else lr * decay * p
            m, v = b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d * d
            c1, c2 = (1 - b1**t, 1 - b2**t) if corrected else (1.0, 1.0)
            p -= lr * (m / c1) / ((v / c2) ** 0.5 + 1e-8)
        places.append(p)
    return places


def _really(optimizer, options, start, gradients):
    """Let torch take the steps."""
    p = torch.tensor(start)
    stepper, places = getattr(torch.optim, optimizer)([p], **options), []
    for g in gradients:
        if g != "stale":
            p.grad = None if g is None else torch.tensor(g)
        stepper.step()
        places.append(p.item())
    return places


def _unstale(gradients):
    """The same gradients, with what "stale" stands for written out."""
    written = []
    for g in gradients:
        written.append(written[-1] if g == "stale" else g)
    return written


@alternative("predict_step")
def by_formula(optimizer, options, start, gradients, frozen=False):
    if optimizer == "SGD":
        return _sgd_by_hand(options, start, gradients)
    return _adam_by_hand(optimizer, options, start, gradients)


@alternative("predict_step")
def as_a_vector(optimizer, options, start, gradients, frozen=False):
    kinds = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
    p = torch.nn.Parameter(torch.full((1,), start))
    stepper, places = kinds[optimizer]([p], **options), []
    for g in _unstale(gradients):
        stepper.zero_grad()
        if g is not None:
            (g * p).sum().backward()
        stepper.step()
        places += p.detach().tolist()
    return places


@misconception(
    "predict_step",
    zh="你把 None 当成了 0：对不带附加项的 SGD 没有区别，对有状态的优化器有。",
    en="You took None for 0: to SGD without additions it makes no difference, to an optimiser with "
    "a state it does.",
)
def none_as_0(optimizer, options, start, gradients, frozen=False):
    return _really(optimizer, options, start, [0.0 if g is None else g for g in gradients])


@misconception(
    "predict_step",
    zh="你把 0 当成了 None：0 也是一个梯度，动量、权重衰减和 Adam 这时照样会动。",
    en="You took 0 for None: 0 is a gradient too, and momentum, weight decay and Adam still move.",
)
def zero_as_none(optimizer, options, start, gradients, frozen=False):
    return _really(optimizer, options, start, [None if g == 0.0 else g for g in gradients])


@misconception(
    "predict_step",
    zh="你以为 step 之后 .grad 会自动清空：没有人清零，旧的梯度下一步还会再用一次。",
    en="You think that a step empties .grad: nobody has zeroed it, and the old gradient is used "
    "once more.",
)
def emptied_by_the_step(optimizer, options, start, gradients, frozen=False):
    return _really(optimizer, options, start, [None if g == "stale" else g for g in gradients])


@misconception(
    "predict_step",
    zh="你让旧的梯度又加了一遍：没有新的反向传播，.grad 就不会变，只是原样再用。",
    en="You added the old gradient to itself: without another backward pass .grad does not change, "
    "it is used again as it is.",
)
def stale_added_up(optimizer, options, start, gradients, frozen=False):
    written = _unstale(gradients)
    for i, g in enumerate(gradients):
        if g == "stale" and written[i - 1] is not None:
            written[i] = 2 * written[i - 1]
            for j in range(i + 1, len(gradients)):
                if gradients[j] != "stale":
                    break
                written[j] = written[i]
    return _really(optimizer, options, start, written)


@misconception(
    "predict_step",
    zh="你以为冻结的参数不会动：优化器只看 .grad，不看 requires_grad。",
    en="You think that a frozen parameter does not move: an optimiser looks at .grad, not at "
    "requires_grad.",
)
def frozen_stands_still(optimizer, options, start, gradients, frozen=False):
    return [start] * len(gradients) if frozen else _really(optimizer, options, start, gradients)


@misconception(
    "predict_step",
    zh="你以为冻结的参数只受新梯度影响，旧梯度对它不起作用：优化器分不出新旧。",
    en="You think that a stale gradient does not act on a frozen parameter: an optimiser cannot "
    "tell old from new.",
)
def frozen_ignores_stale(optimizer, options, start, gradients, frozen=False):
    if frozen:
        gradients = [None if g == "stale" else g for g in gradients]
    return _really(optimizer, options, start, gradients)


@misconception(
    "predict_step",
    zh="方向反了：更新是减去 lr 乘以梯度，不是加上。",
    en="The direction is wrong: an update subtracts lr times the gradient, it does not add it.",
)
def uphill(optimizer, options, start, gradients, frozen=False):
    return _really(optimizer, options | {"maximize": True}, start, gradients)


@misconception(
    "predict_step",
    zh="你没有用 momentum：速度会记住前面的梯度。",
    en="You made no use of momentum: the velocity remembers earlier gradients.",
)
def momentum_left_out(optimizer, options, start, gradients, frozen=False):
    return _really(optimizer, options | {"momentum": 0.0} if "momentum" in options else options,
                   start, gradients)  # fmt: skip


@misconception(
    "predict_step",
    zh="你把动量写成了加权平均：torch 的速度是 μ·v + g，新梯度不乘 1 − μ。",
    en="You wrote momentum as a weighted mean: torch's velocity is μ·v + g, and the new gradient "
    "is not multiplied by 1 − μ.",
)
def momentum_as_a_mean(optimizer, options, start, gradients, frozen=False):
    if "momentum" in options:
        return _sgd_by_hand(options, start, gradients, damped=True)
    return _really(optimizer, options, start, gradients)


@misconception(
    "predict_step",
    zh="你让速度在 None 的那一步也衰减：优化器跳过没有梯度的参数，连状态也不动。",
    en="You let the velocity decay at a step with None: an optimiser skips a parameter without a "
    "gradient, its state included.",
)
def velocity_decays_at_none(optimizer, options, start, gradients, frozen=False):
    if "momentum" in options:
        return _sgd_by_hand(options, start, gradients, kept=options["momentum"])
    return _really(optimizer, options, start, gradients)


@misconception(
    "predict_step",
    zh="你让 None 把速度清空了：跳过的意思是什么都不动，速度也还在。",
    en="You let None empty the velocity: to be skipped means that nothing changes, and the "
    "velocity is still there.",
)
def velocity_lost_at_none(optimizer, options, start, gradients, frozen=False):
    if "momentum" in options:
        return _sgd_by_hand(options, start, gradients, kept=0.0)
    return _really(optimizer, options, start, gradients)


@misconception(
    "predict_step",
    zh="你没有用 weight_decay：它在每个有梯度的步里把参数往零拉。",
    en="You made no use of weight_decay: it pulls the parameter towards zero at every step with a "
    "gradient.",
)
def decay_left_out(optimizer, options, start, gradients, frozen=False):
    options = {name: value for name, value in options.items() if name != "weight_decay"}
    return _really(optimizer, options | {"weight_decay": 0.0}, start, gradients)


@misconception(
    "predict_step",
    zh="你把 Adam 与 AdamW 的权重衰减混为一谈：一个加进梯度，一个直接缩小参数。",
    en="You mixed up weight decay in Adam and in AdamW: one adds it to the gradient, the other "
    "shrinks the parameter itself.",
)
def adam_for_adamw(optimizer, options, start, gradients, frozen=False):
    optimizer = "Adam" if optimizer == "AdamW" else optimizer
    return _really(optimizer, options, start, gradients)


@misconception(
    "predict_step",
    zh="你的 Adam 没有偏差修正：头几步的矩还很小，要除以 1 − βᵗ。",
    en="Your Adam has no bias correction: in the first steps its moments are small, and are "
    "divided by 1 − βᵗ.",
)
def adam_uncorrected(optimizer, options, start, gradients, frozen=False):
    if optimizer == "SGD":
        return _really(optimizer, options, start, gradients)
    return _adam_by_hand(optimizer, options, start, gradients, corrected=False)


@misconception(
    "predict_step",
    zh="你让 Adam 的步数在 None 的那一步也加了 1：偏差修正里的 t 只数有梯度的步。",
    en="You let Adam count a step with None: the t of its bias correction counts only steps with a "
    "gradient.",
)
def adam_counts_none(optimizer, options, start, gradients, frozen=False):
    if optimizer == "SGD":
        return _really(optimizer, options, start, gradients)
    return _adam_by_hand(optimizer, options, start, gradients, clock=True)


@misconception(
    "predict_step",
    zh="你以为 Adam 每步都恰好走 lr：只有第一步如此，之后要看两个矩。",
    en="You think that Adam moves by exactly lr: only its first step does; later ones depend on "
    "its two moments.",
)
def adam_as_a_sign(optimizer, options, start, gradients, frozen=False):
    if optimizer == "SGD":
        return _really(optimizer, options, start, gradients)
    p, places = start, []
    for g in _unstale(gradients):
        p -= options["lr"] * ((g or 0.0) > 0) - options["lr"] * ((g or 0.0) < 0)
        places.append(p)
    return places


@misconception(
    "predict_step",
    zh="你返回的是每一步走了多远，题目要的是走到了哪里。",
    en="You return how far each step goes; the task asks where it leads.",
)
def moves_for_places(optimizer, options, start, gradients, frozen=False):
    places = _really(optimizer, options, start, gradients)
    return [after - before for before, after in itertools.pairwise([start, *places])]


@misconception(
    "predict_step",
    zh="你把起点也列了进来：列表应当与 gradients 一样长。",
    en="You listed the start as well: the list is as long as gradients.",
)
def start_included(optimizer, options, start, gradients, frozen=False):
    return [start, *_really(optimizer, options, start, gradients)]


@misconception(
    "predict_step",
    zh="你只返回了最后的位置：题目要每一步之后的。",
    en="You return the last place only: the task asks for the place after every step.",
)
def last_place_only(optimizer, options, start, gradients, frozen=False):
    return _really(optimizer, options, start, gradients)[-1]


@misconception(
    "predict_step",
    zh="你每一步都新建一个优化器：它的状态（速度、矩、步数）就这样丢了。",
    en="You make a new optimiser at every step: its state (velocity, moments, steps) is lost that "
    "way.",
)
def new_optimizer_every_step(optimizer, options, start, gradients, frozen=False):
    p, places = start, []
    for g in _unstale(gradients):
        (p,) = _really(optimizer, options, p, [g])
        places.append(p)
    return places


@misconception(
    "predict_step",
    zh="你让权重衰减在 None 的那一步也起作用：被跳过的参数不会往零拉。",
    en="You let weight decay act at a step with None: a parameter that is skipped is not pulled "
    "towards zero.",
)
def decay_at_none(optimizer, options, start, gradients, frozen=False):
    if "weight_decay" not in options:
        return _really(optimizer, options, start, gradients)
    p = torch.tensor(start)
    stepper, places = getattr(torch.optim, optimizer)([p], **options), []
    for g in _unstale(gradients):
        p.grad = None if g is None else torch.tensor(g)
        if g is None:
            p *= 1 - options["lr"] * options["weight_decay"]
        stepper.step()
        places.append(p.item())
    return places


# --------------------------------------------------------------------------------------- bn_gap


def _parts(x, y, size):
    return zip(x.split(size), y.split(size), strict=True)


def _flat(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def _on_a_twin(model, loss_fn, x, y, size, weigh=None):
    """The gradient accumulated on a copy; weigh(part, k): the weight of a micro-batch's mean."""
    twin = copy.deepcopy(model)
    k = len(x.split(size))
    for part, target in _parts(x, y, size):
        share = len(part) / len(x) if weigh is None else weigh(part, k)
        (loss_fn(twin(part), target) * share).backward()
    return _flat(twin)


def _relative(g, full):
    return ((g - full).norm() / full.norm()).item()


def _in_place(model, loss_fn, x, y, size):
    """The gradient accumulated in the model itself, by autograd.grad, which spares .grad."""
    params = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in params]
    for part, target in _parts(x, y, size):
        loss = loss_fn(model(part), target) * len(part) / len(x)
        gs = torch.autograd.grad(loss, params, materialize_grads=True)
        total = [t + g for t, g in zip(total, gs, strict=True)]
    return torch.cat([t.flatten() for t in total])


@alternative("bn_gap")
def statistics_restored(model, loss_fn, x, y, size):
    buffers = [(b, b.clone()) for b in model.buffers()]
    try:
        full = _in_place(model, loss_fn, x, y, len(x))
        return _relative(_in_place(model, loss_fn, x, y, size), full)
    finally:
        with torch.no_grad():
            for b, old in buffers:
                b.copy_(old)


@alternative("bn_gap")
def pure_functions(model, loss_fn, x, y, size):
    params = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    def loss(params, part, target):
        state = params | {n: b.clone() for n, b in model.named_buffers()}
        output = torch.func.functional_call(model, state, (part,))
        return loss_fn(output, target) * len(part) / len(x)

    def gradient(size):
        gs = [torch.func.grad(loss)(params, *pair) for pair in _parts(x, y, size)]
        return torch.cat([sum(g[name] for g in gs).flatten() for name in params])

    return _relative(gradient(size), gradient(len(x)))


@misconception(
    "bn_gap",
    zh="你切换到了 eval 模式：那是另一个模型，它的差距总是 0，题目要按现在的模式测量。",
    en="You switched to eval mode: that is another model, whose gap is always 0; the task asks to "
    "measure in the present modes.",
)
def measured_in_eval(model, loss_fn, x, y, size):
    twin = copy.deepcopy(model).eval()
    full = _on_a_twin(twin, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(twin, loss_fn, x, y, size), full)


@misconception(
    "bn_gap",
    zh="你切换到了 train 模式：调用者设成 eval 的层也被打开了，没有差距的模型有了差距。",
    en="You switched to train mode: layers that the caller had put in eval mode were switched too, "
    "and models without a gap got one.",
)
def measured_in_train(model, loss_fn, x, y, size):
    twin = copy.deepcopy(model).train()
    full = _on_a_twin(twin, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(twin, loss_fn, x, y, size), full)


@misconception(
    "bn_gap",
    zh="你没有除以 ‖g_full‖：绝对的差距随损失的单位而变，没法比较。",
    en="You did not divide by ‖g_full‖: an absolute gap changes with the units of the loss, and "
    "cannot be compared.",
)
def absolute_gap(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return (_on_a_twin(model, loss_fn, x, y, size) - full).norm().item()


@misconception(
    "bn_gap",
    zh="你除以的是微批梯度的范数：分母应当是大批的。",
    en="You divide by the norm of the micro-batches' gradient: the big batch's goes there.",
)
def relative_to_micro(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return _relative(full, _on_a_twin(model, loss_fn, x, y, size))


@misconception(
    "bn_gap",
    zh="你求的是两个范数之差：长度相同而方向不同的梯度，这样看不出来。",
    en="You take the difference of two norms: gradients of one length and different directions "
    "look alike that way.",
)
def difference_of_norms(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x)).norm()
    return ((_on_a_twin(model, loss_fn, x, y, size).norm() - full).abs() / full).item()


@misconception(
    "bn_gap",
    zh="你用了平方：范数要开方。",
    en="You used squares: a norm has a square root.",
)
def squared_gap(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(model, loss_fn, x, y, size), full) ** 2


@misconception(
    "bn_gap",
    zh="你对每个参数各算一个差距再平均：范数应当是所有参数一起算的。",
    en="You take a gap for every parameter and average them: the norm is that of all parameters "
    "together.",
    rounded=True,
)
def mean_over_parameters(model, loss_fn, x, y, size):
    def gradients(size):
        twin = copy.deepcopy(model)
        for part, target in _parts(x, y, size):
            (loss_fn(twin(part), target) * len(part) / len(x)).backward()
        return [p.grad for p in twin.parameters() if p.grad is not None]

    pairs = list(zip(gradients(size), gradients(len(x)), strict=True))
    return sum(_relative(g, full) for g, full in pairs) / len(pairs)


@misconception(
    "bn_gap",
    zh="你的累积除以了 k：最后一个微批不满时，量到的是除法的错，不是 BatchNorm 的。",
    en="Your accumulation divides by k: with an incomplete last micro-batch you measure a wrong "
    "division, not BatchNorm.",
)
def gap_of_the_division(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    g = _on_a_twin(model, loss_fn, x, y, size, lambda part, k: 1 / k)
    return _relative(g, full)


@misconception(
    "bn_gap",
    zh="你的累积没有除：连没有 BatchNorm 的模型也有了差距。",
    en="Your accumulation does not divide: even a model without BatchNorm gets a gap.",
)
def gap_of_no_division(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(model, loss_fn, x, y, size, lambda part, k: 1.0), full)


@misconception(
    "bn_gap",
    zh="你只拿第一个微批与大批比较：那里面还有抽样的误差，要把所有微批累积起来。",
    en="You compare only the first micro-batch with the big batch: that contains the error of a "
    "sample; accumulate all micro-batches.",
)
def first_micro_batch_only(model, loss_fn, x, y, size):
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(model, loss_fn, x[:size], y[:size], size), full)


@misconception(
    "bn_gap",
    zh="你丢掉了最后不满的微批：它的样本也在大批里。",
    en="You dropped the last, incomplete micro-batch: its samples are in the big batch too.",
)
def incomplete_dropped(model, loss_fn, x, y, size):
    whole = len(x) // size * size or len(x)
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(model, loss_fn, x[:whole], y[:whole], size), full)


@misconception(
    "bn_gap",
    zh="你比较的是损失，不是梯度：损失相近不说明梯度相近。",
    en="You compare losses, not gradients: losses that are close say nothing about gradients.",
)
def gap_of_the_losses(model, loss_fn, x, y, size):
    twin = copy.deepcopy(model)
    full = loss_fn(twin(x), y).item()
    parts = sum(loss_fn(twin(a), b).item() * len(a) / len(x) for a, b in _parts(x, y, size))
    return abs(parts - full) / abs(full)


@misconception(
    "bn_gap",
    zh="你在原来的模型上做前向：BatchNorm 的统计量变了，测量留下了痕迹。",
    en="You ran the model itself: the statistics of BatchNorm have changed, and measuring left a "
    "trace.",
)
def statistics_changed(model, loss_fn, x, y, size):
    full = _in_place(model, loss_fn, x, y, len(x))
    return _relative(_in_place(model, loss_fn, x, y, size), full)


@misconception(
    "bn_gap",
    zh="你恢复了平均值和方差，却漏了 num_batches_tracked：它也是 BatchNorm 的状态。",
    en="You restored mean and variance, but not num_batches_tracked: that belongs to the state of "
    "BatchNorm too.",
)
def counter_not_restored(model, loss_fn, x, y, size):
    old = [(b, b.clone()) for b in model.buffers() if b.is_floating_point()]
    try:
        return statistics_changed(model, loss_fn, x, y, size)
    finally:
        for b, value in old:
            b.copy_(value)


@misconception(
    "bn_gap",
    zh="平时都对，但 torch 报错时你没有恢复统计量：恢复要写在 finally 里，或者用一份副本。",
    en="It works, but when torch raises an error you do not restore the statistics: do it in a "
    "finally, or work on a copy.",
)
def not_restored_after_an_error(model, loss_fn, x, y, size):
    old = [(b, b.clone()) for b in model.buffers()]
    gap = statistics_changed(model, loss_fn, x, y, size)
    for b, value in old:
        b.copy_(value)
    return gap


@misconception(
    "bn_gap",
    zh="你把 momentum 设成 0 来保住统计量：计数照样增加，而且 momentum 再也没有改回去。",
    en="You set momentum to 0 to save the statistics: the counter goes on all the same, and "
    "momentum is never set back.",
)
def momentum_0(model, loss_fn, x, y, size):
    for module in model.modules():
        if hasattr(module, "momentum"):
            module.momentum = 0.0
    return statistics_changed(model, loss_fn, x, y, size)


@misconception(
    "bn_gap",
    zh="你用 backward 写了模型的 .grad：调用者累积到一半的梯度被清掉了。",
    en="You wrote to the model's .grad with backward: gradients that the caller had half "
    "accumulated are gone.",
)
def grads_overwritten(model, loss_fn, x, y, size):
    def gradient(size):
        model.zero_grad()
        for part, target in _parts(x, y, size):
            (loss_fn(model(part), target) * len(part) / len(x)).backward()
        return _flat(model)

    state = copy.deepcopy(model.state_dict())
    try:
        full = gradient(len(x))
        return _relative(gradient(size), full)
    finally:
        model.load_state_dict(state)


@misconception(
    "bn_gap",
    zh="第二次累积之前你没有清零：大批的梯度混进了微批的。",
    en="You did not zero before the second accumulation: the big batch's gradient is mixed into "
    "the micro-batches'.",
)
def second_not_zeroed(model, loss_fn, x, y, size):
    twin = copy.deepcopy(model)
    loss_fn(twin(x), y).backward()
    full = _flat(twin)
    for part, target in _parts(x, y, size):
        (loss_fn(twin(part), target) * len(part) / len(x)).backward()
    return _relative(_flat(twin), full)


@misconception(
    "bn_gap",
    zh="你没有想到 .grad 可能是 None：没有用到的和冻结的参数不参与。",
    en="You did not expect a .grad of None: parameters that are unused or frozen take no part.",
)
def gap_with_none(model, loss_fn, x, y, size):
    def gradient(size):
        twin = copy.deepcopy(model)
        for part, target in _parts(x, y, size):
            (loss_fn(twin(part), target) * len(part) / len(x)).backward()
        return torch.cat([p.grad.flatten() for p in twin.parameters()])

    full = gradient(len(x))
    return _relative(gradient(size), full)


@misconception(
    "bn_gap",
    zh="你把 torch 的错误换成了 nan：题目要求原样传出，调用者才知道微批太小。",
    en="You turn torch's error into nan: the task asks to let it through, so that the caller "
    "learns that a micro-batch is too small.",
)
def error_swallowed(model, loss_fn, x, y, size):
    try:
        full = _on_a_twin(model, loss_fn, x, y, len(x))
        return _relative(_on_a_twin(model, loss_fn, x, y, size), full)
    except ValueError:
        return float("nan")


@misconception(
    "bn_gap",
    zh="你给所有参数都打开了 requires_grad：冻结的参数也参与了，而且再也没有冻结回去。",
    en="You switched on requires_grad for all parameters: frozen ones take part too, and are never "
    "frozen again.",
)
def everything_unfrozen(model, loss_fn, x, y, size):
    for param in model.parameters():
        param.requires_grad_(True)
    full = _on_a_twin(model, loss_fn, x, y, len(x))
    return _relative(_on_a_twin(model, loss_fn, x, y, size), full)


# ----------------------------------------------------------------------------------- step_every


def _windows(batches, k):
    return [batches[i : i + k] for i in range(0, len(batches), k)]


def _modulo(model, optimizer, scheduler, loss_fn, batches, k, divisor, flush=False):
    """The usual loop; divisor(window, x): what the mean of a micro-batch is divided by."""
    steps = 0
    for i, (x, y) in enumerate(batches):
        window = batches[i // k * k : i // k * k + k]
        (loss_fn(model(x), y) / divisor(window, x)).backward()
        if (i + 1) % k == 0 or (flush and i + 1 == len(batches)):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            steps += 1
    return steps


def _by_samples(window, x):
    return _samples(window) / len(x)


def _in_windows(model, optimizer, scheduler, loss_fn, batches, k, divisor):
    """Zero, accumulate and step in every window; divisor as in _modulo."""
    for window in _windows(batches, k):
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / divisor(window, x)).backward()
        optimizer.step()
        scheduler.step()
    return len(_windows(batches, k))


@alternative("step_every")
def flushed_at_the_end(model, optimizer, scheduler, loss_fn, batches, k):
    optimizer.zero_grad()
    return _modulo(model, optimizer, scheduler, loss_fn, batches, k, _by_samples, flush=True)


@alternative("step_every")
def divided_before_the_step(model, optimizer, scheduler, loss_fn, batches, k):
    rest, steps = iter(batches), 0
    while window := list(itertools.islice(rest, k)):
        for param in model.parameters():
            param.grad = None
        for x, y in window:
            (loss_fn(model(x), y) * len(x)).backward()
        _divide(model, _samples(window))
        optimizer.step()
        scheduler.step()
        steps += 1
    return steps


@misconception(
    "step_every",
    zh="最后不满的窗口被你丢了：这一轮的最后几个微批没有用上。",
    en="You lost the last, incomplete window: the last micro-batches of the epoch were not used.",
)
def tail_lost(model, optimizer, scheduler, loss_fn, batches, k):
    whole = len(batches) // k * k
    return _in_windows(model, optimizer, scheduler, loss_fn, batches[:whole], k, _by_samples)


@misconception(
    "step_every",
    zh="取模的循环：最后不满的窗口没有走一步，它的梯度却混进了下一轮的第一步。",
    en="The modulo loop: the last, incomplete window takes no step, and its gradient slips into "
    "the first step of the next epoch.",
)
def tail_carried_over(model, optimizer, scheduler, loss_fn, batches, k):
    return _modulo(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)


@misconception(
    "step_every",
    zh="取模的循环，只在开头清一次零：旧的梯度混不进来了，可最后不满的窗口还是丢了。",
    en="The modulo loop with one zeroing at its start: old gradients no longer slip in, but the "
    "last, incomplete window is computed and then lost.",
)
def tail_computed_and_lost(model, optimizer, scheduler, loss_fn, batches, k):
    optimizer.zero_grad()
    return _modulo(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)


@misconception(
    "step_every",
    zh="最后不满的窗口你也按满的来除：那一步太小了，请数窗口里实际有多少。",
    en="You divide the last, incomplete window as if it were full: its step is too small; count "
    "what the window really holds.",
)
def tail_divided_as_if_full(model, optimizer, scheduler, loss_fn, batches, k):
    def divisor(window, x):
        return _samples(window) / len(x) * k / len(window)

    return _in_windows(model, optimizer, scheduler, loss_fn, batches, k, divisor)


@misconception(
    "step_every",
    zh="你除以 k：微批大小不一，而且最后一个窗口没有 k 个。",
    en="You divide by k: micro-batches are uneven, and the last window has not got k.",
)
def every_window_by_k(model, optimizer, scheduler, loss_fn, batches, k):
    return _in_windows(model, optimizer, scheduler, loss_fn, batches, k, lambda window, x: k)


@misconception(
    "step_every",
    zh="你除以窗口里微批的个数：微批大小不一，小微批里的样本太重了。",
    en="You divide by the number of micro-batches in the window: they are uneven, and samples in "
    "small ones weigh too much.",
)
def by_micro_batches(model, optimizer, scheduler, loss_fn, batches, k):
    return _in_windows(
        model, optimizer, scheduler, loss_fn, batches, k, lambda window, x: len(window)
    )


@misconception(
    "step_every",
    zh="你没有除：每一步的梯度是各个平均值的和。",
    en="You did not divide: the gradient of each step is a sum of means.",
)
def steps_without_division(model, optimizer, scheduler, loss_fn, batches, k):
    return _in_windows(model, optimizer, scheduler, loss_fn, batches, k, lambda window, x: 1)


@misconception(
    "step_every",
    zh="你除以了整轮的样本数：每一步的分母只属于它自己的窗口。",
    en="You divide by the samples of the whole epoch: the divisor of a step belongs to its own "
    "window.",
)
def by_the_epoch(model, optimizer, scheduler, loss_fn, batches, k):
    return _in_windows(
        model, optimizer, scheduler, loss_fn, batches, k,
        lambda window, x: _samples(batches) / len(x),
    )  # fmt: skip


@misconception(
    "step_every",
    zh="你对每个微批都走了一步：那不是累积。",
    en="You take a step for every micro-batch: that is no accumulation.",
)
def step_for_each(model, optimizer, scheduler, loss_fn, batches, k):
    return _in_windows(model, optimizer, scheduler, loss_fn, batches, 1, _by_samples)


@misconception(
    "step_every",
    zh="你一轮只走了一步：k 个微批就该走一步。",
    en="You take one step in the epoch: every k micro-batches should take one.",
)
def one_step_an_epoch(model, optimizer, scheduler, loss_fn, batches, k):
    k = max(1, len(batches))
    return _in_windows(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)


@misconception(
    "step_every",
    zh="你写了 i % k == 0：第一个微批之后就走了一步，窗口全都错开了一个。",
    en="You wrote i % k == 0: that steps after the very first micro-batch, and every window is off "
    "by one.",
)
def windows_off_by_one(model, optimizer, scheduler, loss_fn, batches, k):
    windows = [batches[:1], *_windows(batches[1:], k)] if batches else []
    for window in windows:
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.step()
        scheduler.step()
    return len(windows)


@misconception(
    "step_every",
    zh="循环之后你总要再走一步：个数整除时，最后多了一步空的。",
    en="You always take one more step after the loop: where k divides the number, that is an "
    "empty step too many.",
)
def one_step_too_many(model, optimizer, scheduler, loss_fn, batches, k):
    optimizer.zero_grad()
    steps = _modulo(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)
    optimizer.step()
    scheduler.step()
    return steps + 1


@misconception(
    "step_every",
    zh="你对每个微批都调用了 scheduler.step()：学习率应当按优化器的步数变化。",
    en="You call scheduler.step() for every micro-batch: the learning rate goes by the steps of "
    "the optimiser.",
)
def schedule_for_each(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
            scheduler.step()
        optimizer.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="scheduler.step() 站在 optimizer.step() 前面：第一步就用上了第二步的学习率。",
    en="scheduler.step() stands before optimizer.step(): the first step already uses the learning "
    "rate of the second.",
)
def schedule_first(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        scheduler.step()
        optimizer.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你一轮只调用了一次 scheduler.step()：题目要求每走一步调用一次。",
    en="You call scheduler.step() once in the epoch: the task asks for once a step.",
)
def schedule_once(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.step()
    scheduler.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你忘了 scheduler：学习率一直没有变。",
    en="You forgot the scheduler: the learning rate never changes.",
)
def schedule_forgotten(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你在反向传播之后、走一步之前清零：优化器看到的 .grad 是 None。",
    en="You zero after the backward passes and before the step: the optimiser sees a .grad of "
    "None.",
)
def zeroed_before_the_step(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.zero_grad()
        optimizer.step()
        scheduler.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你在每个微批之前都清零：每一步只用到了窗口里的最后一个微批。",
    en="You zero before every micro-batch: each step uses only the last one of its window.",
)
def only_the_last_of_a_window(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        for x, y in window:
            optimizer.zero_grad()
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.step()
        scheduler.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你从不清零：每一步都带着前面所有窗口的梯度。",
    en="You never zero: every step carries the gradients of all windows before it.",
)
def windows_never_zeroed(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.step()
        scheduler.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你只在走一步之后清零：第一步之前 .grad 里留着的旧梯度混了进来。",
    en="You zero after each step only: what .grad held before the first step is mixed in.",
)
def zeroed_after_steps_only(model, optimizer, scheduler, loss_fn, batches, k):
    return _modulo(model, optimizer, scheduler, loss_fn, batches, k, _by_samples, flush=True)


@misconception(
    "step_every",
    zh="梯度都对，但窗口里的损失加在一起才反向：一个窗口的所有图同时活着。",
    en="The gradients are right, but the losses of a window are added before the backward pass: "
    "all graphs of a window are alive together.",
)
def one_backward_a_window(model, optimizer, scheduler, loss_fn, batches, k):
    for window in _windows(batches, k):
        optimizer.zero_grad()
        sum(loss_fn(model(x), y) / _by_samples(window, x) for x, y in window).backward()
        optimizer.step()
        scheduler.step()
    return len(_windows(batches, k))


@misconception(
    "step_every",
    zh="你返回的是微批的个数，题目要的是走了多少步。",
    en="You return the number of micro-batches; the task asks for the number of steps.",
)
def micro_batches_returned(model, optimizer, scheduler, loss_fn, batches, k):
    _in_windows(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)
    return len(batches)


@misconception(
    "step_every",
    zh="一个微批也没有时你的函数报错：没有窗口，就没有一步要走。",
    en="Your function fails when there is no micro-batch: without a window there is no step to "
    "take.",
)
def fails_on_an_empty_epoch(model, optimizer, scheduler, loss_fn, batches, k):
    batches[0]
    return _in_windows(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)


@misconception(
    "step_every",
    zh="你返回的步数只算满的窗口：最后不满的窗口也走了一步。",
    en="The number of steps that you return counts full windows only: the last, incomplete one "
    "took a step too.",
)
def full_windows_counted(model, optimizer, scheduler, loss_fn, batches, k):
    _in_windows(model, optimizer, scheduler, loss_fn, batches, k, _by_samples)
    return len(batches) // k


@misconception(
    "step_every",
    zh="你把最后不满的窗口并进了前一个：那一步就不止 k 个微批了。",
    en="You merged the last, incomplete window into the one before: that step has more than k "
    "micro-batches.",
)
def tail_merged(model, optimizer, scheduler, loss_fn, batches, k):
    windows = _windows(batches, k)
    if len(windows) > 1 and len(windows[-1]) < k:
        windows[-2:] = [windows[-2] + windows[-1]]
    for window in windows:
        optimizer.zero_grad()
        for x, y in window:
            (loss_fn(model(x), y) / _by_samples(window, x)).backward()
        optimizer.step()
        scheduler.step()
    return len(windows)


@misconception(
    "step_every",
    zh="梯度都对，但你从 batches 里删去用过的微批：下一轮就没有数据了。",
    en="The gradients are right, but you delete micro-batches from batches once they are used: the "
    "next epoch has no data.",
)
def batches_deleted(model, optimizer, scheduler, loss_fn, batches, k):
    steps = 0
    while batches:
        steps += _in_windows(model, optimizer, scheduler, loss_fn, batches[:k], k, _by_samples)
        del batches[:k]
    return steps


EQUIVALENT = {
    "accumulate_tokens": {
        "line 32: 1 → 2": "whatever it is divided by, 0 is 0",
    },
    "predict_step": {
        "line 16: torch.tensor: no requires_grad=not frozen": (
            "an optimiser never looks at requires_grad"
        ),
        "line 16: not frozen → frozen": "an optimiser never looks at requires_grad",
    },
    "bn_gap": {
        "line 19: zip: no strict=True": "x and y have as many samples",
        "line 19: True → False": "x and y have as many samples",
        "line 20: loss_fn(twin(part), target) * len(part) / len(x) → "
        "loss_fn(twin(part), target) * len(part) * len(x)": "a relative gap has no scale",
        "line 21: return -torch.cat([p.grad.flatten() for p in twin.parameters() if … for "
        "torch.cat([p.grad.flatten() for p in twin.parameters() if p…": "a norm has no sign",
        "line 21: return 2 * torch.cat([p.grad.flatten() for p in twin.parameters() … for "
        "torch.cat([p.grad.flatten() for p in twin.parameters() if p…": "nor has it a scale",
    },
}
