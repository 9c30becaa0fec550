"""The ELBO of a model and a guide, as a list of terms on one program.

    ELBO = sum of E[log p(site | parents)] + sum of E[-log q(site)]

where the two terms of a site become -KL(q || p) if its closed form is known, and -log q the
entropy. Each term has its plates' scale; what it depends on is read off the program.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..array import Program, Recorded, Ref, Tape, is_recorded, paused_collector, program_of
from ..array.operations import draw_of
from ..array.recording import parents as parents_of
from ..distributions import biject_to, constraints
from ..distributions.divergence import has_kl, kl_divergence
from ..errors import DataError, ModelError
from ..graph import (
    ModelGraph,
    Parameter,
    RecordedModel,
    Recorder,
    dependencies,
    float32_in,
    latent_input,
    model_graph,
    own_argument,
    record_model,
    recorded_in,
    union,
)
from ..guides import PRIOR, Assembly, Factor, Joint, unconstrained_shape
from ..model import PlateFrame, Site, rows_in_use, rows_key
from ..model.scanned import ScannedDistribution
from .enumeration import Decision, Density, States, decide, finite_site, sum_out
from .estimators import ESTIMATORS, Estimator, enumerated
from .expectations import integrated


@dataclass(frozen=True)
class Term:
    """One summand of the bound; its value per plate element is output `output` of the program."""

    kind: str  # "log p", "log sum", "KL", "entropy", "log Jacobian", "-log q"
    site: str
    text: str
    scale: float
    plates: tuple[PlateFrame, ...]
    output: int
    branches: int = 0  # how many of the branches taken came before this term's site
    where: str = ""  # the user's line of that site
    summed: tuple[str, ...] = ()  # finite sites that are summed out in it
    integrated: tuple[str, ...] = ()  # factors over whose noise its value is the expectation

    @property
    def exact(self) -> bool:
        """Is the expectation over its own site taken in closed form?"""
        return self.kind in ("KL", "entropy")


class Argument(NamedTuple):
    """An argument of a site's family that is computed, and must be inside its constraint."""

    family: str
    name: str
    constraint: Any
    output: int


@dataclass(frozen=True)
class FactorFacts:
    """What is left of a guide's factor once the program stands."""

    name: str
    sites: tuple[str, ...]
    family: str
    plates: tuple[PlateFrame, ...]
    reparameterized: bool
    noise_kind: str
    noise_shape: tuple[int, ...]
    noise_input: int
    draw_output: int
    log_q_output: int
    batch_ndim: int
    event_ndim: int
    estimator: str | None
    origin: str
    narrow: str = ""  # the support of the model's site, where the guide's is smaller
    data_outputs: tuple[int, ...] = ()  # observed values of sites in the same plates


@dataclass(frozen=True)
class Derivation:
    """The bound as a program: inputs are parameters, minibatch indices and noise."""

    program: Program
    terms: tuple[Term, ...]
    factors: tuple[FactorFacts, ...]
    parameters: dict[str, Parameter]
    parameter_inputs: dict[str, int]
    index_inputs: dict[str, int]
    plates: dict[str, PlateFrame]
    site_outputs: dict[str, int]
    deterministic_outputs: dict[str, int]
    guides: dict[str, tuple[tuple[int, ...], Any]]  # factor -> outputs with its parameters, and its rebuild
    transforms: dict[str, Any]  # site -> transform from the unconstrained axis, where the guide is one of these
    branches: tuple[int, ...]
    examples: tuple  # a value for every input, as it was when recorded
    arguments: dict[str, tuple[Argument, ...]]  # of the sites' families
    states: States | None = None  # the finite sites that are summed out
    networks: tuple[str, ...] = ()  # modules whose weights are learned
    updates: Mapping[str, int] = field(default_factory=dict)  # outputs with what states are after a step
    trains_apart: bool = False  # is it of a step of a fit, where the model is another one than elsewhere?

    @property
    def latent(self) -> tuple[str, ...]:
        """Every latent site, whether it has a guide or is summed out."""
        summed = () if self.states is None else self.states.names
        return (*self.site_outputs, *(n for n in summed if n not in self.computed))

    @property
    def computed(self) -> frozenset[str]:
        """Deterministics, and observations with missing entries."""
        return frozenset(self.deterministic_outputs).union(() if self.states is None else self.states.computed)

    @property
    def results(self) -> dict[str, None]:
        """Everything that a draw of the posterior has: latent sites and deterministics, in order."""
        summed = () if self.states is None else self.states.names
        return dict.fromkeys((*self.site_outputs, *self.deterministic_outputs, *summed))

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of one of the `results`."""
        outputs = {**self.site_outputs, **self.deterministic_outputs}
        if name not in outputs:
            return self.states.shape_of(name)
        x = self.program.outputs[outputs[name]]
        return self.program.signature(x)[0] if isinstance(x, Ref) else np.shape(x)

    def inputs(self, values: Mapping[str, Any], indices: Mapping[str, Any], noise: Mapping[str, Any]) -> list:
        """The program's inputs in order, from values by name."""
        out = self.placed(indices, noise)
        for name, i in self.parameter_inputs.items():
            out[i] = self.narrowed(self.rows_of(name, values[name], indices))
        return out

    @property
    def states_kept(self) -> tuple[str, ...]:
        """Names of what is kept from step to step and not learned (`ppl.state`)."""
        return tuple(n for n, x in self.parameters.items() if not x.learned)

    def other_inputs(self, indices: Mapping[str, Any], noise: Mapping[str, Any]) -> list:
        """The inputs that are no parameters, in order."""
        parameters = set(self.parameter_inputs.values())
        return [x for i, x in enumerate(self.placed(indices, noise)) if i not in parameters]

    def placed(self, indices: Mapping[str, Any], noise: Mapping[str, Any]) -> list:
        """The inputs in order, None for every parameter."""
        out: list[Any] = [None] * len(self.program.inputs)
        for name, i in self.index_inputs.items():
            out[i] = indices[name]
        for f in self.factors:
            out[f.noise_input] = self._narrowed_noise(noise[f.name], f.noise_kind)
        return out

    def _narrowed_noise(self, x: Any, kind: str) -> Any:
        """Noise in the working dtype; what lies strictly between 0 and 1 still does so when rounded."""
        found = self.narrowed(x)
        if kind != "uniform" or found is x:
            return found
        return np.clip(found, np.finfo(found.dtype).tiny, 1.0 - np.finfo(found.dtype).epsneg)

    def narrowed(self, x: Any) -> Any:
        """The array in the program's working dtype, if it is floating."""
        wide = self.program.dtype == np.float32 and getattr(x, "dtype", None) == np.float64
        return x.astype(np.float32) if wide else x

    def rows_of(self, name: str, value: Any, indices: Mapping[str, Any]) -> Any:
        """The rows in use of a parameter's full-size value; indices of several particles give theirs for each."""
        axes = self.parameters[name].rows
        several = [plate for _, plate in axes if np.ndim(indices[plate]) > 1]
        if not several:
            return rows_in_use(value, axes, indices)
        each = ({**indices, **{p: indices[p][k] for p in several}} for k in range(len(indices[several[0]])))
        return np.stack([rows_in_use(value, axes, own) for own in each])

    def all_rows(self, name: str, rows: np.ndarray, indices: Mapping[str, Any]) -> np.ndarray:
        """Zeros of the full size with these rows of every particle in their places."""
        axes, full = self.parameters[name].rows, self.parameters[name].init.shape
        if not axes:
            return rows
        out = np.zeros((len(rows), *full), rows.dtype)
        for k, own in enumerate(rows):
            of = {plate: indices[plate][k] if np.ndim(indices[plate]) > 1 else indices[plate] for _, plate in axes}
            out[k][rows_key(axes, of, full)] = own
        return out


@dataclass(frozen=True)
class Problem:
    """A model with its arguments, recorded once to know its graph."""

    model: Callable
    args: tuple
    kwargs: Mapping[str, Any]
    graph: ModelGraph
    shapes: dict[str, tuple[int, ...]]  # continuous latent sites on the unconstrained axis
    sites: dict[str, Site]
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float64))  # the working dtype
    shown: ModelGraph | None = None  # the user's own graph, where the model is fitted in another form
    form: Mapping[str, Any] = field(default_factory=dict)  # how centred the sites are that the engine rewrote
    decision: Decision = field(default_factory=Decision)  # which finite sites are summed out
    trains_apart: bool = False  # may the model be another one in a step of a fit?


@paused_collector()
def problem(
    model: Callable, args: tuple, kwargs: Mapping[str, Any], *, eager: bool = False, seed: int = 0, other: bool = False
) -> Problem:
    """Record the model by itself; what the user does with the arguments later changes nothing.

    `other`: on other data than those of the fit, which may be fewer than a minibatch without a word.
    """
    args, kwargs = own_argument(args), own_argument(dict(kwargs))
    free: set[str] = set()  # sites that no handler gives a value

    def latent(recorder: Recorder, site: Site) -> Any:
        free.add(site.name)
        return latent_input(recorder, site)

    recorder = Recorder(Tape(eager=eager), latent, seed=seed)
    recorded = record_model(model, args, kwargs, recorder)
    graph = model_graph(recorded)
    if not graph.nodes:
        raise DataError(
            "a model without a single site", "ppl.sample statements in it", 'ppl.sample("mu", dist.Normal(0, 1))'
        )
    if not eager:
        _check_flat(graph)
    if not other:
        _note_small_plates(recorded.sites)
    shapes = {
        s.name: unconstrained_shape(s)
        for s in recorded.of_kind(observed=False)
        if s.name in free and not s.fn.is_discrete and s.guide is None and s.name not in graph.summed_out
    }
    narrow = recorder.saw_float32 or float32_in((args, dict(kwargs)))
    dtype = np.dtype(np.float32 if narrow else np.float64)
    decision = Decision() if eager else _decide(recorded, free, graph)
    apart = recorder.asked_training or not {"modules", "states"}.isdisjoint(recorder.run)
    return Problem(model, args, kwargs, graph, shapes, recorded.sites, dtype, decision=decision, trains_apart=apart)


def _decide(recorded: RecordedModel, free: set[str], graph: ModelGraph) -> Decision:
    """Which finite sites are summed out of a model that was recorded by itself."""
    finite = [
        s
        for s in recorded.of_kind(observed=False)
        if s.name in free and s.fn.is_discrete and s.guide is None and "part_of" not in s.options
    ]
    candidates = [s for s in finite if s.estimator in (None, "enumerate")]
    if not candidates:
        return Decision()
    tape = recorded.tape
    position = {id(x): i for i, x in enumerate(tape.inputs)}
    inputs = {s.name: position[id(s.value)] for s in candidates}
    barred: dict[str, str] = {}
    for site, reader in graph.guide_edges:
        barred[site] = enumerated.GUIDE.format(site=reader)
    marks = {id(s.value): 1 << i for i, s in enumerate(candidates)}
    found = dependencies(tape, marks) if any(s.fn.support.depends_on_recorded for s in recorded.of_kind()) else {}
    densities, outputs = [], []
    for site in recorded.of_kind():
        if "part_of" in site.options:
            continue
        if not site.is_observed and site.fn.support.depends_on_recorded:
            edges = 0
            for x in recorded_in(site.fn.support):
                edges = union(edges, found.get(id(x), 0))
            barred |= {
                s.name: enumerated.SUPPORT.format(site=site.name) for s in candidates if edges & marks[id(s.value)]
            }
        densities.append(site)
        outputs.append(site.fn.log_prob(site.value))
    program = program_of(tape, outputs)
    own = [Density(s.name, x, s.scale, s.plates) for s, x in zip(densities, program.outputs, strict=True)]
    return decide(candidates, program, inputs, own, barred)


def _note_small_plates(sites: Mapping[str, Site]) -> None:
    """A minibatch larger than its plate is no minibatch."""
    for site in sites.values():
        asked, size = site.options.get("asked", 0), site.options["frame"].size if site.type == "plate" else 0
        if asked > size:
            note = f"plate '{site.name}': subsample_size={asked} of {size} rows; all of them are used ({site.where})"
            warnings.warn(note, UserWarning, stacklevel=2)


def _check_flat(graph: ModelGraph) -> None:
    """A flat prior of what no density reads has no posterior."""
    read = {p for n in graph.of_kind("latent", "observed", "factor") for p in n.parents}
    for n in graph.of_kind("latent"):
        if n.family == "ImproperUniform" and n.name not in read:
            raise ModelError(
                "a flat prior of a site on which no other density depends",
                "a proper prior, or data that depend on it",
                f'ppl.sample("{n.name}", dist.Normal(0, 10))',
                site=n.name,
            )


@paused_collector()
def derive(
    p: Problem,
    guide: Any,
    *,
    plate_sizes: Mapping[str, int] | None = None,
    starts: Mapping[str, Any] | None = None,
    indices: Mapping[str, np.ndarray] | None = None,
    noise: Mapping[str, np.ndarray] | None = None,
    eager: bool = False,
    pointwise: bool = False,
    estimators: str | Mapping[str, str] | None = None,
    closed: bool = True,
    relaxed: bool = False,
    sampled: Collection[str] = (),
    seed: int = 0,
    training: bool = False,
) -> Derivation:
    """Record model and guide together, and write the bound as terms.

    `pointwise`: without closed forms, so that the terms of one draw add up to its log p - log q.
    `estimators`: names by site, or one for all, before those that the sites ask for; how a site is drawn,
    and whether closed forms are used, may depend on it. `closed=False`: nowhere are they used.
    `relaxed=False`: relaxations that sites ask for are left out, so that draws and bound are the model's own.
    `sampled`: finite sites that get a guide, where they would have been summed out.
    `training`: as `ppl.training()` has it, with noise for dropout; `trains_apart` says whether somebody asked.
    """
    tape = Tape(eager=eager, dtype=p.dtype)
    assembly = Assembly(guide, p.graph, p.shapes)
    asked = _asked(p, estimators, relaxed)
    summed: dict[str, Recorded] = {}

    def latent(recorder: Recorder, site: Site) -> Any:
        if eager or site.name not in p.decision.joint or site.name in sampled or assembly.names(site.name):
            return assembly.latent(recorder, site)
        summed[site.name] = latent_input(recorder, site)
        return summed[site.name]

    recorder = Recorder(
        tape,
        latent,
        plate_sizes=plate_sizes,
        starts=starts,
        indices=indices,
        noise=noise,
        seed=seed,
        training=training,
    )
    recorder.ways = {} if pointwise else {n: e.way for n, e in asked.items() if e.way is not None}
    assembly.run_guide(recorder, p.model, p.args, p.kwargs)
    recorded = record_model(p.model, p.args, p.kwargs, recorder)
    if not eager:  # a path need not have every site
        assembly.check()

    outputs: list[Any] = []
    terms: list[Term] = []

    def output(x: Any) -> int:
        outputs.append(x)
        return len(outputs) - 1

    def term(kind: str, site: Site, text: str, value: Any, scale: float) -> None:
        before = recorded.branches_before[site.name]
        terms.append(Term(kind, site.name, text, scale, site.plates, output(value), before, site.where))

    parents = {n.name: n.parents for n in p.graph.nodes.values()}
    factor_of = {s: f for f in assembly.factors.values() for s in f.sites}
    bits = {name: 1 << i for i, name in enumerate(assembly.factors)}
    at_states = 1 << len(bits)
    reads = _reads_through(tape, bits, {id(x): at_states for x in summed.values()})

    def density(site: Site) -> str:
        read = [p for p in parents.get(site.name, ()) if p != f"{site.name}_unobserved"]
        given = ", ".join(dict.fromkeys(network_of(p, recorder.networks) or p for p in read))
        return f"p({site.name} | {given})" if given else f"p({site.name})"

    for site in recorded.of_kind():
        if site.options.get("noise"):
            continue
        if "part_of" in site.options:  # its density is counted at the site it completes
            if site.name in factor_of and factor_of[site.name].origin != PRIOR:
                _entropy_terms(term, factor_of[site.name], site, site.plate_scale / site.scale, pointwise)
            continue
        if site.is_observed:
            gaps, part = site.options.get("gaps"), factor_of.get(f"{site.name}_unobserved")
            if gaps is not None and part is not None and part.origin == PRIOR:
                seen = site.fn.mask(np.logical_not(gaps.whole_events))
                term("log p", site, f"E[log {density(site)}]", seen.log_prob(gaps.values), site.plate_scale)
                continue
            text = site.name if site.options.get("factor") else f"E[log {density(site)}]"
            term("log p", site, text, site.fn.log_prob(site.value), site.plate_scale)
            continue
        factor = factor_of.get(site.name)
        if factor is None:  # summed out, or a handler gave it its value
            term("log p", site, f"log {density(site)}", site.fn.log_prob(site.value), site.plate_scale)
            continue
        guide_scale = site.plate_scale / site.scale
        # The closed form needs a prior that does not look back at this very draw, as it does
        # where the guide draws in another order than the model.
        # Nor a state that is summed out: the expectation stands inside the sum.
        looks_back = any(reads.get(id(x), 0) & (bits[factor.name] | at_states) for x in recorded_in(site.fn))
        drawn = pointwise or _drawn(factor, asked, closed)
        known = factor.posterior is not None and site.scale == 1.0 and not looks_back and not drawn
        if known and has_kl(factor.posterior, site.fn):
            term(
                "KL",
                site,
                f"-KL(q({site.name}) || {density(site)})",
                -kl_divergence(factor.posterior, site.fn),
                guide_scale,
            )
            continue
        # An automatic guide draws through a bijection onto the support, also where that moves with another draw.
        log_p = site.fn.log_prob_inside if factor.origin == "automatic" else site.fn.log_prob
        term("log p", site, f"E[log {density(site)}]", log_p(site.value), site.plate_scale)
        _entropy_terms(term, factor, site, guide_scale, pointwise, _drawn(factor, asked, closed))

    for f in assembly.factors.values():
        if len(f.sites) > 1 or f.posterior is None:
            q = ", ".join(f.sites)
            if pointwise or _drawn(f, asked, closed):
                terms.append(Term("-log q", f.name, f"-log q({q})", 1.0, (), output(-f.base.log_prob(f.draw))))
            else:
                terms.append(Term("entropy", f.name, f"H(q({q}))", 1.0, (), output(f.base.entropy())))

    position = {id(x): i for i, x in enumerate(tape.inputs)}
    seen = {s.name: s for s in recorded.of_kind() if s.is_observed and not s.options.get("factor")}
    names = _names(p, estimators, relaxed)
    facts = tuple(_facts(f, names, seen, position, output) for f in assembly.factors.values())
    by_row = {s.name for s in recorded.sites.values() if "part_of" in s.options and s.fn.places is None}
    site_outputs = {s: output(v) for f in assembly.factors.values() for s, v in f.values.items() if s not in by_row}
    deterministic = {
        s.name: output(s.value)
        for s in recorded.sites.values()
        if s.type == "deterministic" or (s.is_observed and "gaps" in s.options and is_recorded(s.value))
    }
    guides = {}
    for f in assembly.factors.values():
        arrays, rebuild = (f.posterior or f.base).tree_flatten()
        guides[f.name] = tuple(output(a) for a in arrays), rebuild
    branches = tuple(output(b) for b in tape.branches)
    arguments = {s.name: _arguments(s.fn, output) for s in recorded.of_kind()}
    updates = {n: output(x) for n, x in recorder.updates.items()} if training else {}
    d = Derivation(
        program_of(tape, outputs),
        tuple(terms),
        facts,
        {name: replace(x, node=None) for name, x in recorder.parameters.items()},  # the tape may go
        {name: position[id(x.node)] for name, x in recorder.parameters.items()},
        {name: position[id(x)] for name, x in recorded.indices.items() if isinstance(x, Recorded)},
        recorded.plates,
        site_outputs,
        deterministic,
        guides,
        {s: biject_to(recorded.sites[s].fn.support) for s in p.shapes if s in recorded.sites},
        branches,
        tuple(x.value for x in tape.inputs),
        {n: found for n, found in arguments.items() if found},
        networks=recorder.networks,
        updates=updates,
        trains_apart=training and recorder.asked_training,
    )
    if summed:
        finite = {position[id(x)]: finite_site(recorded.sites[n], p.decision.joint[n]) for n, x in summed.items()}
        d = sum_out(d, finite, p.decision.reasons)
    if pointwise or not closed:
        return d
    by_estimator = {e: {f.name for f in facts if f.estimator == e} for e in ("exact", None)}
    return integrated(d, by_estimator["exact"], by_estimator[None])


def network_of(name: str, networks: Sequence[str]) -> str:
    """The network whose weight this is; "" where it is none's."""
    return next((n for n in networks if name.startswith(f"{n}.")), "")


def _arguments(d: Any, output: Callable) -> tuple[Argument, ...]:
    """The computed arguments of a distribution, and of what it wraps, whose constraints are fixed."""
    found: list[Argument] = []
    while d is not None and not isinstance(d, ScannedDistribution):  # (there they are of one step)
        found += [
            Argument(type(d).__name__, name, constraint, output(value))
            for name, constraint in d.arg_constraints.items()
            if constraint != constraints.real
            and not constraint.depends_on_recorded
            and is_recorded(value := d.parameters.get(name))
        ]
        d = getattr(d, "base_dist", None)
    return tuple(found)


def _reads_through(tape: Tape, bits: Mapping[str, int], marks: Mapping[int, int]) -> dict[int, int]:
    """For each recorded value the factors it depends on, also through other draws, as bits; marks are theirs."""
    found: dict[int, int] = dict(marks)
    for node in tape.nodes:
        own = bits[node.args[1]] if node.fun is draw_of.run else 0
        for x in parents_of(node):
            own = union(own, found.get(id(x), 0))
        if own:
            found[id(node)] = own
    return found


def _names(p: Problem, estimators: str | Mapping[str, str] | None, relaxed: bool) -> dict[str, str]:
    """Which estimator each site asks for; what the call says comes first."""
    found = {n: s.estimator for n, s in p.sites.items() if s.type == "sample" and not s.is_observed and s.estimator}
    if isinstance(estimators, str):
        found = dict.fromkeys([*p.graph.nodes, *p.sites, Joint.NAME], estimators)
    found = {**found, **({} if isinstance(estimators, str) else estimators or {})}
    return {n: x for n, x in found.items() if relaxed or x not in ESTIMATORS or not ESTIMATORS[x].biased}


def _asked(p: Problem, estimators: str | Mapping[str, str] | None, relaxed: bool) -> dict[str, Estimator]:
    """The same as entries of the menu; names that it does not have are refused where the choice is made."""
    names = _names(p, estimators, relaxed)
    return {s: ESTIMATORS[name] for s, name in names.items() if name in ESTIMATORS}


def _drawn(f: Factor, asked: Mapping[str, Estimator], closed: bool) -> bool:
    """Is the log q of a factor drawn, where it could have a closed form?"""
    return not closed or any(s in asked and asked[s].sampled for s in (f.name, *f.sites))


def _entropy_terms(
    all_terms: Callable, factor: Factor, site: Site, scale: float, pointwise: bool, sampled: bool = False
) -> None:
    def term(kind: str, site: Site, text: str, value: Any, scale: float) -> None:
        gaps = site.options.get("gaps")
        if gaps is not None and is_recorded(gaps.missing):  # rows of a minibatch: only those that lack something
            lacks = np.any(gaps.missing, axis=tuple(range(-gaps.entry_dim, 0))) if gaps.entry_dim else gaps.missing
            value = np.where(lacks, value, 0.0)
        all_terms(kind, site, text, value, scale)

    jacobian = factor.log_jacobians.get(site.name)
    q = factor.posterior
    if q is None:  # one of several sites of a factor, whose entropy is a term of its own
        if jacobian is not None:
            extra = np.ndim(jacobian) - len(site.fn.batch_shape)
            jacobian = np.sum(jacobian, axis=tuple(range(-extra, 0))) if extra > 0 else jacobian
            term("log Jacobian", site, f"E[log |d {site.name} / du|]", jacobian, scale)
    elif sampled and not pointwise:  # apart: the derivative of log q is treated by itself
        u = f"u_{site.name}" if jacobian is not None else site.name
        term("-log q", site, f"E[-log q({u})]", -factor.base.log_prob(factor.draw), scale)
        if jacobian is not None:
            term("log Jacobian", site, f"E[log |d {site.name} / du|]", jacobian, scale)
    elif q.has("entropy") and not pointwise:
        term("entropy", site, f"H(q({site.name}))", q.entropy(), scale)
    elif factor.base.has("entropy") and not pointwise:
        term("entropy", site, f"H(q(u_{site.name}))", factor.base.entropy(), scale)
        if jacobian is not None:
            term("log Jacobian", site, f"E[log |d {site.name} / du|]", jacobian, scale)
    else:
        log_q = factor.base.log_prob(factor.draw)
        term("-log q", site, f"E[-log q({site.name})]", -(log_q if jacobian is None else log_q - jacobian), scale)


def _facts(
    f: Factor, names: Mapping[str, str], observed: Mapping[str, Site], position: Mapping[int, int], output: Callable
) -> FactorFacts:
    log_q = f.base.log_prob(f.draw)
    family = type(f.base.core).__name__ + (
        " on the unconstrained axis" if f.log_jacobians and f.posterior is not None else ""
    )
    return FactorFacts(
        f.name,
        f.sites,
        family,
        f.plates,
        f.reparameterized,
        f.noise_kind,
        tuple(f.noise.shape),
        position[id(f.noise)],
        output(f.draw),
        output(log_q),
        np.ndim(log_q),
        np.ndim(f.draw) - np.ndim(log_q),
        next((names[s] for s in (f.name, *f.sites) if s in names), None),
        f.origin,
        f.narrow,
        tuple(output(s.value) for s in observed.values() if f.plates and set(f.plates) <= set(s.plates)),
    )
