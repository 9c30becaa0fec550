"""Draws in the place of a guide: what a sampler leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sampled:
    """Draws of the posterior, as the noise of a Gaussian guide, which says how long and wide they are.

    `noise` has S draws of every factor, chain after chain; `stats` numbers beside each of them. `state`
    is what going on from the last draw needs. Draws with log ratios `log_ratios` (S,) log p - log q come
    from another density q and are to be weighed; below them may stand wide ones, and `mixed` (S + W,)
    weighs all against the density of both.
    """

    noise: Mapping[str, np.ndarray]
    chains: int = 1
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    state: Mapping[str, np.ndarray] = field(default_factory=dict)
    log_ratios: np.ndarray | None = None
    mixed: np.ndarray | None = None

    @property
    def weighted(self) -> bool:
        return self.log_ratios is not None

    @property
    def count(self) -> int:
        """How many draws, wide ones not counted."""
        return len(self.log_ratios) if self.weighted else len(next(iter(self.noise.values())))

    @property
    def own(self) -> dict[str, np.ndarray]:
        """The draws without wide ones."""
        return {n: x[: self.count] for n, x in self.noise.items()}

    def chosen(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
        """Which draws so many are: all in their order, some without repetition, or more with it."""
        if num_samples == self.count:
            return np.arange(self.count)
        if num_samples < self.count and not self.weighted:  # evenly spread over the chains
            return np.floor(np.arange(num_samples) * (self.count / num_samples)).astype(int)
        return rng.choice(self.count, num_samples, replace=num_samples > self.count)
