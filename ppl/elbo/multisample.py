"""The objective of a bound of several samples: IWAE and Renyi.

    L = bound of the log weights l_k = log p - log q,   d L = sum_k share_k d l_k

Draws come in groups of k. A particle's program is that of one draw, with constants beside it: its
share in the gradient, and where draws enter by their score what the bound gains by it (VIMCO). Where
all draws lie in one plate, and elements stay apart on the way to every term, each element has its bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..array import Program, Ref, Tape, paused_collector, program_of, stop_gradient
from ..array.batching import Batched, lead, run_batched
from ..array.operations import TRANSPARENT
from ..errors import GuideError
from ..model.calls import check_names
from .bounds import ELBO, FreeBits, Multiple
from .choose import choose
from .derivation import Derivation
from .estimators import score, vimco
from .flow import separable_axis
from .objective import Objective, added, summed, summed_to
from .replay import held, inputs_of, live, replayed


def objective_of(
    d: Derivation, bound: Any = None, overrides: Any = None, weights: Mapping[str, Any] | None = None
) -> Objective:
    """The objective of a bound; the derivation of one of several samples is without closed forms."""
    weights = weights or {}
    if bound is None or isinstance(bound, ELBO):
        check_names("weights", weights, {s for f in d.factors for s in f.sites if len(f.sites) == 1})
        free = tuple((n, w.nats) for n, w in weights.items() if isinstance(w, FreeBits))
        weighted = tuple(n for n in weights if n not in dict(free))
        return Objective(d, choose(d, overrides), weighted, free, plain=not weights)
    if weights:
        expected = "bound=ppl.ELBO(), whose terms have weights"
        raise GuideError("weights= for a bound of several samples", expected, "no weights=, or no bound=")
    plan = choose(d, overrides, multiple=True)
    for f in d.factors:
        found = plan.choice_of(f.name)
        if found is not None and found.name == "score":
            plan = plan.with_member(f.name, "vimco", found.reason.why.replace(score.WHY, vimco.WHY))
    return MultipleObjective(d, plan, bound=bound)


@dataclass(frozen=True)
class MultipleObjective(Objective):
    """A bound of several samples of a derivation under a plan."""

    bound: Multiple = field(kw_only=True)

    plain: bool = False

    climbs = False
    rolls = False
    apart = True
    weights = ()
    controls = ()

    @property
    def unit(self) -> int:
        """Draws for one estimate of the bound."""
        return self.bound.samples

    @property
    def independent(self) -> frozenset[str]:
        """All draws of a group are independent."""
        return frozenset(self._facts)

    @cached_property
    def _scored(self) -> list[str]:
        terms = range(len(self.plan.choices))
        return self._in_order(frozenset(n for i in terms for n in self.plan.scored(i)))

    @cached_property
    def _doubly(self) -> bool:
        """Are the scores of q reparameterized?"""
        names = [n for n in self._facts if self.plan.estimator_of(n).name == "dreg"]
        if names and (self._scored or len(names) < len(self._facts)):
            raise GuideError(
                "estimator='dreg' for some of the draws",
                "all draws pathwise: the shares of the samples depend on every draw",
                "estimators='dreg', or 'pathwise'",
                site=names[0],
            )
        return bool(names)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Plate axes along which each element has its own bound."""
        d = self.derivation
        common = [
            p
            for p in (d.factors[0].plates if d.factors else ())
            if all(p.name in {q.name for q in f.plates} for f in d.factors)
            and all(p.name in {q.name for q in t.plates} for t in d.terms)
        ]
        outputs = [d.program.outputs[t.output] for t in d.terms]
        targets = {x.index for x in outputs if type(x) is Ref}

        def apart(p: Any) -> bool:
            return all(
                end in (p.dim, None)
                for f in d.factors
                for end in separable_axis(d.program, f.name, p.dim - f.event_ndim, targets).values()
            )

        found = tuple(p for p in common if apart(p))
        left = [p.name for p in d.plates.values() if p.subsampled and p.name not in {q.name for q in found}]
        if left:
            raise GuideError(
                f"a bound of several samples with a minibatch of plate '{left[0]}'",
                "all latents in that plate: the log of a mean over draws of others needs all rows",
                "ppl.ELBO(), or the plate without subsample_size",
            )
        return tuple(p.dim for p in found)

    @cached_property
    def _outer(self) -> float:
        """What each element's bound counts: rows in all by rows in use."""
        plates = {p.dim: p for f in self.derivation.factors for p in f.plates}
        return float(np.prod([plates[dim].size / plates[dim].subsample_size for dim in self.kept]))

    @property
    def _ndim(self) -> int:
        return -min(self.kept, default=0)

    def _log_weight(self, values: Sequence[Any], which: Sequence[int]) -> Any:
        """The sum of some terms, per element."""
        terms = self.derivation.terms
        total = 0.0
        for i, x in zip(which, values, strict=True):
            total = total + summed_to(x, self.kept, self._ndim) * (terms[i].scale / self._outer)
        return total

    @cached_property
    @paused_collector()
    def values(self) -> Program:
        """Program of one draw: (log weight in all, value of every term, log weight of every element)."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        values = replayed(d.program, inputs_of(tape, d.program), live, [d.program.outputs[t.output] for t in d.terms])
        return program_of(tape, [*self._sums(values), self._log_weight(values, range(len(values)))], TRANSPARENT)

    def combine(self, signals: Sequence[Any], particles: int, states: Sequence[Any] = ()) -> tuple[list, list]:
        """Shares of all draws, those of their paths if they differ, and what the bound gains by each."""
        (log_weights,), k, outer = signals, self.unit, self._outer
        grouped = np.reshape(log_weights, (particles // k, k, *np.shape(log_weights)[1:]))
        shares = self.bound.shares(grouped, 1)
        slots = [shares]
        if self._doubly:
            alpha = self.bound.alpha
            slots.append(shares * (alpha + (1.0 - alpha) * shares))
        slots += [self._gain(name, grouped) for name in self._scored]
        return [np.reshape(s * (k * outer), np.shape(log_weights)) for s in slots], []

    def _gain(self, name: str, grouped: Any) -> Any:
        """The bound, less what the others would give without this draw."""
        whole, k = self.bound.value(grouped, 1), self.unit
        if self.plan.estimator_of(name).name == "none" or k == 1:
            return whole * np.ones(np.shape(grouped))
        return whole - self.bound.without(grouped)

    @cached_property
    @paused_collector()
    def surrogate(self) -> Program:
        """Program of one draw: inputs and the constants of `combine` -> scalar."""
        d, tape = self.derivation, Tape(dtype=self.derivation.program.dtype)
        inputs = inputs_of(tape, d.program)
        shape = np.shape(self._log_weight_example)
        slots = [tape.input(np.zeros(shape), "share") for _ in range(1 + self._doubly + len(self._scored))]
        everything = range(len(d.terms))
        scored = frozenset(self._scored)
        outputs = [d.program.outputs[t.output] for t in d.terms]
        if self._doubly:
            direct = [i for i in everything if d.terms[i].kind != "-log q"]
            constant = replayed(d.program, inputs, held(frozenset(self._facts)), [outputs[i] for i in direct])
            paths = self._frozen_terms(inputs, live, everything)
            parts = [
                summed(slots[0] * self._log_weight(constant, direct)),
                summed(slots[1] * self._log_weight(list(paths.values()), list(paths))),
            ]
            return program_of(tape, [added(parts)])
        log_q = [d.program.outputs[self._facts[n].log_q_output] for n in self._scored]
        found = replayed(d.program, inputs, held(scored), [*outputs, *log_q])
        parts = [summed(slots[0] * self._log_weight(found[: len(outputs)], everything))]
        parts += [summed(c * q) for c, q in zip(slots[1:], found[len(outputs) :], strict=True)]
        return program_of(tape, [added(parts)])

    @property
    def _log_weight_example(self) -> np.ndarray:
        x = self.values.outputs[2]
        return np.zeros(self.values.signature(x)[0]) if type(x) is Ref else np.asarray(x)

    def bounds_of(self, bounds: np.ndarray, signals: Sequence[np.ndarray]) -> np.ndarray:
        """The bound's estimates of all groups."""
        grouped = np.reshape(signals[0], (-1, self.unit, *np.shape(signals[0])[1:]))
        value = self.bound.value(grouped, 1)
        return self._outer * np.sum(value, axis=tuple(range(1, np.ndim(value))))

    def _means(
        self, values: Program, surrogate: Program | None, rows: Sequence, particles: int, states: Sequence[Any] = ()
    ) -> tuple[Any, Any, list]:
        draws = particles * self.unit
        log_weights = lead(run_batched(values, rows, draws)[2], draws)
        slots, _ = self.combine([log_weights], draws)
        found = run_batched(surrogate, [*rows, *(Batched(stop_gradient(x)) for x in slots)], draws)[0]
        bound = np.mean(self.bounds_of(log_weights, [log_weights]))
        return np.mean(lead(found, draws)), bound, []
