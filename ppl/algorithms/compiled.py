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
        leaves, build = flatten(self.optimizer.init(np.zeros(where.size, d.program.dtype)))
        program = self._program(where, leaves, build)
        states = 2 + len(leaves) + len(o.start)
        loop = Loop(program, states, tuple(kinds), (2,), self.compiled)
        return Steps(self, loop, build, tuple(seeds))

    def _noise_of(self, f: Any) -> Noise:
        o = self.objective
        return Noise(f.noise_kind, self._draws, f.noise_shape, f.name in o.independent, f.name in o.mirrored)

    @property
    def _draws(self) -> int:
        return self.particles * self.objective.unit

    @paused_collector()
    def _program(self, where: Coordinates, leaves: Sequence[Any], build: Callable) -> Program:
        """State (x, rate, moments, baselines), noise, (indices, seeds, weights) -> state, bound, finite, x."""
        o, d = self.objective, self.objective.derivation
        tape = Tape(dtype=d.program.dtype)
        x, rate = tape.input(np.zeros(where.size), "coordinates"), tape.input(np.ones(()), "rate")
        moments = [tape.input(np.asarray(leaf), "moments") for leaf in leaves]
        kept = [tape.input(np.zeros_like(s), "state") for s in o.start]
        shape = lambda f: (self._draws, *f.noise_shape)
        eps = {f.name: tape.input(np.full(shape(f), 0.5), f.name) for f in d.factors if f.noise_kind != "seed"}
        rows = {n: tape.input(np.arange(d.plates[n].subsample_size), n) for n in d.index_inputs}
        eps |= {f.name: tape.input(np.zeros(shape(f), int), f.name) for f in d.factors if f.noise_kind == "seed"}
        weights = [tape.input(np.ones(()), f"weight of {site}") for site in o.weighted]
        rest = o.rest_of(rows, eps)
        if any(p.rows for p in d.parameters.values()):
            bound, g, new_kept = self._by_values(tape, where, x, rows, rest, weights, kept)
        else:
            inner = o.gradient(self.particles, where.values, where.split(np.zeros(where.size)))
            _, bound, g, *new_kept = run(inner, x, *rest, *weights, *kept, call=call_recording)
        new_x, new_moments = self.optimizer.update(-g, build(moments), x, rate)
        finite = np.isfinite(np.sum(g * g) + bound)
        pairs = zip([new_x, rate, *flatten(new_moments)[0], *new_kept], [x, rate, *moments, *kept], strict=True)
        state = [after if after is before else np.where(finite, after, before) for after, before in pairs]
        outputs = [*state, bound, np.where(finite, 1.0, 0.0), np.where(finite, new_x, 0.0)]
        return program_of(tape, outputs)

    def _by_values(self, tape, where, x, rows, rest, weights, kept) -> tuple[Any, Any, list]:
        """Bound and gradient where parameters have rows: all are in the vector, those in use are differentiated."""
        o, d = self.objective, self.objective.derivation
        pieces = [reshape(x[s], shape) for s, shape in zip(where.slices.values(), where.shapes.values(), strict=True)]
        values = where.values(*pieces)
        own = [d.rows_of(n, values[n], rows) for n in d.parameter_inputs]
        inner = o.gradient(self.particles)
        given = [stop_gradient(v) for v in own]
        _, bound, *more = run(inner, *given, *rest, *weights, *kept, call=call_recording)
        slopes, new_kept = more[: len(own)], more[len(own) :]
        total = sum(np.sum(v * stop_gradient(g)) for v, g in zip(own, slopes, strict=True))
        return bound, pull_through(tape, total, [x])[0], new_kept


@dataclass(frozen=True)
class Steps:
    """Steps in the coordinates of a stage: one by one, or `several` at once."""

    of: CompiledSteps
    loop: Loop
    build: Callable
    seeds: tuple[str, ...]

    def __call__(self, state: State) -> tuple[State, Info]:
        state, bounds, finite, _ = self.several(state, 1)
        return state, Info(float(bounds[0]), bool(finite[0]))

    def several(self, state: State, count: int) -> tuple[State, np.ndarray, np.ndarray, np.ndarray]:
        """The state after so many steps, their bounds, which of them were finite, and the sum of x after those."""
        o, dtype = self.of.objective, self.of.objective.derivation.program.dtype
        leaves = flatten(state.optimizer)[0]
        own = [x if np.asarray(x).dtype.kind in "iu" else np.asarray(x, dtype) for x in (state.x, state.rate, *leaves)]
        xs = self._xs(state.step, count)
        found, (bounds, finite, total) = self.loop.run([*own, *state.baselines], self.of.seed, state.step, xs, count)
        x, _, *rest = found
        moments = self.build([m[()] if m.ndim else m.item() for m in rest[: len(leaves)]])
        finite = finite > 0
        skipped = state.skipped + int(np.sum(~finite))
        baselines = tuple(rest[len(leaves) :]) if o.start else state.baselines
        new = State(state.step + count, x.astype(float), moments, state.rate, skipped, state.tables, baselines)
        return new, bounds, finite, total.astype(float)

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
