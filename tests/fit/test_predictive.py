"""Draws of the data: at once by the recorded model, or one by one by hand, they are the same in distribution."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist

predictive = importlib.import_module("ppl.fit.predictive")
X = np.linspace(-1.0, 1.0, 5)
N = 1500


def by_hand(monkeypatch):
    monkeypatch.setattr(predictive, "_recorded", lambda *_: None)


def normal(y=None):
    mu = ppl.sample("mu", dist.Normal(1.0, 2.0))
    for i in range(4):
        z = ppl.sample(f"z{i}", dist.Normal(mu, 1.0))
        ppl.sample(f"y{i}", dist.StudentT(8.0, z, 0.5), obs=None if y is None else y[i])


def plates(y=None):
    rate = ppl.sample("rate", dist.Gamma(3.0, 2.0))
    ppl.deterministic("twice", 2.0 * rate)
    with ppl.plate("rows", 5 if y is None else len(y)):
        on = ppl.sample("on", dist.Bernoulli(0.4))
        ppl.sample("y", dist.Poisson(np.where(on > 0, rate, 0.5)), obs=y)


def vectors(y=None):
    w = ppl.sample("w", dist.Dirichlet(np.array([1.0, 2.0, 3.0])))
    k = ppl.sample("k", dist.Categorical(probs=w))
    m = ppl.sample("m", dist.MultivariateNormal(np.zeros(2), covariance_matrix=np.array([[1.0, 0.5], [0.5, 2.0]])))
    ppl.sample("y", dist.Normal(m[0] + k, 1.0), obs=y)


def positive(y=None):
    s = ppl.sample("s", dist.HalfCauchy(1.0))
    b = ppl.sample("b", dist.Beta(2.0, 3.0))
    ppl.sample("y", dist.LogNormal(b, 0.1 + b), obs=y)
    ppl.sample("count", dist.Binomial(7, b))
    ppl.sample("t", dist.TruncatedNormal(0.0, 1.0 + 0.0 * s, low=0.0, high=2.0))


def learned(y=None):
    a = ppl.param("a", 0.7)
    ppl.sample("y", dist.Normal(a, 1.0), obs=y)


MODELS = [normal, plates, vectors, positive, learned]


def differs(a, b):
    """Kolmogorov and Smirnov's p-value of each element, at a level for all of them together."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    p = [stats.ks_2samp(x, y, method="asymp").pvalue for x, y in zip(a.T, b.T, strict=True)]
    return min(p) < 1e-4 / len(p)


@pytest.mark.parametrize("model", MODELS, ids=lambda f: f.__name__)
def test_prior_draws_at_once_and_by_hand_agree(model, monkeypatch):
    at_once = ppl.prior_predictive(model, num_samples=N, seed=1)
    by_hand(monkeypatch)
    alone = ppl.prior_predictive(model, num_samples=N, seed=2)
    assert list(at_once) == list(alone)
    for name in alone:
        assert at_once[name].shape == alone[name].shape and at_once[name].dtype == alone[name].dtype
        assert not differs(at_once[name], alone[name]), name


def test_another_model_would_be_seen(monkeypatch):
    """Negative control: a scale off by a quarter fails the comparison above."""
    at_once = ppl.prior_predictive(normal, num_samples=N, seed=1)
    by_hand(monkeypatch)
    alone = ppl.prior_predictive(normal, num_samples=N, seed=2)
    assert differs(1.25 * at_once["mu"], alone["mu"])


@pytest.mark.parametrize("model", [normal, plates, positive, learned], ids=lambda f: f.__name__)
def test_the_model_runs_twice_and_not_for_every_draw(model):
    runs = []

    def counted():
        runs.append(1)
        model()

    ppl.prior_predictive(counted, num_samples=50)
    assert len(runs) == 2


def test_the_joint_is_drawn_and_not_the_margins():
    draws = ppl.prior_predictive(normal, num_samples=N, seed=3)
    assert np.corrcoef(draws["mu"], draws["z0"])[0, 1] == pytest.approx(2.0 / 5.0**0.5, abs=0.05)


def test_what_branches_on_a_draw_is_run_by_hand():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(3.0, 0.1) if z > 0 else dist.Normal(-3.0, 0.1))

    draws = ppl.prior_predictive(model, num_samples=200)
    np.testing.assert_array_equal(draws["y"] > 0, draws["z"] > 0)


def test_a_parameter_that_is_sometimes_wrong_is_an_error():
    def model():
        s = ppl.sample("s", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(0.0, s))

    with pytest.raises(ppl.errors.SupportError, match="scale"):
        ppl.prior_predictive(model, num_samples=100)


def linear(x, y=None):
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(0, 1))
    mean = ppl.deterministic("mean", a + b * x)
    ppl.sample("y", dist.Normal(mean, 0.3), obs=y)


def test_at_the_same_posterior_draws_what_is_certain_is_the_same(monkeypatch):
    fit = ppl.infer(linear, X, X + 0.2, progress=False)
    at_once = fit.predict(2.0 * X, num_samples=N, seed=4)
    by_hand(monkeypatch)
    alone = fit.predict(2.0 * X, num_samples=N, seed=4)
    np.testing.assert_allclose(at_once["mean"], alone["mean"], rtol=1e-13)
    assert not differs(at_once["y"], alone["y"])
    assert differs(at_once["y"] + 0.2, alone["y"])


def local(n, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", n):
        z = ppl.sample("z", dist.Normal(mu, 1.0))
        ppl.sample("y", dist.Normal(z, 0.2), obs=y)


def test_a_plate_of_another_size_is_drawn_anew(monkeypatch):
    fit = ppl.infer(local, 4, np.array([3.0, 2.0, 4.0, 3.0]), progress=False)
    at_once = fit.predict(6, num_samples=N, seed=4)
    by_hand(monkeypatch)
    alone = fit.predict(6, num_samples=N, seed=4)
    assert at_once.notes == alone.notes and "rows" in at_once.notes[0]
    assert at_once["y"].shape == alone["y"].shape == (N, 6)
    assert not differs(at_once["y"], alone["y"])


def test_randomness_of_the_models_own_is_drawn_anew():
    """A recorded model would repeat what np.random gave it once; such a model is run by hand."""
    own = np.random.default_rng(0)

    def model():
        shift = own.normal(size=3) * 5.0
        ppl.sample("y", dist.Normal(shift, 1.0).to_event(1))

    draws = ppl.prior_predictive(model, num_samples=400)["y"]
    # sd sqrt(26), estimated with a relative error of 1 / sqrt(2 * 1200).
    assert abs(draws.std() / 26**0.5 - 1) < 4 / (2 * 1200) ** 0.5


# -- corrected where the summaries are ---------------------------------------------------------------------
EFFECT = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERROR = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def eight_schools(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def test_predictions_are_corrected_where_the_summaries_are():
    fit = ppl.infer(eight_schools, ERROR, y=EFFECT, progress=False)
    assert fit.verdict.corrected
    few = np.full(3, 0.1)
    as_said, weighted, plain = (fit.predict(few, num_samples=8000, resample=r) for r in (None, True, False))
    assert as_said.resampled and weighted.resampled and not plain.resampled
    np.testing.assert_array_equal(as_said["y"], weighted["y"])
    # E|y - mu| = sqrt(2 / pi) E[tau] for new schools; 8000 draws of three schools know it to 2 %.
    spread = (2 / np.pi) ** 0.5 * fit["tau"].mean
    guides = (2 / np.pi) ** 0.5 * fit.sample(8000)["tau"].mean()
    found, uncorrected = (np.mean(np.abs(d["y"] - d["y"].mean(1, keepdims=True))) * 1.5**0.5 for d in (as_said, plain))
    assert found == pytest.approx(spread, rel=0.06) and uncorrected == pytest.approx(guides, rel=0.06)
    assert spread > 1.15 * guides  # the two can be told apart
    assert "theta" not in as_said and any("schools" in n for n in as_said.notes)


def test_draws_in_chunks_are_the_draws_at_once(monkeypatch):
    draws = importlib.import_module("ppl.fit.draws")
    fit = ppl.infer(linear, X, X + 0.2, algorithm=ppl.BBVI(steps=60), progress=False)
    whole = fit.sample(100)
    monkeypatch.setattr(draws, "WORK", 200)
    parts = fit.sample(100)
    for name, x in whole.items():
        np.testing.assert_allclose(parts[name], x, rtol=1e-13)
    assert fit.predict(num_samples=7)["y"].shape == (7, 5)
