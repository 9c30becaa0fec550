"""Is every model the one whose reference we have? Tested by identities that hold for the right density alone.

With u the latent sites on the unconstrained axis, distributed as p,

    E[d log p(u) / du_i] = 0,    E[u_j d log p(u) / du_i] = -[i = j]    (Stein's identity).

Expectations are means over the reference draws. Errors come from means of 100 batches of
neighbouring draws. The z-values of either identity must all stay below what Student's t with 99
degrees of freedom passes with probability 5e-5, shared among them (Bonferroni). Inference Gym
has no draws: there the reference is means, sds and their Monte Carlo errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist
from ppl.elbo import problem
from ppl.model.handlers import LocScaleReparam
from tests.data_folder import data_folder, why_absent

from .compare import split
from .joint import Joint, joint_of
from .models import BY_NAME, INFERENCE_GYM, POSTERIORDB, POSTERIORS
from .models.posterior import Arrays
from .models.summed_out import chain_log_density

ABSENT = why_absent(POSTERIORDB) or why_absent(INFERENCE_GYM)
pytestmark = [pytest.mark.posteriors, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]

WITH_DRAWS = [p.name for p in POSTERIORS if p.has_draws]
BATCHES, FALSE_ALARM = 100, 5e-5


def arguments(name: str) -> tuple:
    return BY_NAME[name].arguments(BY_NAME[name].data())


def site_draws(name: str) -> Arrays:
    return BY_NAME[name].site_draws()


@cache
def joint(name: str) -> Joint:
    return joint_of(BY_NAME[name].model, *arguments(name))


# -- Stein's identities over the reference draws ----------------------------------------------------------
def z_values(rows: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    """(mean - expected) / standard error, the error from batch means."""
    batches = np.array([b.mean(0) for b in np.array_split(rows, BATCHES)])
    return (rows.mean(0) - expected) / (batches.std(0, ddof=1) / BATCHES**0.5)


def violations(joint: Joint, draws: Arrays) -> dict[str, float]:
    """The identities that fail, with their z-values."""
    u = joint.coordinates(draws)
    score = joint.score(u)
    assert np.all(np.isfinite(u))
    if not np.all(np.isfinite(score)):
        return {"a score is not finite": np.inf}
    centred, score = (u - u.mean(0)) / u.std(0), score * u.std(0)
    first = z_values(score, 0.0)
    second = z_values(centred[:, :, None] * score[:, None, :], -np.eye(joint.size))
    limits = [stats.t(BATCHES - 1).isf(FALSE_ALARM / 2 / z.size) for z in (first, second)]
    found = {f"E[score {joint.names[i]}]": first[i] for (i,) in np.argwhere(np.abs(first) > limits[0])}
    places = np.argwhere(np.abs(second) > limits[1])
    return found | {f"E[{joint.names[j]} score {joint.names[i]}]": second[j, i] for j, i in places}


@pytest.mark.parametrize("name", WITH_DRAWS)
def test_the_reference_draws_satisfy_steins_identities(name):
    assert violations(joint(name), site_draws(name)) == {}


@pytest.mark.parametrize("name", WITH_DRAWS)
def test_a_density_of_another_temperature_does_not(name):
    hot = ppl.handlers.scale(BY_NAME[name].model, 0.5)
    assert violations(joint_of(hot, *arguments(name)), site_draws(name))


# Near a scale of zero the score of a centred form is wild, and hides mistakes; in standard draws
# (site - loc) / scale it is tame.
STANDARD = {
    "eight schools, centred": {"theta": lambda x: (x["mu"], x["tau"])},
    "irt_2pl": {"theta": lambda x: (0, x["sigma_theta"]), "b": lambda x: (x["mu_b"], x["sigma_b"])},
    "rats": {"alpha": lambda x: (x["mu_alpha"], x["sigma_alpha"]), "beta": lambda x: (x["mu_beta"], x["sigma_beta"])},
    "seeds": {"b": lambda x: (0, x["sigma"])},
}


def standard(name: str, model: Callable) -> dict[str, float]:
    """What fails where the hierarchy is written in standard draws."""
    forms, draws = STANDARD[name], site_draws(name)
    for site, of in forms.items():
        loc, scale = (np.reshape(x, (-1, 1)) for x in of(draws))
        draws = draws | {f"{site}_decentered": (draws[site] - loc) / scale}
    rewritten = ppl.handlers.reparam(model, config={site: LocScaleReparam(0.0) for site in forms})
    return violations(joint_of(rewritten, *arguments(name)), draws)


@pytest.mark.parametrize("name", STANDARD)
def test_hierarchies_satisfy_them_in_standard_draws(name):
    assert standard(name, BY_NAME[name].model) == {}


def wide_tau(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(25))
    with ppl.plate("schools", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def noise_as_sd(x, y):
    rho = ppl.sample("rho", dist.Gamma(25, 4))
    alpha = ppl.sample("alpha", dist.HalfNormal(2))
    sigma = ppl.sample("sigma", dist.HalfNormal(1))
    kernel = alpha**2 * np.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)
    ppl.sample("y", dist.MultivariateNormal(np.zeros(len(x)), kernel + sigma**2 * np.eye(len(x))), obs=y)


def columns_for_rows(y):
    """Transition probabilities read the wrong way round."""
    theta1 = ppl.sample("theta1", dist.Dirichlet(np.ones(2)))
    theta2 = ppl.sample("theta2", dist.Dirichlet(np.ones(2)))
    mu = ppl.sample("mu", dist.ImproperUniform(dist.constraints.positive_ordered_vector, (), (2,)))
    ppl.factor("mu_prior", dist.Normal(np.array([3, 10]), 1).log_prob(mu).sum())
    ppl.factor("y", chain_log_density(dist.Normal(mu, 1).log_prob(y[:, None]), np.log(np.stack([theta1, theta2], 1))))


def narrow_spread(x1, x2, germinated, sown):
    """HalfCauchy(0.25) where HalfCauchy(1) belongs."""
    alphas = [ppl.sample(f"alpha{k}", dist.Normal(0, 1)) for k in ("0", "1", "2", "12")]
    sigma = ppl.sample("sigma", dist.HalfCauchy(0.25))
    with ppl.plate("dishes", len(sown)):
        b = ppl.sample("b", dist.Normal(0, sigma))
        logits = alphas[0] + alphas[1] * x1 + alphas[2] * x2 + alphas[3] * x1 * x2 + b
        ppl.sample("germinated", dist.Binomial(sown, logits=logits), obs=germinated)


WRONG = {
    "eight schools, centred": wide_tau,
    "gp_regr": noise_as_sd,
    "hmm_example": columns_for_rows,
    "seeds": narrow_spread,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_a_model_is_noticed(name):
    found = (
        standard(name, WRONG[name])
        if name in STANDARD
        else violations(joint_of(WRONG[name], *arguments(name)), site_draws(name))
    )
    assert found


@pytest.mark.parametrize(
    "name", ["eight schools, centred", "gp_regr", "garch11", "hmm_example", "seeds", "lotka_volterra"]
)
def test_a_missing_jacobian_is_noticed(name):
    # Where data are many a Jacobian of u is a small part of the score, and no draws could show it.
    assert violations(joint_of(BY_NAME[name].model, *arguments(name), jacobian=False), site_draws(name))


# -- Inference Gym: means, sds and their errors ---------------------------------------------------------------
def gym_reference(name: str, parameter: str = "value") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, the Monte Carlo errors of the means, sds."""
    found = json.loads((BY_NAME[name].path / "reference.json").read_text())["parameters"][parameter]
    return tuple(np.array(found[k]) for k in ("mean", "mean_standard_error", "sd"))


def test_brownian_motion_has_the_reference_as_its_exact_answer():
    j = joint("brownian_motion")
    at_zero = j.score(np.zeros((1, j.size)))[0]
    precision = at_zero - j.score(np.eye(j.size))  # the score of a Gaussian is linear
    mean, covariance = np.linalg.solve(precision, at_zero), np.linalg.inv(precision)
    wanted, error, sd = gym_reference("brownian_motion")
    assert np.abs((mean - wanted) / error).max() < 5
    # A mean's error is sd / sqrt(n), that of the sd itself sd / sqrt(2 n); the errors are estimates too.
    assert np.abs((np.sqrt(np.diag(covariance)) - sd) / error).max() < 5


def test_german_credit_has_the_reference_moments():
    j = joint("german_credit_logistic")
    mode, precision = np.zeros(j.size), np.eye(j.size)
    step = 1e-4 * np.eye(j.size)
    for _ in range(20):  # Newton's method; the density is log-concave
        precision = -(j.score(mode + step) - j.score(mode - step)) / 2e-4
        mode = mode + np.linalg.solve(precision, j.score(mode[None])[0])
    proposal = stats.multivariate_t(mode, np.linalg.inv(precision), df=20, seed=0)
    w = proposal.rvs(10_000)
    log_density = np.concatenate([j.log_density(part) for part in np.split(w, 10)])
    weights = log_density - proposal.logpdf(w)
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    wanted, error, sd = gym_reference("german_credit_logistic")
    mean = weights @ w
    own_error = np.sqrt(weights**2 @ (w - mean) ** 2)
    assert np.abs((mean - wanted) / np.hypot(own_error, error)).max() < 5
    assert np.sqrt(weights @ (w - mean) ** 2) == pytest.approx(
        sd, rel=0.05
    )  # 5 / sqrt(2 * 10,000) = 3.5 %, and weights
    assert not np.all(np.abs(mode - wanted) < 5 * np.hypot(own_error, error))  # the mode would not pass


def stochastic_volatility_density(u: np.ndarray, y: np.ndarray) -> float:
    """By SciPy alone: (phi + 1) / 2 is Beta(20, 1.5), and u = (logit of it, mu, log s, h_1 .. h_T)."""
    half, mu, s, h = 1 / (1 + np.exp(-u[0])), u[1], np.exp(u[2]), u[3:]
    phi = 2 * half - 1
    prior = (
        stats.beta(20, 1.5).logpdf(half) - np.log(2) + stats.cauchy(0, 5).logpdf(mu) + stats.halfcauchy(0, 2).logpdf(s)
    )
    chain = stats.norm(mu, s / np.sqrt(1 - phi**2)).logpdf(h[0])
    chain += stats.norm(mu + phi * (h[:-1] - mu), s).logpdf(h[1:]).sum()
    jacobian = np.log(2 * half * (1 - half)) + np.log(s)
    return prior + chain + stats.norm(0, np.exp(h / 2)).logpdf(y).sum() + jacobian


def test_stochastic_volatility_has_the_density_of_its_statement():
    j = joint("stochastic_volatility")
    mean, _, sd = gym_reference("stochastic_volatility", "log_volatility")
    rng = np.random.default_rng(0)
    globals_ = rng.normal([3, 8, -0.7], [1, 1, 0.3], size=(5, 3))
    u = np.concatenate([globals_, mean + sd * rng.normal(size=(5, len(mean)))], axis=1)
    (y,) = arguments("stochastic_volatility")
    wanted = [stochastic_volatility_density(row, y) for row in u]
    assert j.log_density(u) == pytest.approx(wanted, rel=1e-12)
    assert j.log_density(u + 0.01) != pytest.approx(wanted, rel=1e-5)


# -- the registry ------------------------------------------------------------------------------------------------
def test_every_posterior_of_the_data_folder_has_a_model():
    there = {p.name for c in (POSTERIORDB, INFERENCE_GYM) for p in (data_folder() / c).iterdir() if p.is_dir()}
    assert {p.folder for p in POSTERIORS} == there
    assert len(BY_NAME) == len(POSTERIORS)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_model_names_what_the_reference_names(name):
    sites = problem(BY_NAME[name].model, arguments(name), {}).sites
    wanted: dict[str, int] = {}
    for scalar in BY_NAME[name].reference():
        wanted[split(scalar)[0]] = wanted.get(split(scalar)[0], 0) + 1
    assert {site: int(np.prod(np.shape(sites[site].value))) for site in wanted} == wanted
