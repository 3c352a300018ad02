"""The mask pass's update nodes in a live graph.

The mask pass writes its nodes with a ``Writer`` (graphrev.passes.mask). Here they are written to a
graph of their own that stands in for the live one by placeholders, and imported in its place. So
there is one implementation of exact selection, of blocks and of schedules, and masks made by these
calls have the zeros that ``graphrev rewrite -p mask`` would give them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow

from graphrev.editor import GraphEditor
from graphrev.errors import printable
from graphrev.io.node_defs import encode_node
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.passes.mask.blocks import block_scores, protected, spread
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.schedule import Schedule
from graphrev.passes.mask.select import select
from graphrev.passes.mask.structure import Structure
from graphrev.passes.mask.updating import host_of
from graphrev.pruning.errors import PruningValueError

tf: Any = tensorflow.compat.v1
Pooling = Literal["mean", "max"]
Write = Callable[[Writer, Sequence[TensorRef]], Sequence[TensorRef]]


def written(inputs: Sequence[Any], write: Write, name: str) -> list[Any]:
    """What ``write`` adds, as live tensors of the default graph.

    Args:
        inputs: live tensors; ``write`` is given a reference to each.
        name: the scope of what is added.
    """
    held = [Node(f"given_{place}", "Placeholder") for place in range(len(inputs))]
    editor = GraphEditor(Graph.of(held))
    results = write(Writer(editor, "", marked=False), [TensorRef(node.name) for node in held])
    graph, _ = editor.finish()
    definition = tf.GraphDef()
    for node in graph.nodes.values():
        if node.op != "Placeholder":
            definition.node.add().MergeFromString(encode_node(node))
    definition.versions.CopyFrom(tf.get_default_graph().graph_def_versions)
    # An imported node belongs to the loop or branch that is being built, what it reads may not:
    # an Identity made here leads it in.
    given = {f"{node.name}:0": tf.identity(x) for node, x in zip(held, inputs)}
    wanted = [f"{ref.node}:{ref.index}" for ref in results]
    return tf.import_graph_def(definition, given, wanted, name=name)


def risen(step: Any, begin: int, end: int, exponent: float) -> Any:
    """How much of the way from the first to the last sparsity is gone, a float64 scalar.

    Args:
        step: the int64 scalar of steps done.
    """
    schedule = Schedule("polynomial", begin, end, power=exponent)
    return written([step], lambda writer, given: [schedule.write(writer, given[0])], "schedule")[0]


@dataclass(frozen=True)
class Scored:
    """The scores of one weight: what is dropped first is what has the smallest.

    Attributes:
        scores: floating-point, not negative, without NaN, in the shape of the weight.
        name: of the weight.
        block: the size of the blocks that are dropped as one, on the last two axes of more than
            one element; ``None`` for single weights.
    """

    scores: Any
    name: str
    block: tuple[int, int] | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """The static shape.

        Raises:
            ValueError: it is not known (a ``PruningValueError``).
        """
        shape = self.scores.shape
        if not shape.is_fully_defined():
            raise PruningValueError(
                f"The weight '{printable(self.name)}' has no static shape, so it cannot be pruned."
            )
        return tuple(shape.as_list())

    @property
    def structure(self) -> Structure:
        """What is dropped as one."""
        sizes = [size for size in self.dims if size != 1]
        if self.block is None or len(sizes) != 2:
            return Structure("weights", (1, 1, math.prod(self.dims)))
        rows, columns = sizes
        high, wide = (size if size > 0 else whole for size, whole in zip(self.block, sizes))
        return Structure("blocks", (1, rows, columns), (1, min(high, rows), min(wide, columns)))


@dataclass(frozen=True)
class Masks:
    """The new masks of weights that are ranked together.

    Attributes:
        masks: in the shapes of the weights, of their type.
        smallest: the smallest score that is kept, a scalar.
    """

    masks: list[Any]
    smallest: Any


def masks_of(
    weights: Sequence[Scored], sparsity: Any, pooling: Pooling, old: Any = None, decay: float = 0.0
) -> Masks:
    """Keeps the ``round(n * (1 - sparsity))`` largest of n, at least one of each weight.

    Of equal scores those of the lowest index are dropped first, as in the mask pass.

    Args:
        weights: what is ranked together, all of one type.
        sparsity: a float64 scalar.
        pooling: what of its weights' scores is the score of a block.
        old: the threshold up to now, a scalar.
        decay: how much of ``old`` the new threshold keeps; above 0 what is kept is what reaches
            the threshold, however many that are.

    Raises:
        ValueError: the types differ, or a shape is not known (a ``PruningValueError``).
    """
    dtype = _dtype_of(weights)
    units = sum(item.structure.units for item in weights)
    device = host_of(weights[0].scores.device)
    with tf.device(device or None):
        scores = written(
            [item.scores for item in weights],
            lambda writer, given: [_joined(writer, given, weights, dtype, pooling)],
            "scores",
        )[0]
        kept = tf.round(units * (1.0 - sparsity))
        kept = tf.cast(tf.minimum(tf.maximum(kept, 1.0), float(units)), tf.int32)
        zeros = tf.reshape(units - kept, [1])
        mask = written(
            [scores, zeros],
            lambda writer, given: [select(writer, given[0], dtype, given[1]).mask],
            "select",
        )[0]
        endless = tf.fill(tf.shape(scores), tf.constant(math.inf, scores.dtype))
        smallest = tf.reduce_min(tf.where(tf.greater(mask, 0), scores, endless))
        if decay:
            smallest = smallest * (1.0 - decay) + old * decay
            mask = tf.cast(tf.greater_equal(scores, smallest), scores.dtype)
        masks = written(
            [mask], lambda writer, given: _parted(writer, given[0], weights, dtype), "masks"
        )
    for item, found in zip(weights, masks):
        found.set_shape(item.dims)
    return Masks(masks, smallest)


def _dtype_of(weights: Sequence[Scored]) -> DType:
    types = {item.scores.dtype.base_dtype for item in weights}
    names = ", ".join(f"'{printable(item.name)}'" for item in weights[:3])
    if len(types) > 1:
        raise PruningValueError(f"Weights of several types cannot be ranked together: {names}.")
    (dtype,) = types
    return DType(dtype.as_datatype_enum)


def _joined(
    writer: Writer,
    given: Sequence[TensorRef],
    weights: Sequence[Scored],
    dtype: DType,
    pooling: Pooling,
) -> TensorRef:
    """The scores of all units as one vector."""
    flat: list[TensorRef] = []
    for ref, item in zip(given, weights):
        if item.structure.kind == "blocks":
            ref = block_scores(writer, ref, dtype, item.structure, pooling)
        flat.append(writer.reshape(ref, (-1,), dtype))
    if len(flat) == 1:
        return flat[0]
    flat = [protected(writer, scores, dtype) for scores in flat]
    attrs = {"T": dtype, "Tidx": DType.INT32, "N": len(flat)}
    return writer.add("ConcatV2", "concat", (*flat, writer.scalar(DType.INT32, 0)), attrs)


def _parted(
    writer: Writer, mask: TensorRef, weights: Sequence[Scored], dtype: DType
) -> list[TensorRef]:
    """The mask of all units as one mask for each weight."""
    parts = [mask]
    if len(weights) > 1:
        sizes = writer.vector(DType.INT32, [item.structure.units for item in weights])
        attrs = {"T": dtype, "Tlen": DType.INT32, "num_split": len(weights)}
        inputs = (mask, sizes, writer.scalar(DType.INT32, 0))
        split = writer.add("SplitV", "split", inputs, attrs)
        parts = [TensorRef(split.node, place) for place in range(len(weights))]
    return [
        spread(writer, part, dtype, item.dims, item.structure)
        if item.structure.kind == "blocks"
        else writer.reshape(part, item.dims, dtype)
        for part, item in zip(parts, weights)
    ]
