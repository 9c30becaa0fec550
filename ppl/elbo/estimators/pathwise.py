"""Pathwise: differentiate the draw itself, z = t(parameters, noise).

d E[f(z)] = E[f'(z) dz]. Right only where f is continuous in z along the program: a jump has
a derivative of zero almost everywhere, and the gradient would silently miss it.
"""

from __future__ import annotations

from .record import Estimator

WHY = "a draw is a differentiable function of parameters and noise, and the term is continuous in it"
NOT_REPARAMETERIZED = "draws of {family} are no differentiable function of its parameters"
JUMP = "'{jump}' jumps on the way from the draw to the term"
BRANCH = "the model's control flow depends on the draw"
OWN_JUMP = "the draw itself jumps as a parameter moves"
ESTIMATOR = Estimator("pathwise", "pathwise", WHY, "Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014")
