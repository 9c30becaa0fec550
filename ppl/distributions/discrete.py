"""Discrete families: coins, categories and counts.

Where a family takes `probs` or `logits`, exactly one is given and the other follows; the density
uses the one that was given. Finite families enumerate their support. Draws from uniform noise go
through the inverse cdf: they jump as parameters move, so they are not `reparameterized`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy import special

from ppl.array import is_recorded, logsumexp, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, as_array, as_integer, broadcast, quiet
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.errors import ModelError


def _one_of(family: str, probs: Array | None, logits: Array | None) -> dict[str, Any]:
    """The one argument given of the two, by name."""
    if (probs is None) == (logits is None):
        raise ModelError(
            got=f"{family} with {'neither' if probs is None else 'both'} of probs and logits",
            expected="exactly one of them",
            hint=f"{family}(probs=...) or {family}(logits=...)",
        )
    return {"logits": logits} if probs is None else {"probs": probs}


class _WithProbability(Distribution):
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


class Bernoulli(_WithProbability):
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
        super().__init__(_one_of("Bernoulli", probs, logits), validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return np.where(noise > self._failure, 1, 0)

    def _log_density(self, x):
        given = self._arguments
        if "logits" in given:
            return x * given["logits"] - softplus(given["logits"])
        return self._log_odds_density(x, 1 - x)

    def _cdf(self, x):
        return np.where(x >= 1, 1.0, np.where(x >= 0, self._failure, 0.0))

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


class Binomial(_WithProbability):
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
        arguments = {"total_count": total_count, **_one_of("Binomial", probs, logits)}
        super().__init__(arguments, validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.total_count)

    def _log_density(self, x):
        failures = self.total_count - x
        return self._log_odds_density(x, failures) + _log_choose(self.total_count, x, failures)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        return rng.binomial(broadcast(self.total_count, shape), broadcast(self.probs, shape))

    def _cdf(self, x):
        k, n = np.floor(x), self.total_count
        between = (k >= 0) & (k < n)
        k_safe, n_safe = np.where(between, k, 0), np.where(between, n, 1)
        inner = special.betainc(n_safe - k_safe, k_safe + 1.0, self._failure)
        return np.where(between, inner, np.where(k < 0, 0.0, 1.0))

    def _mean(self):
        return self.total_count * self.probs

    def _variance(self):
        return self.total_count * self.probs * self._failure

    def _enumerate(self):
        return np.arange(_common_count(self) + 1)


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
        a, b, failures = self.concentration1, self.concentration0, self.total_count - x
        return _log_choose(self.total_count, x, failures) + special.betaln(x + a, failures + b) - special.betaln(a, b)

    def _draw(self, rng, sample_shape):
        shape = self.shape(sample_shape)
        probs = rng.beta(broadcast(self.concentration1, shape), broadcast(self.concentration0, shape))
        return rng.binomial(broadcast(self.total_count, shape), probs)

    def _mean(self):
        return self.total_count * self.concentration1 / (self.concentration1 + self.concentration0)

    def _variance(self):
        a, b, n = self.concentration1, self.concentration0, self.total_count
        total = a + b
        return n * a * b * (total + n) / (total * total * (total + 1.0))

    def _enumerate(self):
        return np.arange(_common_count(self) + 1)


class Geometric(_WithProbability):
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
        super().__init__(_one_of("Geometric", probs, logits), validate_args=validate_args)
        if validate_args is not False and probs is not None:
            self._require(np.greater(self.probs, 0.0), "probs", "above 0, else no success ever comes")

    @property
    def _log_failure(self) -> Array:
        given = self._arguments
        return special.xlog1py(1.0, -given["probs"]) if "probs" in given else -softplus(given["logits"])

    def from_noise(self, noise: Array) -> Array:
        # The least x with 1 - (1 - probs)^(x + 1) >= noise.
        return as_integer(np.maximum(np.ceil(np.log1p(-noise) / self._log_failure) - 1.0, 0.0))

    def _log_density(self, x):
        return self._log_odds_density(1, x)

    def _cdf(self, x):
        return np.where(x < 0, 0.0, -np.expm1(special.xlog1py(np.floor(np.maximum(x, 0.0)) + 1.0, -self.probs)))

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
        return special.xlogy(x, self.rate) - self.rate - special.gammaln(x + 1.0)

    def _draw(self, rng, sample_shape):
        return rng.poisson(broadcast(self.rate, self.shape(sample_shape)))

    def _cdf(self, x):
        return np.where(x < 0, 0.0, special.pdtr(np.floor(np.maximum(x, 0.0)), self.rate))

    def _mean(self):
        return self.rate

    def _mode(self):
        return as_integer(np.floor(self.rate))

    def _variance(self):
        return self.rate


class NegativeBinomial2(Distribution):
    """Counts with `mean` m and more spread than a Poisson's: variance `m + m^2 / concentration`.

    `log p(x) = x log(m / (m + r)) - r log(1 + m / r) - log B(x + 1, r) - log(x + r)`, r the
    concentration, for x in {0, 1, ...}.

    >>> float(NegativeBinomial2(3.0, 2.0).variance)
    7.5
    """

    arg_constraints: ClassVar = {"mean": constraints.positive, "concentration": constraints.positive}
    support = constraints.nonnegative_integer
    concentration: Array

    def __init__(self, mean: Array, concentration: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"mean": mean, "concentration": concentration}, validate_args=validate_args)

    def _log_density(self, x):
        m, r = self._arguments["mean"], self.concentration
        ways = special.betaln(x + 1.0, r) + np.log(x + r)
        return x * np.log(m / (m + r)) - r * np.log1p(m / r) - ways

    def _draw(self, rng, sample_shape):
        rates = rng.standard_gamma(broadcast(self.concentration, self.shape(sample_shape)))
        return rng.poisson(rates * (self._arguments["mean"] / self.concentration))

    def _cdf(self, x):
        m, r = self._arguments["mean"], self.concentration
        return np.where(x < 0, 0.0, special.betainc(r, np.floor(np.maximum(x, 0.0)) + 1.0, r / (m + r)))

    def _mean(self):
        return self._arguments["mean"]

    def _variance(self):
        m = self._arguments["mean"]
        return m + m * m / self.concentration


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
            self._require(np.less_equal(self.low, self.high), "high", f"not below low={self.low}")

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(self.low, self.high)

    def from_noise(self, noise: Array) -> Array:
        steps = np.floor(noise * (self.high - self.low + 1))
        return as_integer(np.minimum(self.low + steps, self.high))

    def _log_density(self, x):
        return -np.log(self.high - self.low + 1.0)

    def _cdf(self, x):
        return np.clip((np.floor(x) - self.low + 1.0) / (self.high - self.low + 1.0), 0.0, 1.0)

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
        bounds = self.low, self.high
        if any(is_recorded(b) or np.size(b) != 1 for b in bounds):
            raise ModelError(
                got="enumerate_support of DiscreteUniform with bounds that differ or depend on draws",
                expected="the same plain bounds over the whole batch",
                hint="Categorical with probability 0 outside the bounds",
            )
        low, high = (int(np.reshape(b, ())) for b in bounds)
        return np.arange(low, high + 1)


class _WithProbabilities(Distribution):
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
        reached = np.cumsum(self.probs, axis=-1)
        # Times the total: rounding must not let the noise pass the last category of positive probability.
        return np.sum(np.expand_dims(noise, -1) * reached[..., -1:] > reached[..., :-1], axis=-1)

    def _entropy(self):
        return np.sum(special.entr(self.probs), axis=-1)


class Categorical(_WithProbabilities):
    """One of K categories, as an integer from 0 to K - 1.

    `log p(x) = log(probs[x]) = logits[x] - logsumexp(logits)`. Log weights of -inf rule a category out.

    >>> Categorical(np.array([0.25, 0.75])).log_prob(1).round(4)
    np.float64(-0.2877)
    """

    noise = "uniform"

    def __init__(
        self, probs: Array | None = None, logits: Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        super().__init__(_one_of("Categorical", probs, logits), validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self._number - 1)

    def from_noise(self, noise: Array) -> Array:
        return self._category(noise)

    def _log_density(self, x):
        given = self._arguments
        if "probs" in given:
            return np.log(_pick(given["probs"], x))
        return _pick(given["logits"], x) - logsumexp(given["logits"], axis=-1)

    def _mode(self):
        return np.argmax(next(iter(self._arguments.values())), axis=-1)

    def _enumerate(self):
        return np.arange(self._number)


class OneHotCategorical(_WithProbabilities):
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
        given = {name: as_array(value) for name, value in _one_of("OneHotCategorical", probs, logits).items()}
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

    def _enumerate(self):
        return np.eye(self._number, dtype=np.int64)


# -- helpers -----------------------------------------------------------------------------------


def _log_choose(n: Array, x: Array, rest: Array) -> Array:
    """`log C(n, x)` with `rest = n - x`; the beta function keeps digits that factorials would cancel."""
    return -special.betaln(x + 1.0, rest + 1.0) - np.log(n + 1.0)


def _pick(table: Array, x: Array) -> Array:
    """`table[..., x]` along the last axis, with batch axes broadcast."""
    index = as_integer(x)
    if np.ndim(table) == 1:
        if not is_recorded(index):
            return table[index]
        # A plain array cannot be indexed by a recorded one, but this function can be recorded.
        flat = np.take_along_axis(table, np.reshape(index, (-1,)), axis=0)
        return np.reshape(flat, np.shape(index))
    batch = np.broadcast_shapes(np.shape(table)[:-1], np.shape(index))
    table = broadcast(table, (*batch, np.shape(table)[-1]))
    return np.take_along_axis(table, broadcast(index, batch)[..., None], axis=-1)[..., 0]


def _common_count(d: Distribution) -> int:
    """The one total count of the batch, for enumeration."""
    count = d.parameters["total_count"]
    if is_recorded(count) or np.min(count) != np.max(count):
        raise ModelError(
            got=f"enumerate_support of {d!r} with total counts that differ or depend on draws",
            expected="the same plain total_count over the whole batch",
            hint="one site per total_count",
        )
    return int(np.max(count))
