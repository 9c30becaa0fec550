"""Forward mode: the directional derivative of a program, as a program again.

    pushforward(program, wrt):  inputs, directions -> outputs, directional derivatives

Over a gradient program this is the Hessian-vector product (`hessian_product`), at about twice
the cost of the gradient and whatever the dimension (Pearlmutter 1994).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import ModelError
from . import operations as op
from .derivatives import PARTIALS, PULLS, _of_some, _spread, floating, gradient, like, zeros
from .program import Program, Ref, substitute
from .recording import Tape, call_recording, program_of


def _each(rule: Callable) -> Callable:
    """The rule of an operation that is linear in its first argument alone."""
    return lambda d, y, x, *rest: None if d[0] is None else rule(d[0], *rest)


def _product(multiply: Callable) -> Callable:
    return lambda d, y, a, b: _plus(
        multiply(d[0], b) if d[0] is not None else None, multiply(a, d[1]) if d[1] is not None else None
    )


def _plus(a, b):
    return b if a is None else a if b is None else a + b


def _zero_or(d, x):
    return zeros(x) if d is None else d


def _push_divide(d, y, a, b):
    top = _plus(d[0], None if d[1] is None else -y * d[1])
    return top / b


def _push_where(d, y, condition, a, b):
    return None if d[1] is None and d[2] is None else op.where(condition, _zero_or(d[1], a), _zero_or(d[2], b))


def _push_largest(d, y, x, axes):
    hit = op.cast(x == _spread(y, axes, np.shape(x)), like(x))
    return op.total(hit * d[0], axes) / op.total(hit, axes)


def _push_log_total_exp(d, y, x, axes):
    return op.total(np.exp(x - _spread(_of_some(y), axes, np.shape(x))) * d[0], axes)


def _push_concatenate(d, y, parts, axis):
    return op.concatenate(tuple(_zero_or(t, p) for t, p in zip(d[0], parts, strict=True)), axis)


def _push_cholesky(d, low, x):
    n = np.shape(low)[-1]
    half = np.tril(np.ones((n, n))) - 0.5 * np.eye(n)
    symmetric = 0.5 * (d[0] + np.swapaxes(d[0], -1, -2))
    inner = op.triangular_solve(low, np.swapaxes(op.triangular_solve(low, symmetric), -1, -2))
    return low @ (half * inner)


def _push_solve(solve: Callable, flip: bool) -> Callable:
    def rule(d, y, a, b):
        right = d[1]
        if d[0] is not None:
            lower = d[0] * np.tril(np.ones(np.shape(a)[-2:]))
            moved = (np.swapaxes(lower, -1, -2) if flip else lower) @ y
            right = -moved if right is None else right - moved
        return solve(a, right)

    return rule


def _push_einsum(d, y, subscripts, *operands):
    total = None
    for i, t in enumerate(d[1:]):
        if t is not None:
            total = _plus(total, np.einsum(subscripts, *operands[:i], t, *operands[i + 1 :]))
    return total


def _push_linear_solve(d, y, a, b):
    right = d[1]
    if d[0] is not None:
        moved = d[0] @ y
        right = -moved if right is None else right - moved
    return np.linalg.solve(a, right)


def _push_eigenvalues(d, y, x):
    v = op.eigenvectors(x)
    return op.total(v * (d[0] @ v), (np.ndim(x) - 2,))


def _push_eigenvectors(d, v, x):
    # dv_j = sum over i != j of v_i (v_i' dx v_j) / (lambda_j - lambda_i)
    values, n = op.eigenvalues(x), np.shape(x)[-1]
    gaps = values[..., None, :] - values[..., :, None] + np.eye(n)
    inner = np.swapaxes(v, -1, -2) @ (0.5 * (d[0] + np.swapaxes(d[0], -1, -2))) @ v
    return v @ ((1.0 - np.eye(n)) * inner / gaps)


def _sum_of_changes(d, y, a, b):
    return np.broadcast_to(_plus(d[0], d[1]), np.shape(y))


def _difference_of_changes(d, y, a, b):
    return np.broadcast_to(_plus(d[0], None if d[1] is None else -d[1]), np.shape(y))


# operation -> rule(directions of the arguments or None, result, *arguments) -> direction of the result
PUSHES: dict[Callable, Callable] = {
    np.add: _sum_of_changes,
    np.subtract: _difference_of_changes,
    np.multiply: _product(np.multiply),
    np.matmul: _product(np.matmul),
    np.true_divide: _push_divide,
    np.negative: lambda d, y, x: -d[0],
    op.total.run: _each(op.total),
    op.broadcast.run: _each(op.broadcast),
    op.reshape.run: _each(op.reshape),
    op.transpose.run: _each(op.transpose),
    op.running_sum.run: _each(op.running_sum),
    op.index.run: _each(op.index),
    op.scatter.run: _each(op.scatter),
    op.windows.run: _each(op.windows),
    op.overlaid.run: _each(op.overlaid),
    op.cast.run: lambda d, y, x, dtype: d[0] if np.dtype(dtype).kind == "f" else None,
    op.draw_of.run: lambda d, y, x, name: d[0],
    op.where.run: _push_where,
    op.agreeing.run: lambda d, y, x, a, b: _push_where(d, y, x > 0, a, b),
    op.largest.run: _push_largest,
    op.log_total_exp.run: _push_log_total_exp,
    op.concatenate.run: _push_concatenate,
    op.log_abs_det.run: lambda d, y, x: np.trace(np.linalg.inv(x) @ d[0], axis1=-2, axis2=-1),
    op.cholesky.run: _push_cholesky,
    op.triangular_solve.run: _push_solve(op.triangular_solve, False),
    op.triangular_solve_transposed.run: _push_solve(op.triangular_solve_transposed, True),
    op.in_order.run: lambda d, y, x, axis: np.take_along_axis(d[0], op.order_of(x, axis), axis),
    op.eigenvalues.run: _push_eigenvalues,
    op.eigenvectors.run: _push_eigenvectors,
    np.einsum: _push_einsum,
    np.linalg.solve: _push_linear_solve,
    np.linalg.inv: lambda d, y, x: -y @ d[0] @ y,
    np.linalg.det: lambda d, y, x: y * np.trace(np.linalg.inv(x) @ d[0], axis1=-2, axis2=-1),
}


def pushforward(program: Program, wrt: Sequence[int]) -> Program:
    """The program (*inputs, *directions of the inputs `wrt`) -> (*outputs, *their directional derivatives)."""
    tape = Tape(dtype=program.dtype)
    inputs = [tape.input(np.broadcast_to(np.zeros((), x.dtype), x.shape), x.name) for x in program.inputs]
    values: list = list(inputs)
    moves: list = [None] * len(inputs)
    for i in wrt:
        moves[i] = tape.input(np.zeros(program.inputs[i].shape), f"direction of {program.inputs[i].name}")
    for fun, args, kwargs, *_ in program.steps:
        a, k = substitute(args, values.__getitem__), substitute(kwargs, values.__getitem__)
        values.append(call_recording(fun, a, k))
        moves.append(_push(fun, values[-1], a, k, _directions(args, moves)))
    results = substitute(program.outputs, values.__getitem__)
    changes = [
        _zero_or(moves[o.index] if type(o) is Ref else None, x) for o, x in zip(program.outputs, results, strict=True)
    ]
    return program_of(tape, [*results, *changes], op.TRANSPARENT)


def _directions(args, moves):
    """For each argument its direction; a tuple of arrays gets a tuple of directions."""
    out = []
    for a in args:
        if type(a) is Ref:
            out.append(moves[a.index])
        elif type(a) in (tuple, list) and any(type(x) is Ref and moves[x.index] is not None for x in a):
            out.append(tuple(moves[x.index] if type(x) is Ref else None for x in a))
        else:
            out.append(None)
    return out


def _push(fun, y, args, kwargs, directions):
    if all(d is None for d in directions):
        return None
    if fun in PUSHES:
        return PUSHES[fun](directions, y, *args, **kwargs)
    if fun in PARTIALS:
        total, numbers = None, tuple(map(floating, args))
        for row, d in zip(PARTIALS[fun], directions, strict=True):
            if d is not None:
                if row is None:
                    raise ModelError(
                        f"a derivative of {fun.__name__}",
                        "an argument in which its derivative is known",
                        "a known number there",
                    )
                total = _plus(total, d * row(y, *numbers))
        return np.broadcast_to(total, np.shape(y))
    if PULLS.get(fun) == {}:  # constant for derivatives
        return None
    raise ModelError(
        f"a second derivative of {getattr(fun, '__name__', fun)}",
        "an operation whose forward derivative is known",
        "ppl.BBVI()",
    )


def hessian_product(program: Program, wrt: Sequence[int]) -> Program:
    """The program (*inputs, *directions) -> (*gradient, *Hessian times direction) of a scalar program.

    >>> from ppl.array import compile_program, record
    >>> cubic = record(lambda x: (np.sum(x**3),), [np.zeros(2)])
    >>> g, h = compile_program(hessian_product(cubic, [0]))(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    >>> print(g, h)
    [ 3. 12.] [6. 0.]
    """
    outputs = len(program.outputs)
    slope = gradient(program, wrt)
    pushed = pushforward(Program(slope.inputs, slope.steps, slope.outputs[outputs:]), wrt)
    return pushed
