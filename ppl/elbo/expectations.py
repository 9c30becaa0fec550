"""Gaussian expectations in closed form: of terms that are linear or quadratic in a Gaussian draw.

Standard normal noise is an input of the program. A term that is a polynomial f of degree two at most in the
noise e of some factors, whatever else it depends on, has the expectation

    E f(e) = f(0) + 1/2 sum_i d^2 f / d e_i^2

The degree is read off the recorded operations, and the second derivatives are exact differences
f(u) + f(-u) - 2 f(0) for the unit vectors u; where elements stay apart on the way to the term one
difference does for all of them. A draw that is linear in noise, as of a full-rank guide or along a chain of
linear Gaussian factors, is no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..array import Ref, Tape, needed, paused_collector, program_of, refs, substitute
from ..array import operations as op
from ..array.batching import Batched, call_batched, lead
from .flow import separable_axis
from .replay import inputs_of, replayed

if TYPE_CHECKING:
    from .derivation import Derivation, FactorFacts, Term

MOST = 64  # noise elements that may be differenced one by one
LOOKED_AT = 150  # steps of the longest program that is read for expectations that nobody asked for
SHARE = 0.1  # of the program's work: what an expectation that nobody asked for may add
BEYOND = 3  # any degree above two


def integrated(d: Derivation, asked: Collection[str], open_: Collection[str] = ()) -> Derivation:
    """The derivation with expectations over the noise of the factors asked for, in all terms that allow it.

    Over that of open ones too, where the program of a term grows by no more than a share of the whole.
    """
    normal = [f for f in d.factors if f.noise_kind == "normal"]
    factors = [f for f in normal if f.name in asked]
    few = len(d.program.steps) <= LOOKED_AT
    either = [f for f in normal if f.name in asked or (few and f.name in open_)]
    if not either:
        return d
    plans = {}
    for i, t in enumerate(d.terms):
        plans[i] = _integrable(d, t, either)
        if not {f.name for f in plans[i]} <= set(asked) and _added(d, t, plans[i]) > SHARE * d.program.work:
            plans[i] = _integrable(d, t, factors)
    if not any(plans.values()):
        return d
    tape = Tape(dtype=d.program.dtype)
    with paused_collector():
        inputs = inputs_of(tape, d.program)
        outputs = replayed(d.program, inputs, lambda n, x: op.draw_of(x, n), d.program.outputs)
        terms = []
        for i, t in enumerate(d.terms):
            if plans[i]:
                outputs.append(_expectation(d, inputs, t, plans[i]))
                t = replace(t, output=len(outputs) - 1, integrated=tuple(f.name for f in plans[i]))
            terms.append(t)
        return replace(d, program=program_of(tape, outputs), terms=tuple(terms))


def _integrable(d: Derivation, t: Term, factors: Sequence[FactorFacts]) -> list[FactorFacts]:
    """The factors in whose noise a term is of degree one or two, all together."""
    target = d.program.outputs[t.output]
    if type(target) is not Ref or t.branches:
        return []
    found = list(factors)
    while found:
        kept = [f for f in found if _fits(d, target, f, found)]
        if kept == found and _degree(d, target, found, found) <= 2:
            break
        found = kept if kept != found else found[:-1]
    return found


def _added(d: Derivation, t: Term, factors: Sequence[FactorFacts]) -> int:
    """Counted work of an expectation: what depends on the noise, once for every point of it."""
    target = d.program.outputs[t.output]
    moved = {f.noise_input for f in factors}
    for number, step in enumerate(d.program.steps, len(d.program.inputs)):
        if any(i in moved for i in refs((step.args, step.kwargs))):
            moved.add(number)
    path = needed(d.program, (target,)) & moved
    work = sum(d.program.work_of(i) for i in path if i >= len(d.program.inputs))
    return work * (1 + sum(_points(d, target, f, factors) for f in factors))


def _points(d: Derivation, target: Ref, f: FactorFacts, among: Sequence[FactorFacts]) -> int:
    """How many evaluations beside that at zero give a term's second derivatives in a factor's noise."""
    if _degree(d, target, [f], among) == 1:
        return 0
    return 2 if _apart(d, target, f) else 2 * int(np.prod(f.noise_shape))


def _fits(d: Derivation, target: Ref, f: FactorFacts, among: Sequence[FactorFacts]) -> bool:
    """Is a term of degree one or two in a factor's noise, and its differences no more than can be afforded?"""
    degree = _degree(d, target, [f], among)
    few = int(np.prod(f.noise_shape)) <= MOST
    return degree == 1 or (degree == 2 and (few or _apart(d, target, f)))


def _apart(d: Derivation, target: Ref, f: FactorFacts) -> bool:
    """Does every element of a term read one element of a factor's noise at most?"""
    if not f.family.startswith("Normal"):
        return int(np.prod(f.noise_shape)) == 1
    shape = d.program.signature(d.program.outputs[f.draw_output])[0]
    axes = [a - len(shape) for a, size in enumerate(shape) if size > 1]
    ends = [separable_axis(d.program, f.name, a, {target.index})[target.index] for a in axes]
    # Where another factor is drawn from this one, elements could meet there.
    direct = all(not _reads(d, g, f) for g in d.factors)
    return direct and all(end is None or type(end) is int for end in ends) and len(set(ends)) == len(ends)


def _reads(d: Derivation, g: FactorFacts, f: FactorFacts) -> bool:
    draw = d.program.outputs[g.draw_output]
    return g is not f and type(draw) is Ref and _degree(d, draw, [f], [f, g]) > 0


def _degree(d: Derivation, target: Ref, factors: Sequence[FactorFacts], among: Sequence[FactorFacts]) -> int:
    """The degree of a value in the noise of some factors; a draw of none `among` others that reads it has none."""
    names, own = {f.name for f in among}, {f.noise_input for f in factors}
    degree = {i: 1 for i in own}
    for number, step in enumerate(d.program.steps, len(d.program.inputs)):
        if number > target.index:
            break
        of = lambda x: max((degree.get(i, 0) for i in refs((x,))), default=0)
        if step.fun is op.draw_of.run:
            found = of(step.args[0])
            degree[number] = found if found == 0 or (step.args[1] in names and found == 1) else BEYOND
        else:
            degree[number] = min(_after(step.fun, step.args, step.kwargs, of), BEYOND)
    return degree.get(target.index, 0)


def _after(fun: Callable, args: tuple, kwargs: Mapping, of: Callable) -> int:
    """The degree of an operation's result, from those of its arguments."""
    every = [of(a) for a in args]
    highest = max(every, default=0)
    if highest == 0:
        return 0
    if fun in _SAME:
        return highest if all(x == 0 for x in every[1:]) else BEYOND
    if fun in (np.add, np.subtract):
        return highest
    if fun in (np.multiply, np.matmul, np.einsum):
        return sum(every)
    if fun in (op.triangular_solve.run, op.triangular_solve_transposed.run, np.linalg.solve):
        return every[1] if every[0] == 0 else BEYOND
    if fun is np.true_divide:
        return every[0] if every[1] == 0 else BEYOND
    if fun is np.square:
        return 2 * highest
    if fun is np.power:
        whole = type(args[1]) is not Ref and np.ndim(args[1]) == 0 and args[1] in (1, 2)
        return int(args[1]) * every[0] if whole else BEYOND
    if fun is op.where.run:
        return max(every[1:]) if every[0] == 0 else BEYOND
    if fun is op.concatenate.run:
        return highest
    return BEYOND


_SAME = {
    np.negative, np.positive, op.total.run, op.reshape.run, op.broadcast.run, op.transpose.run, op.index.run,
    op.running_sum.run, op.scatter.run, op.cast.run, op.windows.run, op.overlaid.run,
}  # fmt: skip


def _expectation(d: Derivation, inputs: Sequence[Any], t: Term, factors: Sequence[FactorFacts]) -> Any:
    """E f over the noise of some factors, recorded."""
    names, target = {f.name for f in factors}, d.program.outputs[t.output]
    middle = {f.noise_input: np.zeros(f.noise_shape, d.program.dtype) for f in factors}

    def marked(n: str, x: Any) -> Any:
        return x if n in names else op.draw_of(x, n)

    def at(noise: Mapping[int, Any]) -> Any:
        own = [noise.get(i, x) for i, x in enumerate(inputs)]
        return replayed(d.program, own, marked, [target])[0]

    centre = value = at(middle)
    for f in factors:
        if _degree(d, target, [f], factors) == 1:
            continue
        if _apart(d, target, f):
            ends = [at({**middle, f.noise_input: np.full(f.noise_shape, u, d.program.dtype)}) for u in (1.0, -1.0)]
            value = value + (0.5 * (ends[0] + ends[1]) - centre)
            continue
        size = int(np.prod(f.noise_shape))
        units = np.eye(size, dtype=d.program.dtype).reshape(size, *f.noise_shape)
        both = _each(d, inputs, middle, f.noise_input, np.concatenate([units, -units]), marked, target)
        value = value + (0.5 * np.sum(both, axis=0) - size * centre)
    return value


def _each(d, inputs, middle, number, rows, marked, target) -> Any:
    """A value at each of some noises of a factor, along a first axis."""
    size, program = len(rows), d.program
    values: dict[int, Any] = {i: middle.get(i, x) for i, x in enumerate(inputs)}
    values[number] = Batched(rows)
    for i in sorted(needed(program, (target,))):
        if i >= len(inputs):
            step = program.steps[i - len(inputs)]
            args, kwargs = substitute((step.args, step.kwargs), values.__getitem__)
            if step.fun is op.draw_of.run:
                values[i] = args[0] if isinstance(args[0], Batched) else marked(args[1], args[0])
            else:
                values[i] = call_batched(size, step.fun, args, kwargs)
    return lead(values[target.index], size)
