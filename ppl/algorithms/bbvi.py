"""Black-box variational inference: stochastic gradients of the bound, each term its own estimator.

    derive -> choose -> good start -> stages of Adam at falling step sizes -> averaged iterates

A stage runs at one step size until the bound has stopped rising within its noise; its average is
the stage's answer (Polyak and Juditsky 1992). The run ends when two stages give the same answer
(compare Dhaka et al. 2020; Welandawe et al. 2024, "A framework for improving the reliability of
black-box variational inference").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..array import BranchOnDraw, Ref, compile_program, reachable
from ..elbo import Derivation, EagerObjective, Objective, Plan, Problem, choose, derive
from ..errors import ModelError, NumericalError
from ..optim import Adam
from . import noise
from .coordinates import Coordinates, pull_to_coordinates
from .start import good_start

WINDOW = 50  # steps whose averages are kept
BLOCK = 50  # steps whose noise is drawn at once
PATIENCE = 25  # steps in a row that may fail to be finite


@dataclass(frozen=True)
class State:
    """What a run needs to go on."""

    step: int
    x: np.ndarray
    optimizer: Any
    rate: float
    skipped: int = 0


@dataclass(frozen=True)
class Info:
    """What a step is worth looking at for: the bound's estimate, and whether it was finite."""

    elbo: float
    finite: bool


@dataclass(frozen=True)
class Solution:
    """What an algorithm returns to whoever makes a Fit of it."""

    values: dict[str, np.ndarray]
    history: np.ndarray
    stop_reason: str
    converged: bool
    steps: int
    derivation: Derivation
    plan: Plan
    executor: str
    notes: tuple[str, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True)
class BBVI:
    """Black-box variational inference.

    Parameters
    ----------
    steps
        the most gradient steps to take; it stops earlier when it has converged.
    particles
        draws per step; None: 8 where that costs little, fewer for large models.
    optimizer
        `ppl.optim.Adam()`; its step size is where the first stage starts, in posterior
        standard deviations. A fixed `optimizer` with `stages=False` keeps it.
    init
        "auto" (a deterministic optimum with fixed draws where there is one), or a dict of
        parameter values to start from.
    callback
        called as `callback(state, info)` after every step.

    >>> BBVI(steps=500).particles is None
    True
    """

    steps: int = 20_000
    particles: int | None = None
    optimizer: Any = Adam(0.05)
    init: Any = "auto"
    callback: Callable[[State, Info], Any] | None = None
    tolerance: float = 0.02

    name = "bbvi"

    def run(self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", progress: Callable | None = None) -> Solution:
        """Fit the guide to the problem."""
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ModelError(f"steps={self.steps!r}", "a whole number of at least 1")
        d, eager = _derive(p, guide, seed, executor)
        plan = choose(d)
        objective = Objective(d, plan)
        _check_parameters(d, objective)
        starts = {n: x.init for n, x in d.parameters.items()}
        notes = []
        if isinstance(self.init, dict):
            starts = {**starts, **{n: np.asarray(v, dtype=float) for n, v in self.init.items()}}
        elif not eager:
            starts, how = good_start(p, guide, d, objective, seed)
            notes.append(f"started from {how}")
        where = Coordinates.at(d, starts)
        if where.size == 0:
            return Solution(where.concrete(np.zeros(0)), np.zeros(0), "there is nothing to fit", True, 0, d, plan, "numpy", tuple(notes))
        step = self._eager_step(p, guide, where, seed) if eager else self._step(objective, where, seed)
        return _stages(self, step, where, d, plan, "eager" if eager else "numpy", tuple(notes), progress, objective)

    # -- one step --------------------------------------------------------------------------
    def init_state(self, where: Coordinates) -> State:
        """The state at the starting point."""
        x = np.zeros(where.size)
        return State(0, x, self.optimizer.init(x), self.optimizer.step_size)

    def particles_for(self, objective: Objective) -> int:
        """Draws per step: as many as cost little, at least two where a score needs a baseline."""
        if self.particles is not None:
            return self.particles
        allowed = int(40_000 // max(objective.values.work, 1))
        least = 4 if objective.plan.any_score else 1
        return max(least, min(8, 2 * (allowed // 2)))

    def _step(self, objective: Objective, where: Coordinates, seed: int) -> Callable[[State], tuple[State, Info]]:
        particles = self.particles_for(objective)
        d = objective.derivation
        run = compile_program(objective.gradient(particles, where.values, where.split(np.zeros(where.size))))
        pieces = list(zip(where.slices.values(), where.shapes.values(), strict=True))
        order = [f.name for f in d.factors]
        cache: dict[int, tuple] = {}

        def block(number: int) -> tuple:
            if number not in cache:
                cache.clear()
                rng = noise.generator(seed, number)
                eps = noise.draw(rng, d.factors, BLOCK, particles)
                rows = {n: minibatches(rng, d.plates[n], BLOCK) for n in d.index_inputs}
                rest = [objective.rest_of({n: r[i] for n, r in rows.items()}, {n: eps[n][i] for n in order}) for i in range(BLOCK)]
                cache[number] = rest
            return cache[number]

        update = self.optimizer.update

        def step(state: State) -> tuple[State, Info]:
            rest = block(state.step // BLOCK)[state.step % BLOCK]
            x = state.x
            value, bound, *grads = run(*[x[s].reshape(shape) for s, shape in pieces], *rest)
            g = np.concatenate([h.ravel() for h in grads]) if len(grads) > 1 else np.ravel(grads[0])
            elbo = float(bound.sum()) / len(bound)
            # One product tells: a sum with an infinity or NaN in it is not finite.
            if not np.isfinite(g @ g + elbo):
                return replace(state, step=state.step + 1, skipped=state.skipped + 1), Info(elbo, False)
            x, moments = update(-g, state.optimizer, x, state.rate)
            return State(state.step + 1, x, moments, state.rate), Info(elbo, True)

        return step

    def _eager_step(self, p: Problem, guide: Any, where: Coordinates, seed: int) -> Callable[[State], tuple[State, Info]]:
        objective = EagerObjective(p, guide, max(self.particles or 4, 2))
        jacobian = pull_to_coordinates(where)

        def step(state: State) -> tuple[State, Info]:
            elbo, grads = objective.gradient(where.concrete(state.x), seed * 1_000_003 + state.step)
            g = jacobian(state.x, grads)
            if not np.isfinite(g @ g + elbo):
                return replace(state, step=state.step + 1, skipped=state.skipped + 1), Info(elbo, False)
            x, moments = self.optimizer.update(-g, state.optimizer, state.x, state.rate)
            return State(state.step + 1, x, moments, state.rate), Info(elbo, True)

        return step


def minibatches(rng: np.random.Generator, plate: Any, steps: int) -> np.ndarray:
    """Row numbers for some steps, without repetition within a step."""
    size, n = plate.subsample_size, plate.size
    if size * 10 > n:
        return np.argsort(rng.random((steps, n)), axis=1)[:, :size] if steps * n < 5_000_000 else np.stack([rng.permutation(n)[:size] for _ in range(steps)])
    return np.stack([rng.choice(n, size, replace=False, shuffle=True) for _ in range(steps)])


def _derive(p: Problem, guide: Any, seed: int, executor: str) -> tuple[Derivation, bool]:
    if executor not in ("auto", "numpy", "eager"):
        raise ModelError(f"executor={executor!r}", "'auto', 'numpy' or 'eager'")
    if executor != "eager":
        try:
            return derive(p, guide, seed=seed), False
        except BranchOnDraw:
            if executor == "numpy":
                raise
    return derive(p, guide, seed=seed, eager=True), True


def _check_parameters(d: Derivation, objective: Objective) -> None:
    """A parameter that no term depends on is a mistake, not a constant."""
    program = objective.surrogate
    for name, i in d.parameter_inputs.items():
        out = program.outputs[0]
        if type(out) is not Ref or out.index not in reachable(program, {i}):
            raise ModelError(
                f"parameter '{name}', on which no term of the bound depends",
                "every parameter to matter",
                "use its value in a distribution, or remove it",
                site=name,
            )


# -- the run: stages at falling step sizes ------------------------------------------------------
def _stages(algorithm: BBVI, step: Callable, where: Coordinates, d, plan, executor, notes, progress, objective) -> Solution:
    state = algorithm.init_state(where)
    history: list[float] = []
    answers: list[np.ndarray] = []
    reason, converged, interrupted = f"the limit of {algorithm.steps} steps", False, False
    windows: list[tuple[float, np.ndarray]] = []
    bar = progress(algorithm.steps) if progress else None
    failed = 0
    try:
        while state.step < algorithm.steps:
            total, elbo, count = np.zeros(where.size), 0.0, 0
            for _ in range(min(WINDOW, algorithm.steps - state.step)):
                state, info = step(state)
                history.append(info.elbo)
                failed = 0 if info.finite else failed + 1
                if failed > PATIENCE:
                    raise _not_finite(where, state, answers, windows, history, objective, executor)
                if info.finite:
                    total, elbo, count = total + state.x, elbo + info.elbo, count + 1
                if algorithm.callback is not None and algorithm.callback(state, info) is False:
                    reason, converged = "the callback asked for it", False
                    raise StopIteration
            if bar is not None:
                bar.update(history)
            if count:
                windows.append((elbo / count, total / count))
            if not _stationary([e for e, _ in windows]):
                continue
            mean, error = _average(windows)
            answers.append(mean)
            windows = []
            if _agree(answers, error, algorithm.tolerance):
                reason, converged = "two stages at different step sizes gave the same answer", True
                break
            state = State(state.step, mean, algorithm.optimizer.init(mean), max(state.rate / 3.0, 1e-4))
    except StopIteration:
        pass
    except KeyboardInterrupt:
        reason, interrupted = "interrupted from the keyboard", True
    finally:
        if bar is not None:
            bar.close()
    x = answers[-1] if converged else _best(answers, windows, state)
    if state.skipped:
        notes = (*notes, f"{state.skipped} steps were left out because the gradient was not finite")
    return Solution(where.concrete(x), np.array(history), reason, converged, state.step, d, plan, executor, notes, interrupted)


def _best(answers, windows, state):
    if len(windows) >= 4:
        return _average(windows)[0]
    return answers[-1] if answers else windows[-1][1] if windows else state.x


def _stationary(elbos: list[float]) -> bool:
    """Has the bound stopped rising, as far as its noise shows?  At least eight windows.

    The slope over the later two thirds must be within two standard errors of zero, or so
    small that it stands for less than a hundredth of a nat.
    """
    n = len(elbos)
    if n < 8 or n % 2:
        return False
    y = np.array(elbos[n // 3 :])
    t = np.arange(len(y)) - (len(y) - 1) / 2.0
    slope = (t @ y) / (t @ t)
    residual = y - y.mean() - slope * t
    error = np.sqrt(residual @ residual / max(len(y) - 2, 1) / (t @ t))
    return slope * len(y) < max(2.0 * error * len(y), 0.01)


def _average(windows) -> tuple[np.ndarray, np.ndarray]:
    """Average of the later two thirds of the iterates, and its standard error by batch means."""
    xs = np.array([x for _, x in windows[len(windows) // 3 :]])
    return xs.mean(0), xs.std(0, ddof=1) / len(xs) ** 0.5 if len(xs) > 1 else np.full(xs.shape[1], np.inf)


def _agree(answers, error, tolerance) -> bool:
    """Do the last two stages differ by less than the tolerance, and is each known as well?"""
    if len(answers) < 2:
        return False
    moved = np.sqrt(np.mean((answers[-1] - answers[-2]) ** 2))
    return bool(moved < tolerance and np.sqrt(np.mean(error**2)) < tolerance / 2.0)


def _not_finite(where, state, answers, windows, history, objective, executor) -> NumericalError:
    last = _best(answers, windows, state)
    values = where.concrete(last)
    culprit = ""
    if executor == "numpy":
        d = objective.derivation
        eps = {k: v[0] for k, v in noise.draw(np.random.default_rng(0), d.factors, 1, 64).items()}
        rows = {n: np.arange(d.plates[n].subsample_size) for n in d.index_inputs}
        with np.errstate(all="ignore"):
            _, terms, _ = objective.evaluate(values, rows, eps, 64)
        bad = [t.text for t, column in zip(d.terms, terms.T, strict=True) if not np.all(np.isfinite(column))]
        culprit = f" in {', '.join(bad)}" if bad else ""
    return NumericalError(
        f"a gradient that is not finite, {PATIENCE} steps in a row up to step {state.step}{culprit}",
        "finite log densities where the guide draws",
        "a look at scales that may reach zero, data of extreme size, or log of a negative number in that term",
        state=values,
        history=np.array(history),
    )
