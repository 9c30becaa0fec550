"""Straight-through: the draw itself forwards, the derivative of its relaxation backwards.

Values are right, the gradient is biased: it takes the slope of the relaxation for the step of the draw.
On request only.

Bengio, Leonard and Courville 2013, "Estimating or propagating gradients through stochastic neurons for
conditional computation"; Jang, Gu and Poole 2017, section 2.2.
"""

from __future__ import annotations

import numpy as np

from ...array import stop_gradient
from ...distributions import OneHotCategorical
from .record import Estimator, Way
from .relaxed import TEMPERATURE, has_soft, refusal, relaxed_draw, relaxed_noise_shape

BIASED = f"the slope of a relaxation of temperature {TEMPERATURE} stands for the step of the draw"
WHY = f"biased: {BIASED}"


def _draw(base, noise):
    s = relaxed_draw(base, noise)
    if isinstance(base.core, OneHotCategorical):
        hard = np.where(
            np.arange(np.shape(s)[-1]) == np.expand_dims(np.argmax(stop_gradient(s), axis=-1), -1), 1.0, 0.0
        )
    else:
        hard = np.where(stop_gradient(s) > 0.5, 1.0, 0.0)
    return stop_gradient(hard) + (s - stop_gradient(s))


ESTIMATOR = Estimator(
    "straight-through",
    "pathwise",
    WHY,
    "Bengio, Leonard and Courville 2013",
    refusal,
    way=Way(has_soft, relaxed_noise_shape, _draw, smooth=True),
    biased=BIASED,
)
