"""Laws that every family obeys, against oracles that share no code with it."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import mpmath
import numpy as np
import pytest
from mpmath import mp
from scipy import integrate, special, stats

import ppl.distributions as dist
from ppl.errors import ModelError, ShapeError, SupportError

from .registry import ALL_ROWS, CONTINUOUS, DISCRETE, MIXTURE, SCALAR_ROWS, VECTOR_ROWS, Row, interior_value

pytestmark = pytest.mark.filterwarnings("error")

# Chance that one right sampler fails its goodness-of-fit test; with some 100 tests the suite is red by
# chance in one of ten million seeds, and the seeds are fixed.
FALSE_ALARM = 1e-9
ROOT = Path(__file__).parents[2]
DRAWS = 4000
PROBABILITIES = np.array([1e-9, 1e-3, 0.05, 0.3, 0.5, 0.77, 0.99, 0.999])


def rows(table):
    return pytest.mark.parametrize("row", table, ids=str)


def quantiles(row: Row):
    """Values across the support, with the batch axes on the right."""
    q = PROBABILITIES.reshape(-1, *(1,) * len(row.d.batch_shape))
    return row.oracle.ppf(np.broadcast_to(q, PROBABILITIES.shape + row.d.batch_shape))


def test_every_family_has_a_row():
    def families(d):
        yield type(d).__name__
        for part in d.parameters.values():
            if isinstance(part, dist.Distribution):
                yield from families(part)

    assert {name for row in ALL_ROWS for name in families(row.d)} == set(dist.FAMILIES)


# -- densities ---------------------------------------------------------------------------------


@rows(CONTINUOUS)
def test_log_density_is_scipys(row):
    x = quantiles(row)
    np.testing.assert_allclose(row.d.log_prob(x), row.oracle.logpdf(x), rtol=1e-9, atol=1e-9)


@rows(DISCRETE)
def test_log_mass_is_scipys(row):
    x = quantiles(row)
    np.testing.assert_allclose(row.d.log_prob(x), row.oracle.logpmf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(row.d.log_prob(x.astype(np.int64)), row.d.log_prob(x))


@rows(VECTOR_ROWS)
def test_log_density_of_vectors_is_scipys(row):
    x = row.d.sample(1, (7,))
    oracle = row.oracle.logpmf if row.d.is_discrete else row.oracle.logpdf
    np.testing.assert_allclose(row.d.log_prob(x), [oracle(value) for value in x], rtol=1e-9, atol=1e-9)


@rows([row for row in ALL_ROWS if row.d.has("sample")])
def test_the_density_of_a_value_known_to_be_inside_is_the_density(row):
    x = row.d.sample(2, (5,))
    np.testing.assert_array_equal(row.d.log_prob_inside(x), row.d.log_prob(x))


@rows([row for row in CONTINUOUS if row.scalar])
def test_density_integrates_to_one(row):
    # Over quantiles, so that singular ends and long tails are cut into pieces that quadrature can do.
    tail = np.array([1e-6, 1e-5, 1e-4, 1e-3, 0.01])
    edges = row.oracle.ppf(np.concatenate([tail, np.linspace(0.05, 0.95, 7), 1 - tail[::-1]]))
    mass = sum(integrate.quad(lambda x: np.exp(row.d.log_prob(x)), a, b, epsabs=1e-11)[0] for a, b in pairwise(edges))
    assert mass == pytest.approx(1.0, abs=3e-6)


@rows([row for row in DISCRETE if row.scalar])
def test_mass_sums_to_one(row):
    x = np.arange(row.oracle.ppf(1e-12), row.oracle.ppf(1 - 1e-12) + 1)
    assert np.sum(np.exp(row.d.log_prob(x))) == pytest.approx(1.0, abs=1e-9)


@rows([row for row in ALL_ROWS if row.d.has("enumerate_support")])
def test_enumerated_mass_sums_to_one(row):
    try:
        values = row.d.enumerate_support()
    except ModelError:  # the sizes differ over the batch
        return
    assert values.shape[1:] == row.d.shape()
    np.testing.assert_allclose(special.logsumexp(row.d.log_prob(values), axis=0), 0.0, atol=1e-9)
    np.testing.assert_array_equal(np.broadcast_to(row.d.enumerate_support(expand=False), values.shape), values)


TAILS = [
    (dist.Normal(), 1e5, lambda x: -(x**2) / 2 - mpmath.log(2 * mpmath.pi) / 2),
    (dist.Logistic(), -800.0, lambda x: x - 2 * mpmath.log1p(mpmath.exp(x))),
    (dist.Gumbel(), 800.0, lambda x: -x - mpmath.exp(-x)),
    (dist.StudentT(2.5), 1e100, lambda x: mpmath.log(_student(x, mpmath.mpf(2.5)))),
    (dist.StudentT(1e6), 3.0, lambda x: mpmath.log(_student(x, mpmath.mpf(10) ** 6))),
    (dist.Laplace(), 1e6, lambda x: -x - mpmath.log(2)),
    (dist.TruncatedNormal(low=30.0), 31.0, lambda x: _truncated(x, 30, mpmath.inf)),
    (dist.TruncatedNormal(low=30.0, high=32.0), 31.0, lambda x: _truncated(x, 30, 32)),
    (dist.TruncatedNormal(low=-32.0, high=-30.0), -31.0, lambda x: _truncated(x, -32, -30)),
    (dist.Bernoulli(logits=-800.0), 1.0, lambda x: -mpmath.log1p(mpmath.exp(800))),
    (dist.Binomial(10**6, logits=-20.0), 3.0, lambda x: _binomial(3, 10**6, -20)),
    (dist.NegativeBinomial2(3.0, 1e8), 5.0, lambda x: _negative_binomial(5, 3, mpmath.mpf(10) ** 8)),
]


def _student(x, df):
    head = mpmath.gamma((df + 1) / 2) / (mpmath.sqrt(df * mpmath.pi) * mpmath.gamma(df / 2))
    return head * (1 + mpmath.mpf(x) ** 2 / df) ** (-(df + 1) / 2)


def _truncated(x, low, high):
    mass = mpmath.ncdf(-low) - mpmath.ncdf(-high)
    return mpmath.log(mpmath.npdf(x) / mass)


def _binomial(k, n, logit):
    p = 1 / (1 + mpmath.exp(-logit))
    return mpmath.log(mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k))


def _negative_binomial(k, mean, r):
    ways = mpmath.gamma(k + r) / (mpmath.factorial(k) * mpmath.gamma(r))
    return mpmath.log(ways * (r / (r + mean)) ** r * (mean / (r + mean)) ** k)


@pytest.mark.parametrize(("d", "x", "exact"), TAILS, ids=lambda v: type(v).__name__)
def test_tails_are_exact(d, x, exact):
    with mpmath.workdps(500):
        expected = float(exact(mpmath.mpf(x)))
    assert float(d.log_prob(x)) == pytest.approx(expected, rel=1e-7)


def test_mixture_density_is_the_weighted_sum():
    x = np.linspace(-3.0, 5.0, 9)
    expected = 0.3 * stats.norm(-1.0, 0.5).pdf(x) + 0.7 * stats.norm(2.0, 1.5).pdf(x)
    np.testing.assert_allclose(np.exp(MIXTURE.log_prob(x)), expected)
    np.testing.assert_allclose(MIXTURE.cdf(x), 0.3 * stats.norm(-1.0, 0.5).cdf(x) + 0.7 * stats.norm(2.0, 1.5).cdf(x))


@rows([row for row in ALL_ROWS if not row.d.is_discrete and not isinstance(row.d, dist.ImproperUniform)])
def test_single_precision_stays_single(row):
    leaves, rebuild = row.d.tree_flatten()
    d = rebuild([np.float32(leaf) if np.asarray(leaf).dtype.kind == "f" else leaf for leaf in leaves])
    x = np.float32(interior_value(row))
    assert np.result_type(d.log_prob(x)) == np.float32
    if d.noise is not None:
        assert np.result_type(d.from_noise(np.float32(d.draw_noise(0)))) == np.float32


def test_mixture_of_supports():
    parts = dist.Uniform(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    d = dist.MixtureSameFamily(dist.Categorical(np.array([0.25, 0.75])), parts)
    np.testing.assert_allclose(np.exp(d.log_prob(np.array([-1.0, 0.5, 1.5, 2.5]))), [0.0, 0.25, 0.0, 0.75])
    np.testing.assert_array_equal(d.support(np.array([-1.0, 0.5, 1.5, 2.5])), [False, True, False, True])
    assert np.all(d.support(d.sample(0, (100,))))


# -- distribution functions ----------------------------------------------------------------------


@rows([row for row in SCALAR_ROWS if row.d.has("cdf")])
def test_cdf_is_scipys(row):
    x = quantiles(row)
    np.testing.assert_allclose(row.d.cdf(x), row.oracle.cdf(x), rtol=1e-7, atol=1e-12)
    outside = np.array([-1e6, 1e6]).reshape(-1, *(1,) * len(row.d.batch_shape))
    np.testing.assert_allclose(row.d.cdf(outside), row.oracle.cdf(outside), rtol=1e-6, atol=1e-12)


@rows([row for row in CONTINUOUS if row.d.has("cdf")])
def test_log_cdf_and_log_survival_are_logarithms_of_the_cdf(row):
    x = quantiles(row)
    np.testing.assert_allclose(np.exp(row.d.log_cdf(x)), row.d.cdf(x), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(np.exp(row.d.log_survival(x)), 1.0 - row.d.cdf(x), rtol=1e-9, atol=1e-13)


@rows([row for row in SCALAR_ROWS if row.d.has("icdf")])
def test_icdf_is_scipys(row):
    q = PROBABILITIES[1:].reshape(-1, *(1,) * len(row.d.batch_shape))
    np.testing.assert_allclose(row.d.icdf(q), row.oracle.ppf(q), rtol=1e-8, atol=1e-8)


@rows([row for row in CONTINUOUS if row.scalar and row.d.has("icdf")])
def test_plain_numbers_are_taken_in_double_precision(row):
    """Parameters and a level that are Python's own floats, of which NumPy's rules of types think less."""
    leaves, rebuild = row.d.tree_flatten()
    d = rebuild([leaf if np.ndim(leaf) else float(leaf) for leaf in leaves])
    assert d.icdf(0.3) == pytest.approx(row.d.icdf(np.array(0.3)), rel=1e-12)
    assert d.icdf(0.3) == pytest.approx(row.oracle.ppf(0.3), rel=1e-8, abs=1e-8)
    if d.noise is not None and d.noise_shape == ():
        falling = d.noise == "uniform" and d.from_noise(0.1) > d.from_noise(0.9)
        quantile = d.icdf(0.7 if falling else 0.3) if d.noise == "uniform" else d.from_noise(np.array(0.3))
        assert d.from_noise(0.3) == pytest.approx(quantile, rel=1e-9)


# -- moments -------------------------------------------------------------------------------------


# Where the entropy is finite and scipy's, or that of the oracle of the registry, is not a number.
SCIPY_KNOWS_NONE = {
    (label, "entropy") for label in ("TruncatedNormal-0", "TruncatedNormal-1", "TruncatedNormal-2", "Kumaraswamy-3")
}


@rows(SCALAR_ROWS)
@pytest.mark.parametrize("moment", ["mean", "variance", "entropy"])
def test_moments_are_scipys(row, moment):
    if not row.d.has(moment):
        return
    ours = row.d.entropy() if moment == "entropy" else getattr(row.d, moment)
    assert np.shape(ours) == row.d.batch_shape
    if moment == "entropy":
        exact = _entropy(row)
    else:
        exact = row.oracle.mean() if moment == "mean" else row.oracle.var()
    known = np.isfinite(np.broadcast_to(exact, row.d.batch_shape))
    if (row.label, moment) not in SCIPY_KNOWS_NONE:
        np.testing.assert_array_equal(np.isfinite(ours), known)
    np.testing.assert_allclose(
        np.asarray(ours)[known], np.broadcast_to(exact, row.d.batch_shape)[known], rtol=1e-9, atol=1e-7
    )


def _entropy(row: Row):
    """By summation where scipy has no vectorised entropy of its own."""
    if not row.d.is_discrete:
        return row.oracle.entropy()
    if row.d.has("enumerate_support") and row.scalar:
        return stats.entropy(np.exp(row.d.log_prob(row.d.enumerate_support())))
    x = np.arange(-20, 2000).reshape(-1, *(1,) * len(row.d.batch_shape))
    return np.sum(special.entr(row.oracle.pmf(x)), axis=0)


def mode_is_beaten(d, mode, width, x) -> bool:
    """Is the density higher at some x, or a small part of a width (of counts: one) beside the mode?"""
    steps = (1.0,) if d.is_discrete else (0.02 * width, 1e-3 * width, 1e-4 * width)
    with np.errstate(all="ignore"):
        beside = [d.log_prob(mode + sign * step) for step in steps for sign in (-1.0, 1.0)]
        best = np.max([*beside, *d.log_prob(x)], axis=0)
    # A mode at the open end of the support, such as 0 for an exponential, is the limit from inside.
    nudged = np.where(d.support(mode), mode, mode + 1e-250)
    best = np.where(np.isfinite(best), best, -np.inf)
    return bool(np.any(d.log_prob(nudged) < best - 1e-9 * (1.0 + np.abs(np.where(np.isfinite(best), best, 0.0)))))


@rows([row for row in SCALAR_ROWS if row.d.has("mode")])
def test_mode_is_nowhere_beaten(row):
    mode = np.asarray(row.d.mode, dtype=float)
    width = row.oracle.ppf(0.75 + np.zeros(row.d.batch_shape)) - row.oracle.ppf(0.25 + np.zeros(row.d.batch_shape))
    assert not mode_is_beaten(row.d, mode, width, quantiles(row))


@pytest.mark.parametrize(
    ("d", "end"),
    [
        *((dist.Gamma(a, 2.0), 0.0) for a in (0.3, 1.0)),
        *((dist.Chi2(df), 0.0) for df in (0.3, 2.0)),
        *((dist.Weibull(1.3, k), 0.0) for k in (0.3, 1.0)),
        (dist.LogLogistic(0.3, 1.7), 0.0),
        (dist.FisherSnedecor(1.3, 3.0), 0.0),
        (dist.Gompertz(2.0, 1.0), 0.0),
        (dist.Beta(0.5, 0.3), 1.0),
        (dist.Beta(0.3, 0.5), 0.0),
        (dist.Beta(0.3, 1.5), 0.0),
        (dist.Kumaraswamy(0.5, 2.0), 0.0),
        (dist.TruncatedDistribution(dist.Gamma(0.3, 2.0), high=2.0), 0.0),
        (dist.TruncatedDistribution(dist.Beta(0.5, 0.5), 0.1, 0.8), 0.1),
        (dist.Dirichlet(np.array([0.5, 0.3])), [1.0, 0.0]),
        (dist.Wishart(2.0, np.eye(2)), np.zeros((2, 2))),
        (dist.LKJ(2, 0.5), np.full((2, 2), np.nan)),
        (dist.LKJCholesky(2, 0.5), np.full((2, 2), np.nan)),
    ],
    ids=str,
)
def test_the_mode_of_a_density_that_is_highest_at_an_open_end_is_that_end(d, end):
    np.testing.assert_array_equal(d.mode, end)
    assert not np.any(np.signbit(d.mode))


def test_a_wrong_mode_is_caught():
    assert mode_is_beaten(dist.Normal(), np.array(0.02), 1.35, np.array([1.0]))
    d = dist.Levy(0.0, 1.0)  # whose width is far larger than what is to be seen
    assert mode_is_beaten(d, np.array(1.0 / 2.8), d.icdf(0.75) - d.icdf(0.25), np.array([1.0]))
    assert mode_is_beaten(dist.Poisson(3.5), np.array(2.0), 1.0, np.array([9.0]))


@rows([row for row in VECTOR_ROWS + [r for r in ALL_ROWS if r.d is MIXTURE] if row.d.has("mean")])
def test_moments_of_vectors_are_those_of_draws(row):
    x = row.d.sample(3, (20_000,))
    error = np.sqrt(row.d.variance / len(x))
    # One in 10^10 per element; what does not vary, such as a zero above a diagonal, is right but for rounding.
    assert np.all(np.abs(x.mean(0) - row.d.mean) < 6.5 * error + 1e-12)
    spread = np.sqrt(np.mean((x - row.d.mean) ** 4, axis=0) / len(x))
    assert np.all(np.abs(x.var(0) - row.d.variance) < 6.5 * spread + 1e-12)


@rows([row for row in VECTOR_ROWS if row.d.has("entropy")])
def test_entropy_of_vectors_is_scipys(row):
    np.testing.assert_allclose(row.d.entropy(), row.oracle.entropy(), atol=1e-9)


def test_covariance_of_draws():
    row = VECTOR_ROWS[0]
    x = row.d.sample(0, (40_000,))
    np.testing.assert_allclose(np.cov(x.T), row.oracle.cov, atol=0.15)
    for other in VECTOR_ROWS[1:3]:
        np.testing.assert_allclose(other.d.covariance_matrix, row.d.covariance_matrix, atol=1e-9)
        np.testing.assert_allclose(other.d.precision_matrix, row.d.precision_matrix, atol=1e-9)
        np.testing.assert_allclose(other.d.scale_tril, row.d.scale_tril, atol=1e-9)


# -- draws -------------------------------------------------------------------------------------


def fit_p_value(draws, oracle, discrete: bool) -> float:
    """Goodness of fit: Kolmogorov-Smirnov for densities, chi-square over pooled cells for masses."""
    if not discrete:
        with np.errstate(all="ignore"):
            return stats.kstest(draws, oracle.cdf).pvalue
    lowest, highest = int(oracle.ppf(1e-6)), int(oracle.ppf(1 - 1e-6))
    if lowest == highest:
        return float(np.all(draws == lowest))
    cells = np.arange(lowest, highest + 1)
    expected = oracle.pmf(cells) * len(draws)
    kept = expected >= 5
    counts = np.array([np.sum(draws == cell) for cell in cells])
    rest_observed, rest_expected = len(draws) - counts[kept].sum(), len(draws) - expected[kept].sum()
    if rest_expected < 5:  # too few for a cell of their own
        assert rest_observed <= 40
        scale = counts[kept].sum() / expected[kept].sum()
        return stats.chisquare(counts[kept], expected[kept] * scale).pvalue if kept.sum() > 1 else 1.0
    return stats.chisquare([*counts[kept], rest_observed], [*expected[kept], rest_expected]).pvalue


def _element(row: Row, index):
    """The oracle of one batch element."""
    parameters = [np.broadcast_to(p, row.d.batch_shape)[index] for p in row.oracle.args]
    keywords = {name: np.broadcast_to(p, row.d.batch_shape)[index] for name, p in row.oracle.kwds.items()}
    return row.oracle.dist(*parameters, **keywords)


@rows(SCALAR_ROWS)
def test_draws_follow_the_law(row):
    draws = row.d.sample(7, (DRAWS,))
    assert np.all(row.d.support(draws))
    assert not row.d.is_discrete or draws.dtype == np.int64
    for index in np.ndindex(row.d.batch_shape):
        oracle = _element(row, index) if index else row.oracle
        assert fit_p_value(draws[(slice(None), *index)], oracle, row.d.is_discrete) > FALSE_ALARM


@pytest.mark.parametrize(
    ("draws", "oracle", "discrete"),
    [
        (dist.Gamma(2.5, 0.8).sample(7, (DRAWS,)), stats.gamma(2.5, scale=1 / 0.7), False),
        (dist.StudentT(2.0).sample(7, (DRAWS,)), stats.norm(), False),
        (dist.Poisson(3.5).sample(7, (DRAWS,)), stats.poisson(3.0), True),
        (dist.Geometric(0.3).sample(7, (DRAWS,)) + 1, stats.geom(0.3, loc=-1), True),
    ],
    ids=["rate", "tails", "mean", "shifted"],
)
def test_a_wrong_sampler_is_caught(draws, oracle, discrete):
    assert fit_p_value(draws, oracle, discrete) < FALSE_ALARM


MANY_DRAWS = 40_000
SIX_SIGMA = 6.2  # beyond which one normal number in 1.8e9 lies


def normal_scores(draws, oracle, rng):
    """Standard normal numbers, if the draws are the oracle's; the jumps of a discrete cdf are filled at random."""
    with np.errstate(all="ignore"):
        if draws.dtype.kind != "i":
            u = oracle.cdf(draws)
        elif (low := draws.min()) + 5000 > draws.max():  # each count once
            cells = np.arange(low - 1, draws.max() + 1).reshape(-1, *(1,) * (draws.ndim - 1))
            table = oracle.cdf(cells + np.zeros(draws.shape[1:]))
            below, upto = (np.take_along_axis(table, draws - low + k, 0) for k in (0, 1))
            u = below + rng.random(draws.shape) * (upto - below)
        else:
            below = oracle.cdf(draws - 1)
            u = below + rng.random(draws.shape) * (oracle.cdf(draws) - below)
    return special.ndtri(np.clip(u, 1e-15, 1.0 - 1e-15))


def is_off(scores) -> bool:
    """Location off by more than 3.1 % of a standard deviation, or the scale by more than 2.2 %."""
    n = len(scores)
    location, spread = np.abs(scores.mean(0)) * np.sqrt(n), np.abs(np.mean(scores * scores, 0) - 1.0) * np.sqrt(n / 2.0)
    return bool(np.any(location > SIX_SIGMA) or np.any(spread > SIX_SIGMA))


@rows([row for row in SCALAR_ROWS if type(row.d)._draw is not dist.Distribution._draw and row.d.has("sample")])
def test_own_samplers_have_the_right_place_and_scale(row):
    rng = np.random.default_rng(11)
    assert not is_off(normal_scores(row.d.sample(rng, (MANY_DRAWS,)), row.oracle, rng))


@pytest.mark.parametrize(
    ("d", "oracle"),
    [
        (dist.Normal(0.04, 1.0), stats.norm()),
        (dist.Normal(0.0, 1.03), stats.norm()),
        (dist.Gamma(2.5, 1.0), stats.gamma(2.5, scale=1.03)),
        (dist.StudentT(3.0, 0.0, 1.03), stats.t(3.0)),
        (dist.Poisson(30.0), stats.poisson(30.0 + 0.05 * np.sqrt(30.0))),
    ],
)
def test_a_small_error_of_a_sampler_is_caught(d, oracle):
    """Errors just above the smallest that can be seen."""
    rng = np.random.default_rng(11)
    assert is_off(normal_scores(d.sample(rng, (MANY_DRAWS,)), oracle, rng))


@rows([row for row in SCALAR_ROWS if row.d.has("from_noise") and row.d.noise_shape == row.d.shape()])
def test_draws_from_an_even_grid_of_noise_fill_the_cdf(row):
    n = 1001
    grid = (np.arange(n) + 0.5) / n
    noise = special.ndtri(grid) if row.d.noise == "normal" else grid
    shape = (n, *(1,) * len(row.d.noise_shape))
    draws = row.d.from_noise(np.broadcast_to(noise.reshape(shape), (n, *row.d.noise_shape)))
    x = np.sort(draws, axis=0)
    reached = row.oracle.cdf(x)
    before = row.oracle.cdf(x - 1) if row.d.is_discrete else reached
    share = grid.reshape(shape)
    assert np.all(reached >= share - 2 / n)  # 2: a half-normal folds two grid points onto one
    assert np.all(before <= share + 2 / n)


@rows([row for row in ALL_ROWS if row.d.has("sample")])
def test_one_draw_is_an_array_scalar(row):
    draw = row.d.sample(0)
    assert draw.dtype == (np.int64 if row.d.is_discrete else np.float64)
    assert draw.shape == row.d.shape()


def test_sampling_is_reproducible_and_moves_a_generator_on():
    d, rng = dist.Gamma(2.0, 1.0), np.random.default_rng(5)
    np.testing.assert_array_equal(d.sample(5, (3,)), d.sample(5, (3,)))
    first, second = d.sample(rng, (3,)), d.sample(rng, (3,))
    np.testing.assert_array_equal(first, d.sample(5, (3,)))
    assert not np.any(first == second)


def test_uniform_noise_is_never_zero():
    class Zeros(np.random.Generator):
        def random(self, size=None, dtype=np.float64, out=None):
            return np.zeros(size)

    noise = dist.Exponential(1.0).draw_noise(Zeros(np.random.PCG64(0)), (3,))
    assert np.all(noise > 0)
    assert np.all(np.isfinite(dist.Gumbel().from_noise(noise)))


# -- outside the support -----------------------------------------------------------------------


OUTSIDE = [np.nan, np.inf, -np.inf]


@rows(SCALAR_ROWS)
def test_outside_the_support_the_log_density_is_minus_infinity(row):
    candidates = np.array([*OUTSIDE, -7.0, -0.5, 0.0, 1e9, 2.5])
    x = candidates.reshape(-1, *(1,) * len(row.d.batch_shape)) + np.zeros(row.d.batch_shape)
    log_prob, inside = row.d.log_prob(x), row.d.support(x)
    assert not np.any(np.isnan(log_prob))
    assert np.all(log_prob[~inside] == -np.inf)
    np.testing.assert_array_equal(log_prob[0], np.full(row.d.batch_shape, -np.inf))


@pytest.mark.parametrize(
    ("d", "value"),
    [
        (dist.Dirichlet(np.ones(3)), np.array([0.5, 0.6, 0.5])),
        (dist.Dirichlet(np.array([0.5, 1.0, 2.0])), np.array([-0.1, 0.6, 0.5])),
        (dist.OneHotCategorical(np.full(3, 1 / 3)), np.array([1, 1, 0])),
        (dist.MultivariateNormal(np.zeros(2), np.eye(2)), np.array([np.nan, 0.0])),
        (dist.Gamma(np.ones(2), 1.0).to_event(1), np.array([1.0, -1.0])),
        (dist.ImproperUniform(dist.constraints.positive, (), (2,)), np.array([1.0, -1.0])),
    ],
    ids=lambda v: getattr(type(v), "__name__", "") if isinstance(v, dist.Distribution) else "",
)
def test_vectors_outside_the_support(d, value):
    assert d.log_prob(value) == -np.inf


def test_masked_values_are_never_looked_at():
    d = dist.Gamma(2.0, 1.0).mask(np.array([True, False, False]))
    value = np.array([1.0, np.nan, -3.0])
    np.testing.assert_allclose(d.log_prob(value), [-1.0, 0.0, 0.0])
    d.check_value(value)


def test_boundary_parameters():
    assert dist.Bernoulli(0.0).log_prob(0) == 0.0
    assert dist.Bernoulli(1.0).log_prob(0) == -np.inf
    assert dist.Poisson(0.0).log_prob(0) == 0.0
    assert dist.Poisson(0.0).log_prob(2) == -np.inf
    assert dist.Beta(1.0, 1.0).log_prob(0.0) == 0.0
    assert dist.Beta(2.0, 1.0).log_prob(0.0) == -np.inf
    assert dist.Binomial(5, 1.0).log_prob(5) == pytest.approx(0.0, abs=1e-12)


# -- errors -----------------------------------------------------------------------------------


def test_a_bad_parameter_is_named_with_its_place():
    with pytest.raises(SupportError) as caught:
        dist.Normal(0.0, np.array([[1.0, 2.0], [-3.0, np.nan]]))
    message = str(caught.value)
    for part in ("Normal", "scale", "-3.0", "(1, 0)", "a positive number", "try"):
        assert part in message


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: dist.Normal(np.nan, 1.0), "loc"),
        (lambda: dist.Gamma(0.0, 1.0), "concentration"),
        (lambda: dist.Beta(1.0, -1.0), "concentration0"),
        (lambda: dist.Uniform(2.0, 1.0), "high"),
        (lambda: dist.TruncatedNormal(low=1.0, high=0.0), "high"),
        (lambda: dist.DiscreteUniform(3, 1), "high"),
        (lambda: dist.Bernoulli(1.2), "probs"),
        (lambda: dist.Geometric(0.0), "probs"),
        (lambda: dist.Categorical(np.array([0.5, 0.6])), "probs"),
        (lambda: dist.Categorical(logits=np.array([np.nan, 0.6])), "logits"),
        (lambda: dist.Binomial(2.5, 0.5), "total_count"),
        (lambda: dist.Poisson(-1.0), "rate"),
        (lambda: dist.Dirichlet(np.array([1.0, 0.0])), "concentration"),
        (lambda: dist.MultivariateNormal(np.zeros(2), -np.eye(2)), "covariance_matrix"),
        (lambda: dist.MultivariateNormal(np.zeros(2), np.array([[1.0, 0.5], [0.1, 1.0]])), "covariance_matrix"),
        (lambda: dist.MultivariateNormal(np.zeros(2), scale_tril=np.ones((2, 2))), "scale_tril"),
    ],
)
def test_parameters_outside_their_constraint_are_refused(make, argument):
    with pytest.raises(SupportError, match=argument):
        make()


def test_validation_can_be_switched_off():
    assert dist.Normal(0.0, -1.0, validate_args=False).scale == -1.0


ARGUMENTS = [(row, name) for row in ALL_ROWS for name in row.d.arg_constraints if name in row.d.parameters]


@pytest.mark.parametrize(("row", "name"), ARGUMENTS, ids=str)
def test_every_argument_outside_its_constraint_is_named_with_its_value_and_place(row, name):
    """The second of two parameters has a missing number in it: that element is named, of vectors and matrices too."""
    good = np.asarray(row.d.parameters[name], float)
    bad = np.stack([good, good])
    place = (1, *(n - 1 for n in good.shape))
    bad[place] = np.nan
    with pytest.raises(SupportError) as caught:
        type(row.d)(**{**row.d.parameters, name: bad})
    message = str(caught.value)
    for part in (type(row.d).__name__, f"{name}=nan", f"at index {place}", "expected", "try"):
        assert part in message, message


@rows(ALL_ROWS)
def test_every_value_outside_the_support_is_named_with_its_place(row):
    """The last element of the last value is missing; axes read as events are told as those of their family."""
    d, value = row.d, np.array(interior_value(row), float)
    if isinstance(d, dist.MaskedDistribution | dist.Unit):  # what is masked is not looked at, a unit has no value
        return
    place = tuple(n - 1 for n in value.shape)
    value[place] = np.nan
    while isinstance(d, dist.Independent):
        d = d.base_dist
    with pytest.raises(SupportError) as caught:
        row.d.check_value(value, "y")
    message = str(caught.value)
    for part in (d._family, "site 'y'", f"nan at index {place}", "expected"):
        assert part in message, message
    assert np.all(row.d.log_prob(value)[place[: value.ndim - row.d.event_dim]] == -np.inf)


_TURNED = np.array([[0.0, -1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (
            lambda: dist.Gamma(np.ones((2, 3)), 1.0).to_event(2).check_value(np.array([[1.0, 2, 3], [1, -2, 3]])),
            "-2.0 at",
        ),
        (
            lambda: dist.Dirichlet(np.ones(3)).check_value(np.array([[0.2, 0.3, 0.5], [0.7, -0.4, 0.7]])),
            "-0.4 at index",
        ),
        (lambda: dist.Dirichlet(np.ones((2, 2))).to_event(1).check_value(np.array([[0.2, 0.8], [0.3, 0.8]])), "to 1.1"),
        (lambda: dist.Dirichlet(np.array([[1.0, 2.0], [1.0, -2.0]])), "Dirichlet(concentration=-2.0) at index (1, 1)"),
        (
            lambda: dist.Multinomial(5, np.full(2, 0.5)).check_value(np.array([[2, 3], [2, 4]])),
            "(1,) for Multinomial: it",
        ),
        (lambda: dist.Categorical(np.array([[0.5, 0.5], [0.5, 0.7]])), "at index (1,): it sums to 1.2"),
        (lambda: dist.OneHotCategorical(np.full(2, 0.5)).check_value(np.array([[0, 1], [1, 1]])), "it sums to 2"),
        (lambda: dist.OneHotCategorical(np.full(2, 0.5)).check_value(np.array([[0, 1], [2, 1]])), "2 at index (1, 0)"),
        (
            lambda: dist.OrderedLogistic(0.0, np.array([1.0, 0.5])),
            "0.5) at index (1,): it is below the one before, 1.0",
        ),
        (lambda: dist.MultivariateNormal(np.zeros(2), np.eye(2) - 2), "its smallest eigenvalue is -3"),
        (lambda: dist.MultivariateNormal(np.zeros(2), _TURNED), "=-1.0) at index (0, 1): its mirror image is 1.0"),
        (lambda: dist.MultivariateNormal(np.zeros(2), scale_tril=-np.eye(2)), "scale_tril=-1.0) at index (0, 0)"),
        (lambda: dist.LKJCholesky(2, 1.0).check_value(np.array([[1.0, 0], [0.5, 0.5]])), "row 1 has length 0.70710678"),
        (lambda: dist.ZeroSumNormal(1.0, (3,)).check_value(np.array([1.0, 2, 3])), "its sums reach 6"),
        (
            lambda: dist.Uniform(np.array([0.0, 2.0]), 1.0),
            "(high=1.0) at index (1,)\n  expected high to be above low=2.0",
        ),
        (lambda: dist.Triangular(0.0, 1.0, np.array([0.5, 2.0])), "expected peak to be from low=0.0 to high=1.0"),
        (lambda: dist.LKJ(2, 1.0).check_value(np.array([[1.0, 0.2], [0.2, 1.5]])), "1.5 at index (1, 1) for LKJ"),
    ],
)
def test_one_element_is_named_or_what_is_wrong_with_the_whole(ask, said):
    with pytest.raises(SupportError) as caught:
        ask()
    assert said in str(caught.value)


@rows([row for row in ALL_ROWS if 0 not in (*row.d.event_shape, row.d.event_dim)])
def test_every_value_of_a_wrong_event_shape_is_named(row):
    value = np.asarray(interior_value(row))
    for wrong in (value[..., :-1], np.concatenate([value, value[..., :1]], -1)):
        for ask in (row.d.log_prob, row.d.check_value):
            with pytest.raises(ShapeError) as caught:
                ask(wrong)
            message = str(caught.value)
            for part in (row.d._family, str(wrong.shape), str(row.d.event_shape)):
                assert part in message, message


@pytest.mark.parametrize(
    "make",
    [
        lambda: dist.Bernoulli(),
        lambda: dist.Bernoulli(probs=0.5, logits=0.0),
        lambda: dist.Categorical(),
        lambda: dist.MultivariateNormal(np.zeros(2)),
        lambda: dist.MultivariateNormal(np.zeros(2), np.eye(2), np.eye(2)),
        lambda: dist.ImproperUniform(dist.constraints.real).sample(0),
        lambda: dist.Cauchy().mean,
        lambda: dist.Poisson(1.0).entropy(),
        lambda: dist.Poisson(1.0).from_noise(0.0),
    ],
)
def test_senseless_requests_are_model_errors(make):
    with pytest.raises(ModelError, match="expected"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: dist.Normal(np.zeros(3), np.ones(2)),
        lambda: dist.Dirichlet(1.0),
        lambda: dist.MultivariateNormal(np.zeros(3), np.eye(2)),
        lambda: dist.Normal(np.zeros(3), 1.0).expand((2,)),
        lambda: dist.Normal().to_event(1),
        lambda: dist.Dirichlet(np.ones(3)).log_prob(np.ones(2) / 2),
        lambda: dist.Delta(1.0, event_dim=1),
        lambda: dist.MixtureSameFamily(dist.Categorical(np.ones(2) / 2), dist.Normal(np.zeros(3), 1.0)),
    ],
)
def test_shapes_that_do_not_fit_are_shape_errors(make):
    with pytest.raises(ShapeError, match="expected"):
        make()


def test_check_value_names_value_place_and_site():
    with pytest.raises(SupportError, match=r"(?s)site 'y'.*-2\.0 at index \(1,\).*Gamma.*a positive number"):
        dist.Gamma(1.0, 1.0).check_value(np.array([1.0, -2.0]), site="y")
    with pytest.raises(ShapeError, match="event shape"):
        dist.Dirichlet(np.ones(3)).check_value(np.ones(2) / 2)
    for row in ALL_ROWS:
        row.d.check_value(interior_value(row))


@rows(ALL_ROWS)
def test_has_tells_what_can_be_asked(row):
    for name in ("mean", "variance", "mode", "entropy", "enumerate_support", "sample"):
        known = row.d.has(name)
        try:
            if name in ("entropy", "enumerate_support"):
                getattr(row.d, name)()
            elif name == "sample":
                row.d.sample(0)
            else:
                getattr(row.d, name)
        except ModelError as error:
            assert not known or "differ" in str(error)
        else:
            assert known


def test_repr_is_short_and_names_the_parts():
    assert repr(dist.Normal(0.0, np.ones(3))) == "Normal(loc=0.0, scale=[1., 1., 1.]; batch_shape=(3,), event_shape=())"
    assert "array(100,)" in repr(dist.Normal(np.zeros(100), 1.0))


def test_import_is_light():
    code = "import sys, ppl.distributions; sys.exit(sum(m in sys.modules for m in ('scipy.stats', 'pandas', 'jax')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# -- the ends ---------------------------------------------------------------------------------------


EXTREMES = [
    *(
        lambda s=s, make=make: make(s)
        for s in (1e-3, 1e-8, 1e8)
        for make in (
            lambda s: dist.InverseGamma(s, 10.0),
            lambda s: dist.Gamma(s, 1e-8),
            lambda s: dist.Chi2(s),
            lambda s: dist.StudentT(s, 0.3, 2.0),
            lambda s: dist.HalfStudentT(s, 2.0),
            lambda s: dist.FisherSnedecor(s, s),
            lambda s: dist.FisherSnedecor(s, 1.0 / s),
            lambda s: dist.MultivariateStudentT(s, np.zeros(2), np.eye(2)),
            lambda s: dist.Wald(s, 1.0 / s),
            lambda s: dist.Wald(1e8, s),
            lambda s: dist.LogNormal(0.0, s),
            lambda s: dist.LogLogistic(0.0, s),
            lambda s: dist.Weibull(s, s),
            lambda s: dist.Pareto(s, s),
            lambda s: dist.Beta(s, s),
            lambda s: dist.Kumaraswamy(s, 1.0 / s),
            lambda s: dist.LogitNormal(0.0, s),
            lambda s: dist.Dirichlet(np.array([s, 2.0 * s, s])),
            lambda s: dist.VonMises(0.3, s),
            lambda s: dist.Poisson(s),
            lambda s: dist.Geometric(min(s, 1.0)),
            lambda s: dist.GammaPoisson(s, 1e-8),
            lambda s: dist.NegativeBinomial2(s, 1e-3),
            lambda s: dist.BetaNegativeBinomial(s, s, 2.5),
            lambda s: dist.BetaBinomial(s, s, 10),
            lambda s: dist.TruncatedNormal(0.0, s, 1.0, 2.0),
            lambda s: dist.Gompertz(s, 1.0),
        )
    )
]


@pytest.mark.parametrize("make", EXTREMES)
def test_draws_stay_in_the_support_at_extreme_parameters(make):
    d = make()
    draws = d.sample(0, (500,))
    assert np.all(np.isfinite(draws)) and np.all(d.support(draws)), d
    if d.noise is not None:
        draws = d.from_noise(d.draw_noise(0, (500,)))
        assert np.all(np.isfinite(draws)) and np.all(d.support(draws)), d


@pytest.mark.parametrize(
    "ask",
    [
        lambda: dist.Geometric(1e-20).sample(0, (5,)),
        lambda: dist.Poisson(1e19).mode,
        lambda: dist.Poisson(1e19).sample(0),
        lambda: dist.GammaPoisson(1.0, 1e-25).sample(0),
        lambda: dist.NegativeBinomial2(1e25, 1.0).sample(0),
    ],
)
def test_counts_that_no_integer_holds_are_refused_in_words(ask):
    with pytest.raises(ModelError, match=r"2\^62"):
        ask()


def test_quantiles_of_heavy_tails_stay_finite():
    np.testing.assert_allclose(dist.HalfStudentT(0.1).icdf(0.99), stats.t(0.1).ppf(0.995), rtol=1e-8)
    np.testing.assert_allclose(dist.FisherSnedecor(3.0, 0.1).icdf(0.99), 1.0 / stats.f(0.1, 3.0).ppf(0.01), rtol=1e-8)


@rows([row for row in SCALAR_ROWS if row.d.has("icdf")])
def test_quantiles_of_what_is_no_probability_are_none(row):
    q = np.array([-0.18, 1.5, np.nan, 0.5]).reshape(-1, *(1,) * len(row.d.batch_shape))
    found = row.d.icdf(q)
    assert np.all(np.isnan(found[:3])) and not np.any(np.isnan(found[3]))
    assert np.all(np.isnan(row.d.icdf(1.5)))


@rows([row for row in SCALAR_ROWS if row.d.has("cdf")])
def test_the_cdf_of_no_number_is_none(row):
    for ask in (row.d.cdf, row.d.log_cdf, row.d.log_survival):
        assert np.all(np.isnan(ask(np.nan)))


@pytest.mark.parametrize(
    "d",
    [dist.Geometric(0.3), dist.Geometric(0.017), dist.DiscreteUniform(0, 99), dist.DiscreteUniform(-7, 12)]
    + [row.d for row in DISCRETE if row.scalar and row.d.has("icdf")],
    ids=str,
)
def test_the_quantile_of_its_probability_is_the_count(d):
    """The least x with cdf(x) >= q, to the last digit, and no step more."""
    x = np.arange(-7, 100)
    x = x[(d.log_prob(x) > -np.inf) & (d.cdf(x) < 1.0 - 1e-13)]
    x = x[np.concatenate([[True], np.diff(d.cdf(x)) > 0])] if len(x) else x
    np.testing.assert_array_equal(d.icdf(d.cdf(x)), x)


def in_single_precision(d):
    leaves, rebuild = d.tree_flatten()
    return rebuild([np.float32(leaf) if np.asarray(leaf).dtype.kind == "f" else leaf for leaf in leaves])


@rows([row for row in ALL_ROWS if not isinstance(row.d, dist.ImproperUniform)])
def test_what_is_known_of_a_single_precision_law_is_single(row):
    if all(np.asarray(leaf).dtype.kind != "f" for leaf in row.d.tree_flatten()[0]):
        return  # whole numbers only
    d = in_single_precision(row.d)
    value = interior_value(row)
    value = value if row.d.is_discrete else np.float32(value)
    assert np.result_type(d.log_prob(value)) == np.float32
    if d.is_discrete:
        np.testing.assert_allclose(d.log_prob(value), row.d.log_prob(value), rtol=3e-4, atol=3e-4)
    for name in ("mean", "variance", "mode"):
        if d.has(name) and (name != "mode" or not d.is_discrete):
            assert np.result_type(getattr(d, name)) == np.float32, name
    if d.has("entropy"):
        assert np.result_type(d.entropy()) == np.float32
    for name in ("cdf", "log_cdf", "log_survival"):
        if d.has("cdf") and d.event_shape == () and not d.is_discrete:
            assert np.result_type(getattr(d, name)(value)) == np.float32, name


@pytest.mark.parametrize(
    "ask",
    [
        lambda: dist.Normal(None, 1.0),
        lambda: dist.Normal("a", 1.0),
        lambda: dist.Normal([[1.0, 2.0], [3.0]], 1.0),
        lambda: dist.Normal(1j, 1.0),
        lambda: dist.Dirichlet(["a", "b"]),
        lambda: dist.Normal().log_prob("a"),
        lambda: dist.Normal().log_prob(None),
        lambda: dist.Normal().log_prob([[1.0], [2.0, 3.0]]),
        lambda: dist.Normal().cdf(2j),
        lambda: dist.Gamma(2.0, 1.0).check_value(["a"]),
    ],
)
def test_what_is_no_number_is_refused_in_words(ask):
    with pytest.raises(ModelError, match=r"(?s)(Normal|Dirichlet|Gamma).*expected.*real numbers.*try"):
        ask()


def test_arguments_that_make_no_law_are_refused():
    with pytest.raises(ShapeError, match="whole number"):
        dist.LKJ(2.5, 1.0)
    with pytest.raises(SupportError, match="finite distance"):
        dist.Uniform(-1e308, 1e308)


@pytest.mark.parametrize("a", [1e-8, 1e-3, 0.7, 20.0, 1e8, 1e12])
def test_entropies_at_concentrations_of_any_size(a):
    """To 1e-14 of the larger of themselves and 1; the textbook's differences have lost all digits at 1e12."""
    with mp.workdps(60):
        m, digamma, log_gamma = mp.mpf(a), mp.digamma, mp.loggamma
        gamma = lambda a: a + log_gamma(a) + (1 - a) * digamma(a)
        three = mp.mpf(3)

        def dirichlet(*a):
            n = mp.fsum(a)
            logs = mp.fsum((x - 1) * (digamma(x) - digamma(n)) for x in a)
            return mp.fsum(map(log_gamma, a)) - log_gamma(n) - logs

        def student(df, n):
            half, more = df / 2, mp.mpf(n) / 2
            rest = more * mp.log(df * mp.pi) + log_gamma(half) - log_gamma(half + more)
            return (half + more) * (digamma(half + more) - digamma(half)) + rest

        def fisher(a, b):
            rest = (1 - a) * digamma(a) - (1 + b) * digamma(b) + (a + b) * digamma(a + b)
            return log_gamma(a) + log_gamma(b) - log_gamma(a + b) + mp.log(b / a) + rest

        for d, wanted in (
            (dist.Gamma(a, 2.0), gamma(m) - mp.log(2)),
            (dist.InverseGamma(a, 2.0), gamma(m) - 2 * digamma(m) + mp.log(2)),
            (dist.Chi2(a), gamma(m / 2) + mp.log(2)),
            (dist.Beta(a, 3.0), dirichlet(m, three)),
            (dist.Beta(a, a), dirichlet(m, m)),
            (dist.Dirichlet(np.array([a, 3.0, 2 * a])), dirichlet(m, three, 2 * m)),
            (dist.StudentT(a), student(m, 1)),
            (dist.HalfStudentT(a, 1.0), student(m, 1) - mp.log(2)),
            (dist.MultivariateStudentT(a, np.zeros(3), scale_tril=np.eye(3)), student(m, 3)),
            (dist.FisherSnedecor(a, 3.0), fisher(m / 2, three / 2)),
        ):
            assert float(d.entropy()) == pytest.approx(float(wanted), rel=1e-14, abs=1e-14), d


@pytest.mark.parametrize("name", dist.FAMILIES)
def test_a_call_that_does_not_fit_names_the_family(name):
    """And not a class that it inherits from."""
    with pytest.raises(ModelError) as caught:
        dist.FAMILIES[name](no_such_argument=1.0)
    assert f"a call of {name} that does not fit" in str(caught.value) and f"expected {name}(" in str(caught.value)


def _in_single(d):
    leaves, rebuild = d.tree_flatten()
    return rebuild([np.asarray(x, np.float32)[()] if np.asarray(x).dtype.kind == "f" else x for x in leaves])


@rows([row for row in ALL_ROWS if row.d.has("sample")])
def test_draws_are_double_whatever_the_parameters_are(row):
    d = _in_single(row.d)
    for shape in ((), (3,)):
        draws = d.sample(0, shape)
        assert draws.dtype == (np.int64 if d.is_discrete else np.float64)
        assert np.shape(draws) == d.shape(shape)


def test_another_value_than_the_point_of_a_delta_is_named():
    with pytest.raises(SupportError, match=r"(?s)3\.5 at index \(1,\) for Delta.*the point v=2\.0"):
        dist.Delta(np.array([1.0, 2.0])).check_value(np.array([1.0, 3.5]))
    dist.Delta(np.array([1.0, 2.0]), event_dim=1).check_value(np.array([1.0, 2.0]))


def test_a_function_is_no_transform():
    with pytest.raises(ModelError, match=r"(?s)ufunc 'exp'.*ExpTransform"):
        dist.TransformedDistribution(dist.Normal(), np.exp)
