"""Closed-form updates beside latents that have none: the mean-field optimum, and the factor that blocks by name."""

import numpy as np
import pytest
from scipy import integrate, stats

import ppl
import ppl.distributions as dist

RNG = np.random.default_rng(0)
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
EFFECT = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
X = RNG.normal(size=(200, 3))
CHOICE = (RNG.random(200) < 1 / (1 + np.exp(-X @ [1.0, -2.0, 0.5]))).astype(int)
TWO = np.concatenate([RNG.normal(size=60), 8 + 2 * RNG.normal(size=90)])


def schools(sigma, y):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def logistic(x, y):
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    w = ppl.sample("w", dist.Normal(0.0, tau**-0.5).expand([x.shape[1]]).to_event(1))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def varying(group, y):
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    with ppl.plate("groups", 6):
        a = ppl.sample("a", dist.Normal(0.0, tau**-0.5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Poisson(np.exp(a[group])), obs=y)


def mixture(x, K=2):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0))
        v = ppl.sample("v", dist.LogNormal(0.0, 1.0))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.Normal(mu[z], np.sqrt(v[z])), obs=x)


GROUP = RNG.integers(6, size=80)
COUNT = RNG.poisson(np.exp(np.linspace(-1, 1, 6))[GROUP])


@pytest.mark.parametrize(
    ("model", "args", "site", "factor"),
    [
        (schools, (SIGMA, EFFECT), "tau", "log of (1 + 0.04·tau^2)"),
        (logistic, (X, CHOICE), "y", "softplus(w·data)"),
        (varying, (GROUP, COUNT), "y", "exp"),
    ],
)
def test_the_mean_field_optimum_is_reached_and_the_factor_named(model, args, site, factor):
    fit = ppl.infer(model, *args, algorithm="cavi", progress=False)
    peer = ppl.infer(model, *args, guide="meanfield", algorithm="bbvi", progress=False)
    # The hybrid's own family holds what mean field on the unconstrained axis comes near to.
    assert fit.elbo > peer.elbo - 0.1 - 3 * (fit.elbo_se + peer.elbo_se)
    assert any(factor in line for line in fit.explain().splitlines() if f"no closed form: {site}:" in line)
    assert "closed-form updates of some sites" in fit.explain()
    assert fit.verdict.converged


def test_the_bound_on_fixed_draws_never_falls():
    history = ppl.infer(schools, SIGMA, EFFECT, algorithm="cavi", progress=False).history
    assert np.all(np.diff(history) >= -1e-8 * np.abs(history[-1]))


def test_logistic_regression_with_a_hierarchy_against_quadrature():
    """One weight, its precision summed out: the exact posterior on a grid."""
    x, y = X[:, :1], CHOICE
    w = np.linspace(-4, 4, 4001)
    prior = stats.t(4.0, scale=1.0)  # Gamma(2, 2) precision: a Student t with 4 degrees of freedom
    logits = w[:, None] * x[:, 0]
    log_p = prior.logpdf(w) + np.sum(y * logits - np.logaddexp(0.0, logits), 1)
    p = np.exp(log_p - log_p.max())
    p /= integrate.trapezoid(p, w)
    mean = integrate.trapezoid(w * p, w)
    sd = integrate.trapezoid((w - mean) ** 2 * p, w) ** 0.5
    fit = ppl.infer(logistic, x, y, algorithm="cavi", progress=False)
    assert abs(float(fit["w"].mean[0]) - mean) < 0.15 * sd
    assert abs(float(fit["w"].sd[0]) / sd - 1.0) < 0.2


def moments(log_p, *axes):
    """Means and covariance of a density on a grid, by its logarithm."""
    grids = np.meshgrid(*axes, indexing="ij", sparse=True)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = np.array([np.sum(p * g) for g in grids])
    centred = [g - m for g, m in zip(grids, mean, strict=True)]
    return mean, np.array([[np.sum(p * a * b) for b in centred] for a in centred])


def agrees(fit, site, mean, sd):
    """Means within 0.15 sds of the reference, sds within 20 %."""
    assert np.all(np.abs(fit[site].mean - mean) < 0.15 * sd)
    assert np.all(np.abs(fit[site].sd / sd - 1.0) < 0.2)


def test_logistic_regression_with_a_hierarchy_keeps_the_covariances_of_its_weights():
    """Three correlated weights on a grid, their precision summed out: a multivariate Student t is the prior."""
    x = X @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.5], [0.0, 0.0, 0.9]])
    fit = ppl.infer(logistic, x, CHOICE, algorithm="cavi", progress=False)
    loc = np.linalg.solve(x.T @ x, x.T @ (2.0 * CHOICE - 1.0))
    axes = [np.linspace(-6, 6, 61) + float(np.round(c)) for c in fit["w"].mean * 0 + np.round(loc)]
    w = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    log_p = stats.multivariate_t(np.zeros(3), np.eye(3), 4.0).logpdf(w)  # Gamma(2, 2) precision
    for xi, yi in zip(x, CHOICE, strict=True):
        logits = w @ xi
        log_p += yi * logits - np.logaddexp(0.0, logits)
    mean, covariance = moments(log_p, *axes)
    agrees(fit, "w", mean, np.sqrt(np.diag(covariance)))
    assert "w (one vector): Normals, by natural gradients" in fit.explain()
    tril = fit.params["w.scale_tril"]
    found = tril @ tril.T
    correlation = lambda c: c / np.sqrt(np.outer(np.diag(c), np.diag(c)))
    np.testing.assert_allclose(correlation(found), correlation(covariance), atol=0.05)
    assert np.abs(correlation(covariance) - np.eye(3)).max() > 0.3  # which a factorised guide would miss


def test_a_gamma_for_the_variance_beside_the_conjugate_one_for_the_precision():
    """A normal with unknown mean and variance: q(variance) a gamma, by implicit gradients, against quadrature."""
    y = 2.0 + 1.5 * RNG.normal(size=25)

    def by_variance(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0))
        v = ppl.sample("v", dist.Gamma(2.0, 0.5))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(mu, np.sqrt(v)), obs=y)

    def guide(y):
        positive = dist.constraints.positive
        ppl.sample("mu", dist.Normal(ppl.param("m", 1.0), ppl.param("s", 1.0, constraint=positive)))
        a, b = (ppl.param(n, 5.0, constraint=positive) for n in "ab")
        ppl.sample("v", dist.Gamma(a, b))

    def by_precision(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0))
        tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(mu, tau**-0.5), obs=y)

    mu, v = np.linspace(0.0, 4.0, 201), np.linspace(0.3, 12.0, 1200)
    inner = lambda v: stats.norm(mu[:, None, None], np.sqrt(v)[:, None]).logpdf(y).sum(-1)
    prior = stats.norm(0, 10).logpdf(mu)[:, None]
    mean, covariance = moments(prior + stats.gamma(2.0, scale=2.0).logpdf(v) + inner(v), mu, v)
    sd = np.sqrt(np.diag(covariance))
    for fit in (
        ppl.infer(by_variance, y, guide=guide, progress=False),
        ppl.infer(by_variance, y, algorithm="cavi", progress=False),  # the mean in closed form, the variance free
    ):
        agrees(fit, "mu", mean[0], sd[0])
        agrees(fit, "v", mean[1], sd[1])
    tau = np.linspace(0.02, 2.0, 1200)
    mean, covariance = moments(prior + stats.gamma(2.0, scale=0.5).logpdf(tau) + inner(1 / tau), mu, tau)
    fit = ppl.infer(by_precision, y, algorithm="cavi", progress=False)
    agrees(fit, "mu", mean[0], np.sqrt(covariance[0, 0]))
    agrees(fit, "tau", mean[1], np.sqrt(covariance[1, 1]))


def walkers(log_p, start, scale, steps, seed=0):
    """Metropolis from many starts at once: draws (kept, walkers, coordinates), and their potential scale reduction."""
    rng = np.random.default_rng(seed)
    x = start + 0.1 * scale * rng.standard_normal(start.shape)
    at, kept = log_p(x), []
    for step in range(steps):
        y = x + scale * rng.standard_normal(x.shape)
        there = log_p(y)
        moved = np.log(rng.random(len(x))) < there - at
        x, at = np.where(moved[:, None], y, x), np.where(moved, there, at)
        if step > steps // 3 and step % 5 == 0:
            kept.append(x)
    draws = np.array(kept)
    within, between = draws.var(0).mean(0), draws.mean(0).var(0)
    return draws, np.sqrt(1.0 + between / within)


@pytest.mark.slow
def test_a_mixture_with_a_log_normal_variance_against_reference_draws():
    fit = ppl.infer(mixture, TWO, algorithm="cavi", progress=False)

    def log_p(u):  # logit of the first share, means, log variances; labels summed out
        share, mu, v = 1 / (1 + np.exp(-u[:, :1])), u[:, 1:3], np.exp(u[:, 3:5])
        log_share = np.log(np.concatenate([share, 1 - share], 1))
        each = stats.norm(mu[:, None], np.sqrt(v)[:, None]).logpdf(TWO[:, None]) + log_share[:, None]
        prior = log_share.sum(1) + stats.norm(0, 10).logpdf(mu).sum(1) + stats.norm(0, 1).logpdf(u[:, 3:5]).sum(1)
        return prior + np.logaddexp(each[..., 0], each[..., 1]).sum(1)

    start = np.array([[np.log(60 / 90), 0.0, 8.0, 0.0, np.log(4.0)]])
    draws, reduction = walkers(log_p, np.repeat(start, 60, 0), np.array([0.15, 0.11, 0.18, 0.15, 0.12]), 3000)
    assert np.all(reduction < 1.02)
    flat = draws.reshape(-1, 5)
    order = np.argsort(fit["mu"].mean)
    for site, values in (("mu", flat[:, 1:3]), ("v", np.exp(flat[:, 3:5]))):
        mean, sd = values.mean(0), values.std(0)
        assert np.all(np.abs(fit[site].mean[order] - mean) < 0.15 * sd)
        assert np.all(np.abs(fit[site].sd[order] / sd - 1.0) < 0.2)
    share = 1 / (1 + np.exp(-flat[:, 0]))
    assert abs(fit["pi"].mean[order[0]] - share.mean()) < 0.15 * share.std()


def test_a_mixture_with_a_log_normal_variance_finds_the_components():
    fit = ppl.infer(mixture, TWO, algorithm="cavi", progress=False)
    order = np.argsort(fit["mu"].mean)
    np.testing.assert_allclose(np.asarray(fit["mu"].mean)[order], [TWO[:60].mean(), TWO[60:].mean()], atol=0.3)
    np.testing.assert_allclose(np.asarray(fit["v"].mean)[order], [TWO[:60].var(), TWO[60:].var()], rtol=0.3)
    assert "v: log(v)·log(v)" in fit.explain() or "no statistic" in fit.explain()


def test_a_discrete_latent_without_a_closed_form_is_refused():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
        z = ppl.sample("z", dist.Bernoulli(0.5))
        ppl.sample("y", dist.Normal(mu + np.sin(z + mu), 1.0), obs=y)

    with pytest.raises(ppl.ConjugacyError, match="sin"):
        ppl.infer(model, 0.3, algorithm="cavi", progress=False)
