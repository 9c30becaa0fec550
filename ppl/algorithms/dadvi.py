"""Deterministic variational inference: the draws are fixed, the bound is an ordinary function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..elbo import Objective, Problem, choose, derive
from ..errors import ModelError
from .coordinates import Coordinates
from .deterministic import DENSE, FixedDraws, compiler_of, gaussian_sites, lost_digits, require_finite, whole
from .laplace import joint_values
from .lbfgs import minimize
from .noise import Stream, generator, whitened
from .response import SHORT, linear_response
from .stages import Solution
from .start import fixed_draws

FRESH = 4  # blocks of fresh draws that an answer is tried on
NEWTON = 120  # parameters up to which Newton steps with a full Hessian end the optimisation
WORK = 200_000_000  # counted cost of one value with fixed draws


@dataclass(frozen=True)
class DADVI:
    """Variational inference with fixed draws (Giordano, Ingram and Broderick 2023), and linear response.

    The bound over draws that stay the same is maximised by a quasi-Newton method; the draws are
    antithetic and whitened, and doubled until a refit changes the bound on fresh ones no more, twice. A
    mean-field guide's spreads leave out what the sites have to do with each other. The linear
    response puts it back: with H the Hessian of minus the bound in (loc, log scale), learned
    parameters of the model held where they are,

        Cov(z) = the block of H^-1 that belongs to the locations,

    and the answer is the Gaussian with these covariances on the unconstrained axis.

    Parameters
    ----------
    draws
        how many to begin with; None: twice the latent dimension, from 32 on.
    most
        the most draws to double to.
    tolerance
        nats by which a refit with twice the draws may still change the bound on fresh ones.
    linear_response
        whether covariances are those of the linear response (up to 1,000 latent dimensions) or the
        mean-field guide's own, with a warning where these are too narrow.

    Raises
    ------
    ModelError
        a discrete latent site, a jump on a draw's path: with fixed draws these have no gradient.
    GuideError
        a site with `guide=` in place.
    NumericalError
        a bound without a maximum at finite places, with the term or site that is the cause.

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
        executor, compiler = compiler_of(self.name, executor)
        for field, value in (("draws", self.draws), ("most", self.most)):
            if value is not None and (not isinstance(value, int) or value < 2):
                raise ModelError(f"{field}={value!r}", "a whole number of at least 2", f"{field}=64")
        objective = whole(p, "meanfield", seed, "fixed draws")
        d = objective.derivation
        rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
        values, steps, rivals, spent = fixed_draws(objective, Coordinates.at(d, standardized=False), seed, rows)
        size = sum(int(np.prod(f.noise_shape, dtype=np.int64)) for f in d.factors)
        allowed = max(32, min(self.most, 2 * (WORK // max(2 * objective.values.work, 1))))
        count = min(max(32, 2 * size) if self.draws is None else 2 * -(-self.draws // 2), allowed)
        history, agreed, what = [], 0, "fixed draws, with which the bound has no maximum at finite places"
        fresh = [whitened(generator(seed, k + 1, Stream.FIXED), d.factors, min(count, 1024)) for k in range(FRESH)]
        bound = _bound(objective, values, fresh)
        while True:
            where = Coordinates.at(d, values)
            f = self._function(objective, where, count, seed, compiler)
            x, value, taken, _, gradients = minimize(
                f, np.zeros(f.size), where.metric, logarithmic=where.logarithmic, tolerance=1e-6
            )
            if where.size <= NEWTON:  # along the long axis of collinear coefficients first-order steps hardly move
                x, value, more, *_ = f.newton(x, steps=50, tolerance=1e-4)
                taken, gradients = taken + more, gradients + (more + 1) * (1 + where.size)
            values, steps, spent = where.concrete(x), steps + taken, spent + gradients * count
            require_finite(objective, values, f.noise, what, history)
            history.append(-value)
            before, bound = bound, _bound(objective, values, fresh)
            gain = bound - before
            agreed = agreed + 1 if abs(gain) < self.tolerance else 0
            if agreed == 2 or 2 * count > allowed:
                break
            count *= 2
        enough = agreed == 2
        reason = (
            f"with {count} fixed draws a refit {'lost' if gain < 0 else 'gained'} {abs(gain):.3g} nats on fresh ones"
        )
        solution = Solution(
            values,
            np.array(history),
            reason if enough else f"{reason}, and more draws were not allowed",
            enough,
            steps,
            objective,
            executor,
            (f"the bound on the {count} fixed draws is {history[-1] - bound:.3g} nats above that on fresh draws",),
            doubts=rivals,
            gradients=spent + (count * where.size if where.size <= 2 * DENSE else 0),
        )
        return self._with_response(p, solution, count, seed, compiler)

    def _function(
        self, objective: Objective, where: Coordinates, count: int, seed: int, compiler: Callable
    ) -> FixedDraws:
        noise = whitened(generator(seed, 0, Stream.FIXED), objective.derivation.factors, count)
        return FixedDraws(objective, where.values, where.split(np.zeros(where.size)), noise, compiler)

    def _with_response(self, p: Problem, found: Solution, count: int, seed: int, compiler: Callable) -> Solution:
        """The joint Gaussian with the covariances of the linear response; or what they say of the mean-field guide."""
        where = Coordinates.at(found.derivation, found.values)
        if not gaussian_sites(found.derivation):
            return found
        if where.size > 2 * DENSE:
            note = f"no linear response: {where.size} parameters are too many for a Hessian"
            return replace(found, notes=(*found.notes, note))
        response = linear_response(self._function(found.objective, where, count, seed, compiler), where)
        narrow = response.narrow
        if not response.positive:
            reason = f"{found.stop_reason}, but the bound has no curvature beyond rounding {response.weakest}"
            return replace(found, stop_reason=reason, converged=False)
        if not self.linear_response:
            return replace(found, doubts=(*found.doubts, SHORT.format(narrow))) if narrow else found
        joint, lost = derive(p, "fullrank", seed=seed), lost_digits(response.error)
        note = "covariances are those of the linear response"
        if narrow:
            note += f": the sds of the mean-field guide alone fall short of these for {narrow}"
        return replace(
            found,
            values=joint_values(joint, found.values, response.sites, response.root),
            objective=Objective(joint, choose(joint)),
            converged=found.converged and not lost,
            notes=(*found.notes, note),
            doubts=(*found.doubts, *lost),
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
