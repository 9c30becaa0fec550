"""A call of a model must fit its signature, and must not collide with the caller's own names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ..errors import ModelError


def check_call(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """The arguments must fit the model's signature."""
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as problem:
        names = list(signature.parameters)
        unknown = [k for k in kwargs if k not in names]
        close = get_close_matches(unknown[0], names, 1) if unknown else []
        raise ModelError(
            f"a call of the model that does not fit: {problem}",
            f"{getattr(model, '__name__', 'model')}{signature}",
            f"{close[0]}= for {unknown[0]}=" if close else "the model's own arguments after the model",
        ) from None


def refuse_own_names(model: Callable, names: tuple[str, ...], verb: str) -> None:
    """A model argument must not have the name of one of the call's own."""
    if not callable(model):
        raise ModelError(f"{verb}({model!r}, ...)", "a model function as first argument", f"ppl.{verb}(model, data)")
    try:
        parameters = inspect.signature(model).parameters
    except (TypeError, ValueError):
        return
    taken = [n for n in names if n in parameters]
    if taken:
        raise ModelError(
            f"a model with an argument '{taken[0]}', which ppl.{verb} takes for itself",
            f"other names than {', '.join(names)}",
            f"rename it, or bind it: ppl.{verb}(functools.partial(model, {taken[0]}=...), ...)",
        )


def check_names(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Names in an argument must be known ones."""
    known = sorted(known)
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            raise ModelError(
                f"{argument} with the name '{name}'",
                f"names among {known}",
                f"'{close[0]}'" if close else "",
                site=name,
            )
