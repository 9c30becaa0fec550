"""Families on the positive numbers."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .row import (
    GAMMA,
    SCALE,
    array,
    rows,
)

POSITIVE = [
    *rows(
        "LogNormal",
        lambda loc, scale: stats.lognorm(scale, scale=np.exp(loc)),
        {"loc": 0.0, "scale": 1.0},
        {"loc": -1.3, "scale": 0.37},
        {"loc": array(-2.0, 0.5), "scale": array([0.1], [1.5])},
    ),
    *rows("HalfNormal", lambda scale: stats.halfnorm(scale=scale), *SCALE),
    *rows("HalfCauchy", lambda scale: stats.halfcauchy(scale=scale), *SCALE),
    *rows(
        "Exponential",
        lambda rate: stats.expon(scale=1 / rate),
        {"rate": 1.0},
        {"rate": 3.7},
        {"rate": array(0.01, 30.0)},
    ),
    *rows("Gamma", lambda concentration, rate: stats.gamma(concentration, scale=1 / rate), *GAMMA),
    *rows("InverseGamma", lambda concentration, rate: stats.invgamma(concentration, scale=rate), *GAMMA),
    *rows("Chi2", lambda df: stats.chi2(df), {"df": 3.0}, {"df": 2.5}, {"df": 2.0}, {"df": array(0.9, 20.0)}),
    *rows(
        "Weibull",
        lambda scale, concentration: stats.weibull_min(concentration, scale=scale),
        {"scale": 2.0, "concentration": 1.5},
        {"scale": 0.3, "concentration": 1.0},
        {"scale": array(0.3, 7.0), "concentration": array([0.6], [3.3])},
    ),
    *rows(
        "Pareto",
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        {"scale": 1.0, "alpha": 3.0},
        {"scale": 0.4, "alpha": 2.5},
        {"scale": 2.0, "alpha": array(0.8, 1.0, 1.7, 9.1)},
    ),
]
