"""A model graph as a picture: layers from parents to children, plates as boxes around their members.

    longest-path layers --barycentre--> first places --search for a lower penalty--> places --matplotlib--> Axes

What is disagreeable in a picture of a graphical model can be counted: a plate around a node that is
not in it, crossing edges, edges through nodes, length. `_Sketch.penalty` adds it up, and a seeded
search over places on a grid lowers it. The same graph always gives the same picture.

Lengths are in node heights; y points up and the first layer is at the top.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from .text import GUIDE_COLOUR, SHADE, guide_edges, model_edges, nested_plates, plate_label, plate_members

if TYPE_CHECKING:
    from .model_graph import ModelGraph, Node

_FONT = 0.46  # size of a node's name; a plate's label is smaller
_PLATE_FONT = 0.33
_ROW = 1.75  # between the centres of two layers
_SIDE = 0.55  # between two neighbours of a layer
_PAD = 0.24  # between a plate and what it encloses
_STRIP = 0.30  # the strip at a plate's bottom in which its label stands
_CLEAR = 0.3  # between a plate and what stands outside it
_ALONG = np.linspace(0, 1, 21)[:, None, None]  # where along an edge it is looked at
_INCHES = 0.42  # of a node's height, in a figure of our own
_FAMILIES = ["STIXGeneral", "DejaVu Sans"]
_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
)


def draw(graph: ModelGraph, ax: Any = None) -> Any:
    """Draw the graph on `ax`, or on a figure of its own, and return the Axes.

    Latent sites are open, observed ones shaded, deterministic ones dashed; parameters are boxes, factors black
    squares; plates are boxes labelled with their name and size. Dashed arrows are what in-place guides read.

    Raises ModelError where matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ModelError(
            "a graph to draw, and no matplotlib",
            "matplotlib, which is an extra",
            "pip install 'ppl[plot]', or graph.mermaid() or graph.dot(), which need nothing",
        ) from error
    nodes = list(graph.nodes.values())
    labels = [plate_label(graph.plates[p]) for p in plate_members(graph)]
    sketch = _Sketch.of(
        graph,
        np.array([_node_size(n)[0] for n in nodes]),
        np.array([_text_width(label, _PLATE_FONT) for label in labels]),
    )
    frame = sketch.frame(*_places(graph, sketch))
    width, height = frame.extent[1] - frame.extent[0]
    if ax is None:
        ax = plt.figure(figsize=(max(width * _INCHES, 1.0), max(height * _INCHES, 0.6))).add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(*frame.extent[:, 0])
    ax.set_ylim(*frame.extent[:, 1])
    box = ax.get_window_extent()  # before the aspect shrinks it
    points = 72 / ax.figure.dpi * min(box.width / width, box.height / height)  # of one node's height, on this Axes
    for label, (low, high), box in zip(labels, frame.plates, sketch.labels(frame), strict=True):
        _draw_plate(ax, label, low, high, (box[1, 0], box[0, 1]), points)
    patches = {n.name: _draw_node(ax, n, at, points) for n, at in zip(nodes, frame.at, strict=True)}
    for a, b in model_edges(graph):
        _draw_arrow(ax, patches[a], patches[b], points, color="black")
    for a, b in guide_edges(graph):
        bend = {"connectionstyle": "arc3,rad=0.3", "linestyle": (0, (4, 2.5))}
        _draw_arrow(ax, patches[a], patches[b], points, color=GUIDE_COLOUR, **bend)
    return ax


# ---------------------------------------------------------------------------------------------------------- places


_Places = tuple[np.ndarray, np.ndarray, np.ndarray]  # x and layer of each node, room for the label right in each plate


@dataclass(frozen=True)
class _Frame:
    """Where everything is: node centres (N, 2), plates as lower left and upper right corners (P, 2, 2), the whole."""

    at: np.ndarray
    plates: np.ndarray
    extent: np.ndarray


@dataclass(frozen=True)
class _Sketch:
    """What stays the same while nodes move, as arrays over N nodes, E edges and P plates (outer after inner)."""

    widths: np.ndarray
    edges: np.ndarray  # (E, 2): parent, child
    bends: np.ndarray  # (G, 2): edges of guides
    inside: np.ndarray  # (P, N)
    order: tuple[int, ...]  # plates, inner before outer
    within: tuple[tuple[int, ...], ...]  # plates nested in each plate
    crossed: np.ndarray  # (P,): plates before each that it crosses, whose borders it has to keep clear of
    label_widths: np.ndarray

    @cached_property
    def together(self) -> np.ndarray:
        """(E,): edges between nodes of one plate."""
        return self.inside[:, self.edges].all(-1).any(0)

    @cached_property
    def sharing(self) -> np.ndarray:
        """(P, P): plates that share a member."""
        return (self.inside.astype(int) @ self.inside.T.astype(int)) > 0

    @cached_property
    def crossing(self) -> np.ndarray:
        """(P, P): plates that share a member and do not nest."""
        nested = np.array([[q in w for q in range(len(self.within))] for w in self.within], bool)
        nested = nested.reshape(self.sharing.shape)
        return self.sharing & ~nested & ~nested.T & ~np.eye(len(nested), dtype=bool)

    @classmethod
    def of(cls, graph: ModelGraph, widths: np.ndarray, label_widths: np.ndarray) -> _Sketch:
        number = {name: i for i, name in enumerate(graph.nodes)}
        members = list(plate_members(graph).values())
        inside = np.array([[name in m for name in graph.nodes] for m in members], bool).reshape(
            len(members), len(number)
        )
        # Of two plates with the same members the one opened first is the outer.
        around = [[a > b or (a == b and i < j) for j, b in enumerate(members)] for i, a in enumerate(members)]
        within = tuple(tuple(j for j in range(len(members)) if around[i][j]) for i in range(len(members)))
        crossed = [sum(bool(a & b) and not (a <= b or b <= a) for a in members[:i]) for i, b in enumerate(members)]
        return cls(
            widths,
            _pairs(model_edges(graph), number),
            _pairs(guide_edges(graph), number),
            inside,
            tuple(sorted(range(len(members)), key=lambda i: len(within[i]))),
            within,
            np.array(crossed, float),
            label_widths,
        )

    def frame(self, x: np.ndarray, layer: np.ndarray, margin: np.ndarray) -> _Frame:
        """Rows far enough apart for the borders of plates between them, and plates around their members."""
        count, layer = len(self.order), np.unique(layer, return_inverse=True)[1]
        sides, above, below = np.zeros((count, 2)), np.zeros(count), np.zeros(count)
        first, last = np.zeros(count, int), np.zeros(count, int)
        for p in self.order:
            mine, inner = self.inside[p], self.within[p]
            pad = _PAD + 0.16 * self.crossed[p]
            first[p], last[p] = layer[mine].min(), layer[mine].max()
            left = min([(x - self.widths / 2)[mine].min(), *(sides[q, 0] for q in inner)]) - pad
            right = max([(x + self.widths / 2)[mine].max(), *(sides[q, 1] for q in inner)]) + pad
            lacking = max(self.label_widths[p] + 0.4 - (right - left), 0.0) / 2
            sides[p] = left - lacking, right + lacking + margin[p]
            above[p] = max([0.5, *(above[q] for q in inner if first[q] == first[p])]) + pad
            below[p] = (
                max([0.5, *(below[q] for q in inner if last[q] == last[p])]) + pad + _STRIP * (1 + self.crossed[p])
            )
        rows = np.zeros(layer.max(initial=0) + 1)
        for r in range(1, len(rows)):
            ending = below[last == r - 1].max(initial=0.5)
            opening = above[first == r].max(initial=0.5)
            bare = ending + opening == 1.0
            rows[r] = rows[r - 1] - (_ROW if bare else max(_ROW, ending + opening + 0.45))
        at = np.stack([x, rows[layer]], axis=1)
        plates = np.stack(
            [np.stack([sides[:, 0], rows[last] - below], 1), np.stack([sides[:, 1], rows[first] + above], 1)], axis=1
        )
        half = np.stack([self.widths / 2, np.full(len(x), 0.5)], axis=1)
        low = np.concatenate([at - half, plates[:, 0], np.zeros((0 if len(x) else 1, 2))]).min(0)
        high = np.concatenate([at + half, plates[:, 1], np.ones((0 if len(x) else 1, 2))]).max(0)
        return _Frame(at, plates, np.stack([low - 0.1, high + 0.1]))

    def labels(self, frame: _Frame) -> np.ndarray:
        """Boxes of the plates' labels (P, 2, 2): at the lower right, or at the left where a plate crosses there."""
        boxes = np.zeros((len(frame.plates), 2, 2))
        for p, (low, high) in enumerate(frame.plates):
            right = high[0] - 0.18
            for q, (start, stop) in enumerate(frame.plates):
                if self.crossing[p, q] and start[0] < right < stop[0] and start[1] < low[1] + 0.3 and low[0] < start[0]:
                    right = low[0] + 0.18 + self.label_widths[p]
            boxes[p] = (right - self.label_widths[p], low[1] + 0.16), (right, low[1] + 0.46)
        return boxes

    def penalty(self, x: np.ndarray, layer: np.ndarray, margin: np.ndarray) -> float:
        """How disagreeable the picture is: wrong plates and overlaps, then crossings, then length."""
        frame = self.frame(x, layer, margin)
        at, ends = frame.at, np.concatenate([self.edges, self.bends])
        a, b = at[ends[:, 0]], at[ends[:, 1]]
        half = np.stack([self.widths / 2, np.full(len(x), 0.5)], axis=1)
        wrong = _overlap(at - half, at + half, *np.moveaxis(frame.plates, 1, 0), _CLEAR)[~self.inside.T].sum()
        wrong += self._apart(frame)
        reach = (self.widths[:, None] + self.widths) / 2 + _SIDE
        close = np.where(layer[:, None] == layer, np.maximum(reach - np.abs(x[:, None] - x), 0), 0)
        wrong += (close.sum() - close.trace()) / 2
        through = self._through_nodes(at, half, a, b, ends)
        foreign = self._through_plates(frame, a, b, ends)
        slant = a[: len(self.edges)] - b[: len(self.edges)]
        named = self._through_labels(frame, a, b)
        spans = layer[self.edges[:, 1]] - layer[self.edges[:, 0]] - 1
        later = (x[:, None] > x) & (layer[:, None] == layer)
        wide = (frame.plates[:, 1, 0] - frame.plates[:, 0, 0]).sum()
        return float(
            200 * wrong
            + 12 * _crossings(a, b, ends)
            + 25 * through
            + 6 * (foreign + named)
            + 5 * spans.sum()
            + 0.5 * np.triu(later, 1).sum()
            + 0.1 * (slant[:, 0] ** 2).sum()
            + (0.25 + 1.75 * self.together) @ np.abs(slant[:, 0])
            + 0.35 * wide
            + np.ptp(frame.extent, axis=0) @ [0.5, 1.0]
        )

    def _apart(self, frame: _Frame) -> float:
        """Overlap of plates that share no member."""
        if len(self.inside) < 2:
            return 0.0
        low, high = np.moveaxis(frame.plates, 1, 0)
        return float(_overlap(low, high, low, high, _CLEAR)[~self.sharing].sum() / 2)

    def _through_nodes(self, at: np.ndarray, half: np.ndarray, a: np.ndarray, b: np.ndarray, ends: np.ndarray) -> float:
        """Edges that run through nodes which are not their ends; each node's ellipse is scaled to a unit circle."""
        scaled = half + 0.12
        start, stop = (a[:, None] - at) / scaled, (b[:, None] - at) / scaled  # (E, N, 2)
        along = stop - start
        t = np.clip(-(start * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
        distance = np.linalg.norm(start + t[..., None] * along, axis=-1)
        hits = np.maximum(1.2 - distance, 0)
        hits[np.arange(len(ends)), ends[:, 0]] = 0
        hits[np.arange(len(ends)), ends[:, 1]] = 0
        return float(hits.sum())

    def _through_labels(self, frame: _Frame, a: np.ndarray, b: np.ndarray) -> float:
        """Edges and plates' sides that run through the labels of plates."""
        low, high = np.moveaxis(self.labels(frame), 1, 0)
        sides = frame.plates[:, :, 0].ravel()
        cut = (sides[:, None] > low[:, 0] - 0.1) & (sides[:, None] < high[:, 0] + 0.1)
        bottom, top = frame.plates[:, 0, 1].repeat(2), frame.plates[:, 1, 1].repeat(2)
        cut &= (bottom[:, None] < high[:, 1]) & (top[:, None] > low[:, 1])
        on = (a + _ALONG * (b - a))[:, :, None]
        return float(cut.sum() + ((on > low - 0.1) & (on < high + 0.1)).all(-1).any(0).sum())

    def _through_plates(self, frame: _Frame, a: np.ndarray, b: np.ndarray, ends: np.ndarray) -> float:
        """Share of edges that runs inside plates to which neither end belongs."""
        on = (a + _ALONG * (b - a))[:, :, None]  # (T, E, 1, 2)
        low, high = np.moveaxis(frame.plates, 1, 0)
        within = ((on > low) & (on < high)).all(-1).mean(0)  # (E, P)
        belongs = (self.inside[:, ends[:, 0]] | self.inside[:, ends[:, 1]]).T
        return float((within > 0)[~belongs].sum() + within[~belongs].sum())


def _pairs(edges: Sequence[tuple[str, str]], number: dict[str, int]) -> np.ndarray:
    return np.array([(number[a], number[b]) for a, b in edges], int).reshape(-1, 2)


def _overlap(low: np.ndarray, high: np.ndarray, low2: np.ndarray, high2: np.ndarray, clear: float) -> np.ndarray:
    """By how much boxes (N) and boxes (P) come closer than `clear`: (N, P), 0 where they keep apart."""
    depth = (np.minimum(high[:, None], high2) - np.maximum(low[:, None], low2) + clear).min(-1)
    return np.where(depth > 1e-9, 0.2 + depth, 0)


def _crossings(a: np.ndarray, b: np.ndarray, ends: np.ndarray) -> int:
    """Pairs of edges that cross, other than at a common end."""

    def left(p, q, r):
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])

    apart = (ends[:, None, :, None] != ends[None, :, None, :]).all((-1, -2))
    a1, b1, a2, b2 = a[:, None], b[:, None], a[None], b[None]
    cross = (left(a1, b1, a2) * left(a1, b1, b2) < 0) & (left(a2, b2, a1) * left(a2, b2, b1) < 0)
    return int((cross & apart).sum()) // 2


def _places(graph: ModelGraph, sketch: _Sketch) -> _Places:
    layer, margin = _layers(graph), np.zeros(len(sketch.order))
    x = _barycentres(graph, sketch, layer)
    starts = [(x, layer, margin), (_bands(graph, sketch, x, layer), layer, margin)]
    return _search(sketch, min(starts, key=lambda places: sketch.penalty(*places)))


def _layers(graph: ModelGraph) -> np.ndarray:
    """Longest path from above; a node without parents stands right above its first child."""
    import networkx

    number = {name: i for i, name in enumerate(graph.nodes)}
    layer = np.zeros(len(number), int)
    for depth, names in enumerate(networkx.topological_generations(graph.networkx)):
        for name in names:
            layer[number[name]] = depth
    edges = _pairs(model_edges(graph), number)
    for i in np.setdiff1d(edges[:, 0], edges[:, 1]):
        layer[i] = layer[edges[edges[:, 0] == i, 1]].min() - 1
    return layer


def _barycentres(graph: ModelGraph, sketch: _Sketch, layer: np.ndarray) -> np.ndarray:
    """Each layer in the order of its neighbours' mean places, members of a plate side by side, packed and centred."""
    kinds = [n.plates for n in graph.nodes.values()]
    x = np.zeros(len(layer))
    ends = np.concatenate([sketch.edges, sketch.edges[:, ::-1]])
    for _ in range(4):
        for depth in range(layer.max(initial=-1) + 1):
            row = np.flatnonzero(layer == depth)
            near = {i: x[ends[ends[:, 0] == i, 1]].mean() if (ends[:, 0] == i).any() else 0.0 for i in row}
            together = {k: np.mean([near[i] for i in row if kinds[i] == k]) for k in {kinds[i] for i in row}}
            row = sorted(row, key=lambda i: (together[kinds[i]], kinds[i], near[i]))
            right = np.cumsum(sketch.widths[row] + _SIDE)
            x[row] = np.round((right - sketch.widths[row] / 2 - right[-1] / 2) * 4) / 4
    return x


def _bands(graph: ModelGraph, sketch: _Sketch, x: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """The same order within layers, but a band of its own for each plate: no plate is around what is not in it.

    Bands follow each other as a walk through the nested plates meets them.
    """
    nested = nested_plates(graph)
    paths = [tuple(p for p in nested if p in n.plates) for n in graph.nodes.values()]
    banded, edge = np.zeros(len(x)), 0.0
    for path in sorted(set(paths)):
        mine = np.array([p == path for p in paths])
        rows = [sorted(np.flatnonzero(mine & (layer == depth)), key=lambda i: x[i]) for depth in set(layer[mine])]
        rights = [np.cumsum(sketch.widths[row] + _SIDE) for row in rows]
        width = max(
            [right[-1] for right in rights] + [_text_width(plate_label(graph.plates[p]), _PLATE_FONT) for p in path]
        )
        for row, right in zip(rows, rights, strict=True):
            banded[row] = edge + (width - right[-1]) / 2 + right - sketch.widths[row] / 2
        edge += width + 1 + 2 * _PAD * len(nested)
    return np.round(banded * 4) / 4


def _search(sketch: _Sketch, start: _Places) -> _Places:
    """The best of a few runs of simulated annealing, each followed by descent. The size fixes the number of tries."""
    count, edges = len(start[0]), len(sketch.edges)
    tries = int(np.clip(200 * count, 600, 4000) * min(1.0, 25 / max(edges, 1)) ** 2.5)
    if count < 2 or not tries:
        return start
    runs = [_anneal(sketch, start, tries, hottest) for hottest in (3, 12, 30)]
    return min((_settle(sketch, *run, tries) for run in runs), key=lambda places: sketch.penalty(*places))


def _anneal(sketch: _Sketch, places: _Places, tries: int, hottest: float) -> tuple[_Places, float]:
    rng = np.random.default_rng(0)
    now = best = sketch.penalty(*places)
    found = places
    for temperature in np.geomspace(hottest, 0.3, tries):
        moved = _move(sketch, *places, rng)
        if moved is None:
            continue
        value = sketch.penalty(*moved)
        if value < now or rng.random() < np.exp((now - value) / temperature):
            places, now = moved, value
            if now < best:
                found, best = moved, now
    return found, best


def _move(
    sketch: _Sketch, x: np.ndarray, layer: np.ndarray, margin: np.ndarray, rng: np.random.Generator
) -> _Places | None:
    """Another picture near this one: a node, a plate or all that stands right of a node elsewhere, or two swapped."""
    x, layer, margin, kind = x.copy(), layer.copy(), margin.copy(), rng.random()
    i, step = rng.integers(len(x)), rng.choice([-2, -1, -0.5, -0.25, 0.25, 0.5, 1, 2])
    plate = rng.integers(len(margin)) if len(margin) else None
    if kind < 0.4:
        x[i] += step
    elif kind < 0.55:
        j = rng.choice(np.flatnonzero(layer == layer[i]))
        x = _swapped(x, i, j)
    elif kind < 0.7:
        layer[i] += rng.choice([-1, 1])
        x[i] += step * rng.integers(2)
        if layer.min() < 0 or (layer[sketch.edges[:, 0]] >= layer[sketch.edges[:, 1]]).any():
            return None
    elif kind < 0.85 and plate is not None:
        mine = sketch.inside[plate]
        if rng.random() < 0.3:
            x[mine] = x[mine].min() + x[mine].max() - x[mine]
        x[mine] += step * rng.choice([1, 2])
    elif kind < 0.92 and plate is not None:
        margin[plate] = max(margin[plate] + step, 0)
    else:
        x[x >= x[i]] += step
    return x, layer, margin


def _swapped(x: np.ndarray, i: int, j: int) -> np.ndarray:
    x = x.copy()
    x[i], x[j] = x[j], x[i]
    return x


def _settle(sketch: _Sketch, places: _Places, value: float, tries: int) -> _Places:
    """Take each small step that helps, until none does."""
    better = True
    while better and tries > 0:
        better = False
        for step in _small_steps(sketch, places[1]):
            moved = step(*places)
            tried, tries = sketch.penalty(*moved), tries - 1
            if tries < 0:
                break
            if tried < value - 1e-6:
                places, value, better = moved, tried, True
    return places


def _small_steps(sketch: _Sketch, layer: np.ndarray) -> Iterator[Callable[..., _Places]]:
    """Mirror all, swap two nodes of a layer, put parent and child in line, shift a node or a plate, widen a plate."""
    yield lambda x, layer, margin: (-x, layer, margin)
    for i, j in itertools.combinations(range(len(layer)), 2):
        if layer[i] == layer[j]:
            yield lambda x, layer, margin, i=i, j=j: (_swapped(x, i, j), layer, margin)
    for i, j in [*sketch.edges, *sketch.edges[:, ::-1]]:
        yield lambda x, layer, margin, i=i, j=j: (np.where(np.arange(len(x)) == i, x[j], x), layer, margin)
    for by in (-0.5, 0.5, -0.25, 0.25, -0.125, 0.125):
        for mine in [*np.eye(len(layer)), *sketch.inside]:
            yield lambda x, layer, margin, by=by, mine=mine: (x + by * mine, layer, margin)
        for one in np.eye(len(sketch.inside)):
            yield lambda x, layer, margin, by=by, one=one: (x, layer, np.maximum(margin + by * one, 0))


# ---------------------------------------------------------------------------------------------------------- strokes


def _typeset(name: str) -> str:
    """A Greek or single letter as in a formula, digits or words after it as a subscript; any other name as it is."""
    match = re.fullmatch("([A-Za-z]+?)(?:_([A-Za-z0-9_]+)|([0-9]+))?", name)
    if not match or not (match[1] in _GREEK or len(match[1]) == 1):
        return name.replace("$", r"\$")
    below = r"\ ".join(_symbol(word) for word in (match[2] or match[3] or "").split("_") if word)
    return f"${_symbol(match[1])}_{{{below}}}$" if below else f"${_symbol(match[1])}$"


def _symbol(word: str) -> str:
    if word in _GREEK:
        return f"\\{word}"
    return word if len(word) == 1 else f"\\mathrm{{{word}}}"


def _font(size: float) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=_FAMILIES, size=size, math_fontfamily="stix")


def _text_width(text: str, size: float) -> float:
    from matplotlib.textpath import TextPath

    ink = TextPath((0, 0), text, prop=_font(100)).get_extents().width if text.strip() else 0.0
    return 1.06 * ink * size / 100  # on a screen letters are set wider, on whole pixels


def _node_size(node: Node) -> tuple[float, float]:
    text = _text_width(_typeset(node.name), _FONT)
    if node.kind == "factor":  # its name stands beside it: keep that much clear on both sides
        return 0.6 + 2 * text, 0.3
    if node.kind == "parameter":
        return max(0.66, text + 0.34), 0.66
    return max(1.0, text * 1.12 + 0.42), 1.0


def _draw_node(ax: Any, node: Node, at: np.ndarray, points: float) -> Any:
    from matplotlib.patches import Ellipse, Rectangle

    width, height = _node_size(node)
    looks = {
        "facecolor": {"observed": SHADE, "factor": "black"}.get(node.kind, "white"),
        "linestyle": (0, (4, 2.5)) if node.kind == "deterministic" else "-",
        "edgecolor": "black",
        "linewidth": points / 30,
        "zorder": 3,
    }
    text = {"s": _typeset(node.name), "fontproperties": _font(_FONT * points), "zorder": 4}
    if node.kind == "factor":
        ax.text(at[0] + 0.3, at[1], ha="left", va="center_baseline", **text)
        return ax.add_patch(Rectangle(at - height / 2, height, height, **looks))
    ax.text(*at, ha="center", va="center_baseline", **text)
    if node.kind == "parameter":
        return ax.add_patch(Rectangle(at - [width / 2, height / 2], width, height, **looks))
    return ax.add_patch(Ellipse(at, width, height, **looks))


def _draw_plate(ax: Any, label: str, low: np.ndarray, high: np.ndarray, at: tuple, points: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    rounding = "round,pad=0,rounding_size=0.2"
    looks = {"facecolor": "none", "edgecolor": "0.35", "linewidth": points / 34, "zorder": 1}
    ax.add_patch(FancyBboxPatch(low, *(high - low), boxstyle=rounding, mutation_aspect=1, **looks))
    font = _font(_PLATE_FONT * points)
    ax.text(*at, label.replace("$", r"\$"), ha="right", va="baseline", fontproperties=font, color="0.2", zorder=4)


def _draw_arrow(ax: Any, start: Any, stop: Any, points: float, **looks: Any) -> None:
    """An arrow from border to border."""
    from matplotlib.patches import FancyArrowPatch

    a, b = (p.get_center() for p in (start, stop))
    looks = {"linewidth": points / 30, "mutation_scale": points / 2.6, "zorder": 2, **looks}
    ax.add_patch(FancyArrowPatch(a, b, patchA=start, patchB=stop, shrinkA=0, shrinkB=0, arrowstyle="-|>", **looks))
