"""Layers on the last axis: linear maps, masked ones, perceptrons, normalisation, dropout, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..distributions import biject_to, constraints
from ..distributions._arrays import Array
from ..distributions.transforms import IdentityTransform, Transform
from ..errors import ModelError, ShapeError
from .activations import activation, softmax
from .initial import Fans, Weight, check_start, weight_and_bias
from .network import Network, Params, Uniform, check_features


@dataclass(frozen=True, repr=False)
class Linear(Network):
    """`x W + b`, from `ins` features to `outs`.

    `start` names the rule by which weights start: "uniform" (the default, and PyTorch's), "he", "glorot",
    "normal", "zeros".

    >>> Linear(2, 3).apply({"weight": np.ones((2, 3)), "bias": np.zeros(3)}, np.array([1.0, 2.0]))
    array([3., 3., 3.])
    """

    ins: int
    outs: int
    bias: bool = True
    start: str = "uniform"

    def __post_init__(self) -> None:
        check_start(self.start)

    def weights(self) -> dict[str, Any]:
        return weight_and_bias(
            (self.ins, self.outs), Fans(self.ins, self.outs), self.start, self.outs if self.bias else None
        )

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.ins)
        return _affine(x, params["weight"], params)


def _affine(x: Array, weight: Array, params: Params) -> Array:
    y = x @ weight
    return y + params["bias"] if "bias" in params else y


@dataclass(frozen=True, repr=False)
class MaskedLinear(Network):
    """A linear map in which output j sees input i only if `after[j] >= before[i]`, or `>` where `strict`.

    Inputs and outputs carry degrees, whole numbers: with degree k an output may depend on the inputs of
    degree up to k. Layers in a row, the last one strict, make output j a function of inputs of lower degree
    alone (MADE: Germain, Gregor, Murray and Larochelle 2015, eq. 12 and 13).

    >>> net = MaskedLinear((1, 2, 3), (1, 2, 3), strict=True)
    >>> net.mask.astype(int)
    array([[0, 1, 1],
           [0, 0, 1],
           [0, 0, 0]])
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    strict: bool = False
    start: str = "uniform"

    def __post_init__(self) -> None:
        check_start(self.start)
        for name in ("before", "after"):
            object.__setattr__(self, name, tuple(map(int, getattr(self, name))))

    @property
    def mask(self) -> np.ndarray:
        """Which inputs (rows) each output (column) sees."""
        return _mask(self.before, self.after, self.strict)

    def weights(self) -> dict[str, Any]:
        ins, outs = len(self.before), len(self.after)
        return weight_and_bias((ins, outs), Fans(ins, outs), self.start, outs)

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, len(self.before))
        return _affine(x, params["weight"] * self.mask, params)

    def _text(self) -> str:
        return f"MaskedLinear({len(self.before)}, {len(self.after)})"


@lru_cache(maxsize=64)
def _mask(before: tuple[int, ...], after: tuple[int, ...], strict: bool) -> np.ndarray:
    compare = np.greater if strict else np.greater_equal
    mask = compare(np.array(after), np.array(before)[:, None])
    mask.flags.writeable = False
    return mask


Head = str | constraints.Constraint | Transform | Callable | None


@dataclass(frozen=True, repr=False, init=False)
class MLP(Network):
    """A multilayer perceptron: linear maps with an activation between them.

    `sizes` are the features of the input, of each hidden layer and of the output. The output may be a tuple
    of sizes: it then has several heads, and `apply` returns a tuple. `heads` says which set each head lies in:
    the name of a constraint ("real", "positive", "unit_interval", "simplex", ...), a constraint or a transform,
    reached as in `biject_to` ("simplex": by softmax), or a function of arrays. Several inputs are joined along
    their last axes. `start` and `last` name the rules by which the layers start, and the last of them.

    Parameters are named "0", "1", ... by layer; the heads of the last layer "0", "1", ... within it.

    Errors: ModelError for heads that fit no output or whose set is no image of the reals, ShapeError for an
    input of another size.

    >>> encoder = MLP(784, 400, (20, 20), heads=("real", "positive"))
    >>> encoder
    MLP(784, 400, (20, 20), heads=('real', 'positive')): 330,040 parameters
    >>> loc, scale = encoder.apply(encoder.init(0), np.zeros((5, 784)))
    >>> scale.shape, bool(np.all(scale > 0))
    ((5, 20), True)
    """

    sizes: tuple[int | tuple[int, ...], ...]
    activation: str | Callable = "relu"
    heads: Head | tuple[Head, ...] = None
    start: str = "uniform"
    last: str | None = None

    _several = "sizes"

    def __init__(
        self,
        *sizes: int | tuple[int, ...],
        activation: str | Callable = "relu",
        heads: Head | tuple[Head, ...] = None,
        start: str = "uniform",
        last: str | None = None,
    ) -> None:
        self._set(sizes=sizes, activation=activation, heads=heads, start=start, last=last)
        if len(sizes) < 2 or not all(isinstance(n, int | np.integer) for n in sizes[:-1]):
            raise ModelError(f"MLP{sizes}", "whole numbers, at least an input and an output", "MLP(784, 400, 20)")
        check_start(start)
        check_start(last or start)
        self._act, self._heads  # noqa: B018 - refused here rather than where they are used

    @property
    def _act(self) -> Callable[[Array], Array]:
        return activation(self.activation)

    @property
    def _outs(self) -> tuple[int, ...]:
        out = self.sizes[-1]
        return tuple(out) if isinstance(out, tuple) else (out,)

    @property
    def _heads(self) -> list[_Head]:
        several = isinstance(self.sizes[-1], tuple)
        heads = self.heads if isinstance(self.heads, tuple) else (self.heads,) * len(self._outs)
        if len(heads) != len(self._outs) or (isinstance(self.heads, tuple) and not several):
            raise ModelError(
                f"{len(heads)} heads for an output of {self.sizes[-1]}",
                "one head for each size of the output",
                'MLP(784, 400, (20, 20), heads=("real", "positive"))',
            )
        return [_Head(h, n) for h, n in zip(heads, self._outs, strict=True)]

    def _layers(self) -> list[Linear]:
        return [Linear(m, n, start=self.start) for m, n in zip(self.sizes[:-2], self.sizes[1:-1], strict=True)]

    def _last(self) -> list[Linear]:
        return [Linear(self.sizes[-2], head.ins, start=self.last or self.start) for head in self._heads]

    def weights(self) -> dict[str, Any]:
        found = {str(i): layer.weights() for i, layer in enumerate(self._layers())}
        last = {str(i): layer.weights() for i, layer in enumerate(self._last())}
        found[str(len(found))] = last if isinstance(self.sizes[-1], tuple) else last["0"]
        return found

    def apply(self, params: Params, *inputs: Array, uniform: Uniform = None) -> Any:
        x = joined(inputs)
        check_features(self, x, self.sizes[0])
        for i, layer in enumerate(self._layers()):
            x = self._act(layer.apply(params[str(i)], x))
        own = params[str(len(self.sizes) - 2)]
        if not isinstance(self.sizes[-1], tuple):
            return self._heads[0](self._last()[0].apply(own, x))
        pairs = zip(self._last(), self._heads, strict=True)
        return tuple(head(layer.apply(own[str(i)], x)) for i, (layer, head) in enumerate(pairs))


def joined(inputs: tuple[Array, ...]) -> Array:
    """Several inputs as one, side by side on the last axis; their batches broadcast."""
    if len(inputs) == 1:
        return inputs[0]
    lead = np.broadcast_shapes(*(np.shape(x)[:-1] for x in inputs))
    return np.concatenate([np.broadcast_to(x, (*lead, np.shape(x)[-1])) for x in inputs], -1)


class _Head:
    """The last step of an output: from `ins` free numbers to `outs` in a set."""

    def __init__(self, head: Head, outs: int) -> None:
        self.ins, self.outs = outs, outs
        if isinstance(head, str) and head == "simplex":
            self.onto: Callable = softmax
            return
        if isinstance(head, str):
            known = getattr(constraints, head, None)
            if not isinstance(known, constraints.Constraint):
                raise ModelError(f"heads={head!r}", "the name of a constraint", 'heads=("real", "positive")')
            head = known
        if isinstance(head, constraints.Constraint):
            head = biject_to(head)
        if isinstance(head, Transform):
            self.ins = head.inverse_shape((outs,))[-1]
        self.onto = IdentityTransform() if head is None else head

    def __call__(self, x: Array) -> Array:
        return self.onto(x)


@dataclass(frozen=True, repr=False)
class LayerNorm(Network):
    """Features brought to mean 0 and variance 1 in each row, then scaled and shifted by what is learned.

    `y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias` over the last axis (Ba, Kiros and Hinton 2016).

    >>> LayerNorm(2).apply(LayerNorm(2).init(0, float), np.array([1.0, 3.0])).round(3)
    array([-1.,  1.])
    """

    features: int
    eps: float = 1e-5

    def weights(self) -> dict[str, Any]:
        shape, fans = (self.features,), Fans(self.features, self.features)
        return {"weight": Weight(shape, "ones", fans), "bias": Weight(shape, "zeros", fans)}

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.features)
        centred = x - np.mean(x, -1, keepdims=True)
        variance = np.mean(centred * centred, -1, keepdims=True)
        return centred / np.sqrt(variance + self.eps) * params["weight"] + params["bias"]


@dataclass(frozen=True, repr=False)
class Dropout(Network):
    """While training, numbers set to 0 with probability `rate` and the others divided by 1 - rate; else nothing.

    Which ones is decided by noise of its own, `uniform(shape)`; without it x passes (Srivastava et al. 2014).

    >>> rng = np.random.default_rng(1)
    >>> Dropout(0.5).apply({}, np.ones(4), uniform=rng.random)
    array([2., 2., 0., 2.])
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise ModelError(f"Dropout({self.rate})", "a probability below 1", "Dropout(0.1)")

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        if uniform is None or self.rate == 0.0:
            return x
        # A product with truths costs a thirtieth of np.where.
        return (x * (1.0 / (1.0 - self.rate))) * (uniform(np.shape(x)) >= self.rate)

    def _text(self) -> str:
        return f"Dropout({self.rate})"


@dataclass(frozen=True, repr=False)
class Embedding(Network):
    """A row of `features` learned numbers for each of `count` things: words, users, classes.

    Input: whole numbers from 0 to count - 1 of any shape; output: their rows on a new last axis.

    >>> Embedding(3, 2).apply({"weight": np.eye(3, 2)}, np.array([1, 2]))
    array([[0., 1.],
           [0., 0.]])
    """

    count: int
    features: int
    start: str = "normal"

    def __post_init__(self) -> None:
        check_start(self.start)

    def weights(self) -> dict[str, Any]:
        return {"weight": Weight((self.count, self.features), self.start, Fans(self.count, self.features))}

    def apply(self, params: Params, ids: Array, *, uniform: Uniform = None) -> Array:
        ids = ids if hasattr(ids, "dtype") else np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise ShapeError(f"ids of type {ids.dtype} for {self._text()}", "whole numbers", "ids.astype(int)")
        return params["weight"][ids]
