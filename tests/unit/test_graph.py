import pytest
import torch

from tutor.graph import LIMIT, draw


@pytest.fixture
def x():
    return torch.tensor([1.0, 2.0], requires_grad=True)


def edges(graph):
    return sorted((graph.nodes[a], graph.nodes[b], i) for a, b, i in graph.edges)


def test_nodes_and_edges_of_two_outputs(x):
    w = torch.tensor(3.0, requires_grad=True)
    y, z = x * w, x.sum()
    graph = draw(y, z, names={"x": x, "w": w, "y": y, "z": z})
    assert graph.nodes == ["y (2,)", "z ()", "MulBackward0", "SumBackward0", "x (2,)", "w ()"]
    assert edges(graph) == [
        ("MulBackward0", "w ()", 0),
        ("MulBackward0", "x (2,)", 0),
        ("SumBackward0", "x (2,)", 0),
        ("y (2,)", "MulBackward0", 0),
        ("z ()", "SumBackward0", 0),
    ]


def test_mermaid_and_plain_text(x):
    y = x * x
    graph = draw(y, names={"x": x})
    assert graph.mermaid.splitlines() == [
        "flowchart TD",
        '    n0(["output 0 (2,)"])',
        '    n1["MulBackward0"]',
        '    n2(["x (2,)"])',
        "    n0 --> n1",
        "    n1 --> n2",
        "    n1 --> n2",
        "    classDef leaf stroke-width:3px",
        "    class n2 leaf",
    ]
    assert str(graph).splitlines() == [
        "graph: 3 nodes, 3 edges",
        "output 0 (2,) -> MulBackward0",
        "MulBackward0 -> x (2,)",
        "MulBackward0 -> x (2,)",
    ]
    bundle = graph._repr_mimebundle_()
    assert bundle == {"text/vnd.mermaid": graph.mermaid, "text/plain": str(graph)}


def test_a_shared_node_is_there_once_and_its_edges_as_often_as_they_are(x):
    h = x
    for _ in range(25):  # 2 ** 25 paths
        h = h + h
    graph = draw(h)
    assert (len(graph.nodes), len(graph.edges)) == (27, 51)


def test_the_same_graph_is_the_same_text(x):
    def text():
        leaf = x.detach().requires_grad_()
        y = torch.stack([leaf[0] ** 2, leaf[0] * leaf[1], leaf[1].exp()])
        return draw(y, names={"x": leaf}).mermaid

    assert text() == text()


def test_an_output_of_a_node_with_several_outputs_is_numbered(x):
    first, second = x.chunk(2)
    graph = draw(second * 2, names={"x": x})
    assert ("MulBackward0", "SplitBackward0", 1) in edges(graph)
    assert "-->|1| " in graph.mermaid and "MulBackward0 -> SplitBackward0 [1]" in str(graph)
    assert draw(second, names={"a": first, "b": second}).nodes[0] == "b (1,)"


def test_nodes_of_one_name_are_told_apart_in_plain_text(x):
    lines = str(draw(x.exp().exp(), names={"x": x})).splitlines()
    assert "ExpBackward0 -> ExpBackward0 #2" in lines and "ExpBackward0 #2 -> x (2,)" in lines


def test_a_leaf_may_be_an_output_and_constants_are_left_out(x):
    assert edges(draw(x, names={"x": x})) == [("x (2,)", "x (2,)", 0)]
    assert draw(x * torch.ones(2)).nodes == ["output 0 (2,)", "MulBackward0", "(2,)"]


def test_it_draws_under_no_grad_and_names_without_grad_are_ignored(x):
    y = x * 2
    with torch.no_grad():
        assert len(draw(y, names={"x": x, "c": torch.ones(2)}).nodes) == 3


def test_a_leaf_frozen_after_the_forward_pass_is_drawn_still(x):
    y = x * 2
    x.requires_grad_(False)
    assert draw(y, names={"x": x}).nodes == ["output 0 (2,)", "MulBackward0", "x (2,)"]


def test_names_are_escaped(x):
    label = draw(x * 2, names={'<b>"x"&#': x}).mermaid
    assert "<" not in label and "#lt;b#gt;#quot;x#quot;#amp;#35; (2,)" in label


def test_what_cannot_be_drawn(x):
    with pytest.raises(ValueError, match="至少.* / .*at least one"):
        draw()
    with pytest.raises(ValueError, match="Tensor 1 of .* requires no grad"):
        draw(x, torch.ones(2))
    with pytest.raises(TypeError, match="Argument 0 .* list"):
        draw([x])


def test_a_long_chain_is_refused_and_not_recursed_into(x):
    h = x
    for _ in range(5000):
        h = h + 1
    with pytest.raises(ValueError, match=f"more than {LIMIT} nodes"):
        draw(h)
