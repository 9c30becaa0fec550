"""Regressions whose columns are far from zero and nearly collinear: exact as far as double precision goes."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.algorithms.deterministic import MOST, inverse_root, triangle
from ppl.algorithms.start import good_start
from ppl.elbo import Objective, choose, derive, problem

GROUPS = 20


def slopes(group, x, y):
    ma, mb = ppl.sample("ma", dist.Normal(0.0, 50.0)), ppl.sample("mb", dist.Normal(0.0, 5.0))
    with ppl.plate("groups", GROUPS):
        a, b = ppl.sample("a", dist.Normal(ma, 5.0)), ppl.sample("b", dist.Normal(mb, 0.5))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(a[group] + b[group] * x, 1.0), obs=y)


def line(x, y):
    a = ppl.sample("a", dist.Normal(0.0, 10.0))
    b = ppl.sample("b", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(a + x @ b, 1.0), obs=y)


def least_squares(rows, target):
    """Mean and sds of the Gaussian proportional to exp(-|rows z - target|^2 / 2), by QR: no matrix is squared."""
    q, r = np.linalg.qr(rows)
    return np.linalg.solve(r, q.T @ target), np.linalg.norm(np.linalg.inv(r), axis=1)


def hierarchy():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(GROUPS), 3)
    x = rng.normal(50.0, 2.0, size=3 * GROUPS)
    y = 3 + 5 * rng.normal(size=GROUPS)[group] + (1 + 0.5 * rng.normal(size=GROUPS))[group] * x
    y = y + rng.normal(size=3 * GROUPS)
    one, none, own = np.eye(GROUPS), np.zeros((GROUPS, GROUPS)), np.eye(GROUPS)[group]
    ones, zeros = np.ones((GROUPS, 1)), np.zeros((GROUPS, 1))
    rows = np.block(
        [
            [np.diag([1 / 50.0, 1 / 5.0]), np.zeros((2, 2 * GROUPS))],
            [-ones / 5.0, zeros, one / 5.0, none],
            [zeros, -ones / 0.5, none, one / 0.5],
            [np.zeros((len(y), 2)), own, own * x[:, None]],
        ]
    )
    return (group, x, y), least_squares(rows, np.concatenate([np.zeros(2 + 2 * GROUPS), y]))


def far_columns(off):
    rng = np.random.default_rng(1)
    z = rng.normal(size=(50, 3))
    y = 1 + z @ [1.0, -2.0, 0.5] + rng.normal(size=50)
    x = z + np.array([off, 0.0, -off])
    rows = np.concatenate([np.eye(4) / 10.0, np.column_stack([np.ones(50), x])])
    return (x, y), least_squares(rows, np.concatenate([np.zeros(4), y]))


def answer(fit, *sites):
    return (np.concatenate([np.ravel(getattr(fit[s], what)) for s in sites]) for what in ("mean", "sd"))


def test_the_start_of_a_gaussian_hierarchy_is_exact():
    args, (mean, sd) = hierarchy()
    p = problem(slopes, args, {})
    d = derive(p, "fullrank")
    start = good_start(p, "fullrank", d, Objective(d, choose(d)), 0).values
    tril = start["_joint.scale_tril"]
    np.testing.assert_allclose((start["_joint.loc"] - mean) / sd, 0.0, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(tril, axis=1), sd, rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_gaussian_hierarchy_by_default(seed):
    args, (mean, sd) = hierarchy()
    fit = ppl.infer(slopes, *args, seed=seed, progress=False)
    found, spread = answer(fit, "ma", "mb", "a", "b")
    tolerance = ppl.BBVI().tolerance
    np.testing.assert_allclose((found - mean) / sd, 0.0, atol=3 * tolerance)
    np.testing.assert_allclose(np.log(spread / sd), 0.0, atol=3 * tolerance)
    assert fit.verdict.converged


@pytest.mark.parametrize("algorithm", ["bbvi", "dadvi", "laplace"])
@pytest.mark.parametrize("off", [1e2, 1e4, 1e5, 1e6])
def test_columns_far_from_zero(off, algorithm):
    args, (mean, sd) = far_columns(off)
    fit = ppl.infer(line, *args, algorithm=algorithm, progress=False)
    found, spread = fit.params["_joint.loc"], np.linalg.norm(fit.params["_joint.scale_tril"], axis=1)
    atol = 3 * ppl.BBVI().tolerance if algorithm == "bbvi" else 0.01
    np.testing.assert_allclose((found - mean) / sd, 0.0, atol=atol)
    np.testing.assert_allclose(np.log(spread / sd), 0.0, atol=atol)
    assert fit.verdict.word == "trusted" and not fit.solution.doubts


@pytest.mark.parametrize("algorithm", [ppl.BBVI, ppl.DADVI, ppl.Laplace])
@pytest.mark.parametrize("off", [1e2, 1e8])
def test_lost_digits_are_said(off, algorithm):
    """At an offset of 10^8 the fourth power of it, which decides, has no digit left in a matrix of its squares."""
    args, _ = far_columns(off)
    solution = algorithm().run(problem(line, args, {}), "fullrank")
    said = "rounding" in " ".join((solution.stop_reason, *solution.doubts))
    assert said is (off == 1e8) and (solution.converged or said)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1e-9, 1.0, 1e12)])
@pytest.mark.parametrize("gap", [1.0, 1e-4, 1e-8])
def test_the_root_of_an_inverse_knows_its_error(gap, scales):
    """Correlations 1 - gap in units of any size; the inverse of [[1, r], [r, 1]] is [[1, -r], [-r, 1]] / (1 - r^2)."""
    r = 1.0 - gap
    scales = np.array(scales)
    matrix = np.array([[1.0, r, 0.0], [r, 1.0, 0.0], [0.0, 0.0, 1.0]]) * np.outer(scales, scales)
    found = inverse_root(matrix)
    sds = np.array([(gap * (2.0 - gap)) ** -0.5, (gap * (2.0 - gap)) ** -0.5, 1.0]) / scales
    assert found.positive and found.error < MOST
    np.testing.assert_allclose(np.linalg.norm(found.root, axis=1), sds, rtol=found.error + 1e-12)
    np.testing.assert_allclose(np.linalg.norm(triangle(found.root), axis=1), sds, rtol=found.error + 1e-12)


def test_a_matrix_that_rounding_makes_singular_is_not_positive():
    found = inverse_root(np.array([[1.0, 1.0 - 1e-16], [1.0 - 1e-16, 1.0]]))
    assert not found.positive and np.all(np.isfinite(found.root))
    assert not inverse_root(np.full((2, 2), np.nan)).positive
    assert not inverse_root(np.diag([1.0, 0.0])).positive
    assert not inverse_root(np.diag([1.0, -1.0])).positive
