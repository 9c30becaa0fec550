"""Sets of single numbers: the line, half lines, intervals, and the integers in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ppl.distributions._arrays import Array
from ppl.distributions.constraints.base import Constraint, in_words, is_integer, same


@dataclass(frozen=True, eq=False)
class _Real(Constraint):
    def __call__(self, value):
        return np.isfinite(value)

    def __str__(self):
        return "a finite number"


def _well_above(bound: Array) -> Array:
    """A number above `bound`, however large it is."""
    return bound + abs(bound) + 1.0


def _well_below(bound: Array) -> Array:
    return bound - abs(bound) - 1.0


@dataclass(frozen=True, eq=False)
class GreaterThan(Constraint):
    """Finite numbers above `lower_bound`."""

    lower_bound: Array

    def __call__(self, value):
        return (value > self.lower_bound) & (value < np.inf)

    def feasible_like(self, value):
        return _well_above(self.lower_bound)

    def __str__(self):
        return "a positive number" if same(self.lower_bound, 0.0) else f"a number above {in_words(self.lower_bound)}"


@dataclass(frozen=True, eq=False)
class _SoftplusPositive(GreaterThan):
    """The positive numbers, reached from the reals by `softplus` and not by `exp`."""


@dataclass(frozen=True, eq=False)
class GreaterThanEq(Constraint):
    """Finite numbers not below `lower_bound`."""

    lower_bound: Array

    def __call__(self, value):
        return (value >= self.lower_bound) & (value < np.inf)

    def feasible_like(self, value):
        return _well_above(self.lower_bound)

    def __str__(self):
        bound = self.lower_bound
        return "a nonnegative number" if same(bound, 0.0) else f"a number not below {in_words(bound)}"


@dataclass(frozen=True, eq=False)
class LessThan(Constraint):
    """Finite numbers below `upper_bound`."""

    upper_bound: Array

    def __call__(self, value):
        return (value < self.upper_bound) & (value > -np.inf)

    def feasible_like(self, value):
        return _well_below(self.upper_bound)

    def __str__(self):
        return f"a number below {in_words(self.upper_bound)}"


@dataclass(frozen=True, eq=False)
class LessThanEq(Constraint):
    """Finite numbers not above `upper_bound`."""

    upper_bound: Array

    def __call__(self, value):
        return (value <= self.upper_bound) & (value > -np.inf)

    def feasible_like(self, value):
        return _well_below(self.upper_bound)

    def __str__(self):
        return f"a number not above {in_words(self.upper_bound)}"


@dataclass(frozen=True, eq=False)
class Interval(Constraint):
    """Numbers from `lower_bound` to `upper_bound`, both included."""

    lower_bound: Array
    upper_bound: Array

    def __call__(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound)

    def feasible_like(self, value):
        return 0.5 * self.lower_bound + 0.5 * self.upper_bound

    def __str__(self):
        return f"a number in [{in_words(self.lower_bound)}, {in_words(self.upper_bound)}]"


@dataclass(frozen=True, eq=False)
class OpenInterval(Constraint):
    """Numbers strictly between `lower_bound` and `upper_bound`."""

    lower_bound: Array
    upper_bound: Array

    def __call__(self, value):
        return (value > self.lower_bound) & (value < self.upper_bound)

    def feasible_like(self, value):
        return 0.5 * self.lower_bound + 0.5 * self.upper_bound

    def __str__(self):
        return f"a number strictly between {in_words(self.lower_bound)} and {in_words(self.upper_bound)}"


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
class _Integer(Constraint):
    is_discrete = True

    def __call__(self, value):
        return is_integer(value) & np.isfinite(value)

    def feasible_like(self, value):
        return 0

    def __str__(self):
        return "an integer"


@dataclass(frozen=True, eq=False)
class IntegerInterval(Constraint):
    """Integers from `lower_bound` to `upper_bound`, both included."""

    lower_bound: Array
    upper_bound: Array
    is_discrete = True

    def __call__(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound) & is_integer(value)

    def feasible_like(self, value):
        return self.lower_bound

    def __str__(self):
        return f"an integer in [{in_words(self.lower_bound)}, {in_words(self.upper_bound)}]"


@dataclass(frozen=True, eq=False)
class IntegerGreaterThanEq(Constraint):
    """Integers not below `lower_bound`."""

    lower_bound: Array
    is_discrete = True

    def __call__(self, value):
        return (value >= self.lower_bound) & (value < np.inf) & is_integer(value)

    def feasible_like(self, value):
        return self.lower_bound

    def __str__(self):
        named = {0: "a nonnegative integer", 1: "a positive integer"}
        for bound, words in named.items():
            if same(self.lower_bound, bound):
                return words
        return f"an integer not below {in_words(self.lower_bound)}"


real = _Real()
positive = GreaterThan(0.0)
softplus_positive = _SoftplusPositive(0.0)
nonnegative = GreaterThanEq(0.0)
unit_interval = Interval(0.0, 1.0)
circular = Interval(-math.pi, math.pi)
boolean = _Boolean()
integer = _Integer()
nonnegative_integer = IntegerGreaterThanEq(0)
positive_integer = IntegerGreaterThanEq(1)

greater_than = GreaterThan
greater_than_eq = GreaterThanEq
less_than = LessThan
less_than_eq = LessThanEq
interval = Interval
open_interval = OpenInterval
integer_interval = IntegerInterval
integer_greater_than = IntegerGreaterThanEq  # NumPyro's name; the bound itself is included, as there
