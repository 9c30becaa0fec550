"""The bound, term by term: derived, each gradient's estimator chosen with a reason, made a program.

ModelGraph + guide --derive--> Derivation(terms, program) --choose--> Plan --Objective--> array programs
"""

from .choose import Choice, Plan, choose, exact_reason
from .derivation import Derivation, FactorFacts, Problem, Term, derive, problem
from .eager import EagerObjective
from .enumeration import listed
from .measure import GradientRecord, gradient
from .minibatch import minibatches
from .objective import Objective
from .spread import Finite

__all__ = [
    "Choice",
    "Derivation",
    "EagerObjective",
    "FactorFacts",
    "Finite",
    "GradientRecord",
    "Objective",
    "Plan",
    "Problem",
    "Term",
    "choose",
    "derive",
    "exact_reason",
    "gradient",
    "listed",
    "minibatches",
    "problem",
]
