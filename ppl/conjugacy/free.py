"""Latents without a closed form, beside those that have one: their part of the bound on fixed draws.

    q(x) = T(Normal(loc, scale)) for every free element;   x_s = T(loc + scale e_s), e_s fixed

In the products that they stand in, their functions are tables with an axis of draws, so that a closed-form
update sees their expectations as if these were data. Given all other mean parameters, the free part f of the bound
is a smooth function of loc and log scale, which a quasi-Newton method climbs. Real latents take natural gradients
in their normal's mean parameters instead (conjugate-computation variational inference, Khan and Lin 2017),

    precision <- (1 - rho) precision - rho E[f''],   loc <- loc + rho E[f'] / precision,

with the covariances of a vector among themselves; E[f''] comes from E[e f'] (Stein), exact where f is quadratic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..array import Tape, batch, compile_program, gradient, program_of, replay
from ..distributions import biject_to
from .algebra import Atom, value_of
from .contraction import contract
from .execution import Execution

LONGEST = 200  # vector whose covariances are fitted
HALVINGS = 12  # of a natural-gradient step


class FreeSite(NamedTuple):
    """A latent site, or a learned parameter, without a closed form."""

    value: Any
    shape: tuple[int, ...]
    support: Any
    is_parameter: bool

    @classmethod
    def of(cls, site: Any) -> FreeSite:
        return cls(site.value, site.fn.shape(), site.fn.support, False)

    @classmethod
    def of_parameter(cls, p: Any) -> FreeSite:
        return cls(p.node, p.node.shape, p.constraint, True)


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
        shapes = {n: self.transform(n).inverse_shape(s.shape) for n, s in self.sites.items()}
        ends = np.cumsum([0, *(int(np.prod(s, dtype=np.int64)) for s in shapes.values())])
        e = _spread(rng, count, int(ends[-1]))
        self.noise = {
            n: e[:, a:b].reshape(count, *s) for (n, s), a, b in zip(shapes.items(), ends, ends[1:], strict=False)
        }

    @cached_property
    def sites(self) -> dict[str, FreeSite]:
        """The free sites and parameters, by name."""
        recorded = self.execution.found.recorded
        return {
            n: FreeSite.of_parameter(recorded.parameters[n])
            if n in recorded.parameters
            else FreeSite.of(recorded.sites[n])
            for n in self.execution.found.free
        }

    @cached_property
    def points(self) -> list[str]:
        """Those that are single points, without a spread."""
        return [n for n, s in self.sites.items() if s.is_parameter or n in self.execution.points]

    def transform(self, name: str) -> Any:
        """From the unconstrained axis onto the support of a site."""
        return biject_to(self.sites[name].support)

    @cached_property
    def natural(self) -> dict[str, tuple[int, ...]]:
        """The real latents, and which axes of each are one vector."""
        real = [n for n in self.sites if self.transform(n).is_identity and n not in self.points]
        return {n: vector_axes(self.execution.found.recorded.sites[n]) for n in real}

    @cached_property
    def climbed(self) -> list[str]:
        """The others."""
        return [n for n in self.noise if n not in self.natural]

    def start(self, values: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Parameters `<site>.loc` and `<site>.scale`, or `.scale_tril`, to begin with."""
        out = {}
        for n, e in self.noise.items():
            loc = np.zeros(e.shape[1:])
            if values and n in values:
                loc = np.asarray(self.transform(n).inv(np.broadcast_to(values[n], self.sites[n].shape)))
            out[f"{n}.loc"], out[f"{n}.scale"] = loc, np.full(e.shape[1:], 0.3)
            if n in self.points:
                del out[f"{n}.scale"]
            if self.natural.get(n):
                size = int(np.prod([e.shape[1 + i] for i in self.natural[n]]))
                rest = [k for i, k in enumerate(e.shape[1:]) if i not in self.natural[n]]
                out[f"{n}.scale_tril"] = np.broadcast_to(0.3 * np.eye(size), (*rest, size, size))
                out[f"{n}.loc"] = self._as_vectors(n, loc)
                del out[f"{n}.scale"]
        return out

    def _as_vectors(self, n: str, x: np.ndarray, lead: int = 0) -> np.ndarray:
        """The axes of a latent's vectors last, and joined."""
        inner = self.natural[n]
        order = [i for i in range(x.ndim - lead) if i not in inner] + list(inner)
        moved = np.transpose(x, (*range(lead), *(i + lead for i in order)))
        return moved.reshape(*moved.shape[: moved.ndim - len(inner)], -1)

    def _as_site(self, n: str, x: np.ndarray) -> np.ndarray:
        """Draws of vectors in the shape of their site."""
        inner, shape = self.natural[n], self.noise[n].shape[1:]
        order = [i for i in range(len(shape)) if i not in inner] + list(inner)
        back = np.argsort(order)
        return np.transpose(x.reshape(len(x), *(shape[i] for i in order)), (0, *(back + 1)))

    def draws_of(self, n: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draws of a real latent."""
        if f"{n}.scale" in values:
            return values[f"{n}.loc"] + values[f"{n}.scale"] * self.noise[n]
        e = self._as_vectors(n, self.noise[n], 1)
        return self._as_site(n, values[f"{n}.loc"] + np.einsum("...ij,s...j->s...i", values[f"{n}.scale_tril"], e))

    # -- programs ----------------------------------------------------------------------------------
    @cached_property
    def _opaque(self) -> tuple[list[Atom], Callable]:
        """Opaque functions, and how they are recorded at draws of all free sites."""
        found = self.execution.found
        tape = found.recorded.tape
        atoms = [a for a, _ in found.free_factors if a.kind == "opaque"]
        program = program_of(tape, [a.node for a in atoms])
        number = {s.value: n for n, s in self.sites.items()}
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
        """Inputs (draws, or loc and log scale of every site), draws, and the entropy with the Jacobians."""
        inputs, draws, entropy = [], {}, 0.0
        for n, e in self.noise.items():
            if n in self.natural:
                draws[n] = tape.input(np.zeros(e.shape), f"{n} at draws")
                inputs.append(draws[n])
                continue
            if n in self.points:
                inputs.append(tape.input(np.zeros(e.shape[1:]), f"{n}.loc"))
                draws[n] = self.transform(n)(inputs[-1] + e)
                continue
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
        run = compile_program(
            program_of(tape, [np.asarray(entropy) if self.climbed == [] else entropy, *tables.values()])
        )
        return lambda *x: (lambda out: (out[0], dict(zip(tables, out[1:], strict=True))))(run(*x))

    def moments(self, values: Mapping[str, np.ndarray]) -> tuple[float, dict[tuple[str, str], np.ndarray]]:
        """The entropy of the free sites, and their functions at the draws."""
        with np.errstate(all="ignore"):
            entropy, tables = self._moments(*self._vector(values))
        return float(entropy) + self._entropy(values), tables

    def _entropy(self, values: Mapping[str, np.ndarray]) -> float:
        """The entropy of the real latents."""
        total = 0.0
        for n in self.natural:
            tril = values.get(f"{n}.scale_tril")
            scales = values[f"{n}.scale"] if tril is None else np.diagonal(tril, axis1=-2, axis2=-1)
            total += float(np.sum(np.log(scales)) + 0.5 * scales.size * (1.0 + np.log(2.0 * np.pi)))
        return total

    def _vector(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        out = []
        for n in self.noise:
            own = [self.draws_of(n, values)] if n in self.natural else _pair(values, n)
            out += own
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

    def objective(self, state: Any) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Minus the free part of the bound and its gradient, at a vector of all loc and log scale that are climbed."""
        values_at = self._values_at(state.means)
        vector, at = self._vector(state.free), self._places
        shapes = self._shapes

        def f(x: np.ndarray) -> tuple[float, np.ndarray]:
            own = iter(_cut(x, shapes))
            value, slopes = values_at([next(own) if i in at else v for i, v in enumerate(vector)])
            return -value, -np.concatenate([np.ravel(slopes[i]) for i in at])

        return f

    def _values_at(self, means: Mapping) -> Callable[[list], tuple[float, list]]:
        """The free part of the bound but for the entropy of real latents, and its slopes in the program's inputs."""
        run, names = self._climb
        fixed = [means[k] for k in names]

        def at(vector: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
            with np.errstate(all="ignore"):
                value, *slopes = run(*vector, *fixed)
            return float(value), slopes

        return at

    @cached_property
    def _places(self) -> list[int]:
        """Which inputs of the program are loc and log scale."""
        kinds = [n not in self.natural for n in self.noise for _ in range(self._inputs_of(n))]
        return [i for i, climbed in enumerate(kinds) if climbed]

    def _inputs_of(self, n: str) -> int:
        return 1 if n in self.natural or n in self.points else 2

    @cached_property
    def _shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what is climbed."""
        return [self.noise[n].shape[1:] for n in self.climbed for _ in range(self._inputs_of(n))]

    def joined(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The parameters that are climbed as one vector."""
        return np.concatenate([np.zeros(0), *(np.ravel(x) for n in self.climbed for x in _pair(values, n))])

    def metric(self, x: np.ndarray) -> np.ndarray:
        """The inverse Fisher information of the normals: the squared scale of a loc, 1/2 of a log scale."""
        values, out = self.parted(x), []
        for n in self.climbed:
            v = np.ravel(values.get(f"{n}.scale", np.ones(self.noise[n].shape[1:])))
            out += [v] if n in self.points else [v**2, np.full(v.size, 0.5)]
        return np.concatenate(out)

    @cached_property
    def logarithmic(self) -> np.ndarray:
        """Which coordinates are log scales."""
        kinds = [(n, kind) for n in self.climbed for kind in (False, True)[: self._inputs_of(n)]]
        return np.concatenate([np.full(self.noise[n][0].size, kind) for n, kind in kinds])

    def parted(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters that are climbed by name."""
        pieces, out = iter(_cut(x, self._shapes)), {}
        for n in self.climbed:
            out[f"{n}.loc"] = next(pieces)
            if n not in self.points:
                out[f"{n}.scale"] = np.exp(next(pieces))
        return out

    # -- natural gradients ---------------------------------------------------------------------------
    def natural_step(self, means: Mapping, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One step of the real latents; it is halved until the bound rises, and not taken where it never does."""
        values_at = self._values_at(means)
        before, slopes = values_at(self._vector(values))
        before += self._entropy(values)
        at = {n: i for i, n in enumerate(n for m in self.noise for n in [m] * self._inputs_of(m))}
        rate = 1.0
        for _ in range(HALVINGS):
            try:
                after = {**values}
                for n in self.natural:
                    after.update(self._moved(n, values, len(self.noise[n]) * slopes[at[n]], rate))
                found = values_at(self._vector(after))[0] + self._entropy(after)
            except np.linalg.LinAlgError:
                found = -np.inf
            if found >= before:
                return after
            rate *= 0.5
        return dict(values)

    def _moved(self, n: str, values: Mapping[str, np.ndarray], slope: np.ndarray, rate: float) -> dict[str, np.ndarray]:
        """A latent's parameters after a step, given the slope at every draw."""
        loc, e = values[f"{n}.loc"], self.noise[n]
        if f"{n}.scale" in values:
            scale = values[f"{n}.scale"]
            precision = (1.0 - rate) * scale**-2.0 - rate * np.mean(e * slope, axis=0) / scale
            if not np.all(precision > 0.0):
                raise np.linalg.LinAlgError
            return {f"{n}.loc": loc + rate * slope.mean(0) / precision, f"{n}.scale": precision**-0.5}
        tril, e, slope = values[f"{n}.scale_tril"], self._as_vectors(n, e, 1), self._as_vectors(n, slope, 1)
        inverse = np.linalg.inv(tril)
        second = np.swapaxes(inverse, -1, -2) @ np.einsum("s...i,s...j->...ij", e, slope) / len(e)
        precision = (1.0 - rate) * np.swapaxes(inverse, -1, -2) @ inverse
        precision = precision - 0.5 * rate * (second + np.swapaxes(second, -1, -2))
        np.linalg.cholesky(precision)  # an error where it is none
        covariance = np.linalg.inv(precision)
        step = np.squeeze(covariance @ slope.mean(0)[..., None], -1)
        return {f"{n}.loc": loc + rate * step, f"{n}.scale_tril": np.linalg.cholesky(covariance)}


def vector_axes(site: Any) -> tuple[int, ...]:
    """The axes of a real site that are one vector: those that are no plate's, unless it would be too long."""
    shape, event_dim = site.fn.shape(), site.fn.event_dim
    plates = {len(shape) - event_dim + p.dim for p in site.plates}
    own = tuple(i for i, k in enumerate(shape) if i not in plates and k > 1)
    return own if 1 < np.prod([shape[i] for i in own]) <= LONGEST else ()


def _pair(values: Mapping[str, np.ndarray], n: str) -> list[np.ndarray]:
    """What is climbed of a latent: loc and log scale, or the loc of a point."""
    return [values[f"{n}.loc"], *([np.log(values[f"{n}.scale"])] if f"{n}.scale" in values else [])]


def _cut(x: np.ndarray, shapes: list) -> list[np.ndarray]:
    ends = np.cumsum([0, *(int(np.prod(s, dtype=np.int64)) for s in shapes)])
    return [x[a:b].reshape(s) for s, a, b in zip(shapes, ends, ends[1:], strict=False)]


def _spread(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Standard normal draws, antithetic, of mean 0 and variance 1 exactly, and uncorrelated where they are enough."""
    if count == 1:  # for points alone
        return np.zeros((1, size))
    e = rng.standard_normal((count // 2, size))
    if count // 2 > size:
        e = np.linalg.qr(e)[0] * (count // 2) ** 0.5
    else:
        e = e / np.sqrt(np.mean(e * e, axis=0))
    return np.concatenate([e, -e])
