"""Results: the fit, its marginals, predictions, table, verdict and explanation."""

from ..algorithms.evaluate import Bound, evaluate
from .checks import PredictiveCheck, predictive_check
from .files import continued, keeping, kept, load
from .fit import Fit
from .marginals import Marginal
from .predictive import Draws, prior_predictive
from .summary import Summary
from .verdict import Verdict, judge
from .weights import Ratios, weigh

__all__ = [
    "Bound",
    "Draws",
    "Fit",
    "Marginal",
    "PredictiveCheck",
    "Ratios",
    "Summary",
    "Verdict",
    "continued",
    "evaluate",
    "judge",
    "keeping",
    "kept",
    "load",
    "predictive_check",
    "prior_predictive",
    "weigh",
]
