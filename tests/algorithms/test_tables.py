"""Parameters with a row for each element of a subsampled plate: only the rows in use are touched."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.algorithms.coordinates import Coordinates
from ppl.algorithms.tables import tables_at
from ppl.distributions import constraints
from ppl.elbo import Objective, choose, derive, problem
from ppl.optim import SGD, Adam

RNG = np.random.default_rng(0)
Y = RNG.normal(1.0, 1.0, 60)
ADAM = Adam(0.1)


def rows(y, size=10, init=0.0):
    """Every row has a location of its own, learned as a point: its optimum is y / 2."""
    with ppl.plate("rows", len(y), subsample_size=size) as i:
        m = ppl.param("m", init)
        ppl.sample("prior", dist.Normal(m, 1.0), obs=0.0)
        ppl.sample("y", dist.Normal(m, 1.0), obs=y[i])


def local(y, size=10):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    with ppl.plate("rows", len(y), subsample_size=size) as i:
        z = ppl.sample("z", dist.Normal(mu, 1.0))
        ppl.sample("y", dist.Normal(z, 0.5), obs=y[i])


def prepared(model, *args, optimizer=ADAM, guide="meanfield"):
    d = derive(problem(model, args, {}), guide)
    where = Coordinates.at(d, tables=True)
    return d, where, tables_at(where, d, optimizer)


# -- one table -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", [Adam(0.1), SGD(0.1)], ids=["Adam", "SGD"])
def test_a_row_steps_as_if_it_were_alone(optimizer):
    """Each row's path is that of an optimizer of its own, which counts its own steps."""
    _, _, tables = prepared(rows, Y, optimizer=optimizer)
    table, rng = tables["m"], np.random.default_rng(1)
    alone = {k: (np.zeros(1), optimizer.init(np.zeros(1)), 0) for k in range(60)}
    for _ in range(25):
        used = rng.choice(60, 10, replace=False)
        g = rng.normal(size=10)
        table.update(optimizer, g, {"rows": used}, 0.1)
        for k, slope in zip(used, g, strict=True):
            x, state, visits = alone[k]
            rate = 0.1 * (1.0 + 9.0 / (visits + 1) ** 0.5)
            x, state = optimizer.update(np.array([slope / 6.0]), state, x, rate)
            alone[k] = x, state, visits + 1
    np.testing.assert_allclose(table.x, [alone[k][0][0] for k in range(60)], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(table.visits, [alone[k][2] for k in range(60)])
    # The control: the same gradients, with one count and one decay for all rows.
    shared, state, rng = np.zeros(60), optimizer.init(np.zeros(60)), np.random.default_rng(1)
    for _ in range(25):
        full = np.zeros(60)
        full[rng.choice(60, 10, replace=False)] = rng.normal(size=10) / 6.0
        shared, state = optimizer.update(full, state, shared, 0.1)
    assert np.abs(table.x - shared).max() > 0.01


def test_rows_that_are_not_in_use_are_not_touched():
    _, _, tables = prepared(rows, Y)
    table = tables["m"]
    table.update(Adam(), np.ones(3), {"rows": np.array([4, 7, 50])}, 0.1)
    rest = np.setdiff1d(np.arange(60), [4, 7, 50])
    for array in (table.x, *table.optimizer, table.average, table.visits):
        assert not array[rest].any() and array[[4, 7, 50]].all()


def test_the_average_is_of_the_later_iterates():
    """Weights of iterates 1, 2, ... t grow like their third power, and rows that nobody saw keep their start."""
    _, where, _ = prepared(rows, Y)
    optimizer = SGD(1.0)
    d = derive(problem(rows, (Y,), {}), "meanfield")
    table = tables_at(where, d, optimizer, {"m": np.full(60, 5.0)})["m"]
    path = []
    for _ in range(30):
        table.update(optimizer, RNG.normal(size=1), {"rows": np.array([3])}, 1.0)
        path.append(table.x[3])
    weights = np.array(
        [np.prod([(s - 1) / (s + 3.0) for s in range(k + 1, 31)]) * 4.0 / (k + 3.0) for k in range(1, 31)]
    )
    assert weights.sum() == pytest.approx(1.0) and np.all(np.diff(weights) > 0)
    assert table.mean[3] == pytest.approx(weights @ path)
    assert np.all(table.mean[np.arange(60) != 3] == 5.0)


# -- programs --------------------------------------------------------------------------------------------
def test_the_step_program_does_not_grow_with_the_rows():
    work = {}
    for n in (100, 100_000):
        d, where, _ = prepared(local, np.zeros(n))
        assert all(d.program.inputs[d.parameter_inputs[p]].shape == (10,) for p in ("z.loc", "z.scale"))
        assert where.size == 2 and where.tables == ("z.loc", "z.scale")
        work[n] = Objective(d, choose(d)).gradient(4).work
    assert work[100] == work[100_000]


def test_the_gradient_of_a_minibatch_stands_in_its_rows():
    """Over all minibatches of one row the mean of `ppl.gradient`'s rows is the gradient of the full data."""
    y = Y[:4]
    at = {"m": np.array([0.1, 0.2, -0.3, 0.4])}
    d = derive(problem(rows, (y, 2), {}), "meanfield", starts=at)
    objective = Objective(d, choose(d))
    pairs = [np.array(p) for p in ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))]
    grads = [objective.contributions(at, {"rows": p}, {}, [], 1)[0][0] for p in pairs]
    np.testing.assert_allclose(np.mean(grads, 0), y - 2 * at["m"])
    for p, g in zip(pairs, grads, strict=True):
        assert not g[np.setdiff1d(np.arange(4), p)].any()
    record = ppl.gradient(rows, y, 2, params=at, particles=4000)
    error = np.sqrt(record.variance["m"] / 4000)
    assert record.grad["m"].shape == (4,)
    assert np.all(np.abs(record.grad["m"] - (y - 2 * at["m"])) < 4 * error)


# -- fits ------------------------------------------------------------------------------------------------
def test_a_learned_value_for_every_row():
    fit = ppl.infer(rows, Y, progress=False)
    assert fit.params["m"].shape == (60,)
    np.testing.assert_allclose(fit.params["m"], Y / 2, atol=0.02)


def test_starting_values_by_row():
    seen = []

    def init(rng, indices):
        seen.append(indices)
        return 100.0 + indices

    d = derive(problem(rows, (Y,), {"init": init}), "meanfield")
    np.testing.assert_array_equal(d.parameters["m"].init, 100.0 + np.arange(60))
    np.testing.assert_array_equal(seen[0], np.arange(60))


def test_local_posteriors_of_more_rows_than_a_start_looks_at():
    n = 12_000
    rng = np.random.default_rng(3)
    y = 2.0 + rng.normal(size=n) * 1.25**0.5
    fit = ppl.infer(local, y, 1000, guide="meanfield", progress=False, algorithm=ppl.BBVI(steps=2000))
    mean, sd = (y / 0.25 + fit.params["mu.loc"]) / 5.0, 0.2**0.5
    off = (fit.params["z.loc"] - mean) / sd
    assert np.sqrt(np.mean(off**2)) < 0.05
    np.testing.assert_allclose(np.median(fit.params["z.scale"]), sd, rtol=0.05)
    assert fit["z"].mean.shape == (n,)


def test_two_subsampled_plates():
    y, two = RNG.normal(size=(12, 8)), np.full((12, 8, 2), 2.0)

    def model(y, two):
        with ppl.plate("columns", 8, subsample_size=4) as j, ppl.plate("rows", 12, subsample_size=6) as i:
            m = ppl.param("m", 0.0)
            cell = ppl.param("s", np.ones((12, 8, 2)), constraints.positive, event_dim=1)
            ppl.sample("prior", dist.Normal(m, 1.0), obs=0.0)
            ppl.sample("y", dist.Normal(m, 1.0), obs=y[i][:, j])
            ppl.sample("size", dist.Normal(cell, 1.0).to_event(1), obs=two[i][:, j])

    fit = ppl.infer(model, y, two, progress=False)
    np.testing.assert_allclose(fit.params["m"], y / 2, atol=0.03)
    np.testing.assert_allclose(fit.params["s"], 2.0, atol=0.1)


def test_rows_on_a_simplex():
    counts = RNG.multinomial(200, [0.2, 0.3, 0.5], size=30)

    def model(counts):
        with ppl.plate("rows", 30, subsample_size=10) as i:
            p = ppl.param("p", np.full(3, 1 / 3), constraints.simplex)
            ppl.factor("n", np.sum(counts[i] * np.log(p), -1))

    fit = ppl.infer(model, counts, progress=False)
    assert fit.params["p"].shape == (30, 3)
    np.testing.assert_allclose(fit.params["p"].sum(-1), 1.0)
    np.testing.assert_allclose(fit.params["p"], counts / 200, atol=0.02)


def test_the_same_seed_gives_the_same_rows():
    fits = [ppl.infer(local, Y, seed=s, progress=False, algorithm=ppl.BBVI(steps=120)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0].params["z.loc"], fits[1].params["z.loc"])
    assert np.any(fits[0].params["z.loc"] != fits[2].params["z.loc"])


def test_float32_rows():
    y = Y.astype(np.float32)
    d, _, _ = prepared(local, y)
    assert d.program.dtype == np.float32
    fit = ppl.infer(local, y, guide="meanfield", progress=False)
    np.testing.assert_allclose(fit["z"].mean, (y / 0.25 + fit.params["mu.loc"]) / 5.0, atol=0.05)


def test_an_optimizer_whose_state_is_an_array():
    class Momentum:
        step_size = 0.05

        def init(self, x):
            return np.zeros_like(x)

        def update(self, g, state, x, rate=None):
            state = 0.9 * state - (self.step_size if rate is None else rate) * g
            return x + state, state

    fit = ppl.infer(rows, Y, progress=False, algorithm=ppl.BBVI(optimizer=Momentum(), steps=3000))
    np.testing.assert_allclose(fit.params["m"], Y / 2, atol=0.1)
