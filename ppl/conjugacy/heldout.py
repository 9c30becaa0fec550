"""The density of new data in closed form: what conjugate blocks say of each element by itself.

    log p(y_n | q) = log sum_z exp sum over blocks of [A(eta + d_n(z)) - A(eta)],   A the log normalizer

Given the categories z of an element, its log density is linear in the statistics of every block, with coefficients
d_n(z). A latent of the element itself that meets no other is a block with eta = 0 and A(0) = 0. Normals that meet
the gamma of another block are averaged over it by quadrature, to the last digits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product as combinations_of
from math import prod
from typing import Any

import numpy as np
from scipy import special

from .algebra import ONE, Label
from .blocks import Operand, Product
from .contraction import Piece, _dense, contract
from .execution import _piece, _without_diagonals
from .families import Categories, Dirichlets, NormalGammas, Normals, NormalWisharts, PowerGammas, Wisharts
from .recognition import Recognized

MOST_KEPT = 1000  # elements whose latents are the fitted ones
MOST_STATES = 1000  # of the categories of one element
LARGEST = 1 << 22  # numbers at once
NEGLIGIBLE = 32.0  # nats below its top at which an integrand ends


class NoClosedForm(Exception):
    """Why the density of new data has none."""


def log_predictive(
    found: Recognized, eta: Mapping[tuple[str, str], np.ndarray], fresh: Collection[str], observed: Collection[str]
) -> np.ndarray:
    """Log density of every element of the observed sites, in the shape of their batch.

    `found` has products by element, `eta` natural parameters of its blocks; `fresh` are the latents that elements
    have of their own. Raises `NoClosedForm`.
    """
    return Predictive(found, eta, tuple(fresh), tuple(observed)).run()


@dataclass(eq=False)
class Predictive:
    """The closed forms of one model and posterior."""

    found: Recognized
    eta: Mapping[tuple[str, str], np.ndarray]
    fresh: tuple[str, ...]
    observed: tuple[str, ...]

    def __post_init__(self) -> None:
        mine, sites = {*self.fresh, *self.observed}, self.found.recorded.sites
        self.blocks = self.found.blocks
        self.products, self.eyes = [], {}
        for p in (p for p in self.found.products if p.site in mine):
            operands, eyes = _without_diagonals(p.operands)
            apart = [(o, []) if o.block in self.fresh else _off_elements(o, p.batch) for o in operands]
            self.products.append(replace(p, operands=tuple(o for o, _ in apart)))
            self.eyes[id(self.products[-1])] = [*eyes, *(e for _, es in apart for e in es)]
        shapes = {sites[n].fn.batch_shape for n in mine}
        if len(shapes) > 1:
            raise NoClosedForm("the sites of an element have different shapes")
        (self.shape,) = shapes
        self.hot = [n for n in self.fresh if isinstance(self.blocks[n].family, Categories)]
        if any(len(self.blocks[n].atom.axes) != len(self.shape) + 1 for n in self.hot):
            raise NoClosedForm("an element has several categories of one site")
        self.states = list(combinations_of(*(range(self.blocks[n].axes[-1].size) for n in self.hot)))
        if len(self.states) > MOST_STATES:
            raise NoClosedForm(f"an element has {len(self.states)} states")
        self.component_of = self._components()
        self.picks = {n: self._pick(n) for n in self.component_of}

    def run(self) -> np.ndarray:
        """All elements, some rows of them at a time."""
        count, width = prod(self.shape), self.shape[0] if self.shape else 1
        each = max((self._size(n) for n in self.component_of), default=1) * max(count // max(width, 1), 1)
        step, parts = max(1, LARGEST // each), []
        for start in range(0, width, step):
            rows = slice(start, min(start + step, width))
            parts.append(special.logsumexp([self._at(z, rows) for z in self.states], axis=0))
        return np.concatenate(parts).reshape(self.shape)

    def _size(self, n: str) -> int:
        """Numbers that an element has of a block, at the most."""
        component = self.component_of[n]
        several = 200 if self._gamma_of(component) else 1
        if self._coupled(component):
            return several * sum(prod(x.size for x in self.blocks[m].axes) for m in component) ** 2
        b = self.blocks[n]
        return several * max(prod(x.size for x in b.statistic_axes(s)) for s in b.family.statistics)

    def _at(self, state: tuple[int, ...], rows: slice) -> np.ndarray:
        """Log density of some rows and these categories: (elements,)."""
        known = [p for p in self.products if not self._others(p)]
        value = sum((self._slope(p, (), state, rows) for p in known), np.zeros(self._count(rows)))
        for component in dict.fromkeys(self.component_of.values()):
            gamma = self._gamma_of(component)
            if gamma is not None:
                value = value + self._averaged(gamma, component, state, rows)
            elif len(component) > 1:
                value = value + self._rise_together(component, state, rows)
            else:
                (n,) = component
                value = value + self._rise(n, self._change(n, state, rows), state)
        return value

    # -- what meets what --------------------------------------------------------------------------
    def _others(self, p: Product) -> list[Operand]:
        return [o for o in p.operands if o.block not in self.hot]

    def _components(self) -> dict[str, tuple[str, ...]]:
        """For each block those that it meets in products, and those that they meet."""
        groups = {o.block: (o.block,) for p in self.products for o in self._others(p)}
        for p in self.products:
            if any(o.block not in self.blocks for o in p.operands):
                raise NoClosedForm("some term has no closed-form expectation")
            met = tuple(dict.fromkeys(n for o in self._others(p) for n in groups[o.block]))
            groups.update(dict.fromkeys(met, met))
        return groups

    def _gamma_of(self, component: Sequence[str]) -> str | None:
        """The gamma that normals meet, if there is one; None, too, for a block that is alone."""
        mine = [self._others(p) for p in self.products if any(o.block in component for o in p.operands)]
        if all(len(others) == 1 for others in mine):
            return None
        kinds = {n: type(self.blocks[n].family) for n in component}
        gammas = [n for n, k in kinds.items() if k is PowerGammas]
        alike = len(gammas) <= 1 and all(k is Normals for n, k in kinds.items() if n not in gammas)
        apart = all(len({o.block for o in others}) == len(others) for others in mine)
        few = all(sum(o.block not in gammas for o in others) <= 2 for others in mine)
        if not (alike and apart and few) or {*component} & {*self.fresh}:
            raise NoClosedForm(f"{', '.join(component)} meet in the density of an element")
        return gammas[0] if gammas else None

    def _coupled(self, component: Sequence[str]) -> bool:
        """Do normals meet each other?"""
        normals = [n for n in component if isinstance(self.blocks[n].family, Normals)]
        return any(sum(o.block in normals for o in p.operands) > 1 for p in self.products)

    def _inside(self, n: str) -> tuple[int, ...]:
        """Axes of a block along which it is one vector or matrix."""
        b = self.blocks[n]
        if isinstance(b.family, Normals | NormalGammas):
            return b.family.event
        last = {Dirichlets: 1, Categories: 1, NormalWisharts: 1, Wisharts: 2}.get(type(b.family), 0)
        return tuple(range(len(b.axes) - last, len(b.axes)))

    def _pick(self, n: str) -> int | None:
        """The axis of a block that categories select, if it is the same one everywhere."""
        if n in self.fresh:
            return None
        found = set()
        for p in self.products:
            picked = {o.labels[-1] for o in p.operands if o.block in self.hot}
            for o in p.operands:
                if o.block == n:
                    found.update([i for i, x in enumerate(o.labels) if x in picked] or [None])
        (only,) = found if len(found) == 1 else (None,)
        return None if only in self._inside(n) else only

    # -- coefficients --------------------------------------------------------------------------------
    def _count(self, rows: slice) -> int:
        return (rows.stop - rows.start) * prod(self.shape[1:])

    def _units(self, p: Product) -> list[Label]:
        """The labels of the elements' axes in a product."""
        apart = len(self.shape) - len(p.batch)
        return [Label(1)] * apart + [Label(1) if x is ONE else x for x in p.batch]

    def _slope(
        self, p: Product, out: Sequence[Label], state: tuple[int, ...], rows: slice, more: Sequence[Piece] = ()
    ) -> np.ndarray:
        """A product without its latents, but what stands in `more`: (elements, *out)."""
        fixed = {o.labels[-1]: state[self.hot.index(o.block)] for o in p.operands if o.block in self.hot}
        cut = {o.labels[at] for o in self._others(p) if (at := self.picks[o.block]) is not None}
        units, which, sizes = self._units(p), {x: slice(fixed[x], fixed[x] + 1) for x in cut}, dict.fromkeys(cut, 1)
        if units and units[0].size > 1:
            which[units[0]], sizes[units[0]] = rows, rows.stop - rows.start
        pieces = [*map(_piece, p.data), *self.eyes[id(p)], *(Piece(np.eye(x.size)[k], (x,)) for x, k in fixed.items())]
        pieces = [*(_cut(q, which) for q in pieces), *more]
        also = {x for o in p.operands for x in o.labels} - set(units)
        value = contract(pieces, (*units, *out), sizes, also=tuple(also))
        inner = tuple(sizes.get(x, x.size) for x in out)
        lead = (rows.stop - rows.start, *self.shape[1:]) if self.shape else ()
        return p.coefficient * np.broadcast_to(value, (*lead, *inner)).reshape(self._count(rows), *inner)

    def _own(self, p: Product, o: Operand) -> tuple[Label, ...]:
        """The labels of an operand beside those of the elements."""
        units = set(self._units(p))
        return tuple(x for x in o.labels if x not in units)

    def _change(
        self, n: str, state: tuple[int, ...], rows: slice, met: tuple[Label, Mapping[str, np.ndarray]] | None = None
    ) -> dict[str, np.ndarray]:
        """What the elements add to the natural parameters of a block: {statistic: (elements, *axes)}.

        Where it meets another block, at values of that one's statistics: {statistic: (elements, *axes, values)}.
        """
        out: dict[str, Any] = {}
        for p in self.products:
            for o in p.operands:
                if o.block != n:
                    continue
                others = [q for q in self._others(p) if q is not o]
                if met is None and others:
                    continue
                labels = self._own(p, o) if met is None else (*self._own(p, o), met[0])
                tables = [Piece(met[1][q.statistic], (*q.labels, met[0])) for q in others]
                g = self._slope(p, labels, state, rows, tables)
                out[o.statistic] = out[o.statistic] + g if o.statistic in out else g
        return out

    def _before(self, n: str, state: tuple[int, ...]) -> dict[str, np.ndarray]:
        """The natural parameters of a block, at what the categories select of it."""
        at = self.picks[n]
        out = {s: np.asarray(self.eta[n, s]) for s in self.blocks[n].family.statistics}
        if at is None:
            return out
        (k,) = {state[self.hot.index(h)] for h in self._selectors(n, at)}
        return {s: x[(slice(None),) * at + (slice(k, k + 1),)] for s, x in out.items()}

    def _selectors(self, n: str, at: int) -> set[str]:
        """The categories whose labels run along an axis of a block."""
        found = set()
        for p in self.products:
            along = {o.labels[at] for o in p.operands if o.block == n}
            found |= {o.block for o in p.operands if o.block in self.hot and o.labels[-1] in along}
        return found

    # -- what they are worth ---------------------------------------------------------------------------
    def _rise(self, n: str, change: Mapping[str, np.ndarray], state: tuple[int, ...]) -> np.ndarray:
        """A(eta + change) - A(eta) of a block that is alone: (elements,)."""
        family = self.blocks[n].family
        if n in self.fresh:
            units = sum(x is not ONE for x in self.blocks[n].atom.axes[: len(self.shape)])
            if any(i < units for i in getattr(family, "event", ())) or set(change) < set(family.statistics):
                raise NoClosedForm(f"{n} joins elements, or has no density of its own")
            return _log_normalizer(_behind(family, 1 - units), change)
        before = {s: x[None] for s, x in self._before(n, state).items()}
        after = {s: x + change[s] if s in change else x for s, x in before.items()}
        lead = max(len(x) for x in after.values())
        after = {s: np.broadcast_to(x, (lead, *x.shape[1:])) for s, x in after.items()}
        family = _behind(family, 1)
        return _log_normalizer(family, after) - _log_normalizer(family, before)

    def _averaged(self, gamma: str, component: Sequence[str], state: tuple[int, ...], rows: slice) -> np.ndarray:
        """log E[exp(rises of the normals)] over a gamma, element by element of it: (elements,).

        The trapezoid rule on the logarithm y = log x^p, which converges exponentially; the interval grows until
        the integrands end.
        """
        family, eta = self.blocks[gamma].family, self._before(gamma, state)
        a, b = (lambda own: (own[0] + 1.0, -own[1]))(family.natural(eta))
        alone = self._change(gamma, state, rows)
        zero = np.zeros((1, *a.shape))
        log_slope, slope = (alone.get(s, zero)[..., None] for s in ("log", "power"))
        low, high = (np.log(f(a, 1e-15) / b) for f in (special.gammaincinv, special.gammainccinv))
        while True:
            width = np.minimum(0.6 * np.sqrt(special.polygamma(1, a)), 0.3)
            count = int(np.max((high - low) / width)) + 2
            y = low[..., None] + (high - low)[..., None] * np.linspace(0.0, 1.0, count)
            x = np.exp(y)
            log_p = a[..., None] * y - b[..., None] * x + (a * np.log(b) - special.gammaln(a))[..., None]
            log_p = log_p + log_slope * y / family.power + slope * x
            tables, normals = {"log": y / family.power, "power": x}, [n for n in component if n != gamma]
            if self._coupled(component):
                rise = self._rise_together(normals, state, rows, tables)
                log_p = log_p + rise.reshape(len(rise), *a.shape, count)
            else:
                for n in normals:
                    log_p = log_p + self._rise_at(n, gamma, tables, state, rows)
            ends = np.max(log_p, axis=-1, keepdims=True) - log_p[..., [0, -1]]
            short = np.min(ends, axis=0) < NEGLIGIBLE
            if not np.any(short):
                break
            low, high = low - short[..., 0] * (high - low), high + short[..., 1] * (high - low)
        step = np.log((high - low) / (count - 1))
        return np.sum(special.logsumexp(log_p, axis=-1) + step, axis=tuple(range(1, log_p.ndim - 1)))

    def _rise_at(
        self, n: str, gamma: str, tables: Mapping[str, np.ndarray], state: tuple[int, ...], rows: slice
    ) -> np.ndarray:
        """The rise of normals at values of the gamma that they meet: (elements, *axes of the gamma, nodes)."""
        family, cells = self.blocks[n].family, next(iter(tables.values())).shape[:-1]
        nodes = Label(next(iter(tables.values())).shape[-1])
        change = self._change(n, state, rows, (nodes, tables))
        before = {s: x[None, None] for s, x in self._before(n, state).items()}
        after = {s: x + np.moveaxis(change[s], -1, 1) if s in change else x for s, x in before.items()}
        lead = np.broadcast_shapes(*(x.shape[:2] for x in after.values()))
        if prod(cells) == 1:
            after = {s: np.broadcast_to(x, (*lead, *x.shape[2:])).reshape(-1, *x.shape[2:]) for s, x in after.items()}
            rise = _log_normalizer(_behind(family, 1), after)
            rise = rise - _log_normalizer(_behind(family, 1), {s: x[0] for s, x in before.items()})
            return rise.reshape(lead[0], *cells, lead[1])
        rise = _normal_log_normalizer(after) - _normal_log_normalizer(before)
        at = self._places(n, gamma)
        rise = rise.sum(axis=tuple(i + 2 for i in range(rise.ndim - 2) if i not in at))
        order = [sorted(at).index(i) + 2 for i in at]
        return np.transpose(rise, (0, *order, 1))

    def _rise_together(
        self,
        normals: Sequence[str],
        state: tuple[int, ...],
        rows: slice,
        tables: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """The rise of normals that meet each other, as one vector: (elements,), or (elements, values of a gamma)."""
        tables = tables or {"log": np.zeros(1)}
        if prod(next(iter(tables.values())).shape[:-1]) > 1:
            raise NoClosedForm(f"{', '.join(normals)} meet across elements of a gamma's")
        nodes = Label(next(iter(tables.values())).shape[-1])
        before = {n: self._before(n, state) for n in normals}
        ends = np.cumsum([0, *(before[n]["x"].size for n in normals)])
        place = {n: slice(a, b) for n, a, b in zip(normals, ends, ends[1:], strict=False)}
        first = np.zeros((1, 1, ends[-1]))
        second = np.zeros((1, 1, ends[-1], ends[-1]))
        for n, own in before.items():
            first[..., place[n]] = own["x"].ravel()
            second[..., place[n], place[n]] = self._square(n, own["xx"][None])[0]
        start = first, second
        count, values = self._count(rows), nodes.size
        first = np.broadcast_to(first, (count, values, ends[-1])).copy()
        second = np.broadcast_to(second, (count, values, ends[-1], ends[-1])).copy()
        for p in self.products:
            mine = [o for o in self._others(p) if o.block in normals]
            if not mine:
                continue
            more = [Piece(tables[o.statistic], (*o.labels, nodes)) for o in self._others(p) if o not in mine]
            g = self._slope(p, (*(x for o in mine for x in self._own(p, o)), nodes), state, rows, more)
            g = np.moveaxis(g, -1, 1)
            at = [place[o.block] for o in mine]
            if len(mine) == 2:
                half = 0.5 * g.reshape(*g.shape[:2], *(s.stop - s.start for s in at))
                second[..., at[0], at[1]] += half
                second[..., at[1], at[0]] += np.swapaxes(half, -1, -2)
            elif mine[0].statistic == "x":
                first[..., at[0]] += g.reshape(*g.shape[:2], -1)
            else:
                flat = self._square(mine[0].block, g.reshape(-1, *g.shape[2:]))
                second[..., at[0], at[0]] += flat.reshape(*g.shape[:2], *flat.shape[1:])
        rise = _vector_log_normalizer(first, second) - _vector_log_normalizer(*start)
        return rise if values > 1 else rise[:, 0]

    def _square(self, n: str, second: np.ndarray) -> np.ndarray:
        """Second-order parameters of a block as matrices: (elements, size, size)."""
        event, shape = self.blocks[n].family.event, second.shape[1 : 1 + len(self.blocks[n].axes)]
        size = prod(shape)
        if not event:
            return second.reshape(-1, size, 1) * np.eye(size)
        if any(k > 1 for i, k in enumerate(shape) if i not in event):
            raise NoClosedForm(f"{n} is several vectors that meet others")
        return second.reshape(-1, size, size)

    def _places(self, n: str, gamma: str) -> tuple[int, ...]:
        """Which axes of normals, each for itself, are those of the gamma that they meet."""
        found = set()
        for p in self.products:
            own = [o.labels[: len(self.blocks[n].axes)] for o in p.operands if o.block == n]
            for q in (o for o in p.operands if own and o.block == gamma):
                found.add(tuple(own[0].index(x) if x in own[0] else -1 for x in q.labels))
        (only,) = found if len(found) == 1 else ((-1,),)
        if self.blocks[n].family.event or -1 in only:
            raise NoClosedForm(f"{n}, {gamma} meet across elements of theirs")
        return only


def _off_elements(o: Operand, batch: Sequence[Label]) -> tuple[Operand, list[Piece]]:
    """An operand whose labels are none of the elements': where it has one for each, it is picked by an identity."""
    labels, eyes = [], []
    for x in o.labels:
        if x in batch and x is not ONE:
            if x.size > MOST_KEPT:
                raise NoClosedForm(f"{x.size} elements have fitted latents of their own: {o.block}")
            fresh = Label(x.size)
            eyes.append(Piece(np.eye(x.size), (x, fresh)))
            x = fresh
        labels.append(x)
    return Operand(o.block, o.statistic, tuple(labels)), eyes


def _behind(family: Any, count: int) -> Any:
    """A family of arrays that have more axes before their own."""
    return replace(family, event=tuple(i + count for i in family.event)) if hasattr(family, "event") else family


def _log_normalizer(family: Any, eta: Mapping[str, np.ndarray]) -> np.ndarray:
    """A(eta) = entropy + <eta, mean>, summed over all axes but the first."""
    means, entropy = family.solve(eta)
    whole = lambda x: np.reshape(x, (len(x), -1)).sum(1)
    return whole(np.asarray(entropy)) + sum(whole(eta[s] * means[s]) for s in eta)


def _normal_log_normalizer(eta: Mapping[str, np.ndarray]) -> np.ndarray:
    """A(eta) of each of many normals."""
    return -0.25 * eta["x"] ** 2 / eta["xx"] + 0.5 * np.log(-np.pi / eta["xx"])


def _vector_log_normalizer(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A(eta) of vectors: log of the integral of exp(first x + x second x)."""
    precision = -second - np.swapaxes(second, -1, -2)
    half = np.linalg.solve(precision, first[..., None])[..., 0]
    log_det = np.linalg.slogdet(precision)[1]
    return 0.5 * (np.sum(first * half, -1) - log_det + first.shape[-1] * np.log(2.0 * np.pi))


def _cut(q: Piece, which: Mapping[Label, slice]) -> Piece:
    """A piece at some indices of its labels."""
    if q.selects and q.labels[-1] in which:
        q = _dense(q)
    if not which.keys() & set(q.axes):
        return q
    return Piece(np.asarray(q.value)[tuple(which.get(x, slice(None)) for x in q.axes)], q.labels, q.selects)
