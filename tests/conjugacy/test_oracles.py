"""Closed-form updates against other people's code and answers that are known, on real data where there are some."""

import gzip
import json

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from tests.algorithms import test_blocks as blocks
from tests.conjugacy import models as m
from tests.data_folder import data_folder, why_absent

ABSENT = why_absent("sklearn_reference") or why_absent("classic") or why_absent("text")
reference = pytest.mark.skipif(ABSENT is not None, reason=ABSENT or "")
CLOSE = 1e-6


def cavi(model, *args, tolerance=0.0, steps=1500, **settings):
    return ppl.infer(model, *args, algorithm=ppl.CAVI(tolerance=tolerance, steps=steps, **settings), progress=False)


# -- answers that are known ------------------------------------------------------------------------------
def test_dirichlet_multinomial():
    y, prior = np.array([[3, 2, 4], [0, 1, 8], [5, 5, 5]]), np.array([0.5, 1.0, 2.5])

    def model(y):
        p = ppl.sample("p", dist.Dirichlet(prior))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Multinomial(y.sum(1), p), obs=y)

    fit = cavi(model, y)
    np.testing.assert_allclose(fit.params["p.concentration"], prior + y.sum(0), rtol=1e-12)
    log_b = lambda a: special.gammaln(a).sum() - special.gammaln(a.sum())
    coefficients = special.gammaln(y.sum(1) + 1.0).sum() - special.gammaln(y + 1.0).sum()
    np.testing.assert_allclose(fit.elbo, log_b(prior + y.sum(0)) - log_b(prior) + coefficients, rtol=1e-12)


def test_evidence_of_a_regression_with_unknown_noise_is_a_students_t():
    fit = cavi(blocks.regression, m.D3, m.RESPONSE, blocks=[("w", "tau")])
    shape = 3.0 / 2.0 * (np.eye(90) + 4.0 * m.D3 @ m.D3.T)
    np.testing.assert_allclose(fit.elbo, stats.multivariate_t(np.zeros(90), shape, 4.0).logpdf(m.RESPONSE), rtol=1e-9)


def ppca_of_noise(x, sigma, w=None):
    w = ppl.param("w", lambda rng, rows: rng.normal(size=(x.shape[1], 2))) if w is None else w
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        ppl.sample("x", dist.Normal(z @ w.T, sigma).to_event(1), obs=x)


def test_ppca_has_its_posterior_and_becomes_pca_without_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(100, 5))
    x -= x.mean(0)
    w = rng.normal(size=(5, 2))
    fit = cavi(ppca_of_noise, x, 0.4, w)
    precision = np.eye(2) + w.T @ w / 0.16
    np.testing.assert_allclose(fit.params["z.loc"], x @ w @ np.linalg.inv(precision) / 0.16, rtol=1e-10)
    tril = fit.params["z.scale_tril"][3]
    np.testing.assert_allclose(tril @ tril.T, np.linalg.inv(precision), rtol=1e-10)
    evidence = stats.multivariate_normal(np.zeros(5), w @ w.T + 0.16 * np.eye(5)).logpdf(x).sum()
    np.testing.assert_allclose(fit.elbo, evidence, rtol=1e-10)
    fit = ppl.infer(ppca_of_noise, x, 0.01, algorithm=ppl.EM(tolerance=1e-13, steps=4000), progress=False)
    vectors = np.linalg.svd(x, full_matrices=False)[2][:2]
    found = fit["z"].mean @ fit.params["w"].T
    np.testing.assert_allclose(found, x @ vectors.T @ vectors, atol=2e-3)  # PCA's reconstruction; sigma^2 is 1e-4


def test_factor_analysis_with_relevance_by_hand():
    """Bishop, Variational principal components (1999), with a noise for every column."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(60, 4))
    N, D, K = 60, 4, 3

    def model(x):
        alpha = ppl.sample("alpha", dist.Gamma(2.0, 1.0).expand([K]).to_event(1))
        w = ppl.sample("w", dist.Normal(0.0, alpha**-0.5).expand([D, K]).to_event(2))
        tau = ppl.sample("tau", dist.Gamma(2.0, 0.5).expand([D]).to_event(1))
        with ppl.plate("n", N):
            z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([K]).to_event(1))
            ppl.sample("x", dist.Normal(z @ w.T, tau**-0.5).to_event(1), obs=x)

    start = rng.normal(size=(D, K))
    fit = cavi(model, x, init={"w": start}, steps=4000)
    w, ww = start, start[:, :, None] * start[:, None, :]
    tau = None
    # The first sweep moves z before alpha and tau, which begin at their priors' means.
    alpha, tau = np.full(K, 2.0), np.full(D, 4.0)
    for _ in range(4000):
        z_cov = np.linalg.inv(np.eye(K) + np.einsum("d,dij->ij", tau, ww))
        z = x @ (tau[:, None] * w) @ z_cov
        zz = N * z_cov + z.T @ z
        alpha = (2.0 + D / 2) / (1.0 + 0.5 * np.einsum("dkk->k", ww))
        w_cov = np.linalg.inv(np.diag(alpha) + tau[:, None, None] * zz)
        w = np.einsum("dij,dj->di", w_cov, tau[:, None] * (x.T @ z))
        ww = w_cov + w[:, :, None] * w[:, None, :]
        rate = 0.5 + 0.5 * (np.sum(x**2, 0) - 2 * np.sum(w * (x.T @ z), 1) + np.einsum("dij,ij->d", ww, zz))
        tau = (2.0 + N / 2) / rate
    q = fit.params
    np.testing.assert_allclose(q["tau.concentration"] / q["tau.rate"], tau, rtol=CLOSE)
    np.testing.assert_allclose(np.sort(q["alpha.concentration"] / q["alpha.rate"]), np.sort(alpha), rtol=1e-5)
    np.testing.assert_allclose(fit["z"].mean @ fit["w"].mean.T, z @ w.T, rtol=1e-4, atol=1e-5)


# -- scikit-learn ------------------------------------------------------------------------------------------
def iris():
    from sklearn.datasets import load_iris

    return load_iris().data


def faithful():
    return np.loadtxt(data_folder() / "classic" / "faithful.csv", delimiter=",", skiprows=1, usecols=(1, 2))


@reference
@pytest.mark.parametrize(("data", "K"), [(faithful, 6), (iris, 4)])
def test_full_mixtures_are_scikit_learns(data, K):
    from sklearn.mixture import BayesianGaussianMixture

    x = data()
    d = x.shape[1]
    peer = BayesianGaussianMixture(
        n_components=K, weight_concentration_prior_type="dirichlet_distribution", weight_concentration_prior=1e-3,
        mean_precision_prior=1.0, degrees_of_freedom_prior=d, covariance_prior=np.cov(x.T), reg_covar=0.0,
        tol=1e-13, max_iter=20_000, random_state=0,
    ).fit(x)  # fmt: skip

    def model(x):
        weight = ppl.sample("weight", dist.Dirichlet(np.full(K, 1e-3)))
        with ppl.plate("k", K):
            precision = ppl.sample("precision", dist.Wishart(float(d), rate_matrix=np.cov(x.T)))
            mu = ppl.sample("mu", dist.MultivariateNormal(x.mean(0), precision_matrix=precision))
        with ppl.plate("n", len(x)):
            z = ppl.sample("z", dist.Categorical(weight))
            ppl.sample("x", dist.MultivariateNormal(mu[z], precision_matrix=precision[z]), obs=x)

    start = {"z": peer.predict_proba(x)}
    fit = cavi(model, x, blocks=[("mu", "precision")], init=start, steps=1000)
    q = fit.params
    np.testing.assert_allclose(q["weight.concentration"], peer.weight_concentration_, rtol=CLOSE, atol=1e-9)
    np.testing.assert_allclose(q["mu.loc"], peer.means_, rtol=CLOSE)
    np.testing.assert_allclose(q["mu.precision_scale"], peer.mean_precision_, rtol=CLOSE)
    np.testing.assert_allclose(q["precision.concentration"], peer.degrees_of_freedom_, rtol=CLOSE)
    covariances = q["precision.rate_matrix"] / q["precision.concentration"][:, None, None]
    np.testing.assert_allclose(covariances, peer.covariances_, rtol=CLOSE, atol=1e-6 * peer.covariances_.max())


def reuters():
    """Word and document of every token."""
    words, docs = [], []
    with gzip.open(data_folder() / "text" / "reuters.ldac.gz", "rt") as file:
        for number, line in enumerate(file):
            pairs = np.array([p.split(":") for p in line.split()[1:]], dtype=int)
            words.append(np.repeat(pairs[:, 0], pairs[:, 1]))
            docs.append(np.full(len(words[-1]), number))
    return np.concatenate(words), np.concatenate(docs)


def topics(word, doc, V, K, alpha, eta):
    with ppl.plate("topics", K):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(V, eta)))
    with ppl.plate("docs", int(doc.max()) + 1):
        theta = ppl.sample("theta", dist.Dirichlet(np.full(K, alpha)))
    with ppl.plate("tokens", len(word)):
        z = ppl.sample("z", dist.Categorical(theta[doc]))
        ppl.sample("w", dist.Categorical(phi[z]), obs=word)


@pytest.mark.slow
@reference
def test_topics_of_reuters_are_scikit_learns():
    """Forty titles: at our fixed point its E-step, its M-step and its bound say the same."""
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import LatentDirichletAllocation

    word, doc = reuters()
    word, doc = word[doc < 40], doc[doc < 40]
    _, word = np.unique(word, return_inverse=True)
    V, K = int(word.max()) + 1, 4
    counts = csr_matrix((np.ones(len(word)), (doc, word)))
    fit = cavi(topics, word, doc, V, K, 0.3, 0.1, steps=1500, tolerance=1e-14)
    phi, theta, z = (fit.params[n] for n in ("phi.concentration", "theta.concentration", "z.probs"))
    peer = LatentDirichletAllocation(
        K, doc_topic_prior=0.3, topic_word_prior=0.1, max_iter=1, max_doc_update_iter=5000, mean_change_tol=1e-13
    ).fit(counts)
    peer.components_ = phi
    peer.exp_dirichlet_component_ = np.exp(special.digamma(phi) - special.digamma(phi.sum(1, keepdims=True)))
    shares = theta / theta.sum(1, keepdims=True)
    same = np.max(np.abs(peer.transform(counts) - shares), axis=1) < 1e-6  # a title may have several optima
    assert np.mean(same) > 0.9
    np.testing.assert_allclose(fit.elbo, peer.score(counts), rtol=CLOSE if np.all(same) else 1e-3)
    again = 0.1 + np.stack([np.bincount(word, z[:, k], V) for k in range(K)])
    np.testing.assert_allclose(phi, again, rtol=1e-4, atol=1e-4)


@reference
@pytest.mark.slow
def test_topics_of_all_of_reuters_have_a_bound_as_good_as_scikit_learns():
    word, doc = reuters()
    known = json.loads((data_folder() / "sklearn_reference" / "reference.json").read_text())["reuters_lda20"]
    fit = cavi(topics, word, doc, int(word.max()) + 1, 20, 0.1, 0.01, tolerance=1e-6, steps=100)
    assert fit.elbo > known["elbo (model.score)"] - 0.01 * abs(known["elbo (model.score)"])  # optima differ


@reference
def test_minibatches_of_documents_predict_as_scikit_learns_do():
    """The first 60 tokens of Reuters' longer titles; the same step sizes, and as many passes."""
    from scipy.sparse import csr_matrix
    from sklearn.decomposition import LatentDirichletAllocation

    word, doc = reuters()
    long = [word[doc == n][:60] for n in range(200) if np.sum(doc == n) >= 60]
    _, words = np.unique(np.array(long), return_inverse=True)
    words = np.random.default_rng(0).permutation(words.reshape(len(long), 60))
    V, K = int(words.max()) + 1, 5
    rows = np.repeat(np.arange(len(words)), 60)
    counts = csr_matrix((np.ones(words.size), (rows, words.ravel())))

    def model(words, size=None):
        with ppl.plate("topics", K):
            phi = ppl.sample("phi", dist.Dirichlet(np.full(V, 0.1)))
        with ppl.plate("docs", len(words), subsample_size=size, dim=-2) as i:
            theta = ppl.sample("theta", dist.Dirichlet(np.full(K, 0.3)))
            with ppl.plate("tokens", 60, dim=-1):
                z = ppl.sample("z", dist.Categorical(theta))
                ppl.sample("w", dist.Categorical(phi[z]), obs=words[i])

    def predictive(theta, phi):
        theta, phi = (a / a.sum(1, keepdims=True) for a in (theta, phi))
        return np.mean(np.log(np.einsum("nk,nk->n", theta[rows], phi[:, words.ravel()].T)))

    steps = 40 * (len(words) // 20)
    fit = ppl.infer(
        model, words, size=20, algorithm=ppl.SVI(steps=steps, kappa=0.7, delay=10.0, restarts=1), progress=False
    )
    theirs = []
    for seed in range(3):
        peer = LatentDirichletAllocation(
            K, doc_topic_prior=0.3, topic_word_prior=0.1, learning_method="online", learning_offset=10.0,
            learning_decay=0.7, batch_size=20, max_iter=40, random_state=seed,
        ).fit(counts)  # fmt: skip
        theirs.append(predictive(peer.transform(counts), peer.components_))
    ours = predictive(np.reshape(fit.params["theta.concentration"], (len(words), K)), fit.params["phi.concentration"])
    assert ours > min(theirs) - 0.1


def test_constraints_are_those_of_the_parameters():
    """Maximum likelihood of a simplex, a scale and a covariance, each by its own M-step."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 2)) @ np.array([[1.0, 0.5], [0.0, 0.7]]), rng.integers(3, size=50)

    def model(x, y):
        p = ppl.param("p", np.full(3, 1 / 3), constraint=constraints.simplex)
        mu, cov = ppl.param("mu", np.zeros(2)), ppl.param("cov", np.eye(2), constraint=constraints.positive_definite)
        with ppl.plate("n", len(x)):
            ppl.sample("x", dist.MultivariateNormal(mu, cov), obs=x)
            ppl.sample("y", dist.Categorical(p), obs=y)

    q = ppl.infer(model, x, y, algorithm="em", progress=False).params
    np.testing.assert_allclose(q["p"], np.bincount(y, minlength=3) / 50, rtol=1e-9)
    np.testing.assert_allclose(q["cov"], np.cov(x.T, bias=True), rtol=1e-8)
