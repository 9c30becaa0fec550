"""Laws of transforms over a registry: round trips, Jacobians, images, types, shapes, derivatives, equality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl import array as A
from ppl.distributions import constraints as c
from ppl.distributions import transforms as tf
from ppl.errors import ModelError, ShapeError

from .test_constraints import ROWS as CONSTRAINTS

pytestmark = pytest.mark.filterwarnings("error")
TRIANGLE = np.array([[1.3, 0.0, 0.0], [0.4, -0.7, 0.0], [-0.2, 0.5, 2.1]])


@dataclass(frozen=True)
class Row:
    """A transform and the shape of one input. `reach`: images of inputs up to this size are inside the codomain."""

    t: tf.Transform
    shape: tuple[int, ...]
    reach: float = 700.0
    reach32: float = 85.0
    smooth: bool = True  # has it two derivatives everywhere?

    def __str__(self):
        return repr(self.t)[:80]


# The last of a row of 4 is a product of three hyperbolic secants; L L' squares what a factor can hold.
REACH = {c.corr_cholesky: (230.0, 28.0), c.corr_matrix: (5.0, 1.5), c.l1_ball: (np.inf, np.inf)}
REACH |= dict.fromkeys((c.positive_definite, c.positive_semidefinite), (5.0, 1.5))
REACH |= dict.fromkeys((c.simplex, c.unit_interval, c.real, c.zero_sum(1), c.zero_sum(2)), (np.inf, np.inf))


def reach(constraint: c.Constraint) -> tuple[float, float]:
    if isinstance(constraint, c.Independent):
        return reach(constraint.base)
    return (np.inf, np.inf) if isinstance(constraint, c.Interval | c.OpenInterval) else REACH.get(constraint, (700, 85))


ONTO = [
    Row(tf.biject_to(row.constraint), row.free, *reach(row.constraint), smooth=row.constraint != c.l1_ball)
    for row in CONSTRAINTS
    if row.free is not None
]
OTHERS = [
    Row(tf.IdentityTransform(), ()),
    Row(tf.TanhTransform(), (), np.inf, np.inf),
    Row(tf.AffineTransform(1.5, -2.0), ()),
    Row(tf.AffineTransform(np.array([0.0, 1.0]), 3.0), (2,)),
    Row(tf.AffineTransform(1.0, -2.0, domain=c.unit_interval), ()),
    Row(tf.PowerTransform(-1.5), (), 300.0, 40.0),
    Row(tf.PowerTransform(np.array([0.5, 3.0])), (2,), 200.0, 25.0),
    Row(tf.ExpTransform().inv, ()),
    Row(tf.ComposeTransform((tf.AffineTransform(0.3, 0.5), tf.ExpTransform())), ()),
    Row(tf.ComposeTransform((tf.ExpTransform(), tf.PowerTransform(-1.5))), (), 300.0, 40.0),
    Row(tf.ComposeTransform((tf.AffineTransform(0.1, 2.0), tf.StickBreakingTransform())), (3,)),
    Row(tf.ComposeTransform((tf.OrderedTransform(), tf.ExpTransform())), (3,), 1.0, 1.0),
    Row(tf.ComposeTransform((tf.StickBreakingTransform(), tf.SimplexToOrderedTransform(0.7))), (3,), 200.0, 25.0),
    Row(tf.SimplexToOrderedTransform(), (4,), 200.0, 25.0),
    Row(tf.SimplexToOrderedTransform(-0.4), (3,), 200.0, 25.0),
    Row(tf.SimplexToOrderedTransform(np.array([0.3, -0.4])), (2, 3), 200.0, 25.0),
    Row(tf.CholeskyTransform(), (3, 3), 3.0, 1.0),
    Row(tf.CorrMatrixCholeskyTransform(), (3, 3), 3.0, 1.0),
    Row(tf.LowerCholeskyAffine(np.array([0.5, 0.0, -1.0]), TRIANGLE), (3,)),
    Row(tf.PermuteTransform(np.array([2, 0, 3, 1])), (4,)),
    Row(tf.ReshapeTransform((2, 3), (6,)), (6,)),
    Row(tf.ReshapeTransform((), (1, 1)), (1, 1)),
    Row(tf.RecursiveLinearTransform(np.array([[0.5, 0.2], [-0.3, 0.4]])), (4, 2), 80.0),
    Row(tf.CatTransform((tf.ExpTransform(), tf.OrderedTransform()), (2, 3)), (5,)),
    Row(tf.StackTransform((tf.StickBreakingTransform(), tf.StickBreakingTransform().inv.inv)), (2, 3)),
]
ROWS = ONTO + OTHERS
rows = pytest.mark.parametrize("row", ROWS, ids=str)
# For the laws of test_gradients: the ones whose inputs may move in every direction.
TRANSFORMS = [(row.t, row.shape) for row in ROWS if row.t.domain in (c.real, c.real_vector, c.real_matrix)]


def points(row: Row, number: int = 5, size: float = 1.0, seed: int = 0, rng_signs: bool = False) -> np.ndarray:
    """Points of the domain, from normal ones (or such of one size and any signs) through its bijection."""
    onto = tf.biject_to(c.independent(row.t.domain, len(row.shape) - row.t.domain.event_dim))
    rng, shape = np.random.default_rng(seed), (number, *onto.inverse_shape(row.shape))
    return onto(size * (rng.choice([-1.0, 1.0], size=shape) if rng_signs else rng.normal(size=shape)))


def per_point(log_jacobian: np.ndarray) -> np.ndarray:
    """The sum for each of the points: batches of transforms of numbers have a diagonal Jacobian."""
    return log_jacobian.reshape(len(log_jacobian), -1).sum(-1)


# -- free coordinates --------------------------------------------------------------------------------------
def plane(n: int) -> np.ndarray:
    """An orthonormal basis of the vectors that sum to zero, as columns."""
    return np.linalg.svd(np.eye(n) - 1.0 / n)[0][:, :-1]


def places(n: int, k: int):
    return (Ellipsis, *np.tril_indices(n, k))


def triangular(n: int, k: int):
    """Which entries of a matrix are free, and the triangular matrix with given free entries."""

    def up(free):
        matrix = np.zeros((*free.shape[:-1], n, n))
        matrix[places(n, k)] = free
        return matrix

    return (lambda y: y[places(n, k)]), up


def symmetric(n: int, k: int):
    down, up = triangular(n, k)
    return down, lambda free: (lambda half: half + np.swapaxes(np.tril(half, -1), -2, -1))(
        up(free) + (k < 0) * np.eye(n)
    )


def chart(constraint: c.Constraint, event: tuple[int, ...]):
    """Functions to free coordinates and back: (batch, *event) <-> (batch, d)."""
    size = int(np.prod(event))
    match constraint:
        case c.Independent(base=base) if base.event_dim:
            split = len(event) - base.event_dim
            down, up = chart(base, event[split:])
            lead = event[:split]
            return (
                lambda y: down(y.reshape(-1, *event[split:])).reshape(len(y), -1),
                lambda free: up(free.reshape(len(free) * int(np.prod(lead)), -1)).reshape(-1, *event),
            )
        case c.Stack(parts=(first, *_)) if first.event_dim:
            return chart(c.independent(first, 1), event)
        case c.Cat(parts=parts, lengths=lengths):
            charts = [chart(part, (n,)) for part, n in zip(parts, lengths, strict=True)]
            ends, free_ends = np.cumsum(lengths), np.cumsum([n - (p == c.simplex) for p, n in zip(parts, lengths)])
            return (
                lambda y: np.concatenate(
                    [down(x) for (down, _), x in zip(charts, np.split(y, ends[:-1], -1), strict=True)], -1
                ),
                lambda f: np.concatenate(
                    [up(x) for (_, up), x in zip(charts, np.split(f, free_ends[:-1], -1), strict=True)], -1
                ),
            )
        case c.ZeroSum(event_dim=1):
            return (lambda y: y @ plane(size)), (lambda free: free @ plane(size).T)
        case c.ZeroSum(event_dim=2):
            basis = np.kron(*(plane(n) for n in event))
            return (lambda y: y.reshape(-1, size) @ basis), (lambda free: (free @ basis.T).reshape(-1, *event))
    if constraint == c.simplex:
        return (lambda y: y[..., :-1]), (lambda free: np.append(free, 1.0 - free.sum(-1, keepdims=True), -1))
    if constraint in (c.lower_cholesky, c.softplus_lower_cholesky, c.scaled_unit_lower_cholesky):
        return triangular(event[-1], 0)
    if constraint == c.corr_cholesky:
        down, up = triangular(event[-1], -1)
        return down, lambda free: (lambda m: m + np.eye(event[-1]) * np.sqrt(1 - (m * m).sum(-1))[..., None])(up(free))
    if constraint in (c.positive_definite, c.positive_semidefinite):
        return symmetric(event[-1], 0)
    if constraint == c.corr_matrix:
        return symmetric(event[-1], -1)
    return (lambda y: y.reshape(len(y), -1)), (lambda free: free.reshape(-1, *event))


def numerical_log_determinant(t: tf.Transform, x: np.ndarray) -> float:
    """Of the map between free coordinates, at one point, by central differences."""
    y = t(x)
    free, from_free = chart(c.independent(t.domain, x.ndim - t.domain.event_dim), x.shape)
    image, _ = chart(c.independent(t.codomain, y.ndim - t.codomain.event_dim), y.shape)
    at = free(x[None])[0]
    steps = 1e-6 * np.diag(np.maximum(np.abs(at), 0.1))
    ends = [image(t(from_free(at + sign * steps))) for sign in (1.0, -1.0)]
    return np.linalg.slogdet((ends[0] - ends[1]) / (2.0 * np.diag(steps)[:, None]))[1]


def check_jacobian(row: Row) -> None:
    x = points(row)
    ours = row.t.log_abs_det_jacobian(x, row.t(x))
    numerical = [numerical_log_determinant(row.t, one) for one in x]
    np.testing.assert_allclose(per_point(ours), numerical, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(row.t.inv.log_abs_det_jacobian(row.t(x), x), -ours, rtol=1e-9, atol=1e-9)


# -- laws ------------------------------------------------------------------------------------------------
@rows
def test_round_trips(row):
    for size in (1.0, 3.0) if row.reach > 1 else (1.0,):
        x = points(row, size=size)
        y = row.t(x)
        back = row.t.inverse(y)
        np.testing.assert_allclose(back, x, rtol=1e-6 * size, atol=1e-9 * size**6)
        np.testing.assert_allclose(row.t(back), y, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(row.t.inv(y), back)
        np.testing.assert_array_equal(row.t.inv.inverse(x), y)


@rows
def test_images_are_in_the_codomain_and_back_in_the_domain(row):
    x = points(row)
    assert np.all(row.t.domain(x))
    assert np.all(row.t.codomain(row.t(x)))
    assert np.all(row.t.domain(row.t.inverse(row.t(x))))
    assert row.t.inv.domain == row.t.codomain and row.t.inv.codomain == row.t.domain


@rows
def test_jacobian_is_the_numerical_determinant(row):
    check_jacobian(row)


class _WrongExp(tf.ExpTransform):
    def log_abs_det_jacobian(self, x, y):
        return 1.001 * x


class _WrongCholesky(tf.LowerCholeskyTransform):
    def log_abs_det_jacobian(self, x, y):
        return np.sum(x, axis=-1)


class _WrongCorrelations(tf.CorrCholeskyTransform):
    def log_abs_det_jacobian(self, x, y):
        return super().log_abs_det_jacobian(x[..., ::-1], y)


class _WrongInverse(tf.SigmoidTransform):
    def inverse(self, y):
        return np.log(y) - np.log1p(-y) + 1e-6


@pytest.mark.parametrize("row", [Row(_WrongExp(), ()), Row(_WrongCholesky(), (6,)), Row(_WrongCorrelations(), (6,))])
def test_a_planted_wrong_jacobian_is_caught(row):
    with pytest.raises(AssertionError):
        check_jacobian(row)


def test_a_planted_wrong_inverse_is_caught():
    with pytest.raises(AssertionError):
        test_round_trips(Row(_WrongInverse(), ()))


@rows
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_images_far_out_are_inside(row, kind):
    """As far as exp stays among the numbers of the type; for bounded sets at every number and at infinity."""
    limit = row.reach if kind == np.float64 else row.reach32
    real = row.t.domain in (c.real, c.real_vector, c.real_matrix)
    for size in (0.0, 1.0, 5.0, 36.0, 85.0, 200.0, 700.0, 1e3, 1e6, np.inf):
        if size > limit or (np.isinf(size) and (not real or row.t.codomain in UNBOUNDED)):
            break
        with np.errstate(under="ignore"):
            x = points(row, 12, size, rng_signs=True).astype(kind) if size else np.zeros((1, *row.shape), kind)
            if not size and not real:
                continue
            if np.isinf(size):
                x[0] = size  # all of one sign
            y = row.t(x)
        assert np.all(row.t.codomain(y)), f"at {size}: {y}"
        if np.isfinite(size):
            assert np.all(np.isfinite(row.t.log_abs_det_jacobian(x, y)))


UNBOUNDED = (c.real, c.real_vector, c.real_matrix, c.zero_sum(1), c.zero_sum(2))


@pytest.mark.parametrize("row", [row for row in ONTO if np.isfinite(row.reach) and row.reach > 10], ids=str)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_images_beyond_the_reach_are_limits(row, kind):
    """exp has left the numbers of the type: the image is the limit, 0 or inf, and nothing is undefined."""
    for size in (1e3, 1e6):
        with np.errstate(over="ignore", under="ignore"):
            y = row.t(points(row, 12, size, rng_signs=True).astype(kind))
        assert not np.any(np.isnan(y))
        low, high = c.bounds(row.t.codomain) or (-np.inf, np.inf)
        assert np.all((y >= low) & (y <= high))
        match row.t.codomain:
            case c.ordered_vector | c.positive_ordered_vector:
                assert np.all(y[..., 1:] >= y[..., :-1])


def narrowed(t: tf.Transform, kind) -> tf.Transform:
    """The transform with its arrays in a floating type."""
    leaves, rebuild = t.tree_flatten()
    return rebuild(
        [leaf.astype(kind) if isinstance(leaf, np.ndarray) and leaf.dtype == float else leaf for leaf in leaves]
    )


@rows
def test_float32_stays_float32(row):
    t, wide = narrowed(row.t, np.float32), points(row, size=0.7)
    x = wide.astype(np.float32)
    y = t(x)
    jacobian = t.log_abs_det_jacobian(x, y)
    assert y.dtype == t.inverse(y).dtype == jacobian.dtype == np.float32
    np.testing.assert_allclose(y, row.t(wide), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(t.inverse(y), wide, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(jacobian, row.t.log_abs_det_jacobian(wide, row.t(wide)), rtol=2e-4, atol=2e-4)


@rows
@settings(max_examples=6, deadline=None)
@given(batch=st.lists(st.integers(0, 3), max_size=2).map(tuple))
def test_shapes(row, batch):
    lead = row.shape[: len(row.shape) - row.t.domain.event_dim]
    x = np.broadcast_to(points(row, 1)[0], batch + row.shape)
    y = row.t(x)
    assert np.shape(y) == row.t.forward_shape(x.shape)
    assert row.t.inverse_shape(y.shape) == np.shape(row.t.inverse(y)) == x.shape
    assert row.t.inv.forward_shape(y.shape) == x.shape and row.t.inv.inverse_shape(x.shape) == y.shape
    assert np.shape(row.t.log_abs_det_jacobian(x, y)) == batch + lead
    event = y.shape[len(batch + lead) :]
    assert len(event) == row.t.codomain.event_dim


SIZED = {  # transforms of vectors of any length: of n, the length of x and the event shape of y
    tf.StickBreakingTransform(): lambda n: (n, (n + 1,)),
    tf.OrderedTransform(): lambda n: (n, (n,)),
    tf.PositiveOrderedTransform(): lambda n: (n, (n,)),
    tf.L1BallTransform(): lambda n: (n, (n,)),
    tf.ZeroSumTransform(1): lambda n: (n, (n + 1,)),
    tf.LowerCholeskyTransform(): lambda n: (n * (n + 1) // 2, (n, n)),
    tf.SoftplusLowerCholeskyTransform(): lambda n: (n * (n + 1) // 2, (n, n)),
    tf.ScaledUnitLowerCholeskyTransform(): lambda n: (n * (n + 1) // 2, (n, n)),
    tf.CorrCholeskyTransform(): lambda n: (n * (n - 1) // 2, (n, n)),
    tf.SimplexToOrderedTransform().inv: lambda n: (n, (n + 1,)),
}


@pytest.mark.parametrize("t", SIZED, ids=str)
@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 6), batch=st.lists(st.integers(1, 2), max_size=2).map(tuple), seed=st.integers(0, 99))
def test_every_length(t, n, batch, seed):
    length, event = SIZED[t](n)
    x = np.sort(np.random.default_rng(seed).normal(size=(*batch, length)), axis=-1)
    y = t(x)
    assert y.shape == t.forward_shape(x.shape) == (*batch, *event)
    assert t.inverse_shape(y.shape) == x.shape
    assert np.all(t.codomain(y))
    assert np.shape(t.log_abs_det_jacobian(x, y)) == batch
    np.testing.assert_allclose(t.inverse(y), x, rtol=1e-7, atol=1e-9)


@rows
def test_recorded_values_are_the_same(row):
    x = points(row, 3)
    y = row.t(x)
    for fun, argument in (
        (row.t, x),
        (row.t.inverse, y),
        (lambda x: row.t.log_abs_det_jacobian(x, row.t(x)), x),
        (lambda y: row.t.log_abs_det_jacobian(row.t.inverse(y), y), y),
    ):
        program = A.record(lambda z, fun=fun: (fun(z),), [argument])
        np.testing.assert_allclose(A.compile_program(program)(argument)[0], fun(argument), rtol=1e-7, atol=1e-9)


def slope(fun, x: np.ndarray) -> np.ndarray:
    program = A.record(lambda z: (fun(z),), [x])
    return A.compile_program(A.gradient(program, [0]))(x)[1]


@rows
@pytest.mark.parametrize("way", ["forward", "inverse", "jacobian"])
def test_gradients_along_the_domain(row, way):
    """The recorded gradient along steps that stay in the domain (or the codomain), against differences."""
    t = row.t.inv if way == "inverse" else row.t
    x = points(row, 2) if way != "inverse" else row.t(points(row, 2))
    whole = c.independent(t.domain, x.ndim - 1 - t.domain.event_dim)
    down, up = chart(whole, x.shape[1:])
    weights = np.random.default_rng(1).normal(size=np.shape(t(x)))

    def fun(z):
        return np.sum(t.log_abs_det_jacobian(z, t(z))) if way == "jacobian" else np.sum(weights * t(z))

    free = down(x)
    step = 1e-5 * np.random.default_rng(2).normal(size=free.shape)
    step = step * np.maximum(np.abs(free), 0.05)
    ends = up(free + step), up(free - step)
    along = np.sum(slope(fun, x) * (ends[0] - ends[1]))
    assert along == pytest.approx(fun(ends[0]) - fun(ends[1]), rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("row", [row for row in ROWS if row.smooth and (row.t, row.shape) in TRANSFORMS], ids=str)
def test_second_derivatives_at_the_origin(row):
    """A fit often starts at 0, where |x| and its like have no second derivative."""
    x = np.zeros((1, *row.shape))
    direction = np.random.default_rng(0).normal(size=x.shape)
    weights = np.random.default_rng(1).normal(size=np.shape(row.t(x)))

    def fun(z):
        y = row.t(z)
        return np.sum(weights * y) + np.sum(row.t.log_abs_det_jacobian(z, y))

    program = A.record(lambda z: (fun(z),), [x])
    _, product = A.compile_program(A.hessian_product(program, [0]))(x, direction)
    numerical = (slope(fun, x + 1e-5 * direction) - slope(fun, x - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(product, numerical, rtol=1e-6, atol=1e-7)


@rows
def test_equality_and_signs(row):
    leaves, rebuild = row.t.tree_flatten()
    again = rebuild([np.array(leaf) if np.ndim(leaf) else leaf for leaf in leaves])
    assert again == row.t and hash(again) == hash(row.t) and again.inv == row.t.inv
    assert row.t.inv.inv == row.t
    assert row.t.inv != row.t
    x = points(row)
    if row.t.sign is not None:
        higher = row.t(x + 1e-3) if row.t.domain == c.real else row.t(x * (1 + 1e-6))
        assert np.all(np.sign(higher - row.t(x)) == row.t.sign * (1 if row.t.domain == c.real else np.sign(x)))
    if row.t.is_identity:
        np.testing.assert_array_equal(row.t(x), x)


@rows
def test_composition(row):
    """With its inverse: the identity. With a shift of numbers: event axes and Jacobians add up."""
    x = points(row)
    there_and_back = tf.ComposeTransform((row.t, row.t.inv))
    assert there_and_back.domain == there_and_back.codomain == row.t.domain
    np.testing.assert_allclose(there_and_back(x), x, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(there_and_back.log_abs_det_jacobian(x, there_and_back(x)), 0.0, atol=1e-6)
    if row.t.domain in (c.real, c.real_vector, c.real_matrix):
        moved = tf.ComposeTransform((tf.AffineTransform(0.25, 2.0), row.t))
        np.testing.assert_array_equal(moved(x), row.t(0.25 + 2.0 * x))
        expected = row.t.log_abs_det_jacobian(0.25 + 2.0 * x, moved(x))
        each = np.log(2.0) * np.prod(row.shape[len(row.shape) - row.t.domain.event_dim :])
        np.testing.assert_allclose(moved.log_abs_det_jacobian(x, moved(x)), expected + each)
        assert moved.codomain == row.t.codomain


# -- particular things ---------------------------------------------------------------------------------
def test_composed_event_axes():
    t = tf.ComposeTransform((tf.AffineTransform(0.0, 2.0), tf.StickBreakingTransform()))
    assert t.domain == c.real_vector
    assert t.codomain == c.simplex
    assert t.log_abs_det_jacobian(np.zeros((5, 2)), t(np.zeros((5, 2)))).shape == (5,)


@pytest.mark.parametrize(
    ("domain", "scale", "image"),
    [
        (c.positive, 3.0, c.greater_than(2.0)),
        (c.positive, -1.0, c.less_than(2.0)),
        (c.nonnegative, -1.0, c.less_than_eq(2.0)),
        (c.less_than(1.0), 2.0, c.less_than(4.0)),
        (c.less_than_eq(1.0), -2.0, c.greater_than_eq(0.0)),
        (c.unit_interval, -2.0, c.interval(0.0, 2.0)),
        (c.open_interval(0.0, 1.0), 2.0, c.open_interval(2.0, 4.0)),
        (c.independent(c.positive, 1), -1.0, c.independent(c.less_than(2.0), 1)),
        (c.positive, np.array([1.0, -1.0]), c.real),
        (c.simplex, 2.0, c.real_vector),
    ],
    ids=str,
)
def test_affine_images(domain, scale, image):
    assert tf.AffineTransform(2.0, scale, domain=domain).codomain == image


def test_equality_is_by_value():
    assert tf.AffineTransform(0.0, 1.0) == tf.AffineTransform(0.0, 1.0)
    assert tf.AffineTransform(0.0, 1.0) != tf.AffineTransform(0.0, 2.0)
    assert tf.ExpTransform() == tf.biject_to(c.positive) != tf.SoftplusTransform()
    assert tf.LowerCholeskyTransform() != tf.SoftplusLowerCholeskyTransform()
    assert tf.PermuteTransform([1, 0]) == tf.PermuteTransform(np.array([1, 0])) != tf.PermuteTransform([0, 1])
    assert tf.ReshapeTransform((2, 3), (6,)) != tf.ReshapeTransform((3, 2), (6,))


def test_bounds_of_intervals_may_be_recorded():
    def fun(low, high, x):
        t = tf.biject_to(c.interval(low, high))
        y = t(x)
        return np.sum(y), np.sum(t.log_abs_det_jacobian(x, y)), np.sum(t.inverse(y) - x)

    inputs = [np.array(2.0), np.array(5.0), np.array([0.0, 1.0])]
    total, jacobian, gap = A.compile_program(A.record(fun, inputs))(*inputs)
    plain = tf.biject_to(c.interval(2.0, 5.0))
    assert total == pytest.approx(np.sum(plain(inputs[2])))
    assert jacobian == pytest.approx(np.sum(plain.log_abs_det_jacobian(inputs[2], plain(inputs[2]))))
    assert gap == pytest.approx(0.0, abs=1e-12)


def test_correlations_are_exact_far_out():
    """L is a product of tanh and sech: at x = 40 a correlation of 1 - 4e-35, and the way back."""
    x = np.array([40.0, -30.0, 25.0])
    t = tf.CorrCholeskyTransform()
    y = t(x)
    assert y[1, 1] == pytest.approx(1.0 / np.cosh(40.0), rel=1e-13)
    np.testing.assert_allclose(t.inverse(y), x, rtol=1e-13)


def test_cutpoints_are_exact_in_both_tails():
    t = tf.SimplexToOrderedTransform()
    y = np.array([-200.0, -199.0, 0.0, 199.0, 200.0])
    np.testing.assert_allclose(t(t.inverse(y)), y, rtol=1e-12)


def test_recursion_is_the_loop():
    rng = np.random.default_rng(0)
    a, x = 0.4 * rng.normal(size=(2, 2)), rng.normal(size=(3, 5, 2))
    y = np.zeros((3, 2))
    steps = [y := y @ a.T + x[:, i] for i in range(5)]
    np.testing.assert_allclose(tf.RecursiveLinearTransform(a)(x), np.stack(steps, axis=1))


def test_zero_sums_keep_lengths():
    x = np.random.default_rng(0).normal(size=(4, 2, 5))
    y = tf.ZeroSumTransform(2)(x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=(1, 2)), np.linalg.norm(x, axis=(1, 2)))


def test_abs_folds():
    t = tf.AbsTransform()
    y = t(np.array([-2.0, 0.0, 3.0]))
    assert y.tolist() == [2.0, 0.0, 3.0] == t(t.inverse(y)).tolist()
    assert np.all(t.codomain(y))
    with pytest.raises(ModelError, match=r"Jacobian of AbsTransform[\s\S]*bijection[\s\S]*HalfNormal"):
        t.log_abs_det_jacobian(-2.0, 2.0)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: tf.biject_to(c.lower_cholesky)(np.zeros(4)), r"length 4[\s\S]*triangle[\s\S]*1, 3, 6"),
        (lambda: tf.biject_to(c.corr_cholesky)(np.zeros(2)), r"length 2[\s\S]*triangle"),
        (lambda: tf.PermuteTransform([0, 2]), r"\[0 2\][\s\S]*every position from 0 to n - 1[\s\S]*permutation"),
        (lambda: tf.ReshapeTransform((2, 2), (6,)), r"\(6,\) and \(2, 2\)[\s\S]*as many elements"),
        (lambda: tf.ReshapeTransform((2, 3), (6,))(np.zeros(5)), r"shape \(5,\)[\s\S]*\(6,\)"),
        (lambda: tf.StackTransform((tf.ExpTransform(),) * 2)(np.zeros(3)), r"\(3,\)[\s\S]*2 along axis -1"),
        (lambda: tf.CatTransform((tf.ExpTransform(),) * 2)(np.zeros(3)), r"\(3,\)[\s\S]*2 along axis -1"),
    ],
)
def test_wrong_shapes_are_refused(ask, words):
    with pytest.raises(ShapeError, match=words):
        ask()


def _names() -> set[str]:
    seen: set[str] = set()

    def visit(t):
        seen.add(type(t).__name__)
        inner = getattr(t, "parts", ()) or ((t.base,) if hasattr(t, "base") else ())
        for part in inner:
            visit(part)

    for row in ROWS:
        visit(row.t)
    return seen


def test_every_transform_has_a_row():
    assert set(tf.__all__) - _names() == {"Transform", "AbsTransform", "biject_to"}


BOUNDED = {
    "unit_interval": c.unit_interval,
    "interval": c.interval(-1.3, 2.5),
    "open_interval": c.open_interval(-1.3, 2.5),
    "narrow": c.open_interval(1e6, 1e6 + 1.0),
    "simplex": c.simplex,
    "l1_ball": c.l1_ball,
    "corr_cholesky": c.corr_cholesky,
    "corr_matrix": c.corr_matrix,
    "zero_sum": c.zero_sum(1),
}
UP_TO = {  # how far out, in both precisions: there exp ends, of the numbers or of their squares
    "positive": (c.positive, 700.0, 80.0),
    "greater_than": (c.greater_than(2.0), 700.0, 80.0),
    "ordered": (c.ordered_vector, 700.0, 80.0),
    "positive_ordered": (c.positive_ordered_vector, 700.0, 80.0),
    "lower_cholesky": (c.lower_cholesky, 700.0, 80.0),
    "positive_definite": (c.positive_definite, 340.0, 40.0),
}
SIZES = (1.0, 10.0, 20.0, 40.0, 80.0, 100.0, 340.0, 700.0, 1e3, 1e5, 1e10, 1e30, 1e100, 1e300)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", [*BOUNDED, *UP_TO])
def test_far_out_values_stay_inside_and_come_back(name, kind):
    """Of bounded sets at the very ends of the real line: y is inside, and its inverse image is mapped to it again.

    Not to the same x, where many round to one y.
    """
    if name in BOUNDED:
        constraint, most = BOUNDED[name], float(np.finfo(kind).max)
    else:
        constraint, *most = UP_TO[name]
        most = most[kind is np.float32]
    t, rng = tf.biject_to(constraint), np.random.default_rng(0)
    shape = () if constraint.event_dim == 0 else t.inverse_shape((3,) * constraint.event_dim)
    for size in SIZES:
        if size > most:
            break
        x = (rng.choice([-1, 1], (40, *shape)) * size * rng.uniform(0.5, 1.0, (40, *shape))).astype(kind)
        with np.errstate(all="ignore"):
            y = t(x)
            again = t(t.inverse(y))
        assert y.dtype == kind and np.all(constraint(y)), size
        scale = np.max(np.abs(y), axis=tuple(range(1, y.ndim)), keepdims=True)
        assert np.all(np.abs(again - y) <= (1e-12 if kind is np.float64 else 1e-4) * scale), size
