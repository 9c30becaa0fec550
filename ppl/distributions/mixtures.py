"""Mixtures: a draw from one of several distributions, chosen at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from scipy import special

from ppl.array import is_recorded, logsumexp
from ppl.distributions._arrays import Shape, append_axes, as_array, broadcast
from ppl.distributions.base import Distribution
from ppl.distributions.constraints import Array, Constraint
from ppl.distributions.discrete import Categorical
from ppl.errors import ModelError, ShapeError


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


@dataclass(frozen=True, eq=False)
class _Union(Constraint):
    """The values of any of `parts`."""

    parts: tuple[Constraint, ...]

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.parts[0].event_dim

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.parts[0].is_discrete

    def __call__(self, value: Array) -> Array:
        inside = self.parts[0](value)
        for part in self.parts[1:]:
            inside = inside | part(value)
        return inside

    def feasible_like(self, value: Array) -> Array:
        return self.parts[0].feasible_like(value)

    def __str__(self) -> str:
        return ", or ".join(str(part) for part in self.parts)


class _Mixture(Distribution):
    """Base of mixtures: `log p(x) = logsumexp_k(log w_k + log p_k(x))`.

    A draw picks a component by one number of noise, and takes that component's draw by the others. While the
    weights are fixed the pick does not move, and the draw has the derivative of its component's. Weights that
    are recorded, and so may be learned, move the pick: such a draw jumps, and is not `reparameterized`. Its
    implicit derivative by the cdf (Figurnov, Mohamed and Mnih 2018) is unbiased for scalars, but rests on the few
    draws between the modes: its variance grows like the reciprocal of the density there.
    """

    mixing_distribution: Categorical

    @property
    def _components(self) -> tuple[Distribution, ...]:
        """Distributions that cover the components: each of them one, or one with all along its last batch axis."""
        raise NotImplementedError

    def _each(self, ask: Callable[[Distribution], Array], event_dim: int) -> Array:
        """What `ask` gives for each component, along one axis before the last `event_dim`."""
        raise NotImplementedError

    @property
    def reparameterized(self) -> bool:  # type: ignore[override]
        """A draw is a differentiable function of parameters and noise: of fixed weights, and of such components."""
        moves = any(is_recorded(w) for w in self.mixing_distribution.tree_flatten()[0])
        return self.noise is not None and not moves and all(c.reparameterized for c in self._components)

    @property
    def noise(self) -> str | None:  # type: ignore[override]
        """The kind of noise that all components take, if it is one kind."""
        kinds = {c.noise for c in self._components}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def noise_shape(self) -> Shape:
        """One number for the pick and those of the largest component."""
        return (*self.batch_shape, 1 + max(prod(self._own_noise(c)) for c in self._components))

    def _own_noise(self, component: Distribution) -> Shape:
        """The shape of the noise of one element of a component."""
        return component.noise_shape[len(component.batch_shape) :]

    def has(self, name: str) -> bool:
        if name in ("mean", "variance", "cdf", "sample", "enumerate_support"):
            needed = ("mean", "variance") if name == "variance" else (name,)
            return all(c.has(n) for c in self._components for n in needed)
        return super().has(name)

    def log_prob(self, value: Array) -> Array:
        """The log density of the mixture; a value outside a component's support has density 0 under it."""
        value = as_array(value)
        self._check_event_shape(value)
        return self._batched(logsumexp(self.component_log_probs(value), axis=-1), value)

    def component_log_probs(self, value: Array) -> Array:
        """`log w_k + log p_k(value)`, with the components along the last axis."""
        value = as_array(value)
        whole = self.support

        def log_prob(component):
            x, own = self._spread(value), component.support
            if not is_recorded(x) or own.depends_on_recorded or own == whole:
                return component.log_prob(x)
            # A recorded value of the mixture need not be one of this component.
            inside = own(x)
            safe = np.where(append_axes(inside, self.event_dim), x, own.feasible_like(x))
            return np.where(inside, component.log_prob(safe), -np.inf)

        return self.mixing_distribution.logits + self._each(log_prob, 0)

    def _spread(self, value: Array) -> Array:
        """`value` as the components take it."""
        return value

    def _cdf(self, x):
        return np.sum(self.mixing_distribution.probs * self._each(lambda c: c.cdf(self._spread(x)), 0), axis=-1)

    def _log_cdf(self, x):
        tails = self._each(lambda c: c.log_cdf(self._spread(x)), 0)
        return logsumexp(self.mixing_distribution.logits + tails, axis=-1)

    def _log_survival(self, x):
        tails = self._each(lambda c: c.log_survival(self._spread(x)), 0)
        return logsumexp(self.mixing_distribution.logits + tails, axis=-1)

    def _average(self, values):
        weights = append_axes(self.mixing_distribution.probs, self.event_dim)
        return np.sum(weights * values, axis=-1 - self.event_dim)

    def _mean(self):
        return self._average(self._each(lambda c: c.mean, self.event_dim))

    def _variance(self):
        means, n = self._each(lambda c: c.mean, self.event_dim), self.event_dim
        centred = means - np.expand_dims(self._average(means), -1 - n)
        return self._average(self._each(lambda c: c.variance, n) + centred * centred)

    def from_noise(self, noise: Array) -> Array:
        if self.noise is None:
            raise self._unknown("from_noise")
        pick = noise[..., 0]
        chosen = self.mixing_distribution.icdf(special.ndtr(pick) if self.noise == "normal" else pick)
        return self._choose(chosen, self._each(lambda c: self._component_draw(c, noise[..., 1:]), self.event_dim))

    def _component_draw(self, component: Distribution, noise: Array) -> Array:
        own, lead = self._own_noise(component), np.shape(noise)[:-1]
        return component.from_noise(np.reshape(noise[..., : prod(own)], lead + own))

    def _choose(self, chosen: Array, draws: Array) -> Array:
        index = append_axes(np.expand_dims(chosen, -1), self.event_dim)
        # One component each, broadcast by hand: recorded draws are picked from by whole arrays.
        index = np.broadcast_to(index, (*np.shape(index)[: np.ndim(index) - self.event_dim], *self.event_shape))
        return np.squeeze(np.take_along_axis(draws, index, axis=-1 - self.event_dim), axis=-1 - self.event_dim)

    def _draw(self, rng, sample_shape):
        chosen = self.mixing_distribution.expand(self.batch_shape).sample(rng, sample_shape)
        return self._choose(chosen, self._each(lambda c: c.sample(rng, sample_shape), self.event_dim))


class MixtureSameFamily(_Mixture):
    """A draw from one of K components of one family, chosen by `mixing_distribution`.

    `log p(x) = logsumexp_k(log w_k + log p_k(x))`; the components lie along the last batch axis of
    `component_distribution`. With fixed weights a draw has a pathwise derivative where the components' draws have
    one; with weights that are learned its jumps from component to component leave the score function.

    Errors: ShapeError where the last batch axis has another length than the weights.

    >>> from ppl.distributions import Categorical, Normal
    >>> d = MixtureSameFamily(Categorical(np.array([0.5, 0.5])), Normal(np.array([-1.0, 1.0]), 1.0))
    >>> float(d.mean), float(d.variance)
    (0.0, 2.0)
    """

    component_distribution: Distribution

    def __init__(
        self,
        mixing_distribution: Categorical,
        component_distribution: Distribution,
        *,
        validate_args: bool | None = None,
    ) -> None:
        shape, number = component_distribution.batch_shape, _number_of(mixing_distribution)
        if not shape or shape[-1] != number:
            raise ShapeError(
                got=f"components with batch shape {shape} for {number} weights",
                expected=f"a last batch axis of length {number}",
                hint="the components along the last batch axis",
            )
        super().__init__(
            {"mixing_distribution": mixing_distribution, "component_distribution": component_distribution},
            batch_shape=self._together({"weights": mixing_distribution.batch_shape, "components": shape[:-1]}),
            event_shape=component_distribution.event_shape,
        )

    @property
    def _components(self) -> tuple[Distribution, ...]:
        number = self.component_distribution.batch_shape[-1]
        return (self.component_distribution.expand((*self.batch_shape, number)),)

    def _each(self, ask, event_dim):
        return ask(self._components[0])

    @property
    def support(self) -> Constraint:
        each = self.component_distribution.support
        return each if all(np.ndim(bound) == 0 for bound in each.tree_flatten()[0]) else _InAnyComponent(each)

    def _spread(self, value):
        """`value` with an axis for the components before its event axes."""
        shape = np.shape(value)
        split = len(shape) - self.event_dim
        return np.reshape(value, shape[:split] + (1,) + shape[split:])

    def _component_draw(self, component, noise):
        own, number = self._own_noise(component), component.batch_shape[-1]
        lead = np.shape(noise)[:-1]
        noise = np.reshape(noise, (*lead, 1, *own))
        return component.from_noise(np.broadcast_to(noise, (*lead, number, *own)))

    def _enumerate(self):
        values = self.component_distribution.enumerate_support(expand=False)
        return np.reshape(values, (len(values), *self.event_shape))


class MixtureGeneral(_Mixture):
    """A draw from one of K components of any families, chosen by `mixing_distribution`.

    `log p(x) = logsumexp_k(log w_k + log p_k(x))`. The components are all discrete or all continuous, and have one
    event shape. Where their supports differ the mixture has all of them, and `support` can be given to say what
    that is.

    Errors: ShapeError where there are other than K components or their shapes differ; ModelError where counts
    are mixed with continuous values.

    >>> from ppl.distributions import Categorical, Gamma, LogNormal
    >>> d = MixtureGeneral(Categorical(np.array([0.25, 0.75])), [Gamma(2.0, 1.0), LogNormal(0.0, 1.0)])
    >>> float(d.mean.round(4))
    1.7365
    """

    _static = ("support",)
    component_distributions: tuple[Distribution, ...]

    def __init__(
        self,
        mixing_distribution: Categorical,
        component_distributions: Sequence[Distribution],
        *,
        support: Constraint | None = None,
        validate_args: bool | None = None,
    ) -> None:
        parts, number = tuple(component_distributions), _number_of(mixing_distribution)
        if len(parts) != number:
            raise ShapeError(
                got=f"{len(parts)} components for {number} weights",
                expected="as many components as weights",
                hint="a list with one distribution for each weight",
            )
        if len({part.event_shape for part in parts}) > 1:
            raise ShapeError(
                got="components with event shapes " + ", ".join(str(part.event_shape) for part in parts),
                expected="one event shape",
                hint="to_event(n) on those with fewer event axes",
            )
        if len({part.is_discrete for part in parts}) > 1:
            kinds = ", ".join(f"{part._family}: {'discrete' if part.is_discrete else 'continuous'}" for part in parts)
            raise ModelError(
                got=f"components of two kinds ({kinds})",
                expected="all discrete or all continuous, as a mass and a density do not add up",
                hint="two sites, one of them the choice",
            )
        shapes = {f"component {k}": part.batch_shape for k, part in enumerate(parts)}
        shapes["weights"] = mixing_distribution.batch_shape
        arguments = {"mixing_distribution": mixing_distribution, "component_distributions": parts}
        super().__init__(
            arguments if support is None else arguments | {"support": support},
            batch_shape=self._together(shapes),
            event_shape=parts[0].event_shape,
        )

    @property
    def _components(self) -> tuple[Distribution, ...]:
        return tuple(part.expand(self.batch_shape) for part in self.component_distributions)

    def _each(self, ask, event_dim):
        found = [ask(part) for part in self._components]
        shape = np.broadcast_shapes(*(np.shape(x) for x in found))
        return np.stack([broadcast(x, shape) for x in found], axis=-1 - event_dim)

    @property
    def support(self) -> Constraint:
        given = self._arguments.get("support")
        parts = [part.support for part in self.component_distributions]
        if given is not None:
            return given
        return parts[0] if all(part == parts[0] for part in parts) else _Union(tuple(parts))

    def _enumerate(self):
        found = [part.enumerate_support(expand=False) for part in self.component_distributions]
        return np.unique(np.concatenate([np.reshape(x, (len(x), *self.event_shape)) for x in found]), axis=0)


def Mixture(
    mixing_distribution: Categorical,
    component_distributions: Distribution | Sequence[Distribution],
    *,
    validate_args: bool | None = None,
) -> MixtureSameFamily | MixtureGeneral:
    """A mixture of the components along one distribution's last batch axis, or of a list of distributions.

    >>> from ppl.distributions import Categorical, Gamma, LogNormal
    >>> type(Mixture(Categorical(np.array([0.25, 0.75])), [Gamma(2.0, 1.0), LogNormal(0.0, 1.0)])).__name__
    'MixtureGeneral'
    """
    if isinstance(component_distributions, Distribution):
        return MixtureSameFamily(mixing_distribution, component_distributions, validate_args=validate_args)
    return MixtureGeneral(mixing_distribution, component_distributions, validate_args=validate_args)


def _number_of(mixing_distribution: Categorical) -> int:
    """The number of components that the weights are for."""
    if not isinstance(mixing_distribution, Categorical):
        raise ModelError(
            got=f"weights from {mixing_distribution!r}",
            expected="a Categorical as mixing_distribution",
            hint="Categorical(probs) or Categorical(logits=...)",
        )
    return mixing_distribution.enumerate_support(expand=False).shape[0]
