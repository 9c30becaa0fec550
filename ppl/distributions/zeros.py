"""Counts with zeros of their own: more of them than the family has, or as many as a hurdle keeps back."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import is_recorded, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, as_array, broadcast, float_type, quiet
from ppl.distributions._counting import least_reaching, one_of
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.discrete import NegativeBinomial2, Poisson
from ppl.errors import ModelError


class _Gated(Distribution):
    """Base of counts that are 0 with a probability `gate`, else come from `base_dist` in one way or another."""

    arg_constraints: ClassVar = {"gate": constraints.unit_interval, "gate_logits": constraints.real}
    base_dist: Distribution

    def __init__(
        self,
        base_dist: Distribution,
        *,
        gate: Array | None = None,
        gate_logits: Array | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = one_of(self._family, "gate", "gate_logits", (gate, gate_logits))
        self._begin(base_dist, {"base_dist": base_dist, **given}, validate_args)

    def _begin(self, base_dist: Distribution, arguments: dict[str, Array], validate_args: bool | None) -> None:
        self.base_dist = base_dist
        self._check_base()
        gate = as_array(arguments.get("gate", arguments.get("gate_logits")))
        batch_shape = self._together({"gate": np.shape(gate), "counts": base_dist.batch_shape})
        super().__init__(arguments, batch_shape=batch_shape, validate_args=validate_args)

    def _check_base(self) -> None:
        bounds = constraints.bounds(self.base_dist.support) if self.base_dist.is_discrete else (1.0, 1.0)
        if self.base_dist.event_shape or (bounds is not None and np.any(np.asarray(bounds[0]) != 0.0)):
            raise ModelError(
                got=f"{self._family} of {self.base_dist!r}",
                expected="a family of counts 0, 1, 2, ...",
                hint="Poisson, NegativeBinomial2 or another family whose support begins at 0",
            )

    @property
    def support(self) -> Constraint:
        return self.base_dist.support

    @property
    def gate(self) -> Array:
        """The probability of the gate."""
        given = self._arguments
        return given["gate"] if "gate" in given else special.expit(given["gate_logits"])

    @property
    def gate_logits(self) -> Array:
        """`log(gate / (1 - gate))`."""
        given = self._arguments
        return given["gate_logits"] if "gate_logits" in given else special.logit(given["gate"])

    @property
    def _rest(self) -> Array:
        """1 - gate, without cancellation."""
        given = self._arguments
        return 1.0 - given["gate"] if "gate" in given else special.expit(-given["gate_logits"])

    @property
    def _log_rest(self) -> Array:
        given = self._arguments
        return np.log1p(-given["gate"]) if "gate" in given else -softplus(given["gate_logits"])

    def has(self, name: str) -> bool:
        if name in ("mean", "variance"):
            return self.base_dist.has("mean") and self.base_dist.has(name)
        needed = {"icdf": "cdf"}.get(name, name)
        return super().has(name) and self.base_dist.has(needed)

    def _icdf(self, q):
        bounds = constraints.bounds(self.support)
        high = np.inf if bounds is None else bounds[1]
        return least_reaching(self.cdf, q, 0, high, np.broadcast_shapes(np.shape(q), self.batch_shape))

    def _draw(self, rng, sample_shape):
        counts = self._draw_counts(rng, sample_shape)
        return np.where(rng.random(self.shape(sample_shape)) < self.gate, 0, counts)

    def _draw_counts(self, rng: np.random.Generator, sample_shape: Shape) -> Array:
        return self.base_dist.expand(self.batch_shape).sample(rng, sample_shape)

    def _enumerate(self):
        return np.ravel(self.base_dist.enumerate_support(expand=False))


class ZeroInflatedDistribution(_Gated):
    """Counts of `base_dist`, replaced by 0 with probability `gate`.

    `p(0) = gate + (1 - gate) p_base(0)` and `p(x) = (1 - gate) p_base(x)` for x above 0. The probability is given
    as `gate` or as `gate_logits`. `base_dist` is any family of counts from 0 on.

    Errors: ModelError for another base, or with both or neither of the two arguments.

    >>> d = ZeroInflatedDistribution(Poisson(2.0), gate=0.25)
    >>> float(d.mean), float(np.exp(d.log_prob(0)).round(4))
    (1.5, 0.3515)
    """

    def _log_density(self, x):
        at_zero, log_p = x == 0, self.base_dist.log_prob(x)
        zero = self._log_zero(np.where(at_zero, log_p, 0.0))
        return np.where(at_zero, zero, self._log_rest + log_p)

    def _log_zero(self, log_p):
        given = self._arguments
        if "gate_logits" in given:
            return np.logaddexp(given["gate_logits"], log_p) - softplus(given["gate_logits"])
        gate = given["gate"]
        # Not by logaddexp, whose slope in log(gate) is none at gate = 0.
        log_zero = np.log(gate + (1.0 - gate) * np.exp(log_p))
        return log_zero if is_recorded(gate) else np.where(np.equal(gate, 0.0), log_p, log_zero)

    def _cdf(self, x):
        return np.where(x < 0, 0.0, self.gate + self._rest * self.base_dist.cdf(x))

    def _mean(self):
        return self._rest * self.base_dist.mean

    def _variance(self):
        mean = self.base_dist.mean
        return self._rest * (self.base_dist.variance + self.gate * mean * mean)

    def _mode(self):
        other = self.base_dist.mode
        with quiet():
            return np.where(self._log_density(0) >= self._log_density(other), 0, other)


class ZeroInflatedPoisson(ZeroInflatedDistribution):
    """Poisson counts, replaced by 0 with probability `gate`.

    `p(0) = gate + (1 - gate) exp(-rate)`, `p(x) = (1 - gate) rate^x exp(-rate) / x!` for x above 0.

    >>> float(ZeroInflatedPoisson(0.25, 2.0).mean)
    1.5
    """

    arg_constraints: ClassVar = {"gate": constraints.unit_interval, "rate": constraints.nonnegative}

    def __init__(self, gate: Array, rate: Array = 1.0, *, validate_args: bool | None = None) -> None:
        self._begin(Poisson(rate, validate_args=False), {"gate": gate, "rate": rate}, validate_args)


class ZeroInflatedNegativeBinomial2(ZeroInflatedDistribution):
    """Negative binomial counts by mean and concentration, replaced by 0 with probability `gate`.

    `p(0) = gate + (1 - gate) p_base(0)` and `p(x) = (1 - gate) p_base(x)` for x above 0, p_base that of
    `NegativeBinomial2(mean, concentration)`.

    >>> float(ZeroInflatedNegativeBinomial2(2.0, 3.0, gate=0.25).mean)
    1.5
    """

    arg_constraints: ClassVar = {**_Gated.arg_constraints, **NegativeBinomial2.arg_constraints}

    def __init__(
        self,
        mean: Array,
        concentration: Array,
        *,
        gate: Array | None = None,
        gate_logits: Array | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = one_of(self._family, "gate", "gate_logits", (gate, gate_logits))
        base_dist = NegativeBinomial2(mean, concentration, validate_args=False)
        self._begin(base_dist, {"mean": mean, "concentration": concentration, **given}, validate_args)


class HurdleDistribution(_Gated):
    """0 with probability `gate`, else a count of `base_dist` that is known to be above 0.

    `p(0) = gate` and `p(x) = (1 - gate) p_base(x) / (1 - p_base(0))` for x above 0: the zeros and the counts have
    each their own law (Mullahy 1986). The probability is given as `gate` or as `gate_logits`.

    Errors: ModelError for a base that is no family of counts from 0 on, or is never above 0, or with both or
    neither of the two arguments.

    >>> d = HurdleDistribution(Poisson(2.0), gate=0.25)
    >>> float(np.exp(d.log_prob(0))), float(d.mean.round(4))
    (0.25, 1.7348)
    """

    def _check_base(self) -> None:
        super()._check_base()
        log_p0 = self.base_dist.log_prob(0)
        if not is_recorded(log_p0) and np.any(log_p0 >= 0.0):
            raise ModelError(
                got=f"{self._family} of {self.base_dist!r}, which is never above 0",
                expected="counts above 0 to come at all",
                hint="a positive rate, or Delta(0)",
            )

    @property
    def _log_gate(self) -> Array:
        given = self._arguments
        return np.log(given["gate"]) if "gate" in given else -softplus(-given["gate_logits"])

    def _above(self, zero: Array = 0) -> Array:
        """The probability that the base is above 0, in the floating type of that zero."""
        return -np.expm1(self.base_dist.log_prob(zero))

    def _log_density(self, x):
        above = self._above(float_type(x).type(0))
        positive = self._log_rest + self.base_dist.log_prob(x) - np.log(above)
        return np.where(x == 0, self._log_gate, positive)

    def _cdf(self, x):
        above = self._above()
        share = np.clip((self.base_dist.cdf(x) - (1.0 - above)) / above, 0.0, 1.0)
        return np.where(x < 0, 0.0, self.gate + self._rest * share)

    def _mean(self):
        return self._rest / self._above() * self.base_dist.mean

    def _variance(self):
        base, ratio = self.base_dist.mean, self._rest / self._above()
        return ratio * (self.base_dist.variance + (1.0 - ratio) * base * base)

    def _draw_counts(self, rng, sample_shape):
        base = self.base_dist.expand(self.batch_shape)
        if base.has("icdf"):  # the part of the unit interval that belongs to counts above 0
            above = broadcast(self._above(), self.shape(sample_shape))
            q = 1.0 - above * (1.0 - rng.random(above.shape))
            return np.maximum(base.icdf(np.minimum(q, 1.0 - 2.0**-53)), 1.0).astype(np.int64)
        counts = base.sample(rng, sample_shape)
        while np.any(counts == 0):
            counts = np.where(counts == 0, base.sample(rng, sample_shape), counts)
        return counts
