"""The array program: a frozen, flat list of array operations.

    inputs v0 .. v(n-1)  ->  steps v(n), v(n+1), ...  ->  outputs

A value is known by its number: first the inputs, then one per step. Constants stand in
the arguments themselves. Everything that handles programs (differentiation, batching,
emission, explanation) is a function from a program to something else; none edits one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np


class Ref(NamedTuple):
    """The value with this number."""

    index: int


class Step(NamedTuple):
    """One operation: `fun(*args, **kwargs)` has this shape and dtype."""

    fun: Callable[..., Any]
    args: tuple
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype


class Input(NamedTuple):
    """What an input looks like."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Program:
    """A straight line of array operations; `print` shows it in a readable form."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple

    def __str__(self) -> str:
        from .text import kind, written

        text = written(self)
        lines = [f"{x.name}: {kind(x)}" for x in self.inputs]
        lines += [f"{name} = {expression}  # {shape}" for name, expression, shape in text.lines]
        outputs = ", ".join(text.outputs)
        if len(outputs) > 100:
            outputs = "".join(f"\n    {x}," for x in text.outputs)
            return "\n".join([*lines, f"return ({outputs}\n)"])
        return "\n".join([*lines, f"return {outputs}"])

    @cached_property
    def work(self) -> int:
        """Counted cost of one run: elements written, matrix products by their multiply-adds."""
        return sum(_cost(self, step) for step in self.steps)

    def work_of(self, number: int) -> int:
        """Counted cost of the step that computes a value."""
        return _cost(self, self.steps[number - len(self.inputs)])

    @cached_property
    def dtype(self) -> np.dtype:
        """The working dtype: float32 if the floating inputs are, else float64."""
        kinds = {x.dtype for x in self.inputs if x.dtype.kind == "f"}
        return np.dtype(np.float32) if kinds == {np.dtype(np.float32)} else np.dtype(np.float64)

    def signature(self, ref: Ref) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of a value."""
        n = len(self.inputs)
        x = self.inputs[ref.index] if ref.index < n else self.steps[ref.index - n]
        return x.shape, x.dtype


NESTED = frozenset((tuple, list, slice, dict))  # arguments that values may stand inside of


def refs(x: Any) -> list[int]:
    """Numbers of the values that an argument mentions."""
    t = type(x)
    if t is Ref:
        return [x.index]
    if t is slice:
        x = (x.start, x.stop, x.step)
    elif t is dict:
        x = tuple(x.values())
    elif t is not tuple and t is not list:
        return []
    found = []
    for y in x:
        if type(y) is Ref:
            found.append(y.index)
        elif type(y) in NESTED:
            found += refs(y)
    return found


def substitute(x: Any, value: Callable[[int], Any]) -> Any:
    """The argument with every reference i replaced by value(i)."""
    t = type(x)
    if t is Ref:
        return value(x.index)
    if t is tuple or t is list:
        return t([value(y.index) if type(y) is Ref else substitute(y, value) if type(y) in NESTED else y for y in x])
    if t is slice:
        return slice(*(substitute(y, value) for y in (x.start, x.stop, x.step)))
    if t is dict:
        return {k: substitute(y, value) for k, y in x.items()}
    return x


def run(program: Program, *inputs: Any, call: Callable[..., Any] | None = None) -> tuple:
    """Interpret a program on any values that its operations understand.

    `call(fun, args, kwargs)` replaces the plain call: for recording it again, or batching.
    """
    values = list(inputs)
    for fun, args, kwargs, *_ in program.steps:
        a, k = substitute(args, values.__getitem__), substitute(kwargs, values.__getitem__)
        values.append(fun(*a, **k) if call is None else call(fun, a, k))
    return substitute(program.outputs, values.__getitem__)


def reachable(program: Program, starts: set[int]) -> set[int]:
    """Numbers of the values that depend on the values `starts`, themselves included."""
    found = set(starts)
    for i, step in enumerate(program.steps, len(program.inputs)):
        if not found.isdisjoint(refs(step.args)) or (step.kwargs and not found.isdisjoint(refs(step.kwargs))):
            found.add(i)
    return found


def needed(program: Program, outputs: tuple) -> set[int]:
    """Numbers of the values that the outputs are computed from, themselves included."""
    n = len(program.inputs)
    live, todo = set(), list(refs(tuple(outputs)))
    while todo:
        i = todo.pop()
        if i not in live:
            live.add(i)
            if i >= n:
                _, args, kwargs, *_ = program.steps[i - n]
                todo += refs(args)
                if kwargs:
                    todo += refs(kwargs)
    return live


def prune(program: Program, outputs: tuple, transparent: frozenset = frozenset()) -> Program:
    """The program of other outputs of the same steps, without the steps that these do not need.

    `transparent` operations are replaced by their first argument.
    """
    n = len(program.inputs)
    number: dict[int, Any] = {i: Ref(i) for i in range(n)}
    steps: list[Step] = []
    _append(steps, program, sorted(needed(program, outputs)), number, n, transparent)
    return Program(program.inputs, tuple(steps), substitute(tuple(outputs), number.__getitem__))


def compose(first: Program, second: Program) -> Program:
    """The program of the inputs of the first, whose first outputs are the first inputs of the second.

    Inputs of the second beyond those follow the inputs of the first.
    """
    more = second.inputs[len(first.outputs) :]
    n = len(first.inputs) + len(more)
    number: dict[int, Any] = {i: Ref(i) for i in range(len(first.inputs))}
    steps: list[Step] = []
    _append(steps, first, range(len(first.inputs), len(first.inputs) + len(first.steps)), number, n)
    given = [*substitute(first.outputs, number.__getitem__), *map(Ref, range(len(first.inputs), n))]
    number = dict(enumerate(given))
    _append(steps, second, range(len(second.inputs), len(second.inputs) + len(second.steps)), number, n)
    return Program((*first.inputs, *more), tuple(steps), substitute(second.outputs, number.__getitem__))


def _append(steps, program, wanted, number, inputs, transparent=frozenset()) -> None:
    """Add steps of a program to others; `number` says, and is told, what its values are called there."""
    own = len(program.inputs)
    for i in wanted:
        if i >= own:
            fun, args, kwargs, shape, dtype = program.steps[i - own]
            args = substitute(args, number.__getitem__)
            if fun in transparent:
                number[i] = args[0]
                continue
            number[i] = Ref(inputs + len(steps))
            steps.append(Step(fun, args, substitute(kwargs, number.__getitem__) if kwargs else kwargs, shape, dtype))


def _cost(program: Program, step: Step) -> int:
    size = prod(step.shape)
    body = step.args[0] if step.args else None
    if isinstance(getattr(body, "program", None), Program):  # a loop: its body, for every step
        return size + body.length * body.program.work
    name = step.fun.__name__
    if name in ("matmul", "overlaid"):  # as much as it reads
        first = step.args[0]
        shape = program.signature(first)[0] if isinstance(first, Ref) else np.shape(first)
        return size * shape[-1] if name == "matmul" else prod(shape)
    return max(size, 1) if name != "windows" else 1  # which is a view
