"""Doubly reparameterized gradients, for bounds of several samples: the score of q is reparameterized once more.

    sum_k w_k^2 (d log (p/q) / d z_k) d z_k / d phi + sum_k w_k d log p / d theta,   w the normalized weights

(for Renyi's bound w (alpha + (1 - alpha) w) in the place of w^2). The signal of the plain gradient in phi shrinks
faster than its noise as k grows; this one's does not.

Tucker, Lawson, Gu and Maddison 2019, "Doubly reparameterized gradient estimators for Monte Carlo objectives", eq. 8.
"""

from __future__ import annotations

from .record import Estimator

WHY = "the draws' paths under squared weights, without the score of q"
ESTIMATOR = Estimator("dreg", "pathwise", WHY, "Tucker et al. 2019", sampled=True, multiple=True)
