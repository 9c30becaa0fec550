"""Pictures of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ModelError

MOST = 12  # panels


def plot(fit: Any, sites: Sequence[str] | None = None) -> Any:
    """The bound against steps, and the marginal of each scalar site (interval plots of vectors)."""
    plt = pyplot()
    names = list(sites) if sites is not None else fit.sites
    names = names[: MOST - 1]
    columns = min(3, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 2.8 * rows), squeeze=False, layout="constrained")
    panels = iter(axes.ravel())
    history_panel(next(panels), fit)
    for name in names:
        _marginal(next(panels), name, fit)
    for unused in panels:
        unused.axis("off")
    return figure


def pyplot() -> Any:
    """matplotlib's pyplot, or in words that it is not there."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ModelError("plot() without matplotlib", "the extra 'plot'", "pip install 'ppl[plot]'") from None
    return plt


def history_panel(ax: Any, fit: Any) -> None:
    """What was climbed against steps: the bound, or the log density of chains."""
    y, chains = fit.history, fit.solution.sampled is not None and not fit.solution.sampled.weighted
    ax.set_title("Mean log density of the chains" if chains else "ELBO against steps", fontsize=10)
    ax.set_xlabel("draw" if chains else "step")
    if len(y):
        # A running mean: single steps are noisy, and the first ones would set the scale.
        width = max(1, len(y) // 100)
        smooth = np.convolve(y, np.ones(width) / width, mode="valid")
        ax.plot(np.arange(width - 1, len(y)), smooth, lw=1, color="C0")
        low, high = (
            np.quantile(smooth[len(smooth) // 10 :], [0.0, 1.0]) if len(smooth) > 10 else (smooth.min(), smooth.max())
        )
        margin = 0.1 * (high - low) + 1e-3
        ax.set_ylim(low - margin, max(high, high if chains else fit.elbo) + margin)
    if chains:
        return
    ax.axhline(fit.elbo, color="C1", lw=1, label=f"{fit.elbo:.2f}")
    ax.legend(fontsize=8, frameon=False)


def _marginal(ax: Any, name: str, fit: Any) -> None:
    m = fit[name]
    ax.set_title(name, fontsize=10)
    if np.ndim(m.mean) == 0:
        draws = fit._draws[name]
        if np.asarray(draws).dtype.kind in "iub":
            values, counts = np.unique(draws, return_counts=True)
            ax.bar(values, counts / len(draws), width=0.6, color="C0")
        else:
            low, high = np.quantile(draws, [0.002, 0.998])
            ax.hist(draws, bins=60, range=(low, high), density=True, color="C0", alpha=0.7)
        ax.axvline(float(m.mean), color="C1", lw=1)
        ax.set_yticks([])
        return
    mean, (low, high) = np.ravel(m.mean), (np.ravel(q) for q in m.quantile(np.array([0.05, 0.95])))
    at = np.arange(mean.size)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.vlines(at, low, high, color="C0", lw=max(0.5, min(3.0, 60.0 / mean.size)))
    ax.plot(at, mean, "o", color="C1", ms=max(1.0, min(4.0, 80.0 / mean.size)))
    ax.set_xlabel("index (bar: 5 to 95 %, dot: mean)")
