"""Counts of categories, and ordered categories."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import special

from ppl.array import logsumexp, softplus
from ppl.distributions import constraints
from ppl.distributions._arrays import append_axes, as_array, as_integer, broadcast, quiet
from ppl.distributions._counting import log_factorial_excess, log_ways, one_of, pick
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.discrete import WithProbabilities


@dataclass(frozen=True, eq=False)
class _Counts(Constraint):
    """Vectors of nonnegative integers that sum to `total_count`."""
