"""Rolled up or not, a program is the same function."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

import ppl.array as A
from ppl.array import rolling

from .strategies import STRATEGIES
from .test_properties import FEW, assert_same, outcome, quiet

RNG = np.random.default_rng(5)


def chain(*x):
    """Each value with its neighbour, as sites of a chain read each other."""
    return (sum(np.exp(-((b - 0.9 * a) ** 2)) for a, b in pairwise(x)),)


def star(*x):
    return (x[0], *(np.where(y > x[0], np.log1p(y * y), y / (1.0 + x[0] * x[0])) for y in x[1:]))


def own_constants(*x):
    return tuple(np.logaddexp(k * y, 0.5) + np.array(float(k)) for k, y in enumerate(x))


def mixed_kinds(*x):
    return (sum(np.sin(y) if k % 3 else np.exp(y) * y for k, y in enumerate(x)), np.stack(x) * 2.0)


def repeated(*x):
    """Rows that are read in another order, and more than once."""
    doubled = [2.0 * y for y in x]
    return tuple(np.tanh(doubled[k % 3] - doubled[-k - 1]) for k in range(len(x)))


def running(*x):
    total = 0.0
    for y in x:
        total = np.cos(total + y)
    return (total,)


SCALARS = [chain, star, own_constants, mixed_kinds, repeated, running]


def rows(*x):
    return tuple(np.sum(np.exp(y) * 0.5) + np.reshape(y, (3, 1))[1, 0] for y in x)


def agree(program, inputs, packs):
    plain = A.compile_program(program)(*inputs)
    rolled = A.compile_program(A.roll(program, packs))(*A.pack(program.inputs, inputs, packs))
    assert len(plain) == len(rolled)
    for a, b in zip(plain, rolled, strict=True):
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype or program.dtype == np.float32  # what is wide is narrowed
        np.testing.assert_allclose(b, a, rtol=2e-5 if np.float32 in (np.asarray(a).dtype, program.dtype) else 1e-13)


@pytest.mark.parametrize("packed", [False, True], ids=["inputs apart", "inputs packed"])
@pytest.mark.parametrize("fun", SCALARS, ids=lambda f: f.__name__)
def test_the_same_values(fun, packed):
    inputs = list(RNG.normal(size=24))
    program = A.record(fun, inputs)
    agree(program, inputs, A.packs_of(program.inputs, range(24)) if packed else [])


@pytest.mark.parametrize("packed", [False, True], ids=["inputs apart", "inputs packed"])
def test_small_vectors_are_rows_too(packed):
    inputs = list(RNG.normal(size=(20, 3)))
    program = A.record(rows, inputs)
    agree(program, inputs, A.packs_of(program.inputs, range(20)) if packed else [])


def test_places_of_one_vector_are_gathered():
    def fun(x):
        pairs = sum(np.sum(x[i : i + 2] ** 3) for i in range(0, 28, 2))
        return (sum(np.exp(x[i]) * x[i + 1] for i in range(29)), pairs)

    x = RNG.normal(size=30)
    program = A.record(fun, [x])
    agree(program, [x], [])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_working_dtype_stays(dtype):
    tape = A.Tape(dtype=dtype)
    inputs = [tape.input(np.asarray(v, dtype)) for v in RNG.normal(size=16)]
    program = A.program_of(tape, [np.log1p(x * x) * (0.1 * k) for k, x in enumerate(inputs)])
    rolled = A.roll(program, [list(range(16))])
    assert {s.dtype for s in rolled.steps} == {np.dtype(dtype)}


def test_whole_numbers_stay_whole():
    inputs = [np.int64(k) for k in range(12)]
    program = A.record(lambda *x: tuple(2 * y + k for k, y in enumerate(x)), inputs)
    agree(program, inputs, [list(range(12))])


@pytest.mark.parametrize("fun", [star, own_constants])
def test_the_number_of_sites_does_not_count(fun):
    """Beside what picks the outputs, a rolled program is as long for a thousand values as for twenty."""
    lengths = []
    for n in (20, 1000):
        program = A.record(fun, [np.zeros(())] * n)
        steps = A.roll(program, A.packs_of(program.inputs, range(n))).steps
        lengths.append(len(steps) - n)
    assert lengths[0] >= lengths[1] - 1


def test_the_gradient_of_a_rolled_program():
    x = RNG.normal(size=40)
    program = A.record(lambda x: chain(*(x[i] for i in range(40))), [x])
    plain = A.compile_program(A.gradient(program, [0]))(x)
    rolled = A.compile_program(A.gradient(A.roll(program), [0]))(x)
    np.testing.assert_allclose(rolled[1], plain[1], rtol=1e-12)


def test_few_steps_stay_as_they_are():
    program = A.record(star, [np.zeros(())] * 4)
    assert str(A.roll(program)) == str(program)


def test_large_values_are_not_copied_together():
    program = A.record(lambda *x: tuple(np.exp(y) for y in x), [np.zeros(1000)] * 10)
    assert not any(s.fun.__name__ == "concatenate" for s in A.roll(program).steps)


# -- every operation that can be rolled up -----------------------------------------------------------------
ROLLED = [f for f in STRATEGIES if getattr(f, "run", f) in rolling.ROWWISE or isinstance(f, np.ufunc)]


def many(call, count=12):
    """A call on other numbers for each row: the function of all rows, and its inputs.

    Constants are other numbers too; those of no axes are Python's own.
    """
    rows = [[s.values(np.random.default_rng((call.seed, i))) for s in call.slots] for i in range(count)]
    known = [[x.item() if np.ndim(x) == 0 else x for x in row] for row in rows]
    opened = call.open()

    def fun(*x):
        found = []
        for i, row in enumerate(known):
            arrays = list(row)
            for k, number in enumerate(opened):
                arrays[number] = x[i * len(opened) + k]
            result = call.how(call.function, arrays, call.rest, call.more)
            found += result if isinstance(result, tuple | list) else [result]
        return found

    return fun, [row[number] for row in rows for number in opened]


def check(call):
    fun, inputs = many(call)
    if outcome(fun, *inputs)[1] is not None or not inputs:
        return
    program = A.record(fun, inputs)
    packs = A.packs_of(program.inputs, range(len(inputs)))
    agree(program, inputs, packs)
    slots = [call.slots[i] for i in call.open()]
    smooth = [i for i in range(len(inputs)) if slots[i % len(slots)].smooth and inputs[i].dtype == np.float64]
    if not (call.smooth and smooth):
        return
    bent = lambda *x: (sum(np.sum(y * (1.0 + 0.3 * y)) for y in fun(*x) if y.dtype.kind == "f") + 0.0 * np.sum(x[0]),)
    scalar = A.record(bent, inputs)
    slopes = dict(zip(smooth, A.compile_program(A.gradient(scalar, smooth))(*inputs)[1:], strict=True))
    units = rolling.units(len(inputs), packs)
    wrt = [k for k, members in enumerate(units) if members[0] in slopes]
    rolled = A.compile_program(A.gradient(A.roll(scalar, packs), wrt))(*A.pack(program.inputs, inputs, packs))
    for k, got in zip(wrt, rolled[1:], strict=True):
        members = units[k]
        expected = np.stack([slopes[i] for i in members]) if len(members) > 1 else slopes[members[0]]
        assert_same(got, expected, 1e-10)


@pytest.mark.parametrize("function", ROLLED, ids=lambda f: f.__name__)
def test_every_operation_rolled_up_is_itself(function):
    @settings(FEW, max_examples=4)
    @given(call=STRATEGIES[function])
    def holds(call):
        with quiet():
            check(call)

    holds()


def test_every_operation_of_rows_is_tried():
    assert {f.run for f in ROLLED if hasattr(f, "run")} == rolling.ROWWISE


@pytest.mark.parametrize(
    "fun",
    [
        lambda w, i: np.cumsum(w, i % 2),
        lambda w, i: np.sum(w, i % 2),
        lambda w, i: np.max(w, i % 2),
        lambda w, i: np.logaddexp.reduce(w, i % 2),
        lambda w, i: np.transpose(w, [(0, 1), (1, 0)][i % 2]),
        lambda w, i: np.reshape(w, [(4,), (1, 4)][i % 2]),
        lambda w, i: np.broadcast_to(w, [(1, 2, 2), (2, 2, 2)][i % 2]),
        lambda w, i: w.astype([np.float32, np.int64][i % 2]),
    ],
)
def test_axes_shapes_and_types_are_of_the_form(fun):
    inputs = list(RNG.normal(size=(20, 2, 2)))
    program = A.record(lambda *x: tuple(fun(w, i) for i, w in enumerate(x)), inputs)
    agree(program, inputs, [list(range(20))])


def test_sites_without_elements():
    x = RNG.normal(size=25)
    agree(A.record(lambda x: tuple(np.exp(x[i:i]) * i for i in range(20)), [x]), [x], [])
    inputs = [np.zeros(0)] * 20
    agree(A.record(lambda *x: tuple(np.exp(y) * k for k, y in enumerate(x)), inputs), inputs, [list(range(20))])


@pytest.mark.parametrize(
    "fun",
    [
        lambda y, i: y * (i + 20),
        lambda y, i: y + (10**20 + i) * 1.0,
        lambda y, i: np.where(y > i, i, y),
        lambda y, i: y < i + 250,
        lambda y, i: np.where(y > 2, i, i + 0.5),
        lambda y, i: y.astype(float) + (10**20 + i),
        lambda y, i: y.astype(np.float32) * (0.1 * i),
    ],
)
def test_numbers_of_python_take_the_type_of_what_they_meet(fun):
    inputs = list(np.arange(12).astype(np.uint8) * 20)
    program = A.record(lambda *y: tuple(fun(x, i) for i, x in enumerate(y)), inputs)
    with quiet():  # short numbers wrap around
        agree(program, inputs, [list(range(12))])


def test_a_wrong_row_would_be_seen(monkeypatch):
    """Negative control: the laws above fail where as many rows are taken, in the wrong order."""
    right = rolling._pick
    monkeypatch.setattr(rolling, "_pick", lambda x, rows: right(x, np.roll(rows, 1)))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        test_the_same_values(repeated, True)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        test_places_of_one_vector_are_gathered()
