"""What the benchmarks compare is the same: they would otherwise compare nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks import estimators, flat_and_eager, mnist_belief_net, networks, report, scaling
from tests.data_folder import data_folder, why_absent

SMALL = {
    "eight schools": flat_and_eager.schools,
    "logistic regression": lambda: flat_and_eager.logistic(30, 4),
    "hierarchy": lambda: flat_and_eager.hierarchy(20, 5),
    "variational autoencoder": lambda: flat_and_eager.vae(6, 10, 8, 3),
}


@pytest.mark.parametrize("name", SMALL)
def test_flat_is_eager(name):
    pytest.importorskip("autograd")
    fun, parameters = SMALL[name]()
    flat, eager = flat_and_eager.flat(fun, parameters), flat_and_eager.eager(fun)
    flat_and_eager.agreement(eager(*parameters), flat(*parameters))


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_is_its_calls(name):
    fun, parameters = SMALL[name]()
    one, many = flat_and_eager.flat(fun, parameters), flat_and_eager.batched(fun, parameters, 3)
    rows = flat_and_eager.spread_out(parameters, 3)
    calls = zip(*(one(*p) for p in zip(*rows, strict=True)), strict=True)
    flat_and_eager.agreement([np.stack(x) for x in calls], many(*rows))


def test_disagreement_is_seen():
    with pytest.raises(AssertionError, match="differ"):
        flat_and_eager.agreement([np.ones(2), np.ones(2)], [np.ones(2), np.array([1.0, 1.001])])


def test_scan_is_the_loop():
    """One of them has closed forms where the other draws: on average over all signs the bounds are equal."""
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=5)))
    bounds = []
    for how in ("scan", "loop"):
        model, data = scaling.local_level(5, how)
        objective, _ = scaling.derived(model, data)
        d = objective.derivation
        columns = [signs] if how == "scan" else signs.T
        noise = {f.name: eps for f, eps in zip(d.factors, columns, strict=True)}
        values = {name: x.init for name, x in d.parameters.items()}
        bound = objective.evaluate(values, {}, noise, len(signs))[0]
        bounds.append(bound.mean())
    np.testing.assert_allclose(*bounds)


@pytest.mark.parametrize("name", ["sites", "scan", "recurrence", "loop"])
def test_set_up_and_step_are_measured(name):
    found = scaling.measurement(name, 5)
    assert set(found) == {"setup", "step"} and min(found.values()) > 0


def test_particles_agree_with_calls(monkeypatch):
    monkeypatch.setattr(flat_and_eager, "TURN", 1e-4)
    assert scaling.measurement("particles, hierarchy", 3)["ratio"] > 0


def test_the_mapped_file(tmp_path):
    (first, second), mean, sd = scaling.regression_file(tmp_path, 2_000)
    x, y = np.fromfile(first), np.fromfile(second)
    assert len(x) == len(y) == 2_000
    design = np.stack([np.ones(2_000), x], axis=1)
    np.testing.assert_allclose(mean, np.linalg.lstsq(design, y, rcond=None)[0], atol=1e-4)
    assert np.all(sd < 0.03)


def test_slopes_and_verdicts():
    rows = {f"sites {n}": [{"status": "ok", "setup": 1e-3 * n, "step": 1e-9 * n**2}] for n in scaling.SITES}
    assert scaling.slope(rows, "sites", "setup") == pytest.approx(1.0)
    assert scaling.slope(rows, "sites", "step") == pytest.approx(2.0)
    assert scaling.slope({}, "sites", "step") is None
    assert report.Verdict("", 2.0, 1.0).word == "not reached" != report.Verdict("", 2.0, 1.0, least=True).word


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    rows = {
        f"{name} {n}": [{"status": "ok", "setup": 1e-3 * n, "step": 1e-6 * n, "calls": 1e-5 * n, "batched": 1e-5}]
        for name, sizes in scaling.SIZES.items()
        for n in sizes
    }
    assert scaling.plot(rows, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size < 150_000


def test_our_side_of_eight_schools_runs():
    from benchmarks import eight_schools

    found = eight_schools.ours_watched()
    assert found["reached"] > 0 and found["final"] > -32


# -- variance of estimators ----------------------------------------------------------------------------
def test_the_exact_gradient_of_the_belief_net():
    """By enumeration, against differences of the bound by enumeration."""
    x = estimators.patterns()[:5]
    rng = np.random.default_rng(0)
    values = {n: 0.3 * rng.standard_normal(s) for n, s in (("prior", 10), ("bias", 10), ("shift", 16))}
    values |= {"w": rng.standard_normal((10, 16)), "v": 0.5 * rng.standard_normal((16, 10))}

    def bound(values):
        logits = (x - 0.5) @ values["v"] + values["bias"]
        z = estimators.STATES[:, None]
        log_q = np.sum(z * logits - np.logaddexp(0, logits), -1)
        prior = np.sum(z * values["prior"] - np.logaddexp(0, values["prior"]), -1)
        means = z @ values["w"] + values["shift"]
        return np.sum(np.exp(log_q) * (prior + np.sum(x * means - np.logaddexp(0, means), -1) - log_q)) * 240 / 5

    exact = estimators.enumerated(values, x)
    for name, place in (("bias", (3,)), ("v", (7, 2))):
        ends = []
        for h in (1e-5, -1e-5):
            moved = values[name].copy()
            moved[place] += h
            ends.append(bound({**values, name: moved}))
        assert exact[name][place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_the_table_of_variances_is_ordered(monkeypatch):
    """At two draws: every control variate well below none, and DisARM not above leave-one-out; all unbiased."""
    monkeypatch.setattr(estimators, "SETTINGS", {"at the start": 0, "later": 400})
    for rows in estimators.belief_net_table(batches=6, repeats=40, warm=300).values():
        for name, row in rows.items():
            assert abs(row["z"]) < 4, name
            assert name == "none" or row["relative"] + 3 * row["relative error"] < 0.7, name
        gap = rows["disarm"]["variance"] - rows["leave-one-out"]["variance"]
        assert gap < 2 * (rows["disarm"]["error"] + rows["leave-one-out"]["error"])


def test_the_time_series_falls_by_a_factor():
    rows = estimators.time_series_table(250)
    assert rows["Rao-Blackwellized"]["factor"] > 5 and rows["control variate"]["factor"] > 1.5
    assert rows["both"]["factor"] > rows["control variate"]["factor"]
    errors = [np.sqrt(r["variance"] / 250) for r in rows.values()]
    for row, error in zip(rows.values(), errors, strict=True):
        assert np.all(np.abs(row["mean"] - rows["both"]["mean"]) < 4.5 * np.hypot(error, errors[-1]))


def test_signal_to_noise_by_number_of_samples():
    table = estimators.signal_table(1500, (1, 32))
    assert table["pathwise"][32] < table["pathwise"][1] and table["dreg"][32] > 2 * table["dreg"][1]


@pytest.mark.skipif(why_absent("images/mnist.npz") is not None, reason=str(why_absent("images/mnist.npz")))
def test_the_belief_net_learns_images():
    x = mnist_belief_net.images(data_folder(), 1000)
    assert set(np.unique(x)) == {0, 1} and x.shape == (1000, 784)
    row = mnist_belief_net.run("disarm", x, seconds=60.0, steps=200)
    assert row["steps"] == 200 and row["last"] > row["bound"][0] > -700


@pytest.mark.parametrize(
    ("case", "sizes"),
    [
        (networks.vae, {"pixels": 30, "hidden": 20, "latent": 3, "batch": 8, "rows": 24}),
        (networks.gru, {"batch": 3, "time": 5, "ins": 4, "features": 6}),
    ],
)
def test_networks_by_hand_are_those_recorded(case, sizes):
    recorded, by_hand = case(**sizes)
    for got, expected in zip(recorded(), by_hand(), strict=True):
        size = np.abs(expected).max()
        np.testing.assert_allclose(np.reshape(got, np.shape(expected)), expected, rtol=1e-3, atol=1e-5 * (1 + size))


def test_convolutions_of_the_benchmark_run():
    recorded, _ = networks.convolutions(batch=2, side=8)
    assert all(np.all(np.isfinite(x)) for x in recorded())
