"""Does the bound have a maximum where the run ended, or does it still rise as the guide runs away?

At a maximum every move costs: a Gaussian guide of twice its width loses 0.8 nats, of half its width
0.3. Where a wider one gains, the guide is too narrow: Laplace's may be, whose width is that of the
mode, and any that was not fitted to its end. Where it gains with every doubling of its width, and the
prior of a site in this direction is flat, nothing in the model holds it: the posterior looks improper.
A proper prior and a density of bounded size make a proper posterior, whatever the guide does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..algorithms import Solution
from ..algorithms.deterministic import flat_sites, triangle
from ..algorithms.noise import Stream, draw, generator
from ..elbo.blame import pieces
from ..guides import Joint
from .summary import number

DRAWS = 128
GAIN = 0.2  # nats that a move must win
END = 20.0  # on a logarithmic axis: a factor of 5e8 from one
DOUBLINGS = (2.0, 4.0, 8.0)  # times the guide's width
WORK = 20_000_000  # counted cost of all moves


def drifts(solution: Solution, seed: int) -> tuple[str, ...]:
    """Sentences about the sites in whose direction the bound has no maximum."""
    d, objective = solution.derivation, solution.objective
    if solution.executor == "eager" or d.index_inputs or solution.interrupted or not objective.climbs:
        return ()
    if objective.plan.any_score or len(d.factors) * 6 * DRAWS * objective.values.work > WORK:
        return ()
    eps = {n: e[0] for n, e in draw(generator(seed, 0, Stream.COMPARISON), d.factors, 1, DRAWS).items()}

    def bound(values: Mapping[str, Any]) -> float:
        with np.errstate(all="ignore"):
            return float(np.mean(objective.evaluate(dict(values), {}, eps, DRAWS)[0]))

    now, found = bound(solution.values), []
    ended = () if solution.converged else tuple(_ended(solution))
    flat = flat_sites(d)
    for sites, width, wider in _wider(solution):
        if ended:  # widths say nothing yet
            break
        bounds = [now, *(max(bound({**solution.values, **m}) for m in wider(k)) for k in DOUBLINGS)]
        gains = [after - before for before, after in itertools.pairwise(bounds)]
        spreads = f"{' and '.join(sites)} spreads (sd {number(width)})"
        if flat.intersection(sites) and all(g > GAIN for g in gains):
            found.append(
                f"the bound still rises as {spreads}: the posterior looks improper in this direction. Nothing holds "
                f"it: a flat prior and no data, collinear columns, or separable classes; a proper prior such as "
                f"Normal(0, 10) does"
            )
        elif gains[0] > GAIN:
            found.append(
                f"the bound rises by {number(gains[0])} nats as {spreads} to twice that: the guide is too narrow for it"
            )
    found += [
        f"{site} ran to {number(value)} and on: the density has no maximum there, as where the data have no "
        f"spread, or are of another scale than the prior; a prior that keeps {site} away from there helps"
        for site, value in ended
    ]
    return tuple(found)


def _wider(solution: Solution) -> Iterator[tuple[tuple[str, ...], float, Callable]]:
    """For each Gaussian factor its widest direction: the sites, the width, and parameters with it k times as wide."""
    d, values = solution.derivation, solution.values
    for f in d.factors:
        loc = values.get(f"{f.name}.loc")
        if f.origin != "automatic" or loc is None or not np.size(loc):
            continue
        if f.name == Joint.NAME and f"{f.name}.scale_tril" in values:
            tril = values[f"{f.name}.scale_tril"]
            try:
                left, widths, _ = np.linalg.svd(tril)
            except np.linalg.LinAlgError:
                continue
            v = left[:, 0]
            sites = tuple(s for s, x in pieces(d, f.sites, v) if np.max(np.abs(x), initial=0.0) > 0.1)
            yield sites, float(widths[0]), partial(_stretched, f.name, loc, tril, v)
        elif f"{f.name}.scale" in values and np.shape(values[f"{f.name}.scale"]) == np.shape(loc):
            scale = values[f"{f.name}.scale"]
            widest = np.arange(np.size(scale)).reshape(np.shape(scale)) == np.argmax(scale)
            yield (f.name,), float(np.max(scale)), partial(_scaled, f.name, loc, scale, widest)


def _stretched(name: str, loc: np.ndarray, tril: np.ndarray, v: np.ndarray, k: float) -> list[dict[str, np.ndarray]]:
    wide = {f"{name}.scale_tril": triangle(tril + (k - 1.0) * np.outer(v, v @ tril))}
    return [wide, {**wide, f"{name}.loc": loc + (k - 1.0) * v * (v @ loc)}]


def _scaled(name: str, loc: np.ndarray, scale: np.ndarray, widest: np.ndarray, k: float) -> list[dict[str, np.ndarray]]:
    times = np.where(widest, k, 1.0)
    wide = {f"{name}.scale": scale * times}
    return [wide, {**wide, f"{name}.loc": loc * times}]


def _ended(solution: Solution) -> Iterator[tuple[str, float]]:
    """Sites on a logarithmic axis that ran to its end, and where they are."""
    d = solution.derivation
    for f in d.factors:
        loc = solution.values.get(f"{f.name}.loc")
        if f.origin != "automatic" or loc is None:
            continue
        joint = f.name == Joint.NAME
        for site, u in pieces(d, f.sites, loc) if joint else [(f.name, np.ravel(loc))]:
            t = d.transforms.get(site)
            if t is not None and not t.is_identity and np.max(np.abs(u), initial=0.0) > END:
                far = u[np.argmax(np.abs(u))]
                yield site, float(np.exp(far))
