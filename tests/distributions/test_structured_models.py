"""Vectors, matrices and chains as latent sites of models, against known posteriors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, special, stats

import ppl
import ppl.distributions as dist


def fitted(model, *arguments, **keywords):
    return ppl.infer(model, *arguments, guide="fullrank", progress=False, **keywords)


def assert_posterior(site, mean, sd):
    """Means within a tenth of a standard deviation, standard deviations within a tenth of themselves."""
    assert np.all(np.abs(site.mean - mean) < 0.1 * sd + 1e-9)
    np.testing.assert_allclose(site.sd, sd, rtol=0.1, atol=1e-9)


SERIES = np.array([0.4, 0.9, 0.7, -0.2, -0.9, -1.4, -1.0, -0.3])
LINE = np.diag(np.ones(7), 1) + np.diag(np.ones(7), -1)
NOISE = 0.3
LATENT = {
    "GaussianRandomWalk": dist.GaussianRandomWalk(0.5, 8),
    "AR": dist.AR(np.array([0.5, 0.2]), 0.5, 8, constant=0.1),
    "CAR": dist.CAR(0.0, 0.9, 2.0, LINE),
    "CAR-sparse": dist.CAR(0.0, 0.9, 2.0, sparse.csr_array(LINE)),
    "GaussianStateSpace": dist.GaussianStateSpace(4, np.array([[0.8, 0.3], [0.0, 0.5]]), scale_tril=0.5 * np.eye(2)),
    "MatrixNormal": dist.MatrixNormal(np.zeros((4, 2)), np.tril(np.full((4, 4), 0.5)), np.eye(2)),
    "ZeroSumNormal": dist.ZeroSumNormal(1.5, (8,)),
    "LowRankMultivariateNormal": dist.LowRankMultivariateNormal(np.zeros(8), SERIES[:, None], np.full(8, 0.2)),
}


@pytest.mark.parametrize("latent", LATENT.values(), ids=LATENT)
def test_posterior_of_a_normal_latent(latent):
    """Normal prior, normal noise: the posterior is normal, with the moments of the prior's own draws."""
    data = SERIES.reshape(latent.event_shape)

    def model(y):
        z = ppl.sample("z", latent)
        ppl.sample("y", dist.Normal(z, NOISE).to_event(), obs=y)

    unit = np.eye(int(np.prod(latent.noise_shape))).reshape(-1, *latent.noise_shape)
    columns = (latent.from_noise(unit) - latent.mean).reshape(len(unit), -1)
    prior, mean = columns.T @ columns, latent.mean.ravel()
    gain = prior @ np.linalg.inv(prior + NOISE**2 * np.eye(8))
    posterior = prior - gain @ prior
    fit = fitted(model, data)
    shape = latent.event_shape
    assert_posterior(
        fit["z"],
        (mean + gain @ (SERIES - mean)).reshape(shape),
        np.sqrt(np.diag(posterior)).reshape(shape),
    )


PAIRS = np.random.default_rng(0).normal(size=(40, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])


def wishart_precision(z):
    precision = ppl.sample("x", dist.Wishart(6.0, np.eye(2)))
    with ppl.plate("rows", len(z)):
        ppl.sample("z", dist.MultivariateNormal(0.0, precision_matrix=precision), obs=z)


def wishart_factor(z):
    factor = ppl.sample("factor", dist.WishartCholesky(6.0, np.eye(2)))
    precision = ppl.deterministic("x", factor @ factor.T)
    with ppl.plate("rows", len(z)):
        ppl.sample("z", dist.MultivariateNormal(0.0, precision_matrix=precision), obs=z)


def inverse_wishart_covariance(z):
    covariance = ppl.sample("x", dist.InverseWishart(6.0, np.eye(2)))
    with ppl.plate("rows", len(z)):
        ppl.sample("z", dist.MultivariateNormal(0.0, covariance), obs=z)


@pytest.mark.parametrize(
    "model", [pytest.param(wishart_precision, marks=pytest.mark.slow), wishart_factor, inverse_wishart_covariance]
)
def test_posterior_of_a_covariance(model):
    scatter = np.eye(2) + PAIRS.T @ PAIRS
    exact = dist.InverseWishart(46.0, scatter)
    if model is not inverse_wishart_covariance:
        exact = dist.Wishart(46.0, rate_matrix=scatter)
    x = fitted(model, PAIRS).sample(2000, seed=0, resample=True)["x"]
    sd = np.sqrt(exact.variance)
    # 0.1 standard deviations for the fit, 4 / sqrt(2000) for the 2000 draws.
    assert np.all(np.abs(x.mean(0) - exact.mean) < 0.19 * sd)
    np.testing.assert_allclose(x.std(0), sd, rtol=0.17)


def test_posterior_of_a_correlation():
    def model(z):
        tril = ppl.sample("tril", dist.LKJCholesky(2, 1.5))
        with ppl.plate("rows", len(z)):
            ppl.sample("z", dist.MultivariateNormal(0.0, scale_tril=tril), obs=z)

    def matrix_model(z):
        matrix = ppl.sample("matrix", dist.LKJ(2, 1.5))
        with ppl.plate("rows", len(z)):
            ppl.sample("z", dist.MultivariateNormal(0.0, matrix), obs=z)

    r = np.linspace(-0.999, 0.999, 4001)
    squares, cross, n = np.sum(PAIRS**2), np.sum(PAIRS[:, 0] * PAIRS[:, 1]), len(PAIRS)
    log_weight = (0.5 - n / 2) * np.log1p(-r * r) - (squares - 2 * r * cross) / (2 * (1 - r * r))
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ r
    sd = np.sqrt(weight @ (r - mean) ** 2)
    for found in (fitted(model, PAIRS)["tril"], fitted(matrix_model, PAIRS)["matrix"]):
        assert abs(found.mean[1, 0] - mean) < 0.1 * sd
        assert found.sd[1, 0] == pytest.approx(sd, rel=0.1)


@pytest.mark.slow
def test_correlated_random_slopes():
    """Intercepts and slopes with an LKJ prior of their correlation; held against the correlation that made them."""
    rng = np.random.default_rng(1)
    groups, size, tril = 60, 12, np.array([[1.0, 0.0], [-0.7, np.sqrt(0.51)]])
    effects = rng.normal(size=(groups, 2)) @ (np.array([1.0, 0.6])[:, None] * tril).T
    which, x = np.repeat(np.arange(groups), size), rng.normal(size=groups * size)
    y = effects[which, 0] + effects[which, 1] * x + 0.3 * rng.normal(size=len(x))

    def model(x, which, y):
        tril = ppl.sample("tril", dist.LKJCholesky(2, 2.0))
        scale = ppl.sample("scale", dist.HalfNormal(1.0).expand([2]).to_event(1))
        with ppl.plate("groups", 60):
            b = ppl.sample("b", dist.MultivariateNormal(0.0, scale_tril=scale[:, None] * tril))
        with ppl.plate("rows", len(x)):
            ppl.sample("y", dist.Normal(b[which, 0] + b[which, 1] * x, 0.3), obs=y)

    fit = ppl.infer(model, x, which, y, progress=False)
    # The effects are nearly known, so the posterior is near that of their own sample correlation.
    sample = np.corrcoef(effects.T)[0, 1]
    spread = (1 - sample**2) / np.sqrt(groups)
    assert abs(fit["tril"].mean[1, 0] - sample) < 0.5 * spread
    assert fit["tril"].sd[1, 0] == pytest.approx(spread, rel=0.3)


def test_posterior_of_log_ratios_and_of_a_student_vector():
    def parts(k):
        p = ppl.sample("p", dist.LogisticNormal(np.array([0.3]), np.array([1.2])))
        ppl.sample("k", dist.Binomial(20, p[0]), obs=k)

    def vector(y):
        b = ppl.sample("b", dist.MultivariateStudentT(4.0, np.zeros(1), np.eye(1)))
        ppl.sample("y", dist.Normal(b[0], 0.5), obs=y)

    grid = np.linspace(-8.0, 8.0, 4001)
    share = special.expit(grid)
    known = {
        "p": (share, stats.norm(0.3, 1.2).logpdf(grid) + stats.binom(20, share).logpmf(6)),
        "b": (grid, stats.t(4.0).logpdf(grid) + stats.norm(grid, 0.5).logpdf(1.7)),
    }
    fits = {"p": fitted(parts, 6), "b": fitted(vector, 1.7)}
    for name, (values, log_weight) in known.items():
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        mean = weight @ values
        sd = np.sqrt(weight @ (values - mean) ** 2)
        assert abs(np.ravel(fits[name][name].mean)[0] - mean) < 0.1 * sd
        assert np.ravel(fits[name][name].sd)[0] == pytest.approx(sd, rel=0.1)


def test_a_dirichlet_guide_takes_pathwise_gradients():
    """Against the exact gradient: minus that of KL(Dirichlet(a), Dirichlet(prior + counts))."""
    prior, counts, a = np.array([1.0, 2.0, 0.7]), np.array([3, 5, 1]), np.array([2.0, 0.8, 3.5])

    def model(k):
        p = ppl.sample("p", dist.Dirichlet(prior))
        with ppl.plate("rows", len(k)):
            ppl.sample("k", dist.Categorical(p), obs=k)

    def guide(k):
        ppl.sample("p", dist.Dirichlet(ppl.param("a", a, constraint=dist.constraints.positive)))

    gap = prior + counts - a
    exact = gap * special.polygamma(1, a) - special.polygamma(1, a.sum()) * gap.sum()
    found = ppl.gradient(
        model, np.repeat([0, 1, 2], counts), guide=guide, estimators="pathwise", particles=2000, seed=0
    )
    assert found.estimators["p"][0] == "pathwise"
    error = np.sqrt(found.variance["a"] / 2000)
    assert np.all(np.abs(found.grad["a"] - exact) < 6.5 * error)
    # A gradient that forgot one count by which the draws are normalised would be seen.
    assert np.any(np.abs(found.grad["a"] - gap * special.polygamma(1, a)) > 6.5 * error)
