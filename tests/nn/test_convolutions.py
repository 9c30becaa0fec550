"""Convolutions against scipy.signal, their masks by derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

import ppl
import ppl.array as A
from ppl import nn

from .laws import check

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 6, 7, 3))


def correlated(x, w, bias, stride, pads, dilation):
    """A convolution of networks, each pair of features by scipy.signal."""
    (a, b), (c, d) = pads
    x = np.pad(x, [(0, 0), (a, b), (c, d), (0, 0)])
    full = np.zeros([(n - 1) * g + 1 for n, g in zip(w.shape[:2], dilation)] + list(w.shape[2:]))
    full[:: dilation[0], :: dilation[1]] = w
    pairs = [
        [
            sum(signal.correlate2d(image[..., i], full[..., i, o], mode="valid") for i in range(w.shape[2]))
            for o in range(w.shape[3])
        ]
        for image in x
    ]
    return np.moveaxis(np.array(pairs), 1, -1)[:, :: stride[0], :: stride[1]] + bias


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 0, 1), ((2, 3), (2, 1), (1, 0), 1), (2, 2, 1, (2, 3)), (1, 1, 0, 1), (1, 2, 0, 1)],
)
def test_conv2d(kernel, stride, padding, dilation):
    pair = lambda n: (n, n) if isinstance(n, int) else n
    pads = [(p, p) for p in pair(padding)]
    check(
        nn.Conv2d(3, 4, kernel, stride, padding, dilation),
        IMAGES,
        expected=lambda p, x: correlated(x, p["weight"], p["bias"], pair(stride), pads, pair(dilation)),
    )


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (5, 3), (2, 3)])
def test_same_padding_divides_by_the_stride(kernel, stride):
    net = nn.Conv2d(3, 2, kernel, stride, padding="same")
    (found,) = check(net, IMAGES)
    assert found.shape == (2, -(-6 // stride), -(-7 // stride), 2)
    if stride == 1:
        check(net, IMAGES, expected=lambda p, x: correlated(x, p["weight"], p["bias"], (1, 1), [(1, 1)] * 2, (1, 1)))


def test_conv1d():
    x = RNG.normal(size=(2, 9, 3))

    def by_scipy(p, x):
        rows = [[sum(np.correlate(s[:, i], p["weight"][:, i, o]) for i in range(3)) for o in range(2)] for s in x]
        return np.moveaxis(np.array(rows), 1, -1)[:, ::2] + p["bias"]

    check(nn.Conv1d(3, 2, 4, stride=2), x, expected=by_scipy)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "more"), [(3, 1, 0, 0), (4, 2, 1, 0), (3, 2, 1, 1), (2, 3, 0, 0)]
)
def test_transposed_convolution(kernel, stride, padding, more):
    x = IMAGES[:, :3, :4]

    def by_scipy(p, x):
        wide = np.zeros((2, 2 * stride + 1, 3 * stride + 1, 3))
        wide[:, ::stride, ::stride] = x
        rows = [
            [sum(signal.convolve2d(image[..., i], p["weight"][..., i, o]) for i in range(3)) for o in range(2)]
            for image in wide
        ]
        y = np.pad(np.moveaxis(np.array(rows), 1, -1), [(0, 0), (0, more), (0, more), (0, 0)])
        inside = slice(padding, -padding or None)
        return y[:, inside, inside] + p["bias"]

    (found,) = check(nn.ConvTranspose2d(3, 2, kernel, stride, padding, more), x, expected=by_scipy)
    assert found.shape[1] == 2 * stride + kernel - 2 * padding + more


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (5, 2), (3, 2), (2, 3)])
def test_the_transpose_is_the_adjoint_of_the_convolution(kernel, stride):
    """sum(conv(x) y) = sum(x transpose(y)) for x and y of any numbers."""
    x = RNG.normal(size=(4 * stride, 5 * stride, 2))
    down, up = nn.Conv2d(2, 3, kernel, stride, "same"), nn.ConvTranspose2d(3, 2, kernel, stride, "same")
    w = RNG.normal(size=(kernel, kernel, 2, 3))
    y = RNG.normal(size=(4, 5, 3))
    one = down.apply({"weight": w, "bias": np.zeros(3)}, x)
    other = up.apply({"weight": np.swapaxes(w, 2, 3), "bias": np.zeros(2)}, y)
    assert one.shape == y.shape and other.shape == x.shape
    np.testing.assert_allclose(np.sum(one * y), np.sum(x * other), rtol=1e-12)


# -- masks -------------------------------------------------------------------------------------------------
def influence(fun, x):
    """Which inputs (first) each output (second) depends on, by derivatives of the recorded program."""
    size = x.size
    rows = []
    for k in range(np.size(fun(x))):
        slope = A.compile_program(A.gradient(A.record(lambda v, k=k: (np.reshape(fun(v), -1)[k],), [x]), [0]))(x)[1]
        rows.append(np.ravel(slope) != 0)
    return np.array(rows).reshape(-1, size).T


@pytest.mark.parametrize("strict", [False, True])
def test_causal_convolutions_see_what_came_before(strict):
    x = RNG.normal(size=(8, 2))
    net = nn.MaskedConv1d(2, 3, 3, dilation=2, strict=strict)
    params = net.init(0, float)
    seen = influence(lambda v: net.apply(params, v), x).reshape(8, 2, 8, 3)
    for t in range(8):
        expected = {t - strict - 2 * k for k in range(3)} & set(range(8))
        assert set(np.flatnonzero(seen[:, :, t].any((1, 2)))) == expected
    assert net.reach == 4 + strict

    def by_hand(p, x):
        y = np.tile(p["bias"], (8, 1))
        for t in range(8):
            for k in range(3):
                if (s := t - strict - 2 * (2 - k)) >= 0:
                    y[t] += x[s] @ p["weight"][k]
        return y

    check(net, x, expected=by_hand)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("strict", [False, True])
def test_masked_convolutions_read_in_order(strict, colours):
    x = RNG.normal(size=(4, 5, 3))
    net = nn.MaskedConv2d(3, 6, 3, strict, colours)
    check(net, x)
    params = net.init(0, float)
    seen = influence(lambda v: net.apply(params, v), x).reshape(4, 5, 3, 4, 5, 6)
    for r, c, f in np.ndindex(4, 5, 6):
        for a, b, i in np.ndindex(4, 5, 3):
            near = abs(a - r) <= 1 and abs(b - c) <= 1
            own, other = f * colours // 6, i * colours // 3
            before = (a, b) < (r, c) or ((a, b) == (r, c) and (own > other if strict else own >= other))
            assert seen[a, b, i, r, c, f] == (near and before)


def test_a_masked_convolution_is_a_plain_one_with_zeros():
    x = RNG.normal(size=(2, 5, 4, 2))
    net = nn.MaskedConv2d(2, 3, 5)

    def by_scipy(p, x):
        w = np.zeros((5, 5, 2, 3))
        w[:2], w[2, :3] = p["weight"][:2], p["weight"][2, :3]
        return correlated(x, w, p["bias"], (1, 1), [(2, 2)] * 2, (1, 1))

    check(net, x, expected=by_scipy)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv2d(1, 1, 0), "kernel"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), "2 of them"),
        (lambda: nn.MaskedConv2d(1, 1, 4), "odd"),
        (lambda: nn.MaskedConv2d(4, 3, 3, colours=3), "multiple of 3"),
        (lambda: nn.Conv2d(1, 1, 5).apply(nn.Conv2d(1, 1, 5).init(0), np.zeros((3, 3, 1))), "windows that fit"),
        (lambda: nn.Conv2d(2, 1, 3).apply({}, np.zeros((2, 3))), "height, width, 2"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ppl.PPLError, match=words):
        make()
