"""The verdict: is the answer worth using, and why."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from ..algorithms import Solution
from .evaluate import Bound


@dataclass(frozen=True)
class Verdict:
    """`word` is "usable" or "not trusted"; prints as one short paragraph.

    No fit is called "trusted" on convergence alone: that would say that the guide's family can
    hold the posterior, which convergence does not show.
    """

    word: str
    converged: bool
    stop_reason: str
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        how = "Converged" if self.converged else "Not converged"
        text = f"{self.word.capitalize()}. {how}: {self.stop_reason}."
        for w in self.warnings:
            text += f" {w[0].upper()}{w[1:]}."
        return textwrap.fill(text, 100)


def judge(solution: Solution, bound: Bound, guide: Any, warnings: tuple[str, ...]) -> Verdict:
    """Usable when the optimisation converged to a finite bound; warnings stand beside the word."""
    for text, share in bound.broken:
        often = "<1%" if share < 0.01 else f"{share:.0%}"
        what = f"{text} is not finite for {often} of the draws"
        warnings = (*warnings, f"{what}: an argument leaves its constraint there (np.exp makes a free number positive)")
    if guide == "meanfield" and len(solution.derivation.factors) > 1:
        warnings = (*warnings, "the guide leaves correlations out: spreads may be too small")
    converged = solution.converged and not bound.broken
    return Verdict("usable" if converged else "not trusted", converged, solution.stop_reason, warnings)
