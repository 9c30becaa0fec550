"""Rolled up or not, a program is the same function."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import ppl.array as A
from ppl.array import rolling

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
        np.testing.assert_allclose(b, a, rtol=1e-13)


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


def test_a_wrong_row_would_be_seen(monkeypatch):
    """Negative control: the laws above fail where rows are taken in the wrong order."""
    monkeypatch.setattr(rolling, "_pick", lambda x, rows: A.recording.FUNCTIONS[np.flip](x, 0))
    with pytest.raises(AssertionError):
        test_the_same_values(repeated, True)
