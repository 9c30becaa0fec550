"""Concrete (Gumbel-softmax): the draw is replaced by its relaxation, and differentiated.

The gradient is that of another model, in which the site takes values between its own: it is biased, the
more so the higher the temperature. On request only.

Maddison, Mnih and Teh 2017, "The concrete distribution"; Jang, Gu and Poole 2017, "Categorical
reparameterization with Gumbel-softmax".
"""

from __future__ import annotations

from .record import Estimator, Way
from .relaxed import TEMPERATURE, has_soft, refusal, relaxed_draw, relaxed_noise_shape

BIASED = f"the gradient is that of a relaxation of temperature {TEMPERATURE}, not of the bound"
WHY = f"biased: {BIASED}"
ESTIMATOR = Estimator(
    "concrete",
    "pathwise",
    WHY,
    "Maddison, Mnih and Teh 2017",
    refusal,
    way=Way(has_soft, relaxed_noise_shape, relaxed_draw, smooth=True),
    biased=BIASED,
)
