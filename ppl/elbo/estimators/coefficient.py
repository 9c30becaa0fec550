"""The coefficient of BBVI: for every parameter of q its score h, times a* = Cov(f h, h) / Var(h), is taken off f h.

The estimate of a* for a particle comes from the other particles, so that it stays unbiased; E[h] = 0 is used, which
holds for free parameters: of Bernoulli and Categorical these are the logits, other parameters on a simplex are
refused. With two particles of one scalar parameter it is the leave-one-out baseline.

Ranganath, Gerrish and Blei 2014, "Black box variational inference", eq. 9 and 10.
"""

from __future__ import annotations

import numpy as np

from ...array import pull_through, stop_gradient
from ...distributions import Distribution, constraints
from ...errors import GuideError
from .record import NATURAL, Control, Estimator, Scored
from .relaxed import has_logits, score_of


def _signals(seen: Scored) -> list:
    if has_logits(seen.q):
        _, h = score_of(seen)
        weight = seen.spread(seen.weight)
        return [np.reshape(weight, (*np.shape(weight), *(1,) * (np.ndim(h) - np.ndim(weight)))) * h, h]
    if _on_simplex(seen.q.core):
        raise GuideError(
            "estimator='coefficient' for a factor with parameters on a simplex",
            "parameters that are free: the score of others is not zero on average",
            "estimator='leave-one-out'",
            site=seen.name,
        )
    log_q, weight = seen.log_q, stop_gradient(seen.weight)
    wanted = list(seen.parameters)
    return [*pull_through(seen.tape, np.sum(weight * log_q), wanted), *pull_through(seen.tape, np.sum(log_q), wanted)]


def _on_simplex(d: Distribution) -> bool:
    parts = [x for x in vars(d).values() if isinstance(x, Distribution)]
    return constraints.simplex in d.arg_constraints.values() or any(_on_simplex(x.core) for x in parts)


def _coefficients(signals, state, particles):
    n = len(signals) // 2
    return [fh - coefficient(fh, h) * h for fh, h in zip(signals[:n], signals[n:], strict=True)], []


def coefficient(g, h):
    """Of every particle, what makes g - a h vary least over the others, element by element; E[h] is zero."""
    total = np.sum(h * h, axis=0)
    rest = total - h * h
    known = rest > 1e-9 * total
    return np.where(known, (np.sum(g * h, axis=0) - g * h) / np.where(known, rest, 1.0), 0.0)


WHY = "score function with the coefficient Cov(f h, h) / Var(h) on the score h of every parameter"
ESTIMATOR = Estimator(
    "coefficient",
    "score",
    WHY,
    "Ranganath, Gerrish and Blei 2014",
    control=Control(_coefficients, _signals, NATURAL),
)
