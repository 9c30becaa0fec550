"""Counts with zeros of their own, with oracles tabulated from the counts of scipy."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

import ppl.distributions as dist

from .row import Row, array

_X = np.arange(600)


def _table(d, label, gate, counts, hurdle=False):
    p = counts.pmf(_X)
    if hurdle:
        p = np.where(_X == 0, 0.0, p) / (1.0 - p[0])
    p = (1.0 - gate) * p + np.where(_X == 0, gate, 0.0)
    return Row(d, stats.rv_discrete(values=(_X, p / p.sum())), label)


_POISSON, _GEOMETRIC, _BINOMIAL = stats.poisson(2.3), stats.geom(0.2, loc=-1), stats.binom(9, 0.3)
_NEGATIVE = stats.nbinom(1.7, 1.7 / (1.7 + 2.5))
_BETA_NEGATIVE = stats.betanbinom(2, 12.5, 2.0)

ZEROS = [
    _table(dist.ZeroInflatedPoisson(0.3, 2.3), "ZeroInflatedPoisson-0", 0.3, _POISSON),
    _table(dist.ZeroInflatedPoisson(0.0, 2.3), "ZeroInflatedPoisson-open", 0.0, _POISSON),
    _table(
        dist.ZeroInflatedNegativeBinomial2(2.5, 1.7, gate=0.2), "ZeroInflatedNegativeBinomial2-gate", 0.2, _NEGATIVE
    ),
    _table(
        dist.ZeroInflatedNegativeBinomial2(2.5, 1.7, gate_logits=-0.4),
        "ZeroInflatedNegativeBinomial2-logits",
        special.expit(-0.4),
        _NEGATIVE,
    ),
    _table(
        dist.ZeroInflatedDistribution(dist.Geometric(0.2), gate_logits=0.7),
        "ZeroInflatedDistribution-geometric",
        special.expit(0.7),
        _GEOMETRIC,
    ),
    _table(
        dist.ZeroInflatedDistribution(dist.Binomial(9, 0.3), gate=0.35),
        "ZeroInflatedDistribution-binomial",
        0.35,
        _BINOMIAL,
    ),
    _table(dist.HurdleDistribution(dist.Poisson(2.3), gate=0.3), "HurdleDistribution-poisson", 0.3, _POISSON, True),
    _table(
        dist.HurdleDistribution(dist.Geometric(0.2), gate_logits=-0.4),
        "HurdleDistribution-geometric",
        special.expit(-0.4),
        _GEOMETRIC,
        True,
    ),
    _table(
        dist.HurdleDistribution(dist.Binomial(9, 0.3), gate=0.6), "HurdleDistribution-bounded", 0.6, _BINOMIAL, True
    ),
    _table(
        dist.HurdleDistribution(dist.BetaNegativeBinomial(2.0, 12.5, 2.0), gate=0.25),
        "HurdleDistribution-beta-negative",
        0.25,
        _BETA_NEGATIVE,
        True,
    ),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
ZEROS_SHAPES = [
    Row(dist.ZeroInflatedPoisson(array([0.2], [0.7]), array(0.5, 4.0, 30.0)), None, "ZeroInflatedPoisson-batched"),
    Row(
        dist.HurdleDistribution(dist.NegativeBinomial2(array(0.5, 4.0), 1.3), gate=array([0.2], [0.7])),
        None,
        "HurdleDistribution-batched",
    ),
]
