"""Maximum a posteriori: the mode of the density of the sites themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elbo import FactorFacts, Problem
from ..elbo.blame import FAR as RAN_AWAY
from .coordinates import Coordinates
from .deterministic import (
    DENSE,
    FixedDraws,
    along,
    compiler_of,
    gaussian_sites,
    inverse_root,
    require_curvature,
    require_finite,
    whole,
)
from .lbfgs import minimize
from .stages import Solution
from .start import good_start

FAR = 15.0  # on a logarithmic axis: a factor of three million from where the pilot was
FIRST_STEPS = 2000  # of the quasi-Newton method, before Newton's


@dataclass(frozen=True)
class MAP:
    """The most probable values of the latent sites: argmax of log p(data, z), without a Jacobian.

    Learned parameters are maximised too; without priors it is maximum likelihood. The guide is a
    point for every site, `<site>.loc` on the unconstrained axis. There is no spread, `fit.elbo` is
    log p(data, z) at the point and no bound, and where a density has no maximum, as that of a
    hierarchy whose scale may go to zero, the verdict says so.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 10))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> fit = ppl.infer(model, 1.5, algorithm="map", progress=False)
    >>> round(float(fit["mu"].mean), 4), float(fit["mu"].sd)
    (1.4851, 0.0)
    """

    steps: int = 200
    name = "map"
    guide = "point"

    def run(self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", **_: Any) -> Solution:
        """Quasi-Newton steps from the optimum of a mean-field pilot, in its spreads, then Newton steps."""
        executor, compiler = compiler_of(self.name, executor)
        flat = whole(p, "meanfield", seed, "a maximum")
        objective = whole(p, "point", seed, "a maximum")
        d = objective.derivation
        pilot, _, _, spent = good_start(p, "meanfield", flat.derivation, flat, seed)
        values = {n: np.asarray(pilot.get(n, x.init)) for n, x in d.parameters.items()}
        scales = {f"{s}.loc": np.asarray(pilot[f"{s}.scale"]) for s in gaussian_sites(flat.derivation)}
        if not all(np.all(np.abs(v) < RAN_AWAY) for v in (*values.values(), *scales.values())):
            values, scales = {n: x.init for n, x in d.parameters.items()}, {}
        where = Coordinates.at(d, values)
        unit = np.ones(where.size)
        for n, s in scales.items():
            unit[where.slices[n]] = np.ravel(s)
        noise = {f.name: _middle(f) for f in d.factors}
        what = "a log density without a maximum at finite places"
        require_finite(objective, where.starts, noise, what)
        plain = FixedDraws(objective, where.values, where.split(np.zeros(where.size)), noise, compiler)
        first = minimize(plain, np.zeros(where.size), lambda x: unit**2, steps=FIRST_STEPS, tolerance=1e-9)
        x, taken, converged, spent = first.x, first.steps, first.converged, spent + first.gradients
        how, weakest = f"{taken} quasi-Newton steps", plain(x)[1] * unit
        if where.size <= DENSE:
            scaled = FixedDraws(
                objective,
                lambda *raw: where.values(*(r * u for r, u in zip(raw, where.split(unit), strict=True))),
                where.split(np.zeros(where.size)),
                noise,
                compiler,
            )
            top = scaled.newton(x / unit, steps=self.steps)
            x, taken, converged = top.x * unit, taken + top.steps, top.converged
            spent += (top.steps + 1) * (1 + where.size)
            how, root = f"{how}, then {top.steps} of Newton's", inverse_root(top.hessian)
            weakest = plain(x)[1] * unit if root.positive else root.weakest
        elif not converged:
            how = f"{how}, which ended because {first.why}"
        found = where.concrete(x)
        require_finite(objective, found, noise, what)
        edge = [s for s, t in d.transforms.items() if not t.is_identity and _far(found, values, f"{s}.loc")]
        reason = f"the mode was reached in {how}"
        if edge:
            reason = f"'{edge[0]}' runs to the edge of its support: the density grows all the way, is there a mode?"
        elif not converged:
            if where.size <= DENSE:
                require_curvature(top.hessian, flat, pilot, seed, "a log density whose curvature is not finite")
            sizes = {n.removesuffix(".loc"): s.stop - s.start for n, s in where.slices.items()}
            uphill = along(flat.derivation, weakest, sizes)
            reason = f"no mode was reached in {how}: is there one? The density still grows, or is flat, {uphill}"
        history, found_it = np.array([-plain(x)[0]]), converged and not edge
        return Solution(found, history, reason, found_it, taken, objective, executor, gradients=spent)


def _middle(f: FactorFacts) -> np.ndarray:
    """Noise for a factor whose draw is a point, or is read by no density."""
    return np.zeros((1, *f.noise_shape), int) if f.noise_kind == "seed" else np.full((1, *f.noise_shape), 0.5)


def _far(found: Mapping[str, np.ndarray], start: Mapping[str, np.ndarray], name: str) -> bool:
    """Has a coordinate on the unconstrained axis of a bounded site gone where the site is at its bound?"""
    return bool(np.any(np.abs(found[name] - start[name]) > FAR))
