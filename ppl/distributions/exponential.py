"""Families whose log density is linear in a few functions of the value.

    log p(x) = sum_i <eta_i, t_i(x)> - A(eta) + log h(x)

`exponential_family(d)` gives the record of d's family: sufficient statistics t, natural parameters eta, log
normalizer A, mean parameters `E[t] = grad A`, base measure h, and the way back from eta (or E[t]) to a
distribution. Conjugate updates, natural gradients and divergences are written in these terms once for all
families. Three conventions make records easy to match and to compare:

- A statistic is named by its formula in x ("log x", "x x^T"); the base measure never holds a multiple of one of the
  statistics, so eta_i is the whole factor of t_i in the log density. A gamma has `eta = (a - 1, -b)`.
- Constants stand in A, so that h = 1 (`is_flat`) wherever nothing else depends on x.
- What must be known for the family to be exponential (the trials of a binomial) is `fixed`, by name.

Formulas are plain NumPy: recorded arrays pass through, batch axes come first, and those of eta and of the value
broadcast. Independent axes, masks and expansions are the business of whoever holds the wrapper: the record is that of
`d.core`, whose batch axes hold the elements.

Source: Wainwright and Jordan, Graphical models, exponential families, and variational inference (2008), section 3.

>>> from ppl.distributions import Gamma
>>> record = exponential_family(Gamma(3.0, 2.0))
>>> [t.name for t in record.statistics]
['log x', 'x']
>>> eta = record.natural(Gamma(3.0, 2.0))
>>> [float(e) for e in eta], float(record.mean_parameters(*eta)[1])
([2.0, -2.0], 1.5)
>>> record.build(*eta)
Gamma(concentration=3.0, rate=2.0; batch_shape=(), event_shape=())
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from ppl.array import is_recorded, logsumexp, softplus, triangular_solve
from ppl.distributions import constraints
from ppl.distributions._arrays import as_array, as_integer, broadcast, float_type, quiet, sum_last
from ppl.distributions.base import Distribution
from ppl.distributions.bounded import Beta
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.discrete import Bernoulli, Categorical, Poisson
from ppl.distributions.multivariate import Dirichlet, MultivariateNormal, log_diagonal, squared_distance
from ppl.distributions.positive import Gamma
from ppl.distributions.real import Normal
from ppl.errors import ModelError

Natural = tuple[Array, ...]
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Statistic:
    """One sufficient statistic: a function of the value, and where its two parameters live.

    `function` maps a value to an array of its batch axes and `event_dim` more. `natural_support` is the set
    of eta_i, `mean_support` that of `E[t_i]`: each for itself, where all of them together may be confined
    further (`E[x^2] > E[x]^2`).
    """

    name: str
    function: Callable[[Array], Array]
    event_dim: int
    natural_support: Constraint
    mean_support: Constraint


def _one(value: Array) -> Array:
    return 0.0


@dataclass(frozen=True)
class ExponentialFamily:
    """The record of one family, and of one value of what is `fixed`.

    - `to_natural(d)`: the natural parameters as they follow from d's parameters; `natural(d)` has them at d's batch.
    - `log_normalizer(*eta)`: A, over the batch.
    - `mean_parameters(*eta)`: `E[t] = grad A`, shaped like eta.
    - `build(*eta)`: the distribution with these natural parameters.
    - `build_from_mean(*means)`: the distribution with these `E[t]`; None where that needs equations solved.
    - `log_base_measure(x)`: log h, over the batch axes of x.
    """

    family: type[Distribution]
    statistics: tuple[Statistic, ...]
    to_natural: Callable[[Distribution], Natural]
    log_normalizer: Callable[..., Array]
    mean_parameters: Callable[..., Natural]
    build: Callable[..., Distribution]
    build_from_mean: Callable[..., Distribution] | None = None
    log_base_measure: Callable[[Array], Array] = _one
    fixed: Mapping[str, Array] = field(default_factory=dict)

    @property
    def is_flat(self) -> bool:
        """Whether h = 1 everywhere on the support."""
        return self.log_base_measure is _one

    def evaluate(self, value: Array) -> Natural:
        """The sufficient statistics of a value."""
        with quiet():
            return tuple(t.function(as_array(value)) for t in self.statistics)

    def natural(self, d: Distribution) -> Natural:
        """The natural parameters of d, each of its batch shape and the statistic's axes."""
        with quiet():
            eta = self.to_natural(d)
        return tuple(
            broadcast(e, d.batch_shape + np.shape(e)[np.ndim(e) - t.event_dim :])
            for e, t in zip(eta, self.statistics, strict=True)
        )

    def inner(self, eta: Natural, t: Natural) -> Array:
        """`sum_i <eta_i, t_i>` over the batch; 0 where one of the two is 0 and the other infinite."""
        parts = zip(eta, t, self.statistics, strict=True)
        return sum(sum_last(_times(e, s), statistic.event_dim) for e, s, statistic in parts)

    def log_prob(self, value: Array, *eta: Array) -> Array:
        """`<eta, t(x)> - A(eta) + log h(x)`, for x in the support.

        >>> from ppl.distributions import Poisson
        >>> record = exponential_family(Poisson)
        >>> record.log_prob(2.0, np.log(3.0)).round(6) == Poisson(3.0).log_prob(2.0).round(6)
        np.True_
        """
        value = as_array(value)
        with quiet():
            return self.inner(eta, self.evaluate(value)) - self.log_normalizer(*eta) + self.log_base_measure(value)


def _times(eta: Array, t: Array) -> Array:
    """Their product; 0 where one is 0, whatever the other. Recorded finite numbers need no such care."""
    if is_recorded(eta) or is_recorded(t):
        return eta * t
    return np.where((eta == 0) | (t == 0), 0.0, eta * t)


# -- the registry ----------------------------------------------------------------------------------

Maker = Callable[..., ExponentialFamily]
_MAKERS: dict[type[Distribution], tuple[Maker, dict[str, Callable[[Distribution], Array]]]] = {}


def register_exponential_family(family: type[Distribution], **fixed: Callable[[Distribution], Array]):
    """Put a function that makes the record of a family into the registry.

    Each keyword is something that the record takes as known, with the function that reads it off a distribution; the
    decorated function takes it as an argument of that name.
    """

    def register(make: Maker) -> Maker:
        _MAKERS[family] = make, fixed
        return make

    return register


def exponential_family(of: Distribution | type[Distribution], **fixed: Array) -> ExponentialFamily | None:
    """The record of a distribution's family, or None where it is not an exponential family.

    For a distribution whatever its family takes as known is read off it. For a class it is given by name.

    >>> from ppl.distributions import Binomial, Cauchy
    >>> exponential_family(Cauchy()) is None
    True
    >>> exponential_family(Categorical, size=3).fixed
    {'size': 3}
    """
    family = of if isinstance(of, type) else type(of)
    if family not in _MAKERS:
        return None
    make, readers = _MAKERS[family]
    if isinstance(of, Distribution):
        fixed = {name: read(of) for name, read in readers.items()}
    if set(fixed) != set(readers):
        raise ModelError(
            got=f"exponential_family({family.__name__}{''.join(f', {name}=...' for name in fixed)})",
            expected="the fixed parameters " + ", ".join(readers) if readers else "no further argument",
            hint="a distribution in place of its class, or the fixed parameters by name",
        )
    return make(**fixed)


def families() -> tuple[type[Distribution], ...]:
    """All classes with a record."""
    return tuple(_MAKERS)


# -- sets --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _NegativeDefinite(Constraint):
    event_dim = 2

    def __call__(self, value):
        return constraints.positive_definite(-value)

    def feasible_like(self, value):
        return -np.eye(np.shape(value)[-1])

    def __str__(self):
        return "a symmetric negative definite matrix"


negative = constraints.less_than(0.0)
negative_definite = _NegativeDefinite()
_above_minus_one = constraints.greater_than(-1.0)


def _vector(constraint: Constraint) -> Constraint:
    return constraints.independent(constraint, 1)


def _identity(x):
    return x


# -- numbers -----------------------------------------------------------------------------------------


@register_exponential_family(Normal)
def _normal():
    def log_normalizer(first, second):
        return -0.25 * first * first / second - 0.5 * np.log(-2.0 * second) + 0.5 * _LOG_2PI

    def means(first, second):
        variance = -0.5 / second
        loc = first * variance
        return loc, loc * loc + variance

    return ExponentialFamily(
        Normal,
        (
            Statistic("x", _identity, 0, constraints.real, constraints.real),
            Statistic("x^2", np.square, 0, negative, constraints.positive),
        ),
        lambda d: (d.loc / (d.scale * d.scale), -0.5 / (d.scale * d.scale)),
        log_normalizer,
        means,
        lambda first, second: Normal(-0.5 * first / second, np.sqrt(-0.5 / second)),
        lambda first, second: Normal(first, np.sqrt(second - first * first)),
    )


@register_exponential_family(Gamma)
def _gamma():
    return ExponentialFamily(
        Gamma,
        (
            Statistic("log x", np.log, 0, _above_minus_one, constraints.real),
            Statistic("x", _identity, 0, negative, constraints.positive),
        ),
        lambda d: (d.concentration - 1.0, -d.rate),
        lambda log_x, x: special.gammaln(log_x + 1.0) - (log_x + 1.0) * np.log(-x),
        lambda log_x, x: (special.digamma(log_x + 1.0) - np.log(-x), (log_x + 1.0) / -x),
        lambda log_x, x: Gamma(log_x + 1.0, -x),
    )


@register_exponential_family(Beta)
def _beta():
    def means(first, second):
        total = special.digamma(first + second + 2.0)
        return special.digamma(first + 1.0) - total, special.digamma(second + 1.0) - total

    return ExponentialFamily(
        Beta,
        (
            Statistic("log x", np.log, 0, _above_minus_one, negative),
            Statistic("log(1 - x)", lambda x: np.log1p(-x), 0, _above_minus_one, negative),
        ),
        lambda d: (d.concentration1 - 1.0, d.concentration0 - 1.0),
        lambda first, second: special.betaln(first + 1.0, second + 1.0),
        means,
        lambda first, second: Beta(first + 1.0, second + 1.0),
    )


@register_exponential_family(Bernoulli)
def _bernoulli():
    return ExponentialFamily(
        Bernoulli,
        (Statistic("x", _identity, 0, constraints.real, constraints.unit_interval),),
        lambda d: (d.logits,),
        softplus,
        lambda logits: (special.expit(logits),),
        lambda logits: Bernoulli(logits=logits),
        lambda probs: Bernoulli(probs=probs),
    )


@register_exponential_family(Poisson)
def _poisson():
    return ExponentialFamily(
        Poisson,
        (Statistic("x", _identity, 0, constraints.real, constraints.nonnegative),),
        lambda d: (np.log(d.rate),),
        np.exp,
        lambda log_rate: (np.exp(log_rate),),
        lambda log_rate: Poisson(np.exp(log_rate)),
        lambda rate: Poisson(rate),
        lambda x: -special.gammaln(x + 1.0),
    )


# -- categories --------------------------------------------------------------------------------------


def _softmax(eta):
    return np.exp(eta - logsumexp(eta, axis=-1)[..., None])


@register_exponential_family(Categorical, size=lambda d: np.shape(d.logits)[-1])
def _categorical(size):
    def one_hot(x):
        return np.where(np.expand_dims(as_integer(x), -1) == np.arange(size), 1.0, 0.0)

    return ExponentialFamily(
        Categorical,
        (Statistic("one-hot x", one_hot, 1, constraints.log_weights, constraints.simplex),),
        lambda d: (d.logits,),
        lambda eta: logsumexp(eta, axis=-1),
        lambda eta: (_softmax(eta),),
        lambda eta: Categorical(logits=eta),
        lambda probs: Categorical(probs=probs),
        fixed={"size": size},
    )


# -- vectors -----------------------------------------------------------------------------------------


@register_exponential_family(Dirichlet)
def _dirichlet():
    def log_normalizer(eta):
        a = eta + 1.0
        return np.sum(special.gammaln(a), axis=-1) - special.gammaln(np.sum(a, axis=-1))

    def means(eta):
        a = eta + 1.0
        return (special.digamma(a) - special.digamma(np.sum(a, axis=-1))[..., None],)

    return ExponentialFamily(
        Dirichlet,
        (Statistic("log x", np.log, 1, _vector(_above_minus_one), _vector(negative)),),
        lambda d: (d.concentration - 1.0,),
        log_normalizer,
        means,
        lambda eta: Dirichlet(eta + 1.0),
    )


def _outer(x, y):
    return x[..., :, None] * y[..., None, :]


def _inverse(positive_definite):
    """The inverse of a symmetric positive definite matrix, symmetric to the last digit."""
    tril = np.linalg.cholesky(positive_definite)
    eye = np.eye(np.shape(tril)[-1], dtype=float_type(tril))
    root = triangular_solve(tril, broadcast(eye, np.shape(tril)))
    return np.matmul(np.swapaxes(root, -2, -1), root)


def _times_vector(matrix, x):
    return np.sum(matrix * x[..., None, :], axis=-1)


@register_exponential_family(MultivariateNormal)
def _multivariate_normal():
    def log_normalizer(first, second):
        tril, n = np.linalg.cholesky(-2.0 * second), np.shape(first)[-1]
        return 0.5 * squared_distance(tril, first) - log_diagonal(tril) + 0.5 * n * _LOG_2PI

    def means(first, second):
        covariance = _inverse(-2.0 * second)
        loc = _times_vector(covariance, first)
        return loc, covariance + _outer(loc, loc)

    def to_natural(d):
        precision = d.precision_matrix
        return _times_vector(precision, d.loc), -0.5 * precision

    return ExponentialFamily(
        MultivariateNormal,
        (
            Statistic("x", _identity, 1, constraints.real_vector, constraints.real_vector),
            Statistic("x x^T", lambda x: _outer(x, x), 2, negative_definite, constraints.positive_definite),
        ),
        to_natural,
        log_normalizer,
        means,
        lambda first, second: MultivariateNormal(
            _times_vector(_inverse(-2.0 * second), first), precision_matrix=-2.0 * second
        ),
        lambda first, second: MultivariateNormal(first, covariance_matrix=second - _outer(first, first)),
    )
