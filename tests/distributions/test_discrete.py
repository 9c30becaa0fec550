"""Laws of counts and categories: far tails, quantiles, modes, samplers of vectors, zeros, single precision."""

from __future__ import annotations

import itertools
import re

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy import integrate, special, stats

import ppl
import ppl.distributions as dist
from ppl import array as A
from ppl.errors import ModelError, ShapeError, SupportError

from .registry import DISCRETE, SCALAR_ROWS, Row

FALSE_ALARM = 1e-9  # the chance that one right sampler fails its goodness-of-fit test, at a random seed
PROBABILITIES = np.array([0.0, 1e-300, 1e-9, 0.01, 0.1, 0.37, 0.5, 0.8, 0.99, 1 - 1e-9])


def rows(table):
    return pytest.mark.parametrize("row", table, ids=str)


# -- tails: against 60 digits ----------------------------------------------------------------------
def gammas(*signed):
    """The sum of log gamma functions, each with its sign."""
    return sum(sign * mpmath.loggamma(mpf(x)) for sign, x in signed)


def exact_poisson(x, rate):
    return x * mpmath.log(mpf(rate)) - mpf(rate) - mpmath.loggamma(mpf(x) + 1)


def exact_binomial(x, n, p):
    return gammas((1, n + 1), (-1, x + 1), (-1, n - x + 1)) + x * mpmath.log(mpf(p)) + (n - x) * mpmath.log(1 - mpf(p))


def exact_negative(x, r, log_p, log_q):
    return gammas((1, mpf(x) + r), (-1, x + 1), (-1, r)) + x * log_p + r * log_q


def exact_negative_logits(x, r, logit):
    e = mpmath.exp(mpf(logit))
    return exact_negative(x, mpf(r), mpmath.log(e / (1 + e)), -mpmath.log(1 + e))


def exact_gamma_poisson(x, a, b):
    return exact_negative(x, mpf(a), -mpmath.log(1 + mpf(b)), mpmath.log(mpf(b) / (1 + mpf(b))))


def exact_beta_negative(x, a, b, n):
    x, a, b, n = map(mpf, (x, a, b, n))
    ways = gammas((1, x + n), (-1, x + 1), (-1, n))
    return ways + gammas((1, x + a), (1, n + b), (-1, x + a + n + b), (1, a + b), (-1, a), (-1, b))


def exact_multinomial(x, log_p):
    return gammas((1, sum(x) + 1), *((-1, c + 1) for c in x)) + sum(c * l for c, l in zip(x, log_p, strict=True) if c)


def exact_dirichlet(x, a):
    n, total = sum(x), sum(map(mpf, a))
    each = sum(gammas((1, mpf(c) + mpf(k)), (-1, c + 1), (-1, k)) for c, k in zip(x, a, strict=True))
    return each - gammas((1, n + total), (-1, n + 1), (-1, total))


def expit(x):
    return 1 / (1 + mpmath.exp(-mpf(x)))


def vector(*x):
    return np.array(x)


TAILS = {
    "Poisson at its mean": (dist.Poisson(1e8), 10**8, lambda: exact_poisson(10**8, 1e8)),
    "Poisson, 40 sd": (dist.Poisson(1e8), 10**8 + 400_000, lambda: exact_poisson(10**8 + 400_000, 1e8)),
    "Poisson, -40 sd": (dist.Poisson(1e8), 10**8 - 400_000, lambda: exact_poisson(10**8 - 400_000, 1e8)),
    "Poisson, none": (dist.Poisson(1e8), 0, lambda: mpf(-1e8)),
    "Poisson, small": (dist.Poisson(1e-8), 5, lambda: exact_poisson(5, 1e-8)),
    "Poisson, a surprise": (dist.Poisson(1e-8), 10**8, lambda: exact_poisson(10**8, 1e-8)),
    "Binomial, 40 sd": (
        dist.Binomial(10**8, 0.5),
        50_200_000,
        lambda: exact_binomial(50_200_000, 10**8, 0.5),
    ),
    "Binomial, small": (dist.Binomial(10**8, 1e-8), 7, lambda: exact_binomial(7, 10**8, 1e-8)),
    "Geometric": (dist.Geometric(1e-8), 10**8, lambda: 10**8 * mpmath.log(1 - mpf(1e-8)) + mpmath.log(mpf(1e-8))),
    "NegativeBinomial, logits": (
        dist.NegativeBinomial(2.5, logits=-40.0),
        6,
        lambda: exact_negative_logits(6, 2.5, -40),
    ),
    "NegativeBinomial, large": (
        dist.NegativeBinomial(1e8, logits=0.0),
        10**8 + 600_000,
        lambda: exact_negative_logits(10**8 + 600_000, 1e8, 0),
    ),
    "NegativeBinomial, few": (
        dist.NegativeBinomial(1e-8, logits=3.0),
        3,
        lambda: exact_negative_logits(3, 1e-8, 3.0),
    ),
    "NegativeBinomial2": (
        dist.NegativeBinomial2(1e8, 1e-8),
        10**8,
        lambda: exact_gamma_poisson(10**8, 1e-8, mpf(1e-8) / mpf(1e8)),
    ),
    "GammaPoisson, large": (
        dist.GammaPoisson(1e8, 1e-8),
        10**16,
        lambda: exact_gamma_poisson(10**16, 1e8, 1e-8),
    ),
    "GammaPoisson, small": (dist.GammaPoisson(1e-8, 1e8), 4, lambda: exact_gamma_poisson(4, 1e-8, 1e8)),
    "BetaNegativeBinomial": (
        dist.BetaNegativeBinomial(0.7, 2.5, 1.3),
        10**8,
        lambda: exact_beta_negative(10**8, 0.7, 2.5, 1.3),
    ),
    "BetaNegativeBinomial, small": (
        dist.BetaNegativeBinomial(1e-8, 1e8, 2.3),
        3,
        lambda: exact_beta_negative(3, 1e-8, 1e8, 2.3),
    ),
    "Multinomial": (
        dist.Multinomial(3 * 10**8, vector(0.25, 0.25, 0.5)),
        vector(75_000_000, 75_200_000, 149_800_000),
        lambda: exact_multinomial(
            [75_000_000, 75_200_000, 149_800_000], [mpmath.log(mpf(0.25))] * 2 + [mpmath.log(mpf(0.5))]
        ),
    ),
    "Multinomial, logits": (
        dist.Multinomial(7, logits=vector(0.0, -800.0, -np.inf)),
        vector(5, 2, 0),
        lambda: exact_multinomial([5, 2], [mpf(0), mpf(-800)]),
    ),
    "DirichletMultinomial": (
        dist.DirichletMultinomial(vector(1e-8, 0.7, 1e8), 9),
        vector(2, 3, 4),
        lambda: exact_dirichlet([2, 3, 4], [1e-8, 0.7, 1e8]),
    ),
    "OrderedLogistic, right": (
        dist.OrderedLogistic(800.0, vector(-1.0, 1.5)),
        1,
        lambda: mpmath.log(expit(1.5 - 800) - expit(-1 - 800)),
    ),
    "OrderedLogistic, left": (
        dist.OrderedLogistic(-800.0, vector(-1.0, 1.5)),
        2,
        lambda: mpmath.log(1 - expit(801.5)),
    ),
    "OrderedLogistic, narrow": (
        dist.OrderedLogistic(0.3, vector(-1.0, -1.0 + 1e-8)),
        1,
        lambda: mpmath.log(expit(mpf(-1.0 + 1e-8) - mpf(0.3)) - expit(mpf(-1.0) - mpf(0.3))),
    ),
    "OrderedProbit, right": (
        dist.OrderedProbit(40.0, vector(-1.0, 1.5)),
        1,
        lambda: mpmath.log(mpmath.ncdf(1.5 - 40) - mpmath.ncdf(-41)),
    ),
    "OrderedProbit, left": (
        dist.OrderedProbit(-40.0, vector(-1.0, 1.5)),
        1,
        lambda: mpmath.log(mpmath.ncdf(-39) - mpmath.ncdf(-41.5)),
    ),
    "ZeroInflatedPoisson, rare": (
        dist.ZeroInflatedPoisson(1e-300, 800.0),
        0,
        lambda: mpmath.log(mpf(1e-300) + (1 - mpf(1e-300)) * mpmath.exp(-800)),
    ),
    "ZeroInflatedPoisson, closed": (dist.ZeroInflatedPoisson(0.0, 2000.0), 0, lambda: mpf(-2000)),
    "ZeroInflatedDistribution, logits": (
        dist.ZeroInflatedDistribution(dist.Poisson(3000.0), gate_logits=-2000.0),
        0,
        lambda: mpmath.log(expit(-2000) + (1 - expit(-2000)) * mpmath.exp(-3000)),
    ),
    "ZeroInflatedDistribution, above": (
        dist.ZeroInflatedDistribution(dist.Poisson(3.0), gate_logits=800.0),
        2,
        lambda: mpmath.log(1 - expit(800)) + exact_poisson(2, 3.0),
    ),
    "HurdleDistribution, rare": (
        dist.HurdleDistribution(dist.Poisson(1e-12), gate=0.3),
        1,
        lambda: mpmath.log(1 - mpf(0.3)) + exact_poisson(1, 1e-12) - mpmath.log(-mpmath.expm1(-mpf(1e-12))),
    ),
}


@pytest.mark.parametrize("label", TAILS)
def test_tails_are_exact(label):
    d, x, exact = TAILS[label]
    with mpmath.workdps(400):
        expected = float(exact())
    assert np.isfinite(expected)
    assert float(d.log_prob(x)) == pytest.approx(expected, rel=1e-7)


def test_beta_negative_binomial_averages_over_the_beta():
    """Also where n is no whole number, for which scipy has no oracle."""
    a, b, n = 0.7, 2.5, 1.3
    for x in (0, 1, 5, 40):
        ways = special.gamma(x + n) / (special.factorial(x) * special.gamma(n) * special.beta(a, b))
        mass = ways * integrate.quad(lambda p, x=x: p ** (x + a - 1) * (1 - p) ** (n + b - 1), 0, 1)[0]
        assert np.exp(dist.BetaNegativeBinomial(a, b, n).log_prob(x)) == pytest.approx(mass, rel=1e-6)


def test_moments_that_are_infinite():
    d = dist.BetaNegativeBinomial(2.0, np.array([0.7, 1.0, 1.5, 2.5]), 3.0)
    np.testing.assert_array_equal(np.isinf(d.mean), [True, True, False, False])
    np.testing.assert_array_equal(np.isinf(d.variance), [True, True, True, False])


# -- quantiles and modes -------------------------------------------------------------------------------
@rows([row for row in DISCRETE if row.d.has("icdf")])
def test_the_quantile_is_the_least_value_that_reaches(row: Row):
    q = PROBABILITIES.reshape(-1, *(1,) * len(row.d.batch_shape))
    x = row.d.icdf(q)
    assert np.shape(x) == (len(q), *row.d.batch_shape)
    assert np.all(row.d.support(x))
    assert np.all(row.d.cdf(x) >= q - 1e-15)
    below = np.asarray(x) - 1
    inside = row.d.support(below)
    assert np.all(np.where(inside, row.d.cdf(below), -1.0) <= q)


def test_quantiles_at_the_ends():
    for d in (dist.Poisson(3.0), dist.Geometric(0.3), dist.NegativeBinomial(2.5, 0.4)):
        np.testing.assert_array_equal(d.icdf(np.array([0.0, 1.0])), [0.0, np.inf])
        assert np.isnan(d.icdf(np.nan))
    assert dist.Binomial(7, 0.3).icdf(1.0) == 7
    assert dist.ZeroInflatedDistribution(dist.Binomial(9, 0.3), gate=0.1).icdf(1.0) == 9
    assert dist.Poisson(1e12).icdf(0.5) == 1e12  # the median of a whole rate is the rate
    with pytest.raises(ModelError, match="known probability"):
        A.record(lambda q: (dist.Poisson(3.0).icdf(q),), [0.5])


@rows([row for row in DISCRETE if row.d.has("mode") and row.scalar])
def test_no_value_has_more_mass_than_the_mode(row: Row):
    x = np.arange(row.oracle.ppf(1e-9), row.oracle.ppf(1 - 1e-9) + 1)
    assert row.d.log_prob(row.d.mode) >= np.max(row.oracle.logpmf(x)) - 1e-12


@pytest.mark.parametrize("a", [0.4, 0.9, 1.0, 1.6, 7.0])
@pytest.mark.parametrize("b", [0.3, 1.0, 1.1, 5.5])
def test_modes_of_the_beta_families(a, b):
    x = np.arange(3000)
    for d in (dist.BetaBinomial(a, b, 11), dist.BetaNegativeBinomial(a, b, 6.5)):
        assert d.log_prob(d.mode) >= np.max(d.log_prob(x)) - 1e-12


# -- vectors ------------------------------------------------------------------------------------------
def compositions(n: int, k: int) -> np.ndarray:
    """All vectors of k nonnegative integers that sum to n."""
    return np.array([x for x in itertools.product(range(n + 1), repeat=k) if sum(x) == n])


VECTORS = {
    "Multinomial": dist.Multinomial(5, np.array([0.2, 0.5, 0.3])),
    "Multinomial-logits": dist.Multinomial(4, logits=np.array([1.0, -0.5, 0.3])),
    "Multinomial-zero": dist.Multinomial(5, np.array([0.4, 0.6, 0.0])),
    "DirichletMultinomial": dist.DirichletMultinomial(np.array([0.7, 2.0, 3.5]), 5),
    "DirichletMultinomial-sparse": dist.DirichletMultinomial(np.array([1e-3, 0.05, 0.2]), 4),
}


def p_value_of_counts(draws, d) -> float:
    """Pearson's chi-square test over all values of a vector of counts; rare values share a cell."""
    values = compositions(int(draws[0].sum()), draws.shape[-1])
    expected = np.exp(d.log_prob(values)) * len(draws)
    counts = np.array([np.sum(np.all(draws == v, axis=-1)) for v in values])
    rare = expected < 5
    cells = [*zip(counts[~rare], expected[~rare], strict=True), (counts[rare].sum(), expected[rare].sum())]
    observed, expected = np.array([c for c in cells if c[1] >= 5]).T
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("label", VECTORS)
def test_vectors_of_counts(label):
    d = VECTORS[label]
    values = compositions(int(d.total_count), d.event_shape[0])
    mass = np.exp(d.log_prob(values))
    assert mass.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(d.mean, mass @ values, atol=1e-12)
    np.testing.assert_allclose(d.variance, mass @ values**2 - d.mean**2, atol=1e-12)
    assert p_value_of_counts(d.sample(3, (4000,)), d) > FALSE_ALARM


def test_a_wrong_sampler_of_vectors_is_caught():
    d, other = VECTORS["Multinomial"], dist.DirichletMultinomial(np.array([2.0, 5.0, 3.0]), 5)
    assert p_value_of_counts(other.sample(3, (4000,)), d) < FALSE_ALARM
    assert p_value_of_counts(d.sample(3, (4000,))[:, [1, 0, 2]], d) < FALSE_ALARM


def test_categories_with_concentrations_that_underflow():
    draws = dist.DirichletMultinomial(np.full(4, 1e-12), 6).sample(0, (400,))
    assert np.all(np.sum(draws == 6, axis=-1) == 1)  # all in one category, each as likely
    assert stats.chisquare(np.sum(draws == 6, axis=0)).pvalue > FALSE_ALARM


def test_heavy_tails_stay_integers():
    draws = dist.BetaNegativeBinomial(1.3, 0.02, 0.5).sample(0, (2000,))
    assert draws.dtype == np.int64
    assert draws.min() == 0 and draws.max() > 10**15


# -- zeros --------------------------------------------------------------------------------------------
def gradient(fun, *inputs):
    program = A.gradient(A.record(lambda *xs: (fun(*xs),), inputs), list(range(len(inputs))))
    return [float(g) for g in A.compile_program(program)(*inputs)[1:]]


def test_the_gradient_where_the_gate_is_closed():
    """d log(g + (1 - g) e^-r) / dg = (1 - e^-r) / e^-r at g = 0, and that of a Poisson in r."""
    slopes = gradient(lambda g, r: dist.ZeroInflatedPoisson(g, r).log_prob(0), 0.0, 2.5)
    np.testing.assert_allclose(slopes, [np.expm1(2.5), -1.0], rtol=1e-12)
    slopes = gradient(lambda g, r: dist.ZeroInflatedPoisson(g, r).log_prob(np.array([3]))[0], 0.0, 900.0)
    np.testing.assert_allclose(slopes, [-1.0, 3 / 900 - 1], rtol=1e-12)


def negative(mean, r, x):
    r, mean = mpf(r), mpf(mean)
    return exact_negative(x, r, mpmath.log(mean / (mean + r)), mpmath.log(r / (mean + r)))


GRADIENTS = {
    "NegativeBinomial": (
        lambda r, l: dist.NegativeBinomial(r, logits=l).log_prob(6),
        lambda r, l: exact_negative_logits(6, r, l),
        (0.37, -1.3),
    ),
    "NegativeBinomial2": (
        lambda m, r: dist.NegativeBinomial2(m, r).log_prob(0),
        lambda m, r: negative(m, r, 0),
        (1e-3, 2.5),
    ),
    "GammaPoisson": (
        lambda a, b: dist.GammaPoisson(a, b).log_prob(9),
        lambda a, b: exact_gamma_poisson(9, a, b),
        (1e-3, 1e4),
    ),
    "BetaNegativeBinomial": (
        lambda a, b, n: dist.BetaNegativeBinomial(a, b, n).log_prob(5),
        lambda a, b, n: exact_beta_negative(5, a, b, n),
        (0.01, 2.5, 1.3),
    ),
    "DirichletMultinomial": (
        lambda a, b: dist.DirichletMultinomial(np.stack([a, b]), 5).log_prob(np.array([5, 0])),
        lambda a, b: exact_dirichlet([5, 0], [a, b]),
        (0.05, 12.5),
    ),
    "OrderedLogistic": (
        lambda m, a: dist.OrderedLogistic(m, np.stack([a, a + 0.5])).log_prob(1),
        lambda m, a: mpmath.log(expit(a + 0.5 - m) - expit(a - m)),
        (30.0, 0.2),
    ),
    "OrderedProbit": (
        lambda m, a: dist.OrderedProbit(m, np.stack([a, a + 0.5])).log_prob(1),
        lambda m, a: mpmath.log(mpmath.ncdf(a + 0.5 - m) - mpmath.ncdf(a - m)),
        (20.0, 0.2),
    ),
    "OrderedProbit, in the middle": (
        lambda m, a: dist.OrderedProbit(m, np.stack([a, a + 0.5])).log_prob(1),
        lambda m, a: mpmath.log(mpmath.ncdf(a + 0.5 - m) - mpmath.ncdf(a - m)),
        (0.5, 0.25),
    ),
    "HurdleDistribution": (
        lambda g, r: dist.HurdleDistribution(dist.Poisson(r), gate=g).log_prob(2),
        lambda g, r: mpmath.log(1 - g) + exact_poisson(2, r) - mpmath.log(-mpmath.expm1(-r)),
        (0.3, 1e-3),
    ),
    "ZeroInflatedDistribution": (
        lambda l, r: dist.ZeroInflatedDistribution(dist.Poisson(r), gate_logits=l).log_prob(0),
        lambda l, r: mpmath.log(expit(l) + (1 - expit(l)) * mpmath.exp(-r)),
        (-60.0, 55.5),
    ),
}


@pytest.mark.parametrize("label", GRADIENTS)
def test_gradients_are_those_of_sixty_digits(label):
    fun, exact, at = GRADIENTS[label]
    slopes = gradient(fun, *at)
    with mpmath.workdps(60):
        for i, slope in enumerate(slopes):
            order = tuple(int(i == j) for j in range(len(at)))
            expected = float(mpmath.diff(exact, tuple(map(mpf, at)), order))
            assert slope == pytest.approx(expected, rel=1e-8, abs=1e-8)


# -- as likelihoods ------------------------------------------------------------------------------------
CUTS, COUNTS = np.array([-0.7, 0.4]), np.array([0, 0, 1, 3, 8])
LIKELIHOODS = {
    "Poisson": lambda z: dist.Poisson(np.exp(z)),
    "Geometric": lambda z: dist.Geometric(logits=z),
    "NegativeBinomial": lambda z: dist.NegativeBinomial(2.5, logits=z),
    "NegativeBinomial2": lambda z: dist.NegativeBinomial2(np.exp(z), 1.3),
    "GammaPoisson": lambda z: dist.GammaPoisson(np.exp(z), 0.6),
    "BetaNegativeBinomial": lambda z: dist.BetaNegativeBinomial(np.exp(z), 2.5, 3.0),
    "Multinomial": lambda z: dist.Multinomial(12, logits=np.stack([z, -z, 0.3 * z, 0.0 * z, z], axis=-1)),
    "DirichletMultinomial": lambda z: dist.DirichletMultinomial(np.exp(np.stack([z, -z, z, z, z], axis=-1)), 12),
    "OrderedLogistic": lambda z: dist.OrderedLogistic(z, CUTS),
    "OrderedProbit": lambda z: dist.OrderedProbit(z, CUTS),
    "ZeroInflatedPoisson": lambda z: dist.ZeroInflatedPoisson(special.expit(z), np.exp(z)),
    "ZeroInflatedDistribution": lambda z: dist.ZeroInflatedDistribution(dist.Geometric(0.3), gate_logits=z),
    "HurdleDistribution": lambda z: dist.HurdleDistribution(dist.Poisson(np.exp(z)), gate_logits=z),
    "MixtureSameFamily": lambda z: dist.MixtureSameFamily(
        dist.Categorical(logits=np.stack([z, -z], axis=-1)), dist.Poisson(np.exp(np.stack([z, 0.5 + 2.0 * z], axis=-1)))
    ),
    "MixtureGeneral": lambda z: dist.MixtureGeneral(
        dist.Categorical(np.array([0.4, 0.6])), [dist.Poisson(np.exp(z)), dist.Binomial(10, logits=z)]
    ),
}


def data_for(d):
    if d.event_shape:
        return COUNTS
    return np.arange(3) if isinstance(d, dist.Categorical) else COUNTS


@pytest.mark.parametrize("label", LIKELIHOODS)
def test_likelihoods_are_smooth_and_their_gradient_exact(label):
    """With a normal guide of a normal site: no operation on the way is taken for a jump, particles go in one batch."""
    family = LIKELIHOODS[label]
    y = data_for(family(np.float64(0.0)))

    def model(y):
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        d = family(z)
        if d.event_shape:
            ppl.sample("y", d, obs=y)
        else:
            with ppl.plate("rows", len(y)):
                ppl.sample("y", d, obs=y)

    def guide(y):
        ppl.sample("z", dist.Normal(ppl.param("m", 0.2), ppl.param("s", 0.4, constraint=dist.constraints.positive)))

    particles = 4000
    record = ppl.gradient(model, y, guide=guide, particles=particles)
    assert record.estimators["z"][0] == "pathwise"

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def bound(m, s):
        z = m + s * nodes
        fit = [np.sum(family(np.float64(v)).log_prob(y)) for v in z]
        return weights / weights.sum() @ (fit - 0.5 * z**2) + np.log(s)

    h = 1e-5
    exact = {"m": bound(0.2 + h, 0.4) - bound(0.2 - h, 0.4), "s": bound(0.2, 0.4 + h) - bound(0.2, 0.4 - h)}
    for name, difference in exact.items():
        error = np.sqrt(record.variance[name] / particles)
        assert abs(record.grad[name] - difference / (2 * h)) < 4.5 * error + 1e-7


# -- single precision -----------------------------------------------------------------------------------
@rows([row for row in SCALAR_ROWS if row.d.is_discrete])
def test_single_precision_of_counts(row: Row):
    leaves, rebuild = row.d.tree_flatten()
    single = rebuild([np.float32(leaf) for leaf in leaves])
    x = np.float32(row.d.sample(1, (50,)))
    result = single.log_prob(x)
    assert np.result_type(result) == np.float32
    np.testing.assert_allclose(result, row.d.log_prob(x), rtol=2e-5, atol=2e-5)


def test_large_counts_in_single_precision():
    x = np.float32([99_000, 100_000, 101_500])
    result = dist.Poisson(np.float32(1e5)).log_prob(x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, stats.poisson(1e5).logpmf(x), rtol=3e-3)


# -- words ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dist.NegativeBinomial(2.0, np.array([0.2, 1.0])), "NegativeBinomial(probs=1.0) at index (1,)"),
        (lambda: dist.NegativeBinomial(np.array([1.0, -0.5]), 0.2), "NegativeBinomial(total_count=-0.5) at index (1,)"),
        (lambda: dist.GammaPoisson(0.0, 1.0), "GammaPoisson(concentration=0.0)"),
        (lambda: dist.BetaNegativeBinomial(1.0, 1.0, np.array([[2.0], [0.0]])), "(n=0.0) at index (1, 0)"),
        (lambda: dist.Multinomial(2.5, np.full(2, 0.5)), "Multinomial(total_count=2.5)"),
        (lambda: dist.Multinomial(2, np.array([[0.5, 0.5], [0.5, 0.6]])), "Multinomial(probs=[0.5 0.6]) at index (1,)"),
        (
            lambda: dist.DirichletMultinomial(np.array([1.0, 0.0]), 2),
            "DirichletMultinomial(concentration=0.0) at index (1,)",
        ),
        (lambda: dist.OrderedLogistic(0.0, np.array([1.0, 0.0])), "OrderedLogistic(cutpoints=0.0) at index (1,)"),
        (
            lambda: dist.OrderedProbit(np.array([0.0, np.nan]), np.zeros(1)),
            "OrderedProbit(predictor=nan) at index (1,)",
        ),
        (lambda: dist.ZeroInflatedPoisson(1.2, 1.0), "ZeroInflatedPoisson(gate=1.2)"),
        (lambda: dist.ZeroInflatedPoisson(0.2, np.array([1.0, -1.0])), "ZeroInflatedPoisson(rate=-1.0) at index (1,)"),
        (lambda: dist.HurdleDistribution(dist.Poisson(1.0), gate=-0.1), "HurdleDistribution(gate=-0.1)"),
    ],
)
def test_bad_parameters_are_named_with_their_place(make, words):
    with pytest.raises(SupportError, match=re.escape(words)):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dist.Multinomial(3), "neither of probs and logits"),
        (lambda: dist.ZeroInflatedDistribution(dist.Poisson(1.0)), "neither of gate and gate_logits"),
        (lambda: dist.HurdleDistribution(dist.Poisson(1.0), gate=0.1, gate_logits=0.0), "both of gate"),
        (lambda: dist.ZeroInflatedDistribution(dist.Normal(), gate=0.1), "a family of counts"),
        (lambda: dist.HurdleDistribution(dist.DiscreteUniform(1, 6), gate=0.1), "a family of counts"),
        (lambda: dist.ZeroInflatedDistribution(dist.OneHotCategorical(np.ones(1)), gate=0.1), "a family of counts"),
        (lambda: dist.HurdleDistribution(dist.Poisson(np.array([1.0, 0.0])), gate=0.1), "never above 0"),
    ],
)
def test_senseless_counts_are_model_errors(make, words):
    with pytest.raises(ModelError, match=words):
        make()


def test_gates_that_do_not_fit_are_shape_errors():
    with pytest.raises(ShapeError, match=r"gate: \(2,\), counts: \(3,\)"):
        dist.ZeroInflatedDistribution(dist.Poisson(np.ones(3)), gate=np.full(2, 0.5))


@pytest.mark.parametrize(
    ("d", "value", "words"),
    [
        (dist.Multinomial(3, np.full(2, 0.5)), np.array([[1, 2], [1, 1]]), "[1 1] at index (1,) for Multinomial"),
        (dist.HurdleDistribution(dist.Poisson(1.0), gate=0.1), np.array([1.0, 0.5]), "0.5 at index (1,)"),
        (dist.OrderedLogistic(0.0, np.zeros(2)), np.array([2, 3]), "3 at index (1,) for OrderedLogistic"),
    ],
)
def test_values_outside_are_named_with_their_place(d, value, words):
    assert np.any(d.log_prob(value) == -np.inf)
    with pytest.raises(SupportError, match=re.escape(words)):
        d.check_value(value, site="y")


def test_numpyro_spellings():
    assert dist.BernoulliProbs(0.3).parameters == {"probs": 0.3}
    assert dist.BernoulliLogits(0.3).parameters == {"logits": 0.3}
    assert dist.BinomialProbs(0.3, 5).parameters == {"total_count": 5, "probs": 0.3}
    assert dist.BinomialLogits(0.3, 5).parameters == {"total_count": 5, "logits": 0.3}
    assert dist.GeometricProbs(0.3).parameters == {"probs": 0.3}
    assert dist.GeometricLogits(0.3).parameters == {"logits": 0.3}
    assert dist.NegativeBinomialProbs(5.0, 0.3).parameters == {"total_count": 5.0, "probs": 0.3}
    assert dist.NegativeBinomialLogits(5.0, 0.3).parameters == {"total_count": 5.0, "logits": 0.3}
    half = np.full(2, 0.5)
    for make in (dist.CategoricalProbs, dist.CategoricalLogits, dist.MultinomialProbs, dist.MultinomialLogits):
        d = make(half)
        assert make.__name__ == type(d).__name__ + ("Probs" if "probs" in d.parameters else "Logits")
    assert dist.BetaNegativeBinomial(1.0, 2.0, 3.0).parameters == {
        "concentration1": 1.0,
        "concentration0": 2.0,
        "n": 3.0,
    }
    assert dist.GammaPoisson(2.0).parameters == {"concentration": 2.0, "rate": 1.0}
    assert dist.ZeroInflatedPoisson(0.2).parameters == {"gate": 0.2, "rate": 1.0}
    assert dist.DirichletMultinomial(half).total_count == 1


def test_one_law_in_four_spellings():
    x, r, p = np.arange(60), 2.5, 0.37
    expected = stats.nbinom(r, 1 - p).logpmf(x)
    for d in (
        dist.NegativeBinomial(r, p),
        dist.NegativeBinomial(r, logits=special.logit(p)),
        dist.NegativeBinomial2(r * p / (1 - p), r),
        dist.GammaPoisson(r, (1 - p) / p),
    ):
        np.testing.assert_allclose(d.log_prob(x), expected, rtol=1e-10)
        np.testing.assert_allclose(d.mean, r * p / (1 - p))


@pytest.mark.parametrize(
    "family",
    [
        lambda n: dist.Binomial(n, 0.3),
        lambda n: dist.Binomial(n, logits=0.3),
        lambda n: dist.BetaBinomial(2.0, 3.0, n),
        lambda n: dist.Multinomial(n, np.array([0.2, 0.8])),
        lambda n: dist.DirichletMultinomial(np.array([1.0, 2.0]), n),
    ],
)
@pytest.mark.parametrize("kind", [float, np.float32, np.int8])
def test_trials_may_be_counted_in_any_type(family, kind):
    """A column of whole numbers in floating point gives the draws and the log masses of integers."""
    counts = np.array([5, 0, 7])
    whole, other = family(counts), family(counts.astype(kind))
    draws = other.sample(0, (50,))
    assert draws.dtype == np.int64
    np.testing.assert_array_equal(draws, whole.sample(0, (50,)))
    error = 3e-4 if kind == np.float32 else 1e-14
    np.testing.assert_allclose(other.log_prob(draws), whole.log_prob(draws), rtol=error, atol=error)


@pytest.mark.parametrize(
    ("loc", "scale", "x"),
    [(127.5, 0.01, 3), (-40.0, 0.5, 200), (400.0, 2.0, 0), (90.0, 1e-3, 90), (10.0, 1e4, 77), (255.4, 0.02, 255)],
)
def test_a_rounded_logistic_is_exact_where_the_difference_of_two_cdfs_is_not(loc, scale, x):
    import mpmath as mp

    with mp.workdps(6000):  # the two cdfs agree in thousands of digits
        edge = lambda k: 1 / (1 + mp.exp(-(mp.mpf(k) - mp.mpf(loc)) / mp.mpf(scale)))
        exact = (1 if x == 255 else edge(x + 0.5)) - (0 if x == 0 else edge(x - 0.5))
        expected = float(mp.log(exact))
    assert dist.DiscretizedLogistic(loc, scale).log_prob(x) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_mixture_of_rounded_logistics_is_a_family_of_levels():
    weights, loc, scale = np.array([0.2, 0.5, 0.3]), np.array([3.0, 120.0, 260.0]), np.array([2.0, 9.0, 4.0])
    d = dist.MixtureSameFamily(dist.Categorical(weights), dist.DiscretizedLogistic(loc, scale))
    levels = np.arange(256)
    parts = np.exp(dist.DiscretizedLogistic(loc, scale).log_prob(levels[:, None]))
    np.testing.assert_allclose(np.exp(d.log_prob(levels)), parts @ weights, rtol=1e-12)
    assert np.exp(d.log_prob(levels)).sum() == pytest.approx(1.0, abs=1e-12)
