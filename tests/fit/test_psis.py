"""Pareto smoothing: against ArviZ where it is installed, against known tails everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from ppl.fit.psis import generalized_pareto, pareto_quantile, smooth

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "wide": lambda rng, n: 3.0 * rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_t(3, n),
    "bounded": lambda rng, n: -rng.exponential(size=n),
    "exponential": lambda rng, n: 0.7 * rng.exponential(size=n),
    "far away": lambda rng, n: 1000.0 + rng.normal(size=n),
    "with zeros": lambda rng, n: np.where(rng.random(n) < 0.3, -np.inf, rng.normal(size=n)),
}


@pytest.mark.parametrize("size", [30, 100, 1000, 4000])
@pytest.mark.parametrize("name", SHAPES)
def test_it_is_arvizs(name, size):
    arviz = pytest.importorskip("arviz")
    x = SHAPES[name](np.random.default_rng(size), size)
    with np.errstate(all="ignore"):
        weights, k_hat = arviz.psislw(x.copy())
    found = smooth(x)
    assert found.k_hat == pytest.approx(float(k_hat), rel=1e-10)
    np.testing.assert_allclose(np.exp(found.log_weights), np.exp(weights), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [-0.3, 0.0, 0.2, 0.6, 1.1])
def test_the_shape_of_a_known_tail(k):
    excess = np.sort(stats.genpareto(k, scale=2.5).rvs(4000, random_state=1))
    found, scale = generalized_pareto(excess)
    # The asymptotic sd of the shape is (1 + k) / sqrt(n), for k above -1/2.
    assert abs(found - k) < 4 * (1 + k) / 4000**0.5
    assert scale == pytest.approx(2.5, rel=0.15)
    p = np.array([0.1, 0.5, 0.999])
    np.testing.assert_allclose(pareto_quantile(p, k, 2.5), stats.genpareto(k, scale=2.5).ppf(p))


def test_k_hat_of_a_normal_target_and_a_narrower_normal():
    """The ratio N(0, 1) / N(0, s) has tail index 1 - s^2; a wider guide has none."""
    rng = np.random.default_rng(0)
    for s, wanted in ((0.8, 0.36), (0.5, 0.75), (1.3, None)):
        x = s * rng.standard_normal(40_000)
        k_hat = smooth(stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=s)).k_hat
        if wanted is None:
            assert k_hat < 0.1
        else:
            assert k_hat == pytest.approx(wanted, abs=0.15)


def test_smoothing_helps_an_average():
    """Root mean square error of a second moment over 200 repetitions, smoothed and not."""
    errors = {"plain": [], "smoothed": []}
    for seed in range(200):
        x = 0.6 * np.random.default_rng(seed).standard_normal(1000)
        log_ratios = stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=0.6)
        plain = np.exp(log_ratios - special.logsumexp(log_ratios))
        errors["plain"].append(plain @ x**2 - 1.0)
        errors["smoothed"].append(np.exp(smooth(log_ratios).log_weights) @ x**2 - 1.0)
    rms = {n: np.sqrt(np.mean(np.square(e))) for n, e in errors.items()}
    assert rms["smoothed"] < rms["plain"]


def test_corners():
    equal = smooth(np.full(1000, -3.0))
    assert equal.k_hat == -np.inf and equal.effective_draws == pytest.approx(1000)
    assert smooth(np.full(100, -np.inf)).k_hat == np.inf
    assert smooth(np.array([np.nan, 0.0] * 50)).k_hat in (np.inf, -np.inf)
    one = smooth(np.r_[np.zeros(999), 500.0])
    assert one.effective_draws == pytest.approx(1.0) and one.k_hat > 0.7
