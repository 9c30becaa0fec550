"""The JAX executor against NumPy's: the same programs to rounding, the same fits within their errors.

What only this executor has: noise of its own, many steps in one call, and whole runs that can be taken in any portions.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from executors.test_executors import CASES, close, ready
from hypothesis import HealthCheck, Phase, given, settings

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl import nn
from ppl.array.jax_executor import Loop, Noise, compile_with_jax, lowered
from tests.array.strategies import STRATEGIES

SIZE = 4
FEW = settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)


def test_without_jax_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)

    def model():
        ppl.sample("y", dist.Normal(ppl.sample("z", dist.Normal(0, 1)), 1), obs=1.0)

    for algorithm in ("bbvi", "dadvi"):
        with pytest.raises(ppl.ModelError, match="pip install"):
            ppl.infer(model, algorithm=algorithm, executor="jax", progress=False)


jax = pytest.importorskip("jax")


# -- programs --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_programs_agree(name):
    d, values, objective, noise, rows = ready(name)
    program = objective.gradient(SIZE)
    inputs = [*(d.rows_of(n, x, rows) for n, x in values.items()), *objective.rest_of(rows, noise), *objective.start]
    with np.errstate(all="ignore"):
        expected = A.compile_program(program)(*inputs)
    for got, want in zip(compile_with_jax(program)(*inputs), expected, strict=True):
        close(got, want, 1e-8)


def _single(call):
    inputs = [call.row(0)[i] for i in call.open()]
    with np.errstate(all="ignore"):
        program = A.record(lambda *x: call(*x), inputs)
        return program, inputs, A.compile_program(program)(*inputs)


@pytest.mark.slow
@pytest.mark.parametrize("function", STRATEGIES, ids=lambda f: f"{getattr(f, '__module__', '')}.{f.__name__}")
@pytest.mark.filterwarnings("ignore")
def test_operations_agree(function):
    @FEW
    @given(STRATEGIES[function])
    def law(call):
        try:
            program, inputs, expected = _single(call)
        except Exception:  # what cannot be recorded is another test's
            return
        narrow = any(s.dtype == np.float32 for s in program.steps)
        for got, want in zip(compile_with_jax(program)(*inputs), expected, strict=True):
            assert got.dtype == np.asarray(want).dtype
            close(got, want, 2e-4 if narrow else 1e-8)

    law()


def test_constants_are_arguments():
    """Programs that differ in numbers alone are compiled once."""
    program = lambda c: A.record(lambda x: (np.exp(x * c),), [np.zeros(3)])
    first, second = (Loop(program(np.array([1.0, 2.0, c])), 1, ()) for c in (4.0, 3.0))
    assert first.form == second.form and len(lowered(first.program)[0]) == 1
    assert first.form != Loop(program(np.full((), 2.0)), 1, ()).form


# -- noise -----------------------------------------------------------------------------------------
def drawn(noise: Noise, count: int = 400) -> np.ndarray:
    """Noise of many steps, (steps, particles, ...)."""
    program = A.record(lambda x, e: (x, e), [np.zeros(()), np.zeros((noise.particles, *noise.shape))])
    return Loop(program, 1, (noise,)).run([0.0], 3, 0, [], count)[1][0]


@pytest.mark.parametrize("particles", [1, 2, 5, 24])
@pytest.mark.parametrize("independent", [True, False])
def test_normal_noise(particles, independent):
    e = drawn(Noise("normal", particles, (3,), independent))
    flat = np.sort(e.ravel())
    from scipy import stats

    n = len(flat)
    # Pairs and strata make averages vary less, never more, than those of independent draws.
    assert abs(flat.mean()) < 4 / n**0.5 and abs(flat.var() - 1) < 4 * (2 / n) ** 0.5
    assert stats.kstest(flat, "norm").statistic < 1.95 / n**0.5 * (1.0 if independent else 1.5)
    if not independent and particles > 1:
        half = particles // 2
        np.testing.assert_array_equal(e[:, :half], -e[:, half : 2 * half])
    else:
        assert len(np.unique(np.abs(flat))) == n


def test_uniform_noise_is_mirrored_where_it_is_asked_for():
    u = drawn(Noise("uniform", 5, (2,), True, True))
    assert np.all((u > 0) & (u < 1)) and abs(u.mean() - 0.5) < 4 * (1 / 12 / u.size) ** 0.5
    np.testing.assert_allclose(u[:, 1::2], 1 - u[:, :4:2])


# -- fits ------------------------------------------------------------------------------------------
Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
S = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def schools(y=Y, s=S):
    mu, tau = ppl.sample("mu", dist.Normal(0, 5)), ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", 8):
        t = ppl.sample("t", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(mu + tau * t, s), obs=y)


def both(model, *args, **options):
    return [ppl.infer(model, *args, executor=e, progress=False, **options) for e in ("numpy", "jax")]


def agree(model, *args, sites=("mu",), tolerance=0.1, **options):
    """Two guides whose quartiles differ by less than so much of the distance between these."""
    one, two = both(model, *args, **options)
    assert (one.executor, two.executor) == ("numpy", "jax")
    draws = [f.sample(20_000, seed=1, resample=False) for f in (one, two)]
    for site in sites:
        a, b = (np.percentile(x[site], [25, 50, 75], axis=0) for x in draws)
        assert np.all(np.abs(a - b) < tolerance * (a[2] - a[0])), site
    assert abs(one.elbo - two.elbo) < 4 * np.hypot(one.elbo_se, two.elbo_se) + 0.02
    return one, two


@pytest.mark.parametrize("guide", ["meanfield", "fullrank", "lowrank"])
def test_gaussian_guides(guide):
    agree(schools, sites=("mu", "tau", "t"), guide=guide, algorithm="bbvi")


@pytest.mark.parametrize("algorithm", ["dadvi", "laplace", "map"])
def test_algorithms_without_noise_agree_to_rounding(algorithm):
    one, two = both(schools, algorithm=algorithm)
    assert two.executor == "jax"
    for name, x in one.params.items():
        np.testing.assert_allclose(two.params[name], x, rtol=1e-6, atol=1e-6)


def test_scores_minibatches_and_rows():
    rng = np.random.default_rng(0)
    group = rng.random(200) < 0.3
    y = np.where(group, 2.0, -1.0) + rng.normal(0, 0.5, 200)

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 3))
        with ppl.plate("rows", 200, subsample_size=50) as i:
            b = ppl.sample("b", dist.Bernoulli(0.3), estimator="score")
            ppl.sample("y", dist.Normal(mu + 3.0 * b, 0.5), obs=y[i])

    one, two = agree(model, y, algorithm=ppl.BBVI(steps=4000), tolerance=0.5)
    np.testing.assert_allclose(two["b"].mean, one["b"].mean, atol=0.1)


def test_loops_over_time():
    y = np.cumsum(np.random.default_rng(0).normal(size=30))

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        scale = ppl.sample("scale", dist.LogNormal(0, 0.5))

        def step(x, y_t):
            ppl.sample("y", dist.Normal(x + mu, scale), obs=y_t)
            return y_t, None

        ppl.scan(step, 0.0, y)

    agree(model, y, sites=("mu", "scale"), guide="meanfield", algorithm="bbvi")


def test_float32():
    one, two = both(
        schools, Y.astype(np.float32), S.astype(np.float32), algorithm=ppl.BBVI(steps=300), guide="meanfield"
    )
    assert two.solution.objective.derivation.program.dtype == np.float32
    assert abs(one["mu"].mean - two["mu"].mean) < 0.2 * one["mu"].sd


def test_bounds_and_weights():
    agree(schools, guide="meanfield", algorithm=ppl.BBVI(bound=ppl.IWAE(4), steps=1500), tolerance=0.2)
    schedule = lambda step: min(1.0, 0.01 * step)
    agree(schools, guide="meanfield", algorithm=ppl.BBVI(weights={"t": schedule}, steps=1500), tolerance=0.2)


def test_a_run_is_the_same_in_any_portions(tmp_path):
    """With a callback steps are taken one by one; without, fifty at once; and from a checkpoint."""
    options = {"guide": "meanfield", "executor": "jax", "progress": False}
    whole = ppl.infer(schools, algorithm=ppl.BBVI(steps=120), **options)
    seen = []
    each = ppl.infer(schools, algorithm=ppl.BBVI(steps=120, callback=lambda s, i: seen.append(i.elbo)), **options)
    np.testing.assert_allclose(each.history, whole.history, rtol=1e-12)
    assert seen == list(each.history)
    again = ppl.infer(schools, algorithm=ppl.BBVI(steps=120), **options)
    np.testing.assert_array_equal(again.history, whole.history)
    first = ppl.infer(schools, algorithm=ppl.BBVI(steps=70), **options)
    first.save(tmp_path / "fit.npz")
    second = ppl.load(tmp_path / "fit.npz", schools).resume(steps=50)
    assert second.executor == "jax"
    np.testing.assert_allclose(second.history, whole.history, rtol=1e-12)


def test_steps_that_are_not_finite_are_left_out():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.factor("f", np.where(z > 1.2, np.nan, -0.5 * z**2))

    fit = ppl.infer(
        model, algorithm=ppl.BBVI(steps=200, particles=2, init={}), guide="meanfield", executor="jax", progress=False
    )
    assert fit.solution.run.state.skipped > 0 and np.all(np.isfinite(fit.params["z.loc"]))
    assert np.sum(~np.isfinite(fit.history)) == fit.solution.run.state.skipped


def test_auto_takes_jax_where_a_step_costs_much():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60_000, 40)).astype(np.float32)
    y = (x[:, 0] > 0) * 1.0

    def model(x, y):
        w = ppl.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
        with ppl.plate("rows", len(x)):
            ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    algorithm = ppl.BBVI(steps=60, particles=16, init={"w.loc": np.zeros(40)})
    fit = ppl.infer(model, x, y, algorithm=algorithm, guide="meanfield", progress=False)
    assert fit.executor == "jax" and "executor: jax, because a step counts" in fit.explain()
    small = ppl.infer(model, x[:500], y[:500], algorithm=algorithm, guide="meanfield", progress=False)
    assert small.executor == "numpy"


def test_rows_are_read_from_files_as_they_are_used(tmp_path):
    rows = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float64, (500,))
    rows[:] = np.random.default_rng(0).normal(3.0, 1.0, 500)

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 10))
        with ppl.plate("rows", 500, subsample_size=20) as i:
            ppl.sample("y", dist.Normal(mu, 1), obs=y[i])

    fit = ppl.infer(model, rows, algorithm=ppl.BBVI(steps=1000), guide="meanfield", executor="jax", progress=False)
    assert abs(fit["mu"].mean - rows.mean()) < 0.05


def test_training_with_states_and_clipping():
    """A network trained by either executor: the same fit to the data, and the same run in any portions."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (400, 1)).astype(np.float32)
    y = (np.sin(x[:, 0]) + 0.1 * rng.normal(size=400)).astype(np.float32)

    def model(x, y):
        seen = ppl.state("seen", np.zeros((), np.float32))
        with ppl.plate("rows", len(x), subsample_size=50) as i:
            mean = ppl.module("net", nn.MLP(1, 20, 1))(x[i])[:, 0]
            ppl.sample("y", dist.Normal(mean, 0.1), obs=y[i])
        seen.update(seen.value + 1.0)

    def trained(executor, **settings):
        algorithm = ppl.BBVI(epochs=100, clip=1e4, optimizer=ppl.optim.Adam(0.01), **settings)
        return ppl.infer(model, x, y, algorithm=algorithm, executor=executor, progress=False)

    one, two = trained("numpy"), trained("jax")
    assert (one.executor, two.executor) == ("numpy", "jax") and len(one.history) == len(two.history) == 800
    assert one.params["seen"] == two.params["seen"] == 800
    # The rows of a step are the same, and nothing else is drawn: rounding alone tells the two apart.
    np.testing.assert_allclose(two.history[:20], one.history[:20], rtol=1e-3)
    assert abs(two.history[-80:].mean() - one.history[-80:].mean()) < 0.1 * abs(one.history[0])
    infos = []
    each = trained("jax", callback=lambda state, info: infos.append(info))
    np.testing.assert_allclose(each.history, two.history, rtol=1e-4)
    assert infos[0].gradient_norm > 0 and infos[-1].rate == 0.01 and infos[-1].epoch == 100
