"""What the engine chooses where the user says nothing: the form of the model, and its guide.

Each choice is tried: a few quasi-Newton steps with fixed draws give its bound, and what costs
more is taken only where it buys a better bound. The figures are kept, in words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..array import is_recorded, paused_collector
from ..distributions import Cauchy, Gumbel, Laplace, Logistic, Normal, StudentT
from ..elbo import Objective, Problem, choose, derive, problem
from ..errors import PPLError
from ..guides import Joint
from ..model import Site
from ..model.handlers import LocScaleReparam, reparam, unguided
from . import noise
from .coordinates import Coordinates
from .start import LARGEST_DENSE, fixed_draws, good_start

WORTH = 0.1  # nats that a choice must buy, and as much again for every ten latent dimensions
WORK = 2_000_000  # counted cost of the model up to which alternatives are tried
LOCATION_SCALE = (Normal, StudentT, Cauchy, Laplace, Logistic, Gumbel)


@dataclass(frozen=True)
class Setup:
    """The problem as it will be fitted, its guide, where to start (or None), and why; the pilot's objective."""

    problem: Problem
    guide: Any
    starts: Mapping[str, np.ndarray] | None
    notes: tuple[str, ...]
    objective: Objective | None = None
    doubts: tuple[str, ...] = ()  # what the pilots say against the answer
    gradients: int = 0  # that the pilots took


@dataclass(frozen=True)
class Trial:
    """One form of the model under one guide, after a deterministic pilot."""

    problem: Problem
    guide: str
    starts: dict[str, np.ndarray]
    bound: float
    size: int
    objective: Objective
    doubts: tuple[str, ...] = ()
    gradients: int = 0  # of it and those before it


@paused_collector()
def set_up(p: Problem, seed: int) -> Setup:
    """Choose the form of the model and the automatic guide by short pilots."""
    plain = Setup(p, "meanfield", None, ())
    size = sum(int(np.prod(s, dtype=np.int64)) for s in p.shapes.values())
    if (
        not size
        or any(q.subsampled for q in p.graph.plates.values())
        or any(s.guide is not None for s in p.sites.values())
    ):
        return plain
    best = _trial(p, "meanfield", seed)
    if best is None:
        return plain
    notes = []
    names = _hierarchical(p)
    if names:
        best, note = _best_form(best, names, seed)
        notes += note
    if 1 < size <= LARGEST_DENSE // 5:
        joint = _trial(best.problem, "fullrank", seed, best)
        if joint is not None and joint.bound > best.bound + WORTH * (1.0 + size / 10.0):
            notes.append(f"full-rank guide: the pilot's bound is {joint.bound:.2f}, mean-field {best.bound:.2f}")
            best = joint
        else:
            best = replace(best, gradients=joint.gradients if joint is not None else best.gradients)
            notes.append("mean-field guide: a full-rank one buys too little in the pilot")
    return Setup(best.problem, best.guide, best.starts, tuple(notes), best.objective, best.doubts, best.gradients)


def without_guides(p: Problem, algorithm: Any, seed: int) -> Problem:
    """The problem without the guides that stand in place, for an algorithm that has none."""
    if not getattr(algorithm, "ignores_guides", False) or all(s.guide is None for s in p.sites.values()):
        return p
    return problem(unguided(p.model), p.args, p.kwargs, seed=seed)


def may_try_others(setup: Setup) -> bool:
    """Are other automatic guides of a size that can be afforded, where the first is not trusted?"""
    p = setup.problem
    size = sum(int(np.prod(s, dtype=np.int64)) for s in p.shapes.values())
    plates = any(q.subsampled for q in p.graph.plates.values())
    inline = any(s.guide is not None for s in p.sites.values())
    return 1 < size <= LARGEST_DENSE // 5 and not plates and not inline


def matching(p: Problem, names: Collection[str], seed: int) -> Setup:
    """The form of the model and the guide whose parameters have the names of an earlier fit's."""
    moved = {n.partition("_decentered.")[0] for n in names if "_decentered." in n}
    form = rewritten(p, {s: 0.0 for s in p.sites if s in moved}, seed) if moved else p
    kinds = {f"{Joint.NAME}.scale_tril": "fullrank", f"{Joint.NAME}.cov_factor": "lowrank"}
    guide = next((kind for n, kind in kinds.items() if n in names), "meanfield")
    return Setup(form, guide, None, ())


def _trial(p: Problem, guide: str, seed: int, flat: Trial | None = None) -> Trial | None:
    """The pilot of a guide, from that of the mean-field one; None where there is no deterministic one, or it fails."""
    try:
        d = derive(p, guide, seed=seed)
    except PPLError:
        return None
    objective = Objective(d, choose(d))
    work = max(objective.values.work, 1)
    if objective.plan.any_score or not objective.climbs or work > WORK:
        return None
    if guide == "fullrank":
        found = good_start(p, guide, d, objective, seed, flat and (flat.objective, flat.starts))
        starts, spent = found.values, found.gradients + (flat.gradients if flat else 0)
        doubts = flat.doubts if flat else ()
    else:
        starts, _, doubts, spent = fixed_draws(objective, Coordinates.at(d, standardized=False), seed)
    draws = 2 * int(np.clip(WORK // work, 8, 256))
    eps = {n: e[0] for n, e in noise.draw(noise.generator(seed, 0, noise.Stream.PILOT), d.factors, 1, draws).items()}
    with np.errstate(all="ignore"):
        bound = float(objective.evaluate(starts, {}, eps, draws)[0].mean())
    size = sum(int(np.prod(f.noise_shape, dtype=np.int64)) for f in d.factors)
    return Trial(p, guide, starts, bound, size, objective, doubts, spent) if np.isfinite(bound) else None


def _best_form(centred: Trial, names: tuple[str, ...], seed: int) -> tuple[Trial, list[str]]:
    """Sites as they are written, non-centred, or in between as far as a pilot that learns it finds best."""
    p, best, notes, spent = centred.problem, centred, [], centred.gradients
    other = _trial(rewritten(p, dict.fromkeys(names, 0.0), seed), "meanfield", seed)
    spent += other.gradients if other is not None else 0
    if other is not None and other.bound > best.bound + WORTH:
        best = other
        notes = [
            f"{', '.join(names)} fitted in non-centred form (loc + scale * a standard draw): "
            f"the pilot's bound is {other.bound:.2f}, centred {centred.bound:.2f}"
        ]
    learned = _trial(rewritten(p, dict.fromkeys(names), seed), "meanfield", seed)
    spent += learned.gradients if learned is not None else 0
    if learned is None or learned.bound <= best.bound + WORTH:
        return replace(best, gradients=spent), notes
    form = {n: learned.starts[f"{n}_centered"] for n in names}
    between = _trial(rewritten(p, form, seed), "meanfield", seed)
    spent += between.gradients if between is not None else 0
    if between is None or between.bound <= best.bound + WORTH:
        return replace(best, gradients=spent), notes
    low, high = (f([f(c) for c in form.values()]) for f in (np.min, np.max))
    note = (
        f"{', '.join(names)} fitted partly centred, each element as a pilot found best (from {low:.2f} to {high:.2f}, "
        f"1 is centred): the pilot's bound is {between.bound:.2f}, {'non-centred' if best is other else 'centred'} "
        f"{best.bound:.2f}"
    )
    return replace(between, gradients=spent), [note]


def _hierarchical(p: Problem) -> tuple[str, ...]:
    """Latent location-scale sites of several elements whose scale is itself latent."""
    latent = [p.sites[s] for s in p.shapes]
    return tuple(
        s.name
        for s in latent
        if isinstance(s.fn.core, LOCATION_SCALE)
        and is_recorded(s.fn.core.parameters["scale"])
        and s.fn.shape()
        and s.fn.core.batch_shape[-1:] == s.fn.shape()[-1:]
    )


def rewritten(p: Problem, form: Mapping[str, Any], seed: int) -> Problem:
    """The problem with these location-scale sites as centred as `form` says: 0 is loc + scale * a standard draw."""

    def config(site: Site) -> LocScaleReparam | None:
        if site.name not in form:
            return None
        c, shape = form[site.name], site.fn.shape()
        # In a plate of another size, where the model is asked to predict, all forms are the same distribution.
        return LocScaleReparam(c if c is None or np.shape(c) in ((), shape) else 0.0)

    model = reparam(p.model, config=config)
    return replace(problem(model, p.args, p.kwargs, seed=seed), shown=p.graph, form=dict(form))
