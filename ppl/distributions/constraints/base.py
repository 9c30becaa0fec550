"""What every constraint is: a frozen record, equal by its fields, that tests membership."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ppl.array import is_recorded
from ppl.distributions._arrays import Array


def flatten(value: Any) -> tuple[tuple[Array, ...], Callable[[Any], Any]]:
    """The arrays inside `value`, and the function that builds its like from other arrays."""
    if is_recorded(value):
        return (value,), lambda arrays: next(iter(arrays))
    if hasattr(value, "tree_flatten"):
        return value.tree_flatten()
    if value is None:
        return (), lambda arrays: None
    if isinstance(value, dict):
        leaves, build = flatten(tuple(value.values()))
        return leaves, lambda arrays: dict(zip(value, build(arrays), strict=True))
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


def same(a: Any, b: Any) -> bool:
    """Are two fields equal: records by value, arrays by shape and elements, recorded arrays if they are one?"""
    if a is b:
        return True
    if is_recorded(a) or is_recorded(b):
        return False
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
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
        return same(tuple(self._fields().values()), tuple(other._fields().values()))  # type: ignore[attr-defined]

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

    def fault(self, event: np.ndarray) -> tuple[tuple[int, ...], str]:
        """What is wrong with one event that is outside: the place of its first impossible element, or () and words.

        >>> from ppl.distributions.constraints import simplex
        >>> simplex.fault(np.array([0.5, -0.5, 1.0])), simplex.fault(np.array([0.5, 1.0]))
        (((1,), ''), ((), 'it sums to 1.5'))
        """
        return (), ""

    @cached_property
    def depends_on_recorded(self) -> bool:
        """True when a bound is a recorded array, so that the set itself moves."""
        return any(is_recorded(leaf) for leaf in self.tree_flatten()[0]) if dataclasses.fields(self) else False


def in_words(bound: Array) -> str:
    """A bound in a message: a number, or the range of an array of them."""
    if is_recorded(bound):
        return "a bound that depends on draws"
    if np.ndim(bound) == 0 or np.size(bound) == 0:
        return str(bound)
    return f"{np.min(bound)}...{np.max(bound)} (by element)"


def first_false(valid: np.ndarray) -> tuple[int, ...]:
    """The place of the first element that is not true; () where all are."""
    places = np.argwhere(~np.asarray(valid))
    return tuple(map(int, places[0])) if len(places) else ()


def is_integer(value: Array) -> Array:
    """Is each element a whole number?"""
    return np.floor(value) == value


def tolerance(value: Array) -> float:
    """How far a sum or a length may be off by rounding, relative to what it should be."""
    return 1e-3 if getattr(value, "dtype", None) == np.float32 else 1e-6
