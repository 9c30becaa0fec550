"""Which values of a program keep their sign, whatever is drawn: read off the operations.

Division by a draw that may cross zero has a pole there, and may jump across it (`arctan(1 / z)`).
A divisor that keeps its sign has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from ..array import Program, Ref
from ..array import operations as op

NONNEGATIVE = 1  # zero or more
UNIT = 2  # from zero to one, which is nonnegative too
UNKNOWN = 0

_ALWAYS = {np.exp, np.abs, np.sqrt, np.cosh, op.softplus.run, np.arccosh, np.exp2}
_ALWAYS |= {special.gamma, special.gammainc, special.erfcx}
_IN_UNIT = {special.expit, special.ndtr}
_KEEPING = {
    op.reshape.run, op.broadcast.run, op.transpose.run, op.index.run, op.draw_of.run, op.stop_gradient.run, op.cast.run,
    op.largest.run, op.total.run, op.running_sum.run, op.scatter.run, op.windows.run, op.overlaid.run,
}  # fmt: skip
_ADDING = {op.total.run, op.running_sum.run, op.scatter.run, op.overlaid.run}


def signs(program: Program, nonnegative: set[int]) -> list[int]:
    """For each value NONNEGATIVE, UNIT or UNKNOWN; `nonnegative` are inputs known to be so."""
    known = [NONNEGATIVE if i in nonnegative else UNKNOWN for i in range(len(program.inputs))]
    for step in program.steps:
        known.append(_sign(step.fun, step.args, lambda x: _of(x, known)))
    return known


def keeps_sign(x: Any, known: list[int]) -> bool:
    """Does an argument never cross zero?"""
    return _of(x, known) != UNKNOWN or (type(x) is not Ref and bool(np.all(np.asarray(x) != 0)))


def _of(x: Any, known: list[int]) -> int:
    if type(x) is Ref:
        return known[x.index]
    if isinstance(x, tuple | list):
        return min((_of(y, known) for y in x), default=UNKNOWN)
    x = np.asarray(x)
    if x.dtype.kind not in "biuf" or not np.all(x >= 0):
        return UNKNOWN
    return UNIT if np.all(x <= 1) else NONNEGATIVE


def _sign(fun: Any, args: tuple, of: Any) -> int:
    if fun in _IN_UNIT:
        return UNIT
    if fun in _ALWAYS or (fun is np.multiply and args[0] == args[1]) if type(args[0]) is Ref else fun in _ALWAYS:
        return NONNEGATIVE
    if fun in _KEEPING:
        kept = of(args[0])
        return NONNEGATIVE if kept == UNIT and fun in _ADDING else kept
    if fun is op.concatenate.run:
        return of(args[0])
    if fun in (op.where.run, op.agreeing.run):
        return min(of(args[1]), of(args[2]))
    if fun is np.multiply:
        return min(of(args[0]), of(args[1])) if of(args[0]) == of(args[1]) == UNIT else _both(args, of)
    if fun in (np.add, np.true_divide, np.matmul, np.logaddexp, np.minimum, np.hypot):
        return _both(args, of)
    if fun is np.maximum:
        return NONNEGATIVE if of(args[0]) or of(args[1]) else UNKNOWN
    if fun is np.power:
        return NONNEGATIVE if of(args[0]) else UNKNOWN
    if fun is np.subtract:  # 1 - p
        one = type(args[0]) is not Ref and bool(np.all(np.asarray(args[0]) >= 1))
        return NONNEGATIVE if one and of(args[1]) == UNIT else UNKNOWN
    return UNKNOWN


def _both(args: tuple, of: Any) -> int:
    return NONNEGATIVE if of(args[0]) and of(args[1]) else UNKNOWN
