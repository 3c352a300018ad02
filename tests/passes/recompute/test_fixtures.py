"""The recurrent net that TensorFlow 1.15.5 wrote: its loop is found by name and trains the same."""

from __future__ import annotations

from collections import Counter

from tensorflow.core.protobuf.control_flow_pb2 import WhileContextDef

import graphrev
from graphrev.ir import Graph
from graphrev.passes.recompute import RecomputePlan
from tests.conftest import FIXTURES, INDEX

NET = FIXTURES / INDEX["recurrent"]["file"]


def ops_of(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes.values())


def test_dynamic_rnn_keeps_its_state_alone_and_trains_the_same() -> None:
    result = graphrev.rewrite(NET, "recompute{frames=^rnn/}")
    plan = result.report.steps[0].plan
    assert isinstance(plan, RecomputePlan)
    (loop,) = plan.loops
    assert loop.frame == "rnn/while/while_context"
    before, after = ops_of(graphrev.load(NET).graph), ops_of(result.model.graph)
    assert before["StackPushV2"] == 21 and after["StackPushV2"] == 3
    for op in ("TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayScatterV3"):
        assert before[op] == after[op]
    outcome = graphrev.verify(NET, result, rtol=0.0, atol=0.0)
    assert outcome.ok, outcome.to_text()
    assert {c.kind for c in outcome.comparisons} >= {"gradient", "variable"}


def test_without_the_option_loops_stay_as_they_are() -> None:
    assert not graphrev.rewrite(NET, "recompute").changed


def test_contexts_of_the_loops_name_no_node_that_is_gone() -> None:
    rewritten = graphrev.rewrite(NET, "recompute{frames=^rnn/}").meta_graph_def
    nodes = {node.name for node in rewritten.graph_def.node}
    found = [
        name
        for raw in rewritten.collection_def["while_context"].bytes_list.value
        for values in [WhileContextDef.FromString(raw).values_def]
        for name in (*values.values, *values.external_values, *values.external_values.values())
    ]
    assert len(found) > 100
    assert {name.partition(":")[0] for name in found} <= nodes
