"""A joint Gaussian guide as correlated noise of a factorised one.

Draws of Normal(loc, C) over several sites are loc + scale * e with e ~ Normal(0, R), scale the square
roots of C's diagonal and R its correlation matrix. In this form plate elements can be averaged out one by
one: the global latents keep their marginal Normal(0, R_gg), and whatever the guide says of the elements
given them is replaced by nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from ..algorithms import Solution, noise
from ..algorithms.deterministic import triangle
from ..algorithms.wide import log_normal
from ..elbo import FactorFacts, Problem
from ..guides import Joint

LARGEST = 2000  # latent dimension up to which a correlation matrix is made


@dataclass(frozen=True)
class Correlated:
    """Noise of some factors with correlation matrix root root', unit rows; `places` says which rows are whose.

    Parts of the matrix are factored by way of their rows: near collinearity its own digits would not do.
    """

    places: Mapping[str, slice]
    root: np.ndarray

    def draw(self, rng: np.random.Generator, factors: Sequence[FactorFacts], count: int) -> dict[str, np.ndarray]:
        """Noise of all factors, those with places correlated."""
        everyone = {f.name for f in factors}
        out = {n: x[0] for n, x in noise.draw(rng, factors, 1, count, everyone).items()}
        if self.places:
            e = np.concatenate([out[n].reshape(count, -1) for n in self.places], axis=1) @ triangle(self.root).T
            for name, place in self.places.items():
                out[name] = e[:, place].reshape(out[name].shape)
        return out

    def of(self, factors: Sequence[FactorFacts]) -> np.ndarray:
        """The Cholesky factor for these factors' coordinates in their order; others are independent."""
        sizes = [prod(f.noise_shape) for f in factors]
        ends = np.cumsum([0, *sizes])
        held = [(f, a) for f, a in zip(factors, ends, strict=False) if f.name in self.places]
        out = np.eye(ends[-1])
        if held:
            here = np.concatenate([a + np.arange(prod(f.noise_shape)) for f, a in held])
            there = np.concatenate([self.indices(f).ravel() for f, _ in held])
            out[np.ix_(here, here)] = triangle(self.root[there])
        return out

    def indices(self, f: FactorFacts) -> np.ndarray:
        """The numbers of a factor's coordinates, in the shape of its noise."""
        place = self.places[f.name]
        return np.arange(place.start, place.stop).reshape(f.noise_shape)

    def log_conditional(self, given: np.ndarray, e_given: np.ndarray, each: np.ndarray, e: np.ndarray) -> np.ndarray:
        """log q_mf(e_n) - log q(e_n | given) for elements n, whose coordinates `each` (N, k) names: (S, N).

        `e_given` (S, G) are the coordinates `given`; `e` is (S, N, k).
        """
        count = len(given)
        q, r = np.linalg.qr(self.root[given].T)  # rows of the given ones: r' q'
        own = solve_triangular(r, e_given.T, trans="T") if count else np.zeros((0, len(e)))
        rows = self.root[each]
        known = rows @ q
        rest = np.swapaxes(rows - known @ q.T, -1, -2)
        t = np.swapaxes(np.linalg.qr(rest)[1], -1, -2)
        mean = np.einsum("nkg,gs->snk", known, own)
        z = np.linalg.solve(t[None], (e - mean)[..., None])[..., 0]
        log_det = np.sum(np.log(np.abs(np.diagonal(t, axis1=-2, axis2=-1))), axis=-1)
        return np.sum(log_normal(e) - log_normal(z), axis=-1) + log_det


NONE = Correlated({}, np.zeros((0, 0)))


def as_correlated(p: Problem, guide: Any, solution: Solution) -> tuple[Any, dict[str, Any], Correlated]:
    """The guide, its parameters and its noise: a joint Gaussian guide as a factorised one with correlated noise."""
    joint = next((f for f in solution.derivation.factors if f.name == Joint.NAME), None)
    values = solution.values
    if guide not in ("fullrank", "lowrank") or joint is None:
        return guide, values, NONE
    loc = np.asarray(values[f"{Joint.NAME}.loc"], dtype=float)
    if len(loc) > LARGEST:
        return guide, values, NONE
    if guide == "fullrank":
        root = np.asarray(values[f"{Joint.NAME}.scale_tril"], dtype=float)
    else:
        parts = values[f"{Joint.NAME}.cov_factor"], np.diag(values[f"{Joint.NAME}.scale"])
        root = np.concatenate([np.asarray(x, dtype=float) for x in parts], axis=1)
    scale = np.linalg.norm(root, axis=1)
    out = {n: x for n, x in values.items() if not n.startswith(f"{Joint.NAME}.")}
    places, start = {}, 0
    for site in joint.sites:
        stop = start + int(np.prod(p.shapes[site], dtype=np.int64))
        places[site] = slice(start, stop)
        out[f"{site}.loc"] = loc[start:stop].reshape(p.shapes[site])
        out[f"{site}.scale"] = scale[start:stop].reshape(p.shapes[site])
        start = stop
    return "meanfield", out, Correlated(places, root / scale[:, None])
