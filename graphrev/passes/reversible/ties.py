"""Streams that are kept because somebody tells apart what rounding makes of a zero.

The first streams of a chain come from elsewhere. Where one is the result of a ReLU, half of it is
exactly zero, and TensorFlow's gradient of the ReLU asks which (``ReluGrad`` compares the *result*
with 0, core/kernels/relu_op_functor.h). Rebuilt as ``y - f(q)``, a zero comes back as 1e-8 or as
-1e-8, and the gradient would pass where it must not: an error of percents, not of rounding. The
gradients of max pooling and of ``reduce_max`` compare as well. Such a stream is kept.

Inside the chain nothing of the kind happens: a sum hits zero, or ties with another, only where what
it is made of does, and there the gradient ends in the comparisons that are exact.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphrev.analysis import ops
from graphrev.ir import Graph, TensorRef
from graphrev.passes.reversible.halves import Chain
from graphrev.pipeline import Code, Rejection

_COMPARES = frozenset(
    (
        "ReluGrad Relu6Grad SeluGrad LeakyReluGrad MaxPoolGrad MaxPoolGradV2 MaxPool3DGrad "
        "MaxPoolGradWithArgmax FractionalMaxPoolGrad Equal NotEqual ApproximateEqual Greater "
        "GreaterEqual Less LessEqual Sign Floor Ceil Round Rint ArgMax ArgMin TopK TopKV2"
    ).split()
)
"""Ops whose output jumps where an input passes a value, or another input."""


def compares(graph: Graph, chain: Chain, stream: TensorRef, reader: str) -> bool:
    """Whether a reader of a first stream of a chain must see exactly the value that was computed.

    What a loop or a function hands in is no result of an op that makes ties: it counts as a sum.
    """
    source = graph[stream.node]
    handed_in = not source.inputs or ops.is_control_flow_v1(source.op)
    first = stream in chain.inputs and not handed_in
    return first and graph[reader].op in _COMPARES


def kept_for(chain: Chain, kept: Iterable[tuple[TensorRef, str]]) -> Iterable[Rejection]:
    """One note for each stream that is kept for a reader."""
    for stream, reader in dict(kept).items():
        reason = (
            f"Stream '{stream}' of block '{chain.name}' is kept: '{reader}' compares, and would "
            "tell a rebuilt value from the one that was computed."
        )
        yield Rejection(Code.COMPARED, reason, (stream.node, reader))
