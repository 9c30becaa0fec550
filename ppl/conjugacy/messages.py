"""Messages along a chain: forward-backward of finite states, and block-tridiagonal normals.

    log potentials of nodes and of neighbours  --states-->    marginals, their neighbours', log normalizer
    blocks of a precision matrix               --normals-->   mean, blocks of the covariance, log determinant

The first axis is time, the axes after it are a batch; both are linear in the length of the chain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FEW = 6  # states up to which matrices are multiplied in a tree, which is a few long operations
LONG = 64  # nodes from which on that pays


class StateMoments(NamedTuple):
    """Marginals (T, B, K), those of neighbours (T - 1, B, K, K) or their sum over time (B, K, K), and log Z (B,)."""

    nodes: np.ndarray
    pairs: np.ndarray
    log_z: np.ndarray


def states(unary: np.ndarray, pair: np.ndarray, summed: bool = False) -> StateMoments:
    """Marginals of p(z) = exp(sum_t unary[t, z_t] + sum_t pair[t, z_t, z_(t+1)]) / Z.

    `unary` (T, B, K); `pair` (T - 1, B, K, K), or 1 in the place of T - 1 and of B where it is the same for all.
    `summed` asks for the sum of the neighbours' marginals over time alone. (Rabiner 1989; scaled in every step.)

    >>> found = states(np.log([[[0.5, 0.5]], [[0.5, 1.0]]]), np.zeros((1, 1, 2, 2)))
    >>> found.nodes[1, 0], float(np.exp(found.log_z[0]))
    (array([0.33333333, 0.66666667]), 1.5)
    """
    steps, batch, k = unary.shape
    if steps > 1:
        # A row of potentials of which the largest is 0: what is taken out belongs to the node before.
        top = pair.max(-1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        shifted = unary.copy()
        shifted[:-1] += top[..., 0]
        if k <= FEW and steps >= LONG and batch * k * k < 64:
            return _in_a_tree(shifted, pair - top, summed)
        with np.errstate(all="ignore"):
            found = _step_by_step(shifted, np.exp(pair - top), summed)
        if np.all(np.isfinite(found.log_z)):
            return found
        return _in_logs(shifted, pair - top, summed)
    top = unary.max(-1, keepdims=True)
    nodes = np.exp(unary - top)
    z = nodes.sum(-1, keepdims=True)
    pairs = np.zeros((batch, k, k) if summed else (0, batch, k, k))
    return StateMoments(nodes / z, pairs, (np.log(z) + top)[0, :, 0])


def _step_by_step(unary: np.ndarray, move: np.ndarray, summed: bool) -> StateMoments:
    steps, batch, _ = unary.shape
    top = unary.max(-1, keepdims=True)
    seen = np.exp(unary - top)
    same = len(move) == 1 and move.shape[1] == 1
    moves = [move[0, 0]] * (steps - 1) if same else list(np.broadcast_to(move, (steps - 1, *move.shape[1:])))
    ahead, scale = np.empty_like(seen), np.empty((steps, batch, 1))
    a = seen[0]
    for t in range(steps):
        if t:
            a = (a @ moves[t - 1] if same else np.matmul(a[:, None, :], moves[t - 1])[:, 0]) * seen[t]
        z = a.sum(-1, keepdims=True)
        scale[t], a = z, a / z
        ahead[t] = a
    back = np.empty_like(seen)  # seen[t] times what comes after, over the scale
    b = seen[-1] / scale[-1]
    back[-1] = b
    nodes = np.empty_like(seen)
    nodes[-1] = ahead[-1]
    turned = moves[0].T if same else None
    for t in range(steps - 2, -1, -1):
        later = b @ turned if same else np.matmul(moves[t], b[..., None])[..., 0]
        nodes[t] = ahead[t] * later
        b = seen[t] * later / scale[t]
        back[t] = b
    if summed and same:
        pairs = np.matmul(np.moveaxis(ahead[:-1], 0, -1), np.moveaxis(back[1:], 0, 1)) * moves[0]
    else:
        pairs = ahead[:-1, :, :, None] * move * back[1:, :, None, :]
        pairs = pairs.sum(0) if summed else pairs
    return StateMoments(nodes, pairs, np.sum(np.log(scale) + top, 0)[:, 0])


def _lse(x: np.ndarray, axis: int) -> np.ndarray:
    """log sum exp, where all may be -inf."""
    top = x.max(axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis)) + np.squeeze(top, axis)


def _in_logs(unary: np.ndarray, pair: np.ndarray, summed: bool) -> StateMoments:
    """The same where scaled numbers underflow."""
    steps = len(unary)
    pairs = np.broadcast_to(pair, (steps - 1, *pair.shape[1:]))
    ahead, back = [unary[0]], [np.zeros_like(unary[0])]
    for t in range(1, steps):
        ahead.append(_lse(ahead[-1][:, :, None] + pairs[t - 1], 1) + unary[t])
    for t in range(steps - 2, -1, -1):
        back.append(_lse(pairs[t] + (unary[t + 1] + back[-1])[:, None, :], 2))
    return _from_messages(np.stack(ahead), np.stack(back[::-1]), unary, pair, summed)


def _from_messages(a: np.ndarray, b: np.ndarray, unary: np.ndarray, pair: np.ndarray, summed: bool) -> StateMoments:
    log_z = _lse(a[-1], -1)
    nodes = np.exp(a + b - log_z[:, None])
    joint = np.exp(a[:-1, :, :, None] + pair + (unary + b)[1:, :, None, :] - log_z[:, None, None])
    return StateMoments(nodes, joint.sum(0) if summed else joint, log_z)


def _log_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log(exp(a) exp(b)) of stacks of matrices."""
    return _lse(a[..., :, :, None] + b[..., None, :, :], -2)


def _in_a_tree(unary: np.ndarray, pair: np.ndarray, summed: bool) -> StateMoments:
    """Products of neighbours, of neighbouring products, and so on; then every other message from its neighbour.

    m[t] is the matrix from node t to t + 1, with the potential of t + 1.
    """
    steps, batch, k = unary.shape
    m = np.broadcast_to(pair, (steps - 1, batch, k, k)) + unary[1:, :, None, :]
    levels = [m]
    while len(levels[-1]) > 1:
        x = levels[-1]
        levels.append(_log_product(x[0 : len(x) - 1 : 2], x[1::2]))
    ahead, back = _prefix(levels, unary[0]), _suffix(levels)
    return _from_messages(ahead, back, unary, pair, summed)


def _prefix(levels: list[np.ndarray], first: np.ndarray) -> np.ndarray:
    """Forward messages of all nodes: at even places from the level above, at odd ones a step further."""
    found = np.stack([first, *([_lse(first[:, :, None] + levels[-1][0], 1)] if len(levels[-1]) else [])])
    for m in reversed(levels[:-1]):
        out = np.empty((len(m) + 1, *first.shape))
        out[0 : 2 * len(found) : 2] = found[: (len(m) + 2) // 2]
        odd = out[1::2]
        odd[...] = _lse(out[0 : 2 * len(odd) : 2][..., None] + m[0::2][: len(odd)], -2)
        found = out
    return found


def _suffix(levels: list[np.ndarray]) -> np.ndarray:
    """Backward messages of all nodes: matrices that no pair took stand at the end of their level."""
    batch, k = levels[0].shape[1:3]
    last = np.zeros((1, batch, k))
    tails = []  # of each level but the last: the message before the matrix that was left over
    for m in levels[:-1]:
        tails.append(last[-1])
        if len(m) % 2:
            last = _lse(m[-1] + last[-1][:, None, :], -1)[None]
    found = np.stack([_lse(levels[-1][0] + last[-1][:, None, :], -1), last[-1]])
    for m, tail in zip(reversed(levels[:-1]), reversed(tails), strict=True):
        out = np.empty((len(m) + 1, batch, k))
        out[0 : 2 * len(found) : 2] = found
        out[-1] = tail
        odd = out[1 : 2 * len(found) - 1 : 2]
        odd[...] = _lse(m[1 : 2 * len(odd) : 2] + out[2 : 2 * len(odd) + 1 : 2][:, :, None, :], -1)
        found = out
    return found


def conditionals(unary: np.ndarray, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same law forwards: p(z_1) (B, K), and p(z_(t+1) | z_t) (T - 1, B, K, K)."""
    steps, batch, k = unary.shape
    after = unary[-1]
    out = np.empty((steps - 1, batch, k, k))
    moves = np.broadcast_to(pair, (steps - 1, *pair.shape[1:]))
    for t in range(steps - 2, -1, -1):
        whole = moves[t] + after[:, None, :]
        total = _lse(whole, -1)
        out[t] = np.exp(whole - np.where(np.isfinite(total), total, 0.0)[..., None])
        out[t] = np.where(np.isfinite(total)[..., None], out[t], 1.0 / k)
        after = unary[t] + total
    first = np.exp(after - _lse(after, -1)[:, None])
    return first / first.sum(-1, keepdims=True), out / out.sum(-1, keepdims=True)


class NormalMoments(NamedTuple):
    """Means (S, B, D), covariances (S, B, D, D) and with the next (S - 1, B, D, D), log det of the precision (B,)."""

    mean: np.ndarray
    own: np.ndarray
    next: np.ndarray
    log_det: np.ndarray


def normals(own: np.ndarray, after: np.ndarray, h: np.ndarray) -> NormalMoments:
    """Moments of the normal whose precision has blocks `own` (S, B, D, D) and `after` (S - 1, B, D, D) above them.

    Every other step is eliminated at once, then every other of those left (odd-even reduction, which is a
    Cholesky factorisation in another order); covariances come back the same way. `h` (S, B, D) is precision x mean.

    >>> found = normals(np.full((2, 1, 1, 1), 2.0), np.ones((1, 1, 1, 1)), np.ones((2, 1, 1)))
    >>> found.mean[:, 0, 0].round(4), found.own[0, 0, 0, 0].round(4), found.next[0, 0, 0, 0].round(4)
    (array([0.3333, 0.3333]), np.float64(0.6667), np.float64(-0.3333))
    """
    if len(own) == 1:
        inverse, log_det = _inverted(own[0])
        mean = np.matmul(inverse, h[0][..., None])[..., 0]
        return NormalMoments(mean[None], inverse[None], after, log_det)
    odd, (left, right) = own[1::2], (after[0::2], after[1::2])
    inverse, log_det = _inverted(odd)
    n, m = len(odd), len(right)  # every odd step has one before it; the last may have none after it
    to_left = np.matmul(inverse, _t(left))  # of the mean of x_o = inverse h - to_left x_l - to_right x_r
    to_right = np.matmul(inverse[:m], right)
    kept, kept_h = own[0::2].copy(), h[0::2].copy()
    kept[:n] -= np.matmul(left, to_left)
    kept[1 : m + 1] -= np.matmul(_t(right), to_right)
    kept_h[:n] -= np.matmul(_t(to_left), h[1::2][..., None])[..., 0]
    kept_h[1 : m + 1] -= np.matmul(_t(to_right), h[1::2][:m][..., None])[..., 0]
    inner = normals(kept, -np.matmul(left[:m], to_right), kept_h)
    mean, cov, cross = np.empty_like(h), np.empty_like(own), np.empty_like(after)
    mean[0::2], cov[0::2] = inner.mean, inner.own
    x = np.matmul(inverse, h[1::2][..., None]) - np.matmul(to_left, inner.mean[:n][..., None])
    x[:m] -= np.matmul(to_right, inner.mean[1 : m + 1][..., None])
    mean[1::2] = x[..., 0]
    with_left = -np.matmul(to_left, inner.own[:n])
    with_left[:m] -= np.matmul(to_right, _t(inner.next[:m]))
    with_right = -np.matmul(to_left[:m], inner.next[:m]) - np.matmul(to_right, inner.own[1 : m + 1])
    spread = inverse - np.matmul(with_left, _t(to_left))
    spread[:m] -= np.matmul(with_right, _t(to_right))
    cov[1::2] = 0.5 * (spread + _t(spread))
    cross[0::2], cross[1::2] = _t(with_left), with_right
    return NormalMoments(mean, cov, cross, inner.log_det + log_det.sum(0))


def _t(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


def _inverted(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse and log determinant of positive definite matrices."""
    if x.shape[-1] == 1:
        if not np.all(x > 0.0):
            raise np.linalg.LinAlgError("a precision that is not positive")
        return 1.0 / x, np.log(x[..., 0, 0])
    tril = np.linalg.cholesky(x)
    return np.linalg.inv(x), 2.0 * np.log(np.diagonal(tril, axis1=-2, axis2=-1)).sum(-1)


def steps_of(own: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same normal forwards: gains G_t (S - 1, B, D, D) and Cholesky factors (S, B, D, D) of the steps' covariances.

    x_(t+1) - m_(t+1) = G_t (x_t - m_t) + L_(t+1) e, from the last step backwards, so that nothing cancels.
    """
    gains, factors = np.empty_like(after), np.empty_like(own)
    left = own[-1]
    for t in range(len(own) - 1, -1, -1):
        covariance = np.linalg.inv(left)
        factors[t] = np.linalg.cholesky(0.5 * (covariance + _t(covariance)))
        if t:
            gains[t - 1] = -np.matmul(covariance, _t(after[t - 1]))
            left = own[t - 1] + np.matmul(after[t - 1], gains[t - 1])
    return gains, factors


def drawn(own: np.ndarray, after: np.ndarray, h: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A draw (S, B, D) of the normal."""
    gains, factors = steps_of(own, after)
    x = np.matmul(factors, rng.standard_normal((*h.shape, 1)))
    for t in range(1, len(x)):
        x[t] += np.matmul(gains[t - 1], x[t - 1])
    return normals(own, after, h).mean + x[..., 0]
