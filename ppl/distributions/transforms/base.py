"""What every transform is: a frozen record that maps, maps back and knows its log-Jacobian; and how they combine."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, float_type, sum_last
from ppl.distributions.constraints import Array, ByValue, Constraint


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
    def is_identity(self) -> bool:  # type: ignore[override]
        return self.base.is_identity

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

    >>> from ppl.distributions.transforms import AffineTransform, ExpTransform
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

    @property
    def is_identity(self) -> bool:  # type: ignore[override]
        return all(part.is_identity for part in self.parts)

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


def countdown(n: int, like: Array) -> np.ndarray:
    """n, n - 1, ..., 1, in the floating type of `like`."""
    return np.arange(n, 0, -1, dtype=float_type(like))


def sums_before(x: Array) -> Array:
    """The sum of all elements before each one along the last axis, and of all of them: one element more."""
    zero = np.zeros(np.shape(x)[:-1] + (1,), dtype=float_type(x))
    return np.concatenate([zero, np.cumsum(x, axis=-1)], axis=-1)


def no_change(x: Array, event_dim: int) -> Array:
    """The log-Jacobian of a map that keeps volumes: a zero for each batch element."""
    return np.zeros(np.shape(x)[: np.ndim(x) - event_dim], dtype=float_type(x))
