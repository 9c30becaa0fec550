"""Predictive checks: p-values that are known, misfits that are found, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist


def known(y):
    """Replicates of y are Normal(0, sd of 2): the prior predictive is exact, and so is the posterior's."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(mu, np.sqrt(3.0)), obs=y)


@pytest.mark.parametrize("y", [-1.0, 2.5])
def test_p_values_of_one_number(y):
    prior = ppl.predictive_check(
        known, y, statistics={"y": lambda y: y[()] if np.ndim(y) == 0 else y[0]}, num_samples=4000
    )
    exact = stats.norm(0, 2).sf(y)
    assert prior.p_values["y"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))
    fit = ppl.infer(known, y, algorithm="laplace", progress=False)
    posterior = ppl.predictive_check(fit, statistics={"y": np.mean}, num_samples=4000)
    exact = stats.norm(y / 4, np.sqrt(3 / 4 + 3)).sf(y)
    assert posterior.p_values["y"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))
    assert (prior.kind, posterior.kind) == ("prior", "posterior")


def counts(y):
    rate = ppl.sample("rate", dist.Gamma(2.0, 0.1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(rate), obs=y)


def zeros(y):
    return np.mean(y == 0)


WELL = stats.poisson(6).rvs(60, random_state=0)
TOO_MANY_ZEROS = np.where(np.arange(60) < 25, 0, WELL)


def test_a_misfit_is_found_and_a_fit_passes():
    for y, missed in ((WELL, ()), (TOO_MANY_ZEROS, ("zeros",))):
        fit = ppl.infer(counts, y, progress=False)
        found = ppl.predictive_check(fit, statistics=[zeros, np.mean])
        assert found.missed == missed
        assert list(found.observed) == ["zeros", "mean"] and found.observed["zeros"] == zeros(y)
        assert ("hardly predicts" in str(found)) == bool(missed)
    assert found.to_pandas().loc["zeros", "p"] < 0.025
    assert len(found.plot().axes) == 2


def test_missing_entries_do_not_count():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 5))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(mu, 1), obs=y)

    y = np.array([1.0, np.nan, 3.0, 2.0])
    found = ppl.predictive_check(ppl.infer(model, y, progress=False), statistics={"size": np.size, "mean": np.mean})
    assert found.observed == {"size": 3.0, "mean": 2.0} and np.all(found.replicated["size"] == 3)


def test_a_subsampled_plate_is_checked_as_a_whole():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 5))
        with ppl.plate("rows", len(y), subsample_size=10) as i:
            ppl.sample("y", dist.Normal(mu, 1), obs=y[i])

    y = np.random.default_rng(0).normal(size=50)
    fit = ppl.infer(model, y, algorithm=ppl.BBVI(steps=200), progress=False)
    assert ppl.predictive_check(fit, statistics=np.mean).observed["mean"] == pytest.approx(y.mean())


def two(x, y):
    a = ppl.sample("a", dist.Normal(0, 1))
    ppl.sample("x", dist.Normal(a, 1), obs=x)
    ppl.sample("y", dist.Normal(a, 1), obs=y)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "several observed sites"),
        ({"site": "z"}, "site='z'"),
        ({"site": "y", "statistics": 3}, "statistics=3"),
        ({"site": "y", "statistics": lambda y: np.ones(2)}, "one number"),
    ],
)
def test_what_is_unclear_is_refused(options, said):
    with pytest.raises(ppl.ModelError, match=said):
        ppl.predictive_check(two, 0.0, 1.0, **options)
