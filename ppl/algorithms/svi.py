"""Stochastic variational inference: closed-form updates on minibatches, natural gradients for the globals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from ..conjugacy import Ascent, Chain, Execution, Recognized, Shard, State, has_states, recognize, record, row_plate
from ..elbo import Problem, minibatches
from ..errors import ConjugacyError, ModelError, NumericalError
from ..model import RowTable
from .closed_form import GUIDE, NO_WEIGHTS, check_latent, family_of, finished, parameters, recognized, values_of_points
from .deterministic import check_executor
from .interrupts import BetweenSteps
from .noise import Stream, generator
from .stages import INTERRUPTED, Solution

PILOT = 20  # sweeps over the first minibatch after which starts are compared
RESTARTS = 4
LARGEST = 4_000_000  # numbers of a local parameter that are kept for all rows
WINDOW = 50  # steps whose bounds are averaged to see whether they still rise


@dataclass(frozen=True)
class SVI:
    """Stochastic variational inference with natural gradients, for models with closed-form updates.

    A step takes a minibatch of the subsampled plate, brings its local latents to their optimum, and moves the
    global natural parameters by `eta <- (1 - rho) eta + rho grad F`, `rho_t = (t + delay)^-kappa`, where F
    counts the minibatch for all rows. That is the natural gradient of the bound. On full plates with kappa = 0
    it is CAVI, exactly. Rows are read when they are used, so data may be larger than the memory.

    Parameters
    ----------
    steps
        how many minibatches to take.
    kappa, delay
        of the step size; kappa in (0.5, 1] for convergence.
    local_sweeps
        sweeps over the local latents of a minibatch, where they depend on each other.
    restarts, init
        as of `ppl.CAVI`; starts are compared on the first minibatch.

    Raises
    ------
    ConjugacyError
        where a term has no closed form, or several plates are subsampled.

    Source: Hoffman, Blei, Wang and Paisley, Stochastic variational inference (2013), section 2.

    >>> import numpy as np, ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0.0, 10.0))
    ...     with ppl.plate("n", len(y), subsample_size=10) as i:
    ...         ppl.sample("y", dist.Normal(mu, 1.0), obs=y[i])
    >>> fit = ppl.infer(model, np.arange(100.0), algorithm=ppl.SVI(steps=300, kappa=1.0), progress=False)
    >>> abs(float(fit["mu"].mean) - 49.5) < 1.0
    True
    """

    steps: int = 1000
    kappa: float = 0.7
    delay: float = 1.0
    local_sweeps: int = 10
    restarts: int | None = None
    init: Any = "auto"

    name = "svi"
    guide = GUIDE

    def __post_init__(self) -> None:
        check_rate(self.kappa, self.delay)

    def run(
        self, p: Problem, guide: Any, *, seed: int = 0, executor: str = "auto", progress: Any = None, **_: Any
    ) -> Solution:
        """Steps over minibatches, then one pass over all rows for the local latents and the bound."""
        check_executor(self.name, executor)
        found = recognized(p, self.name, {})
        check_latent(found, "SVI")
        return stochastic(self, p, found, seed=seed, progress=progress)


def stochastic(
    how: Any, p: Problem, found: Recognized, *, seed: int, progress: Any, points: frozenset[str] = frozenset()
) -> Solution:
    """Steps over minibatches, then one pass over all rows; `how` has the settings of `SVI`.

    Of `points` the natural parameters are averaged like those of the others, and their mode is taken (Cappe and
    Moulines 2009).
    """
    plates = [q for q in found.recorded.plates.values() if q.subsampled]
    if len(plates) > 1:
        names = ", ".join(q.name for q in plates)
        got, hint = f"several subsampled plates: {names}", 'subsample_size in one of them, or algorithm="bbvi"'
        raise ConjugacyError(got, "one, the others at full size", hint, plate=names)
    if plates and plates[0].subsample_size < 2:
        raise ModelError("minibatches of one row", "at least two rows", "subsample_size=100", plate=plates[0].name)
    rows = row_plate(found)
    if plates and rows != plates[0].name:
        raise ConjugacyError(
            f"elements of the subsampled plate '{plates[0].name}' that depend on each other",
            "rows that are independent given the rest",
            'the whole plate, with algorithm="cavi"',
            plate=plates[0].name,
        )
    ascent = Ascent(Execution(found, rows, points))
    stream = Minibatches(ascent, plates[0] if plates else None, seed)
    bar = progress(how.steps) if progress else None
    history: list[float] = []
    state, notes = _start(how, ascent, stream.first(), seed)
    reason, held = f"{how.steps} steps were taken", BetweenSteps()
    try:
        with held.listening():
            for step, batch in zip(range(how.steps), stream, strict=False):
                with held:
                    state = _stepped(how, ascent, state, batch, step, history)
                    if bar is not None:
                        bar.update(history)
    except KeyboardInterrupt:
        reason = INTERRUPTED
    finally:
        if bar is not None:
            bar.close()
    converged, words = _settled(np.array(history))
    whole = Whole(p, ascent, state, stream)
    return finished(
        p,
        found,
        whole.values,
        bound=sum(whole.terms.values()) + sum(whole.entropy.values()),
        terms=whole.terms,
        entropy=whole.entropy,
        history=history,
        gradients=round(len(history) * (plates[0].subsample_size / plates[0].size if plates else 1.0)),
        reason=f"{reason}, and {words}" if reason is not INTERRUPTED else reason,
        converged=converged and reason is not INTERRUPTED,
        notes=notes,
        seed=seed,
        points=points,
        no_weights=NO_WEIGHTS if points else "",
    )


def rate(how: Any, step: int) -> float:
    """rho_t; the first step goes all the way."""
    return 1.0 if step == 0 else float(min(1.0, (step + how.delay) ** -how.kappa))


def check_rate(kappa: float, delay: float) -> None:
    """Step sizes must fall, and not start above one."""
    if not 0.0 <= kappa <= 1.0 or delay < 0.0:
        raise ModelError(
            f"kappa={kappa}, delay={delay}", "kappa from 0 to 1, and delay of 0 or more", "kappa=0.7, delay=1"
        )


def _start(how: Any, ascent: Ascent, batch: list | None, seed: int) -> tuple[State, list[str]]:
    """The best of several starts, compared by sweeps over the first minibatch."""
    init = None if how.init == "auto" else how.init
    own = {n: x.init for n, x in ascent.execution.found.recorded.parameters.items()}
    several = any(has_states(b) for b in ascent.execution.blocks.values()) and init is None
    count = how.restarts if how.restarts is not None else RESTARTS if several else 1
    starts = []
    for number in range(count):
        rng = generator(seed, number, Stream.STARTS)
        nested = ascent.nested and init is None
        first = state = ascent.start(rng, init, number % 2 == 0 and not nested, batch, own)
        if nested and batch is None:
            first = state = ascent.warmed(state)
        for _ in range(PILOT if count > 1 else 0):
            state = ascent.step(replace(state, local=first.local), batch, 1.0, how.local_sweeps)
        starts.append((first, state))
    if count == 1:
        return starts[0][0], []
    bounds = [s.bound if np.isfinite(s.bound) else -np.inf for _, s in starts]
    best = starts[int(np.argmax(bounds))]
    after = f"their bounds are {min(bounds):.2f} to {max(bounds):.2f} after {PILOT} sweeps over the first minibatch"
    return replace(best[1], local=best[0].local), [f"the best of {count} starts: {after}"]


def _stepped(how: Any, ascent: Ascent, state: State, batch: list | None, step: int, history: list[float]) -> State:
    local = state.local
    after = ascent.step(state, batch, rate(how, step) if state.eta else 1.0, how.local_sweeps)
    if not np.isfinite(after.bound):
        raise NumericalError(
            f"a bound that is not finite, in step {step + 1}",
            "updates that are proper distributions",
            "proper priors, or smaller steps by delay=10",
            state=state,
            history=np.array(history),
        )
    history.append(after.bound)
    return replace(after, local=local) if batch is not None else after  # a minibatch begins anew


@dataclass(eq=False)
class Minibatches:
    """Tables of one minibatch after the other; None stands for all rows."""

    ascent: Ascent
    plate: Any
    seed: int

    def __iter__(self) -> Iterator[list | None]:
        number = 0
        while True:
            rng = generator(self.seed, number, Stream.STEPS)
            for rows in minibatches(rng, self.plate, WINDOW) if self.plate is not None else [None] * WINDOW:
                yield self.tables(rows)
            number += 1

    def first(self) -> list | None:
        """The first minibatch."""
        return next(iter(self))

    def tables(self, rows: np.ndarray | None) -> list | None:
        """The tables of some rows."""
        return None if rows is None else self.ascent.shards.tables_of({self.plate.name: rows})


@dataclass(eq=False)
class Whole:
    """One pass over all rows at the end, for the exact bound; local parameters, where they are many, on demand."""

    p: Problem
    ascent: Ascent
    state: State
    stream: Minibatches
    values: dict[str, Any] = field(init=False)
    terms: Mapping[str, float] = field(init=False)
    entropy: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        e, state, plate = self.ascent.execution, self.state, self.stream.plate
        if plate is None:
            self.values = self._values(e.blocks, self.ascent.naturals(state))
            self.terms, self.entropy = state.terms, state.entropy
            return
        share = plate.subsample_size / plate.size
        sums, entropy = {}, dict.fromkeys(e.local, 0.0)
        chains = {n: b for n, b in e.blocks.items() if n in e.local and isinstance(b, Chain)}
        kept: dict[tuple[str, str], list] = {}  # of chains: their parameters are no tables of rows
        for rows in self._cuts():
            part = self._of(rows)
            for k in (k for k in part.natural if k[0] in chains):
                kept.setdefault(k, []).append(part.natural[k])
            sums = {k: part.sums[k] + sums.get(k, 0.0) for k in part.sums}
            for n in e.local:
                entropy[n] += part.entropy[n]
        means = {k: np.asarray(x) for k, x in state.means.items()}
        self.terms = {n: float(x) for n, x in e.terms(means, {k: x * share for k, x in sums.items()}).items()}
        self.entropy = {**{n: state.entropy[n] for n in e.globals}, **entropy}
        own = {n: b for n, b in e.blocks.items() if n not in e.local}
        self.values = self._values(own, {k: np.asarray(x) for k, x in state.eta.items()})
        whole = Shard({}, {}, {}, {k: np.concatenate(parts) for k, parts in kept.items()})
        self.values.update(parameters(chains, self.ascent.locals(whole)))
        for n in e.local:
            self.values.update({} if n in chains else self._tables(n))

    def _values(self, blocks: Mapping[str, Any], natural: Mapping) -> dict[str, np.ndarray]:
        points = self.ascent.execution.points
        return values_of_points(self.p, self.ascent.execution.found, points, natural, {}, blocks)

    def _cuts(self) -> Iterator[np.ndarray]:
        """All rows, in minibatches; an axis of one row at the end would be none."""
        plate = self.stream.plate
        size, left = plate.subsample_size, plate.size % plate.subsample_size
        stop = plate.size - left - (size if left == 1 else 0)
        for start in range(0, stop, size):
            yield np.arange(start, start + size)
        if stop < plate.size:
            yield np.arange(stop, plate.size)

    def _tables(self, n: str) -> dict[str, Any]:
        """The parameters of a local block for all rows: arrays, or tables that compute the rows asked for."""
        plate, b = self.stream.plate, self.ascent.execution.blocks[n]
        family, row = family_of(b), len(b.shape) - b.event_dim + next(p.dim for p in b.plates if p.name == plate.name)
        at = row - sum(i < row for i in family.event)
        out = {}
        for name, x in self._rows(n, np.arange(plate.subsample_size)).items():
            shape = (*x.shape[:at], plate.size, *x.shape[at + 1 :])
            table = RowTable(shape, at, lambda rows, name=name: self._rows(n, rows)[name])
            out[name] = table if prod(shape) > LARGEST else np.asarray(table)
        return out

    def _rows(self, n: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters of a local block for some rows; programs take as many as a minibatch has."""
        plate, b = self.stream.plate, self.ascent.execution.blocks[n]
        size = plate.subsample_size
        used = tuple(replace(p, size=size) if p.name == plate.name else p for p in b.plates)
        at = len(b.shape) - b.event_dim + next(p.dim for p in b.plates if p.name == plate.name)
        at -= sum(i < at for i in family_of(b).event)
        parts: list[dict[str, np.ndarray]] = []
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            natural = self.ascent.locals(self._of(np.resize(some, size)))
            found = parameters({n: replace(b, plates=used)}, natural)
            parts.append({k: x[(slice(None),) * at + (slice(len(some)),)] for k, x in found.items()})
        return {k: np.concatenate([q[k] for q in parts], axis=at) for k in parts[0]}

    def _of(self, rows: np.ndarray) -> Shard:
        """A pass over some rows, each counted once; rows left over at the end have programs of their own size."""
        ascent, weights, plate = self.ascent, self.state.weights, self.stream.plate
        if len(rows) != plate.subsample_size:
            other = recognize(record(self.p.model, self.p.args, self.p.kwargs, {plate.name: len(rows)}))
            ascent = Ascent(Execution(other, plate.name))
            scale = plate.subsample_size / len(rows)
            weights = dict(
                zip(ascent.execution.sums, (weights.get(k, 0.0) for k in self.ascent.execution.sums), strict=True)
            )
            weights = {k: w * scale for k, w in weights.items()}
        local = ascent.default_local(generator(self.stream.seed, 0, Stream.STARTS))
        tables = ascent.shards.tables_of({plate.name: rows})
        batches = lambda: [(slice(0, len(rows)), tables)]
        for _ in range(PILOT if ascent.shards.coupled else 0):
            local = ascent.shards.over(batches(), weights, local).state
        found = ascent.shards.over(batches(), weights, local, keep=True)
        sums = dict(zip(self.ascent.execution.sums, found.sums.values(), strict=True))
        entropy = {n: x / ascent.execution.blocks[n].scale for n, x in found.entropy.items()}
        return Shard(sums, entropy, {}, found.natural)


def _settled(history: np.ndarray) -> tuple[bool, str]:
    """Do the bounds of the last steps still rise above those before, as far as their noise shows?"""
    if len(history) < 2 * WINDOW:
        return False, "too few steps were taken to see whether the bound still rises"
    last, before = history[-WINDOW:], history[-2 * WINDOW : -WINDOW]
    error = np.sqrt((last.var(ddof=1) + before.var(ddof=1)) / WINDOW)
    if last.mean() - before.mean() > 2.0 * error + 1e-9 * abs(last.mean()):
        return False, "the bound still rises"
    return True, "the bounds of the last minibatches rise no more"
