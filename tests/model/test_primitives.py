"""Statements of the language: what they return, which shapes plates give, how arguments arrive."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl import handlers
from ppl.distributions import constraints


def traced(model, *args, seed=0, **kwargs):
    """The sites of one run from the prior."""
    return handlers.trace(handlers.seed(model, seed)).get_trace(*args, **kwargs)


# -- sample, param, deterministic, factor ----------------------------------------------------------
def test_sample_draws_and_obs_is_returned():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        x = ppl.sample("x", dist.Normal(z, 1), obs=2.5)
        assert x == 2.5
        return z

    sites = traced(model)
    assert sites["z"]["type"] == "sample" and not sites["z"].is_observed
    assert sites["x"].is_observed and sites["x"]["value"] == 2.5
    assert isinstance(sites["z"]["fn"], dist.Normal)
    assert list(sites) == ["z", "x"]


def test_sample_shape_adds_batch_axes_on_the_left():
    sites = traced(lambda: ppl.sample("z", dist.Normal(np.zeros(3), 1), sample_shape=(4, 2)))
    assert sites["z"]["value"].shape == (4, 2, 3)


def test_infer_is_accepted_with_a_note():
    with pytest.warns(UserWarning, match="ignored"):
        traced(lambda: ppl.sample("z", dist.Bernoulli(0.5), infer={"enumerate": "parallel"}))


def test_param_has_its_start_outside_inference():
    def model():
        a = ppl.param("a", 2.0)
        b = ppl.param("b", np.ones(3), constraints.positive)
        c = ppl.param("c", lambda rng, indices: np.full(2, 7.0))
        return a, b, c

    a, b, c = handlers.seed(model, 0)()
    assert a == 2.0 and b.shape == (3,) and np.all(c == 7.0)
    assert traced(model)["b"]["type"] == "param"


def test_param_may_be_named_twice():
    def model():
        return ppl.param("a", 2.0) + ppl.param("a", 2.0)

    assert handlers.trace(handlers.seed(model, 0)).get_trace() and handlers.seed(model, 0)() == 4.0


def test_deterministic_and_factor():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        twice = ppl.deterministic("twice", 2 * z)
        ppl.factor("weight", -(z**2))
        return z, twice

    z, twice = handlers.seed(model, 3)()
    assert twice == 2 * z
    sites = traced(model, seed=3)
    assert sites["twice"]["type"] == "deterministic" and sites["twice"]["value"] == twice
    assert sites["weight"]["fn"].log_prob(sites["weight"]["value"]) == pytest.approx(-(z**2))


def test_outside_of_everything():
    """Without a handler: parameters and deterministics work, a draw says what to do."""
    assert ppl.param("a", 2.0) == 2.0 and ppl.deterministic("d", 3.0) == 3.0
    assert ppl.sample("x", dist.Normal(0, 1), obs=1.0) == 1.0
    with ppl.plate("rows", 3) as i:
        np.testing.assert_array_equal(i, [0, 1, 2])
    with pytest.raises(ppl.ModelError, match=r"(?s)randomness.*try ppl.handlers.seed"):
        ppl.sample("z", dist.Normal(0, 1))


# -- plates ----------------------------------------------------------------------------------------
def test_plates_take_axes_from_the_right_in_order_of_nesting():
    def model():
        with ppl.plate("a", 3):
            x = ppl.sample("x", dist.Normal(0, 1))
            with ppl.plate("b", 2):
                y = ppl.sample("y", dist.Normal(x, 1))
                with ppl.plate("c", 5):
                    z = ppl.sample("z", dist.Normal(y, 1).expand([5, 2, 3]))
        return x, y, z

    x, y, z = handlers.seed(model, 0)()
    assert x.shape == (3,) and y.shape == (2, 3) and z.shape == (5, 2, 3)
    sites = traced(model)
    assert [(p.name, p.dim, p.size) for p in sites["z"].plates] == [("a", -1, 3), ("b", -2, 2), ("c", -3, 5)]


def test_dim_fixes_an_axis():
    def model():
        with ppl.plate("a", 3, dim=-2):
            x = ppl.sample("x", dist.Normal(0, 1))
            with ppl.plate("b", 2):
                y = ppl.sample("y", dist.Normal(x, 1))
        with ppl.plate("b", 2):
            w = ppl.sample("w", dist.Normal(0, 1))
        return x, y, w

    x, y, w = handlers.seed(model, 0)()
    assert x.shape == (3, 1) and y.shape == (3, 2) and w.shape == (2,)


def test_a_plate_may_be_entered_again():
    def model():
        rows = ppl.plate("rows", 3)
        with rows:
            a = ppl.sample("a", dist.Normal(0, 1))
        with rows:
            b = ppl.sample("b", dist.Normal(a, 1))
        return a.shape, b.shape

    assert handlers.seed(model, 0)() == ((3,), (3,))


def test_events_stay_on_the_right_of_plates():
    def model():
        with ppl.plate("rows", 4):
            v = ppl.sample("v", dist.Normal(np.zeros(3), 1).to_event(1))
            m = ppl.sample("m", dist.MultivariateNormal(np.zeros(2), np.eye(2)))
            s = ppl.sample("s", dist.Dirichlet(np.ones(3)))
        return v.shape, m.shape, s.shape

    assert handlers.seed(model, 0)() == ((4, 3), (4, 2), (4, 3))


def test_draws_in_a_plate_are_independent():
    def model():
        with ppl.plate("rows", 1000):
            return ppl.sample("z", dist.Normal(0, 1))

    z = handlers.seed(model, 0)()
    assert abs(z.mean()) < 0.15 and abs(z.std() - 1) < 0.1


def test_a_subsampled_plate_gives_indices_and_scales():
    data = np.arange(10.0)

    def model(x):
        with ppl.plate("rows", 10, subsample_size=4) as i:
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("x", dist.Normal(z, 1), obs=x[i])
        return i

    i = handlers.seed(model, 1)(data)
    assert len(i) == 4 and len(set(i)) == 4 and set(i) <= set(range(10))
    sites = traced(model, data, seed=1)
    assert sites["x"].plate_scale == 2.5 and sites["z"]["value"].shape == (4,)
    np.testing.assert_array_equal(sites["x"]["value"], data[i])
    assert not np.array_equal(handlers.seed(model, 2)(data), i)


def test_a_subsample_no_smaller_than_the_plate_is_the_plate():
    def model():
        with ppl.plate("rows", 5, subsample_size=9) as i:
            ppl.sample("z", dist.Normal(0, 1))
        return i

    np.testing.assert_array_equal(handlers.seed(model, 0)(), np.arange(5))
    assert traced(model)["z"].plate_scale == 1.0


def test_scales_of_nested_plates_multiply():
    def model():
        with ppl.plate("a", 10, subsample_size=5), ppl.plate("b", 9, subsample_size=3):
            ppl.sample("z", dist.Normal(0, 1))

    assert traced(model)["z"].plate_scale == 6.0


def test_a_parameter_in_a_subsampled_plate_has_a_row_per_datum():
    def model():
        with ppl.plate("rows", 6, subsample_size=2) as i:
            return ppl.param("a", np.arange(6.0)), i

    a, i = handlers.seed(model, 4)()
    np.testing.assert_array_equal(a, i)


# -- arguments of every kind -----------------------------------------------------------------------
@dataclass(frozen=True)
class Study:
    """Data in a dataclass."""

    x: np.ndarray
    name: str
    weight: float = 2.0


Pair = namedtuple("Pair", ["x", "y"])


def kinds():
    pandas = pytest.importorskip("pandas")
    x = np.array([0.5, -1.0, 2.0])
    frame = pandas.DataFrame({"x": x, "group": ["a", "b", "a"]}, index=[7, 8, 9])
    return {
        "array": (x, lambda d: d),
        "list": (list(x), lambda d: np.asarray(d)),
        "tuple of arrays": ((x, 2), lambda d: d[0]),
        "dict": ({"x": x, "none": None}, lambda d: d["x"]),
        "nested": ({"a": [x, {"b": x}]}, lambda d: d["a"][1]["b"]),
        "dataclass": (Study(x, "study"), lambda d: d.x * d.weight / 2.0),
        "namedtuple": (Pair(x, None), lambda d: d.x),
        "frame": (frame, lambda d: d["x"].to_numpy()),
        "series": (frame["x"], lambda d: d),
        "string": ("0.5,-1,2", lambda d: np.array([float(v) for v in d.split(",")])),
        "float32": (x.astype(np.float32), lambda d: d),
        "whole numbers": (np.array([1, 0, 2]), lambda d: d),
        "booleans": (np.array([True, False, True]), lambda d: d * 1.0),
    }


@pytest.mark.parametrize("kind", kinds())
def test_arguments_of_every_kind_reach_the_model(kind):
    data, read = kinds()[kind]

    def model(data, scale=1.0, note=None):
        assert note is None or isinstance(note, str)
        x = read(data)
        mu = ppl.sample("mu", dist.Normal(0, 2))
        with ppl.plate("rows", len(x)):
            ppl.sample("x", dist.Normal(mu, scale), obs=x)

    expected = np.mean(np.asarray(read(data), dtype=float)) * 3 / (3 + 0.25)
    for extra in ({}, {"note": "text", "scale": 1}):
        fit = ppl.infer(model, data, progress=False, **extra)
        assert float(fit["mu"].mean) == pytest.approx(expected, abs=0.05)
    assert ppl.prior_predictive(model, data, num_samples=3)["x"].shape == (3, 3)


def test_pandas_columns_meet_draws_on_both_sides():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.1, 1.2, 1.9]}, index=[4, 5, 6])

    def model(frame):
        b = ppl.sample("b", dist.Normal(0, 10))
        with ppl.plate("rows", len(frame)):
            ppl.sample("y", dist.Normal(frame["x"] * b + 0.0 * (b * frame["x"]), 0.1), obs=frame["y"])

    assert float(ppl.infer(model, frame, progress=False)["b"].mean) == pytest.approx(1.0, abs=0.05)


def test_a_group_index_from_the_data_gathers():
    def model(group, y):
        count = int(group.max()) + 1
        names = np.unique(group)
        assert len(names) == count
        with ppl.plate("groups", count):
            mu = ppl.sample("mu", dist.Normal(0, 10))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(mu[group], 0.5), obs=y)

    group, y = np.array([0, 0, 1, 2, 2, 2]), np.array([1.0, 1.2, -3.0, 5.0, 5.1, 4.9])
    fit = ppl.infer(model, group, y=y, progress=False)
    np.testing.assert_allclose(fit["mu"].mean, [1.1, -3.0, 5.0], atol=0.1)


def test_known_values_are_plain_python():
    def model(x, names):
        width = int(x.max()) + len(names)
        scale = float(np.median(x)) + 1.0
        total = sum(1 for n in names if n.startswith("a"))
        if x.mean() > 0:
            ppl.sample("z", dist.Normal(np.zeros(width), scale).to_event(1))
        ppl.deterministic("total", total * 1.0)

    with_sites = ppl.graph(model, np.array([1.0, 2.0]), ["a", "b", "ab"])
    assert with_sites.nodes["z"].shape == (5,)


def test_a_minibatch_of_standardized_data_follows_its_indices():
    x = np.random.default_rng(0).normal(3.0, 2.0, 50)

    def model(x):
        standard = (x - x.mean()) / x.std()
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("rows", len(x), subsample_size=10) as i:
            ppl.sample("x", dist.Normal(mu, 1), obs=standard[i])

    program = (
        ppl.gradient(model, x, guide="meanfield", particles=2, seed=0),
        ppl.gradient(model, x, guide="meanfield", particles=2, seed=1),
    )
    assert program[0].grad["mu.loc"] != program[1].grad["mu.loc"]


def test_an_argument_that_the_model_leaves_unused_is_no_error():
    def model(y, unused=None):
        ppl.sample("y", dist.Normal(ppl.sample("z", dist.Normal(0, 1)), 1), obs=y)

    assert ppl.infer(model, 1.0, unused=object(), progress=False)["z"].mean == pytest.approx(0.5, abs=0.02)
