"""Rolling up: many steps of one form become one step on stacked values.

A model that names its sites one by one, in a loop of Python, records the same few scalar
operations for each of them. Steps of one operation at the same depth, on values of the same
shapes, do not depend on each other: they are the rows of one batched step, and batching's own
rules say what that is. Ten thousand sites then cost a handful of array operations.

    v3 = v0 * 2.0, v4 = v1 * 2.0, v5 = v2 * 2.0   ->   w1 = w0 * 2.0,  w0 the rows v0, v1, v2

What has no siblings stays as it is, in its old order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import operations as op
from .batching import Batched, call_batched
from .gaps import binet, binet_bend, binet_gap, binet_slope, gammaln_gap, xlogx_gap
from .program import Input, Program, Ref, Step, refs, substitute
from .recording import Tape, _dtype, call_recording, paused_collector, program_of

LEAST = 8  # steps of one form from which they are rolled up
SMALL = 64  # elements of a value up to which calls cost more than the work
# Operations of one array: the axis, the axes, the shape or the type that follow belong to the form.
OF_ONE_ARRAY = frozenset(
    (
        *(op.cast.run, op.reshape.run, op.broadcast.run, op.transpose.run, op.total.run, op.largest.run),
        *(op.log_total_exp.run, op.running_sum.run),
    )
)
ROWWISE = OF_ONE_ARRAY | {
    *(op.softplus.run, op.stop_gradient.run, op.where.run, op.agreeing.run),
    *(xlogx_gap.run, gammaln_gap.run, binet_gap.run, binet.run, binet_slope.run, binet_bend.run),
}


class Rows(NamedTuple):
    """Where a value of the old program is: a row of a stacked one."""

    stack: Any
    row: int


def packs_of(inputs: Sequence[Input], among: Sequence[int]) -> list[list[int]]:
    """Numbers of small inputs that look the same, enough of them to become the rows of one input."""
    alike: dict[Any, list[int]] = {}
    for i in among:
        x = inputs[i]
        if prod(x.shape) <= SMALL:
            alike.setdefault((x.shape, x.dtype), []).append(i)
    return [members for members in alike.values() if len(members) >= LEAST]


def units(count: int, packs: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """What the inputs of a rolled program stand for, in order: packs, and single inputs of the old one."""
    first = {members[0]: members for members in packs}
    inside = {i for members in packs for i in members}
    return [first.get(i, (i,)) for i in range(count) if i in first or i not in inside]


def pack(inputs: Sequence[Input], values: Sequence[Any], packs: Sequence[Sequence[int]]) -> list:
    """Values of the inputs of a program, as `roll` with these packs wants them.

    Values may have leading axes; the rows of a pack stand after them.
    """
    packed = {members[0] for members in packs}
    return [
        np.stack([values[i] for i in members], np.ndim(values[members[0]]) - len(inputs[members[0]].shape))
        if members[0] in packed
        else values[members[0]]
        for members in units(len(values), packs)
    ]


def roll(program: Program, packs: Sequence[Sequence[int]] = ()) -> Program:
    """The same function with steps of one form rolled up.

    `packs` are inputs of one shape each: they become the rows of one input, which stands where
    the first of them stood.

    >>> from ppl.array import compile_program, record
    >>> many = record(lambda *x: (sum(2.0 * y for y in x),), [np.zeros(())] * 20)
    >>> rolled = roll(many, [range(20)])
    >>> len(rolled.inputs), [s.fun.__name__ for s in rolled.steps][:2]
    (1, ['multiply', 'index'])
    >>> float(compile_program(rolled)(np.arange(20.0))[0])
    380.0
    """
    with paused_collector():
        return _Rolling(program, packs).program()


class _Rolling:
    """One rolling up: where every value of the old program is on the tape of the new one."""

    def __init__(self, program: Program, packs: Sequence[Sequence[int]]):
        self.old, self.tape, self.first = program, Tape(dtype=program.dtype), len(program.inputs)
        self.where: list[Any] = [None] * (self.first + len(program.steps))
        self.stacks: dict[tuple[int, ...], Any] = {}  # stacked values that were asked for
        self.levels, self.groups = _groups(program, packs)
        packed = {members[0] for members in packs}
        for members in units(self.first, packs):
            x = program.inputs[members[0]]
            shape = (len(members), *x.shape) if members[0] in packed else x.shape
            node = self.tape.input(np.broadcast_to(np.zeros((), x.dtype), shape), x.name)
            for row, k in enumerate(members):
                self.where[k] = Rows(node, row) if members[0] in packed else node

    def program(self) -> Program:
        for number in range(self.first, len(self.where)):
            if self.where[number] is None:
                for group in self.missing(number):
                    self.emit(group)
        return program_of(self.tape, substitute(self.old.outputs, self.value))

    def missing(self, number: int) -> list[list[int]]:
        """The step, with its siblings, and what they need that is not there yet, in order of depth."""
        found: dict[int, list[int]] = {}  # groups by their first step
        todo = [number]
        while todo:
            i = todo.pop()
            group = self.groups.get(i) or [i]
            if group[0] not in found:
                found[group[0]] = group
                for k in group:
                    step = self.step(k)
                    todo += [j for j in refs((step.args, step.kwargs)) if self.where[j] is None]
        return sorted(found.values(), key=lambda group: self.levels[group[0]])

    def step(self, number: int) -> Step:
        return self.old.steps[number - self.first]

    def value(self, number: int) -> Any:
        """A single value."""
        x = self.where[number]
        return op.index(x.stack, x.row) if type(x) is Rows else x

    def emit(self, group: Sequence[int]) -> None:
        """Record one step, or several as one."""
        if len(group) > 1:
            result = self.rolled([self.step(k) for k in group])
            if result is None:
                for k in group:
                    self.emit([k])
                return
            for row, k in enumerate(group):
                self.where[k] = Rows(result.x, row) if type(result) is Batched else result
            return
        step = self.step(group[0])
        if step.fun is op.concatenate.run and _joins_rows(self.old, step):
            rows = self.stacked([x.index for x in step.args[0]])
            self.where[group[0]] = op.reshape(rows, step.shape)
        else:
            args, kwargs = substitute((step.args, step.kwargs), self.value)
            self.where[group[0]] = call_recording(step.fun, args, kwargs)

    def rolled(self, steps: Sequence[Step]) -> Any:
        """Siblings as one step: arguments in which they differ are stacked. None if they cannot be one."""
        fun = steps[0].fun
        if fun is op.index.run:
            return self.gathered(steps)
        args: list[Any] = []
        for place, column in enumerate(zip(*(s.args for s in steps), strict=True)):
            if type(column[0]) is Ref:
                numbers = [x.index for x in column]
                same = numbers.count(numbers[0]) == len(numbers)
                args.append(self.value(numbers[0]) if same else Batched(self.stacked(numbers)))
            elif place and fun in OF_ONE_ARRAY:
                args.append(column[0])  # equal by the form
            else:
                try:
                    args.append(_constants(column, self.type_of_numbers(steps[0], place)))
                except OverflowError:
                    return None
        result = call_batched(len(steps), fun, tuple(args), {})
        return result if _dtype(result.x if type(result) is Batched else result) == steps[0].dtype else None

    def type_of_numbers(self, step: Step, place: int) -> np.dtype:
        """The type in which a step works with one of Python's numbers: that of the arrays that it meets."""
        if step.fun is op.where.run and not place:
            return np.dtype(bool)
        if not isinstance(step.fun, np.ufunc):
            return step.dtype
        kinds = [
            self.old.signature(x)[1] if type(x) is Ref else x.dtype if hasattr(x, "dtype") else type(x)
            for x in step.args
        ]
        return step.fun.resolve_dtypes((*(np.dtype(bool) if t is bool else t for t in kinds), None))[place]

    def gathered(self, steps: Sequence[Step]) -> Batched:
        """Places of one vector, as one gather."""
        x = steps[0].args[0]
        places = np.arange(self.old.signature(x)[0][0])
        rows = np.stack([places[s.args[1]] for s in steps])
        return Batched(op.reshape(_pick(self.value(x.index), rows.ravel()), rows.shape))

    def stacked(self, numbers: Sequence[int]) -> Any:
        """Values as the rows of one."""
        key = tuple(numbers)
        if key not in self.stacks:
            self.stacks[key] = self._stacked([self.where[i] for i in key])
        return self.stacks[key]

    def _stacked(self, places: Sequence[Any]) -> Any:
        sources: dict[int, tuple[Any, list[int]]] = {}  # a stack, or None for what is in none; places taken from it
        for k, x in enumerate(places):
            stack = x.stack if type(x) is Rows else None
            sources.setdefault(id(stack), (stack, []))[1].append(k)
        parts, order = [], []
        for stack, taken in sources.values():
            order += taken
            if stack is None:
                parts += [np.reshape(x, (1, *np.shape(x))) for x in (places[k] for k in taken)]
            else:
                parts.append(_pick(stack, np.array([places[k].row for k in taken])))
        joined = op.concatenate(tuple(parts), 0) if len(parts) > 1 else parts[0]
        return _pick(joined, np.argsort(order))


def _pick(x: Any, rows: np.ndarray) -> Any:
    """Some rows of a value: as a slice where they are evenly spaced."""
    if not len(rows):
        return op.index(x, slice(0, 0))
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    if step < 1 or np.any(np.diff(rows) != step):
        return op.index(x, rows)
    whole = step == 1 and len(rows) == np.shape(x)[0]
    return x if whole else op.index(x, slice(int(rows[0]), int(rows[-1]) + 1, step))


def _constants(column: Sequence[Any], dtype: np.dtype) -> Any:
    """One constant argument of siblings: as it is where they agree, stacked where they do not.

    Python's numbers, which have no type of their own, are stacked in this one.
    """
    first = column[0]
    if all(x is first for x in column):
        return first
    rows = np.array(column, dtype) if type(first) in (bool, int, float) else np.stack(column)
    return first if rows[:1].tobytes() * len(rows) == rows.tobytes() else Batched(rows)


def _joins_rows(program: Program, step: Step) -> bool:
    """Is this a concatenation along the first axis of many values that look the same?"""
    parts, axis = step.args
    if axis != 0 or len(parts) < LEAST or not all(type(x) is Ref for x in parts):
        return False
    return len({program.signature(x) for x in parts}) == 1


def _groups(program: Program, packs: Sequence[Sequence[int]]) -> tuple[list[int], dict[int, list[int]]]:
    """The depth of every value, and for each step that has siblings the group it is in.

    Siblings are made by the same operations all the way from inputs that look the same, so that
    the arguments of a group are rows of groups again, and nothing has to be collected.
    """
    pack_of = {i: number for number, members in enumerate(packs) for i in members}
    forms: dict[Any, int] = {}  # ways in which values are made, as small numbers
    form_of = [forms.setdefault((pack_of.get(i, -1 - i),), len(forms)) for i in range(len(program.inputs))]
    levels = [0] * len(form_of)
    alike: dict[int, list[int]] = {}
    rowwise: dict[Callable, bool] = {}
    for number, (fun, args, kwargs, shape, _) in enumerate(program.steps, len(form_of)):
        deepest, form, plain = 0, [fun], not kwargs
        for place, a in enumerate(args):
            t = type(a)
            if t is Ref:
                deepest = max(deepest, levels[a.index])
                form.append(form_of[a.index])
            elif place and fun in OF_ONE_ARRAY:
                form.append(repr(a))
            elif t is float or t is int or t is bool:
                form.append(t)
            elif isinstance(a, np.ndarray | np.generic):
                form.append((a.shape, a.dtype.char))
                plain = plain and a.size <= SMALL
            else:
                inside = list(refs(a))
                deepest = max([deepest, *(levels[i] for i in inside)])
                plain = plain and fun is op.index.run and not inside
        if kwargs:
            deepest = max([deepest, *(levels[i] for i in refs(kwargs))])
        levels.append(deepest + 1)
        if fun not in rowwise:
            rowwise[fun] = fun in ROWWISE or (isinstance(fun, np.ufunc) and fun.signature is None)
        if plain and prod(shape) > SMALL:
            plain = False
        if plain and fun is op.index.run and type(args[0]) is Ref and _of_vector(program, args):
            form = [fun, args[0], shape]
        elif not plain or not rowwise[fun]:
            form = [number]
        kind = forms.setdefault(tuple(form), len(forms))
        form_of.append(kind)
        alike.setdefault(kind, []).append(number)
    return levels, {i: group for group in alike.values() if len(group) >= LEAST for i in group}


def _of_vector(program: Program, args: tuple) -> bool:
    """Is this x[i] or x[i:j] of a vector?"""
    return type(args[1]) in (int, slice) and len(program.signature(args[0])[0]) == 1
