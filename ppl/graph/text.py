"""A model graph in the languages of Mermaid and Graphviz.

Graphical models have their signs: latent = open ellipse, observed = shaded, deterministic = dashed outline,
parameter = box, factor = black square, plate = box around its members with its name and size.
Both languages can only nest boxes. Of two plates that cross, the one that the model opens first is
a box, and the other is written into the labels of its members.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import PlateFrame
    from .model_graph import ModelGraph, Node

GUIDE_COLOUR = "#c0392b"
PLATE_COLOUR = "#7f8c8d"
SHADE = "#d0d3d4"

_MERMAID_SHAPES = {"parameter": ('["', '"]'), "factor": ('["', '"]')}
_MERMAID_CLASSES = f"""\
    classDef latent fill:#fff,stroke:#000,color:#000
    classDef observed fill:{SHADE},stroke:#000,color:#000
    classDef deterministic fill:#fff,stroke:#000,color:#000,stroke-dasharray:4 3
    classDef parameter fill:#fff,stroke:#000,color:#000
    classDef factor fill:#000,stroke:#000,color:#fff
    classDef plate fill:none,stroke:{PLATE_COLOUR},color:#000"""
_MERMAID_ENTITIES = {'"': "quot", "<": "lt", ">": "gt", "&": "amp", "#": "35", "`": "96", "\\": "92"}
_MERMAID_WORDS = frozenset(
    "call class classdef click default direction end flowchart graph href interpolate linkstyle style subgraph".split()
)

_DOT_STYLES = {
    "latent": "shape=ellipse",
    "observed": f'shape=ellipse, style=filled, fillcolor="{SHADE}"',
    "deterministic": "shape=ellipse, style=dashed",
    "parameter": "shape=box, height=0.3",
    "factor": "shape=square, style=filled, fillcolor=black, width=0.15, fixedsize=true",
}


def mermaid(graph: ModelGraph) -> str:
    """A Mermaid flowchart. Names stand in quoted labels; identifiers are kept clear of Mermaid's own words."""
    nested = nested_plates(graph)
    words = _identifiers([*graph.nodes, *(f"plate_{p}" for p in nested)])
    ids = dict(zip(graph.nodes, words, strict=False))
    boxes = dict(zip(nested, words[len(ids) :], strict=True))

    def node_line(node: Node) -> str:
        left, right = _MERMAID_SHAPES.get(node.kind, ('(["', '"])'))
        return f"{ids[node.name]}{left}{_mermaid_text(_label(graph, node, nested))}{right}:::{node.kind}"

    def plate_line(plate: str) -> str:
        return f'subgraph {boxes[plate]}["{_mermaid_text(plate_label(graph.plates[plate]))}"]'

    edges = [f"    {ids[a]} --> {ids[b]}" for a, b in model_edges(graph)]
    guides = [f"    {ids[a]} -.-> {ids[b]}" for a, b in guide_edges(graph)]
    lines = ["flowchart TD", *_outline(graph, nested, node_line, plate_line, "end"), *edges, *guides, _MERMAID_CLASSES]
    if nested:
        lines.append(f"    class {','.join(boxes.values())} plate")
    if guides:
        numbers = ",".join(str(len(edges) + i) for i in range(len(guides)))
        lines.append(f"    linkStyle {numbers} stroke:{GUIDE_COLOUR}")
    return "\n".join(lines) + "\n"


def dot(graph: ModelGraph) -> str:
    """A Graphviz digraph; every name is a quoted string."""
    nested = nested_plates(graph)

    def node_line(node: Node) -> str:
        label = _dot_text(_label(graph, node, nested))
        shown = f"label={_dot_text('')}, xlabel={label}" if node.kind == "factor" else f"label={label}"
        return f"{_dot_text(node.name)} [{shown}, {_DOT_STYLES[node.kind]}];"

    def plate_line(plate: str) -> str:
        label = _dot_text(plate_label(graph.plates[plate]))
        looks = f'style=rounded, color="{PLATE_COLOUR}", labelloc=b, labeljust=r'
        return f"subgraph {_dot_text(f'cluster_{plate}')} {{ label={label}; {looks.replace(', ', '; ')};"

    edges = [f"    {_dot_text(a)} -> {_dot_text(b)};" for a, b in model_edges(graph)]
    looks = f'[style=dashed, color="{GUIDE_COLOUR}", constraint=false]'
    guides = [f"    {_dot_text(a)} -> {_dot_text(b)} {looks};" for a, b in guide_edges(graph)]
    return "\n".join(["digraph {", *_outline(graph, nested, node_line, plate_line, "}"), *edges, *guides, "}"]) + "\n"


def model_edges(graph: ModelGraph) -> list[tuple[str, str]]:
    """(parent, child), children in the model's order."""
    return [(p, node.name) for node in graph.nodes.values() for p in node.parents if p in graph.nodes]


def guide_edges(graph: ModelGraph) -> list[tuple[str, str]]:
    """(what the guide reads, site that it is the guide of), both of them nodes of the graph."""
    return [(a, b) for a, b in graph.guide_edges if a in graph.nodes and b in graph.nodes]


def plate_members(graph: ModelGraph) -> dict[str, frozenset[str]]:
    """Names of the nodes in each plate that has any, plates in the order in which the model opens them."""
    inside = {p: frozenset(n.name for n in graph.nodes.values() if p in n.plates) for p in graph.plates}
    return {p: names for p, names in inside.items() if names}


def nested_plates(graph: ModelGraph) -> dict[str, str | None]:
    """Plates that nest, outermost first, each with the plate around it (None at the top).

    A plate stands in another if all its members do. One that crosses a plate before it is left out.
    """
    members = plate_members(graph)
    kept: list[str] = []
    for plate, inside in members.items():
        if all(inside <= members[k] or inside >= members[k] or not inside & members[k] for k in kept):
            kept.append(plate)

    def outermost_first(plate: str) -> tuple[int, int]:
        return -len(members[plate]), min(graph.nodes[n].plates.index(plate) for n in members[plate])

    around: dict[str, str | None] = {}
    for plate in sorted(kept, key=outermost_first):
        enclosing = [k for k in around if members[plate] <= members[k]]
        around[plate] = enclosing[-1] if enclosing else None
    return around


def plate_label(plate: PlateFrame) -> str:
    """`schools (8)`, or `images (128 of 60000)` where rows are drawn from more."""
    size = f"{plate.subsample_size} of {plate.size}" if plate.subsample_size != plate.size else f"{plate.size}"
    return f"{plate.name} ({size})"


def _label(graph: ModelGraph, node: Node, nested: dict[str, str | None]) -> str:
    family = f" ~ {node.family}" if node.kind in ("latent", "observed") else ""
    crossing = [plate_label(graph.plates[p]) for p in node.plates if p not in nested]
    return f"{node.name}{family}" + (f" [{', '.join(crossing)}]" if crossing else "")


def _outline(
    graph: ModelGraph,
    nested: dict[str, str | None],
    node_line: Callable[[Node], str],
    plate_line: Callable[[str], str],
    close: str,
) -> list[str]:
    """Nodes inside their innermost box, boxes inside boxes, indented by depth."""
    home = {n.name: next((p for p in reversed(nested) if p in n.plates), None) for n in graph.nodes.values()}

    def body(plate: str | None, indent: str) -> list[str]:
        lines = [indent + node_line(node) for node in graph.nodes.values() if home[node.name] == plate]
        for inner, outer in nested.items():
            if outer == plate:
                lines += [indent + plate_line(inner), *body(inner, indent + "    "), indent + close]
        return lines

    return body(None, "    ")


def _identifiers(names: list[str]) -> list[str]:
    """Each name itself where Mermaid reads it as a plain word and nobody before has it, else a numbered one."""
    taken: dict[str, None] = {}
    for i, name in enumerate(names):
        plain = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) and name.lower() not in _MERMAID_WORDS
        word = name if plain and name not in taken else f"n{i}"
        while word != name and (word in names or word in taken):
            word += "_"
        taken[word] = None
    return list(taken)


def _mermaid_text(text: str) -> str:
    return "".join(f"#{_MERMAID_ENTITIES[c]};" if c in _MERMAID_ENTITIES else c for c in " ".join(text.split()))


def _dot_text(text: str) -> str:
    """A quoted string. Backslashes double, since labels give meaning to `\\N` and its like."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
