"""``tf.contrib.model_pruning`` for TensorFlow 2: the calls that programs make, over the mask pass.

Nothing is imported, TensorFlow least of all, before a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrev.passes.mask.criteria import (
        BatchNormScale,
        Magnitude,
        Movement,
        Random,
        Taylor,
    )
    from graphrev.passes.mask.regrowth import SET, NoRegrowth, RigL
    from graphrev.pruning.hooks import PruningHook
    from graphrev.pruning.layers import masked_conv2d, masked_convolution, masked_fully_connected
    from graphrev.pruning.learning import train
    from graphrev.pruning.masking import (
        apply_mask,
        apply_mask_and_return,
        apply_mask_with_group,
        get_gradients,
        get_masked_weights,
        get_masks,
        get_old_old_weights,
        get_old_weights,
        get_thresholds,
        get_weight_sparsity,
        get_weights,
    )
    from graphrev.pruning.pruning import Pruning
    from graphrev.pruning.rnn_cells import MaskedBasicLSTMCell, MaskedLSTMCell
    from graphrev.pruning.spec import get_pruning_hparams
    from graphrev.pruning.strip_pruning_vars_lib import (
        graph_def_from_checkpoint,
        strip_pruning_vars,
        strip_pruning_vars_fn,
    )

_HOMES = {
    "MaskedBasicLSTMCell": "rnn_cells",
    "MaskedLSTMCell": "rnn_cells",
    "Pruning": "pruning",
    "PruningHook": "hooks",
    "apply_mask": "masking",
    "apply_mask_and_return": "masking",
    "apply_mask_with_group": "masking",
    "get_gradients": "masking",
    "get_masked_weights": "masking",
    "get_masks": "masking",
    "get_old_old_weights": "masking",
    "get_old_weights": "masking",
    "get_pruning_hparams": "spec",
    "get_thresholds": "masking",
    "get_weight_sparsity": "masking",
    "get_weights": "masking",
    "graph_def_from_checkpoint": "strip_pruning_vars_lib",
    "masked_conv2d": "layers",
    "masked_convolution": "layers",
    "masked_fully_connected": "layers",
    "strip_pruning_vars": "strip_pruning_vars_lib",
    "strip_pruning_vars_fn": "strip_pruning_vars_lib",
    "train": "learning",
}
_POLICIES = {
    **dict.fromkeys(("BatchNormScale", "Magnitude", "Movement", "Random", "Taylor"), "criteria"),
    **dict.fromkeys(("NoRegrowth", "RigL", "SET"), "regrowth"),
}
"""Criteria and regrowth policies, for ``graphrev.passes.Mask``."""
_MODULES = frozenset(
    "core_layers layers learning pruning_utils rnn_cells strip_pruning_vars_lib".split()
)
"""Under the names they had in contrib."""

__all__ = [
    "BatchNormScale",
    "Magnitude",
    "MaskedBasicLSTMCell",
    "MaskedLSTMCell",
    "Movement",
    "NoRegrowth",
    "Pruning",
    "PruningHook",
    "Random",
    "RigL",
    "SET",
    "Taylor",
    "apply_mask",
    "apply_mask_and_return",
    "apply_mask_with_group",
    "get_gradients",
    "get_masked_weights",
    "get_masks",
    "get_old_old_weights",
    "get_old_weights",
    "get_pruning_hparams",
    "get_thresholds",
    "get_weight_sparsity",
    "get_weights",
    "graph_def_from_checkpoint",
    "masked_conv2d",
    "masked_convolution",
    "masked_fully_connected",
    "strip_pruning_vars",
    "strip_pruning_vars_fn",
    "train",
]


def __getattr__(name: str) -> Any:
    home = name if name in _MODULES else _HOMES.get(name)
    where = f"graphrev.pruning.{home}"
    if home is None:
        if name not in _POLICIES:
            raise AttributeError(f"module 'graphrev.pruning' has no attribute {name!r}")
        where = f"graphrev.passes.mask.{_POLICIES[name]}"
    module = importlib.import_module(where)
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value
