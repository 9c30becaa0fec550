"""F, the expected log joint, as array programs: global updates on sums, and local updates shard by shard.

    F(mu) = F_small(mu_global, S),   S = sum over rows n of phi[n] x mu_local[n]

Every product is split into the part that carries the rows of one plate and the rest. Given the global mean
parameters, the rest gives weights W, and a local natural parameter is `phi[n] W`; given the sums S, a global one
is `grad F_small`. F is multilinear, so a gradient is the same product without one of its factors. Both sides are
recorded as array programs and run flat: a `shard` for some rows, `combine` by addition, `sweep` for the globals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..array import Tape, compile_program, is_recorded, program_of
from .algebra import ONE, Atom, Factor, Label, labels_of
from .blocks import Operand, Product
from .contraction import Piece, contract
from .families import Normals
from .recognition import Recognized

SHARD = 8192  # rows updated at once
FEWEST_ROWS = 64  # of a plate whose latents are updated apart from the others
LARGEST_FOLD = 1 << 22  # elements of a product of data that is summed once and for all

Means = dict[tuple[str, str], Any]  # (block, statistic) -> mean parameter


@dataclass(frozen=True, eq=False)
class Sum:
    """sum_n of data and local statistics: `interface` labels its axes."""

    key: tuple
    operands: tuple[Operand, ...]
    data: tuple[Factor, ...]
    rows: Label | None
    interface: tuple[Label, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """One product after the split: global statistics, a sum over rows (with its labels here), and constants."""

    site: str
    coefficient: float
    operands: tuple[Operand, ...]
    sum: Sum | None
    sum_labels: tuple[Label, ...]
    constants: tuple[Piece, ...]
    split: tuple[Label | None, tuple[str, ...]] | None = None

    def rest(self, means: Mapping, sums: Mapping, without: int | None = None) -> list[Piece]:
        """All pieces but one; number -1 is the sum."""
        out = [Piece(means[o.block, o.statistic], o.labels) for i, o in enumerate(self.operands) if i != without]
        if self.sum is not None and without != -1:
            out.append(Piece(sums[self.sum.key], self.sum_labels))
        return [*out, *self.constants]

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """All labels that are summed over."""
        found = {x for o in self.operands for x in o.labels} | set(self.sum_labels)
        return tuple(found | {x for p in self.constants for x in p.labels})


def row_plate(found: Recognized, subsampled: bool = True) -> str | None:
    """The plate whose latents are local: the subsampled one, else the largest of which no element meets another."""
    plates = {p.name: p for b in found.blocks.values() for p in b.plates}
    plates.update({name: p for name, p in found.recorded.plates.items() if p.subsampled})
    able = [p for p in plates.values() if _separates(found, p.name)]
    chosen = [p for p in able if p.subsampled] or [p for p in able if p.size >= FEWEST_ROWS]
    return max(chosen, key=lambda p: p.size).name if chosen else None


def _separates(found: Recognized, plate: str) -> bool:
    """Do latents of different elements of a plate never meet in a product?"""
    rows = {b.name: b.axis_of(plate) for b in found.blocks.values()}
    local = {n: found.blocks[n].axes.index(x) for n, x in rows.items() if x in found.blocks[n].axes}
    if not local and not found.recorded.plates[plate].subsampled:
        return False
    for name, at in local.items():
        family = found.blocks[name].family
        if isinstance(family, Normals) and at in family.event:
            return False
    for p in found.products:
        seen = {o.labels[local[o.block]] for o in p.operands if o.block in local}
        others = {x for o in p.operands if o.block not in local for x in o.labels}
        if len(seen) > 1 or seen & others:
            return False
    return True


@dataclass(eq=False)
class Execution:
    """Compiled updates of a recognized model.

    `local` are the blocks of the plate `rows` (or there is none); all others are global.
    """

    found: Recognized
    rows: str | None
    points: frozenset[str] = frozenset()  # blocks that are single points: parameters, and what is maximised
    parts: tuple[Part, ...] = field(init=False)
    sums: dict[tuple, Sum] = field(init=False)

    def __post_init__(self) -> None:
        self.blocks = self.found.blocks
        self.local = tuple(
            n for n, b in self.blocks.items() if self.rows is not None and b.axis_of(self.rows) in b.axes
        )
        self.globals = tuple(n for n in self.blocks if n not in self.local)
        self.sums = {}
        self.parts = tuple(self._split(p) for p in self.found.products)

    # -- the split -------------------------------------------------------------------------------
    def _row_axis(self, block: str) -> int:
        b = self.blocks[block]
        return b.axes.index(b.axis_of(self.rows))

    def _split(self, p: Product) -> Part:
        operands, eyes = _without_diagonals(p.operands)
        local = tuple(o for o in operands if o.block in self.local)
        others = tuple(o for o in operands if o.block not in self.local)
        outside = {x for o in others for x in o.labels}
        rows = local[0].labels[self._row_axis(local[0].block)] if local else None
        mine = [f for f in p.data if rows in f.labels or (not local and is_recorded(f.atom.value))]
        while local or mine:  # what is tied to these by labels of data alone
            tied = labels_of(mine) - outside - {x for o in local for x in o.labels}
            more = [f for f in p.data if f not in mine and (tied & set(f.labels) or is_recorded(f.atom.value))]
            if not more:
                break
            mine += more
        rest = [f for f in p.data if f not in mine]
        constants = [*map(_piece, rest), *eyes]
        if not local and not mine:
            kept = {p.split[0]} if p.split else set()
            return Part(p.site, p.coefficient, others, None, (), _folded(constants, outside | kept), p.split)
        inner = {x for o in local for x in o.labels} | labels_of(mine)
        interface_set = inner & (outside | {x for c in constants for x in c.labels}) - {rows}
        order = tuple(
            dict.fromkeys(x for x in (*(y for o in local for y in o.labels), *(y for f in mine for y in f.labels)))
        )
        # Axes of one local statistic alone are kept, so that more products share the sum.
        seen = [x for o in local for x in o.labels if x is not rows]
        own = {x for x in seen if seen.count(x) == 1} - labels_of(mine)
        interface = tuple(x for x in order if x in interface_set or x in own)
        key = _key(local, mine, rows, interface)
        made = self.sums.setdefault(key, Sum(key, local, tuple(mine), rows, interface))
        folded = _folded(constants, outside | set(interface))
        split = (None, p.split[1]) if p.split else None
        return Part(p.site, p.coefficient, others, made, interface, folded, split)

    # -- global side -----------------------------------------------------------------------------
    def gradient(self, block: str, means: Mapping, sums: Mapping) -> dict[str, Any]:
        """The natural parameters of a block: the gradient of F in its mean parameters."""
        b = self.blocks[block]
        out: dict[str, Any] = {}
        for part in self.parts:
            for i, o in enumerate(part.operands):
                if o.block == block:
                    pieces = part.rest(means, sums, without=i)
                    g = contract(pieces, o.labels, {}, also=part.labels)
                    g = g if part.coefficient == 1.0 else part.coefficient * g
                    out[o.statistic] = out[o.statistic] + g if o.statistic in out else g
        for name in b.family.statistics:
            shape = tuple(x.size for x in b.statistic_axes(name))
            g = out.get(name, 0.0)
            out[name] = np.broadcast_to(g, shape) if np.shape(g) != shape else g
        return out

    def weights(self, means: Mapping) -> dict[tuple, Any]:
        """W of every sum: what its elements count in F."""
        out: dict[tuple, Any] = {}
        for part in self.parts:
            if part.sum is not None and part.sum.operands:
                w = contract(part.rest(means, {}, without=-1), part.sum_labels, {}, also=part.labels)
                key, w = part.sum.key, part.coefficient * w
                shape = self.sum_shape(key)
                w = np.broadcast_to(w, shape) if np.shape(w) != shape else w
                out[key] = out[key] + w if key in out else w
        return out

    def terms(self, means: Mapping, sums: Mapping) -> dict[str, Any]:
        """E[log p] by site."""
        out: dict[str, Any] = {}
        for part in self.parts:
            value = part.coefficient * contract(part.rest(means, sums), (), {}, also=part.labels)
            out[part.site] = out[part.site] + value if part.site in out else value
        return out

    def by_site(self, means: Mapping, sums: Mapping) -> dict[str, float]:
        """The same as numbers, site by site; NaN for sites whose products are added up before they are counted."""
        out: dict[str, float] = {}
        lost: set[str] = set()
        for part in self.parts:
            label, sites = part.split or (None, (part.site,))
            if label is None and part.split:
                lost.update(sites)
                continue
            values = contract(part.rest(means, sums), () if label is None else (label,), {}, also=part.labels)
            values = np.broadcast_to(part.coefficient * values, (len(sites),))
            for site, x in zip(sites, values, strict=True):
                out[site] = out.get(site, 0.0) + float(x)
        return {**out, **dict.fromkeys(lost, np.nan)}

    def means_of(self, block: str, eta: Mapping) -> tuple[dict[str, Any], Any]:
        """Mean parameters and entropy of a block; a point has none."""
        family = self.blocks[block].family
        if block in self.points:
            return family.at(family.mode(eta)), 0.0
        means, entropy = family.solve(eta)
        return means, np.sum(entropy)

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """The global mean parameters, in order."""
        return [(n, s) for n in self.globals for s in self.blocks[n].family.statistics]

    def sum_shape(self, key: tuple) -> tuple[int, ...]:
        return tuple(x.size for x in self.sums[key].interface)

    @cached_property
    def _sweeps(self) -> dict:
        return {}

    def sweep(self, order: Sequence[str] | None = None, damped: bool = False) -> Callable:
        """The compiled global pass: (means, sums, eta before, rate) -> (means, eta, entropies, terms, W)."""
        order = tuple(self.globals if order is None else order)
        if (order, damped) not in self._sweeps:
            self._sweeps[order, damped] = self._compiled_sweep(order, damped)
        return self._sweeps[order, damped]

    def _compiled_sweep(self, order: tuple[str, ...], damped: bool) -> Callable:
        tape = Tape()
        means: Means = {}
        for n, s in self.names:
            shape = tuple(x.size for x in self.blocks[n].statistic_axes(s))
            means[n, s] = tape.input(np.ones(shape), f"{n}.{s}")
        for a, fn in self.found.free_factors:
            shape = (self.found.draws.size, *_free_shape(a, fn))
            means[self.found.free_name(a, fn)] = tape.input(np.ones(shape), a.name)
        given = list(means)
        sums = {k: tape.input(np.ones(self.sum_shape(k)), f"sum {i}") for i, k in enumerate(self.sums)}
        before: Means = {}
        rate = tape.input(np.ones(()), "rate") if damped else None
        if damped:
            for n, s in self.names:
                before[n, s] = tape.input(np.ones(means[n, s].shape), f"{n}.{s} before")
        etas: Means = {}
        entropy: dict[str, Any] = {}
        for n in order:
            eta = self.gradient(n, means, sums)
            if damped:
                eta = {s: (1.0 - rate) * before[n, s] + rate * e for s, e in eta.items()}
            made, entropy[n] = self.means_of(n, eta)
            means.update({(n, s): x for s, x in made.items()})
            etas.update({(n, s): x for s, x in eta.items()})
        terms, weights = self.terms(means, sums), self.weights(means)
        groups = [{k: means[k] for k in self.names}, etas, entropy, terms, weights]
        program = program_of(tape, [x for g in groups for x in g.values()])
        run = compile_program(program)

        def call(means: Means, sums: Mapping, before: Means | None = None, rate: float = 1.0) -> list[dict]:
            inputs = [means[k] for k in given] + [sums[k] for k in self.sums]
            if damped:
                inputs += [np.asarray(float(rate)), *(before[k] for k in self.names)]
            with np.errstate(all="ignore"):
                out = iter(run(*inputs))
            return [{k: next(out) for k in g} for g in groups]

        return call


def _free_shape(a: Atom, fn: Any) -> tuple[int, ...]:
    """The shape of a function of a free latent, or of an opaque one, without axes of length one."""
    if a.kind == "opaque":
        return tuple(n for n in a.node.shape if n != 1)
    axes = a.axes[: len(a.axes) - {"logdet": 2, "log diagonal": 1}.get(fn, 0)]
    return tuple(x.size for x in axes if x is not ONE)


def _without_diagonals(operands: Sequence[Operand]) -> tuple[list[Operand], list[Piece]]:
    """Operands of which no label stands twice: diagonals are picked by an identity matrix."""
    out, eyes = [], []
    for o in operands:
        labels: list[Label] = []
        for x in o.labels:
            if x in labels:
                fresh = Label(x.size)
                eyes.append(Piece(np.eye(x.size), (x, fresh)))
                x = fresh
            labels.append(x)
        out.append(Operand(o.block, o.statistic, tuple(labels)))
    return out, eyes


def _piece(f: Factor) -> Piece:
    return Piece(f.atom.value, f.labels, f.fn == "is")


def _folded(pieces: Sequence[Piece], outside: set[Label]) -> tuple[Piece, ...]:
    """Constants, with the labels that they alone carry summed out (X'X of a regression), unless that makes too much."""
    done: list[Piece] = []
    todo = list(pieces)
    while todo:
        tied, reach = [todo.pop()], set()
        while True:
            reach = {x for p in tied for x in p.labels} - outside
            more = [p for p in todo if reach & set(p.labels)]
            if not more:
                break
            tied += more
            todo = [p for p in todo if not any(p is q for q in more)]
        out = tuple(dict.fromkeys(x for p in tied for x in p.labels if x in outside))
        if reach and prod(x.size for x in out) <= LARGEST_FOLD:
            tied = [Piece(np.asarray(contract(tied, out, {})), out)]
        done += tied
    return tuple(done)


def _key(local: Sequence[Operand], data: Sequence[Factor], rows: Label | None, interface: Sequence[Label]) -> tuple:
    """What a sum over rows is made of, whatever its labels are called."""
    names: dict[Label, int] = {}
    number = lambda labels: tuple(names.setdefault(x, len(names)) for x in labels)
    parts = [(o.block, o.statistic, number(o.labels)) for o in local]
    parts += [(f.atom.number, number(f.labels)) for f in sorted(data, key=lambda f: f.atom.number)]
    return (*parts, number([rows] if rows else ()), number(interface))
