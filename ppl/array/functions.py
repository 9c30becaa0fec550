"""What each NumPy function becomes on recorded arrays.

One entry per function: its signature is NumPy's, its body is written in the operations of
`operations.py` and in NumPy's ufuncs. Functions without an entry are refused, with the cure
that `cures.py` has for them.
"""

from __future__ import annotations

import operator
from string import ascii_letters
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ..errors import ModelError, ShapeError
from . import operations as op
from .recording import FUNCTIONS, Recorded, _dtype, tape_of


def implements(*functions):
    """Register a recordable form of NumPy functions; one given by name may be missing from older versions."""

    def register(f):
        for fun in functions:
            fun = getattr(np, fun, None) if isinstance(fun, str) else fun
            if fun is not None:
                FUNCTIONS[fun] = f
        return f

    return register


def _array(x):
    return x if isinstance(x, Recorded) else np.asarray(x)


def _refuse(name, **given):
    """Keywords that would change the result are refused, not ignored; their defaults pass."""
    for key, (value, default) in given.items():
        if value is not default and (np.ndim(value) > 0 or value != default):
            raise ModelError(
                f"np.{name}(..., {key}=...) of a recorded value",
                f"{key} left out",
                "np.where, np.concatenate or a transpose",
            )


def _refuse_more(name, more):
    _refuse(name, **{k: (v, True if k == "where" else np._NoValue) for k, v in more.items()})


def _typed(x, dtype):
    return x if dtype is None or np.dtype(dtype) == _dtype(x) else op.cast(x, np.dtype(dtype))


def _keep(x, axes, result, keepdims):
    if not keepdims:
        return result
    return op.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(np.shape(x))))


@implements(np.sum)
def _sum(x, axis=None, dtype=None, out=None, keepdims=False, initial=0, where=True):
    axes, x = op.axes_of(axis, np.ndim(x)), _typed(x, dtype)
    if where is not True:
        x = op.where(where, x, 0)
    x = _counted(x)
    result = _keep(x, axes, op.total(x, axes) if axes else x, keepdims)
    return result if initial is np._NoValue or (not np.ndim(initial) and initial == 0) else result + initial


def _counted(x):
    """Truths and short whole numbers as long ones: NumPy sums and multiplies these."""
    kind = _dtype(x).kind
    return x if kind not in "biu" else _typed(x, np.uint64 if kind == "u" else np.int64)


def _line(x, axis):
    """The array and the axis of a function along one axis: all elements for None, and for a scalar its one."""
    if axis is None or np.ndim(x) == 0:
        op.axis_of(axis or 0, 1)
        return np.reshape(x, -1), 0
    return x, op.axis_of(axis, np.ndim(x))


def _count(x, axes):
    return _product([np.shape(x)[a] for a in axes])


def _product(sides):
    return int(np.prod(sides, dtype=np.int64))


@implements(np.mean)
def _mean(x, axis=None, dtype=None, out=None, keepdims=False, *, where=True):
    _refuse("mean", where=(where, True))
    return _sum(x, axis, dtype, keepdims=keepdims) / _count(x, op.axes_of(axis, np.ndim(x)))


@implements(np.average)
def _average(x, axis=None, weights=None, returned=False, *, keepdims=False):
    _refuse("average", returned=(returned, False))
    if weights is None:
        return _mean(x, axis, keepdims=keepdims)
    axes = op.axes_of(axis, np.ndim(x))
    along = [n if i in axes else 1 for i, n in enumerate(np.shape(x))]
    full = np.shape(weights) == np.shape(x)
    if 0 in along and not (full and 0 in [n for i, n in enumerate(np.shape(x)) if i not in axes]):
        raise ZeroDivisionError("no weights, which sum to zero")
    x, weights = _floating(x), weights if full else np.broadcast_to(np.reshape(weights, along), np.shape(x))
    return _sum(x * weights, axis, keepdims=keepdims) / _sum(weights, axis, keepdims=keepdims)


@implements(np.var)
def _var(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, *, mean=None, correction=None):
    axes = op.axes_of(axis, np.ndim(x))
    centred = x - _mean(x, axis, keepdims=True)
    left = _count(x, axes) - (ddof if correction is None else correction)
    return _sum(centred * centred, axis, keepdims=keepdims) / max(left, 0)


@implements(np.std)
def _std(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **more):
    return np.sqrt(_var(x, axis, ddof=ddof, keepdims=keepdims, **more))


def _opposite(x):
    """The function that turns the order of numbers like x around, and is its own inverse."""
    return np.negative if _dtype(x).kind == "f" else np.invert


@implements(np.max, np.amax)
def _max(x, axis=None, out=None, keepdims=False, **more):
    _refuse_more("max", more)
    axes = op.axes_of(axis, np.ndim(x))
    return _keep(x, axes, op.largest(x, axes), keepdims)


@implements(np.min, np.amin)
def _min(x, axis=None, out=None, keepdims=False, **more):
    _refuse_more("min", more)
    minus = _opposite(x)
    return minus(_max(minus(x), axis, keepdims=keepdims))


@implements(np.ptp)
def _ptp(x, axis=None, out=None, keepdims=False):
    return _max(x, axis, keepdims=keepdims) - _min(x, axis, keepdims=keepdims)


@implements(np.logaddexp.reduce)
def _logaddexp_reduce(x, axis=0, keepdims=False, **more):
    _refuse_more("logaddexp.reduce", more)
    x, axes = _floating(x), op.axes_of(axis, np.ndim(x))
    return _keep(x, axes, op.log_total_exp(x, axes), keepdims)


@implements(np.prod)
def _prod(x, axis=None, dtype=None, out=None, keepdims=False, **more):
    _refuse_more("prod", more)
    x = _counted(_typed(x, dtype))
    axes = op.axes_of(axis, np.ndim(x))
    rest = tuple(i for i in range(np.ndim(x)) if i not in axes)
    flat = op.reshape(op.transpose(x, (*axes, *rest)), (_count(x, axes), *(np.shape(x)[i] for i in rest)))
    odd = None  # factors that were left over where the halves were taken
    while len(flat) > 1:
        half = len(flat) // 2
        if len(flat) % 2:
            odd = flat[-1] if odd is None else odd * flat[-1]
        flat = flat[:half] * flat[half : 2 * half]
    result = flat[0] if len(flat) else np.ones(np.shape(flat)[1:], _dtype(x))
    result = result if odd is None else result * odd
    return _keep(x, axes, result, keepdims)


@implements(np.cumsum)
def _cumsum(x, axis=None, dtype=None, out=None):
    x, axis = _line(x, axis)
    return op.running_sum(_counted(x), axis)


@implements(np.cumprod)
def _cumprod(x, axis=None, dtype=None, out=None):
    x, axis = _line(x, axis)
    x = _counted(x)
    n, width = np.shape(x)[axis], 1
    part = lambda y, *ends: op.index(y, (slice(None),) * axis + (slice(*ends),))
    while width < n:  # products of the last `width` factors, from those of half as many (Hillis and Steele 1986)
        x = op.concatenate((part(x, 0, width), part(x, width, n) * part(x, 0, n - width)), axis)
        width *= 2
    return x


def _cumulative(name, run, neutral):
    """np.cumulative_sum and np.cumulative_prod of the array standard."""

    @implements(name)
    def cumulative(x, /, *, axis=None, dtype=None, out=None, include_initial=False):
        if axis is None and np.ndim(x) > 1:
            raise ValueError(f"np.{name} of several axes needs axis=")
        x, axis = _line(x, axis)
        result = run(x, axis)
        if not include_initial:
            return result
        first = tuple(1 if i == axis else n for i, n in enumerate(np.shape(x)))
        return op.concatenate((np.full(first, neutral, _dtype(result)), result), axis)


_cumulative("cumulative_sum", _cumsum, 0)
_cumulative("cumulative_prod", _cumprod, 1)


@implements(np.diff)
def _diff(x, n=1, axis=-1, **more):
    _refuse_more("diff", more)
    for _step in range(n):
        rows = np.moveaxis(x, axis, 0)
        change = np.not_equal if _dtype(x).kind == "b" else np.subtract
        x = np.moveaxis(change(rows[1:], rows[:-1]), 0, axis)
    return x


@implements(np.reshape)
def _reshape(x, shape=None, order="C", *, newshape=None, copy=None):
    _refuse("reshape", order=(order, "C"))
    shape = np.broadcast_to(0, np.shape(x)).reshape(shape if shape is not None else newshape).shape
    return x if shape == np.shape(x) else op.reshape(x, shape)


@implements(np.ravel)
def _ravel(x, order="C"):
    _refuse("ravel", order=(order, "C"))
    return np.reshape(x, -1)


@implements(np.squeeze)
def _squeeze(x, axis=None):
    return np.reshape(x, np.squeeze(np.broadcast_to(0, np.shape(x)), axis).shape)


@implements(np.expand_dims)
def _expand_dims(x, axis):
    return op.reshape(x, np.expand_dims(np.broadcast_to(0, np.shape(x)), axis).shape)


def _atleast(fun):
    """Each array in the shape that NumPy's own gives to one like it."""

    @implements(fun)
    def atleast(*arrays):
        found = tuple(np.reshape(x, fun(np.broadcast_to(0, np.shape(x))).shape) for x in arrays)
        return found[0] if len(found) == 1 else found


for _fun in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    _atleast(_fun)


@implements(np.transpose, np.permute_dims)
def _transpose(x, axes=None):
    n = np.ndim(x)
    return op.transpose(x, tuple(a % n for a in axes) if axes is not None else tuple(reversed(range(n))))


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def _matrix_transpose(x):
    return np.swapaxes(x, -1, -2)


@implements(np.swapaxes)
def _swapaxes(x, axis1, axis2):
    axes = list(range(np.ndim(x)))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return op.transpose(x, tuple(axes))


@implements(np.moveaxis)
def _moveaxis(x, source, destination):
    n = np.ndim(x)
    source, destination = (op.axes_of(y, n, in_order=False) for y in (source, destination))
    order = [i for i in range(n) if i not in source]
    for to, axis in sorted(zip(destination, source, strict=True)):
        order.insert(to, axis)
    return op.transpose(x, tuple(order))


@implements(np.rollaxis)
def _rollaxis(x, axis, start=0):
    axis, to = op.axis_of(axis, np.ndim(x)), start + np.ndim(x) * (start < 0)
    if not 0 <= to <= np.ndim(x):
        raise np.exceptions.AxisError(start, np.ndim(x) + 1)
    return np.moveaxis(x, axis, to - (axis < to))


@implements(np.broadcast_to)
def _broadcast_to(x, shape, subok=False):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return x if shape == np.shape(x) else op.broadcast(x, shape)


@implements(np.broadcast_arrays)
def _broadcast_arrays(*arrays, subok=False):
    shape = np.broadcast_shapes(*map(np.shape, arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


@implements(np.meshgrid)
def _meshgrid(*arrays, copy=True, sparse=False, indexing="xy"):
    n = len(arrays)
    order = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    grid = tuple(np.reshape(x, [-1 if order[i] == k else 1 for k in range(n)]) for i, x in enumerate(arrays))
    return grid if sparse else np.broadcast_arrays(*grid)


@implements(np.linspace)
def _linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0, *, device=None):
    _refuse("linspace", retstep=(retstep, False), axis=(axis, 0))
    start, stop = _floating(_array(start)), _floating(_array(stop))
    parts = (np.arange(num) / max(num - 1 if endpoint else num, 1)).astype(np.result_type(*map(_dtype, (start, stop))))
    return start + np.reshape(parts, (-1, *(1,) * max(np.ndim(start), np.ndim(stop)))) * (stop - start)


@implements(np.zeros_like, np.empty_like)
def _zeros_like(x, dtype=None, order="K", subok=True, shape=None, device=None):
    return np.zeros(np.shape(x) if shape is None else shape, dtype or _dtype(x))


@implements(np.ones_like)
def _ones_like(x, dtype=None, order="K", subok=True, shape=None, device=None):
    return np.ones(np.shape(x) if shape is None else shape, dtype or _dtype(x))


@implements(np.full_like)
def _full_like(x, fill_value, dtype=None, order="K", subok=True, shape=None, device=None):
    fill = _typed(_array(fill_value), dtype or _dtype(x))
    return np.broadcast_to(fill, np.shape(x) if shape is None else shape)


@implements(np.concatenate)
def _concatenate(arrays, axis=0, out=None, **_):
    if axis is None:
        arrays, axis = [np.reshape(a, -1) for a in arrays], 0
    arrays = tuple(map(_array, arrays))
    if not arrays or not np.ndim(arrays[0]):
        raise ValueError("arrays of one or more dimensions are joined: np.stack joins numbers")
    return op.concatenate(arrays, op.axis_of(axis, np.ndim(arrays[0])))


@implements(np.stack)
def _stack(arrays, axis=0, out=None, **_):
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis)


@implements(np.hstack)
def _hstack(arrays, **_):
    arrays = [np.atleast_1d(a) for a in arrays]
    return np.concatenate(arrays, 0 if np.ndim(arrays[0]) == 1 else 1)


@implements(np.vstack)
def _vstack(arrays, **_):
    return np.concatenate([np.atleast_2d(a) for a in arrays], 0)


@implements(np.column_stack)
def _column_stack(arrays):
    return np.concatenate([np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in arrays], 1)


@implements(np.dstack)
def _dstack(arrays):
    return np.concatenate([np.atleast_3d(a) for a in arrays], 2)


@implements(np.block)
def _block(arrays):
    ndim = max(_depth(arrays), *(np.ndim(a) for a in _leaves(arrays)))
    return _joined_blocks(arrays, ndim, -_depth(arrays))


def _depth(x):
    return 1 + max(map(_depth, x), default=0) if isinstance(x, list) else 0


def _leaves(x):
    return [leaf for y in x for leaf in _leaves(y)] if isinstance(x, list) else [x]


def _joined_blocks(x, ndim, axis):
    """The innermost lists are joined along the last axis, the outermost along the first of theirs."""
    if not isinstance(x, list):
        return np.reshape(x, (1,) * (ndim - np.ndim(x)) + np.shape(x))
    return np.concatenate([_joined_blocks(y, ndim, axis + 1) for y in x], axis)


def _along(x, axis, key):
    return op.index(x, (slice(None),) * axis + (key,))


@implements(np.array_split)
def _array_split(x, indices_or_sections, axis=0):
    axis = op.axis_of(axis, np.ndim(x))
    pieces = np.array_split(np.arange(np.shape(x)[axis]), indices_or_sections)
    return [_along(x, axis, slice(int(p[0]), int(p[-1]) + 1) if len(p) else slice(0, 0)) for p in pieces]


@implements(np.split)
def _split(x, indices_or_sections, axis=0):
    axis = op.axis_of(axis, np.ndim(x))
    np.split(np.arange(np.shape(x)[axis]), indices_or_sections)  # NumPy's own error for unequal parts
    return np.array_split(x, indices_or_sections, axis)


@implements(np.hsplit)
def _hsplit(x, indices_or_sections):
    return np.split(x, indices_or_sections, 1 if np.ndim(x) > 1 else 0)


@implements(np.vsplit)
def _vsplit(x, indices_or_sections):
    return np.split(x, indices_or_sections, _at_least(2, x, 0))


@implements(np.dsplit)
def _dsplit(x, indices_or_sections):
    return np.split(x, indices_or_sections, _at_least(3, x, 2))


def _at_least(ndim, x, axis):
    if np.ndim(x) < ndim:
        raise ValueError(f"an array of {ndim} or more dimensions is needed, not of {np.ndim(x)}")
    return axis


@implements("unstack")
def _unstack(x, /, *, axis=0):
    axis = op.axis_of(axis, np.ndim(x))
    return tuple(_along(x, axis, i) for i in range(np.shape(x)[axis]))


@implements(np.append)
def _append(x, values, axis=None):
    return np.concatenate([np.atleast_1d(x), np.atleast_1d(values)], axis)


@implements(np.flip)
def _flip(x, axis=None):
    axes = op.axes_of(axis, np.ndim(x))
    return op.index(x, tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(np.ndim(x))))


@implements(np.flipud)
def _flipud(x):
    return np.flip(x, _at_least(1, x, 0))


@implements(np.fliplr)
def _fliplr(x):
    return np.flip(x, _at_least(2, x, 1))


@implements(np.rot90)
def _rot90(x, k=1, axes=(0, 1)):
    first, second = op.axes_of(axes, np.ndim(x), in_order=False)
    if k % 2 == 0:
        return np.flip(x, (first, second)) if k % 4 else x
    return np.flip(np.swapaxes(x, first, second), first if k % 4 == 1 else second)


@implements(np.roll)
def _roll(x, shift, axis=None):
    if axis is None:
        return np.reshape(_roll(np.reshape(x, -1), shift, 0), np.shape(x))
    if isinstance(axis, tuple | list):
        shifts = np.broadcast_to(shift, (len(axis),))
        for s, a in zip(shifts, axis, strict=True):
            x = _roll(x, int(s), a)
        return x
    return np.take(x, np.roll(np.arange(np.shape(x)[axis]), shift), axis)


@implements(np.repeat)
def _repeat(x, repeats, axis=None):
    x, axis = _line(x, axis)
    return np.take(x, np.repeat(np.arange(np.shape(x)[axis]), repeats), axis)


@implements(np.tile)
def _tile(x, reps):
    numbers = np.arange(_product(np.shape(x))).reshape(np.shape(x))
    return np.reshape(x, -1)[np.tile(numbers, reps)]


def _rearranged(fun, x, *rest):
    """What a NumPy function that only moves elements does to x: it is asked where it takes them from."""
    places = fun(np.arange(_product(np.shape(x))).reshape(np.shape(x)), *rest)
    return op.index(np.reshape(x, -1), places)


@implements(np.resize)
def _resize(x, new_shape):
    return _rearranged(np.resize, x, new_shape) if 0 not in np.shape(x) else np.resize(np.zeros_like(x), new_shape)


@implements(np.delete)
def _delete(x, obj, axis=None):
    if axis is None:
        x, axis = np.reshape(x, -1), 0
    axis = op.axis_of(axis, np.ndim(x))
    return np.take(x, np.delete(np.arange(np.shape(x)[axis]), obj), axis)


@implements(np.insert)
def _insert(x, obj, values, axis=None):
    # The inserted values are numbered after those of x; NumPy's own says who goes where.
    x, values = (np.reshape(x, -1) if axis is None else x), _typed(_array(values), _dtype(x))
    size = _product(np.shape(x))
    inserted = size + np.arange(_product(np.shape(values))).reshape(np.shape(values))
    places = np.insert(np.arange(size).reshape(np.shape(x)), obj, inserted, axis)
    return op.index(op.concatenate((np.reshape(x, -1), np.reshape(values, -1)), 0), places)


@implements(np.compress)
def _compress(condition, x, axis=None, out=None):
    x, axis = _line(x, axis)
    return np.take(x, np.compress(condition, np.arange(np.shape(x)[axis])), axis)


@implements(np.pad)
def _pad(x, pad_width, mode="constant", **settings):
    if mode in ("edge", "wrap", "reflect", "symmetric") and settings.get("reflect_type", "even") == "even":
        return _rearranged(lambda places: np.pad(places, pad_width, mode, **settings), x)
    if mode != "constant":
        raise ModelError(
            f"np.pad(..., {mode!r}) of a recorded value", "padding by a constant or by what is there", "mode='constant'"
        )
    border = np.pad(np.zeros(np.shape(x), _dtype(x)), pad_width, mode, **settings)
    before = np.broadcast_to(pad_width, (np.ndim(x), 2))[:, 0]
    inside = tuple(slice(int(k), int(k) + n) for k, n in zip(before, np.shape(x), strict=True))
    return op.scatter(x, inside, border.shape) + border if border.any() else op.scatter(x, inside, border.shape)


@implements(np.take)
def _take(x, indices, axis=None, out=None, mode="raise"):
    _refuse("take", mode=(mode, "raise"))
    x, axis = _line(_array(x), axis)
    return op.index(x, (slice(None),) * axis + (_array(indices),))


@implements(np.take_along_axis)
def _take_along_axis(x, indices, axis=-1):
    axis = op.axis_of(axis, np.ndim(x))
    grid = [
        np.reshape(np.arange(n), [-1 if j == i else 1 for j in range(np.ndim(x))]) if i != axis else indices
        for i, n in enumerate(np.shape(indices))
    ]
    return op.index(_array(x), tuple(grid))


@implements(np.diag)
def _diag(x, k=0):
    if np.ndim(x) == 2:
        return np.diagonal(x, k)
    n = np.shape(x)[0]
    rows = np.arange(n) + max(-k, 0)
    return op.scatter(x, (rows, rows + k), (n + abs(k), n + abs(k)))


@implements(np.diagflat)
def _diagflat(x, k=0):
    return np.diag(np.reshape(x, -1), k)


@implements(np.diagonal)
def _diagonal(x, offset=0, axis1=0, axis2=1):
    x = np.moveaxis(x, (axis1, axis2), (-2, -1))
    rows = np.arange(np.diagonal(np.broadcast_to(0, np.shape(x)[-2:]), offset).size) + max(-offset, 0)
    return op.index(x, (Ellipsis, rows, rows + offset))


@implements(np.trace)
def _trace(x, offset=0, axis1=0, axis2=1, **_):
    return np.sum(np.diagonal(x, offset, axis1=axis1, axis2=axis2), -1)


@implements(np.tril)
def _tril(x, k=0):
    return op.where(np.tri(*np.shape(x)[-2:], k=k, dtype=bool), x, np.zeros((), _dtype(x)))


@implements(np.triu)
def _triu(x, k=0):
    return op.where(np.tri(*np.shape(x)[-2:], k=k - 1, dtype=bool), np.zeros((), _dtype(x)), x)


@implements(np.where)
def _where(condition, *choices):
    if len(choices) != 2:
        raise ModelError(
            "np.where(condition) of a recorded value", "np.where(condition, a, b)", "np.where(condition, a, 0.0)"
        )
    return op.where(condition, *choices)


@implements(np.select)
def _select(condlist, choicelist, default=0):
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = op.where(condition, choice, result)
    return np.broadcast_to(result, np.broadcast_shapes(*map(np.shape, (*condlist, *choicelist, default))))


@implements(np.clip)
def _clip(x, a_min=None, a_max=None, out=None, *, min=None, max=None, **more):
    _refuse_more("clip", more)
    low, high = (a_min if a_min is not None else min), (a_max if a_max is not None else max)
    x = np.maximum(x, low) if low is not None else x
    return np.minimum(x, high) if high is not None else x


def _truth(x):
    return op.cast(x if _dtype(x).kind == "b" else x != 0, np.dtype(np.int64))


@implements(np.any)
def _any(x, axis=None, out=None, keepdims=False, **more):
    _refuse_more("any", more)
    return _sum(_truth(x), axis, keepdims=keepdims) > 0


@implements(np.all)
def _all(x, axis=None, out=None, keepdims=False, **more):
    _refuse_more("all", more)
    return _sum(1 - _truth(x), axis, keepdims=keepdims) == 0


@implements(np.isclose)
def _isclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    _refuse("isclose", equal_nan=(equal_nan, False))
    b = _floating(_array(b))
    return (a == b) | (np.isfinite(b) & (np.abs(a - b) <= atol + rtol * np.abs(b)))


@implements(np.isin)
def _isin(element, test_elements, assume_unique=False, invert=False, *, kind=None):
    found = _any(_array(element)[..., None] == np.reshape(test_elements, -1), -1)
    return ~found if invert else found


@implements(np.allclose)
def _allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    return _all(_isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def _array_equal(a, b, equal_nan=False):
    _refuse("array_equal", equal_nan=(equal_nan, False))
    return _all(a == b) if np.shape(a) == np.shape(b) else False


@implements(np.count_nonzero)
def _count_nonzero(x, axis=None, *, keepdims=False):
    return _sum(_truth(x), axis, keepdims=keepdims)


@implements(np.searchsorted)
def _searchsorted(a, v, side="left", sorter=None):
    if isinstance(a, Recorded):
        raise ModelError(
            "np.searchsorted in a recorded array", "a sorted array that is known", "np.sum(a[:, None] < v, axis=0)"
        )
    knots = np.asarray(a) if sorter is None else np.asarray(a)[sorter]
    return op.place_among(v, knots, side)


@implements(np.digitize)
def _digitize(x, bins, right=False):
    steps = np.diff(bins)
    if np.ndim(bins) != 1 or not (np.all(steps >= 0) or np.all(steps <= 0)):
        raise ValueError("bins must be monotonically increasing or decreasing")
    if np.any(steps < 0):
        return len(bins) - op.place_among(x, np.asarray(bins)[::-1], "right" if right else "left")
    return op.place_among(x, np.asarray(bins), "left" if right else "right")


@implements(np.bincount)
def _bincount(x, weights=None, minlength=0):
    if isinstance(x, Recorded):
        raise ModelError(
            "np.bincount of recorded numbers: its length is not known",
            "known groups, of recorded weights",
            "np.sum((g[:, None] == np.arange(k)) * weights[:, None], axis=0)",
        )
    counts = np.bincount(x, np.zeros(np.shape(weights)), minlength)
    return op.scatter(op.cast(weights, np.dtype(float)), np.asarray(x), counts.shape) if len(x) else counts


# -- products ---------------------------------------------------------------------------------
@implements(np.matmul)
def _matmul(a, b):
    return _tape_add(np.matmul, a, b)


def _tape_add(fun, *args):
    return tape_of(args).add(fun, tuple(map(_array, args)))


@implements(np.dot)
def _dot(a, b, out=None):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return a @ b if np.ndim(b) <= 2 else np.tensordot(a, b, (-1, -2))


@implements(np.vdot)
def _vdot(a, b):
    return np.reshape(a, -1) @ np.reshape(b, -1)


@implements(np.inner)
def _inner(a, b):
    return a * b if np.ndim(a) == 0 or np.ndim(b) == 0 else np.tensordot(a, b, (-1, -1))


@implements("vecdot", np.linalg.vecdot)
def _vecdot(a, b, *, axis=-1):
    a, b = (np.moveaxis(_array(x), axis, -1) for x in (a, b))
    _same_length(a, b)
    return (a[..., None, :] @ b[..., :, None])[..., 0, 0]


def _same_length(a, b):
    if np.shape(a)[-1] != np.shape(b)[-1]:
        raise ShapeError(
            f"a product of vectors of shapes {np.shape(a)} and {np.shape(b)}", "vectors of one length", "x @ w"
        )


@implements("matvec")
def _matvec(a, b):
    return (_array(a) @ _array(b)[..., :, None])[..., 0]


@implements("vecmat")
def _vecmat(a, b):
    return (_array(a)[..., None, :] @ _array(b))[..., 0, :]


@implements(np.linalg.matmul)
def _linalg_matmul(a, b, /):
    return np.matmul(a, b)


@implements(np.linalg.outer)
def _linalg_outer(a, b, /):
    if np.ndim(a) != 1 or np.ndim(b) != 1:
        raise ValueError("np.linalg.outer takes vectors")
    return np.outer(a, b)


@implements(np.linalg.tensordot)
def _linalg_tensordot(a, b, /, *, axes=2):
    return np.tensordot(a, b, axes)


@implements(np.cross)
def _cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(_array(a), axisa, -1), np.moveaxis(_array(b), axisb, -1)
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise ModelError(
            f"np.cross of shapes {np.shape(a)} and {np.shape(b)}",
            "vectors of three numbers",
            "a[0] * b[1] - a[1] * b[0]",
        )
    after, before = [1, 2, 0], [2, 0, 1]
    return np.moveaxis(a[..., after] * b[..., before] - a[..., before] * b[..., after], -1, axisc)


@implements(np.linalg.cross)
def _linalg_cross(a, b, /, *, axis=-1):
    return np.cross(a, b, axis=axis)


@implements(np.outer)
def _outer(a, b, out=None):
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


@implements(np.kron)
def _kron(a, b):
    ndim = max(np.ndim(a), np.ndim(b))
    left, right = ((1,) * (ndim - np.ndim(x)) + np.shape(x) for x in (a, b))
    a = np.reshape(a, [k for n in left for k in (n, 1)])
    b = np.reshape(b, [k for n in right for k in (1, n)])
    return np.reshape(a * b, tuple(m * n for m, n in zip(left, right, strict=True)))


@implements(np.tensordot)
def _tensordot(a, b, axes=2):
    if isinstance(axes, int):
        axes = (tuple(range(np.ndim(a) - axes, np.ndim(a))), tuple(range(axes)))
    left, right = (x if isinstance(x, tuple | list) else (x,) for x in axes)
    left, right = [x % np.ndim(a) for x in left], [x % np.ndim(b) for x in right]
    keep_a = [i for i in range(np.ndim(a)) if i not in left]
    keep_b = [i for i in range(np.ndim(b)) if i not in right]
    n = _product([np.shape(a)[i] for i in left])
    if [np.shape(a)[i] for i in left] != [np.shape(b)[i] for i in right]:
        raise ShapeError(
            f"a contraction of shapes {np.shape(a)} and {np.shape(b)}", "axes of equal lengths", "axes=, or a transpose"
        )
    sides_a, sides_b = [np.shape(a)[i] for i in keep_a], [np.shape(b)[i] for i in keep_b]
    flat_a = np.reshape(np.transpose(a, (*keep_a, *left)), (_product(sides_a), n))
    flat_b = np.reshape(np.transpose(b, (*right, *keep_b)), (n, _product(sides_b)))
    return np.reshape(flat_a @ flat_b, sides_a + sides_b)


# -- linear algebra -----------------------------------------------------------------------------
@implements(np.linalg.cholesky)
def _cholesky(a, *, upper=False):
    low = op.cholesky(_of_one_triangle(np.swapaxes(a, -1, -2) if upper else a))
    return np.swapaxes(low, -1, -2) if upper else low


def _of_one_triangle(a):
    """The symmetric matrix of a lower triangle: LAPACK reads no more, and the derivative must not."""
    below = np.tril(a, -1)
    return np.tril(a) + np.swapaxes(below, -1, -2)


class Slogdet(NamedTuple):
    """What np.linalg.slogdet returns."""

    sign: Any
    logabsdet: Any


class Eigh(NamedTuple):
    """What np.linalg.eigh returns."""

    eigenvalues: Any
    eigenvectors: Any


@implements(np.linalg.slogdet)
def _slogdet(a):
    return Slogdet(op.sign_det(a), op.log_abs_det(a))


@implements(np.linalg.eigh)
def _eigh(a, UPLO="L"):
    _refuse("linalg.eigh", UPLO=(UPLO, "L"))
    return Eigh(op.eigenvalues(_of_one_triangle(a)), op.eigenvectors(_of_one_triangle(a)))


@implements(np.linalg.eigvalsh)
def _eigvalsh(a, UPLO="L"):
    _refuse("linalg.eigvalsh", UPLO=(UPLO, "L"))
    return op.eigenvalues(_of_one_triangle(a))


@implements(np.linalg.norm)
def _norm(x, ord=None, axis=None, keepdims=False):
    x, axes = _floating(x), op.axes_of(axis, np.ndim(x))
    vector = len(axes) == 1
    if ord is None or (ord == "fro" and len(axes) == 2) or (ord == 2 and vector):
        return np.sqrt(np.sum(x * x, axis, keepdims=keepdims))
    if not vector or isinstance(ord, str) or ord <= 0:
        raise ModelError(
            f"np.linalg.norm(..., {ord!r}) of a recorded value",
            "a vector norm of positive order, or Frobenius'",
            "np.linalg.norm(z)",
        )
    if ord == np.inf:
        return _max(np.abs(x), axis, keepdims=keepdims) if _count(x, axes) else np.sum(x, axis, keepdims=keepdims)
    return np.sum(np.abs(x) ** ord, axis, keepdims=keepdims) ** (1 / ord)


@implements(np.linalg.vector_norm)
def _vector_norm(x, /, *, axis=None, keepdims=False, ord=2):
    axes = op.axes_of(axis, np.ndim(x))
    if len(axes) > 1:
        rest = tuple(i for i in range(np.ndim(x)) if i not in axes)
        flat = np.reshape(np.transpose(x, (*axes, *rest)), (_count(x, axes), *(np.shape(x)[i] for i in rest)))
        return _keep(x, axes, _norm(flat, ord, 0), keepdims)
    return _norm(x, ord, axes[0] if axes else (), keepdims)


@implements(np.linalg.matrix_norm)
def _matrix_norm(x, /, *, keepdims=False, ord="fro"):
    return _norm(x, ord, (-2, -1), keepdims)


@implements(np.linalg.diagonal)
def _linalg_diagonal(x, /, *, offset=0):
    return np.diagonal(x, offset, -2, -1)


@implements(np.linalg.trace)
def _linalg_trace(x, /, *, offset=0, dtype=None):
    return np.trace(x, offset, -2, -1)


@implements(np.linalg.matrix_power)
def _matrix_power(a, n):
    n = operator.index(n)
    if n <= 0:
        a = np.linalg.inv(a) if n else np.broadcast_to(np.eye(_square_of(a), dtype=_dtype(a)), np.shape(a))
        n = -n or 1
    _square_of(a)
    result = None
    while n:
        result = (a if result is None else result @ a) if n % 2 else result
        a, n = (a @ a if n > 1 else a), n // 2
    return result


def _square_of(a):
    if np.ndim(a) < 2 or np.shape(a)[-1] != np.shape(a)[-2]:
        raise np.linalg.LinAlgError(f"square matrices are needed, not an array of shape {np.shape(a)}")
    return np.shape(a)[-1]


@implements(np.linalg.multi_dot)
def _multi_dot(arrays, *, out=None):
    result = arrays[0]
    for a in arrays[1:]:
        result = result @ a
    return result


@implements(np.linalg.inv)
def _inv(a):
    return _tape_add(np.linalg.inv, a)


@implements(np.linalg.det)
def _det(a):
    return _tape_add(np.linalg.det, a)


@implements(np.linalg.solve)
def _solve(a, b):
    if np.ndim(b) == 1:
        return _tape_add(np.linalg.solve, a, np.expand_dims(b, -1))[..., 0]
    return _tape_add(np.linalg.solve, a, b)


@implements(np.einsum)
def _einsum(*operands, optimize=False, **more):
    _refuse_more("einsum", more)
    names, right, arrays = _subscripts(operands)
    sizes: dict[str, int] = {}
    for own, x in zip(names, arrays, strict=True):
        if len(set(zip(own, np.shape(x), strict=True))) != len(set(own)):
            raise ValueError(f"np.einsum: axes of lengths {np.shape(x)} for {own!r}")
        for c, n in zip(own, np.shape(x), strict=True):
            if sizes.setdefault(c, n) != n and 1 not in (sizes[c], n):
                raise ValueError(f"np.einsum: axis {c!r} has lengths {sizes[c]} and {n}")
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    for i, (own, x) in enumerate(zip(names, arrays, strict=True)):  # axes of length one are repeated
        kept = [k for k, (c, n) in enumerate(zip(own, np.shape(x), strict=True)) if n == sizes[c]]
        names[i] = "".join(own[k] for k in kept)
        arrays[i] = x if len(kept) == len(own) else np.reshape(x, tuple(np.shape(x)[k] for k in kept))
    return tape_of(arrays).add(np.einsum, (f"{','.join(names)}->{right}", *arrays))


def _subscripts(operands):
    """The letters of each operand, those of the result, and the operands: of all the spellings that NumPy knows."""
    if isinstance(operands[0], str):
        left, arrow, right = operands[0].replace(" ", "").partition("->")
        names, arrays = left.split(","), list(map(_array, operands[1:]))
    else:
        arrays = [_array(x) for x in operands[: len(operands) // 2 * 2 : 2]]
        names = [_letters(x) for x in operands[1 : len(arrays) * 2 : 2]]
        arrow = "->" if len(operands) % 2 else ""
        right = _letters(operands[-1]) if arrow else ""
    if len(names) != len(arrays):
        raise ValueError(f"np.einsum: {len(names)} subscripts for {len(arrays)} operands")
    free = [c for c in ascii_letters if c not in "".join(names) + right]
    shared = max([np.ndim(x) - len(n.replace("...", "")) for n, x in zip(names, arrays, strict=True)])
    if not arrow:
        seen = "".join(names).replace(".", "")
        right = "..." * ("..." in "".join(names)) + "".join(sorted(c for c in set(seen) if seen.count(c) == 1))
    dots = "".join(free[: max(shared, 0)])
    for i, (n, x) in enumerate(zip(names, arrays, strict=True)):
        names[i] = n.replace("...", dots[len(dots) - np.ndim(x) + len(n.replace("...", "")) :])
        if len(names[i]) != np.ndim(x):
            raise ValueError(f"np.einsum: subscripts {n!r} for an array of shape {np.shape(x)}")
    right = right.replace("...", dots)
    if len(set(right)) < len(right) or not set(right) <= set("".join(names)):
        raise ValueError(f"np.einsum: {right!r} as the letters of the result")
    return names, right, arrays


def _letters(axes):
    return "".join("..." if a is Ellipsis else ascii_letters[a] for a in axes)


@implements(np.sort)
def _sort(x, axis=-1, kind=None, order=None, *, stable=None):
    x, axis = (np.reshape(x, -1), 0) if axis is None else (x, op.axis_of(axis, np.ndim(x)))
    return op.in_order(x, axis)


@implements(np.argsort)
def _argsort(x, axis=-1, kind=None, order=None, *, stable=None):
    line, along = _line(x, axis)
    return op.order_of(line, along)


# -- ufuncs that are another operation in disguise --------------------------------------------------
@implements(np.square)
def _square(x):
    return x * x


@implements(np.positive)
def _positive(x):
    return x


@implements(np.logaddexp)
def _logaddexp(a, b):
    for x, y in ((a, b), (b, a)):
        if not isinstance(x, Recorded) and np.ndim(x) == 0 and x == 0:
            return op.softplus(y)
    return _tape_add(np.logaddexp, a, b)


@implements(np.divmod)
def _divmod(a, b):
    return a // b, a % b


@implements(np.modf)
def _modf(x):
    x = _typed(x, np.modf.resolve_dtypes((_dtype(x), None, None))[1])
    whole = np.trunc(x)
    return op.where(np.isinf(x), np.copysign(0.0, x), x - whole), whole


@implements(np.fix)
def _fix(x, out=None):
    return np.trunc(x)


@implements(np.real, np.conjugate, np.real_if_close)
def _real(x):
    return x


@implements(np.copy)
def _copy(x, order="K", subok=False):
    return x


@implements(np.i0)
def _i0(x):
    return special.i0(x)


@implements(np.imag)
def _imag(x):
    return np.zeros(np.shape(x), _dtype(x))


@implements(np.isreal)
def _isreal(x):
    return np.ones(np.shape(x), bool)


@implements(np.iscomplex)
def _iscomplex(x):
    return np.zeros(np.shape(x), bool)


@implements(np.isposinf)
def _isposinf(x, out=None):
    return x == np.inf


@implements(np.isneginf)
def _isneginf(x, out=None):
    return x == -np.inf


@implements(special.log_expit)
def _log_expit(x):
    return -op.softplus(-_floating(x))


@implements(np.ldexp)
def _ldexp(x, n):
    half = n // 2  # in two steps: 2**n alone may be beyond the largest number
    return x * np.power(2.0, half) * np.power(2.0, n - half)


def _floating(x):
    """Whole numbers and truths as floating numbers."""
    return x if _dtype(x).kind == "f" else _typed(x, float)


@implements(np.sinc)
def _sinc(x):
    return _tape_add(np.sinc, _floating(x))


@implements(np.float_power)
def _float_power(a, b):
    return np.power(_typed(_array(a), tape_of((a, b)).dtype), b)


@implements(np.nan_to_num)
def _nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None):
    if _dtype(x).kind != "f":
        return x
    largest = np.finfo(_dtype(x)).max
    x = op.where(np.isnan(x), nan, x)
    x = op.where(x == np.inf, largest if posinf is None else posinf, x)
    return op.where(x == -np.inf, -largest if neginf is None else neginf, x)


def _astype(x, dtype, *_, **__):
    dtype = np.dtype(dtype)
    return x if dtype == x.dtype else op.cast(x, dtype)


@implements(np.astype)
def _np_astype(x, dtype, *_, **__):
    return _astype(x, dtype)


@implements(np.round, np.around)
def _round(x, decimals=0, out=None):
    if _dtype(x).kind == "b" and decimals:
        raise TypeError("truths have no decimals")
    if _dtype(x).kind in "iu":
        return x if decimals >= 0 else op.cast(np.rint(x * 10.0**decimals) / 10.0**decimals, _dtype(x))
    return np.rint(x) if decimals == 0 else np.rint(x * 10.0**decimals) / 10.0**decimals


def _argmax(x, axis=None, out=None, *, keepdims=False):
    axes = op.axes_of(axis, np.ndim(x))
    return _keep(x, axes, op.position_of_largest(*_line(x, axis)), keepdims)


FUNCTIONS[np.argmax] = _argmax


@implements(np.argmin)
def _argmin(x, axis=None, out=None, *, keepdims=False):
    return _argmax(_opposite(x)(x), axis, keepdims=keepdims)
