"""The bound itself: below the log evidence, equal to it minus the divergence, and fair to minibatches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.distributions as dist
from ppl import handlers
from ppl.distributions import constraints

from .zoo import DATA, bernoulli, normal, plated, plated_guide, states

X = np.array([1.2, 0.4, 2.2, 1.9, -0.3, 1.1])


def conjugate(x):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", len(x)):
        ppl.sample("x", dist.Normal(mu, 1.5), obs=x)


def evidence(x):
    return stats.multivariate_normal(np.zeros(len(x)), 2.25 * np.eye(len(x)) + 4.0).logpdf(x)


def posterior(x):
    precision = 0.25 + len(x) / 2.25
    return np.sum(x) / 2.25 / precision, precision**-0.5


def guide(x):
    ppl.sample("mu", dist.Normal(ppl.param("m", 0.0), ppl.param("s", 1.0, constraints.positive)))


@pytest.mark.parametrize(("m", "s"), [(0.0, 1.0), (1.0, 0.5), (-2.0, 3.0), posterior(X)])
def test_elbo_is_log_evidence_minus_divergence(m, s):
    record = ppl.gradient(conjugate, X, guide=guide, params={"m": m, "s": s}, particles=40_000)
    loc, sd = posterior(X)
    kl = np.log(sd / s) + (s**2 + (m - loc) ** 2) / (2 * sd**2) - 0.5
    spread = s * abs(len(X) / 2.25) * (abs(m - np.mean(X)) + s)  # sd of the log likelihood under the guide, about
    assert record.elbo == pytest.approx(evidence(X) - kl, abs=4 * spread / 200 + 1e-9)


@pytest.mark.parametrize("name", ["meanfield", "fullrank", None, guide])
def test_a_conjugate_fit_reaches_the_evidence(name):
    fit = ppl.infer(conjugate, X, guide=name, progress=False)
    loc, sd = posterior(X)
    assert fit["mu"].mean == pytest.approx(loc, abs=0.1 * sd)
    assert fit["mu"].sd == pytest.approx(sd, rel=0.1)
    assert fit.elbo <= evidence(X) + 4 * fit.elbo_se + 1e-9
    assert fit.elbo == pytest.approx(evidence(X), abs=0.02 + 4 * fit.elbo_se)


def coin_models():
    """Models whose log evidence a sum over states gives."""
    rng = np.random.default_rng(0)
    for k in range(4):
        prior, data = rng.uniform(0.2, 0.8, 3), rng.normal(0, 2, 3)
        matrix = rng.normal(size=(3, 3))

        def model(prior=prior, data=data, matrix=matrix):
            with ppl.plate("rows", 3):
                b = ppl.sample("b", dist.Bernoulli(prior))
                ppl.sample("x", dist.Normal(np.sum(b * matrix, 1) + np.sum(b), 1), obs=data)

        b = states(3)
        logs = [np.sum(bernoulli(s, prior)) + np.sum(normal(data, np.sum(s * matrix, 1) + np.sum(s))) for s in b]
        yield k, model, special.logsumexp(logs)


@pytest.mark.parametrize(
    ("k", "model", "log_evidence"), list(coin_models()), ids=lambda x: str(x) if isinstance(x, int) else ""
)
def test_the_bound_stays_below_the_evidence(k, model, log_evidence):
    fit = ppl.infer(model, algorithm=ppl.BBVI(steps=400), progress=False, seed=k)
    assert fit.elbo <= log_evidence + 4 * fit.elbo_se
    assert fit.elbo > log_evidence - 6


def test_one_coin_is_exact():
    def model():
        z = ppl.sample("z", dist.Bernoulli(0.3))
        ppl.sample("x", dist.Normal(2 * z, 1), obs=1.4)

    fit = ppl.infer(model, progress=False)
    logs = [np.log(0.7) + normal(1.4, 0), np.log(0.3) + normal(1.4, 2)]
    assert fit["z"].mean == pytest.approx(special.softmax(logs)[1], abs=0.02)
    assert fit.elbo == pytest.approx(special.logsumexp(logs), abs=0.01 + 4 * fit.elbo_se)


def test_a_guide_in_the_other_order_stays_below_the_evidence():
    """The posterior is in this guide's family: the best bound is the evidence, and none is above it."""

    def model():
        a = ppl.sample("a", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Normal(a, 1))
        ppl.sample("x", dist.Normal(b, 1), obs=3.0)

    def backwards():
        b = ppl.sample("b", dist.Normal(ppl.param("m", 0.0), ppl.param("s", 1.0, constraints.positive)))
        ppl.sample("a", dist.Normal(ppl.param("c", 0.0) * b, ppl.param("t", 1.0, constraints.positive)))

    best = {"m": 2.0, "s": np.sqrt(2 / 3), "c": 0.5, "t": np.sqrt(0.5)}
    log_evidence = stats.norm(0, np.sqrt(3)).logpdf(3.0)
    record = ppl.gradient(model, guide=backwards, params=best, particles=20_000)
    assert record.elbo == pytest.approx(log_evidence, abs=0.03)
    for name in best:
        assert abs(record.grad[name]) < 4 * np.sqrt(record.variance[name] / 20_000) + 1e-9
    fit = ppl.infer(model, guide=backwards, progress=False)
    assert fit.params["c"] == pytest.approx(0.5, abs=0.03) and fit.params["s"] == pytest.approx(best["s"], rel=0.05)


# -- minibatches -----------------------------------------------------------------------------------
def sub(x, size=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        ppl.sample("x", dist.Normal(mu, 1.5), obs=x[i])


def sub_local(x, size=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        z = ppl.sample("z", dist.Normal(mu, 1.0))
        ppl.sample("x", dist.Normal(z, 1.5), obs=x[i])


def sub_discrete(x, size=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        b = ppl.sample("b", dist.Bernoulli(0.4))
        ppl.sample("x", dist.Normal(mu + 2 * b, 1.5), obs=x[i])


def sub_global(x, size=None):
    b = ppl.sample("b", dist.Bernoulli(0.4))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        ppl.sample("x", dist.Normal(b, 1.5), obs=x[i])


def sub_coins(x, size=None):
    """Local coins alone."""
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        b = ppl.sample("b", dist.Bernoulli(0.4))
        ppl.sample("x", dist.Normal(b, 1.5), obs=x[i])


def over_seeds(model, size, count, **options):
    """Mean and standard error over seeds of bound and gradients."""
    records = [ppl.gradient(model, X, size, seed=s, particles=4, **options) for s in range(count)]
    stacked = {
        "elbo": np.array([r.elbo for r in records]),
        **{n: np.array([r.grad[n] for r in records]) for n in records[0].grad},
    }
    return {n: (v.mean(0), v.std(0) / count**0.5) for n, v in stacked.items()}


@pytest.mark.parametrize("sampled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", [sub, sub_local, sub_discrete, sub_global, sub_coins])
def test_minibatches_are_unbiased(model, sampled):
    """Averaged over many seeds, bound and gradient of two rows of six are those of all six.

    `sub_global` has a state above its minibatch, which cannot be summed out.
    """
    options = {"estimators": "score" if sampled or model is sub_global else "auto"}
    full, small = over_seeds(model, None, 80, **options), over_seeds(model, 2, 250, **options)
    assert set(full) == set(small)
    for name, (mean, error) in small.items():
        expected, other = full[name]
        assert np.shape(mean) == np.shape(expected)
        gap = np.abs(mean - expected) / np.sqrt(error**2 + other**2 + 1e-12)
        assert np.max(gap) < 4.5, (name, mean, expected)


def test_the_reported_variance_covers_the_choice_of_the_minibatch():
    """The error of a mean of K particles is `variance / K` or less, minibatches included."""
    records = [
        ppl.gradient(sub, X, 2, seed=s, particles=400, params={"mu.loc": 1.0, "mu.scale": 0.3}) for s in range(40)
    ]
    seen = np.var([r.grad["mu.loc"] for r in records], ddof=1)
    promised = np.mean([r.variance["mu.loc"] for r in records]) / 400
    assert seen < 3 * promised


def test_only_touched_rows_have_a_gradient():
    record = ppl.gradient(sub_local, X, 2, seed=0, particles=1)
    assert record.grad["z.loc"].shape == (6,) and np.count_nonzero(record.grad["z.loc"]) == 2


def test_a_scaled_minibatch_without_the_scale_would_be_caught():
    """The check above has teeth: a bound without its plate's scale is far off."""

    def unscaled(x, size=None):
        mu = ppl.sample("mu", dist.Normal(0, 2))
        with ppl.plate("rows", len(x), subsample_size=size) as i, handlers.scale(scale=(size or 6) / 6):
            ppl.sample("x", dist.Normal(mu, 1.5), obs=x[i])

    (full, _), (small, error) = (over_seeds(unscaled, size, 100)["elbo"] for size in (None, 2))
    assert abs(small - full) > 10 * error


def test_local_latents_of_a_subsampled_plate():
    fits = [ppl.infer(sub_local, X, size, guide="meanfield", progress=False) for size in (None, 3)]
    loc, sd = exact_local(X)
    for fit in fits:
        assert fit["z"].mean.shape == (6,) and fit.sample(5)["z"].shape == (5, 6)
        np.testing.assert_allclose(fit["z"].mean, loc, atol=0.2 * sd.max())
    np.testing.assert_allclose(fits[0]["mu"].mean, fits[1]["mu"].mean, atol=0.15)
    assert fits[1].elbo == pytest.approx(fits[0].elbo, abs=0.1)


def exact_local(x):
    """Posterior mean and sd of every z of `sub_local`."""
    n = len(x)
    prior = np.eye(n) + 4.0
    gain = prior @ np.linalg.inv(prior + 2.25 * np.eye(n))
    return gain @ x, np.sqrt(np.diag(prior - gain @ prior))


def test_the_reported_bound_is_for_the_full_data():
    full, small = (ppl.infer(sub, X, size, progress=False) for size in (None, 2))
    assert small.elbo == pytest.approx(evidence(X), abs=0.1)
    assert full.elbo == pytest.approx(evidence(X), abs=0.03)


# -- what terms there are --------------------------------------------------------------------------
def test_the_bound_is_the_sum_of_its_terms():
    fit = ppl.infer(plated(lambda b: b + np.sum(b)), guide=plated_guide, algorithm=ppl.BBVI(steps=100), progress=False)
    assert fit.elbo == pytest.approx(sum(mean for mean, _ in fit.bound.terms.values()))
    assert {t.kind for t in fit.solution.derivation.terms} == {"KL", "log p"}


def test_a_divergence_that_is_known_has_no_noise():
    def model(x):
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("x", dist.Normal(z, 1), obs=x)

    record = ppl.gradient(model, 0.0, guide="meanfield", particles=50, params={"z.loc": 1.0, "z.scale": 0.5})
    assert record.variance["z.loc"] > 0  # the likelihood's
    alone = ppl.gradient(
        lambda: ppl.sample("z", dist.Normal(0, 1)), guide="meanfield", params={"z.loc": 1.0, "z.scale": 0.5}
    )
    assert alone.grad["z.loc"] == pytest.approx(-1.0) and alone.variance["z.loc"] == 0
    assert alone.elbo == pytest.approx(-(np.log(2.0) + (0.25 + 1) / 2 - 0.5))


def test_a_scale_outside_one_site_spoils_no_divergence():
    """handlers.scale on a latent site multiplies its log prior, not the guide's entropy."""

    def model():
        with handlers.scale(scale=3.0):
            ppl.sample("z", dist.Normal(0, 1))

    record = ppl.gradient(model, guide="meanfield", params={"z.loc": 0.5, "z.scale": 0.7}, particles=100_000)
    expected = 3 * (normal(0.5) - 0.5 * 0.49) + np.log(0.7) + 0.5 * np.log(2 * np.pi * np.e)
    assert record.elbo == pytest.approx(expected, abs=0.02)


def test_masked_latent_rows_have_no_prior():
    def model():
        with ppl.plate("rows", 2), handlers.mask(mask=np.array([True, False])):
            ppl.sample("z", dist.Normal(0, 1))

    at = {"z.loc": np.array([0.5, 0.5]), "z.scale": np.array([0.7, 0.7])}
    record = ppl.gradient(model, guide="meanfield", params=at, particles=2000)
    assert record.grad["z.loc"][0] == pytest.approx(-0.5, abs=0.1) and record.grad["z.loc"][1] == pytest.approx(
        0, abs=1e-9
    )


def test_parameters_of_the_model_are_maximised():
    def model(x):
        sd = ppl.param("sd", 1.0, constraints.positive)
        with ppl.plate("rows", len(x)):
            ppl.sample("x", dist.Normal(0, sd), obs=x)

    fit = ppl.infer(model, DATA, progress=False)
    assert fit.params["sd"] == pytest.approx(np.sqrt(np.mean(DATA**2)), rel=0.02)
    assert fit.elbo_se == 0
