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
from ..elbo import Objective, Problem, choose, derive
from ..errors import ModelError

AT_ONCE = 4_000_000  # counted cost of the Hessian's columns that are computed in one run
DENSE = 1000  # coordinates up to which a Hessian is made


class Minimum(NamedTuple):
    """Where a function is smallest, and whether its gradient says so."""

    x: np.ndarray
    value: float
    steps: int
    converged: bool


@dataclass(frozen=True)
class FixedDraws:
    """Minus the mean bound over draws that stay the same, as a function of one vector."""

    objective: Objective
    values_of: Callable[..., dict[str, Any]]
    raw: Sequence[np.ndarray]
    noise: Mapping[str, np.ndarray]

    @cached_property
    def _program(self) -> Any:
        particles = len(next(iter(self.noise.values()), np.zeros(1)))
        return self.objective.gradient(particles, self.values_of, self.raw)

    @cached_property
    def _rest(self) -> list:
        d = self.objective.derivation
        return self.objective.rest_of({n: np.arange(d.plates[n].size) for n in d.index_inputs}, dict(self.noise))

    @cached_property
    def _run(self) -> Callable:
        return compile_program(self._program)

    @property
    def size(self) -> int:
        return sum(int(np.size(r)) for r in self.raw)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        with np.errstate(all="ignore"):
            value, _, slope = self._run(x, *self._rest)
        return -float(value), -np.asarray(slope, dtype=float)

    @cached_property
    def _columns(self) -> tuple[Callable, int]:
        """A batched Hessian-vector product, and how many directions it takes."""
        program = self._program
        pushed = pushforward(program, [0])
        moved = prune(pushed, (pushed.outputs[len(program.outputs) + 2],))
        if type(moved.outputs[0]) is not Ref:  # a gradient that does not change
            return (lambda *_: [np.zeros((1, self.size))]), 1
        count = int(np.clip(AT_ONCE // max(moved.work, 1), 1, self.size))
        flags = [False] * (len(moved.inputs) - 1) + [True]
        return compile_program(batch(moved, flags, count)), count

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """The matrix of second derivatives, by Hessian-vector products."""
        run, count = self._columns
        out, unit = np.empty((self.size, self.size)), np.eye(self.size)
        for start in range(0, self.size, count):
            rows = unit[start : start + count]
            full = np.concatenate([rows, np.zeros((count - len(rows), self.size))])
            with np.errstate(all="ignore"):
                out[start : start + len(rows)] = -np.asarray(run(x, *self._rest, full)[0])[: len(rows)]
        return 0.5 * (out + out.T)

    def newton(self, x: np.ndarray, *, steps: int = 100, tolerance: float = 1e-8) -> Minimum:
        """A minimum by trust-region Newton steps (scipy's `trust-exact`, safe where the function is not convex).

        Converged when the decrease that the next full step predicts is below `tolerance`.
        """
        from scipy.optimize import minimize

        def value(x: np.ndarray) -> float:
            found = self(x)[0]
            return found if np.isfinite(found) else np.inf

        if not np.isfinite(value(x)):
            return Minimum(x, np.inf, 0, False)
        with np.errstate(all="ignore"):
            found = minimize(
                value,
                x,
                jac=lambda x: self(x)[1],
                hess=self.hessian,
                method="trust-exact",
                options={"maxiter": steps, "gtol": 1e-10, "initial_trust_radius": 1.0, "max_trust_radius": 1e6},
            )
        best = found.x
        _, g = self(best)
        h = self.hessian(best)
        smallest = np.linalg.eigvalsh(h)[0] if np.all(np.isfinite(h)) else -1.0
        sure = smallest > 0 and 0.5 * float(g @ np.linalg.solve(h, g)) < tolerance
        return Minimum(best, float(found.fun), int(found.nit), bool(sure))


def check_executor(name: str, executor: str) -> None:
    """Fixed draws have one program: no other executor than NumPy's."""
    if executor not in ("auto", "numpy"):
        raise ModelError(
            f"executor={executor!r} for algorithm '{name}' ('eager' is what control flow on a draw needs)",
            "'auto' or 'numpy', and np.where in the place of control flow",
            'algorithm="bbvi"',
        )


def whole(p: Problem, guide: Any, seed: int, what: str, *, pointwise: bool = False) -> Objective:
    """The objective of all rows, in float64, which must be a smooth function of parameters and fixed draws."""
    p = replace(p, dtype=np.dtype(np.float64))
    full = {q.name: q.size for q in p.graph.plates.values() if q.subsampled}
    d = derive(p, guide, plate_sizes=full, pointwise=pointwise, seed=seed)
    objective = Objective(d, choose(d))
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


def inverse(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """The inverse of a symmetric matrix, and whether it is positive; eigenvalues that are not are lifted."""
    if not np.all(np.isfinite(matrix)):
        return np.eye(len(matrix)), False
    values, vectors = np.linalg.eigh(matrix)
    least = 1e-8 * max(float(values[-1]), 1e-300)
    return (vectors / np.maximum(values, least)) @ vectors.T, bool(values[0] > least)
