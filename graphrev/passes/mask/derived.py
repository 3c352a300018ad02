"""Kernels that reach a product in a changed form: scaled, normalized, moved by a gradient step.

A mask is multiplied in where a variable is read as it is. Where some product reads ``w / sigma``
or ``w - rate * gradient`` instead (spectral normalization, gradient steps inside the graph), it
would go on reading weights that the mask is said to have dropped, so the variable is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphrev.analysis import ops
from graphrev.ir import Graph, Node, TensorRef
from graphrev.passes.mask.roles import JOINS, METADATA, VIEWS, kernel_positions
from graphrev.passes.mask.trace import Kernel

CHANGES = frozenset(
    "Mul Add AddV2 AddN Sub RealDiv Div DivNoNan Neg Maximum Minimum ClipByValue Select SelectV2 "
    "Abs Square Sqrt Rsqrt Sign Round Floor Exp Tanh Sigmoid Relu Softmax Pow SquaredDifference "
    "FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel "
    "QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 CheckNumerics Tile BroadcastTo Pad PadV2 "
    "Slice StridedSlice Split SplitV Pack Unpack ReverseV2 IdentityN Snapshot Merge "
    " NextIteration Exit".split()
)
"""Ops that keep a kernel a kernel: they work weight by weight, or move weights around."""
_LOOPS = frozenset({"Merge", "Exit", "NextIteration"})


def changed_use(graph: Graph, kernel: Kernel) -> str | None:
    """An op that multiplies by something computed from the kernel weight by weight."""
    known = kernel.tensors
    pending = list(kernel.raw)
    seen = set(pending)
    while pending:
        tensor = pending.pop()
        for reader in graph.readers_of(tensor):
            node = graph[reader]
            places = [place for place, ref in enumerate(node.inputs) if ref == tensor]
            if tensor not in known and any(p in kernel_positions(node) for p in places):
                return reader
            if node.op in CHANGES or node.op in VIEWS or node.op in JOINS:
                fresh = [ref for ref in _outputs(graph, reader) if ref not in seen]
                seen.update(fresh)
                pending.extend(fresh)
    return None


def _outputs(graph: Graph, name: str) -> Iterator[TensorRef]:
    """The outputs of a node that are read, in order."""
    found = {
        ref
        for reader in graph.readers.get(name, ())
        for ref in graph[reader].inputs
        if ref.node == name
    }
    yield from sorted(found)


def weights_only(graph: Graph) -> frozenset[str]:
    """The nodes whose value depends on variables and on no input of the graph."""
    weights: set[str] = set()
    inputs: set[str] = set()
    for number in graph.index.order:
        node = graph[graph.index.names[number]]
        sources = {ref.node for ref in node.inputs}
        if ops.is_variable(node.op):
            weights.add(node.name)
        elif node.op in METADATA or ops.is_constant(node.op):
            continue
        elif not sources.isdisjoint(inputs) or _brings_data(node, sources):
            inputs.add(node.name)
        elif not sources.isdisjoint(weights):
            weights.add(node.name)
    return frozenset(weights)


def _brings_data(node: Node, sources: set[str]) -> bool:
    """Whether data may enter here: a feed, a queue, an array, what a loop carries."""
    if ops.is_variable_read(node.op):
        return False
    return not sources or node.op in _LOOPS or ops.is_stateful(node.op)
