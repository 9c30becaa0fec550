"""Families of matrices, with an oracle of the log density of one value."""

from __future__ import annotations

import numpy as np
from scipy import integrate, stats

import ppl.distributions as dist

from .row import Row, array

_TRIL = array([1.2, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 2.0])
_SCALE = _TRIL @ _TRIL.T
_TWO = array([0.8, 0.0], [-0.4, 1.5])


class FactorOf:
    """The Cholesky factor `T A` of a Wishart draw, through the independent elements of A (Bartlett 1933)."""

    def __init__(self, df, scale):
        self.tril = np.linalg.cholesky(scale)
        self.chis = [stats.chi(df - i) for i in range(len(scale))]
        self.log_volume = np.sum(np.arange(1, len(scale) + 1) * np.log(np.diag(self.tril)))

    def logpdf(self, x):
        a = np.linalg.inv(self.tril) @ x
        below = stats.norm.logpdf(a[np.tril_indices(len(a), -1)]).sum()
        return below + sum(chi.logpdf(a[i, i]) for i, chi in enumerate(self.chis)) - self.log_volume

    def entropy(self):
        p = len(self.chis)
        return self.log_volume + sum(c.entropy() for c in self.chis) + p * (p - 1) / 2 * stats.norm.entropy()


class InverseOf:
    """scipy's inverse Wishart; its entropy, which scipy has wrong from two rows on, by that of the Wishart."""

    def __init__(self, df, scale):
        self.df, self.scale, self.logpdf = df, scale, stats.invwishart(df, scale).logpdf

    def entropy(self):
        p, inverse = len(self.scale), np.linalg.inv(self.scale)
        log_det = np.linalg.slogdet(inverse)[1] + sum(stats.chi2(self.df - i).expect(np.log) for i in range(p))
        return stats.wishart(self.df, inverse).entropy() - (p + 1) * log_det


class Vine:
    """Correlations through partial ones, which are independent (Joe 2006); constants by quadrature.

    At level k, k = 1..n-1, stand n - k of them, each with density proportional to
    `(1 - r^2)^(concentration - 1 + (n - 1 - k) / 2)`.
    """

    def __init__(self, n, concentration, factor=False):
        self.n, self.concentration, self.factor = n, concentration, factor
        self.volumes, self.logs = np.zeros(n), np.zeros(n)
        for k in range(1, n):
            power = concentration - 1 + (n - 1 - k) / 2
            # r = sin(t), of which the density is smooth up to the ends.
            weight = lambda t, power=power: np.cos(t) ** (2 * power + 1)
            height = lambda t, weight=weight: weight(t) * 2 * np.log(np.cos(t))
            self.volumes[k] = 2 * integrate.quad(weight, 0, np.pi / 2, epsabs=1e-12)[0]
            self.logs[k] = 2 * integrate.quad(height, 0, np.pi / 2, epsabs=1e-12)[0] / self.volumes[k]

    @property
    def log_volume(self):
        return np.sum(np.arange(self.n - 1, 0, -1) * np.log(self.volumes[1:]))

    def logpdf(self, x):
        correlation = x @ x.T if self.factor else x
        density = (self.concentration - 1) * np.linalg.slogdet(correlation)[1] - self.log_volume
        if not self.factor:
            return density
        return density + np.sum(np.arange(self.n - 1, -1, -1) * np.log(np.diag(x)))

    def entropy(self):
        log_diagonal = 0.5 * np.cumsum(self.logs)
        entropy = self.log_volume - (self.concentration - 1) * 2 * np.sum(log_diagonal)
        return entropy - np.sum(np.arange(self.n - 1, -1, -1) * log_diagonal) if self.factor else entropy


_LOC = array([1.0, -2.0], [0.5, 0.0], [3.0, 150.0])

MATRICES = [
    Row(
        dist.MatrixNormal(_LOC, _TRIL, _TWO),
        stats.matrix_normal(_LOC, _SCALE, _TWO @ _TWO.T),
        "MatrixNormal-0",
    ),
    Row(dist.Wishart(7.5, _SCALE), stats.wishart(7.5, _SCALE), "Wishart-scale_matrix"),
    Row(dist.Wishart(3.2, scale_tril=_TRIL), stats.wishart(3.2, _SCALE), "Wishart-scale_tril"),
    Row(dist.Wishart(4.0, rate_matrix=np.linalg.inv(_SCALE)), stats.wishart(4.0, _SCALE), "Wishart-rate_matrix"),
    Row(dist.WishartCholesky(7.5, _SCALE), FactorOf(7.5, _SCALE), "WishartCholesky-scale_matrix"),
    Row(dist.WishartCholesky(2.6, scale_tril=_TRIL), FactorOf(2.6, _SCALE), "WishartCholesky-near-boundary"),
    Row(
        dist.WishartCholesky(4.0, rate_matrix=np.linalg.inv(_SCALE)),
        FactorOf(4.0, _SCALE),
        "WishartCholesky-rate_matrix",
    ),
    Row(dist.InverseWishart(13.5, _SCALE), InverseOf(13.5, _SCALE), "InverseWishart-scale_matrix"),
    Row(dist.InverseWishart(12.0, scale_tril=_TWO), InverseOf(12.0, _TWO @ _TWO.T), "InverseWishart-scale_tril"),
    Row(dist.LKJ(2, 0.6), Vine(2, 0.6), "LKJ-two"),
    Row(dist.LKJ(3, 1.0), Vine(3, 1.0), "LKJ-uniform"),
    Row(dist.LKJ(5, 2.5), Vine(5, 2.5), "LKJ-five"),
    Row(dist.LKJCholesky(2, 0.6), Vine(2, 0.6, factor=True), "LKJCholesky-two"),
    Row(dist.LKJCholesky(3, 1.0), Vine(3, 1.0, factor=True), "LKJCholesky-uniform"),
    Row(dist.LKJCholesky(5, 12.5), Vine(5, 12.5, factor=True), "LKJCholesky-five"),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
MATRICES_SHAPES = [
    Row(dist.MatrixNormal(np.zeros((2, 1, 3, 2)), _TRIL, np.stack([_TWO, 2 * _TWO])), None, "MatrixNormal-batched"),
    Row(dist.Wishart(array(3.5, 6.0), np.stack([_SCALE, 2 * _SCALE])), None, "Wishart-batched"),
    Row(dist.WishartCholesky(array([3.5], [6.0]), rate_matrix=_SCALE), None, "WishartCholesky-batched"),
    Row(dist.InverseWishart(array(3.5, 4.5, 7.0), _SCALE), None, "InverseWishart-batched"),
    Row(dist.LKJ(3, array(0.9, 4.0)), None, "LKJ-batched"),
    Row(dist.LKJCholesky(3, array(0.9, 4.0)), None, "LKJCholesky-batched"),
]
