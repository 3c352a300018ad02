"""The hyper-parameters of pruning: their defaults, what is refused, and the maps by name.

Source: contrib/model_pruning/python/pruning.py of TensorFlow 1.15, and the later fork in
google-research/model_pruning for ``prune_option``, ``gradient_decay_rate`` and the groups.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from graphrev.errors import printable
from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.hparams import HParams

WEIGHT = "weight"
FIRST_ORDER, SECOND_ORDER = "first_order_gradient", "second_order_gradient"
GRADIENT_OPTIONS = (FIRST_ORDER, SECOND_ORDER)


def get_pruning_hparams() -> HParams:
    """The hyper-parameters with their defaults; ``.parse("name=value,…")`` changes them.

    * ``name``: the scope of the update's nodes, variables and summaries.
    * ``begin_pruning_step``, ``end_pruning_step``: the first and last step with an update; -1:
      there is no last one.
    * ``pruning_frequency``: steps between updates.
    * ``initial_sparsity``, ``target_sparsity``, ``sparsity_function_begin_step``,
      ``sparsity_function_end_step``, ``sparsity_function_exponent``: with ``p`` rising from 0 to 1
      between these steps, the sparsity is ``target + (initial - target) * (1 - p)**exponent``.
    * ``weight_sparsity_map``: ``regex:target`` for weights with a target of their own.
    * ``block_height``, ``block_width``: the blocks that are dropped as one, in weights of two axes
      (those of size 1 not counted); -1 for the whole axis. ``block_dims_map``: ``regex:HxW``.
    * ``block_pooling_function``: ``AVG`` or ``MAX`` of a block's magnitudes.
    * ``threshold_decay``: how much of the old threshold stays at an update. Above 0 the number of
      zeros is not exact.
    * ``prune_option``: ``weight``, ``first_order_gradient`` or ``second_order_gradient``;
      ``gradient_decay_rate``: of the moving average of the gradient.
    * ``group_pruning``: rank the weights of each group of ``apply_mask_with_group`` together;
      ``group_sparsity_map``, ``group_block_dims_map``: ``name:target`` and ``name:HxW``.
    * ``nbins``, ``use_tpu``: accepted; selection is exact and needs neither.
    """
    return HParams(
        name="model_pruning",
        begin_pruning_step=0,
        end_pruning_step=-1,
        weight_sparsity_map=[""],
        block_dims_map=[""],
        threshold_decay=0.0,
        pruning_frequency=10,
        nbins=256,
        block_height=1,
        block_width=1,
        block_pooling_function="AVG",
        initial_sparsity=0.0,
        target_sparsity=0.5,
        sparsity_function_begin_step=0,
        sparsity_function_end_step=100,
        sparsity_function_exponent=3.0,
        use_tpu=False,
        gradient_decay_rate=0.99,
        prune_option=WEIGHT,
        group_pruning=False,
        group_sparsity_map=[""],
        group_block_dims_map=[""],
        intra_block_sparsity=False,
    )


def complete(spec: Any) -> Any:
    """``spec`` with the defaults of what it does not have: an older program's specification."""
    for name, value in get_pruning_hparams().values().items():
        if not hasattr(spec, name):
            getattr(spec, "add_hparam", functools.partial(setattr, spec))(name, value)
    return spec


def check(spec: Any) -> None:
    """Refuses values that make no sense.

    Raises:
        ValueError: see the messages, which are TensorFlow 1.15's (a ``PruningValueError``).
    """
    begin, end = spec.begin_pruning_step, spec.end_pruning_step
    _require(begin >= 0, "Illegal value for begin_pruning_step")
    _require(
        end == -1 or begin < end,
        f"Pruning must begin before it can end. begin_step={begin}, end_step={end}. Set "
        "end_pruning_step to -1 if pruning is required till training stops",
    )
    rise, top = spec.sparsity_function_begin_step, spec.sparsity_function_end_step
    _require(rise >= 0, "Illegal value for sparsity_function_begin_step")
    _require(rise < top, "Sparsity function requires begin_step < end_step")
    for name in ("threshold_decay", "initial_sparsity", "target_sparsity"):
        _require(0.0 <= getattr(spec, name) < 1.0, f"{name} must be in range [0,1)")
    _require(spec.pruning_frequency >= 1, "Illegal value for pruning_frequency")
    _require(spec.sparsity_function_exponent > 0, "Illegal value for sparsity_function_exponent")
    _require(
        spec.prune_option in (WEIGHT, *GRADIENT_OPTIONS),
        "prune option specified is not supported",
    )
    _require(
        not spec.intra_block_sparsity,
        "intra_block_sparsity is not supported here; the mask pass has it: "
        "gr.passes.Mask(structure='2:4')",
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PruningValueError(message)


class ByPattern(dict["re.Pattern[str]", Any]):
    """Values by compiled expression, as upstream keeps them; the expression's text finds them too.

    Upstream's own tests look them up, by text in one release and by expression in another.
    """

    def __init__(self, entries: tuple[tuple[str, Any], ...]) -> None:
        super().__init__((re.compile(pattern), value) for pattern, value in entries)

    def __missing__(self, key: object) -> Any:
        """The value of an expression that is given as text."""
        if isinstance(key, str):
            return self[re.compile(key)]
        raise KeyError(key)


@dataclass(frozen=True)
class Maps:
    """What a specification says of weights and groups by name.

    The maps of weights are regular expressions that are searched for, those of groups are names.
    """

    sparsities: tuple[tuple[str, float], ...]
    blocks: tuple[tuple[str, tuple[int, int]], ...]
    group_sparsities: dict[str, float]
    group_blocks: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, spec: Any) -> Maps:
        """The maps of ``spec``.

        Raises:
            ValueError: an entry is malformed or out of range (a ``PruningValueError``).
        """
        weights, blocks = spec.weight_sparsity_map, spec.block_dims_map
        groups, group_blocks = spec.group_sparsity_map, spec.group_block_dims_map
        maps = cls(
            tuple((name, _sparsity(text)) for name, text in _entries(weights)),
            tuple((name, _block(name, text)) for name, text in _entries(blocks)),
            {name: _sparsity(text) for name, text in _entries(groups)},
            {name: _block(name, text) for name, text in _entries(group_blocks)},
        )
        for pattern, _ in (*maps.sparsities, *maps.blocks):
            _check_pattern(pattern)
        return maps

    def sparsity_of(self, weight: str) -> float | None:
        """The target of its own that a weight has.

        Raises:
            ValueError: several entries match (a ``PruningValueError``).
        """
        return _only("weight_sparsity_map", weight, self.sparsities)

    def block_of(self, weight: str) -> tuple[int, int] | None:
        """The block of its own that a weight has.

        Raises:
            ValueError: several entries match (a ``PruningValueError``).
        """
        return _only("block_dims_map", weight, self.blocks)


def _only(option: str, weight: str, entries: tuple[tuple[str, Any], ...]) -> Any:
    found = [value for pattern, value in entries if re.search(pattern, weight)]
    if len(found) > 1:
        raise PruningValueError(f"Multiple matches in {option} for weight {printable(weight)}")
    return found[0] if found else None


def _entries(items: list[str]) -> list[tuple[str, str]]:
    """``name:value`` split at the last colon, so that a regular expression may hold others."""
    pairs: list[tuple[str, str]] = []
    for item in filter(None, items):
        name, colon, value = item.rpartition(":")
        _require(bool(colon), f"Expected NAME:VALUE, got '{printable(item)}'")
        pairs.append((name, value))
    return pairs


def _sparsity(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise PruningValueError(f"'{printable(text)}' is no sparsity") from error
    _require(value < 1.0, "Weight sparsity can not exceed 1.0")
    _require(value >= 0.0, "Weight sparsity can not be negative")
    return value


def _block(name: str, text: str) -> tuple[int, int]:
    sizes = text.split("x")
    if len(sizes) != 2:
        raise PruningValueError(
            f"Expected 2 values for block dim for {printable(name)}, got {sizes}"
        )
    try:
        height, width = (int(size) for size in sizes)
    except ValueError as error:
        raise PruningValueError(f"Block dims '{printable(text)}' are no numbers") from error
    return height, width


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise PruningValueError(
            f"'{printable(pattern)}' is no regular expression: {error}"
        ) from error
