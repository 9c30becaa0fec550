"""Probabilistic models as plain functions over NumPy, and their posteriors by variational inference.

>>> import ppl
>>> import ppl.distributions as dist
>>> def model(y):
...     mu = ppl.sample("mu", dist.Normal(0, 1))
...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
>>> fit = ppl.infer(model, 2.0, progress=False)
>>> round(float(fit["mu"].sd), 2)
0.71
"""

from typing import Any

from . import distributions, nn, optim
from .algorithms import BBVI, CAVI, DADVI, EM, MAP, NUTS, SVI, Laplace, Pathfinder
from .array import stop_gradient
from .elbo.bounds import ELBO, IWAE, FreeBits, Renyi
from .elbo.measure import GradientRecord, gradient
from .errors import (
    ConjugacyError,
    DataError,
    GuideError,
    ModelError,
    NumericalError,
    PPLError,
    Reason,
    ShapeError,
    SupportError,
)
from .fit import Fit, load, predictive_check, prior_predictive
from .graph import graph
from .infer import infer
from .model import deterministic, factor, handlers, module, param, plate, sample, scan, state, training
from .version import __version__

LATE = ("compare", "vsbc")  # what few programs use is imported where it is used


def __getattr__(name: str) -> Any:
    if name in LATE:
        from . import studies

        return getattr(studies, name)
    raise AttributeError(f"module 'ppl' has no attribute '{name}'")


__all__ = [
    "BBVI",
    "CAVI",
    "DADVI",
    "ELBO",
    "EM",
    "IWAE",
    "MAP",
    "NUTS",
    "SVI",
    "ConjugacyError",
    "DataError",
    "Fit",
    "FreeBits",
    "GradientRecord",
    "GuideError",
    "Laplace",
    "ModelError",
    "NumericalError",
    "PPLError",
    "Pathfinder",
    "Reason",
    "Renyi",
    "ShapeError",
    "SupportError",
    "compare",
    "deterministic",
    "distributions",
    "factor",
    "gradient",
    "graph",
    "handlers",
    "infer",
    "load",
    "module",
    "nn",
    "optim",
    "param",
    "plate",
    "predictive_check",
    "prior_predictive",
    "sample",
    "scan",
    "state",
    "stop_gradient",
    "training",
    "vsbc",
]
