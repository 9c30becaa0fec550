"""Which finite sites are summed out of the model, and what the bound is then.

    problem --decide--> Decision(summed out, sampled, why)
    derivation whose finite sites are inputs --sum_out--> Derivation without them, and how to draw them

The densities that read such sites are recorded at all their states (`spread.py`) and added up over them
(`elimination.py`); each group of sites that are read together becomes one term, log sum p(...) p(...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..array import Program, Ref, Tape, batch, compile_program, program_of, prune, pull_through, reachable, replay, roll
from ..distributions.base import Independent, MaskedDistribution
from ..errors import GuideError, PPLError, Reason
from ..model import PlateFrame, Site
from ..model.missing import MissingEntries
from ..model.scanned import ScannedDistribution
from .elimination import Elimination, Entangled, Table, Total
from .estimators import enumerated as words
from .spread import MOST_STATES, Finite, Mixed, Spread, TooMany, spread

LONG = 150  # steps of a program from which it is rolled up


@dataclass(frozen=True)
class Decision:
    """The finite sites of a model: those to sum out, each with the axes along which states are joint, and why."""

    joint: Mapping[str, frozenset[int]] = field(default_factory=dict)
    reasons: Mapping[str, Reason] = field(default_factory=dict)  # of these, and of those that are sampled


@dataclass(frozen=True)
class Density:
    """One log density of the model: an output of a program, with what it counts."""

    site: str
    output: Any
    scale: float
    plates: tuple[PlateFrame, ...]


class NotSummable(Exception):
    """Some sites cannot be summed out, and why."""

    def __init__(self, names: Sequence[str], why: str):
        super().__init__(names, why)
        self.names, self.why = tuple(names), why


@dataclass(frozen=True)
class Sum:
    """A group of densities with their common sites summed out, per element of the plates."""

    value: Any
    scale: float
    plates: tuple[PlateFrame, ...]
    densities: tuple[int, ...]  # by number, of those that read finite sites
    sites: tuple[str, ...]


# -- finite sites -------------------------------------------------------------------------------------
def finite_site(site: Site, joint: frozenset[int] = frozenset()) -> Finite | str:
    """A site's states, or why they are not known; `joint` are batch axes along which elements have joint states."""
    d = site.fn.whole if isinstance(site.fn, MissingEntries) else site.fn
    while isinstance(d, Independent | MaskedDistribution | ScannedDistribution):
        d = d.base_dist
    if not (d.is_discrete and d.has("enumerate_support")):
        return words.STATES.format(family=type(d).__name__)
    try:
        values = np.asarray(d._enumerate())
    except PPLError as error:
        return words.STATES.format(family=error.got)
    shape, ndim, own = site.fn.shape(), len(site.fn.shape()), values.ndim - 1
    batch_ndim = len(site.fn.batch_shape)
    parallel = tuple(i - ndim for i in range(batch_ndim) if shape[i] > 1 and i - ndim not in joint)
    rest = [n if i - ndim not in parallel else 1 for i, n in enumerate(shape[: ndim - own])]
    elements = prod(rest)
    if len(values) ** min(elements, 64) > MOST_STATES:
        return f"{len(values)}^{elements} joint states"
    numbers = np.indices((len(values),) * elements).reshape(elements, -1).T if elements != 1 else None
    states = values if numbers is None else values[numbers]
    states = states.reshape((-1, *rest, *values.shape[1:]))
    time = -ndim if isinstance(site.fn, ScannedDistribution) and -ndim in parallel else None
    return Finite(site.name, shape, states, parallel, ndim - batch_ndim, time)


def missing_density(site: Site) -> Any:
    """log p of entries of which any may be missing: 0; and one state alone, the first, where nothing is missing."""
    d = site.fn.whole.core
    first, missing = np.asarray(d._enumerate())[0], site.options["gaps"].missing
    return np.where(missing, 0.0, np.where(site.value == first, 0.0, -np.inf))


def of_masked(site: Site) -> Any:
    """What a site's log density lacks where it is masked, for its states to add up to one there."""

    def lacks(d: Any) -> Any:
        if isinstance(d, MaskedDistribution):
            elements = prod(d.event_shape) // prod(core.event_shape)
            return np.where(d.parameters["mask"], lacks(d.base_dist), -elements * np.log(count))
        if isinstance(d, Independent):
            return np.sum(lacks(d.base_dist), axis=tuple(range(-d.reinterpreted_batch_ndims, 0)))
        return np.zeros(d.batch_shape)

    core, masked = site.fn, False
    while isinstance(core, Independent | MaskedDistribution):
        masked = masked or isinstance(core, MaskedDistribution)
        core = core.base_dist
    count = len(np.asarray(core._enumerate())) if masked else 1
    return lacks(site.fn) if masked else 0.0


# -- sums ----------------------------------------------------------------------------------------------
def sums(
    program: Program, inputs: Sequence[Any], finite: Mapping[int, Finite], densities: Sequence[Density]
) -> tuple[list[Sum], list[Table], list[Density], dict[int, int]]:
    """Densities that read finite inputs, summed over their states; the tables that were summed, of which
    densities, and which site a loop's begins with.

    Raises `Mixed`, `TooMany`, `Entangled` and `NotSummable`.
    """
    sites = list(finite.values())
    found, starts = spread(program, inputs, finite, [x.output for x in densities])
    tables, read = [], []
    for x, own in zip(found, densities, strict=True):
        if type(x) is not Spread:
            continue
        for label, places in x.axes.items():
            site = sites[label.site]
            for j, (a, b, n) in enumerate(zip(places, site.dims, site.parallel, strict=True)):
                if a != b or x.shape[a] != site.shape[n]:
                    raise Mixed(label.site, j, own.site)
        scaled = x.x if own.scale == 1.0 else x.x * own.scale
        tables.append(Table(scaled, x.labels, x.shape))
        read.append(own)
    totals = Elimination(sites, starts).run(tables)
    return [_sum(t, sites, tables, read) for t in totals], tables, read, starts


def _sum(total: Total, sites: Sequence[Finite], tables: Sequence[Table], read: Sequence[Density]) -> Sum:
    numbers = sorted(total.tables)
    labels = {label for i in total.tables for label in tables[i].labels}
    plates: dict[int, PlateFrame] = {}
    for i in numbers:
        for plate in read[i].plates:
            if plate.dim in total.dims:
                plates[plate.dim] = plate
            elif plate.subsampled:
                names = {sites[x.site].name for x in labels if plate.dim not in sites[x.site].dims}
                raise NotSummable(sorted(names), words.MINIBATCH.format(plate=plate.name))
    names = tuple(sites[number].name for number in sorted({x.site for x in labels}))
    scale = float(np.prod([p.scale for p in plates.values()]))
    kept = tuple(plates[d] for d in sorted(plates, reverse=True))
    return Sum(total.x, scale, kept, tuple(numbers), names)


def _fresh(program: Program, without: Mapping[int, Any] = {}) -> tuple[Tape, list]:
    """A tape with the inputs of a program, but those that are given."""
    tape = Tape(dtype=program.dtype)
    return tape, [
        without[i] if i in without else tape.input(np.broadcast_to(np.zeros((), x.dtype), x.shape), x.name)
        for i, x in enumerate(program.inputs)
    ]


# -- deciding -----------------------------------------------------------------------------------------------
def decide(
    candidates: Sequence[Site],
    program: Program,
    inputs: Mapping[str, int],
    densities: Sequence[Density],
    barred: Mapping[str, str],
) -> Decision:
    """Which of the finite latent sites are summed out: all that can be, within the budget.

    `program` has the densities of the whole model, with its latent sites as inputs; `barred` says why some
    are not even tried.
    """
    sites = {s.name: s for s in candidates}
    asked = {n for n, s in sites.items() if s.estimator == "enumerate"}
    joint: dict[str, frozenset[int]] = {}
    refused: dict[str, str] = {}
    for name, site in sites.items():
        if name in barred:
            refused[name] = barred[name]
        elif isinstance(found := finite_site(site), str):
            refused[name] = found
        else:
            joint[name] = frozenset()
    plain = max(prune(program, tuple(x.output for x in densities)).work, 1)
    reasons: dict[str, Reason] = {}
    while joint:
        finite = {inputs[n]: finite_site(sites[n], axes) for n, axes in joint.items()}
        own = list(finite.values())
        wider: tuple[int, Sequence[int], str] | None = None
        try:
            tape, fresh = _fresh(program, dict.fromkeys(finite))
            found, tables, *_ = sums(program, fresh, finite, densities)
        except Mixed as e:
            wider = e.site, (own[e.site].parallel[e.axis],), e.where
        except TooMany as e:
            names = [own[i].name for i in sorted(e.sites)]
            for n in names:
                refused[n] = words.TOGETHER.format(others=listed([m for m in names if m != n]), states=e.states)
                del joint[n]
            continue
        except Entangled as e:
            smallest = min(e.sites, key=lambda i: prod(own[i].shape))
            wider = smallest, own[smallest].parallel, ""
        except NotSummable as e:
            for n in e.names:
                refused[n] = e.why
                del joint[n]
            continue
        if wider is not None:
            number, axes, where = wider
            name = own[number].name
            more = joint[name] | frozenset(axes)
            if isinstance(finite_site(sites[name], more), str):
                elements = prod(own[number].shape[a] for a in own[number].parallel)
                meeting = words.MEETING.format(where=where, count=own[number].size, elements=elements)
                refused[name] = meeting if where else words.ENTANGLED
                del joint[name]
            else:
                joint[name] = more
            continue
        cost = program_of(tape, [x.value for x in found]).work
        limit = max(words.BUDGET, words.RATIO * plain)
        if cost > limit:
            largest = max(tables, key=lambda t: np.size(t.x))
            dear = [own[label.site].name for label in largest.labels]
            free = [n for n in dear if n not in asked]
            if free or cost > words.LIMIT:
                n = (free or dear)[-1]
                refused[n] = words.COSTLY.format(cost=cost, limit=limit)
                del joint[n]
                continue
        for n in joint:
            why = words.WHY.format(states=_states(finite[inputs[n]]), cost=cost, plain=plain)
            reasons[n] = Reason(n, f"{words.ASKED}; {why}" if n in asked else why)
        break
    for n, why in refused.items():
        if n in asked:
            hint = "estimator='score', or without estimator="
            raise GuideError(f"estimator='enumerate' where {why}", "a finite site that can be summed out", hint, site=n)
        reasons[n] = Reason(n, why)
    return Decision(joint, reasons)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names, of many the first few and how many more there are."""
    shown = ", ".join(names if len(names) <= most else names[: most // 2])
    return shown if len(names) <= most else f"{shown} and {len(names) - most // 2} more"


def _states(site: Finite) -> str:
    elements = prod(site.shape[a] for a in site.parallel)
    return f"{site.size} states" + (f" of each of {elements} elements" if elements > 1 else "")


# -- the bound without them -----------------------------------------------------------------------------------
def sum_out(d: Any, finite: Mapping[int, Finite], reasons: Mapping[str, Reason]) -> Any:
    """A derivation whose finite sites are inputs, without them: their sums as terms, and how to draw them."""
    program = d.program
    reads = reachable(program, set(finite))
    own_terms = [t for t in d.terms if _reads(program.outputs[t.output], reads)]
    densities = [Density(t.site, program.outputs[t.output], _own_scale(t.scale, t.plates), t.plates) for t in own_terms]
    tape, fresh = _fresh(program, dict.fromkeys(finite))
    found, tables, read, starts = sums(program, fresh, finite, densities)
    # What else reads such a site is no part of the bound: at some state here, at the drawn one in `States`.
    some = [np.broadcast_to(finite[i].states[0], finite[i].shape) if i in finite else x for i, x in enumerate(fresh)]
    replaced = {t.output for t in own_terms}
    outputs = list(replay(_only(program, replaced), *some))
    first: dict[int, Any] = {}
    for s in found:
        outputs.append(s.value)
        inside = [own_terms[i] for i in s.densities]
        first[inside[0].output] = replace(
            inside[0],
            kind="log sum",
            text=_in_words(s.sites, [t.text for t in inside]),
            scale=s.scale,
            plates=s.plates,
            output=len(outputs) - 1,
            summed=s.sites,
        )
    terms = [first.get(t.output) if t.output in replaced else t for t in d.terms]
    number = {i: k for k, i in enumerate(i for i in range(len(program.inputs)) if i not in finite)}
    drawn = {n: i for n, i in d.deterministic_outputs.items() if _reads(program.outputs[i], reads)}
    drawn |= {n: i for n, i in d.site_outputs.items() if _reads(program.outputs[i], reads)}
    tables_program = _rolled(program_of(tape, [t.x for t in tables]))
    names = tuple(program.inputs[i].name for i in finite)
    states = States(
        tuple(finite.values()),
        starts,
        tables_program,
        tuple((t.labels, t.shape) for t in tables),
        {n: next(i for i, x in enumerate(read) if x.site == n) for n in names},
        prune(program, tuple(program.outputs[i] for i in drawn.values())),
        tuple(drawn),
        frozenset(d.deterministic_outputs).intersection(drawn),
        tuple(number.get(i) for i in range(len(program.inputs))),
        tuple(finite),
        {n: reasons[n] for n in names},
    )
    return replace(
        d,
        program=_rolled(program_of(tape, outputs)),
        terms=tuple(t for t in terms if t is not None),
        factors=tuple(replace(f, noise_input=number[f.noise_input]) for f in d.factors),
        parameter_inputs={n: number[i] for n, i in d.parameter_inputs.items()},
        index_inputs={n: number[i] for n, i in d.index_inputs.items()},
        deterministic_outputs={n: i for n, i in d.deterministic_outputs.items() if n not in drawn},
        site_outputs={n: i for n, i in d.site_outputs.items() if n not in drawn},
        examples=tuple(x for i, x in enumerate(d.examples) if i not in finite),
        states=states,
    )


def _rolled(program: Program) -> Program:
    """A long program, as of sites in a loop of Python, with its alike steps in one."""
    return roll(program) if len(program.steps) >= LONG else program


def _own_scale(scale: float, plates: Sequence[PlateFrame]) -> float:
    """What a term counts, its plates apart."""
    own = scale / float(np.prod([p.scale for p in plates]))
    return 1.0 if abs(own - 1.0) < 1e-12 else own


def _reads(output: Any, found: set[int]) -> bool:
    return type(output) is Ref and output.index in found


def _only(program: Program, replaced: set[int]) -> Program:
    """The program with 0 in the place of some of its outputs, and no step for these alone."""
    return prune(program, tuple(0.0 if i in replaced else x for i, x in enumerate(program.outputs)))


def _in_words(sites: Sequence[str], texts: Sequence[str]) -> str:
    """E[log sum over z of p(z) p(y | z)]"""
    inner = [t.removeprefix("E[").removesuffix("]") for t in texts]
    parts = [t.removeprefix("log ") if t.startswith("log ") else f"exp({t})" for t in inner]
    if len(parts) > 5:
        parts = [*parts[:3], "...", parts[-1]]
    names = sites if len(sites) <= 4 else (*sites[:2], "...", sites[-1])
    return f"E[log sum over {', '.join(names)} of {' '.join(parts)}]"


# -- draws ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class States:
    """The finite sites that were summed out of a derivation, given a draw of everything else.

    `tables` has the inputs of the derivation's program; `given` those of the program with the finite sites'
    values among its inputs (`inputs` says which one is which), and everything that reads them as outputs.
    """

    sites: tuple[Finite, ...]
    starts: Mapping[int, int]  # which site or state a loop's begins with
    tables: Program
    forms: tuple[tuple[tuple, tuple[int, ...]], ...]  # labels and shape of every table
    own: Mapping[str, int]  # the table of a site's own density
    given: Program
    outputs: tuple[str, ...]
    computed: frozenset[str]  # those of the outputs that are no latent sites
    inputs: tuple[int | None, ...]
    places: tuple[int, ...]
    reasons: Mapping[str, Reason]

    @property
    def names(self) -> tuple[str, ...]:
        """Sites and deterministics that are drawn here."""
        return (*(s.name for s in self.sites), *self.outputs)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a site or deterministic."""
        known = {s.name: s.shape for s in self.sites}
        if name in known:
            return known[name]
        x = self.given.outputs[self.outputs.index(name)]
        return self.given.signature(x)[0] if type(x) is Ref else np.shape(x)

    @property
    def work(self) -> int:
        """Counted cost of the tables of a draw."""
        return self.tables.work + self.given.work

    @property
    def size(self) -> int:
        """How many numbers a draw needs at once, about: the tables, and products of matrices of as many again."""
        return 4 * sum(map(_size_in(self.tables), self.tables.outputs)) + sum(prod(s.shape) for s in self.sites)

    @cached_property
    def _made(self) -> dict:
        return {}

    def draw(
        self, inputs: Sequence[Any], flags: Sequence[bool], count: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Joint draws of the sites, and of what reads them: one for each of the draws that the inputs have."""
        key = "draw", tuple(flags), count
        if key not in self._made:
            own = [True if k is None else flags[k] for k in self.inputs]
            self._made[key] = (
                compile_program(batch(self.tables, flags, count)),
                compile_program(batch(self.given, own, count)),
            )
        tables, given = self._made[key]
        elimination = Elimination(self.sites, self.starts, lead=1)
        with np.errstate(all="ignore"):
            found = tables(*inputs)
            elimination.run([Table(np.asarray(x), *form) for x, form in zip(found, self.forms, strict=True)])
            states = elimination.sample(rng)
            values = [_values(s, states[label]) for s, label in zip(self.sites, sorted(_present(states)), strict=True)]
            out = dict(zip((s.name for s in self.sites), values, strict=True))
            by_place = dict(zip(self.places, values, strict=True))
            placed = [by_place[i] if k is None else inputs[k] for i, k in enumerate(self.inputs)]
            out |= dict(zip(self.outputs, map(np.asarray, given(*placed)), strict=True))
        return out

    def probabilities(self, name: str, inputs: Sequence[Any], flags: Sequence[bool], count: int) -> np.ndarray:
        """P(state | the rest) of a site at every draw: (draws, states, *its parallel axes, others of length 1)."""
        i = self.own[name]
        labels, shape = self.forms[i]
        number = [s.name for s in self.sites].index(name)
        key = "probabilities", name, tuple(flags), count
        if key not in self._made:
            tape, fresh = _fresh(self.tables)
            found = list(replay(self.tables, *fresh))
            sizes = tuple(self.sites[label.site].size for label in labels)
            moved = tape.input(np.zeros((*sizes, *shape)), "moved")
            found[i] = found[i] + moved
            totals = Elimination(self.sites, self.starts).run(
                [Table(x, *form) for x, form in zip(found, self.forms, strict=True)]
            )
            whole = 0.0
            for t in totals:
                whole = whole + np.sum(t.x)
            (slope,) = pull_through(tape, whole, [moved])
            program = program_of(tape, [slope])
            self._made[key] = compile_program(batch(program, [*flags, False], count))
        sizes = tuple(self.sites[label.site].size for label in labels)
        with np.errstate(all="ignore"):
            slope = np.asarray(self._made[key](*inputs, np.zeros((*sizes, *shape)))[0])
        mine = next(k for k, label in enumerate(labels) if label.site == number and not label.lag)
        slope = slope.sum(tuple(1 + k for k in range(len(labels)) if k != mine))
        # Along axes where states are joint every row of the site's density has them all.
        dims = self.sites[number].dims
        rows = (slice(None) if i - len(shape) in dims else slice(0, 1) for i in range(len(shape)))
        return slope[(slice(None), slice(None), *rows)]


def _size_in(program: Program) -> Callable[[Any], int]:
    return lambda x: prod(program.signature(x)[0]) if type(x) is Ref else np.size(x)


def _present(states: Mapping) -> list:
    return [label for label in states if not label.lag]


def _values(site: Finite, numbers: np.ndarray) -> np.ndarray:
    """Values of a site, (draws, *shape), by the numbers of its states."""
    ndim = len(site.shape)
    own = [1] * ndim
    for a, d in zip(site.parallel, site.dims, strict=True):
        own[a] = numbers.shape[d]
    numbers = numbers.reshape((len(numbers), *own))
    grid: list[Any] = [numbers]
    for axis, n in enumerate(site.shape):
        if axis - ndim in site.parallel:
            grid.append(0)
        else:
            grid.append(np.arange(n).reshape([-1 if k == axis else 1 for k in range(ndim)]))
    return np.broadcast_to(site.states[tuple(grid)], (len(numbers), *site.shape))
