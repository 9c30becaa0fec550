"""Flows: networks whose output is a transform with a log-Jacobian, for flexible guides and priors.

    flow = ppl.module("flow", nn.Flow(nn.InverseAutoregressive(2, 16), nn.InverseAutoregressive(2, 16, reverse=True)))
    q = dist.TransformedDistribution(dist.Normal(np.zeros(2), 1).to_event(1), flow())

A flow with `context` is amortised: `flow(h)` gives every row a transform of its own. What an affine flow
multiplies by lies between exp(-3) and exp(3), so that a step too far ruins nothing; layers in a row go further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..array import softplus
from ..array.specials import tanh_root
from ..distributions import constraints
from ..distributions._arrays import Array, Shape
from ..distributions.transforms import ComposeTransform, Transform
from ..errors import ModelError
from .dense import MLP
from .initial import Fans, Weight
from .masked import MaskedMLP, check_context
from .network import Network, Params, Sequential, Uniform

MOST = 3.0  # the largest logarithm of a scale


class _VectorTransform(Transform):
    """From vectors of reals to vectors of reals; a context adds its batch."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    context: Array | None = None

    def forward_shape(self, shape: Shape) -> Shape:
        more = () if self.context is None else np.shape(self.context)[:-1]
        return (*np.broadcast_shapes(shape[:-1], more), shape[-1])

    inverse_shape = forward_shape


def _bounded(raw: Array) -> Array:
    return MOST * np.tanh(raw * (1.0 / MOST))


# -- planar ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class PlanarTransform(_VectorTransform):
    """`y = x + v tanh(w x + b)`, with v = u + (m(w u) - w u) w / |w|^2 and m(a) = softplus(a) - 1.

    That makes `w v > -1`, and the map one to one (Rezende and Mohamed 2015, eq. 10 and appendix A.1).
    `log |J| = log(1 + w v (1 - tanh(w x + b)^2))`. The inverse solves for one number, `w x`.

    >>> t = PlanarTransform(np.array([1.0, 0.0]), np.array([2.0, 1.0]), 0.5)
    >>> x = np.array([0.3, -0.2])
    >>> bool(np.allclose(t.inverse(t(x)), x))
    True
    """

    u: Array
    w: Array
    b: Array

    def _direction(self) -> tuple[Array, Array]:
        """v, and w v."""
        along = _dot(self.w, self.u)
        more = softplus(along) - 1.0 - along
        return self.u + (more / _dot(self.w, self.w))[..., None] * self.w, along + more

    def __call__(self, x: Array) -> Array:
        return x + np.tanh(_dot(self.w, x) + self.b)[..., None] * self._direction()[0]

    def inverse(self, y: Array) -> Array:
        v, steep = self._direction()
        t = tanh_root(steep, _dot(self.w, y) + self.b)  # t = w x + b
        return y - np.tanh(t)[..., None] * v

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        bend = np.tanh(_dot(self.w, x) + self.b)
        return np.log1p(self._direction()[1] * (1.0 - bend * bend))

    def forward_shape(self, shape: Shape) -> Shape:
        return (*np.broadcast_shapes(shape[:-1], np.shape(self.w)[:-1]), shape[-1])

    inverse_shape = forward_shape


def _dot(a: Array, b: Array) -> Array:
    return np.sum(a * b, axis=-1)


@dataclass(frozen=True, repr=False)
class Planar(Network):
    """A planar flow, `y = x + v tanh(w x + b)` (Rezende and Mohamed 2015): `PlanarTransform` with learned u, w, b.

    It pushes mass away from, or onto, one plane; many in a row are needed. With `context`, a linear function
    of so many numbers gives u, w and b, as in amortised guides.

    >>> from ppl import nn
    >>> nn.Planar(2)
    Planar(2): 5 parameters
    """

    features: int
    context: int = 0

    @property
    def _from_context(self) -> MLP:
        return MLP(self.context, (self.features, self.features, 1))

    def weights(self) -> dict[str, Any]:
        if self.context:
            return self._from_context.weights()
        vector, fans = (self.features,), Fans(self.features, 1)
        return {
            "u": Weight(vector, "uniform", fans),
            "w": Weight(vector, "uniform", fans),
            "b": Weight((), "zeros", fans),
        }

    def apply(self, params: Params, context: Array | None = None, *, uniform: Uniform = None) -> PlanarTransform:
        if not self.context:
            return PlanarTransform(params["u"], params["w"], params["b"])
        u, w, b = self._from_context.apply(params, check_context(self, context))
        return PlanarTransform(u, w, b[..., 0])


# -- affine coupling ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class CouplingTransform(_VectorTransform):
    """One half of a vector scaled and shifted by a network of the other half, which stays as it is.

    `y_b = x_b exp(s(x_a)) + m(x_a)`, `log |J| = sum s(x_a)` (RealNVP: Dinh, Sohl-Dickstein and Bengio 2017, eq. 7
    and 8). The first half stays, or with `reverse` the second.
    """

    net: Network
    params: dict[str, Any]
    reverse: bool = False
    context: Array | None = None

    _static = ("net", "reverse")

    def _halves(self, x: Array) -> tuple[Array, Array]:
        """What stays and what moves."""
        cut = _cut(np.shape(x)[-1], self.reverse)
        return (x[..., cut:], x[..., :cut]) if self.reverse else (x[..., :cut], x[..., cut:])

    def _joined(self, stays: Array, moved: Array) -> Array:
        stays = np.broadcast_to(stays, (*np.shape(moved)[:-1], np.shape(stays)[-1]))
        return np.concatenate([moved, stays] if self.reverse else [stays, moved], -1)

    def _shift_and_log_scale(self, stays: Array) -> tuple[Array, Array]:
        shift, raw = self.net.apply(self.params, *((stays,) if self.context is None else (stays, self.context)))
        return shift, _bounded(raw)

    def __call__(self, x: Array) -> Array:
        stays, moves = self._halves(x)
        shift, log_scale = self._shift_and_log_scale(stays)
        return self._joined(stays, moves * np.exp(log_scale) + shift)

    def inverse(self, y: Array) -> Array:
        stays, moved = self._halves(y)
        shift, log_scale = self._shift_and_log_scale(stays)
        return self._joined(stays, (moved - shift) * np.exp(-log_scale))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(self._shift_and_log_scale(self._halves(x)[0])[1], axis=-1)


def _cut(features: int, reverse: bool) -> int:
    """Where a vector is cut in halves; of an odd number the larger half moves."""
    return features - features // 2 if reverse else features // 2


@dataclass(frozen=True, repr=False, init=False)
class Coupling(Network):
    """An affine coupling layer (RealNVP): quick in both directions.

    `Coupling(features, *hidden)`: a perceptron of the half that stays scales and shifts the other; layers with
    and without `reverse` alternate, so that every number moves. With `context` it sees so many numbers more. It
    starts as the identity.

    >>> from ppl import nn
    >>> flow = nn.Flow(nn.Coupling(2, 16), nn.Coupling(2, 16, reverse=True))
    >>> t = flow.apply(flow.init(0))
    >>> x = np.array([0.5, -1.0])
    >>> bool(np.allclose(t.inverse(t(x)), x))
    True
    """

    features: int
    hidden: tuple[int, ...]
    context: int = 0
    activation: str | Callable = "tanh"
    reverse: bool = False

    _several = "hidden"

    def __init__(
        self,
        features: int,
        *hidden: int,
        context: int = 0,
        activation: str | Callable = "tanh",
        reverse: bool = False,
    ) -> None:
        if features < 2:
            raise ModelError(f"Coupling({features})", "two features or more, to be halved", "nn.Planar(1)")
        self._set(features=features, hidden=hidden, context=context, activation=activation, reverse=reverse)
        self._net  # noqa: B018 - refused here rather than where it is used

    @property
    def _net(self) -> MLP:
        cut = _cut(self.features, self.reverse)
        stays, moves = (self.features - cut, cut) if self.reverse else (cut, self.features - cut)
        return MLP(stays + self.context, *self.hidden, (moves, moves), activation=self.activation, last="zeros")

    def weights(self) -> dict[str, Any]:
        return self._net.weights()

    def apply(self, params: Params, context: Array | None = None, *, uniform: Uniform = None) -> CouplingTransform:
        context = check_context(self, context) if self.context else None
        return CouplingTransform(self._net, params, self.reverse, context)


# -- autoregressive ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class InverseAutoregressiveTransform(_VectorTransform):
    """Every number scaled and shifted by what a network makes of those before it.

    `y_i = x_i exp(s_i(x_<i)) + m_i(x_<i)`, `log |J| = sum s_i`: one pass, so draws and the density of draws are
    quick, as guides want it (Kingma et al. 2016, eq. 10). The inverse takes a pass for each number; as a prior or a
    likelihood use `.inv`, whose density is one pass (masked autoregressive flow: Papamakarios et al. 2017).
    """

    net: Network
    params: dict[str, Any]
    context: Array | None = None

    _static = ("net",)

    def _shift_and_log_scale(self, x: Array) -> tuple[Array, Array]:
        raw = self.net.apply(self.params, *((x,) if self.context is None else (x, self.context)))
        return raw[..., 0], _bounded(raw[..., 1])

    def __call__(self, x: Array) -> Array:
        shift, log_scale = self._shift_and_log_scale(x)
        return x * np.exp(log_scale) + shift

    def inverse(self, y: Array) -> Array:
        x, features = y, self.net.features
        for _ in range(features):  # each pass makes one number more right, and leaves right ones as they are
            shift, log_scale = self._shift_and_log_scale(x)
            x = (y - shift) * np.exp(-log_scale)
        return x

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(self._shift_and_log_scale(x)[1], axis=-1)


@dataclass(frozen=True, repr=False, init=False)
class InverseAutoregressive(Network):
    """An inverse autoregressive layer (IAF): the richest of these flows, quick to draw from.

    `InverseAutoregressive(features, *hidden)`: a masked perceptron of the numbers before each scales and shifts
    it; layers with and without `reverse` alternate. With `context` it sees so many numbers more. It starts as
    the identity. `flow().inv` is the masked autoregressive flow, whose density is quick.

    >>> from ppl import nn
    >>> nn.Flow(nn.InverseAutoregressive(2, 16), nn.InverseAutoregressive(2, 16, reverse=True))
    Flow(
      0: InverseAutoregressive(2, 16): 116 parameters
      1: InverseAutoregressive(2, 16, reverse=True): 116 parameters
    ): 232 parameters
    """

    features: int
    hidden: tuple[int, ...]
    context: int = 0
    activation: str | Callable = "tanh"
    reverse: bool = False

    _several = "hidden"

    def __init__(
        self,
        features: int,
        *hidden: int,
        context: int = 0,
        activation: str | Callable = "tanh",
        reverse: bool = False,
    ) -> None:
        self._set(features=features, hidden=hidden, context=context, activation=activation, reverse=reverse)
        self._net  # noqa: B018 - refused here rather than where it is used

    @property
    def _net(self) -> MaskedMLP:
        more = {"context": self.context, "activation": self.activation, "reverse": self.reverse}
        return MaskedMLP(self.features, *self.hidden, outs=2, last="zeros", **more)

    def weights(self) -> dict[str, Any]:
        return self._net.weights()

    def apply(
        self, params: Params, context: Array | None = None, *, uniform: Uniform = None
    ) -> InverseAutoregressiveTransform:
        context = check_context(self, context) if self.context else None
        return InverseAutoregressiveTransform(self._net, params, context)


# -- composition ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False, init=False)
class Flow(Sequential):
    """Flows one after the other; each of those with `context` gets it.

    >>> from ppl import nn
    >>> flow = nn.Flow(nn.Planar(2), nn.Coupling(2, 8), nn.Planar(2))
    >>> flow.apply(flow.init(0))(np.zeros((5, 2))).shape
    (5, 2)
    """

    parts: tuple[Network, ...]

    def __init__(self, *parts: Network) -> None:
        self._set(parts=parts)

    def apply(self, params: Params, context: Array | None = None, *, uniform: Uniform = None) -> Transform:
        transforms = [
            part.apply(params[str(i)], *((context,) if part.context else ())) for i, part in enumerate(self.parts)
        ]
        return ComposeTransform(tuple(transforms))
