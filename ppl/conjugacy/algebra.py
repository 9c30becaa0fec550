"""Arrays as sums of products over labelled axes: the normal form in which conjugacy can be read off.

    array  =  Poly(axes, terms)        one label for each axis of the array
    term   =  coefficient x factors    a label that is not an axis is summed over
    factor =  function of one atom     a power, "log", "log1m" (log(1 - x)) or "is" (an indicator)

An atom is a latent site, a table of data, an index that selects, or a function that no rule opens
(opaque). Broadcasting, transposes, products, sums and gathers only move labels:

    f(mu[z])  =  sum_k 1[z = k] f(mu_k)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby, islice, permutations, product
from typing import Any, NamedTuple

import numpy as np

from ..array import is_recorded

MOST_TERMS = 4000  # of one product of two sums: more are left as they are
ORDERS = 48  # of equal factors that are tried for like terms
POSITIVE = ("positive", "unit", "simplex")
MATRIX = ("chol", "upper chol", "inverse chol", "inverse")  # functions of a whole matrix


@dataclass(frozen=True, eq=False)
class Label:
    """An axis: what has the same label runs together."""

    size: int

    def __repr__(self) -> str:
        return f"<{self.size}>"


ONE = Label(1)  # every axis of length one: it broadcasts, and a sum over it is nothing


def new_label(size: int) -> Label:
    """A label of its own, but for axes of length one."""
    return ONE if size == 1 else Label(size)


@dataclass(frozen=True, eq=False)
class Atom:
    """What factors are functions of; `number` orders them."""

    kind: str  # "latent", "data", "index" or "opaque"
    name: str
    number: int
    support: str = "real"  # of latents: also "positive", "unit", "simplex", "integer", "matrix"
    value: Any = None  # of data and indices: an array, or recorded where it depends on the minibatch
    reads: frozenset[Atom] = frozenset()  # latents that an opaque function depends on
    node: Any = None  # the recorded value that an opaque function stands for
    axes: tuple[Label, ...] = ()  # of a latent's value


class Factor(NamedTuple):
    """A function of an atom; the labels of an indicator are those of its index, then the axis it selects from."""

    atom: Atom
    fn: Any
    labels: tuple[Label, ...]

    @property
    def is_table(self) -> bool:
        return self.atom.kind == "data"


Term = tuple[float, tuple[Factor, ...]]


@dataclass(frozen=True, eq=False)
class Poly:
    """A sum of products; see the head of this file."""

    axes: tuple[Label, ...]
    terms: tuple[Term, ...]

    @property
    def latents(self) -> frozenset[Atom]:
        """The latents that it depends on."""
        return latents_of(self.terms)

    def __str__(self) -> str:
        return show(self.terms)


def labels_of(factors: Iterable[Factor]) -> set[Label]:
    """All labels of some factors."""
    return {label for f in factors for label in f.labels}


def latents_of(terms: Iterable[Term]) -> frozenset[Atom]:
    """All latents that some products depend on, through opaque functions too."""
    found: set[Atom] = set()
    for _, factors in terms:
        for f in factors:
            if f.atom.kind == "latent":
                found.add(f.atom)
            found |= f.atom.reads
    return frozenset(found)


def renamed(factors: Iterable[Factor], to: Mapping[Label, Label]) -> tuple[Factor, ...]:
    """The factors with labels replaced."""
    return tuple(Factor(f.atom, f.fn, tuple(to.get(x, x) for x in f.labels)) for f in factors)


def show(terms: Sequence[Term], most: int = 4) -> str:
    """A sum of products as text, indices left out."""
    text = " + ".join("·".join([f"{c:.4g}"] * (c != 1 or not fs) + list(map(_show, fs))) for c, fs in terms[:most])
    return (text or "0") + " + ..." * (len(terms) > most)


def _show(f: Factor) -> str:
    name = f.atom.name
    if f.fn == "is":
        return f"1[{name}]"
    if isinstance(f.fn, str):
        return f"log(1 - {name})" if f.fn == "log1m" else f"{f.fn}({name})"
    return name if f.fn == 1 else f"{name}^{f.fn:g}"


def is_positive(f: Factor) -> bool:
    """Is the factor above zero whatever its latent is?"""
    if f.is_table:
        return known_positive(f.atom.value)
    return f.atom.support in POSITIVE and not isinstance(f.fn, str)


def known_positive(x: Any) -> bool:
    """Is an array, or a recorded one for every minibatch, above zero?"""
    if not is_recorded(x):
        return bool(np.all(np.asarray(x) > 0))
    name, args = (
        getattr(x.fun, "__name__", ""),
        [a for a in x.args if is_recorded(a) or isinstance(a, np.ndarray | float | int)],
    )
    if name in ("exp", "softplus"):
        return True
    if name in ("index", "reshape", "broadcast", "transpose", "cast", "sqrt", "power", "float_power", "reciprocal"):
        return known_positive(x.args[0])
    if name in ("add", "multiply", "divide", "true_divide", "maximum"):
        return all(map(known_positive, args))
    return False


@dataclass
class Algebra:
    """The operations on sums of products. It keeps the tables it made, so that equal ones are one atom."""

    count: int = 0
    made: dict[Any, tuple[float, Atom | None]] = field(default_factory=dict)

    # -- atoms -------------------------------------------------------------------------------------
    def atom(self, kind: str, name: str, **facts: Any) -> Atom:
        """A new atom."""
        self.count += 1
        return Atom(kind, name, self.count, **facts)

    def latent(self, name: str, shape: Sequence[int], support: str, categories: int | None = None) -> tuple[Atom, Poly]:
        """A latent and its value. `categories` of an integer one; those of a one-hot vector are its last axis.

        A whole number is `sum_k k 1[z = k]`.
        """
        axes = tuple(map(new_label, shape))
        if support == "integer":
            kinds = new_label(categories)
            atom = self.atom("latent", name, support="integer", axes=(*axes, kinds))
            hot = Factor(atom, "is", tuple(x for x in axes if x is not ONE) + (kinds,))
            return atom, self.times(Poly(axes, ((1.0, (hot,)),)), np.arange(float(categories)), (kinds,))
        if support == "one-hot":
            atom = self.atom("latent", name, support="integer", axes=axes)
            return atom, Poly(axes, ((1.0, (Factor(atom, "is", tuple(x for x in axes if x is not ONE)),)),))
        atom = self.atom("latent", name, support=support, axes=axes)
        return atom, Poly(axes, ((1.0, (Factor(atom, 1, tuple(x for x in axes if x is not ONE)),)),))

    def times(self, a: Poly, value: Any, labels: tuple[Label, ...]) -> Poly:
        """Every product times one table."""
        c, fs = self.table(value, labels)
        return Poly(a.axes, tuple((d * c, (*gs, *fs)) for d, gs in a.terms))

    def data(self, value: Any, axes: tuple[Label, ...] | None = None) -> Poly:
        """An array that depends on no latent."""
        axes = tuple(map(new_label, np.shape(value))) if axes is None else axes
        c, fs = self.table(value, axes)
        return Poly(axes, ((c, fs),) if c else ())

    def table(self, value: Any, labels: Sequence[Label], key: Any = None) -> Term:
        """A product of one table. What is known to be constant is a coefficient."""
        if key is not None and key in self.made:
            c, atom = self.made[key]
        else:
            kept = tuple(x.size for x in labels if x is not ONE)
            value = np.reshape(value, kept) if np.shape(value) != kept else value
            if not is_recorded(value):
                value = np.asarray(value, float)
            first = float(value.flat[0]) if not is_recorded(value) and value.size else 0.0
            if not is_recorded(value) and np.all(value == first):
                c, atom = first, None
            else:
                c, atom = 1.0, self.atom("data", "data", value=value)
            if key is not None:
                self.made[key] = (c, atom)
        return c, () if atom is None else (Factor(atom, 1, tuple(x for x in labels if x is not ONE)),)

    def index_atom(self, value: Any) -> Atom:
        """An array of whole numbers that selects."""
        key = ("index", value) if is_recorded(value) else ("index", value.shape, value.tobytes())
        if key not in self.made:
            self.made[key] = (1.0, self.atom("index", "index", value=value))
        return self.made[key][1]

    def opaque(self, text: str, axes: tuple[Label, ...], reads: Iterable[Atom], node: Any = None) -> Poly:
        """A function that no rule opens: it flows on, and blocks only the products it stands in."""
        atom = self.atom("opaque", text, reads=frozenset(reads), node=node)
        return Poly(axes, ((1.0, (Factor(atom, 1, tuple(x for x in axes if x is not ONE)),)),))

    # -- normal form -----------------------------------------------------------------------------
    def tidy(self, c: float, factors: Sequence[Factor], axes: Sequence[Label]) -> Term:
        """One product in normal form: selections merged, powers added, tables multiplied, empty sums counted."""
        kept = set(axes)
        before = labels_of(factors)
        factors, gone = self._selections(tuple(factors), kept)
        if _never(factors):
            return 0.0, ()
        powers: dict[tuple, float] = {}
        rest, tables = [], []
        for f in factors:
            if f.is_table:
                tables.append(f)
            elif f.atom.kind == "latent" and not isinstance(f.fn, str):
                powers[f.atom, f.labels] = powers.get((f.atom, f.labels), 0) + f.fn
            elif f.fn != "is" or f not in rest:  # an indicator is its own square
                rest.append(f)
        tables = [self._diagonal(f) for f in tables]
        rest += [Factor(a, int(p) if p == int(p) else p, labels) for (a, labels), p in powers.items() if p]
        before_matrices, rest = rest, _matrices(rest, kept | labels_of(tables))
        gone |= labels_of(f for f in before_matrices if f.fn in MATRIX) - labels_of(rest)
        c, tables = self._multiplied(c, tables)
        rest, more = _empty_selections(rest, tables, kept)
        gone |= more
        factors = sorted((*rest, *tables), key=lambda f: (f.atom.number, str(f.fn)))
        halves = [f for f in rest if f.fn == "half logdet"]
        if halves:
            c *= 0.5 ** len(halves)
            gone |= {x for f in before_matrices if f.fn == "log diagonal" for x in f.labels[-1:]}
            factors = [Factor(f.atom, "logdet", f.labels) if f.fn == "half logdet" else f for f in factors]
        for x in before - labels_of(factors) - kept - gone:
            c *= x.size  # x^0 summed over its axis
        return c, tuple(factors)

    def _selections(self, factors: tuple[Factor, ...], kept: set[Label]) -> tuple[tuple[Factor, ...], set[Label]]:
        """1[z = k] 1[z = l] = 1[z = k] delta_kl, and data under a selection by data is gathered."""
        gone: set[Label] = set()
        changed = True
        while changed:
            changed, seen = False, {}
            for f in [f for f in factors if f.fn == "is"]:
                k, other = f.labels[-1], seen.setdefault((f.atom, f.labels[:-1], f.labels[-1].size), f.labels[-1])
                if k is not other and not (k in kept and other in kept):
                    gone_one, stays = (other, k) if k in kept else (k, other)
                    factors, changed = _once(renamed(factors, {gone_one: stays})), True
                    gone.add(gone_one)
                    break
                twin = next((g for g in factors if g is not f and _same_axis(f, g)), None)
                if twin is not None:
                    rest = [g for g in factors if g is not f and g is not twin]
                    made, names = self._met(f, twin, kept)
                    factors, changed = _once(renamed((*rest, *made), names)), True
                    gone.update(names)
                    break
                if _is_identity(f) and not (k in kept and f.labels[0] in kept):
                    gone_one, stays = (k, f.labels[0]) if k not in kept else (f.labels[0], k)
                    factors, changed = renamed([g for g in factors if g is not f], {gone_one: stays}), True
                    gone.add(gone_one)
                    break
                if f.atom.kind == "index" and k not in kept and k not in f.labels[:-1]:
                    others = [g for g in factors if g is not f and k in g.labels]
                    selects = [g for g in others if g.fn == "is" and g.labels[-1] is k]
                    if others and not selects and all(g.is_table or g.atom.kind == "index" for g in others):
                        done = {id(g): self._gathered(g, k, f) for g in others}
                        if all(x is not None for x in done.values()):
                            factors = tuple(done.get(id(g), g) for g in factors if g is not f)
                            gone.add(k)
                            changed = True
                            break
        return factors, gone

    def _met(self, f: Factor, g: Factor, kept: set[Label]) -> tuple[list[Factor], dict[Label, Label]]:
        """1[t = i_u] 1[t = j_w] = sum_v 1[t = c_v] 1[u = a_v] 1[w = b_v], c the places that i and j share.

        Where i is j, and u or w is summed, they are one.
        """
        own = [x.labels[0] for x in (f, g) if len(x.labels) == 2]
        if f.atom is g.atom and len(own) == 2 and not set(own) <= kept:
            goes, stays = (own[1], own[0]) if own[0] in kept else own
            return [f], {goes: stays}
        common, *at = np.intersect1d(f.atom.value, g.atom.value, return_indices=True)
        scalar = len(own) < 2
        v = () if scalar else (Label(len(common)),)
        shaped = lambda x: np.asarray(x[0]) if scalar else x
        out = [Factor(self.index_atom(shaped(common)), "is", (*v, f.labels[-1]))]
        for x, places in zip((f, g), at, strict=True):
            if len(x.labels) == 2:
                out.append(Factor(self.index_atom(shaped(places)), "is", (*v, x.labels[0])))
        return out, {}

    def _gathered(self, g: Factor, k: Label, by: Factor) -> Factor | None:
        """A table or an index, read where another index says."""
        own = g.labels if g.is_table else g.labels[:-1]
        if own.count(k) != 1 or set(by.labels[:-1]) & set(own):
            return None
        at = own.index(k)
        key = ("gather", g.atom, by.atom, at)
        if key not in self.made:
            value = g.atom.value[(slice(None),) * at + (by.atom.value,)]
            if g.is_table:
                self.made[key] = (1.0, self.atom("data", "data", value=value))
            else:
                self.made[key] = (1.0, self.index_atom(value))
        atom = self.made[key][1]
        labels = (*own[:at], *by.labels[:-1], *own[at + 1 :])
        return Factor(atom, g.fn, labels) if g.is_table else self.narrowed(atom, labels, g.labels[-1])

    def narrowed(self, atom: Atom, labels: tuple[Label, ...], k: Label) -> Factor:
        """An index without the axes along which it is the same."""
        value = atom.value
        if is_recorded(value) or not labels:
            return Factor(atom, "is", (*labels, k))
        same = [i for i in range(len(labels)) if np.all(value == np.take(value, [0], axis=i))]
        if same:
            value = np.ascontiguousarray(value[tuple(0 if i in same else slice(None) for i in range(len(labels)))])
            labels = tuple(x for i, x in enumerate(labels) if i not in same)
            atom = self.index_atom(value)
        return Factor(atom, "is", (*labels, k))

    def _diagonal(self, f: Factor) -> Factor:
        """A table of which one label stands on two axes, as the table of that diagonal."""
        out = tuple(dict.fromkeys(f.labels))
        if len(out) == len(f.labels):
            return f
        key = ("diagonal", f.atom, tuple(map(f.labels.index, f.labels)))
        if key not in self.made:
            self.made[key] = (1.0, self.atom("data", "data", value=aligned(f.atom.value, f.labels, out)))
        return Factor(self.made[key][1], 1, out)

    def _multiplied(self, c: float, tables: list[Factor]) -> tuple[float, list[Factor]]:
        """Tables of which one has all labels of the other are multiplied: nothing grows."""
        while True:
            tables.sort(key=lambda f: (-len(set(f.labels)), f.atom.number))
            pair = next(((a, b) for a, b in combinations(tables, 2) if set(b.labels) <= set(a.labels)), None)
            if pair is None:
                return c, tables
            a, b = pair
            out = tuple(dict.fromkeys(a.labels))
            place = {x: i for i, x in enumerate(out)}
            key = ("times", a.atom, b.atom, *(tuple(place[x] for x in f.labels) for f in pair))
            value = (
                None
                if key in self.made
                else aligned(a.atom.value, a.labels, out) * aligned(b.atom.value, b.labels, out)
            )
            d, merged = self.table(value, out, key)
            c, tables = c * d, [*merged, *(f for f in tables if f is not a and f is not b)]

    def collect(self, axes: tuple[Label, ...], terms: Iterable[Term]) -> Poly:
        """The sum with like products added up."""
        like: dict[Any, Term] = {}
        for c, fs in terms:
            key = canonical(fs, axes)
            like[key] = (like[key][0] + c, like[key][1]) if key in like else (c, fs)
        return Poly(axes, tuple((c, fs) for c, fs in like.values() if c))

    # -- arithmetic ------------------------------------------------------------------------------
    def broadcast(self, *polys: Poly) -> tuple[tuple[Label, ...], list[list[Term]]]:
        """Common axes, and the products of each with labels of their own.

        Fresh labels for everything: else `w[:, None] * w` would be a diagonal.
        """
        width = max(len(p.axes) for p in polys)
        axes: list[Label] = [ONE] * width
        out = []
        for p in polys:
            fresh: dict[Label, Label] = {}
            for i, x in zip(range(width - len(p.axes), width), p.axes, strict=True):
                if x is ONE:
                    continue
                if x in fresh:  # a diagonal as it stands
                    raise NotImplementedError("one label on two axes")
                if axes[i] is ONE:
                    axes[i] = Label(x.size)
                if axes[i].size != x.size:
                    raise ValueError(f"axes of {axes[i].size} and {x.size} elements")
                fresh[x] = axes[i]
            own = []
            for c, fs in p.terms:
                for x in labels_of(fs):
                    if x not in fresh:
                        fresh[x] = Label(x.size)
                own.append((c, renamed(fs, fresh)))
            out.append(own)
        return tuple(axes), out

    def add(self, *polys: Poly) -> Poly:
        """The sum."""
        axes, terms = self.broadcast(*polys)
        return self.collect(axes, [t for ts in terms for t in ts])

    def multiply(self, a: Poly, b: Poly) -> Poly:
        """The product, multiplied out."""
        axes, (s, t) = self.broadcast(a, b)
        if len(s) * len(t) > MOST_TERMS:
            return self.opaque(f"({show(s)})·({show(t)})", axes, latents_of((*s, *t)))
        return self.collect(axes, [self.tidy(c * d, f + g, axes) for c, f in s for d, g in t])

    def scale(self, a: Poly, c: float) -> Poly:
        """The poly times a number."""
        return Poly(a.axes, tuple((c * d, fs) for d, fs in a.terms)) if c else Poly(a.axes, ())

    def total(self, a: Poly, axes: Sequence[int]) -> Poly:
        """The sum over some axes, which go. A product that does not carry one counts it."""
        gone = {a.axes[i] for i in axes} - {ONE}
        left = tuple(x for i, x in enumerate(a.axes) if i not in axes)
        terms = [(c * math.prod(x.size for x in gone - labels_of(fs)), fs) for c, fs in a.terms]
        return self.collect(left, [self.tidy(c, fs, left) for c, fs in terms])

    def matmul(self, a: Poly, b: Poly) -> Poly:
        """Matrix product as NumPy has it."""
        row, column = len(a.axes) == 1, len(b.axes) == 1
        left = Poly((*((ONE,) if row else ()), *a.axes, ONE), a.terms)
        right = Poly((*b.axes, ONE), b.terms) if column else b
        right = Poly((*right.axes[:-2], ONE, *right.axes[-2:]), right.terms)
        whole = self.multiply(left, right)
        n = len(whole.axes)
        out = self.total(whole, (n - 2,))
        axes = list(out.axes)
        if column:
            axes.pop()
        if row:
            axes.pop(-1 if column else -2)
        return Poly(tuple(axes), out.terms)

    # -- functions -------------------------------------------------------------------------------
    def apply(self, fn: Any, a: Poly, node: Any = None) -> Poly:
        """A function of every element: a power, "log", or any other (a callable), which is opaque at last.

        Through selections first, then over a product, then by multiplying out.
        """
        if fn == 1:
            return a
        if not any(f.atom.kind in ("latent", "opaque", "index") for _, fs in a.terms for f in fs):
            return self._of_data(fn, a)
        for attempt in (
            self._side_by_side,
            self._through_selection,
            self._over_product,
            self._expanded,
            self._log_of_rest,
            self._exponential,
            self._masked,
        ):
            found = attempt(fn, a)
            if found is not None:
                return found
        name = f"power {fn:g}" if isinstance(fn, int | float) else fn if isinstance(fn, str) else fn.__name__
        return self.opaque(f"{name} of ({a})", a.axes, a.latents, node)

    def _of_data(self, fn: Any, a: Poly) -> Poly:
        with np.errstate(all="ignore"):
            value = sum((c * _dense(fs, a.axes) for c, fs in a.terms), np.zeros([x.size for x in a.axes]))
            return self.data(_called(fn, value), a.axes)

    def _side_by_side(self, fn: Any, a: Poly) -> Poly | None:
        """f of parts that stand in different places of an axis: f of each, in its place."""
        if not isinstance(fn, str) and not callable(fn) and fn in (2, 3, 4):
            return None  # multiplied out
        axis, parts = split_along(a)
        if axis is None or sum(p.atom.value.size for p in {p.atom: p for p, _ in parts}.values()) < axis.size:
            return None
        groups: dict[Atom, list[tuple[Factor, Term]]] = {}
        for place, t in parts:
            groups.setdefault(place.atom, []).append((place, t))
        out: list[Term] = []
        for atom, own in groups.items():
            label = next(iter(own[0][0].labels[:-1]), ONE)
            axes = tuple(label if x is axis else x for x in a.axes)
            inner = []
            for place, (c, fs) in own:
                rest = [f for f in fs if f is not place]
                to = dict(zip(place.labels[:-1], (label,), strict=False))
                if axis in labels_of(rest):  # read where it is put
                    away = Label(axis.size)
                    rest = [*renamed(rest, {axis: away}), Factor(atom, "is", (*place.labels[:-1], away))]
                inner.append(self.tidy(c, renamed(rest, to), axes))
            done = self.apply(fn, self.collect(axes, inner))
            back = {x: y for x, y in zip(done.axes, axes, strict=True) if x is not ONE}
            place = Factor(atom, "is", (*(x for x in (label,) if x is not ONE), axis))
            out += [self.tidy(c, (*renamed(fs, back), place), a.axes) for c, fs in done.terms]
        return self.collect(a.axes, out)

    def _through_selection(self, fn: Any, a: Poly) -> Poly | None:
        """f(sum_k 1[z = k] a_k) = sum_k 1[z = k] f(a_k), where the selection covers the whole sum."""
        outer = set(a.axes) | {ONE}
        pick = next(
            (
                f
                for _, fs in a.terms
                for f in fs
                if f.fn == "is" and set(f.labels[:-1]) <= outer and f.labels[-1] not in outer
            ),
            None,
        )
        if pick is None:
            return None
        k = pick.labels[-1]
        inner = []
        for c, fs in a.terms:
            mine = next(
                (f for f in fs if f.fn == "is" and f.atom is pick.atom and f.labels[:-1] == pick.labels[:-1]), None
            )
            if mine is not None:
                fs = renamed([f for f in fs if f is not mine], {mine.labels[-1]: k})
            elif k in labels_of(fs):
                return None
            inner.append((c, fs))
        done = self.apply(fn, self.collect((*a.axes, k), inner))
        back = dict(zip(done.axes, (*a.axes, k), strict=True))
        back.pop(ONE, None)
        return self.collect(a.axes, [self.tidy(c, (*renamed(fs, back), pick), a.axes) for c, fs in done.terms])

    def _over_product(self, fn: Any, a: Poly) -> Poly | None:
        """log and powers of a single product, where signs allow."""
        if len(a.terms) != 1 or callable(fn):
            return None
        ((c, fs),) = a.terms
        whole = fn != "log" and fn == int(fn)
        if fn == "log" and any(_is_diagonal_of_factor(f) for f in fs):
            return self._log_of_diagonal(a)
        if labels_of(fs) - set(a.axes) or any(isinstance(f.fn, str) or f.atom.kind == "opaque" for f in fs):
            return None
        if not (whole or (c > 0 and all(map(is_positive, fs)))):
            return None
        tables = [f for f in fs if f.is_table]
        if fn == "log":
            terms = [(math.log(c), ())] if c != 1 else []
            terms += [self.table(np.log(f.atom.value), f.labels) for f in tables]
            terms += [(float(f.fn), (Factor(f.atom, "log", f.labels),)) for f in fs if not f.is_table]
            return self.collect(a.axes, terms)
        with np.errstate(all="ignore"):
            powers = [self.table(f.atom.value**fn, f.labels) for f in tables]
        factors = [Factor(f.atom, f.fn * fn, f.labels) for f in fs if not f.is_table]
        factors += [f for _, more in powers for f in more]
        return self.collect(a.axes, [self.tidy(c**fn * math.prod(d for d, _ in powers), factors, a.axes)])

    def _log_of_diagonal(self, a: Poly) -> Poly | None:
        """log of the diagonal of a Cholesky factor, times what is positive: its sum is half a log determinant."""
        ((c, fs),) = a.terms
        own = next(f for f in fs if _is_diagonal_of_factor(f))
        sign = -1.0 if own.fn.startswith("inverse") else 1.0
        rest = self.apply("log", Poly(a.axes, ((c, tuple(f for f in fs if f is not own)),)))
        part = Poly(a.axes, ((sign, (Factor(own.atom, "log diagonal", own.labels[:-1]),)),))
        return self.add(part, rest)

    def _expanded(self, fn: Any, a: Poly) -> Poly | None:
        """Small integer powers, multiplied out."""
        if callable(fn) or fn not in (2, 3, 4):
            return None
        return self.multiply(self._expanded(fn - 1, a) if fn > 2 else a, a)

    def _log_of_rest(self, fn: Any, a: Poly) -> Poly | None:
        """log(1 - x) of x between zero and one."""
        if fn != "log" or sorted(c for c, _ in a.terms) != [-1, 1]:
            return None
        plus, minus = (fs for _, fs in sorted(a.terms, key=lambda t: -t[0]))
        if plus or len(minus) != 1 or minus[0].fn != 1 or minus[0].atom.support != "unit":
            return None
        return Poly(a.axes, ((1.0, (Factor(minus[0].atom, "log1m", minus[0].labels),)),))

    def _exponential(self, fn: Any, a: Poly) -> Poly | None:
        """exp(c log x + d log y + data) = x^c y^d exp(data)."""
        if fn is not np.exp:
            return None
        result = self.data(1.0)
        for c, fs in a.terms:
            logs = [f for f in fs if f.fn == "log"]
            if not any(f.atom.kind in ("latent", "opaque", "index") for f in fs):
                result = self.multiply(result, self._of_data(np.exp, Poly(a.axes, ((c, fs),))))
            elif len(fs) == len(logs) == 1 and not labels_of(fs) - set(a.axes):
                result = self.multiply(result, Poly(a.axes, ((1.0, (Factor(fs[0].atom, c, fs[0].labels),)),)))
            else:
                return None
        return result

    def _masked(self, fn: Any, a: Poly) -> Poly | None:
        """f(m a + (1 - m) b) = m f(a) + (1 - m) f(b) for a mask m of zeros and ones."""
        masks: dict[tuple, list[Term]] = {}
        for c, fs in a.terms:
            found = [
                f
                for f in fs
                if f.is_table and not is_recorded(f.atom.value) and np.all((f.atom.value == 0) | (f.atom.value == 1))
            ]
            if len(found) != 1:
                return None
            masks.setdefault((found[0].atom, found[0].labels), []).append(
                (c, tuple(f for f in fs if f is not found[0]))
            )
        if len(masks) < 2:
            return None
        whole = sum(
            aligned(atom.value, labels, tuple(x for x in a.axes if x is not ONE))
            for atom, labels in masks
            if not set(labels) - set(a.axes)
        )
        if any(set(labels) - set(a.axes) for _, labels in masks) or not np.all(whole == 1):
            return None
        terms = []
        for (atom, labels), inner in masks.items():
            done = self.apply(fn, Poly(a.axes, tuple(inner)))
            if any(f.atom.kind == "opaque" for _, fs in done.terms for f in fs):
                return None
            back = {x: y for x, y in zip(done.axes, a.axes, strict=True) if x is not ONE}
            terms += [self.tidy(c, (*renamed(fs, back), Factor(atom, 1, labels)), a.axes) for c, fs in done.terms]
        return self.collect(a.axes, terms)


# -- helpers ---------------------------------------------------------------------------------------
def _same_axis(f: Factor, g: Factor) -> bool:
    """Do two indices by data select places of one axis, each once, along labels of their own?"""
    if g.fn != "is" or g.labels[-1] is not f.labels[-1] or f.labels[:-1] == g.labels[:-1]:
        return False
    both = placements([f, g], f.labels[-1:])
    return len(both) == 2 and bool(np.intersect1d(f.atom.value, g.atom.value).size)


def _never(factors: Sequence[Factor]) -> bool:
    """Does a product pick two places at once, along an axis where it can only have one?"""
    fixed = [f for f in factors if f.fn == "is" and f.atom.kind == "index" and not is_recorded(f.atom.value)]
    return any(
        f.labels[-1] is g.labels[-1] and not np.intersect1d(f.atom.value, g.atom.value).size
        for f, g in combinations(fixed, 2)
    )


def placements(factors: Sequence[Factor], axes: Sequence[Label]) -> list[Factor]:
    """The indices by data that say where along an axis a product stands: each place once."""
    return [
        f
        for f in factors
        if f.fn == "is"
        and f.atom.kind == "index"
        and not is_recorded(f.atom.value)
        and f.labels[-1] in axes
        and len(f.labels) <= 2
        and not set(f.labels[:-1]) & set(axes)
        and len(np.unique(f.atom.value)) == f.atom.value.size
    ]


def split_along(a: Poly) -> tuple[Label | None, list[tuple[Factor, Term]]]:
    """An axis along which every product has its own places, and these; (None, []) where there is none."""
    for axis in dict.fromkeys(a.axes):
        parts, seen = [], {}
        for c, fs in a.terms:
            place = next((f for f in placements(fs, a.axes) if f.labels[-1] is axis), None)
            if place is None:
                break
            parts.append((place, (c, fs)))
            seen[place.atom] = np.ravel(place.atom.value)
        else:
            every = np.concatenate(list(seen.values())) if seen else np.zeros(0)
            if parts and len(np.unique(every)) == len(every):
                return axis, parts
    return None, []


def _once(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """An indicator is its own square."""
    return tuple(f for i, f in enumerate(factors) if f.fn != "is" or f not in factors[:i])


def _is_identity(f: Factor) -> bool:
    """Does it select every element in its place?"""
    if (
        f.atom.kind != "index"
        or len(f.labels) != 2
        or f.labels[0].size != f.labels[1].size
        or is_recorded(f.atom.value)
    ):
        return False
    return f.labels[0] is not f.labels[1] and np.array_equal(f.atom.value, np.arange(f.labels[1].size))


def aligned(value: Any, labels: Sequence[Label], out: Sequence[Label]) -> Any:
    """An array with labelled axes, laid out along `out` (length one where it has no such axis)."""
    labels = list(labels)
    for i, x in enumerate(labels):
        if x in labels[:i]:  # its diagonal
            j = labels.index(x)
            value = np.moveaxis(np.diagonal(value, axis1=j, axis2=i), -1, j)
            return aligned(value, labels[:i] + labels[i + 1 :], out)
    present = [x for x in out if x in labels]
    if present != labels:
        value = np.transpose(value, [labels.index(x) for x in present])
    shape = tuple(np.shape(value)[present.index(x)] if x in labels else 1 for x in out)
    return np.reshape(value, shape) if np.shape(value) != shape else value


def _dense(factors: Sequence[Factor], axes: tuple[Label, ...]) -> Any:
    """A product of tables as an array with these axes."""
    bound = [x for x in labels_of(factors) if x not in axes]
    order = (*axes, *bound)
    out: Any = 1.0
    for f in factors:
        out = out * aligned(f.atom.value, f.labels, order)
    shape = [x.size for x in order]
    out = np.broadcast_to(out, shape)
    return np.sum(out, axis=tuple(range(len(axes), len(order)))) if bound else out


def _called(fn: Any, x: Any) -> Any:
    return fn(x) if callable(fn) else np.log(x) if fn == "log" else x**fn


def _matrices(factors: list[Factor], kept: set[Label]) -> list[Factor]:
    """sum_j L_ij L_kj = A_ik of a Cholesky factor, and sum_j M_ji M_jk = (A^-1)_ik of its inverse."""
    for i, f in enumerate(factors):
        x = f.labels[-1] if f.labels else ONE
        if f.fn == "log diagonal" and x not in kept and not any(x in g.labels for g in factors if g is not f):
            return _matrices([*factors[:i], *factors[i + 1 :], Factor(f.atom, "half logdet", f.labels[:-1])], kept)
    rules = {"chol": (1, 1), "upper chol": (1, 1), "inverse chol": (0, "inverse")}
    for i, f in enumerate(factors):
        if f.fn not in rules:
            continue
        side, becomes = rules[f.fn]
        for j, g in enumerate(factors[:i]):
            if g.atom is not f.atom or g.fn != f.fn or g.labels[:-2] != f.labels[:-2]:
                continue
            mine, other = f.labels[-2:], g.labels[-2:]
            x = mine[side]
            used = [h for m, h in enumerate(factors) if m not in (i, j) and x in h.labels]
            if other[side] is x and x not in kept and not used and x is not mine[1 - side] and x is not other[1 - side]:
                made = Factor(f.atom, becomes, (*f.labels[:-2], mine[1 - side], other[1 - side]))
                return _matrices([*(h for m, h in enumerate(factors) if m not in (i, j)), made], kept)
    return factors


def _is_diagonal_of_factor(f: Factor) -> bool:
    return f.fn in ("chol", "upper chol", "inverse chol") and f.labels[-1] is f.labels[-2]


def _empty_selections(factors: list[Factor], tables: list[Factor], kept: set[Label]) -> tuple[list[Factor], set[Label]]:
    """sum_k 1[z = k] = 1."""
    gone: set[Label] = set()
    changed = True
    while changed:
        changed = False
        for f in [f for f in factors if f.fn == "is"]:
            k = f.labels[-1]
            others = labels_of(tables) | labels_of(g for g in factors if g is not f)
            if k not in kept and k not in others and k not in f.labels[:-1]:
                # The axes of the index may now stand in no factor: then the sum over them counts.
                factors, changed = [g for g in factors if g is not f], True
                gone.add(k)
                break
    return factors, gone


def canonical(factors: Sequence[Factor], axes: Sequence[Label]) -> tuple:
    """A key that equal products share, whatever their summed labels are called."""
    place = {x: (0, i) for i, x in enumerate(axes)}
    groups = [list(g) for _, g in groupby(factors, key=lambda f: (f.atom.number, str(f.fn)))]
    best = None
    for order in islice(product(*map(permutations, groups)), ORDERS):
        names = dict(place)
        key = tuple(
            (f.atom.number, str(f.fn), tuple(names.setdefault(x, (1, len(names), x.size)) for x in f.labels))
            for group in order
            for f in group
        )
        best = key if best is None or key < best else best
    return best


def evaluate(a: Poly, point: Mapping[Atom, Any], functions: Mapping[str, Callable] | None = None) -> np.ndarray:
    """The array at a point: for every latent its value (whole numbers as they are). For checks; everything is dense."""
    out = np.zeros([x.size for x in a.axes])
    for c, fs in a.terms:
        bound = [x for x in labels_of(fs) if x not in a.axes]
        order = (*a.axes, *bound)
        value = np.full([x.size for x in order], c)
        for f in fs:
            value = value * aligned(value_at(f, point), f.labels, order)
        out = out + np.sum(value, axis=tuple(range(len(a.axes), len(order))))
    return out


def value_at(f: Factor, point: Mapping[Atom, Any]) -> np.ndarray:
    """A factor at a point, with its labels as axes."""
    kind, x = f.atom.kind, f.atom.value if f.atom.kind in ("data", "index") else point[f.atom]
    x = x.value if is_recorded(x) else np.asarray(x)
    if f.fn == "is":
        n = f.labels[-1].size
        sizes = tuple(y.size for y in f.labels)
        if kind == "latent" and x.size == math.prod(sizes) and x.size != math.prod(sizes[:-1]):
            return x.reshape(sizes).astype(float)  # a one-hot vector
        return (x.reshape(sizes[:-1])[..., None] == np.arange(n)).astype(float)
    x = x.reshape([y.size for y in f.labels]) if f.fn not in ("logdet", "log diagonal") else x
    return value_of(f.fn, x)


def value_of(fn: Any, x: Any) -> Any:
    """A function of a factor at values of its latent."""
    match fn:
        case "log":
            return np.log(x)
        case "log1m":
            return np.log1p(-x)
        case "inverse":
            return np.linalg.inv(x)
        case "logdet":
            return np.linalg.slogdet(x)[1]
        case "chol":
            return np.linalg.cholesky(x)
        case "inverse chol":
            return np.linalg.inv(np.linalg.cholesky(x))
        case "upper chol":
            return np.linalg.cholesky(x[..., ::-1, ::-1])[..., ::-1, ::-1]
        case "log diagonal":
            return np.log(np.diagonal(np.linalg.cholesky(x), axis1=-2, axis2=-1))
    return x if fn == 1 else x**fn
