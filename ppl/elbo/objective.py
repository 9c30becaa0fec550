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

from ..array import Program, Ref, Tape, batch, compile_program, gradient, program_of, run, stop_gradient
from ..array.batching import Batched, lead, run_batched
from ..array.operations import TRANSPARENT, draw_of, reshape, total
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
    def values(self) -> Program:
        """Program of one particle: (bound, value of every term, score weights...)."""
        d, tape = self.derivation, Tape()
        inputs = _inputs(tape, d.program)
        outputs = _replay(d.program, inputs, frozenset())
        totals = [_sum(outputs[t.output]) * t.scale for t in d.terms]
        parts = [np.reshape(x, (1,)) for x in totals]
        terms = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return program_of(tape, [_add(totals), terms, *self._weights(outputs)], TRANSPARENT)

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
        d, tape = self.derivation, Tape()
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

    def batched(self, particles: int) -> Program:
        """Program of several particles: (mean surrogate, bound of each particle)."""
        tape = Tape()
        program = self.derivation.program
        noise = set(self.noise_inputs)
        inputs: list[Any] = []
        for i, x in enumerate(program.inputs):
            shape = (particles, *x.shape) if i in noise else x.shape
            node = tape.input(np.broadcast_to(np.zeros((), x.dtype), shape), x.name)
            inputs.append(Batched(node) if i in noise else node)
        bound, _, *weights = run_batched(self.values, inputs, particles)
        centred = [Batched(stop_gradient(leave_one_out(lead(w, particles)))) for w in weights]
        (scalar,) = run_batched(self.surrogate, [*inputs, *centred], particles)
        mean = np.mean(scalar.x) if isinstance(scalar, Batched) else scalar
        return program_of(tape, [mean, lead(bound, particles)])

    def gradient(self, particles: int, values_of: Callable[..., dict] | None = None, raw: Sequence = ()) -> Program:
        """Gradient program of the mean surrogate.

        By default in the parameters' own values. With `values_of`, a function from the raw
        coordinates (given as examples in `raw`) to parameter values by name, in these.
        Inputs: parameters (or raw coordinates), then the other inputs in order.
        """
        base, d = self.batched(particles), self.derivation
        names = list(d.parameter_inputs)
        rest = [i for i in range(len(base.inputs)) if i not in set(d.parameter_inputs.values())]
        tape = Tape()
        if values_of is None:
            own = [tape.input(np.zeros(base.inputs[d.parameter_inputs[n]].shape), n) for n in names]
            values = dict(zip(names, own, strict=True))
        else:
            own = [tape.input(x, "raw") for x in raw]
            values = values_of(*own)
        others = [
            tape.input(np.broadcast_to(np.zeros((), base.inputs[i].dtype), base.inputs[i].shape), base.inputs[i].name)
            for i in rest
        ]
        inputs: list[Any] = [None] * len(base.inputs)
        for n in names:
            inputs[d.parameter_inputs[n]] = values[n]
        for i, x in zip(rest, others, strict=True):
            inputs[i] = x
        composed = program_of(tape, run(base, *inputs, call=call_recording))
        return gradient(composed, range(len(own)))

    def rest_of(self, indices: dict, noise: dict) -> list:
        """The inputs after the parameters, in order."""
        d = self.derivation
        inputs = d.inputs(dict.fromkeys(d.parameter_inputs), indices, noise)
        taken = set(d.parameter_inputs.values())
        return [x for i, x in enumerate(inputs) if i not in taken]

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
        """Bound, terms and score weights of `size` particles; noise has them along its first axis."""
        if ("values", size) not in self._batches:
            flags = [i in set(self.noise_inputs) for i in range(len(self.values.inputs))]
            self._batches["values", size] = compile_program(batch(self.values, flags, size))
        bound, terms, *weights = self._batches["values", size](*self.derivation.inputs(values, indices, noise))
        return np.asarray(bound), np.asarray(terms), weights

    def contributions(self, values: dict, indices: dict, noise: dict, weights: list, size: int) -> list[np.ndarray]:
        """Each particle's contribution to the gradient, by parameter; weights without their baseline."""
        if ("gradient", size) not in self._batches:
            flags = [i in set(self.noise_inputs) for i in range(len(self.values.inputs))] + [True] * len(weights)
            self._batches["gradient", size] = compile_program(batch(self.particle_gradient, flags, size))
        inputs = self.derivation.inputs(values, indices, noise)
        return list(self._batches["gradient", size](*inputs, *weights)[1:])


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
