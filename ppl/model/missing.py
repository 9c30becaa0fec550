"""Observations with missing entries.

    obs, missing --Gaps--> value = where(missing, <site>_unobserved, obs)

The density of the site is that of the completed value, so that nothing need be known of the family;
the latent site holds the missing entries and adds no density of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..array import is_recorded
from ..array.recording import value_at
from ..distributions import Distribution, constraints
from ..distributions.base import MaskedDistribution
from ..errors import DataError, ShapeError
from .site import Site

PART = 1 << 20  # rows of data that are looked at together


class MissingEntries(Distribution):
    """The law of what an observation of `whole` lacks: drawn with the whole, and no density of its own.

    `places` are the numbers of the missing entries, or None for a site of which any entry may be
    missing (a minibatch). The density stands at the observed site, for the completed value.

    >>> from ppl.distributions import Normal
    >>> d = MissingEntries(Normal(np.zeros(4), 1.0), np.array([1, 3]), 0)
    >>> d.batch_shape, d.log_prob(np.zeros(2))
    ((2,), array([0., 0.]))
    """

    arg_constraints = {}

    def __init__(self, whole: Distribution, places: np.ndarray | None, event_dim: int):
        batch = whole.shape()[: len(whole.shape()) - event_dim]
        self.whole, self.places = whole, places
        shape = batch if places is None else (len(places),)
        super().__init__({}, batch_shape=shape, event_shape=whole.shape()[len(batch) :], validate_args=False)

    @property
    def support(self):
        """The support of the whole, at the missing entries."""
        support = _of_one(self.whole.support, self.event_dim)
        if self.places is None:
            return support
        leaves, build = support.tree_flatten()
        return build([self.of(x) if np.ndim(x) else x for x in leaves]) if leaves else support

    def of(self, value: Any) -> Any:
        """The missing entries of a whole value."""
        if self.places is None:
            return value
        event = self.event_shape
        full = self.whole.shape()
        value = value if np.shape(value) == full else np.broadcast_to(value, full)
        return np.reshape(value, (-1, *event))[self.places]

    def has(self, name: str) -> bool:
        """It can be drawn where the whole can; nothing else is known."""
        return name == "sample" and self.whole.has("sample")

    def _draw(self, rng, sample_shape):
        draws = [self.of(self.whole.sample(rng)) for _ in range(int(np.prod(sample_shape, dtype=int)))]
        return np.reshape(draws, self.shape(sample_shape))

    def _log_density(self, value):
        return 0.0

    def tree_flatten(self):
        arrays, rebuild = self.whole.tree_flatten()
        return arrays, lambda a: MissingEntries(rebuild(a), self.places, self.event_dim)

    def __repr__(self) -> str:
        return f"MissingEntries({self.whole!r})"


def _of_one(support: constraints.Constraint, event_dim: int) -> constraints.Constraint:
    while isinstance(support, constraints.Independent) and support.event_dim > event_dim:
        support = support.base
    return support


@dataclass(frozen=True)
class Gaps:
    """An observation that lacks entries.

    `values` has some point of the support where an entry is `missing`; `whole_events` says which
    events lack everything, and is None where one lacks a part; `all_missing`: nothing is observed.
    """

    obs: Any
    values: Any
    missing: Any
    whole_events: Any
    entry_dim: int  # axes of what is missing or there as one: 0, or a simplex's, say
    all_missing: bool

    def completed(self, site: Site, latent: Any) -> Site:
        """The site with its missing entries: what `latent(site)` gives for the site of these entries."""
        d, missing = site.fn, self.missing
        while isinstance(d, MaskedDistribution):  # what no density counts is not missed
            mask = d.parameters["mask"]
            missing = missing & (np.reshape(mask, np.shape(mask) + (1,) * d.event_dim) if np.ndim(mask) else mask)
            d = d.base_dist
        options = {k: v for k, v in site.options.items() if k not in ("incomplete", "lacks")}
        if not is_recorded(missing) and not np.any(missing):
            return replace(site, value=self.obs, options=options)
        axes = tuple(range(-self.entry_dim, 0))
        each = np.any(missing, axis=axes) if axes else missing
        by_row = is_recorded(missing) or (site.plates and d.is_discrete and bool(np.all(each)))  # all of them are rows
        places = None if by_row else np.flatnonzero(each)
        entries = latent(part_name(site.name), MissingEntries(d, places, self.entry_dim))
        if places is not None:
            where = np.clip(np.cumsum(each) - 1, 0, None).reshape(np.shape(each))
            entries = entries[where]
        options["gaps"] = replace(self, missing=missing)
        return replace(site, value=np.where(missing, entries, self.values), options=options)


@dataclass(frozen=True)
class Parts:
    """The known data behind a minibatch, of which large ones are gone through in parts: (where it begins, rows)."""

    value: Any
    sizes: Mapping[int, int]  # of plates, by their indices' identity
    first: Any

    @classmethod
    def of(cls, value: Any, sizes: Mapping[int, int]) -> Parts | None:
        """None where it depends on more than plates' indices."""
        first = value_at(value, {k: np.arange(min(n, PART)) for k, n in sizes.items()})
        return None if first is None else cls(value, sizes, first)

    @property
    def axis(self) -> int | None:
        """The axis that is gone through; None where the first part is all there is, or rows are mixed."""
        at = [i for i, n in enumerate(np.shape(self.first)) if n == PART]
        return at[0] if len(self.sizes) == len(at) == 1 and max(self.sizes.values()) > PART else None

    def __iter__(self) -> Iterator[tuple[np.ndarray, Any]]:
        begins = np.zeros(np.ndim(self.first), int)
        at = self.axis
        if at is None:
            yield begins, self.whole()
            return
        yield begins, self.first
        ((key, size),) = self.sizes.items()
        for start in range(PART, size, PART):
            begins = begins.copy()
            begins[at] = start
            yield begins, value_at(self.value, {key: np.arange(start, min(start + PART, size))})

    def whole(self) -> Any:
        """All rows."""
        if all(n <= PART for n in self.sizes.values()):
            return self.first
        return value_at(self.value, {k: np.arange(n) for k, n in self.sizes.items()})

    def lacks(self) -> np.ndarray | None:
        """Where entries are NaN, if any are."""
        return np.isnan(self.whole()) if any(lacks_any(rows) for _, rows in self) else None


def gaps_of(name: str, d: Distribution, obs: Any, obs_mask: Any, nan: Any) -> Gaps | None:
    """What an observation lacks, or None. `nan`: where the known data behind a minibatch are NaN, if any are."""
    if not is_recorded(obs):
        nan = np.isnan(obs) if lacks_any(obs) else None
    if (nan is None and obs_mask is None) or np.shape(obs) not in (d.shape(), ()):  # `sample` says what is wrong
        return None
    obs = np.broadcast_to(obs, d.shape()) if np.shape(obs) != d.shape() else obs
    missing = np.zeros(d.shape(), bool) if nan is None else np.isnan(obs)
    if obs_mask is not None:
        missing = missing | np.logical_not(_mask(name, d, obs_mask))
    if not is_recorded(missing):
        nan = missing
        if not np.any(missing):
            return None
    axes = tuple(range(-d.event_dim, 0))
    partly = bool(axes) and nan is not None and bool(np.any(np.any(nan, axis=axes) != np.all(nan, axis=axes)))
    entry_dim = _of_one(d.support, 0).event_dim
    if partly and (entry_dim or d.is_discrete or is_recorded(missing)):
        raise DataError(
            f"an observation that lacks a part of one value of {type(d.core).__name__}",
            f"values of event shape {d.event_shape} that are there, or missing, as a whole",
            "dropping such rows, or marking the whole row by obs_mask of the batch's shape",
            site=name,
        )
    values = np.where(missing, d.support.feasible_like(obs), obs)
    if not is_recorded(obs):
        obs = np.array(obs)
        obs.flags.writeable = False  # it is known again by its identity
    whole = None if partly else np.any(missing, axis=axes) if axes else missing
    return Gaps(obs, values, missing, whole, entry_dim, nan is not None and bool(np.all(nan)))


def part_name(site: str) -> str:
    """The name of the latent site with the missing entries of an observed one."""
    return f"{site}_unobserved"


def lacks_any(obs: Any) -> bool:
    """Are there NaN entries in an array?"""
    return not is_recorded(obs) and np.asarray(obs).dtype.kind == "f" and bool(np.any(np.isnan(obs)))


def _mask(name: str, d: Distribution, obs_mask: Any) -> Any:
    """`obs_mask` at the shape of the observation."""
    mask = obs_mask if is_recorded(obs_mask) else np.asarray(obs_mask)
    if mask.dtype != bool:
        raise DataError(
            f"obs_mask of type {mask.dtype}",
            "booleans, True where observed",
            "obs_mask=~np.isnan(y), or mask.astype(bool)",
            site=name,
        )
    for shape, lead in ((d.batch_shape, d.event_dim), (d.shape(), 0)):
        if np.shape(mask) in (shape, ()):
            return np.broadcast_to(np.reshape(mask, np.shape(mask) + (1,) * lead) if np.ndim(mask) else mask, d.shape())
    raise ShapeError(
        f"obs_mask of shape {np.shape(mask)}",
        f"shape {d.batch_shape}" + (f", or {d.shape()} for single entries" if d.event_dim else "") + ", as obs has it",
        "obs_mask=mask[i] in a subsampled plate" if np.ndim(mask) else "one boolean for each observation",
        site=name,
    )


def plain(obs: Any) -> Any:
    """An observation as an array: NaN for what is masked, None or NA."""
    if isinstance(obs, np.ma.MaskedArray):
        if not np.ma.is_masked(obs):
            return np.asarray(obs.data)
        return np.ma.filled(obs.astype(np.result_type(obs.dtype, np.float32)), np.nan)
    value = np.asarray(obs)
    if value.dtype == object and any(map(_is_absent, value.ravel())):
        flat: Sequence[Any] = [np.nan if _is_absent(v) else v for v in value.ravel()]
        if all(isinstance(v, int | float | np.integer | np.floating) for v in flat):
            return np.array(flat, dtype=float).reshape(value.shape)
    return value


def _is_absent(x: Any) -> bool:
    return x is None or type(x).__name__ in ("NAType", "NaTType")
