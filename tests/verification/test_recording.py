"""One graph compared with several: its sessions answer once, random ops included."""

from __future__ import annotations

import pytest

from graphrev.ir import Graph
from graphrev.verification import recording as room
from graphrev.verification import verify
from graphrev.verification.recording import RecordedRunner, Recording
from graphrev.verification.sessions import Runner
from tests.nets import dense, snapshot, tf


def _net(rate: float = 0.5) -> Graph:
    with tf.Graph().as_default() as live:
        x = tf.nn.dropout(tf.ones([4, 8]), rate=rate)
        loss = tf.reduce_mean(tf.square(dense(x, "layer")), name="loss")
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        return snapshot(live)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions that recordings opened."""
    found: list[str] = []

    class Counted(Runner):
        def __init__(self, graph: Graph, which: str, *, grappler: bool) -> None:
            found.append(which)
            super().__init__(graph, which, grappler=grappler)

    monkeypatch.setattr(room, "Runner", Counted)
    return found


def test_the_first_graph_is_run_once_for_many_comparisons(opened: list[str]) -> None:
    graph, recording = _net(), Recording(_net())
    for _ in range(3):
        assert verify(graph, graph, recording=recording).ok
    assert opened == ["first"]
    assert not verify(graph, _net(rate=0.25), recording=recording).ok


def test_a_new_question_is_answered_as_if_all_had_been_asked_there(opened: list[str]) -> None:
    graph = _net()
    recording = Recording(graph, grappler=False)
    loss = next(iter(graph["loss"].inputs))
    with (
        Runner(graph, "only", grappler=False) as plain,
        RecordedRunner(recording, "first") as first,
    ):
        values = plain.initial_values()
        plain.load(values)
        drawn = [plain.run([loss], (), {})[0].tolist() for _ in range(2)]
        assert drawn[0] != drawn[1]
        assert first.initial_values().keys() == values.keys()
        first.load(values)
        assert first.run([loss], (), {})[0].tolist() == drawn[0]
        first.reopen()
        first.initial_values()
        first.load(values)
        assert [first.run([loss], (), {})[0].tolist() for _ in range(2)] == drawn
    assert len(opened) == 2
