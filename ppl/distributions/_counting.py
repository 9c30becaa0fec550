"""Combinatorial terms of log masses, and quantiles by search: what the families of counts share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from ppl.array import agreeing, is_recorded
from ppl.distributions._arrays import LARGEST, as_integer, broadcast
from ppl.distributions.constraints import Array
from ppl.errors import ModelError

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def one_of(family: str, first: str, second: str, given: tuple[Array | None, Array | None]) -> dict[str, Any]:
    """The one argument given of the two, by name."""
    a, b = given
    if (a is None) == (b is None):
        raise ModelError(
            got=f"{family} with {'neither' if a is None else 'both'} of {first} and {second}",
            expected="exactly one of them",
            hint=f"{family}({first}=...) or {family}({second}=...)",
        )
    return {second: b} if a is None else {first: a}


def pick(table: Array, x: Array) -> Array:
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


def draw_poisson(rng: np.random.Generator, rates: np.ndarray) -> np.ndarray:
    """Poisson draws of rates whose counts an integer can hold."""
    if np.any(rates > LARGEST):
        raise ModelError(
            got=f"counts drawn at a rate of {np.max(rates):.3g}",
            expected="rates up to 2^62, so that counts fit into an integer",
            hint="parameters of a smaller mean, or Gamma, the continuous limit of the family",
        )
    return rng.poisson(rates)


def split_log_factorial(n: Array) -> tuple[Array, Array]:
    """`scale` and `rest` of `log n! = n log(scale) + rest`, where `rest` is no larger than n.

    A mass takes `scale` into its probabilities, so that terms of size `n log n` need not cancel: large counts keep
    their digits. Below 16 the scale is 1; from there on it is n, and the rest Stirling's series (DLMF 5.11.1), whose
    first term left out is below 2e-14.
    """
    small, large = np.minimum(n, 16.0), np.maximum(n, 16.0)
    above = 0.5 * np.log(large) + (_HALF_LOG_2PI + _stirling(large)) - large
    few = n < 16.0
    return np.where(few, 1.0, large), np.where(few, special.gammaln(small + 1.0), above)


def _stirling(n: Array) -> Array:
    """`log Gamma(n) - (n - 1 / 2) log n + n - log(2 pi) / 2` for n from 16 on."""
    r = 1.0 / n
    r2 = r * r
    return r * (1.0 / 12.0 - r2 * (1.0 / 360.0 - r2 * (1.0 / 1260.0 - r2 / 1680.0)))


def log_beta(a: Array, b: Array) -> Array:
    """`log B(a, b)`, by Stirling's series where both are large: log Gamma functions of size `a log a` would cancel."""
    p, q = np.maximum(a, 16.0), np.maximum(b, 16.0)
    powers = -p * np.log1p(q / p) - q * np.log1p(p / q) + 0.5 * np.log(1.0 / p + 1.0 / q)
    far = powers + (_HALF_LOG_2PI + _stirling(p) + _stirling(q) - _stirling(p + q))
    return agreeing(np.minimum(a, b) - 16.0, far, special.betaln(a, b))


def log_choose(x: Array, rest: Array) -> Array:
    """`log C(x + rest, x)`; the beta function keeps digits that factorials would cancel."""
    return -log_beta(x + 1.0, rest + 1.0) - np.log(x + rest + 1.0)


def log_ways(x: Array, r: Array) -> Array:
    """`log Gamma(x + r) / (x! Gamma(r))`: the ways to mix x failures among r successes, for any positive r.

    The beta function keeps digits that the three gamma functions would cancel.
    """
    return -log_beta(x + 1.0, r) - np.log(x + r)


def settled(cdf: Callable[[Array], Array], x: Array, q: Array) -> Array:
    """The least integer with `cdf(x) >= q`, from one that rounding may have put a step off."""
    return np.where(cdf(x - 1.0) >= q, x - 1.0, np.where(cdf(x) < q, x + 1.0, x))


def least_reaching(cdf: Callable[[Array], Array], q: Array, low: Array, high: Array, shape: tuple[int, ...]) -> Array:
    """The least integer x of [low, high] with `cdf(x) >= q`, by doubling steps and bisection.

    `high` may be infinite. It is the answer at q = 1, which a cdf reaches too early, by rounding. NaN for q outside
    [0, 1].
    """
    if is_recorded(q):
        raise ModelError(
            got="the quantile of a count at a probability that depends on draws or parameters",
            expected="a known probability",
            hint="d.sample(rng), or a continuous family",
        )
    q, low, high = (np.broadcast_to(np.asarray(a, float), shape) for a in (q, low, high))
    valid = (q >= 0.0) & (q <= 1.0)
    sought = valid & (q < 1.0)
    below, above, step = low - 1.0, np.where(sought, low, high), 1.0  # of those sought: x in (below, above]
    while np.any(short := sought & (above < high) & (cdf(np.where(sought, above, low)) < q)):
        below, above = np.where(short, above, below), np.where(short, np.minimum(above + step, high), above)
        step *= 2.0
    while np.any(apart := sought & (above < np.inf) & (above - below > 1.0)):
        middle = np.where(apart, np.floor(0.5 * (below + above)), low)
        reached = cdf(middle) >= q
        if np.all((middle <= below) | (middle >= above) | ~apart):  # neighbours among floats beyond 2^53
            break
        below, above = np.where(apart & ~reached, middle, below), np.where(apart & reached, middle, above)
    return np.where(valid, above, np.nan)[()]
