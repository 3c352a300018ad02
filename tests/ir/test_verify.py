from __future__ import annotations

from types import MappingProxyType

import pytest

from graphrev.analysis import ops
from graphrev.errors import InvalidGraphError
from graphrev.ir import Argument, DType, Function, Graph, Node, TensorRef
from graphrev.ir.verify import Problem, problems, verify


def sound() -> dict[str, Node]:
    return {
        "a": Node("a", "Const"),
        "s": Node("s", "Split", (TensorRef("a"), TensorRef("a")), attrs={"num_split": 2}),
        "b": Node("b", "Neg", (TensorRef("s", 1),), ("a",)),
    }


def square(**changes: object) -> Function:
    parts: dict[str, object] = {
        "name": "square",
        "inputs": (Argument("x", DType.FLOAT),),
        "outputs": (Argument("y", DType.FLOAT),),
        "nodes": {"m": Node("m", "Mul", (TensorRef("x"), TensorRef("x")))},
        "returns": {"y": TensorRef("m", 0, "z")},
        "control_returns": {},
        "attrs": {},
    }
    return Function(**{**parts, **changes})  # type: ignore[arg-type]


def found(nodes: dict[str, Node], *functions: Function) -> list[Problem]:
    library = MappingProxyType({f.name: f for f in functions})
    return list(problems(Graph(MappingProxyType(nodes), library), ops.output_count))


def test_sound_graph_has_no_problem() -> None:
    assert found(sound(), square()) == []
    verify(Graph(sound()), ops.output_count)


@pytest.mark.parametrize(
    ("bad", "message", "about"),
    [
        (Node("other", "Neg"), "Node 'other' is filed under the name 'b'", ("b",)),
        (Node("b", ""), "Node 'b' has no op", ("b",)),
        (Node("b", "Neg", (TensorRef("x"),)), "reads 'x:0', which does not exist", ("b", "x")),
        (Node("b", "NoOp", (), ("x",)), "waits for 'x', which does not exist", ("b", "x")),
        (
            Node("b", "Neg", (TensorRef("s", 2),)),
            "reads output 2 of 's', a 'Split' with 2 outputs",
            ("b", "s"),
        ),
        (
            Node("b", "Neg", (TensorRef("a", 1),)),
            "reads output 1 of 'a', a 'Const' with 1 output",
            ("b", "a"),
        ),
        (Node("b", "Neg", (TensorRef("s", -1),)), "reads output -1 of 's'", ("b", "s")),
        (Node("b", "Neg", (TensorRef("b"),)), "cycle outside any while loop: 'b' -> 'b'", ("b",)),
    ],
)
def test_broken_invariant_is_named_with_its_nodes(
    bad: Node, message: str, about: tuple[str, ...]
) -> None:
    (problem,) = found({**sound(), "b": bad})
    assert message in problem.message
    assert problem.nodes == about
    assert problem.is_error
    with pytest.raises(InvalidGraphError, match=message.split("'")[0]):
        verify(Graph({**sound(), "b": bad}), ops.output_count)


def test_output_that_has_none_cannot_be_read() -> None:
    nodes = {"n": Node("n", "NoOp"), "b": Node("b", "Neg", (TensorRef("n"),))}
    (problem,) = found(nodes)
    assert "reads output 0 of 'n', a 'NoOp' with 0 outputs" in problem.message


def test_outputs_of_an_unknown_op_are_not_counted() -> None:
    nodes = {"u": Node("u", "SomebodysOp"), "b": Node("b", "Neg", (TensorRef("u", 9),))}
    assert found(nodes) == []
    assert list(problems(Graph(sound() | {"b": Node("b", "Neg", (TensorRef("s", 2),))}))) == []


@pytest.mark.parametrize("name", ["-a", "_a", "a b", "a\n", "a:b", "", "\u202e"])
def test_name_tensorflow_refuses_is_a_warning(name: str) -> None:
    (problem,) = found({name: Node(name, "NoOp")})
    assert "TensorFlow refuses the node name" in problem.message
    assert not problem.is_error
    assert problem.message.isprintable()
    verify(Graph({name: Node(name, "NoOp")}))


@pytest.mark.parametrize("name", ["a", "A/b_1", "0", ".a", "a-b", "a>b", "a\\b"])
def test_name_tensorflow_accepts_is_no_problem(name: str) -> None:
    assert found({name: Node(name, "NoOp")}) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": {"m": Node("m", "Neg", (TensorRef("q"),))}}, "node 'm' reads 'q'"),
        ({"nodes": {"m": Node("m", "Neg", (), ("q",))}}, "node 'm' reads 'q'"),
        ({"returns": {"y": TensorRef("q", 0, "z")}}, "Output 'y' of function 'square' returns 'q"),
        ({"control_returns": {"c": "q"}}, "'q'"),
    ],
)
def test_gap_in_a_function_body_is_found(changes: dict[str, object], message: str) -> None:
    (problem,) = found(sound(), square(**changes))
    assert message in problem.message
    assert "which does not exist" in problem.message
    assert problem.is_error


def test_cycles_are_only_looked_for_in_a_graph_without_gaps() -> None:
    nodes = {"a": Node("a", "Neg", (TensorRef("a"),)), "b": Node("b", "Neg", (TensorRef("x"),))}
    (problem,) = found(nodes)
    assert "'x:0'" in problem.message


def test_message_names_the_first_five_and_says_there_are_more() -> None:
    nodes = {f"n{i}": Node(f"n{i}", "Neg", (TensorRef("gone"),)) for i in range(9)}
    with pytest.raises(InvalidGraphError) as caught:
        verify(Graph(nodes))
    assert str(caught.value).count("does not exist") == 5
    assert str(caught.value).endswith("(and more)")


def test_hostile_names_do_not_reach_the_message_raw() -> None:
    name = "a\x1b[2J\u202e\n"
    graph = Graph({"b": Node("b", "Neg", (TensorRef(name),), (name,))})
    with pytest.raises(InvalidGraphError) as caught:
        verify(graph)
    assert str(caught.value).isprintable()


def test_what_was_verified_before_is_not_looked_at_again_unless_it_may_have_changed() -> None:
    """The shortcut after a pass finds everything that the whole check finds."""
    a, b = Node("a", "Split"), Node("b", "Identity", (TensorRef("a", 1),))
    before = Graph.of([a, b])
    counts = {"Split": 2, "Const": 1}.get

    def count(node: Node) -> int | None:
        return counts(node.op)

    grown = Graph.of([a, b, Node("c", "Identity", (TensorRef("nowhere"),))])
    retyped = Graph.of([a.evolve(op="Const"), b])
    shrunk = Graph.of([b])
    for after in (grown, retyped, shrunk):
        assert list(problems(after, count, since=before)) == list(problems(after, count))
        assert list(problems(after, count, since=before))
