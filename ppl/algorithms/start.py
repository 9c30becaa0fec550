"""A good start: a short deterministic optimisation with fixed draws, before the stochastic one.

With its draws fixed the bound is an ordinary function, and a quasi-Newton method comes close to
its maximum in tens of gradients. What it finds is only a start, and a measure of each
coordinate's posterior scale; the stochastic steps that follow remove the bias of the fixed draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..array import compile_program
from ..elbo import Derivation, Objective, Problem, choose, derive
from ..guides import Joint
from ..model import rows_key
from .coordinates import Coordinates
from .lbfgs import minimize
from .noise import Stream, generator, whitened

WORK = 4_000_000  # counted cost that one gradient with fixed draws may have
MANY_ROWS = 10_000  # rows of a subsampled plate to start from
CHEAP = 1_000_000  # counted cost of a gradient up to which several starting points are tried
CALL = 500  # elements that one more operation costs as much as
LARGEST_DENSE = 1000  # latent dimension up to which curvature is asked for


def good_start(
    p: Problem,
    guide: Any,
    d: Derivation,
    objective: Objective,
    seed: int,
    flat: tuple[Objective, dict[str, np.ndarray]] | None = None,
) -> tuple[dict[str, np.ndarray], str]:
    """Starting values of the parameters, and in words how they were found.

    `flat` is the mean-field objective and its optimum, where a full-rank guide's pilot has them already.
    """
    init = {n: x.init for n, x in d.parameters.items()}
    if objective.plan.any_score:
        return init, "the initial values: a score function's objective is not deterministic in fixed draws"
    if not objective.climbs:
        return init, "the initial values: behind stop_gradient the bound is not what its gradient climbs"
    if d.index_inputs:
        return _from_many_rows(p, guide, d, init, seed)
    if guide not in ("fullrank", "lowrank"):
        found, steps = fixed_draws(objective, Coordinates.at(d, standardized=False), seed)
        return found, f"the optimum of {steps} quasi-Newton steps with fixed draws"
    if flat is None:
        mean_field = derive(p, "meanfield", seed=seed)
        flat_objective = Objective(mean_field, choose(mean_field))
        if flat_objective.plan.any_score:
            return init, "the initial values"
        found, _ = fixed_draws(flat_objective, Coordinates.at(mean_field, standardized=False), seed)
    else:
        flat_objective, found = flat
    start = {**init, **{n: v for n, v in found.items() if n in init}}
    names = [s for f in d.factors if f.name == Joint.NAME for s in f.sites]
    start[f"{Joint.NAME}.loc"] = np.concatenate([found[f"{s}.loc"].ravel() for s in names])
    scale = np.concatenate([found[f"{s}.scale"].ravel() for s in names])
    dense = scale.size <= LARGEST_DENSE
    tril = _curvature(flat_objective, found, names, scale, seed) if dense else None
    if guide == "lowrank":
        start[f"{Joint.NAME}.scale"] = scale
        if dense:
            start[f"{Joint.NAME}.cov_factor"] = _leading(tril, scale, start[f"{Joint.NAME}.cov_factor"].shape[1])
    else:
        start[f"{Joint.NAME}.scale_tril"] = tril if dense else np.diag(scale)
    how = "with the covariance of its curvature" if dense else "with its diagonal covariance"
    return start, f"the mean-field optimum of quasi-Newton steps with fixed draws, {how}"


def _from_many_rows(p: Problem, guide: Any, d: Derivation, init: dict, seed: int) -> tuple[dict[str, np.ndarray], str]:
    """Where plates are subsampled: the start of the same model on many rows at once, all of them if they are few."""
    rng = generator(seed, 0, Stream.ROWS)
    sizes = {n: min(d.plates[n].size, max(d.plates[n].subsample_size, MANY_ROWS)) for n in d.index_inputs}
    rows = {n: np.sort(rng.permutation(d.plates[n].size)[:size]) for n, size in sizes.items()}
    many = derive(p, guide, plate_sizes=sizes, indices=rows, seed=seed)
    objective = Objective(many, choose(many))
    if objective.values.work > WORK // 4:
        return init, "the initial values: the data are large"
    found, steps = fixed_draws(objective, Coordinates.at(many, standardized=False, rows=rows), seed, rows)
    starts = {n: _with_rows(many, n, init[n], x, rows) for n, x in found.items()}
    return starts, f"the optimum of {steps} quasi-Newton steps with fixed draws, on {sum(sizes.values())} rows"


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


def fixed_draws(
    objective: Objective, where: Coordinates, seed: int, rows: dict | None = None
) -> tuple[dict[str, np.ndarray], int]:
    """Maximise the bound over fixed draws; returns parameter values and the number of steps."""
    f = _fixed(objective, where, seed, rows)
    rng = generator(seed, 0, Stream.STARTS)
    # Never from the very middle: with symmetric draws a symmetric posterior has a saddle there.
    widths = (0.1, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0) if _cost(objective) < CHEAP else (0.1,)
    best, total = (np.zeros(where.size), np.inf), 0
    for width in widths:
        start = np.where(where.logarithmic, 0.0, width * rng.standard_normal(where.size))
        with np.errstate(all="ignore"):
            x, value, steps, _ = minimize(f, start, where.metric, logarithmic=where.logarithmic)
        total += steps
        if value < best[1]:
            best = x, value
    return where.concrete(best[0]), total


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


def _curvature(objective: Objective, found: dict, names: list[str], scale: np.ndarray, seed: int) -> np.ndarray:
    """Cholesky factor of (-E_q[Hessian of the log joint])^-1 by central differences of the gradient.

    At the optimum of a Gaussian guide this is its covariance (Opper and Archambeau 2009, eq. 8).
    """
    where = Coordinates.at(objective.derivation, found, standardized=False)
    f = _fixed(objective, where, seed)
    columns = np.concatenate([np.arange(where.size)[where.slices[f"{s}.loc"]] for s in names])
    n = columns.size
    hessian = np.empty((n, n))
    for i, column in enumerate(columns):
        step = np.zeros(where.size)
        step[column] = 1e-3 * scale[i]
        hessian[i] = (f(step)[1][columns] - f(-step)[1][columns]) / (2e-3 * scale[i])
    scaled = scale[:, None] * 0.5 * (hessian + hessian.T) * scale
    if not np.all(np.isfinite(scaled)):
        return np.diag(scale)
    values, vectors = np.linalg.eigh(scaled)
    covariance = (vectors / np.clip(values, 1e-4, 1e4)) @ vectors.T
    return scale[:, None] * np.linalg.cholesky(covariance)  # a scale may be large, its square too large
