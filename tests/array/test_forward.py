"""Laws of forward mode, over every row of the registry.

pushforward = central differences of the value;  Hessian-vector product = those of the gradient
"""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.array as A
from ppl.array import operations as op
from ppl.array.derivatives import PARTIALS, PULLS
from ppl.array.forward import PUSHES
from ppl.array.recording import call_recording

from .registry import CASES, draw

SMOOTH = [c for c in CASES if c.smooth]
STEP = 1e-6
SEEDS = (0, 7)


def inputs_of(case, seed):
    rng = np.random.default_rng(seed)
    return [draw(domain, shape, rng)[()] for domain, shape in zip(case.domains, case.shapes, strict=True)]


def directions_of(inputs, seed):
    rng = np.random.default_rng(seed + 100)
    return [rng.normal(size=np.shape(x))[()] for x in inputs]


def along(fun, inputs, directions):
    """Central differences of every output along a direction."""
    ends = [fun(*(x + s * STEP * d for x, d in zip(inputs, directions, strict=True))) for s in (1, -1)]
    return [(np.asarray(a, float) - np.asarray(b, float)) / (2 * STEP) for a, b in zip(*ends, strict=True)]


def assert_close(got, expected, tolerance):
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_allclose(
        got, expected, rtol=tolerance, atol=tolerance * (1 + np.abs(expected).max(initial=0)), equal_nan=False
    )


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_pushforward_is_the_difference_of_the_value(case):
    for seed in SEEDS:
        inputs = inputs_of(case, seed)
        directions = directions_of(inputs, seed)
        program = A.record(lambda *x: (case.fun(np, *x),), inputs)
        value, moved = A.compile_program(A.pushforward(program, range(len(inputs))))(*inputs, *directions)
        np.testing.assert_allclose(value, case.fun(np, *inputs), rtol=1e-11, atol=1e-13)
        assert_close(moved, along(A.compile_program(program), inputs, directions)[0], 2e-6)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_pushforward_in_one_input_holds_the_others(case):
    inputs = inputs_of(case, 3)
    directions = directions_of(inputs, 3)
    program = A.record(lambda *x: (case.fun(np, *x),), inputs)
    parts = []
    for i, d in enumerate(directions):
        parts.append(A.compile_program(A.pushforward(program, [i]))(*inputs, d)[1])
        alone = [d if k == i else np.zeros(np.shape(x)) for k, x in enumerate(inputs)]
        assert_close(parts[-1], along(A.compile_program(program), inputs, alone)[0], 2e-6)


def scalar_of(case, inputs, seed):
    """A scalar that bends in every element of the result, so that second derivatives are not zero."""
    weights = np.random.default_rng(seed + 1).normal(size=np.shape(case.fun(np, *inputs)))

    def fun(*x):
        y = case.fun(np, *x)
        return (np.sum(y * weights + 0.3 * y * y),)

    return A.record(fun, inputs)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_hessian_product_is_the_difference_of_the_gradient(case):
    for seed in SEEDS:
        inputs = inputs_of(case, seed)
        directions = directions_of(inputs, seed)
        program = scalar_of(case, inputs, seed)
        count = range(len(inputs))
        slopes = A.compile_program(A.gradient(program, count))
        found = A.compile_program(A.hessian_product(program, count))(*inputs, *directions)
        for got, expected in zip(found[: len(inputs)], slopes(*inputs)[1:], strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
        expected = along(lambda *x, f=slopes: f(*x)[1:], inputs, directions)
        for got, want in zip(found[len(inputs) :], expected, strict=True):
            assert_close(got, want, 2e-5)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_hessian_is_symmetric(case):
    """u' H v = v' H u, to rounding."""
    inputs = inputs_of(case, 5)
    u, v = directions_of(inputs, 5), directions_of(inputs, 6)
    product = A.compile_program(A.hessian_product(scalar_of(case, inputs, 5), range(len(inputs))))
    hu, hv = (product(*inputs, *d)[len(inputs) :] for d in (u, v))
    left = sum(np.sum(a * b) for a, b in zip(u, hv, strict=True))
    right = sum(np.sum(a * b) for a, b in zip(v, hu, strict=True))
    size = sum(np.sum(np.abs(a * b)) for a, b in zip(u, hv, strict=True))
    assert abs(left - right) <= 1e-9 * (1 + size)


@pytest.mark.parametrize("case", SMOOTH[::3], ids=str)
def test_batched_hessian_product_is_a_loop_over_rows(case):
    rows = [[*inputs_of(case, seed), *directions_of(inputs_of(case, seed), seed)] for seed in SEEDS]
    count = len(case.shapes)
    program = A.hessian_product(scalar_of(case, rows[0][:count], 0), range(count))
    run = A.compile_program(program)
    stacked = [np.stack(x) for x in zip(*rows, strict=True)]
    got = A.compile_program(A.batch(program, [True] * len(stacked), len(rows)))(*stacked)
    for out, *expected in zip(got, *(run(*r) for r in rows), strict=True):
        np.testing.assert_allclose(out, np.stack(expected), rtol=1e-7, atol=1e-9)


def test_every_operation_has_a_forward_rule():
    """What can be differentiated backwards and is not constant can be differentiated forwards."""
    smooth = {f for f, rules in PULLS.items() if rules} | set(PARTIALS)
    missing = [f.__name__ for f in smooth if f not in PUSHES and f not in PARTIALS]
    assert not missing


def test_what_is_constant_for_the_gradient_is_constant_forwards():
    fun = lambda x: (A.stop_gradient(x) * x + np.floor(x) + x.astype(int) + np.sign(x) * np.argmax(x),)
    x, d = np.array([0.3, 1.7, -0.4]), np.array([1.0, 2.0, 3.0])
    _, moved = A.compile_program(A.pushforward(A.record(fun, [x]), [0]))(x, d)
    np.testing.assert_allclose(moved, x * d)


def test_an_output_that_does_not_move_has_direction_zero():
    program = A.record(lambda x, y: (y * 2, 3.0, x), [np.ones(2), np.ones(3)])
    found = A.compile_program(A.pushforward(program, [0]))(np.ones(2), np.ones(3), np.array([1.0, 5.0]))
    np.testing.assert_array_equal(found[3], np.zeros(3))
    assert found[4] == 0
    np.testing.assert_array_equal(found[5], [1, 5])


def test_whole_numbers_have_no_direction():
    fun = lambda x, i: (np.sum(x[i] ** 2 * (1 + i)),)
    x, i = np.array([0.5, 1.5, 2.5]), np.array([0, 2, 2])
    program = A.record(fun, [x, i])
    slope, product = A.compile_program(A.hessian_product(program, [0]))(x, i, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(slope, [1.0, 0, 2 * 2.5 * 6])
    np.testing.assert_allclose(product, [2.0, 0, 2 * 6 * 3.0])


def test_a_third_derivative_by_repetition():
    cubic = A.record(lambda x: (np.sum(np.sort(x) ** 3 + np.logaddexp(x, 0.2)),), [np.zeros(3)])
    second = A.hessian_product(cubic, [0])
    one = A.pushforward(A.Program(second.inputs, second.steps, second.outputs[1:]), [0])
    x, d = np.array([0.1, 2.0, -1.0]), np.array([1.0, 0.5, 0.2])
    got = A.compile_program(one)(x, d, d)[1]
    near = [A.compile_program(second)(x + s * d * STEP, d)[1] for s in (1, -1)]
    np.testing.assert_allclose(got, (near[0] - near[1]) / (2 * STEP), rtol=1e-6, atol=1e-6)


def test_an_operation_without_a_forward_rule_is_refused():
    def strange(x):
        return x + 1.0

    def fun(x):
        return (call_recording(strange, (x,), {}),)

    program = A.record(fun, [np.ones(2)])
    with pytest.raises(ppl.ModelError, match="second derivative of strange") as caught:
        A.pushforward(program, [0])
    assert "forward" in str(caught.value)


def test_a_draw_passes_its_direction_on():
    program = A.record(lambda x: (op.draw_of(x * 2.0, "z") ** 2,), [1.5])
    assert A.compile_program(A.pushforward(program, [0]))(1.5, 1.0)[1] == pytest.approx(12.0)
