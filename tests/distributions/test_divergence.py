"""KL divergences against quadrature, sums and averages, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate

import ppl.distributions as dist
from ppl.distributions import transforms as tf
from ppl.distributions.divergence import _RULES
from ppl.errors import ModelError

pytestmark = pytest.mark.filterwarnings("error")

SCALAR_PAIRS = [
    (dist.Normal(0.3, 1.2), dist.Normal(-0.5, 0.7)),
    (dist.LogNormal(0.3, 1.2), dist.LogNormal(-0.5, 0.7)),
    (dist.HalfNormal(1.2), dist.HalfNormal(0.7)),
    (dist.Laplace(0.3, 1.2), dist.Laplace(-0.5, 0.7)),
    (dist.Laplace(0.3, 0.4), dist.Laplace(0.3, 2.0)),
    (dist.Exponential(1.2), dist.Exponential(0.7)),
    (dist.Gamma(2.5, 1.2), dist.Gamma(1.0, 0.7)),
    (dist.Exponential(1.2), dist.Gamma(2.5, 0.7)),
    (dist.Gamma(2.5, 1.2), dist.Exponential(0.7)),
    (dist.InverseGamma(2.5, 1.2), dist.InverseGamma(3.5, 0.7)),
    (dist.Beta(1.0, 2.5), dist.Beta(1.4, 0.8)),
    (dist.Uniform(0.2, 0.9), dist.Uniform(0.0, 2.0)),
    (dist.TransformedDistribution(dist.Normal(0.3, 1.2), tf.ExpTransform()), dist.LogNormal(-0.5, 0.7)),
    (dist.LogNormal(-0.5, 0.7), dist.TransformedDistribution(dist.Normal(0.3, 1.2), tf.ExpTransform())),
    (
        dist.TransformedDistribution(dist.Gamma(2.5, 1.2), tf.AffineTransform(1.0, 2.0)),
        dist.TransformedDistribution(dist.Gamma(1.5, 0.7), tf.AffineTransform(1.0, 2.0)),
    ),
    (dist.Bernoulli(0.3), dist.Bernoulli(logits=0.7)),
    (dist.Bernoulli(0.0), dist.Bernoulli(0.4)),
    (dist.Categorical(np.array([0.2, 0.0, 0.8])), dist.Categorical(logits=np.array([0.1, 0.2, 0.3]))),
    (dist.Poisson(2.5), dist.Poisson(0.7)),
    (dist.Poisson(0.0), dist.Poisson(0.7)),
    (dist.Geometric(0.3), dist.Geometric(logits=0.7)),
]
_TRIL = np.array([[1.2, 0.0], [0.5, 0.7]])
VECTOR_PAIRS = [
    (dist.MultivariateNormal(np.ones(2), scale_tril=_TRIL), dist.MultivariateNormal(np.zeros(2), np.eye(2) + 0.3)),
    (dist.MultivariateNormal(np.ones(2), scale_tril=_TRIL), dist.Normal(np.zeros(2), 1.5).to_event(1)),
    (dist.Normal(np.ones(2), 0.5).to_event(1), dist.Normal(np.zeros(2), np.array([1.0, 2.0])).to_event(1)),
    (dist.Dirichlet(np.array([1.0, 2.5, 0.7])), dist.Dirichlet(np.array([2.0, 1.0, 1.0]))),
    (dist.OneHotCategorical(np.array([0.2, 0.8])), dist.OneHotCategorical(np.array([0.5, 0.5]))),
    (dist.LogNormal(np.zeros(2), 1.0).to_event(1), dist.LogNormal(np.ones(2), 2.0).to_event(1)),
    (
        dist.TransformedDistribution(dist.Normal(np.zeros(2), 1.0).to_event(1), tf.ExpTransform()),
        dist.LogNormal(np.ones(2), 2.0).to_event(1),
    ),
]
pairs = pytest.mark.parametrize(("q", "p"), SCALAR_PAIRS + VECTOR_PAIRS, ids=lambda d: type(d).__name__)


def exact(q, p):
    """By summation, or by quadrature over quantiles of q."""

    def integrand(x):
        log_q = q.log_prob(x)
        return np.where(log_q > -np.inf, np.exp(log_q) * (np.maximum(log_q, -1e300) - p.log_prob(x)), 0.0)

    if q.is_discrete:
        return np.sum(integrand(q.enumerate_support() if q.has("enumerate_support") else np.arange(400)))
    tail = np.array([1e-13, 1e-9, 1e-6, 1e-3])
    edges = np.unique(q.icdf(np.concatenate([tail, np.linspace(0.02, 0.98, 9), 1 - tail[::-1]])))
    return sum(integrate.quad(integrand, a, b)[0] for a, b in pairwise(edges))


@pytest.mark.parametrize(("q", "p"), SCALAR_PAIRS, ids=lambda d: type(d).__name__)
def test_kl_is_the_integral(q, p):
    assert float(dist.kl_divergence(q, p)) == pytest.approx(exact(q, p), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("q", "p"), VECTOR_PAIRS, ids=lambda d: type(d).__name__)
def test_kl_of_vectors_is_the_average(q, p):
    x = q.sample(0, (40_000,))
    ratio = q.log_prob(x) - p.log_prob(x)
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(dist.kl_divergence(q, p) - ratio.mean()) < 6.5 * error + 1e-12  # one in 10^10


@pairs
def test_kl_is_nonnegative_and_zero_for_equals(q, p):
    assert dist.kl_divergence(q, p) > 0
    np.testing.assert_allclose(dist.kl_divergence(q, q), 0.0, atol=1e-12)


def test_every_rule_has_a_pair():
    seen = {(type(q), type(p)) for q, p in SCALAR_PAIRS + VECTOR_PAIRS}
    assert set(_RULES) <= seen


@pairs
def test_kl_over_a_batch(q, p):
    wide = q.expand_by((3,))
    np.testing.assert_allclose(dist.kl_divergence(wide, p), np.full(3, dist.kl_divergence(q, p)))
    np.testing.assert_allclose(
        dist.kl_divergence(wide.to_event(1), p.expand_by((3,)).to_event(1)), 3 * dist.kl_divergence(q, p)
    )


def test_kl_of_a_point_is_minus_the_log_density():
    p = dist.Gamma(2.0, 3.0)
    assert dist.kl_divergence(dist.Delta(0.7), p) == -p.log_prob(0.7)


def test_kl_is_infinite_where_the_support_is_left():
    assert dist.kl_divergence(dist.Uniform(0.0, 3.0), dist.Uniform(0.0, 2.0)) == np.inf
    assert dist.kl_divergence(dist.Bernoulli(0.5), dist.Bernoulli(0.0)) == np.inf


@pytest.mark.parametrize(
    ("q", "p"),
    [
        (dist.Normal(), dist.Cauchy()),
        (dist.Normal(), dist.ImproperUniform(dist.constraints.real)),
        (dist.TransformedDistribution(dist.Normal(), tf.ExpTransform()), dist.Gamma(1.0, 1.0)),
        (
            dist.TransformedDistribution(dist.Normal(), tf.ExpTransform()),
            dist.TransformedDistribution(dist.Normal(), tf.SoftplusTransform()),
        ),
        (dist.Normal(np.zeros(2), 1.0).to_event(1), dist.Normal(np.zeros(3), 1.0).to_event(1)),
    ],
    ids=lambda d: type(d).__name__,
)
def test_unknown_pairs_are_refused(q, p):
    assert not dist.has_kl(q, p)
    with pytest.raises(ModelError, match="has_kl"):
        dist.kl_divergence(q, p)


def test_entropy_of_transformed():
    base = dist.Normal(0.3, 0.8)
    exp = dist.TransformedDistribution(base, tf.ExpTransform())
    assert exp.entropy() == pytest.approx(dist.LogNormal(0.3, 0.8).entropy())
    chain = dist.TransformedDistribution(base, [tf.AffineTransform(1.0, -2.0), tf.ExpTransform()])
    assert chain.entropy() == pytest.approx(dist.LogNormal(0.4, 1.6).entropy())
    assert not dist.TransformedDistribution(base, tf.SigmoidTransform()).has("entropy")
    vector = dist.TransformedDistribution(dist.Normal(np.zeros(3), 0.8).to_event(1), tf.ExpTransform())
    assert vector.entropy() == pytest.approx(3 * dist.LogNormal(0.0, 0.8).entropy())
