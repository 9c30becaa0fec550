"""Distributions by masked networks: they sum to one, they read in order, draws follow the density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl import nn

from .laws import leaves_of, rebuilt
from .test_flows import scrambled

# name -> (network, values of one element)
SMALL = {
    "made": (nn.MADE(6, 20), 2),
    "made, two layers": (nn.MADE(4, 12, 12, family="categorical", levels=3), 3),
    "made of one feature": (nn.MADE(1, 4), 2),
    "made of a context": (nn.MADE(4, 12, context=3), 2),
    "made of levels": (nn.MADE(3, 10, family="logistics", levels=5), 5),
    "made of a family of its own": (nn.MADE(3, 8, family=lambda r: dist.Binomial(2, logits=r[..., 0]), outs=1), 3),
    "wavenet": (nn.WaveNet(6, 6, (1, 2), family="categorical", levels=3), 3),
    "wavenet of a context": (nn.WaveNet(7, 5, (1, 2), kernel=3, context=3), 2),
    "pixelcnn": (nn.PixelCNN((3, 3, 1), 8, layers=2, first=3), 2),
    "pixelcnn of a context": (nn.PixelCNN((2, 4, 1), 6, layers=1, first=5, context=3), 2),
    "pixelcnn in colour": (nn.PixelCNN((2, 2, 2), 8, layers=2, first=3), 2),
    "pixelcnn of three colours": (nn.PixelCNN((1, 2, 3), 9, layers=1, first=3, family="logistics", levels=3), 3),
}
CONTEXT = np.random.default_rng(5).normal(size=(2, 3))


def law(name, size=0.6):
    net, _ = SMALL[name]
    return net.apply(scrambled(net, size), *((CONTEXT,) if net.context else ()))


def everything(name):
    """All arrays there are."""
    net, levels = SMALL[name]
    count = int(np.prod(net.shape))
    return np.stack(np.meshgrid(*[np.arange(levels)] * count, indexing="ij"), -1).reshape(-1, *net.shape)


@pytest.mark.parametrize("name", SMALL)
def test_densities_sum_to_one_over_all_images(name):
    d, x = law(name), everything(name)
    x = x[:, None] if d.batch_shape else x
    log_p = d.log_prob(x)
    assert log_p.shape == (len(x), *d.batch_shape)
    np.testing.assert_allclose(np.exp(log_p).sum(0), 1.0, rtol=1e-10)
    assert np.ptp(log_p) > 0.5  # they are not all alike


@pytest.mark.parametrize("name", SMALL)
def test_every_element_depends_on_those_before_it_alone(name):
    """By derivatives of all numbers of the network in all elements, at several arrays: a ReLU may be off at one."""
    net, _ = SMALL[name]
    params, shape = scrambled(net), net.shape
    context = CONTEXT[0] if net.context else None
    arrays, count = np.random.default_rng(0).normal(size=(9, *shape)), int(np.prod(shape))
    seen = np.zeros((count, count), bool)
    for i in range(count):
        weights = np.random.default_rng(i).normal(size=net.count)
        fun = lambda v, i=i, w=weights: (np.sum(np.reshape(net.numbers(params, v, context), (count, -1))[i] * w),)
        slope = A.compile_program(A.gradient(A.record(fun, [arrays[0]]), [0]))
        seen[i] = np.any([np.ravel(slope(x)[1]) != 0 for x in arrays], axis=0)
    assert not np.any(np.triu(seen))
    if isinstance(net, nn.MADE):
        assert np.array_equal(seen, np.tri(count, k=-1, dtype=bool))
    if isinstance(net, nn.WaveNet):
        back = np.arange(count)[:, None] - np.arange(count)
        assert np.array_equal(seen, (back > 0) & (back <= net.reach))
    if isinstance(net, nn.PixelCNN):
        near = np.array([[_next_to(a, b) for b in np.ndindex(*shape)] for a in np.ndindex(*shape)])
        assert np.all(seen[near])


def _next_to(a, b):
    """Is b a pixel right above, left above or to the left of a, or an earlier colour of it?"""
    rows, columns = a[0] - b[0], a[1] - b[1]
    return (rows == 1 and abs(columns) <= 1) or (rows == 0 and columns == 1) or (a[:2] == b[:2] and b[2] < a[2])


@pytest.mark.parametrize("name", SMALL)
def test_draws_follow_the_density(name):
    d, x, (_, levels) = law(name), everything(name), SMALL[name]
    draws = d.sample(1, (3000,))
    assert draws.shape == (3000, *d.shape()) and draws.dtype == np.int64
    x = x[:, None] if d.batch_shape else x
    p = np.exp(d.log_prob(x)).reshape(len(x), -1)
    place = levels ** np.arange(int(np.prod(d.event_shape)))[::-1]
    numbers = (draws.reshape(3000, -1, len(place)) @ place).T
    for own, cells in zip(p.T, numbers, strict=True):
        order = np.argsort(own)[::-1]
        often = order[own[order] * 3000 > 5]
        counts = np.bincount(cells, minlength=len(own))
        expected = np.append(own[often], 1 - own[often].sum()) * 3000
        found = np.append(counts[often], 3000 - counts[often].sum())
        keep = expected > 1e-6
        assert stats.chisquare(found[keep], expected[keep] * found[keep].sum() / expected[keep].sum()).pvalue > 1e-4


def test_the_part_that_a_draw_looks_at_is_all_that_counts():
    """Numbers of an element by the part of the image that it sees are those by the whole image."""
    for net in (nn.PixelCNN((9, 8, 2), 8, layers=1, first=3), nn.WaveNet(30, 6, (1, 2, 4))):
        params = scrambled(net)
        x = np.random.default_rng(0).normal(size=net.shape)
        whole = net.numbers(params, x, None)
        for place in np.ndindex(*net.shape):
            part, at = net.seen(place)
            np.testing.assert_allclose(net.numbers(params, x[part], None)[at], whole[place], rtol=1e-9, atol=1e-9)
        smaller = net.seen(tuple(n - 1 for n in net.shape))[0]
        assert np.size(x[smaller]) < x.size / 2


def test_a_continuous_one_integrates_to_one():
    net = nn.MADE(2, 8, family="normal")
    d = net.apply(scrambled(net, 0.4))
    axis = np.linspace(-40, 40, 601)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    assert np.exp(d.log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=2e-3)
    assert d.sample(0, (7,)).dtype.kind == "f"


@pytest.mark.parametrize("name", ["made", "wavenet of a context", "pixelcnn of three colours"])
def test_gradients_in_the_weights(name):
    net, levels = SMALL[name]
    params = scrambled(net)
    own, context = leaves_of(params), (CONTEXT,) if net.context else ()
    x = np.random.default_rng(0).integers(0, levels, (2, *net.shape))
    fun = lambda *w: (np.sum(net.apply(rebuilt(params, w), *context).log_prob(x)),)
    program = A.record(fun, own)
    slopes = A.compile_program(A.gradient(program, range(len(own))))(*own)[1:]
    rng = np.random.default_rng(1)
    moves = [rng.normal(size=w.shape) for w in own]
    ends = [fun(*[w + s * m for w, m in zip(own, moves, strict=True)])[0] for s in (1e-6, -1e-6)]
    expected = (ends[0] - ends[1]) / 2e-6
    assert sum(np.sum(s * m) for s, m in zip(slopes, moves, strict=True)) == pytest.approx(expected, rel=1e-5)


def test_they_are_rebuilt_from_their_arrays():
    for name in ("made of a context", "pixelcnn"):
        d, x = law(name), everything(name)[:5]
        x = x[:, None] if d.batch_shape else x
        leaves, rebuild = d.tree_flatten()
        np.testing.assert_array_equal(rebuild(leaves).log_prob(x), d.log_prob(x))
        wide = d.expand((4, *d.batch_shape))
        assert wide.log_prob(x[0]).shape == wide.batch_shape and wide.sample(0).shape == wide.shape()


def test_values_outside_are_refused_or_impossible():
    d = law("made of levels")
    assert d.log_prob(np.array([0, 4, 5])) == -np.inf
    with pytest.raises(ppl.SupportError, match="4"):
        d.check_value(np.array([0, 4, 5]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.MADE(3, 4, family="gaussian"), "logistics"),
        (lambda: nn.MADE(3, 4, family="categorical"), "levels=256"),
        (lambda: nn.MADE(3, 4, family=lambda r: None), "outs="),
        (lambda: nn.PixelCNN((3, 3), 4), "height, width, colours"),
        (lambda: nn.PixelCNN((3, 3, 3), 4), "multiple of 3"),
        (lambda: nn.MADE(3, 4, context=2).apply({}), "without its context"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ppl.PPLError, match=words):
        make()


# -- in models -----------------------------------------------------------------------------------------------------
def test_maximum_likelihood_comes_to_the_entropy_of_what_it_is_fitted_to():
    """A vector whose second half is the first half, turned around: log 2 for each free bit, and no more."""
    rng = np.random.default_rng(0)
    free = rng.integers(0, 2, (600, 3))
    x = np.concatenate([free, free[:, ::-1]], 1)

    def model(x):
        made = ppl.module("made", nn.MADE(6, 40))
        with ppl.plate("rows", len(x), subsample_size=100) as i:
            ppl.sample("x", made(), obs=x[i])

    fit = ppl.infer(model, x, algorithm=ppl.BBVI(steps=600, optimizer=ppl.optim.Adam(0.02)), progress=False)
    assert -fit.elbo / len(x) == pytest.approx(3 * np.log(2.0), abs=0.05)
