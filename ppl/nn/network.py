"""What every network is: a frozen record of sizes, without a single array in it.

    net.init(rng) -> params            nested dict of NumPy arrays
    net.apply(params, x) -> output     a function of its arguments alone

Parameters are arguments, so nothing is hidden: they can be learned (`ppl.module("decoder", net)`), drawn
from a prior (`prior=`), or passed by hand. `apply` is plain NumPy and is recorded like any other code of a
model. Arrays have their features last: (..., features), images (..., height, width, channels), sequences
(..., time, features); whatever stands in front is batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from ..distributions._arrays import Array, Shape
from ..errors import ShapeError
from .activations import activation
from .initial import Weight

Params = Mapping[str, Any]  # nested: names to arrays, or to more of these
Uniform = Callable[[Shape], Array] | None  # noise between 0 and 1 of a shape; None while a network is only used


class Network:
    """Base of all networks; two of them are equal when their sizes are.

    `weights` describes the parameters, nested as they are. `apply(params, *inputs, uniform=None)` is the
    function: `uniform(shape)` gives noise between 0 and 1 to the layers that want it (`Dropout`); without
    it they do what they do once training is over.

    >>> from ppl import nn
    >>> net = nn.MLP(3, 16, 2)
    >>> net
    MLP(3, 16, 2): 98 parameters
    >>> params = net.init(np.random.default_rng(0))
    >>> params["0"]["weight"].shape, params["0"]["weight"].dtype
    ((3, 16), dtype('float32'))
    >>> net.apply(params, np.zeros((5, 3))).shape
    (5, 2)
    """

    _several = ""  # the field that is given as several arguments in a row

    def weights(self) -> dict[str, Any]:
        """A `Weight` for every parameter, in nested dicts by name."""
        return {}

    def apply(self, params: Params, *inputs: Array, uniform: Uniform = None) -> Any:
        """The output of the network for these parameters and inputs."""
        raise TypeError(f"{type(self).__name__} computes nothing")

    def init(self, rng: np.random.Generator | int, dtype: Any = np.float32) -> dict[str, Any]:
        """Parameters to start from: nested dicts of arrays, in float32 unless said otherwise."""
        return _drawn(self.weights(), np.random.default_rng(rng), np.dtype(dtype))

    @property
    def size(self) -> int:
        """How many numbers its parameters are."""
        return _counted(self.weights())

    def __repr__(self) -> str:
        return f"{self._text()}: {_in_words(self.size)}"

    def _set(self, **fields: Any) -> None:
        """Give a frozen record its fields, where they do not come as a dataclass takes them."""
        for name, value in fields.items():
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)

    def _text(self) -> str:
        """The network as it was written, without defaults."""
        parts = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if f.name == self._several:
                parts += map(_written, value)
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                parts.append(_written(value))
            elif value != f.default:
                parts.append(f"{f.name}={_written(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


def _drawn(weights: Mapping[str, Any], rng: np.random.Generator, dtype: np.dtype) -> dict[str, Any]:
    return {k: w.draw(rng, dtype) if isinstance(w, Weight) else _drawn(w, rng, dtype) for k, w in weights.items()}


def _counted(weights: Mapping[str, Any]) -> int:
    return sum(prod(w.shape) if isinstance(w, Weight) else _counted(w) for w in weights.values())


def _in_words(count: int) -> str:
    return f"{count:,} parameter{'' if count == 1 else 's'}"


def _written(x: Any) -> str:
    if isinstance(x, Network):
        return x._text()
    if isinstance(x, tuple):
        return f"({', '.join(map(_written, x))}{',' * (len(x) == 1)})"
    return getattr(x, "__name__", repr(x)) if callable(x) else repr(x)


def check_features(net: Network, x: Array, features: int, axes: int = 1) -> None:
    """Refuse an input whose last axis is no row of `features` numbers, or that has too few axes."""
    shape = np.shape(x)
    if len(shape) < axes or shape[-1] != features:
        lead = {1: "", 2: "time, ", 3: "height, width, "}[axes]
        raise ShapeError(
            f"an input of shape {shape} for {net._text()}",
            f"shape (..., {lead}{features})",
            "np.reshape(x, (len(x), -1)) for images in a plate" if axes == 1 else "the features on the last axis",
        )


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Sequential(Network):
    """Networks one after the other; activations stand between them by name or as functions.

    Parameters are named by position. The first part may take several inputs.

    >>> from ppl import nn
    >>> net = nn.Sequential(nn.Linear(2, 8), "tanh", nn.Dropout(0.1), nn.Linear(8, 1))
    >>> net
    Sequential(
      0: Linear(2, 8): 24 parameters
      1: tanh
      2: Dropout(0.1): 0 parameters
      3: Linear(8, 1): 9 parameters
    ): 33 parameters
    >>> sorted(net.init(0))
    ['0', '3']
    """

    parts: tuple[Network | str | Callable, ...]

    _several = "parts"

    def __init__(self, *parts: Network | str | Callable) -> None:
        for part in parts:
            if not isinstance(part, Network):
                activation(part)  # refused here rather than where it is used
        self._set(parts=parts)

    def weights(self) -> dict[str, Any]:
        own = {str(i): part.weights() for i, part in enumerate(self.parts) if isinstance(part, Network)}
        return {name: found for name, found in own.items() if found}

    def apply(self, params: Params, *inputs: Array, uniform: Uniform = None) -> Any:
        for i, part in enumerate(self.parts):
            if isinstance(part, Network):
                inputs = (part.apply(params.get(str(i), {}), *inputs, uniform=uniform),)
            else:
                inputs = (activation(part)(*inputs),)
        return inputs[0] if len(inputs) == 1 else inputs

    def __repr__(self) -> str:
        lines = []
        for i, part in enumerate(self.parts):
            text = repr(part) if isinstance(part, Network) else str(part) if isinstance(part, str) else _written(part)
            lines.append(f"  {i}: " + text.replace("\n", "\n  "))
        return "\n".join([f"{type(self).__name__}(", *lines, f"): {_in_words(self.size)}"])


@dataclasses.dataclass(frozen=True, repr=False)
class Residual(Network):
    """`x + body(x)` (He et al. 2016): what a network adds to its input.

    >>> from ppl import nn
    >>> nn.Residual(nn.MLP(4, 8, 4))
    Residual(MLP(4, 8, 4)): 76 parameters
    """

    body: Network

    def weights(self) -> dict[str, Any]:
        return self.body.weights()

    def apply(self, params: Params, *inputs: Array, uniform: Uniform = None) -> Any:
        x, change = inputs[0], self.body.apply(params, *inputs, uniform=uniform)
        if np.shape(change) != np.shape(x):
            raise ShapeError(
                f"{self.body._text()} that makes {np.shape(change)} of {np.shape(x)}",
                "an output of the shape of the input, to be added to it",
                "as many features out as in",
            )
        return x + change
