"""Networks in models: names and values of weights, sharing, priors, noise of their own, refusals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl import handlers


@dataclass(frozen=True)
class Dense:
    """Affine layers with ReLU between them, and dropout: a stand-in for any network."""

    sizes: tuple[int, ...]
    drop: float = 0.0
    dtype: type = np.float64

    def init(self, rng):
        return {
            f"layer{k}": {
                "weight": (rng.normal(size=(a, b)) / a**0.5).astype(self.dtype),
                "bias": np.zeros(b, self.dtype),
            }
            for k, (a, b) in enumerate(zip(self.sizes, self.sizes[1:]))
        }

    def apply(self, weights, x, uniform=None):
        for k, layer in enumerate(weights.values()):
            x = np.maximum(x, 0.0) if k else x
            if k and uniform is not None and self.drop:
                x = np.where(uniform(x.shape) < self.drop, 0.0, x / (1.0 - self.drop))
            x = x @ layer["weight"] + layer["bias"]
        return x


X = np.random.default_rng(0).normal(size=(200, 3))
NET = Dense((3, 8, 1))


def regression(x, y=None, net=NET, prior=None, batch=None):
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        mean = ppl.module("net", net, prior)(x[i])[:, 0]
        ppl.sample("y", dist.Normal(mean, 0.1), obs=None if y is None else y[i])


Y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(1).normal(size=200)


def test_weights_are_parameters_named_by_their_path():
    sites = handlers.trace(handlers.seed(regression, 0)).get_trace(X)
    weights = {n: s.value for n, s in sites.items() if s.type == "param"}
    assert list(weights) == ["net.layer0.weight", "net.layer0.bias", "net.layer1.weight", "net.layer1.bias"]
    assert weights["net.layer0.weight"].shape == (3, 8)
    assert all(not s.plates for s in sites.values() if s.type == "param")


def test_a_fit_learns_them_and_the_seed_decides_where_they_start():
    def fit(seed, **how):
        return ppl.infer(regression, X, Y, algorithm=ppl.BBVI(**how), seed=seed, progress=False)

    first = fit(1, steps=1, optimizer=ppl.optim.SGD(0.0)).params
    for x, y in zip(first.values(), fit(1, steps=1, optimizer=ppl.optim.SGD(0.0)).params.values(), strict=True):
        np.testing.assert_array_equal(x, y)
    other = fit(2, steps=1, optimizer=ppl.optim.SGD(0.0)).params
    assert not np.allclose(first["net.layer0.weight"], other["net.layer0.weight"])

    wide = Dense((3, 30, 1))
    algorithm = ppl.BBVI(steps=1000, optimizer=ppl.optim.Adam(0.01))
    learned = ppl.infer(regression, X, Y, net=wide, algorithm=algorithm, progress=False)
    weights = {k: {n: learned.params[f"net.{k}.{n}"] for n in ("weight", "bias")} for k in ("layer0", "layer1")}
    assert np.mean((wide.apply(weights, X)[:, 0] - np.sin(X[:, 0])) ** 2) < 0.01  # the variance of the noise
    assert learned.problem.dtype == np.float64


def test_batches_start_from_the_same_weights():
    fits = [
        ppl.infer(regression, X, Y, batch=b, algorithm=ppl.BBVI(steps=1, optimizer=ppl.optim.SGD(0.0)), progress=False)
        for b in (None, 50)
    ]
    np.testing.assert_array_equal(*(f.params["net.layer0.weight"] for f in fits))


def test_float32_weights_make_the_program_float32():
    fit = ppl.infer(
        regression, X, Y, net=Dense((3, 8, 1), dtype=np.float32), algorithm=ppl.BBVI(steps=1), progress=False
    )
    assert fit.problem.dtype == np.float32


@pytest.mark.parametrize("prior", [None, dist.Normal(0.0, 1.0)])
def test_two_calls_share_weights(prior):
    def twice(x, y=None):
        f = ppl.module("net", NET, prior)
        ppl.deterministic("difference", f(x) - ppl.module("net", NET, prior)(x))
        ppl.deterministic("one", ppl.module("net", NET, prior)(x))
        ppl.sample("y", dist.Normal(f(x)[:, 0], 1).to_event(1), obs=y)

    draws = ppl.prior_predictive(twice, X, num_samples=3)
    assert np.all(draws["difference"] == 0.0) and np.any(draws["one"] != 0.0)
    two, one = (ppl.gradient(m, X, Y, guide="meanfield", seed=0) for m in (twice, lambda x, y: regression(x, y)))
    assert two.grad.keys() == one.grad.keys() or prior is not None


def test_weights_with_a_prior_are_random_sites():
    def prior(path, shape):
        return dist.Normal(0.0, 2.0 if path.endswith("bias") else shape[0] ** -0.5)

    graph = ppl.graph(regression, X, Y, prior=prior)
    assert [n.name for n in graph.of_kind("latent")] == [
        f"net.layer{k}.{w}" for k in (0, 1) for w in ("weight", "bias")
    ]
    draws = ppl.prior_predictive(regression, X, prior=prior, num_samples=2000)
    assert draws["net.layer0.weight"].shape == (2000, 3, 8)
    assert abs(draws["net.layer0.weight"].std() * 3**0.5 - 1.0) < 4 / (2 * 48_000) ** 0.5
    assert abs(draws["net.layer0.bias"].std() / 2.0 - 1.0) < 4 / (2 * 16_000) ** 0.5


def test_a_linear_network_with_a_prior_is_linear_regression():
    """Closed form: weights ~ N(0, 1), noise sd 0.1."""
    fit = ppl.infer(regression, X, Y, net=Dense((3, 1)), prior=dist.Normal(0.0, 1.0), progress=False)
    design = np.column_stack([X, np.ones(len(X))])
    precision = design.T @ design / 0.01 + np.eye(4)
    mean = np.linalg.solve(precision, design.T @ Y / 0.01)
    np.testing.assert_allclose(fit["net.layer0.weight"].mean[:, 0], mean[:3], atol=0.15 * precision[0, 0] ** -0.5)
    np.testing.assert_allclose(
        fit["net.layer0.weight"].sd[:, 0], np.sqrt(np.diag(np.linalg.inv(precision)))[:3], rtol=0.2
    )


def test_dropout_draws_noise_while_fitting_and_nowhere_else():
    net, seen = Dense((3, 8, 1), drop=0.5), []

    def model(x, y):
        seen.append(ppl.training())
        regression(x, y, net)

    fit = ppl.infer(model, X, Y, algorithm=ppl.BBVI(steps=3, particles=2), progress=False)
    assert True in seen and False in seen
    assert fit.elbo_se == 0.0  # without dropout nothing is random
    assert not any("noise" in n for n in [*fit.graph.nodes, *fit.sites, *fit.params])
    histories = [
        ppl.infer(
            model, X, Y, algorithm=ppl.BBVI(steps=40, optimizer=ppl.optim.SGD(0.0)), seed=s, progress=False
        ).history
        for s in (0, 0, 1)
    ]
    assert histories[0].std() > 0.0 and np.array_equal(histories[0], histories[1])
    assert not np.array_equal(histories[0], histories[2])


def test_dropout_of_a_linear_layer_has_the_mean_and_variance_of_its_formula():
    """y ~ N(sum of kept inputs / keep, 1): the bound's mean is that of the quadratic."""
    drop, x = 0.25, np.array([[1.0, 2.0, 3.0]])

    @dataclass(frozen=True)
    class Sum:
        def init(self, rng):
            return {"w": np.ones(())}

        def apply(self, weights, x, uniform=None):
            kept = x if uniform is None else np.where(uniform(x.shape) < drop, 0.0, x / (1 - drop))
            return np.sum(kept, -1) * weights["w"]

    def model(x):
        with ppl.plate("rows", 1):
            ppl.sample("y", dist.Normal(ppl.module("sum", Sum())(x), 1.0), obs=np.zeros(1))

    algorithm = ppl.BBVI(steps=4000, particles=2, optimizer=ppl.optim.SGD(0.0))
    history = ppl.infer(model, x, algorithm=algorithm, progress=False).history
    variance = np.sum(x**2) * drop / (1 - drop)
    expected = -0.5 * np.log(2 * np.pi) - 0.5 * (np.sum(x) ** 2 + variance)
    assert abs(history.mean() - expected) < 4 * history.std() / len(history) ** 0.5


def test_a_guide_function_and_the_model_may_share_a_network():
    def model(x, y):
        with ppl.plate("rows", len(x)):
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(z + ppl.module("net", NET)(x)[:, 0], 1.0), obs=y)

    def guide(x, y):
        with ppl.plate("rows", len(x)):
            ppl.sample("z", dist.Normal(ppl.module("net", NET)(x)[:, 0], 1.0))

    fit = ppl.infer(model, X, Y, guide=guide, algorithm=ppl.BBVI(steps=2), progress=False)
    assert [n for n in fit.params if n.startswith("net.")] == list(fit.params)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ppl.module("", NET), ["a name as first argument"]),
        (lambda: ppl.module("net", Dense), ["the class Dense", "Dense(...)"]),
        (lambda: ppl.module("net", np.tanh), ["as a network", "net.init(rng)"]),
        (lambda: ppl.module("net"), ["missing a required argument: 'net'"]),
        (
            lambda: (ppl.module("a", NET), ppl.module("a", Dense((3, 1)))),
            ["a second time", "Dense(sizes=(3, 1)", "where the first was", "ppl.module('a_2'"],
        ),
        (
            lambda: (ppl.module("a", NET), ppl.module("a", NET, dist.Normal(0, 1))),
            ["prior=", "where the first had None"],
        ),
        (lambda: ppl.module("net", NET)(np.zeros((5, 4))), ["module", "(5, 4)", "(3, 8)"]),
        (lambda: ppl.module("net", NET, 3.0), ["a prior 3.0", "prior=dist.Normal(0, 1)"]),
        (lambda: ppl.module("net", NET, dist.Normal(np.zeros(5), 1)), ["a prior of shape (5,)", "shape (3, 8)"]),
    ],
)
def test_refusals(call, words):
    def model():
        call()
        ppl.sample("z", dist.Normal(0, 1))

    for run in (handlers.seed(model, 0), lambda: ppl.graph(model)):
        with pytest.raises(ppl.PPLError) as error:
            run()
        said = str(error.value)
        assert "test_module.py" in said and "got" in said and "expected" in said and "try" in said
        for word in words:
            assert word in said.replace("site 'net'", "module"), said


def test_weights_of_another_network_are_refused():
    fit = ppl.infer(regression, X, Y, algorithm=ppl.BBVI(steps=1), progress=False)

    def other(x, y=None):
        regression(x, y, Dense((3, 5, 1)))

    with pytest.raises(ppl.ShapeError, match=r"weights of shape \(3, 8\) for 'net.layer0.weight'"):
        handlers.substitute(handlers.seed(other, 0), fit.params)(X)
