"""KL divergences against quadrature, sums and averages, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from mpmath import mp
from scipy import integrate

import ppl.array as A
import ppl.distributions as dist
from ppl.distributions import transforms as tf
from ppl.distributions.divergence import _GENERALIZED_GAMMA, _RULES, _exponential_family, _row, _same_exponential_family
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
    (dist.OrderedLogistic(0.3, np.array([-1.0, 1.0])), dist.Categorical(np.array([0.2, 0.3, 0.5]))),
    (dist.Poisson(2.5), dist.Poisson(0.7)),
    (dist.Poisson(0.0), dist.Poisson(0.7)),
    (dist.Geometric(0.3), dist.Geometric(logits=0.7)),
    (dist.Binomial(7, 0.3), dist.Binomial(7, logits=0.7)),
    (dist.NegativeBinomial2(2.5, 1.7), dist.NegativeBinomial2(0.7, 1.7)),
    (dist.DiscreteUniform(1, 4), dist.DiscreteUniform(0, 6)),
    (dist.Cauchy(0.3, 1.2), dist.Cauchy(-0.5, 0.7)),
    (dist.Gumbel(0.3, 1.2), dist.Gumbel(-0.5, 0.7)),
    (dist.Gumbel(0.3, 0.7), dist.Gumbel(-0.5, 1.2)),
    (dist.Pareto(1.2, 2.5), dist.Pareto(0.7, 1.3)),
    # powers of gamma draws, of one sign and of two
    (dist.Chi2(2.5), dist.Chi2(4.0)),
    (dist.Chi2(2.5), dist.Gamma(0.8, 0.7)),
    (dist.Chi2(2.5), dist.Exponential(0.7)),
    (dist.Weibull(1.2, 1.7), dist.Weibull(0.7, 0.8)),
    (dist.Weibull(1.2, 0.7), dist.Gamma(2.5, 0.7)),
    (dist.Gamma(2.5, 0.7), dist.Weibull(1.2, 1.7)),
    (dist.HalfNormal(1.2), dist.Gamma(0.4, 0.7)),
    (dist.Exponential(1.2), dist.HalfNormal(0.7)),
    (dist.HalfNormal(1.2), dist.Weibull(0.7, 1.3)),
    (dist.Gamma(2.5, 0.7), dist.InverseGamma(1.2, 0.4)),
    (dist.InverseGamma(1.7, 0.7), dist.Gamma(1.2, 0.4)),
    (dist.InverseGamma(3.7, 0.7), dist.HalfNormal(0.4)),
    # by entropy and moments
    (dist.Laplace(0.3, 1.2), dist.Normal(-0.5, 0.7)),
    (dist.Normal(0.3, 1.2), dist.Laplace(-0.5, 0.7)),
    (dist.Normal(0.3, 1.2), dist.Gumbel(-0.5, 0.9)),
    (dist.Gumbel(0.3, 0.9), dist.Normal(-0.5, 0.7)),
    (dist.Logistic(0.3, 0.9), dist.Normal(-0.5, 0.7)),
    (dist.StudentT(9.5, 0.3, 0.9), dist.Normal(-0.5, 0.7)),
    (dist.Gamma(2.5, 0.7), dist.Normal(-0.5, 0.7)),
    (dist.Uniform(0.2, 0.9), dist.Normal(-0.5, 0.7)),
    (dist.TruncatedNormal(0.2, 0.9, low=-0.3, high=2.0), dist.Normal(-0.5, 0.7)),
    (dist.Uniform(-0.2, 0.9), dist.Laplace(0.3, 0.7)),
    (dist.Uniform(0.2, 0.9), dist.Beta(1.4, 0.8)),
    (dist.Uniform(0.2, 0.9), dist.Gamma(1.4, 0.8)),
    (dist.Uniform(0.0, 0.9), dist.Exponential(0.8)),
    (dist.Uniform(0.2, 0.9), dist.InverseGamma(1.4, 0.8)),
    (dist.Uniform(0.2, 0.9), dist.LogNormal(0.3, 0.8)),
    (dist.Bernoulli(0.3), dist.Poisson(0.7)),
    (dist.Uniform(0.0, 1.0), dist.Beta(1.4, 0.8)),
    (dist.Beta(1.4, 0.8), dist.Uniform(-0.3, 1.2)),
    (dist.TruncatedNormal(0.2, 0.9, low=-0.3, high=2.0), dist.Uniform(-0.5, 2.7)),
    (dist.LogNormal(0.3, 0.6), dist.Gamma(1.5, 0.7)),
    (dist.LogNormal(0.3, 0.6), dist.InverseGamma(1.5, 0.7)),
    (dist.LogNormal(0.3, 0.6), dist.Weibull(1.2, 1.7)),
    (dist.LogNormal(0.3, 0.6), dist.HalfNormal(1.5)),
    (dist.TransformedDistribution(dist.Normal(0.3, 0.6), tf.ExpTransform()), dist.Gamma(1.5, 0.7)),
    (dist.Gamma(2.5, 0.7), dist.LogNormal(0.3, 0.6)),
    (dist.InverseGamma(2.5, 0.7), dist.LogNormal(0.3, 0.6)),
    (dist.Weibull(1.2, 1.7), dist.LogNormal(0.3, 0.6)),
    (dist.Pareto(1.2, 3.5), dist.LogNormal(0.3, 0.6)),
    (dist.Pareto(1.2, 3.5), dist.Exponential(0.3)),
    (dist.Beta(2.4, 0.8), dist.LogNormal(0.3, 0.6)),
    (dist.Beta(2.4, 0.8), dist.Weibull(1.2, 1.7)),
    (dist.Beta(2.4, 0.8), dist.InverseGamma(1.5, 0.7)),
    (dist.LogUniform(0.7, 2.4), dist.LogNormal(0.3, 0.6)),
    (dist.LogUniform(0.7, 2.4), dist.Gamma(1.5, 0.7)),
    (dist.Triangular(-0.3, 1.2, 0.5), dist.Normal(-0.5, 0.7)),
    # of the same family
    (dist.Wald(1.3, 2.5), dist.Wald(0.8, 1.4)),
    (dist.Kumaraswamy(0.8, 2.5), dist.Kumaraswamy(0.8, 1.4)),
    (dist.Gompertz(0.8, 2.5), dist.Gompertz(1.4, 2.5)),
    (dist.VonMises(0.8, 2.5), dist.VonMises(-2.4, 1.3)),
    (dist.VonMises(0.8, 250.0), dist.VonMises(0.9, 200.0)),
    (dist.LogUniform(0.7, 2.4), dist.LogUniform(0.6, 3.4)),
    (dist.LogitNormal(0.3, 1.2), dist.LogitNormal(-0.5, 0.7)),
    (dist.Rayleigh(1.2), dist.Rayleigh(0.7)),
    (dist.Rayleigh(1.2), dist.Gamma(1.7, 0.7)),
    (dist.Erlang(3, 1.2), dist.Gamma(1.7, 0.7)),
    (dist.NegativeBinomial(2.5, 0.4), dist.NegativeBinomial(2.5, logits=0.3)),
    (dist.GammaPoisson(2.5, 0.4), dist.NegativeBinomial2(1.7, 2.5)),
    (dist.HalfCauchy(1.2), dist.HalfCauchy(0.7)),
    (dist.AsymmetricLaplace(0.3, 1.2, 0.6), dist.AsymmetricLaplace(-0.5, 0.7, 1.7)),
    (dist.AsymmetricLaplace(-0.3, 1.2, 0.6), dist.AsymmetricLaplace(0.5, 0.7, 0.4)),
    (dist.TruncatedNormal(0.2, 0.9, low=-0.3, high=2.0), dist.TruncatedNormal(-0.4, 1.7, low=-0.5, high=2.5)),
    (dist.TruncatedNormal(0.2, 0.9, low=1.3), dist.TruncatedNormal(-0.4, 1.7, low=-0.5)),
    (dist.Uniform(0.2, 0.9), dist.TruncatedNormal(-0.4, 0.7, low=0.1, high=2.5)),
    (dist.Gamma(2.5, 0.7), dist.TruncatedNormal(-0.4, 0.7, low=-0.1)),
    (dist.Uniform(1.2, 1.9), dist.Pareto(0.7, 1.3)),
    (dist.Uniform(-1.2, 1.9), dist.Gumbel(-0.5, 0.9)),
    (dist.Laplace(0.3, 0.4), dist.Gumbel(-0.5, 0.9)),
    (dist.Logistic(0.3, 0.4), dist.Gumbel(-0.5, 0.9)),
    (dist.Exponential(1.3), dist.Gumbel(-0.5, 0.9)),
    (dist.Gamma(2.5, 0.7), dist.Gumbel(-0.5, 0.9)),
    # by sums over finitely many values
    (dist.Binomial(7, 0.3), dist.Poisson(2.7)),
    (dist.Binomial(7, 0.3), dist.Binomial(9, 0.6)),
    (dist.Bernoulli(0.3), dist.Geometric(0.6)),
    (dist.BetaBinomial(1.3, 2.5, 6), dist.BetaBinomial(0.8, 0.7, 6)),
    (dist.DiscreteUniform(1, 4), dist.NegativeBinomial2(2.5, 1.7)),
    (dist.ZeroInflatedDistribution(dist.Binomial(4, 0.3), gate=0.2), dist.Poisson(1.3)),
]
_LINE = np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1)
_STEPS = dist.GaussianStateSpace(3, np.array([[0.8, 0.3], [-0.2, 0.6]]), scale_tril=np.array([[0.9, 0.0], [-0.4, 0.5]]))
_TRIL = np.array([[1.2, 0.0], [0.5, 0.7]])
_LOW_RANK = dist.LowRankMultivariateNormal(np.ones(3), np.array([[0.5], [-0.3], [1.1]]), np.array([0.3, 1.7, 0.9]))
_LOW_RANK_PRIOR = dist.LowRankMultivariateNormal(
    np.zeros(3), np.array([[0.5, 1.0], [0.3, 0.2], [1.1, -0.7]]), np.array([0.8, 1.2, 0.9])
)
VECTOR_PAIRS = [
    (dist.MultivariateNormal(np.ones(2), scale_tril=_TRIL), dist.MultivariateNormal(np.zeros(2), np.eye(2) + 0.3)),
    (dist.MultivariateNormal(np.ones(2), scale_tril=_TRIL), dist.Normal(np.zeros(2), 1.5).to_event(1)),
    (dist.Normal(np.ones(2), 0.5).to_event(1), dist.Normal(np.zeros(2), np.array([1.0, 2.0])).to_event(1)),
    (dist.Normal(np.ones(2), 0.5).to_event(1), dist.MultivariateNormal(np.zeros(2), np.eye(2) + 0.3)),
    (dist.Levy(0.5, 2.5), dist.Levy(0.5, 1.4)),  # no vectors, but of tails too long for quadrature
    (dist.GaussianRandomWalk(1.2, 4), dist.GaussianRandomWalk(0.7, 4)),
    (dist.AR(np.array([0.5, -0.3]), 1.2, 4, constant=0.4), dist.AR(np.array([0.8]), 0.9, 4)),
    (dist.AR(np.array([0.5]), 1.2, 4), dist.GaussianRandomWalk(0.9, 4)),
    (dist.CAR(np.ones(4), 0.6, 1.2, _LINE), dist.CAR(np.zeros(4), -0.3, 0.7, _LINE)),
    (dist.CAR(np.ones(4), 0.6, 1.2, _LINE), dist.MultivariateNormal(np.zeros(4), np.eye(4) + 0.3)),
    (dist.MultivariateNormal(np.ones(4), np.eye(4) + 0.3), dist.AR(np.array([0.8]), 0.9, 4)),
    (dist.Normal(np.ones(4), 0.7).to_event(1), dist.GaussianRandomWalk(0.9, 4)),
    (_STEPS, dist.GaussianStateSpace(3, np.eye(2), covariance_matrix=np.eye(2) + 0.3)),
    (_STEPS, dist.Normal(np.zeros((3, 2)), 1.7).to_event(2)),
    (dist.ZeroSumNormal(1.2, (3, 2)), dist.ZeroSumNormal(0.7, (3, 2))),
    (dist.Multinomial(4, np.array([0.2, 0.8])), dist.Multinomial(4, np.array([0.5, 0.5]))),
    (dist.Wishart(3.5, scale_tril=_TRIL), dist.Wishart(2.7, np.eye(2) + 0.3)),
    (dist.InverseWishart(3.5, scale_tril=_TRIL), dist.InverseWishart(2.7, np.eye(2) + 0.3)),
    (dist.WishartCholesky(3.5, scale_tril=_TRIL), dist.WishartCholesky(2.7, np.eye(2) + 0.3)),
    (
        dist.MatrixNormal(np.ones((2, 3)), _TRIL, np.diag([1.0, 2.0, 0.5])),
        dist.MatrixNormal(np.zeros((2, 3)), np.eye(2), np.tri(3)),
    ),
    (dist.NormalGamma(0.3, 1.0, 2.5, 0.7), dist.NormalGamma(-0.4, 2.0, 1.5, 1.7)),
    (dist.LKJCholesky(3, 0.7), dist.LKJCholesky(3, 2.5)),
    (dist.LKJ(3, 1.7), dist.LKJ(3, 2.5)),
    (dist.LogisticNormal(np.ones(2), 1.2), dist.LogisticNormal(np.zeros(2), scale_tril=_TRIL)),
    (_LOW_RANK, _LOW_RANK_PRIOR),
    (_LOW_RANK, dist.MultivariateNormal(np.zeros(3), np.eye(3) + 0.3)),
    (_LOW_RANK, dist.Normal(np.zeros(3), np.array([1.5, 2.0, 1.0])).to_event(1)),
    (dist.MultivariateNormal(np.ones(3), np.eye(3) + 0.3), _LOW_RANK_PRIOR),
    (dist.Normal(np.zeros(3), np.array([1.5, 2.0, 1.0])).to_event(1), _LOW_RANK_PRIOR),
    (dist.LogNormal(np.zeros(2), 0.5).to_event(1), dist.Gamma(np.array([2.5, 1.0]), 0.7).to_event(1)),
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
    if q.has("icdf"):
        edges = q.icdf(np.concatenate([tail, np.linspace(0.02, 0.98, 9), 1 - tail[::-1]]))
    else:
        low, high = dist.constraints.bounds(q.support)
        middle = np.quantile(q.sample(0, (1000,)), np.linspace(0, 1, 9))
        ends = [np.linspace(low, middle[0], 4), np.linspace(middle[-1], min(high, 9 * middle[-1]), 9)]
        edges = np.concatenate([ends[0], middle, ends[1]])
    edges = np.unique(edges)
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
    if dist.has_kl(q, q):
        np.testing.assert_allclose(dist.kl_divergence(q, q), 0.0, atol=1e-12)


def test_every_rule_has_a_pair():
    seen = {(type(q), type(p)) for q, p in SCALAR_PAIRS + VECTOR_PAIRS}
    assert set(_RULES.values()) <= {_row(*pair) for pair in seen}
    assert set(_GENERALIZED_GAMMA) <= {q for q, p in seen if p in _GENERALIZED_GAMMA}


def is_one_exponential_family(q, p):
    return type(q) is type(p) and _same_exponential_family(q, p)


@pytest.mark.parametrize(
    ("q", "p"),
    [pair for pair in SCALAR_PAIRS + VECTOR_PAIRS if is_one_exponential_family(*pair)],
    ids=lambda d: type(d).__name__,
)
def test_kl_is_the_bregman_divergence_of_the_log_normalizer(q, p):
    if all(np.all(np.isfinite(eta)) for eta in q.exponential_family.natural(q)):
        np.testing.assert_allclose(_exponential_family(q, p), dist.kl_divergence(q, p), rtol=1e-10)


def moving(d, still=()):
    """The floating parameters, and the distribution with others in their place."""
    if isinstance(d, dist.Independent | dist.TransformedDistribution):
        values, build = moving(d.base_dist, still)
        if isinstance(d, dist.Independent):
            return values, lambda values: build(values).to_event(d.reinterpreted_batch_ndims)
        return values, lambda values: dist.TransformedDistribution(build(values), d.transforms)
    given = d.parameters
    names = [n for n in given if np.asarray(given[n]).dtype.kind == "f" and n not in (*still, *d._static)]
    build = lambda values: type(d)(**given | dict(zip(names, values)), validate_args=False).expand(d.batch_shape)
    return [np.asarray(given[name]) for name in names], build


def kept_still(q, p):
    """Parameters that must be known numbers: alike in both, or the ends of a support against other ends."""
    row = _row(type(q), type(p))
    if row is None:
        return ("low", "high") if isinstance(p, dist.Uniform | dist.TruncatedNormal) else ()
    return [name for name, value in q.parameters.items() if row.alike and np.array_equal(value, row.alike(q))]


def tangent(rng, leaf, d):
    """A direction in which a parameter may move: along the simplex, or of symmetric matrices; zeros stay."""
    direction = rng.normal(size=leaf.shape) * leaf
    if "probs" in d.parameters and d.event_shape + leaf.shape:
        return direction - leaf * np.sum(direction)
    return direction + direction.T if leaf.ndim == 2 and np.array_equal(leaf, leaf.T) else direction


@pairs
def test_recorded_kl_has_the_slope_of_differences(q, p):
    still = kept_still(q, p)
    (a, build_q), (b, build_p) = moving(q, still), moving(p, () if isinstance(p, dist.Uniform) else still)
    values, rng = [*a, *b], np.random.default_rng(0)

    def kl(*values):
        return (np.sum(dist.kl_divergence(build_q(values[: len(a)]), build_p(values[len(a) :]))),)

    if not values:
        return
    program = A.record(kl, values)
    found, *slopes = A.compile_program(A.gradient(program, range(len(values))))(*values)
    assert float(found) == pytest.approx(float(dist.kl_divergence(q, p)), rel=1e-12)
    ways = [tangent(rng, leaf, q if i < len(a) else p) for i, leaf in enumerate(values)]
    ends = [kl(*(v + s * 1e-5 * w for v, w in zip(values, ways)))[0] for s in (1, -1)]
    if np.inf in ends:  # at the edge of the support
        return
    slope = sum(np.sum(g * w) for g, w in zip(slopes, ways))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


@pairs
def test_single_precision(q, p):
    """The formula in single precision, against that in double of the same rounded parameters."""
    built = []
    for kind in (np.float32, np.float64):
        pair = []
        for d in (q, p):
            leaves, build = moving(d)
            pair.append(build([np.asarray(leaf, np.float32).astype(kind) for leaf in leaves]))
        built.append(dist.kl_divergence(*pair))
    if all(moving(d)[0] for d in (q, p)):
        assert built[0].dtype == np.float32
    assert built[0] == pytest.approx(float(built[1]), rel=1e-5, abs=1e-6)


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
    assert dist.kl_divergence(dist.Pareto(1.0, 2.0), dist.Pareto(1.5, 2.0)) == np.inf
    assert dist.kl_divergence(dist.Uniform(-0.5, 0.5), dist.Beta(1.5, 2.0)) == np.inf
    assert dist.kl_divergence(dist.Beta(1.5, 2.0), dist.Uniform(0.1, 3.0)) == np.inf
    assert dist.kl_divergence(dist.DiscreteUniform(0, 3), dist.DiscreteUniform(1, 3)) == np.inf
    assert dist.kl_divergence(dist.Uniform(0.0, 3.0), dist.Uniform(0.0, 2.0)) == np.inf
    assert dist.kl_divergence(dist.Bernoulli(0.5), dist.Bernoulli(0.0)) == np.inf
    assert dist.kl_divergence(dist.Uniform(-0.1, 1.0), dist.Exponential(1.0)) == np.inf


def test_kl_is_infinite_where_a_moment_is():
    df = np.array([0.5, 1.0, 2.0, 2.5])
    kl = dist.kl_divergence(dist.StudentT(df), dist.Normal())
    assert np.all(kl[:3] == np.inf) and np.isfinite(kl[3])
    concentration = np.array([0.5, 1.0, 1.5])
    kl = dist.kl_divergence(dist.InverseGamma(2.0, 1.0), dist.Weibull(2.0, 1.0 / concentration))
    assert np.all(kl[:1] == np.inf) and np.all(np.isfinite(kl[1:]))
    kl = dist.kl_divergence(dist.Pareto(1.0, concentration), dist.Exponential(2.0))
    assert np.all(kl[:2] == np.inf) and np.isfinite(kl[2])


# -- digits ---------------------------------------------------------------------------------------------


def _mp_gamma(a, b, c, d):
    same_rate = (a - c) * mp.digamma(a) - mp.loggamma(a) + mp.loggamma(c)
    return same_rate + c * (mp.log(b) - mp.log(d)) + a * (d - b) / b


def _mp_normal(m, s, n, t):
    return mp.log(t / s) + (s * s + (m - n) ** 2) / (2 * t * t) - 0.5


def _mp_log_beta(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def _mp_beta(a, b, c, d):
    logs = (a - c) * mp.digamma(a) + (b - d) * mp.digamma(b) + (c - a + d - b) * mp.digamma(a + b)
    return _mp_log_beta(c, d) - _mp_log_beta(a, b) + logs


def _mp_weibull(s, k, t, j):
    logs = mp.log(k / s**k) - mp.log(j / t**j) + (k - j) * (mp.log(s) - mp.euler / k)
    return logs + (s / t) ** j * mp.gamma(j / k + 1) - 1


def _mp_laplace(m, s, n, t):
    return mp.log(t / s) + (s * mp.exp(-abs(m - n) / s) + abs(m - n)) / t - 1


def _mp_bernoulli(p, q):
    return p * mp.log(p / q) + (1 - p) * mp.log((1 - p) / (1 - q))


# The textbook's formula in sixty digits: the family, its parameters, and the formula.
TEXTBOOK = [
    (dist.Normal, (0.3, 1.2), _mp_normal),
    (dist.Normal, (0.3, 1e-8), _mp_normal),
    (dist.Gamma, (2.5, 1.2), _mp_gamma),
    (dist.Gamma, (1e-3, 1e4), _mp_gamma),
    (dist.Gamma, (1e4, 1e-3), _mp_gamma),
    (dist.Beta, (2.5, 0.7), _mp_beta),
    (dist.Beta, (300.0, 1e-2), _mp_beta),
    (dist.Weibull, (1.2, 1.7), _mp_weibull),
    (dist.Laplace, (0.3, 1.2), _mp_laplace),
    (dist.Poisson, (2.5,), lambda a, b: a * mp.log(a / b) - a + b),
    (dist.Exponential, (2.5,), lambda a, b: mp.log(a / b) + b / a - 1),
    (dist.Bernoulli, (0.3,), _mp_bernoulli),
    (dist.Gamma, (1e12, 1e-3), _mp_gamma),
    (dist.Beta, (1e12, 3e11), _mp_beta),
    (dist.Beta, (1e12, 0.3), _mp_beta),
]


def apart(parameters, away):
    """Parameters that differ from these in opposite ways, by about `away` of themselves."""
    return tuple(x * (1 + away * sign) for x, sign in zip(parameters, (0.9, -0.5)))


def digits(away):
    """The relative error allowed: a difference of two parameters is known to 1e-16 / away of itself."""
    return 1e-11 + 4e-15 / away


@pytest.mark.parametrize("away", [1.0, 1e-2, 1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize(("family", "parameters", "formula"), TEXTBOOK)
def test_kl_keeps_its_digits_near_equality(family, parameters, formula, away):
    """At 1e-6 the divergence is some 1e-12, and right to 1e-9 of that."""
    other = apart(parameters, away)
    with mp.workdps(60):
        wanted = float(formula(*map(mp.mpf, parameters + other)))
    found = float(dist.kl_divergence(family(*parameters), family(*other)))
    assert found == pytest.approx(wanted, rel=digits(away), abs=0)


def test_the_textbooks_formula_loses_them():
    parameters, other = (2.5, 1.2), apart((2.5, 1.2), 1e-9)
    with mp.workprec(53):
        found = float(_mp_gamma(*map(mp.mpf, parameters + other)))
    wanted = float(dist.kl_divergence(dist.Gamma(*parameters), dist.Gamma(*other)))
    assert abs(found - wanted) > 1000 * digits(1e-9) * wanted


def _mp_dirichlet(*shapes):
    a, b = shapes[:3], shapes[3:]
    log_norm = lambda c: mp.fsum(map(mp.loggamma, c)) - mp.loggamma(mp.fsum(c))
    logs = [mp.digamma(x) - mp.digamma(mp.fsum(a)) for x in a]
    return log_norm(b) - log_norm(a) + mp.fsum((x - y) * log for x, y, log in zip(a, b, logs))


def _mp_stacy(a, k, s, b, j, t):
    """Of `s g^(1 / k)` and `t h^(1 / j)`, g and h gamma draws of shapes a and b."""
    logs = mp.log(s) + mp.digamma(a) / k
    moment = (s / t) ** j * mp.gamma(a + j / k) / mp.gamma(a)
    constant = lambda a, k, s: mp.log(k) - mp.loggamma(a) - a * k * mp.log(s)
    return constant(a, k, s) - constant(b, j, t) + (a * k - b * j) * logs - a + moment


SIZES = (1e-8, 0.3, 20.0, 1e5, 1e10, 1e15)


def _of_size(family, *shapes):
    """Parameters of that family: the shapes, and other numbers of sizes that go with them."""
    return {
        dist.Gamma: lambda a: (a, 0.7 + 1.3 * a),
        dist.Beta: lambda a: (a, 0.7 * a if a > 1 else 3.0),
        dist.Dirichlet: lambda a: (a, 3.0, 0.2 + 2.0 * a),
    }[family](*shapes)


@pytest.mark.parametrize(
    ("family", "formula"), [(dist.Gamma, _mp_gamma), (dist.Beta, _mp_beta), (dist.Dirichlet, _mp_dirichlet)]
)
def test_kl_is_right_at_concentrations_of_any_size(family, formula):
    """To 1e-11 of itself; the differences of log Gamma functions have lost all digits at 1e15. And so its slope."""
    build = lambda values: family(np.stack(values)) if family is dist.Dirichlet else family(*values)
    n = 3 if family is dist.Dirichlet else 2
    program = A.record(lambda *v: (dist.kl_divergence(build(v[:n]), build(v[n:])),), [np.asarray(1.0)] * 2 * n)
    slopes = A.compile_program(A.gradient(program, range(2 * n)))
    for a in SIZES:
        for b in SIZES:
            values = (*_of_size(family, a), *(0.9 * x for x in _of_size(family, b)))
            with mp.workdps(100):
                exact = tuple(map(mp.mpf, values))
                wanted = float(formula(*exact))
                found, *slope = slopes(*map(np.float64, values))
                assert float(found) == pytest.approx(wanted, rel=1e-11, abs=0), values
                for i, x in enumerate(exact):
                    step = [y + (i == k) * x * mp.mpf(10) ** -40 for k, y in enumerate(exact)]
                    expected = float((formula(*step) - formula(*exact)) / (x * mp.mpf(10) ** -40) * x)
                    # To what a last digit of the largest parameter changes.
                    assert float(slope[i]) * values[i] == pytest.approx(
                        expected, rel=1e-7, abs=1e-12 * wanted + 1e-14 * max(values)
                    ), values


@pytest.mark.parametrize("a", SIZES)
@pytest.mark.parametrize("b", SIZES)
def test_kl_of_powers_of_gamma_draws_at_any_size(a, b):
    """Exponents of both signs, to 1e-11: a gamma and a Weibull, a half normal and an inverse gamma."""
    if a > 1e10 or b > 1e10:  # forty digits are not enough for the powers
        return
    with mp.workdps(100):
        half = mp.mpf(1) / 2
        for q, p, exact in (
            (dist.Gamma(a, 2.0), dist.Weibull(0.9 * a, 1.7), _mp_stacy(a, 1, half, 1, mp.mpf(1.7), mp.mpf(0.9 * a))),
            (dist.Weibull(1.2, 2.5), dist.Gamma(b, b), _mp_stacy(1, mp.mpf(2.5), mp.mpf(1.2), b, 1, 1 / mp.mpf(b))),
        ):
            assert float(dist.kl_divergence(q, p)) == pytest.approx(float(exact), rel=1e-11, abs=0)


@pytest.mark.parametrize("df", [1.5, 7.0, 1e5, 1e12])
@pytest.mark.parametrize("other", [1.2, 30.0, 1e5, 1e12])
def test_kl_of_wisharts_of_one_dimension_is_that_of_gamma_draws(df, other):
    """Also where the degrees of freedom are many, and of NegativeBinomial where one mean is large."""
    one = lambda df, scale: dist.Wishart(df, np.array([[scale]]))
    wanted = dist.kl_divergence(dist.Gamma(0.5 * df, 0.7), dist.Gamma(0.5 * other, 0.2))
    found = dist.kl_divergence(one(df, 0.5 / 0.7), one(other, 0.5 / 0.2))
    assert found == pytest.approx(wanted, rel=1e-13)
    with mp.workdps(60):
        r, m, n = mp.mpf(1.7), mp.mpf(df), mp.mpf(other)
        exact = m * mp.log(m / n) - (m + r) * mp.log((m + r) / (n + r))
    found = dist.kl_divergence(dist.NegativeBinomial2(df, 1.7), dist.NegativeBinomial2(other, 1.7))
    assert found == pytest.approx(float(exact), rel=1e-13)


def test_kl_of_circular_draws_of_large_concentration():
    """Two narrow ones are normal: of scales that differ by a factor. And by SciPy's Bessel functions below that."""
    with mp.workdps(40):
        for k, j in ((650.0, 900.0), (750.0, 600.0), (2000.0, 1500.0)):
            ratio = mp.besseli(1, k) / mp.besseli(0, k)
            exact = mp.log(mp.besseli(0, j) / mp.besseli(0, k)) + (k - j) * ratio
            assert dist.kl_divergence(dist.VonMises(0.3, k), dist.VonMises(0.3, j)) == pytest.approx(
                float(exact), rel=1e-11
            )
            assert dist.VonMises(0.3, k).variance == pytest.approx(float(1 - ratio), rel=1e-13)
    k, j = 1e12, 3e13
    wanted = dist.kl_divergence(dist.Normal(0.3, k**-0.5), dist.Normal(0.3 + 1e-6, j**-0.5))
    assert dist.kl_divergence(dist.VonMises(0.3, k), dist.VonMises(0.3 + 1e-6, j)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("q", "p"),
    [
        (dist.Normal(), dist.Cauchy()),
        (dist.Normal(), dist.ImproperUniform(dist.constraints.real)),
        (dist.TransformedDistribution(dist.Normal(), tf.SigmoidTransform()), dist.Beta(1.0, 1.0)),
        (dist.Poisson(0.3), dist.Binomial(8, 0.3)),
        (dist.NegativeBinomial2(7.0, 0.3), dist.NegativeBinomial2(7.0, np.array([0.3, 0.4]))),
        (dist.Cauchy(), dist.Normal()),
        (dist.Normal(), dist.Uniform(-1e9, 1e9)),
        (dist.VonMises(0.0, 1.0), dist.Normal()),  # its mean and variance are those of a circle
        (dist.Normal(), dist.Gamma(1.0, 1.0)),
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
