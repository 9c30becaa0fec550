"""No control variate: the score function times all of f, as a yardstick for the others.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
"""

from __future__ import annotations

from .record import Control, Estimator


def _untouched(signals, state, particles):
    return [signals[0]], []


WHY = "score function without a control variate"
ESTIMATOR = Estimator("none", "score", WHY, "Williams 1992", control=Control(_untouched))
