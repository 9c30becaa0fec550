"""The table of a fit: site, mean, sd, 5 %, 50 %, 95 %."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .marginals import Marginal

COLUMNS = ("mean", "sd", "5%", "50%", "95%")


@dataclass(frozen=True)
class Summary:
    """Rows `(name, (mean, sd, 5 %, 50 %, 95 %))`, one for each scalar; prints as a table."""

    rows: tuple[tuple[str, tuple[float, ...]], ...]

    def __getitem__(self, name: str) -> dict[str, float]:
        return dict(zip(COLUMNS, dict(self.rows)[name], strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, most: int | None = None) -> str:
        """The table; with `most`, no more than that many rows of a site."""
        shown, hidden = _shorten(self.rows, most)
        width = max([4, *(len(n) for n, _ in shown)])
        lines = [" " * width + "".join(f"{c:>11}" for c in COLUMNS)]
        for name, numbers in shown:
            lines.append((f"{name:<{width}}" + "".join(f"{number(x):>11}" for x in numbers)).rstrip())
        if hidden:
            lines.append(f"({hidden} more rows: fit.summary())")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def to_pandas(self) -> Any:
        """The table as a pandas frame."""
        import pandas

        return pandas.DataFrame([n for _, n in self.rows], index=[n for n, _ in self.rows], columns=list(COLUMNS))


def number(x: float) -> str:
    """Four significant digits, aligned for reading."""
    if not np.isfinite(x):
        return str(x)
    if x == 0 or 1e-3 <= abs(x) < 1e5:
        digits = 3 if x == 0 else int(np.clip(3 - np.floor(np.log10(abs(x))), 0, 6))
        return f"{x:.{digits}f}"
    return f"{x:.3e}"


def summarize(marginals: Mapping[str, Marginal]) -> Summary:
    """One row for each scalar of each site."""
    rows = []
    for name, m in marginals.items():
        quantiles = m.quantile(np.array([0.05, 0.5, 0.95]))
        for index in np.ndindex(np.shape(m.mean)):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            sd, five = float(m.sd[index]), quantiles[(slice(None), *index)]
            # A mean of 1e-7 beside an sd of 1 is rounding.
            mean, *rest = (0.0 if abs(v) < 1e-6 * sd else float(v) for v in (m.mean[index], *five))
            rows.append((label, (mean, sd, *rest)))
    return Summary(tuple(rows))


MOST_ROWS = 60  # of a shortened table


def _shorten(rows, most):
    if most is None:
        return rows, 0
    shown, counts = [], {}
    for name, numbers in rows:
        site = name.split("[")[0]
        counts[site] = counts.get(site, 0) + 1
        if counts[site] <= most:
            shown.append((name, numbers))
        elif counts[site] == most + 1:
            shown.append(("...", ()))
    hidden = sum(max(c - most, 0) for c in counts.values())
    if len(shown) > MOST_ROWS:
        hidden += len(shown) - MOST_ROWS
        shown = [*shown[:MOST_ROWS], ("...", ())]
    return shown, hidden
