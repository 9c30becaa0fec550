"""Batching: the same program with a leading axis on chosen inputs.

Particles, restarts and draws run as one vectorised program, whatever the model's own shapes
are. Each operation has a rule that says where the extra axis goes; one without a rule is
unrolled, row by row, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import operations as op
from .program import Program, run
from .recording import Recorded, Tape, call_recording, program_of
from .rows import rows_of


class Batched:
    """A value with a leading batch axis; `ndim` and `shape` are those of one row."""

    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x

    shape = property(lambda self: np.shape(self.x)[1:])
    ndim = property(lambda self: np.ndim(self.x) - 1)


RULES: dict[Callable, Callable] = {}  # operation -> rule(size, *args) -> array with the leading axis


def rule(*functions):
    """Register where the batch axis goes for these operations."""

    def register(f):
        for fun in functions:
            RULES[getattr(fun, "run", fun)] = f
        return f

    return register


def batch(program: Program, flags: Sequence[bool], size: int) -> Program:
    """The program of a batch: inputs flagged get a leading axis of `size`; every output has one."""
    tape = Tape(dtype=program.dtype)
    inputs = []
    for x, flag in zip(program.inputs, flags, strict=True):
        shape = (size, *x.shape) if flag else x.shape
        node = tape.input(np.broadcast_to(np.zeros((), x.dtype), shape), x.name)
        inputs.append(Batched(node) if flag else node)
    outputs = run_batched(program, inputs, size)
    return program_of(tape, [lead(o, size) for o in outputs])


def run_batched(program: Program, inputs: Sequence[Any], size: int) -> tuple:
    """Replay a program on values of which some are `Batched`, onto their tape."""
    return run(program, *inputs, call=lambda fun, args, kwargs: call_batched(size, fun, args, kwargs))


def lead(x: Any, size: int) -> Any:
    """An output with the batch axis, repeated where it does not depend on the batch."""
    return x.x if isinstance(x, Batched) else np.broadcast_to(x, (size, *np.shape(x)))


def _mentions_batch(x) -> bool:
    t = type(x)
    if t is Batched:
        return True
    if t is tuple or t is list:
        return any(map(_mentions_batch, x))
    return t is slice and _mentions_batch((x.start, x.stop, x.step))


def call_batched(size: int, fun: Callable, args: tuple, kwargs: dict) -> Any:
    """One operation on values of which some are `Batched`."""
    if not _mentions_batch(args) and not _mentions_batch(tuple(kwargs.values())):
        return call_recording(fun, args, kwargs)
    known = RULES.get(fun)
    if known is None and isinstance(fun, np.ufunc) and fun.signature is None:
        known = _elementwise_rule(fun)
    if known is not None and not kwargs:
        result = known(size, *args)
        if result is not None:
            return Batched(result)
    return Batched(np.stack([call_recording(fun, _row(args, i), _row(kwargs, i)) for i in range(size)]))


def _row(x, i):
    t = type(x)
    if t is Batched:
        return x.x[i]
    if t is tuple or t is list:
        return t([_row(y, i) for y in x])
    if t is dict:
        return {k: _row(v, i) for k, v in x.items()}
    return x


def unrolled(program: Program) -> tuple[str, ...]:
    """Names of the operations of a program that have no rule."""
    return tuple(
        sorted(
            {
                s.fun.__name__
                for s in program.steps
                if s.fun not in RULES and not (isinstance(s.fun, np.ufunc) and s.fun.signature is None)
            }
        )
    )


def _align(ndim, x):
    """A batched value with its rows lifted to `ndim` axes, so that it broadcasts with other rows."""
    if not isinstance(x, Batched):
        return x
    if x.ndim == ndim:
        return x.x
    return np.reshape(x.x, (np.shape(x.x)[0], *(1,) * (ndim - x.ndim), *x.shape))


def _elementwise(fun, args):
    ndim = max(x.ndim if isinstance(x, Batched) else np.ndim(x) for x in args)
    return fun(*(_align(ndim, x) for x in args))


def _elementwise_rule(fun):
    return lambda size, *args: _elementwise(fun, args)


RULES[op.softplus.run] = _elementwise_rule(op.softplus)
RULES[op.stop_gradient.run] = _elementwise_rule(op.stop_gradient)
RULES[op.where.run] = _elementwise_rule(op.where)
RULES[op.agreeing.run] = _elementwise_rule(op.agreeing)
RULES[np.sinc] = _elementwise_rule(np.sinc)
RULES[op.place_among.run] = lambda size, x, knots, side: op.place_among(x.x, knots, side)


@rule(op.draw_of)
def _draw_of(size, x, name):
    return op.draw_of(x.x, name)


@rule(op.sampled)
def _sampled(size, seed, sampler, *parameters):
    flags = tuple(isinstance(p, Batched) for p in parameters)
    rows = [p.x if isinstance(p, Batched) else p for p in parameters]
    return op.sampled_rows(lead(seed, size), sampler, flags, *rows)


@rule(op.cast)
def _cast(size, x, dtype):
    return op.cast(x.x, dtype)


def _reduction(call):
    RULES[call.run] = lambda size, x, axes: call(x.x, tuple(a + 1 for a in axes))


for _call_reduction in (op.total, op.largest, op.log_total_exp):
    _reduction(_call_reduction)


@rule(op.reshape)
def _reshape(size, x, shape):
    return op.reshape(x.x, (size, *shape))


@rule(op.broadcast)
def _broadcast(size, x, shape):
    return op.broadcast(_align(len(shape), x), (size, *shape))


@rule(op.transpose)
def _transpose(size, x, axes):
    return op.transpose(x.x, (0, *(a + 1 for a in axes)))


for _call_along in (op.in_order, op.order_of, op.rank_of):
    RULES[_call_along.run] = lambda size, x, axis, f=_call_along: f(x.x, axis + 1)


@rule(op.running_sum)
def _running_sum(size, x, axis):
    return op.running_sum(x.x, axis + 1)


for _call_windows in (op.windows, op.overlaid):
    RULES[_call_windows.run] = lambda size, x, *rest, f=_call_windows: f(x.x, *rest)


@rule(op.position_of_largest)
def _position_of_largest(size, x, axis):
    return op.position_of_largest(x.x, axis + 1)


@rule(op.concatenate)
def _concatenate(size, parts, axis):
    return op.concatenate(tuple(lead(p, size) for p in parts), axis + 1)


for _call_linalg in (op.cholesky, op.log_abs_det, op.sign_det, op.eigenvalues, op.eigenvectors):
    RULES[_call_linalg.run] = lambda size, x, f=_call_linalg: f(x.x)
RULES[np.linalg.inv] = lambda size, x: np.linalg.inv(x.x)
RULES[np.linalg.det] = lambda size, x: np.linalg.det(x.x)


@rule(op.triangular_solve)
def _triangular_solve(size, lower, b):
    return _solve_rows(op.triangular_solve, lower, b)


@rule(op.triangular_solve_transposed)
def _triangular_solve_transposed(size, lower, b):
    return _solve_rows(op.triangular_solve_transposed, lower, b)


def _solve_rows(solve, lower, b):
    if isinstance(lower, Batched) or np.ndim(lower) != 2 or b.ndim != 2:
        return _elementwise_matrices(solve, lower, b)
    # One matrix for all rows: the rows become columns of one right-hand side.
    size, n, k = np.shape(b.x)
    columns = np.reshape(np.transpose(b.x, (1, 0, 2)), (n, size * k))
    return np.transpose(np.reshape(solve(lower, columns), (n, size, k)), (1, 0, 2))


def _elementwise_matrices(fun, a, b):
    ndim = max(x.ndim if isinstance(x, Batched) else np.ndim(x) for x in (a, b))
    return fun(_align(ndim, a), _align(ndim, b))


@rule(np.matmul)
def _matmul(size, a, b):
    na, nb = (x.ndim if isinstance(x, Batched) else np.ndim(x) for x in (a, b))
    if not isinstance(b, Batched):
        if nb <= 2:
            return a.x @ b
        if na == 1:
            return np.squeeze(np.reshape(a.x, (size, *(1,) * (nb - 1), a.shape[0])) @ b, -2)
        return _elementwise_matrices(np.matmul, a, b)
    if not isinstance(a, Batched):
        if nb == 1:  # (n, m) @ rows of (size, m): one product for all rows
            if na <= 2:
                return b.x @ a if na == 1 else b.x @ np.swapaxes(a, 0, 1)
            return (a @ np.reshape(b.x, (size, *(1,) * (na - 2), b.shape[0], 1)))[..., 0]
        if na == 1:
            return (a[None, :] @ b.x)[..., 0, :]
        return _elementwise_matrices(np.matmul, a, b)
    if na == nb == 1:
        dtype = np.result_type(a.x.dtype, b.x.dtype)
        return op.total(a.x * b.x, (1,)) if dtype.kind == "f" else op.cast(op.total(a.x * b.x, (1,)), dtype)
    if na == 1:
        first = np.reshape(a.x, (size, *(1,) * (nb - 2), 1, a.shape[0]))
        return np.squeeze(first @ b.x, -2)
    if nb == 1:
        second = np.reshape(b.x, (size, *(1,) * (na - 2), b.shape[0], 1))
        return np.squeeze(a.x @ second, -1)
    return _elementwise_matrices(np.matmul, a, b)


@rule(np.linalg.solve)
def _solve(size, a, b):
    return _elementwise_matrices(np.linalg.solve, a, b)


@rule(np.einsum)
def _einsum(size, subscripts, *operands):
    left, right = subscripts.split("->")
    row = next(c for c in "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in subscripts)
    names = [row + n if isinstance(x, Batched) else n for n, x in zip(left.split(","), operands, strict=True)]
    return np.einsum(f"{','.join(names)}->{row}{right}", *(x.x if isinstance(x, Batched) else x for x in operands))


@rule(op.index)
def _index(size, x, key):
    if _mentions_batch(key):
        return _gather_rows(size, x, key)
    key = key if isinstance(key, tuple) else (key,)
    if _separated(key):
        return None
    return op.index(x.x, (slice(None), *key))


def _separated(keys) -> bool:
    """Do a slice, None or Ellipsis stand between index arrays?  Their axis then moves to the front.

    Integers count as arrays where there is one.
    """
    if not any(isinstance(k, np.ndarray | Recorded | list) for k in keys):
        return False
    at = [i for i, k in enumerate(keys) if k is not None and k is not Ellipsis and not isinstance(k, slice)]
    return at != list(range(at[0], at[-1] + 1))


def _gather_rows(size, x, key):
    """Rows picked by a batched index: x[z] where z differs from row to row."""
    keys = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(k, Batched) or k == slice(None) for k in keys if not isinstance(k, np.ndarray | Recorded)):
        return None
    picked = [i for i, k in enumerate(keys) if not isinstance(k, slice)]
    if picked != list(range(len(picked))):
        return None
    ndim = max(k.ndim if isinstance(k, Batched) else np.ndim(k) for k in keys if not isinstance(k, slice))
    aligned = tuple(_align(ndim, k) if isinstance(k, Batched) else k for k in keys if not isinstance(k, slice))
    if not isinstance(x, Batched):
        return op.index(x, aligned)
    rows = np.arange(size).reshape((size, *(1,) * ndim))
    return op.index(x.x, (rows, *aligned))


@rule(rows_of)
def _rows_of(size, rows, key):
    return rows_of(rows, key.x)


@rule(op.scatter)
def _scatter(size, g, key, shape):
    keys = key if isinstance(key, tuple) else (key,)
    if _mentions_batch(key):
        picked = [k for k in keys if not isinstance(k, slice)]
        ndim = max(k.ndim if isinstance(k, Batched) else np.ndim(k) for k in picked)
        places = [i for i, k in enumerate(keys) if not isinstance(k, slice)]
        unusual = any(k is None or k is Ellipsis or (isinstance(k, slice) and k != slice(None)) for k in keys)
        if unusual or places != list(range(len(places))):
            return None  # only keys before all slices: the rows' numbers go in front of them
        aligned = tuple(_align(ndim, k) if isinstance(k, Batched) else k for k in picked)
        rows = np.arange(size).reshape((size, *(1,) * ndim))
        g = lead(g, size)
        return op.scatter(g, (rows, *aligned), (size, *shape))
    if _separated(keys):
        return None
    return op.scatter(g.x, (slice(None), *keys), (size, *shape))
