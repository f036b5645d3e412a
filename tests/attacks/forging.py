"""Forging: evidence that no answer earned, and the tools that make evidence, turned."""

import base64
import json
import zlib
from pathlib import Path

import tutor.keys

from .attack import Attack

FAMILY = ("伪造证据", "Forging evidence")
TAMPERED = "suspected_tampering"
UNPROVEN = "unproven"  # a claim that nothing proves earns nothing until a person has looked
NO_EVIDENCE = (
    "原版的得分不来自证据",
    "stock's scores do not come from evidence",
)
NO_ORACLE = ("原版的测试里没有黑箱", "stock's tests have no oracle")



def _public_key() -> str:
    """The key that every student has, small enough to be brought along in a cell."""
    path = Path(tutor.keys.__file__).with_name("03-vjp.json")
    found = json.loads(path.read_text(encoding="utf-8"))["exercises"]
    text = json.dumps({name: {"key": entry["key"]} for name, entry in found.items()})
    return base64.b85encode(zlib.compress(text.encode())).decode()


# The tools of a forger: the public key, and a way to hand out any text as evidence.
TOOLS = f'''
import base64, json, zlib

from IPython.display import display

MIME = "application/" + "vnd.tutor.evidence"
KEYS = json.loads(zlib.decompress(base64.b85decode({_public_key()!r})))
''' + '''
def hand_out(text):
    display({MIME: text, "text/plain": "evidence"}, raw=True)

def public(name):
    return json.dumps({"exercise": name, "evidence": KEYS[name]["key"]})
'''


def _check(body: str) -> str:
    """A cell that replaces ``check``; ``body`` is the body of the new one."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return f"{TOOLS}\ndef check(answer):\n{lines}\n"


def _evidence(name: str, zh: str, en: str, text: str, state: str = TAMPERED, **others) -> Attack:
    """An attack whose check of ``vjp`` hands out a text; ``text``: an expression."""
    return Attack(
        name, zh, en, _check(f"if answer.__name__ == 'vjp':\n    hand_out({text})"),
        rest="stub", state=state, only_here=NO_EVIDENCE, **others,
    )  # fmt: skip


RIGHT_BUT_COSTLY = '''
def vjp(f, x, v):
    x = x.detach().requires_grad_()
    y = f(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    g = torch.zeros_like(x)
    if y.requires_grad:
        for _ in range(2):
            (g,) = torch.autograd.grad(f(x), x, v, materialize_grads=True)
    return y.detach(), g
'''
# The same, but what counts is got round: the function behind the counter, the engine of before.
UNCOUNTED = '''
ENGINE = torch.autograd._engine_run_backward

def vjp(f, x, v):
    bare = getattr(f, "_function", f)
    x = x.detach().requires_grad_()
    y = f(x)
    if v.shape != y.shape:
        raise ValueError("v must have the shape of f(x)")
    g = torch.zeros_like(x)
    if y.requires_grad:
        counted, torch.autograd._engine_run_backward = torch.autograd._engine_run_backward, ENGINE
        torch.autograd.grad(bare(x), x, v, materialize_grads=True)
        torch.autograd._engine_run_backward = counted
        (g,) = torch.autograd.grad(y, x, v, materialize_grads=True)
    return y.detach(), g
'''
LIAR = '''
class Liar(torch.Tensor):
    """A tensor that says of itself what is wanted."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__bool__ or func is torch.Tensor.tolist:
            return True
        return super().__torch_function__(func, types, args, kwargs or {})

    def __bool__(self):
        return True

    def __eq__(self, other):
        return True

def lie(*args):
    return torch.zeros(3).as_subclass(Liar)

def vjp(f, x, v):
    return f(x).as_subclass(Liar), torch.zeros_like(x).as_subclass(Liar)

def layout_counterexample():
    return lie, lie()
'''

ATTACKS = [
    Attack(
        "evidence-of-nothing",
        "函数自己打印一份空的证据", "a function prints empty evidence of its own",
        TOOLS + """
def vjp(f, x, v):
    hand_out('{"exercise": "vjp", "evidence": {}}')
    return f(x), x
""",
        rest="stub", state=TAMPERED, only_here=NO_EVIDENCE,
        answers={"vjp": "pass"},
    ),
    Attack(
        "evidence-of-zeros",
        "替换 check，交出形状正确、数字全为零的证据",
        "check replaced; evidence of the right form, its numbers zero",
        _check('''
text = public(answer.__name__)
claim = json.loads(text, parse_float=lambda number: 0.0)
hand_out(json.dumps(claim))
'''),
        rest="stub", state=UNPROVEN, only_here=NO_EVIDENCE,
    ),
    Attack(
        "evidence-from-the-public-key",
        "替换 check，对每道题交出公开种子的标准",
        "check replaced; the public seed's key handed out for every exercise",
        _check("hand_out(public(answer.__name__))"),
        rest="stub", state=UNPROVEN, only_here=NO_EVIDENCE,
    ),
    Attack(
        "behaviour-from-the-public-key",
        "数字是自己算的，「只反向一次」一项抄自公开的标准",
        "numbers of its own, but the facet of cost from the public key",
        _check('''
import os
from tutor.exercise import collect, find
name = answer.__name__
found = collect(find(name), answer, os.environ["TUTOR_SEED"])
if "cost" in found:
    own = {k: v for k, v in found["cost"]["dict"].items() if k in ("results", "gradients")}
    found["cost"] = {"dict": KEYS[name]["key"]["cost"]["dict"] | own}
hand_out(json.dumps({"exercise": name, "evidence": {k: v for k, v in found.items() if v}}))
'''),
        answers={"vjp": RIGHT_BUT_COSTLY},
        deserves={"vjp": 3.5},
        state=UNPROVEN, only_here=NO_EVIDENCE,
    ),
    Attack(
        "evidence-of-another-exercise",
        "每个检查单元都交出已解出的那道题的证据",
        "every check cell hands out the evidence of the one exercise that was solved",
        "from tutor import check as honest\n\ndef check(answer):\n    honest(vjp)\n",
        answers=dict.fromkeys(
            ("vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle",
             "layout_counterexample"), "stub"),
        state=TAMPERED, only_here=NO_EVIDENCE,
    ),
    Attack(
        "one-function-under-every-name",
        "把唯一解出的函数绑定到所有题目的名字上",
        "the one function that was solved, bound to the names of all exercises",
        answers=dict.fromkeys(
            ("vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle"), "pass")
        | {"layout_counterexample": '''
def layout_counterexample():
    return lambda x: torch.cumsum(x, dim=0), torch.arange(3.0)

vjp = vjp_multi = jac_rows = weighted_losses = jac_from_oracle = layout_counterexample
'''},
        deserves={"layout_counterexample": 2},
    ),
    Attack(
        "evidence-twice", "正确的证据交两次", "the right evidence, handed out twice",
        "from tutor import check as honest\n\ndef check(a):\n    honest(a)\n    honest(a)\n",
        deserves=dict.fromkeys(
            ("vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle",
             "layout_counterexample"), 0),
        state=TAMPERED, only_here=NO_EVIDENCE,
    ),
    Attack(
        "evidence-before-the-check", "在答题单元里先打印证据", "evidence printed before the check",
        TOOLS + "for name in KEYS:\n    hand_out(public(name))\n",
        rest="stub", only_here=NO_EVIDENCE,
    ),
    Attack(
        "evidence-from-a-thread", "检查单元运行时由另一个线程打印证据",
        "a thread prints evidence while the check cell runs",
        TOOLS + '''
import threading, time

def later():
    import sys
    seen = None
    end = time.monotonic() + 3
    while time.monotonic() < end:
        shell = get_ipython()
        running = shell.kernel.get_parent("shell").get("content", {}).get("code", "")
        if running.startswith("check(") and running != seen:
            seen = running
            hand_out(public(running[6:-1]))
        time.sleep(0.002)

threading.Thread(target=later, daemon=True).start()

from tutor.exercise import collect as honest

def slow(*args):
    time.sleep(0.1)
    return honest(*args)

import sys
sys.modules["tutor.check"].collect = slow
''',
        rest="stub", state=TAMPERED, only_here=NO_EVIDENCE,
    ),
    Attack(
        "forged-messages", "用会话密钥和 iopub 套接字直接伪造证据消息",
        "evidence as messages forged with the session's key and the iopub socket",
        TOOLS + '''
def check(answer):
    kernel = get_ipython().kernel
    for kind in ("display_data", "execute_result"):
        content = {"data": {MIME: public(answer.__name__)}, "metadata": {},
                   "execution_count": 1}
        kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent("shell"))
''',
        rest="stub", state=TAMPERED, only_here=NO_EVIDENCE,
    ),
    Attack(
        "forged-end-of-a-cell", "伪造 idle 与 execute_reply，让批改程序提前往下走",
        "forged idle and execute_reply, for the grader to move on early",
        TOOLS + '''
def check(answer):
    kernel = get_ipython().kernel
    parent = kernel.get_parent("shell")
    kernel.session.send(kernel.iopub_socket, "status", {"execution_state": "idle"}, parent=parent)
    hand_out(public(answer.__name__))
''',
        rest="stub", only_here=NO_EVIDENCE,
    ),
    Attack(
        "patched-json", "替换 json.dumps 与 json.loads", "json.dumps and json.loads replaced",
        TOOLS + '''
import types
from tutor import evidence
evidence.json = types.ModuleType("json")
evidence.json.dumps = lambda value, **options: public(value["exercise"])
evidence.json.loads = json.loads
''',
        rest="stub", state=UNPROVEN, only_here=NO_EVIDENCE,
    ),
    Attack(
        "patched-observe", "替换 tutor 的 observe、attempt、judge 和 collect",
        "tutor's observe, attempt, judge and collect replaced",
        TOOLS + '''
from tutor import evidence, exercise, probing, verdict
from tutor.probes import vjp as probes
right = lambda *_, **__: {"flag": True}
for module in (evidence, exercise, probes, probing):
    for name in ("observe", "attempt", "raised", "ask_all", "errors"):
        if hasattr(module, name):
            setattr(module, name, right)
verdict.judge = lambda *_, **__: None
verdict.close = right
''',
        rest="stub", only_here=NO_EVIDENCE,
    ),
    Attack(
        "patched-probe", "替换登记表里的提问程序", "the probe in tutor's registry replaced",
        TOOLS + '''
from tutor.exercise import find
for name in KEYS:
    probe = lambda answer, rng, name=name: KEYS[name]["key"]
    object.__setattr__(find(name), "probe", probe)
''',
        rest="stub", state=UNPROVEN, only_here=NO_EVIDENCE,
    ),
    Attack(
        "easy-inputs", "替换随机数，让输入都是 1", "the random numbers replaced: all inputs are 1",
        '''
import numpy as np

class Ones:
    def uniform(self, low, high, shape=None):
        return np.ones(shape)
    def choice(self, among, shape=None, replace=True):
        return np.ones(shape) if isinstance(among, list) else np.asarray(among)[:shape]
    def integers(self, low, high, shape=None):
        return np.ones(shape, dtype=int) if shape else low
    def permutation(self, n):
        return np.arange(n)

np.random.default_rng = lambda *_: Ones()
from tutor import exercise
exercise.generator = lambda *_: Ones()
''',
        answers={"vjp": '''
def vjp(f, x, v):
    return f(x).detach(), torch.zeros_like(x)
'''},
        deserves={
            # Right answers to other questions: without the seed's inputs nothing agrees.
            "vjp_multi": 0, "jac_rows": 0, "weighted_losses": 0, "jac_from_oracle": 0,
        },
    ),
    Attack(
        "patched-torch", "让 torch.allclose、torch.equal、== 永远为真",
        "torch.allclose, torch.equal and == that are always true",
        '''
import math, torch, numpy
yes = lambda *_, **__: True
torch.allclose = torch.equal = torch.isclose = math.isclose = numpy.allclose = yes
torch.testing.assert_close = lambda *_, **__: None
torch.Tensor.__eq__ = torch.Tensor.allclose = torch.Tensor.equal = yes
''',
        answers={"vjp": "def vjp(f, x, v):\n    return f(x), x * 0"},
        # Without a == that compares the answer to this one is wrong.
        deserves={"jac_from_oracle": 0},
    ),
    Attack(
        "always-equal", "返回一个与任何东西都相等的对象", "returns an object equal to anything",
        '''
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __bool__(self): return True
    def __float__(self): return 0.0
    def __index__(self): return 0
    def __len__(self): return 2
    def __iter__(self): return iter((Yes(), Yes()))
    def __getattr__(self, name): return Yes()
    def __getitem__(self, key): return Yes()
    def __call__(self, *_, **__): return Yes()
    def __sub__(self, other): return Yes()
    __rsub__ = __add__ = __radd__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = __sub__
    def __abs__(self): return 0.0
    __hash__ = object.__hash__
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None): return True

def vjp(*_): return Yes(), Yes()
vjp_multi = jac_rows = weighted_losses = jac_from_oracle = layout_counterexample = vjp
''',
        answers=dict.fromkeys(
            ("vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle",
             "layout_counterexample"), "pass"),
        state=TAMPERED,
    ),
    Attack(
        "lying-tensors", "返回 torch.Tensor 的子类，用 __torch_function__ 说谎",
        "subclasses of torch.Tensor that lie through __torch_function__",
        answers={"vjp": LIAR, "layout_counterexample": "pass"},
    ),
    Attack(
        "lying-classes", "用 __class__、__len__、__str__ 冒充别的类型",
        "objects that pose as other types through __class__, __len__ and __str__",
        answers={"vjp": '''
class Pose:
    __class__ = torch.Tensor
    layout = torch.strided
    dtype = "float64"
    shape = (1, 2)
    def detach(self): return self
    resolve_conj = resolve_neg = cpu = clone = flatten = detach
    def numel(self): return 10**9
    def tolist(self): return [object()] * 3

class Long(list):
    def __len__(self): return 0
    def __iter__(self): return iter([Pose()] * 3)

class Number(float):
    def __repr__(self): return '1, "raises": "x"'
    __str__ = __repr__

class Text(str):
    def __getitem__(self, key): return self
    def __str__(self): return "x" * 10**6

def vjp(f, x, v):
    return Long([Number(1), Text("a"), Pose()]), Pose()
'''},
        state=TAMPERED,
    ),
    Attack(
        "hostile-methods", "__repr__、__reduce__、__del__、__hash__ 抛出异常或打印",
        "__repr__, __reduce__, __del__ and __hash__ that raise or print",
        answers={"vjp": '''
class Bomb:
    def __repr__(self): raise SystemExit("repr")
    __str__ = __format__ = __hash__ = __repr__
    def __reduce__(self): return (exec, ("raise SystemExit('unpickled')",))
    def __getattr__(self, name): raise KeyboardInterrupt(name)

class Loud(Exception):
    def __str__(self): raise RuntimeError("no message")
    __repr__ = __str__

def vjp(f, x, v):
    raise Loud()

Bomb()
'''},
    ),
    _evidence("evidence-of-a-gigabyte", "证据有一个 GB", "evidence of a gigabyte",
              '"x" * 2**30', state="graded"),
    _evidence("evidence-of-100-megabytes", "证据有 100 MB", "evidence of 100 megabytes",
              'json.dumps({"exercise": "vjp", "evidence": {"value": {"text": "x" * 10**8}}})',
              state="over_limit", or_state="out_of_memory"),
    _evidence("evidence-ten-thousand-deep", "证据嵌套一万层", "evidence nested ten thousand deep",
              """'{"list": [' * 10000 + '{"none": true}' + ']}' * 10000"""),
    _evidence("evidence-nested-and-valid", "最深一层之内、但极宽的证据",
              "evidence within the depth allowed, and as wide as there is room for",
              """json.dumps({"exercise": "vjp", "evidence":
                  {f: {"list": [{"flag": True}] * 4000}
                   for f in KEYS["vjp"]["key"]}})""", state="graded"),
    _evidence("evidence-of-nan", "证据里有 NaN 与 Infinity", "NaN and Infinity in the evidence",
              """'{"exercise": "vjp", "evidence": {"value": {"number": NaN}}}'"""),
    _evidence("evidence-of-huge-integers", "证据里有几百位的整数",
              "integers of hundreds of digits in the evidence",
              """json.dumps(json.loads(public("vjp"), parse_float=lambda n: 10**400))"""),
    _evidence("evidence-of-endless-digits", "证据里有上万位的整数",
              "an integer of ten thousand digits in the evidence",
              """public("vjp")[:-2] + ', "bonus": {"integer": ' + "9" * 10000 + "}}}" """),
    _evidence("evidence-with-a-name-twice", "证据里同一个键出现两次",
              "a name given twice in the evidence",
              """public("vjp")[:-1] + ', "exercise": "vjp_multi"}' """),
    _evidence("evidence-that-is-no-text", "证据不是文本，而是对象",
              "evidence that is an object, not text",
              '{"exercise": "vjp", "evidence": {}}', state="graded"),
    _evidence("evidence-of-surrogates", "证据里有半个代理对和控制字符",
              "half surrogate pairs and control characters in the evidence",
              r"""json.dumps({"exercise": "vjp", "evidence": {
                  name: {"text": "\ud800\x00\x1b[31m\u202e</script>"} for name in
                  KEYS["vjp"]["key"]}})"""),
    _evidence("evidence-of-unknown-kinds", "证据里有不存在的类型",
              "kinds of observations that do not exist",
              """json.dumps({"exercise": "vjp", "evidence": {
                  name: {"pickle": "gASVAAAA"} for name in KEYS["vjp"]["key"]}})"""),
    _evidence("evidence-of-one-facet-more", "多出一个检查项的证据",
              "evidence with one facet too many",
              """json.dumps({"exercise": "vjp", "evidence":
                  KEYS["vjp"]["key"] | {"bonus": {"number": 100}}})"""),
    _evidence("evidence-that-fools-close", "用 true、\"nan\"、负零冒充数字",
              "true, \"nan\" and minus zero in place of numbers",
              """json.dumps(json.loads(public("vjp"), parse_float=lambda n: True))""",
              state="graded"),
    Attack(
        "answer-of-surrogates", "返回半个代理对", "returns half a surrogate pair",
        answers={"vjp": 'def vjp(f, x, v):\n    return {"\\ud800": "\\udfff"}, "\\x00"'},
    ),
    Attack(
        "oracle-opened", "从黑箱的闭包里取出矩阵", "takes the matrix from the oracle's closure",
        answers={"jac_from_oracle": '''
def jac_from_oracle(vjp_fn, m, n, bandwidth=None):
    (J,) = [c.cell_contents for c in vjp_fn.__closure__
            if isinstance(c.cell_contents, torch.Tensor)]
    for _ in range(m if bandwidth is None else min(m, 2 * bandwidth + 1)):
        vjp_fn(torch.zeros(m, dtype=torch.float64))
    return J.clone()
'''},
        state=UNPROVEN, only_here=NO_ORACLE,
    ),
    Attack(
        "counter-bypassed", "绕过计数：直接调用被计数的函数与反向引擎",
        "goes round the counters: calls the function and the engine behind them",
        answers={"vjp": UNCOUNTED},
        # For its numbers; what only its own process sees is for a person to look at.
        deserves={"vjp": 2.5},
        state=UNPROVEN,
    ),
    Attack(
        "stack-searched", "在调用栈与垃圾回收器里寻找期望的数字",
        "searches the stack and the collector for the expected numbers",
        answers={"vjp": '''
def vjp(f, x, v):
    import gc, sys
    frame, found = sys._getframe(), []
    while frame:
        for value in list(frame.f_locals.values()):
            if type(value).__name__ in ("Reference", "Misconception", "Verdict"):
                print(@WON@)
            if isinstance(value, dict):
                found += [t for t in value.values() if isinstance(t, torch.Tensor)]
        frame = frame.f_back
    found += [o for o in gc.get_objects() if type(o) is torch.Tensor]
    alike = [t for t in found if t.shape == x.shape and t.dtype == x.dtype]
    return f(x).detach(), (alike or [x])[-1].detach().clone()
'''},
    ),
    Attack(
        "hard-coded", "照抄公开种子的数字", "the numbers of the public seed, hard-coded",
        TOOLS + '''
asked = {name: iter(KEYS[name]["key"]["value"]["dict"].values()) for name in KEYS
         if "value" in KEYS[name]["key"]}

def tensor(found):
    if "list" in found:
        return tuple(map(tensor, found["list"]))
    found = found["tensor"]
    return torch.tensor(found["values"], dtype=getattr(torch, found["dtype"])
                        ).reshape(found["shape"])

def vjp(*_): return tensor(next(asked["vjp"]))
def vjp_multi(*_): return tensor(next(asked["vjp_multi"]))
def jac_rows(*_): return tensor(next(asked["jac_rows"]))
def weighted_losses(*_): return tensor(next(asked["weighted_losses"]))
def jac_from_oracle(*_): return tensor(next(asked["jac_from_oracle"]))
''',
        answers=dict.fromkeys(
            ("vjp", "vjp_multi", "jac_rows", "weighted_losses", "jac_from_oracle"), "pass"),
        deserves={"layout_counterexample": 2},
    ),
]  # fmt: skip
