"""NumPyro's names for the two parameterizations of one family: `BernoulliLogits(l)` is `Bernoulli(logits=l)`.

>>> BinomialLogits(0.0, 10)
Binomial(total_count=10, logits=0.0; batch_shape=(), event_shape=())
"""

from __future__ import annotations

from ppl.distributions.categories import Multinomial
from ppl.distributions.constraints import Array
from ppl.distributions.discrete import Bernoulli, Binomial, Categorical, Geometric, NegativeBinomial


def BernoulliProbs(probs: Array, *, validate_args: bool | None = None) -> Bernoulli:
    """`Bernoulli(probs=probs)`."""
    return Bernoulli(probs=probs, validate_args=validate_args)


def BernoulliLogits(logits: Array, *, validate_args: bool | None = None) -> Bernoulli:
    """`Bernoulli(logits=logits)`."""
    return Bernoulli(logits=logits, validate_args=validate_args)


def BinomialProbs(probs: Array, total_count: Array = 1, *, validate_args: bool | None = None) -> Binomial:
    """`Binomial(total_count, probs=probs)`."""
    return Binomial(total_count, probs=probs, validate_args=validate_args)


def BinomialLogits(logits: Array, total_count: Array = 1, *, validate_args: bool | None = None) -> Binomial:
    """`Binomial(total_count, logits=logits)`."""
    return Binomial(total_count, logits=logits, validate_args=validate_args)


def CategoricalProbs(probs: Array, *, validate_args: bool | None = None) -> Categorical:
    """`Categorical(probs=probs)`."""
    return Categorical(probs=probs, validate_args=validate_args)


def CategoricalLogits(logits: Array, *, validate_args: bool | None = None) -> Categorical:
    """`Categorical(logits=logits)`."""
    return Categorical(logits=logits, validate_args=validate_args)


def GeometricProbs(probs: Array, *, validate_args: bool | None = None) -> Geometric:
    """`Geometric(probs=probs)`."""
    return Geometric(probs=probs, validate_args=validate_args)


def GeometricLogits(logits: Array, *, validate_args: bool | None = None) -> Geometric:
    """`Geometric(logits=logits)`."""
    return Geometric(logits=logits, validate_args=validate_args)


def MultinomialProbs(probs: Array, total_count: Array = 1, *, validate_args: bool | None = None) -> Multinomial:
    """`Multinomial(total_count, probs=probs)`."""
    return Multinomial(total_count, probs=probs, validate_args=validate_args)


def MultinomialLogits(logits: Array, total_count: Array = 1, *, validate_args: bool | None = None) -> Multinomial:
    """`Multinomial(total_count, logits=logits)`."""
    return Multinomial(total_count, logits=logits, validate_args=validate_args)


def NegativeBinomialProbs(total_count: Array, probs: Array, *, validate_args: bool | None = None) -> NegativeBinomial:
    """`NegativeBinomial(total_count, probs=probs)`."""
    return NegativeBinomial(total_count, probs=probs, validate_args=validate_args)


def NegativeBinomialLogits(total_count: Array, logits: Array, *, validate_args: bool | None = None) -> NegativeBinomial:
    """`NegativeBinomial(total_count, logits=logits)`."""
    return NegativeBinomial(total_count, logits=logits, validate_args=validate_args)
