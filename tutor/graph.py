"""Drawing the real grad_fn graph of tensors as Mermaid, which JupyterLab renders."""

from collections import Counter, deque

from torch.autograd.graph import get_gradient_edge

LIMIT = 200


def _shape(tensor):
    return str(tuple(tensor.shape))


def _escape(text):
    """Returns text as it may stand between quotes in a Mermaid label and in HTML."""
    entities = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;"}
    return "".join(entities.get(character, character) for character in text)


class Graph:
    """The backward graph of some outputs, as `draw` found it.

    nodes: list of labels, outputs first, then in the order in which the walk meets them.
    edges: list of (from, to, index): positions in nodes, and which output of the node `to` the
        edge belongs to. An edge that the graph has twice is in the list twice.
    """

    def __init__(self, outputs, names):
        self.nodes, self.edges, self._kinds = [], [], []
        tracked = {name: tensor for name, tensor in names.items() if tensor.requires_grad}
        self._name_of = {get_gradient_edge(tensor): name for name, tensor in tracked.items()}
        # By identity: a leaf that was frozen after the forward pass has no edge any more.
        self._leaf_of = {id(tensor): name for name, tensor in names.items()}
        self._walk(outputs)

    def _walk(self, outputs):
        positions, waiting = {}, deque()

        def enter(here, node, index):
            if node not in positions:
                if len(positions) >= LIMIT:
                    raise ValueError(
                        f"计算图超过 {LIMIT} 个节点，画出来也看不清；请画小一点的例子。"
                        f" / The graph has more than {LIMIT} nodes, too many to read;"
                        " draw a smaller example."
                    )
                positions[node] = self._add(*self._describe(node))
                waiting.append(node)
            self.edges.append((here, positions[node], index))

        ends = [get_gradient_edge(output) for output in outputs]
        starts = [
            self._add(f"{self._name_of.get(end, f'output {i}')} {_shape(output)}", "output")
            for i, (end, output) in enumerate(zip(ends, outputs, strict=True))
        ]
        for here, end in zip(starts, ends, strict=True):
            enter(here, end.node, end.output_nr)
        while waiting:
            node = waiting.popleft()
            for child, index in node.next_functions:
                if child is not None:
                    enter(positions[node], child, index)

    def _add(self, label, kind):
        self.nodes.append(label)
        self._kinds.append(kind)
        return len(self.nodes) - 1

    def _describe(self, node):
        variable = getattr(node, "variable", None)
        if variable is None:
            return node.name().rpartition("::")[2], "node"
        name = self._leaf_of.get(id(variable), "")
        return f"{name} {_shape(variable)}".strip(), "leaf"

    @property
    def mermaid(self):
        """Mermaid text of the graph: outputs on top, leaves at the bottom, VJPs flow down."""
        brackets = {"output": ("([", "])"), "leaf": ("([", "])"), "node": ("[", "]")}
        lines = ["flowchart TD"]
        for i, (label, kind) in enumerate(zip(self.nodes, self._kinds, strict=True)):
            left, right = brackets[kind]
            lines.append(f'    n{i}{left}"{_escape(label)}"{right}')
        for here, there, index in self.edges:
            lines.append(f"    n{here} -->{f'|{index}|' if index else ''} n{there}")
        leaves = ",".join(f"n{i}" for i, kind in enumerate(self._kinds) if kind == "leaf")
        if leaves:
            lines += ["    classDef leaf stroke-width:3px", f"    class {leaves} leaf"]
        return "\n".join(lines)

    def __str__(self):
        seen, unique = Counter(), []
        for label in self.nodes:
            seen[label] += 1
            unique.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
        lines = [f"graph: {len(self.nodes)} nodes, {len(self.edges)} edges"]
        for here, there, index in self.edges:
            lines.append(f"{unique[here]} -> {unique[there]}{f' [{index}]' if index else ''}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/vnd.mermaid": self.mermaid, "text/plain": str(self)}


def draw(*outputs, names=None):
    """Returns the graph that autograd recorded for some outputs; as the last line of a cell it is
    drawn, with the outputs on top, the leaves (thick border) at the bottom and an arrow for every
    edge along which a cotangent travels.

    outputs: tensors of any shape and dtype that belong to a graph.
    names: {name: tensor}, names for outputs and leaves; without one an output is called by its
        number and a leaf by its shape alone.
    The walk follows `grad_fn.next_functions`: every node once, an edge as often as it is there.
    A number on an arrow says which output of a node with several outputs it belongs to.
    Raises ValueError without outputs, for an output that requires no grad, and for a graph of more
    than 200 nodes; TypeError for an output that is no tensor.
    """
    if not outputs:
        raise ValueError("draw() 至少要一个张量。 / draw() needs at least one tensor.")
    for i, output in enumerate(outputs):
        if not hasattr(output, "grad_fn"):
            raise TypeError(
                f"draw() 的第 {i} 个参数不是张量，而是 {type(output).__name__}。"
                f" / Argument {i} of draw() is no tensor but {type(output).__name__}."
            )
        if not output.requires_grad:
            raise ValueError(
                f"draw() 的第 {i} 个张量不需要梯度，它没有计算图。"
                f" / Tensor {i} of draw() requires no grad, so it has no graph."
            )
    return Graph(outputs, names or {})
