"""Models of many sites named one by one: rolled up, they have the bound and the gradient of the plain program."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.algorithms import noise
from ppl.algorithms.coordinates import Coordinates
from ppl.array import compile_program
from ppl.elbo import Objective, choose, derive, objective, problem

Y = np.random.default_rng(3).normal(size=30)


def star(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for i, v in enumerate(y):
        z = ppl.sample(f"z{i}", dist.Normal(mu, 1.0))
        ppl.sample(f"y{i}", dist.Normal(z, 1.0), obs=v)


def chain(y):
    z = ppl.sample("z0", dist.Normal(0, 1))
    for i, v in enumerate(y):
        if i:
            z = ppl.sample(f"z{i}", dist.Normal(0.9 * z, 1.0))
        ppl.sample(f"y{i}", dist.StudentT(4.0, z, 1.0), obs=v)


def families(y):
    s = ppl.sample("s", dist.HalfNormal(1.0))
    for i, v in enumerate(y):
        z = ppl.sample(f"z{i}", dist.Gamma(2.0, s) if i % 2 else dist.HalfNormal(s))
        ppl.sample(f"y{i}", dist.Bernoulli(logits=z - 1.0), obs=float(v > 0))


def vectors(y):
    for i, v in enumerate(y):
        w = ppl.sample(f"w{i}", dist.Normal(np.zeros(3), 1.0).to_event(1))
        ppl.sample(f"y{i}", dist.Normal(np.sum(w), 1.0 + 0.1 * i), obs=v)


def finite(y):
    for i, v in enumerate(y):
        z = ppl.sample(f"z{i}", dist.Bernoulli(0.3), estimator="score")
        ppl.sample(f"y{i}", dist.Normal(2.0 * z, 1.0), obs=v)


def few_latent(y):
    w = ppl.sample("w", dist.Normal(np.zeros(2), 1.0).to_event(1))
    for i, v in enumerate(y):
        ppl.sample(f"y{i}", dist.Normal(w[0] + w[1] * i, 1.0), obs=v)


MODELS = [star, chain, families, vectors, few_latent]


def of(model, guide="meanfield", y=Y):
    d = derive(problem(model, (y,), {}), guide)
    return Objective(d, choose(d))


def at_a_point(o, particles, standardized):
    """Bound and gradient in coordinates, at a point away from the start."""
    d = o.derivation
    where = Coordinates.at(d, standardized=standardized)
    run = compile_program(o.gradient(particles, where.values, where.split(np.zeros(where.size))))
    eps = {n: e[0] for n, e in noise.draw(noise.generator(0, 0, noise.Stream.STEPS), d.factors, 1, particles).items()}
    x = 0.3 * np.random.default_rng(1).normal(size=where.size)
    return [run(x, *o.rest_of({}, eps)), o.evaluate(where.concrete(x), {}, eps, particles)]


@pytest.mark.parametrize("particles", [1, 6])
@pytest.mark.parametrize("standardized", [False, True], ids=["plain", "standardized"])
@pytest.mark.parametrize("guide", ["meanfield", "fullrank"])
@pytest.mark.parametrize("model", MODELS, ids=lambda f: f.__name__)
def test_rolled_and_plain_agree(model, guide, standardized, particles, monkeypatch):
    rolled = of(model, guide)
    assert rolled.rolls
    found = at_a_point(rolled, particles, standardized)
    monkeypatch.setattr(objective, "LONG", 10**9)
    plain = of(model, guide)
    assert not plain.rolls
    expected = at_a_point(plain, particles, standardized)
    for a, b in zip((*found[0], *found[1][:2]), (*expected[0], *expected[1][:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("particles", [1, 2, 6])
def test_score_weights_of_many_sites(particles, monkeypatch):
    rolled = of(finite)
    assert rolled.rolls and len(rolled.weights) == 30
    found = at_a_point(rolled, particles, True)
    monkeypatch.setattr(objective, "LONG", 10**9)
    expected = at_a_point(of(finite), particles, True)
    for a, b in zip((*found[0], *found[1][:2], *found[1][2]), (*expected[0], *expected[1][:2], *expected[1][2])):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [star, chain, families])
def test_a_step_costs_the_same_number_of_calls_however_many_sites(model):
    lengths = []
    for n in (40, 160):
        o = of(model, y=np.resize(Y, n))
        where = Coordinates.at(o.derivation)
        lengths.append(len(o.gradient(2, where.values, where.split(np.zeros(where.size))).steps))
    assert lengths[0] == lengths[1] < 200


def test_the_posterior_of_many_sites():
    """y_i ~ N(z_i, 1), z_i ~ N(mu, 1), mu ~ N(0, 1): the mean-field optimum has the exact means."""
    fit = ppl.infer(star, Y, guide="meanfield", progress=False)
    n = len(Y)
    mu = Y.sum() / 2.0 / (1.0 + n / 2.0)
    assert fit["mu"].mean == pytest.approx(mu, abs=0.02)
    for i in (0, n - 1):
        assert fit[f"z{i}"].mean == pytest.approx((mu + Y[i]) / 2.0, abs=0.06)
        assert fit[f"z{i}"].sd == pytest.approx(0.5**0.5, rel=0.1)


def reads_a_vector(y):
    z = ppl.sample("z", dist.Normal(np.zeros(len(y)), 1.0).to_event(1))
    for t in range(1, len(y)):
        ppl.factor(f"f{t}", -((z[t] - 0.9 * z[t - 1]) ** 2))


def reads_a_matrix(y):
    z = ppl.sample("z", dist.Normal(np.zeros((len(y), 2)), 1.0).to_event(2))
    for t in range(1, len(y)):
        ppl.factor(f"f{t}", -np.sum((z[t, :] - 0.9 * z[t - 1]) ** 2) * z[t : t + 1, 1][0])


@pytest.mark.parametrize("rolls", [True, False], ids=["rolled", "plain"])
@pytest.mark.parametrize("model", [reads_a_vector, reads_a_matrix])
def test_reading_rows_of_a_draw_costs_linear_work(model, rolls, monkeypatch):
    if not rolls:
        monkeypatch.setattr(objective, "LONG", 10**9)
    work = [of(model, y=np.zeros(n)).gradient(2).work / n for n in (50, 200, 800)]
    assert max(work[1:]) <= 1.5 * work[0]
