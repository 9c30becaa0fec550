"""Every call records anew: other arguments, other data captured, other branches never meet an old program."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

RNG = np.random.default_rng(0)
Y = RNG.normal(size=8)
AT = {"mu": np.array([0.3, -0.5, 1.2]), "sd": 0.8}


def normal_slope(mean_index, y, at=AT, size=3):
    """d log p / d mu and d sd of y ~ Normal(mu[index], sd), by hand."""
    mean_index = np.asarray(mean_index)
    gap = y - at["mu"][mean_index]
    mu = np.zeros(size)
    np.add.at(mu, mean_index, gap / at["sd"] ** 2)
    return {"mu": mu, "sd": np.sum(gap**2 / at["sd"] ** 3 - 1 / at["sd"])}


def check(model, *args, expected, at=AT, **kwargs):
    record = ppl.gradient(model, *args, guide="meanfield", params=at, particles=2, **kwargs)
    for name, g in expected.items():
        np.testing.assert_allclose(record.grad[name], g, rtol=1e-10, atol=1e-12, err_msg=name)


def parameters():
    ppl.sample("unused", dist.Normal(0.0, 1.0))
    return ppl.param("mu", np.zeros(3)), ppl.param("sd", 1.0, constraints.positive)


def by_county(county, y):
    mu, sd = parameters()
    ppl.sample("y", dist.Normal(mu[county], sd).to_event(1), obs=y)


def test_another_county_array_is_another_program():
    for county in (np.zeros(8, int), np.arange(8) % 3, np.arange(8)[::-1] % 3, np.full(8, 2), np.full(8, -1)):
        check(by_county, county, Y, expected=normal_slope(county, Y))


def test_another_length_and_another_type():
    for n in (8, 3, 1):
        county = np.arange(n) % 3
        check(by_county, county, Y[:n], expected=normal_slope(county, Y[:n]))
        check(by_county, county.astype(np.int8), Y[:n], expected=normal_slope(county, Y[:n]))
    check(by_county, np.array([0]), np.array([1.0]), expected=normal_slope([0], np.array([1.0])))


@pytest.mark.parametrize("size", [8, 100_000], ids=["small", "large"])
def test_an_argument_changed_in_place_between_calls(size):
    county, y = np.zeros(size, int), RNG.normal(size=size)
    check(by_county, county, y, expected=normal_slope(county, y))
    county[:] = 2
    y *= 3.0
    check(by_county, county, y, expected=normal_slope(county, y))


@pytest.mark.parametrize("size", [8, 100_000], ids=["small", "large"])
def test_captured_data_changed_between_calls(size):
    county, y = np.zeros(size, int), RNG.normal(size=size)

    def model():
        mu, sd = parameters()
        ppl.sample("y", dist.Normal(mu[county], sd).to_event(1), obs=y)

    check(model, expected=normal_slope(county, y))
    county[:] = np.arange(size) % 3
    y += 1.0
    check(model, expected=normal_slope(county, y))


def test_captured_names_bound_anew_between_calls():
    county = np.zeros(8, int)

    def model(y):
        mu, sd = parameters()
        ppl.sample("y", dist.Normal(mu[county], sd).to_event(1), obs=y)

    check(model, Y, expected=normal_slope(county, Y))
    county = np.arange(8) % 3
    check(model, Y, expected=normal_slope(county, Y))
    box = SimpleNamespace(shift=0.0)

    def shifted(y):
        mu, sd = parameters()
        ppl.sample("y", dist.Normal(mu[county] + box.shift, sd).to_event(1), obs=y)

    for box.shift in (0.0, 1.5):
        check(shifted, Y, expected=normal_slope(county, Y - box.shift))


@pytest.mark.parametrize(
    "size",
    [8, 100_000],
    ids=["small", "large"],
)
def test_an_array_changed_inside_a_model(size):
    """A buffer that is written again between two sites keeps, for each site, what it was then."""
    y = RNG.normal(size=size)

    def model(y):
        mu, sd = parameters()
        index = np.zeros(size, int)
        ppl.sample("a", dist.Normal(mu[index], sd).to_event(1), obs=y)
        index[:] = 2
        ppl.sample("b", dist.Normal(mu[index], sd).to_event(1), obs=y)

    first, second = (normal_slope(np.full(size, k), y) for k in (0, 2))
    check(model, y, expected={n: first[n] + second[n] for n in first})


@pytest.mark.parametrize("size", [8, 100_000], ids=["small", "large"])
def test_an_observation_buffer_changed_inside_a_model(size):
    def model():
        mu, sd = parameters()
        buffer = np.zeros(size)
        ppl.sample("a", dist.Normal(mu[0], sd).expand([size]).to_event(1), obs=buffer)
        buffer[:] = 2.0
        ppl.sample("b", dist.Normal(mu[1], sd).expand([size]).to_event(1), obs=buffer)

    first = normal_slope(np.zeros(size, int), np.zeros(size))
    second = normal_slope(np.ones(size, int), np.full(size, 2.0))
    check(model, expected={n: first[n] + second[n] for n in first})


def test_an_argument_changed_in_place_by_the_model():
    """Arguments are the user's: a model changes a copy, and a site keeps what it saw."""

    def careless(y):
        y -= 1.0

    with pytest.raises(ppl.ModelError, match=r"y\.copy\(\)"):
        ppl.infer(careless, Y.copy())

    def model(y):
        y = y.copy()
        mu, sd = parameters()
        ppl.sample("a", dist.Normal(mu[0], sd).expand([8]).to_event(1), obs=y)
        y -= 1.0
        ppl.sample("b", dist.Normal(mu[1], sd).expand([8]).to_event(1), obs=y)
        y += 1.0

    y = Y.copy()
    first, second = normal_slope(np.zeros(8, int), Y), normal_slope(np.ones(8, int), Y - 1.0)
    check(model, y, expected={n: first[n] + second[n] for n in first})
    np.testing.assert_allclose(y, Y)


def test_a_buffer_of_distribution_parameters_changed_inside_a_model():
    def model(y):
        mu, sd = parameters()
        shift = np.zeros(8)
        first = dist.Normal(mu[0], sd * np.exp(shift))
        ppl.sample("a", first.to_event(1), obs=y)
        ppl.sample("b", dist.Normal(shift, mu[2]).to_event(1), obs=y)
        shift[:] = 1.0

    first = normal_slope(np.zeros(8, int), Y)
    first["mu"][2] = np.sum(Y**2 / AT["mu"][2] ** 3 - 1 / AT["mu"][2])
    check(model, Y, expected=first)


def test_another_branch_on_an_argument():
    def model(y, robust, order):
        mu, sd = parameters()
        level = mu[0] if robust else mu[2]
        for _ in range(order):
            level = level * 0.5
        ppl.sample("y", dist.Normal(level, sd).expand([8]).to_event(1), obs=y)

    for robust in (True, False):
        for order in (0, 3, 1):
            f = 0.5**order
            k = 0 if robust else 2
            gap = Y - AT["mu"][k] * f
            mu = np.zeros(3)
            mu[k] = np.sum(gap) * f / AT["sd"] ** 2
            check(model, Y, robust, order, expected={"mu": mu, "sd": np.sum(gap**2 / AT["sd"] ** 3 - 1 / AT["sd"])})


def test_a_branch_on_the_values_of_an_array():
    def model(y):
        mu, sd = parameters()
        level = mu[0] if y.mean() > 0 else mu[1]
        ppl.sample("y", dist.Normal(level, sd).expand([len(y)]).to_event(1), obs=y)

    for y, k in ((np.abs(Y), 0), (-np.abs(Y), 1), (np.abs(Y), 0)):
        check(model, y, expected=normal_slope(np.full(8, k), y))


def test_other_strings_and_other_dicts():
    columns = {"a": 0, "b": 1, "c": 2}

    def model(data, column, options=None):
        mu, sd = parameters()
        index = np.full(len(data["y"]), columns[column])
        y = data["y"] - (options or {}).get("shift", 0.0)
        ppl.sample("y", dist.Normal(mu[index], sd).to_event(1), obs=y)

    for column, shift in (("a", 0.0), ("c", 0.0), ("b", 2.0), ("b", -1.0)):
        expected = normal_slope(np.full(8, columns[column]), Y - shift)
        check(model, {"y": Y}, column, options={"shift": shift}, expected=expected)
    data = {"y": Y}
    check(model, data, "a", expected=normal_slope(np.zeros(8, int), Y))
    data["y"] = Y[:4]
    check(model, data, "a", expected=normal_slope(np.zeros(4, int), Y[:4]))


def test_minibatch_rows_of_a_changed_array():
    county = np.arange(8) % 3

    def model(county, y):
        mu, sd = parameters()
        with ppl.plate("rows", 8, subsample_size=8):
            ppl.sample("y", dist.Normal(mu[county], sd), obs=y)

    for c in (county, county[::-1].copy(), (county + 1) % 3):
        check(model, c, Y, expected=normal_slope(c, Y))


def test_a_fit_keeps_the_data_that_it_was_made_with():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0))
        ppl.sample("y", dist.Normal(mu, 1.0).expand([len(y)]).to_event(1), obs=y)

    y = np.full(20, 3.0)
    fits = []
    for shift in (0.0, 5.0):
        data = y + shift
        fits.append(ppl.infer(model, data, progress=False))
        before = fits[-1].log_evidence(), fits[-1].explain(), fits[-1].predict(num_samples=20)["y"]
        exact = (data.sum()) / (20 + 0.01)
        assert float(fits[-1]["mu"].mean) == pytest.approx(exact, abs=0.05)
        data[:] = -100.0
        after = fits[-1].log_evidence(), fits[-1].explain(), fits[-1].predict(num_samples=20)["y"]
        assert after[:2] == before[:2]
        np.testing.assert_array_equal(after[2], before[2])
    assert float(fits[0]["mu"].mean) == pytest.approx(60 / 20.01, abs=0.05)


def test_fits_of_other_data_are_fits_of_other_data():
    """Lengths, groups and branches that change between calls of one model function."""

    def model(group, y, pooled=False):
        a = ppl.sample("a", dist.Normal(0.0, 10.0).expand([2]).to_event(1))
        ppl.sample("y", dist.Normal(a[0] if pooled else a[group], 1.0).expand([len(y)]).to_event(1), obs=y)

    def exact(group, y, pooled):
        group = np.zeros(len(y), int) if pooled else group
        return np.array([y[group == k].sum() / (np.sum(group == k) + 0.01) for k in (0, 1)])

    rng = np.random.default_rng(3)
    for n, pooled in ((30, False), (12, False), (30, True)):
        group, y = rng.integers(0, 2, n), rng.normal(size=n) + 2.0
        fit = ppl.infer(model, group, y, pooled, progress=False)
        got, want = fit["a"].mean, exact(group, y, pooled)
        seen = [0] if pooled else [0, 1]
        np.testing.assert_allclose(np.asarray(got)[seen], want[seen], atol=0.05)


def test_a_scan_over_other_lengths_and_data():
    def model(y):
        mu, sd = parameters()

        def step(z, y_t):
            ppl.sample("y", dist.Normal(mu[0], sd), obs=y_t)
            return z, None

        ppl.scan(step, 0.0, y)

    for y in (Y, Y[:3], Y * 2.0):
        check(model, y, expected=normal_slope(np.zeros(len(y), int), y))
