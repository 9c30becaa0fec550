"""Marginals of single sites: closed forms and quadrature where the guide allows, draws elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from ..distributions import Distribution, Normal, TransformedDistribution
from ..distributions.transforms import ExpTransform
from ..elbo import Finite
from ..errors import ModelError
from ..guides import NormalChain, Part


@dataclass(frozen=True)
class Marginal:
    """The approximate posterior of one site: `.mean`, `.sd` and `.quantile(q)`, in the site's shape.

    `exact` says that they are those of the guide without sampling error. Where a site of numbers was summed
    out, `probs` has the probability of each of its states along a further, last axis.
    """

    site: str
    mean: np.ndarray
    sd: np.ndarray
    exact: bool
    _quantile: Callable[[Any], np.ndarray]
    probs: np.ndarray | None = None

    def quantile(self, q: Any) -> np.ndarray:
        """Values that the site stays below with probability q; q's axes come first."""
        return self._quantile(q)

    def __repr__(self) -> str:
        return f"Marginal('{self.site}', mean={_short(self.mean)}, sd={_short(self.sd)})"


def _short(x: np.ndarray) -> str:
    return np.array2string(np.asarray(x), precision=4, threshold=6).replace("\n", "")


def from_draws(site: str, draws: np.ndarray) -> Marginal:
    """The marginal of draws along the first axis."""
    draws = np.asarray(draws, dtype=float)
    mean, sd = _known_exactly(draws, draws.mean(0), draws.std(0))
    return Marginal(site, mean, sd, False, lambda q: np.quantile(draws, _probabilities(q), axis=0))


def _known_exactly(draws: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd without rounding where all draws are the same, as for observed entries."""
    same = np.all(draws == draws[:1], axis=0)
    return np.where(same, draws[0], mean), np.where(same, 0.0, sd)


def from_weighted(site: str, draws: np.ndarray, weights: np.ndarray) -> Marginal:
    """The marginal of weighted draws along the first axis; the weights sum to one."""
    draws = np.asarray(draws, dtype=float)
    mean = np.tensordot(weights, draws, 1)
    mean, sd = _known_exactly(draws, mean, np.sqrt(np.tensordot(weights, (draws - mean) ** 2, 1)))
    return Marginal(site, mean, sd, False, lambda q: _weighted_quantile(draws, weights, _probabilities(q)))


def from_states(finite: Finite, probabilities: np.ndarray, exact: bool = False) -> Marginal:
    """The marginal of a finite site, by the probabilities (states, *axes of its batch)."""
    own = [1] * len(finite.shape)
    for a, d in zip(finite.parallel, finite.dims, strict=True):
        own[a] = probabilities.shape[d]
    by = np.clip(probabilities, 0.0, 1.0).reshape((-1, *own))
    values = finite.states.astype(float)
    mean = np.broadcast_to(np.sum(by * values, 0), finite.shape)
    sd = np.broadcast_to(np.sqrt(np.sum(by * (values - np.sum(by * values, 0)) ** 2, 0)), finite.shape)
    singles = np.unique(values)
    each = np.stack([np.broadcast_to(np.sum(by * (values == v), 0), finite.shape) for v in singles], -1)
    return Marginal(finite.name, mean, sd, exact, _quantile_of_states(singles, each), each)


def from_categories(site: str, q: Distribution) -> Marginal:
    """The marginal of a guide distribution over finitely many numbers."""
    singles = np.ravel(q._enumerate()).astype(float)
    each = np.stack([np.exp(q.log_prob(np.full(q.shape(), v))) for v in singles.astype(int)], -1)
    mean = each @ singles
    sd = np.sqrt(np.maximum(each @ singles**2 - mean**2, 0.0))
    return Marginal(site, mean, sd, True, _quantile_of_states(singles, each), each)


def _quantile_of_states(singles: np.ndarray, each: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Quantiles of sites whose states have these probabilities, along the last axis."""

    def quantile(q: Any) -> np.ndarray:
        q = _probabilities(q)
        reached = np.cumsum(each, axis=-1) >= q.reshape((*q.shape, *(1,) * each.ndim)) - 1e-12
        return singles[np.argmax(reached, axis=-1)]

    return quantile


def from_chain(site: str, q: Distribution, part: Part, shape: tuple[int, ...], draws: Callable) -> Marginal:
    """The marginal of a site in a chain of the guide."""
    if isinstance(q, NormalChain):
        loc, variance = (np.asarray(part.of(np.asarray(x), shape)) for x in (q.mean, q.variance))
        return from_gaussian(site, loc, np.sqrt(variance), None)
    probs = np.moveaxis(np.asarray(q.marginals()), -1, 0)
    each = np.stack([part.of(p, shape) for p in probs])
    finite = Finite(site, shape, np.arange(len(each)).reshape(-1, *(1,) * len(shape)), tuple(range(-len(shape), 0)), 0)
    return from_states(finite, each, True)


def _weighted_quantile(draws: np.ndarray, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Quantiles by the middle of each draw's weight, interpolated."""
    flat = draws.reshape(len(draws), -1)
    order = np.argsort(flat, axis=0)
    values, by = np.take_along_axis(flat, order, 0), weights[order]
    middle = np.cumsum(by, axis=0) - 0.5 * by
    columns = [np.interp(q.ravel(), middle[:, i], values[:, i]) for i in range(flat.shape[1])]
    return np.stack(columns, axis=-1).reshape((*q.shape, *draws.shape[1:])) if columns else np.empty((*q.shape, 0))


def _probabilities(q: Any) -> np.ndarray:
    q = np.asarray(q, dtype=float)
    if not np.all((q >= 0) & (q <= 1)):
        raise ModelError(f"quantile({q})", "probabilities between 0 and 1", "quantile(0.95)")
    return q


def from_gaussian(site: str, loc: np.ndarray, sd: np.ndarray, transform: Any | None) -> Marginal:
    """The marginal of T(Normal(loc, sd)) with a monotone elementwise T."""
    falls = False if transform is None else np.asarray(transform(loc + sd)) < np.asarray(transform(loc - sd))

    def quantile(q: Any) -> np.ndarray:
        q = np.reshape(_probabilities(q), np.shape(q) + (1,) * np.ndim(loc))
        u = loc + sd * special.ndtri(np.where(falls, 1.0 - q, q))
        return np.asarray(u if transform is None else transform(u))

    if transform is None:
        return Marginal(site, loc, sd, True, quantile)
    if isinstance(transform, ExpTransform):
        mean = np.exp(loc + 0.5 * sd * sd)
        return Marginal(site, mean, mean * np.sqrt(np.expm1(sd * sd)), True, quantile)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = (weights / weights.sum()).reshape(-1, *(1,) * np.ndim(loc))
    values = np.asarray(transform(loc + sd * nodes.reshape(-1, *(1,) * np.ndim(loc))))
    mean = np.sum(weights * values, 0)
    # 64 nodes leave an error far below that of any fit, but an error.
    return Marginal(site, mean, np.sqrt(np.sum(weights * (values - mean) ** 2, 0)), False, quantile)


def from_distribution(site: str, q: Distribution, draws: Callable[[], np.ndarray]) -> Marginal:
    """The marginal of a guide distribution with concrete parameters."""
    base, transform = q, None
    if type(q) is TransformedDistribution and len(q.transforms) == 1 and q.transforms[0].domain.event_dim == 0:
        base, transform = q.base_dist, q.transforms[0]
    base = base.core
    if isinstance(base, Normal):
        shape = q.shape()
        loc, sd = (np.broadcast_to(np.asarray(x, dtype=float), shape) for x in (base.loc, base.scale))
        return from_gaussian(site, loc, sd, transform)
    if base.is_discrete and base.has("enumerate_support") and not base.event_shape and base.shape() == q.shape():
        return from_categories(site, base)
    if q.has("mean") and q.has("variance"):
        late = _Late(site, draws)
        return Marginal(site, np.asarray(q.mean, dtype=float), np.sqrt(q.variance), True, late.quantile)
    return from_draws(site, draws())


def joined(site: str, parts: Sequence[Marginal], axis: int, count: int) -> Marginal:
    """The marginals of parts of a site, one after the other along an axis, of which there are `count` in all."""

    def whole(pieces: Sequence[np.ndarray], at: int) -> np.ndarray:
        return np.take(np.concatenate(pieces, axis=at), np.arange(count), axis=at)

    probs = None if parts[0].probs is None else whole([p.probs for p in parts], axis)
    quantile = lambda q: whole([p.quantile(q) for p in parts], axis + np.ndim(q))
    mean, sd = (whole([getattr(p, k) for p in parts], axis) for k in ("mean", "sd"))
    return Marginal(site, mean, sd, all(p.exact for p in parts), quantile, probs)


class _Late:
    """Quantiles from draws that are made when they are asked for."""

    def __init__(self, site: str, draws: Callable[[], np.ndarray]):
        self.site, self.draws = site, draws

    @cached_property
    def marginal(self) -> Marginal:
        return from_draws(self.site, self.draws())

    def quantile(self, q: Any) -> np.ndarray:
        return self.marginal.quantile(q)
