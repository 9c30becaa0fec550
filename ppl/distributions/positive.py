"""Families on the positive numbers, or above a bound, each with its density in the docstring."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import agreeing, log_gamma_quantile, log_wald_quantile, logit_beta_quantile, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import (
    above,
    as_float,
    beta_cdf_at_odds,
    broadcast,
    cotangent,
    draw_log_gamma,
    draw_student,
    exp_within,
    float_type,
    log_beta_half,
    scaled_exp1,
    within_positive,
)
from ppl.distributions._tails import log_betainc, log_gamma_entropy, log_gammainc, log_gammaincc, log_t_cdf, t_entropy
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_EULER = 0.5772156649015329  # Euler's constant
_TINY = float(np.finfo(float).tiny)


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
        return exp_within(self.loc + self.scale * noise)

    def _log_density(self, x):
        log_x = np.log(x)
        z = (log_x - self.loc) / self.scale
        return -0.5 * z * z - log_x - (np.log(self.scale) + _HALF_LOG_2PI)

    def _standard(self, x):
        return (np.log(np.maximum(x, _TINY)) - self.loc) / self.scale

    def _log_cdf(self, x):
        return special.log_ndtr(self._standard(x))

    def _log_survival(self, x):
        return special.log_ndtr(-self._standard(x))

    def _icdf_exp(self, log_q):
        return np.exp(self.loc + self.scale * special.ndtri_exp(log_q))

    def _isf_exp(self, log_q):
        return np.exp(self.loc - self.scale * special.ndtri_exp(log_q))

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

    def _log_survival(self, x):
        return special.log_ndtr(-np.maximum(x, 0.0) / self.scale) + math.log(2.0)

    def _isf_exp(self, log_q):
        return -self.scale * special.ndtri_exp(log_q - math.log(2.0))

    def _cdf(self, x):
        return special.erf(np.maximum(x, 0.0) / self.scale * math.sqrt(0.5))

    def _icdf(self, q):
        return self.scale * (math.sqrt(2.0) * special.erfinv(q))

    def _mean(self):
        return self.scale * math.sqrt(2.0 / math.pi)

    def _mode(self):
        return float_type(self.scale).type(0.0)

    def _variance(self):
        return self.scale * self.scale * (1.0 - 2.0 / math.pi)

    def _entropy(self):
        return np.log(self.scale) + (0.5 + 0.5 * math.log(math.pi / 2.0))


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

    def _log_survival(self, x):
        return np.log(np.arctan2(1.0, np.maximum(x, 0.0) / self.scale) * (2.0 / math.pi))

    def _isf_exp(self, log_q):
        return self.scale * cotangent((0.5 * math.pi) * np.exp(log_q))

    def _cdf(self, x):
        return np.arctan(np.maximum(x, 0.0) / self.scale) * (2.0 / math.pi)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mode(self):
        return float_type(self.scale).type(0.0)

    def _entropy(self):
        return np.log(self.scale) + math.log(2.0 * math.pi)


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

    def _log_survival(self, x):
        return -self.rate * np.maximum(x, 0.0)

    def _isf_exp(self, log_q):
        return -log_q / self.rate

    def _cdf(self, x):
        return -np.expm1(-self.rate * np.maximum(x, 0.0))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return 1.0 / self.rate

    def _mode(self):
        return float_type(self.rate).type(0.0)

    def _variance(self):
        return 1.0 / (self.rate * self.rate)

    def _entropy(self):
        return 1.0 - np.log(self.rate)


class Gamma(Distribution):
    """Gamma distribution with `concentration` a and `rate` b: positive numbers, precisions, rates.

    `log p(x) = a log b + (a - 1) log x - b x - log Gamma(a)`, on the positive numbers.

    A draw is the quantile of its noise, and moves with `concentration` by implicit reparameterization. Of a small
    concentration most draws lie below the smallest normal number, 2.2e-308 (1.2e-38 in float32), and are that
    number: half of them at a = 0.001, one in a thousand at 0.01.

    >>> d = Gamma(3.0, 2.0)
    >>> float(d.mean), float(d.variance)
    (1.5, 0.75)
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    concentration: Array
    rate: Array

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return exp_within(log_gamma_quantile(self.concentration, noise) - np.log(self.rate))

    def _log_density(self, x):
        a, b = self.concentration, self.rate
        return (a - 1.0) * np.log(x) - b * x + (a * np.log(b) - special.gammaln(a))

    def _draw(self, rng, sample_shape):
        return within_positive(rng.standard_gamma(broadcast(self.concentration, self.shape(sample_shape))) / self.rate)

    def _log_survival(self, x):
        return log_gammaincc(self.concentration, self.rate * np.maximum(x, 0.0))

    def _log_cdf(self, x):
        return log_gammainc(self.concentration, self.rate * np.maximum(x, 0.0))

    def _isf_exp(self, log_q):
        return special.gammainccinv(self.concentration, np.exp(log_q)) / self.rate

    def _cdf(self, x):
        return special.gammainc(self.concentration, self.rate * np.maximum(x, 0.0))

    def _icdf(self, q):
        return np.exp(log_gamma_quantile(self.concentration, q)) / self.rate

    def _mean(self):
        return self.concentration / self.rate

    def _mode(self):
        return np.maximum(self.concentration - 1.0, 0.0) / self.rate

    def _variance(self):
        return self.concentration / (self.rate * self.rate)

    def _entropy(self):
        return log_gamma_entropy(self.concentration) + special.digamma(self.concentration) - np.log(self.rate)


class Chi2(Distribution):
    """Chi-squared distribution, `Gamma(df / 2, 1 / 2)`: the sum of `df` squared standard normals.

    `log p(x) = (df / 2 - 1) log x - x / 2 - df / 2 log 2 - log Gamma(df / 2)`, on the positive numbers.

    >>> float(Chi2(2.5).mean)
    2.5
    """

    arg_constraints: ClassVar = {"df": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    df: Array

    def __init__(self, df: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"df": df}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return exp_within(log_gamma_quantile(0.5 * self.df, noise) + math.log(2.0))

    def _log_density(self, x):
        half = 0.5 * self.df
        return (half - 1.0) * np.log(x) - 0.5 * x - (half * math.log(2.0) + special.gammaln(half))

    def _draw(self, rng, sample_shape):
        return np.maximum(rng.chisquare(broadcast(self.df, self.shape(sample_shape))), _TINY)

    def _log_survival(self, x):
        return log_gammaincc(0.5 * self.df, 0.5 * np.maximum(x, 0.0))

    def _log_cdf(self, x):
        return log_gammainc(0.5 * self.df, 0.5 * np.maximum(x, 0.0))

    def _isf_exp(self, log_q):
        return 2.0 * special.gammainccinv(0.5 * self.df, np.exp(log_q))

    def _cdf(self, x):
        return special.gammainc(0.5 * self.df, 0.5 * np.maximum(x, 0.0))

    def _icdf(self, q):
        return 2.0 * np.exp(log_gamma_quantile(0.5 * self.df, q))

    def _mean(self):
        return self.df

    def _mode(self):
        return np.maximum(self.df - 2.0, 0.0)

    def _variance(self):
        return 2.0 * self.df

    def _entropy(self):
        half = 0.5 * self.df
        return log_gamma_entropy(half) + special.digamma(half) + math.log(2.0)


class InverseGamma(Distribution):
    """One over a gamma draw with `concentration` a and `rate` b: the conjugate prior of variances.

    `log p(x) = a log b - (a + 1) log x - b / x - log Gamma(a)`, on the positive numbers. The mean is
    finite for a > 1, the variance for a > 2.

    >>> float(InverseGamma(3.0, 4.0).mean)
    2.0
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    concentration: Array
    rate: Array

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return exp_within(np.log(self.rate) - log_gamma_quantile(self.concentration, noise))

    def _log_density(self, x):
        a, b = self.concentration, self.rate
        return a * np.log(b) - special.gammaln(a) - (a + 1.0) * np.log(x) - b / x

    def _draw(self, rng, sample_shape):
        log_draws = draw_log_gamma(rng, broadcast(self.concentration, self.shape(sample_shape)))
        return exp_within(np.log(self.rate) - log_draws)

    def _log_survival(self, x):
        return log_gammainc(self.concentration, self.rate / np.maximum(x, _TINY))

    def _log_cdf(self, x):
        return log_gammaincc(self.concentration, self.rate / np.maximum(x, _TINY))

    def _isf_exp(self, log_q):
        return self.rate / special.gammaincinv(self.concentration, np.exp(log_q))

    def _cdf(self, x):
        return special.gammaincc(self.concentration, self.rate / np.maximum(x, _TINY))

    def _icdf(self, q):
        return self.rate / special.gammainccinv(self.concentration, q)

    def _mean(self):
        return self.rate * above(self.concentration, 1.0, lambda a: 1.0 / (a - 1.0), np.inf)

    def _mode(self):
        return self.rate / (self.concentration + 1.0)

    def _variance(self):
        shape = above(self.concentration, 2.0, lambda a: 1.0 / ((a - 1.0) * (a - 1.0) * (a - 2.0)), np.inf)
        return self.rate * self.rate * shape

    def _entropy(self):
        return log_gamma_entropy(self.concentration) - special.digamma(self.concentration) + np.log(self.rate)


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
        return exp_within(np.log(-np.log1p(-noise)) / self.concentration + np.log(self.scale))

    def _log_density(self, x):
        k, log_z = self.concentration, np.log(x / self.scale)
        return (k - 1.0) * log_z - np.exp(k * log_z) + np.log(k / self.scale)

    def _log_survival(self, x):
        return -np.power(np.maximum(x, 0.0) / self.scale, self.concentration)

    def _isf_exp(self, log_q):
        return self.scale * np.power(-log_q, 1.0 / self.concentration)

    def _cdf(self, x):
        return -np.expm1(-np.power(np.maximum(x, 0.0) / self.scale, self.concentration))

    def _icdf(self, q):
        return self.from_noise(q)

    def _moment(self, n):
        return np.exp(special.gammaln(1.0 + n / self.concentration))

    def _mean(self):
        return self.scale * self._moment(1.0)

    def _mode(self):
        return self.scale * above(self.concentration, 1.0, lambda k: np.power((k - 1.0) / k, 1.0 / k), 0.0)

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
        draw = exp_within(np.log(self.scale) - np.log1p(-noise) / self.alpha)
        return np.maximum(draw, self.scale)  # against rounding

    def _log_density(self, x):
        log_x = np.log(x)
        return np.log(self.alpha) - self.alpha * (log_x - np.log(self.scale)) - log_x

    def _log_survival(self, x):
        return -self.alpha * np.log(np.maximum(x / self.scale, 1.0))

    def _isf_exp(self, log_q):
        return self.scale * np.exp(-log_q / self.alpha)

    def _cdf(self, x):
        return -np.expm1(-self.alpha * np.log(np.maximum(x / self.scale, 1.0)))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.scale * above(self.alpha, 1.0, lambda a: a / (a - 1.0), np.inf)

    def _mode(self):
        return self.scale

    def _variance(self):
        shape = above(self.alpha, 2.0, lambda a: a / ((a - 1.0) * (a - 1.0) * (a - 2.0)), np.inf)
        return self.scale * self.scale * shape

    def _entropy(self):
        return np.log(self.scale / self.alpha) + 1.0 + 1.0 / self.alpha


class Erlang(Gamma):
    """Erlang distribution: the wait for `concentration` events (a whole number) that come at a constant `rate`.

    `Gamma(concentration, rate)`.

    >>> float(Erlang(3, 2.0).mean)
    1.5
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive_integer, "rate": constraints.positive}

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__(as_float(concentration, float_type(rate)), rate, validate_args=validate_args)


ChiSquared = Chi2


class HalfStudentT(Distribution):
    """The size of a Student's t draw around 0: a prior of scales between half-normal and half-Cauchy.

    `log p(x) = log 2 + log StudentT(x | df, 0, scale)`, on the positive numbers. The mean is finite for
    df > 1, the variance for df > 2.

    >>> float(HalfStudentT(1.0, 3.0).icdf(0.5).round(6))
    3.0
    """

    arg_constraints: ClassVar = {"df": constraints.positive, "scale": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    df: Array
    scale: Array

    def __init__(self, df: Array, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"df": df, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        # df / x^2 are the odds of a Beta(df / 2, 1 / 2) draw.
        size = np.log(self.df) - logit_beta_quantile(0.5 * self.df, 0.5, noise)
        return exp_within(0.5 * size + np.log(self.scale))

    def _log_density(self, x):
        z = x / self.scale
        tail = (0.5 * self.df + 0.5) * np.log1p(z * z / self.df)
        return -tail - (np.log(0.5 * self.scale) + 0.5 * np.log(self.df) + log_beta_half(0.5 * self.df))

    def _draw(self, rng, sample_shape):
        _, log_size = draw_student(rng, broadcast(self.df, self.shape(sample_shape)))
        return exp_within(log_size + np.log(self.scale))

    def _log_survival(self, x):
        return log_t_cdf(self.df, -np.maximum(x, 0.0) / self.scale) + math.log(2.0)

    def _isf_exp(self, log_q):
        return self.from_noise(np.exp(log_q))

    def _cdf(self, x):
        z = np.maximum(x, 0.0) / self.scale
        half = float_type(z).type(0.5)
        return beta_cdf_at_odds(half, half * self.df, z * z / self.df)

    def _icdf(self, q):
        half = float_type(q).type(0.5)
        odds = special.betaincinv(half, half * self.df, np.minimum(q, half))
        lower = self.scale * np.sqrt(self.df * (odds / (1.0 - odds)))
        return agreeing(q - half, self.from_noise(1.0 - np.maximum(q, half)), lower)

    def _mean(self):
        size = lambda df: 2.0 * np.sqrt(df) / ((df - 1.0) * np.exp(log_beta_half(0.5 * df)))
        return self.scale * above(self.df, 1.0, size, np.inf)

    def _mode(self):
        return float_type(self.scale).type(0.0)

    def _variance(self):
        def spread(df):
            mean = 2.0 * np.sqrt(df) / ((df - 1.0) * np.exp(log_beta_half(0.5 * df)))
            return df / (df - 2.0) - mean * mean

        return self.scale * self.scale * above(self.df, 2.0, spread, np.inf)

    def _entropy(self):
        return t_entropy(self.df) + np.log(0.5 * self.scale)


class LogLogistic(Distribution):
    """The exponential of a logistic draw: times to an event whose hazard rises, then falls.

    `log p(x) = log Logistic(log x | loc, scale) - log x`, on the positive numbers. In the other common
    notation the median is `exp(loc)` and the shape `1 / scale`. The mean is finite for scale < 1, the
    variance for scale < 1 / 2.

    >>> float(LogLogistic(0.0, 0.5).mean.round(4))
    1.5708
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return exp_within(self.loc + self.scale * (np.log(noise) - np.log1p(-noise)))

    def _log_density(self, x):
        log_x = np.log(x)
        z = (log_x - self.loc) / self.scale
        return z - 2.0 * softplus(z) - np.log(self.scale) - log_x

    def _log_cdf(self, x):
        return -softplus((self.loc - np.log(np.maximum(x, _TINY))) / self.scale)

    def _log_survival(self, x):
        return -softplus((np.log(np.maximum(x, _TINY)) - self.loc) / self.scale)

    def _isf_exp(self, log_q):
        return np.exp(self.loc - self.scale * (log_q - np.log(-np.expm1(log_q))))

    def _cdf(self, x):
        return special.expit((np.log(np.maximum(x, _TINY)) - self.loc) / self.scale)

    def _icdf(self, q):
        return self.from_noise(q)

    def _moment(self, n):
        """`E[(x / exp(loc))^n]` where `n scale < 1`, else infinity."""
        turn = n * math.pi * self.scale
        return -above(-turn, -math.pi, lambda t: t / np.sin(-t), -np.inf)

    def _mean(self):
        return np.exp(self.loc) * self._moment(1)

    def _mode(self):
        s = self.scale
        return np.exp(self.loc) * above(-s, -1.0, lambda s: np.power((1.0 + s) / (1.0 - s), -s), 0.0)

    def _variance(self):
        first, second = self._moment(1), self._moment(2)
        infinite = 2.0 * self.scale >= 1.0
        first = np.where(infinite, 0.0, first)
        return np.exp(2.0 * self.loc) * (second - first * first)

    def _entropy(self):
        return self.loc + np.log(self.scale) + 2.0


class FisherSnedecor(Distribution):
    """F distribution: the ratio of two chi-squared draws, each over its degrees of freedom `df1`, `df2`.

    `log p(x) = a log(df1 / df2) + (a - 1) log x - (a + b) log(1 + df1 x / df2) - log B(a, b)`, with
    `a = df1 / 2, b = df2 / 2`, on the positive numbers. The mean is finite for df2 > 2, the variance for
    df2 > 4.

    >>> float(FisherSnedecor(3.0, 4.0).mean)
    2.0
    """

    arg_constraints: ClassVar = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    df1: Array
    df2: Array

    def __init__(self, df1: Array, df2: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"df1": df1, "df2": df2}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        odds = logit_beta_quantile(0.5 * self.df1, 0.5 * self.df2, noise)
        return exp_within(odds + np.log(self.df2 / self.df1))

    def _log_density(self, x):
        a, b, log_x = 0.5 * self.df1, 0.5 * self.df2, np.log(x)
        z = log_x + np.log(self.df1 / self.df2)
        return a * z - (a + b) * softplus(z) - log_x - special.betaln(a, b)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        first, second = (draw_log_gamma(rng, broadcast(0.5 * df, shape)) for df in (self.df1, self.df2))
        return exp_within(first - second + np.log(self.df2 / self.df1))

    def _log_survival(self, x):
        a, b, odds = 0.5 * self.df2, 0.5 * self.df1, self.df2 / (self.df1 * np.maximum(x, 0.0))
        return log_betainc(beta_cdf_at_odds(a, b, odds), a, b, -np.log1p(1.0 / odds), -np.log1p(odds))

    def _log_cdf(self, x):
        a, b, odds = 0.5 * self.df1, 0.5 * self.df2, self.df1 / self.df2 * np.maximum(x, 0.0)
        return log_betainc(beta_cdf_at_odds(a, b, odds), a, b, -np.log1p(1.0 / odds), -np.log1p(odds))

    def _isf_exp(self, log_q):
        rest = logit_beta_quantile(0.5 * self.df2, 0.5 * self.df1, np.exp(log_q))
        return exp_within(np.log(self.df2 / self.df1) - rest)

    def _cdf(self, x):
        return beta_cdf_at_odds(0.5 * self.df1, 0.5 * self.df2, self.df1 / self.df2 * np.maximum(x, 0.0))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return broadcast(above(self.df2, 2.0, lambda d: d / (d - 2.0), np.inf), self.batch_shape)

    def _mode(self):
        return np.maximum(self.df1 - 2.0, 0.0) / self.df1 * (self.df2 / (self.df2 + 2.0))

    def _variance(self):
        shape = lambda d: 2.0 * d * d / ((d - 2.0) * (d - 2.0) * (d - 4.0)) * ((self.df1 + d - 2.0) / self.df1)
        return above(self.df2, 4.0, shape, np.inf)

    def _entropy(self):
        a, b = 0.5 * self.df1, 0.5 * self.df2
        log_mean = special.digamma(a) - special.digamma(b) + np.log(self.df2 / self.df1)
        return log_gamma_entropy(a) + log_gamma_entropy(b) - log_gamma_entropy(a + b) + log_mean


class Rayleigh(Distribution):
    """Rayleigh distribution: the length of a vector of two normal draws.

    `log p(x) = log x - 2 log(scale) - z^2 / 2`, `z = x / scale`, on the positive numbers.

    >>> round(Rayleigh(2.0).mean, 4)
    2.5066
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    scale: Array

    def __init__(self, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"scale": scale}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return self.scale * np.sqrt(-2.0 * np.log1p(-noise))

    def _log_density(self, x):
        z = x / self.scale
        return np.log(z) - 0.5 * z * z - np.log(self.scale)

    def _log_survival(self, x):
        z = np.maximum(x, 0.0) / self.scale
        return -0.5 * z * z

    def _isf_exp(self, log_q):
        return self.scale * np.sqrt(-2.0 * log_q)

    def _cdf(self, x):
        z = np.maximum(x, 0.0) / self.scale
        return -np.expm1(-0.5 * z * z)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.scale * math.sqrt(0.5 * math.pi)

    def _mode(self):
        return self.scale

    def _variance(self):
        return self.scale * self.scale * (2.0 - 0.5 * math.pi)

    def _entropy(self):
        return np.log(self.scale) + (1.0 + 0.5 * _EULER - 0.5 * math.log(2.0))


class Gompertz(Distribution):
    """Gompertz distribution: lifetimes whose hazard grows as `exp(rate x)`.

    `log p(x) = log(concentration rate) + rate x - concentration (exp(rate x) - 1)`, on the positive numbers.

    >>> float(Gompertz(0.1, 2.0).mode.round(4))
    1.1513
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    concentration: Array
    rate: Array

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return np.log1p(-np.log1p(-noise) / self.concentration) / self.rate

    def _log_density(self, x):
        z = self.rate * x
        return np.log(self.concentration) + np.log(self.rate) + z - self.concentration * np.expm1(z)

    def _log_survival(self, x):
        return -self.concentration * np.expm1(self.rate * np.maximum(x, 0.0))

    def _isf_exp(self, log_q):
        return np.log1p(-log_q / self.concentration) / self.rate

    def _cdf(self, x):
        return -np.expm1(-self.concentration * np.expm1(self.rate * np.maximum(x, 0.0)))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return scaled_exp1(self.concentration) / self.rate

    def _mode(self):
        return np.maximum(-np.log(self.concentration), 0.0) / self.rate

    def _entropy(self):
        return 1.0 - np.log(self.concentration) - np.log(self.rate) - scaled_exp1(self.concentration)


class Wald(Distribution):
    """Wald, or inverse Gaussian, distribution: the time at which a Brownian motion with drift reaches a bound.

    `log p(x) = (log(concentration) - log(2 pi) - 3 log x) / 2 - concentration (x - mean)^2 / (2 mean^2 x)`,
    on the positive numbers.

    >>> float(Wald(2.0, 4.0).variance)
    2.0
    """

    arg_constraints: ClassVar = {"mean": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive
    reparameterized = True
    noise = "uniform"
    concentration: Array

    def __init__(self, mean: Array, concentration: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"mean": mean, "concentration": concentration}, validate_args=validate_args)

    def _mean(self):
        return self._arguments["mean"]

    def _log_density(self, x):
        mean = self._mean()
        z = (x - mean) / mean
        return (
            0.5 * np.log(self.concentration) - 1.5 * np.log(x) - (0.5 * self.concentration * z * z / x + _HALF_LOG_2PI)
        )

    def from_noise(self, noise: Array) -> Array:
        mean = self._mean()
        return exp_within(log_wald_quantile(self.concentration / mean, noise) + np.log(mean))

    def _icdf(self, q):
        return self.from_noise(q)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        # The smaller or the larger root (Michael, Schucany and Haas 1976), whose product is the squared mean.
        mean, y = broadcast(self._mean(), shape), rng.standard_normal(shape)
        half = 0.5 * mean / self.concentration * (y * y)
        root = 1.0 + half + np.sqrt(half * (half + 2.0))
        below = rng.random(shape) * (1.0 + root) < root
        return within_positive(np.where(below, mean / root, mean * root))

    def _log_cdf(self, x):
        mean, x = self._mean(), np.maximum(x, _TINY)
        root = np.sqrt(self.concentration / x)
        mirrored = special.log_ndtr(-root * (x / mean + 1.0)) + 2.0 * self.concentration / mean
        return np.logaddexp(special.log_ndtr(root * (x / mean - 1.0)), mirrored)

    def _log_survival(self, x):
        mean, x = self._mean(), np.maximum(x, _TINY)
        root = np.sqrt(self.concentration / x)
        mirrored = special.log_ndtr(-root * (x / mean + 1.0)) + 2.0 * self.concentration / mean
        upper = special.log_ndtr(root * (1.0 - x / mean))
        return upper + np.log(-np.expm1(np.minimum(mirrored - upper, 0.0)))

    def _cdf(self, x):
        mean, x = self._mean(), np.maximum(x, _TINY)
        root = np.sqrt(self.concentration / x)
        mirrored = special.log_ndtr(-root * (x / mean + 1.0)) + 2.0 * self.concentration / mean
        return special.ndtr(root * (x / mean - 1.0)) + np.exp(mirrored)

    def _mode(self):
        mean = self._mean()
        r = 1.5 * mean / self.concentration
        return mean / (np.sqrt(1.0 + r * r) + r)

    def _variance(self):
        mean = self._mean()
        return mean * mean * (mean / self.concentration)

    def _entropy(self):
        mean = self._mean()
        spread = 1.5 * np.log(mean) - 0.5 * np.log(self.concentration)
        return spread - 1.5 * scaled_exp1(2.0 * self.concentration / mean) + (0.5 + _HALF_LOG_2PI)


InverseGaussian = Wald


class Levy(Distribution):
    """Levy distribution: the time at which a Brownian motion without drift reaches a bound; it has no mean.

    `log p(x) = log(scale / (2 pi)) / 2 - scale / (2 (x - loc)) - 3 / 2 log(x - loc)`, for x above `loc`.

    >>> float(Levy(0.0, 3.0).mode)
    1.0
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array

    def __init__(self, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"loc": loc, "scale": scale}, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.greater_than(self.loc)

    def from_noise(self, noise: Array) -> Array:
        root = special.ndtri(0.5 * noise)
        return self.loc + self.scale / (root * root)

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        return -0.5 / z - 1.5 * np.log(z) - (np.log(self.scale) + _HALF_LOG_2PI)

    def _standard(self, x):
        return np.maximum((x - self.loc) / self.scale, _TINY)

    def _log_cdf(self, x):
        return special.log_ndtr(-np.sqrt(1.0 / self._standard(x))) + math.log(2.0)

    def _log_survival(self, x):
        return np.log(special.erf(np.sqrt(0.5 / self._standard(x))))

    def _icdf_exp(self, log_q):
        root = special.ndtri_exp(log_q - math.log(2.0))
        return self.loc + self.scale / (root * root)

    def _isf_exp(self, log_q):
        root = special.erfinv(np.exp(log_q))
        return self.loc + 0.5 * self.scale / (root * root)

    def _cdf(self, x):
        return special.erfc(np.sqrt(0.5 / self._standard(x)))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mode(self):
        return self.loc + self.scale / 3.0

    def _entropy(self):
        return np.log(self.scale) + (0.5 + 1.5 * _EULER + 0.5 * math.log(16.0 * math.pi))
