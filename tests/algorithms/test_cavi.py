"""CAVI against closed forms, hand-written updates and scikit-learn, all at the same fixed point."""

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.distributions as dist
from tests.conjugacy import models as m
from tests.conjugacy.models import MODELS

CLOSE = 1e-6  # relative: of parameters and bounds at one fixed point


def cavi(model, *args, tolerance=0.0, steps=1500, **settings):
    return ppl.infer(model, *args, algorithm=ppl.CAVI(tolerance=tolerance, steps=steps, **settings), progress=False)


# -- exact posteriors ------------------------------------------------------------------------------
def test_beta_bernoulli_is_the_exact_posterior_and_evidence():
    y = np.array([1, 0, 1, 1, 0, 1])
    fit = cavi(m.beta_bernoulli, y)
    a, b = 1.5 + y.sum(), 2.5 + (1 - y).sum()
    np.testing.assert_allclose([fit.params["p.concentration1"], fit.params["p.concentration0"]], [a, b], rtol=1e-12)
    np.testing.assert_allclose(fit.elbo, special.betaln(a, b) - special.betaln(1.5, 2.5), rtol=1e-12)
    assert fit.elbo_se == 0.0
    assert fit.verdict.word == "trusted"


def test_gamma_poisson_is_the_exact_posterior_and_evidence():
    y = np.array([3, 1, 0, 4])
    fit = cavi(m.gamma_poisson, y)
    a, b = 1.5 + y.sum(), 0.5 + len(y)
    np.testing.assert_allclose([fit.params["rate.concentration"], fit.params["rate.rate"]], [a, b], rtol=1e-12)
    evidence = (
        1.5 * np.log(0.5) - special.gammaln(1.5) + special.gammaln(a) - a * np.log(b) - special.gammaln(y + 1.0).sum()
    )
    np.testing.assert_allclose(fit.elbo, evidence, rtol=1e-12)


def test_dirichlet_categorical_is_the_exact_posterior_and_evidence():
    y, prior = np.array([0, 2, 1, 2, 2]), np.array([0.5, 1.0, 2.0])
    fit = cavi(m.dirichlet_categorical, y)
    a = prior + np.bincount(y, minlength=3)
    np.testing.assert_allclose(fit.params["p.concentration"], a, rtol=1e-12)
    log_b = lambda a: special.gammaln(a).sum() - special.gammaln(a.sum())
    np.testing.assert_allclose(fit.elbo, log_b(a) - log_b(prior), rtol=1e-12)


def test_regression_of_known_noise_is_exact():
    x, y = m.D3, m.RESPONSE

    def model(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(x @ w, 0.7), obs=y)

    fit = cavi(model, x, y)
    covariance = np.linalg.inv(np.eye(3) / 4 + x.T @ x / 0.49)
    np.testing.assert_allclose(fit.params["w.loc"], covariance @ x.T @ y / 0.49, rtol=1e-10)
    tril = fit.params["w.scale_tril"]
    np.testing.assert_allclose(tril @ tril.T, covariance, rtol=1e-10)
    evidence = stats.multivariate_normal(np.zeros(len(y)), 4 * x @ x.T + 0.49 * np.eye(len(y))).logpdf(y)
    np.testing.assert_allclose(fit.elbo, evidence, rtol=1e-10)


# -- hand-written updates ----------------------------------------------------------------------------
def test_normal_gamma_by_hand():
    y, n = m.Y, len(m.Y)
    e_tau = 1.0
    for _ in range(500):
        p = 1 / 100 + n * e_tau
        mean = (1.0 / 100 + e_tau * y.sum()) / p
        a, b = 2 + n / 2, 3 + 0.5 * (np.sum((y - mean) ** 2) + n / p)
        e_tau = a / b
    fit = cavi(m.normal_gamma, y)
    found = [fit.params[k] for k in ("mu.loc", "mu.scale", "tau.concentration", "tau.rate")]
    np.testing.assert_allclose(found, [mean, p**-0.5, a, b], rtol=CLOSE)
    log_tau = special.digamma(a) - np.log(b)
    normal = lambda square, precision, log_precision: 0.5 * (log_precision - np.log(2 * np.pi) - precision * square)
    bound = n * normal(np.mean((y - mean) ** 2) + 1 / p, e_tau, log_tau) + normal(
        (mean - 1) ** 2 + 1 / p, 0.01, np.log(0.01)
    )
    bound += 2 * np.log(3.0) - special.gammaln(2.0) + log_tau - 3 * e_tau
    bound += stats.gamma(a, scale=1 / b).entropy() + stats.norm(0, p**-0.5).entropy()
    np.testing.assert_allclose(fit.elbo, bound, rtol=CLOSE)


def test_hierarchical_normal_by_hand():
    y, group, k = m.RESPONSE, m.GROUP, 6
    counts, sums, n = np.bincount(group), np.bincount(group, y), len(y)
    t = s = 2.0
    loc, var = np.zeros(k), np.ones(k)
    for _ in range(2000):
        mv = 1 / (1 / 25 + k * t)
        mm = mv * t * loc.sum()
        ta, tb = 2 + k / 2, 1 + 0.5 * np.sum((loc - mm) ** 2 + var + mv)
        t = ta / tb
        sa, sb = 2 + n / 2, 1 + 0.5 * (np.sum((y - loc[group]) ** 2) + np.sum(counts * var))
        s = sa / sb
        var = 1 / (t + counts * s)
        loc = var * (t * mm + s * sums)
    fit = cavi(m.hierarchy, y, group)
    q = fit.params
    np.testing.assert_allclose(q["theta.loc"], loc, rtol=CLOSE)
    np.testing.assert_allclose(q["theta.scale"], np.sqrt(var), rtol=CLOSE)
    found = [q["m.loc"], q["m.scale"], q["t.concentration"], q["t.rate"], q["s.concentration"], q["s.rate"]]
    np.testing.assert_allclose(found, [mm, np.sqrt(mv), ta, tb, sa, sb], rtol=CLOSE)


def mixture_by_hand(x, r, sweeps):
    """Bishop's section 10.2 with a gamma for each coordinate's precision in the place of a Wishart."""
    K = r.shape[1]
    e_tau, log_tau = np.ones((K, x.shape[1])), np.zeros((K, x.shape[1]))
    for _ in range(sweeps):
        count, first, second = r.sum(0), r.T @ x, r.T @ x**2
        a_pi = 1.0 + count
        log_pi = special.digamma(a_pi) - special.digamma(a_pi.sum())
        v = 1 / (0.01 + count[:, None] * e_tau)
        mean = v * e_tau * first
        a = 2 + 0.5 * count[:, None] * np.ones_like(mean)
        b = 2 + 0.5 * (second - 2 * mean * first + count[:, None] * (mean**2 + v))
        e_tau, log_tau = a / b, special.digamma(a) - np.log(b)
        log_r = log_pi + 0.5 * np.sum(log_tau - e_tau * (mean**2 + v), 1)
        log_r = log_r + x @ (e_tau * mean).T - 0.5 * x**2 @ e_tau.T
        r = special.softmax(log_r, 1)
    return {
        "pi.concentration": a_pi,
        "mu.loc": mean,
        "mu.scale": np.sqrt(v),
        "tau.concentration": a,
        "tau.rate": b,
        "z.probs": r,
    }


def test_diagonal_mixture_by_hand():
    start = np.random.default_rng(3).integers(3, size=len(m.X))
    expected = mixture_by_hand(m.X, np.eye(3)[start], 500)
    fit = cavi(m.mixture, m.X, init={"z": start})
    for name, value in expected.items():
        np.testing.assert_allclose(fit.params[name], value, rtol=CLOSE, atol=1e-9, err_msg=name)


@pytest.mark.slow
def test_latent_dirichlet_allocation_is_where_scikit_learn_stops():
    from sklearn.decomposition import LatentDirichletAllocation

    word, doc, V, K = m.WORD, m.DOC, 7, 3
    counts = np.zeros((doc.max() + 1, V))
    np.add.at(counts, (doc, word), 1)
    peer = LatentDirichletAllocation(
        K, doc_topic_prior=0.3, topic_word_prior=0.1, max_iter=3000, mean_change_tol=1e-12, max_doc_update_iter=3000,
        evaluate_every=-1, random_state=1,
    )  # fmt: skip
    theta = peer.fit_transform(counts)
    log_mean = lambda a: special.digamma(a) - special.digamma(a.sum(-1, keepdims=True))
    phi = peer.components_
    gamma = theta * (K * 0.3 + counts.sum(1, keepdims=True))  # rows of a Dirichlet add up to this
    fit = cavi(m.lda, word, doc, V, init={"phi": np.exp(log_mean(phi)), "theta": np.exp(log_mean(gamma))})
    np.testing.assert_allclose(fit.params["phi.concentration"], phi, rtol=CLOSE)
    np.testing.assert_allclose(fit.params["theta.concentration"], gamma, rtol=CLOSE)


# -- the bound -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MODELS)
def test_the_bound_never_falls(name):
    model, args = MODELS[name]
    history = cavi(model, *args, tolerance=1e-12, steps=300, restarts=1).history
    assert np.all(np.diff(history) >= -1e-9 * np.abs(history[-1]))


@pytest.mark.parametrize("name", ["normal gamma", "inverse gamma", "hierarchy", "relevance", "ppca", "slopes", "walk"])
def test_the_exact_bound_is_the_mean_over_draws(name):
    model, args = MODELS[name]
    fit = cavi(model, *args, tolerance=1e-8, steps=50)
    from ppl.algorithms.evaluate import evaluate

    drawn = evaluate(fit.problem, fit.guide, fit.solution.objective, fit.params, executor="numpy", seed=1)
    assert abs(drawn.elbo - fit.elbo) < 4.5 * drawn.se + 1e-9 * abs(fit.elbo)
    assert abs(drawn.elbo - fit.elbo - 1.0) > 4.5 * drawn.se  # a nat would be seen


# -- one model, written in several ways ------------------------------------------------------------------
def written(scale, gather):
    def model(x, K=3):
        pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
        if gather == "one-hot":
            mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([K, x.shape[1]]).to_event(2))
            tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([K, x.shape[1]]).to_event(2))
        else:
            with ppl.plate("k", K):
                mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
                tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([x.shape[1]]).to_event(1))
        with ppl.plate("n", len(x)):
            z = ppl.sample("z", (dist.OneHotCategorical if gather == "one-hot" else dist.Categorical)(pi))
            at = (lambda a: z @ a) if gather == "one-hot" else (lambda a: a[z])
            d = {
                "scale": lambda: dist.Normal(at(mu), 1 / np.sqrt(at(tau))),
                "power": lambda: dist.Normal(at(mu), at(tau) ** -0.5),
                "variance": lambda: dist.Normal(at(mu), np.sqrt(at(1 / tau))),
            }[scale]()
            ppl.sample("x", d.to_event(1), obs=x)

    return model


@pytest.mark.parametrize("gather", ["index", "one-hot"])
@pytest.mark.parametrize("scale", ["scale", "power", "variance"])
def test_ways_of_writing_reach_the_same_fixed_point(scale, gather):
    start = np.random.default_rng(3).integers(3, size=len(m.X))
    init = {"z": np.eye(3)[start] if gather == "one-hot" else start}
    fit = cavi(written(scale, gather), m.X, init=init)
    for name, value in mixture_by_hand(m.X, np.eye(3)[start], 500).items():
        np.testing.assert_allclose(fit.params[name], value, rtol=CLOSE, atol=1e-9, err_msg=name)


# -- what blocks -------------------------------------------------------------------------------------------
def test_a_model_without_a_single_closed_form_is_refused_with_the_factor():
    def logistic(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    with pytest.raises(ppl.ConjugacyError, match="softplus") as error:
        cavi(logistic, m.D3, (m.RESPONSE > 0).astype(int))
    assert error.value.site == "y"


def test_learned_parameters_are_for_em():
    def model(y):
        mu = ppl.param("mu", 0.0)
        tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
        ppl.sample("y", dist.Normal(mu, tau**-0.5), obs=y)

    with pytest.raises(ppl.ConjugacyError, match="em"):
        cavi(model, 1.0)


# -- results ---------------------------------------------------------------------------------------------
def test_a_fit_can_be_saved_and_loaded(tmp_path):
    fit = cavi(m.ppca, m.D3, tolerance=1e-8)
    fit.save(tmp_path / "fit.npz")
    again = ppl.load(tmp_path / "fit.npz", m.ppca)
    assert again.elbo == fit.elbo
    assert again.explain() == fit.explain()
    np.testing.assert_array_equal(again.sample(5)["w"], fit.sample(5)["w"])


def test_predictions_have_the_shape_of_the_data():
    fit = cavi(m.mixture, m.X, tolerance=1e-8)
    assert fit.predict(num_samples=7)["x"].shape == (7, *m.X.shape)


def test_the_same_seed_gives_the_same_fit():
    a, b = (cavi(m.mixture, m.X, tolerance=1e-6) for _ in range(2))
    assert all(np.array_equal(a.params[k], b.params[k]) for k in a.params)


# -- chosen by itself ------------------------------------------------------------------------------------
def test_auto_takes_closed_forms_where_sites_are_discrete():
    y = m.RNG.integers(2, size=40)

    def model(y):
        p = ppl.sample("p", dist.Beta(2.0, 3.0))
        with ppl.plate("n", len(y)):
            z = ppl.sample("z", dist.Bernoulli(p))
            ppl.sample("y", dist.Bernoulli(0.9 * z + 0.05), obs=y)

    fit = ppl.infer(model, y, progress=False)
    assert isinstance(fit.algorithm, ppl.CAVI)
    assert "algorithm: CAVI, because discrete sites" in fit.explain()
    assert fit.verdict.k_hat is not None


def test_auto_keeps_gradients_where_sites_are_continuous():
    fit = ppl.infer(m.regression, m.D3, m.RESPONSE, progress=False)
    assert not isinstance(fit.algorithm, ppl.CAVI)


def test_where_a_mixture_is_not_trusted_it_is_said_what_may_be_behind_it():
    from ppl.algorithms.closed_form import _symmetries, recognized
    from ppl.elbo import problem

    said = lambda name: " ".join(_symmetries(recognized(problem(*MODELS[name], {}), "cavi")))
    assert "labels of z may be exchanged" in said("mixture")
    assert "factors w and z may be turned" in said("ppca")
    assert "labels of z" in said("lda")
    assert not said("regression") and not said("hierarchy") and not said("relevance")
