"""What ops on single elements compute, with NaN for what is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def _same(x: Array) -> Array:
    return x


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(x), x)


def _selu(x: Array) -> Array:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x < 0, alpha * np.expm1(x), x)


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    **{
        op: _same
        for op in "Identity StopGradient PreventGradient CheckNumerics Snapshot Cast".split()
    },
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Elu": _elu,
    "Erf": _erf,
    "Exp": np.exp,
    "Expm1": np.expm1,
    "Floor": np.floor,
    "Inv": np.reciprocal,
    "Log": np.log,
    "Log1p": np.log1p,
    "Neg": np.negative,
    "OnesLike": np.ones_like,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Rint": np.rint,
    "Round": np.rint,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Selu": _selu,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Sign": np.sign,
    "Sin": np.sin,
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Tanh": np.tanh,
    "ZerosLike": np.zeros_like,
}


def _product(x: Array, y: Array) -> Array:
    return np.where((x == 0) | (y == 0), 0, x * y)


def _quotient_or_zero(x: Array, y: Array) -> Array:
    return np.where(y == 0, 0, x / y)


OPERATORS: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "AddN": np.add,
    "AddV2": np.add,
    "Div": np.divide,
    "DivNoNan": _quotient_or_zero,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": _product,
    "Pow": np.power,
    "RealDiv": np.divide,
    "SquaredDifference": lambda x, y: np.square(x - y),
    "Sub": np.subtract,
}
