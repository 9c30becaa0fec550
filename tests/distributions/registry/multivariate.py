"""Families of vectors, and arrays that sum to zero, with an oracle of the log density of one value."""

from __future__ import annotations

import numpy as np
from scipy import linalg, stats

import ppl.distributions as dist

from .row import (
    Row,
    array,
)

_LOC = array(1.0, -2.0, 0.5)
_TRIL = array([1.2, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 2.0])
_COVARIANCE = _TRIL @ _TRIL.T
_FACTOR = array([0.5, 1.0], [-0.3, 0.2], [1.1, 0.0])


class LogRatios:
    """Normal log ratios to the last part; the Jacobian as a determinant of the dense matrix d y / d x."""

    def __init__(self, loc, covariance):
        self.normal = stats.multivariate_normal(loc, covariance)

    def logpdf(self, x):
        jacobian = np.diag(1 / x[:-1]) + 1 / x[-1]
        return self.normal.logpdf(np.log(x[:-1] / x[-1])) + np.linalg.slogdet(jacobian)[1]


class OnPlane:
    """Independent normals in orthonormal coordinates of the arrays that sum to zero along every axis."""

    def __init__(self, scale, shape):
        basis = np.eye(1)
        for n in shape:
            basis = np.kron(basis, linalg.null_space(np.ones((1, n))))
        self.basis, self.normal = basis, stats.multivariate_normal(cov=scale**2 * np.eye(basis.shape[1]))

    def logpdf(self, x):
        return self.normal.logpdf(self.basis.T @ x.ravel())

    def entropy(self):
        return self.normal.entropy()


def student(df, loc, tril):
    return dist.MultivariateStudentT(df, loc, tril), stats.multivariate_t(loc, tril @ tril.T, df)


MULTIVARIATE = [
    Row(
        dist.MultivariateNormal(_LOC, scale_tril=_TRIL),
        stats.multivariate_normal(_LOC, _COVARIANCE),
        "MultivariateNormal-scale_tril",
    ),
    Row(
        dist.MultivariateNormal(0.0, covariance_matrix=_COVARIANCE),
        stats.multivariate_normal(np.zeros(3), _COVARIANCE),
        "MultivariateNormal-covariance",
    ),
    Row(
        dist.MultivariateNormal(_LOC, precision_matrix=np.linalg.inv(_COVARIANCE)),
        stats.multivariate_normal(_LOC, _COVARIANCE),
        "MultivariateNormal-precision",
    ),
    Row(
        dist.LowRankMultivariateNormal(_LOC, _FACTOR, array(0.3, 1.7, 0.9)),
        stats.multivariate_normal(_LOC, _FACTOR @ _FACTOR.T + np.diag([0.3, 1.7, 0.9])),
        "LowRankMultivariateNormal-0",
    ),
    Row(*student(7.5, _LOC, _TRIL), "MultivariateStudentT-0"),
    Row(*student(40.0, np.zeros(1), array([0.3])), "MultivariateStudentT-one"),
    Row(dist.Dirichlet(array(2.0, 3.5, 0.7)), stats.dirichlet(array(2.0, 3.5, 0.7)), "Dirichlet-0"),
    Row(dist.Dirichlet(array(1.0, 1.0)), stats.dirichlet(array(1.0, 1.0)), "Dirichlet-flat"),
    Row(dist.Dirichlet(array(0.7, 1.0, 30.5)), stats.dirichlet(array(0.7, 1.0, 30.5)), "Dirichlet-uneven"),
    Row(
        dist.LogisticNormal(array(1.0, -0.5), array(0.7, 1.3)),
        LogRatios(array(1.0, -0.5), np.diag([0.49, 1.69])),
        "LogisticNormal-scale",
    ),
    Row(dist.LogisticNormal(_LOC, scale_tril=_TRIL), LogRatios(_LOC, _COVARIANCE), "LogisticNormal-scale_tril"),
    Row(dist.ZeroSumNormal(0.7, (4,)), OnPlane(0.7, (4,)), "ZeroSumNormal-0"),
    Row(dist.ZeroSumNormal(2.5, (3, 2)), OnPlane(2.5, (3, 2)), "ZeroSumNormal-table"),
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
        dist.MultivariateNormal(np.zeros((2, 1, 3)), precision_matrix=np.stack([_COVARIANCE, 2 * _COVARIANCE])),
        None,
        "MultivariateNormal-batched-precision",
    ),
    Row(
        dist.LowRankMultivariateNormal(np.zeros((2, 3)), np.stack([_FACTOR, -2 * _FACTOR]), array(0.3, 1.7, 0.9)),
        None,
        "LowRankMultivariateNormal-batched",
    ),
    Row(
        dist.MultivariateStudentT(array([0.8], [1.5], [2.5]), np.zeros((2, 3)), _TRIL),
        None,
        "MultivariateStudentT-batched",
    ),
    Row(dist.Dirichlet(np.ones((2, 3)) + np.arange(3)), None, "Dirichlet-batched"),
    Row(dist.LogisticNormal(np.zeros((2, 1, 2)), np.ones((3, 1))), None, "LogisticNormal-batched"),
    Row(
        dist.LogisticNormal(np.zeros(3), precision_matrix=np.stack([_COVARIANCE, 2 * _COVARIANCE])),
        None,
        "LogisticNormal-batched-precision",
    ),
    Row(dist.ZeroSumNormal(array(0.5, 2.0), (3, 2, 2)), None, "ZeroSumNormal-batched"),
]
