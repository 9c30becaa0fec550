"""Where the large results of a program go, planned before it runs.

New memory for a large array costs more than the arithmetic done in it: its pages must be asked for
and zeroed. So an elementwise operation writes over an argument that nobody reads again, and other
temporaries share a workspace that the program keeps from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np

from . import operations as op
from .program import Program, Ref, Step, refs

LARGE = 1 << 14  # bytes of an array from which on memory is what costs
WORKSPACE = 1 << 25  # bytes that a program may keep from call to call
# What returns an array that is no view of another; so do elementwise operations.
NEW_MEMORY = {
    np.matmul,
    *(f.run for f in (op.total, op.scatter, op.overlaid, op.concatenate, op.where, op.agreeing, op.cast, op.softplus)),
}

Kind = tuple[tuple[int, ...], np.dtype]


def is_large(step: Step) -> bool:
    """Is the result (of a step, or recorded) a large array of floating numbers?"""
    return step.dtype.kind == "f" and math.prod(step.shape) * step.dtype.itemsize >= LARGE


def places_of_results(
    program: Program, kept: set[int], limit: int | None = None, taken: Collection[int] = ()
) -> tuple[dict[int, str], list[Kind]]:
    """Step -> the array that its result is written to: over value 3, "v3", or into the workspace, "w0".

    Also what the workspace consists of, at most `limit` bytes: what finds no place in it is new
    memory. `kept` are the values that leave the program; they never stand in the workspace. The results of
    steps that are `taken` have a place already, which nothing else may use.
    """
    n, steps = len(program.inputs), program.steps
    limit = WORKSPACE if limit is None else limit
    places: dict[int, str] = {}
    slots: list[Kind] = []
    if not any(map(is_large, steps)):
        return places, slots
    makes = [_elementwise(s.fun) or s.fun in NEW_MEMORY for s in steps]
    until = _last_readers(program, makes, kept)
    free: dict[Kind, list[int]] = {}
    held: dict[int, int] = {}  # value -> its slot of the workspace
    for k, step in enumerate(steps):
        kind, value = _kind(step), n + k
        ending = [i for i in dict.fromkeys(refs((step.args, step.kwargs))) if i >= n and until[i] == k]
        if k not in taken and _goes_anywhere(step):
            like = [
                i
                for i in ending
                if i - n not in taken and makes[i - n] and _kind(steps[i - n]) == kind and _elementwise(step.fun)
            ]
            own = next((i for i in like if i not in held), None)
            if own is not None:
                places[k] = f"v{own}"
            elif until.get(value, k) < len(steps):
                if like:
                    held[value] = held.pop(like[0])
                elif free.get(kind):
                    held[value] = free[kind].pop()
                elif _bytes(kind) <= limit:
                    held[value] = len(slots)
                    slots.append(kind)
                    limit -= _bytes(kind)
                if value in held:
                    places[k] = f"w{held[value]}"
        for i in ending:
            if i in held:
                free.setdefault(_kind(steps[i - n]), []).append(held.pop(i))
    return places, slots


def joined_in_place(program: Program, kept: set[int]) -> dict[int, list[tuple[int, int, int]]]:
    """Joins along the first axis -> which values are made where they will stand there, from and to which row.

    A gradient of many weights is one vector: its large parts need not be made elsewhere and copied.
    """
    n, steps = len(program.inputs), program.steps
    if not any(s.fun is op.concatenate.run and is_large(s) for s in steps):
        return {}
    readers: dict[int, int] = dict.fromkeys(kept, 2)
    for step in steps:
        for i in refs((step.args, step.kwargs)):
            readers[i] = readers.get(i, 0) + 1
    found: dict[int, list[tuple[int, int, int]]] = {}
    for k, step in enumerate(steps):
        if step.fun is not op.concatenate.run or step.args[1] != 0 or not is_large(step):
            continue
        stop = 0
        for part in step.args[0]:
            shape = program.signature(part)[0] if type(part) is Ref else np.shape(part)
            start, stop = stop, stop + shape[0]
            made = part.index if type(part) is Ref and readers[part.index] == 1 else 0
            if made >= n and steps[made - n].fun is op.reshape.run:
                source = steps[made - n].args[0]
                made = source.index if type(source) is Ref and readers[source.index] == 1 else 0
            if made >= n and _goes_anywhere(steps[made - n]) and steps[made - n].dtype == step.dtype:
                found.setdefault(k, []).append((made - n, start, stop))
    return found


def _goes_anywhere(step: Step) -> bool:
    """Can the result, a large one, be written into a given array?"""
    placed = _elementwise(step.fun) or step.fun is np.matmul
    return placed and bool(step.shape) and not step.kwargs and is_large(step)


def _last_readers(program: Program, makes: list[bool], kept: set[int]) -> dict[int, int]:
    """Value -> the last step that reads it, or what may be a view of it; after all steps if it leaves the program."""
    n, end = len(program.inputs), len(program.steps)
    until = dict.fromkeys(kept, end)
    for k in range(end - 1, -1, -1):
        step = program.steps[k]
        reader = k if makes[k] else max(k, until.get(n + k, k))
        for i in refs((step.args, step.kwargs)):
            until[i] = max(until.get(i, reader), reader)
    return until


def _elementwise(fun: Callable) -> bool:
    return isinstance(fun, np.ufunc) and fun.signature is None


def _kind(step: Step) -> Kind:
    return step.shape, step.dtype


def _bytes(kind: Kind) -> int:
    return math.prod(kind[0]) * kind[1].itemsize


class Workspace:
    """Arrays that a program writes in; a call that finds them taken, by another thread, makes its own."""

    def __init__(self, kinds: list[Kind]):
        self.kinds = kinds
        self.free: list[tuple] = []
        self.give = self.free.append

    def take(self) -> tuple:
        """The arrays; they are given back after the call."""
        try:
            return self.free.pop()
        except IndexError:
            return tuple([np.empty(shape, dtype) for shape, dtype in self.kinds])
