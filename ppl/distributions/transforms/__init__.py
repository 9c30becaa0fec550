"""Bijections between unconstrained reals and constrained sets, with log-Jacobians.

    x (domain) --t(x)--> y (codomain) --t.inverse(y)--> x

`log_abs_det_jacobian(x, y)` is `log |det dy/dx|`, one number per batch element. `biject_to`
gives the bijection from the reals onto a constraint. Images of bounded sets stay inside in floating
point too, also far out where a sigmoid saturates; those of unbounded ones while exp does not leave
the numbers of the floating type.

Where a set has fewer dimensions than its arrays have elements, the Jacobian is that of free coordinates:
all parts of a simplex but the last, the entries of a matrix on and below its diagonal (correlations: below it),
and for zero sums an orthonormal basis.

>>> from ppl.distributions import constraints
>>> t = biject_to(constraints.interval(2.0, 3.0))
>>> float(t(1000.0)), float(t(0.0)), float(t.inverse(2.5))
(3.0, 2.5, 0.0)
"""

from ppl.distributions.transforms.base import (
    ComposeTransform,
    IndependentTransform,
    InverseTransform,
    Transform,
    compose,
)
from ppl.distributions.transforms.bijections import biject_to
from ppl.distributions.transforms.elementwise import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    IdentityTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
)
from ppl.distributions.transforms.matrices import (
    CholeskyTransform,
    CorrCholeskyTransform,
    CorrMatrixCholeskyTransform,
    LowerCholeskyAffine,
    LowerCholeskyTransform,
    ScaledUnitLowerCholeskyTransform,
    SoftplusLowerCholeskyTransform,
)
from ppl.distributions.transforms.vectors import (
    CatTransform,
    L1BallTransform,
    OrderedTransform,
    PermuteTransform,
    PositiveOrderedTransform,
    RecursiveLinearTransform,
    ReshapeTransform,
    SimplexToOrderedTransform,
    StackTransform,
    StickBreakingTransform,
    ZeroSumTransform,
)

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "CholeskyTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CorrMatrixCholeskyTransform",
    "ExpTransform",
    "IdentityTransform",
    "IndependentTransform",
    "InverseTransform",
    "L1BallTransform",
    "LowerCholeskyAffine",
    "LowerCholeskyTransform",
    "OrderedTransform",
    "PermuteTransform",
    "PositiveOrderedTransform",
    "PowerTransform",
    "RecursiveLinearTransform",
    "ReshapeTransform",
    "ScaledUnitLowerCholeskyTransform",
    "SigmoidTransform",
    "SimplexToOrderedTransform",
    "SoftplusLowerCholeskyTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "ZeroSumTransform",
    "biject_to",
]
