"""The derived bound in words: term by term, how its gradient is estimated, and why."""

from __future__ import annotations

from ..algorithms.evaluate import Bound
from ..array import unrolled
from ..elbo import Derivation, Plan, Problem, exact_reason, listed
from ..elbo.estimators import exact
from ..guides import CLOSED
from .formulas import formulas
from .summary import number

MOST = 10  # sites of which it is said why they are not summed out
CLOSED_WHY = "the log joint is a sum of products of sufficient statistics, so that eta <- grad F is the best update"


def explain(
    p: Problem,
    d: Derivation,
    plan: Plan,
    bound: Bound | None,
    notes: tuple[str, ...],
    guide: str,
    algorithm: str,
    executor: str,
) -> str:
    """The text of `fit.explain()`."""
    lines = ["The bound", "", f"  log p(data) >= ELBO = {_sum_text(d)}", ""]
    lines += [f"  q({', '.join(f.sites)}): {f.family} ({f.origin})" for f in d.factors]
    if d.states is not None:
        names = listed([s.name for s in d.states.sites])
        lines.append(f"  q({names}{' | the rest' if d.factors else ''}): the exact conditional (summed out)")
    lines += [f"  guide: {guide}; algorithm: {algorithm}; executor: {executor}", "", "Term by term", ""]
    rows = [("term", "value", "its gradient")]
    updated = frozenset(f.name for f in d.factors if f.origin == CLOSED)
    reasons: dict[str, None] = {}
    for term, choices in plan.choices:
        how = []
        if term.exact:
            how.append("exact")
            reasons[f"exact: {exact_reason(term).why}"] = None
        if term.integrated:
            how.append(f"exact in {', '.join(term.integrated)}")
            reasons[f"exact: {exact.GAUSSIAN}"] = None
        for (estimator, why), names in _grouped(choices, updated).items():
            how.append(f"{estimator} in {listed(names)}")
            reasons[f"{how[-1] if estimator == 'score' else estimator}: {why}"] = None
        rows.append((_scaled(term), _value(term, bound), "; ".join(how) or "none: it is constant"))
    widths = [max(len(r[i]) for r in rows) for i in (0, 1)]
    lines += [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
    if reasons:
        lines += ["", "Why", "", *(f"  {r}" for r in reasons)]
    summed = () if d.states is None else d.states.reasons
    sampled = [r for n, r in p.decision.reasons.items() if n not in summed and any(n in f.sites for f in d.factors)]
    notes = (*notes, *(f"{r.site} is sampled, not summed out: {r.why}" for r in sampled[:MOST]))
    alone = unrolled(d.program)
    if alone:
        notes = (*notes, f"{', '.join(alone)}: no batching rule, so run particle by particle")
    if notes:
        lines += ["", "Notes", "", *(f"  {n}" for n in notes)]
    mathematics = formulas(p, d)
    if mathematics:
        lines += [
            "",
            "Written out, with one draw in the place of each expectation",
            "",
            *(f"  {line}" for line in mathematics),
        ]
    return "\n".join(lines)


def _value(term, bound: Bound | None) -> str:
    if bound is None or term.text not in bound.terms:
        return ""
    mean, error = bound.terms[term.text]
    return f"{number(mean)} (s.e. {number(error)})" if error else number(mean)


def _grouped(choices, updated: frozenset[str]) -> dict[tuple[str, str], list[str]]:
    out: dict[tuple[str, str], list[str]] = {}
    for name, c in choices.items():
        key = ("closed form", CLOSED_WHY) if name in updated else (c.label, c.reason.why)
        out.setdefault(key, []).append(name)
    return out


def _scaled(term) -> str:
    if term.scale == 1.0:
        return term.text
    sign, body = ("-", term.text[1:]) if term.text.startswith("-") else ("", term.text)
    return f"{sign}{number(term.scale)} {body}"


def _sum_text(d: Derivation) -> str:
    text = ""
    for t in d.terms:
        piece = _scaled(t)
        if not text:
            text = piece
        else:
            text += f" - {piece[1:]}" if piece.startswith("-") else f" + {piece}"
    return text
