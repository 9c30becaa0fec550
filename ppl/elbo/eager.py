"""The eager executor: the model runs anew for every draw, so that its control flow may depend on one.

Slow, and always right: a draw that a branch looked at enters every term by its score. Each
particle is a program of its own; the baseline of a particle comes from the others alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..array import run
from .choose import choose
from .derivation import Problem, derive
from .objective import Objective


@dataclass(frozen=True)
class EagerObjective:
    """Bound and gradient by recording the model once for every particle."""

    problem: Problem
    guide: Any
    particles: int
    overrides: Mapping[str, str] | None = None

    def objective(self, values: dict[str, np.ndarray], seed: int) -> Objective:
        """The objective as one draw sees it: the branches it takes are part of it."""
        d = derive(self.problem, self.guide, starts=values, eager=True, seed=seed)
        return Objective(d, choose(d, self.overrides))

    def contributions(self, values: dict[str, np.ndarray], seed: int) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        """Bound and gradient of every particle, by parameter."""
        objectives = [self.objective(values, seed * self.particles + k) for k in range(self.particles)]
        with np.errstate(all="ignore"):
            seen = [run(o.values, *o.derivation.examples) for o in objectives]
        sums = [{} for _ in objectives]
        for o, outputs, total in zip(objectives, seen, sums, strict=True):
            for (_, name), w in zip(o.weights, outputs[2:], strict=True):
                total[name] = total.get(name, 0.0) + float(np.sum(w))
        bounds, grads = np.array([float(s[0]) for s in seen]), []
        for k, (o, outputs) in enumerate(zip(objectives, seen, strict=True)):
            weights, done = [], set()
            for (_, name), w in zip(o.weights, outputs[2:], strict=True):
                others = [t.get(name, 0.0) for j, t in enumerate(sums) if j != k]
                # The baseline must not depend on the particle's own branch: one number for each factor.
                weights.append(w - np.mean(others) if others and name not in done else w)
                done.add(name)
            with np.errstate(all="ignore"):
                _, *g = run(o.particle_gradient, *o.derivation.examples, *weights)
            grads.append(dict(zip(o.derivation.parameter_inputs, map(np.asarray, g), strict=True)))
        return bounds, grads

    def gradient(self, values: dict[str, np.ndarray], seed: int) -> tuple[float, dict[str, np.ndarray]]:
        """Mean bound and mean gradient over the particles."""
        bounds, grads = self.contributions(values, seed)
        mean = {n: np.mean([g[n] for g in grads if n in g], axis=0) for n in values}
        return float(bounds.mean()), mean
