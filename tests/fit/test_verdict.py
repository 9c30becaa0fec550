"""The word of a fit: which facts lead to it, and that no wrong fit is trusted."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.distributions as dist
from ppl.algorithms.evaluate import Bound
from ppl.fit.psis import Smoothed
from ppl.fit.verdict import judge
from ppl.fit.weights import Ratios

FACTS = {"stop_reason": "it stopped", "derivation": SimpleNamespace(factors=()), "doubts": (), "sampled": None}
SETTLED = partial(SimpleNamespace, **FACTS)
WEIGHTS = np.full(3000, -np.log(3000.0))


def facts(k_hat=0.2, mixture=0.1, worth=3000, moved=None, elements=None, discrete=()):
    """What the weights of a fit say."""
    elements = elements or {}
    log_weights = WEIGHTS.copy()
    log_weights[worth:] = -np.inf
    log_weights -= special.logsumexp(log_weights)
    found = SimpleNamespace(
        smoothed=Smoothed(WEIGHTS[:2000], k_hat),
        mixture=Smoothed(log_weights, mixture),
        moved=moved or {},
        element_k_hats={n: np.asarray(k) for n, k in elements.items()},
        elements={n: np.zeros((2000, len(k))) for n, k in elements.items()},
        discrete=discrete,
        mixed=WEIGHTS,
        log_ratios=WEIGHTS[:2000],
    )
    found.sound, found.clear = Ratios.sound.fget(found), Ratios.clear.fget(found)
    return found


def bound(broken=(), mean=-3.0):
    return Bound(elbo=mean, se=0.1, draws=100, terms={"log p(y)": (mean, 0.1)}, broken=broken)


OFF = {"mu": (0.6, 1.0)}
HUNDRED = np.full(100, 0.1)


@pytest.mark.parametrize(
    ("converged", "bounds", "weights", "warnings", "word", "corrected", "says"),
    [
        (True, {}, {}, (), "trusted", False, "draws stand for the posterior"),
        (False, {}, {}, (), "usable", False, "Not converged"),
        (True, {}, {}, ("a doubt",), "usable", False, "A doubt"),
        (True, {}, {"k_hat": 0.6}, (), "trusted", True, "corrected by importance weights"),
        (True, {}, {"k_hat": 0.6, "mixture": 0.55}, (), "usable", True, "corrected by importance weights"),
        (False, {}, {"k_hat": 0.6}, (), "not trusted", False, "k-hat 0.60"),
        (True, {}, {"k_hat": 0.9}, (), "usable", True, "corrected by importance weights"),
        (True, {}, {"k_hat": 0.9, "mixture": 0.71}, (), "not trusted", False, "Wider draws find more"),
        (True, {}, {"k_hat": 0.2, "mixture": 0.71}, (), "not trusted", False, "Wider draws find more"),
        (True, {}, {"mixture": np.inf}, (), "not trusted", False, "few draws have all the weight"),
        (True, {}, {"worth": 199}, (), "not trusted", False, "worth 199 only"),
        (True, {}, {"worth": 201}, (), "trusted", False, "stand"),
        (True, {}, {"moved": OFF}, (), "usable", True, "misses mu (mean off by 0.60 sd): corrected"),
        (True, {}, {"moved": {"s": (0.0, 0.5)}}, (), "usable", True, "misses s (sd 0.50 of the corrected one)"),
        (True, {}, {"elements": {"n": HUNDRED}}, (), "trusted", False, "stand"),
        (True, {}, {"elements": {"n": [*HUNDRED[1:], 0.75]}}, (), "trusted", False, "stand"),
        (True, {}, {"elements": {"n": [*HUNDRED[1:], 0.9]}}, (), "trusted", False, "stand"),
        (True, {}, {"elements": {"n": [*HUNDRED[1:], 0.9]}, "moved": OFF}, (), "usable", True, "misses mu"),
        (True, {}, {"elements": {"n": [*HUNDRED[10:], *[0.9] * 10]}}, (), "usable", False, "10% of the elements"),
        (True, {}, {"elements": {"n": [*HUNDRED[30:], *[0.9] * 30]}}, (), "not trusted", False, "30% of the elements"),
        (True, {}, {"k_hat": -np.inf, "discrete": ("a", "b")}, (), "usable", False, "The guide factorises a, b"),
        (True, {"broken": (("log p(y)", 0.2),)}, {}, (), "not trusted", False, "not finite for 20% of the draws"),
        (True, {"mean": -1e13}, {}, (), "not trusted", False, "rounding hides"),
    ],
)
def test_the_word_from_the_facts(converged, bounds, weights, warnings, word, corrected, says):
    settled = SimpleNamespace(
        converged=converged, stop_reason="it stopped", derivation=SimpleNamespace(factors=()), doubts=(), sampled=None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppl.fit.verdict.drifts", lambda *_: ())
        verdict = judge(settled, bound(**bounds), facts(**weights), warnings)
    assert (verdict.word, verdict.corrected) == (word, corrected)
    assert says in " ".join(str(verdict).split())


def test_without_weights_there_is_no_trust():
    settled = SimpleNamespace(
        converged=True, stop_reason="it stopped", derivation=SimpleNamespace(factors=()), doubts=(), sampled=None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppl.fit.verdict.drifts", lambda *_: ())
        assert judge(settled, bound(), "a point has no spread", ()).word == "usable"
        patch.setattr("ppl.fit.verdict.drifts", lambda *_: ("the bound has no maximum",))
        assert judge(settled, bound(), facts(), ()).word == "not trusted"


# -- guides that are wrong on purpose ----------------------------------------------------------------
def one(y):
    z = ppl.sample("z", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(z, 1.0), obs=y)


def too_wide(y):
    ppl.sample("z", dist.Normal(ppl.param("loc", 0.0), 2.5))


def heavy(y):
    ppl.sample("z", dist.StudentT(3.0, ppl.param("loc", 0.0), 1.2))


@pytest.mark.parametrize("guide", [too_wide, heavy])
@pytest.mark.parametrize("seed", range(3))
def test_a_guide_that_is_too_wide_is_corrected(guide, seed):
    """Its k-hat is far below 0.5: the weights behave, and say that the sd is 3.5 times what it should be."""
    fit = ppl.infer(one, 2.0, guide=guide, seed=seed, progress=False)
    assert fit.verdict.k_hat < 0.5 and fit.verdict.word == "usable" and fit.verdict.corrected
    n = fit.ratios.mixture.effective_draws
    assert fit["z"].mean == pytest.approx(1.0, abs=4 * 0.5**0.5 / n**0.5)
    assert fit["z"].sd == pytest.approx(0.5**0.5, rel=4 * 0.5**0.5 / n**0.5)
    for q in (0.05, 0.5, 0.95):
        density = stats.norm.pdf(stats.norm.ppf(q)) / 0.5**0.5
        error = 4 * (q * (1 - q) / n) ** 0.5 / density
        assert fit["z"].quantile(q) == pytest.approx(stats.norm.ppf(q, 1.0, 0.5**0.5), abs=error)
    draws = fit.sample(4000, seed=1, resample=True)["z"]
    assert draws.std() == pytest.approx(0.5**0.5, rel=4 * 0.5**0.5 * (1 / n + 1 / 4000) ** 0.5)
    assert fit.sample(4000, seed=1)["z"].std() > 1.5 * 0.5**0.5  # the guide's own, as they are


def hierarchy(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 2.0))
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Normal(mu, 1.0))
        ppl.sample("y", dist.Normal(z, 0.8), obs=y)


def narrow_locals(y):
    ppl.sample("mu", dist.Normal(ppl.param("m", 0.0), ppl.param("s", 0.2, dist.constraints.positive)))
    with ppl.plate("rows", len(y)):
        ppl.sample("z", dist.Normal(ppl.param("loc", 0.0), 0.45))


def test_corrected_summaries_of_elements_are_the_posteriors():
    """Elements at 0.7 of their sd: corrected means and sds, globals and locals, against the joint Gaussian."""
    y = np.random.default_rng(3).normal(0.5, 1.3, 30)
    fit = ppl.infer(hierarchy, y, guide=narrow_locals, progress=False)
    assert fit.verdict.corrected and "misses z (sd 0.6" in " ".join(str(fit.verdict).split())
    precision = np.diag([0.25 + 30.0, *[1.0 + 1 / 0.64] * 30])
    precision[0, 1:] = precision[1:, 0] = -1.0
    covariance = np.linalg.inv(precision)
    mean, sd = covariance @ np.concatenate([[0.0], y / 0.64]), np.sqrt(np.diag(covariance))
    n = fit.ratios.mixture.effective_draws
    for site, places in (("mu", slice(0, 1)), ("z", slice(1, 31))):
        np.testing.assert_array_less(np.abs(fit[site].mean - mean[places]) / sd[places], 5 / n**0.5)
        np.testing.assert_allclose(fit[site].sd, sd[places], rtol=5 * 0.5**0.5 / n**0.5)
    uncorrected = fit.sample(2000)["z"].std(0)
    assert np.all(uncorrected < 0.8 * sd[1:])


# -- models whose fits were trusted and wrong -------------------------------------------------------------
def two(_):
    z = ppl.sample("z", dist.Normal(0, 3))
    ppl.factor("f", np.logaddexp(np.log(2.0) - 0.5 * ((z - 3) / 0.3) ** 2, -0.5 * ((z + 3) / 0.3) ** 2))


def few_groups(s, y):
    mu = ppl.sample("mu", dist.Normal(0, 10))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("j", len(s)):
        th = ppl.sample("th", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(th, s), obs=y)


def tiny(y):
    m = ppl.sample("m", dist.Normal(0, 10))
    s = ppl.sample("s", dist.HalfCauchy(5))
    with ppl.plate("n", len(y)):
        ppl.sample("y", dist.Normal(m, s), obs=y)


def sums(y, s):
    with ppl.plate("n", len(y)):
        a = ppl.sample("a", dist.Normal(0, 3.0))
        b = ppl.sample("b", dist.Normal(0, 3.0))
        ppl.sample("y", dist.Normal(a + b, s), obs=y)


def edge(y):
    q = ppl.sample("q", dist.Beta(0.5, 0.5))
    ppl.sample("y", dist.Binomial(50, q), obs=y)


def switched(y):
    mu = ppl.sample("mu", dist.Normal(0, 3).expand([2]).to_event(1))
    with ppl.plate("n", len(y)):
        ppl.factor("l", np.logaddexp(-0.5 * (y - mu[0]) ** 2, -0.5 * (y - mu[1]) ** 2))


def far_off(size, c):
    x = ppl.sample("x", dist.Normal(0, 100).expand([size]).to_event(1))
    ppl.factor("f", np.logaddexp(-0.5 * np.sum(x**2), -0.5 * np.sum((x - c) ** 2)))


def cauchy(y):
    mu = ppl.sample("mu", dist.Normal(0, 20))
    with ppl.plate("r", len(y)):
        ppl.sample("y", dist.Cauchy(mu, 1.0), obs=y)


def coupled(y, strength):
    a = ppl.sample("a", dist.Bernoulli(0.5), estimator="score")
    b = ppl.sample("b", dist.Bernoulli(0.5), estimator="score")
    x = ppl.sample("x", dist.Normal(0, 1))
    ppl.factor("c", strength * (2 * a - 1) * (2 * b - 1))
    ppl.sample("y", dist.Normal(x, 1), obs=y)


def inside(y):
    ppl.sample("z", dist.Uniform(0.4, 0.6))


MANY_ROWS = np.random.default_rng(0).normal(size=2000) + np.repeat([-4.0, 4.0], 1000)
APART = np.array([-10.0, -10.5, -9.7, 10.0, 10.4, 9.6])
TWO_GROUPS = np.random.default_rng(2).normal(size=40) + np.repeat([-3.0, 3.0], 20)
NARROW = np.where(np.arange(100) < 4, 0.05, 5.0)
WRONG = {
    "two modes": (two, (0,), {}, {}),
    "two modes, laplace": (two, (0,), {}, {"algorithm": "laplace"}),
    "two groups": (few_groups, (np.ones(2),), {"y": np.array([0.0, 10.0])}, {}),
    "three groups": (few_groups, (np.ones(3),), {"y": np.array([0, 0.1, -0.1])}, {}),
    "two rows": (tiny, (np.array([1.0, 1.4]),), {}, {}),
    "two rows, dadvi": (tiny, (np.array([1.0, 1.4]),), {}, {"algorithm": "dadvi"}),
    "elements of a plate": (sums, (np.random.default_rng(0).normal(size=100) * 5, NARROW), {}, {"guide": "meanfield"}),
    "labels": (switched, (TWO_GROUPS,), {}, {}),
    "labels, laplace": (switched, (TWO_GROUPS,), {}, {"algorithm": "laplace"}),
    "labels, dadvi": (switched, (TWO_GROUPS,), {}, {"algorithm": "dadvi"}),
    "labels, full-rank": (switched, (TWO_GROUPS,), {}, {"guide": "fullrank"}),
    "labels, many rows": (switched, (MANY_ROWS,), {}, {}),
    "far off": (far_off, (2, 15.0), {}, {}),
    "far off, twenty": (far_off, (20, 10.0), {}, {}),
    "far off, full-rank": (far_off, (5, 6.0), {}, {"guide": "fullrank"}),
    "two groups of heavy tails": (cauchy, (APART,), {}, {"algorithm": "laplace"}),
    "coupled bits": (coupled, (1.0, 3.0), {}, {}),
    "a guide within bounds": (one, (1.0,), {}, {"guide": inside}),
    "an edge": (edge, (50,), {}, {"algorithm": "laplace"}),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WRONG)
def test_fits_that_miss_the_posterior_are_not_trusted(name, seed):
    model, args, kwargs, options = WRONG[name]
    fit = ppl.infer(model, *args, seed=seed, progress=False, **options, **kwargs)
    assert fit.verdict.word != "trusted"
    assert fit.verdict.corrected or fit.verdict.warnings  # and says what is amiss


def test_a_thousand_elements_that_are_fitted_well_are_trusted():
    """Through the front door; a joint k-hat of a thousand local latents would be above 0.7."""
    y = np.random.default_rng(4).normal(0.5, 1.28, 1000)
    fit = ppl.infer(hierarchy, y, progress=False)
    assert fit.verdict.word == "trusted" and len(fit.verdict.element_k_hats["rows"]) == 1000
    precision = 1.0 + 1 / 0.64
    total = 0.25 + 1000 * (1.0 - 1 / precision)
    mean = np.sum(y / 0.64 / precision) / total
    assert fit["mu"].mean == pytest.approx(mean, abs=0.15 * total**-0.5)
    np.testing.assert_allclose(fit["z"].sd, (1 / precision + 1 / precision**2 / total) ** 0.5, rtol=0.1)


def nested(y):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("g", y.shape[2]):
        a = ppl.sample("a", dist.Normal(mu, 1))
        with ppl.plate("k", y.shape[1]):
            b = ppl.sample("b", dist.Normal(a, 0.7))
            with ppl.plate("j", y.shape[0]):
                ppl.sample("y", dist.Normal(b, 1.0), obs=y)


def proportions(y):
    with ppl.plate("r", len(y)):
        p = ppl.sample("p", dist.Beta(2, 2))
        ppl.sample("y", dist.Binomial(5, p), obs=y)


def test_an_exact_guide_of_elements_with_many_coordinates_is_trusted():
    """Nine coordinates an element are too many for nodes: they are weighed as they are drawn."""
    y = np.random.default_rng(1).normal(size=(2, 8, 6)) * 1.5
    fit = ppl.infer(nested, y, progress=False)
    assert fit.verdict.word == "trusted"
    groups = np.kron(np.eye(6), np.ones((8, 8)))  # b of one group share their a
    covariance = 4.0 + groups + 0.49 * np.eye(48) + 0.5 * np.eye(48)  # of the mean of each pair
    pairs = y.transpose(0, 2, 1).reshape(2, 48)
    exact = stats.multivariate_normal(np.zeros(48), covariance).logpdf(pairs.mean(0))
    exact += np.sum(stats.norm.logpdf(pairs[0] - pairs[1], 0, 2**0.5))  # and the differences within pairs
    value, error = fit.log_evidence()
    assert abs(value - exact) < 4 * error + 0.01


def test_elements_with_tails_that_are_not_gaussian_are_trusted():
    y = np.random.default_rng(0).binomial(5, 0.4, size=500).astype(float)
    fit = ppl.infer(proportions, y, progress=False)
    exact = stats.beta(2 + y, 7 - y)
    assert fit.verdict.word == "trusted"
    np.testing.assert_array_less(np.abs(fit["p"].mean - exact.mean()) / exact.std(), 0.05)
    drawn = fit.sample(4000, resample=True)["p"]
    np.testing.assert_array_less(np.abs(drawn.mean(0) - exact.mean()) / exact.std(), 5 * (1 / 4000 + 1 / 3000) ** 0.5)
