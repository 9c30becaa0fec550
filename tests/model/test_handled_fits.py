"""Fits of models that handlers have changed, whose sites come and go, or whose shapes do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist
from ppl import handlers

OFF = 1.5 * ppl.BBVI().tolerance  # three errors of half the tolerance, in posterior standard deviations


def infer(model, *args, **options):
    return ppl.infer(model, *args, progress=False, **options)


# -- mask around scan --------------------------------------------------------------------------------
def masked_scan(y, mask):
    mu = ppl.sample("mu", dist.Normal(0, 1))

    def step(carry, y_t):
        ppl.sample("y", dist.Normal(mu, 1), obs=y_t)
        return carry, carry

    with handlers.mask(mask=mask):
        ppl.scan(step, 0.0, y)


def masked_walk(y, mask):
    mu = ppl.sample("mu", dist.Normal(0, 1))

    def step(z, y_t):
        z = ppl.sample("z", dist.Normal(0.5 * z + mu, 1))
        ppl.sample("y", dist.Normal(z, 1), obs=y_t)
        return z, z

    with handlers.mask(mask=mask):
        ppl.scan(step, 0.0, y)


FAR = np.full(10, 5.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mask_around_scan_removes_the_data(seed):
    fit = infer(masked_scan, FAR, False, seed=seed)
    assert abs(fit["mu"].mean) < OFF and abs(np.log(fit["mu"].sd)) < OFF
    assert fit.elbo == pytest.approx(0.0, abs=1.5 * OFF**2 + 4 * fit.elbo_se)


def test_without_the_mask_the_data_count():
    fit = infer(masked_scan, FAR, True)
    sd = 11**-0.5
    assert abs(fit["mu"].mean - 50 / 11) < OFF * sd and abs(np.log(fit["mu"].sd / sd)) < OFF


def test_data_under_a_mask_change_no_bound():
    at = {"mu.loc": np.array(0.3), "mu.scale": np.array(0.7)}
    one, other = (
        ppl.gradient(masked_scan, y, False, guide="meanfield", params=at, particles=4) for y in (FAR, -3 * FAR)
    )
    assert one.elbo == other.elbo
    np.testing.assert_equal(one.grad, other.grad)
    counted = ppl.gradient(masked_scan, FAR, True, guide="meanfield", params=at, particles=4)
    assert abs(counted.elbo - one.elbo) > 10


def test_latent_sites_of_a_masked_scan_are_masked_too():
    one, other = (ppl.gradient(masked_walk, y, False, guide="meanfield", particles=4) for y in (FAR, -3 * FAR))
    np.testing.assert_equal(one.grad, other.grad)
    assert one.grad["mu.loc"] == 0.0


# -- shapes --------------------------------------------------------------------------------------------
X = np.ones((5, 3))


def product(x, n):
    w = ppl.sample("w", dist.Normal(np.zeros(n), 1).to_event(1))
    ppl.sample("y", dist.Normal(x @ w, 1).to_event(1), obs=np.ones(len(x)))  # the product


def product_with_the_draw_first(x, n):
    w = ppl.sample("w", dist.Normal(np.zeros(n), 1).to_event(1))
    ppl.sample("y", dist.Normal(w @ x, 1).to_event(1), obs=np.ones(x.shape[1]))  # the product


def elementwise(x, n):
    w = ppl.sample("w", dist.Normal(np.zeros(n), 1).to_event(1))
    ppl.sample("y", dist.Normal(w * x[0], 1).to_event(1), obs=np.ones(3))  # the product


def added(x, n):
    w = ppl.sample("w", dist.Normal(np.zeros(n), 1).to_event(1))
    ppl.sample("y", dist.Normal(x[0] + w, 1).to_event(1), obs=np.ones(3))  # the product


@pytest.mark.parametrize("model", [product, product_with_the_draw_first, elementwise, added])
@pytest.mark.parametrize("call", [infer, ppl.gradient])
def test_shapes_that_do_not_fit_are_refused_at_the_users_line(model, call):
    with pytest.raises(ppl.ShapeError) as caught:
        call(model, X, 4)
    text = str(caught.value)
    assert "test_handled_fits.py" in caught.value.where and "# the product" in caught.value.where
    assert "(4,)" in text and "expected" in text and "try" in text


@pytest.mark.parametrize(("model", "n"), [(product, 3), (product_with_the_draw_first, 5), (elementwise, 3), (added, 3)])
def test_shapes_that_fit_are_taken(model, n):
    assert np.isfinite(ppl.gradient(model, X, n).elbo)


# -- substitute and replay -------------------------------------------------------------------------------
def chain():
    a = ppl.sample("a", dist.Normal(0, 1))
    z = ppl.sample("z", dist.Normal(a, 1))
    ppl.sample("y", dist.Normal(z, 1), obs=1.0)


def long_chain():
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(a, 1))
    z = ppl.sample("z", dist.Normal(b, 1))
    ppl.sample("y", dist.Normal(z, 1), obs=1.0)


def trace(model):
    return handlers.trace(handlers.seed(model, 0)).get_trace()


def given_a(value):
    return {
        "substitute": handlers.substitute(chain, data={"a": value}),
        "condition": handlers.condition(chain, data={"a": value}),
        "replay": handlers.replay(chain, {"a": trace(handlers.substitute(chain, data={"a": value}))["a"]}),
    }


@pytest.mark.parametrize("guide", ["meanfield", "fullrank", None])
@pytest.mark.parametrize("how", ["substitute", "condition", "replay"])
def test_a_site_that_is_given_is_not_fitted(how, guide):
    fit = infer(given_a(2.0)[how], guide=guide)
    # z | a = 2, y = 1 is Normal(1.5, 1 / sqrt 2)
    assert abs(fit["z"].mean - 1.5) < OFF * 0.5**0.5 and abs(np.log(fit["z"].sd / 0.5**0.5)) < OFF
    assert fit.verdict.converged and "z" in str(fit)
    assert not any(n.startswith("a.") for n in fit.params)
    if how == "condition":
        evidence = stats.norm.logpdf(2.0) + stats.norm.logpdf(1.0, 2.0, 2**0.5)
        assert fit.elbo == pytest.approx(evidence, abs=1.5 * OFF**2 + 4 * fit.elbo_se)


@pytest.mark.parametrize("guide", ["meanfield", None])
def test_one_of_three_sites_is_given(guide):
    fit = infer(handlers.substitute(long_chain, data={"a": 2.0}), guide=guide)
    # b | a, y: prior Normal(2, 1), y ~ Normal(b, sqrt 2): mean 2 - 1/3
    assert abs(fit["b"].mean - 5 / 3) < 3 * OFF and "b" in str(fit)


@pytest.mark.parametrize("guide", ["meanfield", None])
def test_a_replayed_trace_leaves_nothing_to_fit(guide):
    fit = infer(handlers.replay(chain, trace(chain)), guide=guide)
    assert np.isfinite(fit.elbo) and "nothing to fit" in str(fit)


# -- sites that come and go --------------------------------------------------------------------------------
def one_side():
    z = ppl.sample("z", dist.Normal(0, 1))
    a = ppl.sample("a", dist.Normal(1, 1)) if z > 0 else -1.0
    ppl.sample("y", dist.Normal(a, 1), obs=1.0)


def two_sides():
    z = ppl.sample("z", dist.Normal(0, 1))
    if z > 0:
        x = ppl.sample("a", dist.Normal(1, 1))
    else:
        x = ppl.sample("b", dist.Normal(-1, 1))
    ppl.sample("y", dist.Normal(x, 1), obs=1.0)


def of_every_site(*names):
    def guide():
        for n in names:
            loc = ppl.param(f"{n}.loc", 0.1)
            ppl.sample(n, dist.Normal(loc, ppl.param(f"{n}.scale", 0.5, dist.constraints.positive)))

    return guide


BRANCHES = {"one side": (one_side, of_every_site("z", "a")), "two sides": (two_sides, of_every_site("z", "a", "b"))}


@pytest.mark.parametrize("label", BRANCHES)
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5])
def test_sites_of_some_branches_without_a_guide_function(label, seed):
    """Without one, a site that the first path lacks is refused; one that it has is left out where it is not reached."""
    model, _ = BRANCHES[label]
    try:
        fit = infer(model, seed=seed, algorithm=ppl.BBVI(steps=30))
    except ppl.ModelError as error:
        assert "only some branches reach" in str(error) and error.site in ("a", "b")
        return
    assert label == "one side" and "z" in str(fit) and np.isfinite(fit.elbo)


@pytest.mark.parametrize("label", BRANCHES)
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5])
def test_sites_of_some_branches_can_be_printed(label, seed):
    model, guide = BRANCHES[label]
    fit = infer(model, guide=guide, seed=seed, algorithm=ppl.BBVI(steps=30))
    assert "z" in str(fit) and np.isfinite(fit.elbo)
    assert fit.sample(20)["z"].shape == (20,) and str(fit.summary()) and fit.explain()
