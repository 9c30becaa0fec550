"""Transforms of vectors: stick breaking, order, zero sums, the ball, permutations, shapes, pieces, recursions."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from ppl.array import scan, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, float_type
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.transforms.base import IndependentTransform, Transform, countdown, no_change, sums_before
from ppl.distributions.transforms.elementwise import log_sech
from ppl.errors import ShapeError


class VectorTransform(Transform):
    """From vectors of reals."""

    domain = constraints.real_vector


@dataclass(frozen=True, eq=False)
class StickBreakingTransform(VectorTransform):
    """Vectors of K - 1 reals onto the simplex of K parts: each breaks a share off what is left.

    With `t_i = x_i - log(K - i)`, i = 1..K-1, the share is `sigmoid(t_i)`, so that x = 0 gives equal
    parts. Computed on the log scale, where no part is rounded away; the Jacobian is that of the first
    K - 1 parts: `log |J| = sum_i t_i - (K - i + 1) softplus(t_i)`.

    >>> StickBreakingTransform()(np.zeros(2)).round(3)
    array([0.333, 0.333, 0.333])
    """

    codomain = constraints.simplex

    def __call__(self, x: Array) -> Array:
        t = x - np.log(countdown(np.shape(x)[-1], x))
        zero = np.zeros(np.shape(x)[:-1] + (1,), dtype=float_type(x))
        log_share = np.concatenate([-softplus(-t), zero], axis=-1)
        return np.exp(sums_before(-softplus(t)) + log_share)

    def inverse(self, y: Array) -> Array:
        y = np.maximum(y, float(np.finfo(float_type(y)).tiny))  # parts that were rounded to 0, and nothing left
        left = np.cumsum(y[..., ::-1], axis=-1)[..., -2::-1]
        return np.log(y[..., :-1]) - np.log(left) + np.log(countdown(np.shape(y)[-1] - 1, y))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        parts = countdown(np.shape(x)[-1], x)
        t = x - np.log(parts)
        return np.sum(t - (parts + 1.0) * softplus(t), axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] - 1)


@dataclass(frozen=True, eq=False)
class SimplexToOrderedTransform(Transform):
    """Parts of a simplex to the cutpoints between them on the logistic scale.

    `y_k = logit(x_1 + ... + x_k) + anchor_point`, k = 1..K-1: the cutpoints at which a logistic variable
    around the anchor point falls into the k-th class with probability x_k.
    `log |J| = sum_k softplus(z_k) + softplus(-z_k)`, z = y - anchor_point.

    >>> SimplexToOrderedTransform()(np.array([0.25, 0.5, 0.25])).round(3)
    array([-1.099,  1.099])
    """

    anchor_point: Array = 0.0

    domain = constraints.simplex
    codomain = constraints.ordered_vector

    @property
    def _anchor(self) -> Array:
        return np.expand_dims(self.anchor_point, -1) if np.ndim(self.anchor_point) else self.anchor_point

    def __call__(self, x: Array) -> Array:
        below = np.cumsum(x, axis=-1)[..., :-1]
        beyond = np.cumsum(x[..., ::-1], axis=-1)[..., -2::-1]
        return np.log(below) - np.log(beyond) + self._anchor

    def inverse(self, y: Array) -> Array:
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): exact in both tails.
        z = y - self._anchor
        up, down = special.expit(z), special.expit(-z)
        inner = up[..., 1:] * down[..., :-1] * -np.expm1(z[..., :-1] - z[..., 1:])
        return np.concatenate([up[..., :1], inner, down[..., -1:]], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        z = y - self._anchor
        return np.sum(softplus(z) + softplus(-z), axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        return (*np.broadcast_shapes(shape[:-1], np.shape(self.anchor_point)), shape[-1] - 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*np.broadcast_shapes(shape[:-1], np.shape(self.anchor_point)), shape[-1] + 1)


@dataclass(frozen=True, eq=False)
class OrderedTransform(VectorTransform):
    """`y_1 = x_1`, `y_i = y_(i-1) + exp(x_i)`: vectors in increasing order."""

    codomain = constraints.ordered_vector

    def __call__(self, x: Array) -> Array:
        return np.cumsum(np.concatenate([x[..., :1], np.exp(x[..., 1:])], axis=-1), axis=-1)

    def inverse(self, y: Array) -> Array:
        return np.concatenate([y[..., :1], np.log(y[..., 1:] - y[..., :-1])], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(x[..., 1:], axis=-1)


@dataclass(frozen=True, eq=False)
class PositiveOrderedTransform(VectorTransform):
    """`y_i = exp(x_1) + ... + exp(x_i)`: vectors of positive numbers in increasing order."""

    codomain = constraints.positive_ordered_vector

    def __call__(self, x: Array) -> Array:
        return np.cumsum(np.exp(x), axis=-1)

    def inverse(self, y: Array) -> Array:
        return np.log(np.concatenate([y[..., :1], y[..., 1:] - y[..., :-1]], axis=-1))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(x, axis=-1)


@dataclass(frozen=True, eq=False)
class L1BallTransform(VectorTransform):
    """Vectors of reals onto those whose absolute values sum to at most 1.

    Each takes a share of what is left, with its sign: `y_i = tanh(x_i) prod_(k<i) (1 - |tanh(x_k)|)`.
    `log |J| = sum_i 2 log sech(x_i) + (n - i) log(1 - |tanh(x_i)|)`, i = 1..n. There is a kink where
    some x_i is 0.
    """

    codomain = constraints.l1_ball

    def __call__(self, x: Array) -> Array:
        return np.tanh(x) * np.exp(sums_before(_log_rest(x[..., :-1])))

    def inverse(self, y: Array) -> Array:
        # Near the surface what is left is lost to rounding: a share is never the whole of it.
        most = 1.0 - 0.5 * float(np.finfo(float_type(y)).eps)
        left = np.maximum(1.0 - sums_before(np.abs(y[..., :-1])), float(np.finfo(float_type(y)).tiny))
        return np.arctanh(np.clip(y / left, -most, most))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        behind = countdown(np.shape(x)[-1], x) - 1.0
        return np.sum(2.0 * log_sech(x) + behind * _log_rest(x), axis=-1)


def _log_rest(x: Array) -> Array:
    """`log(1 - |tanh(x)|)`."""
    return math.log(2.0) - softplus(2.0 * np.abs(x))


@dataclass(frozen=True, eq=False)
class ZeroSumTransform(Transform):
    """Reals onto arrays that sum to zero along each of the last `transform_ndims` axes, each longer by one.

    Along an axis, x and a last zero are reflected in the plane that takes the last unit vector to the
    direction (1, ..., 1) / sqrt(n): `y_i = x_i - s / (n + sqrt(n))`, `y_n = -s / sqrt(n)`, `s = sum_i x_i`.
    Lengths and angles stay as they are, so volumes do too: `log |J| = 0`.

    >>> y = ZeroSumTransform(1)(np.array([1.0, 2.0, -0.5]))
    >>> y.shape, bool(abs(y.sum()) < 1e-15)
    ((4,), True)
    """

    transform_ndims: int = 1

    _static = ("transform_ndims",)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(constraints.real, self.transform_ndims)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return constraints.zero_sum(self.transform_ndims)

    def __call__(self, x: Array) -> Array:
        for axis in range(-self.transform_ndims, 0):
            root = math.sqrt(np.shape(x)[axis] + 1)
            total = np.sum(x, axis=axis, keepdims=True)
            x = np.concatenate([x - total / (root * (root + 1.0)), -total / root], axis=axis)
        return x

    def inverse(self, y: Array) -> Array:
        for axis in range(-self.transform_ndims, 0):
            behind = (slice(None),) * (-axis - 1)
            first, last = y[(Ellipsis, slice(None, -1), *behind)], y[(Ellipsis, slice(-1, None), *behind)]
            y = first - last / (math.sqrt(np.shape(y)[axis]) + 1.0)
        return y

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return no_change(x, self.transform_ndims)

    def forward_shape(self, shape: Shape) -> Shape:
        split = len(shape) - self.transform_ndims
        return (*shape[:split], *(n + 1 for n in shape[split:]))

    def inverse_shape(self, shape: Shape) -> Shape:
        split = len(shape) - self.transform_ndims
        return (*shape[:split], *(n - 1 for n in shape[split:]))


@dataclass(frozen=True, eq=False)
class PermuteTransform(VectorTransform):
    """`y_i = x_permutation[i]`: the elements in another order, given as the whole numbers 0..n-1 in that order.

    >>> PermuteTransform(np.array([2, 0, 1]))(np.array([10.0, 20.0, 30.0]))
    array([30., 10., 20.])
    """

    permutation: np.ndarray

    codomain = constraints.real_vector
    _static = ("permutation",)

    def __post_init__(self) -> None:
        order = np.asarray(self.permutation)
        if order.ndim != 1 or not np.array_equal(np.sort(order), np.arange(order.size)):
            raise ShapeError(
                got=f"{np.array2string(order, threshold=8)} as a permutation",
                expected="every position from 0 to n - 1 once",
                hint="rng.permutation(n)",
            )
        object.__setattr__(self, "permutation", order)

    def __call__(self, x: Array) -> Array:
        return x[..., self.permutation]

    def inverse(self, y: Array) -> Array:
        return y[..., np.argsort(self.permutation)]

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return no_change(x, 1)


@dataclass(frozen=True, eq=False, init=False)
class ReshapeTransform(Transform):
    """The same elements in another event shape: `forward_shape` of y for `inverse_shape` of x.

    >>> ReshapeTransform((2, 3), (6,))(np.zeros((5, 6))).shape
    (5, 2, 3)
    """

    after: Shape
    before: Shape

    def __init__(self, forward_shape: Sequence[int], inverse_shape: Sequence[int]) -> None:
        object.__setattr__(self, "after", tuple(forward_shape))
        object.__setattr__(self, "before", tuple(inverse_shape))
        if math.prod(self.after) != math.prod(self.before):
            raise ShapeError(
                got=f"event shapes {self.before} and {self.after}",
                expected="as many elements in the one as in the other",
                hint=f"{math.prod(self.before)} elements",
            )

    def tree_flatten(self):
        """No arrays: the record is its own like."""
        return (), lambda arrays: self

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(constraints.real, len(self.before))

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(constraints.real, len(self.after))

    def __call__(self, x: Array) -> Array:
        return np.reshape(x, self.forward_shape(np.shape(x)))

    def inverse(self, y: Array) -> Array:
        return np.reshape(y, self.inverse_shape(np.shape(y)))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return no_change(x, len(self.before))

    def forward_shape(self, shape: Shape) -> Shape:
        return _exchanged(shape, self.before, self.after)

    def inverse_shape(self, shape: Shape) -> Shape:
        return _exchanged(shape, self.after, self.before)


def _exchanged(shape: Shape, event: Shape, other: Shape) -> Shape:
    split = len(shape) - len(event)
    if tuple(shape[max(split, 0) :]) != event:
        raise ShapeError(f"an array of shape {tuple(shape)}", f"an array whose last axes are {event}", "x.reshape")
    return (*shape[:split], *other)


@dataclass(frozen=True, eq=False)
class StackTransform(Transform):
    """Transforms in a row: the i-th of them on the i-th array along a new event axis before their own.

    >>> from ppl.distributions.transforms import ExpTransform, IdentityTransform
    >>> StackTransform((IdentityTransform(), ExpTransform()))(np.zeros(2))
    array([0., 1.])
    """

    parts: tuple[Transform, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return constraints.stack([part.domain for part in self.parts])

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return constraints.stack([part.codomain for part in self.parts])

    def __call__(self, x: Array) -> Array:
        images = [part(each) for part, each in zip(self.parts, self.domain.split(x), strict=True)]
        return np.stack(images, axis=-self.codomain.event_dim)

    def inverse(self, y: Array) -> Array:
        origins = [part.inverse(each) for part, each in zip(self.parts, self.codomain.split(y), strict=True)]
        return np.stack(origins, axis=-self.domain.event_dim)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        pairs = zip(self.parts, self.domain.split(x), self.codomain.split(y), strict=True)
        return functools.reduce(operator.add, [part.log_abs_det_jacobian(a, b) for part, a, b in pairs])

    def forward_shape(self, shape: Shape) -> Shape:
        split = len(shape) - self.domain.event_dim
        inner = self.parts[0].forward_shape((*shape[:split], *shape[split + 1 :]))
        end = len(inner) + 1 - self.codomain.event_dim
        return (*inner[:end], shape[split], *inner[end:])

    def inverse_shape(self, shape: Shape) -> Shape:
        return StackTransform(tuple(part.inv for part in self.parts)).forward_shape(shape)


@dataclass(frozen=True, eq=False)
class CatTransform(Transform):
    """Transforms on the pieces of a vector: the i-th of them on `lengths[i]` elements.

    A transform of numbers acts on each element of its piece.
    """

    parts: tuple[Transform, ...]
    lengths: tuple[int, ...] = ()

    _static = ("lengths",)

    def __post_init__(self) -> None:
        parts = (p if p.domain.event_dim else IndependentTransform(p, 1) for p in self.parts)
        object.__setattr__(self, "parts", tuple(parts))
        object.__setattr__(self, "lengths", tuple(self.lengths) or (1,) * len(self.parts))

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return constraints.cat([part.domain for part in self.parts], self.lengths)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        after = [part.forward_shape((n,))[-1] for part, n in zip(self.parts, self.lengths, strict=True)]
        return constraints.cat([part.codomain for part in self.parts], after)

    def __call__(self, x: Array) -> Array:
        pieces = zip(self.parts, self.domain.split(x), strict=True)
        return np.concatenate([part(piece) for part, piece in pieces], axis=-1)

    def inverse(self, y: Array) -> Array:
        pieces = zip(self.parts, self.codomain.split(y), strict=True)
        return np.concatenate([part.inverse(piece) for part, piece in pieces], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        pairs = zip(self.parts, self.domain.split(x), self.codomain.split(y), strict=True)
        return functools.reduce(operator.add, [part.log_abs_det_jacobian(a, b) for part, a, b in pairs])

    def forward_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], sum(self.codomain.lengths))

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], sum(self.lengths))


@dataclass(frozen=True, eq=False)
class RecursiveLinearTransform(Transform):
    """Innovations to a linear recursion in time: `y_t = A y_(t-1) + x_t`, `y_0 = 0`.

    Arrays are (..., time, dimension), and `transition_matrix` is A. Each step adds its own innovation, so
    that `log |J| = 0`.

    >>> RecursiveLinearTransform(np.array([[0.5]]))(np.ones((3, 1)))[:, 0]
    array([1.  , 1.5 , 1.75])
    """

    transition_matrix: Array

    domain = constraints.real_matrix
    codomain = constraints.real_matrix

    def _moved(self, y: Array) -> Array:
        return np.matmul(self.transition_matrix, y[..., None])[..., 0]

    def __call__(self, x: Array) -> Array:
        def step(y, innovation):
            y = self._moved(y) + innovation
            return y, y

        start = np.zeros(np.shape(x)[:-2] + np.shape(x)[-1:], dtype=float_type(x))
        return np.moveaxis(scan(step, start, np.moveaxis(x, -2, 0))[1], 0, -2)

    def inverse(self, y: Array) -> Array:
        before = np.concatenate([np.zeros_like(y[..., :1, :]), y[..., :-1, :]], axis=-2)
        return y - np.matmul(before, np.swapaxes(self.transition_matrix, -2, -1))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return no_change(x, 2)
