"""Families of vectors: multivariate normals and t, normals that sum to zero, and laws on the simplex."""

from __future__ import annotations

import functools
import math
from typing import Any, ClassVar

import numpy as np
from scipy import special

from ppl.array import is_recorded, log_gamma_quantile, logsumexp
from ppl.distributions import constraints
from ppl.distributions._arrays import (
    Shape,
    above,
    as_array,
    as_shape,
    broadcast,
    exp_within,
    float_type,
    quiet,
    within_range,
)
from ppl.distributions._tails import log_gamma_entropy, t_entropy
from ppl.distributions._triangular import (
    ROOT_KINDS,
    Root,
    given_matrix,
    log_diagonal,
    matrix_times,
    per_event,
    solve_positive,
    solve_rows,
    squared_distance,
    transpose,
)
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.real import Normal
from ppl.distributions.transforms import ZeroSumTransform
from ppl.errors import ShapeError

__all__ = [
    "Dirichlet",
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "MultivariateNormal",
    "MultivariateStudentT",
    "ZeroSumNormal",
    "log_diagonal",
    "squared_distance",
]

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
        name, matrix = given_matrix("MultivariateNormal", matrices)
        loc = _located(loc, matrix, "MultivariateNormal")
        self._root = Root(ROOT_KINDS[name], matrix)
        super().__init__({"loc": loc, name: matrix}, event_shape=np.shape(matrix)[-1:], validate_args=validate_args)

    @property
    def scale_tril(self) -> Array:
        """The lower Cholesky factor of the covariance."""
        return self._root.tril

    @property
    def covariance_matrix(self) -> Array:
        """The covariance, of shape (..., n, n)."""
        return self._root.matrix

    @property
    def precision_matrix(self) -> Array:
        """The inverse of the covariance, of shape (..., n, n)."""
        return self._root.inverse

    def marginal(self, index: Any) -> MultivariateNormal:
        """The law of the elements that `index`, a list of numbers or a slice, takes.

        >>> d = MultivariateNormal(np.array([1.0, 2.0, 3.0]), scale_tril=np.tril(np.ones((3, 3))))
        >>> d.marginal([2, 0]).covariance_matrix
        array([[3., 1.],
               [1., 1.]])
        """
        rows = self.scale_tril[..., index, :]
        covariance = np.matmul(rows, transpose(rows))
        part = MultivariateNormal(self.loc[..., index], covariance_matrix=covariance, validate_args=False)
        return part.expand(self.batch_shape)

    def from_noise(self, noise: Array) -> Array:
        return self.loc + self._root.times(noise)

    def _log_density(self, x):
        normalizer = self._root.half_log_det + 0.5 * self.event_shape[0] * _LOG_2PI
        return -0.5 * self._root.squares(x - self.loc) - normalizer

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return self._root.variance

    def _entropy(self):
        return self._root.half_log_det + 0.5 * self.event_shape[0] * (1.0 + _LOG_2PI)


class LowRankMultivariateNormal(Distribution):
    """Normal distribution of vectors with covariance `W W' + diag(d)`, W of shape (..., n, r) with few columns.

    `log p(x) = -(|D^-1/2 (x - loc - W f)|^2 + |f|^2) / 2 - sum_i log C_ii - sum_i log(d_i) / 2 - n log(2 pi) / 2`
    with `C C' = I + W' D^-1 W` and `f = (C C')^-1 W' D^-1 (x - loc)`, the expected factors given x: nothing of
    size n x n is made, and nothing cancels where d is small (an error of f counts by its square).
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
        return np.matmul(factor, transpose(factor)) + own

    @property
    def scale_tril(self) -> Array:
        """The lower Cholesky factor of the covariance."""
        return np.linalg.cholesky(self.covariance_matrix)

    @property
    def precision_matrix(self) -> Array:
        """The inverse of the covariance."""
        scaled = self.cov_factor / self.cov_diag[..., None]
        halves = solve_rows(self._capacitance_tril, scaled)
        own = (1.0 / self.cov_diag)[..., None] * np.eye(self.event_shape[0], dtype=float_type(self.cov_diag))
        return own - np.matmul(halves, transpose(halves))

    @functools.cached_property
    def _capacitance_tril(self) -> Array:
        """The lower Cholesky factor of `I + W' D^-1 W`."""
        scaled = self.cov_factor / self.cov_diag[..., None]
        rank = np.shape(self.cov_factor)[-1]
        return np.linalg.cholesky(
            np.matmul(transpose(self.cov_factor), scaled) + np.eye(rank, dtype=float_type(self.cov_diag))
        )

    @functools.cached_property
    def _half_log_det(self) -> Array:
        return log_diagonal(self._capacitance_tril) + 0.5 * np.sum(np.log(self.cov_diag), axis=-1)

    def marginal(self, index: Any) -> LowRankMultivariateNormal:
        """The law of the elements that `index`, a list of numbers or a slice, takes."""
        parts = self.loc[..., index], self.cov_factor[..., index, :], self.cov_diag[..., index]
        return LowRankMultivariateNormal(*parts, validate_args=False).expand(self.batch_shape)

    def from_noise(self, noise: Array) -> Array:
        rank = np.shape(self.cov_factor)[-1]
        return self.loc + matrix_times(self.cov_factor, noise[..., :rank]) + np.sqrt(self.cov_diag) * noise[..., rank:]

    def _log_density(self, x):
        gap = x - self.loc
        factors = solve_positive(self._capacitance_tril, matrix_times(transpose(self.cov_factor), gap / self.cov_diag))
        rest = gap - matrix_times(self.cov_factor, factors)
        squares = np.sum(rest * rest / self.cov_diag, axis=-1) + np.sum(factors * factors, axis=-1)
        return -0.5 * squares - (self._half_log_det + 0.5 * self.event_shape[0] * _LOG_2PI)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return np.sum(self.cov_factor * self.cov_factor, axis=-1) + self.cov_diag

    def _entropy(self):
        return self._half_log_det + 0.5 * self.event_shape[0] * (1.0 + _LOG_2PI)


class MultivariateStudentT(Distribution):
    """Student's t distribution of vectors: a normal with covariance `L L'`, all of it widened by one chi-squared draw.

    `log p(x) = -(df + n) / 2 log(1 + |z|^2 / df) - sum_i log L_ii - n / 2 log(df pi) + log Gamma((df + n) / 2)
    - log Gamma(df / 2)`, where `L z = x - loc` and L is `scale_tril`. The mean exists for df > 1, the variance
    `df / (df - 2) (L L')_ii` is finite for df > 2. Its noise is uniform, n elements for the direction and one
    for the width: `x = loc + L e / sqrt(g / df)`, g chi-squared by its quantiles, which have a derivative in df.

    >>> MultivariateStudentT(4.0, np.zeros(2), np.eye(2)).variance
    array([2., 2.])
    """

    arg_constraints: ClassVar = {
        "df": constraints.positive,
        "loc": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    reparameterized = True
    noise = "uniform"
    df: Array
    loc: Array
    scale_tril: Array

    def __init__(
        self, df: Array, loc: Array = 0.0, scale_tril: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        _, scale_tril = given_matrix("MultivariateStudentT", {"scale_tril": scale_tril})
        loc = _located(loc, scale_tril, "MultivariateStudentT")
        self._root = Root("tril", scale_tril)
        super().__init__(
            {"df": df, "loc": loc, "scale_tril": scale_tril},
            event_shape=np.shape(scale_tril)[-1:],
            validate_args=validate_args,
        )

    @property
    def noise_shape(self) -> Shape:
        """Room for the direction and the width."""
        return (*self.batch_shape, self.event_shape[0] + 1)

    @property
    def covariance_matrix(self) -> Array:
        """`df / (df - 2) L L'`: infinite for df up to 2, nan up to 1."""
        return per_event(self._widening, 2) * self._root.matrix

    def marginal(self, index: Any) -> MultivariateStudentT:
        """The law of the elements that `index`, a list of numbers or a slice, takes."""
        rows = self.scale_tril[..., index, :]
        tril = np.linalg.cholesky(np.matmul(rows, transpose(rows)))
        return MultivariateStudentT(self.df, self.loc[..., index], tril, validate_args=False).expand(self.batch_shape)

    def from_noise(self, noise: Array) -> Array:
        half = 0.5 * self.df
        log_chi2 = log_gamma_quantile(half, noise[..., -1]) + math.log(2.0)
        width = exp_within(0.5 * (np.log(self.df) - log_chi2))
        direction = self._root.times(special.ndtri(noise[..., :-1]))
        with quiet():
            return self.loc + within_range(width[..., None] * direction)

    def _log_density(self, x):
        n = self.event_shape[0]
        tail = 0.5 * (self.df + n) * np.log1p(self._root.squares(x - self.loc) / self.df)
        return -tail - (self._root.half_log_det + self._log_volume())

    def _log_volume(self):
        n = self.event_shape[0]
        # A beta function, since the difference of two log Gammas cancels where df is large.
        half_n = float_type(self.df).type(0.5 * n)
        return 0.5 * n * np.log(self.df * math.pi) + special.betaln(0.5 * self.df, half_n) - math.lgamma(0.5 * n)

    @property
    def _widening(self) -> Array:
        finite = above(self.df, 2.0, lambda df: df / (df - 2.0), np.inf)
        return np.where(self.df > 1.0, finite, np.nan)

    def _mean(self):
        return np.where(per_event(self.df, 1) > 1.0, self.loc, np.nan)

    def _mode(self):
        return self.loc

    def _variance(self):
        return per_event(self._widening, 1) * self._root.variance

    def _entropy(self):
        return self._root.half_log_det + t_entropy(self.df, self.event_shape[0])


class ZeroSumNormal(Distribution):
    """Normal distribution of arrays that sum to zero along every axis: effects measured from their own average.

    `log p(x) = -sum_i x_i^2 / (2 scale^2) - m (log(scale) + log(2 pi) / 2)`, `m = prod_k (n_k - 1)`, the density
    over the m dimensions in which such an array can move. It is the law of independent normals less their means
    along every axis: each element has variance `scale^2 prod_k (1 - 1 / n_k)`, and any two of a vector the
    correlation `-1 / (n - 1)`. Its noise has the m elements that `ZeroSumTransform` takes.

    >>> d = ZeroSumNormal(1.0, (4,))
    >>> d.variance, bool(abs(d.sample(0).sum()) < 1e-12)
    (array([0.75, 0.75, 0.75, 0.75]), True)
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    reparameterized = True
    noise = "normal"
    scale: Array
    _static = ("event_shape",)

    def __init__(self, scale: Array, event_shape: Any, *, validate_args: bool | None = None) -> None:
        event_shape = tuple(int(n) for n in as_shape(event_shape))
        if not event_shape or min(event_shape) < 2:
            raise ShapeError(
                got=f"ZeroSumNormal with event_shape={event_shape}",
                expected="one or more axes of length 2 or more",
                hint="event_shape=(n,) for n effects; one effect that sums to zero is 0",
            )
        self._transform = ZeroSumTransform(len(event_shape))
        super().__init__(
            {"scale": scale, "event_shape": event_shape},
            batch_shape=np.shape(scale),
            event_shape=event_shape,
            validate_args=validate_args,
        )

    @property
    def support(self) -> Constraint:
        return constraints.zero_sum(self.event_dim)

    @property
    def noise_shape(self) -> Shape:
        """Along every axis of the value one element less."""
        return self.batch_shape + self._transform.inverse_shape(self.event_shape)

    def from_noise(self, noise: Array) -> Array:
        return per_event(self.scale, self.event_dim) * self._transform(noise)

    def _log_density(self, x):
        z = x / per_event(self.scale, self.event_dim)
        return -0.5 * np.sum(z * z, axis=tuple(range(-self.event_dim, 0))) - self._log_volume()

    @property
    def _dimensions(self) -> int:
        return math.prod(n - 1 for n in self.event_shape)

    def _log_volume(self):
        return self._dimensions * (np.log(self.scale) + 0.5 * _LOG_2PI)

    def _mean(self):
        return per_event(0.0 * self.scale, self.event_dim)

    _mode = _mean

    def _variance(self):
        share = math.prod(1.0 - 1.0 / n for n in self.event_shape)
        return per_event(self.scale * self.scale * share, self.event_dim)

    def _entropy(self):
        return self._log_volume() + 0.5 * self._dimensions


class LogisticNormal(Distribution):
    """Probabilities whose log ratios to the last one are normal: `x = softmax((y, 0))`, `y ~ Normal(loc, ...)`.

    `log p(x) = log Normal(y) - sum_k log x_k` with `y_k = log(x_k / x_K)`, k = 1..K-1, on the simplex of K parts.
    The spread of the log ratios is one of `scale` (independent ones), `covariance_matrix`, `precision_matrix` and
    `scale_tril`. Unlike a Dirichlet's, its parts may be correlated as one likes (Aitchison and Shen 1980).
    For two parts, the first is a logit-normal number.

    >>> d = LogisticNormal(np.zeros(2), 1.0)
    >>> d.event_shape, d.from_noise(np.zeros(2)).round(3)
    ((3,), array([0.333, 0.333, 0.333]))
    """

    arg_constraints: ClassVar = {
        "scale": constraints.independent(constraints.positive, 1),
        **MultivariateNormal.arg_constraints,
    }
    support = constraints.simplex
    reparameterized = True
    noise = "normal"

    def __init__(
        self,
        loc: Array,
        scale: Array | None = None,
        *,
        covariance_matrix: Array | None = None,
        precision_matrix: Array | None = None,
        scale_tril: Array | None = None,
        validate_args: bool | None = None,
    ) -> None:
        matrices = {
            "scale": scale,
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        name, spread = given_matrix("LogisticNormal", matrices)
        if name == "scale":
            n = np.broadcast_shapes(np.shape(loc), np.shape(spread), (1,))[-1:]
            loc, spread = (broadcast(a, n) if np.ndim(a) == 0 else a for a in (as_array(loc), spread))
            self.log_ratios: Distribution = Normal(loc, spread, validate_args=False).to_event(1)
        else:
            loc = _located(loc, spread, "LogisticNormal")
            self.log_ratios = MultivariateNormal(loc, **{name: spread}, validate_args=False)
        parts = self.log_ratios.event_shape[0] + 1
        super().__init__({"loc": loc, name: spread}, event_shape=(parts,), validate_args=validate_args)

    @property
    def noise_shape(self) -> Shape:
        """One element for each log ratio."""
        return (*self.batch_shape, self.event_shape[0] - 1)

    def from_noise(self, noise: Array) -> Array:
        y = self.log_ratios.from_noise(noise)
        y = np.concatenate([y, np.zeros((*np.shape(y)[:-1], 1), dtype=float_type(y))], axis=-1)
        return np.exp(y - logsumexp(y, axis=-1)[..., None])

    def _log_density(self, x):
        log_x = np.log(x)
        density = self.log_ratios.log_prob_inside(log_x[..., :-1] - log_x[..., -1:]) - np.sum(log_x, axis=-1)
        # At a part of zero the formula is inf - inf, and the density is zero.
        return density if is_recorded(x) else np.where(np.all(x > 0, axis=-1), density, -np.inf)


class Dirichlet(Distribution):
    """Dirichlet distribution of probabilities: `concentration` holds a count for each part.

    `log p(x) = sum_k (a_k - 1) log x_k - sum_k log Gamma(a_k) + log Gamma(sum_k a_k)`, on the simplex.
    Draws are gamma draws divided by their sum, each by its quantile on the log scale, which has a derivative in its
    count. Without a count above 1 the density is greatest in corners; the mode
    is then the corner of the largest count.

    >>> Dirichlet(np.array([1.0, 3.0])).mean
    array([0.25, 0.75])
    """

    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    reparameterized = True
    noise = "uniform"
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

    def from_noise(self, noise: Array) -> Array:
        log_gamma = log_gamma_quantile(self.concentration, noise)
        return np.exp(log_gamma - logsumexp(log_gamma, axis=-1)[..., None])

    def _mode(self):
        a = self.concentration
        more = np.maximum(a - 1.0, 0.0)
        total = np.sum(more, axis=-1)[..., None]
        corner = np.arange(self.event_shape[0]) == np.argmax(a, axis=-1)[..., None]
        return np.where(total > 0.0, more / np.where(total > 0.0, total, 1.0), corner.astype(float_type(a)))

    def _mean(self):
        return self.concentration / np.sum(self.concentration, axis=-1)[..., None]

    def _variance(self):
        total, mean = np.sum(self.concentration, axis=-1)[..., None], self._mean()
        return mean * (1.0 - mean) / (total + 1.0)

    def _entropy(self):
        a, total = self.concentration, np.sum(self.concentration, axis=-1)
        of_parts = np.sum(log_gamma_entropy(a) + special.digamma(a), axis=-1)
        return of_parts - log_gamma_entropy(total) - self.event_shape[0] * special.digamma(total)


# -- shared ------------------------------------------------------------------------------------------


def _located(loc: Array, matrix: Array, family: str) -> Array:
    """`loc` as a vector that fits the matrix, (..., n) to (..., n, n)."""
    loc, n = as_array(loc), np.shape(matrix)[-1:]
    loc = broadcast(loc, n) if np.ndim(loc) == 0 else loc
    if np.shape(matrix)[-2:] != n + n or np.shape(loc)[-1:] != n:
        raise ShapeError(
            got=f"{family} with loc of shape {np.shape(loc)} and a matrix of shape {np.shape(matrix)}",
            expected="shapes (..., n) and (..., n, n)",
            hint="a loc as long as the matrix has rows",
        )
    return loc
