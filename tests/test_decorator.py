from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import graphrev
from graphrev.errors import LiveGraphError, UsageError
from graphrev.passes import Reversible
from tests.nets import batch, dense, tf

PASS = Reversible(detect="structural")


class Parts(NamedTuple):
    loss: Any
    train: Any


def model(pairs: int = 2) -> dict[str, Any]:
    """Builds a training graph and returns a nested structure of its parts."""
    x = tf.placeholder(tf.float32, [4, 8], "x")
    x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)
    with graphrev.residual_pair():
        for number in range(pairs):
            with tf.variable_scope(f"pair{number}"):
                x1 = x1 + dense(x2, "f")
                x2 = x2 + dense(x1, "g")
    loss = tf.reduce_mean(tf.square(x1 + 0.5 * x2))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
    return {"parts": Parts(loss, train), "streams": [x1, (x2, None)], "x": x, "name": "net"}


def was_rewritten(graph: Any) -> bool:
    return any("/recompute/" in op.name for op in graph.get_operations())


@pytest.mark.parametrize(
    "decorate",
    [
        graphrev.rewritten,
        graphrev.rewritten(),
        graphrev.rewritten("reversible"),
        graphrev.rewritten("reversible{detect=structural}"),
        graphrev.rewritten(PASS),
        graphrev.rewritten("reversible", PASS),
    ],
)
def test_graph_is_rewritten_with_and_without_parentheses(decorate: Callable[..., Any]) -> None:
    with tf.Graph().as_default() as graph:
        decorate(model)()
        assert was_rewritten(graph)


def test_returned_structure_is_the_builders_own() -> None:
    made: list[Any] = []

    @graphrev.rewritten
    def build() -> Any:
        made.append(model())
        return made[-1]

    with tf.Graph().as_default() as graph, tf.Session() as session:
        result = build()
        assert result is made[0]
        session.run(tf.global_variables_initializer())
        feeds = {result["x"]: batch()}
        fetched = [result["parts"].loss, result["streams"][1][0], result["parts"].train]
        first = session.run(fetched, feeds)[0]
        assert session.run(fetched, feeds)[0] < first
        assert was_rewritten(graph)


def test_name_doc_and_arguments_are_kept() -> None:
    decorated = graphrev.rewritten(model)
    assert (decorated.__name__, decorated.__doc__) == ("model", model.__doc__)
    with tf.Graph().as_default() as graph:
        decorated(pairs=3)
        names = {op.name for op in graph.get_operations()}
    assert any(name.startswith("pair2/") for name in names)


def test_method_is_rewritten() -> None:
    class Net:
        pairs = 2

        @graphrev.rewritten("reversible")
        def build(self) -> Any:
            return model(self.pairs)

        @classmethod
        @graphrev.rewritten
        def make(cls) -> Any:
            return model(cls.pairs)

    for call in (Net().build, Net.make):
        with tf.Graph().as_default() as graph:
            assert call()["name"] == "net"
            assert was_rewritten(graph)


def test_second_call_in_a_fresh_graph_works_the_same() -> None:
    build = graphrev.rewritten(model)
    names = []
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            build()
            names.append([op.name for op in graph.get_operations()])
    assert names[0] == names[1]


def test_raising_builder_leaves_its_graph_usable_and_not_rewritten() -> None:
    @graphrev.rewritten
    def fails() -> Any:
        model()
        raise ZeroDivisionError("mine")

    with tf.Graph().as_default() as graph, tf.Session() as session:
        with pytest.raises(ZeroDivisionError, match="mine"):
            fails()
        assert not was_rewritten(graph)
        session.run(tf.global_variables_initializer())
        session.run("train", {"x:0": batch()})


def test_eager_call_is_refused_before_the_builder_runs() -> None:
    import tensorflow

    if not tensorflow.executing_eagerly():
        pytest.skip("eager execution was switched off in this process")
    called: list[int] = []
    build = graphrev.rewritten(lambda: called.append(1))
    with pytest.raises(UsageError, match="TensorFlow runs eagerly here"):
        build()
    assert called == []


def test_builder_that_runs_its_graph_is_told() -> None:
    @graphrev.rewritten
    def runs() -> None:
        model()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())

    with tf.Graph().as_default(), pytest.raises(LiveGraphError, match="A session has run"):
        runs()


def test_wrong_pass_is_refused_when_decorating() -> None:
    with pytest.raises(UsageError, match="Did you mean 'reversible'"):
        graphrev.rewritten("reversable")
    for wrong in (Reversible, 3, None):
        with pytest.raises(UsageError, match="no pass"):
            graphrev.rewritten(wrong)  # type: ignore[arg-type]
