"""Guides: the variational distribution, as factors on the tape of the model.

latent site --in place / guide function / automatic--> Factor(noise, draw, values, log density)
"""

from .assembly import AUTOMATIC, Assembly, check_guide
from .automatic import PRIOR, Joint, mean_field, unconstrained_shape
from .factor import Factor

__all__ = ["AUTOMATIC", "PRIOR", "Assembly", "Factor", "Joint", "check_guide", "mean_field", "unconstrained_shape"]
