"""Which latents have closed-form updates: the products of a model, matched against the exponential families.

    recorded model --rewrite--> products --recognize--> blocks, and a Reason for whatever blocks

A product of functions of single latents is matched latent by latent: its factors of one latent must be one
statistic of one family. Where two factors of a normal latent run along different labels, the axes are its event
axes (a full covariance); the others are a batch. What does not match blocks the product that it stands in, and
no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..array import Recorded, Tape
from ..distributions import constraints
from ..errors import ConjugacyError, Reason
from ..graph import RecordedModel, Recorder, latent_input, record_model
from ..model import Site
from .algebra import Algebra, Atom, Factor, Label, show
from .blocks import Block, Joint, Operand, Product
from .families import Betas, Categories, Dirichlets, NormalGammas, Normals, NormalWisharts, PowerGammas, Wisharts
from .rules import rewritten
from .structure import Structure, find, shared, stacked

MISSING = "entries of an observation that are missing"


@dataclass(frozen=True)
class Recognized:
    """The log joint as products of statistics, and what blocks closed forms.

    `free` are the latents whose functions are of no family. In products these are tables over `draws` of them:
    operands whose block is no block, of the functions `free_factors`.
    """

    blocks: dict[str, Block]
    products: tuple[Product, ...]
    blocked: tuple[Reason, ...]
    recorded: RecordedModel = field(repr=False)
    free: tuple[str, ...] = ()
    draws: Label | None = None
    free_factors: tuple[tuple[Atom, Any], ...] = ()
    apart: tuple[Reason, ...] = ()  # why sites that depend on each other are no structured block

    @staticmethod
    def free_name(atom: Atom, fn: Any) -> tuple[str, str]:
        """What a function of a free latent is called among the mean parameters."""
        return f"{atom.name} (free {atom.number})", str(fn)

    @property
    def whole(self) -> bool:
        return not self.blocked


def record(
    model: Callable, args: tuple, kwargs: Mapping[str, Any], plate_sizes: Mapping[str, int] | None = None, starts=None
) -> RecordedModel:
    """Record the model alone, each latent an input of its own."""
    return record_model(model, args, kwargs, Recorder(Tape(), latent_input, plate_sizes=plate_sizes, starts=starts))


def recognize(
    recorded: RecordedModel,
    draws: int = 64,
    blocks: Sequence[tuple[str, ...]] = (),
    points: Collection[str] = (),
    by_element: bool = False,
) -> Recognized:
    """Match a recorded model against the families; `draws` are for what is left free.

    `blocks` are sites that are to be one block each: a location and its precision, or several normals; a site
    alone is by itself also where it would be in a chain. `points` are in no chain. Products are summed over the
    axes of their site's log density, unless they are wanted `by_element`, without chains then.
    """
    algebra, roots = Algebra(), {}
    sites: dict[str, tuple[Atom, Any]] = {}
    blocked: list[Reason] = []
    for s in recorded.of_kind(observed=False):
        support, categories = _support(s.fn.support, s)
        if "part_of" in s.options or "gaps" in s.options:
            blocked.append(Reason(s.name, MISSING, "rows without gaps, or another algorithm"))
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
    batches: dict[str, tuple[Label, ...]] = {}
    if roots:
        for s, poly in zip(random, rewritten(algebra, roots, outputs), strict=True):
            whole = poly if by_element else algebra.total(poly, range(len(poly.axes)))
            products += [(s.name, c * s.plate_scale, fs) for c, fs in whole.terms]
            batches[s.name] = whole.axes
    free: dict[Atom, None] = {}
    asked = [b for b in blocks if len(b) > 1 and _all_real(sites, b)]
    joint = _pairs(sites, [b for b in blocks if len(b) > 1 and b not in asked])
    alone = {n for b in blocks if len(b) == 1 for n in b} | set(points) | {a.name for a in joint}
    able = {n: _block(n, atom, s, {}, {}) for n, (atom, s) in sites.items() if isinstance(s, Site) and n not in alone}
    structure = find(algebra, products, {} if by_element else able, () if by_element else asked)
    while True:
        matched, events, powers, more = _match(products, free, blocked, joint, structure)
        if not more:
            break
        free.update(dict.fromkeys(more))
        structure.without(more)
    for x, y in dict.fromkeys(joint.values()):
        if x in free or y in free:
            raise ConjugacyError(
                f"a block of ({x.name}, {y.name}) where some term has no closed form: {blocked[0]}",
                "products of statistics of the block",
                "no blocks= for them",
                site=x.name,
            )
    made = {n: _block(n, atom, s, events, powers) for n, (atom, s) in sites.items() if atom not in free}
    blocks = _joined(made, joint, structure)
    axis = Label(draws)
    found, functions = [], {}
    for site, c, operands, factors, read in matched:
        own = [f for f in factors if f.atom in free or f.atom.kind == "opaque"]
        functions.update(dict.fromkeys((f.atom, f.fn) for f in own))
        data = tuple(f for f in factors if f.atom.kind in ("data", "index"))
        tables = [Operand(*Recognized.free_name(f.atom, f.fn), (axis, *f.labels)) for f in own]
        fixed = [_with_event(o, blocks[o.block]) for o in operands]
        c = c / draws if own else c
        found.append((Product(site, c, (*read.operands, *fixed, *tables), data, batches[site]), read))
    products, chains = shared(stacked(algebra, found), structure.chains)
    blocks.update({c.name: c for c in chains})
    names = tuple(n for n, (atom, _) in sites.items() if atom in free)
    reasons = tuple(dict.fromkeys(blocked))
    apart = tuple(dict.fromkeys(structure.reasons))
    return Recognized(blocks, tuple(products), reasons, recorded, names, axis, tuple(functions), apart)


def _block(name: str, atom: Atom, s: Any, events: Mapping, powers: Mapping) -> Block:
    family = _family(atom, events.get(atom, set()), powers.get(atom))
    if not isinstance(s, Site):
        return Block(name, atom, family, s.node.shape, s.node.ndim, (), 1.0, True)
    kind = ""
    if atom.support == "integer":
        one_hot = _support(s.fn.support, s)[0] == "one-hot"
        kind = "boolean" if s.fn.support == constraints.boolean else "one-hot" if one_hot else "integer"
    return Block(name, atom, family, s.fn.shape(), s.fn.event_dim, s.plates, s.plate_scale / s.scale, False, kind)


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


def _pairs(sites: Mapping[str, tuple[Atom, Any]], blocks: Sequence[tuple[str, str]]) -> dict[Atom, tuple[Atom, Atom]]:
    """For each latent of a block that is asked for, the location and the precision."""
    out: dict[Atom, tuple[Atom, Atom]] = {}
    for names in blocks:
        atoms = [sites[n][0] for n in names if n in sites]
        kinds = [a.support for a in atoms]
        if len(names) != 2 or kinds not in (["real", "positive"], ["real", "matrix"]):
            raise ConjugacyError(
                f"a block of {names}",
                "a real site and the positive site or matrix that is its precision, in this order; or normal sites",
                'blocks=[("mu", "tau")]',
            )
        out.update(dict.fromkeys(atoms, (atoms[0], atoms[1])))
    return out


def _all_real(sites: Mapping[str, tuple[Atom, Any]], names: Sequence[str]) -> bool:
    return all(n in sites and sites[n][0].support == "real" for n in names)


def _joined(blocks: dict[str, Block], joint: Mapping[Atom, tuple[Atom, Atom]], structure: Structure) -> dict[str, Any]:
    """The blocks with pairs and chains in the place of their members."""
    out: dict[str, Any] = {}
    for n, b in blocks.items():
        if b.atom in structure.of:
            chain, _ = structure.of[b.atom]
            out[chain.name] = chain
            continue
        if b.atom not in joint:
            out[n] = b
            continue
        x, y = (blocks[a.name] for a in joint[b.atom])
        name = f"{x.name}, {y.name}"
        if y.atom.support == "matrix":
            out[name] = Joint(name, x, y, NormalWisharts())
            continue
        apart = len(x.axes) - len(y.axes)  # event axes: those that x has, and y has not
        event = tuple(range(len(x.axes) - apart, len(x.axes))) if apart > 0 else ()
        out[name] = Joint(name, x, y, NormalGammas(event))
    return out


def _joint_statistic(x: Atom, y: Atom, factors: Sequence[Factor]) -> Operand | str:
    """The statistic of a pair that its factors in a product are, or why they are none."""
    of_x = [f for f in factors if f.atom is x]
    of_y = [f for f in factors if f.atom is y]
    name, text = f"{x.name}, {y.name}", show([(1.0, tuple(factors))])
    why = f"{text} is no statistic of the block ({name}): a normal whose precision is {y.name}"
    logs = {"log", "logdet"}
    if not of_x and len(of_y) == 1 and of_y[0].fn in logs:
        return Operand(name, of_y[0].fn, of_y[0].labels)
    if len(of_y) != 1 or of_y[0].fn != 1 or sum(f.fn if f.fn in (1, 2) else 3 for f in of_x) > 2:
        return why
    own = of_y[0].labels
    if not of_x:
        return Operand(name, "power" if y.support == "matrix" else "y", own)
    labels = [f.labels for f in of_x for _ in range(f.fn)]
    if y.support == "matrix":
        i, j = own[-2:]
        ends = [q[-1] for q in labels]
        if any(q[:-1] != own[:-2] for q in labels) or not set(ends) <= {i, j} or len(set(ends)) < len(ends):
            return why
        if len(labels) == 2:
            return Operand(name, "yxx", own[:-2])
        return Operand(name, "yx", (*own[:-2], j if ends[0] is i else i))
    if any(q[: len(own)] != own for q in labels):
        return why
    if len(labels) == 1:
        return Operand(name, "yx", labels[0])
    return Operand(name, "yxx", (*labels[0], *labels[1][len(own) :]))


def _match(
    products: Sequence[tuple],
    free: Mapping[Atom, None],
    blocked: list[Reason],
    joint: Mapping[Atom, tuple[Atom, Atom]],
    structure: Structure,
) -> tuple:
    """Each product's statistics, the event axes of normal latents, the powers of positive ones, and what is free.

    Latents of `free` are not matched; those that fit no family are found here, with the reason.
    """
    matched, events, votes, more = [], {}, {}, {}
    for site, c, factors in products:
        for f in factors:
            if f.atom.kind == "opaque" and not f.atom.reads <= set(free):
                names = ", ".join(sorted(a.name for a in f.atom.reads))
                blocked.append(
                    Reason(site, f"{f.atom.name} of {names} has no closed-form expectation", "", f.atom.name)
                )
                more.update(dict.fromkeys(sorted(f.atom.reads - set(free), key=lambda a: a.number)))
        by_latent: dict[Atom, list[Factor]] = {}
        for f in factors:
            if f.atom.kind == "latent" and f.atom not in free and f.atom not in joint and f.atom not in structure.of:
                by_latent.setdefault(f.atom, []).append(f)
        operands = []
        for x, y in dict.fromkeys(joint[f.atom] for f in factors if f.atom in joint):
            o = _joint_statistic(x, y, [f for f in factors if f.atom in (x, y)])
            if isinstance(o, str):
                raise ConjugacyError(
                    f"site '{site}': {o}",
                    "a prior of the location that scales with its precision",
                    "dist.Normal(m, 1 / np.sqrt(k * tau)), or no blocks=",
                    site=site,
                )
            operands.append(o)
        for atom, own in by_latent.items():
            o = _statistic(atom, own)
            if isinstance(o, str):
                blocked.append(Reason(site, o, "", show([(1.0, tuple(own))])))
                more[atom] = None
                continue
            operands.append(o[0])
            if o[0].statistic == "xx":
                n = len(o[0].labels) // 2
                events.setdefault(atom, set()).update(i for i in range(n) if o[0].labels[i] is not o[0].labels[n + i])
            if o[1] is not None:
                votes.setdefault(atom, {}).setdefault(o[1], []).append(site)
        read = structure.read(factors)
        matched.append((site, c, tuple(operands), read.rest, read))
    for atom, powers in votes.items():
        if len(powers) > 1:
            best = max(powers, key=lambda p: (sum(s != atom.name for s in powers[p]), len(powers[p]), p == 1))
            for p, sites in powers.items():
                if p != best:
                    why = f"{atom.name}^{p:g} here, and {atom.name}^{best:g} elsewhere: no family has both"
                    blocked.append(
                        Reason(sites[0], why, "a prior of the power that the likelihood has", f"{atom.name}^{p:g}")
                    )
            more[atom] = None
    return matched, events, {a: next(iter(v)) for a, v in votes.items()}, more


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
    if o.statistic != "xx" or isinstance(block, Joint):
        return o
    n = len(o.labels) // 2
    return Operand(o.block, "xx", (*o.labels[:n], *(o.labels[n + i] for i in block.family.event)))
