"""Linear response: the covariances that a mean-field guide leaves out, and where it is too narrow.

A mean-field optimum answers a tilt of the log density, log p + t' z, by moving its locations; how
fast is the covariance of z (Giordano, Broderick and Jordan 2018, "Covariances, robustness, and
variational Bayes", section 3). With H the Hessian of minus the bound in the guide's own
parameters, (loc, log scale), those of the model held where they are,

    Cov(z) = the block of H^-1 that belongs to the locations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..elbo import Objective
from ..errors import ModelError
from ..guides import PRIOR, Joint
from .coordinates import KINDS, Coordinates
from .deterministic import FLAT, LAST, FixedDraws, along, gaussian_sites, inverse_root, lost_digits
from .noise import Stream, generator, whitened
from .stages import Solution

NARROW = 0.8  # share of the linear response's sd from which on the guide's own is called too narrow
SHOWN = 4  # sites that are named
WORK = 40_000_000  # counted cost of a Hessian that is made for a warning alone
DRAWS = 32  # of such a Hessian; in antithetic pairs, so that locations and scales do not mix by chance
LARGEST = 400  # coordinates up to which it is
SHORT = "the factorised guide is too narrow: its sd falls short of the linear response's for {}"


@dataclass(frozen=True)
class Response:
    """Linear response at a mean-field optimum.

    `root` A gives the covariance A A' of the sites' locations, in order; `own` has for each site
    the guide's sds as shares of the linear response's.
    """

    sites: tuple[str, ...]
    root: np.ndarray
    own: dict[str, np.ndarray]
    positive: bool
    error: float
    weakest: str  # along which sites there is the least curvature, in words

    @property
    def narrow(self) -> str:
        """The sites for which the guide is too narrow, and its sd as a share of the linear response's; or ''.

        Too narrow is less than 0.8 of it in some element: further off than a good answer is.
        """
        least = {s: float(np.min(x, initial=np.inf)) for s, x in self.own.items()}
        found = sorted((share, s) for s, share in least.items() if share < NARROW)
        if not found:
            return ""
        shown = [f"{s} ({share:.2g} of it)" for share, s in found[:SHOWN]]
        if len(found) > SHOWN:
            shown.append(f"{len(found) - SHOWN} more")
        return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


def linear_response(f: FixedDraws, where: Coordinates) -> Response:
    """The response of a mean-field guide; zero of f's coordinates, which are `where`, is its optimum."""
    sites = tuple(gaussian_sites(f.objective.derivation))
    every = np.arange(where.size)
    places = [np.concatenate([every[:0], *(every[where.slices[f"{s}.{k}"]] for s in sites)]) for k in KINDS]
    guide = np.concatenate(places)
    found = inverse_root(f.hessian(np.zeros(where.size))[np.ix_(guide, guide)], FLAT)
    root = found.root[: places[0].size]  # in units of the guide's own sds
    scale = np.concatenate([where.starts[f"{s}.scale"].ravel() for s in sites])
    sizes = {s: np.size(where.starts[f"{s}.scale"]) for s in sites}
    shares = np.split(1.0 / np.linalg.norm(root, axis=1), np.cumsum(list(sizes.values()))[:-1])
    weakest = along(f.objective.derivation, np.maximum(*np.split(found.weakest, 2)), sizes)
    own_shares = dict(zip(sites, shares, strict=True))
    return Response(sites, scale[:, None] * root, own_shares, found.positive, found.error, weakest)


def doubts(solution: Solution, seed: int) -> tuple[str, ...]:
    """What there is to say against a Gaussian guide that was fitted by stochastic steps."""
    tril = solution.values.get(f"{Joint.NAME}.scale_tril")
    if solution.interrupted or solution.executor != "numpy":
        return ()
    return _collinear(tril) if tril is not None else _too_narrow(solution.objective, solution.values, seed)


def _collinear(tril: np.ndarray) -> tuple[str, ...]:
    """Whether rounding hides the sds of a full-rank guide: by the precision matrix, scaled to a unit diagonal."""
    try:
        root = np.linalg.inv(tril)
    except np.linalg.LinAlgError:
        return lost_digits(1.0)
    values = np.linalg.svd(root / np.linalg.norm(root, axis=0), compute_uv=False) ** 2
    return lost_digits(0.5 * LAST * len(tril) * np.finfo(float).eps * values[0] / max(values[-1], 1e-300))


def _too_narrow(objective: Objective, values: dict[str, np.ndarray], seed: int) -> tuple[str, ...]:
    """A sentence on the sites that a mean-field guide is too narrow for, where its Hessian is cheap to have."""
    d = objective.derivation
    if d.index_inputs or not objective.climbs or objective.plan.any_score:
        return ()
    where, sites = Coordinates.at(d, values), gaussian_sites(d)
    others = any(f.origin not in ("automatic", PRIOR) for f in d.factors)
    if others or not sites or not all(f"{s}.scale" in where.slices for s in sites) or where.size > LARGEST:
        return ()
    if where.size * DRAWS * objective.values.work > WORK:
        return ()
    noise = whitened(generator(seed, 0, Stream.FIXED), d.factors, DRAWS)
    try:
        found = linear_response(FixedDraws(objective, where.values, where.split(np.zeros(where.size)), noise), where)
    except ModelError:  # an operation without a forward derivative
        return ()
    return (SHORT.format(found.narrow),) if found.positive and found.narrow else ()
