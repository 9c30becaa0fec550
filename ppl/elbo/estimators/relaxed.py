"""Continuous relaxations of Bernoulli and one-hot draws, which several estimators share.

Bernoulli: z = a + logit(u), b = 1[z > 0]; relaxed sigmoid(z / TEMPERATURE). One of K categories: z_k = log p_k plus
Gumbel noise, b the largest; relaxed softmax(z / TEMPERATURE). Given b, z has a known distribution and a
differentiable draw (Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein 2017, appendix C).
"""

from __future__ import annotations

import numpy as np
from scipy import special

from ...array import logsumexp, stop_gradient
from ...distributions import Bernoulli, Categorical, OneHotCategorical
from .record import Scored, Setting

TEMPERATURE = 0.5
FAMILIES = ("Bernoulli", "OneHotCategorical")


def refusal(s: Setting, families: tuple[str, ...] = FAMILIES) -> str:
    """Why a factor has no relaxation, if it has none."""
    if s.family in families:
        return ""
    if s.family == "Categorical":
        return "a whole number, as Categorical draws it, has no values between: OneHotCategorical has"
    return f"draws of {s.family} have no relaxation here"


def has_logits(base) -> bool:
    """Is this a Bernoulli, or one of several categories?"""
    return isinstance(base.core, Bernoulli | Categorical | OneHotCategorical)


def has_soft(base) -> bool:
    """Has its draw the shape of its relaxation?"""
    return isinstance(base.core, Bernoulli | OneHotCategorical)


def logit(u):
    """log u - log(1 - u)."""
    return np.log(u) - np.log1p(-u)


def gumbel(u):
    """Standard Gumbel noise from uniform noise."""
    return -np.log(-np.log(u))


def soft(z, q):
    """The relaxed draw that belongs to z."""
    if isinstance(q.core, Bernoulli):
        return special.expit(z / TEMPERATURE)
    scaled = z / TEMPERATURE
    return np.exp(scaled - np.expand_dims(logsumexp(scaled, axis=-1), -1))


def one_hot(b, q):
    """A draw with an axis for the categories; a Bernoulli draw as it is."""
    if isinstance(q.core, Categorical):
        k = np.shape(q.core.logits)[-1]
        return np.where(np.expand_dims(b, -1) == np.arange(k), 1.0, 0.0)
    return b


def score_of(seen: Scored):
    """The logits, spread over the draws, and the score of the (one-hot) draw in them."""
    b = one_hot(seen.draw, seen.q)
    logits, probs = (np.broadcast_to(x, np.shape(b)) for x in (seen.q.core.logits, seen.q.core.probs))
    return logits, b - probs


def rows(base) -> tuple[int, ...]:
    """Rows of noise beside those of the draw: one for each z given b and, with categories, for each category."""
    return (2,) if isinstance(base.core, Bernoulli) else (1 + 2 * np.shape(base.core.logits)[-1],)


def noise_shape(base) -> tuple[int, ...]:
    """The shape of all noise of a factor that is drawn with its relaxations: a row for the draw, the rest for these."""
    return (*rows(base), *base.noise_shape)


def pair(logits, b, noise, q):
    """(z, z given b) from the noise of `noise_shape`, differentiable in the logits; b is what was drawn."""
    if isinstance(q.core, Bernoulli):
        z = logits + logit(noise[0])
        # logits + logit(u), u = 1 - p + v p where b is 1 and v (1 - p) where it is 0, without the differences.
        above, below = np.log(noise[1]), np.log1p(-noise[1])
        up, down = np.logaddexp(0.0, logits + above) - below, above - np.logaddexp(0.0, below - logits)
        return z, np.where(b == 1, up, down)
    k = np.shape(logits)[-1]
    first, second = (np.moveaxis(noise[1 + i * k : 1 + (i + 1) * k], 0, -1) for i in (0, 1))
    # z is drawn given b too, from noise of its own; its Gumbel noise is then taken as given.
    z = logits + stop_gradient(_given(logits, b, first) - logits)
    return z, _given(logits, b, second)


def _given(logits, b, v):
    """Gumbel variables given which is the largest."""
    e = -np.log(v)
    top = np.log(np.expand_dims(np.sum(np.where(b == 1, e, 0.0), axis=-1), -1))
    return -np.where(b == 1, top, np.logaddexp(np.log(e) - logits, top))


def relaxed_draw(base, noise):
    """A relaxed draw from noise of `relaxed_noise_shape`."""
    logits = base.core.logits
    if isinstance(base.core, OneHotCategorical):
        return soft(logits + gumbel(np.moveaxis(noise, 0, -1)), base)
    return soft(logits + logit(noise), base)


def relaxed_noise_shape(base) -> tuple[int, ...]:
    """The shape of the noise of a relaxed draw: a row for every category."""
    k = (np.shape(base.core.logits)[-1],) if isinstance(base.core, OneHotCategorical) else ()
    return (*k, *base.noise_shape)
