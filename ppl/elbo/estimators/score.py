"""Score function: d E[f(z)] = E[(f(z) - b) d log q(z)], always right.

Only terms downstream of the draw enter f, per plate element where the program keeps the elements apart
(Rao-Blackwellization; Ranganath, Gerrish and Blei 2014). What is taken off f is a matter of the control
variate. The default b of a particle is the mean of the other particles' f: as long as the particles draw
independently it knows nothing of this particle's draw, and the estimate stays unbiased (Kool, van Hoof and
Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free"; eq. 8).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .record import Control, Estimator

WHY = "score function with a leave-one-out baseline over particles"


def leave_one_out(weights: Any) -> Any:
    """f minus the mean f of the other particles, along the first axis; f itself if there is one.

    >>> leave_one_out(np.array([1.0, 2.0, 6.0]))
    array([-3. , -1.5,  4.5])
    """
    count = np.shape(weights)[0]
    if count < 2:
        return weights
    return (weights - np.mean(weights, axis=0)) * (count / (count - 1.0))


def _centred(signals, state, particles):
    return [leave_one_out(signals[0])], []


CONTROL = Control(_centred)
PAPER = "Kool, van Hoof and Welling 2019"
ESTIMATOR = Estimator("score", "score", WHY, PAPER, control=CONTROL)
LEAVE_ONE_OUT = Estimator("leave-one-out", "score", WHY, PAPER, control=CONTROL)
