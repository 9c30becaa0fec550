"""Sets of matrices: lower Cholesky factors, covariances and correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppl.distributions._arrays import float_type, quiet
from ppl.distributions.constraints.base import Constraint, first_false, tolerance


@dataclass(frozen=True, eq=False)
class _LowerCholesky(Constraint):
    event_dim = 2

    def __call__(self, value):
        n = np.shape(value)[-1]
        finite = np.all(np.isfinite(value), axis=(-2, -1))
        triangular = np.all((value == 0) | np.tri(n, dtype=bool), axis=(-2, -1))
        return finite & triangular & np.all(np.diagonal(value, axis1=-2, axis2=-1) > 0, axis=-1)

    def feasible_like(self, value):
        return np.eye(np.shape(value)[-1], dtype=float_type(value))

    def fault(self, event):
        below = np.tri(len(event), dtype=bool)
        place = first_false(np.isfinite(event)) or first_false((event == 0) | below)
        diagonal = np.where(np.eye(len(event), dtype=bool), event, 1.0)
        return place or first_false(diagonal > 0), ""

    def __str__(self):
        return "a lower triangular matrix with a positive diagonal"


@dataclass(frozen=True, eq=False)
class _SoftplusLowerCholesky(_LowerCholesky):
    """The same set, whose diagonal is reached from the reals by `softplus` and not by `exp`."""


@dataclass(frozen=True, eq=False)
class _ScaledUnitLowerCholesky(_LowerCholesky):
    """The same set, reached as a unit lower triangular matrix whose rows are scaled."""


@dataclass(frozen=True, eq=False)
class _CorrCholesky(_LowerCholesky):
    def __call__(self, value):
        with quiet():
            lengths = np.sum(value * value, axis=-1)
        return super().__call__(value) & np.all(np.abs(lengths - 1.0) <= tolerance(value), axis=-1)

    def fault(self, event):
        place, why = super().fault(event)
        lengths = np.sqrt(np.sum(event * event, axis=-1))
        row = first_false(np.abs(lengths * lengths - 1.0) <= tolerance(event))
        return place, why if place or not row else f"row {row[0]} has length {lengths[row]:.8g}"

    def __str__(self):
        return "a lower triangular matrix with a positive diagonal and rows of length 1"


@dataclass(frozen=True, eq=False)
class _PositiveSemidefinite(Constraint):
    event_dim = 2

    def __call__(self, value):
        finite = np.all(np.isfinite(value), axis=(-2, -1))
        matrix = np.where(finite[..., None, None], value, np.eye(np.shape(value)[-1], dtype=float_type(value)))
        size = np.max(np.abs(matrix), axis=(-2, -1))
        skew = np.max(np.abs(matrix - np.swapaxes(matrix, -2, -1)), axis=(-2, -1))
        # Of the matrix over the roots of its diagonal: its smallest eigenvalue keeps digits where scales differ.
        diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
        root = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        least = np.linalg.eigvalsh(matrix / root[..., :, None] / root[..., None, :])[..., 0]
        return finite & (skew <= tolerance(value) * size) & self._admits(least, size * tolerance(value))

    def _admits(self, least, slack):
        return least >= -slack

    def feasible_like(self, value):
        return np.eye(np.shape(value)[-1], dtype=float_type(value))

    def fault(self, event):
        place = first_false(np.isfinite(event))
        if place:
            return place, ""
        place = first_false(np.abs(event - event.T) <= tolerance(event) * np.max(np.abs(event)))
        if place:
            return place, f"its mirror image is {event.T[place]}"
        return (), f"its smallest eigenvalue is {np.linalg.eigvalsh(event)[0]:.3g}"

    def __str__(self):
        return "a symmetric positive semidefinite matrix"


@dataclass(frozen=True, eq=False)
class _PositiveDefinite(_PositiveSemidefinite):
    def _admits(self, least, slack):
        return least > 0

    def __str__(self):
        return "a symmetric positive definite matrix"


@dataclass(frozen=True, eq=False)
class _CorrMatrix(_PositiveDefinite):
    def __call__(self, value):
        diagonal = np.diagonal(value, axis1=-2, axis2=-1)
        return super().__call__(value) & np.all(np.abs(diagonal - 1.0) <= tolerance(value), axis=-1)

    def fault(self, event):
        diagonal = np.where(np.eye(len(event), dtype=bool), event, 1.0)
        place = first_false(np.abs(diagonal - 1.0) <= tolerance(event))
        return (place, "") if place else super().fault(event)

    def __str__(self):
        return "a symmetric positive definite matrix with ones on its diagonal"


lower_cholesky = _LowerCholesky()
softplus_lower_cholesky = _SoftplusLowerCholesky()
scaled_unit_lower_cholesky = _ScaledUnitLowerCholesky()
corr_cholesky = _CorrCholesky()
corr_matrix = _CorrMatrix()
positive_definite = _PositiveDefinite()
positive_semidefinite = _PositiveSemidefinite()
