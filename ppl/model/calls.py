"""A call of a model must fit its signature, and must not collide with the caller's own names."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ..errors import ModelError, misfit


def check_call(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """The arguments must fit the model's signature."""
    problem = misfit(model, "the model", args, kwargs, "the model's own arguments after the model")
    if problem is not None:
        raise problem


def refuse_own_names(model: Callable, names: tuple[str, ...], verb: str) -> None:
    """A model argument must not have the name of one of the call's own."""
    if not callable(model):
        raise ModelError(f"{verb}({model!r}, ...)", "a model function as first argument", f"{verb}(model, data)")
    try:
        parameters = inspect.signature(model).parameters
    except (TypeError, ValueError):
        return
    taken = [n for n in names if n in parameters]
    if taken:
        raise ModelError(
            f"a model with an argument '{taken[0]}', which {verb} takes for itself",
            f"other names than {', '.join(names)}",
            f"rename it, or bind it before: functools.partial(model, {taken[0]}=...)",
        )


def count_of(name: str, n: Any, hint: str = "") -> int:
    """A whole number of at least 1."""
    count = _whole(n)
    if count is None or count < 1:
        raise ModelError(f"{name}={n!r}", "a whole number of at least 1", hint or f"{name}=1000")
    return count


def seed_of(seed: Any) -> int:
    """A seed: a whole number of any integer type."""
    found = _whole(seed)
    if found is None or not 0 <= found < 2**63:
        raise ModelError(f"seed={seed!r}", "a whole number from 0 to 2**63 - 1", "seed=0")
    return found


def _whole(n: Any) -> int | None:
    try:
        return operator.index(n)
    except TypeError:
        return None


def check_names(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Names in an argument must be known ones."""
    known = sorted(known)
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            raise ModelError(
                f"{argument} with the name '{name}'",
                f"names among {known}",
                f"'{close[0]}'" if close else f"{argument} without it",
                site=name,
            )
