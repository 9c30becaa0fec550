"""How far a run has come, for whoever waits."""

from __future__ import annotations

import time
from collections.abc import Sequence


class Bar:
    """A tqdm bar that appears when a run takes longer than a second."""

    what = "ELBO"  # is shown

    def __init__(self, total: int):
        self.total, self.begun, self.bar = total, time.monotonic(), None

    def update(self, history: Sequence[float]) -> None:
        if self.bar is None:
            if time.monotonic() - self.begun < 1.0:
                return
            from tqdm import tqdm

            self.bar = tqdm(total=self.total, initial=len(history), leave=False, unit="step", disable=None)
        self.bar.update(len(history) - self.bar.n)
        recent = history[-50:]
        self.bar.set_postfix_str(f"{self.what} {sum(recent) / len(recent):.4g}", refresh=False)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
