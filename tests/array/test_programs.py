"""What programs share, drop, cut and simplify; what they hold constant; what they cost."""

from __future__ import annotations

import numpy as np
import pytest

import ppl.array as A
from ppl.array import numpy_executor, passes
from ppl.array import operations as op
from ppl.array.recording import SIMPLIFY, Tape


def run(program, *inputs):
    return A.compile_program(program)(*inputs)


def slope(fun, *inputs):
    """Gradient of a scalar function in its first input."""
    return run(A.gradient(A.record(lambda *x: (fun(*x),), inputs), [0]), *inputs)[1]


# -- sharing, pruning, chunks ----------------------------------------------------------------------
def test_common_subexpressions_are_recorded_once():
    once = A.record(lambda x: (np.sum(np.exp(x) * np.exp(x)),), [np.ones(3)])
    assert [s.fun for s in once.steps].count(np.exp) == 1
    assert len(once.steps) == 3
    index = np.array([0, 2])
    shared = A.record(lambda x: (np.sum(x[index] + x[np.array([0, 2])] + x[[0, 2]] + x[0] - x[-3]),), [np.ones(3)])
    assert sum(s.fun.__name__ == "index" for s in shared.steps) <= 4  # an equal array is the same key


def test_what_looks_alike_but_differs_is_not_shared():
    big = np.arange(40.0)
    pairs = {
        "signed zero": lambda x: np.stack([x * 0.0, x * -0.0]),
        "whole and float": lambda x: np.stack([x // 2, x // 2.5]),
        "axis": lambda x: (
            np.sum(np.exp(x)[:, None] * np.ones((1, 3)), 0) + np.sum(np.exp(x)[:, None] * np.ones((1, 3)), 1)
        ),
        "large constants": lambda x: x[0] * big + x[1] * (big + 1.0),
        "types": lambda x: x * np.float64(1.5) + x * np.array([1.5, 1.5, 2.5]),
    }
    x = np.array([1.0, -2.0, 3.0])
    for name, fun in pairs.items():
        np.testing.assert_array_equal(run(A.record(lambda x, f=fun: (f(x),), [x]), x)[0], fun(x), err_msg=name)
        np.testing.assert_array_equal(
            np.signbit(run(A.record(lambda x, f=fun: (f(x),), [x]), x)[0]), np.signbit(fun(x))
        )


@pytest.mark.parametrize("size", [3, 400])
def test_a_constant_that_is_changed_after_its_use_keeps_its_old_value(size):
    def fun(x):
        buffer, total = np.zeros(size), 0.0
        for k in range(3):
            buffer[:] = k + 1.0
            total = total + np.sum(x * buffer)
        return total

    x = np.arange(float(size))
    np.testing.assert_allclose(run(A.record(lambda x: (fun(x),), [x]), x)[0], fun(x))


def test_dead_code_goes():
    program = A.record(lambda x: (np.sum(x * 2), np.exp(np.sin(x)))[:1], [np.ones(3)])
    assert {s.fun for s in program.steps}.isdisjoint({np.exp, np.sin})


def test_prune_keeps_what_the_outputs_need():
    x = np.array([0.5, 1.0])
    program = A.record(lambda x: (np.sum(np.exp(x)), np.cos(x), np.sin(x) * np.exp(x)), [x])
    small = A.prune(program, program.outputs[1:2])
    assert [s.fun for s in small.steps] == [np.cos]
    np.testing.assert_array_equal(run(small, x)[0], np.cos(x))
    both = A.prune(program, (program.outputs[2], program.outputs[0], 7.0))
    for got, expected in zip(run(both, x), (np.sin(x) * np.exp(x), np.exp(x).sum(), 7.0), strict=True):
        np.testing.assert_allclose(got, expected)


def test_reachable_is_what_depends_on_an_input():
    program = A.record(lambda x, y: (np.exp(x) * 2, np.sin(y), x * y), [1.0, 2.0])
    n = len(program.inputs)
    for i in (0, 1):
        found = A.reachable(program, {i})
        for k, step in enumerate(program.steps):
            bumped = [1.0, 2.0]
            bumped[i] += 0.5
            moved = (
                run(A.prune(program, (A.Ref(n + k),)), *bumped)[0]
                != run(A.prune(program, (A.Ref(n + k),)), 1.0, 2.0)[0]
            )
            assert moved == (n + k in found), step


def long_function(count):
    def fun(x):
        total, kept = np.sum(x), []
        for k in range(count):
            total = np.tanh(total * 0.99 + x[k % 3] * (k % 7))
            if k % 500 == 0:
                kept.append(total)
        return total, np.stack(kept), 3.0

    return fun


def test_chunks_compute_what_one_function_does(monkeypatch):
    x = np.array([0.1, 0.2, -0.3])
    program = A.record(long_function(1500), [x])
    assert len(program.steps) > numpy_executor.CHUNK
    chunked = run(program, x)
    for size in (10**9, 7, 1):
        monkeypatch.setattr(numpy_executor, "CHUNK", size)
        for a, b in zip(run(program, x), chunked, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(A.run(program, x), chunked, strict=True):
        np.testing.assert_allclose(a, b)


def test_a_compiled_program_can_be_run_again_and_keeps_nothing():
    program = A.record(lambda x: (np.cumsum(x) * 2, x), [np.ones(3)])
    fun = A.compile_program(program)
    first = fun(np.ones(3))
    second = fun(np.arange(3.0))
    np.testing.assert_array_equal(first[0], [2, 4, 6])
    np.testing.assert_array_equal(second[0], [0, 2, 6])


def test_source_and_text_name_the_operations():
    program = A.record(lambda x: (np.sum(np.exp(x)),), [np.ones(3)], ["theta"])
    assert "exp" in A.source(program) and "theta" in str(program) and "return" in str(program)


def test_replay_gives_the_same_program():
    x = np.array([0.3, 1.2, 2.0])
    program = A.record(lambda x: (np.sum(np.exp(x) / (1 + x**3)), np.sort(x)[::-1]), [x])
    tape = Tape()
    again = A.program_of(tape, A.replay(program, tape.input(x, "x")))
    assert len(again.steps) == len(program.steps)
    for a, b in zip(run(again, x), run(program, x), strict=True):
        np.testing.assert_array_equal(a, b)


# -- held constant ---------------------------------------------------------------------------------
def test_stop_gradient_is_the_value_as_a_constant():
    x = np.array([0.5, 2.0])
    np.testing.assert_allclose(slope(lambda x: np.sum(A.stop_gradient(x) * x), x), x)
    np.testing.assert_array_equal(slope(lambda x: np.sum(A.stop_gradient(np.exp(x))), x), 0)
    assert A.stop_gradient(3.0) == 3.0
    inner = A.record(lambda x: (np.sum(A.stop_gradient(x) ** 2 * x),), [x])
    batched = A.batch(inner, [True], 2)
    total = A.record(lambda y: (np.sum(A.replay(batched, y)[0]),), [np.stack([x, x])])
    np.testing.assert_allclose(run(A.gradient(total, [0]), np.stack([x, 2 * x]))[1], np.stack([x, 2 * x]) ** 2)


def test_the_gradient_of_what_does_not_depend_on_an_input_is_zero():
    program = A.gradient(A.record(lambda x, y: (np.sum(y) * 2,), [np.ones((2, 3)), np.ones(2)]), [0, 1])
    _, gx, gy = run(program, np.ones((2, 3)), np.ones(2))
    np.testing.assert_array_equal(gx, np.zeros((2, 3)))
    np.testing.assert_array_equal(gy, [2, 2])


def test_ties_share_the_derivative():
    np.testing.assert_allclose(slope(lambda x: np.max(x), np.array([1.0, 3.0, 3.0])), [0, 0.5, 0.5])
    np.testing.assert_allclose(slope(lambda x: np.sum(np.maximum(x, 2.0)), np.array([1.0, 2.0, 3.0])), [0, 0.5, 1])


def test_derivatives_at_the_edge_are_finite():
    for fun, at, expected in (
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**3, 0.0, 0.0),
        (lambda x: np.power(x, 1.0), 0.0, 1.0),
        (lambda x: A.softplus(x), 800.0, 1.0),
        (lambda x: A.softplus(x), -800.0, 0.0),
        (lambda x: np.logaddexp(x, 3.0), -800.0, 0.0),
        (lambda x: A.logsumexp(np.stack([x, -np.inf]), 0), 1.0, 1.0),
        (lambda x: np.where(x > 0, A.logsumexp(np.stack([x, x]) - np.inf, 0), x), -1.0, 1.0),
        (lambda x: np.maximum(np.logaddexp(x - np.inf, x - np.inf), x), 1.0, 1.0),
        (lambda x: np.maximum(np.logaddexp2(x - np.inf, x - np.inf), x), 1.0, 1.0),
        (lambda x: np.sum(np.power(x, np.arange(4.0))), 0.0, 1.0),
        (lambda x: np.sum(np.power(x, np.arange(4))), 0.0, 1.0),
        (lambda x: np.power(x, 0.0) + np.power(x, np.zeros(1))[0], 0.0, 0.0),
        (lambda x: np.tanh(x), 500.0, 0.0),
        (lambda x: np.abs(x), 0.0, 0.0),
        (lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), x), -1.0, 1.0),
    ):
        got = slope(fun, np.float64(at))
        assert np.isfinite(got) and got == pytest.approx(expected), (fun(np.float64(at)), got)
        product = A.hessian_product(A.record(lambda x, f=fun: (f(x),), [at]), [0])
        assert np.all(np.isfinite(run(product, np.float64(at), np.float64(1.0))))


def test_powers_of_zero_have_their_derivatives():
    x, d, powers = np.array([0.0, 2.0]), np.array([1.0, 0.5]), np.arange(4)
    for exponents in (powers, powers.astype(float)):
        fun = lambda x, e=exponents: np.sum(np.power(x[:, None], e))
        first, second = (np.polyval(np.polyder(np.ones(4), k), x) for k in (1, 2))
        np.testing.assert_allclose(slope(fun, x), first)
        bent = run(A.hessian_product(A.record(lambda x, f=fun: (f(x),), [x]), [0]), x, d)[1]
        np.testing.assert_allclose(bent, second * d)


def test_the_slope_of_a_power_in_base_and_exponent_at_an_exponent_of_zero():
    program = A.record(lambda x, b: (np.sum(np.power(x, b)),), [np.ones(2), np.zeros(2)])
    x, b, d = np.array([0.5, 2.0]), np.zeros(2), np.ones(2)
    bent = run(A.hessian_product(program, [0, 1]), x, b, d, d)
    np.testing.assert_allclose(bent[2], 1 / x)
    np.testing.assert_allclose(bent[3], 1 / x + np.log(x) ** 2)


def test_a_state_that_cannot_be_reached_has_a_gradient_of_zero():
    with np.errstate(divide="ignore"):
        moves = np.log([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])

    def likelihood(x):
        level = np.array([0.0, -np.inf, -np.inf]) + x[0]
        for row in x[1:]:
            level = A.logsumexp(level[:, None] + moves, 0) + row
        return A.logsumexp(level, 0)

    x = np.random.default_rng(0).normal(size=(4, 3))
    got, value = slope(likelihood, x), lambda x: run(A.record(lambda x: (likelihood(x),), [x]), x)[0]
    assert got[0, 1] == got[0, 2] == got[1, 2] == 0
    d = np.random.default_rng(1).normal(size=x.shape)
    expected = (value(x + 1e-6 * d) - value(x - 1e-6 * d)) / 2e-6
    np.testing.assert_allclose(np.sum(got * d), expected, rtol=1e-6)


@pytest.mark.parametrize("fun", [A.logsumexp, np.logaddexp.reduce, lambda x: np.logaddexp(*x)])
def test_finite_terms_beside_an_infinite_one_have_no_weight(fun):
    with np.errstate(invalid="ignore"):
        assert slope(fun, np.array([1.0, np.inf]))[0] == 0


def test_a_product_with_a_zero_factor_has_its_derivative():
    np.testing.assert_allclose(slope(np.prod, np.array([2.0, 0.0, 3.0])), [0, 6, 0])


def test_nothing_spreads_from_a_triangle_that_was_cut_off():
    x = np.array([[1.0, np.inf], [2.0, np.nan]])
    np.testing.assert_array_equal(run(A.record(lambda x: (np.tril(x, -1),), [x]), x)[0], np.tril(x, -1))


def test_float32_stays_float32():
    x = np.ones(3, np.float32)
    program = A.record(lambda x: (np.sum(np.exp(x) * 2.0 + x**2),), [x])
    assert all(s.dtype == np.float32 for s in program.steps)
    assert run(program, x)[0].dtype == np.float32


# -- simplifications: both sides on random inputs --------------------------------------------------
EXPRESSIONS = {
    np.power: [lambda x, p=p: x**p for p in (1.0, 2.0, 3.0, 0.5, -1.0, -2.0, -0.5, 2, 3, -1, 0.0, 1.7, 4)],
    np.multiply: [
        lambda x: 1.0 * x,
        lambda x: x * -1.0,
        lambda x: x * 1,
        lambda x: np.ones(3) * x,
        lambda x: np.broadcast_to(x, (2, 3)) * np.ones((2, 3)),
        lambda x: np.broadcast_to(x[:1], (3,)) * x,
        lambda x: x * np.broadcast_to(x[:1], (3,)),
        lambda x: np.broadcast_to(x[0], (2, 3)) * np.broadcast_to(x, (2, 3)),
    ],
    np.add: [
        lambda x: 0 + x,
        lambda x: x + 0.0,
        lambda x: x + -x,
        lambda x: x + np.broadcast_to(x[0], (3,)),
        lambda x: np.broadcast_to(x, (2, 3)) + np.broadcast_to(x, (2, 3)),
    ],
    np.subtract: [
        lambda x: x - 0.0,
        lambda x: 0.0 - x,
        lambda x: np.broadcast_to(x[0], (3,)) - x,
        lambda x: x - np.broadcast_to(x[0], (3,)),
    ],
    np.true_divide: [
        lambda x: x / 1.0,
        lambda x: 1.0 / x,
        lambda x: np.broadcast_to(x[0], (3,)) / x,
        lambda x: x / np.broadcast_to(x[0], (3,)),
    ],
    np.negative: [lambda x: np.negative(-x), lambda x: -np.negative(-x)],
    A.functions.op.total.run: [
        lambda x: np.sum(np.broadcast_to(x[0], (2, 3))),
        lambda x: np.sum(np.broadcast_to(x, (2, 3)), axis=0),
        lambda x: np.sum(np.broadcast_to(x, (2, 3))),
        lambda x: np.sum(np.broadcast_to(x[0], (2, 3)), axis=1),
    ],
    A.functions.op.broadcast.run: [lambda x: np.broadcast_to(x, (3,)), lambda x: np.broadcast_to(x, (2, 3))],
    A.functions.op.reshape.run: [lambda x: np.reshape(x, (3,)), lambda x: x.reshape(-1), lambda x: x.reshape(1, 3)],
}


@pytest.mark.parametrize("fun", EXPRESSIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64], ids=lambda t: t.__name__)
def test_a_simplification_changes_no_value_shape_or_type(fun, dtype):
    rng = np.random.default_rng(0)
    for example in EXPRESSIONS[fun]:
        for _ in range(3):
            x = (rng.uniform(1, 5, 3)).astype(dtype)
            try:
                expected = example(x)
            except ValueError:
                continue  # whole numbers to negative whole powers
            (got,) = run(A.record(lambda x, f=example: (f(x),), [x]), x)
            np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == np.float32 else 1e-14)
            assert np.shape(got) == np.shape(expected)
            assert np.asarray(got).dtype == np.asarray(expected).dtype


# Constants of narrow types: folding them together must not make them wrap around.
NARROW = {
    "bytes": np.array([200, 100, 3], np.uint8),
    "small integers": np.array([100, -100, 7], np.int8),
    "booleans": np.array([True, False, True]),
    "float32": np.array([0.1, 0.7, -1e-3], np.float32),
    "integers": np.array([3, -2, 10**12]),
}


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda t: t.__name__)
def test_constants_are_folded_in_the_type_that_they_meet(name, dtype):
    c, x = NARROW[name], np.array([1.5, 2.5, -0.5], dtype)
    for label, fun in {
        "minus a product": lambda x: -(c * x),
        "product of products": lambda x: c * (c * x),
        "on the right": lambda x: (x * c) * c,
        "a number between": lambda x: c * (2 * x) * 3.0,
        "before a square": lambda x: (c * x) * x,
        "twice minus": lambda x: np.negative(-(c * x)),
    }.items():
        (got,) = run(A.record(lambda x, f=fun: (f(x),), [x]), x)
        expected = fun(x)
        assert got.dtype == expected.dtype, label
        np.testing.assert_allclose(got, expected, rtol=3e-7 if expected.dtype == np.float32 else 1e-14, err_msg=label)


@pytest.mark.parametrize("rule", passes.RULES, ids=lambda r: r.name)
def test_both_sides_of_every_rule(rule, monkeypatch):
    """The example fires the rule, and neither value nor gradient moves, on random inputs."""
    fired = []

    def watched(*args, inner=rule.rewrite):
        result = inner(*args)
        fired.append(result is not None)
        return result

    for fun in rule.operations:
        changed = [watched if f is rule.rewrite else f for f in SIMPLIFY[fun]]
        monkeypatch.setitem(SIMPLIFY, fun, changed)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.uniform(0.5, 3, (3, 2))
        weights = rng.normal(size=np.shape(rule.example(x)))
        (got,) = run(A.record(lambda x: (rule.example(x),), [x]), x)
        np.testing.assert_allclose(got, rule.example(x), rtol=1e-13)
        simplified = slope(lambda x, w=weights: np.sum(rule.example(x) * w), x)
        with monkeypatch.context() as plain:
            for fun in list(SIMPLIFY):
                plain.delitem(SIMPLIFY, fun)
            np.testing.assert_allclose(
                simplified, slope(lambda x, w=weights: np.sum(rule.example(x) * w), x), rtol=1e-11
            )
    assert any(fired)


@pytest.mark.parametrize(
    ("fun", "most"),
    [
        (lambda x: x**2, 1),
        (lambda x: x**0.5, 1),
        (lambda x: x**-1.0, 1),
        (lambda x: x**3, 2),
        (lambda x: 1 * x + 0, 0),
        (lambda x: np.negative(-x), 0),
        (lambda x: np.sum(np.broadcast_to(x[0], (50, 3))), 2),
        (lambda x: np.broadcast_to(x[0], (3,)) * x, 2),
    ],
)
def test_a_simplification_saves_steps(fun, most):
    program = A.record(lambda x: (fun(x),), [np.ones(3)])
    assert len(program.steps) <= most, str(program)
    assert np.power not in {s.fun for s in program.steps}


# -- cost ------------------------------------------------------------------------------------------
def test_steps_grow_linearly_with_the_number_of_sites():
    def model(*z):
        total, carry = 0.0, 0.0
        for x in z:
            carry = 0.9 * carry + x
            total = total - 0.5 * (1.3 - carry) ** 2 - np.log1p(np.exp(x))
        return (total,)

    counts = []
    for n in (200, 2000):
        program = A.record(model, [0.1] * n)
        counts.append((len(program.steps), len(A.gradient(program, range(n)).steps)))
    (few, few_slopes), (many, many_slopes) = counts
    assert many <= 10.2 * few
    assert many_slopes <= 10.2 * few_slopes


# What reads row t of a value: its shape for n rows, and how.
ROWS = {
    "z[t] of a vector": (lambda n: (n,), lambda z, t: z[t]),
    "z[t:t+1] of a vector": (lambda n: (n,), lambda z, t: z[t : t + 1]),
    "z[...,t] of a vector": (lambda n: (n,), lambda z, t: z[..., t]),
    "z[-t] of a vector": (lambda n: (n,), lambda z, t: z[-t]),
    "z[t]": (lambda n: (n, 2), lambda z, t: z[t]),
    "z[t,:]": (lambda n: (n, 2), lambda z, t: z[t, :]),
    "z[t,...]": (lambda n: (n, 2), lambda z, t: z[t, ...]),
    "z[t:t+1]": (lambda n: (n, 2), lambda z, t: z[t : t + 1]),
    "z[t,1]": (lambda n: (n, 2), lambda z, t: z[t, 1]),
    "z[:,t]": (lambda n: (2, n), lambda z, t: z[:, t]),
    "z[...,t]": (lambda n: (2, n), lambda z, t: z[..., t]),
    "z[:,t:t+1]": (lambda n: (2, n), lambda z, t: z[:, t : t + 1]),
    "z[1,t]": (lambda n: (2, n), lambda z, t: z[1, t]),
    "z[:,t,:]": (lambda n: (2, n, 2), lambda z, t: z[:, t, :]),
    "z[t,:,1]": (lambda n: (n, 2, 2), lambda z, t: z[t, :, 1]),
    "two forms": (lambda n: (n, 2), lambda z, t: z[t] * z[t : t + 1, :][0] + z[-t, 1]),
}


def chain_of(read):
    """Neighbouring rows read each other; every row but the ends is read twice."""
    return lambda z, n: sum(np.sum((read(z, t) - 0.9 * read(z, t - 1)) ** 2 * np.cos(read(z, t))) for t in range(1, n))


def mean_over_batch(program, size):
    batched = A.batch(program, [True] * len(program.inputs), size)
    return A.compose(batched, A.record(lambda x: (np.mean(x),), [np.zeros(size)]))


@pytest.mark.parametrize("batched", [False, True], ids=["one", "batched"])
@pytest.mark.parametrize("name", ROWS)
def test_gradients_through_rows_of_one_value_cost_linear_work(name, batched):
    shape, read = ROWS[name]
    work = []
    for n in (30, 300):
        program = A.record(lambda z, n=n: (chain_of(read)(z, n),), [np.zeros(shape(n))])
        work.append(A.gradient(mean_over_batch(program, 3) if batched else program, [0]).work)
    assert work[1] <= 15 * work[0]


@pytest.mark.parametrize("batched", [False, True], ids=["one", "batched"])
@pytest.mark.parametrize("name", [*ROWS, "all of one shape"])
def test_gradients_through_rows_are_differences(name, batched):
    n, rng = 6, np.random.default_rng(4)
    if name == "all of one shape":
        shape, same = (n, 2), [f for s, f in ROWS.values() if s(n) == (n, 2)]
        fun = lambda z: sum(
            np.sum(np.sin(f(z, t % n)) * (k + t)) for t in (1, 3, 3, -2, 4, 2) for k, f in enumerate(same)
        )
    else:
        shape, read = ROWS[name][0](n), ROWS[name][1]
        fun = lambda z: chain_of(read)(z, n)
    program = A.record(lambda z: (fun(z),), [np.zeros(shape)])
    if batched:
        program, shape = mean_over_batch(program, 3), (3, *shape)
    z, d = rng.normal(size=shape), rng.normal(size=shape)
    value = lambda x: run(program, x)[0]
    slope = run(A.gradient(program, [0]), z)[1]
    assert slope.shape == shape
    expected = (value(z + 1e-6 * d) - value(z - 1e-6 * d)) / 2e-6
    np.testing.assert_allclose(np.sum(slope * d), expected, rtol=1e-6)
    bent = run(A.hessian_product(program, [0]), z, d)[1]
    ends = [run(A.gradient(program, [0]), z + s * 1e-5 * d)[1] for s in (1, -1)]
    np.testing.assert_allclose(bent, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fun", [np.prod, np.cumprod, np.nanprod, lambda x: np.cumprod(x, 0), lambda x: np.prod(x, 0)])
def test_products_take_few_steps(fun):
    shape = (1000,) if fun in (np.prod, np.cumprod, np.nanprod) else (1000, 2)
    program = A.record(lambda x: (np.sum(fun(x)),), [np.ones(shape)])
    assert len(program.steps) < 80
    slopes = A.gradient(program, [0])
    assert len(slopes.steps) < 250
    assert slopes.work < 300 * np.prod(shape)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 7, 8, 21])
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_derivatives_of_products_at_zeros(n, zeros):
    x = np.random.default_rng(n).uniform(0.5, 1.5, n)
    x[1 : 1 + 2 * zeros : 2] = 0.0
    others = np.array([np.prod(np.delete(x, i)) for i in range(n)])
    np.testing.assert_allclose(slope(np.prod, x), others, rtol=1e-12)
    w = np.arange(1.0, n + 1)
    expected = [sum(w[k] * np.prod(np.delete(x[: k + 1], i)) for k in range(i, n)) for i in range(n)]
    np.testing.assert_allclose(slope(lambda x: np.sum(w * np.cumprod(x)), x), expected, rtol=1e-12)
    whole = np.arange(n, dtype=np.int8)
    program = A.record(lambda x: (np.prod(x), np.cumprod(x)), [whole])
    for got, want in zip(run(program, whole), (np.prod(whole), np.cumprod(whole)), strict=True):
        assert np.asarray(got).dtype == want.dtype
        np.testing.assert_array_equal(got, want)


# -- keys and constants that look alike ------------------------------------------------------------------------
SPELLINGS = {
    "integers": (0, 1),
    "a list": [0, 1],
    "a tuple in a tuple": ((0, 1),),
    "a list in a tuple": ([0, 1],),
    "an array": np.array([0, 1]),
    "two lists": ([0, 1], [0, 1]),
    "a list and an integer": ([0, 1], 1),
    "one integer": 0,
    "an integer in a tuple": (0,),
    "a truth": True,
    "truths": [True, False],
    "an empty list": [],
    "an empty tuple": (),
    "a slice": slice(0, 1),
    "nothing": None,
}


def test_no_two_spellings_of_an_index_are_taken_for_one_another():
    x = np.arange(6.0).reshape(2, 3)
    program = A.record(lambda x: tuple(x[key] * 1.0 for key in SPELLINGS.values()), [x])
    for got, (name, key) in zip(run(program, x), SPELLINGS.items(), strict=True):
        np.testing.assert_array_equal(got, x[key] * 1.0, err_msg=name)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: 2**40 * (2**40 * x),
        lambda x: 10**10 * (10**10 * x),
        lambda x: 1e200 * (1e200 * (1e-300 * x)),
        lambda x: 1e-200 * (1e-200 * (1e300 * x)),
        lambda x: x / np.array([0.0, -0.0]),
        lambda x: np.log10(1e15 * x**0) + np.ldexp(1e-300 * x, 1030),
        lambda x: np.isclose(x, np.inf) * 1.0 + np.allclose(x, [np.inf, 1.0]),
    ],
)
def test_constants_meet_without_overflow(fun):
    x = np.array([1.0, 3.0])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(A.record(lambda x: (fun(x),), [x]), x)[0], fun(x), rtol=1e-14)


def test_captured_arrays_are_copied_once():
    data = np.arange(1000.0)
    program = A.record(lambda x: (sum((np.sum(f(x) * data) for f in (np.sin, np.cos, np.exp, np.tanh)), 0.0),), [1.0])
    copies = {id(a) for s in program.steps for a in s.args if isinstance(a, np.ndarray)}
    assert len(copies) == 1


# -- pieces read in a loop, matrices of which one triangle is filled -------------------------------------------
PIECES = {
    "a slice": lambda z, t: z[t : t + 3],
    "a window of its own length": lambda z, t: z[max(0, t - 4) : t + 1],
    "a gather": lambda z, t: z[np.arange(t, t + 3)],
    "places twice": lambda z, t: z[np.array([t, t, t + 1])],
}


@pytest.mark.parametrize("batched", [False, True], ids=["one", "batched"])
@pytest.mark.parametrize("name", PIECES)
def test_gradients_through_pieces_cost_linear_work_and_are_differences(name, batched):
    def fun(z):
        return sum((np.sum(np.sin(PIECES[name](z, t)) * (1 + t % 5)) for t in range(len(z) - 3)), 0.0)

    work = []
    for n in (50, 400):
        program = A.record(lambda z: (fun(z),), [np.zeros(n)])
        program = mean_over_batch(program, 3) if batched else program
        work.append(A.gradient(program, [0]).work)
    assert work[1] <= 10 * work[0]
    rng = np.random.default_rng(0)
    program = A.record(lambda z: (fun(z),), [np.zeros(20)])
    program, shape = (mean_over_batch(program, 3), (3, 20)) if batched else (program, (20,))
    z, d = rng.normal(size=shape), rng.normal(size=shape)
    slope = run(A.gradient(program, [0]), z)[1]
    ends = [run(program, z + s * 1e-6 * d)[0] for s in (1, -1)]
    assert np.sum(slope * d) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize(
    "fun",
    [
        np.linalg.cholesky,
        lambda a: np.linalg.cholesky(a.T, upper=True),
        np.linalg.eigvalsh,
        lambda a: np.linalg.eigh(a)[0] + np.linalg.eigh(a)[1] ** 2,
    ],
    ids=["cholesky", "upper", "eigvalsh", "eigh"],
)
def test_matrices_of_which_one_triangle_is_filled(fun):
    """NumPy reads the lower triangle and nothing else: so do the derivatives."""
    lower = lambda v: np.stack([np.stack([v[0], 0 * v[0]]), np.stack([v[2], v[1]])])
    value = lambda v: np.sum(fun(lower(v)) * np.array([[0.3, 0.0], [-1.2, 0.8]]).sum(0))
    v, d = np.array([2.0, 3.0, 0.7]), np.array([0.2, -0.5, 1.0])
    program = A.record(lambda v: (value(v),), [v])
    expected = (value(v + 1e-6 * d) - value(v - 1e-6 * d)) / 2e-6
    assert np.sum(slope(value, v) * d) == pytest.approx(expected, rel=1e-6)
    assert run(A.pushforward(program, [0]), v, d)[1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("key", ["rows", "pairs"])
def test_many_rows_are_added_up_as_by_hand(key, kind):
    """As many as are a sparse product: with numbers from the end, and some rows that nobody picks."""
    rng = np.random.default_rng(0)
    ids = rng.integers(-7, 7, (60, 20))
    keys, shape = {"rows": (ids, (9, 16)), "pairs": ((ids, rng.integers(0, 3, 20)), (9, 3, 8))}[key]
    g = rng.normal(size=(60, 20, shape[-1])).astype(kind)
    expected = np.zeros(shape, float)
    np.add.at(expected, keys, g.astype(float))
    found = op.scatter.run(g, keys, shape)
    assert found.dtype == kind and op.adding_rows(keys, shape) is not None
    np.testing.assert_allclose(found, expected, rtol=1e-12 if kind is np.float64 else 1e-5, atol=1e-4)
    program = A.record(lambda x: (np.sum(x[keys] * g),), [np.zeros(shape, kind)])
    slope = A.compile_program(A.gradient(program, [0]))(np.zeros(shape, kind))[1]
    np.testing.assert_allclose(slope, expected, rtol=1e-12 if kind is np.float64 else 1e-5, atol=1e-4)
