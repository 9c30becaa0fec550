"""Quantiles on the log scale as operations of parameters and a level: draws that move with their parameters.

Noise u of a known shape and a quantile function Q make a draw `x = Q(parameters, u)`. Its derivative at fixed noise
follows from `F(x, parameters) = u` (implicit reparameterization: Figurnov, Mohamed and Mnih 2018, eq. 4):

    dx / dparameter = -(dF / dparameter) / density(x)

A small shape sends draws below what a double can hold, so the quantiles are those of log x, or of log x - log(1 - x):
numbers of ordinary size. The slopes are ratios in which the density cancels by algebra, and never underflows.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from .batching import RULES, _elementwise_rule
from .derivatives import PARTIALS
from .operations import softplus
from .recording import SHAPES, elementwise_signature, operation

LARGE = 1e5  # shapes from which on quantiles are expanded around those of a normal
MANY = 100_000  # terms and levels after which a sum or a continued fraction is given up
# Weights of a derivative by five points, at -2, -1, 1 and 2 steps.
FIVE_POINTS = ((-2.0, 1.0 / 12.0), (-1.0, -2.0 / 3.0), (1.0, 2.0 / 3.0), (2.0, -1.0 / 12.0))
STEP = 2e-3


def _elementwise(ufunc):
    """Register a formula in arrays of one length as an operation that broadcasts as a ufunc does."""

    def register(formula):
        def run(*args):
            kind = _kind(*args)
            arrays = np.broadcast_arrays(*args)
            with np.errstate(all="ignore"):
                found = formula(*(np.ravel(x).astype(float) for x in arrays))
            return found.reshape(arrays[0].shape).astype(kind)[()]

        run.__name__, run.__doc__ = formula.__name__, formula.__doc__
        call = operation(run)
        SHAPES[run] = lambda *args: (elementwise_signature(ufunc, *args)[0], _kind(*args))
        RULES[run] = _elementwise_rule(call)
        return call

    return register


def _kind(*args):
    """Single precision where an argument has it and none has more; plain numbers alone are double."""
    kinds = [getattr(x, "dtype", x) for x in args]
    return np.result_type(*kinds, np.float32) if np.float32 in kinds else np.dtype(float)


def by_five_points(slope, i):
    """The derivative of a slope in its positive argument i, by differences of a small part of it."""

    def row(y, *args):
        at = lambda step: (*args[:i], args[i] * (1.0 + STEP * step), *args[i + 1 :])
        return sum(weight * slope(*at(step)) for step, weight in FIVE_POINTS) / (STEP * args[i])

    return row


# -- gamma ---------------------------------------------------------------------------------------------------
@_elementwise(special.gammaincinv)
def log_gamma_quantile(a, p):
    """log x where special.gammainc(a, x) = p, also where x is below the smallest double.

    There `P(a, x) = x^a / Gamma(a + 1)` to the last digit. For large shapes, in whose tails SciPy's digits run out, by
    the expansion around the normal quantile.
    """
    small = (np.log(p) + special.gammaln(a + 1.0)) / a
    result = np.where(small < -100.0, small, np.log(special.gammaincinv(a, p)))
    large = (a >= LARGE) & (a < np.inf)
    if np.any(large):
        result[large] = _large_shapes(a[large], np.inf, p[large])
    return result


def _large_shapes(a, b, p):
    """Quantiles of log x - log y of gamma draws x and y, large ones, by Cornish and Fisher's expansion (1938).

    To 1e-10 standard deviations, six of them out, for shapes from 1e5 on. Of y that is infinite: of log x.
    """
    z = special.ndtri(p)
    ratio = np.log(a) if b is np.inf else np.log(a / b)
    mean = ratio - 0.5 * (1.0 / a - 1.0 / b) - (1.0 / a**2 - 1.0 / b**2) / 12.0
    # The cumulants: derivatives of log Gamma.
    second, fourth = (special.polygamma(n, a) + special.polygamma(n, b) for n in (1, 3))
    third, fifth = (special.polygamma(n, a) - special.polygamma(n, b) for n in (2, 4))
    sd = np.sqrt(second)
    skew, tails, lean = third / sd**3, fourth / sd**4, fifth / sd**5
    z2 = z * z
    w = z + skew * (z2 - 1.0) / 6.0
    w = w + tails * z * (z2 - 3.0) / 24.0 - skew**2 * z * (2.0 * z2 - 5.0) / 36.0
    w = w + lean * (z2 * (z2 - 6.0) + 3.0) / 120.0 - skew * tails * (z2 * (z2 - 5.0) + 2.0) / 24.0
    w = w + skew**3 * (z2 * (12.0 * z2 - 53.0) + 17.0) / 324.0
    return np.where(np.isfinite(z), mean + sd * w, z)


@_elementwise(special.gammaincinv)
def gamma_shift(a, log_x):
    """How log x moves with the shape a, at a fixed level of the gamma distribution function.

    By the power series (DLMF 8.7.1) below the median and by the continued fraction (DLMF 8.9.2) above it; for
    large shapes by the uniform expansion of Temme (1979; DLMF 8.12.3), differentiated.
    """
    x = np.exp(log_x)
    result = np.full(a.shape, np.nan)
    log_ratio = log_x - np.log(a)
    gap = np.expm1(log_ratio)
    # eta^2 / 2 = gap - log(1 + gap); near 0 by its series, for the two terms cancel.
    eta = np.where(
        np.abs(log_ratio) < 1e-3,
        log_ratio * (1.0 + log_ratio * (1.0 / 6.0 + log_ratio * (1.0 / 36.0 - log_ratio / 3240.0))),
        np.sign(gap) * np.sqrt(2.0 * (gap - log_ratio)),
    )
    uniform = (a > 20.0) & (np.abs(eta) < 1.0)
    low = ~uniform & (a > 0) & (log_x <= np.maximum(special.digamma(a + 1.0), 0.4))
    high = ~uniform & (a > 0) & ~low
    if np.any(uniform):
        result[uniform] = _shift_at_large_shapes(a[uniform], eta[uniform])
    if np.any(low):
        result[low] = _shift_by_series(a[low], x[low], log_x[low])
    if np.any(high):
        result[high] = _shift_by_fraction(a[high], x[high], log_x[high])
    return result


def _temme(orders, terms):
    """The coefficients d[k, n] of the uniform expansion (DLMF 8.12.10 to 8.12.12), and those of Gamma*(a)."""
    alpha = [0.0, 1.0, 1.0 / 3.0]
    size = terms + 2 * orders + 3
    for n in range(3, size):
        alpha.append((alpha[n - 1] - sum(j * alpha[j] * alpha[n + 1 - j] for j in range(2, n))) / (n + 1))
    first = np.array([-1.0 / 3.0] + [(n + 2) * alpha[n + 2] for n in range(1, size - 2)])
    # Gamma*(a) = sum of g[k] / a^k, whose odd coefficients in alpha give (2k + 1)!! alpha[2k + 1].
    g = [math.prod(range(1, 2 * k + 2, 2)) * alpha[2 * k + 1] for k in range(orders)]
    rows = [first]
    for k in range(1, orders):
        n = np.arange(len(rows[-1]) - 2)
        rows.append((-1.0) ** k * g[k] * first[n] + (n + 2) * rows[-1][n + 2])
    return np.array([row[:terms] for row in rows]), np.array(g)


TEMME, GAMMA_STAR = _temme(12, 32)


def _shift_at_large_shapes(a, eta):
    """(1 - Gamma*(a) (eta / 2 + sum over k of c_k(eta) a^-k (eta^2 / 2 + (k + 1/2) / a))) / a."""
    orders, terms = TEMME.shape
    inverse, coefficients = _powers(1.0 / a, orders), TEMME @ _powers(eta, terms)
    weights = 0.5 * eta * eta + (np.arange(orders)[:, None] + 0.5) / a
    return (1.0 - (GAMMA_STAR @ inverse) * (0.5 * eta + np.sum(coefficients * inverse * weights, 0))) / a


def _powers(x, count):
    """1, x, x^2, ... along a new first axis."""
    return np.multiply.accumulate(np.stack([np.ones_like(x), *[x] * (count - 1)]))


def _shift_by_series(a, x, log_x):
    """sum over n of x^n / ((a + 1) ... (a + n)) (digamma(a + n + 1) - log x), over a."""
    term, height = np.ones_like(a), special.digamma(a + 1.0) - log_x
    total = height.copy()
    for n in range(1, MANY):
        term, height = term * (x / (a + n)), height + 1.0 / (a + n)
        change = term * height
        total = total + change
        if not np.any(np.abs(change) > 1e-17 * np.abs(total)):
            break
    return total / a


def _shift_by_fraction(a, x, log_x):
    """(log x - digamma(a)) h + dh / da, h = 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)).

    h by the recurrences of Lentz, each quantity beside its derivative in a.
    """
    b, db = x + 1.0 - a, -1.0
    d, dd = 1.0 / b, 1.0 / (b * b)
    c, dc = np.full_like(b, 1e300), np.zeros_like(b)
    h, dh = d, dd
    for n in range(1, MANY):
        top, dtop = n * (a - n), float(n)
        b = b + 2.0
        below = top * d + b
        d, dd = 1.0 / below, -(dtop * d + top * dd + db) / (below * below)
        c, dc = b + top / c, db + dtop / c - top * dc / (c * c)
        factor, dfactor = c * d, dc * d + c * dd
        h, dh = h * factor, dh * factor + h * dfactor
        if not np.any((np.abs(factor - 1.0) > 1e-15) | (np.abs(h * dfactor) > 1e-14 * np.abs(dh) + 1e-300)):
            break
    return (log_x - special.digamma(a)) * h + dh


# -- beta ----------------------------------------------------------------------------------------------------
@_elementwise(special.betaincinv)
def logit_beta_quantile(a, b, p):
    """log x - log(1 - x) where special.betainc(a, b, x) = p, also where x or 1 - x is below the smallest double.

    Where one shape is 1e6 times the other, as the gamma quantile that it then is; where both are large, and SciPy's
    digits run out, by the expansion around the normal quantile.
    """
    few, many = np.minimum(a, b), np.maximum(a, b)
    large = (few >= LARGE) & (many < np.inf)
    steep = (few < LARGE) & (many > 1e6 * np.maximum(few, 1.0)) & (many < np.inf)
    result = np.full(a.shape, np.nan)
    for here, formula in ((large, _large_shapes), (steep, _steep_beta), (~steep & ~large, _beta_by_scipy)):
        if np.any(here):
            result[here] = formula(a[here], b[here], p[here])
    return result


def _beta_by_scipy(a, b, p):
    # SciPy's inverse is wrong at shapes of exactly 1000, and right a last digit beside them.
    a, b = (np.where(shape == 1000.0, np.nextafter(shape, np.inf), shape) for shape in (a, b))
    x, rest = special.betaincinv(a, b, p), special.betainccinv(b, a, p)
    whole = special.betaln(a, b)
    low, high = (np.log(p) + np.log(a) + whole) / a, (np.log1p(-p) + np.log(b) + whole) / b
    result = np.where(x < 0.5, np.log(x) - np.log1p(-x), np.log1p(-rest) - np.log(rest))
    # The first term of the power series in x, or in 1 - x, is all of it far below one over the other shape.
    small = (low < -600.0) & (low + np.log(np.maximum(b, 1.0)) < -40.0)
    large = (high < -600.0) & (high + np.log(np.maximum(a, 1.0)) < -40.0)
    return np.where(small, low, np.where(large, -high, result))


def _steep_beta(a, b, p):
    """`y = -log(1 - x)` of the small x is a gamma draw, to a millionth of a millionth.

    Its log density is `(a - 1) log y - (b + (a - 1) / 2) y + (a - 1) y^2 / 24 - ...`, whose squares are below 1e-12 a.
    """
    upper = a > b
    few, many = np.where(upper, b, a), np.where(upper, a, b)
    rate = many + 0.5 * (few - 1.0)
    log_y = np.where(upper, _log_upper_gamma_quantile(few, p), log_gamma_quantile.run(few, p)) - np.log(rate)
    y = np.exp(log_y)
    logit = np.where(y > 1e-10, np.log(np.expm1(np.maximum(y, 1e-10))), log_y)
    return np.where(upper, -logit, logit)


def _log_upper_gamma_quantile(a, p):
    """log x where special.gammaincc(a, x) = p."""
    small = (np.log1p(-p) + special.gammaln(a + 1.0)) / a
    return np.where(small < -100.0, small, np.log(special.gammainccinv(a, p)))


@_elementwise(special.betaincinv)
def beta_shift(a, b, t):
    """How t = log x - log(1 - x) moves with the first shape a, at a fixed level of the beta distribution function.

    In the second shape it is `-beta_shift(b, a, -t)`, for 1 - x has the shapes exchanged. By the continued fraction
    of DLMF 8.17.22, differentiated, on the side of the mean where it converges fast; by quadrature where both shapes
    are large and it does not, and in closed form where they are larger still; and where one is 1e9 times the other, as
    the gamma quantile that it then is.
    """
    # The smaller of x and 1 - x is a gamma draw over the larger shape, to a part in 1e8.
    result = np.where(a > b, 1.0 / a, np.nan)
    steep = np.maximum(a, b) > 1e9 * np.maximum(np.minimum(a, b), 1.0)
    small = steep & (a < b)
    result[small] = gamma_shift.run(a[small], t[small] + np.log(b[small]))
    large = ~steep & (np.minimum(a, b) >= 10.0)
    huge = np.minimum(a, b) > 1e9
    if np.any(huge):
        result[huge] = _shift_of_huge_shapes(a[huge], b[huge], t[huge])
    if np.any(large & ~huge):
        here = large & ~huge
        result[here] = _shift_by_quadrature(a[here], b[here], t[here])
    rest = ~steep & ~large
    if np.any(rest):
        result[rest] = _shift_by_beta_fraction(a[rest], b[rest], t[rest])
    return result


NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(32)


def _shift_by_quadrature(a, b, t):
    """The integral of w(s) / w(t) (log x(s) - E log x) from t to the far side on which its sign stays.

    w is the density of t, `log w(t) = a log x + b log(1 - x) + constant`, whose logarithm is concave. The integral
    ends where w has fallen by exp(-40), found by Newton's method.
    """
    gap = _digamma_gap(a, b)
    side = np.where(-softplus.run(-t) <= gap, -1.0, 1.0)
    # How far log w has fallen at a distance v from t: a rise and a fall of two logarithms.
    up, down = np.where(side < 0, a, b), np.where(side < 0, b, a)
    inner = np.where(side < 0, t, -t)
    x, level = special.expit(inner), softplus.run(inner)
    fallen = lambda v: up * v - (up + down) * (level - softplus.run(inner - v))
    k, curvature = up * (1.0 - x) - down * x, (a + b) * x * (1.0 - x)
    v = 80.0 / (k + np.sqrt(k * k + 80.0 * curvature))
    for _ in range(4):
        v = v - (fallen(v) - 40.0) / (up - (up + down) * special.expit(inner - v))
    at = 0.5 * v * (1.0 + NODES[:, None])
    heights = -softplus.run(-(t + side * at)) - gap
    return side * 0.5 * v * (NODE_WEIGHTS @ (np.exp(-fallen(at)) * heights))


def _shift_of_huge_shapes(a, b, t):
    """`log(x / m) / ((a + b) (x - m))`, m the mean a / (a + b): so moves what holds the height of the density.

    That is the quantile but for a part 1 / a.
    """
    far = t - np.log(a / b)
    m, rest = a / (a + b), b / (a + b)
    up = np.expm1(np.where(far == 0.0, 1.0, far))
    share = -np.log1p(rest * np.expm1(-far)) * (1.0 + m * up) / (rest * up)
    return np.where(far == 0.0, 1.0, share) / a


def _digamma_gap(a, b):
    """digamma(a) - digamma(a + b) for a of 10 and more, without cancellation (DLMF 5.11.2)."""
    numbers = ((2, 1 / 6), (4, -1 / 30), (6, 1 / 42), (8, -1 / 30), (10, 5 / 66), (12, -691 / 2730))  # of Bernoulli
    gap = -np.log1p(b / a) - 0.5 * b / (a * (a + b))
    for n, bernoulli in numbers:
        gap = gap + bernoulli / n * np.power(a, -n) * np.expm1(-n * np.log1p(b / a))
    return gap


def _shift_by_beta_fraction(a, b, t):
    far = t > np.log((a + 1.0) / (b + 1.0))
    first, second = np.where(far, b, a), np.where(far, a, b)
    log_x, log_rest = -softplus.run(np.where(far, t, -t)), -softplus.run(np.where(far, -t, t))
    h, dh = _beta_fraction(first, second, np.exp(log_x), ~far)
    gap = special.digamma(a) - special.digamma(a + b)
    slope = np.where(far, log_rest - gap, log_x - gap - 1.0 / a)
    return np.where(far, 1.0, -1.0) * (slope * h + dh) / first


def _beta_fraction(a, b, x, in_first):
    """h = 1 / (1 + d_1 / (1 + d_2 / ...)), and its derivative in a where `in_first`, in b elsewhere.

    d_2m = m (b - m) x / ((a + 2m - 1)(a + 2m)), d_2m+1 = -(a + m)(a + b + m) x / ((a + 2m)(a + 2m + 1)).
    """
    da, db = np.where(in_first, 1.0, 0.0), np.where(in_first, 0.0, 1.0)
    c, d, h = np.full_like(x, 1e300), np.ones_like(x), np.ones_like(x)
    dc, dd, dh = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for n in range(1, MANY):
        m = n // 2
        if n % 2:
            top = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            dtop = top * da * (1.0 / (a + m) - 1.0 / (a + 2 * m) - 1.0 / (a + 2 * m + 1)) + top / (a + b + m)
        else:
            top = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            dtop = m * db * x / ((a + 2 * m - 1) * (a + 2 * m)) - top * da * (1.0 / (a + 2 * m - 1) + 1.0 / (a + 2 * m))
        below = 1.0 + top * d
        d, dd = 1.0 / below, -(dtop * d + top * dd) / (below * below)
        c, dc = 1.0 + top / c, dtop / c - top * dc / (c * c)
        factor, dfactor = c * d, dc * d + c * dd
        h, dh = h * factor, dh * factor + h * dfactor
        if n > 1 and not np.any((np.abs(factor - 1.0) > 1e-15) | (np.abs(h * dfactor) > 1e-14 * np.abs(dh) + 1e-300)):
            break
    return h, dh


# -- inverse Gaussian ----------------------------------------------------------------------------------------
@_elementwise(special.gammaincinv)
def log_wald_quantile(ratio, p):
    """log x where p is the inverse Gaussian distribution function of mean 1 and concentration `ratio` at x.

    `F(x) = Phi(r) + exp(2 ratio) Phi(-s)`, `r, s = (ratio / x)^1/2 (x -+ 1)`, lies between Phi(r) and 2 Phi(r),
    which brackets the root; then Newton's method on the log odds.
    """
    bound = lambda z: 2.0 * np.log((z + np.sqrt(z * z + 4.0 * ratio)) / (2.0 * np.sqrt(ratio)))
    # The two terms of the bound cancel for z < 0; their product does not.
    stable = lambda z: np.where(z < 0, -bound(np.abs(z)), bound(z))
    target = special.logit(p)

    def excess(y):
        root = np.sqrt(ratio) * np.exp(-0.5 * y)
        r, s = root * np.expm1(y), root * (np.exp(y) + 1.0)
        mirrored, height = _mills(s), np.exp(-0.5 * r * r) / np.sqrt(2.0 * np.pi)
        log_below = np.where(
            r < 0, np.log(_mills(-r) + mirrored) - 0.5 * r * r, np.log(special.ndtr(r) + height * mirrored)
        )
        log_above = np.where(
            r > 0, np.log(_mills(r) - mirrored) - 0.5 * r * r, np.log(special.ndtr(-r) - height * mirrored)
        )
        half = 0.5 * np.log(2.0 * np.pi)
        log_below, log_above = log_below - half * (r < 0), log_above - half * (r > 0)
        slope = np.exp(np.log(root) - 0.5 * r * r - half - log_below - log_above)
        value = log_below - log_above - target
        return value, -value / slope

    low, high = stable(special.ndtri(0.5 * p)), stable(special.ndtri(p))
    return _root(excess, low, high, 0.5 * (low + high))


def _mills(x):
    """Mills' ratio of the standard normal, (1 - Phi(x)) / phi(x)."""
    return np.sqrt(0.5 * np.pi) * special.erfcx(np.sqrt(0.5) * x)


def _root(excess, low, high, x):
    """The roots between two bounds of increasing functions.

    `excess(x)` is the value, and steps towards the root from the best to the safest: the first that stays between
    the bounds is taken, or else the middle. The last step is so small that the error after it is one of rounding.
    """
    for _ in range(100):
        value, *steps = excess(x)
        low, high = np.where(value < 0, x, low), np.where(value > 0, x, high)
        moved = 0.5 * (low + high)
        for step in reversed(steps):
            moved = np.where((x + step >= low) & (x + step <= high), x + step, moved)
        last, x = np.abs(moved - x), moved
        if not np.any(last > 1e-9 * (np.abs(x) + 1e-6)):
            break
    return x


# -- von Mises -----------------------------------------------------------------------------------------------
@_elementwise(special.betaincinv)
def von_mises_quantile(loc, concentration, p):
    """The angle x in [-pi, pi] below which a von Mises draw stays with probability p, counted from -pi.

    It moves smoothly with `loc`: nothing is wrapped around. By Newton's method on integrals of the density.
    """
    turns, cut = _turned(-np.pi - loc)
    level = p + turns + _half_below(cut, concentration)
    whole = np.floor(level)
    side = np.where(level - whole < 0.5, -1.0, 1.0)
    target = np.log(np.minimum(level - whole, 1.0 - (level - whole)))
    log_circle = np.log(2.0 * _von_mises_tail(np.zeros_like(p), concentration)[0])

    def excess(s):
        # Newton's steps for the logarithm of the tail, which is nearly a parabola, and for the tail, a line near pi.
        tail, _ = _von_mises_tail(s, concentration)
        value = target + log_circle - np.log(tail) + 2.0 * concentration * np.sin(0.5 * s) ** 2
        return value, -value * tail, -np.expm1(value) * tail

    # From the quantile of a normal, or of a uniform.
    share = np.exp(target)
    start = np.where(concentration > 2.0, -special.ndtri(share) / np.sqrt(concentration), np.pi * (1.0 - 2.0 * share))
    s = _root(excess, np.zeros_like(p), np.full_like(p, np.pi), np.minimum(start, 3.0))
    s = np.where(share > 0.0, s, np.pi)
    return np.clip(loc + 2.0 * np.pi * whole + side * s, -np.pi, np.pi)


@_elementwise(special.betaincinv)
def von_mises_cdf(loc, concentration, x):
    """The probability of a von Mises draw from -pi to x, an angle in [-pi, pi]."""
    (before, cut), (turns, s) = _turned(-np.pi - loc), _turned(x - loc)
    return turns - before + _half_below(s, concentration) - _half_below(cut, concentration)


@_elementwise(special.betaincinv)
def von_mises_shift(loc, concentration, x):
    """How the angle x moves with the concentration, at a fixed level counted from -pi."""

    def slope(s):
        """The derivative of the distribution function in the concentration, over the density at s."""
        first, second = _von_mises_tail(np.abs(s), concentration, turned=True)
        return -np.sign(s) * (spread * first - second)

    whole, turned = _von_mises_tail(np.zeros_like(x), concentration, turned=True)
    spread = turned / whole  # 1 - I_1 / I_0
    _, s = _turned(x - loc)
    _, cut = _turned(-np.pi - loc)
    fall = 2.0 * concentration * np.sin(0.5 * (s - cut)) * np.sin(0.5 * (s + cut))
    return slope(cut) * np.exp(fall) - slope(s)


def _turned(angle):
    """Whole turns, and what is left of the angle, from -pi to pi."""
    turns = np.round(angle / (2.0 * np.pi))
    return turns, angle - 2.0 * np.pi * turns


def _half_below(s, concentration):
    """The probability from -pi to s."""
    tail = _von_mises_tail(np.abs(s), concentration)[0] * np.exp(-2.0 * concentration * np.sin(0.5 * s) ** 2)
    tail = tail / (2.0 * _von_mises_tail(np.zeros_like(s), concentration)[0])
    return np.where(s < 0, tail, 1.0 - tail)


def _von_mises_tail(s, concentration, turned=False):
    """The integral from s >= 0 to pi of exp(concentration (cos t - cos s)); if asked for, that of 1 - cos t times it.

    They end where the density has fallen by exp(-45).
    """
    square = np.sin(0.5 * s) ** 2
    end = 2.0 * np.arcsin(np.minimum(np.sqrt(square + 22.5 / concentration), 1.0))
    half = 0.5 * (end - s)
    squares = np.sin(0.5 * (s + half * (1.0 + NODES[:, None]))) ** 2
    weights = np.exp(2.0 * concentration * (square - squares))
    first = half * (NODE_WEIGHTS @ weights)
    return first, 2.0 * half * (NODE_WEIGHTS @ (weights * squares)) if turned else 0.0


# -- derivatives ---------------------------------------------------------------------------------------------
def _gamma_height(a, y):
    """The density of y = log x, of a gamma draw x."""
    return np.exp(a * y - np.exp(y) - special.gammaln(a))


def _beta_height(a, b, t):
    """The density of t = log x - log(1 - x), of a beta draw x."""
    return np.exp(-a * softplus(-t) - b * softplus(t) - special.betaln(a, b))


def _wald_height(ratio, y):
    """The density of y = log x, of an inverse Gaussian draw x of mean 1."""
    r = 2.0 * np.sqrt(ratio) * np.sinh(0.5 * y)
    return np.sqrt(ratio / (2.0 * np.pi)) * np.exp(-0.5 * y - 0.5 * r * r)


def _wald_shift(y, ratio, _):
    s = 2.0 * np.sqrt(ratio) * np.cosh(0.5 * y)
    mills = np.sqrt(0.5 * np.pi) * special.erfcx(np.sqrt(0.5) * s)
    return 1.0 / ratio - 2.0 * np.exp(0.5 * y) / np.sqrt(ratio) * mills


def _circle_height(loc, concentration, x):
    half = np.sin(0.5 * (x - loc))
    return np.exp(-2.0 * concentration * half * half) / (2.0 * np.pi * special.i0e(concentration))


def _cut_ratio(loc, concentration, x):
    """The density at -pi over that at x."""
    return np.exp(-concentration * (np.cos(loc) + np.cos(x - loc)))


def _shift_in_loc(g, loc, concentration, x):
    s = x - loc
    length = special.i1e(concentration) / special.i0e(concentration)
    cut = (np.cos(loc) + length) * _cut_ratio(loc, concentration, x)
    return np.cos(s) - length + cut - g * concentration * np.sin(s)


def _shift_in_angle(g, loc, concentration, x):
    s = x - loc
    return special.i1e(concentration) / special.i0e(concentration) - np.cos(s) + g * concentration * np.sin(s)


PARTIALS.update(
    {
        log_gamma_quantile.run: (lambda y, a, p: gamma_shift(a, y), lambda y, a, p: 1.0 / _gamma_height(a, y)),
        gamma_shift.run: (
            by_five_points(gamma_shift, 0),
            lambda g, a, y: special.digamma(a) - y - g * (a - np.exp(y)),
        ),
        logit_beta_quantile.run: (
            lambda t, a, b, p: beta_shift(a, b, t),
            lambda t, a, b, p: -beta_shift(b, a, -t),
            lambda t, a, b, p: 1.0 / _beta_height(a, b, t),
        ),
        beta_shift.run: (
            by_five_points(beta_shift, 0),
            by_five_points(beta_shift, 1),
            lambda g, a, b, t: (
                softplus(-t)
                + special.digamma(a)
                - special.digamma(a + b)
                - g * (a * special.expit(-t) - b * special.expit(t))
            ),
        ),
        log_wald_quantile.run: (_wald_shift, lambda y, ratio, p: 1.0 / _wald_height(ratio, y)),
        von_mises_quantile.run: (
            lambda x, loc, concentration, p: 1.0 - _cut_ratio(loc, concentration, x),
            lambda x, loc, concentration, p: von_mises_shift(loc, concentration, x),
            lambda x, loc, concentration, p: 1.0 / _circle_height(loc, concentration, x),
        ),
        von_mises_cdf.run: (
            lambda y, loc, concentration, x: (
                _circle_height(loc, concentration, -np.pi) - _circle_height(loc, concentration, x)
            ),
            lambda y, loc, concentration, x: (
                -_circle_height(loc, concentration, x) * von_mises_shift(loc, concentration, x)
            ),
            lambda y, loc, concentration, x: _circle_height(loc, concentration, x),
        ),
        von_mises_shift.run: (_shift_in_loc, by_five_points(von_mises_shift, 1), _shift_in_angle),
    }
)
