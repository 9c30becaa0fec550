"""An amortised guide on data that it was not trained on, and what it loses to guides of each datum's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..algorithms import BBVI
from ..algorithms.evaluate import Bound
from ..distributions import Normal, TransformedDistribution, biject_to
from ..elbo import Objective, Problem, choose, derive, problem
from ..errors import GuideError
from ..model import Handler, Site

if TYPE_CHECKING:
    from .fit import Fit

MOMENTS = 256  # draws from which the moments of a network's answer are taken
NOT_JUDGED = "the draws were not asked to be weighed"


class Gap(NamedTuple):
    """Bounds of an amortised guide and of guides for each datum, their difference and its standard error."""

    amortized: float
    optimized: float
    gap: float
    se: float
    fit: Any

    def __repr__(self) -> str:
        return (
            f"amortisation gap {self.gap:.4g} (s.e. {self.se:.2g}): bound {self.amortized:.6g} of the network, "
            f"{self.optimized:.6g} of guides for each datum"
        )


def applied(fit: Fit, args: tuple, kwargs: Mapping[str, Any], seed: int, judged: bool = True) -> Fit:
    """The fit on other data: its parameters and its guide, and a bound and verdict of these data."""
    p = replace(problem(fit.problem.model, args, kwargs, seed=seed, other=True), dtype=fit.problem.dtype)
    d = derive(p, fit.guide, seed=seed)
    for name, x in d.parameters.items():
        known = fit.params.get(name)
        if known is None or known.shape != x.init.shape or x.rows or _of_a_plate(name, p):
            raise GuideError(
                f"parameter '{name}', which has a value for each row of the data",
                "a guide whose parameters are those of networks: only these know other data",
                'guide="amortized", or guide=dist.Normal(*network(x)) in place',
                site=name.rpartition(".")[0] or name,
            )
    solution = replace(
        fit.solution,
        values={n: fit.params[n] for n in d.parameters},
        history=np.zeros(0),
        objective=Objective(d, choose(d), plain=False),
        stop_reason="the guide of a fit, on other data",
        notes=("parameters are those of a fit to other data",),
        steps=0,
        run=None,
        bound=None,
        interrupted=False,
    )
    if judged:
        return type(fit).of(p, fit.guide, solution, seed, fit.algorithm)
    nothing = Bound(np.nan, np.nan, 0, {})
    return type(fit)(p, fit.guide, solution, nothing, NOT_JUDGED, fit.verdict, seed, fit.algorithm)


def _of_a_plate(name: str, p: Problem) -> bool:
    """Is it a parameter inside a plate, or one of an automatic guide's Normal for a site there?"""
    owner, _, kind = name.rpartition(".")
    site = p.sites.get(name) or (p.sites.get(owner) if kind in ("loc", "scale", "probs") else None)
    return site is not None and bool(site.plates)


class _Alone(Handler):
    """A model with full plates, given parameters, and no guides in place."""

    def __init__(self, fn: Callable, params: Mapping[str, np.ndarray]):
        super().__init__(fn)
        self.params = params

    def process(self, site: Site) -> Site:
        if site.type == "param" and site.name in self.params:
            return replace(site, value=self.params[site.name])
        if site.type == "plate":
            frame = replace(site.options["frame"], subsample_size=site.options["frame"].size)
            return replace(site, options={**site.options, "frame": frame})
        return replace(site, guide=None) if site.guide is not None else site


def gap(fit: Fit, args: tuple, kwargs: Mapping[str, Any], steps: int, seed: int) -> Gap:
    """The bound of the guide on these data, and that of guides for each datum, from the network's answer."""
    network = applied(fit, args, kwargs, seed)
    outside = [n for n in network.solution.derivation.site_outputs if not network.problem.sites[n].plates]
    if outside:
        raise GuideError(
            f"a latent site '{outside[0]}' outside plates, whose guide is of all data together",
            "latents in plates only",
            f"a fit of ppl.handlers.substitute(model, {{'{outside[0]}': ...}})",
            site=outside[0],
        )
    alone = _Alone(fit.problem.model, fit.params)
    p = replace(problem(alone, args, kwargs, seed=seed, other=True), dtype=fit.problem.dtype)
    algorithm = BBVI(steps=steps)
    solution = algorithm.run(p, "meanfield", seed=seed, starts=_moments(network, p, seed))
    found = type(fit).of(p, "meanfield", solution, seed, algorithm)
    se = float(np.hypot(found.elbo_se, network.elbo_se))
    return Gap(network.elbo, found.elbo, found.elbo - network.elbo, se, found)


def _moments(network: Fit, p: Problem, seed: int) -> dict[str, np.ndarray]:
    """Locations and scales, on the unconstrained axis, of the network's answer for every datum."""
    draws: dict[str, np.ndarray] = {}
    starts = {}
    for name, shape in p.shapes.items():
        q = network.guide_of(name)
        base = q.base_dist if type(q) is TransformedDistribution else q
        if base is not None and type(base.core) is Normal:
            loc, scale = base.core.parameters["loc"], base.core.parameters["scale"]
        else:
            draws = draws or network.sample(MOMENTS, seed=seed)
            u = biject_to(p.sites[name].fn.support).inverse(draws[name])
            loc, scale = u.mean(0), u.std(0) + 1e-6
        for kind, x in (("loc", loc), ("scale", scale)):
            starts[f"{name}.{kind}"] = np.array(np.broadcast_to(x, shape), dtype=float)
    return starts
