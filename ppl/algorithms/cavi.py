"""Coordinate ascent in closed form: CAVI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..conjugacy import Ascent, Execution, State, has_states, row_plate
from ..conjugacy.ascent import PASSES, SETTLING
from ..elbo import Problem
from ..errors import NumericalError
from .closed_form import GUIDE, check_latent, finished, parameters, recognized
from .deterministic import check_executor
from .hybrid import Hybrid
from .interrupts import BetweenSteps
from .noise import Stream, generator
from .stages import INTERRUPTED, Solution

PILOT = 20  # sweeps after which starts are compared
RESTARTS = 4  # where categories can be told apart in several ways


@dataclass(frozen=True)
class CAVI:
    """Coordinate ascent variational inference: `eta_j <- grad_{mu_j} F`, block by block, until the bound stands still.

    F(mu) is the expected log joint as a function of the mean parameters of the guide's exponential-family
    factors, found from the model itself. Each update is the exact maximum in its block, so the bound never falls;
    `fit.elbo` is exact. Latent sites of terms that have no closed form get Normals on the unconstrained axis, and
    after each sweep some quasi-Newton steps on fixed draws; `fit.explain()` names the factors that block.

    Parameters
    ----------
    steps
        the most sweeps to take.
    tolerance
        stop where the bound changes by less than this share of itself.
    restarts
        seeded starts, compared after 20 sweeps; by default 4 where categories are latent, else 1. One, too, where
        categories are nested in groups, as topics in documents: there a start is ten passes in which the groups'
        latents settle.
    init
        values of some sites to start from: `{"mu": array}`.
    blocks
        sites that keep their dependence, as one block each. A location and its precision, `[("mu", "tau")]`, make
        q(mu, tau) a normal-gamma or a normal-Wishart; several normal sites make one normal. Chains need not be
        named: states, or normals, each given those before it, are one block by forward-backward or Kalman
        smoothing, in `ppl.scan` as in a loop of Python. A site alone, `("z_1",)`, is taken out of its chain.

    Raises
    ------
    ConjugacyError
        where no site has a closed form, or one that has none is discrete; the message names what blocks.

    Source: Bishop, Pattern Recognition and Machine Learning (2006), section 10.4; Winn and Bishop (2005); of chains
    Beal, Variational algorithms for approximate Bayesian inference (2003), chapters 3 and 5.

    >>> import numpy as np, ppl, ppl.distributions as dist
    >>> def model(y):
    ...     tau = ppl.sample("tau", dist.Gamma(2.0, 1.0))
    ...     mu = ppl.sample("mu", dist.Normal(0.0, 10.0))
    ...     with ppl.plate("n", len(y)):
    ...         ppl.sample("y", dist.Normal(mu, tau**-0.5), obs=y)
    >>> fit = ppl.infer(model, np.array([1.0, 2.0, 4.0]), algorithm="cavi", progress=False)
    >>> float(fit.params["tau.concentration"]), fit.elbo_se
    (3.5, 0.0)
    """

    steps: int = 1000
    tolerance: float = 1e-10
    restarts: int | None = None
    init: Any = "auto"
    blocks: tuple[tuple[str, ...], ...] = ()

    name = "cavi"
    guide = GUIDE

    def run(
        self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", progress: Any = None, **_: Any
    ) -> Solution:
        """Sweeps from the best of several starts."""
        check_executor(self.name, executor)
        found = recognized(p, self.name, hybrid=True, blocks=self.blocks)
        check_latent(found, "CAVI")
        ascent = Ascent(Execution(found, None if found.free else row_plate(found)))
        ascent = Hybrid(ascent) if found.free else ascent
        climb = Climb(ascent, self.steps, self.tolerance, progress(self.steps) if progress else None)
        try:
            climb.best_of(self._starts(ascent), None if self.init == "auto" else self.init, seed)
            climb.on()
        finally:
            climb.close()
        state = climb.state
        return finished(
            p,
            found,
            {**parameters(found.blocks, ascent.naturals(state)), **state.free},
            bound=None if found.free else state.bound,
            terms=ascent.terms(state),
            entropy=state.entropy,
            history=climb.history,
            gradients=climb.sweeps,
            reason=climb.reason,
            converged=climb.converged,
            notes=climb.notes,
            seed=seed,
        )

    def _starts(self, ascent: Ascent) -> int:
        if self.restarts is not None or ascent.nested:
            return self.restarts or 1
        several = any(has_states(b) for b in ascent.execution.blocks.values())
        return RESTARTS if several and self.init == "auto" else 1


@dataclass(eq=False)
class Climb:
    """A run of sweeps: where it stands, and why it stopped."""

    ascent: Ascent
    steps: int
    tolerance: float
    bar: Any = None
    state: State | None = None
    history: list[float] = field(default_factory=list)
    reason: str = ""
    converged: bool = False
    notes: list[str] = field(default_factory=list)
    sweeps: int = 0  # those of other starts too

    def best_of(
        self, starts: int, init: Mapping[str, Any] | None, seed: int, defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Begin from the start that is best after some sweeps."""
        bounds = []
        for number in range(starts):
            rng = generator(seed, number, Stream.STARTS)
            other = Climb(self.ascent, min(PILOT, self.steps), self.tolerance)
            try:
                nested = init is None and self.ascent.nested
                other.state = self.ascent.start(rng, init, few=not nested and number % 2 == 0, defaults=defaults)
                if nested:
                    other.state = self.ascent.warmed(other.state)
                    other.sweeps = PASSES * (SETTLING + 1)
                other.on()
            except (NumericalError, np.linalg.LinAlgError):
                if starts == 1:
                    raise
                continue
            bounds.append(other.history[-1])
            self.sweeps += other.sweeps
            if not self.history or other.history[-1] > self.history[-1]:
                self.state, self.history, self.converged = other.state, other.history, other.converged
        if not bounds:
            raise NumericalError(f"{starts} starts, none of them finite", "proper priors", "init={site: value}")
        if starts > 1:
            after = f"after {PILOT} sweeps their bounds are {min(bounds):.2f} to {max(bounds):.2f}"
            self.notes.append(f"the best of {starts} starts: {after}")

    def on(self) -> None:
        """Sweep until the bound stands still."""
        held = BetweenSteps()
        self.reason = f"{self.steps} sweeps were taken, and the bound still rose"
        try:
            with held.listening():
                while not self.converged and len(self.history) < self.steps:
                    with held:
                        self._sweep()
        except KeyboardInterrupt:
            self.reason = INTERRUPTED
        if self.converged:
            self.reason = "the bound stands still"

    def _sweep(self) -> None:
        try:
            after = self.ascent.step(self.state)
        except np.linalg.LinAlgError as error:
            raise NumericalError(
                f"a matrix that is not positive definite, in sweep {len(self.history) + 1}",
                "more rows than dimensions in every component",
                "proper priors, or other starts by seed=1",
                state=self.state,
                history=np.array(self.history),
            ) from error
        bound, self.sweeps = after.bound, self.sweeps + 1
        if not np.isfinite(bound):
            broken = [n for n, x in {**after.terms, **after.entropy}.items() if not np.isfinite(x)]
            raise NumericalError(
                f"a bound that is not finite, in sweep {len(self.history) + 1}: {', '.join(broken)}",
                "updates that are proper distributions",
                "proper priors, or init={site: value}",
                site=broken[0] if broken else None,
                state=self.state,
                history=np.array(self.history),
            )
        self.state = after
        self.history.append(bound)
        if self.bar is not None:
            self.bar.update(self.history)
        if len(self.history) > 1:
            change = bound - self.history[-2]
            self.converged = abs(change) <= self.tolerance * (1.0 + abs(bound))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
