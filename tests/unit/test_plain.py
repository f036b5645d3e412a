"""Plain code: every way behind the questions that is known is seen, ordinary answers are not.

Of answers there are hundreds: the solutions, all other ways and all mistakes of the course, and
what the made-up class hands in.
"""

import sys
from collections.abc import Iterator

import pytest

from grading import plain
from grading.answers import named
from grading.course import assignments, read_source
from grading.misconceptions import alternatives, misconceptions
from grading.plain import MODULES, Names, faults, module
from grading.release import released
from tests.grading.conftest import CLASS  # noqa: F401 (makes `members` importable)
from tutor.exercise import exercises

from members import MEMBERS, OTHERS  # isort: skip

# What each of these does, in a word; one of them is enough to forge a flag or to read an oracle.
BEHIND = {
    "in compare contains": """
import torch
class A:
    def __contains__(self, T): T.grad = 1
torch.Tensor in A()
""",
    "alias": """
import torch
T = torch.Tensor
T.grad = property(lambda s: None)
""",
    "alias loop": """
import torch
for T in (torch.Tensor,):
    T.grad = None
""",
    "default": """
import torch
def f(T=torch.Tensor):
    T.grad = None
""",
    "type(x)": "type(x).grad = 3",
    "type(x) alias": """
T = type(x)
T.grad = 3
""",
    "type attr": """
class A:
    def m(self): self.calls = 1
type(A()).m(f)
""",
    "format": "'{0.__closure__}'.format(f)",
    "format alias": """
g = '{0.gi_frame}'
g.format(f)
""",
    "str.format": "str.format('{0.x}', f)",
    "format_map": "'{a.x}'.format_map({'a': f})",
    "nested spec": "'{:{0.x}}'.format(f)",
    "closure": "f.__closure__[0].cell_contents",
    "match": """
match f:
    case object(__closure__=c):
        pass
""",
    "match name": """
match 1:
    case check:
        pass
""",
    "star": "from torch import *",
    "sys": """
import torch
torch.sys.modules
""",
    "builtins": """
import torch
torch.builtins.exec('1')
""",
    "load": """
import torch
torch.load('x')
""",
    "fromfile": """
import numpy as np
np.fromfile('/proc/self/environ')
""",
    "tofile": "x.numpy().tofile('a')",
    "from_file": """
import torch
torch.from_file('/proc/self/environ', size=10)
""",
    "reduce getattr": """
from functools import reduce
reduce(getattr, ['__class__'], f)
""",
    "partial": """
from functools import partial
partial(setattr, f, 'calls')(1)
""",
    "map": "list(map(getattr, [f], ['x']))",
    "walrus": "(check := print)",
    "for check": "for check in [print]: pass",
    "with check": "with open_() as check: pass",
    "except check": """
try:
    1/0
except Exception as check:
    pass
""",
    "import as": "from tutor import draw as check",
    "import torch as check": "import torch as check",
    "def check": "def check(a): pass",
    "class check": "class check: pass",
    "global check": """
def f():
    global check
    check = 1
""",
    "tuple": "check, y = 1, 2",
    "comp check": "[check for check in x]",
    "del": "del check",
    "setattr": "setattr(f, 'calls', 1)",
    "self method": """
class A:
    def m(self): self.calls = 1
A.m(f)
""",
    "self func": """
def m(self): self.calls = 1
m(f)
""",
    "self lambda": """
class A:
    def m(self):
        def g(self): self.calls = 1
        g(f)
""",
    "global method": """
class A:
    global m
    def m(self): self.calls = 1
m(f)
""",
    "keep method": """
class A:
    def m(self): self.calls = 1
    keep = [m]
A().keep[0](f)
""",
    "keep default": """
class A:
    def m(self): self.calls = 1
    def n(self, g=m): g(f)
""",
    "static self": """
class A:
    @staticmethod
    def m(self): self.calls = 1
""",
    "deco": """
kept=[]
class A:
    @kept.append
    def m(self): self.calls = 1
""",
    "class deco": """
def d(c): c.m(f)
@d
class A:
    def m(self): self.calls = 1
""",
    "partial deco": """
from functools import partial
class A:
    @partial
    def m(self): self.calls = 1
""",
    "classmethod": """
class A:
    def m(self): self.calls=1
    @classmethod
    def c(cls): cls.m(f)
""",
    "getattr own": """
class A:
    def m(self): self.calls=1
getattr(A, 'm')(f)
""",
    "getattr class": """
import torch
T = getattr(torch, 'Tensor')
T.grad = 1
""",
    "getattr dyn": """
import torch
getattr(torch.optim, '__builtins__')['exec']
""",
    "getattr dyn call": """
import torch
getattr(torch.optim, s)('x', 1)
""",
    "set_name": """
class D:
    def __set_name__(self, o, n): o.m(f)
""",
    "new": """
class A:
    def __new__(cls): return f
""",
    "get": """
class A:
    def __get__(self, o, t): t.m(f)
""",
    "torch_function": """
import torch
class T(torch.Tensor):
    pass
""",
    "nn Parameter base": """
from torch import nn
class T(nn.Parameter):
    pass
""",
    "eq": """
class A:
    def __eq__(self, o): return True
""",
    "bool": """
class A:
    def __bool__(self): return True
""",
    "mime": """
class A:
    def _repr_mimebundle_(self, **k): return {}
""",
    "meta": "class A(metaclass=M): pass",
    "type3": "type('A', (), {'__eq__': f})",
    "make_dataclass": "from dataclasses import make_dataclass",
    "dataclass call": """
from dataclasses import dataclass
dataclass(int)
""",
    "update_wrapper": "from functools import update_wrapper",
    "hints": "from typing import get_type_hints",
    "annotation exec": "x: exec('1') = 2",
    "annotation call": """
import torch
x: steal(torch.Tensor) = 2
""",
    "annotation item": """
import torch
x: holder[torch.Tensor] = 2
""",
    "annotation list rebound": """
import torch
list = A()
x: list[torch.Tensor] = 2
""",
    "isinstance +": """
import torch
isinstance(x, a + torch.Tensor)
""",
    "cmp +": """
import torch
a + torch.Tensor == 1
""",
    "func base alias": """
from torch.autograd import Function as Fn
class A(Fn):
    @staticmethod
    def forward(ctx, f): ctx.calls = 1
A().forward(f)
""",
    "func derived": """
from torch.autograd import Function
class A(Function):
    @staticmethod
    def forward(ctx, f): ctx.calls = 1
class B(A):
    def go(self, f): self.forward(f)
B().go(f)
""",
    "func forward": """
from torch.autograd import Function
class A(Function):
    @staticmethod
    def forward(ctx, f): ctx.calls = 1
A.forward(f)
""",
    "func apply": """
from torch.autograd import Function
class A(Function):
    def apply(self): self.calls = 1
A.apply(f)
""",
    "hooks": """
import torch
with torch.autograd.graph.saved_tensors_hooks(a, b): pass
""",
    "engine": """
import torch
torch.autograd._engine_run_backward
""",
    "set module": """
import torch
torch.autograd.grad = f
""",
    "module alias": """
import torch
t = torch
t.grad = 1
""",
    "module arg": """
import torch
f(torch)
""",
    "vars": "vars(f)",
    "magic": "%timeit 1",
    "bang": "!ls",
    "question": "torch?",
    "prompt": "In [1]: x",
    "display": "display({}, raw=True)",
    "ipython": "get_ipython()",
    "exec param class": """
def f(open):
    class A:
        x = open('a')
        open = 1
""",
    "calls": "f.calls = 1",
    "calls aug": "f.calls += 1",
    "del attr": "del f.calls",
    "for target": "for f.calls in [1]: pass",
    "with target": "with a as f.calls: pass",
    "import os": "import os",
    "import torch.os": "from torch import os",
    "nn.modules": """
from torch import nn
nn.modules.module.register_module_forward_hook(f)
""",
    "F.torch": """
from torch.nn import functional as F
F.torch
""",
    "overrides": "from torch.overrides import TorchFunctionMode",
    "dispatch": "from torch.utils._python_dispatch import TorchDispatchMode",
    "private import": "from torch import _C",
    "tutor internals": "from tutor import exercise",
    "tutor evidence": "import tutor.evidence",
    "generator frame": """
g = (i for i in [1])
g.gi_frame.f_back
""",
    "exception": """
try:
    1/0
except Exception as e:
    e.__traceback__
""",
    "typing.sys": """
import typing
typing.sys
""",
    "collections._sys": """
import collections
collections._sys
""",
    "plt.setp": """
import matplotlib.pyplot as plt
plt.setp(f, calls=1)
""",
    "model.forward": "model.forward(x)",
    "pre hook": "model.register_forward_pre_hook(h, prepend=True)",
    "async": "async def f(): pass",
    "lambda default": """
import torch
f = lambda T=torch.Tensor: T
""",
    "dict class": """
import torch
d = {'T': torch.Tensor}
d['T'].grad = 1
""",
    "return class": """
import torch
def f(): return torch.Tensor
""",
    "yield class": """
import torch
def f(): yield torch.Tensor
""",
    "star arg": """
import torch
f(*(torch.Tensor,))
""",
    "kw class": """
import torch
f(T=torch.Tensor)
""",
    "ternary": """
import torch
T = torch.Tensor if 1 else 0
""",
    "or": """
import torch
T = torch.Tensor or 0
""",
    "boolop compare": """
import torch
(T := torch.Tensor) == 1
""",
    "subscript": """
import torch
T = [torch.Tensor][0]
""",
    "Tensor store": """
import torch
torch.Tensor.grad = 1
""",
    "own mime attr": """
class A:
    def m(self): self._repr_mimebundle_ = 1
""",
    "nonlocal self": """
class A:
    def m(self, f):
        self = f
        self.calls = 1
""",
    "loader": "__loader__",
    "import_": "__import__('os')",
    "mangled": """
class A:
    def m(self): return self.__x
""",
}
# Ordinary code, with a spelling in each that a reader might take for one of the above.
ORDINARY = {
    "input": """
def f(input, target):
    return (input - target).abs()
""",
    "class": """
class Value:
    def __init__(self, x):
        self.x = x
    def __add__(self, o):
        return Value(self.x + o.x)
""",
    "module": """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(2, 2)
    def forward(self, x):
        return self.l(x)
net = Net()
""",
    "function": """
import torch
class Sq(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.k = 2
        return x * x
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g
y = Sq.apply(x)
""",
    "ann": """
import torch
from typing import Callable, Optional
def f(x: torch.Tensor, g: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    h: Optional[torch.Tensor] = None
    return [x]
""",
    "isinst": """
import torch
isinstance(x, (torch.Tensor, float))
type(x) is torch.Tensor
isinstance(x, torch.Tensor | float)
""",
    "fmt": """
'{:.3f} {name}'.format(1.0, name='a')
f'{x:.3f} {type(x)} {type(x).__name__}'
""",
    "np": """
import numpy as np
np.allclose(np.zeros(3), 0)
np.random.default_rng(0).normal()
""",
    "plt": """
import matplotlib.pyplot as plt
plt.plot([1])
plt.show()
""",
    "opt": """
import torch
opt = torch.optim.SGD([p], lr=.1)
d = {'SGD': torch.optim.SGD}
getattr(torch.optim, n)([p], **o)
""",
    "main": """
if __name__ == '__main__':
    print(1)
""",
    "time": """
import time
t0 = time.perf_counter()
""",
    "sum": """
sum = 0
for i in range(3):
    sum += i
""",
    "except": """
class Bad(ValueError):
    pass
try:
    raise Bad('x')
except (Bad, KeyError) as e:
    print(type(e).__name__, e)
""",
    "under": """
for _ in range(3): pass
a, _b = 1, 2
def _helper(x): return x
_helper(_b)
""",
    "dc": """
from dataclasses import dataclass
@dataclass
class P:
    x: float = 0.0

""",
    "reimport": """
import torch
import torch.nn as nn
import torch.nn.functional as F
from tutor import check
""",
    "set": """
import torch
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
""",
}
# Answers that people really give and that no reader can clear: they look behind an object on
# purpose. Each is for a person, where a claim is at stake.
EXCEPTIONS = {
    # the tensors that a node has saved, whatever they are called
    "by_the_rule", "fails_unless_retained", "any_saved_tensor", "root_alone", "first_way_only",
    "tuples_overlooked", "same_input_twice", "linear_is_safe", "whole_graph_freed",
    "first_frees_something", "options_ignored", "retain_graph_alone", "create_graph_always_keeps",
    "every_error_is_freed", "unused_is_ok", "true_or_false", "backward_leaves_traces",
    "saved_tensors_too",
    # attributes by names that are computed, or written to where no student is asked to write
    "attribute_of_the_module", "attribute_error_for_strangers", "parameters_replaced",
    "no_grad_around_it", "copies_v_only", "buffers_shared", "forward_called",
    "read_off_a_drawing",
}  # fmt: skip
HOSTILE = {"crasher", "forger", "hostile"}  # of the made-up class


@pytest.mark.parametrize("what", BEHIND)
def test_what_leads_behind_a_question_is_not_plain(what):
    assert faults(BEHIND[what].strip("\n"))


@pytest.mark.parametrize("what", ORDINARY)
def test_ordinary_code_is_plain(what):
    assert faults(ORDINARY[what].strip("\n")) == []


def own_answers() -> Iterator[tuple[str, str, str]]:
    """(assignment, what it is, code) for every answer that the course knows."""
    for assignment in assignments():
        for cell in read_source(assignment).cells:
            if cell.cell_type == "code" and cell.metadata.nbgrader.solution:
                yield assignment, "source", cell.source
        for exercise in exercises(assignment):
            for found in (misconceptions(exercise.name), alternatives(exercise.name)):
                for answer in found:
                    yield assignment, answer.name, named(exercise.name, answer.name, found)
    for member in (*MEMBERS, *OTHERS):
        for code in member.answers.values():
            if code and code not in ("source", "stub") and not code.startswith(("wrong ", "alter")):
                yield member.assignment, member.name, code


def test_the_answers_of_the_course_are_plain():
    """All but those which are listed, and those really are not."""
    given = {
        name: [c.source for c in released(name).cells if c.cell_type == "code"]
        for name in assignments()
    }
    looked_at, refused = 0, {}
    for assignment, name, code in own_answers():
        # The modules that answers are written in have imports of their own.
        head = [line for line in given[assignment] if "import" in line]
        found = faults(code, Names.of([*head, code]))
        looked_at += 1
        if found:
            refused.setdefault(name, found)
    print(f"{looked_at} answers, {len(refused)} not plain: {sorted(refused)}")
    assert looked_at > 700
    assert set(refused) == EXCEPTIONS | HOSTILE


def test_a_name_means_what_the_released_notebook_says():
    names = Names.of(["import torch\nfrom tutor import check", "import numpy as torch"])
    assert faults("import numpy as torch", names)
    assert faults("torch = 3", names) and faults("lambda torch: torch", names)
    assert faults("x = torch", names)  # in another cell than its import, too
    assert not faults("import torch\ntorch.zeros(3)", names)


def test_a_class_of_another_cell_is_known():
    maker = "class Setter:\n    def mend(self):\n        self.calls = 1"
    assert faults(maker) == []
    assert faults("Setter.mend(f)", Names.of([maker]))


def test_a_fault_says_what_and_where():
    (first, *_) = faults("x = 1\ny = x.__class__")
    assert (first.what, first.line) == ("__class__", 2)
    (magic,) = faults("x = 1\n%timeit x")
    assert (magic.what, magic.line) == ("%timeit x", 2)
    (long,) = faults("import os" + ", os" * 100)
    assert len(long.what) <= plain.SHORT


@pytest.mark.parametrize("source", ["", "  \n", "# a remark", "x = 1\n   \n\ny = 2  \n", "x=1\r\n"])
def test_blank_lines_and_remarks_are_plain(source):
    assert faults(source) == []


@pytest.mark.parametrize("source", ["x" * 10 + "(" * 5000, "-" * 100_000 + "1", "\0", "\ud800"])
def test_code_that_cannot_be_read_is_not_plain(source):
    assert faults(source)


@pytest.mark.parametrize("path", MODULES)
def test_plain_code_gets_to_no_other_module(path):
    """By whatever name: each module that one of these leads to may itself be imported."""
    owner = module(path)
    assert owner is not None
    names = [name for name in dir(owner) if plain.has(owner, name)]
    led_to = {getattr(owner, name) for name in names if type(getattr(owner, name)) is type(sys)}
    assert {found.__name__ for found in led_to} <= set(MODULES)
    assert not set(names) & (plain.HIDDEN | {"exec", "eval", "open", "setattr", "getattr"})
    assert not [name for name in names if name.startswith("_") and name not in plain.TELLING]
