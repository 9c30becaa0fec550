"""The bound for the full data, with its Monte Carlo error.

A subsampled plate is walked through in chunks; terms outside it are counted once. Draws are
shared by all chunks, so that the error is that of the whole sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..elbo import Derivation, EagerObjective, Objective, Problem, choose, derive
from .noise import Stream, draw, generator

DRAWS = 2000  # at most
GROUP = 20  # draws that are spread out together; the error comes from the groups' means
EAGER_DRAWS = 1000
WORK = 30_000_000  # counted cost of the whole evaluation
CHUNK_WORK = 1_000_000  # counted cost of one batched run
ROWS = 8192  # rows of a subsampled plate walked through at once


@dataclass(frozen=True)
class Bound:
    """An estimate of the bound: per-term means, their standard errors, and those of the sum."""

    elbo: float
    se: float
    draws: int
    terms: dict[str, tuple[float, float]]
    broken: tuple[tuple[str, float], ...] = ()  # terms that are not finite, and for which share of the draws


def evaluate(
    p: Problem,
    guide: Any,
    objective: Objective,
    values: Mapping[str, np.ndarray],
    *,
    executor: str,
    seed: int,
    most: int = DRAWS,
) -> Bound:
    """The bound at these parameter values, from `most` draws at most."""
    d = objective.derivation
    if executor == "eager":
        eager = EagerObjective(p, guide, values, plate_sizes={q.name: q.size for q in d.plates.values()})
        rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
        bounds = np.empty(EAGER_DRAWS)
        full = derive(p, guide, plate_sizes=eager.plate_sizes, starts=values, eager=True, seed=seed)
        eps = _noise(full, EAGER_DRAWS, seed, 0)
        columns: dict[str, np.ndarray] = {}
        for path, who in eager.walk(values, rows, eps, EAGER_DRAWS):
            bound, terms, _ = path.objective.evaluate(dict(values), rows, eps, EAGER_DRAWS)
            bounds[who] = bound[who]
            for t, column in zip(path.objective.derivation.terms, terms.T, strict=True):
                columns.setdefault(t.text, np.zeros(EAGER_DRAWS))[who] = column[who]
        return bound_of(bounds, columns)
    pieces = list(_pieces(p, guide, objective, values))
    work = sum(o.values.work for o, _, _ in pieces)
    draws = int(np.clip(WORK // max(work, 1), min(8, most), most))
    draws = draws // GROUP * GROUP if draws >= 8 * GROUP else draws
    total = np.zeros((draws, len(d.terms)))
    shared = _noise(d, draws, seed, 0)
    local = {f.name for f in d.factors if any(q.subsampled for q in f.plates)}
    for number, (piece, rows, counted) in enumerate(pieces, 1):
        eps = {**shared, **{n: e for n, e in _noise(piece.derivation, draws, seed, number).items() if n in local}}
        size = int(np.clip(CHUNK_WORK // max(piece.values.work, 1), 1, draws))
        for start in range(0, draws, size):
            count = min(size, draws - start)
            _, terms, _ = piece.evaluate(
                dict(values), rows, {n: e[start : start + count] for n, e in eps.items()}, count
            )
            total[start : start + count] += np.asarray(terms) * counted
    return bound_of(total.sum(1), {t.text: column for t, column in zip(d.terms, total.T, strict=True)})


def bound_of(bounds: np.ndarray, columns: Mapping[str, np.ndarray]) -> Bound:
    """Means and errors of the bound and of its terms, and which terms are not finite."""
    with np.errstate(all="ignore"):
        table = {text: (float(c.mean()), float(_error(c))) for text, c in columns.items()}
        broken = tuple(
            (text, float(np.mean(~np.isfinite(c)))) for text, c in columns.items() if not np.all(np.isfinite(c))
        )
        return Bound(float(bounds.mean()), float(_error(bounds)), len(bounds), table, broken)


def _error(x: np.ndarray) -> Any:
    """Standard error of the mean over the first axis, from means of groups of draws."""
    groups = x[: len(x) // GROUP * GROUP].reshape(-1, GROUP, *x.shape[1:]).mean(1) if len(x) >= 8 * GROUP else x
    if len(groups) < 2:
        return np.full(x.shape[1:], np.nan)
    spread = groups.std(0, ddof=1) / len(groups) ** 0.5
    # Rounding apart, what has no noise is exact.
    return np.where(spread <= 1e-13 * np.abs(x).max(0, initial=1.0), 0.0, spread)


def _noise(d: Derivation, draws: int, seed: int, number: int) -> dict[str, np.ndarray]:
    group = GROUP if draws >= 8 * GROUP else 1
    eps = draw(generator(seed, number, Stream.BOUND), d.factors, draws // group, group)
    return {n: e.reshape(-1, *e.shape[2:]) for n, e in eps.items()}


def _pieces(p: Problem, guide: Any, whole: Objective, values: Mapping[str, np.ndarray]):
    """(objective, rows, what each term counts) for every combination of chunks of the subsampled plates."""
    d = whole.derivation
    plates = [q for q in d.plates.values() if q.subsampled and q.name in d.index_inputs]
    if not plates:
        yield whole, {n: np.arange(d.plates[n].size) for n in d.index_inputs}, np.ones(len(d.terms))
        return
    cuts = [[np.arange(a, min(a + ROWS, q.size)) for a in range(0, q.size, ROWS)] for q in plates]
    made: dict[tuple[int, ...], Objective] = {}
    for combination in product(*(list(enumerate(c)) for c in cuts)):
        sizes = {q.name: len(rows) for q, (_, rows) in zip(plates, combination, strict=True)}
        key = tuple(sizes.values())
        if key not in made:
            part = derive(p, guide, plate_sizes=sizes, starts=values)
            made[key] = Objective(part, choose(part))
        objective = made[key]
        counted = np.array([_counts(t, plates, combination, sizes) for t in objective.derivation.terms])
        yield objective, {q.name: rows for q, (_, rows) in zip(plates, combination, strict=True)}, counted


def _counts(term, plates, combination, sizes) -> float:
    """A term of a chunk stands for its own rows; one outside the plate counts in the first chunk only."""
    inside = {q.name for q in term.plates}
    share = 1.0
    for q, (number, _) in zip(plates, combination, strict=True):
        if q.name in inside:
            share *= sizes[q.name] / q.size
        elif number:
            return 0.0
    return share
