"""Nodes at which a plate element's latents are averaged out, placed where its posterior is.

    log mean_k [p(z_k, y | theta) / density of node k],  z_k = z(centre + width * e_k)

Nodes of the guide itself would miss what the guide misses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from scipy import special

from ..elbo import Derivation, FactorFacts
from .elements import Group, axis_of, by_element
from .wide import log_cauchy, log_normal

SETS = 8  # of nodes, each for a part of the draws, so that what one set misses averages out
QUIET = 0.1  # nats by which two sets of nodes may differ, for them to be used side by side
PILOTS, PILOT_NODES = 4, 64  # global draws at which, and nodes by which an element's posterior is looked for


def as_normal(f: FactorFacts, x: np.ndarray) -> np.ndarray:
    """Noise of a factor as standard normal noise."""
    return x if f.noise_kind == "normal" else special.ndtri(x)


def from_normal(f: FactorFacts, e: np.ndarray) -> np.ndarray:
    return e if f.noise_kind == "normal" else np.clip(special.ndtr(e), 1e-300, 1.0 - 2.0**-53)


@dataclass(frozen=True)
class Points:
    """Noise of a group at the nodes, by factor: (K, *noise shape), and log guide / proposal density (K, N)."""

    noise: dict[str, np.ndarray]
    log_ratios: np.ndarray


def placed(
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
            table = by_element(d, g, by_term, PILOTS, PILOT_NODES) + points[g.plate].log_ratios
            table = np.where(np.isnan(table), -np.inf, table)
            impossible = np.max(table, axis=1, keepdims=True) == -np.inf  # at every node of an element
            weights = special.softmax(np.where(impossible, 0.0, table), axis=1).mean(0)[:, :, None]
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
            table = by_element(d, g, by_term, PILOTS, nodes) + points[g.plate].log_ratios
            totals[k] += np.sum(special.logsumexp(table, axis=1), axis=-1)
        sets.append(points)
    possible = totals[:, np.all(totals > -np.inf, axis=0)]  # without pilots whose elements are impossible
    return sets if possible.size and np.mean(np.std(possible, axis=0, ddof=1)) < QUIET else sets[:1]


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
        axis, size = axis_of(f, g.plate), prod(f.noise_shape) // g.size
        rest = [n for i, n in enumerate(f.noise_shape) if i != axis]
        part = e[:, :, start : start + size].reshape(len(e), g.size, *rest)
        out[f.name] = from_normal(f, np.moveaxis(part, 1, 1 + axis))
        start += size
    return Points(out, log_ratios)


def picked_at(points: np.ndarray, pick: np.ndarray, axis: int) -> np.ndarray:
    """For every draw and element the node that was chosen: (S, *noise shape)."""
    table = np.moveaxis(points, 1 + axis, 1)  # (nodes, N, ...)
    return np.moveaxis(table[pick, np.arange(pick.shape[1])], 1, 1 + axis)
