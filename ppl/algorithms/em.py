"""Expectation maximisation, exact or variational, with closed-form steps where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..conjugacy import Ascent, Execution, Recognized, has_states, row_plate
from ..elbo import Problem
from ..errors import ConjugacyError, ModelError
from .cavi import Climb
from .closed_form import GUIDE, NO_WEIGHTS, finished, recognized, values_of_points
from .deterministic import check_executor
from .hybrid import Hybrid
from .stages import Solution
from .svi import check_rate, stochastic

RESTARTS = 4


@dataclass(frozen=True)
class EM:
    """Expectation maximisation: points for some unknowns, distributions for the others.

    E-step: `eta <- grad F` for each latent block, exact where there is one block, variational where there are
    several. M-step: the point with the largest `<eta, t(x)>`, the mode of the same family; points that no family
    has (weights of a logistic regression or a network, degrees of freedom) take quasi-Newton steps. Learned
    parameters alone give maximum likelihood; sites named in `maximize` are put at their posterior mode, with their
    priors.

    Where a plate is subsampled, a step sees a minibatch: the variational parameters of its rows are brought to
    their optimum, and the expected statistics, counted for all rows, are averaged with falling step sizes.

    Parameters
    ----------
    maximize
        latent sites that become points; every `ppl.param` is one. By default the parameters alone.
    steps, tolerance
        as of `ppl.CAVI`.
    restarts
        seeded starts beside that from the parameters' own `init`; by default 4 where categories are latent.
    init
        values of some sites or parameters to start from.
    kappa, delay, local_sweeps
        as of `ppl.SVI`, where a plate is subsampled.

    Raises
    ------
    ConjugacyError
        where an E-step of discrete sites, or any step on minibatches, has no closed form; the message names the
        site and the factor.

    Source: Dempster, Laird and Rubin (1977); Neal and Hinton, A view of the EM algorithm (1998); on minibatches
    Cappe and Moulines, On-line expectation-maximization algorithm for latent data models (2009).

    >>> import numpy as np, ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.param("mu", 0.0)
    ...     sigma = ppl.param("sigma", 1.0, constraint=dist.constraints.positive)
    ...     with ppl.plate("n", len(y)):
    ...         ppl.sample("y", dist.Normal(mu, sigma), obs=y)
    >>> fit = ppl.infer(model, np.array([1.0, 2.0, 6.0]), algorithm="em", progress=False)
    >>> float(fit.params["mu"]), round(float(fit.params["sigma"]) ** 2, 4)
    (3.0, 4.6667)
    """

    maximize: tuple[str, ...] | None = None
    steps: int = 1000
    tolerance: float = 1e-10
    restarts: int | None = None
    init: Any = "auto"
    kappa: float = 0.7
    delay: float = 1.0
    local_sweeps: int = 10

    name = "em"
    guide = GUIDE

    def __post_init__(self) -> None:
        check_rate(self.kappa, self.delay)

    def run(
        self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", progress: Any = None, **_: Any
    ) -> Solution:
        """E- and M-steps in turn until the bound stands still."""
        check_executor(self.name, executor)
        minibatches = any(q.subsampled for q in p.graph.plates.values())
        sizes = {} if minibatches else None
        found = recognized(p, self.name, sizes, hybrid=not minibatches, points=tuple(self.maximize or ()))
        points = self._points(found)
        if minibatches:
            return stochastic(self, p, found, seed=seed, progress=progress, points=points)
        ascent = Ascent(Execution(found, None if found.free else row_plate(found), points))
        ascent = Hybrid(ascent) if found.free else ascent
        init = None if self.init == "auto" else dict(self.init)
        own = {n: x.init for n, x in found.recorded.parameters.items()}
        several = any(has_states(b) for b in found.blocks.values()) and init is None
        climb = Climb(ascent, self.steps, self.tolerance, progress(self.steps) if progress else None)
        try:
            climb.best_of(1, {**own, **(init or {})} or None, seed)
            restarts = self.restarts if self.restarts is not None else RESTARTS if several else 0
            if restarts:
                climb.best_of(restarts, None, seed, own)
            climb.on()
        finally:
            climb.close()
        state = climb.state
        values = values_of_points(p, found, points, ascent.naturals(state), state.free)
        return finished(
            p,
            found,
            values,
            bound=state.bound if {*found.free} <= points else None,
            terms=ascent.terms(state),
            entropy=state.entropy,
            history=climb.history,
            gradients=climb.sweeps,
            reason=climb.reason,
            converged=climb.converged,
            notes=climb.notes,
            seed=seed,
            points=points,
            no_weights=NO_WEIGHTS,
        )

    def _points(self, found: Recognized) -> frozenset[str]:
        """The blocks that are points."""
        learned = set(found.recorded.parameters)
        named = set(self.maximize or ())
        unknown = named - set(found.blocks) - set(found.free)
        if unknown:
            raise ModelError(
                f"maximize={sorted(unknown)}",
                f"latent sites or parameters: {sorted([*found.blocks, *found.free])}",
                "another name",
            )
        for n in (named | learned) & set(found.blocks):
            if not hasattr(found.blocks[n].family, "mode"):
                raise ConjugacyError(
                    f"'{n}' among the points, which are categories",
                    "sites with a density",
                    "no maximize= for it",
                    site=n,
                )
        if not named | learned:
            raise ModelError(
                "EM of a model without learned parameters", "ppl.param statements, or maximize=", 'algorithm="cavi"'
            )
        return frozenset(named | learned)
