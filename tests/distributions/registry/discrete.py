"""Families of integers, categories and counts."""

from __future__ import annotations

import numpy as np
from scipy import stats

import ppl.distributions as dist

from .row import (
    CERTAIN,
    PROBABILITY,
    Row,
    array,
    probability,
    rows,
)


class _RoundedLogistic(stats.rv_discrete):
    """The mass of a logistic number between half integers, by differences of whichever tail is the smaller."""

    def _argcheck(self, mu, sigma, high):
        return sigma > 0

    def _get_support(self, mu, sigma, high):
        return 0, high

    def _pmf(self, k, mu, sigma, high):
        law = stats.logistic(mu, sigma)
        low, up = np.where(k > 0, k - 0.5, -np.inf), np.where(k < high, k + 0.5, np.inf)
        return np.where(k > mu, law.sf(low) - law.sf(up), law.cdf(up) - law.cdf(low))

    def _cdf(self, k, mu, sigma, high):
        return np.where(k >= high, 1.0, stats.logistic(mu, sigma).cdf(np.floor(k) + 0.5))


_ROUNDED = _RoundedLogistic(a=0, name="rounded_logistic", shapes="mu, sigma, high")

DISCRETE = [
    *rows("Bernoulli", lambda **p: stats.bernoulli(probability(**p)), *PROBABILITY, *CERTAIN),
    *rows(
        "Binomial",
        lambda total_count, **p: stats.binom(total_count, probability(**p)),
        *({"total_count": 7, **p} for p in (*PROBABILITY, *CERTAIN)),
        {"total_count": 0, "probs": 0.3},
        {"total_count": array(1, 12, 40), "probs": array([0.2], [0.8])},
    ),
    *rows(
        "BetaBinomial",
        lambda concentration1, concentration0, total_count: stats.betabinom(
            total_count, concentration1, concentration0
        ),
        {"concentration1": 2.0, "concentration0": 3.0, "total_count": 9},
        {"concentration1": 1.0, "concentration0": 0.7, "total_count": 5},
        {"concentration1": array(0.5, 8.0), "concentration0": 1.5, "total_count": array([3], [12])},
    ),
    *rows("Geometric", lambda **p: stats.geom(probability(**p), loc=-1), *PROBABILITY[:2], PROBABILITY[3]),
    *rows("Geometric", lambda probs: stats.randint(0, 1), {"probs": 1.0}),
    *rows(
        "Poisson",
        lambda rate: stats.poisson(rate),
        {"rate": 3.0},
        {"rate": 0.37},
        {"rate": 0.0},
        {"rate": array(0.1, 55.5)},
    ),
    *rows(
        "NegativeBinomial2",
        lambda mean, concentration: stats.nbinom(concentration, concentration / (mean + concentration)),
        {"mean": 3.0, "concentration": 2.0},
        {"mean": 0.4, "concentration": 1.0},
        {"mean": array(0.6, 15.0), "concentration": array([0.7], [9.5])},
    ),
    *rows(
        "NegativeBinomial",
        lambda total_count, **p: stats.nbinom(total_count, 1.0 - probability(**p)),
        *({"total_count": 2.5, **p} for p in PROBABILITY),
        {"total_count": 1.0, "probs": 0.4},
        {"total_count": array(0.3, 7.0), "probs": array([0.2], [0.7])},
    ),
    *rows(
        "GammaPoisson",
        lambda concentration, rate=1.0: stats.nbinom(concentration, rate / (1.0 + rate)),
        {"concentration": 2.5},
        {"concentration": 1.0, "rate": 0.3},
        {"concentration": array(0.7, 9.5), "rate": array([0.6], [4.0])},
    ),
    *rows(
        "BetaNegativeBinomial",
        lambda concentration1, concentration0, n: stats.betanbinom(n, concentration0, concentration1),
        {"concentration1": 2.0, "concentration0": 7.5, "n": 3},
        {"concentration1": 0.7, "concentration0": 6.0, "n": 1},
        {"concentration1": array(0.5, 4.0), "concentration0": 8.5, "n": array([1], [5])},
    ),
    *rows(
        "DiscreteUniform",
        lambda low, high: stats.randint(low, high + 1),
        {"low": 0, "high": 1},
        {"low": -3, "high": 4},
        {"low": 2, "high": 2},
        {"low": array(0, 3), "high": array([5], [9])},
    ),
    *rows(
        "DiscretizedLogistic",
        lambda loc, scale, high: _ROUNDED(*np.broadcast_arrays(loc, scale, high)),
        {"loc": 127.5, "scale": 20.0, "high": 255},
        {"loc": -0.7, "scale": 0.35, "high": 3},
        {"loc": 8.5, "scale": 1.0, "high": 7},
        {"loc": array(0.3, 6.2), "scale": array([0.8], [2.5]), "high": 7},
    ),
    *[
        Row(d, stats.rv_discrete(values=(np.arange(len(p)), p)), f"Categorical-{i}")
        for i, (d, p) in enumerate(
            [
                (dist.Categorical(array(0.2, 0.5, 0.3)), array(0.2, 0.5, 0.3)),
                (dist.Categorical(array(0.2, 0.0, 0.8)), array(0.2, 0.0, 0.8)),
                (dist.Categorical(logits=np.log(array(2.0, 5.0, 3.0))), array(0.2, 0.5, 0.3)),
                (dist.Categorical(logits=array(0.0, -np.inf, np.log(3.0))), array(0.25, 0.0, 0.75)),
            ]
        )
    ],
]

_SIMPLEX = array(0.2, 0.5, 0.3)

# Vectors, with an oracle of the log mass of one value.
DISCRETE_VECTORS = [
    Row(dist.OneHotCategorical(_SIMPLEX), stats.multinomial(1, _SIMPLEX), "OneHotCategorical-probs"),
    Row(
        dist.OneHotCategorical(logits=np.log(_SIMPLEX) + 7.0),
        stats.multinomial(1, _SIMPLEX),
        "OneHotCategorical-logits",
    ),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
DISCRETE_SHAPES = [
    Row(dist.Categorical(np.full((4, 2), 0.5)), None, "Categorical-batched"),
]
