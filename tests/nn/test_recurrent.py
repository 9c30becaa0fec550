"""Recurrent layers against loops with every gate written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import ppl
import ppl.array as A
from ppl import nn

from .laws import check

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 3))


def gru_by_hand(p, x, h):
    n = h.shape[-1]
    w, u, b, c = p["input"]["weight"], p["state"]["weight"], p["input"]["bias"], p["state"]["bias"]
    part = lambda a, k: a[..., k * n : (k + 1) * n]
    states = []
    for t in range(x.shape[1]):
        r = expit(x[:, t] @ part(w, 0) + part(b, 0) + h @ part(u, 0))
        z = expit(x[:, t] @ part(w, 1) + part(b, 1) + h @ part(u, 1))
        candidate = np.tanh(x[:, t] @ part(w, 2) + part(b, 2) + r * (h @ part(u, 2) + c))
        h = (1 - z) * candidate + z * h
        states.append(h)
    return np.stack(states, 1)


def lstm_by_hand(p, x, h, c):
    n = h.shape[-1]
    w, u, b = p["input"]["weight"], p["state"]["weight"], p["input"]["bias"]
    part = lambda a, k: a[..., k * n : (k + 1) * n]
    states = []
    for t in range(x.shape[1]):
        i, f, o, g = (x[:, t] @ part(w, k) + part(b, k) + h @ part(u, k) for k in range(4))
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, 1)


def test_gru():
    check(nn.GRU(3, 4), X, expected=lambda p, x: gru_by_hand(p, x, np.zeros((2, 4))))
    first = RNG.normal(size=(2, 4))
    check(nn.GRU(3, 4), X, first, expected=gru_by_hand)


def test_lstm():
    check(nn.LSTM(3, 4), X, expected=lambda p, x: lstm_by_hand(p, x, np.zeros((2, 4)), np.zeros((2, 4))))
    net, (h, c) = nn.LSTM(3, 4), RNG.normal(size=(2, 2, 4))
    params = net.init(0, float)
    np.testing.assert_allclose(net.apply(params, X, (h, c)), lstm_by_hand(params, X, h, c), rtol=1e-12)


@pytest.mark.parametrize("net", [nn.GRU(3, 4), nn.LSTM(3, 4)], ids=lambda n: type(n).__name__)
def test_steps_one_by_one_are_the_whole(net):
    params = net.init(0, float)
    whole, state = net.apply(params, X), net.zero((2,), float)
    for t in range(6):
        state = net.step(params, state, X[:, t])
        np.testing.assert_allclose(net.output(state), whole[:, t], rtol=1e-12)
    longer = net.apply(params, np.concatenate([X, X], 1))
    np.testing.assert_allclose(longer[:, :6], whole, rtol=1e-12)  # what comes later changes nothing


def test_stacked_in_a_sequence():
    net = nn.Sequential(nn.Embedding(5, 3), nn.GRU(3, 4), nn.LSTM(4, 2), nn.Linear(2, 5))
    ids = RNG.integers(0, 5, (2, 6))
    (found,) = check(net, ids)
    assert found.shape == (2, 6, 5)


def test_the_program_does_not_grow_with_time():
    net = nn.GRU(3, 4)
    params = net.init(0, float)
    counts = []
    for length in (4, 40):
        x = np.ones((2, length, 3))
        program = A.record(
            lambda w, x=x: (np.sum(net.apply({**params, "state": {**params["state"], "weight": w}}, x)),),
            [params["state"]["weight"]],
        )
        counts.append(len(A.gradient(program, [0]).steps))
    assert counts[0] == counts[1]


def test_a_state_of_another_size_is_refused():
    net = nn.GRU(3, 4)
    with pytest.raises(ppl.ShapeError, match="zero"):
        net.apply(net.init(0), X, np.zeros((2, 3)))
    with pytest.raises(ppl.ShapeError, match="time, 3"):
        net.apply(net.init(0), np.zeros(3))
