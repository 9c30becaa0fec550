"""Transforms and constraints: round trips, Jacobians, images, membership, equality."""

from __future__ import annotations

import numpy as np
import pytest

from ppl.distributions import constraints as c
from ppl.distributions import transforms as tf
from ppl.errors import ModelError, ShapeError

pytestmark = pytest.mark.filterwarnings("error")

# constraint -> (shape of one unconstrained value, members, strangers)
CONSTRAINTS = {
    c.real: ((), [0.0, -3.5], [np.nan, np.inf]),
    c.real_vector: ((3,), [np.zeros(3)], [np.array([0.0, np.nan, 1.0])]),
    c.positive: ((), [1e-300, 5.0], [0.0, -1.0, np.nan, np.inf]),
    c.nonnegative: ((), [0.0, 5.0], [-1e-9, np.nan]),
    c.unit_interval: ((), [0.0, 0.5, 1.0], [-1e-9, 1.1, np.nan]),
    c.interval(-0.1, 0.7): ((), [-0.1, 0.7], [-0.2, 0.8]),
    c.interval(np.array([0.1, -5.0]), np.array([0.3, 7.7])): ((2,), [], []),
    c.open_interval(0.3, 0.7): ((), [0.5], [0.3, 0.7]),
    c.greater_than(2.0): ((), [2.1], [2.0, np.nan]),
    c.greater_than_eq(2.0): ((), [2.0], [1.9]),
    c.less_than(2.0): ((), [1.9], [2.0]),
    c.less_than_eq(2.0): ((), [2.0], [2.1]),
    c.simplex: ((3,), [np.array([0.2, 0.5, 0.3]), np.array([0.0, 1.0])], [np.array([0.5, 0.6]), np.array([-0.1, 1.1])]),
    c.ordered_vector: ((4,), [np.array([-1.0, 0.0, 2.0])], [np.array([0.0, -1.0])]),
    c.positive_ordered_vector: ((4,), [np.array([0.5, 2.0])], [np.array([-0.5, 2.0]), np.array([2.0, 0.5])]),
    c.lower_cholesky: ((6,), [np.eye(3)], [np.ones((2, 2)), -np.eye(2)]),
    c.positive_definite: ((6,), [np.eye(3)], [np.ones((2, 2)), -np.eye(2), np.array([[2.0, 0.5], [0.1, 2.0]])]),
    c.corr_cholesky: (
        (6,),
        [np.eye(3), np.array([[1.0, 0.0], [-0.6, 0.8]])],
        [2.0 * np.eye(2), np.ones((2, 2)), np.array([[1.0, 0.0], [0.6, -0.8]])],
    ),
    c.corr_matrix: (
        (6,),
        [np.eye(3), np.array([[1.0, 0.5], [0.5, 1.0]])],
        [2.0 * np.eye(2), np.ones((2, 2)), np.array([[1.0, 1.5], [1.5, 1.0]])],
    ),
    c.circular: ((), [-np.pi, 0.0, np.pi], [3.2]),
    c.zero_sum(1): ((3,), [np.zeros(3), np.array([1e6, -1e6])], [np.array([1.0, 1e-3]), np.array([np.nan, 0.0])]),
    c.zero_sum(2): ((2, 3), [np.array([[1.0, -1.0], [-1.0, 1.0]])], [np.array([[1.0, -1.0], [1.0, -1.0]])]),
    c.independent(c.positive, 2): ((2, 3), [np.ones((2, 3))], [-np.ones((2, 3))]),
}
DISCRETE = {
    c.boolean: ([0, 1, True], [2, 0.5, np.nan]),
    c.nonnegative_integer: ([0, 7, 3.0], [-1, 0.5, np.inf, np.nan]),
    c.positive_integer: ([1], [0]),
    c.integer_interval(2, 4): ([2, 4], [1, 5, 2.5]),
    c.integer_greater_than(3): ([3, 4], [2]),
    c.multinomial(3): ([np.array([1, 0, 2])], [np.array([1, 1]), np.array([1.5, 1.5]), np.array([-1, 4])]),
    c.one_hot: ([np.array([0, 1, 0])], [np.array([0, 1, 1]), np.array([0.5, 0.5]), np.zeros(2)]),
    c.log_weights: (
        [np.array([0.0, -np.inf])],
        [np.array([-np.inf, -np.inf]), np.array([np.nan, 0.0]), np.array([np.inf, 0.0])],
    ),
}
# Transforms beyond those that biject_to gives, with the shape of one input.
OTHERS = [
    (tf.SoftplusTransform(), ()),
    (tf.AffineTransform(1.5, -2.0), ()),
    (tf.AffineTransform(np.array([0.0, 1.0]), 3.0), (2,)),
    (tf.ComposeTransform((tf.AffineTransform(0.3, 0.5), tf.ExpTransform())), ()),
    (tf.ComposeTransform((tf.ExpTransform(), tf.PowerTransform(-1.5))), ()),
    (tf.ComposeTransform((tf.AffineTransform(0.1, 2.0), tf.StickBreakingTransform())), (3,)),
    (tf.ComposeTransform((tf.OrderedTransform(), tf.ExpTransform())), (3,)),
    (tf.IdentityTransform(), ()),
]
TRANSFORMS = [(tf.biject_to(constraint), shape) for constraint, (shape, _, _) in CONSTRAINTS.items()] + OTHERS
transforms = pytest.mark.parametrize(("t", "shape"), TRANSFORMS, ids=lambda v: str(v)[:60])
bijections = pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)


def points(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(5, *shape))


@transforms
def test_round_trip(t, shape):
    x = points(shape)
    y = t(x)
    assert y.shape == t.forward_shape(x.shape)
    assert t.inverse_shape(y.shape) == x.shape
    np.testing.assert_allclose(t.inverse(y), x, atol=1e-9)
    np.testing.assert_allclose(t.inv(y), x, atol=1e-9)
    np.testing.assert_allclose(t.inv.inv(x), y)


@transforms
def test_images_are_in_the_codomain(t, shape):
    assert np.all(t.codomain(t(points(shape))))
    assert np.all(t.domain(points(shape)))


def numerical_log_determinant(t, x):
    """Of the map from the flat input to the free coordinates of the output."""
    free = _free_coordinates(t, x)
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = 1e-6
        step = step.reshape(x.shape)
        columns.append((free(t(x + step)) - free(t(x - step))) / 2e-6)
    return np.linalg.slogdet(np.array(columns))[1]


def _free_coordinates(t, x):
    if t.codomain == c.simplex:
        return lambda y: y[:-1]
    if t.codomain in (c.corr_cholesky, c.corr_matrix):
        return lambda y: y[np.tril_indices(len(y), -1)]
    if t.codomain == c.zero_sum(1):  # an orthonormal basis of the plane
        return lambda y: np.linalg.svd(np.eye(len(y)) - 1 / len(y))[0][:, :-1].T @ y
    if t.codomain == c.zero_sum(2):
        rows, columns = (np.linalg.svd(np.eye(n) - 1 / n)[0][:, :-1] for n in t.forward_shape(x.shape))
        return lambda y: np.reshape(rows.T @ y @ columns, -1)
    if t.codomain in (c.lower_cholesky, c.positive_definite):
        return lambda y: y[np.tril_indices(len(y))]
    return lambda y: np.reshape(y, -1)


@transforms
def test_jacobian_is_the_numerical_determinant(t, shape):
    x = points(shape)
    ours = t.log_abs_det_jacobian(x, t(x))
    ours = ours.reshape(5, -1).sum(-1)  # batches of scalar transforms have a diagonal Jacobian
    np.testing.assert_allclose(ours, [numerical_log_determinant(t, one) for one in x], rtol=1e-5, atol=1e-6)
    back = t.inv.log_abs_det_jacobian(t(x), x)
    np.testing.assert_allclose(back.reshape(5, -1).sum(-1), -ours, rtol=1e-9, atol=1e-9)


@bijections
@pytest.mark.parametrize("size", [0.0, 1.0, 36.0, 50.0, 200.0, 700.0])
def test_far_out_images_stay_inside(constraint, size):
    shape = CONSTRAINTS[constraint][0]
    if constraint in (c.positive_definite, c.corr_matrix) and size > 5:
        return  # L L' squares what a double can hold
    if constraint == c.corr_cholesky and size > 200:
        return
    t = tf.biject_to(constraint)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(20, *shape))
    x = np.concatenate([size * signs, np.full((1, *shape), size), np.full((1, *shape), -size)])
    assert np.all(constraint(t(x)))
    assert np.all(np.isfinite(t.log_abs_det_jacobian(x, t(x))))


@bijections
def test_membership(constraint):
    _, members, strangers = CONSTRAINTS[constraint]
    assert all(constraint(x) for x in members)
    assert not any(constraint(x) for x in strangers)
    for x in members + strangers:
        feasible = np.broadcast_to(constraint.feasible_like(x), np.shape(x))
        assert np.all(constraint(feasible))


@pytest.mark.parametrize("constraint", DISCRETE, ids=str)
def test_membership_of_points(constraint):
    members, strangers = DISCRETE[constraint]
    assert all(constraint(x) for x in members)
    assert not any(constraint(x) for x in strangers)
    assert np.all(constraint(np.broadcast_to(constraint.feasible_like(members[0]), np.shape(members[0]))))


def test_equality_is_by_value():
    assert c.interval(0.0, 1.0) == c.unit_interval
    assert c.greater_than(0) == c.positive
    assert c.interval(0.0, np.arange(1.0, 3.0)) == c.interval(0.0, np.arange(1.0, 3.0))
    assert c.interval(0.0, 1.0) != c.interval(0.0, 2.0)
    assert c.interval(0.0, 1.0) != c.open_interval(0.0, 1.0)
    assert c.independent(c.positive, 1) == c.independent(c.greater_than(0.0), 1)
    assert c.independent(c.independent(c.real, 1), 1) == c.independent(c.real, 2)
    assert c.independent(c.real, 0) is c.real
    assert tf.AffineTransform(0.0, 1.0) == tf.AffineTransform(0.0, 1.0)
    assert tf.AffineTransform(0.0, 1.0) != tf.AffineTransform(0.0, 2.0)
    assert tf.ExpTransform() == tf.biject_to(c.positive) != tf.SoftplusTransform()
    assert hash(c.interval(0.0, 1.0)) == hash(c.unit_interval)


def test_composed_event_axes():
    t = tf.ComposeTransform((tf.AffineTransform(0.0, 2.0), tf.StickBreakingTransform()))
    assert t.domain == c.real_vector
    assert t.codomain == c.simplex
    assert t.log_abs_det_jacobian(np.zeros((5, 2)), t(np.zeros((5, 2)))).shape == (5,)


def test_affine_images_of_half_lines():
    assert tf.AffineTransform(2.0, -1.0, domain=c.positive).codomain == c.less_than(2.0)
    assert tf.AffineTransform(2.0, 3.0, domain=c.positive).codomain == c.greater_than(2.0)
    assert tf.AffineTransform(1.0, -2.0, domain=c.unit_interval).codomain == c.interval(-1.0, 1.0)


def test_refusals():
    with pytest.raises(ModelError, match="an integer in"):
        tf.biject_to(c.integer_interval(0, 3))
    with pytest.raises(ShapeError, match="length 4"):
        tf.biject_to(c.lower_cholesky)(np.zeros(4))
