"""Loops whose bodies cannot be computed again are refused by name, and the graph is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from graphrev.errors import InvalidGraphError, UsageError
from graphrev.ir import Graph, Node, TensorRef
from graphrev.marks import no_rewrite, recompute_scope
from graphrev.pipeline import Code
from tests.nets import snapshot, tf
from tests.passes.recompute.loop_nets import (
    WIDTH,
    check,
    loops_of_v1,
    lstm,
    ops_of,
    recurrent,
    weight,
)
from tests.passes.recompute.nets import chain, rewrite

Change = Callable[[Graph], Graph]


def replaced(graph: Graph, op: str, change: Callable[[Node], Node]) -> Graph:
    return Graph.of([change(n) if n.op == op else n for n in graph.nodes.values()])


def counted_down_by_another_tool(graph: Graph) -> Graph:
    return replaced(graph, "GreaterEqual", lambda node: node.evolve(op="Greater"))


def pushes_without_pops(graph: Graph) -> Graph:
    shape = {"dtype": graph["x"].attrs["dtype"], "shape": graph["x"].attrs["shape"]}
    return replaced(
        graph,
        "StackPopV2",
        lambda node: Node(node.name, "Placeholder", (), node.control_inputs, "", shape),
    )


def one_stack_for_all(graph: Graph) -> Graph:
    stacks = [name for name, node in graph.nodes.items() if node.op == "StackV2"]
    first = TensorRef(stacks[0])
    enters = {n for s in stacks for n in graph.readers[s] if graph[n].op == "Enter"}
    return Graph.of(
        [n.evolve(inputs=(first,)) if n.name in enters else n for n in graph.nodes.values()]
    )


def one_frame_name_for_both(graph: Graph) -> Graph:
    return replaced(graph, "Enter", lambda node: node.with_attr("frame_name", b"rnn/same"))


CHANGES = [
    counted_down_by_another_tool,
    pushes_without_pops,
    one_stack_for_all,
    one_frame_name_for_both,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("marked", [True, False])
def test_a_loop_that_is_not_understood_is_left_as_it_was(change: Change, marked: bool) -> None:
    options: dict[str, Any] = {"mark": recompute_scope} if marked else {}
    graph = change(recurrent(**options))
    outcome, plan = rewrite(graph, frames=None if marked else "^rnn/")
    assert outcome.after is graph
    refused = [r for r in plan.rejections if r.code is Code.CROSSES_FRAME]
    assert refused
    assert all(r.nodes and all(name in graph for name in r.nodes) for r in refused)


def test_a_value_of_an_op_nobody_knows_is_no_start_of_a_recomputation() -> None:
    """Its type is not known; found by tools/fuzz (graph-structure, seed 2004491)."""
    graph = replaced(recurrent(), "ConcatV2", lambda node: node.evolve(op="MyConcat"))
    outcome, plan = rewrite(graph, frames="^rnn/")
    assert outcome.after is graph
    (refused,) = (r for r in plan.rejections if r.code is Code.UNKNOWN_OP)
    assert graph[refused.nodes[0]].op == "MyConcat"


@pytest.mark.parametrize(
    "op", ["Enter", "Switch", "Merge", "Exit", "StackPushV2", "MatMul", "Tanh"]
)
@pytest.mark.parametrize("key", ["T", "frame_name"])
def test_ops_without_an_attribute_they_require_are_refused_or_left_alone(op: str, key: str) -> None:
    """TensorFlow refuses such a graph; found by tools/fuzz (graph-structure, seed 30040792)."""
    graph = replaced(recurrent(), op, lambda node: node.with_attr(key, None))
    try:
        rewrite(graph, frames="^rnn/")
    except InvalidGraphError as error:
        assert f"has no attribute '{key}'" in str(error)


def test_one_loop_of_another_tool_does_not_keep_the_other_loop_from_its_rewrite() -> None:
    graph = recurrent(twice=True)
    first = next(n for n, node in graph.nodes.items() if node.op == "GreaterEqual")
    other = replaced(
        graph, "GreaterEqual", lambda n: n.evolve(op="Greater") if n.name == first else n
    )
    _, plan = rewrite(other, frames="^rnn/")
    assert len(plan.loops) == 1


def test_a_loop_without_gradient_is_refused() -> None:
    with loops_of_v1(), tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [2, 3])
        tf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, tf.tanh(a)), (0, x), name="rnn")
        graph = snapshot(live)
    outcome, plan = rewrite(graph, frames="^rnn/")
    assert outcome.after is graph
    assert [r.code for r in plan.rejections] == [Code.CROSSES_FRAME]


def test_a_name_that_no_frame_has_is_an_error_that_lists_the_frames() -> None:
    with pytest.raises(UsageError, match="rnn/while_context"):
        rewrite(recurrent(), frames="lstm")
    with pytest.raises(UsageError, match="no regular expression"):
        rewrite(recurrent(), frames="(")


def test_a_graph_without_loops_has_nothing_to_name() -> None:
    _, plan = rewrite(chain(), frames="rnn")
    assert len(plan.regions) == 3 and not plan.loops


def test_a_body_whose_gradient_reads_its_state_alone_is_left_alone() -> None:
    def linear(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        return c * x, tf.matmul(h, weight("kernel", [WIDTH, WIDTH]))

    outcome, plan = rewrite(graph := recurrent(linear), frames="^rnn/")
    assert outcome.after is graph
    assert [r.code for r in plan.rejections] == [Code.NO_BACKWARD_READERS]


def test_what_was_built_under_no_rewrite_is_saved_and_not_copied() -> None:
    def guarded(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        with no_rewrite():
            x = tf.tanh(tf.sin(x))
        return lstm(x, c, h)

    graph = recurrent(guarded)
    (loop,) = check(graph, frames="^rnn/").loops
    outcome, _ = rewrite(graph, frames="^rnn/")
    assert ops_of(outcome.after)["Sin"] == ops_of(graph)["Sin"]
    assert {graph[ref.node].op for ref in loop.sources} >= {"Tanh"}


def test_reference_variables_of_inner_loops_are_refused_where_an_optimizer_writes_them() -> None:
    def nested(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        kernel = weight("inner", [WIDTH, WIDTH], resource=False)

        def deeper(k: Any, y: Any) -> list[Any]:
            return [k + 1, tf.tanh(tf.sin(tf.matmul(tf.sigmoid(y), kernel)))]

        _, x = tf.while_loop(lambda k, _: k < 3, deeper, [0, x], name="deeper")
        return lstm(x, c, h)

    _, plan = rewrite(recurrent(nested), frames="rnn")
    assert [r.code for r in plan.rejections] == [Code.VARIABLE_CHANGES]
    assert len(plan.loops) == 1
