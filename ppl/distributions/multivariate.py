"""Families of vectors: multivariate normals and the Dirichlet."""

from __future__ import annotations

import functools
import math
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import logsumexp, triangular_solve
from ppl.distributions import constraints
from ppl.distributions._arrays import as_array, broadcast, float_type
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array
from ppl.errors import ModelError, ShapeError

_LOG_2PI = math.log(2.0 * math.pi)


class MultivariateNormal(Distribution):
    """Normal distribution of vectors, with exactly one of a covariance, a precision or a Cholesky factor.

    `log p(x) = -|z|^2 / 2 - sum_i log L_ii - n log(2 pi) / 2`, where `L z = x - loc` and `L` is the
    lower Cholesky factor `scale_tril` of the covariance.

    >>> d = MultivariateNormal(np.zeros(2), covariance_matrix=np.array([[4.0, 0.0], [0.0, 1.0]]))
    >>> d.variance, d.event_shape
    (array([4., 1.]), (2,))
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    reparameterized = True
    noise = "normal"
    loc: Array

    def __init__(
        self,
        loc: Array = 0.0,
        covariance_matrix: Array | None = None,
        precision_matrix: Array | None = None,
        scale_tril: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        matrices = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = {name: as_array(matrix) for name, matrix in matrices.items() if matrix is not None}
        if len(given) != 1:
            raise ModelError(
                got=f"MultivariateNormal with {', '.join(given) or 'no matrix'}",
                expected="exactly one of covariance_matrix, precision_matrix and scale_tril",
                hint="scale_tril=np.eye(n) for independent elements of scale 1",
            )
        (matrix,) = given.values()
        loc, n = as_array(loc), np.shape(matrix)[-1:]
        loc = broadcast(loc, n) if np.ndim(loc) == 0 else loc
        if np.shape(matrix)[-2:] != n + n or np.shape(loc)[-1:] != n:
            raise ShapeError(
                got=f"MultivariateNormal with loc of shape {np.shape(loc)} and a matrix of shape {np.shape(matrix)}",
                expected="shapes (..., n) and (..., n, n)",
                hint="a loc as long as the matrix has rows",
            )
        super().__init__({"loc": loc, **given}, event_shape=n, validate_args=validate_args)

    @functools.cached_property
    def _inverse_tril(self) -> Array:
        """The lower factor M of the precision, `P = M' M`, from the Cholesky factor of P read backwards."""
        flipped = np.linalg.cholesky(self._arguments["precision_matrix"][..., ::-1, ::-1])
        return np.swapaxes(flipped[..., ::-1, ::-1], -2, -1)

    @functools.cached_property
    def scale_tril(self) -> Array:
        """The lower Cholesky factor of the covariance."""
        given = self._arguments
        if "scale_tril" in given:
            return given["scale_tril"]
        if "covariance_matrix" in given:
            return np.linalg.cholesky(given["covariance_matrix"])
        inverse = self._inverse_tril
        return _inverse(inverse)

    @property
    def covariance_matrix(self) -> Array:
        """The covariance, of shape (..., n, n)."""
        given = self._arguments
        if "covariance_matrix" in given:
            return given["covariance_matrix"]
        return np.matmul(self.scale_tril, np.swapaxes(self.scale_tril, -2, -1))

    @property
    def precision_matrix(self) -> Array:
        """The inverse of the covariance, of shape (..., n, n)."""
        given = self._arguments
        if "precision_matrix" in given:
            return given["precision_matrix"]
        inverse = _inverse(self.scale_tril)
        return np.matmul(np.swapaxes(inverse, -2, -1), inverse)

    def from_noise(self, noise: Array) -> Array:
        return self.loc + _matrix_times(self.scale_tril, noise)

    def _log_density(self, x):
        n = np.shape(x)[-1]
        if "precision_matrix" in self._arguments:
            z = _matrix_times(self._inverse_tril, x - self.loc)
            return 0.5 * -np.sum(z * z, axis=-1) + log_diagonal(self._inverse_tril) - 0.5 * n * _LOG_2PI
        squares = squared_distance(self.scale_tril, x - self.loc)
        return -0.5 * squares - (log_diagonal(self.scale_tril) + 0.5 * n * _LOG_2PI)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return np.sum(self.scale_tril * self.scale_tril, axis=-1)

    def _entropy(self):
        n = self.event_shape[0]
        return log_diagonal(self.scale_tril) + 0.5 * n * (1.0 + _LOG_2PI)


class LowRankMultivariateNormal(Distribution):
    """Normal distribution of vectors with covariance `W W' + diag(d)`, W of shape (..., n, r) with few columns.

    `log p(x) = -(|y|^2 - |C^-1 W' D^-1 (x - loc)|^2) / 2 - sum_i log C_ii - sum_i log(d_i) / 2 - n log(2 pi) / 2`
    with `y = D^-1/2 (x - loc)` and `C C' = I + W' D^-1 W` (Woodbury): nothing of size n x n is made.
    Its noise has n + r elements: `x = loc + W e_1 + d^1/2 e_2`.

    >>> d = LowRankMultivariateNormal(np.zeros(3), np.ones((3, 1)), np.full(3, 0.5))
    >>> d.variance, d.event_shape, d.noise_shape
    (array([1.5, 1.5, 1.5]), (3,), (4,))
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    reparameterized = True
    noise = "normal"
    loc: Array
    cov_factor: Array
    cov_diag: Array

    def __init__(self, loc: Array, cov_factor: Array, cov_diag: Array, *, validate_args: bool | None = None) -> None:
        loc, cov_factor, cov_diag = as_array(loc), as_array(cov_factor), as_array(cov_diag)
        n = np.shape(cov_factor)[-2:-1]
        loc = broadcast(loc, n) if np.ndim(loc) == 0 else loc
        if np.ndim(cov_factor) < 2 or np.shape(loc)[-1:] != n or np.shape(cov_diag)[-1:] != n:
            raise ShapeError(
                got=f"LowRankMultivariateNormal with loc of shape {np.shape(loc)}, cov_factor of shape "
                f"{np.shape(cov_factor)} and cov_diag of shape {np.shape(cov_diag)}",
                expected="shapes (..., n), (..., n, r) and (..., n)",
                hint="a cov_factor with as many rows as loc has elements",
            )
        arguments = {"loc": loc, "cov_factor": cov_factor, "cov_diag": cov_diag}
        super().__init__(arguments, event_shape=n, validate_args=validate_args)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Room for the factors' and for the elements' own noise."""
        return (*self.batch_shape, self.event_shape[0] + np.shape(self.cov_factor)[-1])

    @property
    def covariance_matrix(self) -> Array:
        """The covariance, of shape (..., n, n)."""
        factor = self.cov_factor
        own = self.cov_diag[..., None] * np.eye(self.event_shape[0], dtype=float_type(self.cov_diag))
        return np.matmul(factor, np.swapaxes(factor, -2, -1)) + own

    @property
    def scale_tril(self) -> Array:
        """The lower Cholesky factor of the covariance."""
        return np.linalg.cholesky(self.covariance_matrix)

    @property
    def precision_matrix(self) -> Array:
        """The inverse of the covariance."""
        inverse = _inverse(self.scale_tril)
        return np.matmul(np.swapaxes(inverse, -2, -1), inverse)

    @functools.cached_property
    def _capacitance_tril(self) -> Array:
        """The lower Cholesky factor of `I + W' D^-1 W`."""
        scaled = self.cov_factor / self.cov_diag[..., None]
        rank = np.shape(self.cov_factor)[-1]
        return np.linalg.cholesky(
            np.matmul(np.swapaxes(self.cov_factor, -2, -1), scaled) + np.eye(rank, dtype=float_type(self.cov_diag))
        )

    @functools.cached_property
    def _half_log_det(self) -> Array:
        return log_diagonal(self._capacitance_tril) + 0.5 * np.sum(np.log(self.cov_diag), axis=-1)

    def from_noise(self, noise: Array) -> Array:
        rank = np.shape(self.cov_factor)[-1]
        return self.loc + _matrix_times(self.cov_factor, noise[..., :rank]) + np.sqrt(self.cov_diag) * noise[..., rank:]

    def _log_density(self, x):
        gap = x - self.loc
        scaled = gap / self.cov_diag
        along = _matrix_times(np.swapaxes(self.cov_factor, -2, -1), scaled)
        squares = np.sum(gap * scaled, axis=-1) - squared_distance(self._capacitance_tril, along)
        return -0.5 * squares - (self._half_log_det + 0.5 * self.event_shape[0] * _LOG_2PI)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return np.sum(self.cov_factor * self.cov_factor, axis=-1) + self.cov_diag

    def _entropy(self):
        return self._half_log_det + 0.5 * self.event_shape[0] * (1.0 + _LOG_2PI)


class Dirichlet(Distribution):
    """Dirichlet distribution of probabilities: `concentration` holds a count for each part.

    `log p(x) = sum_k (a_k - 1) log x_k - sum_k log Gamma(a_k) + log Gamma(sum_k a_k)`, on the simplex.

    >>> Dirichlet(np.array([1.0, 3.0])).mean
    array([0.25, 0.75])
    """

    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    concentration: Array

    def __init__(self, concentration: Array, *, validate_args: bool | None = None) -> None:
        concentration = as_array(concentration)
        super().__init__(
            {"concentration": concentration}, event_shape=np.shape(concentration)[-1:], validate_args=validate_args
        )

    def _log_density(self, x):
        a = self.concentration
        return np.sum(special.xlogy(a - 1.0, x), axis=-1) - self._log_normalizer()

    def _log_normalizer(self):
        a = self.concentration
        return np.sum(special.gammaln(a), axis=-1) - special.gammaln(np.sum(a, axis=-1))

    def _draw(self, rng, sample_shape):
        # Gamma(a) is Gamma(a + 1) times u^(1/a): on the log scale, small concentrations do not vanish.
        a = broadcast(self.concentration, self.shape(sample_shape))
        log_gamma = np.log(rng.standard_gamma(a + 1.0)) - rng.standard_exponential(np.shape(a)) / a
        return np.exp(log_gamma - logsumexp(log_gamma, axis=-1)[..., None])

    def _mean(self):
        return self.concentration / np.sum(self.concentration, axis=-1)[..., None]

    def _variance(self):
        total, mean = np.sum(self.concentration, axis=-1)[..., None], self._mean()
        return mean * (1.0 - mean) / (total + 1.0)

    def _entropy(self):
        a, total = self.concentration, np.sum(self.concentration, axis=-1)
        k = self.event_shape[0]
        spread = np.sum((a - 1.0) * special.digamma(a), axis=-1)
        return self._log_normalizer() + (total - k) * special.digamma(total) - spread


# -- triangular matrices ---------------------------------------------------------------------------


def _inverse(tril: Array) -> Array:
    return triangular_solve(tril, broadcast(np.eye(np.shape(tril)[-1], dtype=float_type(tril)), np.shape(tril)))


def log_diagonal(tril: Array) -> Array:
    """`sum_i log L_ii`, half the log determinant of `L L'`."""
    return np.sum(np.log(np.diagonal(tril, axis1=-2, axis2=-1)), axis=-1)


def squared_distance(tril: Array, x: Array) -> Array:
    """`|L^-1 x|^2` over the last axis; one solve for all vectors where there is one matrix."""
    n = np.shape(x)[-1]
    if np.ndim(tril) == 2:
        vectors = x if np.ndim(x) == 2 else np.reshape(x, (-1, n))
        z = triangular_solve(tril, np.swapaxes(vectors, -2, -1))
        squares = np.sum(z * z, axis=-2)
        return squares if np.ndim(x) == 2 else np.reshape(squares, np.shape(x)[:-1])
    batch = np.broadcast_shapes(np.shape(tril)[:-2], np.shape(x)[:-1])
    z = triangular_solve(broadcast(tril, (*batch, n, n)), broadcast(x, (*batch, n))[..., None])
    return np.sum(z * z, axis=(-2, -1))


def _matrix_times(matrix: Array, x: Array) -> Array:
    """`matrix @ x` for each vector along the last axis of x."""
    if np.ndim(matrix) == 2:
        return np.matmul(x, np.swapaxes(matrix, -2, -1))
    return np.matmul(matrix, x[..., None])[..., 0]
