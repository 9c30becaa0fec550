"""Sticking the landing: pathwise, without the part of d log q that is zero on average.

The entropy enters as a draw of -log q(z; phi). Its derivative along the path stays, that in phi at a fixed z
goes: E[d log q(z; phi) / d phi] = 0. Where the guide is the posterior, log p - log q is constant in z and
the gradient has no noise at all; far from there closed forms have less.

Roeder, Wu and Duvenaud 2017, "Sticking the landing: simple, lower-variance gradient estimators for
variational inference", eq. 8.
"""

from __future__ import annotations

from .record import Estimator

WHY = "pathwise without the score of q, which is zero on average: no noise where the guide is the posterior"
ESTIMATOR = Estimator("stl", "pathwise", WHY, "Roeder, Wu and Duvenaud 2017", sampled=True)
