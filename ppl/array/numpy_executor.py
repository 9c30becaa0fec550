"""The NumPy executor: a program as straight-line Python, with no compile wait.

Each step is one line; a value is deleted after its last use, so that large temporaries are
reused by NumPy's allocator. Long programs are cut into several functions, because the cost of
compiling one grows faster than its length.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from . import operations as op
from .program import Program, Ref, refs

INFIX = {np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.matmul: "@"}
CHUNK = 2000  # lines of one emitted function


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
        for k, step in enumerate(steps):
            lines.append(f"    v{n + k} = {writer.expression(step)}")
            if k in dying:
                lines.append(f"    del {', '.join(f'v{i}' for i in dying[k])}")
        head = f"def program({', '.join(f'v{i}' for i in range(n))}):"
        text = "\n".join([head, *lines, f"    return {writer.code(tuple(program.outputs))}"])
        return writer.function(text), text
    return _compile_in_chunks(program, last, kept)


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

    def expression(self, step) -> str:
        fun, args = step.fun, step.args
        if fun is op.index.run:
            return f"{self.code(args[0])}[{self.code(args[1])}]"
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
