"""Output shapes of ops that take what another step, or a thread of its own, has put aside.

Queues feed the training programs of TensorFlow 1 (``tf.train.batch``), accumulators collect the
gradients of ``SyncReplicasOptimizer``. The op that makes one says what shape its elements have
(core/ops/data_flow_ops.cc); a priority queue's elements begin with the priority.
"""

from __future__ import annotations

from graphrev.analysis.dims import Dim, Dims
from graphrev.analysis.shape_inputs import Inputs, declared, named
from graphrev.ir import Node, Shape

DEQUEUES = frozenset({"QueueDequeue", "QueueDequeueV2"})
DEQUEUES_OF_MANY = frozenset(
    {"QueueDequeueMany", "QueueDequeueManyV2", "QueueDequeueUpTo", "QueueDequeueUpToV2"}
)
TAKES = frozenset({"AccumulatorTakeGradient", "ResourceAccumulatorTakeGradient"})
_UP_TO = frozenset({"QueueDequeueUpTo", "QueueDequeueUpToV2"})
_PRIORITY = frozenset({"PriorityQueue", "PriorityQueueV2"})


def dequeued(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """The components of one element."""
    return _components(known, node, ())


def dequeued_many(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """The components of as many elements as input 1 says; of at most so many, for ``UpTo``."""
    many = None if node.op in _UP_TO else known.numbers(node, 1)
    batch: Dim = many[0] if many and many[0] >= 0 else ("dim", node.name, 0, 0)
    return _components(known, node, (batch,))


def taken(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """The mean of the gradients that were handed to an accumulator."""
    return (declared(_source(known, node)),)


def _components(known: Inputs, node: Node, batch: tuple[Dim, ...]) -> tuple[Dims, ...]:
    types = node.attrs.get("component_types")
    count = len(types) if isinstance(types, tuple) else 0
    queue = _source(known, node)
    listed = queue.attrs.get("shapes")
    shapes = list(listed) if isinstance(listed, tuple) else []
    if queue.op in _PRIORITY:
        shapes.insert(0, Shape(()))
    found = [
        named(node.name, i, shape.dims if isinstance(shape, Shape) else None)
        for i, shape in enumerate(shapes)
    ]
    if len(found) != count:
        return (None,) * count
    return tuple(None if dims is None else (*batch, *dims) for dims in found)


def _source(known: Inputs, node: Node) -> Node:
    """What input 0 is the handle of."""
    while node.inputs:
        node = known.graph[node.inputs[0].node]
        if node.op not in ("Identity", "RefIdentity", "Enter", "RefEnter", "Switch", "RefSwitch"):
            break
    return node
