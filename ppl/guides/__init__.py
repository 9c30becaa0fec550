"""Guides: the variational distribution, as factors on the tape of the model.

latent site --in place / guide function / automatic--> Factor(noise, draw, values, log density)
"""

from .assembly import AUTOMATIC, Assembly, check_guide
from .automatic import PRIOR, Joint, mean_field, unconstrained_shape
from .chains import ChainFamily, NormalChain, Part, StateChain
from .factor import Factor
from .families import CLOSED, Families, SiteFamily, values_of

__all__ = [
    "AUTOMATIC",
    "CLOSED",
    "PRIOR",
    "Assembly",
    "ChainFamily",
    "Factor",
    "Families",
    "Joint",
    "NormalChain",
    "Part",
    "SiteFamily",
    "StateChain",
    "check_guide",
    "mean_field",
    "unconstrained_shape",
    "values_of",
]
