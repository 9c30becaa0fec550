"""Transforms to and between matrices: lower triangles, Cholesky factors, correlations."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ppl.array import agreeing, triangular_solve
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, float_type
from ppl.distributions.constraints import Array
from ppl.distributions.transforms.base import Transform, countdown, sums_before
from ppl.distributions.transforms.elementwise import ExpTransform, SoftplusTransform, log_sech
from ppl.distributions.transforms.vectors import VectorTransform
from ppl.errors import ShapeError


def matrix_size(entries: int) -> int:
    """n for a vector of n (n + 1) / 2 entries; raises ShapeError for any other length."""
    n = (math.isqrt(8 * entries + 1) - 1) // 2
    if n * (n + 1) // 2 != entries or n == 0:
        raise ShapeError(
            got=f"a vector of length {entries}",
            expected="n (n + 1) / 2 entries for a triangle",
            hint="1, 3, 6, 10, ...",
        )
    return n


@functools.lru_cache(maxsize=64)
def _triangle(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For an n x n matrix: the entry of the vector at each place, the strict mask, the flat strict places."""
    strict = np.tri(n, k=-1, dtype=bool)
    places = np.flatnonzero(strict)
    below = np.zeros(n * n, dtype=np.int64)
    below[places] = np.arange(len(places))
    return below.reshape(n, n), strict, places


def _below(entries: Array, n: int) -> Array:
    """n x n matrices with these entries strictly below the diagonal, row by row, and zeros elsewhere."""
    below, strict, _ = _triangle(n)
    return np.where(strict, entries[..., below], 0.0)


def _entries_below(matrix: Array) -> Array:
    n = np.shape(matrix)[-1]
    return np.reshape(matrix, np.shape(matrix)[:-2] + (n * n,))[..., _triangle(n)[2]]


def _diagonal(matrix: Array) -> Array:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


@dataclass(frozen=True, eq=False)
class LowerCholeskyTransform(VectorTransform):
    """Vectors of n (n + 1) / 2 reals onto lower triangular matrices with a positive diagonal.

    The strictly lower entries come first, row by row; the last n entries are the logs of the diagonal.

    >>> LowerCholeskyTransform()(np.array([3.0, 0.0, 0.0]))
    array([[1., 0.],
           [3., 1.]])
    """

    codomain = constraints.lower_cholesky
    _positive: ClassVar[Transform] = ExpTransform()

    def __call__(self, x: Array) -> Array:
        n = matrix_size(np.shape(x)[-1])
        diagonal = self._positive(x[..., -n:])[..., None]
        return diagonal if n == 1 else np.where(np.eye(n, dtype=bool), diagonal, _below(x, n))

    def inverse(self, y: Array) -> Array:
        return np.concatenate([_entries_below(y), self._positive.inverse(_diagonal(y))], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        free = x[..., -matrix_size(np.shape(x)[-1]) :]
        return np.sum(self._positive.log_abs_det_jacobian(free, None), axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        n = matrix_size(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


@dataclass(frozen=True, eq=False)
class SoftplusLowerCholeskyTransform(LowerCholeskyTransform):
    """As LowerCholeskyTransform, with `softplus` of the last n entries on the diagonal."""

    codomain = constraints.softplus_lower_cholesky
    _positive = SoftplusTransform()


@dataclass(frozen=True, eq=False)
class ScaledUnitLowerCholeskyTransform(LowerCholeskyTransform):
    """As LowerCholeskyTransform, but `L = diag(s) (U + I)`.

    U holds the strictly lower entries, and s is softplus of the last n.
    `log |J| = sum_i i log s_i + log ds_i/dx_i`, i = 0..n-1, as row i scales i entries.
    """

    codomain = constraints.scaled_unit_lower_cholesky
    _positive = SoftplusTransform()

    def __call__(self, x: Array) -> Array:
        n = matrix_size(np.shape(x)[-1])
        scale = self._positive(x[..., -n:])[..., None]
        unit = np.eye(n, dtype=float_type(x))
        return scale * (unit if n == 1 else unit + _below(x, n))

    def inverse(self, y: Array) -> Array:
        scale = _diagonal(y)
        return np.concatenate([_entries_below(y / scale[..., None]), self._positive.inverse(scale)], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        free = x[..., -matrix_size(np.shape(x)[-1]) :]
        scaled = np.arange(np.shape(free)[-1], dtype=float_type(x))
        slope = self._positive.log_abs_det_jacobian(free, None)
        return np.sum(scaled * np.log(self._positive(free)) + slope, axis=-1)


@dataclass(frozen=True, eq=False)
class CorrCholeskyTransform(VectorTransform):
    """Vectors of n (n - 1) / 2 reals onto Cholesky factors of n x n correlation matrices.

    Each row is a point of the unit sphere. With `r_ij = tanh(x_ij)`, the canonical partial correlations,
    `L_ij = r_ij prod_(k<j) sqrt(1 - r_ik^2)` and `L_ii = prod_(k<i) sqrt(1 - r_ik^2)`; the entries of x
    stand row by row. The Jacobian is that of the entries below the diagonal:
    `log |J| = sum_(j<i) (i - j + 1) log sech(x_ij)`. (Lewandowski, Kurowicka and Joe 2009, section 2.)
    Far out, where the last of n diagonal entries would round to 0 (beyond |x| = 708 / (n - 1), in float32
    87 / (n - 1)), it is the smallest positive number.

    >>> CorrCholeskyTransform()(np.array([np.arctanh(0.6)])).round(3)
    array([[1. , 0. ],
           [0.6, 0.8]])
    """

    codomain = constraints.corr_cholesky

    def __call__(self, x: Array) -> Array:
        n = _correlated(np.shape(x)[-1])
        eye = np.eye(n, dtype=float_type(x))
        if n == 1:
            return np.broadcast_to(eye, (*np.shape(x)[:-1], 1, 1))
        matrix = _below(x, n)
        kind = np.finfo(eye.dtype)
        left = np.maximum(sums_before(log_sech(matrix)[..., :-1]), float(np.log(kind.tiny)))
        return (np.tanh(matrix) + eye) * np.exp(left)

    def inverse(self, y: Array) -> Array:
        # sinh(x_ij) = L_ij / |what follows in the row|: nothing cancels where |L_ij| is near 1.
        # Squares are those of larger numbers, as those of the smallest would be 0.
        large = float(np.finfo(float_type(y)).tiny) ** -0.49
        after = np.cumsum(np.square(y * large)[..., ::-1], axis=-1)[..., ::-1]
        shifted = np.concatenate([after[..., 1:], np.zeros_like(after[..., :1])], axis=-1)
        return np.arcsinh(_entries_below(y) * large / np.sqrt(_entries_below(shifted)))

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        i, j = np.tril_indices(_correlated(np.shape(x)[-1]), -1)
        return np.sum((i - j + 1).astype(float_type(x)) * log_sech(x), axis=-1)

    def forward_shape(self, shape: Shape) -> Shape:
        n = _correlated(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _correlated(entries: int) -> int:
    """n for n (n - 1) / 2 correlations."""
    return 1 if entries == 0 else matrix_size(entries) + 1


@dataclass(frozen=True, eq=False)
class CholeskyTransform(Transform):
    """Symmetric positive definite matrices to their lower Cholesky factors.

    `log |det d(L L') / dL| = n log 2 + sum_i (n - i) log L_ii`, i = 0..n-1. The inverse draws the elements beside the
    diagonal in by some last digits where the product is singular to rounding, so that it is still positive definite.
    """

    domain = constraints.positive_definite
    codomain = constraints.lower_cholesky

    def __call__(self, x: Array) -> Array:
        return np.linalg.cholesky(x)

    def inverse(self, y: Array) -> Array:
        n, eps = np.shape(y)[-1], float(np.finfo(float_type(y)).eps)
        inwards = np.where(np.eye(n, dtype=bool), 1.0, 1.0 - 8.0 * n * eps).astype(float_type(y))
        product = np.matmul(y, np.swapaxes(y, -2, -1))
        rows = y / np.sqrt(_diagonal(product))[..., None]
        eye = np.broadcast_to(np.eye(n, dtype=float_type(y)), np.shape(y))
        least = 1.0 / np.sum(
            np.square(triangular_solve(rows, eye)), axis=(-2, -1)
        )  # eigenvalue, n times as much or less
        return agreeing(least[..., None, None] - 16.0 * n * eps, product, product * inwards)

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        n = np.shape(y)[-1]
        return -n * math.log(2.0) - np.sum(countdown(n, y) * np.log(_diagonal(y)), axis=-1)


@dataclass(frozen=True, eq=False)
class CorrMatrixCholeskyTransform(CholeskyTransform):
    """Correlation matrices to their lower Cholesky factors.

    The entries below the diagonal determine both: `log |det dL / dR| = -sum_i (n - 1 - i) log L_ii`, i = 0..n-1.
    """

    domain = constraints.corr_matrix
    codomain = constraints.corr_cholesky

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        return -np.sum((countdown(np.shape(y)[-1], y) - 1.0) * np.log(_diagonal(y)), axis=-1)


@dataclass(frozen=True, eq=False)
class LowerCholeskyAffine(VectorTransform):
    """`y = loc + scale_tril x` of vectors, with a lower triangular matrix: `log |J| = sum_i log |L_ii|`.

    >>> LowerCholeskyAffine(np.zeros(2), np.array([[2.0, 0.0], [1.0, 3.0]]))(np.ones(2))
    array([2., 4.])
    """

    loc: Array
    scale_tril: Array

    codomain = constraints.real_vector

    def __call__(self, x: Array) -> Array:
        return self.loc + np.matmul(self.scale_tril, x[..., None])[..., 0]

    def inverse(self, y: Array) -> Array:
        return triangular_solve(self.scale_tril, (y - self.loc)[..., None])[..., 0]

    def log_abs_det_jacobian(self, x: Array, y: Array) -> Array:
        batch = np.broadcast_shapes(np.shape(x)[:-1], np.shape(self.scale_tril)[:-2])
        return np.broadcast_to(np.sum(np.log(np.abs(_diagonal(self.scale_tril))), axis=-1), batch)

    def forward_shape(self, shape: Shape) -> Shape:
        return np.broadcast_shapes(shape, np.shape(self.loc), np.shape(self.scale_tril)[:-1])

    inverse_shape = forward_shape
