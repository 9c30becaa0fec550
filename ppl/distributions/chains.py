"""Families of dependent values: chains in time, and values at neighbouring places.

The log density of a chain is a few operations on all steps at once, of cost linear in their number T; a draw where
a step needs the one before takes log2(T) such operations.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ppl.array import is_recorded
from ppl.distributions import constraints
from ppl.distributions._arrays import as_array, broadcast, float_type
from ppl.distributions._triangular import ROOT_KINDS, Root, given_matrix, matrix_times, per_event, transpose
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array
from ppl.errors import ModelError, ShapeError, SupportError

_LOG_2PI = math.log(2.0 * math.pi)


class GaussianRandomWalk(Distribution):
    """A random walk from 0: `x_1 = scale e_1`, `x_t = x_(t-1) + scale e_t`, with standard normal e.

    `log p(x) = sum_t log Normal(x_t | x_(t-1), scale)`, `x_0 = 0`, for vectors of `num_steps` values.

    >>> GaussianRandomWalk(2.0, 3).variance
    array([ 4.,  8., 12.])
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.real_vector
    reparameterized = True
    noise = "normal"
    _static = ("num_steps",)
    scale: Array
    num_steps: int

    def __init__(self, scale: Array = 1.0, num_steps: int = 1, *, validate_args: bool | None = None) -> None:
        _check_steps("GaussianRandomWalk", num_steps)
        super().__init__(
            {"scale": scale, "num_steps": num_steps}, event_shape=(num_steps,), validate_args=validate_args
        )

    def from_noise(self, noise: Array) -> Array:
        return per_event(self.scale, 1) * np.cumsum(noise, axis=-1)

    def _log_density(self, x):
        z = np.concatenate([x[..., :1], x[..., 1:] - x[..., :-1]], axis=-1) / per_event(self.scale, 1)
        return -0.5 * np.sum(z * z, axis=-1) - self.num_steps * (np.log(self.scale) + 0.5 * _LOG_2PI)

    def _mean(self):
        return per_event(0.0 * self.scale, 1)

    _mode = _mean

    def _variance(self):
        steps = np.arange(1, self.num_steps + 1, dtype=float_type(self.scale))
        return per_event(self.scale * self.scale, 1) * steps

    def _entropy(self):
        return self.num_steps * (np.log(self.scale) + 0.5 + 0.5 * _LOG_2PI)


class GaussianStateSpace(Distribution):
    """States that follow a linear rule with normal noise: `z_t = A z_(t-1) + L e_t`, t = 1..num_steps.

    `log p(z) = sum_t log Normal(z_t | A z_(t-1), L L')` for arrays of shape (num_steps, n), where A is
    `transition_matrix`, z_0 is `initial_value` (0 by default) and L L' is given as one of `covariance_matrix`,
    `precision_matrix` and `scale_tril`. No filter is needed, since the states themselves are the value.

    >>> d = GaussianStateSpace(3, np.array([[0.5]]), scale_tril=np.array([[1.0]]))
    >>> d.variance[:, 0]
    array([1.    , 1.25  , 1.3125])
    """

    arg_constraints: ClassVar = {
        "transition_matrix": constraints.real_matrix,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
        "initial_value": constraints.real_vector,
    }
    support = constraints.real_matrix
    reparameterized = True
    noise = "normal"
    _static = ("num_steps",)
    num_steps: int
    transition_matrix: Array

    def __init__(
        self,
        num_steps: int,
        transition_matrix: Array,
        covariance_matrix: Array | None = None,
        precision_matrix: Array | None = None,
        scale_tril: Array | None = None,
        *,
        initial_value: Array | None = None,
        validate_args: bool | None = None,
    ) -> None:
        _check_steps("GaussianStateSpace", num_steps)
        matrices = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        name, matrix = given_matrix("GaussianStateSpace", matrices)
        transition, start = as_array(transition_matrix), as_array(initial_value)
        n = np.shape(matrix)[-1:]
        if {np.shape(matrix)[-2:], np.shape(transition)[-2:]} != {n + n} or np.shape(start)[-1:] not in ((), n):
            raise ShapeError(
                got=f"GaussianStateSpace with transition_matrix of shape {np.shape(transition)}, {name} of shape "
                f"{np.shape(matrix)}" + ("" if start is None else f" and initial_value of shape {np.shape(start)}"),
                expected="shapes (..., n, n), (..., n, n) and (..., n)",
                hint="matrices with a row for each element of the state",
            )
        arguments = {"num_steps": num_steps, "transition_matrix": transition, name: matrix}
        if start is not None:
            arguments["initial_value"] = broadcast(start, n) if np.ndim(start) == 0 else start
        self._root = Root(ROOT_KINDS[name], matrix)
        super().__init__(arguments, event_shape=(num_steps, *n), validate_args=validate_args)

    @property
    def scale_tril(self) -> Array:
        """The lower Cholesky factor of the covariance of a step."""
        return self._root.tril

    @property
    def covariance_matrix(self) -> Array:
        """The covariance of a step, of shape (..., n, n)."""
        return self._root.matrix

    @property
    def precision_matrix(self) -> Array:
        """The inverse of the covariance of a step, of shape (..., n, n)."""
        return self._root.inverse

    def _path(self, increments: Array) -> Array:
        """The states with these increments, from the initial value."""
        return linear_recurrence(self.transition_matrix, _shifted(increments, self._first_expected()))

    def _first_expected(self) -> Array | None:
        start = self._arguments.get("initial_value")
        return None if start is None else matrix_times(self.transition_matrix, start)

    def from_noise(self, noise: Array) -> Array:
        return self._path(np.matmul(noise, transpose(self.scale_tril)))

    def _log_density(self, x):
        steps, n = self.event_shape
        expected = np.matmul(x[..., :-1, :], transpose(self.transition_matrix))
        first, rest = x[..., :1, :], x[..., 1:, :] - expected
        start = self._first_expected()
        first = first if start is None else first - start[..., None, :]
        lead = np.broadcast_shapes(np.shape(first)[:-2], np.shape(rest)[:-2])
        gaps = np.concatenate([broadcast(part, (*lead, *np.shape(part)[-2:])) for part in (first, rest)], axis=-2)
        z = self._root.solve_rows(gaps)
        return -0.5 * np.sum(z * z, axis=(-2, -1)) - steps * (self._root.half_log_det + 0.5 * n * _LOG_2PI)

    def _mean(self):
        return self._path(np.zeros(self.shape(), dtype=float_type(self.transition_matrix)))

    _mode = _mean

    def _variance(self):
        # Column j of L, moved on by powers of A, is what the j-th noise of a step adds to later states.
        columns = np.swapaxes(broadcast(self.scale_tril, self.batch_shape + np.shape(self.scale_tril)[-2:]), -2, -1)
        columns = np.moveaxis(columns, -2, 0)[..., None, :]
        later = np.zeros((*np.shape(columns)[:-2], self.num_steps - 1, np.shape(columns)[-1]), float_type(columns))
        response = linear_recurrence(self.transition_matrix, np.concatenate([columns, later], axis=-2))
        return np.cumsum(np.sum(response * response, axis=0), axis=-2)

    def _entropy(self):
        steps, n = self.event_shape
        return steps * (self._root.half_log_det + 0.5 * n * (1.0 + _LOG_2PI))


class AR(Distribution):
    """Autoregression of order p: `x_t = constant + sum_k coefficients_k x_(t-k) + scale e_t`, k = 1..p.

    `log p(x) = sum_t log Normal(x_t | constant + sum_k coefficients_k x_(t-k), scale)` for vectors of `num_steps`
    values. The p values before the first, oldest first, are `initial_value`, 0 by default: given a site of its
    own, they may have any law, such as the stationary one. The coefficients need not be stationary.

    >>> d = AR(np.array([0.5]), 1.0, 3, initial_value=np.array([4.0]))
    >>> d.mean, d.variance
    (array([2. , 1. , 0.5]), array([1.    , 1.25  , 1.3125]))
    """

    arg_constraints: ClassVar = {
        "coefficients": constraints.real_vector,
        "scale": constraints.positive,
        "constant": constraints.real,
        "initial_value": constraints.real_vector,
    }
    support = constraints.real_vector
    reparameterized = True
    noise = "normal"
    _static = ("num_steps",)
    coefficients: Array
    scale: Array
    num_steps: int
    constant: Array
    initial_value: Array

    def __init__(
        self,
        coefficients: Array,
        scale: Array = 1.0,
        num_steps: int = 1,
        *,
        constant: Array = 0.0,
        initial_value: Array = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        _check_steps("AR", num_steps)
        coefficients, start = as_array(coefficients), as_array(initial_value)
        order = np.shape(coefficients)[-1:]
        start = broadcast(start, order) if np.ndim(start) == 0 else start
        if not order or np.shape(start)[-1:] != order:
            raise ShapeError(
                got=f"AR with coefficients of shape {np.shape(coefficients)} and initial_value of shape "
                f"{np.shape(start)}",
                expected="shapes (..., p) both, for order p",
                hint="coefficients=np.array([rho]) for order 1",
            )
        arguments = {
            "coefficients": coefficients,
            "scale": scale,
            "num_steps": num_steps,
            "constant": constant,
            "initial_value": start,
        }
        super().__init__(arguments, event_shape=(num_steps,), validate_args=validate_args)

    @property
    def _order(self) -> int:
        return np.shape(self.coefficients)[-1]

    def _predictions(self, x: Array) -> Array:
        """The expected value of every step, given those before it."""
        p, steps = self._order, self.num_steps
        lead = np.broadcast_shapes(np.shape(x)[:-1], np.shape(self.initial_value)[:-1])
        past = [broadcast(part, (*lead, np.shape(part)[-1])) for part in (self.initial_value, x[..., :-1])]
        known = np.concatenate(past, axis=-1)
        lags = (self.coefficients[..., k : k + 1] * known[..., p - 1 - k :][..., :steps] for k in range(p))
        return sum(lags, per_event(self.constant, 1))

    def _path(self, increments: Array) -> Array:
        """The values with these increments: the first element of the last p values, which follow a linear rule."""
        p = self._order
        increments = increments + per_event(self.constant, 1)
        rows = np.eye(p, dtype=float_type(increments))
        top = self.coefficients[..., None, :]
        below = broadcast(rows[:-1], (*np.shape(top)[:-2], p - 1, p))
        companion = np.concatenate([top, below], axis=-2)
        first = matrix_times(companion, self.initial_value[..., ::-1])
        return linear_recurrence(companion, _shifted(increments[..., None] * rows[0], first))[..., 0]

    def from_noise(self, noise: Array) -> Array:
        return self._path(per_event(self.scale, 1) * noise)

    def _log_density(self, x):
        z = (x - self._predictions(x)) / per_event(self.scale, 1)
        return -0.5 * np.sum(z * z, axis=-1) - self.num_steps * (np.log(self.scale) + 0.5 * _LOG_2PI)

    def _mean(self):
        return self._path(np.zeros(self.shape(), dtype=float_type(self.coefficients)))

    _mode = _mean

    def _variance(self):
        impulse = np.eye(1, self.num_steps, dtype=float_type(self.coefficients))[0]
        kicked = AR(self.coefficients, 1.0, self.num_steps, validate_args=False)._path(impulse)
        return per_event(self.scale * self.scale, 1) * np.cumsum(kicked * kicked, axis=-1)

    def _entropy(self):
        return self.num_steps * (np.log(self.scale) + 0.5 + 0.5 * _LOG_2PI)


class CAR(Distribution):
    """Conditional autoregression: each place is normal around what its neighbours suggest.

    Given the others, `x_i ~ Normal(loc_i + correlation sum_j W_ij (x_j - loc_j) / d_i, 1 / sqrt(tau d_i))`, where W is
    `adj_matrix`, symmetric with entries that are not negative, `d_i = sum_j W_ij`, and tau is
    `conditional_precision`. So x is normal with precision `tau (D - correlation W)`:

    `log p(x) = n log(tau) / 2 + sum_i (log d_i + log(1 - correlation l_i)) / 2 - n log(2 pi) / 2
    - tau (sum_i d_i y_i^2 - correlation sum_ij W_ij y_i y_j) / 2`, `y = x - loc`,

    with l the eigenvalues of `D^-1/2 W D^-1/2`, found once. The cost of a density is linear in the number of
    neighbours. W is known: an array, or a sparse matrix of SciPy's, in which case `is_sparse` may say so.
    (Besag 1974; Jin, Carlin and Banerjee 2005.)

    >>> W = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> CAR(0.0, 0.5, 2.0, W).precision_matrix
    array([[ 2., -1.,  0.],
           [-1.,  4., -1.],
           [ 0., -1.,  2.]])
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "correlation": constraints.open_interval(-1.0, 1.0),
        "conditional_precision": constraints.positive,
    }
    support = constraints.real_vector
    reparameterized = True
    noise = "normal"
    _static = ("adj_matrix", "is_sparse")
    loc: Array
    correlation: Array
    conditional_precision: Array
    adj_matrix: Any

    def __init__(
        self,
        loc: Array,
        correlation: Array,
        conditional_precision: Array,
        adj_matrix: Any,
        *,
        is_sparse: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        if is_recorded(adj_matrix):
            raise ModelError(
                got="CAR with an adj_matrix that depends on draws",
                expected="a known matrix, since its eigenvalues are found once",
                hint="correlation= for how strongly neighbours follow each other",
            )
        loc, n = as_array(loc), np.shape(adj_matrix)[-1:]
        loc = broadcast(loc, n) if np.ndim(loc) == 0 else loc
        if np.shape(adj_matrix) != n + n or np.shape(loc)[-1:] != n:
            raise ShapeError(
                got=f"CAR with loc of shape {np.shape(loc)} and adj_matrix of shape {np.shape(adj_matrix)}",
                expected="shapes (..., n) and (n, n)",
                hint="one graph for the whole batch",
            )
        self._graph = _graph_of(adj_matrix)
        if validate_args is not False:
            self._graph.check()
        arguments = {
            "loc": loc,
            "correlation": correlation,
            "conditional_precision": conditional_precision,
            "adj_matrix": adj_matrix,
            "is_sparse": is_sparse,
        }
        super().__init__(arguments, event_shape=n, validate_args=validate_args)

    @property
    def precision_matrix(self) -> Array:
        """`tau (D - correlation W)`, of shape (..., n, n)."""
        g, kind = self._graph, float_type(self.loc)
        neighbours = g.matrix.toarray().astype(kind)
        own = np.diag(g.degrees.astype(kind))
        return per_event(self.conditional_precision, 2) * (own - per_event(self.correlation, 2) * neighbours)

    def _roots(self) -> Array:
        """`1 - correlation l`, along a new last axis."""
        return 1.0 - per_event(self.correlation, 1) * self._graph.eigenvalues.astype(float_type(self.correlation))

    def _axes(self) -> np.ndarray:
        """`D^-1/2 U`, U with the eigenvectors as columns."""
        return self._graph.axes.astype(float_type(self.loc))

    def from_noise(self, noise: Array) -> Array:
        spread = per_event(self.conditional_precision, 1) * self._roots()
        return self.loc + np.matmul(noise / np.sqrt(spread), transpose(self._axes()))

    def _log_density(self, x):
        g, y, kind = self._graph, x - self.loc, float_type(x)
        steps = y[..., g.first] - y[..., g.second]
        # Two sums of squares, since sum_i d_i y_i^2 - sum_ij W_ij y_i y_j = sum_(i<j) W_ij (y_i - y_j)^2.
        own = np.sum(g.degrees.astype(kind) * y * y, axis=-1)
        across = np.sum(g.weights.astype(kind) * steps * steps, axis=-1)
        squares = (1.0 - self.correlation) * own + self.correlation * across
        return -0.5 * self.conditional_precision * squares - self._log_volume()

    def _log_volume(self):
        n, degrees = self.event_shape[0], float(np.sum(np.log(self._graph.degrees)))
        log_det = n * np.log(self.conditional_precision) + degrees + np.sum(np.log(self._roots()), axis=-1)
        return 0.5 * (n * _LOG_2PI - log_det)

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        shares = np.matmul(1.0 / self._roots(), transpose(self._axes() ** 2))
        return shares / per_event(self.conditional_precision, 1)

    def _entropy(self):
        return self._log_volume() + 0.5 * self.event_shape[0]


@dataclass(frozen=True, eq=False)
class _Graph:
    """A symmetric matrix of weights between places: its pairs, each once, and its spectrum."""

    matrix: Any  # a sparse matrix in rows

    @functools.cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        entries = self.matrix.tocoo()
        upper = entries.row < entries.col
        return entries.row[upper], entries.col[upper], entries.data[upper]

    first = property(lambda self: self._pairs[0])
    second = property(lambda self: self._pairs[1])
    weights = property(lambda self: self._pairs[2])

    @functools.cached_property
    def degrees(self) -> np.ndarray:
        """The sum of the weights of every place."""
        return np.asarray(self.matrix.sum(axis=1), dtype=float).ravel()

    @functools.cached_property
    def _scaled(self) -> np.ndarray:
        root = np.sqrt(self.degrees)
        return self.matrix.toarray() / (root[:, None] * root)

    @functools.cached_property
    def eigenvalues(self) -> np.ndarray:
        """Of `D^-1/2 W D^-1/2`: the largest is 1, none is below -1."""
        return np.linalg.eigvalsh(self._scaled)

    @functools.cached_property
    def axes(self) -> np.ndarray:
        """`D^-1/2 U`, U with the eigenvectors as columns, in the order of the eigenvalues."""
        return np.linalg.eigh(self._scaled)[1] / np.sqrt(self.degrees)[:, None]

    def check(self) -> None:
        """Raise SupportError at the first entry that no such matrix has."""
        entries, skew = self.matrix.tocoo(), (self.matrix - self.matrix.T).tocoo()
        wrong = (entries.data < 0) | ~np.isfinite(entries.data) | (entries.row == entries.col)
        for found, expected, hint in (
            (entries, "positive weights between different places, and zeros", "1 for neighbours and 0 for all others"),
            (skew, "a symmetric matrix", "np.maximum(adj_matrix, adj_matrix.T)"),
        ):
            bad = np.flatnonzero(wrong if found is entries else found.data != 0)
            if bad.size:
                i, j = int(found.row[bad[0]]), int(found.col[bad[0]])
                value = self.matrix[i, j]
                raise SupportError(
                    f"CAR(adj_matrix=...) with {value} at index {(i, j)}", f"adj_matrix to be {expected}", hint
                )
        alone = np.flatnonzero(self.degrees == 0)
        if alone.size:
            raise SupportError(
                got=f"CAR(adj_matrix=...) whose row {alone[0]} is zero",
                expected="adj_matrix to give every place a neighbour",
                hint="places without neighbours as a site of their own",
            )


def _graph_of(matrix: Any) -> _Graph:
    from scipy.sparse import csr_array, issparse

    rows = csr_array(matrix if issparse(matrix) else np.asarray(matrix), dtype=float)
    rows.eliminate_zeros()
    return _Graph(rows)


# -- recurrences ---------------------------------------------------------------------------------------


def linear_recurrence(transition: Array, increments: Array) -> Array:
    """`z_t = A z_(t-1) + b_t` along the second last axis, from `z_0 = 0`, in log2(T) operations on all steps.

    Doubling: with S the shift by one step, `(I - A S)^-1 = (I + A S) (I + A^2 S^2) (I + A^4 S^4) ...`.

    >>> linear_recurrence(np.array([[2.0]]), np.ones((4, 1)))[:, 0]
    array([ 1.,  3.,  7., 15.])
    """
    z, power, step = increments, transpose(transition), 1
    while step < np.shape(increments)[-2]:
        if step > 1:
            power = np.matmul(power, power)
        z = np.concatenate([z[..., :step, :], z[..., step:, :] + np.matmul(z[..., :-step, :], power)], axis=-2)
        step *= 2
    return z


def _shifted(increments: Array, first: Array | None) -> Array:
    """The increments (..., T, n), with `first` added to that of the first step."""
    if first is None:
        return increments
    steps = np.shape(increments)[-2]
    return increments + first[..., None, :] * np.eye(steps, 1, dtype=float_type(first))


def _check_steps(family: str, num_steps: Any) -> None:
    if not isinstance(num_steps, (int, np.integer)) or num_steps < 1:
        raise SupportError(
            got=f"{family}(num_steps={num_steps})",
            expected="num_steps to be a positive integer",
            hint="num_steps=len(y), the length of the series",
        )
