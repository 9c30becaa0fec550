"""Simplifications made as operations are recorded.

A rule gets the arguments of one operation and returns an equal value that costs less, or
None. Rules are small, local and exact up to rounding; `Tape.add` asks them once for each
recorded operation. Each carries an example on which it fires, and the tests evaluate both
sides of every rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import operations as op
from .recording import SIMPLIFY, Recorded, elementwise_signature


@dataclass(frozen=True)
class Rule:
    """A rewriting of some operations: `rewrite(*args)` gives a cheaper equal value, or None.

    `example(x)` is an expression in a recorded positive array x of shape (3, 2) on which it fires.
    """

    name: str
    operations: tuple[Callable, ...]
    rewrite: Callable[..., Any]
    example: Callable[[Any], Any]


RULES: list[Rule] = []


def rule(*operations: Callable, example: Callable[[Any], Any]):
    """Register a simplification of these operations, tried in the order of the file."""

    def register(rewrite):
        RULES.append(Rule(rewrite.__name__, operations, rewrite, example))
        for fun in operations:
            SIMPLIFY.setdefault(fun, []).append(rewrite)
        return rewrite

    return register


def _is_constant(x) -> bool:
    return not isinstance(x, Recorded)


def _is_number(x, value) -> bool:
    if type(x) is Recorded:
        return False
    return not isinstance(x, Recorded) and np.ndim(x) == 0 and x == value


def _made_by(x, fun) -> bool:
    return isinstance(x, Recorded) and x.fun is fun


def _in_dtype(fun, dtype, *constants):
    """A function of constants in the type that they meet: bytes and booleans would wrap around by themselves."""
    with np.errstate(over="ignore"):
        folded = fun(*(np.asarray(c, dtype) for c in constants))[()]
    return folded.item() if all(type(c) in (int, float) for c in constants) else folded


def _uniform(x) -> bool:
    """Is this a constant array of one number?  Three places are looked at before all are."""
    if not isinstance(x, np.ndarray) or x.size < 2 or x.dtype.kind != "f":
        return False
    first = x.flat[0]
    same = first == x.flat[-1] == x.flat[x.size // 2] and np.all(x == first)
    return bool(same and (first != 0 or np.all(np.signbit(x) == np.signbit(first))))


def _keeps(x, *others, fun=np.add) -> bool:
    """Would an elementwise operation of x with the others have the shape and dtype of x?"""
    if not isinstance(x, Recorded):
        return False
    shape, dtype = elementwise_signature(fun, x, *others)
    return shape == x.shape and dtype == x.dtype


@rule(np.power, example=lambda x: x**2.0 + x**3 + x**0.5 + x**-1 + x**-2 + x**-0.5 + x**1)
def small_powers(x, exponent):
    """Small whole and half powers as products and roots."""
    if isinstance(exponent, Recorded) or np.ndim(exponent) != 0 or not isinstance(x, Recorded) or x.dtype.kind != "f":
        return None
    if not _keeps(x, exponent, fun=np.power):
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


@rule(np.multiply, example=lambda x: (1.0 * x) + (x * -1.0))
def product_with_one(a, b):
    """1 x = x and -1 x = -x."""
    for x, y in ((a, b), (b, a)):
        if _is_number(x, 1.0) and _keeps(y, x):
            return y
        if _is_number(x, -1.0) and _keeps(y, x):
            return -y
    return None


@rule(np.add, example=lambda x: 0.0 + x)
def sum_with_zero(a, b):
    """0 + x = x, up to the sign of a zero."""
    for x, y in ((a, b), (b, a)):
        if _is_number(x, 0.0) and _keeps(y, x):
            return y
    return None


@rule(np.subtract, example=lambda x: (x - 0.0) * (0.0 - x))
def difference_with_zero(a, b):
    """x - 0 = x and 0 - x = -x."""
    if _is_number(b, 0.0) and _keeps(a, b):
        return a
    return -b if _is_number(a, 0.0) and _keeps(b, a) else None


@rule(np.true_divide, example=lambda x: x / 1.0)
def quotient_by_one(a, b):
    """x / 1 = x."""
    return a if _is_number(b, 1.0) and _keeps(a, b, fun=np.true_divide) else None


@rule(np.negative, example=lambda x: np.negative(-(x + 1.0)) + -(2.5 * x))
def negative_of_product(x):
    """-(-x) = x, and -(c x) = (-c) x."""
    if _made_by(x, np.negative):
        return x.args[0]
    if _made_by(x, np.multiply) and _is_constant(x.args[0]):
        return _in_dtype(np.negative, x.dtype, x.args[0]) * x.args[1]
    return None


@rule(np.multiply, example=lambda x: 2.0 * (np.array([1.0, 3.0]) * x))
def constants_together(a, b):
    """c (d x) = (c d) x; a constant factor stands first."""
    if _is_constant(b):
        return b * a if isinstance(a, Recorded) else None
    if _is_constant(a) and _made_by(b, np.multiply) and _is_constant(b.args[0]):
        c = _in_dtype(np.multiply, elementwise_signature(np.multiply, a, b)[1], a, b.args[0])
        # Two factors that are far apart may meet beyond the largest number, or below the smallest.
        sound = np.all(np.isfinite(c)) and np.all((c != 0) | (np.asarray(a) == 0) | (np.asarray(b.args[0]) == 0))
        return c * b.args[1] if sound and np.size(c) <= max(np.size(a), np.size(b.args[0])) else None
    return None


@rule(np.multiply, example=lambda x: (-0.5 * (x + 1.0)) * (x + 1.0))
def constant_before_square(a, b):
    """(c x) x = c (x x): its derivative is one product."""
    for x, y in ((a, b), (b, a)):
        if _made_by(x, np.multiply) and _is_constant(x.args[0]) and x.args[1] is y:
            return x.args[0] * (y * y)
    return None


def _repeated_argument(fun):
    @rule(fun, example=lambda x: fun(np.broadcast_to(x[0], (3, 2)), x))
    def repeated_argument(a, b):
        """Elementwise arithmetic repeats its arguments itself."""
        for x, y in ((a, b), (b, a)):
            inner = None
            if type(x) is Recorded:
                if x.fun is op.broadcast.run and np.shape(y) == x.shape:
                    inner = x.args[0]
            elif isinstance(x, np.ndarray) and isinstance(y, Recorded) and y.shape == x.shape and _uniform(x):
                inner = x.flat[0]
            if inner is not None:
                return fun(inner, y) if x is a else fun(y, inner)
        return None


for _fun in (np.add, np.subtract, np.multiply, np.true_divide):
    _repeated_argument(_fun)


@rule(op.total.run, example=lambda x: np.sum(np.broadcast_to(np.sum(x), (4, 2))))
def total_of_repeats(x, axes):
    """The sum of a repeated number is a multiple of it."""
    if _made_by(x, op.broadcast.run) and np.ndim(x.args[0]) == 0 and len(axes) == x.ndim:
        return x.args[0] * (x.size if x.dtype.kind in "iu" else float(x.size))
    return None


@rule(op.total.run, example=lambda x: np.sum(np.swapaxes(x.reshape(3, 1, 2), 1, 2) @ x.reshape(3, 1, 2), 0))
def total_of_products(x, axes):
    """The sum of products a_t' b_t of matrices is one product, of all their rows: a' b."""
    if axes != (0,) or not _made_by(x, np.matmul) or x.ndim != 3:
        return None
    left, right = x.args
    if not _made_by(left, op.transpose.run) or left.args[1] != (0, 2, 1) or np.ndim(right) != 3:
        return None
    (count, rows, ins), outs = np.shape(left.args[0]), np.shape(right)[-1]
    if np.shape(right)[0] != count:
        return None
    a, b = op.reshape(left.args[0], (count * rows, ins)), op.reshape(right, (count * rows, outs))
    return np.matmul(op.transpose(a, (1, 0)), b)


@rule(op.reshape.run, op.broadcast.run, example=lambda x: np.reshape(np.reshape(x, 6), (3, 2)) * 2.0)
def no_change_of_shape(x, shape):
    """A reshape to the same shape."""
    return x if np.shape(x) == tuple(shape) else None


@rule(op.reshape.run, example=lambda x: np.reshape(np.reshape(x, 6), (2, 3)))
def reshape_of_reshape(x, shape):
    """Only the last of several reshapes counts; that of a copy, which the first of them makes of a view, is free."""
    return op.reshape(x.args[0], shape) if _made_by(x, op.reshape.run) and not _scattered(x.args[0]) else None


def _scattered(x) -> bool:
    """Is this a view whose elements do not lie in a row?"""
    return any(_made_by(x, fun) for fun in (op.windows.run, op.transpose.run, op.broadcast.run))
