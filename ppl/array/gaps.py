"""How far a convex function lies above its own tangent: `f(x) - f(y) - f'(y) (x - y)`, without cancellation.

Such gaps (Bregman divergences) are what divergences of distributions are sums of. Written out, the terms of a small
gap cancel to noise: it is of second order in x - y, and they are not. Here its relative error is that of the
difference x - y itself, some 1e-16 over the relative distance of x and y.

Source: Banerjee, Merugu, Dhillon and Ghosh, Clustering with Bregman divergences (2005), table 1.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from . import operations as op
from .batching import RULES, _elementwise_rule
from .derivatives import PARTIALS
from .recording import SHAPES, elementwise_signature, operation

# Gauss and Legendre's three nodes on [0, 1]; the weights are 5, 8 and 5 eighteenths.
_NODES = (0.5 - 0.5 * math.sqrt(0.6), 0.5, 0.5 + 0.5 * math.sqrt(0.6))


@operation
def xlogx_gap(x, y):
    """`x log(x / y) - x + y`, the gap of x log x: y where x is 0, infinite where only y is.

    >>> float(xlogx_gap(1.0 + 2.0**-20, 1.0) * 2.0**41)
    0.9999996...
    """
    with np.errstate(all="ignore"):
        away = np.subtract(x, y)
        close = np.abs(away) < 0.5 * np.asarray(y)
        return np.where(close, x * np.log1p(away / y) - away, special.kl_div(x, y))[()]


@operation
def gammaln_gap(x, y):
    """`log Gamma(x) - log Gamma(y) - digamma(y) (x - y)` for positive x and y.

    Within a fiftieth of y as the integral of digamma(s) - digamma(y) from y to x, with three nodes: to 1e-11 of
    itself in double precision, besides the error of x - y. It is computed in double precision.

    >>> float(gammaln_gap(2.0 + 2.0**-20, 2.0) * 2.0**41 / special.zeta(2.0, 2.0))
    0.999999...
    """
    kind = np.result_type(x, y)  # of which a plain number has no say
    x, y = np.asarray(x, float), np.asarray(y, float)
    with np.errstate(all="ignore"):
        away, slope = x - y, special.digamma(y)
        below, middle, above = (special.digamma(y + node * away) - slope for node in _NODES)
        near = away * (5.0 * (below + above) + 8.0 * middle) / 18.0
        far = special.gammaln(x) - special.gammaln(y) - slope * away
        result = np.where(np.abs(away) <= 0.02 * y, near, far)
    return result.astype(kind if kind.kind == "f" else float)[()]


def _log_ratio(value, x, y):
    """The slope in x; 0 where x is 0, so that an impossible event has no say."""
    return np.log(op.where(x == 0, 1.0, x) / op.where(x == 0, 1.0, y))


for _gap in (xlogx_gap, gammaln_gap):
    SHAPES[_gap.run] = lambda x, y: elementwise_signature(special.betaln, x, y)
    RULES[_gap.run] = _elementwise_rule(_gap)

PARTIALS.update(
    {
        xlogx_gap.run: (_log_ratio, lambda value, x, y: op.where(x == 0, 1.0, (y - x) / op.where(x == 0, 1.0, y))),
        gammaln_gap.run: (
            lambda value, x, y: special.digamma(x) - special.digamma(y),
            lambda value, x, y: (y - x) * special.zeta(2.0, y),
        ),
    }
)
