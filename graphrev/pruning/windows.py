"""The window of a convolution: what is asked for along each axis, and what is refused."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import tensorflow

from graphrev.pruning.errors import PruningValueError

FORMATS = {
    3: ("NWC", "NCW"),
    4: ("NHWC", "NCHW"),
    5: ("NDHWC", "NCDHW"),
}
"""By the rank of the input: channels last, channels second."""


@dataclass(frozen=True)
class Window:
    """What a convolution does along its axes.

    Attributes:
        sizes, strides, rates: one for each axis.
        channels: how many the input has.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    rates: tuple[int, ...]
    channels: int
    data_format: str

    @property
    def is_channels_first(self) -> bool:
        """Whether channels are the second axis."""
        return self.data_format.startswith("NC")

    @classmethod
    def of(
        cls,
        inputs: Any,
        data_format: str | None,
        kernel_size: Any,
        stride: Any,
        rate: Any,
        padding: Any,
    ) -> Window:
        """What the arguments of a convolution ask for.

        Raises:
            ValueError: they make no sense together (a ``PruningValueError``).
        """
        rank = inputs.shape.ndims
        if rank not in FORMATS:
            raise PruningValueError(f"Sparse Convolution not supported for input with rank {rank}")
        data_format = data_format or FORMATS[rank][0]
        if data_format not in FORMATS[rank]:
            raise PruningValueError(f"Unsupported data format {data_format} for rank {rank}")
        check_padding(padding)
        channels = tensorflow.compat.dimension_value(
            inputs.shape[1 if data_format.startswith("NC") else -1]
        )
        if channels is None:
            raise PruningValueError(
                "The channel dimension of the inputs should be defined. Found `None`."
            )
        strides, rates = each_axis(stride, rank - 2, "strides"), each_axis(rate, rank - 2, "rate")
        check_dilation(strides, rates)
        return cls(
            each_axis(kernel_size, rank - 2, "kernel_size"), strides, rates, channels, data_format
        )


def check_padding(padding: Any) -> str:
    """``padding`` in lower case.

    Raises:
        ValueError: it is neither ``valid`` nor ``same`` (a ``PruningValueError``).
    """
    if not isinstance(padding, str) or padding.lower() not in ("valid", "same"):
        raise PruningValueError(
            f'The `padding` argument must be one of "valid", "same". Received: {padding!r}'
        )
    return padding.lower()


def check_dilation(strides: tuple[int, ...], rates: tuple[int, ...]) -> None:
    """Refuses strides together with a dilation.

    Raises:
        ValueError: both are asked for (a ``PruningValueError``).
    """
    if max(strides) > 1 and max(rates) > 1:
        raise PruningValueError("strides > 1 not supported in conjunction with dilation_rate > 1")


def each_axis(value: Any, count: int, name: str) -> tuple[int, ...]:
    """``value`` for each of ``count`` axes.

    Raises:
        ValueError: it is no positive integer, nor ``count`` of them (a ``PruningValueError``).
    """
    values: Any = [value] * count if isinstance(value, numbers.Integral) else value
    try:
        sizes: tuple[Any, ...] = tuple(values)
    except TypeError:
        sizes = ()
    if len(sizes) != count or not all(
        isinstance(n, numbers.Integral) and int(n) > 0 for n in sizes
    ):
        kind = "a positive integer" if count == 1 else f"a tuple of {count} positive integers"
        raise PruningValueError(f"The `{name}` argument must be {kind}. Received: {value!r}")
    return tuple(int(size) for size in sizes)
