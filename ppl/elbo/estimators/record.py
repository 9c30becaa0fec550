"""What an entry of the menu says of itself, and what a control variate sees and gives.

A score estimate of d L / d q is  sum_j < c_j, d eta_j >  with constant coefficients c_j. A control
variate is the two functions that make them: `signals` of one particle, recorded in the program of
its values, and `coefficients` of all particles together, from these. The slots eta that the coefficients
stand before are log q (for one weight an element), the arrays that q is made of, or its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...array import Tape

LOG_Q, PARAMETERS, LOGITS = "log q", "parameters", "logits"
NATURAL = "natural"  # logits where the family has them, else parameters
WITH_LOGITS = frozenset(("Bernoulli", "Categorical", "OneHotCategorical"))


@dataclass(frozen=True)
class Setting:
    """What the program says of a factor in one term; `jump` names an operation that jumps on the way there."""

    family: str
    reparameterized: bool
    noise_kind: str
    upstream: bool  # its parameters depend on another draw
    downstream: bool  # another draw that enters by its score depends on it
    jump: str = ""
    branch: bool = False


def always(setting: Setting) -> str:
    """No obstacle."""
    return ""


@dataclass(frozen=True)
class Way:
    """How a factor is drawn where not by `from_noise` of its family alone.

    `fits(base)`: the family can be. `noise_shape(base)` is the shape of all its noise, `draw(base, noise)`
    the draw; `smooth` says that the draw is differentiable in the parameters of q.
    """

    fits: Callable[[Any], bool]

    noise_shape: Callable[[Any], tuple[int, ...]]
    draw: Callable[[Any, Any], Any]
    smooth: bool = False


@dataclass(frozen=True)
class Estimator:
    """An entry of the menu.

    `kind` is its class in the table of choices: "exact", "pathwise" or "score". `obstacle` says why it
    does not fit, or nothing. `sampled`: closed forms of the factor are drawn instead. `way`: it is drawn
    in a way of its own. `biased` says in which sense its gradient is not that of the bound. `multiple`:
    it is for bounds of several samples.
    """

    name: str
    kind: str
    why: str
    paper: str = ""
    obstacle: Callable[[Setting], str] = always
    sampled: bool = False
    way: Way | None = None
    biased: str = ""
    multiple: bool = False
    control: Control | None = None


@dataclass(frozen=True)
class Scored:
    """One factor in one particle, recorded: what a control variate may look at.

    `weight` has an element for each of log q's, or one for several; `parameters` are the recorded arrays
    that q is made of, and `q` is made of these; `data` are observations in the factor's plates.
    `weight_at(draw)` is the weight where the factor has another draw, and the sum of the terms in it (in a
    weight, terms outside of a plate stand at every element of the plate).
    """

    name: str
    tape: Tape
    weight: Any
    draw: Any
    noise: Any
    parameters: tuple[Any, ...]
    q: Any
    data: tuple[Any, ...]
    weight_at: Callable[[Any], tuple[Any, Any]]

    @property
    def log_q(self) -> Any:
        """log q of the draw."""
        return self.q.log_prob(self.draw)

    def spread(self, x: Any) -> Any:
        """What has an element for each event, with an axis of length one for each axis of an event."""
        return np.reshape(x, (*np.shape(x), *(1,) * (np.ndim(self.draw) - len(self.q.batch_shape))))


def weight_alone(seen: Scored) -> list:
    """The weight itself."""
    return [seen.weight]


def no_state(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Nothing is kept from step to step."""
    return []


@dataclass(frozen=True)
class Control:
    """A control variate: coefficients from signals, with particles along the first axis.

    `coefficients(signals, state, particles) -> (one array for each slot, the next state)`; `start`
    gives the state before the first step from the shapes of one particle's signals. `mirrored`: particles
    come in pairs, of which the second has one minus the uniform noise of the first. Nothing that a
    coefficient is made of may depend on the particle's own draw but what is proved to be unbiased.
    """

    coefficients: Callable[[Sequence[Any], Sequence[Any], int], tuple[list, list]]
    signals: Callable[[Scored], list] = weight_alone
    slots: str = LOG_Q
    start: Callable[[Sequence[tuple[int, ...]]], list[np.ndarray]] = no_state
    mirrored: bool = False

    def slots_of(self, family: str) -> str:
        """What the coefficients stand before, for a factor of this family."""
        if self.slots == NATURAL:
            return LOGITS if family in WITH_LOGITS else PARAMETERS
        return self.slots

    @property
    def plain(self) -> bool:
        """Does it look at weights alone, and keep nothing?"""
        return self.signals is weight_alone and self.start is no_state and not self.mirrored
