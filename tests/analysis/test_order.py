from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from graphrev.analysis.order import ancestor_labels, descendant_labels, index_of, topological
from graphrev.ir import Graph, Node, TensorRef


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 8))):
        earlier = st.lists(st.integers(0, max(number - 1, 0)), max_size=2)
        reads, waits = (draw(earlier) if number else [] for _ in range(2))
        refs = tuple(TensorRef(f"n{r}") for r in reads)
        nodes.append(Node(f"n{number}", "Add", refs, tuple(f"n{w}" for w in waits)))
    return Graph.of(draw(st.permutations(nodes)))


def reached(graph: Graph, start: str, *, control: bool) -> set[str]:
    """Everything that depends on ``start``, found the slow way."""
    found, grown = {start}, True
    while grown:
        grown = False
        for node in graph.nodes.values():
            sources = {ref.node for ref in node.inputs}
            sources |= set(node.control_inputs) if control else set()
            if node.name not in found and sources & found:
                found.add(node.name)
                grown = True
    return found


@settings(max_examples=100, deadline=None)
@given(graphs(), st.booleans())
def test_labels_answer_one_question_a_bit(graph: Graph, control: bool) -> None:
    index = index_of(graph)
    seeds = [[number] for number in range(len(graph))]
    down = descendant_labels(index, seeds, control=control)
    up = ancestor_labels(index, seeds, control=control)
    for bit, start in enumerate(index.names):
        expected = reached(graph, start, control=control)
        assert {n for n in graph.nodes if down[index.ids[n]] >> bit & 1} == expected
        for name in graph.nodes:
            assert (up[index.ids[name]] >> bit & 1) == (
                start in reached(graph, name, control=control)
            )


def test_order_of_the_file_is_kept_and_the_index_made_once() -> None:
    graph = Graph.of([Node("b", "Const"), Node("a", "Neg", (TensorRef("b"),))])
    assert list(topological(graph)) == ["b", "a"]
    assert index_of(graph) is index_of(graph)


def test_seed_sets_of_several_nodes_and_empty_ones() -> None:
    graph = Graph.of([Node("a", "Const"), Node("b", "Const"), Node("c", "Neg", (TensorRef("b"),))])
    assert descendant_labels(index_of(graph), [[0, 1], []], control=False) == [1, 1, 1]
    assert ancestor_labels(index_of(graph), [[], [2]], control=False) == [0, 2, 2]
