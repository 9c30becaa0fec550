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
from ppl import handlers, nn
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
    many: np.ndarray


MANY = np.random.default_rng(1).dirichlet(np.ones(9), size=9)
TABLES = Tables(TRANSITION, PAIR, MEANS, MANY)


# -- models ---------------------------------------------------------------------------------------------------
def coin(by):
    shift = m()
    z = ppl.sample("z", dist.Bernoulli(0.3))
    ppl.sample("y", dist.Normal(np.where(z == 1, shift, -1.0), 1), obs=0.4)


def mixture(by):
    shift = m()
    with ppl.plate("rows", 6):
        z = ppl.sample("z", dist.Categorical(np.array([0.2, 0.3, 0.5])))
        ppl.sample("y", dist.Normal((by.means + shift)[z], 1), obs=Y)


def mixture_of_covariances(by):
    shift, pairs = m(), np.stack([Y[:3], Y[3:]], -1)
    with ppl.plate("rows", 3):
        z = ppl.sample("z", dist.Categorical(np.array([0.2, 0.3, 0.5])))
        matrix = (by.means[z] ** 2 + np.exp(shift))[..., None, None] * np.array([[1.0, 0.3], [0.3, 2.0]])
        ppl.sample("a", dist.MultivariateNormal(np.zeros(2), matrix), obs=pairs)
        ppl.sample("b", dist.MultivariateNormal(pairs * shift, precision_matrix=matrix), obs=pairs[::-1])


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


def loop_of_many_states(by):
    shift = m()
    z = ppl.sample("z0", dist.Categorical(by.many[0]))
    for t in range(1, 3):
        z = ppl.sample(f"z{t}", dist.Categorical(by.many[z.astype(int)]))
        ppl.sample(f"y{t}", dist.Normal(shift * z, 1), obs=Y[t])


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
    coin, mixture, mixture_of_covariances, by_logits_and_arithmetic, one_hot, counts, two_of_each, nested,
    above_a_plate, loop, loop_in_a_plate, loop_of_many_states, second_order, ring, tree, meeting_in_an_event,
    meeting_in_a_plate, two_plates, without_a_plate, scaled_and_masked, with_gaps, apart_from_all_data,
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


def many_states(by):
    """More states than are multiplied as matrices."""
    p, first = by.many, ppl.sample("first", dist.Categorical(by.many[0]))
    shift = m()

    def step(z, y):
        z = ppl.sample("z", dist.Categorical(p[z]))
        ppl.sample("y", dist.Normal(shift * z, 1), obs=y)
        return z, None

    ppl.scan(step, first, Y[:2])


def begins_with_fewer_states(by):
    p = by.transition
    shift = m()

    def step(z, y):
        z = ppl.sample("z", dist.Categorical(p[z]))
        ppl.sample("y", dist.Normal(shift * z, 1), obs=y)
        return z, None

    ppl.scan(step, ppl.sample("first", dist.Bernoulli(0.4)), Y[:3])


SCANS = [
    many_states,
    begins_with_fewer_states,
    scanned,
    scanned_in_a_plate,
    two_chains_in_a_scan,
    scanned_under_a_state,
    one_step,
]


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
        lists.append(
            [np.reshape([values[k] for k in pick], shape) for pick in product(range(len(values)), repeat=elements)]
        )
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
    return float(
        objective.evaluate(
            {"m": np.asarray(parameter)}, {}, {f.name: np.full((1, *f.noise_shape), 0.5) for f in d.factors}, 1
        )[0][0]
    )


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


def test_a_wrong_sum_would_be_caught():
    """The comparisons above have teeth: a state left out, or a factor for the wrong step, is far off."""
    log_p = table(loop)[1]
    assert abs(special.logsumexp(log_p[1:]) - summed(loop)) > 1e-6

    def shifted(by):
        shift, z = m(), ppl.sample("z0", dist.Categorical(np.array([0.5, 0.2, 0.3])))
        for t, y in enumerate(Y):
            before, z = z, ppl.sample(f"z{t}", dist.Categorical(by.transition[z])) if t else z
            ppl.sample(f"y{t}", dist.Normal(shift * by.means[before], 1), obs=y)

    assert abs(summed(shifted) - special.logsumexp(log_p)) > 1e-3


# -- posteriors -----------------------------------------------------------------------------------------------------
def test_rows_of_a_plate_stay_apart_through_convolutions():
    """Forty rows are forty sums over two states, not one over 2^40: nothing in front of an image mixes."""
    net = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2), "tanh", nn.Linear(2, 2), nn.Conv2d(2, 1, 3, padding="same"))
    params = net.init(0, float)
    images = np.random.default_rng(0).normal(size=(40, 3, 3))

    def draw(z, shift):
        return net.apply(params, z[..., None, None, None] * np.stack([shift, 1.0]) + 1.0)[..., 0]

    def model(images):
        shift = m()
        with ppl.plate("rows", 40):
            z = ppl.sample("z", dist.Bernoulli(0.3))
            ppl.sample("x", dist.Normal(draw(z, shift), 1).to_event(2), obs=images)

    log_p = [
        np.log(p) + dist.Normal(draw(np.full(40, z), 0.3), 1).to_event(2).log_prob(images)
        for z, p in ((0.0, 0.7), (1.0, 0.3))
    ]
    assert ppl.gradient(model, images, particles=1).elbo == pytest.approx(np.logaddexp(*log_p).sum(), rel=1e-12)


DRAWN = [mixture, one_hot, two_of_each, nested, above_a_plate, loop, loop_in_a_plate, second_order, ring, tree]
DRAWN += [meeting_in_an_event, meeting_in_a_plate, two_plates, scaled_and_masked, *SCANS]


@pytest.mark.parametrize("model", DRAWN, ids=lambda f: f.__name__)
def test_joint_draws_and_marginals_are_those_of_the_posterior(model):
    settings, log_p = table(model)
    p = np.exp(log_p - special.logsumexp(log_p))
    fixed = handlers.substitute(model, data={"m": np.asarray(0.3)})
    fit = ppl.infer(fixed, TABLES, algorithm=ppl.BBVI(), progress=False)
    assert fit.elbo == pytest.approx(special.logsumexp(log_p), abs=1e-10) and fit.elbo_se == 0
    count = 20_000
    draws = fit.sample(count)
    names = list(settings[0])
    for name in names:
        values = np.stack([at[name] for at in settings]).astype(float)
        mean = np.tensordot(p, values, 1)
        np.testing.assert_allclose(fit[name].mean, mean, atol=1e-10)
        np.testing.assert_allclose(fit[name].sd, np.sqrt(np.tensordot(p, (values - mean) ** 2, 1)), atol=1e-7)
    # Every pair of elements: the mean of a product of two is within five standard errors.
    flat = np.concatenate([np.reshape([at[n] for at in settings], (len(settings), -1)) for n in names], axis=1)
    seen = np.concatenate([draws[n].reshape(count, -1) for n in names], axis=1).astype(float)
    assert seen.shape[1] == flat.shape[1]
    products, found = (x[:, :, None] * x[:, None, :] for x in (flat, seen))
    wanted = np.tensordot(p, products, 1)
    error = np.sqrt(np.tensordot(p, (products - wanted) ** 2, 1) / count)
    assert np.all(np.abs(found.mean(0) - wanted) <= 5 * error + 1e-9)


def test_draws_of_sites_one_by_one_would_be_caught():
    """The check of pairs above has teeth: shuffled among the draws, sites keep their marginals alone."""

    def coupled(by):
        a = ppl.sample("a", dist.Bernoulli(0.5))
        ppl.sample("b", dist.Bernoulli(0.05 + 0.9 * a))

    draws = ppl.infer(coupled, TABLES, algorithm=ppl.BBVI(), progress=False).sample(20_000)
    error = (0.475 * 0.525 / 20_000) ** 0.5
    assert abs(np.mean(draws["a"] * draws["b"]) - 0.475) < 5 * error
    assert abs(np.mean(draws["a"] * np.random.default_rng(0).permutation(draws["b"])) - 0.475) > 50 * error


def test_probabilities_and_quantiles_of_states():
    fit = ppl.infer(
        handlers.substitute(mixture, data={"m": np.asarray(0.3)}), TABLES, algorithm=ppl.BBVI(), progress=False
    )
    odds = np.array([0.2, 0.3, 0.5]) * np.exp(-0.5 * (Y[:, None] - MEANS - 0.3) ** 2)
    wanted = odds / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(fit["z"].probs, wanted, atol=1e-12)
    below = np.cumsum(wanted, axis=1)
    for q in (0.1, 0.5, 0.9):
        np.testing.assert_array_equal(fit["z"].quantile(q), np.argmax(below >= q, axis=1))
    assert fit.verdict.word == "trusted" and fit.log_evidence().se == 0


def deterministic_reader(by):
    mu = ppl.sample("mu", dist.Normal(np.zeros(2), 3.0).to_event(1))
    with ppl.plate("rows", 6):
        z = ppl.sample("z", dist.Bernoulli(0.4))
        loc = ppl.deterministic("loc", mu[z])
        ppl.sample("y", dist.Normal(loc, 1), obs=Y)


def test_what_reads_a_state_is_computed_at_the_drawn_one():
    fit = ppl.infer(deterministic_reader, TABLES, guide="meanfield", algorithm=ppl.BBVI(), progress=False)
    draws = fit.sample(50)
    chosen = np.take_along_axis(draws["mu"], draws["z"], axis=1)
    np.testing.assert_array_equal(draws["loc"], chosen)
    assert fit["loc"].mean.shape == (6,)
    predicted = fit.predict(num_samples=4000)["y"]
    assert predicted.shape == (4000, 6)
    np.testing.assert_allclose(predicted.mean(0), fit.sample(4000)["loc"].mean(0), atol=5 * 1.5 * (2 / 4000) ** 0.5)


def test_a_site_without_data_in_float32():
    fit = ppl.infer(
        deterministic_reader, TABLES, guide="meanfield", algorithm=ppl.BBVI(steps=60, dtype=np.float32), progress=False
    )
    assert fit.params["mu.loc"].dtype == np.float64 or fit.params["mu.loc"].dtype == np.float32
    assert np.isfinite(fit.elbo) and fit.sample(3)["z"].shape == (3, 6)


# -- with continuous sites: models marginalised by hand ------------------------------------------------------------
X = np.concatenate([np.linspace(-3, -1, 9), np.linspace(1.5, 4, 7)])


def with_states(x, batch=None):
    w = ppl.sample("w", dist.Dirichlet(np.ones(2)))
    mu = ppl.sample("mu", dist.Normal(np.array([-1.0, 1.0]), 5).to_event(1))
    s = ppl.sample("s", dist.HalfNormal(2))
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        z = ppl.sample("z", dist.Categorical(w))
        ppl.sample("x", dist.Normal(mu[z], s), obs=x[i])


def by_hand(x, batch=None):
    w = ppl.sample("w", dist.Dirichlet(np.ones(2)))
    mu = ppl.sample("mu", dist.Normal(np.array([-1.0, 1.0]), 5).to_event(1))
    s = ppl.sample("s", dist.HalfNormal(2))
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        ppl.sample("x", dist.MixtureSameFamily(dist.Categorical(w), dist.Normal(mu, s)), obs=x[i])


@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize("guide", ["meanfield", "fullrank"])
def test_a_mixture_equals_the_one_marginalised_by_hand(guide, batch):
    ours, theirs = (ppl.gradient(f, X, batch, guide=guide, particles=20) for f in (with_states, by_hand))
    assert ours.elbo == pytest.approx(theirs.elbo, abs=1e-10)
    for name in theirs.grad:
        np.testing.assert_allclose(ours.grad[name], theirs.grad[name], rtol=1e-10, atol=1e-10)
    assert ours.estimators["z"][0] == "enumerate" and ours.estimators["mu"][0] == "pathwise"


def test_a_fit_by_minibatches_gives_every_row_its_state():
    fit = ppl.infer(with_states, X, 5, algorithm=ppl.BBVI(steps=300), progress=False)
    assert fit["z"].mean.shape == X.shape and np.array_equal(fit["z"].mean > 0.5, X > 0)


def test_a_long_chain_equals_the_forward_algorithm():
    """Two states, a thousand steps, in a loop of Python and in a scan."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=1000) + 3.0 * (np.sin(np.arange(1000) / 30) > 0)
    p = np.array([[0.95, 0.05], [0.1, 0.9]])

    def loop(y, p):
        shift = m()
        z = ppl.sample("z0", dist.Bernoulli(0.5))
        for t in range(len(y)):
            z = ppl.sample(f"z{t}", dist.Categorical(p[z])) if t else z
            ppl.sample(f"y{t}", dist.Normal(3.0 * z + shift, 1), obs=y[t])

    def scan(y, p):
        shift = m()
        z = ppl.sample("first", dist.Bernoulli(0.5))
        ppl.sample("y0", dist.Normal(3.0 * z + shift, 1), obs=y[0])

        def step(z, y_t):
            z = ppl.sample("z", dist.Categorical(p[z]))
            ppl.sample("y", dist.Normal(3.0 * z + shift, 1), obs=y_t)
            return z, None

        ppl.scan(step, z, y[1:])

    def forward(shift):
        emission = -0.5 * (y[:, None] - np.array([0.0, 3.0]) - shift) ** 2 - 0.5 * np.log(2 * np.pi)
        alpha = np.log(0.5) + emission[0]
        for e in emission[1:]:
            alpha = special.logsumexp(alpha[:, None] + np.log(p), axis=0) + e
        return special.logsumexp(alpha)

    slope = (forward(0.3 + 1e-4) - forward(0.3 - 1e-4)) / 2e-4
    for model in (loop, scan):
        record = ppl.gradient(model, y, p, particles=1)
        assert record.elbo == pytest.approx(forward(0.3), abs=1e-9)
        assert record.grad["m"] == pytest.approx(slope, rel=1e-6)


# -- what is not summed out, and why -----------------------------------------------------------------------------
def reasons(model, *args):
    p = problem(model, args, {})
    return {n: r.why for n, r in p.decision.reasons.items() if n not in p.decision.joint}


def many_meeting(by):
    with ppl.plate("rows", 40):
        z = ppl.sample("z", dist.Bernoulli(0.5))
    ppl.sample("y", dist.Normal(np.sum(z), 1), obs=15.0)


def many_together(by):
    z = [ppl.sample(f"z{k}", dist.Bernoulli(0.5)) for k in range(30)]
    ppl.sample("y", dist.Normal(sum(z), 1), obs=15.0)


def in_the_support(by):
    z = ppl.sample("z", dist.Bernoulli(0.5))
    x = ppl.sample("x", dist.Uniform(0, 1.0 + z))
    ppl.sample("y", dist.Normal(x, 1), obs=0.5)


def read_by_a_guide(by):
    z = ppl.sample("z", dist.Bernoulli(0.5))
    x = ppl.sample("x", dist.Normal(z, 1), guide=dist.Normal(ppl.param("a", 0.1) + z, 1.0))
    ppl.sample("y", dist.Normal(x, 1), obs=0.5)


def above_a_minibatch(by):
    z = ppl.sample("z", dist.Bernoulli(0.5))
    with ppl.plate("rows", 6, subsample_size=2) as i:
        ppl.sample("y", dist.Normal(z, 1), obs=np.asarray(Y)[i] if isinstance(i, np.ndarray) else by.means[i % 3])


WHY = {
    many_meeting: "2^40 joint states",
    many_together: "joint states",
    in_the_support: "support of 'x'",
    read_by_a_guide: "the guide of 'x' reads it",
    above_a_minibatch: "minibatch of plate 'rows'",
}


@pytest.mark.parametrize(("model", "why"), WHY.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_what_cannot_be_summed_out_is_sampled_and_says_why(model, why):
    found = reasons(model, TABLES)
    assert found and all(why in reason for reason in found.values())
    record = ppl.gradient(model, TABLES, particles=4)
    assert all(record.estimators[n][0] == "score" for n in found)


def test_the_budget_decides(monkeypatch):
    from ppl.elbo.estimators import enumerated

    monkeypatch.setattr(enumerated, "BUDGET", 10)
    monkeypatch.setattr(enumerated, "RATIO", 1)
    assert "counted cost" in reasons(mixture, TABLES)["z"]

    def asked(by):
        with ppl.plate("rows", 6):
            z = ppl.sample("z", dist.Bernoulli(0.5), estimator="enumerate")
            ppl.sample("y", dist.Normal(z, 1), obs=Y)

    assert not reasons(asked, TABLES)


def test_asking_for_it_or_for_another():
    def asked(estimator):
        def model():
            with ppl.plate("rows", 40):
                z = ppl.sample("z", dist.Bernoulli(0.5), estimator=estimator)
                ppl.sample("each", dist.Normal(z, 1), obs=np.zeros(40))
            if estimator == "enumerate":
                ppl.sample("y", dist.Normal(np.sum(z), 1), obs=15.0)

        return model

    with pytest.raises(ppl.GuideError, match="2\\^40 joint states"):
        problem(asked("enumerate"), (), {})
    assert "z.probs" in ppl.gradient(asked("score"), particles=4).grad
    assert "z.probs" not in ppl.gradient(asked(None), particles=4).grad
    assert ppl.gradient(asked(None), estimators={"z": "score"}, particles=4).estimators["z"][0] == "score"
    assert ppl.gradient(asked(None), estimators="score", particles=4).estimators["z"][0] == "score"
    assert set(ppl.gradient(asked(None), estimators="all", particles=4)) >= {"auto", "enumerate", "score"}
    assert "z.probs" in ppl.gradient(asked(None), params={"z.probs": np.full(40, 0.4)}, particles=4).grad


def test_a_guide_function_that_draws_a_site_keeps_it():
    def guide(by):
        ppl.sample("z", dist.Bernoulli(ppl.param("p", 0.5, constraints.unit_interval)))

    record = ppl.gradient(coin, TABLES, guide=guide, particles=4)
    assert record.estimators["z"][0] == "score" and "p" in record.grad


def test_explain_says_so():
    text = ppl.infer(with_states, X, guide="meanfield", algorithm=ppl.BBVI(steps=60), progress=False).explain()
    assert "E[log sum over z of p(z | w) p(x | mu, s, z)]" in text
    assert "enumerate in z" in text and "2 states of each of 16 elements, summed out exactly" in text
    assert "q(z | the rest): the exact conditional" in text
    sampled = ppl.infer(many_meeting, TABLES, algorithm=ppl.BBVI(steps=60), progress=False).explain()
    assert "z is sampled, not summed out" in sampled and "2^40 joint states" in sampled
