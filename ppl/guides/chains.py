"""The laws of chains in the guide of closed-form updates: steps in time, each given the one before.

| chain of | parameters |
|---|---|
| states | `<site>.initial`: q(z_1); `<site>.transitions`: q(z_(t+1) given z_t) of every step |
| normals | `<site>.loc`; `<site>.gains` G, `<site>.scale_trils` L: x_t = loc_t + G_t (x_(t-1) - loc_(t-1)) + L_t e_t |

`<site>` is the first site of the chain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..array import scan, triangular_solve
from ..distributions import Distribution, constraints
from ..distributions._counting import pick
from ..distributions.constraints import Array
from ..graph import Recorder
from ..model import Site, row_axes
from .factor import Factor, draw_base

_LOG_2PI = math.log(2.0 * math.pi)
CLOSED = "closed-form updates"  # the origin of factors that are updated in closed form


class StateChain(Distribution):
    """z_1 .. z_T of K states each: `log q(z) = log initial[z_1] + sum_t log transitions[t, z_t, z_(t+1)]`.

    >>> q = StateChain(np.array([0.5, 0.5]), np.array([[[0.9, 0.1], [0.2, 0.8]]]))
    >>> q.marginals()[1].round(2), q.log_prob(np.array([0, 1])).round(3)
    (array([0.55, 0.45]), np.float64(-2.996))
    """

    arg_constraints: ClassVar = {
        "initial": constraints.simplex,
        "transitions": constraints.independent(constraints.simplex, 2),
    }
    noise = "uniform"
    initial: Array
    transitions: Array

    def __init__(self, initial: Array, transitions: Array, *, validate_args: bool | None = None) -> None:
        steps = np.shape(transitions)[-3] + 1
        arguments = {"initial": initial, "transitions": transitions}
        super().__init__(arguments, event_shape=(steps,), validate_args=validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, np.shape(self.initial)[-1] - 1), 1)

    def _moves(self) -> Array:
        """The transitions, time first."""
        return np.moveaxis(self.transitions, -3, 0)

    def from_noise(self, noise: Array) -> Array:
        reached = np.cumsum(self.initial, axis=-1)[..., :-1]
        first = np.sum(1.0 * (noise[..., :1] > reached), axis=-1)
        columns = np.swapaxes(np.cumsum(self._moves(), axis=-1)[..., :-1], -1, -2)  # of the states before

        def step(z: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
            by_state, u = x
            below = pick(by_state, np.broadcast_to(np.expand_dims(z, -1).astype(int), np.shape(by_state)[:-1]))
            z = np.sum(1.0 * (np.expand_dims(u, -1) > below), axis=-1)
            return z, z

        later = scan(step, first, (columns, np.moveaxis(noise[..., 1:], -1, 0)))[1]
        whole = np.concatenate([np.expand_dims(first, 0), later], axis=0)
        return np.moveaxis(whole, 0, -1).astype(int)

    def _log_density(self, x):
        k = np.shape(self.initial)[-1]
        flat = np.reshape(self.transitions, (*np.shape(self.transitions)[:-2], k * k))
        moves = pick(flat, x[..., :-1] * k + x[..., 1:])
        return np.log(pick(self.initial, x[..., 0])) + np.sum(np.log(moves), axis=-1)

    def marginals(self) -> Array:
        """q(z_t), of shape (..., T, K)."""
        later = scan(self._after, self.initial, self._moves())[1]
        return np.moveaxis(np.concatenate([np.expand_dims(self.initial, 0), later], axis=0), 0, -2)

    @staticmethod
    def _after(p: Array, moves: Array) -> tuple[Array, Array]:
        p = np.sum(np.expand_dims(p, -1) * moves, axis=-2)
        return p, p

    def _entropy(self):
        of_rows = -np.sum(self.transitions * np.log(self.transitions), axis=-1)
        inner = np.sum(self.marginals()[..., :-1, :] * of_rows, axis=(-2, -1))
        return inner - np.sum(self.initial * np.log(self.initial), axis=-1)


class NormalChain(Distribution):
    """Variables in steps of `sizes`: `x_t = loc_t + G_t (x_(t-1) - loc_(t-1)) + L_t e_t`, with standard normal e.

    `gains` G and `scale_trils` L have shapes (..., steps, D, D) for the largest size D; what is beyond a smaller
    step is an identity in L, and G of the first step is 0.

    >>> gains, trils = np.array([0.0, 0.5]).reshape(2, 1, 1), np.ones((2, 1, 1))
    >>> NormalChain(np.zeros(2), gains, trils, (1, 1)).variance
    array([1.  , 1.25])
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "gains": constraints.independent(constraints.real, 3),
        "scale_trils": constraints.independent(constraints.lower_cholesky, 1),
    }
    support = constraints.real_vector
    reparameterized = True
    noise = "normal"
    _static = ("sizes",)
    loc: Array
    gains: Array
    scale_trils: Array
    sizes: tuple[int, ...]

    def __init__(
        self, loc: Array, gains: Array, scale_trils: Array, sizes: Sequence[int], *, validate_args: bool | None = None
    ) -> None:
        arguments = {"loc": loc, "gains": gains, "scale_trils": scale_trils, "sizes": np.asarray(sizes)}
        super().__init__(arguments, event_shape=np.shape(loc)[-1:], validate_args=validate_args)

    def _steps(self, x: Array) -> Array:
        """The variables (..., V) by step (..., S, D), 0 where a step is smaller."""
        sizes = np.asarray(self._arguments["sizes"])
        n, count = int(sizes.max()), len(sizes)
        lead = np.shape(x)[:-1]
        if np.all(sizes == n):
            return np.reshape(x, (*lead, count, n))
        live = np.arange(n) < sizes[:, None]
        padded = np.concatenate([x, np.zeros((*lead, 1))], axis=-1)
        where = np.where(live, np.cumsum(live).reshape(live.shape) - 1, np.shape(x)[-1])
        return padded[..., where]

    def _variables(self, steps: Array) -> Array:
        """What `_steps` was made of."""
        sizes = np.asarray(self._arguments["sizes"])
        n = int(sizes.max())
        flat = np.reshape(steps, (*np.shape(steps)[:-2], len(sizes) * n))
        return flat if np.all(sizes == n) else flat[..., np.flatnonzero(np.arange(n) < sizes[:, None])]

    def from_noise(self, noise: Array) -> Array:
        shocks = np.matmul(self.scale_trils, np.expand_dims(self._steps(noise), -1))

        def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            gain, shock = now
            x = np.matmul(gain, x) + shock
            return x, x

        shocks = np.moveaxis(shocks, -3, 0)
        gains = np.moveaxis(self.gains, -3, 0)
        x = scan(step, np.zeros(np.shape(shocks)[1:]), (gains, shocks))[1]
        return self.loc + self._variables(np.moveaxis(x, 0, -3)[..., 0])

    def _log_density(self, x):
        steps = np.expand_dims(self._steps(x - self.loc), -1)
        before = np.concatenate([np.zeros_like(steps[..., :1, :, :]), steps[..., :-1, :, :]], axis=-3)
        z = triangular_solve(self.scale_trils, steps - np.matmul(self.gains, before))
        return -0.5 * np.sum(z * z, axis=(-3, -2, -1)) - self._log_volume() - 0.5 * _LOG_2PI * self.event_shape[0]

    def _log_volume(self) -> Array:
        return np.sum(np.log(np.diagonal(self.scale_trils, axis1=-2, axis2=-1)), axis=(-2, -1))

    def _mean(self):
        return self.loc

    _mode = _mean

    def _variance(self):
        noise = np.matmul(self.scale_trils, np.swapaxes(self.scale_trils, -1, -2))

        def step(v: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            gain, own = now
            v = np.matmul(np.matmul(gain, v), np.swapaxes(gain, -1, -2)) + own
            return v, np.diagonal(v, axis1=-2, axis2=-1)

        noise, gains = (np.moveaxis(x, -3, 0) for x in (noise, self.gains))
        found = scan(step, np.zeros(np.shape(noise)[1:]), (gains, noise))[1]
        return self._variables(np.moveaxis(found, 0, -2))

    def _entropy(self):
        return 0.5 * self.event_shape[0] * (1.0 + _LOG_2PI) + self._log_volume()


@dataclass(frozen=True)
class Part:
    """A site of a chain: its axis of time (None for one step), those of a step's vector, and its places in a draw."""

    site: str
    time: int | None
    event: tuple[int, ...]
    places: tuple[int, ...]

    def of(self, draw: Any, shape: tuple[int, ...]) -> Any:
        """The site's value, of this shape, in a draw whose last axis is the chain."""
        own = (*(() if self.time is None else (self.time,)), *self.event)
        places = np.reshape(self.places, [shape[i] for i in own])
        step = np.diff(self.places)
        if len(self.places) > 1 and np.all(step == 1):
            found = draw[..., self.places[0] : self.places[-1] + 1]
            found = np.reshape(found, (*np.shape(draw)[:-1], *places.shape))
        else:
            found = draw[..., places] if places.ndim else draw[..., self.places[0]]
        order = (*(i for i in range(len(shape)) if i not in own), *own)
        return np.transpose(found, np.argsort(order).tolist())


@dataclass(frozen=True)
class ChainFamily:
    """The family of a chain's sites: `count` states, or normals in steps of `sizes`."""

    parts: tuple[Part, ...]
    count: int = 0
    sizes: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """That of its first site, as parameters are called."""
        return self.parts[0].site

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(p.site for p in self.parts)

    def row(self) -> list:
        """As files hold it."""
        parts = [[p.site, -1 if p.time is None else p.time, list(p.event), list(p.places)] for p in self.parts]
        return [parts, self.count, list(self.sizes)]

    @classmethod
    def of(cls, row: Sequence) -> ChainFamily:
        """From what `row` gave."""
        parts, count, sizes = row
        whole = lambda xs: tuple(int(x) for x in xs)
        made = (Part(s, None if int(t) < 0 else int(t), whole(e), whole(p)) for s, t, e, p in parts)
        return cls(tuple(made), int(count), whole(sizes))

    def part(self, site: str) -> Part:
        return next(p for p in self.parts if p.site == site)

    @property
    def title(self) -> str:
        """Its sites, of many the first and the last."""
        names = self.sites
        return ", ".join(names) if len(names) <= 3 else f"{names[0]}, ..., {names[-1]}"

    def factor(self, recorder: Recorder, site: Site) -> Factor:
        """The factor of all its sites, drawn on the tape; `site` is one of them."""
        own = self.part(site.name)
        shape = site.fn.shape()
        inside = {*own.event, *(() if own.time is None else (own.time,))}
        lead = [i for i in range(len(shape)) if i not in inside]
        full = list(shape)
        for p in site.plates:
            full[len(shape) - site.fn.event_dim + p.dim] = p.size
        batch = tuple(full[i] for i in lead)

        def parameter(kind: str, own_shape: tuple[int, ...], start: np.ndarray, constraint: Any) -> Any:
            return recorder.parameter(
                f"{self.name}.{kind}",
                lambda: np.broadcast_to(start, (*batch, *own_shape)).copy(),
                constraint,
                lambda ndim: row_axes(site.plates, ndim - len(own_shape)),
            )

        if self.count:
            k, steps = self.count, sum(len(p.places) for p in self.parts)
            even = np.full((), 1.0 / k)
            first = parameter("initial", (k,), even, constraints.simplex)
            kinds = StateChain.arg_constraints["transitions"]
            base: Distribution = StateChain(first, parameter("transitions", (steps - 1, k, k), even, kinds))
        else:
            n, steps, given = max(self.sizes), len(self.sizes), NormalChain.arg_constraints
            loc = parameter("loc", (sum(self.sizes),), np.zeros(()), given["loc"])
            gains = parameter("gains", (steps, n, n), np.zeros(()), given["gains"])
            trils = parameter("scale_trils", (steps, n, n), np.eye(n), given["scale_trils"])
            base = NormalChain(loc, gains, trils, self.sizes)
        noise, kind, draw = draw_base(recorder, self.title, base)
        facts = base.reparameterized, CLOSED
        return Factor(self.title, self.sites, base, noise, kind, draw, {}, {}, None, site.plates, *facts)
