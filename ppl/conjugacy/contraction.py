"""Products of arrays with labelled axes, summed: pairwise, the smallest result first, by matrix products.

    pieces, labels to keep --contract--> array

Works on arrays and on recorded ones. An index that selects is never written out as an indicator where a
gather or a sum by group does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..array.operations import scatter
from ..array.recording import SHAPES, call_recording
from .algebra import Label, aligned

Sizes = Mapping[Label, int]
WIDE = 32  # elements of a batch above which many small matrix products are one elementwise product


class Piece(NamedTuple):
    """An array and the labels of its axes. Where it `selects`: indices, and the label of the selected axis at last."""

    value: Any
    labels: tuple[Label, ...]
    selects: bool = False

    @property
    def axes(self) -> tuple[Label, ...]:
        """The labels of the value's own axes."""
        return self.labels[:-1] if self.selects else self.labels


def sum_by(index: Any, size: int, x: Any) -> Any:
    """out[k] = sum of the rows of x where the index is k; x has the axes of the index first."""
    return call_recording(_sum_by, (index, size, x), {})


def _sum_by(index, size, x):
    from scipy.sparse import csr_matrix

    rest, index = np.shape(x)[np.ndim(index) :], np.ravel(index)
    flat = np.reshape(x, (len(index), prod(rest)))
    if flat.shape[1] == 1:
        return np.bincount(index, flat[:, 0], size).reshape((size, *rest))
    rows = csr_matrix((np.ones(len(index)), index, np.arange(len(index) + 1)), (len(index), size))
    return (rows.T @ flat).reshape((size, *rest))


SHAPES[_sum_by] = lambda index, size, x: ((size, *np.shape(x)[np.ndim(index) :]), np.dtype(float))


def contract(
    pieces: Sequence[Piece], out: Sequence[Label], sizes: Sizes, also: Sequence[Label] = (), smooth: bool = False
) -> Any:
    """The sum over all labels but those in `out`, as an array with these axes.

    `also` are labels summed over that may stand in no piece: they count. A label of `out` in no piece is an
    axis of length one. `smooth`: of operations that have derivatives alone.
    """
    pieces, out = list(pieces), tuple(out)
    present = {x for p in pieces for x in p.labels}
    factor = prod(sizes.get(x, x.size) for x in set(also) - present - set(out))
    pieces = [q for p in pieces for q in [_presummed(p, [r for r in pieces if r is not p], out)]]
    while len(pieces) > 1:
        i, j = min(combinations(range(len(pieces)), 2), key=lambda ij: _cost(pieces, *ij, out, sizes))
        rest = [p for k, p in enumerate(pieces) if k not in (i, j)]
        kept = {x for p in rest for x in p.labels} | set(out)
        pieces = [*rest, _pair(pieces[i], pieces[j], kept, sizes, smooth)]
    if not pieces:
        return np.full((1,) * len(out), float(factor))
    piece = _dense(pieces[0]) if pieces[0].selects else pieces[0]
    piece = _presummed(piece, [], out)
    value = aligned(piece.value, piece.labels, out)
    return value * float(factor) if factor != 1 else value


def _presummed(p: Piece, others: Sequence[Piece], out: Sequence[Label]) -> Piece:
    """A piece without the labels that nobody else needs."""
    if p.selects:
        return p
    labels = tuple(dict.fromkeys(p.labels))
    value = aligned(p.value, p.labels, labels) if len(labels) < len(p.labels) else p.value
    needed = {x for q in others for x in q.labels} | set(out)
    gone = tuple(i for i, x in enumerate(labels) if x not in needed)
    if gone:
        value = np.sum(value, axis=gone)
    return Piece(value, tuple(x for x in labels if x in needed))


def _cost(pieces: Sequence[Piece], i: int, j: int, out: Sequence[Label], sizes: Sizes) -> tuple:
    """Of two pairs the one that makes less, and needs no indicator written out."""
    a, b = pieces[i], pieces[j]
    rest = {x for k, p in enumerate(pieces) if k not in (i, j) for x in p.labels} | set(out)
    size = lambda labels: prod(sizes.get(x, x.size) for x in set(labels))
    made = [x for x in {*a.labels, *b.labels} if x in rest]
    dense = bool(a.selects or b.selects) and _how(a, b, rest) == "written out"
    return dense, size(made) - size(a.axes) - size(b.axes), size({*a.labels, *b.labels})


def _how(a: Piece, b: Piece, kept: set[Label]) -> str:
    """How a selection meets another piece."""
    if a.selects and b.selects:
        return "written out"
    pick, x = (a, b) if a.selects else (b, a)
    index, k = pick.labels[:-1], pick.labels[-1]
    if k in x.labels and k not in kept and not set(index) & set(x.labels):
        return "gather"
    if k not in x.labels and set(index) <= set(x.labels) and not set(index) & kept:
        return "group"
    return "written out"


def _pair(a: Piece, b: Piece, kept: set[Label], sizes: Sizes, smooth: bool) -> Piece:
    if a.selects or b.selects:
        how = _how(a, b, kept)
        pick, x = (a, b) if a.selects else (b, a)
        if how == "gather":
            at = x.labels.index(pick.labels[-1])
            value = x.value[(slice(None),) * at + (pick.value,)] if at else x.value[pick.value]
            return _presummed(Piece(value, (*x.labels[:at], *pick.labels[:-1], *x.labels[at + 1 :])), [], tuple(kept))
        if how == "group":
            index = pick.labels[:-1]
            rest = tuple(y for y in x.labels if y not in index and y in kept)
            x = _presummed(x, [pick], tuple(kept))
            value, size = aligned(x.value, x.labels, (*index, *rest)), pick.labels[-1].size
            if smooth:
                value = scatter(value, pick.value, (size, *np.shape(value)[len(index) :]))
            else:
                value = sum_by(pick.value, size, value)
            return Piece(value, (pick.labels[-1], *rest))
        a, b = (_dense(p) if p.selects else p for p in (a, b))
    a, b = _presummed(a, [b], tuple(kept)), _presummed(b, [a], tuple(kept))
    gone = [x for x in a.labels if x in b.labels and x not in kept]
    batch = [x for x in a.labels if x in b.labels and x in kept]
    own_a, own_b = ([x for x in p.labels if x not in q.labels] for p, q in ((a, b), (b, a)))
    count = lambda labels: prod(sizes.get(x, x.size) for x in labels)
    if not gone:
        labels = (*batch, *own_a, *own_b)
        return Piece(aligned(a.value, a.labels, labels) * aligned(b.value, b.labels, labels), labels)
    if batch and count(batch) > WIDE and count(own_a) * count(own_b) * count(gone) < WIDE * WIDE:
        labels = (*batch, *own_a, *own_b, *gone)
        value = aligned(a.value, a.labels, labels) * aligned(b.value, b.labels, labels)
        return Piece(
            np.sum(value, axis=tuple(range(len(labels) - len(gone), len(labels)))), labels[: len(labels) - len(gone)]
        )
    left = aligned(a.value, a.labels, (*batch, *own_a, *gone))
    right = aligned(b.value, b.labels, (*batch, *gone, *own_b))
    lead, inner = np.shape(left)[: len(batch)], np.shape(left)[len(batch) + len(own_a) :]
    rows, columns = np.shape(left)[len(batch) : len(batch) + len(own_a)], np.shape(right)[len(batch) + len(gone) :]
    value = np.matmul(
        _shaped(left, (*lead, prod(rows), prod(inner))), _shaped(right, (*lead, prod(inner), prod(columns)))
    )
    return Piece(_shaped(value, (*lead, *rows, *columns)), (*batch, *own_a, *own_b))


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if np.shape(x) == shape else np.reshape(x, shape)


def _dense(p: Piece) -> Piece:
    """A selection written out as zeros and ones."""
    return Piece((p.value[..., None] == np.arange(p.labels[-1].size)) * 1.0, p.labels)
