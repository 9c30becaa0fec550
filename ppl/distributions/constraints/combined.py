"""Constraints made of others, and what can be said of two: every element, one after the other, within."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppl.distributions._arrays import Array, float_type
from ppl.distributions.constraints.base import Constraint, first_false
from ppl.distributions.constraints.numbers import GreaterThan, LessThan, OpenInterval, _Boolean, _Integer, _Real, real
from ppl.errors import ModelError, ShapeError


@dataclass(frozen=True, eq=False)
class Independent(Constraint):
    """`base` for each of the elements along the last `reinterpreted_batch_ndims` axes."""

    base: Constraint
    reinterpreted_batch_ndims: int
    _static = ("reinterpreted_batch_ndims",)

    @property
    def event_dim(self):  # type: ignore[override]
        return self.base.event_dim + self.reinterpreted_batch_ndims

    @property
    def is_discrete(self):  # type: ignore[override]
        return self.base.is_discrete

    def __call__(self, value):
        return np.all(self.base(value), axis=tuple(range(-self.reinterpreted_batch_ndims, 0)))

    def feasible_like(self, value):
        return self.base.feasible_like(value)

    def fault(self, event):
        inside = np.broadcast_to(self.base(event), np.shape(event)[: self.reinterpreted_batch_ndims])
        first = first_false(inside)
        place, why = self.base.fault(event[first]) if self.base.event_dim else ((), "")
        return (*first, *place), why

    def __str__(self):
        return f"an array with every element {self.base}"


@dataclass(frozen=True, eq=False)
class Stack(Constraint):
    """Values in a row, each with a constraint of its own: the i-th along a new event axis lies in `parts[i]`.

    All parts have the same event axes, which stand behind the new one.

    >>> both = Stack((real, GreaterThan(0.0)))
    >>> bool(both(np.array([-1.0, 2.0]))), bool(both(np.array([2.0, -1.0])))
    (True, False)
    >>> print(both)
    a finite number, then a positive number, stacked
    """

    parts: tuple[Constraint, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if len({part.event_dim for part in self.parts}) != 1:
            raise ShapeError(
                got=f"a stack of constraints with {[part.event_dim for part in self.parts]} event axes",
                expected="at least one part, and the same number of event axes in all",
                hint="constraints.independent(part, n)",
            )

    @property
    def event_dim(self):  # type: ignore[override]
        return 1 + self.parts[0].event_dim

    @property
    def is_discrete(self):  # type: ignore[override]
        return any(part.is_discrete for part in self.parts)

    def split(self, value: Array) -> list[Array]:
        """The part of the value that belongs to each constraint."""
        _check_length(self, value, self.event_dim, len(self.parts))
        behind = (slice(None),) * (self.event_dim - 1)
        return [value[(Ellipsis, i, *behind)] for i in range(len(self.parts))]

    def __call__(self, value):
        return functools.reduce(operator.and_, [part(x) for part, x in zip(self.parts, self.split(value), strict=True)])

    def feasible_like(self, value):
        return np.stack(_feasible(self, value), axis=-self.event_dim)

    def fault(self, event):
        pieces = zip(self.parts, self.split(event), strict=True)
        i, part, x = next((i, part, x) for i, (part, x) in enumerate(pieces) if not part(x))
        place, why = part.fault(x)
        return (i, *place), why

    def __str__(self):
        return ", then ".join(map(str, self.parts)) + ", stacked"


@dataclass(frozen=True, eq=False)
class Cat(Constraint):
    """Vectors in pieces: `lengths[i]` elements, which lie in `parts[i]`, a set of numbers or of vectors.

    A set of numbers holds for each element of its piece. Without `lengths` every piece has one element.
    """

    parts: tuple[Constraint, ...]
    lengths: tuple[int, ...] = ()
    event_dim = 1
    _static = ("lengths",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(independent(part, max(1 - part.event_dim, 0)) for part in self.parts))
        object.__setattr__(self, "lengths", tuple(self.lengths) or (1,) * len(self.parts))
        if not self.parts or len(self.lengths) != len(self.parts) or any(part.event_dim > 1 for part in self.parts):
            raise ShapeError(
                got=f"{len(self.parts)} constraints with {[part.event_dim for part in self.parts]} event axes and "
                f"lengths {list(self.lengths)}",
                expected="sets of numbers or of vectors, at least one, and a length for each",
                hint="cat((constraints.real, constraints.simplex), (2, 3))",
            )

    @property
    def is_discrete(self):  # type: ignore[override]
        return any(part.is_discrete for part in self.parts)

    def split(self, value: Array) -> list[Array]:
        """The piece of the value that belongs to each constraint."""
        _check_length(self, value, 1, sum(self.lengths))
        ends = np.cumsum((0, *self.lengths))
        return [value[..., start:end] for start, end in itertools.pairwise(ends)]

    def __call__(self, value):
        return functools.reduce(operator.and_, [part(x) for part, x in zip(self.parts, self.split(value), strict=True)])

    def feasible_like(self, value):
        return np.concatenate(_feasible(self, value), axis=-1)

    def fault(self, event):
        starts = np.cumsum((0, *self.lengths))
        pieces = zip(starts, self.parts, self.split(event), strict=False)
        start, part, x = next(piece for piece in pieces if not piece[1](piece[2]))
        place, why = part.fault(x)
        return tuple(int(start) + i for i in place), why or f"elements {start} to {start + len(x) - 1} are not {part}"

    def __str__(self):
        return ", then ".join(f"{part} of {n}" for part, n in zip(self.parts, self.lengths, strict=True))


def _feasible(constraint: Stack | Cat, value: Array) -> list[Array]:
    """A feasible point for each part, in full shape and in the floating type of the value."""
    parts = zip(constraint.parts, constraint.split(value), strict=True)
    return [np.zeros(np.shape(x), dtype=float_type(value)) + part.feasible_like(x) for part, x in parts]


def _check_length(constraint: Constraint, value: Array, back: int, length: int) -> None:
    if np.ndim(value) < back or np.shape(value)[-back] != length:
        raise ShapeError(
            got=f"an array of shape {np.shape(value)}",
            expected=f"{length} along axis {-back}, for {constraint}",
            hint="as many elements as the parts have",
        )


@dataclass(frozen=True, eq=False)
class Dependent(Constraint):
    """A set that depends on other parameters, and cannot be told before they are known."""

    is_discrete: bool = False
    event_dim: int = 0
    _static = ("is_discrete", "event_dim")

    def __call__(self, value):
        raise ModelError(
            got="a membership test of a set that depends on other parameters",
            expected="the set at given parameters",
            hint="the support of an instance in place of that of its class",
        )

    def __str__(self):
        return "a set that depends on other parameters"


def independent(base: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """`base` on every element along the last axes; `base` itself when there are none.

    >>> from ppl.distributions.constraints import positive
    >>> independent(positive, 2).event_dim
    2
    """
    if reinterpreted_batch_ndims == 0:
        return base
    if isinstance(base, Independent):
        return Independent(base.base, base.reinterpreted_batch_ndims + reinterpreted_batch_ndims)
    return Independent(base, reinterpreted_batch_ndims)


def stack(parts: Sequence[Constraint]) -> Constraint:
    """The `Stack` of several constraints."""
    return Stack(tuple(parts))


def cat(parts: Sequence[Constraint], lengths: Sequence[int] = ()) -> Constraint:
    """The `Cat` of several constraints.

    >>> from ppl.distributions.constraints import simplex
    >>> bool(cat((real, simplex), (2, 3))(np.array([-5.0, 7.0, 0.2, 0.3, 0.5])))
    True
    """
    return Cat(tuple(parts), tuple(lengths))


real_vector = Independent(real, 1)
real_matrix = Independent(real, 2)
dependent = Dependent()


def bounds(constraint: Constraint) -> tuple[Array, Array] | None:
    """Least and greatest value of a set of numbers; None for vectors, matrices and moving bounds.

    >>> from ppl.distributions.constraints import boolean, positive, simplex
    >>> bounds(positive), bounds(boolean), bounds(simplex)
    ((0.0, inf), (0.0, 1.0), None)
    """
    base = constraint.base if isinstance(constraint, Independent) else constraint
    if base.event_dim or base.depends_on_recorded:
        return None
    if isinstance(base, _Real | _Integer):
        return -np.inf, np.inf
    if isinstance(base, _Boolean):
        return 0.0, 1.0
    low, high = getattr(base, "lower_bound", None), getattr(base, "upper_bound", None)
    if low is None and high is None:
        return None
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def within(inner: Constraint, outer: Constraint) -> bool:
    """Is every value of one set in the other, as far as their bounds tell?

    >>> from ppl.distributions.constraints import positive, unit_interval
    >>> within(unit_interval, positive), within(real, positive)
    (True, False)
    """
    first, second = (c.base if isinstance(c, Independent) else c for c in (inner, outer))
    if first == second:
        return True
    if second.is_discrete and not first.is_discrete:
        return False
    a, b = bounds(first), bounds(second)
    return a is not None and b is not None and bool(np.all(a[0] >= b[0]) and np.all(a[1] <= b[1]))


def between(low: Array, high: Array) -> Constraint:
    """The numbers strictly between two concrete bounds, of which either may be infinite.

    >>> str(between(-np.inf, 0.0))
    'a number below 0.0'
    """
    if np.all(np.isinf(low)) and np.all(np.isinf(high)):
        return real
    if np.all(np.isinf(high)):
        return GreaterThan(low)
    return LessThan(high) if np.all(np.isinf(low)) else OpenInterval(low, high)
