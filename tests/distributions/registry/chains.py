"""Chains and neighbours, each against the dense multivariate normal that it stands for."""

from __future__ import annotations

import numpy as np
from scipy import sparse, stats

import ppl.distributions as dist

from .row import Row, array


class Normal:
    """A multivariate normal of all elements of an array in a row."""

    def __init__(self, mean, covariance):
        self.normal = stats.multivariate_normal(np.ravel(mean), covariance)

    def logpdf(self, x):
        return self.normal.logpdf(np.ravel(x))

    def entropy(self):
        return self.normal.entropy()


def state_space(steps, transition, covariance, start=None):
    """Mean and covariance of all states, one after the other."""
    n = len(transition)
    mean, whole = np.zeros((steps, n)), np.zeros((steps, n, steps, n))
    last = np.zeros(n) if start is None else start
    for t in range(steps):
        mean[t] = last = transition @ last
        for s in range(t):
            whole[t, :, s] = transition @ whole[t - 1, :, s]
            whole[s, :, t] = whole[t, :, s].T
        whole[t, :, t] = covariance + (transition @ whole[t - 1, :, t - 1] @ transition.T if t else 0.0)
    return Normal(mean, whole.reshape(steps * n, steps * n))


def autoregression(coefficients, scale, steps, constant=0.0, start=None):
    """`(I - F) x = c + scale e`, solved densely: F has the coefficients below the diagonal."""
    p = len(coefficients)
    past = np.concatenate([np.zeros(p) if start is None else start, np.zeros(steps)])
    matrix, given = np.eye(steps), np.full(steps, constant)
    for t in range(steps):
        for k, c in enumerate(coefficients, 1):
            if t - k >= 0:
                matrix[t, t - k] = -c
            given[t] += c * past[p + t - k]
    inverse = np.linalg.inv(matrix)
    return Normal(inverse @ given, scale**2 * inverse @ inverse.T)


def neighbours(loc, correlation, precision, matrix):
    return Normal(loc, np.linalg.inv(precision * (np.diag(matrix.sum(1)) - correlation * matrix)))


_TRIL = array([0.9, 0.0], [-0.4, 0.5])
_COVARIANCE = _TRIL @ _TRIL.T
_TRANSITION = array([0.8, 0.3], [-0.2, 0.6])
_LINE = np.diag(np.ones(4), 1) + np.diag(np.ones(4), -1)
_WEIGHTS = array([0.0, 0.5, 2.0, 0.0], [0.5, 0.0, 0.0, 1.3], [2.0, 0.0, 0.0, 0.7], [0.0, 1.3, 0.7, 0.0])
_START = array(2.0, -1.0)

CHAINS = [
    Row(
        dist.GaussianRandomWalk(0.7, 6),
        Normal(np.zeros(6), 0.49 * np.minimum.outer(np.arange(1, 7), np.arange(1, 7))),
        "GaussianRandomWalk-0",
    ),
    Row(dist.GaussianRandomWalk(3.0), Normal(np.zeros(1), [[9.0]]), "GaussianRandomWalk-one"),
    Row(
        dist.GaussianStateSpace(5, _TRANSITION, scale_tril=_TRIL),
        state_space(5, _TRANSITION, _COVARIANCE),
        "GaussianStateSpace-scale_tril",
    ),
    Row(
        dist.GaussianStateSpace(4, 1.3 * np.eye(2), _COVARIANCE, initial_value=_START),
        state_space(4, 1.3 * np.eye(2), _COVARIANCE, _START),
        "GaussianStateSpace-covariance",
    ),
    Row(
        dist.GaussianStateSpace(3, _TRANSITION, precision_matrix=np.linalg.inv(_COVARIANCE)),
        state_space(3, _TRANSITION, _COVARIANCE),
        "GaussianStateSpace-precision",
    ),
    Row(dist.AR(array(0.9), 0.5, 7), autoregression([0.9], 0.5, 7), "AR-1"),
    Row(
        dist.AR(array(0.5, -0.3, 0.2), 1.5, 8, constant=0.4, initial_value=array(1.0, -2.0, 3.0)),
        autoregression([0.5, -0.3, 0.2], 1.5, 8, 0.4, array(1.0, -2.0, 3.0)),
        "AR-3",
    ),
    Row(
        dist.AR(array(0.5, -0.3, 0.2), 1.5, 2, initial_value=array(1.0, -2.0, 3.0)),
        autoregression([0.5, -0.3, 0.2], 1.5, 2, 0.0, array(1.0, -2.0, 3.0)),
        "AR-short",
    ),
    Row(dist.CAR(0.0, 0.9, 2.0, _LINE), neighbours(np.zeros(5), 0.9, 2.0, _LINE), "CAR-line"),
    Row(
        dist.CAR(array(1.0, -2.0, 0.5, 0.0), -0.6, 0.3, sparse.csr_array(_WEIGHTS), is_sparse=True),
        neighbours(array(1.0, -2.0, 0.5, 0.0), -0.6, 0.3, _WEIGHTS),
        "CAR-weights",
    ),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
CHAINS_SHAPES = [
    Row(dist.GaussianRandomWalk(array([0.5], [2.0]), 4), None, "GaussianRandomWalk-batched"),
    Row(
        dist.GaussianStateSpace(
            4, np.stack([_TRANSITION, -_TRANSITION]), scale_tril=_TRIL, initial_value=np.zeros((3, 1, 2))
        ),
        None,
        "GaussianStateSpace-batched",
    ),
    Row(
        dist.GaussianStateSpace(3, _TRANSITION, np.stack([_COVARIANCE, 2 * _COVARIANCE])),
        None,
        "GaussianStateSpace-batched-covariance",
    ),
    Row(dist.AR(array([0.5, 0.1], [-0.3, 0.2]), array([1.0], [2.0], [0.3]), 5), None, "AR-batched"),
    Row(
        dist.AR(array(0.5, 0.1), 1.0, 5, constant=array(0.0, 1.0), initial_value=np.ones((3, 1, 2))), None, "AR-starts"
    ),
    Row(dist.CAR(np.zeros((2, 5)), array([0.1], [-0.5]), 2.0, _LINE), None, "CAR-batched"),
]
