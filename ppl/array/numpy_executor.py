"""The NumPy executor: a program as straight-line Python, with no compile wait.

Each step is one line, and a value is deleted after its last use. An elementwise operation on
large arrays writes over an argument that nobody reads again: new memory costs more than the
arithmetic done in it. Long programs are cut into several functions, because the cost of compiling
one grows faster than its length.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from . import operations as op
from .program import Program, Ref, Step, refs

INFIX = {np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.matmul: "@"}
CHUNK = 2000  # lines of one emitted function
LARGE = 1 << 14  # bytes of an array from which on memory is what costs
MANY = 1 << 22  # elements whose places in the sum a scatter does not keep
NEW_MEMORY = {  # what returns an array that is no view of another
    *(np.matmul, op.total.run, op.scatter.run, op.concatenate.run, op.where.run, op.cast.run, op.softplus.run),
}


def compile_program(program: Program) -> Callable[..., tuple]:
    """A plain function of the inputs that returns the tuple of outputs."""
    return _compile(program)[0]


def source(program: Program) -> str:
    """The emitted Python, for reading."""
    return _compile(program)[1]


def _compile(program):
    n, steps = len(program.inputs), program.steps
    last: dict[int, int] = {}
    for k, step in enumerate(steps):
        for i in refs((step.args, step.kwargs)):
            last[i] = k
    kept = set(refs(program.outputs))
    if len(steps) <= CHUNK:
        writer = _Writer()
        lines = []
        dying: dict[int, list[int]] = {}
        for i, k in last.items():
            if i >= n and i not in kept:
                dying.setdefault(k, []).append(i)
        over = _overwritten(program, kept)
        for k, step in enumerate(steps):
            lines.append(f"    v{n + k} = {writer.expression(step, over.get(k))}")
            if k in dying:
                lines.append(f"    del {', '.join(f'v{i}' for i in dying[k])}")
        head = f"def program({', '.join(f'v{i}' for i in range(n))}):"
        text = "\n".join([head, *lines, f"    return {writer.code(tuple(program.outputs))}"])
        return writer.function(text), text
    return _compile_in_chunks(program, last, kept)


def _is_large(step: Step) -> bool:
    return step.dtype.kind == "f" and math.prod(step.shape) * step.dtype.itemsize >= LARGE


def _elementwise(fun: Callable) -> bool:
    return isinstance(fun, np.ufunc) and fun.signature is None


def _overwritten(program: Program, kept: set[int]) -> dict[int, int]:
    """Steps that write over an argument, and which: new memory of the same kind whose last reader is this step."""
    n, steps = len(program.inputs), program.steps
    if not any(map(_is_large, steps)):
        return {}
    makes = [_elementwise(s.fun) or s.fun in NEW_MEMORY for s in steps]
    until = dict.fromkeys(kept, len(steps))  # the last step that reads a value, or what may be a view of it
    for k in range(len(steps) - 1, -1, -1):
        end = k if makes[k] else max(k, until.get(n + k, k))
        for i in refs((steps[k].args, steps[k].kwargs)):
            until[i] = max(until.get(i, end), end)
    found = {}
    for k, step in enumerate(steps):
        if _elementwise(step.fun) and _is_large(step) and not step.kwargs:
            for i in refs(step.args):
                made = steps[i - n] if i >= n else None
                if made and makes[i - n] and until[i] == k and made.shape == step.shape and made.dtype == step.dtype:
                    found[k] = i
                    break
    return found


def _compile_in_chunks(program, last, kept):
    """Functions over one shared list of values: only what crosses a border goes through the list."""
    n, steps = len(program.inputs), program.steps
    functions, texts = [], []
    for start in range(0, len(steps), CHUNK):
        stop = min(start + CHUNK, len(steps))
        writer = _Writer()
        lines, loaded = [], set()
        for k in range(start, stop):
            for i in refs((steps[k].args, steps[k].kwargs)):
                if i < n + start and i not in loaded:
                    loaded.add(i)
                    lines.append(f"    v{i} = v[{i}]")
            lines.append(f"    v{n + k} = {writer.expression(steps[k])}")
            if n + k in kept or last.get(n + k, -1) >= stop:
                lines.append(f"    v[{n + k}] = v{n + k}")
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

    def __init__(self):
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

    def expression(self, step, over=None) -> str:
        """The step as Python; `over`: the number of a value whose memory the result takes."""
        fun, args = step.fun, step.args
        if fun in KERNELS and _is_large(step):
            return f"{self.name(KERNELS[fun], fun.__name__)}({self.code(args[0])})"
        if over is not None:
            return f"{self.name(fun, fun.__name__)}({', '.join([*map(self.code, args), f'v{over}'])})"
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

    def function(self, text):
        exec(compile(text, "<array program>", "exec"), self.scope)
        return self.scope["program"]


def _reshape(x, shape):
    return x.reshape(shape) if hasattr(x, "reshape") else operator.getitem(np.reshape(x, shape), ())


# -- what NumPy has a faster way for ---------------------------------------------------------------
def _softplus(x):
    """`softplus` of a large array, in two buffers."""
    y = np.abs(x)
    np.exp(np.negative(y, y), y)
    np.log1p(y, y)
    return np.add(y, np.maximum(x, 0), y)


def _expit(x):
    """1 / (1 + exp(-x)) of a large array, with NumPy's vectorised exponential."""
    e = np.abs(x)
    np.exp(np.negative(e, e), e)
    top = np.where(x < 0, e, e.dtype.type(1))
    return np.divide(top, np.add(e, 1, e), top)


KERNELS: dict[Callable, Callable] = {op.softplus.run: _softplus, special.expit: _expit}


def _axis_taken(key) -> int | None:
    """The axis of x[:, :, rows], if that is what the key says."""
    if type(key) is not tuple or len(key) < 2 or any(k != slice(None) for k in key[:-1] if type(k) is slice):
        return None
    rows = key[-1]
    whole = isinstance(rows, np.ndarray) and rows.ndim > 0 and rows.dtype.kind in "iu"
    return len(key) - 1 if whole and all(type(k) is slice for k in key[:-1]) else None


def _scatter_at(key, shape, step) -> Callable | None:
    """Adding up at places that are known: a weighted count, whatever the key."""
    keys = key if type(key) is tuple else (key,)
    if step.dtype.kind != "f" or not any(isinstance(k, np.ndarray) for k in keys) or any(True for _ in refs(key)):
        return None
    size = math.prod(shape)
    places = np.arange(size).reshape(shape)[key].ravel()
    if not 0 < places.size <= MANY:
        return None
    given, dtype = np.empty(shape, bool)[key].shape, step.dtype

    def add(g):
        g = g if g.shape == given else np.broadcast_to(g, given)
        return np.bincount(places, g.ravel(), size).reshape(shape).astype(dtype, copy=False)

    return add
