"""Mixtures. Those whose draws take a number of noise for the pick have their sampling law in test_mixtures.py."""

from __future__ import annotations

from functools import reduce

import numpy as np
from scipy import optimize, stats

import ppl.distributions as dist

from .row import Row, array


class MixtureOracle:
    """The weighted sum of frozen distributions of scipy; quantiles by root finding."""

    def __init__(self, weights, *parts):
        self.weights, self.parts = np.asarray(weights), parts

    def _sum(self, ask):
        return sum(w * ask(part) for w, part in zip(self.weights, self.parts, strict=True))

    def pdf(self, x):
        return self._sum(lambda part: part.pdf(x))

    def logpdf(self, x):
        logs = [np.log(w) + part.logpdf(x) for w, part in zip(self.weights, self.parts, strict=True)]
        return reduce(np.logaddexp, logs)

    def cdf(self, x):
        return self._sum(lambda part: part.cdf(x))

    def ppf(self, q):
        def one(q):
            ends = [part.ppf(q) for part in self.parts]
            return optimize.brentq(lambda x: self.cdf(x) - q, min(ends) - 1e-9, max(ends) + 1e-9, xtol=1e-14)

        return np.vectorize(one)(q)

    def mean(self):
        return self._sum(lambda part: part.mean())

    def var(self):
        return self._sum(lambda part: part.var() + part.mean() ** 2) - self.mean() ** 2


_TWO, _THREE = array(0.3, 0.7), array(0.2, 0.5, 0.3)
_X = np.arange(400)

MIXTURES = [
    Row(
        dist.MixtureSameFamily(dist.Categorical(_TWO), dist.Gamma(array(2.5, 9.0), array(0.7, 1.5))),
        MixtureOracle(_TWO, stats.gamma(2.5, scale=1 / 0.7), stats.gamma(9.0, scale=1 / 1.5)),
        "MixtureSameFamily-gamma",
    ),
    Row(
        dist.MixtureGeneral(
            dist.Categorical(logits=np.log(_THREE)), [dist.Gamma(2.5, 0.7), dist.LogNormal(0.3, 0.8), dist.Normal(3.0)]
        ),
        MixtureOracle(_THREE, stats.gamma(2.5, scale=1 / 0.7), stats.lognorm(0.8, scale=np.exp(0.3)), stats.norm(3.0)),
        "MixtureGeneral-continuous",
    ),
]


def _counts(d, label, *parts):
    p = MixtureOracle(_TWO, *parts)._sum(lambda part: part.pmf(_X))
    return Row(d, stats.rv_discrete(values=(_X, p / p.sum())), label)


MIXTURES_COUNTS = [
    _counts(
        dist.MixtureSameFamily(dist.Categorical(_TWO), dist.Poisson(array(0.8, 25.5))),
        "MixtureSameFamily-poisson",
        stats.poisson(0.8),
        stats.poisson(25.5),
    ),
    _counts(
        dist.MixtureGeneral(dist.Categorical(_TWO), [dist.Poisson(1.8), dist.Binomial(30, 0.7)]),
        "MixtureGeneral-counts",
        stats.poisson(1.8),
        stats.binom(30, 0.7),
    ),
    _counts(
        dist.MixtureGeneral(dist.Categorical(_TWO), [dist.Binomial(4, 0.2), dist.Binomial(6, 0.7)]),
        "MixtureGeneral-finite",
        stats.binom(4, 0.2),
        stats.binom(6, 0.7),
    ),
]

MIXTURE = dist.MixtureSameFamily(dist.Categorical(_TWO), dist.Normal(array(-1.0, 2.0), array(0.5, 1.5)))

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
MIXTURES_SHAPES = [
    Row(MIXTURE, None, "MixtureSameFamily-0"),
    Row(
        dist.MixtureSameFamily(
            dist.Categorical(logits=np.log(np.stack([_TWO, _TWO[::-1]]))),
            dist.Normal(np.arange(12.0).reshape(2, 2, 3), 0.7).to_event(1),
        ),
        None,
        "MixtureSameFamily-vectors",
    ),
    Row(
        dist.MixtureGeneral(dist.Categorical(_TWO), [dist.Normal(array(-1.0, 1.0), 0.5), dist.LogNormal(0.3, 0.8)]),
        None,
        "MixtureGeneral-batched",
    ),
    Row(
        dist.MixtureSameFamily(dist.Categorical(_TWO), dist.Uniform(array(0.0, 2.0), array(1.0, 3.0))),
        None,
        "MixtureSameFamily-apart",
    ),
]
