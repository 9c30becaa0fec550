"""What a program prints is what it computes: the text is evaluated, and gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ppl.array as A
from ppl.array import text

KNOWN = {name: getattr(np, name) for name in ("exp", "log1p", "tanh", "sum", "where", "abs", "array", "log", "square")}
LEAVES = st.sampled_from(["x", "y", "1.5", "-2.0", "0.25"])
BINARY = [np.add, np.subtract, np.multiply, np.true_divide, np.less, np.maximum]
UNARY = [np.negative, np.tanh, lambda z: np.exp(-abs(z)), lambda z: z**2, lambda z: z**1.7, lambda z: z[::-1]]


@st.composite
def expressions(draw, depth=4):
    """A function of (x, y), two vectors of positive numbers."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        leaf = draw(LEAVES)
        return lambda x, y: {"x": x, "y": y}[leaf] if leaf in "xy" else float(leaf)
    if draw(st.booleans()):
        f, a, b = draw(st.sampled_from(BINARY)), draw(expressions(depth - 1)), draw(expressions(depth - 1))
        return lambda x, y: f(a(x, y) * 1.0, b(x, y) + 0.0 * x) * 1.0
    g, inner = draw(st.sampled_from(UNARY)), draw(expressions(depth - 1))
    return lambda x, y: g(inner(x, y) + 0.0 * x)


def evaluated(program, inputs):
    """The outputs of the printed program, computed by Python itself."""
    found = text.written(program)
    scope = {**KNOWN, "maximum": np.maximum, **{i.name: v for i, v in zip(program.inputs, inputs, strict=True)}}
    for name, expression, _ in found.lines:
        scope[name] = eval(expression, {}, scope)
    return [eval(output, {}, scope) for output in found.outputs]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(fun=expressions(), seed=st.integers(0, 99))
def test_the_text_is_the_program(fun, seed):
    rng = np.random.default_rng(seed)
    inputs = [rng.uniform(0.5, 2.0, 3) for _ in range(2)]
    with np.errstate(all="ignore"):
        program = A.record(lambda x, y: (fun(x, y), np.sum(fun(x, y) * y)), inputs, ["x", "y"])
        for got, expected in zip(evaluated(program, inputs), A.run(program, *inputs), strict=True):
            # Numbers are printed with six digits.
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_brackets_that_change_a_value_are_kept(monkeypatch):
    """The control: without the rule that keeps them, the text says something else."""
    x, y = np.array([0.5, 1.5]), np.array([2.0, 3.0])
    program = A.record(lambda x, y: (x - (y - x) / (y * x) + (x**1.7) ** 2,), [x, y], ["x", "y"])
    np.testing.assert_allclose(evaluated(program, [x, y])[0], A.run(program, x, y)[0])
    monkeypatch.setattr(text, "_wrapped", lambda operand, binds: operand.text)
    assert not np.allclose(evaluated(program, [x, y])[0], A.run(program, x, y)[0])


def test_a_program_reads_like_a_formula():
    def fun(a, b):
        z = a.T @ b
        return np.sum(np.log(z) - 0.5 * z**2), np.logaddexp.reduce(b), b[1:], b[None, :, 0] * -1.0

    program = A.record(fun, [np.ones((3, 2)), np.ones((3, 2))], ["weights", "data"])
    shown = str(program)
    assert shown.startswith("weights: float64[3, 2]\ndata: float64[3, 2]\n")
    assert "= transpose(weights, (1, 0)) @ data  # float64[2, 2]" in shown
    assert "sum(log(v3) - 0.5 * v3**2)" in shown
    assert "data[1:]" in shown and "-data[None, :, 0]" in shown and "logsumexp(data, (0,))" in shown


@pytest.mark.parametrize("size", [5, 1000])
def test_the_text_of_a_long_program_stays_short(size):
    program = A.record(lambda x: (sum((np.tanh(x * k) for k in range(size)), 0.0),), [1.0], ["x"])
    assert len(str(program)) < 40 * size + 200


def test_comparisons_of_comparisons_are_no_chains():
    x, y = np.array([-1.0, 1.0, 2.0]), np.array([-2.0, -1.0, 3.0])
    program = A.record(lambda x, y: ((x > 0.0) == (y > 0.0),), [x, y], ["x", "y"])
    np.testing.assert_array_equal(evaluated(program, [x, y])[0], (x > 0) == (y > 0))
