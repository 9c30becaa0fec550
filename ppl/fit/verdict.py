"""The verdict: is the answer worth using, and why.

| word | when |
|---|---|
| trusted | converged, k-hat below 0.5: draws of the guide stand for the posterior |
| usable | k-hat below 0.7: summaries are corrected by smoothed importance weights; or no k-hat is to be had; \
or k-hat below 0.5 without convergence, or with a warning about the model |
| not trusted | a bound that is not finite, or has no maximum, or is too large for its digits; \
k-hat of 0.7 and more, too few draws' worth of weights to correct by, \
or neither convergence nor a k-hat below 0.5 |

A k-hat of 0.7 and more looks at the far tail alone. Where so little weight stands there that the
weighted draws are still worth most of their number, the fit is called usable, and the tail is named.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..algorithms import Solution
from .drift import drifts
from .evaluate import Bound
from .weights import Ratios

GOOD, FAIR = 0.5, 0.7  # k-hats: variance of the weights finite; smoothed averages still settle
MOST = 0.8  # share of the draws that weighted ones are worth from which a heavy tail carries little
ENOUGH = 200  # draws that weighted ones must be worth, for means within 0.07 posterior sds
LARGEST = 1e12  # a term's size, from which on the last digits are some 1e-4 nats
FEW = 0.05  # share of a plate's elements that may have a larger k-hat of their own


@dataclass(frozen=True)
class Verdict:
    """`word` is "trusted", "usable" or "not trusted"; prints as one short paragraph.

    `k_hat` is that of the latents outside plates, each plate element's weight averaged out, and
    `element_k_hats` has those of the elements, by plate; None with a reason among the warnings.
    `corrected` says that summaries use importance weights.
    """

    word: str
    converged: bool
    stop_reason: str
    warnings: tuple[str, ...]
    k_hat: float | None = None
    element_k_hats: Mapping[str, np.ndarray] = field(default_factory=dict)
    corrected: bool = False

    def __str__(self) -> str:
        how = "Converged" if self.converged else "Not converged"
        text = f"{self.word.capitalize()}. {how}: {self.stop_reason}."
        if self.k_hat is not None:
            text += f" {self._k_hat_in_words()}."
        for w in self.warnings:
            text += f" {w[0].upper()}{w[1:]}."
        return textwrap.fill(text, 100)

    def _k_hat_in_words(self) -> str:
        k = self.k_hat
        value = "below 0" if k < 0 else "above 10" if k > 10 else f"{k:.2f}"
        if k < GOOD:
            return f"k-hat {value}: the guide's draws stand for the posterior"
        if self.corrected:
            return f"k-hat {value}: means, sds and quantiles are corrected by importance weights"
        missed = "" if self.word == "usable" else ": weights cannot mend what the guide misses of the posterior"
        return f"k-hat {value}{missed}"


def judge(solution: Solution, bound: Bound, ratios: Ratios | str, warnings: tuple[str, ...], seed: int = 0) -> Verdict:
    """The word, and what stands beside it; `ratios` may be the reason why there are none."""
    for text, share in bound.broken:
        often = "<1%" if share < 0.01 else f"{share:.0%}"
        what = f"{text} is not finite for {often} of the draws"
        warnings = (*warnings, f"{what}: an argument leaves its constraint there (np.exp makes a free number positive)")
    lost = [(text, mean) for text, (mean, _) in bound.terms.items() if abs(mean) > LARGEST]
    for text, mean in lost:
        what = f"{text} is {mean:.1e}, where rounding hides differences of a nat"
        warnings = (*warnings, f"{what}: data of extreme size, an outlier or the code of a missing value")
    moving = () if lost or bound.broken else drifts(solution, seed)
    warnings = (*warnings, *moving)
    converged = solution.converged and not bound.broken
    if isinstance(ratios, str):
        word = "usable" if converged and not lost and not moving else "not trusted"
        return Verdict(word, converged, solution.stop_reason, (*warnings, f"no k-hat: {ratios}"))
    k_hat, of_elements = ratios.smoothed.k_hat, ratios.element_k_hats
    for plate, ks in of_elements.items():
        share = float(np.mean(ks >= FAIR))
        if share > FEW:
            warnings = (*warnings, f"{share:.0%} of the elements of plate '{plate}' have a k-hat above {FAIR}")
    worth, count = ratios.smoothed.effective_draws, len(ratios.log_ratios)
    heavy = k_hat >= FAIR and worth < MOST * count
    few = k_hat >= GOOD and worth < ENOUGH
    if k_hat >= FAIR and not heavy:
        warnings = (*warnings, "the posterior's far tails are heavier than the guide's, though little weight is there")
    elif few and not heavy:
        warnings = (*warnings, f"{count} weighted draws are worth {worth:.0f} only")
    if bound.broken or lost or moving or heavy or few or (k_hat >= GOOD and not converged):
        word = "not trusted"
    elif k_hat >= GOOD or not converged or warnings:
        word = "usable"
    else:
        word = "trusted"
    corrected = word != "not trusted" and GOOD <= k_hat < FAIR
    return Verdict(word, converged, solution.stop_reason, warnings, k_hat, of_elements, corrected)
