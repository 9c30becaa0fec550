"""What holds for every layer: value against a formula of its own, gradient against differences, float32 kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import ppl.array as A
from ppl import nn


def leaves_of(params: Mapping[str, Any]) -> list[np.ndarray]:
    """The arrays of nested parameters, in order."""
    return [y for x in params.values() for y in (leaves_of(x) if isinstance(x, Mapping) else [x])]


def rebuilt(params: Mapping[str, Any], arrays: Sequence) -> dict:
    """The same nesting around other arrays."""
    rest = iter(arrays)

    def fill(tree):
        return {k: fill(x) if isinstance(x, Mapping) else next(rest) for k, x in tree.items()}

    return fill(params)


def outputs_of(found: Any) -> list:
    return list(found) if isinstance(found, tuple | list) else [found]


def recorded(net: nn.Network, params: Mapping, inputs: Sequence, uniform: Callable | None = None):
    """(program of the outputs, its arguments): parameters first, then inputs that are not whole numbers."""
    own = leaves_of(params)
    n = len(own)
    return (lambda *x: tuple(outputs_of(net.apply(rebuilt(params, x[:n]), *x[n:], uniform=uniform)))), [*own, *inputs]


def check(net: nn.Network, *inputs: np.ndarray, expected: Any = None, uniform: Callable | None = None, seed: int = 0):
    """Every law of a network at these inputs; `expected` is its output by another formula, from (params, *inputs)."""
    rng = np.random.default_rng(seed)
    params = net.init(rng, np.float64)
    found = outputs_of(net.apply(params, *inputs, uniform=uniform))
    assert net.size == sum(x.size for x in leaves_of(params))
    if expected is not None:
        for got, want in zip(found, outputs_of(expected(params, *inputs)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
    fun, arguments = recorded(net, params, inputs, uniform)
    program = A.record(fun, arguments)
    for got, want in zip(A.compile_program(program)(*arguments), found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
    check_gradient(fun, arguments, found, rng)
    check_single(net, inputs, uniform)
    return found


def check_gradient(fun: Callable, arguments: Sequence, outputs: Sequence, rng: np.random.Generator) -> None:
    """The gradient by recorded program, along random directions, against central differences."""
    weights = [rng.normal(size=np.shape(y)) for y in outputs]
    smooth = [i for i, x in enumerate(arguments) if np.asarray(x).dtype.kind == "f"]
    scalar = A.record(lambda *x: (sum(np.sum(y * w + 0.3 * y * y) for y, w in zip(fun(*x), weights)),), arguments)
    value = A.compile_program(scalar)
    _, *slopes = A.compile_program(A.gradient(scalar, smooth))(*arguments)
    for slope, i in zip(slopes, smooth, strict=True):
        assert np.shape(slope) == np.shape(arguments[i])
        direction = rng.normal(size=np.shape(arguments[i]))
        ends = [
            value(*arguments[:i], arguments[i] + step * direction, *arguments[i + 1 :])[0] for step in (1e-6, -1e-6)
        ]
        expected = (ends[0] - ends[1]) / 2e-6
        size = 1.0 + abs(value(*arguments)[0]) + np.sum(np.abs(slope * direction))
        assert abs(np.sum(slope * direction) - expected) < 1e-6 * size, f"argument {i}"


def check_single(net: nn.Network, inputs: Sequence, uniform: Callable | None) -> None:
    """float32 parameters and inputs: every floating step of value and gradient is float32, and near float64's."""
    params = net.init(np.random.default_rng(1))
    assert all(x.dtype == np.float32 for x in leaves_of(params))
    narrow = [x.astype(np.float32) if np.asarray(x).dtype.kind == "f" else x for x in inputs]
    fun, arguments = recorded(net, params, narrow, uniform and (lambda shape: uniform(shape).astype(np.float32)))
    program = A.record(lambda *x: (sum(np.sum(y) for y in fun(*x)),), arguments)
    wrt = [i for i, x in enumerate(arguments) if np.asarray(x).dtype.kind == "f"]
    gradient = A.gradient(_narrow(program), wrt)
    for step in gradient.steps:
        assert step.dtype.kind != "f" or step.dtype == np.float32, step.fun
    wide = [np.asarray(x, float) if np.asarray(x).dtype.kind == "f" else x for x in arguments]
    exact = A.compile_program(A.gradient(program, wrt))(*wide)
    for got, want in zip(A.compile_program(gradient)(*arguments), exact, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * (1.0 + np.abs(want).max(initial=0.0)))


def _narrow(program: A.Program) -> A.Program:
    """The program as a fit in float32 records it."""
    tape = A.Tape(dtype=np.float32)
    inputs = [tape.input(np.zeros(x.shape, x.dtype), x.name) for x in program.inputs]
    return A.program_of(tape, A.replay(program, *inputs))
