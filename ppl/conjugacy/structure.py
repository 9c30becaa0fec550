"""Chains, found among the products of a model: which latents are one block, and their statistics in every product.

    products --find--> Structure(chains) --operands--> products of statistics of chains --stacked--> few long ones

A step in time is a site of its own, as in a loop of Python, or a place along an axis, as in `ppl.scan`. Two steps
are neighbours where the log density of one of them has a product of both. In what comes of a loop, the products of
all steps are alike: they are stacked to one product with an axis of time, so that both forms cost the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..array import is_recorded
from ..errors import Reason
from .algebra import ONE, Algebra, Atom, Factor, Label, aligned, labels_of
from .blocks import Block, Operand, Product
from .chains import Chain, Member, NormalChains, StateChains

HUB = 2  # later steps that depend on a step of a chain, if it is a site of its own
LEAST = 3  # steps of normals that are a chain: two that depend on each other are a pair
WIDEST = 256  # variables of a step of normals

Written = tuple[str, float, tuple[Factor, ...]]  # the site of a product, its coefficient and its factors
Index = tuple[tuple[Label, ...], np.ndarray]  # steps, and the labels that they run along


class Unfit(Exception):
    """A product in which a chain has no statistic, and why."""


class Spot(NamedTuple):
    """Where a factor of a latent stands in time: its nodes along some labels, and its other labels in order."""

    nodes: Index
    rest: tuple[Label, ...]
    label: Label | None  # the label of time itself


def _picks(factors: Sequence[Factor]) -> dict[Label, Factor]:
    """The selections by data, by the label that they select from."""
    return {
        f.labels[-1]: f
        for f in factors
        if f.fn == "is" and f.atom.kind == "index" and not is_recorded(f.atom.value) and len(f.labels) <= 2
    }


def _place(label: Label, picks: Mapping[Label, Factor]) -> Index:
    """Which steps of an axis are read, along which labels."""
    pick = picks.get(label)
    if pick is None:
        return (label,), np.arange(label.size)
    return pick.labels[:-1], np.asarray(pick.atom.value)


def _kind(f: Factor) -> str:
    """Of which kind of chain a factor could be a statistic, or ''."""
    if f.atom.kind != "latent":
        return ""
    if f.atom.support == "integer" and f.fn == "is":
        return "states"
    return "normals" if f.atom.support == "real" and f.fn in (1, 2) else ""


# -- finding chains -----------------------------------------------------------------------------------
@dataclass(eq=False)
class _Search:
    """All steps of latents of one kind as nodes of a graph."""

    kind: str
    products: Sequence[Written]
    atoms: Mapping[str, Atom]
    forced: frozenset[Atom] = frozenset()  # one block, whatever they look like

    def __post_init__(self) -> None:
        self.times: dict[Atom, int] = {}  # which label of a factor is time
        self.reasons: list[Reason] = []
        known = frozenset(self.atoms.values())
        self.pairs = [
            (site, fs, own)
            for site, _, fs in self.products
            if site in self.atoms
            for own in combinations([f for f in fs if f.atom in known and _kind(f) == self.kind and f.fn != 2], 2)
        ]
        for site, fs, (f, g) in self.pairs:
            if f.atom is g.atom and self.atoms.get(site) is f.atom:
                self._time_of(f, g, _picks(fs))
        self.first: dict[Atom, int] = {}
        self.count = 0

    def _time_of(self, f: Factor, g: Factor, picks: Mapping[Label, Factor]) -> None:
        """The axis along which a site's density reads the step before."""
        last = len(f.labels) - (self.kind == "states")
        found = []
        for i in range(last):
            a, b = f.labels[i], g.labels[i]
            if a is not b and (a in picks or b in picks) and _place(a, picks)[0] == _place(b, picks)[0]:
                found.append(i)
        if len(found) == 1:
            self.times.setdefault(f.atom, found[0])

    def number(self, atom: Atom) -> int:
        """The number of an atom's first step."""
        if atom not in self.first:
            self.first[atom] = self.count
            self.count += self.steps(atom)
        return self.first[atom]

    def steps(self, atom: Atom) -> int:
        return self.axes(atom)[self.times[atom]].size if atom in self.times else 1

    def axes(self, atom: Atom) -> list[Label]:
        """The axes that factors have labels for."""
        return [x for x in atom.axes if x is not ONE]

    def spot(self, f: Factor, picks: Mapping[Label, Factor]) -> Spot:
        at, first = self.times.get(f.atom), self.number(f.atom)
        if at is None:
            return Spot(((), np.asarray(first)), f.labels, None)
        labels, steps = _place(f.labels[at], picks)
        return Spot((labels, first + steps), (*f.labels[:at], *f.labels[at + 1 :]), f.labels[at])

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps with those before them that their own densities read, and whether these come first."""
        found = [np.zeros((3, 0), int)]
        for site, fs, (f, g) in self.pairs:
            own = self.atoms[site]
            if own not in (f.atom, g.atom):
                continue
            picks = _picks(fs)
            a, b = self.spot(f, picks), self.spot(g, picks)
            if not self._alike(a.rest, b.rest) or (a.nodes[0] != b.nodes[0] and a.nodes[0] and b.nodes[0]):
                continue
            x, y = np.broadcast_arrays(a.nodes[1], b.nodes[1])
            if f.atom is own:
                x, y, f, g = y, x, g, f
            first = np.ones(x.shape, int)
            if f.atom in self.times and self.steps(f.atom) == self.steps(g.atom):  # side by side, or one site
                ahead = (x - self.first[f.atom]) - (y - self.first[g.atom])
                x, y, first = np.where(ahead > 0, y, x), np.where(ahead > 0, x, y), np.where(ahead == 0, 0, 1)
            found.append(np.stack([np.ravel(x), np.ravel(y), np.ravel(first)]))
        before, after, first = np.unique(np.concatenate(found, axis=1), axis=1)
        kept = before != after
        return before[kept], after[kept], first[kept] > 0

    def _alike(self, a: Sequence[Label], b: Sequence[Label]) -> bool:
        """Have two steps the same shape, and states the same batch?"""
        if self.kind == "states":
            return a[:-1] == b[:-1] and a[-1].size == b[-1].size
        return [x.size for x in a] == [x.size for x in b]

    def components(self) -> list[tuple[list[Atom], np.ndarray]]:
        """Atoms that are a chain together, and the depth of all their steps in order."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        for atom in self.forced:
            self.number(atom)
        before, after, first = self.edges()
        later = np.bincount(before, minlength=self.count)
        hubs = [n for a, n in self.first.items() if a not in self.times and a not in self.forced and later[n] > HUB]
        kept = ~(np.isin(before, hubs) | np.isin(after, hubs))
        before, after, first = before[kept], after[kept], first[kept]
        graph = coo_array((np.ones(len(before)), (before, after)), (self.count, self.count))
        _, part = connected_components(graph, directed=False)
        if self.forced:  # these are one
            own = [part[self.first[a]] for a in self.forced]
            part[np.isin(part, own)] = own[0]
        depth = _depths(before[first], after[first], self.count)
        out = []
        owners = {int(part[n]): [] for n in self.first.values()}
        for atom, n in self.first.items():
            if len(set(part[n : n + self.steps(atom)])) == 1:
                owners[int(part[n])].append(atom)
        for number, atoms in owners.items():
            nodes = np.flatnonzero(part == number)
            if len(nodes) == 1 or len(nodes) != sum(map(self.steps, atoms)):
                continue
            if self._is_chain(atoms, nodes, before, after, depth):
                out.append((atoms, np.concatenate([depth[self.first[a] :][: self.steps(a)] for a in atoms])))
        return out

    def _is_chain(self, atoms: list[Atom], nodes: np.ndarray, before: Any, after: Any, depth: np.ndarray) -> bool:
        if self.forced.intersection(atoms):
            return True
        name = atoms[0].name
        degrees = [np.bincount(x, minlength=self.count)[nodes].max() for x in (before, after)]
        if self.kind == "states" and max(degrees) > 1:
            why = "a step reads several others, or several read it: no chain, so that each is by itself"
            hint = 'algorithm="auto", which may sum them out'
            self.reasons.append(Reason(name, why, hint, ", ".join(a.name for a in atoms[:4])))
            return False
        return self.kind == "states" or bool(self.times.keys() & set(atoms)) or depth[nodes].max() + 1 >= LEAST


def _depths(before: np.ndarray, after: np.ndarray, count: int) -> np.ndarray:
    """The longest way to every node."""
    depth, left = np.zeros(count, int), np.bincount(after, minlength=count)
    order = np.argsort(before, kind="stable")
    starts = np.searchsorted(before[order], np.arange(count + 1))
    todo = list(np.flatnonzero(left == 0))
    left, to = left.tolist(), after[order].tolist()
    while todo:
        n = todo.pop()
        for m in to[starts[n] : starts[n + 1]]:
            depth[m] = max(depth[m], depth[n] + 1)
            left[m] -= 1
            if not left[m]:
                todo.append(m)
    return depth


# -- statistics -----------------------------------------------------------------------------------------
class Read(NamedTuple):
    """Statistics of chains in a product, its other factors, and those that pick steps of chains.

    `time` is the label along which steps run (or none, for a single step); None where there are several.
    """

    operands: tuple[Operand, ...]
    rest: tuple[Factor, ...]
    made: tuple[Factor, ...]
    time: tuple[Label, ...] | None


@dataclass(eq=False)
class Structure:
    """The chains of a model, and how their sites' factors are read as statistics."""

    algebra: Algebra
    chains: list[Chain] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._index()

    def _index(self) -> None:
        self.of: dict[Atom, tuple[Chain, Member]] = {m.block.atom: (c, m) for c in self.chains for m in c.members}

    def without(self, atoms: Any) -> None:
        """Forget the chains of which some atom is to be something else."""
        for chain in [c for c in self.chains if any(m.block.atom in atoms for m in c.members)]:
            self.chains.remove(chain)
        self._index()

    def read(self, factors: Sequence[Factor]) -> Read:
        """Statistics of chains in a product, and its other factors."""
        picks, operands, made = _picks(factors), [], []
        times: set[tuple[Label, ...]] = set()
        by_chain: dict[Chain, list[Factor]] = {}
        for f in factors:
            if f.atom in self.of:
                by_chain.setdefault(self.of[f.atom][0], []).extend([f] * (f.fn if f.fn == 2 else 1))
        for chain, own in by_chain.items():
            reader = _states if isinstance(chain.family, StateChains) else _normals
            operand, time, index = reader(self, chain, own, picks)
            operands.append(operand)
            times.add(time)
            if index is not None:
                made.append(Factor(self.algebra.index_atom(np.asarray(index[1], order="C")), "is", index[0]))
        rest = [f for f in factors if f.atom not in self.of]
        used = labels_of(f for f in rest if f not in picks.values()) | labels_of(made)
        used |= {x for o in operands for x in o.labels}
        targets = {self._label(f) for own in by_chain.values() for f in own}
        rest = [f for f in rest if not (f in picks.values() and f.labels[-1] in targets and f.labels[-1] not in used)]
        return Read(tuple(operands), tuple(rest), tuple(made), times.pop() if len(times) == 1 else None)

    def _label(self, f: Factor) -> Label | None:
        _, m = self.of[f.atom]
        return None if m.time is None else f.labels[_label_number(m.block.atom, m.time)]

    def spot(self, f: Factor, picks: Mapping[Label, Factor]) -> tuple[Index, tuple[Label, ...], tuple[Label, ...]]:
        """Which steps of its site a factor reads, and the labels of its batch and of its vector (or its kinds)."""
        _, m = self.of[f.atom]
        place: Index = ((), np.asarray(0)) if m.time is None else _place(self._label(f), picks)
        inner = [_label_number(m.block.atom, i) for i in m.event if m.block.atom.axes[i] is not ONE]
        batch = [_label_number(m.block.atom, i) for i in m.batch if m.block.atom.axes[i] is not ONE]
        rest = tuple(f.labels[i] for i in inner) if m.places is not None else f.labels[-1:]
        return place, tuple(f.labels[i] for i in batch), rest


def _label_number(atom: Atom, axis: int) -> int:
    """Which of a factor's labels an axis has."""
    return sum(x is not ONE for x in atom.axes[:axis])


def _states(s: Structure, chain: Chain, own: list[Factor], picks: Mapping) -> tuple[Operand, Any, Any]:
    found = [(s.of[f.atom][1], *s.spot(f, picks)) for f in own]
    if len(own) > 2 or any(batch != found[0][2] for _, _, batch, _ in found):
        raise Unfit("a product reads more of a chain than a step and the one before")
    length, batch = chain.family.length, found[0][2]
    if len(own) == 1:
        ((m, (labels, steps), _, kinds),) = found
        nodes = m.nodes[steps]
        if len(labels) == 1 and nodes.shape == (length,) and np.array_equal(nodes, np.arange(length)):
            return Operand(chain.name, "is", (*batch, *labels, *kinds)), labels, None
        node = Label(length)
        return Operand(chain.name, "is", (*batch, node, *kinds)), labels, ((*labels, node), nodes)
    (m, (a, i), _, one), (n, (b, j), _, other) = found
    if a != b and a and b:
        raise Unfit("a product reads steps of a chain that are not side by side")
    x, y = np.broadcast_arrays(m.nodes[i], n.nodes[j])
    if np.all(x == y + 1):
        x, y, one, other = y, x, other, one
    if not np.all(y == x + 1):
        raise Unfit("a product reads steps of a chain that are not neighbours")
    between = Label(length - 1)
    return Operand(chain.name, "pair", (*batch, between, *one, *other)), a or b, ((*(a or b), between), x)


def _normals(s: Structure, chain: Chain, own: list[Factor], picks: Mapping) -> tuple[Operand, Any, Any]:
    if len(own) > 2 or any(f.fn not in (1, 2) for f in own):
        raise Unfit("a product is neither linear nor quadratic in a chain of normals")
    spots = [_variables(s, f, picks) for f in own]
    batch = spots[0][1]
    if any(b != batch for _, b, *_ in spots):
        raise Unfit("a product reads different elements of a batch of chains")
    if len(own) == 1:
        labels, _, places, time = spots[0]
        if len(labels) == 1 and np.array_equal(places, np.arange(len(chain.family.step))):
            return Operand(chain.name, "x", (*batch, *labels)), time, None
        node = Label(len(chain.family.step))
        return Operand(chain.name, "x", (*batch, node)), time, ((*labels, node), places)
    labels, codes = _codes(spots, len(chain.family.step))
    i, j = chain.family.pairs.T
    pair = Label(len(chain.family.pairs))
    at = np.searchsorted(i * len(chain.family.step) + j, codes)
    times = {time for *_, time in spots if time}
    time = times.pop() if len(times) == 1 else () if not times else tuple(labels)
    return Operand(chain.name, "xx", (*batch, pair)), time, ((*labels, pair), at)


def _variables(s: Structure, f: Factor, picks: Mapping) -> tuple[tuple, tuple, np.ndarray, tuple]:
    """The variables that a factor reads, with their labels; those of the batch, and those of time alone."""
    (labels, steps), batch, inner = s.spot(f, picks)
    m = s.of[f.atom][1]
    places = m.places if m.time is None else m.places[steps]
    return (*labels, *inner), batch, places.reshape([x.size for x in (*labels, *inner)]), labels


def _codes(spots: Sequence, count: int) -> tuple[tuple[Label, ...], np.ndarray]:
    """Numbers of the pairs that two factors read, the smaller variable first, with all their labels."""
    labels = tuple(dict.fromkeys((*spots[0][0], *spots[1][0])))
    x, y = (aligned(places, own, labels) for own, _, places, _ in spots)
    return labels, np.minimum(x, y) * count + np.maximum(x, y)


def find(
    algebra: Algebra,
    products: Sequence[Written],
    blocks: Mapping[str, Block],
    forced: Sequence[Sequence[str]] = (),
) -> Structure:
    """The chains among these blocks; those `forced` are one each."""
    atoms = {n: b.atom for n, b in blocks.items()}
    by_atom = {b.atom: b for b in blocks.values()}
    structure = Structure(algebra)
    asked = [frozenset(blocks[n].atom for n in names) for names in forced]
    taken = frozenset().union(*asked) if asked else frozenset()
    for kind, own in (("states", frozenset()), ("normals", frozenset()), *(("normals", f) for f in asked)):
        search = _Search(kind, products, atoms, own)
        for group, depth in search.components():
            if set(group) & (taken - own) or not own <= set(group):
                continue
            made = _made(search, [by_atom[a] for a in group], depth, products)
            if isinstance(made, str):
                hint = "steps of one shape, in the same plates"
                structure.reasons.append(Reason(group[0].name, made, hint, ", ".join(a.name for a in group[:4])))
                continue
            structure.chains.append(made)
            structure._index()
        structure.reasons += search.reasons
    for chain in list(structure.chains):
        try:
            if isinstance(chain.family, NormalChains):
                _with_pairs(structure, chain, products)
            for _, _, fs in products:
                if any(f.atom in structure.of and structure.of[f.atom][0].name == chain.name for f in fs):
                    structure.read(fs)
        except Unfit as e:
            structure.reasons.append(Reason(chain.name, str(e), "densities of a step and the one before", chain.name))
            structure.without([m.block.atom for m in chain.members])
    return structure


def _made(search: _Search, blocks: list[Block], depth: np.ndarray, products: Sequence[Written]) -> Chain | str:
    """The chain of these sites; normals still without pairs."""
    counts = [search.steps(b.atom) for b in blocks]
    ends = np.cumsum([0, *counts])
    times = [_axis(b.atom, search.times.get(b.atom)) for b in blocks]
    plates = {tuple(p.name for p in b.plates) for b in blocks}
    if len(plates) > 1:
        return "its steps stand in different plates"
    if search.kind == "states":
        kinds = {b.atom.axes[-1].size for b in blocks}
        if len(kinds) > 1 or {b.discrete for b in blocks} == {"one-hot"}:
            return "its steps have different numbers of states, or one-hot values"
        members = tuple(Member(b, t, (), depth[i:j]) for b, t, i, j in zip(blocks, times, ends, ends[1:], strict=False))
        family = StateChains(len(depth), kinds.pop(), False)
        return Chain(_in_order(members), family, (Label(len(depth)), Label(family.states)))
    events = _events(search, blocks, products)
    shapes = {tuple(n for i, n in enumerate(b.shape) if i != t) for b, t in zip(blocks, times, strict=True)}
    if len(shapes) > 1:
        return "its steps have different shapes"
    shape = shapes.pop()
    size = prod(shape[i] for i in events)
    order = np.argsort(depth, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(depth))
    members = []
    for b, t, i, j in zip(blocks, times, ends, ends[1:], strict=False):
        event = tuple(k + (t is not None and k >= t) for k in events)
        places = (rank[i:j, None] * size + np.arange(size)).reshape(-1, *(shape[k] for k in events))
        members.append(Member(b, t, event, depth[i:j], places[0] if t is None else places))
    step = np.repeat(depth[order], size)
    family = NormalChains(step, np.zeros((0, 2), int))
    return Chain(_in_order(tuple(members)), family, (Label(len(step)),))


def _in_order(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda m: (m.nodes[0], m.block.atom.number)))


def _axis(atom: Atom, number: int | None) -> int | None:
    """The axis of a value that a label stands for."""
    return None if number is None else [i for i, x in enumerate(atom.axes) if x is not ONE][number]


def _events(search: _Search, blocks: list[Block], products: Sequence[Written]) -> tuple[int, ...]:
    """The axes of a step, time left out, along which different elements meet in a product."""
    atoms = {b.atom: b for b in blocks}
    found: set[int] = set()
    for _, _, fs in products:
        own = [f for f in fs if f.atom in atoms]
        for f, g in pairwise(own):
            one, other = ([x for k, x in enumerate(h.labels) if k != search.times.get(h.atom)] for h in (f, g))
            places = _kept(atoms[f.atom], search)
            found.update(i for i, x, y in zip(places, one, other, strict=False) if x is not y)
    return tuple(sorted(found))


def _kept(b: Block, search: _Search) -> list[int]:
    """The axes of a step, time left out, that factors have labels for."""
    t = _axis(b.atom, search.times.get(b.atom))
    return [i - (t is not None and i > t) for i, x in enumerate(b.atom.axes) if i != t and x is not ONE]


def _with_pairs(s: Structure, chain: Chain, products: Sequence[Written]) -> None:
    """Give a chain of normals its pairs, and steps so long that only neighbours meet."""
    count = len(chain.family.step)
    found = [np.arange(count) * (count + 1)]
    for _, _, fs in products:
        own = [f for f in fs if f.atom in s.of and s.of[f.atom][0] is chain]
        own = [f for f in own for _ in range(f.fn if f.fn == 2 else 1)]
        if len(own) == 2:
            picks = _picks(fs)
            found.append(np.unique(_codes([_variables(s, f, picks) for f in own], count)[1]))
    codes = np.unique(np.concatenate(found))
    pairs = np.stack(np.divmod(codes, count), 1)
    depth = chain.family.step
    lag = max(1, int(np.max(depth[pairs[:, 1]] - depth[pairs[:, 0]])))
    step = depth // lag
    if np.bincount(step).max() > WIDEST and len(np.unique(step)) > 1:
        raise Unfit(f"steps {lag} apart depend on each other")
    made = Chain(chain.members, NormalChains(step, pairs), chain.own)
    s.chains[s.chains.index(chain)] = made
    s._index()


# -- stacking ---------------------------------------------------------------------------------------------
@dataclass(eq=False)
class _Row:
    """A product whose steps are picked: weights along them, and tables with (or without) an axis for them."""

    product: Product
    made: tuple[Factor, ...]
    label: Label | None
    weights: np.ndarray
    tables: list[Factor]
    others: list[Factor]
    key: tuple


def stacked(algebra: Algebra, products: Sequence[tuple[Product, Read]]) -> list[Product]:
    """Products that are alike but for the steps of chains that they pick, as one each."""
    groups: dict[tuple, list[_Row]] = {}
    out: list[Product] = []
    for p, read in products:
        made = read.made
        row = _row(p, made, read.time) if made and read.time is not None else None
        if row is None:
            out.append(replace(p, data=(*p.data, *made)))
        else:
            groups.setdefault(row.key, []).append(row)
    return [*out, *(_joined(algebra, rows) for rows in groups.values())]


def _row(p: Product, made: tuple[Factor, ...], time: tuple[Label, ...]) -> _Row | None:
    """The parts of a product that can be stacked; None where something else runs along its steps."""
    if len(time) > 1 or any(f.labels[: len(time)] != time for f in made):
        return None
    label = next(iter(time), None)
    nodes = {f.labels[-1] for f in made}
    if any(label in o.labels for o in p.operands if label is not None):
        return None
    tables, others, size = [], [], 1 if label is None else label.size
    weights = np.full(size, p.coefficient)
    for f in p.data:
        if f.is_table and not is_recorded(f.atom.value) and set(f.labels) <= {label}:
            weights = weights * aligned(f.atom.value, f.labels, (label,))
        elif f.is_table and not is_recorded(f.atom.value) and not nodes & set(f.labels):
            tables.append(f)
        elif label in f.labels or nodes & set(f.labels):
            return None
        else:
            others.append(f)
    names: dict[Label, int] = {}
    number = lambda labels: tuple(names.setdefault(x, len(names)) for x in labels if x is not label)
    key = [(o.block, o.statistic, number(o.labels)) for o in p.operands]
    key += [number(f.labels) for f in made]
    tables.sort(key=lambda f: tuple(names.get(x, 99) for x in f.labels if x is not label))
    others.sort(key=lambda f: f.atom.number)
    key += [(number(f.labels), tuple(x.size for x in f.labels if x is not label)) for f in tables]
    key += [(f.atom.number, str(f.fn), number(f.labels)) for f in others]
    return _Row(p, made, label, weights, tables, others, tuple(key))


def _joined(algebra: Algebra, rows: list[_Row]) -> Product:
    """One product of several, with a label for all their steps."""
    first = rows[0]
    counts = [len(r.weights) for r in rows]
    label, names = Label(sum(counts)), _names(first)
    own = [Label(n) if r.label is None else r.label for r, n in zip(rows, counts, strict=True)]
    back = {number: x for x, number in names.items()}
    to = [{x: back[number] for x, number in _names(r).items()} for r in rows]

    def side_by_side(factors: Sequence[Factor], rest: tuple[Label, ...], dtype: Any) -> np.ndarray:
        """One factor of every row, with the steps first and then the labels `rest` of the first row."""
        parts = []
        for f, x, renames, n in zip(factors, own, to, counts, strict=True):
            labels = tuple(x if y is x else renames[y] for y in f.labels[: f.atom.value.ndim])
            value = aligned(f.atom.value, labels, (x, *rest))
            parts.append(np.broadcast_to(value, (n, *(y.size for y in rest))))
        return np.concatenate(parts).astype(dtype)

    inner = [tuple(x for x in f.labels[:-1] if x is not first.label) for f in first.made]
    picked = [side_by_side([r.made[i] for r in rows], rest, int) for i, rest in enumerate(inner)]
    order = np.argsort(picked[0].reshape(len(picked[0]), -1)[:, 0], kind="stable")
    data, whole, operands = list(first.others), [], first.product.operands
    for f, rest, x in zip(first.made, inner, picked, strict=True):
        node, x = f.labels[-1], x[order]
        if not rest and np.array_equal(x, np.arange(node.size)):  # every step once
            operands = [
                Operand(o.block, o.statistic, tuple(label if y is node else y for y in o.labels)) for o in operands
            ]
        else:
            whole.append(Factor(algebra.index_atom(np.ascontiguousarray(x)), "is", (label, *rest, node)))
    coefficient, made = algebra.table(np.concatenate([r.weights for r in rows])[order], (label,))
    for i, f in enumerate(first.tables):
        parts = [r.tables[i] for r in rows]
        rest = tuple(x for x in f.labels if x is not first.label)
        if all(p.atom is f.atom for p in parts) and first.label not in f.labels:
            data.append(f)
            continue
        c, table = algebra.table(side_by_side(parts, rest, float)[order], (label, *rest))
        coefficient, data = coefficient * c, [*data, *table]
    sites = np.repeat([r.product.site for r in rows], counts)[order]
    split = (label, tuple(sites)) if len(set(sites)) > 1 else None
    made_of = (*data, *made, *whole)
    return Product(first.product.site, coefficient, tuple(operands), made_of, split=split)


def _names(row: _Row) -> dict[Label, int]:
    """Numbers of a row's labels, the same in all rows of a key; not that of time."""
    names: dict[Label, int] = {}
    for labels in (f.labels for f in (*row.product.operands, *row.made, *row.tables, *row.others)):
        for x in labels:
            if x is not row.label:
                names.setdefault(x, len(names))
    return names


def shared(products: list[Product], chains: Sequence[Chain]) -> tuple[list[Product], list[Chain]]:
    """Chains of states of whose pairs only the sum over time is read keep that alone."""
    out = []
    for chain in chains:
        if not isinstance(chain.family, StateChains):
            out.append(chain)
            continue
        mine = [(p, o) for p in products for o in p.operands if o.block == chain.name and o.statistic == "pair"]
        own = len(chain.batch)
        alone = all(
            o.labels[own] not in labels_of(p.data) and sum(o.labels[own] in q.labels for q in p.operands) == 1
            for p, o in mine
        )
        if not alone:
            out.append(chain)
            continue
        family = StateChains(chain.family.length, chain.family.states, True)
        out.append(Chain(chain.members, family, chain.own))
        for i, p in enumerate(products):
            operands = tuple(
                Operand(o.block, o.statistic, (*o.labels[:own], *o.labels[own + 1 :]))
                if o.block == chain.name and o.statistic == "pair"
                else o
                for o in p.operands
            )
            split = (None, p.split[1]) if operands != p.operands and p.split else p.split
            products[i] = replace(p, operands=operands, split=split)
    return products, out
