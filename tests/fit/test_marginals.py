"""Quantiles of every kind of guide: increasing, of the right probability, and refused outside [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import transforms

FEW = ppl.BBVI(steps=100)
Q = np.linspace(0.0, 1.0, 41)
N = 20_000


def moved(base, *onto):
    return dist.TransformedDistribution(base, list(onto))


AFFINE = transforms.AffineTransform
PRIORS = {
    "normal": dist.Normal(0.0, 1.0),
    "bounded above": dist.TruncatedNormal(0.0, 1.0, high=1.0),
    "bounded below": dist.TruncatedNormal(0.0, 1.0, low=-0.5),
    "bounded": dist.TruncatedNormal(0.0, 1.0, low=-0.5, high=2.0),
    "falling": moved(dist.Normal(0.0, 1.0), AFFINE(1.0, -2.0)),
    "below zero": moved(dist.Exponential(1.0), AFFINE(0.0, -1.0)),
    "one side each": moved(dist.Normal(np.zeros(2), 1.0), AFFINE(0.0, np.array([2.0, -2.0]))).to_event(1),
    "sigmoid": moved(dist.Normal(0.0, 1.0), transforms.SigmoidTransform()),
    "falling sigmoid": moved(dist.Normal(0.0, 1.0), transforms.SigmoidTransform(), AFFINE(1.0, -1.0)),
    "gamma": dist.Gamma(2.0, 2.0),
    "beta": dist.Beta(2.0, 3.0),
    "uniform": dist.Uniform(-1.0, 3.0),
    "simplex": dist.Dirichlet(np.array([1.0, 2.0, 3.0])),
    "vector": dist.MultivariateNormal(np.zeros(2), np.eye(2)),
    "coin": dist.Bernoulli(0.3),
}
GUIDES = ("meanfield", "fullrank", "its prior")
PAIRS = [(p, g) for p in PRIORS for g in GUIDES if not (p == "coin" and g == "fullrank")]


def fitted(label, guide):
    prior = PRIORS[label]

    def model():
        z = ppl.sample("z", prior)
        ppl.sample("y", dist.Normal(np.sum(z), 1.0), obs=0.7)

    chosen = (lambda: ppl.sample("z", prior)) if guide == "its prior" else guide
    return ppl.infer(model, guide=chosen, algorithm=FEW, progress=False)


@pytest.mark.parametrize(("label", "guide"), PAIRS)
def test_quantiles_increase_and_have_their_probability(label, guide):
    fit = fitted(label, guide)
    marginal = fit["z"]
    inner = Q[1:-1]
    x = marginal.quantile(inner)
    assert x.shape == (len(inner), *np.shape(marginal.mean))
    assert np.all(np.isfinite(x)) and np.all(np.diff(x, axis=0) >= 0)
    if label != "coin":
        assert np.all(x[-1] > x[0])
        corrected = fit.verdict.corrected
        draws = fit.sample(N, seed=11, resample=corrected)["z"].astype(float)
        least = fit.ratios.smoothed.effective_draws if corrected else 4000
        for q, at in zip(inner, x, strict=True):
            # Both the draws and, for marginals from draws, the quantile have an error: of `least` draws or more.
            error = (q * (1 - q) * (1 / N + 1 / least)) ** 0.5
            assert np.all(np.abs(np.mean(draws <= at, axis=0) - q) < 4.5 * error), q
    np.testing.assert_array_equal(marginal.quantile(0.3), marginal.quantile([0.3])[0])


@pytest.mark.parametrize("label", ["bounded above", "falling", "sigmoid", "below zero", "bounded"])
def test_the_ends_are_in_order_too(label):
    low, middle, high = fitted(label, "meanfield")["z"].quantile([0.0, 0.5, 1.0])
    assert low <= middle <= high and not np.isnan(low) and not np.isnan(high)


@pytest.mark.parametrize("label", ["normal", "falling", "gamma", "simplex", "coin"])
@pytest.mark.parametrize("guide", ["meanfield", "its prior"])
def test_what_is_no_probability_is_refused(label, guide):
    marginal = fitted(label, guide)["z"]
    for q in (-0.1, 1.1, [0.5, 1.0001], np.nan):
        with pytest.raises(ppl.PPLError, match="probabilities"):
            marginal.quantile(q)
