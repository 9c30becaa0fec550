"""Optimizers: small frozen records of two functions, on one flat vector, elementwise.

`init(x) -> state`, `update(gradient, state, x) -> (x, state)`; the gradient is of what is to be
minimised, as in NumPyro, and names and arguments are NumPyro's. `rate` may replace the step size at a step.

A step size is a number, or a schedule: a function of the step, as `ExponentialDecay(0.01, 1000, 0.5)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Rate = float | Callable[[int], float]


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

    step_size: Rate = 0.01
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
        size = _rate(self, rate) * corrected / (1.0 - self.b1**count)
        return x - size * first / (np.sqrt(second) + self.eps * corrected), Moments(first, second, count)

    def update_in_place(self, g: np.ndarray, state: Moments, x: np.ndarray, rate: float, scratch: np.ndarray) -> int:
        """The same in the arrays given, without new ones; returns the count."""
        count, first, second = state.count + 1, state.first, state.second
        corrected = (1.0 - self.b2**count) ** 0.5
        np.subtract(g, first, out=scratch)
        scratch *= 1.0 - self.b1
        first += scratch
        np.multiply(g, g, out=scratch)
        scratch -= second
        scratch *= 1.0 - self.b2
        second += scratch
        np.sqrt(second, out=scratch)
        scratch += self.eps * corrected
        np.divide(first, scratch, out=scratch)
        scratch *= rate * corrected / (1.0 - self.b1**count)
        x -= scratch
        return count


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam, and apart from its steps every coordinate shrinks: x <- (1 - step_size weight_decay) x.

    Loshchilov and Hutter 2019, algorithm 2.

    >>> AdamW(0.1, weight_decay=0.5).update(np.zeros(1), AdamW().init(np.ones(1)), np.ones(1))[0]
    array([0.95])
    """

    weight_decay: float = 1e-4

    def update(
        self, g: np.ndarray, state: Moments, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Moments]:
        return super().update(g, state, x * (1.0 - _rate(self, rate) * self.weight_decay), rate)

    def update_in_place(self, g: np.ndarray, state: Moments, x: np.ndarray, rate: float, scratch: np.ndarray) -> int:
        x *= 1.0 - rate * self.weight_decay
        return super().update_in_place(g, state, x, rate, scratch)


@dataclass(frozen=True)
class ClippedAdam(Adam):
    """Adam on gradients whose elements are cut to [-clip_norm, clip_norm].

    >>> adam = ClippedAdam(0.1, clip_norm=1.0)
    >>> float(adam.update(np.array([1e9]), adam.init(np.zeros(1)), np.zeros(1))[1].first[0])
    0.09999999999999998
    """

    clip_norm: float = 10.0

    def update(
        self, g: np.ndarray, state: Moments, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Moments]:
        return super().update(np.clip(g, -self.clip_norm, self.clip_norm), state, x, rate)

    def update_in_place(self, g: np.ndarray, state: Moments, x: np.ndarray, rate: float, scratch: np.ndarray) -> int:
        return super().update_in_place(np.clip(g, -self.clip_norm, self.clip_norm), state, x, rate, scratch)


@dataclass(frozen=True)
class SGD:
    """Plain gradient steps: x <- x - step_size g.

    >>> SGD(0.5).update(np.array([2.0]), None, np.zeros(1))[0]
    array([-1.])
    """

    step_size: Rate = 0.01

    def init(self, x: np.ndarray) -> None:
        return None

    def update(self, g: np.ndarray, state: Any, x: np.ndarray, rate: float | None = None) -> tuple[np.ndarray, None]:
        return x - _rate(self, rate) * g, None


class Velocity(NamedTuple):
    """The sum of gradients that momentum carries."""

    velocity: np.ndarray


@dataclass(frozen=True)
class Momentum:
    """A heavy ball (Polyak 1964): v <- mass v + g,  x <- x - step_size v.

    >>> Momentum(0.5).update(np.array([2.0]), Velocity(np.ones(1)), np.zeros(1))[0]
    array([-1.45])
    """

    step_size: Rate = 0.01
    mass: float = 0.9

    def init(self, x: np.ndarray) -> Velocity:
        return Velocity(np.zeros_like(x))

    def update(
        self, g: np.ndarray, state: Velocity, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Velocity]:
        velocity = self.mass * state.velocity + g
        return x - _rate(self, rate) * velocity, Velocity(velocity)


class Squares(NamedTuple):
    """A sum or average of squared gradients, and the momentum of the steps."""

    squares: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True)
class Adagrad:
    """Steps scaled by all squared gradients so far (Duchi, Hazan and Singer 2011), with momentum.

    s <- s + g^2,  v <- momentum v + (1 - momentum) g / sqrt(s),  x <- x - step_size v.

    >>> Adagrad(0.5, momentum=0.0).update(np.array([2.0]), Adagrad().init(np.zeros(1)), np.zeros(1))[0]
    array([-0.5])
    """

    step_size: Rate = 0.01
    momentum: float = 0.9

    def init(self, x: np.ndarray) -> Squares:
        return Squares(np.zeros_like(x), np.zeros_like(x))

    def update(
        self, g: np.ndarray, state: Squares, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Squares]:
        squares = state.squares + g * g
        scaled = g / np.sqrt(np.where(squares > 0.0, squares, 1.0))
        velocity = self.momentum * state.velocity + (1.0 - self.momentum) * scaled
        return x - _rate(self, rate) * velocity, Squares(squares, velocity)


class Average(NamedTuple):
    """A running average of squared gradients."""

    squares: np.ndarray


@dataclass(frozen=True)
class RMSProp:
    """Steps scaled by a running average of squared gradients (Tieleman and Hinton 2012).

    s <- decay s + (1 - decay) g^2,  x <- x - step_size g / sqrt(s + eps).

    >>> RMSProp(0.1, decay=0.0).update(np.array([2.0]), Average(np.zeros(1)), np.zeros(1))[0].round(6)
    array([-0.1])
    """

    step_size: Rate = 0.01
    decay: float = 0.9
    eps: float = 1e-8

    def init(self, x: np.ndarray) -> Average:
        return Average(np.zeros_like(x))

    def update(
        self, g: np.ndarray, state: Average, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Average]:
        squares = self.decay * state.squares + (1.0 - self.decay) * (g * g)
        return x - _rate(self, rate) * g / np.sqrt(squares + self.eps), Average(squares)


@dataclass(frozen=True)
class RMSPropMomentum:
    """RMSProp whose steps have momentum: v <- mass v + step_size g / sqrt(s + eps),  x <- x - v.

    >>> start = RMSPropMomentum().init(np.zeros(1))
    >>> RMSPropMomentum(0.1, decay=0.0).update(np.array([2.0]), start, np.zeros(1))[0].round(6)
    array([-0.1])
    """

    step_size: Rate = 0.01
    decay: float = 0.9
    eps: float = 1e-8
    mass: float = 0.9

    def init(self, x: np.ndarray) -> Squares:
        return Squares(np.zeros_like(x), np.zeros_like(x))

    def update(
        self, g: np.ndarray, state: Squares, x: np.ndarray, rate: float | None = None
    ) -> tuple[np.ndarray, Squares]:
        squares = self.decay * state.squares + (1.0 - self.decay) * (g * g)
        velocity = self.mass * state.velocity + _rate(self, rate) * g / np.sqrt(squares + self.eps)
        return x - velocity, Squares(squares, velocity)


# -- step sizes as functions of the step ---------------------------------------------------------------
@dataclass(frozen=True)
class ExponentialDecay:
    """step_size decay_rate^(step / decay_steps).

    >>> ExponentialDecay(0.1, 1000, 0.5)(2000)
    0.025
    """

    step_size: float
    decay_steps: float
    decay_rate: float

    def __call__(self, step: int) -> float:
        return self.step_size * self.decay_rate ** (step / self.decay_steps)


@dataclass(frozen=True)
class InverseTimeDecay:
    """step_size / (1 + decay_rate step / decay_steps).

    >>> InverseTimeDecay(0.1, 1000, 1.0)(1000)
    0.05
    """

    step_size: float
    decay_steps: float
    decay_rate: float = 1.0

    def __call__(self, step: int) -> float:
        return self.step_size / (1.0 + self.decay_rate * step / self.decay_steps)


@dataclass(frozen=True)
class PolynomialDecay:
    """From step_size to final_step_size in decay_steps, along (1 - step / decay_steps)^power; then it stays.

    >>> PolynomialDecay(0.1, 1000)(500), PolynomialDecay(0.1, 1000)(5000)
    (0.05, 0.0)
    """

    step_size: float
    decay_steps: float
    final_step_size: float = 0.0
    power: float = 1.0

    def __call__(self, step: int) -> float:
        left = (1.0 - min(step / self.decay_steps, 1.0)) ** self.power
        return self.final_step_size + (self.step_size - self.final_step_size) * left


@dataclass(frozen=True)
class CosineDecay:
    """From step_size to final_step_size in decay_steps along half a cosine, after a linear rise of warmup_steps.

    Loshchilov and Hutter 2017, eq. 5, without restarts.

    >>> schedule = CosineDecay(0.1, 1000, warmup_steps=10)
    >>> schedule(4), round(schedule(505), 6), schedule(1000)
    (0.05, 0.05, 0.0)
    """

    step_size: float
    decay_steps: float
    final_step_size: float = 0.0
    warmup_steps: float = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.step_size * (step + 1) / self.warmup_steps
        done = min((step - self.warmup_steps) / max(self.decay_steps - self.warmup_steps, 1), 1.0)
        left = 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final_step_size + (self.step_size - self.final_step_size) * left


@dataclass(frozen=True)
class PiecewiseConstant:
    """values[k] between boundaries[k - 1] and boundaries[k]: one more value than there are boundaries.

    >>> PiecewiseConstant((1000, 2000), (0.1, 0.01, 0.001))(1500)
    0.01
    """

    boundaries: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, step: int) -> float:
        return self.values[sum(step >= b for b in self.boundaries)]


def rate_at(optimizer: Any, step: int) -> float:
    """The step size of an optimizer at a step."""
    size = optimizer.step_size
    return float(size(step)) if callable(size) else size


def _rate(optimizer: Any, rate: float | None) -> float:
    return rate_at(optimizer, 0) if rate is None else rate


OPTIMIZERS = {
    kind.__name__: kind for kind in (Adam, AdamW, ClippedAdam, SGD, Momentum, Adagrad, RMSProp, RMSPropMomentum)
}
SCHEDULES = {
    kind.__name__: kind
    for kind in (ExponentialDecay, InverseTimeDecay, PolynomialDecay, CosineDecay, PiecewiseConstant)
}
