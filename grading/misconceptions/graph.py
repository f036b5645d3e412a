"""Answers to assignment 01: the wrong ones that people give, and right ones unlike the source's."""

import re

import torch
from torch.autograd.graph import get_gradient_edge

from tutor.probes.graph import OPERATIONS

from . import alternative, misconception

# ------------------------------------------------------------------------------ predict_flags


def _made(steps, kept):
    """All tensors of a program by name, after the backward pass from the last."""
    made = {}
    for name, operation, *sources in steps:
        made[name] = OPERATIONS[operation](*(made[s] for s in sources))
    for name in kept:
        made[name].retain_grad()
    if made[steps[-1][0]].requires_grad:
        made[steps[-1][0]].sum().backward()
    return made


def _flags(made):
    return {name: (t.is_leaf, t.requires_grad, t.grad is not None) for name, t in made.items()}


def _rules(steps, kept=(), plain=(), cutting=(), in_place=(), late=False):
    """The flags by rules alone; nothing is run.

    plain, cutting, in_place: operations taken for ordinary ones, for cuts, or for ones that
    return their source, though they are not. late: whether a flag switched on late still counts.
    """
    cuts = {"with torch.no_grad(): a * b", "a.detach()", "a > b", "a.argmax()"} | {*cutting}
    things, of = [], {}
    for name, operation, *sources in steps:
        below = [of[s] for s in sources]
        thing = {"leaf": True, "needs": False, "below": [], "double": True}
        if operation in plain:
            operation = "ordinary"
        if operation == "a.requires_grad_()":
            thing = below[0]
            thing["needs"] = True
        elif operation in in_place or operation == "a.double()" and below[0]["double"]:
            thing = below[0]
        elif not sources:
            thing["needs"] = "requires_grad" in operation and operation not in cutting
        elif operation == "nn.Parameter(a)":
            thing["needs"] = True
        elif operation not in cuts:
            thing["below"] = [t for t in below if t["needs"] or late]
            thing["needs"] = any(t["needs"] for t in below)
            thing["leaf"] = not thing["needs"]
        if operation == "a.float()":
            thing["double"] = False
        things.append(thing)
        of[name] = thing
    waiting, reached = [of[steps[-1][0]]], []
    while waiting:
        thing = waiting.pop()
        if thing["needs"]:
            reached.append(thing)
            waiting += thing["below"]

    def filled(name):
        leaf = of[name]["leaf"] or any(of[k] is of[name] for k in kept)
        return leaf and any(thing is of[name] for thing in reached)

    return {name: (of[name]["leaf"], of[name]["needs"], filled(name)) for name in of}


@alternative("predict_flags")
def rules_alone(steps, kept=()):
    return _rules(steps, kept)


@alternative("predict_flags")
def asked_by_grad(steps, kept=()):
    made, last = {}, steps[-1][0]
    for name, operation, *sources in steps:
        made[name] = OPERATIONS[operation](*[made[s] for s in sources])
    tracked = {name: t for name, t in made.items() if t.requires_grad}
    found = {}
    if last in tracked:
        ends = torch.autograd.grad(made[last].sum(), list(tracked.values()), allow_unused=True)
        found = dict(zip(tracked, ends, strict=True))
    storing = [t for name, t in made.items() if t.is_leaf or name in kept]
    return {
        name: (
            t.grad_fn is None,
            t.requires_grad,
            found.get(name) is not None and any(t is one for one in storing),
        )
        for name, t in made.items()
    }


@misconception(
    "predict_flags",
    zh="你认为算出来的都不是叶子：看看只由数据算出来的张量，它不需要梯度。",
    en="You take it that nothing computed is a leaf: look at a tensor computed from data alone, "
    "which requires no gradient.",
)
def computed_is_no_leaf(steps, kept=()):
    flags, made_of = _rules(steps, kept), {name: sources for name, _, *sources in steps}
    return {name: (not made_of[name], needs, has) for name, (_, needs, has) in flags.items()}


@misconception(
    "predict_flags",
    zh="你认为叶子一定需要梯度：数据不需要梯度，它是不是叶子？看看 is_leaf 一项。",
    en="You take it that a leaf must require a gradient: data requires none; is it a leaf? Look "
    "at the line on is_leaf.",
)
def leaves_require_gradients(steps, kept=()):
    flags = _rules(steps, kept)
    return {name: (leaf and needs, needs, has) for name, (leaf, needs, has) in flags.items()}


@misconception(
    "predict_flags",
    zh="你让每个需要梯度的张量都有 .grad：中间结果也需要梯度，可是默认不给它们存。",
    en="You give a .grad to all that require a gradient: intermediate results do too, but by "
    "default nothing is stored for them.",
)
def all_that_require_get_one(steps, kept=()):
    return {name: (leaf, needs, needs) for name, (leaf, needs, _) in _rules(steps).items()}


@misconception(
    "predict_flags",
    zh="你只看标志：需要梯度的叶子还得在最后那个张量的图里，看看没有用到的和岔出去的那一个。",
    en="You look at flags only: a leaf that requires a gradient must also be in the graph of the "
    "last tensor; look at the unused one and the one aside.",
)
def flags_are_enough(steps, kept=()):
    return {name: (leaf, needs, leaf and needs) for name, (leaf, needs, _) in _rules(steps).items()}


@misconception(
    "predict_flags",
    zh="你从每个张量都反向传播了一次：题目只从最后一步的张量出发，岔出去的那一支不算。",
    en="You went backwards from every tensor: the task starts from that of the last step only, and "
    "what branches off does not count.",
)
def backward_from_every_tensor(steps, kept=()):
    made = {}
    for name, operation, *sources in steps:
        made[name] = OPERATIONS[operation](*(made[s] for s in sources))
    for name in kept:
        made[name].retain_grad()
    for t in made.values():
        if t.grad_fn is not None or t is made[steps[-1][0]] and t.requires_grad:
            t.sum().backward(retain_graph=True)
    return _flags(made)


@misconception(
    "predict_flags",
    zh="你给图里的数据也填了 .grad：通向它的边是 None，因为它不需要梯度。",
    en="You gave a .grad to data in the computation too: the edge to it is None, because it "
    "requires no gradient.",
)
def data_gets_one_too(steps, kept=()):
    flags, made_of = _rules(steps, kept), {name: sources for name, _, *sources in steps}
    used, waiting = set(), [steps[-1][0]] if flags[steps[-1][0]][1] else []
    while waiting:
        name = waiting.pop()
        used.add(name)
        waiting += made_of[name]
    return {
        name: (leaf, needs, has or leaf and not needs and name in used)
        for name, (leaf, needs, has) in flags.items()
    }


@misconception(
    "predict_flags",
    zh="你在反向传播之前就读了标志：那时谁也没有 .grad。",
    en="You read the flags before the backward pass: at that time nobody has a .grad.",
)
def read_too_early(steps, kept=()):
    return {name: (leaf, needs, False) for name, (leaf, needs, _) in _rules(steps).items()}


@misconception(
    "predict_flags",
    zh="你让 requires_grad 穿过了一切运算：no_grad、detach、比较和 argmax 的结果并不需要梯度。",
    en="You let requires_grad pass through every operation: what comes from no_grad, detach, "
    "comparisons and argmax requires none.",
)
def spreads_through_everything(steps, kept=()):
    no_grad = "with torch.no_grad(): a * b"
    return _rules(steps, kept, plain=[no_grad, "a.detach()", "a > b", "a.argmax()"])


@misconception(
    "predict_flags",
    zh="你让比较和 argmax 的结果也需要梯度：布尔值和整数没有梯度可言。",
    en="You let comparisons and argmax pass requires_grad on: booleans and integers have no "
    "gradients.",
)
def booleans_and_integers_require(steps, kept=()):
    return _rules(steps, kept, plain=["a > b", "a.argmax()"])


@misconception(
    "predict_flags",
    zh="no_grad 里面的运算不被记录：来源需要梯度，结果也不需要。",
    en="Operations inside no_grad are not recorded: the result requires no gradient, even where a "
    "source does.",
)
def no_grad_overlooked(steps, kept=()):
    return _rules(steps, kept, plain=["with torch.no_grad(): a * b"])


@misconception(
    "predict_flags",
    zh="你让梯度穿过了 detach：它的结果不需要梯度，前面的张量从这条路上什么也收不到。",
    en="You let gradients through detach: its result requires none, and what comes before gets "
    "nothing on this path.",
)
def detach_overlooked(steps, kept=()):
    return _rules(steps, kept, plain=["a.detach()"])


@misconception(
    "predict_flags",
    zh="你认为 clone 像 detach 一样切断了图：复制也是一种运算，看看 clone 之前的张量。",
    en="You take it that clone cuts the graph, as detach does: copying is an operation; look at "
    "what comes before a clone.",
)
def clone_cuts(steps, kept=()):
    return _rules(steps, kept, cutting=["a.clone()"])


@misconception(
    "predict_flags",
    zh="no_grad 管的是运算，不管直接造出来的张量：看看在它里面用 requires_grad=True 造的那一个。",
    en="no_grad is about operations, not about tensors made directly: look at the one made inside "
    "it with requires_grad=True.",
)
def nothing_requires_inside_no_grad(steps, kept=()):
    return _rules(steps, kept, cutting=["with torch.no_grad(): torch.rand(3, requires_grad=True)"])


@misconception(
    "predict_flags",
    zh="nn.Parameter(a) 造的是一个新的叶子：梯度停在它那里，到不了 a。",
    en="nn.Parameter(a) makes a new leaf: gradients end there and do not reach a.",
)
def parameter_is_an_operation(steps, kept=()):
    return _rules(steps, kept, plain=["nn.Parameter(a)"])


@misconception(
    "predict_flags",
    zh="你认为 a.float() 还是那个叶子：float64 变成 float32 是一种运算，结果不是叶子。",
    en="You take a.float() for the same leaf: from float64 to float32 is an operation, and its "
    "result is no leaf.",
)
def float_is_the_same_tensor(steps, kept=()):
    return _rules(steps, kept, in_place=["a.float()"])


@misconception(
    "predict_flags",
    zh="你认为 a.double() 总是运算：a 已经是 float64 时，返回的是谁？",
    en="You take a.double() for an operation always: where a is float64 already, what is returned?",
)
def double_is_always_new(steps, kept=()):
    return _rules(steps, kept, plain=["a.double()"])


@misconception(
    "predict_flags",
    zh="你让太迟的 requires_grad_() 也生了效：在它之前算好的结果，边早已定下来了。",
    en="You let a late requires_grad_() take effect: in results computed before it the edges were "
    "settled already.",
)
def late_is_in_time(steps, kept=()):
    return _rules(steps, kept, late=True)


@misconception(
    "predict_flags",
    zh="你认为 requires_grad_() 返回新的张量：它改的是来源自己，两个名字是同一个对象。",
    en="You take it that requires_grad_() returns a new tensor: it changes its source itself, and "
    "the two names are one object.",
)
def switched_on_in_a_copy(steps, kept=()):
    steps = [(n, op.replace("a.requires_grad_()", "nn.Parameter(a)"), *s) for n, op, *s in steps]
    return _rules(steps, kept)


@misconception(
    "predict_flags",
    zh="你没有理会 kept：在反向传播之前调用过 retain_grad 的中间结果也有 .grad。",
    en="You paid no heed to kept: an intermediate result that has called retain_grad before the "
    "backward pass has a .grad too.",
)
def retain_grad_forgotten(steps, kept=()):
    return _rules(steps)


@misconception(
    "predict_flags",
    zh="retain_grad 只是请求保留：没有梯度经过的张量，保留下来的还是 None。",
    en="retain_grad only asks to keep what comes by: where no gradient comes, it stays None.",
)
def kept_whatever_happens(steps, kept=()):
    flags = _rules(steps, kept)
    return {name: (*flags[name][:2], flags[name][2] or name in kept) for name in flags}


@misconception(
    "predict_flags",
    zh="最后的张量没有计算图时，你的函数报错：题目说这时不做反向传播。",
    en="Your function fails when the last tensor has no graph: the task says that there is no "
    "backward pass then.",
)
def backward_regardless(steps, kept=()):
    made = {}
    for name, operation, *sources in steps:
        made[name] = OPERATIONS[operation](*(made[s] for s in sources))
    for name in kept:
        made[name].retain_grad()
    made[steps[-1][0]].sum().backward()
    return _flags(made)


# --------------------------------------------------------------------------------- walk_graph


def _root(out):
    return get_gradient_edge(out).node


def _below(node):
    return [(child, number) for child, number in node.next_functions if child is not None]


def _all_nodes(out):
    """Every node of the graph of ``out`` once, nearest first."""
    found = dict.fromkeys([_root(out)] if out.requires_grad else [])
    waiting = list(found)
    while waiting:
        new = [child for node in waiting for child, _ in _below(node) if child not in found]
        waiting = list(dict.fromkeys(new))
        found |= dict.fromkeys(waiting)
    return list(found)


@alternative("walk_graph")
def nodes_then_edges(out):
    nodes = _all_nodes(out)
    number = {node: i for i, node in enumerate(nodes)}
    edges = [(number[n], number[child], k) for n in nodes for child, k in _below(n)]
    return [node.name() for node in nodes], edges


@alternative("walk_graph")
def depth_first_with_a_stack(out):
    if out.grad_fn is None:
        return ([get_gradient_edge(out).node.name()] if out.requires_grad else []), []
    order, stack, edges = {out.grad_fn: 0}, [out.grad_fn], []
    while stack:
        node = stack.pop()
        for child, k in node.next_functions:
            if child is not None:
                if child not in order:
                    order[child] = len(order)
                    stack.append(child)
                edges.append((order[node], order[child], k))
    return [type(node).__name__ for node in order], edges


@alternative("walk_graph")
def leaves_first(out):
    nodes = _all_nodes(out)[::-1]
    edges = [
        (i, nodes.index(child), k) for i, node in enumerate(nodes) for child, k in _below(node)
    ]
    return [node.name() for node in nodes], edges[::-1]


@misconception(
    "walk_graph",
    zh="你照 S4-8 走了每一条路：同一个节点到达几次就写了几次，看看 h * h。",
    en="You went every path, as S4-8 says: a node is written down as often as it is reached; look "
    "at h * h.",
)
def every_path_by_itself(out):
    nodes, edges = [], []
    waiting = [(_root(out), None, 0)] if out.requires_grad else []
    while waiting:
        node, above, k = waiting.pop()
        nodes.append(node.name())
        if above is not None:
            edges.append((above, len(nodes) - 1, k))
        waiting += [(child, len(nodes) - 1, k) for child, k in _below(node)]
    return nodes, edges


@misconception(
    "walk_graph",
    zh="结果去掉了重复，走的路却还是每条都走：层数每多一层，时间就加倍。",
    en="The doubles are gone from the result, but you still go every path: each level more takes "
    "twice the time.",
)
def doubles_removed_afterwards(out):
    nodes, edges = {}, {}
    waiting = [_root(out)] if out.requires_grad else []
    while waiting:
        node = waiting.pop()
        nodes.setdefault(node, len(nodes))
        edges[node] = _below(node)
        waiting += [child for child, _ in edges[node]]
    joints = [(nodes[n], nodes[child], k) for n in nodes for child, k in edges[n]]
    return [node.name() for node in nodes], joints


@misconception(
    "walk_graph",
    zh="你用了递归：图深两千层，Python 不许函数嵌套这么多次。",
    en="You used recursion: the graph is two thousand levels deep, and Python does not let calls "
    "nest so deeply.",
)
def recursion(out):
    nodes, edges = {}, []

    def visit(node):
        nodes[node] = len(nodes)
        for child, k in _below(node):
            if child not in nodes:
                visit(child)
            edges.append((nodes[node], nodes[child], k))

    if out.requires_grad:
        visit(_root(out))
    return [node.name() for node in nodes], edges


@misconception(
    "walk_graph",
    zh="你用名字来认节点：两次乘法是两个节点，名字却相同。",
    en="You tell nodes by their names: two multiplications are two nodes with the same name.",
)
def nodes_by_name(out):
    nodes = list(dict.fromkeys(node.name() for node in _all_nodes(out)))
    edges = [
        (nodes.index(node.name()), nodes.index(child.name()), k)
        for node in _all_nodes(out)
        for child, k in _below(node)
    ]
    return nodes, edges


@misconception(
    "walk_graph",
    zh="节点都对，边却按名字去找：同名的节点总是找到第一个。",
    en="The nodes are right, but you find the ends of edges by name: of nodes with the same name "
    "that is always the first.",
)
def edges_by_name(out):
    nodes, edges = nodes_then_edges(out)
    return nodes, [(nodes.index(nodes[i]), nodes.index(nodes[j]), k) for i, j, k in edges]


@misconception(
    "walk_graph",
    zh="你把边放进了集合：h * h 有两条边通向同一处，你只留下了一条。",
    en="You put edges into a set: of h * h two edges lead to the same place, and you kept one.",
)
def parallel_edges_merged(out):
    nodes, edges = nodes_then_edges(out)
    return nodes, sorted(set(edges))


@misconception(
    "walk_graph",
    zh="你只记下通向新节点的边：通向见过的节点的边也是边。",
    en="You write down edges to new nodes only: an edge to a node that you have seen is an edge "
    "too.",
)
def edges_to_new_nodes_only(out):
    nodes, edges = nodes_then_edges(out)
    first = {}
    for edge in edges:
        first.setdefault(edge[1], edge)
    return nodes, list(first.values())


@misconception(
    "walk_graph",
    zh="不需要梯度的输入，边是 (None, 0)：你没有跳过它。",
    en="For an input that requires no gradient the edge is (None, 0): you did not pass over it.",
)
def none_not_skipped(out):
    nodes, edges = [_root(out)] if out.requires_grad else [], []
    for i, node in enumerate(nodes):
        for child, k in node.next_functions:
            if child not in nodes:
                nodes.append(child)
            edges.append((i, nodes.index(child), k))
    return [node.name() for node in nodes], edges


@misconception(
    "walk_graph",
    zh="你在叶子之前停下了：AccumulateGrad 也是节点，通向它的边也算。",
    en="You stopped in front of the leaves: AccumulateGrad is a node too, and so are edges to it "
    "edges.",
)
def without_the_leaves(out):
    nodes = [node for node in _all_nodes(out) if not hasattr(node, "variable")]
    number = {node: i for i, node in enumerate(nodes)}
    edges = [(number[n], number[c], k) for n in nodes for c, k in _below(n) if c in number]
    return [node.name() for node in nodes], edges


@misconception(
    "walk_graph",
    zh="少了第一个节点：out 自己的 grad_fn 也在图里。",
    en="The first node is missing: the grad_fn of out is in the graph too.",
)
def without_the_first(out):
    nodes, edges = nodes_then_edges(out)
    return nodes[1:], [(i - 1, j - 1, k) for i, j, k in edges if i]


@misconception(
    "walk_graph",
    zh="你只沿着 next_functions[0] 走：运算有几个输入，就有几条边。",
    en="You go along next_functions[0] only: an operation has as many edges as inputs.",
)
def first_input_only(out):
    nodes, edges = [_root(out)] if out.requires_grad else [], []
    while nodes and _below(nodes[-1]):
        child, k = _below(nodes[-1])[0]
        edges.append((len(nodes) - 1, len(nodes), k))
        nodes.append(child)
    return [node.name() for node in nodes], edges


@misconception(
    "walk_graph",
    zh="边上的第二个数不是“第几个输入”：看看 unbind，一个节点有好几个输出。",
    en="The second number of an edge is not “which input”: look at unbind, where one node has "
    "several outputs.",
)
def numbers_of_inputs(out):
    nodes = _all_nodes(out)
    number = {node: i for i, node in enumerate(nodes)}
    edges = [
        (number[node], number[child], k)
        for node in nodes
        for k, (child, _) in enumerate(node.next_functions)
        if child is not None
    ]
    return [node.name() for node in nodes], edges


@misconception(
    "walk_graph",
    zh="你给每条边都写了 0：有好几个输出的节点，边上的数才分得清是哪一个。",
    en="You wrote 0 for every edge: where a node has several outputs, the number tells which.",
)
def numbers_left_out(out):
    nodes, edges = nodes_then_edges(out)
    return nodes, [(i, j, 0) for i, j, _ in edges]


@misconception(
    "walk_graph",
    zh="你的边方向反了：题目要的 (i, j, k) 从结果指向来源，与 next_functions 一致。",
    en="Your edges point the other way: the task wants (i, j, k) from the result to its source, as "
    "next_functions has it.",
)
def edges_reversed(out):
    nodes, edges = nodes_then_edges(out)
    return nodes, [(j, i, k) for i, j, k in edges]


@misconception(
    "walk_graph",
    zh="叶子没有 grad_fn：out 自己是叶子时，你的函数从 None 出发。",
    en="A leaf has no grad_fn: where out is a leaf itself, your function starts from None.",
)
def starts_from_grad_fn(out):
    name = out.grad_fn.name()
    nodes, edges = nodes_then_edges(out)
    return [name, *nodes[1:]], edges


@misconception(
    "walk_graph",
    zh="out 自己是叶子时，你说图是空的：它有一个节点，课文第 2 节找到过它。",
    en="Where out is a leaf itself, you say that the graph is empty: it has one node, which "
    "section 2 of the lesson has found.",
)
def no_graph_for_a_leaf(out):
    return nodes_then_edges(out) if out.grad_fn is not None else ([], [])


@misconception(
    "walk_graph",
    zh="out 没有计算图时，你的函数报错：题目这时要两个空的列表。",
    en="Your function fails where out has no graph: the task wants two empty lists then.",
)
def fails_without_a_graph(out):
    get_gradient_edge(out)
    return nodes_then_edges(out)


@misconception(
    "walk_graph",
    zh="走过太多节点之后你就停下了：draw 只画 200 个，题目要走两千层。",
    en="You stop after so many nodes: draw shows 200, but the task asks for two thousand levels.",
)
def read_off_a_drawing(out):
    from tutor import draw

    if not out.requires_grad:
        return [], []
    drawn = draw(out)
    ends = [i for i, kind in enumerate(drawn._kinds) if kind == "leaf"]
    names = [("AccumulateGrad" if i in ends else n) for i, n in enumerate(drawn.nodes)]
    return names[1:], [(i - 1, j - 1, k) for i, j, k in drawn.edges if i]


# ---------------------------------------------------------------------------------- leaves_of


@alternative("leaves_of")
def level_by_level(out):
    return [node.variable for node in _all_nodes(out) if hasattr(node, "variable")]


@alternative("leaves_of")
def told_apart_by_id(out):
    if out.is_leaf:
        return [out] if out.requires_grad else []
    seen, queue, found = {out.grad_fn}, [out.grad_fn], {}
    for node in queue:
        if type(node).__name__ == "AccumulateGrad":
            found[id(node.variable)] = node.variable
        fresh = [child for child, _ in node.next_functions if child and child not in seen]
        queue.extend(dict.fromkeys(fresh))
        seen.update(fresh)
    return list(found.values())


@alternative("leaves_of")
def set_of_tensors(out):
    return {node.variable for node in _all_nodes(out) if not node.next_functions}


@misconception(
    "leaves_of",
    zh="同一个叶子出现了几次：它被用了几次，你就写了几次。",
    en="One leaf comes several times: you wrote it down as often as it is used.",
)
def once_for_each_use(out):
    if out.is_leaf:
        return [out] if out.requires_grad else []
    uses = [child for node in _all_nodes(out) for child, _ in _below(node)]
    return [child.variable for child in uses if hasattr(child, "variable")]


@misconception(
    "leaves_of",
    zh="你用 == 去比较张量：`in` 比的是数值，不是身份，看看数值相同的叶子。",
    en="You compare tensors with ==: `in` is about numbers, not about identity; look at leaves "
    "with the same numbers.",
)
def compared_by_in(out):
    leaves = []
    for node in _all_nodes(out):
        if hasattr(node, "variable") and node.variable not in leaves:
            leaves.append(node.variable)
    return leaves


@misconception(
    "leaves_of",
    zh="你把数值相同的两个叶子当成了一个：它们是两个张量，各有各的 .grad。",
    en="You took two leaves with the same numbers for one: they are two tensors, each with a .grad "
    "of its own.",
)
def equal_numbers_merged(out):
    leaves = []
    for leaf in level_by_level(out):
        if not any(leaf.dtype == one.dtype and torch.equal(leaf, one) for one in leaves):
            leaves.append(leaf)
    return leaves


@misconception(
    "leaves_of",
    zh="你返回的是副本：数值一样，却不是那个张量，它的 .grad 不会被填上。",
    en="You return copies: the same numbers, but not that tensor, and nobody fills their .grad.",
)
def copies(out):
    return [leaf.detach().clone().requires_grad_() for leaf in level_by_level(out)]


@misconception(
    "leaves_of",
    zh="你返回的是终点 AccumulateGrad，不是叶子：张量在它的一个属性里。",
    en="You return the termini, AccumulateGrad, and not the leaves: an attribute of each has the "
    "tensor.",
)
def termini(out):
    return [node for node in _all_nodes(out) if hasattr(node, "variable")]


@misconception(
    "leaves_of",
    zh="你只沿着第一个输入走：另一些输入后面的叶子都漏了。",
    en="You go along the first input only: the leaves behind the other inputs are missing.",
)
def leaves_of_first_inputs(out):
    if out.is_leaf:
        return [out] if out.requires_grad else []
    node = out.grad_fn
    while _below(node):
        node = _below(node)[0][0]
    return [node.variable]


@misconception(
    "leaves_of",
    zh="你只看了 out 的下一层：隔着几步的叶子也是它的叶子。",
    en="You look one level below out only: leaves several steps away are its leaves too.",
)
def one_level_only(out):
    if out.is_leaf:
        return [out] if out.requires_grad else []
    below = dict.fromkeys(child for child, _ in _below(out.grad_fn))
    return [child.variable for child in below if hasattr(child, "variable")]


@misconception(
    "leaves_of",
    zh="你把节点保存的张量也算了进去：数据和中间结果会被保存，却不是图里的叶子。",
    en="You count what nodes have saved: data and intermediate results are saved too, and are no "
    "leaves of the graph.",
)
def saved_tensors_too(out):
    found = {id(leaf): leaf for leaf in level_by_level(out)}
    for node in _all_nodes(out):
        for name in ("_saved_self", "_saved_other", "_saved_mat2"):
            tensor = getattr(node, name, None)
            if isinstance(tensor, torch.Tensor) and tensor.is_leaf:
                found[id(tensor)] = tensor
    return list(found.values())


@misconception(
    "leaves_of",
    zh="out 自己是叶子时，你什么也没有返回：它的图里有一个叶子，就是它自己。",
    en="Where out is a leaf itself, you return nothing: its graph has one leaf, itself.",
)
def nothing_for_a_leaf(out):
    return level_by_level(out) if out.grad_fn is not None else []


@misconception(
    "leaves_of",
    zh="叶子没有 grad_fn：out 是叶子或者数据时，你的函数从 None 出发。",
    en="A leaf has no grad_fn: where out is a leaf or data, your function starts from None.",
)
def leaves_from_grad_fn(out):
    return level_by_level(out) if out.grad_fn.next_functions else []


@misconception(
    "leaves_of",
    zh="out 没有计算图时，你的函数报错：题目这时要一个空的列表。",
    en="Your function fails where out has no graph: the task wants an empty list then.",
)
def leaves_need_a_graph(out):
    get_gradient_edge(out)
    return level_by_level(out)


@misconception(
    "leaves_of",
    zh="is_leaf 是 True 就返回它：数据也是叶子，却不在任何图里。",
    en="You return whatever says is_leaf: data is a leaf too, and in no graph.",
)
def any_leaf_will_do(out):
    return [out] if out.is_leaf else level_by_level(out)


@misconception(
    "leaves_of",
    zh="你用了递归：两千层的图会让 Python 报错。",
    en="You used recursion: a graph of two thousand levels is too deep for Python.",
)
def leaves_by_recursion(out):
    seen, leaves = set(), []

    def visit(node):
        seen.add(node)
        leaves.extend([node.variable] if hasattr(node, "variable") else [])
        for child, _ in _below(node):
            if child not in seen:
                visit(child)

    if out.requires_grad:
        visit(_root(out))
    return leaves


@misconception(
    "leaves_of",
    zh="你还是走遍了每一条路，只是最后去掉了重复：层数一多就走不完。",
    en="You still go every path and remove the doubles at the end: with more levels it takes for "
    "ever.",
)
def every_path_to_a_leaf(out):
    found, waiting = {}, [_root(out)] if out.requires_grad else []
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found[node] = node.variable
        waiting += [child for child, _ in _below(node)]
    return list(found.values())


@misconception(
    "leaves_of",
    zh="你先反向传播，再看谁有了 .grad：这改了 .grad，也释放了图里被保存的张量。",
    en="You make a backward pass and look who has a .grad: that changes .grad, and frees what the "
    "graph has saved.",
)
def found_by_backward(out):
    if out.requires_grad:
        out.sum().backward()
    return [leaf for leaf in level_by_level(out) if leaf.grad is not None]


@misconception(
    "leaves_of",
    zh="你按现在有没有 .grad 来挑：还没有反向传播过的叶子也是叶子。",
    en="You choose by whether there is a .grad now: leaves that have seen no backward pass yet are "
    "leaves too.",
)
def with_a_gradient_already(out):
    return [leaf for leaf in level_by_level(out) if leaf.grad is not None]


# --------------------------------------------------------------------------- intermediate_grads


def _tracked(steps):
    return {name: t for name, t in steps.items() if t.requires_grad}


def _grads(loss, steps, **options):
    """{name: gradient}; None where there is no path."""
    options = {"retain_graph": True, "allow_unused": True} | options
    found, tracked = dict.fromkeys(steps), _tracked(steps)
    if loss.requires_grad and tracked:
        grads = torch.autograd.grad(loss, [*tracked.values()], **options)
        found.update(zip(tracked, grads, strict=True))
    return found


@alternative("intermediate_grads")
def grad_with_a_dictionary(loss, steps):
    tracked = _tracked(steps)
    if not tracked or not loss.requires_grad:
        return dict.fromkeys(steps)
    found = torch.autograd.grad(loss, tracked, allow_unused=True, retain_graph=True)
    return {name: found.get(name) for name in steps}


@alternative("intermediate_grads")
def hooks_and_grad(loss, steps):
    seen, tracked = {}, _tracked(steps)
    if loss.requires_grad and tracked:
        handles = [t.register_hook(lambda g, n=n: seen.update({n: g})) for n, t in tracked.items()]
        ends = list({id(t): t for t in tracked.values()}.values())
        torch.autograd.grad(loss, ends, retain_graph=True, allow_unused=True)
        for handle in handles:
            handle.remove()
    return {name: seen.get(name) for name in steps}


@alternative("intermediate_grads")
def one_by_name(loss, steps):
    order = [name for name in steps if steps[name].requires_grad and loss.requires_grad]
    if not order:
        return dict.fromkeys(steps)
    inputs = tuple(steps[name] for name in order)
    found = torch.autograd.grad(loss.sum(), inputs, None, True, False, allow_unused=True)
    return {name: found[order.index(name)] if name in order else None for name in steps}


@misconception(
    "intermediate_grads",
    zh="你在反向传播之后读 .grad：中间结果默认不存，读到的是 None，叶子的 .grad 却被改了。",
    en="You read .grad after a backward pass: for intermediate results nothing is stored, so it is "
    "None, and the .grad of leaves is changed.",
)
def plain_backward(loss, steps):
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    return {name: t.grad for name, t in steps.items()}


@misconception(
    "intermediate_grads",
    zh="retain_grad 加 backward：数值对了，痕迹也留下了，看看叶子的 .grad 和 retains_grad。",
    en="retain_grad with backward: the numbers are right, and traces stay; look at the .grad of "
    "leaves and at retains_grad.",
)
def retained_and_backward(loss, steps):
    for t in _tracked(steps).values():
        t.retain_grad()
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    return {name: t.grad for name, t in steps.items()}


@misconception(
    "intermediate_grads",
    zh="你把梯度写进 .grad（retain_grad 或 backward(inputs=...)），再都清成 None：原有的也没有了。",
    en="You let the gradients be written to .grad (by retain_grad or backward(inputs=...)) and "
    "then set each to None: what was there before is gone too.",
)
def retained_and_cleared(loss, steps):
    ends = _tracked(steps)
    for t in ends.values():
        t.grad = None
        t.retain_grad()
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    found = {name: t.grad for name, t in steps.items()}
    for leaf in level_by_level(loss):
        leaf.grad = None
    for t in steps.values():
        t.grad = None
    return found


@misconception(
    "intermediate_grads",
    zh="钩子取到了梯度，可你调用的是 backward：图里每个叶子的 .grad 都加了一份。",
    en="Hooks got the gradients, but you called backward: it added to the .grad of every leaf in "
    "the graph.",
)
def hooks_and_backward(loss, steps):
    seen, tracked = {}, _tracked(steps)
    handles = [t.register_hook(lambda g, n=n: seen.update({n: g})) for n, t in tracked.items()]
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    for handle in handles:
        handle.remove()
    return {name: seen.get(name) for name in steps}


@misconception(
    "intermediate_grads",
    zh="钩子没有摘下来：以后每次反向传播它们都会再被调用。",
    en="The hooks are still there: every later backward pass will call them again.",
)
def hooks_left_installed(loss, steps):
    seen, tracked = {}, _tracked(steps)
    for name, t in tracked.items():
        t.register_hook(lambda g, n=name: seen.update({n: g}))
    if loss.requires_grad and tracked:
        torch.autograd.grad(loss, [*tracked.values()], retain_graph=True, allow_unused=True)
    return {name: seen.get(name) for name in steps}


@misconception(
    "intermediate_grads",
    zh="没有路的地方你补了零：None 说没有路，零说有路而导数为零，两者不同。",
    en="You filled in zeros where there is no path: None says that there is no path, zeros say "
    "that there is one with a zero derivative.",
)
def zeros_for_none(loss, steps):
    found = _grads(loss, steps)
    return {name: torch.zeros_like(t) if found[name] is None else found[name]
            for name, t in steps.items()}  # fmt: skip


@misconception(
    "intermediate_grads",
    zh="需要梯度而没有路的张量，你给了零：materialize_grads 抹掉了“没有路”这个消息。",
    en="You gave zeros to tensors that require a gradient and have no path: materialize_grads "
    "wipes out the message “no path”.",
)
def materialized(loss, steps):
    return _grads(loss, steps, materialize_grads=True)


@misconception(
    "intermediate_grads",
    zh="没有路的那几步，你的结果里根本没有：每个名字都要有，值是 None。",
    en="Steps without a path are not in your result at all: every name must be there, with the "
    "value None.",
)
def names_left_out(loss, steps):
    return {name: g for name, g in _grads(loss, steps).items() if g is not None}


@misconception(
    "intermediate_grads",
    zh="你从调用者的 steps 里拿走了东西：要挑选，就另外造一个字典。",
    en="You took things out of the caller's steps: make a dictionary of your own to choose from.",
)
def steps_thinned_out(loss, steps):
    names = list(steps)
    for name in [n for n, t in steps.items() if not (t.requires_grad and t.grad_fn)]:
        del steps[name]
    return dict.fromkeys(names) | _grads(loss, steps)


@misconception(
    "intermediate_grads",
    zh="梯度全零时你返回了 None：有路，只是导数为零，这时要的是零。",
    en="You return None where a gradient is all zeros: there is a path, the derivative is zero, "
    "and zeros are asked for.",
)
def none_for_zeros(loss, steps):
    return {n: g if g is not None and g.any() else None for n, g in _grads(loss, steps).items()}


@misconception(
    "intermediate_grads",
    zh="有一步不在 loss 的图里，你的函数就报错：看看报错里说的那个参数。",
    en="Your function fails as soon as a step is not in the graph of loss: look at the argument "
    "that the message names.",
)
def unused_is_an_error(loss, steps):
    return _grads(loss, steps, allow_unused=False)


@misconception(
    "intermediate_grads",
    zh="steps 里有数据时你的函数报错：不需要梯度的张量不能交给 grad。",
    en="Your function fails where there is data among the steps: tensors that require no gradient "
    "cannot be given to grad.",
)
def data_is_an_error(loss, steps):
    if not steps:
        return {}
    found = torch.autograd.grad(loss, list(steps.values()), retain_graph=True, allow_unused=True)
    return dict(zip(steps, found, strict=True))


@misconception(
    "intermediate_grads",
    zh="loss 没有计算图时你的函数报错：没有图就没有路，一切都是 None。",
    en="Your function fails where loss has no graph: no graph, no path, and all is None.",
)
def graph_taken_for_granted(loss, steps):
    tracked = _tracked(steps)
    if not tracked:
        return dict.fromkeys(steps)
    found = torch.autograd.grad(loss, [*tracked.values()], retain_graph=True, allow_unused=True)
    return dict.fromkeys(steps) | dict(zip(tracked, found, strict=True))


@misconception(
    "intermediate_grads",
    zh="没有一步需要梯度时你的函数报错：一个输入也不给，grad 是不肯的。",
    en="Your function fails where no step requires a gradient: grad does not like to be given no "
    "inputs.",
)
def never_without_inputs(loss, steps):
    tracked = _tracked(steps)
    if not loss.requires_grad:
        return dict.fromkeys(steps)
    found = torch.autograd.grad(loss, [*tracked.values()], retain_graph=True, allow_unused=True)
    return dict.fromkeys(steps) | dict(zip(tracked, found, strict=True))


@misconception(
    "intermediate_grads",
    zh="第二次再问，你的函数报错：求导释放了图里被保存的张量。",
    en="Your function fails when it is asked again: differentiating freed what the graph "
    "had saved.",
)
def graph_freed(loss, steps):
    return _grads(loss, steps, retain_graph=False)


@misconception(
    "intermediate_grads",
    zh="梯度还连着一张新的图：create_graph 为导数建图，这里用不着。",
    en="Your gradients hang on a new graph: create_graph records the derivative, which is not "
    "needed here.",
)
def with_create_graph(loss, steps):
    return _grads(loss, steps, create_graph=True)


@misconception(
    "intermediate_grads",
    zh="每一步都反向传播了一次：一次就能得到全部，看看“一次反向传播”一项。",
    en="You go backwards once for every step: a single pass gives them all; look at the line on "
    "the number of passes.",
)
def one_pass_each(loss, steps):
    return {name: _grads(loss, {name: t})[name] for name, t in steps.items()}


@misconception(
    "intermediate_grads",
    zh="你对副本求导：detach 造了新的叶子，loss 的图里没有它，所以全是 None。",
    en="You differentiate with respect to copies: detach makes new leaves that the graph of loss "
    "does not have, so all is None.",
)
def copies_of_the_steps(loss, steps):
    new = {n: t.detach().requires_grad_() for n, t in steps.items() if t.is_floating_point()}
    return dict.fromkeys(steps) | _grads(loss, new)


@misconception(
    "intermediate_grads",
    zh="你跳过了叶子：steps 里的叶子也要它的梯度。",
    en="You pass over leaves: leaves among the steps want their gradients too.",
)
def leaves_passed_over(loss, steps):
    inner = {name: t for name, t in steps.items() if not t.is_leaf}
    return dict.fromkeys(steps) | _grads(loss, inner)


@misconception(
    "intermediate_grads",
    zh="你按张量记梯度：同一个张量有两个名字时，丢了一个。",
    en="You keep gradients by tensor: where one tensor has two names, one of them is lost.",
)
def one_name_a_tensor(loss, steps):
    names = {id(t): name for name, t in steps.items()}
    found = _grads(loss, {name: steps[name] for name in names.values()})
    return dict.fromkeys(steps) | found


@misconception(
    "intermediate_grads",
    zh="你返回的是前向的数值，不是梯度。",
    en="You return the values of the forward pass, not the gradients.",
)
def values_instead(loss, steps):
    return {name: None if g is None else steps[name].detach()
            for name, g in _grads(loss, steps).items()}  # fmt: skip


@misconception(
    "intermediate_grads",
    zh="你返回的是梯度的范数：题目要的是梯度，形状与张量相同。",
    en="You return the norms of the gradients: the task asks for gradients, shaped like their "
    "tensors.",
)
def norms_instead(loss, steps):
    return {name: None if g is None else g.norm() for name, g in _grads(loss, steps).items()}


# ------------------------------------------------------------------------------------- freeze


def _chosen(model, name):
    everything = model.named_parameters(remove_duplicate=False)
    return [p for full, p in everything if f"{full}.".startswith(f"{name}.")]


def _refuse_none(found, name):
    if not found:
        raise ValueError(f"nothing to freeze by the name of {name}")


def _freeze_all(parameters):
    for p in parameters:
        p.requires_grad, p.grad = False, None


@alternative("freeze")
def by_submodule(model, name):
    try:
        found = list(model.get_submodule(name).parameters())
    except AttributeError:
        try:
            found = [model.get_parameter(name)]
        except AttributeError:
            found = []
    _refuse_none(found, name)
    _freeze_all(found)


@alternative("freeze")
def by_parts_of_the_name(model, name):
    wanted, found = name.split("."), []
    for prefix, module in model.named_modules(remove_duplicate=False):
        for last, p in module.named_parameters(recurse=False):
            full = [*prefix.split("."), last] if prefix else [last]
            if full[: len(wanted)] == wanted:
                found.append(p)
    _refuse_none(found, name)
    for p in found:
        p.grad = None
        p.requires_grad_(False)


@misconception(
    "freeze",
    zh="名字只是开头相同的也被你冻结了：body.10 不属于 body.1，encoder2 不属于 encoder。",
    en="You also freeze names that merely begin alike: body.10 does not belong to body.1, nor "
    "encoder2 to encoder.",
)
def names_that_begin_alike(model, name):
    everything = model.named_parameters(remove_duplicate=False)
    found = [p for full, p in everything if full.startswith(name)]
    _refuse_none(found, name)
    _freeze_all(found)


@misconception(
    "freeze",
    zh="你把名字当成了正则表达式：其中的点可以是任何字符，body_1 也符合 body.1。",
    en="You use the name as a regular expression: its dot stands for any character, and body_1 "
    "matches body.1 too.",
)
def name_as_a_pattern(model, name):
    everything = model.named_parameters(remove_duplicate=False)
    found = [p for full, p in everything if re.match(rf"{name}(\.|$)", full)]
    _refuse_none(found, name)
    _freeze_all(found)


@misconception(
    "freeze",
    zh="名字里随便哪里出现过，你就冻结：encoder.inner 里的 inner 不是它的全名。",
    en="You freeze wherever the name occurs at all: inner in encoder.inner is not its full name.",
)
def names_that_contain_it(model, name):
    found = [p for full, p in model.named_parameters(remove_duplicate=False) if name in full]
    _refuse_none(found, name)
    _freeze_all(found)


@misconception(
    "freeze",
    zh="给模块写 requires_grad = False 只是添了一个没有人读的属性：看看参数自己的标志。",
    en="To write requires_grad = False to a module only adds an attribute that nobody reads: look "
    "at the flags of the parameters.",
)
def attribute_of_the_module(model, name):
    _refuse_none(_chosen(model, name), name)
    part = model
    for step in name.split("."):
        part = getattr(part, step)
    part.requires_grad = False


@misconception(
    "freeze",
    zh="eval() 换的是 dropout 和 BatchNorm 的模式，什么也没有冻结。",
    en="eval() changes the mode of dropout and BatchNorm, and freezes nothing.",
)
def eval_instead(model, name):
    _refuse_none(_chosen(model, name), name)
    model.get_submodule(name).eval()


@misconception(
    "freeze",
    zh="你冻结了参数，也改了模式：eval() 是另一回事，题目没有要求。",
    en="You froze the parameters and changed the mode too: eval() is another matter, and was not "
    "asked for.",
)
def eval_as_well(model, name):
    _refuse_none(_chosen(model, name), name)
    _freeze_all(_chosen(model, name))
    model.eval()


@misconception(
    "freeze",
    zh="旧的 .grad 还在：优化器会照着它移动冻结的参数。",
    en="The old .grad is still there: an optimiser will move the frozen parameter by it.",
)
def old_gradients_kept(model, name):
    _refuse_none(_chosen(model, name), name)
    for p in _chosen(model, name):
        p.requires_grad_(False)


@misconception(
    "freeze",
    zh="你把旧的 .grad 清成了零：None 与零不同，带动量的优化器看见零照样移动。",
    en="You set the old .grad to zeros: None and zeros are not the same, and an optimiser with "
    "momentum still moves on zeros.",
)
def old_gradients_zeroed(model, name):
    _refuse_none(_chosen(model, name), name)
    for p in _chosen(model, name):
        p.requires_grad_(False)
        if p.grad is not None:
            p.grad.zero_()


@misconception(
    "freeze",
    zh="你清掉了所有参数的 .grad：没有冻结的参数，.grad 要保持原样。",
    en="You cleared the .grad of all parameters: that of parameters not frozen must stay.",
)
def all_gradients_cleared(model, name):
    _refuse_none(_chosen(model, name), name)
    _freeze_all(_chosen(model, name))
    model.zero_grad()


@misconception(
    "freeze",
    zh="以前就冻结的参数，你也清掉了它的 .grad：它不属于这个名字，要保持原样。",
    en="You also cleared the .grad of what was frozen before: it does not belong to this name, and "
    "must stay as it is.",
)
def frozen_before_cleared(model, name):
    _refuse_none(_chosen(model, name), name)
    for p in _chosen(model, name):
        p.requires_grad_(False)
    for each in model.parameters():
        if not each.requires_grad:
            each.grad = None


@misconception(
    "freeze",
    zh="你动了参数的数据：data 指向了副本，别处拿着的旧数据不再跟着变。",
    en="You changed the data of the parameters: data is a copy now, and whoever holds the old "
    "storage is left behind.",
)
def data_copied(model, name):
    _refuse_none(_chosen(model, name), name)
    _freeze_all(_chosen(model, name))
    for p in _chosen(model, name):
        p.data = p.data.clone()


@misconception(
    "freeze",
    zh="你换上了新的参数对象：优化器和共用它的层手里还是旧的。",
    en="You put new parameter objects in place: the optimiser, and layers that share them, still "
    "hold the old ones.",
)
def parameters_replaced(model, name):
    _refuse_none(_chosen(model, name), name)
    for full, p in list(model.named_parameters(remove_duplicate=False)):
        if f"{full}.".startswith(f"{name}."):
            owner, _, last = full.rpartition(".")
            fixed = torch.nn.Parameter(p.detach(), requires_grad=False)
            setattr(model.get_submodule(owner), last, fixed)


@misconception(
    "freeze",
    zh="你给每个参数都写了标志：以前冻结的被你解冻了。",
    en="You set the flag of every parameter: what was frozen before is frozen no more.",
)
def others_thawed(model, name):
    chosen = _chosen(model, name)
    _refuse_none(chosen, name)
    for each in model.parameters():
        each.requires_grad = True
    _freeze_all(chosen)


@misconception(
    "freeze",
    zh="没有这个名字时你什么也没说：写错一个字母，就什么也没有冻结。",
    en="You say nothing where there is no such name: with one letter wrong nothing is frozen.",
)
def silent_about_strangers(model, name):
    _freeze_all(_chosen(model, name))


@misconception(
    "freeze",
    zh="没有这个名字时抛出的是 AttributeError，题目要的是 ValueError。",
    en="For an unknown name AttributeError is raised, and the task asks for ValueError.",
)
def attribute_error_for_strangers(model, name):
    part = model
    for step in name.split("."):
        part = getattr(part, step)
    _freeze_all(part.parameters() if isinstance(part, torch.nn.Module) else [part])


@misconception(
    "freeze",
    zh="没有参数的模块（dropout）也要拒绝：它什么也没有可冻结的。",
    en="A module without parameters (dropout) has to be refused as well: there is nothing to "
    "freeze in it.",
)
def empty_modules_accepted(model, name):
    known = {full for full, _ in model.named_modules()}
    _refuse_none(_chosen(model, name) or name in known, name)
    _freeze_all(_chosen(model, name))


@misconception(
    "freeze",
    zh="两层共用的参数漏了：named_parameters() 默认只用第一个名字列出它一次。",
    en="The parameter that two layers share is missed: by default named_parameters() lists it "
    "once, by its first name.",
)
def shared_listed_once(model, name):
    found = [p for full, p in model.named_parameters() if f"{full}.".startswith(f"{name}.")]
    _refuse_none(found, name)
    _freeze_all(found)


@misconception(
    "freeze",
    zh="共用的参数你不肯冻结：别的层也用它，它仍然属于这一层。",
    en="You do not freeze what is shared: another layer uses it too, but it still belongs to this "
    "one.",
)
def shared_spared(model, name):
    _refuse_none(_chosen(model, name), name)
    everything = [p for _, p in model.named_parameters(remove_duplicate=False)]
    _freeze_all(p for p in _chosen(model, name) if sum(p is one for one in everything) == 1)


@misconception(
    "freeze",
    zh="单独一个参数的名字你不认：scale 和 body.1.weight 也是名字。",
    en="You do not know the name of a single parameter: scale and body.1.weight are names too.",
)
def modules_only(model, name):
    _refuse_none(name in dict(model.named_modules()), name)
    found = list(model.get_submodule(name).parameters())
    _refuse_none(found, name)
    _freeze_all(found)


@misconception(
    "freeze",
    zh="你只看最外面一层的名字：encoder.inner 这样的层中之层找不到。",
    en="You look at the outermost names only: a layer in a layer, such as encoder.inner, is not "
    "found.",
)
def outermost_names_only(model, name):
    parts = dict(model.named_children()) | dict(model.named_parameters(recurse=False))
    _refuse_none(name in parts and _chosen(model, name), name)
    _freeze_all(_chosen(model, name))


@misconception(
    "freeze",
    zh="你只冻结了这个模块自己的参数，里面各层的没有冻结：看看 recurse。",
    en="You freeze the parameters of the module itself, not those of the layers in it: look at "
    "recurse.",
)
def not_the_layers_inside(model, name):
    _refuse_none(_chosen(model, name), name)
    own = {id(p) for p in model.get_submodule(name).parameters(recurse=False)}
    _freeze_all(p for p in _chosen(model, name) if id(p) in own)


@misconception(
    "freeze",
    zh="你只冻结了 weight，bias 还在训练。",
    en="You froze weight only, and bias is still trained.",
)
def weights_only(model, name):
    _refuse_none(_chosen(model, name), name)
    everything = model.named_parameters(remove_duplicate=False)
    weights = [p for full, p in everything if full.endswith("weight")]
    _freeze_all(p for p in _chosen(model, name) if any(p is w for w in weights))


@misconception(
    "freeze",
    zh="你把意思弄反了：留下了这一部分，冻结了其余的。",
    en="You have it the wrong way round: this part is left, and the rest is frozen.",
)
def all_but_this(model, name):
    chosen = _chosen(model, name)
    _refuse_none(chosen, name)
    _freeze_all(p for p in model.parameters() if not any(p is c for c in chosen))


@misconception(
    "freeze",
    zh="你还把这个模块包进了 no_grad：梯度到此为止，前面的层也收不到了。",
    en="You also wrapped the module in no_grad: gradients end there, and the layers in front get "
    "none.",
)
def no_grad_around_it(model, name):
    chosen = _chosen(model, name)
    _refuse_none(chosen, name)
    _freeze_all(chosen)
    part = dict(model.named_modules()).get(name)
    for module in [] if part is None else part.modules():
        module.forward = torch.no_grad()(module.forward)


@misconception(
    "freeze",
    zh="你用钩子把梯度变成零：参数仍然需要梯度，.grad 是零而不是 None，也没有省下计算。",
    en="You turn gradients into zeros by hooks: the parameters still require gradients, their "
    ".grad is zeros and not None, and no work is saved.",
)
def zeros_by_hooks(model, name):
    chosen = _chosen(model, name)
    _refuse_none(chosen, name)
    for p in chosen:
        p.grad = None
        p.register_hook(torch.zeros_like)


@misconception(
    "freeze",
    zh="你冻结了全部参数，没有看名字。",
    en="You froze all parameters and did not look at the name.",
)
def everything_frozen(model, name):
    _refuse_none(_chosen(model, name), name)
    _freeze_all(model.parameters())


TWICE_NOTHING = "twice an empty list is an empty list"
ONE_EACH = "grad returns as many gradients as there are tensors"
EQUIVALENT = {
    "walk_graph": {
        "line 20: return 2 * [] for []": TWICE_NOTHING,
        "line 20: return 2 * [] for [] (2)": TWICE_NOTHING,
        "line 22: 0 → 1": "no edge leads to the first node, so nobody asks for its place",
    },
    "leaves_of": {"line 15: return 2 * [] for []": TWICE_NOTHING},
    "intermediate_grads": {
        "line 24: zip: no strict=True": ONE_EACH,
        "line 24: True → False": ONE_EACH,
    },
}
