"""Variables that only functions multiply by, in functions nested as deep as a file likes."""

from __future__ import annotations

from typing import Any

import pytest
from tensorflow.core.framework import graph_pb2

from graphrev.errors import UsageError
from graphrev.io import decode_graph
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.passes.mask.test_gradients import masked

FLOAT, RESOURCE = 1, 20


def call(nodes: Any, name: str, inputs: list[str], function: str) -> None:
    node = nodes.add(name=name, op="PartitionedCall", input=inputs)
    node.attr["f"].func.name = function
    node.attr["Tin"].list.type.extend([FLOAT, RESOURCE])
    node.attr["Tout"].list.type.extend([FLOAT])


def nested(depth: int, calls: int, multiplies: bool) -> Graph:
    """A variable handed down through ``depth`` functions, each calling the next ``calls`` times."""
    graph = graph_pb2.GraphDef()
    variable = graph.node.add(name="v", op="VarHandleOp")
    variable.attr["dtype"].type = FLOAT
    data = graph.node.add(name="x", op="Placeholder")
    data.attr["dtype"].type = FLOAT
    for node in (variable, data):
        for _ in range(2):
            node.attr["shape"].shape.dim.add(size=4)
    call(graph.node, "top", ["x", "v"], "f0")
    for number in range(depth):
        function = graph.library.function.add()
        function.signature.name = f"f{number}"
        function.signature.input_arg.add(name="a", type=FLOAT)
        function.signature.input_arg.add(name="w", type=RESOURCE)
        function.signature.output_arg.add(name="o", type=FLOAT)
        if number < depth - 1:
            for again in range(calls):
                call(function.node_def, f"c{again}", ["a", "w"], f"f{number + 1}")
            function.ret["o"] = "c0:output:0"
            continue
        read = function.node_def.add(name="r", op="ReadVariableOp", input=["w"])
        read.attr["dtype"].type = FLOAT
        op, out = ("MatMul", "product") if multiplies else ("AddV2", "z")
        product = function.node_def.add(name="m", op=op, input=["a", "r:value:0"])
        product.attr["T"].type = FLOAT
        function.ret["o"] = f"m:{out}:0"
    return decode_graph(graph.SerializeToString())


@pytest.mark.parametrize(("depth", "calls"), [(1, 1), (3, 1), (3000, 1), (60, 2)])
def test_a_kernel_of_a_nested_function_is_left_alone_and_named(depth: int, calls: int) -> None:
    graph = nested(depth, calls, multiplies=True)
    after, plan = masked(graph, sparsity=0.5)
    assert after is graph or after.nodes.keys() == graph.nodes.keys()
    (rejection,) = (r for r in plan.rejections if r.code is Code.KERNEL_SHARED)
    assert rejection.nodes == ("v", "top")


@pytest.mark.parametrize(("depth", "calls"), [(1, 1), (3000, 1), (60, 2)])
def test_what_no_function_multiplies_by_is_no_kernel(depth: int, calls: int) -> None:
    with pytest.raises(UsageError, match="the graph has no kernel"):
        masked(nested(depth, calls, multiplies=False), sparsity=0.5)
