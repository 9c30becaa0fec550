"""DisARM: two particles with mirrored noise, and the expectation over what they leave open.

For a Bernoulli of logits a, b = 1[u > 1 - sigmoid(a)] and b' the same from 1 - u:

    d E[f] / d a = E[ 1/2 (f(b) - f(b')) (b - b') sigmoid(|a|) ]

where b and b' disagree, which is where the gradient is. All draws of the factor are mirrored at once. The logits
must be common to the pair, so they may not depend on another draw.

Dong, Mnih and Tucker 2020, "DisARM: an antithetic gradient estimator for binary latent variables", eq. 8; the same
as Yin, Ho, Yan, Qian and Zhou 2020, "Probabilistic best subset selection via gradient-based optimization" (U2G).
"""

from __future__ import annotations

import numpy as np
from scipy import special

from ...errors import GuideError
from .record import LOGITS, Control, Estimator, Setting


def obstacle(s: Setting) -> str:
    """Only for a Bernoulli whose logits are the same in both particles."""
    if s.family != "Bernoulli" or s.noise_kind != "uniform":
        return f"draws of {s.family} are no Bernoulli draws"
    if s.upstream:
        return "its logits depend on another draw, so that a mirrored pair has none in common"
    return ""


def _signals(seen) -> list:
    logits = np.broadcast_to(seen.q.core.logits, np.shape(seen.draw))
    return [seen.spread(seen.weight), seen.draw, logits]


def _coefficients(signals, state, particles):
    if particles % 2:
        raise GuideError(
            f"particles={particles} with 'disarm'", "an even number: it takes mirrored pairs", "particles=2"
        )
    f, b, logits = (np.reshape(x, (particles // 2, 2, *np.shape(x)[1:])) for x in signals)
    c = 0.5 * (f[:, 0] - f[:, 1]) * (b[:, 0] - b[:, 1]) * special.expit(np.abs(logits[:, 0]))
    both = np.stack([c, c], axis=1)
    return [np.reshape(both, (particles, *np.shape(c)[1:]))], []


WHY = "mirrored pairs of Bernoulli draws, averaged over what both leave open"
ESTIMATOR = Estimator(
    "disarm",
    "score",
    WHY,
    "Dong, Mnih and Tucker 2020",
    obstacle,
    control=Control(_coefficients, _signals, LOGITS, mirrored=True),
)
