"""The law of a site inside `ppl.scan`."""

from __future__ import annotations

from typing import Any

from ..distributions import Distribution
from ..errors import ModelError


class ScannedDistribution(Distribution):
    """The law of a site inside a scan, over all its steps: its first step's, with a time axis.

    Its log density is computed along the loop, each step given the ones before, and filled in
    when the loop ends.
    """

    arg_constraints = {}

    def __init__(self, base_dist: Distribution, length: int, log_density: Any = None):
        super().__init__(
            {}, batch_shape=(length, *base_dist.batch_shape), event_shape=base_dist.event_shape, validate_args=False
        )
        self.base_dist, self.length, self.log_density = base_dist, length, log_density

    @property
    def core(self) -> Distribution:
        """The family of one step."""
        return self.base_dist.core

    @property
    def support(self):
        return self.base_dist.support

    def log_prob(self, value: Any) -> Any:
        if self.log_density is None:
            raise ModelError(
                "the density of a site inside ppl.scan, by itself",
                "the density along the loop",
                "ppl.handlers.trace of the whole model",
            )
        return self.log_density

    def tree_flatten(self):
        arrays = () if self.log_density is None else (self.log_density,)
        return arrays, lambda a: ScannedDistribution(self.base_dist, self.length, a[0] if a else None)

    def __repr__(self) -> str:
        return f"Scanned({self.base_dist!r}, {self.length} steps)"
