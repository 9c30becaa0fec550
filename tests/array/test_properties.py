"""The laws of recorded arrays, over calls that hypothesis draws of everything that can be recorded.

value = NumPy's;  gradient = differences of the value = autograd's;  pushforward and Hessian-vector
product = differences of the value and of the gradient;  batched program = a loop over rows.
What NumPy refuses is refused. The slow tests draw many more calls of each function.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import ppl.array as A
from ppl.array.derivatives import PARTIALS, PULLS, STEPWISE
from ppl.array.recording import FUNCTIONS, METHODS, RECORDS, Tape

from .strategies import METHODS_OF_ARRAYS, SINGLE, STRATEGIES, WHOLE, Call, Slot

FEW = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
MANY = settings(FEW, max_examples=200)
STEP = 1e-6


@contextmanager
def quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def outcome(fun, *args):
    """(result, None), or (None, what was raised)."""
    try:
        with quiet():
            return fun(*args), None
    except Exception as error:
        return None, error


def assert_same(got, expected, tolerance, kinds=True):
    assert np.shape(got) == np.shape(expected)
    if kinds:
        assert np.asarray(got).dtype == np.asarray(expected).dtype
    size = np.abs(np.asarray(expected, float), where=np.isfinite(expected), out=np.zeros(np.shape(expected)))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * (1 + size.max(initial=0)))


# -- the laws ----------------------------------------------------------------------------------------------
def check(call: Call) -> None:
    """Every law at one call."""
    inputs = [call.row(0)[i] for i in call.open()]
    expected, refused = outcome(call, *inputs)
    found, error = outcome(lambda: recorded(call, inputs))
    if refused is not None:
        assert error is not None, f"NumPy refuses it: {refused!r}"
        return
    if error is not None:
        raise error
    program, values = found
    narrow = SINGLE in {s.dtype for s in call.slots} | {s.dtype for s in program.steps}
    for got, want in zip(values, expected, strict=True):
        assert_same(got, want, 2e-4 if narrow else 1e-10)
    check_batch(program, call, 2e-4 if narrow else 1e-8)
    smooth = [k for k, i in enumerate(call.open()) if call.slots[i].smooth and call.slots[i].dtype == np.float64]
    if call.smooth and smooth and not narrow:
        check_derivatives(call, program, inputs, smooth)


def recorded(call, inputs):
    program = A.record(lambda *x: call(*x), inputs)
    return program, A.compile_program(program)(*inputs)


def check_batch(program, call, tolerance, **kinds):
    """Some of the inputs are batched: which, the seed says."""
    rows = [[call.row(r)[i] for i in call.open()] for r in (0, 1)]
    flags = [bool(call.seed >> k & 1) for k in range(len(rows[0]))]
    flags = flags if any(flags) else [True] * len(flags)
    rows[1] = [x if flag else first for x, first, flag in zip(rows[1], rows[0], flags, strict=True)]
    stacked = [np.stack(pair) if flag else pair[0] for pair, flag in zip(zip(*rows, strict=True), flags, strict=True)]
    with quiet():
        loop = [A.compile_program(program)(*row) for row in rows]
        batched = A.compile_program(A.batch(program, flags, 2))(*stacked)
    for got, *expected in zip(batched, *loop, strict=True):
        assert_same(got, np.stack(expected), tolerance, kinds=program.dtype != SINGLE)


def scalar_of(call, inputs):
    """A scalar that bends in every number of the result."""
    results = call(*inputs)
    rng = np.random.default_rng(call.seed + 1)
    weights = [rng.normal(size=np.shape(y)) for y in results]

    def fun(*x):
        pairs = zip(call(*x), weights, results, strict=True)
        return (sum(np.sum(y * w + 0.3 * y * y) for y, w, like in pairs if np.asarray(like).dtype.kind == "f") + 0.0,)

    return fun


def moved(inputs, directions, step):
    return [x if d is None else x + step * d for x, d in zip(inputs, directions, strict=True)]


def along(fun, inputs, directions, step):
    ends = [fun(*moved(inputs, directions, s * step)) for s in (1, -1)]
    return [(np.asarray(a, float) - np.asarray(b, float)) / (2 * step) for a, b in zip(*ends, strict=True)]


def check_derivatives(call, program, inputs, wrt):
    with quiet():
        fun = scalar_of(call, inputs)
        if not np.all(np.isfinite(fun(*inputs)[0])) or not any(np.size(inputs[i]) for i in wrt):
            return
        rng = np.random.default_rng(call.seed + 2)
        directions = [rng.normal(size=np.shape(x))[()] if k in wrt else None for k, x in enumerate(inputs)]
        moves = [d for d in directions if d is not None]
        scalar = A.record(fun, inputs)
        slopes = A.compile_program(A.gradient(scalar, wrt))
        value, *gradient = slopes(*inputs)
        for g, k in zip(gradient, wrt, strict=True):
            assert np.shape(g) == np.shape(inputs[k])
        (expected,) = along(A.compile_program(scalar), inputs, directions, STEP)
        parts = [np.sum(g * d) for g, d in zip(gradient, moves, strict=True)]
        size = 1 + abs(value) + sum(np.sum(np.abs(g * d)) for g, d in zip(gradient, moves, strict=True))
        assert abs(sum(parts) - expected) <= 1e-5 * size, "gradient"

        n = len(program.outputs)
        pushed = A.compile_program(A.pushforward(program, wrt))(*inputs, *moves)[n:]
        for got, want, kind in zip(
            pushed, along(A.compile_program(program), inputs, directions, STEP), pushed[:n], strict=True
        ):
            if np.asarray(kind).dtype.kind == "f" and np.all(np.isfinite(want)):
                assert_same(got, want, 1e-5 * size, kinds=False)
        check_batch(A.gradient(scalar, wrt), call, 1e-7)
        check_autograd(call, inputs, wrt, gradient)
        check_second(call, scalar, slopes, inputs, directions, wrt)


def check_second(call, scalar, slopes, inputs, directions, wrt):
    product = A.hessian_product(scalar, wrt)
    found = A.compile_program(product)(*inputs, *(d for d in directions if d is not None))
    gradient, bent = found[: len(wrt)], found[len(wrt) :]
    for got, want in zip(gradient, slopes(*inputs)[1:], strict=True):
        assert_same(got, want, 1e-9, kinds=False)
    size = 1 + max(np.abs(x).max(initial=0) for x in found)
    for got, want in zip(bent, along(lambda *x: slopes(*x)[1:], inputs, directions, 10 * STEP), strict=True):
        assert_same(got, want, 1e-4 * size, kinds=False)


def check_autograd(call, inputs, wrt, gradient):
    """autograd's own gradient of the same call, where it has the function."""
    theirs = AUTOGRAD.get(call.function)
    if theirs is None or call.known:
        return
    import autograd
    import autograd.numpy as anp

    rng = np.random.default_rng(call.seed + 1)
    weights = [rng.normal(size=np.shape(y)) for y in call(*inputs)]

    def fun(*x):
        return sum(anp.sum(y * w + 0.3 * y * y) for y, w in zip(call(*x, function=theirs), weights, strict=True))

    for k, g in zip(wrt, gradient, strict=True):
        expected, missing = outcome(autograd.grad(fun, k), *map(np.asarray, inputs))
        if missing is None and np.shape(expected) == np.shape(g):  # its own shapes are wrong where arrays are empty
            assert_same(g, expected, 1e-8, kinds=False)


# autograd holds constant what np.full_like is filled with, and mistakes the one vector that np.linalg.solve
# has for several matrices; its norm of infinite order is NaN, and np.repeat and np.tile along a
# last axis and np.transpose with negative axes are taken for others. Central differences tell the truth.
AUTOGRAD_IS_WRONG = {np.full_like, np.linalg.solve, np.linalg.norm, np.repeat, np.tile, np.transpose}


def autograds():
    """NumPy's functions to autograd's of the same name."""
    import autograd.numpy as anp

    found = {}
    for home, theirs in ((np, anp), (np.linalg, anp.linalg)):
        for name in home.__all__:
            if hasattr(theirs, name) and _hashable(getattr(home, name)):
                found[getattr(home, name)] = getattr(theirs, name)
    return {f: g for f, g in found.items() if f in STRATEGIES and f not in AUTOGRAD_IS_WRONG}


def _hashable(x):
    try:
        return bool(hash(x)) or True
    except TypeError:
        return False


AUTOGRAD = autograds()


# -- every function, every method --------------------------------------------------------------------------
def hold(strategy, how):
    """The laws hold at the calls that the strategy draws."""

    @how
    @given(call=strategy)
    def laws(call):
        check(call)

    laws()


@pytest.mark.parametrize("function", STRATEGIES, ids=lambda f: f.__name__)
def test_the_laws_hold(function):
    hold(STRATEGIES[function], FEW)


@pytest.mark.parametrize("name", METHODS_OF_ARRAYS)
def test_the_laws_hold_for_methods(name):
    hold(METHODS_OF_ARRAYS[name], FEW)


@pytest.mark.slow
@pytest.mark.parametrize("function", STRATEGIES, ids=lambda f: f.__name__)
def test_the_laws_hold_at_many_calls(function):
    hold(STRATEGIES[function], MANY)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS_OF_ARRAYS)
def test_the_laws_hold_for_methods_at_many_calls(name):
    hold(METHODS_OF_ARRAYS[name], MANY)


def test_nothing_that_can_be_recorded_lacks_a_strategy():
    raw = {getattr(f, "run", f) for f in STRATEGIES}
    missing = [f.__name__ for f in {*FUNCTIONS, *PARTIALS, *PULLS, *STEPWISE, *RECORDS} if f not in raw]
    assert not missing
    assert set(METHODS) == set(METHODS_OF_ARRAYS)


# -- expressions of several functions ----------------------------------------------------------------------
def expression(fun, *shapes, domain="real"):
    """A call of a function of several NumPy functions, at arrays of these shapes."""
    slots = tuple(s if isinstance(s, Slot) else Slot(s, domain) for s in shapes)
    return Call(lambda *x: fun(*x), slots, known=frozenset())


def scanned(c, x, w):
    last, ys = A.scan(lambda s, v: (np.tanh(w @ s + v), w[0] @ s), c, x)
    return last * ys[-1]


TWO_BY_THREE, MASK = (2, 3), np.array([[True], [False]])
EXPRESSIONS = {
    "operators": expression(
        lambda x, y: (2 - x) * -y / (1 + x**2) + abs(y) ** 1.5 + (+x) - 3 // (1 + y * y) + x % 2, (3,), (2, 1)
    ),
    "reflected operators": expression(lambda x: 2**x + 3 / (x * x + 1) - 1.5 * x + (np.ones(3) - x), TWO_BY_THREE),
    "comparisons": expression(lambda x, y: ((x > y) & ~(x == y) | (x <= 0)) * x, TWO_BY_THREE, (3,)),
    "a product with a zero": expression(lambda x: np.prod(x * np.array([1.0, 0.0, 2.0])), (3,)),
    "sum where": expression(lambda x: np.sum(x, axis=0, where=MASK, initial=2.0), TWO_BY_THREE),
    "builtin sum": expression(lambda x: sum(x), (3, 2)),
    "ufunc.reduce": expression(
        lambda x: np.add.reduce(x) + np.maximum.reduce(x, axis=0) - np.minimum.reduce(x), (3, 2)
    ),
    "ufunc.accumulate": expression(lambda x: np.add.accumulate(x) * np.multiply.accumulate(x, axis=1), (3, 2)),
    "ufunc.outer": expression(lambda x, y: np.multiply.outer(x, y) - np.add.outer(x, y), (2,), (3, 2)),
    "numbers among arrays": expression(lambda x, y: np.hstack([np.stack([x, y, 3.0]), x, 1.0]), (), ()),
    "iteration and length": expression(
        lambda x: sum(row * len(x) for row in x) + x.size + x.ndim + x.T.shape[0], (3, 2)
    ),
    "symmetric parts": expression(lambda x: (x + x.mT) @ x.T[..., 0], (3, 3)),
    "logsumexp": expression(lambda x: A.logsumexp(x, (0, 1)) + A.softplus(x), TWO_BY_THREE),
    "a loop": expression(scanned, (3,), (4, 3), (3, 3)),
    "a loop of its length alone": expression(lambda c: A.scan(lambda s, v: (s * c, s + c), c, None, length=4)[1], ()),
}
PLACES = [Slot(shape, "below 4", WHOLE) for shape in ((5,), (2, 3), ())]
INDEXED = {
    "rows": ((4, 3), lambda x, i: x[i]),
    "elements": ((4,), lambda x, i: x[i]),
    "second axis": ((3, 4), lambda x, i: x[:, i]),
    "element of a row": ((4, 3), lambda x, i: x[i, 1]),
    "two arrays": ((4, 5), lambda x, i: x[i, i]),
    "last axis": ((2, 3, 4), lambda x, i: x[..., i]),
    "between": ((2, 4, 3), lambda x, i: x[0, i]),
    "with slices": ((4, 3, 2), lambda x, i: x[i, 1:]),
    "new axis": ((4, 3), lambda x, i: x[i][..., None]),
}
EXPRESSIONS |= {
    f"{name}, at {list(i.shape)}": expression(fun, shape, i) for name, (shape, fun) in INDEXED.items() for i in PLACES
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_laws_hold_for_expressions(name):
    for seed in range(4):  # which of the inputs are batched changes with it
        check(replace(EXPRESSIONS[name], seed=seed))


# -- the working dtype -------------------------------------------------------------------------------------
@pytest.mark.parametrize("function", [f for f in STRATEGIES if isinstance(f, np.ufunc)], ids=lambda f: f.__name__)
def test_what_meets_float32_on_a_tape_of_float32_is_float32(function):
    @FEW
    @given(call=STRATEGIES[function])
    def holds(call):
        tape = Tape(dtype=np.float32)
        rows = [call.row(0)[i] for i in call.open()]
        results, refused = outcome(lambda: call(*(tape.input(x) for x in rows)))
        kinds = [s.dtype.kind for s in call.slots]
        met = any(kinds[i] == "f" for i in call.open()) and "b" not in kinds
        for y in results if refused is None and met else ():
            assert y.dtype.kind != "f" or y.dtype == np.float32

    holds()


def wide(program):
    """Names of the steps whose results are float64, those of loops among them."""
    inside = [wide(s.args[0].program) for s in program.steps if s.args and hasattr(s.args[0], "program")]
    return {s.fun.__name__ for s in program.steps if s.dtype == np.float64}.union(*inside)


def check_narrow(call):
    """Where a program of float32 has no step in float64, its gradient has none, nor the Hessian's products."""
    call = replace(call, slots=tuple(replace(s, dtype=SINGLE) if s.dtype == np.float64 else s for s in call.slots))
    rows = [call.row(0)[i] for i in call.open()]
    tape = Tape(dtype=np.float32)
    inputs = [tape.input(x) for x in rows]
    results, refused = outcome(lambda: call(*inputs))
    smooth = [k for k, x in enumerate(inputs) if x.dtype == np.float32]
    if refused is not None or not smooth or outcome(call, *rows)[1] is not None:
        return
    total = sum(np.sum(y * y) for y in results if A.is_recorded(y) and y.dtype == np.float32)
    program = A.program_of(tape, [total])
    if not A.is_recorded(total) or wide(program):
        return
    slopes, refused = outcome(A.gradient, program, smooth)
    if refused is not None:
        return
    assert not wide(slopes)
    assert all(np.asarray(x).dtype == np.float32 for x in A.compile_program(slopes)(*rows))
    product, refused = outcome(A.hessian_product, program, smooth)
    assert refused is not None or not wide(product)
    assert not wide(A.batch(slopes, [True] * len(rows), 2))


@pytest.mark.parametrize("function", STRATEGIES, ids=lambda f: f.__name__)
def test_gradients_of_float32_are_float32(function):
    @settings(FEW, max_examples=3)
    @given(call=STRATEGIES[function])
    def holds(call):
        with quiet():
            check_narrow(call)

    holds()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients_of_expressions_in_float32_are_float32(name):
    with quiet():
        check_narrow(EXPRESSIONS[name])


# -- negative controls: a wrong rule is found --------------------------------------------------------------
def fails(call):
    try:
        check(call)
    except AssertionError:
        return True
    return False


WAVE = Call(np.sin, (Slot((2, 3)),), seed=3)
TOTAL = Call(np.sum, (Slot((2, 3)),), more={"axis": 1}, seed=3)


def test_a_wrong_derivative_is_found(monkeypatch):
    assert not fails(WAVE)
    monkeypatch.setitem(PARTIALS, np.sin, (lambda y, x: np.cos(x) * 1.001,))
    assert fails(WAVE)


def test_a_wrong_second_derivative_is_found(monkeypatch):
    monkeypatch.setitem(PARTIALS, np.cos, (lambda y, x: -1.001 * np.sin(x),))
    assert fails(WAVE)


def test_a_wrong_batching_rule_is_found(monkeypatch):
    assert not fails(TOTAL)
    monkeypatch.setitem(
        A.batching.RULES,
        A.operations.total.run,
        lambda size, x, axes: A.operations.total(x.x[::-1], tuple(a + 1 for a in axes)),
    )
    assert fails(TOTAL)


def test_a_wrong_value_or_shape_or_type_is_found(monkeypatch):
    for wrong in (
        lambda x, axis: x[:, 0] + x[:, 1],
        lambda x, axis: x[0] + x[1],
        lambda x, axis: (x[:, 0] + x[:, 1] + x[:, 2]).astype(np.float32),
    ):
        with monkeypatch.context() as changed:
            changed.setitem(FUNCTIONS, np.sum, wrong)
            assert fails(TOTAL)
    assert not fails(replace(TOTAL, more={"axis": 0}))
