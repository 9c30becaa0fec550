"""The derived bound in words: term by term, how its gradient is estimated, and why."""

from __future__ import annotations

from ..array import unrolled
from ..elbo import Derivation, Plan, Problem, exact_reason
from ..elbo.estimators import exact
from .evaluate import Bound
from .formulas import formulas
from .summary import number


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
    lines += [f"  guide: {guide}; algorithm: {algorithm}; executor: {executor}", "", "Term by term", ""]
    rows = [("term", "value", "its gradient")]
    reasons: dict[str, None] = {}
    for term, choices in plan.choices:
        how = []
        if term.exact:
            how.append("exact")
            reasons[f"exact: {exact_reason(term).why}"] = None
        if term.integrated:
            how.append(f"exact in {', '.join(term.integrated)}")
            reasons[f"exact: {exact.GAUSSIAN}"] = None
        for (estimator, why), names in _grouped(choices).items():
            how.append(f"{estimator} in {', '.join(names)}")
            reasons[f"{how[-1] if estimator.startswith('score') else estimator}: {why}"] = None
        rows.append((_scaled(term), _value(term, bound), "; ".join(how) or "none: it is constant"))
    widths = [max(len(r[i]) for r in rows) for i in (0, 1)]
    lines += [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
    if reasons:
        lines += ["", "Why", "", *(f"  {r}" for r in reasons)]
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


def _grouped(choices) -> dict[tuple[str, str], list[str]]:
    out: dict[tuple[str, str], list[str]] = {}
    for name, c in choices.items():
        out.setdefault((c.label, c.reason.why), []).append(name)
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
