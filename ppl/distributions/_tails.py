"""Tail probabilities on the log scale, also where they are below the smallest double."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ppl.array import agreeing, binet, binet_slope, softplus
from ppl.distributions._arrays import Array, float_type

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_FEW = np.polynomial.legendre.leggauss(5)
_MANY = np.polynomial.legendre.leggauss(64)


def log_of(mass: Array) -> Array:
    """`log(mass)`, and -inf where it is 0 or, by rounding, below; no slope there."""
    tiny = float(np.finfo(float_type(mass)).tiny)
    return agreeing(mass, np.log(np.maximum(mass, tiny)), -np.inf)


def log_rest(log_p: Array) -> Array:
    """`log(1 - exp(log_p))` of log probabilities, by the formula that keeps digits (Maechler 2012)."""
    far, near = np.minimum(log_p, -0.6), np.maximum(log_p, -0.8)
    return agreeing(log_p + math.log(2.0), np.log(-np.expm1(near)), np.log1p(-np.exp(far)))


def log_gammaincc(a: Array, x: Array) -> Array:
    """`log(special.gammaincc(a, x))`; where that underflows, by the continued fraction of DLMF 8.9.2.

    So far out it converges as fast as that of Mills' ratio at 37.
    """
    gap, fraction = np.maximum(x - a, 5.0 * np.sqrt(a) + 5.0), float_type(x).type(0.0)
    for n in range(24, 0, -1):
        fraction = n * (a - n) / (gap + n + np.maximum(n + 1.0 + fraction, 0.0))  # never below 0, and seen to be so
    far = a * np.log(x) - x - special.gammaln(a) - np.log(gap + np.maximum(1.0 + fraction, 0.0))
    return _unless_tiny(special.gammaincc(a, x), far)


def log_gammainc(a: Array, x: Array) -> Array:
    """`log(special.gammainc(a, x))`; where that underflows, by the continued fraction of Kummer's function.

    `gammainc(a, x) = x^a e^-x / Gamma(a) / (a - x + x / (a + 1 - x + 2 x / (a + 2 - x + ...)))` (DLMF 8.5.1, 13.5).
    """
    gap, fraction = np.maximum(a - x, np.minimum(0.5 * a, 5.0 * np.sqrt(a))), 0.0
    for n in range(24, 0, -1):
        fraction = n * x / (gap + n + fraction)
    far = a * np.log(x) - x - special.gammaln(a) - np.log(gap + fraction)
    return _unless_tiny(special.gammainc(a, x), far)


def log_betainc(mass: Array, a: Array, b: Array, log_x: Array, log_rest: Array) -> Array:
    """`log(mass)` of `mass = special.betainc(a, b, x)`; where that underflows, by the fraction of DLMF 8.17.22.

    x and 1 - x come as their logarithms.
    """
    x, below = np.exp(np.minimum(log_x, np.log(a / (a + b)))), float_type(log_x).type(1.0)
    for n in range(40, 0, -1):
        m = n // 2
        top = -(a + m) * (a + b + m) if n % 2 else m * (b - m)
        low, high = (a + 2 * m, a + 2 * m + 1) if n % 2 else (a + (2 * m - 1), a + 2 * m)
        below = np.maximum(1.0 + (top / low) * (x / high) / below, 1e-3)  # never below that, and seen to be positive
    far = a * log_x + b * log_rest - np.log(a) - special.betaln(a, b) - np.log(below)
    return _unless_tiny(mass, far)


def _unless_tiny(mass: Array, far: Array) -> Array:
    tiny = float(np.finfo(float_type(mass)).tiny)
    return agreeing(mass - tiny, np.log(np.maximum(mass, tiny)), far)


def log_gamma_entropy(a: Array) -> Array:
    """The entropy of the logarithm of a gamma draw, `log Gamma(a) + a - a digamma(a)`, without terms of size a log a.

    Entropies of gamma draws, their ratios and powers are sums of it and of mean logarithms.
    """
    return binet(a) - a * binet_slope(a) - 0.5 * np.log(a) + (0.5 + _HALF_LOG_2PI)


def t_entropy(df: Array, n: int = 1) -> Array:
    """The entropy of a standard Student's t draw of n elements."""
    half = 0.5 * df
    scale = 0.5 * n * (np.log(df) - special.digamma(half) + (1.0 + math.log(math.pi)))
    return log_gamma_entropy(half) - log_gamma_entropy(half + 0.5 * n) + scale


def circular_variance(k: Array) -> Array:
    """`1 - I_1(k) / I_0(k)`, by its asymptotic series where the ratio has come near 1 (DLMF 10.40.1)."""
    far, near = 1.0 / np.maximum(k, 500.0), np.minimum(k, 1000.0)
    series = far * (1.0 / 2.0 + far * (1.0 / 8.0 + far * (1.0 / 8.0 + far * (25.0 / 128.0 + far * (13.0 / 32.0)))))
    return agreeing(k - 700.0, series, 1.0 - special.i1e(near) / special.i0e(near))


# -- the normal ----------------------------------------------------------------------------------


def mills(a: Array) -> Array:
    """The integral of `exp(-a s - s^2 / 2)` over all s > 0."""
    return math.sqrt(0.5 * math.pi) * special.erfcx(math.sqrt(0.5) * a)


def beyond(a: Array) -> Array:
    """The integral of `exp((max(a, 0)^2 - z^2) / 2)` over all z > a."""
    return agreeing(a, mills(np.maximum(a, 0.0)), math.sqrt(2.0 * math.pi) * special.ndtr(-a))


def fallen(a: Array, width: Array) -> Array:
    """The integral of `exp(-a s - s^2 / 2)` over s from 0 to `width`, for a from 0 on.

    By Mills' ratios at both ends, or by five points where the two would cancel.
    """
    short = np.minimum(width * (1.0 + a), 0.2) / (1.0 + a)
    whole = mills(a) - np.exp(-width * (a + 0.5 * width)) * mills(a + width)
    return agreeing(width * (1.0 + a) - 0.1, whole, narrow(a, short))


def narrow(a: Array, width: Array) -> Array:
    """As `fallen`, for `width (1 + |a|)` up to 0.2, and a of any sign."""
    nodes, weights = _FEW
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        s = (0.5 + 0.5 * float(node)) * width
        total = total + 0.5 * float(weight) * np.exp(-s * (a + 0.5 * s))
    return width * total


def narrow_quantile(a: Array, width: Array, q: Array) -> Array:
    """The s with `narrow(a, s) = q narrow(a, width)`, by two steps of Newton's method."""
    share, s = q * narrow(a, width), q * width * (1.0 - 0.5 * a * width * (1.0 - q))
    for _ in range(2):
        s = s - (narrow(a, s) - share) * np.exp(s * (a + 0.5 * s))
    return s


FAR = 8.0  # from where on quantiles of a normal tail are counted from its edge


def beyond_edge(a: Array, q: Array, rest: Array, width: Array | None = None) -> Array:
    """The s with `q = 1 - rest` of the mass beyond a (or from there to a + width) below a + s, for a from `FAR` on.

    `-log S(a + s) + log S(a) = s (a + s / 2) + log mills(a) - log mills(a + s)`, by Newton's method from above; far out
    a quantile counted from 0 has lost the digits of s.
    """
    a = np.maximum(a, FAR)
    left = 0.0 if width is None else np.exp(-width * (a + 0.5 * width)) * (mills(a + width) / mills(a))
    fallen = agreeing(q - rest, -np.log(rest + q * left), -np.log1p(q * (left - 1.0)))
    s = 2.0 * fallen / (a + np.sqrt(a * a + 2.0 * fallen))
    for _ in range(4):
        ratio = mills(a + s)
        s = s - (s * (a + 0.5 * s) - np.log(ratio / mills(a)) - fallen) * ratio
    return s


def normal_averages(a: Array, left: Array | None, right: Array | None) -> tuple[Array, Array, Array]:
    """The averages of s, s^2 and `a s + s^2 / 2` over a density `exp(-a s - s^2 / 2)` of s from -left to right.

    By quadrature up to where the density has fallen by exp(-40): nothing cancels, on narrow intervals or far out.
    """
    size = np.abs(a)
    reach = 80.0 / (size + np.sqrt(size * size + 80.0))
    low = -(reach if left is None else np.minimum(left, reach))
    high = reach if right is None else np.minimum(right, reach)
    kind = float_type(a)
    nodes, weights = (np.asarray(0.5 + 0.5 * _MANY[0], kind), np.asarray(_MANY[1], kind))
    s = np.expand_dims(low, -1) + np.expand_dims(high - low, -1) * nodes
    a = np.expand_dims(a, -1)
    falls = s * (a + 0.5 * s)
    density = weights * np.exp(-falls)
    total = np.sum(density, axis=-1)
    return tuple(np.sum(density * part, axis=-1) / total for part in (s, s * s, falls))


def log_skew_cdf(z: Array, alpha: Array) -> Array:
    """The log probability that a standard skew normal draw is below z.

    By Owen's T; in a tail by quadrature of `2 phi(z - s) Phi(alpha (z - s))`, whose logarithm is concave in s, over
    what lies within exp(-40) of its height at s = 0.
    """
    near, end = log_of(special.ndtr(z) - 2.0 * special.owens_t(z, alpha)), agreeing(alpha, 0.0, -5.0)
    side, z = z - end, np.minimum(z, end)
    w = alpha * z
    hazard = 1.0 / mills(np.maximum(-w, -30.0))
    bend = np.clip(hazard * (w + hazard), 0.0, 1.0) * agreeing(alpha, 1.0, 0.0)
    slope = alpha * hazard - z
    reach = 80.0 / (slope + np.sqrt(slope * slope + 80.0 * (1.0 + alpha * alpha * bend)))
    nodes, weights = (np.asarray(part, float_type(w)) for part in (0.5 + 0.5 * _MANY[0], 0.5 * _MANY[1]))
    s = np.expand_dims(reach, -1) * nodes
    at, wide = np.expand_dims(z, -1) - s, np.expand_dims(alpha, -1)
    log_height = special.log_ndtr(w) - 0.5 * z * z
    falls = special.log_ndtr(wide * at) - 0.5 * at * at - np.expand_dims(log_height, -1)
    far = log_height + np.log(reach * np.sum(weights * np.exp(falls), axis=-1)) + (math.log(2.0) - _HALF_LOG_2PI)
    return agreeing(side, near, far)


def log_t_cdf(df: Array, z: Array) -> Array:
    """The log probability that a Student's t draw is below z."""
    half = float_type(z).type(0.5)
    log_odds = np.log(df) - 2.0 * np.log(np.maximum(-z, 1.0))  # of a Beta(df / 2, 1 / 2) draw
    far = log_betainc(2.0 * special.stdtr(df, z), 0.5 * df, half, -softplus(-log_odds), -softplus(log_odds))
    return far - math.log(2.0)
