"""Layers on the last axis."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.array as A
from ppl import nn

from .laws import check, leaves_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))


def test_linear():
    check(nn.Linear(3, 4), X, expected=lambda p, x: np.einsum("bi,io->bo", x, p["weight"]) + p["bias"])
    check(nn.Linear(3, 4, bias=False), X[None], expected=lambda p, x: np.einsum("abi,io->abo", x, p["weight"]))


def test_masked_linear_lets_through_what_the_degrees_say():
    before, after = (1, 3, 2), (2, 1, 3, 2)
    for strict in (False, True):
        net = nn.MaskedLinear(before, after, strict)
        seen = [[b > a if strict else b >= a for b in after] for a in before]
        check(net, X, expected=lambda p, x, seen=seen: x @ np.where(seen, p["weight"], 0.0) + p["bias"])


@pytest.mark.parametrize(
    ("name", "formula"),
    {
        "relu": lambda x: (x + np.abs(x)) / 2,
        "leaky_relu": lambda x: [[v if v > 0 else v / 100 for v in row] for row in x],
        "tanh": lambda x: np.sinh(x) / np.cosh(x),
        "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "gelu": lambda x: x * stats.norm.cdf(x),
        "elu": lambda x: [[v if v > 0 else np.exp(v) - 1 for v in row] for row in x],
        "softplus": lambda x: np.logaddexp(0.0, x),
        "softmax": lambda x: special.softmax(x, axis=-1),
        "identity": lambda x: x,
    }.items(),
)
def test_activations(name, formula):
    net = nn.Sequential(nn.Linear(3, 4), name)
    check(net, X, expected=lambda p, x: np.asarray(formula(x @ p["0"]["weight"] + p["0"]["bias"])))
    assert np.all(np.isfinite(getattr(nn, name)(np.array([-500.0, 0.0, 500.0]))))


def test_mlp_with_several_hidden_layers():
    def by_hand(p, x):
        for i in "01":
            x = np.tanh(x @ p[i]["weight"] + p[i]["bias"])
        return x @ p["2"]["weight"] + p["2"]["bias"]

    check(nn.MLP(3, 5, 4, 2, activation="tanh"), X, expected=by_hand)
    check(nn.MLP(3, 2), X, expected=lambda p, x: x @ p["0"]["weight"] + p["0"]["bias"])


def test_heads_lie_in_their_sets():
    heads = ("real", "positive", "unit_interval", "simplex", ppl.distributions.constraints.interval(2.0, 5.0))
    net = nn.MLP(3, 6, (2, 2, 1, 4, 3), heads=heads)

    def by_hand(p, x):
        h = np.maximum(x @ p["0"]["weight"] + p["0"]["bias"], 0.0)
        out = [h @ q["weight"] + q["bias"] for q in (p["1"][str(i)] for i in range(5))]
        onto = (
            lambda v: v,
            np.exp,
            special.expit,
            lambda v: special.softmax(v, -1),
            lambda v: 2 + 3 * special.expit(v),
        )
        return [f(v) for f, v in zip(onto, out, strict=True)]

    check(net, X, expected=by_hand)
    one = nn.MLP(3, 2, heads="positive")
    assert np.all(one.apply(one.init(0), X) > 0)
    ordered = nn.MLP(3, 4, (3, 2), heads=("ordered_vector", None))
    assert np.all(np.diff(ordered.apply(ordered.init(0), X)[0]) > 0)


def test_a_head_of_fewer_free_numbers_than_elements():
    net = nn.MLP(3, (3,), heads=(ppl.distributions.constraints.zero_sum(1),))
    assert net.size == 4 * 2
    np.testing.assert_allclose(net.apply(net.init(0), X)[0].sum(-1), 0.0, atol=1e-6)


def test_several_inputs_are_joined():
    y = RNG.normal(size=(1, 2))
    both = np.concatenate([X, np.repeat(y, 5, 0)], 1)
    net = nn.MLP(5, 4, 2)
    check(net, X, y, expected=lambda p, x, y: net.apply(p, both))


def test_layer_norm():
    def by_hand(p, x):
        return np.stack([p["weight"] * (r - r.mean()) / np.sqrt(r.var() + 1e-5) + p["bias"] for r in x])

    check(nn.LayerNorm(3), X, expected=by_hand)


def test_embedding_and_its_gradient_by_counting():
    ids = np.array([[2, 0], [2, 2], [5, 1]])
    net = nn.Embedding(6, 3)
    check(net, ids, expected=lambda p, i: np.stack([[p["weight"][k] for k in row] for row in i]))
    weight = net.init(0, float)["weight"]
    slope = A.compile_program(A.gradient(A.record(lambda w, i: (np.sum(w[i]),), [weight, ids]), [0]))(weight, ids)[1]
    np.testing.assert_array_equal(slope, np.repeat(np.bincount(ids.ravel(), minlength=6)[:, None], 3, 1))


def test_dropout_keeps_the_mean_and_uses_its_own_noise():
    net, x = nn.Dropout(0.3), np.ones(200_000)
    assert net.apply({}, x) is x
    y = net.apply({}, x, uniform=np.random.default_rng(0).random)
    assert set(np.unique(y)) == {0.0, 1.0 / 0.7}
    assert abs(y.mean() - 1.0) < 4 * np.sqrt(0.3 / 0.7 / x.size)  # four standard errors
    noise = RNG.random((5, 4))
    keep = (noise >= 0.4) / 0.6
    stack = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.4))
    check(stack, X, uniform=lambda s: noise, expected=lambda p, x: (x @ p["0"]["weight"] + p["0"]["bias"]) * keep)


def test_residual_adds_its_input():
    net = nn.Residual(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3), "relu"))
    check(net, X, expected=lambda p, x: x + net.body.apply(p, x))
    with pytest.raises(ppl.ShapeError, match="shape of the input"):
        nn.Residual(nn.Linear(3, 2)).apply(nn.Linear(3, 2).init(0), X)


# -- starts ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("start", "variance"), [("uniform", 1 / 3 / 300), ("he", 2 / 300), ("glorot", 2 / 500), ("normal", 1.0)]
)
def test_starts_have_the_variance_of_their_rule(start, variance):
    weight = nn.Linear(300, 200, start=start).init(0)["weight"].astype(float)
    # the relative error of a variance from 60,000 numbers of kurtosis at most 3 is sqrt(2 / 60,000)
    assert abs(weight.var() / variance - 1.0) < 4 * np.sqrt(2 / weight.size)
    assert abs(weight.mean()) < 4 * np.sqrt(variance / weight.size)


def test_the_uniform_start_is_pytorchs():
    for x in nn.Linear(16, 200).init(0, float).values():
        assert 0.23 < np.abs(x).max() <= 0.25  # the largest of 200 numbers is below 0.23 once in ten million draws


def test_init_is_a_function_of_the_seed_and_float32():
    net = nn.MLP(3, 4, (2, 2))
    one, two, other = (leaves_of(net.init(s)) for s in (3, np.random.default_rng(3), 4))
    assert all(np.array_equal(a, b) and a.dtype == np.float32 for a, b in zip(one, two, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(x.dtype == np.float64 for x in leaves_of(net.init(0, float)))


# -- values ------------------------------------------------------------------------------------------------
def test_networks_are_values():
    make = lambda n: nn.Sequential(nn.MLP(3, n, 2, heads=("positive")), nn.MaskedLinear((1, 2), (1, 2)), "tanh")
    assert make(4) == make(4) and hash(make(4)) == hash(make(4)) and make(4) != make(5)
    with pytest.raises(AttributeError):
        make(4).parts = ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.MLP(3), "an input and an output"),
        (lambda: nn.MLP(3, (2, 2), 4), "whole numbers"),
        (lambda: nn.MLP(3, 2, activation="rleu"), "relu"),
        (lambda: nn.MLP(3, 2, heads="postive"), "constraint"),
        (lambda: nn.MLP(3, (2, 2), heads=("real",)), "one head for each"),
        (lambda: nn.Linear(3, 2, start="xavier"), "glorot"),
        (lambda: nn.Dropout(1.0), "below 1"),
        (lambda: nn.Sequential(nn.Linear(1, 1), "rleu"), "relu"),
        (lambda: nn.Embedding(3, 2).apply({"weight": np.eye(3)}, np.array([0.5])), "whole numbers"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ppl.PPLError, match=words):
        make()


def test_an_input_of_another_size_names_the_layer_and_the_cure():
    net = nn.MLP(784, 2)
    with pytest.raises(ppl.ShapeError, match=r"\(5, 28, 28\) for MLP\(784, 2\)[\s\S]*reshape"):
        net.apply(net.init(0), np.zeros((5, 28, 28)))
