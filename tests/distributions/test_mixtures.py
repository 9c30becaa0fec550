"""Mixtures: densities and supports, draws from noise, and gradients through them against quadrature."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.distributions as dist
from ppl import array as A
from ppl.distributions import constraints
from ppl.errors import ModelError, ShapeError

from .registry import MIXTURE

FALSE_ALARM = 1e-9  # the chance that one right sampler fails its goodness-of-fit test, at a random seed
WEIGHTS = np.array([0.3, 0.7])
PARTS = [dist.Normal(-1.0, 0.5), dist.Normal(2.0, 1.5)]
PAIR = dist.Categorical(WEIGHTS)


def oracle_cdf(x):
    return 0.3 * stats.norm(-1.0, 0.5).cdf(x) + 0.7 * stats.norm(2.0, 1.5).cdf(x)


# -- densities -----------------------------------------------------------------------------------------
def test_a_list_of_one_family_is_that_family():
    listed = dist.MixtureGeneral(PAIR, PARTS)
    x = np.linspace(-4.0, 8.0, 25)
    np.testing.assert_allclose(listed.log_prob(x), MIXTURE.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(listed.cdf(x), oracle_cdf(x), rtol=1e-12)
    np.testing.assert_allclose(listed.component_log_probs(x), MIXTURE.component_log_probs(x))
    for name in ("mean", "variance", "batch_shape", "event_shape", "support", "noise", "noise_shape"):
        assert getattr(listed, name) == getattr(MIXTURE, name)
    noise = MIXTURE.draw_noise(0, (50,))
    np.testing.assert_array_equal(listed.from_noise(noise), MIXTURE.from_noise(noise))


def test_mixture_is_told_by_its_components():
    assert type(dist.Mixture(PAIR, PARTS)) is dist.MixtureGeneral
    assert type(dist.Mixture(PAIR, MIXTURE.component_distribution)) is dist.MixtureSameFamily


def test_components_of_different_supports():
    """Also for a recorded value, which need not be inside every component."""
    d = dist.MixtureGeneral(PAIR, [dist.Normal(0.0, 1.0), dist.Exponential(2.0)])
    x = np.array([-1.5, -1e-9, 0.0, 0.7])
    expected = 0.3 * stats.norm.pdf(x) + 0.7 * stats.expon(scale=0.5).pdf(x)
    expected[2] = 0.3 * stats.norm.pdf(0.0)  # 0 is outside of the open half line
    recorded = A.compile_program(A.record(lambda x: (d.log_prob(x),), [x]))(x)[0]
    for log_prob in (d.log_prob(x), recorded):
        np.testing.assert_allclose(np.exp(log_prob), expected, rtol=1e-12)
    assert np.all(d.support(x))
    assert dist.MixtureGeneral(PAIR, PARTS, support=constraints.positive).support == constraints.positive
    bounded = dist.MixtureSameFamily(PAIR, dist.Uniform(np.array([0.0, 2.0]), np.array([1.0, 3.0])))
    x = np.array([0.5, 1.5, 2.5])
    recorded = A.compile_program(A.record(lambda x: (bounded.log_prob(x),), [x]))(x)[0]
    np.testing.assert_allclose(np.exp(recorded), [0.3, 0.0, 0.7])


def test_a_mixture_far_from_all_components():
    x = np.array([-1e3, 1e3])
    expected = np.log(WEIGHTS[1]) + stats.norm(2.0, 1.5).logpdf(x)  # the wider one is all that is left
    np.testing.assert_allclose(MIXTURE.log_prob(x), expected, rtol=1e-12)


def test_weights_of_zero():
    d = dist.MixtureSameFamily(dist.Categorical(np.array([0.0, 1.0])), dist.Normal(np.array([-9.0, 2.0]), 1.0))
    np.testing.assert_allclose(d.log_prob(0.3), stats.norm(2.0).logpdf(0.3))
    assert np.all(d.sample(0, (1000,)) > -4.0)
    assert np.all(d.from_noise(d.draw_noise(0, (1000,))) > -4.0)


def test_enumeration_of_finite_mixtures():
    same = dist.MixtureSameFamily(PAIR, dist.Binomial(4, np.array([0.2, 0.9])))
    listed = dist.MixtureGeneral(PAIR, [dist.Bernoulli(0.4), dist.DiscreteUniform(1, 3)])
    np.testing.assert_array_equal(same.enumerate_support(), np.arange(5))
    np.testing.assert_array_equal(listed.enumerate_support(), np.arange(4))
    np.testing.assert_allclose(
        np.exp(listed.log_prob(np.arange(4))), [0.3 * 0.6, 0.3 * 0.4 + 0.7 / 3, 0.7 / 3, 0.7 / 3]
    )
    assert not MIXTURE.has("enumerate_support")


# -- draws from noise --------------------------------------------------------------------------------------
def p_value(d, noise=None) -> float:
    noise = d.draw_noise(5, (4000,)) if noise is None else noise
    return stats.kstest(d.from_noise(noise), oracle_cdf).pvalue


def test_draws_from_noise_follow_the_law():
    assert p_value(MIXTURE) > FALSE_ALARM
    assert stats.kstest(MIXTURE.sample(5, (4000,)), oracle_cdf).pvalue > FALSE_ALARM


def test_wrong_draws_are_caught():
    noise = MIXTURE.draw_noise(5, (4000,))
    assert p_value(MIXTURE, noise[:, [0, 0]]) < FALSE_ALARM  # one number for the pick and for the component
    swapped = dist.MixtureSameFamily(dist.Categorical(WEIGHTS[::-1]), MIXTURE.component_distribution)
    assert p_value(swapped) < FALSE_ALARM


def test_uniform_noise_and_vectors():
    d = dist.MixtureSameFamily(PAIR, dist.Exponential(np.array([5.0, 0.5])))
    cdf = lambda x: 0.3 * stats.expon(scale=0.2).cdf(x) + 0.7 * stats.expon(scale=2.0).cdf(x)
    assert d.noise == "uniform"
    assert stats.kstest(d.from_noise(d.draw_noise(1, (4000,))), cdf).pvalue > FALSE_ALARM
    vectors = dist.MixtureSameFamily(PAIR, dist.MultivariateNormal(np.array([[-1.0, 4.0], [2.0, 0.0]]), np.eye(2)))
    x = vectors.from_noise(vectors.draw_noise(2, (4000,)))
    for axis, (a, b) in enumerate([(-1.0, 2.0), (4.0, 0.0)]):
        cdf = lambda x, a=a, b=b: 0.3 * stats.norm(a).cdf(x) + 0.7 * stats.norm(b).cdf(x)
        assert stats.kstest(x[:, axis], cdf).pvalue > FALSE_ALARM
    assert np.corrcoef(x.T)[0, 1] < -0.5  # the two elements are of one component


def test_what_has_no_noise_of_one_kind_is_drawn_all_the_same():
    d = dist.MixtureGeneral(PAIR, [dist.Normal(), dist.Exponential(1.0)])
    assert d.noise is None and not d.reparameterized
    with pytest.raises(ModelError, match="from_noise"):
        d.from_noise(np.zeros(2))
    cdf = lambda x: 0.3 * stats.norm.cdf(x) + 0.7 * stats.expon.cdf(x)
    assert stats.kstest(d.sample(3, (4000,)), cdf).pvalue > FALSE_ALARM


def test_batches_draw_each_their_own():
    weights = dist.Categorical(np.array([[0.3, 0.7], [0.9, 0.1]]))
    d = dist.MixtureSameFamily(weights, dist.Normal(np.array([-50.0, 50.0]), 1.0)).expand((3, 2))
    for x in (d.from_noise(d.draw_noise(0, (4000,))), d.sample(0, (4000,))):
        share = np.mean(x > 0, axis=0)
        assert np.all(np.abs(share - [0.7, 0.1]) < 6.5 * np.sqrt(0.25 / 4000))  # one in 10^10 per element
        assert np.all(np.abs(np.corrcoef(x.reshape(4000, 6).T)[np.triu_indices(6, 1)]) < 6.5 / np.sqrt(4000))


# -- gradients through draws ---------------------------------------------------------------------------------
def bound(weights, locs, scales):
    """The bound of `square` by quadrature."""
    z = np.linspace(-9.0, 9.0, 50_001)
    q = sum(w * stats.norm(m, s).pdf(z) for w, m, s in zip(weights, locs, scales, strict=True))
    log_p = stats.norm(0.0, 3.0).logpdf(z) + stats.norm(z**2, 1.0).logpdf(4.0)
    return np.sum(q * (log_p - np.log(q + 1e-300))) * (z[1] - z[0])


def square():
    z = ppl.sample("z", dist.Normal(0, 3))
    ppl.sample("x", dist.Normal(z**2, 1), obs=4.0)


LOCS, SCALES, PARTICLES = np.array([-1.5, 1.2]), np.array([0.5, 0.7]), 20_000


def guide_of(make):
    def guide():
        locs = ppl.param("locs", LOCS)
        scales = ppl.param("scales", SCALES, constraint=constraints.positive)
        ppl.sample("z", make(locs, scales))

    return guide


def same_family(locs, scales):
    return dist.MixtureSameFamily(PAIR, dist.Normal(locs, scales))


def general(locs, scales):
    return dist.MixtureGeneral(PAIR, [dist.Normal(locs[0], scales[0]), dist.Normal(locs[1], scales[1])])


def exact_slopes():
    step = 1e-5 * np.eye(2)
    locs = [(bound(WEIGHTS, LOCS + e, SCALES) - bound(WEIGHTS, LOCS - e, SCALES)) / 2e-5 for e in step]
    scales = [(bound(WEIGHTS, LOCS, SCALES + e) - bound(WEIGHTS, LOCS, SCALES - e)) / 2e-5 for e in step]
    return {"locs": np.array(locs), "scales": np.array(scales)}


def distance(record) -> float:
    """How far from the exact gradient, in standard errors, at most."""
    exact = exact_slopes()
    return max(np.max(np.abs(record.grad[n] - exact[n]) / np.sqrt(record.variance[n] / PARTICLES)) for n in exact)


@pytest.mark.parametrize("make", [same_family, general])
@pytest.mark.parametrize("estimators", ["auto", "score"])
def test_a_guide_of_fixed_weights_is_pathwise_and_exact(make, estimators):
    record = ppl.gradient(square, guide=guide_of(make), particles=PARTICLES, estimators=estimators)
    assert record.estimators["z"][0] == ("score" if estimators == "score" else "pathwise")
    assert distance(record) < 4.5


def test_a_gradient_through_the_wrong_component_is_caught(monkeypatch):
    monkeypatch.setattr(dist.MixtureSameFamily, "_choose", lambda self, chosen, draws: draws[..., 0])
    record = ppl.gradient(square, guide=guide_of(same_family), particles=PARTICLES)
    assert distance(record) > 10


def test_weights_that_are_learned_take_the_score():
    """The draw jumps as they move, and the pathwise gradient would be zero in them: the exact one is not."""

    def guide():
        w = ppl.param("w", 0.3, constraint=constraints.unit_interval)
        weights = dist.Categorical(probs=np.stack([w, 1 - w]))
        ppl.sample("z", dist.MixtureSameFamily(weights, dist.Normal(np.array([-2.0, 1.5]), 0.4)))

    record = ppl.gradient(square, guide=guide, particles=PARTICLES)
    assert record.estimators["z"][0] == "score"
    ends = [bound([w, 1 - w], [-2.0, 1.5], [0.4, 0.4]) for w in (0.3 - 1e-5, 0.3 + 1e-5)]
    exact = (ends[1] - ends[0]) / 2e-5
    assert abs(exact) == pytest.approx(1.441, abs=1e-3)
    assert abs(record.grad["w"] - exact) < 4.5 * np.sqrt(record.variance["w"] / PARTICLES)
    with pytest.raises(ppl.GuideError, match="pathwise"):
        ppl.gradient(square, guide=guide, particles=2, estimators="pathwise")


def test_a_vector_mixture_in_the_place_of_a_guide():
    """E[|z|^2] under a mixture of two vectors: sum_k w_k (|m_k|^2 + ...), whose slope in m_k is 2 w_k m_k."""
    locs = np.array([[-1.0, 4.0], [2.0, 0.5]])
    d = lambda m: dist.MixtureSameFamily(PAIR, dist.Normal(m, 0.7).to_event(1))
    noise = d(locs).draw_noise(0, (PARTICLES,))
    program = A.record(lambda m: (np.mean(np.sum(d(m).from_noise(noise) ** 2, axis=-1)),), [locs])
    slope = A.compile_program(A.gradient(program, [0]))(locs)[1]
    exact = 2 * WEIGHTS[:, None] * locs
    spread = np.sqrt(4 * WEIGHTS[:, None] * (locs**2 * (1 - WEIGHTS[:, None]) + 0.49) / PARTICLES)
    assert np.all(np.abs(slope - exact) < 6.5 * spread)


# -- words -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: dist.MixtureGeneral(PAIR, PARTS[:1]), ShapeError, "1 components for 2 weights"),
        (
            lambda: dist.MixtureGeneral(PAIR, [dist.Normal(), dist.Normal(np.zeros(2)).to_event(1)]),
            ShapeError,
            "components with event shapes (), (2,)",
        ),
        (
            lambda: dist.MixtureGeneral(PAIR, [dist.Poisson(1.0), dist.Normal()]),
            ModelError,
            "Poisson: discrete, Normal: continuous",
        ),
        (lambda: dist.Mixture(dist.Normal(), PARTS), ModelError, "weights from Normal"),
        (
            lambda: dist.MixtureGeneral(PAIR, [dist.Normal(np.zeros(3)), dist.Normal(np.zeros(2))]),
            ShapeError,
            "component 0: (3,), component 1: (2,), weights: ()",
        ),
        (
            lambda: dist.MixtureSameFamily(dist.Categorical(np.full((3, 2), 0.5)), dist.Normal(np.zeros((4, 2)), 1.0)),
            ShapeError,
            "weights: (3,), components: (4,)",
        ),
    ],
)
def test_senseless_mixtures_are_refused(make, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        make()


# -- the other combinators ----------------------------------------------------------------------------------------
def test_facts_of_point_masses():
    d = dist.Delta(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(d.cdf(np.array([1.0, 1.9])), [1.0, 0.0])
    np.testing.assert_array_equal(d.icdf(np.array([[0.1], [0.9]])), [[1.0, 2.0]] * 2)
    vector = dist.Delta(np.array([1.0, 2.0]), event_dim=1)
    assert not vector.has("cdf") and not vector.has("icdf")
    with pytest.raises(ModelError, match="cdf"):
        vector.cdf(np.zeros(2))
    assert dist.Unit(1.5).entropy() == -1.5


def test_an_affine_image_moves_the_mode():
    d = dist.TransformedDistribution(dist.Gamma(3.0, 1.0), dist.transforms.AffineTransform(1.0, -2.0))
    assert d.has("mode") and d.mode == -3.0
    assert not dist.TransformedDistribution(dist.Normal(), dist.transforms.ExpTransform()).has("mode")
