"""The exponential families: one record for each, in the order of the files of `ppl.distributions`.

A record's formulas take the natural parameters in the order of its statistics. Where a family has one statistic the
parameter is called eta; elsewhere names follow the statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from ppl.array import logsumexp, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import as_integer, float_type
from ppl.distributions._counting import log_choose, log_ways
from ppl.distributions._triangular import Root, log_diagonal, matrix_times, per_event, squared_distance, transpose
from ppl.distributions.bounded import Beta, VonMises
from ppl.distributions.categories import Multinomial
from ppl.distributions.constraints import Constraint
from ppl.distributions.discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    GammaPoisson,
    Geometric,
    NegativeBinomial,
    NegativeBinomial2,
    OneHotCategorical,
    Poisson,
)
from ppl.distributions.exponential import ExponentialFamily, Statistic, register_exponential_family
from ppl.distributions.joint import NormalGamma
from ppl.distributions.matrices import InverseWishart, MatrixNormal, Wishart
from ppl.distributions.multivariate import Dirichlet, MultivariateNormal
from ppl.distributions.positive import (
    Chi2,
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    LogNormal,
    Pareto,
    Rayleigh,
    Wald,
    Weibull,
)
from ppl.distributions.real import Laplace, Normal

_LOG_2 = math.log(2.0)
_LOG_2PI = math.log(2.0 * math.pi)


# -- sets ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _NegativeDefinite(Constraint):
    event_dim = 2

    def __call__(self, value):
        return constraints.positive_definite(-value)

    def feasible_like(self, value):
        return -np.eye(np.shape(value)[-1])

    def __str__(self):
        return "a symmetric negative definite matrix"


negative = constraints.less_than(0.0)
negative_definite = _NegativeDefinite()
_above_minus_one = constraints.greater_than(-1.0)
_below_minus_one = constraints.less_than(-1.0)


def _vector(constraint: Constraint) -> Constraint:
    return constraints.independent(constraint, 1)


def _identity(x):
    return x


# -- the reals ------------------------------------------------------------------------------------------


def _quadratic(first, second):
    """The log of the integral of `exp(first u + second u^2)` over the reals."""
    return -0.25 * first * first / second - 0.5 * np.log(-2.0 * second) + 0.5 * _LOG_2PI


def _quadratic_means(first, second):
    variance = -0.5 / second
    loc = first * variance
    return loc, loc * loc + variance


@register_exponential_family(Normal)
def _normal():
    return ExponentialFamily(
        Normal,
        (
            Statistic("x", _identity, 0, constraints.real, constraints.real),
            Statistic("x^2", np.square, 0, negative, constraints.positive),
        ),
        to_natural=lambda d: (d.loc / (d.scale * d.scale), -0.5 / (d.scale * d.scale)),
        log_normalizer=_quadratic,
        mean_parameters=_quadratic_means,
        build=lambda x, square: Normal(-0.5 * x / square, np.sqrt(-0.5 / square)),
        build_from_mean=lambda x, square: Normal(x, np.sqrt(square - x * x)),
    )


@register_exponential_family(Laplace, loc=lambda d: d.loc)
def _laplace(loc):
    return ExponentialFamily(
        Laplace,
        (Statistic("|x - loc|", lambda x: np.abs(x - loc), 0, negative, constraints.positive),),
        to_natural=lambda d: (-1.0 / d.scale,),
        log_normalizer=lambda eta: _LOG_2 - np.log(-eta),
        mean_parameters=lambda eta: (-1.0 / eta,),
        build=lambda eta: Laplace(loc, -1.0 / eta),
        build_from_mean=lambda mean: Laplace(loc, mean),
        fixed={"loc": loc},
    )


# -- the positive numbers -------------------------------------------------------------------------------


@register_exponential_family(LogNormal)
def _log_normal():
    return ExponentialFamily(
        LogNormal,
        (
            Statistic("log x", np.log, 0, constraints.real, constraints.real),
            Statistic("(log x)^2", lambda x: np.square(np.log(x)), 0, negative, constraints.positive),
        ),
        to_natural=lambda d: (d.loc / (d.scale * d.scale) - 1.0, -0.5 / (d.scale * d.scale)),
        log_normalizer=lambda log, square: _quadratic(log + 1.0, square),
        mean_parameters=lambda log, square: _quadratic_means(log + 1.0, square),
        build=lambda log, square: LogNormal(-0.5 * (log + 1.0) / square, np.sqrt(-0.5 / square)),
        build_from_mean=lambda log, square: LogNormal(log, np.sqrt(square - log * log)),
    )


@register_exponential_family(HalfNormal)
def _half_normal():
    return ExponentialFamily(
        HalfNormal,
        (Statistic("x^2", np.square, 0, negative, constraints.positive),),
        to_natural=lambda d: (-0.5 / (d.scale * d.scale),),
        log_normalizer=lambda eta: 0.5 * math.log(math.pi / 4.0) - 0.5 * np.log(-eta),
        mean_parameters=lambda eta: (-0.5 / eta,),
        build=lambda eta: HalfNormal(np.sqrt(-0.5 / eta)),
        build_from_mean=lambda square: HalfNormal(np.sqrt(square)),
    )


@register_exponential_family(Exponential)
def _exponential():
    return ExponentialFamily(
        Exponential,
        (Statistic("x", _identity, 0, negative, constraints.positive),),
        to_natural=lambda d: (-d.rate,),
        log_normalizer=lambda eta: -np.log(-eta),
        mean_parameters=lambda eta: (-1.0 / eta,),
        build=lambda eta: Exponential(-eta),
        build_from_mean=lambda mean: Exponential(1.0 / mean),
    )


def _gamma_normalizer(concentration, rate):
    return special.gammaln(concentration) - concentration * np.log(rate)


@register_exponential_family(Gamma)
def _gamma():
    return ExponentialFamily(
        Gamma,
        (
            Statistic("log x", np.log, 0, _above_minus_one, constraints.real),
            Statistic("x", _identity, 0, negative, constraints.positive),
        ),
        to_natural=lambda d: (d.concentration - 1.0, -d.rate),
        log_normalizer=lambda log, x: _gamma_normalizer(log + 1.0, -x),
        mean_parameters=lambda log, x: (special.digamma(log + 1.0) - np.log(-x), (log + 1.0) / -x),
        build=lambda log, x: Gamma(log + 1.0, -x),
    )


@register_exponential_family(InverseGamma)
def _inverse_gamma():
    return ExponentialFamily(
        InverseGamma,
        (
            Statistic("log x", np.log, 0, _below_minus_one, constraints.real),
            Statistic("1 / x", lambda x: 1.0 / x, 0, negative, constraints.positive),
        ),
        to_natural=lambda d: (-d.concentration - 1.0, -d.rate),
        log_normalizer=lambda log, reciprocal: _gamma_normalizer(-log - 1.0, -reciprocal),
        mean_parameters=lambda log, reciprocal: (
            np.log(-reciprocal) - special.digamma(-log - 1.0),
            (log + 1.0) / reciprocal,
        ),
        build=lambda log, reciprocal: InverseGamma(-log - 1.0, -reciprocal),
    )


@register_exponential_family(Chi2)
def _chi2():
    return ExponentialFamily(
        Chi2,
        (Statistic("log x", np.log, 0, _above_minus_one, constraints.real),),
        to_natural=lambda d: (0.5 * d.df - 1.0,),
        log_normalizer=lambda eta: special.gammaln(eta + 1.0) + (eta + 1.0) * _LOG_2,
        mean_parameters=lambda eta: (special.digamma(eta + 1.0) + _LOG_2,),
        build=lambda eta: Chi2(2.0 * (eta + 1.0)),
        log_base_measure=lambda x: -0.5 * x,
    )


@register_exponential_family(Weibull, concentration=lambda d: d.concentration)
def _weibull(concentration):
    return ExponentialFamily(
        Weibull,
        (Statistic("x^concentration", lambda x: np.power(x, concentration), 0, negative, constraints.positive),),
        to_natural=lambda d: (-np.power(d.scale, -concentration),),
        log_normalizer=lambda eta: -np.log(-eta),
        mean_parameters=lambda eta: (-1.0 / eta,),
        build=lambda eta: Weibull(np.power(-eta, -1.0 / concentration), concentration),
        build_from_mean=lambda mean: Weibull(np.power(mean, 1.0 / concentration), concentration),
        log_base_measure=lambda x: np.log(concentration) + (concentration - 1.0) * np.log(x),
        fixed={"concentration": concentration},
    )


@register_exponential_family(Rayleigh)
def _rayleigh():
    return ExponentialFamily(
        Rayleigh,
        (Statistic("x^2", np.square, 0, negative, constraints.positive),),
        to_natural=lambda d: (-0.5 / (d.scale * d.scale),),
        log_normalizer=lambda eta: -np.log(-2.0 * eta),
        mean_parameters=lambda eta: (-1.0 / eta,),
        build=lambda eta: Rayleigh(np.sqrt(-0.5 / eta)),
        build_from_mean=lambda square: Rayleigh(np.sqrt(0.5 * square)),
        log_base_measure=np.log,
    )


@register_exponential_family(Wald)
def _wald():
    def mean_parameters(x, reciprocal):
        mean = np.sqrt(reciprocal / x)
        return mean, 1.0 / mean - 0.5 / reciprocal

    return ExponentialFamily(
        Wald,
        (
            Statistic("x", _identity, 0, negative, constraints.positive),
            Statistic("1 / x", lambda x: 1.0 / x, 0, negative, constraints.positive),
        ),
        to_natural=lambda d: (-0.5 * d.concentration / (d.mean * d.mean), -0.5 * d.concentration),
        log_normalizer=lambda x, reciprocal: (
            0.5 * _LOG_2PI - 2.0 * np.sqrt(x * reciprocal) - 0.5 * np.log(-2.0 * reciprocal)
        ),
        mean_parameters=mean_parameters,
        build=lambda x, reciprocal: Wald(np.sqrt(reciprocal / x), -2.0 * reciprocal),
        build_from_mean=lambda x, reciprocal: Wald(x, 1.0 / (reciprocal - 1.0 / x)),
        log_base_measure=lambda x: -1.5 * np.log(x),
    )


@register_exponential_family(Pareto, scale=lambda d: d.scale)
def _pareto(scale):
    def log_normalizer(eta):
        alpha = -eta - 1.0
        return -np.log(alpha) - alpha * np.log(scale)

    return ExponentialFamily(
        Pareto,
        (Statistic("log x", np.log, 0, _below_minus_one, constraints.greater_than(np.log(scale))),),
        to_natural=lambda d: (-d.alpha - 1.0,),
        log_normalizer=log_normalizer,
        mean_parameters=lambda eta: (np.log(scale) - 1.0 / (eta + 1.0),),
        build=lambda eta: Pareto(scale, -eta - 1.0),
        build_from_mean=lambda mean: Pareto(scale, 1.0 / (mean - np.log(scale))),
        fixed={"scale": scale},
    )


# -- intervals ------------------------------------------------------------------------------------------


@register_exponential_family(Beta)
def _beta():
    def mean_parameters(log, log_rest):
        total = special.digamma(log + log_rest + 2.0)
        return special.digamma(log + 1.0) - total, special.digamma(log_rest + 1.0) - total

    return ExponentialFamily(
        Beta,
        (
            Statistic("log x", np.log, 0, _above_minus_one, negative),
            Statistic("log(1 - x)", lambda x: np.log1p(-x), 0, _above_minus_one, negative),
        ),
        to_natural=lambda d: (d.concentration1 - 1.0, d.concentration0 - 1.0),
        log_normalizer=lambda log, log_rest: special.betaln(log + 1.0, log_rest + 1.0),
        mean_parameters=mean_parameters,
        build=lambda log, log_rest: Beta(log + 1.0, log_rest + 1.0),
    )


@register_exponential_family(VonMises)
def _von_mises():
    def log_normalizer(cos, sin):
        size = np.sqrt(cos * cos + sin * sin)
        return np.log(special.i0e(size)) + size + _LOG_2PI

    def mean_parameters(cos, sin):
        size = np.sqrt(cos * cos + sin * sin)
        # I_1(k) / k is 1 / 2 at 0, where both directions are alike.
        resultant = special.i1e(size) / special.i0e(size) / np.maximum(size, np.finfo(float_type(size)).tiny)
        return cos * resultant, sin * resultant

    unit = constraints.open_interval(-1.0, 1.0)
    return ExponentialFamily(
        VonMises,
        (
            Statistic("cos x", np.cos, 0, constraints.real, unit),
            Statistic("sin x", np.sin, 0, constraints.real, unit),
        ),
        to_natural=lambda d: (d.concentration * np.cos(d.loc), d.concentration * np.sin(d.loc)),
        log_normalizer=log_normalizer,
        mean_parameters=mean_parameters,
        build=lambda cos, sin: VonMises(np.arctan2(sin, cos), np.sqrt(cos * cos + sin * sin)),
    )


# -- counts ---------------------------------------------------------------------------------------------


@register_exponential_family(Bernoulli)
def _bernoulli():
    return ExponentialFamily(
        Bernoulli,
        (Statistic("x", _identity, 0, constraints.real, constraints.unit_interval),),
        to_natural=lambda d: (d.logits,),
        log_normalizer=softplus,
        mean_parameters=lambda logits: (special.expit(logits),),
        build=lambda logits: Bernoulli(logits=logits),
        build_from_mean=lambda probs: Bernoulli(probs=probs),
    )


@register_exponential_family(Binomial, total_count=lambda d: d.total_count)
def _binomial(total_count):
    n = total_count
    return ExponentialFamily(
        Binomial,
        (Statistic("x", _identity, 0, constraints.real, constraints.interval(0.0, n)),),
        to_natural=lambda d: (d.logits,),
        log_normalizer=lambda logits: n * softplus(logits),
        mean_parameters=lambda logits: (n * special.expit(logits),),
        build=lambda logits: Binomial(n, logits=logits),
        build_from_mean=lambda mean: Binomial(n, probs=mean / np.maximum(n, 1)),
        log_base_measure=lambda x: log_choose(x, n - x),
        fixed={"total_count": n},
    )


@register_exponential_family(Poisson)
def _poisson():
    return ExponentialFamily(
        Poisson,
        (Statistic("x", _identity, 0, constraints.real, constraints.nonnegative),),
        to_natural=lambda d: (np.log(d.rate),),
        log_normalizer=np.exp,
        mean_parameters=lambda log_rate: (np.exp(log_rate),),
        build=lambda log_rate: Poisson(np.exp(log_rate)),
        build_from_mean=lambda rate: Poisson(rate),
        log_base_measure=lambda x: -special.gammaln(x + 1.0),
    )


@register_exponential_family(Geometric)
def _geometric():
    return ExponentialFamily(
        Geometric,
        (Statistic("x", _identity, 0, negative, constraints.nonnegative),),
        to_natural=lambda d: (d._log_failure,),
        log_normalizer=lambda eta: -np.log(-np.expm1(eta)),
        mean_parameters=lambda eta: (1.0 / np.expm1(-eta),),
        build=lambda eta: Geometric(probs=-np.expm1(eta)),
        build_from_mean=lambda mean: Geometric(probs=1.0 / (1.0 + mean)),
    )


def _failures(family, r, name, to_natural, build, build_from_mean):
    """Counts of failures before r successes: eta is the log probability of a failure."""
    return ExponentialFamily(
        family,
        (Statistic("x", _identity, 0, negative, constraints.nonnegative),),
        to_natural=lambda d: (to_natural(d),),
        log_normalizer=lambda eta: -r * np.log(-np.expm1(eta)),
        mean_parameters=lambda eta: (r / np.expm1(-eta),),
        build=build,
        build_from_mean=build_from_mean,
        log_base_measure=lambda x: log_ways(x, r),
        fixed={name: r},
    )


@register_exponential_family(NegativeBinomial, total_count=lambda d: d.total_count)
def _negative_binomial(total_count):
    r = total_count
    return _failures(
        NegativeBinomial,
        r,
        "total_count",
        lambda d: -np.log1p(1.0 / d._odds),
        lambda eta: NegativeBinomial(r, logits=-np.log(np.expm1(-eta))),
        lambda mean: NegativeBinomial(r, logits=np.log(mean / r)),
    )


@register_exponential_family(NegativeBinomial2, concentration=lambda d: d.concentration)
def _negative_binomial2(concentration):
    r = concentration
    return _failures(
        NegativeBinomial2,
        r,
        "concentration",
        lambda d: -np.log1p(1.0 / d._odds),
        lambda eta: NegativeBinomial2(r / np.expm1(-eta), r),
        lambda mean: NegativeBinomial2(mean, r),
    )


@register_exponential_family(GammaPoisson, concentration=lambda d: d.concentration)
def _gamma_poisson(concentration):
    r = concentration
    return _failures(
        GammaPoisson,
        r,
        "concentration",
        lambda d: -np.log1p(d.rate),
        lambda eta: GammaPoisson(r, np.expm1(-eta)),
        lambda mean: GammaPoisson(r, r / mean),
    )


# -- categories -----------------------------------------------------------------------------------------


def _softmax(eta):
    return np.exp(eta - logsumexp(eta, axis=-1)[..., None])


@register_exponential_family(Categorical, size=lambda d: d._number)
def _categorical(size):
    def one_hot(x):
        return np.where(np.expand_dims(as_integer(x), -1) == np.arange(size), 1.0, 0.0)

    return ExponentialFamily(
        Categorical,
        (Statistic("one-hot x", one_hot, 1, constraints.log_weights, constraints.simplex),),
        to_natural=lambda d: (d.logits,),
        log_normalizer=lambda eta: logsumexp(eta, axis=-1),
        mean_parameters=lambda eta: (_softmax(eta),),
        build=lambda eta: Categorical(logits=eta),
        build_from_mean=lambda probs: Categorical(probs=probs),
        fixed={"size": size},
    )


@register_exponential_family(OneHotCategorical)
def _one_hot_categorical():
    return ExponentialFamily(
        OneHotCategorical,
        (Statistic("x", _identity, 1, constraints.log_weights, constraints.simplex),),
        to_natural=lambda d: (d.logits,),
        log_normalizer=lambda eta: logsumexp(eta, axis=-1),
        mean_parameters=lambda eta: (_softmax(eta),),
        build=lambda eta: OneHotCategorical(logits=eta),
        build_from_mean=lambda probs: OneHotCategorical(probs=probs),
    )


@register_exponential_family(Multinomial, total_count=lambda d: d.total_count)
def _multinomial(total_count):
    n = total_count
    counts = _vector(constraints.interval(0.0, np.expand_dims(n, -1)))
    return ExponentialFamily(
        Multinomial,
        (Statistic("x", _identity, 1, constraints.log_weights, counts),),
        to_natural=lambda d: (d.logits,),
        log_normalizer=lambda eta: n * logsumexp(eta, axis=-1),
        mean_parameters=lambda eta: (np.expand_dims(n, -1) * _softmax(eta),),
        build=lambda eta: Multinomial(n, logits=eta),
        build_from_mean=lambda mean: Multinomial(n, probs=mean / np.expand_dims(n, -1)),
        log_base_measure=lambda x: special.gammaln(n + 1.0) - np.sum(special.gammaln(x + 1.0), axis=-1),
        fixed={"total_count": n},
    )


# -- vectors and matrices -------------------------------------------------------------------------------


@register_exponential_family(Dirichlet)
def _dirichlet():
    def log_normalizer(eta):
        a = eta + 1.0
        return np.sum(special.gammaln(a), axis=-1) - special.gammaln(np.sum(a, axis=-1))

    def mean_parameters(eta):
        a = eta + 1.0
        return (special.digamma(a) - special.digamma(np.sum(a, axis=-1))[..., None],)

    return ExponentialFamily(
        Dirichlet,
        (Statistic("log x", np.log, 1, _vector(_above_minus_one), _vector(negative)),),
        to_natural=lambda d: (d.concentration - 1.0,),
        log_normalizer=log_normalizer,
        mean_parameters=mean_parameters,
        build=lambda eta: Dirichlet(eta + 1.0),
    )


def _outer(x, y):
    return x[..., :, None] * y[..., None, :]


def _inverse(positive_definite):
    """The inverse of a symmetric positive definite matrix, symmetric itself."""
    return Root("matrix", positive_definite).inverse


@register_exponential_family(MultivariateNormal)
def _multivariate_normal():
    def to_natural(d):
        precision = d.precision_matrix
        return matrix_times(precision, d.loc), -0.5 * precision

    def log_normalizer(x, outer):
        tril, n = np.linalg.cholesky(-2.0 * outer), np.shape(x)[-1]
        return 0.5 * squared_distance(tril, x) - log_diagonal(tril) + 0.5 * n * _LOG_2PI

    def mean_parameters(x, outer):
        covariance = _inverse(-2.0 * outer)
        loc = matrix_times(covariance, x)
        return loc, covariance + _outer(loc, loc)

    return ExponentialFamily(
        MultivariateNormal,
        (
            Statistic("x", _identity, 1, constraints.real_vector, constraints.real_vector),
            Statistic("x x^T", lambda x: _outer(x, x), 2, negative_definite, constraints.positive_definite),
        ),
        to_natural=to_natural,
        log_normalizer=log_normalizer,
        mean_parameters=mean_parameters,
        build=lambda x, outer: MultivariateNormal(
            matrix_times(_inverse(-2.0 * outer), x), precision_matrix=-2.0 * outer
        ),
        build_from_mean=lambda x, outer: MultivariateNormal(x, covariance_matrix=outer - _outer(x, x)),
    )


def _log_det(x):
    return 2.0 * log_diagonal(np.linalg.cholesky(x))


def _wishart_record(family, scale, sign, matrix):
    """Of a Wishart matrix Y (sign 1) or of its inverse (sign -1): both have log det x and Y for statistics.

    The degrees of freedom are `sign (2 log_det + p + 1)`, and the inverse scale of Y is -2 times the other parameter.
    """

    def degrees(log_det, y):
        """nu, and `nu - i` for i = 0..p-1 along a new last axis."""
        p = np.shape(y)[-1]
        nu = sign * (2.0 * log_det + (p + 1))
        return nu, per_event(nu, 1) - np.arange(p, dtype=float_type(y))

    def log_normalizer(log_det, y):
        p, (nu, each) = np.shape(y)[-1], degrees(log_det, y)
        log_gamma = np.sum(special.gammaln(0.5 * each), axis=-1) + 0.25 * p * (p - 1) * math.log(math.pi)
        return log_gamma - 0.5 * nu * _log_det(-y)

    def mean_parameters(log_det, y):
        nu, each = degrees(log_det, y)
        log_mean = np.sum(special.digamma(0.5 * each), axis=-1) - _log_det(-y)
        return sign * log_mean, per_event(nu, 2) * _inverse(-2.0 * y)

    limit = constraints.greater_than(-1.0) if sign > 0 else constraints.less_than(-1.0)
    return ExponentialFamily(
        family,
        (
            Statistic("log det x", _log_det, 0, limit, constraints.real),
            Statistic("x" if sign > 0 else "x^-1", matrix, 2, negative_definite, constraints.positive_definite),
        ),
        to_natural=lambda d: (0.5 * (sign * d.concentration - (d.event_shape[0] + 1)), -0.5 * getattr(d, scale)),
        log_normalizer=log_normalizer,
        mean_parameters=mean_parameters,
        build=lambda log_det, y: family(degrees(log_det, y)[0], **{scale: -2.0 * y}),
    )


@register_exponential_family(Wishart)
def _wishart():
    return _wishart_record(Wishart, "rate_matrix", 1, _identity)


@register_exponential_family(InverseWishart)
def _inverse_wishart():
    return _wishart_record(InverseWishart, "scale_matrix", -1, _inverse)


@register_exponential_family(
    MatrixNormal, scale_tril_row=lambda d: d.scale_tril_row, scale_tril_column=lambda d: d.scale_tril_column
)
def _matrix_normal(scale_tril_row, scale_tril_column):
    row, column = Root("tril", scale_tril_row), Root("tril", scale_tril_column)
    n, p = np.shape(scale_tril_row)[-1], np.shape(scale_tril_column)[-1]
    volume = p * row.half_log_det + n * column.half_log_det + 0.5 * n * p * _LOG_2PI

    def mean(eta):
        return np.matmul(np.matmul(row.matrix, eta), column.matrix)

    def log_base_measure(x):
        z = row.solve_rows(transpose(column.solve_rows(x)))
        return -0.5 * np.sum(z * z, axis=(-2, -1))

    return ExponentialFamily(
        MatrixNormal,
        (Statistic("x", _identity, 2, constraints.real_matrix, constraints.real_matrix),),
        to_natural=lambda d: (np.matmul(np.matmul(row.inverse, d.loc), column.inverse),),
        log_normalizer=lambda eta: 0.5 * np.sum(eta * mean(eta), axis=(-2, -1)) + volume,
        mean_parameters=lambda eta: (mean(eta),),
        build=lambda eta: MatrixNormal(mean(eta), scale_tril_row, scale_tril_column),
        build_from_mean=lambda loc: MatrixNormal(loc, scale_tril_row, scale_tril_column),
        log_base_measure=log_base_measure,
        fixed={"scale_tril_row": scale_tril_row, "scale_tril_column": scale_tril_column},
    )


# -- several quantities together --------------------------------------------------------------------------


@register_exponential_family(NormalGamma)
def _normal_gamma():
    def parameters(log_precision, precision, weighted, square):
        """loc, count, concentration and rate."""
        loc = -0.5 * weighted / square
        return loc, -2.0 * square, log_precision + 0.5, -precision - 0.5 * weighted * loc

    def log_normalizer(*eta):
        _, count, a, b = parameters(*eta)
        return _gamma_normalizer(a, b) + 0.5 * (_LOG_2PI - np.log(count))

    def mean_parameters(*eta):
        loc, count, a, b = parameters(*eta)
        return special.digamma(a) - np.log(b), a / b, loc * a / b, 1.0 / count + loc * loc * a / b

    return ExponentialFamily(
        NormalGamma,
        (
            Statistic("log t", lambda x: np.log(x[..., 1]), 0, constraints.greater_than(-0.5), constraints.real),
            Statistic("t", lambda x: x[..., 1], 0, negative, constraints.positive),
            Statistic("t m", lambda x: x[..., 1] * x[..., 0], 0, constraints.real, constraints.real),
            Statistic("t m^2", lambda x: x[..., 1] * np.square(x[..., 0]), 0, negative, constraints.positive),
        ),
        to_natural=lambda d: (
            d.concentration - 0.5,
            -d.rate - 0.5 * d.count * d.loc * d.loc,
            d.count * d.loc,
            -0.5 * d.count,
        ),
        log_normalizer=log_normalizer,
        mean_parameters=mean_parameters,
        build=lambda *eta: NormalGamma(*parameters(*eta)),
    )
