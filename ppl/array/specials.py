"""SciPy's special functions: their partial derivatives, and the one that SciPy has no function for.

Any other elementwise function of SciPy is recorded too, as a value: its derivative is refused.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from . import operations as op
from .batching import RULES, _elementwise_rule
from .derivatives import PARTIALS, like
from .quantiles import _kind, beta_shift, by_five_points, gamma_shift
from .recording import SHAPES, elementwise_signature, operation


class _Asked:
    """Learns which ufunc a function of SciPy hands its arguments to."""

    def __array_ufunc__(self, ufunc, *_, **__):
        return ufunc


ZETA = special.zeta(2.0, _Asked())  # special.zeta itself is a wrapper
ROOT_PI = np.sqrt(np.pi)
GAMMA_BEND = by_five_points(gamma_shift, 0)  # the derivative of gamma_shift in the shape


# -- the incomplete gamma function in its shape ------------------------------------------------------------
@operation
def gammainc_slope(a, x):
    """The derivative of special.gammainc(a, x) in a: minus the density of log x times its `gamma_shift`.

    Computed in double precision; single where an argument is single and none is more. Plain numbers have no say.
    """
    with np.errstate(all="ignore"):
        kind = _kind(a, x)
        a, x = (np.asarray(part, float) for part in np.broadcast_arrays(a, x))
        inside = (a > 0) & (x > 0) & (x < np.inf) & (a < np.inf)
        at, log_x = np.where(inside, a, 1.0), np.log(np.where(inside, x, 1.0))
        slope = -np.exp(at * log_x - np.exp(log_x) - special.gammaln(at)) * gamma_shift(at, log_x)
        return np.where(inside, slope, np.where((a > 0) & (x >= 0), 0.0, np.nan)).astype(kind)[()]


SHAPES[gammainc_slope.run] = lambda a, x: (elementwise_signature(special.gammainc, a, x)[0], _kind(a, x))
RULES[gammainc_slope.run] = _elementwise_rule(gammainc_slope)


# -- t + k tanh(t) = s ----------------------------------------------------------------------------------------
@operation
def tanh_root(k, s):
    """The t with t + k tanh(t) = s, for k > -1: Newton's method, kept between bounds that close in."""
    kind = np.result_type(k, s, np.float32)
    k, s = np.broadcast_arrays(np.asarray(k, float), np.asarray(s, float))
    low, high, t = s - np.abs(k), s + np.abs(k), s / (1.0 + np.maximum(k, 0.0))
    for _ in range(100):
        bend = np.tanh(t)
        above = t + k * bend - s
        low, high = np.where(above <= 0, t, low), np.where(above >= 0, t, high)
        with np.errstate(all="ignore"):
            new = t - above / (1.0 + k * (1.0 - bend * bend))
        new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
        done = np.all(np.abs(new - t) <= 1e-15 * np.abs(t))
        t = new
        if done:
            break
    return t.astype(kind)[()]


SHAPES[tanh_root.run] = lambda k, s: elementwise_signature(np.arctan2, k, s)
RULES[tanh_root.run] = _elementwise_rule(tanh_root)
PARTIALS[tanh_root.run] = (
    lambda t, k, s: -np.tanh(t) / (1.0 + k * (1.0 - np.tanh(t) ** 2)),
    lambda t, k, s: 1.0 / (1.0 + k * (1.0 - np.tanh(t) ** 2)),
)


# -- shorthands ---------------------------------------------------------------------------------------------
def _gamma_density(a, x):
    return np.exp(special.xlogy(a - 1.0, x) - x - special.gammaln(a))


def _beta_density(a, b, x):
    return np.exp(special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x) - special.betaln(a, b))


def _beta_rise(a, b, x):
    """The slope of betainc in log x - log(1 - x)."""
    return np.exp(special.xlogy(a, x) + special.xlog1py(b, -x) - special.betaln(a, b))


def _student_shift(df, t):
    """How a Student's t quantile moves with df: t^2 / df are the odds of a Beta(1 / 2, df / 2) quantile."""
    log_odds = 2.0 * np.log(np.maximum(np.abs(t), np.finfo(like(t)).tiny)) - np.log(df)
    return 0.5 * t * (1.0 / df - 0.5 * beta_shift(0.5 * df, 0.5, -log_odds))


def _student_density(df, t):
    front = special.gammaln(0.5 * (df + 1.0)) - special.gammaln(0.5 * df)
    return np.exp(front - 0.5 * (df + 1.0) * np.log1p(t * t / df)) / np.sqrt(np.pi * df)


def _normal_density(x):
    return np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)


def _exprel_slope(x):
    """The derivative of (exp(x) - 1) / x: sum of x^k / (k! (k + 2)) near zero."""
    near = np.abs(x) < 0.5
    small, series = op.where(near, x, 0.0), 0.0
    for k in range(14, -1, -1):
        series = series * small + 1.0 / (special.gamma(k + 1.0) * (k + 2.0))
    far = op.where(near, 1.0, x)
    return op.where(near, series, ((far - 1.0) * np.exp(far) + 1.0) / (far * far))


def _by_order(up, down):
    """The derivative of a Bessel function in x, from those of the orders above and below."""
    return lambda f: lambda y, v, x: up * f(v + 1.0, x) + down * f(v - 1.0, x)


PARTIALS.update(
    {
        gammainc_slope.run: (
            lambda y, a, x: (
                y * (np.log(x) - special.digamma(a)) - x * _gamma_density(a, x) * GAMMA_BEND(y, a, np.log(x))
            ),
            lambda y, a, x: _gamma_density(a, x) * (np.log(x) - special.digamma(a)),
        ),
        op.softplus.run: (lambda y, x: special.expit(x),),
        # -- gamma, beta and zeta
        special.gammaln: (lambda y, x: special.digamma(x),),
        special.loggamma: (lambda y, x: special.digamma(x),),
        special.digamma: (lambda y, x: special.zeta(2.0, x),),
        ZETA: (None, lambda y, s, x: -s * special.zeta(s + 1.0, x)),
        special.gamma: (lambda y, x: y * special.digamma(x),),
        special.rgamma: (lambda y, x: -y * special.digamma(x),),
        special.betaln: (
            lambda y, a, b: special.digamma(a) - special.digamma(a + b),
            lambda y, a, b: special.digamma(b) - special.digamma(a + b),
        ),
        special.beta: (
            lambda y, a, b: y * (special.digamma(a) - special.digamma(a + b)),
            lambda y, a, b: y * (special.digamma(b) - special.digamma(a + b)),
        ),
        special.binom: (
            lambda y, n, k: y * (special.digamma(n + 1.0) - special.digamma(n - k + 1.0)),
            lambda y, n, k: y * (special.digamma(n - k + 1.0) - special.digamma(k + 1.0)),
        ),
        special.poch: (
            lambda y, z, m: y * (special.digamma(z + m) - special.digamma(z)),
            lambda y, z, m: y * special.digamma(z + m),
        ),
        special.gammainc: (lambda y, a, x: gammainc_slope(a, x), lambda y, a, x: _gamma_density(a, x)),
        special.gammaincc: (lambda y, a, x: -gammainc_slope(a, x), lambda y, a, x: -_gamma_density(a, x)),
        special.gammaincinv: (
            lambda y, a, p: y * gamma_shift(a, np.log(y)),
            lambda y, a, p: 1.0 / _gamma_density(a, y),
        ),
        special.gammainccinv: (
            lambda y, a, p: y * gamma_shift(a, np.log(y)),
            lambda y, a, p: -1.0 / _gamma_density(a, y),
        ),
        special.betainc: (
            lambda y, a, b, x: -_beta_rise(a, b, x) * beta_shift(a, b, special.logit(x)),
            lambda y, a, b, x: _beta_rise(a, b, x) * beta_shift(b, a, -special.logit(x)),
            lambda y, a, b, x: _beta_density(a, b, x),
        ),
        special.betaincc: (
            lambda y, a, b, x: _beta_rise(a, b, x) * beta_shift(a, b, special.logit(x)),
            lambda y, a, b, x: -_beta_rise(a, b, x) * beta_shift(b, a, -special.logit(x)),
            lambda y, a, b, x: -_beta_density(a, b, x),
        ),
        special.betaincinv: (
            lambda y, a, b, p: y * (1.0 - y) * beta_shift(a, b, special.logit(y)),
            lambda y, a, b, p: -y * (1.0 - y) * beta_shift(b, a, -special.logit(y)),
            lambda y, a, b, p: 1.0 / _beta_density(a, b, y),
        ),
        special.betainccinv: (
            lambda y, a, b, p: y * (1.0 - y) * beta_shift(a, b, special.logit(y)),
            lambda y, a, b, p: -y * (1.0 - y) * beta_shift(b, a, -special.logit(y)),
            lambda y, a, b, p: -1.0 / _beta_density(a, b, y),
        ),
        special.stdtr: (
            lambda y, df, t: -_student_density(df, t) * _student_shift(df, t),
            lambda y, df, t: _student_density(df, t),
        ),
        special.stdtrit: (
            lambda y, df, p: _student_shift(df, y),
            lambda y, df, p: 1.0 / _student_density(df, y),
        ),
        # -- logarithms and exponentials
        special.expit: (lambda y, x: y * (1.0 - y),),
        special.logit: (lambda y, x: 1.0 / (x * (1.0 - x)),),
        special.exprel: (lambda y, x: _exprel_slope(x),),
        special.expm1: (lambda y, x: y + 1.0,),
        special.log1p: (lambda y, x: 1.0 / (1.0 + x),),
        special.cosm1: (lambda y, x: -np.sin(x),),
        special.exp2: (lambda y, x: y * np.log(2.0),),
        special.exp10: (lambda y, x: y * np.log(10.0),),
        special.cbrt: (lambda y, x: y / (3.0 * x),),
        special.xlogy: (
            lambda y, a, b: np.log(op.where((a == 0) & (b == 0), 1.0, b)),
            lambda y, a, b: op.where(a == 0, 0.0, a / op.where(a == 0, 1.0, b)),
        ),
        special.xlog1py: (
            lambda y, a, b: np.log1p(op.where((a == 0) & (b == -1), 0.0, b)),
            lambda y, a, b: op.where(a == 0, 0.0, a / (1.0 + op.where(a == 0, 0.0, b))),
        ),
        special.entr: (lambda y, x: -np.log(x) - 1.0,),
        special.rel_entr: (lambda y, a, b: np.log(a / b) + 1.0, lambda y, a, b: -a / b),
        special.kl_div: (lambda y, a, b: np.log(a / b), lambda y, a, b: 1.0 - a / b),
        special.boxcox: (
            lambda y, x, power: np.exp(special.xlogy(power - 1.0, x)),
            lambda y, x, power: np.log(x) ** 2 * _exprel_slope(power * np.log(x)),
        ),
        special.boxcox1p: (
            lambda y, x, power: np.exp(special.xlog1py(power - 1.0, x)),
            lambda y, x, power: np.log1p(x) ** 2 * _exprel_slope(power * np.log1p(x)),
        ),
        special.inv_boxcox: (lambda y, z, power: np.exp(special.xlogy(1.0 - power, y)), None),
        special.inv_boxcox1p: (lambda y, z, power: np.exp(special.xlog1py(1.0 - power, y)), None),
        special.huber: (
            lambda y, delta, r: np.maximum(np.abs(r) - delta, 0.0),
            lambda y, delta, r: np.minimum(np.maximum(r, -delta), delta),
        ),
        special.pseudo_huber: (
            lambda y, delta, r: 2.0 * y / delta - r * r / (delta * np.sqrt(1.0 + (r / delta) ** 2)),
            lambda y, delta, r: r / np.sqrt(1.0 + (r / delta) ** 2),
        ),
        special.spence: (lambda y, x: op.where(x == 1.0, -1.0, np.log(x) / op.where(x == 1.0, 1.0, 1.0 - x)),),
        special.wrightomega: (lambda y, x: y / (1.0 + y),),
        # -- error functions and exponential integrals
        special.erf: (lambda y, x: (2.0 / ROOT_PI) * np.exp(-x * x),),
        special.erfc: (lambda y, x: (-2.0 / ROOT_PI) * np.exp(-x * x),),
        special.erfcx: (lambda y, x: 2.0 * x * y - 2.0 / ROOT_PI,),
        special.erfi: (lambda y, x: (2.0 / ROOT_PI) * np.exp(x * x),),
        special.erfinv: (lambda y, x: (ROOT_PI / 2.0) * np.exp(y * y),),
        special.erfcinv: (lambda y, x: (-ROOT_PI / 2.0) * np.exp(y * y),),
        special.dawsn: (lambda y, x: 1.0 - 2.0 * x * y,),
        special.ndtr: (lambda y, x: _normal_density(x),),
        special.log_ndtr: (lambda y, x: np.exp(-0.5 * x * x - y) / np.sqrt(2.0 * np.pi),),
        special.ndtri: (lambda y, x: np.sqrt(2.0 * np.pi) * np.exp(0.5 * y * y),),
        special.ndtri_exp: (lambda y, x: np.sqrt(2.0 * np.pi) * np.exp(x + 0.5 * y * y),),
        special.owens_t: (
            lambda y, h, a: -0.5 * _normal_density(h) * special.erf(a * h / np.sqrt(2.0)),
            lambda y, h, a: np.exp(-0.5 * h * h * (1.0 + a * a)) / (2.0 * np.pi * (1.0 + a * a)),
        ),
        special.exp1: (lambda y, x: -np.exp(-x) / x,),
        special.expi: (lambda y, x: np.exp(x) / x,),
        # -- Bessel functions
        special.i0: (lambda y, x: special.i1(x),),
        special.i1: (lambda y, x: 0.5 * (special.i0(x) + special.iv(2.0, x)),),
        special.i0e: (lambda y, x: special.i1e(x) - np.sign(x) * y,),
        special.i1e: (lambda y, x: 0.5 * (special.i0e(x) + special.ive(2.0, x)) - np.sign(x) * y,),
        special.k0: (lambda y, x: -special.k1(x),),
        special.k1: (lambda y, x: -special.k0(x) - y / x,),
        special.k0e: (lambda y, x: y - special.k1e(x),),
        special.k1e: (lambda y, x: y - special.k0e(x) - y / x,),
        special.j0: (lambda y, x: -special.j1(x),),
        special.j1: (lambda y, x: 0.5 * (special.j0(x) - special.jv(2.0, x)),),
        special.y0: (lambda y, x: -special.y1(x),),
        special.y1: (lambda y, x: special.y0(x) - y / x,),
        special.jv: (None, _by_order(-0.5, 0.5)(special.jv)),
        special.yv: (None, _by_order(-0.5, 0.5)(special.yv)),
        special.iv: (None, _by_order(0.5, 0.5)(special.iv)),
        special.kv: (None, _by_order(-0.5, -0.5)(special.kv)),
        special.ive: (None, lambda y, v, x: _by_order(0.5, 0.5)(special.ive)(y, v, x) - np.sign(x) * y),
        special.kve: (None, lambda y, v, x: _by_order(-0.5, -0.5)(special.kve)(y, v, x) + y),
    }
)
