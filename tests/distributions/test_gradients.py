"""Derivatives through recorded arrays: in the value, in every parameter, and along draws."""

from __future__ import annotations

import numpy as np
import pytest

import ppl.distributions as dist
from ppl import array as A

from .registry import ALL_ROWS, Row, interior_value
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
    wrt = [i for i, leaf in enumerate(inputs) if i >= split or not np.any(leaf == 0)]
    check(
        lambda *xs: dist.kl_divergence(q_rebuild(xs[:split]), p_rebuild(xs[split:])),
        inputs,
        wrt,
        [kinds[i] for i in wrt],
    )
