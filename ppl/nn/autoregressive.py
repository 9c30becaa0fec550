"""Networks whose output is a distribution over arrays that are read in order: MADE, WaveNet, PixelCNN.

    pixels = ppl.module("pixels", nn.PixelCNN((28, 28, 1), 32, layers=5))
    ppl.sample("x", pixels(), obs=x[i])            or pixels(z), where a latent vector is its context

`log p(x) = sum_i log p(x_i | x_<i)`: the density is one pass of the masked network, a draw one pass for
each number. What an element is drawn from is `family`: "bernoulli" (0 or 1), "categorical" (0 to levels - 1),
"logistics" (0 to levels - 1, a mixture of discretized logistics, where levels are many and have an order),
"normal" (reals), or a function from `outs` numbers on the last axis to a distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import distributions as dist
from ..distributions import constraints
from ..distributions._arrays import Array, Shape
from ..distributions.constraints import Constraint
from ..errors import ModelError
from .convolutions import MaskedConv1d, MaskedConv2d
from .dense import Linear
from .masked import MaskedMLP, check_context
from .network import Network, Params, Uniform
from .recurrent import _sigmoid

COMPONENTS = 5  # of a mixture of discretized logistics, unless `outs` says otherwise


class Autoregressive(dist.Distribution):
    """`log p(x) = sum_i log p(x_i | x_<i)` over the elements of one array, by a network that reads them in order.

    `net.numbers(params, x, context)` gives `net.count` numbers for each element, which depend on the elements
    before it alone; `net.conditional` makes the families of the elements of these. Elements stand in the order
    of reading: rows of an image, pixels of a row, colours of a pixel.

    >>> from ppl import nn
    >>> net = nn.MADE(3, 8)
    >>> d = net.apply(net.init(0))
    >>> images = np.array(list(np.ndindex(2, 2, 2)), float)
    >>> float(np.exp(d.log_prob(images)).sum().round(5))
    1.0
    """

    _static = ("net",)
    net: _Reader
    params: Params
    context: Array | None

    def __init__(
        self, net: _Reader, params: Params, context: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(
            {"net": net, "params": params, "context": context},
            batch_shape=() if context is None else np.shape(context)[:-1],
            event_shape=net.shape,
        )

    @property
    def support(self) -> Constraint:
        return constraints.independent(self.net.each, len(self.event_shape))

    def conditionals(self, x: Array) -> dist.Distribution:
        """The family of every element, given those before it in x."""
        return self.net.conditional(self.net.numbers(self.params, self.net.scaled(x, self._kind), self.context))

    @property
    def _kind(self) -> np.dtype:
        """The floating type of the weights."""
        return constraints.flatten(self.params)[0][0].dtype

    def _log_density(self, x):
        return np.sum(self.conditionals(x).log_prob(x), axis=tuple(range(-self.event_dim, 0)))

    def _draw(self, rng: np.random.Generator, sample_shape: Shape) -> Array:
        shape = sample_shape + self.batch_shape
        context = self.context
        if context is not None:
            context = np.broadcast_to(context, (*shape, np.shape(context)[-1]))
        x = np.zeros((*shape, *self.event_shape))
        for place in np.ndindex(*self.event_shape):
            part, at = self.net.seen(place)
            numbers = self.net.numbers(self.params, self.net.scaled(x[(..., *part)], self._kind), context)
            x[(..., *place)] = self.net.conditional(numbers[(..., *at, slice(None))]).sample(rng)
        return x.astype(np.int64) if self.support.is_discrete else x


class _Reader(Network):
    """Base of networks that read arrays of one shape in order, and give each element a family."""

    family: str | Callable
    levels: int
    outs: int
    context: int

    def numbers(self, params: Params, x: Array, context: Array | None) -> Array:
        """`outs` numbers for each element of x, scaled, made of the elements before it: (..., *shape, outs)."""
        raise NotImplementedError

    @property
    def shape(self) -> Shape:
        """The shape of one array."""
        raise NotImplementedError

    def seen(self, place: tuple[int, ...]) -> tuple[tuple, tuple[int, ...]]:
        """A part of the array that has all that one element's numbers are made of, and where the element is in it."""
        return tuple(slice(None) for _ in place), place

    def apply(self, params: Params, context: Array | None = None, *, uniform: Uniform = None) -> Autoregressive:
        return Autoregressive(self, params, check_context(self, context) if self.context else None)

    def _check_family(self) -> None:
        if not callable(self.family) and self.family not in ("bernoulli", "categorical", "logistics", "normal"):
            named = '"bernoulli", "categorical", "logistics" or "normal"'
            raise ModelError(f"family={self.family!r}", f"{named}, or a function of numbers", 'family="bernoulli"')
        if callable(self.family) and not self.outs:
            raise ModelError("a family of your own without outs=", "how many numbers it is made of", "outs=2")
        if self.family in ("categorical", "logistics") and self.levels < 2:
            raise ModelError(f"levels={self.levels}", "the number of values that an element may have", "levels=256")

    @property
    def count(self) -> int:
        """Numbers for each element."""
        own = {"bernoulli": 1, "normal": 2, "categorical": self.levels, "logistics": 3 * COMPONENTS}
        return self.outs or own[self.family]

    @property
    def each(self) -> Constraint:
        """The values of one element."""
        return self.conditional(np.zeros(self.count)).support

    def scaled(self, x: Array, kind: np.dtype) -> Array:
        """Elements as the network reads them, in its type: levels from -1 to 1, anything else as it is."""
        x = x.astype(kind)
        return x * (2.0 / (self.levels - 1)) - 1.0 if self.family in ("categorical", "logistics") else x

    def conditional(self, numbers: Array) -> dist.Distribution:
        """The families of elements whose numbers are on the last axis."""
        if callable(self.family):
            return self.family(numbers)
        if self.family == "bernoulli":
            return dist.Bernoulli(logits=numbers[..., 0])
        if self.family == "normal":
            return dist.Normal(numbers[..., 0], np.exp(numbers[..., 1]))
        if self.family == "categorical":
            return dist.Categorical(logits=numbers)
        k, half = self.count // 3, 0.5 * (self.levels - 1)
        # Components spread over the levels at the start; scales from a fortieth of them on, never below 1 / 100.
        centres = np.linspace(-0.8, 0.8, k).astype(getattr(numbers, "dtype", float))
        loc = half * (1.0 + centres + numbers[..., k : 2 * k])
        scale = 0.01 + 0.1 * half * np.exp(numbers[..., 2 * k : 3 * k])
        parts = dist.DiscretizedLogistic(loc, scale, self.levels - 1)
        return dist.MixtureSameFamily(dist.Categorical(logits=numbers[..., :k]), parts)


# -- vectors -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False, init=False)
class MADE(_Reader):
    """A distribution over vectors by a masked perceptron (Germain, Gregor, Murray and Larochelle 2015).

    `MADE(features, *hidden)`. Called with its context, if it has one, it gives an `Autoregressive`. `family`,
    `levels` and `outs` say what an element is, see above.

    >>> MADE(784, 500)
    MADE(784, 500): 785,284 parameters
    >>> net = MADE(4, 16, family="normal", context=2)
    >>> d = net.apply(net.init(0), np.zeros((5, 2)))
    >>> d.batch_shape, d.event_shape, d.sample(0).shape
    ((5,), (4,), (5, 4))
    """

    features: int
    hidden: tuple[int, ...]
    family: str | Callable = "bernoulli"
    levels: int = 0
    outs: int = 0
    context: int = 0
    activation: str | Callable = "relu"

    _several = "hidden"

    def __init__(
        self,
        features: int,
        *hidden: int,
        family: str | Callable = "bernoulli",
        levels: int = 0,
        outs: int = 0,
        context: int = 0,
        activation: str | Callable = "relu",
    ) -> None:
        self._set(features=features, hidden=hidden, family=family, levels=levels)
        self._set(outs=outs, context=context, activation=activation)
        self._check_family()
        self._net  # noqa: B018 - refused here rather than where it is used

    @property
    def _net(self) -> MaskedMLP:
        more = {"context": self.context, "activation": self.activation}
        return MaskedMLP(self.features, *self.hidden, outs=self.count, **more)

    @property
    def shape(self) -> Shape:
        return (self.features,)

    def weights(self) -> dict[str, Any]:
        return self._net.weights()

    def numbers(self, params: Params, x: Array, context: Array | None) -> Array:
        return self._net.apply(params, x, *(() if context is None else (context,)))


# -- sequences -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False)
class WaveNet(_Reader):
    """A distribution over sequences of `length` numbers by causal convolutions of growing dilation.

    Each layer, `h + W tanh(a) sigmoid(b)` with a and b dilated convolutions of h, also adds to the output
    (van den Oord et al. 2016, eq. 2 and figure 4). An element sees the `reach` ones before it.

    >>> net = WaveNet(100, 16, dilations=(1, 2, 4, 8), family="categorical", levels=10)
    >>> net.reach
    17
    >>> net.apply(net.init(0)).log_prob(np.zeros((3, 100), int)).shape
    (3,)
    """

    length: int
    channels: int
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    kernel: int = 2
    family: str | Callable = "bernoulli"
    levels: int = 0
    outs: int = 0
    context: int = 0

    def __post_init__(self) -> None:
        self._set(dilations=tuple(self.dilations))
        self._check_family()
        self._parts()

    def _parts(self) -> dict[str, Network]:
        n = self.channels
        parts: dict[str, Network] = {"first": MaskedConv1d(1, n, self.kernel, strict=True)}
        for i, dilation in enumerate(self.dilations):
            parts[f"gates{i}"] = MaskedConv1d(n, 2 * n, self.kernel, dilation)
            parts[f"out{i}"] = Linear(n, 2 * n)
            if self.context:
                parts[f"context{i}"] = Linear(self.context, 2 * n, bias=False)
        return parts | {"last": Linear(n, n), "numbers": Linear(n, self.count)}

    @property
    def reach(self) -> int:
        """How many elements before it one element depends on."""
        return self.kernel + sum(self.dilations) * (self.kernel - 1)

    @property
    def shape(self) -> Shape:
        return (self.length,)

    def seen(self, place: tuple[int, ...]) -> tuple[tuple, tuple[int, ...]]:
        begin = max(place[0] - self.reach, 0)
        return (slice(begin, place[0] + 1),), (place[0] - begin,)

    def weights(self) -> dict[str, Any]:
        return {name: part.weights() for name, part in self._parts().items()}

    def numbers(self, params: Params, x: Array, context: Array | None) -> Array:
        n, parts = self.channels, self._parts()
        through = lambda name, y: parts[name].apply(params[name], y)
        h, total = through("first", x[..., None]), 0.0
        for i in range(len(self.dilations)):
            gates = through(f"gates{i}", h)
            if context is not None:
                gates = gates + through(f"context{i}", context)[..., None, :]
            out = through(f"out{i}", np.tanh(gates[..., :n]) * _sigmoid(gates[..., n:]))
            h, total = h + out[..., :n], total + out[..., n:]
        return through("numbers", np.maximum(through("last", np.maximum(total, 0.0)), 0.0))


# -- images --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False)
class PixelCNN(_Reader):
    """A distribution over images (height, width, colours) by masked convolutions, read row by row.

    The first convolution is strict, `layers` residual ones follow, and `channels` stand in as many blocks as there
    are colours, in whose order those of one pixel are read (van den Oord, Kalchbrenner and Kavukcuoglu 2016). An
    element sees pixels up to `reach` rows above and columns to the sides, but for some far to the right above, a
    blind spot of masked convolutions.

    >>> net = PixelCNN((8, 8, 3), 12, layers=2, family="logistics", levels=256)
    >>> d = net.apply(net.init(0))
    >>> d.log_prob(np.zeros((5, 8, 8, 3), int)).shape
    (5,)
    """

    image: Shape
    channels: int
    layers: int = 4
    kernel: int = 3
    first: int = 7
    family: str | Callable = "bernoulli"
    levels: int = 0
    outs: int = 0
    context: int = 0

    def __post_init__(self) -> None:
        self._set(image=tuple(map(int, self.image)))
        if len(self.image) != 3:
            raise ModelError(f"PixelCNN({self.image})", "(height, width, colours)", "PixelCNN((28, 28, 1), 32)")
        self._check_family()
        self._parts()

    def _parts(self) -> dict[str, Network]:
        n, colours = self.channels, self.shape[2]
        parts: dict[str, Network] = {"first": MaskedConv2d(colours, n, self.first, strict=True, colours=colours)}
        for i in range(self.layers):
            parts[f"layer{i}"] = MaskedConv2d(n, n, self.kernel, colours=colours)
            if self.context:
                parts[f"context{i}"] = Linear(self.context, n, bias=False)
        return parts | {"numbers": MaskedConv2d(n, colours * self.count, 1, colours=colours)}

    @property
    def shape(self) -> Shape:
        return self.image

    @property
    def reach(self) -> int:
        """How many rows above, and columns to each side, an element may depend on."""
        return self.first // 2 + self.layers * (self.kernel // 2)

    def seen(self, place: tuple[int, ...]) -> tuple[tuple, tuple[int, ...]]:
        row, column, colour = place
        top, left = max(row - self.reach, 0), max(column - self.reach, 0)
        part = slice(top, row + 1), slice(left, column + self.reach + 1), slice(None)
        return part, (row - top, column - left, colour)

    def weights(self) -> dict[str, Any]:
        return {name: part.weights() for name, part in self._parts().items()}

    def numbers(self, params: Params, x: Array, context: Array | None) -> Array:
        parts = self._parts()
        through = lambda name, y: parts[name].apply(params[name], y)
        h = through("first", x)
        for i in range(self.layers):
            change = through(f"layer{i}", np.maximum(h, 0.0))
            if context is not None:
                change = change + through(f"context{i}", context)[..., None, None, :]
            h = h + change
        found = through("numbers", np.maximum(h, 0.0))
        return np.reshape(found, (*np.shape(found)[:-1], self.shape[2], self.count))
