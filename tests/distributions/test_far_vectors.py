"""Vectors, matrices and counts far out: 40 standard deviations, and parameters of 1e-8 and 1e8, against mpmath.

Every formula here is written out with 60 digits, from the parameters as doubles have them.
"""

from __future__ import annotations

import itertools

import mpmath as mp
import numpy as np
import pytest

import ppl.distributions as dist

SCALES = (1e-8, 0.37, 2.5, 1e8)


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(60):
        yield


def agree(found, exact, tolerance=1e-9):
    exact = float(exact)
    assert np.isfinite(found) and abs(found - exact) <= tolerance * max(1.0, abs(exact)), (found, exact)


def matrix(a):
    return mp.matrix([[mp.mpf(float(x)) for x in row] for row in np.atleast_2d(a)])


def quadratic(cov, x):
    """x' cov^-1 x and log det cov."""
    column = mp.matrix([mp.mpf(float(v)) for v in x])
    m = matrix(cov)
    return (column.T * mp.lu_solve(m, column))[0], mp.log(mp.det(m))


def normal(cov, x):
    q, log_det = quadratic(cov, x)
    return -(q + log_det + len(x) * mp.log(2 * mp.pi)) / 2


def log_beta(a):
    return mp.fsum(mp.loggamma(v) for v in a) - mp.loggamma(mp.fsum(a))


# -- vectors -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("far", [0.0, 1.0, 40.0])
def test_normal_vectors(scale, far):
    root = np.array([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [-0.3, 0.2, 1.7]])
    tril, x = scale * root, far * scale * np.array([1.0, -1.2, 0.7])
    cov = (matrix(tril) * matrix(tril).T).tolist()
    cov = np.array([[float(v) for v in row] for row in cov])
    agree(dist.MultivariateNormal(np.zeros(3), scale_tril=tril).log_prob(x), normal(cov, x), 1e-8)
    agree(dist.MultivariateNormal(np.zeros(3), covariance_matrix=cov).log_prob(x), normal(cov, x), 1e-8)
    df = mp.mpf("2.5")
    q, log_det = quadratic(cov, x)
    exact = mp.loggamma((df + 3) / 2) - mp.loggamma(df / 2) - (3 * mp.log(df * mp.pi) + log_det) / 2
    agree(
        dist.MultivariateStudentT(2.5, np.zeros(3), tril).log_prob(x),
        exact - (df + 3) / 2 * mp.log1p(q / df),
        1e-8,
    )


@pytest.mark.parametrize("weight", SCALES)
@pytest.mark.parametrize("noise", SCALES)
def test_low_rank_normals(weight, noise):
    w, d = weight * np.array([[1.0], [0.5], [-2.0]]), noise * np.array([1.0, 0.3, 2.0])
    x = 40.0 * np.hypot(w[:, 0], np.sqrt(d)) * np.array([1.0, -1.0, 0.5])
    wm, dm = matrix(w), mp.diag([mp.mpf(float(v)) for v in d])
    m, column = wm * wm.T + dm, mp.matrix([mp.mpf(float(v)) for v in x])
    exact = -((column.T * mp.lu_solve(m, column))[0] + mp.log(mp.det(m)) + 3 * mp.log(2 * mp.pi)) / 2
    # What the small noise says of a large vector is a difference of large numbers: as far as doubles go.
    agree(dist.LowRankMultivariateNormal(np.zeros(3), w, d).log_prob(x), exact, 1e-7)


@pytest.mark.parametrize("a", itertools.product(SCALES, repeat=3))
def test_dirichlet(a):
    for x in ([0.2, 0.3, 0.5], [1e-8, 1e-3, 1.0 - 1e-8 - 1e-3], [0.98, 0.01, 0.01]):
        terms = [(mp.mpf(c) - 1) * mp.log(mp.mpf(v)) for c, v in zip(a, x, strict=True)]
        exact = mp.fsum(terms) - log_beta([mp.mpf(c) for c in a])
        largest = max(abs(float(t)) for t in terms)
        found = dist.Dirichlet(np.array(a)).log_prob(np.array(x))
        assert abs(found - float(exact)) <= 1e-13 * largest + 1e-9 * max(1.0, abs(float(exact))), (a, x)


@pytest.mark.parametrize("scale", SCALES)
def test_wishart(scale):
    df, x = 5.5, np.array([[3.0, 0.4], [0.4, 2.0]]) * scale
    v = np.array([[1.0, 0.2], [0.2, 0.7]]) * scale
    m, s = matrix(x), matrix(v)
    trace = sum((mp.lu_solve(s, m[:, i]))[i] for i in range(2))
    gamma = mp.log(mp.pi) / 2 + mp.loggamma(mp.mpf(df) / 2) + mp.loggamma((mp.mpf(df) - 1) / 2)
    exact = (df - 3) * mp.log(mp.det(m)) / 2 - trace / 2 - df * mp.log(2) - df * mp.log(mp.det(s)) / 2 - gamma
    agree(dist.Wishart(df, scale_matrix=v).log_prob(x), exact)
    inner = sum((mp.lu_solve(m, s[:, i]))[i] for i in range(2))
    exact = df * mp.log(mp.det(s)) / 2 - df * mp.log(2) - gamma - (df + 3) * mp.log(mp.det(m)) / 2 - inner / 2
    agree(dist.InverseWishart(df, scale_matrix=v).log_prob(x), exact)


# -- counts ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", SCALES)
def test_poisson(rate):
    for k in (0, 1, round(rate), round(rate + 40 * rate**0.5)):
        agree(dist.Poisson(rate).log_prob(k), k * mp.log(mp.mpf(rate)) - mp.mpf(rate) - mp.loggamma(k + 1))


@pytest.mark.parametrize("p", [1e-8, 0.37, 1 - 1e-8])
@pytest.mark.parametrize("n", [1, 7, 10**8])
def test_binomial(p, n):
    spread = 40 * (n * p * (1 - p)) ** 0.5
    for k in {0, n, round(n * p), min(n, round(n * p + spread)), max(0, round(n * p - spread))}:
        q = mp.mpf(p)
        ways = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
        exact = ways + (k * mp.log(q) if k else 0) + ((n - k) * mp.log1p(-q) if n > k else 0)
        agree(dist.Binomial(n, probs=p).log_prob(k), exact, 3e-8 if n > 10 else 1e-9)


@pytest.mark.parametrize("p", [1e-8, 0.37, 1 - 1e-8])
def test_geometric(p):
    for k in (0, 3, round(40 / p)):
        agree(dist.Geometric(probs=p).log_prob(k), k * mp.log1p(-mp.mpf(p)) + mp.log(mp.mpf(p)))


@pytest.mark.parametrize("r", SCALES)
@pytest.mark.parametrize("mean", SCALES)
def test_negative_binomial(r, mean):
    m, c = mp.mpf(mean), mp.mpf(r)
    for k in (0, 2, round(mean + 40 * (mean + mean**2 / r) ** 0.5) if mean < 1e3 and r > 1e-3 else 5):
        exact = mp.loggamma(k + c) - mp.loggamma(c) - mp.loggamma(k + 1) - c * mp.log1p(m / c) - k * mp.log1p(c / m)
        agree(dist.NegativeBinomial2(mean, r).log_prob(k), exact, 1e-8)


@pytest.mark.parametrize("a", [(1e-8, 0.37, 1e8), (2.5, 2.5, 1e-8), (1e8, 1e8, 1e8)])
def test_dirichlet_multinomial(a):
    for x in ([3, 0, 2], [0, 0, 9], [1, 4, 0]):
        n, total = sum(x), mp.fsum(mp.mpf(v) for v in a)
        each = (
            mp.loggamma(c + mp.mpf(v)) - mp.loggamma(mp.mpf(v)) - mp.loggamma(c + 1) for c, v in zip(x, a, strict=True)
        )
        exact = mp.fsum(each) + mp.loggamma(n + 1) + mp.loggamma(total) - mp.loggamma(n + total)
        agree(dist.DirichletMultinomial(np.array(a), n).log_prob(np.array(x)), exact, 1e-8)


def test_a_formula_that_cancels_is_caught():
    """A difference of lgamma at 1e12, as it is usually written, is wrong in the fifth digit."""
    from scipy import special

    a, b = 1e12, 5.0
    plain = special.gammaln(a + b) - special.gammaln(a)
    exact = float(mp.loggamma(mp.mpf(a) + b) - mp.loggamma(mp.mpf(a)))
    with pytest.raises(AssertionError):
        agree(plain, exact, 1e-9)
