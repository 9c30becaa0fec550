"""VarGrad: the gradient of half the variance of log q - log p over particles.

    1 / (K - 1) sum_k (f_k - mean f) d log q(z_k),   f = log p - log q

It is leave-one-out with log q drawn, where a closed form would be, and without its own gradient, which is
zero on average. Where the guide is the posterior f is constant, and the gradient has no noise.

Richter, Boustati, Nuesken, Ruiz and Akyildiz 2020, "VarGrad: a low-variance gradient estimator for variational
inference", eq. 8.
"""

from __future__ import annotations

from . import score
from .record import Estimator

WHY = "the gradient of the log ratio's variance: leave-one-out with log q drawn"
ESTIMATOR = Estimator("vargrad", "score", WHY, "Richter et al. 2020", sampled=True, control=score.CONTROL)
