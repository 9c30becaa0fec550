"""Importance ratios of the guide's draws, with every plate element's own draws averaged out.

    log w(theta) = sum of global terms + sum over elements n of log mean_k [p(z_nk, y_n | theta) / q(z_nk | theta)]

The ratio of a thousand local latents has a heavy tail even where every one of them is fitted well;
averaged element by element it says what matters for the global latents, and each element has a ratio
of its own. Which rows of a term belong to which element is read off the program: the noise of half the
elements is changed, and the rows that change with it are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from scipy import special

from ..algorithms import Solution, noise
from ..array import Program, batch, compile_program, prune, reachable, refs
from ..elbo import Derivation, FactorFacts, Problem, derive
from .psis import Smoothed, smooth

DRAWS = 2000  # of the global latents
NODES = 32  # of every element's latents, for each of these
WORK = 1_000_000_000  # counted cost of all ratios
CHUNK_WORK = 2_000_000
FEWEST_DRAWS = 200
ROWS = 200_000  # of subsampled plates, all together, up to which draws are weighed by all of them
ELEMENTS = 2000  # of a plate whose k-hats are looked at, evenly spread


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


@dataclass(frozen=True)
class Ratios:
    """Log ratios of joint draws: of the global latents (S,), and of the elements of each plate (S, N).

    `draws` gives those draws, those of the elements being drawn anew by their own weights.
    """

    log_ratios: np.ndarray
    elements: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    derivation: Derivation
    values: Mapping[str, np.ndarray]

    @cached_property
    def smoothed(self) -> Smoothed:
        """Weights of the global draws; a finite number of states has no tail, and its weights are as they are."""
        if len(np.unique(self.log_ratios)) < 0.1 * len(self.log_ratios):
            return Smoothed(self.log_ratios - special.logsumexp(self.log_ratios), -np.inf)
        return smooth(self.log_ratios)

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
        names = {**d.site_outputs, **d.deterministic_outputs}
        program = prune(d.program, tuple(d.program.outputs[i] for i in names.values()))
        rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
        inputs = {f.noise_input for f in d.factors}
        flags, total = [i in inputs for i in range(len(program.inputs))], len(self.log_ratios)
        size = int(np.clip(CHUNK_WORK // max(program.work, 1), 1, total))
        parts, made = [], {}
        for start in range(0, total, size):
            count = min(size, total - start)
            if count not in made:
                made[count] = compile_program(batch(program, flags, count))
            eps = {n: x[start : start + count] for n, x in self.noise.items()}
            with np.errstate(all="ignore"):
                parts.append(made[count](*d.inputs(self.values, rows, eps)))
        return {n: np.concatenate([np.asarray(p[i]) for p in parts]) for i, n in enumerate(names)}

    def log_evidence(self) -> tuple[float, float]:
        """log mean of the ratios, and its standard error."""
        top = self.log_ratios.max()
        w = np.exp(self.log_ratios - top)
        return float(top + np.log(w.mean())), float(w.std(ddof=1) / w.mean() / len(w) ** 0.5)


def weigh(p: Problem, guide: Any, solution: Solution, seed: int, draws: int = DRAWS) -> Ratios | str:
    """Ratios of the draws of a fitted guide, or in words why there are none."""
    d = solution.derivation
    if solution.executor == "eager":
        return "control flow depends on a draw"
    if not d.factors:
        return "there are no latent sites"
    if guide == "point":
        return "a point has no spread to weigh; ELBO is log p(data, latent sites) at the point, not a bound"
    full = {q.name: q.size for q in d.plates.values() if q.subsampled}
    if sum(full.values()) > ROWS:
        return f"{max(full.values())} rows are too many to weigh every draw by all of them"
    found = ratios(pointwise(p, guide, solution, seed), solution.values, seed=seed, draws=draws)
    return found or "weighing the draws would cost more than the fit"


def pointwise(p: Problem, guide: Any, solution: Solution, seed: int) -> Derivation:
    """The derivation whose terms are weighed, in float64: plates at their full size, and no closed forms."""
    p = replace(p, dtype=np.dtype(np.float64))
    full = {q.name: q.size for q in solution.derivation.plates.values() if q.subsampled}
    return derive(p, guide, plate_sizes=full, starts=solution.values, pointwise=True, seed=seed)


def ratios(d: Derivation, values: Mapping[str, Any], *, seed: int, draws: int = DRAWS) -> Ratios | None:
    """Ratios of the draws of a pointwise derivation with full plates; None where they cost too much."""
    rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
    found = groups(d, values, rows, seed)
    local = {f.name for g in found for f in g.factors}
    inner = sorted({i for g in found for i in g.terms})
    outer = [i for i in range(len(d.terms)) if i not in inner]
    program = prune(d.program, tuple(d.program.outputs[d.terms[i].output] for i in (*outer, *inner)))
    nodes = NODES if found else 1
    draws = int(min(draws, WORK // max(program.work * nodes, 1)))
    if draws < FEWEST_DRAWS:
        return None
    rng = noise.generator(seed, 0, noise.Stream.WEIGHTS)
    shared = _independent(rng, [f for f in d.factors if f.name not in local], draws)
    points = {g.plate: _points(rng, g, nodes) for g in found}
    at_nodes = {n: x for p in points.values() for n, x in p.items()}
    alone = _independent(rng, [f for g in found for f in g.factors], draws)  # one more draw of every element
    run, run_once = _nested(program, d, local, at_nodes, nodes), _nested(program, d, set(), {}, 1)
    size = int(np.clip(CHUNK_WORK // max(program.work * nodes, 1), 1, draws))
    total, elements, chosen = np.empty(draws), {g.plate: [] for g in found}, {g.plate: [] for g in found}
    for start in range(0, draws, size):
        count = min(size, draws - start)
        own = {n: x[start : start + count] for n, x in shared.items()}
        with np.errstate(all="ignore"):
            outputs = run(count, values, rows, {**own, **at_nodes})
        whole = np.zeros(count)
        for i, x in zip(outer, outputs, strict=False):
            each = np.asarray(x)[:, 0] if found else np.asarray(x)  # the same at every node
            whole += each.reshape(count, -1).sum(1) * d.terms[i].scale
        by_term = dict(zip(inner, outputs[len(outer) :], strict=True))
        if found:
            with np.errstate(all="ignore"):
                once = run_once(count, values, rows, {**own, **{n: x[start : start + count] for n, x in alone.items()}})
            by_term_once = dict(zip(inner, once[len(outer) :], strict=True))
        for g in found:
            table = _by_element(d, g, by_term, count, nodes)
            mean = special.logsumexp(table, axis=1) - np.log(nodes)
            whole = whole + mean.sum(1)
            elements[g.plate].append(_by_element(d, g, by_term_once, count, 1)[:, 0] - mean)
            gumbel = -np.log(-np.log(noise.open_uniform(rng, table.shape)))
            chosen[g.plate].append(np.argmax(table + gumbel, axis=1))
        total[start : start + count] = whole
    for g in found:
        pick = np.concatenate(chosen[g.plate])
        for f in g.factors:
            shared[f.name] = _picked(points[g.plate][f.name], pick, _axis(f, g.plate))
    return Ratios(total, {n: np.concatenate(x) for n, x in elements.items()}, shared, d, values)


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
    lacking = any(f.name.endswith("_unobserved") for f in factors)  # elements of some rows; the others stay still
    others = [high, *map(terms_with, more)] if lacking else []
    still = [np.all([x == a for x in xs], axis=0) if xs else False for a, *xs in zip(low, *others, strict=True)]
    units = [np.zeros(x.shape, int) for x in low]
    for bit in range(bits):
        moved = terms_at((np.arange(size) >> bit & 1).astype(bool))
        for unit, a, b, x, rest in zip(units, low, high, moved, still, strict=True):
            as_high, as_low = np.isclose(x, b, rtol=1e-9, atol=0.0), np.isclose(x, a, rtol=1e-9, atol=0.0)
            as_high = as_high & ~np.asarray(rest)
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


def _points(rng: np.random.Generator, g: Group, nodes: int) -> dict[str, np.ndarray]:
    """Evenly spread noise for every element of a group: (nodes, *noise shape) by factor.

    One randomised net for all, with a shift of its own for each element (Cranley and Patterson 1976).
    """
    sizes = [prod(f.noise_shape) // g.size for f in g.factors]
    if sum(sizes) == 1:
        net = (np.arange(nodes)[:, None] + 0.5) / nodes
    else:
        from scipy.stats import qmc

        net = qmc.Sobol(sum(sizes), seed=int(rng.integers(2**31))).random(nodes)
    u = (net[:, None, :] + rng.random((g.size, sum(sizes)))) % 1.0
    u = np.clip(u, 1e-12, 1.0 - 1e-12)
    out, start = {}, 0
    for f, size in zip(g.factors, sizes, strict=True):
        axis = _axis(f, g.plate)
        rest = [n for i, n in enumerate(f.noise_shape) if i != axis]
        part = u[:, :, start : start + size].reshape(nodes, g.size, *rest)
        part = np.moveaxis(part, 1, 1 + axis)
        out[f.name] = special.ndtri(part) if f.noise_kind == "normal" else part
        start += size
    return out


def _picked(points: np.ndarray, pick: np.ndarray, axis: int) -> np.ndarray:
    """For every draw and element the node that was chosen: (S, *noise shape)."""
    table = np.moveaxis(points, 1 + axis, 1)  # (nodes, N, ...)
    return np.moveaxis(table[pick, np.arange(pick.shape[1])], 1, 1 + axis)


# -- the program -----------------------------------------------------------------------------------------
def _nested(program: Program, d: Derivation, local: set[str], at_nodes: Mapping[str, Any], nodes: int) -> Any:
    """Runs the terms for `count` draws: outputs (count, nodes, *rows), what no node moves being computed once."""
    inner = {f.noise_input for f in d.factors if f.name in local}
    outer = {f.noise_input for f in d.factors if f.name not in local}
    count_inputs = range(len(program.inputs))
    over_nodes = batch(program, [i in inner for i in count_inputs], nodes) if local else program
    made: dict[int, Any] = {}

    def run(count: int, values: Any, rows: Any, eps: Mapping[str, Any]) -> tuple:
        if count not in made:
            made[count] = compile_program(batch(over_nodes, [i in outer for i in count_inputs], count))
        return made[count](*d.inputs(values, rows, eps))

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
