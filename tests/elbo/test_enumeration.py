"""Finite sites summed out: against a sum over all joint states, one by one, and against models marginalised by hand.

The oracle knows the model through its handlers alone: it conditions every finite site on every joint state, and
adds up the densities of the trace. Bounds on exact answers are rounding; those on draws are stated in errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from scipy import special

import ppl
import ppl.distributions as dist
from ppl import handlers
from ppl.distributions import constraints
from ppl.elbo import Objective, choose, derive, problem

Y = np.array([0.3, 2.1, -0.7, 1.9, 3.2, 0.1])
TRANSITION = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])
PAIR = np.array([[0.8, 0.2], [0.3, 0.7]])
MEANS = np.array([-1.0, 0.5, 2.5])


def m(value=0.3):
    """A parameter, so that there is a gradient to compare."""
    return ppl.param("m", value)


@dataclass(frozen=True)
class Tables:
    """Arrays that a model indexes by its states; it is given them, so that it may."""

    transition: np.ndarray
    pair: np.ndarray
    means: np.ndarray


TABLES = Tables(TRANSITION, PAIR, MEANS)


# -- models ---------------------------------------------------------------------------------------------------
def coin(by):
    shift = m()
    z = ppl.sample("z", dist.Bernoulli(0.3))
    ppl.sample("y", dist.Normal(np.where(z == 1, shift, -1.0), 1), obs=0.4)


def mixture(by):
    shift = m()
    with ppl.plate("rows", 6):
        z = ppl.sample("z", dist.Categorical(np.array([0.2, 0.3, 0.5])))
        ppl.sample("y", dist.Normal((MEANS + shift)[z], 1), obs=Y)


def by_logits_and_arithmetic(by):
    shift = m()
    with ppl.plate("rows", 6):
        z = ppl.sample("z", dist.Bernoulli(logits=shift * np.arange(6.0)))
        ppl.sample("y", dist.Normal(2.0 * z - 1.0, 1.0 + z), obs=Y)


def one_hot(by):
    shift = m()
    weights = np.stack([shift * MEANS, MEANS**2, np.ones(3)], 1)
    with ppl.plate("rows", 6):
        z = ppl.sample("z", dist.OneHotCategorical(np.array([0.2, 0.3, 0.5])))
        ppl.sample("y", dist.Normal((z @ weights)[:, 0], 1), obs=Y)


def counts(by):
    shift = m()
    with ppl.plate("rows", 3):
        n = ppl.sample("n", dist.Binomial(3, special.expit(shift)))
        ppl.sample("y", dist.Poisson(0.5 + n), obs=np.array([0, 2, 3]))


def two_of_each(by):
    shift = m()
    with ppl.plate("rows", 4):
        a = ppl.sample("a", dist.Bernoulli(0.4))
        b = ppl.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        ppl.sample("y", dist.Normal(shift * a + 2 * b * (1 - a), 1), obs=Y[:4])


def nested(by):
    shift = m()
    with ppl.plate("groups", 2):
        g = ppl.sample("g", dist.Bernoulli(0.4))
        with ppl.plate("rows", 3):
            z = ppl.sample("z", dist.Bernoulli(0.3 + 0.4 * g))
            ppl.sample("y", dist.Normal(shift * z + g, 1), obs=Y.reshape(3, 2))


def above_a_plate(by):
    shift = m()
    g = ppl.sample("g", dist.Categorical(np.array([0.5, 0.2, 0.3])))
    with ppl.plate("rows", 4):
        z = ppl.sample("z", dist.Categorical(by.transition[g.astype(int)]))
        ppl.sample("y", dist.Normal(by.means[z.astype(int)] + shift * g, 1), obs=Y[:4])


def loop(by):
    shift = m()
    z = ppl.sample("z0", dist.Categorical(np.array([0.5, 0.2, 0.3])))
    for t, y in enumerate(Y):
        if t:
            z = ppl.sample(f"z{t}", dist.Categorical(by.transition[z.astype(int)]))
        ppl.sample(f"y{t}", dist.Normal(shift * by.means[z.astype(int)], 1), obs=y)


def loop_in_a_plate(by):
    shift = m()
    with ppl.plate("series", 2):
        z = ppl.sample("z0", dist.Bernoulli(0.4))
        for t in range(3):
            if t:
                z = ppl.sample(f"z{t}", dist.Categorical(by.pair[z.astype(int)]))
            ppl.sample(f"y{t}", dist.Normal(shift * z, 1), obs=Y[2 * t : 2 * t + 2])


def second_order(by):
    shift = m()
    a = ppl.sample("z0", dist.Bernoulli(0.4))
    b = ppl.sample("z1", dist.Bernoulli(0.3))
    for t in range(2, 6):
        a, b = b, ppl.sample(f"z{t}", dist.Bernoulli(0.1 + 0.3 * a + 0.5 * b))
        ppl.sample(f"y{t}", dist.Normal(shift * b, 1), obs=Y[t])


def ring(by):
    shift = m()
    z = [ppl.sample(f"z{t}", dist.Bernoulli(0.4)) for t in range(6)]
    for t in range(6):
        ppl.factor(f"pair{t}", shift * (z[t] == z[t - 1]) + 0.1 * t * z[t])


def tree(by):
    shift = m()
    z = [ppl.sample("z0", dist.Categorical(TRANSITION[0]))]
    for k in range(1, 7):
        z.append(ppl.sample(f"z{k}", dist.Categorical(by.transition[z[(k - 1) // 2].astype(int)])))
        ppl.sample(f"y{k}", dist.Normal(shift * by.means[z[k].astype(int)], 1), obs=Y[k - 1])


def meeting_in_an_event(by):
    shift = m()
    z = ppl.sample("z", dist.Bernoulli(np.array([0.2, 0.5, 0.7])).to_event(1))
    ppl.sample("y", dist.Normal(shift * np.sum(z), 1), obs=1.5)


def meeting_in_a_plate(by):
    shift = m()
    with ppl.plate("rows", 3):
        z = ppl.sample("z", dist.Bernoulli(np.array([0.2, 0.5, 0.7])))
        ppl.sample("y", dist.Normal(z, 1), obs=Y[:3])
    ppl.sample("total", dist.Normal(shift * np.sum(z), 1), obs=1.5)


def two_plates(by):
    shift = m()
    with ppl.plate("rows", 2, dim=-1):
        a = ppl.sample("a", dist.Bernoulli(0.4))
    with ppl.plate("columns", 3, dim=-2):
        b = ppl.sample("b", dist.Bernoulli(0.3))
    with ppl.plate("rows", 2, dim=-1), ppl.plate("columns", 3, dim=-2):
        ppl.sample("y", dist.Normal(shift * a * b, 1), obs=Y.reshape(3, 2))


def without_a_plate(by):
    shift = m()
    z = ppl.sample("z", dist.Bernoulli(np.array([0.2, 0.5, 0.7])))
    ppl.sample("y", dist.Normal(shift * z, 1), obs=Y[:3])


def scaled_and_masked(by):
    shift = m()
    with handlers.scale(scale=0.5):
        z = ppl.sample("z", dist.Bernoulli(0.3))
    with ppl.plate("rows", 3):
        ppl.sample("y", dist.Normal(shift * z, 1).mask(np.array([True, False, True])), obs=Y[:3])


def with_gaps(by):
    shift = m()
    with ppl.plate("rows", 3):
        z = ppl.sample("z", dist.Bernoulli(0.3))
        ppl.sample("y", dist.Normal(shift * z, 1), obs=np.array([0.3, np.nan, 2.0]))


def apart_from_all_data(by):
    shift = m()
    ppl.sample("z", dist.Bernoulli(special.expit(shift)))
    ppl.sample("y", dist.Normal(shift, 1), obs=0.4)


MODELS = [
    coin, mixture, by_logits_and_arithmetic, one_hot, counts, two_of_each, nested, above_a_plate, loop,
    loop_in_a_plate, second_order, ring, tree, meeting_in_an_event, meeting_in_a_plate, two_plates,
    without_a_plate, scaled_and_masked, with_gaps, apart_from_all_data,
]  # fmt: skip


def scanned(by):
    z0 = ppl.sample("z0", dist.Categorical(np.array([0.5, 0.2, 0.3])))
    shift = m()

    def step(z, y):
        z = ppl.sample("z", dist.Categorical(by.transition[z.astype(int)]))
        ppl.sample("y", dist.Normal(shift * by.means[z.astype(int)], 1), obs=y)
        return z, None

    ppl.scan(step, z0, Y[:5])


def scanned_in_a_plate(by):
    shift = m()

    def step(z, y):
        with ppl.plate("series", 2):
            z = ppl.sample("z", dist.Categorical(by.pair[z.astype(int)]))
            ppl.sample("y", dist.Normal(shift * z, 1), obs=y)
        return z, None

    ppl.scan(step, np.zeros(2, int), Y.reshape(3, 2))


def two_chains_in_a_scan(by):
    shift = m()

    def step(carry, y):
        a, b = carry
        a = ppl.sample("a", dist.Categorical(by.pair[a.astype(int)]))
        b = ppl.sample("b", dist.Bernoulli(0.2 + 0.3 * b))
        w = ppl.sample("w", dist.Bernoulli(0.4))
        ppl.sample("y", dist.Normal(shift * a + 2 * b * w, 1), obs=y)
        return (a, b), None

    ppl.scan(step, (np.zeros((), int), np.zeros((), int)), Y[:3])


def scanned_under_a_state(by):
    g = ppl.sample("g", dist.Bernoulli(0.4))
    shift = m()

    def step(z, y):
        z = ppl.sample("z", dist.Bernoulli(0.2 + 0.3 * z + 0.2 * g))
        ppl.sample("y", dist.Normal(shift * z + g, 1), obs=y)
        return z, None

    ppl.scan(step, np.zeros((), int), Y[:4])


def one_step(by):
    shift = m()

    def step(z, y):
        z = ppl.sample("z", dist.Categorical(by.pair[z.astype(int)]))
        ppl.sample("y", dist.Normal(shift * z, 1), obs=y)
        return z, None

    ppl.scan(step, np.ones((), int), Y[:1])


SCANS = [scanned, scanned_in_a_plate, two_chains_in_a_scan, scanned_under_a_state, one_step]


# -- the oracle --------------------------------------------------------------------------------------------------
def finite_sites(model):
    """Every finite latent site: its states for one element, and its shape."""
    found = {}
    for s in handlers.trace(handlers.seed(model, 0)).get_trace(TABLES).values():
        if s.type == "sample" and not s.is_observed and s.fn.is_discrete:
            core = s.fn
            while hasattr(core, "base_dist"):
                core = core.base_dist
            found[s.name] = np.asarray(core._enumerate()), s.fn.shape()
    return found


def joint_states(model):
    """All settings of all elements of all finite sites."""
    sites = finite_sites(model)
    lists = []
    for values, shape in sites.values():
        event = values.shape[1:]
        elements = int(np.prod(shape[: len(shape) - len(event)], dtype=int))
        lists.append([np.reshape([values[k] for k in pick], shape) for pick in product(range(len(values)), repeat=elements)])
    for setting in product(*lists):
        yield dict(zip(sites, setting, strict=True))


def log_joint(model, at, parameter):
    given = handlers.substitute(model, data={**at, "m": np.asarray(parameter)})
    total = 0.0
    for s in handlers.trace(handlers.seed(given, 0)).get_trace(TABLES).values():
        if s.type == "sample" and "part_of" not in s.options:
            value, d = s.value, s.fn
            if "gaps" in s.options:
                d, value = d.mask(~s.options["gaps"].whole_events), s.options["gaps"].values
            total += s.scale * np.sum(d.log_prob(value))
    return float(total)


def table(model, parameter=0.3):
    """All joint states, with log p(data, states)."""
    settings = list(joint_states(model))
    return settings, np.array([log_joint(model, at, parameter) for at in settings])


def summed(model, parameter=0.3, **kwargs):
    """The bound's program at a value of the parameter: exact, so one run of it."""
    p = problem(model, (TABLES,), {})
    assert set(p.decision.joint) == set(finite_sites(model)), p.decision.reasons
    objective = Objective(d := derive(p, "meanfield"), choose(d))
    return float(objective.evaluate({"m": np.asarray(parameter)}, {}, {f.name: np.full((1, *f.noise_shape), 0.5) for f in d.factors}, 1)[0][0])


# -- exactness -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [*MODELS, *SCANS], ids=lambda f: f.__name__)
def test_the_bound_is_the_sum_over_all_states(model):
    wanted = special.logsumexp(table(model)[1])
    assert summed(model) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("model", [*MODELS, *SCANS], ids=lambda f: f.__name__)
def test_the_gradient_is_that_of_the_sum(model):
    record = ppl.gradient(model, TABLES, particles=1)
    up, down = (special.logsumexp(table(model, 0.3 + h)[1]) for h in (1e-4, -1e-4))
    # Central differences: an error of 1e-8 times a third derivative, and 1e-16 / 1e-4 of rounding.
    assert record.grad["m"] == pytest.approx((up - down) / 2e-4, rel=1e-6, abs=1e-7)
    assert record.variance["m"] == 0 or not np.isfinite(record.variance["m"])
    assert all(name == "enumerate" for name, _ in record.estimators.values() if name != "score") or model is with_gaps
