"""Sets that parameters and values live in, under NumPyro's names.

A constraint answers three questions: is this value inside (`constraint(value)`, one truth value
per batch element), what is it in words (`str(constraint)`, for messages), and what is some point
inside (`feasible_like`, so that a density is never evaluated where it is undefined). Bounds may be
numbers or arrays, recorded ones included. Constraints are equal when their bounds are.

>>> bool(positive(2.5)), bool(positive(-1.0))
(True, False)
>>> print(interval(0.0, 10.0))
a number in [0.0, 10.0]
>>> greater_than(0.0) == positive
True
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ppl.array import is_recorded
from ppl.distributions._arrays import Array, float_type

__all__ = [
    "Constraint",
    "boolean",
    "circular",
    "corr_cholesky",
    "corr_matrix",
    "greater_than",
    "greater_than_eq",
    "independent",
    "integer_greater_than",
    "integer_interval",
    "interval",
    "less_than",
    "less_than_eq",
    "log_weights",
    "lower_cholesky",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "open_interval",
    "ordered_vector",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_ordered_vector",
    "real",
    "real_matrix",
    "real_vector",
    "simplex",
    "sorted_vector",
    "unit_interval",
    "zero_sum",
]


def flatten(value: Any) -> tuple[tuple[Array, ...], Callable[[Any], Any]]:
    """The arrays inside `value`, and the function that builds its like from other arrays."""
    if is_recorded(value):
        return (value,), lambda arrays: next(iter(arrays))
    if hasattr(value, "tree_flatten"):
        return value.tree_flatten()
    if isinstance(value, tuple):
        parts = [flatten(part) for part in value]
        leaves = tuple(leaf for part, _ in parts for leaf in part)
        counts = [len(part) for part, _ in parts]

        def rebuild(arrays):
            remaining = iter(arrays)
            return tuple(
                build([next(remaining) for _ in range(n)]) for (_, build), n in zip(parts, counts, strict=True)
            )

        return leaves, rebuild
    return (value,), lambda arrays: next(iter(arrays))


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if is_recorded(a) or is_recorded(b):
        return False
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, (bool, int, float, np.number, np.ndarray)):
        return np.shape(a) == np.shape(b) and bool(np.all(a == b))
    return bool(a == b)


class ByValue:
    """Base of the small frozen records (constraints, transforms): equal by class and by fields.

    Fields named in `_static` are part of the structure; the others are arrays or records.
    """

    _static: ClassVar[tuple[str, ...]] = ()

    def _fields(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return _same(tuple(self._fields().values()), tuple(other._fields().values()))  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), tuple(self._fields())))

    def tree_flatten(self) -> tuple[tuple[Array, ...], Callable[[Any], Any]]:
        """The arrays among the fields, and the function that builds the like of this record from others."""
        fields = {name: value for name, value in self._fields().items() if name not in self._static}
        leaves, rebuild = flatten(tuple(fields.values()))
        return leaves, lambda arrays: dataclasses.replace(self, **dict(zip(fields, rebuild(arrays), strict=True)))  # type: ignore[type-var]


class Constraint(ByValue):
    """A set of values. Call it to test membership, once per batch element.

    `event_dim` is the number of trailing axes that make one value; `is_discrete` is true for sets
    of separate points.
    """

    event_dim: int = 0
    is_discrete: bool = False

    def __call__(self, value: Array) -> Array:
        raise TypeError(f"{type(self).__name__} has no membership test")

    def feasible_like(self, value: Array) -> Array:
        """Some point of the set, of a shape that broadcasts against `value`."""
        return 0.0

    @property
    def depends_on_recorded(self) -> bool:
        """True when a bound is a recorded array, so that the set itself moves."""
        return any(is_recorded(leaf) for leaf in self.tree_flatten()[0]) if dataclasses.fields(self) else False


def _words(bound: Array) -> str:
    """A bound in a message: a number, or the range of an array of them."""
    if is_recorded(bound):
        return "a bound that depends on draws"
    if np.ndim(bound) == 0 or np.size(bound) == 0:
        return str(bound)
    return f"{np.min(bound)}...{np.max(bound)} (by element)"


def _is_integer(value: Array) -> Array:
    return np.floor(value) == value


@dataclass(frozen=True, eq=False)
class _Real(Constraint):
    def __call__(self, value):
        return np.isfinite(value)

    def __str__(self):
        return "a finite number"


@dataclass(frozen=True, eq=False)
class GreaterThan(Constraint):
    """Finite numbers above `lower_bound`."""

    lower_bound: Array

    def __call__(self, value):
        return (value > self.lower_bound) & (value < np.inf)

    def feasible_like(self, value):
        return self.lower_bound + 1.0

    def __str__(self):
        return "a positive number" if _same(self.lower_bound, 0.0) else f"a number above {_words(self.lower_bound)}"


@dataclass(frozen=True, eq=False)
class GreaterThanEq(Constraint):
    """Finite numbers not below `lower_bound`."""

    lower_bound: Array

    def __call__(self, value):
        return (value >= self.lower_bound) & (value < np.inf)

    def feasible_like(self, value):
        return self.lower_bound + 1.0

    def __str__(self):
        return (
            "a nonnegative number" if _same(self.lower_bound, 0.0) else f"a number not below {_words(self.lower_bound)}"
        )


@dataclass(frozen=True, eq=False)
class LessThan(Constraint):
    """Finite numbers below `upper_bound`."""

    upper_bound: Array

    def __call__(self, value):
        return (value < self.upper_bound) & (value > -np.inf)

    def feasible_like(self, value):
        return self.upper_bound - 1.0

    def __str__(self):
        return f"a number below {_words(self.upper_bound)}"


@dataclass(frozen=True, eq=False)
class LessThanEq(Constraint):
    """Finite numbers not above `upper_bound`."""

    upper_bound: Array

    def __call__(self, value):
        return (value <= self.upper_bound) & (value > -np.inf)

    def feasible_like(self, value):
        return self.upper_bound - 1.0

    def __str__(self):
        return f"a number not above {_words(self.upper_bound)}"


@dataclass(frozen=True, eq=False)
class Interval(Constraint):
    """Numbers from `lower_bound` to `upper_bound`, both included."""

    lower_bound: Array
    upper_bound: Array

    def __call__(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound)

    def feasible_like(self, value):
        return 0.5 * (self.lower_bound + self.upper_bound)

    def __str__(self):
        return f"a number in [{_words(self.lower_bound)}, {_words(self.upper_bound)}]"


@dataclass(frozen=True, eq=False)
class OpenInterval(Constraint):
    """Numbers strictly between `lower_bound` and `upper_bound`."""

    lower_bound: Array
    upper_bound: Array

    def __call__(self, value):
        return (value > self.lower_bound) & (value < self.upper_bound)

    def feasible_like(self, value):
        return 0.5 * (self.lower_bound + self.upper_bound)

    def __str__(self):
        return f"a number strictly between {_words(self.lower_bound)} and {_words(self.upper_bound)}"


@dataclass(frozen=True, eq=False)
class _Boolean(Constraint):
    is_discrete = True

    def __call__(self, value):
        return (value == 0) | (value == 1)

    def feasible_like(self, value):
        return 0

    def __str__(self):
        return "0 or 1"


@dataclass(frozen=True, eq=False)
class IntegerInterval(Constraint):
    """Integers from `lower_bound` to `upper_bound`, both included."""

    lower_bound: Array
    upper_bound: Array
    is_discrete = True

    def __call__(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound) & _is_integer(value)

    def feasible_like(self, value):
        return self.lower_bound

    def __str__(self):
        return f"an integer in [{_words(self.lower_bound)}, {_words(self.upper_bound)}]"


@dataclass(frozen=True, eq=False)
class IntegerGreaterThanEq(Constraint):
    """Integers not below `lower_bound`."""

    lower_bound: Array
    is_discrete = True

    def __call__(self, value):
        return (value >= self.lower_bound) & (value < np.inf) & _is_integer(value)

    def feasible_like(self, value):
        return self.lower_bound

    def __str__(self):
        named = {0: "a nonnegative integer", 1: "a positive integer"}
        for bound, words in named.items():
            if _same(self.lower_bound, bound):
                return words
        return f"an integer not below {_words(self.lower_bound)}"


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

    def __str__(self):
        return f"an array with every element {self.base}"


@dataclass(frozen=True, eq=False)
class _Simplex(Constraint):
    event_dim = 1

    def __call__(self, value):
        slack = _tolerance(value)
        return np.all(value >= 0, axis=-1) & (np.abs(np.sum(value, axis=-1) - 1.0) <= slack)

    def feasible_like(self, value):
        return 1.0 / np.shape(value)[-1]

    def __str__(self):
        return "a vector of nonnegative numbers that sum to 1"


def _tolerance(value: Array) -> float:
    return 1e-3 if getattr(value, "dtype", None) == np.float32 else 1e-6


@dataclass(frozen=True, eq=False)
class _OneHot(Constraint):
    event_dim = 1
    is_discrete = True

    def __call__(self, value):
        return np.all((value == 0) | (value == 1), axis=-1) & (np.sum(value, axis=-1) == 1)

    def feasible_like(self, value):
        return np.eye(1, np.shape(value)[-1], dtype=np.int64)[0]

    def __str__(self):
        return "a vector with a single 1 and zeros elsewhere"


@dataclass(frozen=True, eq=False)
class _LogWeights(Constraint):
    event_dim = 1

    def __call__(self, value):
        return np.all(value < np.inf, axis=-1) & np.any(value > -np.inf, axis=-1)

    def __str__(self):
        return "a vector of log weights: finite numbers or -inf, not all -inf"


@dataclass(frozen=True, eq=False)
class _OrderedVector(Constraint):
    event_dim = 1

    def __call__(self, value):
        return np.all(value[..., 1:] >= value[..., :-1], axis=-1) & np.all(np.isfinite(value), axis=-1)

    def __str__(self):
        return "a vector in increasing order"


@dataclass(frozen=True, eq=False)
class _PositiveOrderedVector(Constraint):
    event_dim = 1

    def __call__(self, value):
        return ordered_vector(value) & np.all(value > 0, axis=-1)

    def feasible_like(self, value):
        return 1.0

    def __str__(self):
        return "a vector of positive numbers in increasing order"


@dataclass(frozen=True, eq=False)
class _LowerCholesky(Constraint):
    event_dim = 2

    def __call__(self, value):
        n = np.shape(value)[-1]
        finite = np.all(np.isfinite(value), axis=(-2, -1))
        triangular = np.all((value == 0) | np.tri(n, dtype=bool), axis=(-2, -1))
        return finite & triangular & np.all(np.diagonal(value, axis1=-2, axis2=-1) > 0, axis=-1)

    def feasible_like(self, value):
        return np.eye(np.shape(value)[-1], dtype=float_type(value))

    def __str__(self):
        return "a lower triangular matrix with a positive diagonal"


@dataclass(frozen=True, eq=False)
class _CorrCholesky(_LowerCholesky):
    def __call__(self, value):
        lengths = np.sum(value * value, axis=-1)
        return super().__call__(value) & np.all(np.abs(lengths - 1.0) <= _tolerance(value), axis=-1)

    def __str__(self):
        return "a lower triangular matrix with a positive diagonal and rows of length 1"


@dataclass(frozen=True, eq=False)
class _PositiveDefinite(Constraint):
    event_dim = 2

    def __call__(self, value):
        finite = np.all(np.isfinite(value), axis=(-2, -1))
        matrix = np.where(finite[..., None, None], value, np.eye(np.shape(value)[-1]))
        size = np.max(np.abs(matrix), axis=(-2, -1))
        skew = np.max(np.abs(matrix - np.swapaxes(matrix, -2, -1)), axis=(-2, -1))
        return finite & (skew <= _tolerance(value) * size) & np.all(np.linalg.eigvalsh(matrix) > 0, axis=-1)

    def feasible_like(self, value):
        return np.eye(np.shape(value)[-1], dtype=float_type(value))

    def __str__(self):
        return "a symmetric positive definite matrix"


@dataclass(frozen=True, eq=False)
class _CorrMatrix(_PositiveDefinite):
    def __call__(self, value):
        diagonal = np.diagonal(value, axis1=-2, axis2=-1)
        return super().__call__(value) & np.all(np.abs(diagonal - 1.0) <= _tolerance(value), axis=-1)

    def __str__(self):
        return "a symmetric positive definite matrix with ones on its diagonal"


@dataclass(frozen=True, eq=False)
class ZeroSum(Constraint):
    """Arrays of reals that sum to zero along each of the last `event_dim` axes."""

    event_dim: int = 1  # type: ignore[assignment]
    _static = ("event_dim",)

    def __call__(self, value):
        axes = tuple(range(-self.event_dim, 0))
        inside = np.all(np.isfinite(value), axis=axes)
        slack = _tolerance(value) * np.sum(np.abs(value), axis=axes)
        for axis in axes:
            sums = np.abs(np.sum(value, axis=axis, keepdims=True))
            inside = inside & (np.max(sums, axis=axes) <= slack)
        return inside

    def __str__(self):
        return "a vector that sums to 0" if self.event_dim == 1 else "an array that sums to 0 along each of its axes"


@dataclass(frozen=True, eq=False)
class Multinomial(Constraint):
    """Vectors of nonnegative integers that sum to `upper_bound`."""

    upper_bound: Array
    event_dim = 1
    is_discrete = True

    def __call__(self, value):
        counts = np.all((value >= 0) & _is_integer(value), axis=-1)
        return counts & (np.sum(value, axis=-1) == self.upper_bound)

    def feasible_like(self, value):
        first = np.arange(np.shape(value)[-1]) == 0
        return np.where(first, np.expand_dims(self.upper_bound, -1), 0)

    def __str__(self):
        return f"a vector of nonnegative integers that sum to {_words(self.upper_bound)}"


real = _Real()
real_vector = Independent(real, 1)
real_matrix = Independent(real, 2)
positive = GreaterThan(0.0)
nonnegative = GreaterThanEq(0.0)
unit_interval = Interval(0.0, 1.0)
circular = Interval(-math.pi, math.pi)
boolean = _Boolean()
nonnegative_integer = IntegerGreaterThanEq(0)
positive_integer = IntegerGreaterThanEq(1)
simplex = _Simplex()
one_hot = _OneHot()
log_weights = _LogWeights()
ordered_vector = _OrderedVector()
sorted_vector = ordered_vector  # neighbours may be equal: of numbers this near no order is left
positive_ordered_vector = _PositiveOrderedVector()
lower_cholesky = _LowerCholesky()
positive_definite = _PositiveDefinite()
corr_cholesky = _CorrCholesky()
corr_matrix = _CorrMatrix()

greater_than = GreaterThan
greater_than_eq = GreaterThanEq
less_than = LessThan
less_than_eq = LessThanEq
interval = Interval
open_interval = OpenInterval
integer_interval = IntegerInterval
zero_sum = ZeroSum
multinomial = Multinomial
integer_greater_than = IntegerGreaterThanEq  # NumPyro's name; the bound itself is included, as there


def independent(base: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """`base` on every element along the last axes; `base` itself when there are none.

    >>> independent(positive, 2).event_dim
    2
    """
    if reinterpreted_batch_ndims == 0:
        return base
    if isinstance(base, Independent):
        return Independent(base.base, base.reinterpreted_batch_ndims + reinterpreted_batch_ndims)
    return Independent(base, reinterpreted_batch_ndims)


def bounds(constraint: Constraint) -> tuple[Array, Array] | None:
    """Least and greatest value of a set of numbers; None for vectors, matrices and moving bounds.

    >>> bounds(positive), bounds(boolean), bounds(simplex)
    ((0.0, inf), (0.0, 1.0), None)
    """
    base = constraint.base if isinstance(constraint, Independent) else constraint
    if base.event_dim or base.depends_on_recorded:
        return None
    if isinstance(base, _Real):
        return -np.inf, np.inf
    if isinstance(base, _Boolean):
        return 0.0, 1.0
    low, high = getattr(base, "lower_bound", None), getattr(base, "upper_bound", None)
    if low is None and high is None:
        return None
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def within(inner: Constraint, outer: Constraint) -> bool:
    """Is every value of one set in the other, as far as their bounds tell?

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
