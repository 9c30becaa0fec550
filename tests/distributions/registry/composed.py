"""Distributions made of other distributions, and those without a density of the usual kind."""

from __future__ import annotations

import numpy as np
from scipy import stats

import ppl.distributions as dist
from ppl.distributions import transforms as tf

from .row import (
    Quiet,
    Row,
    array,
)

COMPOSED = [
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
            dist.Logistic(array(-1.0, 2.0), 1.5),
            [tf.AffineTransform(1.0, 0.5), tf.ExpTransform()],
        ),
        stats.fisk(1 / 0.75, scale=np.exp(1.0 + 0.5 * array(-1.0, 2.0))),
        "TransformedDistribution-log-logistic",
    ),
    Row(dist.Gamma(2.5, 0.7).mask(True), stats.gamma(2.5, scale=1 / 0.7), "MaskedDistribution-0"),
]

# Vectors, with an oracle of the log density of one value.
COMPOSED_VECTORS = [
    Row(
        dist.Normal(array(1.0, -2.0, 0.5), 0.7).to_event(1),
        stats.multivariate_normal(array(1.0, -2.0, 0.5), 0.49 * np.eye(3)),
        "Independent-0",
    ),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
COMPOSED_SHAPES = [
    Row(dist.Delta(1.5), None, "Delta-0"),
    Row(dist.Delta(array([1.0, 2.0], [3.0, 4.0]), array(0.0, 0.5), 1), None, "Delta-batched"),
    Row(dist.Unit(array(0.5, 2.0)), None, "Unit-0"),
    Row(dist.ImproperUniform(dist.constraints.real, (), ()), None, "ImproperUniform-0"),
    Row(dist.ImproperUniform(dist.constraints.simplex, (2,), (3,)), None, "ImproperUniform-simplex"),
    Row(
        dist.TransformedDistribution(dist.Normal(np.zeros((2, 3)), 1.0), tf.StickBreakingTransform()),
        None,
        "TransformedDistribution-simplex",
    ),
]
