"""A function of another library as one operation of a program, whose derivative is asked of that library.

call(*arrays) -> array                  pull(g, *arrays) -> derivatives of sum(g * call(*arrays)) in the floats
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .operations import index, reshape
from .recording import tape_of


@dataclass(frozen=True, eq=False)
class Foreign:
    """One operation; two of them are the same only if they are one object.

    The library sees arrays when the program runs, and nothing of the recording. What it computes is taken to be
    continuous. Several draws run one after the other.

    >>> square = Foreign("square", lambda x: x * x, lambda g, x: (2.0 * g * x,))
    >>> float(square(3.0))
    9.0
    """

    name: str
    call: Callable[..., np.ndarray]
    slopes: Callable[..., Sequence[np.ndarray]]

    def __call__(self, *arrays: Any) -> Any:
        tape = tape_of(arrays)
        return self.run(*arrays) if tape is None else tape.add(self.run, arrays)

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def run(self) -> _Run:
        """The operation as it stands in a program."""
        return _Run(self)


@dataclass(frozen=True)
class _Run:
    """The value."""

    of: Foreign

    @property
    def __name__(self) -> str:
        return self.of.name

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        return np.asarray(self.of.call(*arrays))

    def pull(self, g: Any, arrays: Sequence[Any], needed: Sequence[int]) -> dict[int, Any]:
        """Derivatives in the arrays that are needed, as slices of one array that the library gives at once."""
        tape = tape_of((g, *arrays))
        joined = _Slopes(self.of)(g, *arrays) if tape is None else tape.add(_Slopes(self.of), (g, *arrays))
        found, start = {}, 0
        for i, x in enumerate(arrays):
            if np.result_type(x).kind == "f":
                size = int(np.prod(np.shape(x), dtype=np.int64))
                if i in needed:
                    found[i] = reshape(index(joined, slice(start, start + size)), tuple(np.shape(x)))
                start += size
        return found


@dataclass(frozen=True)
class _Slopes:
    """The derivatives in all floating arrays, one after the other."""

    of: Foreign

    @property
    def __name__(self) -> str:
        return f"{self.of.name}_slopes"

    def __call__(self, g: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ravel(x) for x in self.of.slopes(g, *arrays)])
