"""Forward mode: what has a rule, what is constant, what is refused. Its laws stand in test_properties.py."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.array as A
from ppl.array import operations as op
from ppl.array.derivatives import PARTIALS, PULLS
from ppl.array.forward import PUSHES
from ppl.array.recording import call_recording


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
    x, d, step = np.array([0.1, 2.0, -1.0]), np.array([1.0, 0.5, 0.2]), 1e-6
    got = A.compile_program(one)(x, d, d)[1]
    near = [A.compile_program(second)(x + s * d * step, d)[1] for s in (1, -1)]
    np.testing.assert_allclose(got, (near[0] - near[1]) / (2 * step), rtol=1e-6, atol=1e-6)


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
