"""Guides: the parameters they have, the shapes they take, and the families they choose."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

SITES = {
    "real": (lambda: dist.Normal(0, 1), (), ()),
    "positive": (lambda: dist.Gamma(2.0, 1.0), (), ()),
    "unit interval": (lambda: dist.Beta(2.0, 2.0), (), ()),
    "interval": (lambda: dist.Uniform(-1.0, 3.0), (), ()),
    "half line": (lambda: dist.Pareto(1.0, 3.0), (), ()),
    "vector": (lambda: dist.Normal(np.zeros(3), 1).to_event(1), (3,), (3,)),
    "batch": (lambda: dist.Normal(np.zeros((2, 3)), 1), (2, 3), (2, 3)),
    "simplex": (lambda: dist.Dirichlet(np.ones(4)), (4,), (3,)),
    "joint normal": (lambda: dist.MultivariateNormal(np.zeros(2), np.eye(2)), (2,), (2,)),
}


def model_of(make, **options):
    def model():
        z = ppl.sample("z", make(), **options)
        ppl.sample("y", dist.Normal(np.sum(z), 1), obs=0.5)

    return model


@pytest.mark.parametrize("name", SITES)
def test_mean_field_has_loc_and_scale_on_the_unconstrained_axis(name):
    make, shape, free = SITES[name]
    fit = ppl.infer(model_of(make), guide="meanfield", algorithm=ppl.BBVI(steps=60), progress=False)
    assert set(fit.params) == {"z.loc", "z.scale"}
    assert fit.params["z.loc"].shape == fit.params["z.scale"].shape == free and np.all(fit.params["z.scale"] > 0)
    draws = fit.sample(100)["z"]
    assert draws.shape == (100, *shape) and np.all(make().support(draws))


@pytest.mark.parametrize("name", SITES)
def test_full_rank_is_one_gaussian_over_all_sites(name):
    make, shape, free = SITES[name]

    def model():
        a = ppl.sample("a", dist.Normal(0, 1))
        z = ppl.sample("z", make())
        ppl.sample("y", dist.Normal(np.sum(z) + a, 1), obs=0.5)

    fit = ppl.infer(model, guide="fullrank", algorithm=ppl.BBVI(steps=60), progress=False)
    size = 1 + int(np.prod(free))
    assert set(fit.params) == {"_joint.loc", "_joint.scale_tril"}
    tril = fit.params["_joint.scale_tril"]
    assert fit.params["_joint.loc"].shape == (size,) and tril.shape == (size, size)
    assert np.all(np.triu(tril, 1) == 0) and np.all(np.diag(tril) > 0)
    draws = fit.sample(100)
    assert draws["z"].shape == (100, *shape) and draws["a"].shape == (100,) and np.all(make().support(draws["z"]))


@pytest.mark.parametrize("guide", ["meanfield", "fullrank"])
@pytest.mark.parametrize("name", SITES)
def test_the_density_of_a_guide_is_that_of_its_draws(name, guide):
    """E[exp(log p - log q)] is the evidence, whatever q is: a lost Jacobian would show."""
    make, _, _ = SITES[name]

    def model():
        ppl.sample("z", make())

    fit = ppl.infer(model, guide=guide, algorithm=ppl.BBVI(steps=300), progress=False)
    assert fit.elbo <= 4 * fit.elbo_se + 1e-9  # the evidence of no data is 1
    assert fit.elbo > -0.5


def test_full_rank_recovers_a_correlated_posterior():
    x = np.array([[1.0, 0.9], [0.2, 0.4], [-1.0, -1.2]])
    y = np.array([0.5, 0.1, -0.7])

    def model():
        b = ppl.sample("b", dist.Normal(np.zeros(2), 1).to_event(1))
        with ppl.plate("rows", 3):
            ppl.sample("y", dist.Normal(x @ b, 0.5), obs=y)

    fit = ppl.infer(model, guide="fullrank", progress=False)
    covariance = np.linalg.inv(np.eye(2) + x.T @ x / 0.25)
    tril = fit.params["_joint.scale_tril"]
    np.testing.assert_allclose(tril @ tril.T, covariance, atol=0.05 * covariance.max())
    np.testing.assert_allclose(fit["b"].mean, covariance @ x.T @ y / 0.25, atol=0.03)
    np.testing.assert_allclose(fit["b"].sd, np.sqrt(np.diag(covariance)), rtol=0.05)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: dist.Bernoulli(0.4), ()),
        (lambda: dist.Bernoulli(np.array([0.4, 0.5])), (2,)),
        (lambda: dist.Bernoulli(np.array([0.4, 0.5])).to_event(1), (2,)),
        (lambda: dist.Categorical(probs=np.array([0.2, 0.3, 0.5])), (3,)),
        (lambda: dist.Categorical(logits=np.zeros((2, 3))), (2, 3)),
        (lambda: dist.OneHotCategorical(probs=np.array([0.2, 0.3, 0.5])), (3,)),
    ],
)
def test_finite_sites_keep_their_family(make, shape):
    fit = ppl.infer(model_of(make, estimator="score"), algorithm=ppl.BBVI(steps=60), progress=False)
    assert set(fit.params) == {"z.probs"} and fit.params["z.probs"].shape == shape
    assert fit.sample(7)["z"].shape == (7, *make().shape())


def test_parameters_of_a_subsampled_plate_have_all_rows():
    def model(y):
        with ppl.plate("rows", 6, subsample_size=2) as i:
            z = ppl.sample("z", dist.Normal(np.zeros(3), 1).to_event(1))
            b = ppl.sample("b", dist.Bernoulli(0.5), estimator="score")
            c = ppl.sample("c", dist.Categorical(probs=np.ones(4) / 4), estimator="score")
            ppl.sample("y", dist.Normal(np.sum(z, -1) + b + c, 1), obs=y[i])

    fit = ppl.infer(model, np.arange(6.0), algorithm=ppl.BBVI(steps=60), progress=False)
    assert (
        fit.params["z.loc"].shape == (6, 3)
        and fit.params["b.probs"].shape == (6,)
        and fit.params["c.probs"].shape == (6, 4)
    )
    np.testing.assert_allclose(fit.params["c.probs"].sum(-1), 1.0)
    draws = fit.sample(5)
    assert draws["z"].shape == (5, 6, 3) and draws["b"].shape == (5, 6) and draws["c"].shape == (5, 6)


def test_full_rank_leaves_sites_of_subsampled_plates_to_mean_field():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        tau = ppl.sample("tau", dist.HalfNormal(1))
        with ppl.plate("rows", 6, subsample_size=2) as i:
            z = ppl.sample("z", dist.Normal(mu, tau))
            ppl.sample("y", dist.Normal(z, 1), obs=y[i])

    fit = ppl.infer(model, np.arange(6.0), guide="fullrank", algorithm=ppl.BBVI(steps=60), progress=False)
    assert set(fit.params) == {"_joint.loc", "_joint.scale_tril", "z.loc", "z.scale"}
    assert fit.params["_joint.loc"].shape == (2,) and fit.params["z.loc"].shape == (6,)


def test_a_guide_function_may_have_plates_and_a_subsample():
    def model(y):
        with ppl.plate("rows", 6, subsample_size=3) as i:
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(z, 1), obs=y[i])

    def guide(y):
        with ppl.plate("rows", 6, subsample_size=3) as i:
            m = ppl.param("m", np.zeros(6))
            ppl.sample("z", dist.Normal(m, ppl.param("s", 0.5, constraints.positive)) if i is not None else None)

    y = np.arange(6.0)
    fit = ppl.infer(model, y, guide=guide, progress=False)
    np.testing.assert_allclose(fit["z"].mean, y / 2, atol=0.15)
    np.testing.assert_allclose(fit.params["s"], np.sqrt(0.5), rtol=0.15)


def test_an_auxiliary_parameter_may_serve_model_and_guide():
    def model(y):
        m = ppl.param("m", 0.3)
        z = ppl.sample("z", dist.Normal(m, 1))
        ppl.sample("y", dist.Normal(z, 1), obs=y)

    def guide(y):
        ppl.sample("z", dist.Normal(ppl.param("m", 0.3), ppl.param("s", 1.0, constraints.positive)))

    fit = ppl.infer(model, 2.0, guide=guide, progress=False)
    assert fit.params["m"] == pytest.approx(2.0, abs=0.05)


def test_guide_of_sites_in_any_order():
    def model(y):
        a = ppl.sample("a", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Normal(a, 1))
        ppl.sample("y", dist.Normal(b, 1), obs=y)

    def guide(y):
        b = ppl.sample("b", dist.Normal(ppl.param("b_loc", 0.0), ppl.param("b_sd", 1.0, constraints.positive)))
        c = ppl.param("c", 0.0)
        ppl.sample("a", dist.Normal(c * b, ppl.param("a_sd", 1.0, constraints.positive)))

    fit = ppl.infer(model, 3.0, guide=guide, progress=False)
    # a | b is Normal(b / 2, 1 / 2); b | y is Normal(2, 2/3)
    assert fit.params["c"] == pytest.approx(0.5, abs=0.03)
    assert fit["b"].mean == pytest.approx(2.0, abs=0.06) and fit["a"].mean == pytest.approx(1.0, abs=0.06)
    assert fit.elbo == pytest.approx(-0.5 * 9 / 3 - 0.5 * np.log(2 * np.pi * 3), abs=0.02)


# -- low rank ------------------------------------------------------------------------------------------
def factor_model(y):
    """A posterior with one direction that the data say little about: the sum of the coefficients."""
    x = np.column_stack([np.ones(20) + 0.01 * np.sin(k + np.arange(20.0)) for k in range(4)])
    b = ppl.sample("b", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
    with ppl.plate("rows", 20):
        ppl.sample("y", dist.Normal(x @ b, 1.0), obs=y)


def test_a_low_rank_guide_holds_what_the_mean_field_leaves_out():
    """The precision is 1 + x'x, x nearly constant: one direction apart, the posterior is the prior."""
    y = np.linspace(-1.0, 1.0, 20)
    fits = {g: ppl.infer(factor_model, y, guide=g, progress=False) for g in ("meanfield", "lowrank", "fullrank")}
    assert {n for n in fits["lowrank"].params} == {"_joint.loc", "_joint.cov_factor", "_joint.scale"}
    assert fits["lowrank"].params["_joint.cov_factor"].shape == (4, 2)
    exact = np.sqrt(np.diag(np.linalg.inv(np.eye(4) + 20.0 * np.ones((4, 4)))))  # to the size of the sines
    np.testing.assert_allclose(fits["fullrank"]["b"].sd, exact, rtol=0.03)
    assert np.all(fits["meanfield"]["b"].sd < 0.5 * exact)
    bounds = {g: f.elbo for g, f in fits.items()}
    slack = 4 * max(f.elbo_se for f in fits.values())
    assert bounds["meanfield"] - slack < bounds["lowrank"] < bounds["fullrank"] + slack
    drawn, at = fits["lowrank"].sample(20_000)["b"], fits["lowrank"].params
    sd = np.sqrt(np.sum(at["_joint.cov_factor"] ** 2, 1) + at["_joint.scale"] ** 2)
    np.testing.assert_allclose(drawn.std(0), sd, rtol=0.03)


def test_a_low_rank_guide_is_exact_where_the_posterior_has_its_form():
    """A prior N(0, W W' + D) and no data: the bound is the log evidence, zero."""
    w, scale = np.array([[1.0], [0.5], [-2.0]]), np.array([0.3, 1.2, 0.7])

    def model():
        ppl.sample("z", dist.LowRankMultivariateNormal(np.ones(3), w, scale**2))

    fit = ppl.infer(model, guide="lowrank", progress=False)
    assert abs(fit.elbo) < 0.01 + 4 * fit.elbo_se
    np.testing.assert_allclose(fit["z"].sd, np.sqrt(w[:, 0] ** 2 + scale**2), rtol=0.05)
    np.testing.assert_allclose(fit["z"].mean, 1.0, atol=0.05)
