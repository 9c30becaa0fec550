"""Which latents have closed-form updates: the products of a model, matched against the exponential families.

    recorded model --rewrite--> products --recognize--> blocks, and a Reason for whatever blocks

A product of functions of single latents is matched latent by latent: its factors of one latent must be one
statistic of one family. Where two factors of a normal latent run along different labels, the axes are its event
axes (a full covariance); the others are a batch. What does not match blocks the product that it stands in, and
no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..array import Recorded, Tape
from ..distributions import constraints
from ..errors import Reason
from ..graph import RecordedModel, Recorder, latent_input, record_model
from ..model import Site
from .algebra import ONE, Algebra, Atom, Factor, Label, show
from .families import Betas, Categories, Dirichlets, Normals, PowerGammas, Wisharts
from .rules import rewritten


@dataclass(frozen=True)
class Block:
    """A latent site (or a learned parameter) with a closed-form update.

    `axes` are the labels of its mean parameters without axes of length one, `shape` is that of its value.
    """

    name: str
    atom: Atom
    family: Any
    shape: tuple[int, ...]
    event_dim: int
    plates: tuple[Any, ...]
    scale: float  # what one of its elements stands for, where plates are subsampled
    is_parameter: bool = False
    discrete: str = ""  # "integer", "boolean" or "one-hot"

    @property
    def axes(self) -> tuple[Label, ...]:
        return tuple(x for x in self.atom.axes if x is not ONE)

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape of its value with every plate at its full size."""
        shape = list(self.shape)
        for p in self.plates:
            shape[len(shape) - self.event_dim + p.dim] = p.size
        return tuple(shape)

    def axis_of(self, plate: str) -> Label | None:
        """The label of a plate's axis."""
        frame = next((p for p in self.plates if p.name == plate), None)
        return None if frame is None else self.atom.axes[len(self.shape) - self.event_dim + frame.dim]

    def statistic_axes(self, statistic: str) -> tuple[Label, ...]:
        """The labels of one statistic's mean parameter, the second copy of event axes as labels of its own."""
        if statistic == "logdet":
            return self.axes[:-2]
        if statistic != "xx":
            return self.axes
        return (*self.axes, *(Label(self.axes[i].size) for i in self.family.event))


@dataclass(frozen=True)
class Operand:
    """One latent's statistic in a product, with the labels of its axes there."""

    block: str
    statistic: str
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Product:
    """coefficient x statistics of latents x data, summed over all labels."""

    site: str
    coefficient: float
    operands: tuple[Operand, ...]
    data: tuple[Factor, ...]


@dataclass(frozen=True)
class Recognized:
    """The log joint as products, where all of it could be matched; else what blocks."""

    blocks: dict[str, Block]
    products: tuple[Product, ...]
    blocked: tuple[Reason, ...]
    recorded: RecordedModel = field(repr=False)

    @property
    def whole(self) -> bool:
        return not self.blocked


def record(
    model: Callable, args: tuple, kwargs: Mapping[str, Any], plate_sizes: Mapping[str, int] | None = None, starts=None
) -> RecordedModel:
    """Record the model alone, each latent an input of its own."""
    return record_model(model, args, kwargs, Recorder(Tape(), latent_input, plate_sizes=plate_sizes, starts=starts))


def recognize(recorded: RecordedModel) -> Recognized:
    """Match a recorded model against the families."""
    algebra, roots = Algebra(), {}
    sites: dict[str, tuple[Atom, Any]] = {}
    blocked: list[Reason] = []
    for s in recorded.of_kind(observed=False):
        support, categories = _support(s.fn.support, s)
        if "part_of" in s.options or "gaps" in s.options:
            blocked.append(
                Reason(s.name, "entries of an observation that are missing", "rows without gaps, or another algorithm")
            )
        if not isinstance(s.value, Recorded):
            continue  # a handler gave it its value
        atom, roots[s.value] = algebra.latent(s.name, s.fn.shape(), support, categories)
        sites[s.name] = atom, s
    for name, p in recorded.parameters.items():
        support, _ = _support(p.constraint, None)
        atom, roots[p.node] = algebra.latent(name, p.node.shape, support)
        sites[name] = atom, p
    random = recorded.of_kind()
    outputs = [s.fn.log_prob(s.value) for s in random]
    products: list[tuple[str, float, tuple[Factor, ...]]] = []
    if roots:
        for s, poly in zip(random, rewritten(algebra, roots, outputs), strict=True):
            whole = algebra.total(poly, range(len(poly.axes)))
            products += [(s.name, c * s.plate_scale, fs) for c, fs in whole.terms]
    matched, events, powers = _match(products, blocked)
    blocks = {}
    for name, (atom, s) in sites.items():
        family = _family(atom, events.get(atom, set()), powers.get(atom))
        if isinstance(s, Site):
            kind = {"boolean": "boolean", "one-hot": "one-hot"}.get(_support(s.fn.support, s)[0], "")
            kind = (
                "boolean"
                if s.fn.support == constraints.boolean
                else kind or ("integer" if atom.support == "integer" else "")
            )
            blocks[name] = Block(
                name, atom, family, s.fn.shape(), s.fn.event_dim, s.plates, s.plate_scale / s.scale, False, kind
            )
        else:
            blocks[name] = Block(name, atom, family, s.node.shape, s.node.ndim, (), 1.0, True)
    found = []
    for site, c, operands, data in matched:
        wrong = [(o.block, p) for o, p in operands if p is not None and p != powers[blocks[o.block].atom]]
        for name, p in wrong:
            best = powers[blocks[name].atom]
            why = f"{name}^{p:g} here, and {name}^{best:g} elsewhere: no family has both"
            blocked.append(Reason(site, why, "a prior of the power that the likelihood has", f"{name}^{p:g}"))
        if not wrong:
            found.append(Product(site, c, tuple(_with_event(o, blocks[o.block]) for o, _ in operands), data))
    return Recognized(blocks, tuple(found), tuple(dict.fromkeys(blocked)), recorded)


def _support(support: Any, site: Site | None) -> tuple[str, int | None]:
    """The kind of a latent's values, and of how many categories."""
    inner = support
    while isinstance(inner, constraints.Independent):
        inner = inner.base
    if site is not None and site.fn.is_discrete:
        if inner == constraints.boolean:
            return "integer", 2
        core = site.fn.core
        if inner == constraints.one_hot:
            return "one-hot", None
        if hasattr(core, "_number"):
            return "integer", core._number
        return "other", None
    for kind, known in (
        ("simplex", constraints.simplex),
        ("unit", constraints.unit_interval),
        ("positive", constraints.positive),
        ("real", constraints.real),
        ("real", constraints.real_vector),
        ("matrix", constraints.positive_definite),
    ):
        if inner == known:
            return kind, None
    if inner == constraints.nonnegative:
        return "positive", None
    return "other", None


def _match(products: Sequence[tuple], blocked: list[Reason]):
    """Each product's statistics; the event axes of normal latents; the powers that positive latents enter with."""
    matched, events, votes = [], {}, {}
    for site, c, factors in products:
        opaque = [f for f in factors if f.atom.kind == "opaque"]
        if opaque:
            for f in opaque:
                names = ", ".join(sorted(a.name for a in f.atom.reads))
                blocked.append(
                    Reason(site, f"{f.atom.name} of {names} has no closed-form expectation", "", f.atom.name)
                )
            continue
        by_latent: dict[Atom, list[Factor]] = {}
        for f in factors:
            if f.atom.kind == "latent":
                by_latent.setdefault(f.atom, []).append(f)
        operands, fine = [], True
        for atom, own in by_latent.items():
            o = _statistic(atom, own)
            if isinstance(o, str):
                blocked.append(Reason(site, o, "", show([(1.0, tuple(own))])))
                fine = False
                continue
            operands.append(o)
        if not fine:
            continue
        for (o, p), atom in zip(operands, by_latent, strict=True):
            if o.statistic == "xx":
                n = len(o.labels) // 2
                events.setdefault(atom, set()).update(i for i in range(n) if o.labels[i] is not o.labels[n + i])
            if p is not None:
                votes.setdefault(atom, {}).setdefault(p, []).append(site != atom.name)
        matched.append((site, c, tuple(operands), tuple(f for f in factors if f.atom.kind in ("data", "index"))))
    # Where two powers clash, the one that the likelihood needs stays.
    powers = {a: max(v, key=lambda p: (sum(v[p]), len(v[p]), p == 1)) for a, v in votes.items()}
    return matched, events, powers


def _statistic(atom: Atom, factors: list[Factor]) -> tuple[Operand, Any] | str:
    """The statistic that one latent's factors in a product are, or why they are none."""
    fns, labels = [f.fn for f in factors], factors[0].labels
    name = atom.name
    text = show([(1.0, tuple(factors))])
    if atom.support == "real":
        if fns == [1]:
            return Operand(name, "x", labels), None
        if fns == [2]:
            return Operand(name, "xx", labels + labels), None
        if fns == [1, 1]:
            return Operand(name, "xx", labels + factors[1].labels), None
        return f"{text} is neither linear nor quadratic in {name}"
    if len(factors) > 1:
        return f"{text}: {len(factors)} functions of {name} in one product, of different elements or of no family"
    (fn,) = fns
    known = {"positive": ("log",), "unit": ("log", "log1m"), "simplex": ("log",), "integer": ("is",)}.get(
        atom.support, ()
    )
    if fn in known:
        return Operand(name, fn, labels), None
    if atom.support == "positive" and not isinstance(fn, str):
        return Operand(name, "power", labels), fn
    if atom.support == "matrix" and fn in (1, "inverse"):
        return Operand(name, "power", labels), 1 if fn == 1 else -1
    if atom.support == "matrix" and fn == "logdet":
        return Operand(name, "logdet", labels), None
    kind = {"unit": "a beta", "simplex": "a Dirichlet", "integer": "categories"}.get(atom.support, "its family")
    return f"{text} is no statistic of {kind}, which {name} would be"


def _family(atom: Atom, event: set[int], power: Any) -> Any:
    if atom.support == "real":
        return Normals(tuple(sorted(event)))
    if atom.support == "positive":
        return PowerGammas(1 if power is None else power)
    if atom.support == "matrix":
        return Wisharts(1 if power is None else power)
    return {"unit": Betas, "simplex": Dirichlets, "integer": Categories}.get(atom.support, lambda: None)()


def _with_event(o: Operand, block: Block) -> Operand:
    """The labels of second moments: those of the latent, and the event axes once more."""
    if o.statistic != "xx":
        return o
    n = len(o.labels) // 2
    return Operand(o.block, "xx", (*o.labels[:n], *(o.labels[n + i] for i in block.family.event)))
