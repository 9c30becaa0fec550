"""The posteriors: each a model function as a user would write it, its arguments, and its reference.

Sites carry the names of the reference file, so that `beta[2]` there is `fit["beta"].mean[1]` here.
"""

from .hierarchies import HIERARCHIES
from .posterior import INFERENCE_GYM, POSTERIORDB, Posterior
from .regressions import REGRESSIONS
from .summed_out import SUMMED_OUT
from .time_series import TIME_SERIES

POSTERIORS = tuple(
    sorted((*REGRESSIONS, *HIERARCHIES, *TIME_SERIES, *SUMMED_OUT), key=lambda p: (p.folder.lower(), p.name))
)
BY_NAME = {p.name: p for p in POSTERIORS}

__all__ = ["BY_NAME", "INFERENCE_GYM", "POSTERIORDB", "POSTERIORS", "Posterior"]
