"""Sections 2.4 and 2.5 of seed-systems.md: apply_mask and the hyper-parameters, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow

from graphrev import pruning
from tests.pruning.rows import Raises, Row
from tests.pruning.running import mask_of, names, session, variable

tf: Any = tensorflow.compat.v1
DEFAULTS = {
    "name": "model_pruning",
    "begin_pruning_step": 0,
    "end_pruning_step": -1,
    "weight_sparsity_map": [""],
    "block_dims_map": [""],
    "threshold_decay": 0.0,
    "pruning_frequency": 10,
    "nbins": 256,
    "block_height": 1,
    "block_width": 1,
    "block_pooling_function": "AVG",
    "initial_sparsity": 0.0,
    "target_sparsity": 0.5,
    "sparsity_function_begin_step": 0,
    "sparsity_function_end_step": 100,
    "sparsity_function_exponent": 3.0,
    "use_tpu": False,
}
COLLECTIONS = ("masks", "thresholds", "masked_weights", "kernel")
SEVEN = "Pruning must begin before it can end"


def collections() -> dict[str, list[str]]:
    return {key: names(tf.get_collection(key)) for key in COLLECTIONS}


def applied(*arguments: Any) -> dict[str, list[str]]:
    with tf.variable_scope("layer"):
        pruning.apply_mask(tf.get_variable("w", [4]), *arguments)
    return collections()


def getters() -> list[list[str]]:
    variable([1.0, 2.0])
    found = (
        pruning.get_masks(),
        pruning.get_thresholds(),
        pruning.get_masked_weights(),
        pruning.get_weights(),
    )
    return [names(items) for items in found]


def share_of_zeros() -> Any:
    variable([1.0, 2.0])
    with session(tf.assign(pruning.get_masks()[0], [0.0, 1.0])) as opened:
        return opened.run(pruning.get_weight_sparsity())


def twice(reuse: Any = None) -> Any:
    for again in (False, True):
        with tf.variable_scope("layer", reuse=reuse if again else None):
            pruning.apply_mask(tf.zeros([4]))
    return [len(found) for found in collections().values()]


def made(text: str) -> Any:
    tf.train.get_or_create_global_step()
    return pruning.Pruning(pruning.get_pruning_hparams().parse(text))


def parsed(text: str) -> Any:
    return pruning.get_pruning_hparams().parse(text)


def assigned(name: str, value: Any) -> Any:
    spec = pruning.get_pruning_hparams()
    setattr(spec, name, value)
    tf.train.get_or_create_global_step()
    return pruning.Pruning(spec)


def matched_twice() -> Any:
    return mask_of([1.0, 2.0], "weight_sparsity_map=[layer:0.5,w$:0.5]")


def blocks_matched_twice() -> Any:
    return mask_of([[1.0, 2.0]], "block_dims_map=[layer:1x1,w$:1x2]")


def from_an_older_object() -> Any:
    """A specification without the fork's fields, of a class of the program's own."""
    spec = type("Spec", (), dict(DEFAULTS, name="older"))()
    tf.train.get_or_create_global_step()
    return pruning.Pruning(spec)._spec.prune_option


def with_a_colon(spec: Any) -> Any:
    with tf.Graph().as_default():
        variable(np.arange(1.0, 11.0))
        step = tf.train.get_or_create_global_step()
        update = pruning.Pruning(spec).mask_update_op()
        with session(tf.assign(step, 1000), update) as opened:
            return round(float(opened.run(pruning.get_weight_sparsity()[0])), 6)


def colon_in_a_list() -> Any:
    spec = pruning.get_pruning_hparams()
    spec.weight_sparsity_map = ["(?:layer)/w:0.8"]
    return with_a_colon(spec)


ROWS: list[Row] = [
    (
        "apply_mask: names and collections",
        applied,
        {
            "masks": ["layer//mask:0"],
            "thresholds": ["layer//threshold:0"],
            "masked_weights": ["layer/weights/masked_weight:0"],
            "kernel": ["layer/w:0"],
        },
    ),
    ("apply_mask: scope by name", lambda: applied("in")["masks"], ["layer/in/mask:0"]),
    (
        "apply_mask: a VariableScope",
        lambda: applied(tf.VariableScope(None, "other"))["masks"],
        ["other/mask:0"],
    ),
    (
        "the getters",
        getters,
        [
            [n]
            for n in (
                "layer//mask:0",
                "layer//threshold:0",
                "layer/weights/masked_weight:0",
                "layer/w:0",
            )
        ],
    ),
    ("get_weight_sparsity", share_of_zeros, [0.5]),
    ("twice in a scope", twice, Raises(ValueError, "mask already exists")),
    ("twice with reuse", lambda: twice(tf.AUTO_REUSE), [1, 1, 1, 1]),
    ("no tensor", lambda: pruning.apply_mask([1.0]), Raises(TypeError, "takes a tensor")),
    (
        "unknown prune_option",
        lambda: applied("", "compression"),
        Raises(ValueError, "not supported"),
    ),
    (
        "defaults",
        lambda: {k: v for k, v in pruning.get_pruning_hparams().values().items() if k in DEFAULTS},
        DEFAULTS,
    ),
    ("parse gives the object", lambda: parsed("nbins=7").nbins, 7),
    (
        "parse: lists",
        lambda: parsed("weight_sparsity_map=[x:0.8,y:0.9],nbins=3").weight_sparsity_map,
        ["x:0.8", "y:0.9"],
    ),
    ("parse: 0 for a float", lambda: parsed("threshold_decay=0").threshold_decay, 0.0),
    (
        "parse: flags",
        lambda: [parsed(f"use_tpu={t}").use_tpu for t in ("true", "0")],
        [True, False],
    ),
    ("parse: unknown", lambda: parsed("foo=1"), Raises(ValueError, "Unknown hyperparameter type")),
    (
        "parse: no number",
        lambda: parsed("begin_pruning_step=abc"),
        Raises(ValueError, "Could not parse hparam 'begin_pruning_step' of type 'int'"),
    ),
    ("parse: twice", lambda: parsed("nbins=1,nbins=2"), Raises(ValueError, "Multiple assign")),
    ("parse: malformed", lambda: parsed("=1"), Raises(ValueError, "Malformed hyperparameter")),
    ("parse: open list", lambda: parsed("block_dims_map=[a"), Raises(ValueError, "Malformed")),
    ("parse: no list", lambda: parsed("block_dims_map=a:1x1"), Raises(ValueError, "is a list")),
    ("parse: a list", lambda: parsed("nbins=[1]"), Raises(ValueError, "Must not pass a list")),
    ("set_hparam: type", lambda: parsed("").set_hparam("nbins", 1.5), Raises(ValueError, "cast")),
    ("set_hparam: none", lambda: parsed("").set_hparam("foo", 1), Raises(KeyError, "foo")),
    ("begin < 0", lambda: made("begin_pruning_step=-1"), Raises(ValueError, "begin_pruning_step")),
    (
        "begin = end",
        lambda: made("begin_pruning_step=5,end_pruning_step=5"),
        Raises(ValueError, SEVEN),
    ),
    (
        "begin > end",
        lambda: made("begin_pruning_step=5,end_pruning_step=3"),
        Raises(ValueError, SEVEN),
    ),
    ("end = -7", lambda: made("end_pruning_step=-7"), Raises(ValueError, SEVEN)),
    (
        "function begin < 0",
        lambda: made("sparsity_function_begin_step=-1"),
        Raises(ValueError, "Illegal value for sparsity_function_begin_step"),
    ),
    (
        "function begin = end",
        lambda: made("sparsity_function_end_step=0"),
        Raises(ValueError, "Sparsity function requires begin_step < end_step"),
    ),
    *(
        (
            f"{name}=1",
            lambda name=name: made(f"{name}=1.0"),
            Raises(ValueError, f"{name} must be in"),
        )
        for name in ("threshold_decay", "initial_sparsity", "target_sparsity")
    ),
    *(
        (
            f"{name}=-0.1",
            lambda name=name: made(f"{name}=-0.1"),
            Raises(ValueError, f"{name} must be in"),
        )
        for name in ("threshold_decay", "initial_sparsity", "target_sparsity")
    ),
    (
        "a target of 1",
        lambda: made("weight_sparsity_map=[a:1.0]"),
        Raises(ValueError, "Weight sparsity can not exceed 1.0"),
    ),
    ("a target below 0", lambda: made("weight_sparsity_map=[a:-0.5]"), Raises(ValueError, "neg")),
    ("a target alone", lambda: made("weight_sparsity_map=[a]"), Raises(ValueError, "NAME:VALUE")),
    (
        "no regular expression",
        lambda: made("weight_sparsity_map=[(:0.5]"),
        Raises(ValueError, "regular expression"),
    ),
    (
        "half a block",
        lambda: made("block_dims_map=[a:4]"),
        Raises(ValueError, r"Expected 2 values for block dim for a, got \['4'\]"),
    ),
    ("two targets match", matched_twice, Raises(ValueError, "Multiple matches in weight_sparsity")),
    (
        "two blocks match",
        blocks_matched_twice,
        Raises(ValueError, "Multiple matches in block_dims"),
    ),
    ("colon in parse", lambda: with_a_colon(parsed("weight_sparsity_map=[(?:layer)/w:0.8]")), 0.8),
    ("colon in a list", colon_in_a_list, 0.8),
    (
        "brackets in parse",
        lambda: with_a_colon(parsed("weight_sparsity_map=[lay[a-f]r/w:0.8]")),
        0.8,
    ),
    ("an older specification", from_an_older_object, "weight"),
    (
        "fork: unknown option",
        lambda: made("prune_option=compression"),
        Raises(ValueError, "prune option specified is not supported"),
    ),
    ("fork: m of n", lambda: made("intra_block_sparsity=true"), Raises(ValueError, "structure=")),
    ("frequency 0", lambda: assigned("pruning_frequency", 0), Raises(ValueError, "frequency")),
]
