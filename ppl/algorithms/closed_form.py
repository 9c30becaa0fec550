"""What the algorithms with closed-form updates share: recognition, refusals in words, and the Solution."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..conjugacy import Block, Chain, Joint, Recognized, StateChains, recognize, record, sorted_values
from ..conjugacy.families import Betas, Categories, Dirichlets, Normals, NormalWisharts, PowerGammas, Wisharts
from ..conjugacy.free import vector_axes
from ..conjugacy.recognition import MISSING
from ..distributions import biject_to
from ..elbo import Derivation, Objective, Problem, choose, derive
from ..errors import ConjugacyError, ModelError, PPLError
from ..guides import ChainFamily, Families, Part, SiteFamily, values_of
from ..model import RowTable
from .stages import Solution

NO_WEIGHTS = "points have no spread to weigh; ELBO is a bound on log p(data, points)"
MOST = 6  # reasons that are shown
GUIDE = "conjugate"  # what an algorithm with closed-form updates names as its guide


def recognized(
    p: Problem,
    name: str,
    plate_sizes: Mapping[str, int] | None = None,
    hybrid: bool = False,
    blocks: Sequence[tuple[str, ...]] = (),
    points: Collection[str] = (),
) -> Recognized:
    """The model's products and blocks; ConjugacyError with every reason where some of it has no closed form.

    In a `hybrid` latents without a closed form may stand beside those that have one, if they can be drawn smoothly;
    `points` need no draws.
    """
    _check_plain(p, name)
    sizes = {q.name: q.size for q in p.graph.plates.values()} if plate_sizes is None else plate_sizes
    recorded = record(p.model, p.args, p.kwargs, sizes)
    found = recognize(recorded, blocks=blocks, points=points)
    if {*found.free} <= {*points, *recorded.parameters}:
        found = recognize(recorded, 1, blocks, points) if found.free else found
    vectors = [
        [s.fn.shape()[i] for i in _vector(s)]
        for n in found.free
        if n in recorded.sites and n not in points
        for s in [recorded.sites[n]]
        if s.type == "sample"
    ]
    longest = max(map(math.prod, vectors), default=0)
    if 4 * longest > found.draws.size:  # a vector's covariances need draws beyond its length
        found = recognize(recorded, 2 ** math.ceil(math.log2(4 * longest)), blocks, points)
    if not found.blocks and not found.free:
        raise ModelError(
            "a model without latent sites", "latent sites, whose distributions are updated", 'algorithm="map"'
        )
    if not found.whole and not (hybrid and _may_mix(p, found, points)):
        reasons = "; ".join(str(r) for r in (*found.blocked[:4], *found.apart[:2]))
        more = f"; and {len(found.blocked) - 4} more" if len(found.blocked) > 4 else ""
        raise ConjugacyError(
            f"a model with {len(found.blocked)} terms that no closed-form update has: {reasons}{more}",
            "a log density that is a sum of products of sufficient statistics",
            'algorithm="auto"',
            site=found.blocked[0].site,
        )
    return found


def _vector(site: Any) -> tuple[int, ...]:
    """The axes of a free site that are one normal vector."""
    return vector_axes(site) if not site.fn.is_discrete and biject_to(site.fn.support).is_identity else ()


def has_closed_forms(p: Problem) -> bool:
    """Has a model with discrete latent sites, on full plates, closed-form updates of everything?"""
    latent = [s for s in p.sites.values() if s.type == "sample" and not s.is_observed]
    asked = any(s.guide is not None or s.estimator is not None for s in latent)  # for something else
    plain = not asked and not any(q.subsampled for q in p.graph.plates.values())
    if not plain or not any(s.fn.is_discrete for s in latent) or any(s.type == "param" for s in p.sites.values()):
        return False
    try:
        return recognize(record(p.model, p.args, p.kwargs)).whole
    except PPLError:
        return False


def _may_mix(p: Problem, found: Recognized, points: Collection[str]) -> bool:
    """Are there blocks or points beside the free latents, and have these a bijection from the real line?"""
    learned = found.recorded.parameters
    whole = not any(r.why == MISSING for r in found.blocked) and (found.blocks or points or learned)
    known = all(a.kind == "latent" or a.node is not None for a, _ in found.free_factors)
    smooth = all(n in learned or (n in p.sites and not p.sites[n].fn.is_discrete) for n in found.free)
    return bool(whole and known and smooth and not any(q.subsampled for q in p.graph.plates.values()))


def check_latent(found: Recognized, name: str) -> None:
    """These have no point estimates."""
    free = [n for n in found.free if n in found.recorded.parameters]
    learned = next((b.name for b in found.blocks.values() if b.is_parameter), *free[:1] or [None])
    if learned is not None:
        raise ConjugacyError(
            f"the learned parameter '{learned}'",
            f"latent sites alone: {name} has no point estimates",
            'algorithm="em"',
            site=learned,
        )


def _check_plain(p: Problem, name: str) -> None:
    for site in p.sites.values():
        if site.guide is not None:
            raise ConjugacyError(
                f"a guide= in place, with {name}", "sites whose guide is found", 'algorithm="bbvi"', site=site.name
            )


def family_of(b: Block) -> SiteFamily:
    """The guide's family of a block."""
    f = b.family
    if isinstance(f, Normals):
        where = [i for i, n in enumerate(b.shape) if n != 1]
        return SiteFamily(b.name, "normal", tuple(where[i] for i in f.event))
    if isinstance(f, PowerGammas):
        return SiteFamily(b.name, "gamma", (), float(f.power))
    if isinstance(f, Wisharts):
        return SiteFamily(b.name, "wishart", (), float(f.power))
    return SiteFamily(b.name, {Betas: "beta", Dirichlets: "dirichlet", Categories: "categories"}[type(f)])


def parameters(blocks: Mapping[str, Block], natural: Mapping[tuple[str, str], Any]) -> dict[str, np.ndarray]:
    """The guide's parameters at natural parameters."""
    out: dict[str, np.ndarray] = {}
    for n, b in blocks.items():
        if isinstance(b, Chain):
            out.update(sorted_values(b, {s: natural[n, s] for s in b.family.statistics}))
        elif isinstance(b, Joint):
            out.update(_of_joint(b, {s: np.asarray(natural[n, s]) for s in b.family.statistics}))
        elif not b.is_parameter:
            eta = {s: np.asarray(natural[n, s]) for s in b.family.statistics}
            if isinstance(b.family, Wisharts):
                eta = dict(zip(("freedom", "inverse scale"), b.family.natural(eta), strict=True))
            out.update(values_of(family_of(b), eta, b.full_shape, b.discrete))
    return out


def values_of_points(
    p: Problem,
    found: Recognized,
    points: Collection[str],
    natural: Mapping[tuple[str, str], Any],
    free: Mapping[str, np.ndarray],
    blocks: Mapping[str, Block] | None = None,
) -> dict[str, np.ndarray]:
    """The guide's parameters, and the points: modes of their natural parameters, or where they were climbed to."""
    blocks = found.blocks if blocks is None else blocks
    values = {**parameters({n: b for n, b in blocks.items() if n not in points}, natural), **free}
    for n in points:
        b = found.blocks.get(n)
        if b is None:
            if n in found.recorded.parameters:
                values[n] = np.asarray(biject_to(found.recorded.parameters[n].constraint)(values.pop(f"{n}.loc")))
            continue
        x = np.reshape(b.family.mode({s: np.asarray(natural[n, s]) for s in b.family.statistics}), b.shape)
        if b.is_parameter:
            values[n] = x
        else:
            values[f"{n}.loc"] = np.asarray(biject_to(p.sites[n].fn.support).inv(x))
    return values


def _of_joint(b: Joint, eta: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The guide's parameters of a location and its precision."""
    x, y = families_of(b)
    out: dict[str, np.ndarray] = {}
    if isinstance(b.family, NormalWisharts):
        mean, k = b.family.conditional(eta)
        freedom, inverse_scale = Wisharts(1).natural(b.family.marginal(eta))
        out.update(values_of(y, {"freedom": freedom, "inverse scale": inverse_scale}, b.y.shape))
        out[f"{b.x.name}.precision_scale"] = k.reshape(b.x.shape[:-1])
    else:
        mean, covariance, _, _ = b.family.conditional(eta)
        log_y, rate = b.family.marginal(eta)
        out.update(values_of(y, {"log": log_y, "power": rate}, b.y.shape))
        if x.event:
            tril = np.linalg.cholesky(covariance.reshape(*b.x.shape, b.x.shape[-1]))
            out[f"{b.x.name}.scale_tril"] = tril
        else:
            out[f"{b.x.name}.precision_scale"] = 1.0 / covariance.reshape(b.x.shape)
    out[f"{b.x.name}.loc"] = mean.reshape(b.x.shape)
    return out


def naturals(b: Block | Joint, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The natural parameters of a block at the guide's parameters, as `parameters` gives these."""
    own = lambda site, kind: np.asarray(values[f"{site}.{kind}"], dtype=float)
    shape, family = tuple(x.size for x in b.axes), b.family
    if isinstance(b, Joint):
        return _of_pair(b, own)
    if isinstance(family, Normals) and family.event:
        tril = own(b.name, "scale_tril")
        precision = np.linalg.inv(tril @ np.swapaxes(tril, -1, -2))
        first = np.squeeze(precision @ own(b.name, "loc")[..., None], -1)
        like = {s: np.empty([x.size for x in b.statistic_axes(s)]) for s in family.statistics}
        lead = tuple(n for i, n in enumerate(shape) if i not in family.event)
        n = tril.shape[-1]
        second = family._unmatrix(-0.5 * precision.reshape(*lead, n, n), like["xx"])
        return {"x": family._unvector(first.reshape(*lead, n), like["x"]), "xx": second}
    if isinstance(family, Normals):
        precision = own(b.name, "scale").reshape(shape) ** -2.0
        return {"x": own(b.name, "loc").reshape(shape) * precision, "xx": -0.5 * precision}
    if isinstance(family, PowerGammas):
        log, power = own(b.name, "concentration") * family.power - 1.0, -own(b.name, "rate")
        return {"log": log.reshape(shape), "power": power.reshape(shape)}
    if isinstance(family, Betas):
        names = {"log": "concentration1", "log1m": "concentration0"}
        return {s: own(b.name, n).reshape(shape) - 1.0 for s, n in names.items()}
    if isinstance(family, Dirichlets):
        return {"log": own(b.name, "concentration").reshape(shape) - 1.0}
    if isinstance(family, Wisharts):
        n = shape[-1]
        half = 0.5 * (own(b.name, "concentration").reshape(shape[:-2]) - (n + 1))
        log_det = half if family.power == 1 else -half - (n + 1)
        return {"logdet": log_det, "power": -0.5 * own(b.name, "rate_matrix").reshape(shape)}
    probs = own(b.name, "probs")
    hot = np.stack([1.0 - probs, probs], -1) if b.discrete == "boolean" else probs
    return {"is": np.log(hot).reshape(shape)}


def _of_pair(b: Joint, own: Any) -> dict[str, np.ndarray]:
    """The natural parameters of a location and its precision."""
    x, y = b.x.name, b.y.name
    loc = own(x, "loc").reshape([a.size for a in b.x.axes])
    if isinstance(b.family, NormalWisharts):
        k = own(x, "precision_scale").reshape(loc.shape[:-1])
        of_y = naturals(b.y, {f"{y}.{s}": own(y, s) for s in ("concentration", "rate_matrix")})
        outer = k[..., None, None] * loc[..., :, None] * loc[..., None, :]
        return {
            "yxx": -0.5 * k,
            "yx": k[..., None] * loc,
            "power": of_y["power"] - 0.5 * outer,
            "logdet": of_y["logdet"] + 0.5,
        }
    of_y = naturals(b.y, {f"{y}.{s}": own(y, s) for s in ("concentration", "rate")})
    if not b.family.event:
        k = own(x, "precision_scale").reshape(loc.shape)
        of_y = {s: e.reshape(loc.shape) for s, e in of_y.items()}
        half = {"yxx": -0.5 * k, "yx": k * loc, "y": of_y["power"] - 0.5 * k * loc**2}
        return {**half, "log": of_y["log"] + 0.5}
    tril = own(x, "scale_tril").reshape(*loc.shape, loc.shape[-1])
    precision = np.linalg.inv(tril @ np.swapaxes(tril, -1, -2))
    yx = np.squeeze(precision @ loc[..., None], -1)
    y_part = of_y["power"] - 0.5 * np.sum(yx * loc, -1)
    return {"yxx": -0.5 * precision, "yx": yx, "y": y_part, "log": of_y["log"] + 0.5 * loc.shape[-1]}


def families_of(b: Block | Joint) -> tuple[SiteFamily, ...]:
    """The guide's families of a block: two where it is joint, the precision first."""
    if not isinstance(b, Joint):
        return (family_of(b),)
    matrix = isinstance(b.family, NormalWisharts)
    event = () if matrix or not b.family.event else (len(b.x.shape) - 1,)
    return SiteFamily(b.x.name, "normal given", event, 1.0, b.y.name), SiteFamily(
        b.y.name, "wishart" if matrix else "gamma"
    )


def chain_of(b: Chain) -> ChainFamily:
    """The guide's family of a chain."""
    whole = lambda x: tuple(int(i) for i in np.ravel(x))
    parts = tuple(Part(m.name, m.time, m.event, whole(m.nodes if m.places is None else m.places)) for m in b.members)
    if isinstance(b.family, StateChains):
        return ChainFamily(parts, b.family.states)
    return ChainFamily(parts, 0, whole(b.family.sizes))


def finished(
    p: Problem,
    found: Recognized,
    values: Mapping[str, np.ndarray],
    *,
    bound: float | None,
    terms: Mapping[str, float],
    entropy: Mapping[str, float],
    history: Sequence[float],
    reason: str,
    converged: bool,
    notes: Sequence[str] = (),
    seed: int = 0,
    points: Collection[str] = (),
    no_weights: str = "",
    gradients: int = 0,
) -> Solution:
    """The solution with the guide of the families that were found."""
    latent = [b for b in found.blocks.values() if not b.is_parameter]
    spread = [b for b in latent if b.name not in points]
    own = (f for b in spread if not isinstance(b, Chain) for f in families_of(b))
    sites = [found.recorded.sites[n] for n in found.free if n not in found.recorded.parameters]
    vectors = [SiteFamily(s.name, "normal", at) for s in sites if s.name not in points and (at := _vector(s))]
    at_points = [n for n in (*(b.name for b in latent), *(s.name for s in sites)) if n in points]
    chains = tuple(chain_of(b) for b in spread if isinstance(b, Chain))
    guide = Families((*own, *(SiteFamily(n, "point") for n in at_points), *vectors), chains)
    exact = replace(p, dtype=np.dtype(np.float64))
    d = derive(exact, guide, seed=seed)
    by_text = _by_text(d, terms, entropy)
    return Solution(
        {n: values[n] if isinstance(values[n], RowTable) else np.asarray(values[n]) for n in d.parameters},
        np.asarray(history),
        reason,
        converged,
        len(history),
        Objective(d, choose(d)),
        "numpy",
        (*_described(found, points), *notes),
        guide=guide,
        bound=bound,
        terms=by_text,
        no_weights=no_weights,
        symmetries=_symmetries(found),
        gradients=gradients,
    )


def _symmetries(found: Recognized) -> tuple[str, ...]:
    """In words, why a posterior may have several equal modes: labels in another order, factors turned or mirrored."""
    blocks, out, met = found.blocks, [], {}
    for p in found.products:
        labels = {o.labels[-1]: o.block for o in p.operands if _hot(blocks, o)}
        picked = {labels[x] for o in p.operands if not _hot(blocks, o) for x in o.labels[:-1] if x in labels}
        out += [f"the labels of {z} may be exchanged: the fit describes one of the orders" for z in picked]
        normals = [o for o in p.operands if isinstance(getattr(blocks.get(o.block), "family", None), Normals)]
        for o in normals:
            if o.statistic == "x" and p.site not in blocks[o.block].sites:
                others = {q.block for q in normals if q is not o and q.statistic == "x"}
                met[o.block] = met.get(o.block, others) & others
    for n, others in met.items():
        for other in sorted(others):
            if n in met.get(other, ()) and n < other:
                both = f"factors {n} and {other} may be turned and mirrored together"
                out.append(f"{both}: read their product, not each by itself")
    return tuple(dict.fromkeys(out))


def _hot(blocks: Mapping[str, Any], o: Any) -> bool:
    return isinstance(getattr(blocks.get(o.block), "family", None), Categories)


def _by_text(d: Derivation, terms: Mapping[str, float], entropy: Mapping[str, float]) -> dict[str, float]:
    """The exact values of the derivation's terms."""
    out = {}
    whole = {t.site for t in d.terms if t.kind == "log Jacobian"}
    for t in d.terms:
        if t.kind == "log p" and not np.isnan(terms.get(t.site, 0.0)):  # else known of several sites together
            out[t.text] = terms.get(t.site, 0.0)
        elif t.kind == "KL":
            out[t.text] = terms.get(t.site, 0.0) + entropy.get(t.site, 0.0)
        elif t.kind == "entropy" and t.site not in whole:
            out[t.text] = entropy.get(t.site, 0.0)
    return out


def _described(found: Recognized, points: Collection[str]) -> list[str]:
    """Which block is updated how, in words."""
    by_family: dict[str, list[str]] = {}
    for b in found.blocks.values():
        if b.name in points:
            by_family.setdefault("a point", []).append(b.name)
        elif not b.is_parameter:
            by_family.setdefault(_in_words(b), []).append(b.name)
    each = "; ".join(f"{', '.join(names)}: {family}" for family, names in by_family.items())
    apart = [f"no structured block: {r}" for r in found.apart[:MOST]]
    if not found.free:
        return [*([f"closed-form updates of everything: {each}"] if each else []), *apart]
    fixed = [n for n in found.free if n in points or n in found.recorded.parameters]
    sites = [found.recorded.sites[n] for n in found.free if n not in fixed]
    real = [s.name + " (one vector)" * bool(_vector(s)) for s in sites if biject_to(s.fn.support).is_identity]
    others = [s.name for s in sites if not biject_to(s.fn.support).is_identity]
    rest = [f"{', '.join(real)}: Normals, by natural gradients in their mean parameters, on fixed draws"] * bool(real)
    climbed = f"{', '.join(others)}: Normals on the unconstrained axis, by quasi-Newton steps on fixed draws"
    rest += [climbed] * bool(others)
    rest += [f"{', '.join(fixed)}: points, by quasi-Newton steps"] * bool(fixed)
    return [
        f"closed-form updates of some sites: {each}",
        *rest,
        *(f"no closed form: {r}" for r in found.blocked[:MOST]),
        *apart,
    ]


def _in_words(b: Block) -> str:
    f = b.family
    if isinstance(b, Joint):
        return "one block, a normal given its precision"
    if isinstance(b, Chain):
        how = "forward-backward" if isinstance(b.family, StateChains) else "Kalman smoothing"
        steps = max(int(m.nodes.max()) for m in b.members) + 1
        return f"a chain of {steps} steps, one block by {how}"
    if isinstance(f, Normals):
        return (
            f"normal, with a full covariance along {'its axes' if len(f.event) > 1 else 'an axis'}"
            if f.event
            else "normal"
        )
    if isinstance(f, PowerGammas):
        return {1: "gamma", -1: "inverse gamma"}.get(f.power, f"{b.name}^{f.power:g} is a gamma")
    if isinstance(f, Wisharts):
        return "Wishart" if f.power == 1 else "inverse Wishart"
    return {Betas: "beta", Dirichlets: "Dirichlet", Categories: "categories"}[type(f)]
