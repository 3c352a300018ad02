"""Section 2.6 of seed-systems.md: the Pruning object, row by row."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import tensorflow

from graphrev import pruning
from tests.pruning.rows import Raises, Row
from tests.pruning.running import mask_of, masks_after, session, variable

tf: Any = tensorflow.compat.v1
NAN = float("nan")


def made(text: str = "", **options: Any) -> Any:
    tf.train.get_or_create_global_step()
    return pruning.Pruning(pruning.get_pruning_hparams().parse(text), **options)


def schedule() -> list[float]:
    p = made(
        "initial_sparsity=0.1,target_sparsity=0.9,sparsity_function_begin_step=10,"
        "sparsity_function_end_step=30,sparsity_function_exponent=3"
    )
    step = tf.train.get_global_step()
    found: list[float] = []
    with session() as opened:
        for value in (0, 10, 15, 20, 29, 30, 50):
            opened.run(tf.assign(step, value))
            found.append(round(float(opened.run(p._sparsity)), 4))
    return found


def variables_of_two() -> Any:
    first, second = made(), made()
    shared = first._last_update_step is second._last_update_step
    last = first._last_update_step
    trained = any(last is item for item in tf.trainable_variables())
    return last.name, last.dtype.base_dtype.name, trained, shared


def names_of_two() -> Any:
    first, second = made(), made()
    ops = [item.mask_update_op().name for item in (first, second)]
    return [item._sparsity.name for item in (first, second)], [o.split("/")[-1] for o in ops]


def own_target(spec: str, step: int = 1000) -> float:
    """The sparsity of 100 weights that have a target of their own, after an update at ``step``."""
    variable(np.arange(1.0, 101.0))
    return round(1.0 - float(masks_after(spec, None, step)[0].mean()), 4)


def threshold_after(values: Any, spec: str = "", sparsity: float = 0.5) -> Any:
    weight = variable(values)
    update = made(spec, sparsity=tf.constant(sparsity)).mask_update_op()
    with session(update) as opened:
        threshold, mask = opened.run([pruning.get_thresholds()[0], pruning.get_masks()[0]])
    assert mask.shape == weight.shape
    return round(float(threshold), 5), mask.tolist()


def at_steps(method: str, steps: int, spec: str) -> list[int]:
    """The steps at which masks were updated."""
    variable(np.arange(1.0, 101.0))
    p = made(spec)
    update, step = getattr(p, method)(), tf.train.get_global_step()
    found: list[int] = []
    with session() as opened:
        last = opened.run(p._last_update_step)
        for value in range(steps):
            opened.run(tf.assign(step, value))
            opened.run(update)
            now = opened.run(p._last_update_step)
            found += [value] if now != last else []
            last = now
    return found


def both(*order: str) -> list[float]:
    """The sparsity at step 0 after each op of one object alone; only the plain one updates then."""
    variable([1.0, 2.0, 3.0, 4.0])
    p = made("pruning_frequency=10", sparsity=tf.constant(0.5))
    ops = {name: getattr(p, name)() for name in order}
    found: list[float] = []
    for name in ("mask_update_op", "conditional_mask_update_op"):
        with session(ops[name]) as opened:
            found.append(float(opened.run(pruning.get_weight_sparsity()[0])))
    return found


def no_masks() -> int:
    p = made()
    update, step = p.mask_update_op(), tf.train.get_global_step()
    with session(tf.assign(step, 7), update) as opened:
        return int(opened.run(p._last_update_step))


def called_twice() -> float:
    variable([1.0, 2.0, 3.0, 4.0])
    p = made(sparsity=tf.constant(0.5))
    p.mask_update_op()
    with session(p.mask_update_op()) as opened:
        return float(opened.run(pruning.get_weight_sparsity()[0]))


def two_shapes() -> list[Any]:
    """Blocks 1x-1 of a 4x2 and a 4x8 weight: each one's own rows."""
    small, large = np.arange(1.0, 9.0), np.arange(1.0, 33.0)
    variable(small.reshape(4, 2), "small")
    variable(large.reshape(4, 8), "large")
    return [mask[:, 0].tolist() for mask in masks_after("block_height=1,block_width=-1")]


def partitioned(axes: list[int]) -> Any:
    with tf.variable_scope("", partitioner=lambda shape, **_: axes[: shape.ndims] or [1]):
        weight = tf.get_variable("w", [4, 6])
        pruning.apply_mask(weight)
    (mask,) = pruning.get_masks()
    update = made(sparsity=tf.constant(0.5)).mask_update_op()
    values = np.split(np.arange(1.0, 25.0).reshape(4, 6), max(axes), axis=int(axes[0] == 1))
    fill = [tf.assign(part, value) for part, value in zip(weight, values)]
    with session(fill, update) as opened:
        return len(list(mask)), opened.run(mask.as_tensor()).ravel().tolist()


def threshold_of_parts() -> Any:
    with tf.variable_scope("", partitioner=tf.fixed_size_partitioner(2)):
        pruning.apply_mask(tf.get_variable("w", [4, 6]))
    (threshold,) = pruning.get_thresholds()
    return threshold.name, threshold.shape.as_list()


def in_two_axes() -> Any:
    parts = [np.zeros((2, 3)), np.zeros((4, 6))]
    from graphrev.pruning.assigning import partitioned_axis

    return partitioned_axis([part.shape for part in parts], (4, 6))


def summaries() -> list[str]:
    variable([1.0, 2.0])
    made().add_pruning_summaries()
    found = tf.get_collection(tf.GraphKeys.SUMMARIES)
    with session() as opened:
        texts = [tf.Summary.FromString(opened.run(item)).value[0].tag for item in found]
    return texts


def on_a_constant() -> Any:
    with tf.variable_scope("layer"):
        pruning.apply_mask(tf.constant([1.0, 2.0, 3.0, 4.0], name="w"))
    return masks_after()[0].tolist()


def in_dtype(dtype: Any) -> Any:
    variable([[4.0, -3.0], [2.0, 1.0]], dtype=np.float32 if dtype == "bfloat16" else dtype)
    if dtype == "bfloat16":
        with tf.variable_scope("half"):
            pruning.apply_mask(
                tf.get_variable("w", initializer=tf.cast([3.0, 1.0, 2.0, 4.0], dtype))
            )
    masks = masks_after()
    return str(masks[-1].dtype), masks[-1].astype(np.float32).ravel().tolist()


def conv_kernel_with_blocks() -> Any:
    values = np.arange(1.0, 17.0).reshape(2, 2, 2, 2)
    return mask_of(values, "block_height=2,block_width=2").ravel().tolist()


def grouped(spec: str = "", block: str = "") -> Any:
    """Masks of [1..4] and [11..14] in one group, of [1, 2] ungrouped, of [1, 2] without a group."""
    weights = {
        "a": ([1.0, 2.0, 3.0, 4.0], "pair"),
        "b": ([11.0, 12.0, 13.0, 14.0], "pair"),
        "c": ([1.0, 2.0], "ungrouped"),
        "d": ([1.0, 2.0], None),
    }
    for scope, (values, group) in weights.items():
        with tf.variable_scope(scope):
            shaped = np.asarray(values, np.float32).reshape(
                (2, 2) if block and group == "pair" else -1
            )
            weight = tf.get_variable("w", initializer=shaped)
            pruning.apply_mask_with_group(weight, group_name=group)
    found = masks_after(f"group_pruning=true{spec}{block}", None, 1000)
    return [mask.ravel().tolist() for mask in found]


def group_getters() -> Any:
    with tf.variable_scope("a"):
        pruning.apply_mask_with_group(tf.zeros([2]), group_name="g")
    counts = [len(f(group_name="g")) for f in (pruning.get_masks, pruning.get_weights)]
    masked, mask = pruning.apply_mask_and_return(tf.zeros([2]), "b")
    return counts, len(pruning.get_masks()), mask is pruning.get_masks()[1], masked.op.type


def by_gradient(option: str) -> Any:
    """Large weights that stay lose against small ones that move."""
    with tf.variable_scope("layer"):
        weight = tf.get_variable("w", initializer=[4.0, 3.0, 2.0, 1.0])
        pruning.apply_mask(weight, prune_option=option)
    p = made(f"prune_option={option}", sparsity=tf.constant(0.5))
    keep, update = p.old_weight_update_op(), p.mask_update_op()
    older = p.old_old_weight_update_op()
    move = tf.assign(weight, [4.0, 3.0, 3.0, 2.0])
    with session(keep, older, move, update) as opened:
        return opened.run(pruning.get_masks()[0]).tolist()


def by_gradient_unmasked() -> Any:
    variable([1.0, 2.0])
    return made("prune_option=first_order_gradient").mask_update_op()


def conditional_gradient() -> Any:
    p = made("begin_pruning_step=5")
    return p.conditional_gradient_update_op() is not None and p.gradient_update_op().type


def printed() -> Any:
    """What print_hparams logs, read as JSON."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log, listener = logging.getLogger("graphrev"), Listener()
    level = log.level
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        made("nbins=7").print_hparams()
    finally:
        log.removeHandler(listener)
        log.setLevel(level)
    return json.loads(said[0])["nbins"]


def reused_layer() -> Any:
    """Entries of each collection, and masks assigned by an update, of a layer built twice."""
    for reuse in (None, True):
        pruning.masked_conv2d(tf.ones([2, 8, 8, 3]), 4, 3, scope="c", reuse=reuse)
    collections = ("masks", "thresholds", "masked_weights", "kernel")
    counts = [len(tf.get_collection(key)) for key in collections]
    made(sparsity=tf.constant(0.5)).mask_update_op()
    handle = pruning.get_masks()[0].op.name
    nodes = tf.get_default_graph().as_graph_def().node
    writes = [n for n in nodes if n.op in ("Assign", "AssignVariableOp") and n.input[0] == handle]
    return counts, len(writes)


RAMP = "sparsity_function_end_step=100"
MAP = f"{RAMP},weight_sparsity_map=[layer:0.8]"
SPARSE = "weight_sparsity_map=[layer:0.8]"
HALF = [0.0, 0.0, 1.0, 1.0]

ROWS: list[Row] = [
    ("no global step", pruning.Pruning, Raises(ValueError, "None values not supported")),
    (
        "a global step is given",
        lambda: pruning.Pruning(global_step=tf.constant(3))._sparsity.dtype.name,
        "float32",
    ),
    (
        "last_mask_update_step",
        variables_of_two,
        ("model_pruning/last_mask_update_step:0", "int32", False, True),
    ),
    (
        "names",
        names_of_two,
        (["model_pruning/sparsity:0", "model_pruning_2/sparsity:0"], ["mask_update"] * 2),
    ),
    ("schedule", schedule, [0.1, 0.1, 0.5625, 0.8, 0.8999, 0.9, 0.9]),
    ("a target of its own", lambda: own_target(MAP), 0.8),
    ("... on the way", lambda: own_target(MAP, 50), 0.7),
    ("... before it starts", lambda: own_target(MAP, 0), 0.0),
    ("... with target_sparsity=0", lambda: own_target(f"target_sparsity=0.0,{MAP}"), 0.8),
    ("the common target", lambda: own_target(RAMP), 0.5),
    (
        "threshold: the k-th largest",
        lambda: threshold_after([4.0, -3.0, 2.0, 1.0]),
        (3.0, [1.0, 1.0, 0.0, 0.0]),
    ),
    (
        "threshold_decay",
        lambda: threshold_after([4.0, -3.0, 2.0, 1.0], "threshold_decay=0.9"),
        (0.3, [1.0] * 4),
    ),
    ("ties: exact", lambda: mask_of([1.0] * 4).tolist(), HALF),
    ("ties: blocks", lambda: mask_of(np.ones((2, 4)), "block_height=2").tolist(), [HALF] * 2),
    ("5 weights, half", lambda: mask_of([1.0, 2, 3, 4, 5]).sum(), 2.0),
    ("3 weights, half", lambda: mask_of([1.0, 2, 3]).sum(), 2.0),
    ("negative weights", lambda: mask_of([-4.0, 3, -2, 1]).tolist(), [1, 1, 0, 0]),
    ("NaN is dropped, the count holds", lambda: mask_of([NAN, 1, 2, 3]).tolist(), HALF),
    ("k = 0", lambda: mask_of([1.0, 2, 3, 4], sparsity=0.95).tolist(), [0, 0, 0, 1]),
    ("sparsity 0", lambda: mask_of([1.0, 2], sparsity=0.0).tolist(), [1, 1]),
    ("float16", lambda: in_dtype("float16"), ("float16", [1, 1, 0, 0])),
    ("float64", lambda: in_dtype("float64"), ("float64", [1, 1, 0, 0])),
    ("bfloat16", lambda: in_dtype("bfloat16"), ("bfloat16", [1, 0, 0, 1])),
    ("int32", lambda: mask_of([1, 2], dtype=np.int32), Raises(ValueError, "floating-point")),
    ("4-D kernels: single weights", conv_kernel_with_blocks, [0.0] * 8 + [1.0] * 8),
    (
        "3x3 with 2x2 blocks",
        lambda: mask_of(
            [[9, 9, 1], [9, 9, 1], [1, 1, 1]], "block_height=2,block_width=2", 0.75
        ).tolist(),
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]],
    ),
    (
        "a block at the border is averaged over itself",
        lambda: mask_of(
            [[1.0], [1], [1], [1], [9]] * np.ones((1, 2)), "block_height=4,block_width=2"
        )[:, 0].tolist(),
        [0, 0, 0, 0, 1],
    ),
    (
        "... and not over a window shifted against the mask",
        lambda: mask_of(
            [[1.0], [1], [1], [9], [2]] * np.ones((1, 2)), "block_height=4,block_width=2"
        )[:, 0].tolist(),
        [1, 1, 1, 1, 0],
    ),
    (
        "unknown pooling",
        lambda: mask_of(np.ones((2, 2)), "block_height=2,block_pooling_function=SUM"),
        Raises(ValueError, "Unknown pooling function for block sparsity: SUM"),
    ),
    ("-1: each weight's own size", two_shapes, [HALF, HALF]),
    ("use_tpu", lambda: mask_of([1.0, 2, 3, 4], "use_tpu=true").tolist(), HALF),
    ("weights that are constants", on_a_constant, HALF),
    ("no masks: the step is noted", no_masks, 7),
    ("called twice", called_twice, 0.5),
    (
        "when due",
        lambda: at_steps(
            "conditional_mask_update_op",
            12,
            "pruning_frequency=3,begin_pruning_step=2,end_pruning_step=8",
        ),
        [3, 6],
    ),
    (
        "begin 0: first at step = frequency",
        lambda: at_steps("conditional_mask_update_op", 9, "pruning_frequency=4"),
        [4, 8],
    ),
    ("both ops", lambda: both("mask_update_op", "conditional_mask_update_op"), [0.5, 0.0]),
    (
        "both ops, other order",
        lambda: both("conditional_mask_update_op", "mask_update_op"),
        [0.5, 0.0],
    ),
    ("partitioned: rows", lambda: partitioned([2, 1]), (2, [0.0] * 12 + [1.0] * 12)),
    ("partitioned: columns", lambda: partitioned([1, 3]), (3, [0.0] * 12 + [1.0] * 12)),
    ("partitioned: one threshold", threshold_of_parts, ("threshold:0", [])),
    ("partitioned: two axes", in_two_axes, Raises(ValueError, "Number of partitioned axes")),
    (
        "summaries",
        summaries,
        [
            "model_pruning_summaries/sparsity",
            "model_pruning_summaries/last_mask_update_step",
            "model_pruning_summaries/layer//mask/sparsity",
            "model_pruning_summaries/layer//threshold/threshold",
        ],
    ),
    ("print_hparams logs JSON", printed, 7),
    ("a layer built twice is masked once", reused_layer, ([1, 1, 1, 1], 2)),
    (
        "end = -1: never ends",
        lambda: at_steps("conditional_mask_update_op", 130, "pruning_frequency=50")[-1],
        100,
    ),
    (
        "fork: groups are ranked together, none emptied",
        grouped,
        [[0, 0, 0, 1], [0, 1, 1, 1], [0, 1], [0, 1]],
    ),
    (
        "fork: a group's own target",
        lambda: grouped(",group_sparsity_map=[pair:0.75]"),
        [[0, 0, 0, 1], [0, 0, 0, 1], [0, 1], [0, 1]],
    ),
    (
        "fork: a group's own blocks",
        lambda: grouped("", ",group_block_dims_map=[pair:2x1]"),
        [[0, 1, 0, 1], [0, 1, 0, 1], [0, 1], [0, 1]],
    ),
    ("fork: getters", group_getters, ([1, 1], 2, True, "Mul")),
    ("fork: first order", lambda: by_gradient("first_order_gradient"), HALF),
    ("fork: second order", lambda: by_gradient("second_order_gradient"), HALF),
    (
        "fork: masked without the option",
        by_gradient_unmasked,
        Raises(ValueError, "needs every weight masked with the same"),
    ),
    ("fork: conditional gradients", conditional_gradient, "NoOp"),
]
