"""How far a convex function lies above its own tangent: `f(x) - f(y) - f'(y) (x - y)`, without cancellation.

Such gaps (Bregman divergences) are what divergences of distributions are sums of. Written out, the terms of a small
gap cancel to noise; here it keeps its digits down to the smallest numbers. The functions of two arguments compute in
double precision and answer in the type of their arguments.

Source: Banerjee, Merugu, Dhillon and Ghosh, Clustering with Bregman divergences (2005), table 1.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from . import operations as op
from .batching import RULES, _elementwise_rule
from .derivatives import PARTIALS
from .recording import SHAPES, elementwise_signature, operation


@operation
def exp_gap(x):
    """`exp(x) - 1 - x`, the gap of exp at 0, to the last digits.

    >>> float(exp_gap(2.0**-30) * 2.0**61)
    1.00000000031...
    """
    x = np.asarray(x) if np.asarray(x).dtype.kind == "f" else np.asarray(x, float)
    with np.errstate(all="ignore"):
        close = np.abs(x) < 0.5
        small, series = np.where(close, x, 0), x.dtype.type(0)
        for k in range(18, 1, -1):
            series = (series * small + 1) / k
        return np.where(close, series * small * small, np.expm1(x) - x)[()]


def _by_nearness(x, y, reach, near, far):
    """`near(x, y)` where x is within `reach` of y, in parts of y, and `far(x, y)` elsewhere."""
    with np.errstate(all="ignore"):
        kind = np.result_type(x, y)  # of which a plain number has no say
        kind = kind if kind.kind == "f" else np.dtype(float)
        x, y = np.broadcast_arrays(np.asarray(x), np.asarray(y))
        shape, x, y = x.shape, np.ravel(x).astype(float), np.ravel(y).astype(float)
        result, close = np.asarray(far(x, y)), np.abs(x - y) <= reach * y
        if close.any():
            result[close] = near(x[close], y[close])
    return result.reshape(shape).astype(kind)[()]


@operation
def xlogx_gap(x, y):
    """`x log(x / y) - x + y`, the gap of x log x: y where x is 0, infinite where only y is.

    Near x = y by the series of atanh w, `w = (x - y) / (x + y)`: the relative error is that of x - y.

    >>> float(xlogx_gap(1.0 + 2.0**-30, 1.0) * 2.0**61)
    0.99999999968...
    """
    return _by_nearness(x, y, 0.5, _near_xlogx, special.kl_div)


def _near_xlogx(x, y):
    # x / y = (1 + w) / (1 - w), whose log is 2 (w + w^3 / 3 + w^5 / 5 + ...); here |w| is at most 1 / 3.
    w = (x - y) / np.where(y > 0, x + y, 1.0)
    square, series = w * w, 0.0
    for k in range(37, 1, -2):
        series = series * square + 1.0 / k
    return 2.0 * y / (1.0 - w) * square * (1.0 + (1.0 + w) * w * series)


@operation
def gammaln_gap(x, y):
    """`log Gamma(x) - log Gamma(y) - digamma(y) (x - y)` for positive x and y.

    Near x = y by Taylor's series `sum_k zeta(k, y) (y - x)^k / k` (DLMF 5.7.3), to about 2e-11 of itself.

    >>> float(gammaln_gap(2.0 + 2.0**-30, 2.0) / 2.0**-61 / special.zeta(2.0, 2.0))
    0.99999999971...
    """
    return _by_nearness(x, y, 0.02, _near_gammaln, _far_gammaln)


def _near_gammaln(x, y):
    step, series = y - x, 0.0
    for k in range(11, 1, -1):
        series = series * step + special.zeta(float(k), y) / k
    return series * step * step


def _far_gammaln(x, y):
    return special.gammaln(x) - special.gammaln(y) - special.digamma(y) * (x - y)


def _log_ratio(value, x, y):
    """The slope in x; 0 where x is 0, so that an impossible event has no say."""
    return np.log(op.where(x == 0, 1.0, x) / op.where(x == 0, 1.0, y))


SHAPES[exp_gap.run] = lambda x: elementwise_signature(np.exp, x)
RULES[exp_gap.run] = _elementwise_rule(exp_gap)
for _gap in (xlogx_gap, gammaln_gap):
    SHAPES[_gap.run] = lambda x, y: elementwise_signature(special.betaln, x, y)
    RULES[_gap.run] = _elementwise_rule(_gap)

PARTIALS.update(
    {
        exp_gap.run: (lambda value, x: np.expm1(x),),
        xlogx_gap.run: (_log_ratio, lambda value, x, y: op.where(x == 0, 1.0, (y - x) / op.where(x == 0, 1.0, y))),
        gammaln_gap.run: (
            lambda value, x, y: special.digamma(x) - special.digamma(y),
            lambda value, x, y: (y - x) * special.zeta(2.0, y),
        ),
    }
)
