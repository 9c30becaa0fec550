"""Missing numbers, order statistics, curves and covariances: more entries like those of `functions.py`."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from . import operations as op
from .functions import (
    _array,
    _count,
    _cumprod,
    _cumsum,
    _floating,
    _max,
    _mean,
    _opposite,
    _prod,
    _refuse,
    _refuse_more,
    _sum,
    _typed,
    implements,
)
from .recording import Recorded, _dtype


# -- what numbers that are missing leave --------------------------------------------------------------
def _without_missing(fun, run, neutral):
    """A reduction with `neutral` in the place of every NaN."""

    @implements(fun)
    def reduction(x, axis=None, *rest, **more):
        return run(op.where(np.isnan(x), neutral, x) if _dtype(x).kind == "f" else x, axis, *rest, **more)


for _fun, _run, _neutral in (
    (np.nansum, _sum, 0.0),
    (np.nanprod, _prod, 1.0),
    (np.nancumsum, _cumsum, 0.0),
    (np.nancumprod, _cumprod, 1.0),
):
    _without_missing(_fun, _run, _neutral)


def _present(x, axis, keepdims):
    return _sum(~np.isnan(x), axis, keepdims=keepdims)


@implements(np.nanmean)
def _nanmean(x, axis=None, dtype=None, out=None, keepdims=False, **more):
    _refuse_more("nanmean", more)
    return _typed(np.nansum(x, axis, keepdims=keepdims) / _present(x, axis, keepdims), _dtype(_floating(x)))


@implements(np.nanvar)
def _nanvar(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **more):
    _refuse_more("nanvar", more)
    centred = op.where(np.isnan(x), 0.0, x - _nanmean(x, axis, keepdims=True))
    left = _present(x, axis, keepdims) - ddof
    result = _sum(centred * centred, axis, keepdims=keepdims) / op.where(left > 0, left, np.nan)
    return _typed(result, _dtype(_floating(x)))


@implements(np.nanstd)
def _nanstd(x, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **more):
    return np.sqrt(_nanvar(x, axis, ddof=ddof, keepdims=keepdims, **more))


@implements(np.nanmax)
def _nanmax(x, axis=None, out=None, keepdims=False, **more):
    if _dtype(x).kind != "f":
        return _max(x, axis, keepdims=keepdims, **more)
    top = _max(op.where(np.isnan(x), -np.inf, x), axis, keepdims=keepdims, **more)
    return op.where(_present(x, axis, keepdims) > 0, top, np.nan)


@implements(np.nanmin)
def _nanmin(x, axis=None, out=None, keepdims=False, **more):
    minus = _opposite(x)
    return minus(_nanmax(minus(x), axis, keepdims=keepdims, **more))


# -- order statistics and curves ------------------------------------------------------------------------
def _sorted_flat(x, axis):
    """The elements along all of the axes in order, along one axis in front."""
    axes = op.axes_of(axis, np.ndim(x))
    rest = tuple(i for i in range(np.ndim(x)) if i not in axes)
    moved = op.transpose(x, (*axes, *rest))
    return op.in_order(op.reshape(moved, (_count(x, axes), *(np.shape(x)[i] for i in rest))), 0), axes


@implements(np.quantile)
def _quantile(x, q, axis=None, out=None, overwrite_input=False, method="linear", keepdims=False, **more):
    _refuse("quantile", method=(method, "linear"), **{k: (v, None) for k, v in more.items()})
    if isinstance(q, Recorded):
        raise ModelError("np.quantile at a recorded probability", "a known probability", "np.quantile(z, 0.5)")
    q = np.asarray(q, _dtype(x) if type(q) in (int, float) and _dtype(x).kind == "f" else float)
    if np.any((q < 0) | (q > 1) | np.isnan(q)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    ordered, axes = _sorted_flat(x, axis)
    n = len(ordered)
    if not n:
        raise IndexError("no elements, which have no quantiles")
    low = np.clip(np.floor(q * (n - 1)).astype(int), 0, max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    part = np.reshape((q * (n - 1) - low).astype(q.dtype), np.shape(q) + (1,) * (np.ndim(ordered) - 1))
    result = _between(ordered[low], ordered[high], part)
    if _dtype(x).kind == "f":  # a NaN stands last, and makes all of its row one
        result = op.where(np.isnan(ordered[-1]), np.nan, result)
    if not keepdims:
        return result
    return op.reshape(result, np.shape(q) + tuple(1 if i in axes else m for i, m in enumerate(np.shape(x))))


def _between(a, b, part):
    return a + (b - a) * part


@implements(np.percentile)
def _percentile(x, q, *rest, **more):
    known = q if isinstance(q, Recorded) else q / 100 if type(q) in (int, float) else np.true_divide(q, 100)
    return np.quantile(x, known, *rest, **more)


@implements(np.median)
def _median(x, axis=None, out=None, overwrite_input=False, keepdims=False):
    axes = op.axes_of(axis, np.ndim(x))
    x = _floating(x)
    if not _count(x, axes):
        return _mean(x, axis, keepdims=keepdims)
    return np.quantile(x, 0.5, axis=axis, keepdims=keepdims)


@implements(np.interp)
def _interp(x, xp, fp, left=None, right=None, period=None):
    _refuse("interp", period=(period, None))
    if isinstance(xp, Recorded):
        raise ModelError("np.interp between recorded knots", "knots that are known", "recorded heights at known knots")
    xp = np.asarray(xp, float)
    if xp.ndim != 1 or np.shape(fp) != xp.shape or not xp.size:
        raise ValueError("fp and xp are not of the same length, one or more")
    fp, last = _array(fp), len(xp) - 1
    i = np.clip(op.place_among(x, xp, "right") - 1, 0, max(last - 1, 0))
    gaps = np.diff(xp, append=xp[-1] + 1.0)
    j = np.minimum(i + 1, last)
    low, high = op.index(fp, i), op.index(fp, j)
    y = low + (high - low) * ((x - op.index(xp, i)) / op.index(np.where(gaps > 0, gaps, 1.0), i))
    y = op.where(x < xp[0], fp[0] if left is None else left, y)
    return op.where(x >= xp[-1], op.where(x > xp[-1], fp[last] if right is None else right, fp[last]), y)


@implements(np.ediff1d)
def _ediff1d(x, to_end=None, to_begin=None):
    x = np.reshape(x, -1)
    parts = [p if p is None else _typed(np.reshape(p, -1), _dtype(x)) for p in (to_begin, x[1:] - x[:-1], to_end)]
    return np.concatenate([p for p in parts if p is not None])


@implements("trapezoid")
def _trapezoid(y, x=None, dx=1.0, axis=-1):
    rows = np.moveaxis(_array(y), axis, -1)
    if x is None:
        return np.sum(dx * (rows[..., 1:] + rows[..., :-1]) / 2.0, -1)
    x = _array(x)
    x = np.moveaxis(x, axis, -1) if np.ndim(x) > 1 else x
    return np.sum((x[..., 1:] - x[..., :-1]) * (rows[..., 1:] + rows[..., :-1]) / 2.0, -1)


@implements(np.gradient)
def _gradient(f, *spacing, axis=None, edge_order=1):
    axes = op.axes_of(axis, np.ndim(f), in_order=False)
    if len(spacing) not in (0, 1, len(axes)) or edge_order not in (1, 2):
        raise TypeError("a spacing for every axis, and edge_order 1 or 2")
    spacing = spacing * len(axes) if len(spacing) == 1 else spacing or (1.0,) * len(axes)
    found = tuple(_slope_along(f, a, h, edge_order) for a, h in zip(axes, spacing, strict=True))
    return found[0] if len(found) == 1 else found


def _slope_along(f, axis, spacing, edge_order):
    n = np.shape(f)[axis]
    if n < edge_order + 1 or (np.ndim(spacing) and np.shape(spacing) != (n,)):
        raise ValueError("too few points, or coordinates of another length than the axis")
    if _dtype(f).kind == "b" and (edge_order == 1 or not np.ndim(spacing)):
        raise TypeError("truths have no differences")
    rows = np.moveaxis(_floating(f), axis, 0)
    steps = spacing[1:] - spacing[:-1] if np.ndim(spacing) else np.full(n - 1, spacing, _dtype(rows))
    h = np.reshape(steps, (-1, *(1,) * (np.ndim(f) - 1)))
    slopes = (rows[1:] - rows[:-1]) / h
    a, b = h[:-1], h[1:]
    inside = (b * slopes[:-1] + a * slopes[1:]) / (a + b)
    first, last = slopes[:1], slopes[-1:]
    if edge_order == 2:  # the line through the two nearest slopes, which hold half-way
        first = first + (slopes[:1] - slopes[1:2]) * h[:1] / (h[:1] + h[1:2])
        last = last + (slopes[-1:] - slopes[-2:-1]) * h[-1:] / (h[-1:] + h[-2:-1])
    return _typed(np.moveaxis(np.concatenate([first, inside, last]), 0, axis), _dtype(rows))


@implements(np.convolve)
def _convolve(a, v, mode="full"):
    a, v = (np.atleast_1d(_array(x)) for x in (a, v))
    if np.ndim(a) > 1 or np.ndim(v) > 1 or not len(a) or not len(v):
        raise ValueError("vectors that are not empty are convolved")
    if len(v) > len(a):
        a, v = v, a
    n, k = len(a), len(v)
    lags = np.arange(n + k - 1)[:, None] - np.arange(k)
    rows = op.scatter(a, (slice(k - 1, k - 1 + n),), (n + 2 * (k - 1),))[lags + k - 1]
    start, length = {"full": (0, n + k - 1), "same": ((k - 1) // 2, n), "valid": (k - 1, n - k + 1)}[mode]
    return rows[start : start + length] @ v


@implements(np.correlate)
def _correlate(a, v, mode="valid"):
    a, v = (np.atleast_1d(_array(x)) for x in (a, v))
    if np.shape(v)[0] > np.shape(a)[0]:
        return np.flip(np.correlate(v, a, mode))
    return np.convolve(a, np.flip(v), mode)


@implements(np.polyval)
def _polyval(p, x):
    x = _array(x)
    y = np.zeros_like(x)
    for c in _array(p):
        y = y * x + c
    return y


@implements(np.vander)
def _vander(x, N=None, increasing=False):
    if np.ndim(x) != 1:
        raise ValueError("x must be a one-dimensional array")
    x = _typed(x, np.promote_types(_dtype(x), int))
    columns = [np.ones_like(x)]
    for _power in range(1, np.shape(x)[0] if N is None else N):
        columns.append(columns[-1] * x)
    if N == 0 or (N is None and not np.shape(x)[0]):
        return np.zeros((*np.shape(x), 0), _dtype(columns[0]))
    return np.stack(columns if increasing else columns[::-1], -1)


@implements(np.cov)
def _cov(m, y=None, rowvar=True, bias=False, ddof=None, fweights=None, aweights=None, *, dtype=None):
    _refuse("cov", fweights=(fweights, None), aweights=(aweights, None))
    rows = [np.atleast_2d(_typed(_array(z), float)) for z in (m, y) if z is not None]
    x = np.concatenate([r if rowvar or np.ndim(z) < 2 else r.T for r, z in zip(rows, (m, y), strict=False)], 0)
    centred = x - np.mean(x, axis=1, keepdims=True)
    ddof = (0 if bias else 1) if ddof is None else ddof
    return np.squeeze((centred @ centred.T) / (np.shape(x)[1] - ddof))


@implements(np.corrcoef)
def _corrcoef(x, y=None, rowvar=True, **more):
    _refuse_more("corrcoef", more)
    c = np.cov(x, y, rowvar)
    if np.ndim(c) == 0:
        return c / c
    scale = np.sqrt(np.diagonal(c))
    return np.clip(c / scale[:, None] / scale, -1, 1)
