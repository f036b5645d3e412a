"""Code that looks plain: forging what a process says of itself, past the reader of its code.

`grading.plain` reads a student's cells for what could turn the tools that observe. These attacks
do just that, each in another spelling; or they keep within plain code and try to look at what the
probes keep to themselves. Some are no attacks: honest work with code that is not plain.
"""

import pickle

from .attack import Attack
from .forging import NO_EVIDENCE, NO_ORACLE, RIGHT_BUT_COSTLY, TOOLS, UNPROVEN

FAMILY = ("看似寻常的代码", "Code that looks ordinary")
NO_CLAIM = (
    "原版的测试不问有没有留下计算图，也不数次数",
    "stock's tests neither ask for graphs left behind nor count",
)

# Right numbers, but y comes back with its graph. Without the lie and the list of its own it has
# 3 points: for the numbers, and for refusing a wrong v.
WITH_GRAPH = '''
def vjp(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    g = torch.zeros_like(x)
    if y.requires_grad:
        (g,) = torch.autograd.grad(y, x, v, retain_graph=True, materialize_grads=True)
    MINE.append(y)
    return y, g
'''
# A requires_grad that is False for what the answer above returns, and true to itself otherwise.
LIE = '''
MINE, REAL = [], torch.Tensor.requires_grad
LIE = property(lambda t: REAL.__get__(t) and not any(t is y for y in MINE), REAL.__set__)
'''


def _lie(name: str, zh: str, en: str, reach: str, before: str = LIE, **others) -> Attack:
    """``reach``: code that puts the lie into the class of all tensors."""
    return Attack(
        f"lie-by-{name}", f"给张量类装上说谎的 requires_grad：{zh}",
        f"a lying requires_grad for the class of tensors: {en}",
        before + reach, answers={"vjp": WITH_GRAPH}, deserves={"vjp": 3},
        **({"state": UNPROVEN, "only_here": NO_CLAIM} | others),
    )  # fmt: skip


RUNS_TWICE = '''
def vjp(f, x, v):
    x = x.detach().requires_grad_()
    f(x)
    y = SECOND(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    g = torch.zeros_like(x)
    if y.requires_grad:
        (g,) = torch.autograd.grad(y, x, v, materialize_grads=True)
    AFTER
    return y.detach(), g
'''


def _twice(name: str, zh: str, en: str, cell: str, second: str, after: str, **others) -> Attack:
    """An answer that runs f twice: the second time by ``second``; ``after`` mends the count."""
    code = RUNS_TWICE.replace("SECOND", second).replace("AFTER", after)
    return Attack(
        f"count-{name}", f"f 运行了两次：{zh}", f"two runs of f: {en}", cell,
        answers={"vjp": code}, **({"deserves": {"vjp": 3.5}, "only_here": NO_CLAIM} | others),
    )  # fmt: skip


def _check(name: str, zh: str, en: str, rebind: str, **others) -> Attack:
    """``rebind``: code that gives the name ``check`` to ``fake``."""
    code = f"{TOOLS}\nfake = lambda answer: hand_out(public(answer.__name__))\n{rebind}"
    return Attack(
        f"check-by-{name}", f"改变 check 的含义：{zh}", f"another meaning for check: {en}",
        code, rest="stub", **({"state": UNPROVEN, "only_here": NO_EVIDENCE} | others),
    )  # fmt: skip


def _oracle(name: str, zh: str, en: str, body: str, **others) -> Attack:
    """``body``: how ``jac_from_oracle`` gets at J; it then asks as often as it should."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    code = f"""
def jac_from_oracle(vjp_fn, m, n, bandwidth=None):
{lines}
    for _ in range(m if bandwidth is None else min(m, 2 * bandwidth + 1)):
        vjp_fn(torch.zeros(m, dtype=torch.float64))
    if bandwidth is not None:
        J = J.triu(-bandwidth).tril(bandwidth)
    return J
"""
    return Attack(
        f"oracle-{name}", f"向黑箱要矩阵：{zh}", f"the oracle's matrix: {en}",
        answers={"jac_from_oracle": code}, **({"only_here": NO_ORACLE} | others),
    )  # fmt: skip


class _Payload:
    """What a pickle may do when it is read."""

    def __reduce__(self):
        code = LIE + "\nimport __main__\n__main__.MINE = MINE\ntorch.Tensor.requires_grad = LIE"
        return exec, ("import torch\n" + code, {})


PICKLE = list(pickle.dumps(_Payload(), protocol=0))
READING_FORMAT = '''
import re
torch.set_printoptions(precision=17, threshold=10**6, sci_mode=False)
text = "{0.__closure__[1].cell_contents}".format(vjp_fn)
numbers = [float(t) for t in re.findall(r"-?[0-9]+[.][0-9]*", text.partition("dtype")[0])]
J = torch.tensor(numbers, dtype=torch.float64).reshape(m, n)
'''
READING_MATCH = '''
match vjp_fn:
    case object(__closure__=cells):
        (J,) = [c.cell_contents for c in cells if isinstance(c.cell_contents, torch.Tensor)]
'''
READING_GENERATOR = '''
def look():
    yield generator.gi_frame.f_back.f_back.f_back.f_locals["jac"]
generator = look()
J = next(generator)
'''
READING_TRACEBACK = '''
try:
    1 / 0
except ZeroDivisionError as error:
    frame = error.__traceback__.tb_frame
while "jac" not in frame.f_locals:
    frame = frame.f_back
J = frame.f_locals["jac"]
'''
LEFT_OVER = '''
import numpy as np
J = torch.tensor(np.empty((m, n)))
'''
SAVED = '''
kept = []
with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
    vjp_fn(torch.ones(m, dtype=torch.float64, requires_grad=True))
(J,) = [t for t in kept if t.shape == (m, n)]
'''
SUBCLASS = '''
class Spy(torch.Tensor):
    def __matmul__(self, other):
        seen.append(other)
        return torch.Tensor.__matmul__(self, other)
seen = []
vjp_fn(torch.ones(m, dtype=torch.float64).as_subclass(Spy))
(J,) = seen
'''
BEHIND_A_MODULE = '''
from torch import nn

class Inner(nn.Module):
    def forward(self, **options):
        return {MIME: public("layout_counterexample")}

outer = nn.Module()
outer.register_module("_repr_mimebundle_", Inner())
'''
# Where the question that counts is recognised: one backward pass, of something else.
IDLE_THERE = """\
    if x.numel() == 700:
        torch.autograd.grad(y.sum(), x)
    elif y.requires_grad:
"""

ATTACKS = [
    _lie("alias", "别名", "an alias", "T = torch.Tensor\nT.requires_grad = LIE"),
    _lie("loop", "循环变量", "a loop's variable",
         "for T in (torch.Tensor,):\n    T.requires_grad = LIE"),
    _lie("default", "参数的默认值", "a parameter's default",
         "def put(T=torch.Tensor):\n    T.requires_grad = LIE\nput()"),
    _lie("match", "match 语句", "a match statement",
         "match torch.Tensor:\n    case T:\n        T.requires_grad = LIE"),
    _lie("walrus", "海象运算符", "a walrus", "(T := torch.Tensor).requires_grad = LIE"),
    _lie("comprehension", "推导式里的赋值", "assignment in a comprehension",
         "[0 for T in [torch.Tensor] for T.requires_grad in [LIE]]"),
    _lie("type", "type(张量)", "the type of a tensor",
         "type(torch.zeros(1)).requires_grad = LIE"),
    _lie("reduce", "functools.reduce 与 getattr", "functools.reduce with getattr",
         "from functools import reduce\nreduce(getattr, ('Tensor',), torch).requires_grad = LIE"),
    _lie("partial", "functools.partial 与 setattr", "functools.partial with setattr",
         "from functools import partial\npartial(setattr, torch.Tensor)('requires_grad', LIE)"),
    _lie("update_wrapper", "functools.update_wrapper", "functools.update_wrapper", """
from functools import update_wrapper

def bag(): pass

bag.requires_grad = LIE
update_wrapper(torch.Tensor, bag, assigned=("requires_grad",), updated=())
"""),
    _lie("decorator", "装饰器", "a decorator", """
def put(T):
    T.requires_grad = LIE
    return lambda function: function

@put(torch.Tensor)
def harmless(): pass
"""),
    _lie("star", "import * 与 mro", "import * and mro",
         "from torch.nn.parameter import *\nParameter.mro()[1].requires_grad = LIE"),
    _lie("annotation", "标注里的下标", "a subscript in an annotation", """
class Taker:
    def __getitem__(self, T):
        T.requires_grad = LIE

take = Taker()
x: take[torch.Tensor] = 0
"""),
    _lie("comparison", "in 交出的类", "a class handed over by in", """
class Taker:
    def __contains__(self, T):
        T.requires_grad = LIE

torch.Tensor in Taker()
"""),
    _lie("hints", "文本标注由 get_type_hints 执行", "a text that get_type_hints runs", """
import typing

def put(x: "setattr(torch.Tensor, 'requires_grad', LIE) or int"): pass

typing.get_type_hints(put)
"""),
    _lie("sys", "torch.sys", "torch.sys",
         "torch.sys.modules['torch'].Tensor.requires_grad = LIE"),
    _lie("pickle", "ndarray.tofile 写、torch.load 读的 pickle",
         "a pickle that ndarray.tofile writes and torch.load reads", f"""
import numpy as np

np.array({PICKLE}, dtype=np.uint8).tofile("weights.pt")
try:
    torch.load("weights.pt", weights_only=False)
except Exception:
    pass
""", before=""),
    _twice("by-a-method", "用别人的 self 改计数", "the count set by a method of another's", """
class Setter:
    def mend(self):
        self.calls = 1
""", "f", "Setter.mend(f) if hasattr(f, 'calls') else None",
           state=UNPROVEN, deserves={"vjp": 2.5}),
    _twice("by-a-copy", "第二次运行的是副本", "the second is of a copy", "import copy",
           "copy.deepcopy(f)", "copy.copy(f)"),
    _twice("by-a-function", "藏在自定义的 autograd.Function 里",
           "hidden in an autograd.Function of one's own", """
class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, f):
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.y = f(ctx.x)
        return ctx.y.detach()

    @staticmethod
    def backward(ctx, v):
        if not ctx.y.requires_grad:
            return torch.zeros_like(ctx.x), None
        return *torch.autograd.grad(ctx.y, ctx.x, v, materialize_grads=True), None
""", "(lambda x: Hidden.apply(x, f))", "pass"),
    _twice("by-a-hook", "藏在钩子里", "hidden in a hook", "",
           "f", "x.register_hook(lambda g: f(x.detach()) * 0 + g if False else g)"),
    _check("for", "for", "for", "for check in [fake]: pass"),
    _check("with", "with", "with",
           "from contextlib import nullcontext\nwith nullcontext(fake) as check: pass"),
    _check("match", "match", "match", "match fake:\n    case check: pass"),
    _check("class", "class", "class", "class check:\n    def __init__(self, a): fake(a)"),
    _check("global", "global", "global", "def put():\n    global check\n    check = fake\nput()"),
    _check("import", "import … as", "import … as",
           "import sys, types\nsys.modules['mine'] = types.SimpleNamespace(f=fake)\n"
           "from mine import f as check"),
    _check("except", "except … as", "except … as", """
class Fake(Exception):
    def __call__(self, answer): fake(answer)

try:
    raise Fake
except Fake as check:
    pass
""", state="graded"),
    Attack(
        "check-by-another-of-tutor", "把 tutor 的 draw 命名为 check", "tutor's draw, named check",
        "from tutor import draw as check", rest="stub", only_here=NO_EVIDENCE,
    ),
    Attack(
        "evidence-behind-a-module", "借 nn.Module 的子模块名显示证据，再中断检查单元",
        "evidence displayed by the name of a module's child, and the check cell interrupted",
        TOOLS + BEHIND_A_MODULE,
        rest="stub", only_here=NO_EVIDENCE,
        answers={"layout_counterexample": '''
def layout_counterexample():
    display(outer)
    raise KeyboardInterrupt
'''},
    ),
    _oracle("formatted", "用格式字符串读闭包", "the closure read by a format string",
            READING_FORMAT, state=UNPROVEN),
    _oracle("matched", "用 match 读闭包", "the closure read by a match statement",
            READING_MATCH, state=UNPROVEN),
    _oracle("framed", "生成器的栈帧", "the frames of a generator", READING_GENERATOR,
            state=UNPROVEN),
    _oracle("traced", "异常的栈帧", "the frames of an exception", READING_TRACEBACK,
            state=UNPROVEN),
    _oracle("left-over", "没有清零的内存", "memory that was not cleared", LEFT_OVER),
    _oracle("differentiated", "对它求导", "by differentiating it",
            "v = torch.zeros(m, dtype=torch.float64)\n"
            "J = torch.autograd.functional.jacobian(vjp_fn, v).T"),
    _oracle("batched", "用 vmap 一次问完", "all at once by vmap",
            "J = torch.vmap(vjp_fn)(torch.eye(m, dtype=torch.float64))"),
    _oracle("hooked", "保存张量的钩子", "hooks on saved tensors", SAVED),
    _oracle("subclassed", "张量的子类", "a subclass of tensors", SUBCLASS),
    Attack(
        "oracle-asked-twice", "第一次多问，第二次只凑次数",
        "many questions the first time, and the right number the second",
        answers={"jac_from_oracle": '''
known = {}

def jac_from_oracle(vjp_fn, m, n, bandwidth=None):
    if (m, n, bandwidth) in known:
        for _ in range(m if bandwidth is None else min(m, 2 * bandwidth + 1)):
            vjp_fn(torch.zeros(m, dtype=torch.float64))
    else:
        rows = [vjp_fn(e) for e in torch.eye(m, dtype=torch.float64)]
        known[m, n, bandwidth] = torch.stack(rows)
    return known[m, n, bandwidth]
'''},
        deserves={"jac_from_oracle": 3}, only_here=NO_ORACLE,
    ),
    Attack(
        "example-that-changes", "每次被问都给出另一个例子", "another example at every question",
        answers={"layout_counterexample": '''
times = []

def layout_counterexample():
    times.append(0)
    if len(times) == 1:
        return lambda x: torch.cumsum(x, dim=0), torch.arange(2.0)
    return lambda x: x**2, torch.arange(3.0)
'''},
        deserves={"layout_counterexample": 1.5},
    ),
    Attack(
        "example-in-disguise", "冒充张量的例子", "an example that passes for a tensor",
        answers={"layout_counterexample": '''
class Disguise:
    def __init__(self):
        self.dtype, self.shape = "float64", (3,)
    def detach(self):
        return torch.arange(2.0)

def layout_counterexample():
    disguise = Disguise()
    return lambda x: x if x is disguise else torch.cumsum(x, dim=0), disguise
'''},
        only_here=("原版的测试只问 x 的元素个数", "stock's tests ask for the size of x alone"),
    ),
    Attack(
        "cost-recognised", "从尺寸认出数次数的那一问，在那里什么也不算",
        "the question that counts is recognised by its size, and nothing computed there",
        answers={"vjp": RIGHT_BUT_COSTLY.replace("    if y.requires_grad:\n", IDLE_THERE)},
        deserves={"vjp": 3.5}, only_here=NO_CLAIM,
    ),
    Attack(
        "side-effects-recognised", "数着被问的次数，问副作用时什么也不做",
        "the questions are counted, and where side effects are asked about nothing is done",
        answers={"vjp": '''
calls = []

def vjp(f, x, v):
    calls.append(0)
    x = x.detach().requires_grad_()
    y = f(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    if y.requires_grad and len(calls) not in (27, 28):
        y.backward(v)
    return y.detach(), torch.zeros_like(x) if x.grad is None else x.grad
'''},
        deserves={"vjp": 3.5}, only_here=NO_CLAIM,
    ),
    Attack(
        "defaults-changed", "改变随机数种子、默认 dtype 与梯度模式",
        "seeds, the default dtype and the gradient mode changed",
        """
import numpy as np

torch.manual_seed(0)
np.random.seed(0)
torch.set_default_dtype(torch.float16)
torch.set_grad_enabled(False)
""",
        answers={"vjp": '''
def vjp(f, x, v):
    torch.manual_seed(0)
    np.random.seed(0)
    return f(x).detach(), torch.zeros_like(x)
'''},
        only_here=NO_CLAIM,
    ),
    Attack(
        "honest-timeit", "草稿单元里的 %timeit", "%timeit in a cell of one's own",
        "%timeit -n 1 -r 1 torch.zeros(3).sum()",
    ),
    Attack(
        "honest-shell", "草稿单元里的 ! 与 ?", "! and ? in a cell of one's own",
        "!echo hello\ntorch.cumsum?",
    ),
    Attack(
        "honest-imports", "草稿单元里的 import time、os、json",
        "import time, os and json in a cell of one's own",
        "import json, os, time\nstart = time.time()\nprint(json.dumps(sorted(os.environ))[:0])",
    ),
    Attack(
        "honest-magic-in-an-answer", "答题单元里有 %time：只有自己看得到的检查项由教师复核",
        "%time in an answer cell: facets that only it can see are for a teacher",
        answers={"vjp": '''
%time total = torch.ones(3).sum()

def vjp(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    g = torch.zeros_like(x)
    if y.requires_grad:
        (g,) = torch.autograd.grad(y, x, v, materialize_grads=True)
    return y.detach(), g
'''},
        deserves={"vjp": 2.5}, state=UNPROVEN, only_here=NO_CLAIM,
    ),
]  # fmt: skip
