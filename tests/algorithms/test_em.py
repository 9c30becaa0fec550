"""EM against scikit-learn and closed forms."""

import json

import numpy as np
import pytest
from scipy import optimize, stats

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from tests.conjugacy import models as m
from tests.data_folder import data_folder, why_absent

ABSENT = why_absent("sklearn_reference") or why_absent("classic")
reference = pytest.mark.skipif(ABSENT is not None, reason=ABSENT or "")


def em(model, *args, tolerance=0.0, steps=1000, **settings):
    return ppl.infer(model, *args, algorithm=ppl.EM(tolerance=tolerance, steps=steps, **settings), progress=False)


def mixture(x, K=2):
    d = x.shape[1]
    pi = ppl.param("pi", np.full(K, 1 / K), constraint=constraints.simplex)
    mu = ppl.param("mu", lambda rng, rows: rng.normal(size=(K, d)))
    cov = ppl.param("cov", np.broadcast_to(np.eye(d), (K, d, d)), constraint=constraints.positive_definite)
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.MultivariateNormal(mu[z], cov[z]), obs=x)


def test_full_mixture_is_scikit_learns():
    from sklearn.mixture import GaussianMixture

    x = m.X
    peer = GaussianMixture(3, tol=1e-14, max_iter=2000, reg_covar=0.0, n_init=3, random_state=0).fit(x)
    fit = em(mixture, x, 3, init={"pi": peer.weights_, "mu": peer.means_, "cov": peer.covariances_})
    for name, value in (("pi", peer.weights_), ("mu", peer.means_), ("cov", peer.covariances_)):
        np.testing.assert_allclose(fit.params[name], value, rtol=1e-6)
    np.testing.assert_allclose(fit.elbo, peer.score(x) * len(x), rtol=1e-9)


def known(name):
    return json.loads((data_folder() / "sklearn_reference" / "reference.json").read_text())[name]


@reference
def test_old_faithful_from_starts_of_its_own():
    x = np.loadtxt(data_folder() / "classic" / "faithful.csv", delimiter=",", skiprows=1, usecols=(1, 2))
    peer = known("faithful_gmm2_em")
    fit = em(mixture, x, steps=300)
    order, there = np.argsort(fit.params["mu"][:, 0]), np.argsort(np.array(peer["means"])[:, 0])
    np.testing.assert_allclose(fit.elbo, peer["total_loglik"], rtol=1e-6)
    np.testing.assert_allclose(fit.params["mu"][order], np.array(peer["means"])[there], rtol=1e-4)
    np.testing.assert_allclose(fit.params["pi"][order], np.array(peer["weights"])[there], rtol=1e-4)


def ppca(x, K, noise):
    d = x.shape[1]
    w = ppl.param("w", lambda rng, rows: rng.normal(size=(d, K)))
    mu = ppl.param("mu", x.mean(0))
    precision = ppl.param("precision", np.ones(noise), constraint=constraints.positive)
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([K]).to_event(1))
        ppl.sample("x", dist.Normal(z @ w.T + mu, precision**-0.5 * np.ones(d)).to_event(1), obs=x)


def test_ppca_reaches_the_maximum_likelihood_subspace():
    """Tipping and Bishop (1999): W spans the leading eigenvectors, the noise is the mean of the other eigenvalues."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 5)) + 0.5 * rng.normal(size=(200, 5))
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    noise = values[:3].mean()
    fit = em(ppca, x, 2, ())
    np.testing.assert_allclose(1 / fit.params["precision"], noise, rtol=1e-6)
    w = fit.params["w"]
    expected = (vectors[:, 3:] * (values[3:] - noise)) @ vectors[:, 3:].T
    np.testing.assert_allclose(w @ w.T, expected, rtol=1e-5, atol=1e-7)
    c = expected + noise * np.eye(5)
    centred = x - x.mean(0)
    logdet = np.linalg.slogdet(c)[1]
    likelihood = -0.5 * np.sum(centred @ np.linalg.inv(c) * centred) - 100 * (logdet + 5 * np.log(2 * np.pi))
    np.testing.assert_allclose(fit.elbo, likelihood, rtol=1e-9)


@reference
def test_iris_ppca_and_factor_analysis():
    from sklearn.datasets import load_iris

    x = load_iris().data
    fit = em(ppca, x, 2, (), steps=2000)
    np.testing.assert_allclose(fit.elbo, known("iris_ppca2_exact_ml")["total_loglik"], rtol=1e-8)
    np.testing.assert_allclose(1 / fit.params["precision"], known("iris_ppca2_exact_ml")["sigma2"], rtol=1e-5)
    peer = known("iris_fa1_ml")["total_loglik"]
    elbo = em(ppca, x, 1, (4,), steps=3000).elbo
    assert peer - 0.1 < elbo < peer + 1e-6  # one noise goes to zero, where EM is slow


@reference
def test_evidence_of_a_ridge_regression():
    from sklearn.datasets import load_diabetes

    data = load_diabetes()

    def model(x, y):
        alpha = ppl.param("alpha", 1e-4, constraint=constraints.positive)
        weight = ppl.param("lambda", 1e-4, constraint=constraints.positive)
        w = ppl.sample("w", dist.Normal(0.0, weight**-0.5).expand([x.shape[1]]).to_event(1))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(x @ w, alpha**-0.5), obs=y)

    peer = known("diabetes_evidence_ridge")
    fit = em(model, data.data, data.target - data.target.mean())
    np.testing.assert_allclose(fit.elbo, peer["log_evidence_at_optimum"], rtol=1e-7)
    np.testing.assert_allclose(fit.params["alpha"], peer["alpha(noise precision)"], rtol=1e-3)
    np.testing.assert_allclose(fit.params["w.loc"], peer["coef"], rtol=1e-3)


def test_the_posterior_mode_of_named_sites():
    y = np.array([1, 0, 1, 1, 0, 1])
    fit = em(m.beta_bernoulli, y, maximize=("p",))
    np.testing.assert_allclose(fit["p"].mean, (1.5 + 4 - 1) / (1.5 + 2.5 + 6 - 2), rtol=1e-12)
    assert fit["p"].sd == 0.0
    assert fit.verdict.k_hat is None


def test_the_likelihood_never_falls():
    history = em(mixture, m.X, 3, steps=100).history
    assert np.all(np.diff(history) >= -1e-9 * abs(history[-1]))


# -- points without a closed form ----------------------------------------------------------------------
CHOICE = (np.median(m.RESPONSE) < m.RESPONSE).astype(int)


def log_likelihood(w):
    logits = m.D3 @ w
    return np.sum(CHOICE * logits - np.logaddexp(0.0, logits))


def test_logistic_regression_by_maximum_likelihood_and_at_the_posterior_mode():
    def likely(x, y):
        w = ppl.param("w", np.zeros(3))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    def probable(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 0.5).expand([3]).to_event(1))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    fit = em(likely, m.D3, CHOICE, steps=50)
    best = optimize.minimize(lambda w: -log_likelihood(w), np.zeros(3), tol=1e-10)
    np.testing.assert_allclose(fit.params["w"], best.x, rtol=1e-4)
    np.testing.assert_allclose(fit.elbo, -best.fun, rtol=1e-10)
    assert fit.elbo_se == 0.0
    fit = em(probable, m.D3, CHOICE, steps=50, maximize=("w",))
    best = optimize.minimize(lambda w: 2.0 * w @ w - log_likelihood(w), np.zeros(3), tol=1e-10)
    np.testing.assert_allclose(fit["w"].mean, best.x, rtol=1e-4)
    np.testing.assert_allclose(fit.elbo, stats.norm(0, 0.5).logpdf(best.x).sum() + log_likelihood(best.x), rtol=1e-8)
    assert "w: points, by quasi-Newton steps" in fit.explain()


def test_degrees_of_freedom_are_climbed_beside_closed_form_steps():
    """Student's t as a scale mixture: E-steps and two M-steps in closed form, one by gradients; SciPy's maximum."""
    y = stats.t(3.5, 1.0, 2.0).rvs(300, random_state=1)

    def model(y):
        positive = constraints.positive
        nu, mu, tau = ppl.param("nu", 5.0, positive), ppl.param("mu", 0.0), ppl.param("tau", 1.0, positive)
        with ppl.plate("n", len(y)):
            u = ppl.sample("u", dist.Gamma(nu / 2, nu / 2))
            ppl.sample("y", dist.Normal(mu, (tau * u) ** -0.5), obs=y)

    fit = em(model, y, tolerance=1e-13)
    df, loc, scale = stats.t.fit(y)
    found = [fit.params["nu"], fit.params["mu"], fit.params["tau"] ** -0.5]
    np.testing.assert_allclose(found, [df, loc, scale], rtol=1e-3)
    np.testing.assert_allclose(fit.elbo, stats.t(df, loc, scale).logpdf(y).sum(), rtol=1e-9)
    assert np.all(np.diff(fit.history) >= -1e-9 * abs(fit.elbo))


def test_a_small_network_with_noise_of_its_own():
    x = np.linspace(-2, 2, 120)[:, None]
    y = np.sin(2 * x[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=120)

    def model(x, y):
        draw = lambda *shape: lambda rng, rows: rng.normal(size=shape)
        w1, b1, w2 = ppl.param("w1", draw(1, 8)), ppl.param("b1", draw(8)), ppl.param("w2", draw(8))
        tau = ppl.param("tau", 1.0, constraints.positive)
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(np.tanh(x @ w1 + b1) @ w2, tau**-0.5), obs=y)

    fit = em(model, x, y, steps=300, tolerance=1e-9)
    q = fit.params
    rest = y - np.tanh(x @ q["w1"] + q["b1"]) @ q["w2"]
    np.testing.assert_allclose(1 / q["tau"], np.mean(rest**2), rtol=1e-3)
    assert np.mean(rest**2) < 0.015  # the noise is 0.01
    assert np.all(np.diff(fit.history) >= -1e-9 * abs(fit.elbo))


# -- minibatches --------------------------------------------------------------------------------------
def by_minibatches(x, K, size=None):
    d = x.shape[1]
    pi = ppl.param("pi", np.full(K, 1 / K), constraint=constraints.simplex)
    mu = ppl.param("mu", lambda rng, rows: 3.0 * rng.normal(size=(K, d)))
    cov = ppl.param("cov", np.broadcast_to(np.eye(d), (K, d, d)), constraint=constraints.positive_definite)
    with ppl.plate("n", len(x), subsample_size=size) as i:
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.MultivariateNormal(mu[z], cov[z]), obs=x[i])


def test_minibatches_come_near_the_maximum_of_all_rows():
    rng = np.random.default_rng(0)
    x = rng.permutation(np.concatenate([m.X + 0.01 * rng.normal(size=m.X.shape) for _ in range(20)]))
    whole = em(by_minibatches, x, 3, tolerance=1e-10)
    parts = ppl.infer(by_minibatches, x, 3, size=100, algorithm=ppl.EM(steps=600), progress=False)
    assert whole.elbo - 20.0 < parts.elbo <= whole.elbo + 1e-6  # of 11,657 nats
    order = [np.argsort(f.params["mu"][:, 0]) for f in (whole, parts)]
    for name in ("pi", "mu"):
        a, b = (f.params[name][o] for f, o in zip((whole, parts), order, strict=True))
        np.testing.assert_allclose(b, a, atol=0.1)
    assert parts.params["z.probs"].shape == (len(x), 3)


def test_minibatches_without_closed_forms_are_refused():
    def model(x, y):
        w = ppl.param("w", np.zeros(3))
        with ppl.plate("n", len(y), subsample_size=10) as i:
            ppl.sample("y", dist.Bernoulli(logits=x[i] @ w), obs=y[i])

    with pytest.raises(ppl.ConjugacyError, match="softplus"):
        em(model, m.D3, CHOICE)


def test_a_model_without_points_is_refused():
    with pytest.raises(ppl.ModelError, match="without learned parameters"):
        em(m.normal_gamma, m.Y)
