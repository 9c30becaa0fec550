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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from scipy import special
from scipy.linalg import solve_triangular

from ..algorithms import Solution, noise
from ..algorithms.wide import log_normal, with_wide
from ..array import Ref, prune
from ..elbo import Derivation, FactorFacts, Problem, derive
from ..guides import Families, StateChain
from .correlated import NONE, Correlated, as_correlated
from .elements import Group, axis_of, by_element, groups
from .moments import compare_moments
from .nodes import as_normal, from_normal, picked_at, placed
from .psis import Smoothed, smooth
from .runs import CHUNK_WORK, draws_at, independent, nested

DRAWS = 2000  # of the global latents, and half as many wide ones
NODES, MOST_NODES = 32, 256  # of every element's latents, for each of these
NODE_WORK = 200_000_000  # counted cost up to which there are more nodes than the fewest
WORK = 700_000_000  # counted cost of all ratios
FAIR = 0.7  # k-hat up to which smoothed averages settle
ENOUGH = 200  # draws that weighted ones must be worth, for means within 0.07 posterior sds
FEWEST_DRAWS = 200
BLOCKS = 8  # of draws, each with nodes of its own, that an estimate of the evidence comes from
ROWS = 200_000  # of subsampled plates, all together, up to which draws are weighed by all of them
EVEN = 0.9  # share of the draws that weights are worth from which on they are called even
DEGENERATE = 4.0  # nodes that those of an element must be worth, at typical draws, for its average to be believed
ELEMENTS = 2000  # of a plate whose k-hats are looked at, evenly spread
EXACT = "every latent site is summed out, so that nothing is left to weigh"
SHOWN = 10_000_000  # numbers that the draws of a site may be, for its moments to be looked at


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
    own: Mapping[str, np.ndarray] | None = None  # noise of the guide's own draws, where these are kept

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
        """Discrete sites that the guide factorises, though some term of the bound may read several of their values.

        Elements of a plate of which no row of a term reads two are independent given the rest in the posterior too.
        """
        d = self.derivation
        chains = [f.name for f in d.factors if f.family == StateChain.__name__]  # these keep their dependence
        drawn = [
            f
            for f in d.factors
            if f.name in d.site_outputs and f.name not in chains and _signature(d, f.draw_output)[1].kind in "iub"
        ]
        if not drawn:
            return ()
        rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
        alone = {g.plate for g in groups(d, self.values, rows, self.seed)}
        several = sum(prod(f.noise_shape) if not any(p.name in alone for p in f.plates) else 1 for f in drawn)
        return tuple(f.name for f in drawn) if several > 1 else ()

    @cached_property
    def element_k_hats(self) -> dict[str, np.ndarray]:
        """k-hat of every element, of evenly spread ones where they are many.

        Weights that are worth nearly all draws say little by their tail: -inf. Those of a guide that is exact
        differ by what the nodes leave, and a lighter tail than the posterior's may have hardly any weight.
        """
        found = {}
        for plate, ratios in self.elements.items():
            kept = np.unique(np.linspace(0, ratios.shape[1] - 1, ELEMENTS).astype(int))
            each = (smooth(ratios[:, n]) for n in kept)
            found[plate] = np.array([x.k_hat if x.effective_draws < EVEN * len(ratios) else -np.inf for x in each])
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
        own = self.own or self.correlated.draw(rng, d.factors, len(self.log_ratios))
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


NOWHERE = "every draw has a part that a double cannot hold, as weights of a Dirichlet near zero are"


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


def ratios_of(solution: Solution, seed: int) -> Ratios:
    """The ratios of draws that came with theirs."""
    s = solution.sampled
    return Ratios(s.log_ratios, {}, s.mixed, dict(s.noise), seed, solution.derivation, solution.values, NONE, own=s.own)


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
    if isinstance(guide, Families):  # where states can be summed out, their exact conditional is better than q
        rest = guide.without(p.decision.joint)
        guide = rest if rest.sites or rest.chains else guide  # where nothing is left to draw, q itself is weighed
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
    together: frozenset[str] = frozenset(),
) -> Ratios | str | None:
    """Ratios of the draws of a pointwise derivation with full plates; None where they cost too much.

    Elements of the plates `together` are not averaged out, but weighed as they are drawn.
    """
    rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
    least = prune(d.program, tuple(d.program.outputs[t.output] for t in d.terms)).work
    if 1.5 * least * FEWEST_DRAWS > WORK:  # asked first: finding the groups takes some runs
        return None
    found = [g for g in groups(d, values, rows, seed) if g.plate not in together]
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
    run_at = nested(program, d, local, values, rows)
    sets = placed(rng, d, found, nodes, shared, lambda *a: dict(zip(inner, run_at(*a)[len(outer) :], strict=True)))
    run_once = nested(program, d, set(), values, rows)
    total = len(log_mixture)
    size = int(np.clip(CHUNK_WORK // max(program.work * nodes, 1), 1, -(-draws // len(sets))))
    log_ratios, elements, picked = np.empty(total), {g.plate: [] for g in found}, {f: [] for f in local}
    worth: dict[str, list] = {g.plate: [] for g in found}
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
            table = by_element(d, g, by_term, count, nodes) + points[g.plate].log_ratios
            total_weight = special.logsumexp(table, axis=1)
            means[g.plate] = total_weight - np.log(nodes)
            if start < draws:
                with np.errstate(invalid="ignore"):
                    worth[g.plate].append(2.0 * total_weight - special.logsumexp(2.0 * table, axis=1))
            whole = whole + means[g.plate].sum(1)
            gumbel = -np.log(-np.log(noise.open_uniform(rng, table.shape)))
            pick = np.argmax(table + gumbel, axis=1)
            for f in g.factors:
                picked[f.name].append(picked_at(at_nodes[f.name], pick, axis_of(f, g.plate)))
        if found and start < draws:
            once = run_once(count, {**own, **{n: x[start:stop] for n, x in alone.items()}}, {}, 1)
            by_term = dict(zip(inner, once[len(outer) :], strict=True))
            for g in found:
                elements[g.plate].append(by_element(d, g, by_term, count, 1)[:, 0] - means[g.plate])
        log_ratios[start:stop] = whole
    failed = {n for n, x in worth.items() if np.any(np.nanmedian(np.concatenate(x), axis=0) < np.log(DEGENERATE))}
    if failed:
        options = {"seed": seed, "draws": draws, "block": block, "together": together | failed}
        return ratios(d, values, correlated, **options)
    log_ratios += log_marginal
    log_ratios[draws:][np.isposinf(log_ratios[draws:])] = -np.inf  # a wide draw rounded onto an edge of its support
    for g in found:
        elements[g.plate] = np.concatenate(elements[g.plate]) + _log_conditional(correlated, g, outside, drawn)
    shared |= {n: np.concatenate(x) for n, x in picked.items()}
    mixed = log_ratios - log_mixture
    if not np.any(np.isfinite(mixed)):
        return NOWHERE
    for x in shared.values():  # a draw without weight may have no finite value either
        x[~(np.exp(mixed - np.nanmax(mixed)) > 0.0)] = x[np.nanargmax(mixed)]
    return Ratios(log_ratios[:draws], elements, mixed, shared, seed, d, values, correlated)


def _with_wide(
    rng: np.random.Generator, factors: Sequence[FactorFacts], drawn: Mapping[str, np.ndarray], correlated: Correlated
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Noise of these factors, wide draws below the guide's own; of each draw two log ratios of densities.

    These are mixture / guide, and factorised guide / guide: the second is 0 where no noise is correlated.
    """
    movable = [f for f in factors if f.noise_kind in ("normal", "uniform")]
    count = len(next(iter(drawn.values())))
    columns = [as_normal(f, drawn[f.name]).reshape(count, -1) for f in movable]
    own = np.concatenate(columns, axis=1) if columns else np.zeros((count, 0))
    root = correlated.of(movable)
    x, log_mixture = with_wide(rng, solve_triangular(root, own.T, lower=True).T if correlated.places else own)
    e = x @ root.T if correlated.places else x
    log_marginal = np.sum(log_normal(e) - log_normal(x), axis=1) + np.sum(np.log(np.diag(root)))
    more, ends = len(e) - count, np.cumsum([part.shape[1] for part in columns])
    others = independent(rng, [f for f in factors if f not in movable], more)
    out = {n: np.concatenate([drawn[n], y]) for n, y in others.items()}
    for f, stop, part in zip(movable, ends, columns, strict=True):
        wide = e[count:, stop - part.shape[1] : stop].reshape(more, *f.noise_shape)
        out[f.name] = np.concatenate([drawn[f.name], from_normal(f, wide)])
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
        axis = axis_of(f, g.plate)
        each.append(np.moveaxis(correlated.indices(f), axis, 0).reshape(g.size, -1))
        e.append(np.moveaxis(drawn[f.name], 1 + axis, 1).reshape(count, g.size, -1))
    return correlated.log_conditional(numbers, e_given, np.concatenate(each, axis=1), np.concatenate(e, axis=2))
