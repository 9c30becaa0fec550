"""SVI: the full batch with steps of one is CAVI, minibatches come near it, and rows are read as they are used."""

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from tests.conjugacy import models as m
from tests.conjugacy.models import MODELS


def mixture(x, K=3, size=None):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
        tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("n", len(x), subsample_size=size) as i:
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.Normal(mu[z], 1 / np.sqrt(tau[z])).to_event(1), obs=x[i])


def regression(x, y, size=None):
    w = ppl.sample("w", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    with ppl.plate("n", len(y), subsample_size=size) as i:
        ppl.sample("y", dist.Normal(x[i] @ w, tau**-0.5), obs=y[i])


def ppca(x, K=2, size=None):
    w = ppl.sample("w", dist.Normal(0.0, 1.0).expand([x.shape[1], K]).to_event(2))
    tau = ppl.sample("tau", dist.Gamma(2.0, 2.0))
    with ppl.plate("n", len(x), subsample_size=size) as i:
        z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([K]).to_event(1))
        ppl.sample("x", dist.Normal(z @ w.T, 1 / np.sqrt(tau)).to_event(1), obs=x[i])


def lda(words, V, K=3, size=None):
    with ppl.plate("topics", K):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(V, 0.1)))
    with ppl.plate("docs", len(words), subsample_size=size, dim=-2) as i:
        theta = ppl.sample("theta", dist.Dirichlet(np.full(K, 0.3)))
        with ppl.plate("tokens", words.shape[1], dim=-1):
            z = ppl.sample("z", dist.Categorical(theta))
            ppl.sample("w", dist.Categorical(phi[z]), obs=words[i])


def fit(model, *args, algorithm, **kwargs):
    return ppl.infer(model, *args, algorithm=algorithm, progress=False, **kwargs)


@pytest.mark.parametrize("name", MODELS)
def test_full_batches_with_steps_of_one_are_cavi_to_the_bit(name):
    model, args = MODELS[name]
    cavi = fit(model, *args, algorithm=ppl.CAVI(steps=7, restarts=1, tolerance=0.0))
    steps = len(cavi.history)  # fewer where the bound stood still
    svi = fit(model, *args, algorithm=ppl.SVI(steps=steps, restarts=1, kappa=0.0, local_sweeps=1))
    np.testing.assert_array_equal(cavi.history, svi.history)
    assert all(np.array_equal(cavi.params[k], svi.params[k]) for k in cavi.params)


def test_a_damped_step_of_rate_one_is_the_undamped_one():
    from ppl.conjugacy import Ascent, Execution, recognize, record, row_plate

    model, args = MODELS["mixture"]
    found = recognize(record(model, args, {}))
    ascent = Ascent(Execution(found, row_plate(found)))
    state = ascent.step(ascent.start(np.random.default_rng(0)))
    damped = ascent.execution.sweep(damped=True)
    done = ascent.shards.over(ascent.batches(None)(), state.weights)
    for a, b in zip(ascent.execution.sweep()(state.means, done.sums), damped(state.means, done.sums, state.eta, 1.0)):
        assert all(np.array_equal(a[k], b[k]) for k in a)


def test_a_minibatch_of_all_rows_is_the_full_plate():
    """Subsampling one row less than all: the same optimum but for that row."""
    x = m.X
    start = {"mu": np.array([[0.0, 0.0], [5.0, 1.0], [-4.0, 4.0]])}
    cavi = fit(mixture, x, algorithm=ppl.CAVI(init=start, tolerance=1e-12))
    svi = fit(mixture, x, size=len(x) - 1, algorithm=ppl.SVI(init=start, steps=600, kappa=1.0))
    np.testing.assert_allclose(svi.params["mu.loc"], cavi.params["mu.loc"], atol=0.02)
    assert svi.elbo <= cavi.elbo + 1e-6
    assert svi.elbo > cavi.elbo - 0.02
    assert svi.params["z.probs"].shape == (len(x), 3)


def test_minibatches_come_near_the_full_data_optimum():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.5 * rng.normal(size=4000)
    cavi = fit(regression, x, y, algorithm=ppl.CAVI())
    svi = fit(regression, x, y, size=100, algorithm=ppl.SVI(steps=2000, kappa=1.0))
    sd = np.sqrt(np.diag(cavi.params["w.scale_tril"] @ cavi.params["w.scale_tril"].T))
    # The average of 2,000 minibatches of 100 rows has 1 / sqrt(50) of the data's own error.
    assert np.all(np.abs(svi.params["w.loc"] - cavi.params["w.loc"]) < 4 * sd / 50**0.5)
    np.testing.assert_allclose(svi.params["tau.concentration"], cavi.params["tau.concentration"], rtol=1e-9)


@pytest.mark.parametrize(
    ("model", "args"), [(ppca, (m.D3,)), (lda, (np.random.default_rng(2).integers(7, size=(70, 5)), 7))]
)
def test_local_latents_of_several_kinds(model, args):
    cavi = fit(model, *args, algorithm=ppl.CAVI(restarts=1))
    svi = fit(model, *args, size=25, algorithm=ppl.SVI(steps=400))
    assert abs(svi.elbo - cavi.elbo) < 0.05 * abs(cavi.elbo)  # optima of categories differ


def test_rows_come_from_a_memory_map(tmp_path):
    x = np.concatenate([m.X] * 20)
    on_disk = np.memmap(tmp_path / "rows", dtype=float, mode="w+", shape=x.shape)
    on_disk[:] = x
    a, b = (fit(mixture, rows, size=200, algorithm=ppl.SVI(steps=100)) for rows in (x, on_disk))
    assert a.elbo == b.elbo


def test_one_pass_of_minibatches_beats_one_sweep_of_all_rows():
    x = np.random.default_rng(0).permutation(np.concatenate([m.X + 0.01 * i for i in range(100)]))
    cavi = fit(mixture, x, algorithm=ppl.CAVI(steps=1, restarts=1))
    svi = fit(mixture, x, size=150, algorithm=ppl.SVI(steps=100, restarts=1))
    assert svi.elbo > cavi.elbo


def test_two_subsampled_plates_are_refused():
    def model(x):
        mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
        with ppl.plate("a", 10, subsample_size=5, dim=-2) as i, ppl.plate("b", 8, subsample_size=4, dim=-1) as j:
            ppl.sample("x", dist.Normal(mu, 1.0), obs=x[i[:, None], j])

    with pytest.raises(ppl.ConjugacyError, match="several subsampled plates"):
        fit(model, np.zeros((10, 8)), algorithm="svi")


# -- large plates --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("model", "args", "site"), [(mixture, (m.X,), "z"), (ppca, (m.D3,), "z")])
def test_rows_on_demand_are_the_rows_that_would_be_kept(monkeypatch, tmp_path, model, args, site):
    from ppl.algorithms import svi
    from ppl.model import RowTable

    kept = fit(model, *args, size=40, algorithm=ppl.SVI(steps=30))  # 40 divides neither 150 nor 90
    monkeypatch.setattr(svi, "LARGEST", 0)
    late = fit(model, *args, size=40, algorithm=ppl.SVI(steps=30))
    tables = [n for n, x in late.params.items() if isinstance(x, RowTable)]
    assert tables and all(n.startswith(f"{site}.") for n in tables)
    for name, x in kept.params.items():
        np.testing.assert_allclose(np.asarray(late.params[name]), x, rtol=1e-12)
        if name in tables:
            np.testing.assert_allclose(late.params[name][3:7], x[3:7], rtol=1e-12)
            np.testing.assert_allclose(late.params[name][-1], x[-1], rtol=1e-12)
    assert late.elbo == kept.elbo
    for name in (site, "tau"):
        np.testing.assert_allclose(late[name].mean, kept[name].mean, rtol=1e-9)
        np.testing.assert_allclose(late[name].sd, kept[name].sd, rtol=1e-9)
        shapes = late[name].quantile([0.1, 0.9]), kept[name].quantile([0.1, 0.9])
        assert shapes[0].shape == shapes[1].shape
    np.testing.assert_array_equal(late.sample(5)[site], kept.sample(5)[site])
    late.save(tmp_path / "fit.npz")
    np.testing.assert_allclose(ppl.load(tmp_path / "fit.npz", model)[site].mean, kept[site].mean, rtol=1e-9)


def test_memory_does_not_grow_with_the_rows(monkeypatch, tmp_path):
    import tracemalloc

    from ppl.algorithms import svi
    from ppl.model import missing

    monkeypatch.setattr(missing, "PART", 20_000)
    monkeypatch.setattr(svi, "LARGEST", 100_000)
    rows = 600_000
    x = np.memmap(tmp_path / "rows", dtype=np.float64, mode="w+", shape=(rows, 2))
    x[:] = np.tile(m.X, (rows // len(m.X), 1))
    fit(mixture, x[:1500], size=1000, algorithm=ppl.SVI(steps=3, restarts=1))  # what is imported late
    tracemalloc.start()
    try:
        found = fit(mixture, x, size=1000, algorithm=ppl.SVI(steps=3, restarts=1))
        assert "fit['z'] has 600,000 numbers" in str(found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6  # the data are 9.6 MB, and their responsibilities would be 14.4
