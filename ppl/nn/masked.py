"""A perceptron that reads a vector in order: output i depends on the inputs before it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..distributions._arrays import Array
from ..errors import ModelError
from .activations import activation
from .dense import Linear, MaskedLinear
from .network import Network, Params, Uniform, check_features


@dataclass(frozen=True, repr=False, init=False)
class MaskedMLP(Network):
    """A perceptron whose outputs for feature i depend on the features before i alone: the network of MADE.

    `MaskedMLP(features, *hidden, outs=1)` maps (..., features) to (..., features, outs), `outs` numbers for each
    feature. With `context` it takes a second input of that many numbers, which every output may see. `reverse`
    turns the order around: output i then depends on the features after i.

    Hidden units have degrees spread evenly, and layers are masked by them (Germain et al. 2015, eq. 12 and 13);
    `last` names the rule by which the last layer starts.

    >>> net = MaskedMLP(3, 16, outs=2)
    >>> params = net.init(0, float)
    >>> one, other = net.apply(params, np.array([1.0, 2.0, 3.0])), net.apply(params, np.array([1.0, 2.0, 5.0]))
    >>> one.shape, bool(np.all(one == other))
    ((3, 2), True)
    """

    features: int
    hidden: tuple[int, ...]
    outs: int = 1
    context: int = 0
    activation: str | Callable = "relu"
    reverse: bool = False
    start: str = "uniform"
    last: str = "uniform"

    _several = "hidden"

    def __init__(
        self,
        features: int,
        *hidden: int,
        outs: int = 1,
        context: int = 0,
        activation: str | Callable = "relu",
        reverse: bool = False,
        start: str = "uniform",
        last: str = "uniform",
    ) -> None:
        self._set(features=features, hidden=hidden, outs=outs, context=context, activation=activation)
        self._set(reverse=reverse, start=start, last=last)
        if not hidden:
            raise ModelError(f"MaskedMLP({features})", "at least one hidden layer", f"MaskedMLP({features}, 32)")
        self._parts()

    def _parts(self) -> list[MaskedLinear]:
        order = np.arange(self.features, 0, -1) if self.reverse else np.arange(1, self.features + 1)
        # A hidden unit of degree 0 sees the context alone: without one it would see nothing.
        lowest = 0 if self.context else min(1, self.features - 1)
        spread = lambda n: np.linspace(lowest, max(self.features - 1, lowest), n).round().astype(int)
        degrees = [tuple(order), *(tuple(spread(n)) for n in self.hidden)]
        layers = [MaskedLinear(a, b, start=self.start) for a, b in pairwise(degrees)]
        after = tuple(np.repeat(order, self.outs))
        return [*layers, MaskedLinear(degrees[-1], after, strict=True, start=self.last)]

    @property
    def _from_context(self) -> Linear:
        return Linear(self.context, self.hidden[0], bias=False, start=self.start)

    def weights(self) -> dict[str, Any]:
        found = {str(i): layer.weights() for i, layer in enumerate(self._parts())}
        return found | ({"context": self._from_context.weights()} if self.context else {})

    def apply(self, params: Params, x: Array, context: Array | None = None, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.features)
        *layers, last = self._parts()
        for i, layer in enumerate(layers):
            x = layer.apply(params[str(i)], x)
            if i == 0 and self.context:
                x = x + self._from_context.apply(params["context"], check_context(self, context))
            x = activation(self.activation)(x)
        x = last.apply(params[str(len(layers))], x)
        return np.reshape(x, (*np.shape(x)[:-1], self.features, self.outs))


def check_context(net: Network, context: Array | None) -> Array:
    """Refuse a missing context, or one of another size."""
    if context is None:
        raise ModelError(
            f"{net._text()} without its context", f"{net.context} numbers more", "apply(params, x, context)"
        )
    check_features(net, context, net.context)
    return context
