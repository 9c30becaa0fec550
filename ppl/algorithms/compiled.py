"""Whole portions of a run in one compiled call: gradient, optimizer and noise of many steps.

    x, moments, states, baselines --(gradient program, optimizer.update)--> the same after the step

A step is recorded as one array program, the optimizer's arithmetic with it, and `Loop` repeats it. State and noise
are in the program's working dtype. Stages and training differ in the coordinates, in the rate, and in clipping.
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
from ..errors import ModelError
from ..optim import rate_at
from . import noise
from .coordinates import Coordinates
from .stages import Info, State
from .training import Inputs, step_program, steps_per_epoch

LARGE = 10_000  # coordinates from which the vector is kept in pieces


@dataclass(frozen=True)
class CompiledSteps:
    """Makes the step function of some coordinates; programs of one form are compiled once."""

    algorithm: Any
    objective: Objective
    seed: int
    trains: bool
    compiled: dict = field(default_factory=dict)

    def __call__(self, where: Coordinates) -> Steps:
        o, d = self.objective, self.objective.derivation
        if self.trains and any(x.rows for x in d.parameters.values()):
            name = next(n for n, x in d.parameters.items() if x.rows)
            raise ModelError(
                f"executor='jax' with a parameter '{name}' that has a row for each datum, beside networks",
                "networks alone, or such parameters alone",
                "executor='numpy', or guide=\"amortized\"",
                site=name,
            )
        seeds = [f.name for f in d.factors if f.noise_kind == "seed"]
        kinds = [self._noise_of(f) for f in d.factors if f.noise_kind != "seed"]
        # Optimizers work element by element; a long vector is kept in pieces, one for each parameter, uncopied.
        apart = self.trains or (where.size >= LARGE and not o.rolls)
        pieces = tuple(where.slices.values()) if apart else (slice(0, where.size),)
        leaves, build = flatten(self.algorithm.optimizer.init(np.zeros(where.size, d.program.dtype)))
        parts = Parts(pieces, tuple(np.ndim(leaf) > 0 for leaf in leaves), build)
        program = self._program(where, parts, leaves)
        states = len(pieces) + len(parts.split(leaves)) + len(d.states_kept) + len(o.start)
        sums = () if self.trains else tuple(range(3, 3 + len(pieces)))  # stages average their iterates
        loop = Loop(program, states, tuple(kinds), sums, self.compiled)
        inputs = Inputs(o, self.algorithm.particles_for(o), self.seed)
        return Steps(self, loop, parts, tuple(seeds), inputs)

    def _noise_of(self, f: Any) -> Noise:
        o = self.objective
        return Noise(f.noise_kind, self.draws, f.noise_shape, f.name in o.independent, f.name in o.mirrored)

    @property
    def draws(self) -> int:
        """Draws of a step."""
        return self.algorithm.particles_for(self.objective) * self.objective.unit

    @paused_collector()
    def _program(self, where: Coordinates, parts: Parts, leaves: Sequence[Any]) -> Program:
        """State (x, moments, states, baselines), noise, what `xs` gives -> state; bound, finite, norm, x if finite."""
        o, d, algorithm = self.objective, self.objective.derivation, self.algorithm
        tape = Tape(dtype=d.program.dtype)
        xs = [tape.input(np.zeros(s.stop - s.start), "coordinates") for s in parts.pieces]
        moments = [tape.input(np.asarray(leaf), "moments") for leaf in parts.split(leaves)]
        states = [tape.input(d.parameters[n].init, n) for n in d.states_kept]
        kept = [tape.input(np.zeros_like(s), "state") for s in o.start]
        shape = lambda f: (self.draws, *f.noise_shape)
        eps = {f.name: tape.input(np.full(shape(f), 0.5), f.name) for f in d.factors if f.noise_kind != "seed"}
        rate = tape.input(np.ones(()), "rate")
        rows = {n: tape.input(np.arange(d.plates[n].subsample_size), n) for n in d.index_inputs}
        eps |= {f.name: tape.input(np.zeros(shape(f), int), f.name) for f in d.factors if f.noise_kind == "seed"}
        weights = [tape.input(np.ones(()), f"weight of {site}") for site in o.weighted]
        rest = [*o.rest_of(rows, eps), *weights, *kept]
        bound, slopes, new_states, new_kept = self._gradient(tape, where, xs, states, rows, rest)
        norm = np.sqrt(sum(np.sum(g * g) for g in slopes))
        finite, clip = np.isfinite(norm + bound), algorithm.clip
        factor = 1.0 if clip is None else np.minimum(1.0, clip / norm)
        updated = [
            algorithm.optimizer.update(g if clip is None else g * factor, parts.build(own), x, rate)
            for g, own, x in zip(slopes, parts.of_each(moments), xs, strict=True)
        ]
        new_x = [x for x, _ in updated]
        new_moments = parts.joined_leaves([flatten(m)[0] for _, m in updated])
        after = [*new_x, *new_moments, *new_states, *new_kept]
        pairs = zip(after, [*xs, *moments, *states, *kept], strict=True)
        state = [new if new is old else np.where(finite, new, old) for new, old in pairs]
        sums = [] if self.trains else [np.where(finite, x, 0.0) for x in new_x]
        return program_of(tape, [*state, bound, np.where(finite, 1.0, 0.0), norm, *sums])

    def _gradient(self, tape: Tape, where: Coordinates, xs: Sequence[Any], states: list, rows: dict, rest: list):
        """The bound, the slopes of minus the bound in x, what states are after the step, and baselines."""
        o, d, particles = self.objective, self.objective.derivation, self.algorithm.particles_for(self.objective)
        if self.trains:
            shaped = [reshape(x, s) for x, s in zip(xs, where.shapes.values(), strict=True)]
            inner = step_program(o, particles, where, d.states_kept)
            bound, *more = run(inner, *shaped, *states, *rest, call=call_recording)
            slopes, more = [np.ravel(g) for g in more[: len(xs)]], more[len(xs) :]
            updates = dict(zip(d.updates, more, strict=False))
            new = [updates.get(n, old) for n, old in zip(d.states_kept, states, strict=True)]
            return bound, slopes, new, more[len(d.updates) :]
        if len(xs) > 1 or any(p.rows for p in d.parameters.values()):
            bound, slopes, kept = self._by_values(tape, where, xs, rows, rest)
        else:
            inner = o.gradient(particles, where.values, where.split(np.zeros(where.size)))
            _, bound, g, *kept = run(inner, *xs, *rest, call=call_recording)
            slopes = [g]
        return bound, [-g for g in slopes], [], kept

    def _by_values(self, tape: Tape, where: Coordinates, xs: Sequence[Any], rows: dict, rest: list) -> tuple:
        """Bound and gradient by way of the parameters' values; of those with rows, the rows in use."""
        o, d = self.objective, self.objective.derivation
        pieces = [xs[0][s] for s in where.slices.values()] if len(xs) == 1 else xs
        values = where.values(*(reshape(x, s) for x, s in zip(pieces, where.shapes.values(), strict=True)))
        own = [d.rows_of(n, values[n], rows) for n in d.parameter_inputs]
        program = o.gradient(self.algorithm.particles_for(o))
        _, bound, *more = run(program, *map(stop_gradient, own), *rest, call=call_recording)
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
    inputs: Inputs

    def __call__(self, state: State) -> tuple[State, Info]:
        state, bounds, finite, _, norms = self.several(state, 1)
        info = Info(float(bounds[0]), bool(finite[0]))
        if not self.of.trains:
            return state, info
        epoch = state.step / steps_per_epoch(self.of.objective.derivation.plates)
        return state, info._replace(rate=state.rate, gradient_norm=float(norms[0]), epoch=epoch)

    def several(self, state: State, count: int) -> tuple[State, np.ndarray, np.ndarray, Any, np.ndarray]:
        """The state after so many steps; of these the bounds, which were finite, the sum of x, and gradients' norms."""
        d, parts = self.of.objective.derivation, self.parts
        moments = parts.split(flatten(state.optimizer)[0])
        own = [*parts.cut(state.x), *moments, *(state.states[n] for n in d.states_kept), *state.baselines]
        own = [x if np.asarray(x).dtype.kind in "iu" else np.asarray(x, d.program.dtype) for x in own]
        rates = np.full(count, state.rate)
        if self.of.trains:
            rates = np.array([rate_at(self.of.algorithm.optimizer, t) for t in range(state.step, state.step + count)])
        xs = [rates.astype(d.program.dtype), *self._xs(state.step, count)]
        found, left = self.loop.run(own, self.of.seed, state.step, xs, count)
        n, (bounds, finite, norms) = len(parts.pieces), left[:3]
        optimizer = parts.build([m if m.ndim else m.item() for m in parts.whole(found[n : n + len(moments)])])
        rest = found[n + len(moments) :]
        join = lambda arrays: np.concatenate(arrays).astype(state.x.dtype, copy=False) if len(arrays) else 0.0
        x, total = join(found[:n]), join(left[3:])
        new = state._replace(
            step=state.step + count,
            x=x,
            optimizer=optimizer,
            rate=float(rates[-1]),
            skipped=state.skipped + int(np.sum(finite == 0)),
            baselines=tuple(rest[len(d.states_kept) :]),
            states={**state.states, **dict(zip(d.states_kept, rest, strict=False))},
        )
        return new, bounds, finite > 0, total, norms

    def _xs(self, start: int, count: int) -> list[np.ndarray]:
        """What steps get from here: minibatch indices, seeds of samplers and scheduled weights."""
        o, d = self.of.objective, self.of.objective.derivation
        steps = range(start, start + count)
        each = [noise.generator(self.of.seed, t, noise.Stream.STEPS) for t in steps]
        if self.of.trains:
            xs = [np.stack([self.inputs.rows(n, t) for t in steps]) for n in d.index_inputs]
        else:
            xs = [np.concatenate([minibatches(rng, d.plates[n], 1) for rng in each]) for n in d.index_inputs]
        shapes = {f.name: (self.of.draws, *f.noise_shape) for f in d.factors}
        xs += [np.stack([rng.integers(0, 2**62, shapes[n]) for rng in each]) for n in self.seeds]
        for site in o.weighted:
            schedule = (self.of.algorithm.weights or {})[site]
            xs.append(np.array([weight_at(schedule, t, site) for t in steps], d.program.dtype))
        return xs
