"""A program at all states of its finite values at once.

A program was recorded with the value of each finite site as an input of the site's own shape. Here it is
replayed with an axis on the left for every such site that a value reads, along which the site goes through
its states. What a model does with a site (`mu[z]`, `np.where`, matrix products) needs no knowledge of that:
elementwise operations broadcast, all others run batched.

Elements of a site that are independent, as those in a plate, go through their states together: one axis on
the left serves all of them. That is right only where no value reads two elements at once, so along these
`parallel` axes it is followed where each element goes, and `Mixed` is raised where elements meet. A shift
along a loop's time axis is not a meeting: the value of the step before is a site of its own, with a lag.

    value of shape (N,), read from z in a plate of N  ->  (states of z, N), or (states of z, 1) where all
                                                          rows are alike
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..array import Program, needed, substitute
from ..array import operations as op
from ..array.batching import Batched, call_batched
from ..array.recording import Recorded, call_recording

MOST_STATES = 1 << 16  # joint states of the sites that one value reads
MOST_SITES = 20  # that one value reads


class Label(NamedTuple):
    """A finite site, by its number, as it is `lag` steps of a loop before."""

    site: int
    lag: int = 0


@dataclass(frozen=True)
class Finite:
    """A site with finitely many states, as it is gone through.

    `states` (K, *shape) has length 1 along the `parallel` axes of the value, which are counted from the
    right; `time` is the one of them along which a loop runs.
    """

    name: str
    shape: tuple[int, ...]
    states: np.ndarray
    parallel: tuple[int, ...]
    event_ndim: int
    time: int | None = None

    @property
    def size(self) -> int:
        """The number of states."""
        return len(self.states)

    @property
    def dims(self) -> tuple[int, ...]:
        """The parallel axes in the site's log density."""
        return tuple(a + self.event_ndim for a in self.parallel)


class Mixed(Exception):
    """Some value reads several elements of a site along an axis that was taken to be parallel."""

    def __init__(self, site: int, axis: int, where: str):
        super().__init__(site, axis, where)
        self.site, self.axis, self.where = site, axis, where


class TooMany(Exception):
    """Some value reads more sites together than can be gone through."""

    def __init__(self, sites: Collection[int], states: float):
        super().__init__(sites, states)
        self.sites, self.states = frozenset(sites), states


class Spread:
    """A value at all states of the sites that it reads.

    `x` has an axis for each label, in order, then the value's own, which have length 1 where all elements
    are alike. `shape` is the value's own shape; `axes` says for each label where its parallel axes are.
    """

    __slots__ = ("axes", "labels", "shape", "x")

    def __init__(self, x: Any, labels: tuple[Label, ...], shape: tuple[int, ...], axes: dict[Label, tuple[int, ...]]):
        self.x, self.labels, self.shape, self.axes = x, labels, tuple(shape), axes

    @property
    def own(self) -> tuple[int, ...]:
        """The value's own axes as they are in `x`."""
        return np.shape(self.x)[len(self.labels) :]

    def aligned(self, labels: Sequence[Label], ndim: int) -> Any:
        """`x` with an axis for each of these labels, and the value's own lifted to `ndim` axes."""
        sizes = dict(zip(self.labels, np.shape(self.x), strict=False))
        shape = (*(sizes.get(label, 1) for label in labels), *(1,) * (ndim - len(self.shape)), *self.own)
        return self.x if shape == np.shape(self.x) else np.reshape(self.x, shape)

    def full(self, keep: Collection[int] = ()) -> Any:
        """`x` with the value's own axes at their full length, but those to `keep` (from the left)."""
        own = tuple(a if i in keep else n for i, (a, n) in enumerate(zip(self.own, self.shape, strict=True)))
        shape = (*np.shape(self.x)[: len(self.labels)], *own)
        return self.x if shape == np.shape(self.x) else np.broadcast_to(self.x, shape)


def spread(
    program: Program, inputs: Sequence[Any], finite: Mapping[int, Finite], outputs: Sequence[Any]
) -> tuple[list, dict[int, int]]:
    """Outputs of a program, recorded again; inputs in `finite` go through their states.

    Results that read such an input are `Spread`; labels count the sites in the order of `finite`. The second
    result says of a loop's site which other site stands in its place before the first step: there the label with
    lag 1 goes through the states of that one.
    """
    starts: dict[int, int] = {}
    n = len(program.inputs)
    values: dict[int, Any] = dict(enumerate(inputs))
    sites = list(finite.values())
    for number, (i, site) in enumerate(finite.items()):
        label = Label(number)
        values[i] = Spread(site.states, (label,), site.shape, {label: site.parallel})
    for i in sorted(needed(program, tuple(outputs))):
        if i >= n:
            step = program.steps[i - n]
            args, kwargs = substitute((step.args, step.kwargs), values.__getitem__)
            found = _spreads((args, kwargs))
            values[i] = (
                _Call(sites, starts, step.shape, found).call(step.fun, args, kwargs)
                if found
                else call_recording(step.fun, args, kwargs)
            )
    return [substitute(o, values.__getitem__) for o in outputs], starts


def _spreads(x: Any) -> list[Spread]:
    t = type(x)
    if t is Spread:
        return [x]
    if t is tuple or t is list:
        return [s for y in x for s in _spreads(y)]
    if t is slice:
        return _spreads((x.start, x.stop, x.step))
    return [s for y in x.values() for s in _spreads(y)] if t is dict else []


_ELEMENTWISE = frozenset((op.where.run, op.softplus.run, op.stop_gradient.run, op.cast.run))


class _Call:
    """One operation on arguments of which some are spread."""

    def __init__(
        self, sites: Sequence[Finite], starts: dict[int, int], shape: tuple[int, ...], found: Sequence[Spread]
    ):
        self.sites, self.starts, self.shape = sites, starts, shape
        self.labels = tuple(sorted({label for s in found for label in s.labels}))
        sizes = [sites[label.site].size for label in self.labels]
        states = float(np.prod(sizes, dtype=float))
        if states > MOST_STATES or len(sizes) > MOST_SITES:
            raise TooMany({label.site for label in self.labels}, states)
        self.sizes = tuple(sizes)

    def call(self, fun: Callable, args: tuple, kwargs: dict) -> Spread:
        known = _RULES.get(fun)
        if known is None and ((isinstance(fun, np.ufunc) and fun.signature is None) or fun in _ELEMENTWISE):
            known = _Call.elementwise
        if known is None or kwargs:
            return self.flat(fun, args, kwargs)
        return known(self, fun, args)

    def made(self, x: Any, axes: Mapping[Label, tuple[int, ...]]) -> Spread:
        return Spread(x, self.labels, self.shape, dict(axes))

    def mix(self, label: Label, axis: int, fun: Callable) -> None:
        raise Mixed(label.site, axis, getattr(fun, "__name__", "an operation"))

    def common(self, fun: Callable, found: Sequence[Mapping[Label, tuple[int, ...]]]) -> dict[Label, tuple[int, ...]]:
        """Where the axes are in a result that lines up those of several arguments."""
        axes: dict[Label, tuple[int, ...]] = {}
        for own in found:
            for label, places in own.items():
                before = axes.setdefault(label, places)
                for k, (a, b) in enumerate(zip(before, places, strict=True)):
                    if a != b:
                        self.mix(label, k, fun)
        return axes

    def moved(self, x: Spread, fun: Callable, place: Callable[[int], int | None]) -> dict[Label, tuple[int, ...]]:
        """Axes of one argument, each sent to where `place` puts it, from the left to the right-counted; None mixes."""
        out = {}
        for label, places in x.axes.items():
            new = [place(len(x.shape) + a) for a in places]
            for k, a in enumerate(new):
                if a is None:
                    self.mix(label, k, fun)
            out[label] = tuple(new)
        return out

    # -- rules ---------------------------------------------------------------------------------
    def elementwise(self, fun: Callable, args: tuple) -> Spread:
        ndim = len(self.shape)
        aligned = [a.aligned(self.labels, ndim) if type(a) is Spread else a for a in args]
        x = call_recording(fun, tuple(aligned), {})
        return self.made(x, self.common(fun, [a.axes for a in args if type(a) is Spread]))

    def reduced(self, fun: Callable, args: tuple) -> Spread:
        x, axes = args
        n = len(self.labels)
        whole = x.full(keep=[i for i in range(len(x.shape)) if i not in axes])
        place = lambda i: None if i in axes else i - len(x.shape) + sum(a > i for a in axes)
        return self.made(call_recording(fun, (whole, tuple(a + n for a in axes)), {}), self.moved(x, fun, place))

    def along(self, fun: Callable, args: tuple) -> Spread:
        x, axis = args
        whole = x.full(keep=[i for i in range(len(x.shape)) if i != axis])
        place = lambda i: None if i == axis else i - len(x.shape)
        return self.made(call_recording(fun, (whole, axis + len(self.labels)), {}), self.moved(x, fun, place))

    def windowed(self, fun: Callable, args: tuple) -> Spread:
        """Windows, and windows added up: in space and in features elements meet, in front of it they do not."""
        x = args[0]
        space = len(args[1]) + 1 if fun is op.windows.run else 2 * len(args[1]) + 1
        front = range(len(x.shape) - space)
        place = lambda i: i - len(self.shape) if i in front else None
        return self.made(call_recording(fun, (x.full(keep=front), *args[1:]), {}), self.moved(x, fun, place))

    def padded(self, fun: Callable, args: tuple) -> Spread:
        """Zeros around an array, as np.pad makes them; an axis that grows mixes."""
        x, key, new = args
        slices = type(key) is tuple and len(key) == len(new) == len(x.shape) and all(type(k) is slice for k in key)
        if not slices:
            return self.flat(fun, args, {})
        kept = [i for i, n in enumerate(new) if key[i].indices(n) == (0, n, 1)]
        own = [slice(None) if i in kept else k for i, k in enumerate(key)]
        whole = x.full(keep=kept)
        lead, sides = np.shape(whole)[: len(self.labels)], np.shape(whole)[len(self.labels) :]
        space = (*lead, *(m if i in kept else n for i, (m, n) in enumerate(zip(sides, new, strict=True))))
        place = lambda i: i - len(new) if i in kept else None
        key = (*(slice(None),) * len(lead), *own)
        return self.made(op.scatter(whole, key, space), self.moved(x, fun, place))

    def reshaped(self, fun: Callable, args: tuple) -> Spread:
        x, new = args
        before, after = ([i for i, n in enumerate(s) if n != 1] for s in (x.shape, new))
        if [x.shape[i] for i in before] == [new[i] for i in after]:  # axes of length 1 come and go
            to = dict(zip(before, after, strict=True))
            own = [1] * len(new)
            for i, j in to.items():
                own[j] = x.own[i]
            place = lambda i: to[i] - len(new)
            result = op.reshape(x.x, (*self.sizes, *own))
        else:
            place = lambda i: _same_coordinate(x.shape, new, i)
            result = op.reshape(x.full(), (*self.sizes, *new))
        return self.made(result, self.moved(x, fun, place))

    def broadcast(self, fun: Callable, args: tuple) -> Spread:
        x, new = args
        return self.made(x.aligned(self.labels, len(new)), x.axes)

    def transposed(self, fun: Callable, args: tuple) -> Spread:
        x, order = args
        n = len(self.labels)
        result = op.transpose(x.x, (*range(n), *(n + a for a in order)))
        return self.made(result, self.moved(x, fun, lambda i: order.index(i) - len(order)))

    def concatenated(self, fun: Callable, args: tuple) -> Spread:
        parts, axis = args
        axes = self.common(fun, [p.axes for p in parts if type(p) is Spread])
        later = {}  # a series whose elements are all moved on, by the rows that now stand before it
        for label, places in axes.items():
            for j, a in enumerate(places):
                if len(self.shape) + a == axis:
                    later[label] = Label(label.site, label.lag + self.moved_on(parts, axis, label, j))
        if self.begins(parts, later):
            return self.begun(parts, axis, next(iter(later)), axes)
        labels = tuple(later.get(label, label) for label in self.labels)
        if list(labels) != sorted(set(labels)):
            self.mix(next(iter(later)), 0, fun)
        joined = op.concatenate(tuple(map(self.everywhere, parts)), axis + len(self.labels))
        return Spread(joined, labels, self.shape, {later.get(label, label): a for label, a in axes.items()})

    def begins(self, parts: Sequence[Any], later: Mapping[Label, Label]) -> bool:
        """Is this a series and one row before it, which reads one other site, of as many states?"""
        if [label.lag for label in later.values()] != [1] or len(parts) != 2 or type(parts[0]) is not Spread:
            return False
        (site,), (start, series) = (x.site for x in later), parts
        if len(start.labels) != 1 or len(series.labels) != 1 or start.labels[0].lag:
            return False
        first, own = self.sites[start.labels[0].site], self.sites[site]
        same = first.size == own.size and set(first.dims) == set(own.dims) - {own.time + own.event_ndim}
        return same and self.starts.setdefault(site, start.labels[0].site) == start.labels[0].site

    def begun(self, parts: Sequence[Any], axis: int, label: Label, axes: Mapping[Label, tuple[int, ...]]) -> Spread:
        """The series of the step before: where it begins, its label goes through the states of the site there."""
        joined = op.concatenate(tuple(p.full() for p in parts), axis + 1)
        before = Label(label.site, 1)
        return Spread(joined, (before,), self.shape, {before: axes[label]})

    def moved_on(self, parts: Sequence[Any], axis: int, label: Label, j: int) -> int:
        """By how many rows the one part that reads a site along the joined axis now stands later."""
        own = [i for i, p in enumerate(parts) if type(p) is Spread and label in p.axes]
        site = self.sites[label.site]
        whole = len(own) == 1 and own[0] == len(parts) - 1 and self.shape[axis] == site.shape[site.parallel[j]]
        if not whole or site.parallel[j] != site.time:
            self.mix(label, j, op.concatenate.run)
        return sum(_shape_of(p)[axis] for p in parts[: own[0]])

    def everywhere(self, p: Any) -> Any:
        """A value at its full shape, with an axis of full length for every label."""
        if type(p) is not Spread:
            return np.broadcast_to(p, (*self.sizes, *np.shape(p)))
        whole = Spread(p.full(), p.labels, p.shape, p.axes).aligned(self.labels, len(p.shape))
        return np.broadcast_to(whole, (*self.sizes, *p.shape))

    def _lag(self, x: Spread, parts: Sequence[Any], axis: int) -> tuple[tuple[Label, ...], dict]:
        """Labels and axes of a series whose elements are all moved on, by the rows that now stand before it."""
        k = next(i for i, p in enumerate(parts) if p is x)
        before = sum(np.shape(p)[axis] for p in parts[:k])
        after = sum(np.shape(p)[axis] for p in parts[k + 1 :])
        new = {}
        for label in x.labels:
            places, site = x.axes[label], self.sites[label.site]
            for j, a in enumerate(places):
                if len(x.shape) + a == axis:
                    if site.parallel[j] != site.time or after or self.shape[axis] != site.shape[site.time]:
                        self.mix(label, j, op.concatenate)
                    new[label] = Label(label.site, label.lag + before)
        labels = tuple(new.get(label, label) for label in x.labels)
        if list(labels) != sorted(labels):
            self.mix(x.labels[0], 0, op.concatenate)
        return labels, {new.get(label, label): places for label, places in x.axes.items()}

    def indexed(self, fun: Callable, args: tuple) -> Spread:
        x, key = args
        shape = x.shape if type(x) is Spread else np.shape(x)
        keys = _expanded(key if type(key) is tuple else (key,), len(shape))
        arrays = [i for i, k in enumerate(keys) if isinstance(k, np.ndarray | Recorded | Spread | list)]
        if not arrays:
            return self.basic(fun, x, keys)
        if any(k is None for k in keys) or any(_is_mask(k) for k in keys):
            return self.flat(fun, args, {})
        at = [i for i, k in enumerate(keys) if not isinstance(k, slice)]
        if at != list(range(at[0], at[-1] + 1)) or any(k != slice(None) for k in keys if isinstance(k, slice)):
            return self.flat(fun, args, {})
        return self.gathered(fun, x, keys, at)

    def basic(self, fun: Callable, x: Spread, keys: Sequence[Any]) -> Spread:
        """Integers, slices and new axes."""
        own, to, axis, new = [], {}, 0, 0
        for k in keys:
            if k is None:
                own.append(k)
                new += 1
                continue
            n, alike = x.shape[axis], x.own[axis] != x.shape[axis]
            if isinstance(k, slice):
                start, _, step = k.indices(n)
                kept = len(range(*k.indices(n)))
                to[axis] = new, k == slice(None) or (step == 1 and start == 0 and kept == n), (start, step)
                own.append(slice(0, min(kept, 1)) if alike else k)
                new += 1
            else:
                own.append(0 if alike else k)
            axis += 1
        out = {}
        for label, places in x.axes.items():
            site, moved = self.sites[label.site], []
            for j, a in enumerate(places):
                place = to.get(len(x.shape) + a)
                if place is None or not (place[1] or (site.parallel[j] == site.time and place[2] == (0, 1))):
                    self.mix(label, j, fun)
                moved.append(place[0] - len(self.shape))
            out[label] = tuple(moved)
        return self.made(op.index(x.x, (*(slice(None),) * len(self.labels), *own)), out)

    def gathered(self, fun: Callable, x: Any, keys: list, at: list[int]) -> Spread:
        """Arrays as indices, side by side: `x[..., i, j, ...]`."""
        first, several = at[0], len(at)
        lead = len(self.labels)
        shape = x.shape if type(x) is Spread else np.shape(x)
        inner = len(np.broadcast_shapes(*(_shape_of(k) for k in keys[first : first + several])))
        ndim = lead + first + inner  # of the index arrays
        out_ndim = first + inner + len(shape) - first - several
        found: list[dict[Label, tuple[int, ...]]] = []
        for k in keys:
            if type(k) is Spread:
                found.append({label: tuple(a - (out_ndim - first - inner) for a in p) for label, p in k.axes.items()})
        every: list[Any] = []
        if type(x) is Spread:
            for label in x.labels:
                n = self.sizes[self.labels.index(label)]
                every.append(_ramp(n, self.labels.index(label), ndim))
        picked = [i - first for i in range(first, first + several)]
        for i in range(first):
            n = x.own[i] if type(x) is Spread else shape[i]
            every.append(_ramp(n, lead + i, ndim))
        along: dict[int, int | None] = {i: i - out_ndim for i in range(first)}  # axes of x in the result
        along |= {i: i - len(shape) for i in range(first + several, len(shape))}
        for j in picked:
            k = keys[first + j]
            b = None if type(k) is Spread or isinstance(k, Recorded) else _ramp_of(k, shape[first + j])
            along[first + j] = None if b is None else b - (out_ndim - first - inner)
            alike = type(x) is Spread and x.own[first + j] != shape[first + j]
            if alike:
                every.append(0)
            elif type(k) is Spread:
                every.append(k.aligned(self.labels, first + inner))
            else:
                every.append(k)
        result = _take(x.x if type(x) is Spread else x, every, ndim, self._key_shape(every, ndim))
        if type(x) is Spread:
            found.append(self.moved(x, fun, along.__getitem__))
        # One axis on the left for each label: where no index array had it, it has to be there all the same.
        return self.made(result, self.common(fun, found))

    def _key_shape(self, every: Sequence[Any], ndim: int) -> tuple[int, ...]:
        shape = np.broadcast_shapes(*(np.shape(k) for k in every))
        return (1,) * (ndim - len(shape)) + shape

    def product(self, fun: Callable, args: tuple) -> Spread:
        """Matrix products: an axis that is summed over mixes."""
        found = []
        ndims = [len(a.shape) if type(a) is Spread else np.ndim(a) for a in args]
        for side, a in enumerate(args):
            if type(a) is not Spread:
                continue
            other = ndims[1 - side]
            axes = {}
            for label, places in a.axes.items():
                moved = []
                for j, p in enumerate(places):
                    own = ndims[side]
                    summed = -1 if side == 0 or own == 1 else -2
                    if p == summed:
                        self.mix(label, j, fun)
                    if side == 0:
                        moved.append(p + (other == 1))
                    else:
                        moved.append(p if p == -1 or other > 1 else p + 1)
                axes[label] = tuple(moved)
            found.append(axes)
        return self.made(self._flattened(fun, args, {}), self.common(fun, found))

    def matrices(self, fun: Callable, args: tuple) -> Spread:
        """Linear algebra of the last two axes, matrix by matrix: these mix, those before them do not."""
        lead = max((len(a.shape) if type(a) is Spread else np.ndim(a)) for a in args) - 2
        core = len(self.shape) - lead
        aligned, found = [], []
        for a in args:
            if type(a) is Spread:
                whole = Spread(a.full(keep=range(len(a.shape) - 2)), a.labels, a.shape, a.axes)
                aligned.append(whole.aligned(self.labels, lead + 2))
                n = len(a.shape)
                to = {i: i - n + 2 - core if i < n - 2 else None for i in range(n)}
                found.append(self.moved(a, fun, to.__getitem__))
            else:
                aligned.append(a)
        shapes = [np.shape(a)[:-2] for a in aligned]
        if len(set(shapes)) > 1:
            every = np.broadcast_shapes(*shapes)
            aligned = [np.broadcast_to(a, (*every, *np.shape(a)[-2:])) for a in aligned]
        return self.made(call_recording(fun, tuple(aligned), {}), self.common(fun, found))

    def flat(self, fun: Callable, args: tuple, kwargs: dict) -> Spread:
        """Any other operation, batched: where elements go is not followed."""
        for s in _spreads((args, kwargs)):
            for label, places in s.axes.items():
                if places:
                    self.mix(label, 0, fun)
        return self.made(self._flattened(fun, args, kwargs), dict.fromkeys(self.labels, ()))

    def _flattened(self, fun: Callable, args: tuple, kwargs: dict) -> Any:
        count = prod(self.sizes)

        def batched(x: Any) -> Any:
            t = type(x)
            if t is Spread:
                return Batched(op.reshape(self.everywhere(x), (count, *x.shape)))
            if t is tuple or t is list:
                return t([batched(y) for y in x])
            if t is slice:
                return slice(*(batched(y) for y in (x.start, x.stop, x.step)))
            return {k: batched(v) for k, v in x.items()} if t is dict else x

        result = call_batched(count, fun, batched(args), batched(kwargs))
        result = result.x if type(result) is Batched else np.broadcast_to(result, (count, *self.shape))
        return op.reshape(result, (*self.sizes, *self.shape))


_RULES: dict[Callable, Callable] = {
    op.total.run: _Call.reduced,
    op.largest.run: _Call.reduced,
    op.log_total_exp.run: _Call.reduced,
    op.running_sum.run: _Call.along,
    op.windows.run: _Call.windowed,
    op.overlaid.run: _Call.windowed,
    op.scatter.run: _Call.padded,
    op.reshape.run: _Call.reshaped,
    op.broadcast.run: _Call.broadcast,
    op.transpose.run: _Call.transposed,
    op.concatenate.run: _Call.concatenated,
    op.index.run: _Call.indexed,
    np.matmul: _Call.product,
    **dict.fromkeys(
        (
            op.cholesky.run,
            op.log_abs_det.run,
            op.sign_det.run,
            op.eigenvalues.run,
            op.eigenvectors.run,
            op.triangular_solve.run,
            op.triangular_solve_transposed.run,
            np.linalg.solve,
            np.linalg.inv,
            np.linalg.det,
        ),
        _Call.matrices,
    ),
}


def _shape_of(k: Any) -> tuple[int, ...]:
    return k.shape if type(k) is Spread else np.shape(k)


def _is_mask(k: Any) -> bool:
    return (
        not isinstance(k, slice | int | np.integer)
        and type(k) is not Spread
        and np.asarray(False if isinstance(k, Recorded) else k).dtype == bool
        and not isinstance(k, Recorded)
    )


def _expanded(keys: tuple, ndim: int) -> list:
    """An index with a key for every axis."""
    out: list[Any] = []
    given = sum(k is not None and k is not Ellipsis for k in keys)
    for k in keys:
        out += [slice(None)] * (ndim - given) if k is Ellipsis else [np.asarray(k) if isinstance(k, list) else k]
    if not any(k is Ellipsis for k in keys):
        out += [slice(None)] * (ndim - given)
    return out


def _same_coordinate(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> int | None:
    """Where a reshape leaves an axis as it is, counted from the right; None where it is cut or joined."""
    left, i = prod(old[:axis]), 1
    for j, n in enumerate(new):
        if i == left and n == old[axis]:
            return j - len(new)
        i *= n
    return None


def _ramp(n: int, axis: int, ndim: int) -> Any:
    """0, 1, ... along one of the axes of an index array."""
    return 0 if n == 1 else np.arange(n).reshape([-1 if i == axis else 1 for i in range(ndim)])


def _ramp_of(k: Any, n: int) -> int | None:
    """The axis, from the right, along which an index array counts through all n rows; None if it does not."""
    if isinstance(k, int | np.integer) or np.size(k) != n or np.asarray(k).dtype.kind not in "iu":
        return None
    places = [i for i, m in enumerate(np.shape(k)) if m != 1]
    if len(places) != 1 or not np.array_equal(np.ravel(k), np.arange(n)):
        return None
    return places[0] - np.ndim(k)


def _take(x: Any, keys: Sequence[Any], ndim: int, shape: tuple[int, ...]) -> Any:
    """x[keys] with an index array for each of the first axes; a transpose where all of them count through."""
    rest = np.shape(x)[len(keys) :]
    order: list[tuple[int, int]] = []
    for axis, k in enumerate(keys):
        if isinstance(k, int | np.integer) or (not is_any(k) and np.size(k) == 1):
            if is_any(k) or np.shape(x)[axis] != 1:
                break
            continue
        b = None if is_any(k) else _ramp_of(k, np.shape(x)[axis])
        if b is None or any(b == c for c, _ in order):
            break
        order.append((b, axis))
    else:
        order.sort()
        kept = [axis for _, axis in order]
        squeezed = np.reshape(x, (*(np.shape(x)[a] for a in range(len(keys)) if a in kept), *rest))
        numbers = {a: i for i, a in enumerate(sorted(kept))}
        perm = (*(numbers[a] for a in kept), *range(len(kept), len(kept) + len(rest)))
        moved = squeezed if perm == tuple(range(len(perm))) else np.transpose(squeezed, perm)
        own = [1] * ndim
        for b, axis in order:
            own[ndim + b] = np.shape(x)[axis]
        return np.reshape(moved, (*own, *rest))
    found = op.index(x, tuple(keys) if len(keys) > 1 else keys[0])
    return np.reshape(found, (*shape, *rest)) if np.shape(found) != (*shape, *rest) else found


def is_any(k: Any) -> bool:
    """Is an index recorded, so that it may be anything?"""
    return isinstance(k, Recorded)
