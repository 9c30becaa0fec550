"""Deterministic variational inference: the draws are fixed, the bound is an ordinary function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..elbo import Objective, Problem, choose, derive
from ..errors import ModelError
from .coordinates import Coordinates
from .deterministic import DENSE, FixedDraws, check_executor, inverse, whole
from .laplace import joint_values
from .lbfgs import minimize
from .noise import Stream, generator, whitened
from .stages import Solution
from .start import fixed_draws

FRESH = 4  # blocks of fresh draws that an answer is tried on
NEWTON = 120  # parameters up to which Newton steps with a full Hessian end the optimisation
WORK = 200_000_000  # counted cost of one value with fixed draws


@dataclass(frozen=True)
class DADVI:
    """Variational inference with fixed draws (Giordano, Ingram and Broderick 2023), and linear response.

    The bound over draws that stay the same is maximised by a quasi-Newton method; the draws are
    antithetic and whitened, and doubled until a refit gains nothing on fresh ones, twice. A
    mean-field guide's spreads leave out what the sites have to do with each other. The linear
    response puts it back: with H the Hessian of minus the bound in (loc, log scale),

        Cov(z) = the block of H^-1 that belongs to the locations,

    and the answer is the Gaussian with these covariances on the unconstrained axis.

    Parameters
    ----------
    draws
        how many to begin with; None: twice the latent dimension, from 32 on.
    most
        the most draws to double to.
    tolerance
        nats that twice the draws may still gain.
    linear_response
        whether covariances are those of the linear response (up to 1,000 latent dimensions) or the
        mean-field guide's own.

    Raises
    ------
    ModelError
        a discrete latent site, a jump on a draw's path: with fixed draws these have no gradient.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 10))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> fit = ppl.infer(model, 1.5, algorithm="dadvi", progress=False)
    >>> round(float(fit["mu"].mean), 3), round(float(fit["mu"].sd), 3)
    (1.485, 0.995)
    """

    draws: int | None = None
    most: int = 4096
    tolerance: float = 0.02
    linear_response: bool = True

    name = "dadvi"
    guide = "meanfield"

    def run(self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", **_: Any) -> Solution:
        """Optimise, double the draws, and turn the Hessian into covariances."""
        check_executor(self.name, executor)
        for field, value in (("draws", self.draws), ("most", self.most)):
            if value is not None and (not isinstance(value, int) or value < 2):
                raise ModelError(f"{field}={value!r}", "a whole number of at least 2", f"{field}=64")
        objective = whole(p, "meanfield", seed, "fixed draws")
        d = objective.derivation
        rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
        values, steps = fixed_draws(objective, Coordinates.at(d, standardized=False), seed, rows)
        size = sum(int(np.prod(f.noise_shape, dtype=np.int64)) for f in d.factors)
        allowed = max(32, min(self.most, 2 * (WORK // max(2 * objective.values.work, 1))))
        count = min(max(32, 2 * size) if self.draws is None else 2 * -(-self.draws // 2), allowed)
        history, agreed, gain = [], 0, np.inf
        fresh = [whitened(generator(seed, k + 1, Stream.FIXED), d.factors, min(count, 1024)) for k in range(FRESH)]
        bound = _bound(objective, values, fresh)
        while True:
            where = Coordinates.at(d, values)
            f = self._function(objective, where, count, seed)
            x, value, taken = minimize(f, np.zeros(f.size), where.metric, logarithmic=where.logarithmic, tolerance=1e-6)
            if where.size <= NEWTON:  # along the long axis of collinear coefficients first-order steps hardly move
                x, value, more, _ = f.newton(x, steps=50, tolerance=1e-4)
                taken += more
            values, steps = where.concrete(x), steps + taken
            history.append(-value)
            gain, bound = _bound(objective, values, fresh) - bound, _bound(objective, values, fresh)
            agreed = agreed + 1 if gain < self.tolerance else 0
            if agreed == 2 or 2 * count > allowed:
                break
            count *= 2
        enough = agreed == 2
        reason = f"with {count} fixed draws a refit gained {gain:.3g} nats on fresh ones"
        solution = Solution(
            values,
            np.array(history),
            reason if enough else f"{reason}, and more draws were not allowed",
            enough,
            steps,
            objective,
            "numpy",
            (f"the bound on the {count} fixed draws is {history[-1] - bound:.3g} nats above that on fresh draws",),
        )
        return self._with_response(p, solution, count, seed) if self.linear_response else solution

    def _function(self, objective: Objective, where: Coordinates, count: int, seed: int) -> FixedDraws:
        noise = whitened(generator(seed, 0, Stream.FIXED), objective.derivation.factors, count)
        return FixedDraws(objective, where.values, where.split(np.zeros(where.size)), noise)

    def _with_response(self, p: Problem, found: Solution, count: int, seed: int) -> Solution:
        """The joint Gaussian with the covariances of the linear response."""
        d = found.derivation
        where = Coordinates.at(d, found.values)
        sites = [f.name for f in d.factors]
        if not sites:
            return found
        if where.size > 2 * DENSE:
            note = f"no linear response: {where.size} parameters are too many for a Hessian"
            return replace(found, notes=(*found.notes, note))
        hessian = self._function(found.objective, where, count, seed).hessian(np.zeros(where.size))
        response, positive = inverse(hessian)
        places = np.concatenate([np.arange(where.size)[where.slices[f"{s}.loc"]] for s in sites])
        scale = np.concatenate([where.starts[f"{s}.scale"].ravel() for s in sites])
        covariance = scale[:, None] * response[np.ix_(places, places)] * scale
        joint = derive(p, "fullrank", seed=seed)
        note = "covariances are those of the linear response"
        if not positive:
            note = "the bound has no curvature in some direction: its linear response is cut off there"
        return replace(
            found,
            values=joint_values(joint, found.values, sites, covariance),
            objective=Objective(joint, choose(joint)),
            converged=found.converged and positive,
            notes=(*found.notes, note),
            guide="fullrank",
        )


def _bound(objective: Objective, values: Mapping[str, Any], blocks: list[dict[str, np.ndarray]]) -> float:
    """The mean bound over several blocks of draws."""
    rows = {n: np.arange(objective.derivation.plates[n].size) for n in objective.derivation.index_inputs}
    with np.errstate(all="ignore"):
        found = [
            objective.evaluate(dict(values), rows, eps, len(next(iter(eps.values()), [0])))[0].mean() for eps in blocks
        ]
    return float(np.mean(found))
