"""Triangular matrices, and positive definite ones by their triangular roots; shared by vectors, matrices and chains."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ppl.array import triangular_solve
from ppl.array.operations import triangular_solve_transposed
from ppl.distributions._arrays import append_axes, as_array, broadcast, float_type
from ppl.distributions.constraints import Array
from ppl.errors import ModelError


@dataclass(frozen=True, eq=False)
class Root:
    """The lower triangular root L of a positive definite matrix `V = L L'`.

    What is given is V ("matrix"), its inverse ("inverse") or L ("tril"). Of an inverse P the root M with
    `P = M' M` is found, so that `L = M^-1`, and no matrix is inverted unless L itself is asked for.
    """

    kind: str
    given: Array

    @functools.cached_property
    def tril(self) -> Array:
        """L."""
        if self.kind == "tril":
            return self.given
        return np.linalg.cholesky(self.given) if self.kind == "matrix" else inverse(self.inverse_tril)

    @functools.cached_property
    def inverse_tril(self) -> Array:
        """M, the inverse of L, which is lower triangular too: from the Cholesky factor of P read backwards."""
        if self.kind != "inverse":
            return inverse(self.tril)
        flipped = np.linalg.cholesky(self.given[..., ::-1, ::-1])
        return transpose(flipped[..., ::-1, ::-1])

    @property
    def matrix(self) -> Array:
        """V."""
        return self.given if self.kind == "matrix" else np.matmul(self.tril, transpose(self.tril))

    @property
    def inverse(self) -> Array:
        """The inverse of V."""
        return self.given if self.kind == "inverse" else np.matmul(transpose(self.inverse_tril), self.inverse_tril)

    @functools.cached_property
    def half_log_det(self) -> Array:
        """`sum_i log L_ii`."""
        return -log_diagonal(self.inverse_tril) if self.kind == "inverse" else log_diagonal(self.tril)

    @property
    def variance(self) -> Array:
        """The diagonal of V."""
        return np.sum(self.tril * self.tril, axis=-1)

    def times(self, x: Array) -> Array:
        """`L x` for every vector along the last axis."""
        if self.kind != "inverse":
            return matrix_times(self.tril, x)
        return solve_rows(self.inverse_tril, x[..., None, :])[..., 0, :]

    def squares(self, x: Array) -> Array:
        """`|L^-1 x|^2` for every vector along the last axis."""
        if self.kind != "inverse":
            return squared_distance(self.tril, x)
        z = matrix_times(self.inverse_tril, x)
        return np.sum(z * z, axis=-1)

    def solve_rows(self, x: Array) -> Array:
        """`L^-1 x_i` for every row of the matrices x, (..., m, n)."""
        if self.kind == "inverse":
            return np.matmul(x, transpose(self.inverse_tril))
        return solve_rows(self.tril, x)


# The kind of what is given, by the name of the argument.
ROOT_KINDS = {
    "covariance_matrix": "matrix",
    "scale_matrix": "matrix",
    "precision_matrix": "inverse",
    "rate_matrix": "inverse",
    "scale_tril": "tril",
}


def given_matrix(family: str, matrices: dict[str, Array | None]) -> tuple[str, Array]:
    """The one matrix that is given, and its name."""
    given = {name: as_array(matrix) for name, matrix in matrices.items() if matrix is not None}
    if len(given) != 1:
        *names, last = matrices
        raise ModelError(
            got=f"{family} with {', '.join(given) or 'no matrix'}",
            expected=f"exactly one of {', '.join(names)} and {last}",
            hint="scale_tril=np.eye(n) for independent elements of scale 1",
        )
    (pair,) = given.items()
    return pair


def per_event(x: Array, n: int) -> Array:
    """`x` with `n` axes on the right, to meet values of `n` event axes; a number as it is."""
    return x if np.ndim(x) == 0 else append_axes(x, n)


def transpose(matrix: Array) -> Array:
    return np.swapaxes(matrix, -2, -1)


def inverse(tril: Array) -> Array:
    """`L^-1`."""
    return triangular_solve(tril, broadcast(np.eye(np.shape(tril)[-1], dtype=float_type(tril)), np.shape(tril)))


def log_diagonal(tril: Array) -> Array:
    """`sum_i log L_ii`, half the log determinant of `L L'`."""
    return np.sum(np.log(np.diagonal(tril, axis1=-2, axis2=-1)), axis=-1)


def squared_distance(tril: Array, x: Array) -> Array:
    """`|L^-1 x|^2` over the last axis; one solve for all vectors where there is one matrix."""
    n = np.shape(x)[-1]
    if np.ndim(tril) == 2:
        vectors = x if np.ndim(x) == 2 else np.reshape(x, (-1, n))
        z = triangular_solve(tril, transpose(vectors))
        squares = np.sum(z * z, axis=-2)
        return squares if np.ndim(x) == 2 else np.reshape(squares, np.shape(x)[:-1])
    batch = np.broadcast_shapes(np.shape(tril)[:-2], np.shape(x)[:-1])
    z = triangular_solve(broadcast(tril, (*batch, n, n)), broadcast(x, (*batch, n))[..., None])
    return np.sum(z * z, axis=(-2, -1))


def solve_rows(tril: Array, x: Array, solve: Callable[..., Array] = triangular_solve) -> Array:
    """`L^-1 x_i` for every row of the matrices x, (..., m, n): one solve for each matrix L."""
    m, n = np.shape(x)[-2:]
    if np.ndim(tril) == 2:
        return np.reshape(transpose(solve(tril, transpose(np.reshape(x, (-1, n))))), np.shape(x))
    batch = np.broadcast_shapes(np.shape(tril)[:-2], np.shape(x)[:-2])
    return transpose(solve(broadcast(tril, (*batch, n, n)), transpose(broadcast(x, (*batch, m, n)))))


def solve_positive(tril: Array, x: Array) -> Array:
    """`(L L')^-1 x` for every vector along the last axis."""
    rows = x[..., None, :]
    return solve_rows(tril, solve_rows(tril, rows), triangular_solve_transposed)[..., 0, :]


def matrix_times(matrix: Array, x: Array) -> Array:
    """`matrix @ x` for each vector along the last axis of x."""
    if np.ndim(matrix) == 2:
        return np.matmul(x, transpose(matrix))
    return np.matmul(matrix, x[..., None])[..., 0]
