"""NUTS: known posteriors, refusals, interruption and resumption, and what its verdict says."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.distributions as dist
from ppl.algorithms.convergence import bulk_size
from ppl.distributions import constraints

X = np.random.default_rng(0).normal(size=(30, 3)) @ np.array([[1, 0.9, 0], [0, 0.3, 0], [0.2, 0, 0.1]])
Y = X @ [1.0, -1.0, 2.0] + np.random.default_rng(1).normal(size=30)
COUNTS = np.array([3, 0, 2, 5, 1])
QUICK = ppl.NUTS(steps=400, chains=2, warmup=200)


def known(x, y, counts):
    """A Gaussian posterior of nearly collinear coefficients, and a gamma one beside it."""
    w = ppl.sample("w", dist.Normal(0, 2).expand([3]).to_event(1))
    rate = ppl.sample("rate", dist.Gamma(2.0, 1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ w, 1.0), obs=y)
    with ppl.plate("days", len(counts)):
        ppl.sample("counts", dist.Poisson(rate), obs=counts)


def errors(draws: np.ndarray, chains: int, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Of mean and sd, in standard errors by effective draws; the relative error of an sd is 1 / sqrt(2 n) and more."""
    by_chain = draws.reshape(chains, -1, *draws.shape[1:])
    size = bulk_size(by_chain)
    squares = bulk_size((by_chain - mean) ** 2)
    kurtosis = stats.kurtosis(draws) + 2.0
    return np.concatenate(
        [
            np.atleast_1d((draws.mean(0) - mean) / sd * np.sqrt(size)),
            np.atleast_1d((draws.std(0) / sd - 1) / np.sqrt(0.25 * kurtosis / squares)),
        ]
    )


@pytest.fixture(scope="module")
def fit():
    return ppl.infer(known, X, Y, COUNTS, algorithm=QUICK, progress=False)


def test_a_known_posterior(fit):
    precision = X.T @ X + np.eye(3) / 4
    mean, sd = np.linalg.solve(precision, X.T @ Y), np.sqrt(np.diag(np.linalg.inv(precision)))
    gamma = stats.gamma(2 + COUNTS.sum(), scale=1 / (1 + len(COUNTS)))
    draws = fit.sample(800)
    # Eight figures; four standard errors.
    assert np.all(np.abs(errors(draws["w"], 2, mean, sd)) < 4)
    assert np.all(np.abs(errors(draws["rate"], 2, gamma.mean(), gamma.std())) < 4)
    assert np.any(np.abs(errors(draws["w"], 2, mean + 0.3 * sd, sd)) > 4)  # control
    assert np.any(np.abs(errors(draws["rate"], 2, gamma.mean(), 1.4 * gamma.std())) > 4)
    assert fit["w"].mean == pytest.approx(draws["w"].mean(0))


def test_the_verdict_of_chains_that_mixed(fit):
    v = fit.verdict
    assert (v.word, v.converged, v.k_hat) == ("trusted", True, None)
    assert "R-hat" in v.stop_reason and any(w.startswith("no k-hat") for w in v.warnings)
    assert len(fit.history) == 400 and fit.solution.gradients > 1000


def test_too_few_draws_are_not_trusted():
    few = ppl.infer(known, X, Y, COUNTS, algorithm=ppl.NUTS(steps=20, chains=2, warmup=50), progress=False)
    assert few.verdict.word == "not trusted" and not few.verdict.converged


def funnel(n):
    tau = ppl.sample("tau", dist.LogNormal(0.0, 1.5))
    with ppl.plate("n", n):
        ppl.sample("z", dist.Normal(0, tau))
    ppl.sample("y", dist.Normal(tau, 10.0), obs=0.0)


def test_divergences_are_a_word():
    # The form of the start is kept: centred, a funnel, whose neck no step size fits.
    init = {"tau.loc": np.array(0.0)}
    fit = ppl.infer(funnel, 8, algorithm=ppl.NUTS(steps=150, chains=2, warmup=150, init=init), progress=False)
    assert fit.verdict.word != "trusted" and any("divergence" in w for w in fit.verdict.warnings)


def test_finite_sites_are_summed_out_and_drawn_back():
    y = np.array([-0.4, 0.9, 0.2])

    def labelled(y):
        m = ppl.sample("m", dist.Normal(0, 1))
        with ppl.plate("rows", len(y)):
            z = ppl.sample("z", dist.Bernoulli(0.3))
            ppl.sample("y", dist.Normal(np.where(z == 1, m, -1.0), 0.7), obs=y)

    fit = ppl.infer(labelled, y, algorithm=ppl.NUTS(steps=1000, chains=2, warmup=200), progress=False)
    m = np.linspace(-6, 6, 4001)[:, None]
    one = 0.3 * stats.norm(m, 0.7).pdf(y)
    both = one + 0.7 * stats.norm(-1, 0.7).pdf(y)
    weight = stats.norm(0, 1).pdf(m[:, 0]) * both.prod(1)
    weight /= weight.sum()
    exact = weight @ (one / both)
    assert fit["z"].mean == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(400))
    drawn = fit.sample(2000)["z"]
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn.mean(0) == pytest.approx(exact, abs=4 * 0.5 / np.sqrt(400))


def test_missing_entries_come_back():
    y = np.array([1.0, np.nan, 2.0])

    def gaps(y):
        m = ppl.sample("m", dist.Normal(0, 1))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(m, 1), obs=y)

    fit = ppl.infer(gaps, y, algorithm=QUICK, progress=False)
    assert fit["m"].mean == pytest.approx(1.0, abs=4 * 0.58 / np.sqrt(200))
    assert fit["y_unobserved"].sd == pytest.approx(np.sqrt(1 + 1 / 3), rel=0.15)


def learned(y):
    z = ppl.sample("z", dist.Normal(0, 1))
    s = ppl.param("s", 1.0, constraint=constraints.positive)
    ppl.sample("y", dist.Normal(z, s), obs=y)


def counted(y):
    n = ppl.sample("n", dist.Poisson(3.0))
    ppl.sample("y", dist.Normal(n, 1.0), obs=y)


def branching(y):
    z = ppl.sample("z", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(1.0 if z > 0 else -1.0, 1.0), obs=y)


@pytest.mark.parametrize("algorithm", ["nuts", "pathfinder"])
@pytest.mark.parametrize(
    ("model", "said", "hint"),
    [
        (learned, "learned parameter 's'", "with a prior in place of ppl.param"),
        (counted, "discrete latent site", "summed out by hand"),
        (branching, "executor='eager'", "bbvi"),
    ],
)
def test_what_cannot_be_sampled_is_refused_with_a_hint(algorithm, model, said, hint):
    with pytest.raises(ppl.ModelError) as error:
        ppl.infer(model, 1.0, algorithm=algorithm, progress=False)
    assert said in error.value.got and hint in error.value.hint


def test_without_mici_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mici", None)
    with pytest.raises(ppl.ModelError, match=r"ppl\[mcmc\]"):
        ppl.infer(known, X, Y, COUNTS, algorithm="nuts", progress=False)


@pytest.mark.parametrize("change", [{"steps": 0}, {"chains": 1.5}, {"warmup": -1}, {"target": 1.0}])
def test_wrong_settings_are_refused(change):
    with pytest.raises(ppl.ModelError):
        ppl.infer(known, X, Y, COUNTS, algorithm=ppl.NUTS(**change), progress=False)


def amortised(y):
    a, b = ppl.param("a", 0.0), ppl.param("b", 0.5)
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Normal(0, 1), guide=dist.Normal(a + b * y, 0.1))
        ppl.sample("y", dist.Normal(z, 1), obs=y)


@pytest.mark.parametrize("algorithm", [QUICK, ppl.Pathfinder()])
def test_a_guide_in_place_is_ignored(algorithm, tmp_path):
    y = np.array([2.0, -1.0])
    fit = ppl.infer(amortised, y, algorithm=algorithm, progress=False)
    assert fit["z"].mean == pytest.approx(y / 2, abs=4 * 0.71 / np.sqrt(200))
    fit.save(tmp_path / "fit.npz")
    assert ppl.load(tmp_path / "fit.npz", amortised)["z"].mean == pytest.approx(fit["z"].mean)


SHORT = ppl.NUTS(steps=40, chains=2, warmup=40)


@pytest.fixture(scope="module")
def unbroken():
    return ppl.infer(known, X, Y, COUNTS, algorithm=SHORT, progress=False)


def same(one: ppl.Fit, other: ppl.Fit) -> bool:
    return all(np.array_equal(x, other.sample(80)[n]) for n, x in one.sample(80).items()) and str(one) == str(other)


def test_resumed_from_a_file_it_ends_where_an_unbroken_run_does(unbroken, tmp_path):
    part = ppl.infer(known, X, Y, COUNTS, algorithm=ppl.NUTS(steps=25, chains=2, warmup=40), progress=False)
    part.save(tmp_path / "part.npz")
    read = ppl.load(tmp_path / "part.npz", known)
    assert same(read, part)
    longer = read.resume(steps=15, progress=False)
    assert all(np.array_equal(x, unbroken.sample(80)[n]) for n, x in longer.sample(80).items())


class Stop:
    """Ctrl-C after so many draws."""

    def __init__(self, after: int):
        self.left = after

    def __call__(self, state, info):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_interrupted_it_keeps_its_draws_and_goes_on(unbroken):
    algorithm = ppl.NUTS(steps=40, chains=2, warmup=40, callback=Stop(30))
    fit = ppl.infer(known, X, Y, COUNTS, algorithm=algorithm, progress=False)
    assert fit.solution.interrupted and not fit.verdict.converged and fit.solution.steps == 30
    longer = fit.resume(progress=False)
    assert all(np.array_equal(x, unbroken.sample(80)[n]) for n, x in longer.sample(80).items())


class CutOff(Exception):
    pass


def test_a_checkpoint_goes_on_after_a_crash(unbroken, tmp_path):
    path = tmp_path / "kept.npz"

    def crash(state, info):
        if state.step == 30:
            raise CutOff

    def settings(callback=None):
        return ppl.NUTS(steps=40, chains=2, warmup=40, callback=callback, checkpoint=path, checkpoint_every=0)

    with pytest.raises(CutOff):
        ppl.infer(known, X, Y, COUNTS, algorithm=settings(crash), progress=False)
    kept = ppl.load(path, known)
    assert not kept.verdict.converged and kept.solution.steps == 29
    again = ppl.infer(known, X, Y, COUNTS, algorithm=settings(), progress=False)
    assert same(again, unbroken) or np.array_equal(again.sample(80)["w"], unbroken.sample(80)["w"])
    with pytest.raises(ppl.DataError, match="of another run"):
        ppl.infer(known, X, Y, COUNTS, algorithm=settings(), seed=1, progress=False)


def test_a_limit_of_gradients_ends_it():
    algorithm = ppl.NUTS(steps=10_000, chains=2, warmup=100, gradients=3000)
    fit = ppl.infer(known, X, Y, COUNTS, algorithm=algorithm, progress=False)
    pilots = ppl.infer(known, X, Y, COUNTS, algorithm=ppl.NUTS(steps=20, chains=2, warmup=20), progress=False)
    assert "gradient evaluations was reached" in fit.verdict.stop_reason and fit.solution.steps < 10_000
    assert fit.solution.gradients < 3000 + 2 * 2**10 + pilots.solution.gradients


def test_it_starts_from_a_fit():
    full = ppl.infer(known, X, Y, COUNTS, guide="fullrank", progress=False)
    fit = ppl.infer(known, X, Y, COUNTS, algorithm=ppl.NUTS(steps=60, chains=2, warmup=200, init=full), progress=False)
    assert fit.params["w.loc"] == pytest.approx(full.params["_joint.loc"][:3])
    covariance = full.params["_joint.scale_tril"] @ full.params["_joint.scale_tril"].T
    assert fit.params["w.scale"] == pytest.approx(np.sqrt(np.diag(covariance))[:3])
    # In the metric of the fit a Gaussian needs few steps: a trajectory of half a period at a step of about 1.
    assert np.median(fit.solution.sampled.stats["n_steps"]) <= 7


def test_arviz_has_chains_and_what_stands_beside_them(fit):
    arviz = pytest.importorskip("arviz")
    data = fit.to_arviz()
    assert data.posterior["w"].shape == (2, 400, 3)
    assert data.posterior["w"].values.reshape(-1, 3) == pytest.approx(fit.sample(800)["w"])
    assert {"diverging", "lp", "energy", "n_steps", "tree_depth", "acceptance_rate"} <= set(data.sample_stats)
    assert data.sample_stats["diverging"].dtype == bool
    assert np.isfinite(arviz.loo(data, var_name="y").elpd_loo)
    assert fit.to_arviz(100).posterior["w"].shape == (1, 100, 3)


def test_the_density_is_that_of_the_statement():
    from ppl.algorithms.density import LogDensity
    from ppl.elbo import problem

    p = problem(known, (X, Y, COUNTS), {})
    values = {
        "w.loc": np.array([0.1, 0.2, 0.3]),
        "w.scale": np.array([0.5, 1.0, 2.0]),
        "rate.loc": np.array(0.3),
        "rate.scale": np.array(0.2),
    }
    f = LogDensity.of(p, "meanfield", values, 0, "a test")
    e = np.random.default_rng(2).normal(size=(5, 4))
    w, log_rate = values["w.loc"] + values["w.scale"] * e[:, :3], 0.3 + 0.2 * e[:, 3]
    exact = stats.norm(0, 2).logpdf(w).sum(1) + stats.norm(w @ X.T, 1).logpdf(Y).sum(1)
    exact += stats.gamma(2).logpdf(np.exp(log_rate)) + stats.poisson(np.exp(log_rate)[:, None]).logpmf(COUNTS).sum(1)
    exact += log_rate + np.log(0.5 * 1.0 * 2.0 * 0.2)
    assert f.of_rows(e) == pytest.approx(exact, rel=1e-12)
    value, slope = f(e[0])
    assert value == pytest.approx(exact[0])
    step = 1e-6 * np.eye(4)
    assert slope == pytest.approx((f.of_rows(e[0] + step) - f.of_rows(e[0] - step)) / 2e-6, rel=1e-6, abs=1e-6)
    assert special.logsumexp(exact) < 0
