"""Which rows of a subsampled plate are used."""

from __future__ import annotations

import numpy as np

from ..model import PlateFrame

AT_ONCE = 5_000_000  # random numbers drawn in one go


def minibatches(rng: np.random.Generator, plate: PlateFrame, count: int) -> np.ndarray:
    """Row numbers of `count` minibatches, (count, subsample_size), without repetition within one."""
    size, n = plate.subsample_size, plate.size
    if size == n:
        return np.broadcast_to(np.arange(n), (count, n))
    if size * 10 > n and count * n < AT_ONCE:
        return np.argsort(rng.random((count, n)), axis=1)[:, :size]
    return np.stack([rng.choice(n, size, replace=False) for _ in range(count)])
