"""Where the optimizer walks: one flat vector of unconstrained coordinates, zero at the start.

Gaussian guides are measured in their own standard deviations: with loc0 and scale0 the start,

    loc = loc0 + scale0 a,   scale = scale0 exp(c),   scale_tril = scale_tril0 T(c),   cov_factor = W0 + scale0 W

so that a step size means the same for every model. Other parameters are shifted on their
unconstrained axis. The map is plain NumPy: it runs on arrays, and is recorded on recorded ones.

Parameters with a row for each element of a subsampled plate stand beside the vector, as tables
of the same coordinates: what a step does not use it does not touch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..array import Tape, compile_program, gradient, program_of
from ..distributions import biject_to, constraints
from ..elbo import Derivation

KINDS = ("loc", "scale")  # parameters of a Gaussian factor with a scale for each location


@dataclass(frozen=True)
class Coordinates:
    """The map from the flat vector, and the tables, to parameter values, for one starting point."""

    starts: dict[str, np.ndarray]
    constraints: dict[str, constraints.Constraint]
    gaussian: tuple[str, ...]  # factors "<name>" with parameters "<name>.loc" and ".scale" or ".scale_tril"
    standardized: bool = True
    tables: tuple[str, ...] = ()
    absolute: bool = False

    @classmethod
    def at(
        cls,
        d: Derivation,
        starts: Mapping[str, Any] | None = None,
        *,
        standardized: bool = True,
        rows: Mapping[str, np.ndarray] | None = None,
        tables: bool = False,
        absolute: bool = False,
    ) -> Coordinates:
        """Coordinates whose zero is the given starting point (by default the parameters' own).

        Parameters with rows are part of the vector at full size, or cut to `rows`, or (`tables`)
        stand beside it. States (`ppl.state`) are in no coordinates. `absolute`: the vector is the unconstrained
        values themselves, and begins at `origin`; tables have their zero at the start all the same.
        """
        values = {n: np.array((starts or {}).get(n, p.init), dtype=float) for n, p in d.parameters.items()}
        if rows is not None:
            values = {n: d.rows_of(n, x, rows) for n, x in values.items()}
        gaussian = tuple(
            f.name
            for f in d.factors
            if f.origin == "automatic"
            and f"{f.name}.loc" in values
            and (f"{f.name}.scale" in values or f"{f.name}.scale_tril" in values)
        )
        beside = tuple(n for n, p in d.parameters.items() if p.rows) if tables else ()
        learned = {n: p.constraint for n, p in d.parameters.items() if p.learned}
        return cls(values, learned, gaussian, standardized and not absolute, beside, absolute)

    @property
    def origin(self) -> np.ndarray:
        """The vector at the start."""
        if not self.absolute:
            return np.zeros(self.size)
        return np.concatenate([np.zeros(0), *(np.ravel(self._inner[n]) for n in self.shapes)])

    @cached_property
    def _inner(self) -> dict[str, Any]:
        """Unconstrained starting value of each parameter."""
        return {n: np.asarray(biject_to(c).inverse(self.starts[n]), dtype=float) for n, c in self.constraints.items()}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the pieces of the vector, by parameter."""
        return {n: np.shape(x) for n, x in self._inner.items() if n not in self.tables}

    def table_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a table on the unconstrained axis."""
        return np.shape(self._inner[name])

    @cached_property
    def slices(self) -> dict[str, slice]:
        ends = np.cumsum([0] + [int(np.prod(s, dtype=np.int64)) for s in self.shapes.values()])
        return {n: slice(int(a), int(b)) for n, a, b in zip(self.shapes, ends, ends[1:], strict=False)}

    @cached_property
    def size(self) -> int:
        return max((s.stop for s in self.slices.values()), default=0)

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """The pieces of a flat vector, shaped, in the order of the parameters."""
        return [x[s].reshape(shape) for s, shape in zip(self.slices.values(), self.shapes.values(), strict=True)]

    def values(self, *raw: Any) -> dict[str, Any]:
        """Parameter values from the pieces of the flat vector, then the tables.

        Where only some rows of the tables are given, their starting values follow.
        """
        names = (*self.shapes, *self.tables)
        pieces = dict(zip(names, raw, strict=False))
        starts = {**self.starts, **dict(zip(self.tables, raw[len(names) :], strict=False))}
        found = {
            name: self._value(name, constraint, pieces[name], starts) for name, constraint in self.constraints.items()
        }
        return {name: found.get(name, x) for name, x in self.starts.items()}

    def _value(self, name: str, constraint: Any, raw: Any, starts: Mapping[str, Any]) -> Any:
        factor, _, kind = name.rpartition(".")
        if factor in self._measured:
            if kind == "scale":
                return starts[name] * np.exp(raw)
            scale, tril = starts.get(f"{factor}.scale"), starts.get(f"{factor}.scale_tril")
            if kind == "cov_factor":
                return starts[name] + scale[..., None] * raw
            if kind == "scale_tril":
                return tril @ biject_to(constraint)(raw + self._identity(name))
            if kind == "loc":
                return starts[name] + (scale * raw if scale is not None else tril @ raw)
        if self.absolute and name not in self.tables:
            return biject_to(constraint)(raw)
        inner = self._inner[name] if starts[name] is self.starts[name] else biject_to(constraint).inverse(starts[name])
        return biject_to(constraint)(raw + inner)

    @cached_property
    def _measured(self) -> frozenset[str]:
        """Factors whose coordinates are in their own standard deviations."""
        return frozenset(self.gaussian if self.standardized else ())

    def _identity(self, name: str) -> np.ndarray:
        n = self.starts[name].shape[-1]
        return np.asarray(biject_to(constraints.lower_cholesky).inverse(np.eye(n)))

    def concrete(self, x: np.ndarray, tables: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Parameter values at a flat vector and tables (by default those of the start)."""
        tables = tables or {n: np.zeros(self.table_shape(n)) for n in self.tables}
        with np.errstate(over="ignore"):
            values = self.values(*self.split(x), *(tables[n] for n in self.tables))
        return {n: np.asarray(v) for n, v in values.items()}

    def rescaled(self, x: np.ndarray, tables: Mapping[str, np.ndarray]) -> bool:
        """Is some Gaussian's scale there so different from the start's that its unit no longer fits?"""
        beside = [tables[f"{f}.scale"] for f in self.gaussian if f"{f}.scale" in tables]
        scales = [x[self._scaled[1]], *beside]
        return bool(self.standardized and any(np.max(np.abs(s), initial=0.0) > 0.5 for s in scales))

    def metric(self, x: np.ndarray) -> np.ndarray:
        """Inverse Fisher information of the Gaussian factors where they are not standardized; ones elsewhere."""
        out = np.ones(self.size)
        loc, scale, start = self._scaled
        out[loc] = np.exp(2.0 * (x[scale] + start))
        out[scale] = 0.5
        return out

    @cached_property
    def _scaled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places of the locations that have a scale each, of the scales, and the logarithms these start at."""
        names = [f for f in self.gaussian if f"{f}.scale" in self.slices]
        every = np.arange(self.size)
        loc, scale = (np.concatenate([every[:0], *(every[self.slices[f"{f}.{k}"]] for f in names)]) for k in KINDS)
        return loc, scale, np.concatenate([np.zeros(0), *(self._inner[f"{f}.scale"].ravel() for f in names)])

    @cached_property
    def curvature(self) -> np.ndarray:
        """Curvature of the bound at a Gaussian optimum: 1 for locations, 2 for log scales, NaN elsewhere."""
        out = np.full(self.size, np.nan)
        for name, piece in self.slices.items():
            out[piece] = self.curvature_of(name)
        return out

    def curvature_of(self, name: str) -> float:
        """Curvature in the coordinates of one parameter, as `curvature` has it."""
        factor, _, kind = name.rpartition(".")
        known = self.standardized and factor in self.gaussian
        of = {"loc": 1.0, "scale": 2.0, "scale_tril": 1.0, "cov_factor": 1.0}
        return of.get(kind, np.nan) if known else np.nan

    @cached_property
    def logarithmic(self) -> np.ndarray:
        """Coordinates that are logarithms of scales."""
        out = np.zeros(self.size, dtype=bool)
        for factor in self.gaussian:
            if f"{factor}.scale" in self.slices:
                out[self.slices[f"{factor}.scale"]] = True
        return out


def pull_to_coordinates(where: Coordinates) -> Callable[[np.ndarray, dict[str, np.ndarray]], np.ndarray]:
    """The transposed Jacobian of the coordinates' map, as a function (x, gradient by parameter) -> gradient."""
    tape = Tape()
    pieces = [tape.input(x, "raw") for x in where.split(np.zeros(where.size))]
    values = where.values(*pieces)
    given = {n: tape.input(v, f"d/d {n}") for n, v in where.starts.items()}
    inner = sum(np.sum(values[n] * given[n]) for n in values)
    pull = compile_program(gradient(program_of(tape, [inner]), range(len(pieces))))

    def apply(x: np.ndarray, grads: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(g) for g in pull(*where.split(x), *(grads[n] for n in given))[1:]])

    return apply
