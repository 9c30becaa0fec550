"""Families on an interval or a circle."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .row import (
    array,
    rows,
)

BOUNDED = [
    *rows(
        "Uniform",
        lambda low, high: stats.uniform(low, high - low),
        {"low": 0.0, "high": 1.0},
        {"low": -1.3, "high": 0.7},
        {"low": array(-3.0, 2.0), "high": array([2.5], [9.0])},
    ),
    *rows(
        "Beta",
        lambda concentration1, concentration0: stats.beta(concentration1, concentration0),
        {"concentration1": 2.0, "concentration0": 3.0},
        {"concentration1": 1.0, "concentration0": 1.0},
        {"concentration1": 1.0, "concentration0": 2.5},
        {"concentration1": 0.5, "concentration0": 0.5},
        {"concentration1": array(0.7, 30.5), "concentration0": array([1.0], [4.4])},
    ),
    *rows(
        "TruncatedNormal",
        lambda loc, scale, low=-np.inf, high=np.inf: stats.truncnorm(
            (low - loc) / scale, (high - loc) / scale, loc, scale
        ),
        {"loc": 0.0, "scale": 1.0},
        {"loc": 0.3, "scale": 1.7, "low": 0.0},
        {"loc": 0.3, "scale": 1.7, "high": -1.1},
        {"loc": 0.3, "scale": 1.7, "low": -1.0, "high": 2.5},
        {"loc": array(-6.0, 0.0, 6.0), "scale": array([0.9], [2.1]), "low": -1.0, "high": 1.5},
    ),
]
