"""Families on the reals, each with its density in the docstring.

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

from ppl.array import agreeing, logit_beta_quantile, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import above, broadcast, cotangent, draw_student, exp_within, log_beta_half
from ppl.distributions._tails import log_skew_cdf, log_t_cdf, t_entropy
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array

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

    def _log_cdf(self, x):
        return special.log_ndtr((x - self.loc) / self.scale)

    def _log_survival(self, x):
        return special.log_ndtr((self.loc - x) / self.scale)

    def _icdf_exp(self, log_q):
        return self.loc + self.scale * special.ndtri_exp(log_q)

    def _isf_exp(self, log_q):
        return self.loc - self.scale * special.ndtri_exp(log_q)

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

    def _log_survival(self, x):
        return np.log(np.arctan2(1.0, (x - self.loc) / self.scale) / math.pi)

    def _icdf_exp(self, log_q):
        return self.loc - self.scale * cotangent(math.pi * np.exp(log_q))

    def _isf_exp(self, log_q):
        return self.loc + self.scale * cotangent(math.pi * np.exp(log_q))

    def _cdf(self, x):
        return np.arctan2(1.0, (self.loc - x) / self.scale) / math.pi  # exact in the lower tail too

    def _icdf(self, q):
        return self.from_noise(q)

    def _mode(self):
        return self.loc

    def _entropy(self):
        return np.log(self.scale) + math.log(4.0 * math.pi)


class StudentT(Distribution):
    """Student's t distribution: a normal with heavier tails, for data with outliers.

    `log p(x) = -(df + 1) / 2 log(1 + z^2 / df) - log(scale) - log(df) / 2 - log B(df / 2, 1 / 2)`,
    `z = (x - loc) / scale`, on the reals. The mean exists for df > 1, the variance is finite for df > 2.

    >>> float(StudentT(5.0).variance.round(4))
    1.6667
    """

    arg_constraints: ClassVar = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    reparameterized = True
    noise = "uniform"
    df: Array
    loc: Array
    scale: Array

    def __init__(self, df: Array, loc: Array = 0.0, scale: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"df": df, "loc": loc, "scale": scale}, validate_args=validate_args)

    def _from_loc(self, noise):
        # df / t^2 are the odds of a Beta(df / 2, 1 / 2) draw; both tails are the lower one of the noise.
        tail = np.minimum(2.0 * noise, 2.0 - 2.0 * noise)
        size = 0.5 * (np.log(self.df) - logit_beta_quantile(0.5 * self.df, 0.5, tail)) + np.log(self.scale)
        size = exp_within(size)
        return agreeing(noise - 0.5, size, -size)  # 0 between the two, but for rounding

    def from_noise(self, noise: Array) -> Array:
        return self.loc + self._from_loc(noise)

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        tail = (0.5 * self.df + 0.5) * np.log1p(z * z / self.df)
        return -tail - (np.log(self.scale) + 0.5 * np.log(self.df) + log_beta_half(0.5 * self.df))

    def _draw(self, rng, sample_shape):
        sign, log_size = draw_student(rng, broadcast(self.df, self.shape(sample_shape)))
        return self.loc + sign * exp_within(log_size + np.log(self.scale))

    def _log_cdf(self, x):
        return log_t_cdf(self.df, (x - self.loc) / self.scale)

    def _log_survival(self, x):
        return log_t_cdf(self.df, (self.loc - x) / self.scale)

    def _isf_exp(self, log_q):
        return self.loc - self._from_loc(np.exp(log_q))

    def _cdf(self, x):
        return special.stdtr(self.df, (x - self.loc) / self.scale)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return np.where(self.df > 1.0, self.loc, np.nan)

    def _mode(self):
        return self.loc

    def _variance(self):
        finite = self.scale * self.scale * above(self.df, 2.0, lambda df: df / (df - 2.0), np.inf)
        return np.where(self.df > 1.0, finite, np.nan)

    def _entropy(self):
        return t_entropy(self.df) + np.log(self.scale)


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

    def _log_cdf(self, x):
        z = (x - self.loc) / self.scale
        return np.minimum(z, 0.0) + np.log1p(-0.5 * np.exp(-np.maximum(z, 0.0)))

    def _log_survival(self, x):
        z = (self.loc - x) / self.scale
        return np.minimum(z, 0.0) + np.log1p(-0.5 * np.exp(-np.maximum(z, 0.0)))

    def _icdf_exp(self, log_q):
        half = math.log(0.5)
        below, above = np.minimum(log_q, half) - half, np.log(-np.expm1(np.maximum(log_q, half))) - half
        return self.loc + self.scale * (below - above)

    def _isf_exp(self, log_q):
        half = math.log(0.5)
        above, below = np.minimum(log_q, half) - half, np.log(-np.expm1(np.maximum(log_q, half))) - half
        return self.loc + self.scale * (below - above)

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

    def _log_cdf(self, x):
        return -softplus((self.loc - x) / self.scale)

    def _log_survival(self, x):
        return -softplus((x - self.loc) / self.scale)

    def _icdf_exp(self, log_q):
        return self.loc + self.scale * (log_q - np.log(-np.expm1(log_q)))

    def _isf_exp(self, log_q):
        return self.loc - self.scale * (log_q - np.log(-np.expm1(log_q)))

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

    def _log_cdf(self, x):
        return -np.exp((self.loc - x) / self.scale)

    def _log_survival(self, x):
        z = (x - self.loc) / self.scale
        near = np.log(-np.expm1(-np.exp(-np.minimum(z, 31.0))))
        return agreeing(z - 30.0, -z - 0.5 * np.exp(-z), near)

    def _icdf_exp(self, log_q):
        return self.loc - self.scale * np.log(-log_q)

    def _isf_exp(self, log_q):
        near = np.log(-np.log1p(-np.exp(np.maximum(log_q, -31.0))))
        return self.loc - self.scale * agreeing(log_q + 30.0, near, log_q + 0.5 * np.exp(log_q))

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


class SkewNormal(Distribution):
    """Normal distribution leaning to one side: `alpha` > 0 has its long tail on the right, 0 is the normal.

    `log p(x) = log 2 + log phi(z) + log Phi(alpha z) - log(scale)`, `z = (x - loc) / scale`, on the reals.

    A draw is `loc + scale (delta |e_1| + (1 - delta^2)^1/2 e_2)`, `delta = alpha / (1 + alpha^2)^1/2`, of two
    standard normals (Azzalini and Dalla Valle 1996, eq. 2.1), so the noise has one more axis, of length 2.

    >>> float(SkewNormal(0.0, 1.0, 3.0).mode.round(4))
    0.4734
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive, "alpha": constraints.real}
    support = constraints.real
    reparameterized = True
    noise = "normal"
    loc: Array
    scale: Array
    alpha: Array

    def __init__(
        self, loc: Array = 0.0, scale: Array = 1.0, alpha: Array = 0.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__({"loc": loc, "scale": scale, "alpha": alpha}, validate_args=validate_args)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Two numbers for each element."""
        return (*self.batch_shape, 2)

    def from_noise(self, noise: Array) -> Array:
        length = np.sqrt(1.0 + self.alpha * self.alpha)
        leaning = (self.alpha / length) * np.abs(noise[..., 0]) + noise[..., 1] / length
        return self.loc + self.scale * leaning

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        return special.log_ndtr(self.alpha * z) - 0.5 * z * z - (np.log(self.scale) + (_HALF_LOG_2PI - math.log(2.0)))

    def _log_cdf(self, x):
        return log_skew_cdf((x - self.loc) / self.scale, self.alpha)

    def _log_survival(self, x):
        return log_skew_cdf((self.loc - x) / self.scale, -self.alpha)

    def _cdf(self, x):
        return np.exp(self._log_cdf(x))

    def _standard_mean(self):
        return math.sqrt(2.0 / math.pi) * (self.alpha / np.sqrt(1.0 + self.alpha * self.alpha))

    def _mean(self):
        return self.loc + self.scale * self._standard_mean()

    def _variance(self):
        mean = self._standard_mean()
        return self.scale * self.scale * (1.0 - mean * mean)

    def _mode(self):
        # Newton's method for the root of the slope, which falls; from the mean each step stays on its side.
        a, z = self.alpha, self._standard_mean()
        for _ in range(8):
            w = a * z
            hazard = np.exp(-0.5 * w * w - special.log_ndtr(w) - _HALF_LOG_2PI)
            z = z - (z - a * hazard) / (1.0 + a * a * hazard * (w + hazard))
        return self.loc + self.scale * z


class AsymmetricLaplace(Distribution):
    """Two exponentials back to back, of different scales: quantile regression, and errors that cost unequally.

    `log p(x) = -max(loc - x, 0) / left - max(x - loc, 0) / right - log(left + right)`, with
    `left = scale asymmetry` and `right = scale / asymmetry`, on the reals.

    >>> float(AsymmetricLaplace(0.0, 1.0, 0.5).mean)
    1.5
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
    }
    support = constraints.real
    reparameterized = True
    noise = "uniform"
    loc: Array
    scale: Array
    asymmetry: Array

    def __init__(
        self, loc: Array = 0.0, scale: Array = 1.0, asymmetry: Array = 1.0, *, validate_args: bool | None = None
    ) -> None:
        super().__init__({"loc": loc, "scale": scale, "asymmetry": asymmetry}, validate_args=validate_args)

    def _sides(self):
        return self.scale * self.asymmetry, self.scale / self.asymmetry

    def from_noise(self, noise: Array) -> Array:
        # As for Laplace, one logarithm for each side, and 0 on the other.
        left, right = self._sides()
        total = left + right
        below = np.log(np.minimum(noise * (total / left), 1.0))
        above = np.log(np.minimum((1.0 - noise) * (total / right), 1.0))
        return self.loc + left * below - right * above

    def _log_density(self, x):
        left, right = self._sides()
        return -np.maximum((self.loc - x) / left, (x - self.loc) / right) - np.log(left + right)

    def _cdf(self, x):
        left, right = self._sides()
        lower = np.exp(np.minimum((x - self.loc) / left, 0.0)) * (left / (left + right))
        upper = np.exp(np.minimum((self.loc - x) / right, 0.0)) * (right / (left + right))
        return np.where(x < self.loc, lower, 1.0 - upper)

    def _log_cdf(self, x):
        left, right = self._sides()
        return _log_two_sided(x - self.loc, left, right)

    def _log_survival(self, x):
        left, right = self._sides()
        return _log_two_sided(self.loc - x, right, left)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        left, right = self._sides()
        return self.loc + (right - left)

    def _mode(self):
        return self.loc

    def _variance(self):
        left, right = self._sides()
        return left * left + right * right

    def _entropy(self):
        left, right = self._sides()
        return 1.0 + np.log(left + right)


class SoftLaplace(Distribution):
    """Hyperbolic secant distribution: the tails of a Laplace around a round top.

    `log p(x) = -log cosh(z) - log(pi scale)`, `z = (x - loc) / scale`, on the reals.

    >>> round(SoftLaplace(0.0, 1.0).variance, 4)
    2.4674
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
        return self.loc + self.scale * (
            np.log(np.sin((0.5 * math.pi) * noise)) - np.log(np.sin((0.5 * math.pi) * (1.0 - noise)))
        )

    def _log_density(self, x):
        z = (x - self.loc) / self.scale
        return z - softplus(2.0 * z) - (np.log(self.scale) + math.log(0.5 * math.pi))  # even in z

    def _cdf(self, x):
        return np.arctan(np.exp((x - self.loc) / self.scale)) * (2.0 / math.pi)

    def _log_cdf(self, x):
        return _log_secant((x - self.loc) / self.scale)

    def _log_survival(self, x):
        return _log_secant((self.loc - x) / self.scale)

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        return (0.25 * math.pi**2) * self.scale * self.scale

    def _entropy(self):
        return np.log(self.scale) + math.log(2.0 * math.pi)


# -- helpers -----------------------------------------------------------------------------------


def _log_two_sided(x: Array, left: Array, right: Array) -> Array:
    """The log probability below x, of exponentials with scales `left` below 0 and `right` above it."""
    z, total = np.maximum(x, 0.0) / right, left + right
    far = np.log1p(-(right / total) * np.exp(-np.maximum(z, 0.5)))
    near = np.log((left - right * np.expm1(-np.minimum(z, 2.0))) / total)
    return np.minimum(x, 0.0) / left + agreeing(z - 1.0, far, near)


def _log_secant(z: Array) -> Array:
    """The log probability below z, `log(2 / pi atan(exp(z)))`, from whichever tail is the smaller."""
    size = np.abs(z)
    tail = agreeing(size - 40.0, -size, np.log(np.arctan(np.exp(-np.minimum(size, 50.0))))) + math.log(2.0 / math.pi)
    return agreeing(z, np.log1p(-np.exp(tail)), tail)
