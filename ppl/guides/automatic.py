"""Automatic guides: what q is where the user says nothing.

| guide | factors | parameters |
|---|---|---|
| "meanfield" | one Normal per continuous site, on the unconstrained axis | `<site>.loc`, `<site>.scale` |
| "fullrank" | one Gaussian over all continuous sites outside subsampled plates | `_joint.loc`, `_joint.scale_tril` |
| "lowrank" | the same, W W' + diag(scale^2) of rank sqrt(n) | `_joint.loc`, `_joint.cov_factor`, `_joint.scale` |
| "amortized" | networks for the local sites of plates from what is observed there | see `amortized.py` |
| "point" | a point for each continuous site: no spread, no Jacobian | `<site>.loc` |
| all but "point" | Bernoulli and Categorical sites keep their own family | `<site>.probs` |

The unconstrained axis is that of `biject_to(support)`: the logarithm for positive sites, stick
breaking for simplexes. Parameters of sites in a subsampled plate hold all rows of the plate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..array import Recorded
from ..array.recording import concrete
from ..distributions import (
    Bernoulli,
    Categorical,
    Delta,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    TransformedDistribution,
    biject_to,
    constraints,
)
from ..errors import GuideError
from ..graph import ModelGraph, Recorder
from ..model import Site, row_axes
from ..model.missing import MissingEntries
from .factor import Factor, draw_base, single_site

INITIAL_SCALE = 0.1
PRIOR = "the model"  # the origin of a factor that is the model's own conditional
NOISE = "noise"  # that of a factor without a site


def unconstrained_shape(site: Site) -> tuple[int, ...]:
    """Shape of a continuous site on the unconstrained axis, the rows in use only."""
    return tuple(biject_to(site.fn.support).inverse_shape(site.fn.shape()))


def of_site(
    recorder: Recorder, site: Site, kind: str, init: Callable[[], Any], constraint: Any, event_dim: int
) -> Recorded:
    """The parameter `<site>.<kind>`, in the rows in use; `init` gives all rows of the site's plates."""
    return recorder.parameter(
        f"{site.name}.{kind}", init, constraint, lambda ndim: row_axes(site.plates, ndim - event_dim)
    )


def full_size(site: Site, shape: tuple[int, ...], event_dim: int) -> tuple[int, ...]:
    """A shape with every subsampled plate at its full size."""
    out = list(shape)
    for p in site.plates:
        out[len(shape) - event_dim + p.dim] = p.size
    return tuple(out)


def mean_field(recorder: Recorder, site: Site) -> Factor:
    """q(site) = T(Normal(loc, scale)), or the site's own family where it is finite."""
    if site.fn.is_discrete:
        return _discrete(recorder, site)
    transform = biject_to(site.fn.support)
    shape = unconstrained_shape(site)
    event_dim = len(shape) - len(site.fn.batch_shape)
    full = full_size(site, shape, event_dim)
    loc = of_site(recorder, site, "loc", lambda: _centre(site, transform, full), constraints.real, event_dim)
    scale = of_site(recorder, site, "scale", lambda: np.full(full, INITIAL_SCALE), constraints.positive, event_dim)
    q = Normal(loc, scale).to_event(event_dim)
    if not transform.is_identity:
        q = TransformedDistribution(q, [transform])
    return single_site(recorder, site, q, "automatic")


def _centre(site: Site, transform: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Where the guide of a site stands at first: the middle of the axis, or for weights where their network starts."""
    start = site.options.get("start")
    inside = start is not None and np.all(site.fn.support(start)) and not site.fn.support.depends_on_recorded
    return np.array(transform.inverse(start)) if inside else np.zeros(shape)


def point(recorder: Recorder, site: Site) -> Factor:
    """q(site) = all mass at T(loc)."""
    if site.fn.is_discrete:
        raise GuideError(
            f"a point for a latent {type(site.fn.core).__name__}",
            "continuous latent sites, whose density can be climbed",
            'guide="meanfield", or the site summed out by hand',
            site=site.name,
        )
    transform = biject_to(site.fn.support)
    shape = unconstrained_shape(site)
    event_dim = len(shape) - len(site.fn.batch_shape)
    full = full_size(site, shape, event_dim)
    loc = of_site(recorder, site, "loc", lambda: _centre(site, transform, full), constraints.real, event_dim)
    return single_site(recorder, site, Delta(transform(loc), event_dim=site.fn.event_dim), "automatic")


def from_prior(recorder: Recorder, site: Site) -> Factor:
    """q(missing entries) = p(missing entries | the rest), where nothing else reads them."""
    noise, kind, draw = draw_base(recorder, site.name, site.fn.whole)
    values = {site.name: site.fn.of(draw)}
    return Factor(
        site.name, (site.name,), site.fn.whole, noise, kind, draw, values, {}, site.fn, (), kind != "seed", PRIOR
    )


def own_noise(recorder: Recorder, site: Site) -> Factor:
    """Noise that a network asks for, as for dropout: a factor of q that decides no site."""
    # Its draw is not marked as one: it has no parameters, so that a jump behind it asks for no score.
    shape, known = site.fn.event_shape, recorder.noise.get(site.name)
    noise = recorder.tape.input(recorder.rng.random(shape) if known is None else known, site.name)
    return Factor(site.name, (), site.fn, noise, "uniform", noise, {}, {}, site.fn, (), True, NOISE)


def _discrete(recorder: Recorder, site: Site) -> Factor:
    fn = site.fn.core
    lacking = isinstance(fn, MissingEntries)
    fn = fn.whole.core if lacking else fn
    event_dim = site.fn.event_dim
    if isinstance(fn, Bernoulli):
        full = full_size(site, site.fn.shape(), event_dim)
        probs = of_site(recorder, site, "probs", lambda: np.full(full, 0.5), constraints.unit_interval, event_dim)
        q = Bernoulli(probs=probs).to_event(event_dim)
    elif isinstance(fn, Categorical | OneHotCategorical):
        categories = np.shape(concrete(fn.probs))[-1]
        lead = site.fn.shape() if isinstance(fn, Categorical) else site.fn.shape()[:-1]
        extra = event_dim - isinstance(fn, OneHotCategorical)
        full = (*full_size(site, lead, extra), categories)
        # Slightly unequal, by the seed: equal components would stay equal for ever.
        probs = of_site(recorder, site, "probs", lambda: _near_uniform(recorder, full), constraints.simplex, extra + 1)
        family = Categorical if isinstance(fn, Categorical) else OneHotCategorical  # not its ordered kinds
        q = family(probs=probs).to_event(extra)
    else:
        raise GuideError(
            f"missing entries of {type(fn).__name__}, which other sites read"
            if lacking
            else f"a latent {type(fn).__name__}",
            "a continuous family, Bernoulli or Categorical, for which there are automatic guides",
            "dropping these rows, or a guide function that draws this site"
            if lacking
            else "guide= in place, or a guide function that draws this site",
            site=site.name,
        )
    return single_site(recorder, site, q, "automatic")


def _near_uniform(recorder: Recorder, shape: tuple[int, ...]) -> np.ndarray:
    weights = 1.0 + 0.1 * recorder.rng.random(shape)
    return weights / weights.sum(-1, keepdims=True)


class Joint:
    """One Gaussian over all continuous sites that have a fixed number of rows: of full rank, or of low."""

    NAME = "_joint"

    def __init__(self, kind: str, graph: ModelGraph, shapes: dict[str, tuple[int, ...]]):
        self.kind = kind
        inside = [s for s in shapes if not any(graph.plates[p].subsampled for p in graph.nodes[s].plates)]
        ends = np.cumsum([0] + [int(np.prod(shapes[s])) for s in inside])
        self.slices = {s: slice(int(a), int(b)) for s, a, b in zip(inside, ends, ends[1:], strict=False)}
        self.shapes, self.size = shapes, int(ends[-1])
        self.factor: Factor | None = None

    def latent(self, recorder: Recorder, site: Site) -> Factor | None:
        """The joint factor when the first of its sites comes; values of the others are added to it."""
        if self.factor is None:
            base = self._base(recorder)
            noise, kind, draw = draw_base(recorder, self.NAME, base)
            self.factor = Factor(
                self.NAME, tuple(self.slices), base, noise, kind, draw, {}, {}, None, (), True, "automatic"
            )
        transform = biject_to(site.fn.support)
        u = np.reshape(self.factor.draw[self.slices[site.name]], self.shapes[site.name])
        value = transform(u)
        self.factor.values[site.name] = value
        if not transform.is_identity:
            self.factor.log_jacobians[site.name] = transform.log_abs_det_jacobian(u, value)
        return self.factor

    def _base(self, recorder: Recorder) -> MultivariateNormal | LowRankMultivariateNormal:
        n = self.size
        loc = recorder.parameter(f"{self.NAME}.loc", lambda: np.zeros(n), constraints.real_vector)
        if self.kind == "fullrank":
            tril = recorder.parameter(
                f"{self.NAME}.scale_tril", lambda: INITIAL_SCALE * np.eye(n), constraints.lower_cholesky
            )
            return MultivariateNormal(loc, scale_tril=tril)
        # Not zero: there the gradient in the factor is zero, too.
        start = lambda: 0.1 * INITIAL_SCALE * recorder.rng.standard_normal((n, low_rank(n)))
        factor = recorder.parameter(f"{self.NAME}.cov_factor", start, constraints.independent(constraints.real, 2))
        scale = recorder.parameter(f"{self.NAME}.scale", lambda: np.full(n, INITIAL_SCALE), constraints.positive)
        return LowRankMultivariateNormal(loc, factor, scale * scale)


def low_rank(n: int) -> int:
    """The rank of a low-rank guide over n dimensions."""
    return max(1, round(n**0.5))
