"""A row of the registry, and what its tables share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

import ppl.distributions as dist

from .exact import EXACT, far_of


@dataclass(frozen=True)
class Row:
    """A distribution and its oracle; of families on the line also the log density in many digits, and where to ask.

    `exact(x, **parameters)` takes numbers of mpmath; `far(small, large)` lists parameters and values far out.
    """

    d: dist.Distribution
    oracle: Any
    label: str
    exact: Callable | None = None
    far: Callable | None = None

    @property
    def scalar(self) -> bool:
        """One number: no batch, no event."""
        return self.d.shape() == ()

    def __str__(self) -> str:
        return self.label


class Quiet:
    """A frozen distribution of scipy whose own floating-point warnings are not our concern."""

    def __init__(self, frozen: Any) -> None:
        self.frozen = frozen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.frozen, name)
        return np.errstate(all="ignore")(found) if callable(found) else found


def rows(name: str, oracle: Callable, *settings: dict[str, Any]) -> list[Row]:
    family = dist.FAMILIES[name]
    exact, far = EXACT.get(name), far_of(name)
    return [Row(family(**s), Quiet(oracle(**s)), f"{name}-{i}", exact, far) for i, s in enumerate(settings)]


# The nodes of an integral over the unit interval whose weights vanish at its ends faster than densities grow there
# (the double exponential rule of Takahasi and Mori 1974).
_T = np.linspace(-4.0, 4.0, 801)
_LEVELS = special.expit(np.pi * np.sinh(_T))
_WEIGHTS = 0.01 * np.pi * np.cosh(_T) * _LEVELS * special.expit(-np.pi * np.sinh(_T))


def by_quadrature(oracle: Any, function: Callable) -> np.ndarray:
    """The expectation of a function, as the integral of its values at all quantiles."""
    shape = np.broadcast_shapes(*map(np.shape, oracle.kwds.values()))
    q = _LEVELS.reshape(-1, *(1,) * len(shape)) + np.zeros(shape)
    inside = (q > 1e-15) & (q < 1 - 1e-15)
    found = np.where(inside, function(oracle.ppf(np.where(inside, q, 0.5))), 0.0)
    return np.tensordot(_WEIGHTS, found, 1)


def over_logs(oracle: Any, function: Callable) -> np.ndarray:
    """The expectation of a function of a positive number, by the trapezoidal rule over its logarithm."""
    shape = np.broadcast_shapes(*map(np.shape, oracle.kwds.values()))
    x = np.exp(np.arange(-80.0, 300.0, 0.02)).reshape(-1, *(1,) * len(shape))
    return 0.02 * np.sum(np.exp(oracle.logpdf(x)) * x * function(x), 0)


def array(*values):
    return np.array(values)


def location_scale(scipy_family):
    return lambda loc, scale: scipy_family(loc, scale)


def probability(probs=None, logits=None):
    return special.expit(logits) if probs is None else np.asarray(probs)


LOCATION_SCALE = (
    {"loc": 0.0, "scale": 1.0},
    {"loc": -1.3, "scale": 0.37},
    {"loc": array(-2.0, 0.0, 150.5), "scale": array([0.01], [30.0])},
)
SCALE = ({"scale": 1.0}, {"scale": 0.37}, {"scale": array(0.01, 30.0)})
GAMMA = (
    {"concentration": 2.0, "rate": 1.0},
    {"concentration": 2.5, "rate": 0.7},
    {"concentration": 1.0, "rate": 3.0},
    {"concentration": 0.4, "rate": 3.0},
    {"concentration": array(0.7, 1.0, 40.3), "rate": array([0.1], [25.0])},
)
PROBABILITY = (
    {"probs": 0.3},
    {"logits": -1.7},
    {"probs": array(0.01, 0.5, 0.97)},
    {"logits": array([-4.0], [0.0], [3.3])},
)
CERTAIN = ({"probs": 0.0}, {"probs": 1.0})
