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

from ..algorithms.wide import log_cauchy, log_normal
from ..elbo import Derivation, FactorFacts
from .elements import Group, axis_of, by_element

SETS = 8  # of nodes, each for a part of the draws, so that what one set misses averages out
QUIET = 0.1  # nats by which two sets of nodes may differ, for them to be used side by side
DEGREES = 5.0  # of freedom of the nodes
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

    Rounds of Cauchy nodes find each element's mean and covariance; the nodes themselves are Student's t, so
    that none far out has much weight where the posterior's tail is heavier than a normal one. There are
    several sets where they agree, else one for all draws, whose error is nearly theirs alike.
    """
    if not found:
        return [{}]
    few = {n: x[:PILOTS] for n, x in shared.items()}

    def tables(points: Mapping[str, Points], nodes: int) -> dict[str, np.ndarray]:
        by_term = terms_at(PILOTS, few, {n: x for p in points.values() for n, x in p.noise.items()}, nodes)
        return {g.plate: by_element(d, g, by_term, PILOTS, nodes) + points[g.plate].log_ratios for g in found}

    where = {g.plate: Place.first(g) for g in found}
    for _ in range(2 if all(g.dimension == 1 for g in found) else 4):
        # Not beyond 100: so far off a double may hold no better value, and would count by its distance.
        wide = {g.plate: np.tan(math.pi * (np.clip(_net(rng, g, PILOT_NODES), 0.003, 0.997) - 0.5)) for g in found}
        points = {g.plate: where[g.plate].points(g, wide[g.plate], log_cauchy) for g in found}
        for plate, table in tables(points, PILOT_NODES).items():
            where[plate] = where[plate].moved(wide[plate], table)
    sets, totals = [], np.zeros((SETS, PILOTS))
    for k in range(SETS):
        base = {g.plate: special.stdtrit(DEGREES, _net(rng, g, nodes)) for g in found}
        sets.append({g.plate: where[g.plate].points(g, base[g.plate], _log_student) for g in found})
        for table in tables(sets[-1], nodes).values():
            totals[k] += np.sum(special.logsumexp(table, axis=1), axis=-1)
    possible = totals[:, np.all(totals > -np.inf, axis=0)]  # without pilots whose elements are impossible
    return sets if possible.size and np.mean(np.std(possible, axis=0, ddof=1)) < QUIET else sets[:1]


@dataclass(frozen=True)
class Place:
    """Where nodes of a group lie: noise centre + root base for every element, (N, k) and (N, k, k)."""

    centre: np.ndarray
    root: np.ndarray

    @classmethod
    def first(cls, g: Group) -> Place:
        """Where the guide has the elements."""
        return cls(
            np.zeros((g.size, g.dimension)), np.broadcast_to(np.eye(g.dimension), (g.size,) + 2 * (g.dimension,))
        )

    def at(self, base: np.ndarray) -> np.ndarray:
        return self.centre + np.einsum("nkl,snl->snk", self.root, base)

    def moved(self, base: np.ndarray, table: np.ndarray) -> Place:
        """The mean and covariance of nodes by their log ratios (S, K, N).

        Of few nodes with weight the covariance says little: a share of the one before is added.
        """
        table = np.where(np.isnan(table), -np.inf, table)
        impossible = np.max(table, axis=1, keepdims=True) == -np.inf  # at every node of an element
        weights = special.softmax(np.where(impossible, 0.0, table), axis=1).mean(0)
        with np.errstate(all="ignore"):
            e = self.at(base)
            mean = np.einsum("sn,snk->nk", weights, e)
            covariance = np.einsum("sn,snk,snl->nkl", weights, e - mean, e - mean)
            worth = 1.0 / np.sum(weights**2, axis=0)
            covariance += (self.root @ np.swapaxes(self.root, -1, -2)) / worth[:, None, None] ** 2
            sure = np.all(np.isfinite(mean), axis=-1) & np.all(np.isfinite(covariance), axis=(-1, -2))
            size = np.trace(covariance, axis1=-2, axis2=-1)
            sure &= np.linalg.det(covariance / size[:, None, None]) > 1e-12
        root = np.array(self.root)
        root[sure] = np.linalg.cholesky(covariance[sure])
        return Place(np.where(sure[:, None], mean, self.centre), root)

    def points(self, g: Group, base: np.ndarray, log_density: Any) -> Points:
        """Nodes at base points of this density, as noise of the group's factors."""
        e = self.at(base)
        log_det = np.sum(np.log(np.diagonal(self.root, axis1=-2, axis2=-1)), axis=-1)
        log_ratios = np.sum(log_normal(e) - log_density(base), axis=-1) + log_det
        out, start = {}, 0
        for f in g.factors:
            axis, size = axis_of(f, g.plate), prod(f.noise_shape) // g.size
            rest = [n for i, n in enumerate(f.noise_shape) if i != axis]
            part = e[:, :, start : start + size].reshape(len(e), g.size, *rest)
            out[f.name] = from_normal(f, np.moveaxis(part, 1, 1 + axis))
            start += size
        return Points(out, log_ratios)


def _log_student(x: np.ndarray) -> np.ndarray:
    """Log density of standard Student's t nodes, coordinate by coordinate."""
    half = 0.5 * (DEGREES + 1.0)
    constant = special.gammaln(half) - special.gammaln(0.5 * DEGREES) - 0.5 * math.log(DEGREES * math.pi)
    return constant - half * np.log1p(x * x / DEGREES)


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


def picked_at(points: np.ndarray, pick: np.ndarray, axis: int) -> np.ndarray:
    """For every draw and element the node that was chosen: (S, *noise shape)."""
    table = np.moveaxis(points, 1 + axis, 1)  # (nodes, N, ...)
    return np.moveaxis(table[pick, np.arange(pick.shape[1])], 1, 1 + axis)
