"""Families of matrices: normal matrices, covariances and their inverses, correlations, and Cholesky factors of them."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import log_gamma_quantile
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, above, as_array, float_type, log_beta_half
from ppl.distributions._triangular import (
    ROOT_KINDS,
    Root,
    given_matrix,
    log_diagonal,
    per_event,
    solve_rows,
    transpose,
)
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array
from ppl.distributions.transforms import LowerCholeskyTransform
from ppl.errors import ShapeError

_LOG_2, _LOG_PI = math.log(2.0), math.log(math.pi)
_LEAST_LOG = -350.0


class MatrixNormal(Distribution):
    """Normal distribution of matrices, with one covariance among the rows and one among the columns.

    `log p(X) = -|Z|^2 / 2 - p sum_i log A_ii - n sum_j log B_jj - n p log(2 pi) / 2`, `A Z B' = X - loc`, where
    A is `scale_tril_row`, n x n, and B is `scale_tril_column`, p x p: `Cov(X_ij, X_kl) = (A A')_ik (B B')_jl`.

    >>> d = MatrixNormal(np.zeros((2, 3)), np.eye(2), np.diag([1.0, 2.0, 3.0]))
    >>> d.variance
    array([[1., 4., 9.],
           [1., 4., 9.]])
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_matrix,
        "scale_tril_row": constraints.lower_cholesky,
        "scale_tril_column": constraints.lower_cholesky,
    }
    support = constraints.real_matrix
    reparameterized = True
    noise = "normal"
    loc: Array
    scale_tril_row: Array
    scale_tril_column: Array

    def __init__(
        self, loc: Array, scale_tril_row: Array, scale_tril_column: Array, *, validate_args: bool | None = None
    ) -> None:
        loc, row, column = as_array(loc), as_array(scale_tril_row), as_array(scale_tril_column)
        n, p = np.shape(row)[-1:], np.shape(column)[-1:]
        if np.shape(row)[-2:] != n + n or np.shape(column)[-2:] != p + p or np.shape(loc)[-2:] != n + p:
            raise ShapeError(
                got=f"MatrixNormal with loc of shape {np.shape(loc)}, scale_tril_row of shape {np.shape(row)} and "
                f"scale_tril_column of shape {np.shape(column)}",
                expected="shapes (..., n, p), (..., n, n) and (..., p, p)",
                hint="loc=np.zeros((n, p)) for a mean of zero",
            )
        arguments = {"loc": loc, "scale_tril_row": row, "scale_tril_column": column}
        super().__init__(arguments, event_shape=n + p, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.loc + np.matmul(np.matmul(self.scale_tril_row, noise), transpose(self.scale_tril_column))

    def _log_density(self, x):
        across = solve_rows(self.scale_tril_column, x - self.loc)
        z = solve_rows(self.scale_tril_row, transpose(across))
        return -0.5 * np.sum(z * z, axis=(-2, -1)) - self._log_volume()

    def _log_volume(self):
        n, p = self.event_shape
        log_scale = p * log_diagonal(self.scale_tril_row) + n * log_diagonal(self.scale_tril_column)
        return log_scale + 0.5 * n * p * (_LOG_2 + _LOG_PI)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        rows, columns = (np.sum(a * a, axis=-1) for a in (self.scale_tril_row, self.scale_tril_column))
        return rows[..., :, None] * columns[..., None, :]

    def _entropy(self):
        return self._log_volume() + 0.5 * math.prod(self.event_shape)


class _Bartlett(Distribution):
    """What Wishart laws share: the scale V = T T', and a lower triangular matrix A of independent elements.

    `T A A' T'` is a Wishart draw where the elements of A below the diagonal are standard normal and A_ii^2,
    i = 0..p-1, is chi-squared with `concentration - i` degrees of freedom (Bartlett 1933). The noise is uniform:
    p (p - 1) / 2 numbers for the normals, then one for each element of the diagonal.
    """

    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "scale_matrix": constraints.positive_definite,
        "rate_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    reparameterized = True
    noise = "uniform"
    concentration: Array

    def __init__(
        self,
        concentration: Array,
        scale_matrix: Array | None = None,
        rate_matrix: Array | None = None,
        scale_tril: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        matrices = {"scale_matrix": scale_matrix, "rate_matrix": rate_matrix, "scale_tril": scale_tril}
        name, matrix = given_matrix(self._family, matrices)
        p = np.shape(matrix)[-1]
        if np.shape(matrix)[-2:] != (p, p):
            raise ShapeError(
                got=f"{self._family} with {name} of shape {np.shape(matrix)}",
                expected="shape (..., p, p)",
                hint=f"{name}=np.eye(p) where nothing is known",
            )
        self._root = Root(ROOT_KINDS[name], matrix)
        arguments = {"concentration": concentration, name: matrix}
        super().__init__(arguments, event_shape=(p, p), validate_args=validate_args)
        if validate_args is not False:
            self._require(self.concentration > p - 1, "concentration", f"above {p - 1}, the number of rows less one")

    @property
    def scale_matrix(self) -> Array:
        """The scale, of shape (..., p, p)."""
        return self._root.matrix

    @property
    def rate_matrix(self) -> Array:
        """The inverse of the scale, of shape (..., p, p)."""
        return self._root.inverse

    @property
    def scale_tril(self) -> Array:
        """The lower Cholesky factor of the scale."""
        return self._root.tril

    @property
    def noise_shape(self) -> Shape:
        """A number for each element of a factor."""
        p = self.event_shape[0]
        return (*self.batch_shape, p * (p + 1) // 2)

    def _bartlett(self, noise: Array) -> Array:
        normals, log_roots = _triangle_noise(0.5 * self._degrees, noise)
        return LowerCholeskyTransform()(np.concatenate([normals, log_roots], axis=-1))

    @property
    def _degrees(self) -> Array:
        """Of the chi-squared squares of the diagonal, along a new last axis: concentration, less one, less two..."""
        nu = per_event(self.concentration, 1)
        return nu - np.arange(self.event_shape[0], dtype=float_type(nu))

    def _log_normalizer(self) -> Array:
        """`p nu / 2 log 2 + log Gamma_p(nu / 2)`, with the multivariate gamma function."""
        p = self.event_shape[0]
        log_gamma = np.sum(special.gammaln(0.5 * self._degrees), axis=-1) + 0.25 * p * (p - 1) * _LOG_PI
        return 0.5 * p * _LOG_2 * self.concentration + log_gamma

    @property
    def _expected_logs(self) -> Array:
        """`E[log A_ii]`, along a new last axis."""
        return 0.5 * (special.digamma(0.5 * self._degrees) + _LOG_2)


class WishartCholesky(_Bartlett):
    """The lower Cholesky factor X of a Wishart draw, with `concentration` nu above p - 1.

    `log p(X) = sum_i (nu - i - 1) log X_ii - |T^-1 X|^2 / 2 - nu sum_i log T_ii + p log 2 - p nu / 2 log 2
    - log Gamma_p(nu / 2)`, i = 0..p-1, where T is the lower Cholesky factor of the scale. The scale is given as
    one of `scale_matrix`, `rate_matrix` (its inverse) and `scale_tril`. A factor is a positive definite matrix
    with all its digits, also where nu is so small that the matrix itself is singular to a computer.

    >>> WishartCholesky(3.0, scale_tril=np.eye(2)).mode.round(3)
    array([[1.414, 0.   ],
           [0.   , 1.   ]])
    """

    support = constraints.lower_cholesky

    def from_noise(self, noise: Array) -> Array:
        return np.matmul(self.scale_tril, self._bartlett(noise))

    def _log_density(self, x):
        p = self.event_shape[0]
        z = self._root.solve_rows(transpose(x))
        log_x = np.log(np.diagonal(x, axis1=-2, axis2=-1))
        spread = np.sum((self._degrees - 1.0) * log_x, axis=-1) - 0.5 * np.sum(z * z, axis=(-2, -1))
        return spread - (self.concentration * self._root.half_log_det + self._log_normalizer() - p * _LOG_2)

    def _mean(self):
        return self.scale_tril * self._expected_diagonal()[..., None, :]

    def _expected_diagonal(self):
        """`E[A_ii]`, the mean of a chi draw."""
        return math.sqrt(2.0 * math.pi) * np.exp(-log_beta_half(0.5 * self._degrees))

    def _mode(self):
        return self.scale_tril * np.sqrt(np.maximum(self._degrees - 1.0, 0.0))[..., None, :]

    def _variance(self):
        p, squares = self.event_shape[0], self.scale_tril * self.scale_tril
        of_diagonal = self._degrees - self._expected_diagonal() ** 2
        below = np.matmul(squares, np.tri(p, p, -1, dtype=float_type(squares)))
        return below + squares * of_diagonal[..., None, :]

    def _entropy(self):
        p = self.event_shape[0]
        expected = np.sum((self._degrees - 1.0) * self._expected_logs, axis=-1) - 0.5 * p * self.concentration
        # The elements of column j take the scale of rows j to p - 1: T_ii counts i + 1 times.
        log_t = np.log(np.diagonal(self.scale_tril, axis1=-2, axis2=-1))
        volume = np.sum(np.arange(1, p + 1, dtype=float_type(log_t)) * log_t, axis=-1)
        return volume + self._log_normalizer() - p * _LOG_2 - expected


class Wishart(_Bartlett):
    """Wishart distribution of positive definite matrices: `concentration` nu times the covariance of nu normal draws.

    `log p(X) = (nu - p - 1) / 2 log |X| - tr(V^-1 X) / 2 - nu / 2 log |V| - p nu / 2 log 2 - log Gamma_p(nu / 2)`,
    nu above p - 1, where the scale V is given as one of `scale_matrix`, `rate_matrix` (its inverse) and
    `scale_tril`. The mode is 0 for nu below p + 1. Where nu is near p - 1 draws are nearly singular, some beyond
    what a double can hold: their factors, `WishartCholesky`, are not.

    >>> Wishart(3.0, np.array([[2.0, 1.0], [1.0, 1.0]])).mean
    array([[6., 3.],
           [3., 3.]])
    """

    support = constraints.positive_definite

    def from_noise(self, noise: Array) -> Array:
        factor = np.matmul(self.scale_tril, self._bartlett(noise))
        return np.matmul(factor, transpose(factor))

    def _log_density(self, x):
        p, factor = self.event_shape[0], np.linalg.cholesky(x)
        z = self._root.solve_rows(transpose(factor))
        spread = (self.concentration - (p + 1)) * log_diagonal(factor) - 0.5 * np.sum(z * z, axis=(-2, -1))
        return spread - (self.concentration * self._root.half_log_det + self._log_normalizer())

    def _mean(self):
        return per_event(self.concentration, 2) * self.scale_matrix

    def _mode(self):
        p = self.event_shape[0]
        return per_event(np.maximum(self.concentration - (p + 1), 0.0), 2) * self.scale_matrix

    def _variance(self):
        v, diagonal = self.scale_matrix, self._root.variance
        return per_event(self.concentration, 2) * (v * v + diagonal[..., :, None] * diagonal[..., None, :])

    def _entropy(self):
        p, nu = self.event_shape[0], self.concentration
        volume = (p + 1) * self._root.half_log_det + self._log_normalizer() + 0.5 * p * nu
        return volume - (nu - (p + 1)) * np.sum(self._expected_logs, axis=-1)


class InverseWishart(_Bartlett):
    """The inverse of a Wishart draw: the conjugate prior of a covariance, with `concentration` nu above p - 1.

    `log p(X) = nu / 2 log |S| - (nu + p + 1) / 2 log |X| - tr(S X^-1) / 2 - p nu / 2 log 2 - log Gamma_p(nu / 2)`,
    where the scale S is `scale_matrix`, or `scale_tril` is its lower Cholesky factor, or `rate_matrix` its inverse.
    The mean `S / (nu - p - 1)` is finite for nu > p + 1, the variance for nu > p + 3. Where nu is near p - 1 draws
    are nearly singular, or too large for a double: a Wishart law of the precision has none of that.

    >>> InverseWishart(5.0, np.array([[2.0, 1.0], [1.0, 1.0]])).mean
    array([[1. , 0.5],
           [0.5, 0.5]])
    """

    support = constraints.positive_definite

    def from_noise(self, noise: Array) -> Array:
        # (T^-T A A' T^-1)^-1 = (A^-1 T')' (A^-1 T'), with one solve.
        half = solve_rows(self._bartlett(noise), self.scale_tril)
        return np.matmul(half, transpose(half))

    def _log_density(self, x):
        p, factor = self.event_shape[0], np.linalg.cholesky(x)
        z = solve_rows(factor, transpose(self.scale_tril))
        spread = -(self.concentration + (p + 1)) * log_diagonal(factor) - 0.5 * np.sum(z * z, axis=(-2, -1))
        return spread + self.concentration * self._root.half_log_det - self._log_normalizer()

    def _mean(self):
        p = self.event_shape[0]
        factor = above(self.concentration, p + 1, lambda nu: 1.0 / (nu - (p + 1)), 0.0)
        return self._where_above(p + 1, per_event(factor, 2) * self.scale_matrix)

    def _variance(self):
        p, s, diagonal = self.event_shape[0], self.scale_matrix, self._root.variance

        def factors(nu):
            most = (nu - p) * (nu - (p + 1)) * (nu - (p + 3))
            return (nu - (p - 1)) / (most * (nu - (p + 1))), 1.0 / most

        own, cross = (
            per_event(above(self.concentration, p + 3, lambda nu, i=i: factors(nu)[i], 0.0), 2) for i in (0, 1)
        )
        finite = own * s * s + cross * diagonal[..., :, None] * diagonal[..., None, :]
        return self._where_above(p + 3, finite)

    def _where_above(self, limit, moment):
        """A moment that is finite for nu above a limit; off the diagonal there is none where the mean is infinite."""
        nu, p = per_event(self.concentration, 2), self.event_shape[0]
        return np.where(nu > limit, moment, np.where((nu > p + 1) | np.eye(p, dtype=bool), np.inf, np.nan))

    def _mode(self):
        return self.scale_matrix / per_event(self.concentration + (self.event_shape[0] + 1), 2)

    def _entropy(self):
        p, nu = self.event_shape[0], self.concentration
        volume = (p + 1) * self._root.half_log_det + self._log_normalizer() + 0.5 * p * nu
        return volume - (nu + (p + 1)) * np.sum(self._expected_logs, axis=-1)


class _Correlations(Distribution):
    """What laws of correlations share: the rows of a Cholesky factor are independent points on half spheres.

    Row i, i = 1..n-1, is `(e_1, ..., e_i, c) / |(e_1, ..., e_i, c)|` with standard normal e and c^2 chi-squared with
    `2 b_i` degrees of freedom, `b_i = concentration + (n - 1 - i) / 2`: so its last element squared is
    Beta(b_i, i / 2), as in the onion method (Lewandowski, Kurowicka and Joe 2009, section 3.2). The noise is
    uniform, n (n - 1) / 2 numbers for the normals and one for each c.
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive}
    reparameterized = True
    noise = "uniform"
    _static = ("dimension",)
    dimension: int
    concentration: Array

    def __init__(self, dimension: int, concentration: Array = 1.0, *, validate_args: bool | None = None) -> None:
        if not isinstance(dimension, int | np.integer) or dimension < 2:
            raise ShapeError(
                got=f"{self._family} with dimension={dimension}",
                expected="a whole number of variables, two or more",
                hint="dimension=2 for one correlation; a single variable has none",
            )
        super().__init__(
            {"dimension": dimension, "concentration": concentration},
            event_shape=(dimension, dimension),
            validate_args=validate_args,
        )

    @property
    def noise_shape(self) -> Shape:
        """A number for each element of a factor but the first, which is 1."""
        n = self.dimension
        return (*self.batch_shape, n * (n + 1) // 2 - 1)

    def _factor(self, noise: Array) -> Array:
        normals, log_roots = _triangle_noise(self._shapes, noise)
        first = np.zeros((*np.shape(log_roots)[:-1], 1), dtype=float_type(log_roots))
        rows = LowerCholeskyTransform()(np.concatenate([normals, first, log_roots], axis=-1))
        return rows / np.sqrt(np.sum(rows * rows, axis=-1))[..., None]

    @property
    def _rows(self) -> np.ndarray:
        return np.arange(1, self.dimension, dtype=float_type(self.concentration))

    @property
    def _shapes(self) -> Array:
        """`b_i` of the rows, along a new last axis."""
        return per_event(self.concentration, 1) + 0.5 * (self.dimension - 1 - self._rows)

    def _log_normalizer(self) -> Array:
        """`sum_i log B(b_i, i / 2) - log Gamma(i / 2) + i / 2 log pi`: the log volume of the half spheres, weighted."""
        half = 0.5 * self._rows
        return np.sum(special.betaln(self._shapes, half) + (half * _LOG_PI - special.gammaln(half)), axis=-1)

    @property
    def _expected_logs(self) -> Array:
        """`E[log L_ii]` of the rows but the first."""
        return 0.5 * (special.digamma(self._shapes) - special.digamma(self._shapes + 0.5 * self._rows))

    @property
    def _spread(self) -> Array:
        """The variance of a correlation, 1 / (2 concentration + n - 1), with two axes for the matrix."""
        return per_event(1.0 / (2.0 * self.concentration + (self.dimension - 1)), 2)

    def _mode(self):
        eye = np.eye(self.dimension, dtype=float_type(self.concentration))
        return np.where(per_event(self.concentration, 2) >= 1.0, eye, np.nan)


class LKJCholesky(_Correlations):
    """The lower Cholesky factor of a correlation matrix, with `det(L L')^(concentration - 1)` as density of L L'.

    `log p(L) = sum_i (n - 1 - i + 2 (concentration - 1)) log L_ii - log c`, i = 1..n-1, in the elements below the
    diagonal. `concentration` 1 is uniform over correlation matrices, larger ones favour weak correlations. Below 1
    the density has no bound, and the mode is NaN. (Lewandowski, Kurowicka and Joe 2009.)

    >>> d = LKJCholesky(3, 2.0)
    >>> L = d.sample(0)
    >>> bool(np.allclose((L * L).sum(-1), 1.0)), d.event_shape
    (True, (3, 3))
    """

    support = constraints.corr_cholesky

    def from_noise(self, noise: Array) -> Array:
        return self._factor(noise)

    def _log_density(self, x):
        logs = np.log(np.diagonal(x, axis1=-2, axis2=-1)[..., 1:])
        return np.sum((2.0 * self._shapes - 2.0) * logs, axis=-1) - self._log_normalizer()

    def _on_diagonal(self, first: float, rest: Array) -> Array:
        first = np.full((*np.shape(rest)[:-1], 1), first, dtype=float_type(rest))
        return np.concatenate([first, rest], axis=-1)[..., None] * np.eye(self.dimension, dtype=float_type(rest))

    def _expected_diagonal(self):
        b, half = self._shapes, 0.5 * self._rows
        return np.exp(special.betaln(b + 0.5, half) - special.betaln(b, half))

    def _mean(self):
        return self._on_diagonal(1.0, self._expected_diagonal())

    def _variance(self):
        b, mean = self._shapes, self._expected_diagonal()
        below = np.tri(self.dimension, k=-1, dtype=float_type(self.concentration))
        # Of a large concentration, where the diagonal is nearly 1, rounding is all that is left of the difference.
        of_diagonal = np.maximum(b / (b + 0.5 * self._rows) - mean * mean, 0.0)
        return self._on_diagonal(0.0, of_diagonal) + self._spread * below

    def _entropy(self):
        return self._log_normalizer() - np.sum((2.0 * self._shapes - 2.0) * self._expected_logs, axis=-1)


class LKJ(_Correlations):
    """Correlation matrices R with density `det(R)^(concentration - 1)`, the same for every pair of variables.

    `log p(R) = (concentration - 1) log det R - log c`, in the elements below the diagonal. `concentration` 1 is
    uniform over correlation matrices, larger ones favour weak correlations. Below 1 the density has no bound, and
    the mode is NaN. Every correlation is `2 Beta(b, b) - 1`, `b = concentration + n / 2 - 1`.
    (Lewandowski, Kurowicka and Joe 2009.)

    >>> LKJ(2, 1.0).variance.round(4)
    array([[0.    , 0.3333],
           [0.3333, 0.    ]])
    """

    support = constraints.corr_matrix

    def from_noise(self, noise: Array) -> Array:
        factor = self._factor(noise)
        return np.matmul(factor, transpose(factor))

    def _log_density(self, x):
        log_det = 2.0 * log_diagonal(np.linalg.cholesky(x))
        return (self.concentration - 1.0) * log_det - self._log_normalizer()

    def _mean(self):
        return np.eye(self.dimension, dtype=float_type(self.concentration))

    def _variance(self):
        return self._spread * (1.0 - np.eye(self.dimension, dtype=float_type(self.concentration)))

    def _entropy(self):
        log_det = 2.0 * np.sum(self._expected_logs, axis=-1)
        return self._log_normalizer() - (self.concentration - 1.0) * log_det


def _triangle_noise(shapes: Array, noise: Array) -> tuple[Array, Array]:
    """Standard normals, and logs of the roots of chi-squared draws with `2 shapes` degrees of freedom.

    A root stays above e^-350, for its square to be a positive double and a factor to be one.
    """
    chis = np.shape(shapes)[-1]
    normals = special.ndtri(noise[..., :-chis])
    return normals, np.maximum(0.5 * (log_gamma_quantile(shapes, noise[..., -chis:]) + _LOG_2), _LEAST_LOG)
