"""Families of vectors and matrices, with an oracle of the log density of one value."""

from __future__ import annotations

import numpy as np
from scipy import stats

import ppl.distributions as dist

from .row import (
    Row,
    array,
)

_TRIL = array([1.2, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 2.0])
_COVARIANCE = _TRIL @ _TRIL.T
_FACTOR = array([0.5, 1.0], [-0.3, 0.2], [1.1, 0.0])


MULTIVARIATE = [
    Row(
        dist.MultivariateNormal(array(1.0, -2.0, 0.5), scale_tril=_TRIL),
        stats.multivariate_normal(array(1.0, -2.0, 0.5), _COVARIANCE),
        "MultivariateNormal-scale_tril",
    ),
    Row(
        dist.MultivariateNormal(0.0, covariance_matrix=_COVARIANCE),
        stats.multivariate_normal(np.zeros(3), _COVARIANCE),
        "MultivariateNormal-covariance",
    ),
    Row(
        dist.MultivariateNormal(array(1.0, -2.0, 0.5), precision_matrix=np.linalg.inv(_COVARIANCE)),
        stats.multivariate_normal(array(1.0, -2.0, 0.5), _COVARIANCE),
        "MultivariateNormal-precision",
    ),
    Row(
        dist.LowRankMultivariateNormal(array(1.0, -2.0, 0.5), _FACTOR, array(0.3, 1.7, 0.9)),
        stats.multivariate_normal(array(1.0, -2.0, 0.5), _FACTOR @ _FACTOR.T + np.diag([0.3, 1.7, 0.9])),
        "LowRankMultivariateNormal-0",
    ),
    Row(dist.Dirichlet(array(2.0, 3.5, 0.7)), stats.dirichlet(array(2.0, 3.5, 0.7)), "Dirichlet-0"),
    Row(dist.Dirichlet(array(1.0, 1.0)), stats.dirichlet(array(1.0, 1.0)), "Dirichlet-flat"),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
MULTIVARIATE_SHAPES = [
    Row(dist.MultivariateNormal(np.zeros((4, 3)), scale_tril=_TRIL), None, "MultivariateNormal-batched-loc"),
    Row(
        dist.MultivariateNormal(np.zeros(3), scale_tril=np.stack([_TRIL, 2 * _TRIL])),
        None,
        "MultivariateNormal-batched-tril",
    ),
    Row(
        dist.LowRankMultivariateNormal(np.zeros((2, 3)), np.stack([_FACTOR, -2 * _FACTOR]), array(0.3, 1.7, 0.9)),
        None,
        "LowRankMultivariateNormal-batched",
    ),
    Row(dist.Dirichlet(np.ones((2, 3)) + np.arange(3)), None, "Dirichlet-batched"),
]
