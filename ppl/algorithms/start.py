"""A good start: a short deterministic optimisation with fixed draws, before the stochastic one.

With its draws fixed the bound is an ordinary function, and a quasi-Newton method comes close to
its maximum in tens of gradients. What it finds is only a start, and a measure of each
coordinate's posterior scale; the stochastic steps that follow remove the bias of the fixed draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..array import compile_program
from ..elbo import Derivation, Objective, Problem, choose, derive
from ..errors import ModelError
from ..guides import Joint
from ..model import rows_key
from .coordinates import KINDS, Coordinates
from .deterministic import FixedDraws, inverse_root, triangle
from .lbfgs import Descent, minimize
from .noise import Stream, generator, whitened

WORK = 4_000_000  # counted cost that one gradient with fixed draws may have
MANY_ROWS = 10_000  # rows of a subsampled plate to start from
CHEAP = 1_000_000  # counted cost of a gradient up to which several starting points are tried
CALL = 500  # elements that one more operation costs as much as
LARGEST_DENSE = 1000  # latent dimension up to which curvature is asked for
STEP = 1e-3  # of a standard deviation, for differences of the gradient
LOW = 1e-4  # curvature, in units of the mean-field guide, from which on it is looked at more closely
NEWTON = 5  # steps at most, with one Hessian
FAR_OFF = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # widths of starts that look for other modes
DISTANT = 5.0  # sds of the mode, by its curvature on the way, from which on another lies apart
RIVAL = 4.0  # nats below the best bound up to which another optimum has a part of the posterior
APART = 4.0  # Bhattacharyya's distance from which two guides hardly overlap
BARRIER = 1.0  # nats by which the bound must fall half-way
ENOUGH = 1e-4  # nats that the next step must promise


class Start(NamedTuple):
    """Where a run starts, in words how that was found, and what it says against the answer."""

    values: dict[str, np.ndarray]
    how: str
    doubts: tuple[str, ...] = ()
    gradients: int = 0


class Optimum(NamedTuple):
    """Parameter values, the steps it took to find them, and a sentence on a rival, if there is one."""

    values: dict[str, np.ndarray]
    steps: int
    doubts: tuple[str, ...] = ()
    gradients: int = 0  # at single draws


def good_start(
    p: Problem,
    guide: Any,
    d: Derivation,
    objective: Objective,
    seed: int,
    flat: tuple[Objective, dict[str, np.ndarray]] | None = None,
) -> Start:
    """Starting values of the parameters.

    `flat` is the mean-field objective and its optimum, where a full-rank guide's pilot has them already.
    """
    init = {n: x.init for n, x in d.parameters.items()}
    if objective.plan.any_score:
        return Start(init, "the initial values: a score function's objective is not deterministic in fixed draws")
    if d.networks:
        return Start(init, "the initial values: networks start at weights of their own")
    if not objective.climbs:
        return Start(init, "the initial values: behind stop_gradient the bound is not what its gradient climbs")
    if d.index_inputs:
        return _from_many_rows(p, guide, d, init, seed)
    if guide not in ("fullrank", "lowrank"):
        found, steps, doubts, spent = fixed_draws(objective, Coordinates.at(d, standardized=False), seed)
        return Start(found, f"the optimum of {steps} quasi-Newton steps with fixed draws", doubts, spent)
    doubts, spent = (), 0
    if flat is None:
        mean_field = derive(p, "meanfield", seed=seed)
        flat_objective = Objective(mean_field, choose(mean_field))
        if flat_objective.plan.any_score:
            return Start(init, "the initial values")
        where = Coordinates.at(mean_field, standardized=False)
        found, _, doubts, spent = fixed_draws(flat_objective, where, seed)
    else:
        flat_objective, found = flat
    start = {**init, **{n: v for n, v in found.items() if n in init}}
    names = [s for f in d.factors if f.name == Joint.NAME for s in f.sites]
    loc, scale = (np.concatenate([found[f"{s}.{k}"].ravel() for s in names]) for k in KINDS)
    dense = scale.size <= LARGEST_DENSE
    if dense:
        moved, tril = _curvature(flat_objective, found, names, seed)
        spent += 2 * scale.size * draws_for(flat_objective)
        loc, tril = loc + scale * moved, scale[:, None] * tril  # a scale may be large, its square too large
    start[f"{Joint.NAME}.loc"] = loc
    if guide == "lowrank":
        start[f"{Joint.NAME}.scale"] = scale
        if dense:
            start[f"{Joint.NAME}.cov_factor"] = _leading(tril, scale, start[f"{Joint.NAME}.cov_factor"].shape[1])
    else:
        start[f"{Joint.NAME}.scale_tril"] = tril if dense else np.diag(scale)
    how = "with the covariance of its curvature" if dense else "with its diagonal covariance"
    return Start(start, f"the mean-field optimum of quasi-Newton steps with fixed draws, {how}", doubts, spent)


def _from_many_rows(p: Problem, guide: Any, d: Derivation, init: dict, seed: int) -> Start:
    """Where plates are subsampled: the start of the same model on many rows at once, all of them if they are few."""
    rng = generator(seed, 0, Stream.ROWS)
    sizes = {n: min(d.plates[n].size, max(d.plates[n].subsample_size, MANY_ROWS)) for n in d.index_inputs}
    rows = {n: np.sort(rng.permutation(d.plates[n].size)[:size]) for n, size in sizes.items()}
    many = derive(p, guide, plate_sizes=sizes, indices=rows, seed=seed)
    objective = Objective(many, choose(many))
    if objective.values.work > WORK // 4:
        return Start(init, "the initial values: the data are large")
    where = Coordinates.at(many, standardized=False, rows=rows)
    found, steps, doubts, spent = fixed_draws(objective, where, seed, rows)
    starts = {n: _with_rows(many, n, init[n], x, rows) for n, x in found.items()}
    how = f"the optimum of {steps} quasi-Newton steps with fixed draws, on {sum(sizes.values())} rows"
    return Start(starts, how, doubts, spent)


def _with_rows(many: Derivation, name: str, full: np.ndarray, found: np.ndarray, rows: dict) -> np.ndarray:
    """A parameter's starting value at full size: the rows found in their places, the others like a typical one."""
    axes = many.parameters[name].rows
    if not axes:
        return found
    out = np.array(full, dtype=float)
    if any(name in (f"{f.name}.loc", f"{f.name}.scale") for f in many.factors if f.origin == "automatic"):
        typical = np.median(found, axis=tuple(axis for axis, _ in axes), keepdims=True)
        out[...] = typical
    out[rows_key(axes, rows, out.shape)] = found
    return out


def draws_for(objective: Objective) -> int:
    """How many fixed draws: twice the latent dimension, so that they can be whitened, within the work allowed."""
    size = sum(int(np.prod(f.noise_shape, dtype=np.int64)) for f in objective.derivation.factors)
    allowed = max(16, WORK // max(objective.values.work, 1))
    return 2 * int(min(max(16, size), allowed // 2, 512))


def fixed_draws(objective: Objective, where: Coordinates, seed: int, rows: dict | None = None) -> Optimum:
    """Maximise the bound over fixed draws, from several places where that is cheap."""
    f = _fixed(objective, where, seed, rows)
    rng = generator(seed, 0, Stream.STARTS)
    # Never from the very middle: with symmetric draws a symmetric posterior has a saddle there.
    widths = (0.1, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0) if _cost(objective) < CHEAP else (0.1,)
    found: list[Descent] = []
    for width in widths:
        start = np.where(where.logarithmic, 0.0, width * rng.standard_normal(where.size))
        with np.errstate(all="ignore"):
            found.append(minimize(f, start, where.metric, logarithmic=where.logarithmic))
    total, spent = sum(x.steps for x in found), sum(x.gradients for x in found) * draws_for(objective)
    held = [x for x in found if np.isfinite(x.value)]
    if not held:
        return Optimum(where.concrete(np.zeros(where.size)), total, (), spent)
    best = min(held, key=lambda x: x.value)
    rivals = (_rival(f, where, best, x) for x in sorted(held, key=lambda x: x.value))
    doubts = next(((text,) for text in rivals if text), ())
    values = where.concrete(best.x)
    return Optimum(values, total, doubts or _other_mode(objective, values, rng, rows), spent)


def _rival(f: Callable, where: Coordinates, best: Descent, other: Descent) -> str:
    """A sentence on another optimum of nearly the same bound, if it is one, and apart from the best.

    Apart: Gaussian guides at both hardly overlap in some site, by Bhattacharyya's distance, and half-way
    between them the bound is lower than at both. Along the ridge of a narrow posterior it is not.
    """
    if other.value > best.value + RIVAL or not np.any(other.x != best.x):
        return ""
    here, there = where.concrete(best.x), where.concrete(other.x)
    apart = {}
    for name in here:
        site, _, kind = name.rpartition(".")
        if kind == "loc" and f"{site}.scale" in here:
            s, t = here[f"{site}.scale"], there[f"{site}.scale"]
            width = np.maximum(s, t)  # squares of either may be too large
            shape = 0.5 * (np.minimum(s, t) / width) ** 2 + 0.5
            far = 0.125 * ((here[name] - there[name]) / width) ** 2 / shape
            apart[site] = float(np.sum(far + 0.5 * np.log(shape / (np.minimum(s, t) / width))))
    site = max(apart, key=apart.__getitem__, default="")
    if not site or apart[site] < APART or f(0.5 * (best.x + other.x))[0] < other.value + BARRIER:
        return ""
    name = site.removesuffix("_decentered")
    return (
        f"another optimum lies apart in {name}, with a bound of {-other.value:.2f} where this has {-best.value:.2f}: "
        "the posterior may have several modes, of which the guide holds one"
    )


def _other_mode(objective: Objective, values: dict, rng: np.random.Generator, rows: dict | None) -> tuple[str, ...]:
    """A sentence on a second mode, if far starts find one that is nearly as high as that of a Gaussian guide.

    The bound without noise, as a function of the locations alone, is the log joint density up to a constant:
    one draw a gradient, so that it can be climbed from far off. A mode counts if it lies apart from the first,
    by that one's curvature, with a valley half-way.
    """
    d = objective.derivation
    where = Coordinates.at(d, values)  # at the rows in use already
    sites = [n for n in where.gaussian if f"{n}.scale" in where.slices and n in d.transforms]
    if not sites or len(sites) < len(d.factors) or any(f.noise_kind != "normal" for f in d.factors):
        return ()
    noise = {f.name: np.zeros((1, *f.noise_shape)) for f in d.factors}
    run = compile_program(objective.gradient(1, where.values, where.split(np.zeros(where.size))))
    rest = objective.rest_of(rows or {}, noise)
    places = np.concatenate([np.arange(where.size)[where.slices[f"{n}.loc"]] for n in sites])
    loc, scale = (np.concatenate([np.ravel(where.starts[f"{n}.{k}"]) for n in sites]) for k in KINDS)
    free = np.concatenate([np.full(np.size(where.starts[f"{n}.loc"]), d.transforms[n].is_identity) for n in sites])

    def f(u: np.ndarray) -> tuple[float, np.ndarray]:
        x = np.zeros(where.size)
        x[places] = u
        with np.errstate(all="ignore"):
            value, _, slope = run(x, *rest)
        return -float(value), -slope[places]

    def climb(u: np.ndarray) -> Descent:
        return minimize(f, u, np.ones_like, steps=60, tolerance=0.01)

    top = climb(np.zeros(places.size))
    if not np.isfinite(top.value):
        return ()
    work = objective.values.work
    for width in 2 * FAR_OFF if work < CHEAP // 50 else FAR_OFF if work < CHEAP // 5 else FAR_OFF[::3]:
        target = np.where(free, width, min(width, 3.0)) * rng.standard_normal(places.size)
        other = climb((target - loc) / scale)
        way = other.x - top.x
        if not np.isfinite(other.value) or other.value > top.value + RIVAL:
            continue
        ends = [f(top.x + sign * STEP * way)[1] @ way for sign in (1.0, -1.0)]
        with np.errstate(invalid="ignore"):  # a density that is not finite there
            distance = max((ends[0] - ends[1]) / (2.0 * STEP), 0.0) ** 0.5
        if distance > DISTANT and f(0.5 * (other.x + top.x))[0] > max(other.value, top.value) + BARRIER:
            sizes = np.cumsum([np.size(where.starts[f"{n}.loc"]) for n in sites])
            name = sites[int(np.searchsorted(sizes, np.argmax(np.abs(way)), side="right"))].removesuffix("_decentered")
            return (
                f"the log density has another mode, apart in {name} and {abs(other.value - top.value):.2g} nats "
                f"{'lower' if other.value > top.value else 'higher'}: a Gaussian guide holds one of them",
            )
    return ()


def _cost(objective: Objective) -> int:
    """Counted cost of a value with fixed draws: elements, and the calls themselves."""
    return objective.values.work * draws_for(objective) + CALL * len(objective.values.steps)


def _fixed(objective: Objective, where: Coordinates, seed: int, rows: dict | None = None):
    d = objective.derivation
    particles = draws_for(objective)
    noise = whitened(generator(seed, 0, Stream.FIXED), d.factors, particles)
    run = compile_program(objective.gradient(particles, where.values, where.split(np.zeros(where.size))))
    rest = objective.rest_of(rows or {}, noise)

    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(all="ignore"):
            value, _, slope = run(x, *rest)
        return -float(value), -slope

    return f


def _leading(tril: np.ndarray, scale: np.ndarray, rank: int) -> np.ndarray:
    """The factor W for which W W' + diag(scale^2) holds most of a covariance's excess over the diagonal."""
    scaled = tril / scale[:, None]
    values, vectors = np.linalg.eigh(scaled @ scaled.T)
    lengths = np.sqrt(np.maximum(values[-rank:] - 1.0, 1e-4))
    return scale[:, None] * vectors[:, -rank:] * lengths


def _curvature(objective: Objective, found: dict, names: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """At a mean-field optimum, in its units: how far the locations are from it still, and a Cholesky factor.

    The factor is that of (-E_q[Hessian of the log joint])^-1, which is a Gaussian guide's covariance at
    its optimum (Opper and Archambeau 2009, eq. 8). With it Newton's steps end the search where first-order
    ones hardly move, along the long axis of what is nearly collinear: the start of a Gaussian posterior is exact.
    """
    where = Coordinates.at(objective.derivation, found)
    f = _fixed(objective, where, seed)
    columns = np.concatenate([np.arange(where.size)[where.slices[f"{s}.loc"]] for s in names])

    def at(u: np.ndarray) -> tuple[float, np.ndarray]:
        x = np.zeros(where.size)
        x[columns] = u
        value, slope = f(x)
        return value, slope[columns]

    u, n = np.zeros(columns.size), columns.size
    hessian = np.array([at(STEP * e)[1] - at(-STEP * e)[1] for e in np.eye(n)]) / (2.0 * STEP)
    if not np.all(np.isfinite(hessian)):
        return u, np.eye(n)
    hessian = 0.5 * (hessian + hessian.T)
    if np.linalg.eigvalsh(hessian)[0] < LOW:  # where differences have lost their digits
        hessian = _exact(objective, where, columns, seed, hessian)
    root, (value, slope) = inverse_root(hessian), at(u)
    for _ in range(NEWTON if root.positive else 0):
        step = root.root @ (root.root.T @ slope)
        new_value, new_slope = at(u - step)
        if 0.5 * float(slope @ step) < ENOUGH or not new_value < value:
            break
        u, value, slope = u - step, new_value, new_slope
    values, vectors = np.linalg.eigh(hessian)
    rounding = n * np.finfo(float).eps * values[-1]
    for i in np.flatnonzero(values < LOW):
        # So weak a curvature is believed if it is there over the width that it gives, too.
        width = max(values[i], rounding) ** -0.5
        ends = [at(u + sign * width * vectors[:, i])[1] @ vectors[:, i] for sign in (1.0, -1.0)]
        over = (ends[0] - ends[1]) / (2.0 * width)
        values[i] = np.clip(over, width**-2, LOW) if over > 0.01 * width**-2 else LOW
    return u, triangle(vectors / np.sqrt(np.minimum(values, 1.0 / LOW)))


def _exact(
    objective: Objective, where: Coordinates, columns: np.ndarray, seed: int, otherwise: np.ndarray
) -> np.ndarray:
    """The Hessian by forward derivatives of the gradient, where these are known."""
    noise = whitened(generator(seed, 0, Stream.FIXED), objective.derivation.factors, draws_for(objective))
    function = FixedDraws(objective, where.values, where.split(np.zeros(where.size)), noise)
    try:
        found = function.hessian(np.zeros(where.size))[np.ix_(columns, columns)]
    except ModelError:
        return otherwise
    return found if np.all(np.isfinite(found)) else otherwise
