"""Small models whose answers are known apart from this library: closed forms, enumeration, quadrature.

What an optimiser may be off by: a run ends when the answer's standard error is below half its
tolerance, in posterior standard deviations (and in logarithms of scales). Three such errors are

    OFF = 3 * tolerance / 2.

A Gaussian whose d locations and d log scales are each off by that much loses, to second order,

    d (OFF^2 / 2 + OFF^2) = 1.5 d OFF^2   nats of its bound.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

import ppl
import ppl.distributions as dist

OFF = 1.5 * ppl.BBVI().tolerance
SEEDS = (0, 1, 2, 3, 4)


def lost(size: int) -> float:
    """Nats that a Gaussian over `size` coordinates may fall short of its best bound."""
    return 1.5 * size * OFF**2


def infer(model, *args, guide=None, seed=0, **options):
    return ppl.infer(model, *args, guide=guide, seed=seed, progress=False, **options)


# -- an independent optimum of the factorised Gaussian family, and an independent evidence -----------
def best_gaussian(log_joint, size):
    """(locations, scales, bound) that maximise E_q[log_joint] + H[q], by Gauss-Hermite quadrature.

    `log_joint` takes `size` arrays of unconstrained coordinates.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    grid = np.array(list(product(nodes, repeat=size))).T
    weight = np.array([np.prod(w) for w in product(weights, repeat=size)])

    def minus_bound(x):
        loc, log_scale = x[:size, None], x[size:, None]
        entropy = np.sum(log_scale) + 0.5 * size * (1 + np.log(2 * np.pi))
        return -(weight @ log_joint(*(loc + np.exp(log_scale) * grid)) + entropy)

    options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-7, "fatol": 1e-11}
    found = optimize.minimize(minus_bound, np.zeros(2 * size), method="Nelder-Mead", options=options)
    assert found.success
    return found.x[:size], np.exp(found.x[size:]), -found.fun


def log_evidence(log_joint, loc, scale):
    """log of the integral of exp(log_joint), by the trapezium rule on a box of 12 scales each way."""
    axes = [np.linspace(m - 12 * s, m + 12 * s, 601) for m, s in zip(loc, scale, strict=True)]
    values = log_joint(*np.meshgrid(*axes, indexing="ij"))
    top = values.max()
    total = np.exp(values - top)
    for axis in reversed(axes):
        total = integrate.trapezoid(total, axis)
    return top + np.log(total)


def assert_bound(fit, best, evidence, size):
    """The bound reaches the best of its family and stays below the evidence, within its noise."""
    noise = 4 * fit.elbo_se + 1e-9
    assert best - lost(size) - noise <= fit.elbo <= evidence + noise


# -- Normal-Normal: the default call -------------------------------------------------------------------
def far_observation(y, noise):
    x = ppl.sample("x", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(x, noise), obs=y)


def normal_normal(y, noise):
    """Posterior mean and sd (precision 1 + 1 / noise^2), and the log evidence."""
    return y / (1 + noise**2), noise / (1 + noise**2) ** 0.5, stats.norm(0, (1 + noise**2) ** 0.5).logpdf(y)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("y", "noise"), [(10.0, 0.5), (100.0, 0.5), (10.0, 1e-3)])
def test_normal_normal_by_the_default_call(y, noise, seed):
    mean, sd, evidence = normal_normal(y, noise)
    fit = infer(far_observation, y, noise, seed=seed)
    assert fit.verdict.converged
    assert fit["x"].mean == pytest.approx(mean, rel=0.01)
    assert fit["x"].sd == pytest.approx(sd, rel=OFF)
    assert fit.elbo == pytest.approx(evidence, abs=lost(1) + 4 * fit.elbo_se)


def test_normal_normal_sd_is_within_one_percent():
    # The family contains the posterior: all that is left is the noise of the averaged steps.
    _, sd, _ = normal_normal(10.0, 0.5)
    found = np.array([infer(far_observation, 10.0, 0.5, seed=seed)["x"].sd for seed in SEEDS])
    assert found == pytest.approx(sd, rel=0.01)


def test_normal_normal_stopped_early_is_off_and_says_so():
    start = {"x.loc": np.array(0.0), "x.scale": np.array(0.1)}
    fit = infer(far_observation, 10.0, 0.5, algorithm=ppl.BBVI(steps=50, init=start))
    assert fit["x"].mean != pytest.approx(8.0, rel=0.01)
    assert not fit.verdict.converged
    assert fit.verdict.word == "not trusted"


# -- one positive or bounded site: the optimum of a Gaussian on the unconstrained axis --------------------
def coin(heads, tosses):
    p = ppl.sample("p", dist.Beta(2, 3))
    ppl.sample("heads", dist.Binomial(tosses, p), obs=heads)


def test_beta_binomial_against_quadrature():
    def log_joint(u):
        p = special.expit(u)
        return stats.beta(2, 3).logpdf(p) + stats.binom(10, p).logpmf(7) + np.log(p) + np.log1p(-p)

    loc, scale, best = best_gaussian(log_joint, 1)
    exact = stats.beta(2 + 7, 3 + 3)
    evidence = stats.betabinom(10, 2, 3).logpmf(7)
    assert log_evidence(log_joint, loc, scale) == pytest.approx(evidence, abs=1e-6)  # the quadrature itself
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    family = weights @ special.expit(loc + scale * nodes) / weights.sum()
    fit = infer(coin, 7, 10)
    # The family's own bias, and the optimiser's error: a derivative of at most one posterior sd per sd.
    assert abs(fit["p"].mean - exact.mean()) <= abs(family - exact.mean()) + OFF * exact.std()
    assert_bound(fit, best, evidence, 1)
    assert abs(fit["p"].mean - stats.beta(2, 3).mean()) > OFF * exact.std()  # the prior would not pass


def arrivals(counts):
    rate = ppl.sample("rate", dist.Gamma(3, 2))
    with ppl.plate("days", len(counts)):
        ppl.sample("count", dist.Poisson(rate), obs=counts)


def test_gamma_poisson_against_quadrature():
    counts = np.array([2, 0, 4, 1, 3, 2])

    def log_joint(u):
        rate = np.exp(u)
        likelihood = sum(stats.poisson(rate).logpmf(c) for c in counts)
        return stats.gamma(3, scale=1 / 2).logpdf(rate) + likelihood + u

    loc, scale, best = best_gaussian(log_joint, 1)
    exact = stats.gamma(3 + counts.sum(), scale=1 / (2 + len(counts)))
    evidence = log_evidence(log_joint, loc, scale)
    a, b, n = 3, 2, counts.sum()
    closed = a * np.log(b) - special.gammaln(a) + special.gammaln(a + n) - (a + n) * np.log(b + len(counts))
    assert evidence == pytest.approx(closed - special.gammaln(counts + 1).sum(), abs=1e-6)
    family = np.exp(loc + scale**2 / 2)[0]
    fit = infer(arrivals, counts)
    assert abs(fit["rate"].mean - exact.mean()) <= abs(family - exact.mean()) + OFF * exact.std()
    assert fit["rate"].sd == pytest.approx(exact.std(), rel=2 * OFF)
    assert_bound(fit, best, evidence, 1)
    assert abs(fit["rate"].mean - counts.mean()) > OFF * exact.std()  # the likelihood alone would not pass


# -- linear regression with known noise: the posterior is a Gaussian --------------------------------------
def line(x, y, noise):
    w = ppl.sample("w", dist.Normal(0, 2).expand((x.shape[1],)).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ w, noise), obs=y)


def line_data():
    x = np.column_stack([np.ones(9), np.arange(9.0), np.cos(np.arange(9.0))])
    return x, x @ np.array([1.0, -0.5, 2.0]) + np.array([0.3, -0.2, 0.5, -0.6, 0.1, 0.4, -0.3, 0.2, -0.4]), 0.7


def line_posterior():
    x, y, noise = line_data()
    covariance = np.linalg.inv(x.T @ x / noise**2 + np.eye(3) / 4)
    evidence = stats.multivariate_normal(np.zeros(9), 4 * x @ x.T + noise**2 * np.eye(9)).logpdf(y)
    return covariance @ x.T @ y / noise**2, covariance, evidence


@pytest.mark.parametrize("seed", SEEDS)
def test_full_rank_equals_the_closed_form_of_linear_regression(seed):
    mean, covariance, evidence = line_posterior()
    fit = infer(line, *line_data(), guide="fullrank", seed=seed)
    loc, tril = fit.params["_joint.loc"], fit.params["_joint.scale_tril"]
    # In the posterior's own units: zero mean and the unit matrix. A factor 1 + D of the Cholesky factor
    # changes the covariance by D + D'.
    unit = np.linalg.inv(np.linalg.cholesky(covariance))
    assert np.all(np.abs(unit @ (loc - mean)) <= OFF)
    assert np.all(np.abs(unit @ tril @ tril.T @ unit.T - np.eye(3)) <= 2 * OFF)
    assert fit["w"].sd == pytest.approx(np.sqrt(np.diag(covariance)), rel=OFF)
    assert_bound(fit, evidence, evidence, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_field_has_the_means_and_the_precisions_of_linear_regression(seed):
    mean, covariance, evidence = line_posterior()
    fit = infer(line, *line_data(), guide="meanfield", seed=seed)
    scale = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    # The error is OFF in the factorised units; along the posterior's long axis it is as much of a smaller whole.
    loc, sd = fit.params["w.loc"], fit.params["w.scale"]  # the guide's own, before any correction by weights
    assert np.all(np.abs(loc - mean) <= OFF * np.sqrt(np.diag(covariance)))
    assert sd == pytest.approx(scale, rel=OFF)
    # KL(q || p) at the optimum: (log |Cov| - log of the product of the squared scales) / 2.
    gap = 0.5 * np.linalg.slogdet(covariance)[1] - np.sum(np.log(scale))
    assert_bound(fit, evidence - gap, evidence - gap, 3)
    assert sd != pytest.approx(np.sqrt(np.diag(covariance)), rel=OFF)  # not the marginal sds


# -- unknown mean and scale ---------------------------------------------------------------------------------
def measurements(y):
    mu = ppl.sample("mu", dist.Normal(0, 10))
    sigma = ppl.sample("sigma", dist.LogNormal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, sigma), obs=y)


def test_normal_with_unknown_mean_and_scale_against_two_dimensional_quadrature():
    y = np.array([2.1, 3.4, 1.2, 2.9, 4.8, 3.3, 2.2, 0.9, 3.1, 2.6])

    def log_joint(mu, log_sigma):
        squares = np.sum(y**2) - 2 * mu * np.sum(y) + len(y) * mu**2
        likelihood = -0.5 * squares * np.exp(-2 * log_sigma) - len(y) * (log_sigma + 0.5 * np.log(2 * np.pi))
        return stats.norm(0, 10).logpdf(mu) + stats.norm(0, 1).logpdf(log_sigma) + likelihood

    loc, scale, best = best_gaussian(log_joint, 2)
    evidence = log_evidence(log_joint, loc, scale)
    fit = infer(measurements, y, guide="meanfield")
    p = fit.params
    assert abs(p["mu.loc"] - loc[0]) <= OFF * scale[0]
    assert abs(p["sigma.loc"] - loc[1]) <= OFF * scale[1]
    assert np.array([p["mu.scale"], p["sigma.scale"]]) == pytest.approx(scale, rel=OFF)
    assert_bound(fit, best, evidence, 2)
    assert abs(np.log(np.std(y)) - loc[1]) > 0.5 * OFF * scale[1]  # the plug-in estimate is another number


# -- a discrete latent ------------------------------------------------------------------------------------------
def switch(y):
    z = ppl.sample("z", dist.Bernoulli(0.3))
    ppl.sample("y", dist.Normal(2 * z - 1, 1), obs=y)


@pytest.mark.parametrize("y", [-1.5, 0.2, 0.7])
def test_bernoulli_against_enumeration(y):
    joint = np.array([0.7 * stats.norm(-1, 1).pdf(y), 0.3 * stats.norm(1, 1).pdf(y)])
    exact = joint[1] / joint.sum()
    fit = infer(switch, y)
    assert fit.verdict.converged
    # One sd on the logit axis, 1 / sqrt(p (1 - p)), moves p by sqrt(p (1 - p)).
    assert fit["z"].mean == pytest.approx(exact, abs=OFF * np.sqrt(exact * (1 - exact)))
    assert fit.elbo == pytest.approx(np.log(joint.sum()), abs=OFF**2 / 2 + 4 * fit.elbo_se)
    assert abs(0.3 - exact) > OFF * np.sqrt(exact * (1 - exact))  # the prior would not pass
