"""Kullback-Leibler divergences in closed form: a table by pairs of types.

`KL(q, p) = E_q[log q(x) - log p(x)]`, over the batch. One row is one function under
`@register_kl(Q, P)`; wrappers (independent axes, equal transforms) reduce to rows of the table.

>>> from ppl.distributions import Normal
>>> float(kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0)))
0.5
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from ppl.array import triangular_solve
from ppl.distributions import multivariate as mv
from ppl.distributions._arrays import broadcast, sum_last
from ppl.distributions.base import Distribution, Independent
from ppl.distributions.bounded import Beta, Uniform
from ppl.distributions.combinators import Delta, TransformedDistribution
from ppl.distributions.constraints import Array
from ppl.distributions.discrete import Bernoulli, Categorical, Geometric, OneHotCategorical, Poisson
from ppl.distributions.multivariate import Dirichlet, MultivariateNormal
from ppl.distributions.positive import Exponential, Gamma, HalfNormal, InverseGamma, LogNormal
from ppl.distributions.real import Laplace, Normal
from ppl.distributions.transforms import ExpTransform, IndependentTransform, Transform
from ppl.errors import ModelError

Rule = Callable[..., Array]

_RULES: dict[tuple[type, type], Rule] = {}


def register_kl(q_type: type[Distribution], p_type: type[Distribution]) -> Callable[[Rule], Rule]:
    """Put a function `(q, p) -> KL` into the table, for q and p of these types."""

    def register(rule: Rule) -> Rule:
        _RULES[q_type, p_type] = rule
        return rule

    return register


def kl_divergence(q: Distribution, p: Distribution) -> Array:
    """`E_q[log q - log p]` over the batch, in closed form; ModelError where none is known."""
    divergence = _find(q, p)
    if divergence is None:
        raise ModelError(
            got=f"KL({type(q).__name__}, {type(p).__name__})",
            expected="a pair with a known closed form",
            hint="has_kl(q, p) first, or the average of q.log_prob(x) - p.log_prob(x) over draws x of q",
        )
    return broadcast(divergence(), np.broadcast_shapes(q.batch_shape, p.batch_shape))


def has_kl(q: Distribution, p: Distribution) -> bool:
    """Whether `kl_divergence(q, p)` is known.

    >>> from ppl.distributions import Cauchy, Normal
    >>> has_kl(Normal(), Normal()), has_kl(Normal(), Cauchy())
    (True, False)
    """
    return _find(q, p) is not None


def _find(q: Distribution, p: Distribution) -> Callable[[], Array] | None:
    """The divergence, not yet computed, or None."""
    if q.event_shape != p.event_shape:
        return None
    if isinstance(q, Delta):
        return lambda: q.log_density - p.log_prob(q.v)
    rule = _RULES.get((type(q), type(p)))
    if rule is not None:
        return lambda: rule(q, p)
    if isinstance(q, TransformedDistribution) or isinstance(p, TransformedDistribution):
        return _find_transformed(q, p)
    if isinstance(p, Independent) and isinstance(q, Independent):
        return _find_independent(q, p)
    if isinstance(q, MultivariateNormal) and _is_normal_vector(p):
        return lambda: _multivariate_normal_independent(q, p)
    return None


def _is_normal_vector(d: Distribution) -> bool:
    return isinstance(d, Independent) and d.reinterpreted_batch_ndims == 1 and type(d.base_dist) is Normal


def _find_transformed(q: Distribution, p: Distribution) -> Callable[[], Array] | None:
    """A bijection common to both changes nothing: `KL(t(x), t(y)) = KL(x, y)`."""
    q, p = _as_transformed(q), _as_transformed(p)
    if not (isinstance(q, TransformedDistribution) and isinstance(p, TransformedDistribution)):
        return None
    return _find(q.base_dist, p.base_dist) if _core(q.transform) == _core(p.transform) else None


def _as_transformed(d: Distribution) -> Distribution:
    match d:
        case LogNormal():
            return TransformedDistribution(Normal(d.loc, d.scale).expand(d.batch_shape), ExpTransform())
        case Independent(base_dist=LogNormal() as inner, reinterpreted_batch_ndims=n):
            normal = Normal(inner.loc, inner.scale).expand(inner.batch_shape)
            return TransformedDistribution(normal.to_event(n), ExpTransform())
    return d


def _core(transform: Transform) -> Transform:
    """The transform of one element, whatever axes are read as events."""
    return _core(transform.base) if isinstance(transform, IndependentTransform) else transform


def _find_independent(q: Independent, p: Independent) -> Callable[[], Array] | None:
    shared = min(q.reinterpreted_batch_ndims, p.reinterpreted_batch_ndims)
    inner_q, inner_p = _peel(q, shared), _peel(p, shared)
    inner = _find(inner_q, inner_p)
    if inner is None:
        return None
    batch = np.broadcast_shapes(inner_q.batch_shape, inner_p.batch_shape)
    return lambda: sum_last(broadcast(inner(), batch), shared)


def _peel(d: Independent, n: int) -> Distribution:
    return d.base_dist.to_event(d.reinterpreted_batch_ndims - n)


# -- the table -------------------------------------------------------------------------------------


@register_kl(Normal, Normal)
def _normal(q, p):
    ratio, shift = q.scale / p.scale, (q.loc - p.loc) / p.scale
    return 0.5 * (ratio * ratio + shift * shift - 1.0) - np.log(ratio)


@register_kl(LogNormal, LogNormal)
def _log_normal(q, p):
    return _normal(q, p)


@register_kl(HalfNormal, HalfNormal)
def _half_normal(q, p):
    ratio = q.scale / p.scale
    return 0.5 * (ratio * ratio - 1.0) - np.log(ratio)


@register_kl(Laplace, Laplace)
def _laplace(q, p):
    distance, ratio = np.abs(q.loc - p.loc) / p.scale, q.scale / p.scale
    return ratio * np.exp(-distance / ratio) + distance - np.log(ratio) - 1.0


@register_kl(Exponential, Exponential)
def _exponential(q, p):
    ratio = p.rate / q.rate
    return ratio - 1.0 - np.log(ratio)


@register_kl(Gamma, Gamma)
def _gamma(q, p):
    return _gamma_formula(q.concentration, q.rate, p.concentration, p.rate)


@register_kl(Exponential, Gamma)
def _exponential_gamma(q, p):
    return _gamma_formula(1.0, q.rate, p.concentration, p.rate)


@register_kl(Gamma, Exponential)
def _gamma_exponential(q, p):
    return _gamma_formula(q.concentration, q.rate, 1.0, p.rate)


@register_kl(InverseGamma, InverseGamma)
def _inverse_gamma(q, p):
    return _gamma(q, p)  # one over a draw is a bijection


def _gamma_formula(a_q, b_q, a_p, b_p):
    ratio = b_p / b_q
    return (
        (a_q - a_p) * special.digamma(a_q)
        + (special.gammaln(a_p) - special.gammaln(a_q))
        - a_p * np.log(ratio)
        + a_q * (ratio - 1.0)
    )


@register_kl(Beta, Beta)
def _beta(q, p):
    a, b = q.concentration1, q.concentration0
    more1, more0 = a - p.concentration1, b - p.concentration0
    return (
        special.betaln(p.concentration1, p.concentration0)
        - special.betaln(a, b)
        + more1 * special.digamma(a)
        + more0 * special.digamma(b)
        - (more1 + more0) * special.digamma(a + b)
    )


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(q, p):
    a, b = q.concentration, p.concentration
    log_mean = special.digamma(a) - special.digamma(np.sum(a, axis=-1))[..., None]
    return p._log_normalizer() - q._log_normalizer() + np.sum((a - b) * log_mean, axis=-1)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(q, p):
    return _relative(q.probs, p.probs) + _relative(q._failure, p._failure)


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(q, p):
    return np.sum(_relative(q.probs, p.probs), axis=-1)


def _relative(q, p):
    """`q log(q / p)`: 0 where q is 0, infinite where only p is."""
    return special.xlogy(q, q) - special.xlogy(q, p)


@register_kl(Poisson, Poisson)
def _poisson(q, p):
    return _relative(q.rate, p.rate) - q.rate + p.rate


@register_kl(Geometric, Geometric)
def _geometric(q, p):
    return _bernoulli(q, p) / q.probs


@register_kl(Uniform, Uniform)
def _uniform(q, p):
    inside = (p.low <= q.low) & (q.high <= p.high)
    return np.where(inside, np.log((p.high - p.low) / (q.high - q.low)), np.inf)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(q, p):
    n, tril = q.event_shape[0], p.scale_tril
    batch = np.broadcast_shapes(np.shape(tril)[:-2], np.shape(q.scale_tril)[:-2])
    ratio = triangular_solve(broadcast(tril, (*batch, n, n)), broadcast(q.scale_tril, (*batch, n, n)))
    spread = np.sum(ratio * ratio, axis=(-2, -1)) + mv.squared_distance(tril, p.loc - q.loc)
    return 0.5 * (spread - n) + mv.log_diagonal(tril) - mv.log_diagonal(q.scale_tril)


def _multivariate_normal_independent(q, p):
    """Against independent normals: no matrix to solve with."""
    normal = p.base_dist
    shift = q.loc - normal.loc
    precision = 1.0 / (normal.scale * normal.scale)
    log_scale = np.sum(broadcast(np.log(normal.scale), normal.batch_shape), axis=-1)
    spread = np.sum((q.variance + shift * shift) * precision, axis=-1)
    return 0.5 * (spread - q.event_shape[0]) + log_scale - mv.log_diagonal(q.scale_tril)
