"""Sums over all paths of a chain of states, as one operation: `chain_log_sum`.

    b_T = 0,   b_(t-1)[j] = log sum_k exp(pairs[t, j, k] + nodes[t, k] + b_t[k])   ->   b_0

Numbers are scaled in every step, so that a step is one product of a matrix and a vector; where so much would be
lost of one that it cannot be represented, that step is taken in logarithms. Where `pairs` are the same at all
times they are given once, and cost nothing for every step but that product.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import operations as op
from .batching import Batched, rule
from .derivatives import PULLS, pull_through
from .forward import PUSHES
from .recording import SHAPES, Tape, _dtype, operation, program_of, replay, tape_of
from .scan import scan

SMALLEST = 1e-280  # of a sum of scaled numbers, below which it may have lost some


class _Pass(NamedTuple):
    """Messages b (T + 1, B, K), scaled numbers v and sums s (T, B, K), matrices (M, B or 1, K, K), and rare steps."""

    messages: np.ndarray
    v: np.ndarray
    s: np.ndarray
    move: np.ndarray
    logs: frozenset[int]


def _time_first(x: np.ndarray, lead: tuple[int, ...], own: int) -> np.ndarray:
    """(*lead, T, ...) as (T, B, ...), B of 1 where all are alike."""
    inner = x.shape[x.ndim - own :]
    if prod(x.shape[: x.ndim - own]) == 1:
        return x.reshape(inner[0], 1, *inner[1:])
    return np.moveaxis(np.broadcast_to(x, (*lead, *inner)).reshape(-1, *inner), 1, 0)


def _backwards(n: np.ndarray, p: np.ndarray) -> _Pass:
    steps, batch, k = n.shape
    batch = max(batch, p.shape[1])
    top = p.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    move, level = np.exp(p - top), top[..., 0]
    b = np.zeros((steps + 1, batch, k))
    v, s = np.empty((steps, batch, k)), np.empty((steps, batch, k))
    logs = set()
    alike, last = move.shape[1] == 1, len(p) - 1
    turned = np.ascontiguousarray(np.swapaxes(move, -1, -2))
    for t in range(steps - 1, -1, -1):
        x, at = n[t] + b[t + 1], min(t, last)
        high = x.max(-1, keepdims=True)
        if not np.isfinite(high).all():
            high = np.where(np.isfinite(high), high, 0.0)
        np.exp(x - high, out=v[t])
        if alike:
            np.matmul(v[t], turned[at, 0], out=s[t])
        else:
            s[t] = np.matmul(move[at], v[t][..., None])[..., 0]
        if s[t].min() < SMALLEST:
            logs.add(t)
            b[t] = op.log_total_exp.run(p[at] + x[:, None, :], (2,))
        else:
            b[t] = np.log(s[t]) + high + level[at]
    return _Pass(b, v, s, move, frozenset(logs))


@operation
def chain_log_sum(nodes, pairs):
    """log of the sum over all paths z_1 .. z_T, by the state z_0 before them.

    `nodes` (..., T, K) and `pairs` (..., T or 1, K, K) are log potentials of z_t, and of z_(t-1) with z_t. The
    result has shape (..., K).

    >>> chain_log_sum(np.log([[0.5, 1.0]]), np.log([[[1.0, 2.0], [3.0, 4.0]]])).round(4)
    array([0.9163, 1.7047])
    """
    lead = np.broadcast_shapes(np.shape(nodes)[:-2], np.shape(pairs)[:-3])
    found = _backwards(_time_first(nodes, lead, 2), _time_first(pairs, lead, 3))
    whole = np.broadcast_to(found.messages[0], (prod(lead), np.shape(nodes)[-1])).reshape(*lead, -1)
    return whole.astype(_type_of(nodes, pairs))


def _type_of(*arrays: Any) -> np.dtype:
    """What they make together, in floating numbers."""
    return np.result_type(np.float32, *map(_dtype, arrays))


SHAPES[chain_log_sum.run] = lambda nodes, pairs: (
    (*np.broadcast_shapes(np.shape(nodes)[:-2], np.shape(pairs)[:-3]), np.shape(nodes)[-1]),
    _type_of(nodes, pairs),
)


@operation
def chain_slopes(nodes, pairs, weights):
    """The slopes of `sum(weights * chain_log_sum(nodes, pairs))` in both, flattened: (..., T K + M K K)."""
    steps, k = np.shape(nodes)[-2:]
    lead = np.shape(weights)[:-1]
    n, p = _time_first(nodes, lead, 2), _time_first(pairs, lead, 3)
    found = _backwards(n, p)
    batch, last = found.v.shape[1], len(p) - 1
    q = np.broadcast_to(np.reshape(weights, (-1, k)), (max(batch, prod(lead)), k))
    n_slopes, shares = np.empty((steps, len(q), k)), np.empty((steps, len(q), k))
    p_slopes = np.zeros((len(p), len(q), k, k))
    for t in range(steps):
        at = min(t, last)
        if t in found.logs:
            x = (n[t] + found.messages[t + 1])[:, None, :] + p[at]
            before = found.messages[t][..., None]
            path = q[..., None] * np.exp(x - np.where(np.isfinite(before), before, 0.0))
            p_slopes[at] += path
            shares[t], q = 0.0, path.sum(1)
        else:
            shares[t] = q / found.s[t]
            ahead = shares[t] @ found.move[at, 0] if found.move.shape[1] == 1 else _rows(shares[t], found.move[at])
            q = ahead * found.v[t]
        n_slopes[t] = q
    if last == 0:
        v = np.broadcast_to(found.v, shares.shape)
        p_slopes[0] += np.matmul(np.moveaxis(shares, 0, -1), np.moveaxis(v, 0, 1)) * found.move[0]
    else:
        p_slopes += shares[..., None] * found.v[..., None, :] * found.move
    flat = [np.moveaxis(x, 0, 1).reshape(*lead, -1) for x in (n_slopes, p_slopes)]
    return np.concatenate(flat, -1).astype(_type_of(nodes, pairs, weights))


def _rows(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    return np.matmul(x[:, None, :], m)[:, 0]


SHAPES[chain_slopes.run] = lambda nodes, pairs, weights: (
    (*np.shape(weights)[:-1], prod(np.shape(nodes)[-2:]) + prod(np.shape(pairs)[-3:])),
    _type_of(nodes, pairs, weights),
)


# -- derivatives -----------------------------------------------------------------------------------------
def _parted(slopes: Any, nodes: Any, pairs: Any) -> list:
    """Slopes in nodes and in pairs, for every element of the batch."""
    lead, size = np.shape(slopes)[:-1], prod(np.shape(nodes)[-2:])
    parts = slopes[..., :size], slopes[..., size:]
    own = np.shape(nodes)[-2:], np.shape(pairs)[-3:]
    return [np.reshape(x, (*lead, *inner)) for x, inner in zip(parts, own, strict=True)]


def _summed_to(x: Any, shape: tuple[int, ...]) -> Any:
    extra = np.ndim(x) - len(shape)
    axes = (*range(extra), *(i + extra for i, n in enumerate(shape) if n == 1 and np.shape(x)[i + extra] != 1))
    return np.reshape(np.sum(x, axis=axes), shape) if axes else x


def _pull_nodes(g, out, nodes, pairs):
    return _summed_to(_parted(chain_slopes(nodes, pairs, g), nodes, pairs)[0], np.shape(nodes))


def _pull_pairs(g, out, nodes, pairs):
    return _summed_to(_parted(chain_slopes(nodes, pairs, g), nodes, pairs)[1], np.shape(pairs))


PULLS[chain_log_sum.run] = {0: _pull_nodes, 1: _pull_pairs}


def by_steps(nodes: Any, pairs: Any) -> Any:
    """`chain_log_sum` of operations that all have derivatives of their own: for the second ones."""
    lead, (steps, k) = np.broadcast_shapes(np.shape(nodes)[:-2], np.shape(pairs)[:-3]), np.shape(nodes)[-2:]
    xs = [np.moveaxis(nodes, -2, 0)]
    if np.shape(pairs)[-3] == steps:
        xs.append(np.moveaxis(pairs, -3, 0))
    fixed = pairs[..., 0, :, :]

    def step(b: Any, x: Any) -> tuple[Any, None]:
        now = x[1] if len(x) > 1 else fixed
        return op.logsumexp(now + np.expand_dims(x[0] + b, -2), -1), None

    return scan(
        step, np.zeros((*lead, k), _type_of(nodes, pairs)), [np.flip(x, 0) for x in xs], tape=tape_of((nodes, pairs))
    )[0]


def _again(nodes: Any, pairs: Any, weights: Any, directions: Any) -> list:
    """Slopes of `sum(directions * chain_slopes(nodes, pairs, weights))` in all three."""
    found = _of_each(nodes, pairs, weights, directions)
    return [_summed_to(x, np.shape(g)) for x, g in zip(found, (nodes, pairs, weights), strict=True)]


def _of_each(nodes: Any, pairs: Any, weights: Any, directions: Any) -> list:
    """The same slopes, for every element of the batch."""
    given, lead = (nodes, pairs, weights), np.shape(weights)[:-1]
    whole = [(*lead, *np.shape(nodes)[-2:]), (*lead, *np.shape(pairs)[-3:]), np.shape(weights)]
    tape = Tape(dtype=_type_of(nodes, pairs, weights, directions))
    own = [tape.input(np.zeros(shape), "chain") for shape in (*whole, np.shape(directions))]
    first = pull_through(tape, np.sum(own[2] * by_steps(own[0], own[1])), own[:2])
    inner = sum(np.sum(a * b) for a, b in zip(first, _parted(own[3], own[0], own[1]), strict=True))
    program = program_of(tape, pull_through(tape, inner, own[:3]))
    wide = [np.broadcast_to(x, shape) for x, shape in zip(given, whole, strict=True)]
    return list(replay(program, *wide, directions))


PULLS[chain_slopes.run] = {
    i: lambda g, out, nodes, pairs, weights, i=i: _again(nodes, pairs, weights, g)[i] for i in range(3)
}


def _direction(d, lead, nodes, pairs):
    """Directions of nodes and pairs as `chain_slopes` has them: flattened, for every element of the batch."""
    moves = [np.zeros(np.shape(x), _dtype(x)) if m is None else m for m, x in zip(d, (nodes, pairs), strict=True)]
    wide = [
        np.reshape(np.broadcast_to(m, (*lead, *np.shape(m)[-own:])), (*lead, -1))
        for m, own in zip(moves, (2, 3), strict=True)
    ]
    return np.concatenate(wide, -1)


def _push(d, out, nodes, pairs):
    direction = _direction(d, np.shape(out)[:-1], nodes, pairs)
    return _again(nodes, pairs, np.ones(np.shape(out), _type_of(nodes, pairs)), direction)[2]


def _push_slopes(d, out, nodes, pairs, weights):
    lead = np.shape(out)[:-1]
    moved = 0.0 if d[2] is None else chain_slopes(nodes, pairs, d[2])  # they are linear in the weights
    if d[0] is None and d[1] is None:
        return moved
    curved = _of_each(nodes, pairs, weights, _direction(d[:2], lead, nodes, pairs))[:2]  # a Hessian is symmetric
    return moved + np.concatenate([np.reshape(x, (*lead, -1)) for x in curved], -1)


PUSHES[chain_log_sum.run] = _push
PUSHES[chain_slopes.run] = _push_slopes


# -- batching ------------------------------------------------------------------------------------------
def _first(args: tuple, own: tuple[int, ...]) -> list:
    """Arguments with the batch axis first, and as many axes before their own as any of them has."""
    width = max(a.ndim - n if isinstance(a, Batched) else np.ndim(a) - n for a, n in zip(args, own, strict=True))
    out = []
    for a, n in zip(args, own, strict=True):
        shape = a.shape if isinstance(a, Batched) else np.shape(a)
        batch = (np.shape(a.x)[0],) if isinstance(a, Batched) else (1,)
        full = (*batch, *(1,) * (width - len(shape) + n), *shape)
        out.append(np.reshape(a.x if isinstance(a, Batched) else a, full))
    return out


@rule(chain_log_sum)
def _many_sums(size, nodes, pairs):
    return chain_log_sum(*_first((nodes, pairs), (2, 3)))


@rule(chain_slopes)
def _many_slopes(size, nodes, pairs, weights):
    n, p, w = _first((nodes, pairs, weights), (2, 3, 1))
    return chain_slopes(n, p, np.broadcast_to(w, (size, *np.shape(w)[1:])))
