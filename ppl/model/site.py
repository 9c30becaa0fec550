"""What flows from the model to whoever listens: one frozen record per statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

ROWS = 100_000  # of a table that are computed at once
RowAxes = tuple[tuple[int, str], ...]  # (axis of a full-size array, the subsampled plate that it belongs to)


class RowNumbers(np.ndarray):
    """The indices of a full plate: positions, also for a pandas column, whose labels may be others."""


@dataclass(frozen=True)
class PlateFrame:
    """A plate as a site inside it sees it: `dim` counts from the right and is negative."""

    name: str
    size: int
    subsample_size: int
    dim: int

    @property
    def scale(self) -> float:
        """What one row in use stands for: size / subsample_size."""
        return self.size / self.subsample_size

    @property
    def subsampled(self) -> bool:
        return self.subsample_size != self.size


@dataclass(frozen=True)
class Site:
    """One statement of a model: a random site, parameter, deterministic, factor or plate.

    Indexing by NumPyro's key names works too: `site["value"]`, `site["fn"]`, `site["type"]`.
    """

    name: str
    type: str  # "sample", "param", "deterministic", "factor", "plate"
    fn: Any = None
    value: Any = None
    is_observed: bool = False
    plates: tuple[PlateFrame, ...] = ()
    scale: float = 1.0
    rng: Any = field(default=None, repr=False)
    guide: Any = None
    estimator: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    stop: bool = False
    where: str = ""

    def __getitem__(self, key: str) -> Any:
        return {"cond_indep_stack": self.plates, "kwargs": self.options}.get(key, getattr(self, key, None))

    @property
    def plate_names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.plates)

    @property
    def plate_scale(self) -> float:
        """Product of the plates' and the handlers' scales."""
        return self.scale * float(np.prod([p.scale for p in self.plates]))


def plate_shape(plates: tuple[PlateFrame, ...]) -> tuple[int, ...]:
    """Batch shape that the plates claim, axes from the right; axes between them have length one."""
    if not plates:
        return ()
    shape = [1] * max(-p.dim for p in plates)
    for p in plates:
        shape[p.dim] = p.subsample_size
    return tuple(shape)


def row_axes(plates: Sequence[PlateFrame], batch_ndim: int) -> RowAxes:
    """The axes of the subsampled plates in a full-size array whose first `batch_ndim` axes are the batch's."""
    return tuple(sorted((batch_ndim + p.dim, p.name) for p in plates if p.subsampled))


@dataclass(frozen=True, eq=False)
class RowTable:
    """An array with a row for each element of a large plate, which computes rows when they are asked for.

    `rows(indices)` gives them with their axis in its place. As an array (`np.asarray`) it has all rows at once.
    """

    shape: tuple[int, ...]
    axis: int
    rows: Callable[[np.ndarray], np.ndarray]
    dtype = np.dtype(np.float64)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def take(self, indices: Any, axis: int = 0, out: Any = None, mode: str = "raise") -> np.ndarray:
        """As `np.take`, which calls this; along the rows' axis."""
        indices = np.asarray(indices)
        if axis != self.axis or out is not None:
            return np.take(np.asarray(self), indices, axis=axis, out=out, mode=mode)
        found = self.rows(np.arange(self.shape[axis])[indices.ravel()] if np.any(indices < 0) else indices.ravel())
        return found.reshape(*found.shape[:axis], *indices.shape, *found.shape[axis + 1 :])

    def __getitem__(self, key: Any) -> np.ndarray:
        if self.axis == 0:
            first, *rest = key if isinstance(key, tuple) else (key,)
            if isinstance(first, int | np.integer | slice):
                found = np.arange(self.shape[0])[first]
                return self.take(found, 0)[(slice(None),) * np.ndim(found) + tuple(rest)]
        return np.asarray(self)[key]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.empty(self.shape)
        for start in range(0, self.shape[self.axis], ROWS):
            rows = np.arange(start, min(start + ROWS, self.shape[self.axis]))
            out[(slice(None),) * self.axis + (rows,)] = self.rows(rows)
        return out if dtype is None else out.astype(dtype)


def rows_in_use(value: Any, axes: RowAxes, indices: Mapping[str, Any]) -> Any:
    """The rows of a full-size array that the indices of its plates choose."""
    for axis, plate in axes:
        if isinstance(value, np.ndarray) and not value.flags.c_contiguous:  # which np.take would copy as a whole
            value = value[(slice(None),) * axis + (indices[plate],)]
        else:
            value = np.take(value, indices[plate], axis=axis)
    return value


def rows_key(axes: RowAxes, indices: Mapping[str, Any], shape: Sequence[int]) -> Any:
    """The index that names these rows for writing: `value[key] = rows`."""
    if len(axes) == 1 and axes[0][0] == 0:
        return indices[axes[0][1]]
    of = dict(axes)
    return np.ix_(*(indices[of[i]] if i in of else np.arange(shape[i]) for i in range(max(of) + 1)))
