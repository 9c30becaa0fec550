"""Joint laws of quantities of different kinds: blocks whose parts a conjugate update keeps together."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.distributions import constraints
from ppl.distributions._arrays import above, broadcast
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array
from ppl.distributions.positive import Gamma
from ppl.distributions.real import Normal, StudentT

_LOG_2PI = math.log(2.0 * math.pi)


class NormalGamma(Distribution):
    """A location m and a precision t together: the conjugate prior of a normal's two parameters.

    `m | t ~ Normal(loc, 1 / sqrt(count t))`, `t ~ Gamma(concentration, rate)`; a value is the vector (m, t), and

    `log p(m, t) = (log(count t / (2 pi)) - count t (m - loc)^2) / 2 + log Gamma(t | concentration, rate)`.

    `count` is the number of observations that the prior of m is worth. After n of mean y and sum of squares s about
    it: `count + n`, `loc + n (y - loc) / (count + n)`, `concentration + n / 2` and
    `rate + s / 2 + count n (y - loc)^2 / (2 (count + n))` (Bernardo and Smith, Bayesian Theory, 1994, section 5.2).

    >>> d = NormalGamma(1.0, 2.0, 3.0, 4.0)
    >>> d.mean, d.variance.round(4)
    (array([1.  , 0.75]), array([1.    , 0.1875]))
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "count": constraints.positive,
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.stack((constraints.real, constraints.positive))
    loc: Array
    count: Array
    concentration: Array
    rate: Array

    def __init__(
        self, loc: Array, count: Array, concentration: Array, rate: Array, *, validate_args: bool | None = None
    ) -> None:
        arguments = {"loc": loc, "count": count, "concentration": concentration, "rate": rate}
        super().__init__(arguments, event_shape=(2,), validate_args=validate_args)

    @property
    def precision(self) -> Distribution:
        """The law of the precision alone."""
        return Gamma(self.concentration, self.rate, validate_args=False).expand(self.batch_shape)

    @property
    def location(self) -> Distribution:
        """The law of the location alone."""
        scale = np.sqrt(self.rate / (self.concentration * self.count))
        return StudentT(2.0 * self.concentration, self.loc, scale, validate_args=False).expand(self.batch_shape)

    def location_given(self, precision: Array) -> Distribution:
        """The law of the location where the precision is known."""
        return Normal(self.loc, 1.0 / np.sqrt(self.count * precision), validate_args=False)

    def _log_density(self, x):
        location, precision = x[..., 0], x[..., 1]
        return self.location_given(precision).log_prob_inside(location) + self.precision.log_prob_inside(precision)

    def _draw(self, rng, sample_shape):
        precision = self.precision.sample(rng, sample_shape)
        return np.stack([self.location_given(precision).sample(rng), precision], axis=-1)

    def _both(self, location, precision):
        return np.stack([broadcast(x, self.batch_shape) for x in (location, precision)], axis=-1)

    def _mean(self):
        return self._both(self.loc, self.concentration / self.rate)

    def _mode(self):
        return self._both(self.loc, np.maximum(self.concentration - 0.5, 0.0) / self.rate)

    def _variance(self):
        spread = above(self.concentration, 1.0, lambda a: 1.0 / (a - 1.0), np.inf)
        return self._both(self.rate / self.count * spread, self.concentration / (self.rate * self.rate))

    def _entropy(self):
        log_precision = special.digamma(self.concentration) - np.log(self.rate)
        return 0.5 * (1.0 + _LOG_2PI - np.log(self.count) - log_precision) + self.precision.entropy()
