"""What each recorded operation does to a sum of products: one rule for each, with an example that a test evaluates.

    recorded value --rewrite--> Poly

The tape is read in its order and never changed. What no rule opens becomes an opaque factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import special

from ..array import Argument, Recorded, is_recorded, triangular_solve
from ..array import operations as op
from ..array.recording import parents
from .algebra import (
    ONE,
    Algebra,
    Factor,
    Label,
    Poly,
    Term,
    aligned,
    canonical,
    is_positive,
    labels_of,
    latents_of,
    new_label,
    placements,
    renamed,
    split_along,
)

Rewrite = Callable[..., Poly | None]


@dataclass(frozen=True)
class Rule:
    """`rewrite(algebra, node, *arguments)` gives the poly, or None where the operation cannot be opened.

    An argument that depends on a latent is a Poly. `example(v)` uses the operation on the latents of
    `EXAMPLE`, by name.
    """

    operations: tuple[Callable, ...]
    rewrite: Rewrite
    example: Callable[[Any], Any]


RULES: list[Rule] = []
BY_OPERATION: dict[Callable, Rule] = {}

# The latents of the examples: support, shape, and how many categories.
EXAMPLE = {
    "x": ("real", (3, 2), None),
    "w": ("real", (2,), None),
    "s": ("positive", (3,), None),
    "t": ("positive", (), None),
    "p": ("unit", (3,), None),
    "q": ("simplex", (4, 3), None),
    "z": ("integer", (5,), 3),
    "m": ("matrix", (2, 2), None),
    "k": ("matrix", (3, 2, 2), None),
}
_DATA = SimpleNamespace(
    table=np.arange(1.0, 7.0).reshape(3, 2),
    rows=np.array([0, 2, 1, 1, 0]),
    y=np.linspace(-1.0, 2.0, 5),
    mask=np.array([True, False, True]),
)


def rule(*operations: Callable, example: Callable[[Any], Any]):
    """Register the rule of some operations."""

    def register(rewrite: Rewrite) -> Rewrite:
        made = Rule(operations, rewrite, example)
        RULES.append(made)
        BY_OPERATION.update(dict.fromkeys(operations, made))
        return rewrite

    return register


def rewritten(algebra: Algebra, roots: dict[Recorded, Poly], outputs: Sequence[Any]) -> list[Poly]:
    """The outputs as sums of products, given those of the latents."""
    tape = next(iter(roots)).tape
    known: dict[Recorded, Poly] = dict(roots)
    wanted = _needed(outputs, known)
    depends = set(known)
    for node in tape.nodes:
        if node not in wanted or node in known:
            continue
        if depends.isdisjoint(parents(node)):
            continue
        depends.add(node)
        known[node] = _of_node(algebra, node, known)
    return [known[x] if is_recorded(x) and x in known else algebra.data(x) for x in outputs]


def _needed(outputs: Sequence[Any], stop: dict[Recorded, Poly]) -> set[Recorded]:
    found, todo = set(), [x for x in outputs if is_recorded(x)]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            if node not in stop:
                todo += parents(node)
    return found


def _of_node(algebra: Algebra, node: Recorded, known: dict[Recorded, Poly]) -> Poly:
    def value(x: Any) -> Any:
        if is_recorded(x):
            return known.get(x, x)
        return type(x)(map(value, x)) if isinstance(x, tuple | list) else x

    args = [value(x) for x in node.args]
    found = BY_OPERATION.get(node.fun)
    if found is not None:
        try:
            done = found.rewrite(algebra, node, *args, **{k: value(v) for k, v in node.kwargs.items()})
        except NotImplementedError:
            done = None
        if done is not None and all(
            f.atom.node is not None for _, fs in done.terms for f in fs if f.atom.kind == "opaque"
        ):
            return done
    polys = [x for x in _flat(args) if isinstance(x, Poly)]
    if isinstance(node.fun, np.ufunc) and len(args) == 1:
        done = algebra.apply(node.fun, args[0], node)
        if all(f.atom.node is not None for _, fs in done.terms for f in fs if f.atom.kind == "opaque"):
            return done
    reads = frozenset().union(*(p.latents for p in polys))
    name = getattr(node.fun, "__name__", str(node.fun))
    inner = ", ".join(str(p) for p in polys)
    return algebra.opaque(f"{name}({inner})", tuple(map(new_label, node.shape)), reads, node)


def _flat(args: Sequence[Any]) -> list[Any]:
    out = []
    for x in args:
        out += _flat(x) if isinstance(x, tuple | list) else [x]
    return out


def _poly(algebra: Algebra, x: Any) -> Poly:
    return x if isinstance(x, Poly) else algebra.data(x)


# -- arithmetic ------------------------------------------------------------------------------------
@rule(np.add, example=lambda v: v.x + v.w + 2.0)
def _add(A, node, a, b):
    return A.add(_poly(A, a), _poly(A, b))


@rule(np.subtract, example=lambda v: _DATA.table - v.x)
def _subtract(A, node, a, b):
    return A.add(_poly(A, a), A.scale(_poly(A, b), -1.0))


@rule(np.negative, example=lambda v: -v.x)
def _negative(A, node, a):
    return A.scale(a, -1.0)


@rule(np.multiply, example=lambda v: v.w[:, None] * v.w)
def _multiply(A, node, a, b):
    return A.multiply(_poly(A, a), _poly(A, b))


@rule(np.true_divide, example=lambda v: v.x / (2.0 * v.s[:, None]))
def _divide(A, node, a, b):
    if not isinstance(b, Poly):
        return A.multiply(a, A.data(1.0 / np.asarray(b) if not is_recorded(b) else 1.0 / b))
    return A.multiply(_poly(A, a), A.apply(-1, b, 1.0 / node.args[1]))


@rule(np.power, np.float_power, example=lambda v: v.s**-0.5 + v.t**2)
def _power(A, node, a, b):
    if not isinstance(a, Poly) or isinstance(b, Poly) or is_recorded(b) or np.ndim(b):
        return None
    return A.apply(int(b) if b == int(b) else float(b), a, node) if b != 0 else A.data(np.ones(node.shape))


@rule(np.square, example=lambda v: np.square(v.x))
def _square(A, node, a):
    return A.apply(2, a, node)


@rule(np.sqrt, example=lambda v: 1.0 / np.sqrt(v.s * v.t))
def _sqrt(A, node, a):
    return A.apply(0.5, a, node)


@rule(np.reciprocal, example=lambda v: np.reciprocal(v.s))
def _reciprocal(A, node, a):
    return A.apply(-1, a, node)


@rule(np.log, example=lambda v: np.log(3.0 * v.s / v.t) + np.log(v.q[0]) + np.log(1.0 - v.p))
def _log(A, node, a):
    return A.apply("log", a, node)


@rule(np.log1p, example=lambda v: np.log1p(-v.p))
def _log1p(A, node, a):
    return A.apply("log", A.add(A.data(1.0), a), node)


@rule(np.exp, example=lambda v: np.exp(2.0 * np.log(v.s) + 1.0))
def _exp(A, node, a):
    return A.apply(np.exp, a, node)


@rule(special.xlogy, example=lambda v: special.xlogy(_DATA.table, v.s[:, None]))
def _xlogy(A, node, a, b):
    if not isinstance(b, Poly):
        return A.multiply(a, A.data(np.log(b)))
    return A.multiply(_poly(A, a), A.apply("log", b, np.log(node.args[1])))


@rule(special.xlog1py, example=lambda v: special.xlog1py(np.arange(3.0), -v.p))
def _xlog1py(A, node, a, b):
    if not isinstance(b, Poly):
        return A.multiply(a, A.data(np.log1p(b)))
    return A.multiply(_poly(A, a), A.apply("log", A.add(A.data(1.0), b), np.log1p(node.args[1])))


@rule(np.absolute, np.fabs, example=lambda v: np.abs(2.0 * v.s))
def _absolute(A, node, a):
    if (
        len(a.terms) == 1
        and a.terms[0][0] > 0
        and all(f.atom.support in ("positive", "unit", "simplex") for f in a.terms[0][1])
    ):
        return a
    return A.apply(np.absolute, a, node)


@rule(op.where.run, example=lambda v: np.log(np.where(_DATA.mask, v.s, v.t)))
def _where(A, node, condition, a, b):
    if isinstance(condition, Poly) or is_recorded(condition):
        return None
    mask = A.data(np.asarray(condition, float))
    rest = A.data(1.0 - np.asarray(condition, float))
    parts = [
        A.multiply(m, _poly(A, x))
        for m, x in ((mask, a), (rest, b))
        if isinstance(x, Poly) or is_recorded(x) or np.any(x)
    ]
    return _spread(A, A.add(*parts), node.shape)


@rule(
    op.draw_of.run, op.stop_gradient.run, np.positive, np.conjugate, op.cast.run,
    example=lambda v: v.z.astype(float) * _DATA.y,
)  # fmt: skip
def _same(A, node, a, *_):
    return a


# -- axes ------------------------------------------------------------------------------------------
@rule(op.total.run, example=lambda v: np.sum(v.x + v.t, axis=0) + np.sum(v.x * v.x, axis=(0, 1)))
def _total(A, node, a, axes):
    return A.total(a, axes)


@rule(op.transpose.run, example=lambda v: v.x.T * v.s)
def _transpose(A, node, a, axes):
    return Poly(tuple(a.axes[i] for i in axes), a.terms)


@rule(op.broadcast.run, example=lambda v: np.sum(np.broadcast_to(v.w, (3, 2)) * v.x))
def _broadcast(A, node, a, shape):
    return _spread(A, a, shape)


def _spread(A: Algebra, a: Poly, shape: Sequence[int]) -> Poly:
    """The poly repeated along new axes."""
    lead = len(shape) - len(a.axes)
    axes = [
        a.axes[i - lead] if i >= lead and (a.axes[i - lead] is not ONE) else new_label(n) for i, n in enumerate(shape)
    ]
    return Poly(tuple(axes), a.terms)


@rule(
    op.reshape.run,
    example=lambda v: np.reshape(v.x, (6,)) * np.arange(6.0) + np.reshape(np.reshape(v.k, (6, 2)), (3, 2, 2))[1, 0, 1],
)
def _reshape(A, node, a, shape):
    old, new = [x for x in a.axes if x is not ONE], [n for n in shape if n != 1]
    if [x.size for x in old] == new:
        rest = iter(old)
        return Poly(tuple(ONE if n == 1 else next(rest) for n in shape), a.terms)
    # Axes split or joined: a gather of the old ones by where they went.
    axes = tuple(map(new_label, shape))
    free = tuple(x for x in axes if x is not ONE)
    places = np.unravel_index(np.arange(math.prod(new)).reshape(new), [x.size for x in old])
    picks = tuple(A.narrowed(A.index_atom(p), free, x) for p, x in zip(places, old, strict=True))
    return A.collect(axes, [A.tidy(c, (*fs, *picks), axes) for c, fs in a.terms])


@rule(op.concatenate.run, example=lambda v: np.concatenate([v.s, v.s[:2] * v.t]) * _DATA.y)
def _concatenate(A, node, parts, axis):
    whole = new_label(node.shape[axis])
    start, terms, axes = 0, [], None
    for part in parts:
        n = part.axes[axis].size if isinstance(part, Poly) else np.shape(part)[axis]
        part = _poly(A, part)
        if n == 1:  # an axis of its own again, so that it can be placed
            own = Label(1)
        else:
            own = part.axes[axis]
        fresh = {x: Label(x.size) for _, fs in part.terms for f in fs for x in f.labels if x not in part.axes}
        axes = axes or tuple(whole if i == axis else x for i, x in enumerate(part.axes))
        to = {x: y for i, (x, y) in enumerate(zip(part.axes, axes, strict=True)) if i != axis and x is not ONE}
        if whole is ONE:
            return part
        place = Factor(A.index_atom(np.arange(start, start + n)), "is", (own, whole))
        for c, fs in part.terms:
            fs = tuple(Factor(f.atom, f.fn, tuple(to.get(x, fresh.get(x, x)) for x in f.labels)) for f in fs)
            terms.append(A.tidy(c, (*fs, place), axes))
        start += n
    return A.collect(axes, terms)


@rule(np.matmul, example=lambda v: v.x @ v.w + _DATA.table @ v.w)
def _matmul(A, node, a, b):
    return A.matmul(_poly(A, a), _poly(A, b))


@rule(
    op.index.run,
    example=lambda v: (
        v.x[v.z][:, 0] * v.s[_DATA.rows]
        + v.x[::-1][v.z, 1]
        + v.x[-1, 0]
        + _DATA.y.view(Argument)[v.z]
        + np.log(v.q[np.concatenate([[2], v.z[:-1]]), v.z])
        + v.x[np.concatenate([v.z[2:], v.z[:1], [0]]), 0]
    ),
)
def _index(A, node, a, key):
    return _take(A, _poly(A, a), key if isinstance(key, tuple) else (key,))


def _take(A: Algebra, a: Poly, key: tuple) -> Poly | None:
    """Basic and advanced indexing: one selection for each axis that is not kept whole."""
    key = _plain_key(key, len(a.axes))
    axes: list[Any] = []
    terms, picked, old = list(a.terms), [], iter(a.axes)
    for k in key:
        if k is None:
            axes.append(ONE)
            continue
        label = next(old)
        if isinstance(k, slice):
            length = len(range(*k.indices(label.size)))
            if length == label.size and (k.step is None or k.step > 0):
                axes.append(label)
            else:
                axes.append(new_label(length))
                rows = np.arange(label.size)[k]
                pick = Factor(
                    A.index_atom(rows if length != 1 else rows.reshape(())), "is", (*_not_one(axes[-1:]), label)
                )
                terms = [(c, (*fs, pick)) for c, fs in terms] if label is not ONE else terms
        else:
            picked.append((k, label, len(axes)))
            axes.append(None)
    if not picked:
        out = tuple(axes)
        return A.collect(out, [A.tidy(c, fs, out) for c, fs in terms])
    width = max(_ndim(k) for k, _, _ in picked)
    common = [ONE] * width
    for k, _, _ in picked:
        for i, n in enumerate(_shape(k), width - _ndim(k)):
            common[i] = new_label(n) if n != 1 and common[i] is ONE else common[i]
    for k, label, _ in picked:
        own = common[width - _ndim(k) :] if _ndim(k) else []
        found = _selection(A, k, label, own)
        if found is None:
            return None
        if label is not ONE:
            terms = [(c * d, (*fs, *pick)) for d, fs in terms for c, pick in found]
    spots = [i for _, _, i in picked]
    first = spots[0] if spots == list(range(spots[0], spots[0] + len(spots))) else 0
    rest = [x for x in axes if x is not None]
    out = (*rest[:first], *common, *rest[first:])
    whole = [f.labels for _, fs in terms for f in fs if f.fn == "is" and f.atom.kind == "index"]
    done = [A.tidy(c, fs, out) for c, fs in terms] if whole or picked else terms
    return A.collect(out, done)


def _plain_key(key: tuple, ndim: int) -> tuple:
    """The key with masks as positions, and everything that it leaves out written out."""
    out: list[Any] = []
    for k in key:
        if isinstance(k, np.ndarray) and k.dtype == bool:
            out += np.nonzero(k)
        elif isinstance(k, list):
            out.append(np.asarray(k))
        else:
            out.append(k)
    used = sum(k is not None and k is not Ellipsis for k in out)
    at = next((i for i, k in enumerate(out) if k is Ellipsis), len(out))
    return (*out[:at], *[slice(None)] * (ndim - used), *out[at + 1 :])


def _shape(k: Any) -> tuple[int, ...]:
    return tuple(x.size for x in k.axes) if isinstance(k, Poly) else np.shape(k)


def _ndim(k: Any) -> int:
    return len(_shape(k))


def _not_one(axes: Sequence[Label]) -> tuple[Label, ...]:
    return tuple(x for x in axes if x is not ONE)


def _selection(A: Algebra, k: Any, label: Label, axes: Sequence[Label]) -> list[Term] | None:
    """The indicator of an index with these axes, which selects from `label`, as a sum of products."""
    if isinstance(k, Poly):
        return _latent_selection(A, k, label, axes)
    if is_recorded(k):
        value = np.mod(np.reshape(k, [n for n in k.shape if n != 1]), label.size)
    else:
        value = np.asarray(k) % label.size
        value = value.reshape([n for n in value.shape if n != 1])
    free = tuple(x for x, n in zip(axes, np.shape(k), strict=True) if n != 1)
    return [(1.0, (Factor(A.index_atom(value), "is", (*free, label)),))]


def _latent_selection(A: Algebra, k: Poly, label: Label, axes: Sequence[Label]) -> list[Term] | None:
    """A whole-number latent is `sum_k k 1[z = k]`: its indicator is wanted.

    Where several are put side by side, as in a loop the state of the step before, each has its own places.
    """
    if len(k.terms) == 1 and not placements(k.terms[0][1], k.axes):
        found = _one_selection(A, *k.terms[0], k.axes, label, axes)
        return found and [found]
    axis, parts = split_along(k)
    if axis is None:
        return None
    out, taken = [], np.zeros(axis.size, bool)
    fresh = dict(zip(k.axes, axes, strict=True))
    for place, (c, factors) in parts:
        taken[place.atom.value] = True
        rest = tuple(f for f in factors if f is not place)
        if not latents_of([(c, rest)]):
            if labels_of(rest) or c != int(c):  # different numbers at different places
                return None
            outer = renamed([place], {axis: fresh[axis]})
            out.append((1.0, (*outer, Factor(A.index_atom(np.asarray(int(c) % label.size)), "is", (label,)))))
            continue
        found = _one_selection(A, c, rest, k.axes, label, axes, place)
        if found is None:
            return None
        out.append(found)
    if not taken.all():  # nothing stands there: 0
        free = Label(int(np.sum(~taken)))
        at = Factor(A.index_atom(np.flatnonzero(~taken)), "is", (free, fresh[axis]))
        out.append((1.0, (at, Factor(A.index_atom(np.asarray(0)), "is", (label,)))))
    return out


def _one_selection(
    A: Algebra,
    c: float,
    factors: Sequence[Factor],
    own: Sequence[Label],
    label: Label,
    axes: Sequence[Label],
    place: Factor | None = None,
) -> Term | None:
    """The indicator of one latent, which has axes `own` or is put at a place of them."""
    tables = [f for f in factors if f.is_table]
    hot = [f for f in factors if f.fn == "is" and f.atom.kind == "latent"]
    if c != 1 or len(hot) != 1 or len(tables) != 1 or hot[0].labels[-1].size > label.size:
        return None
    kinds = hot[0].labels[-1]
    if tables[0].labels != (kinds,) or not np.array_equal(tables[0].atom.value, np.arange(kinds.size)):
        return None
    shorter = kinds.size < label.size  # fewer kinds than there are elements to select from
    to: dict[Label, Label] = {kinds: Label(kinds.size) if shorter else label}
    for x, y in zip(own, axes, strict=True):
        if x is not ONE:
            to[x] = y
    rest = [*(f for f in factors if f is not tables[0]), *(() if place is None else (place,))]
    for x in {x for f in rest for x in f.labels} - set(to):
        to[x] = Label(x.size)
    more = (Factor(A.index_atom(np.arange(kinds.size)), "is", (to[kinds], label)),) if shorter else ()
    return 1.0, (*(Factor(f.atom, f.fn, tuple(to[x] for x in f.labels)) for f in rest), *more)


# -- matrices ----------------------------------------------------------------------------------------
# fn -> (what it does to a table, to the power of a positive number beside it, to a latent matrix)
MATRIX = {
    "chol": (np.linalg.cholesky, 0.5, {1: "chol"}),
    "inverse": (np.linalg.inv, -1.0, {1: "inverse", "inverse": 1, "chol": "inverse chol"}),
}


@rule(
    op.cholesky.run,
    example=lambda v: (
        np.sum((np.swapaxes(np.linalg.cholesky(2.0 * v.t * v.k), -1, -2) @ v.w) ** 2, -1)
        + np.sum((np.linalg.cholesky(v.m[::-1, ::-1])[::-1, ::-1].T @ v.w) ** 2)
        + np.sum((np.linalg.cholesky(v.t * np.array([[2.0, 1.0], [1.0, 3.0]])) @ v.w) ** 2)
        + np.sum((np.linalg.cholesky(v.s[:, None] * np.eye(3)) @ v.x) ** 2)
    ),
)
def _cholesky(A, node, a):
    return _matrix(A, "chol", a)


@rule(np.linalg.inv, example=lambda v: np.linalg.inv(v.m / v.t) @ v.w + np.linalg.inv(v.k[v.z])[0, 0])
def _inverse(A, node, a):
    return _matrix(A, "inverse", a)


def _matrix(A: Algebra, fn: str, a: Poly) -> Poly | None:
    """A function of matrices that are one latent or table times positive numbers, selected along batch axes or not."""
    a = _symmetric(A, a)
    if len(a.terms) != 1:
        return None
    ((c, factors),) = a.terms
    of_table, power, of_latent = MATRIX[fn]
    i, j = a.axes[-2:]
    picks = [f for f in factors if f.fn == "is"]
    upper = False
    flips = [f for f in picks if f.labels[:-1] in ((i,), (j,))]
    if len(flips) == 2 and flips[0].atom is flips[1].atom and fn == "chol":  # the factor read backwards
        to = {f.labels[0]: f.labels[1] for f in flips}
        if not np.array_equal(flips[0].atom.value, np.arange(i.size)[::-1]):
            return None
        i, j, upper = to[i], to[j], True
    if any(i in f.labels or j in f.labels for f in picks if f not in flips):
        return None
    inner = [f for f in factors if f.fn != "is"]
    body = [f for f in inner if i in f.labels and j in f.labels]
    beside = [f for f in inner if f not in body]
    if len(body) != 1 or c <= 0 or not all(map(is_positive, beside)):
        return None
    (body,) = body
    diagonal = body.is_table and not is_recorded(body.atom.value) and _is_diagonal(body, i, j)
    if any(i in f.labels or j in f.labels for f in beside) and (not diagonal or upper):
        return None
    out = [Factor(f.atom, f.fn * power, f.labels) for f in beside if not f.is_table]
    if body.is_table:
        batch = tuple(x for x in body.labels if x not in (i, j))
        value = aligned(body.atom.value, body.labels, (*batch, i, j))
        if diagonal and fn == "inverse":
            value = np.linalg.inv(value)
        else:
            value = of_table(value[..., ::-1, ::-1])[..., ::-1, ::-1] if upper else of_table(value)
        c_own, made = A.table(value, (*batch, i, j))
        out += made
    else:
        if body.fn not in of_latent:
            return None
        c_own = 1.0
        becomes = of_latent[body.fn]
        out.append(Factor(body.atom, f"upper {becomes}" if upper else becomes, body.labels))
    for f in beside:
        if f.is_table:
            d, made = A.table(f.atom.value**power, f.labels)
            c_own, out = c_own * d, [*out, *made]
    return A.collect(a.axes, [A.tidy(c**power * c_own, (*out, *picks), a.axes)])


def _is_diagonal(f: Factor, i: Label, j: Label) -> bool:
    value = aligned(f.atom.value, f.labels, (*[x for x in f.labels if x not in (i, j)], i, j))
    return bool(np.all(value[..., ~np.eye(i.size, dtype=bool)] == 0))


def _symmetric(A: Algebra, a: Poly) -> Poly:
    """A symmetric matrix put together from one triangle and its transpose, as factorisations read it: the matrix."""
    if len(a.terms) != 2:
        return a
    (c, fs), (d, gs) = a.terms
    tables = [[f for f in x if f.is_table] for x in (fs, gs)]
    if all(len(t) == 1 and set(t[0].labels) == set(a.axes[-2:]) for t in tables):
        rest = [[f for f in x if not f.is_table] for x in (fs, gs)]
        if canonical(rest[0], a.axes) == canonical(rest[1], a.axes):
            whole = sum(
                k * aligned(t[0].atom.value, t[0].labels, a.axes[-2:]) for k, t in zip((c, d), tables, strict=True)
            )
            k, made = A.table(whole, a.axes[-2:])
            return Poly(a.axes, ((k, (*rest[0], *made)),))
    masks = [
        [f for f in x if f.is_table and not is_recorded(f.atom.value) and np.isin(f.atom.value, (0, 1)).all()]
        for x in (fs, gs)
    ]
    if c != d or len(masks[0]) != 1 or len(masks[1]) != 1:
        return a
    i, j = a.axes[-2:]
    whole = sum(aligned(m.atom.value, m.labels, (i, j)) for (m,) in masks if set(m.labels) == {i, j})
    first, second = ([f for f in x if f is not m[0]] for x, m in zip((fs, gs), masks, strict=True))
    if not np.all(whole == 1) or canonical(renamed(first, {i: j, j: i}), a.axes) != canonical(second, a.axes):
        return a
    return Poly(a.axes, ((c, tuple(first)),))


@rule(
    op.log_abs_det.run,
    example=lambda v: np.linalg.slogdet(v.t * v.k)[1][v.z] + np.linalg.slogdet(np.linalg.inv(v.m))[1],
)
def _log_determinant(A, node, a):
    if len(a.terms) != 1:
        return None
    i, j = a.axes[-2:]
    ((c, factors),) = a.terms
    body = [f for f in factors if i in f.labels or j in f.labels]
    beside = [f for f in factors if f not in body]
    if len(body) != 1 or body[0].atom.kind != "latent" or body[0].fn not in (1, "inverse") or c <= 0:
        return None
    if any(f.fn == "is" for f in beside) or not all(map(is_positive, beside)):
        return None
    axes = a.axes[:-2]
    sign = 1.0 if body[0].fn == 1 else -1.0
    whole = Poly(axes, ((sign, (Factor(body[0].atom, "logdet", body[0].labels[:-2]),)),))
    return A.add(whole, A.scale(A.apply("log", Poly(axes, ((c, tuple(beside)),))), float(i.size)))


@rule(
    op.triangular_solve.run,
    np.linalg.solve,
    example=lambda v: (
        np.linalg.solve(np.array([[2.0, 1.0], [0.0, 1.0]]), v.w[:, None])
        + np.linalg.solve(v.t * np.array([[2.0, 1.0], [0.0, 1.0]]), v.x[0][:, None])
        + triangular_solve(np.linalg.cholesky(v.m), v.w[:, None])
        * np.sum(triangular_solve(np.linalg.cholesky(v.m), v.w[:, None]) ** 2)
    ),
)
def _solve(A, node, a, b):
    inverse = _matrix(A, "inverse", a) if isinstance(a, Poly) else A.data(np.linalg.inv(a))
    return inverse and A.matmul(inverse, _poly(A, b))
