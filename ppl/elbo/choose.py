"""Who estimates what: the one table, and the reason it keeps.

| order | estimator | fits when |
|---|---|---|
| 1 | exact | closed-form KL or entropy; Gaussian expectations of linear and quadratic terms that cost little |
| 2 | enumerate | finite states, independent elements, a sum within the budget (`enumeration.py`) |
| 3 | pathwise | the draw is reparameterized, and continuous on every path to the term |
| 4 | score function | always |

The second is chosen when the bound is derived, once for a site; the others for each term and each
factor upstream of it. A class has several members (`estimators/`); a site or a call may ask for one by
name, and is refused where it would not be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ..array import Ref, paused_collector
from ..distributions import constraints
from ..errors import GuideError, ModelError, Reason
from ..graph import bits_of
from .derivation import Derivation, FactorFacts, Term
from .estimators import ESTIMATORS, Estimator, Setting, exact, pathwise, score
from .flow import Flow, flow, separable_axis

NONNEGATIVE = constraints.nonnegative
MULTIPLE = ("pathwise", "dreg", "score", "none", "vimco")  # for bounds of several samples


@dataclass(frozen=True)
class Choice:
    """How the gradient through one factor is estimated in one term: the class, and which of its members."""

    estimator: str
    reason: Reason
    member: str = ""

    @property
    def name(self) -> str:
        """The member, or the class where none was asked for."""
        return self.member or self.estimator

    @property
    def label(self) -> str:
        """The class, and a word where it is biased; the reason names the member."""
        return f"{self.estimator} ({self.member}, biased)" if ESTIMATORS[self.name].biased else self.estimator


@dataclass(frozen=True)
class Plan:
    """Choices for every term: `(term, {factor: choice})`, and which factors each term scores."""

    choices: tuple[tuple[Term, dict[str, Choice]], ...]
    kept_axes: dict[tuple[int, str], tuple[int, ...]]  # (term, factor) -> plate axes kept apart in the weight

    def scored(self, i: int) -> frozenset[str]:
        """Factors whose draws are constant in term i, and enter by their score."""
        return frozenset(f for f, c in self.choices[i][1].items() if c.estimator == "score")

    @property
    def any_score(self) -> bool:
        return any(self.scored(i) for i in range(len(self.choices)))

    def choice_of(self, name: str) -> Choice | None:
        """The choice for a factor: that of the score if any term needs it."""
        found = [c[name] for _, c in self.choices if name in c]
        return next((c for c in found if c.estimator == "score"), found[0] if found else None)

    def of_site(self, name: str) -> tuple[str, Reason] | None:
        """The estimator that a factor gets: score if any term needs it."""
        picked = self.choice_of(name)
        return None if picked is None else (picked.name, picked.reason)

    def estimator_of(self, name: str) -> Estimator:
        """The entry of the menu that a factor gets."""
        picked = self.choice_of(name)
        return ESTIMATORS["exact" if picked is None else picked.name]

    @property
    def biased(self) -> tuple[str, ...]:
        """A sentence for each factor whose gradient is not that of the bound."""
        names = dict.fromkeys(name for _, c in self.choices for name in c)
        entries = {name: self.estimator_of(name) for name in names}
        return tuple(f"the gradient of {n} ({e.name}) is biased: {e.biased}" for n, e in entries.items() if e.biased)

    def with_member(self, name: str, member: str, why: str) -> Plan:
        """The plan in which a factor's score terms take another member of the class."""

        def changed(c: Choice) -> Choice:
            return Choice("score", Reason(name, why), member) if c.estimator == "score" else c

        choices = tuple((t, {n: changed(c) if n == name else c for n, c in found.items()}) for t, found in self.choices)
        return Plan(choices, self.kept_axes)


@paused_collector()
def choose(d: Derivation, overrides: Mapping[str, str] | None = None, *, multiple: bool = False) -> Plan:
    """The estimator of every term, with the reason; `multiple`: for a bound of several samples."""
    bits = {f.name: 1 << i for i, f in enumerate(d.factors)}
    learned = (n for n in d.parameter_inputs if d.parameters[n].learned)
    parameter_bits = {n: 1 << (len(bits) + i) for i, n in enumerate(learned)}
    inputs = {d.parameter_inputs[n]: bit for n, bit in parameter_bits.items()}
    positive = [i for n, i in d.parameter_inputs.items() if constraints.within(d.parameters[n].constraint, NONNEGATIVE)]
    seen = flow(d.program, bits, inputs, positive)
    outputs, draws = d.program.outputs, (1 << len(bits)) - 1
    branched = [(0, 0)]  # draws, and parameters that move a jump, behind the branches so far
    for b in d.branches:
        reads, edges = branched[-1]
        branched.append((reads | (seen.of(outputs[b])[0] & draws), edges | seen.edges_of(outputs[b])))
    wanted = {f.name: asked_of(f, overrides) for f in d.factors}
    _check_bound(wanted, multiple)
    inner = {f.name: seen.of(seen.into[f.name]) for f in d.factors if f.name in seen.into}  # (not of plain noise)
    log_q = {f.name: seen.of(outputs[f.log_q_output]) for f in d.factors}
    choices = []
    for term in d.terms:
        reads, jumps = seen.of(outputs[term.output])
        behind, edges = branched[term.branches]
        _refuse_moving_jumps(edges | seen.edges_of(outputs[term.output]), parameter_bits, seen, term.text)
        found = _term_choices(d, (reads & draws) | behind, jumps, behind, bits, wanted, inner, log_q, seen)
        summed = {n: Choice("enumerate", d.states.reasons[n]) for n in term.summed}
        choices.append((term, {**summed, **found}))
    plan = Plan(tuple(choices), {})
    scored = {name for i in range(len(choices)) for name in plan.scored(i)}
    for f in d.factors:
        if f.name in scored:
            _refuse_moving_jumps(seen.edges_of(outputs[f.log_q_output]), parameter_bits, seen, f"log q({f.name})")
    return Plan(plan.choices, _kept_axes(d, plan))


def _refuse_moving_jumps(edges: int, parameter_bits: Mapping[str, int], seen: Flow, where: str) -> None:
    """A learned parameter that moves the place of a jump has a gradient that no estimator here sees."""
    for bit in bits_of(edges):
        name = next(n for n, b in parameter_bits.items() if b == bit)
        jump = seen.jump_names.get(bit, "a comparison")
        raise ModelError(
            f"parameter '{name}' inside '{jump}' beside a draw, on the way to {where}",
            "jumps whose place is not learned: the gradient would miss how the jump moves",
            f"a latent site '{name}' instead of a parameter, or a smooth function such as scipy.special.expit",
            site=name,
        )


def _check_bound(wanted: Mapping[str, Estimator | None], multiple: bool) -> None:
    """Some estimators are for bounds of several samples, some for the ELBO alone."""
    for name, e in wanted.items():
        if e is not None and e.multiple and not multiple:
            raise GuideError(
                f"estimator='{e.name}' for the ELBO", "a bound of several samples", "bound=ppl.IWAE(8)", site=name
            )
        if e is not None and multiple and e.name not in MULTIPLE:
            names = ", ".join(f"'{n}'" for n in MULTIPLE)
            raise GuideError(
                f"estimator='{e.name}' for a bound of several samples", f"one of {names}", "no estimator=", site=name
            )


def asked_of(f: FactorFacts, overrides: Mapping[str, str] | None = None) -> Estimator | None:
    """The estimator that was asked for, at the site or in the call."""
    name = (overrides or {}).get(f.name) or next(
        (overrides[s] for s in f.sites if overrides and s in overrides), f.estimator
    )
    if name is None:
        return None
    if name not in ESTIMATORS:
        close = get_close_matches(name, ESTIMATORS, 1)
        raise GuideError(
            f"estimator={name!r}", f"one of {sorted(ESTIMATORS)}", f"'{close[0]}'" if close else "", site=f.name
        )
    return ESTIMATORS[name]


def _term_choices(d, reads, jumps, branch_reads, bits, wanted, inner, log_q, seen: Flow) -> dict[str, Choice]:
    todo, through = reads, jumps  # upstream of the term; read through a jump on some path to it
    found: dict[str, Choice] = {}
    while todo:  # from the last factor to the first: a draw reads earlier ones only
        bit = 1 << (todo.bit_length() - 1)
        f = d.factors[bit.bit_length() - 1]
        todo = (todo | (inner[f.name][0] & (bit - 1))) & ~bit
        own_jumps = inner[f.name][1] >> len(bits)  # parameters that its draw jumps in
        below = any(c.estimator == "score" and inner[n][0] & bit for n, c in found.items())
        upstream = bool(inner[f.name][0] & (bit - 1))
        choice = _factor_choice(f, bit, through, branch_reads, seen, wanted[f.name], own_jumps, upstream, below)
        found[f.name] = choice
        through |= (inner if choice.estimator == "pathwise" else log_q)[f.name][1] & ~bit
    return dict(reversed(found.items()))


def _factor_choice(
    f: FactorFacts,
    bit: int,
    through: int,
    branches: int,
    seen: Flow,
    wanted: Estimator | None,
    own_jumps: int,
    upstream: bool,
    downstream: bool,
) -> Choice:
    obstacle = None
    jump = seen.jump_names.get(bit, "a jump") if through & bit else ""
    if not f.reparameterized:
        obstacle = pathwise.NOT_REPARAMETERIZED.format(family=f.family)
    elif own_jumps and not (wanted and wanted.biased):
        obstacle = pathwise.OWN_JUMP
    elif branches & bit:
        obstacle = pathwise.BRANCH
    elif jump:
        obstacle = pathwise.JUMP.format(jump=jump)
    if wanted is None:
        if obstacle:
            return Choice("score", Reason(f.name, f"{obstacle}: {score.WHY}"))
        return Choice("pathwise", Reason(f.name, pathwise.WHY))
    asked = f"estimator='{wanted.name}'"
    if wanted.kind == "enumerate":
        got = "estimator='enumerate' for a site that has a guide"
        raise GuideError(got, "a finite site, without a guide of its own", "estimator='score'", site=f.name)
    if wanted.kind == "exact":
        raise GuideError(
            asked,
            "a Gaussian draw in which every term is linear or quadratic, or has a closed form",
            "'pathwise' or 'score'",
            site=f.name,
        )
    own = wanted.obstacle(
        Setting(f.family, f.reparameterized, f.noise_kind, upstream, downstream, jump, bool(branches & bit))
    )
    if own:
        raise GuideError(asked, f"a factor that it fits: {own}", f"estimator='{wanted.kind}'", site=f.name)
    member = "" if wanted.name == wanted.kind else wanted.name
    if wanted.kind == "pathwise":
        if obstacle:
            raise GuideError(asked, f"a gradient that is right: {obstacle}", "estimator='score'", site=f.name)
        return Choice(
            "pathwise", Reason(f.name, f"asked for ({member}); {wanted.why}" if member else wanted.why), member
        )
    return Choice("score", Reason(f.name, f"asked for ({wanted.name}); {wanted.why}"), member)


def exact_reason(term: Term) -> Reason:
    """Why a term is exact in its own site."""
    return Reason(term.site, exact.WHY[term.kind])


def _kept_axes(d: Derivation, plan: Plan) -> dict[tuple[int, str], tuple[int, ...]]:
    """Plate axes along which a score weight stays per element: where the program keeps elements apart."""
    scored: dict[str, list[int]] = {}
    for i in range(len(plan.choices)):
        for name in plan.scored(i):
            scored.setdefault(name, []).append(i)
    facts = {f.name: f for f in d.factors}
    kept: dict[tuple[int, str], tuple[int, ...]] = {}
    for name, terms in scored.items():
        f = facts[name]
        for p in f.plates:
            inside = [i for i in terms if p.name in {q.name for q in d.terms[i].plates}]
            outputs = {i: d.program.outputs[d.terms[i].output] for i in inside}
            targets = {x.index for x in outputs.values() if type(x) is Ref}
            if not targets:
                continue
            ends = separable_axis(d.program, f.name, p.dim - f.event_ndim, targets)
            for i, x in outputs.items():
                if type(x) is Ref and ends[x.index] in (p.dim, None):
                    kept[i, f.name] = (*kept.get((i, f.name), ()), p.dim)
    return kept
