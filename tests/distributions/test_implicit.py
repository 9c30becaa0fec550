"""Guides whose draws move with their shapes: pathwise gradients, and posteriors in closed form."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

COUNTS = np.random.default_rng(0).poisson(3.2, 20)
FLIPS = np.random.default_rng(1).random(30) < 0.3


def positive(name, start=2.0):
    return ppl.param(name, start, constraint=constraints.positive)


def rate(y):
    r = ppl.sample("r", dist.Gamma(2.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(r), obs=y)


def chance(y):
    p = ppl.sample("p", dist.Beta(1.5, 2.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(p), obs=y * 1)


def test_a_gamma_guide_finds_the_posterior():
    """Gamma(2 + sum y, 1 + n); the guide's moments, to the error of stochastic steps."""
    fit = ppl.infer(rate, COUNTS, guide=lambda y: ppl.sample("r", dist.Gamma(positive("a"), positive("b"))))
    assert "pathwise in r" in fit.explain() and "score" not in str(fit.explain())
    exact = dist.Gamma(2.0 + COUNTS.sum(), 1.0 + len(COUNTS))
    assert float(fit["r"].mean) == pytest.approx(float(exact.mean), rel=0.01)
    assert float(fit["r"].sd) == pytest.approx(float(np.sqrt(exact.variance)), rel=0.1)


def test_a_beta_guide_finds_the_posterior():
    fit = ppl.infer(chance, FLIPS, guide=lambda y: ppl.sample("p", dist.Beta(positive("a"), positive("b"))))
    assert "pathwise in p" in fit.explain() and "score" not in str(fit.explain())
    exact = dist.Beta(1.5 + FLIPS.sum(), 2.0 + np.sum(~FLIPS))
    assert float(fit["p"].mean) == pytest.approx(float(exact.mean), rel=0.02)
    assert float(fit["p"].sd) == pytest.approx(float(np.sqrt(exact.variance)), rel=0.1)


def angle(y):
    z = ppl.sample("z", dist.VonMises(0.4, 1.5))
    ppl.sample("y", dist.VonMises(z, 3.0), obs=y)


def test_a_von_mises_guide_finds_the_posterior():
    """Two von Mises densities multiply to one: their vectors add up."""
    fit = ppl.infer(angle, 2.1, guide=lambda y: ppl.sample("z", dist.VonMises(ppl.param("m", 0.1), positive("k", 1.0))))
    assert "pathwise in z" in fit.explain() and "score" not in str(fit.explain())
    vector = 1.5 * np.exp(0.4j) + 3.0 * np.exp(2.1j)
    assert float(fit.params["m"]) == pytest.approx(np.angle(vector), abs=0.05)
    assert float(fit.params["k"]) == pytest.approx(abs(vector), rel=0.15)
