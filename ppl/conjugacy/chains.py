"""Blocks of several steps in time that keep their dependence: chains of finite states, and of normals.

    natural parameters of nodes and neighbours --messages--> mean parameters of nodes and neighbours

A chain's states have the statistics "is" (indicators, by node) and "pair" (of neighbours; their sum over time,
where nothing else is said about time). A chain of normals has "x", one vector of all its variables, and "xx",
products of those pairs of variables that some product of the model reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..array.recording import SHAPES, call_recording
from . import messages
from .algebra import ONE, Label
from .blocks import Block
from .families import Arrays, Categories

_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Member:
    """A site of a chain: which axis of its value is time (None for a single step), and which are a step's vector.

    `nodes` says which of the chain's nodes its steps are; of normals, `places` (steps, *vector) which variables.
    """

    block: Block
    time: int | None
    event: tuple[int, ...]
    nodes: np.ndarray
    places: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.block.name

    @cached_property
    def batch(self) -> tuple[int, ...]:
        """The axes of its value that are neither time nor a vector."""
        return tuple(i for i in range(len(self.block.shape)) if i != self.time and i not in self.event)


@dataclass(frozen=True, eq=False)
class Chain:
    """Sites that are one block: each step of them given the one before."""

    members: tuple[Member, ...]
    family: Any
    own: tuple[Label, ...]  # of the nodes and the kinds, or of the variables

    is_parameter = False

    @property
    def name(self) -> str:
        """The sites' names, of many the first and the last."""
        names = self.sites
        return ", ".join(names) if len(names) <= 3 else f"{names[0]}, ..., {names[-1]}"

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.members)

    @property
    def discrete(self) -> str:
        return self.members[0].block.discrete

    @property
    def plates(self) -> tuple[Any, ...]:
        return self.members[0].block.plates

    @property
    def scale(self) -> float:
        return self.members[0].block.scale

    @property
    def batch(self) -> tuple[Label, ...]:
        """The labels of independent chains side by side."""
        first = self.members[0]
        return tuple(x for i in first.batch if (x := first.block.atom.axes[i]) is not ONE)

    @property
    def axes(self) -> tuple[Label, ...]:
        return (*self.batch, *self.own)

    @property
    def inside(self) -> tuple[int, ...]:
        """The axes that its entropy has summed."""
        return tuple(range(len(self.batch), len(self.axes)))

    def axis_of(self, plate: str) -> Label | None:
        """The label of a plate's axis, along which chains are independent."""
        found = self.members[0].block.axis_of(plate)
        return found if found in self.batch else None

    def statistic_axes(self, statistic: str) -> tuple[Label, ...]:
        """The labels of one statistic's mean parameter."""
        if statistic in ("is", "x"):
            return self.axes
        return (*self.batch, *(Label(n) for n in self.family.shape_of(statistic)))

    def at(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The statistics of a value for every site: states, or probabilities of them along a last axis; variables."""
        lead = tuple(x.size for x in self.batch)
        out = np.zeros((*lead, *(x.size for x in self.own)))
        for m in self.members:
            value = np.asarray(values[m.name], float)
            if isinstance(self.family, StateChains):
                if value.ndim == len(m.block.shape):
                    value = np.eye(self.family.states)[value.astype(int)]
                order = (*m.batch, *(() if m.time is None else (m.time,)), value.ndim - 1)
                out[..., m.nodes, :] = np.transpose(value, order).reshape(*lead, len(m.nodes), self.family.states)
            else:
                order = (*m.batch, *(() if m.time is None else (m.time,)), *m.event)
                out[..., np.ravel(m.places)] = np.transpose(value, order).reshape(*lead, -1)
        return self.family.at(out)

    def drawn(self, eta: Arrays, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The statistics of a draw of normals; of standard ones where the natural parameters are of none."""
        lead = tuple(x.size for x in self.batch)
        family, z = self.family, rng.standard_normal((*lead, self.own[0].size))
        try:
            with np.errstate(all="ignore"):
                own, after, h = family.blocks(eta, lead)
                x = np.moveaxis(messages.drawn(own, after, h, rng)[family.step, :, family.slot], 0, -1)
        except np.linalg.LinAlgError:
            return family.at(z)
        return family.at(x.reshape(z.shape) if np.all(np.isfinite(x)) else z)

    @property
    def full_batch(self) -> tuple[int, ...]:
        """How many chains there are, every plate at its full size."""
        first = self.members[0]
        return tuple(first.block.full_shape[i] for i in first.batch)


@dataclass(frozen=True)
class StateChains:
    """z_1 .. z_T of K states each, every one given the one before."""

    length: int
    states: int
    shared: bool  # is the sum of the pairs over time all that is read of them?

    statistics = ("is", "pair")

    def shape_of(self, statistic: str) -> tuple[int, ...]:
        """The shape of a statistic of one chain."""
        if statistic == "is":
            return (self.length, self.states)
        return (self.states, self.states) if self.shared else (self.length - 1, self.states, self.states)

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        """Mean parameters, and the entropy of every chain."""
        lead = np.broadcast_shapes(np.shape(eta["is"])[:-2], np.shape(eta["pair"])[: -2 if self.shared else -3])
        out = call_recording(_state_moments, (self, lead, eta["is"], eta["pair"]), {})
        size = self.length * self.states
        nodes = np.reshape(out[..., :size], (*lead, *self.shape_of("is")))
        pairs = np.reshape(out[..., size:-1], (*lead, *self.shape_of("pair")))
        return {"is": nodes, "pair": pairs}, out[..., -1]

    def potentials(self, eta: Arrays, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Log potentials of nodes (T, B, K) and of neighbours (T - 1, B, K, K), 1 where they are the same for all."""
        count = math.prod(lead)
        unary = np.broadcast_to(eta["is"], (*lead, self.length, self.states)).reshape(count, self.length, self.states)
        pair = np.asarray(eta["pair"])
        if self.shared:
            pair = pair[..., None, :, :]
        alike = all(n == 1 or s == 0 for n, s in zip(pair.shape[:-3], pair.strides, strict=False))
        rest = pair.shape[-3:]
        if alike:
            pair = pair[(0,) * (pair.ndim - 3)].reshape(1, *rest)
        else:
            pair = np.broadcast_to(pair, (*lead, *rest)).reshape(count, *rest)
        pair = np.broadcast_to(pair, (*pair.shape[:-2], self.states, self.states))
        return np.ascontiguousarray(np.moveaxis(unary, 1, 0)), np.moveaxis(pair, 1, 0)

    def start(self, picks: np.ndarray) -> dict[str, np.ndarray]:
        """Mean parameters to begin with: these indicators, of nodes where there are any, and pairs all alike."""
        batch = picks.shape[:-2]
        steps = self.length - 1 if self.shared else 1.0
        even = np.full((*batch, *self.shape_of("pair")), steps / self.states**2)
        return {"is": picks, "pair": even}

    def at(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The statistics of states (or of probabilities of independent ones) as indicators."""
        pairs = x[..., :-1, :, None] * x[..., 1:, None, :]
        return {"is": x, "pair": pairs.sum(-3) if self.shared else pairs}


def _state_moments(family: StateChains, lead: tuple[int, ...], nodes: Any, pairs: Any) -> np.ndarray:
    """(nodes, pairs, entropy) of every chain, side by side."""
    unary, pair = family.potentials({"is": nodes, "pair": pairs}, lead)
    found = messages.states(unary, pair, family.shared)
    own, between = found.nodes, found.pairs
    if family.shared:
        inner = np.sum(between * pair[0], (-2, -1), where=between > 0.0)
        flat = between.reshape(len(between), -1)
    else:
        inner = np.sum(between * pair, (0, -2, -1), where=between > 0.0)
        flat = np.moveaxis(between, 0, 1).reshape(between.shape[1], -1)
    inner = inner + np.sum(own * unary, (0, -1), where=own > 0.0)
    out = [np.moveaxis(own, 0, 1).reshape(own.shape[1], -1), flat, (found.log_z - inner)[:, None]]
    return np.concatenate(out, -1).reshape(*lead, -1)


SHAPES[_state_moments] = lambda family, lead, nodes, pairs: (
    (*lead, sum(math.prod(family.shape_of(s)) for s in family.statistics) + 1),
    np.dtype(float),
)


@dataclass(frozen=True, eq=False)
class NormalChains:
    """Variables of normals, in steps of which each depends on the one before: `step[v]` of every variable.

    `pairs` are those whose products are statistics, (P, 2). A precision matrix of blocks comes of them.
    """

    step: np.ndarray  # in order
    pairs: np.ndarray

    statistics = ("x", "xx")

    @cached_property
    def sizes(self) -> np.ndarray:
        """How many variables each step has."""
        return np.bincount(self.step)

    @cached_property
    def slot(self) -> np.ndarray:
        """The place of every variable in its step."""
        starts = np.cumsum(self.sizes) - self.sizes
        return np.arange(len(self.step)) - starts[self.step]

    @cached_property
    def _places(self) -> tuple[np.ndarray, ...]:
        """Which pairs are of one step, and where; which are of a step and the next, and where; what is padded."""
        i, j = self.pairs.T
        n, a, b = int(self.sizes.max()), self.step, self.slot
        one = np.flatnonzero(a[i] == a[j])
        two = np.flatnonzero(a[i] != a[j])
        early, late = np.minimum(i, j)[two], np.maximum(i, j)[two]
        here, there = ((a[i] * n + b[x]) * n + b[y] for x, y in ((i, j), (j, i)))
        across = (a[early] * n + b[early]) * n + b[late]
        steps, slots = np.nonzero(np.arange(n) >= self.sizes[:, None])
        return one, here[one], there[one], two, across, (steps * n + slots) * n + slots

    @cached_property
    def _weight(self) -> np.ndarray:
        """-1/2 J_ii is the natural parameter of a square, -J_ij that of a product."""
        i, j = self.pairs.T
        return np.where(i == j, -2.0, -1.0)

    def shape_of(self, statistic: str) -> tuple[int, ...]:
        """The shape of a statistic of one chain."""
        return (len(self.step) if statistic == "x" else len(self.pairs),)

    def blocks(self, eta: Arrays, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The precision's blocks (S, B, D, D), those above them, and precision x mean (S, B, D)."""
        count, steps, n = math.prod(lead), len(self.sizes), int(self.sizes.max())
        second = np.broadcast_to(eta["xx"], (*lead, len(self.pairs))).reshape(count, -1) * self._weight
        one, here, there, two, across, padded = self._places
        own, after = np.zeros((count, steps * n * n)), np.zeros((count, steps * n * n))
        own[:, here] = own[:, there] = second[:, one]
        own[:, padded] = 1.0
        after[:, across] = second[:, two]
        h = np.zeros((count, steps, n))
        h[:, self.step, self.slot] = np.broadcast_to(eta["x"], (*lead, len(self.step))).reshape(count, -1)
        first = lambda x: np.ascontiguousarray(np.moveaxis(x, 1, 0))
        shape = (count, steps, n, n)
        return first(own.reshape(shape)), first(after.reshape(shape))[:-1], first(h)

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        """Mean parameters, and the entropy of every chain."""
        lead = np.broadcast_shapes(np.shape(eta["x"])[:-1], np.shape(eta["xx"])[:-1])
        out = call_recording(_normal_moments, (self, lead, eta["x"], eta["xx"]), {})
        n = len(self.step)
        return {"x": out[..., :n], "xx": out[..., n:-1]}, out[..., -1]

    def mode(self, eta: Arrays) -> Any:
        """The point of largest density."""
        return self.solve(eta)[0]["x"]

    def at(self, x: Any) -> dict[str, Any]:
        """The statistics of a point."""
        i, j = self.pairs.T
        return {"x": x, "xx": x[..., i] * x[..., j]}


def _normal_moments(family: NormalChains, lead: tuple[int, ...], first: Any, second: Any) -> np.ndarray:
    """(means, second moments, entropy) of every chain, side by side."""
    own, after, h = family.blocks({"x": first, "xx": second}, lead)
    found = messages.normals(own, after, h)
    mean = found.mean[family.step, :, family.slot]
    one, here, _, two, across, _ = family._places
    i, j = family.pairs.T
    moment = mean[i] * mean[j]
    flat = lambda x: np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    moment[one] += flat(found.own)[here]
    moment[two] += flat(found.next)[across]
    entropy = 0.5 * len(family.step) * (1.0 + _LOG_2PI) - 0.5 * found.log_det
    return np.concatenate([mean, moment, entropy[None]]).T.reshape(*lead, -1)


SHAPES[_normal_moments] = lambda family, lead, first, second: (
    (*lead, len(family.step) + len(family.pairs) + 1),
    np.dtype(float),
)


def sorted_values(chain: Chain, natural: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The guide's parameters of a chain: the same law forwards, each step given the one before."""
    eta = {s: np.asarray(natural[s]) for s in chain.family.statistics}
    lead = np.broadcast_shapes(*(x.shape[: len(chain.batch)] for x in eta.values()))
    full, name = chain.full_batch, chain.sites[0]
    back = lambda x, *shape: np.moveaxis(x, 0, 1).reshape(*full, *shape)
    if isinstance(chain.family, StateChains):
        unary, pair = chain.family.potentials(eta, lead)
        first, moves = messages.conditionals(unary, pair)
        k = chain.family.states
        tiny = np.finfo(float).tiny  # no state is impossible: log q stays finite
        first, moves = np.maximum(first, tiny), np.maximum(moves, tiny)
        return {f"{name}.initial": first.reshape(*full, k), f"{name}.transitions": back(moves, len(moves), k, k)}
    own, after, h = chain.family.blocks(eta, lead)
    mean = messages.normals(own, after, h).mean
    gains, factors = messages.steps_of(own, after)
    s, n = len(own), own.shape[-1]
    gains = np.concatenate([np.zeros_like(own[:1]), gains])
    mean = mean[chain.family.step, :, chain.family.slot]
    return {
        f"{name}.loc": mean.T.reshape(*full, len(mean)),
        f"{name}.gains": back(gains, s, n, n),
        f"{name}.scale_trils": back(factors, s, n, n),
    }


def has_states(block: Any) -> bool:
    """Are there categories, which can be told apart in several ways?"""
    return isinstance(block.family, Categories | StateChains)
