"""From a derivation and a plan to array programs of the bound and its gradient.

Two programs of one particle:

    values:    parameters, indices, noise               -> bound, terms, signals of the score weights
    surrogate: parameters, indices, noise, coefficients -> a scalar whose gradient estimates the bound's

The surrogate is  sum of terms + sum of coefficient * log q(draw held constant); coefficients enter as
constants: what the factor's control variate (`estimators/record.py`) makes of all particles' weights. Some make
several signals of a weight, or coefficients of q's parameters in the place of log q; some keep a state from
step to step. For several particles both run batched on one tape, so the shared forward pass is computed once.

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
    pack,
    packs_of,
    paused_collector,
    program_of,
    prune,
    pull_through,
    roll,
    run,
    stop_gradient,
    units,
)
from ..array.batching import Batched, lead, run_batched
from ..array.operations import TRANSPARENT, cast, concatenate, draw_of, index, reshape, total
from ..array.program import Input
from ..array.recording import call_recording
from .choose import Plan
from .derivation import Derivation
from .estimators import Control, Scored
from .estimators.record import LOG_Q, LOGITS
from .replay import held, input_like, inputs_of, live, replayed

LONG = 150  # steps of a program from which it is rolled up
MARKS = frozenset((draw_of.run,))  # what says of a value where it comes from
MANY = 16  # summands that are added up as a vector


@dataclass(frozen=True)
class Objective:
    """The bound of a derivation under a plan, ready to be differentiated."""

    derivation: Derivation
    plan: Plan
    weighted: tuple[str, ...] = ()  # sites whose terms have a weight, an input of its own
    free_bits: tuple[tuple[str, float], ...] = ()  # (site, nats): its terms count where its KL is larger
    plain: bool = True  # the ELBO of the model itself is what is climbed

    @cached_property
    def weights(self) -> tuple[tuple[frozenset[str], str], ...]:
        """(group, factor) pairs that need a score weight; a group shares the draws it holds constant."""
        return tuple((g, name) for g in self._groups for name in self._in_order(g))

    @cached_property
    def _groups(self) -> dict[frozenset[str], list[int]]:
        """The terms that hold the same draws constant."""
        groups: dict[frozenset[str], list[int]] = {}
        for i in range(len(self.plan.choices)):
            groups.setdefault(self.plan.scored(i), []).append(i)
        return groups

    @cached_property
    def controls(self) -> tuple[Control, ...]:
        """The control variate of each of the `weights`."""
        return tuple(self.plan.estimator_of(name).control for _, name in self.weights)

    @cached_property
    def mirrored(self) -> frozenset[str]:
        """Factors whose particles are drawn in mirrored pairs."""
        return frozenset(n for (_, n), c in zip(self.weights, self.controls, strict=True) if c.mirrored)

    @property
    def independent(self) -> frozenset[str]:
        """Factors whose particles must know nothing of each other."""
        return frozenset(n for _, n in self.weights)

    @property
    def unit(self) -> int:
        """Draws for one estimate of the bound."""
        return 1

    def bounds_of(self, bounds: np.ndarray, signals: Sequence[np.ndarray]) -> np.ndarray:
        """The bound's estimates, from what `evaluate` gives."""
        return bounds

    @property
    def coupled(self) -> int:
        """How many particles stand or fall together: those of a mirrored pair do."""
        return 2 if self.mirrored else 1

    @cached_property
    def rolls(self) -> bool:
        """Is the program long enough to be worth rolling up? Only weights that are all treated alike stand together."""
        alike = len(set(map(id, self.controls))) <= 1 and all(c.plain for c in self.controls)
        return alike and not self.weighted and not self.free_bits and len(self.derivation.program.steps) >= LONG

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
        if not self.plain:
            return False
        return all(step.fun is not stop_gradient.run for step in self.derivation.program.steps)

    @property
    def values(self) -> Program:
        """Program of one particle: (bound, value of every term, signals...)."""
        return self._values_and_counts[0]

    @cached_property
    @paused_collector()
    def _values_and_counts(self) -> tuple[Program, list[int]]:
        """The program of the values, and how many signals each weight has in it."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        asked = tuple(d.program.outputs[t.output] for t in d.terms)
        if self.weighted or self.free_bits or not all(c.plain for c in self.controls):
            return self._values_and_signals(tape, asked)
        terms = prune(d.program, asked, MARKS)
        values = [
            input_like(tape, Input(t.text, *terms.signature(x))) if type(x) is Ref else x
            for t, x in zip(d.terms, terms.outputs, strict=True)
        ]
        sums = program_of(tape, [*self._sums(values), *self._weights(values)])
        known = tuple(x for x in terms.outputs if type(x) is Ref)
        return compose(Program(terms.inputs, terms.steps, known), sums), [1] * len(self.weights)

    def _sums(self, values: Sequence[Any]) -> list:
        """The bound, and the value of every term."""
        totals = [scaled(summed(x), t.scale) for x, t in zip(values, self.derivation.terms, strict=True)]
        return [added(totals), _joined([reshape(x, (1,)) for x in totals])]

    def _values_and_signals(self, tape: Tape, asked: Sequence[Any]) -> tuple[Program, list[int]]:
        """The values where control variates look at more than weights."""
        d = self.derivation
        inputs = inputs_of(tape, d.program)
        draws = [d.program.outputs[f.draw_output] for f in d.factors]
        arrays = {name: [d.program.outputs[k] for k in d.guides[name][0]] for _, name in self.weights}
        data = {name: [d.program.outputs[k] for k in self._facts[name].data_outputs] for _, name in self.weights}
        found = iter(
            replayed(
                d.program,
                inputs,
                live,
                [*asked, *draws, *(x for xs in arrays.values() for x in xs), *(x for xs in data.values() for x in xs)],
            )
        )
        values = [next(found) for _ in asked]
        drawn = {f.name: stop_gradient(next(found)) for f in d.factors}
        arrays, data = ({n: [next(found) for _ in xs] for n, xs in some.items()} for some in (arrays, data))
        betas = self._betas(tape, [scaled(summed(x), t.scale) for x, t in zip(values, d.terms, strict=True)])
        weights = [self._weight(group, name, values, betas) for group, name in self.weights]
        signals = []
        for (group, name), weight, control in zip(self.weights, weights, self.controls, strict=True):
            own = [stop_gradient(x) if is_recorded(x) else x for x in arrays[name]]

            def weight_at(draw: Any, group=group, name=name) -> Any:
                """The weight where this factor has another draw, which others may follow; and the sum of its terms."""
                terms = self._groups[group]
                outputs = replayed(d.program, inputs, lambda n, x: draw if n == name else x, [asked[i] for i in terms])
                again = dict(zip(terms, outputs, strict=True))
                parts = [summed(x) * (d.terms[i].scale * betas.get(i, 1.0)) for i, x in again.items()]
                return self._weight(group, name, again, betas), added(parts)

            seen = Scored(
                tape,
                stop_gradient(weight) if is_recorded(weight) else weight,
                drawn[name],
                inputs[self._facts[name].noise_input],
                tuple(x for x in own if is_recorded(x)),
                d.guides[name][1](tuple(own)),
                tuple(data[name]),
                weight_at,
            )
            signals.append(control.signals(seen))
        outputs = [*self._sums(values), *(x for xs in signals for x in xs)]
        return program_of(tape, outputs, TRANSPARENT), list(map(len, signals))

    def _weights(self, values: Sequence[Any]) -> list:
        """For each (group, factor): its terms downstream, in the shape of the factor's log q."""
        return [self._weight(group, name, values) for group, name in self.weights]

    def _betas(self, tape: Tape, totals: Any) -> dict[int, Any]:
        """What the terms of some sites are multiplied by, from the values of all terms."""
        terms, found = self.derivation.terms, {}
        for site in self.weighted:
            beta = tape.input(np.ones((), tape.dtype), f"weight of {site}")
            found |= {i: beta for i, t in enumerate(terms) if t.site == site}
        for site, nats in self.free_bits:
            own = [i for i, t in enumerate(terms) if t.site == site]
            beta = np.where(added([totals[i] for i in own]) < -nats, 1.0, 0.0)
            found |= dict.fromkeys(own, stop_gradient(beta) if is_recorded(beta) else beta)
        return found

    def _weight(self, group: frozenset[str], name: str, values: Any, betas: dict[int, Any] | None = None) -> Any:
        d, weight, ndim = self.derivation, 0.0, self._facts[name].batch_ndim
        for i in self._groups[group]:
            kept, t = self.plan.kept_axes.get((i, name), ()), d.terms[i]
            weight = weight + summed_to(values[i], kept, ndim) * t.scale * (betas or {}).get(i, 1.0)
        return weight

    def combine(self, signals: Sequence[Any], particles: int, states: Sequence[Any] = ()) -> tuple[list, list]:
        """(coefficients of all slots, next states) from the signals of all particles, and the states so far."""
        signals, states, found, kept = iter(signals), iter(states or self.start), [], []
        counts = self._values_and_counts[1]
        for control, count, size in zip(self.controls, counts, map(len, self._starts), strict=True):
            own = [next(signals) for _ in range(count)]
            slots, state = control.coefficients(own, [next(states) for _ in range(size)], particles)
            found += slots
            kept += state
        return found, kept

    @cached_property
    def _starts(self) -> list[list[np.ndarray]]:
        shapes = iter([np.shape(x) for x in _examples(self.values)[2:]])
        return [
            c.start([next(shapes) for _ in range(count)])
            for c, count in zip(self.controls, self._values_and_counts[1], strict=True)
        ]

    @cached_property
    def start(self) -> tuple[np.ndarray, ...]:
        """The control variates' states before the first step."""
        return tuple(x for state in self._starts for x in state)

    @cached_property
    def _frozen(self) -> frozenset[str]:
        """Factors whose log q, where it is drawn, is differentiated along the draw's path only."""
        return frozenset(f.name for f in self.derivation.factors if self.plan.estimator_of(f.name).sampled)

    def _is_frozen(self, i: int) -> bool:
        t = self.derivation.terms[i]
        return t.kind == "-log q" and any(t.site in (n, *self._facts[n].sites) for n in self._frozen)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return {f.name: f for f in self.derivation.factors}

    def _in_order(self, group: frozenset[str]) -> list[str]:
        order = {n: i for i, n in enumerate(self._facts)}
        return sorted(group, key=order.__getitem__)

    @property
    def apart(self) -> bool:
        """Is the gradient another than that of the bound's own program?"""
        return bool(self.weights or self._frozen or self.weighted or self.free_bits)

    @cached_property
    def surrogate(self) -> Program:
        """Program of one particle: inputs and coefficients -> scalar."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        if not self.apart:
            return prune(self.values, self.values.outputs[:1])
        inputs = inputs_of(tape, d.program)
        signals = [np.zeros((2, *np.shape(x))) for x in _examples(self.values)[2:]]
        with np.errstate(all="ignore"):
            shapes = [np.shape(x)[1:] for x in self.combine(signals, 2)[0]] if self.weights else []
        parts: dict[int, Any] = {}
        products = []  # of what coefficients stand before
        pairs = dict(zip(self.weights, self.controls, strict=True))
        with paused_collector():
            for group, terms in self._groups.items():
                hold = held(group)
                plain = [i for i in terms if not self._is_frozen(i)]
                kinds = {n: pairs[group, n].slots_of(self._facts[n].family) for n in self._in_order(group)}
                before = {n: self._before(n, kind) for n, kind in kinds.items()}
                asked = [*(d.terms[i].output for i in plain), *(k for ks in before.values() for k in ks)]
                outputs = iter(replayed(d.program, inputs, hold, [d.program.outputs[k] for k in asked]))
                values = {i: next(outputs) for i in plain}
                values |= self._frozen_terms(inputs, hold, [i for i in terms if self._is_frozen(i)])
                for i in terms:
                    parts[i] = scaled(summed(values[i]), d.terms[i].scale)
                for name, kind in kinds.items():
                    own = [next(outputs) for _ in before[name]]
                    if kind == LOGITS:
                        own = [d.guides[name][1](tuple(own)).core.logits]
                    products += [x for x in own if kind == LOG_Q or is_recorded(x)]
        # Held-constant draws must stay so through a later batching or differentiation.
        betas = self._betas(tape, parts)
        slots = [tape.input(np.zeros(s), "coefficient") for s in shapes]
        terms = [parts[i] * betas[i] if i in betas else parts[i] for i in sorted(parts)]
        return program_of(tape, [added([*terms, *(summed(c * x) for c, x in zip(slots, products, strict=True))])])

    def _frozen_terms(self, inputs: Sequence[Any], hold: Callable, terms: Sequence[int]) -> dict[int, Any]:
        """Terms in which parameters are constants, and draws are not."""
        if not terms:
            return {}
        d = self.derivation
        drawn = replayed(d.program, inputs, hold, [d.program.outputs[f.draw_output] for f in d.factors])
        draws = dict(zip((f.name for f in d.factors), drawn, strict=True))
        parameters = set(d.parameter_inputs.values())
        fixed = [stop_gradient(x) if i in parameters else x for i, x in enumerate(inputs)]
        outputs = [d.program.outputs[d.terms[i].output] for i in terms]
        return dict(zip(terms, replayed(d.program, fixed, lambda n, x: draws[n], outputs), strict=True))

    def _before(self, name: str, kind: str) -> tuple[int, ...]:
        """Outputs before which the coefficients of a factor stand, or of which that is made."""
        return (self._facts[name].log_q_output,) if kind == LOG_Q else self.derivation.guides[name][0]

    @cached_property
    @paused_collector()
    def _rolled_pair(self) -> tuple[Program, Program | None]:
        """`values` and `surrogate` rolled up; between them weights of one shape stand together."""
        if not self.apart:
            return self._rolled_values, None
        if not self.weights:
            return self._rolled_values, roll(self.surrogate, self._all_packs)
        tape, plain = Tape(dtype=self.derivation.program.dtype), self.values
        bound, terms, *weights = [
            input_like(tape, Input("", *plain.signature(x))) if type(x) is Ref else x for x in plain.outputs
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

    def on_tape(self, inputs: Sequence, particles: int, states: Sequence[Any] = ()) -> tuple[Any, Any, list]:
        """(mean surrogate, mean bound, next states), recorded; inputs that are `Batched` have particles first."""
        return self._means(self.values, self.surrogate if self.apart else None, inputs, particles, states)

    def _means(
        self, values: Program, surrogate: Program | None, rows: Sequence, particles: int, states: Sequence[Any] = ()
    ) -> tuple[Any, Any, list]:
        if particles == 1:
            own = [x.x[0] if isinstance(x, Batched) else x for x in rows]
            bound, _, *signals = run(values, *own, call=call_recording)
            if surrogate is None:
                return bound, bound, []
            slots, kept = self._combined([np.reshape(w, (1, *np.shape(w))) for w in signals], 1, states)
            return run(surrogate, *own, *(stop_gradient(x[0]) for x in slots), call=call_recording)[0], bound, kept
        bound, _, *signals = run_batched(values, rows, particles)
        mean = np.mean(bound.x) if isinstance(bound, Batched) else bound
        if surrogate is None:
            return mean, mean, []
        slots, kept = self._combined([lead(w, particles) for w in signals], particles, states)
        found = run_batched(surrogate, [*rows, *(Batched(stop_gradient(x)) for x in slots)], particles)[0]
        return np.mean(lead(found, particles)), mean, kept

    def _combined(self, signals: Sequence[Any], particles: int, states: Sequence[Any]) -> tuple[list, list]:
        if self.rolls:  # signals of one shape stand together
            return [self.controls[0].coefficients([x], [], particles)[0][0] for x in signals], []
        return self.combine(signals, particles, states)

    def gradient(
        self,
        particles: int,
        values_of: Callable[..., dict] | None = None,
        raw: Sequence = (),
        rows: Sequence = (),
        given: Sequence = (),
    ) -> Program:
        """The program (mean surrogate, mean bound, gradient of the surrogate..., states of control variates...).

        The gradient is in the parameters' own values, which are the first inputs, before the
        others in order. With `values_of`, a function from raw coordinates (examples in `raw`), rows
        of tables (`rows`) and further inputs (`given`) to parameter values by name, it is in these:
        one vector with all raw coordinates is the first input, then come the rows and what is
        given, before what `rest_of` gives; the gradient is one vector too, and the rows' slopes.
        The last inputs are the weights of sites (`weighted`), and the states of control variates (`start`).
        """
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        with paused_collector():
            if values_of is None:
                own = [tape.input(np.zeros(d.program.inputs[i].shape), n) for n, i in d.parameter_inputs.items()]
                scalar, bound, kept = self.on_tape(*self.inputs_and_states(tape, own, particles))
                return program_of(tape, [scalar, bound, *pull_through(tape, scalar, own), *kept], TRANSPARENT)
            x = tape.input(np.zeros(sum(map(np.size, raw))), "coordinates")
            beside = [tape.input(r, "rows") for r in rows]
            further = [*beside, *(tape.input(g, "rows at the start") for g in given)]
            if self.rolls:
                packed = self._packed(tape, x, further, values_of, raw, particles)
                scalar, bound, _ = self._means(*self._rolled_pair, packed, particles)
                return program_of(tape, [scalar, bound, *pull_through(tape, scalar, [x, *beside])], TRANSPARENT)
            pieces = _split(x, raw)
            values = values_of(*pieces, *further)
            own = [values[n] for n in d.parameter_inputs]
            scalar, bound, kept = self.on_tape(*self.inputs_and_states(tape, own, particles))
            slopes = pull_through(tape, scalar, [*pieces, *beside])
            vector = _joined([reshape(g, (np.size(g),)) for g in slopes[: len(pieces)]])
            return program_of(tape, [scalar, bound, vector, *slopes[len(pieces) :], *kept], TRANSPARENT)

    def inputs_and_states(self, tape: Tape, own: Sequence[Any], particles: int) -> tuple[list, int, list]:
        rest = self._with_rest(tape, own, particles)
        rest += [tape.input(np.ones((), tape.dtype), f"weight of {site}") for site in self.weighted]
        return rest, particles, [tape.input(np.zeros_like(x), "state") for x in self.start]

    def _with_rest(self, tape: Tape, own: Sequence[Any], particles: int) -> list:
        """The inputs of the derivation's program in order, the parameters' given; every particle has its noise."""
        position = dict(zip(self.derivation.parameter_inputs.values(), own, strict=True))
        return [
            position[i] if i in position else self._rest(tape, i, x, particles)
            for i, x in enumerate(self.derivation.program.inputs)
        ]

    def _rest(self, tape: Tape, i: int, x: Input, particles: int) -> Any:
        particles = particles * self.unit
        return Batched(input_like(tape, x, (particles,))) if i in self._noise else input_like(tape, x)

    def _packed(
        self, tape: Tape, x: Any, further: Sequence, values_of: Callable[..., dict], raw: Sequence, particles: int
    ) -> list:
        """The inputs of the rolled programs at raw coordinates, whose map is rolled up too."""
        d, one = self.derivation, Tape(dtype=self.derivation.program.dtype)
        vector, *others = [input_like(one, Input(y.name, y.shape, y.dtype)) for y in (x, *further)]
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
    def cost(self) -> int:
        """Counted operations of one estimate of bound and gradient, control variates included: never time."""
        if self.rolls:  # the program of several particles would be long
            return self.values.work + self.particle_gradient.work
        estimates = 2 if self.unit == 1 else 1
        return self.gradient(estimates).work // estimates

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
        inputs = pack(self.values.inputs, self._own_inputs(values, indices, noise), self._all_packs)
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
        inputs = self._own_inputs(values, indices, noise)
        parts = self._batches["gradient", size, flags](*inputs, *weights)[1:]
        named = zip(self.derivation.parameter_inputs, parts, strict=True)
        return [self.derivation.all_rows(n, np.asarray(x), indices) for n, x in named]

    def _own_inputs(self, values: dict, indices: dict, noise: dict) -> list:
        """The derivation's inputs, and weights of one."""
        return [*self.derivation.inputs(values, indices, noise), *[1.0] * len(self.weighted)]

    def _flags(self, indices: dict) -> tuple[bool, ...]:
        """Which inputs differ from particle to particle."""
        d = self.derivation
        several = {n for n, rows in indices.items() if np.ndim(rows) > 1}
        own = {d.index_inputs[n] for n in several}
        own |= {i for n, i in d.parameter_inputs.items() if any(p in several for _, p in d.parameters[n].rows)}
        own.update(self.noise_inputs)
        return (*(i in own for i in range(len(d.program.inputs))), *[False] * len(self.weighted))


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


def summed(x: Any) -> Any:
    """The sum of all elements, added up in float64."""
    if getattr(x, "dtype", None) == np.float32:
        x = cast(x, np.dtype(np.float64))
    return total(x, tuple(range(np.ndim(x)))) if np.ndim(x) else x


def scaled(x: Any, scale: float) -> Any:
    return x if scale == 1.0 else x * scale


def added(parts: Sequence) -> Any:
    """Sum of scalars; constants are added up first."""
    if len(parts) >= MANY:
        return total(_joined([reshape(x, (1,)) for x in parts]), (0,))
    constant = sum(float(x) for x in parts if not is_recorded(x))
    result = constant
    for x in parts:
        if is_recorded(x):
            result = x + result if isinstance(result, float) and result == 0.0 else result + x
    return result


def summed_to(x: Any, kept: Sequence[int], ndim: int) -> Any:
    """Sum a term over all batch axes but the kept ones, as an array of `ndim` axes."""
    n = np.ndim(x)
    axes = tuple(i for i in range(n) if i - n not in kept)
    summed = total(x, axes) if axes else x
    shape = tuple(np.shape(x)[axis] if axis in kept else 1 for axis in range(-ndim, 0))
    return reshape(summed, shape) if np.shape(summed) != shape else summed
