"""The verdict on chains: have they mixed, and how many independent draws are they worth?

| word | when |
|---|---|
| trusted | R-hat of every scalar below 1.01, every effective size at least 100 for each chain, no divergence, \
no warning |
| usable | R-hat below 1.05, effective sizes of at least 100, and divergences in at most 1 % of the draws |
| not trusted | the rest |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..algorithms import Solution
from ..algorithms.convergence import bulk_size, r_hat, tail_size
from .runs import draws_at
from .verdict import Verdict

MIXED, NEARLY = 1.01, 1.05  # R-hat
ENOUGH = 100  # effective draws, for each chain; in all, for a fit that is usable
DIVERGENT = 0.01  # share of the draws that may diverge
FEWEST = 10  # draws of a chain that anything can be said of


class Diagnosis(NamedTuple):
    """The worst R-hat and effective size over all scalars, which these are, and how many draws diverged."""

    r_hat: float
    at: str
    size: float
    least: str
    divergences: int
    draws: int


def diagnose(solution: Solution, seed: int) -> Diagnosis:
    """Looks at every scalar of continuous sites and deterministics."""
    s, d = solution.sampled, solution.derivation
    summed = () if d.states is None else d.states.names
    names = [n for n in d.results if n not in summed]
    found = draws_at(d, solution.values, s.noise, names, s.count, seed)
    worst: dict[str, tuple[float, float]] = {}
    for name, x in found.items():
        chains = np.reshape(x, (s.chains, -1, int(np.prod(x.shape[1:], dtype=np.int64)))).astype(float)
        varies = np.ptp(chains, axis=(0, 1)) > 0  # what is known varies not at all
        if chains.shape[1] < FEWEST or x.dtype.kind in "iub" or not np.any(varies):
            continue
        chains = chains[:, :, varies]
        sizes = np.minimum(bulk_size(chains), tail_size(chains))
        worst[name] = float(_worst(r_hat(chains), np.max, np.inf)), float(_worst(sizes, np.min, 0.0))
    divergences = int(np.sum(s.stats["diverging"]))
    if not worst:
        return Diagnosis(np.inf, "", 0.0, "", divergences, s.count)
    at, least = max(worst, key=lambda n: worst[n][0]), min(worst, key=lambda n: worst[n][1])
    return Diagnosis(worst[at][0], at, worst[least][1], least, divergences, s.count)


def _worst(x: np.ndarray, of, otherwise: float) -> float:
    return of(x) if np.all(np.isfinite(x)) else otherwise


def judge_chains(solution: Solution, warnings: tuple[str, ...], moving: tuple[str, ...], seed: int) -> Verdict:
    """The word on chains, and the figures that it comes from."""
    found, s = diagnose(solution, seed), solution.sampled
    reason = (
        f"{solution.stop_reason}; R-hat is at most {found.r_hat:.3f} ({found.at}), "
        f"and every scalar has at least {found.size:.0f} effective draws ({found.least} the fewest)"
    )
    warnings = (*warnings, *solution.doubts, *moving)
    if found.divergences:
        often = f"{found.divergences} of {found.draws} draws"
        what = f"{often} ended in a divergence: where the density bends more sharply than the steps are short"
        warnings = (*warnings, f"{what}, the chains may miss a part; a non-centred form, or target=0.95, helps")
    mixed = found.r_hat < MIXED and found.size >= ENOUGH * s.chains
    usable = found.r_hat < NEARLY and found.size >= ENOUGH and found.divergences <= DIVERGENT * found.draws
    converged = mixed and not solution.interrupted
    word = "not trusted" if not usable or moving else "trusted" if mixed and not warnings else "usable"
    return Verdict(word, converged, reason, (*warnings, f"no k-hat: {solution.no_weights}"))
