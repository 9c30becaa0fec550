"""The NumPy executor: a program as straight-line Python, with no compile wait.

Each step is one line, and a value is deleted after its last use. New memory for a large array
costs more than the arithmetic done in it, so large results go where an argument stood that nobody
reads again, or into a workspace that the program keeps from call to call. Long programs are cut
into several functions, because the cost of compiling one grows faster than its length; their
results are all new memory.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from . import operations as op
from .memory import Workspace, is_large, joined_in_place, places_of_results
from .program import Program, Ref, refs, run
from .recording import Recorded, Tape, call_recording, program_of

INFIX = {np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.matmul: "@"}
CHUNK = 2000  # lines of one emitted function
MANY = 1 << 22  # the most elements, given or made, of which a scatter keeps the places


def compile_program(program: Program) -> Callable[..., tuple]:
    """A plain function of the inputs that returns the tuple of outputs."""
    return _compile(program)[0]


def source(program: Program) -> str:
    """The emitted Python, for reading."""
    return _compile(program)[1]


def _compile(program):
    program = _in_ufuncs(program)
    n, steps = len(program.inputs), program.steps
    last: dict[int, int] = {}
    for k, step in enumerate(steps):
        for i in refs((step.args, step.kwargs)):
            last[i] = k
    kept = set(refs(program.outputs))
    if len(steps) <= CHUNK:
        writer = _Writer(program)
        lines = []
        dying: dict[int, list[int]] = {}
        for i, k in last.items():
            if i >= n and i not in kept:
                dying.setdefault(k, []).append(i)
        joins = joined_in_place(program, kept)
        ends = {part: (k, start, stop) for k, found in joins.items() for part, start, stop in found}
        firsts = {min(part for part, *_ in found): k for k, found in joins.items()}
        places, slots = places_of_results(program, kept, taken=ends)
        for part, (k, start, stop) in ends.items():
            places[part] = f"j{k}[{start}:{stop}].reshape({steps[part].shape})"
        if slots:
            names = "".join(f"w{i}, " for i in range(len(slots)))
            writer.scope["workspace"] = Workspace(slots)
            lines.append(f"    {names}= workspace.take()")
        for k, step in enumerate(steps):
            if k in firsts:
                lines.append(f"    j{firsts[k]} = {writer.new(steps[firsts[k]])}")
            made = writer.joined(step, f"j{k}", joins[k]) if k in joins else writer.expression(step, places.get(k))
            lines.append(f"    v{n + k} = {made}")
            if k in dying:
                lines.append(f"    del {', '.join(f'v{i}' for i in dying[k])}")
        if slots:
            lines.append(f"    workspace.give(({names}))")
        head = f"def program({', '.join(f'v{i}' for i in range(n))}):"
        text = "\n".join([head, *lines, f"    return {writer.code(tuple(program.outputs))}"])
        return writer.function(text), text
    return _compile_in_chunks(program, last, kept)


def _compile_in_chunks(program, last, kept):
    """Functions over one shared list of values: only what crosses a border goes through the list."""
    n, steps = len(program.inputs), program.steps
    heavy = {i for i, k in last.items() if i >= n and i not in kept and is_large(steps[i - n])}
    functions, texts = [], []
    for start in range(0, len(steps), CHUNK):
        stop = min(start + CHUNK, len(steps))
        writer = _Writer(program)
        lines, loaded = [], set()
        for k in range(start, stop):
            for i in refs((steps[k].args, steps[k].kwargs)):
                if i < n + start and i not in loaded:
                    loaded.add(i)
                    lines.append(f"    v{i} = v[{i}]")
                    if i in heavy and last[i] < stop:
                        lines.append(f"    v[{i}] = None")
            lines.append(f"    v{n + k} = {writer.expression(steps[k])}")
            if n + k in kept or last.get(n + k, -1) >= stop:
                lines.append(f"    v[{n + k}] = v{n + k}")
            lines += [f"    del v{i}" for i in {*refs((steps[k].args, steps[k].kwargs))} & heavy if last[i] == k]
        text = "\n".join(["def program(v):", *lines])
        functions.append(writer.function(text))
        texts.append(text)
    padding = [None] * len(steps)
    pick = [x.index if type(x) is Ref else None for x in program.outputs]
    constants = program.outputs

    def chunked(*inputs):
        values = [*inputs, *padding]
        for f in functions:
            f(values)
        return tuple([c if i is None else values[i] for i, c in zip(pick, constants, strict=True)])

    return chunked, "\n\n".join(texts)


class _Writer:
    """Turns steps into Python expressions; constants and functions become names."""

    def __init__(self, program: Program):
        self.program = program
        self.scope: dict[str, Any] = {}
        self.names: dict[Any, str] = {}

    def name(self, x, stem):
        if id(x) not in self.names:
            self.names[id(x)] = f"{stem}_{len(self.names)}"
            self.scope[self.names[id(x)]] = x
        return self.names[id(x)]

    def code(self, x) -> str:
        t = type(x)
        if t is Ref:
            return f"v{x.index}"
        if t is tuple or t is list:
            inner = "".join(self.code(y) + ", " for y in x)
            return f"({inner})" if t is tuple else f"[{inner}]"
        if t is slice:
            return f"slice({self.code(x.start)}, {self.code(x.stop)}, {self.code(x.step)})"
        if t is int or t is bool or x is None or (t is float and abs(x) < float("inf")):
            return repr(x)
        if x is Ellipsis:
            return "..."
        return self.name(x, "c")

    def expression(self, step, out=None) -> str:
        """The step as Python; `out` is the name of an array that the result goes into."""
        fun, args = step.fun, step.args
        if fun is np.matmul and self._of_many_rows(step):
            fun = _product_of_rows
            out = out or "None"
        if out is not None:
            return f"{self.name(fun, fun.__name__)}({', '.join([*map(self.code, args), out])})"
        if fun is op.index.run:
            axis = _axis_taken(args[1])
            if axis is not None:
                return f"{self.code(args[0])}.take({self.code(args[1][axis])}, {axis})"
            return f"{self.code(args[0])}[{self.code(args[1])}]"
        if fun is op.scatter.run and type(args[0]) is Ref and (add := _scatter_at(*args[1:], step)) is not None:
            return f"{self.name(add, 'scatter')}({self.code(args[0])})"
        if fun in op.TRANSPARENT:
            return self.code(args[0])
        if fun in INFIX:
            a, b = map(self.code, args)
            return (
                f"{a} {INFIX[fun]} ({b})"
                if b.startswith("-")
                else f"({a}) {INFIX[fun]} {b}"
                if a[0] == "-"
                else f"{a} {INFIX[fun]} {b}"
            )
        if fun is np.negative:
            return f"-{self.code(args[0])}"
        if fun is op.reshape.run and step.shape is not None and isinstance(args[0], Ref):
            return f"{self.name(_reshape, 'reshape')}({', '.join(map(self.code, args))})"
        if fun is op.total.run:
            return f"{self.name(np.add.reduce, 'sum')}({', '.join(map(self.code, args))})"
        call = [self.code(a) for a in args] + [f"{k}={self.code(v)}" for k, v in step.kwargs.items()]
        return f"{self.name(fun, fun.__name__)}({', '.join(call)})"

    def new(self, step) -> str:
        """Memory for the result of a step."""
        return f"{self.name(np.empty, 'empty')}({step.shape}, {self.code(step.dtype)})"

    def joined(self, step, whole: str, made: list[tuple[int, int, int]]) -> str:
        """A join whose parts stand in their places already, but for some that are copied there."""
        there, rest, stop = {start for _, start, _ in made}, [], 0
        for part in step.args[0]:
            shape = self.program.signature(part)[0] if type(part) is Ref else np.shape(part)
            start, stop = stop, stop + shape[0]
            if stop > start and start not in there:
                rest.append(f"({start}, {stop}, {self.code(part)})")
        return f"{self.name(_filled, 'filled')}({whole}, [{', '.join(rest)}])"

    def _of_many_rows(self, step) -> bool:
        """Is this a product of several axes of rows with one matrix?"""
        ndim = [len(self.program.signature(x)[0]) if type(x) is Ref else np.ndim(x) for x in step.args]
        return ndim[0] > 2 and ndim[1] == 2

    def function(self, text):
        exec(compile(text, "<array program>", "exec"), self.scope)
        return self.scope["program"]


def _reshape(x, shape):
    return x.reshape(shape) if hasattr(x, "reshape") else operator.getitem(np.reshape(x, shape), ())


def _filled(whole, parts):
    """An array, with the parts of it that were made elsewhere copied into their rows."""
    for start, stop, x in parts:
        whole[start:stop] = x
    return whole


def _product_of_rows(a, b, out=None):
    """a @ b as one product: NumPy's own makes one for each of the axes in front."""
    count = math.prod(a.shape[:-1])
    rows = a.reshape(count, a.shape[-1])
    if out is None:
        return (rows @ b).reshape(*a.shape[:-1], b.shape[-1])
    np.matmul(rows, b, out.reshape(count, b.shape[-1]))
    return out


# -- what NumPy has a faster way for ---------------------------------------------------------------
# In vectorised functions, which share exp(-|x|), and in the workspace.
IN_UFUNCS: dict[Callable, Callable] = {
    op.softplus.run: lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0.0),
    special.expit: lambda x: np.exp(np.minimum(x, 0.0)) / (1.0 + np.exp(-np.abs(x))),
}


def _in_ufuncs(program: Program) -> Program:
    """The program with some operations on large arrays written out."""
    if not any(s.fun in IN_UFUNCS and is_large(s) for s in program.steps):
        return program
    tape = Tape(dtype=program.dtype)
    inputs = [tape.input(np.broadcast_to(np.zeros((), x.dtype), x.shape), x.name) for x in program.inputs]

    def call(fun, args, kwargs):
        written = IN_UFUNCS.get(fun)
        if written and isinstance(args[0], Recorded) and is_large(args[0]):
            return written(*args)
        return call_recording(fun, args, kwargs)

    return program_of(tape, run(program, *inputs, call=call))


def _axis_taken(key) -> int | None:
    """The axis of x[:, :, rows], if that is what the key says."""
    if type(key) is not tuple or len(key) < 2 or any(k != slice(None) for k in key[:-1] if type(k) is slice):
        return None
    rows = key[-1]
    whole = isinstance(rows, np.ndarray) and rows.ndim > 0 and rows.dtype.kind in "iu"
    return len(key) - 1 if whole and all(type(k) is slice for k in key[:-1]) else None


def _scatter_at(key, shape, step) -> Callable | None:
    """Adding up at places that are known: a weighted count, whatever the key."""
    keys, size = key if type(key) is tuple else (key,), math.prod(shape)
    known = any(isinstance(k, np.ndarray) for k in keys) and not any(True for _ in refs(key))
    if not known or step.dtype.kind != "f" or size > MANY:
        return None
    places = np.arange(size).reshape(shape)[key]
    if not 0 < places.size <= MANY:
        return None
    if (add := op.adding_rows(key, shape)) is not None:
        return add
    given, flat, dtype = places.shape, places.ravel(), step.dtype

    def add(g):
        g = g if g.shape == given else np.broadcast_to(g, given)
        return np.bincount(flat, g.ravel(), size).reshape(shape).astype(dtype, copy=False)

    return add
