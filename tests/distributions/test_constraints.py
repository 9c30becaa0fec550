"""Laws of constraints: membership on and off the boundary, feasible points, words, equality, recording."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl import array as A
from ppl.distributions import biject_to
from ppl.distributions import constraints as c
from ppl.errors import ModelError, ShapeError

pytestmark = pytest.mark.filterwarnings("error")
TRIANGLE = np.array([[1.0, 0.0], [-0.6, 0.8]])


@dataclass(frozen=True)
class Row:
    """A constraint, values in and out of it, what it is in words, the shape of one unconstrained value."""

    constraint: c.Constraint
    members: list
    strangers: list
    words: str
    free: tuple[int, ...] | None = None  # None: there is no bijection from the reals
    bound_infinite: bool = field(default=True)  # is every array with an infinite element outside?

    def __str__(self):
        return repr(self.constraint)[:60]


def arrays(*values):
    return [np.array(value) for value in values]


ROWS = [
    Row(c.real, [0.0, -3.5, 1e30], [], "a finite number", ()),
    Row(c.real_vector, arrays([0.0, -2.0, 1e30]), [], "an array with every element a finite number", (3,)),
    Row(c.real_matrix, [np.zeros((2, 3))], [], "an array with every element a finite number", (2, 3)),
    Row(c.positive, [1e-300, 5.0], [0.0, -1e-300], "a positive number", ()),
    Row(c.softplus_positive, [1e-300, 5.0], [0.0, -1.0], "a positive number", ()),
    Row(c.nonnegative, [0.0, -0.0, 5.0], [-1e-300], "a nonnegative number", ()),
    Row(c.unit_interval, [0.0, 0.5, 1.0], [-1e-9, 1.0 + 1e-9], "a number in [0.0, 1.0]", ()),
    Row(c.circular, [-np.pi, 0.0, np.pi], [3.2, -3.2], f"a number in [{-np.pi}, {np.pi}]", ()),
    Row(c.interval(-0.1, 0.7), [-0.1, 0.7], [-0.2, 0.8], "a number in [-0.1, 0.7]", ()),
    Row(
        c.interval(np.array([0.1, -5.0]), np.array([0.3, 7.7])),
        arrays([0.2, 7.7]),
        [],
        "a number in [-5.0...0.1 (by element), 0.3...7.7 (by element)]",
        (2,),
    ),
    Row(c.open_interval(0.3, 0.7), [0.5], [0.3, 0.7], "a number strictly between 0.3 and 0.7", ()),
    Row(c.open_interval(2.0, 3.0), [2.5], [2.0, 3.0], "a number strictly between 2.0 and 3.0", ()),
    Row(c.greater_than(2.0), [2.1, 1e30], [2.0, 1.0], "a number above 2.0", ()),
    Row(c.greater_than_eq(2.0), [2.0], [1.9], "a number not below 2.0", ()),
    Row(c.less_than(2.0), [1.9], [2.0], "a number below 2.0", ()),
    Row(c.less_than(-3.0), [-3.5], [-3.0], "a number below -3.0", ()),
    Row(c.less_than_eq(2.0), [2.0], [2.1], "a number not above 2.0", ()),
    Row(
        c.simplex,
        arrays([0.2, 0.5, 0.3], [0.0, 1.0]),
        arrays([0.5, 0.6], [-0.1, 1.1], [0.0, 0.0]),
        "a vector of nonnegative numbers that sum to 1",
        (3,),
    ),
    Row(
        c.l1_ball,
        arrays([0.2, -0.8], [0.0, 0.0, 0.0], [-1.0]),
        arrays([0.6, 0.6], [-1.1]),
        "a vector whose absolute values sum to at most 1",
        (3,),
    ),
    Row(c.sphere, arrays([0.6, -0.8], [-1.0]), arrays([0.6, 0.7], [0.0, 0.0]), "a vector of length 1"),
    Row(
        c.zero_sum(1),
        arrays([0.0, 0.0], [1e6, -1e6], [1e-9, 1e-9, -2e-9]),
        arrays([1.0, 1e-3], [1e-9, 1e-9]),
        "a vector that sums to 0",
        (3,),
    ),
    Row(
        c.zero_sum(2),
        arrays([[1.0, -1.0], [-1.0, 1.0]]),
        arrays([[1.0, -1.0], [1.0, -1.0]], [[1.0, 1.0], [-1.0, -1.0]]),
        "an array that sums to 0 along each of its axes",
        (2, 3),
    ),
    Row(
        c.ordered_vector,
        arrays([-1.0, 0.0, 2.0], [1.0, 1.0]),
        arrays([0.0, -1.0]),
        "a vector in increasing order",
        (4,),
    ),
    Row(
        c.positive_ordered_vector,
        arrays([0.5, 2.0]),
        arrays([-0.5, 2.0], [2.0, 0.5], [0.0, 1.0]),
        "a vector of positive numbers in increasing order",
        (4,),
    ),
    Row(
        c.log_weights,
        arrays([0.0, -np.inf]),
        arrays([-np.inf, -np.inf], [np.inf, 0.0]),
        "a vector of log weights: finite numbers or -inf, not all -inf",
        (3,),
        bound_infinite=False,
    ),
    *(
        Row(
            triangle,
            [np.eye(3), np.array([[1e-9, 0.0], [7.0, 2.0]])],
            [np.ones((2, 2)), -np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])],
            "a lower triangular matrix with a positive diagonal",
            (6,),
        )
        for triangle in (c.lower_cholesky, c.softplus_lower_cholesky, c.scaled_unit_lower_cholesky)
    ),
    Row(
        c.corr_cholesky,
        [np.eye(3), TRIANGLE, np.ones((1, 1))],
        [2.0 * np.eye(2), np.ones((2, 2)), np.array([[1.0, 0.0], [0.6, -0.8]]), np.array([[1.0, 0.0], [1.0, 0.0]])],
        "a lower triangular matrix with a positive diagonal and rows of length 1",
        (6,),
    ),
    Row(
        c.corr_matrix,
        [np.eye(3), TRIANGLE @ TRIANGLE.T],
        [2.0 * np.eye(2), np.ones((2, 2)), np.array([[1.0, 1.5], [1.5, 1.0]]), np.array([[1.0, 0.5], [0.1, 1.0]])],
        "a symmetric positive definite matrix with ones on its diagonal",
        (6,),
    ),
    Row(
        c.positive_definite,
        [np.eye(3), 1e-9 * np.eye(2), 7.0 * TRIANGLE @ TRIANGLE.T],
        [np.zeros((2, 2)), -np.eye(2), np.array([[2.0, 0.5], [0.1, 2.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])],
        "a symmetric positive definite matrix",
        (6,),
    ),
    Row(
        c.positive_semidefinite,
        [np.eye(3), np.ones((3, 3)), np.zeros((2, 2))],
        [-np.eye(2), np.array([[2.0, 0.5], [0.1, 2.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])],
        "a symmetric positive semidefinite matrix",
        (6,),
    ),
    Row(
        c.independent(c.positive, 2),
        [np.ones((2, 3))],
        [-np.ones((2, 3)), np.array([[1.0, 0.0]])],
        "an array with every element a positive number",
        (2, 3),
    ),
    Row(
        c.independent(c.simplex, 1),
        [np.full((2, 2), 0.5)],
        arrays([[0.5, 0.5], [0.5, 0.6]]),
        "an array with every element a vector of nonnegative numbers that sum to 1",
        (2, 3),
    ),
    Row(
        c.stack([c.real, c.positive, c.unit_interval]),
        arrays([-1.0, 2.0, 1.0]),
        arrays([-1.0, 0.0, 1.0], [-1.0, 2.0, 1.5]),
        "a finite number, then a positive number, then a number in [0.0, 1.0], stacked",
        (3,),
    ),
    Row(
        c.stack([c.simplex, c.simplex]),
        arrays([[0.2, 0.8], [1.0, 0.0]]),
        arrays([[0.2, 0.7], [1.0, 0.0]]),
        "a vector of nonnegative numbers that sum to 1, then a vector of nonnegative numbers that sum to 1, stacked",
        (2, 3),
    ),
    Row(
        c.cat([c.positive, c.simplex, c.real], [2, 3, 1]),
        arrays([1.0, 2.0, 0.2, 0.3, 0.5, -7.0]),
        arrays([1.0, -2.0, 0.2, 0.3, 0.5, -7.0], [1.0, 2.0, 0.2, 0.3, 0.6, -7.0]),
        "an array with every element a positive number of 2, then a vector of nonnegative numbers that sum to 1 of 3, "
        "then an array with every element a finite number of 1",
        (5,),
    ),
    Row(c.boolean, [0, 1, True, 1.0], [2, 0.5, -1], "0 or 1"),
    Row(c.integer, [0, -7, 3.0], [0.5], "an integer"),
    Row(c.nonnegative_integer, [0, 7, 3.0], [-1, 0.5], "a nonnegative integer"),
    Row(c.positive_integer, [1, 2.0], [0], "a positive integer"),
    Row(c.integer_interval(2, 4), [2, 4, 3.0], [1, 5, 2.5], "an integer in [2, 4]"),
    Row(c.integer_greater_than(3), [3, 4], [2, 3.5], "an integer not below 3"),
    Row(
        c.one_hot,
        arrays([0, 1, 0], [1.0, 0.0]),
        arrays([0, 1, 1], [0.5, 0.5], [0, 0], [0, 2]),
        "a vector with a single 1 and zeros elsewhere",
    ),
    Row(
        c.multinomial(3),
        arrays([1, 0, 2], [3], [0.0, 3.0]),
        arrays([1, 1], [1.5, 1.5], [-1, 4]),
        "a vector of nonnegative integers that sum to 3",
    ),
    Row(
        c.multinomial(np.array([2, 5])),
        arrays([[1, 1], [0, 5]]),
        [],
        "a vector of nonnegative integers that sum to 2...5 (by element)",
    ),
]
rows = pytest.mark.parametrize("row", ROWS, ids=str)
DISCRETE = {str(row) for row in ROWS[-9:]}


@rows
def test_members_are_in_and_strangers_out(row):
    for value in row.members:
        assert np.all(row.constraint(value))
        narrow = np.asarray(value, dtype=np.float32)[()]
        if np.all(np.isfinite(narrow)) and not np.any((narrow == 0) & (np.asarray(value) != 0)):
            assert np.all(row.constraint(narrow)) or row.constraint == c.circular  # its ends are no float32
    for value in row.strangers:
        assert not np.any(row.constraint(value))


@rows
def test_nan_and_infinity_are_outside(row):
    for value, bad in itertools.product(row.members, (np.nan, np.inf, -np.inf)):
        if not row.bound_infinite and bad == -np.inf:
            continue
        for place in np.ndindex(np.shape(value)):
            broken = np.array(value, dtype=float)
            broken[place] = bad
            assert not np.all(row.constraint(broken)), f"{bad} at {place}"


@rows
def test_feasible_points_are_members_and_keep_the_type(row):
    for value in row.members + row.strangers:
        feasible = np.broadcast_to(row.constraint.feasible_like(value), np.shape(value))
        assert np.all(row.constraint(feasible))
        narrow = np.asarray(value, dtype=np.float32)
        if row.constraint.is_discrete or any(np.ndim(leaf) for leaf in row.constraint.tree_flatten()[0]):
            continue  # whole numbers, and bounds with a type of their own
        assert np.where(True, narrow, row.constraint.feasible_like(narrow)).dtype == np.float32


@rows
@settings(max_examples=5, deadline=None)
@given(batch=st.lists(st.integers(0, 3), max_size=2).map(tuple))
def test_one_truth_for_each_batch_element(row, batch):
    for value in map(np.asarray, row.members):
        lead = np.shape(value)[: np.ndim(value) - row.constraint.event_dim]
        assert np.shape(row.constraint(value)) == lead
        assert row.constraint(np.broadcast_to(value, batch + value.shape)).shape == batch + lead


@rows
def test_words(row):
    assert str(row.constraint) == row.words


@rows
def test_equality_is_by_value(row):
    leaves, rebuild = row.constraint.tree_flatten()
    again = rebuild([np.array(leaf) if np.ndim(leaf) else leaf for leaf in leaves])
    assert again == row.constraint
    assert hash(again) == hash(row.constraint)
    assert [other for other in ROWS if other.constraint == row.constraint] == [row]


@rows
def test_membership_can_be_recorded(row):
    for value in map(np.asarray, row.members + row.strangers):
        program = A.record(lambda x: (row.constraint(x),), [value])
        np.testing.assert_array_equal(A.compile_program(program)(value)[0], row.constraint(value))


@rows
def test_only_sets_without_a_bijection_are_refused(row):
    assert row.constraint.is_discrete == (str(row) in DISCRETE)
    if row.free is None:
        with pytest.raises(ModelError, match=r"got a bijection .*\n.*expected a con.*\n.*try"):
            biject_to(row.constraint)
    else:
        biject_to(row.constraint)


@pytest.mark.parametrize("bound", [-1e300, -1e17, 0.0, 1e17, 1e300])
def test_feasible_points_of_far_half_lines(bound):
    for constraint in (c.greater_than(bound), c.greater_than_eq(bound), c.less_than(bound), c.less_than_eq(bound)):
        assert constraint(constraint.feasible_like(0.0))


def test_names_of_one_set():
    assert c.interval(0.0, 1.0) == c.unit_interval
    assert c.greater_than(0) == c.positive
    assert c.circular == c.interval(-np.pi, np.pi)
    assert c.sorted_vector == c.ordered_vector
    assert c.interval(0.0, np.arange(1.0, 3.0)) == c.interval(0.0, np.arange(1.0, 3.0))
    assert c.interval(0.0, np.arange(1.0, 3.0)) != c.interval(0.0, np.arange(2.0))
    assert c.independent(c.independent(c.real, 1), 1) == c.independent(c.real, 2) == c.real_matrix
    assert c.independent(c.real, 0) is c.real
    assert c.cat([c.real, c.positive]) == c.cat([c.independent(c.real, 1), c.positive], (1, 1))


def test_the_offender_is_seen_in_a_batch():
    values = np.stack([TRIANGLE, np.eye(2), np.full((2, 2), np.nan), -np.eye(2)])
    assert c.corr_cholesky(values).tolist() == [True, True, False, False]
    assert c.corr_matrix(values).tolist() == [False, True, False, False]


def test_a_recorded_bound_moves():
    seen = []

    def fun(a, x):
        seen.append(c.stack([c.interval(0.0, a), c.positive]))
        return (seen[0](x),)

    program = A.record(fun, [np.array(2.0), np.array([1.0, 1.0])])
    assert seen[0].depends_on_recorded
    assert "depends on draws" in str(seen[0])
    assert c.bounds(c.greater_than(seen[0].parts[0].upper_bound)) is None
    run = A.compile_program(program)
    assert run(2.0, np.array([1.0, 1.0]))[0] and not run(0.5, np.array([1.0, 1.0]))[0]


@pytest.mark.parametrize(
    ("inner", "outer", "answer"),
    [
        (c.unit_interval, c.nonnegative, True),
        (c.corr_matrix, c.corr_matrix, True),
        (c.softplus_positive, c.positive, True),
        (c.boolean, c.unit_interval, True),
        (c.integer, c.real, True),
        (c.real, c.integer, False),
        (c.circular, c.interval(-4.0, 4.0), True),
        (c.multinomial(3), c.less_than_eq(3), False),
        (c.real, c.positive, False),
    ],
    ids=str,
)
def test_within(inner, outer, answer):
    assert c.within(inner, outer) is answer


def test_refusals_say_what_to_do():
    with pytest.raises(ShapeError, match=r"event axes[\s\S]*same number[\s\S]*independent"):
        c.stack([c.real, c.simplex])
    with pytest.raises(ShapeError, match=r"lengths \[1\][\s\S]*a length for each[\s\S]*cat"):
        c.cat([c.real, c.simplex], [1])
    with pytest.raises(ShapeError, match="sets of numbers or of vectors"):
        c.cat([c.lower_cholesky])
    with pytest.raises(ShapeError, match=r"shape \(2,\)[\s\S]*3 along axis -1"):
        c.stack([c.real, c.real, c.positive])(np.zeros(2))
    with pytest.raises(ShapeError, match=r"shape \(5,\)[\s\S]*4 along axis -1"):
        c.cat([c.real, c.simplex], [1, 3])(np.zeros(5))
    with pytest.raises(ModelError, match=r"depends on other parameters[\s\S]*support of an instance"):
        c.dependent(0.0)
