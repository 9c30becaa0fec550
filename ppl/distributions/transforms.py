"""Bijections between unconstrained reals and constrained sets, with log-Jacobians.

    x (domain) --t(x)--> y (codomain) --t.inverse(y)--> x

`log_abs_det_jacobian(x, y)` is `log |det dy/dx|`, one number per batch element. `biject_to`
gives the bijection from the reals onto a constraint. Images stay inside the constraint in floating
point too, also far out where a sigmoid saturates.

>>> from ppl.distributions import constraints
>>> t = biject_to(constraints.interval(2.0, 3.0))
>>> float(t(1000.0)), float(t(0.0)), float(t.inverse(2.5))
(3.0, 2.5, 0.0)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from ppl.array import is_recorded, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, float_type, sum_last
from ppl.distributions.constraints import Array, ByValue, Constraint
from ppl.errors import ModelError, ShapeError

__all__ = [
    "AffineTransform",
    "CholeskyTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CorrMatrixCholeskyTransform",
    "ExpTransform",
    "IdentityTransform",
    "IndependentTransform",
    "InverseTransform",
    "LowerCholeskyTransform",
    "OrderedTransform",
    "PositiveOrderedTransform",
    "PowerTransform",
    "SigmoidTransform",
    "SoftplusTransform",
    "StickBreakingTransform",
    "Transform",
    "ZeroSumTransform",
    "biject_to",
]


class Transform(ByValue):
    """A differentiable bijection from `domain` onto `codomain`.

    `sign` is +1 or -1 for a scalar map that rises or falls, None where that makes no sense.
    """

    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real
    sign: Array | None = None
    is_identity = False  # is y = x, whatever x?

    def __call__(self, x: Array) -> Array:
        raise TypeError(f"{type(self).__name__} maps nothing")

    def inverse(self, y: Array) -> Array:
        """The x with `self(x) == y`."""
        raise TypeError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        """`log |det dy/dx|` at x, where y is `self(x)`."""
        raise TypeError(f"{type(self).__name__} has no Jacobian")

    @property
    def inv(self) -> Transform:
        """The inverse, as a transform."""
        return InverseTransform(self)

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of `self(x)` for x of that shape."""
        return tuple(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of `self.inverse(y)` for y of that shape."""
        return tuple(shape)


@dataclass(frozen=True, eq=False)
class InverseTransform(Transform):
    """A transform run backwards."""

    base: Transform

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return self.base.codomain

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return self.base.domain

    @property
    def sign(self) -> Array | None:  # type: ignore[override]
        return self.base.sign

    @property
    def inv(self) -> Transform:
        return self.base

    def __call__(self, x: Array) -> Array:
        return self.base.inverse(x)

    def inverse(self, y: Array) -> Array:
        return self.base(y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return -self.base.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Shape) -> Shape:
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.base.forward_shape(shape)


@dataclass(frozen=True, eq=False)
class IdentityTransform(Transform):
    """`y = x`."""

    sign = 1
    is_identity = True

    def __call__(self, x: Array) -> Array:
        return x

    def inverse(self, y: Array) -> Array:
        return y

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.zeros(np.shape(x), dtype=float_type(x))


@dataclass(frozen=True, eq=False)
class AffineTransform(Transform):
    """`y = loc + scale * x`, with a scale that is nowhere zero.

    >>> float(AffineTransform(1.0, 2.0)(3.0))
    7.0
    """

    loc: Array
    scale: Array
    domain: Constraint = constraints.real

    _static = ("domain",)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        match self.domain:
            case constraints.GreaterThan(lower_bound=lower) | constraints.GreaterThanEq(lower_bound=lower):
                return self._half_line(self.loc + self.scale * lower)
            case constraints.Interval(lower_bound=lower, upper_bound=upper):
                ends = self.loc + self.scale * lower, self.loc + self.scale * upper
                return constraints.interval(np.minimum(*ends), np.maximum(*ends))
            case _:
                return self.domain

    def _half_line(self, end: Array) -> Constraint:
        closed = isinstance(self.domain, constraints.GreaterThanEq)
        if is_recorded(self.scale) or np.all(self.scale > 0):
            return constraints.greater_than_eq(end) if closed else constraints.greater_than(end)
        return constraints.less_than_eq(end) if closed else constraints.less_than(end)

    @property
    def sign(self) -> Array:  # type: ignore[override]
        return np.sign(self.scale)

    def __call__(self, x: Array) -> Array:
        return self.loc + self.scale * x

    def inverse(self, y: Array) -> Array:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        shape = np.broadcast_shapes(np.shape(x), np.shape(self.scale))
        return np.broadcast_to(np.log(np.abs(self.scale)), shape)

    def forward_shape(self, shape: Shape) -> Shape:
        return np.broadcast_shapes(shape, np.shape(self.loc), np.shape(self.scale))

    inverse_shape = forward_shape


@dataclass(frozen=True, eq=False)
class ExpTransform(Transform):
    """`y = exp(x)`, onto the positive numbers."""

    codomain = constraints.positive
    sign = 1

    def __call__(self, x: Array) -> Array:
        return np.exp(x)

    def inverse(self, y: Array) -> Array:
        return np.log(y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return x


@dataclass(frozen=True, eq=False)
class SoftplusTransform(Transform):
    """`y = log(1 + exp(x))`, onto the positive numbers; nearly the identity for large x."""

    codomain = constraints.positive
    sign = 1

    def __call__(self, x: Array) -> Array:
        return softplus(x)

    def inverse(self, y: Array) -> Array:
        return y + np.log(-np.expm1(-y))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return -softplus(-x)


@dataclass(frozen=True, eq=False)
class SigmoidTransform(Transform):
    """`y = 1 / (1 + exp(-x))`, onto the unit interval."""

    codomain = constraints.unit_interval
    sign = 1

    def __call__(self, x: Array) -> Array:
        return special.expit(x)

    def inverse(self, y: Array) -> Array:
        return np.log(y) - np.log1p(-y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return x - 2.0 * softplus(x)


@dataclass(frozen=True, eq=False)
class PowerTransform(Transform):
    """`y = x ** exponent` on the positive numbers, with an exponent that is nowhere zero."""

    exponent: Array

    domain = constraints.positive
    codomain = constraints.positive

    @property
    def sign(self) -> Array:  # type: ignore[override]
        return np.sign(self.exponent)

    def __call__(self, x: Array) -> Array:
        return np.power(x, self.exponent)

    def inverse(self, y: Array) -> Array:
        return np.power(y, 1.0 / self.exponent)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.log(np.abs(self.exponent)) + (self.exponent - 1.0) * np.log(x)

    def forward_shape(self, shape: Shape) -> Shape:
        return np.broadcast_shapes(shape, np.shape(self.exponent))

    inverse_shape = forward_shape


class _VectorTransform(Transform):
    """From vectors of reals."""

    domain = constraints.real_vector


@dataclass(frozen=True, eq=False)
class StickBreakingTransform(_VectorTransform):
    """Vectors of K - 1 reals onto the simplex of K parts: each breaks a share off what is left.

    With `t_i = x_i - log(K - i)`, i = 1..K-1, the share is `sigmoid(t_i)`, so that x = 0 gives equal
    parts. Computed on the log scale, where no part is rounded away:
    `log |J| = sum_i t_i - (K - i + 1) softplus(t_i)`.

    >>> StickBreakingTransform()(np.zeros(2)).round(3)
    array([0.333, 0.333, 0.333])
    """

    codomain = constraints.simplex

    def __call__(self, x: Array) -> Array:
        t = x - np.log(_countdown(np.shape(x)[-1], x))
        zero = np.zeros(np.shape(x)[:-1] + (1,), dtype=float_type(x))
        log_left = np.concatenate([zero, -np.cumsum(softplus(t), axis=-1)], axis=-1)
        log_share = np.concatenate([-softplus(-t), zero], axis=-1)
        return np.exp(log_left + log_share)

    def inverse(self, y: Array) -> Array:
        left = np.cumsum(y[..., ::-1], axis=-1)[..., -2::-1]
        return np.log(y[..., :-1]) - np.log(left) + np.log(_countdown(np.shape(y)[-1] - 1, y))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        parts = _countdown(np.shape(x)[-1], x)
        t = x - np.log(parts)
        return np.sum(t - (parts + 1.0) * softplus(t), axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] - 1)


def _countdown(n: int, like: Array) -> np.ndarray:
    return np.arange(n, 0, -1, dtype=float_type(like))


@dataclass(frozen=True, eq=False)
class OrderedTransform(_VectorTransform):
    """`y_1 = x_1`, `y_i = y_(i-1) + exp(x_i)`: vectors in increasing order."""

    codomain = constraints.ordered_vector

    def __call__(self, x: Array) -> Array:
        return np.cumsum(np.concatenate([x[..., :1], np.exp(x[..., 1:])], axis=-1), axis=-1)

    def inverse(self, y: Array) -> Array:
        return np.concatenate([y[..., :1], np.log(y[..., 1:] - y[..., :-1])], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(x[..., 1:], axis=-1)


@dataclass(frozen=True, eq=False)
class PositiveOrderedTransform(_VectorTransform):
    """`y_i = exp(x_1) + ... + exp(x_i)`: vectors of positive numbers in increasing order."""

    codomain = constraints.positive_ordered_vector

    def __call__(self, x: Array) -> Array:
        return np.cumsum(np.exp(x), axis=-1)

    def inverse(self, y: Array) -> Array:
        return np.log(np.concatenate([y[..., :1], y[..., 1:] - y[..., :-1]], axis=-1))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(x, axis=-1)


@dataclass(frozen=True, eq=False)
class LowerCholeskyTransform(_VectorTransform):
    """Vectors of n (n + 1) / 2 reals onto lower triangular matrices with a positive diagonal.

    The strictly lower entries come first, row by row; the last n entries are the logs of the diagonal.

    >>> LowerCholeskyTransform()(np.array([3.0, 0.0, 0.0]))
    array([[1., 0.],
           [3., 1.]])
    """

    codomain = constraints.lower_cholesky

    def __call__(self, x: Array) -> Array:
        n = _matrix_size(np.shape(x)[-1])
        below, strict, _ = _triangle(n)
        matrix = np.exp(x[..., -n:])[..., None] * np.eye(n, dtype=float_type(x))
        return matrix if n == 1 else matrix + x[..., below] * strict.astype(float_type(x))

    def inverse(self, y: Array) -> Array:
        n = np.shape(y)[-1]
        log_diagonal = np.log(np.diagonal(y, axis1=-2, axis2=-1))
        entries = np.reshape(y, np.shape(y)[:-2] + (n * n,))[..., _triangle(n)[2]]
        return np.concatenate([entries, log_diagonal], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.sum(x[..., -_matrix_size(np.shape(x)[-1]) :], axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        n = _matrix_size(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


def _matrix_size(entries: int) -> int:
    n = (math.isqrt(8 * entries + 1) - 1) // 2
    if n * (n + 1) // 2 != entries or n == 0:
        raise ShapeError(
            got=f"a vector of length {entries}",
            expected="n (n + 1) / 2 entries for a triangle",
            hint="1, 3, 6, 10, ...",
        )
    return n


@functools.lru_cache(maxsize=64)
def _triangle(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For an n x n matrix: the entry of the vector at each place, the strict mask, the flat strict places."""
    strict = np.tril(np.ones((n, n)), -1)
    places = np.flatnonzero(strict)
    below = np.zeros(n * n, dtype=np.int64)
    below[places] = np.arange(len(places))
    return below.reshape(n, n), strict, places


@dataclass(frozen=True, eq=False)
class CholeskyTransform(Transform):
    """Symmetric positive definite matrices to their lower Cholesky factors.

    `log |det d(L L') / dL| = n log 2 + sum_i (n - i) log L_ii`, i = 0..n-1.
    """

    domain = constraints.positive_definite
    codomain = constraints.lower_cholesky

    def __call__(self, x: Array) -> Array:
        return np.linalg.cholesky(x)

    def inverse(self, y: Array) -> Array:
        return np.matmul(y, np.swapaxes(y, -2, -1))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        n = np.shape(y)[-1]
        log_diagonal = np.log(np.diagonal(y, axis1=-2, axis2=-1))
        return -n * math.log(2.0) - np.sum(_countdown(n, y) * log_diagonal, axis=-1)


@dataclass(frozen=True, eq=False)
class CorrCholeskyTransform(_VectorTransform):
    """Vectors of n (n - 1) / 2 reals onto Cholesky factors of n x n correlation matrices.

    Each row is a point of the unit sphere. With `r_ij = tanh(x_ij)`, the canonical partial correlations,
    `L_ij = r_ij prod_(k<j) sqrt(1 - r_ik^2)` and `L_ii = prod_(k<i) sqrt(1 - r_ik^2)`; the entries of x
    stand row by row. The Jacobian is that of the entries below the diagonal:
    `log |J| = sum_(j<i) (i - j + 1) log sech(x_ij)`. (Lewandowski, Kurowicka and Joe 2009, section 2.)

    >>> CorrCholeskyTransform()(np.array([np.arctanh(0.6)])).round(3)
    array([[1. , 0. ],
           [0.6, 0.8]])
    """

    codomain = constraints.corr_cholesky

    def __call__(self, x: Array) -> Array:
        n = _correlations_size(np.shape(x)[-1])
        eye = np.eye(n, dtype=float_type(x))
        if n == 1:
            return np.broadcast_to(eye, (*np.shape(x)[:-1], 1, 1))
        below, strict, _ = _triangle(n)
        matrix = x[..., below] * strict.astype(float_type(x))
        used = np.cumsum(_log_sech(matrix)[..., :-1], axis=-1)
        log_left = np.concatenate([np.zeros(np.shape(used)[:-1] + (1,), float_type(x)), used], axis=-1)
        return (np.tanh(matrix) + eye) * np.exp(log_left)

    def inverse(self, y: Array) -> Array:
        # sinh(x_ij) = L_ij / |what follows in the row|: nothing cancels where |L_ij| is near 1.
        n = np.shape(y)[-1]
        places = _triangle(n)[2]
        after = np.cumsum((y * y)[..., ::-1], axis=-1)[..., -2::-1]
        left = np.reshape(after, np.shape(y)[:-2] + (n * (n - 1),))[..., places - places // n]
        return np.arcsinh(np.reshape(y, np.shape(y)[:-2] + (n * n,))[..., places] / np.sqrt(left))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        i, j = np.tril_indices(_correlations_size(np.shape(x)[-1]), -1)
        return np.sum((i - j + 1).astype(float_type(x)) * _log_sech(x), axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        n = _correlations_size(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _log_sech(x: Array) -> Array:
    """`log(1 / cosh(x))`, smooth at 0 and without overflow."""
    return math.log(2.0) - 0.5 * (softplus(2.0 * x) + softplus(-2.0 * x))


def _correlations_size(entries: int) -> int:
    return 1 if entries == 0 else _matrix_size(entries) + 1


@dataclass(frozen=True, eq=False)
class CorrMatrixCholeskyTransform(CholeskyTransform):
    """Correlation matrices to their lower Cholesky factors.

    The entries below the diagonal determine both: `log |det dL / dR| = -sum_i (n - 1 - i) log L_ii`, i = 0..n-1.
    """

    domain = constraints.corr_matrix
    codomain = constraints.corr_cholesky

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        n = np.shape(y)[-1]
        return -np.sum((_countdown(n, y) - 1.0) * np.log(np.diagonal(y, axis1=-2, axis2=-1)), axis=-1)


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
            others = (Ellipsis, *(slice(None),) * (-axis - 1))
            first, last = (Ellipsis, slice(None, -1), *others[1:]), (Ellipsis, slice(-1, None), *others[1:])
            y = y[first] - y[last] / (math.sqrt(np.shape(y)[axis]) + 1.0)
        return y

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return np.zeros(np.shape(x)[: np.ndim(x) - self.transform_ndims], dtype=float_type(x))

    def forward_shape(self, shape: Shape) -> Shape:
        split = len(shape) - self.transform_ndims
        return (*shape[:split], *(n + 1 for n in shape[split:]))

    def inverse_shape(self, shape: Shape) -> Shape:
        split = len(shape) - self.transform_ndims
        return (*shape[:split], *(n - 1 for n in shape[split:]))


@dataclass(frozen=True, eq=False)
class IndependentTransform(Transform):
    """`base` on every element of arrays with `reinterpreted_batch_ndims` more event axes."""

    base: Transform
    reinterpreted_batch_ndims: int

    _static = ("reinterpreted_batch_ndims",)

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(self.base.domain, self.reinterpreted_batch_ndims)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return constraints.independent(self.base.codomain, self.reinterpreted_batch_ndims)

    @property
    def is_identity(self) -> bool:  # type: ignore[override]
        return self.base.is_identity

    def __call__(self, x: Array) -> Array:
        return self.base(x)

    def inverse(self, y: Array) -> Array:
        return self.base.inverse(y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return sum_last(self.base.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Shape) -> Shape:
        return self.base.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.base.inverse_shape(shape)


@dataclass(frozen=True, eq=False)
class ComposeTransform(Transform):
    """The transforms `parts` one after the other, the first one first.

    >>> t = ComposeTransform((ExpTransform(), AffineTransform(1.0, 2.0)))
    >>> float(t(0.0)), float(t.inverse(3.0))
    (3.0, 0.0)
    """

    parts: tuple[Transform, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        extra = max(self._event_dims()[0] - self.parts[0].domain.event_dim, 0)
        return constraints.independent(self.parts[0].domain, extra)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        extra = max(self._event_dims()[-1] - self.parts[-1].codomain.event_dim, 0)
        return constraints.independent(self.parts[-1].codomain, extra)

    @property
    def sign(self) -> Array | None:  # type: ignore[override]
        signs = [part.sign for part in self.parts]
        return None if any(sign is None for sign in signs) else functools.reduce(lambda a, b: a * b, signs)

    def _event_dims(self) -> list[int]:
        """Event axes before the first part, between the parts, and after the last one."""
        before = need = 0
        for part in reversed(self.parts):  # how many axes must come in, for every part to find its own
            need = max(part.domain.event_dim, need - part.codomain.event_dim + part.domain.event_dim)
        dims = [before := need]
        for part in self.parts:
            dims.append(before := before + part.codomain.event_dim - part.domain.event_dim)
        return dims

    def __call__(self, x: Array) -> Array:
        for part in self.parts:
            x = part(x)
        return x

    def inverse(self, y: Array) -> Array:
        for part in reversed(self.parts):
            y = part.inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        total: Any = 0.0
        for i, (part, dim) in enumerate(zip(self.parts, self._event_dims(), strict=False)):
            after = y if i == len(self.parts) - 1 else part(x)
            total = total + sum_last(part.log_abs_det_jacobian(x, after), dim - part.domain.event_dim)
            x = after
        return total

    def forward_shape(self, shape: Shape) -> Shape:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape


def compose(transforms: Transform | Sequence[Transform]) -> Transform:
    """One transform from one or several, without needless wrapping."""
    if isinstance(transforms, Transform):
        return transforms
    parts = tuple(transforms)
    return parts[0] if len(parts) == 1 else ComposeTransform(parts)


# -- from the reals onto a constraint -----------------------------------------------------------


def biject_to(constraint: Constraint) -> Transform:
    """The bijection from unconstrained reals onto `constraint`.

    exp for positive numbers, a scaled sigmoid for intervals, exp and a shift for half lines, stick
    breaking for the simplex, logs of the diagonal for Cholesky factors.

    >>> from ppl.distributions import constraints
    >>> biject_to(constraints.positive)
    ExpTransform()
    """
    if constraint in (constraints.positive, constraints.nonnegative):
        return ExpTransform()
    match constraint:
        case constraints.Independent(base=base, reinterpreted_batch_ndims=n):
            return IndependentTransform(biject_to(base), n)
        case constraints.ZeroSum(event_dim=n):
            return ZeroSumTransform(n)
        case constraints.GreaterThanEq(lower_bound=lower):
            return _above(lower)
        case constraints.GreaterThan(lower_bound=lower):
            return _above(_next(lower, np.inf))
        case constraints.LessThanEq(upper_bound=upper):
            return _below(upper)
        case constraints.LessThan(upper_bound=upper):
            return _below(_next(upper, -np.inf))
        case constraints.Interval(lower_bound=lower, upper_bound=upper):
            return _between(lower, upper)
        case constraints.OpenInterval(lower_bound=lower, upper_bound=upper):
            return _between(_next(lower, np.inf), _next(upper, -np.inf))
    for known, transform in _BIJECTIONS:
        if constraint == known:
            return transform
    raise ModelError(
        got=f"a bijection from the reals onto {constraint}",
        expected="a continuous constraint" if constraint.is_discrete else "a constraint with a known bijection",
        hint="an estimator for discrete sites" if constraint.is_discrete else "a transformed site",
    )


_BIJECTIONS: tuple[tuple[Constraint, Transform], ...] = (
    (constraints.real, IdentityTransform()),
    (constraints.simplex, StickBreakingTransform()),
    (constraints.log_weights, IndependentTransform(IdentityTransform(), 1)),
    (constraints.ordered_vector, OrderedTransform()),
    (constraints.positive_ordered_vector, PositiveOrderedTransform()),
    (constraints.lower_cholesky, LowerCholeskyTransform()),
    (constraints.positive_definite, ComposeTransform((LowerCholeskyTransform(), CholeskyTransform().inv))),
    (constraints.corr_cholesky, CorrCholeskyTransform()),
    (constraints.corr_matrix, ComposeTransform((CorrCholeskyTransform(), CorrMatrixCholeskyTransform().inv))),
)


def _next(bound: Array, towards: float) -> Array:
    """The next number after a concrete bound, so that rounding onto it still falls inside an open set."""
    return bound if is_recorded(bound) else np.nextafter(bound, towards)


def _above(lower: Array) -> Transform:
    return ComposeTransform((ExpTransform(), AffineTransform(lower, 1.0, domain=constraints.positive)))


def _below(upper: Array) -> Transform:
    return ComposeTransform((ExpTransform(), AffineTransform(upper, -1.0, domain=constraints.positive)))


def _between(lower: Array, upper: Array) -> Transform:
    if _is_unit(lower, upper):
        return SigmoidTransform()
    width = upper - lower
    if not (is_recorded(lower) or is_recorded(upper)):
        # Rounding is monotone: once lower + width is not above upper, lower + width * p never is for p <= 1.
        width = np.where(lower + width > upper, np.nextafter(width, 0.0), width)[()]
    return ComposeTransform((SigmoidTransform(), AffineTransform(lower, width, domain=constraints.unit_interval)))


def _is_unit(lower: Array, upper: Array) -> bool:
    return constraints.interval(lower, upper) == constraints.unit_interval
