"""Effect handlers: change what a model's statements mean, without touching the model.

Each works on a function, `seed(model, 0)(data)`, and as a context, `with seed(rng_seed=0):`.
Signatures are NumPyro's. A handler sees each statement as a frozen `Site`, innermost handler
first, and may return another; on the way back it is shown the final one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from .context import current, reset_context, send, set_context
from .reparam import LocScaleReparam, TransformReparam
from .site import Site


class Handler:
    """Base: `process` on the way out, `seen` on the way back."""

    def beginning(self) -> dict[str, Any] | None:
        """What a run that begins with this handler has registered; None: it is part of the run outside."""
        return None

    def __init__(self, fn: Callable | None = None):
        if fn is not None and not callable(fn):
            raise ModelError(
                f"{type(self).__name__}({fn!r})",
                "a model function as first argument, or keyword arguments",
                f"{type(self).__name__}(model, ...)",
            )
        self.fn = fn
        if fn is not None:
            self.__wrapped__ = fn  # its signature is the function's
        self._tokens: list = []

    def __enter__(self) -> Any:
        context, run = current(), self.beginning()
        run = run if run is not None else context.run if context.handlers else {}
        self._tokens.append(set_context(replace(context, handlers=(*context.handlers, self), run=run)))
        return self

    def __exit__(self, *_) -> None:
        reset_context(self._tokens.pop())

    def __call__(self, *args, **kwargs) -> Any:
        if self.fn is None:
            raise ModelError(
                f"a call of {type(self).__name__} without a function",
                "a handler of one",
                "handler(fn, ...)(*args), or `with handler(...)`",
            )
        with self:
            return self.fn(*args, **kwargs)

    def process(self, site: Site) -> Site:
        return site

    def seen(self, site: Site) -> None:
        return None


class trace(Handler):
    """Keep every statement: `trace(fn).get_trace(*args)` gives `{name: site}`.

    >>> import ppl, ppl.distributions as dist
    >>> def model(): ppl.sample("z", dist.Normal(0, 1))
    >>> sites = ppl.handlers.trace(ppl.handlers.seed(model, 0)).get_trace()
    >>> sites["z"]["fn"]
    Normal(loc=0, scale=1; batch_shape=(), event_shape=())
    """

    def __enter__(self) -> dict[str, Site]:
        super().__enter__()
        self.trace: dict[str, Site] = {}
        return self.trace

    def seen(self, site: Site) -> None:
        before = self.trace.get(site.name)
        if before is not None:
            check_repeat(before, site)
        if site.type == "plate" and before is not None:
            return
        self.trace[site.name] = site

    def get_trace(self, *args, **kwargs) -> dict[str, Site]:
        """Run the function and return its sites in order."""
        self(*args, **kwargs)
        return self.trace


def check_repeat(before: Site, site: Site) -> None:
    """A name may come again only for the same plate, or the same parameter."""
    if before.type == site.type == "plate":
        a, b = before.options["frame"], site.options["frame"]
        if a.size != b.size or a.subsample_size != b.subsample_size:
            raise ModelError(
                f"plate '{site.name}' with size {b.size} (in use {b.subsample_size})",
                f"its first size, {a.size} (in use {a.subsample_size})",
                "a name of its own for each plate",
                plate=site.name,
            )
        if a.dim != b.dim:
            raise ModelError(
                f"plate '{site.name}' at axis {b.dim}",
                f"its first axis, {a.dim}",
                f"dim={min(a.dim, b.dim)} in both places",
                plate=site.name,
            )
        return
    if before.type == site.type == "param" and before.plates == site.plates:
        return
    raise ModelError(
        f"a second {site.type} '{site.name}'" + (f" (the first: {before.where})" if before.where else ""),
        "names that are used once",
        f'f"{site.name}_{{k}}" in a loop, or a plate',
        site=site.name,
    )


class seed(Handler):
    """Give random sites draws from a seeded generator.

    `rng_seed`: an int or a NumPy generator. The same seed gives the same draws.
    """

    def __init__(self, fn: Callable | None = None, rng_seed: Any = None):
        if rng_seed is None and fn is not None and not callable(fn):
            fn, rng_seed = None, fn
        if rng_seed is None:
            raise ModelError("seed without rng_seed", "an int or a numpy Generator", "seed(model, 0)")
        super().__init__(fn)
        self.rng_seed = rng_seed

    def __enter__(self):
        self.rng = np.random.default_rng(self.rng_seed)
        return super().__enter__()

    def process(self, site: Site) -> Site:
        if site.type == "sample" and site.rng is None and site.value is None:
            return replace(site, rng=self.rng)
        if site.type == "plate" and site.value is None and site.options["frame"].subsampled:
            frame = site.options["frame"]
            return replace(site, value=np.sort(self.rng.permutation(frame.size)[: frame.subsample_size]))
        return site


class condition(Handler):
    """Observe latent sites: `data` by name, or `condition_fn(site) -> value or None`."""

    def __init__(self, fn=None, data: Mapping[str, Any] | None = None, condition_fn: Callable | None = None):
        super().__init__(fn)
        self.data, self.value_of = data or {}, condition_fn

    def process(self, site: Site) -> Site:
        if site.type != "sample" or site.options.get("factor"):
            return site
        value = self.data.get(site.name) if self.value_of is None else self.value_of(site)
        return site if value is None else replace(site, value=np.asarray(value)[()], is_observed=True)


class substitute(Handler):
    """Give sites and parameters values, without observing them."""

    def __init__(self, fn=None, data: Mapping[str, Any] | None = None, substitute_fn: Callable | None = None):
        super().__init__(fn)
        self.data, self.value_of = data or {}, substitute_fn

    def process(self, site: Site) -> Site:
        if site.is_observed or site.type not in ("sample", "param", "plate"):
            return site
        value = self.data.get(site.name) if self.value_of is None else self.value_of(site)
        return site if value is None else replace(site, value=value)


class replay(Handler):
    """Random sites take the values they have in a trace."""

    def __init__(self, fn=None, trace: Mapping[str, Site] | None = None):
        super().__init__(fn)
        self.sites = trace or {}

    def process(self, site: Site) -> Site:
        known = self.sites.get(site.name)
        if known is None or site.is_observed or site.type not in ("sample", "plate"):
            return site
        return replace(site, value=known.value)


class do(Handler):
    """Intervene: later statements see the given value, the site itself stays random.

    Pearl's do-operator: the site keeps its own distribution and draw, what depends on it is cut.
    """

    def __init__(self, fn=None, data: Mapping[str, Any] | None = None):
        super().__init__(fn)
        self.data = data or {}

    def process(self, site: Site) -> Site:
        if site.type != "sample" or site.name not in self.data:
            return site
        outer = current().handlers
        token = set_context(replace(current(), handlers=outer[: outer.index(self)]))
        try:
            send(site)
        finally:
            reset_context(token)
        return replace(
            site, value=np.asarray(self.data[site.name])[()], is_observed=False, stop=True, name=f"{site.name}__do"
        )


class block(Handler):
    """Hide sites from the handlers outside: all, by name, by a function, or all but some."""

    def __init__(
        self, fn=None, hide_fn: Callable | None = None, hide: list[str] | None = None, expose: list[str] | None = None
    ):
        super().__init__(fn)
        if hide_fn is None:
            if hide is not None:
                hide_fn = lambda site: site.name in hide
            elif expose is not None:
                hide_fn = lambda site: site.name not in expose
            else:
                hide_fn = lambda site: True
        self.hide_fn = hide_fn

    def process(self, site: Site) -> Site:
        return replace(site, stop=True) if self.hide_fn(site) else site


class scale(Handler):
    """Multiply log densities by a positive number."""

    def __init__(self, fn=None, scale: float = 1.0):
        super().__init__(fn)
        if np.ndim(scale) != 0 or not scale > 0:
            raise ModelError(f"scale={scale}", "one positive number", "mask, or a factor, for single elements")
        self.factor = scale

    def process(self, site: Site) -> Site:
        return replace(site, scale=site.scale * self.factor) if site.type == "sample" else site


class mask(Handler):
    """Keep only the log densities where the mask is true."""

    def __init__(self, fn=None, mask: Any = True):
        super().__init__(fn)
        self.mask = mask

    def process(self, site: Site) -> Site:
        counted = site.type == "sample" and "part_of" not in site.options
        return replace(site, fn=site.fn.mask(self.mask)) if counted else site


class reparam(Handler):
    """Rewrite sites by a reparameterizer: `config={"theta": LocScaleReparam(0)}`, or a function of the site."""

    def __init__(self, fn=None, config: Mapping[str, Any] | Callable | None = None):
        super().__init__(fn)
        self.config = config or {}

    def process(self, site: Site) -> Site:
        if site.type != "sample" or site.options.get("factor"):
            return site
        rewrite = self.config(site) if callable(self.config) else self.config.get(site.name)
        return site if rewrite is None else rewrite(site)


class unguided(Handler):
    """Leave out the guides that stand in place: every site is drawn from its prior."""

    def process(self, site: Site) -> Site:
        return site if site.guide is None else replace(site, guide=None)


__all__ = [
    "Handler",
    "LocScaleReparam",
    "TransformReparam",
    "block",
    "condition",
    "do",
    "mask",
    "reparam",
    "replay",
    "scale",
    "seed",
    "substitute",
    "trace",
    "unguided",
]
