"""Draws of the data: from the prior, and from the posterior."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError, ShapeError
from ..model import Handler, Site, handlers, parameter_rows
from ..model.calls import check_call, check_names, refuse_own_names


class Draws(dict):
    """`{site: array (num_samples, ...)}`; `notes` says in words what was done beside the plain thing."""

    def __init__(self, *args: Any, notes: Sequence[str] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.notes = tuple(notes)


class _Unobserved(Handler):
    """Observed sites are drawn anew; plates are full, or of the sizes asked for."""

    def __init__(self, sizes: Mapping[str, int] | None = None):
        super().__init__()
        self.sizes = sizes or {}
        self.plates: dict[str, int] = {}

    def process(self, site: Site) -> Site:
        if site.type == "plate" and site.value is None:
            frame = site.options["frame"]
            size = self.sizes.get(site.name, frame.size)
            self.plates[site.name] = size
            frame = replace(frame, size=size, subsample_size=size)
            return replace(site, value=np.arange(size), options={**site.options, "frame": frame})
        if site.type == "sample" and site.is_observed and not site.options.get("factor"):
            return replace(site, value=None, is_observed=False)
        return site


def prior_predictive(
    model: Callable,
    *args: Any,
    num_samples: int = 1000,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    **kwargs: Any,
) -> Draws:
    """Draws of every site from the prior; observed sites are drawn too.

    `sizes` sets plates to other sizes. Parameters take their starting values.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y=None):
    ...     mu = ppl.sample("mu", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> draws = ppl.prior_predictive(model, 0.3, num_samples=200)
    >>> draws["y"].shape
    (200,)
    """
    refuse_own_names(model, ("num_samples", "seed", "sizes"), "prior_predictive")
    check_call(model, args, kwargs)
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(_positive(num_samples)):
        try:
            with handlers.trace() as trace, handlers.seed(rng_seed=rng), _Unobserved(sizes):
                model(*args, **kwargs)
        except ShapeError as error:
            if not sizes:
                raise
            hint = "sizes= for plates whose length no argument fixes, or arguments of the new length"
            raise ShapeError(f"{error.got}, with sizes={dict(sizes)}", error.expected, hint, site=error.site) from None
        check_names("sizes", sizes or (), [s.name for s in trace.values() if s.type == "plate"])
        rows.append({s.name: s.value for s in trace.values() if _kept(s)})
    return Draws(_stacked(rows))


def posterior_predictive(
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    draws: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    plate_sizes: Mapping[str, int],
    new: Sequence[str],
    count: int,
    seed: int,
    hidden: Collection[str],
) -> Draws:
    """Run the model once for each posterior draw, with its observed sites drawn anew."""
    rng = np.random.default_rng(seed)
    fresh: set[str] = set()
    started: set[str] = set()  # parameters with a row per element of a plate that has changed its size
    rows = []
    for k in range(count):

        def value_of(site: Site, k: int = k) -> Any:
            if site.type == "param" and site.name in params:
                if all(plate_sizes.get(p.name) == p.size for p in site.plates):
                    return parameter_rows(params[site.name], site, {})
                started.add(site.name)
                return None
            if site.type != "sample" or site.name not in draws:
                return None
            changed = [p.name for p in site.plates if p.name in new or plate_sizes.get(p.name) != p.size]
            fresh.update(changed)
            return None if changed else draws[site.name][k]

        with (
            handlers.trace() as trace,
            handlers.seed(rng_seed=rng),
            handlers.substitute(substitute_fn=value_of),
            _Unobserved(),  # innermost: substitute sees observed sites as latent ones
        ):
            model(*args, **kwargs)
        known = {*draws, *hidden}
        rows.append({s.name: s.value for s in trace.values() if s.name not in known and _kept(s)})
    notes = [f"plate '{p}' is new: its latent sites are drawn from the prior given the others" for p in sorted(fresh)]
    notes += [
        f"parameter '{n}' has no fitted rows for a plate of this size: its starting value is used"
        for n in sorted(started)
    ]
    return Draws(_stacked(rows), notes=notes)


def _kept(site: Site) -> bool:
    return site.type in ("sample", "deterministic") and not site.options.get("factor")


def _stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = [n for n in rows[0] if all(n in r for r in rows)]
    try:
        return {n: np.stack([np.asarray(r[n]) for r in rows]) for n in names}
    except ValueError:
        raise ModelError(
            "a site whose shape differs from draw to draw", "the same shape in every run of the model"
        ) from None


def _positive(n: Any) -> int:
    if not isinstance(n, int | np.integer) or n < 1:
        raise ModelError(f"num_samples={n!r}", "a whole number of at least 1")
    return int(n)
