"""Every mistake in a model or a guide has its error: site or plate, got, expected, try, and the user's line."""

from __future__ import annotations

import re

import numpy as np
import pytest

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
    "a draw stored in an array": (stored, ppl.ModelError, None, ["float()"]),
}


def check(error, kind, name, words):
    text = str(error)
    assert isinstance(error, kind), text
    assert "got " in text and "expected " in text, text
    if name is not None:
        assert f"'{name}'" in text, text
    for word in words:
        assert word in text, (word, text)
    assert re.search(r"\n  at test_messages\.py:\d+: \S", text), text


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
        f"a gradient's argument called {n}": (lambda n=n: ppl.gradient(named(n), 1.0), [f"'{n}'", "ppl.gradient"])
        for n in ("params", "estimators", "particles")
    },
    **{
        f"a prior predictive's argument called {n}": (
            lambda n=n: ppl.prior_predictive(named(n), 1.0),
            [f"'{n}'", "prior_predictive"],
        )
        for n in ("num_samples", "sizes")
    },
}


def quick():
    return ppl.infer(latent_and_data, 1.0, algorithm=ppl.BBVI(steps=60), progress=False)


@pytest.mark.parametrize("label", CALLS)
def test_mistakes_in_a_call(label):
    call, words = CALLS[label]
    with pytest.raises(ppl.PPLError) as caught:
        call()
    text = str(caught.value)
    assert "got " in text and "expected " in text, text
    for word in words:
        assert word in text, (word, text)


def test_a_call_that_does_not_fit_the_model():
    with pytest.raises(ppl.ModelError, match=r"(?s)'y'.*expected latent_and_data\(y\).*try"):
        ppl.infer(latent_and_data, progress=False)


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
