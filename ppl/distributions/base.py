"""The contract of a distribution, and what all families share.

A family states facts (`arg_constraints`, `support`, `reparameterized`, `noise`) and gives short
formulas: `_log_density`, and where they are known `from_noise`, `_draw`, `_mean`, `_variance`,
`_mode`, `_entropy`, `_cdf`, `_icdf`. This file adds what is the same for all: shapes, validation,
lazy expansion, densities outside the support, flattening.

    parameters, noise --from_noise--> value --log_prob--> log density, of shape sample_shape + batch_shape

Formulas are plain NumPy, so numbers, arrays and recorded arrays all pass through them. In double precision the log
densities of single numbers are right to 1e-7 of the larger of themselves and 1, for shapes and scales from 1e-8 to
1e8 and forty scales out; in single precision to 3e-4, for shapes and scales from 1e-3 to 1e3.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ppl.array import is_recorded
from ppl.distributions import constraints
from ppl.distributions._arrays import (
    Shape,
    append_axes,
    as_array,
    as_numbers,
    as_shape,
    broadcast,
    first_offender,
    quiet,
    sum_last,
)
from ppl.distributions._tails import log_of
from ppl.distributions.constraints import Array, Constraint, flatten
from ppl.distributions.exponential import ExponentialFamily, exponential_family
from ppl.errors import ModelError, ShapeError, SupportError, in_words

Seed = np.random.Generator | int

# What a user asks for, and the hook with which a family answers.
_HOOKS = {
    "mean": "_mean",
    "variance": "_variance",
    "mode": "_mode",
    "entropy": "_entropy",
    "cdf": "_cdf",
    "icdf": "_icdf",
    "log_cdf": "_cdf",
    "log_survival": "_cdf",
    "sample": "_draw",
    "enumerate_support": "_enumerate",
}

_INSTEAD = {
    "mean": "d.icdf(0.5) for a median, or an average of draws where the mean exists",
    "variance": "quantiles by d.icdf, or the variance of draws where it exists",
    "entropy": "the average of -d.log_prob(d.sample(rng, (1000,)))",
    "enumerate_support": "a family with finitely many values, such as Categorical",
}


# What arguments are called in other places.
_ELSEWHERE = {
    "mu": "loc",
    "mean": "loc",
    "sigma": "scale",
    "sd": "scale",
    "std": "scale",
    "p": "probs",
    "cov": "covariance_matrix",
    "lam": "rate",
    "nu": "df",
    "alpha": "concentration",
    "shape": "concentration",
    "kappa": "concentration",
    "beta": "rate",
    "a": "concentration1",
    "b": "concentration0",
    "n": "total_count",
}


class Distribution:
    """A family with its parameters: densities, draws and moments over a batch.

    Class-level facts, read by the inference engine:

    - `arg_constraints`: the set each parameter lives in.
    - `support`: the set of the values (a property where it depends on parameters).
    - `reparameterized`: a draw is a differentiable function of parameters and noise.
    - `noise`: the kind of noise that `from_noise` takes: "normal", "uniform" or None.
      Uniform noise lies strictly between 0 and 1.

    `batch_shape` counts independent distributions, `event_shape` is the shape of one value.

    >>> from ppl.distributions import Normal
    >>> d = Normal(np.zeros(3), 1.0).expand((2, 3))
    >>> d.batch_shape, d.sample(0, (5,)).shape
    ((2, 3), (5, 2, 3))
    """

    arg_constraints: ClassVar[Mapping[str, Constraint]] = {}
    reparameterized: bool = False
    noise: str | None = None
    _static: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # An argument of another name is refused in words, by the name of this class where it inherits its arguments.
        init = inspect.unwrap(cls.__init__)
        cls.__init__ = in_words(init, cls.__name__, f"the arguments of {cls.__name__}", _ELSEWHERE)  # type: ignore[method-assign]

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        batch_shape: Shape | None = None,
        event_shape: Shape = (),
        validate_args: bool | None = None,
    ) -> None:
        numbers = self.arg_constraints if validate_args is not False else ()
        arguments = {
            name: as_numbers(value, f"{self._family} with {name}") if name in numbers else as_array(value)
            for name, value in arguments.items()
        }
        # Plain attributes for the formulas, unless the class has something else by that name (probs, mean, mask).
        self.__dict__.update({name: value for name, value in arguments.items() if not hasattr(type(self), name)})
        self._arguments = arguments
        self._event_shape = tuple(event_shape)
        if validate_args is not False:
            self._validate()
        self._batch_shape = self._common_batch_shape() if batch_shape is None else tuple(batch_shape)

    # -- facts -------------------------------------------------------------------------------

    @property
    def support(self) -> Constraint:
        """The set of the values."""
        raise ModelError(
            got=f"{self._family} without a support",
            expected="a class attribute named support",
            hint="support = constraints.real",
        )

    @property
    def batch_shape(self) -> Shape:
        """The shape of the batch of independent distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Shape:
        """The shape of one value."""
        return self._event_shape

    @property
    def event_dim(self) -> int:
        """The number of axes of one value."""
        return len(self.event_shape)

    def shape(self, sample_shape: Sequence[int] = ()) -> Shape:
        """The shape of `sample(rng, sample_shape)`."""
        return as_shape(sample_shape) + self.batch_shape + self.event_shape

    @property
    def noise_shape(self) -> Shape:
        """The shape of the noise of one draw of the whole batch."""
        return self.batch_shape + self.event_shape

    @property
    def core(self) -> Distribution:
        """The family itself, without the wrappers that only move or mask axes."""
        return self

    @property
    def is_discrete(self) -> bool:
        """True when the support is a set of separate points."""
        return self.support.is_discrete

    @property
    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments in use, by name."""
        return dict(self._arguments)

    @property
    def exponential_family(self) -> ExponentialFamily | None:
        """The record of its exponential family, or None; that of a wrapped family is `d.core`'s."""
        return exponential_family(self)

    def has(self, name: str) -> bool:
        """Whether `name` ("mean", "entropy", "cdf", "from_noise", ...) is known for this distribution.

        >>> from ppl.distributions import Cauchy
        >>> Cauchy().has("entropy"), Cauchy().has("mean")
        (True, False)
        """
        if name == "from_noise":
            return self.noise is not None
        if name == "sample" and self.noise is not None:
            return True
        hook = _HOOKS.get(name, name)
        return getattr(type(self), hook, None) is not getattr(Distribution, hook, None)

    # -- densities ---------------------------------------------------------------------------

    def log_prob(self, value: Array) -> Array:
        """The log density (or log mass) of `value`, one number per batch element.

        A concrete value outside the support has log density -inf. So has a recorded one when the
        support itself is recorded, as in `Uniform(0, z)`. A recorded value of a fixed support is
        taken to be inside (it comes from a bijection onto it, or was checked when observed): the
        formula is recorded bare, with no comparison that would break a pathwise gradient.
        """
        value, support = as_numbers(value, f"{self._family}.log_prob of"), self.support
        self._check_event_shape(value)
        with quiet():
            if is_recorded(value) and not support.depends_on_recorded:
                return self._batched(self._log_density(value), value)
            inside = support(value)
            if not is_recorded(inside) and np.all(inside):
                return self._batched(self._log_density(value), value)
            event_inside = append_axes(inside, self.event_dim)
            safe = np.where(event_inside, value, support.feasible_like(value))
            return self._batched(np.where(inside, self._log_density(safe), -np.inf), value)

    def log_prob_inside(self, value: Array) -> Array:
        """`log_prob` of a value known to lie in the support, as the image of a bijection onto it does.

        Nothing is compared, so that a recorded support, as in `Uniform(0, z)`, breaks no pathwise gradient.
        """
        if type(self).log_prob is not Distribution.log_prob:
            return self.log_prob(value)
        with quiet():
            return self._batched(self._log_density(as_array(value)), value)

    def cdf(self, value: Array) -> Array:
        """The probability of a draw not above `value`."""
        return self._at_numbers(self._cdf, value)

    def log_cdf(self, value: Array) -> Array:
        """The logarithm of the cdf, also where the cdf is below the smallest double for families that know it.

        For StudentT, Beta, FisherSnedecor, mixtures and others whose cdf has no known logarithm, it is -inf there.

        >>> from ppl.distributions import Normal
        >>> float(Normal().log_cdf(-50.0).round(3))
        -1254.831
        """
        return self._at_numbers(self._log_cdf, value)

    def log_survival(self, value: Array) -> Array:
        """The log probability of a draw above `value`, as of an observation censored there.

        It is -inf where that probability is too small for a double and the family knows no form on the log scale.

        >>> from ppl.distributions import Exponential
        >>> float(Exponential(2.0).log_survival(1000.0))
        -2000.0
        """
        return self._at_numbers(self._log_survival, value)

    def icdf(self, q: Array) -> Array:
        """The value that a draw stays below with probability `q`; NaN for q outside [0, 1]."""
        q = as_array(q)
        with quiet():
            valid = True if is_recorded(q) else (q >= 0.0) & (q <= 1.0)
            if np.all(valid):
                return self._batched(self._icdf(q), q)
            return np.where(valid, self._batched(self._icdf(np.where(valid, q, 0.5)), q), np.nan)

    def entropy(self) -> Array:
        """The expected negative log density, in nats, over the batch."""
        return self._batched(self._entropy())

    @property
    def mean(self) -> Array:
        """The expected value, of shape batch_shape + event_shape."""
        return self._typed(broadcast(self._mean(), self.shape()))

    @property
    def variance(self) -> Array:
        """The variance of each element, of shape batch_shape + event_shape."""
        return self._typed(broadcast(self._variance(), self.shape()))

    @property
    def mode(self) -> Array:
        """A most probable value, of shape batch_shape + event_shape.

        Where the density is highest towards an end of the support it is that end, as 0 for `Exponential`: a limit,
        which an open support does not hold. So it is where the density grows without bound there, as for a `Gamma`
        concentration below 1; of several such ends it is one where it grows fastest. Where there is no such end among
        the values, as for an `LKJ` concentration below 1, it is NaN.
        """
        with quiet():
            return self._typed(broadcast(self._mode(), self.shape()))

    def enumerate_support(self, expand: bool = True) -> Array:
        """All values along a new first axis; with `expand=False` the batch axes have length 1.

        Where elements of the batch have values of their own, as binomials of different counts, these are the values of
        all, and those that an element does not take have mass 0.
        """
        values = self._enumerate()
        lead, event = np.shape(values)[:1], np.shape(values)[1:]
        values = np.reshape(values, lead + (1,) * len(self.batch_shape) + event)
        return broadcast(values, lead + self.batch_shape + event) if expand else values

    # -- draws -------------------------------------------------------------------------------

    def draw_noise(self, rng: Seed, sample_shape: Sequence[int] = ()) -> np.ndarray:
        """Noise for `from_noise`, of shape sample_shape + noise_shape."""
        rng, shape = np.random.default_rng(rng), as_shape(sample_shape) + self.noise_shape
        if self.noise == "normal":
            return rng.standard_normal(shape)
        if self.noise == "uniform":
            noise = rng.random(shape)
            return np.where(noise == 0.0, 2.0**-54, noise)  # the generator may return 0, whose quantile is no draw
        raise self._unknown("from_noise")

    def from_noise(self, noise: Array) -> Array:
        """The draw that belongs to `noise`, of shape sample_shape + noise_shape."""
        raise self._unknown("from_noise")

    def sample(self, rng: Seed, sample_shape: Sequence[int] = ()) -> Array:
        """Concrete draws of shape sample_shape + batch_shape + event_shape.

        `rng` is a NumPy generator, which moves on, or an integer seed.
        A draw that no double holds, as of a tiny shape, is the nearest that one does: positive ones lie between
        2.2e-308 and 1.8e308. Numbers are drawn in double precision whatever that of the parameters is, as rounding to
        single would take some out of an open support, and counts in int64; a program casts what it draws to its working
        precision. Counts above 2^62 are refused (a ModelError); those of BetaNegativeBinomial end there.
        """
        rng = np.random.default_rng(rng)
        draws = self._draw(rng, as_shape(sample_shape))
        draws = draws if hasattr(draws, "dtype") else np.asarray(draws)[()]
        return draws.astype(np.float64) if draws.dtype == np.float32 else draws

    # -- other distributions made from this one --------------------------------------------------

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        """The same distribution over a larger batch. Parameters stay as they are."""
        batch_shape = as_shape(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        self._check_expansion(batch_shape)
        expanded = copy.copy(self)
        expanded._batch_shape = batch_shape
        return expanded

    def expand_by(self, sample_shape: Sequence[int]) -> Distribution:
        """The same distribution with more batch axes on the left."""
        return self.expand(as_shape(sample_shape) + self.batch_shape)

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> Independent | Distribution:
        """The last batch axes (all by default) become part of one value; their log densities add up."""
        n = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return self if n == 0 else Independent(self, n)

    def mask(self, mask: Array) -> MaskedDistribution:
        """The distribution whose log density counts only where `mask` is true."""
        return MaskedDistribution(self, mask)

    def tree_flatten(self) -> tuple[tuple[Array, ...], Callable[[Sequence[Array]], Distribution]]:
        """The parameter arrays, and the function that gives this distribution with other arrays.

        >>> from ppl.distributions import Normal
        >>> arrays, rebuild = Normal(0.0, 2.0).expand((3,)).tree_flatten()
        >>> arrays, rebuild((5.0, 1.0)).mean
        ((0.0, 2.0), array([5., 5., 5.]))
        """
        names = [name for name in self._arguments if name not in self._static]
        leaves, build = flatten(tuple(self._arguments[name] for name in names))

        def rebuild(arrays: Sequence[Array]) -> Distribution:
            arguments = self._arguments | dict(zip(names, build(arrays), strict=True))
            new = type(self)(**arguments, validate_args=False)
            return new.expand(np.broadcast_shapes(new.batch_shape, self.batch_shape))

        return leaves, rebuild

    # -- checks ------------------------------------------------------------------------------

    def check_value(self, value: Array, site: str | None = None) -> None:
        """Raise SupportError when a concrete value is outside the support; used for observations."""
        value = as_numbers(value, f"{self._family} with the value")
        self._check_event_shape(value, site)
        if is_recorded(value) or self.support.depends_on_recorded:
            return
        inside = self.support(value)
        if np.all(inside):
            return
        place, bad, why = first_offender(self.support, inside, value)
        raise SupportError(
            got=f"the value {bad}{place} for {self._family}{why}",
            expected=str(self.support),
            hint="a family whose support holds the data, or dropping or masking the entry",
            site=site,
        )

    def _validate(self) -> None:
        for name, constraint in self.arg_constraints.items():
            if name not in self._arguments:
                continue
            value = self._arguments[name]
            if np.ndim(value) < constraint.event_dim:
                raise ShapeError(
                    got=f"{self._family}({name}=...) of shape {np.shape(value)}",
                    expected=f"{constraint}, so at least {constraint.event_dim} axes",
                    hint=f"{name} with its event axes last",
                )
            if not is_recorded(value) and not constraint.depends_on_recorded:
                self._require(constraint(value), name, constraint)

    def _require(self, valid: Array, name: str, expected: object) -> None:
        """Raise SupportError unless `valid` holds everywhere; `expected` says what the argument must be.

        Other arguments in it, as in "above low={low}", are told at the place of the first offender.
        """
        if is_recorded(valid) or (bool(valid) if np.ndim(valid) == 0 else np.all(valid)):
            return
        constraint = self.arg_constraints.get(name, constraints.real)
        place, bad, why = first_offender(constraint, valid, self._arguments[name])
        if isinstance(expected, str) and "{" in expected:
            others = {n: x for n, x in self._arguments.items() if f"{{{n}}}" in expected}
            expected = expected.format(**{n: first_offender(constraints.real, valid, x)[1] for n, x in others.items()})
        raise SupportError(
            got=f"{self._family}({name}={bad}){place}{why}",
            expected=f"{name} to be {expected}",
            hint=_cure(constraint, name),
        )

    def _check_event_shape(self, value: Array, site: str | None = None) -> None:
        n = self.event_dim
        if n and np.shape(value)[-n:] != self.event_shape:
            raise ShapeError(
                got=f"a value of shape {np.shape(value)} for {self._family}",
                expected=f"the event shape {self.event_shape} at the end",
                hint="the transpose of the value, or another to_event(n)",
                site=site,
            )

    def _check_expansion(self, batch_shape: Shape) -> None:
        try:
            fits = np.broadcast_shapes(batch_shape, self.batch_shape) == batch_shape
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(
                got=f"{self._family}.expand({batch_shape}) with batch shape {self.batch_shape}",
                expected="a shape that the batch broadcasts to",
                hint="new axes on the left, the old ones unchanged",
            )

    # -- hooks: what a family overrides ------------------------------------------------------------

    def _log_density(self, value: Array) -> Array:
        raise self._unknown("log_prob")

    def _draw(self, rng: np.random.Generator, sample_shape: Shape) -> Array:
        if self.noise is None:
            raise self._unknown("sample")
        return self.from_noise(self.draw_noise(rng, sample_shape))

    def _mean(self) -> Array:
        raise self._unknown("mean")

    def _variance(self) -> Array:
        raise self._unknown("variance")

    def _mode(self) -> Array:
        raise self._unknown("mode")

    def _entropy(self) -> Array:
        raise self._unknown("entropy")

    def _cdf(self, value: Array) -> Array:
        raise self._unknown("cdf")

    def _icdf(self, q: Array) -> Array:
        raise self._unknown("icdf")

    # The cdf and 1 - cdf on the log scale, and their inverses; families that know them far into the tails override.

    def _log_cdf(self, value: Array) -> Array:
        return log_of(self._cdf(value))

    def _log_survival(self, value: Array) -> Array:
        return log_of(1.0 - self._cdf(value))

    def _icdf_exp(self, log_q: Array) -> Array:
        return self._icdf(np.exp(log_q))

    def _isf_exp(self, log_q: Array) -> Array:
        return self._icdf(-np.expm1(log_q))

    def _enumerate(self) -> np.ndarray:
        raise self._unknown("enumerate_support")

    # -- helpers -------------------------------------------------------------------------------

    @property
    def _family(self) -> str:
        return type(self).__name__

    def _unknown(self, name: str) -> ModelError:
        return ModelError(
            got=f"{self._family}.{name}, which has no known form",
            expected=f"a distribution for which has('{name}') is true",
            hint=_INSTEAD.get(name, ""),
        )

    def _at_numbers(self, function: Callable[[Array], Array], value: Array) -> Array:
        """A function of the distribution at a value, NaN where that is NaN."""
        value = as_numbers(value, f"{self._family} asked about")
        with quiet():
            result = self._batched(function(value), value)
            missing = not is_recorded(value) and value != value
            return np.where(missing, np.nan, result) if np.any(missing) else result

    def _batched(self, result: Array, value: Array = 0.0) -> Array:
        """`result` at the shape of the batch, broadcast with the batch axes of `value`."""
        shape = np.shape(value)
        result = self._typed(result, value)
        return broadcast(result, np.broadcast_shapes(shape[: len(shape) - self.event_dim], self.batch_shape))

    def _typed(self, result: Array, value: Array = 0.0) -> Array:
        """`result` in single precision where that is the parameters', and the value has no more: counts have none."""
        double = getattr(result, "dtype", None) == np.float64 and getattr(value, "dtype", None) != np.float64
        return result.astype(np.float32) if double and self._kinds() == {np.dtype(np.float32)} else result

    def _kinds(self) -> set[np.dtype]:
        """The floating types of the parameters; Python's own numbers have none."""
        found: set[np.dtype] = set()
        for argument in self._arguments.values():
            for part in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(part, Distribution):
                    found |= part._kinds()
                elif getattr(part, "dtype", None) in (np.float32, np.float64):
                    found.add(part.dtype)
        return found

    def _common_batch_shape(self) -> Shape:
        shapes = {
            name: np.shape(value)[: np.ndim(value) - self._argument_event_dim(name)]
            for name, value in self._arguments.items()
            if name not in self._static
        }
        return self._together(shapes)

    def _together(self, shapes: Mapping[str, Shape]) -> Shape:
        """The batch shape to which those of the parts, by name, broadcast."""
        if not any(shapes.values()):
            return ()
        try:
            return np.broadcast_shapes(*shapes.values())
        except ValueError:
            raise ShapeError(
                got=f"{self._family} with batch shapes " + ", ".join(f"{n}: {s}" for n, s in shapes.items()),
                expected="parameters that broadcast together",
                hint="parameters of equal shape, or with axes of length 1",
            ) from None

    def _argument_event_dim(self, name: str) -> int:
        constraint = self.arg_constraints.get(name)
        return 0 if constraint is None else constraint.event_dim

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={_brief(value)}" for name, value in self._arguments.items())
        return f"{self._family}({arguments}; batch_shape={self.batch_shape}, event_shape={self.event_shape})"


class Wrapper(Distribution):
    """Base of distributions that change one other distribution and let it answer most questions."""

    base_dist: Distribution

    @property
    def core(self) -> Distribution:
        """The family itself, without the wrappers that only move or mask axes."""
        return self.base_dist.core

    @property
    def support(self) -> Constraint:
        """The set of the values."""
        return self.base_dist.support

    @property
    def reparameterized(self) -> bool:  # type: ignore[override]
        """A draw is a differentiable function of parameters and noise."""
        return self.base_dist.reparameterized

    @property
    def noise(self) -> str | None:  # type: ignore[override]
        """The kind of noise of a draw."""
        return self.base_dist.noise

    @property
    def noise_shape(self) -> Shape:
        """The shape of the noise of one draw of the whole batch."""
        return self.base_dist.noise_shape

    def has(self, name: str) -> bool:
        """Whether `name` is known for this distribution, which needs it known for the inner one."""
        return (
            self.base_dist.has(name)
            if name in ("from_noise", "sample")
            else (super().has(name) and self.base_dist.has(name))
        )

    def from_noise(self, noise: Array) -> Array:
        """The draw that belongs to `noise`."""
        return self.base_dist.from_noise(noise)

    def _draw(self, rng: np.random.Generator, sample_shape: Shape) -> Array:
        return self.base_dist.sample(rng, sample_shape)

    def _mean(self) -> Array:
        return self.base_dist.mean

    def _variance(self) -> Array:
        return self.base_dist.variance

    def _mode(self) -> Array:
        return self.base_dist.mode


class Independent(Wrapper):
    """Batch axes of `base_dist` read as part of one value; log densities add up over them.

    `log p(x) = sum_i log p_i(x_i)` over the last `reinterpreted_batch_ndims` batch axes.

    >>> from ppl.distributions import Normal
    >>> d = Independent(Normal(np.zeros((2, 3)), 1.0), 1)
    >>> d.batch_shape, d.event_shape
    ((2,), (3,))
    """

    _static = ("reinterpreted_batch_ndims",)

    def __init__(
        self, base_dist: Distribution, reinterpreted_batch_ndims: int, *, validate_args: bool | None = None
    ) -> None:
        n, shape = reinterpreted_batch_ndims, base_dist.batch_shape
        if not 0 <= n <= len(shape):
            raise ShapeError(
                got=f"to_event({n}) of a batch shape {shape}",
                expected=f"at most its {len(shape)} axes",
                hint="expand before to_event",
            )
        super().__init__(
            {"base_dist": base_dist, "reinterpreted_batch_ndims": n},
            batch_shape=shape[: len(shape) - n],
            event_shape=shape[len(shape) - n :] + base_dist.event_shape,
        )

    base_dist: Distribution
    reinterpreted_batch_ndims: int

    @property
    def support(self) -> Constraint:
        """The base's support at every element."""
        return constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    def expand(self, batch_shape: Sequence[int]) -> Independent:
        """The same distribution over a larger batch."""
        batch_shape = as_shape(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        self._check_expansion(batch_shape)
        inner = self.base_dist.batch_shape[len(self.batch_shape) :]
        return Independent(self.base_dist.expand(batch_shape + inner), self.reinterpreted_batch_ndims)

    def log_prob(self, value: Array) -> Array:
        """The sum of the base's log densities over the reinterpreted axes."""
        value = as_array(value)
        self._check_event_shape(value)
        return sum_last(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def check_value(self, value: Array, site: str | None = None) -> None:
        """Raise SupportError when an element of a concrete value is outside the base's support."""
        self._check_event_shape(as_numbers(value, f"{self._family} with the value"), site)
        self.base_dist.check_value(value, site)

    def log_prob_inside(self, value: Array) -> Array:
        """The sum of the base's, over the reinterpreted axes."""
        return sum_last(self.base_dist.log_prob_inside(value), self.reinterpreted_batch_ndims)

    def _entropy(self) -> Array:
        return sum_last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)


class MaskedDistribution(Wrapper):
    """`base_dist` whose log density is 0 where `mask` is false; draws stay as they are.

    A value under a false mask is never looked at, so it may be NaN.

    >>> from ppl.distributions import Normal
    >>> Normal().mask(np.array([True, False])).log_prob(np.array([0.0, np.nan])).round(3)
    array([-0.919,  0.   ])
    """

    def __init__(self, base_dist: Distribution, mask: Array, *, validate_args: bool | None = None) -> None:
        base_dist = base_dist.expand(np.broadcast_shapes(np.shape(mask), base_dist.batch_shape))
        super().__init__(
            {"base_dist": base_dist, "mask": mask},
            batch_shape=base_dist.batch_shape,
            event_shape=base_dist.event_shape,
        )

    base_dist: Distribution

    def expand(self, batch_shape: Sequence[int]) -> MaskedDistribution:
        """The same distribution over a larger batch."""
        batch_shape = as_shape(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        self._check_expansion(batch_shape)
        return MaskedDistribution(self.base_dist.expand(batch_shape), self._arguments["mask"])

    def log_prob(self, value: Array) -> Array:
        """The base's log density where the mask is true, else 0."""
        value, mask = as_array(value), self._arguments["mask"]
        if not is_recorded(value):
            value = np.where(append_axes(mask, self.event_dim), value, self.support.feasible_like(value))
        return np.where(mask, self.base_dist.log_prob(value), 0.0)

    def log_prob_inside(self, value: Array) -> Array:
        """The base's where the mask is true, else 0."""
        return np.where(self._arguments["mask"], self.base_dist.log_prob_inside(value), 0.0)

    def enumerate_support(self, expand: bool = True) -> Array:
        """All values along a new first axis."""
        return self.base_dist.enumerate_support(expand)

    def has(self, name: str) -> bool:
        """Whether `name` is known for this distribution."""
        return self.base_dist.has(name) if name == "enumerate_support" else super().has(name)

    def check_value(self, value: Array, site: str | None = None) -> None:
        """Raise SupportError when a concrete value under a true mask is outside the support."""
        value, mask = as_array(value), self._arguments["mask"]
        if not is_recorded(value) and not is_recorded(mask) and not self.support.depends_on_recorded:
            value = np.where(append_axes(mask, self.event_dim), value, self.support.feasible_like(value))
        self.base_dist.check_value(value, site)


# -- words -------------------------------------------------------------------------------------


def _cure(constraint: Constraint, name: str) -> str:
    if isinstance(constraint, constraints.Independent):
        constraint = constraint.base
    if constraint == constraints.positive:
        return f"np.exp({name}) for a free number, or a small positive floor"
    if constraint == constraints.unit_interval:
        return "logits= for a free number"
    if constraint == constraints.simplex:
        return f"{name} / {name}.sum(-1, keepdims=True)"
    return f"a value of {name} inside its constraint, or validate_args=False"


def _brief(value: Any) -> str:
    if isinstance(value, (Distribution, Constraint, str, bool, int, float)) or np.ndim(value) == 0:
        return repr(value) if not isinstance(value, np.generic) else str(value)
    if isinstance(value, tuple):
        return repr(value)
    if not is_recorded(value) and np.size(value) <= 4:
        return np.array2string(value, separator=", ", precision=4).replace("\n", "")
    return f"array{np.shape(value)}"
