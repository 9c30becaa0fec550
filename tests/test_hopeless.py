"""Inputs that no inference can save: the outcome is an error or a verdict that names the cause, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=30), RNG.normal(size=30)
FLAT = dist.ImproperUniform(constraints.real, (), ())


# -- models ------------------------------------------------------------------------------------------------
def location(y):
    mu = ppl.sample("mu", dist.Normal(0, 10))
    s = ppl.sample("s", dist.HalfNormal(5))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, s), obs=y)


def counts(y):
    rate = ppl.sample("rate", dist.Gamma(1, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(rate), obs=y)


def logistic(x, y, prior=FLAT):
    a, b = ppl.sample("a", prior), ppl.sample("b", prior)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=a + b * x), obs=y)


def linear(x, y):
    w = ppl.sample("w", dist.ImproperUniform(constraints.real, (), (x.shape[1],)))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ w, 1), obs=y)


def unread(y):
    mu = ppl.sample("mu", FLAT)
    ppl.sample("nu", FLAT)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1), obs=y)


def unread_scale(y):
    ppl.sample("spread", dist.ImproperUniform(constraints.positive, (), ()))
    location(y)


def groups(y, group):
    with ppl.plate("groups", 4):
        theta = ppl.sample("theta", FLAT)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(theta[group], 1), obs=y)


def free_spread(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    s = ppl.sample("s", dist.HalfNormal(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, s), obs=y)


def prior_scale(y, scale):
    mu = ppl.sample("mu", dist.Normal(0, scale))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, 1), obs=y)


def half_normal(y, scale):
    s = ppl.sample("s", dist.HalfNormal(scale))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(0, s), obs=y)


def known_spread(y, s):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, s), obs=y)


def seven_rows(y):
    with ppl.plate("rows", 7):
        ppl.sample("y", dist.Normal(ppl.sample("mu", dist.Normal(0, 1)), 1), obs=y)


def narrow(y):
    t = ppl.sample("t", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Uniform(t, t + 1e-3), obs=y)


def far_away():
    t = ppl.sample("t", dist.Normal(0, 1))
    ppl.factor("there", np.where(t > 50, 0.0, -np.inf))


def logarithm(y):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(np.log(mu - 100), 1), obs=y)


def twice(y):
    for value in y[:2]:
        ppl.sample("y", dist.Normal(ppl.sample("mu", dist.Normal(0, 1)), 1), obs=value)


def positive(y):
    a = ppl.sample("a", dist.HalfNormal(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Gamma(a, 1), obs=y)


def at(array, place, value):
    out = np.array(array, dtype=float)
    out[place] = value
    return out


ONES = np.ones(30)
DESIGN = np.stack([ONES, X], 1)
RAN_AWAY = ["ran away", "flat prior", "proper prior"]

# Refused with an error: the model, its arguments, the error, and what its message says.
REFUSED = {
    "nothing depends on a flat site": (unread, (Y,), ppl.ModelError, ["'nu'", "flat", "proper prior"]),
    "nothing depends on a flat scale": (unread_scale, (Y,), ppl.ModelError, ["'spread'", "flat", "proper prior"]),
    "a column of zeros": (linear, (np.stack([X, 0 * X], 1), Y), ppl.NumericalError, ["guide of w", *RAN_AWAY]),
    "a group without rows": (
        groups,
        (Y, np.arange(30) % 3),
        ppl.NumericalError,
        ["guide of theta", *RAN_AWAY],
    ),
    "a prior's scale at zero": (half_normal, (Y, 0.0), ppl.SupportError, ["HalfNormal(scale=0.0)", "positive"]),
    "a standard error at zero": (known_spread, (Y, at(ONES, 4, 0)), ppl.SupportError, ["index (4,)", "positive"]),
    "floats of 10^300": (location, (1e300 * Y,), ppl.NumericalError, ["log p(y", "is inf", "extreme size"]),
    "an infinity": (location, (at(Y, 3, np.inf),), ppl.SupportError, ["'y'", "inf at index (3,)", "finite"]),
    "an empty array": (location, (np.zeros(0),), ppl.DataError, ["'rows'", "no data", "at least one row"]),
    "a plate of another size": (seven_rows, (Y,), ppl.ShapeError, ["'y'", "(30,)", "(7,)"]),
    "NaN in the design": (
        linear,
        (at(DESIGN, (4, 1), np.nan), Y),
        ppl.NumericalError,
        ["(30, 2)", "nan at index (4, 1)", "obs=column"],
    ),
    "words": (location, (np.array(["1.0", "many"]),), ppl.DataError, ["'y'", "<U4", "numbers", "convert"]),
    "impossible data": (narrow, (Y,), ppl.NumericalError, ["log p(y | t)", "density is zero", "support"]),
    "a factor of zero": (far_away, (), ppl.NumericalError, ["there", "density is zero"]),
    "log of a negative number": (logarithm, (Y,), ppl.NumericalError, ["log p(y | mu)", "log(-", "nan"]),
    "one name twice": (twice, (Y,), ppl.ModelError, ["'mu'", "second", "names that are used once"]),
    "outside the support": (positive, (at(np.abs(Y), 2, -1),), ppl.SupportError, ["-1.0 at index (2,)", "positive"]),
    "a prior of no width": (prior_scale, (Y, 1e-300), ppl.NumericalError, ["p(mu)", "scales that may reach zero"]),
}

# Fitted, and judged: what the verdict says.
JUDGED = {
    "an absurd outlier": (location, (at(Y, 3, 1e30),), ["log p(y | mu, s)", "extreme size", "outlier"]),
    "integers of 10^300": (counts, ([10**300, 3],), ["log p(y | rate)", "extreme size"]),
    "separable classes": (logistic, (X, (X > 0).astype(float)), ["as b spreads", "improper", "separable"]),
    "collinear columns": (linear, (np.stack([ONES, 2 * ONES], 1), Y), ["as w spreads", "improper", "collinear"]),
    "data without spread": (free_spread, (ONES,), ["s ran to", "no maximum", "no spread"]),
    "data of no size": (location, (1e-300 * Y,), ["s ran to", "no maximum", "another scale"]),
    "no data at all": (location, (np.full(5, np.nan),), ["every entry of site 'y' is missing"]),
    "no argument": (lambda: ppl.sample("mu", dist.Normal(0, 1)), (), ["no observed site", "misspelt"]),
}


ALGORITHMS = {"bbvi": ppl.BBVI(steps=5000), "dadvi": ppl.DADVI(), "laplace": ppl.Laplace(), "map": ppl.MAP()}
BENT = ["flat prior", "proper prior", "Normal(0, 10)"]
NO_GRADIENT = (ppl.ModelError, ["score function at 't'", 'algorithm="bbvi"'])

# Where an algorithm ends in another way: an error of another kind, or None for a verdict, and its words.
OTHERWISE = {
    # A density that does not change has a maximum everywhere: a point stays where it is.
    ("a column of zeros", "map"): (None, ["no mode", "along w", *BENT]),
    ("a group without rows", "map"): (None, ["no mode", "along theta", *BENT]),
    ("impossible data", "dadvi"): NO_GRADIENT,
    ("impossible data", "laplace"): NO_GRADIENT,
    ("impossible data", "map"): NO_GRADIENT,
    ("a factor of zero", "dadvi"): NO_GRADIENT,
    ("a factor of zero", "laplace"): NO_GRADIENT,
    ("a factor of zero", "map"): NO_GRADIENT,
    ("separable classes", "laplace"): (None, ["no curvature", "along a and b", "separable classes", *BENT]),
    ("separable classes", "map"): (None, ["no mode", "along a and b", "separable classes", *BENT]),
    ("collinear columns", "laplace"): (None, ["no curvature", "along w", "collinear columns", *BENT]),
    ("collinear columns", "dadvi"): (None, ["no curvature", "along w", "collinear columns", *BENT]),
    ("collinear columns", "map"): (None, ["no mode", "along w", "collinear columns", *BENT]),
}


def outcome(what, algorithm):
    """The error or the fit that ends it, what it says, and the kind and the words it should have."""
    model, args, *kind, words = REFUSED.get(what) or JUDGED[what]
    kind, words = OTHERWISE.get((what, algorithm), (kind[0] if kind else None, words))
    try:
        fit = ppl.infer(model, *args, algorithm=ALGORITHMS[algorithm], progress=False)
    except ppl.PPLError as error:
        return error, str(error), kind, words
    return fit, " ".join((fit.verdict.stop_reason, *fit.verdict.warnings)), kind, words


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("what", [*REFUSED, *JUDGED])
def test_the_outcome_names_the_cause(what, algorithm):
    ended, text, kind, words = outcome(what, algorithm)
    assert all(w in text for w in words), text
    if kind is not None:
        assert type(ended) is kind, text
        assert all(w in text for w in ("got ", "expected ", "try ", "test_hopeless.py")), text
        if kind is ppl.NumericalError:
            assert len(ended.history) and set(ended.state)
        return
    assert isinstance(ended, ppl.Fit), text
    assert ended.verdict.word != "trusted"
    assert len(ended.history) and ended.params and len(ended.sample(5)) and str(ended)
    if what not in ("no data at all", "no argument"):
        assert ended.verdict.word == "not trusted"


# -- and nobody is accused without cause ----------------------------------------------------------------------
HEALTHY = {
    "overlapping classes": (logistic, (X, (X + 0.8 * Y > 0).astype(float))),
    "flat priors with data": (linear, (DESIGN, Y)),
    "every group has rows": (groups, (Y, np.arange(30) % 4)),
    "a wide prior": (prior_scale, (Y, 1e300)),
    "separable, with a prior": (logistic, (X, (X > 0).astype(float), dist.Normal(0, 5))),
    "a moderate outlier": (location, (at(Y, 3, 30.0),)),
}


ACCUSED = ("improper", "extreme", "no maximum", "flat prior", "collinear", "ran to")


@pytest.mark.parametrize("what", HEALTHY)
def test_a_posterior_that_exists_is_not_accused(what):
    fit = ppl.infer(HEALTHY[what][0], *HEALTHY[what][1], progress=False)
    assert fit.verdict.word != "not trusted"
    assert not any(w in " ".join(fit.verdict.warnings) for w in ACCUSED), fit.verdict


@pytest.mark.parametrize("algorithm", ["dadvi", "laplace", "map"])
@pytest.mark.parametrize("what", HEALTHY)
def test_nor_is_it_by_algorithms_with_fixed_draws(what, algorithm):
    fit = ppl.infer(HEALTHY[what][0], *HEALTHY[what][1], algorithm=algorithm, progress=False)
    assert fit.verdict.converged and not any(w in str(fit.verdict) for w in ACCUSED), fit.verdict


def schools(y, s, prior):
    mu, tau = ppl.sample("mu", prior), ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, s), obs=y)


def zeros(y):
    a = ppl.sample("a", dist.Normal(0, 10))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Poisson(np.exp(a)), obs=y)


def two_modes(y, prior):
    m = ppl.sample("m", prior)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Cauchy(m, 1.0), obs=y)


FAR_APART = (np.array([5.0, -30.0, 40.0]), np.array([1.0, 20.0, 20.0]))
PROPER = {
    "schools of unequal size": (schools, (*FAR_APART, dist.Normal(0, 5))),
    "schools under a flat mean": (schools, (*FAR_APART, FLAT)),
    "equal schools": (schools, (np.array([0.0, 0.1, -0.1]), 1.0, dist.Normal(0, 10))),
    "counts of zero": (zeros, (np.zeros(5),)),
    "two far modes": (two_modes, (np.array([-10.0, 10.0]), dist.Normal(0, 50))),
    "two far modes, flat": (two_modes, (np.array([-10.0, 10.0]), FLAT)),
}


@pytest.mark.parametrize("algorithm", ["dadvi", "laplace"])
@pytest.mark.parametrize("what", PROPER)
def test_what_a_gaussian_fits_badly_is_not_called_improper(what, algorithm):
    model, args = PROPER[what]
    fit = ppl.infer(model, *args, algorithm=algorithm, progress=False)
    text = str(fit.verdict)
    assert not any(w in text for w in ("improper", "flat prior", "collinear", "separable")), text


def test_a_guide_that_is_too_narrow_is_called_so():
    """Between two modes the curvature of the mean-field bound is that of no mode: the sd is about 10."""
    model, args = PROPER["two far modes, flat"]
    fit = ppl.infer(model, *args, algorithm="dadvi", progress=False)
    assert "as m spreads" in " ".join(fit.verdict.warnings) and "too narrow" in " ".join(fit.verdict.warnings)
    assert fit.verdict.word == "not trusted"
