"""DADVI, Laplace and MAP against closed forms, SciPy and one another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats

import ppl
import ppl.distributions as dist
from ppl.algorithms import lbfgs
from ppl.algorithms.coordinates import Coordinates
from ppl.algorithms.deterministic import FixedDraws, whole
from ppl.distributions import constraints
from ppl.elbo import problem

RNG = np.random.default_rng(0)
X = np.column_stack([np.ones(40), RNG.normal(size=40), RNG.normal(size=40)])
X[:, 2] = 0.95 * X[:, 1] + 0.3 * X[:, 2]  # collinear
Y = X @ [0.5, -1.0, 2.0] + 0.7 * RNG.normal(size=40)
CHOICE = (RNG.random(40) < special.expit(X @ [0.2, 1.0, -0.5])).astype(int)
ALGORITHM = {"dadvi": ppl.DADVI, "laplace": ppl.Laplace, "map": ppl.MAP}
ALGORITHMS = tuple(ALGORITHM)


def line(x, y):
    w = ppl.sample("w", dist.Normal(0.0, 3.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ w, 0.7), obs=y)


def logistic(x, y):
    w = ppl.sample("w", dist.Normal(0.0, 3.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def scaled(y):
    sigma = ppl.sample("sigma", dist.Gamma(3.0, 2.0))
    ppl.sample("y", dist.Normal(0.0, sigma).expand([len(y)]).to_event(1), obs=y)


def exact_line():
    precision = X.T @ X / 0.49 + np.eye(3) / 9.0
    covariance = np.linalg.inv(precision)
    return covariance @ X.T @ Y / 0.49, covariance


def fit_of(model, *args, **options):
    return ppl.infer(model, *args, progress=False, **options)


# -- closed forms --------------------------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", ["dadvi", "laplace"])
def test_a_gaussian_posterior_is_found_exactly(algorithm):
    """Also with collinear columns, where a mean-field guide's sds are a third of these."""
    mean, covariance = exact_line()
    fit = fit_of(line, X, Y, algorithm=algorithm)
    tril = fit.params["_joint.scale_tril"]
    np.testing.assert_allclose(fit.params["_joint.loc"], mean, atol=1e-3)
    np.testing.assert_allclose(tril @ tril.T, covariance, rtol=0.01, atol=1e-4)
    assert fit.verdict.converged and fit.verdict.word == "trusted"
    evidence = stats.multivariate_normal(np.zeros(40), 9.0 * X @ X.T + 0.49 * np.eye(40)).logpdf(Y)
    assert abs(fit.elbo - evidence) < 4 * fit.elbo_se + 0.01
    flat = fit_of(line, X, Y, algorithm=ppl.DADVI(linear_response=False))
    assert np.all(flat.params["w.scale"][1:] < 0.5 * np.sqrt(np.diag(covariance))[1:])


def test_the_mode_and_curvature_of_a_logistic_regression():
    def minus(w):
        eta = X @ w
        return -(CHOICE @ eta - np.logaddexp(0, eta).sum() - w @ w / 18.0)

    mode = optimize.minimize(minus, np.zeros(3), tol=1e-12).x
    p = special.expit(X @ mode)
    covariance = np.linalg.inv((X * (p * (1 - p))[:, None]).T @ X + np.eye(3) / 9.0)
    laplace = fit_of(logistic, X, CHOICE, algorithm="laplace")
    tril = laplace.params["_joint.scale_tril"]
    np.testing.assert_allclose(laplace.params["_joint.loc"], mode, atol=1e-4)
    np.testing.assert_allclose(tril @ tril.T, covariance, rtol=1e-3, atol=1e-4)
    point = fit_of(logistic, X, CHOICE, algorithm="map")
    np.testing.assert_allclose(point["w"].mean, mode, atol=1e-5)
    assert point.elbo == pytest.approx(-minus(mode) - 3 * np.log(3.0) - 1.5 * np.log(2 * np.pi))


def test_laplace_has_the_jacobian_and_map_has_not():
    """Gamma prior, Normal likelihood: modes of the density in sigma, and of that in log sigma."""
    y = np.array([0.4, -1.2, 0.9, 0.1])
    density = lambda s: stats.gamma(3.0, scale=0.5).logpdf(s) + stats.norm(0, s).logpdf(y).sum()
    grid = np.linspace(0.05, 5.0, 200_001)
    values = np.array([stats.gamma(3.0, scale=0.5).logpdf(grid) + stats.norm.logpdf(v, 0, grid) for v in y]).sum(0)
    values -= 3 * stats.gamma(3.0, scale=0.5).logpdf(grid)
    assert values[1000] == pytest.approx(density(grid[1000]))
    mode, mode_of_log = grid[np.argmax(values)], grid[np.argmax(values + np.log(grid))]
    assert mode_of_log - mode > 0.05
    assert float(fit_of(scaled, y, algorithm="map")["sigma"].mean) == pytest.approx(mode, abs=1e-3)
    laplace = fit_of(scaled, y, algorithm="laplace")
    assert float(np.exp(laplace.params["_joint.loc"][0])) == pytest.approx(mode_of_log, abs=1e-3)


def test_maximum_likelihood_is_map_without_priors():
    def model(y):
        loc, scale = ppl.param("loc", 0.0), ppl.param("scale", 1.0, constraints.positive)
        ppl.sample("y", dist.Normal(loc, scale).expand([len(y)]).to_event(1), obs=y)

    fit = fit_of(model, Y, algorithm="map")
    assert fit.params["loc"] == pytest.approx(Y.mean()) and fit.params["scale"] == pytest.approx(Y.std())
    assert fit.elbo == pytest.approx(stats.norm(Y.mean(), Y.std()).logpdf(Y).sum())


def test_a_point_on_a_simplex():
    def model():
        ppl.sample("p", dist.Dirichlet(np.array([2.0, 3.0, 4.0])))

    np.testing.assert_allclose(fit_of(model, algorithm="map")["p"].mean, [1 / 6, 1 / 3, 1 / 2], atol=1e-5)


# -- linear response -----------------------------------------------------------------------------------
def test_linear_response_puts_back_what_a_mean_field_guide_leaves_out():
    """A Gaussian hierarchy: the sds of all latents, the local ones included, in closed form."""
    y, s = np.array([1.2, 2.5, -0.3, 0.9, 3.1, 1.4]), 0.8

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 2.0))
        with ppl.plate("groups", len(y)):
            z = ppl.sample("z", dist.Normal(mu, 1.0))
            ppl.sample("y", dist.Normal(z, s), obs=y)

    # Gaussian: the precision of (mu, z) in closed form.
    precision = np.zeros((7, 7))
    precision[0, 0] = 0.25 + 6.0
    precision[0, 1:] = precision[1:, 0] = -1.0
    precision[1:, 1:] = np.eye(6) * (1.0 + 1.0 / s**2)
    sds = np.sqrt(np.diag(np.linalg.inv(precision)))
    fit = fit_of(model, y, algorithm="dadvi")
    tril = fit.params["_joint.scale_tril"]
    np.testing.assert_allclose(np.sqrt(np.sum(tril**2, 1)), sds, rtol=0.01)
    flat = fit_of(model, y, algorithm=ppl.DADVI(linear_response=False))
    assert flat.params["mu.scale"] < 0.85 * sds[0]


# -- the same answer, the Hessian, draws that suffice ------------------------------------------------------
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_gives_the_same_bits(algorithm):
    fits = [fit_of(logistic, X, CHOICE, algorithm=algorithm, seed=3) for _ in range(2)]
    for n, x in fits[0].params.items():
        np.testing.assert_array_equal(x, fits[1].params[n])
    assert fits[0].elbo == fits[1].elbo


def test_the_hessian_is_the_difference_of_the_gradient():
    objective = whole(problem(logistic, (X, CHOICE), {}), "meanfield", 0, "")
    where = Coordinates.at(objective.derivation)
    noise = {"w": RNG.standard_normal((8, 3))}
    f = FixedDraws(objective, where.values, where.split(np.zeros(where.size)), noise)
    x = 0.3 * RNG.standard_normal(f.size)
    columns = [(f(x + 1e-5 * e)[1] - f(x - 1e-5 * e)[1]) / 2e-5 for e in np.eye(f.size)]
    np.testing.assert_allclose(f.hessian(x), np.stack(columns), rtol=1e-5, atol=1e-5)


def test_draws_are_doubled_until_they_suffice():
    few = fit_of(logistic, X, CHOICE, algorithm=ppl.DADVI(draws=4, tolerance=1e-9, most=16))
    assert not few.verdict.converged and "more draws were not allowed" in few.verdict.stop_reason
    enough = fit_of(logistic, X, CHOICE, algorithm=ppl.DADVI(draws=4))
    assert enough.verdict.converged and len(enough.history) >= 3


# -- what they refuse ------------------------------------------------------------------------------------
def discrete():
    z = ppl.sample("coin", dist.Bernoulli(0.3), estimator="score")
    ppl.sample("y", dist.Normal(z, 1.0), obs=0.4)


def jumping():
    z = ppl.sample("z", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(np.where(z > 0, 1.0, -1.0), 1.0), obs=0.4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("model", "site"), [(discrete, "coin"), (jumping, "z")])
def test_what_has_no_gradient_with_fixed_draws_is_refused(algorithm, model, site):
    with pytest.raises(ppl.PPLError, match=site) as caught:
        fit_of(model, algorithm=algorithm)
    assert "expected" in str(caught.value) and "try" in str(caught.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_guide_is_refused(algorithm):
    with pytest.raises(ppl.GuideError, match="by its nature"):
        fit_of(line, X, Y, algorithm=algorithm, guide=lambda x, y: None)


def test_a_density_without_a_maximum_says_so():
    """The density of a centred hierarchy grows without bound as its scale goes to zero."""

    def model(y):
        tau = ppl.sample("tau", dist.HalfCauchy(1.0))
        with ppl.plate("groups", 4):
            z = ppl.sample("z", dist.Normal(0.0, tau))
            ppl.sample("y", dist.Normal(z, 1.0), obs=y)

    fit = fit_of(model, np.array([0.1, -0.2, 0.05, 0.1]), algorithm="map")
    assert "'tau' runs to the edge" in fit.verdict.stop_reason
    assert not fit.verdict.converged and fit.verdict.word == "not trusted"


def test_minibatch_models_use_all_rows():
    def model(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 3.0).expand([3]).to_event(1))
        with ppl.plate("rows", len(y), subsample_size=10) as i:
            ppl.sample("y", dist.Normal(x[i] @ w, 0.7), obs=y[i])

    mean, covariance = exact_line()
    for algorithm in ALGORITHMS:
        fit = fit_of(model, X, Y, algorithm=algorithm)
        np.testing.assert_allclose(fit["w"].mean, mean, atol=0.01)
    assert fit_of(model, X, Y, algorithm="laplace")["w"].sd == pytest.approx(np.sqrt(np.diag(covariance)), rel=0.05)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_float32_data_are_computed_with_in_float64(algorithm):
    """Of a line far from zero, where float32 would lose what decides."""
    x, y = (np.asarray(a, dtype=np.float32) for a in (X + 100.0, Y))
    narrow = fit_of(line, x, y, algorithm=algorithm)
    wide = fit_of(line, x.astype(float), y.astype(float), algorithm=algorithm)
    for n, value in wide.params.items():
        np.testing.assert_allclose(narrow.params[n], value, rtol=1e-6, atol=1e-9)


def test_laplace_of_a_model_without_latent_sites_is_refused():
    def model(y):
        ppl.sample("y", dist.Normal(ppl.param("loc", 0.0), 1.0).expand([len(y)]).to_event(1), obs=y)

    with pytest.raises(ppl.ModelError, match="without latent sites") as caught:
        fit_of(model, Y, algorithm="laplace")
    assert "map" in str(caught.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("executor", ["eager", "jax"])
def test_another_executor_is_refused(algorithm, executor):
    with pytest.raises(ppl.ModelError, match=executor):
        fit_of(line, X, Y, algorithm=algorithm, executor=executor)


# -- missing data, guides in place ---------------------------------------------------------------------------
def missing(y, scale=None):
    a = ppl.sample("a", dist.Normal(0.0, 5.0))
    s = ppl.sample("s", dist.HalfNormal(2.0)) if scale is None else scale
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(a, s), obs=y)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_missing_entries_that_nothing_reads_are_summed_out(algorithm):
    """The same answer as without them, and draws of them: their factor is the model's own."""
    y = np.array([1.0, np.nan, 2.0, np.nan, 2.5])
    fit, without = (fit_of(missing, x, 1.0, algorithm=algorithm) for x in (y, y[~np.isnan(y)]))
    precision = 3.0 + 1.0 / 25.0
    loc = "a.loc" if algorithm == "map" else "_joint.loc"
    assert fit.params[loc].item() == pytest.approx(5.5 / precision, abs=1e-4) == without.params[loc].item()
    if algorithm != "map":
        assert fit.params["_joint.scale_tril"].item() == pytest.approx(precision**-0.5, abs=1e-4)
    drawn = fit.sample(2000)["y_unobserved"]
    spread = 1.0 if algorithm == "map" else np.hypot(1.0, precision**-0.5)
    assert drawn.shape == (2000, 2) and abs(drawn.std() / spread - 1.0) < 4 / np.sqrt(2 * 2000)


@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
def test_data_that_are_all_missing_end_in_a_verdict(algorithm):
    fit = fit_of(missing, np.full(4, np.nan), algorithm=algorithm)
    assert any("every entry of site 'y' is missing" in w for w in fit.verdict.warnings)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_guide_in_place_is_refused_with_words(algorithm):
    def model(y):
        a = ppl.sample("a", dist.Normal(0.0, 5.0), guide=dist.Normal(ppl.param("l", 0.0), 1.0))
        ppl.sample("y", dist.Normal(a, 1.0), obs=y)

    with pytest.raises(ppl.GuideError, match="guide= in place") as caught:
        fit_of(model, 0.5, algorithm=algorithm)
    assert caught.value.site == "a" and "bbvi" in str(caught.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_discrete_site_that_nothing_reads_is_refused_with_words(algorithm):
    def model(y):
        ppl.sample("b", dist.Bernoulli(0.3), estimator="score")
        ppl.sample("y", dist.Normal(ppl.sample("a", dist.Normal(0.0, 5.0)), 1.0), obs=y)

    with pytest.raises(ppl.ModelError, match="discrete latent site") as caught:
        fit_of(model, 0.5, algorithm=algorithm)
    assert caught.value.site == "b"


# -- learned parameters, agreement, warnings of linear response ------------------------------------------------
@pytest.mark.parametrize("algorithm", ["dadvi", "laplace"])
def test_the_posterior_is_that_at_the_learned_parameter(algorithm):
    """z ~ N(theta, 1), y ~ N(z, 1): at theta = y the sd of z is 1 / sqrt(2); with theta's own spread it would be 1."""

    def model(y):
        z = ppl.sample("z", dist.Normal(ppl.param("theta", 0.0), 1.0))
        ppl.sample("y", dist.Normal(z, 1.0), obs=y)

    fit = fit_of(model, 2.0, algorithm=algorithm)
    assert float(fit.params["theta"]) == pytest.approx(2.0, abs=1e-3)
    assert float(fit["z"].sd) == pytest.approx(0.5**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("bounds", "agree", "word"), [((0.0, -5.0, -10.0), False, "lost 5 nats"), ((0.0, 0.0), True, "0 nats")]
)
def test_a_loss_is_no_agreement(bounds, agree, word, monkeypatch):
    """Bounds on fresh draws as given: at the start, then after each refit."""
    from ppl.algorithms import dadvi

    told = iter([*bounds, *[bounds[-1]] * 3])
    monkeypatch.setattr(dadvi, "_bound", lambda *_: next(told))
    solution = ppl.DADVI(draws=32, most=64).run(problem(logistic, (X, CHOICE), {}), "meanfield")
    assert solution.converged is agree and word in solution.stop_reason


def test_without_linear_response_the_verdict_hears_which_sites_are_too_narrow():
    """Columns 1 and 2 are collinear: by closed form the guide's sds are 0.3 of the posterior's, that of 0 is right."""
    _, covariance = exact_line()
    solution = ppl.DADVI(linear_response=False).run(problem(line, (X, Y), {}), "meanfield")
    share = np.min(np.linalg.inv(covariance).diagonal() ** -0.5 / covariance.diagonal() ** 0.5)
    assert len(solution.doubts) == 1 and f"w ({share:.2g} of it)" in solution.doubts[0]
    answered = ppl.DADVI().run(problem(line, (X, Y), {}), "meanfield")
    assert not answered.doubts and any(f"w ({share:.2g} of it)" in n for n in answered.notes)
    apart = ppl.DADVI(linear_response=False).run(problem(line, (np.eye(40)[:, :3], Y), {}), "meanfield")
    assert not apart.doubts


# -- many coordinates, and functions that are not finite -------------------------------------------------------
@pytest.mark.parametrize("far", [0.0, 100.0])
def test_a_mode_among_many_coordinates_is_claimed_where_it_was_reached(far):
    """Twelve hundred coordinates, for which there is no Hessian: Newton's test cannot be asked."""

    def model(y):
        with ppl.plate("rows", len(y)):
            u = ppl.sample("u", dist.Normal(0.0, 1.0))
            ppl.sample("y", dist.Normal(np.log(u - far) if far else u, 1.0), obs=y)

    y = np.random.default_rng(1).normal(size=1200)
    if far:
        with pytest.raises(ppl.NumericalError, match=r"log\(-100") as caught:
            fit_of(model, y, algorithm="map")
        assert caught.value.state and len(caught.value.history)
    else:
        fit = fit_of(model, y, algorithm="map")
        assert fit.verdict.converged and "the mode was reached" in fit.verdict.stop_reason
        np.testing.assert_allclose(fit["u"].mean, y / 2.0, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 200])
def test_a_descent_says_why_it_ended(steps):
    def bowl(x):
        return float(x @ x * x @ x), 4.0 * x * (x @ x)

    start = np.full(3, 5.0)
    ended = lbfgs.minimize(bowl, start, np.ones_like, steps=steps, tolerance=1e-6)
    assert ended.why == (lbfgs.LIMIT if steps == 1 else lbfgs.CONVERGED) and ended.converged is (steps > 1)
    assert lbfgs.minimize(lambda x: (np.nan, x), start, np.ones_like).why == lbfgs.NOT_FINITE
    uphill = lbfgs.minimize(lambda x: (float(x @ x), -2.0 * x), start, np.ones_like)
    assert uphill.why == lbfgs.STUCK and not uphill.converged


def test_equal_schools_do_not_break_the_linear_algebra():
    def model(y):
        mu, tau = ppl.sample("mu", dist.Normal(0.0, 10.0)), ppl.sample("tau", dist.HalfCauchy(5.0))
        with ppl.plate("schools", len(y)):
            ppl.sample("y", dist.Normal(ppl.sample("theta", dist.Normal(mu, tau)), 1.0), obs=y)

    for algorithm in ALGORITHMS:
        solution = ALGORITHM[algorithm]().run(problem(model, (np.array([0.0, 0.1, -0.1]),), {}), None)
        assert solution.values and all(np.all(np.isfinite(x)) for x in solution.values.values())
        assert not solution.converged or algorithm != "map"  # its density grows without end
