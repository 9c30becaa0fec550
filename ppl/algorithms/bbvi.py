"""Black-box variational inference: stochastic gradients of the bound, each term its own estimator.

    derive -> choose -> good start -> stages of Adam at falling step sizes -> averaged iterates

A stage runs at one step size until the bound has stopped rising within its noise; its average is
the stage's answer (Polyak and Juditsky 1992). The run ends when two stages give the same answer
(compare Dhaka et al. 2020; Welandawe et al. 2024, "A framework for improving the reliability of
black-box variational inference").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from os import PathLike
from typing import Any

import numpy as np

from ..array import BranchOnDraw, Program, compile_program, needed, paused_collector
from ..array.jax_executor import require_jax
from ..elbo import (
    ELBO,
    Derivation,
    EagerObjective,
    Objective,
    Problem,
    check_bound,
    choose,
    derive,
    minibatches,
    objective_of,
    weight_at,
)
from ..elbo.estimators import ESTIMATORS
from ..elbo.pilot import piloted
from ..errors import ModelError
from ..model import rows_in_use
from ..model.calls import check_names
from ..optim import Adam, rate_at
from . import noise
from .compiled import CompiledSteps
from .coordinates import Coordinates, pull_to_coordinates
from .response import doubts
from .stages import INTERRUPTED, Info, Keep, Run, Settings, Solution, State, run_stages
from .start import good_start
from .tables import tables_at
from .training import HeldOut, run_training, steps_per_epoch, training_step

COMPILED = 50_000_000  # counted operations of a step from which compiling is worth its wait
BLOCK = 50  # steps whose noise is drawn at once


@dataclass(frozen=True)
class BBVI:
    """Black-box variational inference.

    Parameters
    ----------
    steps
        the most gradient steps to take; it stops earlier when it has converged.
    particles
        draws per step; None: 24 where that costs little, fewer for large models.
    optimizer
        one of `ppl.optim`; None is `Adam(0.05)`, in training `Adam(1e-3)`. Its step size is where the first stage
        starts, in posterior standard deviations; later stages take a third of the one before.
    bound
        what is climbed: `ppl.ELBO()`, `ppl.IWAE(k)` or `ppl.Renyi(alpha)`. A step draws `particles` estimates
        of it, each of k samples. `fit.elbo` is the ELBO in any case.
    weights
        weights on the terms of latent sites, `{"z": 0.5}` or `{"z": lambda step: min(1.0, step / 1000)}`: the site's KL
        counts so much (beta, annealing), or `ppl.FreeBits(nats)`. `fit.elbo` stays the unweighted bound.
    init
        "auto" (a deterministic optimum with fixed draws where there is one), an earlier Fit, or a
        dict of parameter values to start from.
    callback
        called as `callback(state, info)` after every step; returning False ends the run.
    tolerance
        how well the answer must be known to count as converged: two stages agree to this many
        posterior standard deviations (root mean square), and the error of each is half that.
    dtype
        the working dtype, np.float32 or np.float64; None: float32 where an argument is.
    checkpoint
        a file that keeps the state while the run goes on, and the fit at its end. The same
        `ppl.infer(...)` goes on from the file where it is there (with the fit itself, where it had
        ended), and refuses one of another model, guide, seed or data; `ppl.load` reads it too.
    checkpoint_every
        seconds between two writings, and at least twenty times what one takes; 0: after every step.
    epochs
        how often to go through all rows of a subsampled plate, in place of `steps`.
    clip
        the largest norm of a gradient in training (of the bound for the full data); longer ones are shortened to it.
    held_out
        the model's arguments `(args, kwargs)` on data that no step sees: their bound is estimated now and then,
        for the callback and `fit.held_out`.
    evaluate_every
        how many steps lie between two such estimates; None: an epoch.
    patience
        training ends after so many of them without a new best one, and the best parameters are the answer.

    **Training.** Where a model has networks, states (`ppl.state`) or held-out data, and with `epochs=` or a schedule
    as step size, there are no stages: the steps go at the optimizer's own rate, in epochs over rows that the seed
    shuffles, until they are done; where `steps` says how many, and not `epochs`, they end before that when the
    bound has stopped rising.

    >>> BBVI(steps=500).particles is None
    True
    """

    steps: int = 20_000
    particles: int | None = None
    optimizer: Any = None
    bound: Any = field(default_factory=ELBO)
    weights: Mapping[str, Any] | None = None
    init: Any = "auto"
    callback: Callable[[State, Info], Any] | None = None
    tolerance: float = 0.08
    dtype: Any = None
    checkpoint: str | PathLike | None = None
    checkpoint_every: float = 30.0
    epochs: float | None = None
    clip: float | None = None
    held_out: Any = None
    evaluate_every: int | None = None
    patience: int | None = None

    name = "bbvi"

    def run(
        self,
        p: Problem,
        guide: Any,
        *,
        seed: int = 0,
        executor: str = "auto",
        progress: Callable | None = None,
        starts: Mapping[str, np.ndarray] | None = None,
        objective: Objective | None = None,
        run: Run | None = None,
        keep: Keep | None = None,
    ) -> Solution:
        """Fit the guide to the problem; `objective` is that of both, where it stands already.

        `run` is where an earlier run stood, to go on from there; `keep` is given the run now and then.
        """
        self._check()
        if self.dtype is not None:
            p = replace(p, dtype=np.dtype(self.dtype))
        _check_executor(executor)
        eager = executor == "eager"
        own, apart = self._has_own_objective(p), p.trains_apart or callable(guide)
        if objective is None or own or apart or objective.derivation.program.dtype != p.dtype:
            closed = isinstance(self.bound, ELBO)
            d, eager = _derive(p, guide, seed, executor, closed=closed, relaxed=True, training=True)
            own |= d.trains_apart
            if eager and own:
                raise ModelError(
                    "bound=, weights= or a relaxation where control flow depends on a draw", "the ELBO", "np.where"
                )
            objective = replace(objective_of(d, self.bound, weights=self.weights), plain=not own)
        executor = "eager" if eager else executor
        trains = not eager and (self.trains(objective.derivation) if run is None else run.trained)
        algorithm = replace(self, optimizer=self.the_optimizer(trains))
        if not eager:
            algorithm = replace(algorithm, particles=self.particles_for(objective, trains))
        found = algorithm._steps(p, guide, objective, executor, trains, seed, progress, starts, run, keep)
        return algorithm._of_the_elbo(p, guide, objective, found, seed) if own else found

    def _check(self) -> None:
        """Settings that make no sense are refused."""
        whole = {"steps": self.steps, "particles": self.particles}
        whole |= {"evaluate_every": self.evaluate_every, "patience": self.patience}
        examples = {"steps": "BBVI(steps=2000)", "particles": "particles=8"}
        for name, x in whole.items():
            if (x is not None or name == "steps") and (not isinstance(x, int) or x < 1):
                expected = "a whole number of at least 1" + ("" if name == "steps" else ", or None")
                raise ModelError(f"{name}={x!r}", expected, examples.get(name, f"{name}=5"))
        for name, x in (("epochs", self.epochs), ("clip", self.clip)):
            if x is not None and not (isinstance(x, int | float) and 0 < x < np.inf):
                raise ModelError(f"{name}={x!r}", "a positive number, or None", f"{name}=10")
        if self.patience is not None and self.held_out is None:
            raise ModelError("patience= without held-out data", "held_out=", "held_out=((test_images,), {})")
        if self.optimizer is not None and not hasattr(self.optimizer, "update"):
            raise ModelError(f"optimizer={self.optimizer!r}", "an optimizer", "ppl.optim.Adam(0.05)")
        if not isinstance(self.init, dict) and self.init != "auto":
            raise ModelError(f"init={self.init!r}", "'auto', a fit, or a dict of parameter values", "init=fit.params")
        check_bound(self.bound)

    def trains(self, d: Derivation) -> bool:
        """Is it for training: without stages, at the optimizer's own rate?"""
        scheduled = callable(getattr(self.optimizer, "step_size", None))
        asked = self.epochs is not None or self.clip is not None or self.held_out is not None
        return bool(d.networks or d.updates or scheduled or asked)

    def the_optimizer(self, trains: bool) -> Any:
        """The optimizer of a run, for training or in stages."""
        return self.optimizer or Adam(1e-3 if trains else 0.05)

    def steps_for(self, plates: Mapping[str, Any]) -> int:
        """How many steps to take at most."""
        return self.steps if self.epochs is None else max(round(self.epochs * steps_per_epoch(plates)), 1)

    def _piloted(self, objective: Objective, starts: Mapping[str, np.ndarray], seed: int) -> Objective:
        """The objective with its control variates chosen at the start, for the number of draws of a step."""
        return piloted(objective, starts, self.particles_for(objective), seed)

    def _has_own_objective(self, p: Problem) -> bool:
        """Is what is climbed another thing than the ELBO of the model itself?"""
        asked = (s.estimator for s in p.sites.values())
        relaxed = any(e in ESTIMATORS and ESTIMATORS[e].biased for e in asked)
        return not isinstance(self.bound, ELBO) or bool(self.weights) or relaxed

    def _of_the_elbo(self, p: Problem, guide: Any, objective: Objective, solution: Solution, seed: int) -> Solution:
        """The solution with the ELBO of the model itself as its objective, and in words what was climbed."""
        d = derive(p, guide, seed=seed)
        chosen = {f.name: objective.plan.of_site(f.name) for f in objective.derivation.factors}
        what = f"{self.bound}" + (", with the model as it is in training" if objective.derivation.trains_apart else "")
        notes = [f"climbed {what}" + (f", with weights on {', '.join(self.weights)}" if self.weights else "")]
        notes += [f"in the climb, {name}: {found[1].why}" for name, found in chosen.items() if found]
        elbo = Objective(d, choose(d), plain=False)
        return replace(
            solution, objective=elbo, notes=(*solution.notes, *notes), doubts=(*solution.doubts, *objective.plan.biased)
        )

    def _steps(
        self,
        p: Problem,
        guide: Any,
        objective: Objective,
        executor: str,
        trains: bool,
        seed: int,
        progress: Callable | None,
        starts: Mapping[str, np.ndarray] | None,
        run: Run | None,
        keep: Keep | None,
    ) -> Solution:
        d, eager = objective.derivation, executor == "eager"
        held_out = None if self.held_out is None else HeldOut(p, guide, d, self.held_out, seed)
        if run is not None:
            executor = "numpy" if executor == "auto" else executor
            objective = objective if eager else self._piloted(objective, run.start, seed)
            settings = self._settings(p, guide, objective, seed, executor, trains)
            return self._ended(settings, run, progress, keep, held_out)
        if not eager:  # another path may depend on it
            _check_parameters(d, objective)
        init = {n: x.init for n, x in d.parameters.items()}
        notes, rivals, spent = [], (), 0
        if isinstance(self.init, dict):
            check_names("init", self.init, init)
            starts = {**init, **{n: np.asarray(v, dtype=float) for n, v in self.init.items()}}
        elif eager:
            starts = init
        elif starts is None:
            try:
                starts, how, rivals, spent = good_start(p, guide, d, objective, seed)
            except KeyboardInterrupt:
                return replace(
                    _unmoved(Coordinates.at(d, init), objective),
                    converged=False,
                    interrupted=True,
                    stop_reason=INTERRUPTED,
                )
            notes.append(f"started from {how}")
        where = Coordinates.at(d, starts, tables=executor in ("auto", "numpy"), absolute=trains)
        if where.size == 0 and not where.tables and not d.updates:
            return _unmoved(where, objective)
        objective = objective if eager else self._piloted(objective, where.starts, seed)
        if executor == "auto":
            executor, why = self._executor_for(objective)
            notes += [why] if why else []
            where = where if executor == "numpy" else Coordinates.at(d, starts, absolute=trains)
        state = self.init_state(where, d)._replace(baselines=() if eager else objective.start)
        run = Run(where, state, where.starts, notes=tuple(notes), doubts=rivals, trained=trains)
        settings = self._settings(p, guide, objective, seed, executor, trains)
        found = self._ended(settings, run, progress, keep, held_out)
        return replace(found, gradients=found.gradients + spent)

    def _ended(
        self, settings: Settings, run: Run, progress: Callable | None, keep: Keep | None, held_out: HeldOut | None
    ) -> Solution:
        """The run to its end, and what there is to say against its guide."""
        if run.trained:
            return run_training(settings, run, held_out, progress, keep)
        solution = run_stages(settings, run, progress, keep)
        return replace(solution, doubts=(*solution.doubts, *doubts(solution, settings.seed)))

    def _executor_for(self, objective: Objective) -> tuple[str, str]:
        """The executor by the counted cost of a step, and why it is not NumPy's."""
        work = self.particles_for(objective) * objective.cost
        rows = any(x.rows for x in objective.derivation.parameters.values())
        if work < COMPILED or rows or find_spec("jax") is None:
            return "numpy", ""
        return "jax", f"executor: jax, because a step counts {work:.2g} operations, which are worth compiling"

    def _settings(
        self, p: Problem, guide: Any, objective: Objective, seed: int, executor: str, trains: bool
    ) -> Settings:
        if executor == "jax":
            steps = CompiledSteps(self, objective, seed, trains)
        elif executor == "eager":
            steps = partial(self._eager_step, p, guide, objective.derivation, seed)
        else:
            steps = partial(training_step, self, objective, seed) if trains else partial(self._step, objective, seed)
        return Settings(self, steps, objective, executor, seed, self.particles_for(objective))

    # -- one step --------------------------------------------------------------------------
    def init_state(self, where: Coordinates, d: Derivation) -> State:
        """The state at the starting point."""
        x = where.origin.astype(d.program.dtype if where.absolute else float)
        states = {n: d.narrowed(p.init) for n, p in d.parameters.items() if not p.learned}
        tables, rate = tables_at(where, d, self.optimizer), rate_at(self.optimizer, 0)
        return State(0, x, self.optimizer.init(x), rate, 0, tables, states=states)

    def particles_for(self, objective: Objective, trains: bool = False) -> int:
        """Draws per step: as many as cost little, at least two where a score needs a baseline."""
        if self.particles is not None:
            return self.particles
        if trains:
            return 2 if objective.plan.any_score else 1
        work = max(objective.values.work * objective.unit, 1)
        allowed = int(40_000 // work)
        # An antithetic pair is worth more than twice one draw, up to where arrays cost more than calls.
        least, most = (4, 32) if objective.plan.any_score else (2 if work < 2_000_000 else 1, 24)
        return max(least, min(most, 2 * (allowed // 2)))

    @paused_collector()
    def _step(self, objective: Objective, seed: int, where: Coordinates) -> Callable[[State], tuple[State, Info]]:
        particles = self.particles_for(objective)
        d = objective.derivation
        run = compile_program(_gradient_program(objective, particles, where))
        narrow = d.program.dtype == np.float32
        draws, independent, mirrored = particles * objective.unit, objective.independent, objective.mirrored
        cache: dict[int, tuple] = {}

        def block(number: int) -> tuple:
            if number not in cache:
                cache.clear()
                rng = noise.generator(seed, number, noise.Stream.STEPS)
                eps = noise.draw(rng, d.factors, BLOCK, draws, independent, mirrored)
                rows = {n: minibatches(rng, d.plates[n], BLOCK) for n in d.index_inputs}
                rest = objective.rest_of(rows, eps)
                cache[number] = [({n: r[i] for n, r in rows.items()}, [x[i] for x in rest]) for i in range(BLOCK)]
            return cache[number]

        update, beside, schedules = self.optimizer.update, where.tables, self.weights or {}

        def step(state: State) -> tuple[State, Info]:
            used, rest = block(state.step // BLOCK)[state.step % BLOCK]
            x = state.x
            seen = x.astype(np.float32) if narrow else x
            inputs = [seen]
            if beside:
                inputs += [d.narrowed(state.tables[n].rows(used)) for n in beside]
                inputs += [d.narrowed(d.rows_of(n, where.starts[n], used)) for n in beside]
            weights = [weight_at(schedules[site], state.step, site) for site in objective.weighted]
            _, bound, g, *more = run(*inputs, *rest, *weights, *state.baselines)
            slopes, kept = more[: len(beside)], more[len(beside) :]
            elbo = float(bound)
            # One product tells: a sum with an infinity or NaN in it is not finite.
            if not np.isfinite(g @ g + elbo + sum(np.sum(h) for h in slopes)):
                return state._replace(step=state.step + 1, skipped=state.skipped + 1), Info(elbo, False)
            x, moments = update(-g, state.optimizer, x, state.rate)
            for n, h in zip(beside, slopes, strict=True):
                state.tables[n].update(self.optimizer, -h, used, state.rate)
            state = State(state.step + 1, x, moments, state.rate, state.skipped, state.tables, tuple(kept))
            return state, Info(elbo, True)

        return step

    def _eager_step(
        self, p: Problem, guide: Any, d: Derivation, seed: int, where: Coordinates
    ) -> Callable[[State], tuple[State, Info]]:
        particles = max(self.particles or 32, 2)
        objective = EagerObjective(p, guide, where.starts)
        everyone = {f.name for f in d.factors}
        jacobian = pull_to_coordinates(where)

        def step(state: State) -> tuple[State, Info]:
            rng = noise.generator(seed, state.step, noise.Stream.STEPS)
            eps = {n: e[0] for n, e in noise.draw(rng, d.factors, 1, particles, everyone).items()}
            rows = {n: minibatches(rng, d.plates[n], 1)[0] for n in d.index_inputs}
            bounds, parts = objective.contributions(where.concrete(state.x), rows, eps, particles)
            elbo, g = float(bounds.mean()), jacobian(state.x, {n: x.mean(0) for n, x in parts.items()})
            if not np.isfinite(g @ g + elbo):
                return state._replace(step=state.step + 1, skipped=state.skipped + 1), Info(elbo, False)
            x, moments = self.optimizer.update(-g, state.optimizer, state.x, state.rate)
            return State(state.step + 1, x, moments, state.rate, state.skipped), Info(elbo, True)

        return step


def _gradient_program(objective: Objective, particles: int, where: Coordinates) -> Program:
    """The bound's gradient in the coordinates; tables enter as the rows in use and their starting values."""
    d = objective.derivation
    rows = {n: np.arange(d.plates[n].subsample_size) for n in d.index_inputs}
    raw = [rows_in_use(np.broadcast_to(0.0, where.table_shape(n)), d.parameters[n].rows, rows) for n in where.tables]
    starts = [d.rows_of(n, where.starts[n], rows) for n in where.tables]
    return objective.gradient(particles, where.values, where.split(np.zeros(where.size)), raw, starts)


def _unmoved(where: Coordinates, objective: Objective) -> Solution:
    """The solution of a run that takes no step."""
    values = where.concrete(np.zeros(where.size))
    return Solution(values, np.zeros(0), "there is nothing to fit", True, 0, objective, "numpy")


def _check_executor(executor: str) -> None:
    if executor not in ("auto", "numpy", "eager", "jax"):
        raise ModelError(f"executor={executor!r}", "'auto', 'numpy', 'eager' or 'jax'", "executor='auto'")
    if executor == "jax":
        require_jax()


def _derive(p: Problem, guide: Any, seed: int, executor: str, **how: Any) -> tuple[Derivation, bool]:
    if executor != "eager":
        try:
            return derive(p, guide, seed=seed, **how), False
        except BranchOnDraw:
            if executor in ("numpy", "jax"):
                raise
    return derive(p, guide, seed=seed, eager=True, **how), True


def _check_parameters(d: Derivation, objective: Objective) -> None:
    """A parameter that no term depends on is a mistake, not a constant."""
    program = objective.surrogate if objective.apart else objective.values
    live = needed(program, program.outputs[:1])
    for name, i in d.parameter_inputs.items():
        if i not in live and d.parameters[name].learned:
            raise ModelError(
                f"parameter '{name}', on which no term of the bound depends",
                "every parameter to matter",
                "use its value in a distribution, or remove it",
                site=name,
            )
