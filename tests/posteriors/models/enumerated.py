"""Models of `summed_out.py` with their states as sites: as plain loops, and with `ppl.scan`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

from .posterior import Posterior
from .summed_out import SUMMED_OUT

FAIR = np.array([0.5, 0.5])  # of the first state; by hand it has weight one, so that densities differ by log 2


def transition():
    return np.stack([ppl.sample(name, dist.Dirichlet(np.ones(2))) for name in ("theta1", "theta2")])


def ordered_locations():
    mu = ppl.sample("mu", dist.ImproperUniform(constraints.positive_ordered_vector, (), (2,)))
    ppl.factor("mu_prior", dist.Normal(np.array([3, 10]), 1).log_prob(mu).sum())
    return mu


def gaussian_chain_loop(y):
    theta, mu = transition(), ordered_locations()
    following = FAIR
    for t in range(len(y)):
        z = ppl.sample(f"z_{t}", dist.Categorical(following))
        ppl.sample(f"y_{t}", dist.Normal(mu[z], 1), obs=y[t])
        following = theta[z]


def gaussian_chain_scan(y):
    theta, mu = transition(), ordered_locations()
    first = ppl.sample("first", dist.Categorical(FAIR))
    ppl.sample("y_0", dist.Normal(mu[first], 1), obs=y[0])

    def step(z, y_t):
        z = ppl.sample("z", dist.Categorical(theta[z]))
        ppl.sample("y", dist.Normal(mu[z], 1), obs=y_t)
        return z, None

    ppl.scan(step, first, y[1:])


def drive(concentration):
    theta = np.stack([ppl.sample(f"theta{k + 1}", dist.Dirichlet(concentration[k])) for k in range(2)])
    rates = [
        ppl.sample(n, dist.ImproperUniform(constraints.positive_ordered_vector, (), (2,))) for n in ("phi", "lambda")
    ]
    for name, rate in zip(("phi_prior", "lambda_prior"), rates, strict=True):
        ppl.factor(name, dist.Normal(np.array([0, 3]), 1).log_prob(rate).sum())
    return theta, *rates


def basketball_drive_loop(u, v, concentration):
    theta, phi, rate = drive(concentration)
    following = FAIR
    for t in range(len(u)):
        z = ppl.sample(f"z_{t}", dist.Categorical(following))
        ppl.sample(f"u_{t}", dist.Exponential(phi[z]), obs=u[t])
        ppl.sample(f"v_{t}", dist.Exponential(rate[z]), obs=v[t])
        following = theta[z]


def basketball_drive_scan(u, v, concentration):
    theta, phi, rate = drive(concentration)
    first = ppl.sample("first", dist.Categorical(FAIR))
    ppl.sample("u_0", dist.Exponential(phi[first]), obs=u[0])
    ppl.sample("v_0", dist.Exponential(rate[first]), obs=v[0])

    def step(z, at):
        z = ppl.sample("z", dist.Categorical(theta[z]))
        ppl.sample("u", dist.Exponential(phi[z]), obs=at[0])
        ppl.sample("v", dist.Exponential(rate[z]), obs=at[1])
        return z, None

    ppl.scan(step, first, (u[1:], v[1:]))


def two_normals_with_labels(y):
    mu = ppl.sample("mu", dist.ImproperUniform(constraints.ordered_vector, (), (2,)))
    ppl.factor("mu_prior", dist.Normal(0, 2).log_prob(mu).sum())
    sigma = ppl.sample("sigma", dist.HalfNormal(2).expand([2]).to_event(1))
    theta = ppl.sample("theta", dist.Beta(5, 5))
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Categorical(probs=np.stack([theta, 1 - theta])))
        ppl.sample("y", dist.Normal(mu[z], sigma[z]), obs=y)


_OF = {p.name: p for p in SUMMED_OUT}
_MODELS = (
    ("hmm_example", "loop", gaussian_chain_loop),
    ("hmm_example", "scan", gaussian_chain_scan),
    ("hmm_drive_0", "loop", basketball_drive_loop),
    ("hmm_drive_0", "scan", basketball_drive_scan),
    ("low_dim_gauss_mix", "labels", two_normals_with_labels),
)
# (marginalised by hand, with the states as sites)
ENUMERATED: tuple[tuple[Posterior, Posterior], ...] = tuple(
    (_OF[name], replace(_OF[name], name=f"{name}, {how}", model=model)) for name, how, model in _MODELS
)
