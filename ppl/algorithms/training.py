"""Training at length: epochs of minibatches, at a step size that is given, until they are done or nothing is gained.

    shuffled rows + noise --one program--> bound, slopes, states --optimizer, in the cache--> the next state

Networks are trained so, and whatever has a schedule, epochs or held-out data: no stages, no coordinates in
posterior standard deviations. The vector is in the program's own dtype, and a step changes it in place.
Where a run stands is a `Run`, as in stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..array import Program, Tape, compile_program, paused_collector, program_of, prune, pull_through
from ..array.batching import Batched, run_batched
from ..array.operations import TRANSPARENT
from ..array.program import run as run_program
from ..array.recording import call_recording
from ..elbo import Derivation, Objective, Problem, choose, derive, problem, weight_at
from ..errors import DataError
from ..model import rows_in_use
from ..optim import rate_at
from . import noise
from .coordinates import Coordinates
from .evaluate import evaluate
from .interrupts import BetweenSteps
from .stages import (
    ASKED,
    INTERRUPTED,
    PATIENCE,
    WINDOW,
    Info,
    Keep,
    Point,
    Run,
    Settings,
    Solution,
    State,
    hopeless,
    left_out,
    refused,
    share_of_rows,
)

BLOCK = 50  # steps whose noise is drawn at once, at most
NUMBERS = 4_000_000  # and how many numbers that may be
CACHE = 16_384  # coordinates that are updated at once: their moments stay in the cache
LEAST = 40  # windows from which on a run may be said to rise no more
SLIGHT = 1e-3  # a rise, as a share of the bound, that is not worth as many steps again


# -- one step ------------------------------------------------------------------------------------------
@paused_collector()
def training_step(
    algorithm: Any, objective: Objective, seed: int, where: Coordinates
) -> Callable[[State], tuple[State, Info]]:
    """The step function: it changes the vector, the optimizer's state and the tables in place."""
    d, particles = objective.derivation, algorithm.particles_for(objective)
    states = d.states_kept
    run = compile_program(step_program(objective, particles, where, states))
    inputs_of = Inputs(objective, particles, seed)
    shapes, beside, schedules = list(where.shapes.values()), where.tables, algorithm.weights or {}
    blocks = list(_blocks([int(np.prod(s, dtype=np.int64)) for s in shapes]))
    optimizer, clip, per_epoch = algorithm.optimizer, algorithm.clip, steps_per_epoch(d.plates)

    def step(state: State) -> tuple[State, Info]:
        used, rest = inputs_of(state.step)
        inputs = where.split(state.x)
        if beside:
            inputs += [d.narrowed(state.tables[n].rows(used)) for n in beside]
            inputs += [d.narrowed(d.rows_of(n, where.starts[n], used)) for n in beside]
        inputs += [state.states[n] for n in states]
        weights = [weight_at(schedules[site], state.step, site) for site in objective.weighted]
        bound, *more = run(*inputs, *rest, *weights, *state.baselines)
        slopes, more = more[: len(shapes)], more[len(shapes) :]
        of_tables, more = more[: len(beside)], more[len(beside) :]
        updated, kept = more[: len(d.updates)], more[len(d.updates) :]
        slopes = [np.ravel(g) for g in slopes]
        elbo, norm = float(bound), float(sum(g @ g for g in slopes)) ** 0.5
        rate = rate_at(optimizer, state.step)
        info = Info(elbo, bool(np.isfinite(norm + elbo + sum(np.sum(g) for g in of_tables))), rate, norm)
        info = info._replace(epoch=(state.step + 1) / per_epoch)
        state = state._replace(step=state.step + 1, rate=rate)
        if not info.finite:
            return state._replace(skipped=state.skipped + 1), info
        factor = 1.0 if clip is None or norm <= clip else clip / norm
        moments = _descend(optimizer, state, slopes, blocks, rate, factor)
        for n, g in zip(beside, of_tables, strict=True):
            state.tables[n].update(optimizer, g * factor, used, rate)
        states_now = {**state.states, **dict(zip(d.updates, map(np.asarray, updated), strict=True))}
        return state._replace(optimizer=moments, states=states_now, baselines=tuple(kept)), info

    return step


@paused_collector()
def step_program(objective: Objective, particles: int, where: Coordinates, states: Sequence[str]) -> Program:
    """Coordinates one by one, rows of tables, states, and the rest -> bound, slopes of minus it, states, baselines."""
    d = objective.derivation
    tape = Tape(dtype=d.program.dtype)
    pieces = [tape.input(np.zeros(shape), n) for n, shape in where.shapes.items()]
    rows = {n: np.arange(d.plates[n].subsample_size) for n in d.index_inputs}
    raw = [rows_in_use(np.broadcast_to(0.0, where.table_shape(n)), d.parameters[n].rows, rows) for n in where.tables]
    beside = [tape.input(x, n) for n, x in zip(where.tables, raw, strict=True)]
    starts = [tape.input(d.rows_of(n, where.starts[n], rows), n) for n in where.tables]
    kept = {n: tape.input(d.parameters[n].init, n) for n in states}
    values = {**where.values(*pieces, *beside, *starts), **kept}
    inputs, particles, baselines = objective.inputs_and_states(tape, [values[n] for n in d.parameter_inputs], particles)
    scalar, bound, baselines = objective.on_tape(inputs, particles, baselines)
    slopes = pull_through(tape, -1.0 * scalar, [*pieces, *beside])
    updates = _updates(d, inputs, particles * objective.unit)
    return program_of(tape, [bound, *slopes, *updates, *baselines], TRANSPARENT)


def _updates(d: Derivation, inputs: Sequence[Any], draws: int) -> list:
    """What the states are after the step: the mean over the draws."""
    if not d.updates:
        return []
    program = prune(d.program, tuple(d.program.outputs[i] for i in d.updates.values()))
    own = inputs[: len(d.program.inputs)]
    if draws == 1:
        alone = [x.x[0] if isinstance(x, Batched) else x for x in own]
        return list(run_program(program, *alone, call=call_recording))
    found = run_batched(program, own, draws)
    return [np.mean(x.x, axis=0) if isinstance(x, Batched) else x for x in found]


class Inputs:
    """Rows in use and the other inputs of every step: a function of the seed and the step alone."""

    def __init__(self, objective: Objective, particles: int, seed: int):
        self.objective, self.draws, self.seed = objective, particles * objective.unit, seed
        d = objective.derivation
        numbers = self.draws * sum(int(np.prod(f.noise_shape, dtype=np.int64)) for f in d.factors)
        self.size = int(np.clip(NUMBERS // max(numbers, 1), 1, BLOCK))
        self.orders: dict[str, tuple[int, np.ndarray]] = {}
        self.number, self.block = -1, []

    def __call__(self, step: int) -> tuple[dict[str, np.ndarray], list]:
        number, k = divmod(step, self.size)
        if number != self.number:
            self.number, self.block = number, self._drawn(number)
        rows, rest = self.block
        return {n: r[k] for n, r in rows.items()}, [x[k] for x in rest]

    def _drawn(self, number: int) -> tuple[dict[str, np.ndarray], list]:
        o, d = self.objective, self.objective.derivation
        rng = noise.generator(self.seed, number, noise.Stream.STEPS)
        eps = noise.draw(rng, d.factors, self.size, self.draws, o.independent, o.mirrored)
        steps = range(number * self.size, (number + 1) * self.size)
        rows = {n: np.stack([self.rows(n, t) for t in steps]) for n in d.index_inputs}
        return rows, o.rest_of(rows, eps)

    def rows(self, plate: str, step: int) -> np.ndarray:
        """The rows of a step: each epoch goes through all rows in an order of its own, what is left over waits."""
        frame = self.objective.derivation.plates[plate]
        epoch, k = divmod(step, frame.size // frame.subsample_size)
        if self.orders.get(plate, (-1,))[0] != epoch:
            names = list(self.objective.derivation.index_inputs)
            rng = noise.generator(self.seed, epoch * len(names) + names.index(plate), noise.Stream.EPOCHS)
            self.orders[plate] = epoch, rng.permutation(frame.size)
        return self.orders[plate][1][k * frame.subsample_size : (k + 1) * frame.subsample_size]


def steps_per_epoch(plates: Mapping[str, Any]) -> int:
    """Steps in which every row of the data has been used once, as far as whole batches go; 1 without minibatches."""
    return max((p.size // p.subsample_size for p in plates.values()), default=1)


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[slice, list[int], slice]]:
    """(place in the vector, pieces, place in these): large pieces in parts, small ones together."""
    end, small, begun = 0, [], 0
    for i, size in enumerate(sizes):
        if small and (size >= CACHE or end + size - begun > CACHE):
            yield slice(begun, end), small, slice(None)
            small = []
        if size >= CACHE:
            for a in range(0, size, CACHE):
                yield slice(end + a, end + min(a + CACHE, size)), [i], slice(a, min(a + CACHE, size))
        else:
            begun, small = begun if small else end, [*small, i]
        end += size
    if small:
        yield slice(begun, end), small, slice(None)


def _descend(
    optimizer: Any, state: State, slopes: Sequence[np.ndarray], blocks: Sequence[tuple], rate: float, factor: float
) -> Any:
    """The optimizer's step, block by block; its next state, whose arrays are those that it had."""
    x, moments = state.x, state.optimizer
    names = [n for n, m in zip(moments._fields, moments, strict=True) if np.ndim(m)] if moments else []
    scratch = np.empty(CACHE, x.dtype) if hasattr(optimizer, "update_in_place") else None
    new: Any = moments
    for place, pieces, part in blocks:
        g = slopes[pieces[0]][part] if len(pieces) == 1 else np.concatenate([slopes[i] for i in pieces])
        g = g if factor == 1.0 else g * factor
        own = moments and moments._replace(**{n: getattr(moments, n)[place] for n in names})
        if scratch is not None:
            new = moments._replace(count=optimizer.update_in_place(g, own, x[place], rate, scratch[: g.size]))
            continue
        x[place], new = optimizer.update(g, own, x[place], rate)
        for n in names:
            getattr(moments, n)[place] = getattr(new, n)
    return new and new._replace(**{n: getattr(moments, n) for n in names})


# -- the run -------------------------------------------------------------------------------------------
def run_training(
    settings: Settings, run: Run, held_out: HeldOut | None, progress: Callable | None = None, keep: Keep | None = None
) -> Solution:
    """Steps until they are done, nothing is gained any more, or the held-out bound has stopped rising."""
    algorithm, plates = settings.algorithm, settings.objective.derivation.plates
    steps, per_epoch = algorithm.steps_for(plates), steps_per_epoch(plates)
    every = algorithm.evaluate_every or (per_epoch if per_epoch > 1 else 100)
    run, step = run.apart(), settings.steps(run.where)
    held, why = BetweenSteps(), ""
    bar = progress(steps) if progress else None
    try:
        with held.listening():
            while not why:
                to_evaluation = every - run.state.step % every if held_out else WINDOW
                count = min(WINDOW - run.state.step % WINDOW, to_evaluation, steps - run.state.step)
                looks = held_out if count == to_evaluation else None
                run, why = _advance(algorithm, step, run, held, keep, count, looks)
                if bar is not None:
                    bar.update(run.history)
                if hopeless(run.history):
                    what = f"a gradient that is not finite, {PATIENCE} steps in a row up to step {run.state.step}"
                    raise refused(run.values, what, run.history, settings)
                why = why or _over(algorithm, run, steps, per_epoch)
                if not why and keep is not None and keep.due():
                    with held:
                        keep.write(run, settings)
    except KeyboardInterrupt:
        why = INTERRUPTED
    finally:
        if bar is not None:
            bar.close()
    settled, rise = _risen(run.history)
    run = replace(run, converged=why != INTERRUPTED and (settled or why.startswith(STOPPED)))
    asked = why.startswith("the ") and not run.converged and np.isfinite(rise)
    said = f"{why}, and in the second half of them the bound still rose by {rise:.3g} nats" if asked else why
    return Solution(
        run.values,
        run.history,
        said,
        run.converged,
        run.state.step,
        settings.objective,
        settings.executor,
        (*run.notes, *left_out(run.state)),
        why == INTERRUPTED,
        run,
        doubts=run.doubts,
        gradients=round(run.state.step * settings.particles * share_of_rows(settings.objective)),
    )


def _advance(
    algorithm: Any, step: Callable, run: Run, held: BetweenSteps, keep: Keep | None, count: int, held_out: Any
) -> tuple[Run, str]:
    """So many steps, after the last of which the held-out bound is looked at; and why the run ends here, if it does."""
    state, history, found, why = run.state, [], run, ""
    try:
        if hasattr(step, "several") and algorithm.callback is None:
            with held:
                state, history, *_ = step.several(state, count)
                if held_out is not None:
                    found, _ = _looked_at(algorithm, replace(run, state=state), Info(history[-1], True), held_out)
                count = 0
        for _ in range(count):
            with held:
                with np.errstate(all="ignore"):  # what is not finite is counted, not printed
                    state, info = step(state)
                history.append(info.elbo)
                if held_out is not None and len(history) == count:
                    found, info = _looked_at(algorithm, replace(run, state=state), info, held_out)
            if algorithm.callback is not None and algorithm.callback(state, info) is False:
                why = ASKED
                break
            if keep is not None and keep.due():
                break
    except KeyboardInterrupt:
        why = INTERRUPTED
    return replace(found, state=state, history=np.concatenate([run.history, history])), why


def _looked_at(algorithm: Any, run: Run, info: Info, held_out: HeldOut) -> tuple[Run, Info]:
    """The run and what its step is worth looking at for, with the bound on held-out data; the best is kept."""
    value = held_out(run.values_now)
    best = max((v for _, v in run.held_out), default=-np.inf)
    run, state = replace(run, held_out=(*run.held_out, (run.state.step, value))), run.state
    if algorithm.patience is not None and value > best:
        point = Point(state.x.copy(), {n: t.x.copy() for n, t in state.tables.items()})
        run = replace(run, answer=point, kept_states=dict(state.states))
    return run, info._replace(held_out=value)


STOPPED = "the bound on held-out data"
RISEN = "the bound has stopped rising"


def _over(algorithm: Any, run: Run, steps: int, per_epoch: int) -> str:
    """Why the run ends here, if it does."""
    if algorithm.patience is not None and run.held_out:
        values = [v for _, v in run.held_out]
        best = int(np.argmax(values))
        if len(values) - 1 - best >= algorithm.patience:
            at = run.held_out[best][0]
            return f"{STOPPED} has not risen in {algorithm.patience} evaluations: the parameters are those of step {at}"
    if run.state.step >= steps:
        return f"the {steps} steps that were asked for are done"
    at_window = run.state.step % WINDOW == 0 and algorithm.epochs is None
    if at_window and run.state.step >= 3 * per_epoch and _risen(run.history)[0]:
        return f"{RISEN} within its noise"
    return ""


def _risen(history: np.ndarray) -> tuple[bool, float]:
    """Has the bound stopped rising; and by how much it rose in the second half of the run.

    Over the second half, in means of windows: the slope is within two standard errors of zero, or stands for a
    thousandth of the bound.
    """
    n = len(history) // WINDOW
    rows = history[: n * WINDOW].reshape(n, WINDOW)[n // 2 :]
    late = np.array([w[np.isfinite(w)].mean() for w in rows if np.isfinite(w).any()])
    if len(late) < 3:
        return False, np.nan
    t = np.arange(len(late)) - (len(late) - 1) / 2.0
    slope = (t @ late) / (t @ t)
    residual = late - late.mean() - slope * t
    error = np.sqrt(residual @ residual / (len(late) - 2) / (t @ t))
    rise = slope * len(late)
    if n < LEAST:
        return False, rise
    return bool(rise < max(2.0 * error * len(late), SLIGHT * abs(late[-1]))), rise


# -- held-out data -------------------------------------------------------------------------------------
class HeldOut:
    """The bound on data that the steps never see, at some parameter values."""

    def __init__(self, p: Problem, guide: Any, d: Derivation, held_out: Any, seed: int):
        args, kwargs = _arguments(held_out)
        self.problem = replace(problem(p.model, args, kwargs, seed=seed, other=True), dtype=p.dtype)
        own = derive(self.problem, guide, seed=seed)
        for name, x in own.parameters.items():
            if x.rows or name not in d.parameters or d.parameters[name].init.shape != x.init.shape:
                raise DataError(
                    f"held_out= data with a parameter '{name}' of shape {x.init.shape} of their own",
                    "parameters that are learned from the other data",
                    'guide="amortized", or a network as guide= in place',
                )
        self.guide, self.seed = guide, seed
        self.objective = Objective(own, choose(own))
        self.names = tuple(own.parameters)

    def __call__(self, values: Mapping[str, np.ndarray]) -> float:
        own = {n: values[n] for n in self.names}
        return evaluate(self.problem, self.guide, self.objective, own, executor="numpy", seed=self.seed, most=1).elbo


def _arguments(held_out: Any) -> tuple[tuple, dict]:
    fits = isinstance(held_out, tuple) and len(held_out) == 2 and isinstance(held_out[0], tuple)
    if not fits or not isinstance(held_out[1], dict):
        raise DataError(
            f"held_out={type(held_out).__name__}",
            "the arguments (args, kwargs) of the model on held-out data",
            "held_out=((test_images,), {})",
        )
    return held_out
