"""Optimizers: small frozen records of two functions, on one flat vector.

`init(x) -> state`, `update(gradient, state, x) -> (x, state)`; the gradient is of what is to be
minimised, as in NumPyro. `rate` may replace the step size at a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Adam's running averages and the number of steps behind them."""

    first: np.ndarray
    second: np.ndarray
    count: int


@dataclass(frozen=True)
class Adam:
    """Steps scaled by running averages of the gradient and its square.

    m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  x <- x - step_size m' / (sqrt(v') + eps),
    with m' and v' corrected for their start at zero (Kingma and Ba 2015, algorithm 1).

    >>> adam = Adam(0.1)
    >>> x, state = adam.update(np.array([3.0]), adam.init(np.zeros(1)), np.zeros(1))
    >>> x.round(6)
    array([-0.1])
    """

    step_size: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def init(self, x: np.ndarray) -> Moments:
        return Moments(np.zeros_like(x), np.zeros_like(x), 0)

    def update(
        self, g: np.ndarray, state: Moments, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Moments]:
        count = state.count + 1
        first = state.first + (1.0 - self.b1) * (g - state.first)
        second = state.second + (1.0 - self.b2) * (g * g - state.second)
        corrected = (1.0 - self.b2**count) ** 0.5
        size = (self.step_size if rate is None else rate) * corrected / (1.0 - self.b1**count)
        return x - size * first / (np.sqrt(second) + self.eps * corrected), Moments(first, second, count)


@dataclass(frozen=True)
class SGD:
    """Plain gradient steps: x <- x - step_size g.

    >>> SGD(0.5).update(np.array([2.0]), None, np.zeros(1))[0]
    array([-1.])
    """

    step_size: float = 0.01

    def init(self, x: np.ndarray) -> None:
        return None

    def update(self, g: np.ndarray, state: Any, x: np.ndarray, rate: float | None = None) -> tuple[np.ndarray, None]:
        return x - (self.step_size if rate is None else rate) * g, None


OPTIMIZERS = {kind.__name__: kind for kind in (Adam, SGD)}
