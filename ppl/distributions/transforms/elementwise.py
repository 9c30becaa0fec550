"""Transforms of single numbers: affine, exp, softplus, sigmoid, tanh, power, abs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from ppl.array import is_recorded, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, float_type
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.transforms.base import Transform, no_change
from ppl.errors import ModelError


def log_sech(x: Array) -> Array:
    """`log(1 / cosh(x))`, smooth at 0 and without overflow."""
    return math.log(2.0) - 0.5 * (softplus(2.0 * x) + softplus(-2.0 * x))


def _log_abs(number: Array, like: Array) -> Array:
    """`log |number|`; of a plain number in the floating type of `like`."""
    return np.log(np.abs(float_type(like).type(number) if isinstance(number, int | float) else number))


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
        return no_change(x, 0)


@dataclass(frozen=True, eq=False)
class AffineTransform(Transform):
    """`y = loc + scale * x`, with a scale that is nowhere zero.

    >>> float(AffineTransform(1.0, 2.0)(3.0))
    7.0
    >>> print(AffineTransform(1.0, -2.0, domain=constraints.positive).codomain)
    a number below 1.0
    """

    loc: Array
    scale: Array
    domain: Constraint = constraints.real

    _static = ("domain",)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        match self.domain:
            case constraints.Independent(base=base, reinterpreted_batch_ndims=n):
                return constraints.independent(AffineTransform(self.loc, self.scale, base).codomain, n)
            case constraints.GreaterThan(lower_bound=end):
                return self._half_line(end, constraints.greater_than, constraints.less_than)
            case constraints.GreaterThanEq(lower_bound=end):
                return self._half_line(end, constraints.greater_than_eq, constraints.less_than_eq)
            case constraints.LessThan(upper_bound=end):
                return self._half_line(end, constraints.less_than, constraints.greater_than)
            case constraints.LessThanEq(upper_bound=end):
                return self._half_line(end, constraints.less_than_eq, constraints.greater_than_eq)
            case (
                constraints.Interval(lower_bound=lower, upper_bound=upper)
                | constraints.OpenInterval(lower_bound=lower, upper_bound=upper)
            ):
                ends = self.loc + self.scale * lower, self.loc + self.scale * upper
                return type(self.domain)(np.minimum(*ends), np.maximum(*ends))
        return constraints.independent(constraints.real, self.domain.event_dim)

    def _half_line(self, end, rising, falling) -> Constraint:
        """The image; all reals where some scales are positive and others negative."""
        image = self.loc + self.scale * end
        if is_recorded(self.scale) or np.all(self.scale > 0):
            return rising(image)
        return falling(image) if np.all(self.scale < 0) else constraints.real

    @property
    def sign(self) -> Array:  # type: ignore[override]
        return np.sign(self.scale)

    def __call__(self, x: Array) -> Array:
        return self.loc + self.scale * x

    def inverse(self, y: Array) -> Array:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        shape = np.broadcast_shapes(np.shape(x), np.shape(self.scale))
        return np.broadcast_to(_log_abs(self.scale, x), shape)

    def forward_shape(self, shape: Shape) -> Shape:
        return np.broadcast_shapes(shape, np.shape(self.loc), np.shape(self.scale))

    inverse_shape = forward_shape


@dataclass(frozen=True, eq=False)
class AffineOnto(AffineTransform):
    """`y = loc + scale * x` onto an interval or a half line, whose rounded values never leave it.

    Rounding is to the floating type of x: loc and scale move inwards by as little as that needs. Ends
    that are recorded stay as they are.
    """

    image: Constraint = constraints.real

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return self.image

    def __call__(self, x: Array) -> Array:
        loc, scale = self._inside(x)
        return loc + scale * x

    def inverse(self, y: Array) -> Array:
        loc, scale = self._inside(y)
        return (y - loc) / scale

    def _inside(self, like: Array) -> tuple[Array, Array]:
        if is_recorded(self.loc) or is_recorded(self.scale):
            return self.loc, self.scale
        kind, found = float_type(like), constraints.bounds(self.image)
        lower, upper = (_rounded(end, kind, -sign * np.inf) for end, sign in zip(found, (-1, 1), strict=True))
        if isinstance(self.image, constraints.GreaterThan | constraints.LessThan | constraints.OpenInterval):
            lower, upper = np.nextafter(lower, kind.type(np.inf)), np.nextafter(upper, kind.type(-np.inf))
        if isinstance(self.image, constraints.GreaterThan | constraints.GreaterThanEq):
            return lower[()], kind.type(1.0)
        if isinstance(self.image, constraints.LessThan | constraints.LessThanEq):
            return upper[()], kind.type(-1.0)
        # Rounding is monotone: once lower + width is not above upper, lower + width * p never is for p <= 1.
        width = upper - lower
        return lower[()], np.where(lower + width > upper, np.nextafter(width, kind.type(0.0)), width)[()]


def _rounded(end: Array, kind: np.dtype, towards: float) -> np.ndarray:
    """`end` in a floating type, the neighbour in that direction where rounding went the other way."""
    exact, near = np.asarray(end), np.asarray(end, dtype=kind)
    wrong = near < exact if towards > 0 else near > exact
    return np.where(wrong, np.nextafter(near, kind.type(towards)), near)


@dataclass(frozen=True, eq=False)
class ExpTransform(Transform):
    """`y = exp(x)`, onto the positive numbers. It rounds to 0 or inf beyond |x| = 708, in float32 87."""

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
    """`y = log(1 + exp(x))`, onto the positive numbers; nearly the identity for large x.

    It rounds to 0 below x = -708, in float32 -87.
    """

    codomain = constraints.softplus_positive
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
class TanhTransform(Transform):
    """`y = tanh(x)`, onto the numbers from -1 to 1; `log |J| = 2 log sech(x)`."""

    codomain = constraints.interval(-1.0, 1.0)
    sign = 1

    def __call__(self, x: Array) -> Array:
        return np.tanh(x)

    def inverse(self, y: Array) -> Array:
        return np.arctanh(y)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return 2.0 * log_sech(x)


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
        return _log_abs(self.exponent, x) + (self.exponent - 1.0) * np.log(x)

    def forward_shape(self, shape: Shape) -> Shape:
        return np.broadcast_shapes(shape, np.shape(self.exponent))

    inverse_shape = forward_shape


@dataclass(frozen=True, eq=False)
class AbsTransform(Transform):
    """`y = |x|`, onto the nonnegative numbers. Two points share an image: `inverse` gives the nonnegative one.

    A fold has no Jacobian of its own: `log_abs_det_jacobian` raises ModelError.
    """

    codomain = constraints.nonnegative

    def __call__(self, x: Array) -> Array:
        return np.abs(x)

    def inverse(self, y: Array) -> Array:
        return y

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        raise ModelError(
            got="the Jacobian of AbsTransform",
            expected="a bijection: x and -x have one absolute value",
            hint="a folded family such as HalfNormal, HalfCauchy or HalfStudentT",
        )
