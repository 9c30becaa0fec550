"""`ppl.gradient`: the bound's gradient at a point, its variance and its cost, without fitting anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..array import BranchOnDraw, Tape, compile_program, program_of, pull_through
from ..distributions import biject_to, constraints
from ..errors import GuideError, Reason
from ..model.calls import check_names, count_of, refuse_own_names, seed_of
from .choose import choose
from .derivation import Derivation, Problem, derive, problem
from .eager import EagerObjective
from .estimators.score import leave_one_out
from .minibatch import minibatches
from .objective import Objective

CHUNK = 4096
FEW = 64  # particles below which the variance of a leave-one-out mean is measured over groups
GROUPS = 200
OWN = ("guide", "params", "estimators", "particles", "seed")


@dataclass(frozen=True)
class GradientRecord:
    """One estimate of the gradient of the bound.

    `grad` is d ELBO / d value for every parameter (`grad_unconstrained` on the optimizer's axis),
    `variance` the elementwise variance of one particle's contribution to `grad` (0 where exact),
    `elbo` the bound, `cost` the counted operations of a particle, `estimators` maps a site to
    (name, reason).
    """

    elbo: float
    grad: dict[str, np.ndarray]
    grad_unconstrained: dict[str, np.ndarray]
    variance: dict[str, np.ndarray]
    cost: int
    estimators: dict[str, tuple[str, Reason]]


def gradient(
    model: Callable,
    *args: Any,
    guide: Any = None,
    params: Mapping[str, Any] | None = None,
    estimators: Any = "auto",
    particles: int = 2,
    seed: int = 0,
    **kwargs: Any,
) -> GradientRecord | dict[str, GradientRecord]:
    """The gradient of the bound at a point, estimated from `particles` draws.

    `params` gives the point, in constrained values (by default where parameters start);
    `estimators` is "auto", an estimator's name for every site, `{site: name}`, or "all": then a
    dict from name to record, of those that apply.

    >>> import ppl, ppl.distributions as dist
    >>> def model():
    ...     z = ppl.sample("z", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(z, 1), obs=1.0)
    >>> g = ppl.gradient(model, guide="meanfield", particles=10_000, params={"z.loc": 0.0, "z.scale": 1.0})
    >>> round(float(g.grad["z.loc"]), 1), g.estimators["z"][0]
    (1.0, 'pathwise')
    """
    refuse_own_names(model, OWN, "ppl.gradient")
    particles, seed = count_of("particles", particles), seed_of(seed)
    if estimators == "all":
        found = {}
        for name in ("auto", "enumerate", "pathwise", "score"):
            try:
                found[name] = gradient(
                    model, *args, guide=guide, params=params, estimators=name, particles=particles, seed=seed, **kwargs
                )
            except GuideError:
                continue
        return found
    try:
        return _flat(model, args, kwargs, guide, params, estimators, particles, seed)
    except BranchOnDraw:
        return _eager(model, args, kwargs, guide, params, estimators, particles, seed)


def _overrides(estimators: Any, d: Derivation) -> dict[str, str]:
    summed = {s.name for s in d.states.sites} if d.states is not None else set()
    if estimators in ("auto", "enumerate"):
        return {}
    if isinstance(estimators, str):
        return dict.fromkeys((f.name for f in d.factors), estimators)
    known = {s for f in d.factors for s in (f.name, *f.sites)} | summed
    check_names("estimators", estimators, known)
    return {n: e for n, e in estimators.items() if n not in summed}


def _sampled(estimators: Any, params: Mapping[str, Any] | None, p: Problem) -> set[str]:
    """Finite sites that are not summed out here: those for which another estimator, or a parameter, is given."""
    of = estimators if isinstance(estimators, Mapping) else {}
    asked = {n for n, e in of.items() if e == "enumerate"}
    if estimators == "enumerate":
        asked = set(p.decision.reasons)
        if not asked:
            raise GuideError("estimators='enumerate'", "a model with finite latent sites", "'auto'")
    for n in asked:
        if n in p.decision.reasons and n not in p.decision.joint:
            why = p.decision.reasons[n].why
            raise GuideError(f"estimator 'enumerate' where {why}", "a site that can be summed out", "'score'", site=n)
    others = set(p.decision.joint) if estimators == "score" else {n for n, e in of.items() if e != "enumerate"}
    return others | {n for n in p.decision.joint if f"{n}.probs" in (params or ())}


def _flat(model, args, kwargs, guide, params, estimators, particles, seed) -> GradientRecord:
    p = problem(model, args, kwargs, seed=seed)
    d = derive(p, guide, starts=params, sampled=_sampled(estimators, params, p), seed=seed)
    _check_names(params, d)
    objective = Objective(d, choose(d, _overrides(estimators, d)))
    values = {n: x.init for n, x in d.parameters.items()}
    bound, sums = _estimate(objective, values, np.random.default_rng(seed), particles)
    variance = {n: m.variance for n, m in sums.items()}
    if objective.weights and particles < FEW:
        variance = _between_groups(objective, values, np.random.default_rng([seed, 1]), particles)
    return _record(d, objective, values, bound, {n: m.mean for n, m in sums.items()}, variance)


def _estimate(objective: Objective, values: dict, rng: np.random.Generator, particles: int) -> tuple[float, dict]:
    """Mean bound, and moments of the particles' contributions, by parameter."""
    d = objective.derivation
    bounds, weights, blocks = [], [], []
    for start in range(0, particles, CHUNK):
        count = min(CHUNK, particles - start)
        eps = independent(rng, d, count)
        rows = {n: minibatches(rng, d.plates[n], count) for n in d.index_inputs}
        with np.errstate(all="ignore"):
            bound, _, w = objective.evaluate(values, rows, eps, count)
        bounds.append(bound), weights.append(w), blocks.append((rows, eps, count))
    centred = [leave_one_out(np.concatenate([w[i] for w in weights])) for i in range(len(objective.weights))]
    sums = {n: _Moments() for n in values}
    start = 0
    for rows, eps, count in blocks:
        with np.errstate(all="ignore"):
            parts = objective.contributions(values, rows, eps, [c[start : start + count] for c in centred], count)
        for n, part in zip(values, parts, strict=True):
            sums[n].add(part)
        start += count
    return float(np.concatenate(bounds).mean()), sums


def _between_groups(
    objective: Objective, values: dict, rng: np.random.Generator, particles: int
) -> dict[str, np.ndarray]:
    """`particles` times the variance of a mean of so many: seen over groups of their own.

    The contributions of a few particles share their baselines, so their spread says too little.
    """
    means = {n: _Moments() for n in values}
    for _ in range(GROUPS):
        for n, m in _estimate(objective, values, rng, particles)[1].items():
            means[n].add(m.mean[None])
    return {n: particles * m.variance for n, m in means.items()}


def _eager(model, args, kwargs, guide, params, estimators, particles, seed) -> GradientRecord:
    p = problem(model, args, kwargs, eager=True, seed=seed)
    d = derive(p, guide, starts=params, eager=True, seed=seed)
    _check_names(params, d)
    objective = EagerObjective(p, guide, params or {}, _overrides(estimators, d))
    values = {n: x.init for n, x in d.parameters.items()}
    rng = np.random.default_rng(seed)
    sums, bounds = {n: _Moments() for n in values}, []
    for start in range(0, particles, CHUNK):
        count = min(CHUNK, particles - start)
        rows = {n: minibatches(rng, d.plates[n], 1)[0] for n in d.index_inputs}
        bound, grads = objective.contributions(values, rows, independent(rng, d, count), count)
        bounds.append(bound)
        for n in values:
            sums[n].add(grads[n])
    means, variances = ({n: f(m) for n, m in sums.items()} for f in (lambda m: m.mean, lambda m: m.variance))
    return _record(d, objective.paths[0].objective, values, float(np.concatenate(bounds).mean()), means, variances)


class _Moments:
    """Running count, sum and sum of squares about the first batch's mean."""

    def __init__(self):
        self.count, self.shift, self.sum, self.square = 0, None, 0.0, 0.0

    def add(self, x: np.ndarray) -> None:
        x = np.asarray(x, dtype=float)
        if self.shift is None:
            self.shift = x.mean(0)
        self.count += len(x)
        self.sum = self.sum + (x - self.shift).sum(0)
        self.square = self.square + ((x - self.shift) ** 2).sum(0)

    @property
    def mean(self) -> np.ndarray:
        return self.shift + self.sum / self.count

    @property
    def variance(self) -> np.ndarray:
        if self.count < 2:
            return np.full(np.shape(self.shift), np.nan)
        spread = (self.square - self.sum**2 / self.count) / (self.count - 1)
        # Rounding apart, a contribution that never changes is exact.
        return np.where(spread > 1e-24 * (1.0 + self.shift**2), spread, 0.0)


def _record(
    d: Derivation, objective: Objective, values: dict, elbo: float, means: dict, variances: dict
) -> GradientRecord:
    grad, raw = {}, {}
    for n, x in d.parameters.items():
        grad[n] = tangent(x.constraint, means[n])
        raw[n] = _unconstrained(x.constraint, values[n], means[n])
    chosen = {}
    for f in d.factors:
        picked = objective.plan.of_site(f.name) or (
            "exact",
            Reason(f.name, "every term of this site is known in closed form"),
        )
        chosen.update(dict.fromkeys(f.sites, picked))
    if d.states is not None:
        chosen |= {s.name: ("enumerate", d.states.reasons[s.name]) for s in d.states.sites}
    return GradientRecord(
        elbo,
        grad,
        raw,
        variances,
        objective.values.work + objective.particle_gradient.work,
        chosen,
    )


def tangent(constraint: Any, g: np.ndarray) -> np.ndarray:
    """The part of a gradient that stays within the constraint: on a simplex, without its mean."""
    return g - g.mean(-1, keepdims=True) if constraint == constraints.simplex else g


def _unconstrained(constraint: Any, value: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient pulled back through the bijection from the unconstrained axis."""
    transform = biject_to(constraint)
    inner = np.asarray(transform.inverse(np.asarray(value, dtype=float)), dtype=float)
    tape = Tape()
    x = tape.input(inner, "x")
    total = np.sum(transform(x) * g)
    return np.asarray(compile_program(program_of(tape, pull_through(tape, total, [x])))(inner)[0])


def independent(rng: np.random.Generator, d: Derivation, count: int) -> dict[str, np.ndarray]:
    """Independent noise for `count` particles."""
    out = {}
    for f in d.factors:
        shape = (count, *f.noise_shape)
        if f.noise_kind == "normal":
            out[f.name] = rng.standard_normal(shape)
        elif f.noise_kind == "uniform":
            out[f.name] = np.clip(rng.random(shape), 1e-300, 1.0 - 2.0**-53)
        else:
            out[f.name] = rng.integers(0, 2**62, shape)
    return out


def _check_names(params: Mapping[str, Any] | None, d: Derivation) -> None:
    check_names("params", params or (), d.parameters)
