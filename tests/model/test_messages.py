"""Every mistake in a model or a guide has its error: site or plate, got, expected, try, and the user's line."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, special

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

Y = np.array([0.5, -1.0, 2.0, 1.0])


def mu():
    return ppl.sample("mu", dist.Normal(0, 1))


def latent_and_data(y):
    ppl.sample("y", dist.Normal(mu(), 1), obs=y)


# -- models ----------------------------------------------------------------------------------------
def twice(y):
    mu(), mu()
    ppl.sample("y", dist.Normal(0, 1), obs=y[0])


def twice_in_a_loop(y):
    for value in y:
        ppl.sample("x", dist.Normal(mu() if value == y[0] else 0.0, 1), obs=value)


def same_name_site_and_param(y):
    ppl.param("mu", 1.0)
    ppl.sample("y", dist.Normal(mu(), 1), obs=y[0])


def forgotten_plate_axis(y):
    with ppl.plate("rows", len(y)):
        w = ppl.sample("w", dist.Normal(np.zeros((3, 1)), 1))
        ppl.sample("y", dist.Normal(w[0], 1), obs=y)


def batch_of_another_length(y):
    m = mu()
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(m + np.zeros(3), 1), obs=y)


def whole_batch_in_a_subsampled_plate(y):
    m = mu()
    with ppl.plate("rows", len(y), subsample_size=2) as i:
        ppl.sample("y", dist.Normal(m + y, 1), obs=y[i])


def obs_of_another_length(y):
    m = mu()
    with ppl.plate("rows", 3):
        ppl.sample("y", dist.Normal(m, 1), obs=y)


def obs_not_indexed(y):
    m = mu()
    with ppl.plate("rows", len(y), subsample_size=2):
        ppl.sample("y", dist.Normal(m, 1), obs=y)


def obs_outside_the_plate(y):
    m = mu()
    with ppl.plate("rows", len(y), subsample_size=2):
        ppl.sample("z", dist.Normal(m, 1))
    ppl.sample("y", dist.Normal(m, 1).expand([4]), obs=y)


def obs_with_no_room(y):
    ppl.sample("y", dist.Normal(mu() + np.zeros(3), 1), obs=y)


def obs_out_of_support(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Gamma(np.exp(mu()), 1.0), obs=y)


def obs_of_strings(y):
    with ppl.plate("rows", 2):
        ppl.sample("y", dist.Normal(mu(), 1), obs=np.array(["a", "b"]))


def obs_of_objects(y):
    with ppl.plate("rows", 2):
        ppl.sample("y", dist.Normal(mu(), 1), obs=np.array(["1", 1.0], dtype=object))


def obs_with_infinity(y):
    with ppl.plate("rows", 2):
        ppl.sample("y", dist.Normal(mu(), 1), obs=np.array([np.inf, 1.0]))


def scalar_for_a_plate(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.MultivariateNormal(np.zeros(2), np.eye(2)), obs=y)


def plate_of_another_size(y):
    with ppl.plate("rows", 3):
        ppl.sample("a", dist.Normal(0, 1))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mu(), 1), obs=y)


def plate_at_another_axis(y):
    with ppl.plate("rows", 4):
        ppl.sample("a", dist.Normal(0, 1))
        with ppl.plate("columns", 2):
            ppl.sample("b", dist.Normal(0, 1))
    with ppl.plate("columns", 2):
        ppl.sample("c", dist.Normal(0, 1))


def plate_in_itself(y):
    with ppl.plate("rows", 4), ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mu(), 1))


def two_plates_at_one_axis(y):
    with ppl.plate("rows", 4, dim=-1), ppl.plate("columns", 2, dim=-1):
        ppl.sample("z", dist.Normal(0, 1))


def positive_dim(y):
    with ppl.plate("rows", 4, dim=0):
        ppl.sample("z", dist.Normal(0, 1))


def random_size(y):
    with ppl.plate("rows", ppl.sample("n", dist.Poisson(3.0))):
        ppl.sample("z", dist.Normal(0, 1))


def fractional_size(y):
    with ppl.plate("rows", 2.5):
        ppl.sample("z", dist.Normal(0, 1))


def size_of_none(y):
    with ppl.plate("rows", None):
        ppl.sample("z", dist.Normal(0, 1))


def empty_plate(y):
    with ppl.plate("rows", 0):
        ppl.sample("y", dist.Normal(mu(), 1), obs=np.zeros(0))


def no_name(y):
    ppl.sample(dist.Normal(0, 1), "mu")


def no_distribution(y):
    ppl.sample("mu", 0.0)


def class_for_distribution(y):
    ppl.sample("mu", dist.Normal)


def no_sites(y):
    return y


def parameter_outside(y):
    ppl.sample("y", dist.Normal(0, ppl.param("sd", -1.0, constraints.positive)), obs=y[0])


def parameter_without_start(y):
    ppl.sample("y", dist.Normal(ppl.param("m"), 1), obs=y[0])


def parameter_unused(y):
    ppl.param("idle", 1.0)
    latent_and_data(y[0])


def parameter_of_another_size(y):
    with ppl.plate("rows", len(y)):
        m = ppl.param("m", np.zeros(3))
        ppl.sample("y", dist.Normal(m, 1), obs=y)


def bad_argument(y):
    ppl.sample("y", dist.Normal(mu(), -1.0), obs=y[0])


def unknown_estimator(y):
    ppl.sample("mu", dist.Normal(0, 1), estimator="pathwize")
    ppl.sample("y", dist.Normal(0, 1), obs=y[0])


def latent_without_guide(y):
    n = ppl.sample("n", dist.Poisson(3.0))
    ppl.sample("y", dist.Normal(n, 1), obs=y[0])


def python_scalar(y):
    import math

    ppl.sample("y", dist.Normal(math.exp(mu()), 1), obs=y[0])


def stored(y):
    x = np.zeros(3)
    x[0] = mu()
    ppl.sample("y", dist.Normal(x[0], 1), obs=y[0])


def distribution_without_name(y):
    ppl.sample(dist.Normal(0, 1), obs=y[0])


def observed_misspelt(y):
    ppl.sample("y", dist.Normal(mu(), 1), observed=y[0])


def argument_misspelt(y):
    ppl.sample("y", dist.Normal(mu(), sigma=1), obs=y[0])


def argument_unknown(y):
    ppl.sample("y", dist.Normal(mu(), 1, width=2), obs=y[0])


def size_forgotten(y):
    with ppl.plate("rows"):
        mu()


def value_forgotten(y):
    ppl.deterministic("twice")


def weight_misspelt(y):
    ppl.factor("f", weight=mu())


def param_misspelt(y):
    ppl.param("s", 1.0, constrain=constraints.positive)


def negative_scale(y):
    ppl.sample("y", dist.Normal(0, mu()), obs=y[0])


def negative_scales(y):
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(0, z), obs=y)


def moving_support(y):
    a = ppl.sample("a", dist.Normal(0, 1))
    ppl.sample("y", dist.Uniform(0, a), obs=1.0)


def guide_in_a_scan(y):
    def step(z, y_t):
        z = ppl.sample("z", dist.Normal(z, 1), guide=dist.Normal(0, 1))
        return z, None

    ppl.scan(step, 0.0, y)


def factor_in_a_scan(y):
    def step(z, y_t):
        ppl.factor("f", y_t)
        return z, None

    ppl.scan(step, 0.0, y)


def mask_of_numbers(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu(), 1), obs=y, obs_mask=np.ones(4))


def mask_of_another_length(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu(), 1), obs=y, obs_mask=np.ones(3, bool))


def half_a_simplex(y):
    ppl.sample("y", dist.Dirichlet(np.ones(2)), obs=np.array([0.5, np.nan]))


def flat_and_unread(y):
    ppl.sample("flat", dist.ImproperUniform(constraints.real, (), ()))
    latent_and_data(y[0])


# label -> (model, error, site or plate, words that the message holds)
MODELS = {
    "duplicate site": (twice, ppl.ModelError, "mu", ["second", "once", "plate"]),
    "duplicate site in a loop": (twice_in_a_loop, ppl.ModelError, "x", ["second", "{k}"]),
    "a site and a parameter of one name": (same_name_site_and_param, ppl.ModelError, "mu", ["second", "once"]),
    "a batch axis that no plate claims": (forgotten_plate_axis, ppl.ShapeError, "w", ["rows", "axis -2", "to_event"]),
    "a batch of another length": (batch_of_another_length, ppl.ShapeError, "y", ["rows", "(3,)", "4"]),
    "a full batch in a subsampled plate": (
        whole_batch_in_a_subsampled_plate,
        ppl.ShapeError,
        "y",
        ["rows", "x[i]", "subsampled"],
    ),
    "obs of another length": (obs_of_another_length, ppl.ShapeError, "y", ["(4,)", "(3,)", "plate"]),
    "obs not indexed": (obs_not_indexed, ppl.ShapeError, "y", ["rows", "y[i]", "4", "2"]),
    "obs outside a subsampled plate": (obs_outside_the_plate, ppl.ShapeError, "y", ["rows", "outside", "y[i]"]),
    "obs that does not fit": (obs_with_no_room, ppl.ShapeError, "y", ["(4,)", "(3,)"]),
    "obs out of support": (obs_out_of_support, ppl.SupportError, "y", ["-1", "Gamma", "positive"]),
    "obs of strings": (obs_of_strings, ppl.DataError, "y", ["numbers"]),
    "obs of objects": (obs_of_objects, ppl.DataError, "y", ["numbers"]),
    "obs with an infinity": (obs_with_infinity, ppl.SupportError, "y", ["inf", "(0,)"]),
    "obs of the wrong rank": (scalar_for_a_plate, ppl.ShapeError, "y", ["(4,)", "(2,)"]),
    "a plate of another size": (plate_of_another_size, ppl.ModelError, "rows", ["4", "3"]),
    "a plate at another axis": (plate_at_another_axis, ppl.ModelError, "columns", ["-1", "-2", "dim="]),
    "a plate in itself": (plate_in_itself, ppl.ShapeError, "rows", ["itself"]),
    "two plates at one axis": (two_plates_at_one_axis, ppl.ShapeError, "columns", ["-1", "rows", "dim="]),
    "a positive dim": (positive_dim, ppl.ShapeError, "rows", ["negative", "dim=-1"]),
    "a random size": (random_size, ppl.ModelError, "rows", ["random", "arguments"]),
    "a fractional size": (fractional_size, ppl.ModelError, "rows", ["2.5", "whole"]),
    "a size of None": (size_of_none, ppl.ModelError, "rows", ["None", "whole"]),
    "empty data": (empty_plate, ppl.DataError, "rows", ["0", "at least one"]),
    "no name": (no_name, ppl.ModelError, None, ["name", "ppl.sample"]),
    "no distribution": (no_distribution, ppl.ModelError, "mu", ["distribution", "dist.Normal"]),
    "a class for a distribution": (class_for_distribution, ppl.ModelError, "mu", ["distribution"]),
    "no sites": (no_sites, ppl.DataError, None, ["without a single site", "ppl.sample"]),
    "a parameter outside its constraint": (parameter_outside, ppl.ModelError, "sd", ["-1", "positive", "init"]),
    "a parameter without a start": (parameter_without_start, ppl.ModelError, "m", ["without init", "starting value"]),
    "an unused parameter": (parameter_unused, ppl.ModelError, "idle", ["no term", "remove"]),
    "a parameter of another size": (parameter_of_another_size, ppl.ShapeError, "m", ["(3,)", "(4,)", "event_dim"]),
    "an argument outside its constraint": (bad_argument, ppl.SupportError, None, ["scale=-1", "positive"]),
    "an unknown estimator": (unknown_estimator, ppl.GuideError, "mu", ["pathwize", "'pathwise'"]),
    "no automatic guide": (latent_without_guide, ppl.GuideError, "n", ["Poisson", "guide="]),
    "a scalar function of Python": (python_scalar, ppl.ModelError, None, ["float()", "np."]),
    "a distribution without a name": (
        distribution_without_name,
        ppl.ModelError,
        None,
        ["ppl.sample", "sample(name, d, obs=None", 'try ppl.sample("y"'],
    ),
    "obs misspelt": (observed_misspelt, ppl.ModelError, "observed", ["ppl.sample", "try obs= for observed="]),
    "a family's argument called otherwise": (
        argument_misspelt,
        ppl.ModelError,
        "sigma",
        ["Normal(loc=0.0, scale=1.0", "try scale= for sigma="],
    ),
    "a family's argument that there is not": (argument_unknown, ppl.ModelError, "width", ["Normal(loc", "width"]),
    "a plate without a size": (size_forgotten, ppl.ModelError, "size", ["ppl.plate", 'ppl.plate("rows", len(y))']),
    "a deterministic without a value": (value_forgotten, ppl.ModelError, "value", ["ppl.deterministic"]),
    "a factor's argument misspelt": (weight_misspelt, ppl.ModelError, "log_weight", ["try log_weight= for weight="]),
    "a parameter's argument misspelt": (param_misspelt, ppl.ModelError, "constrain", ["try constraint= for"]),
    "a scale that goes negative": (
        negative_scale,
        ppl.NumericalError,
        "y",
        ["Normal(scale=-", 'ppl.sample("y", dist.Normal(0, mu())', "positive", "np.exp(scale)"],
    ),
    "scales that go negative": (negative_scales, ppl.NumericalError, "y", ["Normal(scale=-", "log p(y | z)"]),
    "a support that moves": (
        moving_support,
        ppl.NumericalError,
        "y",
        ["density is zero", 'ppl.sample("y", dist.Uniform(0, a)', "support"],
    ),
    "guide= in a scan": (guide_in_a_scan, ppl.ModelError, "z", ["guide=", "ppl.scan"]),
    "a factor in a scan": (factor_in_a_scan, ppl.ModelError, "f", ["ppl.factor", "ppl.scan"]),
    "obs_mask of numbers": (mask_of_numbers, ppl.DataError, "y", ["obs_mask", "booleans", "astype(bool)"]),
    "obs_mask of another length": (mask_of_another_length, ppl.ShapeError, "y", ["obs_mask", "(3,)", "(4,)"]),
    "half of one value": (half_a_simplex, ppl.DataError, "y", ["lacks a part", "Dirichlet", "obs_mask"]),
    "a flat prior that nothing reads": (flat_and_unread, ppl.ModelError, "flat", ["flat prior", "Normal(0, 10)"]),
    "a draw stored in an array": (stored, ppl.ModelError, None, ["float()"]),
}


def check(error, kind, name, words):
    text = str(error)
    assert isinstance(error, kind), text
    said(text, words)
    if name is not None:
        assert f"'{name}'" in text, text


def said(text, words):
    """Got, expected, try, the user's own line, and these words."""
    assert all(re.search(rf"(^|\n  ){part} \S", text) for part in ("got", "expected", "try")), text
    assert re.search(r"\n  at test_messages\.py:\d+: \S", text), text
    for word in words:
        assert word in text, (word, text)


@pytest.mark.parametrize("label", list(MODELS))
def test_mistakes_in_a_model(label):
    model, kind, name, words = MODELS[label]
    with pytest.raises(ppl.PPLError) as caught:
        ppl.infer(model, Y, progress=False)
    check(caught.value, kind, name, words)


# -- guides ----------------------------------------------------------------------------------------
def model_with_scale(y):
    m, s = mu(), ppl.sample("sd", dist.Exponential(1.0))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(m, s), obs=y)


def guide_misses(y):
    ppl.sample("mu", dist.Normal(ppl.param("m", 0.0), 1))


def guide_misspells(y):
    guide_misses(y)
    ppl.sample("sdd", dist.LogNormal(ppl.param("s", 0.0), 1))


def guide_invents(y):
    guide_misses(y)
    ppl.sample("sd", dist.LogNormal(ppl.param("s", 0.0), 1))
    ppl.sample("extra", dist.Normal(ppl.param("e", 0.0), 1))


def guide_off_support(y):
    guide_misses(y)
    ppl.sample("sd", dist.Normal(ppl.param("s", 0.0), 1))


def guide_of_another_shape(y):
    ppl.sample("mu", dist.Normal(ppl.param("m", np.zeros(2)), 1))
    ppl.sample("sd", dist.LogNormal(ppl.param("s", 0.0), 1))


def guide_observes(y):
    guide_misses(y)
    ppl.sample("sd", dist.LogNormal(ppl.param("s", 0.0), 1), obs=1.0)


def guide_twice(y):
    guide_misses(y)
    guide_misses(y)


def guide_with_idle_parameter(y):
    guide_misses(y)
    ppl.sample("sd", dist.LogNormal(ppl.param("s", 0.0), 1))
    ppl.param("idle", 1.0)


def guide_for_observed(y):
    guide_misses(y)
    ppl.sample("sd", dist.LogNormal(ppl.param("s", 0.0), 1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(ppl.param("e", 0.0), 1))


def guide_discrete_for_continuous(y):
    ppl.sample("mu", dist.Poisson(ppl.param("m", 1.0, constraints.positive)))
    ppl.sample("sd", dist.LogNormal(ppl.param("s", 0.0), 1))


GUIDES = {
    "a missing site": (guide_misses, ppl.GuideError, "sd", ["['mu']"]),
    "a misspelt site": (guide_misspells, ppl.GuideError, "sd", ["'sdd'", "misspelt"]),
    "an invented site": (guide_invents, ppl.GuideError, "extra", ["latent sites", "mu"]),
    "another support": (guide_off_support, ppl.GuideError, "sd", ["Normal", "positive", "LogNormal"]),
    "another shape": (guide_of_another_shape, ppl.GuideError, "mu", ["(2,)", "()", "plates"]),
    "an observed site": (guide_observes, ppl.GuideError, "sd", ["obs"]),
    "a site twice": (guide_twice, ppl.ModelError, "mu", ["second"]),
    "an idle parameter": (guide_with_idle_parameter, ppl.ModelError, "idle", ["no term"]),
    "an observed site of the model": (guide_for_observed, ppl.GuideError, "y", ["latent sites"]),
    "a discrete guide of a continuous site": (
        guide_discrete_for_continuous,
        ppl.GuideError,
        "mu",
        ["Poisson", "Normal"],
    ),
    "an unknown name": ("meanfeild", ppl.GuideError, None, ["meanfeild", "'meanfield'"]),
}


@pytest.mark.parametrize("label", GUIDES)
def test_mistakes_in_a_guide(label):
    guide, kind, name, words = GUIDES[label]
    with pytest.raises(ppl.PPLError) as caught:
        ppl.infer(model_with_scale, Y, guide=guide, progress=False)
    check(caught.value, kind, name, words)


def test_a_guide_in_place_and_in_the_guide_function():
    def model(y):
        m = ppl.sample("mu", dist.Normal(0, 1), guide=dist.Normal(ppl.param("m", 0.0), 1))
        ppl.sample("y", dist.Normal(m, 1), obs=y[0])

    with pytest.raises(ppl.GuideError) as caught:
        ppl.infer(model, Y, guide=guide_misses, progress=False)
    check(caught.value, ppl.GuideError, "mu", ["in place", "one guide"])


def test_a_guide_in_place_off_its_support():
    def model(y):
        s = ppl.sample("s", dist.Exponential(1.0), guide=dist.Normal(ppl.param("m", 0.0), 1))
        ppl.sample("y", dist.Normal(0, s), obs=y[0])

    with pytest.raises(ppl.GuideError) as caught:
        ppl.infer(model, Y, progress=False)
    check(caught.value, ppl.GuideError, "s", ["positive"])


# -- the call --------------------------------------------------------------------------------------
def named(*names):
    space: dict = {"ppl": ppl, "latent_and_data": latent_and_data}
    exec(f"def model(y, {', '.join(n + '=None' for n in names)}):\n    latent_and_data(y)", space)
    return space["model"]


CALLS = {
    "an unknown algorithm": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm="bbvii", progress=False),
        ["bbvii", "'bbvi'", "auto"],
    ),
    "no algorithm": (lambda: ppl.infer(latent_and_data, 1.0, algorithm=3, progress=False), ["algorithm=3", "ppl.BBVI"]),
    "an unknown executor": (
        lambda: ppl.infer(latent_and_data, 1.0, executor="numpi", progress=False),
        ["numpi", "numpy"],
    ),
    "no model": (lambda: ppl.infer(3.0, progress=False), ["model function", "ppl.infer(model"]),
    "a model run by hand": (lambda: ppl.infer(None, 1.0, progress=False), ["model function"]),
    "steps": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm=ppl.BBVI(steps=0), progress=False),
        ["steps=0", "at least 1"],
    ),
    "particles": (lambda: ppl.gradient(latent_and_data, 1.0, particles=0), ["particles=0", "at least 1"]),
    "num_samples": (lambda: ppl.prior_predictive(latent_and_data, 1.0, num_samples=0), ["num_samples=0", "at least 1"]),
    "samples of a fit": (lambda: quick().sample(0), ["num_samples=0", "at least 1"]),
    "an unknown site": (lambda: quick()["nu"], ["nu", "mu"]),
    **{
        f"a model argument called {n}": (
            lambda n=n: ppl.infer(named(n), 1.0, progress=False),
            [f"'{n}'", "ppl.infer", "rename"],
        )
        for n in ("guide", "algorithm", "seed", "progress", "executor")
    },
    **{
        f"an argument of {verb} called {n}": (lambda call=call, n=n: call(named(n)), [f"'{n}'", verb, "rename"])
        for verb, call, names in (
            ("ppl.gradient", lambda m: ppl.gradient(m, 1.0), ("guide", "params", "estimators", "particles", "seed")),
            ("ppl.prior_predictive", lambda m: ppl.prior_predictive(m, 1.0), ("num_samples", "seed", "sizes")),
            ("fit.predict", lambda m: quick(m).predict(1.0), ("num_samples", "new", "resample")),
            ("ppl.load", lambda m: ppl.load("nowhere.npz", m), ("path", "guide")),
        )
        for n in names
    },
    "a guide that is a number": (lambda: ppl.infer(latent_and_data, 1.0, guide=3), ["guide=3", "'meanfield'"]),
    "a guide that is zero": (lambda: ppl.infer(latent_and_data, 1.0, guide=0), ["guide=0", "a function"]),
    "a guide that is true": (lambda: ppl.infer(latent_and_data, 1.0, guide=True), ["guide=True"]),
    "a guide that is a dict": (lambda: ppl.infer(latent_and_data, 1.0, guide={}), ["guide={}"]),
    "a guide that is a list": (
        lambda: ppl.infer(latent_and_data, 1.0, guide=["meanfield"]),
        ["guide=['meanfield']", "try guide='meanfield'"],
    ),
    "a guide of a gradient": (lambda: ppl.gradient(latent_and_data, 1.0, guide=0), ["guide=0"]),
    "a guide for a point": (
        lambda: ppl.infer(latent_and_data, 1.0, guide="fullrank", algorithm="map"),
        ["guide='fullrank'", "'map'", "no guide="],
    ),
    "a class for an algorithm": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm=ppl.DADVI),
        ["DADVI", "try ppl.DADVI()"],
    ),
    "an unknown setting": (lambda: ppl.BBVI(step=3), ["ppl.BBVI", "'step'", "steps=", "try steps= for step="]),
    "an unknown setting of another": (lambda: ppl.MAP(seed=3), ["ppl.MAP", "'seed'"]),
    **{
        f"the seed {seed!r}": (
            lambda seed=seed: ppl.infer(latent_and_data, 1.0, seed=seed),
            ["seed=", "2**63", "seed=0"],
        )
        for seed in (-1, 2**63, 1.5, None, "one")
    },
    "a gradient's seed": (lambda: ppl.gradient(latent_and_data, 1.0, seed=-1), ["seed=-1", "seed=0"]),
    "a prior predictive's seed": (lambda: ppl.prior_predictive(latent_and_data, 1.0, seed=0.5), ["seed=0.5"]),
    "a prediction's seed": (lambda: quick().predict(seed="a"), ["seed='a'"]),
    "an unknown estimator of a gradient": (
        lambda: ppl.gradient(latent_and_data, 1.0, estimators="pathwize"),
        ["pathwize", "'pathwise'"],
    ),
    "an estimator of no site": (
        lambda: ppl.gradient(latent_and_data, 1.0, estimators={"nu": "score"}),
        ["'nu'", "names among", "mu"],
    ),
    "a parameter of no guide": (
        lambda: ppl.gradient(latent_and_data, 1.0, guide="meanfield", params={"mu.lok": 1.0}),
        ["mu.lok", "'mu.loc'"],
    ),
    "a size below one": (
        lambda: ppl.prior_predictive(in_rows, 3, sizes={"rows": -1}),
        ["sizes['rows']=-1", "at least 1"],
    ),
    "a size of no plate": (lambda: ppl.prior_predictive(in_rows, 3, sizes={"row": 2}), ["'row'", "'rows'"]),
    "a size that an array fixes": (
        lambda: ppl.prior_predictive(with_offsets, Y, sizes={"rows": 3}),
        ["with sizes={'rows': 3}", "arguments of the new length"],
    ),
    "an argument that a prediction does not take": (
        lambda: quick().predict(z=3),
        ["the model", "'y'", "latent_and_data(y)"],
    ),
    "a misspelt argument of a prediction": (lambda: quick(in_rows, 3).predict(number=3), ["n= for number="]),
    "predictions by weights that there are not": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm="map").predict(resample=True),
        ["fit.predict(resample=True)", "point", "resample=False"],
    ),
    "draws by weights that there are not": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm="map").sample(resample=True),
        ["fit.sample(resample=True)", "point"],
    ),
    "the evidence of a point": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm="map").log_evidence(),
        ["log_evidence", "point", "fit.elbo"],
    ),
    "a new plate that there is not": (lambda: quick(in_rows, 3).predict(new="row"), ["'row'", "'rows'"]),
    "the marginal of an observed site": (lambda: quick()["y"], ["fit['y']", "observed", "fit.predict()['y']"]),
    "the marginal of a parameter": (lambda: quick(with_parameter)["s"], ["fit['s']", "fit.params['s']"]),
    "the marginal of a misspelt site": (lambda: quick()["muu"], ["fit['muu']", "try fit['mu']"]),
    "steps of a resumed run": (lambda: quick().resume(steps=0), ["steps=0", "at least 1"]),
    "a run without steps": (
        lambda: ppl.infer(latent_and_data, 1.0, algorithm="map").resume(steps=3),
        ["no steps to go on from", "ppl.BBVI()"],
    ),
    "a family that there is not": (lambda: dist.Nrmal, ["ppl.distributions.Nrmal", "try Normal"]),
}


def quick(model=latent_and_data, y=1.0):
    return ppl.infer(model, y, algorithm=ppl.BBVI(steps=60), progress=False)


def in_rows(n):
    with ppl.plate("rows", n):
        ppl.sample("z", dist.Normal(0, 1))


def with_offsets(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("z", dist.Normal(y, 1))


def with_parameter(y):
    ppl.sample("y", dist.Normal(mu(), ppl.param("s", 1.0, constraints.positive)), obs=y)


@pytest.mark.parametrize("label", CALLS)
def test_mistakes_in_a_call(label):
    call, words = CALLS[label]
    with pytest.raises(ppl.PPLError) as caught:
        call()
    said(str(caught.value), words)


def test_a_call_that_does_not_fit_the_model():
    with pytest.raises(ppl.ModelError, match=r"(?s)'y'.*expected latent_and_data\(y\).*try"):
        ppl.infer(latent_and_data, progress=False)


PLAIN = np.arange(3.0)


def set_in_place(z):
    z[0] = 1.0
    return z


# what is not NumPy on a draw -> (what it does with three draws, words of the message)
UNRECORDED = {
    "float": (lambda z: float(z[0]), ["float()", "np.log(z)"]),
    "int": (lambda z: int(z[0]), ["int()"]),
    "math": (lambda z: math.log(z[0]), ["float()", "np.log(z) for math.log(z)"]),
    "np.array": (lambda z: np.array([z[0], z[1]]), ["plain array", "np.stack([a, b])"]),
    "an index": (lambda z: PLAIN[z[0]], ["plain array", "argument of the model for x[i]"]),
    "a range": (lambda z: list(range(z[0])), ["range", "argument of the model"]),
    "a shape": (lambda z: np.zeros(z[0]), ["as a shape"]),
    "an assignment": (set_in_place, ["x[...] = value", "np.where"]),
    "logsumexp": (special.logsumexp, ["np.logaddexp.reduce"]),
    "softmax": (special.softmax, ["np.logaddexp.reduce"]),
    "solve_triangular": (lambda z: linalg.solve_triangular(np.eye(3), z), ["np.linalg.solve"]),
    "cholesky": (lambda z: linalg.cholesky(np.outer(z, z)), ["np.linalg.cholesky"]),
    "cho_solve": (lambda z: linalg.cho_solve((np.eye(3), True), z), ["np.linalg.solve"]),
    "fft": (np.fft.fft, ["np.fft", "np.cos"]),
    "a derivative that is not known": (lambda z: special.jv(z, 1.0), ["jv", "derivative"]),
    "where=": (lambda z: np.exp(z, where=z > 0), ["where=", "np.where(condition, a, b)"]),
    "out of bounds": (lambda z: z[7], ["out of bounds", "(3,)"]),
}


@pytest.mark.parametrize("what", UNRECORDED)
def test_what_cannot_be_recorded_says_what_to_write(what):
    function, words = UNRECORDED[what]

    def model():
        ppl.factor("f", np.sum(function(ppl.sample("z", dist.Normal(np.ones(3), 1).to_event(1)))))

    with pytest.raises(ppl.PPLError) as caught:
        ppl.infer(model, guide="meanfield", executor="numpy", progress=False)
    said(str(caught.value), words)


def test_seeds_are_whole_numbers_of_any_type():
    fits = [
        ppl.infer(latent_and_data, 1.0, seed=s, algorithm=ppl.BBVI(steps=20)) for s in (3, np.int64(3), np.uint8(3))
    ]
    assert len({float(f.params["mu.loc"]) for f in fits}) == 1
    draws = [
        ppl.prior_predictive(latent_and_data, 1.0, num_samples=np.int32(3), seed=s)["mu"] for s in (3, np.int64(3))
    ]
    assert np.array_equal(*draws)


def test_a_group_that_was_not_fitted_is_named():
    def model(group, y=None):
        with ppl.plate("groups", 3):
            a = ppl.sample("a", dist.Normal(0, 1))
        with ppl.plate("rows", len(group)):
            ppl.sample("y", dist.Normal(a[group], 1), obs=y)

    fit = ppl.infer(model, np.array([0, 1, 2, 1]), Y, algorithm=ppl.BBVI(steps=60), progress=False)
    with pytest.raises(ppl.ShapeError) as caught:
        fit.predict(np.array([0, 3]))
    said(str(caught.value), ["index 3", "3 in 'groups'", "prior", "dist.Normal(a[group], 1)"])
    assert fit.predict(np.array([2, 2]), num_samples=5)["y"].shape == (5, 2)


def test_an_error_of_the_models_own_comes_through_a_prediction():
    def model(y, good=True):
        if not good:
            raise ValueError("mine")
        latent_and_data(y)

    with pytest.raises(ValueError, match=r"^mine$"):
        quick(model).predict(1.0, good=False)


def test_a_marginal_of_what_is_missing_in_a_subsampled_plate():
    def model(y):
        m = mu()
        with ppl.plate("rows", len(y), subsample_size=2) as i:
            ppl.sample("y", dist.Normal(m, 1), obs=y[i])

    fit = quick(model, np.array([1.0, np.nan, 2.0, 0.5]))
    with pytest.raises(ppl.ModelError) as caught:
        fit["y_unobserved"]
    said(str(caught.value), ["try fit['y'], the completed observation"])
    assert fit["y"].mean.shape == (4,)


def test_a_minibatch_larger_than_its_plate_is_noted():
    def model(y):
        m = mu()
        with ppl.plate("rows", len(y), subsample_size=100) as i:
            ppl.sample("y", dist.Normal(m, 1), obs=y[i])

    with pytest.warns(UserWarning, match=r"plate 'rows': subsample_size=100 of 4 rows.*test_messages\.py"):
        quick(model, Y)


def test_every_error_says_what_to_try():
    """Of every error that is raised in the package: got, expected and try are all there."""
    kinds = {n for n, kind in vars(ppl.errors).items() if isinstance(kind, type) and issubclass(kind, ppl.PPLError)}
    raised, silent = 0, []
    for path in Path(ppl.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in kinds:
                continue
            raised += 1
            named = {k.arg: k.value for k in node.keywords}
            hint = named.get("hint", node.args[2] if len(node.args) > 2 else None)
            if hint is None or (isinstance(hint, ast.Constant) and not hint.value):
                silent.append(f"{path.name}:{node.lineno}")
    assert raised > 150 and not silent, silent


def test_a_branch_on_a_draw_under_the_numpy_executor():
    def model(y):
        ppl.sample("y", dist.Normal(1.0 if mu() > 0 else -1.0, 1), obs=y)

    with pytest.raises(ppl.ModelError) as caught:
        ppl.infer(model, 1.0, executor="numpy", progress=False)
    assert "truth" in str(caught.value) and "np.where" in str(caught.value) and "eager" in str(caught.value)


# -- numbers that stop being numbers ---------------------------------------------------------------
def explodes(y):
    m = ppl.sample("mu", dist.Normal(0, 1))
    ppl.sample("y", dist.Normal(np.log(m - 100.0), 1), obs=y)


def test_a_value_that_is_not_finite_names_the_term_and_keeps_the_state():
    with pytest.raises(ppl.NumericalError) as caught:
        ppl.infer(explodes, 1.0, progress=False)
    error = caught.value
    text = str(error)
    assert "not finite" in text and "p(y | mu)" in text and "expected" in text and "try" in text
    assert set(error.state) == {"mu.loc", "mu.scale"}
    assert all(np.all(np.isfinite(v)) for v in error.state.values())
    assert error.history is not None and len(error.history) > 0


def test_a_nan_that_comes_in_the_middle_of_a_run():
    """An early good state is what the error carries."""
    calls = []

    def model(y):
        m = ppl.sample("mu", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(np.sqrt(3.0 - m), 0.1), obs=y)

    try:
        fit = ppl.infer(
            model, 0.0, algorithm=ppl.BBVI(steps=3000, callback=lambda s, i: calls.append(s.step)), progress=False
        )
    except ppl.NumericalError as error:
        assert error.state and len(error.history) >= 1
    else:
        assert fit.verdict.word == "not trusted" or not fit.solution.notes
        assert np.all(np.isfinite(fit["mu"].mean))


# -- warnings that are no errors -------------------------------------------------------------------
def test_a_model_without_data_says_so_in_graph_and_verdict():
    def model(y=None):
        ppl.sample("y", dist.Normal(mu(), 1), obs=y)

    assert any("no observed site" in w for w in ppl.graph(model).warnings)
    fit = ppl.infer(model, progress=False)
    assert any("no observed site" in w for w in fit.verdict.warnings) and fit.verdict.word != "trusted"
    assert "misspelt" in str(fit.verdict)


def test_rows_without_a_plate_are_noted():
    def model(y):
        ppl.sample("y", dist.Normal(mu(), 1).expand([4]), obs=y)

    (warning,) = ppl.graph(model, Y).warnings
    assert "'y'" in warning and "4 rows" in warning and "ppl.plate" in warning
    vector = ppl.graph(lambda y: ppl.sample("y", dist.Normal(np.zeros(4), 1).to_event(1), obs=y), Y)
    assert vector.warnings == ()


def test_latent_vectors_outside_plates_are_silent():
    def model(y):
        w = ppl.sample("w", dist.Normal(np.zeros((2, 3)), 1))
        ppl.sample("y", dist.Normal(np.sum(w), 1), obs=y)

    assert ppl.graph(model, 1.0).warnings == ()


# -- what a run of its own would hide ------------------------------------------------------------------------
def test_numpys_global_randomness_inside_a_model_is_refused():
    def model(y):
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(z + np.random.normal(), 1.0), obs=y)

    with pytest.raises(ppl.ModelError, match=r"np\.random inside the model") as caught:
        ppl.infer(model, 0.3, progress=False)
    assert "ppl.sample" in str(caught.value)


def test_a_draw_of_an_earlier_run_is_refused():
    kept = []

    def model(y):
        kept.append(ppl.sample("z", dist.Normal(0.0, 1.0)))
        ppl.sample("y", dist.Normal(kept[0], 1.0), obs=y)

    with pytest.raises(ppl.ModelError, match="earlier run of the model"):
        ppl.infer(model, 0.3, progress=False)


def test_a_column_beside_a_vector_is_not_taken_for_all_pairs():
    x = np.arange(5.0)

    def model(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(x[:, None] * w, 1.0), obs=y)

    with pytest.raises(ppl.ShapeError, match=r"\(5, 1\)"):
        ppl.infer(model, x, x, progress=False)


@pytest.mark.parametrize("batch", [None, 10])
def test_a_shuffled_pandas_column_is_indexed_by_position(batch):
    pandas = pytest.importorskip("pandas")
    x = np.arange(50.0) / 10
    y = 3 * x + 0.1 * np.random.default_rng(0).normal(size=50)
    frame = pandas.DataFrame({"x": x, "y": y}).sample(frac=1, random_state=0)

    def model(x, y):
        w = ppl.sample("w", dist.Normal(0.0, 10.0))
        with ppl.plate("rows", len(y), subsample_size=batch) as i:
            ppl.sample("y", dist.Normal(x[i] * w, 1.0), obs=y[i])

    for rows in (frame, frame.iloc[10:40]):
        fit = ppl.infer(model, rows["x"].to_numpy(), rows["y"], progress=False)
        exact = (rows["x"] * rows["y"]).sum() / ((rows["x"] ** 2).sum() + 0.01)
        assert float(fit["w"].mean) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda z: z[3], "out of bounds"),
        (lambda z: np.sum(z, axis=2), "out of bounds"),
        (lambda z: np.reshape(z, (2, 2)), "reshape"),
        (lambda z: np.linalg.inv(np.outer(z, z)[:2]), "square"),
        (lambda z: np.squeeze(z, axis=0), "squeeze"),
    ],
)
def test_shapes_that_do_not_fit_are_said_in_words(wrong, said):
    def model():
        z = ppl.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        ppl.factor("f", np.sum(wrong(z)))

    with pytest.raises(ppl.ShapeError, match=said) as caught:
        ppl.infer(model, progress=False)
    assert "expected" in str(caught.value) and "test_messages.py" in str(caught.value)


def test_a_draw_may_be_printed_and_rounded():
    shown = []

    def model():
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        shown.append(f"{z:.3f} {z}")
        ppl.sample("y", dist.Normal(round(z, 1) * 0.0 + z, 1.0), obs=0.3)

    ppl.infer(model, guide="meanfield", algorithm=ppl.BBVI(steps=20), progress=False)
    assert "<recorded float64[]" in shown[0]
