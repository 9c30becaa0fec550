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
