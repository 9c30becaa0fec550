"""A bound with its draws fixed, as an ordinary function: value, gradient, Hessian, and a Newton minimum.

DADVI, Laplace and MAP are each such a function and what is done at its minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..array import Ref, batch, compile_program, prune, pushforward
from ..array.jax_executor import compile_with_jax, require_jax
from ..elbo import Derivation, Objective, Problem, choose, derive
from ..elbo.blame import FAR, refusal
from ..errors import GuideError, ModelError
from .lbfgs import ROUNDING
from .noise import Stream, generator, whitened

AT_ONCE = 4_000_000  # counted cost of the Hessian's columns that are computed in one run
DENSE = 1000  # coordinates up to which a Hessian is made
FLAT = 1e-8  # curvature in units of a pilot's sds that is none: the width would be 10,000 of them
LAST = 8.0  # last digits of an element of a Hessian that are noise
MOST = 0.1  # of a standard deviation: the error by rounding that goes without a word


class Minimum(NamedTuple):
    """Where a function is smallest, the Hessian there, and whether its gradient says so."""

    x: np.ndarray
    value: float
    steps: int
    converged: bool
    hessian: np.ndarray


class Root(NamedTuple):
    """A square root A of a symmetric matrix's inverse: A A' = matrix^-1.

    `positive`: all eigenvalues are, beyond rounding; where not, A is cut to the coordinates' own
    units, which should be about right. `weakest` says how far the directions without curvature, or that of
    the least, move each coordinate; `error` is the relative error that rounding may have in the
    standard deviation there.
    """

    root: np.ndarray
    positive: bool
    weakest: np.ndarray
    error: float


@dataclass(frozen=True)
class FixedDraws:
    """Minus the mean bound over draws that stay the same, as a function of one vector."""

    objective: Objective
    values_of: Callable[..., dict[str, Any]]
    raw: Sequence[np.ndarray]
    noise: Mapping[str, np.ndarray]
    compiler: Callable = compile_program

    @cached_property
    def program(self) -> Any:
        particles = len(next(iter(self.noise.values()), np.zeros(1)))
        return self.objective.gradient(particles, self.values_of, self.raw)

    @cached_property
    def rest(self) -> list:
        d = self.objective.derivation
        return self.objective.rest_of({n: np.arange(d.plates[n].size) for n in d.index_inputs}, dict(self.noise))

    @cached_property
    def _run(self) -> Callable:
        return self.compiler(self.program)

    @property
    def size(self) -> int:
        return sum(int(np.size(r)) for r in self.raw)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        with np.errstate(all="ignore"):
            value, _, slope = self._run(x, *self.rest)
        return -float(value), -np.asarray(slope, dtype=float)

    @cached_property
    def _columns(self) -> tuple[Callable, int]:
        """A batched Hessian-vector product, and how many directions it takes."""
        program = self.program
        pushed = pushforward(program, [0])
        moved = prune(pushed, (pushed.outputs[len(program.outputs) + 2],))
        if type(moved.outputs[0]) is not Ref:  # a gradient that does not change
            return (lambda *_: [np.zeros((1, self.size))]), 1
        count = int(np.clip(AT_ONCE // max(moved.work, 1), 1, self.size))
        flags = [False] * (len(moved.inputs) - 1) + [True]
        return self.compiler(batch(moved, flags, count)), count

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The matrix of second derivatives, by Hessian-vector products."""
        run, count = self._columns
        out, unit = np.empty((self.size, self.size)), np.eye(self.size)
        for start in range(0, self.size, count):
            rows = unit[start : start + count]
            full = np.concatenate([rows, np.zeros((count - len(rows), self.size))])
            with np.errstate(all="ignore"):
                out[start : start + len(rows)] = -np.asarray(run(x, *self.rest, full)[0])[: len(rows)]
        return 0.5 * (out + out.T)

    def newton(self, x: np.ndarray, *, steps: int = 100, tolerance: float = 1e-8) -> Minimum:
        """A minimum by trust-region Newton steps (scipy's `trust-exact`, safe where the function is not convex).

        Converged when the decrease that the next full step predicts is below `tolerance`, or lost in
        the value's last digits. In nats it is half the squared distance to the minimum, in units of
        the curvature, however badly the coordinates are scaled.
        """
        from scipy.optimize import minimize

        best = Best(x, self(x)[0])
        if not np.isfinite(best.value):
            return Minimum(x, np.inf, 0, False, np.full((self.size, self.size), np.nan))

        def value(x: np.ndarray) -> float:
            nonlocal best
            found = self(x)[0]
            if found < best.value:
                best = Best(x.copy(), found)
            return found if np.isfinite(found) else np.inf

        taken = 0
        try:
            with np.errstate(all="ignore"):
                found = minimize(
                    value,
                    x,
                    jac=lambda x: self(x)[1],
                    hess=self.hessian,
                    method="trust-exact",
                    options={"maxiter": steps, "gtol": 1e-10, "initial_trust_radius": 1.0, "max_trust_radius": 1e6},
                )
            taken = int(found.nit)
        except (
            np.linalg.LinAlgError,
            ValueError,
        ):  # a matrix that is not finite, or cannot be factored: the best so far
            pass
        while True:  # scipy's own test is of the gradient, in whose units a weak direction is lost
            hessian = self.hessian(best.x)
            root = inverse_root(hessian)
            with np.errstate(all="ignore"):
                half = root.root.T @ self(best.x)[1]
                predicted = 0.5 * float(half @ half)
            if predicted < max(tolerance, ROUNDING * abs(best.value)) or not root.positive or taken >= steps:
                break
            before, taken = best, taken + 1
            if not value(best.x - root.root @ half) < before.value:
                break
        sure = root.positive and predicted < max(tolerance, ROUNDING * abs(best.value))
        return Minimum(best.x, float(best.value), taken, bool(sure), hessian)


class Best(NamedTuple):
    """The best point so far, and the value there."""

    x: np.ndarray
    value: float


def check_executor(name: str, executor: str, allowed: Sequence[str] = ("auto", "numpy")) -> None:
    """Refuse an executor that an algorithm has not."""
    if executor not in allowed:
        why = " ('eager' is what control flow on a draw needs)" if executor == "eager" else ""
        shown = " or ".join(map(repr, allowed))
        raise ModelError(
            f"executor={executor!r} for algorithm '{name}'{why}",
            f"{shown}, and np.where in the place of control flow" if why else shown,
            'algorithm="bbvi"',
        )


def compiler_of(name: str, executor: str) -> tuple[str, Callable]:
    """The executor of an algorithm with fixed draws, which have one program, and what compiles it."""
    check_executor(name, executor, ("auto", "numpy", "jax"))
    if executor != "jax":
        return "numpy", compile_program
    require_jax()
    return executor, compile_with_jax


def require_curvature(hessian: np.ndarray, flat: Objective, pilot: Mapping[str, Any], seed: int, what: str) -> None:
    """Refuse a Hessian that is not finite, where the draws of the pilot's Gaussians tell why."""
    if not np.all(np.isfinite(hessian)):
        require_finite(flat, pilot, whitened(generator(seed, 0, Stream.FIXED), flat.derivation.factors, 64), what)


def gaussian_sites(d: Derivation) -> list[str]:
    """The sites with an automatic guide of their own.

    Missing entries that no density reads have none: their factor is the model's own conditional,
    without parameters, which goes along as it is.
    """
    return [f.name for f in d.factors if f.origin == "automatic"]


def whole(p: Problem, guide: Any, seed: int, what: str, *, pointwise: bool = False) -> Objective:
    """The objective of all rows, in float64, which must be a smooth function of parameters and fixed draws."""
    p = replace(p, dtype=np.dtype(np.float64))
    full = {q.name: q.size for q in p.graph.plates.values() if q.subsampled}
    d = derive(p, guide, plate_sizes=full, pointwise=pointwise, seed=seed)
    objective = Objective(d, choose(d))
    for f in d.factors:
        if f.origin == "in place":
            raise GuideError(
                f"{what} of a model with guide= in place",
                "automatic guides for all sites: it has a Gaussian, or a point, of its own for each",
                'guide= left out here, or algorithm="bbvi"',
                site=f.name,
            )
        if f.origin == "automatic" and f"{f.name}.loc" not in d.parameters:
            raise ModelError(
                f"{what} of a model with a discrete latent site",
                "continuous latent sites: with fixed draws nothing else has a gradient",
                'algorithm="bbvi"',
                site=f.name,
            )
    if objective.plan.any_score:
        site, reason = next((f.name, objective.plan.of_site(f.name)) for f in d.factors if _scored(objective, f.name))
        raise ModelError(
            f"{what} of a model whose gradient needs the score function at '{site}': {reason[1].why}",
            "continuous latent sites on continuous paths: with fixed draws nothing else has a gradient",
            'algorithm="bbvi"',
            site=site,
        )
    if not objective.climbs:
        raise ModelError(
            f"{what} of a model with stop_gradient", "a bound that its gradient climbs", 'algorithm="bbvi"'
        )
    return objective


def _scored(objective: Objective, factor: str) -> bool:
    picked = objective.plan.of_site(factor)
    return picked is not None and picked[0] == "score"


def inverse_root(matrix: np.ndarray, least: float = 0.0) -> Root:
    """A square root of a symmetric matrix's inverse; eigenvalues that are not positive are lifted.

    An element of the diagonal below `least` is no curvature either.

    The matrix is first scaled to a unit diagonal, so that the digits of badly scaled coordinates
    are not lost, and no covariance is formed, whose own digits would be.
    """
    n = len(matrix)
    if not np.all(np.isfinite(matrix)):
        return Root(np.eye(n), False, np.ones(n), np.inf)
    diagonal = np.abs(np.diag(matrix))
    unit = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(unit[:, None] * matrix * unit)
    rounding = LAST * n * np.finfo(float).eps * max(float(np.abs(values).max()), 1e-300)
    flat = diagonal < least
    if values[0] > rounding and not np.any(flat):
        weakest, error = unit * np.abs(vectors[:, 0]), 0.5 * rounding / float(values[0])
        return Root(unit[:, None] * vectors / np.sqrt(values), True, weakest, error)
    weakest = unit * np.linalg.norm(vectors[:, values <= max(values[0], rounding)], axis=1)
    weakest = flat.astype(float) if np.any(flat) else weakest
    return Root(np.minimum(unit, 1.0)[:, None] * vectors / np.sqrt(np.maximum(values, 1.0)), False, weakest, np.inf)


def lost_digits(error: float) -> tuple[str, ...]:
    """A sentence, where rounding may change some standard deviation by more than MOST."""
    if not MOST < error < np.inf:
        return ()
    return (
        f"some directions are so nearly collinear that rounding may change their sd by {min(error, 1.0):.0%}: "
        f"centred and scaled columns lose no digits",
    )


def along(d: Derivation, direction: np.ndarray, sizes: Mapping[str, int]) -> str:
    """In words: along which sites a direction goes, given the number of coordinates of each, and what may be the cause.

    Only where the prior of one of them is flat may nothing hold it.
    """
    parts = np.split(np.abs(direction), np.cumsum(list(sizes.values()))[:-1])
    most = max((float(np.max(x, initial=0.0)) for x in parts), default=0.0)
    moved = [s for s, x in zip(sizes, parts, strict=True) if np.max(x, initial=0.0) > 0.1 * most] or list(sizes)
    cause = ""
    if flat_sites(d).intersection(moved):
        cause = ", as with a flat prior and no data, collinear columns or separable classes: a proper prior such as "
        cause += "Normal(0, 10) bends it"
    return f"along {' and '.join(moved)}{cause}"


def flat_sites(d: Derivation) -> frozenset[str]:
    """The sites whose prior is the same everywhere."""
    return frozenset(
        t.site
        for t in d.terms
        if t.kind == "log p" and t.site in d.site_outputs and type(d.program.outputs[t.output]) is not Ref
    )


def triangle(root: np.ndarray) -> np.ndarray:
    """The Cholesky factor of A A', for A with at least as many columns as rows."""
    r = np.linalg.qr(root.T, mode="r")
    return (r * np.where(np.diag(r) < 0, -1.0, 1.0)[:, None]).T


def require_finite(
    objective: Objective, values: Mapping[str, Any], noise: Mapping[str, np.ndarray], what: str, history: Any = ()
) -> None:
    """Refuse what a search ended with, where the bound is not finite there or a parameter ran away."""
    d = objective.derivation
    rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
    with np.errstate(all="ignore"):
        bound = objective.evaluate(dict(values), rows, dict(noise), len(next(iter(noise.values()), [0])))[0]
    if np.all(np.isfinite(bound)) and all(np.all(np.abs(x) < FAR) for x in values.values()):
        return
    raise refusal(objective, values, rows, noise, what=what, history=np.append(history, bound.mean()))
