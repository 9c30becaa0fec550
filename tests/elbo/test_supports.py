"""Values stay in supports: a guide's in the model's, observations in their family's, arguments in their constraints.

Where a guide may stay inside, the bound is right: never above the log evidence.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints, transforms

Y = 1.0


def infer(model, *args, **options):
    return ppl.infer(model, *args, progress=False, **options)


def with_prior(prior, **options):
    def model():
        z = ppl.sample("z", prior, **options)
        ppl.sample("y", dist.Normal(z, 1), obs=Y)

    return model


def drawn(make):
    def guide():
        ppl.sample("z", make())

    return guide


def positive(name, start=1.0):
    return ppl.param(name, start, constraints.positive)


def free_normal():
    return dist.Normal(ppl.param("m", 0.5), positive("s"))


def log_normal():
    return dist.LogNormal(ppl.param("m", 0.0), positive("s", 0.5))


def beta():
    return dist.Beta(positive("a", 2.0), positive("b", 2.0))


def negative_exponential():
    return dist.TransformedDistribution(dist.Exponential(1.0), transforms.AffineTransform(0.0, -1.0))


def negative_log_normal():
    onto = [transforms.ExpTransform(), transforms.AffineTransform(0.0, -1.0)]
    return dist.TransformedDistribution(free_normal(), onto)


def mixture():
    weights = dist.Categorical(probs=np.array([0.4, 0.6]))
    return dist.MixtureSameFamily(weights, dist.Normal(ppl.param("m", np.array([-1.0, 1.0])), np.array([0.8, 0.8])))


OUTSIDE = {
    "Normal for Exponential": (dist.Exponential(1.0), free_normal),
    "Normal for Beta": (dist.Beta(2.0, 2.0), free_normal),
    "LogNormal for Beta": (dist.Beta(2.0, 2.0), log_normal),
    "Normal for a negative site": (negative_exponential(), free_normal),
    "LogNormal for a negative site": (negative_exponential(), log_normal),
    "negative for a positive site": (dist.Exponential(1.0), negative_log_normal),
    "mixture of Normals for a positive site": (dist.Gamma(2.0, 1.0), mixture),
}
INSIDE = {
    "LogNormal for Exponential": (dist.Exponential(1.0), log_normal, stats.expon.pdf, (0, 40)),
    "Beta for Exponential": (dist.Exponential(1.0), beta, stats.expon.pdf, (0, 40)),
    "Beta for Beta": (dist.Beta(2.0, 2.0), beta, stats.beta(2, 2).pdf, (0, 1)),
    "LogNormal for Gamma": (dist.Gamma(2.0, 1.0), log_normal, stats.gamma(2).pdf, (0, 40)),
    "LogNormal for Normal": (dist.Normal(0.0, 1.0), log_normal, stats.norm.pdf, (-12, 12)),
    "mixture for Normal": (dist.Normal(0.0, 1.0), mixture, stats.norm.pdf, (-12, 12)),
    "the negative of a LogNormal": (negative_exponential(), negative_log_normal, lambda z: np.exp(z), (-40, 0)),
    "automatic, negative": (negative_exponential(), None, lambda z: np.exp(z), (-40, 0)),
    "automatic, positive": (dist.Exponential(1.0), None, stats.expon.pdf, (0, 40)),
    "automatic, bounded": (dist.Beta(2.0, 2.0), None, stats.beta(2, 2).pdf, (0, 1)),
}


@pytest.mark.parametrize("label", OUTSIDE)
def test_a_guide_that_leaves_the_support_is_refused(label):
    prior, guide = OUTSIDE[label]
    for call in (infer, ppl.gradient):
        with pytest.raises(ppl.GuideError, match="support") as caught:
            call(with_prior(prior), guide=drawn(guide))
        assert caught.value.site == "z"


@pytest.mark.parametrize("label", INSIDE)
def test_a_guide_inside_the_support_stays_below_the_evidence(label):
    prior, guide, density, ends = INSIDE[label]
    fit = infer(with_prior(prior), guide=None if guide is None else drawn(guide), algorithm=ppl.BBVI(steps=1500))
    evidence = np.log(integrate.quad(lambda z: density(z) * stats.norm.pdf(Y, z), *ends, points=[min(ends[1], 1.0)])[0])
    assert np.isfinite(fit.elbo) and fit.elbo <= evidence + 4 * fit.elbo_se + 1e-9
    draws = fit.sample(2000)["z"]
    assert np.all((draws >= ends[0]) & (draws <= (ends[1] if abs(ends[1]) < 2 else np.inf)))


def test_the_automatic_guide_of_a_negative_site_is_the_best_of_its_family():
    """The bound stays below the evidence not for the reason that it is low."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def minus_bound(x):
        u = x[0] + np.exp(x[1]) * nodes
        z = -np.exp(u)
        return -(weights @ (z + u + stats.norm.logpdf(Y, z)) + x[1] + 0.5 * np.log(2 * np.pi * np.e))

    best = -optimize.minimize(minus_bound, np.zeros(2), method="Nelder-Mead").fun
    fit, off = infer(with_prior(negative_exponential())), 1.5 * ppl.BBVI().tolerance
    assert fit.verdict.converged
    # Three errors of half the tolerance, in location and log scale: 1.5 off^2 nats.
    assert abs(fit.elbo - best) < 1.5 * off**2 + 4 * fit.elbo_se
    assert np.all(fit["z"].quantile([0.001, 0.5, 0.999]) < 0)


# -- observations ----------------------------------------------------------------------------------
def rows(y, family, take=lambda y, i: y[i]):
    z = ppl.sample("z", dist.Gamma(2.0, 2.0))
    with ppl.plate("rows", 100, subsample_size=10) as i:
        ppl.sample("y", family(z), obs=take(y, i))


FAMILIES = {
    "Bernoulli": (lambda z: dist.Bernoulli(z / (1 + z)), 2.0),
    "Poisson": (dist.Poisson, -1.0),
    "Exponential": (dist.Exponential, -0.5),
    "Beta": (lambda z: dist.Beta(z, 1.0), 1.5),
    "Normal": (lambda z: dist.Normal(z, 1), np.inf),
}


@pytest.mark.parametrize("label", FAMILIES)
@pytest.mark.parametrize("where", [0, 57, 99])
def test_one_bad_row_of_a_minibatch_is_found(label, where):
    family, bad = FAMILIES[label]
    y = np.full(100, 1.0 if label != "Beta" else 0.5)
    y[where] = bad
    with pytest.raises(ppl.PPLError) as caught:
        infer(rows, y, family)
    assert isinstance(caught.value, ppl.SupportError | ppl.DataError)
    assert caught.value.site == "y" and str(where) in str(caught.value)


@pytest.mark.parametrize("label", ["Poisson", "Exponential", "Normal"])
def test_one_bad_row_is_found_behind_arithmetic(label):
    family, bad = FAMILIES[label]
    y = np.ones(100)
    y[57] = bad
    with pytest.raises(ppl.PPLError) as caught:
        infer(rows, y, family, lambda y, i: 2.0 * y[i], algorithm=ppl.BBVI(steps=20))
    assert isinstance(caught.value, ppl.SupportError | ppl.DataError)


@pytest.mark.parametrize("label", FAMILIES)
def test_good_rows_of_a_minibatch_are_taken(label):
    family, _ = FAMILIES[label]
    y = np.full(100, 1.0 if label != "Beta" else 0.5)
    assert np.isfinite(infer(rows, y, family, algorithm=ppl.BBVI(steps=20)).elbo)


@pytest.mark.parametrize(
    ("y", "take"),
    [
        (np.ones((100, 1)), lambda y, i: y[i]),
        (np.ones((100, 2)), lambda y, i: y[i]),
        (np.ones((100, 10)), lambda y, i: y[i]),
        (np.ones(100), lambda y, i: y),
        (np.ones(100), lambda y, i: y[:7]),
    ],
    ids=["a column", "two columns", "ten columns", "all rows", "other rows"],
)
def test_minibatch_observations_of_another_shape_are_refused(y, take):
    with pytest.raises(ppl.ShapeError) as caught:
        infer(rows, y, FAMILIES["Normal"][0], take)
    assert caught.value.site == "y" and "test_supports.py" in caught.value.where


@pytest.mark.parametrize(
    "take", [lambda y, i: y[0], lambda y, i: 1.0, lambda y, i: np.array(1.0)], ids=["y[0]", "1.0", "()"]
)
def test_a_scalar_observation_is_every_rows_own(take):
    """As NumPy broadcasts it, and as it does in a plate that is used whole."""
    one, all_ = (infer(rows, np.ones(100), FAMILIES["Normal"][0], t) for t in (take, lambda y, i: y[i]))
    assert one["z"].mean == pytest.approx(all_["z"].mean, rel=1e-9)


# -- arguments that leave their constraint -----------------------------------------------------------
@pytest.mark.parametrize("loc", [-3.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("guide", [None, "meanfield"])
def test_a_rate_that_may_be_negative_is_never_usable_without_a_bound(loc, guide):
    def model():
        m = ppl.sample("m", dist.Normal(loc, 1))
        ppl.sample("y", dist.Poisson(m), obs=3)

    try:
        fit = infer(model, guide=guide, algorithm=ppl.BBVI(steps=2000))
    except (ppl.NumericalError, ppl.SupportError) as error:
        assert "y" in str(error)
        return
    if np.isfinite(fit.elbo):
        assert not fit.bound.broken
        return
    assert fit.verdict.word != "usable" and not fit.verdict.converged
    assert any("log p(y" in w for w in fit.verdict.warnings)
    assert "log p(y" in str(fit)


def test_exp_keeps_a_rate_positive():
    def model():
        m = ppl.sample("m", dist.Normal(0.0, 1))
        ppl.sample("y", dist.Poisson(np.exp(m)), obs=3)

    fit = infer(model)
    assert fit.verdict.word == "usable" and np.isfinite(fit.elbo) and not fit.bound.broken


# -- a latent value in a support that moves with another draw, under automatic guides -------------------
def below():
    z = ppl.sample("z", dist.LogNormal(0.5, 1.0))
    u = ppl.sample("u", dist.Uniform(0, z))
    ppl.sample("x", dist.Normal(u, 1), obs=1.2)


def best_bound_below() -> float:
    """The best bound of independent Gaussians in a = log z and b = logit(u / z), by quadrature.

    The density of u given z and the Jacobian in b multiply to s(b) (1 - s(b)), whatever z.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()

    def minus_bound(x):
        a = x[0] + np.exp(x[2]) * nodes[:, None]
        share = 1 / (1 + np.exp(-(x[1] + np.exp(x[3]) * nodes)))
        joint = (
            stats.norm(0.5, 1).logpdf(a) + np.log(share * (1 - share)) + stats.norm(1.2, 1).logpdf(np.exp(a) * share)
        )
        return -(weights @ joint @ weights) - x[2] - x[3] - 1 - np.log(2 * np.pi)

    return -optimize.minimize(minus_bound, np.zeros(4), method="BFGS").fun


@pytest.mark.parametrize("guide", ["meanfield", "fullrank"])
def test_an_automatic_guide_follows_a_support_that_moves(guide):
    fit = infer(below, guide=guide)
    best = best_bound_below()
    assert fit.verdict.converged
    assert "score" not in fit.explain()  # the draw is inside by construction: nothing to compare, no jump
    assert fit.elbo >= best - 4 * fit.elbo_se - 0.02
    assert guide == "fullrank" or fit.elbo <= best + 4 * fit.elbo_se
    draws = fit.sample(4000)
    assert np.all(draws["u"] <= draws["z"])
    assert fit["u"].mean == pytest.approx(draws["u"].mean(), abs=5 * draws["u"].std() * (2 / 4000) ** 0.5)


def test_a_guide_of_the_users_own_is_still_compared_with_a_support_that_moves():
    def guide():
        ppl.sample("z", dist.LogNormal(ppl.param("m", 0.5), 0.5))
        ppl.sample("u", dist.LogNormal(ppl.param("n", -3.0), 0.1))

    assert "score in" in infer(below, guide=guide, algorithm=ppl.BBVI(steps=5)).explain()
