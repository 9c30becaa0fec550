"""Pareto smoothed importance sampling: how far draws from the guide can be trusted to stand for the posterior.

    log ratios log p - log q --fit a generalized Pareto to the largest--> k-hat, smoothed log weights

k-hat estimates how many moments the ratios have: below 0.5 their variance is finite and averages
settle, up to 0.7 smoothed averages still do, beyond it the guide misses a part of the posterior
(Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

FEWEST = 5  # values in a tail that a shape can be fitted to


class Smoothed(NamedTuple):
    """Smoothed log weights, which sum to one, and the shape of their tail."""

    log_weights: np.ndarray
    k_hat: float

    @property
    def effective_draws(self) -> float:
        """How many draws of equal weight are worth as much: 1 / sum of squared weights."""
        return float(np.exp(-special.logsumexp(2.0 * self.log_weights)))


def smooth(log_ratios: np.ndarray) -> Smoothed:
    """Smoothed importance weights from log ratios; k-hat is infinite where there is no tail to speak of.

    The largest min(S / 5, 3 sqrt(S)) of S ratios are replaced by the quantiles of a generalized
    Pareto distribution fitted to them, and cut off at the largest.

    >>> heavy = smooth(np.random.default_rng(0).standard_cauchy(4000) ** 2)
    >>> bool(heavy.k_hat > 0.7)
    True
    """
    x = np.array(log_ratios, dtype=float)
    x[np.isnan(x)] = -np.inf
    if not np.any(x > -np.inf):
        return Smoothed(np.full(x.shape, -np.log(x.size)), np.inf)
    endless = x == np.inf
    if np.any(endless):  # draws that outweigh all others
        return Smoothed(np.where(endless, -np.log(endless.sum()), -np.inf), np.inf)
    x -= x.max()
    size = int(np.ceil(min(x.size / 5.0, 3.0 * x.size**0.5)))
    order = np.argsort(x)
    cut = max(x[order[-size - 1]], np.log(np.finfo(float).tiny)) if size < x.size else -np.inf
    tail = order[np.searchsorted(x[order], cut, side="right") :]
    k_hat = np.inf
    if x.size >= 5 * FEWEST and np.ptp(x[np.isfinite(x)]) < 1e-10:
        k_hat = -np.inf  # all weights are equal, but for rounding: the guide is the posterior
    elif len(tail) >= FEWEST and x[tail[-1]] < cut + 1e-12:
        k_hat = -np.inf  # so are the largest: they have a bound
    elif len(tail) >= FEWEST and x[tail[-1]] > x[tail[0]]:
        excess = np.exp(x[tail]) - np.exp(cut)
        k_hat, scale = generalized_pareto(excess)
        if np.isfinite(k_hat):
            at = (np.arange(len(tail)) + 0.5) / len(tail)
            x[tail] = np.minimum(np.log(pareto_quantile(at, k_hat, scale) + np.exp(cut)), 0.0)
    return Smoothed(x - special.logsumexp(x), float(k_hat))


def generalized_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Shape k and scale sigma of sorted positive excesses, by the empirical Bayes estimate.

    Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto
    distribution", with k drawn towards 0.5 as if by ten more observations.
    """
    n = len(excess)
    count = 30 + int(n**0.5)
    quarter = excess[int(n / 4.0 + 0.5) - 1]
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(count / (np.arange(1, count + 1) - 0.5))) / (3.0 * quarter)
    k = np.mean(np.log1p(-theta[:, None] * excess), axis=1)
    profile = n * (np.log(-theta / k) - k - 1.0)
    weights = special.softmax(profile)
    weights = np.where(weights >= 10.0 * np.finfo(float).eps, weights, 0.0)
    mean = weights @ theta / weights.sum()
    k = float(np.mean(np.log1p(-mean * excess)))
    return (n * k + 10.0 * 0.5) / (n + 10.0), -k / mean


def pareto_quantile(probability: np.ndarray, k: float, scale: float) -> np.ndarray:
    """Quantiles of the generalized Pareto distribution: sigma ((1 - p)^-k - 1) / k."""
    if abs(k) < np.finfo(float).eps:
        return -scale * np.log1p(-probability)
    return scale * np.expm1(-k * np.log1p(-probability)) / k
