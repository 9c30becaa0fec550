"""A scan is the loop that it stands for: value, gradient, Hessian-vector product, batch.

Every model is one step function; it is run once by `ppl.array.scan` and once by a plain loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

import ppl
import ppl.array as A
from ppl.array.scan import flatten, scan_rows

RNG = np.random.default_rng(0)
T = 7


def plain(f, init, xs, length=None):
    """The same as `ppl.array.scan`, step after step, unrolled where a value is recorded."""
    leaves, build = flatten(xs)
    carry, found = init, []
    for t in range(len(leaves[0]) if leaves else length):
        carry, y = f(carry, build([x[t] for x in leaves]))
        found.append(flatten(y))
    return carry, found[0][1]([np.stack(column) for column in zip(*(p for p, _ in found), strict=True)])


def normal(x, loc, scale):
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale)


# -- models: (scan, *inputs) -> log density --------------------------------------------------------
RETURNS = RNG.normal(size=T)


def garch(scan, omega, alpha, beta):
    def step(carry, r):
        variance, before = carry
        variance = omega + alpha * before**2 + beta * variance
        return (variance, r), normal(r, 0.0, np.sqrt(variance))

    return np.sum(scan(step, (omega / (1.0 - alpha - beta), RETURNS[0]), RETURNS[1:])[1])


EMISSIONS = RNG.normal(size=T) + 1.5 * RNG.integers(0, 3, T)


def log_softmax(x):
    return x - A.logsumexp(x, -1)[..., None]


def hidden_markov(scan, start, transition, loc, log_scale):
    table = log_softmax(transition)
    emit = lambda y: normal(y, loc, np.exp(log_scale))

    def step(forward, y):
        forward = A.logsumexp(forward[:, None] + table, 0) + emit(y)
        return forward, A.logsumexp(forward)

    last, partial = scan(step, log_softmax(start) + emit(EMISSIONS[0]), EMISSIONS[1:])
    return A.logsumexp(last) + 0.1 * np.sum(partial)


HARES = np.abs(RNG.normal(size=(T, 2))) + 1.0


def lotka_volterra(scan, z0, theta):
    def slope(z):
        u, v = z[0], z[1]
        return np.stack([(theta[0] - theta[1] * v) * u, (-theta[2] + theta[3] * u) * v])

    def step(z, y):
        h = 0.1
        k1 = slope(z)
        k2 = slope(z + h / 2 * k1)
        k3 = slope(z + h / 2 * k2)
        k4 = slope(z + h * k3)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return z, np.sum(normal(np.log(y), np.log(z), 0.25))

    return np.sum(scan(step, z0, HARES)[1])


def random_walk(scan, z, log_tau):
    def step(before, now):
        x, y = now
        return x, normal(x, before, np.exp(log_tau)) + normal(y, x, 0.5)

    return np.sum(scan(step, 0.0, (z, RETURNS))[1])


def autoregression(scan, a, b, c, noise):
    def step(carry, e):
        last, before = carry
        x = c + a * last + b * before + e
        return (x, last), x

    (x, before), path = scan(step, (0.3, -0.2), noise)
    return np.sum(np.tanh(path)) + x * before


W_IN, W_STATE = RNG.normal(size=(3, 4)), 0.5 * RNG.normal(size=(4, 4))
SERIES = RNG.normal(size=(T, 3))


def gated(scan, gate, state, bias):
    def sigmoid(x):
        return 1.0 / (1.0 + np.exp(-x))

    def step(h, x):
        update = sigmoid(x @ W_IN + h @ gate + bias)
        candidate = np.tanh(x @ W_IN + (update * h) @ W_STATE)
        h = (1.0 - update) * h + update * candidate
        return h, {"h": h, "gate": update}

    h, ys = scan(step, state, SERIES)
    return np.sum(h**2) + np.sum(ys["h"] * np.flip(ys["gate"], 0))


def counted(scan, z, scale):
    """No xs, only a length; a counter in the carry."""

    def step(carry, _):
        x, t = carry
        return (x + scale * np.sin(z + t), t + 1.0), x * t

    (x, t), ys = scan(step, (z, 0.0), None, length=5)
    return np.sum(x) * t + np.sum(ys)


WHERE = np.array([0, 3, 1, 1, 2, 0, 3])


def looked_up(scan, table, rate):
    """Whole numbers as xs pick rows of a recorded table and of a plain one."""
    known = np.linspace(0.5, 2.0, 4)

    def step(carry, x):
        i, y = x
        carry = rate * carry + table[i] * known[i] if hasattr(known, "tape") else rate * carry + table[i]
        return carry, normal(y, carry, 1.0)

    return np.sum(scan(step, table[0], (WHERE, RETURNS))[1])


def trees(scan, a, b):
    """Dicts in tuples in lists, with an empty branch."""

    def step(carry, x):
        level, pair = carry["level"], carry["pair"]
        level = 0.7 * level + x["up"] * b
        return {"level": level, "pair": [pair[1], level * pair[0]]}, ({"sum": level + pair[0]}, None, [level])

    last, (first, none, (second,)) = scan(step, {"level": a, "pair": [a, 1.0]}, {"up": RETURNS, "nothing": None})
    assert none is None
    return last["level"] + last["pair"][0] * last["pair"][1] + np.sum(first["sum"] * second)


def nested(scan, a, w):
    """A scan in every step of a scan."""

    def outer(carry, row):
        inner, ys = scan(lambda c, x: (np.tanh(c * a + x), c * w[0]), carry, row)
        return inner * w[1], np.sum(ys * row)

    last, ys = scan(outer, a, SERIES)
    return last + np.sum(ys)


def nested_constant(scan, a):
    """The inner scan runs over data alone, and its carry is the outer one."""

    def outer(carry, _):
        return scan(lambda c, x: (c * a + np.sin(c) * x, c), carry, RETURNS[:3])[0], carry**2

    last, ys = scan(outer, a, None, length=4)
    return last + np.sum(ys)


def history(scan, z):
    """Only the xs decide the carry: no loop is left."""
    last, ys = scan(lambda c, x: (x * 2.0, c - x), z[0], z)
    return last * np.sum(ys**2)


def one_step(scan, z):
    return np.sum(scan(lambda c, x: (c * x, c + x), z, RETURNS[:1])[1])


def array_carry(scan, chol, z):
    """Matrices as carry: a Kalman filter's covariance."""

    def step(carry, y):
        mean, cov = carry
        cov = chol @ cov @ chol.T + 0.3 * np.eye(2)
        gain = np.linalg.solve(cov + np.eye(2), cov)
        mean = mean + gain.T @ (y - mean)
        return (mean, cov - cov @ gain), np.sum(normal(y, mean, 1.0)) - np.linalg.slogdet(cov)[1]

    return np.sum(scan(step, (z, np.eye(2)), HARES)[1])


@dataclass(frozen=True)
class Row:
    fun: object
    inputs: tuple

    def __str__(self):
        return self.fun.__name__


ROWS = [
    Row(garch, (0.3, 0.2, 0.5)),
    Row(hidden_markov, (RNG.normal(size=3), RNG.normal(size=(3, 3)), RNG.normal(size=3), 0.1 * RNG.normal(size=3))),
    Row(lotka_volterra, (np.array([2.0, 1.5]), np.array([0.55, 0.3, 0.8, 0.25]))),
    Row(random_walk, (RNG.normal(size=T), -0.5)),
    Row(autoregression, (0.5, -0.3, 0.1, RNG.normal(size=T))),
    Row(gated, (0.3 * RNG.normal(size=(4, 4)), RNG.normal(size=4), RNG.normal(size=4))),
    Row(counted, (RNG.normal(size=2), 0.4)),
    Row(looked_up, (RNG.normal(size=4), 0.6)),
    Row(trees, (0.4, 1.2)),
    Row(nested, (0.4, RNG.normal(size=2))),
    Row(nested_constant, (0.3,)),
    Row(history, (RNG.normal(size=5),)),
    Row(one_step, (0.7,)),
    Row(array_carry, (RNG.normal(size=(2, 2)), RNG.normal(size=2))),
]


def both(row):
    inputs = [np.asarray(x, float)[()] for x in row.inputs]
    programs = [A.record(lambda *x, s=s: (row.fun(s, *x),), inputs) for s in (A.scan, plain)]
    return inputs, programs


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_value_gradient_and_hessian_are_those_of_the_loop(row):
    inputs, (ours, loop) = both(row)
    n = range(len(inputs))
    d = [np.random.default_rng(1).normal(size=np.shape(x))[()] for x in inputs]
    np.testing.assert_allclose(A.compile_program(ours)(*inputs)[0], row.fun(plain, *inputs), rtol=1e-11)
    np.testing.assert_allclose(row.fun(A.scan, *inputs), row.fun(plain, *inputs), rtol=1e-12)
    slopes, expected = (A.compile_program(A.gradient(p, n))(*inputs) for p in (ours, loop))
    for a, b in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    curved, expected = (A.compile_program(A.hessian_product(p, n))(*inputs, *d) for p in (ours, loop))
    for a, b in zip(curved, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)
    moved, expected = (A.compile_program(A.pushforward(p, n))(*inputs, *d) for p in (ours, loop))
    np.testing.assert_allclose(moved[1], expected[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_batches_are_those_of_the_loop(row):
    inputs, (ours, loop) = both(row)
    many = [np.stack([x * f for f in (1.0, 0.9, 1.1)]) for x in inputs]
    gradient = A.gradient(ours, range(len(inputs)))
    curved = A.hessian_product(ours, range(len(inputs)))
    for flags in product((False, True), repeat=len(inputs)) if len(inputs) < 3 else [(True,) * len(inputs)]:
        given = [m if f else x for m, f, x in zip(many, flags, inputs, strict=True)]
        rows = [[g[k] if f else g for g, f in zip(given, flags, strict=True)] for k in range(3)]
        (values,) = A.compile_program(A.batch(ours, flags, 3))(*given)
        np.testing.assert_allclose(values, [A.compile_program(loop)(*r)[0] for r in rows], rtol=1e-10)
        got = A.compile_program(A.batch(gradient, flags, 3))(*given)
        for k, r in enumerate(rows):
            for a, b in zip(got, A.compile_program(gradient)(*r), strict=True):
                np.testing.assert_allclose(a[k], b, rtol=1e-8, atol=1e-9)
    got = A.compile_program(A.batch(curved, [True] * 2 * len(inputs), 3))(*many, *many)
    for k in range(3):
        row_of = [m[k] for m in many]
        for a, b in zip(got, A.compile_program(curved)(*row_of, *row_of), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_scan_taken_up_again_is_the_same(row):
    """Replaying the recorded program, and reading it out by interpretation, change nothing."""
    inputs, (ours, _) = both(row)
    again = A.record(lambda *x: A.replay(ours, *x), inputs)
    value = A.compile_program(ours)(*inputs)[0]
    assert A.compile_program(again)(*inputs)[0] == pytest.approx(value, rel=1e-12)
    assert A.run(ours, *inputs)[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("fun", [garch, hidden_markov, lotka_volterra, random_walk, gated], ids=lambda f: f.__name__)
def test_the_number_of_steps_does_not_depend_on_the_length(fun, monkeypatch):
    counts = []
    for length in (5, 50):
        for name in ("RETURNS", "EMISSIONS", "HARES", "SERIES"):
            whole = globals()[name]
            monkeypatch.setitem(fun.__globals__, name, np.resize(whole, (length, *whole.shape[1:])))
        row = next(r for r in ROWS if r.fun is fun)
        inputs = [np.resize(x, length) if fun is random_walk and np.ndim(x) else np.asarray(x)[()] for x in row.inputs]
        program = A.record(lambda *x: (fun(A.scan, *x),), inputs)
        n = range(len(inputs))
        sizes = [program, A.gradient(program, n), A.hessian_product(program, n), A.batch(program, [True] * len(n), 4)]
        counts.append([len(p.steps) for p in sizes])
        monkeypatch.undo()
    assert counts[0] == counts[1]


def test_only_what_feeds_on_itself_is_looped():
    program = A.record(lambda z: (history(A.scan, z),), [np.ones(5)])
    assert scan_rows.run not in {s.fun for s in program.steps}
    looped = A.record(lambda a: (one_step(A.scan, a),), [0.5])
    assert scan_rows.run in {s.fun for s in looped.steps}
    (step,) = [s for s in A.record(lambda *x: (gated(A.scan, *x),), ROWS[5].inputs).steps if s.fun is scan_rows.run]
    body = step.args[0]
    # The product with the data is one product for all times, before the loop.
    products = [s for s in body.program.steps if s.fun is np.matmul]
    assert len(products) == 2


def test_what_stands_outside_is_computed_once():
    def fun(w):
        return (np.sum(A.scan(lambda c, x: (np.exp(w) * c + x, c), w, RETURNS)[1]),)

    (step,) = [s for s in A.record(fun, [0.3]).steps if s.fun is scan_rows.run]
    assert np.exp not in {s.fun for s in step.args[0].program.steps}


# -- whole numbers ---------------------------------------------------------------------------------
def test_a_plain_table_is_looked_up_as_an_argument():
    table = np.array([0.5, 1.5, -1.0, 2.0]).view(A.Argument)

    def fun(scan, a):
        return np.sum(scan(lambda c, i: (a * c + table[i], c * table[i]), a, WHERE)[1])

    ours, loop = (A.gradient(A.record(lambda a, s=s: (fun(s, a),), [0.4]), [0]) for s in (A.scan, plain))
    np.testing.assert_allclose(A.compile_program(ours)(0.4), A.compile_program(loop)(0.4), rtol=1e-12)


def test_a_plain_table_of_the_surroundings_names_the_cure():
    table = np.array([0.5, 1.5, -1.0, 2.0])
    with pytest.raises(ppl.ModelError, match="argument of the model"):
        A.record(lambda a: A.scan(lambda c, i: (a * c + table[i], c), a, WHERE), [0.4])


@pytest.mark.parametrize("table", ["recorded", "plain"])
def test_a_carry_of_whole_numbers(table):
    """A position that moves by whole steps, used as an index."""
    values = np.array([0.5, 1.5, -1.0, 2.0])

    def fun(scan, z, rows):
        def step(carry, x):
            at, total = carry
            at = (at + x) % 4
            return (at, 0.5 * total + rows[at] * z), total * rows[at]

        start = np.asarray(1) + 0 * np.argmax(rows) if table == "recorded" else np.argmax(rows)
        (at, total), ys = scan(step, (start, z), WHERE)
        return np.sum(ys) + total + at

    inputs = [0.3, values]
    ours, loop = (A.record(lambda *x, s=s: (fun(s, *x),), inputs) for s in (A.scan, plain))
    np.testing.assert_allclose(A.compile_program(ours)(*inputs), A.compile_program(loop)(*inputs), rtol=1e-12)
    for derive in (A.gradient, A.hessian_product):
        more = [1.0, np.ones(4)] if derive is A.hessian_product else []
        found = [A.compile_program(derive(p, [0, 1]))(*inputs, *more) for p in (ours, loop)]
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    many = [np.array([0.3, 0.5]), np.stack([values, values[::-1]])]
    (got,) = A.compile_program(A.batch(ours, [True, True], 2))(*many)
    np.testing.assert_allclose(got, [A.compile_program(loop)(z, v)[0] for z, v in zip(*many, strict=True)])


def test_ys_keep_their_types():
    step = lambda c, x: (c + x, (x > 0, np.argmax(c + np.arange(3))))
    program = A.record(lambda z: A.scan(step, z, RETURNS)[1], [0.5])
    positive, at = A.compile_program(program)(0.5)
    assert positive.dtype == bool and at.dtype.kind == "i"
    np.testing.assert_array_equal(positive, RETURNS > 0)


# -- refusals --------------------------------------------------------------------------------------
def recorded(step, init=0.5, xs=RETURNS, **more):
    return A.record(lambda z: A.scan(step, z * init, xs, **more), [1.0])


def test_a_carry_of_another_shape_is_refused():
    with pytest.raises(ppl.ShapeError, match=r"\(3,\)") as caught:
        recorded(lambda c, x: (c + np.ones(3), x))
    assert "carry" in str(caught.value) and "broadcast_to" in str(caught.value)


def test_a_carry_of_another_structure_is_refused():
    for step in (lambda c, x: ((c, c), x), lambda c, x: (None, x), lambda c, x: ({"a": c, "b": c}, x)):
        with pytest.raises(ppl.PPLError, match="carry"):
            recorded(step)


def test_a_carry_with_other_names_is_refused():
    with pytest.raises(ppl.ShapeError, match="'c'"):
        A.record(lambda z: A.scan(lambda c, x: ({"c": c["a"] + x, "b": c["b"]}, x), {"a": z, "b": 2.0}, RETURNS), [1.0])


def test_the_order_of_names_in_a_carry_means_nothing():
    def fun(scan, z):
        last, _ = scan(lambda c, x: ({"b": c["a"] + x, "a": c["b"] * z}, x), {"a": z, "b": 2.0}, RETURNS)
        assert list(last) == (["a", "b"] if scan is A.scan else ["b", "a"])
        return last["a"] - last["b"]

    assert A.run(A.record(lambda z: (fun(A.scan, z),), [0.7]), 0.7)[0] == pytest.approx(fun(plain, 0.7))


def test_xs_of_different_lengths_are_refused():
    with pytest.raises(ppl.ShapeError, match=r"\[5, 7\]"):
        recorded(lambda c, x: (c, x[0]), xs=(np.zeros(5), np.zeros(7)))
    with pytest.raises(ppl.ShapeError, match=r"\[4, 7\]"):
        recorded(lambda c, x: (c, x), length=4)
    with pytest.raises(ppl.ShapeError, match="length="):
        recorded(lambda c, x: (c, c), xs=None)


def test_xs_without_a_time_axis_are_refused():
    with pytest.raises(ppl.ShapeError, match="axis"):
        recorded(lambda c, x: (c, c), xs=1.0)


def test_no_steps_at_all_are_refused():
    for scan in (recorded, lambda f, **more: A.scan(f, 0.5, more.pop("xs"), **more)):
        with pytest.raises(ppl.PPLError):
            scan(lambda c, x: (c, c), xs=np.zeros(0))
        with pytest.raises(ppl.PPLError):
            scan(lambda c, x: (c, c), xs=None, length=0)


def test_a_step_that_does_not_return_a_pair_is_refused():
    for step in (lambda c, x: c * x, lambda c, x: (c, x, x), lambda c, x: None):
        with pytest.raises(ppl.ModelError, match=r"carry, y"):
            recorded(step)
        with pytest.raises(ppl.ModelError, match=r"carry, y"):
            A.scan(step, 0.5, RETURNS)


def test_control_flow_in_a_step_is_refused():
    with pytest.raises(ppl.ModelError, match=r"np\.where"):
        recorded(lambda c, x: (c if c > 0 else -c, x))
    tape = A.Tape(eager=True)
    with pytest.raises(ppl.ModelError, match=r"inside ppl\.scan"):
        A.scan(lambda c, x: (c if c > 0 else -c, x), tape.input(1.0), RETURNS)


def test_control_flow_on_what_stands_outside_is_no_matter_of_the_scan():
    tape = A.Tape(eager=True)
    z = tape.input(1.0)
    last, _ = A.scan(lambda c, x: (c * x if z > 0 else c, x), z, RETURNS)
    assert last.value == pytest.approx(np.prod(RETURNS))


def test_a_whole_carry_that_becomes_a_fraction_is_refused_or_right():
    def fun(scan, z):
        return scan(lambda c, x: (c * z + x, c // 2), (z > 0) * 1, RETURNS)[0]

    try:
        program = A.record(lambda z: (fun(A.scan, z),), [0.7])
    except ppl.ModelError as error:
        assert "carry" in str(error)
        return
    assert A.compile_program(program)(0.7)[0] == pytest.approx(fun(plain, 0.7))


def test_float32_stays_float32():
    def fun(scan, a, c, x):
        last, ys = scan(lambda c, v: (np.tanh(a * c + v), c * v), c, x)
        return np.sum(ys) * last

    inputs = [np.float32(0.4), np.float32(0.1), np.arange(4, dtype=np.float32)]
    ours, loop = (A.record(lambda *x, s=s: (fun(s, *x),), inputs) for s in (A.scan, plain))
    got, expected = (A.compile_program(p)(*inputs)[0] for p in (ours, loop))
    assert got.dtype == expected.dtype == np.float32
    assert got == pytest.approx(expected, rel=1e-5)
    slopes = [A.compile_program(A.gradient(p, [0, 1, 2]))(*inputs) for p in (ours, loop)]
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_loop_on_a_tape_of_float32_is_float32_backwards_and_forwards():
    x, table = RETURNS, np.linspace(0.0, 1.0, 3)

    def fun(scan, a, c):
        def step(state, v):
            s, count = state
            s = np.tanh(a * s + v) + np.sum(table * s)
            return (s, count + 1), np.max(np.stack([s, v])) * count

        (last, _), ys = scan(step, (c, 0), x)
        return np.sum(ys) * last + np.sum(scan(lambda s, v: (s * a + v, s), 0.0, x)[1])

    def steps(program):
        for s in program.steps:
            yield s
            if s.args and hasattr(s.args[0], "program"):
                yield from steps(s.args[0].program)

    slopes = []
    for dtype in (np.float32, np.float64):
        tape = A.Tape(dtype=dtype)
        program = A.program_of(tape, [fun(A.scan, tape.input(0.4), tape.input(0.1))])
        slopes.append(A.compile_program(A.gradient(program, [0, 1]))(dtype(0.4), dtype(0.1)))
        if dtype == np.float32:
            for p in (
                A.gradient(program, [0, 1]),
                A.hessian_product(program, [0, 1]),
                A.batch(program, [True, True], 3),
            ):
                wide = [s.fun.__name__ for s in steps(p) if s.dtype == np.float64]
                assert set(wide) <= {"total", "cast"}, wide
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-4)


def test_a_carry_that_becomes_double_is_double():
    x = np.linspace(0.1, 0.9, 5)

    def fun(scan, c):
        return scan(lambda c, v: (c * 0.9 + v, c), c, x)[0]

    start = np.float32(0.1)
    ours = A.record(lambda c: (fun(A.scan, c),), [start])
    assert A.compile_program(ours)(start)[0] == pytest.approx(fun(plain, start), rel=1e-12)


def test_the_work_of_a_scan_is_that_of_its_steps():
    work = []
    for length in (10, 100):
        xs = np.ones(length)
        work.append(A.record(lambda a, xs=xs: A.scan(lambda c, x: (np.tanh(a * c + x), c), a, xs), [0.5]).work)
    assert work[1] > 8 * work[0] > 8 * 10 * 3
