"""Structured blocks: a location and its precision keep their dependence. Exact answers, and scikit-learn's."""

import numpy as np
import pytest
from scipy import special

import ppl
import ppl.distributions as dist
from tests.conjugacy.models import D3, RESPONSE, X, Y


def fit_of(model, *args, blocks, **settings):
    return ppl.infer(model, *args, algorithm=ppl.CAVI(blocks=blocks, **settings), progress=False)


def normal_gamma(y):
    tau = ppl.sample("tau", dist.Gamma(2.0, 3.0))
    mu = ppl.sample("mu", dist.Normal(1.0, (0.5 * tau) ** -0.5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(mu, tau**-0.5), obs=y)


def regression(x, y):
    tau = ppl.sample("tau", dist.Gamma(2.0, 3.0))
    w = ppl.sample("w", dist.Normal(0.0, 2.0 * tau**-0.5).expand([3]).to_event(1))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(x @ w, tau**-0.5), obs=y)


def normal_wishart(x):
    precision = ppl.sample("precision", dist.Wishart(4.0, 0.5 * np.eye(2)))
    mu = ppl.sample("mu", dist.MultivariateNormal(np.ones(2), precision_matrix=0.5 * precision))
    with ppl.plate("n", len(x)):
        ppl.sample("x", dist.MultivariateNormal(mu, precision_matrix=precision), obs=x)


def test_normal_gamma_is_the_exact_posterior_and_evidence():
    n, k0, a0, b0 = len(Y), 0.5, 2.0, 3.0
    k, a = k0 + n, a0 + n / 2
    mean = (k0 * 1.0 + Y.sum()) / k
    b = b0 + 0.5 * np.sum((Y - Y.mean()) ** 2) + 0.5 * k0 * n * (Y.mean() - 1.0) ** 2 / k
    fit = fit_of(normal_gamma, Y, blocks=[("mu", "tau")])
    names = "mu.loc", "mu.precision_scale", "tau.concentration", "tau.rate"
    np.testing.assert_allclose([fit.params[p] for p in names], [mean, k, a, b], rtol=1e-10)
    evidence = special.gammaln(a) - special.gammaln(a0) + a0 * np.log(b0) - a * np.log(b)
    evidence += 0.5 * np.log(k0 / k) - 0.5 * n * np.log(2 * np.pi)
    np.testing.assert_allclose(fit.elbo, evidence, rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "args", "block"),
    [
        (normal_gamma, (Y,), ("mu", "tau")),
        (regression, (D3, RESPONSE), ("w", "tau")),
        (normal_wishart, (X,), ("mu", "precision")),
    ],
)
def test_one_block_of_everything_is_the_exact_posterior(model, args, block):
    fit = fit_of(model, *args, blocks=[block])
    evidence = fit.log_evidence(200)
    assert evidence.se < 1e-10  # every draw has the same weight
    np.testing.assert_allclose(fit.elbo, evidence.value, rtol=1e-10)
    assert fit.verdict.word == "trusted"
    assert fit.elbo > ppl.infer(model, *args, algorithm="cavi", progress=False).elbo + 1e-3


def mixture(x, K, covariance):
    weight = ppl.sample("weight", dist.Dirichlet(np.full(K, 1e-3)))
    with ppl.plate("k", K):
        precision = ppl.sample("precision", dist.Wishart(2.0, rate_matrix=covariance))
        mu = ppl.sample("mu", dist.MultivariateNormal(x.mean(0), precision_matrix=precision))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(weight))
        ppl.sample("x", dist.MultivariateNormal(mu[z], precision_matrix=precision[z]), obs=x)


def test_full_mixture_is_scikit_learns_in_parameters():
    from sklearn.mixture import BayesianGaussianMixture

    peer = BayesianGaussianMixture(
        n_components=4, weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1e-3,
        mean_precision_prior=1.0, degrees_of_freedom_prior=2.0, covariance_prior=np.cov(X.T), reg_covar=0.0,
        tol=1e-13, max_iter=5000, random_state=0,
    ).fit(X)  # fmt: skip
    start = peer.predict_proba(X)
    fit = fit_of(mixture, X, 4, np.cov(X.T), blocks=[("mu", "precision")], init={"z": start}, tolerance=0.0, steps=500)
    q = fit.params
    np.testing.assert_allclose(q["weight.concentration"], peer.weight_concentration_, rtol=1e-6)
    np.testing.assert_allclose(q["mu.loc"], peer.means_, rtol=1e-6)
    np.testing.assert_allclose(q["mu.precision_scale"], peer.mean_precision_, rtol=1e-6)
    np.testing.assert_allclose(q["precision.concentration"], peer.degrees_of_freedom_, rtol=1e-6)
    covariance = q["precision.rate_matrix"] / q["precision.concentration"][:, None, None]
    np.testing.assert_allclose(covariance, peer.covariances_, rtol=1e-6, atol=1e-9)
    assert np.all(np.diff(fit.history) >= -1e-9 * abs(fit.elbo))


def test_a_fit_with_a_block_can_be_saved_and_loaded(tmp_path):
    fit = fit_of(normal_wishart, X, blocks=[("mu", "precision")])
    fit.save(tmp_path / "fit.npz")
    np.testing.assert_array_equal(ppl.load(tmp_path / "fit.npz", normal_wishart).sample(5)["mu"], fit.sample(5)["mu"])


def test_a_location_whose_prior_does_not_scale_is_no_block():
    def model(y):
        tau = ppl.sample("tau", dist.Gamma(2.0, 3.0))
        mu = ppl.sample("mu", dist.Normal(1.0, 10.0))
        ppl.sample("y", dist.Normal(mu, tau**-0.5), obs=y)

    with pytest.raises(ppl.ConjugacyError, match="no statistic of the block"):
        fit_of(model, 1.0, blocks=[("mu", "tau")])
