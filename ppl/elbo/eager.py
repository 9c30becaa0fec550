"""Models whose control flow looks at a draw: one program for each path that is taken.

`if z > 0:` gives one program per answer. A program keeps the truths that it was recorded under
as outputs, so every particle can be matched to the path that it takes; a particle that no known
path fits has the model recorded anew. A draw that a branch looked at enters every term by its
score: along one path the jump is not seen, so the pathwise gradient would miss it.

The baseline of a particle comes from the others' paths alone, as one number for each factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..array import Program, batch, compile_program, prune
from ..errors import GuideError, ModelError
from .choose import choose
from .derivation import Problem, derive
from .estimators import none
from .objective import Objective

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Path:
    """The objective along one path, and the truths that lead there."""

    objective: Objective
    truths: tuple[bool, ...]

    @cached_property
    def _runs(self) -> dict:
        return {}

    def run(self, outputs: tuple[int, ...], values: Arrays, rows: Arrays, noise: Arrays, size: int) -> tuple:
        """Outputs of the derivation's program for `size` particles."""
        d = self.objective.derivation
        flags = self.objective.flags(rows)
        if (outputs, size, flags) not in self._runs:
            program: Program = prune(d.program, tuple(d.program.outputs[i] for i in outputs))
            self._runs[outputs, size, flags] = compile_program(batch(program, flags, size))
        with np.errstate(all="ignore"):
            return self._runs[outputs, size, flags](*d.inputs(values, rows, noise))

    def taken(self, values: Arrays, rows: Arrays, noise: Arrays, size: int) -> np.ndarray:
        """Which particles take this path."""
        mask = np.ones(size, dtype=bool)
        seen = self.run(self.objective.derivation.branches, values, rows, noise, size)
        for truth, x in zip(self.truths, seen, strict=True):
            mask &= np.asarray(x, dtype=bool).reshape(size) == truth
        return mask


@dataclass(frozen=True)
class EagerObjective:
    """Bound and gradient over the paths that the particles take."""

    problem: Problem
    guide: Any
    starts: Arrays
    overrides: Mapping[str, str] | None = None
    plate_sizes: Mapping[str, int] | None = None

    @cached_property
    def paths(self) -> list[Path]:
        """The paths met so far."""
        return []

    def walk(self, values: Arrays, rows: Arrays, noise: Arrays, size: int) -> Iterator[tuple[Path, np.ndarray]]:
        """Every path that some particle takes, with these particles' numbers."""
        left = np.ones(size, dtype=bool)
        number = 0
        while left.any():
            if number == len(self.paths):
                first = int(np.flatnonzero(left)[0])
                own = {n: r[first] if np.ndim(r) > 1 else r for n, r in rows.items()}
                self.paths.append(self._record(values, own, {n: e[first] for n, e in noise.items()}))
            path = self.paths[number]
            mask = path.taken(values, rows, noise, size) & left
            number += 1
            if mask.any():
                left &= ~mask
                yield path, np.flatnonzero(mask)

    def _record(self, values: Arrays, rows: Arrays, noise: Arrays) -> Path:
        d = derive(
            self.problem,
            self.guide,
            plate_sizes=self.plate_sizes,
            starts=values,
            indices=rows,
            noise=noise,
            estimators=self.overrides,
            eager=True,
        )
        new = [f.name for f in d.factors if f.name not in noise]
        if new:
            raise ModelError(
                f"a latent site '{new[0]}' that only some branches reach, and the first path did not",
                "a guide for the same sites on every path",
                f"sample '{new[0]}' before the branch, or give a guide function that draws every site",
                site=new[0],
            )
        objective = Objective(d, choose(d, self.overrides))
        for (_, name), control in zip(objective.weights, objective.controls, strict=True):
            if not control.plain:
                raise GuideError(
                    f"estimator='{objective.plan.estimator_of(name).name}' where control flow depends on a draw",
                    "leave-one-out, or no control variate: particles take different paths",
                    "estimator='score'",
                    site=name,
                )
        return Path(objective, tuple(bool(x) for x in _at(d, values, rows, noise)))

    def contributions(
        self, values: Arrays, rows: Arrays, noise: Arrays, size: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Bound and gradient contribution of every particle."""
        walked = list(self.walk(values, rows, noise, size))
        bounds, sums, kept = np.empty(size), {}, []
        for path, who in walked:
            with np.errstate(all="ignore"):
                bound, _, weights = path.objective.evaluate(dict(values), dict(rows), dict(noise), size)
            bounds[who] = bound[who]
            for (_, name), w in zip(path.objective.weights, weights, strict=True):
                total = sums.setdefault(name, np.zeros(size))
                total[who] += np.reshape(np.asarray(w), (size, -1)).sum(1)[who]
            kept.append(weights)
        baselines = {n: (s.sum() - s) / max(size - 1, 1) if size > 1 else np.zeros(size) for n, s in sums.items()}
        grads = {n: np.zeros((size, *np.shape(v))) for n, v in values.items()}
        for (path, who), weights in zip(walked, kept, strict=True):
            done: set[str] = set()
            centred = []
            for (_, name), control, w in zip(path.objective.weights, path.objective.controls, weights, strict=True):
                b = np.reshape(baselines[name], (size, *(1,) * (np.ndim(w) - 1)))
                bare = name in done or control is none.ESTIMATOR.control
                centred.append(np.asarray(w) if bare else np.asarray(w) - b)
                done.add(name)
            with np.errstate(all="ignore"):
                parts = path.objective.contributions(dict(values), dict(rows), dict(noise), centred, size)
            for n, part in zip(path.objective.derivation.parameter_inputs, parts, strict=True):
                grads[n][who] = np.asarray(part)[who]
        return bounds, grads

    def sample(self, values: Arrays, rows: Arrays, noise: Arrays, size: int) -> dict[str, np.ndarray]:
        """Draws of the sites and deterministics that every path has."""
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for path, who in self.walk(values, rows, noise, size):
            d = path.objective.derivation
            names = {**d.site_outputs, **d.deterministic_outputs}
            outputs = path.run(tuple(names.values()), values, rows, noise, size)
            for n, x in zip(names, outputs, strict=True):
                found.setdefault(n, []).append((who, np.asarray(x)))
        whole = {n: parts for n, parts in found.items() if sum(len(w) for w, _ in parts) == size}
        out = {}
        for n, parts in whole.items():
            out[n] = np.empty(parts[0][1].shape, np.result_type(*(x for _, x in parts)))
            for who, x in parts:
                out[n][who] = x[who]
        return out


def _at(d, values: Arrays, rows: Arrays, noise: Arrays) -> tuple:
    """Truths of the branches at one particle."""
    program = prune(d.program, tuple(d.program.outputs[i] for i in d.branches))
    with np.errstate(all="ignore"):
        return compile_program(program)(*d.inputs(values, rows, noise))
