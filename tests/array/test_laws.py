"""Laws of recorded arrays, over every row of the registry and over random indices.

recorded value = NumPy's;  gradient = central differences (= autograd's);  batch = loop over rows
"""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ppl.array as A
from ppl.array.derivatives import PARTIALS, PULLS
from ppl.array.recording import FUNCTIONS, METHODS

from .registry import CASES, METHOD_CALLS, Case, draw

FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
STEP = 1e-6
ROWS = 3


def inputs_of(case: Case, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [draw(domain, shape, rng)[()] for domain, shape in zip(case.domains, case.shapes, strict=True)]


def weighted(fun, weights):
    """A scalar that every element of the result takes part in."""
    return lambda *x: (np.sum(fun(*x) * weights),)


def differences(fun, inputs):
    """Central differences of a scalar function in every element of every input."""
    found = []
    for i, x in enumerate(inputs):
        out = np.zeros(np.shape(x))
        for k in np.ndindex(np.shape(x)):
            high, low = np.array(x, dtype=float), np.array(x, dtype=float)
            high[k] += STEP
            low[k] -= STEP
            ends = [fun(*inputs[:i], y[()], *inputs[i + 1 :])[0] for y in (high, low)]
            out[k] = (ends[0] - ends[1]) / (2 * STEP)
        found.append(out)
    return found


def check_gradient(fun, inputs, tolerance=2e-6):
    program = A.record(fun, inputs)
    value, *slopes = A.compile_program(A.gradient(program, range(len(inputs))))(*inputs)
    np.testing.assert_allclose(value, fun(*inputs)[0], rtol=1e-11, atol=1e-13)
    for slope, expected, x in zip(slopes, differences(fun, inputs), inputs, strict=True):
        assert np.shape(slope) == np.shape(x)
        np.testing.assert_allclose(
            slope, expected, rtol=tolerance, atol=tolerance * (1 + np.abs(expected).max(initial=0))
        )
    return slopes


def check_batch(fun, inputs_by_row):
    """Every choice of batched inputs against a loop over rows."""
    first = inputs_by_row[0]
    program = A.record(fun, first)
    run = A.compile_program(program)
    for flags in itertools.product((False, True), repeat=len(first)):
        rows = [[row[i] if flag else first[i] for i, flag in enumerate(flags)] for row in inputs_by_row]
        stacked = [np.stack([r[i] for r in rows]) if flag else first[i] for i, flag in enumerate(flags)]
        (got,) = A.compile_program(A.batch(program, flags, len(rows)))(*stacked)
        expected = np.stack([run(*r)[0] for r in rows])
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11, err_msg=f"batched: {flags}")
        assert np.asarray(got).dtype == expected.dtype


@pytest.mark.parametrize("case", CASES, ids=str)
@FEW
@given(seed=st.integers(0, 2**16))
def test_recorded_value_is_numpys(case, seed):
    inputs = inputs_of(case, seed)
    expected = case.fun(np, *inputs)
    program = A.record(lambda *x: (case.fun(np, *x),), inputs)
    (got,) = A.compile_program(program)(*inputs)
    assert np.shape(got) == np.shape(expected)
    assert np.asarray(got).dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
    assert all(s.shape == np.shape(v) for s, v in zip(program.steps, values_of(program, inputs), strict=True))


def values_of(program, inputs):
    """The value of every step, by interpretation."""
    values = list(inputs)
    for fun, args, kwargs, *_ in program.steps:
        values.append(fun(*A.substitute(args, values.__getitem__), **A.substitute(kwargs, values.__getitem__)))
    return values[len(inputs) :]


@pytest.mark.parametrize("case", [c for c in CASES if c.smooth], ids=str)
@FEW
@given(seed=st.integers(0, 2**16))
def test_gradient_is_that_of_central_differences(case, seed):
    inputs = inputs_of(case, seed)
    weights = np.random.default_rng(seed + 1).normal(size=np.shape(case.fun(np, *inputs)))
    check_gradient(weighted(lambda *x: case.fun(np, *x), weights), inputs)


@pytest.mark.parametrize("case", [c for c in CASES if c.autograd], ids=str)
def test_gradient_is_autograds(case):
    import autograd
    import autograd.numpy as anp

    inputs = inputs_of(case, 3)
    weights = np.random.default_rng(4).normal(size=np.shape(case.fun(np, *inputs)))
    program = A.record(weighted(lambda *x: case.fun(np, *x), weights), inputs)
    _, *slopes = A.compile_program(A.gradient(program, range(len(inputs))))(*inputs)
    for i, slope in enumerate(slopes):
        expected = autograd.grad(lambda *x: anp.sum(case.fun(anp, *x) * weights), i)(*map(np.asarray, inputs))
        np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_batched_program_is_a_loop_over_rows(case):
    check_batch(lambda *x: (case.fun(np, *x),), [inputs_of(case, seed) for seed in range(ROWS)])


@pytest.mark.parametrize("case", [c for c in CASES if c.smooth], ids=str)
def test_batched_gradient_is_a_loop_over_rows(case):
    rows = [inputs_of(case, seed) for seed in range(2)]
    weights = np.random.default_rng(4).normal(size=np.shape(case.fun(np, *rows[0])))
    program = A.gradient(A.record(weighted(lambda *x: case.fun(np, *x), weights), rows[0]), range(len(rows[0])))
    run = A.compile_program(program)
    stacked = [np.stack(x) for x in zip(*rows, strict=True)]
    got = A.compile_program(A.batch(program, [True] * len(stacked), len(rows)))(*stacked)
    for out, *expected in zip(got, *(run(*r) for r in rows), strict=True):
        np.testing.assert_allclose(out, np.stack(expected), rtol=1e-8, atol=1e-10)


# -- broadcasting and indexing, at random ----------------------------------------------------------
@MANY
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3), seed=st.integers(0, 99))
def test_elementwise_operations_broadcast(shapes, seed):
    rng = np.random.default_rng(seed)
    rows = [[draw("positive", s, rng)[()] for s in shapes.input_shapes] for _ in range(2)]

    def fun(a, b, c):
        return np.where(a > b, a * c - b, np.log(b) / (a + c) + np.maximum(a, c) ** b)

    np.testing.assert_allclose(A.compile_program(A.record(lambda *x: (fun(*x),), rows[0]))(*rows[0])[0], fun(*rows[0]))
    check_gradient(weighted(fun, rng.normal(size=shapes.result_shape)), rows[0])
    check_batch(lambda *x: (fun(*x),), rows)


SHAPE = (3, 4, 2)
BASIC = hnp.basic_indices(SHAPE, allow_newaxis=True, allow_ellipsis=True)
FANCY = hnp.integer_array_indices(SHAPE, result_shape=hnp.array_shapes(max_dims=2, max_side=3))


@st.composite
def mixed(draw_from):
    """Slices, None, Ellipsis, integers and integer arrays in one key."""
    key = [
        draw_from(
            st.sampled_from(
                [slice(None), slice(None, None, -1), slice(1, None), 0, -1, np.array([0, -1, 1]), [1, 0, 0]]
            )
        )
        for _ in SHAPE
    ]
    if draw_from(st.booleans()):
        key.insert(draw_from(st.integers(0, 3)), None)
    if draw_from(st.booleans()):
        key[-1] = Ellipsis
    return tuple(key)


BOOLEAN = st.sampled_from(
    [
        np.array([True, False, True]),
        (slice(None), np.array([True, False, False, True])),
        np.arange(24).reshape(SHAPE) % 5 == 0,
        (0, np.array([False, True, True, False]), 1),
        (Ellipsis, np.array([False, True])),
    ]
)


@MANY
@given(key=st.one_of(BASIC, FANCY, mixed(), BOOLEAN), seed=st.integers(0, 99))
def test_indexing_in_all_its_forms(key, seed):
    rng = np.random.default_rng(seed)
    rows = [[rng.normal(size=SHAPE)] for _ in range(2)]
    expected = rows[0][0][key]
    program = A.record(lambda x: (x[key] * 1.5,), rows[0])
    np.testing.assert_array_equal(A.compile_program(program)(*rows[0])[0], expected * 1.5)
    if expected.size:
        check_gradient(weighted(lambda x: x[key], rng.normal(size=expected.shape)), rows[0])
    check_batch(lambda x: (x[key] + 0.0,), rows)


INDEXED = {
    "rows": ((4, 3), lambda x, i: x[i]),
    "elements": ((4,), lambda x, i: x[i]),
    "second axis": ((3, 4), lambda x, i: x[:, i]),
    "element of a row": ((4, 3), lambda x, i: x[i, 1]),
    "two arrays": ((4, 5), lambda x, i: x[i, i]),
    "last axis": ((2, 3, 4), lambda x, i: x[..., i]),
    "between": ((2, 4, 3), lambda x, i: x[0, i]),
    "with slices": ((4, 3, 2), lambda x, i: x[i, 1:]),
    "new axis": ((4, 3), lambda x, i: x[i][:, None]),
    "take": ((3, 4), lambda x, i: np.take(x, i, axis=1)),
    "take flat": ((2, 2), lambda x, i: np.take(x, i)),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("shape", [(5,), (2, 3), ()], ids=str)
def test_recorded_indices(name, shape):
    size, fun = INDEXED[name]
    if name in ("two arrays", "new axis") and shape != (5,):
        pytest.skip("written for a vector of indices")
    rng = np.random.default_rng(0)
    rows = [[rng.normal(size=size), np.asarray(rng.integers(0, 4, shape))[()]] for _ in range(ROWS)]
    x, i = rows[0]
    expected = fun(x, i)
    np.testing.assert_array_equal(A.compile_program(A.record(lambda x, i: (fun(x, i),), rows[0]))(x, i)[0], expected)
    check_batch(lambda x, i: (fun(x, i),), rows)
    weights = rng.normal(size=np.shape(expected))
    program = A.gradient(A.record(weighted(fun, weights), rows[0]), [0])
    _, slope = A.compile_program(program)(x, i)
    np.testing.assert_allclose(slope, differences(lambda x: weighted(fun, weights)(x, i), [x])[0], atol=1e-8)
    stacked = [np.stack(z) for z in zip(*rows, strict=True)]
    _, batched = A.compile_program(A.batch(program, [True, True], ROWS))(*stacked)
    for k, row in enumerate(rows):
        np.testing.assert_allclose(batched[k], A.compile_program(program)(*row)[1], atol=1e-12)


# -- nothing of the tables goes untested -----------------------------------------------------------
def test_every_numpy_function_has_a_row():
    covered = {f for c in CASES for f in c.covers}
    missing = [getattr(f, "__name__", f) for f in FUNCTIONS if f not in covered and f is not operator.getitem]
    assert not missing


def test_every_method_has_a_row():
    assert set(METHODS) - set(METHOD_CALLS) <= {"item", "sort"}


def test_every_derivative_has_a_row():
    from ppl.array import operations as op
    from ppl.array.rows import rows_of

    seen = set()
    for c in CASES:
        inputs = inputs_of(c, 0)
        program = A.record(lambda *x, c=c: (np.sum(c.fun(np, *x) * 1.0),), inputs)
        seen |= {s.fun for s in A.gradient(program, range(len(inputs))).steps} | {s.fun for s in program.steps}
    marks = {op.stop_gradient.run, op.draw_of.run, op.sampled.run, op.sampled_rows.run, rows_of.run}
    missing = [f.__name__ for f in (*PARTIALS, *PULLS) if f not in seen and f not in marks]
    assert not missing
