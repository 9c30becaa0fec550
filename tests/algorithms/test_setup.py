"""What the engine chooses where the user says nothing, and what it keeps of its start."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.algorithms import set_up
from ppl.elbo import Objective, choose, derive, problem

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def centred(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def informative(y):
    """Groups whose data say far more than their prior: centred is the better form."""
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    with ppl.plate("groups", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, 0.01), obs=y)


def correlated(x, y):
    a = ppl.sample("a", dist.Normal(0, 10))
    b = ppl.sample("b", dist.Normal(0, 10))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(a + b * x, 1.0), obs=y)


def test_weakly_informed_groups_are_fitted_non_centred():
    setup = set_up(problem(centred, (SIGMA,), {"y": Y}), 0)
    assert any("theta" in note and "non-centred" in note for note in setup.notes)
    fit = ppl.infer(centred, SIGMA, y=Y, progress=False)
    # The best factorised bound of the non-centred form is -31.58, of the centred one -33.39.
    assert fit.elbo > -32.0
    assert "theta_decentered" not in fit.sample(3) and "theta_decentered" not in str(fit)
    assert fit["theta"].mean.shape == (8,) and list(fit.graph.nodes) == ["mu", "tau", "theta", "y"]
    assert "non-centred" in fit.explain()


def test_strongly_informed_groups_stay_centred():
    y = np.random.default_rng(0).normal(size=12)
    setup = set_up(problem(informative, (y,), {}), 0)
    assert not any("non-centred" in note for note in setup.notes)


def unequal(y, sigma):
    """Half of the groups have data that say much, the other half next to nothing."""
    mu = ppl.sample("mu", dist.Normal(0, 2))
    tau = ppl.sample("tau", dist.LogNormal(0, 0.5))
    with ppl.plate("groups", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def of_unequal(y, sigma):
    """Posterior means and sds of theta, by quadrature over log(tau) with all else integrated out."""
    u = np.linspace(-3, 3, 2001)
    tau = np.exp(u)[:, None]
    v = tau**2 + sigma**2  # of y given mu
    precision = 1 / 4 + np.sum(1 / v, -1)
    m = np.sum(y / v, -1) / precision
    log_p = -0.5 * (u / 0.5) ** 2 - 0.5 * np.sum(np.log(v) + y**2 / v, -1) - 0.5 * np.log(precision)
    w = np.exp(log_p + 0.5 * m**2 * precision - (log_p + 0.5 * m**2 * precision).max())
    w /= w.sum()
    pull = sigma**2 / v  # theta given y, mu, tau: pull * mu + (1 - pull) * y
    mean = pull * m[:, None] + (1 - pull) * y
    variance = tau**2 * pull + pull**2 / precision[:, None]
    first = w @ mean
    return first, np.sqrt(w @ (variance + mean**2) - first**2)


def test_groups_of_both_kinds_are_fitted_in_between(tmp_path):
    rng = np.random.default_rng(2)
    sigma = np.where(np.arange(24) % 2, 0.1, 5.0)
    y = 0.5 + 1.5 * rng.normal(size=24) + sigma * rng.normal(size=24)
    fit = ppl.infer(unequal, y, sigma, progress=False)
    assert any("theta fitted partly centred" in note for note in fit.solution.notes)
    form = fit.problem.form["theta"]
    assert form[1::2].min() > 0.8 and form[::2].max() < 0.6  # the more the data say, the more centred
    mean, sd = of_unequal(y, sigma)
    # What a factorised guide in this form leaves, corrected by its weights: measured a fiftieth of an sd.
    np.testing.assert_array_less(np.abs(fit["theta"].mean - mean), 0.05 * sd)
    np.testing.assert_allclose(fit["theta"].sd, sd, rtol=0.05)
    centred = ppl.infer(unequal, y, sigma, guide="meanfield", progress=False)
    assert centred.elbo < fit.elbo - 0.3
    fit.save(tmp_path / "fit.npz")
    again = ppl.load(tmp_path / "fit.npz", unequal)
    np.testing.assert_array_equal(again["theta"].mean, fit["theta"].mean)
    np.testing.assert_array_equal(again.sample(5, seed=1)["theta"], fit.sample(5, seed=1)["theta"])


@pytest.mark.parametrize(("shift", "guide"), [(5.0, "fullrank"), (0.0, "meanfield")])
def test_a_full_rank_guide_is_taken_where_it_buys_something(shift, guide):
    x = np.linspace(-1, 1, 40) + shift  # an intercept far from the data correlates with the slope
    y = 1.0 + 2.0 * x + np.random.default_rng(1).normal(size=40)
    assert set_up(problem(correlated, (x, y), {}), 0).guide == guide
    fit = ppl.infer(correlated, x, y, progress=False)
    design = np.stack([np.ones(40), x], 1)
    covariance = np.linalg.inv(design.T @ design + np.eye(2) / 100)
    mean = covariance @ design.T @ y
    for site, m, sd in zip("ab", mean, np.sqrt(np.diag(covariance)), strict=True):
        assert fit[site].mean == pytest.approx(m, abs=0.05 * sd)
        assert fit[site].sd == pytest.approx(sd, rel=0.03)


def test_a_guide_that_was_asked_for_is_kept():
    fit = ppl.infer(centred, SIGMA, y=Y, guide="meanfield", progress=False)
    assert set(fit.params) == {f"{s}.{p}" for s in ("mu", "tau", "theta") for p in ("loc", "scale")}


def test_many_parameters_never_end_below_their_start():
    """Ninety dimensions at full rank: the noise of 4,000 numbers must not cost more than the start had."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 60)) @ np.linalg.cholesky(0.5 * np.eye(60) + 0.5).T

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 1).expand([60]).to_event(1))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.MultivariateNormal(mu, covariance_matrix=0.5 * np.eye(60) + 0.5), obs=y)

    fit = ppl.infer(model, y, guide="fullrank", progress=False, algorithm=ppl.BBVI(steps=1500))
    precision = np.eye(60) + 200 * np.linalg.inv(0.5 * np.eye(60) + 0.5)
    exact = np.sqrt(np.diag(np.linalg.inv(precision)))
    np.testing.assert_allclose(fit["mu"].sd, exact, rtol=0.05)


def test_a_symmetric_posterior_does_not_end_on_its_saddle():
    def model():
        z = ppl.sample("z", dist.Normal(0, 3))
        ppl.sample("x", dist.Normal(z**2, 1), obs=4.0)

    for seed in range(6):
        fit = ppl.infer(model, guide="meanfield", seed=seed, progress=False)
        assert abs(fit["z"].mean) == pytest.approx(1.94, abs=0.05)


# -- the working dtype -----------------------------------------------------------------------------------
def logistic(x, y):
    w = ppl.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def test_float32_data_make_a_float32_program_with_sums_in_float64():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    p = problem(logistic, (x.astype(np.float32), y), {})
    d = derive(p, "meanfield")
    program = Objective(d, choose(d)).gradient(2)
    wide = [s for s in program.steps if s.dtype == np.float64 and s.fun.__name__ not in ("cast", "total")]
    assert p.dtype == np.float32 and not [s for s in wide if np.prod(s.shape) > 8], wide
    narrow, full = (ppl.infer(logistic, a, y, guide="meanfield", progress=False) for a in (x.astype(np.float32), x))
    np.testing.assert_allclose(narrow["w"].mean, full["w"].mean, atol=2e-3)
    np.testing.assert_allclose(narrow["w"].sd, full["w"].sd, rtol=3e-2)
    assert problem(logistic, (x, y), {}).dtype == np.float64


def test_the_dtype_can_be_asked_for():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 2)), rng.integers(0, 2, 100)
    fit = ppl.infer(logistic, x, y, guide="meanfield", algorithm=ppl.BBVI(dtype=np.float32), progress=False)
    assert fit.solution.derivation.program.dtype == np.float32


# -- rows on disk ------------------------------------------------------------------------------------------
class OnDisk:
    """Sliced like an HDF5 data set: increasing row numbers only, and never as a whole."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        assert np.all(np.diff(key) > 0), "HDF5 wants increasing, distinct rows"
        return self.array[key]


def regression(x, y, size):
    w = ppl.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    with ppl.plate("rows", len(y), subsample_size=size) as i:
        ppl.sample("y", dist.Normal(x[i] @ w, 1), obs=y[i])


def test_rows_on_disk_are_the_same_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = x @ [1.0, -1.0, 0.5] + rng.normal(size=400)
    fast = {"progress": False, "algorithm": ppl.BBVI(steps=200)}
    plain = ppl.infer(regression, x, y, 40, **fast)
    stored = ppl.infer(regression, OnDisk(x), OnDisk(y), 40, **fast)
    np.testing.assert_array_equal(plain["w"].mean, stored["w"].mean)
    assert plain.elbo == stored.elbo
