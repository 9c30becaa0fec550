"""One row per family and parameter setting: the distribution, and an oracle that knows nothing of it.

The laws of the other files run over these rows. Every family has typical, non-integer, boundary and
batched settings. The oracle of a scalar family is a frozen distribution of scipy.stats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

import ppl.distributions as dist
from ppl.distributions import transforms as tf


@dataclass(frozen=True)
class Row:
    """A distribution and its oracle."""

    d: dist.Distribution
    oracle: Any
    label: str

    @property
    def scalar(self) -> bool:
        """One number: no batch, no event."""
        return self.d.shape() == ()

    def __str__(self) -> str:
        return self.label


class Quiet:
    """A frozen distribution of scipy whose own floating-point warnings are not our concern."""

    def __init__(self, frozen: Any) -> None:
        self.frozen = frozen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.frozen, name)
        return np.errstate(all="ignore")(found) if callable(found) else found


def _rows(name: str, oracle: Callable, *settings: dict[str, Any]) -> list[Row]:
    family = dist.FAMILIES[name]
    return [Row(family(**s), Quiet(oracle(**s)), f"{name}-{i}") for i, s in enumerate(settings)]


def _array(*values):
    return np.array(values)


def _location_scale(scipy_family):
    return lambda loc, scale: scipy_family(loc, scale)


def _probability(probs=None, logits=None):
    return special.expit(logits) if probs is None else np.asarray(probs)


LOCATION_SCALE = (
    {"loc": 0.0, "scale": 1.0},
    {"loc": -1.3, "scale": 0.37},
    {"loc": _array(-2.0, 0.0, 150.5), "scale": _array([0.01], [30.0])},
)
SCALE = ({"scale": 1.0}, {"scale": 0.37}, {"scale": _array(0.01, 30.0)})
GAMMA = (
    {"concentration": 2.0, "rate": 1.0},
    {"concentration": 2.5, "rate": 0.7},
    {"concentration": 1.0, "rate": 3.0},
    {"concentration": 0.4, "rate": 3.0},
    {"concentration": _array(0.7, 1.0, 40.3), "rate": _array([0.1], [25.0])},
)
PROBABILITY = (
    {"probs": 0.3},
    {"logits": -1.7},
    {"probs": _array(0.01, 0.5, 0.97)},
    {"logits": _array([-4.0], [0.0], [3.3])},
)
CERTAIN = ({"probs": 0.0}, {"probs": 1.0})

CONTINUOUS = [
    *_rows("Normal", _location_scale(stats.norm), *LOCATION_SCALE),
    *_rows(
        "LogNormal",
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        {"loc": 0.0, "scale": 1.0},
        {"loc": -1.3, "scale": 0.37},
        {"loc": _array(-2.0, 0.5), "scale": _array([0.1], [1.5])},
    ),
    *_rows("HalfNormal", lambda scale: stats.halfnorm(scale=scale), *SCALE),
    *_rows("Cauchy", _location_scale(stats.cauchy), *LOCATION_SCALE),
    *_rows("HalfCauchy", lambda scale: stats.halfcauchy(scale=scale), *SCALE),
    *_rows(
        "StudentT",
        lambda df, loc, scale: stats.t(df, loc, scale),
        {"df": 5.0, "loc": 0.0, "scale": 1.0},
        {"df": 2.5, "loc": -1.3, "scale": 0.37},
        {"df": 1.0, "loc": 0.0, "scale": 1.0},
        {"df": _array(0.7, 2.0, 3.3, 200.0), "loc": 1.0, "scale": _array([0.1], [25.0])},
    ),
    *_rows("Laplace", _location_scale(stats.laplace), *LOCATION_SCALE),
    *_rows("Logistic", _location_scale(stats.logistic), *LOCATION_SCALE),
    *_rows("Gumbel", _location_scale(stats.gumbel_r), *LOCATION_SCALE),
    *_rows(
        "Exponential",
        lambda rate: stats.expon(scale=1 / rate),
        {"rate": 1.0},
        {"rate": 3.7},
        {"rate": _array(0.01, 30.0)},
    ),
    *_rows("Gamma", lambda concentration, rate: stats.gamma(concentration, scale=1 / rate), *GAMMA),
    *_rows("InverseGamma", lambda concentration, rate: stats.invgamma(concentration, scale=rate), *GAMMA),
    *_rows("Chi2", lambda df: stats.chi2(df), {"df": 3.0}, {"df": 2.5}, {"df": 2.0}, {"df": _array(0.9, 20.0)}),
    *_rows(
        "Weibull",
        lambda scale, concentration: stats.weibull_min(concentration, scale=scale),
        {"scale": 2.0, "concentration": 1.5},
        {"scale": 0.3, "concentration": 1.0},
        {"scale": _array(0.3, 7.0), "concentration": _array([0.6], [3.3])},
    ),
    *_rows(
        "Pareto",
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        {"scale": 1.0, "alpha": 3.0},
        {"scale": 0.4, "alpha": 2.5},
        {"scale": 2.0, "alpha": _array(0.8, 1.0, 1.7, 9.1)},
    ),
    *_rows(
        "Uniform",
        lambda low, high: stats.uniform(low, high - low),
        {"low": 0.0, "high": 1.0},
        {"low": -1.3, "high": 0.7},
        {"low": _array(-3.0, 2.0), "high": _array([2.5], [9.0])},
    ),
    *_rows(
        "Beta",
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        {"concentration1": 2.0, "concentration0": 3.0},
        {"concentration1": 1.0, "concentration0": 1.0},
        {"concentration1": 1.0, "concentration0": 2.5},
        {"concentration1": 0.5, "concentration0": 0.5},
        {"concentration1": _array(0.7, 30.5), "concentration0": _array([1.0], [4.4])},
    ),
    *_rows(
        "TruncatedNormal",
        lambda loc, scale, low=-np.inf, high=np.inf: stats.truncnorm(
            (low - loc) / scale, (high - loc) / scale, loc, scale
        ),
        {"loc": 0.0, "scale": 1.0},
        {"loc": 0.3, "scale": 1.7, "low": 0.0},
        {"loc": 0.3, "scale": 1.7, "high": -1.1},
        {"loc": 0.3, "scale": 1.7, "low": -1.0, "high": 2.5},
        {"loc": _array(-6.0, 0.0, 6.0), "scale": _array([0.9], [2.1]), "low": -1.0, "high": 1.5},
    ),
    Row(
        dist.TransformedDistribution(dist.Normal(0.3, 0.8), tf.ExpTransform()),
        stats.lognorm(0.8, scale=np.exp(0.3)),
        "TransformedDistribution-exp",
    ),
    Row(
        dist.TransformedDistribution(dist.Gumbel(0.0, 1.0), [tf.AffineTransform(2.0, -0.5)]),
        Quiet(stats.gumbel_l(2.0, 0.5)),
        "TransformedDistribution-mirrored",
    ),
    Row(
        dist.TransformedDistribution(
            dist.Logistic(_array(-1.0, 2.0), 1.5),
            [tf.AffineTransform(1.0, 0.5), tf.ExpTransform()],
        ),
        stats.fisk(1 / 0.75, scale=np.exp(1.0 + 0.5 * _array(-1.0, 2.0))),
        "TransformedDistribution-log-logistic",
    ),
    Row(dist.Gamma(2.5, 0.7).mask(True), stats.gamma(2.5, scale=1 / 0.7), "MaskedDistribution-0"),
]

DISCRETE = [
    *_rows("Bernoulli", lambda **p: stats.bernoulli(_probability(**p)), *PROBABILITY, *CERTAIN),
    *_rows(
        "Binomial",
        lambda total_count, **p: stats.binom(total_count, _probability(**p)),
        *({"total_count": 7, **p} for p in (*PROBABILITY, *CERTAIN)),
        {"total_count": 0, "probs": 0.3},
        {"total_count": _array(1, 12, 40), "probs": _array([0.2], [0.8])},
    ),
    *_rows(
        "BetaBinomial",
        lambda concentration1, concentration0, total_count: stats.betabinom(
            total_count, concentration1, concentration0
        ),
        {"concentration1": 2.0, "concentration0": 3.0, "total_count": 9},
        {"concentration1": 1.0, "concentration0": 0.7, "total_count": 5},
        {"concentration1": _array(0.5, 8.0), "concentration0": 1.5, "total_count": _array([3], [12])},
    ),
    *_rows("Geometric", lambda **p: stats.geom(_probability(**p), loc=-1), *PROBABILITY[:2], PROBABILITY[3]),
    *_rows("Geometric", lambda probs: stats.randint(0, 1), {"probs": 1.0}),
    *_rows(
        "Poisson",
        lambda rate: stats.poisson(rate),
        {"rate": 3.0},
        {"rate": 0.37},
        {"rate": 0.0},
        {"rate": _array(0.1, 55.5)},
    ),
    *_rows(
        "NegativeBinomial2",
        lambda mean, concentration: stats.nbinom(concentration, concentration / (mean + concentration)),
        {"mean": 3.0, "concentration": 2.0},
        {"mean": 0.4, "concentration": 1.0},
        {"mean": _array(0.6, 15.0), "concentration": _array([0.7], [9.5])},
    ),
    *_rows(
        "DiscreteUniform",
        lambda low, high: stats.randint(low, high + 1),
        {"low": 0, "high": 1},
        {"low": -3, "high": 4},
        {"low": 2, "high": 2},
        {"low": _array(0, 3), "high": _array([5], [9])},
    ),
    *[
        Row(d, stats.rv_discrete(values=(np.arange(len(p)), p)), f"Categorical-{i}")
        for i, (d, p) in enumerate(
            [
                (dist.Categorical(_array(0.2, 0.5, 0.3)), _array(0.2, 0.5, 0.3)),
                (dist.Categorical(_array(0.2, 0.0, 0.8)), _array(0.2, 0.0, 0.8)),
                (dist.Categorical(logits=np.log(_array(2.0, 5.0, 3.0))), _array(0.2, 0.5, 0.3)),
                (dist.Categorical(logits=_array(0.0, -np.inf, np.log(3.0))), _array(0.25, 0.0, 0.75)),
            ]
        )
    ],
]

SCALAR_ROWS = CONTINUOUS + DISCRETE

_TRIL = _array([1.2, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 2.0])
_COVARIANCE = _TRIL @ _TRIL.T
_FACTOR = _array([0.5, 1.0], [-0.3, 0.2], [1.1, 0.0])
_SIMPLEX = _array(0.2, 0.5, 0.3)


def _mixture(weights, means, scale):
    return dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(means, scale))


# Vector families and the like, with an oracle of the log density of one value.
VECTOR_ROWS = [
    Row(
        dist.MultivariateNormal(_array(1.0, -2.0, 0.5), scale_tril=_TRIL),
        stats.multivariate_normal(_array(1.0, -2.0, 0.5), _COVARIANCE),
        "MultivariateNormal-scale_tril",
    ),
    Row(
        dist.MultivariateNormal(0.0, covariance_matrix=_COVARIANCE),
        stats.multivariate_normal(np.zeros(3), _COVARIANCE),
        "MultivariateNormal-covariance",
    ),
    Row(
        dist.MultivariateNormal(_array(1.0, -2.0, 0.5), precision_matrix=np.linalg.inv(_COVARIANCE)),
        stats.multivariate_normal(_array(1.0, -2.0, 0.5), _COVARIANCE),
        "MultivariateNormal-precision",
    ),
    Row(
        dist.LowRankMultivariateNormal(_array(1.0, -2.0, 0.5), _FACTOR, _array(0.3, 1.7, 0.9)),
        stats.multivariate_normal(_array(1.0, -2.0, 0.5), _FACTOR @ _FACTOR.T + np.diag([0.3, 1.7, 0.9])),
        "LowRankMultivariateNormal-0",
    ),
    Row(dist.Dirichlet(_array(2.0, 3.5, 0.7)), stats.dirichlet(_array(2.0, 3.5, 0.7)), "Dirichlet-0"),
    Row(dist.Dirichlet(_array(1.0, 1.0)), stats.dirichlet(_array(1.0, 1.0)), "Dirichlet-flat"),
    Row(dist.OneHotCategorical(_SIMPLEX), stats.multinomial(1, _SIMPLEX), "OneHotCategorical-probs"),
    Row(
        dist.OneHotCategorical(logits=np.log(_SIMPLEX) + 7.0),
        stats.multinomial(1, _SIMPLEX),
        "OneHotCategorical-logits",
    ),
    Row(
        dist.Normal(_array(1.0, -2.0, 0.5), 0.7).to_event(1),
        stats.multivariate_normal(_array(1.0, -2.0, 0.5), 0.49 * np.eye(3)),
        "Independent-0",
    ),
]
MIXTURE = _mixture(_array(0.3, 0.7), _array(-1.0, 2.0), _array(0.5, 1.5))

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
OTHER_ROWS = [
    Row(MIXTURE, None, "MixtureSameFamily-0"),
    Row(dist.Delta(1.5), None, "Delta-0"),
    Row(dist.Delta(_array([1.0, 2.0], [3.0, 4.0]), _array(0.0, 0.5), 1), None, "Delta-batched"),
    Row(dist.Unit(_array(0.5, 2.0)), None, "Unit-0"),
    Row(dist.ImproperUniform(dist.constraints.real, (), ()), None, "ImproperUniform-0"),
    Row(dist.ImproperUniform(dist.constraints.simplex, (2,), (3,)), None, "ImproperUniform-simplex"),
    Row(dist.MultivariateNormal(np.zeros((4, 3)), scale_tril=_TRIL), None, "MultivariateNormal-batched-loc"),
    Row(
        dist.MultivariateNormal(np.zeros(3), scale_tril=np.stack([_TRIL, 2 * _TRIL])),
        None,
        "MultivariateNormal-batched-tril",
    ),
    Row(
        dist.LowRankMultivariateNormal(np.zeros((2, 3)), np.stack([_FACTOR, -2 * _FACTOR]), _array(0.3, 1.7, 0.9)),
        None,
        "LowRankMultivariateNormal-batched",
    ),
    Row(dist.Dirichlet(np.ones((2, 3)) + np.arange(3)), None, "Dirichlet-batched"),
    Row(dist.Categorical(np.full((4, 2), 0.5)), None, "Categorical-batched"),
    Row(
        dist.TransformedDistribution(dist.Normal(np.zeros((2, 3)), 1.0), tf.StickBreakingTransform()),
        None,
        "TransformedDistribution-simplex",
    ),
]
ALL_ROWS = SCALAR_ROWS + VECTOR_ROWS + OTHER_ROWS


def interior_value(row: Row, rng_seed: int = 0):
    """A value of the support, of shape (4,) + the distribution's own."""
    if isinstance(row.d, dist.ImproperUniform):
        return np.full((4, *row.d.shape()), 1.0 / max(row.d.event_shape, default=1))
    return row.d.sample(rng_seed, (4,))
