"""Sums over finite sites, one after the other: log of sum over z of exp(sum of tables).

Tables are log densities with an axis on the left for each site that they read, then the axes of plates.
Sites of the innermost plates go first, for all elements at once; what is left of a plate is added up before
a site outside it goes (tensor variable elimination: Obermeyer, Bingham, Jankowiak et al. 2019). Within one
plate the site goes first whose table is the smallest. A chain of sites, each read with its neighbours only,
is one product of matrices, taken pairwise in log2(length) steps (Sarkka and Garcia-Fernandez 2021) where
states are few.

The same code runs on recorded tables, for the bound, and on plain ones with draws as their first axis; from
these `sample` draws the sites jointly, in the opposite order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..array import chain_log_sum, logsumexp
from .spread import MOST_SITES, MOST_STATES, Finite, Label, TooMany

CHAIN = 3  # sites between two others from which a chain is a product of matrices
FEW = 8  # states of a chain up to which matrices are multiplied, not vectors


class Table(NamedTuple):
    """Log densities: an axis for each label, then those of `shape`, of length 1 where all elements are alike."""

    x: Any
    labels: tuple[Label, ...]
    shape: tuple[int, ...]


class Total(NamedTuple):
    """What a sum comes to, per element of the plates whose axes are left, and which tables went into it."""

    x: Any
    dims: frozenset[int]
    tables: frozenset[int]


class Entangled(Exception):
    """Sites of different plates are read together in a way that no order of elimination undoes."""

    def __init__(self, labels: Sequence[Label]):
        super().__init__(labels)
        self.sites = frozenset(label.site for label in labels)


@dataclass
class _Part:
    """A table on its way, with the original ones that it is made of."""

    table: Table
    dims: frozenset[int]
    made_of: frozenset[int]


@dataclass
class Elimination:
    """Sums out the sites of some tables; `lead` axes stand before those of the labels.

    >>> states = np.arange(2)
    >>> z = Finite("z", (), states, (), 0)
    >>> (total,) = Elimination([z]).run([Table(np.log([0.25, 0.5]), (Label(0),), ())])
    >>> float(np.exp(total.x))
    0.75
    """

    sites: Sequence[Finite]
    starts: Mapping[int, int] = field(default_factory=dict)  # what stands before a loop's first step: see `spread`
    lead: int = 0
    steps: list[Any] = field(default_factory=list)  # how each site went, for drawing it back

    def run(self, tables: Sequence[Table]) -> list[Total]:
        """The log of the sum, as one total for each group of tables that share no site."""
        parts = [_Part(t, self.dims(t), frozenset((i,))) for i, t in enumerate(tables)]
        totals = []
        while parts:
            leaf = max((p.dims for p in parts), key=len)
            now = [p for p in parts if p.dims == leaf]
            parts = [p for p in parts if p.dims != leaf]
            for group in self.groups(now, leaf):
                part = self.summed(group, leaf)
                if not part.table.labels:
                    totals.append(Total(part.table.x, part.dims, part.made_of))
                    continue
                outer = frozenset().union(*(self.of(label) for label in part.table.labels))
                if outer == leaf:
                    raise Entangled(part.table.labels)
                parts.append(_Part(self.added_up(part.table, part.dims - outer), outer, part.made_of))
        return totals

    def of(self, label: Label) -> frozenset[int]:
        """The plates' axes of a site."""
        return frozenset(self.sites[label.site].dims)

    def dims(self, t: Table) -> frozenset[int]:
        """The axes of a table: those of its rows, and of the sites that it reads."""
        own = (i - len(t.shape) for i, n in enumerate(t.shape) if n != 1)
        return frozenset(own).union(*(self.of(label) for label in t.labels))

    def groups(self, parts: Sequence[_Part], leaf: frozenset[int]) -> list[list[_Part]]:
        """The parts that share sites of this plate; a site and its lags are one."""
        owner: dict[int, int] = {}
        root = list(range(len(parts)))

        def top(i: int) -> int:
            while root[i] != i:
                root[i] = root[root[i]]
                i = root[i]
            return i

        for i, p in enumerate(parts):
            for label in p.table.labels:
                if self.of(label) == leaf:
                    root[top(i)] = top(owner.setdefault(label.site, i))
        found: dict[int, list[_Part]] = {}
        for i, p in enumerate(parts):
            found.setdefault(top(i), []).append(p)
        return list(found.values())

    def summed(self, group: Sequence[_Part], leaf: frozenset[int]) -> _Part:
        """The sites of this plate summed out of parts that share them."""
        made_of = frozenset().union(*(p.made_of for p in group))
        tables = [p.table for p in group]
        mine = {label for t in tables for label in t.labels if self.of(label) == leaf}
        series = {label.site for label in mine if label.lag}
        plain = {label for label in mine if label.site not in series}
        tables = self.chains(tables, plain)
        tables = self.one_by_one(tables, plain.intersection(label for t in tables for label in t.labels))
        if not series:
            return _Part(self.joined(tables), leaf, made_of)
        step = _Series.of(self, tables, sorted(series))
        self.steps.append(step)
        return _Part(step.total, leaf - {self.time_of(step.chain)}, made_of)

    def time_of(self, sites: Sequence[int]) -> int:
        """The axis of time of sites inside a loop."""
        return self.sites[sites[0]].time + self.sites[sites[0]].event_ndim

    # -- tables ----------------------------------------------------------------------------------
    def size(self, labels: Sequence[Label]) -> int:
        return int(np.prod([self.sites[label.site].size for label in labels], dtype=float))

    def aligned(self, t: Table, labels: Sequence[Label], ndim: int) -> Any:
        own = np.shape(t.x)
        sizes = dict(zip(t.labels, own[self.lead :], strict=False))
        rows = own[self.lead + len(t.labels) :]
        shape = (
            *own[: self.lead],
            *(sizes.get(label, 1) for label in labels),
            *(1,) * (ndim - len(rows)),
            *rows,
        )
        return t.x if shape == own else np.reshape(t.x, shape)

    def joined(self, tables: Sequence[Table]) -> Table:
        """The sum of tables, with the labels of all."""
        if len(tables) == 1:
            return tables[0]
        labels = tuple(sorted({label for t in tables for label in t.labels}))
        if len(labels) > MOST_SITES or self.size(labels) > MOST_STATES:
            raise TooMany({label.site for label in labels}, float(self.size(labels)))
        ndim = max(len(t.shape) for t in tables)
        shape = np.broadcast_shapes(*(t.shape for t in tables))
        x = reduce(np.add, (self.aligned(t, labels, ndim) for t in tables))
        return Table(x, labels, shape)

    def added_up(self, t: Table, dims: frozenset[int]) -> Table:
        """The sum over plates' axes, which stay with length 1."""
        x, shape = t.x, list(t.shape)
        for d in sorted(dims):
            n = shape[d]
            x = np.sum(x, axis=d, keepdims=True) if np.shape(x)[d] == n else x * float(n)
            shape[d] = 1
        return Table(x, t.labels, tuple(shape))

    def without(self, t: Table, label: Label) -> Table:
        """One site summed out of a table."""
        self.steps.append(_Summed(t, label))
        left = tuple(other for other in t.labels if other != label)
        return Table(logsumexp(t.x, self.lead + t.labels.index(label)), left, t.shape)

    # -- orders --------------------------------------------------------------------------------------
    def one_by_one(self, tables: Sequence[Table], labels: set[Label]) -> list[Table]:
        """Each of these sites summed out of the tables that read it, smallest table first."""
        left = dict(enumerate(tables))
        readers: dict[Label, set[int]] = {}
        for i, t in left.items():
            for label in t.labels:
                readers.setdefault(label, set()).add(i)
        todo = set(labels)

        def cost(label: Label) -> int:
            return self.size({other for i in readers[label] for other in left[i].labels})

        queue = [(cost(label), label) for label in todo]
        heapq.heapify(queue)
        while queue:
            known, label = heapq.heappop(queue)
            if label not in todo:
                continue
            now = cost(label)
            if now > known:
                heapq.heappush(queue, (now, label))
                continue
            todo.discard(label)
            own = sorted(readers.pop(label))
            result = self.without(self.joined([left.pop(i) for i in own]), label)
            number = len(tables) + len(self.steps)
            left[number] = result
            for other in result.labels:
                readers[other].difference_update(own)
                readers[other].add(number)
                if other in todo:
                    heapq.heappush(queue, (cost(other), other))
        return list(left.values())

    def chains(self, tables: Sequence[Table], labels: set[Label]) -> list[Table]:
        """The tables with the inside of every chain of sites made one table of its two ends."""
        near: dict[Label, set[Label]] = {}
        wide: set[Label] = set()
        for t in tables:
            for label in t.labels:
                near.setdefault(label, set()).update(other for other in t.labels if other != label)
            if len(t.labels) > 2:
                wide.update(t.labels)
        inner = {x for x in labels if len(near[x]) == 2 and x not in wide}
        readers: dict[Label, list[int]] = {}
        for i, t in enumerate(tables):
            for label in t.labels:
                readers.setdefault(label, []).append(i)
        left: dict[int, Table] = dict(enumerate(tables))
        seen: set[Label] = set()
        for start in sorted(inner):
            if start in seen:
                continue
            path = _path(start, near, inner)
            seen.update(path)
            ends = path[0], path[-1]
            sizes = {self.sites[x.site].size for x in path}
            if len(path) - 2 < CHAIN or ends[0] == ends[1] or len(sizes) > 1 or max(sizes) > FEW:
                continue
            matrices, used = [], set()
            for a, b in pairwise(path):
                own = [i for i in readers[b] if set(left[i].labels) <= {a, b} and (a in left[i].labels or b != ends[1])]
                used.update(own)
                matrices.append(self.matrix([left[i] for i in own], a, b))
            step = _Chain.of(self, matrices, path)
            for i in used:
                del left[i]
            self.steps.append(step)
            left[len(tables) + len(self.steps)] = step.total
        return list(left.values())

    def matrix(self, tables: Sequence[Table], a: Label, b: Label) -> Table:
        """The sum of tables of one or both of two sites, rows the states of `a`."""
        t = self.joined(tables)
        if a > b:
            t = Table(np.swapaxes(t.x, self.lead, self.lead + 1), (a, b), t.shape)
        return t

    # -- draws ---------------------------------------------------------------------------------------------
    def sample(self, rng: np.random.Generator) -> dict[Label, np.ndarray]:
        """Joint draws of all sites that were summed out: numbers of states, (draws, *axes of the tables)."""
        states: dict[Label, np.ndarray] = {}
        for step in reversed(self.steps):
            step.draw(self, states, rng)
        return states

    def given(
        self, t: Table, states: Mapping[Label, np.ndarray], labels: Sequence[Label], after: int = 0
    ) -> np.ndarray:
        """A table at the states of some of its sites, which lose their axes; `after` axes follow the states' own."""
        x = t.x
        left = list(t.labels)
        for label in labels:
            axis = 1 + left.index(label)
            rows = (*states[label].shape[1:], *(1,) * after)
            ndim = max(x.ndim, 1 + len(left) + len(rows))
            x = x.reshape((*x.shape[: 1 + len(left)], *(1,) * (ndim - x.ndim), *x.shape[1 + len(left) :]))
            own = (len(states[label]), *(1,) * (ndim - 1 - len(rows)), *rows)
            x = np.take_along_axis(*_lined_up(x, states[label].reshape(own), axis), axis=axis).squeeze(axis)
            left.remove(label)
        return x

    def choose(self, rng: np.random.Generator, logits: np.ndarray, dims: Sequence[int], sizes: Sequence[int]) -> Any:
        """A state for every element, by log weights (draws, states, *rows); these plates' axes at full length."""
        rows = list(logits.shape[2:])
        rows = [1] * (max([-d for d in dims], default=0) - len(rows)) + rows
        logits = logits.reshape((*logits.shape[:2], *rows))
        for d, n in zip(dims, sizes, strict=True):
            rows[d] = n
        weights = np.exp(logits - logits.max(1, keepdims=True))
        reached = np.cumsum(weights, axis=1)
        u = rng.random((len(logits), 1, *rows)) * reached[:, -1:]
        return np.sum(u >= reached[:, :-1], axis=1)

    def choose_for(
        self, rng: np.random.Generator, logits: np.ndarray, label: Label, without: int | None = None, after: int = 0
    ) -> np.ndarray:
        """The same for the plates of a site, but one axis; `after` axes follow those of the plates."""
        site = self.sites[label.site]
        pairs = [(d, site.shape[a]) for d, a in zip(site.dims, site.parallel, strict=True) if d != without]
        return self.choose(rng, logits, [d - after for d, _ in pairs], [n for _, n in pairs])


def _lined_up(x: np.ndarray, index: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Both with the same lengths but along one axis, for `take_along_axis`."""
    shape = [max(n, m) for n, m in zip(x.shape, index.shape, strict=True)]
    other = [1 if i == axis else n for i, n in enumerate(shape)]
    own = [x.shape[axis] if i == axis else n for i, n in enumerate(shape)]
    return np.broadcast_to(x, own), np.broadcast_to(index, other)


def _path(start: Label, near: Mapping[Label, set[Label]], inner: set[Label]) -> list[Label]:
    """The chain around a site: inner sites in order, and the two ends that are not."""

    def walk(before: Label, at: Label) -> list[Label]:
        found = [at]
        while at in inner and at != start:
            before, at = at, next(x for x in near[at] if x != before)
            found.append(at)
        return found

    one, other = sorted(near[start])
    right = walk(start, other)
    if right[-1] == start:  # a ring
        return [start, *right]
    return [*reversed(walk(start, one)), start, *right]


@dataclass(frozen=True)
class _Summed:
    """One site, given the others of its table."""

    table: Table
    label: Label

    def draw(self, e: Elimination, states: dict[Label, np.ndarray], rng: np.random.Generator) -> None:
        others = [x for x in self.table.labels if x != self.label]
        states[self.label] = e.choose_for(rng, e.given(self.table, states, others), self.label)


@dataclass(frozen=True)
class _Chain:
    """The sites of `path` between its two ends; `matrices` (lead, K, K, *rows, count) between neighbours."""

    path: Sequence[Label]
    matrices: Any
    total: Table

    @classmethod
    def of(cls, e: Elimination, tables: Sequence[Table], path: Sequence[Label]) -> _Chain:
        ndim = max(len(t.shape) for t in tables)
        aligned = [e.aligned(t, t.labels, ndim) for t in tables]
        shape = np.broadcast_shapes(*(np.shape(x) for x in aligned))
        matrices = np.concatenate([np.reshape(np.broadcast_to(x, shape), (1, *shape)) for x in aligned], 0)
        matrices = np.moveaxis(matrices, 0, -1)
        x, ends = products(matrices, e.lead)[-1][..., 0], (path[0], path[-1])
        if ends[0] > ends[1]:
            x, ends = np.swapaxes(x, e.lead, e.lead + 1), ends[::-1]
        return cls(path, matrices, Table(x, ends, np.broadcast_shapes(*(t.shape for t in tables))))

    def draw(self, e: Elimination, states: dict[Label, np.ndarray], rng: np.random.Generator) -> None:
        first, last = states[self.path[0]], states[self.path[-1]]
        found = between(e, rng, self.matrices, first, last, self.path[1])
        for i, label in enumerate(self.path[1:-1], 1):
            states[label] = found[..., i]


@dataclass(frozen=True)
class _Series:
    """Sites of a loop, given the rest: tables of neighbouring steps, and of many states those of single steps apart.

    `pairs` (lead, rest, states before, states now, *rows, time), time 1 where all steps are alike; `nodes` (lead,
    rest, states now, *rows, time), or None.
    """

    chain: Sequence[int]
    rest: tuple[Label, ...]
    pairs: Any
    nodes: Any
    total: Table

    @classmethod
    def of(cls, e: Elimination, tables: Sequence[Table], chain: Sequence[int]) -> _Series:
        every = sorted({label for t in tables for label in t.labels})
        now, before = ([Label(s, lag) for s in chain] for lag in (0, 1))
        if any(label.lag not in (0, 1) for label in every):
            raise Entangled([label for label in every if label.lag not in (0, 1)])
        rest = tuple(x for x in every if x.site not in chain)
        first = tuple(Label(e.starts[s]) for s in chain if e.starts.get(s, -1) >= 0)
        if set(first).intersection(rest):
            raise Entangled([*first, *now])
        if len(every) > MOST_SITES or e.size((*rest, *before, *now)) > MOST_STATES:
            raise TooMany({label.site for label in every}, float(e.size((*rest, *before, *now))))
        d, states, at = e.time_of(chain), e.size(now), e.lead + len(rest)
        shape = np.broadcast_shapes(*(t.shape for t in tables))
        single = [t for t in tables if not set(t.labels).intersection(before)] if states > FEW else []
        apart = [t for t in tables if not any(t is other for other in single)]
        ndim = len(shape)
        pairs = cls._laid(e, apart, rest, (*before, *now), (states, states), ndim, d)
        nodes = None
        if states > FEW:
            nodes = cls._laid(e, single, rest, now, (states,), ndim, d)
            nodes = np.broadcast_to(nodes, (*np.shape(nodes)[:-1], shape[d]))
            found = chain_log_sum(np.moveaxis(nodes, at, -1), np.moveaxis(pairs, (at, at + 1), (-2, -1)))
            total = np.moveaxis(found, -1, at)
        else:
            pairs = np.broadcast_to(pairs, (*np.shape(pairs)[:-1], shape[d]))
            total = logsumexp(products(pairs, at)[-1][..., 0], at + 1)
        # Before the first step stands a state: of another site, a known one, or any, since then all rows are alike.
        parts = [e.sites[s].size for s in chain]
        total = np.reshape(total, (*np.shape(total)[:at], *parts, *np.shape(total)[at + 1 :]))
        kept = (slice(None) if (i := e.starts.get(s, -1)) >= 0 else -1 - i for s in chain)
        total = total[(*(slice(None),) * at, *kept)]
        free = (*rest, *first)
        order = sorted(range(len(free)), key=free.__getitem__)
        axes = (*range(e.lead), *(e.lead + i for i in order), *range(e.lead + len(free), np.ndim(total)))
        left = list(shape)
        left[d] = 1
        return cls(chain, rest, pairs, nodes, Table(np.transpose(total, axes), tuple(sorted(free)), tuple(left)))

    @staticmethod
    def _laid(
        e: Elimination,
        tables: Sequence[Table],
        rest: tuple[Label, ...],
        inside: Sequence[Label],
        states: tuple[int, ...],
        ndim: int,
        d: int,
    ) -> Any:
        """The sum of tables: axes of the rest, those of the labels `inside` joined to `states`, rows, and time.

        Among the rows time leaves an axis of length 1.
        """
        labels, own = (*rest, *inside), len(inside)
        sizes = [e.sites[label.site].size for label in labels]
        if not tables:
            return np.zeros((*(1,) * (e.lead + len(rest)), *states, *(1,) * (ndim + 1)))
        t = e.joined(tables)
        x = e.aligned(t, tuple(sorted(labels)), ndim)
        ordered = sorted(labels)
        n = e.lead + len(labels)
        time = n + ndim + d
        others = [i for i in range(n, n + ndim) if i != time]
        x = np.transpose(x, (*range(e.lead), *(e.lead + ordered.index(label) for label in labels), *others, time))
        x = np.broadcast_to(x, (*np.shape(x)[: e.lead], *sizes, *np.shape(x)[n:]))
        rows = list(np.shape(x)[n:])
        rows.insert(ndim + d, 1)
        return np.reshape(x, (*np.shape(x)[: n - own], *states, *rows))

    def draw(self, e: Elimination, states: dict[Label, np.ndarray], rng: np.random.Generator) -> None:
        n = 1 + len(self.rest)
        x = e.given(Table(self.pairs, self.rest, np.shape(self.pairs)[n:]), states, self.rest, after=1)
        site, d = Label(self.chain[0]), e.time_of(self.chain)
        first = np.zeros((len(x), *(1,) * (x.ndim - 4)), dtype=int)
        for s in self.chain:
            start = e.starts.get(s, -1)
            own = states[Label(start)] if start >= 0 else np.full(1, -1 - start)
            first = first * e.sites[s].size + own.reshape((len(own), *(1,) * (first.ndim - own.ndim), *own.shape[1:]))
        pair = (site, Label(site.site, -1))  # before, and now
        if self.nodes is not None:
            y = e.given(Table(self.nodes, self.rest, np.shape(self.nodes)[n:]), states, self.rest, after=1)
            step = lambda t: x[..., min(t, x.shape[-1] - 1)] + y[..., t][:, None]
            at_first = Table(step(0), pair, np.shape(step(0))[3:])
            start = e.given(at_first, {site: first}, [site])
            found = step_by_step(e, rng, start, step, y.shape[-1], site, without=d)
        else:
            ends = Table(products(x, 1)[-1][..., 0], pair, x.shape[3:-1])
            last = e.choose_for(rng, e.given(ends, {site: first}, [site]), site, without=d)
            found = between(e, rng, x, first, last, site, without=d)[..., 1:]
        found = np.swapaxes(found, d - 1, -1)[..., 0]  # time in the place of its axis of length 1
        for s in reversed(self.chain):  # the states of the last site count fastest
            found, states[Label(s)] = np.divmod(found, e.sites[s].size)


def products(x: Any, at: int) -> list:
    """Matrices in log space, side by side along the last axis, and what neighbours multiply to, until one is left.

    Rows and columns are the axes `at` and `at + 1`. The long axis is the last, where arrays are fast.
    """
    levels = [x]
    while np.shape(levels[-1])[-1] > 1:
        x = levels[-1]
        n = np.shape(x)[-1]
        pairs = _log_product(x[..., 0 : n - n % 2 : 2], x[..., 1:n:2], at)
        levels.append(np.concatenate([pairs, x[..., n - 1 :]], -1) if n % 2 else pairs)
    return levels


def _log_product(a: Any, b: Any, at: int) -> Any:
    """log(exp(a) exp(b))"""
    left = np.reshape(a, (*np.shape(a)[: at + 2], 1, *np.shape(a)[at + 2 :]))
    right = np.reshape(b, (*np.shape(b)[:at], 1, *np.shape(b)[at:]))
    return logsumexp(left + right, at + 1)


def _log_step(a: Any, m: Any, at: int) -> Any:
    """log(exp(a) exp(m)) of vectors and matrices."""
    shape = np.shape(a)
    return logsumexp(np.reshape(a, (*shape[: at + 1], 1, *shape[at + 1 :])) + m, at)


def step_by_step(
    e: Elimination,
    rng: np.random.Generator,
    start: np.ndarray,
    step: Callable[[int], np.ndarray],
    count: int,
    label: Label,
    without: int | None = None,
) -> np.ndarray:
    """States (draws, *rows, count) of a loop: sums forwards, then draws backwards (Carter and Kohn 1994).

    `start` are the log weights of the first, `step(t)` (draws, K, K, *rows) the matrix from step t - 1 to t.
    """
    sums = [start]
    for t in range(1, count):
        sums.append(_log_step(sums[-1], step(t), 1))
    states = [e.choose_for(rng, sums[-1], label, without)]
    before, now = label, Label(label.site, -1)
    for t in reversed(range(1, count)):
        m = Table(step(t), (before, now), np.shape(step(t))[3:])
        states.append(e.choose_for(rng, sums[t - 1] + e.given(m, {now: states[-1]}, [now]), label, without))
    return np.stack(np.broadcast_arrays(*states[::-1]), -1)


def between(
    e: Elimination,
    rng: np.random.Generator,
    matrices: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    label: Label,
    without: int | None = None,
) -> np.ndarray:
    """States (draws, *rows, count + 1) around matrices (draws, K, K, *rows, count), given the first and the last.

    The state in the middle of two products is drawn given the outer ones, from the longest product to the
    shortest, for all pairs of one length at once.
    """
    shape = np.broadcast_shapes(first.shape, last.shape)
    states = np.stack([np.broadcast_to(first, shape), np.broadcast_to(last, shape)], -1)
    for level in reversed(products(matrices, 1)[:-1]):
        n = level.shape[-1]
        pairs = n // 2
        left = Table(level[..., 0 : 2 * pairs : 2], (label, Label(-1)), level.shape[3:])
        right = Table(level[..., 1 : 2 * pairs : 2], (Label(-1), label), level.shape[3:])
        a = e.given(left, {label: states[..., :pairs]}, [label])
        b = e.given(right, {label: states[..., 1 : pairs + 1]}, [label])
        middle = e.choose_for(rng, a + b, label, without, after=1)
        states = np.broadcast_to(states, (*middle.shape[:-1], states.shape[-1]))
        finer = np.empty((*middle.shape[:-1], n + 1), dtype=states.dtype)
        finer[..., 0 : 2 * pairs + 1 : 2] = states[..., : pairs + 1]
        finer[..., 1 : 2 * pairs : 2] = middle
        finer[..., n] = states[..., -1]
        states = finer
    return states
