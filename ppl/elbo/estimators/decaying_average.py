"""Decaying average: b is a running mean of f over the steps so far, element by element.

    c <- DECAY c + (1 - DECAY) mean f,   b = c / (1 - DECAY^t)

Past draws are independent of this one, so it is unbiased at any number of particles; it lags where f moves.

Williams 1992; Mnih and Gregor 2014, section 2.3.
"""

from __future__ import annotations

import numpy as np

from .record import Control, Estimator

DECAY = 0.9


def _start(shapes):
    return [np.zeros(shapes[0]), np.zeros(())]


def _coefficients(signals, state, particles):
    (f,), (mean, mass) = signals, state
    b = mean / np.maximum(mass, 1e-9)
    with np.errstate(invalid="ignore"):  # weights that are not finite are the step's to leave out
        f_centred = f - b
    return [f_centred], [DECAY * mean + (1.0 - DECAY) * np.mean(f, axis=0), DECAY * mass + (1.0 - DECAY)]


WHY = "score function with a decaying average of past weights as its baseline"
ESTIMATOR = Estimator(
    "decaying-average", "score", WHY, "Mnih and Gregor 2014", control=Control(_coefficients, start=_start)
)
