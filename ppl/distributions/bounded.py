"""Families on an interval, each with its density in the docstring."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import is_recorded, stop_gradient
from ppl.distributions import constraints
from ppl.distributions._arrays import broadcast
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_EULER = 0.5772156649015329  # Euler's constant
_TINY = float(np.finfo(float).tiny)


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


def _is_infinite(bound: Array | None, infinity: float) -> bool:
    return bound is None or (not is_recorded(bound) and np.ndim(bound) == 0 and bound == infinity)
