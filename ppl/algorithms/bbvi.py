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
from typing import Any, NamedTuple

import numpy as np

from ..array import BranchOnDraw, Ref, compile_program, reachable
from ..elbo import Derivation, EagerObjective, Objective, Plan, Problem, choose, derive, minibatches
from ..errors import ModelError, NumericalError
from ..model.calls import check_names
from ..optim import Adam, Moments
from . import noise
from .coordinates import Coordinates, pull_to_coordinates
from .start import good_start

WINDOW = 50  # steps whose averages are kept
BLOCK = 50  # steps whose noise is drawn at once
SHORT = 20_000_000  # counted cost up to which a run is short
PATIENCE = 25  # steps in a row that may fail to be finite


class State(NamedTuple):
    """What a run needs to go on."""

    step: int
    x: np.ndarray
    optimizer: Any
    rate: float
    skipped: int = 0


class Info(NamedTuple):
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
        draws per step; None: 32 where that costs little, fewer for large models.
    optimizer
        `ppl.optim.Adam()`; its step size is where the first stage starts, in posterior
        standard deviations. A fixed `optimizer` with `stages=False` keeps it.
    init
        "auto" (a deterministic optimum with fixed draws where there is one), or a dict of
        parameter values to start from.
    callback
        called as `callback(state, info)` after every step; returning False ends the run.
    tolerance
        how well the answer must be known to count as converged: two stages agree to this many
        posterior standard deviations (root mean square), and the error of each is half that.

    dtype
        the working dtype, np.float32 or np.float64; None: float32 where an argument is.

    >>> BBVI(steps=500).particles is None
    True
    """

    steps: int = 20_000
    particles: int | None = None
    optimizer: Any = field(default_factory=lambda: Adam(0.05))
    init: Any = "auto"
    callback: Callable[[State, Info], Any] | None = None
    tolerance: float = 0.08
    dtype: Any = None

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
    ) -> Solution:
        """Fit the guide to the problem."""
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ModelError(f"steps={self.steps!r}", "a whole number of at least 1")
        if self.dtype is not None:
            p = replace(p, dtype=np.dtype(self.dtype))
        d, eager = _derive(p, guide, seed, executor)
        plan = choose(d)
        objective = Objective(d, plan)
        _check_parameters(d, objective)
        init = {n: x.init for n, x in d.parameters.items()}
        notes = []
        if isinstance(self.init, dict):
            check_names("init", self.init, init)
            starts = {**init, **{n: np.asarray(v, dtype=float) for n, v in self.init.items()}}
        elif eager:
            starts = init
        elif starts is None:
            starts, how = good_start(p, guide, d, objective, seed)
            notes.append(f"started from {how}")
        where = Coordinates.at(d, starts)
        if where.size == 0:
            return Solution(
                where.concrete(np.zeros(0)),
                np.zeros(0),
                "there is nothing to fit",
                True,
                0,
                d,
                plan,
                "numpy",
                tuple(notes),
            )
        if eager:
            steps = partial(self._eager_step, p, guide, d, seed)
        else:
            steps = partial(self._step, objective, seed)
        return _stages(self, steps, where, objective, "eager" if eager else "numpy", tuple(notes), progress)

    # -- one step --------------------------------------------------------------------------
    def init_state(self, where: Coordinates) -> State:
        """The state at the starting point."""
        x = np.zeros(where.size)
        return State(0, x, self.optimizer.init(x), self.optimizer.step_size)

    def particles_for(self, objective: Objective) -> int:
        """Draws per step: as many as cost little, at least two where a score needs a baseline."""
        if self.particles is not None:
            return self.particles
        work = max(objective.values.work, 1)
        allowed = int(40_000 // work)
        # An antithetic pair is worth more than twice one draw, up to where arrays cost more than calls.
        least, most = (4, 32) if objective.plan.any_score else (2 if work < 2_000_000 else 1, 32)
        return max(least, min(most, 2 * (allowed // 2)))

    def _step(self, objective: Objective, seed: int, where: Coordinates) -> Callable[[State], tuple[State, Info]]:
        particles = self.particles_for(objective)
        d = objective.derivation
        run = compile_program(objective.gradient(particles, where.values, where.split(np.zeros(where.size))))
        pieces = list(zip(where.slices.values(), where.shapes.values(), strict=True))
        order = [f.name for f in d.factors]
        narrow = d.program.dtype == np.float32
        cache: dict[int, tuple] = {}

        def block(number: int) -> tuple:
            if number not in cache:
                cache.clear()
                rng = noise.generator(seed, number)
                eps = noise.draw(rng, d.factors, BLOCK, particles)
                rows = {n: minibatches(rng, d.plates[n], BLOCK) for n in d.index_inputs}
                rest = [
                    objective.rest_of({n: r[i] for n, r in rows.items()}, {n: eps[n][i] for n in order})
                    for i in range(BLOCK)
                ]
                cache[number] = rest
            return cache[number]

        update = self.optimizer.update

        def step(state: State) -> tuple[State, Info]:
            rest = block(state.step // BLOCK)[state.step % BLOCK]
            x = state.x
            seen = x.astype(np.float32) if narrow else x
            _, bound, *grads = run(*[seen[s].reshape(shape) for s, shape in pieces], *rest)
            g = np.concatenate([h.ravel() for h in grads]) if len(grads) > 1 else np.ravel(grads[0])
            elbo = float(bound)
            # One product tells: a sum with an infinity or NaN in it is not finite.
            if not np.isfinite(g @ g + elbo):
                return state._replace(step=state.step + 1, skipped=state.skipped + 1), Info(elbo, False)
            x, moments = update(-g, state.optimizer, x, state.rate)
            return State(state.step + 1, x, moments, state.rate, state.skipped), Info(elbo, True)

        return step

    def _eager_step(
        self, p: Problem, guide: Any, d: Derivation, seed: int, where: Coordinates
    ) -> Callable[[State], tuple[State, Info]]:
        particles = max(self.particles or 32, 2)
        objective = EagerObjective(p, guide, where.starts)
        jacobian = pull_to_coordinates(where)

        def step(state: State) -> tuple[State, Info]:
            rng = noise.generator(seed, state.step)
            eps = {n: e[0] for n, e in noise.draw(rng, d.factors, 1, particles).items()}
            rows = {n: minibatches(rng, d.plates[n], 1)[0] for n in d.index_inputs}
            bounds, parts = objective.contributions(where.concrete(state.x), rows, eps, particles)
            elbo, g = float(bounds.mean()), jacobian(state.x, {n: x.mean(0) for n, x in parts.items()})
            if not np.isfinite(g @ g + elbo):
                return state._replace(step=state.step + 1, skipped=state.skipped + 1), Info(elbo, False)
            x, moments = self.optimizer.update(-g, state.optimizer, state.x, state.rate)
            return State(state.step + 1, x, moments, state.rate, state.skipped), Info(elbo, True)

        return step


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
def _stages(
    algorithm: BBVI, steps: Callable, where: Coordinates, objective: Objective, executor: str, notes, progress
) -> Solution:
    step, state, start = steps(where), algorithm.init_state(where), where.starts
    history: list[float] = []
    answer: np.ndarray | None = None  # of the stage before, in the coordinates of now
    windows: list[tuple[float, np.ndarray]] = []
    reason, converged, interrupted = f"the limit of {algorithm.steps} steps was reached", False, False
    bar = progress(algorithm.steps) if progress else None
    failed = 0
    try:
        while state.step < algorithm.steps:
            total, elbo, count = np.zeros(where.size), 0.0, 0
            for _ in range(min(WINDOW, algorithm.steps - state.step)):
                with np.errstate(all="ignore"):  # what is not finite is counted, not printed
                    state, info = step(state)
                history.append(info.elbo)
                failed = 0 if info.finite else failed + 1
                if failed > PATIENCE:
                    raise _not_finite(where, _last(answer, windows, state), state.step, history, objective, executor)
                if info.finite:
                    total, elbo, count = total + state.x, elbo + info.elbo, count + 1
                if algorithm.callback is not None and algorithm.callback(state, info) is False:
                    reason = "the callback asked for it"
                    raise StopIteration
            if bar is not None:
                bar.update(history)
            if count:
                windows.append((elbo / count, total / count))
            if not _stationary(windows, algorithm.tolerance):
                continue
            mean = _average(windows)
            # Short runs buy more precision than the tolerance asks for: it costs a tenth of a second.
            share = 8.0 if state.step * algorithm.particles_for(objective) * objective.values.work < SHORT else 2.0
            known = _error(windows, state, where) < algorithm.tolerance / share
            agrees = answer is not None and np.sqrt(np.mean((mean - answer) ** 2)) < algorithm.tolerance
            if agrees and not known:
                continue  # nothing moves any more: only more steps make the average better
            answer, windows, converged = mean, [], agrees
            if converged:
                reason = "two stages at different step sizes gave the same answer"
                break
            rate = max(state.rate / 3.0, 1e-4)
            if where.rescaled(mean):
                where = Coordinates.at(objective.derivation, where.concrete(mean))
                step, answer = steps(where), np.zeros(where.size)
            state = State(state.step, answer, algorithm.optimizer.init(answer), rate, state.skipped)
    except StopIteration:
        pass
    except KeyboardInterrupt:
        reason, interrupted = "interrupted from the keyboard", True
    finally:
        if bar is not None:
            bar.close()
    if state.skipped:
        notes = (*notes, f"{state.skipped} steps were left out because the gradient was not finite")
    values = where.concrete(answer if converged else _last(answer, windows, state))
    if executor == "numpy" and _start_is_better(objective, start, values):
        values = start
        notes = (*notes, "the stochastic steps did not improve on the start, which is kept")
    return Solution(
        values,
        np.array(history),
        reason,
        converged,
        state.step,
        objective.derivation,
        objective.plan,
        executor,
        notes,
        interrupted,
    )


def _start_is_better(objective: Objective, start: dict, values: dict) -> bool:
    """Is the bound at the start higher than at the answer, beyond its error on common draws?

    With many parameters the error of each, though small, adds up in the bound.
    """
    d = objective.derivation
    if d.index_inputs:
        return False
    draws = int(np.clip(2_000_000 // max(objective.values.work, 1), 16, 512))
    eps = {n: e[0] for n, e in noise.draw(noise.generator(0, 0, stream=3), d.factors, 1, draws).items()}
    with np.errstate(all="ignore"):
        before, after = (objective.evaluate(v, {}, eps, draws)[0] for v in (start, values))
    gain = after - before
    if not np.all(np.isfinite(after)):
        return bool(np.all(np.isfinite(before)))
    return bool(gain.mean() < -2.0 * gain.std() / draws**0.5 - 1e-3)


def _last(answer, windows, state) -> np.ndarray:
    """The best there is before a stage has ended."""
    if len(windows) >= 4:
        tail = windows[-max(2, len(windows) // 4) :]
        return np.mean([x for _, x in tail], axis=0)
    return answer if answer is not None else windows[-1][1] if windows else state.x


def _stationary(windows: list[tuple[float, np.ndarray]], tolerance: float) -> bool:
    """Have the bound and the parameters stopped drifting, as far as their noise shows?

    Over the later two thirds of at least eight windows: the bound's slope is within two
    standard errors of zero (or stands for less than a hundredth of a nat), and the two halves
    of the parameters' path differ by no more than their noise (or the tolerance).
    """
    n = len(windows)
    if n < 8 or n % 2:
        return False
    late = windows[n // 3 :]
    y = np.array([e for e, _ in late])
    t = np.arange(len(y)) - (len(y) - 1) / 2.0
    slope = (t @ y) / (t @ t)
    residual = y - y.mean() - slope * t
    error = np.sqrt(residual @ residual / max(len(y) - 2, 1) / (t @ t))
    if slope * len(y) > max(2.0 * error * len(y), 0.01):
        return False
    x = np.array([x for _, x in late])
    half = len(x) // 2
    first, second = x[:half], x[half:]
    drift = np.mean((second.mean(0) - first.mean(0)) ** 2)
    noise = np.mean(first.var(0, ddof=1) / len(first) + second.var(0, ddof=1) / len(second))
    return bool(drift < max(9.0 * noise if drift < 0.25 else 4.0 * noise, tolerance**2))


def _average(windows) -> np.ndarray:
    """Average of the later two thirds of the iterates."""
    return np.mean([x for _, x in windows[len(windows) // 3 :]], axis=0)


def _error(windows, state: State, where: Coordinates) -> float:
    """Standard error of the average, as a root mean square over the coordinates.

    The larger of two estimates: from means of a few long batches, and from the noise of the
    gradient, whose average over T steps displaces an optimum of curvature h by sd / (h sqrt(T)).
    """
    late = np.array([x for _, x in windows[len(windows) // 3 :]])
    batches = np.array([b.mean(0) for b in np.array_split(late, min(5, len(late)))])
    seen = batches.var(0, ddof=1) / len(batches)
    moments = state.optimizer
    if isinstance(moments, Moments) and moments.count:
        noise = moments.second / (1.0 - 0.999**moments.count)
        expected = noise / where.curvature**2 / (len(late) * WINDOW)
        seen = np.maximum(seen, np.where(np.isfinite(expected), expected, 0.0))
    return float(np.sqrt(np.mean(seen)))


def _not_finite(where, last, step, history, objective, executor) -> NumericalError:
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
        f"a gradient that is not finite, {PATIENCE} steps in a row up to step {step}{culprit}",
        "finite log densities where the guide draws",
        "a look at scales that may reach zero, data of extreme size, or log of a negative number in that term",
        state=values,
        history=np.array(history),
    )
