"""The model as a graph of distributions: sites, plates and who depends on whom.

Dependencies are read off the recorded program: an edge z -> x says that the density of x,
as it was computed, used the value of z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..array import Recorded, Tape, is_recorded, paused_collector
from ..array.recording import concrete, parents
from ..distributions import biject_to
from ..model import PlateFrame, Site
from ..model.missing import MissingEntries
from ..model.scanned import ScannedDistribution
from .recorder import RecordedModel, Recorder, record_model


@dataclass(frozen=True)
class Node:
    """A site as the graph shows it."""

    name: str
    kind: str  # "latent", "observed", "parameter", "deterministic", "factor"
    family: str
    shape: tuple[int, ...]
    plates: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class ModelGraph:
    """Sites and plates of a model in the order in which it names them.

    `guide_edges` is a second edge set: what an in-place guide reads. The model's own edges
    stay acyclic.
    """

    nodes: dict[str, Node]
    plates: dict[str, PlateFrame]
    warnings: tuple[str, ...] = ()
    guide_edges: tuple[tuple[str, str], ...] = ()
    summed_out: frozenset[str] = frozenset()  # missing entries that no density reads

    @cached_property
    def networkx(self) -> Any:
        """The graph as a `networkx.DiGraph`; nodes carry kind, family, shape and plates."""
        import networkx

        graph = networkx.DiGraph()
        for node in self.nodes.values():
            graph.add_node(node.name, kind=node.kind, family=node.family, shape=node.shape, plates=node.plates)
        graph.add_edges_from((p, node.name) for node in self.nodes.values() for p in node.parents)
        return graph

    def of_kind(self, *kinds: str) -> list[Node]:
        """Nodes of these kinds, in order."""
        return [n for n in self.nodes.values() if n.kind in kinds]

    def draw(self, ax: Any = None) -> Any:
        """Draw it with matplotlib (extra `plot`): plates as boxes, observed sites shaded."""
        from .drawing import draw

        return draw(self, ax)

    def mermaid(self) -> str:
        """The graph in Mermaid's language."""
        from .text import mermaid

        return mermaid(self)

    def dot(self) -> str:
        """The graph in Graphviz's DOT language."""
        from .text import dot

        return dot(self)

    def __str__(self) -> str:
        return "\n".join(
            f"{n.name} ~ {n.family}{_in(n.plates)}{' <- ' + ', '.join(n.parents) if n.parents else ''}"
            f"{', observed' if n.kind == 'observed' else ''}"
            for n in self.nodes.values()
        )


def _in(plates):
    return f" [{', '.join(plates)}]" if plates else ""


@paused_collector()
def graph(model: Callable, *args: Any, **kwargs: Any) -> ModelGraph:
    """The graph of a model on these arguments.

    >>> import ppl, ppl.distributions as dist
    >>> def model():
    ...     mu = ppl.sample("mu", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=0.5)
    >>> print(ppl.graph(model))
    mu ~ Normal
    y ~ Normal <- mu, observed
    """
    return model_graph(record_model(model, args, kwargs, Recorder(Tape(eager=True), latent_input)))


def latent_input(recorder: Recorder, site: Site) -> Recorded:
    """A latent site as an input of its own, with some value of its support as example."""
    return recorder.tape.input(some_value(site, recorder.rng), site.name)


def some_value(site: Site, rng: np.random.Generator) -> np.ndarray:
    """A value in the support of a site: its prior's draw where that can be had, else the support's middle."""
    arrays, rebuild = site.fn.core.tree_flatten()
    core = rebuild(tuple(concrete(a) for a in arrays))
    if core.has("sample"):
        return np.array(np.broadcast_to(core.sample(rng), site.fn.shape()))
    arrays, rebuild = site.fn.tree_flatten()
    fn = rebuild(tuple(concrete(a) for a in arrays))
    transform = biject_to(fn.support)
    return transform(np.zeros(transform.inverse_shape(fn.shape())))


def dependencies(tape: Tape, marks: Mapping[int, int]) -> dict[int, int]:
    """For each recorded value the set of marked values that it was computed from, as bits.

    `marks` maps id(node) -> bit; one pass over the tape. A marked value stands for itself alone.
    """
    found = dict(marks)
    for node in tape.nodes:
        if id(node) not in marks:
            bits = 0
            for p in parents(node):
                bits = union(bits, found.get(id(p), 0))
            if bits:
                found[id(node)] = bits
    return found


def union(a: int, b: int) -> int:
    """The union of two sets of bits: one of them where it holds the other.

    Of ten thousand sites a set is a long number, and most values of a program read just what
    another one does: they share it.
    """
    if a == b or not b:
        return a
    if not a:
        return b
    both = a | b
    return a if both == a else b if both == b else both


def bits_of(bits: int) -> Iterator[int]:
    """The single bits of a set of bits, lowest first."""
    while bits:
        bit = bits & -bits
        yield bit
        bits ^= bit


def recorded_in(x: Any) -> list[Recorded]:
    """Recorded values in a distribution, an array or a tuple of them."""
    if is_recorded(x):
        return [x]
    if hasattr(x, "tree_flatten"):
        return [a for a in x.tree_flatten()[0] if is_recorded(a)]
    if isinstance(x, tuple | list):
        return [r for y in x for r in recorded_in(y)]
    return []


def model_graph(recorded: RecordedModel) -> ModelGraph:
    """Sites, plates, dependencies and warnings of a recorded model."""
    named = {s.name: s for s in recorded.sites.values() if s.type != "plate"}
    marks, names = {}, []
    for site in named.values():
        node = recorded.parameters[site.name].node if site.name in recorded.parameters else site.value
        if is_recorded(node) and id(node) not in marks and site.type != "deterministic":
            marks[id(node)] = 1 << len(names)
            names.append(site.name)
    found = dependencies(recorded.tape, marks)

    def read_by(x, branches: int = 0) -> tuple[str, ...]:
        bits = 0
        for node in [*recorded_in(x), *recorded.tape.branches[:branches]]:
            bits |= found.get(id(node), 0)
        return tuple(names[b.bit_length() - 1] for b in bits_of(bits))

    nodes, guide_edges = {}, []
    for site in named.values():
        source = site.value if site.type == "deterministic" else site.fn
        parents_of = read_by(source, recorded.branches_before[site.name]) if source is not None else ()
        if "gaps" in site.options and "part_of" not in site.options:
            parents_of = (*parents_of, f"{site.name}_unobserved")
        family = family_name(site)
        shape = np.shape(site.value) if not site.options.get("factor") else ()
        if site.type != "param" or not site.name.count(":"):
            nodes[site.name] = Node(
                site.name,
                _kind(site),
                family,
                tuple(shape),
                site.plate_names,
                tuple(p for p in parents_of if p != site.name),
            )
        if site.guide is not None:
            guide_edges += [(p, site.name) for p in read_by(site.guide) if p != site.name]
    summed_out = _summed_out(recorded, nodes) if not recorded.tape.eager else frozenset()
    return ModelGraph(nodes, recorded.plates, _warnings(recorded), tuple(guide_edges), summed_out)


def _summed_out(recorded: RecordedModel, nodes: Mapping[str, Node]) -> frozenset[str]:
    """The missing entries, whole events, that are read by no density but their own."""
    read = {p for n in nodes.values() if n.kind in ("latent", "observed", "factor") for p in n.parents}
    return frozenset(
        s.name
        for s in recorded.of_kind(observed=False)
        if "part_of" in s.options and s.options["gaps"].whole_events is not None and s.options["part_of"] not in read
    )


def family_name(site: Site) -> str:
    """The family of a site without the wrappers that only move axes."""
    if site.options.get("factor"):
        return "factor"
    if site.type in ("param", "deterministic"):
        return {"param": "parameter"}.get(site.type, site.type)
    core = site.fn.core
    return type(core.whole.core if isinstance(core, MissingEntries) else core).__name__


def _kind(site: Site) -> str:
    if site.options.get("factor"):
        return "factor"
    if site.type == "sample":
        return "observed" if site.is_observed else "latent"
    return {"param": "parameter"}.get(site.type, site.type)


def _warnings(recorded: RecordedModel) -> tuple[str, ...]:
    found = []
    observed = recorded.of_kind(observed=True)
    if not observed:
        found.append(
            "no observed site and no factor: the posterior is the prior (is a data argument misspelt or None?)"
        )
    for site in observed:
        if "gaps" in site.options and site.options["gaps"].all_missing:
            found.append(f"every entry of site '{site.name}' is missing: it tells nothing about the rest")
        shape = np.shape(site.value)
        rows = shape[: len(shape) - site.fn.event_dim] if not site.options.get("factor") else ()
        chain = isinstance(site.fn, ScannedDistribution)  # its rows are steps of a loop
        if not site.plates and rows and rows[0] > 1 and not chain:
            found.append(
                f"site '{site.name}' has {rows[0]} rows and no plate: "
                f"`with ppl.plate(...)` around it says that they are independent"
            )
    return tuple(found)
