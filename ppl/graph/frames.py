"""pandas columns as model arguments: as they are, and indexed by a minibatch too.

pandas is never imported here: whoever passes a frame has imported it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..array import Argument
from ..array.recording import tape_of
from ..model import RowNumbers


def is_pandas(x: Any) -> bool:
    """Is this a frame or a series?"""
    return type(x).__module__.partition(".")[0] == "pandas" and hasattr(x, "to_numpy") and hasattr(x, "index")


def as_column(x: Any) -> Any:
    """The frame or series, with minibatch indices understood by `x[i]`, `x.values[i]` and `x.to_numpy()[i]`."""
    return _kind(type(x))(x)


@cache
def _kind(base: type) -> type:
    """A subclass of a pandas class whose rows may be picked by a recorded index."""

    class Column(base):
        @property
        def _constructor(self):
            return Column

        @property
        def _constructor_sliced(self):
            import pandas

            return _kind(pandas.Series)

        def __getitem__(self, key):
            by_position = isinstance(key, RowNumbers) or tape_of((key,)) is not None
            return self.to_numpy()[key] if by_position else super().__getitem__(key)

        def __matmul__(self, other):
            return self.to_numpy() @ other if tape_of((other,)) is not None else super().__matmul__(other)

        def to_numpy(self, *args, **kwargs):
            values = super().to_numpy(*args, **kwargs)
            return values.view(Argument) if values.dtype != object else values

        @property
        def values(self):
            return self.to_numpy()

    Column.__name__ = base.__name__
    return Column
