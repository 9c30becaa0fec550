"""Exact: the expectation is known in closed form, so its gradient has no noise of its own."""

from __future__ import annotations

from .record import Estimator

WHY = {
    "KL": "the Kullback-Leibler divergence of this pair of families is known",
    "entropy": "the entropy of this family is known",
}
ESTIMATOR = Estimator("exact", "exact", "the expectation is known in closed form")
