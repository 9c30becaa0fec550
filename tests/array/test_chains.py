"""The sum over a chain of states: against the same step by step, with all derivatives, batches and rare numbers."""

import numpy as np
import pytest

from ppl.array import Tape, batch, chain_log_sum, compile_program, gradient, program_of, pushforward, record, replay
from ppl.array.chains import by_steps

# batch axes of nodes and of pairs, steps, steps of pairs, states
CASES = [
    ((), (), 5, 1, 3),
    ((2,), (), 4, 4, 3),
    ((2,), (1,), 4, 1, 9),
    ((), (3,), 6, 6, 2),
    ((2, 1), (3,), 5, 1, 2),
]


def both(f):
    return [record(lambda n, p, sums=sums: (f(sums(n, p)),), POINT) for sums in (chain_log_sum, by_steps)]


POINT: list = []


@pytest.fixture(params=CASES, autouse=True)
def point(request):
    one, other, steps, same, k = request.param
    rng = np.random.default_rng(0)
    POINT[:] = 3 * rng.normal(size=(*one, steps, k)), 3 * rng.normal(size=(*other, same, k, k))


def agree(one, other):
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10)


def curved(x):
    return np.sum(np.sin(x))


def test_gradients():
    agree(*(compile_program(gradient(p, [0, 1]))(*POINT) for p in both(curved)))


def test_second_derivatives():
    def second(p):
        tape = Tape()
        inputs = [tape.input(x, "x") for x in POINT]
        _, n, q = replay(gradient(p, [0, 1]), *inputs)
        return gradient(program_of(tape, [np.sum(np.cos(n)) + np.sum(q * q)]), [0, 1])

    agree(*(compile_program(second(p))(*POINT) for p in both(curved)))


def test_forward_derivatives():
    directions = [np.cos(x) for x in POINT]
    agree(*(compile_program(pushforward(p, [0, 1]))(*POINT, *directions) for p in both(curved)))


@pytest.mark.parametrize("flags", [(True, False), (False, True), (True, True)])
def test_batches(flags):
    values = [np.stack([x, 2 * x, -x]) if flag else x for x, flag in zip(POINT, flags, strict=True)]
    agree(*(compile_program(batch(gradient(p, [0, 1]), list(flags), 3))(*values) for p in both(curved)))


def test_what_cannot_be_scaled_is_summed_in_logarithms():
    """Potentials thousands apart, and transitions that are ruled out: the likely state cannot always be reached."""
    rng = np.random.default_rng(1)
    nodes = rng.normal(size=(6, 3)) * 2000
    pairs = np.where(np.triu(np.ones((3, 3))) > 0, 0.0, -np.inf)[None]
    found = [
        compile_program(gradient(record(lambda n, sums=sums: (np.sum(sums(n, pairs)[:1]),), [nodes]), [0]))(nodes)
        for sums in (chain_log_sum, by_steps)
    ]
    agree(*found)
