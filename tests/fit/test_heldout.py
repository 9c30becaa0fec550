"""The log density of held-out data: closed forms against SciPy and quadrature, and draws against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, special, stats

import ppl
import ppl.distributions as dist
from ppl.conjugacy import NoClosedForm
from ppl.distributions import constraints
from ppl.fit import heldout
from tests.algorithms import test_blocks as blocks
from tests.conjugacy import models as m

RNG = np.random.default_rng(7)
NEW_X, NEW_Y = RNG.normal(size=(5, 3)), RNG.normal(size=5)
CLOSED = "closed form, each element by itself"


def cavi(model, *args, **settings):
    return ppl.infer(model, *args, algorithm=ppl.CAVI(**settings), progress=False)


def exactly(fit, args, expected, rtol=1e-9):
    found = fit.log_predictive(*args)
    np.testing.assert_allclose(found.pointwise, expected, rtol=rtol)
    np.testing.assert_allclose(found.value, np.sum(expected), rtol=rtol)
    assert (found.se, found.how) == (0.0, CLOSED)


def student(a, b, k, loc):
    """Student's t of a normal-gamma: gamma (a, b) precision, k times as much for the mean."""
    return stats.t(2 * a, loc, np.sqrt(b * (1 + 1 / k) / a))


def averaged(a, b, density):
    """A density averaged over a gamma precision."""
    f = lambda t: stats.gamma(a, scale=1 / b).pdf(t) * density(t)
    return integrate.quad(f, 0.0, 20 * a / b, points=[a / b], limit=400, epsabs=0.0, epsrel=1e-12)[0]


# -- closed forms ------------------------------------------------------------------------------------------
def test_a_normal_and_its_precision_are_students_t():
    fit = cavi(blocks.normal_gamma, m.Y, blocks=[("mu", "tau")])
    a, b, k, loc = (float(fit.params[p]) for p in ("tau.concentration", "tau.rate", "mu.precision_scale", "mu.loc"))
    y = np.array([-1.0, 3.3, 60.0])  # the last is 28 standard deviations away
    exactly(fit, (y,), student(a, b, k, loc).logpdf(y))


def test_a_factorised_normal_and_precision_are_a_quadrature():
    fit = cavi(m.normal_gamma, m.Y)
    a, b, loc, sd = (float(fit.params[p]) for p in ("tau.concentration", "tau.rate", "mu.loc", "mu.scale"))

    y = np.array([-1.0, 3.3, 12.0])
    each = [averaged(a, b, lambda t, v=v: stats.norm(loc, np.sqrt(sd**2 + 1 / t)).pdf(v)) for v in y]
    exactly(fit, (y,), np.log(each))


def test_one_new_number():
    fit = cavi(m.normal_gamma, m.Y)
    many = fit.log_predictive(np.array([3.0, -1.0])).pointwise
    np.testing.assert_allclose(fit.log_predictive(np.array([3.0])).pointwise, many[:1], rtol=1e-12)


def test_counts_and_categories():
    fit = cavi(m.beta_bernoulli, np.array([1, 0, 1, 1, 0, 1]))
    exactly(fit, (np.array([0, 1]),), np.log([4.5 / 10, 5.5 / 10]))
    fit, y = cavi(m.gamma_poisson, np.array([3, 1, 0, 4])), np.array([0, 2, 30])
    exactly(fit, (y,), stats.nbinom(1.5 + 8, 4.5 / 5.5).logpmf(y))
    fit = cavi(m.dirichlet_categorical, np.array([0, 2, 1, 2, 2]))
    exactly(fit, (np.array([0, 1, 2]),), np.log(np.array([1.5, 2.0, 5.0]) / 8.5))
    fit, y = cavi(m.gamma_exponential, np.array([3.0, 1.0, 0.5, 4.0])), np.array([0.1, 7.0])
    exactly(fit, (y,), stats.lomax(5.5, scale=9.0).logpdf(y))


def test_dirichlet_multinomial():
    def model(y):
        p = ppl.sample("p", dist.Dirichlet(np.array([0.5, 1.0, 2.5])))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Multinomial(9, p), obs=y)

    y, new = np.array([[3, 2, 4], [0, 1, 8]]), np.array([[1, 1, 7], [9, 0, 0]])
    fit = cavi(model, y)
    exactly(fit, (new,), stats.dirichlet_multinomial(np.array([0.5, 1.0, 2.5]) + y.sum(0), 9).logpmf(new))


def test_regressions():
    fit = cavi(blocks.regression, m.D3, m.RESPONSE, blocks=[("w", "tau")])
    q = fit.params
    a, b, tril = float(q["tau.concentration"]), float(q["tau.rate"]), q["w.scale_tril"]
    spread = 1 + np.sum((NEW_X @ tril) ** 2, 1)
    exactly(fit, (NEW_X, NEW_Y), stats.t(2 * a, NEW_X @ q["w.loc"], np.sqrt(b / a * spread)).logpdf(NEW_Y))


def test_a_regression_whose_intercept_has_a_factor_of_its_own():
    fit = cavi(m.relevance, m.D3, m.RESPONSE)
    q = {n: np.asarray(x) for n, x in fit.params.items()}
    a, b = float(q["tau.concentration"]), float(q["tau.rate"])
    loc = NEW_X @ q["w.loc"] + q["b.loc"]
    var = np.sum((NEW_X @ q["w.scale_tril"]) ** 2, 1) + q["b.scale"] ** 2
    y = np.linspace(-3, 3, 5)
    each = [averaged(a, b, lambda t, n=n: stats.norm(loc[n], np.sqrt(var[n] + 1 / t)).pdf(y[n])) for n in range(5)]
    exactly(fit, (NEW_X, y), np.log(each), rtol=1e-7)


def test_a_mixture_of_normal_wisharts_is_one_of_students_t():
    """Bishop (2006), equation 10.81."""
    fit = cavi(blocks.mixture, m.X, 3, np.cov(m.X.T), blocks=[("mu", "precision")])
    q, x = fit.params, m.X[:6] + 0.4
    weights = q["weight.concentration"] / q["weight.concentration"].sum()
    density = 0.0
    for k in range(3):
        df, scale = q["precision.concentration"][k] - 1, q["mu.precision_scale"][k]
        shape = q["precision.rate_matrix"][k] * (1 + 1 / scale) / df
        density = density + weights[k] * stats.multivariate_t(q["mu.loc"][k], shape, df).pdf(x)
    exactly(fit, (x, 3, np.cov(m.X.T)), np.log(density))


def test_points_are_plugged_in():
    from sklearn.mixture import GaussianMixture

    from tests.algorithms import test_em as em

    peer = GaussianMixture(3, reg_covar=0.0, random_state=0).fit(m.X)
    init = {"pi": peer.weights_, "mu": peer.means_, "cov": peer.covariances_}
    fit = ppl.infer(em.mixture, m.X, 3, algorithm=ppl.EM(init=init, steps=300), progress=False)
    x, q = m.X[:6] + 0.4, fit.params
    each = [q["pi"][k] * stats.multivariate_normal(q["mu"][k], q["cov"][k]).pdf(x) for k in range(3)]
    found = fit.log_predictive(x, 3)
    np.testing.assert_allclose(found.pointwise, np.log(np.sum(each, 0)), rtol=1e-9)
    assert (found.se, found.how) == (0.0, "at the fitted values; z summed out")


def test_what_an_element_has_of_its_own_is_integrated():
    from tests.algorithms import test_em as em

    x = RNG.normal(size=(40, 2)) @ RNG.normal(size=(2, 5)) + 0.5 * RNG.normal(size=(40, 5))
    fit = ppl.infer(em.ppca, x, 2, (), algorithm=ppl.EM(steps=200), progress=False)
    q = fit.params
    known = stats.multivariate_normal(q["mu"], q["w"] @ q["w"].T + np.eye(5) / q["precision"])
    exactly(fit, (x[:4] + 0.1, 2, ()), known.logpdf(x[:4] + 0.1))


# -- draws ---------------------------------------------------------------------------------------------------
NEW = {
    "normal gamma": (np.array([0.0, 3.0, 7.0]),),
    "gamma poisson": (np.array([0, 3, 12]),),
    "inverse gamma": (np.array([0.0, 3.0, 7.0]),),
    "relevance": (m.D3[:5], m.RESPONSE[:5] + 0.3),
    "hierarchy": (np.array([0.0, 1.0, 0.3]), np.array([0, 4, 5])),
    "slopes": (m.D3[:3], m.RESPONSE[:3], np.array([0, 4, 5])),
    "mixture": (m.X[:6] + 0.3,),
    "one-hot mixture": (m.X[:6] + 0.3,),
    "mixture of known covariance": (m.X[:6] + 0.3,),
    "mixture of regressions": (m.D3[:5], m.RESPONSE[:5]),
    "lda": (RNG.integers(7, size=20), np.r_[RNG.integers(12, size=19), 11], 7),
}


def by_draws(monkeypatch, fit, *args, **settings):
    def none(self):
        raise NoClosedForm("it was asked for")

    with monkeypatch.context() as patch:
        patch.setattr(heldout.HeldOut, "closed", none)
        return fit.log_predictive(*args, **settings)


@pytest.mark.parametrize("name", NEW)
def test_draws_agree_with_the_closed_form(monkeypatch, name):
    model, args = m.MODELS[name]
    fit = cavi(model, *args, tolerance=1e-8, steps=100)
    exact = fit.log_predictive(*NEW[name])
    assert exact.how == CLOSED
    fit = replace(fit, verdict=replace(fit.verdict, corrected=False))  # the guide's own draws
    drawn = by_draws(monkeypatch, fit, *NEW[name], num_samples=4000)
    assert drawn.pointwise.shape == exact.pointwise.shape
    assert abs(drawn.value - exact.value) < 4.5 * drawn.se
    assert abs(drawn.value + 0.3 - exact.value) > 4.5 * drawn.se or drawn.se > 0.05  # a third of a nat would be seen


def test_latents_of_new_rows_are_averaged_out_by_weights():
    """PPCA: at every draw of the loadings a new row is a normal, whose covariance is known."""
    fit = cavi(m.ppca, m.D3, tolerance=1e-8)
    new = m.D3[:6] * 1.5
    found = fit.log_predictive(new, num_samples=500)
    assert "z averaged out by importance weights" in found.how
    draws = fit.sample(500)
    covariances = draws["w"] @ np.swapaxes(draws["w"], -1, -2) + np.eye(3) / draws["tau"][:, None, None]
    each = [stats.multivariate_normal(mu, c).logpdf(new) for mu, c in zip(draws["m"], covariances, strict=True)]
    exact = special.logsumexp(each, axis=0) - np.log(500)
    np.testing.assert_allclose(found.pointwise, exact, atol=0.02)  # 128 nodes in two dimensions


def test_a_guide_by_gradients():
    def model(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
        s = ppl.sample("s", dist.HalfNormal(1.0))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(x @ w, s), obs=y)

    fit = ppl.infer(model, m.D3, m.RESPONSE, progress=False)
    found = fit.log_predictive(NEW_X, NEW_Y, num_samples=4000)
    draws = fit.sample(4000, resample=fit.verdict.corrected, seed=3)
    each = stats.norm(draws["w"] @ NEW_X.T, draws["s"][:, None]).logpdf(NEW_Y)
    again = special.logsumexp(each, axis=0) - np.log(4000)
    assert abs(found.value - again.sum()) < 6 * found.se  # both have this error
    assert found.se > 0.0
    assert "no conjugate family" in found.how


def test_fitted_elements_are_kept_where_asked():
    def schools(y, s):
        mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
        with ppl.plate("schools", len(s)):
            theta = ppl.sample("theta", dist.Normal(mu, 2.0))
            ppl.sample("y", dist.Normal(theta, s), obs=y)

    y, s = np.array([3.0, -3.0, 0.0]), np.ones(3)
    fit = cavi(schools, y, s)
    new, kept = fit.log_predictive(y, s, num_samples=4000), fit.log_predictive(y, s, keep=["schools"])
    q = fit.params
    mu, sd = float(q["mu.loc"]), float(q["mu.scale"])
    plain = stats.norm(q["theta.loc"], np.sqrt(q["theta.scale"] ** 2 + 1)).logpdf(y)
    np.testing.assert_allclose(kept.pointwise, plain, rtol=1e-9)
    assert abs(new.value - stats.norm(mu, np.sqrt(sd**2 + 5)).logpdf(y).sum()) < 4.5 * new.se


# -- the call --------------------------------------------------------------------------------------------------
def test_a_fit_from_a_file_says_the_same(tmp_path):
    fit = cavi(m.mixture, m.X, tolerance=1e-8)
    fit.save(tmp_path / "fit.npz")
    again = ppl.load(tmp_path / "fit.npz", m.mixture)
    assert again.log_predictive(m.X[:3]).value == fit.log_predictive(m.X[:3]).value


def test_a_pass_over_many_rows_is_that_over_each(monkeypatch):
    from ppl.conjugacy import heldout as closed

    fit = cavi(m.mixture, m.X, tolerance=1e-8)
    whole = fit.log_predictive(m.X).pointwise
    monkeypatch.setattr(closed, "LARGEST", 1)
    np.testing.assert_allclose(fit.log_predictive(m.X[:10]).pointwise, whole[:10], rtol=1e-10)


def test_what_is_missing_is_said():
    fit = ppl.infer(m.beta_bernoulli, np.array([1, 0]), algorithm="cavi", progress=False)

    def latent(num_samples):
        ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(0, 1), obs=num_samples)

    with pytest.raises(ppl.ModelError, match="own arguments"):
        fit.log_predictive()
    with pytest.raises(ppl.ModelError, match="names among"):
        fit.log_predictive(np.array([1]), keep=["rows"])
    with pytest.raises(ppl.ModelError, match="num_samples"):
        ppl.infer(latent, 1.0, progress=False).log_predictive(1.0)

    def optional(y=None):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(mu, 1), obs=y)

    with pytest.raises(ppl.ModelError, match="without an observation"):
        ppl.infer(optional, 1.0, progress=False).log_predictive()


def test_parameters_alone():
    def model(y):
        mu = ppl.param("mu", 0.0)
        s = ppl.param("s", 1.0, constraint=constraints.positive)
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Cauchy(mu, s), obs=y)

    fit = ppl.infer(model, m.Y, algorithm="map", progress=False)
    found = fit.log_predictive(np.array([1.0, 30.0]))
    expected = stats.cauchy(fit.params["mu"], fit.params["s"]).logpdf([1.0, 30.0])
    np.testing.assert_allclose(found.pointwise, expected, rtol=1e-9)
    assert found.se == 0.0
