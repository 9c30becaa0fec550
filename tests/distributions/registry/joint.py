"""Joint families, with an oracle of the log density of one value."""

from __future__ import annotations

import numpy as np
from scipy import stats

import ppl.distributions as dist

from .row import Row, array


class _NormalGamma:
    def __init__(self, loc, count, concentration, rate):
        self.loc, self.count, self.precision = loc, count, stats.gamma(concentration, scale=1 / rate)

    def logpdf(self, x):
        return stats.norm(self.loc, 1 / np.sqrt(self.count * x[1])).logpdf(x[0]) + self.precision.logpdf(x[1])

    def entropy(self):
        given = lambda precision: stats.norm(self.loc, 1 / np.sqrt(self.count * precision)).entropy()
        return self.precision.entropy() + self.precision.expect(given)


JOINT = [
    Row(dist.NormalGamma(*given), _NormalGamma(*given), f"NormalGamma-{i}")
    for i, given in enumerate([(0.3, 1.0, 4.5, 0.7), (-1.2, 0.4, 7.0, 3.0)])
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
JOINT_SHAPES = [
    Row(dist.NormalGamma(-1.2, 0.4, 1.0, 3.0), None, "NormalGamma-boundary"),
    Row(dist.NormalGamma(0.0, 12.5, 0.6, 1.0), None, "NormalGamma-heavy"),
    Row(dist.NormalGamma(array(0.3, 1.0), array([2.5], [0.7]), 2.5, 0.7), None, "NormalGamma-batched"),
]
