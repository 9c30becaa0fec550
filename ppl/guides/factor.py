"""A factor of the variational distribution: one draw, and the sites that it decides.

    noise --base.from_noise--> u --transforms--> values of the sites

`u` is marked on the tape by the factor's name, so that what depends on it can be read off
the program. A mean-field site is a factor of its own; a joint Gaussian is one factor of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..array import Recorded, is_recorded
from ..array.operations import draw_of, sampled
from ..array.recording import concrete
from ..distributions import Distribution, TransformedDistribution, constraints
from ..errors import GuideError
from ..graph import Recorder, family_name
from ..model import PlateFrame, Site


@dataclass(frozen=True)
class Factor:
    """One independent piece of q, as it stands on the tape."""

    name: str
    sites: tuple[str, ...]
    base: Distribution
    noise: Recorded
    noise_kind: str  # "normal", "uniform" or "seed"
    draw: Recorded
    values: dict[str, Any]
    log_jacobians: dict[str, Any]
    posterior: Distribution | None  # q(site), where the factor is one site
    plates: tuple[PlateFrame, ...]
    reparameterized: bool
    origin: str  # "automatic", "in place" or "guide function"
    narrow: str = ""  # the support of the model's site, where the guide's is smaller


@dataclass(frozen=True)
class Sampler:
    """A concrete sampler as `ppl.array.operations.sampled` wants it."""

    rebuild: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    __name__ = "sampler"

    def __call__(self, generator: np.random.Generator, parameters: Sequence[Any]) -> np.ndarray:
        return np.asarray(self.rebuild(tuple(parameters)).sample(generator), dtype=self.dtype)


def single_site(recorder: Recorder, site: Site, q: Distribution, origin: str) -> Factor:
    """The factor q(site), drawn on the recorder's tape."""
    base, transforms = _base(q)
    noise, kind, draw = draw_base(recorder, site.name, base)
    value, log_jacobian = draw, None
    for transform in transforms:
        before, value = value, transform(value)
        step = _over_batch(transform.log_abs_det_jacobian(before, value), q)
        log_jacobian = step if log_jacobian is None else log_jacobian + step
    return Factor(
        site.name,
        (site.name,),
        base,
        noise,
        kind,
        draw,
        {site.name: value},
        {} if log_jacobian is None else {site.name: log_jacobian},
        q,
        site.plates,
        base.reparameterized or getattr(recorder.ways.get(site.name), "smooth", False),
        origin,
    )


def _base(q: Distribution):
    return (q.base_dist, tuple(q.transforms)) if type(q) is TransformedDistribution else (q, ())


def _over_batch(x, q):
    """A log Jacobian summed down to one number per batch element of q."""
    extra = np.ndim(x) - len(q.batch_shape)
    return np.sum(x, axis=tuple(range(-extra, 0))) if extra > 0 else x


def draw_base(recorder: Recorder, name: str, base: Distribution) -> tuple[Recorded, str, Recorded]:
    """Noise input, its kind, and the marked draw of a base distribution."""
    if base.noise is not None:
        way = recorder.ways.get(name)
        way = None if way is None or not way.fits(base) else way
        standard = recorder.rng.standard_normal if base.noise == "normal" else recorder.rng.random
        shape = base.noise_shape if way is None else way.noise_shape(base)
        noise = recorder.tape.input(_given(recorder, name, lambda: standard(shape)), f"{name}.noise")
        draw = base.from_noise(noise) if way is None else way.draw(base, noise)
        return noise, base.noise, mark(recorder, draw, name)
    if not base.has("sample"):
        raise GuideError(
            f"a guide {type(base).__name__} that cannot be drawn from", "a family with a sampler", "Normal", site=name
        )
    arrays, rebuild = base.tree_flatten()
    example = rebuild(tuple(concrete(a) for a in arrays)).sample(recorder.rng)
    noise = recorder.tape.input(_given(recorder, name, lambda: np.int64(recorder.rng.integers(2**62))), f"{name}.seed")
    sampler = Sampler(rebuild, np.shape(example), np.asarray(example).dtype)
    return noise, "seed", mark(recorder, sampled(noise, sampler, *arrays), name)


def _given(recorder: Recorder, name: str, otherwise: Any) -> Any:
    return recorder.noise[name] if name in recorder.noise else otherwise()


def mark(recorder: Recorder, value: Any, name: str) -> Recorded:
    """The draw, marked by its factor's name (a constant draw becomes recorded by that)."""
    if not is_recorded(value):
        return recorder.tape.add(draw_of.run, (value, name))
    return draw_of(value, name)


def check_support(factor: Factor, site: Site) -> Factor:
    """A user's guide must not draw what the site cannot be; where it cannot draw all of that, the factor says so."""
    if site.fn.shape() != np.shape(factor.values[site.name]):
        raise GuideError(
            f"draws of shape {np.shape(factor.values[site.name])} from the guide",
            f"shape {site.fn.shape()} of the site in the model",
            "the same plates and event axes as in the model",
            site=site.name,
        )
    if factor.posterior.is_discrete != site.fn.is_discrete:
        kinds = ("discrete" if d.is_discrete else "continuous" for d in (factor.posterior, site.fn))
        raise GuideError(
            f"a {next(kinds)} guide {family_name_of(factor.posterior)} of a {next(kinds)} site",
            f"a family like {family_name(site)}, with values in {site.fn.support}",
            "Normal for real sites, Bernoulli or Categorical for discrete ones",
            site=site.name,
        )
    if not constraints.within(factor.posterior.support, site.fn.support) and not site.fn.support.depends_on_recorded:
        # (A support that moves with a draw is checked in the density itself.)
        raise GuideError(
            f"a guide {family_name_of(factor.posterior)} with values in {factor.posterior.support}",
            f"values in {site.fn.support}, the support of {family_name(site)} in the model",
            "LogNormal, Beta, or a TransformedDistribution onto the support",
            site=site.name,
        )
    return replace(factor, narrow=str(site.fn.support)) if _narrower(factor.posterior, site.fn) else factor


def _narrower(q: Distribution, p: Distribution) -> bool:
    """Are there values of p, beyond single points, that q never draws?"""
    outer = constraints.bounds(p.support)
    if outer is None or q.is_discrete:
        return False
    inner = constraints.bounds(q.support)
    if inner is None:
        return q.support.depends_on_recorded and outer == (-np.inf, np.inf)
    return bool(np.any(np.asarray(inner[0]) > outer[0]) or np.any(np.asarray(inner[1]) < outer[1]))


def family_name_of(d: Distribution) -> str:
    """Family without the wrappers that only move axes."""
    return type(d.core).__name__
