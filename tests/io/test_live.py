from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.edits import AddNode, Cause, EditLog, RemoveNode, RenameNode, SetAttr, SetControls
from graphrev.edits import SetInput as Rewire
from graphrev.errors import LiveGraphError
from graphrev.io.live import check_untouched, from_tf_graph, replay_on, watch_sessions
from graphrev.ir import DType, Node, TensorRef
from tests.nets import batch, dense, tf

PASS = "reversible{detect=structural}"
WHY = Cause("test")


@pytest.fixture(autouse=True)
def watched() -> None:
    watch_sessions()


def build(resource: bool = True) -> dict[str, Any]:
    """A training graph in the default graph, and what its program holds on to."""
    tf.set_random_seed(5)
    x = tf.placeholder(tf.float32, [4, 8], "x")
    x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)
    for number in range(3):
        with tf.variable_scope(f"pair{number}"):
            x1 = x1 + dense(x2, "f", resource=resource)
            x2 = x2 + dense(x1, "g", resource=resource)
    loss = tf.reduce_mean(tf.square(x1 + 0.5 * x2), name="loss")
    step = tf.train.get_or_create_global_step()
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    train = optimizer.minimize(loss, step, name="train")
    return {"x": x, "loss": loss, "train": train, "step": step, "inner": x1}


def losses(session: Any, parts: dict[str, Any], steps: int = 5) -> list[float]:
    feeds = {parts["x"]: batch()}
    return [session.run([parts["loss"], parts["train"]], feeds)[0] for _ in range(steps)]


@pytest.mark.parametrize("resource", [True, False])
def test_program_goes_on_with_its_own_objects_and_trains_the_same(
    resource: bool, tmp_path: Any
) -> None:
    curves = []
    for rewritten in (False, True):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            parts = build(resource)
            saver = tf.train.Saver()
            collections = {key: list(graph.get_collection(key)) for key in graph.collections}
            variables = tf.trainable_variables()
            operations = set(graph.get_operations())
            if rewritten:
                assert graphrev.rewrite(graph, PASS).changed
                assert operations < set(graph.get_operations())
                assert {k: list(graph.get_collection(k)) for k in graph.collections} == collections
                assert graph.get_tensor_by_name("loss:0") is parts["loss"]
                more = tf.identity(parts["inner"] * 2.0)
            session.run(tf.global_variables_initializer())
            curves.append(losses(session, parts))
            prefix = saver.save(session, str(tmp_path / "model"))
            values = session.run(variables)
            losses(session, parts, 1)
            saver.restore(session, prefix)
            for old, new in zip(values, session.run(variables)):
                np.testing.assert_array_equal(old, new)
            assert session.run(parts["step"]) == 5
            if rewritten:
                assert session.run(more, {parts["x"]: batch()}).shape == (4, 8)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)


def test_live_graph_becomes_what_the_file_would_become() -> None:
    from graphrev.ir.notation import node_to_text

    with tf.Graph().as_default() as graph:
        build()
        expected = graphrev.rewrite(graph.as_graph_def(), PASS).model.graph
        graphrev.rewrite(graph, PASS)
        live = from_tf_graph(graph)
    assert set(live.nodes) == set(expected.nodes)
    for name, node in expected.nodes.items():
        kept = live[name]
        assert kept.inputs == node.inputs, node_to_text(kept)
        assert set(kept.control_inputs) == set(node.control_inputs), name
        assert kept.device == node.device
        assert kept.attrs.get("_class") == node.attrs.get("_class"), name


def test_session_that_has_not_run_is_no_obstacle() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        parts = build()
        assert graphrev.rewrite(graph, PASS).changed
        session.run(tf.global_variables_initializer())
        assert np.isfinite(losses(session, parts)).all()


def test_other_graph_that_was_run_is_no_obstacle() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        session.run(tf.constant(1))
    with tf.Graph().as_default() as graph:
        build()
        check_untouched(graph)


def test_graph_that_was_run_finalized_or_is_a_function_is_refused_unchanged() -> None:
    def ran(graph: Any) -> None:
        with tf.Session(graph=graph) as session:
            session.run(tf.constant(1.0))

    def called(graph: Any) -> None:
        with tf.Session(graph=graph) as session:
            session.make_callable(tf.constant(1.0))()

    for spoil, message in (
        (ran, "A session has run this graph"),
        (called, "A session has run this graph"),
        (lambda graph: graph.finalize(), "The graph is finalized"),
    ):
        with tf.Graph().as_default() as graph:
            build()
            spoil(graph)
            before = graph.as_graph_def().SerializeToString(deterministic=True)
            with pytest.raises(LiveGraphError, match=message):
                graphrev.rewrite(graph, PASS)
            assert graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_body_of_a_function_is_refused() -> None:
    body = tf.function(lambda x: x * 2).get_concrete_function(tf.TensorSpec([2])).graph
    with pytest.raises(LiveGraphError, match="body of a function"):
        graphrev.rewrite(body, PASS)


def test_nothing_to_rewrite_leaves_the_graph_alone() -> None:
    with tf.Graph().as_default() as graph:
        tf.square(tf.placeholder(tf.float32, [2], "x"))
        before = graph.as_graph_def()
        assert not graphrev.rewrite(graph, PASS).changed
        assert graph.as_graph_def() == before


# --- replaying edits ----------------------------------------------------------------------------


def small() -> Any:
    with tf.Graph().as_default() as graph:
        a = tf.constant([1.0, 2.0], name="a")
        tf.negative(a, name="b")
        tf.split(a, 2, name="s")
        tf.no_op(name="wait")
        tf.square(a, name="c")
    return graph


def added(name: str, op: str, *inputs: TensorRef, waits: tuple[str, ...] = (), **attrs: Any) -> Any:
    kind = {"T": DType.FLOAT} if inputs else {}
    node = Node(name, op, inputs, waits, attrs=MappingProxyType({**kind, **attrs}))
    return AddNode(node, None, WHY)


def test_edits_are_made_on_the_live_graph() -> None:
    graph = small()
    b, c = (graph.get_operation_by_name(name) for name in "bc")
    log: EditLog = (
        added("new", "AddV2", TensorRef("b"), TensorRef("s", 1), _class=(b"loc:@b",)),
        added("newer", "Neg", TensorRef("new"), waits=("wait", "new")),
        Rewire("c", 0, TensorRef("a"), TensorRef("newer"), WHY),
        SetControls("b", (), ("wait",), WHY),
        SetAttr("c", "_note", None, b"x", WHY),
    )
    replay_on(graph, log)
    new, newer = (graph.get_operation_by_name(name) for name in ("new", "newer"))
    assert [t.name for t in new.inputs] == ["b:0", "s:1"]
    assert {op.name for op in newer.control_inputs} == {"wait", "new"}
    assert new.colocation_groups() == [b"loc:@b"]
    assert c.inputs[0] is newer.outputs[0]
    assert [op.name for op in b.control_inputs] == ["wait"]
    assert c.get_attr("_note") == b"x"
    with tf.Session(graph=graph) as session:
        np.testing.assert_allclose(session.run("c:0"), [1.0, 0.0])


def test_controls_may_be_taken_away_and_attributes_too() -> None:
    graph = small()
    replay_on(graph, (SetControls("b", (), ("wait", "c"), WHY), SetAttr("b", "_n", None, 1, WHY)))
    replay_on(
        graph, (SetControls("b", ("wait", "c"), ("c",), WHY), SetAttr("b", "_n", 1, None, WHY))
    )
    b = graph.get_operation_by_name("b")
    assert [op.name for op in b.control_inputs] == ["c"]
    with pytest.raises(ValueError, match="_n"):
        b.get_attr("_n")


def test_what_is_added_takes_nothing_from_the_scopes_around_the_call() -> None:
    graph = small()
    wait = [graph.get_operation_by_name("wait")]
    with (
        graph.as_default(),
        tf.name_scope("scope"),
        tf.device("/cpu:0"),
        graph.control_dependencies(wait),
    ):
        replay_on(graph, (added("new", "Neg", TensorRef("b")),))
    new = graph.get_operation_by_name("new")
    assert new.device == ""
    assert list(new.control_inputs) == []


@pytest.mark.parametrize("edit", [RemoveNode(Node("b", "Neg"), WHY), RenameNode("b", "z", WHY)])
def test_removing_and_renaming_are_refused_before_anything_changes(edit: Any) -> None:
    graph = small()
    before = graph.as_graph_def()
    with pytest.raises(LiveGraphError, match="'b' cannot be removed or renamed"):
        replay_on(graph, (added("new", "Neg", TensorRef("b")), edit))
    assert graph.as_graph_def() == before
