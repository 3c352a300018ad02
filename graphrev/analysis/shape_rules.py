"""Output shapes, op by op (core/ops/*_ops.cc, "SetShapeFn").

A rule returns one shape per output. An op without a rule has unknown shapes, which is always safe:
a shape is only ever used to allow something, never to assume it.
"""

from __future__ import annotations

from collections.abc import Callable

from graphrev.analysis.dims import Dim, Dims, axes, broadcast, product, quotient, total
from graphrev.analysis.ops import is_optimizer_apply, output_count
from graphrev.analysis.shape_inputs import Inputs, declared, integer, integers, named
from graphrev.analysis.shape_rules_nn import NN_RULES
from graphrev.analysis.shape_rules_queues import (
    DEQUEUES,
    DEQUEUES_OF_MANY,
    TAKES,
    dequeued,
    dequeued_many,
    taken,
)
from graphrev.analysis.shape_rules_slices import strided_slice
from graphrev.analysis.shape_rules_spaces import batch_to_space, space_to_batch
from graphrev.analysis.shape_values import broadcast_axes
from graphrev.ir import Node, Shape, TensorValue

__all__ = ["Inputs", "output_shapes"]

LOOP_OPS = frozenset({"NextIteration", "RefNextIteration"})
_COUNTED = frozenset({"Split", "SplitV", "Unpack"})
"""Ops whose number of outputs is an attribute."""
MOST_PIECES = 1024
"""Outputs of one node whose shapes are kept; a few bytes can ask for a million of them."""
Rule = Callable[[Inputs, Node], "tuple[Dims, ...]"]


def kept_outputs(node: Node) -> int:
    """How many outputs a node has; 0 where that is not known, or shapes of so many are not kept."""
    count = output_count(node) or 0
    return 0 if node.op in _COUNTED and count > MOST_PIECES else count


def output_shapes(known: Inputs, node: Node) -> tuple[Dims, ...] | None:
    """The shape of every output of ``node``; ``None`` where no rule knows the op."""
    rule = _RULES.get(node.op)
    if rule is not None:
        if node.op in _COUNTED and not kept_outputs(node):
            return None if output_count(node) is None else ()
        return rule(known, node)
    if is_optimizer_apply(node.op):
        return (known.dims(node),)
    return None


def _like_first(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (known.dims(node),)


def _broadcast(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (broadcast(known.dims(node, 0), known.dims(node, 1)),)


def _scalar(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return ((),)


def _add_n(known: Inputs, node: Node) -> tuple[Dims, ...]:
    for position in range(len(node.inputs)):
        dims = known.dims(node, position)
        if dims is not None:
            return (dims,)
    return (None,)


def _constant(known: Inputs, node: Node) -> tuple[Dims, ...]:
    value = node.attrs.get("value")
    if not isinstance(value, TensorValue) or value.shape.dims is None:
        return (None,)
    return (tuple(0 if dim is None else dim for dim in value.shape.dims),)


def _declared(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (declared(node),)


def _listed(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """What an input pipeline yields, as its attribute says."""
    listed = node.attrs.get("output_shapes")
    shapes = listed if isinstance(listed, tuple) else ()
    return tuple(
        named(node.name, i, shape.dims if isinstance(shape, Shape) else None)
        for i, shape in enumerate(shapes)
    )


def _functional(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """What a functional loop or branch hands out, as far as its attribute says."""
    listed, count = _listed(known, node), kept_outputs(node)
    return listed if len(listed) == count else (None,) * count


def _read(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (known.variable(node),)


def _matmul(known: Inputs, node: Node) -> tuple[Dims, ...]:
    left, right = known.dims(node, 0), known.dims(node, 1)
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return (None,)
    rows = left[1] if node.attrs.get("transpose_a") is True else left[0]
    columns = right[0] if node.attrs.get("transpose_b") is True else right[1]
    return ((rows, columns),)


def _batch_matmul(known: Inputs, node: Node) -> tuple[Dims, ...]:
    left, right = known.dims(node, 0), known.dims(node, 1)
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return (None,)
    batch = broadcast(left[:-2], right[:-2])
    rows = left[-1] if node.attrs.get("adj_x") is True else left[-2]
    columns = right[-2] if node.attrs.get("adj_y") is True else right[-1]
    return (None if batch is None else (*batch, rows, columns),)


def _concat(known: Inputs, node: Node) -> tuple[Dims, ...]:
    place = 0 if node.op == "Concat" else len(node.inputs) - 1
    parts = [known.dims(node, i) for i in range(len(node.inputs)) if i != place]
    shapes = [dims for dims in parts if dims is not None]
    if len(shapes) != len(parts) or len({len(dims) for dims in shapes}) != 1:
        return (None,)
    at = known.axis(node, place, len(shapes[0]))
    if at is None:
        return (None,)
    joined = total(dims[at] for dims in shapes)
    return ((*shapes[0][:at], joined, *shapes[0][at + 1 :]),)


def _split(known: Inputs, node: Node) -> tuple[Dims, ...]:
    count = integer(node, "num_split")
    sizes: list[Dim] | None = None
    split, places = (0, 2) if node.op == "SplitV" else (1, 0)
    if node.op == "SplitV":
        value = known.value(node, 1)
        sizes = list(value) if value is not None else None
    dims = known.dims(node, split)
    at = None if dims is None else known.axis(node, places, len(dims))
    if dims is None or at is None:
        return (None,) * count
    if sizes is not None and sizes.count(-1) == 1:
        taken, whole = total(size for size in sizes if size != -1), dims[at]
        rest: Dim = ("split", node.name)
        if isinstance(taken, int) and isinstance(whole, int):
            rest = whole - taken
        sizes = [rest if size == -1 else size for size in sizes]
    if sizes is None or len(sizes) != count or -1 in sizes:
        sizes = [quotient((dims[at],), (count,))] * count
        if node.op == "SplitV":
            sizes = [("split", node.name, i) for i in range(count)]
    return tuple((*dims[:at], size, *dims[at + 1 :]) for size in sizes)


def _pack(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    if dims is None:
        return (None,)
    at = integer(node, "axis") % (len(dims) + 1)
    return ((*dims[:at], len(node.inputs), *dims[at:]),)


def _unpack(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, count = known.dims(node), integer(node, "num")
    if not dims:
        return (None,) * count
    at = integer(node, "axis") % len(dims)
    return ((*dims[:at], *dims[at + 1 :]),) * count


def _reshape(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, wanted = known.dims(node), known.value(node, 1)
    if wanted is None:
        return (None,)
    if -1 not in wanted:
        return (wanted,)
    rest = tuple(dim for dim in wanted if dim != -1)
    hole: Dim = ("reshape", node.name) if dims is None else quotient(dims, rest)
    return (tuple(hole if dim == -1 else dim for dim in wanted),)


def _from_value(position: int) -> Rule:
    """Ops whose output has the shape that an integer input spells."""

    def rule(known: Inputs, node: Node) -> tuple[Dims, ...]:
        return (known.value(node, position),)

    return rule


def _expand_dims(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    at = None if dims is None else known.axis(node, 1, len(dims) + 1)
    if dims is None or at is None:
        return (None,)
    return ((*dims[:at], 1, *dims[at:]),)


def _squeeze(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    if dims is None:
        return (None,)
    listed = axes(integers(node, "squeeze_dims"), len(dims))
    if not listed and not all(isinstance(dim, int) for dim in dims):
        return (None,)
    drop = listed or {i for i, dim in enumerate(dims) if dim == 1}
    return (tuple(dim for i, dim in enumerate(dims) if i not in drop),)


def _transpose(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, order = known.dims(node), known.numbers(node, 1)
    if dims is None or order is None or len(order) != len(dims):
        return (None,)
    return (tuple(dims[i % len(dims)] for i in order),)


def _tile(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, times = known.dims(node), known.value(node, 1)
    if dims is None or times is None or len(times) != len(dims):
        return (None,)
    return (tuple(product(pair) for pair in zip(dims, times)),)


def _pad(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, widths = known.dims(node), known.numbers(node, 1)
    if dims is None or widths is None or len(widths) != 2 * len(dims):
        return (None,)
    pairs = zip(dims, widths[::2], widths[1::2])
    return (tuple(total((dim, before + after)) for dim, before, after in pairs),)


def _slice(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, begin, size = known.dims(node), known.value(node, 1), known.value(node, 2)
    if dims is None or size is None or len(size) != len(dims):
        return (None,)
    starts = begin if begin and len(begin) == len(dims) else (None,) * len(dims)
    return (tuple(_sliced(node, i, d, starts[i], s) for i, (d, s) in enumerate(zip(dims, size))),)


def _sliced(node: Node, axis: int, dim: Dim, start: Dim | None, size: Dim) -> Dim:
    if size != -1:
        return size
    if start == 0:
        return dim
    if isinstance(dim, int) and isinstance(start, int):
        return dim - start
    return ("slice", node.name, axis)


def _reduce(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, over = known.dims(node), known.numbers(node, 1)
    keep = node.attrs.get("keep_dims") is True
    if dims is None or over is None:
        return (None,)
    gone = axes(over, len(dims))
    if keep:
        return (tuple(1 if i in gone else dim for i, dim in enumerate(dims)),)
    return (tuple(dim for i, dim in enumerate(dims) if i not in gone),)


def _arg(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    at = None if dims is None else known.axis(node, 1, len(dims))
    if dims is None or at is None:
        return (None,)
    return ((*dims[:at], *dims[at + 1 :]),)


def _gather(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, where = known.dims(node, 0), known.dims(node, 1)
    if not dims or where is None or integer(node, "batch_dims"):
        return (None,)
    at = known.axis(node, 2, len(dims)) if node.op == "GatherV2" else 0
    if at is None:
        return (None,)
    return ((*dims[:at], *where, *dims[at + 1 :]),)


def _one_hot(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, depth = known.dims(node), known.value(node, 1)
    if dims is None or not depth:
        return (None,)
    at = integer(node, "axis", -1) % (len(dims) + 1)
    return ((*dims[:at], depth[0], *dims[at:]),)


def _shape(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return tuple(
        None if (dims := known.dims(node, i)) is None else (len(dims),)
        for i in range(len(node.inputs))
    )


def _range(known: Inputs, node: Node) -> tuple[Dims, ...]:
    parts = [known.numbers(node, i) for i in range(3)]
    start, limit, delta = (part[0] if part else None for part in parts)
    if start is None or limit is None or not delta:
        return ((("range", node.name),),)
    return ((max(0, -((start - limit) // delta)),),)


def _switch(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (known.dims(node), known.dims(node))


def _merge(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """A loop variable has the shape it enters with, unless that was found not to hold."""
    if any(known.graph[ref.node].op in LOOP_OPS for ref in node.inputs):
        return (None if node.name in known.unstable else known.dims(node), ())
    shapes = {known.dims(node, i) for i in range(len(node.inputs))}
    return (shapes.pop() if len(shapes) == 1 else None, ())


def _gradient_args(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return tuple(
        (("reduced", node.name, side) if axes_ is None else len(axes_),)
        for side, axes_ in enumerate(broadcast_axes(known, node))
    )


def _identity_n(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return tuple(known.dims(node, i) for i in range(len(node.inputs)))


def _select(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (known.dims(node, 1),)


def _assign_resource(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return ()


_SAME = (
    "Identity StopGradient PreventGradient Snapshot Cast CheckNumerics ZerosLike OnesLike "
    "Softmax LogSoftmax ClipByValue InvertPermutation Enter Exit NextIteration RefEnter "
    "RefExit RefIdentity RefNextIteration Reverse ReverseV2 ReverseSequence Cumsum Cumprod "
    "Assign AssignAdd AssignSub ScatterUpdate ScatterAdd ScatterSub IsNan IsInf IsFinite "
    "Bitcast DebugIdentity EnsureShape Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf "
    "Erfc Exp Expm1 Floor Inv Lgamma Log Log1p LogicalNot Neg Reciprocal Relu Relu6 LeakyRelu "
    "Elu Selu Rint Round Rsqrt Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square Tan Tanh "
    "ReluGrad Relu6Grad LeakyReluGrad EluGrad SeluGrad SigmoidGrad TanhGrad SoftplusGrad "
    "SoftsignGrad SqrtGrad RsqrtGrad ReciprocalGrad InvGrad PlaceholderWithDefault BiasAdd "
    "RandomShuffle FakeQuantWithMinMaxArgs"
).split()
_BINARY = (
    "Add AddV2 Sub Mul Div RealDiv DivNoNan FloorDiv TruncateDiv Mod FloorMod TruncateMod "
    "Maximum Minimum Pow SquaredDifference Atan2 Xdivy Xlogy MulNoNan Less LessEqual Greater "
    "GreaterEqual Equal NotEqual LogicalAnd LogicalOr ApproximateEqual SelectV2"
).split()
_REDUCTIONS = ("Sum Mean Prod Max Min All Any EuclideanNorm").split()
_SCALARS = (
    "Size Rank L2Loss LoopCond IsVariableInitialized VarIsInitializedOp VarHandleOp "
    "ScalarSummary HistogramSummary MergeSummary ControlTrigger"
).split()
_RANDOM = (
    "RandomUniform RandomStandardNormal TruncatedNormal RandomUniformInt "
    "StatelessRandomUniform StatelessRandomNormal StatelessTruncatedNormal "
    "StatelessRandomUniformInt ParameterizedTruncatedNormal Fill StatelessRandomUniformV2 "
    "StatelessRandomNormalV2 StatelessTruncatedNormalV2 StatelessRandomUniformIntV2"
).split()

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, _like_first),
    **dict.fromkeys(_BINARY, _broadcast),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_SCALARS, _scalar),
    **dict.fromkeys(_RANDOM, _from_value(0)),
    **NN_RULES,
    "AddN": _add_n,
    "ArgMax": _arg,
    "ArgMin": _arg,
    "AssignAddVariableOp": _assign_resource,
    "AssignSubVariableOp": _assign_resource,
    "AssignVariableOp": _assign_resource,
    "BatchMatMul": _batch_matmul,
    "BatchMatMulV2": _batch_matmul,
    "BatchToSpaceND": batch_to_space,
    "BroadcastGradientArgs": _gradient_args,
    "BroadcastTo": _from_value(1),
    "Concat": _concat,
    "ConcatV2": _concat,
    "Const": _constant,
    "ExpandDims": _expand_dims,
    "Gather": _gather,
    "GatherV2": _gather,
    "IdentityN": _identity_n,
    **dict.fromkeys(("While", "StatelessWhile", "If", "StatelessIf"), _functional),
    **dict.fromkeys(("Case", "StatelessCase"), _functional),
    **dict.fromkeys(DEQUEUES, dequeued),
    **dict.fromkeys(DEQUEUES_OF_MANY, dequeued_many),
    **dict.fromkeys(TAKES, taken),
    "IteratorGetNext": _listed,
    "IteratorGetNextSync": _listed,
    "MatMul": _matmul,
    "Merge": _merge,
    "MirrorPad": _pad,
    "NoOp": _assign_resource,
    "OneHot": _one_hot,
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad,
    "Placeholder": _declared,
    "PlaceholderV2": _declared,
    "Range": _range,
    "ReadVariableOp": _read,
    "RefMerge": _merge,
    "RefSwitch": _switch,
    "Reshape": _reshape,
    "Select": _select,
    "Shape": _shape,
    "ShapeN": _shape,
    "Slice": _slice,
    "SpaceToBatchND": space_to_batch,
    "Split": _split,
    "SplitV": _split,
    "Squeeze": _squeeze,
    "StridedSlice": strided_slice,
    "Switch": _switch,
    "TemporaryVariable": _declared,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unpack": _unpack,
    "Variable": _declared,
    "VariableV2": _declared,
}
