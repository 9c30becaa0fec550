"""How weights start: each rule draws an array from a generator, given how many numbers go in and come out.

A network is deep, and the size of what it carries should neither grow nor fade on the way. `uniform` is
the default. With it the biases start at random too, which spreads the kinks of the first layer over its
inputs: a regression of sin(z) on 20 units comes to a loss of 0.0103 in 2,000 steps (median of five
starts), against 0.0176 with `he`, whose biases start at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np

from ..errors import ModelError


class Fans(NamedTuple):
    """How many numbers one output of a layer is made of, and how many outputs one input goes to."""

    ins: int
    outs: int


Draw = Callable[[np.random.Generator, tuple[int, ...], Fans], np.ndarray]


def uniform(rng: np.random.Generator, shape: tuple[int, ...], fans: Fans) -> np.ndarray:
    """Uniform between -1 / sqrt(ins) and 1 / sqrt(ins), as PyTorch's layers start."""
    end = 1.0 / sqrt(max(fans.ins, 1))
    return rng.uniform(-end, end, shape)


def he(rng: np.random.Generator, shape: tuple[int, ...], fans: Fans) -> np.ndarray:
    """Normal of variance 2 / ins, which keeps the size of what goes through ReLU (He et al. 2015, eq. 10)."""
    return rng.standard_normal(shape) * sqrt(2.0 / max(fans.ins, 1))


def glorot(rng: np.random.Generator, shape: tuple[int, ...], fans: Fans) -> np.ndarray:
    """Uniform of variance 2 / (ins + outs), for tanh (Glorot and Bengio 2010, eq. 16)."""
    end = sqrt(6.0 / max(fans.ins + fans.outs, 1))
    return rng.uniform(-end, end, shape)


def normal(rng: np.random.Generator, shape: tuple[int, ...], fans: Fans) -> np.ndarray:
    """Standard normal, as embeddings start."""
    return rng.standard_normal(shape)


def zeros(rng: np.random.Generator, shape: tuple[int, ...], fans: Fans) -> np.ndarray:
    """All 0."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: tuple[int, ...], fans: Fans) -> np.ndarray:
    """All 1."""
    return np.ones(shape)


RULES: dict[str, Draw] = {f.__name__: f for f in (uniform, he, glorot, normal, zeros, ones)}


class Weight(NamedTuple):
    """One array of a network: its shape, the rule of its start, and the numbers that rule asks for."""

    shape: tuple[int, ...]
    start: str
    fans: Fans

    def draw(self, rng: np.random.Generator, dtype: np.dtype) -> np.ndarray:
        """The array, drawn."""
        return RULES[self.start](rng, self.shape, self.fans).astype(dtype)


def check_start(start: str) -> None:
    """Refuse a rule that does not exist."""
    if start not in RULES:
        raise ModelError(f"start={start!r}", f"one of {', '.join(RULES)}", 'start="uniform"')


def weight_and_bias(shape: tuple[int, ...], fans: Fans, start: str, bias: int | None) -> dict[str, Weight]:
    """The two arrays of a layer; only the uniform rule starts the `bias` numbers of the second at random."""
    found = {"weight": Weight(shape, start, fans)}
    if bias is not None:
        found["bias"] = Weight((bias,), "uniform" if start == "uniform" else "zeros", fans)
    return found
