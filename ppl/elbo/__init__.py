"""The bound, term by term: derived, each gradient's estimator chosen with a reason, made a program.

ModelGraph + guide --derive--> Derivation(terms, program) --choose--> Plan --Objective--> array programs
"""

from .bounds import ELBO, IWAE, FreeBits, Renyi, check_bound, weight_at
from .choose import Choice, Plan, choose, exact_reason
from .derivation import Derivation, FactorFacts, Problem, Term, derive, network_of, problem
from .eager import EagerObjective
from .enumeration import listed
from .measure import GradientRecord, gradient
from .minibatch import minibatches
from .multisample import MultipleObjective, objective_of
from .objective import Objective
from .spread import Finite

__all__ = [
    "ELBO",
    "IWAE",
    "Choice",
    "Derivation",
    "EagerObjective",
    "FactorFacts",
    "Finite",
    "FreeBits",
    "GradientRecord",
    "MultipleObjective",
    "Objective",
    "Plan",
    "Problem",
    "Renyi",
    "Term",
    "check_bound",
    "choose",
    "derive",
    "exact_reason",
    "gradient",
    "listed",
    "minibatches",
    "network_of",
    "objective_of",
    "problem",
    "weight_at",
]
