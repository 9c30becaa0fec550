"""Within the class of score functions, the control variate of least variance per cost, by a short seeded pilot.

    figure = variance of a step's gradient, relative to leave-one-out's, x counted cost, relative likewise

Counted cost is operations of the programs, never time: the same seed gives the same choice. A candidate must
beat leave-one-out by a margin, so that noise of the pilot does not decide. Those that are learned over many steps
(nvil, relax, rebar) are for who asks for them: a pilot at the start would not do them justice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import GuideError
from .choose import choose
from .estimators import ESTIMATORS
from .measure import between_groups, warm
from .objective import Objective

CANDIDATES = ("coefficient", "decaying-average", "disarm")
DEFAULT = "leave-one-out"
LEAST, MOST = 6, 60  # steps of a candidate
WORK = 20_000_000  # counted cost that these may have together
FACTORS = 6  # more scored factors than these are not tried one by one
MARGIN = 0.8


def piloted(objective: Objective, values: Mapping[str, Any], particles: int, seed: int) -> Objective:
    """The objective with control variates chosen, where neither site nor call asked for one."""
    if objective.unit > 1 or objective.weighted or objective.free_bits or objective.rolls:
        return objective
    d = objective.derivation
    scored = {n for _, n in objective.weights}
    open_ = [f.name for f in d.factors if f.name in scored and not objective.plan.choice_of(f.name).member]
    if not 0 < len(open_) <= FACTORS or particles < 2:
        return objective
    base = _variance(objective, values, particles, seed)
    for name in open_:
        why = objective.plan.choice_of(name).reason.why
        found = {DEFAULT: (1.0, objective)}
        for candidate in CANDIDATES:
            changed = _with(objective, name, candidate, particles)
            if changed is not None:
                figure = _figure(_variance(changed, values, particles, seed), base, changed, objective)
                found[candidate] = figure, changed
        if len(found) == 1:
            continue
        best = min(found, key=lambda n: found[n][0])
        best = best if found[best][0] < MARGIN else DEFAULT
        figures = ", ".join(f"{n} {x:.2g}" for n, (x, _) in found.items())
        obstacle = why.partition(":")[0]
        why = ESTIMATORS[best].why if best == DEFAULT else f"{best}, {ESTIMATORS[best].why}"
        said = f"{obstacle}: {why}; chosen by a pilot, variance x cost: {figures}"
        objective = replace(found[best][1], plan=found[best][1].plan.with_member(name, best, said))
        if best != DEFAULT:
            base = _variance(objective, values, particles, seed)
    return objective


def _with(objective: Objective, name: str, candidate: str, particles: int) -> Objective | None:
    """The objective with another control variate for a factor, if it fits."""
    if candidate == "disarm" and particles % 2:
        return None
    kept = {f.name: objective.plan.choice_of(f.name) for f in objective.derivation.factors}
    wanted = {n: c.member for n, c in kept.items() if c is not None and c.estimator == "score" and c.member}
    try:
        choose(objective.derivation, {**wanted, name: candidate})
        changed = replace(objective, plan=objective.plan.with_member(name, candidate, ""))
        changed.values  # noqa: B018
    except GuideError:
        return None
    return changed


def _variance(objective: Objective, values: Mapping[str, Any], particles: int, seed: int) -> np.ndarray:
    """The variance of a step's gradient, element by element."""
    work = particles * objective.cost
    steps = int(np.clip(WORK // max(work, 1), LEAST, MOST))
    values = dict(values)
    states = warm(objective, values, np.random.default_rng([seed, 4]), 3 * steps)
    found = between_groups(objective, values, np.random.default_rng([seed, 3]), particles, states, steps, shared=True)
    return np.concatenate([np.ravel(x) for x in found.values()])


def _figure(variance: np.ndarray, base: np.ndarray, changed: Objective, before: Objective) -> float:
    """Variance times cost, relative to those before."""
    seen = np.isfinite(base) & (base > 0)
    ratio = np.mean(variance[seen] / base[seen]) if np.any(seen) else 1.0
    return float(ratio * changed.cost / before.cost) if np.isfinite(ratio) else np.inf
