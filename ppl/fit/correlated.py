"""A joint Gaussian guide as correlated noise of a factorised one.

Draws of Normal(loc, C) over several sites are loc + scale * e with e ~ Normal(0, R), scale the square
roots of C's diagonal and R its correlation matrix. In this form plate elements can be averaged out one by
one: the global latents keep their marginal Normal(0, R_gg), and whatever the guide says of the elements
given them is replaced by nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from ..algorithms import Solution, noise
from ..elbo import FactorFacts, Problem
from ..guides import Joint
from .wide import log_normal

LARGEST = 2000  # latent dimension up to which a correlation matrix is made


@dataclass(frozen=True)
class Correlated:
    """Noise of some factors with correlation matrix R; `places` says which coordinates are whose."""

    places: Mapping[str, slice]
    correlation: np.ndarray

    @cached_property
    def tril(self) -> np.ndarray:
        """The Cholesky factor of R."""
        return cholesky(self.correlation, lower=True)

    def draw(self, rng: np.random.Generator, factors: Sequence[FactorFacts], count: int) -> dict[str, np.ndarray]:
        """Noise of all factors, those with places correlated."""
        everyone = {f.name for f in factors}
        out = {n: x[0] for n, x in noise.draw(rng, factors, 1, count, everyone).items()}
        if self.places:
            e = np.concatenate([out[n].reshape(count, -1) for n in self.places], axis=1) @ self.tril.T
            for name, place in self.places.items():
                out[name] = e[:, place].reshape(out[name].shape)
        return out

    def of(self, factors: Sequence[FactorFacts]) -> np.ndarray:
        """The Cholesky factor of these factors' part of R, coordinates in their order; others are independent."""
        sizes = [prod(f.noise_shape) for f in factors]
        ends = np.cumsum([0, *sizes])
        held = [(f, a) for f, a in zip(factors, ends, strict=False) if f.name in self.places]
        r = np.eye(ends[-1])
        if held:
            here = np.concatenate([a + np.arange(prod(f.noise_shape)) for f, a in held])
            there = np.concatenate([self.indices(f).ravel() for f, _ in held])
            r[np.ix_(here, here)] = self.correlation[np.ix_(there, there)]
        return cholesky(r, lower=True)

    def indices(self, f: FactorFacts) -> np.ndarray:
        """The numbers of a factor's coordinates, in the shape of its noise."""
        place = self.places[f.name]
        return np.arange(place.start, place.stop).reshape(f.noise_shape)

    def log_conditional(self, given: np.ndarray, e_given: np.ndarray, each: np.ndarray, e: np.ndarray) -> np.ndarray:
        """log q_mf(e_n) - log q(e_n | given) for elements n, whose coordinates `each` (N, k) names: (S, N).

        `e_given` (S, G) are the coordinates `given`; `e` is (S, N, k).
        """
        r = self.correlation
        root = cholesky(r[np.ix_(given, given)], lower=True) if len(given) else np.zeros((0, 0))
        half, own = r[np.ix_(given, each.ravel())], e_given.T
        if len(given):
            half, own = solve_triangular(root, half, lower=True), solve_triangular(root, own, lower=True)
        mean = (own.T @ half).reshape(len(e), *each.shape)
        block = half.reshape(len(given), *each.shape)
        covariance = r[each[:, :, None], each[:, None, :]] - np.einsum("gnk,gnl->nkl", block, block)
        t = np.linalg.cholesky(covariance)
        z = np.linalg.solve(t[None], (e - mean)[..., None])[..., 0]
        log_det = np.sum(np.log(np.diagonal(t, axis1=-2, axis2=-1)), axis=-1)
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
        tril = np.asarray(values[f"{Joint.NAME}.scale_tril"], dtype=float)
        covariance = tril @ tril.T
    else:
        factor = np.asarray(values[f"{Joint.NAME}.cov_factor"], dtype=float)
        covariance = factor @ factor.T + np.diag(np.asarray(values[f"{Joint.NAME}.scale"], dtype=float) ** 2)
    scale = np.sqrt(np.diag(covariance))
    out = {n: x for n, x in values.items() if not n.startswith(f"{Joint.NAME}.")}
    places, start = {}, 0
    for site in joint.sites:
        stop = start + int(np.prod(p.shapes[site], dtype=np.int64))
        places[site] = slice(start, stop)
        out[f"{site}.loc"] = loc[start:stop].reshape(p.shapes[site])
        out[f"{site}.scale"] = scale[start:stop].reshape(p.shapes[site])
        start = stop
    return "meanfield", out, Correlated(places, covariance / np.outer(scale, scale))
