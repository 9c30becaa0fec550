"""Continuous families of scalars, each with its density in the docstring.

Standardise, then take the log density of the standard member:

    z = (x - loc) / scale,    log p(x) = log p_0(z) - log(scale)

Densities are written to be exact far into the tails and to take few array operations. Families
with an explicit quantile function draw through it.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import is_recorded, softplus, stop_gradient
from ppl.distributions import constraints
from ppl.distributions._arrays import broadcast, float_type
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_EULER = 0.5772156649015329  # Euler's constant
_TINY = float(np.finfo(float).tiny)


class Normal(Distribution):
    """Normal distribution, the sum of many small effects.

    `log p(x) = -z^2 / 2 - log(scale) - log(2 pi) / 2`, `z = (x - loc) / scale`, on the reals.

    >>> float(Normal(1.0, 2.0).log_prob(1.0).round(4))
    -1.6121
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparameterized = True
    noise = "normal"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.loc + self.scale * noise

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        return -0.5 * z * z - (np.log(self.scale) + _HALF_LOG_2PI)

    def _cdf(self, x):
        return special.ndtr((x - self.loc) / self.scale)

    def _icdf(self, q):
        return self.loc + self.scale * special.ndtri(q)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return self.scale * self.scale

    def _entropy(self):
        return np.log(self.scale) + (0.5 + _HALF_LOG_2PI)


class LogNormal(Distribution):
    """The exponential of a normal draw: positive, skewed, the product of many small effects.

    `log p(x) = log Normal(log x | loc, scale) - log x`, on the positive numbers.

    >>> float(LogNormal(0.0, 1.0).mode.round(4))
    0.3679
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "normal"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return np.exp(self.loc + self.scale * noise)

    def _log_density(self, x):
        log_x = np.log(x)
        z = (log_x - self.loc) / self.scale
        return -0.5 * z * z - log_x - (np.log(self.scale) + _HALF_LOG_2PI)

    def _cdf(self, x):
        return special.ndtr((np.log(np.maximum(x, _TINY)) - self.loc) / self.scale)

    def _icdf(self, q):
        return np.exp(self.loc + self.scale * special.ndtri(q))

    def _mean(self):
        return np.exp(self.loc + 0.5 * self.scale * self.scale)

    def _mode(self):
        return np.exp(self.loc - self.scale * self.scale)

    def _variance(self):
        square = self.scale * self.scale
        return np.expm1(square) * np.exp(2.0 * self.loc + square)

    def _entropy(self):
        return self.loc + np.log(self.scale) + (0.5 + _HALF_LOG_2PI)


class HalfNormal(Distribution):
    """The size of a normal draw with mean 0: a weak prior of scales.

    `log p(x) = -z^2 / 2 - log(scale) + log(2 / pi) / 2`, `z = x / scale`, on the positive numbers.

    >>> round(HalfNormal(2.0).mean, 4)
    1.5958
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "normal"
    scale: Array

    def __init__(self, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.scale * np.abs(noise)

    def _log_density(self, x):
        z = x / self.scale
        return -0.5 * z * z - (np.log(self.scale) - 0.5 * math.log(2.0 / math.pi))

    def _cdf(self, x):
        return special.erf(np.maximum(x, 0.0) / self.scale * math.sqrt(0.5))

    def _icdf(self, q):
        return self.scale * (math.sqrt(2.0) * special.erfinv(q))

    def _mean(self):
        return self.scale * math.sqrt(2.0 / math.pi)

    def _mode(self):
        return 0.0

    def _variance(self):
        return self.scale * self.scale * (1.0 - 2.0 / math.pi)

    def _entropy(self):
        return np.log(self.scale) + (0.5 + 0.5 * math.log(math.pi / 2.0))


class Cauchy(Distribution):
    """Cauchy distribution: tails so heavy that it has no mean.

    `log p(x) = -log(1 + z^2) - log(pi scale)`, `z = (x - loc) / scale`, on the reals.

    >>> float(Cauchy().cdf(1.0))
    0.75
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.loc + self.scale * np.tan(math.pi * (noise - 0.5))

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        return -np.log1p(z * z) - (np.log(self.scale) + math.log(math.pi))

    def _cdf(self, x):
        return np.arctan2(1.0, (self.loc - x) / self.scale) / math.pi  # exact in the lower tail too

    def _icdf(self, q):
        return self.from_noise(q)

    def _mode(self):
        return self.loc

    def _entropy(self):
        return np.log(self.scale) + math.log(4.0 * math.pi)


class HalfCauchy(Distribution):
    """The size of a Cauchy draw around 0: a very weak prior of scales.

    `log p(x) = -log(1 + z^2) - log(pi scale / 2)`, `z = x / scale`, on the positive numbers.

    >>> float(HalfCauchy(3.0).icdf(0.5).round(6))
    3.0
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    scale: Array

    def __init__(self, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.scale * np.tan((0.5 * math.pi) * noise)

    def _log_density(self, x):
        z = x / self.scale
        return -np.log1p(z * z) - (np.log(self.scale) + math.log(0.5 * math.pi))

    def _cdf(self, x):
        return np.arctan(np.maximum(x, 0.0) / self.scale) * (2.0 / math.pi)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mode(self):
        return 0.0

    def _entropy(self):
        return np.log(self.scale) + math.log(2.0 * math.pi)


class StudentT(Distribution):
    """Student's t distribution: a normal with heavier tails, for data with outliers.

    `log p(x) = -(df + 1) / 2 log(1 + z^2 / df) - log(scale) - log(df) / 2 - log B(df / 2, 1 / 2)`,
    `z = (x - loc) / scale`, on the reals. The mean exists for df > 1, the variance is finite for df > 2.

    >>> float(StudentT(5.0).variance.round(4))
    1.6667
    """

    arg_constraints: ClassVar = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    df: Array
    loc: Array
    scale: Array

    def __init__(self, df: Array, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"df": df, "loc": loc, "scale": scale}, validate_args=validate_args)

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        tail = (0.5 * self.df + 0.5) * np.log1p(z * z / self.df)
        return -tail - (np.log(self.scale) + 0.5 * np.log(self.df) + _log_beta_half(0.5 * self.df))

    def _draw(self, rng, sample_shape):
        return self.loc + self.scale * rng.standard_t(broadcast(self.df, self.shape(sample_shape)))

    def _cdf(self, x):
        return special.stdtr(self.df, (x - self.loc) / self.scale)

    def _icdf(self, q):
        return self.loc + self.scale * special.stdtrit(self.df, q)

    def _mean(self):
        return np.where(self.df > 1.0, self.loc, np.nan)

    def _mode(self):
        return self.loc

    def _variance(self):
        finite = self.scale * self.scale * _above(self.df, 2.0, lambda df: df / (df - 2.0), np.inf)
        return np.where(self.df > 1.0, finite, np.nan)

    def _entropy(self):
        half = 0.5 * self.df
        spread = (half + 0.5) * (special.digamma(half + 0.5) - special.digamma(half))
        return spread + 0.5 * np.log(self.df) + _log_beta_half(half) + np.log(self.scale)


class Laplace(Distribution):
    """Laplace distribution, two exponentials back to back: the prior behind the lasso.

    `log p(x) = -|x - loc| / scale - log(2 scale)`, on the reals.

    >>> float(Laplace().entropy().round(4))
    1.6931
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        # The lower half from one logarithm, the upper half from the other; minima keep it free of branches.
        below, above = np.log(np.minimum(2.0 * noise, 1.0)), np.log(np.minimum(2.0 - 2.0 * noise, 1.0))
        return self.loc + self.scale * (below - above)

    def _log_density(self, x):
        return -np.abs((x - self.loc) / self.scale) - (np.log(self.scale) + math.log(2.0))

    def _cdf(self, x):
        z = (x - self.loc) / self.scale
        tail = 0.5 * np.exp(-np.abs(z))
        return np.where(z < 0.0, tail, 1.0 - tail)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return 2.0 * self.scale * self.scale

    def _entropy(self):
        return np.log(self.scale) + (1.0 + math.log(2.0))


class Logistic(Distribution):
    """Logistic distribution, whose cdf is the sigmoid.

    `log p(x) = -z - 2 log(1 + exp(-z)) - log(scale)`, `z = (x - loc) / scale`, on the reals.

    >>> float(Logistic(2.0, 3.0).cdf(2.0))
    0.5
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.loc + self.scale * (np.log(noise) - np.log1p(-noise))

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        return z - 2.0 * softplus(z) - np.log(self.scale)  # even in z, so the sign is free

    def _cdf(self, x):
        return special.expit((x - self.loc) / self.scale)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return (math.pi**2 / 3.0) * self.scale * self.scale

    def _entropy(self):
        return np.log(self.scale) + 2.0


class Gumbel(Distribution):
    """Gumbel distribution, the largest of many draws.

    `log p(x) = -z - exp(-z) - log(scale)`, `z = (x - loc) / scale`, on the reals.

    >>> round(Gumbel().mean, 4)
    0.5772
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.loc - self.scale * np.log(-np.log(noise))

    def _log_density(self, x):
        z = (self.loc - x) / self.scale
        return z - np.exp(z) - np.log(self.scale)

    def _cdf(self, x):
        return np.exp(-np.exp((self.loc - x) / self.scale))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.loc + _EULER * self.scale

    def _mode(self):
        return self.loc

    def _variance(self):
        return (math.pi**2 / 6.0) * self.scale * self.scale

    def _entropy(self):
        return np.log(self.scale) + (1.0 + _EULER)


class Exponential(Distribution):
    """Exponential distribution: the wait for an event that comes at a constant rate.

    `log p(x) = log(rate) - rate x`, on the positive numbers.

    >>> float(Exponential(4.0).mean)
    0.25
    """

    arg_constraints: ClassVar = {"rate": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    rate: Array

    def __init__(self, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"rate": rate}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return -np.log1p(-noise) / self.rate

    def _log_density(self, x):
        return np.log(self.rate) - self.rate * x

    def _cdf(self, x):
        return -np.expm1(-self.rate * np.maximum(x, 0.0))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return 1.0 / self.rate

    def _mode(self):
        return 0.0

    def _variance(self):
        return 1.0 / (self.rate * self.rate)

    def _entropy(self):
        return 1.0 - np.log(self.rate)


class Gamma(Distribution):
    """Gamma distribution with `concentration` a and `rate` b: positive numbers, precisions, rates.

    `log p(x) = a log b + (a - 1) log x - b x - log Gamma(a)`, on the positive numbers.

    >>> d = Gamma(3.0, 2.0)
    >>> float(d.mean), float(d.variance)
    (1.5, 0.75)
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    concentration: Array
    rate: Array

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def _log_density(self, x):
        a, b = self.concentration, self.rate
        return (a - 1.0) * np.log(x) - b * x + (a * np.log(b) - special.gammaln(a))

    def _draw(self, rng, sample_shape):
        draws = rng.standard_gamma(broadcast(self.concentration, self.shape(sample_shape))) / self.rate
        return np.maximum(draws, _TINY)  # a tiny concentration draws below what a double can hold

    def _cdf(self, x):
        return special.gammainc(self.concentration, self.rate * np.maximum(x, 0.0))

    def _icdf(self, q):
        return special.gammaincinv(self.concentration, q) / self.rate

    def _mean(self):
        return self.concentration / self.rate

    def _mode(self):
        return np.maximum(self.concentration - 1.0, 0.0) / self.rate

    def _variance(self):
        return self.concentration / (self.rate * self.rate)

    def _entropy(self):
        a = self.concentration
        return a - np.log(self.rate) + special.gammaln(a) + (1.0 - a) * special.digamma(a)


class Chi2(Distribution):
    """Chi-squared distribution, `Gamma(df / 2, 1 / 2)`: the sum of `df` squared standard normals.

    `log p(x) = (df / 2 - 1) log x - x / 2 - df / 2 log 2 - log Gamma(df / 2)`, on the positive numbers.

    >>> float(Chi2(2.5).mean)
    2.5
    """

    arg_constraints: ClassVar = {"df": constraints.positive}
    support = constraints.positive
    df: Array

    def __init__(self, df: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"df": df}, validate_args=validate_args)

    def _log_density(self, x):
        half = 0.5 * self.df
        return (half - 1.0) * np.log(x) - 0.5 * x - (half * math.log(2.0) + special.gammaln(half))

    def _draw(self, rng, sample_shape):
        return np.maximum(rng.chisquare(broadcast(self.df, self.shape(sample_shape))), _TINY)

    def _cdf(self, x):
        return special.gammainc(0.5 * self.df, 0.5 * np.maximum(x, 0.0))

    def _icdf(self, q):
        return 2.0 * special.gammaincinv(0.5 * self.df, q)

    def _mean(self):
        return self.df

    def _mode(self):
        return np.maximum(self.df - 2.0, 0.0)

    def _variance(self):
        return 2.0 * self.df

    def _entropy(self):
        half = 0.5 * self.df
        return half + math.log(2.0) + special.gammaln(half) + (1.0 - half) * special.digamma(half)


class InverseGamma(Distribution):
    """One over a gamma draw with `concentration` a and `rate` b: the conjugate prior of variances.

    `log p(x) = a log b - (a + 1) log x - b / x - log Gamma(a)`, on the positive numbers. The mean is
    finite for a > 1, the variance for a > 2.

    >>> float(InverseGamma(3.0, 4.0).mean)
    2.0
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    concentration: Array
    rate: Array

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def _log_density(self, x):
        a, b = self.concentration, self.rate
        return a * np.log(b) - special.gammaln(a) - (a + 1.0) * np.log(x) - b / x

    def _draw(self, rng, sample_shape):
        draws = rng.standard_gamma(broadcast(self.concentration, self.shape(sample_shape)))
        return self.rate / np.maximum(draws, _TINY)

    def _cdf(self, x):
        return special.gammaincc(self.concentration, self.rate / np.maximum(x, _TINY))

    def _icdf(self, q):
        return self.rate / special.gammainccinv(self.concentration, q)

    def _mean(self):
        return self.rate * _above(self.concentration, 1.0, lambda a: 1.0 / (a - 1.0), np.inf)

    def _mode(self):
        return self.rate / (self.concentration + 1.0)

    def _variance(self):
        shape = _above(self.concentration, 2.0, lambda a: 1.0 / ((a - 1.0) * (a - 1.0) * (a - 2.0)), np.inf)
        return self.rate * self.rate * shape

    def _entropy(self):
        a = self.concentration
        return a + np.log(self.rate) + special.gammaln(a) - (1.0 + a) * special.digamma(a)


class Weibull(Distribution):
    """Weibull distribution with `concentration` k: times to failure, the hazard rising for k > 1.

    `log p(x) = log(k / scale) + (k - 1) log(x / scale) - (x / scale)^k`, on the positive numbers.

    >>> float(Weibull(2.0, 1.0).mean)
    2.0
    """

    arg_constraints: ClassVar = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    scale: Array
    concentration: Array

    def __init__(self, scale: Array, concentration: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"scale": scale, "concentration": concentration}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.scale * np.power(-np.log1p(-noise), 1.0 / self.concentration)

    def _log_density(self, x):
        k, log_z = self.concentration, np.log(x / self.scale)
        return (k - 1.0) * log_z - np.exp(k * log_z) + np.log(k / self.scale)

    def _cdf(self, x):
        return -np.expm1(-np.power(np.maximum(x, 0.0) / self.scale, self.concentration))

    def _icdf(self, q):
        return self.from_noise(q)

    def _moment(self, n):
        return np.exp(special.gammaln(1.0 + n / self.concentration))

    def _mean(self):
        return self.scale * self._moment(1.0)

    def _mode(self):
        return self.scale * _above(self.concentration, 1.0, lambda k: np.power((k - 1.0) / k, 1.0 / k), 0.0)

    def _variance(self):
        first = self._moment(1.0)
        return self.scale * self.scale * (self._moment(2.0) - first * first)

    def _entropy(self):
        k = self.concentration
        return _EULER * (1.0 - 1.0 / k) + np.log(self.scale / k) + 1.0


class Pareto(Distribution):
    """Pareto distribution with exponent `alpha` above the threshold `scale`: sizes without a typical size.

    `log p(x) = log(alpha) + alpha log(scale) - (alpha + 1) log x`, for x not below `scale`. The mean is
    finite for alpha > 1, the variance for alpha > 2.

    >>> float(Pareto(1.0, 3.0).mean)
    1.5
    """

    arg_constraints: ClassVar = {"scale": constraints.positive, "alpha": constraints.positive}
    reparameterized = True
    noise = "uniform"
    scale: Array
    alpha: Array

    def __init__(self, scale: Array, alpha: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"scale": scale, "alpha": alpha}, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.greater_than_eq(self.scale)

    def from_noise(self, noise: Array) -> Array:
        return self.scale * np.exp(-np.log1p(-noise) / self.alpha)

    def _log_density(self, x):
        log_x = np.log(x)
        return np.log(self.alpha) - self.alpha * (log_x - np.log(self.scale)) - log_x

    def _cdf(self, x):
        return -np.expm1(-self.alpha * np.log(np.maximum(x / self.scale, 1.0)))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.scale * _above(self.alpha, 1.0, lambda a: a / (a - 1.0), np.inf)

    def _mode(self):
        return self.scale

    def _variance(self):
        shape = _above(self.alpha, 2.0, lambda a: a / ((a - 1.0) * (a - 1.0) * (a - 2.0)), np.inf)
        return self.scale * self.scale * shape

    def _entropy(self):
        return np.log(self.scale / self.alpha) + 1.0 + 1.0 / self.alpha


class Uniform(Distribution):
    """All numbers from `low` to `high` alike.

    `log p(x) = -log(high - low)`, for x in [low, high].

    >>> float(Uniform(1.0, 3.0).log_prob(5.0))
    -inf
    """

    arg_constraints: ClassVar = {"low": constraints.real, "high": constraints.real}
    reparameterized = True
    noise = "uniform"
    low: Array
    high: Array

    def __init__(self, low: Array = 0.0, high: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"low": low, "high": high}, validate_args=validate_args)
        if validate_args is not False:
            self._require(self.low < self.high, "high", f"above low={self.low}")

    @property
    def support(self) -> Constraint:
        return constraints.interval(self.low, self.high)

    def from_noise(self, noise: Array) -> Array:
        return self.low + (self.high - self.low) * noise

    def _log_density(self, x):
        return -np.log(self.high - self.low)

    def _cdf(self, x):
        return np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return 0.5 * (self.low + self.high)

    _mode = _mean

    def _variance(self):
        width = self.high - self.low
        return width * width / 12.0

    def _entropy(self):
        return np.log(self.high - self.low)


class Beta(Distribution):
    """Beta distribution of a probability: a = `concentration1` counts for, b = `concentration0` counts against.

    `log p(x) = (a - 1) log x + (b - 1) log(1 - x) - log B(a, b)`, on the unit interval.

    >>> float(Beta(1.0, 3.0).mean)
    0.25
    """

    arg_constraints: ClassVar = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    concentration1: Array
    concentration0: Array

    def __init__(self, concentration1: Array, concentration0: Array, *, validate_args: bool | None = None) -> None:
        arguments = {"concentration1": concentration1, "concentration0": concentration0}
        super().__init__(arguments, validate_args=validate_args)

    def _log_density(self, x):
        a, b = self.concentration1, self.concentration0
        return special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x) - special.betaln(a, b)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        return rng.beta(broadcast(self.concentration1, shape), broadcast(self.concentration0, shape))

    def _cdf(self, x):
        return special.betainc(self.concentration1, self.concentration0, np.clip(x, 0.0, 1.0))

    def _icdf(self, q):
        return special.betaincinv(self.concentration1, self.concentration0, q)

    def _mean(self):
        return self.concentration1 / (self.concentration1 + self.concentration0)

    def _mode(self):
        a, b = self.concentration1, self.concentration0
        inside = (a > 1.0) & (b > 1.0)
        end = np.where(a >= b, 1.0, 0.0)
        return np.where(inside, (a - 1.0) / np.where(inside, a + b - 2.0, 1.0), end)

    def _variance(self):
        a, b = self.concentration1, self.concentration0
        total = a + b
        return a * b / (total * total * (total + 1.0))

    def _entropy(self):
        a, b = self.concentration1, self.concentration0
        digamma = special.digamma
        spread = (a - 1.0) * digamma(a) + (b - 1.0) * digamma(b) - (a + b - 2.0) * digamma(a + b)
        return special.betaln(a, b) - spread


class TruncatedNormal(Distribution):
    """Normal distribution kept to [low, high]; None means no bound on that side.

    `log p(x) = -z^2 / 2 - log(2 pi) / 2 - log(scale) - log(Phi(beta) - Phi(alpha))`, where
    `z, alpha, beta` are `x, low, high` less `loc`, over `scale`. The mass is taken on the log scale
    and in the lower tail, so that it is exact for bounds many scales away from `loc`.

    >>> d = TruncatedNormal(0.0, 1.0, low=10.0)
    >>> float(d.mean.round(4))
    10.0981
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.real,
        "high": constraints.real,
    }
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(
        self,
        loc: Array = 0.0,
        scale: Array = 1.0,
        low: Array | None = None,
        high: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.low = None if _is_infinite(low, -np.inf) else low
        self.high = None if _is_infinite(high, np.inf) else high
        bounds = {name: b for name, b in (("low", self.low), ("high", self.high)) if b is not None}
        super().__init__({"loc": loc, "scale": scale, **bounds}, validate_args=validate_args)
        if validate_args is not False and len(bounds) == 2:
            self._require(np.less(self.low, self.high), "high", f"above low={self.low}")

    @property
    def support(self) -> Constraint:
        if self.low is not None and self.high is not None:
            return constraints.interval(self.low, self.high)
        if self.low is not None:
            return constraints.greater_than_eq(self.low)
        return constraints.real if self.high is None else constraints.less_than_eq(self.high)

    def _standard(self, x):
        return (x - self.loc) / self.scale

    def _mirrored_bounds(self):
        """Both bounds, standardised and mirrored so that their middle is not above 0; no branch is needed."""
        low, high = self._standard(self.low), self._standard(self.high)
        middle, half = -0.5 * np.abs(low + high), 0.5 * (high - low)
        return middle - half, middle + half

    def _log_mass(self):
        if self.low is None or self.high is None:
            return self._one_sided_log_mass()
        below, above = self._mirrored_bounds()
        log_above = special.log_ndtr(above)
        return log_above + np.log(-np.expm1(special.log_ndtr(below) - log_above))

    def _one_sided_log_mass(self):
        if self.low is not None:
            return special.log_ndtr(-self._standard(self.low))
        return 0.0 if self.high is None else special.log_ndtr(self._standard(self.high))

    def _log_density(self, x):
        z = self._standard(x)
        return -0.5 * z * z - (np.log(self.scale) + self._log_mass() + _HALF_LOG_2PI)

    def from_noise(self, noise: Array) -> Array:
        draw = self.loc + self.scale * self._standard_quantile(noise)
        draw = draw if self.low is None else np.maximum(draw, self.low)  # against rounding
        return draw if self.high is None else np.minimum(draw, self.high)

    def _standard_quantile(self, q):
        if self.low is None:
            return special.ndtri_exp(np.log(q) + self._log_mass())
        if self.high is None:
            return -special.ndtri_exp(np.log1p(-q) + self._log_mass())
        # From the lower bound, or mirrored from the upper one: whichever lies in the lower tail.
        mirrored = stop_gradient(self._standard(self.low) + self._standard(self.high)) > 0.0
        q = np.where(mirrored, 1.0 - q, q)
        below, above = self._mirrored_bounds()
        log_above = special.log_ndtr(above)
        ratio = np.exp(special.log_ndtr(below) - log_above)
        z = special.ndtri_exp(log_above + np.log(q + (1.0 - q) * ratio))
        return np.where(mirrored, -z, z)

    def _cdf(self, x):
        z = self._standard(x)
        if self.high is not None:
            z = np.minimum(z, self._standard(self.high))
        if self.low is None:
            return np.exp(special.log_ndtr(z) - self._log_mass())
        below = self._standard(self.low)
        z = np.maximum(z, below)
        # The interval from low to x, mirrored into the lower tail as above.
        middle, half = -0.5 * np.abs(below + z), 0.5 * (z - below)
        log_end = special.log_ndtr(middle + half)
        return np.exp(log_end - self._log_mass()) * -np.expm1(special.log_ndtr(middle - half) - log_end)

    def _icdf(self, q):
        return self.from_noise(q)

    def _density_at(self, bound):
        """The truncated standard density at a bound, and that times the bound; zeros without a bound."""
        if bound is None:
            return 0.0, 0.0
        z = self._standard(bound)
        density = np.exp(-0.5 * z * z - _HALF_LOG_2PI - self._log_mass())
        return density, z * density

    def _mean(self):
        return self.loc + self.scale * (self._density_at(self.low)[0] - self._density_at(self.high)[0])

    def _mode(self):
        return np.clip(self.loc, self.low, self.high) if self._has_bounds() else self.loc

    def _has_bounds(self):
        return self.low is not None or self.high is not None

    def _variance(self):
        (low, z_low), (high, z_high) = self._density_at(self.low), self._density_at(self.high)
        return self.scale * self.scale * (1.0 + (z_low - z_high) - (low - high) * (low - high))

    def _entropy(self):
        z_low, z_high = self._density_at(self.low)[1], self._density_at(self.high)[1]
        return np.log(self.scale) + self._log_mass() + 0.5 * (z_low - z_high) + (0.5 + _HALF_LOG_2PI)


# -- helpers -----------------------------------------------------------------------------------


def _above(x: Array, limit: float, value, otherwise: float) -> Array:
    """`value(x)` where x is above the limit, `otherwise` elsewhere; `value` is never asked elsewhere."""
    above = x > limit
    return np.where(above, value(np.where(above, x, limit + 1.0)), otherwise)


def _log_beta_half(x: Array) -> Array:
    """`log B(x, 1 / 2)`, in the floating type of x (a ufunc of SciPy takes a plain 0.5 for double)."""
    return special.betaln(x, float_type(x).type(0.5))


def _is_infinite(bound: Array | None, infinity: float) -> bool:
    return bound is None or (not is_recorded(bound) and np.ndim(bound) == 0 and bound == infinity)
