"""Simplifications made as operations are recorded.

A rule gets the arguments of one operation and returns an equal value that costs less, or
None. Rules are small, local and exact up to rounding; `ppl.array.recording.Tape.add` asks
them once per recorded operation.
"""

from __future__ import annotations

import numpy as np

from . import operations as op
from .recording import SIMPLIFY, Recorded, elementwise_signature


def rule(*functions):
    """Register a simplification of these operations."""

    def register(f):
        for fun in functions:
            SIMPLIFY[fun] = f
        return f

    return register


def _is_number(x, value) -> bool:
    return not isinstance(x, Recorded) and np.ndim(x) == 0 and x == value


def _same(x, *others) -> bool:
    """Would an elementwise operation of x with the others have the shape and dtype of x?"""
    shape, dtype = elementwise_signature(np.add, x, *others)
    return isinstance(x, Recorded) and shape == x.shape and dtype == x.dtype


@rule(np.power)
def power(x, exponent):
    """Small whole and half powers as products and roots."""
    if isinstance(exponent, Recorded) or np.ndim(exponent) != 0 or not isinstance(x, Recorded) or x.dtype.kind != "f":
        return None
    forms = {
        1.0: lambda: x,
        2.0: lambda: x * x,
        3.0: lambda: x * x * x,
        0.5: lambda: np.sqrt(x),
        -1.0: lambda: 1.0 / x,
        -2.0: lambda: 1.0 / (x * x),
        -0.5: lambda: 1.0 / np.sqrt(x),
    }
    form = forms.get(float(exponent))
    return form() if form else None


@rule(np.multiply)
def multiply(a, b):
    """1 * x = x, -1 * x = -x, and a product with something that only repeats along axes."""
    for x, y in ((a, b), (b, a)):
        if _is_number(x, 1.0) and _same(y, x):
            return y
        if _is_number(x, -1.0) and _same(y, x):
            return -y
    return _without_repeats(np.multiply, a, b)


@rule(np.add)
def add(a, b):
    """0 + x = x; x + (-y) = x - y."""
    for x, y in ((a, b), (b, a)):
        if _is_number(x, 0.0) and _same(y, x):
            return y
    return _without_repeats(np.add, a, b)


@rule(np.subtract)
def subtract(a, b):
    """x - 0 = x; 0 - x = -x."""
    if _is_number(b, 0.0) and _same(a, b):
        return a
    if _is_number(a, 0.0) and _same(b, a):
        return -b
    return _without_repeats(np.subtract, a, b)


@rule(np.true_divide)
def divide(a, b):
    """x / 1 = x."""
    if _is_number(b, 1.0) and _same(a, b):
        return a
    return _without_repeats(np.true_divide, a, b)


@rule(np.negative)
def negative(x):
    """-(-x) = x."""
    return x.args[0] if isinstance(x, Recorded) and x.fun is np.negative else None


@rule(op.total.run)
def total_of_repeats(x, axes):
    """The sum of something repeated is a multiple of it."""
    if not isinstance(x, Recorded) or x.fun is not op.broadcast.run:
        return None
    inner = x.args[0]
    if np.ndim(inner) == 0 and len(axes) == x.ndim:
        return inner * (x.size if x.dtype.kind in "iu" else float(x.size))
    return None


@rule(op.broadcast.run, op.reshape.run)
def no_change(x, shape):
    """A reshape to the same shape."""
    return x if np.shape(x) == tuple(shape) else None


def _without_repeats(fun, a, b):
    """Elementwise arithmetic repeats its arguments itself: an explicit repetition is not needed."""
    for x, y, swap in ((a, b, False), (b, a, True)):
        if isinstance(x, Recorded) and x.fun is op.broadcast.run and np.shape(y) == x.shape:
            inner = x.args[0]
            return fun(y, inner) if swap else fun(inner, y)
    return None
