"""Coordinate ascent on the bound: `eta <- grad F`, block by block, locals first.

    State --step--> State      the bound never falls

A state holds the global mean parameters, what they give the local latents as weights, and the sums that came back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .blocks import Block, Joint
from .chains import Chain, StateChains, has_states
from .contraction import contract
from .execution import Execution, Means
from .families import Categories, Dirichlets, Normals, diagonal
from .free import Free
from .shards import Shard, Shards

FREE = "free latents"
PASSES, SETTLING = 10, 10  # of a start with nested latents: passes, and sweeps of the inner latents in each
Batch = list  # the tables of a minibatch
FEW, MOST = 5, 50  # rows that each category of a start begins with, and more of these for long vectors


@dataclass(frozen=True)
class State:
    """Where an ascent stands. `bound` is None before the first step."""

    means: Means
    eta: Means
    weights: Mapping[tuple, Any]
    local: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    entropy: Mapping[str, float] = field(default_factory=dict)
    terms: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, np.ndarray] = field(default_factory=dict)  # parameters of latents without a closed form

    @property
    def bound(self) -> float | None:
        return float(sum(self.terms.values()) + sum(self.entropy.values())) if self.terms else None


@dataclass(eq=False)
class Ascent:
    """The steps of a recognized model: `start` makes a state, `step` the next one.

    Latents without a closed form stay as they are in `state.free`; `moved` changes them.
    """

    execution: Execution
    shards: Shards | None = field(init=False)
    free: Free | None = field(init=False)

    def __post_init__(self) -> None:
        self.shards = Shards(self.execution) if self.execution.sums else None
        self.free = Free(self.execution) if self.execution.found.free else None

    # -- steps ------------------------------------------------------------------------------------
    def step(self, state: State, batch: Batch | None = None, rate: float = 1.0, sweeps: int = 1) -> State:
        """Every local block, then every global one: `eta <- (1 - rate) eta + rate grad F`.

        `batch` are the tables of a minibatch; without one, all rows. Locals that depend on each other are swept
        several times.
        """
        if self.shards is None:
            return self._globals(state, {}, {}, {}, rate)
        local, batches = state.local, self.batches(batch)
        for _ in range(sweeps if self.shards.coupled else 1):
            done = self.shards.over(batches(), state.weights, local)
            local = done.state
        return self._globals(state, done.sums, done.entropy, done.state, rate)

    @cached_property
    def middle(self) -> tuple[str, ...]:
        """Blocks between the global ones and local categories: theta of the documents, beside topics of words.

        They have an element for each of the groups that data sort the rows into.
        """
        e, found = self.execution, set()
        for p in e.found.products:
            hot = any(o.block in e.local and isinstance(e.blocks[o.block].family, Categories) for o in p.operands)
            sorted_by = {f.labels[-1] for f in p.data if f.fn == "is"}
            for o in p.operands:
                if hot and o.block in e.globals and isinstance(e.blocks[o.block].family, Dirichlets):
                    found |= {o.block} if sorted_by & set(o.labels[:-1]) else set()
        return tuple(n for n in e.globals if n in found)

    @property
    def nested(self) -> bool:
        """Are local categories shared out by latents of groups of rows, which should settle before the global ones?"""
        local = [self.execution.blocks[n].family for n in (self.shards.coupled if self.shards else ())]
        return bool(self.middle) or {Categories, Dirichlets} <= {*map(type, local)}

    def warmed(self, state: State) -> State:
        """Some passes in which the groups' latents begin evenly, and settle before the global ones move.

        Sweeps that move all of them alike end in worse optima: each group keeps what it was first.
        """
        first = {k: x for k, x in state.means.items() if k[0] in self.middle}
        local = state.local
        for _ in range(PASSES):
            means = {**state.means, **first}
            state = replace(state, means=means, weights=self._weights(means), local=local)
            for _ in range(SETTLING if self.middle else 0):
                done = self.shards.over(self.batches(None)(), state.weights, state.local)
                means, *_, weights = self.execution.sweep(self.middle)(state.means, done.sums)
                state = replace(state, means={**state.means, **means}, weights=weights, local=done.state)
            state = self.step(state, sweeps=SETTLING)
        return state

    def batches(self, batch: Batch | None) -> Callable[[], Iterable]:
        """What a pass goes through: a minibatch, or the shards of all rows."""
        if batch is None:
            return self.shards.blocks_of_rows
        return lambda: [(slice(0, self.shards.count), batch)]

    def _globals(self, state: State, sums: Mapping, entropy: Mapping, local: Mapping, rate: float) -> State:
        if rate == 1.0:
            means, eta, own, terms, weights = self.execution.sweep()(state.means, sums)
        else:
            sweep = self.execution.sweep(damped=True)
            means, eta, own, terms, weights = sweep(state.means, sums, state.eta, rate)
        entropy = {**{n: float(x) for n, x in own.items()}, **entropy}
        tables = {k: x for k, x in state.means.items() if k not in means}  # of free latents
        terms = {n: float(x) for n, x in terms.items()}
        return State({**means, **tables}, eta, weights, local, entropy, terms, state.free)

    def moved(self, state: State, values: Mapping[str, np.ndarray]) -> State:
        """The state with other parameters of the free latents."""
        entropy, tables = self.free.moments(values)
        means = {**state.means, **tables}
        terms = {n: float(x) for n, x in self.execution.sweep(())(means, {})[3].items()}
        return replace(state, means=means, terms=terms, entropy={**state.entropy, FREE: entropy}, free=values)

    def terms(self, state: State) -> Mapping[str, float]:
        """E[log p] by site; NaN for those of which only the sum is known."""
        several = {s for part in self.execution.parts if part.split for s in part.split[1]}
        if several and self.shards is None:
            return self.execution.by_site(state.means, {})
        return {**state.terms, **dict.fromkeys(several, np.nan)}

    def naturals(self, state: State) -> dict[tuple[str, str], np.ndarray]:
        """Natural parameters of all blocks: local ones given the global ones as they are."""
        out = {k: np.asarray(x) for k, x in state.eta.items()}
        if self.execution.local:
            out.update(self.locals(self.shards.over(self.batches(None)(), state.weights, state.local, keep=True)))
        return out

    def locals(self, done: Shard) -> dict[tuple[str, str], np.ndarray]:
        """The local natural parameters of a pass, with axes in the order of their sites."""
        e = self.execution
        out = {}
        for (n, s), x in done.natural.items():
            b = e.blocks[n]
            out[n, s] = np.moveaxis(x, 0, b.statistic_axes(s).index(b.axis_of(e.rows)))
        return out

    # -- starts -----------------------------------------------------------------------------------
    def start(
        self,
        rng: np.random.Generator,
        init: Mapping[str, Any] | None = None,
        few: bool = True,
        batch: Batch | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> State:
        """A first state: drawn from the priors; with `few`, where local categories are to be told apart, from rows.

        `init` are values to keep, `defaults` stand in where there is no prior to draw from.
        """
        e, init = self.execution, dict(init or {})
        given = {**(defaults or {}), **init}
        means: Means = {}
        values = {} if self.free is None else self.free.start(given)
        if self.free is not None:
            means.update(self.free.moments(values)[1])
        for n in e.globals:
            b = e.blocks[n]
            if isinstance(b, Joint) and all(site in given for site in b.sites):
                made = b.family.at(*(_flat(c, given[c.name]) for c in (b.x, b.y)))
            elif isinstance(b, Chain) and all(site in given for site in b.sites):
                made = b.at(given)
            elif isinstance(b.family, StateChains):
                made = b.family.start(self._picks(rng, [x.size for x in b.axes], 0, few))
            else:
                made = self._given(n, given[n]) if n in given else self._from_prior(n, means, rng)
            means.update({(n, s): x for s, x in made.items()})
        state = replace(self._rest(means, rng), free=values)
        told = any(site in init for n in e.globals for site in e.blocks[n].sites)
        if self.shards is None:
            chains = [n for n in e.globals if isinstance(e.blocks[n].family, StateChains)]
            if chains and few and not told:  # all else begins from the states that were picked
                made, eta, *_ = e.sweep([n for n in e.globals if n not in chains])(means, {})
                state = replace(state, means={**means, **made}, eta=eta)
            return state
        hot = [n for n in e.local if has_states(e.blocks[n])]
        asked = any(site in init for n in e.local for site in e.blocks[n].sites)
        if asked or (few and hot and not told):
            local = self._local_start(rng, init, hot, few, state.local)
            sums: dict[tuple, Any] = {}
            for rows, tables in self.batches(batch)():
                part = {k: x[rows] for k, x in local.items()}
                found = self.shards.gathered(tables, part, rows.stop - rows.start)
                sums = {k: x + sums[k] if sums else x for k, x in found.items()}
            made, eta, *_ = e.sweep()(state.means, sums)
            kept = {n for n in e.globals if any(site in init for site in e.blocks[n].sites)}
            means = {k: state.means[k] if k[0] in kept else x for k, x in made.items()}
            state = replace(state, means=means, eta=eta, weights=self._weights(means))
        return state

    def _rest(self, means: Means, rng: np.random.Generator) -> State:
        return State(means, {}, self._weights(means), self.default_local(rng))

    def default_local(self, rng: np.random.Generator) -> dict[tuple[str, str], np.ndarray]:
        """Local mean parameters to begin with, of latents that need each other's."""
        local: dict[tuple[str, str], np.ndarray] = {}
        if self.shards is not None:
            for n, s in self.shards._stated:
                local[n, s] = np.ones(self.shards.state_shape(n, s, self.shards.count))
                family = self.execution.blocks[n].family
                if s == "log":
                    local[n, s] = np.zeros_like(local[n, s])
                if isinstance(family, StateChains):
                    local[n, s] /= local[n, s].shape[-1] ** (1 if s == "is" else 2)
                    if s == "pair" and family.shared:
                        local[n, s] *= family.length - 1
                if isinstance(family, Categories | Dirichlets):
                    k = local[n, s].shape[-1]
                    local[n, s] = np.full_like(local[n, s], 1.0 / k if s == "is" else -np.log(k))
                if isinstance(family, Normals):
                    x = rng.standard_normal(self.shards.state_shape(n, "x", self.shards.count))
                    local[n, s] = x if s == "x" else self._rows_first_outer(n, x)
        return local

    def _rows_first_outer(self, n: str, x: np.ndarray) -> np.ndarray:
        b = self.execution.blocks[n]
        at = b.axes.index(b.axis_of(self.execution.rows))
        return np.moveaxis(b.family.outer(np.moveaxis(x, 0, at)), at, 0)

    def _weights(self, means: Means) -> dict[tuple, Any]:
        return {k: np.asarray(x) for k, x in self.execution.weights(means).items()}

    def _given(self, n: str, value: Any) -> dict[str, np.ndarray]:
        """The statistics of a value that the user gives."""
        b = self.execution.blocks[n]
        shape = tuple(x.size for x in b.axes)
        value = np.asarray(value)
        if isinstance(b.family, Categories):
            if value.size == np.prod(shape):
                return {"is": value.reshape(shape).astype(float)}
            return {"is": np.eye(shape[-1])[value.astype(int).reshape(shape[:-1])]}
        return b.family.at(value.reshape(shape).astype(float))

    def _from_prior(self, n: str, means: Means, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """From what the block's own prior says, given those before it; real ones at a draw, to tell equals apart."""
        e = self.execution
        b = e.blocks[n]
        eta = {s: np.zeros([x.size for x in b.statistic_axes(s)]) for s in b.family.statistics}
        for part in e.parts:
            known = all(o.block == n or (o.block, o.statistic) in means for o in part.operands)
            if part.site in b.sites and known and part.sum is None:
                for i, o in enumerate(part.operands):
                    if o.block == n:
                        stand_in = {(n, o.statistic): 0.0, **means}
                        g = contract(part.rest(stand_in, {}, without=i), o.labels, {}, also=part.labels)
                        eta[o.statistic] = eta[o.statistic] + part.coefficient * g
        if isinstance(b, Chain):
            return b.drawn(eta, rng)
        if isinstance(b, Joint):
            z = rng.standard_normal([x.size for x in b.x.axes])
            return b.family.solve(b.family.noisy(eta, z))[0]
        shape = tuple(x.size for x in b.axes)
        if isinstance(b.family, Normals):
            with np.errstate(all="ignore"):
                sd = np.sqrt(-0.5 / diagonal(b.family, eta["xx"]))
                loc = eta["x"] * sd * sd
            proper = np.all(np.isfinite(sd)) and np.all(sd > 0)
            x = rng.standard_normal(shape)
            return b.family.at(loc + sd * x if proper else x)
        if isinstance(b.family, Categories):
            noisy = rng.dirichlet(np.full(shape[-1], 5.0), shape[:-1])
            return {"is": noisy}
        with np.errstate(all="ignore"):
            if isinstance(b.family, Dirichlets):
                eta = {"log": np.maximum(eta["log"], 0.0) + rng.gamma(100.0, 0.01, shape) - 1.0}  # nearly even
            made, _ = b.family.solve(eta)
        if all(np.all(np.isfinite(x)) for x in made.values()):
            return made
        ones = np.full(shape, 1.0 / shape[-1] if isinstance(b.family, Dirichlets) else 0.5 if "log1m" in eta else 1.0)
        return b.family.at(ones)

    def _picks(self, rng: np.random.Generator, shape: Sequence[int], together: int, few: bool) -> np.ndarray:
        """Indicators of a category drawn for every element, with `few` for some alone; the last axes go together."""
        *lead, kinds = shape
        picks = np.eye(kinds)[rng.integers(kinds, size=lead)]
        if few:
            widest = max(
                (x.size for g in self.execution.globals for x in self.execution.blocks[g].axes[-1:]), default=0
            )
            alone = lead[: len(lead) - together]
            share = min(1.0, (FEW + min(widest, MOST)) * kinds / max(int(np.prod(alone)), 1))
            picks = picks * (rng.random((*alone, *(1,) * (together + 1))) < share)
        return picks

    def _local_start(
        self, rng, init: Mapping, hot: list[str], few: bool, state: Mapping
    ) -> dict[tuple[str, str], np.ndarray]:
        """Local mean parameters: as given, else a few rows of each category (or all rows, at random)."""
        e, shards = self.execution, self.shards
        out: dict[tuple[str, str], np.ndarray] = {}
        for n in e.local:
            b = e.blocks[n]
            at = b.axes.index(b.axis_of(e.rows))
            if all(site in init for site in b.sites):
                made = b.at(init) if isinstance(b, Chain) else self._given(n, init[n])
                out.update({(n, s): np.moveaxis(x, at, 0) for s, x in made.items()})
            elif n in hot:
                shape = shards.state_shape(n, "is", shards.count)
                picks = self._picks(rng, shape, 0 if isinstance(b, Chain) else len(shape) - 2, few)
                made = b.family.start(picks) if isinstance(b, Chain) else {"is": picks}
                out.update({(n, s): x for s, x in made.items()})
            else:
                for s in b.family.statistics:
                    default = np.zeros if s == "log" else np.ones
                    out[n, s] = state[n, s] if (n, s) in state else default(shards.state_shape(n, s, shards.count))
        return out


def _flat(b: Block, value: Any) -> np.ndarray:
    """A site's value without axes of length one."""
    return np.asarray(value, float).reshape([x.size for x in b.axes])
