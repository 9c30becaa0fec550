"""Messages along chains against sums over all paths, and against dense normals."""

from itertools import product

import numpy as np
import pytest

from ppl.conjugacy import messages


def by_hand(unary, pair):
    """Marginals of nodes and neighbours, and log Z, by going through all paths."""
    steps, batch, k = unary.shape
    pair = np.broadcast_to(pair, (steps - 1, batch, k, k))
    paths = list(product(range(k), repeat=steps))
    logs = np.array(
        [
            sum(unary[t, :, z[t]] for t in range(steps)) + sum(pair[t, :, z[t], z[t + 1]] for t in range(steps - 1))
            for z in paths
        ]
    )
    log_z = np.logaddexp.reduce(logs, 0)
    nodes, pairs = np.zeros(unary.shape), np.zeros((steps - 1, batch, k, k))
    for z, weight in zip(paths, np.exp(logs - log_z), strict=True):
        for t in range(steps):
            nodes[t, :, z[t]] += weight
        for t in range(steps - 1):
            pairs[t, :, z[t], z[t + 1]] += weight
    return nodes, pairs, log_z


CASES = [
    (1, 2, 3, "own"),
    (2, 1, 3, "own"),
    (5, 2, 3, "own"),
    (6, 2, 2, "alike"),
    (7, 1, 2, "alike"),
    (4, 3, 2, "time"),
]


def potentials(steps, batch, k, kind, seed=0):
    rng = np.random.default_rng(seed)
    shape = {"own": (steps - 1, batch), "time": (1, batch), "alike": (1, 1)}[kind]
    return 3.0 * rng.normal(size=(steps, batch, k)), 3.0 * rng.normal(size=(*shape, k, k))


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_states_are_the_sums_over_all_paths(case, summed):
    unary, pair = potentials(*case)
    nodes, pairs, log_z = by_hand(unary, pair)
    ways = [messages.states] + ([messages._in_a_tree, messages._in_logs] if case[0] > 1 else [])
    for way in ways:
        found = way(unary, pair, summed)
        np.testing.assert_allclose(found.nodes, nodes, atol=1e-12)
        np.testing.assert_allclose(found.pairs, pairs.sum(0) if summed else pairs, atol=1e-12)
        np.testing.assert_allclose(found.log_z, log_z, rtol=1e-12)


@pytest.mark.parametrize("steps", range(2, 20))
def test_a_tree_of_any_length(steps):
    unary, pair = potentials(steps, 2, 2, "alike")
    for one, other in zip(messages._in_a_tree(unary, pair, False), messages._in_logs(unary, pair, False), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_what_underflows_is_summed_in_logarithms():
    # Only the first state can be left, and only the last is likely: scaled numbers are all zero.
    unary = np.array([[[0.0, -2000.0]], [[-2000.0, 0.0]], [[0.0, -3000.0]]])
    pair = np.array([[[[0.0, -np.inf], [0.0, -np.inf]]]])
    found = messages.states(unary, pair)
    np.testing.assert_allclose(found.log_z, -2000.0)
    np.testing.assert_allclose(found.nodes[:, 0, 0], 1.0)


def test_conditionals_are_the_same_law_forwards():
    unary, pair = potentials(5, 2, 3, "own")
    first, moves = messages.conditionals(unary, pair)
    nodes, pairs, _ = by_hand(unary, pair)
    np.testing.assert_allclose(first, nodes[0], rtol=1e-10)
    np.testing.assert_allclose(nodes[:-1, ..., None] * moves, pairs, atol=1e-12)


@pytest.mark.parametrize(("steps", "batch", "n"), [(1, 2, 2), (2, 1, 3), (3, 2, 1), (7, 2, 2), (8, 1, 2), (12, 3, 3)])
def test_normals_are_the_dense_ones(steps, batch, n):
    rng = np.random.default_rng(0)
    full = np.zeros((batch, steps * n, steps * n))
    for b in range(batch):
        for t in range(max(steps - 1, 1)):
            rows = slice(t * n, min(t + 2, steps) * n)
            x = rng.normal(size=(full[b, rows].shape[0], 2 * n + 2))
            full[b, rows, rows] += x @ x.T
    block = lambda x, s, t: x[:, s * n : (s + 1) * n, t * n : (t + 1) * n]
    own = np.stack([block(full, t, t) for t in range(steps)])
    after = np.zeros((steps - 1, batch, n, n))
    for t in range(steps - 1):
        after[t] = block(full, t, t + 1)
    h = rng.normal(size=(steps, batch, n))
    found, covariance = messages.normals(own, after, h), np.linalg.inv(full)
    mean = np.matmul(covariance, np.moveaxis(h, 0, 1).reshape(batch, -1, 1))
    np.testing.assert_allclose(np.moveaxis(found.mean, 0, 1).reshape(batch, -1, 1), mean, rtol=1e-9, atol=1e-12)
    for t in range(steps):
        np.testing.assert_allclose(found.own[t], block(covariance, t, t), rtol=1e-9, atol=1e-12)
    for t in range(steps - 1):
        np.testing.assert_allclose(found.next[t], block(covariance, t, t + 1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.log_det, np.linalg.slogdet(full)[1])
    gains, factors = messages.steps_of(own, after)
    turned = lambda x: np.swapaxes(x, -1, -2)
    spread = factors[0] @ turned(factors[0])
    for t in range(1, steps):
        spread = gains[t - 1] @ spread @ turned(gains[t - 1]) + factors[t] @ turned(factors[t])
        np.testing.assert_allclose(spread, found.own[t], rtol=1e-9, atol=1e-12)


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(np.linalg.LinAlgError):
        messages.normals(-np.ones((3, 1, 1, 1)), np.zeros((2, 1, 1, 1)), np.zeros((3, 1, 1)))
