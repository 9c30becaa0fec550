"""The verdict: is the answer worth using, and why.

| word | when |
|---|---|
| trusted | converged, and importance weights settle and move no site's mean or sd: draws of the guide, weighted \
where k-hat is 0.5 and more, stand for the posterior |
| usable | weights settle and summaries are corrected by them; or no k-hat is to be had; \
or k-hat below 0.5 without convergence, or with a warning about the model |
| not trusted | a bound that is not finite, or has no maximum, or is too large for its digits; \
weights that do not settle, or are worth too few draws; many elements of a plate that the guide misses; \
or neither convergence nor a k-hat below 0.5 |

k-hat is of the guide's own draws. It says whether weights could mend the guide, not whether they have
to, and knows nothing of what the guide never draws. So the moments are looked at, under weights of the
guide's draws and of wide ones together: of a guide that is too wide, or off by half an sd, k-hat is small.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..algorithms import Solution
from ..algorithms.evaluate import Bound
from .drift import drifts
from .weights import EXACT, FAIR, Ratios

GOOD = 0.5  # k-hat up to which the variance of the weights is finite
LARGEST = 1e12  # a term's size, from which on the last digits are some 1e-4 nats
FEW, MANY = 0.05, 0.25  # shares of a plate's elements with a k-hat above 0.7: worth a word; too many to use


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
            text += f" {self.k_hat_in_words()}."
        for w in self.warnings:
            text += f" {w[0].upper()}{w[1:]}."
        return textwrap.fill(text, 100)

    def k_hat_in_words(self) -> str:
        """What k-hat says, where there is one."""
        k = self.k_hat
        value = "below 0" if k < 0 else "above 10" if k > 10 else f"{k:.2f}"
        if self.corrected:
            return f"k-hat {value}: means, sds and quantiles are corrected by importance weights"
        if k < GOOD and self.word == "trusted":
            return f"k-hat {value}: the guide's draws stand for the posterior"
        if k < GOOD:
            return f"k-hat {value}"
        return f"k-hat {value}: weights cannot mend what the guide misses of the posterior"


def judge(solution: Solution, bound: Bound, ratios: Ratios | str, warnings: tuple[str, ...], seed: int = 0) -> Verdict:
    """The word, and what stands beside it; `ratios` may be the reason why there are none."""
    for text, share in bound.broken:
        often = "<1%" if share < 0.01 else f"{share:.0%}"
        what = f"{text} is not finite for {often} of the draws"
        warnings = (*warnings, f"{what}: an argument leaves its constraint there (np.exp makes a free number positive)")
    narrow = [f for f in solution.derivation.factors if f.narrow]
    for f in narrow:
        what = f"the guide's {f.family} of {f.name} never draws a part of {f.narrow}, where the model has {f.name}"
        warnings = (*warnings, f"{what}: weights cannot know what the posterior has there")
    warnings = (*warnings, *solution.doubts)
    lost = [(text, mean) for text, (mean, _) in bound.terms.items() if abs(mean) > LARGEST]
    for text, mean in lost:
        what = f"{text} is {mean:.1e}, where rounding hides differences of a nat"
        warnings = (*warnings, f"{what}: data of extreme size, an outlier or the code of a missing value")
    moving = () if lost or bound.broken else drifts(solution, seed)
    warnings = (*warnings, *moving)
    converged = solution.converged and not bound.broken
    if ratios == EXACT and converged and not (lost or moving):
        return Verdict("usable" if warnings else "trusted", converged, solution.stop_reason, (*warnings, EXACT))
    if isinstance(ratios, str):
        word = "usable" if converged and not lost and not moving else "not trusted"
        return Verdict(word, converged, solution.stop_reason, (*warnings, f"no k-hat: {ratios}"))
    k_hat, of_elements = ratios.smoothed.k_hat, ratios.element_k_hats
    missed = 0.0
    for plate, ks in of_elements.items():
        share = float(np.mean(ks >= FAIR))
        missed = max(missed, share)
        if share > FEW:
            warnings = (*warnings, f"{share:.0%} of the elements of plate '{plate}' have a k-hat above {FAIR}")
    discrete = ratios.discrete
    if discrete:
        warnings = (*warnings, f"the guide factorises {', '.join(discrete)}: states that it hardly draws are not seen")
    sound = ratios.sound
    if ratios.mixture.k_hat >= FAIR:
        warnings = (*warnings, f"wider draws find more of the posterior than weights can mend: {_beyond(ratios)}")
    elif not sound:
        worth = ratios.mixture.effective_draws
        warnings = (*warnings, f"{len(ratios.mixed)} weighted draws are worth {worth:.0f} only")
    weighted = solution.sampled is not None  # draws whose weights are a part of the answer
    moved = ratios.moved if sound and not weighted else {}
    if bound.broken or lost or moving or not sound or missed > MANY or (k_hat >= GOOD and not converged):
        word = "not trusted"
    elif moved or not converged or warnings or (k_hat >= GOOD and not ratios.clear):
        word = "usable"
    else:
        word = "trusted"
    corrected = word != "not trusted" and (weighted or k_hat >= GOOD or bool(moved))
    if corrected and moved:
        warnings = (*warnings, _in_words(moved))
    return Verdict(word, converged, solution.stop_reason, warnings, k_hat, of_elements, corrected)


def _beyond(ratios: Ratios) -> str:
    k = ratios.mixture.k_hat
    return f"k-hat {k:.2f} with them" if np.isfinite(k) else "few draws have all the weight"


def _in_words(moved: Mapping[str, tuple[float, float]]) -> str:
    """The sites that weights change most, in a sentence."""
    parts = []
    for name, (shift, stretch) in sorted(moved.items(), key=lambda m: -max(m[1][0], abs(np.log(m[1][1]))))[:3]:
        means = [f"mean off by {shift:.2f} sd"] if shift else []
        sds = [f"sd {stretch:.2f} of the corrected one"] if stretch != 1.0 else []
        parts.append(f"{name} ({', '.join(means + sds)})")
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return f"the guide misses {', '.join(parts)}{more}: corrected"
