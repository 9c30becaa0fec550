"""The Laplace approximation: a Gaussian at the mode, with the curvature there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elbo import Objective, Problem, choose, derive
from ..errors import ModelError
from ..guides import Joint
from .coordinates import Coordinates
from .deterministic import (
    DENSE,
    FLAT,
    FixedDraws,
    along,
    compiler_of,
    gaussian_sites,
    inverse_root,
    lost_digits,
    require_curvature,
    require_finite,
    triangle,
    whole,
)
from .stages import Solution
from .start import good_start


@dataclass(frozen=True)
class Laplace:
    """Laplace's approximation on the unconstrained axis: q = Normal(mode, inverse of minus the Hessian).

    The mode of log p(data, u) with the log Jacobian of u -> z, by Newton steps with exact
    Hessians; learned parameters are maximised along with it.

    Parameters
    ----------
    steps
        the most Newton steps to take.

    Raises
    ------
    ModelError
        a discrete latent site, a jump on a draw's path, or more than 1,000 latent dimensions.
    GuideError
        a site with `guide=` in place.
    NumericalError
        a density without a maximum at finite places, with the term or site that is the cause.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 10))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> fit = ppl.infer(model, 1.5, algorithm="laplace", progress=False)
    >>> round(float(fit["mu"].mean), 4), round(float(fit["mu"].sd), 4)
    (1.4851, 0.995)
    """

    steps: int = 100

    name = "laplace"
    guide = "fullrank"

    def run(self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", **_: Any) -> Solution:
        """The mode from the optimum of a mean-field pilot, and the curvature there."""
        executor, compiler = compiler_of(self.name, executor)
        flat = whole(p, "meanfield", seed, "Laplace's approximation")
        d = flat.derivation
        found, _, rivals, spent = good_start(p, "meanfield", d, flat, seed)
        where, sites = Coordinates.at(d, found), gaussian_sites(d)
        if not sites:
            raise ModelError(
                "a model without latent sites", "latent sites, whose spread is asked for", 'algorithm="map"'
            )
        free = [n for n in where.shapes if n.rpartition(".")[0] not in sites or not n.endswith(".scale")]
        sizes = {n: int(np.prod(where.shapes[n], dtype=np.int64)) for n in free}
        if sum(sizes.values()) > DENSE:
            got = f"{sum(sizes.values())} latent dimensions"
            raise ModelError(got, f"at most {DENSE} for Laplace's Hessian", 'algorithm="bbvi"')
        exact = whole(p, "meanfield", seed, "Laplace's approximation", pointwise=True)

        def values_of(*raw: Any) -> dict[str, Any]:
            pieces = dict(zip(free, raw, strict=True))
            fixed = {n: np.zeros(s) for n, s in where.shapes.items() if n not in pieces}
            values = where.values(*({**fixed, **pieces}[n] for n in where.shapes))
            return {**values, **{n: where.starts[n] for n in fixed}}

        # With zero noise a draw is its location, and -log q a constant: what is left is the log joint density.
        noise = {
            f.name: np.zeros((1, *f.noise_shape), int if f.noise_kind == "seed" else float)
            for f in exact.derivation.factors
        }
        what = "a log density without a maximum at finite places"
        require_finite(exact, found, noise, what)
        f = FixedDraws(exact, values_of, [np.zeros(where.shapes[n]) for n in free], noise, compiler)
        top = f.newton(np.zeros(f.size), steps=self.steps)
        raw = np.split(top.x, np.cumsum(list(sizes.values()))[:-1])
        values = values_of(*(r.reshape(where.shapes[n]) for r, n in zip(raw, free, strict=True)))
        require_finite(exact, values, noise, what)
        require_curvature(top.hessian, flat, found, seed, "a log density whose curvature is not finite")
        latent = np.repeat([n.rpartition(".")[0] in sites for n in free], list(sizes.values()))
        curved = inverse_root(top.hessian[np.ix_(latent, latent)], FLAT)
        scale = np.concatenate([where.starts[f"{s}.scale"].ravel() for s in sites])
        reason, lost = "Newton's steps reached the mode", lost_digits(curved.error)
        if not curved.positive:
            where_flat = along(d, curved.weakest, {s: sizes[f"{s}.loc"] for s in sites})
            reason = f"the density has no curvature beyond rounding at the mode {where_flat}"
        elif not top.converged:
            reason = f"the mode was not reached in {top.steps} Newton steps"
        joint = derive(p, "fullrank", seed=seed)
        return Solution(
            joint_values(joint, values, sites, scale[:, None] * curved.root),
            np.array([-top.value]),
            reason,
            curved.positive and top.converged and not lost,
            top.steps,
            Objective(joint, choose(joint)),
            executor,
            doubts=(*lost, *rivals),
            gradients=spent + (top.steps + 1) * (1 + f.size),  # a column of a Hessian is about one
        )


def joint_values(joint: Any, values: Mapping[str, Any], sites: Sequence[str], root: np.ndarray) -> dict[str, Any]:
    """Parameters of the full-rank guide with these locations, site by site, and covariance root root'."""
    order = next((f.sites for f in joint.factors if f.name == Joint.NAME), ())
    ends = np.cumsum([0, *(np.size(values[f"{s}.loc"]) for s in sites)])
    rows = {s: np.arange(a, b) for s, a, b in zip(sites, ends, ends[1:], strict=False)}
    places = np.concatenate([rows[s] for s in order])
    loc = np.concatenate([np.ravel(values[f"{s}.loc"]) for s in order])
    rest = {n: np.asarray(values[n], dtype=float) for n in joint.parameters if n in values}
    return {**rest, f"{Joint.NAME}.loc": loc, f"{Joint.NAME}.scale_tril": triangle(root[places])}
