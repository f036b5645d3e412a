"""Plain code: code of a student's that cannot reach behind the questions it is asked.

What a student's process observes of itself, a flag or a count, is worth something where nothing
in that process can have turned the tools that observe. `faults` reads a cell and says what in it
could: it knows what ordinary answers are made of, and finds fault with all else. Finding fault is
no reproach: it only means that a person has to look at what cannot be proven.

Four things are held of plain code:

- it names no way to what lies behind an object: frames, closures, dictionaries of attributes;
- it gets at modules by their public names alone, at those that hold mathematics and no tools;
- it changes no attribute of a module or a class, and none of an object that is not its own;
- it shows nothing but ordinary values: evidence cannot be displayed by it.

Where a module is only what precedes a dot, and a class of torch's only what is called, no variable
holds one; hence the rules on where such names may stand.
"""

import ast
import builtins
import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from string import Formatter
from types import BuiltinFunctionType, ModuleType
from typing import Any

import torch
from IPython.core.inputtransformer2 import TransformerManager


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALL = None  # every public name of a module that leads to no other module and is not in HIDDEN
TORCH = "torch"  # the module's operations (see `_operation`), and these:
# The modules that may be imported, with the names in them that may be used.
MODULES: dict[str, frozenset[str] | None] = {
    TORCH: _words(
        """
        Tensor Size Generator device dtype finfo iinfo layout memory_format no_grad enable_grad
        inference_mode set_grad_enabled atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes
        broadcast_tensors cartesian_prod cdist chain_matmul einsum lobpcg lu meshgrid norm
        pca_lowrank split stft svd_lowrank tensordot unique unique_consecutive unravel_index vmap
        is_tensor manual_seed initial_seed seed get_rng_state set_rng_state default_generator
        get_default_dtype set_default_dtype set_printoptions is_grad_enabled
        is_inference_mode_enabled get_num_threads set_num_threads e inf nan newaxis pi
        FloatTensor DoubleTensor LongTensor IntTensor BoolTensor OutOfMemoryError
        """
    ),
    "torch.autograd": _words(
        """
        Function Variable backward grad gradcheck gradgradcheck detect_anomaly set_detect_anomaly
        no_grad enable_grad inference_mode set_grad_enabled
        """
    ),
    "torch.autograd.functional": _words("hessian hvp jacobian jvp vhp vjp"),
    "torch.autograd.forward_ad": _words(
        "dual_level enter_dual_level exit_dual_level make_dual unpack_dual UnpackedDualTensor"
    ),
    "torch.autograd.graph": _words("GradientEdge Node get_gradient_edge increment_version"),
    "torch.func": _words(
        """
        functional_call grad grad_and_value hessian jacfwd jacrev jvp linearize stack_module_state
        vjp vmap
        """
    ),
    "torch.nn": ALL,
    "torch.nn.functional": ALL,
    "torch.nn.init": ALL,
    "torch.nn.utils": _words(
        """
        clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ get_total_norm parameters_to_vector
        vector_to_parameters
        """
    ),
    "torch.optim": _words(
        """
        ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS NAdam Optimizer RAdam RMSprop Rprop
        SGD
        """
    ),
    "torch.optim.lr_scheduler": _words(
        """
        LambdaLR MultiplicativeLR StepLR MultiStepLR ConstantLR LinearLR ExponentialLR SequentialLR
        CosineAnnealingLR ReduceLROnPlateau CyclicLR OneCycleLR PolynomialLR ChainedScheduler
        CosineAnnealingWarmRestarts LRScheduler
        """
    ),
    "torch.linalg": ALL,
    "torch.fft": ALL,
    "torch.special": ALL,
    "math": ALL,
    "cmath": ALL,
    "time": ALL,
    "itertools": ALL,
    "numpy": ALL,
    "numpy.linalg": ALL,
    "numpy.random": ALL,
    "numpy.fft": ALL,
    "matplotlib": frozenset(),
    "matplotlib.pyplot": ALL,
    "functools": _words("partial reduce cache lru_cache"),
    "operator": _words(
        """
        add sub mul truediv floordiv mod pow matmul neg pos abs eq ne lt le gt ge not_ truth
        is_ is_not and_ or_ xor itemgetter getitem contains index indexOf countOf concat
        """
    ),
    "collections": _words("Counter OrderedDict defaultdict deque namedtuple ChainMap"),
    "collections.abc": ALL,
    "typing": _words(
        """
        Any Callable Dict Generator Iterable Iterator List Literal Mapping NamedTuple Optional
        Sequence Set Tuple TypeVar Union
        """
    ),
    "copy": _words("copy deepcopy"),
    "contextlib": _words("contextmanager closing nullcontext suppress ExitStack"),
    "dataclasses": _words("dataclass replace astuple asdict"),
    "warnings": _words("warn simplefilter filterwarnings catch_warnings"),
    "random": _words("random uniform randint choice choices sample shuffle gauss seed randrange"),
    "re": _words("sub match search findall fullmatch split"),
    "numbers": _words("Number Real Integral"),
    "tutor": _words("check draw expect_error language"),
    "tutor.probes": frozenset(),
    "tutor.probes.graph": _words("OPERATIONS"),
}
FUTURE = "__future__"

# Attributes of whatever object, and names of modules, that lead behind it.
HIDDEN = (
    # frames, code and closures
    _words(
        """
        gi_frame gi_code gi_yieldfrom gi_running cr_frame cr_code cr_await cr_origin ag_frame
        ag_code ag_await f_back f_builtins f_code f_globals f_locals f_trace tb_frame tb_next
        tb_lasti co_code co_consts func_globals func_code cell_contents fget fset fdel mro
        """
    )
    # modules behind modules, and what runs text or changes attributes by their names
    | _words(
        """
        os sys builtins ctypes ctypeslib cffi capsule importlib inspect threading subprocess hub jit
        library overrides serialization package fx ops compile update_wrapper wraps
        attrgetter methodcaller get_type_hints make_dataclass dispatch_table setp getp get_namespace
        handle_torch_function boolean_dispatch set_submodule parametrize
        """
    )
    # files and memory
    | _words(
        """
        load save savez savez_compressed loadtxt savetxt genfromtxt fromregex fromfile tofile
        from_file dump dumps memmap open_memmap DataSource imread imsave savefig test info
        get_include show_config show_runtime from_dlpack to_dlpack storage untyped_storage
        typed_storage set_ share_memory_ share_memory as_strided as_strided_ stride_tricks
        DataParallel SyncBatchNorm switch_backend
        """
    )
    # what comes before the counters of a probe, or stands in their way
    | _words(
        """
        saved_tensors_hooks save_on_cpu disable_saved_tensors_hooks allow_mutation_on_saved_tensors
        create_selective_checkpoint_contexts checkpoint register_forward_pre_hook
        register_forward_hook
        """
    )
)
# Underscored names that tell something and lead nowhere.
TELLING = _words("_version _is_view __name__ __version__")
# Names of Python and IPython that do what the attributes above do.
DENIED = _words(
    """
    exec eval compile open input globals locals vars setattr delattr breakpoint memoryview help exit
    quit get_ipython display In Out classmethod copyright credits license
    """
)
# Names that are read by a rule of their own, and so must mean what they mean in Python.
SPECIAL = _words("getattr hasattr type super isinstance issubclass staticmethod property")
RULED = SPECIAL - _words("isinstance issubclass staticmethod property")
# Attributes that may be set on any object: nothing of the grader's own is called so.
SETTABLE = _words("grad requires_grad data training momentum weight bias")
# Special methods that a class of the student's may have.
METHODS = _words(
    """
    __init__ __call__ __len__ __iter__ __next__ __getitem__ __enter__ __exit__ __repr__ __str__
    __add__ __sub__ __mul__ __truediv__ __pow__ __neg__ __matmul__
    """
)
# Names whose meaning is the grader's, or that of the first parameter of a method.
OURS = _words("check self ctx")
MAGIC = "%…"  # how a cell's faults name what is no Python
SHORT = 60  # characters of the student's code that a fault shows


@dataclass(frozen=True)
class Fault:
    """What in a cell is not plain: a piece of its code, and the line that it is in."""

    what: str
    line: int


@dataclass
class Names:
    """What names mean in a notebook: those that imports bind, and the student's own classes.

    bound: name → what the import gives; classes: names of classes of the student's;
    functions: those of them that are a torch.autograd.Function; others: all other names that
    are bound somewhere.
    """

    bound: dict[str, Any] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, sources: Iterable[str]) -> "Names":
        """The names of cells, those first of which others must not change the meaning."""
        names, defined = cls(), []
        for bound, others, classes in map(_bindings, sources):
            names.bound = dict(bound) | names.bound
            names.others |= others
            defined += classes
        names.classes = {node.name for node in defined}
        for _ in defined:  # one may derive from another that comes later
            names.functions |= {n.name for n in defined if any(map(names.is_function, n.bases))}
        return names

    def is_function(self, base: ast.expr) -> bool:
        """Whether a class that is derived from is a torch.autograd.Function."""
        thing = self.meaning(base)
        if isinstance(thing, type):
            return issubclass(thing, torch.autograd.Function)
        return isinstance(base, ast.Name) and base.id in self.functions

    def meaning(self, node: ast.AST | None) -> Any:
        """The module, class or function that an expression names, if imports tell."""
        if isinstance(node, ast.Name):
            return self.bound.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.meaning(node.value)
            if isinstance(owner, ModuleType) and has(owner, node.attr):
                return getattr(owner, node.attr, None)
        return None

    @property
    def fixed(self) -> set[str]:
        """Names that nothing but their import may bind: what is read relies on them."""
        found = {name for name, thing in self.bound.items() if _is_fixed(thing)}
        return found | self.classes | OURS


def _is_fixed(thing: Any) -> bool:
    return isinstance(thing, ModuleType) or _is_guarded(thing) or thing is dataclass


def _is_guarded(thing: Any) -> bool:
    """Whether it is a class whose attributes the grader's own objects have."""
    family = torch.Tensor, torch.nn.Module
    return isinstance(thing, type) and (issubclass(thing, family) or issubclass(thing, type))


@lru_cache(maxsize=256)  # the released cells are the same in every submission
def _bindings(source: str) -> tuple[dict[str, Any], set[str], list[ast.ClassDef]]:
    """What a cell binds: names by imports, and what to; other names; the classes it defines."""
    bound, others, classes = {}, set(), []
    tree = parsed(source)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, thing in imported(node):
                bound.setdefault(name, thing)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            others.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            others.add(node.name)
        elif isinstance(node, ast.arg):
            others.add(node.arg)
        if isinstance(node, ast.ClassDef):
            classes.append(node)
    return bound, others, classes


@lru_cache(maxsize=256)
def parsed(source: str) -> ast.Module | None:
    """A cell as IPython would run it; None if it is no Python, or not Python alone."""
    try:
        tree = ast.parse(source)
        if _without_blanks(_transform(source)) != _without_blanks(source):
            return None  # IPython would run something else: magics, prompts, a common indent
        return tree
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _transform(source: str) -> str:
    return TransformerManager().transform_cell(source)


def _without_blanks(source: str) -> str:
    """IPython empties blank lines, and adds one at the end."""
    return re.sub(r"(?m)^[ \t]+$", "", source).strip("\n")


@cache
def module(path: str) -> ModuleType | None:
    """A module that plain code may import, by its full name."""
    try:
        return importlib.import_module(path) if path in MODULES else None
    except ImportError:
        return None


@cache
def _operations() -> frozenset[str]:
    """The names of torch's operations, as its own table of them has it."""
    return frozenset(name for name in dir(torch._C._VariableFunctions) if name[0] != "_")


def _operation(name: str) -> bool:
    """Whether a name of torch's is that of an operation on tensors, a dtype or the like."""
    thing = getattr(torch, name, None)
    if isinstance(thing, torch.dtype | torch.layout | torch.memory_format):
        return True
    return isinstance(thing, BuiltinFunctionType) and name in _operations()


def has(owner: ModuleType, name: str) -> bool:
    """Whether plain code may use ``owner.name``."""
    if name in HIDDEN or (name.startswith("_") and name not in TELLING):
        return False
    thing = getattr(owner, name, None)
    if isinstance(thing, ModuleType):
        return thing.__name__ in MODULES and _path_leads(owner, name, thing)
    allowed = MODULES.get(owner.__name__, frozenset())
    return allowed is ALL or name in allowed or (owner is torch and _operation(name))


def _path_leads(owner: ModuleType, name: str, thing: ModuleType) -> bool:
    return thing.__name__ == f"{owner.__name__}.{name}" or owner.__name__ == "torch.nn"


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Any]]:
    """(name, thing) for what an import binds, as far as plain code may import it."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name if alias.asname else alias.name.partition(".")[0]
            if alias.name in MODULES and (thing := module(top)) is not None:
                yield alias.asname or top, thing
    elif not node.level and (owner := module(node.module or "")) is not None:
        for alias in node.names:
            path = f"{node.module}.{alias.name}"
            if path in MODULES:
                yield alias.asname or alias.name, module(path)
            elif has(owner, alias.name):
                yield alias.asname or alias.name, getattr(owner, alias.name, None)


def faults(source: str, names: Names | None = None) -> list[Fault]:
    """What in a cell is not plain, in the order of its lines; empty if all is.

    names: what the names of the whole notebook mean; by default, of this cell alone.
    """
    if not source.strip():
        return []
    tree = parsed(source)
    if tree is None:
        return [_unread(source)]
    reader = _Reader(names or Names.of([source]))
    try:
        reader.visit(tree)
    except RecursionError:
        return [_unread(source)]
    return sorted(dict.fromkeys(reader.found), key=lambda fault: fault.line)


def _unread(source: str) -> Fault:
    """The line at which a cell stops being Python, as far as that can be told."""
    lines = source.split("\n")
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith(("%", "!", "?")) or line.rstrip().endswith("?"):
            return Fault(_short(line), number)
    try:
        ast.parse(source)
    except SyntaxError as error:
        number = min(max(error.lineno or 1, 1), len(lines))
        return Fault(_short(lines[number - 1]) or MAGIC, number)
    except (ValueError, RecursionError, MemoryError):
        pass
    return Fault(_short(lines[0]) or MAGIC, 1)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


IN_CLASSES = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.Expr | ast.Pass
Function = ast.FunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class _Reader(ast.NodeVisitor):
    """Reads a cell and keeps what is not plain in ``found``."""

    def __init__(self, names: Names):
        self.names, self.fixed, self.found = names, names.fixed, []
        self.scopes: list[ast.AST] = []  # the classes and functions that we are in
        self.allowed: set[int] = set()  # ids of nodes that stand where such names may
        self.decorators: set[int] = set()  # ids of nodes that are one of a class
        self.optimizers: set[int] = set()  # ids of nodes that are called with a list

    def fault(self, node: ast.AST, what: str | None = None) -> None:
        self.found.append(Fault(_short(what or ast.unparse(node)), getattr(node, "lineno", 1)))

    def allow(self, *nodes: ast.AST | None) -> None:
        """Classes may stand here, alone, in a tuple, or as one | another."""
        for node in nodes:
            if isinstance(node, ast.Tuple):
                self.allow(*node.elts)
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                self.allow(node.left, node.right)
            elif node is not None:
                self.allowed.add(id(node))

    # ------------------------------------------------------------------------------- names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.loaded(node)
        else:
            self.bind(node.id, node)

    def loaded(self, node: ast.Name) -> None:
        name = node.id
        if name.startswith("__") and name not in ("__name__", "__"):
            self.fault(node)
        elif name in DENIED or name in RULED:
            if id(node) not in self.allowed and not self.is_local(name):
                self.fault(node)
        else:
            self.placed(node)
        if self.in_class_body and name in self.methods:
            self.fault(node)  # a method would get out as a function, for any self

    def placed(self, node: ast.Name | ast.Attribute) -> None:
        """Modules stand before a dot alone; classes of torch's and of one's own where allowed."""
        if id(node) in self.allowed:
            return
        thing = self.names.meaning(node)
        own = isinstance(node, ast.Name) and node.id in self.names.classes
        if isinstance(thing, ModuleType) or _is_guarded(thing) or thing is dataclass or own:
            self.fault(node)

    def bind(self, name: str | None, node: ast.AST, thing: Any = None) -> None:
        """``node`` gives a name another meaning; an import gives it ``thing``."""
        if name is None:
            return
        hidden = name.startswith("_" if self.in_class_body else "__") and name not in METHODS
        other = thing is None or thing is not self.names.bound.get(name)
        taken = name in DENIED and not self.is_local(name)
        if name in SPECIAL or (hidden and name != "__") or taken or (name in self.fixed and other):
            self.fault(node, name)

    def is_local(self, name: str) -> bool:
        """Whether a function that we are in has the name as its own; class bodies see past it."""
        for scope in reversed(self.scopes):
            if isinstance(scope, ast.ClassDef):
                return False
            if name in _locals(scope):
                return True
        return False

    @property
    def in_class_body(self) -> bool:
        return bool(self.scopes) and isinstance(self.scopes[-1], ast.ClassDef)

    @property
    def methods(self) -> set[str]:
        body = self.scopes[-1].body
        return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            self.bind(name, node)
            if name in DENIED or self.in_class_body:
                self.fault(node)  # a method would be a function, for any self

    visit_Nonlocal = visit_Global

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bind(node.name, node)
        self.allow(node.type)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.bind(node.name, node)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.bind(node.rest, node)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            self.reads(name, node)
        self.allow(node.cls)
        self.generic_visit(node)

    # ----------------------------------------------------------------------------- imports

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if module(alias.name) is None:
                self.fault(node)
        self._bind_imported(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == FUTURE and not node.level:
            return
        known = dict(imported(node))
        for alias in node.names:
            if alias.name == "*" or (alias.asname or alias.name) not in known:
                self.fault(node)
                return
        self._bind_imported(node)

    def _bind_imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, thing in imported(node):
            # Two imports may give one name to two functions; then neither is read as the other.
            same = self.names.bound.get(name)
            changed = same is not thing and (_is_fixed(same) or _is_fixed(thing))
            if changed or (name in OURS and thing is not getattr(module("tutor"), name, None)):
                self.fault(node)
            self.bind(name, node, thing)

    # -------------------------------------------------------------------------- attributes

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = node.value
        if isinstance(node.ctx, ast.Load):
            self.reads(node.attr, node)
            own = isinstance(owner, ast.Name) and owner.id in self.names.classes
            if own and not (node.attr == "apply" and owner.id in self.names.functions):
                self.fault(node)
        else:
            self.changes(node)
        named = _is_call(owner, "type") and node.attr == "__name__"
        if isinstance(owner, ast.Name | ast.Attribute) or _is_super(owner) or named:
            self.allow(owner)
        self.placed(node)
        self.visit(owner)

    def reads(self, name: str, node: ast.AST) -> None:
        """``node`` reads an attribute of that name."""
        owner = node.value if isinstance(node, ast.Attribute) else None
        if name.startswith("_") and name not in TELLING:
            if not (name == "__init__" and _is_super(owner)):
                self.fault(node, name)
        elif name in HIDDEN:
            self.fault(node, name)
        elif name == "forward" and not (_is_super(owner) or _is_name(owner, "self")):
            self.fault(node, name)  # it goes past what counts a model's runs
        elif name in ("format", "format_map") and not _is_simple_format(owner):
            self.fault(node, name)  # "{0.…}" reads attributes
        else:
            thing = self.names.meaning(owner)
            if isinstance(thing, ModuleType) and not has(thing, name):
                self.fault(node)

    def changes(self, node: ast.Attribute) -> None:
        """``node`` is an attribute that is set or deleted."""
        owner = node.value
        thing = self.names.meaning(owner)
        if isinstance(thing, ModuleType | type) or _is_call(owner, "type"):
            self.fault(node)
        elif _is_name(owner, "self") or _is_name(owner, "ctx"):
            if not self.is_own(owner.id) or node.attr.startswith("_"):
                self.fault(node)
        elif node.attr not in SETTABLE:
            self.fault(node)

    def is_own(self, name: str) -> bool:
        """Whether ``self`` (or ``ctx``) is the first parameter of a method that we are in."""
        for scope, around in zip(self.scopes[:0:-1], self.scopes[-2::-1], strict=True):
            if isinstance(scope, ast.ClassDef):
                return False
            if name in _locals(scope):
                first = [*scope.args.posonlyargs, *scope.args.args][:1]
                return (
                    isinstance(around, ast.ClassDef)
                    and isinstance(scope, ast.FunctionDef)
                    and [a.arg for a in first] == [name]
                    and self._stays_a_method(scope, around, name)
                )
        return False

    def _stays_a_method(self, method: ast.FunctionDef, of: ast.ClassDef, name: str) -> bool:
        decorators = [ast.unparse(d) for d in method.decorator_list]
        if name == "ctx":
            return of.name in self.names.functions and decorators == ["staticmethod"]
        return not set(decorators) - {"property", "torch.no_grad()", "torch.enable_grad()"}

    # ------------------------------------------------------------------------------- calls

    def visit_Call(self, node: ast.Call) -> None:
        self.allow(node.func)
        if self.names.meaning(node.func) is dataclass and id(node) not in self.decorators:
            self.fault(node)
        if _is_call(node.func, "getattr") and node.args and _is_list(node.args[0]):
            self.optimizers.add(id(node.func))
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name in self.names.functions:
            self.fault(node)  # an instance's forward would take any ctx
        rule = getattr(self, f"call_{name}", None) if name in SPECIAL else None
        if rule and not self.is_local(name):
            self.allowed.discard(id(node.func))
            if rule(node):
                self.allow(node.func)
        elif name in DENIED:
            self.allowed.discard(id(node.func))
        self.generic_visit(node)

    def call_getattr(self, node: ast.Call) -> bool:
        if node.keywords or len(node.args) not in (2, 3):
            return False
        owner, name, *_ = node.args
        found = self.names.meaning(owner)
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            read = ast.Attribute(owner, name.value, ast.Load(), lineno=node.lineno, col_offset=0)
            self.reads(name.value, read)
            if found is not None and not _is_fixed(self.names.meaning(read)):
                self.allow(owner)
            return name.value.isidentifier()
        # An optimiser by its name, called at once with a list: of all that torch.optim has, only
        # optimisers can be called like that.
        if id(node) in self.optimizers and found is torch.optim:
            self.allow(owner)
            return True
        return False

    call_hasattr = call_getattr

    def call_type(self, node: ast.Call) -> bool:
        plain = len(node.args) == 1 and not node.keywords
        return plain and not isinstance(node.args[0], ast.Starred) and id(node) in self.allowed

    def call_super(self, node: ast.Call) -> bool:
        return not node.args and not node.keywords and id(node) in self.allowed

    def call_isinstance(self, node: ast.Call) -> bool:
        self.allow(*node.args[1:])
        return True

    call_issubclass = call_isinstance

    def visit_Compare(self, node: ast.Compare) -> None:
        for side in (node.left, *node.comparators):
            self.allow(side)
            if isinstance(side, ast.Tuple | ast.List | ast.Set):
                self.allow(*side.elts)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        if _is_call(node.value, "type"):
            self.allow(node.value)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.allow(node.exc)
        self.generic_visit(node)

    # ------------------------------------------------------------------- functions, classes

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.bind(node.name, node)
        own = self.in_class_body and self.scopes[-1].name in self.names.functions
        if own and node.name == "apply":
            self.fault(node, node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.visit_function(node, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_function(node, [node.body])

    def visit_function(self, node: Function, body: list[ast.AST]) -> None:
        args = node.args
        everyone = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        for default in [*args.defaults, *filter(None, args.kw_defaults)]:
            self.visit(default)
        for annotation in [a.annotation for a in everyone if a and a.annotation]:
            self.annotation(annotation)
        self.annotation(getattr(node, "returns", None))
        method = self.in_class_body and isinstance(node, ast.FunctionDef)
        for place, arg in enumerate(filter(None, everyone)):
            if arg.arg in ("self", "ctx"):
                if not (method and place == 0):
                    self.fault(node, arg.arg)
            else:
                self.scopes.append(node)  # a parameter is a name of the function's own
                self.bind(arg.arg, arg)
                self.scopes.pop()
        self.scopes.append(node)
        for statement in body:
            self.visit(statement)
        self.scopes.pop()

    def annotation(self, node: ast.AST | None) -> None:
        if node is not None:
            self.allow_annotation(node)
            self.visit(node)

    def allow_annotation(self, node: ast.AST) -> None:
        """Classes may stand in an annotation, unless it hands them to something of the student's.

        Generic types are the one thing in which they may: `list[torch.Tensor]`.
        """
        if isinstance(node, ast.Subscript):
            base = node.value
            known = isinstance(base, ast.Name) and base.id not in self.names.others
            builtin = known and hasattr(builtins, base.id) and base.id not in self.names.bound
            if builtin or (known and base.id in self.names.bound):
                self.allow_annotation(node.slice)
        elif isinstance(node, ast.Tuple | ast.List):
            for part in node.elts:
                self.allow_annotation(part)
        else:
            self.allow(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.annotation(node.annotation)
        self.visit(node.target)
        if node.value:
            self.visit(node.value)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.keywords or node.name in OURS or node.name in self.names.bound:
            self.fault(node, f"class {node.name}")
        if any(not self.is_base(base) for base in node.bases):
            self.fault(node, f"class {node.name}({', '.join(map(ast.unparse, node.bases))})")
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if self.names.meaning(called) is dataclass:
                self.allow(called)
                self.decorators.add(id(decorator))
            else:
                self.fault(decorator)
        self.allow(*node.bases)
        for part in [*node.bases, *node.decorator_list]:
            self.visit(part)
        self.scopes.append(node)
        for statement in node.body:
            if not isinstance(statement, IN_CLASSES):
                self.fault(statement)
            self.visit(statement)
        self.scopes.pop()

    def is_base(self, node: ast.expr) -> bool:
        """Whether one may derive from it: tensors of one's own could say anything."""
        if isinstance(node, ast.Name) and node.id in self.names.classes:
            return True
        thing = self.names.meaning(node)
        if thing is None and isinstance(node, ast.Name):
            thing = getattr(builtins, node.id, None)
            return isinstance(thing, type) and (thing is object or issubclass(thing, Exception))
        if not isinstance(thing, type):
            return getattr(thing, "__name__", "") == "NamedTuple"
        return issubclass(thing, torch.nn.Module | torch.autograd.Function | Exception)

    # ------------------------------------------------------------------------------ others

    def visit_AsyncFunctionDef(self, node: ast.AST) -> None:
        self.fault(node, "async")

    visit_AsyncFor = visit_AsyncWith = visit_Await = visit_AsyncFunctionDef


@cache
def _locals(function: Function) -> frozenset[str]:
    """The names that belong to a function: its parameters and what its own body binds."""
    args = function.args
    everyone = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    found, elsewhere = {a.arg for a in everyone if a}, set()
    queue = list(function.body) if isinstance(function, ast.FunctionDef) else []
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere |= set(node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        if not isinstance(node, Function | ast.ClassDef | Comprehension):
            queue += ast.iter_child_nodes(node)
    return frozenset(found - elsewhere)


def _is_name(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_call(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Call) and _is_name(node.func, name)


def _is_list(node: ast.AST) -> bool:
    return isinstance(node, ast.List | ast.ListComp)


def _is_super(node: ast.AST | None) -> bool:
    return _is_call(node, "super")


def _is_simple_format(node: ast.AST | None) -> bool:
    """Whether it is a text whose fields are bare: "{}", "{0}", "{name:.3f}"."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    try:
        fields = [(name, spec) for _, name, spec, _ in Formatter().parse(node.value) if name]
        specs = [spec or "" for _, _, spec, _ in Formatter().parse(node.value)]
    except ValueError:
        return False
    bare = all(name.isidentifier() or name.isdigit() for name, _ in fields)
    return bare and not any("{" in spec for spec in specs)
