"""guide="amortized", and guides in place that are networks: exact posteriors, other data, the amortisation gap."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl import nn, optim

RNG = np.random.default_rng(0)
W = np.array([[1.0, 0.5, -1.0], [0.0, 1.0, 0.7]])
NOISE = 0.5
PRECISION = np.eye(2) + W @ W.T / NOISE**2  # of z given x


def drawn(n, rng=RNG):
    return rng.normal(size=(n, 2)) @ W + NOISE * rng.normal(size=(n, 3))


def linear(x, batch=50):
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        z = ppl.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
        ppl.sample("x", dist.Normal(z @ W, NOISE).to_event(1), obs=x[i])


def in_place(x, batch=50):
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        loc, scale = ppl.module("net", nn.MLP(3, 16, (2, 2), heads=("real", "positive")))(x[i])
        guide = dist.Normal(loc, scale).to_event(1)
        z = ppl.sample("z", dist.Normal(0, 1).expand([2]).to_event(1), guide=guide)
        ppl.sample("x", dist.Normal(z @ W, NOISE).to_event(1), obs=x[i])


def exact(x):
    """Mean of z given x, the sd of the best factorised Normal, and the bound that has."""
    mean = x @ W.T @ np.linalg.inv(PRECISION) / NOISE**2
    cov = W.T @ W + NOISE**2 * np.eye(3)
    log_p = (
        -0.5 * np.einsum("ni,ij,nj->", x, np.linalg.inv(cov), x) - 0.5 * len(x) * np.linalg.slogdet(2 * np.pi * cov)[1]
    )
    sd = np.diag(PRECISION) ** -0.5
    kl = -0.5 * np.linalg.slogdet(PRECISION)[1] - np.sum(np.log(sd))
    return mean, sd, log_p - len(x) * kl, log_p


def trained(model, *args, guide="amortized", epochs=120, rate=5e-3, **kwargs):
    steps = epochs * len(args[0]) // 50
    algorithm = ppl.BBVI(epochs=epochs, optimizer=optim.Adam(optim.CosineDecay(rate, steps)))
    return ppl.infer(model, *args, guide=guide, algorithm=algorithm, progress=False, **kwargs)


X, NEW = drawn(500), drawn(70)


@pytest.fixture(scope="module", params=["built", "in place"])
def fit(request):
    return trained(linear, X) if request.param == "built" else trained(in_place, X, guide=None)


def test_a_trained_network_knows_data_never_seen(fit):
    mean, sd, best, log_p = exact(NEW)
    found = fit.posterior(NEW)
    assert found["z"].mean.shape == (70, 2) and found.sample(5)["z"].shape == (5, 70, 2)
    assert np.sqrt(np.mean((found["z"].mean - mean) ** 2)) < 0.15 * sd.min()
    assert np.all(np.abs(found["z"].sd / sd - 1.0) < 0.2)
    assert best - 5.0 < found.elbo < log_p + 4 * found.elbo_se
    few = found.posterior(NEW[:3])  # any size, also smaller than a minibatch
    assert few["z"].mean.shape == (3, 2)
    np.testing.assert_allclose(few.guide_of("z").mean, found.guide_of("z").mean[:3], rtol=1e-4, atol=1e-5)


def test_the_gap_is_what_guides_of_their_own_gain(fit):
    """Per-datum optimisation comes to the factorised optimum, which is known; the gap is the distance to it."""
    _, _, best, _ = exact(NEW)
    gap = fit.amortization_gap(NEW, steps=600)
    assert abs(gap.optimized - best) < 4 * gap.fit.elbo_se + 0.3
    assert gap.amortized == fit.posterior(NEW).elbo
    assert abs(gap.gap - (gap.optimized - gap.amortized)) < 1e-9 and gap.gap > -4 * gap.se
    assert gap.gap < 5.0 and "amortisation gap" in repr(gap)


def test_a_network_that_was_hardly_trained_has_a_gap():
    """The negative control: the gap finds what is missing, to the exact optimum."""
    fit = trained(linear, X, epochs=2, rate=1e-3)
    gap = fit.amortization_gap(NEW, steps=600)
    best = exact(NEW)[2]
    assert gap.gap > 30.0 and abs(gap.optimized - best) < 1.0


def test_predictions_of_other_data_use_the_network(fit):
    mean = exact(NEW)[0] @ W
    drawn = fit.predict(NEW, num_samples=400)["x"]
    assert drawn.shape == (400, 70, 3)
    assert np.max(np.abs(drawn.mean(0) - mean)) < 5 * drawn.std(0).max() / 20 + 0.15
    other = np.roll(X, 1, axis=0)  # as many rows, and other ones
    rolled = fit.predict(other, num_samples=400)["x"].mean(0)
    assert np.sqrt(np.mean((rolled - exact(other)[0] @ W) ** 2)) < 0.1 < np.std(exact(X)[0] @ W)


def test_a_guide_with_rows_of_its_own_does_not_know_other_data():
    fit = ppl.infer(linear, X[:40], None, algorithm=ppl.BBVI(steps=5), progress=False)
    for data in (NEW, X[:40][::-1]):
        with pytest.raises(ppl.GuideError, match=r"parameter 'z\.(loc|scale)', which has a value for each row"):
            fit.posterior(data, None)


def test_sites_of_several_kinds():
    """Counts and missing numbers observed; a positive latent, one that follows it, and a global one."""
    rng = np.random.default_rng(1)
    rate = rng.gamma(3.0, 1.0, size=300)
    y = rng.poisson(rate).astype(float)
    x = np.log(rate) + 0.1 * rng.normal(size=300)
    x[::7] = np.nan

    def model(x, y):
        shift = ppl.sample("shift", dist.Normal(0, 1))
        with ppl.plate("rows", len(y)):
            rate = ppl.sample("rate", dist.Gamma(3.0, 1.0))
            u = ppl.sample("u", dist.Normal(np.log(rate) + shift, 0.1))
            ppl.sample("x", dist.Normal(u, 0.1), obs=x)
            ppl.sample("y", dist.Poisson(rate), obs=y)

    fit = trained(model, x, y, epochs=1500, rate=1e-2)
    names = {n.partition(".")[0] for n in fit.params}
    assert names == {"shift", "rate", "u"} and not any(n.endswith("rate.loc") for n in fit.params)
    there = ~np.isnan(x)
    error = np.log(fit["rate"].mean) - np.log(rate)
    assert np.std(error[there]) < 0.2 < np.std(error[~there])  # what is missing is missed
    assert abs(fit["shift"].mean) < 0.05


def test_rows_in_groups_go_through_one_network_and_their_mean():
    """y[i, j] ~ N(z[j], 1): the posterior of z[j] needs the mean over its rows."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=200)
    y = z + rng.normal(size=(10, 200))

    def model(y):
        with ppl.plate("groups", y.shape[1], dim=-1):
            z = ppl.sample("z", dist.Normal(0, 1))
            with ppl.plate("rows", y.shape[0], dim=-2):
                ppl.sample("y", dist.Normal(z, 1.0), obs=y)

    fit = trained(model, y, epochs=1500, rate=5e-3)
    wanted, sd = y.sum(0) / 11, 11**-0.5
    assert np.sqrt(np.mean((fit["z"].mean - wanted) ** 2)) < 0.3 * sd
    assert np.all(np.abs(fit["z"].sd / sd - 1) < 0.25)
    other = fit.posterior(y[:, ::-1][:, :50])
    np.testing.assert_allclose(other["z"].mean, fit["z"].mean[::-1][:50], rtol=1e-6)


def test_labels_that_are_sampled_have_probabilities_from_a_network():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, 300)
    x = np.array([-3.0, 0.0, 3.0])[label] + rng.normal(size=300)

    def model(x):
        with ppl.plate("rows", len(x)):
            k = ppl.sample("k", dist.Categorical(np.full(3, 1 / 3)), estimator="score")
            ppl.sample("x", dist.Normal(3.0 * k - 3.0, 1.0), obs=x)

    fit = ppl.infer(
        model,
        x,
        guide="amortized",
        algorithm=ppl.BBVI(steps=1500, particles=8, epochs=None, optimizer=optim.Adam(5e-3)),
        progress=False,
    )
    weights = np.exp(-0.5 * (x[:, None] - np.array([-3.0, 0.0, 3.0])) ** 2)
    expected = (weights @ np.arange(3)) / weights.sum(1)
    assert np.mean(np.abs(fit["k"].mean - expected)) < 0.08


def test_what_has_nothing_observed_beside_it_is_mean_field():
    def model(y, g):
        with ppl.plate("groups", 3):
            z = ppl.sample("z", dist.Normal(0, 1))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(z[g], 1), obs=y)

    fit = ppl.infer(
        model,
        np.arange(6.0),
        np.array([0, 0, 1, 1, 2, 2]),
        guide="amortized",
        algorithm=ppl.BBVI(steps=5),
        progress=False,
    )
    assert list(fit.params) == ["z.loc", "z.scale"]
