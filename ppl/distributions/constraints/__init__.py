"""Sets that parameters and values live in, under NumPyro's names.

A constraint answers three questions: is this value inside (`constraint(value)`, one truth value
per batch element), what is it in words (`str(constraint)`, for messages), and what is some point
inside (`feasible_like`, so that a density is never evaluated where it is undefined). Bounds may be
numbers or arrays, recorded ones included. Constraints are equal when their bounds are.

>>> bool(positive(2.5)), bool(positive(-1.0))
(True, False)
>>> print(interval(0.0, 10.0))
a number in [0.0, 10.0]
>>> greater_than(0.0) == positive
True

Sums, lengths and symmetry are tested up to rounding: 1e-6 of what they should be, 1e-3 in float32.
"""

from ppl.distributions._arrays import Array
from ppl.distributions.constraints.base import ByValue, Constraint, flatten
from ppl.distributions.constraints.combined import (
    Cat,
    Dependent,
    Independent,
    Stack,
    between,
    bounds,
    cat,
    dependent,
    independent,
    real_matrix,
    real_vector,
    stack,
    within,
)
from ppl.distributions.constraints.matrices import (
    corr_cholesky,
    corr_matrix,
    lower_cholesky,
    positive_definite,
    positive_semidefinite,
    scaled_unit_lower_cholesky,
    softplus_lower_cholesky,
)
from ppl.distributions.constraints.numbers import (
    GreaterThan,
    GreaterThanEq,
    IntegerGreaterThanEq,
    IntegerInterval,
    Interval,
    LessThan,
    LessThanEq,
    OpenInterval,
    boolean,
    circular,
    greater_than,
    greater_than_eq,
    integer,
    integer_greater_than,
    integer_interval,
    interval,
    less_than,
    less_than_eq,
    nonnegative,
    nonnegative_integer,
    open_interval,
    positive,
    positive_integer,
    real,
    softplus_positive,
    unit_interval,
)
from ppl.distributions.constraints.vectors import (
    Multinomial,
    ZeroSum,
    l1_ball,
    log_weights,
    multinomial,
    one_hot,
    ordered_vector,
    positive_ordered_vector,
    simplex,
    sorted_vector,
    sphere,
    zero_sum,
)

__all__ = [
    "Constraint",
    "boolean",
    "cat",
    "circular",
    "corr_cholesky",
    "corr_matrix",
    "dependent",
    "greater_than",
    "greater_than_eq",
    "independent",
    "integer",
    "integer_greater_than",
    "integer_interval",
    "interval",
    "l1_ball",
    "less_than",
    "less_than_eq",
    "log_weights",
    "lower_cholesky",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "open_interval",
    "ordered_vector",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_ordered_vector",
    "positive_semidefinite",
    "real",
    "real_matrix",
    "real_vector",
    "scaled_unit_lower_cholesky",
    "simplex",
    "softplus_lower_cholesky",
    "softplus_positive",
    "sorted_vector",
    "sphere",
    "stack",
    "unit_interval",
    "within",
    "zero_sum",
]
