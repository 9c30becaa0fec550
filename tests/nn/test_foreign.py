"""Networks of PyTorch and JAX: the same values and derivatives as ours with the same weights, in models and guides."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
OURS = nn.MLP(2, 5, 4, activation="tanh")
START = OURS.init(0)


def torch_decoder():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4))
    with torch.no_grad():
        for layer, own in ((net[0], START["0"]), (net[2], START["1"])):
            layer.weight.copy_(torch.tensor(own["weight"].T))
            layer.bias.copy_(torch.tensor(own["bias"]))
    return nn.from_torch(net), {"0.weight": "0.weight", "0.bias": "0.bias", "2.weight": "1.weight", "2.bias": "1.bias"}


def jax_decoder():
    jnp = pytest.importorskip("jax.numpy")

    def decode(p, z):
        return jnp.tanh(z @ p["0"]["weight"] + p["0"]["bias"]) @ p["1"]["weight"] + p["1"]["bias"]

    return nn.from_jax(decode, START), {f"{k}.{n}": f"{k}.{n}" for k in ("0", "1") for n in ("weight", "bias")}


DECODERS = {"torch": torch_decoder, "jax": jax_decoder}


def vae(x, decoder=OURS, batch=None):
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        h = ppl.module("encoder", nn.Linear(4, 4))(x[i])
        guide = dist.Normal(h[:, :2], np.exp(h[:, 2:])).to_event(1)
        z = ppl.sample("z", dist.Normal(0, 1).expand([2]).to_event(1), guide=guide)
        ppl.sample("x", dist.Normal(ppl.module("decoder", decoder)(z), 0.5).to_event(1), obs=x[i])


@pytest.mark.parametrize("library", DECODERS)
def test_bound_and_gradient_are_those_of_our_own_network(library):
    net, names = DECODERS[library]()
    start = {f"decoder.{k}.{n}": START[k][n] for k in ("0", "1") for n in ("weight", "bias")}
    own = ppl.gradient(vae, X, params=start, particles=3, seed=1)
    other = ppl.gradient(vae, X, decoder=net, particles=3, seed=1)
    np.testing.assert_allclose(other.elbo, own.elbo, rtol=1e-5)
    for name, there in names.items():
        a, b = other.grad[f"decoder.{name}"], own.grad[f"decoder.{there}"]
        np.testing.assert_allclose(a.T if library == "torch" else a, b, rtol=2e-3, atol=2e-3 * np.abs(b).max())
    for name in ("encoder.weight", "encoder.bias"):
        np.testing.assert_allclose(
            other.grad[name], own.grad[name], rtol=2e-3, atol=2e-3 * np.abs(own.grad[name]).max()
        )


@pytest.mark.parametrize("library", DECODERS)
def test_training_ends_where_that_of_our_own_network_does(library, tmp_path):
    net, names = DECODERS[library]()
    how = {"epochs": 20, "optimizer": optim.Momentum(1e-5), "init": {}}
    start = {f"decoder.{k}.{n}": START[k][n] for k in ("0", "1") for n in ("weight", "bias")}
    own = ppl.infer(vae, X, batch=20, algorithm=ppl.BBVI(**{**how, "init": start}), progress=False)
    other = ppl.infer(vae, X, decoder=net, batch=20, algorithm=ppl.BBVI(**how), progress=False)
    np.testing.assert_allclose(own.history, other.history, rtol=1e-4)
    for name, there in names.items():
        a = other.params[f"decoder.{name}"]
        np.testing.assert_allclose(
            a.T if library == "torch" else a, own.params[f"decoder.{there}"], rtol=1e-3, atol=1e-4
        )
    assert other.posterior(X[:7], decoder=net)["z"].mean.shape == (7, 2)
    assert np.isfinite(other.log_likelihood(samples=5).value)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_guide_of_another_library_with_several_outputs(library):
    """Normal-Normal: the network's answer must be the posterior, N(x / 2, 1 / 2)."""
    if library == "torch":
        torch = pytest.importorskip("torch")

        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.loc, self.scale = torch.nn.Linear(1, 1), torch.nn.Parameter(torch.zeros(1))

            def forward(self, x):
                return self.loc(x), torch.exp(self.scale) * torch.ones_like(x)

        net = nn.from_torch(Encoder())
    else:
        jnp = pytest.importorskip("jax.numpy")
        start = {"slope": np.ones((1, 1)), "shift": np.zeros(1), "scale": np.zeros(1)}
        net = nn.from_jax(lambda p, x: (x @ p["slope"] + p["shift"], jnp.exp(p["scale"]) * jnp.ones_like(x)), start)

    def model(x):
        with ppl.plate("rows", len(x)):
            loc, scale = ppl.module("encoder", net)(x[:, None])
            z = ppl.sample("z", dist.Normal(0, 1), guide=dist.Normal(loc[:, 0], scale[:, 0]))
            ppl.sample("x", dist.Normal(z, 1), obs=x)

    x = np.linspace(-2, 2, 40).astype(np.float32)
    rate = optim.CosineDecay(0.05, 600)
    fit = ppl.infer(model, x, algorithm=ppl.BBVI(epochs=600, particles=4, optimizer=optim.Adam(rate)), progress=False)
    q = fit.posterior(np.array([3.0, -1.0], np.float32)).guide_of("z")
    np.testing.assert_allclose(q.mean, [1.5, -0.5], atol=0.1)
    np.testing.assert_allclose(np.sqrt(q.variance), 0.5**0.5, atol=0.05)


def test_dropout_of_torch_is_repeated_by_the_seed_and_stays_in_training():
    torch = pytest.importorskip("torch")
    net = nn.from_torch(torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 1)))

    def model(x):
        with ppl.plate("rows", len(x)):
            ppl.sample("y", dist.Normal(ppl.module("net", net)(x)[:, 0], 1.0), obs=np.zeros(len(x)))

    def history(seed):
        algorithm = ppl.BBVI(epochs=20, optimizer=optim.SGD(0.0))
        return ppl.infer(model, X, algorithm=algorithm, seed=seed, progress=False)

    torch.manual_seed(0)
    first = history(0)
    torch.manual_seed(1)  # what others do with torch's own generator changes nothing
    again = history(0)
    np.testing.assert_array_equal(first.history, again.history)
    assert first.history.std() > 0 and not np.array_equal(first.history, history(1).history)
    assert first.elbo_se == 0.0 and first.elbo == again.elbo
    assert sorted(net.init()) == ["0", "2"] and "97 parameters" in repr(net)


def test_refusals():
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    with pytest.raises(ppl.ModelError, match=r"expected a torch.nn.Module"):
        nn.from_torch(np.tanh)
    with pytest.raises(ppl.ModelError, match="a nested dict of arrays"):
        nn.from_jax(lambda p, x: x, [1.0])


def test_neither_is_imported_without_being_asked_for():
    code = "import sys, ppl; print('torch' in sys.modules, 'jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(("name", "module"), [("from_torch", "torch"), ("from_jax", "jax")])
def test_where_they_are_missing_the_error_says_so(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ppl.ModelError, match=f"try pip install ppl\\[{module}\\]"):
        getattr(nn, name)(*([None] if module == "torch" else [len, {}]))
