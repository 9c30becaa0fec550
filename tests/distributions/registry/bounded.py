"""Families on an interval or a circle."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

import ppl.distributions as dist

from .mixtures import MixtureOracle
from .row import (
    Quiet,
    Row,
    array,
    by_quadrature,
    rows,
)


class Kumaraswamy:
    """The b-th power of a Beta(1, b) complement, by mapping scipy's Beta: x^a is Beta(1, b)."""

    def __init__(self, concentration1, concentration0):
        self.a, self.base = concentration1, stats.beta(1.0, concentration0)
        self.args, self.dist = (), Kumaraswamy
        self.kwds = {"concentration1": concentration1, "concentration0": concentration0}

    def logpdf(self, x):
        return self.base.logpdf(x**self.a) + np.log(self.a) + (self.a - 1.0) * np.log(x)

    def cdf(self, x):
        return self.base.cdf(np.clip(x, 0.0, 1.0) ** self.a)

    def ppf(self, q):
        return self.base.ppf(q) ** (1.0 / self.a)

    def mean(self):
        return by_quadrature(self, lambda x: x)

    def var(self):
        mean = self.mean()
        return by_quadrature(self, lambda x: (x - mean) ** 2)

    def entropy(self):
        return by_quadrature(self, lambda x: -self.logpdf(x))


class LogitNormal:
    """The sigmoid of scipy's normal."""

    def __init__(self, loc, scale):
        self.base, self.args, self.kwds, self.dist = (
            stats.norm(loc, scale),
            (),
            {"loc": loc, "scale": scale},
            LogitNormal,
        )

    def logpdf(self, x):
        return self.base.logpdf(special.logit(x)) - np.log(x) - np.log1p(-x)

    def cdf(self, x):
        return self.base.cdf(special.logit(np.clip(x, 0.0, 1.0)))

    def ppf(self, q):
        return special.expit(self.base.ppf(q))


class VonMises:
    """Scipy's, counted from -pi, with the circular mean and variance."""

    def __init__(self, loc, concentration):
        self.base, self.args, self.dist = stats.vonmises(concentration, loc), (), VonMises
        self.kwds = {"loc": loc, "concentration": concentration}
        self.concentration, self.loc = concentration, loc

    def logpdf(self, x):
        return self.base.logpdf(x)

    def cdf(self, x):
        return self.base.cdf(np.clip(x, -np.pi, np.pi)) - self.base.cdf(-np.pi)

    def ppf(self, q):
        low, high = np.full(np.shape(q), -np.pi), np.full(np.shape(q), np.pi)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def mean(self):
        return np.angle(np.exp(1j * np.asarray(self.loc)))

    def var(self):
        return by_quadrature(self, lambda x: 1.0 - np.cos(x - self.loc))

    def entropy(self):
        return by_quadrature(self, lambda x: -self.logpdf(x))


class Truncated:
    """A distribution of scipy kept to an interval."""

    def __init__(self, base, low, high):
        self.base, self.args, self.kwds = base, (), {"low": low, "high": high}
        self.dist = lambda low, high: Truncated(base, low, high)
        self.low, self.high = (-np.inf if low is None else low), (np.inf if high is None else high)
        self.below = base.cdf(self.low)
        self.mass = base.cdf(self.high) - self.below

    def logpdf(self, x):
        return self.base.logpdf(x) - np.log(self.mass)

    def cdf(self, x):
        return (self.base.cdf(np.clip(x, self.low, self.high)) - self.below) / self.mass

    def ppf(self, q):
        return self.base.ppf(self.below + q * self.mass)


def truncated(base, oracle, low, high):
    label = f"TruncatedDistribution-{type(base).__name__}"
    return [Row(dist.TruncatedDistribution(base, low, high), Quiet(Truncated(oracle, low, high)), label)]


BOUNDED = [
    *rows(
        "Uniform",
        lambda low, high: stats.uniform(low, high - low),
        {"low": 0.0, "high": 1.0},
        {"low": -1.3, "high": 0.7},
        {"low": array(-3.0, 2.0), "high": array([2.5], [9.0])},
    ),
    *rows(
        "Beta",
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        {"concentration1": 2.0, "concentration0": 3.0},
        {"concentration1": 1.0, "concentration0": 1.0},
        {"concentration1": 1.0, "concentration0": 2.5},
        {"concentration1": 0.5, "concentration0": 0.5},
        {"concentration1": array(0.7, 30.5), "concentration0": array([1.0], [4.4])},
    ),
    *rows(
        "TruncatedNormal",
        lambda loc, scale, low=-np.inf, high=np.inf: stats.truncnorm(
            (low - loc) / scale, (high - loc) / scale, loc, scale
        ),
        {"loc": 0.0, "scale": 1.0},
        {"loc": 0.3, "scale": 1.7, "low": 0.0},
        {"loc": 0.3, "scale": 1.7, "high": -1.1},
        {"loc": 0.3, "scale": 1.7, "low": -1.0, "high": 2.5},
        {"loc": array(-6.0, 0.0, 6.0), "scale": array([0.9], [2.1]), "low": -1.0, "high": 1.5},
    ),
    *rows(
        "LogUniform",
        lambda low, high: stats.loguniform(low, high),
        {"low": 1.0, "high": 10.0},
        {"low": 0.03, "high": 0.7},
        {"low": array(1e-8, 2.0), "high": array([2.5], [1e8])},
    ),
    *rows(
        "Triangular",
        lambda low, high, peak: stats.triang((peak - low) / (high - low), low, high - low),
        {"low": 0.0, "high": 1.0, "peak": 0.5},
        {"low": -1.3, "high": 0.7, "peak": 0.1},
        {"low": -1.3, "high": 0.7, "peak": -1.3},
        {"low": -1.3, "high": 0.7, "peak": 0.7},
        {"low": array(-3.0, 2.0), "high": array([2.5], [9.0]), "peak": 2.2},
    ),
    *rows(
        "Kumaraswamy",
        Kumaraswamy,
        {"concentration1": 2.0, "concentration0": 3.0},
        {"concentration1": 1.0, "concentration0": 1.0},
        {"concentration1": 1.0, "concentration0": 2.5},
        {"concentration1": 0.5, "concentration0": 0.5},
        {"concentration1": array(0.7, 30.5), "concentration0": array([1.0], [4.4])},
    ),
    *rows(
        "LogitNormal",
        LogitNormal,
        {"loc": 0.0, "scale": 1.0},
        {"loc": -1.3, "scale": 0.37},
        {"loc": array(-2.0, 0.5), "scale": array([0.1], [1.5])},
    ),
    *rows(
        "VonMises",
        VonMises,
        {"loc": 0.0, "concentration": 1.0},
        {"loc": -1.3, "concentration": 3.7},
        {"loc": 3.0, "concentration": 0.6},
        {"loc": array(-2.0, 7.5), "concentration": array([0.1], [40.3])},
    ),
    *truncated(dist.Gamma(2.5, 0.7), stats.gamma(2.5, scale=1 / 0.7), 1.0, 4.5),
    *truncated(dist.Normal(0.3, 1.2), stats.norm(0.3, 1.2), -1.0, array(0.0, 2.5)),
    *truncated(dist.StudentT(2.5, 0.3, 1.2), stats.t(2.5, 0.3, 1.2), None, -1.0),
    *truncated(dist.Cauchy(0.3, 1.2), stats.cauchy(0.3, 1.2), 2.0, None),
    *truncated(dist.Laplace(0.3, 1.2), stats.laplace(0.3, 1.2), -1.0, 2.5),
    *truncated(dist.Beta(0.5, 0.7), stats.beta(0.5, 0.7), 0.1, 0.8),
    *truncated(dist.Weibull(1.5, 2.5), stats.weibull_min(2.5, scale=1.5), 1.0, 3.5),
    *truncated(dist.SkewNormal(0.3, 1.2, 2.5), stats.skewnorm(2.5, 0.3, 1.2), -0.5, 2.0),
    *truncated(dist.SkewNormal(0.3, 1.2, -2.5), stats.skewnorm(-2.5, 0.3, 1.2), None, -0.7),
    *truncated(
        dist.MixtureSameFamily(dist.Categorical(array(0.3, 0.7)), dist.Normal(array(-1.0, 2.0), array(0.5, 1.5))),
        MixtureOracle(array(0.3, 0.7), stats.norm(-1.0, 0.5), stats.norm(2.0, 1.5)),
        0.5,
        None,
    ),
    *truncated(
        dist.MixtureGeneral(dist.Categorical(array(0.3, 0.7)), [dist.Gamma(2.5, 0.7), dist.LogNormal(0.3, 0.8)]),
        MixtureOracle(array(0.3, 0.7), stats.gamma(2.5, scale=1 / 0.7), stats.lognorm(0.8, scale=np.exp(0.3))),
        0.5,
        4.0,
    ),
]
