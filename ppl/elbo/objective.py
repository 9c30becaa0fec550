"""From a derivation and a plan to array programs of the bound and its gradient.

Two programs of one particle:

    values:    parameters, indices, noise           -> bound, terms, score weights
    surrogate: parameters, indices, noise, weights  -> a scalar whose gradient estimates the bound's

The surrogate is  sum of terms + sum of weight * log q(draw held constant); weights enter as
constants, with their baseline taken off. For several particles both run batched on one tape,
so the shared forward pass is computed once.

A long program, of many sites named one by one, is rolled up first (`ppl.array.roll`): its small
inputs become rows of few.
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
    compose,
    gradient,
    is_recorded,
    needed,
    pack,
    packs_of,
    paused_collector,
    program_of,
    prune,
    pull_through,
    roll,
    run,
    stop_gradient,
    substitute,
    units,
)
from ..array.batching import Batched, lead, run_batched
from ..array.operations import TRANSPARENT, cast, concatenate, draw_of, index, reshape, total
from ..array.program import Input
from ..array.recording import call_recording
from .choose import Plan
from .derivation import Derivation
from .estimators.score import leave_one_out

LONG = 150  # steps of a program from which it is rolled up
MARKS = frozenset((draw_of.run,))  # what says of a value where it comes from
MANY = 16  # summands that are added up as a vector


@dataclass(frozen=True)
class Objective:
    """The bound of a derivation under a plan, ready to be differentiated."""

    derivation: Derivation
    plan: Plan

    @cached_property
    def weights(self) -> tuple[tuple[frozenset[str], str], ...]:
        """(group, factor) pairs that need a score weight; a group shares the draws it holds constant."""
        order = {f.name: i for i, f in enumerate(self.derivation.factors)}
        return tuple((g, name) for g in self._groups for name in sorted(g, key=order.__getitem__))

    @cached_property
    def _groups(self) -> dict[frozenset[str], list[int]]:
        """The terms that hold the same draws constant."""
        groups: dict[frozenset[str], list[int]] = {}
        for i in range(len(self.plan.choices)):
            groups.setdefault(self.plan.scored(i), []).append(i)
        return groups

    @cached_property
    def rolls(self) -> bool:
        """Is the program long enough to be worth rolling up?"""
        return len(self.derivation.program.steps) >= LONG

    @cached_property
    def packs(self) -> tuple[list[list[int]], list[list[int]]]:
        """Parameters, and noise, that become the rows of one input each; none where nothing is rolled up."""
        d = self.derivation
        if not self.rolls:
            return [], []
        kinds: dict[str, list[int]] = {}
        for name, i in d.parameter_inputs.items():
            kinds.setdefault(name.rpartition(".")[2], []).append(i)
        parameters = [members for among in kinds.values() for members in packs_of(d.program.inputs, among)]
        return parameters, packs_of(d.program.inputs, self.noise_inputs)

    @property
    def _all_packs(self) -> list[list[int]]:
        return [*self.packs[0], *self.packs[1]]

    @cached_property
    def climbs(self) -> bool:
        """Whether the bound is what its gradient climbs: a path behind `stop_gradient` is in the value alone."""
        return all(step.fun is not stop_gradient.run for step in self.derivation.program.steps)

    @cached_property
    @paused_collector()
    def values(self) -> Program:
        """Program of one particle: (bound, value of every term, score weights...)."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        terms = prune(d.program, tuple(d.program.outputs[t.output] for t in d.terms), MARKS)
        values = [
            _input(tape, Input(t.text, *terms.signature(x))) if type(x) is Ref else x
            for t, x in zip(d.terms, terms.outputs, strict=True)
        ]
        totals = [_scaled(_sum(x), t.scale) for x, t in zip(values, d.terms, strict=True)]
        parts = _joined([reshape(x, (1,)) for x in totals])
        bound = _add(totals)
        sums = program_of(tape, [bound, parts, *self._weights(values)])
        known = tuple(x for x in terms.outputs if type(x) is Ref)
        return compose(Program(terms.inputs, terms.steps, known), sums)

    def _weights(self, values: Sequence[Any]) -> list:
        """For each (group, factor): its terms downstream, in the shape of the factor's log q."""
        d, found = self.derivation, []
        facts = {f.name: f for f in d.factors}
        for group, name in self.weights:
            f, weight = facts[name], 0.0
            for i in self._groups[group]:
                kept, t = self.plan.kept_axes.get((i, name), ()), d.terms[i]
                weight = weight + _reduce(values[i], kept, f.batch_ndim) * t.scale
            found.append(weight)
        return found

    @cached_property
    def surrogate(self) -> Program:
        """Program of one particle: inputs and weights -> scalar."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        if not self.weights:
            return prune(self.values, self.values.outputs[:1])
        inputs = [_input(tape, x) for x in d.program.inputs]
        shapes = [np.shape(x) for x in _examples(self.values)[2:]]
        weights = [tape.input(np.zeros(s), f"weight of {f}") for s, (_, f) in zip(shapes, self.weights, strict=True)]
        weight_of = dict(zip(self.weights, weights, strict=True))
        facts = {f.name: f for f in d.factors}
        parts: dict[int, Any] = {}
        scores = []
        with paused_collector():
            for group, terms in self._groups.items():
                asked = [d.terms[i].output for i in terms] + [facts[name].log_q_output for name in sorted(group)]
                outputs = dict(
                    zip(asked, _replay(d.program, inputs, group, [d.program.outputs[k] for k in asked]), strict=True)
                )
                for i in terms:
                    parts[i] = _scaled(_sum(outputs[d.terms[i].output]), d.terms[i].scale)
                for name in sorted(group):
                    scores.append(_sum(weight_of[group, name] * outputs[facts[name].log_q_output]))
        # Held-constant draws must stay so through a later batching or differentiation.
        return program_of(tape, [_add([*(parts[i] for i in sorted(parts)), *scores])])

    @cached_property
    @paused_collector()
    def _rolled_pair(self) -> tuple[Program, Program | None]:
        """`values` and `surrogate` rolled up; between them weights of one shape stand together."""
        if not self.weights:
            return self._rolled_values, None
        tape, plain = Tape(dtype=self.derivation.program.dtype), self.values
        bound, terms, *weights = [
            _input(tape, Input("", *plain.signature(x))) if type(x) is Ref else x for x in plain.outputs
        ]
        alike: dict[tuple[int, ...], list[int]] = {}
        for k, w in enumerate(weights):
            alike.setdefault(np.shape(w), []).append(k)
        together = program_of(
            tape, [bound, terms, *(_stacked([weights[k] for k in group]) for group in alike.values())]
        )
        known = tuple(x for x in plain.outputs if type(x) is Ref)
        values = roll(compose(Program(plain.inputs, plain.steps, known), together), self._all_packs)
        n = len(plain.inputs)
        packs = [*self._all_packs, *([n + k for k in group] for group in alike.values())]
        return values, roll(self.surrogate, packs)

    @cached_property
    def _rolled_values(self) -> Program:
        """`values`, rolled up where that is worth it."""
        return roll(self.values, self._all_packs) if self.rolls else self.values

    @cached_property
    def noise_inputs(self) -> tuple[int, ...]:
        return tuple(f.noise_input for f in self.derivation.factors)

    @cached_property
    def _noise(self) -> frozenset[int]:
        return frozenset(self.noise_inputs)

    def on_tape(self, inputs: Sequence, particles: int) -> tuple[Any, Any]:
        """(mean surrogate, mean bound), recorded; inputs that are `Batched` have the particles as first axis."""
        return self._means(self.values, self.surrogate if self.weights else None, inputs, particles)

    def _means(self, values: Program, surrogate: Program | None, rows: Sequence, particles: int) -> tuple[Any, Any]:
        if particles == 1:
            own = [x.x[0] if isinstance(x, Batched) else x for x in rows]
            bound, _, *weights = run(values, *own, call=call_recording)
            if surrogate is None:
                return bound, bound
            held = map(stop_gradient, weights)
            return run(surrogate, *own, *held, call=call_recording)[0], bound
        bound, _, *weights = run_batched(values, rows, particles)
        mean = np.mean(bound.x) if isinstance(bound, Batched) else bound
        if surrogate is None:
            return mean, mean
        centred = [Batched(stop_gradient(leave_one_out(lead(w, particles)))) for w in weights]
        return np.mean(lead(run_batched(surrogate, [*rows, *centred], particles)[0], particles)), mean

    def gradient(
        self,
        particles: int,
        values_of: Callable[..., dict] | None = None,
        raw: Sequence = (),
        rows: Sequence = (),
        given: Sequence = (),
    ) -> Program:
        """The program (mean surrogate, mean bound, gradient of the surrogate...).

        The gradient is in the parameters' own values, which are the first inputs, before the
        others in order. With `values_of`, a function from raw coordinates (examples in `raw`), rows
        of tables (`rows`) and further inputs (`given`) to parameter values by name, it is in these:
        one vector with all raw coordinates is the first input, then come the rows and what is
        given, before what `rest_of` gives; the gradient is one vector too, and the rows' slopes.
        """
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        with paused_collector():
            if values_of is None:
                own = [tape.input(np.zeros(d.program.inputs[i].shape), n) for n, i in d.parameter_inputs.items()]
                scalar, bound = self.on_tape(self._with_rest(tape, own, particles), particles)
                return program_of(tape, [scalar, bound, *pull_through(tape, scalar, own)], TRANSPARENT)
            x = tape.input(np.zeros(sum(map(np.size, raw))), "coordinates")
            beside = [tape.input(r, "rows") for r in rows]
            further = [*beside, *(tape.input(g, "rows at the start") for g in given)]
            if self.rolls:
                packed = self._packed(tape, x, further, values_of, raw, particles)
                scalar, bound = self._means(*self._rolled_pair, packed, particles)
                return program_of(tape, [scalar, bound, *pull_through(tape, scalar, [x, *beside])], TRANSPARENT)
            pieces = _split(x, raw)
            values = values_of(*pieces, *further)
            own = [values[n] for n in d.parameter_inputs]
            scalar, bound = self.on_tape(self._with_rest(tape, own, particles), particles)
            slopes = pull_through(tape, scalar, [*pieces, *beside])
            vector = _joined([reshape(g, (np.size(g),)) for g in slopes[: len(pieces)]])
            return program_of(tape, [scalar, bound, vector, *slopes[len(pieces) :]], TRANSPARENT)

    def _with_rest(self, tape: Tape, own: Sequence[Any], particles: int) -> list:
        """The inputs of the derivation's program in order, the parameters' given; every particle has its noise."""
        position = dict(zip(self.derivation.parameter_inputs.values(), own, strict=True))
        return [
            position[i] if i in position else self._rest(tape, i, x, particles)
            for i, x in enumerate(self.derivation.program.inputs)
        ]

    def _rest(self, tape: Tape, i: int, x: Input, particles: int) -> Any:
        return Batched(_input(tape, x, (particles,))) if i in self._noise else _input(tape, x)

    def _packed(
        self, tape: Tape, x: Any, further: Sequence, values_of: Callable[..., dict], raw: Sequence, particles: int
    ) -> list:
        """The inputs of the rolled programs at raw coordinates, whose map is rolled up too."""
        d, one = self.derivation, Tape(dtype=self.derivation.program.dtype)
        vector, *others = [_input(one, Input(y.name, y.shape, y.dtype)) for y in (x, *further)]
        values = values_of(*_split(vector, raw), *others)
        known = {i: values[n] for n, i in d.parameter_inputs.items()}
        groups = units(len(d.program.inputs), self._all_packs)
        packed = {members[0] for members in self._all_packs}
        outputs = [
            _stacked([known[k] for k in members]) if members[0] in packed else known[members[0]]
            for members in groups
            if members[0] in known
        ]
        parameters = iter(run(roll(program_of(one, outputs)), x, *further, call=call_recording))
        looks = self._rolled_values.inputs
        return [
            next(parameters) if members[0] in known else self._rest(tape, members[0], look, particles)
            for members, look in zip(groups, looks, strict=True)
        ]

    def rest_of(self, indices: dict, noise: dict) -> list:
        """The inputs after the coordinates, in order; values may have leading axes."""
        d = self.derivation
        return [x for x in pack(d.program.inputs, d.placed(indices, noise), self.packs[1]) if x is not None]

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
        inputs = pack(self.values.inputs, self.derivation.inputs(values, indices, noise), self._all_packs)
        every = self._flags(indices)
        flags = tuple(every[members[0]] for members in units(len(every), self._all_packs))
        if ("values", size, flags) not in self._batches:
            self._batches["values", size, flags] = compile_program(batch(self._rolled_values, flags, size))
        bound, terms, *weights = self._batches["values", size, flags](*inputs)
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
        own.update(self.noise_inputs)
        return tuple(i in own for i in range(len(d.program.inputs)))


def _input(tape: Tape, x: Input, lead: tuple[int, ...] = ()) -> Any:
    return tape.input(np.broadcast_to(np.zeros((), x.dtype), (*lead, *x.shape)), x.name)


def _split(x: Any, raw: Sequence) -> list:
    """The pieces of a recorded vector, in the shapes of `raw`."""
    ends = np.cumsum([np.size(r) for r in raw]).tolist()
    return [
        reshape(index(x, slice(end - np.size(r), end)), np.shape(r)) if np.ndim(r) else index(x, end - 1)
        for r, end in zip(raw, ends, strict=True)
    ]


def _stacked(rows: Sequence[Any]) -> Any:
    """Values of one shape as the rows of one."""
    return concatenate(tuple([reshape(x, (1, *np.shape(x))) for x in rows]), 0)


def _joined(parts: Sequence[Any]) -> Any:
    return concatenate(tuple(parts), 0) if len(parts) > 1 else parts[0] if parts else np.zeros(0)


def _examples(program: Program) -> list:
    """Zeros shaped as the outputs of a program."""
    return [np.zeros(program.signature(o)[0]) if type(o) is Ref else np.asarray(o) for o in program.outputs]


def _replay(program: Program, inputs: Sequence, held: frozenset[str], outputs: Sequence) -> list:
    """Outputs of a derivation's program, recorded again with the draws of some factors held constant."""
    values: dict[int, Any] = dict(enumerate(inputs))
    for i in sorted(needed(program, tuple(outputs))):
        if i >= len(inputs):
            step = program.steps[i - len(inputs)]
            args, kwargs = substitute((step.args, step.kwargs), values.__getitem__)
            if step.fun is not draw_of.run:
                values[i] = call_recording(step.fun, args, kwargs)
            else:
                values[i] = stop_gradient(args[0]) if args[1] in held else args[0]
    return substitute(list(outputs), values.__getitem__)


def _sum(x: Any) -> Any:
    """The sum of all elements, added up in float64."""
    if getattr(x, "dtype", None) == np.float32:
        x = cast(x, np.dtype(np.float64))
    return total(x, tuple(range(np.ndim(x)))) if np.ndim(x) else x


def _scaled(x: Any, scale: float) -> Any:
    return x if scale == 1.0 else x * scale


def _add(parts: Sequence) -> Any:
    """Sum of scalars; constants are added up first."""
    if len(parts) >= MANY:
        return total(_joined([reshape(x, (1,)) for x in parts]), (0,))
    constant = sum(float(x) for x in parts if not is_recorded(x))
    result = constant
    for x in parts:
        if is_recorded(x):
            result = x + result if isinstance(result, float) and result == 0.0 else result + x
    return result


def _reduce(x: Any, kept: Sequence[int], ndim: int) -> Any:
    """Sum a term over all batch axes but the kept ones, as an array of `ndim` axes."""
    n = np.ndim(x)
    axes = tuple(i for i in range(n) if i - n not in kept)
    summed = total(x, axes) if axes else x
    shape = tuple(np.shape(x)[axis] if axis in kept else 1 for axis in range(-ndim, 0))
    return reshape(summed, shape) if np.shape(summed) != shape else summed
