"""Counts by category, and categories in an order."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import as_array, as_integer, broadcast
from ppl.distributions._counting import log_ways, one_of, pick, split_log_factorial
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.discrete import Categorical, WithProbabilities


class Multinomial(WithProbabilities):
    """How often each of K categories comes in `total_count` independent draws.

    `log p(x) = log n! + sum_k (x_k log(probs_k) - log x_k!)`, for counts x that sum to n = `total_count`.

    >>> Multinomial(4, np.array([0.25, 0.75])).mean
    array([1., 3.])
    """

    arg_constraints: ClassVar = {**WithProbabilities.arg_constraints, "total_count": constraints.nonnegative_integer}
    total_count: Array

    def __init__(
        self,
        total_count: Array = 1,
        probs: Array | None = None,
        logits: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        name, given = next(iter(one_of("Multinomial", "probs", "logits", (probs, logits)).items()))
        given = as_array(given)
        arguments = {name: given, "total_count": total_count}
        super().__init__(arguments, event_shape=np.shape(given)[-1:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.multinomial(self.total_count)

    def _log_density(self, x):
        given = self._arguments
        (n_scale, n_rest), (scale, rest) = split_log_factorial(self.total_count), split_log_factorial(x)
        share = np.expand_dims(n_scale, -1) / scale
        if "probs" in given:
            each = special.xlogy(x, given["probs"] * share)
        else:
            each = x * (np.where(x > 0, self.logits, 0.0) + np.log(share))
        return n_rest + np.sum(each - rest, axis=-1)

    def _draw(self, rng, sample_shape):
        probs = np.asarray(self.probs, float)
        probs = probs / np.sum(probs, axis=-1, keepdims=True)
        return rng.multinomial(broadcast(as_integer(self.total_count), sample_shape + self.batch_shape), probs)

    def _mean(self):
        return np.expand_dims(self.total_count, -1) * self.probs

    def _variance(self):
        return np.expand_dims(self.total_count, -1) * self.probs * (1.0 - self.probs)


class DirichletMultinomial(Distribution):
    """Multinomial counts whose probabilities have a Dirichlet distribution.

    `log p(x) = sum_k w(x_k, a_k) - w(n, sum_k a_k)`, `w(x, r) = log(Gamma(x + r) / (x! Gamma(r)))`, for counts x
    that sum to n = `total_count`; a = `concentration`.

    >>> d = DirichletMultinomial(np.ones(2), 3)
    >>> float(np.exp(d.log_prob(np.array([1, 2]))).round(4))
    0.25
    """

    arg_constraints: ClassVar = {
        "concentration": constraints.independent(constraints.positive, 1),
        "total_count": constraints.nonnegative_integer,
    }
    concentration: Array
    total_count: Array

    def __init__(self, concentration: Array, total_count: Array = 1, *, validate_args: bool | None = None) -> None:
        concentration = as_array(concentration)
        arguments = {"concentration": concentration, "total_count": total_count}
        super().__init__(arguments, event_shape=np.shape(concentration)[-1:], validate_args=validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.multinomial(self.total_count)

    @property
    def _total(self) -> Array:
        return np.sum(self.concentration, axis=-1)

    def _log_density(self, x):
        return np.sum(log_ways(x, self.concentration), axis=-1) - log_ways(self.total_count, self._total)

    def _draw(self, rng, sample_shape):
        a = broadcast(np.asarray(self.concentration, float), self.shape(sample_shape))
        # Logs of gamma draws, of one shape more and brought back: those of small shapes do not underflow.
        logs = np.log(rng.standard_gamma(a + 1.0)) - rng.standard_exponential(a.shape) / a
        count = broadcast(as_integer(self.total_count), sample_shape + self.batch_shape)
        return rng.multinomial(count, special.softmax(logs, axis=-1))

    def _mean(self):
        return np.expand_dims(self.total_count / self._total, -1) * self.concentration

    def _variance(self):
        n, total = self.total_count, self._total
        probs = self.concentration / np.expand_dims(total, -1)
        return np.expand_dims(n * ((n + total) / (1.0 + total)), -1) * probs * (1.0 - probs)


class _Ordered(Categorical):
    """Base of categories cut from the line at `cutpoints`, by a variable around `predictor`."""

    arg_constraints: ClassVar = {"predictor": constraints.real, "cutpoints": constraints.ordered_vector}
    predictor: Array
    cutpoints: Array

    def __init__(self, predictor: Array, cutpoints: Array, *, validate_args: bool | None = None) -> None:
        arguments = {"predictor": predictor, "cutpoints": cutpoints}
        Distribution.__init__(self, arguments, validate_args=validate_args)

    @property
    def probs(self) -> Array:
        """The probability of each category."""
        return np.exp(self.logits)

    @property
    def logits(self) -> Array:
        """The log probability of each category."""
        center = self.predictor
        cuts = self.cutpoints - (np.expand_dims(center, -1) if np.ndim(center) else center)
        low, high = cuts[..., :-1], cuts[..., 1:]
        parts = [self._log_below(cuts[..., :1]), self._log_between(low, high), self._log_below(-cuts[..., -1:])]
        return np.concatenate(parts, axis=-1)

    @property
    def _number(self) -> int:
        return np.shape(self.cutpoints)[-1] + 1

    def _log_density(self, x):
        return pick(self.logits, x)

    def _mode(self):
        return np.argmax(self.logits, axis=-1)

    def _log_below(self, cut: Array) -> Array:
        """The log probability that the variable, less its predictor, is below `cut`; it is symmetric around 0."""
        raise NotImplementedError

    def _log_between(self, low: Array, high: Array) -> Array:
        raise NotImplementedError


class OrderedLogistic(_Ordered):
    """Ordered categories, whose cumulative log odds lie around one `predictor`.

    `p(x <= k) = 1 / (1 + exp(predictor - cutpoints_k))`, for x in {0, ..., K} and K increasing cutpoints. Each
    category by the log of the difference: `log p(k) = -log(1 + exp(-b)) - log(1 + exp(a)) + log(1 - exp(a - b))`
    with a and b the cutpoints around it, less the predictor, so that no tail is lost.

    >>> OrderedLogistic(0.0, np.array([-1.0, 1.0])).probs.round(4)
    array([0.2689, 0.4621, 0.2689])
    """

    def _log_below(self, cut):
        return -softplus(-cut)

    def _log_between(self, low, high):
        return np.log(-np.expm1(low - high)) - softplus(-high) - softplus(low)


class OrderedProbit(_Ordered):
    """Ordered categories: where a normal variable around `predictor` falls among the cutpoints.

    `p(x <= k) = Phi(cutpoints_k - predictor)`, for x in {0, ..., K} and K increasing cutpoints.

    >>> OrderedProbit(0.0, np.array([-1.0, 1.0])).probs.round(4)
    array([0.1587, 0.6827, 0.1587])
    """

    def _log_below(self, cut):
        return special.log_ndtr(cut)

    def _log_between(self, low, high):
        # Mirrored into the lower tail, where the logarithms keep their digits.
        middle, half = -0.5 * np.abs(low + high), 0.5 * (high - low)
        top = special.log_ndtr(middle + half)
        return top + np.log(-np.expm1(special.log_ndtr(middle - half) - top))
