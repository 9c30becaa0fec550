"""The one piece of module state: which handlers and plates are in force right now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ModelError
from .site import PlateFrame, Site


@dataclass(frozen=True)
class Context:
    """Handlers from the outermost to the innermost, and the plates that are open.

    `run` is what a run of a model has registered so far; it begins with the outermost handler.
    """

    handlers: tuple[Any, ...] = ()
    plates: tuple[PlateFrame, ...] = ()
    rows: tuple[tuple[str, Any], ...] = ()  # the indices in use, by plate
    run: dict[str, Any] | None = None


_NOTHING = Context()
_current: ContextVar[Context] = ContextVar("ppl_context", default=_NOTHING)


def current() -> Context:
    """The context that `sample` sees."""
    return _current.get()


def set_context(context: Context):
    """Install a context and return the token that `reset_context` takes."""
    return _current.set(context)


def reset_context(token) -> None:
    """Undo `set_context`."""
    _current.reset(token)


@contextmanager
def outside_plates() -> Iterator[None]:
    """What stands here belongs to no plate, whichever are open."""
    token = set_context(replace(current(), plates=(), rows=()))
    try:
        yield
    finally:
        reset_context(token)


def memory(kind: str) -> dict[str, Any]:
    """What this run of a model has registered of a kind, by name; without a handler nothing is kept."""
    run = current().run
    return {} if run is None else run.setdefault(kind, {})


def seed_of_run() -> int:
    """The seed of a fit while its model is recorded, and 0 elsewhere."""
    return (current().run or {}).get("seed", 0)


def send(site: Site) -> Site:
    """Show a statement to the handlers, innermost first; give it a value; show it on the way back."""
    handlers = current().handlers
    reached = len(handlers)
    for reached in range(len(handlers) - 1, -1, -1):
        site = handlers[reached].process(site)
        if site.stop:
            break
    else:
        reached = 0
    if site.value is None:
        site = replace(site, value=_default_value(site))
    if "incomplete" in site.options:
        site = site.options["incomplete"](site)
    for handler in handlers[reached:]:
        handler.seen(site)
    return site


def _default_value(site: Site) -> Any:
    if site.type == "sample":
        if site.rng is None:
            raise ModelError(
                f"sample('{site.name}', ...) with no source of randomness",
                "a model run by ppl.infer, or under a handler that gives values",
                "ppl.handlers.seed(model, 0)(...) to run it by hand",
                site=site.name,
            )
        return site.fn.sample(site.rng)
    default = site.options.get("default")
    return default() if callable(default) else default
