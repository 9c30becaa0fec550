"""What a fit says agrees with itself: draws, marginals, table, predictions, words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

SIGMA = np.array([1.0, 0.8, 1.2, 0.9])
Y = np.array([2.0, 0.5, -1.0, 1.4])


def schools(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    tau = ppl.sample("tau", dist.HalfNormal(1.0))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)
    ppl.deterministic("spread", np.max(theta) - np.min(theta))


def coins(y=None):
    with ppl.plate("rows", 3):
        z = ppl.sample("z", dist.Bernoulli(np.array([0.3, 0.5, 0.6])), estimator="score")
        ppl.sample("y", dist.Normal(2 * z, 1), obs=y)


def categories(y=None):
    z = ppl.sample("z", dist.Categorical(probs=np.array([0.2, 0.3, 0.5])))
    w = ppl.sample("w", dist.Dirichlet(np.ones(3)))
    ppl.sample("y", dist.Normal(z + w[0], 1), obs=y)


def branching(y):
    z = ppl.sample("z", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(1.0 if z > 0 else -1.0, 1), obs=y)


def regression(x, y=None):
    b = ppl.sample("b", dist.Normal(np.zeros(2), 1).to_event(1))
    sd = ppl.sample("sd", dist.LogNormal(0, 1))
    with ppl.plate("rows", len(x)):
        ppl.sample("y", dist.Normal(x @ b, sd), obs=y)


def subsampled(x, y, size=None):
    b = ppl.sample("b", dist.Normal(0, 3))
    with ppl.plate("rows", len(x), subsample_size=size) as i:
        ppl.sample("y", dist.Normal(b * x[i], 1), obs=y[i])


RNG = np.random.default_rng(0)
DESIGN = RNG.normal(size=(30, 2))
RESPONSE = DESIGN @ np.array([1.0, -0.5]) + 0.3 * RNG.normal(size=30)
SHORT = ppl.BBVI(steps=300)

FITS = {
    "schools": lambda **o: ppl.infer(schools, SIGMA, y=Y, guide="meanfield", progress=False, **o),
    "schools, all chosen": lambda **o: ppl.infer(schools, SIGMA, y=Y, progress=False, **o),
    "schools, full rank": lambda **o: ppl.infer(schools, SIGMA, y=Y, guide="fullrank", progress=False, **o),
    "coins": lambda **o: ppl.infer(coins, Y[:3], progress=False, **o),
    "categories": lambda **o: ppl.infer(categories, 1.3, progress=False, **o),
    "a branch": lambda **o: ppl.infer(branching, 1.5, progress=False, **o),
    "regression": lambda **o: ppl.infer(regression, DESIGN, y=RESPONSE, progress=False, **o),
    "subsampled": lambda **o: ppl.infer(subsampled, DESIGN[:, 0], RESPONSE, 10, progress=False, **o),
}
MADE: dict = {}


def fit_of(name):
    """A short fit, made once for all tests."""
    if name not in MADE:
        MADE[name] = FITS[name](algorithm=SHORT)
    return MADE[name]


@pytest.fixture(params=FITS)
def fit(request):
    return fit_of(request.param)


# -- the same again --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FITS)
def test_the_same_seed_gives_the_same_answer_to_the_bit(name):
    first, second = fit_of(name), FITS[name](algorithm=SHORT)
    assert first.elbo == second.elbo and first.elbo_se == second.elbo_se
    np.testing.assert_array_equal(first.history, second.history)
    for n, value in first.params.items():
        np.testing.assert_array_equal(value, second.params[n])
    for n, value in first.sample(20).items():
        np.testing.assert_array_equal(value, second.sample(20)[n])
    for n, value in first.predict(num_samples=5).items():
        np.testing.assert_array_equal(value, second.predict(num_samples=5)[n])
    assert str(first) == str(second) and first.explain() == second.explain()


def test_another_seed_takes_another_way():
    a, b = (FITS["schools"](algorithm=SHORT, seed=s) for s in (0, 1))
    assert not np.array_equal(a.history, b.history)
    assert not np.array_equal(a.sample(5)["mu"], a.sample(5, seed=9)["mu"])


# -- draws and marginals ---------------------------------------------------------------------------
def test_marginals_agree_with_draws(fit):
    corrected = fit.verdict.corrected  # then both come from the same weighted draws, and the tails less well
    draws = fit.sample(4000, seed=11, resample=corrected)
    size = min(4000, fit.ratios.smoothed.effective_draws) if corrected else 4000
    for name in draws:
        x, m = np.asarray(draws[name], dtype=float), fit[name]
        error = x.std(0) / size**0.5 + 1e-12
        assert np.shape(m.mean) == np.shape(m.sd) == x.shape[1:]
        assert np.all(np.abs(x.mean(0) - m.mean) < 6 * error), name
        np.testing.assert_allclose(x.std(0), m.sd, rtol=0.2, atol=1e-9)
        q = m.quantile(np.array([0.1, 0.5, 0.9]))
        assert q.shape == (3, *np.shape(m.mean)) and np.all(np.diff(q, axis=0) >= 0)
        assert np.shape(m.quantile(0.5)) == np.shape(m.mean)
        if len(np.unique(x)) > 1000:
            np.testing.assert_allclose(np.mean(x <= q[2], axis=0), 0.9, atol=6 * (0.09 / size) ** 0.5)


def test_draws_have_the_types_and_supports_of_their_sites():
    draws = fit_of("categories").sample(200)
    assert set(np.unique(draws["z"])) <= {0, 1, 2}
    np.testing.assert_allclose(draws["w"].sum(-1), 1.0)
    assert draws["w"].shape == (200, 3)
    assert np.all(fit_of("schools").sample(100)["tau"] > 0)


def test_draws_of_deterministics_belong_to_the_draws_of_their_sites(fit):
    draws = fit.sample(50)
    if "spread" in draws:
        np.testing.assert_allclose(draws["spread"], draws["theta"].max(1) - draws["theta"].min(1))


def test_draws_are_in_no_order():
    """Antithetic pairs do not stand beside each other."""
    x = fit_of("schools").sample(2000)["mu"]
    x = (x - x.mean()) / x.std()
    assert abs(np.mean(x[1:] * x[:-1])) < 0.1
    assert abs(np.mean(x[:1000] * x[1000:])) < 0.15


def test_any_number_of_draws():
    for n in (1, 2, 3, 7):
        assert all(len(v) == n for v in fit_of("schools").sample(n).values())


def test_full_rank_draws_have_the_guides_covariance():
    fit = fit_of("schools, full rank")
    tril, draws = fit.params["_joint.scale_tril"], fit.sample(6000)
    flat = np.column_stack([draws["mu"], np.log(draws["tau"]), draws["theta"]])
    np.testing.assert_allclose(np.cov(flat.T), tril @ tril.T, atol=0.08 * np.max(tril @ tril.T))


def test_unknown_sites_are_named():
    with pytest.raises(ppl.ModelError) as caught:
        fit_of("schools")["thetas"]
    assert "thetas" in str(caught.value) and "theta" in str(caught.value) and "expected" in str(caught.value)


# -- the table -------------------------------------------------------------------------------------
def test_summary_has_a_row_for_each_number(fit):
    table = fit.summary()
    names = [n for n, _ in table.rows]
    draws = fit.sample(2)
    assert len(table) == sum(int(np.prod(v.shape[1:])) for v in draws.values())
    for name, numbers in table.rows:
        assert len(numbers) == 5 and numbers[2] <= numbers[3] <= numbers[4]
        assert name.split("[")[0] in draws
    assert str(table).splitlines()[0].split() == ["mean", "sd", "5%", "50%", "95%"]
    first = names[0]
    site, _, index = first.partition("[")
    at = tuple(int(k) for k in index.rstrip("]").split(",")) if index else ()
    assert table[first]["mean"] == pytest.approx(float(np.asarray(fit[site].mean)[at]))


def test_summary_as_a_frame():
    pytest.importorskip("pandas")
    frame = fit_of("schools").summary().to_pandas()
    assert list(frame.index[:3]) == ["mu", "tau", "theta[0]"] and list(frame.columns) == [
        "mean",
        "sd",
        "5%",
        "50%",
        "95%",
    ]


def test_print_shows_the_verdict_first_then_the_table(fit):
    text = str(fit)
    assert text.lower().startswith(fit.verdict.word)
    assert "ELBO" in text.splitlines()[1] or "ELBO" in text
    assert text.index("\nELBO") < text.index("  mean") and "95%" in text
    assert repr(fit) == text


def test_print_shortens_long_sites():
    def many(y):
        with ppl.plate("rows", 40):
            ppl.sample("y", dist.Normal(ppl.sample("z", dist.Normal(0, 1)), 1), obs=y)

    text = str(ppl.infer(many, np.zeros(40), algorithm=ppl.BBVI(steps=60), progress=False))
    assert "..." in text and "30 more rows" in text and len(text.splitlines()) < 25


def test_learned_parameters_are_printed():
    def model(y):
        ppl.sample("y", dist.Normal(ppl.param("where", 0.0), 1), obs=y)

    fit = ppl.infer(model, 1.5, progress=False)
    assert "where = 1.5" in str(fit) and fit.params["where"] == pytest.approx(1.5, abs=1e-2)


# -- why -------------------------------------------------------------------------------------------
def test_explain_names_estimator_and_reason_of_every_term(fit):
    text = fit.explain()
    for term, choices in fit.solution.plan.choices:
        assert term.text in text
        for name, choice in choices.items():
            assert choice.estimator in text and choice.reason.why in text, name
    assert "ELBO" in text and "q(" in text and fit.executor in text


def test_explain_in_words():
    schools_text, coins_text = fit_of("schools").explain(), fit_of("coins").explain()
    assert "E[log p(y | theta)]" in schools_text and "pathwise in theta" in schools_text
    assert "score in z" in coins_text and "KL(q(z) || p(z))" in coins_text and "known" in coins_text
    assert "control flow" in fit_of("a branch").explain() and fit_of("a branch").executor == "eager"
    assert "3.000" in fit_of("subsampled").explain()


def test_the_numbers_of_explain_are_the_bound():
    fit = fit_of("schools")
    assert sum(mean for mean, _ in fit.bound.terms.values()) == pytest.approx(fit.elbo)


# -- predictions -----------------------------------------------------------------------------------
def test_predict_draws_observed_sites_anew():
    fit = fit_of("schools")
    for drawn in (
        fit.predict(num_samples=500),
        fit.predict(SIGMA, num_samples=500),
        fit.predict(SIGMA, y=Y, num_samples=500),
    ):
        assert drawn["y"].shape == (500, 4) and "theta" not in drawn and drawn["y"].std() > 0.5
        assert not drawn.notes
        np.testing.assert_allclose(drawn["y"].mean(0), fit["theta"].mean, atol=0.3)


def test_what_the_engine_rewrites_does_not_show_in_results():
    """Every result is in the user's own sites, whatever reparameterization was chosen."""
    plain, chosen = fit_of("schools"), fit_of("schools, all chosen")
    assert set(plain.sample(2)) == set(chosen.sample(2))
    assert [n for n, _ in plain.summary().rows] == [n for n, _ in chosen.summary().rows]
    for arguments in ((), (SIGMA,), (np.ones(7),)):
        assert set(plain.predict(*arguments, num_samples=2)) == set(chosen.predict(*arguments, num_samples=2))
    assert chosen.predict(np.ones(7), num_samples=3)["y"].shape == (3, 7)
    assert set(plain.graph.nodes) == set(chosen.graph.nodes)


def test_predict_with_new_data_of_another_size():
    fit = fit_of("schools")
    drawn = fit.predict(np.full(7, 1e-3), num_samples=2000)
    assert drawn["y"].shape == (2000, 7)
    assert any("schools" in note and "prior" in note for note in drawn.notes)
    # new schools are drawn around mu with sd tau
    draws = fit.sample(4000)
    expected = np.sqrt(np.var(draws["mu"]) + np.mean(draws["tau"] ** 2))
    np.testing.assert_allclose(drawn["y"].std(0), expected, rtol=0.15)
    np.testing.assert_allclose(drawn["y"].mean(0), fit["mu"].mean, atol=0.2)


def test_predict_with_new_makes_locals_new():
    fit = fit_of("schools")
    old, new = fit.predict(num_samples=2000), fit.predict(num_samples=2000, new=("schools",))
    assert new.notes and not old.notes
    assert np.ptp(old["y"].mean(0)) > 0.4 and np.ptp(new["y"].mean(0)) < 0.3


def test_predict_without_local_latents_takes_any_size():
    fit = fit_of("regression")
    x = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    drawn = fit.predict(x, num_samples=1000)
    np.testing.assert_allclose(drawn["y"].mean(0), x @ fit["b"].mean, atol=0.1)
    assert drawn["y"].shape == (1000, 3)


def test_predict_uses_learned_parameters():
    def model(n, y=None):
        m = ppl.param("m", 0.0)
        with ppl.plate("rows", n):
            ppl.sample("y", dist.Normal(m, 0.1), obs=y)

    fit = ppl.infer(model, 3, y=np.array([4.9, 5.0, 5.1]), progress=False)
    assert fit.predict(2, num_samples=100)["y"].mean() == pytest.approx(5.0, abs=0.1)


def test_predict_goes_on_with_deterministics_and_joins_draws():
    def model(y=None):
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.deterministic("twice", 2 * z)
        ppl.sample("y", dist.Normal(z, 1e-6), obs=y)

    fit = ppl.infer(model, 1.0, algorithm=ppl.BBVI(steps=100), progress=False)
    drawn = fit.predict(num_samples=20, seed=3)
    np.testing.assert_allclose(drawn["twice"], 2 * drawn["y"], atol=1e-4)
    assert np.array_equal(drawn["y"], fit.predict(num_samples=20, seed=3)["y"])


def test_predict_for_a_subsampled_plate_is_for_all_rows():
    assert fit_of("subsampled").predict(num_samples=4)["y"].shape == (4, 30)


def test_predict_of_a_misspelt_plate_is_an_error():
    with pytest.raises(ppl.PPLError, match="school"):
        fit_of("schools").predict(num_samples=2, new=("school",))


def test_prior_predictive_with_other_sizes():
    def model(x):
        with ppl.plate("rows", len(x), subsample_size=2) as i:
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(z, 1), obs=x[i])

    drawn = ppl.prior_predictive(schools, SIGMA, y=Y, num_samples=3000, seed=1)
    assert drawn["y"].shape == (3000, 4) and drawn["mu"].shape == (3000,) and drawn["spread"].shape == (3000,)
    np.testing.assert_allclose(drawn["mu"].std(), 2.0, rtol=0.1)
    np.testing.assert_allclose(drawn["y"].std(0), np.sqrt(4 + 1 + SIGMA**2), rtol=0.1)
    again = ppl.prior_predictive(schools, SIGMA, y=Y, num_samples=3000, seed=1)
    assert all(np.array_equal(drawn[n], again[n]) for n in drawn)

    def sized(n=3):
        with ppl.plate("rows", n):
            ppl.sample("y", dist.Normal(ppl.sample("z", dist.Normal(0, 1)), 1))

    assert ppl.prior_predictive(sized, num_samples=5, sizes={"rows": 9})["y"].shape == (5, 9)
    assert ppl.prior_predictive(model, np.zeros(6), num_samples=5)["y"].shape == (5, 6)


def test_prior_predictive_of_a_misspelt_plate_is_an_error():
    with pytest.raises(ppl.PPLError, match="school"):
        ppl.prior_predictive(schools, SIGMA, num_samples=2, sizes={"school": 3})


# -- how a run ends --------------------------------------------------------------------------------
def test_the_limit_of_steps_is_not_trusted():
    fit = ppl.infer(regression, DESIGN, y=RESPONSE, algorithm=ppl.BBVI(steps=20), progress=False)
    assert fit.verdict.word != "trusted" and not fit.verdict.converged
    assert "20 steps" in fit.verdict.stop_reason and "20 steps" in str(fit.verdict)
    assert len(fit.history) == 20 and np.isfinite(fit.elbo)


def test_a_converged_run_is_usable():
    fit = ppl.infer(regression, DESIGN, y=RESPONSE, progress=False)
    assert fit.verdict.converged and fit.verdict.word in ("usable", "trusted")
    np.testing.assert_allclose(fit["b"].mean, np.linalg.lstsq(DESIGN, RESPONSE, rcond=None)[0], atol=0.05)


@pytest.mark.parametrize("when", [1, 70, 400])
@pytest.mark.parametrize("model", [regression, branching], ids=lambda f: f.__name__)
def test_an_interrupt_returns_what_there_is(when, model):
    def callback(state, info):
        if state.step == when:
            raise KeyboardInterrupt

    arguments = {regression: (DESIGN, RESPONSE), branching: (1.5,)}[model]
    fit = ppl.infer(model, *arguments, algorithm=ppl.BBVI(callback=callback), progress=False)
    assert fit.verdict.word != "trusted" and not fit.verdict.converged
    assert "interrupted" in str(fit.verdict)
    assert np.isfinite(fit.elbo) and len(fit.history) == when
    assert all(np.all(np.isfinite(v)) for v in fit.params.values())
    assert np.all(np.isfinite(next(iter(fit.sample(5).values()))))
    assert "interrupted" in str(fit)


def test_a_callback_may_stop_the_run():
    seen = []

    def callback(state, info):
        seen.append(info.elbo)
        return len(seen) < 33

    fit = ppl.infer(regression, DESIGN, y=RESPONSE, algorithm=ppl.BBVI(callback=callback), progress=False)
    assert len(seen) == 33 == len(fit.history) and "callback" in fit.verdict.stop_reason
    np.testing.assert_array_equal(fit.history, seen)
    assert fit.verdict.word != "trusted"


def test_an_error_in_a_callback_comes_through():
    def callback(state, info):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ppl.infer(regression, DESIGN, y=RESPONSE, algorithm=ppl.BBVI(callback=callback), progress=False)


def test_starting_values_are_taken():
    start = ppl.BBVI(steps=1, init={"mu.loc": 7.0})
    fit = ppl.infer(schools, SIGMA, y=Y, guide="meanfield", algorithm=start, progress=False)
    assert fit.params["mu.loc"] == pytest.approx(7.0, abs=0.5)


def test_a_fit_is_a_start_with_its_guide_and_its_form():
    first = ppl.infer(schools, SIGMA, y=Y, progress=False)
    assert first.problem.form  # the engine's own choice, which names alone do not tell
    fit = ppl.infer(schools, SIGMA, y=Y, algorithm=ppl.BBVI(steps=1, init=first), progress=False)
    assert fit.guide == first.guide and list(fit.params) == list(first.params)
    assert list(fit.problem.form) == list(first.problem.form)
    assert fit.elbo == pytest.approx(first.elbo, abs=0.1)


def test_a_start_that_is_none_is_an_error():
    with pytest.raises(ppl.ModelError, match=r"(?s)init='zeros'.*'auto', a fit, or a dict"):
        ppl.infer(schools, SIGMA, y=Y, algorithm=ppl.BBVI(init="zeros"), progress=False)


def test_a_misspelt_starting_value_is_an_error():
    with pytest.raises(ppl.PPLError, match=r"mu\.lok"):
        ppl.infer(schools, SIGMA, y=Y, algorithm=ppl.BBVI(steps=1, init={"mu.lok": 7.0}), progress=False)


# -- right answers ---------------------------------------------------------------------------------
def test_subsampled_fits_agree_with_full_ones():
    x, y = DESIGN[:, 0], RESPONSE
    precision = 1 / 9 + x @ x
    for size in (None, 10):
        fit = ppl.infer(subsampled, x, y, size, progress=False)
        sd = precision**-0.5
        assert fit["b"].mean == pytest.approx(x @ y / precision, abs=0.15 * sd), size
        assert fit["b"].sd == pytest.approx(sd, rel=0.2), size


def test_discrete_latents_get_their_posterior():
    fit = ppl.infer(coins, Y[:3], progress=False)
    prior = np.array([0.3, 0.5, 0.6])
    odds = prior / (1 - prior) * np.exp(stats.norm.logpdf(Y[:3], 2) - stats.norm.logpdf(Y[:3], 0))
    np.testing.assert_allclose(fit["z"].mean, odds / (1 + odds), atol=0.03)
    np.testing.assert_allclose(fit.params["z.probs"], fit["z"].mean)


def test_a_branch_gets_its_posterior():
    fit = ppl.infer(branching, 1.5, progress=False)
    # q is one normal: the best one, found by a fine search over the exact bound
    best, at = -np.inf, None
    for loc in np.linspace(-0.5, 2, 51):
        for sd in np.linspace(0.2, 1.4, 49):
            p = stats.norm.cdf(loc / sd)
            data = p * stats.norm.logpdf(1.5, 1) + (1 - p) * stats.norm.logpdf(1.5, -1)
            bound = data - (np.log(1 / sd) + (sd**2 + loc**2) / 2 - 0.5)
            if bound > best:
                best, at = bound, (loc, sd)
    assert fit.elbo == pytest.approx(best, abs=0.03 + 4 * fit.elbo_se)
    assert fit["z"].mean == pytest.approx(at[0], abs=0.1) and fit["z"].sd == pytest.approx(at[1], abs=0.1)


def test_positive_and_bounded_sites_stay_inside():
    def model(y):
        p = ppl.sample("p", dist.Beta(2.0, 2.0))
        rate = ppl.sample("rate", dist.Gamma(2.0, 1.0))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(p * rate, 0.5), obs=y)

    fit = ppl.infer(model, Y, progress=False)
    draws = fit.sample(500)
    assert np.all((draws["p"] > 0) & (draws["p"] < 1)) and np.all(draws["rate"] > 0)
    assert 0 < fit["p"].quantile(0.001) < fit["p"].quantile(0.999) < 1


def test_a_guide_function_with_amortised_parameters():
    def model(y):
        with ppl.plate("rows", len(y)):
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(z, 1), obs=y)

    def guide(y):
        a, b = ppl.param("a", 0.1), ppl.param("b", 0.0)
        with ppl.plate("rows", len(y)):
            ppl.sample("z", dist.Normal(a * y + b, ppl.param("s", 1.0, constraints.positive, event_dim=0)))

    fit = ppl.infer(model, Y, guide=guide, progress=False)
    assert fit.params["a"] == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(fit["z"].mean, Y / 2, atol=0.05)


def test_a_guide_in_place():
    def model(y):
        with ppl.plate("rows", len(y)):
            z = ppl.sample("z", dist.Normal(0, 1), guide=dist.Normal(ppl.param("a", 0.1) * y, 0.7))
            ppl.sample("y", dist.Normal(z, 1), obs=y)

    fit = ppl.infer(model, Y, progress=False)
    assert fit.params["a"] == pytest.approx(0.5, abs=0.02)
    graph = fit.graph
    assert graph.nodes["z"].parents == () and ("a", "z") in graph.guide_edges
    # outside inference the site draws from its prior
    assert ppl.prior_predictive(model, Y, num_samples=3000)["z"].std() == pytest.approx(1.0, abs=0.05)


# -- the bound in words ----------------------------------------------------------------------------
def test_the_terms_are_written_out():
    def model(x, sigma, y):
        slope = ppl.sample("slope", dist.Normal(0.0, 2.0))
        with ppl.plate("rows", len(x)):
            ppl.sample("y", dist.Normal(slope * x, sigma), obs=y)

    x, sigma = np.arange(6.0), np.full(6, 0.5) + np.arange(6)
    words = ppl.infer(model, x, sigma, y=2.0 * x, guide="meanfield", progress=False).explain()
    assert "  slope = slope.loc + slope.scale * slope.noise\n" in words
    assert "-KL(q(slope) || p(slope)) = -0.5 * (expm1(v" in words
    assert "= sum over rows of (-0.5 * ((y - x * slope) / sigma)**2 - array[6])" in words


def test_the_terms_of_a_minibatch_are_written_with_their_scale_and_rows():
    def model(x, y):
        slope = ppl.sample("slope", dist.Normal(0.0, 2.0))
        with ppl.plate("rows", 6, subsample_size=2) as i:
            ppl.sample("y", dist.Normal(slope * x[i], 1.0), obs=y[i])

    words = ppl.infer(model, np.arange(6.0), np.ones(6), guide="meanfield", progress=False).explain()
    assert "= 3 * sum over rows of (-0.5 * (y[rows.indices] - slope * x[rows.indices])**2 - 0.918939)" in words


def test_operations_without_a_batching_rule_are_named(monkeypatch):
    from ppl.array import batching
    from ppl.array import operations as op

    def model(y):
        z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        ppl.sample("y", dist.Normal(np.sort(z), 1.0).to_event(1), obs=y)

    def fitted():
        return ppl.infer(model, np.array([1.0, 2.0, 3.0]), guide="meanfield", progress=False)

    with_rule = fitted()
    assert "no batching rule" not in with_rule.explain()
    monkeypatch.delitem(batching.RULES, op.in_order.run)
    without = fitted()
    assert "in_order: no batching rule, so run particle by particle" in without.explain()
    np.testing.assert_allclose(without["z"].mean, with_rule["z"].mean, rtol=1e-9)


def test_a_long_model_is_not_written_out():
    def model(y):
        for k in range(60):
            ppl.sample(f"y{k}", dist.Normal(ppl.sample(f"z{k}", dist.Normal(0.0, 1.0)), 1.0), obs=y[k])

    fit = ppl.infer(model, np.zeros(60), guide="meanfield", progress=False, algorithm=ppl.BBVI(steps=20))
    assert "Written out" not in fit.explain() and "z59" in fit.explain()


def test_an_array_is_named_only_where_one_argument_has_its_numbers():
    def model(x, w, y):
        b = ppl.sample("b", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(w * b, 1.0).to_event(1), obs=y)

    words = ppl.infer(model, np.full(3, 1.5), np.full(3, 1.5), np.arange(3.0), progress=False).explain()
    assert "x * b" not in words and "w * b" not in words and "y - " in words


# -- which algorithm, and why --------------------------------------------------------------------------------
def narrow_ridge(y):
    a, b = ppl.sample("a", dist.Normal(0, 1)), ppl.sample("b", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(a * b, 0.01), obs=y)


def test_explain_names_the_algorithm_and_why_it_was_chosen():
    whys = {
        "every term has a gradient": ppl.infer(regression, DESIGN, y=RESPONSE, progress=False),
        "some term has no gradient": ppl.infer(coins, Y[:3], progress=False),
        "control flow depends on a draw": ppl.infer(branching, 1.5, progress=False),
        "plate 'rows' is subsampled": ppl.infer(subsampled, DESIGN[:, 0], RESPONSE, 10, progress=False),
    }
    for why, fit in whys.items():
        (note,) = [n for n in fit.solution.notes if n.startswith("algorithm: BBVI, because")]
        assert why in note and note in fit.explain() and "; algorithm: bbvi;" in fit.explain()
    asked = ppl.infer(regression, DESIGN, y=RESPONSE, algorithm="dadvi", progress=False)
    assert "; algorithm: dadvi;" in asked.explain() and not any("because" in n for n in asked.solution.notes)


def test_explain_says_what_else_was_tried():
    fit = ppl.infer(narrow_ridge, 1.0, progress=False)
    words = fit.explain()
    tried = [n for n in fit.solution.notes if n.startswith(("algorithm: DADVI", "guide: full-rank", "also tried"))]
    assert tried and all(n in words for n in tried)
    assert any("k-hat" in n and "not trusted" in n for n in tried), tried
