"""Which ops change a variable in a training step, and what carries a gradient to them.

Optimizers are ops of their own, or arithmetic that ends in an assignment: BERT's, say, assigns
``param - rate * m / (sqrt(v) + epsilon)`` (google-research/bert, optimization.py). An assignment
counts where its value is the variable itself with something added, scaled or clipped. Those of
initializers, restored values and states that are computed from themselves by a product (the power
iteration of spectral normalization) are not. Gradients may be summed up over several steps, or over
workers, before they are applied.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from graphrev.analysis import ops
from graphrev.ir import Graph, Node, TensorRef
from graphrev.passes.mask.roles import HANDLE_VIEWS, REFERENCE_VIEWS

CARRIERS = frozenset(
    "Identity Cast Reshape Transpose Squeeze ExpandDims AddN Add AddV2 Sub Neg Mul RealDiv Div "
    "Select SelectV2 Minimum Maximum ClipByValue Slice StridedSlice Split ConcatV2 Exit Switch "
    "Merge Pack Sum Mean CheckNumerics IdentityN RefSwitch RefEnter RefIdentity".split()
)
"""Ops that only carry, clip, scale or sum a gradient on its way to the update."""
_SWITCHES = frozenset({"Switch", "RefSwitch"})
_TAKES, _GIVES = "AccumulatorTakeGradient", "AccumulatorApplyGradient"


def updated_by(graph: Graph, variable: str) -> tuple[str, ...]:
    """The nodes that change the variable from what the graph computes (not its initializer)."""
    return tuple(
        name
        for name, handle in _writers(graph, variable)
        if _updates(graph, graph[name], handle, variable)
    )


def _writers(graph: Graph, variable: str) -> Iterator[tuple[str, TensorRef]]:
    """The readers of the variable's handle or reference, and the tensor that hands it to them."""
    is_resource = graph[variable].op == "VarHandleOp"
    handles, views = [TensorRef(variable)], HANDLE_VIEWS if is_resource else REFERENCE_VIEWS
    while handles:
        handle = handles.pop()
        for reader in graph.readers_of(handle):
            node = graph[reader]
            if node.op in views and node.inputs[0] == handle:
                outputs = 2 if node.op in _SWITCHES else 1
                handles += [TensorRef(reader, output) for output in range(outputs)]
            else:
                yield reader, handle


def _updates(graph: Graph, node: Node, handle: TensorRef, variable: str) -> bool:
    if node.inputs[0] != handle:
        return False
    if ops.is_assignment(node.op):
        return assigns_from_itself(graph, node, variable)
    return ops.adds_to_variable(node.op) or ops.is_optimizer_apply(node.op) or "Scatter" in node.op


def assigns_from_itself(graph: Graph, node: Node, variable: str) -> bool:
    """Whether an assignment's value is the variable's own, changed."""
    pending, seen = [node.inputs[1].node], set[str]()
    while pending:
        name = pending.pop()
        if name == variable:
            return True
        one = graph[name]
        if name not in seen and (one.op in CARRIERS or ops.is_variable_read(one.op)):
            pending.extend(ref.node for ref in one.inputs)
        seen.add(name)
    return False


def carried(graph: Graph, mutators: Sequence[str], kernels: Container[str]) -> Iterator[str]:
    """The nodes from which a gradient is carried to ``mutators``, by way of sums kept for later.

    Args:
        kernels: variables that are no such sums.
    """
    seen: set[str] = set()
    pending = [ref.node for name in mutators for ref in graph[name].inputs[1:]]
    while pending:
        name = pending.pop()
        node = graph[name]
        if name in seen or name in kernels:
            continue
        seen.add(name)
        kept = _kept_in(graph, node)
        if kept is not None:
            pending.extend(_added_to(graph, kept))
            continue
        if node.op == "Const":
            continue
        yield name
        if node.op in CARRIERS and node.op != "Exit":
            pending.extend(ref.node for ref in node.inputs)


def _kept_in(graph: Graph, node: Node) -> str | None:
    """The variable or accumulator that a node hands the value of out."""
    if ops.is_variable(node.op):
        return node.name
    if not (ops.is_variable_read(node.op) or node.op == _TAKES):
        return None
    source = node.inputs[0].node
    while graph[source].op in HANDLE_VIEWS:
        source = graph[source].inputs[0].node
    return source


def _added_to(graph: Graph, kept: str) -> Iterator[str]:
    """What is added to a variable or an accumulator in any step."""
    for reader, handle in _writers(graph, kept):
        node = graph[reader]
        if node.inputs[0] == handle and node.op == _GIVES:
            yield node.inputs[2].node
        elif node.inputs[0] == handle and ops.adds_to_variable(node.op):
            yield node.inputs[1].node
