"""Any continuous scalar family kept to an interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppl.array import agreeing, is_recorded
from ppl.distributions import constraints
from ppl.distributions._arrays import float_type, is_infinite, quiet
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.real import Cauchy
from ppl.errors import ModelError, ShapeError


class TruncatedDistribution(Distribution):
    """`base_dist` kept to [low, high]; None means no bound on that side.

    `log p(x) = log p_base(x) - log(F(high) - F(low))`, F the base's cdf. Mass and draws are taken on the log scale,
    from the lower tail or from the upper one, whichever the interval lies in. So they are exact as far out as the
    base's log_cdf and log_survival are: at any distance for Normal, LogNormal, HalfNormal, Cauchy, Logistic, Laplace,
    Gumbel, Exponential, Weibull, Rayleigh, Gompertz and Pareto; down to a mass of 1e-300 for StudentT, Gamma and Beta;
    for others down to 1e-16 in the upper tail; a mixture is as exact as its components. Draws are explicit in the
    base's icdf, and move with all parameters and both bounds (of a normal, beyond 1e4 scales, `TruncatedNormal` keeps
    more of their digits); of a base without an icdf, as a mixture or a skew normal, they come by bisection of the cdf,
    and have no path.

    The base has a cdf, a continuous support and no event axes (a ModelError otherwise).

    >>> from ppl.distributions import Gamma
    >>> d = TruncatedDistribution(Gamma(2.5, 1.0), low=1.0, high=4.0)
    >>> float(d.cdf(4.0).round(4)), float(d.icdf(0.5).round(4))
    (1.0, 2.1659)
    """

    base_dist: Distribution

    def __init__(
        self,
        base_dist: Distribution,
        low: Array | None = None,
        high: Array | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not base_dist.has("cdf") or base_dist.is_discrete or base_dist.event_dim:
            raise ModelError(
                got=f"the truncation of {base_dist!r}",
                expected="a continuous family of single numbers with a known cdf",
                hint="TruncatedDistribution(Gamma(2.0, 1.0), high=3.0).to_event(1), truncated before to_event",
            )
        self.low = None if is_infinite(low, -np.inf) else low
        self.high = None if is_infinite(high, np.inf) else high
        bounds = {name: b for name, b in (("low", self.low), ("high", self.high)) if b is not None}
        shapes = [base_dist.batch_shape, *map(np.shape, bounds.values())]
        try:
            batch_shape = np.broadcast_shapes(*shapes)
        except ValueError:
            raise ShapeError(
                got=f"TruncatedDistribution with batch shape {shapes[0]} and bounds of shapes {shapes[1:]}",
                expected="bounds that broadcast with the batch",
                hint="bounds of one number each",
            ) from None
        super().__init__({"base_dist": base_dist, **bounds}, batch_shape=batch_shape, validate_args=validate_args)
        if validate_args is not False:
            self._check_bounds(base_dist.support)

    def _check_bounds(self, support: Constraint) -> None:
        for name in ("low", "high"):
            bound = self._arguments.get(name)
            if bound is not None and not is_recorded(bound) and not support.depends_on_recorded:
                ends = constraints.bounds(support) or (-np.inf, np.inf)
                inside = (bound >= ends[0]) & (bound <= ends[1]) & np.isfinite(bound)
                self._require(inside, name, f"finite, and at the edge of the base's support or inside: {support}")
        if self.low is not None and self.high is not None:
            self._require(np.less(self.low, self.high), "high", "above low={low}")

    @property
    def support(self) -> Constraint:
        """What the base's support and the bounds have in common."""
        ends: tuple[Any, Any] = constraints.bounds(self.base_dist.support) or (-np.inf, np.inf)
        low, high = (end if b is None else b for b, end in zip((self.low, self.high), ends, strict=True))
        below, above = is_infinite(low, -np.inf), is_infinite(high, np.inf)
        if below and above:
            return self.base_dist.support
        if above:
            return constraints.greater_than_eq(low) if self.low is not None else self.base_dist.support
        return constraints.less_than_eq(high) if below else constraints.interval(low, high)

    @property
    def reparameterized(self) -> bool:  # type: ignore[override]
        """A draw moves with parameters and bounds where the base has a quantile function."""
        return self.base_dist.has("icdf")

    @property
    def noise(self) -> str | None:  # type: ignore[override]
        """Uniform where the base has a quantile function."""
        return "uniform" if self.base_dist.has("icdf") else None

    def has(self, name: str) -> bool:
        """Whether `name` is known for this distribution, which may need it known for the base."""
        known = {"icdf": "icdf", "from_noise": "icdf", "mode": "mode"}
        return self.base_dist.has(known[name]) if name in known else super().has(name)

    def _tails(self):
        """Which tail to take: upper where positive. The log mass beyond the near bound, and that ratio of the masses
        beyond both bounds which is below one, by its logarithm; None where there is no such bound."""
        base = self.base_dist
        if self.low is None:
            return -1.0, 0.0 if self.high is None else base._log_cdf(self.high), None
        if self.high is None:
            return 1.0, base._log_survival(self.low), None
        below, above = base._log_cdf(self.high), base._log_survival(self.low)
        side = below - above
        gap = agreeing(side, base._log_survival(self.high) - above, base._log_cdf(self.low) - below)
        return side, agreeing(side, above, below), gap

    def _log_mass(self):
        _, top, gap = self._tails()
        return top if gap is None else top + np.log(-np.expm1(gap))

    def _log_density(self, x):
        return self.base_dist.log_prob_inside(x) - self._log_mass()

    def from_noise(self, noise: Array) -> Array:
        base, (side, top, gap) = self.base_dist, self._tails()
        q = agreeing(side, 1.0 - noise, noise)  # counted from the end of the tail
        log_q = top + np.log(q if gap is None else q + (1.0 - q) * np.exp(gap))
        with quiet():
            if gap is None:
                draw = base._isf_exp(log_q) if side > 0 else base._icdf_exp(log_q)
            else:  # the formula that is not taken is given a number that does it no harm
                half = math.log(0.5)
                upper, lower = base._isf_exp(agreeing(side, log_q, half)), base._icdf_exp(agreeing(side, half, log_q))
                draw = agreeing(side, upper, lower)
        return self._inside(draw)

    def _draw(self, rng, sample_shape):
        """Where the base has no quantile function the cdf is inverted by bisection, in the distance from a bound."""
        if self.base_dist.has("icdf"):
            return super()._draw(rng, sample_shape)
        if self.low is None and self.high is None:
            return self.base_dist.expand(self.batch_shape).sample(rng, sample_shape)
        kind = float_type(self.base_dist.sample(0))
        end, side = (self.high, -1.0) if self.low is None else (self.low, 1.0)
        level, most = rng.random(self.shape(sample_shape)), np.log(np.finfo(kind).max)
        if self.low is not None and self.high is not None:
            most = np.log(self.high - self.low)
        short, long = np.full(level.shape, np.log(np.finfo(kind).tiny)), np.broadcast_to(most, level.shape)
        with quiet():
            for _ in range(70):
                middle = 0.5 * (short + long)
                below = self.cdf(end + side * np.exp(middle)) * side > level * side
                short, long = np.where(below, short, middle), np.where(below, middle, long)
            return self._inside((end + side * np.exp(0.5 * (short + long))).astype(kind))

    def _inside(self, draw):
        """A draw against rounding at the bounds."""
        draw = draw if self.low is None else np.maximum(draw, self.low)
        return draw if self.high is None else np.minimum(draw, self.high)

    def _icdf(self, q):
        return self.from_noise(q)

    def _cdf(self, x):
        base = self.base_dist
        if self.high is not None:
            x = np.minimum(x, self.high)
        if self.low is None:
            return np.exp(base._log_cdf(x) - self._log_mass())
        x, log_mass = np.maximum(x, self.low), self._log_mass()
        upper = np.exp(base._log_survival(self.low) - log_mass) - np.exp(base._log_survival(x) - log_mass)
        lower = np.exp(base._log_cdf(x) - log_mass) - np.exp(base._log_cdf(self.low) - log_mass)
        return np.clip(agreeing(self._tails()[0], upper, lower), 0.0, 1.0)

    def _mode(self):
        best = self.base_dist._mode()
        if self.low is not None or self.high is not None:
            best = np.clip(best, self.low, self.high)
        for end in (self.low, self.high):  # a density with its peaks at the ends of the support
            if end is not None:
                higher = self.base_dist._log_density(end) > self.base_dist._log_density(best)
                best = np.where(higher, end, best)
        return best


def TruncatedCauchy(
    loc: Array = 0.0,
    scale: Array = 1.0,
    low: Array | None = None,
    high: Array | None = None,
    *,
    validate_args: bool | None = None,
) -> TruncatedDistribution:
    """Cauchy distribution kept to [low, high]; None means no bound on that side.

    >>> float(TruncatedCauchy(0.0, 2.0, low=0.0).icdf(0.5).round(6))
    2.0
    """
    base = Cauchy(loc, scale, validate_args=validate_args)
    return TruncatedDistribution(base, low, high, validate_args=validate_args)
