"""Fits in ArviZ's form: groups, axes, and log likelihoods against SciPy."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def arviz():
    logging.getLogger("arviz").setLevel(logging.ERROR)
    return pytest.importorskip("arviz")


RNG = np.random.default_rng(0)
SIGMA = np.array([1.0, 0.8, 1.2, 0.9, 1.5, 0.7])
Y = np.array([2.0, 0.5, -1.0, 1.4, 0.3, 0.9])
X = RNG.normal(size=(40, 2))
Z = X @ np.array([1.0, -0.5]) + 0.3 * RNG.normal(size=40)


def schools(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    tau = ppl.sample("tau", dist.HalfNormal(1.0))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)
    ppl.deterministic("spread", np.max(theta) - np.min(theta))


def regression(x, y=None, size=None):
    b = ppl.sample("b", dist.Normal(np.zeros(2), 1).to_event(1))
    sd = ppl.sample("sd", dist.LogNormal(0, 1))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        ppl.sample("y", dist.Normal(x[i] @ b, sd), obs=y[i])


def branching(y):
    z = ppl.sample("z", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(1.0 if z > 0 else -1.0, 1), obs=y)


def pairs(y):
    mu = ppl.sample("mu", dist.Normal(np.zeros(2), 1).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1).to_event(1), obs=y)


SHORT = ppl.BBVI(steps=600)
FITS = {
    "schools": (
        lambda: ppl.infer(schools, SIGMA, y=Y, guide="meanfield", algorithm=SHORT, progress=False),
        lambda d: stats.norm.logpdf(Y, d["theta"], SIGMA),
    ),
    "schools, all chosen": (
        lambda: ppl.infer(schools, SIGMA, y=Y, progress=False),
        lambda d: stats.norm.logpdf(Y, d["theta"], SIGMA),
    ),
    "regression": (
        lambda: ppl.infer(regression, X, Z, algorithm=SHORT, progress=False),
        lambda d: stats.norm.logpdf(Z, d["b"] @ X.T, d["sd"][:, None]),
    ),
    "minibatches": (
        lambda: ppl.infer(regression, X, Z, size=10, algorithm=SHORT, progress=False),
        lambda d: stats.norm.logpdf(Z, d["b"] @ X.T, d["sd"][:, None]),
    ),
    "a branch": (
        lambda: ppl.infer(branching, Y, algorithm=ppl.BBVI(steps=60, particles=8), progress=False),
        lambda d: stats.norm.logpdf(Y, np.where(d["z"] > 0, 1.0, -1.0)[:, None], 1.0),
    ),
    "events": (
        lambda: ppl.infer(pairs, X, algorithm=SHORT, progress=False),
        lambda d: stats.norm.logpdf(X, d["mu"][:, None], 1.0).sum(-1),
    ),
}
MADE: dict = {}


def made(name):
    if name not in MADE:
        fit = FITS[name][0]()
        MADE[name] = fit, fit.to_arviz(200)
    return MADE[name]


@pytest.mark.parametrize("name", FITS)
def test_log_likelihoods_are_scipys_at_the_draws(name, arviz):
    _, data = made(name)
    draws = {n: x.values[0] for n, x in data.posterior.data_vars.items()}
    found = data.log_likelihood["y"].values[0]
    np.testing.assert_allclose(found, FITS[name][1](draws), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FITS)
def test_arviz_reads_it(name, arviz):
    fit, data = made(name)
    table = arviz.summary(data)
    assert len(table) == len(fit.summary())
    assert np.isfinite(arviz.loo(data).elpd_loo)
    assert data.posterior_predictive["y"].shape[:2] == (1, 200)
    np.testing.assert_array_equal(data.observed_data["y"].values, OBSERVED[name])
    assert data.posterior.attrs["verdict"] == fit.verdict.word and data.posterior.attrs["elbo"] == fit.elbo
    assert ("sample_stats" in data.groups()) == fit.verdict.corrected


OBSERVED = {"schools": Y, "schools, all chosen": Y, "regression": Z, "minibatches": Z, "a branch": Y, "events": X}


def test_axes_have_the_names_of_plates(arviz):
    _, data = made("schools, all chosen")
    assert data.posterior["theta"].dims == ("chain", "draw", "schools")
    assert data.posterior["spread"].dims == ("chain", "draw")
    assert data.posterior_predictive["y"].dims == data.log_likelihood["y"].dims == ("chain", "draw", "schools")
    assert data.observed_data["y"].dims == ("schools",)
    np.testing.assert_array_equal(data.posterior.coords["schools"], np.arange(6))
    np.testing.assert_array_equal(data.constant_data["sigma"], SIGMA)
    assert not any("decentered" in n for n in data.posterior.data_vars)
    _, events = made("events")
    assert events.observed_data["y"].dims == ("rows", "y_dim_1") and events.log_likelihood["y"].dims[2:] == ("rows",)
    assert events.posterior["mu"].dims == ("chain", "draw", "mu_dim_0")


def test_draws_are_resampled_where_the_verdict_corrects(arviz):
    fit, data = made("schools, all chosen")
    assert fit.verdict.corrected
    np.testing.assert_array_equal(data.posterior["mu"].values[0], fit.sample(200, resample=True)["mu"])
    weights = data.sample_stats["log_weight"].values
    assert weights.shape == (1, 200) and np.all(weights < 0)


def test_a_newer_arviz_gets_a_tree(arviz, monkeypatch):
    xarray = pytest.importorskip("xarray", minversion="2024.10")
    fit, data = made("schools")
    monkeypatch.delattr(arviz, "InferenceData")
    tree = fit.to_arviz(200)
    assert isinstance(tree, xarray.DataTree) and tree.attrs["verdict"] == fit.verdict.word
    assert tree["posterior"].to_dataset().equals(data.posterior)


def test_pictures_can_be_drawn(arviz):
    pytest.importorskip("matplotlib").use("Agg")
    arviz.plot_posterior(made("schools")[1], var_names=["mu", "tau"])
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_fit_from_a_file_gives_the_same(arviz, tmp_path):
    fit, data = made("schools, all chosen")
    fit.save(tmp_path / "fit.npz")
    again = ppl.load(tmp_path / "fit.npz", schools).to_arviz(200)
    assert again.posterior.equals(data.posterior) and again.log_likelihood.equals(data.log_likelihood)
    assert again.posterior_predictive.equals(data.posterior_predictive)


# -- missing entries ---------------------------------------------------------------------------------------
GAPPY = np.where(np.arange(12) % 5 == 1, np.nan, np.linspace(-1.0, 2.0, 12))


def plain(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1), obs=y)
        ppl.sample("other", dist.Normal(mu, 2), obs=np.arange(float(len(y))))


def masked(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1), obs=np.nan_to_num(y, nan=1e6), obs_mask=~np.isnan(y))


def minibatches(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y), subsample_size=4) as i:
        ppl.sample("y", dist.Normal(mu, 1), obs=y[i])


def read_again(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        y = ppl.sample("y", dist.Normal(mu, 1), obs=y)
        ppl.sample("next", dist.Normal(y, 1), obs=np.zeros(12))


def columns(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("columns", 3), ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mu, 1), obs=y.reshape(4, 3))


def events(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", 12):
        ppl.sample("y", dist.Normal(np.stack([mu, 0.0 * mu]), 1).to_event(1), obs=np.stack([y, np.ones(12)], 1))


def over_time(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))

    def step(carry, y_t):
        ppl.sample("y", dist.Normal(mu, 1), obs=y_t)
        return carry, None

    ppl.scan(step, 0.0, y)


LACKING = {f.__name__: f for f in (plain, masked, minibatches, read_again, columns, events, over_time)}


@pytest.mark.parametrize("name", LACKING)
def test_what_is_missing_is_not_observed_and_has_no_likelihood(name, arviz):
    fit = ppl.infer(LACKING[name], GAPPY, guide="meanfield", algorithm=ppl.BBVI(steps=200), progress=False)
    data = fit.to_arviz(300)
    y = np.stack([GAPPY, np.ones(12)], 1) if name == "events" else GAPPY
    np.testing.assert_array_equal(data.observed_data["y"].values.reshape(y.shape), y)
    seen = np.flatnonzero(~np.isnan(GAPPY))
    mu = data.posterior["mu"].values[0][:, None]
    expected = stats.norm.logpdf(GAPPY[seen], mu, 1.0)
    if name == "events":
        expected = expected + stats.norm.logpdf(1.0)
    found = data.log_likelihood["y"]
    assert found.dims == ("chain", "draw", "y_observed")
    np.testing.assert_array_equal(found.coords["y_observed"], seen)
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-9)
    loo = arviz.loo(data, var_name="y")
    assert loo.n_data_points == len(seen) and np.isfinite(loo.elpd_loo)
    assert data.posterior_predictive["y"].values[0, 0].size == y.size
    if name == "plain":
        assert data.log_likelihood["other"].dims == ("chain", "draw", "rows")


def test_where_all_is_missing_there_is_no_likelihood(arviz):
    def model(y):
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(ppl.sample("mu", dist.Normal(0, 1)), 1), obs=y)

    data = ppl.infer(model, np.full(3, np.nan), algorithm=ppl.BBVI(steps=60), progress=False).to_arviz(50)
    assert np.all(np.isnan(data.observed_data["y"].values)) and "log_likelihood" not in data.groups()


def test_predictions_are_those_of_predict(arviz):
    for name in ("schools", "schools, all chosen"):
        fit, data = made(name)
        drawn = fit.predict(num_samples=200)
        assert drawn.resampled == fit.verdict.corrected
        np.testing.assert_array_equal(data.posterior_predictive["y"].values[0], drawn["y"])
