"""The run of a stochastic algorithm: stages at falling step sizes, averaged iterates, an honest stop.

A stage runs at one step size until neither the bound nor the parameters drift any more, as far
as their noise shows; its average is the stage's answer. The run has converged when two stages at
different step sizes agree and the later answer is known well enough: so well that what going on
is predicted to gain is not worth its cost (compare Welandawe et al. 2024).

A stage whose steps run away begins again from its best average, at a third of the step size.

Where a run stands is one frozen record, `Run`: what goes on from it, now or from a file, takes the
steps that it would have taken anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..elbo import Objective
from ..elbo.blame import EXTREME, FAR, refusal
from ..errors import NumericalError
from ..optim import Moments
from . import noise
from .coordinates import Coordinates
from .interrupts import BetweenSteps
from .sampled import Sampled
from .tables import VISITS, Table, each, tables_at

WINDOW = 50  # steps whose averages are kept
SHORT = 20_000_000  # counted cost up to which a run is short
PATIENCE = 25  # steps in a row that may fail to be finite
SHRINK = 3.0  # by how much the step size falls from stage to stage
WORTH = 0.003  # nats that a cost of SHORT must be predicted to gain
FALL = 10.0  # nats below its best, and one more for every coordinate, at which a run is called lost
RESTARTS = 6  # at most
RAN_AWAY = "the steps ran away at a step size of"
AGREED = "two stages at different step sizes gave the same answer"
ASKED = "the callback asked for it"
INTERRUPTED = "interrupted from the keyboard: this is where it stood"


class State(NamedTuple):
    """What a run needs to go on. The tables are those of the run itself: a step changes the rows it uses in place."""

    step: int
    x: np.ndarray
    optimizer: Any
    rate: float
    skipped: int = 0
    tables: Mapping[str, Table] = MappingProxyType({})
    baselines: tuple[np.ndarray, ...] = ()  # states of control variates
    states: Mapping[str, np.ndarray] = MappingProxyType({})  # of `ppl.state`


class Info(NamedTuple):
    """What a step is worth looking at for: the bound's estimate, and whether it was finite.

    In training also the step size, the gradient's norm, the epochs so far, and now and then the bound on
    held-out data; NaN elsewhere.

    >>> Info(-3.0, True, rate=0.001).metrics
    {'elbo': -3.0, 'rate': 0.001}
    """

    elbo: float
    finite: bool
    rate: float = np.nan
    gradient_norm: float = np.nan
    epoch: float = np.nan
    held_out: float = np.nan

    @property
    def metrics(self) -> dict[str, float]:
        """What there is, by name: for a writer that takes a name, a number and a step."""
        return {n: x for n, x in self._asdict().items() if n != "finite" and not np.isnan(x)}


@dataclass(frozen=True)
class Solution:
    """What an algorithm returns to whoever makes a Fit of it."""

    values: dict[str, np.ndarray]
    history: np.ndarray
    stop_reason: str
    converged: bool
    steps: int
    objective: Objective
    executor: str
    notes: tuple[str, ...] = ()
    interrupted: bool = False
    run: Run | None = None  # where it stood, for those who go on from there
    guide: Any = None  # where it is another than the one that was asked for
    bound: float | None = None  # where it is known without draws
    terms: Mapping[str, float] = field(default_factory=dict)  # the terms of that bound, by their text
    no_weights: str = ""  # where draws of the guide are not to be weighed: why
    doubts: tuple[str, ...] = ()  # sentences on the answer that the verdict adds to its warnings
    symmetries: tuple[str, ...] = ()  # what may be behind it where the verdict does not trust the answer
    gradients: int = 0  # of the log joint density at one draw of all rows, evaluated by the algorithm and its pilots
    sampled: Sampled | None = None  # draws in the place of the guide, whose noise they are

    derivation = property(lambda self: self.objective.derivation)
    plan = property(lambda self: self.objective.plan)

    def noting(self, notes: tuple[str, ...], doubts: tuple[str, ...] = ()) -> Solution:
        """The same with notes on what came before, and doubts that this raised."""
        run = self.run and replace(self.run, notes=(*notes, *self.run.notes), doubts=_once(doubts, self.run.doubts))
        return replace(self, notes=(*notes, *self.notes), doubts=_once(doubts, self.doubts), run=run)


def _once(*parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for part in parts for text in part))


@dataclass(frozen=True)
class Settings:
    """What stays the same through a run: `steps(where)` makes the step function of some coordinates."""

    algorithm: Any
    steps: Callable[[Coordinates], Callable[[State], tuple[State, Info]]]
    objective: Objective
    executor: str
    seed: int
    particles: int


class Window(NamedTuple):
    """Averages over some steps."""

    elbo: float
    x: np.ndarray


class Sums(NamedTuple):
    """Sums over the steps of a window that is not full yet; `count` of its `taken` steps were finite."""

    elbo: float = 0.0
    x: Any = 0.0
    count: int = 0
    taken: int = 0

    @property
    def windows(self) -> tuple[Window, ...]:
        """The window that they make, if any."""
        return (Window(self.elbo / self.count, self.x / self.count),) if self.count else ()


class Point(NamedTuple):
    """A place in the coordinates: the vector, and the tables beside it."""

    x: np.ndarray
    tables: dict[str, np.ndarray]

    def distance(self, other: Point) -> float:
        """Root mean square over all coordinates."""
        gaps = [self.x - other.x, *(x - other.tables[n] for n, x in self.tables.items())]
        return float(np.sqrt(sum(np.sum(g * g) for g in gaps) / sum(g.size for g in gaps)))

    def divergence(self, other: Point, where: Coordinates) -> float:
        """The symmetrised Kullback-Leibler divergence between the guides there, to second order, in nats."""
        squares = np.sum(_known_or_one(where.curvature) * (self.x - other.x) ** 2)
        for n, x in self.tables.items():
            squares += _known_or_one(where.curvature_of(n)) * np.sum((x - other.tables[n]) ** 2)
        return float(squares)


@dataclass(frozen=True)
class Run:
    """Where a run stands: all that it needs to go on, and nothing that can be made again.

    `where` are the coordinates of the stage now, `answer` is that of the stage before, in these coordinates.
    """

    where: Coordinates
    state: State
    start: Mapping[str, np.ndarray]  # parameter values before the first step
    windows: tuple[Window, ...] = ()
    sums: Sums = field(default_factory=Sums)
    answer: Point | None = None
    converged: bool = False
    history: np.ndarray = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()  # how it was started
    doubts: tuple[str, ...] = ()  # and what that said against the answer
    trained: bool = False  # without stages (`training.py`): the answer is the best on held-out data, if any
    held_out: tuple[tuple[int, float], ...] = ()  # the bound on held-out data, after some steps
    kept_states: Mapping[str, np.ndarray] | None = None  # states at that answer

    def apart(self) -> Run:
        """The same with arrays of its own, where steps change them in place."""
        state = self.state._replace(tables={n: t.copy() for n, t in self.state.tables.items()})
        if self.trained:
            state = state._replace(x=state.x.copy(), optimizer=each(state.optimizer, np.copy))
        return replace(self, state=state)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Parameter values at the best there is."""
        states = self.state.states if self.kept_states is None else self.kept_states
        return {**self.where.concrete(*self.best), **states}

    @property
    def values_now(self) -> dict[str, np.ndarray]:
        """Parameter values after the last step of training."""
        tables = {n: t.x for n, t in self.state.tables.items()}
        return {**self.where.concrete(self.state.x, tables), **self.state.states}

    @property
    def predicted_gain(self) -> float:
        """Nats that a further stage would win, by how far the last two are apart.

        The average of a stage at step size r is off by C r (Dieuleveut, Durmus and Bach 2020),
        so that of the next, at r / 3, by half of what the two differ by, and that of one more by a sixth.
        Where they differ by a symmetrised divergence D, the bound rises by (1/4 - 1/36) D / 2 = D / 9.
        """
        left = 1.0 / (SHRINK - 1.0)
        gain = 0.5 * (left**2 - (left / SHRINK) ** 2)
        return gain * self.best.divergence(self.answer, self.where)

    @property
    def best(self) -> Point:
        """The best there is."""
        if self.trained:
            return self.answer or Point(self.state.x, {n: t.x for n, t in self.state.tables.items()})
        if self.converged:
            return _mean(self.windows, self.state)
        return _last(self.answer, [*self.windows, *self.sums.windows], self.state)


@dataclass(frozen=True)
class Keep:
    """What to do with a run from time to time: `due()` is asked after every step."""

    due: Callable[[], bool]
    write: Callable[[Run, Settings], None]


def run_stages(settings: Settings, run: Run, progress: Callable | None = None, keep: Keep | None = None) -> Solution:
    """Steps, windows, stages, until the answer stands or the steps are used up.

    A run that has converged already takes its steps in the last stage, whose average they make better.
    """
    algorithm, objective = settings.algorithm, settings.objective
    run, begun = run.apart(), run
    step, held, why = settings.steps(run.where), BetweenSteps(), ""
    bar = progress(algorithm.steps) if progress else None
    try:
        with held.listening():
            while not why:
                run, why = _advance(settings, step, run, held, keep)
                if bar is not None:
                    bar.update(run.history)
                if hopeless(run.history) and (again := _begun_again(settings, run)) is not None:
                    run = again
                elif hopeless(run.history):
                    what = f"a gradient that is not finite, {PATIENCE} steps in a row up to step {run.state.step}"
                    raise refused(run.values, what, run.history, settings)
                if why:
                    break
                if run.sums.taken == WINDOW:
                    before, run = run, _closed(settings, run)
                    if run.where is not before.where:
                        step = settings.steps(run.where)
                    why = AGREED if run.converged and not begun.converged else ""
                elif run.state.step >= algorithm.steps:
                    why = f"the limit of {algorithm.steps} steps was reached"
                if not why and keep is not None and keep.due():
                    with held:
                        keep.write(run, settings)
    except KeyboardInterrupt:
        why = INTERRUPTED
    finally:
        if bar is not None:
            bar.close()
    reason, converged = why, run.converged and run.best.distance(run.answer) < algorithm.tolerance
    if why == AGREED:
        reason = f"{AGREED}, and a further one is predicted to gain {_nats(run.predicted_gain)}"
    elif run.answer is not None and why.startswith("the limit"):
        apart = f"the last two stages differ by {run.best.distance(run.answer):.2g} posterior sds (root mean square)"
        reason = f"{why}; {apart}, and a further one is predicted to gain {_nats(run.predicted_gain)}"
    if begun.converged:
        went = f"the last stage went on for {run.state.step - begun.state.step} steps"
        reason = f"{AGREED}, and {went}" if converged else f"stages agreed, but {went} and left the answer"
        reason += f" ({INTERRUPTED})" if why == INTERRUPTED else ""
    values = run.values
    start, climbs = dict(run.start), settings.executor != "eager" and objective.climbs
    if climbs and _start_is_better(objective, start, values, settings.seed):
        values = start
        reason = f"the start is kept: the stochastic steps, which stopped because {reason}, did not improve on it"
    if why != INTERRUPTED and not all(np.all(np.abs(x) < FAR) for x in values.values()):
        raise refused(values, f"a bound without a maximum at finite places: {reason}", run.history, settings)
    return Solution(
        values,
        run.history,
        reason,
        converged,
        run.state.step,
        objective,
        settings.executor,
        (*run.notes, *left_out(run.state)),
        why == INTERRUPTED,
        run,
        doubts=run.doubts,
        gradients=round(run.state.step * settings.particles * objective.unit * share_of_rows(objective)),
    )


def share_of_rows(objective: Objective) -> float:
    """Which part of all rows a step reads."""
    plates = [q for q in objective.derivation.plates.values() if q.subsampled]
    return float(np.prod([q.subsample_size / q.size for q in plates]))


def left_out(state: State) -> tuple[str, ...]:
    """A note on the steps that were not taken, if there are any."""
    said = f"{state.skipped} steps were left out because the gradient was not finite"
    return (said,) if state.skipped else ()


def _advance(settings: Settings, step: Callable, run: Run, held: BetweenSteps, keep: Keep | None) -> tuple[Run, str]:
    """Steps to the end of the window, or of all, or until the run is to be kept; and why it ends here, if it does."""
    algorithm, state, (elbo, total, count, taken), history, why = settings.algorithm, run.state, run.sums, [], ""
    try:
        portion = min(WINDOW - taken, algorithm.steps - state.step)
        if hasattr(step, "several") and algorithm.callback is None and portion > 0:
            with held:
                state, history, finite, x, _ = step.several(state, portion)
                taken, count = taken + portion, count + int(np.sum(finite))
                total, elbo = total + x, elbo + float(np.sum(history[finite]))
        while taken < WINDOW and state.step < algorithm.steps:
            with held:
                with np.errstate(all="ignore"):  # what is not finite is counted, not printed
                    state, info = step(state)
                history.append(info.elbo)
                taken += 1
                if info.finite:
                    total, elbo, count = total + state.x, elbo + info.elbo, count + 1
            if algorithm.callback is not None and algorithm.callback(state, info) is False:
                why = ASKED
                break
            if keep is not None and keep.due():
                break
    except KeyboardInterrupt:
        why = INTERRUPTED
    history = np.concatenate([run.history, history])
    return replace(run, state=state, sums=Sums(elbo, total, count, taken), history=history), why


def _closed(settings: Settings, run: Run) -> Run:
    """The run with its full window closed, and in the next stage where that ended this one."""
    if not run.converged and (again := _begun_again(settings, run)) is not None:
        return again
    run = replace(run, windows=(*run.windows, *run.sums.windows), sums=Sums())
    algorithm, windows, state, where = settings.algorithm, run.windows, run.state, run.where
    if run.converged or not _stationary(windows, algorithm.tolerance) or not _seen_enough(state, windows):
        return run
    mean = _mean(windows, state)
    if run.answer is not None and mean.distance(run.answer) < algorithm.tolerance:
        # Nothing moves any more: only more steps make the average better.
        return replace(run, converged=_known(settings, run))
    d, answer = settings.objective.derivation, mean
    if where.rescaled(*mean):
        where = Coordinates.at(d, where.concrete(*mean), tables=bool(where.tables))
        answer = _origin(where)
    tables = tables_at(where, d, algorithm.optimizer, answer.tables)
    moments = algorithm.optimizer.init(answer.x)
    state = State(state.step, answer.x, moments, state.rate / SHRINK, state.skipped, tables, state.baselines)
    return replace(run, where=where, state=state, windows=(), answer=answer)


def hopeless(history: np.ndarray) -> bool:
    """Were the last steps all without a finite bound?"""
    return len(history) >= PATIENCE and not np.any(np.isfinite(history[-PATIENCE:]))


def _known(settings: Settings, run: Run) -> bool:
    """Is the stage's answer known so well that going on is not worth it?

    As many steps again halve the squared error of an average. A short run buys more precision than was
    asked for, as long as these nats, and those of a further stage, are worth the steps.
    """
    tolerance, each = settings.algorithm.tolerance, settings.particles * settings.objective.values.work
    error = _error(run.windows, run.state, run.where, settings.algorithm.optimizer)
    if error >= tolerance / 2.0:
        return False
    curvature = np.sum(_known_or_one(run.where.curvature))
    gain = run.predicted_gain + 0.25 * curvature * error**2
    worth = gain > WORTH * len(run.windows) * WINDOW * each / SHORT
    return error < tolerance / 8.0 or run.state.step * each >= SHORT or not worth


def _known_or_one(curvature: Any) -> Any:
    return np.where(np.isnan(curvature), 1.0, curvature)


def _nats(gain: float) -> str:
    return "less than 0.001 nats" if gain < 5e-4 else f"{gain:.1g} nats"


def _begun_again(settings: Settings, run: Run) -> Run | None:
    """The stage from its best average at a third of the step size, where its steps ran away; None where not.

    They did where the bound, as a median over a window, falls by more than a nat for every coordinate,
    and than ten times its spread, or where most steps are not finite any more.
    """
    rows, d = len(run.windows), settings.objective.derivation
    begun = rows * WINDOW + run.sums.taken
    if sum(n.startswith(RAN_AWAY) for n in run.notes) >= RESTARTS or not begun:
        return None
    stage = run.history[-begun:]
    ends = [(k * WINDOW, (k + 1) * WINDOW) for k in range(rows)]
    origin = run.answer or _origin(run.where)
    points = [Point(w.x, {n: t.mean for n, t in run.state.tables.items()}) for w in run.windows]
    if not d.index_inputs and not settings.objective.plan.any_score:  # elsewhere one step's bound says little
        ends, points = [(0, 1), *ends], [origin, *points]
    parts = [(stage[a:b][np.isfinite(stage[a:b])], p) for (a, b), p in zip(ends, points, strict=True)]
    levels = [(float(np.median(part)), part, p) for part, p in parts if len(part)]
    if not levels:
        return None
    level, part, point = max(levels, key=lambda found: found[0])
    now = stage[rows * WINDOW :]
    finite = now[np.isfinite(now)]
    far = FALL + run.where.size + sum(t.x.size for t in run.state.tables.values())
    far = max(far, 10.0 * float(np.subtract(*np.percentile(part, [75, 25]))))
    if 2 * min(run.sums.count, len(finite)) <= len(now):
        why = f"{1.0 - run.sums.count / len(now):.0%} of the last {len(now)} were not finite"
    elif level - np.median(finite) > far:
        why = f"the bound fell from {level:.4g} to {np.median(finite):.4g}"
    else:
        return None
    rate, optimizer = run.state.rate, settings.algorithm.optimizer
    note = f"{RAN_AWAY} {rate:.3g}, {why}: begun again from the best average, at {rate / SHRINK:.3g}"
    tables = tables_at(run.where, d, optimizer, point.tables)
    moments = optimizer.init(point.x)
    state = State(run.state.step, point.x, moments, rate / SHRINK, run.state.skipped, tables)
    return replace(run, state=state, windows=(), sums=Sums(), notes=(*run.notes, note))


def _start_is_better(objective: Objective, start: dict, values: dict, seed: int) -> bool:
    """Is the bound at the start higher than at the answer, beyond its error on common draws?

    With many parameters the error of each, though small, adds up in the bound. Where the steps ran
    away, a few draws lose so much that the mean's error is as large as the mean: there the median tells.
    """
    d = objective.derivation
    if d.index_inputs:
        return False
    draws = int(np.clip(2_000_000 // max(objective.values.work, 1), 16, 512))
    eps = {
        n: e[0] for n, e in noise.draw(noise.generator(seed, 0, noise.Stream.COMPARISON), d.factors, 1, draws).items()
    }
    with np.errstate(all="ignore"):
        before, after = (objective.evaluate(v, {}, eps, draws)[0] for v in (start, values))
    gain = after - before
    if not np.all(np.isfinite(after)):
        return bool(np.all(np.isfinite(before)))
    ran_away = gain.mean() < 0 and np.median(gain) < -1.0
    return bool(ran_away or gain.mean() < -2.0 * gain.std() / draws**0.5 - 1e-3)


def _origin(where: Coordinates) -> Point:
    return Point(np.zeros(where.size), {n: np.zeros(where.table_shape(n)) for n in where.tables})


def _mean(windows: Sequence[Window], state: State) -> Point:
    """The answer of a stage: averages of its iterates."""
    return Point(_average(windows), {n: t.mean for n, t in state.tables.items()})


def _last(answer: Point | None, windows: Sequence[Window], state: State) -> Point:
    """The best there is before a stage has ended."""
    tables = {n: t.mean for n, t in state.tables.items()}
    if len(windows) >= 4:
        tail = windows[-max(2, len(windows) // 4) :]
        return Point(np.mean([x for _, x in tail], axis=0), tables)
    return answer if answer is not None else Point(windows[-1].x if windows else state.x, tables)


def _stationary(windows: Sequence[Window], tolerance: float) -> bool:
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
    if not x.size:  # all parameters have rows, which the agreement of stages looks at
        return True
    half = len(x) // 2
    first, second = x[:half], x[half:]
    drift = np.mean((second.mean(0) - first.mean(0)) ** 2)
    noise = np.mean(first.var(0, ddof=1) / len(first) + second.var(0, ddof=1) / len(second))
    return bool(drift < max(9.0 * noise if drift < 0.25 else 4.0 * noise, tolerance**2))


def _seen_enough(state: State, windows: Sequence[Window]) -> bool:
    """Have the steps of this stage come by the rows of every table often enough?"""
    return all(len(windows) * WINDOW >= VISITS * t.scale for t in state.tables.values())


def _average(windows) -> np.ndarray:
    """Average of the later two thirds of the iterates."""
    return np.mean([x for _, x in windows[len(windows) // 3 :]], axis=0)


def _error(windows, state: State, where: Coordinates, optimizer: Any) -> float:
    """Standard error of the average, as a root mean square over the coordinates.

    The larger of two estimates: from means of a few long batches, and from the noise of the
    gradient, whose average over T steps displaces an optimum of curvature h by sd / (h sqrt(T)).
    """
    late = np.array([x for _, x in windows[len(windows) // 3 :]])
    batches = np.array([b.mean(0) for b in np.array_split(late, min(5, len(late)))])
    seen = batches.var(0, ddof=1) / len(batches)
    moments, squares = state.optimizer, []
    if isinstance(moments, Moments) and moments.count:
        noise = moments.second / (1.0 - optimizer.b2**moments.count)
        expected = noise / where.curvature**2 / (len(late) * WINDOW)
        seen = np.maximum(seen, np.where(np.isfinite(expected), expected, 0.0))
        squares = [t.squared_error(where.curvature_of(n), optimizer.b2) for n, t in state.tables.items()]
        squares = [np.where(np.isnan(s), 0.0, s) for s in squares]
    elif state.tables:
        return np.inf  # such an optimizer does not say how noisy the rows' gradients are
    squares.append(seen)
    return float(np.sqrt(sum(np.sum(s) for s in squares) / sum(s.size for s in squares)))


def refused(values: Mapping[str, np.ndarray], what: str, history: np.ndarray, settings: Settings) -> NumericalError:
    """The error that a run ends with at these values."""
    objective = settings.objective
    if settings.executor == "eager":
        expected = "finite log densities where the guide draws"
        return NumericalError(what, expected, EXTREME, state=values, history=history)
    d = objective.derivation
    eps = noise.draw(noise.generator(settings.seed, 0, noise.Stream.COMPARISON), d.factors, 1, 64)
    rows = {n: np.arange(d.plates[n].subsample_size) for n in d.index_inputs}
    return refusal(objective, values, rows, {k: v[0] for k, v in eps.items()}, what=what, history=history)
