"""A loop over time as one operation: its body is a program of its own.

    scan(f, init, xs):   carry, y_t = f(carry, x_t)   for t = 0 .. length - 1

The operation returns one array of length + 1 rows; row t holds the carry before step t and
then y_t, flattened. So it has one result like any other operation, the carries that the
backward pass needs are there, and its derivatives and its batched form are scans again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import ModelError, ShapeError
from . import operations as op
from .batching import RULES, Batched, call_batched, lead, run_batched
from .derivatives import JUMP_RULES, PULLS, discontinuous, pull_through, zeros
from .forward import PUSHES, pushforward
from .numpy_executor import compile_program
from .program import Input, Program, Ref, Step, needed, reachable, refs, run, substitute
from .recording import (
    SHAPES,
    Recorded,
    Tape,
    _dtype,
    call_recording,
    concrete,
    operation,
    parents,
    program_of,
    substitute_nodes,
    tape_of,
)


@dataclass(frozen=True, eq=False)
class Body:
    """One step: program (carries, xs, constants) -> (new carries, ys), and how often it runs."""

    program: Program
    carries: int
    xs: int
    length: int

    def __repr__(self) -> str:
        return f"<{len(self.program.steps)} operations, {self.length} times>"

    @cached_property
    def _shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what a row holds: carries, then ys."""
        inputs = [x.shape for x in self.program.inputs[: self.carries]]
        return inputs + [_shape_of(self.program, o) for o in self.program.outputs[self.carries :]]

    @cached_property
    def slices(self) -> list[slice]:
        """Where each carry and each y stands in a row."""
        ends = np.cumsum([0] + [int(np.prod(s, dtype=np.int64)) for s in self._shapes])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    @cached_property
    def dtype(self) -> np.dtype:
        """float32 if all that a row holds is, else float64."""
        return np.dtype(np.float32) if self._kinds == {np.dtype(np.float32)} else np.dtype(np.float64)

    @cached_property
    def working(self) -> np.dtype:
        """The working dtype: float32 if all floating numbers are that go from step to step or leave it."""
        floating = {k for k in self._kinds if k.kind == "f"}
        return np.dtype(np.float32) if floating == {np.dtype(np.float32)} else np.dtype(np.float64)

    @property
    def _kinds(self) -> set[np.dtype]:
        outputs = self.program.outputs
        kinds = {self.program.signature(o)[1] if type(o) is Ref else _dtype(o) for o in outputs}
        return kinds | {x.dtype for x in self.program.inputs[: self.carries]}

    @property
    def width(self) -> int:
        return self.slices[-1].stop if self.slices else 0

    @cached_property
    def step(self) -> Callable[..., tuple]:
        return compile_program(self.program)

    def carry(self, rows: Any, i: int, later: int = 0) -> Any:
        """Carry i before every step, or after it, from the rows of the result; whole numbers are whole again."""
        dtype = self.program.inputs[i].dtype
        found = self._leaf(rows[later : self.length + later], i)
        return found if dtype.kind == "f" else op.cast(found, dtype)

    def last(self, rows: Any, i: int) -> Any:
        """Carry i after the last step."""
        return np.reshape(rows[self.length][self.slices[i]], self._shapes[i])

    def y(self, rows: Any, i: int) -> Any:
        """Output i of every step."""
        return self._leaf(rows[: self.length], self.carries + i)

    def _leaf(self, rows: Any, i: int) -> Any:
        return np.reshape(rows[:, self.slices[i]], (self.length, *self._shapes[i]))

    def pack(self, leaves: Sequence[Any], final: Sequence[Any]) -> Any:
        """Rows from leaves (length, ...) of every carry and y, and the final carries."""
        columns = [np.reshape(x, (self.length, -1)) for x in leaves]
        rows = columns[0] if len(columns) == 1 else np.concatenate(columns, 1)
        ys = self.width - sum(s.stop - s.start for s in self.slices[: self.carries])
        end = [np.reshape(x, (1, -1)) for x in final] + ([np.zeros((1, ys), self.dtype)] if ys else [])
        return np.concatenate([rows, end[0] if len(end) == 1 else np.concatenate(end, 1)], 0)

    @cached_property
    def adjoint(self) -> Body:
        """The step backwards: carries are the adjoints of carries, ys those of xs and its share of constants'."""
        p, n, m = self.program, self.carries, self.xs
        tape = Tape(dtype=self.working)
        like = lambda x: tape.input(np.zeros(x.shape), f"adjoint of {x.name}")
        adjoints = [like(x) for x in p.inputs[:n]]
        slopes = [tape.input(np.zeros(s), "slope") for s in self._shapes]  # of the row: carries, then ys
        own = [_input(tape, x, x.shape) for x in p.inputs]
        outputs = run(p, *own, call=call_recording)
        inner = 0.0
        for weight, out in zip([*adjoints, *slopes[n:]], outputs, strict=True):
            if isinstance(out, Recorded):
                inner = inner + np.sum(weight * out)
        back = pull_through(tape, inner, own)
        carries = [s + b for s, b in zip(slopes[:n], back[:n], strict=True)]
        order = [*adjoints, *slopes, *own]
        program = _in_order(program_of(tape, [*carries, *back[n:]], op.TRANSPARENT), tape, order)
        return Body(program, n, len(slopes) + n + m, self.length)

    @cached_property
    def tangent(self) -> Body:
        """The step with directions: every carry, x and constant comes with its own."""
        p, n, m, k = self.program, self.carries, self.xs, len(self.program.inputs)
        pushed = pushforward(p, range(k))
        outputs = len(p.outputs)
        order = [*range(n), *range(k, k + n), *range(n, n + m), *range(k + n, k + n + m)]
        order += [*range(n + m, k), *range(k + n + m, 2 * k)]
        out = [*range(n), *range(outputs, outputs + n), *range(n, outputs), *range(outputs + n, 2 * outputs)]
        program = _permuted(pushed, order, [pushed.outputs[i] for i in out])
        return Body(program, 2 * n, 2 * m, self.length)

    def batched(self, flags: Sequence[bool], size: int) -> Body:
        """The step for a batch: carries are batched, xs and constants where flagged."""
        key = (tuple(flags), size)
        if key not in self._batches:
            tape = Tape(dtype=self.working)
            inputs = []
            for x, flag in zip(self.program.inputs, flags, strict=True):
                node = _input(tape, x, (size, *x.shape) if flag else x.shape)
                inputs.append(Batched(node) if flag else node)
            outputs = [lead(o, size) for o in run_batched(self.program, inputs, size)]
            self._batches[key] = Body(program_of(tape, outputs), self.carries, self.xs, self.length)
        return self._batches[key]

    @cached_property
    def _batches(self) -> dict:
        return {}

    def recurrence(self, carries: Sequence[int], xs: Sequence[int], constants: Sequence[int]) -> Body:
        """The loop of some carries alone, from values of the step (by number) as its xs and its constants."""
        key = tuple(carries), tuple(xs), tuple(constants)
        if key not in self._recurrences:
            self._recurrences[key] = self._recurrence(*key)
        return self._recurrences[key]

    def _recurrence(self, carries, xs, constants) -> Body:
        given = [*carries, *xs, *constants]
        number = {i: Ref(k) for k, i in enumerate(given)}
        outputs = tuple(self.program.outputs[i] for i in carries)
        live, todo, first = set(), [x.index for x in outputs], len(self.program.inputs)
        while todo:
            i = todo.pop()
            if i not in live and i not in number:
                live.add(i)
                step = self.program.steps[i - first]
                todo += refs((step.args, step.kwargs))
        steps: list[Step] = []
        for i in sorted(live):
            number[i] = Ref(len(given) + len(steps))
            step = self.program.steps[i - first]
            args, kwargs = (substitute(x, number.__getitem__) for x in (step.args, step.kwargs))
            steps.append(step._replace(args=args, kwargs=kwargs))
        names = ["carry"] * len(carries) + ["x"] * len(xs) + ["constant"] * len(constants)
        heads = tuple(Input(name, *self.program.signature(Ref(i))) for name, i in zip(names, given, strict=True))
        program = Program(heads, tuple(steps), substitute(outputs, number.__getitem__))
        return Body(program, len(carries), len(xs), self.length)

    @cached_property
    def _recurrences(self) -> dict:
        return {}

    @cached_property
    def jumps(self) -> bool:
        """Does some operation of the step jump as what it gets moves?"""
        moving = reachable(self.program, {i for i, x in enumerate(self.program.inputs) if x.dtype.kind == "f"})
        return any(discontinuous(s.fun, s.args) and not moving.isdisjoint(refs(s.args)) for s in self.program.steps)


def _input(tape: Tape, x: Input, shape: tuple[int, ...]) -> Recorded:
    """An input of the dtype that is given to it, which on a tape of float32 may be wider."""
    node = tape.input(np.broadcast_to(np.zeros((), x.dtype), shape), x.name)
    node.dtype = x.dtype
    return node


def _shape_of(program: Program, out: Any) -> tuple[int, ...]:
    return program.signature(out)[0] if type(out) is Ref else np.shape(out)


def _in_order(program: Program, tape: Tape, order: Sequence[Recorded]) -> Program:
    """The program with its inputs in another order, given as the tape's own input nodes."""
    position = {id(x): i for i, x in enumerate(tape.inputs)}
    return _permuted(program, [position[id(x)] for x in order], list(program.outputs))


def _permuted(program: Program, order: Sequence[int], outputs: Sequence[Any]) -> Program:
    new = {old: i for i, old in enumerate(order)}
    move = lambda i: Ref(new[i]) if i in new else Ref(i)
    steps = tuple(s._replace(args=substitute(s.args, move), kwargs=substitute(s.kwargs, move)) for s in program.steps)
    return Program(tuple(program.inputs[i] for i in order), steps, substitute(tuple(outputs), move))


@operation
def scan_rows(body, carries, xs, constants):
    """All rows of a scan: (length + 1, width)."""
    rows = np.zeros((body.length + 1, body.width), body.dtype)
    step, slices, n = body.step, body.slices, body.carries
    for t in range(body.length):
        row = rows[t]
        for s, c in zip(slices, carries, strict=False):
            row[s] = c.ravel() if isinstance(c, np.ndarray) else c
        outputs = step(*carries, *[x[t] for x in xs], *constants)
        carries = outputs[:n]
        for s, y in zip(slices[n:], outputs[n:], strict=True):
            row[s] = y.ravel() if isinstance(y, np.ndarray) else y
    row = rows[body.length]
    for s, c in zip(slices, carries, strict=False):
        row[s] = c.ravel() if isinstance(c, np.ndarray) else c
    return rows


SHAPES[scan_rows.run] = lambda body, carries, xs, constants: ((body.length + 1, body.width), body.dtype)


# -- derivatives -----------------------------------------------------------------------------------
def _backwards(g, rows, body, carries, xs, constants):
    """Derivatives in carries, xs and constants, by a scan backwards over the same steps.

    Only what feeds on itself is a loop; the values of every step, and what it adds to the derivatives in
    constants, are operations on all steps at once.
    """
    back, n = body.adjoint, body.carries
    start = [body.last(g, i) for i in range(n)]
    slopes = [body._leaf(g[: body.length], i) for i in range(len(body.slices))]
    before = [body.carry(rows, i) for i in range(n)]
    reverse = [np.flip(x, 0) for x in (*slopes, *before, *xs)]
    found = _Split(tape_of((g, rows, xs, constants)), back, start, reverse, constants).outputs()
    last, sums = [x[body.length - 1] for x in found[:n]], [op.total(x, (0,)) for x in found[n + len(xs) :]]
    return last, [np.flip(x, 0) for x in found[n : n + len(xs)]], sums


def _pull(which):
    return lambda *step: tuple(_backwards(*step)[which])


JUMP_RULES[scan_rows.run] = lambda args: args[0].jumps
PULLS[scan_rows.run] = {1: _pull(0), 2: _pull(1), 3: _pull(2)}


def _push_scan(d, rows, body, carries, xs, constants):
    both = body.tangent
    directions = [_filled(move, values) for move, values in zip(d[1:], (carries, xs, constants), strict=True)]
    moved = scan_rows(both, (*carries, *directions[0]), (*xs, *directions[1]), (*constants, *directions[2]))
    n, ys = body.carries, len(body.slices) - body.carries
    leaves = [both.carry(moved, n + i) for i in range(n)] + [both.y(moved, ys + i) for i in range(ys)]
    return body.pack(leaves, [both.last(moved, n + i) for i in range(n)])


def _filled(moves, values):
    if moves is None:
        return tuple(zeros(v) for v in values)
    return tuple(zeros(v) if m is None else m for m, v in zip(moves, values, strict=True))


PUSHES[scan_rows.run] = _push_scan


# -- batching ------------------------------------------------------------------------------------------
def _batch_scan(size, body, carries, xs, constants):
    flags = [True] * body.carries + [isinstance(x, Batched) for x in (*xs, *constants)]
    many = body.batched(flags, size)
    starts = tuple(lead(c, size) for c in carries)
    time_first = tuple(np.swapaxes(x.x, 0, 1) if isinstance(x, Batched) else x for x in xs)
    rows = scan_rows(many, starts, time_first, tuple(c.x if isinstance(c, Batched) else c for c in constants))
    columns = []
    for s in many.slices:
        part = np.reshape(rows[:, s], (body.length + 1, size, -1))
        columns.append(part)
    joined = columns[0] if len(columns) == 1 else np.concatenate(columns, 2)
    return np.swapaxes(joined, 0, 1)


RULES[scan_rows.run] = _batch_scan


# -- recording a body --------------------------------------------------------------------------------------
def flatten(tree: Any) -> tuple[list, Callable[[Sequence], Any]]:
    """Leaves of nested tuples, lists and dicts, and how to put others in their place; None has no leaf."""
    if tree is None:
        return [], lambda leaves: None
    if isinstance(tree, dict):  # in the order of the names: that in which they were given means nothing
        names = sorted(tree, key=str)
        parts, build = flatten(tuple(tree[k] for k in names))
        return parts, lambda leaves: {k: x for k, x in sorted(zip(names, build(leaves), strict=True), key=_place(tree))}
    if isinstance(tree, list | tuple):
        flat = [flatten(x) for x in tree]
        counts = np.cumsum([0] + [len(leaves) for leaves, _ in flat])
        kind = type(tree)

        def build(leaves):
            parts = [b(leaves[i:j]) for (_, b), i, j in zip(flat, counts, counts[1:], strict=False)]
            return kind(*parts) if hasattr(kind, "_fields") else kind(parts)

        return [x for leaves, _ in flat for x in leaves], build
    return [tree], lambda leaves: leaves[0]


def _place(tree: dict) -> Callable:
    """A key that puts items of a dict back in its own order."""
    place = {k: i for i, k in enumerate(tree)}
    return lambda item: place[item[0]]


def structure(tree: Any) -> str:
    """How a tree is nested, as text: leaves are stars."""
    if tree is None:
        return "None"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{k!r}: {structure(tree[k])}" for k in sorted(tree, key=str)) + "}"
    if isinstance(tree, list | tuple):
        return "(" + ", ".join(map(structure, tree)) + ")"
    return "*"


def pair(result: Any) -> tuple:
    """What a step returned, if it is a carry and a y."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        what = f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
        raise ModelError(f"a step of a scan that returns {what}", "carry, y", "return carry, None")
    return tuple(result)


def scan(f: Callable, init: Any, xs: Any, length: int | None = None, *, tape: Tape | None = None) -> tuple[Any, Any]:
    """Run `carry, y = f(carry, x)` over the first axis of xs; returns the last carry and the stacked ys.

    On plain arrays it is a loop; where a value is recorded, or a tape is given, one operation.

    >>> total, partial = scan(lambda c, x: (c + x, c + x), 0.0, np.arange(4.0))
    >>> float(total), partial
    (6.0, array([0., 1., 3., 6.]))
    """
    leaves, build = flatten(xs)
    length = steps_of(leaves, length)
    starts, rebuild = flatten(init)
    tape = tape or tape_of(tuple(starts)) or tape_of(tuple(leaves))
    if tape is None:
        return _loop(f, init, leaves, build, length)
    recorded = BodyRecorder(tape, length, starts, leaves)
    carry, y = pair(f(rebuild(recorded.carries), build(recorded.xs)))
    return recorded.finish(carry, y, rebuild)[:2]


def steps_of(leaves: Sequence, length: int | None) -> int:
    """The common length of the xs."""
    if not all(map(np.shape, leaves)):
        raise ShapeError("xs that are one number", "arrays whose first axis is time", "length= where there are no xs")
    lengths = {np.shape(x)[0] for x in leaves}
    if length is not None:
        lengths.add(int(length))
    if lengths == {0}:
        raise ShapeError("a scan of no steps", "at least one", "the model without the scan where there are no data")
    if len(lengths) != 1:
        raise ShapeError(
            f"xs of lengths {sorted(lengths)}" if lengths else "no xs and no length",
            "one common length of the first axis",
            "length= where there are no xs",
        )
    return lengths.pop()


def _loop(f, carry, leaves, build, length):
    found = []
    for t in range(length):
        carry, y = pair(f(carry, build([x[t] for x in leaves])))
        found.append(y)
    parts = [flatten(y) for y in found]
    stacked = [np.stack(column) for column in zip(*(p for p, _ in parts), strict=True)]
    return carry, parts[0][1](stacked)


class BodyRecorder:
    """Records one step on the tape of its surroundings, then cuts it out as a body.

    What the step computes from its carry and its x belongs to the body; anything else that it
    uses is computed once, outside, and enters as a constant.
    """

    def __init__(self, tape: Tape, length: int, starts: Sequence, xs: Sequence):
        self.tape, self.length = tape, length
        self.starts = [_narrow(tape, _as_float(x)) for x in starts]
        self.rows = [_narrow(tape, x if isinstance(x, Recorded) else np.asarray(x)) for x in xs]
        self.begun, self.branches = len(tape.nodes), len(tape.branches)
        self.carries = [self._placeholder(x, np.shape(x), lambda x=x: concrete(x)) for x in self.starts]
        self.xs = [self._placeholder(x, np.shape(x)[1:], lambda x=x: concrete(x)[0]) for x in self.rows]

    def _placeholder(self, like, shape, example) -> Recorded:
        dtype = like.dtype if isinstance(like, Recorded) else np.asarray(like).dtype
        node = Recorded(self.tape, None, (), {}, shape, dtype, "in a scan")
        node._value = example()
        return node

    def add_x(self, rows: Any) -> Recorded:
        """Another x, one row for each step, met while the step is recorded."""
        if np.shape(rows)[:1] != (self.length,):
            got = f"values of shape {np.shape(rows)} inside a scan"
            raise ShapeError(got, f"{self.length} rows, one for each step", "values of the same length as xs")
        self.rows.append(rows)
        node = self._placeholder(rows, np.shape(rows)[1:], lambda: concrete(rows)[0])
        self.xs.append(node)
        return node

    def finish(self, carry: Any, y: Any, rebuild: Callable, extra: Sequence = ()) -> tuple:
        """The last carry, the stacked ys, and the stacked `extra`: further outputs of the step."""
        carries, (ys, build) = flatten(carry)[0], flatten(y)
        before, after = structure(rebuild(self.carries)), structure(carry)
        if before != after:
            raise ShapeError(
                f"a carry {after} after a step",
                f"the same as before it, {before}",
                "the same names and shapes in every step",
            )
        for before, after in zip(self.carries, carries, strict=True):
            if before.dtype.kind in "iub" and _dtype(after).kind not in "iub":
                raise ModelError(
                    f"a carry that starts as {before.dtype} and is a fraction after a step",
                    "one type of carry",
                    "a start of 1.0 * x",
                )
            if np.shape(after) != before.shape:
                raise ShapeError(
                    f"a carry of shape {np.shape(after)} after a step",
                    f"its shape before it, {before.shape}",
                    "np.broadcast_to",
                )
        outputs = [*carries, *ys, *extra]
        inside = {id(x) for x in (*self.carries, *self.xs)}
        nodes = []
        for node in self.tape.nodes[self.begun :]:
            if any(id(p) in inside for p in parents(node)):
                inside.add(id(node))
                nodes.append(node)
        if any(id(b) in inside for b in self.tape.branches[self.branches :]):
            raise ModelError(
                "control flow on a value inside ppl.scan", "np.where(condition, a, b)", "a plain Python loop"
            )
        body, constants = self._cut(nodes, inside, outputs)
        found = _Split(self.tape, body, self.starts, self.rows, constants).outputs()
        n = len(self.carries)
        last = rebuild([x[self.length - 1] for x in found[:n]])
        stacked = found[n:]
        return last, build(stacked[: len(ys)]), stacked[len(ys) :]

    def _cut(self, nodes, inside, outputs):
        live, todo = set(), [o for o in outputs if isinstance(o, Recorded) and id(o) in inside]
        while todo:
            node = todo.pop()
            if id(node) not in live:
                live.add(id(node))
                todo += [p for p in parents(node) if id(p) in inside]
        numbers = {id(x): Ref(i) for i, x in enumerate((*self.carries, *self.xs))}
        constants: list[Recorded] = []
        steps: list[Step] = []
        kept = [n for n in nodes if id(n) in live]
        for x in [p for n in kept for p in parents(n)] + [o for o in outputs if isinstance(o, Recorded)]:
            if id(x) not in inside and id(x) not in numbers:
                numbers[id(x)] = Ref(len(self.carries) + len(self.xs) + len(constants))
                constants.append(x)
        first = len(self.carries) + len(self.xs) + len(constants)
        for node in kept:
            numbers[id(node)] = Ref(first + len(steps))
            args, kwargs = (substitute_nodes(x, numbers) for x in (node.args, node.kwargs))
            steps.append(Step(node.fun, args, kwargs, node.shape, node.dtype))
        inputs = tuple(Input(x.name, x.shape, x.dtype) for x in (*self.carries, *self.xs, *constants))
        program = Program(inputs, tuple(steps), tuple(substitute_nodes(list(outputs), numbers)))
        return Body(program, len(self.carries), len(self.xs), self.length), constants


class _Split:
    """Runs a body over all steps, in a loop only where a carry feeds on itself.

    What does not depend on an unknown carry is one batched operation over all steps: before the
    loop what the xs alone decide, after it what the carries' histories decide. A carry that is
    set from xs alone (a random walk's last position) has a known history and needs no loop.
    """

    def __init__(self, tape: Tape, body: Body, starts: Sequence, rows: Sequence, constants: Sequence):
        self.tape, self.body, self.starts = tape, body, starts
        known = [*(Batched(x) for x in rows), *constants]
        self.known: dict[int, Any] = dict(enumerate(known, body.carries))
        self.steps = _live(body.program)

    def outputs(self) -> list:
        """Every output of the body at every step."""
        n, out = self.body.carries, self.body.program.outputs
        unknown = [i for i in range(n)]
        while True:
            self._run()
            settled = [i for i in unknown if type(out[i]) is not Ref or out[i].index in self.known]
            for i in settled:
                self.known[i] = Batched(self._shifted(i, self._value(out[i])))
            unknown = [i for i in unknown if i not in settled]
            if not settled:
                break
        if unknown:
            self._loop(unknown)
            self._run()
        return [lead(self._value(o), self.body.length) for o in out]

    def _value(self, out: Any) -> Any:
        return self.known[out.index] if type(out) is Ref else out

    def _shifted(self, i: int, after: Any) -> Any:
        """History of a carry before each step, from its values after each step."""
        start = np.reshape(self.starts[i], (1, *np.shape(self.starts[i])))
        return np.concatenate([start, lead(after, self.body.length)[:-1]], 0)

    def _run(self) -> None:
        """Every step whose arguments are known, for all times at once."""
        for number, step in self.steps:
            if number not in self.known and all(i in self.known for i in refs((step.args, step.kwargs))):
                args, kwargs = (substitute(x, self.known.__getitem__) for x in (step.args, step.kwargs))
                self.known[number] = call_batched(self.body.length, step.fun, args, kwargs)

    def _loop(self, unknown: list[int]) -> None:
        """The recurrence of the carries that feed on themselves, as one operation."""
        program, out = self.body.program, self.body.program.outputs
        needed, todo = set(), [out[i].index for i in unknown]
        inputs = len(program.inputs)
        while todo:
            i = todo.pop()
            if i not in needed:
                needed.add(i)
                if i not in self.known and i >= inputs:
                    todo += refs((program.steps[i - inputs].args, program.steps[i - inputs].kwargs))
        xs = sorted(i for i in needed if isinstance(self.known.get(i), Batched))
        constants = sorted(i for i in needed if i in self.known and i not in xs)
        loop = self.body.recurrence(unknown, xs, constants)
        starts = tuple(self.starts[i] for i in unknown)
        arguments = (loop, starts, tuple(self.known[i].x for i in xs), tuple(self.known[i] for i in constants))
        rows = self.tape.add(scan_rows.run, arguments)
        for k, i in enumerate(unknown):
            self.known[i] = Batched(loop.carry(rows, k))
            self.known[out[i].index] = Batched(loop.carry(rows, k, 1))


def _live(program: Program) -> list[tuple[int, Step]]:
    """The steps that the outputs need, with their numbers."""
    live = needed(program, program.outputs)
    return [(i, step) for i, step in enumerate(program.steps, len(program.inputs)) if i in live]


def _narrow(tape: Tape, x: Any) -> Any:
    """On a tape of float32, numbers in float32: a loop works in one type."""
    return op.cast(x, tape.dtype) if tape.narrow and x.dtype == np.float64 else x


def _as_float(x):
    if isinstance(x, Recorded):
        return x
    x = np.asarray(x)
    return x.astype(np.float64)[()] if x.dtype.kind in "biu" else x[()]
