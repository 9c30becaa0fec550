"""The Laplace approximation: a Gaussian at the mode, with the curvature there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elbo import Objective, Problem, choose, derive
from ..errors import ModelError
from ..guides import Joint
from .coordinates import Coordinates
from .deterministic import DENSE, FixedDraws, check_executor, inverse, whole
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
        check_executor(self.name, executor)
        flat = whole(p, "meanfield", seed, "Laplace's approximation")
        d = flat.derivation
        found, _ = good_start(p, "meanfield", d, flat, seed)
        where = Coordinates.at(d, found)
        sites = [f.name for f in d.factors]
        if not sites:
            raise ModelError(
                "a model without latent sites", "latent sites, whose spread is asked for", 'algorithm="map"'
            )
        free = [n for n in where.shapes if n.rpartition(".")[0] not in sites or not n.endswith(".scale")]
        size = sum(int(np.prod(where.shapes[n], dtype=np.int64)) for n in free)
        if size > DENSE:
            raise ModelError(f"{size} latent dimensions", f"at most {DENSE} for Laplace's Hessian", 'algorithm="bbvi"')
        exact = whole(p, "meanfield", seed, "Laplace's approximation", pointwise=True)

        def values_of(*raw: Any) -> dict[str, Any]:
            pieces = dict(zip(free, raw, strict=True))
            fixed = {n: np.zeros(s) for n, s in where.shapes.items() if n not in pieces}
            values = where.values(*({**fixed, **pieces}[n] for n in where.shapes))
            return {**values, **{n: where.starts[n] for n in fixed}}

        # With zero noise a draw is its location, and -log q a constant: what is left is the log joint density.
        noise = {f.name: np.zeros((1, *f.noise_shape)) for f in exact.derivation.factors}
        f = FixedDraws(exact, values_of, [np.zeros(where.shapes[n]) for n in free], noise)
        top = f.newton(np.zeros(f.size), steps=self.steps)
        local = [int(np.prod(where.shapes[n], dtype=np.int64)) * (n.rpartition(".")[0] in sites) for n in free]
        latent = np.concatenate([np.full(np.prod(where.shapes[n], dtype=int), k > 0) for n, k in zip(free, local)])
        scale = np.concatenate([where.starts[f"{s}.scale"].ravel() for s in sites])
        covariance, positive = inverse(f.hessian(top.x)[np.ix_(latent, latent)])
        raw = np.split(top.x, np.cumsum([int(np.prod(where.shapes[n])) for n in free])[:-1])
        values = values_of(*(r.reshape(where.shapes[n]) for r, n in zip(raw, free, strict=True)))
        joint = derive(p, "fullrank", seed=seed)
        reason = "Newton's steps reached the mode"
        if not positive:
            reason = "the density has no curvature in some direction at the mode: it is flat, or its mode at an edge"
        elif not top.converged:
            reason = f"the mode was not reached in {top.steps} Newton steps"
        return Solution(
            joint_values(joint, values, sites, scale[:, None] * covariance * scale),
            np.array([-top.value]),
            reason,
            positive and top.converged,
            top.steps,
            Objective(joint, choose(joint)),
            "numpy",
        )


def joint_values(joint: Any, values: Mapping[str, Any], sites: list[str], covariance: np.ndarray) -> dict[str, Any]:
    """Parameters of the full-rank guide with these locations, site by site, and covariance."""
    order = next((f.sites for f in joint.factors if f.name == Joint.NAME), ())
    ends = np.cumsum([0, *(np.size(values[f"{s}.loc"]) for s in sites)])
    rows = {s: np.arange(a, b) for s, a, b in zip(sites, ends, ends[1:], strict=False)}
    places = np.concatenate([rows[s] for s in order])
    loc = np.concatenate([np.ravel(values[f"{s}.loc"]) for s in order])
    tril = np.linalg.cholesky(covariance[np.ix_(places, places)])
    rest = {n: np.asarray(values[n], dtype=float) for n in joint.parameters if n in values}
    return {**rest, f"{Joint.NAME}.loc": loc, f"{Joint.NAME}.scale_tril": tril}
