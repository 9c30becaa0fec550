"""The derived bound in words: term by term, how its gradient is estimated, and why."""

from __future__ import annotations

from ..elbo import Derivation, Plan, exact_reason
from .evaluate import Bound
from .summary import number


def explain(d: Derivation, plan: Plan, bound: Bound | None, notes: tuple[str, ...], guide: str, executor: str) -> str:
    """The text of `fit.explain()`."""
    lines = [
        "The bound",
        "",
        f"  log p(data) >= ELBO = {_sum_text(d)}",
        "",
        f"with q = {_guide_text(d)}",
        f"  (guide: {guide}; executor: {executor})",
        "",
    ]
    lines += ["Term by term", ""]
    for term, choices in plan.choices:
        times = f"{number(term.scale)} x " if term.scale != 1.0 else ""
        value = ""
        if bound is not None and term.text in bound.terms:
            mean, error = bound.terms[term.text]
            value = f"  = {number(mean)}" + (f" (s.e. {number(error)})" if error else " (exact)")
        lines.append(f"  {times}{term.text}{value}")
        if term.exact:
            lines.append(f"      exact: {exact_reason(term).why}")
        for (estimator, why), names in _grouped(choices).items():
            lines.append(f"      {estimator} in {', '.join(names)}: {why}")
        if not choices and not term.exact:
            lines.append("      constant: it depends on no draw")
    if notes:
        lines += ["", "Notes", "", *(f"  - {n}" for n in notes)]
    return "\n".join(lines)


def _grouped(choices) -> dict[tuple[str, str], list[str]]:
    out: dict[tuple[str, str], list[str]] = {}
    for name, c in choices.items():
        out.setdefault((c.estimator, c.reason.why), []).append(name)
    return out


def _sum_text(d: Derivation) -> str:
    text = ""
    for t in d.terms:
        sign, body = ("-", t.text[1:]) if t.text.startswith("-") else ("+", t.text)
        piece = f"{number(t.scale)} {body}" if t.scale != 1.0 else body
        text += (f" {sign} " if text else ("-" if sign == "-" else "")) + piece
    return text


def _guide_text(d: Derivation) -> str:
    return (
        " ".join(f"q({', '.join(f.sites)}): {f.family};" for f in d.factors).rstrip(";")
        or "nothing: there is no latent site"
    )
