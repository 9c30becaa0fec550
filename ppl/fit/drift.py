"""Does the bound have a maximum where the run ended, or does it still rise as the guide runs away?

At a maximum every move costs: a Gaussian guide of twice its width loses 0.8 nats, of half its width
0.3. Where a wider one gains, nothing in the model holds that direction: the posterior is improper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..algorithms import Solution
from ..algorithms.noise import Stream, draw, generator
from ..elbo.blame import pieces
from ..guides import Joint
from .summary import number

DRAWS = 128
GAIN = 0.2  # nats that a move must win
END = 20.0  # on a logarithmic axis: a factor of 5e8 from one
WORK = 20_000_000  # counted cost of all moves


def drifts(solution: Solution, seed: int) -> tuple[str, ...]:
    """Sentences about the sites in whose direction the bound has no maximum."""
    d, objective = solution.derivation, solution.objective
    if solution.executor != "numpy" or d.index_inputs or solution.interrupted or not objective.climbs:
        return ()
    if objective.plan.any_score or len(d.factors) * 4 * DRAWS * objective.values.work > WORK:
        return ()
    eps = {n: e[0] for n, e in draw(generator(seed, 0, Stream.COMPARISON), d.factors, 1, DRAWS).items()}

    def bound(values: Mapping[str, Any]) -> float:
        with np.errstate(all="ignore"):
            return float(np.mean(objective.evaluate(dict(values), {}, eps, DRAWS)[0]))

    now, found = bound(solution.values), []
    ended = () if solution.converged else tuple(_ended(solution))
    for sites, width, moved in _wider(solution):
        if {site for site, _ in ended}.intersection(sites):
            continue
        if any(bound({**solution.values, **m}) > now + GAIN for m in moved):
            found.append(
                f"the bound still rises as {' and '.join(sites)} spreads (sd {number(width)}): the posterior is "
                f"improper in this direction. Nothing holds it: a flat prior and no data, collinear columns, or "
                f"separable classes; a proper prior such as Normal(0, 10) does"
            )
    found += [
        f"{site} ran to {number(value)} and on: the density has no maximum there, as where the data have no "
        f"spread, or are of another scale than the prior; a prior that keeps {site} away from there helps"
        for site, value in ended
    ]
    return tuple(found)


def _wider(solution: Solution) -> Iterator[tuple[tuple[str, ...], float, list[dict[str, np.ndarray]]]]:
    """For each Gaussian factor its widest direction: the sites, the width, and parameters with it doubled."""
    d, values = solution.derivation, solution.values
    for f in d.factors:
        loc = values.get(f"{f.name}.loc")
        if f.origin != "automatic" or loc is None or not np.size(loc):
            continue
        if f.name == Joint.NAME and f"{f.name}.scale_tril" in values:
            tril = values[f"{f.name}.scale_tril"]
            left, widths, _ = np.linalg.svd(tril)
            v = left[:, 0]
            twice = np.eye(len(v)) + np.outer(v, v)
            try:
                wide = {f"{f.name}.scale_tril": np.linalg.cholesky(twice @ tril @ tril.T @ twice)}
            except np.linalg.LinAlgError:
                continue
            sites = tuple(s for s, x in pieces(d, f.sites, v) if np.max(np.abs(x), initial=0.0) > 0.1)
            yield sites, float(widths[0]), [wide, {**wide, f"{f.name}.loc": loc + v * (v @ loc)}]
        elif f"{f.name}.scale" in values and np.shape(values[f"{f.name}.scale"]) == np.shape(loc):
            scale = values[f"{f.name}.scale"]
            widest = np.arange(np.size(scale)).reshape(np.shape(scale)) == np.argmax(scale)
            twice = 1.0 + widest
            wide = {f"{f.name}.scale": scale * twice}
            yield (f.name,), float(np.max(scale)), [wide, {**wide, f"{f.name}.loc": loc * twice}]


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
