"""Importance ratios of the guide's draws, with every plate element's own draws averaged out.

    log w(theta) = sum of global terms + sum over elements n of log mean_k [p(z_nk, y_n | theta) / q(z_nk | theta)]

The ratio of a thousand local latents has a heavy tail even where every one of them is fitted well;
averaged element by element it says what matters for the global latents, and each element has a ratio
of its own. Which rows of a term belong to which element is read off the program: the noise of half the
elements is changed, and the rows that change with it are theirs.

Draws of the guide alone cannot show what lies beyond its reach. So half as many wide draws stand beside
them (`wide.py`), all weighed against the mixture that they come from, and the points at which an
element's latents are averaged out are placed where its posterior is, not where the guide has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from scipy import special
from scipy.linalg import solve_triangular

from ..algorithms import Solution, noise
from ..array import Program, Ref, batch, compile_program, prune, reachable, refs
from ..elbo import Derivation, FactorFacts, Problem, derive
from .correlated import NONE, Correlated, as_correlated
from .draws import draws_at
from .psis import Smoothed, smooth
from .wide import log_cauchy, log_normal, with_wide

DRAWS = 2000  # of the global latents, and half as many wide ones
NODES, MOST_NODES = 32, 256  # of every element's latents, for each of these
NODE_WORK = 200_000_000  # counted cost up to which there are more nodes than the fewest
SETS = 8  # of nodes, each for a part of the draws, so that what one set misses averages out
QUIET = 0.1  # nats by which two sets of nodes may differ, for them to be used side by side
WORK = 1_000_000_000  # counted cost of all ratios
CHUNK_WORK = 2_000_000
PILOTS, PILOT_NODES = 4, 64  # global draws at which, and nodes by which an element's posterior is looked for
SHIFT, STRETCH = 0.15, 1.2  # in means, by sds, and in sds: what moments may differ by and still be good
FAIR = 0.7  # k-hat up to which smoothed averages settle
ENOUGH = 200  # draws that weighted ones must be worth, for means within 0.07 posterior sds
ERRORS = 4.0  # standard errors beyond which a difference is one
FEWEST_DRAWS = 200
BLOCKS = 8  # of draws, each with nodes of its own, that an estimate of the evidence comes from
ROWS = 200_000  # of subsampled plates, all together, up to which draws are weighed by all of them
ELEMENTS = 2000  # of a plate whose k-hats are looked at, evenly spread
EXACT = "every latent site is summed out, so that nothing is left to weigh"
SHOWN = 10_000_000  # numbers that the draws of a site may be, for its moments to be looked at


@dataclass(frozen=True)
class Group:
    """Latents whose elements are independent of each other given the rest, and the terms that read them.

    `units[i]` gives the element of every row of the i-th term.
    """

    plate: str
    size: int
    factors: tuple[FactorFacts, ...]
    terms: tuple[int, ...]
    units: tuple[np.ndarray, ...]

    @property
    def dimension(self) -> int:
        """How many coordinates of noise an element has."""
        return sum(prod(f.noise_shape) // self.size for f in self.factors)


@dataclass(frozen=True)
class Ratios:
    """Log ratios of joint draws: of the global latents (S,), and of the elements of each plate (S, N).

    `mixed` are those of the same draws and W wide ones (S + W,), each against the mixture of both kinds.
    `draws` gives these draws, those of the elements being drawn anew by their own weights.
    """

    log_ratios: np.ndarray
    elements: dict[str, np.ndarray]
    mixed: np.ndarray
    noise: dict[str, np.ndarray]
    seed: int
    derivation: Derivation
    values: Mapping[str, np.ndarray]
    correlated: Correlated

    @cached_property
    def smoothed(self) -> Smoothed:
        """Weights of the guide's global draws; k-hat is theirs."""
        return _smoothed(self.log_ratios)

    @cached_property
    def mixture(self) -> Smoothed:
        """Weights of all draws, wide ones among them: what summaries are corrected by."""
        return _smoothed(self.mixed)

    @property
    def sound(self) -> bool:
        """Do the weights settle, and are they worth enough draws, to say what the posterior's moments are?"""
        return self.mixture.k_hat < FAIR and self.mixture.effective_draws >= ENOUGH

    @property
    def clear(self) -> bool:
        """Is k-hat below 0.7, and do the weights of wide draws settle so well that moments which agree are right?"""
        mixture = self.mixture
        return self.smoothed.k_hat < FAIR and mixture.k_hat < 0.5 and mixture.effective_draws > len(self.mixed) / 3.0

    @property
    def discrete(self) -> tuple[str, ...]:
        """Sites of finitely many states, where the guide's draws take so few that the weights have no tail."""
        if not _few(self.log_ratios):
            return ()
        d = self.derivation
        drawn = [n for f in d.factors for n in f.sites if n in d.site_outputs]
        return tuple(n for n in drawn if _signature(d, d.site_outputs[n])[1].kind in "iub")

    @cached_property
    def element_k_hats(self) -> dict[str, np.ndarray]:
        """k-hat of every element, of evenly spread ones where they are many."""
        found = {}
        for plate, ratios in self.elements.items():
            kept = np.unique(np.linspace(0, ratios.shape[1] - 1, ELEMENTS).astype(int))
            found[plate] = np.array([smooth(ratios[:, n]).k_hat for n in kept])
        return found

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """The draws that the ratios belong to: {site or deterministic: (S, ...)}."""
        d = self.derivation
        return draws_at(d, self.values, self.noise, d.results, len(self.mixed), self.seed)

    @cached_property
    def moved(self) -> dict[str, tuple[float, float]]:
        """Sites whose moments the weights change: {site: (shift of the mean in sds, guide's sd by the weighted one)}.

        The guide's are those of its own draws. A site is named where, for some element of it, the shift is
        beyond `SHIFT` or the ratio beyond `STRETCH`, each by more than four standard errors; its figures are
        the largest.
        """
        d, found = self.derivation, {}
        size = len(self.mixed)
        # What was summed out moves with the rest only: of rare states the draws say little.
        summed = () if d.states is None else d.states.names
        names = [n for n in d.results if n not in summed and size * prod(d.shape_of(n)) <= SHOWN]
        weighted = draws_at(d, self.values, self.noise, names, size, self.seed)
        rng = noise.generator(self.seed, 2, noise.Stream.WEIGHTS)
        own = self.correlated.draw(rng, d.factors, len(self.log_ratios))
        plain = draws_at(d, self.values, own, names, len(self.log_ratios), self.seed, block=1)
        weights = np.exp(self.mixture.log_weights)
        for name in names:
            shift, stretch = compare_moments(weighted[name], weights, plain[name])
            if shift or stretch != 1.0:
                found[name] = shift, stretch
        return found

    def log_evidence(self) -> tuple[float, float]:
        """log mean of the ratios, and its standard error, that of the nodes not counted."""
        return _log_mean(self.log_ratios)


def compare_moments(weighted: np.ndarray, weights: np.ndarray, plain: np.ndarray) -> tuple[float, float]:
    """The largest shift of a mean, and stretch of an sd, between weighted draws and the guide's own, if beyond error.

    (0, 1) where every element agrees: the mean within `SHIFT` weighted sds, the sds within a factor `STRETCH`,
    each with `ERRORS` standard errors to spare. A stretch below 1 is a guide that is too narrow.
    """
    x, y = (np.asarray(a, dtype=float).reshape(len(a), -1) for a in (weighted, plain))
    with np.errstate(all="ignore"):
        mean = weights @ x
        t = x - mean
        variance = weights @ t**2
        sd, own, own_sd = np.sqrt(variance), y.mean(0), y.std(0)
        square = weights**2
        error = np.sqrt(square @ t**2 / variance + own_sd**2 / variance / len(y))
        shift = np.abs(own - mean) / sd
        spread = (square @ (t**2 - variance) ** 2) / variance**2
        u = y - own
        spread = spread + np.mean((u**2 - own_sd**2) ** 2, axis=0) / own_sd**4 / len(y)
        stretch = np.log(own_sd / sd)
        moved = shift - ERRORS * error > SHIFT
        stretched = np.abs(stretch) - ERRORS * 0.5 * np.sqrt(spread) > math.log(STRETCH)
    worst = float(np.max(shift[moved], initial=0.0))
    by = stretch[stretched]
    return worst, float(np.exp(by[np.argmax(np.abs(by))])) if by.size else 1.0


def _few(log_ratios: np.ndarray) -> bool:
    return len(np.unique(log_ratios)) < 0.1 * len(log_ratios)


def _smoothed(log_ratios: np.ndarray) -> Smoothed:
    """Smoothed weights; a finite number of states has no tail, and its weights are as they are."""
    if _few(log_ratios):
        return Smoothed(log_ratios - special.logsumexp(log_ratios), -np.inf)
    return smooth(log_ratios)


def _signature(d: Derivation, output: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of one of the program's outputs."""
    x = d.program.outputs[output]
    return d.program.signature(x) if isinstance(x, Ref) else (np.shape(x), np.asarray(x).dtype)


def weigh(p: Problem, guide: Any, solution: Solution, seed: int, draws: int = DRAWS) -> Ratios | str:
    """Ratios of the draws of a fitted guide, or in words why there are none."""
    d = solution.derivation
    if solution.executor == "eager":
        return "control flow depends on a draw"
    if not d.factors:
        return EXACT if d.states is not None else "there are no latent sites"
    if guide == "point":
        return "a point has no spread to weigh; ELBO is log p(data, latent sites) at the point, not a bound"
    full = {q.name: q.size for q in d.plates.values() if q.subsampled}
    if sum(full.values()) > ROWS:
        return f"{max(full.values())} rows are too many to weigh every draw by all of them"
    found = ratios(*pointwise(p, guide, solution, seed), seed=seed, draws=draws)
    return found or "weighing the draws would cost more than the fit"


def log_evidence(p: Problem, guide: Any, solution: Solution, seed: int, draws: int) -> tuple[float, float] | str:
    """log mean of the ratios, and its standard error.

    Where plate elements are averaged out it comes from blocks of draws with nodes of their own, so that
    the error counts what the nodes miss.
    """
    found = weigh(p, guide, solution, seed, draws)
    if isinstance(found, str):
        return found
    if not found.elements:
        return found.log_evidence()
    each = -(-len(found.log_ratios) // BLOCKS)
    args = found.derivation, found.values, found.correlated
    again = [ratios(*args, seed=seed, draws=each, block=b + 1) for b in range(BLOCKS)]
    return _log_mean(np.array([block.log_evidence()[0] for block in again]))


def _log_mean(x: np.ndarray) -> tuple[float, float]:
    """log mean exp, and its standard error."""
    top = x.max()
    w = np.exp(x - top)
    return float(top + np.log(w.mean())), float(w.std(ddof=1) / w.mean() / len(w) ** 0.5) if len(w) > 1 else np.nan


def pointwise(p: Problem, guide: Any, solution: Solution, seed: int) -> tuple[Derivation, dict[str, Any], Correlated]:
    """The derivation whose terms are weighed, the parameters, and how its noise is correlated.

    In float64, plates at their full size, and no closed forms.
    """
    p = replace(p, dtype=np.dtype(np.float64))
    full = {q.name: q.size for q in solution.derivation.plates.values() if q.subsampled}
    guide, values, correlated = as_correlated(p, guide, solution)
    d = derive(p, guide, plate_sizes=full, starts=values, pointwise=True, seed=seed)
    return d, values, correlated


def ratios(
    d: Derivation,
    values: Mapping[str, Any],
    correlated: Correlated = NONE,
    *,
    seed: int,
    draws: int = DRAWS,
    block: int = 0,
) -> Ratios | None:
    """Ratios of the draws of a pointwise derivation with full plates; None where they cost too much."""
    rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
    found = groups(d, values, rows, seed)
    local = {f.name for g in found for f in g.factors}
    inner = sorted({i for g in found for i in g.terms})
    outer = [i for i in range(len(d.terms)) if i not in inner]
    program = prune(d.program, tuple(d.program.outputs[d.terms[i].output] for i in (*outer, *inner)))
    affordable = int(WORK // max(1.5 * program.work * (NODES if found else 1), 1))
    if affordable < FEWEST_DRAWS:
        return None
    draws = min(draws, affordable)
    nodes = 1
    if found:
        nodes = 2 ** int(np.log2(np.clip(NODE_WORK / (1.5 * draws * program.work), NODES, MOST_NODES)))
    rng = noise.generator(seed, 3 + block, noise.Stream.WEIGHTS)
    drawn = correlated.draw(rng, d.factors, draws)
    alone = {n: x for n, x in drawn.items() if n in local}  # a draw of the guide for every element
    outside = [f for f in d.factors if f.name not in local]
    shared, log_mixture, log_marginal = _with_wide(rng, outside, drawn, correlated)
    run_at = _nested(program, d, local, values, rows)
    sets = _placed(rng, d, found, nodes, shared, lambda *a: dict(zip(inner, run_at(*a)[len(outer) :], strict=True)))
    run_once = _nested(program, d, set(), values, rows)
    total = len(log_mixture)
    size = int(np.clip(CHUNK_WORK // max(program.work * nodes, 1), 1, -(-draws // len(sets))))
    log_ratios, elements, picked = np.empty(total), {g.plate: [] for g in found}, {f: [] for f in local}
    starts = [*range(0, draws, size), *range(draws, total, size)]  # the guide's own draws, then the wide ones
    for turn, (start, stop) in enumerate(zip(starts, [*starts[1:], total], strict=True)):
        count, points = stop - start, sets[turn % len(sets)]
        at_nodes = {n: x for p in points.values() for n, x in p.noise.items()}
        own = {n: x[start:stop] for n, x in shared.items()}
        outputs = run_at(count, own, at_nodes, nodes)
        whole = np.zeros(count)
        for i, x in zip(outer, outputs, strict=False):
            each = np.asarray(x)[:, 0] if found else np.asarray(x)  # the same at every node
            with np.errstate(invalid="ignore"):  # inf - inf of a wide draw: no weight
                whole += each.reshape(count, -1).sum(1) * d.terms[i].scale
        by_term = dict(zip(inner, outputs[len(outer) :], strict=True))
        means = {}
        for g in found:
            table = _by_element(d, g, by_term, count, nodes) + points[g.plate].log_ratios
            means[g.plate] = special.logsumexp(table, axis=1) - np.log(nodes)
            whole = whole + means[g.plate].sum(1)
            gumbel = -np.log(-np.log(noise.open_uniform(rng, table.shape)))
            pick = np.argmax(table + gumbel, axis=1)
            for f in g.factors:
                picked[f.name].append(_picked(at_nodes[f.name], pick, _axis(f, g.plate)))
        if found and start < draws:
            once = run_once(count, {**own, **{n: x[start:stop] for n, x in alone.items()}}, {}, 1)
            by_term = dict(zip(inner, once[len(outer) :], strict=True))
            for g in found:
                elements[g.plate].append(_by_element(d, g, by_term, count, 1)[:, 0] - means[g.plate])
        log_ratios[start:stop] = whole
    log_ratios += log_marginal
    log_ratios[draws:][np.isposinf(log_ratios[draws:])] = -np.inf  # a wide draw rounded onto an edge of its support
    for g in found:
        elements[g.plate] = np.concatenate(elements[g.plate]) + _log_conditional(correlated, g, outside, drawn)
    shared |= {n: np.concatenate(x) for n, x in picked.items()}
    mixed = log_ratios - log_mixture
    for x in shared.values():  # a draw without weight may have no finite value either
        x[~(np.exp(mixed - np.nanmax(mixed)) > 0.0)] = x[np.nanargmax(mixed)]
    return Ratios(log_ratios[:draws], elements, mixed, shared, seed, d, values, correlated)


# -- which latents, which rows -------------------------------------------------------------------------
def groups(d: Derivation, values: Mapping[str, Any], rows: Mapping[str, Any], seed: int) -> list[Group]:
    """The plates whose elements can be averaged out one by one."""
    by_plate: dict[str, list[FactorFacts]] = {}
    for f in d.factors:
        if f.plates and f.noise_kind != "seed":
            by_plate.setdefault(f.plates[0].name, []).append(f)
    reached = {p: reachable(d.program, {f.noise_input for f in fs}) for p, fs in by_plate.items()}
    reads = {
        p: [i for i, t in enumerate(d.terms) if not r.isdisjoint(refs((d.program.outputs[t.output],)))]
        for p, r in reached.items()
    }
    taken: set[int] = set()
    found = []
    for plate in sorted(by_plate, key=lambda p: -d.plates[p].size):
        if taken.isdisjoint(reads[plate]):
            group = _group(d, plate, by_plate[plate], reads[plate], values, rows, seed)
            if group is not None:
                found.append(group)
                taken |= set(reads[plate])
    return found


def _group(
    d: Derivation, plate: str, factors: Sequence[FactorFacts], terms: Sequence[int], values: Any, rows: Any, seed: int
) -> Group | None:
    """Change the noise of those elements whose number has a given bit, and see which rows follow."""
    size = d.plates[plate].size
    bits = max(int(size - 1).bit_length(), 1)
    rng = noise.generator(seed, 1, noise.Stream.WEIGHTS)
    others = [f for f in d.factors if f not in factors]
    base = {n: x[0] for n, x in _independent(rng, others, 1).items()}
    before, after, *more = ({n: x[0] for n, x in _independent(rng, factors, 1).items()} for _ in range(4))
    program = prune(d.program, tuple(d.program.outputs[d.terms[i].output] for i in terms))
    run = compile_program(program)

    def terms_with(noises: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [np.ravel(x) for x in run(*d.inputs(values, rows, {**base, **noises}))]

    def terms_at(changed: np.ndarray) -> list[np.ndarray]:
        mixed = {}
        for f in factors:
            shape = [1] * len(f.noise_shape)
            shape[_axis(f, plate)] = size
            mixed[f.name] = np.where(changed.reshape(shape), after[f.name], before[f.name])
        return terms_with(mixed)

    low, high = terms_at(np.zeros(size, bool)), terms_at(np.ones(size, bool))
    # Rows that never move are nobody's: those under a mask, or whose entry is not the one that is missing.
    others = [high, *map(terms_with, more)]
    still = [np.all([x == a for x in xs], axis=0) for a, *xs in zip(low, *others, strict=True)]
    units = [np.zeros(x.shape, int) for x in low]
    for bit in range(bits):
        moved = terms_at((np.arange(size) >> bit & 1).astype(bool))
        for unit, a, b, x, rest in zip(units, low, high, moved, still, strict=True):
            as_high, as_low = np.isclose(x, b, rtol=1e-9, atol=0.0), np.isclose(x, a, rtol=1e-9, atol=0.0)
            as_high = as_high & ~rest
            if not np.all(as_high ^ as_low):  # several elements in one row, or none that can be told
                return None
            unit += as_high.astype(int) << bit
    return Group(plate, size, tuple(factors), tuple(terms), tuple(units))


def _axis(f: FactorFacts, plate: str) -> int:
    """The axis of a factor's noise that belongs to a plate."""
    return f.batch_ndim + next(p.dim for p in f.plates if p.name == plate)


# -- draws and nodes -------------------------------------------------------------------------------------
def _independent(rng: np.random.Generator, factors: Sequence[FactorFacts], count: int) -> dict[str, np.ndarray]:
    everyone = {f.name for f in factors}
    return {n: x[0] for n, x in noise.draw(rng, factors, 1, count, everyone).items()}


def _with_wide(
    rng: np.random.Generator, factors: Sequence[FactorFacts], drawn: Mapping[str, np.ndarray], correlated: Correlated
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Noise of these factors, wide draws below the guide's own; of each draw two log ratios of densities.

    These are mixture / guide, and factorised guide / guide: the second is 0 where no noise is correlated.
    """
    movable = [f for f in factors if f.noise_kind in ("normal", "uniform")]
    count = len(next(iter(drawn.values())))
    columns = [_as_normal(f, drawn[f.name]).reshape(count, -1) for f in movable]
    own = np.concatenate(columns, axis=1) if columns else np.zeros((count, 0))
    root = correlated.of(movable)
    x, log_mixture = with_wide(rng, solve_triangular(root, own.T, lower=True).T if correlated.places else own)
    e = x @ root.T if correlated.places else x
    log_marginal = np.sum(log_normal(e) - log_normal(x), axis=1) + np.sum(np.log(np.diag(root)))
    more, ends = len(e) - count, np.cumsum([part.shape[1] for part in columns])
    others = _independent(rng, [f for f in factors if f not in movable], more)
    out = {n: np.concatenate([drawn[n], y]) for n, y in others.items()}
    for f, stop, part in zip(movable, ends, columns, strict=True):
        wide = e[count:, stop - part.shape[1] : stop].reshape(more, *f.noise_shape)
        out[f.name] = np.concatenate([drawn[f.name], _from_normal(f, wide)])
    return out, log_mixture, log_marginal


def _log_conditional(
    correlated: Correlated, g: Group, outside: Sequence[FactorFacts], drawn: Mapping[str, np.ndarray]
) -> np.ndarray | float:
    """log factorised guide / guide given the global latents, for the elements of a group in a draw: (S, N)."""
    joint = [f for f in g.factors if f.name in correlated.places]
    if not joint:
        return 0.0
    given = [f for f in outside if f.name in correlated.places]
    count = len(drawn[g.factors[0].name])
    numbers = np.concatenate([np.zeros(0, int), *(correlated.indices(f).ravel() for f in given)])
    e_given = np.concatenate([np.zeros((count, 0)), *(drawn[f.name].reshape(count, -1) for f in given)], axis=1)
    each, e = [], []
    for f in joint:
        axis = _axis(f, g.plate)
        each.append(np.moveaxis(correlated.indices(f), axis, 0).reshape(g.size, -1))
        e.append(np.moveaxis(drawn[f.name], 1 + axis, 1).reshape(count, g.size, -1))
    return correlated.log_conditional(numbers, e_given, np.concatenate(each, axis=1), np.concatenate(e, axis=2))


def _as_normal(f: FactorFacts, x: np.ndarray) -> np.ndarray:
    """Noise of a factor as standard normal noise."""
    return x if f.noise_kind == "normal" else special.ndtri(x)


def _from_normal(f: FactorFacts, e: np.ndarray) -> np.ndarray:
    return e if f.noise_kind == "normal" else np.clip(special.ndtr(e), 1e-300, 1.0 - 2.0**-53)


@dataclass(frozen=True)
class Points:
    """Noise of a group at the nodes, by factor: (K, *noise shape), and log guide / proposal density (K, N)."""

    noise: dict[str, np.ndarray]
    log_ratios: np.ndarray


def _placed(
    rng: np.random.Generator,
    d: Derivation,
    found: Sequence[Group],
    nodes: int,
    shared: Mapping[str, np.ndarray],
    terms_at: Any,
) -> list[dict[str, Points]]:
    """Sets of nodes for every element of every group, where its posterior is at a few of the global draws.

    Two rounds of Cauchy nodes find each coordinate's mean and sd; the nodes themselves are normal, a tenth
    wider. There are several sets where they agree, else one for all draws, whose error is nearly theirs alike.
    """
    if not found:
        return [{}]
    few = {n: x[:PILOTS] for n, x in shared.items()}
    centre = {g.plate: np.zeros((g.size, g.dimension)) for g in found}
    width = {g.plate: np.ones((g.size, g.dimension)) for g in found}
    for _ in range(2):
        wide = {g.plate: np.tan(math.pi * (_net(rng, g, PILOT_NODES) - 0.5)) for g in found}
        points = {g.plate: _at(g, centre[g.plate], width[g.plate], wide[g.plate], log_cauchy) for g in found}
        by_term = terms_at(PILOTS, few, {n: x for p in points.values() for n, x in p.noise.items()}, PILOT_NODES)
        for g in found:
            table = _by_element(d, g, by_term, PILOTS, PILOT_NODES) + points[g.plate].log_ratios
            weights = special.softmax(np.where(np.isnan(table), -np.inf, table), axis=1).mean(0)[:, :, None]
            e = centre[g.plate] + width[g.plate] * wide[g.plate]
            mean = np.sum(weights * e, axis=0)
            sd = np.sqrt(np.sum(weights * (e - mean) ** 2, axis=0))
            sure = np.isfinite(mean) & np.isfinite(sd) & (sd > 1e-6)
            centre[g.plate] = np.where(sure, mean, centre[g.plate])
            width[g.plate] = np.where(sure, sd, width[g.plate])
    sets, totals = [], np.zeros((SETS, PILOTS))
    for k in range(SETS):
        points = {
            g.plate: _at(g, centre[g.plate], 1.1 * width[g.plate], special.ndtri(_net(rng, g, nodes)), log_normal)
            for g in found
        }
        by_term = terms_at(PILOTS, few, {n: x for p in points.values() for n, x in p.noise.items()}, nodes)
        for g in found:
            table = _by_element(d, g, by_term, PILOTS, nodes) + points[g.plate].log_ratios
            totals[k] += np.sum(special.logsumexp(table, axis=1), axis=-1)
        sets.append(points)
    return sets if np.mean(np.std(totals, axis=0, ddof=1)) < QUIET else sets[:1]


def _net(rng: np.random.Generator, g: Group, nodes: int) -> np.ndarray:
    """Evenly spread points of the unit cube for every element: (nodes, N, dimension).

    One randomised net for all, with a shift of its own for each element (Cranley and Patterson 1976).
    """
    if g.dimension == 1:
        net = (np.arange(nodes)[:, None] + 0.5) / nodes
    else:
        from scipy.stats import qmc

        net = qmc.Sobol(g.dimension, seed=int(rng.integers(2**31))).random(nodes)
    return np.clip((net[:, None, :] + rng.random((g.size, g.dimension))) % 1.0, 1e-12, 1.0 - 1e-12)


def _at(g: Group, centre: np.ndarray, width: np.ndarray, base: np.ndarray, log_density: Any) -> Points:
    """The nodes centre + width * base, base points being of this density."""
    e = centre + width * base
    log_ratios = np.sum(log_normal(e) - log_density(base) + np.log(width), axis=-1)
    out, start = {}, 0
    for f in g.factors:
        axis, size = _axis(f, g.plate), prod(f.noise_shape) // g.size
        rest = [n for i, n in enumerate(f.noise_shape) if i != axis]
        part = e[:, :, start : start + size].reshape(len(e), g.size, *rest)
        out[f.name] = _from_normal(f, np.moveaxis(part, 1, 1 + axis))
        start += size
    return Points(out, log_ratios)


def _picked(points: np.ndarray, pick: np.ndarray, axis: int) -> np.ndarray:
    """For every draw and element the node that was chosen: (S, *noise shape)."""
    table = np.moveaxis(points, 1 + axis, 1)  # (nodes, N, ...)
    return np.moveaxis(table[pick, np.arange(pick.shape[1])], 1, 1 + axis)


# -- the program -----------------------------------------------------------------------------------------
def _nested(program: Program, d: Derivation, local: set[str], values: Any, rows: Any) -> Any:
    """Runs the terms for `count` draws: outputs (count, nodes, *rows), what no node moves being computed once."""
    inner = {f.noise_input for f in d.factors if f.name in local}
    outer = {f.noise_input for f in d.factors if f.name not in local}
    inputs = range(len(program.inputs))
    made: dict[tuple[int, int], Any] = {}

    def run(count: int, own: Mapping[str, Any], at_nodes: Mapping[str, Any], nodes: int) -> tuple:
        if (count, nodes) not in made:
            over_nodes = batch(program, [i in inner for i in inputs], nodes) if local else program
            made[count, nodes] = compile_program(batch(over_nodes, [i in outer for i in inputs], count))
        try:
            with np.errstate(all="ignore"):
                return made[count, nodes](*d.inputs(values, rows, {**own, **at_nodes}))
        except np.linalg.LinAlgError:  # a wide draw whose matrix has no factor: it alone has no density
            if count == 1:
                return tuple(np.full((1, nodes, 1) if local else (1, 1), np.nan) for _ in program.outputs)
            return one_by_one(count, own, at_nodes, nodes)

    def one_by_one(count: int, own: Mapping[str, Any], at_nodes: Mapping[str, Any], nodes: int) -> tuple:
        each = [run(1, {n: x[i : i + 1] for n, x in own.items()}, at_nodes, nodes) for i in range(count)]
        shapes = [np.broadcast_shapes(*(np.shape(x[k]) for x in each)) for k in range(len(program.outputs))]
        return tuple(np.concatenate([np.broadcast_to(x[k], s) for x in each]) for k, s in enumerate(shapes))

    return run


def _weighted(d: Derivation, term: int, x: Any) -> np.ndarray:
    return np.asarray(x, dtype=float) * d.terms[term].scale


def _by_element(d: Derivation, g: Group, by_term: Mapping[int, Any], count: int, nodes: int) -> np.ndarray:
    """Log ratios (count, nodes, N): the rows of every term added up by element."""
    out = np.zeros((count, nodes, g.size))
    for i, unit in zip(g.terms, g.units, strict=True):
        x = np.broadcast_to(_weighted(d, i, by_term[i]).reshape(count, nodes, -1), (count, nodes, len(unit)))
        if len(unit) == g.size and np.array_equal(unit, np.arange(g.size)):
            out += x
        else:
            order = np.argsort(unit, kind="stable")
            present, starts = np.unique(unit[order], return_index=True)
            out[:, :, present] += np.add.reduceat(x[:, :, order], starts, axis=2)
    return out
