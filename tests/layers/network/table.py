"""What every row answers, one row per statement of seed-systems.md 3.2 to 3.4.

The rows are in ``rows_*.py``; their answers are the same in graph and in eager mode, over either
kind of layers, and on TensorFlow 1.15.5, unless the table says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ANY = object()


@dataclass(frozen=True)
class Raises:
    """The row raises this builtin (or TensorFlow) type, or a subclass, with this in the message."""

    kind: str
    phrase: str


@dataclass(frozen=True)
class ByMode:
    graph: Any
    eager: Any


@dataclass(frozen=True)
class Better:
    """graphrev answers ``ours`` where contrib answered ``contrib``, which nobody wanted."""

    ours: Any
    contrib: Any


NAMING: dict[str, Any] = {
    "doc_example": [
        "net/dense/kernel:0",
        "net/dense/bias:0",
        "net/dense_1/kernel:0",
        "net/dense_1/bias:0",
    ],
    "always_resource_variables": ["ResourceVariable"],
    "anonymous_names_count_up": ["two", "two_1", "two", "two_1"],
    "explicit_name_is_final_at_once": "chosen",
    "anonymous_name_is_unset": Raises(
        "ValueError", "The network does not yet have a final name, but a name was requested for it."
    ),
    "anonymous_name_is_set_by_track_layer": ["two", True],
    "scope_name_before_the_call": Raises(
        "ValueError",
        'No name available for layer scope because the layer "q1" has not been used yet.',
    ),
    "variables_before_the_call": [],
    "slash_in_a_name": Raises(
        "ValueError", "Forward slashes ('/') are not allowed in Network names."
    ),
    "scope_as_a_name": Raises("ValueError", "VariableScopes are not valid Network names."),
    "empty_name_stays_empty": "",
    "empty_name_called": ["two", "two/dense/kernel:0"],
    "name_with_a_space": Better(
        ByMode(Raises("ValueError", "is not a valid root scope name"), "(1, 1)"),
        Raises("ValueError", "is not a valid scope name"),
    ),
    "one_explicit_name_twice": Raises(
        "ValueError",
        "A Network named 'foo' already exists (or a variable_scope was created with",
    ),
    "a_refused_name_stays_refused": Better(
        Raises("ValueError", "A Network named 'foo' already exists"), None
    ),
    "name_of_a_closed_scope": Raises(
        "ValueError",
        "A Network named 'foo' already exists (or a variable_scope was created with",
    ),
    "name_of_a_scope_opened_after_init": Raises(
        "ValueError",
        "A Network named 'foo' already exists (or a variable_scope was created with",
    ),
    "anonymous_networks_skip_scope_names": "two_1",
    "scope_at_init_is_the_prefix": ["S/nn", "S/nn", "S/nn/dense/kernel:0"],
    "scope_at_the_call_is_not": ["nn2", "nn2/dense/kernel:0"],
    "anonymous_names_within_scopes": [
        "my/dense/kernel:0",
        "scope/my/dense/kernel:0",
        "scope/my_1/dense/kernel:0",
        "my_1/dense/kernel:0",
    ],
    "scope_put_between_parent_and_child": ["outer/inner/dense/kernel:0"],
    "explicit_scope_argument": Raises(
        "ValueError", "Networks may not be created with explicit scopes."
    ),
    "custom_getter_of_the_outer_scope_is_called": [["my/dense/kernel:0"], ["my/dense/kernel"]],
    "layers_and_networks_share_a_counter": [
        ["dense", "dense_1", "dense_2", "dense_3"],
        [
            "mixed/dense/kernel:0",
            "mixed/dense/bias:0",
            "mixed/dense_1/dense/kernel:0",
            "mixed/dense_1/dense/bias:0",
            "mixed/dense_2/kernel:0",
            "mixed/dense_2/bias:0",
            "mixed/dense_3/dense/kernel:0",
            "mixed/dense_3/dense/bias:0",
        ],
    ],
    "explicit_layer_names_are_respected": [
        "n/mine/kernel:0",
        "n/mine/bias:0",
        "n/dense/kernel:0",
        "n/dense/bias:0",
        "n/dense_1/kernel:0",
        "n/dense_1/bias:0",
    ],
    "built_layers_keep_their_names": [
        ["dense_2", "dense"],
        ["dense_1/kernel:0", "n/dense/kernel:0"],
    ],
    "first_tracker_owns_the_layer": [["first/dense/kernel:0"], ["first/dense/kernel:0"]],
    "owner_is_the_first_constructed_not_the_first_called": [
        "shared",
        ["first/shared/dense/kernel:0"],
        ["first/shared/dense/kernel:0"],
    ],
    "a_called_network_keeps_its_own_name": ["inner/dense/kernel:0"],
    "owner_was_collected_before_the_build": Raises(
        "ValueError",
        "The parent of a Layer added to Network second was garbage collected before",
    ),
    "nested_names": [
        "outer/inner/x/dense/kernel:0",
        "outer/inner/my/dense/kernel:0",
        "outer/inner/my_1/dense/kernel:0",
        "outer/my/dense/kernel:0",
    ],
    "explicit_name_inside_itself": ["same/same/dense/kernel:0"],
    "op_name_of_the_output": ByMode(["net_2/dense_1/BiasAdd:0", "other_2/dense_1/BiasAdd:0"], None),
    "layers_tracked_inside_call": ["lazy/dense/kernel:0", "lazy/dense_1/kernel:0"],
}

NETWORK: dict[str, Any] = {
    "track_layer_returns_the_layer": True,
    "track_layer_refuses_none": Raises(
        "TypeError", "Network.track_layer() passed type <class 'NoneType'>, not a tf.layers.Layer"
    ),
    "track_layer_refuses_keras": Raises("TypeError", "not a tf.layers.Layer"),
    "track_layer_before_init": Raises(
        "RuntimeError", "Need to call Network.__init__ before adding layers"
    ),
    "two_owned_layers_of_one_name": Raises(
        "ValueError", "Attempt to add two Layers with the name 'z' to the same Network."
    ),
    "two_networks_of_one_name": Raises(
        "ValueError", "Attempt to add two Layers with the name 'z' to the same Network."
    ),
    "unbuilt_layer_twice": 1,
    "built_layer_twice": [2, 4],
    "untracked_layer": [[], ["w/dense/kernel:0", "w/dense/bias:0"]],
    "get_layer": [0, 1, 1],
    "get_layer_by_both": Raises("ValueError", "Exactly one of 'index' or 'name' must be provided"),
    "get_layer_by_neither": Raises("ValueError", "Provide either a layer name or layer index."),
    "get_layer_by_empty_name": Raises("ValueError", "Provide either a layer name or layer index."),
    "get_layer_beyond_the_end": Raises(
        "ValueError", "Was asked to retrieve layer at index 5 but model only has 2 layers."
    ),
    "get_layer_of_no_such_name": Raises("ValueError", "No such layer: zz"),
    "trainable_can_be_set_to_true": True,
    "trainable_cannot_be_set_to_false": Raises(
        "AttributeError", "cannot mark Network as not trainable"
    ),
    "add_variable": Raises(
        "RuntimeError", "add_variable not supported in Network class yet. Please file an issue"
    ),
    "add_loss": Raises(
        "RuntimeError", "add_loss is not supported in Network class yet. Please file an issue"
    ),
    "losses": [3.0],
    "losses_follow_the_variable": [5.0],
    "regularization_collection": ByMode([1, 1], None),
    "updates_of_batch_normalization": ByMode([2, 2], [0, 0]),
    "batch_normalization_weights": [
        ["outer/bn/batch_normalization/gamma:0", "outer/bn/batch_normalization/beta:0"],
        [
            "outer/bn/batch_normalization/moving_mean:0",
            "outer/bn/batch_normalization/moving_variance:0",
        ],
        4,
    ],
    "batch_normalization_moves_once": [0.01, 0.01, 0.01],
    "training_reaches_layers_that_were_not_given_it": [True, True],
    "input_shape": Raises(
        "AttributeError", "has never been called and thus has no defined input shape."
    ),
    "output_shape": Raises(
        "AttributeError", "has never been called and thus has no defined output shape."
    ),
    "count_params": 161,
    "count_params_unbuilt": Raises("ValueError", "n, but the layer isn't built."),
    "call_that_returns_none": ByMode(
        Raises(
            "ValueError",
            "method should return a Tensor or a list of Tensors, not None (layer: nothing)",
        ),
        None,
    ),
    "call_that_is_not_overridden": [[1.0, 1.0]],
    "network_call": [[34.0]],
    "deepcopy_unbuilt": ["n", 2, False],
    "deepcopy_built": ByMode(
        Raises(
            "NotImplementedError",
            "__deepcopy__() is only available when eager execution is enabled.",
        ),
        [[[5.0]], False],
    ),
    "object_based_checkpoint": Raises(
        "NotImplementedError", "tfe.Network does not support object-based checkpointing."
    ),
    "variables_do_not_interfere": [[[1.0]], [[2.0]]],
    "calls_reuse_variables": 4,
    "gradients_reach_all_variables": ByMode([True, True, True, True], None),
    "sequential_of_layers": [[[21.0]], [[231.0]]],
    "sequential_of_functions": [[[2.0, 2.0]], []],
    "sequential_refuses_other_things": Raises(
        "TypeError",
        "takes only tf.layers.Layer objects or callables; not '3' of type '<class 'int'>'.",
    ),
    "sequential_empty": [[1.0, 1.0]],
    "sequential_gives_training_to_layers": [True, True, False],
    "sequential_gives_training_where_it_is_accepted": [[True, False], "TypeError"],
    "sequential_keeps_other_parameters_alone": Better([[2.0]], [[1.0]]),
    "add_returns_nothing_and_names_the_layer": [None, "dense"],
}

CHECKPOINTS: dict[str, Any] = {
    "save_unbuilt": Raises("ValueError", "Attempt to save the Network before it was first called."),
    "save_into_a_directory": "S_n",
    "save_with_a_step": "c-12",
    "save_with_the_default_step": "abcd-4242",
    "keys_without_the_scope": ["dense/bias", "dense/kernel", "dense_1/bias", "dense_1/kernel"],
    "keys_by_a_map_function": ["prefix/saved/dense/kernel"],
    "keys_of_a_shared_layer_keep_its_owner": ["dense/kernel", "owner/dense/kernel"],
    "restore_existing": [[[3.0]]],
    "restore_from_the_directory": [[[3.0]]],
    "restore_from_the_directory_with_steps": Better(
        [[[4.0]]], Raises("ValueError", "The passed save_path is not a valid checkpoint")
    ),
    "restore_unbuilt": [[], [[3.0]], [[[3.0]]]],
    "initializing_again_keeps_the_restored_value": [[[3.0]]],
    "later_restores_win": [[[4.0]]],
    "a_later_restore_of_a_part_wins_for_that_part": [[[1.0]], [[9.0]]],
    "an_earlier_restore_of_a_part_loses": [[[1.0]], [[2.0]]],
    "restore_reaches_layers_tracked_later": [[[3.0]]],
    "a_second_restore_leaves_the_first_to_layers_tracked_later": Better([[[3.0]]], ANY),
    "restore_with_a_map_function": [[[3.0]], [[3.0]]],
    "restore_keeps_the_custom_getter_of_the_scope": Better(
        [["later/dense/kernel"], [[[3.0]]]], [[], [[[3.0]]]]
    ),
    "restore_names_an_anonymous_network": ["my", "my"],
    "restore_of_a_shared_layer_restores_both": [[[3.0]]],
    "restore_of_a_layer_whose_owner_is_gone": Raises(
        "ValueError",
        "The parent of a Layer added to Network net was garbage collected before",
    ),
    "two_variables_one_key_save": Raises(
        "ValueError",
        "map_func passed to save_network_checkpoint for the Network 'p' resulted in two",
    ),
    "two_variables_one_key_restore_existing": Raises(
        "ValueError",
        "map_func passed to restore_network_checkpoint for the Network 'p' resulted in two",
    ),
    "two_variables_one_key_restore_on_create": Raises(
        "ValueError",
        "map_func passed to restore_network_checkpoint for the Network 'p' resulted in two",
    ),
    "default_map_conflict_save": Raises(
        "ValueError",
        "mapping strategy for Network 'net' resulted in a naming conflict.",
    ),
    "default_map_conflict_restore_existing": Raises(
        "ValueError",
        "mapping strategy for Network 'net' resulted in a naming conflict.",
    ),
    "default_map_conflict_restore_on_create": Raises(
        "ValueError",
        "mapping strategy for Network 'net' resulted in a naming conflict.",
    ),
    "restore_of_a_missing_key": Raises("NotFoundError", "not found in checkpoint"),
    "restore_from_nowhere": Raises("NotFoundError", "Failed to find any matching files"),
    "a_built_network_keeps_no_requests": True,
    "checkpoint_names_of_nested_networks": [
        ["n/a/dense/kernel:0", "n/my/dense/kernel:0"],
        ["a/dense/kernel", "my/dense/kernel"],
    ],
}

TABLE = {**NAMING, **NETWORK, **CHECKPOINTS}
