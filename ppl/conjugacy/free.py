"""Latents without a closed form, beside those that have one: their part of the bound on fixed draws.

    q(x) = T(Normal(loc, scale)) for every free element;   x_s = T(loc + scale e_s), e_s fixed

In the products that they stand in, their functions are tables with an axis of draws, so that a closed-form
update sees their expectations as if these were data. Given all other mean parameters, the free part of the bound
is a smooth function of loc and log scale, which a quasi-Newton method climbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..array import Tape, batch, compile_program, gradient, program_of, replay
from ..distributions import biject_to
from .algebra import Atom, value_of
from .contraction import contract
from .execution import Execution


@dataclass(eq=False)
class Free:
    """The free latents of an execution: draws of them, and the gradient of their part of the bound."""

    execution: Execution
    seed: int = 0
    noise: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        found = self.execution.found
        rng = np.random.default_rng(self.seed)
        count = found.draws.size
        shapes = {n: self.transform(n).inverse_shape(s.fn.shape()) for n, s in self.sites.items()}
        ends = np.cumsum([0, *(int(np.prod(s, dtype=np.int64)) for s in shapes.values())])
        e = _spread(rng, count, int(ends[-1]))
        self.noise = {
            n: e[:, a:b].reshape(count, *s) for (n, s), a, b in zip(shapes.items(), ends, ends[1:], strict=False)
        }

    @cached_property
    def sites(self) -> dict[str, Any]:
        """The free sites, by name."""
        recorded = self.execution.found.recorded
        return {n: recorded.sites[n] for n in self.execution.found.free}

    def transform(self, name: str) -> Any:
        """From the unconstrained axis onto the support of a site."""
        return biject_to(self.sites[name].fn.support)

    def start(self, values: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Parameters `<site>.loc` and `<site>.scale` to begin with."""
        out = {}
        for n, e in self.noise.items():
            loc = np.zeros(e.shape[1:])
            if values and n in values:
                loc = np.asarray(self.transform(n).inv(np.broadcast_to(values[n], self.sites[n].fn.shape())))
            out[f"{n}.loc"], out[f"{n}.scale"] = loc, np.full(e.shape[1:], 0.3)
        return out

    # -- programs ----------------------------------------------------------------------------------
    @cached_property
    def _opaque(self) -> tuple[list[Atom], Callable]:
        """Opaque functions, and how they are recorded at draws of all free sites."""
        found = self.execution.found
        tape = found.recorded.tape
        atoms = [a for a, _ in found.free_factors if a.kind == "opaque"]
        program = program_of(tape, [a.node for a in atoms])
        number = {found.recorded.sites[n].value: n for n in found.free}
        flags = [x in number for x in tape.inputs]
        many = batch(program, flags, found.draws.size)
        return atoms, lambda draws: replay(many, *(draws[number[x]] if x in number else x.value for x in tape.inputs))

    def _tables(self, draws: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
        """The functions of free latents at their draws, by name."""
        found = self.execution.found
        out = {}
        for a, fn in found.free_factors:
            if a.kind == "latent":
                x = draws[a.name]
                kept = [n for n in np.shape(x)[1:] if n != 1]
                out[found.free_name(a, fn)] = value_of(fn, np.reshape(x, (found.draws.size, *kept)))
        atoms, at = self._opaque
        for a, x in zip(atoms, at(draws) if atoms else (), strict=True):
            out[found.free_name(a, 1)] = np.reshape(x, (found.draws.size, *(n for n in np.shape(x)[1:] if n != 1)))
        return out

    def _recorded(self, tape: Tape) -> tuple[list[Any], dict[str, Any], Any]:
        """Inputs (loc and log scale of every site), draws, and the entropy with the Jacobians."""
        inputs, draws, entropy = [], {}, 0.0
        for n, e in self.noise.items():
            loc, log_scale = (tape.input(np.zeros(e.shape[1:]), f"{n}.{k}") for k in ("loc", "log scale"))
            inputs += [loc, log_scale]
            u = loc + np.exp(log_scale) * e
            transform = self.transform(n)
            x = draws[n] = transform(u)
            entropy = entropy + np.sum(log_scale) + 0.5 * log_scale.size * (1.0 + np.log(2.0 * np.pi))
            if not transform.is_identity:
                entropy = entropy + np.sum(transform.log_abs_det_jacobian(u, x)) / len(e)
        return inputs, draws, entropy

    @cached_property
    def _moments(self) -> Callable:
        tape = Tape()
        _, draws, entropy = self._recorded(tape)
        tables = self._tables(draws)
        run = compile_program(program_of(tape, [entropy, *tables.values()]))
        return lambda *x: (lambda out: (out[0], dict(zip(tables, out[1:], strict=True))))(run(*x))

    def moments(self, values: Mapping[str, np.ndarray]) -> tuple[float, dict[tuple[str, str], np.ndarray]]:
        """The entropy of the free sites, and their functions at the draws."""
        with np.errstate(all="ignore"):
            entropy, tables = self._moments(*self._vector(values))
        return float(entropy), tables

    def _vector(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        out = []
        for n in self.noise:
            out += [values[f"{n}.loc"], np.log(values[f"{n}.scale"])]
        return out

    @cached_property
    def _climb(self) -> tuple[Callable, list[tuple[str, str]]]:
        e, tape = self.execution, Tape()
        inputs, draws, entropy = self._recorded(tape)
        fixed = {k: tape.input(np.ones([x.size for x in e.blocks[k[0]].statistic_axes(k[1])]), str(k)) for k in e.names}
        means = {**fixed, **self._tables(draws)}
        value = entropy
        for part in e.parts:
            if any(o.block not in e.blocks for o in part.operands):
                value = value + part.coefficient * contract(part.rest(means, {}), (), {}, part.labels, smooth=True)
        program = gradient(program_of(tape, [value]), list(range(len(inputs))))
        return compile_program(program), list(fixed)

    def objective(self, means: Mapping) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Minus the free part of the bound and its gradient, at a vector of all loc and log scale."""
        run, names = self._climb
        fixed = [means[k] for k in names]
        shapes = [s for e in self.noise.values() for s in (e.shape[1:], e.shape[1:])]

        def f(x: np.ndarray) -> tuple[float, np.ndarray]:
            with np.errstate(all="ignore"):
                value, *slopes = run(*_cut(x, shapes), *fixed)
            return -float(value), -np.concatenate([np.ravel(g) for g in slopes])

        return f

    def joined(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The parameters as one vector."""
        return np.concatenate([np.ravel(x) for x in self._vector(values)])

    def metric(self, x: np.ndarray) -> np.ndarray:
        """The inverse Fisher information of the normals: the squared scale of a loc, 1/2 of a log scale."""
        values = self.parted(x)
        pieces = [(np.ravel(values[f"{n}.scale"]) ** 2, np.full(values[f"{n}.scale"].size, 0.5)) for n in self.noise]
        return np.concatenate([y for pair in pieces for y in pair])

    @cached_property
    def logarithmic(self) -> np.ndarray:
        """Which coordinates are log scales."""
        pieces = [(np.zeros(e[0].size, bool), np.ones(e[0].size, bool)) for e in self.noise.values()]
        return np.concatenate([y for pair in pieces for y in pair])

    def parted(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters by name."""
        shapes = [s for e in self.noise.values() for s in (e.shape[1:], e.shape[1:])]
        pieces, out = iter(_cut(x, shapes)), {}
        for n in self.noise:
            out[f"{n}.loc"] = next(pieces)
            out[f"{n}.scale"] = np.exp(next(pieces))
        return out


def _cut(x: np.ndarray, shapes: list) -> list[np.ndarray]:
    ends = np.cumsum([0, *(int(np.prod(s, dtype=np.int64)) for s in shapes)])
    return [x[a:b].reshape(s) for s, a, b in zip(shapes, ends, ends[1:], strict=False)]


def _spread(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Standard normal draws, antithetic, of mean 0 and variance 1 exactly, and uncorrelated where they are enough."""
    e = rng.standard_normal((count // 2, size))
    if count // 2 > size:
        e = np.linalg.qr(e)[0] * (count // 2) ** 0.5
    else:
        e = e / np.sqrt(np.mean(e * e, axis=0))
    return np.concatenate([e, -e])
