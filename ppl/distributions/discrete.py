"""Discrete families: coins, categories and counts.

Where a family takes `probs` or `logits`, exactly one is given and the other follows; the density
uses the one that was given. Finite families enumerate their support. Draws from uniform noise go
through the inverse cdf: they jump as parameters move, so they are not `reparameterized`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import is_recorded, logsumexp, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import LARGEST, Shape, above, as_array, as_integer, broadcast, quiet
from ppl.distributions._counting import (
    draw_poisson,
    least_reaching,
    log_beta,
    log_choose,
    log_ways,
    one_of,
    pick,
    settled,
    split_log_factorial,
)
from ppl.distributions._tails import log_betainc, log_gammainc, log_gammaincc, log_rest
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.errors import ModelError


class WithProbability(Distribution):
    """Base of families with one success probability, given as `probs` or as `logits`."""

    @property
    def probs(self) -> Array:
        """The probability of success."""
        given = self._arguments
        return given["probs"] if "probs" in given else special.expit(given["logits"])

    @property
    def logits(self) -> Array:
        """`log(probs / (1 - probs))`."""
        given = self._arguments
        return given["logits"] if "logits" in given else special.logit(given["probs"])

    @property
    def _failure(self) -> Array:
        """1 - probs, without cancellation."""
        given = self._arguments
        return 1.0 - given["probs"] if "probs" in given else special.expit(-given["logits"])

    def _log_odds_density(self, successes, failures):
        """`successes log(probs) + failures log(1 - probs)`, right at probabilities 0 and 1."""
        given = self._arguments
        if "probs" in given:
            return special.xlogy(successes, given["probs"]) + special.xlog1py(failures, -given["probs"])
        return successes * given["logits"] - (successes + failures) * softplus(given["logits"])


class Bernoulli(WithProbability):
    """One toss of a coin.

    `log p(x) = x log(probs) + (1 - x) log(1 - probs) = x logits - log(1 + exp(logits))`, for x in {0, 1}.

    >>> Bernoulli(logits=0.0).probs, Bernoulli(0.25).sample(0, (4,)).dtype
    (np.float64(0.5), dtype('int64'))
    """

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    noise = "uniform"

    def __init__(
        self, probs: Array | None = None, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(one_of("Bernoulli", "probs", "logits", (probs, logits)), validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return np.where(noise > self._failure, 1, 0)

    def _log_density(self, x):
        given = self._arguments
        if "logits" in given:
            return x * given["logits"] - softplus(given["logits"])
        return self._log_odds_density(x, 1 - x)

    def _cdf(self, x):
        return np.where(x >= 1, 1.0, np.where(x >= 0, self._failure, 0.0))

    def _icdf(self, q):
        return self.from_noise(q)

    def _mean(self):
        return self.probs

    def _mode(self):
        return np.where(self.probs > 0.5, 1, 0)

    def _variance(self):
        return self.probs * self._failure

    def _entropy(self):
        return special.entr(self.probs) + special.entr(self._failure)

    def _enumerate(self):
        return np.arange(2)


class Binomial(WithProbability):
    """Successes in `total_count` tosses of a coin.

    `log p(x) = log C(n, x) + x log(probs) + (n - x) log(1 - probs)`, for x in {0, ..., n}.

    >>> float(Binomial(10, 0.3).mean)
    3.0
    """

    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    total_count: Array

    def __init__(
        self,
        total_count: Array = 1,
        probs: Array | None = None,
        logits: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        arguments = {"total_count": total_count, **one_of("Binomial", "probs", "logits", (probs, logits))}
        super().__init__(arguments, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.total_count)

    def _log_density(self, x):
        return of_counts(x, self.total_count, self._log_mass)

    def _log_mass(self, x, failures):
        return self._log_odds_density(x, failures) + log_choose(x, failures)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        return rng.binomial(broadcast(as_integer(self.total_count), shape), broadcast(self.probs, shape))

    def _cdf(self, x):
        k, n = np.floor(x), self.total_count
        between = (k >= 0) & (k < n)
        k_safe, n_safe = np.where(between, k, 0), np.where(between, n, 1)
        inner = special.betainc(n_safe - k_safe, k_safe + 1.0, self._failure)
        return np.where(between, inner, np.where(k < 0, 0.0, 1.0))

    def _log_survival(self, x):
        k, n = np.floor(x), self.total_count
        between = (k >= 0) & (k < n)
        k_safe, n_safe = np.where(between, k, 0), np.where(between, n, 1)
        a, b = k_safe + 1.0, n_safe - k_safe
        inner = log_betainc(special.betainc(a, b, self.probs), a, b, np.log(self.probs), np.log(self._failure))
        return np.where(between, inner, np.where(k < 0, 0.0, -np.inf))

    def _log_cdf(self, x):
        k, n = np.floor(x), self.total_count
        between = (k >= 0) & (k < n)
        k_safe, n_safe = np.where(between, k, 0), np.where(between, n, 1)
        a, b = n_safe - k_safe, k_safe + 1.0
        inner = log_betainc(special.betainc(a, b, self._failure), a, b, np.log(self._failure), np.log(self.probs))
        return np.where(between, inner, np.where(k < 0, -np.inf, 0.0))

    def _icdf(self, q):
        return least_reaching(self.cdf, q, 0, self.total_count, np.broadcast_shapes(np.shape(q), self.batch_shape))

    def _mean(self):
        return self.total_count * self.probs

    def _mode(self):
        n = self.total_count
        return as_integer(np.minimum(np.floor((n + 1) * self.probs), n))

    def _variance(self):
        return self.total_count * self.probs * self._failure

    def _enumerate(self):
        return np.arange(largest_count(self) + 1)


class BetaBinomial(Distribution):
    """Successes in `total_count` tosses of a coin whose probability has a beta distribution.

    `log p(x) = log C(n, x) + log B(x + a, n - x + b) - log B(a, b)`, for x in {0, ..., n}.

    >>> float(BetaBinomial(1.0, 1.0, 4).log_prob(2).round(4))
    -1.6094
    """

    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "total_count": constraints.nonnegative_integer,
    }
    concentration1: Array
    concentration0: Array
    total_count: Array

    def __init__(
        self,
        concentration1: Array,
        concentration0: Array,
        total_count: Array = 1,
        *,
        validate_args: bool | None = None,
    ) -> None:
        arguments = {
            "concentration1": concentration1,
            "concentration0": concentration0,
            "total_count": total_count,
        }
        super().__init__(arguments, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.total_count)

    def _log_density(self, x):
        return of_counts(x, self.total_count, self._log_mass)

    def _log_mass(self, x, failures):
        a, b = self.concentration1, self.concentration0
        # Three ratios of gamma functions; beta functions of n + a + b would cancel.
        return log_ways(x, a) + log_ways(failures, b) - log_ways(self.total_count, a + b)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        probs = rng.beta(broadcast(self.concentration1, shape), broadcast(self.concentration0, shape))
        return rng.binomial(broadcast(as_integer(self.total_count), shape), probs)

    def _mean(self):
        return self.total_count * self.concentration1 / (self.concentration1 + self.concentration0)

    def _variance(self):
        a, b, n = self.concentration1, self.concentration0, self.total_count
        total = a + b
        return n * a * b * (total + n) / (total * total * (total + 1.0))

    def _mode(self):
        # Successive masses rise while (x + 1) (n - 1 + b - x) < (n - x) (x + a): linear in x.
        a, b, n = self.concentration1, self.concentration0, self.total_count
        bend = a + b - 2.0
        peaked = bend > 0.0
        inner = np.clip(np.ceil((n * (a - 1.0) - (b - 1.0)) / np.where(peaked, bend, 1.0)), 0, n)
        return as_integer(np.where(peaked, inner, np.where(a < b, 0, n)))

    def _enumerate(self):
        return np.arange(largest_count(self) + 1)


class Geometric(WithProbability):
    """Failures before the first success.

    `log p(x) = x log(1 - probs) + log(probs)`, for x in {0, 1, ...}.

    >>> float(Geometric(0.25).mean)
    3.0
    """

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer
    noise = "uniform"

    def __init__(
        self, probs: Array | None = None, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(one_of("Geometric", "probs", "logits", (probs, logits)), validate_args=validate_args)
        if validate_args is not False and probs is not None:
            self._require(np.greater(self.probs, 0.0), "probs", "above 0, else no success ever comes")

    @property
    def _log_failure(self) -> Array:
        given = self._arguments
        return special.xlog1py(1.0, -given["probs"]) if "probs" in given else -softplus(given["logits"])

    def from_noise(self, noise: Array) -> Array:
        return as_integer(self._quantile(noise))

    def _quantile(self, q):
        # The least x with 1 - (1 - probs)^(x + 1) >= q.
        x = settled(self._cdf, np.ceil(np.log1p(-q) / self._log_failure) - 1.0, q)
        return np.maximum(x, 0.0)

    def _log_density(self, x):
        given = self._arguments
        if "probs" in given:
            return np.log(given["probs"]) + special.xlog1py(x, -given["probs"])
        return given["logits"] - (1.0 + x) * softplus(given["logits"])

    def _cdf(self, x):
        return np.where(x < 0, 0.0, -np.expm1((np.floor(np.maximum(x, 0.0)) + 1.0) * self._log_failure))

    def _log_survival(self, x):
        return np.maximum(np.floor(x) + 1.0, 0.0) * self._log_failure

    def _log_cdf(self, x):
        return log_rest(self._log_survival(x))

    def _icdf(self, q):
        return self._quantile(q)

    def _mean(self):
        return self._failure / self.probs

    def _mode(self):
        return 0

    def _variance(self):
        return self._failure / (self.probs * self.probs)

    def _entropy(self):
        return (special.entr(self.probs) + special.entr(self._failure)) / self.probs


class Poisson(Distribution):
    """Counts of events that come independently at a constant rate.

    `log p(x) = x log(rate) - rate - log x!`, for x in {0, 1, ...}.

    >>> float(Poisson(0.0).log_prob(0))
    0.0
    """

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    rate: Array

    def __init__(self, rate: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"rate": rate}, validate_args=validate_args)

    def _log_density(self, x):
        scale, rest = split_log_factorial(x)
        return special.xlogy(x, self.rate / scale) - (self.rate + rest)

    def _draw(self, rng, sample_shape):
        return draw_poisson(rng, broadcast(self.rate, self.shape(sample_shape)))

    def _cdf(self, x):
        return np.where(x < 0, 0.0, special.pdtr(np.floor(np.maximum(x, 0.0)), self.rate))

    def _log_cdf(self, x):
        return np.where(x < 0, -np.inf, log_gammaincc(np.floor(np.maximum(x, 0.0)) + 1.0, self.rate))

    def _log_survival(self, x):
        return np.where(x < 0, 0.0, log_gammainc(np.floor(np.maximum(x, 0.0)) + 1.0, self.rate))

    def _icdf(self, q):
        return least_reaching(self.cdf, q, 0, np.inf, np.broadcast_shapes(np.shape(q), self.batch_shape))

    def _mean(self):
        return self.rate

    def _mode(self):
        return as_integer(np.floor(self.rate))

    def _variance(self):
        return self.rate


class _Failures(Distribution):
    """Base of negative binomials: failures before r successes, `_odds` the odds of a failure; r need not be whole.

    A Poisson count whose rate is drawn from a gamma of shape r and mean `r odds` has the same law.
    """

    support = constraints.nonnegative_integer

    @property
    def _size(self) -> Array:
        """r."""
        raise NotImplementedError

    @property
    def _odds(self) -> Array:
        raise NotImplementedError

    def _log_density(self, x):
        r, odds = self._size, self._odds
        return log_ways(x, r) - x * np.log1p(1.0 / odds) - r * np.log1p(odds)

    def _draw(self, rng, sample_shape):
        rates = rng.standard_gamma(broadcast(self._size, self.shape(sample_shape)))
        return draw_poisson(rng, rates * self._odds)

    def _cdf(self, x):
        k = np.floor(np.maximum(x, 0.0))
        return np.where(x < 0, 0.0, special.betainc(self._size, k + 1.0, 1.0 / (1.0 + self._odds)))

    def _log_survival(self, x):
        n, r, odds = np.floor(np.maximum(x, 0.0)) + 1.0, self._size, self._odds
        mass = special.betainc(n, r, 1.0 / (1.0 + 1.0 / odds))
        return np.where(x < 0, 0.0, log_betainc(mass, n, r, -np.log1p(1.0 / odds), -np.log1p(odds)))

    def _log_cdf(self, x):
        n, r, odds = np.floor(np.maximum(x, 0.0)) + 1.0, self._size, self._odds
        mass = special.betainc(r, n, 1.0 / (1.0 + odds))
        return np.where(x < 0, -np.inf, log_betainc(mass, r, n, -np.log1p(odds), -np.log1p(1.0 / odds)))

    def _icdf(self, q):
        return least_reaching(self.cdf, q, 0, np.inf, np.broadcast_shapes(np.shape(q), self.batch_shape))

    def _mean(self):
        return self._size * self._odds

    def _mode(self):
        return as_integer(np.floor(np.maximum((self._size - 1.0) * self._odds, 0.0)))

    def _variance(self):
        return self._size * self._odds * (1.0 + self._odds)


class NegativeBinomial(_Failures, WithProbability):
    """Successes before the `total_count`-th failure; r = `total_count` need not be a whole number.

    `log p(x) = log(Gamma(x + r) / (x! Gamma(r))) + x log(probs) + r log(1 - probs)`, for x in {0, 1, ...}.

    >>> float(NegativeBinomial(4.0, 0.2).mean)
    1.0
    """

    arg_constraints: ClassVar = {
        "total_count": constraints.positive,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    total_count: Array

    def __init__(
        self,
        total_count: Array,
        probs: Array | None = None,
        logits: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        arguments = {"total_count": total_count, **one_of("NegativeBinomial", "probs", "logits", (probs, logits))}
        super().__init__(arguments, validate_args=validate_args)
        if validate_args is not False and probs is not None:
            self._require(np.less(self.probs, 1.0), "probs", "below 1, else no failure ever comes")

    @property
    def _size(self) -> Array:
        return self.total_count

    @property
    def _odds(self) -> Array:
        given = self._arguments
        return np.exp(given["logits"]) if "logits" in given else given["probs"] / self._failure

    def _log_density(self, x):
        return log_ways(x, self.total_count) + self._log_odds_density(x, self.total_count)


class NegativeBinomial2(_Failures):
    """Counts with `mean` m and more spread than a Poisson's: variance `m + m^2 / concentration`.

    `log p(x) = log(Gamma(x + r) / (x! Gamma(r))) - x log(1 + r / m) - r log(1 + m / r)`, r the concentration,
    for x in {0, 1, ...}.

    >>> float(NegativeBinomial2(3.0, 2.0).variance)
    7.5
    """

    arg_constraints: ClassVar = {"mean": constraints.positive, "concentration": constraints.positive}
    concentration: Array

    def __init__(self, mean: Array, concentration: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"mean": mean, "concentration": concentration}, validate_args=validate_args)

    @property
    def _size(self) -> Array:
        return self.concentration

    @property
    def _odds(self) -> Array:
        return self._arguments["mean"] / self.concentration


class GammaPoisson(_Failures):
    """Counts whose Poisson rate has a gamma distribution with `concentration` a and `rate` b.

    `log p(x) = log(Gamma(x + a) / (x! Gamma(a))) - x log(1 + b) - a log(1 + 1 / b)`, for x in {0, 1, ...}.

    >>> float(GammaPoisson(3.0, 2.0).mean)
    1.5
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    concentration: Array
    rate: Array

    def __init__(self, concentration: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        super().__init__({"concentration": concentration, "rate": rate}, validate_args=validate_args)

    @property
    def _size(self) -> Array:
        return self.concentration

    @property
    def _odds(self) -> Array:
        return 1.0 / self.rate

    def _log_density(self, x):
        a, b = self.concentration, self.rate
        return log_ways(x, a) - x * np.log1p(b) - a * np.log1p(1.0 / b)


class BetaNegativeBinomial(Distribution):
    """Negative binomial counts whose success probability has a beta distribution; n need not be a whole number.

    `log p(x) = log(Gamma(x + n) / (x! Gamma(n))) + log B(x + a, n + b) - log B(a, b)`, for x in {0, 1, ...},
    a = `concentration1` and b = `concentration0`. The tail falls like `x^-(b + 1)`: the mean is infinite for
    b up to 1, the variance for b up to 2.

    >>> float(BetaNegativeBinomial(2.0, 3.0, 4.0).mean)
    4.0
    """

    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "n": constraints.positive,
    }
    support = constraints.nonnegative_integer
    concentration1: Array
    concentration0: Array
    n: Array

    def __init__(
        self, concentration1: Array, concentration0: Array, n: Array, *, validate_args: bool | None = None
    ) -> None:
        arguments = {"concentration1": concentration1, "concentration0": concentration0, "n": n}
        super().__init__(arguments, validate_args=validate_args)

    def _log_density(self, x):
        a, b, n = self.concentration1, self.concentration0, self.n
        ratio = log_beta(n + b, a) - log_beta(b, a)
        return log_ways(x, n) + log_ways(x, a) - log_ways(x, a + b + n) + ratio

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        # The probability of a failure: one of a success would round to 1, and its odds to infinity.
        failure = rng.beta(broadcast(self.concentration0, shape), broadcast(self.concentration1, shape))
        with quiet():
            rates = rng.standard_gamma(broadcast(self.n, shape)) * ((1.0 - failure) / failure)
        return rng.poisson(np.minimum(rates, LARGEST))

    def _mean(self):
        return above(self.concentration0, 1.0, lambda b: self.n * self.concentration1 / (b - 1.0), np.inf)

    def _variance(self):
        a, n = self.concentration1, self.n

        def spread(b):
            return n * a * (n + b - 1.0) * (a + b - 1.0) / ((b - 2.0) * (b - 1.0) * (b - 1.0))

        return above(self.concentration0, 2.0, spread, np.inf)

    def _mode(self):
        # Successive masses rise while (x + n) (x + a) > (x + 1) (x + a + n + b): linear in x.
        a, b, n = self.concentration1, self.concentration0, self.n
        return as_integer(np.ceil(np.maximum((n * a - (a + b + n)) / (b + 1.0), 0.0)))


class DiscreteUniform(Distribution):
    """All integers from `low` to `high` alike, both included.

    `log p(x) = -log(high - low + 1)`, for x in {low, ..., high}.

    >>> DiscreteUniform(1, 6).enumerate_support()
    array([1, 2, 3, 4, 5, 6])
    """

    # Any integers: the constraint asks for whole numbers, the order of the two is checked below.
    arg_constraints: ClassVar = {
        "low": constraints.integer_interval(-np.inf, np.inf),
        "high": constraints.integer_interval(-np.inf, np.inf),
    }
    noise = "uniform"
    low: Array
    high: Array

    def __init__(self, low: Array = 0, high: Array = 1, *, validate_args: bool | None = None) -> None:
        super().__init__({"low": low, "high": high}, validate_args=validate_args)
        if validate_args is not False:
            self._require(np.less_equal(self.low, self.high), "high", "not below low={low}")

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(self.low, self.high)

    def from_noise(self, noise: Array) -> Array:
        return self._icdf(noise)

    def _log_density(self, x):
        # Of the values enumerated over a batch some are beyond an element's own bounds.
        inside = (x >= self.low) & (x <= self.high)
        return np.where(inside, -np.log(self.high - self.low + 1.0), -np.inf)

    def _cdf(self, x):
        return np.clip((np.floor(x) - self.low + 1.0) / (self.high - self.low + 1.0), 0.0, 1.0)

    def _icdf(self, q):
        steps = np.ceil(q * (self.high - self.low + 1.0)) - 1.0
        return as_integer(np.clip(settled(self._cdf, self.low + steps, q), self.low, self.high))

    def _mean(self):
        return 0.5 * (self.low + self.high)

    def _mode(self):
        return self.low

    def _variance(self):
        n = self.high - self.low + 1.0
        return (n * n - 1.0) / 12.0

    def _entropy(self):
        return np.log(self.high - self.low + 1.0)

    def _enumerate(self):
        if is_recorded(self.low) or is_recorded(self.high):
            raise ModelError(
                got="enumerate_support of DiscreteUniform with bounds that depend on draws",
                expected="plain bounds, numbers or arrays",
                hint="Categorical with probability 0 outside the bounds",
            )
        return np.arange(int(np.min(self.low)), int(np.max(self.high)) + 1)


class DiscretizedLogistic(Distribution):
    """A logistic number rounded to the integers from 0 to `high`, whose ends take what lies beyond: a pixel's level.

    With `a = (x - 1/2 - loc) / scale` and `b = (x + 1/2 - loc) / scale`, p(x) is `sigmoid(b) - sigmoid(a)`, where
    b is infinite at x = high and a at x = 0 (Salimans, Karpathy, Chen and Kingma 2017, eq. 2). Computed as
    `log p(x) = -softplus(-b) - softplus(a) + log(1 - exp(-1 / scale))`, in which nothing cancels. A mixture of several
    is `MixtureSameFamily`.

    >>> d = DiscretizedLogistic(100.0, 5.0)
    >>> d.log_prob(np.array([0, 100, 255])).round(3)
    array([-19.9  ,  -2.997, -30.9  ])
    >>> float(np.exp(d.log_prob(np.arange(256))).sum().round(12))
    1.0
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "high": constraints.positive_integer,
    }
    noise = "uniform"
    loc: Array
    scale: Array
    high: int
    _static = ("high",)

    def __init__(
        self, loc: Array = 127.5, scale: Array = 32.0, high: int = 255, *, validate_args: bool | None = None
    ) -> None:
        super().__init__({"loc": loc, "scale": scale, "high": high}, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.high)

    def from_noise(self, noise: Array) -> Array:
        return self._icdf(noise)

    def _log_density(self, x):
        narrow = 1.0 / self.scale
        middle = (x - self.loc) * narrow
        below, above = softplus(middle - 0.5 * narrow), softplus(-middle - 0.5 * narrow)
        inside = (x > 0) & (x < self.high)
        return np.log(-np.expm1(-narrow)) * inside - below * (x > 0) - above * (x < self.high)

    def _edge(self, x):
        """The upper end of the interval that rounds to floor(x), on the logistic scale."""
        return (np.floor(x) + 0.5 - self.loc) / self.scale

    def _cdf(self, x):
        inside = np.where(x < 0, 0.0, special.expit(self._edge(x)))
        return np.where(x >= self.high, 1.0, inside)

    def _log_survival(self, x):
        inside = np.where(x < 0, 0.0, -softplus(self._edge(x)))
        return np.where(x >= self.high, -np.inf, inside)

    def _icdf(self, q):
        steps = np.ceil(self.loc + self.scale * special.logit(q) - 0.5)
        return as_integer(np.clip(settled(self._cdf, np.clip(steps, 0, self.high), q), 0, self.high))

    def _beyond(self):
        """The probabilities of more than 0, 1, ..., high - 1, along a new first axis."""
        steps = np.arange(self.high).reshape(-1, *(1,) * len(self.batch_shape))
        return steps, special.expit(-self._edge(steps))

    def _mean(self):
        return np.sum(self._beyond()[1], axis=0)

    def _variance(self):
        steps, beyond = self._beyond()
        mean = np.sum(beyond, axis=0)
        return np.sum((2.0 * (steps - mean) + 1.0) * beyond, axis=0) + mean * mean

    def _enumerate(self):
        return np.arange(self.high + 1)


class WithProbabilities(Distribution):
    """Base of families over K categories, given as `probs` (a simplex) or as `logits` (log weights)."""

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.log_weights}

    @property
    def probs(self) -> Array:
        """The probability of each category."""
        given = self._arguments
        return given["probs"] if "probs" in given else np.exp(self.logits)

    @property
    def logits(self) -> Array:
        """The log probability of each category (normalised, whatever log weights were given)."""
        given = self._arguments
        if "probs" in given:
            with quiet():
                return np.log(given["probs"])
        return given["logits"] - logsumexp(given["logits"], axis=-1)[..., None]

    @property
    def _number(self) -> int:
        return np.shape(next(iter(self._arguments.values())))[-1]

    def _category(self, noise):
        """The first category whose cumulative probability reaches the noise."""
        return np.sum(np.expand_dims(noise, -1) > self._reached[..., :-1], axis=-1)

    @property
    def _reached(self) -> Array:
        """Cumulative probabilities, over their total: rounding must not let noise pass the last possible category."""
        reached = np.cumsum(self.probs, axis=-1)
        return reached / reached[..., -1:]


class Categorical(WithProbabilities):
    """One of K categories, as an integer from 0 to K - 1.

    `log p(x) = log(probs[x]) = logits[x] - logsumexp(logits)`. Log weights of -inf rule a category out.

    >>> Categorical(np.array([0.25, 0.75])).log_prob(1).round(4)
    np.float64(-0.2877)
    """

    noise = "uniform"

    def __init__(
        self, probs: Array | None = None, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(one_of("Categorical", "probs", "logits", (probs, logits)), validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self._number - 1)

    def from_noise(self, noise: Array) -> Array:
        return self._category(noise)

    def _log_density(self, x):
        given = self._arguments
        if "probs" in given:
            return np.log(pick(given["probs"], x))
        return pick(given["logits"], x) - logsumexp(given["logits"], axis=-1)

    def _cdf(self, x):
        below = np.arange(self._number) <= np.expand_dims(x, -1)
        return np.max(np.where(below, self._reached, 0.0), axis=-1)

    def _icdf(self, q):
        return self._category(q)

    def _entropy(self):
        return np.sum(special.entr(self.probs), axis=-1)

    def _mode(self):
        return np.argmax(next(iter(self._arguments.values())), axis=-1)

    def _enumerate(self):
        return np.arange(self._number)


class OneHotCategorical(WithProbabilities):
    """One of K categories, as a vector with a single 1.

    `log p(x) = sum_k x_k log(probs_k)`, for x one-hot.

    >>> OneHotCategorical(np.array([0.25, 0.75])).sample(0)
    array([0, 1])
    """

    support = constraints.one_hot
    noise = "uniform"

    def __init__(
        self, probs: Array | None = None, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        given = {
            name: as_array(value)
            for name, value in one_of("OneHotCategorical", "probs", "logits", (probs, logits)).items()
        }
        event_shape = np.shape(next(iter(given.values())))[-1:]
        super().__init__(given, event_shape=event_shape, validate_args=validate_args)

    @property
    def noise_shape(self) -> Shape:
        return self.batch_shape

    def from_noise(self, noise: Array) -> Array:
        return np.where(np.expand_dims(self._category(noise), -1) == np.arange(self._number), 1, 0)

    def _log_density(self, x):
        given = self._arguments
        if "probs" in given:
            return np.sum(special.xlogy(x, given["probs"]), axis=-1)
        chosen = np.sum(np.where(x == 1, given["logits"], 0.0), axis=-1)
        return chosen - logsumexp(given["logits"], axis=-1)

    def _mean(self):
        return self.probs

    def _mode(self):
        best = np.argmax(next(iter(self._arguments.values())), axis=-1)
        return np.where(best[..., None] == np.arange(self._number), 1, 0)

    def _variance(self):
        return self.probs * (1.0 - self.probs)

    def _entropy(self):
        return np.sum(special.entr(self.probs), axis=-1)

    def _enumerate(self):
        return np.eye(self._number, dtype=np.int64)


# -- helpers ---------------------------------------------------------------------------------------


def of_counts(x: Array, total_count: Array, log_mass: Callable[[Array, Array], Array]) -> Array:
    """The log mass of x successes and the failures; -inf where a recorded x is above its own of several counts.

    As it is where counts that differ are enumerated together.
    """
    failures = total_count - x
    if not is_recorded(x) or is_recorded(total_count) or np.ndim(total_count) == 0:
        return log_mass(x, failures)
    inside = failures >= 0
    return np.where(inside, log_mass(np.where(inside, x, 0), np.where(inside, failures, total_count)), -np.inf)


def largest_count(d: Distribution) -> int:
    """The largest total count of the batch, for enumeration: beyond an element's own the mass is 0."""
    count = d.parameters["total_count"]
    if is_recorded(count):
        raise ModelError(
            got=f"enumerate_support of {d!r} with total counts that depend on draws",
            expected="a plain total_count, a number or an array",
            hint="counts that are data, or another family",
        )
    return int(np.max(count, initial=0))
