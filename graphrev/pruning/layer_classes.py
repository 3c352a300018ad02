"""The classes behind contrib's masked layers: a layer that is made once and called often.

Source: contrib/model_pruning/python/layers/core_layers.py of TensorFlow 1.15; programs find them in
:mod:`graphrev.pruning.core_layers`. Unlike :func:`graphrev.pruning.masked_convolution` they call
their variables ``kernel`` and ``bias``, and these are no model variables.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import tensorflow

from graphrev.pruning import core_layers as core
from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.windows import FORMATS, check_dilation, check_padding, each_axis

tf: Any = tensorflow.compat.v1
_ZEROS, _ONES = tf.zeros_initializer(), tf.ones_initializer()


if TYPE_CHECKING:

    class _Layer:
        """What is used of TensorFlow's layer; at run time it is TensorFlow's class."""

        built: bool
        dtype: Any
        input_spec: Any

        def __init__(self, **options: Any) -> None: ...
        def __call__(self, inputs: Any) -> Any: ...
        def add_weight(self, name: str, **options: Any) -> Any: ...
else:
    _Layer = importlib.import_module("tensorflow.python.layers.base").Layer


class _Masked(_Layer):
    """A layer with a masked kernel and, unless ``use_bias`` is false, a bias."""

    kernel: Any
    mask: Any
    threshold: Any
    masked_kernel: Any
    bias: Any

    def __init__(
        self,
        activation: Any,
        use_bias: bool,
        initializers: tuple[Any, Any],
        regularizers: tuple[Any, Any],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.activation, self.use_bias = activation, use_bias
        self.kernel_initializer, self.bias_initializer = initializers
        self.kernel_regularizer, self.bias_regularizer = regularizers

    def _add_weights(self, shape: tuple[int, ...], *, mask_first: bool) -> None:
        core.check_graph("A masked layer")
        self.mask = self._fixed("mask", shape, _ONES) if mask_first else None
        self.kernel = self.add_weight(
            "kernel",
            shape=shape,
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            trainable=True,
            dtype=self.dtype,
        )
        self.mask = self.mask if mask_first else self._fixed("mask", shape, _ONES)
        self.threshold = self._fixed("threshold", (), _ZEROS)
        self.masked_kernel = core.multiply(self.mask, self.threshold, self.kernel)
        core.enter(self.mask, self.threshold, self.masked_kernel, self.kernel)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                shape=shape[-1:],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                trainable=True,
                dtype=self.dtype,
            )

    def _fixed(self, name: str, shape: tuple[int, ...], start: Any) -> Any:
        return self.add_weight(
            name, shape=shape, initializer=start, trainable=False, dtype=self.dtype
        )

    def _finished(self, outputs: Any, data_format: str = "NHWC") -> Any:
        if self.bias is not None:
            outputs = tf.nn.bias_add(outputs, self.bias, data_format=data_format)
        return outputs if self.activation is None else self.activation(outputs)


def _input_spec(**options: Any) -> Any:
    home: Any = importlib.import_module("tensorflow.python.keras.engine.input_spec")
    return home.InputSpec(**options)


def _size(shape: Any, axis: int, said: str) -> int:
    found = tensorflow.TensorShape(shape)[axis]
    size = tensorflow.compat.dimension_value(found)
    if size is None:
        raise PruningValueError(said)
    return size


class MaskedConv2D(_Masked):
    """A convolution over images whose kernel is multiplied by a mask.

    Makes the variables ``mask``, ``kernel``, ``threshold`` and ``bias`` when it is first called, in
    the scope ``masked_conv2d``; a second call shares them.

    Args:
        filters: how many.
        kernel_size, strides, dilation_rate: an integer or two; of strides and dilation_rate one
            must be 1.
        padding: ``valid`` or ``same``.
        data_format: ``channels_last`` or ``channels_first``.
        activation: applied last; ``None`` for none.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: ``None`` for TensorFlow's default.
        kernel_regularizer, bias_regularizer, activity_regularizer: give a loss, which is collected.
        trainable: whether kernel and bias are trained.
        name: of the layer.
        kwargs: what TensorFlow's base layer takes (``dtype``, ``_reuse``, ``_scope``).

    Raises:
        ValueError: an argument makes no sense (a ``PruningValueError``).
    """

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = _ZEROS,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            activation,
            use_bias,
            (kernel_initializer, bias_initializer),
            (kernel_regularizer, bias_regularizer),
            activity_regularizer=activity_regularizer,
            trainable=trainable,
            name=name,
            **kwargs,
        )
        self.filters = filters
        self.kernel_size = each_axis(kernel_size, self.rank, "kernel_size")
        self.strides = each_axis(strides, self.rank, "strides")
        self.dilation_rate = each_axis(dilation_rate, self.rank, "dilation_rate")
        self.padding = check_padding(padding)
        if data_format not in ("channels_first", "channels_last"):
            raise PruningValueError(
                'The `data_format` argument must be one of "channels_first", "channels_last". '
                f"Received: {data_format!r}"
            )
        check_dilation(self.strides, self.dilation_rate)
        self.data_format = data_format
        self.input_spec = _input_spec(ndim=self.rank + 2)

    @property
    def _is_channels_first(self) -> bool:
        return self.data_format == "channels_first"

    def build(self, input_shape: Any) -> None:
        """Makes the variables.

        Raises:
            ValueError: the number of channels is unknown, or ``filters`` is no positive integer (a
                ``PruningValueError``).
        """
        axis = 1 if self._is_channels_first else -1
        said = "The channel dimension of the inputs should be defined. Found `None`."
        channels = _size(input_shape, axis, said)
        (filters,) = each_axis(self.filters, 1, "filters")
        self._add_weights((*self.kernel_size, channels, filters), mask_first=True)
        self.input_spec = _input_spec(ndim=self.rank + 2, axes={axis: channels})
        self.built = True

    @core.as_it_stands
    def call(self, inputs: Any) -> Any:
        """The convolution of ``inputs``, of rank 4."""
        outputs = tf.nn.convolution(
            inputs,
            self.masked_kernel,
            padding=self.padding.upper(),
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            data_format=FORMATS[self.rank + 2][self._is_channels_first],
        )
        return self._finished(outputs, "NCHW" if self._is_channels_first else "NHWC")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output by that of the input."""
        dims = tensorflow.TensorShape(input_shape).as_list()
        first = self._is_channels_first
        axes = zip(
            dims[2:] if first else dims[1:-1], self.kernel_size, self.strides, self.dilation_rate
        )
        space = [self._length(*given) for given in axes]
        channels_first = [dims[0], self.filters, *space]
        return tensorflow.TensorShape(channels_first if first else [dims[0], *space, self.filters])

    def _length(self, size: int | None, window: int, stride: int, rate: int) -> int | None:
        if size is None:
            return None
        lost = (window - 1) * rate if self.padding == "valid" else 0
        return -(-(size - lost) // stride)


class MaskedFullyConnected(_Masked):
    """A fully connected layer, on the last axis, whose kernel is multiplied by a mask.

    Makes the variables ``kernel``, ``mask``, ``threshold`` and ``bias`` when it is first called, in
    the scope ``masked_fully_connected``; a second call shares them.

    Args:
        units: how many.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
            bias_regularizer, activity_regularizer, trainable, name, kwargs: see
            :class:`MaskedConv2D`.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = _ZEROS,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            activation,
            use_bias,
            (kernel_initializer, bias_initializer),
            (kernel_regularizer, bias_regularizer),
            activity_regularizer=activity_regularizer,
            trainable=trainable,
            name=name,
            **kwargs,
        )
        self.units = units
        self.input_spec = _input_spec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Makes the variables.

        Raises:
            ValueError: the last axis has no static size, or ``units`` is no positive integer (a
                ``PruningValueError``).
        """
        said = "The last dimension of the inputs to `Dense` should be defined. Found `None`."
        size = _size(input_shape, -1, said)
        (units,) = each_axis(self.units, 1, "units")
        self._add_weights((size, units), mask_first=False)
        self.input_spec = _input_spec(min_ndim=2, axes={-1: size})
        self.built = True

    @core.as_it_stands
    def call(self, inputs: Any) -> Any:
        """The product of ``inputs``, of rank 2 or more, along the last axis."""
        inputs = tf.convert_to_tensor(inputs, dtype=self.dtype)
        dims = inputs.shape.as_list()
        if len(dims) == 2:
            return self._finished(tf.matmul(inputs, self.masked_kernel))
        outputs = tf.tensordot(inputs, self.masked_kernel, [[len(dims) - 1], [0]])
        outputs.set_shape([*dims[:-1], self.units])
        return self._finished(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output by that of the input.

        Raises:
            ValueError: the last axis has no static size (a ``PruningValueError``).
        """
        shape = tensorflow.TensorShape(input_shape).with_rank_at_least(2)
        said = f"The innermost dimension of input_shape must be defined, but saw: {shape}"
        _size(shape, -1, said)
        return shape[:-1].concatenate(self.units)
