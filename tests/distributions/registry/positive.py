"""Families on the positive numbers."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .row import (
    GAMMA,
    LOCATION_SCALE,
    SCALE,
    array,
    over_logs,
    rows,
)


class HalfT:
    """Twice a Student's t distribution, on the positive numbers."""

    def __init__(self, df, scale):
        self.t, self.args, self.dist, self.df = stats.t(df, scale=scale), (), HalfT, df
        self.kwds = {"df": df, "scale": scale}

    def logpdf(self, x):
        return self.t.logpdf(x) + np.log(2.0)

    def cdf(self, x):
        return np.where(x > 1e-7, 1.0 - 2.0 * self.t.sf(x), 2.0 * np.maximum(x, 0.0) * self.t.pdf(0.0))

    def ppf(self, q):
        return np.where(q > 1e-7, self.t.isf(0.5 - 0.5 * q), 0.5 * q / self.t.pdf(0.0))

    def mean(self):
        return np.where(np.asarray(self.df) > 1.0, over_logs(self, lambda x: x), np.inf)

    def var(self):
        return np.where(np.asarray(self.df) > 2.0, over_logs(self, lambda x: x * x) - self.mean() ** 2, np.inf)

    def entropy(self):
        return self.t.entropy() - np.log(2.0)


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
    *rows(
        "Erlang",
        lambda concentration, rate: stats.gamma(concentration, scale=1 / rate),
        {"concentration": 3, "rate": 2.5},
        {"concentration": array(1, 2, 40), "rate": array([0.1], [25.0])},
    ),
    *rows(
        "HalfStudentT",
        HalfT,
        {"df": 5.0, "scale": 1.0},
        {"df": 2.5, "scale": 0.37},
        {"df": 1.0, "scale": 3.0},
        {"df": array(0.7, 2.0, 3.3, 200.0), "scale": array([0.1], [25.0])},
    ),
    *rows(
        "LogLogistic",
        lambda loc, scale: stats.fisk(1 / np.asarray(scale), scale=np.exp(loc)),
        {"loc": 0.0, "scale": 0.4},
        {"loc": -1.3, "scale": 0.7},
        {"loc": 0.3, "scale": 1.0},
        {"loc": array(-2.0, 0.5), "scale": array([0.1], [1.5])},
    ),
    *rows(
        "FisherSnedecor",
        lambda df1, df2: stats.f(df1, df2),
        {"df1": 3.0, "df2": 7.0},
        {"df1": 2.5, "df2": 4.3},
        {"df1": 2.0, "df2": 2.0},
        {"df1": array(0.7, 1.0, 40.3), "df2": array([1.0], [9.5])},
    ),
    *rows("Rayleigh", lambda scale: stats.rayleigh(scale=scale), *SCALE),
    *rows(
        "Gompertz",
        lambda concentration, rate: stats.gompertz(concentration, scale=1 / rate),
        {"concentration": 1.0, "rate": 1.0},
        {"concentration": 0.37, "rate": 2.5},
        {"concentration": array(0.01, 2.5), "rate": array([0.1], [25.0])},
    ),
    *rows(
        "Wald",
        lambda mean, concentration: stats.invgauss(mean / concentration, scale=concentration),
        {"mean": 1.0, "concentration": 1.0},
        {"mean": 2.5, "concentration": 0.37},
        {"mean": array(0.1, 3.3), "concentration": array([0.2], [40.5])},
    ),
    *rows("Levy", lambda loc, scale: stats.levy(loc, scale), *LOCATION_SCALE),
]
