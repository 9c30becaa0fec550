"""The few array operations that every other one is written in.

NumPy's elementwise functions stand for themselves; what moves, sums or joins axes is one of
the operations here, with axes made explicit, so that a derivative and a batching rule are
needed once and not for every spelling. Each runs on ndarrays and is recorded on recorded
ones; `SHAPES` gives its shape without running it.
"""

from __future__ import annotations

import math
import operator
from contextlib import suppress
from functools import partial

import numpy as np

from ..errors import ModelError, ShapeError
from . import recording
from .recording import SHAPES, Recorded, operation


def _shape_like(rule):
    """Register the shape rule of an operation; the dtype is its first argument's."""

    def register(call):
        SHAPES[call.run] = lambda x, *rest: (rule(np.shape(x), *rest), recording._dtype(x))
        return call

    return register


@operation
def total(x, axes):
    """Sum over the axes (a tuple of non-negative integers), which go."""
    return np.add.reduce(x, axes)


def _summed(x):
    """The type in which NumPy sums: that of x, but long whole numbers for short ones."""
    dtype = recording._dtype(x)
    return dtype if dtype.kind == "f" else np.dtype(np.uint64 if dtype.kind == "u" else np.int64)


SHAPES[total.run] = lambda x, axes: (tuple(n for i, n in enumerate(np.shape(x)) if i not in axes), _summed(x))


@_shape_like(lambda shape, axes: tuple(n for i, n in enumerate(shape) if i not in axes))
@operation
def largest(x, axes):
    """Maximum over the axes, which go."""
    return np.maximum.reduce(x, axes)


@_shape_like(lambda shape, axes: tuple(n for i, n in enumerate(shape) if i not in axes))
@operation
def log_total_exp(x, axes):
    """log(sum(exp(x))) over the axes, which go; exact where all terms are -inf."""
    top = np.maximum.reduce(x, axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.add.reduce(np.exp(x - top), axes)) + top.reshape(
            [n for i, n in enumerate(np.shape(x)) if i not in axes]
        )


@_shape_like(lambda shape, new: tuple(new))
@operation
def reshape(x, shape):
    """The same elements in another (fully given) shape."""
    return np.reshape(x, shape)


@_shape_like(lambda shape, new: tuple(new))
@operation
def broadcast(x, shape):
    """Repeat along new leading axes and axes of length one."""
    return np.broadcast_to(x, shape)


def _reordered(shape, axes):
    if len(axes) != len(shape):
        raise ShapeError(f"a transpose of shape {shape} with axes {axes}", "every axis once", "np.swapaxes(x, -1, -2)")
    return tuple(shape[a] for a in axes)


@_shape_like(_reordered)
@operation
def transpose(x, axes):
    """Axes in another order."""
    return np.transpose(x, axes)


@operation
def running_sum(x, axis):
    """Cumulative sum along an axis."""
    return np.cumsum(x, axis)


SHAPES[running_sum.run] = lambda x, axis: (np.shape(x), _summed(x))


def _matmul_signature(a, b):
    sa, sb = np.shape(a), np.shape(b)
    if not sa or not sb or sa[-1] != sb[max(len(sb) - 2, 0)]:
        hint = "matrices whose inner lengths agree: as many weights as columns"
        raise ShapeError(f"a matrix product of shapes {sa} and {sb}", "(..., n, k) @ (..., k, m)", hint)
    lead = np.broadcast_shapes(sa[:-2], sb[:-2])
    return (*lead, *sa[-2:-1], *(sb[-1:] if len(sb) > 1 else ())), np.result_type(*map(recording._dtype, (a, b)))


SHAPES[np.matmul] = _matmul_signature


def _joined(parts, axis):
    shapes = [np.shape(p) for p in parts]
    shape = list(shapes[0])
    if any(len(s) != len(shape) or any(n != m and i != axis for i, (n, m) in enumerate(zip(s, shape))) for s in shapes):
        shown = " and ".join(map(str, shapes))
        raise ShapeError(
            f"arrays of shapes {shown} joined along axis {axis}",
            "shapes that are equal but for that axis",
            "np.reshape or np.broadcast_to before",
        )
    shape[axis] = sum(s[axis] for s in shapes)
    return tuple(shape), np.result_type(*map(recording._dtype, parts))


@operation
def concatenate(parts, axis):
    """Arrays joined along an existing axis."""
    return np.concatenate(parts, axis)


SHAPES[concatenate.run] = _joined


@operation
def where(condition, a, b):
    """Elementwise choice."""
    return np.where(condition, a, b)


SHAPES[where.run] = lambda c, a, b: (
    np.broadcast_shapes(*map(np.shape, (c, a, b))),
    recording.elementwise_signature(np.add, a, b)[1],
)


@operation
def agreeing(x, a, b):
    """a where x > 0, b elsewhere, of two formulas for one and the same value.

    Unlike `where` with a comparison it makes no jump as x moves: the two agree, and each is exact
    on its own side.
    """
    return np.where(x > 0, a, b)


SHAPES[agreeing.run] = SHAPES[where.run]


@operation
def cast(x, dtype):
    """The same numbers in another type."""
    return np.asarray(x).astype(dtype)[()]


SHAPES[cast.run] = lambda x, dtype: (np.shape(x), np.dtype(dtype))


def _indexed(x, key):
    # A recorded index array stands for any integers: its shape is all that matters.
    plain = _map_key(key, _some_position)
    return np.broadcast_to(np.False_, np.shape(x))[plain].shape, recording._dtype(x)


def _some_position(k):
    if not isinstance(k, Recorded):
        return k
    if k.dtype.kind not in "iu":
        kind = "a recorded mask as an index" if k.dtype.kind == "b" else f"an index of type {k.dtype}"
        raise ModelError(kind, "whole numbers", "np.where(mask, x, 0) for x[mask], z.astype(int) for x[z]")
    return np.zeros(k.shape, np.intp)


def _map_key(key, f):
    return tuple(f(k) for k in key) if isinstance(key, tuple) else f(key)


@operation
def index(x, key):
    """x[key]: integers, slices, None, Ellipsis, integer and boolean arrays, also recorded."""
    return x[key]


SHAPES[index.run] = _indexed


@operation
def scatter(g, key, shape):
    """Zeros of a shape with g added at key: the transpose of `index`."""
    if _is_basic(key):
        out = np.zeros(shape, np.result_type(g))
        out[key] = g
        return out
    if len(shape) == 1 and isinstance(key, np.ndarray) and key.dtype != bool and key.ndim == 1:
        key = np.where(key < 0, key + shape[0], key)
        return np.bincount(key, g, shape[0]).astype(np.result_type(g), copy=False)
    if np.result_type(g).kind == "f" and (add := adding_rows(key, shape)) is not None:
        return add(g)
    out = np.zeros(shape, np.result_type(g))
    np.add.at(out, key, g)
    return out


MANY_ADDED = 1 << 13  # numbers to add up from which on importing scipy.sparse pays


def adding_rows(key, shape):
    """A function that adds up rows where arrays of whole numbers on the first axes say; None for any other key.

    It is a sparse product, in a tenth of the time of np.add.at.
    """
    keys = key if isinstance(key, tuple) else (key,)
    known = all(isinstance(k, np.ndarray) and k.dtype.kind in "iu" for k in keys)
    if not known or len(keys) >= len(shape) or 0 in shape:
        return None
    lead, rest = shape[: len(keys)], shape[len(keys) :]
    if math.prod(np.broadcast_shapes(*map(np.shape, keys))) * math.prod(rest) < MANY_ADDED:
        return None
    from scipy import sparse

    rows = np.ravel_multi_index([np.where(k < 0, k + n, k) for k, n in zip(keys, lead, strict=True)], lead)
    flat, count, width = np.ravel(rows), math.prod(lead), math.prod(rest)
    where = (np.ones(flat.size, np.float32), flat, np.arange(flat.size + 1))
    picks = sparse.csr_matrix(where, (flat.size, count)).T

    def add(g):
        g = np.broadcast_to(g, (*rows.shape, *rest)).reshape(flat.size, width)
        return (picks @ g).reshape(shape)

    return add


SHAPES[scatter.run] = lambda g, key, shape: (tuple(shape), recording._dtype(g))


def _is_basic(key):
    return all(
        k is None or k is Ellipsis or isinstance(k, int | np.integer | slice)
        for k in (key if isinstance(key, tuple) else (key,))
    )


def _windowed(x, sizes, strides, dilations):
    n = len(sizes)
    lead, space, features = _split_shape(x, n)
    spans = [d * (k - 1) + 1 for k, d in zip(sizes, dilations, strict=True)]
    if any(span > m for span, m in zip(spans, space, strict=True)):
        raise ShapeError(
            f"windows of length {spans} in an array of lengths {list(space)}", "windows that fit", "np.pad"
        )
    places = [(m - span) // s + 1 for m, span, s in zip(space, spans, strides, strict=True)]
    return (*lead, *places, *sizes, *features), recording._dtype(x)


def _split_shape(x, n):
    """The shape in three: what stands in front, n axes of space, and the features."""
    shape = np.shape(x)
    if len(shape) < n + 1:
        raise ShapeError(f"an array of shape {shape}", f"{n} axes of space and one of features", "x[..., None]")
    return shape[: -n - 1], shape[-n - 1 : -1], shape[-1:]


@operation
def windows(x, sizes, strides, dilations):
    """Windows onto (..., *space, features), as a view: (..., *places, *sizes, features).

    The window at place p holds `x[..., p * stride + k * dilation, :]` for k below its size, along every
    axis of space; what stands in front is untouched.
    """
    (*shape,), _ = _windowed(x, sizes, strides, dilations)
    n, x = len(sizes), np.asarray(x)
    own = x.strides
    steps = [s * t for s, t in zip(own[-n - 1 : -1], strides, strict=True)]
    gaps = [s * t for s, t in zip(own[-n - 1 : -1], dilations, strict=True)]
    return np.lib.stride_tricks.as_strided(x, shape, (*own[: -n - 1], *steps, *gaps, own[-1]), writeable=False)


SHAPES[windows.run] = _windowed


CACHED = 1 << 20  # bytes


@operation
def overlaid(x, space, strides, dilations):
    """Windows (..., *places, *sizes, features) added up where they stand in zeros (..., *space, features).

    The transpose of `windows`.
    """
    n, shape = len(space), np.shape(x)
    lead, places, sizes = shape[: -2 * n - 1], shape[-2 * n - 1 : -n - 1], shape[-n - 1 : -1]
    x = np.reshape(x, (math.prod(lead), *shape[len(lead) :]))
    out = np.zeros((len(x), *space, shape[-1]), x.dtype)
    pairs = []
    for offset in np.ndindex(*sizes):
        starts = [k * d for k, d in zip(offset, dilations, strict=True)]
        at = [slice(a, a + s * (m - 1) + 1, s) for a, s, m in zip(starts, strides, places, strict=True)]
        pairs.append(((Ellipsis, *at, slice(None)), (Ellipsis, *offset, slice(None))))
    few = max(CACHED // max(x[:1].nbytes, 1), 1)  # what stays in the cache from one offset to the next
    for begin in range(0, len(x), few):
        own, given = out[begin : begin + few], x[begin : begin + few]
        for to, of in pairs:
            own[to] += given[of]
    return out.reshape(*lead, *space, shape[-1])


SHAPES[overlaid.run] = lambda x, space, strides, dilations: (
    (*np.shape(x)[: -2 * len(space) - 1], *space, np.shape(x)[-1]),
    recording._dtype(x),
)


@operation
def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


SHAPES[softplus.run] = lambda x: recording.elementwise_signature(np.exp, x)


@_shape_like(lambda shape: shape)
@operation
def stop_gradient(x):
    """The value as a constant: nothing is differentiated through it."""
    return x


@_shape_like(lambda shape, name: shape)
@operation
def draw_of(x, name):
    """The value x, marked as the draw called `name`: what is downstream of it can be found."""
    return x


@operation
def sampled(seed, sampler, *parameters):
    """A draw by rejection or another method that is no array program, from a counter-based seed.

    `sampler(generator, parameters)` makes it; `sampler.shape` and `sampler.dtype` say what it
    looks like. It is constant for derivatives.
    """
    return sampler(np.random.Generator(np.random.Philox(int(seed))), parameters)


SHAPES[sampled.run] = lambda seed, sampler, *parameters: (sampler.shape, sampler.dtype)


@operation
def sampled_rows(seeds, sampler, flags, *parameters):
    """`sampled` for every seed; parameters flagged have a row for each."""
    rows = ([p[i] if flag else p for p, flag in zip(parameters, flags, strict=True)] for i in range(len(seeds)))
    return np.stack([sampled.run(seed, sampler, *row) for seed, row in zip(seeds, rows, strict=True)])


SHAPES[sampled_rows.run] = lambda seeds, sampler, flags, *parameters: (
    (*np.shape(seeds), *sampler.shape),
    sampler.dtype,
)
TRANSPARENT = frozenset((stop_gradient.run, draw_of.run))  # what only marks a value, and costs nothing at run time


def _square(shape):
    """The shape of a stack of square matrices."""
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ShapeError(f"linear algebra of shape {shape}", "square matrices, (..., n, n)", "x.T @ x for data x")
    return shape


def _one_by_one(call, x, *others):
    """A call of linear algebra on a stack of matrices; where it refuses one of them, that one alone is NaN."""
    try:
        return call(x, *others)
    except np.linalg.LinAlgError:
        lead = np.broadcast_shapes(*(np.shape(a)[:-2] for a in (x, *others)))
        stacks = [np.broadcast_to(a, lead + np.shape(a)[-2:]) for a in (x, *others)]
        out = np.full(np.shape(stacks[-1]), np.nan, dtype=np.result_type(*stacks))
        for i in np.ndindex(lead):
            with suppress(np.linalg.LinAlgError):
                out[i] = call(*(a[i] for a in stacks))
        return out


@_shape_like(_square)
@operation
def cholesky(x):
    """Lower Cholesky factor of the last two axes; NaN for a matrix without one, as for a log of a negative number."""
    return _one_by_one(np.linalg.cholesky, x)


@_shape_like(lambda shape: _square(shape)[:-2])
@operation
def log_abs_det(x):
    """Logarithm of the absolute determinant of the last two axes."""
    return np.linalg.slogdet(x)[1]


@_shape_like(lambda shape: _square(shape)[:-2])
@operation
def sign_det(x):
    """Sign of the determinant of the last two axes."""
    return np.linalg.slogdet(x)[0]


@_shape_like(lambda shape: _square(shape)[:-1])
@operation
def eigenvalues(x):
    """Eigenvalues of the last two axes, a symmetric matrix, in ascending order."""
    return np.linalg.eigvalsh(x)


@_shape_like(_square)
@operation
def eigenvectors(x):
    """Eigenvectors of the last two axes, a symmetric matrix, as columns in the order of the eigenvalues."""
    return np.linalg.eigh(x)[1]


@operation
def position_of_largest(x, axis):
    """Index of the maximum along an axis."""
    return np.argmax(x, axis)


@_shape_like(lambda shape, axis: shape)
@operation
def in_order(x, axis):
    """The elements along an axis from the smallest to the largest."""
    return np.sort(x, axis)


def _whole_numbers(call):
    """Register the shape rule of an operation whose results are positions along an axis."""
    SHAPES[call.run] = lambda x, axis: (np.shape(x), np.dtype(np.intp))
    return call


@_whole_numbers
@operation
def order_of(x, axis):
    """Positions of the elements along an axis, from that of the smallest to that of the largest."""
    return np.argsort(x, axis, kind="stable")


@_whole_numbers
@operation
def rank_of(x, axis):
    """For each element its place in the order along an axis."""
    return np.argsort(np.argsort(x, axis, kind="stable"), axis, kind="stable")


@operation
def place_among(x, knots, side):
    """How many of the sorted knots lie before each element."""
    return np.searchsorted(knots, x, side)


SHAPES[place_among.run] = lambda x, knots, side: (np.shape(x), np.dtype(np.intp))


@operation
def triangular_solve(lower, b):
    """L^-1 b for lower triangular L (..., n, n) and b (..., n, k)."""
    from scipy.linalg import solve_triangular

    if np.ndim(lower) == 2 and np.ndim(b) == 2:
        return _one_by_one(partial(solve_triangular, lower=True, check_finite=False), lower, b)
    return _one_by_one(np.linalg.solve, lower, b)


@operation
def triangular_solve_transposed(lower, b):
    """L^-T b for lower triangular L (..., n, n) and b (..., n, k)."""
    from scipy.linalg import solve_triangular

    if np.ndim(lower) == 2 and np.ndim(b) == 2:
        return _one_by_one(partial(solve_triangular, lower=True, trans="T", check_finite=False), lower, b)
    return _one_by_one(np.linalg.solve, np.swapaxes(lower, -1, -2), b)


def _solve_signature(a, b):
    lead = np.broadcast_shapes(_square(np.shape(a))[:-2], np.shape(b)[:-2])
    return (*lead, *np.shape(b)[-2:]), np.result_type(*map(recording._dtype, (a, b)))


SHAPES[position_of_largest.run] = lambda x, axis: (
    tuple(n for i, n in enumerate(np.shape(x)) if i != axis),
    np.dtype(np.intp),
)
SHAPES[triangular_solve.run] = SHAPES[triangular_solve_transposed.run] = SHAPES[np.linalg.solve] = _solve_signature
SHAPES[np.sinc] = lambda x: (np.shape(x), recording._dtype(x))
SHAPES[np.linalg.inv] = lambda a: (_square(np.shape(a)), recording._dtype(a))
SHAPES[np.linalg.det] = lambda a: (_square(np.shape(a))[:-2], recording._dtype(a))


def logsumexp(x, axis=-1):
    """log(sum(exp(x))) along an axis or axes, without overflow.

    >>> float(logsumexp(np.array([1000.0, 1000.0])))
    1000.6931471805599
    """
    return log_total_exp(x, axes_of(axis, np.ndim(x)))


def axis_of(axis, ndim) -> int:
    """NumPy's axis argument as a non-negative integer; NumPy's own error where there is no such axis."""
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


def axes_of(axis, ndim, in_order=True) -> tuple[int, ...]:
    """NumPy's axis argument as a tuple of non-negative integers, sorted unless their order matters."""
    if axis is None or (ndim == 0 and axis in (0, -1)):
        return tuple(range(ndim))
    axes = tuple([axis_of(a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,))])
    if len(set(axes)) < len(axes):
        raise ValueError("duplicate value in 'axis'")
    return tuple(sorted(axes)) if in_order else axes


recording.FUNCTIONS[operator.getitem] = index
recording.MIXING.update((where.run, agreeing.run, concatenate.run, np.matmul))
