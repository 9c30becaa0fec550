"""The bijection from the reals onto each constraint."""

from __future__ import annotations

from ppl.distributions import constraints
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.transforms.base import ComposeTransform, IndependentTransform, Transform
from ppl.distributions.transforms.elementwise import (
    AffineOnto,
    ExpTransform,
    IdentityTransform,
    SigmoidTransform,
    SoftplusTransform,
)
from ppl.distributions.transforms.matrices import (
    CholeskyTransform,
    CorrCholeskyTransform,
    CorrMatrixCholeskyTransform,
    LowerCholeskyTransform,
    ScaledUnitLowerCholeskyTransform,
    SoftplusLowerCholeskyTransform,
)
from ppl.distributions.transforms.vectors import (
    CatTransform,
    L1BallTransform,
    OrderedTransform,
    PositiveOrderedTransform,
    StackTransform,
    StickBreakingTransform,
    ZeroSumTransform,
)
from ppl.errors import ModelError


def biject_to(constraint: Constraint) -> Transform:
    """The bijection from unconstrained reals onto `constraint`.

    exp for positive numbers, a scaled sigmoid for intervals, exp and a shift for half lines, stick
    breaking for the simplex, logs of the diagonal for Cholesky factors. Raises ModelError for discrete
    sets, and where no bijection is known: a sphere, for one, is no image of the reals.

    >>> biject_to(constraints.positive)
    ExpTransform()
    """
    for known, transform in _BIJECTIONS:
        if constraint == known:
            return transform
    match constraint:
        case constraints.Independent(base=base, reinterpreted_batch_ndims=n):
            return IndependentTransform(biject_to(base), n)
        case constraints.Stack(parts=parts):
            return StackTransform(tuple(map(biject_to, parts)))
        case constraints.Cat(parts=parts, lengths=lengths):
            onto = tuple(map(biject_to, parts))
            return CatTransform(onto, tuple(t.inverse_shape((n,))[-1] for t, n in zip(onto, lengths, strict=True)))
        case constraints.ZeroSum(event_dim=n):
            return ZeroSumTransform(n)
        case constraints.GreaterThan(lower_bound=end) | constraints.GreaterThanEq(lower_bound=end):
            return ComposeTransform((ExpTransform(), _from_positive(end, 1.0, constraint)))
        case constraints.LessThan(upper_bound=end) | constraints.LessThanEq(upper_bound=end):
            return ComposeTransform((ExpTransform(), _from_positive(end, -1.0, constraint)))
        case (
            constraints.Interval(lower_bound=lower, upper_bound=upper)
            | constraints.OpenInterval(lower_bound=lower, upper_bound=upper)
        ):
            onto = AffineOnto(lower, upper - lower, domain=constraints.unit_interval, image=constraint)
            return ComposeTransform((SigmoidTransform(), onto))
    raise ModelError(
        got=f"a bijection from the reals onto {constraint}",
        expected="a continuous constraint" if constraint.is_discrete else "a constraint with a known bijection",
        hint="an estimator for discrete sites" if constraint.is_discrete else "a transformed site",
    )


def _from_positive(end: Array, scale: float, image: Constraint) -> Transform:
    return AffineOnto(end, scale, domain=constraints.positive, image=image)


_BIJECTIONS: tuple[tuple[Constraint, Transform], ...] = (
    (constraints.real, IdentityTransform()),
    (constraints.positive, ExpTransform()),
    (constraints.nonnegative, ExpTransform()),
    (constraints.softplus_positive, SoftplusTransform()),
    (constraints.unit_interval, SigmoidTransform()),
    (constraints.simplex, StickBreakingTransform()),
    (constraints.l1_ball, L1BallTransform()),
    (constraints.log_weights, IndependentTransform(IdentityTransform(), 1)),
    (constraints.ordered_vector, OrderedTransform()),
    (constraints.positive_ordered_vector, PositiveOrderedTransform()),
    (constraints.lower_cholesky, LowerCholeskyTransform()),
    (constraints.softplus_lower_cholesky, SoftplusLowerCholeskyTransform()),
    (constraints.scaled_unit_lower_cholesky, ScaledUnitLowerCholeskyTransform()),
    (constraints.corr_cholesky, CorrCholeskyTransform()),
    (constraints.corr_matrix, ComposeTransform((CorrCholeskyTransform(), CorrMatrixCholeskyTransform().inv))),
    (constraints.positive_definite, ComposeTransform((LowerCholeskyTransform(), CholeskyTransform().inv))),
    (constraints.positive_semidefinite, ComposeTransform((LowerCholeskyTransform(), CholeskyTransform().inv))),
)
