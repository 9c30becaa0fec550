"""Series: autoregression, volatility, a differential equation, walks."""

from __future__ import annotations

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import transforms

from .posterior import INFERENCE_GYM, Posterior, flat, flat_positive


def autoregression(y, order):
    alpha = ppl.sample("alpha", dist.Normal(0, 10))
    beta = ppl.sample("beta", dist.Normal(0, 10).expand((order,)).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfCauchy(2.5))
    lags = np.column_stack([y[order - k : len(y) - k] for k in range(1, order + 1)])
    with ppl.plate("time", len(lags)):
        ppl.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y[order:])


def garch(y, first):
    """(alpha1, beta1) is uniform on the triangle alpha1 + beta1 < 1: alpha1 is Beta(1, 2), beta1 uniform below."""
    mu = ppl.sample("mu", flat())
    alpha0 = ppl.sample("alpha0", flat_positive())
    alpha1 = ppl.sample("alpha1", dist.Beta(1, 2))
    beta1 = ppl.sample("beta1", dist.Uniform(0, 1 - alpha1))

    def step(variance, y_t):
        return alpha0 + alpha1 * (y_t - mu) ** 2 + beta1 * variance, variance

    _, variance = ppl.scan(step, first**2, y)
    with ppl.plate("time", len(y)):
        ppl.sample("y", dist.Normal(mu, np.sqrt(variance)), obs=y)


STEPS = 10  # of the fourth-order Runge-Kutta rule, per year; the log density is then right to 1e-4 nats


def lotka_volterra(pelts, first_pelts):
    """Hare and lynx: one differential equation, observed once a year with a log-normal error."""
    rate = dist.TruncatedNormal(np.array([1, 0.05, 1, 0.05]), np.array([0.5, 0.05, 0.5, 0.05]), low=0)
    theta = ppl.sample("theta", rate.to_event(1))
    sigma = ppl.sample("sigma", dist.LogNormal(-1, 1).expand([2]).to_event(1))
    z_init = ppl.sample("z_init", dist.LogNormal(np.log(10), 1).expand([2]).to_event(1))

    def slope(z):
        hare, lynx = z
        return (theta[0] - theta[1] * lynx) * hare, (-theta[2] + theta[3] * hare) * lynx

    def ahead(z, dz, h):
        return z[0] + h * dz[0], z[1] + h * dz[1]

    def step(z, _):
        h = 1 / STEPS
        k1 = slope(z)
        k2 = slope(ahead(z, k1, h / 2))
        k3 = slope(ahead(z, k2, h / 2))
        k4 = slope(ahead(z, k3, h))
        z = tuple(x + h / 6 * (a + 2 * b + 2 * c + d) for x, a, b, c, d in zip(z, k1, k2, k3, k4, strict=True))
        return z, z

    _, (hare, lynx) = ppl.scan(step, (z_init[0], z_init[1]), length=STEPS * len(pelts))
    z = np.stack([hare[STEPS - 1 :: STEPS], lynx[STEPS - 1 :: STEPS]], axis=1)
    ppl.sample("y_init", dist.LogNormal(np.log(z_init), sigma).to_event(1), obs=first_pelts)
    with ppl.plate("years", len(pelts)):
        ppl.sample("y", dist.LogNormal(np.log(z), sigma).to_event(1), obs=pelts)


def brownian_motion(y, innovation, noise):
    """A random walk observed with noise, where it is observed: y is NaN elsewhere."""

    def step(x, _):
        x = ppl.sample("value", dist.Normal(x, innovation))
        return x, x

    _, x = ppl.scan(step, 0.0, length=len(y))
    seen = np.flatnonzero(np.isfinite(y))
    with ppl.plate("observations", len(seen)):
        ppl.sample("y", dist.Normal(x[seen], noise), obs=y[seen])


def stochastic_volatility(returns):
    halved = dist.Beta(20, 1.5)
    phi = ppl.sample(
        "persistence_of_volatility", dist.TransformedDistribution(halved, transforms.AffineTransform(-1, 2))
    )
    mu = ppl.sample("mean_log_volatility", dist.Cauchy(0, 5))
    shock = ppl.sample("white_noise_shock_scale", dist.HalfCauchy(2))

    def step(before, y):
        h, scale = before
        h = ppl.sample("log_volatility", dist.Normal(mu + phi * (h - mu), scale))
        ppl.sample("y", dist.Normal(0, np.exp(h / 2)), obs=y)
        return (h, shock), None

    stationary = shock / np.sqrt(1 - phi**2)
    ppl.scan(step, (mu, stationary), returns)


TIME_SERIES = (
    Posterior("arK", "arK-arK", autoregression, lambda d: (d["y"], d["K"])),
    Posterior("garch11", "garch-garch11", garch, lambda d: (d["y"], d["sigma1"])),
    Posterior("lotka_volterra", "hudson_lynx_hare-lotka_volterra", lotka_volterra, lambda d: (d["y"], d["y_init"])),
    Posterior(
        "brownian_motion",
        "brownian_motion_missing_middle",
        brownian_motion,
        lambda d: (d["observed"], d["innovation_sd"], d["observation_sd"]),
        collection=INFERENCE_GYM,
    ),
    Posterior(
        "stochastic_volatility",
        "stochastic_volatility_sp500_small",
        stochastic_volatility,
        lambda d: (d["centered_returns"],),
        collection=INFERENCE_GYM,
    ),
)
