"""Wide noise: what draws of a guide look like that reach beyond it, and their density.

A draw is a function of standard noise e in D dimensions. Beside the guide's own noise stand two wide
kinds: a multivariate t, all coordinates stretched together, and normal noise with one coordinate, chosen
at random, replaced by a Cauchy draw. All are weighed against the mixture of the three, by how many there
are of each (Veach and Guibas 1995, the balance heuristic; Hesterberg 1995, defensive mixtures):

    log w = log p - log q - log [share_0 + share_1 t(e) / phi(e) + share_2 mean_j c(e_j) / phi(e_j)]

so that no weight is much larger than that of a guide with Cauchy tails.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def log_normal(e: np.ndarray) -> np.ndarray:
    """Log density of standard normal noise, coordinate by coordinate."""
    return -0.5 * e * e - _HALF_LOG_2PI


def log_cauchy(e: np.ndarray) -> np.ndarray:
    """Log density of standard Cauchy noise, coordinate by coordinate."""
    return -np.log1p(e * e) - math.log(math.pi)


def with_wide(rng: np.random.Generator, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The noise (S, D) and half as much wide noise below it, and log mixture / guide density of every row.

    >>> e, log_mix = with_wide(np.random.default_rng(0), np.zeros((4, 1)))
    >>> e.shape, log_mix.shape
    ((6, 1), (6,))
    """
    count, size = own.shape
    if not size:
        return own, np.zeros(count)
    kinds = kinds_of(count)
    e = np.concatenate([own, wide(rng, kinds, size)])
    return e, log_mixture(e, kinds)


def kinds_of(count: int) -> np.ndarray:
    """How many draws there are of each kind beside so many of the guide: its own, stretched, one coordinate wide."""
    return np.array([count, count // 4, count // 2 - count // 4])


def wide(rng: np.random.Generator, kinds: np.ndarray, size: int) -> np.ndarray:
    """Wide noise: stretched together, then in one coordinate."""
    _, joint, single = kinds
    stretched = rng.standard_normal((joint, size)) / np.abs(rng.standard_normal((joint, 1)))
    one = rng.standard_normal((single, size))
    one[np.arange(single), rng.integers(size, size=single)] = rng.standard_cauchy(single)
    return np.concatenate([stretched, one])


def log_mixture(e: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """log mixture / guide density of noise (S, D), for so many draws of each kind."""
    size = e.shape[1]
    square = np.sum(e * e, axis=1)
    half = 0.5 * (1.0 + size)  # a multivariate t with one degree of freedom
    log_t = special.gammaln(half) - half * math.log(math.pi) - half * np.log1p(square)
    log_joint = log_t - (-0.5 * square - size * _HALF_LOG_2PI)
    log_single = special.logsumexp(log_cauchy(e) - log_normal(e), axis=1) - math.log(size)
    parts = [np.zeros(len(e)), log_joint, log_single]
    with np.errstate(divide="ignore"):
        return special.logsumexp(parts, axis=0, b=(kinds / kinds.sum())[:, None])
