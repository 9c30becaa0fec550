"""Programs that write over their temporaries compute what those compute that do not, at every call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import special

import ppl.array as A
from ppl.array import memory

from .strategies import STRATEGIES
from .test_properties import EXPRESSIONS, FEW, outcome, quiet, scalar_of

NEVER = 1 << 60


def compiled(monkeypatch, program, large):
    monkeypatch.setattr(memory, "LARGE", large)
    return A.compile_program(program)


def same(results, expected):
    for x, y in zip(results, expected, strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13)


def check(call):
    """A gradient, or a program where there is none, one and batched, with its results in planned memory and not."""
    inputs, others = ([call.row(r)[i] for i in call.open()] for r in (0, 1))
    if outcome(call, *inputs)[1] is not None:
        return
    program = A.record(lambda *x: call(*x), inputs)
    smooth = [k for k, i in enumerate(call.open()) if call.slots[i].smooth and call.slots[i].dtype == np.float64]
    if call.smooth and smooth:
        program = A.gradient(A.record(scalar_of(call, inputs), inputs), smooth)
    agree(program, inputs, others)
    rows, more = [np.stack([x, y]) for x, y in zip(inputs, others, strict=True)], [np.stack([x, x]) for x in inputs]
    agree(A.batch(program, [True] * len(inputs), 2), rows, more)


def agree(program, rows, more):
    before = [np.array(x) for x in rows]
    with pytest.MonkeyPatch.context() as patch:
        plain, tight = compiled(patch, program, NEVER), compiled(patch, program, 1)
    first = tight(*rows)
    kept = [np.array(x) for x in first]
    same(tight(*more), plain(*more))
    same(kept, plain(*rows))
    for x, y in zip([*first, *rows], [*kept, *before], strict=True):
        np.testing.assert_array_equal(x, y, err_msg="a result or an input has changed")


@pytest.mark.parametrize("function", STRATEGIES, ids=lambda f: f.__name__)
def test_where_results_go_changes_none(function):
    @settings(FEW, max_examples=4)
    @given(call=STRATEGIES[function])
    def holds(call):
        with quiet():
            check(call)

    holds()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_where_results_of_expressions_go_changes_none(name):
    check(EXPRESSIONS[name])


def test_a_view_keeps_what_it_looks_at(monkeypatch):
    def fun(x):
        y = np.exp(x)
        turned = np.reshape(y, (2, 3)).T
        return y + 1.0, np.sum(turned * 2.0), turned, np.sin(y) - y[::-1]

    x = np.arange(6.0)
    run = compiled(monkeypatch, A.record(fun, [x]), 1)
    first = run(x)
    run(x + 1.0)
    same(first, fun(x))


def test_large_temporaries_are_not_made_anew():
    import tracemalloc

    def fun(x):
        y = np.exp(-x)
        for _ in range(20):
            y = np.sin(y) * x + 1.0
        return (np.sum(y),)

    x = np.linspace(0.0, 1.0, 100_000)
    run = A.compile_program(A.record(fun, [x]))
    same(run(x), fun(x))
    tracemalloc.start()
    run(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10


def test_a_program_keeps_no_more_than_its_limit(monkeypatch):
    program = A.record(lambda x: (np.sum(np.exp(x) * np.sin(x) + x @ np.ones((50, 50))),), [np.ones((100, 50))])
    places, slots = memory.places_of_results(program, set(A.refs(program.outputs)))
    assert slots and all(place.startswith("w") for place in places.values())
    places, slots = memory.places_of_results(program, set(A.refs(program.outputs)), limit=10_000)
    assert not slots and all(place.startswith("v") for place in places.values())


def test_a_workspace_is_used_up_to_its_limit():
    def fun(x):
        kept = [np.exp(k * x) for k in range(1, 6)]
        return (sum(np.sum(y * np.sin(y)) for y in kept) + sum(kept)[0, 0],)

    x = np.random.default_rng(0).uniform(size=(50, 50))
    program = A.record(fun, [x])
    kept = set(A.refs(program.outputs))
    slots = [len(memory.places_of_results(program, kept, limit=k * x.nbytes)[1]) for k in range(8)]
    assert slots[0] == 0 and slots[2] == 2 and slots[-1] > 2 and slots == sorted(slots)
    assert all(n <= k for k, n in enumerate(slots))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "WORKSPACE", 2 * x.nbytes)
        same(A.compile_program(program)(x), fun(x))


def test_threads_share_no_workspace():
    fun = lambda x: (np.sum(np.exp(np.sin(x) * x) - np.tanh(x)),)
    rows = np.random.default_rng(0).normal(size=(40, 50_000))
    run = A.compile_program(A.record(fun, [rows[0]]))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: run(x)[0], rows))
    same(found, [fun(x)[0] for x in rows])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_and_expit_of_large_arrays(dtype):
    x = np.concatenate([np.linspace(-800, 800, 20_001), [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-30, -1e-30]])
    x = x.astype(dtype)
    tape = A.Tape(dtype=dtype)
    node = tape.input(x)
    program = A.program_of(tape, [A.softplus(node), special.expit(node)])
    soft, sigmoid = A.compile_program(program)(x)
    assert soft.dtype == sigmoid.dtype == dtype
    tiny = np.finfo(dtype).tiny
    wide = x.astype(np.float64)
    np.testing.assert_allclose(soft, A.softplus(wide), rtol=8 * np.finfo(dtype).eps, atol=tiny)
    np.testing.assert_allclose(sigmoid, special.expit(wide), rtol=8 * np.finfo(dtype).eps, atol=tiny)


@pytest.mark.parametrize("key", [np.array([0, 2, 2, -1]), (slice(None), np.array([1, 1, 0])), np.array([True] * 4)])
def test_scatters_at_known_places_add_up(key):
    x = np.arange(12.0).reshape(4, 3)
    program = A.gradient(A.record(lambda x: (np.sum(x[key] ** 3),), [x]), [0])
    expected = np.zeros_like(x)
    np.add.at(expected, key, 3 * x[key] ** 2)
    same(A.compile_program(program)(x)[1:], [expected])


def test_parts_of_a_join_are_made_where_they_will_stand(monkeypatch):
    """Products and elementwise results; one that is read elsewhere too, a constant and a small one are copied."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 50)), rng.normal(size=(50, 70))

    def fun(a, b):
        product, twice = a @ b, np.exp(b) * 2.0
        parts = (product.reshape(-1), np.ones(5), twice.reshape(-1), np.sum(b, 0), np.sin(a).reshape(-1), a.reshape(-1))
        return np.concatenate(parts), np.sum(twice)

    program = A.record(fun, [a, b])
    plain, tight = (compiled(monkeypatch, program, large) for large in (NEVER, 1))
    for x in (b, b[::-1]):
        same(tight(a, x), plain(a, x))
    lines = [line for line in A.source(program).splitlines() if "].reshape(" in line]
    assert len(lines) == 2 and "matmul" in lines[0] and "sin" in lines[1]
    first = tight(a, b)[0]
    before = first.copy()
    tight(b.T[:60, :50], b)
    np.testing.assert_array_equal(first, before)
