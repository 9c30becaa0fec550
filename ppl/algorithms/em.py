"""Expectation maximisation, exact or variational, with closed-form steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..conjugacy import Ascent, Execution, Recognized, has_states, row_plate
from ..distributions import biject_to
from ..elbo import Problem
from ..errors import ConjugacyError, ModelError
from .cavi import Climb
from .closed_form import GUIDE, finished, parameters, recognized
from .deterministic import check_executor
from .stages import Solution

WHY_NO_WEIGHTS = "points have no spread to weigh; ELBO is a bound on log p(data, points)"
RESTARTS = 4


@dataclass(frozen=True)
class EM:
    """Expectation maximisation: points for some unknowns, distributions for the others, both in closed form.

    E-step: `eta <- grad F` for each latent block, exact where there is one block, variational where there are
    several. M-step: the point with the largest `<eta, t(x)>`, the mode of the same family. Learned parameters
    alone give maximum likelihood; sites named in `maximize` are put at their posterior mode, with their priors.

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

    Raises
    ------
    ConjugacyError
        where a step has no closed form; the message names the site and the factor.

    Source: Dempster, Laird and Rubin (1977); Neal and Hinton, A view of the EM algorithm (1998).

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

    name = "em"
    guide = GUIDE

    def run(
        self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", progress: Any = None, **_: Any
    ) -> Solution:
        """E- and M-steps in turn until the bound stands still."""
        check_executor(self.name, executor)
        found = recognized(p, self.name, points=self.maximize or ())
        points = self._points(found)
        ascent = Ascent(Execution(found, row_plate(found), points))
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
        natural = ascent.naturals(state)
        values = parameters({n: b for n, b in found.blocks.items() if n not in points}, natural)
        for n in points:
            b = found.blocks[n]
            x = np.reshape(b.family.mode({s: np.asarray(natural[n, s]) for s in b.family.statistics}), b.shape)
            if b.is_parameter:
                values[n] = x
            else:
                values[f"{n}.loc"] = np.asarray(biject_to(p.sites[n].fn.support).inv(x))
        return finished(
            p,
            found,
            values,
            bound=state.bound,
            terms=ascent.terms(state),
            entropy=state.entropy,
            history=climb.history,
            gradients=climb.sweeps,
            reason=climb.reason,
            converged=climb.converged,
            notes=climb.notes,
            seed=seed,
            points=points,
            no_weights=WHY_NO_WEIGHTS,
        )

    def _points(self, found: Recognized) -> frozenset[str]:
        """The blocks that are points."""
        learned = {b.name for b in found.blocks.values() if b.is_parameter}
        named = set(self.maximize or ())
        unknown = named - set(found.blocks)
        if unknown:
            raise ModelError(
                f"maximize={sorted(unknown)}", f"latent sites or parameters: {sorted(found.blocks)}", "another name"
            )
        for n in named | learned:
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
