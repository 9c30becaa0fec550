"""What the program says about its draws: which ones a value reads, and through which jumps.

Everything is read off the recorded operations, not off the names of sites. Sets of factors
are bits of an int, so that one pass over the program is linear in its length.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from ..array import Program, Ref, Step, discontinuous, refs
from ..array import operations as op
from ..graph import union
from .signs import keeps_sign, signs


@dataclass(frozen=True)
class Flow:
    """Per value of a program: bits of the factors and parameters it reads (not through other draws).

    `jumps` are those it reads through an operation that jumps, `jump_names` one such operation
    for each. `edges` are parameters that move the place where a draw jumps: the comparison in
    `where(z > parameter, ...)`. `into[f]` is the value that factor f's draw is computed from.
    """

    reads: list[int]
    jumps: list[int]
    edges: list[int]
    jump_names: dict[int, str] = field(default_factory=dict)
    into: dict[str, Ref] = field(default_factory=dict)

    def of(self, x) -> tuple[int, int]:
        """Bits read, and read through a jump, by an output (a constant reads none)."""
        return (self.reads[x.index], self.jumps[x.index]) if type(x) is Ref else (0, 0)

    def edges_of(self, x) -> int:
        """Parameters that move a jump on the way to an output."""
        return self.edges[x.index] if type(x) is Ref else 0


def flow(
    program: Program,
    bits: dict[str, int],
    parameters: dict[int, int] | None = None,
    nonnegative: Collection[int] = (),
) -> Flow:
    """One pass over the program; `bits` gives each factor its bit, `parameters` each input that is one.

    `nonnegative` are inputs that are known to be so.
    """
    known = signs(program, set(nonnegative))
    parameters = parameters or {}
    n = len(program.inputs)
    result = Flow([parameters.get(i, 0) for i in range(n)], [0] * n, [0] * n)
    all_parameters, all_draws = sum(parameters.values()), sum(bits.values())
    for step in program.steps:
        if step.fun is op.draw_of.run:
            result.into[step.args[1]] = step.args[0]
            result.reads.append(bits[step.args[1]])
            result.jumps.append(0)
            result.edges.append(0)
            continue
        reads = jumps = edges = 0
        for i in refs((step.args, step.kwargs)) if step.kwargs else refs(step.args):
            reads = union(reads, result.reads[i])
            jumps = union(jumps, result.jumps[i])
            edges = union(edges, result.edges[i])
        if reads and (discontinuous(step.fun, step.args) or _has_pole(step, known, result.reads)):
            new = reads & ~jumps
            while new:
                bit = new & -new
                result.jump_names.setdefault(bit, getattr(step.fun, "__name__", "jump"))
                new ^= bit
            jumps = reads
            if reads & all_draws:
                edges |= reads & all_parameters
        result.reads.append(reads)
        result.jumps.append(jumps)
        result.edges.append(edges)
    return result


def _has_pole(step: Step, known: list[int], reads: list[int]) -> bool:
    """Is this a division by something that reads a draw or parameter and may cross zero?"""
    if step.fun is np.true_divide:
        divisor = step.args[1]
    elif step.fun is np.reciprocal or (
        step.fun is np.power and type(step.args[1]) is not Ref and np.any(np.asarray(step.args[1]) < 0)
    ):
        divisor = step.args[0]
    else:
        return False
    return type(divisor) is Ref and bool(reads[divisor.index]) and not keeps_sign(divisor, known)


MIXED = "mixed"


def separable_axis(program: Program, factor: str, axis: int, targets: set[int]) -> dict[int, int | str | None]:
    """Where an axis of a factor's draw ends up in other values, as an axis counted from the right.

    `axis` counts from the right in the draw. A value maps to None when it does not read the draw,
    to MIXED when its elements may read several elements of the draw along that axis. Only then
    may a score weight not be kept element by element.
    """
    where: dict[int, int | str | None] = {}
    for number, step in enumerate(program.steps, len(program.inputs)):
        if step.fun is op.draw_of.run and step.args[1] == factor:
            where[number] = axis
            continue
        labels = [(a, where[a.index]) for a in step.args if type(a) is Ref and where.get(a.index) is not None]
        nested = any(where.get(i) is not None for a in step.args if type(a) is not Ref for i in refs(a))
        if not labels and not nested:
            continue
        where[number] = MIXED if any(x == MIXED for _, x in labels) else _moved(program, step, labels, nested, where)
    return {t: where.get(t) for t in targets}


def _moved(program, step, labels, nested, where):
    fun = step.fun
    if (isinstance(fun, np.ufunc) and fun.signature is None) or fun in _ELEMENTWISE:
        return labels[0][1] if not nested and len({x for _, x in labels}) == 1 else MIXED
    if fun is op.concatenate.run:
        return _through_concatenate(program, step, where)
    if nested or len(labels) != 1:
        return MIXED
    (ref, axis), (shape, _) = labels[0], program.signature(labels[0][0])
    position = len(shape) + axis
    if fun in _REDUCTIONS:
        if position in step.args[1]:
            return MIXED
        return axis + sum(a > position for a in step.args[1])
    if fun is op.running_sum.run:
        return MIXED if step.args[1] == position else axis
    if fun is op.scatter.run:  # into zeros around it, as np.pad does
        _, key, new = step.args
        padded = type(key) is tuple and len(key) == len(shape) == len(new) and all(type(k) is slice for k in key)
        whole = padded and key[position].indices(new[position]) == (0, new[position], 1)
        return axis if whole else MIXED
    if fun is op.overlaid.run:
        space = len(step.args[1])
        return MIXED if axis >= -2 * space - 1 else axis + space
    if fun is np.matmul:
        return _through_matmul(program, step, ref, axis)
    if fun in _REARRANGING and step.args[0] == ref:
        return _follow(step, shape, position)
    return MIXED


def _through_concatenate(program, step, where):
    """Along another axis than the joined one, parts that read the draw keep it apart if they do so at one place."""
    parts, axis = step.args
    axes = {where.get(p.index) for p in parts if type(p) is Ref} - {None}
    if len(axes) != 1 or MIXED in axes:
        return MIXED
    (own,) = axes
    return own if len(step.shape) + own != axis else MIXED


def _through_matmul(program, step, ref, axis):
    left, right = step.args
    is_left, is_right = (type(x) is Ref and x == ref for x in (left, right))
    if is_left and is_right:
        return MIXED
    other = right if is_left else left
    other_ndim = len(program.signature(other)[0]) if type(other) is Ref else np.ndim(other)
    own_ndim = len(program.signature(ref)[0])
    if is_left:
        # (..., n, k) @ (k,) loses the last axis; the axis that is summed over mixes.
        return MIXED if axis == -1 else axis + (other_ndim == 1)
    if own_ndim == 1 or axis == -2:
        return MIXED
    # (k,) @ (..., k, m) loses the axis before the last.
    return axis if axis == -1 or other_ndim > 1 else axis + 1


def _follow(step, shape, position):
    """Send the coordinate along the axis through an operation that only rearranges elements."""
    labels = np.broadcast_to(
        np.arange(shape[position]).reshape([-1 if i == position else 1 for i in range(len(shape))]), shape
    )
    if any(True for _ in refs(step.args[1:])):
        return MIXED
    moved = np.asarray(step.fun(labels, *step.args[1:]))
    for axis in range(-moved.ndim, 0):
        if moved.shape[axis] == shape[position]:
            expected = np.arange(shape[position]).reshape(
                [-1 if i == moved.ndim + axis else 1 for i in range(moved.ndim)]
            )
            if np.array_equal(moved, np.broadcast_to(expected, moved.shape)):
                return axis
    return MIXED


_ELEMENTWISE = frozenset(
    (op.where.run, op.agreeing.run, op.cast.run, op.softplus.run, op.stop_gradient.run, op.draw_of.run)
)
_REDUCTIONS = frozenset((op.total.run, op.largest.run, op.log_total_exp.run))
_REARRANGING = frozenset((op.reshape.run, op.broadcast.run, op.transpose.run, op.index.run, op.windows.run))
