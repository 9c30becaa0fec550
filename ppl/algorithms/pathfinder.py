"""Pathfinder: Gaussians along the paths of a quasi-Newton method, and the best of them resampled.

    path k: x_0, x_1, ...  --curvature that L-BFGS saw--> Normal(x - Sigma grad, Sigma)  --largest ELBO--> q_k
    q = sum of w_k q_k,  draws z ~ q  --log p(z) - log q(z), Pareto smoothed--> weighted draws

Zhang, Carpenter, Gelman and Vehtari (2022), "Pathfinder: parallel quasi-Newton variational inference". Unlike
there all draws are weighed against the mixture of the paths' Gaussians, whose ratios are bounded by those of
any one of them, and half as many wide draws stand beside them, as for every guide (`wide.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import special
from scipy.linalg import solve_triangular

from ..elbo import Objective, Problem, choose, derive
from ..errors import NumericalError
from ..model.calls import check_names, count_of
from .density import LogDensity
from .deterministic import check_executor
from .lbfgs import minimize
from .noise import Stream, generator
from .sampled import Sampled
from .stages import INTERRUPTED, Solution
from .wide import kinds_of, log_mixture, log_normal, wide

GUIDE = "meanfield"  # whose noise the paths walk in
MEMORY = 6  # pairs of steps and changes of the gradient that a Gaussian is made of
RANGE = 2.0  # of every second start, on the unconstrained axis
SPREAD = 3.0  # of the others, in sds of a pilot
AGAIN = 10  # starts that are tried where the density is not finite
SURE = 200  # draws that the paths' bounds are compared by
LEAST = 1e-4  # share of the draws below which a path gets none


class Gaussian(NamedTuple):
    """Normal(mean, S S'), S = diag(scale) (I + Q (L - I) Q'), with columns of Q orthonormal and L triangular."""

    mean: np.ndarray
    scale: np.ndarray
    basis: np.ndarray
    lower: np.ndarray

    @property
    def log_det(self) -> float:
        """log |S|."""
        return float(np.sum(np.log(self.scale)) + np.sum(np.log(np.diag(self.lower))))

    def at(self, noise: np.ndarray) -> np.ndarray:
        """Draws (S, D) of standard noise."""
        inside = noise @ self.basis
        return self.mean + self.scale * (noise + (inside @ self.lower.T - inside) @ self.basis.T)

    def noise_of(self, x: np.ndarray) -> np.ndarray:
        """The noise that such draws have."""
        own = (x - self.mean) / self.scale
        inside = own @ self.basis
        return own + (solve_triangular(self.lower, inside.T, lower=True).T - inside) @ self.basis.T


class Path(NamedTuple):
    """The best Gaussian along a path, its bound, and how the path ended."""

    gaussian: Gaussian
    elbo: float
    converged: bool
    gradients: int


@dataclass(frozen=True)
class Pathfinder:
    """Importance-resampled draws from the best Gaussians along several quasi-Newton paths.

    Every path climbs the log density on the unconstrained axis; at each place the curvature that L-BFGS has
    seen makes a Gaussian, and the one with the largest bound is kept. The paths' Gaussians are mixed, by their
    bounds; draws of the mixture are weighed by Pareto smoothed importance sampling. `fit.elbo` is the
    mixture's bound; means, sds and quantiles are those of the weighted draws, as are `fit.predict()` and
    `fit.sample(resample=True)`, while `fit.sample()` draws from the mixture. Finite sites are summed out and
    drawn back; `guide=` at a site is ignored.

    Parameters
    ----------
    steps
        the most steps of a path.
    paths
        how many; every second one begins near a pilot fit, the others anywhere between -2 and 2.
    draws
        of the mixture, that are weighed.
    elbo_draws
        by which the bound of every Gaussian along a path is estimated.
    init
        "auto", an earlier Fit, or a dict of a guide's parameter values near which paths begin.

    Raises
    ------
    ModelError
        a learned parameter (`ppl.param`), a discrete site that is not summed out, a jump on the way to the
        density.
    NumericalError
        no path with a finite density.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 10))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> fit = ppl.infer(model, 1.5, algorithm="pathfinder", progress=False)
    >>> round(float(fit["mu"].mean), 1), round(float(fit["mu"].sd), 1)
    (1.5, 1.0)
    """

    steps: int = 200
    paths: int = 8
    draws: int = 2000
    elbo_draws: int = 10
    init: Any = "auto"

    name = "pathfinder"
    ignores_guides = True

    def run(
        self,
        p: Problem,
        guide: Any,
        *,
        seed: int = 0,
        executor: str = "auto",
        progress: Callable | None = None,
        starts: Mapping[str, np.ndarray] | None = None,
        **_: Any,
    ) -> Solution:
        """The paths one after the other, then the draws of all."""
        check_executor(self.name, executor)
        for field in ("steps", "paths", "draws", "elbo_draws"):
            count_of(field, getattr(self, field))
        values = self._coordinates(p, guide, seed, starts)
        density = LogDensity.of(p, GUIDE, values, seed, "Pathfinder")
        full = {q.name: q.size for q in density.objective.derivation.plates.values()}
        d = derive(replace(p, dtype=np.dtype(np.float64)), GUIDE, plate_sizes=full, seed=seed)
        found, spent, why = [], 0, ""
        bar = progress(self.paths) if progress else None
        try:
            for k in range(self.paths):
                path, gradients = self._path(density, values, k, seed)
                spent += gradients
                found += [path] if path is not None else []
                if bar is not None:
                    bar.update([x.elbo for x in found])
        except KeyboardInterrupt:
            why = INTERRUPTED
            if not found:
                raise
        finally:
            if bar is not None:
                bar.close()
        if not found:
            raise NumericalError(
                f"{self.paths} paths of which none has a finite density, and a bound",
                "a density that is finite near the starts",
                'init= an earlier fit, or an algorithm that says which term it is: algorithm="bbvi"',
            )
        objective = Objective(d, choose(d))
        sampled = _mixture(density, found, self.draws, seed)
        ended = sum(x.converged for x in found)
        best = max(found, key=lambda x: x.elbo)
        reason = f"{ended} of {self.paths} paths reached a maximum"
        return Solution(
            values,
            np.array([x.elbo for x in found]),
            f"{reason} ({why})" if why else reason,
            best.converged and not why,
            len(found),
            objective,
            "numpy",
            interrupted=bool(why),
            guide=GUIDE,
            gradients=spent,
            sampled=sampled,
        )

    def _coordinates(
        self, p: Problem, guide: Any, seed: int, starts: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """The factorised Gaussian whose noise the paths walk in: of the fit they begin near, or standard."""
        LogDensity.of(p, GUIDE, {}, seed, "Pathfinder")  # refuses what has no such paths
        flat = derive(p, GUIDE, seed=seed)
        values = {n: np.asarray(x.init, dtype=float) for n, x in flat.parameters.items()}
        if isinstance(self.init, dict):
            d = derive(p, guide, seed=seed)
            check_names("init", self.init, d.parameters)
            starts = {n: np.asarray(self.init.get(n, x.init), dtype=float) for n, x in d.parameters.items()}
        if starts is None:
            return values
        from .nuts import factorised

        d = derive(p, guide, seed=seed)
        names = [n.removesuffix(".loc") for n in values if n.endswith(".loc")]
        return {**values, **factorised(p, d, starts, names)[0]}

    def _path(
        self, density: LogDensity, values: Mapping[str, np.ndarray], k: int, seed: int
    ) -> tuple[Path | None, int]:
        """The best Gaussian along one path, and the gradients that it took."""
        rng, spent = generator(seed, k, Stream.PATHS), 0

        def minus(e: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = density(e)
            return -value, -slope

        for _ in range(AGAIN):
            places: list[tuple[np.ndarray, np.ndarray]] = []
            found = minimize(
                minus,
                _start(rng, density, values, near=k % 2 == 0),
                np.ones_like,
                steps=self.steps,
                tolerance=1e-6,
                memory=MEMORY,
                seen=lambda x, _, g, places=places: places.append((x, g)),
            )
            spent += found.gradients
            if len(places) > 1:
                break
        best, least = None, -np.inf
        noise = rng.standard_normal((self.elbo_draws, density.size))
        for gaussian in _along(places):
            elbo = _bound(density, gaussian, noise)
            if elbo > least:
                best, least = gaussian, elbo
        if best is None:
            return None, spent
        return Path(
            best, _bound(density, best, rng.standard_normal((SURE, density.size))), found.converged, spent
        ), spent


def _start(
    rng: np.random.Generator, density: LogDensity, values: Mapping[str, np.ndarray], *, near: bool
) -> np.ndarray:
    """Where a path begins, in noise: near the fit whose noise it is, or anywhere on the unconstrained axis."""
    if near:
        return SPREAD * rng.uniform(-1.0, 1.0, density.size)
    parts = []
    for f in density.factors:
        loc, scale = (np.ravel(values[f"{f.name}.{kind}"]) for kind in ("loc", "scale"))
        parts.append((rng.uniform(-RANGE, RANGE, loc.size) - loc) / scale)
    return np.concatenate(parts)


def _along(places: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Gaussian]:
    """A Gaussian at every place but the first, by the curvature seen up to there."""
    found, pairs = [], []
    diagonal = np.ones_like(places[0][0])
    for (before, slope), (x, g) in itertools.pairwise(places):
        step, change = x - before, g - slope
        product = float(step @ change)
        if product > 1e-12 * float(change @ change):
            diagonal = _diagonal(diagonal, step, change)
            pairs = [*pairs[-(MEMORY - 1) :], (step, change)]
        if pairs and (gaussian := _gaussian(x, g, diagonal, pairs)) is not None:
            found.append(gaussian)
    return found


def _diagonal(alpha: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The diagonal of the inverse Hessian after another pair (Gilbert and Lemarechal 1989): the BFGS update's own."""
    a, b, c = y @ (alpha * y), y @ s, s @ (s / alpha)
    with np.errstate(all="ignore"):
        found = 1.0 / (a / (b * alpha) + y * y / b - a * s * s / (b * c * alpha * alpha))
    return found if np.all(np.isfinite(found) & (found > 0)) else alpha


def _gaussian(
    x: np.ndarray, g: np.ndarray, alpha: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Gaussian | None:
    """Normal(x - Sigma g, Sigma), Sigma the inverse Hessian in the compact form of Byrd, Nocedal and Schnabel (1994).

    Sigma = diag(alpha) + B M B',   B = [diag(alpha) Y, S],   R = upper triangle of S' Y,
    M = [[0, -R^-1], [-R^-T, R^-T (diag(R) + Y' diag(alpha) Y) R^-1]]
    """
    s, y = (np.stack(v, axis=1) for v in zip(*pairs, strict=True))
    r = np.triu(s.T @ y)
    count = len(pairs)
    try:
        inverse = solve_triangular(r, np.eye(count))
        middle = np.zeros((2 * count, 2 * count))
        middle[:count, count:], middle[count:, :count] = -inverse, -inverse.T
        middle[count:, count:] = inverse.T @ (np.diag(np.diag(r)) + y.T @ (alpha[:, None] * y)) @ inverse
        b = np.concatenate([alpha[:, None] * y, s], axis=1)
        scale = np.sqrt(alpha)
        q, upper = np.linalg.qr(b / scale[:, None])
        inner = upper @ middle @ upper.T
        lower = np.linalg.cholesky(np.eye(len(inner)) + 0.5 * (inner + inner.T))
    except np.linalg.LinAlgError:  # lost to rounding: no Gaussian here
        return None
    mean = x - (alpha * g + b @ (middle @ (b.T @ g)))
    if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(mean))):
        return None
    return Gaussian(mean, scale, q, lower)


def _bound(density: LogDensity, q: Gaussian, noise: np.ndarray) -> float:
    """The bound of one Gaussian by draws of it; minus infinity where one of them has no density."""
    log_q = log_normal(noise).sum(1) - q.log_det
    found = float(np.mean(density.of_rows(q.at(noise)) - log_q))
    return found if np.isfinite(found) else -np.inf


def _mixture(density: LogDensity, paths: Sequence[Path], count: int, seed: int) -> Sampled:
    """Draws of the mixture of the paths' Gaussians by their bounds, wide ones beside them, and their log ratios."""
    rng, size = generator(seed, 1 << 20, Stream.PATHS), density.size
    shares = special.softmax([x.elbo for x in paths])
    kept = [(x.gaussian, w) for x, w in zip(paths, shares, strict=True) if w > LEAST]
    gaussians, shares = [g for g, _ in kept], np.array([w for _, w in kept])
    shares /= shares.sum()
    kinds = kinds_of(count)
    noise = np.concatenate([rng.standard_normal((count, size)), wide(rng, kinds, size)])
    of = rng.choice(len(kept), len(noise), p=shares)
    rows = np.empty_like(noise)
    for k, q in enumerate(gaussians):
        rows[of == k] = q.at(noise[of == k])
    log_own, log_all = [], []
    for q, w in zip(gaussians, shares, strict=True):
        e = q.noise_of(rows)
        log_own.append(np.log(w) + log_normal(e).sum(1) - q.log_det)
        log_all.append(log_own[-1] + log_mixture(e, kinds))
    log_p = density.of_rows(rows)
    log_p = np.where(np.isnan(log_p) | (log_p == np.inf), -np.inf, log_p)
    mixed = log_p - special.logsumexp(log_all, axis=0)
    if not np.any(np.isfinite(mixed)):
        raise NumericalError("draws of which none has a finite density", "a density that is finite", 'algorithm="bbvi"')
    log_ratios = (log_p - special.logsumexp(log_own, axis=0))[:count]
    rows = np.where((mixed > -np.inf)[:, None], rows, rows[np.argmax(mixed)])  # what has no weight may have no value
    return Sampled(
        density.noise(rows, seed), 1, {"path": of[:count].astype(float)}, {}, log_ratios=log_ratios, mixed=mixed
    )
