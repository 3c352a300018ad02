"""The functions of contrib's ``pruning_utils``, as its own tests and section 2.1 have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow

from graphrev.pruning import pruning_utils
from tests.pruning.rows import Raises, Row
from tests.pruning.running import names, session

tf: Any = tensorflow.compat.v1
SIZES = ((1, 1), (1, 10), (10, 1), (10, 10), (5, 20), (20, 5))
BLOCKS = ((1, 1), (4, 1), (2, 3))
"""With contrib's 18 pairs."""


def pooled(kind: str, size: tuple[int, int], block: tuple[int, int]) -> bool:
    """Whether pooling by axes is pooling at once."""
    values = np.random.default_rng(0).random(size).astype(np.float32)
    found = pruning_utils.factorized_pool(tf.constant(values), block, kind, block, "SAME")
    wanted = tf.nn.pool(
        values[None, :, :, None],
        window_shape=block,
        pooling_type=kind,
        strides=block,
        padding="SAME",
    )
    with session() as opened:
        one, other = opened.run([found, wanted[0, :, :, 0]])
    return bool(np.allclose(one, other, atol=1e-6))


def expanded(size: tuple[int, int], block: tuple[int, int]) -> bool:
    values = np.random.default_rng(0).random(size).astype(np.float32)
    found = [
        pruning_utils.expand_tensor(tf.constant(values), block),
        pruning_utils.kronecker_product(tf.constant(values), tf.ones(block)),
    ]
    with session() as opened:
        both = opened.run(found)
    return all(np.array_equal(one, np.kron(values, np.ones(block))) for one in both)


def variables() -> Any:
    weight = tf.get_variable("w", [2, 3], tf.float64)
    mask = pruning_utils.weight_mask_variable(weight, "layer")
    threshold = pruning_utils.weight_threshold_variable(weight, "layer")
    with session() as opened:
        values = opened.run([mask, threshold])
    trained = names(tf.trainable_variables())
    return [mask.name, threshold.name], values[0].tolist(), str(values[1].dtype), trained


def assigned() -> Any:
    weight = tf.get_variable("w", [2])
    op = pruning_utils.variable_assign(weight, [1.0, 2.0])
    with session(op) as opened:
        return op.name.split(":")[0].rpartition("/")[2], opened.run(weight).tolist()


def partitioned() -> Any:
    with tf.variable_scope("", partitioner=tf.fixed_size_partitioner(2)):
        weight = tf.get_variable("w", [4, 3])
    op = pruning_utils.partitioned_variable_assign(weight, tf.ones([4, 3]))
    axis = pruning_utils.determine_partitioned_axis(weight)
    with session(op) as opened:
        return axis, float(opened.run(weight.as_tensor()).sum())


ROWS: list[Row] = [
    (
        "factorized_pool AVG",
        lambda: [pooled("AVG", size, block) for size in SIZES for block in BLOCKS],
        [True] * 18,
    ),
    (
        "factorized_pool MAX",
        lambda: [pooled("MAX", size, block) for size in SIZES for block in BLOCKS],
        [True] * 18,
    ),
    (
        "expand_tensor is a Kronecker product with ones",
        lambda: [expanded(size, block) for size in SIZES for block in BLOCKS],
        [True] * 18,
    ),
    (
        "factorized_pool: rank 3",
        lambda: pruning_utils.factorized_pool(tf.ones([2, 2, 2]), (1, 1), "AVG", (1, 1), "SAME"),
        Raises(ValueError, "rank 2 only"),
    ),
    (
        "expand_tensor: rank 1",
        lambda: pruning_utils.expand_tensor(tf.ones([2]), (1, 1)),
        Raises(ValueError, "must be rank 2"),
    ),
    (
        "expand_tensor: one block size",
        lambda: pruning_utils.expand_tensor(tf.ones([2, 2]), (1,)),
        Raises(ValueError, "must have 2 elements"),
    ),
    (
        "weight_mask_variable, weight_threshold_variable",
        variables,
        (["layer/mask:0", "layer/threshold:0"], [[1.0] * 3] * 2, "float64", ["w:0"]),
    ),
    ("variable_assign", assigned, ("w_assign", [1.0, 2.0])),
    ("partitioned_variable_assign", partitioned, (0, 12.0)),
]
