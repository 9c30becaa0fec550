"""VIMCO: for bounds of several samples, each sample's baseline is the bound that the others would give.

    (L - L_without_k) d log q(z_k),   L_without_k: w_k replaced by the geometric mean of the others

Mnih and Rezende 2016, "Variational inference for Monte Carlo objectives", eq. 8 and 9.
"""

from __future__ import annotations

from .record import Estimator

WHY = "score function; the baseline of a sample is the bound with its weight the geometric mean of the others"
ESTIMATOR = Estimator("vimco", "score", WHY, "Mnih and Rezende 2016", sampled=True, multiple=True)
