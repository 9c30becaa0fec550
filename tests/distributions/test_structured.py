"""Laws of vectors, matrices and chains beyond those of the registry: draws, pathwise derivatives, tails, fits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import integrate, sparse, special, stats

import ppl.distributions as dist
from ppl import array as A
from ppl.errors import ModelError, ShapeError, SupportError

from .registry.chains import CHAINS, CHAINS_SHAPES
from .registry.matrices import MATRICES, MATRICES_SHAPES, Vine
from .registry.multivariate import MULTIVARIATE, MULTIVARIATE_SHAPES
from .test_gradients import check
from .test_laws import FALSE_ALARM, rows

DRAWS = 4000
WITH_ORACLE = MULTIVARIATE + MATRICES + CHAINS
ALL = WITH_ORACLE + MULTIVARIATE_SHAPES + MATRICES_SHAPES + CHAINS_SHAPES
BY_LABEL = {row.label: row.d for row in WITH_ORACLE}
GAUSSIAN = (
    dist.MultivariateNormal,
    dist.LowRankMultivariateNormal,
    dist.MatrixNormal,
    dist.ZeroSumNormal,
    dist.GaussianRandomWalk,
    dist.GaussianStateSpace,
    dist.AR,
    dist.CAR,
)
TRIL = np.array([[1.2, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 2.0]])
SCALE = TRIL @ TRIL.T


# -- draws: a number made of each has a known cdf ------------------------------------------------------


def depth(d, x):
    """How far below that of the mode the log density is, twice: `|z|^2` of a normal."""
    return 2 * (d.log_prob(d.mode) - d.log_prob(x))


def elements_of_a_factor(d, x):
    """Elements of `T^-1 X`, which are independent: chi draws on the diagonal, normal ones below."""
    a = np.linalg.solve(d.scale_tril, x)
    p = len(d.scale_tril)
    diagonal = [(a[:, i, i], stats.chi(d.concentration - i).cdf) for i in range(p)]
    return diagonal + [(a[:, i, j], stats.norm.cdf) for i in range(p) for j in range(i)]


def marginals(d, x):
    """Numbers made of draws x, each with its cdf."""
    n = d.event_shape[0]
    if isinstance(d, GAUSSIAN):
        free = np.prod(d.noise_shape) if not isinstance(d, dist.LowRankMultivariateNormal) else n
        flat, mean = x.reshape(len(x), -1), d.mean.ravel()
        each = [(flat[:, i], stats.norm(mean[i], s).cdf) for i, s in enumerate(np.sqrt(d.variance.ravel()))]
        return [(depth(d, x), stats.chi2(free).cdf), *each]
    match d:
        case dist.MultivariateStudentT():
            z = np.linalg.solve(d.scale_tril, (x - d.loc)[..., None])[..., 0]
            return [(np.sum(z * z, -1) / n, stats.f(n, d.df).cdf)] + [(z[:, i], stats.t(d.df).cdf) for i in range(n)]
        case dist.Dirichlet():
            a = d.concentration
            return [(x[:, i], stats.beta(a[i], a.sum() - a[i]).cdf) for i in range(n)]
        case dist.LogisticNormal():
            y = np.log(x[:, :-1] / x[:, -1:])
            sd = np.sqrt(d.log_ratios.variance)
            return [(y[:, i], stats.norm(d.log_ratios.mean[i], sd[i]).cdf) for i in range(n - 1)]
        case dist.WishartCholesky():
            return elements_of_a_factor(d, x)
        case dist.Wishart():
            return elements_of_a_factor(d, np.linalg.cholesky(x))
        case dist.InverseWishart():
            # Inverse gamma draws on the diagonal, of the matrix and of any rotation of it.
            half, way = (d.concentration - n + 1) / 2, np.arange(1.0, n + 1)
            turned = stats.invgamma(half, scale=way @ d.scale_matrix @ way / 2)
            whole = [(x[:, i, i], stats.invgamma(half, scale=d.scale_matrix[i, i] / 2).cdf) for i in range(n)]
            return [(np.einsum("i,sij,j->s", way, x, way), turned.cdf), *whole]
        case dist.LKJ():
            law = stats.beta(d.concentration + n / 2 - 1, d.concentration + n / 2 - 1, loc=-1, scale=2)
            return [(x[:, i, j], law.cdf) for i in range(n) for j in range(i)]
        case dist.LKJCholesky():
            law = stats.beta(d.concentration + n / 2 - 1, d.concentration + n / 2 - 1, loc=-1, scale=2)
            ends = [(x[:, i, i] ** 2, stats.beta(d.concentration + (n - 1 - i) / 2, i / 2).cdf) for i in range(1, n)]
            pairs = np.einsum("sik,sjk->sij", x, x)
            return ends + [(pairs[:, i, j], law.cdf) for i in range(n) for j in range(i)]
    raise TypeError(type(d))


def least_p_value(d, x) -> float:
    return min(stats.kstest(values, cdf).pvalue for values, cdf in marginals(d, x))


@rows(WITH_ORACLE)
def test_draws_follow_the_law(row):
    x = row.d.sample(7, (DRAWS,))
    assert np.all(row.d.support(x))
    assert least_p_value(row.d, x) > FALSE_ALARM


@pytest.mark.parametrize(
    ("label", "wrong"),
    [
        ("MultivariateNormal-scale_tril", lambda d: dist.MultivariateNormal(d.loc, np.diag(d.variance))),
        ("MultivariateStudentT-0", lambda d: dist.MultivariateNormal(d.loc, d.covariance_matrix)),
        ("Dirichlet-0", lambda d: dist.Dirichlet(d.concentration + np.array([0.2, 0.0, 0.0]))),
        ("ZeroSumNormal-0", lambda d: dist.ZeroSumNormal(1.1 * d.scale, d.event_shape)),
        ("Wishart-scale_matrix", lambda d: dist.Wishart(d.concentration + 0.5, d.scale_matrix)),
        ("WishartCholesky-rate_matrix", lambda d: dist.WishartCholesky(4.0, np.diag(np.diag(d.scale_matrix)))),
        ("InverseWishart-scale_matrix", lambda d: dist.InverseWishart(d.concentration + 1, d.scale_matrix)),
        ("LKJ-five", lambda d: dist.LKJ(5, d.concentration + 2)),
        ("LKJCholesky-uniform", lambda d: dist.LKJCholesky(3, 1.5)),
        ("GaussianRandomWalk-0", lambda d: dist.AR(np.array([0.9]), d.scale, 6)),
        ("AR-3", lambda d: dist.AR(d.coefficients, d.scale, 8, constant=d.constant)),
        (
            "GaussianStateSpace-scale_tril",
            lambda d: dist.GaussianStateSpace(5, d.transition_matrix.T, scale_tril=d.scale_tril),
        ),
        ("CAR-line", lambda d: dist.CAR(d.loc, 0.8, d.conditional_precision, d.adj_matrix)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_a_wrong_sampler_is_caught(label, wrong):
    d = BY_LABEL[label]
    assert least_p_value(d, wrong(d).sample(7, (DRAWS,))) < FALSE_ALARM


def test_covariance_of_draws_is_that_of_the_oracle():
    for row in MATRICES[:1] + CHAINS:
        x = row.d.sample(5, (20_000,)).reshape(20_000, -1)
        covariance = row.oracle.normal.cov if row in CHAINS else np.kron(row.oracle.rowcov, row.oracle.colcov)
        scale = np.diag(covariance)
        # The variance of a product of two normal numbers is at most twice that of their squares.
        error = np.sqrt(2 * np.outer(scale, scale) / len(x))
        assert np.all(np.abs(np.cov(x.T).reshape(covariance.shape) - covariance) < 6.5 * error), row.label


# -- constants of the densities --------------------------------------------------------------------------


def test_volumes_of_correlation_matrices():
    # Of 3 and 4 variables: pi^2 / 2 and 32 pi^2 / 27 (Joe 2006, Journal of Multivariate Analysis 97).
    for n, volume in ((2, 2.0), (3, np.pi**2 / 2), (4, 32 * np.pi**2 / 27)):
        assert dist.LKJ(n, 1.0).log_prob(np.eye(n)) == pytest.approx(-np.log(volume), abs=1e-12)
        assert Vine(n, 1.0).log_volume == pytest.approx(np.log(volume), abs=1e-9)


@pytest.mark.parametrize("concentration", [0.6, 1.0, 3.5])
def test_correlation_density_integrates_to_one(concentration):
    d = dist.LKJ(2, concentration)
    r = lambda t: np.sin(t) * np.array([[0.0, 1.0], [1.0, 0.0]]) + np.eye(2)
    mass = integrate.quad(lambda t: np.exp(d.log_prob(r(t))) * np.cos(t), -np.pi / 2 + 1e-7, np.pi / 2 - 1e-7)[0]
    assert mass == pytest.approx(1.0, abs=1e-4 if concentration < 1 else 1e-9)


def test_a_matrix_and_its_factor_have_one_law():
    for matrix, factor in (
        (dist.Wishart(4.5, SCALE), dist.WishartCholesky(4.5, SCALE)),
        (dist.LKJ(3, 1.7), dist.LKJCholesky(3, 1.7)),
    ):
        noise = matrix.draw_noise(0, (5,))
        x, tril = matrix.from_noise(noise), factor.from_noise(noise)
        np.testing.assert_allclose(tril @ np.swapaxes(tril, -2, -1), x, atol=1e-12)
        lower = dist.transforms.CholeskyTransform()
        if isinstance(matrix, dist.LKJ):
            lower = dist.transforms.CorrMatrixCholeskyTransform()
        jacobian = lower.log_abs_det_jacobian(x, tril)
        np.testing.assert_allclose(matrix.log_prob(x), factor.log_prob(tril) + jacobian, rtol=1e-9)


def test_a_walk_is_an_autoregression_and_a_state_space():
    x = np.random.default_rng(0).normal(size=(4, 6))
    walk = dist.GaussianRandomWalk(0.7, 6)
    noise = walk.draw_noise(1, (4,))
    for other in (dist.AR(np.ones(1), 0.7, 6), dist.GaussianStateSpace(6, np.eye(1), scale_tril=0.7 * np.eye(1))):
        shape = (4, *other.event_shape)
        np.testing.assert_allclose(other.log_prob(x.reshape(shape)), walk.log_prob(x))
        np.testing.assert_allclose(other.from_noise(noise.reshape(shape)).reshape(4, 6), walk.from_noise(noise))


# -- marginals and moments ----------------------------------------------------------------------------------


def test_marginals_of_vectors():
    index, loc, diagonal = [2, 0], np.array([1.0, -2.0, 0.5]), np.array([0.3, 1.7, 0.9])
    for d in (
        dist.MultivariateNormal(loc, scale_tril=TRIL),
        dist.MultivariateNormal(loc, precision_matrix=np.linalg.inv(SCALE)),
        dist.LowRankMultivariateNormal(loc, TRIL[:, :2], diagonal),
        dist.MultivariateStudentT(3.5, loc, TRIL),
    ):
        part = d.expand((2,)).marginal(index)
        assert part.batch_shape == (2,)
        np.testing.assert_allclose(part.mean, np.broadcast_to(loc[index], (2, 2)))
        np.testing.assert_allclose(part.covariance_matrix, d.covariance_matrix[np.ix_(index, index)])


def test_low_rank_precision_is_the_inverse():
    d = dist.LowRankMultivariateNormal(
        np.zeros((2, 3)), np.stack([TRIL[:, :2], TRIL[:, 1:]]), np.array([0.3, 1.7, 0.9])
    )
    np.testing.assert_allclose(
        d.precision_matrix @ d.covariance_matrix, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12
    )


def test_moments_that_are_infinite_or_not_there():
    df = np.array([0.8, 1.0, 1.5, 2.0, 2.5])
    d = dist.MultivariateStudentT(df, np.ones(2), np.eye(2))
    np.testing.assert_array_equal(d.mean[:, 0], [np.nan, np.nan, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(d.variance[:, 0], [np.nan, np.nan, np.inf, np.inf, 5.0])
    inverse = dist.InverseWishart(np.array([1.5, 3.0, 4.0, 5.0, 6.0]), np.array([[2.0, 0.5], [0.5, 1.0]]))
    np.testing.assert_array_equal(np.isfinite(inverse.mean[:, 0, 0]), [False, False, True, True, True])
    np.testing.assert_array_equal(np.isnan(inverse.mean[:, 0, 1]), [True, True, False, False, False])
    np.testing.assert_array_equal(inverse.variance[:4, 1, 1], np.full(4, np.inf))
    assert inverse.variance[4, 0, 0] == pytest.approx(stats.invgamma(2.5, scale=1.0).var())


def test_moments_of_factors_at_extreme_parameters():
    # A chi draw of many degrees of freedom has variance 1/2, one of few has that of its square.
    factor = dist.WishartCholesky(np.array([1e8, 1.0 + 1e-8]), np.eye(2))
    assert factor.variance[0, 0, 0] == pytest.approx(0.5, abs=1e-6)
    assert factor.variance[1, 1, 1] == pytest.approx(1e-8, rel=1e-6)
    flat, narrow = dist.LKJCholesky(3, 1e-8), dist.LKJCholesky(3, 1e8)
    assert flat.variance[2, 0] == pytest.approx(0.5, rel=1e-6)
    assert np.all(narrow.variance >= 0)
    np.testing.assert_allclose(narrow.mean, np.eye(3), atol=1e-8)


MODES = [row for row in WITH_ORACLE if row.d.has("mode") and np.all(row.d.support(row.d.mode))]


@rows(MODES)
def test_mode_is_nowhere_beaten(row):
    """Against draws, and points between them and the mode, as far as the support is convex."""
    x = row.d.sample(3, (200,))
    near = np.concatenate([x, row.d.mode + 0.01 * (x - row.d.mode)])
    near = near[row.d.support(near)]
    assert row.d.log_prob(row.d.mode) >= np.max(row.d.log_prob(near)) - 1e-9


def test_modes_at_the_ends_of_the_support():
    flat, corner = dist.Dirichlet(np.ones(3)), dist.Dirichlet(np.array([0.5, 0.9, 1.0]))
    assert flat.log_prob(flat.mode) == flat.log_prob(np.full(3, 1 / 3))
    assert corner.log_prob(corner.mode) == np.inf
    np.testing.assert_allclose(dist.Dirichlet(np.array([0.5, 2.0, 3.0])).mode, [0.0, 1 / 3, 2 / 3])
    np.testing.assert_array_equal(dist.Wishart(3.5, SCALE).mode, np.zeros((3, 3)))
    assert np.all(np.isnan(dist.LKJ(3, 0.9).mode))


# -- derivatives --------------------------------------------------------------------------------------------


@rows(ALL)
def test_derivatives_on_the_unconstrained_axis(row):
    """The density of the free numbers behind value and parameters: every step stays on its manifold."""
    d = row.d
    names = [name for name in d.parameters if name in d.arg_constraints]
    free = {name: dist.biject_to(d.arg_constraints[name]) for name in names}
    onto = dist.biject_to(d.support)
    value = np.asarray(onto.inverse(d.sample(0, (3,))))
    starts = [np.asarray(free[name].inverse(d.parameters[name])) for name in names]

    def density(u, *parameters):
        given = {name: free[name](p) for name, p in zip(names, parameters, strict=True)}
        like = type(d)(**(d.parameters | given), validate_args=False)
        x = onto(u)
        return np.sum(like.log_prob(x)) + np.sum(onto.log_abs_det_jacobian(u, x))

    inputs = [value, *starts]
    check(density, inputs, range(len(inputs)), [None] * len(inputs), tolerance=1e-4)


def slopes_of_mean(make, statistic, at, draws=4000):
    """The pathwise derivative of the mean of a statistic in one number, and its standard error."""
    noise = make(at).draw_noise(3, (draws,))
    spread = np.full(draws, at)  # a copy of the number for each draw, so that each has its own slope
    program = A.record(lambda a: (np.sum(statistic(make(a).from_noise(noise))),), [spread])
    slopes = A.compile_program(A.gradient(program, [0]))(spread)[1]
    return np.mean(slopes), np.std(slopes) / np.sqrt(draws)


def log_det(x):
    return 2 * np.sum(np.log(np.diagonal(np.linalg.cholesky(x), axis1=-2, axis2=-1)), axis=-1)


def log_diagonal(x):
    return np.sum(np.log(np.diagonal(x, axis1=-2, axis2=-1)), axis=-1)


def trigamma(x):
    return special.polygamma(1, x)


def parts(a):
    """A Dirichlet of three counts, the first of which is a."""
    return dist.Dirichlet(np.stack([a, 0 * a + 0.7, 0 * a + 2.0], axis=-1))


PATHS = {
    **{f"Dirichlet-{a:g}": (parts, lambda x: np.log(x[..., 1]), a, -trigamma(a + 2.7)) for a in (0.05, 0.4, 2.5, 1e3)},
    "Dirichlet-own": (parts, lambda x: x[..., 0], 1.3, 2.7 / 4.0**2),
    **{
        f"MultivariateStudentT-{df:g}": (
            lambda df: dist.MultivariateStudentT(df, np.zeros(3), TRIL),
            lambda x: np.log(np.sum((x @ np.linalg.inv(TRIL).T) ** 2, axis=-1)),
            df,
            1 / df - 0.5 * trigamma(df / 2),
        )
        for df in (0.5, 2.5, 200.0)
    },
    **{
        f"WishartCholesky-{nu:g}": (
            lambda nu: dist.WishartCholesky(nu, SCALE),
            log_diagonal,
            nu,
            0.25 * np.sum(trigamma((nu - np.arange(3)) / 2)),
        )
        for nu in (2.05, 3.5, 1e4)
    },
    "Wishart": (lambda nu: dist.Wishart(nu, SCALE), lambda x: x[..., 2, 0], 3.5, SCALE[2, 0]),
    "InverseWishart": (
        lambda nu: dist.InverseWishart(nu, SCALE),
        log_det,
        5.5,
        -0.5 * np.sum(trigamma((5.5 - np.arange(3)) / 2)),
    ),
    **{
        f"LKJCholesky-{eta:g}": (
            lambda eta: dist.LKJCholesky(4, eta),
            log_diagonal,
            eta,
            0.5 * np.sum([trigamma(eta + (3 - i) / 2) - trigamma(eta + 1.5) for i in (1, 2, 3)]),
        )
        for eta in (0.02, 0.8, 1.0, 50.0)
    },
    "LKJ": (
        lambda eta: dist.LKJ(3, eta),
        lambda x: x[..., 1, 0] ** 2,
        1.4,
        -2 / (2 * 1.4 + 2) ** 2,
    ),
}


@pytest.mark.parametrize(("make", "statistic", "at", "exact"), PATHS.values(), ids=PATHS)
def test_pathwise_derivative_of_a_mean(make, statistic, at, exact):
    found, error = slopes_of_mean(make, statistic, at)
    assert abs(found - exact) < 6.5 * error


def test_a_wrong_path_is_caught():
    """As if the degrees of freedom moved the draws of the diagonal, but not the first of them."""
    make, statistic, at, exact = PATHS["WishartCholesky-3.5"]
    found, error = slopes_of_mean(make, lambda x: statistic(x) - np.log(x[..., 0, 0]), at)
    assert abs(found - exact) > 6.5 * error


# -- tails, and parameters far from 1 --------------------------------------------------------------------------


def exact_normal(x, mean, covariance):
    """The log density by mpmath's dense matrices, of 60 digits."""
    gap, matrix = mpmath.matrix(x.tolist()) - mpmath.matrix(mean.tolist()), covariance
    square = (gap.T * mpmath.inverse(matrix) * gap)[0]
    return -(square + mpmath.log(mpmath.det(matrix)) + len(x) * mpmath.log(2 * mpmath.pi)) / 2


def product(tril):
    matrix = mpmath.matrix(tril.tolist())
    return matrix * matrix.T


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_normal_tails_are_exact_at_all_sizes(size):
    loc, away = np.array([1.0, -2.0, 0.5]), 40.0 * np.array([1.0, -0.3, 1.0]) * np.diag(TRIL)
    tril = size * TRIL
    x = loc + size * away
    factor, diagonal = 10.0 * tril[:, :2], size**2 * np.array([1e-8, 1.0, 0.3])
    with mpmath.workdps(60):
        gaussian = exact_normal(x, loc, product(tril))
        low_rank = exact_normal(x, loc, product(factor) + mpmath.diag(diagonal.tolist()))
        square = 2 * (exact_normal(loc, loc, product(tril)) - gaussian)
        found = {
            "tril": dist.MultivariateNormal(loc, scale_tril=tril).log_prob(x) - gaussian,
            "covariance": dist.MultivariateNormal(loc, tril @ tril.T).log_prob(x) - gaussian,
            "low rank": dist.LowRankMultivariateNormal(loc, factor, diagonal).log_prob(x) - low_rank,
            "matrix": dist.MatrixNormal(loc[:, None], tril, np.eye(1)).log_prob(x[:, None]) - gaussian,
        }
        for df in (1e-8, 2.5, 1e8):
            exact = (
                mpmath.loggamma(mpmath.mpf(df + 3) / 2) - mpmath.loggamma(mpmath.mpf(df) / 2)
                - mpmath.log(mpmath.mpf(df) * mpmath.pi) * 3 / 2 - mpmath.log(mpmath.det(product(tril))) / 2
                - mpmath.mpf(df + 3) / 2 * mpmath.log1p(square / df)
            )  # fmt: skip
            found[f"df {df}"] = dist.MultivariateStudentT(df, loc, tril).log_prob(x) - exact
    # The densities are some -10^4 and as good as the rounding of each square, 10^-16 of it, allows.
    assert all(abs(float(error)) < 1e-9 for error in found.values()), found


def test_chains_far_out_at_small_and_large_scales():
    for scale in (1e-8, 1e8):
        x = 40.0 * scale * np.array([1.0, -1.0, 2.0, 0.0])
        steps = np.diff(x, prepend=0.0)
        exact = stats.norm(0, scale).logpdf(steps).sum()
        assert dist.GaussianRandomWalk(scale, 4).log_prob(x) == pytest.approx(exact, rel=1e-12)
        assert dist.AR(np.ones(1), scale, 4).log_prob(x) == pytest.approx(exact, rel=1e-12)
        space = dist.GaussianStateSpace(4, np.eye(1), scale_tril=scale * np.eye(1))
        assert space.log_prob(x[:, None]) == pytest.approx(exact, rel=1e-12)
        zero = x - x.mean()
        exact = -0.5 * np.sum((zero / scale) ** 2) - 3 * (np.log(scale) + 0.5 * np.log(2 * np.pi))
        assert dist.ZeroSumNormal(scale, (4,)).log_prob(zero) == pytest.approx(exact, rel=1e-12)


def test_neighbours_that_nearly_agree():
    # As the correlation nears 1 the density depends on small differences of large numbers.
    line = np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1)
    x = 1e4 + np.array([0.0, 1.0, -1.0, 0.5])
    correlation = 1 - 2.0**-30
    with mpmath.workdps(60):
        precision = 3 * (mpmath.diag(line.sum(0).tolist()) - mpmath.mpf(correlation) * mpmath.matrix(line.tolist()))
        exact = exact_normal(x, np.zeros(4), mpmath.inverse(precision))
    assert dist.CAR(0.0, correlation, 3.0, line).log_prob(x) == pytest.approx(float(exact), rel=1e-8)


def test_simplex_and_correlations_at_extreme_counts():
    x = np.array([1e-300, 0.3, 0.7])
    a = np.array([1e-8, 1e8, 2e8])
    with mpmath.workdps(60):
        m = [mpmath.mpf(v) for v in a]
        exact = sum((c - 1) * mpmath.log(v) - mpmath.loggamma(c) for c, v in zip(m, map(mpmath.mpf, x), strict=True))
        exact += mpmath.loggamma(sum(m))
    assert dist.Dirichlet(a).log_prob(x) == pytest.approx(float(exact), rel=1e-9)
    tiny = dist.Dirichlet(np.full(3, 1e-3)).sample(0, (100,))
    assert np.all(np.isfinite(tiny))
    np.testing.assert_allclose(tiny.sum(-1), 1.0)
    for eta in (1e-8, 1e8):
        tril = dist.LKJCholesky(3, eta).sample(0, (50,))
        assert np.all(dist.constraints.corr_cholesky(tril))
        assert np.all(np.isfinite(dist.LKJCholesky(3, eta).log_prob(tril)))
        with mpmath.workdps(40):
            e = mpmath.mpf(eta)
            volume = sum(
                mpmath.mpf(i) / 2 * mpmath.log(mpmath.pi)
                + mpmath.loggamma(e + mpmath.mpf(2 - i) / 2) - mpmath.loggamma(e + 1)
                for i in (1, 2)
            )  # fmt: skip
        assert dist.LKJCholesky(3, eta).log_prob(np.eye(3)) == pytest.approx(-float(volume), rel=1e-9)


def test_a_part_of_zero_has_no_density():
    d = dist.LogisticNormal(np.zeros(2), 1.0)
    np.testing.assert_array_equal(d.log_prob(np.array([[0.0, 0.4, 0.6], [1.0, 0.0, 0.0]])), [-np.inf, -np.inf])


@rows(ALL)
def test_single_precision_is_accurate(row):
    """The log density of float32 numbers against that of the same numbers in double, to 1e-5."""
    leaves, rebuild = row.d.tree_flatten()
    narrow = [np.float32(leaf) for leaf in leaves]
    x = np.float32(row.d.sample(4, (5,)))
    wide = rebuild([np.float64(leaf) for leaf in narrow]).log_prob_inside(np.float64(x))
    found = rebuild(narrow).log_prob_inside(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wide, rtol=1e-5, atol=1e-5)


# -- cost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda steps: dist.GaussianRandomWalk(0.5, steps),
        lambda steps: dist.AR(np.array([0.5, 0.2]), 0.5, steps),
        lambda steps: dist.GaussianStateSpace(steps, 0.5 * np.eye(2), np.eye(2)),
    ],
    ids=["walk", "AR", "state space"],
)
def test_a_long_chain_has_as_few_operations_as_a_short_one(make):
    def density(steps):
        d = make(steps)
        return A.record(lambda x: (d.log_prob(x),), [np.zeros(d.event_shape)]).steps

    assert len(density(10)) == len(density(20_000))
    d = make(20_000)
    draw = A.record(lambda noise: (d.from_noise(noise),), [np.zeros(d.noise_shape)]).steps
    assert len(draw) < 15 * 7
    assert all(np.size(v) <= 20_000 * 8 for s in (*density(20_000), *draw) for v in s.args if isinstance(v, np.ndarray))


def test_a_sparse_graph_and_a_dense_one_are_the_same():
    rng = np.random.default_rng(0)
    upper = np.triu(rng.integers(0, 2, (30, 30)), 1) + np.diag(np.ones(29), 1)
    matrix = upper + upper.T
    x = rng.normal(size=30)
    dense = dist.CAR(0.0, 0.7, 2.0, matrix)
    for form in (sparse.csr_array, sparse.coo_array, sparse.csc_matrix):
        other = dist.CAR(0.0, 0.7, 2.0, form(matrix), is_sparse=True)
        assert other.log_prob(x) == dense.log_prob(x)
        np.testing.assert_array_equal(other.sample(0), dense.sample(0))
    np.testing.assert_allclose(dense.precision_matrix, 2.0 * (np.diag(matrix.sum(0)) - 0.7 * matrix))


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dist.MultivariateNormal(0.0, np.stack([SCALE, -SCALE])), ("MultivariateNormal(cov", "-1.44", "(1,)")),
        (lambda: dist.MultivariateStudentT(np.array([2.0, 0.0]), 0.0, TRIL), ("MultivariateStudentT(df=0.0)", "(1,)")),
        (lambda: dist.MultivariateStudentT(2.0, 0.0, TRIL.T), ("MultivariateStudentT(scale_tril=", "lower triangular")),
        (lambda: dist.LogisticNormal(np.zeros(2), np.array([1.0, -1.0])), ("LogisticNormal(scale=", "-1.")),
        (lambda: dist.ZeroSumNormal(0.0, (3,)), ("ZeroSumNormal(scale=0.0)",)),
        (lambda: dist.MatrixNormal(np.zeros((3, 2)), TRIL, -np.eye(2)), ("MatrixNormal(scale_tril_column=",)),
        (lambda: dist.Wishart(np.array([5.0, 2.0]), SCALE), ("Wishart(concentration=2.0)", "index (1,)", "above 2")),
        (lambda: dist.WishartCholesky(3.0, scale_tril=TRIL.T), ("WishartCholesky(scale_tril=",)),
        (lambda: dist.InverseWishart(3.0, SCALE + np.triu(SCALE, 1)), ("InverseWishart(scale_matrix=", "symmetric")),
        (lambda: dist.LKJ(3, -1.0), ("LKJ(concentration=-1.0)",)),
        (lambda: dist.LKJCholesky(3, np.array([1.0, 0.0])), ("LKJCholesky(concentration=0.0)", "index (1,)")),
        (lambda: dist.GaussianRandomWalk(np.array([1.0, -2.0]), 3), ("GaussianRandomWalk(scale=-2.0)", "index (1,)")),
        (lambda: dist.GaussianRandomWalk(1.0, 0), ("GaussianRandomWalk(num_steps=0)",)),
        (lambda: dist.AR(np.array([0.5, np.nan]), 1.0, 3), ("AR(coefficients=", "nan")),
        (lambda: dist.GaussianStateSpace(3, np.eye(2), -np.eye(2)), ("GaussianStateSpace(covariance_matrix=",)),
        (lambda: dist.CAR(0.0, 1.0, 1.0, np.eye(2)[::-1]), ("CAR(correlation=1.0)",)),
        (lambda: dist.CAR(0.0, 0.5, 1.0, np.array([[0, 1], [2, 0]])), ("CAR(adj_matrix=", "(0, 1)", "symmetric")),
        (lambda: dist.CAR(0.0, 0.5, 1.0, np.array([[0, -1], [-1, 0]])), ("CAR(adj_matrix=", "-1.0", "(0, 1)")),
        (lambda: dist.CAR(0.0, 0.5, 1.0, np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])), ("CAR(adj_matrix=", "row 2")),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named_with_its_place(make, words):
    with pytest.raises(SupportError) as caught:
        make()
    for word in (*words, "expected", "try"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dist.MultivariateStudentT(2.0, np.zeros(2), TRIL),
        lambda: dist.LogisticNormal(np.zeros(2), scale_tril=TRIL),
        lambda: dist.ZeroSumNormal(1.0, ()),
        lambda: dist.ZeroSumNormal(1.0, (3, 1)),
        lambda: dist.MatrixNormal(np.zeros((2, 3)), TRIL, np.eye(2)),
        lambda: dist.Wishart(5.0, np.ones((2, 3))),
        lambda: dist.LKJ(1, 1.0),
        lambda: dist.AR(0.5, 1.0, 3),
        lambda: dist.AR(np.zeros(2), 1.0, 3, initial_value=np.zeros(3)),
        lambda: dist.GaussianStateSpace(3, np.eye(3), np.eye(2)),
        lambda: dist.GaussianStateSpace(3, np.eye(2), np.eye(2), initial_value=np.zeros(3)),
        lambda: dist.CAR(np.zeros(3), 0.5, 1.0, np.eye(2)[::-1]),
        lambda: dist.LKJCholesky(3, 1.0).log_prob(np.eye(2)),
    ],
)
def test_shapes_that_do_not_fit_are_shape_errors(make):
    with pytest.raises(ShapeError, match="expected"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: dist.Wishart(5.0),
        lambda: dist.InverseWishart(5.0, SCALE, scale_tril=TRIL),
        lambda: dist.MultivariateStudentT(5.0),
        lambda: dist.LogisticNormal(np.zeros(2)),
        lambda: dist.GaussianStateSpace(3, np.eye(2)),
    ],
)
def test_senseless_requests_are_model_errors(make):
    with pytest.raises(ModelError, match="exactly one of"):
        make()


@pytest.mark.parametrize(
    ("d", "value"),
    [
        (dist.Wishart(5.0, SCALE), -SCALE),
        (dist.WishartCholesky(5.0, SCALE), TRIL.T),
        (dist.InverseWishart(5.0, SCALE), np.full((3, 3), np.nan)),
        (dist.LKJ(3, 1.0), SCALE),
        (dist.LKJCholesky(3, 1.0), TRIL),
        (dist.ZeroSumNormal(1.0, (3,)), np.array([1.0, 0.0, 0.0])),
        (dist.GaussianRandomWalk(1.0, 3), np.array([0.0, np.inf, 0.0])),
        (dist.LogisticNormal(np.zeros(2), 1.0), np.array([0.5, 0.6, 0.1])),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, dist.Distribution) else "",
)
def test_outside_the_support_the_log_density_is_minus_infinity(d, value):
    assert d.log_prob(value) == -np.inf
    with pytest.raises(SupportError, match=f"for {type(d).__name__}"):
        d.check_value(value)
