"""Parameters with a row for each element of a subsampled plate, and the optimizer's state by row.

A step reads and writes the rows in use and nothing else, so its cost does not depend on how many
rows there are. Tables are therefore the one thing that a step changes in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..elbo import Derivation
from ..model import RowAxes, rows_in_use, rows_key
from .coordinates import Coordinates

RECENT = 3.0  # how much more the later iterates count in an average
EARLY = 9.0  # how much larger than usual the first step of a row is
VISITS = 30  # how often a row should be seen before its average says something


class Table(NamedTuple):
    """One parameter's coordinates at full size; `optimizer`, `average` and `visits` by row too."""

    axes: RowAxes
    scale: float  # what one row's gradient stands for: the product of its plates' size / subsample size
    x: np.ndarray
    optimizer: Any
    average: np.ndarray
    visits: np.ndarray

    def rows(self, indices: Mapping[str, np.ndarray]) -> np.ndarray:
        """The coordinates in use."""
        return rows_in_use(self.x, self.axes, indices)

    def update(self, optimizer: Any, g: np.ndarray, indices: Mapping[str, np.ndarray], rate: float) -> None:
        """A step of the optimizer on the rows in use; g is the gradient of what is minimised.

        A row's gradient is scaled up because it is seen that much more rarely, and a step that is
        taken each time it is seen must not be. A row that was seen a few times only takes larger steps.
        """
        key = rows_key(self.axes, indices, self.x.shape)
        visits = self.visits[key] + 1
        rate = rate * (1.0 + EARLY / np.sqrt(visits))
        x, moments = optimizer.update(g / self.scale, each(self.optimizer, lambda s: s[key]), self.x[key], rate)
        self.x[key] = x
        for whole, part in zip(_leaves(self.optimizer), _leaves(moments), strict=True):
            whole[key] = part
        self.visits[key] = visits
        before = self.average[key]
        self.average[key] = before + (x - before) * ((RECENT + 1.0) / (visits + RECENT))

    def copy(self) -> Table:
        """The same in arrays of its own."""
        optimizer, average, visits = each(self.optimizer, np.copy), self.average.copy(), self.visits.copy()
        return self._replace(x=self.x.copy(), optimizer=optimizer, average=average, visits=visits)

    @property
    def mean(self) -> np.ndarray:
        """Averages of the iterates of every row that was visited, the later ones counting more.

        The weight of iterate s of t grows like s^3 (Shamir and Zhang 2013, section 4), by row.
        """
        return np.where(self.visits > 0, self.average, self.x)

    def squared_error(self, curvature: float, decay: float) -> np.ndarray:
        """Squared standard error of `mean`: a gradient's noise moves the optimum of a curvature by sd / curvature.

        `decay` is that of the optimizer's running average of squared gradients.
        """
        seen = self.visits > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = self.optimizer.second / (1.0 - decay**self.optimizer.count)
            found = noise / curvature**2 * (RECENT + 1.0) ** 2 / (2.0 * RECENT + 1.0) / self.visits
        return np.where(seen, found, np.inf)


def tables_at(
    where: Coordinates, d: Derivation, optimizer: Any, points: Mapping[str, np.ndarray] | None = None
) -> dict[str, Table]:
    """Tables at some coordinates (by default zero), with the optimizer's state as it begins."""
    return {n: _table(where, d, optimizer, n, (points or {}).get(n)) for n in where.tables}


def _table(where: Coordinates, d: Derivation, optimizer: Any, name: str, x: np.ndarray | None) -> Table:
    axes = d.parameters[name].rows
    shape = where.table_shape(name)
    by_row = tuple(n if i <= axes[-1][0] else 1 for i, n in enumerate(shape))
    x = np.zeros(shape) if x is None else np.array(x)
    state = each(optimizer.init(x), lambda s: s if np.ndim(s) else np.full(by_row, s))
    scale = float(np.prod([d.plates[plate].scale for _, plate in axes]))
    return Table(axes, scale, x, state, np.zeros(shape), np.zeros(by_row))


def _leaves(state: Any) -> tuple:
    """The arrays of an optimizer's state: None, an array or number, or a (named) tuple of these."""
    return () if state is None else tuple(state) if isinstance(state, tuple) else (state,)


def each(state: Any, f: Any) -> Any:
    """The state with a function applied to each of its arrays."""
    if not isinstance(state, tuple):
        return state if state is None else f(state)
    parts = map(f, state)
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
