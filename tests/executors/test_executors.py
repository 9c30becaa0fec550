"""One program, three ways to run it: compiled, interpreted, and batched over particles. All agree to rounding.

Where a model has no branches, the eager objective is the same numbers again.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from data_folder import why_absent
from elbo.zoo import ZOO
from posteriors.models import POSTERIORDB, POSTERIORS

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl.elbo import EagerObjective, Objective, choose, derive, problem
from ppl.elbo.estimators.score import leave_one_out

SIZE = 4
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def eight_schools(guide):
    m = example("eight_schools")
    return m.eight_schools, (m.ERROR,), {"y": m.EFFECT}, guide


def logistic(guide):
    m = example("logistic_regression")
    rng = np.random.default_rng(0)
    return m.logistic_regression, (rng.normal(size=(20, 3)),), {"y": (rng.random(20) < 0.5) * 1.0}, guide


def varying():
    m = example("varying_intercepts")
    hours, score, group, _ = m.generate()
    return m.varying_intercepts, (hours, group, len(m.SIZES)), {"score": score}, "meanfield"


def robust():
    m = example("discrete_latent")
    x, y = m.generate()

    def sampled(x, y):  # an eager run has no states to sum out
        a, b = (ppl.sample(name, dist.Normal(0, 10)) for name in "ab")
        with ppl.plate("points", len(x)):
            wrong = ppl.sample("wrong", dist.Bernoulli(probs=m.RATE), estimator="score")
            ppl.sample("y", dist.Normal(a + b * x, np.where(wrong == 1, m.WILD, m.NOISE)), obs=y)

    return sampled, (x,), {"y": y}, "meanfield"


def mixture(which):
    m = example("mixture_guide")
    return m.square, (m.X,), {}, getattr(m, which)


def subsampled():
    rng = np.random.default_rng(0)
    y = rng.normal(size=12)

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 12, subsample_size=5) as i:
            z = ppl.sample("z", dist.Normal(mu, 1.0))
            ppl.sample("y", dist.Normal(z, 0.5), obs=y[i])

    return model, (y,), {}, "meanfield"


def scanned():
    y = np.random.default_rng(0).normal(size=7)

    def model(y):
        tau = ppl.sample("tau", dist.LogNormal(0.0, 0.3))

        def step(carry, y_t):
            z, level = carry
            z = ppl.sample("z", dist.Normal(0.5 * z, tau))
            level = np.tanh(0.7 * level + z)
            ppl.sample("y", dist.Normal(level, 1.0), obs=y_t)
            return (z, level), level

        ppl.scan(step, (0.0, 0.0), y)

    return model, (y,), {}, "meanfield"


def linear_algebra():
    y = np.random.default_rng(0).normal(size=4)

    def model(y):
        scale = ppl.sample("scale", dist.LogNormal(0.0, 0.2))
        x = np.arange(4.0)
        cov = np.exp(-0.5 * (x[:, None] - x) ** 2 / scale**2) + 0.3 * np.eye(4)
        f = ppl.sample("f", dist.MultivariateNormal(np.zeros(4), covariance_matrix=cov))
        ppl.sample("y", dist.StudentT(4.0, np.sort(f), 0.5).to_event(1), obs=y)

    return model, (y,), {}, "fullrank"


CASES = {
    **{f"zoo: {row.label}": lambda row=row: (row.model, (), {}, row.guide) for row in ZOO},
    "eight schools, meanfield": lambda: eight_schools("meanfield"),
    "eight schools, fullrank": lambda: eight_schools("fullrank"),
    "logistic regression, meanfield": lambda: logistic("meanfield"),
    "logistic regression, fullrank": lambda: logistic("fullrank"),
    "varying intercepts": varying,
    "discrete latent": robust,
    "one bump": lambda: mixture("one_bump"),
    "two bumps": lambda: mixture("two_bumps"),
    "subsampled rows": subsampled,
    "a scan": scanned,
    "linear algebra": linear_algebra,
}
# The models of real posteriors, where their data are.
if why_absent(POSTERIORDB) is None:
    CASES |= {f"posterior: {p.name}": lambda p=p: (p.model, p.arguments(p.data()), {}, "meanfield") for p in POSTERIORS}
AT = {f"zoo: {row.label}": row.at for row in ZOO}


def noise_of(d, seed=0, size=SIZE):
    rng, out = np.random.default_rng(seed), {}
    for f in d.factors:
        shape = (size, *f.noise_shape)
        if f.noise_kind == "normal":
            out[f.name] = rng.standard_normal(shape)
        elif f.noise_kind == "uniform":
            out[f.name] = rng.uniform(0.05, 0.95, shape)
        else:
            out[f.name] = rng.integers(0, 2**62, shape)
    return out


def rows_of(d):
    return {n: np.arange(d.plates[n].subsample_size) for n in d.index_inputs}


def prepared(name):
    """(problem, guide, derivation or None where it branches, parameter values)."""
    model, args, kwargs, guide = CASES[name]()
    at = AT.get(name, {})
    try:
        p = problem(model, args, kwargs)
        d = derive(p, guide, starts=at)
    except A.BranchOnDraw:
        p = problem(model, args, kwargs, eager=True)
        return p, guide, None, at
    return p, guide, d, {n: x.init for n, x in d.parameters.items()}


def ready(name):
    """What the laws of models without branches need."""
    _, _, d, values = prepared(name)
    if d is None:
        pytest.skip("branches on a draw")
    return d, values, Objective(d, choose(d)), noise_of(d), rows_of(d)


def close(got, expected, tolerance=1e-9):
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    assert got.shape == expected.shape
    scale = 1 + np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("name", CASES)
def test_compiled_interpreted_and_batched_agree(name):
    d, values, objective, noise, rows = ready(name)
    with np.errstate(all="ignore"):
        bounds, terms, weights = objective.evaluate(values, rows, noise, SIZE)
        compiled, slopes = A.compile_program(objective.values), A.compile_program(objective.particle_gradient)
        centred = [leave_one_out(w) for w in weights]
        grads = objective.contributions(values, rows, noise, centred, SIZE)
        for k in range(SIZE):
            inputs = d.inputs(values, rows, {n: e[k] for n, e in noise.items()})
            one, interpreted = compiled(*inputs), A.run(objective.values, *inputs)
            for a, b, c in zip(one, interpreted, (bounds, terms, *weights), strict=True):
                close(a, b)
                close(c[k], b)
            own = [c[k] for c in centred]
            for n, a, b, c in zip(
                values,
                slopes(*inputs, *own)[1:],
                A.run(objective.particle_gradient, *inputs, *own)[1:],
                grads,
                strict=True,
            ):
                close(a, b)
                close(c[k], d.all_rows(n, np.asarray(b)[None], rows)[0], 1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_program_of_the_optimizer_is_the_mean_over_particles(name):
    d, values, objective, noise, rows = ready(name)
    with np.errstate(all="ignore"):
        bounds, _, weights = objective.evaluate(values, rows, noise, SIZE)
        grads = objective.contributions(values, rows, noise, [leave_one_out(w) for w in weights], SIZE)
        program = objective.gradient(SIZE)
        inputs = [*(d.rows_of(n, x, rows) for n, x in values.items()), *d.other_inputs(rows, noise)]
        for found in (A.compile_program(program)(*inputs), A.run(program, *inputs)):
            close(np.mean(found[1]), np.mean(bounds))
            for n, got, g in zip(values, found[2:], grads, strict=True):
                close(d.all_rows(n, np.asarray(got)[None], rows)[0], np.mean(g, 0), 1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_eager_objective_gives_the_same_numbers(name):
    p, guide, d, values = prepared(name)
    if d is None:
        pytest.skip("branches on a draw")
    objective = Objective(d, choose(d))
    noise, rows = noise_of(d), rows_of(d)
    eager = EagerObjective(p, guide, values)
    bounds, grads = eager.contributions(values, rows, noise, SIZE)
    with np.errstate(all="ignore"):
        expected, _, weights = objective.evaluate(values, rows, noise, SIZE)
        close(bounds, expected)
        assert len(eager.paths) == 1
        if any(np.ndim(w) > 1 for w in weights) or len({n for _, n in objective.weights}) < len(weights):
            return  # eager takes one baseline for all elements of a factor: another estimate of the same gradient
        slopes = objective.contributions(values, rows, noise, [leave_one_out(w) for w in weights], SIZE)
    for got, name_of in zip(slopes, d.parameter_inputs, strict=True):
        close(grads[name_of], got, 1e-8)


def test_branches_and_where_are_the_same_bound():
    """A coin with an if, and the same coin without, at equal noise."""
    _, _, d, values = prepared("zoo: coin")
    q, other, none, at = prepared("zoo: coin, with if")
    assert none is None
    noise = noise_of(d, size=50)
    values = {"p": np.asarray(0.4)}
    bounds, grads = EagerObjective(q, other, at).contributions(values, {}, noise, 50)
    objective = Objective(d, choose(d))
    expected, _, weights = objective.evaluate(values, {}, noise, 50)
    close(bounds, expected)
    slopes = objective.contributions(values, {}, noise, [leave_one_out(w) for w in weights], 50)
    close(grads["p"], slopes[0], 1e-8)


def test_every_branching_row_has_a_finite_eager_bound():
    for name in CASES:
        p, guide, d, values = prepared(name)
        if d is None:
            eager = derive(p, guide, starts=values, eager=True)
            inits = {n: x.init for n, x in eager.parameters.items()}
            bounds, grads = EagerObjective(p, guide, values).contributions(inits, rows_of(eager), noise_of(eager), SIZE)
            assert np.all(np.isfinite(bounds)) and all(np.all(np.isfinite(g)) for g in grads.values())


def test_executors_of_a_fit_agree():
    """A conjugate model: both ways end at the exact posterior."""
    y = np.random.default_rng(0).normal(size=10) + 1.0

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0.0, 2.0))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(mu, 1.0), obs=y)

    precision = 10 + 0.25
    for executor in ("numpy", "eager"):
        fit = ppl.infer(model, y, executor=executor, guide="meanfield", progress=False)
        assert float(fit["mu"].mean) == pytest.approx(y.sum() / precision, abs=0.03)
        assert float(fit["mu"].sd) == pytest.approx(precision**-0.5, rel=0.1)


def test_long_programs_are_cut_without_a_change(monkeypatch):
    from ppl.array import numpy_executor

    for name in ("varying intercepts", "a scan", "zoo: clusters: mu[z]"):
        _, _, d, values = prepared(name)
        program = Objective(d, choose(d)).gradient(SIZE)
        objective = Objective(d, choose(d))
        inputs = [*values.values(), *objective.derivation.other_inputs(rows_of(d), noise_of(d))]
        with np.errstate(all="ignore"):
            whole = A.compile_program(program)(*inputs)
            monkeypatch.setattr(numpy_executor, "CHUNK", 5)
            cut = A.compile_program(program)(*inputs)
            monkeypatch.undo()
        for a, b in zip(whole, cut, strict=True):
            np.testing.assert_array_equal(a, b)
