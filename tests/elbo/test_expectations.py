"""Expectations of linear and quadratic terms over Gaussian draws: exact, and only where they are."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

X = np.array([[1.0, 0.5], [0.2, -1.0], [1.5, 0.3], [-0.7, 0.8]])
Y = np.array([0.5, -1.0, 2.0, 0.3])


def same(model, guide="meanfield", at=None, exact=("z",), draws=200_000, constant=True):
    """The exact record against sampling; where all is exact there is no variance."""
    wanted = dict.fromkeys(exact, "exact")
    record = ppl.gradient(model, guide=guide, params=at, estimators=wanted, particles=4)
    if not constant:
        record = ppl.gradient(model, guide=guide, params=at, estimators=wanted, particles=draws)
    sampled = dict.fromkeys(exact, "pathwise")
    plain = ppl.gradient(model, guide=guide, params=at, estimators=sampled, particles=draws)
    for name, g in plain.grad.items():
        error = np.sqrt((plain.variance[name] + (0 if constant else record.variance[name])) / draws)
        assert np.all(np.abs(record.grad[name] - g) <= 4.5 * error + 1e-9), name
        if constant:
            assert np.all(record.variance[name] == 0), name
    assert all(record.estimators[n][0] == "exact" for n in exact if n != "_joint")
    return record, plain


def regression(x=X):
    w = ppl.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    ppl.sample("y", dist.Normal(x @ w, 0.7).to_event(1), obs=Y)


def hierarchy():
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", 4):
        theta = ppl.sample("theta", dist.Normal(mu, 1.5))
        ppl.sample("y", dist.Normal(2 * theta - 1, 0.7), obs=Y)


def test_against_the_formula():
    def model():
        z = ppl.sample(
            "z",
            dist.StudentT(3.0, 0, 1),
            guide=dist.Normal(ppl.param("m", 0.3), ppl.param("s", 0.6, constraints.positive)),
        )
        ppl.factor("f", 1.5 * z**2 - 2.0 * z + 0.7)

    record = ppl.gradient(model, estimators={"z": "pathwise"}, particles=4)
    assert record.estimators["z"][0] == "pathwise"

    def quadratic():
        z = ppl.sample("z", dist.Normal(0.5, 2))
        ppl.factor("f", 1.5 * z**2 - 2.0 * z + 0.7)

    m, s = 0.3, 0.6
    at = {"z.loc": m, "z.scale": s}
    record, _ = same(quadratic, at=at)
    kl = 0.5 * (s**2 + (m - 0.5) ** 2) / 4 - np.log(s / 2) - 0.5
    assert record.elbo == pytest.approx(1.5 * (m**2 + s**2) - 2 * m + 0.7 - kl, abs=1e-12)
    assert record.grad["z.loc"] == pytest.approx(3 * m - 2 - (m - 0.5) / 4, abs=1e-12)
    assert record.grad["z.scale"] == pytest.approx(3 * s - s / 4 + 1 / s, abs=1e-12)


@pytest.mark.parametrize("guide", ["meanfield", "fullrank", "lowrank"])
def test_gaussian_models_are_exact(guide):
    exact = ("w",) if guide == "meanfield" else ("_joint",)
    same(regression, guide, exact=exact, draws=50_000)
    exact = ("mu", "theta") if guide == "meanfield" else ("_joint",)
    record, plain = same(hierarchy, guide, exact=exact, draws=50_000)
    assert record.elbo == pytest.approx(plain.elbo, abs=0.05)


def test_a_chain_of_linear_gaussian_factors():
    def model():
        a = ppl.sample("a", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Normal(a, 1))
        ppl.sample("x", dist.Normal(b, 1), obs=3.0)

    def guide():
        b = ppl.sample("b", dist.Normal(ppl.param("loc", 0.3), ppl.param("scale", 0.7, constraints.positive)))
        ppl.sample("a", dist.Normal(ppl.param("m", 0.4) * b, 0.6))

    same(model, guide, exact=("a", "b"))


def test_the_others_stay_sampled():
    """A scale that is drawn, and a switch: terms are quadratic in z given these."""

    def model():
        tau = ppl.sample("tau", dist.LogNormal(0, 0.5))
        b = ppl.sample("b", dist.Bernoulli(0.4), estimator="score")
        with ppl.plate("rows", 4):
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(tau * z + 2 * b, 0.7), obs=Y)

    at = {"z.loc": np.array([0.3, -0.5, 1.0, 0.1]), "z.scale": np.full(4, 0.6)}
    record, plain = same(model, at=at, constant=False, draws=100_000)
    assert record.estimators["tau"][0] == "pathwise" and record.estimators["b"][0] == "score"
    for name in ("z.loc", "z.scale", "tau.loc", "b.probs"):
        assert np.all(record.variance[name] < 0.9 * plain.variance[name]), name


@pytest.mark.parametrize(
    "f",
    [lambda z: np.exp(z), lambda z: z**3, lambda z: np.where(z > 0, z, 0.5 * z), lambda z: np.abs(z), lambda z: 1 / z],
    ids=["exp", "cube", "where", "abs", "reciprocal"],
)
def test_other_terms_are_refused(f):
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.factor("f", -f(z))

    with pytest.raises(ppl.GuideError, match="linear or quadratic"):
        ppl.gradient(model, guide="meanfield", estimators={"z": "exact"})


def test_a_draw_that_another_one_follows_is_not_taken_out():
    """b is drawn given z, and is no Gaussian: z given b is none either."""

    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Bernoulli(0.4))
        ppl.factor("f", b * z)

    def guide():
        z = ppl.sample("z", dist.Normal(ppl.param("m", 0.1), 1))
        ppl.sample("b", dist.Bernoulli(logits=z))

    with pytest.raises(ppl.GuideError, match="linear or quadratic"):
        ppl.gradient(model, guide=guide, estimators={"z": "exact"})


def test_a_fit_of_exact_terms_has_no_error():
    def model(y):
        z = ppl.sample("z", dist.Normal(0, 1), estimator="exact")
        ppl.sample("y", dist.Normal(z, 1), obs=y)

    fit = ppl.infer(model, 2.0, guide="meanfield", algorithm="bbvi", progress=False)
    assert fit.elbo_se == 0 and fit["z"].mean == pytest.approx(1.0, abs=0.03)
    assert fit.elbo == pytest.approx(-0.5 * np.log(4 * np.pi) - 1.0, abs=1e-3)
    assert "exact in z" in fit.explain() and "linear or quadratic" in fit.explain()


def test_what_costs_little_is_exact_unasked():
    """A prior over the joint draw of a full-rank guide beside a likelihood of many rows, which is not Gaussian."""

    def model(x, y):
        w = ppl.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
        with ppl.plate("rows", len(x)):
            ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 3)), rng.integers(0, 2, 500)
    fit = ppl.infer(model, x, y, guide="fullrank", progress=False)
    assert "exact in _joint" in fit.explain()
    # Of a few rows the prior is a large part, and is drawn.
    fit = ppl.infer(model, x[:1], y[:1], guide="fullrank", progress=False)
    assert "exact in _joint" not in fit.explain()
