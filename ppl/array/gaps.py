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
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)  # of 1 / x, 1 / x^3, ...; DLMF 5.11.1


def _doubles(*arguments):
    """The arguments in double precision, and the type of what comes of them: plain numbers have no say in it."""
    kind = np.result_type(*arguments)
    return *(np.asarray(x, float) for x in arguments), kind if kind.kind == "f" else np.dtype(float)


def _series(x, order):
    """The derivative of that order of Stirling's series, for x from 16 on, where it is right to 1e-16."""
    result = 0.0
    for k in range(len(_STIRLING) - 1, -1, -1):
        power = 2 * k + 1
        front = (-1) ** order * math.prod(range(power, power + order))
        result = result / (x * x) + front * _STIRLING[k]
    return result / x ** (order + 1)


def _binet(x, order, near):
    """A derivative of Binet's function: by a formula below 16, by the series from there on."""
    x, kind = _doubles(x)
    with np.errstate(all="ignore"):
        return np.where(x < 16.0, near(x), _series(np.maximum(x, 16.0), order)).astype(kind)[()]


@operation
def binet(x):
    """`log Gamma(x) - (x - 1 / 2) log x + x - log(2 pi) / 2` for positive x, what Stirling's formula leaves out.

    It falls from infinity to 0, as 1 / (12 x). Source: DLMF 5.9.10.

    >>> float(binet(1e6) * 12e6)
    0.999999...
    """
    return _binet(x, 0, lambda x: special.gammaln(x) - (x - 0.5) * np.log(x) + x - 0.5 * math.log(2.0 * math.pi))


@operation
def binet_slope(x):
    """The derivative of `binet`: `digamma(x) - log x + 1 / (2 x)`."""
    return _binet(x, 1, lambda x: special.digamma(x) - np.log(x) + 0.5 / x)


@operation
def binet_bend(x):
    """The second derivative of `binet`: `zeta(2, x) - 1 / x - 1 / (2 x^2)`."""
    return _binet(x, 2, lambda x: special.zeta(2.0, x) - (1.0 + 0.5 / x) / x)


@operation
def binet_gap(x, y):
    """The gap of `binet`, for positive x and y. Within a fiftieth of y as the integral of the slope's differences."""
    x, y, kind = _doubles(x, y)
    with np.errstate(all="ignore"):
        away, slope = x - y, binet_slope.run(y)
        below, middle, above = (binet_slope.run(y + node * away) - slope for node in _NODES)
        near = away * (5.0 * (below + above) + 8.0 * middle) / 18.0
        far = binet.run(x) - binet.run(y) - slope * away
        return np.where(np.abs(away) <= 0.02 * y, near, far).astype(kind)[()]


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
    """`log Gamma(x) - log Gamma(y) - digamma(y) (x - y)` for positive x and y: the gap of log Gamma.

    The sum of the gaps of the terms of Stirling's formula, each positive: nothing cancels, at any size of x and y.

    >>> float(gammaln_gap(2.0 + 2.0**-20, 2.0) * 2.0**41 / special.zeta(2.0, 2.0))
    0.999999...
    """
    x, y, kind = _doubles(x, y)
    with np.errstate(all="ignore"):
        result = xlogx_gap.run(x, y) + 0.5 * xlogx_gap.run(y, x) / y + binet_gap.run(x, y)
    return result.astype(kind)[()]


def _log_ratio(value, x, y):
    """The slope in x; 0 where x is 0, so that an impossible event has no say."""
    return np.log(op.where(x == 0, 1.0, x) / op.where(x == 0, 1.0, y))


def _digamma_difference(value, x, y):
    return np.log(x / y) + 0.5 * (x - y) / x / y + (binet_slope(x) - binet_slope(y))


for _gap in (xlogx_gap, gammaln_gap, binet_gap):
    SHAPES[_gap.run] = lambda x, y: elementwise_signature(special.betaln, x, y)
    RULES[_gap.run] = _elementwise_rule(_gap)
for _function in (binet, binet_slope, binet_bend):
    SHAPES[_function.run] = lambda x: elementwise_signature(special.gammaln, x)
    RULES[_function.run] = _elementwise_rule(_function)

PARTIALS.update(
    {
        binet.run: (lambda value, x: binet_slope(x),),
        binet_slope.run: (lambda value, x: binet_bend(x),),
        binet_bend.run: (lambda value, x: (1.0 + 1.0 / x) / (x * x) - 2.0 * special.zeta(3.0, x),),
        binet_gap.run: (
            lambda value, x, y: binet_slope(x) - binet_slope(y),
            lambda value, x, y: (y - x) * binet_bend(y),
        ),
        xlogx_gap.run: (_log_ratio, lambda value, x, y: op.where(x == 0, 1.0, (y - x) / op.where(x == 0, 1.0, y))),
        gammaln_gap.run: (_digamma_difference, lambda value, x, y: (y - x) * special.zeta(2.0, y)),
    }
)
