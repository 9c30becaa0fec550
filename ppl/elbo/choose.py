"""Who estimates what: the one table, and the reason it keeps.

| order | estimator | fits when |
|---|---|---|
| 1 | exact | closed-form KL or entropy |
| 2 | pathwise | the draw is reparameterized, and continuous on every path to the term |
| 3 | score function | always |

The choice is made for each term and each factor upstream of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ..array import Ref
from ..errors import GuideError, Reason
from .derivation import Derivation, FactorFacts, Term
from .estimators import NAMES, exact, pathwise, score
from .flow import Flow, flow, separable_axis


@dataclass(frozen=True)
class Choice:
    """How the gradient through one factor is estimated in one term."""

    estimator: str
    reason: Reason


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

    def of_site(self, name: str) -> tuple[str, Reason] | None:
        """The estimator that a factor gets: score if any term needs it."""
        found = [c[name] for _, c in self.choices if name in c]
        picked = next((c for c in found if c.estimator == "score"), found[0] if found else None)
        return None if picked is None else (picked.estimator, picked.reason)


def choose(d: Derivation, overrides: Mapping[str, str] | None = None) -> Plan:
    """The estimator of every term, with the reason."""
    bits = {f.name: 1 << i for i, f in enumerate(d.factors)}
    seen = flow(d.program, bits)
    branch_reads = [0]
    for b in d.branches:
        branch_reads.append(branch_reads[-1] | seen.of(d.program.outputs[b])[0])
    wanted = {f.name: _override(f, overrides) for f in d.factors}
    inner = {f.name: seen.of(seen.into[f.name]) for f in d.factors}
    log_q = {f.name: seen.of(d.program.outputs[f.log_q_output]) for f in d.factors}
    choices = []
    for term in d.terms:
        reads, jumps = seen.of(d.program.outputs[term.output])
        branched = branch_reads[term.branches]
        choices.append((term, _term_choices(d, reads | branched, jumps, branched, bits, wanted, inner, log_q, seen)))
    plan = Plan(tuple(choices), {})
    return Plan(plan.choices, _kept_axes(d, plan))


def _override(f: FactorFacts, overrides: Mapping[str, str] | None) -> str | None:
    name = (overrides or {}).get(f.name) or next(
        (overrides[s] for s in f.sites if overrides and s in overrides), f.estimator
    )
    if name is None:
        return None
    if name not in NAMES:
        close = get_close_matches(name, NAMES, 1)
        raise GuideError(
            f"estimator={name!r}", f"one of {sorted(NAMES)}", f"'{close[0]}'" if close else "", site=f.name
        )
    return NAMES[name]


def _term_choices(d, reads, jumps, branch_reads, bits, wanted, inner, log_q, seen: Flow) -> dict[str, Choice]:
    todo, through = reads, jumps  # upstream of the term; read through a jump on some path to it
    found: dict[str, Choice] = {}
    while todo:  # from the last factor to the first: a draw reads earlier ones only
        bit = 1 << (todo.bit_length() - 1)
        f = d.factors[bit.bit_length() - 1]
        todo = (todo | inner[f.name][0]) & ~bit
        choice = _factor_choice(f, bit, through, branch_reads, seen, wanted[f.name])
        found[f.name] = choice
        through |= (inner if choice.estimator == "pathwise" else log_q)[f.name][1] & ~bit
    return dict(reversed(found.items()))


def _factor_choice(f: FactorFacts, bit: int, through: int, branches: int, seen: Flow, wanted: str | None) -> Choice:
    obstacle = None
    if not f.reparameterized:
        obstacle = pathwise.NOT_REPARAMETERIZED.format(family=f.family)
    elif branches & bit:
        obstacle = pathwise.BRANCH
    elif through & bit:
        obstacle = pathwise.JUMP.format(jump=seen.jump_names.get(bit, "a jump"))
    if wanted == "exact":
        raise GuideError("estimator='exact'", "a term with a closed form", "'pathwise' or 'score'", site=f.name)
    if wanted == "pathwise" and obstacle:
        raise GuideError(
            "estimator='pathwise'", f"a gradient that is right: {obstacle}", "estimator='score'", site=f.name
        )
    if wanted == "score":
        return Choice("score", Reason(f.name, f"asked for; {score.WHY}"))
    if obstacle:
        return Choice("score", Reason(f.name, f"{obstacle}: {score.WHY}"))
    return Choice("pathwise", Reason(f.name, pathwise.WHY))


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
