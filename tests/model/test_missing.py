"""Observations with missing entries, against closed forms: dropped rows, Gaussian conditionals, Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist

RNG = np.random.default_rng(0)
N = 40
X = RNG.normal(1, 1, N)
Y = 1 + 2 * X + RNG.normal(size=N)
LACKS = np.arange(N) % 4 == 0
GAPPY = np.where(LACKS, np.nan, Y)
KEPT = ~LACKS
COV = np.array([[1.0, 0.8], [0.8, 2.0]])


def infer(*args, **kwargs):
    return ppl.infer(*args, progress=False, **kwargs)


def regression(x, y, mask=None, batch=None):
    a = ppl.sample("a", dist.Normal(0, 10))
    b = ppl.sample("b", dist.Normal(0, 10))
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        y = ppl.sample("y", dist.Normal(a + b * x[i], 1), obs=y[i], obs_mask=None if mask is None else mask[i])
    ppl.deterministic("total", y.sum())


def exact_regression(x, y):
    """Mean and covariance of (a, b), and the log evidence."""
    design = np.stack([np.ones_like(x), x], 1)
    cov = np.linalg.inv(design.T @ design + np.eye(2) / 100)
    marginal = np.eye(len(y)) + 100 * design @ design.T
    log_evidence = -0.5 * (
        y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(marginal)[1] + len(y) * np.log(2 * np.pi)
    )
    return cov @ design.T @ y, cov, log_evidence


def close(fit, site, mean, sd, tolerance=0.1):
    return bool(
        np.all(np.abs(fit[site].mean - mean) < tolerance * sd) and np.all(np.abs(fit[site].sd / sd - 1) < tolerance)
    )


# -- responses: nothing reads them, so their rows are dropped --------------------------------------------
def as_nullable(y):
    pandas = pytest.importorskip("pandas")
    return pandas.Series([None if np.isnan(v) else v for v in y], dtype="Float64")


MARKED = {
    "NaN": lambda: (GAPPY, None),
    "obs_mask": lambda: (np.where(LACKS, 1e6, Y), KEPT),
    "both": lambda: (np.where(np.arange(N) % 8 == 0, np.nan, Y), KEPT),
    "np.ma": lambda: (np.ma.array(np.where(LACKS, 1e6, Y), mask=LACKS), None),
    "pandas NA": lambda: (as_nullable(GAPPY), None),
}


@pytest.mark.parametrize("batch", [None, 20])
@pytest.mark.parametrize("how", MARKED)
def test_missing_responses_are_rows_left_out(how, batch):
    y, mask = MARKED[how]()
    (a, b), cov, log_evidence = exact_regression(X[KEPT], Y[KEPT])
    fit = infer(regression, X, y, mask, batch, guide="fullrank")
    # A full-rank Gaussian is exact here: what is left is the noise of minibatches and draws.
    assert close(fit, "a", a, cov[0, 0] ** 0.5) and close(fit, "b", b, cov[1, 1] ** 0.5)
    assert fit.elbo == pytest.approx(log_evidence, abs=0.2 if batch else 0.06)


def test_zeros_in_their_places_are_another_answer():
    (_, b), cov, _ = exact_regression(X[KEPT], Y[KEPT])
    assert not close(infer(regression, X, np.nan_to_num(GAPPY), guide="fullrank"), "b", b, cov[1, 1] ** 0.5)


@pytest.mark.parametrize("batch", [None, 20])
def test_the_completed_response_is_in_the_results(batch):
    fit = infer(regression, X, GAPPY, None, batch, guide="fullrank")
    (a, b), cov, _ = exact_regression(X[KEPT], Y[KEPT])
    sd = np.sqrt(1 + cov[0, 0] + 2 * cov[0, 1] * X + cov[1, 1] * X**2)[LACKS]
    assert np.array_equal(fit["y"].mean[KEPT], Y[KEPT]) and np.all(fit["y"].sd[KEPT] == 0)
    assert np.all(np.abs(fit["y"].mean[LACKS] - (a + b * X[LACKS])) < 0.15 * sd)
    assert np.allclose(fit["y"].sd[LACKS], sd, rtol=0.1)
    draws = fit.sample(50)
    assert np.allclose(draws["total"], draws["y"].sum(1))
    assert fit.sites == (["a", "b", "y_unobserved", "total"] if batch is None else ["a", "b", "y", "total"])
    assert fit.predict(num_samples=7)["y"].shape == (7, N)
    assert np.all(fit.predict(num_samples=7)["y"].std(0) > 0)


def test_discrete_responses_are_summed_out():
    def model(y, count):
        p = ppl.sample("p", dist.Beta(2, 2))
        r = ppl.sample("r", dist.Gamma(2, 1))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Bernoulli(p), obs=y)
            ppl.sample("count", dist.Poisson(r), obs=count)

    y, count = RNG.integers(0, 2, 30).astype(float), RNG.poisson(3, 30).astype(float)
    y[:8], count[-9:] = np.nan, np.nan
    fit = infer(model, y, count)
    seen, counted = y[8:], count[:-9]
    p, r = dist.Beta(2 + seen.sum(), 2 + (1 - seen).sum()), dist.Gamma(2 + counted.sum(), 1.0 + len(counted))
    assert close(fit, "p", p.mean, p.variance**0.5) and close(fit, "r", r.mean, r.variance**0.5)
    # 4000 draws of a 0/1 value: an error of 0.008 each
    assert np.all(np.abs(fit["y"].mean[:8] - p.mean) < 0.04) and np.array_equal(fit["y"].mean[8:], seen)


# -- predictors: read by others, so they are latent ------------------------------------------------------
def known_line(x, y, batch=None):
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        x = ppl.sample("x", dist.Normal(1, 0.7), obs=x[i])
        ppl.sample("y", dist.Normal(0.5 + 2 * x, 1), obs=y[i])


@pytest.mark.parametrize("batch", [None, 10])
def test_missing_predictors_of_a_known_line_have_gaussian_conditionals(batch):
    fit = infer(known_line, np.where(LACKS, np.nan, X), Y, batch)
    precision = 1 / 0.49 + 4
    mean = (1 / 0.49 + 2 * (Y - 0.5)) / precision
    assert np.all(np.abs(fit["x"].mean - np.where(LACKS, mean, X)) < 0.1 * precision**-0.5)
    assert np.allclose(fit["x"].sd, np.where(LACKS, precision**-0.5, 0), rtol=0.1)
    # Exact but for rounding: the guide holds the posterior. In a minibatch rows that lack nothing have no entropy.
    marginal = dist.Normal(0.5 + 2.0, np.sqrt(1 + 4 * 0.49)).log_prob(Y[LACKS]).sum()
    both = dist.Normal(1, 0.7).log_prob(X[KEPT]) + dist.Normal(0.5 + 2 * X[KEPT], 1).log_prob(Y[KEPT])
    assert fit.elbo == pytest.approx(marginal + both.sum(), abs=0.1)
    assert not np.allclose(fit["x"].mean[LACKS], 1, atol=0.1)  # as it were if y did not read x


def test_missing_predictors_of_an_unknown_line():
    def line(x, y):
        a = ppl.sample("a", dist.Normal(0, 5))
        b = ppl.sample("b", dist.Normal(0, 5))
        with ppl.plate("rows", len(x)):
            x = ppl.sample("x", dist.Normal(1, 1), obs=x)
            ppl.sample("y", dist.Normal(a + b * x, 1), obs=y)

    fit = infer(line, np.where(LACKS, np.nan, X), Y)
    a, b = np.meshgrid(np.linspace(-1, 4, 201), np.linspace(0, 4, 201), indexing="ij")
    log_p = dist.Normal(0, 5).log_prob(a) + dist.Normal(0, 5).log_prob(b)
    for x, y, lacks in zip(X, Y, LACKS, strict=True):
        law = dist.Normal(a + b, np.sqrt(1 + b * b)) if lacks else dist.Normal(a + b * x, 1)
        log_p = log_p + law.log_prob(y)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for site, grid in (("a", a), ("b", b)):
        mean = np.sum(p * grid)
        assert close(fit, site, mean, np.sqrt(np.sum(p * (grid - mean) ** 2)), 0.15)


def test_a_discrete_predictor_follows_bayes_rule():
    g, y = np.array([np.nan, np.nan, 1.0, 0.0]), np.array([1.2, -0.4, 3.0, 0.1])

    def model(g, y):
        with ppl.plate("rows", len(y)):
            g = ppl.sample("g", dist.Bernoulli(0.3), obs=g)
            ppl.sample("y", dist.Normal(2.0 * g, 1), obs=y)

    odds = 0.3 / 0.7 * np.exp(dist.Normal(2, 1).log_prob(y) - dist.Normal(0, 1).log_prob(y))
    fit = infer(model, g, y)
    # 4000 draws, and the tolerance of a stochastic run
    assert np.allclose(fit["g"].mean, [*(odds / (1 + odds))[:2], 1, 0], atol=0.04)


# -- values of several elements ---------------------------------------------------------------------------
def test_part_of_a_vector_has_the_conditional_of_a_bivariate_normal():
    z = RNG.multivariate_normal([0, 1], COV, size=6)
    gappy = z.copy()
    gappy[:2, 1], gappy[2, 0] = np.nan, np.nan

    def model(z):
        with ppl.plate("rows", len(z)):
            ppl.sample("z", dist.MultivariateNormal(np.array([0.0, 1.0]), covariance_matrix=COV), obs=z)

    fit = infer(model, gappy)
    mean = [*(1 + 0.8 * z[:2, 0]), 0.8 / 2 * (z[2, 1] - 1)]
    sd = np.sqrt([2 - 0.64, 2 - 0.64, 1 - 0.32])
    assert close(fit, "z_unobserved", mean, sd)
    assert np.array_equal(fit["z"].mean[3:], z[3:]) and fit["z"].mean.shape == (6, 2)


@pytest.mark.parametrize("batch", [None, 10])
def test_whole_vectors_are_rows_left_out(batch):
    z = RNG.multivariate_normal([0, 1], COV, size=20)
    z[::3] = np.nan

    def model(z, mask=None):
        mu = ppl.sample("mu", dist.Normal(0, 5).expand([2]).to_event(1))
        with ppl.plate("rows", len(z), subsample_size=batch) as i:
            mask = None if mask is None else mask[i]
            ppl.sample("z", dist.MultivariateNormal(mu, covariance_matrix=COV), obs=z[i], obs_mask=mask)

    kept = z[~np.isnan(z[:, 0])]
    cov = np.linalg.inv(len(kept) * np.linalg.inv(COV) + np.eye(2) / 25)
    mean = cov @ np.linalg.solve(COV, kept.sum(0))
    assert close(infer(model, z, guide="fullrank"), "mu", mean, np.sqrt(np.diag(cov)))
    marked = infer(model, np.nan_to_num(z), ~np.isnan(z[:, 0]), guide="fullrank")
    assert close(marked, "mu", mean, np.sqrt(np.diag(cov)))


def test_simplexes_are_missing_as_a_whole():
    def model(p):
        with ppl.plate("rows", len(p)):
            p = ppl.sample("p", dist.Dirichlet(np.array([2.0, 3.0, 4.0])), obs=p)
            ppl.sample("y", dist.Normal(p[:, 0], 10.0), obs=np.zeros(len(p)))

    p = RNG.dirichlet([2, 3, 4], 5)
    p[1] = np.nan
    fit = infer(model, p)
    assert fit["p_unobserved"].mean.shape == (1, 3)
    assert np.allclose(fit["p"].mean.sum(1), 1) and np.allclose(fit["p"].mean[1], np.array([2, 3, 4]) / 9, atol=0.03)


# -- time ------------------------------------------------------------------------------------------------
def test_a_series_with_gaps_is_smoothed_over_them():
    y = np.cumsum(RNG.normal(size=25))
    lacks = np.isin(np.arange(25), [0, 5, 6, 7, 24])

    def walk(y, mask=None):
        def step(z, now):
            z = ppl.sample("z", dist.Normal(z, 0.8))
            ppl.sample("y", dist.Normal(z, 1.0), obs=now[0], obs_mask=None if mask is None else now[1])
            return z, None

        ppl.scan(step, 0.0, (y, y if mask is None else mask))

    steps = np.eye(25) - np.eye(25, k=-1)
    precision = steps.T @ steps / 0.64 + np.diag(~lacks * 1.0)
    cov = np.linalg.inv(precision)
    for fit in (infer(walk, np.where(lacks, np.nan, y)), infer(walk, np.where(lacks, 1e6, y), ~lacks)):
        assert close(fit, "z", cov @ np.where(lacks, 0, y), np.sqrt(np.diag(cov)), 0.15)
    by_hand = ppl.handlers.trace(ppl.handlers.seed(walk, 0)).get_trace(np.where(lacks, np.nan, y))
    assert np.array_equal(by_hand["y"]["value"][~lacks], y[~lacks]) and np.all(np.isfinite(by_hand["y"]["value"]))


# -- who looks at such a site ----------------------------------------------------------------------------
def test_the_graph_shows_what_is_missing():
    assert str(ppl.graph(regression, X, GAPPY)).splitlines()[2:4] == [
        "y_unobserved ~ Normal [y_missing] <- a, b",
        "y ~ Normal [rows] <- a, b, y_unobserved, observed",
    ]
    graph = ppl.graph(known_line, np.where(LACKS, np.nan, X), Y)
    assert graph.nodes["y"].parents == ("x",) and graph.nodes["x_unobserved"].shape == (LACKS.sum(),)


def test_explain_says_who_draws_the_missing_entries():
    text = infer(regression, X, GAPPY).explain()
    assert "q(y_unobserved): Normal (the model)" in text and "E[log p(y | a, b)]" in text


def test_by_hand_the_value_is_completed():
    trace = ppl.handlers.trace(ppl.handlers.seed(regression, 0)).get_trace(X, GAPPY)
    y = trace["y"]["value"]
    assert np.array_equal(y[KEPT], Y[KEPT]) and np.array_equal(y[LACKS], trace["y_unobserved"]["value"])
    assert np.all(trace["y_unobserved"]["fn"].log_prob(y[LACKS]) == 0)  # counted at y
    draws = ppl.prior_predictive(regression, X, GAPPY, num_samples=6)
    assert set(draws) == {"a", "b", "y", "total"} and np.all(draws["y"].std(0) > 0)


def test_conditioning_replaces_the_observation_or_fills_its_gaps():
    (a, _), cov, log_evidence = exact_regression(X, Y)
    for data in ({"y": Y}, {"y_unobserved": Y[LACKS]}):
        fit = infer(ppl.handlers.condition(regression, data), X, GAPPY, guide="fullrank")
        assert close(fit, "a", a, cov[0, 0] ** 0.5) and fit.elbo == pytest.approx(log_evidence, abs=0.06)


def test_a_mask_handler_may_cover_the_gaps():
    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("rows", len(y)), ppl.handlers.mask(mask=~np.isnan(y)):
            ppl.sample("y", dist.Normal(mu, 1), obs=y)

    fit = infer(model, GAPPY)
    assert fit.sites == ["mu"]
    assert close(fit, "mu", KEPT * 1.0 @ np.nan_to_num(GAPPY) / (1 + KEPT.sum()), (1 + KEPT.sum()) ** -0.5)


def test_a_guide_function_may_draw_the_missing_entries():
    def guide(x, y):
        m = ppl.param("m", np.zeros(LACKS.sum()))
        with ppl.plate("x_missing", LACKS.sum()):
            ppl.sample("x_unobserved", dist.Normal(m, (1 / 0.49 + 4) ** -0.5))

    fit = infer(known_line, np.where(LACKS, np.nan, X), Y, guide=guide)
    assert np.allclose(fit.params["m"], (1 / 0.49 + 2 * (Y[LACKS] - 0.5)) / (1 / 0.49 + 4), atol=0.05)


def test_all_missing_is_said():
    fit = infer(regression, X, np.full(N, np.nan))
    assert fit.verdict.word != "trusted"
    assert any("every entry of site 'y' is missing" in w for w in fit.verdict.warnings)


# -- refusals ----------------------------------------------------------------------------------------------
def read_counts(y):
    with ppl.plate("rows", len(y)):
        count = ppl.sample("count", dist.Poisson(2.0), obs=y)
        ppl.sample("y", dist.Normal(count, 1), obs=np.zeros(len(y)))


def part_of_a_simplex(p):
    with ppl.plate("rows", len(p)):
        ppl.sample("p", dist.Dirichlet(np.ones(3)), obs=p)


def in_place(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(0, 1), obs=y, guide=dist.Normal(0, 1))


def unindexed(y, mask):
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(0, 1), obs=y, obs_mask=mask)


REFUSED = {
    "a mask of numbers": (ppl.DataError, regression, (X, Y, KEPT.astype(int)), ["int64", "booleans", "astype(bool)"]),
    "a mask of another length": (ppl.ShapeError, unindexed, (Y, KEPT[1:]), ["(39,)", "(40,)"]),
    "counts that are read": (ppl.GuideError, read_counts, (np.array([1.0, np.nan]),), ["Poisson", "read", "dropping"]),
    "part of a simplex": (
        ppl.DataError,
        part_of_a_simplex,
        (np.array([[np.nan, 0.5, 0.5]]),),
        ["Dirichlet", "as a whole", "obs_mask"],
    ),
    "a guide in place": (ppl.ModelError, in_place, (GAPPY,), ["guide=", "y_unobserved"]),
    "infinities are no gaps": (ppl.SupportError, regression, (X, np.where(LACKS, np.inf, GAPPY)), ["inf", "finite"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_say_what_to_do(what):
    kind, model, args, words = REFUSED[what]
    with pytest.raises(kind) as caught:
        infer(model, *args)
    assert caught.value.site and all(w in str(caught.value) for w in words), str(caught.value)


def test_a_whole_mask_in_a_subsampled_plate():
    def model(y, mask):
        with ppl.plate("rows", len(y), subsample_size=10) as i:
            ppl.sample("y", dist.Normal(ppl.param("m", 0.0), 1), obs=y[i], obs_mask=mask)

    with pytest.raises(ppl.ShapeError, match=r"mask\[i\]"):
        infer(model, Y, KEPT)


def test_missing_labels_of_a_minibatch_are_summed_out():
    """Few labels: log p is that of the label where it is known, and of the mixture where it is not."""
    rng = np.random.default_rng(5)
    y, known = rng.integers(3, size=40), rng.random(40) < 0.3
    centres, share = np.array([-2.0, 0.5, 3.0]), np.array([0.2, 0.5, 0.3])
    x = centres[y] + rng.normal(size=40)

    def model(x, y, known, batch):
        at = ppl.param("at", centres)
        with ppl.plate("rows", len(x), subsample_size=batch) as i:
            k = ppl.sample("y", dist.Categorical(share), obs=y[i], obs_mask=known[i])
            ppl.sample("x", dist.Normal(at[k], 1.0), obs=x[i])

    log_p = np.log(share) + dist.Normal(centres, 1.0).log_prob(x[:, None])
    exact = np.where(known, log_p[np.arange(40), y], np.logaddexp.reduce(log_p, 1))
    algorithm = ppl.BBVI(steps=1, init={"at": centres}, optimizer=ppl.optim.SGD(0.0))
    fit = ppl.infer(model, x, y, known, 8, algorithm=algorithm, progress=False)
    np.testing.assert_allclose(fit.elbo, exact.sum(), rtol=1e-9)
    assert fit.elbo_se == 0.0 and "enumerate" in fit.explain()
    found = ppl.gradient(model, x, y, known, 8, particles=4000)
    weights = np.where(known[:, None], np.eye(3)[y], np.exp(log_p - np.logaddexp.reduce(log_p, 1)[:, None]))
    slope = np.sum(weights * (x[:, None] - centres), 0)
    error = (found.variance["at"] / 4000) ** 0.5
    assert np.all(np.abs(found.grad["at"] - slope) < 4 * error + 1e-9) and np.all(error > 0)
    drawn = fit.sample(4000)["y"]
    assert drawn.shape == (4000, 40) and np.all(drawn[:, known] == y[known])
    share_of_two = np.mean(drawn == 2, 0)
    assert np.all(np.abs(share_of_two - weights[:, 2]) < 5 * np.sqrt(weights[:, 2] * (1 - weights[:, 2]) / 4000) + 1e-9)


def test_rows_of_large_data_are_looked_at_in_parts(monkeypatch):
    """The same answers, and the same words, whatever the parts are."""
    from ppl.model import missing

    y = np.random.default_rng(0).gamma(2.0, size=50)

    def model(y):
        rate = ppl.sample("rate", dist.Gamma(1.0, 1.0))
        with ppl.plate("rows", len(y), subsample_size=5) as i:
            ppl.sample("y", dist.Gamma(2.0, rate), obs=y[i])

    def sites(y):
        return [n for n, s in ppl.graph(model, y).nodes.items() if s.kind != "plate"]

    wrong, lacking = y.copy(), y.copy()
    wrong[33], lacking[47] = -1.0, np.nan
    whole = sites(y), sites(lacking)
    monkeypatch.setattr(missing, "PART", 7)
    assert (sites(y), sites(lacking)) == whole
    assert len(whole[1]) > len(whole[0])
    with pytest.raises(ppl.SupportError, match=r"the value -1.0 at index \(33,\)"):
        ppl.graph(model, wrong)
