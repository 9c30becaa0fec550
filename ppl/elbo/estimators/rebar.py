"""REBAR: the score of f, with f at relaxed draws as its control variate.

    g = [f(b) - eta f(s(z'))] h + eta d f(s(z)) - eta d f(s(z')),   h = d log q(b) / d logits

z gives b, z' is drawn given b, and s relaxes. Whatever eta is, g is unbiased; the eta of least variance is a
least-squares solution over past steps. f must be continuous in a relaxed draw along the program, and no
other draw that enters by its score may depend on it.

Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein 2017, "REBAR: low-variance, unbiased gradient estimates for
discrete latent variable models", eq. 7.
"""

from __future__ import annotations

import numpy as np

from ...array import pull_through
from .record import LOGITS, Control, Estimator, Scored, Setting, Way
from .relaxed import has_logits, noise_shape, pair, refusal, score_of, soft

DECAY = 0.95
RIDGE = 1e-3


def obstacle(s: Setting) -> str:
    """Only where f can be evaluated at a relaxed draw."""
    if why := refusal(s):
        return why
    if s.branch:
        return "the model's control flow depends on the draw"
    if s.jump:
        return f"'{s.jump}' jumps on the way from the draw to the term, which no relaxed draw can pass"
    return "another draw that enters by its score depends on it" if s.downstream else ""


def _signals(seen: Scored) -> list:
    logits, h = score_of(seen)
    z, given = pair(logits, seen.draw, seen.noise, seen.q)
    (_, total), (at_given, total_given) = (seen.weight_at(soft(x, seen.q)) for x in (z, given))
    free, held = (pull_through(seen.tape, f, [logits])[0] for f in (total, total_given))
    return [seen.spread(seen.weight) * h, free - held - seen.spread(at_given) * h]


def _start(shapes):
    return [np.zeros(()), np.zeros(())]


def _coefficients(signals, state, particles):
    (g, control), (cross, square) = signals, state
    eta = -cross / (square + RIDGE * (square == 0.0))
    new = [np.mean(np.sum(x * control, axis=tuple(range(1, np.ndim(g))))) for x in (g, control)]
    return [g + eta * control], [DECAY * old + (1.0 - DECAY) * x for old, x in zip(state, new, strict=True)]


WHY = "score function with the model at relaxed draws as its control variate"


def _draw(base, noise):
    return base.from_noise(noise[0])


WAY = Way(has_logits, noise_shape, _draw)
ESTIMATOR = Estimator(
    "rebar",
    "score",
    WHY,
    "Tucker et al. 2017",
    obstacle,
    way=WAY,
    control=Control(_coefficients, _signals, LOGITS, _start),
)
