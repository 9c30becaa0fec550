"""Pathfinder: its Gaussians against a dense update, known posteriors, two modes, files, and its words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist
from ppl.algorithms.density import LogDensity
from ppl.algorithms.pathfinder import Gaussian, Path, _diagonal, _gaussian, _mixture
from ppl.algorithms.sampled import Sampled
from ppl.elbo import problem

RNG = np.random.default_rng(0)
COVARIANCE = np.array([[2.0, 1.5, 0.2], [1.5, 2.0, 0.1], [0.2, 0.1, 0.5]])


def pairs(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    root = np.random.default_rng(1).normal(size=(size, size))
    hessian = root @ root.T + np.eye(size)
    return [(s, hessian @ s) for s in np.random.default_rng(2).normal(size=(count, size))]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 5), (6, 4), (6, 30)])
def test_the_compact_form_is_the_update_pair_by_pair(count, size):
    seen, alpha = pairs(count, size), np.linspace(0.5, 2.0, size)
    x, g = np.ones(size), np.linspace(-1, 1, size)
    exact = np.diag(alpha)
    for s, y in seen:  # Broyden, Fletcher, Goldfarb and Shanno
        left = np.eye(size) - np.outer(s, y) / (y @ s)
        exact = left @ exact @ left.T + np.outer(s, s) / (y @ s)
    q = _gaussian(x, g, alpha, seen)
    root = q.at(np.eye(size)) - q.mean
    assert root.T @ root == pytest.approx(exact, rel=1e-8, abs=1e-10)
    assert q.mean == pytest.approx(x - exact @ g, rel=1e-8)
    assert q.log_det == pytest.approx(0.5 * np.linalg.slogdet(exact)[1])
    noise = RNG.normal(size=(7, size))
    assert q.noise_of(q.at(noise)) == pytest.approx(noise, abs=1e-7)


def test_the_diagonal_is_that_of_the_full_update_of_the_hessian():
    alpha, (s, y) = np.array([0.5, 1.0, 3.0]), pairs(1, 3)[0]
    scaled = np.diag(1 / alpha) * (y @ (alpha * y)) / (y @ s)  # first made right along the change of the gradient
    rest = scaled @ s
    exact = scaled - np.outer(rest, rest) / (s @ rest) + np.outer(y, y) / (y @ s)
    assert 1 / _diagonal(alpha, s, y) == pytest.approx(np.diag(exact))


def gaussian(y):
    a = ppl.sample("a", dist.MultivariateNormal(np.zeros(3), COVARIANCE))
    ppl.sample("y", dist.Normal(a.sum(), 1.0), obs=y)


@pytest.fixture(scope="module")
def fit():
    return ppl.infer(gaussian, 1.0, algorithm="pathfinder", progress=False)


def test_a_gaussian_posterior(fit):
    ones = np.ones(3)
    gain = COVARIANCE @ ones / (1 + ones @ COVARIANCE @ ones)
    mean, sd = gain * 1.0, np.sqrt(np.diag(COVARIANCE - np.outer(gain, ones @ COVARIANCE)))
    evidence = stats.norm(0, np.sqrt(1 + COVARIANCE.sum())).logpdf(1.0)
    # 3,000 weighted draws are worth more than 1,000: four standard errors.
    assert np.abs(fit["a"].mean - mean) / sd == pytest.approx(0, abs=4 / np.sqrt(1000))
    assert fit["a"].sd / sd == pytest.approx(1, abs=4 / np.sqrt(2000))
    found = fit.log_evidence()
    assert found.value == pytest.approx(evidence, abs=4 * found.se + 1e-3)
    assert fit.elbo <= evidence + 4 * fit.elbo_se
    assert fit.elbo > evidence - 0.2
    assert (fit.verdict.word, fit.verdict.corrected) == ("trusted", True) and fit.verdict.k_hat < 0.5


def test_ratios_are_those_to_the_mixture_of_the_paths():
    p = problem(gaussian, (1.0,), {})
    density = LogDensity.of(p, "meanfield", {"a.loc": np.zeros(3), "a.scale": np.ones(3)}, 0, "a test")
    lower = np.linalg.cholesky(COVARIANCE)
    one = Gaussian(np.zeros(3), np.ones(3), np.eye(3), lower)
    other = Gaussian(np.ones(3), np.array([1.0, 2.0, 0.5]), np.eye(3)[:, :0], np.zeros((0, 0)))
    found = _mixture(density, [Path(one, -1.0, True, 0), Path(other, -2.0, True, 0)], 200, 0)
    a, shares = found.noise["a"][:200], np.exp([-1.0, -2.0]) / np.exp([-1.0, -2.0]).sum()
    q = shares[0] * stats.multivariate_normal(np.zeros(3), COVARIANCE).pdf(a)
    q += shares[1] * stats.multivariate_normal(np.ones(3), np.diag([1.0, 4.0, 0.25])).pdf(a)
    log_p = stats.multivariate_normal(np.zeros(3), COVARIANCE).logpdf(a) + stats.norm(a.sum(1), 1).logpdf(1.0)
    assert found.log_ratios == pytest.approx(log_p - np.log(q))
    assert len(found.mixed) == 300 and found.stats["path"].mean() == pytest.approx(shares[1], abs=4 * 0.5 / 200**0.5)
    # Weighed against all kinds of draws, the wide ones too: the evidence once more.
    evidence = stats.norm(0, np.sqrt(1 + COVARIANCE.sum())).logpdf(1.0)
    weights = np.exp(found.mixed)
    assert np.log(weights.mean()) == pytest.approx(evidence, abs=4 * weights.std() / weights.mean() / 300**0.5)


def modes(y):
    z = ppl.sample("z", dist.Normal(0, 3).expand([2]).to_event(1))
    ppl.sample("y", dist.Normal(np.sum(z**2), 1.0), obs=y)


def two(y):
    z = ppl.sample("z", dist.Normal(0.5, 2.0))
    ppl.sample("y", dist.Normal(z**2, 0.5), obs=y)


def test_two_modes_have_their_shares():
    fit = ppl.infer(two, 4.0, algorithm=ppl.Pathfinder(paths=12), progress=False)
    z = np.linspace(-5, 5, 20_001)
    p = stats.norm(0.5, 2).pdf(z) * stats.norm(z**2, 0.5).pdf(4.0)
    area = p.sum() * (z[1] - z[0])
    share = p[z > 0].sum() / p.sum()
    drawn = fit.sample(4000, resample=True)["z"]
    assert np.mean(drawn > 0) == pytest.approx(share, abs=4 * 0.5 / np.sqrt(500))
    found = fit.log_evidence()
    assert found.value == pytest.approx(np.log(area), abs=4 * found.se + 0.01)
    assert fit["z"].mean == pytest.approx((z @ p) / p.sum(), abs=4 * 2.1 / np.sqrt(500))


def test_a_ring_is_not_trusted_blindly():
    fit = ppl.infer(modes, 9.0, algorithm="pathfinder", progress=False)
    right = np.all(np.abs(fit["z"].mean) < 0.15 * 3 / np.sqrt(2)) and np.all(
        np.abs(fit["z"].sd * np.sqrt(2) / 3 - 1) < 0.2
    )
    assert right or fit.verdict.word != "trusted"


def test_seeds_and_files(fit, tmp_path):
    again = ppl.infer(gaussian, 1.0, algorithm="pathfinder", progress=False)
    assert str(again) == str(fit)
    fit.save(tmp_path / "fit.npz")
    read = ppl.load(tmp_path / "fit.npz", gaussian)
    assert str(read) == str(fit)
    for options in ({}, {"resample": True}):
        assert np.array_equal(read.sample(50, **options)["a"], fit.sample(50, **options)["a"])
    assert read.predict(num_samples=20)["y"] == pytest.approx(fit.predict(num_samples=20)["y"])
    with pytest.raises(ppl.ModelError, match="no steps to go on from"):
        read.resume()


def test_more_draws_than_there_are():
    few = ppl.infer(gaussian, 1.0, algorithm=ppl.Pathfinder(draws=400), progress=False)
    assert few.sample(1000)["a"].shape == (1000, 3)
    assert few.predict(num_samples=1500)["y"].shape == (1500,)


def test_which_draws_so_many_are():
    s = Sampled({"z": np.arange(12.0)}, 3)
    rng = np.random.default_rng(0)
    assert s.chosen(rng, 12).tolist() == list(range(12)) and s.chosen(rng, 3).tolist() == [0, 4, 8]
    assert len(s.chosen(rng, 30)) == 30


@pytest.mark.parametrize("change", [{"paths": 0}, {"draws": 1.5}, {"elbo_draws": -1}, {"steps": 0}])
def test_wrong_settings_are_refused(change):
    with pytest.raises(ppl.ModelError):
        ppl.infer(gaussian, 1.0, algorithm=ppl.Pathfinder(**change), progress=False)
