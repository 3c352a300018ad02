"""Which channels hold one number everywhere, and which number.

A filter of zeros gives zeros; a batch norm or a bias makes another number of them, which a later
layer multiplies and sums. A value is an array of the tensor's rank, of size 1 along axes that are
not followed, with NaN for what is not constant; weights are known in full. Zeros times anything are
taken for zeros, which holds as long as nothing is infinite.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphrev.analysis.channels import Channels, Depthwise, Product
from graphrev.analysis.order import topological
from graphrev.analysis.shape_rules import kept_outputs
from graphrev.ir import Node, TensorRef
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.known import Constants, Weights, vector_along
from graphrev.passes.shrink.rules import RULES


def find_constants(channels: Channels, weights: Weights) -> Constants:
    """Follows constants through the graph.

    Args:
        weights: the value of a constant or variable by its name; ``None`` where it is not known.
    """
    constants = Constants(channels, weights)
    products = {product.node: product for product in channels.products}
    depthwise = {one.node: one for one in channels.depthwise}
    for name in topological(channels.graph):
        with np.errstate(all="ignore"):
            try:
                _follow(constants, channels.graph[name], products, depthwise)
            except (ValueError, IndexError, ZeroDivisionError):
                continue  # Shapes that do not fit, as TensorFlow would say: nothing is known.
    return constants


def _follow(
    constants: Constants,
    node: Node,
    products: Mapping[str, Product],
    depthwise: Mapping[str, Depthwise],
) -> None:
    """Notes what is known of a node's outputs."""
    if node.op in ("Split", "SplitV"):
        _split(constants, node)
        return
    if node.name in products:
        value = _product(constants, products[node.name])
    elif node.name in depthwise:
        value = _depthwise(constants, depthwise[node.name])
    else:
        value = _by_rule(constants, node)
    if value is not None:
        constants.note(TensorRef(node.name), value)


def _by_rule(constants: Constants, node: Node) -> Array | None:
    if not node.inputs:
        return constants.weights(node.name)
    rule = RULES.get(node.op)
    return None if rule is None else rule(constants, node)


def _product(constants: Constants, product: Product) -> Array | None:
    """A filter's output is constant where each channel it uses is; of 0, at borders as well."""
    known = constants.filters(product)
    dims = constants.channels.shapes.dims(TensorRef(product.node))
    if known is None or dims is None:
        return None
    given = constants.along(product.data, product.data_axis, len(known.used))
    unknown = np.isnan(given) | (given != 0 if constants.is_padded(product) else False)
    bad = unknown.astype(np.float64) @ known.used > 0
    made = np.where(bad, np.nan, np.nan_to_num(given) @ known.sums)
    return vector_along(made, product.axis, len(dims))


def _depthwise(constants: Constants, one: Depthwise) -> Array | None:
    kernel = constants.of(one.kernel)
    if kernel is None or not np.isfinite(kernel).all():
        return None
    flat = kernel.reshape(-1, *kernel.shape[-2:])
    used, sums = (flat != 0).any(0), flat.sum(0, dtype=np.float64)
    given = constants.along(one.data, one.data_axis, len(sums))[:, None]
    padded = one.is_padded or one.data in constants.bordered
    is_known = (given == 0) if padded else ~np.isnan(given)
    made = np.where(used, np.where(is_known, np.nan_to_num(given) * sums, np.nan), 0.0)
    return vector_along(made.reshape(-1), one.data_axis, 4)


def _split(constants: Constants, node: Node) -> None:
    """Notes the value of each part."""
    data = node.inputs[0 if node.op == "SplitV" else 1]
    at = constants.numbers(node.inputs[2 if node.op == "SplitV" else 0])
    value, count = constants.of(data), kept_outputs(node)
    if value is None or not at or not count:
        return
    axis, start = at[0] % value.ndim, 0
    for index in range(count):
        ref = TensorRef(node.name, index)
        dims = constants.channels.shapes.dims(ref)
        size = dims[axis] if dims is not None else None
        if value.shape[axis] == 1:
            constants.note(ref, value)
        elif isinstance(size, int):
            constants.note(ref, value.take(range(start, start + size), axis))
            start += size
