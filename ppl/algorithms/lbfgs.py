"""L-BFGS with a metric: forty lines that SciPy's version cannot replace here.

The first inverse Hessian is the inverse Fisher information of the guide, which saves most of
the iterations, and the line search treats a non-finite value as a step too long, where SciPy's
stops (Nocedal and Wright 2006, algorithm 7.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

CONVERGED = "the decrease that the next step predicts is below the tolerance"
LIMIT = "all steps were taken"
STUCK = "no step along the last direction was a decrease"
NOT_FINITE = "the function is not finite where it started"
ROUNDING = 1e-12  # of a value: what its last digits may hide


class Descent(NamedTuple):
    """Where `minimize` ended, the value there, the iterations it took, why it ended, and the gradients it took."""

    x: np.ndarray
    value: float
    steps: int
    why: str
    gradients: int = 0

    @property
    def converged(self) -> bool:
        return self.why == CONVERGED


def minimize(
    f: Callable[[np.ndarray], tuple[float, np.ndarray]],
    x: np.ndarray,
    metric: Callable[[np.ndarray], np.ndarray],
    *,
    steps: int = 200,
    tolerance: float = 1e-3,
    memory: int = 10,
    longest: float = 2.0,
    logarithmic: np.ndarray | None = None,
    seen: Callable[[np.ndarray, float, np.ndarray], None] | None = None,
) -> Descent:
    """A minimum of f.

    `f(x)` gives value and gradient; `metric(x)` the diagonal of the first inverse Hessian.
    Stops when the predicted decrease is below `tolerance`. Coordinates marked `logarithmic`
    move by at most `longest` a step. `seen` is called with every place on the way, the first too, the
    value there, and the gradient.
    """
    count = 0

    def counted(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        return f(x)

    with np.errstate(all="ignore"):
        found = _minimize(counted, x, metric, steps, tolerance, memory, longest, logarithmic, seen)
    return found._replace(gradients=count)


def _minimize(f, x, metric, steps, tolerance, memory, longest, logarithmic, seen) -> Descent:
    value, g = f(x)
    if not (np.isfinite(value) and np.all(np.isfinite(g))):
        return Descent(x, value, 0, NOT_FINITE)
    if seen is not None:
        seen(x, value, g)
    pairs: list[tuple[np.ndarray, np.ndarray, float]] = []
    k, why = 0, LIMIT
    while k < steps:
        k += 1
        direction = -_inverse_hessian(g, pairs, metric(x))
        slope = float(g @ direction)
        if -slope < 2.0 * tolerance:
            why = CONVERGED
            break
        t = 1.0
        if logarithmic is not None and logarithmic.any():
            t = min(1.0, longest / max(float(np.max(np.abs(direction[logarithmic]))), 1e-300))
        accepted = None
        for _ in range(40):
            moved = x + t * direction
            if np.array_equal(moved, x):
                break
            new_value, new_g = f(moved)
            finite = np.isfinite(new_value) and np.all(np.isfinite(new_g))
            if finite and new_value <= value + 1e-4 * t * slope:
                accepted = (new_value, new_g)
                break
            t *= 0.5 if not finite else min(0.5, max(0.1, -slope * t / (2.0 * (new_value - value - t * slope))))
        if accepted is None:
            if not pairs:
                why = CONVERGED if -slope < ROUNDING * abs(value) else STUCK
                break
            pairs = []  # the curvature collected is misleading here: start again from the metric
            continue
        step, change = t * direction, accepted[1] - g
        product = float(step @ change)
        if product > 1e-10 * float(np.linalg.norm(step) * np.linalg.norm(change)):
            pairs = [*pairs[-(memory - 1) :], (step, change, 1.0 / product)]
        x, (value, g) = x + step, accepted
        if seen is not None:
            seen(x, value, g)
    return Descent(x, value, k, why)


def _inverse_hessian(g, pairs, diagonal):
    """The two-loop recursion."""
    q, alphas = g.copy(), []
    for s, y, r in reversed(pairs):
        alphas.append(r * (s @ q))
        q = q - alphas[-1] * y
    if pairs:
        s, y, _ = pairs[-1]
        diagonal = diagonal * ((s @ y) / (y @ (diagonal * y)))
    q = q * diagonal
    for (s, y, r), a in zip(pairs, reversed(alphas), strict=True):
        q = q + s * (a - r * (y @ q))
    return q
