"""Distributions made of other distributions, and those without a density of the usual kind.

`Independent` and `MaskedDistribution`, which every distribution can make of itself, are in base.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppl.array import is_recorded
from ppl.distributions import constraints
from ppl.distributions._arrays import Shape, as_array, as_shape, broadcast, first_offender, float_type, sum_last
from ppl.distributions.base import Distribution, Independent, MaskedDistribution, Wrapper
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IdentityTransform,
    IndependentTransform,
    Transform,
    compose,
)
from ppl.errors import ModelError, ShapeError, SupportError

__all__ = [
    "Delta",
    "ImproperUniform",
    "Independent",
    "MaskedDistribution",
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

    def check_value(self, value: Array, site: str | None = None) -> None:
        """Raise SupportError where a concrete value is another than the point."""
        super().check_value(value, site)
        same = np.asarray(value) == self.v if not is_recorded(value) and not is_recorded(self.v) else True
        if not np.all(same):
            place, bad, _ = first_offender(constraints.real, same, value)
            raise SupportError(
                got=f"the value {bad}{place} for Delta",
                expected=f"the point v={first_offender(constraints.real, same, self.v)[1]}",
                hint="obs= the value of v, or Normal(v, scale) for what is near it",
                site=site,
            )

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

    def has(self, name: str) -> bool:
        return (self.event_dim == 0 or name not in ("cdf", "icdf")) and super().has(name)

    def _cdf(self, x):
        if self.event_dim:
            raise self._unknown("cdf")
        return np.where(x >= self.v, 1.0, 0.0)

    def _icdf(self, q):
        if self.event_dim:
            raise self._unknown("icdf")
        return broadcast(self.v, np.broadcast_shapes(np.shape(q), self.batch_shape))


def point_log_density(d: Distribution) -> Array:
    """The log density of a `Delta` at its own point, under its wrappers; nothing is compared."""
    if isinstance(d, Independent):
        return sum_last(point_log_density(d.base_dist), d.reinterpreted_batch_ndims)
    if isinstance(d, MaskedDistribution):
        return np.where(d.parameters["mask"], point_log_density(d.base_dist), 0.0)
    return broadcast(d.parameters["log_density"], d.batch_shape)


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

    def _mean(self):
        return np.zeros(0, float_type(self.log_factor))

    _mode = _variance = _mean

    def _entropy(self):
        return -self.log_factor


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
        transforms = tuple(transforms) if isinstance(transforms, (list, tuple)) else (transforms,)
        strange = next((t for t in transforms if not isinstance(t, Transform)), None)
        if strange is not None:
            raise ModelError(
                got=f"TransformedDistribution with {strange!r:.60} as a transform",
                expected="a transform, which knows its inverse and its Jacobian, or a list of them",
                hint="dist.transforms.ExpTransform() for np.exp, SigmoidTransform() for a logistic function",
            )
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
        if batch_shape == self.batch_shape:  # a rebuilt wrapper asks what it wraps twice, and so on inwards
            return self
        self._check_expansion(batch_shape)
        return TransformedDistribution(self.base_dist.expand(batch_shape), self.transforms)

    def has(self, name: str) -> bool:
        if name in ("from_noise", "sample"):
            return self.base_dist.has(name)
        if name == "entropy":
            return self.base_dist.has(name) and expected_log_jacobian(self._transform, self.base_dist) is not None
        if name in ("mean", "variance", "mode"):
            return self.base_dist.has(name) and _affine(self._transform) is not None
        if name in ("cdf", "icdf"):
            return self.base_dist.has(name) and self._transform.sign is not None
        return super().has(name)

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

    def _log_cdf(self, y):
        x = self._transform.inverse(_clip_to(self._transform.codomain, y))
        return self._upright(self.base_dist.log_cdf(x), self.base_dist.log_survival(x))

    def _log_survival(self, y):
        x = self._transform.inverse(_clip_to(self._transform.codomain, y))
        return self._upright(self.base_dist.log_survival(x), self.base_dist.log_cdf(x))

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
        if _affine(self._transform) is None:
            raise self._unknown("mode")
        return self._transform(self.base_dist.mode)

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
    parts, total = _parts(transform), 0.0
    for i, part in enumerate(parts):
        match part:
            case IdentityTransform():
                continue
            case AffineTransform(scale=scale):
                total = total + sum_last(broadcast(np.log(np.abs(scale)), base.shape()), base.event_dim)
            case ExpTransform() if base.has("mean") and not any(isinstance(t, ExpTransform) for t in parts[:i]):
                mean = base.mean
                for before in parts[:i]:  # all affine
                    mean = before(mean)
                total = total + sum_last(mean, base.event_dim)
            case _:
                return None
    return total


def _parts(transform: Transform) -> list[Transform]:
    """The elementwise transforms that it is made of, in turn."""
    match transform:
        case IndependentTransform(base=inner):
            return _parts(inner)
        case ComposeTransform(parts=parts):
            return [t for part in parts for t in _parts(part)]
    return [transform]


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
