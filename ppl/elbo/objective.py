"""From a derivation and a plan to array programs of the bound and its gradient.

Two programs of one particle:

    values:    parameters, indices, noise           -> bound, terms, score weights
    surrogate: parameters, indices, noise, weights  -> a scalar whose gradient estimates the bound's

The surrogate is  sum of terms + sum of weight * log q(draw held constant); weights enter as
constants, with their baseline taken off. For several particles both run batched on one tape,
so the shared forward pass is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..array import (
    Program,
    Ref,
    Tape,
    batch,
    compile_program,
    gradient,
    paused_collector,
    program_of,
    pull_through,
    run,
    stop_gradient,
)
from ..array.batching import Batched, lead, run_batched
from ..array.operations import TRANSPARENT, cast, draw_of, reshape, total
from ..array.recording import call_recording
from .choose import Plan
from .derivation import Derivation
from .estimators.score import leave_one_out


@dataclass(frozen=True)
class Objective:
    """The bound of a derivation under a plan, ready to be differentiated."""

    derivation: Derivation
    plan: Plan

    @cached_property
    def weights(self) -> tuple[tuple[frozenset[str], str], ...]:
        """(group, factor) pairs that need a score weight; a group shares the draws it holds constant."""
        groups = dict.fromkeys(self.plan.scored(i) for i in range(len(self.plan.choices)))
        return tuple((g, f.name) for g in groups for f in self.derivation.factors if f.name in g)

    @cached_property
    def climbs(self) -> bool:
        """Whether the bound is what its gradient climbs: a path behind `stop_gradient` is in the value alone."""
        return all(step.fun is not stop_gradient.run for step in self.derivation.program.steps)

    @cached_property
    def values(self) -> Program:
        """Program of one particle: (bound, value of every term, score weights...)."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        inputs = _inputs(tape, d.program)
        outputs = _replay(d.program, inputs, frozenset())
        totals = [_sum(outputs[t.output]) * t.scale for t in d.terms]
        parts = [np.reshape(x, (1,)) for x in totals]
        terms = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return program_of(tape, [_add(totals), terms, *self._weights(outputs)])

    def _weights(self, outputs: Sequence[Any]) -> list:
        """For each (group, factor): its terms downstream, in the shape of the factor's log q."""
        d, found = self.derivation, []
        facts = {f.name: f for f in d.factors}
        for group, name in self.weights:
            f, weight = facts[name], 0.0
            for i, t in enumerate(d.terms):
                if self.plan.scored(i) == group:
                    kept = self.plan.kept_axes.get((i, name), ())
                    weight = weight + _reduce(outputs[t.output], kept, f.batch_ndim) * t.scale
            found.append(weight)
        return found

    @cached_property
    def surrogate(self) -> Program:
        """Program of one particle: inputs and weights -> scalar."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        inputs = _inputs(tape, d.program)
        shapes = [np.shape(x) for x in _examples(self.values)[2:]]
        weights = [tape.input(np.zeros(s), f"weight of {f}") for s, (_, f) in zip(shapes, self.weights, strict=True)]
        runs: dict[frozenset[str], tuple] = {}
        parts = []
        for i, t in enumerate(d.terms):
            group = self.plan.scored(i)
            if group not in runs:
                runs[group] = _replay(d.program, inputs, group)
            parts.append(_sum(runs[group][t.output]) * t.scale)
        facts = {f.name: f for f in d.factors}
        for weight, (group, name) in zip(weights, self.weights, strict=True):
            parts.append(_sum(weight * runs[group][facts[name].log_q_output]))
        # Held-constant draws must stay so through a later batching or differentiation.
        return program_of(tape, [_add(parts)])

    @cached_property
    def noise_inputs(self) -> tuple[int, ...]:
        return tuple(f.noise_input for f in self.derivation.factors)

    def on_tape(self, inputs: Sequence, particles: int) -> tuple[Any, Any]:
        """(mean surrogate, mean bound), recorded; noise inputs have the particles as first axis."""
        noise = set(self.noise_inputs)
        if particles == 1:
            own = [x[0] if i in noise else x for i, x in enumerate(inputs)]
            bound, _, *weights = run(self.values, *own, call=call_recording)
            if not weights:
                return bound, bound
            held = map(stop_gradient, weights)
            return run(self.surrogate, *own, *held, call=call_recording)[0], bound
        rows = [Batched(x) if i in noise else x for i, x in enumerate(inputs)]
        bound, _, *weights = run_batched(self.values, rows, particles)
        mean = np.mean(bound.x) if isinstance(bound, Batched) else bound
        if not weights:
            return mean, mean
        centred = [Batched(stop_gradient(leave_one_out(lead(w, particles)))) for w in weights]
        return np.mean(lead(run_batched(self.surrogate, [*rows, *centred], particles)[0], particles)), mean

    def gradient(
        self,
        particles: int,
        values_of: Callable[..., dict] | None = None,
        raw: Sequence = (),
        given: Sequence = (),
    ) -> Program:
        """The program (mean surrogate, mean bound, gradient of the surrogate...).

        The gradient is in the parameters' own values. With `values_of`, a function from raw
        coordinates and further inputs (examples in `raw` and `given`) to parameter values by
        name, it is in the raw coordinates.
        Inputs: parameters (or raw coordinates and what else is given), then the other inputs in order.
        """
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        noise, position = set(self.noise_inputs), {i: n for n, i in d.parameter_inputs.items()}
        with paused_collector():
            if values_of is None:
                own = [tape.input(np.zeros(d.program.inputs[i].shape), n) for n, i in d.parameter_inputs.items()]
                values = dict(zip(d.parameter_inputs, own, strict=True))
            else:
                own = [tape.input(x, f"raw {i}") for i, x in enumerate(raw)]
                values = values_of(*own, *(tape.input(x, f"given {i}") for i, x in enumerate(given)))
            inputs = []
            for i, x in enumerate(d.program.inputs):
                shape = (particles, *x.shape) if i in noise else x.shape
                known = values[position[i]] if i in position else None
                inputs.append(
                    tape.input(np.broadcast_to(np.zeros((), x.dtype), shape), x.name) if known is None else known
                )
            scalar, bound = self.on_tape(inputs, particles)
            return program_of(tape, [scalar, bound, *pull_through(tape, scalar, own)], TRANSPARENT)

    @cached_property
    def particle_gradient(self) -> Program:
        """One particle: (surrogate, d / d parameter values...), with weights as last inputs."""
        d = self.derivation
        return gradient(self.surrogate, list(d.parameter_inputs.values()))

    @cached_property
    def _batches(self) -> dict:
        return {}

    def evaluate(
        self, values: dict, indices: dict, noise: dict, size: int
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Bound, terms and score weights of `size` particles; noise has them along its first axis.

        Minibatch indices are shared by the particles, or have them along a first axis too.
        """
        flags = self._flags(indices)
        if ("values", size, flags) not in self._batches:
            self._batches["values", size, flags] = compile_program(batch(self.values, flags, size))
        bound, terms, *weights = self._batches["values", size, flags](*self.derivation.inputs(values, indices, noise))
        return np.asarray(bound), np.asarray(terms), weights

    def contributions(self, values: dict, indices: dict, noise: dict, weights: list, size: int) -> list[np.ndarray]:
        """Each particle's contribution to the gradient, by parameter; weights without their baseline."""
        flags = (*self._flags(indices), *[True] * len(weights))
        if ("gradient", size, flags) not in self._batches:
            self._batches["gradient", size, flags] = compile_program(batch(self.particle_gradient, flags, size))
        inputs = self.derivation.inputs(values, indices, noise)
        parts = self._batches["gradient", size, flags](*inputs, *weights)[1:]
        named = zip(self.derivation.parameter_inputs, parts, strict=True)
        return [self.derivation.all_rows(n, np.asarray(x), indices) for n, x in named]

    def _flags(self, indices: dict) -> tuple[bool, ...]:
        """Which inputs differ from particle to particle."""
        d = self.derivation
        several = {n for n, rows in indices.items() if np.ndim(rows) > 1}
        own = {d.index_inputs[n] for n in several}
        own |= {i for n, i in d.parameter_inputs.items() if any(p in several for _, p in d.parameters[n].rows)}
        return tuple(i in self.noise_inputs or i in own for i in range(len(d.program.inputs)))


def _inputs(tape: Tape, program: Program) -> list:
    return [tape.input(np.broadcast_to(np.zeros((), x.dtype), x.shape), x.name) for x in program.inputs]


def _examples(program: Program) -> list:
    """Zeros shaped as the outputs of a program."""
    return [np.zeros(program.signature(o)[0]) if type(o) is Ref else np.asarray(o) for o in program.outputs]


def _replay(program: Program, inputs: Sequence, held: frozenset[str]) -> tuple:
    """Run a derivation's program with the draws of some factors held constant."""

    def call(fun, args, kwargs):
        if fun is draw_of.run:
            return stop_gradient(args[0]) if args[1] in held else args[0]
        return call_recording(fun, args, kwargs)

    return run(program, *inputs, call=call)


def _sum(x: Any) -> Any:
    """The sum of all elements, added up in float64."""
    if getattr(x, "dtype", None) == np.float32:
        x = cast(x, np.dtype(np.float64))
    return total(x, tuple(range(np.ndim(x)))) if np.ndim(x) else x


def _add(parts: Sequence) -> Any:
    """Sum of scalars; constants are added up first."""
    constant = sum(float(x) for x in parts if not hasattr(x, "tape"))
    result = constant
    for x in parts:
        if hasattr(x, "tape"):
            result = x + result if isinstance(result, float) and result == 0.0 else result + x
    return result


def _reduce(x: Any, kept: Sequence[int], ndim: int) -> Any:
    """Sum a term over all batch axes but the kept ones, as an array of `ndim` axes."""
    n = np.ndim(x)
    axes = tuple(i for i in range(n) if i - n not in kept)
    summed = total(x, axes) if axes else x
    shape = tuple(np.shape(x)[axis] if axis in kept else 1 for axis in range(-ndim, 0))
    return reshape(summed, shape) if np.shape(summed) != shape else summed
