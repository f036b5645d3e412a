"""Small automatic mutations of a solution: a sign, a factor, an axis, a dropped call, a flag."""

import ast
import copy
from collections.abc import Iterator

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.MatMult: ast.Mult,
}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
# Calls of a method that may be left out: x.detach() → x.
DROPPED = {
    "detach",
    "clone",
    "contiguous",
    "reshape",
    "flatten",
    "requires_grad_",
    "sum",
    "t",
    "to",
}


def mutate(source: str) -> Iterator[tuple[str, str]]:
    """Yield (description, mutated source) for each single change to the functions in ``source``.

    A description names the line and the change, "line 9: retain_graph=True → False", and is what
    EQUIVALENT in `grading.misconceptions` lists. Two changes of the same description in one line
    are told apart by a number.
    """
    tree = ast.parse(source)
    seen: dict[str, int] = {}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for path in list(_paths(function)):
            for what, changed in _changes(_at(function, path)):
                line = getattr(_at(function, path), "lineno", function.lineno)
                text = f"line {line}: {what}"
                seen[text] = seen.get(text, 0) + 1
                if seen[text] > 1:
                    text += f" ({seen[text]})"
                yield text, _replace(tree, function, path, changed)


def _paths(function: ast.FunctionDef) -> Iterator[tuple]:
    """Paths of fields to every node in the function's body but its docstring and inner functions.

    Inner functions are left out because `ast.walk` in `mutate` visits them in their own right.
    """
    has_docstring = ast.get_docstring(function) is not None
    stack = [(("body", i),) for i in range(int(has_docstring), len(function.body))]
    while stack:
        path = stack.pop(0)
        node = _at(function, path)
        yield path
        if isinstance(node, ast.FunctionDef):
            continue
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.AST):
                stack.append((*path, (field, None)))
            elif isinstance(value, list):
                stack += [
                    (*path, (field, i)) for i, v in enumerate(value) if isinstance(v, ast.AST)
                ]


def _at(node: ast.AST, path: tuple) -> ast.AST:
    for field, index in path:
        value = getattr(node, field)
        node = value if index is None else value[index]
    return node


def _replace(tree: ast.AST, function: ast.FunctionDef, path: tuple, changed: ast.AST) -> str:
    twin = copy.deepcopy(tree)
    here = next(
        node
        for node in ast.walk(twin)
        if isinstance(node, ast.FunctionDef)
        and (node.lineno, node.name) == (function.lineno, function.name)
    )
    parent, (field, index) = _at(here, path[:-1]), path[-1]
    if index is None:
        setattr(parent, field, changed)
    else:
        getattr(parent, field)[index] = changed
    return ast.unparse(ast.fix_missing_locations(twin))


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Each mutation of this one node, with its description."""

    def change(new: ast.AST) -> tuple[str, ast.AST]:
        return f"{_short(node)} → {_short(new)}", new

    match node:
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            yield change(ast.BinOp(node.left, OPERATORS[type(op)](), node.right))
            if isinstance(op, ast.MatMult):
                yield change(ast.BinOp(node.right, op, node.left))
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield change(ast.Compare(node.left, [COMPARISONS[type(op)]()], node.comparators))
        case ast.BoolOp(op=op):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield change(ast.BoolOp(other, node.values))
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield change(node.operand)
        case ast.Constant(value=bool(value)):
            yield change(ast.Constant(not value))
        case ast.Constant(value=int(value)):
            yield change(ast.Constant(value + 1))
        case ast.Constant(value=float(value)):
            yield change(ast.Constant(value * 2))
        case ast.Call(func=ast.Attribute(value=target, attr=name)) if name in DROPPED:
            if _short(target) != "torch":
                yield change(target)
        case ast.Return(value=ast.expr() as value):
            yield from _returned(value)
    if isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            kept = node.keywords[:i] + node.keywords[i + 1 :]
            new = ast.Call(node.func, node.args, kept)
            yield f"{_short(node.func)}: no {_short(keyword)}", new
        if len(node.args) == 2 and not any(isinstance(a, ast.Starred) for a in node.args):
            yield change(ast.Call(node.func, node.args[::-1], node.keywords))
    if isinstance(node, ast.If):
        yield f"if {_short(node.test)}: never", ast.If(ast.Constant(False), node.body, node.orelse)
        yield f"if {_short(node.test)}: always", ast.If(ast.Constant(True), node.body, node.orelse)
    if isinstance(node, ast.IfExp):
        yield change(node.body)
        yield change(node.orelse)


def _returned(value: ast.expr) -> Iterator[tuple[str, ast.AST]]:
    """Mutations of what a function returns: negated, doubled, None; each item of a tuple too."""
    items = value.elts if isinstance(value, ast.Tuple) else [value]
    for i, item in enumerate(items):
        for new in (
            ast.UnaryOp(ast.USub(), item),
            ast.BinOp(ast.Constant(2), ast.Mult(), item),
            ast.Constant(None),
        ):
            if isinstance(value, ast.Tuple):
                elements = [*items[:i], new, *items[i + 1 :]]
                returned: ast.expr = ast.Tuple(elements, ast.Load())
            else:
                returned = new
            yield f"return {_short(new)} for {_short(item)}", ast.Return(returned)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 60 else text[:59] + "…"
