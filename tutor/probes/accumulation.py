"""Probes of assignment 08: what students' loops over micro-batches leave in .grad.

They look at gradients and never at how low a loss is. Micro-batches are uneven, old gradients are
planted, and no probe knows an answer: it asks and writes down. What it counts (sizes the model saw,
backward passes) is the same for every right way of solving an exercise.
"""

from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from ..counting import backward_passes
from ..evidence import attempt
from ..exercise import Facet, exercise
from ..probing import afresh, ask_all, errors, gist, positive, signed, sizes, with_results

F32 = torch.float32
PAD = -100


# ------------------------------------------------------------------------- models and their data


class Partial(nn.Module):
    """A model with a parameter that is used, one that is frozen and one that is not used."""

    def __init__(self, n):
        super().__init__()
        self.used = nn.Parameter(torch.empty(3, 1))
        self.frozen = nn.Parameter(torch.empty(n, 3), requires_grad=False)
        self.unused = nn.Parameter(torch.empty(2))

    def forward(self, x):
        return torch.tanh(x @ self.frozen) @ self.used


class Pooled(nn.Module):
    """A model of sequences (n, t, d) of any length t: one output for each of n samples."""

    def __init__(self, d):
        super().__init__()
        self.linear = nn.Linear(d, 2)

    def forward(self, x):
        return torch.sin(self.linear(x)).mean(1)


def filled(rng, model, dtype=torch.float64):
    """The same model with drawn parameters of ``dtype``."""
    model.to(dtype)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(signed(rng, *weights.shape, dtype=dtype) / 2)
    return model


def network(rng, n, out=1, hidden=3, dtype=torch.float64):
    """A network from (…, n) to (…, out)."""
    layers = nn.Linear(n, hidden), nn.Tanh(), nn.Linear(hidden, out)
    return filled(rng, nn.Sequential(*layers), dtype)


def norm_network(rng, n, norm, dtype=torch.float64):
    """A network from (…, n) to (…, 1) with a layer that normalises three channels."""
    layers = nn.Linear(n, 3), norm, nn.Tanh(), nn.Linear(3, 1)
    return filled(rng, nn.Sequential(*layers), dtype)


def micro_batches(rng, lengths, n, out=1, dtype=torch.float64):
    """A pair (x, y), of shapes (length, n) and (length, out), for each of the lengths.

    The numbers are larger in each pair than in the one before: a pair with the wrong weight shows.
    """
    return [
        (positive(rng, length, n, dtype=dtype) * (i + 1) / len(lengths),
         positive(rng, length, out, dtype=dtype) * 2 * (i + 1))
        for i, length in enumerate(lengths)
    ]  # fmt: skip


def relative_error(prediction, y):
    """The mean over the micro-batch, as the losses of torch.nn have it; y must not be 0.

    It is not symmetric: an answer that mixes up the prediction and y is found out.
    """
    return F.mse_loss(prediction / y, torch.ones_like(y))


def square_error_sum(prediction, y):
    """The sum over the micro-batch."""
    return F.mse_loss(prediction, y, reduction="sum")


def gradients(model):
    """{name: .grad} of every parameter."""
    return {name: p.grad for name, p in model.named_parameters()}


def left_behind(answer):
    """A question for ask_all: what ``answer(model, …)`` leaves in .grad."""

    def asked(model, *args):
        answer(model, *args)
        return gradients(model)

    return asked


def soiled(rng, model):
    """The same model with an old gradient in every .grad, frozen parameters included."""
    for weights in model.parameters():
        weights.grad = signed(rng, *weights.shape, dtype=weights.dtype)
    return model


def _merged(*observations):
    """One observation of the cases of several."""
    return {"dict": {name: o for found in observations for name, o in found["dict"].items()}}


class Snapshot:
    """Remembers a model and tensors beside it, and reports what a call has changed."""

    def __init__(self, model, batches=()):
        self.model, self.batches = model, batches
        self.before = self._state()

    def _state(self):
        modules = list(self.model.modules())
        return {
            "parameters": [p.detach().clone() for p in self.model.parameters()],
            "requires_grad": [p.requires_grad for p in self.model.parameters()],
            **self._buffers(),
            "training": [module.training for module in modules],
            "momentum": [getattr(module, "momentum", None) for module in modules],
            "batches": [t.clone() for pair in self.batches for t in pair],
            ".grad": [None if p.grad is None else p.grad.clone() for p in self.model.parameters()],
        }

    def _buffers(self):
        """{"running_mean": [one for each layer], …}"""
        found = {}
        for name, buffer in self.model.named_buffers():
            found.setdefault(name.rpartition(".")[2], []).append(buffer.clone())
        return found

    def report(self, *leave_out):
        """{"parameters unchanged": …} for everything but the names that are left out."""
        after = self._state()
        return {
            f"{name} unchanged": len(old) == len(after[name]) and all(map(_same, old, after[name]))
            for name, old in self.before.items()
            if name not in leave_out
        }


def _same(a, b):
    both = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    return torch.equal(a, b) if both else a is b


class Seen:
    """What happened to a model: sizes of its inputs, backward passes, most numbers saved."""

    def __init__(self):
        self.sizes, self.passes, self.alive, self.peak = [], 0, 0, 0

    def change(self, numbers):
        self.alive += numbers
        self.peak = max(self.peak, self.alive)


class Saved:
    """A tensor that a graph has saved; as long as it is alive, its numbers count."""

    def __init__(self, tensor, numbers, seen):
        self.tensor, self.numbers, self.seen = tensor, numbers, seen
        seen.change(numbers)

    def __del__(self):
        self.seen.change(-self.numbers)


@contextmanager
def watched(model):
    """Watch a model while the context is open; its own parameters do not count as saved."""
    seen, own = Seen(), {p.data_ptr() for p in model.parameters()}

    def pack(tensor):
        return Saved(tensor, 0 if tensor.data_ptr() in own else tensor.numel(), seen)

    hook = model.register_forward_pre_hook(lambda _, args: seen.sizes.append(len(args[0])))
    try:
        with ExitStack() as stack:
            passes = stack.enter_context(backward_passes())
            stack.enter_context(saved_tensors_hooks(pack, lambda saved: saved.tensor))
            yield seen
            seen.passes = passes.value
    finally:
        hook.remove()


def thrift(rng, call, model, batches, loss_of):
    """How ``call()`` goes through ``batches``, whether it keeps one graph at a time, what it gives.

    call: returns gradients, of which the report has the `gist`. The graph of the largest
    micro-batch, from ``loss_of(x, y)``, is the measure. Two of them at a time are too many; what is
    allowed leaves room for other ways to write the loss.
    """
    x, y = max(batches, key=lambda pair: len(pair[0]))
    with watched(model) as one:
        torch.autograd.grad(loss_of(x, y), list(model.parameters()))
    weights = afresh(rng)
    with watched(model) as all_of_them:
        found = call()
    return {
        "sizes the model saw": all_of_them.sizes,
        "backward passes": all_of_them.passes,
        "one graph at a time": all_of_them.peak < 1.7 * one.peak,
        "gradients": gist(weights, found),
    }


# ----------------------------------------------------------------------------------- accumulate


@exercise(
    "08-accumulation",
    facets=[
        Facet("value", 1, "每个参数的梯度", "the gradient of every parameter"),
        Facet("stale", 0.5, "旧的 .grad；没有用到的和冻结的参数",
              "old .grad; parameters unused and frozen", needs=("value",)),
        Facet("kinds", 0.5, "一个微批、一个样本、序列、类别、转置、float32",
              "one micro-batch, one sample, sequences, classes, a transpose, float32",
              needs=("value",)),
        Facet("penalty", 0.5, "正则项只加一次", "the penalty counts once", needs=("value",)),
        Facet("loss", 0.5, "返回大批的损失", "returns the loss of the big batch",
              needs=("value",)),
        Facet("untouched", 0.5, "参数、模式和数据保持原样",
              "parameters, modes and data stay as they are", needs=("value",)),
        Facet("cost", 0.5, "每个微批一次前向、一次反向，只有一张图活着",
              "one forward and one backward pass each, one graph alive", needs=("value",)),
    ],
)  # fmt: skip
def accumulate(answer, rng):
    n = int(rng.integers(3, 6))
    left = left_behind(answer)

    def case(lengths, out=1):
        return network(rng, n, out), relative_error, micro_batches(rng, lengths, n, out)

    values = {"3 micro-batches": case(sizes(rng, 3)), "4 micro-batches": case(sizes(rng, 4), 2)}
    yield "value", ask_all(left, values)
    partly = soiled(rng, filled(rng, Partial(n)))
    old = {
        "all used": (soiled(rng, network(rng, n)), *case(sizes(rng, 3))[1:]),
        "partly": (partly, relative_error, micro_batches(rng, sizes(rng, 3), n)),
        "partly, no old": (filled(rng, Partial(n)), *case(sizes(rng, 2))[1:]),
    }
    yield "stale", ask_all(left, old)
    yield "kinds", ask_all(left, _kinds(rng, n))

    def with_penalty(lengths):
        model, loss_fn, batches = case(lengths)
        scale = positive(rng)
        return model, loss_fn, batches, lambda m: scale * sum((p**2).sum() for p in m.parameters())

    penalties = {"3 micro-batches": with_penalty(sizes(rng, 3)), "1": with_penalty([4])}
    yield "penalty", ask_all(left, penalties)
    returned = {"without penalty": case(sizes(rng, 4)), "with penalty": with_penalty(sizes(rng, 3))}
    yield "loss", ask_all(answer, returned)
    rng = afresh(rng)
    yield "untouched", attempt(with_results(rng, _accumulate_untouched), left, rng, n)
    rng = afresh(rng)
    model, batches = network(rng, n, hidden=40), micro_batches(rng, [6, 7, 6, 7, 6], n)
    yield "cost", attempt(
        thrift, rng, lambda: left(model, relative_error, batches), model, batches,
        lambda x, y: relative_error(model(x), y),
    )  # fmt: skip


def _kinds(rng, n):
    """Cases for accumulate in which a sample is not simply a row of numbers in float64."""
    a, b, c = sizes(rng, 3)
    tilted = [(positive(rng, n, m).T, positive(rng, 2, m).T * m) for m in (a, b)]
    sequences = [
        (positive(rng, m, t, n), positive(rng, m, 2) * t) for m, t in ((a, 5), (b, 2), (c, 3))
    ]
    classes = [(x, torch.tensor(rng.integers(0, 3, len(x)))) for x, _ in tilted]
    singles = micro_batches(rng, [1, 4, 1], n)
    return {
        "one micro-batch": (network(rng, n), relative_error, micro_batches(rng, [a], n)),
        "one sample": (network(rng, n), relative_error, singles),
        "sequences": (filled(rng, Pooled(n)), relative_error, sequences),
        "classes": (network(rng, n, 3), F.cross_entropy, classes),
        "transposed": (network(rng, n, 2), relative_error, tilted),
        "float32": (network(rng, n, dtype=F32), relative_error,
                    micro_batches(rng, [a, c], n, dtype=F32)),
    }  # fmt: skip


def _accumulate_untouched(answer, rng, n):
    report = {}
    for mode in ("train", "eval"):
        model, batches = norm_network(rng, n, nn.LayerNorm(3)), micro_batches(rng, [4, 2], n)
        model.train(mode == "train")
        model[1].eval()
        snapshot = Snapshot(model, batches)
        answer(model, relative_error, batches)
        report[mode] = snapshot.report(".grad") | {"batches": len(batches)}
    return report


# ---------------------------------------------------------------------------- accumulate_tokens


@exercise(
    "08-accumulation",
    facets=[
        Facet("value", 1, "每个参数的梯度", "the gradient of every parameter"),
        Facet("empty", 0.5, "微批或整个窗口没有有效 token",
              "no valid token in a micro-batch, or in the window", needs=("value",)),
        Facet("weights", 0.75, "类别带权重", "classes with weights", needs=("value",)),
        Facet("stream", 0.25, "batches 只能走一遍", "batches can be walked only once",
              needs=("value",)),
        Facet("kinds", 0.5, "旧的 .grad、冻结的参数、二维 logits、转置的标签、float32",
              "old .grad, frozen parameters, 2-D logits, transposed labels, float32",
              needs=("value",)),
        Facet("loss", 0.5, "返回大批的损失", "returns the loss of the big batch",
              needs=("value",)),
        Facet("cost", 0.5, "每个微批一次前向、一次反向，只有一张图活着",
              "one forward and one backward pass each, one graph alive", needs=("value",)),
    ],
)  # fmt: skip
def accumulate_tokens(answer, rng):
    n, classes = int(rng.integers(3, 6)), 3
    left = left_behind(answer)

    def case(valid, *more, dtype=torch.float64):
        return network(rng, n, classes, dtype=dtype), _texts(rng, valid, n, classes, dtype), *more

    values = {
        "3 micro-batches": case([[4, 1], [1], [2, 3, 2]]),
        "2 micro-batches": case([[1, 1, 1], [5]]),
    }
    yield "value", ask_all(left, values)
    empty = {"first": case([[0], [3, 1]]), "last": case([[2], [1, 4], [0, 0]])}
    nothing = case([[0, 0], [0]])
    dark = attempt(_nothing_valid, answer, *nothing)
    yield "empty", _merged(ask_all(left, empty), {"dict": {"all": dark}})
    weights = {
        "large": case([[4, 1], [1], [3, 2, 5]], _weight(rng, 2.0)),
        "small": case([[1], [2]], _weight(rng, 0.02)),
        "empty": case([[2, 3], [0]], _weight(rng, 1.0)),
        "float32": case([[3], [1, 2]], _weight(rng, 1.0, F32), dtype=F32),
    }
    yield "weights", ask_all(left, weights)

    def walked_once(model, batches, *more):
        return left(model, iter(batches), *more)

    once = {"2 micro-batches": case([[3, 1], [1]]), "3": case([[2], [4, 3], [1, 1]])}
    yield "stream", ask_all(walked_once, once)
    yield "kinds", ask_all(left, _token_kinds(rng, n, classes, case))
    returned = {
        "plain": case([[4], [1, 2]]),
        "weights": case([[1], [5, 2]], _weight(rng, 1.0)),
        "empty": case([[0], [3]]),
    }
    yield "loss", ask_all(answer, returned)
    rng = afresh(rng)
    model = network(rng, n, classes, hidden=60)
    texts = _texts(rng, [[4, 2, 1], [3, 4, 2, 4], [2, 1, 4], [4, 3, 1, 4], [4, 4, 1]], n, classes)
    yield "cost", attempt(
        thrift, rng, lambda: left(model, texts), model, texts,
        lambda x, t: F.cross_entropy(model(x).flatten(0, 1), t.flatten()),
    )  # fmt: skip


def _texts(rng, valid, n, classes, dtype=torch.float64):
    """Micro-batches of texts: x of (texts, length, n), labels of (texts, length) with padding.

    valid: how many valid labels each text has, for each micro-batch. Every class comes up; which
    one is most frequent changes from one micro-batch to the next, so that weights show.
    """
    made = []
    for i, counts in enumerate(valid):
        length = max(4, *counts)
        labels = torch.full((len(counts), length), PAD)
        for row, count in zip(labels, counts, strict=True):
            offset = int(rng.integers(0, 2))
            row[:count] = (torch.arange(count) ** 2 * offset + i) % classes
            row[: min(count, 1)] = i % classes
        x = positive(rng, len(counts), length, n, dtype=dtype) * (-1) ** i
        made.append((x, labels))
    return made


def _weight(rng, scale, dtype=torch.float64):
    """Weights of 3 classes, far from one another."""
    return scale * positive(rng, 3, dtype=dtype) * torch.tensor([1.0, 5, 0.3], dtype=dtype)


def _nothing_valid(answer, model, batches):
    """After a window without any valid token: no nan, and nothing for the optimiser to follow."""
    returned = answer(model, batches)
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return {"returned": float(returned), "all zero": not any(g.ne(0).any().item() for g in found)}


def _token_kinds(rng, n, classes, case):
    model, batches = case([[2, 4], [1]])
    half_frozen = network(rng, n, classes)
    half_frozen[0].requires_grad_(False)
    words = [(x.flatten(0, 1), t.flatten()) for x, t in batches]
    tilted = [(x, t.T.contiguous().T) for x, t in batches]
    return {
        "old .grad": (soiled(rng, network(rng, n, classes)), batches),
        "frozen": (half_frozen, batches),
        "logits (n, C)": (model, words),
        "labels transposed": (network(rng, n, classes), tilted),
        "float32": case([[3], [1, 2]], dtype=F32),
    }


# ------------------------------------------------------------------------- accumulate_then_clip


@exercise(
    "08-accumulation",
    facets=[
        Facet("value", 1, "裁剪后的方向和范数", "direction and norm after clipping"),
        Facet("short", 0.75, "范数小于 max_norm，或者为 0", "a norm below max_norm, or of 0",
              needs=("value",)),
        Facet("norm", 0.5, "返回裁剪之前的范数", "returns the norm before clipping",
              needs=("value",)),
        Facet("kinds", 0.25, "旧的 .grad、冻结的和没有用到的参数、float32",
              "old .grad, parameters frozen and unused, float32", needs=("value",)),
        Facet("cost", 0.5, "参数不动；每个微批一次前向、一次反向，只有一张图活着",
              "parameters stay; one forward and one backward pass each, one graph alive",
              needs=("value",)),
    ],
)  # fmt: skip
def accumulate_then_clip(answer, rng):
    n = int(rng.integers(3, 6))
    clipped = _clipped(answer)

    def far(count, max_norm, model=None, dtype=torch.float64):
        """A case whose gradient is long: the predictions are far from the targets."""
        batches = micro_batches(rng, sizes(rng, count), n, dtype=dtype)
        batches = [(x, 5 + 10 * y) for x, y in batches]
        model = model or network(rng, n, dtype=dtype)
        return model, square_error_sum, batches, max_norm * float(positive(rng))

    def near(max_norm):
        """A case whose gradient is short once it is divided by the samples, and not before."""
        model = network(rng, n)
        with torch.no_grad():
            batches = [
                (x, model(x) + 0.3 + 0.1 * i + positive(rng, len(x), 1) / 10)
                for i, (x, _) in enumerate(micro_batches(rng, [6, 9, 7], n))
            ]
        return model, square_error_sum, batches, max_norm

    yield "value", ask_all(clipped, {"3": far(3, 1.0), "4": far(4, 0.1), "2": far(2, 3.0)})
    flat = network(rng, n), lambda prediction, y: (prediction * 0).sum(), far(2, 1.0)[2], 0.5
    short = {"max_norm 6": near(6.0), "max_norm 1000": far(3, 1000.0), "norm 0": flat}
    yield "short", ask_all(left_behind(answer), short)

    def norm_of(*args):
        return float(answer(*args))

    yield "norm", ask_all(norm_of, {"long": far(3, 1.0), "short": near(6.0), "norm 0": flat})
    partly = soiled(rng, filled(rng, Partial(n)))
    kinds = {
        "old .grad": far(3, 1.0, soiled(rng, network(rng, n))),
        "partly": far(3, 0.5, partly),
        "one micro-batch": far(1, 1.0),
        "float32": far(2, 1.0, dtype=F32),
    }
    yield "kinds", ask_all(clipped, kinds)
    rng = afresh(rng)
    yield "cost", attempt(_clip_cost, answer, rng, n)


def _clipped(answer):
    """What is left in .grad, as a norm and a direction.

    torch adds 1e-6 to the norm before it divides; people who divide by hand do not. So the norm
    is compared with max_norm to 4 digits only, and the direction exactly.
    """

    def asked(model, loss_fn, batches, max_norm):
        answer(model, loss_fn, batches, max_norm)
        found = gradients(model)
        length = torch.cat([g.flatten() for g in found.values() if g is not None]).norm()
        return {
            "norm / max_norm": round(length.item() / max_norm, 4),
            "direction": {name: None if g is None else g / length for name, g in found.items()},
        }

    return asked


def _clip_cost(answer, rng, n):
    model, batches = network(rng, n, hidden=40), micro_batches(rng, [6, 7, 6, 7, 6], n)
    snapshot = Snapshot(model, batches)
    found = thrift(
        rng, lambda: _clipped(answer)(model, square_error_sum, batches, 0.7), model, batches,
        lambda x, y: square_error_sum(model(x), y),
    )  # fmt: skip
    return found | snapshot.report(".grad")


# --------------------------------------------------------------------------------- predict_step


@exercise(
    "08-accumulation",
    facets=[
        Facet("sgd", 0.5, "不带附加项的 SGD", "SGD without any additions"),
        Facet("momentum", 0.75, "动量", "momentum", needs=("sgd",)),
        Facet("decay", 0.5, "权重衰减", "weight decay", needs=("sgd",)),
        Facet("adam", 0.75, "Adam", "Adam", needs=("sgd",)),
        Facet("stale", 0.5, "旧的梯度和冻结的参数", "old gradients and a frozen parameter",
              needs=("sgd",)),
    ],
)  # fmt: skip
def predict_step(answer, rng):
    def number():
        return float(signed(rng))

    def ask(options, *optimizers, windows=_windows, frozen=False):
        """Ask about every optimizer with every sequence of gradients."""
        cases = {}
        for optimizer in optimizers:
            for name, gradients in windows(number).items():
                lr = {"lr": float(positive(rng)) / 5}
                drawn = {option: draw() for option, draw in options.items()}
                case = optimizer, lr | drawn, number(), gradients, frozen
                cases[f"{optimizer}{' frozen' if frozen else ''}: {name}"] = case
        return ask_all(answer, cases)

    def below_one():
        return float(rng.uniform(0.6, 0.9))

    def betas():
        return below_one(), float(rng.uniform(0.95, 0.99))

    def decay():
        return float(rng.uniform(0.2, 0.6))

    yield "sgd", ask({}, "SGD")
    yield "momentum", ask({"momentum": below_one}, "SGD")
    both = {"weight_decay": decay, "betas": betas}
    yield "decay", _merged(ask({"weight_decay": decay}, "SGD"), ask(both, "Adam", "AdamW"))
    yield "adam", ask({"betas": betas}, "Adam")
    stale = ask({}, "SGD", windows=_stale_windows)
    frozen = ask({}, "SGD", windows=_stale_windows, frozen=True)
    yield "stale", _merged(stale, frozen)


def _windows(number):
    """Sequences of gradients, one for each step."""
    return {
        "None": [number(), None, number()],
        "0": [number(), 0.0, number()],
        "None first": [None, 0.0, number(), None],
        "mixed": [number(), number(), None, 0.0, number(), None, None, number()],
    }


def _stale_windows(number):
    """Sequences in which nobody has touched .grad before some of the steps."""
    return {
        "stale": [number(), "stale", "stale"],
        "then None": [number(), "stale", None, "stale", number(), "stale"],
        "then 0": [number(), number(), 0.0, "stale", number()],
    }


# --------------------------------------------------------------------------------------- bn_gap


@exercise(
    "08-accumulation",
    facets=[
        Facet("value", 1, "训练模式下的差距", "the gap in training mode"),
        Facet("none", 0.5, "没有差距的模型", "models without a gap", needs=("value",)),
        Facet("kinds", 0.5, "图像、冻结的和没有用到的参数、float32",
              "images, parameters frozen and unused, float32", needs=("value",)),
        Facet("untouched", 0.75, "测量之后模型保持原样", "measuring leaves the model as it was",
              needs=("value",)),
        Facet("refused", 0.25, "torch 的 ValueError 原样传出，模型保持原样",
              "torch's ValueError goes through, the model stays as it was", needs=("value",)),
    ],
)  # fmt: skip
def bn_gap(answer, rng):
    n = int(rng.integers(3, 6))

    def case(norm, total, size, mode=True):
        ((x, y),) = micro_batches(rng, [total], n)
        return norm_network(rng, n, norm).train(mode), relative_error, x, y + x[:, :1], size

    values = {
        "3 + 3 + 3 + 2": case(nn.BatchNorm1d(3), 11, 3),
        "4 + 4": case(nn.BatchNorm1d(3), 8, 4),
        "5 + 2": case(nn.BatchNorm1d(3, momentum=0.0), 7, 5),
        "no statistics": case(nn.BatchNorm1d(3, track_running_stats=False), 8, 3),
    }

    def number_of(*args):
        return float(answer(*args))

    yield "value", ask_all(number_of, values)
    resting = case(nn.BatchNorm1d(3), 9, 4)
    resting[0][1].eval()
    none = {
        "eval": case(nn.BatchNorm1d(3), 8, 3, mode=False),
        "this layer in eval": resting,
        "LayerNorm": case(nn.LayerNorm(3), 8, 3),
        "no normalisation": case(nn.Identity(), 7, 2),
        "one micro-batch": case(nn.BatchNorm1d(3), 6, 6),
        "size > samples": case(nn.BatchNorm1d(3), 6, 10),
    }
    yield "none", ask_all(number_of, none)
    yield "kinds", ask_all(_in_float32(answer), _gap_kinds(rng, n, case))
    rng = afresh(rng)
    yield "untouched", attempt(_gap_untouched, number_of, rng, case)
    rng = afresh(rng)
    refused = case(nn.BatchNorm1d(3), 7, 3)
    snapshot = Snapshot(soiled(rng, refused[0]), [refused[2:4]])
    seen = errors(answer, {"3 + 3 + 1": refused})
    yield "refused", _merged(seen, {"dict": {"after": attempt(snapshot.report)}})


def _in_float32(answer):
    """The same function; its number as a tensor in float32, to be compared to as many digits."""
    return lambda *args: torch.tensor(float(answer(*args)), dtype=F32)


def _gap_kinds(rng, n, case):
    frozen, unused = case(nn.BatchNorm1d(3), 10, 4), case(nn.BatchNorm1d(3), 8, 5)
    frozen[0][0].requires_grad_(False)
    unused[0].register_parameter("unused", nn.Parameter(positive(rng, 4)))
    images = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten())
    x = positive(rng, 5, 2, 3, 3) * torch.linspace(0.5, 2, 5).reshape(-1, 1, 1, 1)
    x32, y32 = (t.float() for t in case(nn.Identity(), 8, 4)[2:4])
    single = norm_network(rng, n, nn.BatchNorm1d(3), F32)
    return {
        "frozen": frozen,
        "unused": unused,
        "images": (
            filled(rng, images),
            relative_error,
            x,
            positive(rng, 5, 12) * x[:, 0, :1, 0],
            2,
        ),
        "float32": (single, relative_error, x32, y32, 5),
    }


def _gap_untouched(answer, rng, case):
    report = {}
    for name, mode in {"train": True, "eval": False, "mixed": True}.items():
        model, loss_fn, x, y, size = case(nn.BatchNorm1d(3), 8, 3, mode)
        if name == "mixed":
            model[1].eval()
        soiled(rng, model)[3].bias.grad = None
        snapshot = Snapshot(model, [(x, y)])
        gap = answer(model, loss_fn, x, y, size)
        report[name] = snapshot.report() | ({"gap": gap} if name == "train" else {})
    return report


# ----------------------------------------------------------------------------------- step_every


@exercise(
    "08-accumulation",
    facets=[
        Facet("value", 1, "每一步用到的梯度", "the gradient that each step uses"),
        Facet("tail", 0.75, "最后不满的窗口；k 为 1；没有微批；步数",
              "the last incomplete window; k = 1; no micro-batch; the number of steps",
              needs=("value",)),
        Facet("schedule", 0.5, "scheduler 每步一次，跟在优化器后面",
              "the scheduler once a step, after the optimiser", needs=("value",)),
        Facet("epochs", 0.5, "旧的 .grad 和连续两轮", "old .grad, and two epochs in a row",
              needs=("value",)),
        Facet("cost", 0.25, "每个微批一次前向、一次反向，只有一张图活着",
              "one forward and one backward pass each, one graph alive", needs=("value",)),
    ],
)  # fmt: skip
def step_every(answer, rng):
    n = int(rng.integers(3, 6))

    def case(lengths, k):
        return network(rng, n), micro_batches(rng, lengths, n), k

    def steps(model, batches, k):
        return _steps(answer, model, [batches], k)

    def gradients_of(*args):
        return steps(*args)["gradients"]

    full = {"6, k = 3": case([2, 5, 3, 4, 1, 6], 3), "4, k = 2": case(sizes(rng, 4), 2)}
    yield "value", ask_all(gradients_of, full)
    tails = {
        "7, k = 3": case([2, 5, 3, 4, 1, 6, 2], 3),
        "5, k = 3": case(sizes(rng, 5), 3),
        "2, k = 4": case(sizes(rng, 2), 4),
        "3, k = 1": case(sizes(rng, 3), 1),
        "0, k = 2": case([], 2),
    }
    yield "tail", ask_all(steps, tails)
    orders = {"4, k = 2": case(sizes(rng, 4), 2), "5, k = 2": case(sizes(rng, 5), 2)}
    yield "schedule", ask_all(lambda *args: _order(answer, *args), orders)
    yield "epochs", attempt(_epochs, answer, rng, *case(sizes(rng, 4), 3))
    rng = afresh(rng)
    model, batches = network(rng, n, hidden=40), micro_batches(rng, [6, 7, 6, 7, 6, 7, 6], n)
    yield "cost", attempt(
        thrift, rng, lambda: gradients_of(model, batches, 3)[0], model, batches,
        lambda x, y: relative_error(model(x), y),
    )  # fmt: skip


class Descent:
    """Plain gradient descent, as torch.optim.SGD does it, that writes down what it is given."""

    def __init__(self, model, lr, log):
        self._model, self._log = model, log
        self.param_groups = [{"params": list(model.parameters()), "lr": lr}]

    def zero_grad(self, set_to_none=True):
        self._model.zero_grad(set_to_none)

    def step(self):
        (group,) = self.param_groups
        found = gradients(self._model)
        seen = {name: None if g is None else g.clone() for name, g in found.items()}
        self._log.append(("step", group["lr"], seen))
        with torch.no_grad():
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad


class Decay:
    """A learning rate that is multiplied by ``factor`` at every step."""

    def __init__(self, optimizer, factor, log):
        self._optimizer, self._factor, self._log = optimizer, factor, log

    def step(self):
        self._log.append(("schedule", None, None))
        self._optimizer.param_groups[0]["lr"] *= self._factor


def _tools(model, factor=1.0):
    """An optimizer and a scheduler that write to one log, ``optimizer._log``."""
    log = []
    optimizer = Descent(model, 0.05, log)
    return optimizer, Decay(optimizer, factor, log)


def _steps(answer, model, epochs, k):
    """The gradients of every step, and what is returned, over epochs with the same tools."""
    optimizer, scheduler = _tools(model)
    returned = [answer(model, optimizer, scheduler, relative_error, part, k) for part in epochs]
    seen = [found for kind, _, found in optimizer._log if kind == "step"]
    return {"gradients": seen, "returned": returned}


def _order(answer, model, batches, k):
    """The order of calls, with the learning rate that each step uses."""
    optimizer, scheduler = _tools(model, 0.5)
    answer(model, optimizer, scheduler, relative_error, batches, k)
    return [kind if lr is None else f"{kind} {lr:.4f}" for kind, lr, _ in optimizer._log]


def _epochs(answer, rng, model, batches, k):
    snapshot = Snapshot(model, batches)
    found = _steps(answer, soiled(rng, model), [batches, batches], k)["gradients"]
    kept = snapshot.report(".grad", "parameters")
    return {"gradients": found, "batches": len(batches)} | kept
