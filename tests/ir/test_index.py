from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.index import CycleError, GraphIndex


def graph(*edges: tuple[str, str, list[str]]) -> Graph:
    """Nodes as ``(name, op, inputs)``; an input ``^a`` is a control input."""
    return Graph.of(
        Node(
            name,
            op,
            tuple(TensorRef(i) for i in inputs if i[0] != "^"),
            tuple(i[1:] for i in inputs if i[0] == "^"),
        )
        for name, op, inputs in edges
    )


def loop(*, body: str = "body", shuffled: bool = False) -> Graph:
    nodes = [
        ("start", "Const", []),
        ("enter", "Enter", ["start"]),
        ("merge", "Merge", ["enter", "next"]),
        ("body", "Neg", ["merge"]),
        ("next", "NextIteration", [body]),
        ("exit", "Exit", ["merge"]),
    ]
    return graph(*(reversed(nodes) if shuffled else nodes))


def position(index: GraphIndex) -> dict[str, int]:
    return {index.names[number]: place for place, number in enumerate(index.order)}


@st.composite
def acyclic(draw: st.DrawFn) -> Graph:
    """A random acyclic graph whose file order is any order."""
    count = draw(st.integers(1, 12))
    edges = []
    for number in range(count):
        reads = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        marks = draw(st.lists(st.booleans(), min_size=len(reads), max_size=len(reads)))
        inputs = [f"^n{r}" if control else f"n{r}" for r, control in zip(reads, marks)]
        edges.append((f"n{number}", "Add", inputs))
    return graph(*draw(st.permutations(edges)))


@settings(max_examples=200, deadline=None)
@given(acyclic())
def test_every_node_comes_after_what_it_reads_and_waits_for(net: Graph) -> None:
    index = net.index
    assert sorted(index.order) == list(range(len(net)))
    place = position(index)
    for name, node in net.nodes.items():
        for source in (*(ref.node for ref in node.inputs), *node.control_inputs):
            assert place[source] < place[name]


@settings(max_examples=100, deadline=None)
@given(acyclic(), st.data())
def test_a_cycle_is_found_wherever_it_is(net: Graph, data: st.DataObject) -> None:
    """Closing any path makes a cycle, and the error lists nodes that really wait in a ring."""
    reading = [node for node in net.nodes.values() if node.inputs or node.control_inputs]
    if not reading:
        return
    last = data.draw(st.sampled_from(sorted(reading, key=lambda n: n.name)))
    first = (*(ref.node for ref in last.inputs), *last.control_inputs)[0]
    closed = {**net.nodes, first: net[first].evolve(control_inputs=(last.name,))}
    with pytest.raises(CycleError) as caught:
        GraphIndex.of(closed)
    ring = caught.value.nodes
    for reader, source in zip(ring, (*ring[1:], ring[0])):
        node = closed[reader]
        assert source in (*(ref.node for ref in node.inputs), *node.control_inputs)


def test_order_of_the_file_is_kept_where_it_is_topological() -> None:
    net = graph(("b", "Const", []), ("a", "Const", []), ("c", "Add", ["a", "b"]))
    assert list(net.index.order) == [0, 1, 2]


def test_ids_and_edges_follow_the_file() -> None:
    net = graph(("a", "Const", []), ("c", "Add", ["a", "b", "a", "^b"]), ("b", "Neg", ["a"]))
    index = net.index
    assert index.names == ("a", "c", "b")
    assert dict(index.ids) == {"a": 0, "c": 1, "b": 2}
    assert list(index.data_inputs) == [(), (0, 2, 0), (0,)]
    assert list(index.control_inputs) == [(), (2,), ()]
    assert net.index is index


@pytest.mark.parametrize("shuffled", [False, True])
def test_edge_back_to_the_head_of_a_loop_is_no_cycle(shuffled: bool) -> None:
    place = position(loop(shuffled=shuffled).index)
    assert place["enter"] < place["merge"] < place["body"] < place["next"]
    assert place["merge"] < place["exit"]


def test_node_that_waits_for_the_next_iteration_comes_after_it() -> None:
    net = loop()
    for order in (["late", *net.nodes], [*net.nodes, "late"]):
        nodes = {**net.nodes, "late": Node("late", "NoOp", control_inputs=("next",))}
        place = position(GraphIndex.of({name: nodes[name] for name in order}))
        assert place["next"] < place["late"]


def test_cycle_inside_a_loop_body_is_still_a_cycle() -> None:
    net = loop()
    nodes = {**net.nodes, "body": net["body"].evolve(control_inputs=("next",))}
    with pytest.raises(CycleError) as caught:
        GraphIndex.of(nodes)
    assert set(caught.value.nodes) == {"body", "next"}


def test_cycle_is_named_in_the_message() -> None:
    net = graph(
        ("x", "Const", []), ("a", "Add", ["x", "c"]), ("b", "Neg", ["a"]), ("c", "Neg", ["^b"])
    )
    with pytest.raises(CycleError, match="cycle outside any while loop") as caught:
        _ = net.index
    assert set(caught.value.nodes) == {"a", "b", "c"}
    assert all(f"'{name}'" in str(caught.value) for name in "abc")
    assert "'x'" not in str(caught.value)


def test_node_that_reads_itself_is_a_cycle() -> None:
    with pytest.raises(CycleError) as caught:
        _ = graph(("a", "Add", ["a"])).index
    assert caught.value.nodes == ("a",)


def test_a_path_of_a_hundred_thousand_nodes_is_ordered() -> None:
    count = 100_000
    backwards = [Node(f"n{i}", "Neg", (TensorRef(f"n{i + 1}"),)) for i in range(count)]
    net = Graph.of([*backwards, Node(f"n{count}", "Const")])
    assert list(net.index.order) == list(range(count, -1, -1))
