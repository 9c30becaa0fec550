"""Derivatives through recorded arrays: in the value, in every parameter, and along draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import ppl.distributions as dist
from ppl import array as A
from ppl.elbo.flow import flow
from ppl.errors import ModelError

from .registry import ALL_ROWS, Row, interior_value
from .registry.bounded import BOUNDED
from .registry.positive import POSITIVE
from .registry.real import REAL
from .test_divergence import SCALAR_PAIRS, VECTOR_PAIRS
from .test_transforms import TRANSFORMS

STEP = 1e-6


def is_float(x) -> bool:
    return np.asarray(x).dtype.kind == "f"


def direction(x, seed: int, like=None):
    """A random direction; for a matrix, one that keeps its kind."""
    step = np.random.default_rng(seed).normal(size=np.shape(x))
    if like == "tril":
        return np.tril(step)
    return step + np.swapaxes(step, -2, -1) if like == "symmetric" else step


KINDS = {dist.constraints.lower_cholesky: "tril", dist.constraints.positive_definite: "symmetric"}


def matrix_kind(d: dist.Distribution, leaf) -> str | None:
    """What a step of a parameter must keep: a triangle, or symmetry."""
    names = [name for name, value in d.parameters.items() if value is leaf]
    return KINDS.get(d.arg_constraints.get(names[0])) if names else None


def check(fun, inputs, wrt, kinds, tolerance=2e-5):
    """The recorded gradient along random directions against central differences."""
    program = A.record(lambda *xs: (np.sum(fun(*xs)),), inputs)
    run = A.compile_program(program)
    value, *gradients = A.compile_program(A.gradient(program, wrt))(*inputs)
    np.testing.assert_allclose(value, np.sum(fun(*inputs)), rtol=1e-9)
    for i, gradient, kind in zip(wrt, gradients, kinds, strict=True):
        size = np.abs(inputs[i])
        step = direction(inputs[i], i, kind) * np.where((size > 1e3) | ((size < 0.05) & (size > 0.0)), size, 1.0)
        ends = [run(*inputs[:i], inputs[i] + sign * STEP * step, *inputs[i + 1 :])[0] for sign in (1, -1)]
        numerical = (ends[0] - ends[1]) / (2 * STEP)
        scale = max(abs(numerical), np.max(np.abs(gradient), initial=0.0), abs(float(value)) * 1e-4, 1.0)
        assert np.all(np.isfinite(gradient))
        assert np.sum(gradient * step) == pytest.approx(numerical, abs=tolerance * scale), f"argument {i}"


def leaves_of(row: Row):
    leaves, rebuild = row.d.tree_flatten()
    return [np.asarray(leaf) for leaf in leaves], [matrix_kind(row.d, leaf) for leaf in leaves], rebuild


# A support that ends at a parameter moves under the finite difference; its rows have interior values.
DIFFERENTIABLE = [row for row in ALL_ROWS if not isinstance(row.d, (dist.ImproperUniform, dist.Unit))]
# At these a step leaves the set in which the parameter makes sense, on which alone the formula is smooth.
ONE_SIDED = {"Binomial-4", "Binomial-5", "Bernoulli-5", "Geometric-3", "Categorical-3"}


@pytest.mark.parametrize("row", [r for r in DIFFERENTIABLE if r.label not in ONE_SIDED], ids=str)
def test_log_density_in_value_and_parameters(row: Row):
    leaves, kinds, rebuild = leaves_of(row)
    value = np.asarray(interior_value(row))
    if isinstance(row.d, (dist.Delta, dist.MaskedDistribution)):
        wrt = [1 + i for i, leaf in enumerate(leaves) if is_float(leaf) and not np.array_equal(leaf, value[0])]
    else:
        wrt = ([0] if is_float(value) and not row.d.is_discrete else []) + [
            1 + i for i, leaf in enumerate(leaves) if is_float(leaf)
        ]
    check(lambda x, *ps: rebuild(ps).log_prob(x), [value, *leaves], wrt, [([None] + kinds)[i] for i in wrt])


@pytest.mark.parametrize("row", [r for r in DIFFERENTIABLE if r.d.reparameterized], ids=str)
def test_draws_in_parameters(row: Row):
    leaves, kinds, rebuild = leaves_of(row)
    wrt = [1 + i for i, leaf in enumerate(leaves) if is_float(leaf)]
    noise = row.d.draw_noise(0, (4,))
    check(lambda u, *ps: rebuild(ps).from_noise(u), [noise, *leaves], wrt, [([None] + kinds)[i] for i in wrt])


@pytest.mark.parametrize("row", [r for r in ALL_ROWS if r.d.has("entropy")], ids=str)
def test_entropy_in_parameters(row: Row):
    leaves, kinds, rebuild = leaves_of(row)
    if row.label in ONE_SIDED or any(np.any((leaf == 0) | (leaf == 1)) for leaf in leaves[:1] if row.d.is_discrete):
        return  # p log p has no derivative at 0
    wrt = [i for i, leaf in enumerate(leaves) if is_float(leaf)]
    check(lambda *ps: rebuild(ps).entropy(), leaves, wrt, [kinds[i] for i in wrt])


def run_recorded(fun, inputs):
    return A.compile_program(A.record(lambda *xs: (fun(*xs),), inputs))(*inputs)[0]


@pytest.mark.parametrize("row", ALL_ROWS, ids=str)
def test_recorded_and_concrete_agree(row: Row):
    leaves, _, rebuild = leaves_of(row)
    value = np.asarray(interior_value(row))
    expected = row.d.log_prob(value)
    for recorded in (
        run_recorded(lambda x, *ps: rebuild(ps).log_prob(x), [value, *leaves]),
        run_recorded(row.d.log_prob, [value]),
        run_recorded(lambda *ps: rebuild(ps).log_prob(value), leaves) if leaves else expected,
    ):
        assert recorded.shape == expected.shape
        np.testing.assert_allclose(recorded, expected, rtol=1e-12)


@pytest.mark.parametrize("row", [r for r in ALL_ROWS if r.d.noise is not None], ids=str)
def test_recorded_and_concrete_draws_agree(row: Row):
    leaves, _, rebuild = leaves_of(row)
    noise = row.d.draw_noise(0, (4,))
    expected = row.d.from_noise(noise)
    for recorded in (
        run_recorded(lambda u, *ps: rebuild(ps).from_noise(u), [noise, *leaves]),
        run_recorded(row.d.from_noise, [noise]),
        run_recorded(lambda *ps: rebuild(ps).from_noise(noise), leaves),
    ):
        assert (recorded.shape, recorded.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(recorded, expected, rtol=1e-12)


def every_executor(fun, inputs):
    """What the compiled, the interpreted and the batched program give; rows of the batch have noise of their own."""
    program = A.record(lambda *xs: (fun(*xs),), inputs)
    yield A.compile_program(program)(*inputs)[0]
    yield A.run(program, *inputs)[0]
    flags = [True] + [False] * (len(inputs) - 1)
    several = A.compile_program(A.batch(program, flags, 2))(np.stack([inputs[0][::-1], inputs[0]]), *inputs[1:])[0]
    yield several[1]
    yield several[0][::-1]


@pytest.mark.parametrize("row", ALL_ROWS, ids=str)
def test_every_executor_gives_the_same_numbers(row: Row):
    leaves, _, rebuild = leaves_of(row)
    value = np.asarray(interior_value(row))
    expected = row.d.log_prob(value)
    for found in every_executor(lambda x, *ps: rebuild(ps).log_prob(x), [value, *leaves]):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    if row.d.noise is not None:
        noise = row.d.draw_noise(0, (4,))
        expected = row.d.from_noise(noise)
        for found in every_executor(lambda u, *ps: rebuild(ps).from_noise(u), [noise, *leaves]):
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("row", ALL_ROWS, ids=str)
def test_recorded_and_concrete_moments_agree(row: Row):
    leaves, _, rebuild = leaves_of(row)
    for name in ("mean", "variance", "mode"):
        if row.d.has(name) and leaves:
            recorded = run_recorded(lambda *ps, name=name: getattr(rebuild(ps), name), leaves)
            np.testing.assert_allclose(recorded, getattr(row.d, name), rtol=1e-12)


def test_a_fixed_support_is_recorded_without_comparisons():
    for d in (dist.Gamma(2.0, 1.0), dist.Beta(2.5, 1.0), dist.Uniform(0.0, 3.0), dist.LogNormal()):
        program = A.record(lambda x, d=d: (d.log_prob(x),), [0.5])
        assert not any(A.discontinuous(step.fun, step.args) for step in program.steps)


def test_a_support_that_moves_is_recorded_with_its_comparison():
    program = A.record(lambda z: (dist.Uniform(0.0, z).log_prob(1.0),), [2.0])
    assert any(A.discontinuous(step.fun, step.args) for step in program.steps)
    run = A.compile_program(A.gradient(program, [0]))
    np.testing.assert_allclose(run(2.0), [-np.log(2.0), -0.5])
    np.testing.assert_allclose(run(0.5), [-np.inf, 0.0])


def test_gradients_outside_the_support_are_not_nan():
    value = np.array([-1.0, 2.0])
    program = A.record(lambda a, b: (np.sum(dist.Gamma(a, b).log_prob(value)),), [2.5, 1.0])
    result, *gradients = A.compile_program(A.gradient(program, [0, 1]))(2.5, 1.0)
    assert result == -np.inf
    assert not np.any(np.isnan(gradients))


def test_normal_is_a_handful_of_operations():
    program = A.record(lambda x, m, s: (dist.Normal(m, s).log_prob(x),), [0.5, 0.0, 1.0])
    assert len(program.steps) <= 7


@pytest.mark.parametrize(("t", "shape"), TRANSFORMS, ids=lambda v: str(v)[:60])
def test_transforms_and_their_jacobians(t, shape):
    x = np.random.default_rng(0).normal(size=(3, *shape))
    weights = np.random.default_rng(1).normal(size=t.forward_shape(x.shape))
    check(lambda x: np.sum(weights * t(x)), [x], [0], [None])
    check(lambda x: np.sum(t.log_abs_det_jacobian(x, t(x))), [x], [0], [None])
    np.testing.assert_allclose(run_recorded(t.inverse, [t(x)]), x, atol=1e-9)


def has_moving_transform(d) -> bool:
    """Two recorded transforms are never known to be equal, so such a pair has no closed form."""
    return isinstance(d, dist.TransformedDistribution) and bool(d.transform.tree_flatten()[0])


@pytest.mark.parametrize(
    ("q", "p"),
    [pair for pair in SCALAR_PAIRS + VECTOR_PAIRS if not has_moving_transform(pair[0])],
    ids=lambda d: type(d).__name__,
)
def test_kl_in_parameters(q, p):
    (q_leaves, q_rebuild), (p_leaves, p_rebuild) = q.tree_flatten(), p.tree_flatten()
    kinds = [matrix_kind(q, leaf) for leaf in q_leaves] + [matrix_kind(p, leaf) for leaf in p_leaves]
    inputs, split = [np.asarray(leaf) for leaf in (*q_leaves, *p_leaves)], len(q_leaves)
    # q log q has no derivative at 0, nor has the KL where the supports touch.
    ends = (0, 1) if isinstance(q, dist.Uniform) else (0,)
    wrt = [i for i, leaf in enumerate(inputs) if i >= split or not np.any(np.isin(leaf, ends))]
    counts = isinstance(q, dist.Binomial | dist.BetaBinomial | dist.ZeroInflatedDistribution)
    wrt = [i for i in wrt if not counts or inputs[i].dtype.kind == "f"]  # nor has it one in a number of trials

    def of(moving):
        def divergence(*xs):
            full = list(inputs)
            for i, x in zip(moving, xs, strict=True):
                full[i] = x
            return dist.kl_divergence(q_rebuild(full[:split]), p_rebuild(full[split:]))

        return divergence, [inputs[i] for i in moving]

    def is_known(moving):
        divergence, variables = of(moving)
        try:
            A.record(lambda *xs: (divergence(*xs),), variables)
        except ModelError:
            return False
        return True

    moving = list(range(len(inputs)))
    if not is_known(moving):  # known where some arguments are, which then are no variables
        moving = [i for i in moving if is_known([i])]
    wrt = [i for i in wrt if i in moving]
    assert wrt
    check(*of(moving), [moving.index(i) for i in wrt], [kinds[i] for i in wrt])


# -- pathwise gradients of scalars --------------------------------------------------------------------------------
@pytest.mark.parametrize("row", REAL + POSITIVE + BOUNDED, ids=str)
def test_no_draw_of_a_continuous_scalar_jumps_in_its_parameters(row: Row):
    """So the pathwise gradient is right, and no score function is needed; but of truncations without a quantile."""
    if type(row.d) is dist.TruncatedDistribution and not row.d.base_dist.has("icdf"):
        assert not row.d.reparameterized and row.d.noise is None
        return
    assert row.d.reparameterized
    leaves, _, rebuild = leaves_of(row)
    program = A.record(lambda u, *ps: (rebuild(ps).from_noise(u),), [row.d.draw_noise(0), *leaves])
    bits = {1 + i: 1 << i for i in range(len(leaves))}
    positive = [i for i, leaf in enumerate(leaves, 1) if np.all(leaf > 0)]
    _, jumps = flow(program, {}, bits, positive).of(program.outputs[0])
    assert jumps == 0


SIZES = (1e-3, 0.04, 1.0, 7.3, 150.0, 1e4)
LEVELS = np.array([1e-3, 0.1, 0.37, 0.45, 0.8, 0.99, 1 - 1e-6])


def grid(name, **fixed):
    """A family at all sizes of its shapes, one at a time, the others fixed."""
    return [(name, {**fixed, shape: size}, shape) for shape in fixed for size in SIZES]


IMPLICIT = [
    *grid("Gamma", concentration=2.5, rate=1.7),
    *grid("InverseGamma", concentration=2.5, rate=1.7),
    *grid("Chi2", df=2.5),
    *grid("Beta", concentration1=2.5, concentration0=0.7),
    *grid("Beta", concentration1=1e4, concentration0=30.0),
    *grid("StudentT", df=2.5, scale=1.7),
    *grid("HalfStudentT", df=2.5, scale=1.7),
    *grid("FisherSnedecor", df1=2.5, df2=0.7),
    *grid("Wald", mean=1.7, concentration=2.5),
    *grid("VonMises", concentration=2.5),
    *grid("Weibull", concentration=2.5, scale=1.7),
    *grid("Kumaraswamy", concentration1=2.5, concentration0=0.7),
    *grid("Gompertz", concentration=2.5, rate=1.7),
    *grid("LogLogistic", scale=0.7),
    *grid("AsymmetricLaplace", asymmetry=0.7, scale=1.7),
    *[("Pareto", {"scale": 1.7, "alpha": size}, "alpha") for size in SIZES],
]


def slopes_by_the_cdf(name, parameters, shape, x):
    """dx / dshape = -(dF / dshape) / density by five points of the cdf, or of 1 - cdf where that is the smaller.

    Also how much of it may be rounding, relative to it: that of x, and that of the cdf, right to 1e-13 of itself
    and 2e-16 of 1.
    """
    size = parameters[shape]
    h = 2e-3 * size / max(1.0, np.sqrt(size), np.sqrt(1.0 / size))  # a small part of how far the cdf reaches
    d = dist.FAMILIES[name](**parameters)
    below, above = d.cdf(x), np.exp(d.log_survival(x))

    def smaller(step):
        at = dist.FAMILIES[name](**{**parameters, shape: size + h * step})
        return np.where(below < 0.5, at.cdf(x), -np.exp(at.log_survival(x)))

    weights = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    change = sum(w * smaller(step) for step, w in weights.items()) / h
    with np.errstate(all="ignore"):
        density, less = np.exp(d.log_prob(x)), np.minimum(below, above)
        rounding = np.maximum(1e-13 * less, 2e-16) / (h * np.abs(change)) + 1e-16 * np.abs(x) * density / less
        return -change / density, rounding


@pytest.mark.parametrize(("name", "parameters", "shape"), IMPLICIT, ids=str)
def test_pathwise_gradients_are_those_of_the_cdf(name, parameters, shape):
    """At fixed noise a draw moves so that its level stays: over shapes from 1e-3 to 1e4."""
    noise, size = LEVELS, np.full(LEVELS.shape, parameters[shape])

    def draw(size):
        return dist.FAMILIES[name](**{**parameters, shape: size}).from_noise(noise)

    program = A.record(lambda size: (np.sum(draw(size)),), [size])
    with np.errstate(over="ignore"):
        x, (_, found) = draw(size), A.compile_program(A.gradient(program, [0]))(size)
    expected, rounding = slopes_by_the_cdf(name, parameters, shape, x)
    kind = np.finfo(float)
    held = (np.abs(x) <= 1.01 * kind.tiny) | (np.abs(x) >= 0.99 * kind.max) | (np.abs(x) == 1.0 - kind.epsneg)
    assert np.all(np.isfinite(found))
    assert np.all(found[held] == 0.0)  # at the ends of what a double holds
    seen = ~held & np.isfinite(expected) & (rounding < 1e-3)
    assert np.all(np.abs(found - expected)[seen] <= (1e-6 + 5.0 * rounding[seen]) * np.abs(expected[seen]))
    assert np.any(seen) or np.all(held)


def test_a_wrong_pathwise_gradient_is_caught():
    """One that takes the quantile's change for that of a neighbouring shape."""
    d = {"concentration": 2.5, "rate": 1.7}
    x = dist.Gamma(**d).from_noise(LEVELS)
    expected, _ = slopes_by_the_cdf("Gamma", d, "concentration", x)
    wrong, _ = slopes_by_the_cdf("Gamma", {**d, "concentration": 2.501}, "concentration", x)
    assert np.max(np.abs(wrong / expected - 1.0)) > 1e-4


@pytest.mark.parametrize("shape", [1e-3, 0.01])
def test_draws_of_a_tiny_shape_are_clipped_to_what_a_double_holds(shape):
    """The share of draws at the smallest number is the mass below it, to 6 standard errors."""
    noise = np.random.default_rng(0).random(20_000)
    x = dist.Gamma(shape, 1.0).from_noise(noise)
    tiny = np.finfo(float).tiny
    assert np.all(x >= tiny)
    share = np.exp(shape * np.log(tiny) - special.gammaln(shape + 1.0))
    error = np.sqrt(share * (1 - share) / len(x))
    assert abs(np.mean(x <= 1.01 * tiny) - share) < 6 * error + 1e-12
