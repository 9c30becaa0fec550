"""Sets of vectors: simplex, sphere, ball, ordered vectors, zero sums, counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppl.distributions._arrays import Array, float_type, quiet
from ppl.distributions.constraints.base import Constraint, first_false, in_words, is_integer, tolerance


@dataclass(frozen=True, eq=False)
class _Simplex(Constraint):
    event_dim = 1

    def __call__(self, value):
        with quiet():
            total = np.sum(value, axis=-1)
        return np.all(value >= 0, axis=-1) & (np.abs(total - 1.0) <= tolerance(value))

    def feasible_like(self, value):
        return 1.0 / np.shape(value)[-1]

    def fault(self, event):
        place = first_false(event >= 0)
        return place, "" if place else f"it sums to {np.sum(event):.8g}"

    def __str__(self):
        return "a vector of nonnegative numbers that sum to 1"


@dataclass(frozen=True, eq=False)
class _L1Ball(Constraint):
    event_dim = 1

    def __call__(self, value):
        return np.sum(np.abs(value), axis=-1) <= 1.0 + tolerance(value)

    def fault(self, event):
        place = first_false(np.isfinite(event))
        return place, "" if place else f"the absolute values sum to {np.sum(np.abs(event)):.8g}"

    def __str__(self):
        return "a vector whose absolute values sum to at most 1"


@dataclass(frozen=True, eq=False)
class _Sphere(Constraint):
    event_dim = 1

    def __call__(self, value):
        with quiet():
            return np.abs(np.sqrt(np.sum(value * value, axis=-1)) - 1.0) <= tolerance(value)

    def feasible_like(self, value):
        return np.eye(1, np.shape(value)[-1], dtype=float_type(value))[0]

    def fault(self, event):
        place = first_false(np.isfinite(event))
        return place, "" if place else f"its length is {np.linalg.norm(event):.8g}"

    def __str__(self):
        return "a vector of length 1"


@dataclass(frozen=True, eq=False)
class ZeroSum(Constraint):
    """Arrays of reals that sum to zero along each of the last `event_dim` axes."""

    event_dim: int = 1  # type: ignore[assignment]
    _static = ("event_dim",)

    def __call__(self, value):
        axes = tuple(range(-self.event_dim, 0))
        inside = np.all(np.isfinite(value), axis=axes)
        with quiet():
            slack = tolerance(value) * np.sum(np.abs(value), axis=axes)
            for axis in axes:
                sums = np.abs(np.sum(value, axis=axis, keepdims=True))
                inside = inside & (np.max(sums, axis=axes) <= slack)
        return inside

    def fault(self, event):
        place = first_false(np.isfinite(event))
        sums = [np.max(np.abs(np.sum(event, axis=axis))) for axis in range(self.event_dim)]
        return place, "" if place else f"its sums reach {max(sums):.8g}"

    def __str__(self):
        return "a vector that sums to 0" if self.event_dim == 1 else "an array that sums to 0 along each of its axes"


@dataclass(frozen=True, eq=False)
class _OrderedVector(Constraint):
    # Neighbours may be equal: between numbers this near no order is left.
    event_dim = 1

    def __call__(self, value):
        return np.all(value[..., 1:] >= value[..., :-1], axis=-1) & np.all(np.isfinite(value), axis=-1)

    def fault(self, event):
        place = first_false(np.isfinite(event)) or first_false(np.diff(event, prepend=event[:1]) >= 0)
        return place, f"it is below the one before, {event[place[0] - 1]}" if np.isfinite(event[place]) else ""

    def __str__(self):
        return "a vector in increasing order"


@dataclass(frozen=True, eq=False)
class _PositiveOrderedVector(Constraint):
    event_dim = 1

    def __call__(self, value):
        return ordered_vector(value) & np.all(value > 0, axis=-1)

    def feasible_like(self, value):
        return 1.0

    def fault(self, event):
        place = first_false(event > 0)
        return (place, "") if place else ordered_vector.fault(event)

    def __str__(self):
        return "a vector of positive numbers in increasing order"


@dataclass(frozen=True, eq=False)
class _LogWeights(Constraint):
    event_dim = 1

    def __call__(self, value):
        return np.all(value < np.inf, axis=-1) & np.any(value > -np.inf, axis=-1)

    def fault(self, event):
        return first_false(event < np.inf), ""

    def __str__(self):
        return "a vector of log weights: finite numbers or -inf, not all -inf"


@dataclass(frozen=True, eq=False)
class _OneHot(Constraint):
    event_dim = 1
    is_discrete = True

    def __call__(self, value):
        return np.all((value == 0) | (value == 1), axis=-1) & (np.sum(value, axis=-1) == 1)

    def feasible_like(self, value):
        return np.eye(1, np.shape(value)[-1], dtype=np.int64)[0]

    def fault(self, event):
        place = first_false((event == 0) | (event == 1))
        return place, "" if place else f"it sums to {np.sum(event)}"

    def __str__(self):
        return "a vector with a single 1 and zeros elsewhere"


@dataclass(frozen=True, eq=False)
class Multinomial(Constraint):
    """Vectors of nonnegative integers that sum to `upper_bound`.

    >>> bool(multinomial(3)(np.array([1, 0, 2])))
    True
    """

    upper_bound: Array
    event_dim = 1
    is_discrete = True

    def __call__(self, value):
        with quiet():
            total = np.sum(value, axis=-1)
        return np.all((value >= 0) & is_integer(value), axis=-1) & (total == self.upper_bound)

    def feasible_like(self, value):
        first = np.arange(np.shape(value)[-1]) == 0
        return np.where(first, np.expand_dims(self.upper_bound, -1), 0)

    def fault(self, event):
        place = first_false((event >= 0) & is_integer(event))
        return place, "" if place else f"it sums to {np.sum(event)}"

    def __str__(self):
        return f"a vector of nonnegative integers that sum to {in_words(self.upper_bound)}"


simplex = _Simplex()
l1_ball = _L1Ball()
sphere = _Sphere()
ordered_vector = sorted_vector = _OrderedVector()
positive_ordered_vector = _PositiveOrderedVector()
log_weights = _LogWeights()
one_hot = _OneHot()
multinomial = Multinomial
zero_sum = ZeroSum
