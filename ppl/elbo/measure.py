"""`ppl.gradient`: the bound's gradient at a point, its variance and its cost, without fitting anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..array import BranchOnDraw, Tape, compile_program, program_of, pull_through
from ..distributions import biject_to, constraints
from ..errors import GuideError, Reason, ShapeError
from ..model.calls import check_names, count_of, refuse_own_names, seed_of
from .bounds import ELBO, check_bound
from .derivation import Derivation, Problem, derive, problem
from .eager import EagerObjective
from .estimators import ESTIMATORS
from .minibatch import minibatches
from .multisample import objective_of
from .objective import Objective

CHUNK = 4096
FEW = 64  # particles below which the variance of a leave-one-out mean is measured over groups
GROUPS = 200
WARM, WARM_PARTICLES = 300, 8  # steps and particles after which a control variate's state has settled
OWN = ("guide", "params", "estimators", "particles", "seed", "bound")


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
    bound: Any = None,
    **kwargs: Any,
) -> GradientRecord | dict[str, GradientRecord]:
    """The gradient of the bound at a point, estimated from `particles` draws.

    Parameters
    ----------
    params
        the point, in constrained values, of one number for all elements or the parameter's shape; by default where
        parameters start.
    estimators
        "auto", an estimator's name for every site, `{site: name}`, or "all": then a dict from name to record, of
        those that fit some site; the other sites keep the estimator chosen for them. Control variates that
        keep a state, as "nvil", are measured after some hundred steps at the point.
    particles
        draws of the estimate; of bounds of several samples, each has as many draws as these.
    bound
        `ppl.ELBO()` (None), `ppl.IWAE(k)` or `ppl.Renyi(alpha)`.

    Raises
    ------
    GuideError
        an estimator that is unknown, or would be wrong, with the reason.
    ShapeError
        a value of `params` that has not the shape of its parameter.

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
    bound = ELBO() if bound is None else bound
    check_bound(bound)
    params = _whole(model, args, kwargs, guide, params, seed)
    if estimators == "all":
        names = ("auto", *ESTIMATORS)
        found = {n: _where_it_fits(model, args, kwargs, guide, params, n, particles, seed, bound) for n in names}
        return {n: record for n, record in found.items() if record is not None}
    return _record_of(model, args, kwargs, guide, params, estimators, particles, seed, bound)


def _whole(model, args, kwargs, guide, params, seed) -> dict[str, Any]:
    """The point with every value at the size of its parameter; one number may stand for all."""
    if not params:
        return {}
    known = _recorded(model, args, kwargs, guide, seed)[1].parameters
    out = {}
    for name, value in params.items():
        shape = known[name].init.shape if name in known else np.shape(value)
        if np.ndim(value) and np.shape(value) != shape:
            raise ShapeError(
                f"params['{name}'] of shape {np.shape(value)}",
                f"shape {shape}",
                f"np.broadcast_to(value, {shape})",
                site=name,
            )
        out[name] = np.broadcast_to(value, shape) if np.shape(value) != shape else value
    return out


def _recorded(model, args, kwargs, guide, seed, params=None) -> tuple[Problem, Derivation]:
    """The model with its guide as chosen, along one path where control flow depends on a draw."""

    def of(eager: bool) -> tuple[Problem, Derivation]:
        p = problem(model, args, kwargs, eager=eager, seed=seed)
        return p, derive(p, guide, starts=params, eager=eager, seed=seed)

    try:
        return of(eager=False)
    except BranchOnDraw:
        return of(eager=True)


def _where_it_fits(
    model, args, kwargs, guide, params, name, particles, seed, bound, sites=None
) -> GradientRecord | None:
    """The record of an estimator at all sites that it fits, the others' as chosen; None where it fits none."""
    wanted = name if sites is None else dict.fromkeys(sites, name)
    try:
        record = _record_of(model, args, kwargs, guide, params, wanted, particles, seed, bound)
        return record if name == "auto" or any(e == name for e, _ in record.estimators.values()) else None
    except GuideError as error:
        if sites is None:
            p, d = _recorded(model, args, kwargs, guide, seed, params)
            sites = [*(f.name for f in d.factors), *p.decision.joint]
        left = [s for s in sites if s != error.site]
        if not left or len(left) == len(sites):
            return None
        return _where_it_fits(model, args, kwargs, guide, params, name, particles, seed, bound, left)


def _record_of(model, args, kwargs, guide, params, estimators, particles, seed, bound) -> GradientRecord:
    try:
        return _flat(model, args, kwargs, guide, params, estimators, particles, seed, bound)
    except BranchOnDraw as error:
        if not isinstance(bound, ELBO):
            raise GuideError(
                "a bound of several samples of a model whose control flow depends on a draw",
                "one program for all draws",
                "np.where(condition, a, b), or bound=ppl.ELBO()",
                where=error.where,
            ) from None
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
    named = ESTIMATORS.get(estimators) if isinstance(estimators, str) else None
    draws = named is not None and (named.kind == "score" or bool(named.biased))
    others = set(p.decision.joint) if draws else {n for n, e in of.items() if e != "enumerate"}
    return others | {n for n in p.decision.joint if f"{n}.probs" in (params or ())}


def _flat(model, args, kwargs, guide, params, estimators, particles, seed, bound) -> GradientRecord:
    p = problem(model, args, kwargs, guide=guide, seed=seed)
    wanted = None if estimators == "auto" else estimators
    closed, sampled = isinstance(bound, ELBO), _sampled(estimators, params, p)
    d = derive(p, guide, starts=params, estimators=wanted, closed=closed, relaxed=True, sampled=sampled, seed=seed)
    _check_names(params, d)
    return measured(objective_of(d, bound, _overrides(estimators, d)), particles, seed)


def measured(objective: Objective, particles: int, seed: int) -> GradientRecord:
    """The record of an objective where its parameters start."""
    d = objective.derivation
    values = {n: x.init for n, x in d.parameters.items()}
    states = warm(objective, values, np.random.default_rng([seed, 2]))
    bound, sums = _estimate(objective, values, np.random.default_rng(seed), particles, states)
    variance = {n: m.variance * objective.coupled for n, m in sums.items()}
    if objective.weights and particles < FEW:
        variance = between_groups(objective, values, np.random.default_rng([seed, 1]), particles, states)
    return _record(d, objective, values, bound, {n: m.mean for n, m in sums.items()}, variance)


def warm(objective: Objective, values: dict, rng: np.random.Generator, steps: int = WARM) -> Sequence[np.ndarray]:
    """The states of control variates after some steps at these values."""
    states: Sequence[np.ndarray] = objective.start
    for _ in range(steps if states else 0):
        signals = _signals(objective, values, rng, WARM_PARTICLES, WARM_PARTICLES)[0]
        _, states = objective.combine(signals, WARM_PARTICLES, states)
    return states


def _signals(objective: Objective, values: dict, rng: np.random.Generator, particles: int, together: int = 1) -> tuple:
    """Signals, bounds and terms of so many draws, and the blocks (rows, noise, count) that they were made in.

    `together`: how many particles have a minibatch in common.
    """
    d, together = objective.derivation, max(together, objective.coupled * objective.unit)
    block = CHUNK // together * together or together
    bounds, signals, terms, blocks = [], [], [], []
    for start in range(0, particles, block):
        count = min(block, particles - start)
        eps = independent(rng, d, count, objective.mirrored)
        groups = -(-count // together)
        rows = {n: np.repeat(minibatches(rng, d.plates[n], groups), together, 0)[:count] for n in d.index_inputs}
        with np.errstate(all="ignore"):
            bound, term, w = objective.evaluate(values, rows, eps, count)
        bounds.append(bound), terms.append(term), signals.append(w), blocks.append((rows, eps, count))
    joined = [np.concatenate([np.asarray(w[i]) for w in signals]) for i in range(len(signals[0]))]
    return joined, np.concatenate(bounds), np.concatenate(terms), blocks


def _estimate(
    objective: Objective,
    values: dict,
    rng: np.random.Generator,
    particles: int,
    states: Sequence[np.ndarray] = (),
    shared: bool = False,
) -> tuple[float, dict]:
    """Mean bound, and moments of the particles' contributions (of a pair's, where they are mirrored), by parameter."""
    draws, together = particles * objective.unit, objective.coupled * objective.unit
    signals, bounds, _, blocks = _signals(objective, values, rng, draws, draws if shared else 1)
    with np.errstate(all="ignore"):
        slots, _ = objective.combine(signals, draws, states)
        bounds = objective.bounds_of(bounds, signals)
    sums = {n: _Moments() for n in values}
    start = 0
    for rows, eps, count in blocks:
        with np.errstate(all="ignore"):
            parts = objective.contributions(values, rows, eps, [c[start : start + count] for c in slots], count)
        for n, part in zip(values, parts, strict=True):
            sums[n].add(part if together == 1 else part.reshape(-1, together, *part.shape[1:]).mean(1))
        start += count
    return float(bounds.mean()), sums


def between_groups(
    objective: Objective,
    values: dict,
    rng: np.random.Generator,
    particles: int,
    states: Sequence[np.ndarray] = (),
    groups: int = GROUPS,
    *,
    shared: bool = False,
) -> dict[str, np.ndarray]:
    """`particles` times the variance of a mean of so many, by parameter: seen over groups of their own.

    The contributions of a few particles share their baselines, so their spread says too little. `shared`: a group has
    one minibatch, as a step of a fit.
    """
    means = {n: _Moments() for n in values}
    for _ in range(groups):
        for n, m in _estimate(objective, values, rng, particles, states, shared)[1].items():
            means[n].add(m.mean[None])
    return {n: particles * m.variance for n, m in means.items()}


def _eager(model, args, kwargs, guide, params, estimators, particles, seed) -> GradientRecord:
    p = problem(model, args, kwargs, eager=True, seed=seed)
    wanted = None if estimators == "auto" else estimators
    d = derive(p, guide, starts=params, estimators=wanted, eager=True, seed=seed)
    _check_names(params, d)
    objective = EagerObjective(p, guide, params or {}, _overrides(estimators, d))
    values = {n: x.init for n, x in d.parameters.items()}
    rng = np.random.default_rng(seed)
    sums, bounds = {n: _Moments() for n in values}, []
    for start in range(0, particles, CHUNK):
        count = min(CHUNK, particles - start)
        rows = {n: minibatches(rng, d.plates[n], count) for n in d.index_inputs}
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
        if x.constraint in (constraints.lower_cholesky, constraints.corr_cholesky):
            variances = {**variances, n: np.tril(variances[n])}
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
        objective.cost,
        chosen,
    )


def tangent(constraint: Any, g: np.ndarray) -> np.ndarray:
    """The part of a gradient that stays within the constraint: a simplex's without its mean, a triangle's lower one."""
    if constraint in (constraints.lower_cholesky, constraints.corr_cholesky):
        return np.tril(g)
    return g - g.mean(-1, keepdims=True) if constraint == constraints.simplex else g


def _unconstrained(constraint: Any, value: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient pulled back through the bijection from the unconstrained axis."""
    transform = biject_to(constraint)
    inner = np.asarray(transform.inverse(np.asarray(value, dtype=float)), dtype=float)
    tape = Tape()
    x = tape.input(inner, "x")
    total = np.sum(transform(x) * g)
    return np.asarray(compile_program(program_of(tape, pull_through(tape, total, [x])))(inner)[0])


def independent(
    rng: np.random.Generator, d: Derivation, count: int, mirrored: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Independent noise for `count` particles, or for pairs of them where it is mirrored."""
    out = {}
    for f in d.factors:
        shape = (count, *f.noise_shape)
        if f.noise_kind == "normal":
            out[f.name] = rng.standard_normal(shape)
        elif f.noise_kind == "uniform":
            out[f.name] = np.clip(rng.random(shape), 1e-300, 1.0 - 2.0**-53)
        else:
            out[f.name] = rng.integers(0, 2**62, shape)
        if f.name in mirrored:
            out[f.name][1::2] = 1.0 - out[f.name][: count // 2 * 2 : 2]
    return out


def _check_names(params: Mapping[str, Any] | None, d: Derivation) -> None:
    check_names("params", params or (), d.parameters)
