"""Reparameterizers for `handlers.reparam`: the same model, written so that a guide fits it better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..distributions import TransformedDistribution, constraints
from ..errors import ModelError
from .primitives import param, sample
from .scanned import ScannedDistribution
from .site import Site


@dataclass(frozen=True)
class LocScaleReparam:
    """Draw a location-scale site as loc^c, scale^c, and shift and scale the draw afterwards.

    z_dec ~ D(c loc, scale^c),  z = loc + scale^(1-c) (z_dec - c loc).

    `centered=1` leaves the site as it is, 0 is the non-centred form, an array has its own c for
    every element, None learns them (Gorinova, Moore and Hoffman 2020, "Automatic
    reparameterisation of probabilistic programs").

    Raises
    ------
    ModelError
        for an observed site, one inside `ppl.scan`, or a family without loc and scale.

    >>> import ppl, ppl.distributions as dist
    >>> def model():
    ...     return ppl.sample("z", dist.Normal(10.0, 3.0))
    >>> written = ppl.handlers.reparam(model, config={"z": LocScaleReparam(0)})
    >>> list(ppl.handlers.trace(ppl.handlers.seed(written, 0)).get_trace())
    ['z_decentered', 'z']
    """

    centered: Any = None

    def __call__(self, site: Site) -> Site:
        if site.is_observed:
            raise ModelError("a reparameterized observation", "a latent site", "a config without it", site=site.name)
        core = site.fn.core
        if isinstance(site.fn, ScannedDistribution):
            raise ModelError(
                "LocScaleReparam of a site inside ppl.scan",
                "a site outside of it",
                "sample standard noise in the step, and write loc + scale * noise",
                site=site.name,
            )
        arguments = core.parameters
        if not {"loc", "scale"} <= set(arguments):
            raise ModelError(
                f"LocScaleReparam of {type(core).__name__}",
                "a family with loc and scale",
                "Normal, StudentT, Cauchy, Laplace, Logistic or Gumbel",
                site=site.name,
            )
        if np.ndim(self.centered) == 0 and self.centered == 1:
            return site
        loc, scale = arguments["loc"], arguments["scale"]
        c: Any = self.centered
        if c is None:  # one for every element; in a plate `param` has the rows by itself
            own = () if site.plates else core.shape()
            c = param(f"{site.name}_centered", np.full(own, 0.5), constraints.unit_interval, event_dim=len(own))
        # Written out for c = 0, so that the auxiliary site visibly depends on nothing.
        plain = np.ndim(self.centered) == 0 and self.centered == 0
        moved = {"loc": 0.0, "scale": 1.0} if plain else {"loc": c * loc, "scale": scale**c}
        decentred = type(core)(**{**arguments, **moved}).expand(core.batch_shape)
        z = sample(f"{site.name}_decentered", decentred.to_event(site.fn.event_dim - core.event_dim))
        value = loc + scale * z if plain else loc + scale ** (1 - c) * (z - c * loc)
        return replace(site, type="deterministic", fn=None, value=value)


@dataclass(frozen=True)
class TransformReparam:
    """Draw the base of a transformed distribution, and transform the draw.

    z_base ~ D,  z = T(z_base).

    Raises
    ------
    ModelError
        for a site that is no `TransformedDistribution`.

    >>> import ppl, ppl.distributions as dist
    >>> def model():
    ...     return ppl.sample("z", dist.TransformedDistribution(dist.Normal(), dist.transforms.ExpTransform()))
    >>> written = ppl.handlers.reparam(model, config={"z": TransformReparam()})
    >>> sites = ppl.handlers.trace(ppl.handlers.seed(written, 0)).get_trace()
    >>> bool(np.isclose(sites["z"].value, np.exp(sites["z_base"].value)))
    True
    """

    def __call__(self, site: Site) -> Site:
        if not isinstance(site.fn, TransformedDistribution):
            raise ModelError(
                f"TransformReparam of {type(site.fn).__name__}",
                "a TransformedDistribution",
                "a config without this site",
                site=site.name,
            )
        value = sample(f"{site.name}_base", site.fn.base_dist)
        for transform in site.fn.transforms:
            value = transform(value)
        return replace(site, type="deterministic", fn=None, value=value)
