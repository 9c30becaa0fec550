"""Derivatives of array operations, and the gradient of a program as a program again.

An elementwise operation has a row of partial derivatives, written in plain NumPy; any
other operation has a rule that pulls the derivative of the result back to one argument.
What has neither is recorded as a value, and its derivative is refused.

`gradient` replays a program on a new tape and walks it backwards once: linear in the
number of steps, nothing in place, no tape left at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from ..errors import ModelError
from . import operations as op
from .program import Program, Ref, run
from .recording import FUNCTIONS, Recorded, Tape, call_recording, parents, paused_collector, program_of, tape_of
from .rows import rows_of

LOG_2, LOG_10 = math.log(2.0), math.log(10.0)

# operation -> one function (ans, *args) -> d ans / d arg for each argument; None where it is constant
PARTIALS: dict[Callable, tuple] = {
    np.exp: (lambda y, x: y,),
    np.expm1: (lambda y, x: y + 1.0,),
    np.log: (lambda y, x: 1.0 / x,),
    np.log1p: (lambda y, x: 1.0 / (1.0 + x),),
    np.exp2: (lambda y, x: y * LOG_2,),
    np.log2: (lambda y, x: (1.0 / LOG_2) / x,),
    np.log10: (lambda y, x: (1.0 / LOG_10) / x,),
    np.sqrt: (lambda y, x: 0.5 / y,),
    np.cbrt: (lambda y, x: y / (3.0 * x),),
    np.reciprocal: (lambda y, x: -y * y,),
    np.abs: (lambda y, x: np.sign(x),),
    np.fabs: (lambda y, x: np.sign(x),),
    np.sin: (lambda y, x: np.cos(x),),
    np.cos: (lambda y, x: -np.sin(x),),
    np.tan: (lambda y, x: 1.0 + y * y,),
    np.arcsin: (lambda y, x: 1.0 / np.sqrt(1.0 - x * x),),
    np.arccos: (lambda y, x: -1.0 / np.sqrt(1.0 - x * x),),
    np.arctan: (lambda y, x: 1.0 / (1.0 + x * x),),
    np.sinh: (lambda y, x: np.cosh(x),),
    np.cosh: (lambda y, x: np.sinh(x),),
    np.tanh: (lambda y, x: 1.0 - y * y,),
    np.arcsinh: (lambda y, x: 1.0 / np.sqrt(x * x + 1.0),),
    np.arccosh: (lambda y, x: 1.0 / np.sqrt(x * x - 1.0),),
    np.arctanh: (lambda y, x: 1.0 / (1.0 - x * x),),
    np.arctan2: (lambda y, a, b: b / (a * a + b * b), lambda y, a, b: -a / (a * a + b * b)),
    np.hypot: (lambda y, a, b: a / y, lambda y, a, b: b / y),
    np.deg2rad: (lambda y, x: np.pi / 180.0,),
    np.rad2deg: (lambda y, x: 180.0 / np.pi,),
    np.radians: (lambda y, x: np.pi / 180.0,),
    np.degrees: (lambda y, x: 180.0 / np.pi,),
    np.power: (
        lambda y, a, b: b * np.power(a, _one_less(a, b)),
        lambda y, a, b: op.where(a > 0, y * np.log(op.where(a > 0, a, 1.0)), 0.0),
    ),
    np.maximum: (lambda y, a, b: _won(a, b, a > b, a >= b), lambda y, a, b: _won(a, b, b > a, b >= a)),
    np.minimum: (lambda y, a, b: _won(a, b, a < b, a <= b), lambda y, a, b: _won(a, b, b < a, b <= a)),
    np.logaddexp: (lambda y, a, b: np.exp(a - _of_some(y)), lambda y, a, b: np.exp(b - _of_some(y))),
    np.logaddexp2: (lambda y, a, b: np.exp2(a - _of_some(y)), lambda y, a, b: np.exp2(b - _of_some(y))),
    np.fmod: (lambda y, a, b: 1.0, lambda y, a, b: -np.trunc(a / b)),
    np.copysign: (lambda y, a, b: np.sign(a) * np.sign(y), lambda y, a, b: 0.0),
    np.remainder: (lambda y, a, b: 1.0, lambda y, a, b: -np.floor(a / b)),
    np.fmax: (
        lambda y, a, b: _share(a, b, (a > b) | np.isnan(b)),
        lambda y, a, b: _share(a, b, (b > a) | np.isnan(a)),
    ),
    np.fmin: (
        lambda y, a, b: _share(a, b, (a < b) | np.isnan(b)),
        lambda y, a, b: _share(a, b, (b < a) | np.isnan(a)),
    ),
    np.sinc: (lambda y, x: _sinc_slope(np.pi * x),),
}
# Constant between their jumps: no derivative, and the jumps are what `discontinuous` reports.
STEPWISE: tuple = (
    np.sign, np.floor, np.ceil, np.rint, np.trunc, np.floor_divide, np.heaviside,
    np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal,
    np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.isfinite, np.isnan, np.isinf, np.signbit,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift, np.gcd, np.lcm,
    special.gammasgn, special.round,
    op.position_of_largest.run, op.order_of.run, op.rank_of.run, op.place_among.run,
)  # fmt: skip
JUMPS = frozenset((*STEPWISE, np.remainder, np.fmod, np.copysign, np.arctan2, np.tan, op.sign_det.run))
JUMP_RULES: dict[Callable, Callable] = {  # operations that jump or not by what their arguments are
    np.arctan2: lambda args: isinstance(args[0], Recorded | Ref) or bool(np.any(np.asarray(args[0]) == 0)),
}


def _sinc_slope(z):
    """pi times the derivative of sin(z) / z: a series near zero, where the formula would cancel."""
    near = np.abs(z) < 0.5
    small = op.where(near, z * z, 0.0)
    series = -1.0 / 3.0 + small * (1.0 / 30.0 + small * (-1.0 / 840.0 + small * (1.0 / 45360.0 - small / 3991680.0)))
    far = op.where(near, 1.0, z)
    return np.pi * op.where(near, z * series, (np.cos(far) - np.sin(far) / far) / far)


def _won(a, b, first, at_least):
    """Derivative of a maximum in one argument: one where it wins, half at a tie (in sums: np.where costs six times)."""
    kind = like(a, b)
    return 0.5 * (op.cast(first, kind) + op.cast(at_least, kind))


def _share(a, b, first):
    """The same where numbers that are missing never win."""
    one = like(a, b).type(1.0)
    return op.where(first, one, op.where(a == b, 0.5 * one, 0.0 * one))


def _of_some(y):
    """A logarithm of a sum of exponentials y for the weights exp(x - y) of its terms, its derivatives.

    Where all terms are -inf no term has weight, and the derivatives are 0; where one is +inf, the
    finite ones have none.
    """
    return op.where(y == -np.inf, 0.0, y)


def _one_less(a, b):
    """The exponent in the derivative b a^(b - 1): any other where b is 0, for 0 / 0 is not the derivative of 1."""
    if np.ndim(b) == 0 and not isinstance(b, Recorded):
        return 1.0 if b == 0 else b - 1.0
    constant = (b == 0) & (a == 0) if isinstance(b, Recorded) else b == 0  # elsewhere b has a slope of its own
    return op.where(constant, like(b).type(1.0), b - 1.0)


def like(*args) -> np.dtype:
    """The type of derivatives in these arguments: float32 if their floating numbers are, or the tape's."""
    tape = tape_of(args)
    if tape is not None and tape.narrow:
        return tape.dtype
    kinds = {x.dtype for x in args if hasattr(x, "dtype") and x.dtype.kind == "f"}
    return np.dtype(np.float32) if kinds == {np.dtype(np.float32)} else np.dtype(np.float64)


def zeros(x):
    """The derivative of what is constant, or in what has no influence."""
    return np.zeros(np.shape(x), like(x))


def floating(x):
    """An argument as formulas of derivatives want it: truths cannot be negated, short whole numbers overflow."""
    if isinstance(x, Recorded | np.ndarray | np.generic) and x.dtype.kind in "biu":
        return op.cast(x, like(x))
    return x


def discontinuous(fun: Callable, args: tuple) -> bool:
    """Does the operation jump as its argument moves?"""
    if fun is op.cast.run:
        return np.dtype(args[1]).kind in "iub"
    return JUMP_RULES[fun](args) if fun in JUMP_RULES else fun in JUMPS


def _cast_back(g, x, dtype):
    if np.dtype(dtype).kind != "f":
        return zeros(x)
    return op.cast(g, x.dtype) if isinstance(g, Recorded) and g.dtype != x.dtype else g


def _unbroadcast(g, like):
    """Sum a derivative over the axes along which its argument was repeated."""
    shape, now = np.shape(like), np.shape(g)
    if shape == now:
        return g
    lead = len(now) - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and now[lead + i] != 1))
    g = op.total(g, axes) if axes else g
    return g if np.shape(g) == shape else op.reshape(g, shape)


def _spread(g, axes, shape):
    """Undo a sum over axes."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return op.broadcast(op.reshape(g, kept) if np.shape(g) != kept else g, shape)


def _pull_largest(g, y, x, axes):
    hit = op.cast(x == _spread(y, axes, np.shape(x)), like(x))
    return hit * _spread(g / op.total(hit, axes), axes, np.shape(x))


def _pull_concatenate(g, y, parts, axis):
    start, pieces = 0, []
    for p in parts:
        n = np.shape(p)[axis]
        pieces.append(op.index(g, (slice(None),) * axis + (slice(start, start + n),)))
        start += n
    return tuple(pieces)


def _pull_matmul_left(g, y, a, b):
    if np.ndim(b) == 1:
        g, b = np.expand_dims(g, -1), np.expand_dims(b, -1)
    if np.ndim(a) == 1:
        g = np.expand_dims(g, -2)
        return _unbroadcast((g @ np.swapaxes(b, -1, -2))[..., 0, :], a)
    if np.shape(g)[-1] == 1 and np.ndim(b) == 2:
        return _unbroadcast(g * np.reshape(b, -1), a)  # an outer product
    return _unbroadcast(g @ np.swapaxes(b, -1, -2), a)


def _pull_matmul_right(g, y, a, b):
    if np.ndim(b) == 1:
        if np.ndim(a) == 1:
            return g * a
        if np.ndim(a) == 2:
            return g @ a
        return _unbroadcast((np.swapaxes(a, -1, -2) @ np.expand_dims(g, -1))[..., 0], b)
    if np.ndim(a) == 1:
        return _unbroadcast(np.expand_dims(a, -1) * np.expand_dims(g, -2), b)
    if np.ndim(b) == 2 and np.ndim(a) > 2:  # one product over all rows, not a sum of many
        a, g = (np.reshape(x, (math.prod(np.shape(x)[:-1]), np.shape(x)[-1])) for x in (a, g))
    return _unbroadcast(np.swapaxes(a, -1, -2) @ g, b)


def _pull_cholesky(g, low, x):
    # Murray (2016), "Differentiation of the Cholesky decomposition", eq. 10.
    n = np.shape(low)[-1]
    half = np.tril(np.ones((n, n))) - 0.5 * np.eye(n)
    inner = half * (np.swapaxes(low, -1, -2) @ g)
    left = op.triangular_solve_transposed(low, inner + np.swapaxes(inner, -1, -2))
    full = np.swapaxes(op.triangular_solve_transposed(low, np.swapaxes(left, -1, -2)), -1, -2)
    return 0.5 * full


def _swap(x):
    return np.swapaxes(x, -1, -2)


def _pull_eigenvalues(g, y, x):
    v = op.eigenvectors(x)
    return (v * g[..., None, :]) @ _swap(v)


def _pull_eigenvectors(g, y, x):
    # dv_j = sum over i != j of v_i (v_i' dx v_j) / (lambda_j - lambda_i)
    values, n = op.eigenvalues(x), np.shape(x)[-1]
    gaps = values[..., None, :] - values[..., :, None] + np.eye(n)
    inner = (1.0 - np.eye(n)) * (_swap(y) @ g) / gaps
    full = y @ inner @ _swap(y)
    return 0.5 * (full + _swap(full))


def _pull_einsum(i):
    """The derivative in operand i: the other operands against g, spread over what only i summed."""

    def pull(g, y, subscripts, *operands):
        left, right = subscripts.split("->")
        names = left.split(",")
        own, x = names[i - 1], operands[i - 1]
        others = [(n, o) for k, (n, o) in enumerate(zip(names, operands, strict=True)) if k != i - 1]
        sizes = dict(zip(own, np.shape(x), strict=True))
        axes = "".join(dict.fromkeys(own))
        known = "".join(c for c in axes if c in right or any(c in n for n, _ in others))
        arrays = [g, *(o for _, o in others)]
        result = np.einsum(f"{','.join([right, *(n for n, _ in others)])}->{known}", *arrays)
        result = np.reshape(result, tuple(sizes[c] if c in known else 1 for c in axes))
        result = np.broadcast_to(result, tuple(sizes[c] for c in axes))
        if axes == own:
            return result
        grid = np.meshgrid(*(np.arange(sizes[c]) for c in axes), indexing="ij")
        return op.scatter(result, tuple(grid[axes.index(c)] for c in own), np.shape(x))

    return pull


def _lower(x):
    return x * np.tril(np.ones(np.shape(x)[-2:]))


# operation -> {argument: rule(g, ans, *args) -> derivative in that argument}
PULLS: dict[Callable, dict[int, Callable]] = {
    np.add: {0: lambda g, y, a, b: _unbroadcast(g, a), 1: lambda g, y, a, b: _unbroadcast(g, b)},
    np.subtract: {0: lambda g, y, a, b: _unbroadcast(g, a), 1: lambda g, y, a, b: _unbroadcast(-g, b)},
    np.multiply: {0: lambda g, y, a, b: _unbroadcast(g * b, a), 1: lambda g, y, a, b: _unbroadcast(g * a, b)},
    np.true_divide: {0: lambda g, y, a, b: _unbroadcast(g / b, a), 1: lambda g, y, a, b: _unbroadcast(-g * y / b, b)},
    np.negative: {0: lambda g, y, x: -g},
    np.matmul: {0: _pull_matmul_left, 1: _pull_matmul_right},
    op.total.run: {0: lambda g, y, x, axes: _spread(g, axes, np.shape(x))},
    op.broadcast.run: {0: lambda g, y, x, shape: _unbroadcast(g, x)},
    op.reshape.run: {0: lambda g, y, x, shape: op.reshape(g, np.shape(x))},
    op.transpose.run: {0: lambda g, y, x, axes: op.transpose(g, tuple(int(i) for i in np.argsort(axes)))},
    op.largest.run: {0: _pull_largest},
    op.log_total_exp.run: {
        0: lambda g, y, x, axes: _spread(g, axes, np.shape(x)) * np.exp(x - _spread(_of_some(y), axes, np.shape(x)))
    },
    op.running_sum.run: {0: lambda g, y, x, axis: np.flip(op.running_sum(np.flip(g, axis), axis), axis)},
    op.concatenate.run: {0: _pull_concatenate},
    op.where.run: {
        1: lambda g, y, c, a, b: _unbroadcast(op.where(c, g, 0.0), a),
        2: lambda g, y, c, a, b: _unbroadcast(op.where(c, 0.0, g), b),
    },
    op.agreeing.run: {
        1: lambda g, y, x, a, b: _unbroadcast(op.where(x > 0, g, 0.0), a),
        2: lambda g, y, x, a, b: _unbroadcast(op.where(x > 0, 0.0, g), b),
    },
    op.index.run: {0: lambda g, y, x, key: op.scatter(g, key, np.shape(x))},
    op.scatter.run: {0: lambda g, y, x, key, shape: op.index(g, key)},
    op.windows.run: {0: lambda g, y, x, sizes, *rest: op.overlaid(g, np.shape(x)[-len(sizes) - 1 : -1], *rest)},
    op.overlaid.run: {0: lambda g, y, x, space, *rest: op.windows(g, np.shape(x)[-len(space) - 1 : -1], *rest)},
    op.log_abs_det.run: {0: lambda g, y, x: g[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2)},
    op.sign_det.run: {},
    op.cast.run: {0: lambda g, y, x, dtype: _cast_back(g, x, dtype)},
    op.in_order.run: {0: lambda g, y, x, axis: np.take_along_axis(g, op.rank_of(x, axis), axis)},
    np.linalg.inv: {0: lambda g, y, a: -(_swap(y) @ g @ _swap(y))},
    np.linalg.det: {0: lambda g, y, a: (g * y)[..., None, None] * _swap(np.linalg.inv(a))},
    np.linalg.solve: {
        0: lambda g, y, a, b: _unbroadcast(-np.linalg.solve(_swap(a), g) @ _swap(y), a),
        1: lambda g, y, a, b: _unbroadcast(np.linalg.solve(_swap(a), g), b),
    },
    np.einsum: {i: _pull_einsum(i) for i in range(1, 17)},
    op.cholesky.run: {0: _pull_cholesky},
    op.eigenvalues.run: {0: _pull_eigenvalues},
    op.eigenvectors.run: {0: _pull_eigenvectors},
    op.triangular_solve.run: {
        0: lambda g, y, a, b: -_lower(op.triangular_solve_transposed(a, g) @ np.swapaxes(y, -1, -2)),
        1: lambda g, y, a, b: _unbroadcast(op.triangular_solve_transposed(a, g), b),
    },
    op.triangular_solve_transposed.run: {
        0: lambda g, y, a, b: -_lower(y @ np.swapaxes(op.triangular_solve(a, g), -1, -2)),
        1: lambda g, y, a, b: _unbroadcast(op.triangular_solve(a, g), b),
    },
    op.stop_gradient.run: {},
    op.sampled.run: {},
    rows_of.run: {},
    op.sampled_rows.run: {},
    op.draw_of.run: {0: lambda g, y, x, name: g},
    **{fun: {} for fun in STEPWISE},
}


def pull_back(g, fun, ans, args, kwargs, needed: Sequence[int]) -> dict[int, object]:
    """Derivatives of a scalar in the arguments `needed` of one step, from its derivative g in the result."""
    if fun is np.multiply and args[0] is args[1]:
        return {0: (g * 2.0) * args[0]}
    if fun in PULLS:
        rules = PULLS[fun]
        return {i: rules[i](g, ans, *args, **kwargs) for i in needed if i in rules}
    if fun in PARTIALS:
        rows = PARTIALS[fun]
        missing = [i for i in needed if rows[i] is None]
        if missing:
            raise ModelError(
                f"a derivative of {fun.__name__} in argument {missing[0]}",
                "an argument in which its derivative is known",
                "a number or an array that is known there, or a formula in functions that have it",
            )
        numbers = tuple(map(floating, args))
        return {i: _unbroadcast(g * rows[i](ans, *numbers), args[i]) for i in needed}
    raise ModelError(
        f"a derivative of {getattr(fun, '__name__', fun)}",
        "an operation of ppl.array.supported()",
        "stop_gradient, or another formula",
    )


def gradient(program: Program, wrt: Sequence[int]) -> Program:
    """The program (outputs..., d first output / d input for each input number in `wrt`).

    The first output must be a scalar. Inputs that it does not depend on get zeros.
    """
    tape = Tape(dtype=program.dtype)
    inputs = [tape.input(np.broadcast_to(np.zeros((), x.dtype), x.shape), x.name) for x in program.inputs]
    with paused_collector():
        outputs = run(program, *inputs, call=call_recording)
        grads = pull_through(tape, outputs[0], [inputs[i] for i in wrt])
        return program_of(tape, [*outputs, *grads], op.TRANSPARENT)


def pull_through(tape: Tape, out: Any, wrt: Sequence[Recorded]) -> list:
    """Derivatives of a recorded scalar in recorded values, added to the tape: one walk backwards.

    Linear in the number of operations; nothing in place; zeros where there is no dependence.
    """
    nothing = [zeros(x) for x in wrt]
    if not isinstance(out, Recorded):
        return nothing
    active = {id(x) for x in wrt}
    before = []
    for node in tape.nodes:
        if any(id(p) in active for p in parents(node)):
            active.add(id(node))
            before.append(node)
        if node is out:
            break
    if id(out) not in active:
        return nothing
    sums: dict[int, list] = {id(out): [np.ones(out.shape, like(out))[()]]}
    for node in reversed(before):
        parts = sums.pop(id(node), None)
        if parts is None:
            continue
        needed = [i for i, a in enumerate(node.args) if any(id(p) in active for p in parents(a, inside=True))]
        for i, pulled in pull_back(_add_up(parts), node.fun, node, node.args, node.kwargs, needed).items():
            argument = node.args[i]
            pairs = ((argument, pulled),) if isinstance(argument, Recorded) else zip(argument, pulled, strict=True)
            for source, part in pairs:
                if isinstance(source, Recorded) and id(source) in active:
                    sums.setdefault(id(source), []).append(part)
    return [_add_up(sums[id(x)]) if id(x) in sums else zero for x, zero in zip(wrt, nothing, strict=True)]


MANY_PIECES = 8  # scatters from which one of all their pieces costs less


def _add_up(parts: list):
    """The sum of derivatives; scatters of single rows become one, so that `z[t]` in a loop costs linear work."""
    if len(parts) > 2:
        parts = _merge_rows(parts)
    if len(parts) > 1:
        parts = _merge_slices(parts)
    total = parts[0]
    for p in parts[1:]:
        total = total + p
    return total


def _merge_rows(parts: list) -> list:
    """Scatters of single rows, of the same axes each, joined into one scatter of all their rows."""
    rows: dict[tuple[int, ...], dict[tuple[int, ...], list]] = {}
    rest = []
    for p in parts:
        place = _row_of(p)
        if place is None:
            rest.append(p)
        else:
            axes, numbers = place
            rows.setdefault(axes, {}).setdefault(numbers, []).append(p)
    for axes, found in rows.items():
        if len(found) < 3:
            rest += [p for ps in found.values() for p in ps]
        else:
            rest.append(_scatter_rows(axes, found))
    return _merge_pieces(rest)


def _merge_slices(parts: list) -> list:
    """Scatters to slices along one axis that do not overlap, joined side by side."""
    found: dict[int, list[tuple[int, int, Any]]] = {}
    rest = []
    for p in parts:
        place = _slice_of(p)
        if place is None:
            rest.append(p)
        else:
            axis, start, stop = place
            found.setdefault(axis, []).append((start, stop, p))
    for axis, pieces in found.items():
        pieces.sort(key=lambda piece: piece[:2])
        apart = all(a[1] <= b[0] for a, b in pairwise(pieces))
        rest += [_side_by_side(axis, pieces)] if apart and len(pieces) > 1 else [p for *_, p in pieces]
    return rest


def _side_by_side(axis: int, pieces: list) -> Any:
    """Slices of one axis with zeros between them."""
    (*_, like), at, joined = pieces[0], 0, []
    gap = lambda n: np.zeros([n if i == axis else m for i, m in enumerate(like.shape)], like.dtype)
    for start, stop, p in pieces:
        joined += [gap(start - at)] * (start > at) + [p.args[0]]
        at = stop
    end = like.shape[axis]
    return op.concatenate((*joined, *[gap(end - at)] * (end > at)), axis)


def _slice_of(p: Any) -> tuple[int, int, int] | None:
    """Of a scatter to a slice of one axis: that axis, and where the slice begins and ends."""
    if not isinstance(p, Recorded) or p.fun is not op.scatter.run:
        return None
    key, shape = p.args[1] if isinstance(p.args[1], tuple) else (p.args[1],), p.shape
    if not all(k is Ellipsis or type(k) is slice for k in key):
        return None
    if Ellipsis in key:
        at = key.index(Ellipsis)
        key = (*key[:at], *(slice(None),) * (len(shape) - len(key) + 1), *key[at + 1 :])
    cut = [(i, *k.indices(n)) for i, (k, n) in enumerate(zip(key, shape, strict=False)) if k.indices(n) != (0, n, 1)]
    if len(cut) != 1 or cut[0][3] != 1 or cut[0][2] <= cut[0][1]:
        return None
    return cut[0][:3]


def _merge_pieces(parts: list) -> list:
    """Scatters of small pieces at known places (slices, windows, gathers), joined into one by flat places."""
    pieces = [p for p in parts if _is_piece(p)]
    if len(pieces) < MANY_PIECES:
        return parts
    shape = pieces[0].shape
    numbers = np.arange(pieces[0].size).reshape(shape)
    places = np.concatenate([numbers[p.args[1]].ravel() for p in pieces])
    joined = op.concatenate(tuple(np.reshape(p.args[0], -1) for p in pieces), 0)
    own = {id(p) for p in pieces}
    return [p for p in parts if id(p) not in own] + [np.reshape(op.scatter(joined, places, (numbers.size,)), shape)]


def _is_piece(p: Any) -> bool:
    """Is this a scatter, at places known when recorded, of few numbers into many?"""
    if not isinstance(p, Recorded) or p.fun is not op.scatter.run or not isinstance(p.args[0], Recorded):
        return False
    return not any(True for _ in parents(p.args[1])) and 4 * p.args[0].size <= p.size


def _scatter_rows(axes: tuple[int, ...], found: dict[tuple[int, ...], list]) -> Any:
    """One scatter of rows that stand at numbers along some axes, in the order of these."""
    shape = np.shape(next(iter(found.values()))[0])
    others = tuple(i for i in range(len(shape)) if i not in axes)
    together = axes[-1] - axes[0] == len(axes) - 1
    before = axes[0] if together else 0  # axes in front of that of the rows
    row = tuple(shape[i] for i in others)
    one = (*row[:before], 1, *row[before:])
    sums = [_add_up([op.reshape(p.args[0], one) for p in ps]) for ps in found.values()]
    key = (slice(None),) * before + tuple(np.array(numbers) for numbers in zip(*found, strict=True))
    joined, key = op.concatenate(tuple(sums), before), key if len(key) > 1 else key[0]
    if together:
        return op.scatter(joined, key, shape)
    order = (*axes, *others)
    apart = op.scatter(joined, key, tuple(shape[i] for i in order))
    return op.transpose(apart, tuple(int(i) for i in np.argsort(order)))


def _row_of(p) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Of a scatter to one row: the axes that have one number each, and these, counted from the front.

    x[i], x[:, i], x[..., i], x[i, :], x[i : i + 1] and the like; None for anything else.
    """
    if not isinstance(p, Recorded) or p.fun is not op.scatter.run:
        return None
    key, shape = p.args[1] if isinstance(p.args[1], tuple) else (p.args[1],), p.shape
    numbers: dict[int, int] = {}
    if any(type(k) is bool or not (k is Ellipsis or isinstance(k, int | np.integer | slice)) for k in key):
        return None
    if Ellipsis in key:
        at = key.index(Ellipsis)
        key = (*key[:at], *(slice(None),) * (len(shape) - len(key) + 1), *key[at + 1 :])
    for axis, (k, n) in enumerate(zip(key, shape, strict=False)):
        if isinstance(k, slice):
            places = range(*k.indices(n))
            if places != range(n):
                if len(places) != 1:
                    return None
                numbers[axis] = places[0]
        else:
            numbers[axis] = int(k) % n
    size = math.prod(n for i, n in enumerate(shape) if i not in numbers)
    return (tuple(numbers), tuple(numbers.values())) if numbers and math.prod(np.shape(p.args[0])) == size else None


def supported() -> tuple[str, ...]:
    """Names of the functions that can be recorded: NumPy's, then SciPy's special ones.

    >>> {"exp", "where", "einsum", "special.gammaln"} <= set(supported())
    True
    """
    functions = {*FUNCTIONS, *PARTIALS, *PULLS, *STEPWISE}
    numpy = sorted({f.__name__ for f in functions if getattr(np, getattr(f, "__name__", ""), None) is f})
    linalg = sorted(
        {f"linalg.{f.__name__}" for f in functions if getattr(np.linalg, getattr(f, "__name__", ""), None) is f}
    )
    scipy = sorted(
        {f"special.{f.__name__}" for f in functions if getattr(special, getattr(f, "__name__", ""), None) is f}
    )
    return (*numpy, *linalg, *scipy)
