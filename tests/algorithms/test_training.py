"""Training at length: steps as written by hand, epochs, schedules, held-out data, states, runs that are cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import ppl
import ppl.distributions as dist
from ppl import nn, optim
from ppl.algorithms.training import Inputs, _blocks
from ppl.elbo import derive, objective_of, problem

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(103, 4))
Y = np.sin(X @ np.array([1.0, -1.0, 0.5, 0.0])) + 0.1 * RNG.normal(size=103)
NET = nn.MLP(4, 7, 1, activation="tanh")


def regression(x, y, batch=None, net=NET):
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        mean = ppl.module("net", net)(x[i])[:, 0]
        ppl.sample("y", dist.Normal(mean, 0.5), obs=y[i])


def vae(x, batch=20, drop=0.2):
    """Networks, dropout, a state, a latent in a subsampled plate."""
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        seen = ppl.state("mean", np.zeros(4))
        seen.update(0.9 * seen.value + 0.1 * np.mean(x[i], 0))
        h = ppl.module("encoder", nn.Sequential(nn.Linear(4, 8), "tanh", nn.Dropout(drop), nn.Linear(8, 4)))(
            x[i] - seen.value
        )
        z = ppl.sample(
            "z",
            dist.Normal(0, 1).expand([2]).to_event(1),
            guide=dist.Normal(h[:, :2], np.exp(h[:, 2:])).to_event(1),
        )
        ppl.sample("x", dist.Normal(ppl.module("decoder", nn.MLP(2, 8, 4))(z), 0.5).to_event(1), obs=x[i])


def fitted(model, *args, seed=0, **how):
    return ppl.infer(model, *args, seed=seed, algorithm=ppl.BBVI(**how), progress=False)


def by_hand(params, steps, update):
    """Full-batch ascent of the same bound, differentiated by autograd in float64."""

    def bound(p):
        mean = (anp.tanh(X @ p["net.0.weight"] + p["net.0.bias"]) @ p["net.1.weight"] + p["net.1.bias"])[:, 0]
        return anp.sum(-0.5 * ((Y - mean) / 0.5) ** 2 - anp.log(0.5) - 0.5 * anp.log(2 * anp.pi))

    slope, memory = grad(bound), {n: {} for n in params}
    for t in range(1, steps + 1):
        g = slope(params)
        params = {n: update(x, -g[n], memory[n], t) for n, x in params.items()}
    return params


def adam(x, g, m, t, rate=0.01):
    m["first"] = 0.9 * m.get("first", 0) + 0.1 * g
    m["second"] = 0.999 * m.get("second", 0) + 0.001 * g**2
    return x - rate * (m["first"] / (1 - 0.9**t)) / (np.sqrt(m["second"] / (1 - 0.999**t)) + 1e-8)


def adamw(x, g, m, t):
    return adam(x - 0.01 * 0.1 * x, g, m, t)


def clipped(x, g, m, t):
    return adam(x, np.minimum(np.maximum(g, -0.5), 0.5), m, t)


def sgd(x, g, m, t):
    return x - 1e-3 * g


def momentum(x, g, m, t):
    m["v"] = 0.8 * m.get("v", 0) + g
    return x - 1e-3 * m["v"]


def adagrad(x, g, m, t):
    m["s"] = m.get("s", 0) + g**2
    m["v"] = 0.9 * m.get("v", 0) + 0.1 * g / np.sqrt(m["s"])
    return x - 0.01 * m["v"]


def rmsprop(x, g, m, t):
    m["s"] = 0.9 * m.get("s", 0) + 0.1 * g**2
    return x - 0.01 * g / np.sqrt(m["s"] + 1e-8)


def rmsprop_momentum(x, g, m, t):
    m["s"] = 0.9 * m.get("s", 0) + 0.1 * g**2
    m["v"] = 0.9 * m.get("v", 0) + 0.01 * g / np.sqrt(m["s"] + 1e-8)
    return x - m["v"]


def halving(x, g, m, t):
    return x - 2e-3 * 0.5 ** ((t - 1) / 10) * g


@pytest.mark.parametrize(
    ("optimizer", "update"),
    [
        (optim.Adam(0.01), adam),
        (optim.AdamW(0.01, weight_decay=0.1), adamw),
        (optim.ClippedAdam(0.01, clip_norm=0.5), clipped),
        (optim.SGD(1e-3), sgd),
        (optim.Momentum(1e-3, mass=0.8), momentum),
        (optim.Adagrad(0.01), adagrad),
        (optim.RMSProp(0.01), rmsprop),
        (optim.RMSPropMomentum(0.01), rmsprop_momentum),
        (optim.SGD(optim.ExponentialDecay(2e-3, 10, 0.5)), halving),
    ],
    ids=lambda x: getattr(x, "__name__", type(x).__name__),
)
def test_steps_are_those_of_the_formula(optimizer, update):
    start = fitted(regression, X, Y, epochs=1, optimizer=optim.SGD(0.0), dtype=np.float64).params
    found = fitted(regression, X, Y, epochs=25, optimizer=optimizer, dtype=np.float64).params
    wanted = by_hand(start, 25, update)
    for name, x in wanted.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-7, atol=1e-9)
        assert not np.allclose(found[name], start[name], rtol=1e-3)


@pytest.mark.parametrize("optimizer", [optim.Adam(0.1), optim.AdamW(0.1), optim.ClippedAdam(0.1, clip_norm=0.7)])
def test_in_place_and_out_of_place_are_one(optimizer):
    x, state = RNG.normal(size=50), optimizer.init(np.zeros(50))
    y, other = x.copy(), optimizer.init(np.zeros(50))
    for _ in range(5):
        g = RNG.normal(size=50)
        x, state = optimizer.update(g, state, x, 0.1)
        other = other._replace(count=optimizer.update_in_place(g, other, y, 0.1, np.empty(50)))
    np.testing.assert_allclose(x, y, rtol=1e-12)
    np.testing.assert_allclose(state.second, other.second, rtol=1e-12)


@pytest.mark.parametrize("sizes", [[3], [20_000], [5, 20_000, 7, 9_000, 9_000, 3, 16_384], [], [16_383, 2]])
def test_blocks_hold_every_coordinate_once(sizes):
    seen = np.zeros(sum(sizes), int)
    for place, pieces, part in _blocks(sizes):
        joined = np.concatenate([np.arange(sum(sizes[:i]), sum(sizes[: i + 1])) for i in pieces])[part]
        np.testing.assert_array_equal(np.arange(sum(sizes))[place], joined)
        assert len(joined) <= 16_384
        seen[place] += 1
    assert np.all(seen == 1)


def test_an_epoch_uses_every_row_once_in_an_order_of_its_own():
    p = problem(vae, (X,), {}, seed=3)
    inputs = Inputs(objective_of(derive(p, None, seed=3)), 1, 3)
    epochs = [np.concatenate([inputs(5 * e + k)[0]["rows"] for k in range(5)]) for e in range(4)]
    for rows in epochs:
        assert len(set(rows)) == len(rows) == 100
    assert len({tuple(r) for r in epochs}) == 4
    again = Inputs(objective_of(derive(p, None, seed=3)), 1, 3)
    np.testing.assert_array_equal(again(17)[0]["rows"], inputs(17)[0]["rows"])  # from anywhere, the same
    left_out = [set(range(103)) - set(r) for r in epochs]
    assert len(set.union(*left_out)) > 3


def test_a_clipped_gradient_has_the_norm_asked_for():
    start = fitted(regression, X, Y, epochs=1, optimizer=optim.SGD(0.0), dtype=np.float64).params
    norms = []
    found = fitted(
        regression, X, Y, epochs=1, optimizer=optim.SGD(0.1), clip=0.25, dtype=np.float64,
        callback=lambda state, info: norms.append(info.gradient_norm),
    ).params  # fmt: skip
    moved = sum(np.sum((found[n] - start[n]) ** 2) for n in start) ** 0.5
    assert norms[0] > 1.0
    np.testing.assert_allclose(moved, 0.1 * 0.25, rtol=1e-9)


def test_the_callback_gets_metrics_and_the_schedule_is_followed():
    seen = []
    rate = optim.PiecewiseConstant((10,), (1e-2, 1e-3))
    fit = fitted(
        regression, X, Y, 20, epochs=4, optimizer=optim.Adam(rate), held_out=((X[:50], Y[:50]), {}),
        callback=lambda state, info: seen.append((state.step, info.metrics)),
    )  # fmt: skip
    assert [step for step, _ in seen] == list(range(1, 21)) and len(fit.history) == 20
    assert [m["rate"] for _, m in seen] == [1e-2] * 10 + [1e-3] * 10
    assert [step for step, m in seen if "held_out" in m] == [5, 10, 15, 20] == fit.held_out[:, 0].tolist()
    assert seen[4][1]["epoch"] == 1.0 and seen[4][1].keys() == {"elbo", "rate", "gradient_norm", "epoch", "held_out"}
    weights = {k: {n: fit.params[f"net.{k}.{n}"] for n in ("weight", "bias")} for k in ("0", "1")}
    mean = NET.apply(weights, X[:50])[:, 0]
    bound = np.sum(dist.Normal(mean, 0.5).log_prob(Y[:50]))
    assert abs(fit.held_out[-1, 1] - bound) < 1e-3 * abs(bound)  # float32


def test_patience_ends_it_and_the_best_parameters_are_the_answer():
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(60, 4)), rng.normal(size=60)  # nothing to learn: held-out data get worse
    net, other = nn.MLP(4, 30, 1), (x[30:], noise[30:])
    how = {"optimizer": optim.Adam(0.02), "held_out": (other, {"net": net}), "evaluate_every": 10}
    fit = ppl.infer(
        regression, x[:30], noise[:30], net=net, algorithm=ppl.BBVI(epochs=2000, patience=4, **how), progress=False
    )
    values = fit.held_out[:, 1]
    assert len(values) - 1 - np.argmax(values) == 4 and len(fit.history) < 2000
    weights = {k: {n: fit.params[f"net.{k}.{n}"] for n in ("weight", "bias")} for k in ("0", "1")}
    bound = np.sum(dist.Normal(net.apply(weights, x[30:])[:, 0], 0.5).log_prob(noise[30:]))
    np.testing.assert_allclose(bound, values.max(), rtol=1e-4)
    assert "has not risen in 4 evaluations" in fit.verdict.stop_reason


def test_it_ends_where_the_bound_has_stopped_rising_and_not_before():
    fit = fitted(regression, X, Y, steps=50_000, optimizer=optim.Adam(0.01))
    assert fit.verdict.converged and 2000 <= len(fit.history) < 50_000
    short = fitted(regression, X, Y, epochs=60, optimizer=optim.SGD(1e-6))
    assert not short.verdict.converged and "still rose" not in short.verdict.stop_reason  # too short to tell
    rising = fitted(regression, X, Y, epochs=2500, optimizer=optim.SGD(2e-7))
    assert not rising.verdict.converged and "still rose by" in rising.verdict.stop_reason


def test_a_state_is_what_its_updates_make_of_it():
    fit = fitted(vae, X, epochs=3)
    p = problem(vae, (X,), {}, seed=0)
    inputs, mean = Inputs(objective_of(derive(p, None, seed=0, training=True)), 1, 0), np.zeros(4)
    for step in range(15):
        mean = 0.9 * mean + 0.1 * X[inputs(step)[0]["rows"]].mean(0)
    np.testing.assert_allclose(fit.params["mean"], mean, rtol=1e-4, atol=1e-6)
    # Elsewhere it stays: the bound and predictions use what was learned.
    assert np.isfinite(fit.elbo) and fit.predict(num_samples=3)["x"].shape == (3, 103, 4)
    sites = ppl.handlers.trace(ppl.handlers.substitute(ppl.handlers.seed(vae, 0), fit.params)).get_trace(X)
    np.testing.assert_array_equal(sites["mean"]["value"], fit.params["mean"])


def test_of_several_draws_a_state_takes_the_mean():
    def model(y):
        last = ppl.state("last", 0.0)
        z = ppl.sample("z", dist.Normal(0, 1), guide=dist.Normal(ppl.param("m", 0.0), 1))
        last.update(last.value + z)
        ppl.sample("y", dist.Normal(z, 1), obs=y)

    one, many = (fitted(model, 0.0, epochs=400, particles=k, optimizer=optim.SGD(0.0)) for k in (1, 64))
    assert abs(one.params["last"]) < 4 * 400**0.5 and abs(one.params["last"]) > 0.1
    assert abs(many.params["last"]) < 4 * (400 / 64) ** 0.5


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"patience": 3}, "patience= without held-out data"),
        ({"held_out": X}, r"held_out=\(\(test_images,\), \{\}\)"),
        ({"evaluate_every": 0.5}, "evaluate_every=0.5"),
        ({"clip": -1.0}, "clip=-1.0"),
    ],
)
def test_refusals(how, words):
    with pytest.raises(ppl.PPLError, match=words):
        fitted(regression, X, Y, **how)


def test_held_out_data_need_parameters_that_are_not_their_own():
    def model(y):
        with ppl.plate("rows", len(y), subsample_size=5) as i:
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(z, 1), obs=y[i])

    with pytest.raises(ppl.DataError, match=r"parameter 'z.loc' of shape \(10,\) of their own"):
        fitted(model, np.zeros(20), held_out=((np.zeros(10),), {}))


# -- runs that are cut ---------------------------------------------------------------------------------
HOW = {"epochs": 30, "held_out": ((X[:20],), {}), "patience": 50, "optimizer": optim.Adam(optim.CosineDecay(0.01, 150))}


def same(a, b):
    np.testing.assert_array_equal(a.history, b.history)
    np.testing.assert_array_equal(a.held_out, b.held_out)
    for name, x in a.params.items():
        np.testing.assert_array_equal(x, b.params[name])
    assert a.elbo == b.elbo and str(a.verdict) == str(b.verdict)


@pytest.mark.parametrize("cut", [1, 5, 73])
def test_a_run_that_was_cut_ends_with_the_same_bits(cut, tmp_path):
    path = tmp_path / "run.npz"
    whole = fitted(vae, X, **HOW)
    stop = fitted(vae, X, **HOW, checkpoint=path, callback=lambda state, info: state.step < cut)
    assert len(stop.history) == cut
    loaded = ppl.load(path, vae)
    np.testing.assert_array_equal(loaded.params["mean"], stop.params["mean"])
    assert loaded.elbo == stop.elbo
    same(whole, stop.resume(steps=150 - cut, progress=False))


def test_what_was_trained_goes_on_from_its_file(tmp_path):
    """A file holds the schedule, the states and the moments; held-out data are given again by the same call."""
    how = {"epochs": 6, "optimizer": optim.RMSProp(optim.ExponentialDecay(0.01, 10, 0.9)), "clip": 5.0}
    whole = fitted(vae, X, **{**how, "epochs": 10})
    fitted(vae, X, **how).save(tmp_path / "fit.npz")
    same(whole, ppl.load(tmp_path / "fit.npz", vae).resume(steps=20, progress=False))


KILLED = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from tests.algorithms import test_training as t

def slowly(state, info):
    time.sleep(0.01)

t.fitted(t.vae, t.X, **t.HOW, checkpoint={path!r}, checkpoint_every=0.0, callback=slowly)
"""


def test_what_was_killed_goes_on_to_the_same_bits(tmp_path):
    """kill -9 in the middle of training, with networks, dropout, a state and held-out data."""
    from ppl.fit import store

    path, steps = tmp_path / "run.npz", [0]
    program = textwrap.dedent(KILLED.format(root=str(ROOT), tests=str(ROOT / "tests"), path=str(path)))
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, env=dict(os.environ)
        )
        try:
            while process.poll() is None:
                time.sleep(0.02)
                if path.exists() and store.read(path)["run"]["state"][0] > steps[-1] + 20:
                    break
        finally:
            process.send_signal(signal.SIGKILL)
            _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said.decode()
        steps.append(store.read(path)["run"]["state"][0])
    assert 0 < steps[1] < steps[2] < 150
    same(fitted(vae, X, **HOW), fitted(vae, X, **HOW, checkpoint=path))
