"""Bounds of log p(data), as small records that can be exchanged.

With log weights l_k = log p(data, z_k) - log q(z_k) of k draws of the guide:

| bound | value |
|---|---|
| `ELBO()` | mean of l |
| `IWAE(k)` | log mean exp l |
| `Renyi(alpha, k)` | log mean exp((1 - alpha) l) / (1 - alpha) |

Where all draws lie in one plate the bound is that of every element by itself, and these are added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError


@dataclass(frozen=True)
class ELBO:
    """The evidence lower bound, E_q[log p(data, z) - log q(z)].

    >>> import ppl
    >>> ppl.BBVI(bound=ppl.ELBO()).bound.samples
    1
    """

    @property
    def samples(self) -> int:
        """Draws for one estimate of the bound."""
        return 1


class Multiple:
    """Bounds of several samples, with `samples` and `alpha`."""

    samples: int
    alpha: float

    def value(self, log_weights: Any, axis: int) -> Any:
        """The bound from log weights along an axis, which stays with length one."""
        s = 1.0 - self.alpha
        scaled = s * log_weights
        top = np.max(scaled, axis=axis, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        return (top + np.log(np.mean(np.exp(scaled - top), axis=axis, keepdims=True))) / s

    def shares(self, log_weights: Any, axis: int) -> Any:
        """d value / d log weight, along an axis; they add up to one."""
        scaled = (1.0 - self.alpha) * log_weights
        top = np.max(scaled, axis=axis, keepdims=True)
        e = np.exp(scaled - np.where(np.isfinite(top), top, 0.0))
        return e / np.sum(e, axis=axis, keepdims=True)

    def without(self, log_weights: Any) -> Any:
        """The bound where each weight in turn, along axis 1, is the geometric mean of the others.

        The sum of the others is the whole sum less its own part, but for the largest weight, whose
        others are added up by themselves: a difference would lose them to rounding.
        """
        s, k = 1.0 - self.alpha, np.shape(log_weights)[1]
        x = s * log_weights
        largest = np.expand_dims(np.argmax(x, axis=1), 1) == np.reshape(np.arange(k), (k, *(1,) * (np.ndim(x) - 2)))
        top = np.max(x, axis=1, keepdims=True)
        second = np.max(np.where(largest, -np.inf, x), axis=1, keepdims=True)
        e = np.exp(x - top)
        of_rest = np.log(
            np.sum(np.where(largest, 0.0, np.exp(np.where(largest, second, x) - second)), 1, keepdims=True)
        )
        rest = np.sum(e, axis=1, keepdims=True) - e
        of_others = np.log(np.where(largest, 1.0, rest)) + top
        mean = (np.sum(x, axis=1, keepdims=True) - x) / (k - 1.0)
        return (np.logaddexp(np.where(largest, of_rest + second, of_others), mean) - np.log(k)) / s


@dataclass(frozen=True)
class IWAE(Multiple):
    """The importance-weighted bound, E[log mean of k weights p(data, z) / q(z)].

    It rises with k towards log p(data), and is the ELBO at k = 1.

    Burda, Grosse and Salakhutdinov 2016, "Importance weighted autoencoders", eq. 8.

    >>> import ppl, ppl.distributions as dist
    >>> def model():
    ...     z = ppl.sample("z", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(z, 1), obs=1.0)
    >>> at = {"z.loc": 0.0, "z.scale": 1.0}
    >>> bounds = (None, ppl.IWAE(5), ppl.IWAE(50))
    >>> [round(ppl.gradient(model, guide="meanfield", params=at, bound=b, particles=4000).elbo, 1) for b in bounds]
    [-1.9, -1.6, -1.5]
    """

    k: int

    alpha = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise ModelError(f"IWAE({self.k!r})", "a whole number of samples, at least 1", "ppl.IWAE(8)")

    @property
    def samples(self) -> int:
        """Draws for one estimate of the bound."""
        return self.k


@dataclass(frozen=True)
class Renyi(Multiple):
    """Renyi's variational bound of order alpha, with k samples; alpha = 0 is IWAE, alpha = 1 the ELBO.

    With 0 <= alpha < 1 it lies between ELBO and log p(data); negative orders may lie above.

    Li and Turner 2016, "Renyi divergence variational inference", eq. 14.

    >>> import ppl
    >>> ppl.Renyi(0.5).samples
    8
    """

    alpha: float
    k: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise ModelError(f"k={self.k!r}", "a whole number of samples, at least 1", "ppl.Renyi(0.5, k=8)")
        if not isinstance(self.alpha, int | float | np.number) or not np.isfinite(self.alpha) or self.alpha == 1.0:
            raise ModelError(f"Renyi({self.alpha!r})", "a finite order other than 1", "ppl.ELBO() is order 1")

    @property
    def samples(self) -> int:
        """Draws for one estimate of the bound."""
        return self.k


@dataclass(frozen=True)
class FreeBits:
    """A site's KL counts as max(KL, nats), in every draw by itself: up to `nats` it has no gradient.

    So much the guide may know of the site for nothing. In a plate it is the KL of all elements together.

    Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016, "Improving variational inference with inverse
    autoregressive flow", section 4 of the appendix.

    >>> import ppl
    >>> ppl.BBVI(weights={"z": ppl.FreeBits(0.5)}).weights["z"].nats
    0.5
    """

    nats: float

    def __post_init__(self) -> None:
        if not isinstance(self.nats, int | float | np.number) or not np.isfinite(self.nats) or self.nats < 0:
            raise ModelError(f"FreeBits({self.nats!r})", "a number of at least 0", "ppl.FreeBits(0.5)")


def weight_at(schedule: Any, step: int, site: str) -> float:
    """The weight of a site's terms at a step: a number, or a function of the step."""
    value = schedule(step) if callable(schedule) else schedule
    if not isinstance(value, int | float | np.number) or not np.isfinite(value) or value < 0:
        raise ModelError(
            f"a weight of {value!r} at step {step}",
            "a number of at least 0, or a function of the step that gives one",
            'weights={"z": lambda step: min(1.0, step / 1000)}',
            site=site,
        )
    return float(value)


def check_bound(bound: Any) -> None:
    """Is this one of the bounds?"""
    if not isinstance(bound, ELBO | Multiple):
        raise ModelError(f"bound={bound!r}", "a bound", "ppl.ELBO(), ppl.IWAE(8) or ppl.Renyi(0.5)")
