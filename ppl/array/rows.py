"""Rows of data that need not fit into memory: HDF5 and Zarr arrays, and anything sliced like one.

A minibatch of rows is read when the program runs. (A `np.memmap` is an ndarray, and needs none
of this.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .recording import SHAPES, operation, tape_of


class Rows:
    """An array-like on disk as a model argument: `len`, `shape`, `dtype`, and rows by minibatch index."""

    def __init__(self, source: Any):
        self.source, self.shape, self.dtype = source, tuple(source.shape), np.dtype(source.dtype)

    ndim = property(lambda self: len(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if tape_of((key,)) is not None:
            return rows_of(self, key)
        return np.asarray(self.source[key])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.source[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"<rows {self.dtype}{list(self.shape)}>"


def is_row_source(x: Any) -> bool:
    """Is this sliced like an array, without being one?  (Not a sparse matrix, whose rows are no arrays.)"""
    known = type(x).__module__.partition(".")[0] in ("pandas", "ppl", "scipy")
    if known or isinstance(x, np.ndarray | np.generic | Rows):
        return False
    return all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__", "__len__")) and len(x.shape) > 0


@operation
def rows_of(rows, key):
    """Rows read from their source: in increasing order and once each, as HDF5 asks for."""
    wanted, back = np.unique(key, return_inverse=True)
    return np.asarray(rows.source[wanted])[back.reshape(np.shape(key))]


SHAPES[rows_of.run] = lambda rows, key: ((*np.shape(key), *rows.shape[1:]), rows.dtype)
