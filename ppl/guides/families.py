"""The guide of closed-form updates: for each site the family that was found, on the site's own axis.

| family | parameters |
|---|---|
| normal | `<site>.loc`, `<site>.scale`; vectors: `<site>.loc`, `<site>.scale_tril`, their axes last and joined |
| gamma of x^p | `<site>.concentration`, `<site>.rate` of y = x^p: a Gamma for p = 1, an inverse gamma for p = -1 |
| normal given its precision y | `<site>.loc`; `<site>.precision_scale` k of k y, or `<site>.scale_tril` at y = 1 |
| beta | `<site>.concentration1`, `<site>.concentration0` |
| Dirichlet | `<site>.concentration` |
| Wishart of X^p | `<site>.concentration`, `<site>.rate_matrix`, the inverse of the Wishart's scale matrix |
| categories | `<site>.probs` |
| chains of several steps | see `chains.py` |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Distribution,
    Gamma,
    InverseWishart,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    TransformedDistribution,
    Wishart,
    constraints,
)
from ..distributions.transforms import PowerTransform
from ..errors import GuideError
from ..graph import Recorder
from ..model import Site
from .automatic import full_size, of_site, point
from .chains import CLOSED, ChainFamily
from .factor import Factor, draw_base, single_site


@dataclass(frozen=True)
class SiteFamily:
    """The family of one site. `event` are the axes of its value that are one vector, `power` that of a gamma."""

    site: str
    kind: str  # "normal", "gamma", "beta", "dirichlet", "wishart", "categories", or "point"
    event: tuple[int, ...] = ()
    power: float = 1.0
    given: str = ""  # the site that is the precision of a "normal given" it


@dataclass(frozen=True)
class Families:
    """An automatic guide: a family for each of these sites, mean-field Normals for what else is latent."""

    sites: tuple[SiteFamily, ...]
    chains: tuple[ChainFamily, ...] = ()

    @classmethod
    def of(cls, rows: Any) -> Families:
        """From `[site, kind, event, power, given]` for each site, and a row of three for each chain, as in files."""
        made = (
            SiteFamily(s, k, tuple(int(i) for i in e), float(p), g)
            for s, k, e, p, g in (r for r in rows if len(r) == 5)
        )
        return cls(tuple(made), tuple(ChainFamily.of(r) for r in rows if len(r) == 3))

    def rows(self) -> list[list]:
        """What `of` makes it from."""
        own = [[f.site, f.kind, list(f.event), f.power, f.given] for f in self.sites]
        return own + [c.row() for c in self.chains]

    def names(self, site: str) -> bool:
        """Has it a family for a site?"""
        return self.find(site) is not None or self.chain(site) is not None

    def chain(self, site: str) -> ChainFamily | None:
        """The chain that a site is in."""
        return next((c for c in self.chains if site in c.sites), None)

    def without(self, sites: Collection[str]) -> Families:
        """The guide without categories at these sites, and without chains of states that are all among them."""
        own = tuple(f for f in self.sites if f.kind != "categories" or f.site not in sites)
        return Families(own, tuple(c for c in self.chains if not (c.count and set(c.sites) <= set(sites))))

    def find(self, site: str) -> SiteFamily | None:
        """The family of a site, if it has one."""
        return next((f for f in self.sites if f.site == site), None)

    def factor(self, recorder: Recorder, site: Site) -> Factor | None:
        """The factor of a site on the tape; None where the guide has no family for it."""
        found = self.find(site.name)
        return None if found is None else _MADE[found.kind](recorder, site, found)


def values_of(
    f: SiteFamily, natural: Mapping[str, np.ndarray], shape: tuple[int, ...], kind: str = ""
) -> dict[str, np.ndarray]:
    """The guide's parameters at natural parameters by statistic, for a site whose value has this shape.

    `kind` of categories: "boolean", "one-hot" or "integer".
    """
    site = f.site
    if f.kind == "normal":
        batch, size = _vector_shape(f, shape)
        order = _order(f, len(shape))
        if not f.event:
            variance = -0.5 / natural["xx"]
            loc = natural["x"] * variance
            return {f"{site}.loc": loc.reshape(shape), f"{site}.scale": np.sqrt(variance).reshape(shape)}
        precision = -2.0 * np.transpose(natural["xx"].reshape(*shape, size), (*order, len(shape))).reshape(
            *batch, size, size
        )
        precision = 0.5 * (precision + np.swapaxes(precision, -1, -2))
        covariance = np.linalg.inv(precision)
        h = np.transpose(natural["x"].reshape(shape), order).reshape(*batch, size)
        loc = np.matmul(covariance, h[..., None])[..., 0]
        return {f"{site}.loc": loc, f"{site}.scale_tril": np.linalg.cholesky(covariance)}
    if f.kind == "gamma":
        a, b = (natural["log"] + 1.0) / f.power, -natural["power"]
        return {f"{site}.concentration": a.reshape(shape), f"{site}.rate": b.reshape(shape)}
    if f.kind == "beta":
        names = ("log", "concentration1"), ("log1m", "concentration0")
        return {f"{site}.{n}": (natural[s] + 1.0).reshape(shape) for s, n in names}
    if f.kind == "wishart":
        freedom, inverse_scale = natural["freedom"], natural["inverse scale"]
        return {
            f"{site}.concentration": freedom.reshape(shape[:-2]),
            f"{site}.rate_matrix": inverse_scale.reshape(shape),
        }
    if f.kind == "dirichlet":
        return {f"{site}.concentration": (natural["log"] + 1.0).reshape(shape)}
    eta = natural["is"] - natural["is"].max(-1, keepdims=True)
    probs = np.exp(eta)
    probs /= probs.sum(-1, keepdims=True)
    probs = np.maximum(probs, np.finfo(float).tiny)  # no category is impossible: log q stays finite
    if kind == "boolean":
        return {f"{site}.probs": probs[..., 1].reshape(shape)}
    lead = shape[:-1] if kind == "one-hot" else shape
    return {f"{site}.probs": probs.reshape(*lead, probs.shape[-1])}


def _order(f: SiteFamily, ndim: int) -> tuple[int, ...]:
    return (*(i for i in range(ndim) if i not in f.event), *f.event)


def _vector_shape(f: SiteFamily, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Batch axes of a site, and how many elements its vectors have."""
    batch = tuple(n for i, n in enumerate(shape) if i not in f.event)
    return batch, int(np.prod([shape[i] for i in f.event], dtype=np.int64))


# -- factors ---------------------------------------------------------------------------------------
def _parameter(
    recorder: Recorder, site: Site, kind: str, shape: tuple[int, ...], start: Any, constraint: Any, event_dim: int
) -> Any:
    """A parameter that starts at the same value for all elements, which takes no memory for each."""
    full = full_size(site, shape, event_dim)
    return of_site(recorder, site, kind, lambda: np.broadcast_to(start, full), constraint, event_dim)


def _normal(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    shape, event_dim = site.fn.shape(), site.fn.event_dim
    if not f.event:
        loc = _parameter(recorder, site, "loc", shape, 0.0, constraints.real, event_dim)
        scale = _parameter(recorder, site, "scale", shape, 1.0, constraints.positive, event_dim)
        return single_site(recorder, site, Normal(loc, scale).to_event(event_dim), CLOSED)
    batch, n = _vector_shape(f, shape)
    if f.event == (len(shape) - 1,) and event_dim:
        loc = _parameter(recorder, site, "loc", shape, 0.0, constraints.real_vector, event_dim)
        tril = _parameter(
            recorder, site, "scale_tril", (*batch, n, n), np.eye(n), constraints.lower_cholesky, event_dim + 1
        )
        q = MultivariateNormal(loc, scale_tril=tril)
        return single_site(recorder, site, q.to_event(event_dim - 1), CLOSED)
    if any(p.subsampled for p in site.plates):
        raise GuideError(
            "one vector across elements of a subsampled plate",
            "elements that are independent",
            'the plate at its full size, or algorithm="bbvi"',
            site=site.name,
        )
    loc = recorder.parameter(f"{site.name}.loc", lambda: np.zeros((*batch, n)), constraints.real_vector)
    tril = recorder.parameter(
        f"{site.name}.scale_tril", lambda: np.broadcast_to(np.eye(n), (*batch, n, n)), constraints.lower_cholesky
    )
    base = MultivariateNormal(loc, scale_tril=tril)
    noise, kind, draw = draw_base(recorder, site.name, base)
    order = _order(f, len(shape))
    value = np.transpose(np.reshape(draw, [shape[i] for i in order]), np.argsort(order).tolist())
    return Factor(site.name, (site.name,), base, noise, kind, draw, {site.name: value}, {}, None, (), True, CLOSED)


def _gamma(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    a, b = (_positive(recorder, site, kind) for kind in ("concentration", "rate"))
    q: Distribution = Gamma(a, b).to_event(site.fn.event_dim)
    if f.power != 1.0:
        q = TransformedDistribution(q, [PowerTransform(1.0 / f.power)])
    return single_site(recorder, site, q, CLOSED)


def _positive(recorder: Recorder, site: Site, kind: str) -> Any:
    return _parameter(recorder, site, kind, site.fn.shape(), 1.0, constraints.positive, site.fn.event_dim)


def _beta(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    a, b = (_positive(recorder, site, f"concentration{i}") for i in (1, 0))
    return single_site(recorder, site, Beta(a, b).to_event(site.fn.event_dim), CLOSED)


def _dirichlet(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    q = Dirichlet(_positive(recorder, site, "concentration"))
    return single_site(recorder, site, q.to_event(site.fn.event_dim - 1), CLOSED)


def _categories(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    core, shape, event_dim = site.fn.core, site.fn.shape(), site.fn.event_dim
    if isinstance(core, Bernoulli):
        probs = _parameter(recorder, site, "probs", shape, 0.5, constraints.unit_interval, event_dim)
        return single_site(recorder, site, Bernoulli(probs=probs).to_event(event_dim), CLOSED)
    hot = isinstance(core, OneHotCategorical)
    categories, lead = core._number, shape[:-1] if hot else shape
    extra = event_dim - hot
    probs = _parameter(recorder, site, "probs", (*lead, categories), 1.0 / categories, constraints.simplex, extra + 1)
    q = (OneHotCategorical if hot else Categorical)(probs=probs)
    return single_site(recorder, site, q.to_event(extra), CLOSED)


def _wishart(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    shape, event_dim = site.fn.shape(), site.fn.event_dim
    n = shape[-1]
    freedom = _parameter(
        recorder, site, "concentration", shape[:-2], n + 1.0, constraints.greater_than(n - 1.0), event_dim - 2
    )
    rate = _parameter(recorder, site, "rate_matrix", shape, np.eye(n), constraints.positive_definite, event_dim)
    q = Wishart(freedom, rate_matrix=rate) if f.power == 1.0 else InverseWishart(freedom, rate)
    return single_site(recorder, site, q.to_event(event_dim - 2), CLOSED)


def _point(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    return point(recorder, site)


def _normal_given(recorder: Recorder, site: Site, f: SiteFamily) -> Factor:
    """x given its precision y: scale (k y)^-1/2, or a factor of the inverse of k Y, or vectors of scale y^-1/2 tril."""
    shape, event_dim = site.fn.shape(), site.fn.event_dim
    y, other = recorder.sites[f.given].value, recorder.sites[f.given].fn.shape()
    loc = _parameter(recorder, site, "loc", shape, 0.0, constraints.real, event_dim)
    if len(other) == len(shape) + 1:
        k = _parameter(recorder, site, "precision_scale", shape[:-1], 1.0, constraints.positive, event_dim - 1)
        q: Distribution = MultivariateNormal(loc, precision_matrix=k[..., None, None] * y)
        return single_site(recorder, site, q.to_event(event_dim - 1), CLOSED)
    if not f.event:
        k = _parameter(recorder, site, "precision_scale", shape, 1.0, constraints.positive, event_dim)
        return single_site(recorder, site, Normal(loc, (k * y) ** -0.5).to_event(event_dim), CLOSED)
    n = shape[-1]
    tril = _parameter(recorder, site, "scale_tril", (*shape, n), np.eye(n), constraints.lower_cholesky, event_dim + 1)
    q = MultivariateNormal(loc, scale_tril=tril * (y**-0.5)[..., None, None])
    return single_site(recorder, site, q.to_event(event_dim - 1), CLOSED)


_MADE = {
    "normal given": _normal_given,
    "point": _point,
    "wishart": _wishart,
    "normal": _normal,
    "gamma": _gamma,
    "beta": _beta,
    "dirichlet": _dirichlet,
    "categories": _categories,
}
