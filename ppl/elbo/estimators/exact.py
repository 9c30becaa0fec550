"""Exact: the expectation is known in closed form, so its gradient has no noise of its own.

Closed forms of KL and entropy are always used. Of a term that is linear or quadratic in a Gaussian draw, as the
program says, the expectation is taken where it costs little beside the whole program, or where a site or a call
asks for it (`ppl/elbo/expectations.py`).
"""

from __future__ import annotations

from .record import Estimator

WHY = {
    "KL": "the Kullback-Leibler divergence of this pair of families is known",
    "entropy": "the entropy of this family is known",
}
GAUSSIAN = "a term that is linear or quadratic in a Gaussian draw has a known expectation"
ESTIMATOR = Estimator("exact", "exact", "the expectation is known in closed form")
