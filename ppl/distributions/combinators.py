"""Distributions made of other distributions, and those without a density of the usual kind.

`Independent` and `MaskedDistribution`, which every distribution can make of itself, are in base.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppl.array import is_recorded, logsumexp
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, append_axes, as_array, as_shape, broadcast, float_type, sum_last
from ppl.distributions.base import Distribution, Independent, MaskedDistribution, Wrapper
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.discrete import Categorical
from ppl.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IdentityTransform,
    IndependentTransform,
    Transform,
    compose,
)
from ppl.errors import ModelError, ShapeError

__all__ = [
    "Delta",
    "ImproperUniform",
    "Independent",
    "MaskedDistribution",
    "MixtureSameFamily",
    "TransformedDistribution",
    "Unit",
]


class Delta(Distribution):
    """All mass at `v`: a point estimate as a distribution.

    `log p(x) = log_density` where `x == v`, else -inf. The last `event_dim` axes of `v` are one value.

    >>> float(Delta(2.0).log_prob(2.0)), float(Delta(2.0).log_prob(1.0))
    (0.0, -inf)
    """

    reparameterized = True
    noise = "uniform"  # of which a draw takes the shape and nothing else
    _static = ("event_dim",)
    v: Array
    log_density: Array

    def __init__(
        self, v: Array = 0.0, log_density: Array = 0.0, event_dim: int = 0, *, validate_args: bool | None = None
    ) -> None:
        v = as_array(v)
        if event_dim > np.ndim(v):
            raise ShapeError(
                got=f"Delta of shape {np.shape(v)}", expected=f"at least event_dim={event_dim} axes", hint="event_dim=0"
            )
        split = np.ndim(v) - event_dim
        super().__init__(
            {"v": v, "log_density": log_density, "event_dim": event_dim},
            batch_shape=np.broadcast_shapes(np.shape(v)[:split], np.shape(log_density)),
            event_shape=np.shape(v)[split:],
            validate_args=validate_args,
        )

    @property
    def support(self) -> Constraint:
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def noise_shape(self) -> Shape:
        return self.batch_shape

    def from_noise(self, noise: Array) -> Array:
        return broadcast(self.v, np.shape(noise) + self.event_shape)

    def _log_density(self, x):
        same = x == self.v
        if self.event_dim:
            same = np.all(same, axis=tuple(range(-self.event_dim, 0)))
        return np.where(same, self.log_density, -np.inf)

    def _mean(self):
        return self.v

    _mode = _mean

    def _variance(self):
        return np.zeros(self.event_shape, dtype=float_type(self.v))

    def _entropy(self):
        return -self.log_density


class Unit(Distribution):
    """Nothing drawn, `log_factor` counted: a free term of the log density as a distribution.

    >>> Unit(1.5).log_prob(np.empty(0)), Unit(1.5).sample(0).shape
    (1.5, (0,))
    """

    support = constraints.real_vector
    reparameterized = True
    noise = "uniform"
    log_factor: Array

    def __init__(self, log_factor: Array, *, validate_args: bool | None = None) -> None:
        super().__init__({"log_factor": log_factor}, event_shape=(0,), validate_args=validate_args)

    def from_noise(self, noise: Array) -> Array:
        return noise

    def _log_density(self, x):
        return self.log_factor


class ImproperUniform(Distribution):
    """A flat density over all of `support`, which need not have a finite volume.

    `log p(x) = 0` inside the support. It cannot be drawn from.

    >>> d = ImproperUniform(constraints.positive, (), ())
    >>> float(d.log_prob(3.0)), float(d.log_prob(-3.0))
    (0.0, -inf)
    """

    _static = ("batch_shape", "event_shape")

    def __init__(
        self,
        support: Constraint,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape, event_shape = as_shape(batch_shape), as_shape(event_shape)
        if len(event_shape) < support.event_dim:
            raise ShapeError(
                got=f"ImproperUniform over {support} with event shape {event_shape}",
                expected=f"at least {support.event_dim} event axes",
                hint="the shape of one value as event_shape",
            )
        super().__init__({"support": support}, batch_shape=batch_shape, event_shape=event_shape)
        self._arguments |= {"batch_shape": batch_shape, "event_shape": event_shape}

    @property
    def support(self) -> Constraint:
        base: Constraint = self._arguments["support"]
        return constraints.independent(base, len(self.event_shape) - base.event_dim)

    def _log_density(self, x):
        return 0.0

    def _draw(self, rng, sample_shape):
        raise ModelError(
            got="a draw from ImproperUniform",
            expected="a proper distribution",
            hint="a wide prior such as Normal(0, 10), or fitting before sampling",
        )

    def has(self, name: str) -> bool:
        return name != "sample" and super().has(name)


class TransformedDistribution(Wrapper):
    """`t(x)` for `x` drawn from `base_distribution` and a bijection `t`, or several in turn.

    `log p(y) = log p_base(x) - log |det dt/dx|`, `x = t^-1(y)`.

    >>> from ppl.distributions import LogNormal, Normal
    >>> d = TransformedDistribution(Normal(0.0, 1.0), ExpTransform())
    >>> bool(np.isclose(d.log_prob(2.0), LogNormal(0.0, 1.0).log_prob(2.0)))
    True
    """

    base_distribution: Distribution
    transforms: tuple[Transform, ...]

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        *,
        validate_args: bool | None = None,
    ) -> None:
        transforms = (transforms,) if isinstance(transforms, Transform) else tuple(transforms)
        self._transform = compose(transforms)
        need = self._transform.domain.event_dim - base_distribution.event_dim
        self.base_dist = base_distribution.to_event(need) if need > 0 else base_distribution
        event_dim = self._transform.codomain.event_dim + max(-need, 0)
        shape = self._transform.forward_shape(self.base_dist.shape())
        split = len(shape) - event_dim
        self.base_dist = self.base_dist.expand(shape[:split])  # a transform's own arrays may add batch axes
        super().__init__(
            {"base_distribution": base_distribution, "transforms": transforms},
            batch_shape=shape[:split],
            event_shape=shape[split:],
        )

    @property
    def transform(self) -> Transform:
        """All transforms as one."""
        return self._transform

    @property
    def core(self) -> Distribution:
        """The family itself: a transformed distribution is one of its own."""
        return self

    @property
    def support(self) -> Constraint:
        """The image of the base's support, where it is a set of numbers; else the transform's codomain."""
        image = self._image()
        codomain = self._transform.codomain if image is None else image
        return constraints.independent(codomain, self.event_dim - codomain.event_dim)

    def _image(self) -> Constraint | None:
        found = constraints.bounds(self.base_dist.support)
        for t in self.transforms:
            whole, into = constraints.bounds(t.domain), constraints.bounds(t.codomain)
            if found is None or whole is None or into is None or t.sign is None:
                return None
            if any(is_recorded(a) for a in t.tree_flatten()[0]):
                return None
            # An end of the domain goes to an end of the codomain, any other point to its image.
            rising = np.asarray(t.sign) > 0
            with np.errstate(all="ignore"):
                low = np.where(np.asarray(found[0]) <= whole[0], np.where(rising, into[0], into[1]), t(found[0]))
                high = np.where(np.asarray(found[1]) >= whole[1], np.where(rising, into[1], into[0]), t(found[1]))
            found = np.where(rising, low, high)[()], np.where(rising, high, low)[()]
        if found is None or (np.shape(found[0]) and np.shape(found[0]) != np.shape(found[1])):
            return None
        outer = constraints.bounds(self._transform.codomain)
        same = outer is not None and np.all(found[0] == outer[0]) and np.all(found[1] == outer[1])
        return None if same else constraints.between(*found)

    def expand(self, batch_shape: Sequence[int]) -> TransformedDistribution:
        """The same distribution over a larger batch."""
        batch_shape = as_shape(batch_shape)
        self._check_expansion(batch_shape)
        return TransformedDistribution(self.base_dist.expand(batch_shape), self.transforms)

    def has(self, name: str) -> bool:
        if name in ("from_noise", "sample"):
            return self.base_dist.has(name)
        if name == "entropy":
            return self.base_dist.has(name) and expected_log_jacobian(self._transform, self.base_dist) is not None
        if name in ("mean", "variance"):
            return self.base_dist.has(name) and _affine(self._transform) is not None
        if name in ("cdf", "icdf"):
            return self.base_dist.has(name) and self._transform.sign is not None
        return name != "mode" and super().has(name)

    def from_noise(self, noise: Array) -> Array:
        return self._transform(self.base_dist.from_noise(noise))

    def _draw(self, rng, sample_shape):
        return self._transform(self.base_dist.sample(rng, sample_shape))

    def _log_density(self, y):
        x = self._transform.inverse(y)
        jacobian = self._transform.log_abs_det_jacobian(x, y)
        inner = self.event_dim - self._transform.codomain.event_dim
        return self.base_dist.log_prob(x) - sum_last(jacobian, inner)

    def _cdf(self, y):
        below = self.base_dist.cdf(self._transform.inverse(_clip_to(self._transform.codomain, y)))
        return self._upright(below, 1.0 - below)

    def _icdf(self, q):
        return self._transform(self.base_dist.icdf(self._upright(q, 1.0 - q)))

    def _upright(self, rising, falling):
        sign = self._transform.sign
        if sign is None:
            raise self._unknown("cdf")
        if not is_recorded(sign) and np.ndim(sign) == 0:
            return rising if sign > 0 else falling
        return np.where(sign > 0, rising, falling)

    def _mean(self):
        if _affine(self._transform) is None:
            raise self._unknown("mean")
        return self._transform(self.base_dist.mean)

    def _variance(self):
        scale = _affine(self._transform)
        if scale is None:
            raise self._unknown("variance")
        return self.base_dist.variance * scale * scale

    def _mode(self):
        raise self._unknown("mode")

    def _entropy(self):
        jacobian = expected_log_jacobian(self._transform, self.base_dist)
        if jacobian is None:
            raise self._unknown("entropy")
        return self.base_dist.entropy() + jacobian


def _clip_to(constraint: Constraint, y: Array) -> Array:
    """The nearest number of an interval or a half line, its end included."""
    match constraint:
        case constraints.GreaterThan(lower_bound=lower) | constraints.GreaterThanEq(lower_bound=lower):
            return np.maximum(y, lower)
        case constraints.LessThan(upper_bound=upper) | constraints.LessThanEq(upper_bound=upper):
            return np.minimum(y, upper)
        case constraints.Interval(lower_bound=lower, upper_bound=upper):
            return np.clip(y, lower, upper)
    return y


def expected_log_jacobian(transform: Transform, base: Distribution) -> Array | None:
    """`E[log |det dt/dx|]` under `base`, over its batch, or None where no closed form is known."""
    match transform:
        case IdentityTransform():
            return 0.0
        case AffineTransform(scale=scale):
            return sum_last(broadcast(np.log(np.abs(scale)), base.shape()), base.event_dim)
        case ExpTransform():
            return sum_last(base.mean, base.event_dim) if base.has("mean") else None
        case IndependentTransform(base=inner):
            return expected_log_jacobian(inner, base)
        case ComposeTransform(parts=(first, *rest)):
            head = expected_log_jacobian(first, base)
            if head is None or not rest:
                return head
            tail = expected_log_jacobian(compose(tuple(rest)), TransformedDistribution(base, first))
            return None if tail is None else head + tail
    return None


def _affine(transform: Transform) -> Array | None:
    """The scale of a transform that is affine in every element, else None."""
    match transform:
        case IdentityTransform():
            return 1.0
        case AffineTransform(scale=scale):
            return scale
        case IndependentTransform(base=inner):
            return _affine(inner)
        case ComposeTransform(parts=parts):
            scales = [_affine(part) for part in parts]
            return None if any(scale is None for scale in scales) else np.prod(np.broadcast_arrays(*scales), axis=0)
    return None


@dataclass(frozen=True, eq=False)
class _InAnyComponent(Constraint):
    """The union of supports that lie along the last batch axis of `each`."""

    each: Constraint

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.each.event_dim

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.each.is_discrete

    def __call__(self, value: Array) -> Array:
        split = np.ndim(value) - self.event_dim
        return np.any(self.each(np.expand_dims(value, split)), axis=-1)

    def feasible_like(self, value: Array) -> Array:
        split = np.ndim(value) - self.event_dim
        return np.take(self.each.feasible_like(np.expand_dims(value, split)), 0, axis=-1 - self.event_dim)

    def __str__(self) -> str:
        return f"{self.each}, for some component"


class MixtureSameFamily(Distribution):
    """A draw from one of K components of one family, chosen by `mixing_distribution`.

    `log p(x) = logsumexp_k(log w_k + log p_k(x))`; the components lie along the last batch axis of
    `component_distribution`.

    >>> from ppl.distributions import Categorical, Normal
    >>> d = MixtureSameFamily(Categorical(np.array([0.5, 0.5])), Normal(np.array([-1.0, 1.0]), 1.0))
    >>> float(d.mean), float(d.variance)
    (0.0, 2.0)
    """

    mixing_distribution: Categorical
    component_distribution: Distribution

    def __init__(
        self,
        mixing_distribution: Categorical,
        component_distribution: Distribution,
        *,
        validate_args: bool | None = None,
    ) -> None:
        shape = component_distribution.batch_shape
        number = mixing_distribution.enumerate_support(expand=False).shape[0]
        if not shape or shape[-1] != number:
            raise ShapeError(
                got=f"components with batch shape {shape} for {number} weights",
                expected=f"a last batch axis of length {number}",
                hint="the components along the last batch axis",
            )
        super().__init__(
            {"mixing_distribution": mixing_distribution, "component_distribution": component_distribution},
            batch_shape=np.broadcast_shapes(mixing_distribution.batch_shape, shape[:-1]),
            event_shape=component_distribution.event_shape,
        )

    @property
    def support(self) -> Constraint:
        each = self.component_distribution.support
        return each if all(np.ndim(bound) == 0 for bound in each.tree_flatten()[0]) else _InAnyComponent(each)

    def has(self, name: str) -> bool:
        if name in ("mean", "variance", "cdf", "sample"):
            return self.component_distribution.has(name)
        return super().has(name)

    def log_prob(self, value: Array) -> Array:
        """The log density of the mixture; a value outside a component's support has density 0 under it."""
        value = as_array(value)
        self._check_event_shape(value)
        return self._batched(logsumexp(self._weighted(value), axis=-1), value)

    def component_log_probs(self, value: Array) -> Array:
        """`log w_k + log p_k(value)`, with the components along the last axis."""
        return self._weighted(as_array(value))

    def _weighted(self, value):
        return self.mixing_distribution.logits + self.component_distribution.log_prob(self._spread(value))

    def _spread(self, value):
        """`value` with an axis for the components before its event axes."""
        shape = np.shape(value)
        split = len(shape) - self.event_dim
        return np.reshape(value, shape[:split] + (1,) + shape[split:])

    def _cdf(self, x):
        return np.sum(self.mixing_distribution.probs * self.component_distribution.cdf(self._spread(x)), axis=-1)

    def _average(self, values):
        weights = append_axes(self.mixing_distribution.probs, self.event_dim)
        return np.sum(weights * values, axis=-1 - self.event_dim)

    def _mean(self):
        return self._average(self.component_distribution.mean)

    def _variance(self):
        mean, component = self._mean(), self.component_distribution
        centred = component.mean - self._spread(mean)
        return self._average(component.variance + centred * centred)

    def _draw(self, rng, sample_shape):
        component = self.component_distribution.expand((*self.batch_shape, self._number))
        chosen = self.mixing_distribution.expand(self.batch_shape).sample(rng, sample_shape)
        draws = component.sample(rng, sample_shape)
        index = append_axes(np.expand_dims(chosen, -1), self.event_dim)
        return np.squeeze(np.take_along_axis(draws, index, axis=-1 - self.event_dim), axis=-1 - self.event_dim)

    @property
    def _number(self) -> int:
        return self.component_distribution.batch_shape[-1]
