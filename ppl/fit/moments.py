"""Do importance weights move the moments of a site, beyond their own error?"""

from __future__ import annotations

import math

import numpy as np

SHIFT, STRETCH = 0.15, 1.2  # in means, by sds, and in sds: what moments may differ by and still be good
ERRORS = 4.0  # standard errors beyond which a difference is one


def compare_moments(weighted: np.ndarray, weights: np.ndarray, plain: np.ndarray) -> tuple[float, float]:
    """The largest shift of a mean, and stretch of an sd, between weighted draws and the guide's own, if beyond error.

    (0, 1) where every element agrees: the mean within `SHIFT` weighted sds, the sds within a factor `STRETCH`,
    each with `ERRORS` standard errors to spare. A stretch below 1 is a guide that is too narrow.
    """
    x, y = (np.asarray(a, dtype=float).reshape(len(a), -1) for a in (weighted, plain))
    with np.errstate(all="ignore"):
        mean = weights @ x
        t = x - mean
        variance = weights @ t**2
        sd, own, own_sd = np.sqrt(variance), y.mean(0), y.std(0)
        square = weights**2
        error = np.sqrt(square @ t**2 / variance + own_sd**2 / variance / len(y))
        shift = np.abs(own - mean) / sd
        spread = (square @ (t**2 - variance) ** 2) / variance**2
        u = y - own
        spread = spread + np.mean((u**2 - own_sd**2) ** 2, axis=0) / own_sd**4 / len(y)
        stretch = np.log(own_sd / sd)
        varies = sd > 1e-9 * np.abs(mean)  # entries that are known have the sd that rounding leaves
        moved = varies & (shift - ERRORS * error > SHIFT)
        stretched = varies & (np.abs(stretch) - ERRORS * 0.5 * np.sqrt(spread) > math.log(STRETCH))
    worst = float(np.max(shift[moved], initial=0.0))
    by = stretch[stretched]
    return worst, float(np.exp(by[np.argmax(np.abs(by))])) if by.size else 1.0
