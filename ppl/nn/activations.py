"""What stands between the layers: functions of single numbers, and softmax along the last axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from ..array import logsumexp, softplus
from ..distributions._arrays import Array
from ..errors import ModelError


def identity(x: Array) -> Array:
    """x as it is."""
    return x


def relu(x: Array) -> Array:
    """max(x, 0).

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(x, 0.0)


def leaky_relu(x: Array) -> Array:
    """x where it is positive, x / 100 elsewhere."""
    return np.maximum(x, 0.01 * x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return special.expit(x)


def silu(x: Array) -> Array:
    """x sigmoid(x) (Elfwing, Uchibe and Doya 2018); also called swish."""
    return x * special.expit(x)


def gelu(x: Array) -> Array:
    """x Phi(x), with the normal cdf Phi (Hendrycks and Gimpel 2016)."""
    return x * special.ndtr(x)


def elu(x: Array) -> Array:
    """x where it is positive, exp(x) - 1 elsewhere (Clevert, Unterthiner and Hochreiter 2016)."""
    return np.maximum(x, 0.0) + np.expm1(np.minimum(x, 0.0))


def softmax(x: Array) -> Array:
    """exp(x) over its sum along the last axis.

    >>> softmax(np.log(np.array([1.0, 3.0]))).round(6)
    array([0.25, 0.75])
    """
    return np.exp(x - np.expand_dims(logsumexp(x, -1), -1))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    f.__name__: f for f in (identity, relu, leaky_relu, tanh, sigmoid, silu, gelu, elu, softplus, softmax)
}


def activation(name: str | Callable) -> Callable[[Array], Array]:
    """An activation by its name; a function of arrays stands for itself."""
    if callable(name):
        return name
    if name not in ACTIVATIONS:
        raise ModelError(
            f"an activation {name!r}", f"one of {', '.join(ACTIVATIONS)}, or a function of arrays", 'activation="relu"'
        )
    return ACTIVATIONS[name]
