"""RELAX: as REBAR, with a control function of its own in the place of f.

    g = [f(b) - c(z')] h + d c(z) - d c(z'),   c(z) = phi_0 + sum_m phi_m s_m(z)

c is linear in the relaxed draw s, and knows nothing of the model, so it fits wherever a draw has a
relaxation, through jumps and integers as well; phi_0 is a baseline. Since g is linear in phi, the phi of least
variance is a least-squares solution, here over past steps with a little ridge: no inner optimizer. Each
Bernoulli draw has its own phi, and each draw among categories one for every category.

Grathwohl, Choi, Wu, Roeder and Duvenaud 2018, "Backpropagation through the void: optimizing control variates for
black-box gradient estimation", eq. 8 (there c is a network).
"""

from __future__ import annotations

import numpy as np

from ...array import pull_through
from ...distributions import Bernoulli
from .rebar import WAY
from .record import LOGITS, Control, Estimator, Scored, Setting
from .relaxed import FAMILIES, one_hot, pair, refusal, score_of, soft

DECAY = 0.95
RIDGE = 1e-3


def obstacle(s: Setting) -> str:
    """Wherever a draw has a relaxation: of whole numbers, one-hot vectors are relaxed."""
    return refusal(s, (*FAMILIES, "Categorical"))


def _signals(seen: Scored) -> list:
    b = one_hot(seen.draw, seen.q)
    logits, h = score_of(seen)
    z, given = pair(logits, b, seen.noise, seen.q)
    s, s_given = soft(z, seen.q), soft(given, seen.q)
    weight = seen.spread(seen.weight)
    if isinstance(seen.q.core, Bernoulli):
        free, held = (pull_through(seen.tape, np.sum(x), [logits])[0] for x in (s, s_given))
        return [weight * h, np.expand_dims(np.stack([-h, free - held - s_given * h], axis=-1), -2)]
    extra = np.ndim(b) - np.ndim(weight)
    weight = np.reshape(weight, (*np.shape(weight), *(1,) * extra))
    columns = [-h]
    for m in range(np.shape(b)[-1]):
        free, held = (pull_through(seen.tape, np.sum(x[..., m]), [logits])[0] for x in (s, s_given))
        columns.append(free - held - s_given[..., m : m + 1] * h)
    return [weight * h, np.stack(columns, axis=-1)]


def _start(shapes):
    basis = shapes[1]
    return [np.zeros((*basis[:-2], basis[-1], basis[-1])), np.zeros((*basis[:-2], basis[-1]))]


def _coefficients(signals, state, particles):
    g, basis = signals
    square, cross = state
    rows = np.reshape(g, np.shape(basis)[:-1])
    m = np.shape(basis)[-1]
    size = np.sum(square * np.eye(m), axis=(-2, -1))[..., None, None] / m
    phi = np.linalg.solve(square + (RIDGE * size + np.where(size == 0.0, 1.0, 0.0)) * np.eye(m), -cross[..., None])
    new = rows + np.sum(basis * np.swapaxes(phi, -1, -2), axis=-1)
    squares = np.mean(np.sum(basis[..., :, None] * basis[..., None, :], axis=-3), axis=0)
    crosses = np.mean(np.sum(basis * rows[..., None], axis=-2), axis=0)
    kept = [DECAY * old + (1.0 - DECAY) * x for old, x in zip(state, (squares, crosses), strict=True)]
    return [np.reshape(new, np.shape(g))], kept


WHY = "score function with a learned function of relaxed draws as its control variate"
ESTIMATOR = Estimator(
    "relax",
    "score",
    WHY,
    "Grathwohl et al. 2018",
    obstacle,
    way=WAY,
    control=Control(_coefficients, _signals, LOGITS, _start),
)
