"""Every row of the registry in a model: its bound is the same numbers by every executor, and those of plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl.elbo import EagerObjective, Objective, choose, derive, problem

from .registry import ALL_ROWS, Row

PARTICLES = 3
DRAWN = [row for row in ALL_ROWS if row.d.has("sample") and 0 not in row.d.shape()]


def observed(row: Row):
    """A model whose observation is the row's, with recorded parameters that stay at the row's numbers."""
    leaves, rebuild = row.d.tree_flatten()
    y = row.d.sample(5)

    def model(y):
        z = ppl.sample("z", dist.Normal(0.3, 1.2))
        one = np.exp(0.0 * z)
        d = rebuild([leaf * one if np.asarray(leaf).dtype.kind == "f" else leaf for leaf in leaves])
        ppl.sample("y", d.to_event(), obs=y)

    return model, y


def by_all_executors(model, *args):
    """The bounds of each particle: batched, compiled, interpreted, eager. The derivation, its terms and the bounds."""
    p = problem(model, args, {})
    d = derive(p, "meanfield")
    values, rng = {n: x.init for n, x in d.parameters.items()}, np.random.default_rng(3)
    noise = {f.name: rng.standard_normal((PARTICLES, *f.noise_shape)) for f in d.factors}
    objective = Objective(d, choose(d))
    with np.errstate(all="ignore"):
        batched, terms, _ = objective.evaluate(values, {}, noise, PARTICLES)
        compiled, found = A.compile_program(objective.values), []
        for k in range(PARTICLES):
            inputs = d.inputs(values, {}, {n: e[k] for n, e in noise.items()})
            found.append((compiled(*inputs)[:2], A.run(objective.values, *inputs)[:2]))
        eager, _ = EagerObjective(p, "meanfield", values).contributions(values, {}, noise, PARTICLES)
    for k, ((bound, parts), (again, parts_again)) in enumerate(found):
        np.testing.assert_allclose([bound, again, eager[k]], batched[k], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(parts, parts_again, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(terms[k], parts, rtol=1e-9, atol=1e-9)
    return d, terms, batched


@pytest.mark.parametrize("row", DRAWN, ids=str)
def test_an_observation_counts_the_same_by_every_executor(row: Row):
    model, y = observed(row)
    d, terms, _ = by_all_executors(model, y)
    expected = np.sum(row.d.log_prob(y))
    at = [i for i, term in enumerate(d.terms) if term.site == "y"]
    assert len(at) == 1
    np.testing.assert_allclose(terms[:, at[0]], expected, rtol=1e-9, atol=1e-9)


# No density on the reals, or no bijection from there onto a union of supports.
NO_LATENT = {"Delta-0", "MixtureGeneral-continuous", "MixtureSameFamily-apart"}
LATENT = [row for row in DRAWN if not row.d.is_discrete and row.scalar and row.label not in NO_LATENT]


@pytest.mark.parametrize("row", LATENT, ids=str)
def test_a_latent_site_counts_the_same_by_every_executor(row: Row):
    def model(y):
        x = ppl.sample("x", row.d)
        ppl.sample("y", dist.Normal(np.tanh(x), 0.7), obs=y)

    _, _, bounds = by_all_executors(model, 0.4)
    assert np.all(np.isfinite(bounds))


# -- latent sites without a density on the reals --------------------------------------------------------------

DATA = np.array([2.0, 3.1, 2.6])
FINITE = [
    dist.DiscreteUniform(0, 5),
    dist.Binomial(5, 0.4),
    dist.BetaBinomial(2.0, 3.0, 5),
    dist.ZeroInflatedDistribution(dist.Binomial(5, 0.4), gate=0.2),
    dist.DiscreteUniform(np.array([0, 1, 3]), np.array([5, 6, 7])),
    dist.Binomial(np.array([5, 0, 7]), 0.4),
    dist.BetaBinomial(2.0, 3.0, np.array([2.0, 0.0, 7.0])),
]


@pytest.mark.parametrize("prior", FINITE, ids=lambda d: f"{type(d).__name__}-{d.batch_shape}")
def test_finite_latent_sites_are_summed_out_exactly(prior):
    """One site, or one of each row with a support of its own, against the sum over all states by NumPy."""

    def model(y):
        with ppl.plate("rows", 3):
            z = ppl.sample("z", prior)
            ppl.sample("y", dist.Normal(1.0 * z, 1.0), obs=y)

    states = np.arange(8)[:, None]
    log_joint = prior.log_prob(states) + dist.Normal(states, 1.0).log_prob(DATA)
    weights = np.exp(log_joint)
    fit = ppl.infer(model, DATA, progress=False)
    np.testing.assert_allclose(fit.elbo, np.sum(np.log(np.sum(weights, 0))), rtol=1e-10)
    mean = np.sum(states * weights, 0) / np.sum(weights, 0)
    draws = fit.sample(4000, seed=1)["z"]
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.1)
    assert np.all(np.isfinite(prior.log_prob(draws)))


def test_a_latent_site_without_a_choice_is_a_named_value():
    """Delta at a number and at a draw, under a mask, as a vector; its log density counts once. And Unit."""

    def model(y):
        w = ppl.sample("w", dist.Normal(0.0, 1.0))
        z = ppl.sample("z", dist.Delta(w + 1.0, log_density=-0.25 * w * w))
        v = ppl.sample("v", dist.Delta(np.array([1.0, 2.0]), event_dim=1))
        with ppl.plate("two", 2):
            u = ppl.sample("u", dist.Delta(0.5, 0.3).mask(np.array([True, False])))
        ppl.sample("more", dist.Unit(-0.25 * w * w))
        ppl.sample("y", dist.Normal(z + v[0] + u[0] + u[1], 1.0).expand([3]).to_event(1), obs=y)

    # A normal prior of precision 1, two times -w^2 / 4, and three normal observations of w + 3.
    precision, mean = 5.0, np.sum(DATA - 3.0) / 5.0
    evidence = (
        dist.Normal(3.0, 1.0).log_prob(DATA).sum() + 0.3 + 0.5 * np.sum(DATA - 3.0) * mean - 0.5 * np.log(precision)
    )
    fit = ppl.infer(model, DATA, progress=False)
    assert float(fit["w"].mean) == pytest.approx(mean, abs=1e-3)
    assert float(fit["w"].sd) == pytest.approx(precision**-0.5, rel=0.02)
    assert float(fit.elbo) == pytest.approx(evidence, abs=4 * float(fit.elbo_se) + 1e-3)
    assert float(fit["z"].mean) == pytest.approx(mean + 1.0, abs=1e-3)
    draws = fit.sample(3)
    np.testing.assert_array_equal(draws["z"], draws["w"] + 1.0)
    np.testing.assert_array_equal(draws["v"], [[1.0, 2.0]] * 3)
    assert fit.predict(num_samples=2)["y"].shape == (2, 3)
    assert ppl.prior_predictive(model, DATA, num_samples=2)["z"].shape == (2,)
