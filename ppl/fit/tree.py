"""What stands in a file: which keys, and of which kinds, so that a damaged one is refused before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from ..algorithms.evaluate import Bound
from ..errors import DataError
from .store import Missing
from .verdict import Verdict

Arrays = dict[str, np.ndarray]
Moments = tuple | None

PROBLEM = {
    "format": int,
    "version": str,
    "model": str,
    "args": tuple,
    "kwargs": dict[str, Any],
    "digests": dict[str, str | None],
    "guide": str | list | None | Missing,
    "form": dict[str, float | np.ndarray | None],
    "seed": int,
    "executor": Literal["numpy", "eager", "jax"],
    "dtype": Literal["float32", "float64"],
    "shapes": dict[str, tuple[int, ...]],
    "terms": dict[str, float],
    "members": dict[str, tuple[str, str]],
    "algorithm": dict[str, Any] | None,
    "run": dict[str, Any] | None,
    "sampled": dict[str, Any] | None,
}
FINISHED = {
    "solution": tuple[Arrays, np.ndarray | None, str, bool, int, tuple[str, ...], bool, tuple[str, ...]],
    "bound": tuple[*get_type_hints(Bound).values()],
    "verdict": tuple[*get_type_hints(Verdict).values()],
    "ratios": str | tuple[np.ndarray, Arrays, np.ndarray, Arrays, int],
}
ALGORITHM = {"name": str, "settings": dict[str, Any]}
RUN = {
    "origin": Arrays,
    "start": Arrays,
    "state": tuple[int, np.ndarray, Moments, float, int],
    "baselines": tuple[np.ndarray | float, ...],
    "tables": dict[str, tuple[np.ndarray, Moments, np.ndarray, np.ndarray]],
    "windows": tuple[np.ndarray, np.ndarray],
    "sums": tuple[float, np.ndarray | float, int, int],
    "answer": tuple[np.ndarray, Arrays] | None,
    "converged": bool,
    "history": np.ndarray,
    "notes": tuple[str, ...],
    "doubts": tuple[str, ...],
    "trained": bool,
    "states": Arrays,
    "kept_states": Arrays | None,
    "held_out": tuple[tuple[int, float], ...],
}

DRAWS = {
    "noise": Arrays,
    "chains": int,
    "stats": Arrays,
    "state": Arrays,
    "log_ratios": np.ndarray | None,
    "mixed": np.ndarray | None,
    "values": Arrays,
    "notes": tuple[str, ...],
    "reason": str,
    "history": np.ndarray,
}


def check_tree(tree: Mapping[str, Any]) -> None:
    """Keys and kinds of all that a file says of a fit, or of a run that has not ended."""
    finished = any(key in tree for key in FINISHED)
    _check_keys("the file", tree, PROBLEM | (FINISHED if finished else {}))
    if tree["algorithm"] is not None:
        _check_keys("its algorithm", tree["algorithm"], ALGORITHM)
    if tree["run"] is not None:
        _check_keys("its run", tree["run"], RUN)
    elif tree["sampled"] is not None:
        _check_keys("its draws", tree["sampled"], DRAWS)
    elif not finished or tree["solution"][1] is None:
        raise damaged("neither a fit nor a run that goes on")


def check_shapes(what: str, held: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Arrays must have these names and shapes."""
    if set(held) != set(wanted):
        raise damaged(f"{what} of {sorted(held)} in place of {sorted(wanted)}")
    for name, shape in wanted.items():
        if np.shape(held[name]) != tuple(shape):
            raise damaged(f"{what} with '{name}' of shape {np.shape(held[name])} in place of {tuple(shape)}")


def damaged(what: str) -> DataError:
    """The error for a file that was changed after it was written."""
    return DataError(f"a file with {what}", "a file as fit.save(path) wrote it", "another copy of the file")


def _check_keys(what: str, found: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    if set(found) != set(kinds):
        differing = sorted(map(str, set(found) ^ set(kinds)))
        raise damaged(f"keys in {what} that are too many or too few: {', '.join(differing)}")
    for key, kind in kinds.items():
        if not fits(found[key], kind):
            raise damaged(f"a {type(found[key]).__name__} that cannot be '{key}' of {what}")


def fits(x: Any, kind: Any) -> bool:
    """Is a value of the kind that a type hint says? NumPy's numbers are numbers, and lists are tuples.

    >>> fits({"a": (1, 2)}, dict[str, tuple[int, ...]]), fits(("a", 1.5), tuple[str, int]), fits(None, float | None)
    (True, False, True)
    """
    origin, of = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(x, k) for k in of)
    if origin is Literal:
        return isinstance(x, str) and x in of
    if origin is tuple and isinstance(x, list | tuple):
        if of[-1] is ...:
            return all(fits(v, of[0]) for v in x)
        return len(x) == len(of) and all(map(fits, x, of))
    if origin in (dict, Mapping):
        return isinstance(x, dict) and all(fits(k, of[0]) and fits(v, of[1]) for k, v in x.items())
    if kind is np.ndarray:
        return isinstance(x, np.ndarray) and x.dtype.kind in "biuf"
    numbers = {int: (int, np.integer), float: (int, np.integer, float, np.floating), bool: (bool, np.bool_)}
    if kind in numbers:
        return isinstance(x, numbers[kind]) and isinstance(x, bool | np.bool_) == (kind is bool)
    return origin is None and isinstance(x, kind)
