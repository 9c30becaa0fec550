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
    "floats of 10^300": (location, (1e300 * Y,), ppl.NumericalError, ["log p(y", "e+300", "extreme size"]),
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


@pytest.mark.parametrize("what", REFUSED)
def test_an_error_names_the_cause(what):
    model, args, kind, words = REFUSED[what]
    with pytest.raises(kind) as caught:
        ppl.infer(model, *args, progress=False)
    text = str(caught.value)
    assert all(w in text for w in words), text
    assert all(w in text for w in ("got ", "expected ", "try ", "test_hopeless.py")), text
    if kind is ppl.NumericalError:
        assert len(caught.value.history) and set(caught.value.state)


@pytest.mark.parametrize("what", JUDGED)
def test_a_verdict_names_the_cause(what):
    model, args, words = JUDGED[what]
    fit = ppl.infer(model, *args, algorithm=ppl.BBVI(steps=5000), progress=False)
    assert fit.verdict.word != "trusted"
    text = " ".join(fit.verdict.warnings)
    assert all(w in text for w in words), text
    assert len(fit.history) == fit.solution.steps and fit.params and len(fit.sample(5)) and str(fit)
    if "improper" in words or "extreme size" in words or "no maximum" in words:
        assert fit.verdict.word == "not trusted"


# -- and nobody is accused without cause ----------------------------------------------------------------------
HEALTHY = {
    "overlapping classes": (logistic, (X, (X + 0.8 * Y > 0).astype(float))),
    "flat priors with data": (linear, (DESIGN, Y)),
    "every group has rows": (groups, (Y, np.arange(30) % 4)),
    "a wide prior": (prior_scale, (Y, 1e300)),
    "separable, with a prior": (logistic, (X, (X > 0).astype(float), dist.Normal(0, 5))),
    "a moderate outlier": (location, (at(Y, 3, 30.0),)),
}


@pytest.mark.parametrize("what", HEALTHY)
def test_a_posterior_that_exists_is_not_accused(what):
    fit = ppl.infer(HEALTHY[what][0], *HEALTHY[what][1], progress=False)
    assert fit.verdict.word != "not trusted"
    assert not any(w in " ".join(fit.verdict.warnings) for w in ("improper", "extreme", "no maximum")), fit.verdict
