"""Models whose states, labels or functions are summed out by hand: chains, a mixture, a Gaussian process."""

from __future__ import annotations

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

from .posterior import Posterior


def chain_log_density(log_density, log_transition):
    """log p(y_1..y_T) of a hidden chain by the forward recursion; each first state has weight one.

    `log_density[t, k]` is that of y_t in state k, `log_transition[j, k]` that of going from j to k.
    """

    def step(alpha, density):
        return np.logaddexp.reduce(alpha[:, None] + log_transition, axis=0) + density, None

    alpha, _ = ppl.scan(step, log_density[0], log_density[1:])
    return np.logaddexp.reduce(alpha)


def gaussian_chain(y):
    theta1 = ppl.sample("theta1", dist.Dirichlet(np.ones(2)))
    theta2 = ppl.sample("theta2", dist.Dirichlet(np.ones(2)))
    mu = ppl.sample("mu", dist.ImproperUniform(constraints.positive_ordered_vector, (), (2,)))
    ppl.factor("mu_prior", dist.Normal(np.array([3, 10]), 1).log_prob(mu).sum())
    ppl.factor("y", chain_log_density(dist.Normal(mu, 1).log_prob(y[:, None]), np.log(np.stack([theta1, theta2]))))


def basketball_drive(u, v, concentration):
    theta1 = ppl.sample("theta1", dist.Dirichlet(concentration[0]))
    theta2 = ppl.sample("theta2", dist.Dirichlet(concentration[1]))
    phi = ppl.sample("phi", dist.ImproperUniform(constraints.positive_ordered_vector, (), (2,)))
    rate = ppl.sample("lambda", dist.ImproperUniform(constraints.positive_ordered_vector, (), (2,)))
    prior = dist.Normal(np.array([0, 3]), 1)
    ppl.factor("phi_prior", prior.log_prob(phi).sum())
    ppl.factor("lambda_prior", prior.log_prob(rate).sum())
    log_density = dist.Exponential(phi).log_prob(u[:, None]) + dist.Exponential(rate).log_prob(v[:, None])
    ppl.factor("uv", chain_log_density(log_density, np.log(np.stack([theta1, theta2]))))


def two_normals(y):
    mu = ppl.sample("mu", dist.ImproperUniform(constraints.ordered_vector, (), (2,)))
    ppl.factor("mu_prior", dist.Normal(0, 2).log_prob(mu).sum())
    sigma = ppl.sample("sigma", dist.HalfNormal(2).expand([2]).to_event(1))
    theta = ppl.sample("theta", dist.Beta(5, 5))
    labels = dist.Categorical(probs=np.stack([theta, 1 - theta]))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.MixtureSameFamily(labels, dist.Normal(mu, sigma)), obs=y)


def gaussian_process(x, y):
    """Squared-exponential kernel; sigma is the noise's variance."""
    rho = ppl.sample("rho", dist.Gamma(25, 4))
    alpha = ppl.sample("alpha", dist.HalfNormal(2))
    sigma = ppl.sample("sigma", dist.HalfNormal(1))
    kernel = alpha**2 * np.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)
    ppl.sample("y", dist.MultivariateNormal(np.zeros(len(x)), kernel + sigma * np.eye(len(x))), obs=y)


SUMMED_OUT = (
    Posterior("hmm_example", "hmm_example-hmm_example", gaussian_chain, lambda d: (d["y"],)),
    Posterior(
        "hmm_drive_0", "bball_drive_event_0-hmm_drive_0", basketball_drive, lambda d: (d["u"], d["v"], d["alpha"])
    ),
    Posterior("low_dim_gauss_mix", "low_dim_gauss_mix-low_dim_gauss_mix", two_normals, lambda d: (d["y"],)),
    Posterior("gp_regr", "gp_pois_regr-gp_regr", gaussian_process, lambda d: (d["x"], d["y"])),
)
