"""Output shapes of convolutions, pooling, normalisation and losses (core/ops/nn_ops.cc)."""

from __future__ import annotations

from collections.abc import Callable

from graphrev.analysis.dims import Dim, Dims, padded, product, quotient, window
from graphrev.analysis.shape_inputs import Inputs, integer, integers
from graphrev.ir import Node

Rule = Callable[[Inputs, Node], "tuple[Dims, ...]"]


def _channel_axis(node: Node, rank: int) -> int:
    layout = node.attrs.get("data_format", b"NHWC")
    first = isinstance(layout, bytes) and layout[1:2] == b"C"
    return 1 if first else rank - 1


def _windowed(
    node: Node, dims: tuple[Dim, ...], kernel: tuple[Dim, ...], channels: Dim
) -> tuple[Dim, ...] | None:
    """Slides a window of ``kernel`` (spatial sizes) over ``dims``."""
    rank = len(dims)
    channel = _channel_axis(node, rank)
    spatial = [axis for axis in range(1, rank) if axis != channel]
    strides = integers(node, "strides", (1,) * rank)
    dilations = integers(node, "dilations", (1,) * rank)
    padding = node.attrs.get("padding", b"SAME")
    if len(kernel) != len(spatial) or len(strides) != rank or not isinstance(padding, bytes):
        return None
    if min(strides, default=1) < 1:
        return None
    result = list(dims)
    around = integers(node, "explicit_paddings")
    if padding == b"EXPLICIT" and len(around) == 2 * rank:
        result = [padded(dim, around[2 * i], around[2 * i + 1]) for i, dim in enumerate(dims)]
        padding = b"VALID"
    for axis, size in zip(spatial, kernel):
        dilation = dilations[axis] if len(dilations) == rank else 1
        result[axis] = window(result[axis], size, strides[axis], dilation, padding)
    result[channel] = channels
    return tuple(result)


def _conv(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, kernel = known.dims(node, 0), known.dims(node, 1)
    if dims is None or kernel is None or len(dims) != len(kernel):
        return (None,)
    return (_windowed(node, dims, kernel[:-2], kernel[-1]),)


def _depthwise(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, kernel = known.dims(node, 0), known.dims(node, 1)
    if dims is None or kernel is None or len(dims) != 4 or len(kernel) != 4:
        return (None,)
    return (_windowed(node, dims, kernel[:2], product(kernel[2:])),)


def _pool(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    kernel = integers(node, "ksize")
    if dims is None or len(kernel) != len(dims):
        return (None,)
    channel = _channel_axis(node, len(dims))
    spatial = tuple(size for axis, size in enumerate(kernel) if axis not in (0, channel))
    return (_windowed(node, dims, spatial, dims[channel]),)


def _from_value(position: int) -> Rule:
    def rule(known: Inputs, node: Node) -> tuple[Dims, ...]:
        return (known.value(node, position),)

    return rule


def _like(position: int) -> Rule:
    def rule(known: Inputs, node: Node) -> tuple[Dims, ...]:
        return (known.dims(node, position),)

    return rule


def _batch_norm(known: Inputs, node: Node) -> tuple[Dims, ...]:
    count = 6 if node.op == "FusedBatchNormV3" else 5
    return (known.dims(node, 0), *(known.dims(node, 1),) * 4, *((0,),) * (count - 5))


def _batch_norm_gradient(known: Inputs, node: Node) -> tuple[Dims, ...]:
    scale = known.dims(node, 2)
    return (known.dims(node, 0), scale, scale, (0,), (0,))


def _bias_gradient(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    return (None if not dims else (dims[_channel_axis(node, len(dims))],),)


def _softmax_loss(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims = known.dims(node)
    return (None if dims is None else dims[:-1], dims)


def _resize(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, size = known.dims(node), known.value(node, 1)
    if dims is None or len(dims) != 4 or size is None or len(size) != 2:
        return (None,)
    return ((dims[0], *size, dims[3]),)


def _depth_to_space(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, block = known.dims(node), integer(node, "block_size", 1)
    if dims is None or len(dims) != 4 or _channel_axis(node, 4) != 3:
        return (None,)
    batch, height, width, depth = dims
    return (
        (batch, product((height, block)), product((width, block)), quotient((depth,), (block**2,))),
    )


def _space_to_depth(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, block = known.dims(node), integer(node, "block_size", 1)
    if dims is None or len(dims) != 4 or _channel_axis(node, 4) != 3:
        return (None,)
    batch, height, width, depth = dims
    return (
        (
            batch,
            quotient((height,), (block,)),
            quotient((width,), (block,)),
            product((depth, block * block)),
        ),
    )


def _top_k(known: Inputs, node: Node) -> tuple[Dims, ...]:
    dims, k = known.dims(node), known.value(node, 1)
    if not dims or not k:
        return (None, None)
    return ((*dims[:-1], k[0]),) * 2


def _in_top_k(known: Inputs, node: Node) -> tuple[Dims, ...]:
    return (known.dims(node, 1),)


NN_RULES: dict[str, Rule] = {
    "AvgPool": _pool,
    "AvgPool3D": _pool,
    "AvgPoolGrad": _from_value(0),
    "AvgPool3DGrad": _from_value(0),
    "BiasAddGrad": _bias_gradient,
    "BiasAddV1": _like(0),
    "Conv2D": _conv,
    "Conv3D": _conv,
    "Conv2DBackpropFilter": _from_value(1),
    "Conv3DBackpropFilterV2": _from_value(1),
    "Conv2DBackpropInput": _from_value(0),
    "Conv3DBackpropInputV2": _from_value(0),
    "DepthToSpace": _depth_to_space,
    "DepthwiseConv2dNative": _depthwise,
    "DepthwiseConv2dNativeBackpropFilter": _from_value(1),
    "DepthwiseConv2dNativeBackpropInput": _from_value(0),
    "FusedBatchNorm": _batch_norm,
    "FusedBatchNormV2": _batch_norm,
    "FusedBatchNormV3": _batch_norm,
    "FusedBatchNormGrad": _batch_norm_gradient,
    "FusedBatchNormGradV2": _batch_norm_gradient,
    "FusedBatchNormGradV3": _batch_norm_gradient,
    "InTopK": _in_top_k,
    "InTopKV2": _in_top_k,
    "LRN": _like(0),
    "LRNGrad": _like(0),
    "MaxPool": _pool,
    "MaxPool3D": _pool,
    "MaxPoolGrad": _like(0),
    "MaxPool3DGrad": _like(0),
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "SoftmaxCrossEntropyWithLogits": _softmax_loss,
    "SpaceToDepth": _space_to_depth,
    "SparseSoftmaxCrossEntropyWithLogits": _softmax_loss,
    "StridedSliceGrad": _from_value(0),
    "TopKV2": _top_k,
}
