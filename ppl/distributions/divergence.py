"""Kullback-Leibler divergences in closed form: a table by pairs of types, and a few laws that fill it further.

`KL(q, p) = E_q[log q(x) - log p(x)]`, over the batch. A pair is looked up in this order:

1. a row of the table, under `@register_kl(Q, P)`;
2. any two powers of gamma draws (gamma, exponential, chi-squared, Weibull, half-normal, inverse gamma, ...);
3. two members of one exponential family, `A(eta_p) - A(eta_q) - <eta_p - eta_q, E_q[t]>`;
4. a bijection common to both, which changes nothing;
5. independent axes, whose divergences add up, and normal vectors however their covariance is given;
6. linear chains and fields of normal draws, which are normal vectors too, against any other of these;
7. the entropy of q and the moments that log p needs: normal and truncated normal, Gumbel, uniform, gamma-like,
   log-normal p;
8. families of finitely many numbers, a sum over these.

Near equality the terms of a textbook formula cancel: the divergence is of second order in the difference of the
parameters, and they are not. The rows of the table are sums of gaps instead (how far a convex function lies above
its tangent: of exp, of x log x, of log Gamma), whose relative error is that of the difference: where two parameters
agree to six digits the divergence, some 1e-12, has nine of its own. Those of gamma, beta, Dirichlet and Wishart draws
are sums of gaps that are all positive, so they hold at concentrations of any size. The third, sixth and later ways have
the absolute error of their terms.

>>> from ppl.distributions import Normal
>>> float(kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0)))
0.5
>>> float((kl_divergence(Normal(0.0, 1.0 + 2.0**-20), Normal(0.0, 1.0)) * 2.0**40).round(5))
1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from ppl.array import agreeing, binet_gap, gammaln_gap, triangular_solve, xlogx_gap
from ppl.distributions import constraints
from ppl.distributions._arrays import broadcast, float_type, quiet, sum_last
from ppl.distributions._tails import circular_variance
from ppl.distributions._triangular import log_diagonal, solve_rows, squared_distance, transpose
from ppl.distributions.base import Distribution, Independent
from ppl.distributions.bounded import Beta, Kumaraswamy, LogitNormal, LogUniform, TruncatedNormal, Uniform, VonMises
from ppl.distributions.categories import Multinomial
from ppl.distributions.chains import AR, CAR, GaussianRandomWalk, GaussianStateSpace
from ppl.distributions.combinators import Delta, TransformedDistribution
from ppl.distributions.constraints import Array
from ppl.distributions.constraints.base import same
from ppl.distributions.discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    DiscreteUniform,
    Geometric,
    OneHotCategorical,
    Poisson,
    _Failures,
)
from ppl.distributions.joint import NormalGamma
from ppl.distributions.matrices import LKJ, InverseWishart, LKJCholesky, MatrixNormal, Wishart, WishartCholesky
from ppl.distributions.multivariate import (
    Dirichlet,
    LogisticNormal,
    LowRankMultivariateNormal,
    MultivariateNormal,
    ZeroSumNormal,
)
from ppl.distributions.positive import (
    Chi2,
    Exponential,
    Gamma,
    Gompertz,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Levy,
    LogNormal,
    Pareto,
    Rayleigh,
    Wald,
    Weibull,
)
from ppl.distributions.real import AsymmetricLaplace, Cauchy, Gumbel, Laplace, Logistic, Normal, StudentT
from ppl.distributions.transforms import ExpTransform, IndependentTransform, Transform
from ppl.errors import ModelError

Rule = Callable[..., Array]
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class _Row:
    """A formula for two types, and what must be the same in both for it to hold."""

    formula: Rule
    alike: Callable[[Any], Array] | None = None

    def holds(self, q: Distribution, p: Distribution) -> bool:
        return self.alike is None or _equal(self.alike(q), self.alike(p))


_RULES: dict[tuple[type, type], _Row] = {}


def register_kl(
    q_type: type[Distribution], p_type: type[Distribution], *, alike: Callable[[Any], Array] | None = None
) -> Callable[[Rule], Rule]:
    """Put a function `(q, p) -> KL` into the table, for q and p of these types and their subclasses.

    `alike` reads off a distribution what must be equal in both for the formula to hold.
    """

    def register(rule: Rule) -> Rule:
        _RULES[q_type, p_type] = _Row(rule, alike)
        return rule

    return register


def kl_divergence(q: Distribution, p: Distribution) -> Array:
    """`E_q[log q - log p]` over the batch, in closed form; ModelError where none is known.

    Infinite where q leaves the support of p, or p's tails are too light for a moment of q.
    """
    divergence = _find(q, p)
    if divergence is None:
        raise ModelError(
            got=f"KL({type(q).__name__}, {type(p).__name__})",
            expected="a pair with a known closed form",
            hint="has_kl(q, p) first, or the average of q.log_prob(x) - p.log_prob(x) over draws x of q",
        )
    with quiet():
        return broadcast(divergence(), np.broadcast_shapes(q.batch_shape, p.batch_shape))


def has_kl(q: Distribution, p: Distribution) -> bool:
    """Whether `kl_divergence(q, p)` is known.

    >>> from ppl.distributions import Cauchy, Normal
    >>> has_kl(Normal(), Normal()), has_kl(Normal(), Cauchy())
    (True, False)
    """
    return _find(q, p) is not None


Found = Callable[[], Array] | None  # the divergence, not yet computed


def _find(q: Distribution, p: Distribution) -> Found:
    if q.event_shape != p.event_shape:
        return None
    if isinstance(q, Delta):
        return lambda: q.log_density - p.log_prob(q.v)
    row = _row(type(q), type(p))
    if row is not None and row.holds(q, p):
        return lambda: row.formula(q, p)
    if _entry(_GENERALIZED_GAMMA, q) and _entry(_GENERALIZED_GAMMA, p):
        return lambda: _generalized_gamma(q, p)
    if _same_exponential_family(q, p):
        return lambda: _exponential_family(q, p)
    if isinstance(q, TransformedDistribution) or isinstance(p, TransformedDistribution):
        return _find_transformed(q, p)
    if isinstance(p, Independent) and isinstance(q, Independent):
        return _find_independent(q, p)
    if _is_normal_vector(q) and _is_normal_vector(p):
        return lambda: _normal_vectors(q, p)
    if _is_gaussian(q) and _is_gaussian(p):
        return lambda: _gaussians(q, p)
    return _find_by_moments(q, p) or _find_finite(q, p)


def _row(q_type: type, p_type: type) -> _Row | None:
    """The row of the nearest classes."""
    pairs = ((q, p) for q in q_type.__mro__ for p in p_type.__mro__)
    return next((_RULES[pair] for pair in pairs if pair in _RULES), None)


def _entry(table: dict[type[Distribution], Any], d: Distribution) -> Any:
    """What a table by types has for d, or None."""
    return next((table[t] for t in type(d).__mro__ if t in table), None)


def _equal(a: Array, b: Array) -> bool:
    """Equal as far as can be known: plain numbers everywhere, recorded ones only as the same array."""
    if isinstance(a, (int, float, np.generic, np.ndarray)) and isinstance(b, (int, float, np.generic, np.ndarray)):
        return bool(np.all(np.equal(a, b)))
    return same(a, b)


# -- wrappers ---------------------------------------------------------------------------------------


def _find_transformed(q: Distribution, p: Distribution) -> Found:
    """A bijection common to both changes nothing: `KL(t(x), t(y)) = KL(x, y)`."""
    first, second = _as_transformed(q), _as_transformed(p)
    both = isinstance(first, TransformedDistribution) and isinstance(second, TransformedDistribution)
    if both and _core(first.transform) == _core(second.transform):
        return _find(first.base_dist, second.base_dist)
    first, second = _as_log_normal(q), _as_log_normal(p)
    return None if first is q and second is p else _find(first, second)


def _as_transformed(d: Distribution) -> Distribution:
    match d:
        case LogNormal():
            return TransformedDistribution(Normal(d.loc, d.scale).expand(d.batch_shape), ExpTransform())
        case Independent(base_dist=LogNormal() as inner, reinterpreted_batch_ndims=n):
            normal = Normal(inner.loc, inner.scale).expand(inner.batch_shape)
            return TransformedDistribution(normal.to_event(n), ExpTransform())
    return d


def _as_log_normal(d: Distribution) -> Distribution:
    """The exponential of a normal draw, by its own name."""
    if not isinstance(d, TransformedDistribution) or _core(d.transform) != ExpTransform():
        return d
    match d.base_dist:
        case Normal() as normal:
            return LogNormal(normal.loc, normal.scale).expand(d.batch_shape)
        case Independent(base_dist=Normal() as normal, reinterpreted_batch_ndims=n):
            return LogNormal(normal.loc, normal.scale).expand(normal.batch_shape).to_event(n)
    return d


def _core(transform: Transform) -> Transform:
    """The transform of one element, whatever axes are read as events."""
    return _core(transform.base) if isinstance(transform, IndependentTransform) else transform


def _find_independent(q: Independent, p: Independent) -> Found:
    shared = min(q.reinterpreted_batch_ndims, p.reinterpreted_batch_ndims)
    inner_q, inner_p = _peel(q, shared), _peel(p, shared)
    inner = _find(inner_q, inner_p)
    if inner is None:
        return None
    batch = np.broadcast_shapes(inner_q.batch_shape, inner_p.batch_shape)
    return lambda: sum_last(broadcast(inner(), batch), shared)


def _peel(d: Independent, n: int) -> Distribution:
    return d.base_dist.to_event(d.reinterpreted_batch_ndims - n)


# -- one exponential family ---------------------------------------------------------------------------


def _same_exponential_family(q: Distribution, p: Distribution) -> bool:
    first, second = q.exponential_family, p.exponential_family
    if first is None or second is None or first.family is not second.family:
        return False
    return all(_equal(value, second.fixed[name]) for name, value in first.fixed.items())


def _exponential_family(q: Distribution, p: Distribution) -> Array:
    """The Bregman divergence of the log normalizer. Near equality it has the absolute error of A, some 1e-16 of it."""
    record = q.exponential_family
    eta, other = record.natural(q), record.natural(p)
    away = tuple(b - a for a, b in zip(eta, other, strict=True))
    energy = record.inner(away, record.mean_parameters(*eta))
    return record.log_normalizer(*other) - record.log_normalizer(*eta) - energy


def _exp_gap(x: Array) -> Array:
    """`exp(x) - 1 - x`."""
    return np.expm1(x) - x


# -- the table ----------------------------------------------------------------------------------------


@register_kl(LogitNormal, LogitNormal)
@register_kl(LogNormal, LogNormal)
@register_kl(Normal, Normal)
def _normal(q, p):
    shift = (q.loc - p.loc) / p.scale
    return 0.5 * (_exp_gap(2.0 * np.log(q.scale / p.scale)) + shift * shift)


@register_kl(GaussianRandomWalk, GaussianRandomWalk)
@register_kl(ZeroSumNormal, ZeroSumNormal)
def _normal_scale(q, p):
    dimensions = q._dimensions if isinstance(q, ZeroSumNormal) else q.num_steps
    return 0.5 * dimensions * _exp_gap(2.0 * np.log(q.scale / p.scale))


@register_kl(Cauchy, Cauchy)
def _cauchy(q, p):
    """Chyzak and Nielsen, A closed-form formula for the Kullback-Leibler divergence between Cauchy distributions."""
    apart, wider = q.loc - p.loc, q.scale - p.scale
    return np.log1p((apart * apart + wider * wider) / (4.0 * q.scale * p.scale))


@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy(q, p):
    """As of the whole ones: both densities are twice as high."""
    wider = q.scale - p.scale
    return np.log1p(wider * wider / (4.0 * q.scale * p.scale))


@register_kl(AsymmetricLaplace, AsymmetricLaplace)
def _asymmetric_laplace(q, p):
    """Of equal locations: which side a draw is on, and two exponentials. Then what a shift adds, from its own side."""
    (left, right), (p_left, p_right) = q._sides(), p._sides()
    total, p_total, shift = left + right, p_left + p_right, p.loc - q.loc
    sides = xlogx_gap(left / total, p_left / p_total) + xlogx_gap(right / total, p_right / p_total)
    exponentials = (left * _exp_gap(np.log(left / p_left)) + right * _exp_gap(np.log(right / p_right))) / total
    side, tilt = agreeing(shift, right, left), (left / p_left - right / p_right) / total
    bent = (1.0 / p_left + 1.0 / p_right) * (side * side / total) * _exp_gap(-np.abs(shift) / side)
    return sides + exponentials + bent + shift * tilt


@register_kl(Laplace, Laplace)
def _laplace(q, p):
    log_ratio, distance = np.log(q.scale / p.scale), np.abs(q.loc - p.loc) / q.scale
    return _exp_gap(log_ratio) + np.exp(log_ratio) * _exp_gap(-distance)


@register_kl(Normal, Laplace)
def _normal_laplace(q, p):
    shift = (q.loc - p.loc) / q.scale
    folded = math.sqrt(2.0 / math.pi) * np.exp(-0.5 * shift * shift) + shift * special.erf(math.sqrt(0.5) * shift)
    return q.scale * folded / p.scale + np.log(p.scale / q.scale) + (math.log(2.0) - 0.5 * (1.0 + _LOG_2PI))


@register_kl(Uniform, Laplace)
def _uniform_laplace(q, p):
    low, high = q.low - p.loc, q.high - p.loc
    distance = 0.5 * (high * np.abs(high) - low * np.abs(low)) / (q.high - q.low)
    return distance / p.scale + np.log(2.0 * p.scale / (q.high - q.low))


@register_kl(Gumbel, Gumbel)
def _gumbel(q, p):
    one = _like(1.0, q.scale)  # exp(-x) is a Weibull's
    return _powers_of_gammas(one, one, q.scale / p.scale, (p.loc - q.loc) / p.scale)


@register_kl(StudentT, Normal)
def _student_normal(q, p):
    shift, ratio = (q.loc - p.loc) / p.scale, q.scale / p.scale
    spread = _where_finite(q.df > 2.0, q.df, lambda df: df / (df - 2.0)) * ratio * ratio + shift * shift
    return 0.5 * (spread + _LOG_2PI) + np.log(p.scale) - q.entropy()


@register_kl(Normal, Gumbel)
def _normal_gumbel(q, p):
    z, ratio = (q.loc - p.loc) / p.scale, q.scale / p.scale
    return z + np.exp(0.5 * ratio * ratio - z) - np.log(ratio) - 0.5 * (1.0 + _LOG_2PI)


@register_kl(Pareto, Pareto)
def _pareto(q, p):
    higher = q.scale >= p.scale
    climb = p.alpha * np.log(np.where(higher, q.scale / p.scale, 1.0))
    return np.where(higher, _exp_gap(np.log(p.alpha / q.alpha)) + climb, np.inf)


@register_kl(Uniform, Pareto)
def _uniform_pareto(q, p):
    above = q.low >= p.scale
    low = np.where(above, q.low, p.scale)
    high = np.where(above, q.high, low + 1.0)
    energy = (p.alpha + 1.0) * _mean_log(low, high) - p.alpha * np.log(p.scale) - np.log(p.alpha)
    return np.where(above, energy - np.log(high - low), np.inf)


@register_kl(Wald, Wald)
def _wald(q, p):
    mean, ratio = q.mean, (q.mean - p.mean) / p.mean
    return 0.5 * (_exp_gap(np.log(p.concentration / q.concentration)) + p.concentration * ratio * ratio / mean)


@register_kl(Levy, Levy, alike=lambda d: d.loc)
def _levy(q, p):
    return 0.5 * _exp_gap(np.log(p.scale / q.scale))  # 1 / (x - loc) is a gamma draw


@register_kl(Kumaraswamy, Kumaraswamy, alike=lambda d: d.concentration1)
def _kumaraswamy(q, p):
    return _exp_gap(np.log(p.concentration0 / q.concentration0))  # -log(1 - x^a) is an exponential draw


@register_kl(Gompertz, Gompertz, alike=lambda d: d.rate)
def _gompertz(q, p):
    return _exp_gap(np.log(p.concentration / q.concentration))  # exp(rate x) - 1 is an exponential draw


@register_kl(VonMises, VonMises)
def _von_mises(q, p):
    k, j, half = q.concentration, p.concentration, np.sin(0.5 * (q.loc - p.loc))
    spread = circular_variance(k)
    turned = (j - k) * spread + 2.0 * j * (1.0 - spread) * half * half
    return np.log(special.i0e(j) / special.i0e(k)) + turned


@register_kl(Beta, Beta)
def _beta(q, p):
    return _betas(q.concentration1, q.concentration0, p.concentration1, p.concentration0)


def _betas(a, b, c, d):
    """Of beta draws with shapes a and b, and c and d."""
    n, m = a + b, c + d
    return _share(a, c, b, n, m) + _share(b, d, a, n, m) - binet_gap(m, n)


def _share(a, b, rest, n, m):
    """The part of one component in the divergence of two Dirichlet draws, of totals n and m, and n less a as `rest`.

    `gammaln_gap(b, a)` of every component, less that of the totals, each split by Stirling's formula; the terms of
    one kind, joined over the components, are then positive again, so that nothing cancels.
    """
    grown = a * (m / n)
    half = xlogx_gap(a, b) * (rest / (a * n)) + xlogx_gap(grown, b) / m
    return xlogx_gap(b, grown) + 0.5 * half + binet_gap(b, a)


@register_kl(Uniform, Beta)
def _uniform_beta(q, p):
    inside = (q.low >= 0.0) & (q.high <= 1.0)
    low, high = np.where(inside, q.low, 0.0), np.where(inside, q.high, 1.0)
    log_x, log_rest = _mean_log(low, high), _mean_log(1.0 - high, 1.0 - low)
    a, b = p.concentration1, p.concentration0
    rest = special.betaln(a, b) - (a - 1.0) * log_x - (b - 1.0) * log_rest
    return np.where(inside, rest - np.log(high - low), np.inf)


def _mean_log(low, high):
    """`E[log x]` of a uniform draw, `low` not below 0."""
    return (special.xlogy(high, high) - special.xlogy(low, low)) / (high - low) - 1.0


@register_kl(Uniform, Uniform)
def _uniform(q, p):
    inside = (p.low <= q.low) & (q.high <= p.high)
    return np.where(inside, np.log((p.high - p.low) / (q.high - q.low)), np.inf)


@register_kl(LogUniform, LogUniform)
def _log_uniform(q, p):
    inside = (p.low <= q.low) & (q.high <= p.high)
    return np.where(inside, np.log(np.log(p.high / p.low) / np.log(q.high / q.low)), np.inf)


@register_kl(DiscreteUniform, DiscreteUniform)
def _discrete_uniform(q, p):
    inside = (p.low <= q.low) & (q.high <= p.high)
    return np.where(inside, np.log((p.high - p.low + 1.0) / (q.high - q.low + 1.0)), np.inf)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(q, p):
    return xlogx_gap(q.probs, p.probs) + xlogx_gap(q._failure, p._failure)


@register_kl(Bernoulli, Poisson)
def _coin_and_poisson(q, p):
    return xlogx_gap(q.probs, p.rate) + xlogx_gap(q._failure, 1.0)


@register_kl(Geometric, Geometric)
def _geometric(q, p):
    return _bernoulli(q, p) / q.probs


@register_kl(Binomial, Binomial, alike=lambda d: d.total_count)
def _binomial(q, p):
    return q.total_count * _bernoulli(q, p)


@register_kl(_Failures, _Failures, alike=lambda d: d._size)
def _negative_binomial(q, p):
    m, n, r = q._mean(), p._mean(), q._size
    grown = (m + r) / (n + r)
    return xlogx_gap(m, n * grown) + xlogx_gap(r, r * grown)


@register_kl(Multinomial, Multinomial, alike=lambda d: d.total_count)
def _multinomial(q, p):
    return q.total_count * _categorical(q, p)


@register_kl(Poisson, Poisson)
def _poisson(q, p):
    return xlogx_gap(q.rate, p.rate)


@register_kl(Categorical, Categorical, alike=lambda d: d._number)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(q, p):
    return np.sum(xlogx_gap(q.probs, p.probs), axis=-1)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(q, p):
    a, b = q.concentration, p.concentration
    n, m = (np.sum(x, axis=-1)[..., None] for x in (a, b))
    return np.sum(_share(a, b, n - a, n, m), axis=-1) - binet_gap(m, n)[..., 0]


# -- matrices -----------------------------------------------------------------------------------------


def _ratio_of_trils(q_tril, p_tril):
    """`P^-1 Q` for lower triangular Q and P."""
    n = np.shape(q_tril)[-1]
    batch = np.broadcast_shapes(np.shape(q_tril)[:-2], np.shape(p_tril)[:-2])
    return triangular_solve(*(broadcast(x, (*batch, n, n)) for x in (p_tril, q_tril)))


def _gap_of_ratio(ratio):
    """Of `M = R R'` for triangular R: `tr(M) - n - log |M|`, and `log |M|`."""
    logs, below = _diagonal_and_below(ratio)
    return np.sum(_exp_gap(logs), axis=-1) + below, np.sum(logs, axis=-1)


def _diagonal_and_below(ratio):
    """Of a triangular matrix: the logarithms of its squared diagonal, and the sum of squares below that."""
    below = ratio * np.tri(np.shape(ratio)[-1], k=-1, dtype=float_type(ratio))
    return 2.0 * np.log(np.diagonal(ratio, axis1=-2, axis2=-1)), np.sum(below * below, axis=(-2, -1))


@register_kl(WishartCholesky, WishartCholesky)
@register_kl(InverseWishart, InverseWishart)
@register_kl(Wishart, Wishart)
def _wishart(q, p):
    """Of the factor and of the inverse too, which are functions of a draw and back.

    By Bartlett's factor: gamma draws on its diagonal, of shapes that fall by a half, and normal ones below. Only trace
    and determinant of the ratio of scales matter, so any triangular ratio with these will do.
    """
    first, second = (p, q) if isinstance(q, InverseWishart) else (q, p)
    logs, below = _diagonal_and_below(_ratio_of_trils(first.scale_tril, second.scale_tril))
    diagonal = _gammas(0.5 * q._degrees, 0.5 * p._degrees, logs)
    before = 0.5 * np.arange(np.shape(logs)[-1], dtype=float_type(logs))
    return np.sum(diagonal + before * _exp_gap(logs), axis=-1) + 0.5 * q.concentration * below


@register_kl(MatrixNormal, MatrixNormal)
def _matrix_normal(q, p):
    n, m = q.event_shape
    (rows, log_rows), (columns, log_columns) = (
        _gap_of_ratio(_ratio_of_trils(getattr(q, name), getattr(p, name)))
        for name in ("scale_tril_row", "scale_tril_column")
    )
    across = solve_rows(p.scale_tril_column, q.loc - p.loc)
    z = solve_rows(p.scale_tril_row, transpose(across))
    both = n * columns + m * rows + (rows + log_rows) * (columns + log_columns)
    return 0.5 * (both + np.sum(z * z, axis=(-2, -1)))


@register_kl(LKJCholesky, LKJCholesky)
@register_kl(LKJ, LKJ)
def _correlations(q, p):
    """The squared diagonal of a factor is made of independent betas, and nothing else tells q from p."""
    half = 0.5 * q._rows
    return np.sum(_betas(q._shapes, half, p._shapes, half), axis=-1)


@register_kl(LogisticNormal, LogisticNormal)
def _logistic_normal(q, p):
    divergence = _find(*(d.log_ratios.expand(d.batch_shape) for d in (q, p)))
    assert divergence is not None
    return divergence()


# -- powers of gamma draws ------------------------------------------------------------------------------
#
# `x = scale g^(1 / power)` with g from Gamma(concentration, 1), Stacy's generalized gamma. The power of a
# type is a number, or positive.

_GENERALIZED_GAMMA: dict[type[Distribution], Callable[[Any], tuple[Array, Array, Array]]] = {
    Gamma: lambda d: (d.concentration, 1.0, 1.0 / d.rate),
    Exponential: lambda d: (_like(1.0, d.rate), 1.0, 1.0 / d.rate),
    Chi2: lambda d: (0.5 * d.df, 1.0, _like(2.0, d.df)),
    InverseGamma: lambda d: (d.concentration, -1.0, d.rate),
    Weibull: lambda d: (_like(1.0, d.scale), d.concentration, d.scale),
    HalfNormal: lambda d: (_like(0.5, d.scale), 2.0, d.scale * math.sqrt(2.0)),
    Rayleigh: lambda d: (_like(1.0, d.scale), 2.0, d.scale * math.sqrt(2.0)),
}


def _like(number: float, x: Array) -> np.floating:
    """A number in the floating type of x, which scipy's functions would take for double."""
    return float_type(x).type(number)


def _generalized_gamma(q, p):
    (a, k, s), (b, j, t) = (_entry(_GENERALIZED_GAMMA, d)(d) for d in (q, p))
    log_ratio = j * np.log(s / t)
    if isinstance(k, float) and isinstance(j, float) and k == j:
        return _gammas(a, b, log_ratio)
    ratio = j / k
    return _powers_of_gammas(a, b, _like(ratio, log_ratio) if isinstance(ratio, float) else ratio, log_ratio)


def _gammas(a, b, c):
    """Of gamma draws with shapes a and b, and c the logarithm of the ratio of their scales. Each term is positive."""
    return b * _exp_gap(c + np.log(a / b)) + 0.5 * xlogx_gap(a, b) / a + binet_gap(b, a)


def _powers_of_gammas(a, b, r, c):
    """Of concentrations a and b, the ratio r of the powers, and `c = log((s / t)^j)` of the scales s and t.

    As of gamma draws, with the mean of `(x / t)^j` in place of `a s / t`. Where one power is negative that mean is of
    order r < 0, and infinite below -a.
    """
    finite = a + r > 0.0
    moved = gammaln_gap(np.where(finite, a + r, a + 1.0), a + 1.0)
    grown = c + np.log(a / b) + (r - 1.0) * special.digamma(a + 1.0) + moved
    bent = moved - 0.5 * (r - 1.0) * (r - 1.0) / a
    square = b * r * r
    found = b * (_exp_gap(grown) + bent) + 0.5 * xlogx_gap(a, square) / a + binet_gap(b, a)
    return np.where(finite, found, np.inf)


@register_kl(NormalGamma, NormalGamma)
def _normal_gamma(q, p):
    away = q.loc - p.loc
    given = _exp_gap(np.log(p.count / q.count)) + p.count * away * away * (q.concentration / q.rate)
    return 0.5 * given + _generalized_gamma(q.precision, p.precision)


# -- normal vectors ---------------------------------------------------------------------------------------
#
# A covariance is `F F' + diag(d)`, either of which may be missing.


def _is_normal_vector(d: Distribution) -> bool:
    if isinstance(d, Independent):
        return d.reinterpreted_batch_ndims == 1 and type(d.base_dist) is Normal
    return isinstance(d, (MultivariateNormal, LowRankMultivariateNormal))


def _tril(d):
    """The Cholesky factor of the covariance, of independent elements too."""
    if isinstance(d, Independent):
        scale = broadcast(d.base_dist.scale, d.base_dist.batch_shape)
        return scale[..., None] * np.eye(d.event_shape[0], dtype=float_type(scale))
    return d.scale_tril


def _normal_vectors(q, p):
    if isinstance(p, LowRankMultivariateNormal) or (isinstance(q, LowRankMultivariateNormal) and _is_diagonal(p)):
        return _low_rank_normal(q, p)
    n = q.event_shape[0]
    if _is_diagonal(p):
        ratio = q.scale_tril / broadcast(p.base_dist.scale, p.base_dist.batch_shape)[..., None]
        shift = (q.loc - p.base_dist.loc) / p.base_dist.scale
        squares = np.sum(shift * shift, axis=-1)
    else:
        batch = np.broadcast_shapes(np.shape(p.scale_tril)[:-2], np.shape(_tril(q))[:-2])
        ratio = triangular_solve(*(broadcast(x, (*batch, n, n)) for x in (p.scale_tril, _tril(q))))
        squares = squared_distance(p.scale_tril, p.loc - q.mean)
    return 0.5 * (_gap_of_ratio(ratio)[0] + squares)


register_kl(MultivariateNormal, MultivariateNormal)(_normal_vectors)


def _is_diagonal(d):
    return isinstance(d, Independent)


def _half_log_det(d):
    if isinstance(d, LowRankMultivariateNormal):
        return d._half_log_det
    if isinstance(d, Independent):
        return np.sum(broadcast(np.log(d.base_dist.scale), d.base_dist.batch_shape), axis=-1)
    return log_diagonal(d.scale_tril)


def _low_rank_normal(q, p):
    """In time linear in the dimension where both are of low rank (Woodbury); no gaps, so digits of the terms."""
    n, shift = q.event_shape[0], q.mean - p.mean
    if _is_diagonal(p):
        spread = np.sum((q.variance + shift * shift) / p.variance, axis=-1)
    else:
        scaled = np.swapaxes(p.cov_factor / p.cov_diag[..., None], -2, -1)
        tril = p._capacitance_tril
        batch = np.broadcast_shapes(np.shape(tril)[:-2], np.shape(scaled)[:-2])
        rank = np.shape(tril)[-1]
        # |inner F|^2 is what the factor takes off `tr(D^-1 F F')`.
        inner = triangular_solve(broadcast(tril, (*batch, rank, rank)), broadcast(scaled, (*batch, rank, n)))
        along = np.sum(inner * shift[..., None, :], axis=-1)
        taken = np.sum(along * along, axis=-1) + _spread_along(inner, q)
        spread = np.sum((q.variance + shift * shift) / p.cov_diag, axis=-1) - taken
    return 0.5 * (spread - n) + _half_log_det(p) - _half_log_det(q)


def _spread_along(rows, q):
    """`tr(M S M')` for the covariance S of q."""
    if isinstance(q, Independent):
        return np.sum(rows * rows * q.variance[..., None, :], axis=(-2, -1))
    factor = q.cov_factor if isinstance(q, LowRankMultivariateNormal) else q.scale_tril
    mixed = np.matmul(rows, factor)
    spread = np.sum(mixed * mixed, axis=(-2, -1))
    if isinstance(q, LowRankMultivariateNormal):
        spread = spread + np.sum(rows * rows * q.cov_diag[..., None, :], axis=(-2, -1))
    return spread


# -- what is normal, given by a rule ------------------------------------------------------------------------


def _is_gaussian(d: Distribution) -> bool:
    """Is a draw a linear function of standard normal noise, with a density over all its elements?"""
    if isinstance(d, Independent):
        return type(d.core) is Normal and not isinstance(d.base_dist, Independent)
    return isinstance(d, (GaussianRandomWalk, GaussianStateSpace, AR, CAR)) or _is_normal_vector(d)


def _gaussians(q, p):
    """A normal log density is quadratic: its mean follows from its values at m and at m plus and minus each column
    of F, for draws m + F e of q."""
    batch = len(q.batch_shape)
    own = q.noise_shape[batch:]
    n = math.prod(own)
    units = np.reshape(np.eye(n, dtype=float_type(q.mean)), (n, *(1,) * batch, *own))
    m = q.mean
    columns = q.from_noise(broadcast(units, (n, *q.noise_shape))) - m
    here = p.log_prob_inside(m)
    bends = p.log_prob_inside(m + columns) + p.log_prob_inside(m - columns) - 2.0 * here
    return -q.entropy() - here - 0.5 * np.sum(bends, axis=0)


# -- families of finitely many numbers ------------------------------------------------------------------------

_MOST_STATES = 1000


def _find_finite(q: Distribution, p: Distribution) -> Found:
    """A sum over the values of q."""
    if q.event_shape or not (q.is_discrete and p.is_discrete and q.has("enumerate_support") and p.has("sample")):
        return None
    try:
        states = q.enumerate_support(expand=False)
    except ModelError:  # as where the bounds depend on draws
        return None
    if len(states) > _MOST_STATES:
        return None
    axes = (1,) * max(len(p.batch_shape) - len(q.batch_shape), 0)
    states = np.reshape(states, (len(states), *axes, *np.shape(states)[1:]))

    def divergence():
        log_q, log_p = q.log_prob(states), p.log_prob(states)
        possible = log_q > -np.inf
        log_q = np.where(possible, log_q, 0.0)
        each = np.exp(log_q) * (log_q - np.where(possible, log_p, 0.0))
        return np.sum(np.where(possible, each, 0.0), axis=0)

    return divergence


# -- by moments: `KL(q, p) = -H(q) - E_q[log p]` ----------------------------------------------------------


@dataclass(frozen=True)
class _Moments:
    """Of a positive draw: mean and variance of its logarithm, and `E[x^k]`."""

    log_mean: Array
    log_variance: Array
    power: Callable[[Array], Array]


def _moments_of_power(d):
    a, k, s = _entry(_GENERALIZED_GAMMA, d)(d)
    return _Moments(
        np.log(s) + special.digamma(a) / k,
        special.zeta(2.0, a) / (k * k),
        lambda n: _where_finite(
            a + n / k > 0.0, a + n / k, lambda b: np.exp(special.gammaln(b) - special.gammaln(a)) * np.power(s, n)
        ),
    )


def _moments_of_log_normal(d):
    square = d.scale * d.scale
    return _Moments(d.loc, square, lambda n: np.exp(n * d.loc + 0.5 * n * n * square))


def _moments_of_pareto(d):
    return _Moments(
        np.log(d.scale) + 1.0 / d.alpha,
        1.0 / (d.alpha * d.alpha),
        lambda n: _where_finite(d.alpha > n, d.alpha - n, lambda rest: d.alpha * np.power(d.scale, n) / rest),
    )


def _moments_of_log_uniform(d):
    width = np.log(d.high / d.low)
    return _Moments(
        0.5 * (np.log(d.low) + np.log(d.high)),
        width * width / 12.0,
        lambda n: (np.power(d.high, n) - np.power(d.low, n)) / (n * width),
    )


def _moments_of_beta(d):
    a, b = d.concentration1, d.concentration0
    return _Moments(
        special.digamma(a) - special.digamma(a + b),
        special.zeta(2.0, a) - special.zeta(2.0, a + b),
        lambda n: _where_finite(
            a + n > 0.0, a + n, lambda more: np.exp(special.betaln(more, b) - special.betaln(a, b))
        ),
    )


def _moments_of_uniform(d):
    """Of one whose bounds are not below 0."""
    low, high = np.maximum(d.low, 0.0), np.maximum(d.high, 0.0)
    width = high - low

    def mean(integral):
        return (integral(high) - integral(low)) / width

    first = mean(lambda x: special.xlogy(x, x) - x)
    squares = mean(lambda x: special.xlogy(x, x) * np.log(np.maximum(x, 1e-300)) - 2.0 * (special.xlogy(x, x) - x))

    def power(n):
        if isinstance(n, float) and n == -1.0:
            return _where_finite(low > 0.0, low, lambda low: (np.log(high) - np.log(low)) / width)
        return _where_finite(
            (n > -1.0) | (low > 0.0), n + 1.0 + 0.0 * low, lambda k: mean(lambda x: np.power(x, k) / k)
        )

    return _Moments(first, squares - first * first, power)


def _where_finite(known, x, formula):
    """A formula where it holds, infinite elsewhere; never asked elsewhere."""
    return np.where(known, formula(np.where(known, x, 3.0)), np.inf)


_POSITIVE: dict[type[Distribution], Callable[[Any], _Moments]] = {
    **dict.fromkeys(_GENERALIZED_GAMMA, _moments_of_power),
    LogNormal: _moments_of_log_normal,
    Pareto: _moments_of_pareto,
    LogUniform: _moments_of_log_uniform,
    Beta: _moments_of_beta,
    Uniform: _moments_of_uniform,
}


def _find_by_moments(q: Distribution, p: Distribution) -> Found:
    if q.event_shape or q.is_discrete or not q.has("entropy"):
        return None
    if type(p) is Normal and q.has("mean") and q.has("variance") and not isinstance(q, VonMises):
        return lambda: _against_normal(q, p)  # a von Mises's mean and variance are those of a circle
    if type(p) is Gumbel and _entry(_EXPONENTIAL_MEANS, q):
        return lambda: _against_gumbel(q, p)
    if type(p) is TruncatedNormal and q.has("mean") and q.has("variance") and not isinstance(q, VonMises):
        limits = constraints.bounds(q.support) or (-np.inf, np.inf)
        open_ends = (p.low is not None and np.any(limits[0] == -np.inf)) or (
            p.high is not None and np.any(limits[1] == np.inf)
        )
        return None if open_ends else lambda: _against_truncated_normal(q, p, limits)
    if type(p) is Uniform:
        limits = constraints.bounds(q.support)
        bounded = limits is not None and np.all(np.isfinite(limits[0]) & np.isfinite(limits[1]))
        return (lambda: _against_uniform(q, p, limits)) if bounded else None  # else infinite: a bound samples it
    if _entry(_POSITIVE, q) and _entry(_GENERALIZED_GAMMA, p):
        return lambda: _if_positive(q, _against_power(q, p))
    if _entry(_POSITIVE, q) and type(p) is LogNormal:
        return lambda: _if_positive(q, _against_log_normal(q, p))
    return None


def _against_normal(q, p):
    shift = q.mean - p.loc
    spread = (q.variance + shift * shift) / (p.scale * p.scale)
    return 0.5 * (spread + _LOG_2PI) + np.log(p.scale) - q.entropy()


def _against_truncated_normal(q, p, limits):
    inside = True
    for end, bound, sign in ((p.low, limits[0], 1.0), (p.high, limits[1], -1.0)):
        if end is not None:
            inside = inside & (sign * bound >= sign * end)
    mode = p._mode()
    shift, top = (q.mean - p.loc) / p.scale, (mode - p.loc) / p.scale
    drop = 0.5 * (q.variance / (p.scale * p.scale) + (shift - top) * (shift + top))
    return np.where(inside, drop + np.log(p.scale) + p._log_mass() - q.entropy(), np.inf)


# `E[exp(-t x)]` of a draw, for t > 0.
_EXPONENTIAL_MEANS: dict[type[Distribution], Callable[[Any, Array], Array]] = {
    Uniform: lambda d, t: np.exp(-t * d.low) * -np.expm1(-t * (d.high - d.low)) / (t * (d.high - d.low)),
    Laplace: lambda d, t: _where_finite(
        t * d.scale < 1.0, 1.0 - t * t * d.scale * d.scale, lambda rest: np.exp(-t * d.loc) / rest
    ),
    Logistic: lambda d, t: _where_finite(
        t * d.scale < 1.0, t * d.scale, lambda s: np.exp(-t * d.loc) * (math.pi * s) / np.sin(math.pi * s)
    ),
    Exponential: lambda d, t: d.rate / (d.rate + t),
    Gamma: lambda d, t: np.exp(-d.concentration * np.log1p(t / d.rate)),
}


def _against_gumbel(q, p):
    moment = _entry(_EXPONENTIAL_MEANS, q)(q, 1.0 / p.scale)
    return (q.mean - p.loc) / p.scale + np.exp(p.loc / p.scale) * moment + np.log(p.scale) - q.entropy()


def _if_positive(q, found):
    """Infinite for a uniform law that reaches below 0."""
    return np.where(q.low >= 0.0, found, np.inf) if isinstance(q, Uniform) else found


def _against_uniform(q, p, limits):
    inside = (p.low <= limits[0]) & (limits[1] <= p.high)
    return np.where(inside, np.log(p.high - p.low) - q.entropy(), np.inf)


def _against_power(q, p):
    (b, j, t), moments = _entry(_GENERALIZED_GAMMA, p)(p), _entry(_POSITIVE, q)(q)
    log_power = math.log(abs(j)) if isinstance(j, float) else np.log(j)
    log_front = log_power - special.gammaln(b) - b * j * np.log(t)
    energy = moments.power(j) / np.power(t, j)
    return energy - log_front - (b * j - 1.0) * moments.log_mean - q.entropy()


def _against_log_normal(q, p):
    moments = _entry(_POSITIVE, q)(q)
    shift = moments.log_mean - p.loc
    spread = (moments.log_variance + shift * shift) / (p.scale * p.scale)
    return 0.5 * (spread + _LOG_2PI) + np.log(p.scale) + moments.log_mean - q.entropy()
