"""Families on the reals."""

from __future__ import annotations

from scipy import stats

from .row import (
    LOCATION_SCALE,
    array,
    location_scale,
    rows,
)

REAL = [
    *rows("Normal", location_scale(stats.norm), *LOCATION_SCALE),
    *rows("Cauchy", location_scale(stats.cauchy), *LOCATION_SCALE),
    *rows(
        "StudentT",
        lambda df, loc, scale: stats.t(df, loc, scale),
        {"df": 5.0, "loc": 0.0, "scale": 1.0},
        {"df": 2.5, "loc": -1.3, "scale": 0.37},
        {"df": 1.0, "loc": 0.0, "scale": 1.0},
        {"df": array(0.7, 2.0, 3.3, 200.0), "loc": 1.0, "scale": array([0.1], [25.0])},
    ),
    *rows("Laplace", location_scale(stats.laplace), *LOCATION_SCALE),
    *rows("Logistic", location_scale(stats.logistic), *LOCATION_SCALE),
    *rows("Gumbel", location_scale(stats.gumbel_r), *LOCATION_SCALE),
    *rows(
        "SkewNormal",
        lambda loc, scale, alpha: stats.skewnorm(alpha, loc, scale),
        {"loc": 0.0, "scale": 1.0, "alpha": 0.0},
        {"loc": -1.3, "scale": 0.37, "alpha": 2.5},
        {"loc": 0.4, "scale": array([0.1], [25.0]), "alpha": array(-4.2, 0.3)},
    ),
    *rows(
        "AsymmetricLaplace",
        lambda loc, scale, asymmetry: stats.laplace_asymmetric(asymmetry, loc, scale),
        {"loc": 0.0, "scale": 1.0, "asymmetry": 1.0},
        {"loc": -1.3, "scale": 0.37, "asymmetry": 2.5},
        {"loc": 0.4, "scale": array([0.1], [25.0]), "asymmetry": array(0.03, 1.7)},
    ),
    *rows("SoftLaplace", location_scale(stats.hypsecant), *LOCATION_SCALE),
]
