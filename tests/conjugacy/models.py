"""Conjugate models and data, for all tests of this folder."""

import numpy as np

import ppl
import ppl.distributions as dist

RNG = np.random.default_rng(0)


def normal_gamma(y):
    tau = ppl.sample("tau", dist.Gamma(2.0, 3.0))
    mu = ppl.sample("mu", dist.Normal(1.0, 10.0))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(mu, 1.0 / np.sqrt(tau)), obs=y)


def beta_bernoulli(y):
    p = ppl.sample("p", dist.Beta(1.5, 2.5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Bernoulli(p), obs=y)


def gamma_poisson(y):
    rate = ppl.sample("rate", dist.Gamma(1.5, 0.5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Poisson(rate), obs=y)


def dirichlet_categorical(y):
    p = ppl.sample("p", dist.Dirichlet(np.array([0.5, 1.0, 2.0])))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Categorical(p), obs=y)


def gamma_exponential(y):
    rate = ppl.sample("rate", dist.Gamma(1.5, 0.5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Exponential(rate), obs=y)


def regression(x, y):
    w = ppl.sample("w", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(x @ w, tau**-0.5), obs=y)


def relevance(x, y):
    alpha = ppl.sample("alpha", dist.Gamma(2.0, 2.0).expand([x.shape[1]]).to_event(1))
    w = ppl.sample("w", dist.Normal(0.0, alpha**-0.5).to_event(1))
    b = ppl.sample("b", dist.Normal(0.0, 3.0))
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(x @ w + b, 1 / np.sqrt(tau)), obs=y)


def inverse_gamma(y):
    v = ppl.sample("v", dist.InverseGamma(3.0, 2.0))
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(mu, np.sqrt(v)), obs=y)


def hierarchy(y, group):
    m = ppl.sample("m", dist.Normal(0.0, 5.0))
    t = ppl.sample("t", dist.Gamma(2.0, 1.0))
    s = ppl.sample("s", dist.Gamma(2.0, 1.0))
    with ppl.plate("groups", int(group.max()) + 1):
        theta = ppl.sample("theta", dist.Normal(m, t**-0.5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(theta[group], 1 / np.sqrt(s)), obs=y)


def slopes(x, y, group):
    t = ppl.sample("t", dist.Gamma(2.0, 1.0))
    with ppl.plate("groups", int(group.max()) + 1):
        b = ppl.sample("b", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(np.sum(b[group] * x, -1), t**-0.5), obs=y)


def mixture(x, K=3):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
        tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.Normal(mu[z], 1 / np.sqrt(tau[z])).to_event(1), obs=x)


def one_hot_mixture(x, K=3):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([K, x.shape[1]]).to_event(2))
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([K, x.shape[1]]).to_event(2))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.OneHotCategorical(pi))
        ppl.sample("x", dist.Normal(z @ mu, (z @ tau) ** -0.5).to_event(1), obs=x)


def mixture_of_known_covariance(x, K=3):
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.MultivariateNormal(np.zeros(2), 9.0 * np.eye(2)))
    t = ppl.sample("t", dist.Gamma(2.0, 2.0))
    precision = np.array([[2.0, 0.5], [0.5, 1.0]])
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(np.ones(K) / K))
        ppl.sample("x", dist.MultivariateNormal(mu[z], precision_matrix=t * precision), obs=x)


def robust_mixture(y, K=3):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 3.0))
        t = ppl.sample("t", dist.Gamma(2.0, 1.0))
    with ppl.plate("n", len(y)):
        u = ppl.sample("u", dist.Gamma(2.0, 2.0))
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("y", dist.Normal(mu[z], 1 / np.sqrt(u * t[z])), obs=y)


def mixture_of_regressions(x, y, K=2):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        w = ppl.sample("w", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
        t = ppl.sample("t", dist.Gamma(2.0, 1.0))
    with ppl.plate("n", len(y)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("y", dist.Normal(np.sum(w[z] * x, -1), t[z] ** -0.5), obs=y)


def ppca(x, K=2):
    D = x.shape[1]
    w = ppl.sample("w", dist.Normal(0.0, 1.0).expand([D, K]).to_event(2))
    m = ppl.sample("m", dist.Normal(0.0, 3.0).expand([D]).to_event(1))
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([K]).to_event(1))
        ppl.sample("x", dist.Normal(z @ w.T + m, 1 / np.sqrt(tau)).to_event(1), obs=x)


def lda(word, doc, V, K=3):
    with ppl.plate("topics", K):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(V, 0.1)))
    with ppl.plate("docs", int(doc.max()) + 1):
        theta = ppl.sample("theta", dist.Dirichlet(np.full(K, 0.3)))
    with ppl.plate("tokens", len(word)):
        z = ppl.sample("z", dist.Categorical(theta[doc]))
        ppl.sample("w", dist.Categorical(phi[z]), obs=word)


def padded_lda(words, V, K=3):
    with ppl.plate("topics", K):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(V, 0.1)))
    with ppl.plate("docs", len(words), dim=-2):
        theta = ppl.sample("theta", dist.Dirichlet(np.full(K, 0.3)))
        with ppl.plate("tokens", words.shape[1], dim=-1):
            z = ppl.sample("z", dist.Categorical(theta))
            ppl.sample("w", dist.Categorical(phi[z]), obs=words)


def factorization(i, j, y):
    t = ppl.sample("t", dist.Gamma(2.0, 1.0))
    u = ppl.sample("u", dist.Normal(0.0, 1.0).expand([int(i.max()) + 1, 2]).to_event(2))
    v = ppl.sample("v", dist.Normal(0.0, 1.0).expand([int(j.max()) + 1, 2]).to_event(2))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(np.sum(u[i] * v[j], -1), t**-0.5), obs=y)


def walk(y):
    s = ppl.sample("s", dist.Normal(0.0, 1.0).expand([len(y)]).to_event(1))
    ppl.sample("steps", dist.Normal(s[1:] - s[:-1], 0.5).to_event(1), obs=np.zeros(len(y) - 1))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(s, 1.0), obs=y)


def precision_matrix(x):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0).expand([x.shape[1]]).to_event(1))
    precision = ppl.sample("precision", dist.Wishart(4.0, 0.5 * np.eye(x.shape[1])))
    with ppl.plate("n", len(x)):
        ppl.sample("x", dist.MultivariateNormal(mu, precision_matrix=precision), obs=x)


def covariance_matrix(x):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0).expand([x.shape[1]]).to_event(1))
    covariance = ppl.sample("covariance", dist.InverseWishart(4.0, 2.0 * np.eye(x.shape[1])))
    with ppl.plate("n", len(x)):
        ppl.sample("x", dist.MultivariateNormal(mu, covariance), obs=x)


def full_mixture(x, K=3):
    d = x.shape[1]
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 5.0).expand([d]).to_event(1))
        precision = ppl.sample("precision", dist.Wishart(d + 1.0, np.eye(d)))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.MultivariateNormal(mu[z], precision_matrix=precision[z]), obs=x)


Y = RNG.normal(3.0, 2.0, size=80)
X = np.concatenate([RNG.normal(size=(50, 2)) + c for c in ([0, 0], [5, 1], [-4, 4])])[RNG.permutation(150)]
D3 = RNG.normal(size=(90, 3))
GROUP = RNG.integers(6, size=90)
RESPONSE = D3 @ [1.0, 2.0, -1.0] + 0.7 * RNG.normal(size=90)
WORD, DOC = RNG.integers(7, size=300), np.sort(RNG.integers(12, size=300))

MODELS = {
    "normal gamma": (normal_gamma, (Y,)),
    "beta bernoulli": (beta_bernoulli, (np.array([1, 0, 1, 1, 0, 1]),)),
    "gamma poisson": (gamma_poisson, (np.array([3, 1, 0, 4]),)),
    "gamma exponential": (gamma_exponential, (np.array([3.0, 1.0, 0.5, 4.0]),)),
    "dirichlet categorical": (dirichlet_categorical, (np.array([0, 2, 1, 2, 2]),)),
    "regression": (regression, (D3, RESPONSE)),
    "relevance": (relevance, (D3, RESPONSE)),
    "inverse gamma": (inverse_gamma, (Y,)),
    "hierarchy": (hierarchy, (RESPONSE, GROUP)),
    "slopes": (slopes, (D3, RESPONSE, GROUP)),
    "mixture": (mixture, (X,)),
    "one-hot mixture": (one_hot_mixture, (X,)),
    "mixture of known covariance": (mixture_of_known_covariance, (X,)),
    "robust mixture": (robust_mixture, (Y,)),
    "mixture of regressions": (mixture_of_regressions, (D3, RESPONSE)),
    "ppca": (ppca, (D3,)),
    "lda": (lda, (WORD, DOC, 7)),
    "padded lda": (padded_lda, (RNG.integers(7, size=(70, 5)), 7)),
    "factorization": (factorization, (GROUP, np.arange(90) % 4, RESPONSE)),
    "precision matrix": (precision_matrix, (X,)),
    "covariance matrix": (covariance_matrix, (X,)),
    "full mixture": (full_mixture, (X,)),
    "walk": (walk, (Y[:20],)),
}
