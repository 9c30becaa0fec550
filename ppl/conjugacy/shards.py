"""The local side: updates of the latents of a plate for some of its rows, and what they add to the sums.

    rows of the data, weights W --shard--> sums S, entropies (and the local mean parameters, where asked)

A shard is any set of rows: a block of the full data, or a minibatch. Sums of shards are added up; nothing else
passes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..array import Tape, compile_program, is_recorded, program_of
from .algebra import Atom, Factor, Label, aligned, labels_of
from .chains import Chain
from .contraction import Piece, contract
from .execution import SHARD, Execution, Sum
from .families import Categories, Normals

LARGEST_PRODUCT = 1 << 25  # elements of a product of tables that is kept

State = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Shard:
    """What a pass over some rows gives: `sums` by key and `entropy` by block, which add up over shards.

    `state` are local mean parameters that the next pass needs, `natural` all natural ones, where asked for.
    """

    sums: dict[tuple, Any]
    entropy: dict[str, float]
    state: State
    natural: State

    def __add__(self, other: Shard) -> Shard:
        """Both together."""
        join = lambda a, b: {k: np.concatenate([x, b[k]]) for k, x in a.items()}
        return Shard(
            {k: x + other.sums[k] for k, x in self.sums.items()},
            {n: x + other.entropy[n] for n, x in self.entropy.items()},
            join(self.state, other.state),
            join(self.natural, other.natural),
        )


@dataclass(eq=False)
class Shards:
    """Compiled local updates of an execution; `tables` are the data that its sums read, row by row."""

    execution: Execution
    features: dict[tuple[str, str], list[tuple]] = field(init=False)  # sums that are one matrix product together

    def __post_init__(self) -> None:
        e = self.execution
        self.features = {}
        for key, s in e.sums.items():
            if self._is_feature(s):
                (o,) = s.operands
                self.features.setdefault((o.block, o.statistic), []).append(key)
        joined = {k for keys in self.features.values() for k in keys}
        self.apart = [k for k in e.sums if k not in joined]
        self.atoms: dict[Atom, None] = {}  # data that are read as they are
        for k in self.apart:
            self.atoms.update(dict.fromkeys(f.atom for f in e.sums[k].data if self._by_row(k, f)))
        # Latents that meet another local latent in a product need its mean parameters of the sweep before.
        self.coupled = tuple(
            dict.fromkeys(
                o.block for s in e.sums.values() if len({o.block for o in s.operands}) > 1 for o in s.operands
            )
        )

    def _by_row(self, key: tuple, f: Factor) -> bool:
        return is_recorded(f.atom.value) or self.execution.sums[key].rows in f.labels

    def _is_feature(self, s: Sum) -> bool:
        """One local statistic times a table of rows by features that the rest reads: `Phi W`."""
        if len(s.operands) != 1 or any(f.fn == "is" or s.rows not in f.labels for f in s.data):
            return False
        (o,) = s.operands
        if isinstance(self.execution.blocks[o.block].family, Normals) and o.statistic == "xx":
            return False
        own, free = set(o.labels) - {s.rows}, set(_feature_labels(s))
        width = prod(x.size for x in free)
        several = len(s.data) > 1  # a product of tables is written out where that is not too large
        if several and width * self.count > LARGEST_PRODUCT:
            return False
        return not own & free and own | free == set(s.interface)

    # -- data ------------------------------------------------------------------------------------
    def _feature_table(self, which: tuple[str, str], value_of: Callable[[Atom], Any], count: int) -> Any:
        """Phi: (rows, features) of all sums of a statistic, side by side."""
        columns = []
        for key in self.features[which]:
            s = self.execution.sums[key]
            if not s.data:
                columns.append(np.ones((count, 1)))
                continue
            out = (s.rows, *_feature_labels(s))
            x: Any = None
            for f in s.data:
                y = aligned(value_of(f.atom), f.labels, out)
                x = y if x is None else x * y
            columns.append(np.reshape(x, (np.shape(x)[0], prod(np.shape(x)[1:]))))
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    @cached_property
    def count(self) -> int:
        """Rows of the plate in use: all, or those of a minibatch."""
        plate = self.execution.found.recorded.plates.get(self.execution.rows)
        return plate.subsample_size if plate is not None else 1

    @cached_property
    def tables(self) -> list[np.ndarray]:
        """All tables of a full plate, the rows first."""
        value = lambda a: np.asarray(a.value)
        phi = [np.ascontiguousarray(self._feature_table(w, value, self.count)) for w in self.features]
        return phi + [np.ascontiguousarray(np.moveaxis(value(a), self._row_at(a), 0)) for a in self.atoms]

    @cached_property
    def _rows_program(self) -> Callable:
        recorded = self.execution.found.recorded
        outputs = [self._feature_table(w, lambda a: a.value, self.count) for w in self.features]
        return compile_program(program_of(recorded.tape, [*outputs, *(a.value for a in self.atoms)]))

    def tables_of(self, indices: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The tables of a minibatch, whose rows are fetched now."""
        recorded = self.execution.found.recorded
        number = {x: n for n, x in recorded.indices.items() if is_recorded(x)}
        inputs = [indices[number[x]] if x in number else x.value for x in recorded.tape.inputs]
        with np.errstate(all="ignore"):
            return list(self._rows_program(*inputs))

    def _row_at(self, atom: Atom) -> int:
        """The axis of a table that runs over the rows."""
        for k in self.apart:
            s = self.execution.sums[k]
            for f in s.data:
                if f.atom is atom and s.rows in f.labels:
                    return f.labels.index(s.rows)
        return 0

    def blocks_of_rows(self) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """The full plate in shards: which rows, and their tables."""
        for start in range(0, self.count, SHARD):
            rows = slice(start, min(start + SHARD, self.count))
            yield rows, [t[rows] for t in self.tables]

    # -- one pass --------------------------------------------------------------------------------
    def over(
        self, batches: Iterable[tuple[slice, list]], weights: Mapping, state: State | None = None, keep: bool = False
    ) -> Shard:
        """Local updates of all these rows, shard by shard."""
        done = []
        for rows, tables in batches:
            mine = {k: x[rows] for k, x in state.items()} if state else {}
            done.append(self.update(tables, weights, mine, rows.stop - rows.start, keep))
        return total(done)

    def update(self, tables: Sequence[Any], weights: Mapping, state: State, count: int, keep: bool = False) -> Shard:
        """Local updates of some rows."""
        e = self.execution
        run, groups = self._compiled(count, "natural" if keep else "")
        inputs = [*tables, *(weights[k] for k in self._weighted), *(state[k] for k in self._stated)]
        with np.errstate(all="ignore"):
            out = iter(run(*inputs))
        sums, entropy, state, natural = ({k: next(out) for k in g} for g in groups)
        return Shard(sums, {n: float(x) * e.blocks[n].scale for n, x in entropy.items()}, state, natural)

    def gathered(self, tables: Sequence[Any], means: State, count: int) -> dict[tuple, Any]:
        """The sums of given local mean parameters."""
        run, groups = self._compiled(count, "given")
        with np.errstate(all="ignore"):
            out = run(*tables, *(means[k] for k in self.local_names))
        return dict(zip(groups[0], out, strict=True))

    @cached_property
    def local_names(self) -> list[tuple[str, str]]:
        """All local mean parameters."""
        return [(n, s) for n in self.execution.local for s in self.execution.blocks[n].family.statistics]

    @cached_property
    def _weighted(self) -> list[tuple]:
        return [k for k, s in self.execution.sums.items() if s.operands]

    @cached_property
    def _stated(self) -> list[tuple[str, str]]:
        return [(n, s) for n in self.coupled for s in self.execution.blocks[n].family.statistics]

    def state_shape(self, block: str, statistic: str, count: int) -> tuple[int, ...]:
        """The shape of a local mean parameter of so many rows, the rows first."""
        b = self.execution.blocks[block]
        row = b.axis_of(self.execution.rows)
        rest = [x.size for x in b.statistic_axes(statistic) if x is not row]
        return (count, *rest)

    @cached_property
    def _made(self) -> dict:
        return {}

    def _compiled(self, count: int, what: str) -> tuple[Callable, list]:
        if (count, what) not in self._made:
            self._made[count, what] = self._record(count, what)
        return self._made[count, what]

    def _record(self, count: int, what: str) -> tuple[Callable, list]:
        e, tape = self.execution, Tape()
        phi, at = {}, {}
        for w in self.features:
            width = sum(self._width(k) for k in self.features[w])
            phi[w] = tape.input(np.ones((count, width)), f"features of {w[0]}")
        for a in self.atoms:
            value = a.value
            shape = tuple(value.shape) if is_recorded(value) else self._rows_first(a, count)
            at[a] = tape.input(np.zeros(shape, int if a.kind == "index" else float), a.name)
        given = what == "given"
        weights = {} if given else {k: tape.input(np.ones(e.sum_shape(k)), "W") for k in self._weighted}
        found: dict[str, Any] = {}
        for n, s in self.local_names if given else self._stated:
            rows_first = tape.input(np.ones(self.state_shape(n, s, count)), f"{n}.{s}")
            at_row = e.blocks[n].statistic_axes(s).index(e.blocks[n].axis_of(e.rows))
            found.setdefault(n, {})[s] = np.moveaxis(rows_first, 0, at_row) if at_row else rows_first
        local = Local(self, count, phi, at, weights, found)
        entropy = {} if given else {n: local.solve(n) for n in e.local}
        sums = local.sums()
        entropy = {n: x - local.inner(n, sums) if local.by_sums(n) else x for n, x in entropy.items()}
        state = {} if given else {(n, s): local.kept(n, s, local.means(n)[s]) for n, s in self._stated}
        natural = {}
        if what == "natural":
            natural = {(n, s): local.kept(n, s, local.eta[n][s]) for n, s in self.local_names}
        groups = [sums, entropy, state, natural]
        program = program_of(tape, [x for g in groups for x in g.values()])
        return compile_program(program), groups

    def _rows_first(self, a: Atom, count: int) -> tuple[int, ...]:
        shape = list(np.shape(a.value))
        shape.pop(self._row_at(a))
        return (count, *shape)

    def _width(self, key: tuple) -> int:
        s = self.execution.sums[key]
        return prod(x.size for x in _feature_labels(s))


@dataclass(eq=False)
class Local:
    """One recording of the updates of `count` rows."""

    shards: Shards
    count: int
    phi: Mapping[tuple[str, str], Any]
    data: Mapping[Atom, Any]
    weights: Mapping[tuple, Any]
    found: dict[str, Any]  # block -> {statistic: mean parameter}, or the moments of normals
    eta: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _sizes(self, s: Sum) -> dict[Label, int]:
        return {s.rows: self.count} if s.rows is not None else {}

    def _data_pieces(self, s: Sum) -> list[Piece]:
        out = []
        for f in s.data:
            if f.atom in self.data:
                selected = f.labels[-1:] if f.fn == "is" else ()
                own = list(f.labels[: len(f.labels) - len(selected)])
                if s.rows in own and not is_recorded(f.atom.value):  # tables of full plates have their rows first
                    own.remove(s.rows)
                    own.insert(0, s.rows)
                out.append(Piece(self.data[f.atom], (*own, *selected), f.fn == "is"))
            else:
                out.append(Piece(f.atom.value, f.labels, f.fn == "is"))
        return out

    def natural(self, block: str) -> dict[str, Any]:
        """The natural parameters of the rows: `Phi W`, and what the sums apart add."""
        e = self.shards.execution
        b = e.blocks[block]
        out: dict[str, Any] = {}
        for (name, statistic), keys in self.shards.features.items():
            if name != block:
                continue
            columns = []
            for k in keys:
                s = e.sums[k]
                (o,) = s.operands
                own = [x for x in o.labels if x is not s.rows]
                features = _feature_labels(s)
                order = [s.interface.index(x) for x in (*features, *own)]
                w = self.weights[k] if order == list(range(len(order))) else np.transpose(self.weights[k], order)
                columns.append(np.reshape(w, (prod(x.size for x in features), prod(x.size for x in own))))
            w = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=0)
            flat = np.matmul(self.phi[name, statistic], w)
            out[statistic] = self._rows_in_place(flat, b, statistic)
        for k in self.shards.apart:
            s = e.sums[k]
            for i, o in enumerate(s.operands):
                if o.block != block:
                    continue
                others = [p for j, p in enumerate(s.operands) if j != i]
                pieces = [*self._data_pieces(s), Piece(self.weights[k], s.interface)]
                for more in self._alternatives(others):
                    g = contract(
                        [*pieces, *more],
                        o.labels,
                        self._sizes(s),
                        also=tuple({x for p in s.operands for x in p.labels} | labels_of(s.data)),
                    )
                    out[o.statistic] = out[o.statistic] + g if o.statistic in out else g
        if b.scale != 1.0:
            out = {s: x / b.scale for s, x in out.items()}
        for s in b.family.statistics:
            if s not in out:
                out[s] = np.zeros((1,) * len(b.statistic_axes(s)))
        return out

    def _rows_in_place(self, flat: Any, b: Any, statistic: str) -> Any:
        """(rows, everything else) with the axes of the block."""
        axes, row = b.statistic_axes(statistic), b.axis_of(self.shards.execution.rows)
        rest = [x.size for x in axes if x is not row]
        value = np.reshape(flat, (self.count, *rest)) if len(rest) != 1 or rest[0] != np.shape(flat)[1] else flat
        at = axes.index(row)
        return np.moveaxis(value, 0, at) if at else value

    def solve(self, block: str) -> Any:
        """Update a block; its entropy, summed over the rows."""
        e = self.shards.execution
        b, eta = e.blocks[block], self.natural(block)
        batch = [self.count if x is b.axis_of(e.rows) else x.size for i, x in enumerate(b.axes) if i not in _inside(b)]
        self.eta[block] = eta
        if block in e.points:
            x = b.family.mode(eta)
            self.found[block] = b.family.at(x)
            return np.zeros(())
        if isinstance(b.family, Normals):
            self.found[block], entropy = b.family.moments(eta)
        elif self.by_sums(block):
            self.found[block], entropy = b.family.normalized(eta)
        else:
            self.found[block], entropy = b.family.solve(eta)
        if prod(np.shape(entropy)) != prod(batch):
            entropy = np.broadcast_to(entropy, batch)
        return np.sum(entropy)

    def by_sums(self, block: str) -> bool:
        """Is <eta, mu> best read off the sums? Where nothing else moves, it is <W, S>, which is small."""
        return isinstance(self.shards.execution.blocks[block].family, Categories) and block not in self.shards.coupled

    def inner(self, block: str, sums: Mapping) -> Any:
        """<eta, mu> of all rows of a block, by its sums."""
        e = self.shards.execution
        parts = [
            np.sum(self.weights[k] * sums[k]) for k, s in e.sums.items() if any(o.block == block for o in s.operands)
        ]
        return sum(parts) / e.blocks[block].scale

    def _pieces(self, o: Any) -> list[list[Piece]]:
        """A local statistic as a sum of products of pieces: E[x x'] = covariance + mean mean'."""
        e = self.shards.execution
        b, found = e.blocks[o.block], self.found[o.block]
        if isinstance(found, dict):
            value = found[o.statistic]
            return [[_without_ones(value, o.labels)]]
        if o.statistic == "x":
            return [[_without_ones(found.mean, o.labels)]]
        n = len(b.axes)
        second = list(o.labels[:n])
        for i, x in zip(b.family.event, o.labels[n:], strict=True):
            second[i] = x
        mean = _without_ones(found.mean, o.labels[:n]), _without_ones(found.mean, tuple(second))
        return [[_without_ones(found.covariance, o.labels)], list(mean)]

    def _alternatives(self, operands: Sequence[Any]) -> list[list[Piece]]:
        out: list[list[Piece]] = [[]]
        for o in operands:
            out = [[*a, *b] for a in out for b in self._pieces(o)]
        return out

    def sums(self) -> dict[tuple, Any]:
        """What the rows add to every sum."""
        e = self.shards.execution
        out: dict[tuple, Any] = {}
        for (name, statistic), keys in self.shards.features.items():
            b = e.blocks[name]
            found = self.found[name]
            value = found[statistic] if isinstance(found, dict) else found.mean
            row = b.axis_of(e.rows)
            at = b.axes.index(row)
            value = np.moveaxis(value, at, 0) if at else value
            if np.ndim(value) != 2:
                value = np.reshape(value, (self.count, prod(np.shape(value)[1:])))
            whole = np.matmul(np.transpose(self.phi[name, statistic]), value)
            start = 0
            for k in keys:
                s = e.sums[k]
                width = self.shards._width(k)
                own = [x for x in s.operands[0].labels if x is not s.rows]
                features = _feature_labels(s)
                part = np.reshape(whole[start : start + width], [x.size for x in (*features, *own)])
                back = [(*features, *own).index(x) for x in s.interface]
                out[k] = np.transpose(part, back) if back != list(range(len(back))) else part
                start += width
        for k in self.shards.apart:
            s = e.sums[k]
            also = tuple({x for o in s.operands for x in o.labels} | labels_of(s.data))
            pieces = self._data_pieces(s)
            total: Any = 0.0
            for more in self._alternatives(s.operands):
                total = total + contract([*pieces, *more], s.interface, self._sizes(s), also=also)
            shape = e.sum_shape(k)
            out[k] = np.broadcast_to(total, shape) if np.shape(total) != shape else total
        return {k: out[k] for k in e.sums}

    def means(self, block: str) -> dict[str, Any]:
        """The mean parameters of a block, written out."""
        found = self.found[block]
        if isinstance(found, dict):
            return found
        family = self.shards.execution.blocks[block].family
        return {"x": found.mean, "xx": found.covariance + family.outer(found.mean)}

    def kept(self, block: str, statistic: str, value: Any) -> Any:
        """A parameter of all rows, the rows first."""
        e = self.shards.execution
        b = e.blocks[block]
        axes, row = b.statistic_axes(statistic), b.axis_of(e.rows)
        shape = tuple(self.count if x is row else x.size for x in axes)
        value = np.broadcast_to(value, shape) if np.shape(value) != shape else value
        at = axes.index(row)
        return np.moveaxis(value, at, 0) if at else value


def _feature_labels(s: Sum) -> list[Label]:
    """The axes of a sum's tables beside the rows, in order."""
    return list(dict.fromkeys(x for f in s.data for x in f.labels if x is not s.rows))


def total(shards: Sequence[Shard]) -> Shard:
    """Several shards together."""
    whole = shards[0]
    for s in shards[1:]:
        whole = whole + s
    return whole


def _inside(b: Any) -> tuple[int, ...]:
    """The axes that an entropy of a block has summed."""
    if isinstance(b, Chain):
        return b.inside
    if isinstance(b.family, Normals):
        return b.family.event
    return (len(b.axes) - 1,) if b.atom.support in ("simplex", "integer") else ()


def _without_ones(value: Any, labels: Sequence[Label]) -> Piece:
    """A piece without the axes along which it is the same for all."""
    shape = np.shape(value)
    kept = [i for i, n in enumerate(shape) if n != 1]
    if len(kept) == len(shape):
        return Piece(value, tuple(labels))
    return Piece(np.reshape(value, [shape[i] for i in kept]), tuple(labels[i] for i in kept))
