"""Whole portions of a run in one compiled call: gradient, optimizer and noise of many steps.

    x, moments, baselines --(gradient program, optimizer.update)--> x, moments, baselines

A step is recorded as one array program, the optimizer's arithmetic with it, and `ppl.array.Loop` repeats it. State
and noise are in the program's working dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..array import Program, Tape, paused_collector, program_of, pull_through, run, stop_gradient
from ..array.jax_executor import Loop, Noise
from ..array.operations import reshape
from ..array.recording import call_recording
from ..array.scan import flatten
from ..elbo import Objective, minibatches, weight_at
from . import noise
from .coordinates import Coordinates
from .stages import Info, State

LARGE = 10_000  # coordinates from which the vector is kept in pieces


@dataclass(frozen=True)
class CompiledSteps:
    """Makes the step function of some coordinates; programs of one form are compiled once."""

    optimizer: Any
    objective: Objective
    particles: int
    seed: int
    weights: dict[str, Any]
    compiled: dict = field(default_factory=dict)

    def __call__(self, where: Coordinates) -> Steps:
        o, d = self.objective, self.objective.derivation
        seeds = [f.name for f in d.factors if f.noise_kind == "seed"]
        kinds = [self._noise_of(f) for f in d.factors if f.noise_kind != "seed"]
        # Optimizers work element by element; a long vector is kept in pieces, one for each parameter, uncopied.
        pieces = tuple(where.slices.values()) if where.size >= LARGE and not o.rolls else (slice(0, where.size),)
        leaves, build = flatten(self.optimizer.init(np.zeros(where.size, d.program.dtype)))
        parts = Parts(pieces, tuple(np.ndim(leaf) > 0 for leaf in leaves), build)
        program = self._program(where, parts, leaves)
        states = len(pieces) + 1 + len(parts.split(leaves)) + len(o.start)
        sums = tuple(range(2, 2 + len(pieces)))
        return Steps(self, Loop(program, states, tuple(kinds), sums, self.compiled), parts, tuple(seeds))

    def _noise_of(self, f: Any) -> Noise:
        o = self.objective
        return Noise(f.noise_kind, self._draws, f.noise_shape, f.name in o.independent, f.name in o.mirrored)

    @property
    def _draws(self) -> int:
        return self.particles * self.objective.unit

    @paused_collector()
    def _program(self, where: Coordinates, parts: Parts, leaves: Sequence[Any]) -> Program:
        """State (x, rate, moments, baselines), noise, (indices, seeds, weights) -> state, bound, finite, x."""
        o, d = self.objective, self.objective.derivation
        tape = Tape(dtype=d.program.dtype)
        xs = [tape.input(np.zeros(s.stop - s.start), "coordinates") for s in parts.pieces]
        rate = tape.input(np.ones(()), "rate")
        moments = [tape.input(np.asarray(leaf), "moments") for leaf in parts.split(leaves)]
        kept = [tape.input(np.zeros_like(s), "state") for s in o.start]
        shape = lambda f: (self._draws, *f.noise_shape)
        eps = {f.name: tape.input(np.full(shape(f), 0.5), f.name) for f in d.factors if f.noise_kind != "seed"}
        rows = {n: tape.input(np.arange(d.plates[n].subsample_size), n) for n in d.index_inputs}
        eps |= {f.name: tape.input(np.zeros(shape(f), int), f.name) for f in d.factors if f.noise_kind == "seed"}
        weights = [tape.input(np.ones(()), f"weight of {site}") for site in o.weighted]
        rest = [*o.rest_of(rows, eps), *weights, *kept]
        if len(xs) > 1 or any(p.rows for p in d.parameters.values()):
            bound, slopes, new_kept = self._by_values(tape, where, xs, rows, rest)
        else:
            inner = o.gradient(self.particles, where.values, where.split(np.zeros(where.size)))
            _, bound, g, *new_kept = run(inner, *xs, *rest, call=call_recording)
            slopes = [g]
        finite = np.isfinite(sum(np.sum(g * g) for g in slopes) + bound)
        updated = [
            self.optimizer.update(-g, parts.build(own), x, rate)
            for g, own, x in zip(slopes, parts.of_each(moments), xs, strict=True)
        ]
        new_x = [x for x, _ in updated]
        new_moments = parts.joined_leaves([flatten(m)[0] for _, m in updated])
        pairs = zip([*new_x, rate, *new_moments, *new_kept], [*xs, rate, *moments, *kept], strict=True)
        state = [after if after is before else np.where(finite, after, before) for after, before in pairs]
        sums = [np.where(finite, x, 0.0) for x in new_x]
        return program_of(tape, [*state, bound, np.where(finite, 1.0, 0.0), *sums])

    def _by_values(self, tape: Tape, where: Coordinates, xs: Sequence[Any], rows: dict, rest: list) -> tuple:
        """Bound and gradient by way of the parameters' values; of those with rows, the rows in use."""
        o, d = self.objective, self.objective.derivation
        if len(xs) == 1:
            pieces = [xs[0][s] for s in where.slices.values()]
        else:
            pieces = xs
        values = where.values(*(reshape(x, s) for x, s in zip(pieces, where.shapes.values(), strict=True)))
        own = [d.rows_of(n, values[n], rows) for n in d.parameter_inputs]
        _, bound, *more = run(o.gradient(self.particles), *map(stop_gradient, own), *rest, call=call_recording)
        slopes, new_kept = more[: len(own)], more[len(own) :]
        total = sum(np.sum(v * stop_gradient(g)) for v, g in zip(own, slopes, strict=True))
        return bound, pull_through(tape, total, xs), new_kept


@dataclass(frozen=True)
class Parts:
    """A vector, and the arrays of an optimizer's state beside it, in pieces."""

    pieces: tuple[slice, ...]
    long: tuple[bool, ...]  # which leaves of the optimizer's state are as long as the vector
    build: Callable[[Sequence[Any]], Any]

    def cut(self, x: np.ndarray) -> list[np.ndarray]:
        """The pieces of a vector."""
        return [x] if len(self.pieces) == 1 else [x[s] for s in self.pieces]

    def split(self, leaves: Sequence[Any]) -> list:
        """Leaves of the optimizer's state with the long ones in pieces."""
        return [y for x, long in zip(leaves, self.long, strict=True) for y in (self.cut(x) if long else [x])]

    def whole(self, parts: Sequence[Any]) -> list:
        """The leaves again, from what `split` made of them."""
        rest = iter(parts)
        take = lambda: [next(rest) for _ in self.pieces]
        return [np.concatenate(take()) if long else next(rest) for long in self.long]

    def of_each(self, parts: Sequence[Any]) -> list[list]:
        """For every piece the leaves of its own state."""
        rest = iter(parts)
        columns = [[next(rest) for _ in self.pieces] if long else [next(rest)] * len(self.pieces) for long in self.long]
        return [list(own) for own in zip(*columns, strict=True)] if columns else [[] for _ in self.pieces]

    def joined_leaves(self, each: Sequence[Sequence[Any]]) -> list:
        """What `split` gives, from the leaves of every piece."""
        return [y for i, long in enumerate(self.long) for y in ([own[i] for own in each] if long else [each[0][i]])]


@dataclass(frozen=True)
class Steps:
    """Steps in the coordinates of a stage: one by one, or `several` at once."""

    of: CompiledSteps
    loop: Loop
    parts: Parts
    seeds: tuple[str, ...]

    def __call__(self, state: State) -> tuple[State, Info]:
        state, bounds, finite, _ = self.several(state, 1)
        return state, Info(float(bounds[0]), bool(finite[0]))

    def several(self, state: State, count: int) -> tuple[State, np.ndarray, np.ndarray, np.ndarray]:
        """The state after so many steps, their bounds, which of them were finite, and the sum of x after those."""
        o, parts, dtype = self.of.objective, self.parts, self.of.objective.derivation.program.dtype
        moments = parts.split(flatten(state.optimizer)[0])
        own = [*parts.cut(state.x), state.rate, *moments]
        own = [x if np.asarray(x).dtype.kind in "iu" else np.asarray(x, dtype) for x in own]
        xs = self._xs(state.step, count)
        found, left = self.loop.run([*own, *state.baselines], self.of.seed, state.step, xs, count)
        n, bounds, finite = len(parts.pieces), left[0], left[1] > 0
        leaves = parts.whole(found[n + 1 : n + 1 + len(moments)])
        optimizer = parts.build([m if m.ndim else m.item() for m in leaves])
        skipped = state.skipped + int(np.sum(~finite))
        baselines = tuple(found[n + 1 + len(moments) :]) if o.start else state.baselines
        x, total = (np.concatenate(y).astype(float) for y in (found[:n], left[2:]))
        return (
            State(state.step + count, x, optimizer, state.rate, skipped, state.tables, baselines),
            bounds,
            finite,
            total,
        )

    def _xs(self, start: int, count: int) -> list[np.ndarray]:
        """What steps get from here: minibatch indices, seeds of samplers and scheduled weights."""
        o, d = self.of.objective, self.of.objective.derivation
        each = [noise.generator(self.of.seed, t, noise.Stream.STEPS) for t in range(start, start + count)]
        xs = [np.concatenate([minibatches(rng, d.plates[n], 1) for rng in each]) for n in d.index_inputs]
        shapes = {f.name: (self.of._draws, *f.noise_shape) for f in d.factors}
        xs += [np.stack([rng.integers(0, 2**62, shapes[n]) for rng in each]) for n in self.seeds]
        dtype = d.program.dtype
        for site in o.weighted:
            schedule = self.of.weights[site]
            xs.append(np.array([weight_at(schedule, t, site) for t in range(start, start + count)], dtype))
        return xs
