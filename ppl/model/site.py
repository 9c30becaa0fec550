"""What flows from the model to whoever listens: one frozen record per statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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


def rows_in_use(value: Any, axes: RowAxes, indices: Mapping[str, Any]) -> Any:
    """The rows of a full-size array that the indices of its plates choose."""
    for axis, plate in axes:
        value = np.take(value, indices[plate], axis=axis)
    return value


def rows_key(axes: RowAxes, indices: Mapping[str, Any], shape: Sequence[int]) -> Any:
    """The index that names these rows for writing: `value[key] = rows`."""
    if len(axes) == 1 and axes[0][0] == 0:
        return indices[axes[0][1]]
    of = dict(axes)
    return np.ix_(*(indices[of[i]] if i in of else np.arange(shape[i]) for i in range(max(of) + 1)))
