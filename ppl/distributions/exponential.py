"""Families whose log density is linear in a few functions of the value.

    log p(x) = sum_i <eta_i, t_i(x)> - A(eta) + log h(x)

`exponential_family(d)` gives the record of d's family: sufficient statistics t, natural parameters eta, log
normalizer A, mean parameters `E[t] = grad A`, base measure h, and the way back from eta (or E[t]) to a
distribution. Conjugate updates, natural gradients and divergences are written in these terms once for all
families. Three conventions make records easy to match and to compare:

- A statistic is named by its formula in x ("log x", "x x^T"); the base measure never holds a multiple of one of the
  statistics, so eta_i is the whole factor of t_i in the log density. A gamma has `eta = (a - 1, -b)`; so where
  concentrations are far below 1, eta holds them to 1e-16 and no better.
- Constants stand in A, so that h = 1 (`is_flat`) wherever nothing else depends on x.
- What must be known for the family to be exponential (the trials of a binomial) is `fixed`, by name.

Formulas are plain NumPy: recorded arrays pass through, batch axes come first, and those of eta and of the value
broadcast. Independent axes, masks and expansions are the business of whoever holds the wrapper: the record is that of
`d.core`, whose batch axes hold the elements.

Source: Wainwright and Jordan, Graphical models, exponential families, and variational inference (2008), section 3.

The records themselves are in `records.py`.

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ppl.array import is_recorded
from ppl.distributions._arrays import as_array, broadcast, quiet, sum_last
from ppl.distributions.constraints import Array, Constraint
from ppl.errors import ModelError

if TYPE_CHECKING:  # the base class has these records for a property
    from ppl.distributions.base import Distribution

Natural = tuple[Array, ...]


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

    For a distribution whatever its family takes as known is read off it; for a class it is given by name. A subclass,
    such as the Erlang distribution, has the record of its family.

    >>> from ppl.distributions import Categorical, Cauchy
    >>> exponential_family(Cauchy()) is None
    True
    >>> exponential_family(Categorical, size=3).fixed
    {'size': 3}
    """
    given = of if isinstance(of, type) else type(of)
    family = next((t for t in given.__mro__ if t in _MAKERS), None)
    if family is None:
        return None
    make, readers = _MAKERS[family]
    if given is not of:
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
