"""LSTM cells whose kernel is masked.

Source: contrib/model_pruning/python/layers/rnn_cells.py of TensorFlow 1.15. The cell is
TensorFlow's own; while it is called it reads ``mask * kernel`` where it would read the kernel.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tensorflow

from graphrev.pruning import core_layers as core

tf: Any = tensorflow.compat.v1


def _cells() -> Any:
    """Where the program's own ``tf.nn.rnn_cell`` is; with Keras 3 that has no cells at all."""
    try:
        _ = tf.nn.rnn_cell.BasicLSTMCell
        return tf.nn.rnn_cell
    except (AttributeError, ImportError):
        return importlib.import_module("tensorflow.python.keras.layers.legacy_rnn.rnn_cell_impl")


if TYPE_CHECKING:

    class _Cell:
        """What the cells use of TensorFlow's; at run time it is TensorFlow's class."""

        _kernel: Any
        built: bool
        dtype: Any

        def __init__(self, num_units: int, **options: Any) -> None: ...
        def build(self, inputs_shape: Any) -> None: ...
        def call(self, inputs: Any, state: Any) -> Any: ...
        def add_weight(self, name: str, **options: Any) -> Any: ...

    _Basic = _Full = _Cell
else:
    _Basic, _Full = _cells().BasicLSTMCell, _cells().LSTMCell


def _add_mask(cell: Any) -> None:
    """Adds mask, threshold and masked kernel to a cell that was just built."""
    cell.built = False
    mask = cell.add_weight(
        name="mask",
        shape=cell._kernel.shape,
        initializer=tf.ones_initializer(),
        trainable=False,
        dtype=cell.dtype,
    )
    threshold = cell.add_weight(
        name="threshold",
        shape=[],
        initializer=tf.zeros_initializer(),
        trainable=False,
        dtype=cell.dtype,
    )
    cell._mask, cell._threshold = mask, threshold
    cell._masked_kernel = core.multiply(mask, threshold, cell._kernel)
    core.enter(mask, threshold, cell._masked_kernel, cell._kernel)
    cell.built = True


@contextmanager
def _reading_masked(cell: Any) -> Generator[None]:
    """Lets the cell's own code read the masked kernel.

    Keras would forget the variable if the attribute were assigned, hence ``__dict__``.
    """
    kernel = cell.__dict__["_kernel"]
    cell.__dict__["_kernel"] = cell._masked_kernel
    try:
        yield
    finally:
        cell.__dict__["_kernel"] = kernel


class MaskedBasicLSTMCell(_Basic):
    """``tf.nn.rnn_cell.BasicLSTMCell`` with a mask on its kernel.

    Adds the variables ``mask``, in the shape of the kernel, and ``threshold`` to the cell's scope.

    Args:
        num_units: the number of units.
        forget_bias: added to the biases of the forget gate.
        state_is_tuple: whether states are ``LSTMStateTuple``; else they are concatenated.
        activation: of the inner states; ``tanh`` by default.
        reuse: whether variables of the scope are used again.
        name: of the layer.
    """

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: bool | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            num_units,
            forget_bias=forget_bias,
            state_is_tuple=state_is_tuple,
            activation=activation,
            reuse=reuse,
            name=name,
        )

    def build(self, inputs_shape: Any) -> None:
        """Makes the variables."""
        super().build(inputs_shape)
        _add_mask(self)

    @core.as_it_stands
    def call(self, inputs: Any, state: Any) -> Any:
        """One step: ``(output, new state)`` from ``[batch, input_size]`` and a state."""
        with _reading_masked(self):
            return super().call(inputs, state)


class MaskedLSTMCell(_Full):
    """``tf.nn.rnn_cell.LSTMCell`` with a mask on its kernel; the projection is not masked.

    Adds the variables ``mask``, in the shape of the kernel, and ``threshold`` to the cell's scope.

    Args:
        num_units: the number of units.
        use_peepholes: whether there are diagonal connections.
        cell_clip: the bound of the cell state, if it has one.
        initializer: of the weights and the projection.
        num_proj: the size of the projected output, if it is projected.
        proj_clip: the bound of the projected values, if they have one.
        num_unit_shards, num_proj_shards: deprecated, as in TensorFlow.
        forget_bias, state_is_tuple, activation, reuse: see :class:`MaskedBasicLSTMCell`.
        name: of the layer.
    """

    def __init__(
        self,
        num_units: int,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        initializer: Any = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        num_unit_shards: int | None = None,
        num_proj_shards: int | None = None,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: bool | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            num_units,
            use_peepholes=use_peepholes,
            cell_clip=cell_clip,
            initializer=initializer,
            num_proj=num_proj,
            proj_clip=proj_clip,
            num_unit_shards=num_unit_shards,
            num_proj_shards=num_proj_shards,
            forget_bias=forget_bias,
            state_is_tuple=state_is_tuple,
            activation=activation,
            reuse=reuse,
            name=name,
        )

    def build(self, inputs_shape: Any) -> None:
        """Makes the variables."""
        super().build(inputs_shape)
        _add_mask(self)

    @core.as_it_stands
    def call(self, inputs: Any, state: Any) -> Any:
        """One step: ``(output, new state)`` from ``[batch, input_size]`` and a state."""
        with _reading_masked(self):
            return super().call(inputs, state)
