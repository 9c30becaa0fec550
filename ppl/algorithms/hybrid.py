"""Closed-form updates where there are any, natural gradients or quasi-Newton steps for the rest, in one ascent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..conjugacy import Ascent, State
from .lbfgs import minimize

NATURAL_STEPS = 2  # in every sweep
STEPS = 8  # of the quasi-Newton method, in every sweep


@dataclass(eq=False)
class Hybrid:
    """An ascent whose step also moves the latents without a closed form.

    Their part of the bound, given all other mean parameters, is an average over fixed draws: smooth, so that real
    latents can take natural gradients, and others be climbed by L-BFGS from the inverse Fisher metric of their
    normals.
    """

    ascent: Ascent

    @property
    def execution(self) -> Any:
        return self.ascent.execution

    nested = False

    def start(self, rng: np.random.Generator, init: Any = None, few: bool = True, defaults: Any = None) -> State:
        """As of the ascent."""
        return self.ascent.start(rng, init, few, defaults=defaults)

    def step(self, state: State) -> State:
        """Every block with a closed form, then the others."""
        state, free = self.ascent.step(state), self.ascent.free
        for _ in range(NATURAL_STEPS if free.natural else 0):
            values = free.natural_step(state.means, state.free)
            state = self.ascent.moved(state, values)
        if not free.climbed:
            return state
        x, *_ = minimize(
            free.objective(state),
            free.joined(state.free),
            free.metric,
            steps=STEPS,
            tolerance=1e-10,
            logarithmic=free.logarithmic,
        )
        return self.ascent.moved(state, {**state.free, **free.parted(x)})

    def terms(self, state: State) -> Mapping[str, float]:
        """As of the ascent."""
        return self.ascent.terms(state)

    def naturals(self, state: State) -> Mapping[tuple[str, str], np.ndarray]:
        """As of the ascent."""
        return self.ascent.naturals(state)
