"""Shapes: batches, events, expansion, flattening, for every row and for drawn shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ppl.distributions as dist

from .registry import ALL_ROWS, Row, interior_value

pytestmark = pytest.mark.filterwarnings("error")
rows = pytest.mark.parametrize("row", ALL_ROWS, ids=str)
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
drawn = settings(max_examples=5, deadline=None, derandomize=True)


def moments(d):
    """Everything known about d that has the shape of its batch, or of its batch and event."""
    for name in ("mean", "variance", "mode"):
        if d.has(name):
            yield name, getattr(d, name), d.shape()
    if d.has("entropy"):
        yield "entropy", d.entropy(), d.batch_shape


@rows
def test_moments_have_the_shape_of_the_distribution(row: Row):
    for name, value, shape in moments(row.d):
        assert np.shape(value) == shape, name


@rows
@drawn
@given(lead=shapes)
def test_expand_is_lazy_and_honoured_everywhere(row: Row, lead):
    wide = row.d.expand_by(lead)
    assert wide.batch_shape == lead + row.d.batch_shape
    assert wide.event_shape == row.d.event_shape
    if wide.has("sample"):
        assert np.shape(wide.sample(0, (2,))) == (2, *wide.shape())
    if wide.noise is not None:
        assert wide.noise_shape[: len(lead)] == lead
        assert np.shape(wide.from_noise(wide.draw_noise(0, (2,)))) == (2, *wide.shape())
    value = interior_value(row)
    wide_value = np.broadcast_to(value.reshape(4, *(1,) * len(lead), *row.d.shape()), (4, *wide.shape()))
    narrow = np.reshape(row.d.log_prob(value), (4, *(1,) * len(lead), *row.d.batch_shape))
    np.testing.assert_allclose(wide.log_prob(wide_value), np.broadcast_to(narrow, (4, *wide.batch_shape)))
    for (name, ours, shape), (_, base, _) in zip(moments(wide), moments(row.d), strict=True):
        assert np.shape(ours) == shape, name
        np.testing.assert_allclose(ours, np.broadcast_to(base, shape))
    # Parameters are shared, not copied.
    before, after = row.d.tree_flatten()[0], wide.tree_flatten()[0]
    assert [np.shape(x) for x in before] == [np.shape(x) for x in after]


@rows
@drawn
@given(sample_shape=shapes)
def test_log_prob_has_the_shape_of_samples_and_batch(row: Row, sample_shape):
    if not row.d.has("sample"):
        return
    x = row.d.sample(0, sample_shape)
    assert np.shape(x) == row.d.shape(sample_shape)
    assert np.shape(row.d.log_prob(x)) == sample_shape + row.d.batch_shape


@rows
def test_one_value_broadcasts_over_the_batch(row: Row):
    value = interior_value(row)[0]
    one = value[(0,) * len(row.d.batch_shape)]
    assert np.shape(row.d.log_prob(one)) == row.d.batch_shape


@rows
def test_to_event_sums_log_densities(row: Row):
    value, base = interior_value(row), row.d.log_prob(interior_value(row))
    for n in range(len(row.d.batch_shape) + 1):
        d = row.d.to_event(n)
        split = len(row.d.batch_shape) - n
        assert d.batch_shape == row.d.batch_shape[:split]
        assert d.event_shape == row.d.batch_shape[split:] + row.d.event_shape
        assert d.support.event_dim == d.event_dim
        np.testing.assert_allclose(d.log_prob(value), base.sum(axis=tuple(range(-n, 0))) if n else base)


@rows
def test_mask_keeps_shapes_and_drops_log_density(row: Row):
    value = interior_value(row)
    np.testing.assert_array_equal(row.d.mask(False).log_prob(value), np.zeros((4, *row.d.batch_shape)))
    np.testing.assert_array_equal(row.d.mask(True).log_prob(value), row.d.log_prob(value))


@rows
def test_flatten_and_rebuild(row: Row):
    d = row.d.expand_by((2,))
    leaves, rebuild = d.tree_flatten()
    again = rebuild(leaves)
    assert type(again) is type(d)
    assert (again.batch_shape, again.event_shape) == (d.batch_shape, d.event_shape)
    value = interior_value(row)[:, None]
    np.testing.assert_array_equal(again.log_prob(value), d.log_prob(value))


@rows
def test_support_and_event_agree(row: Row):
    assert row.d.support.event_dim == row.d.event_dim
    assert row.d.is_discrete == row.d.support.is_discrete
    assert np.shape(row.d.support(interior_value(row))) == (4, *row.d.batch_shape)
    assert np.all(row.d.support(interior_value(row)))


@given(batch=shapes, scale=shapes)
def test_parameters_broadcast(batch, scale):
    try:
        expected = np.broadcast_shapes(batch, scale)
    except ValueError:
        return
    assert dist.Normal(np.zeros(batch), np.ones(scale)).batch_shape == expected


@given(batch=shapes, n=st.integers(1, 3), count=st.integers(1, 3))
def test_mixtures_take_the_last_batch_axis(batch, n, count):
    weights = dist.Categorical(np.full(count, 1 / count))
    components = dist.Dirichlet(np.ones((*batch, count, n + 1)))
    d = dist.MixtureSameFamily(weights, components)
    assert (d.batch_shape, d.event_shape) == (batch, (n + 1,))
    x = d.sample(0, (5,))
    assert x.shape == (5, *d.shape())
    assert d.log_prob(x).shape == (5, *batch)


def test_rebuild_takes_other_arrays():
    d = dist.Gamma(2.0, np.ones(3)).to_event(1)
    leaves, rebuild = d.tree_flatten()
    other = rebuild([5.0 * x for x in leaves])
    np.testing.assert_allclose(other.base_dist.concentration, 10.0)
    np.testing.assert_allclose(other.mean, d.mean)


def test_lists_are_arrays_and_numbers_stay_numbers():
    d = dist.Normal([0.0, 1.0], 2.0)
    assert d.batch_shape == (2,)
    assert isinstance(d.scale, float)
    assert dist.Normal().log_prob([0.0, 1.0, 2.0]).shape == (3,)


def test_numpyro_argument_order():
    assert dist.StudentT(3.0, 1.0, 2.0).parameters == {"df": 3.0, "loc": 1.0, "scale": 2.0}
    assert dist.Weibull(2.0, 3.0).parameters == {"scale": 2.0, "concentration": 3.0}
    assert dist.Binomial(5, 0.5).parameters == {"total_count": 5, "probs": 0.5}
    assert dist.BetaBinomial(1.0, 2.0, 3).parameters == {
        "concentration1": 1.0,
        "concentration0": 2.0,
        "total_count": 3,
    }
    assert dist.NegativeBinomial2(3.0, 2.0).parameters == {"mean": 3.0, "concentration": 2.0}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: dist.TransformedDistribution(d, dist.transforms.AffineTransform(0.3, 2.0)),
        lambda d: d.mask(np.array(True)),
    ],
    ids=["transformed", "masked"],
)
def test_twenty_wrappers_are_expanded_in_twenty_steps(monkeypatch, wrap):
    """One construction for each layer; twice for each would be a million."""
    d, made, begin = dist.Normal(0.0, 1.0), [], dist.Distribution.__init__
    monkeypatch.setattr(dist.Distribution, "__init__", lambda self, *a, **k: (made.append(1), begin(self, *a, **k))[1])
    for _ in range(20):
        d = wrap(d)
    d.expand((2, 3))
    assert d.expand(d.batch_shape) is d
    assert len(made) <= 3 * 20


def test_the_entropy_of_many_transforms_builds_no_distribution(monkeypatch):
    parts = [dist.transforms.AffineTransform(0.1, 1.5)] * 20 + [dist.transforms.ExpTransform()]
    d = dist.TransformedDistribution(dist.Normal(0.3, 1.0), parts)
    made, begin = [], dist.Distribution.__init__
    monkeypatch.setattr(dist.Distribution, "__init__", lambda self, *a, **k: (made.append(1), begin(self, *a, **k))[1])
    scale = 1.5**20
    loc = 0.3 * scale + 0.1 * (scale - 1.0) / 0.5
    assert d.entropy() == pytest.approx(loc + np.log(scale) + 0.5 * np.log(2 * np.pi * np.e))
    assert not made
