"""The laws of exponential families, over the rows of the registry that have a record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ppl.array as A
import ppl.distributions as dist
from ppl.distributions._arrays import sum_last
from ppl.distributions.exponential import families
from ppl.distributions.records import negative_definite
from ppl.errors import ModelError

from .registry import ALL_ROWS, SCALAR_ROWS

pytestmark = pytest.mark.filterwarnings("error")

ROWS = [row for row in ALL_ROWS if row.d.exponential_family is not None]


def is_regular(d):
    """Whether the natural parameters are finite; a coin that never falls heads has none."""
    return all(np.all(np.isfinite(eta)) for eta in d.exponential_family.natural(d))


REGULAR = [row for row in ROWS if is_regular(row.d)]
# SciPy's quantiles of the inverse Gaussian give up far out; averages over draws look at that family.
ORACLE = [row for row in REGULAR if row in SCALAR_ROWS and type(row.d) is not dist.Wald]


def rows(table):
    return pytest.mark.parametrize("row", table, ids=str)


def test_every_record_has_a_row():
    assert {type(row.d) for row in REGULAR} >= set(families())


# -- the laws, as functions of a record, so that a wrong record can be shown to fail them --------------------


def check_density(record, d):
    """`log p = <eta, t> - A + log h`, on draws."""
    x, eta = d.sample(0, (6,)), record.natural(d)
    assert_near(record.log_prob(x, *eta), d.log_prob(x), record, eta, record.evaluate(x))


def assert_near(found, wanted, record, eta, t):
    """To the digits that `<eta, t>` leaves: far from 0 in their own scale its terms are large and cancel."""
    size = record.inner(tuple(np.where(np.isfinite(e), np.abs(e), 0.0) for e in eta), tuple(map(np.abs, t)))
    assert np.all(np.abs(found - wanted) <= 1e-13 * (1 + size + np.abs(wanted)))


def check_slopes(record, d):
    """`E[t] = grad A`, by the recorded program and by differences along random directions."""
    eta, rng = record.natural(d), np.random.default_rng(0)
    means = record.mean_parameters(*eta)
    program = A.record(lambda *eta: (np.sum(record.log_normalizer(*eta)),), list(eta))
    slopes = A.compile_program(A.gradient(program, range(len(eta))))(*eta)[1:]
    for mean, slope, statistic in zip(means, slopes, record.statistics, strict=True):
        np.testing.assert_allclose(symmetric(mean, statistic), symmetric(slope, statistic), rtol=1e-8, atol=1e-10)
    step = 1e-5
    away = [symmetric(rng.normal(size=np.shape(e)), t) * size(e, t) for e, t in zip(eta, record.statistics)]
    ends = [record.log_normalizer(*(e + s * step * v for e, v in zip(eta, away))) for s in (1, -1)]
    parts = [sum_last(v * m, t.event_dim) for v, m, t in zip(away, means, record.statistics)]
    # The third derivative times the square of the step, and the digits that A has over the step.
    error = 1e-8 * sum(map(np.abs, parts)) + 1e-15 * (1 + np.abs(ends[0])) / step
    assert np.all(np.abs((ends[0] - ends[1]) / (2 * step) - sum(parts)) < 10 * error)


def symmetric(x, statistic):
    return 0.5 * (x + np.swapaxes(x, -2, -1)) if statistic.natural_support is negative_definite else x


def size(eta, statistic):
    """A scale on which A varies: the parameter's own, 1 at 0, the least eigenvalue's of a matrix."""
    if statistic.natural_support is negative_definite:
        return np.min(np.abs(np.linalg.eigvalsh(eta)), axis=-1)[..., None, None] / np.shape(eta)[-1]
    return np.where(eta == 0, 1.0, np.minimum(np.abs(eta), 1.0)) * 0.2


def check_moments(record, d, oracle):
    """E[t] against a sum over the counts, or the integral over the quantiles of a distribution of scipy."""
    if d.is_discrete:
        x = np.arange(2000).reshape(-1, *(1,) * len(d.batch_shape))
        weights = oracle.pmf(x)
    else:
        # Over u = exp(-v) / 2, from both ends.
        nodes, weights = np.polynomial.legendre.leggauss(400)
        u = 0.5 * np.exp(-30.0 * (nodes + 1)).reshape(-1, *(1,) * len(d.batch_shape))
        weights = 30.0 * weights.reshape(u.shape) * u
        upper = oracle.isf(u) if hasattr(oracle, "isf") else oracle.ppf(1.0 - u)
        x, weights = np.concatenate([oracle.ppf(u), upper]), np.concatenate([weights, weights])
    for mean, statistic in zip(record.mean_parameters(*record.natural(d)), record.statistics, strict=True):
        if statistic.name == "log(1 - x)":  # quantiles near 1 are rounded: see the mirrored law below
            continue
        with np.errstate(all="ignore"):
            t, w = statistic.function(x), weights.reshape(weights.shape + (1,) * statistic.event_dim)
        found = np.sum(np.where(w > 0, t, 0.0) * w, axis=0)
        np.testing.assert_allclose(mean, np.broadcast_to(found, np.shape(mean)), rtol=1e-6, atol=1e-8)


# -- over the registry ---------------------------------------------------------------------------------------


def has_normalizer(d):
    record = d.exponential_family
    return np.all(np.isfinite(record.log_normalizer(*record.natural(d))))


@rows([row for row in ROWS if has_normalizer(row.d)])
def test_log_density_is_linear_in_the_statistics(row):
    check_density(row.d.exponential_family, row.d)


@rows(REGULAR)
def test_mean_parameters_are_the_slopes_of_the_log_normalizer(row):
    check_slopes(row.d.exponential_family, row.d)


@rows(ORACLE)
def test_mean_parameters_are_expectations(row):
    check_moments(row.d.exponential_family, row.d, row.oracle)


def test_the_two_ends_of_a_beta_are_alike():
    record = dist.exponential_family(dist.Beta)
    for a, b in ((-0.6, 2.5), (0.0, 0.0), (13.0, -0.999)):
        assert record.mean_parameters(a, b) == record.mean_parameters(b, a)[::-1]


@rows(REGULAR)
def test_mean_parameters_are_averages_over_draws(row):
    record = row.d.exponential_family
    draws = row.d.sample(3, (4000,))
    for t, mean, statistic in zip(
        record.evaluate(draws), record.mean_parameters(*record.natural(row.d)), record.statistics, strict=True
    ):
        assert np.shape(t) == (4000, *np.shape(mean))
        error = np.std(t, axis=0) / np.sqrt(4000)
        scale = np.max(np.abs(mean))
        # Some 500 numbers; by Student's t one of them is off by 7 standard errors once in 10^9 suites.
        # Statistics of heavy tails have been left to the quadrature above.
        # No draw at all of an event of probability 20 / 4000 has chance 2e-9.
        error = np.maximum(error, 20 / 4000 / 7) if row.d.is_discrete else error
        assert np.all(np.abs(np.mean(t, axis=0) - mean) < 7 * error + 1e-9 * (scale + 1)), statistic.name


@rows(ROWS)
def test_natural_and_mean_parameters_have_the_shape_of_the_batch_and_lie_in_their_sets(row):
    d = row.d.expand_by((2,))
    record = d.exponential_family
    eta = record.natural(d)
    for e, mean, statistic in zip(eta, record.mean_parameters(*eta), record.statistics, strict=True):
        assert np.shape(e)[: np.ndim(e) - statistic.event_dim] == d.batch_shape == np.shape(mean)[: len(d.batch_shape)]
        assert np.shape(mean) == np.shape(e)
        if is_regular(row.d):
            assert np.all(statistic.natural_support(e)) and np.all(statistic.mean_support(mean))
    assert np.shape(record.log_normalizer(*eta)) == d.batch_shape


@rows(REGULAR)
def test_the_way_back_from_natural_and_mean_parameters(row):
    record, x = row.d.exponential_family, row.d.sample(0, (6,))
    eta = record.natural(row.d)
    built = [record.build(*eta)]
    if record.build_from_mean is not None:
        built.append(record.build_from_mean(*record.mean_parameters(*eta)))
    for d in built:
        assert type(d) is record.family and d.batch_shape == row.d.batch_shape
        np.testing.assert_allclose(d.log_prob(x), row.d.log_prob(x), rtol=1e-8, atol=1e-8)


@rows([row for row in REGULAR if row.d.exponential_family.is_flat and row.d.has("entropy")])
def test_entropy_is_the_log_normalizer_less_the_mean_energy(row):
    record = row.d.exponential_family
    eta = record.natural(row.d)
    entropy = record.log_normalizer(*eta) - record.inner(eta, record.mean_parameters(*eta))
    assert_near(entropy, row.d.entropy(), record, eta, record.mean_parameters(*eta))


@rows(REGULAR)
def test_a_recorded_record_has_the_gradient_of_the_log_density(row):
    """From the parameters through eta: the chain that natural gradients go."""
    d, given = row.d, list(row.d.parameters)
    leaves, rebuild = d.tree_flatten()
    moving = [i for i, leaf in enumerate(leaves) if np.asarray(leaf).dtype.kind == "f"]
    x = d.sample(1, (3,))

    def through(log_prob):
        def total(*values):
            arrays = list(leaves)
            for i, value in zip(moving, values, strict=True):
                arrays[i] = value
            return (np.sum(log_prob(rebuild(arrays))),)

        program = A.record(total, [np.asarray(leaves[i], float) for i in moving])
        return A.compile_program(A.gradient(program, range(len(moving))))(*(leaves[i] for i in moving))[1:]

    def by_record(d):
        record = d.exponential_family
        return record.log_prob(x, *record.natural(d))

    moved = [np.asarray(leaves[i]) for i in moving]
    for leaf, found, wanted in zip(moved, through(by_record), through(lambda d: d.log_prob(x)), strict=True):
        found, wanted = (as_moved(leaf, g) for g in (found, wanted))
        if "probs" in given and d.exponential_family.statistics[0].event_dim == 1:
            # Along the simplex: a record takes any log weights and divides by their total.
            found, wanted = (g - np.mean(g, axis=-1, keepdims=True) for g in (found, wanted))
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-8)


def as_moved(leaf, slope):
    """The slope along matrices like this one: lower triangular, or symmetric."""
    if leaf.ndim < 2 or leaf.shape[-2] != leaf.shape[-1]:
        return slope
    if np.all(np.triu(leaf, 1) == 0):
        return np.tril(slope)
    return slope + np.swapaxes(slope, -2, -1) if np.allclose(leaf, np.swapaxes(leaf, -2, -1)) else slope


@rows([row for row in REGULAR if not row.d.is_discrete])
def test_single_precision_stays_single(row):
    leaves, rebuild = row.d.tree_flatten()
    d = rebuild([np.asarray(leaf, np.float32) for leaf in leaves])
    record = d.exponential_family
    eta = record.natural(d)
    assert {e.dtype for e in eta} == {np.dtype(np.float32)}
    assert record.log_normalizer(*eta).dtype == np.float32
    assert {m.dtype for m in record.mean_parameters(*eta)} == {np.dtype(np.float32)}


# -- wrong records -------------------------------------------------------------------------------------------

GAMMA = dist.Gamma(2.5, 0.7)
RIGHT = dist.exponential_family(GAMMA)


def wrong(**changes):
    return replace(RIGHT, **changes)


def test_wrong_records_are_caught():
    from scipy import stats

    oracle = stats.gamma(2.5, scale=1 / 0.7)
    check_density(RIGHT, GAMMA)
    check_slopes(RIGHT, GAMMA)
    check_moments(RIGHT, GAMMA, oracle)
    for check, record in [
        (check_density, wrong(log_normalizer=lambda log, x: RIGHT.log_normalizer(log, x) + 1e-6)),
        (check_density, wrong(to_natural=lambda d: (d.concentration, -d.rate))),
        (check_slopes, wrong(log_normalizer=lambda log, x: RIGHT.log_normalizer(log, x) + 1e-6 * x)),
        (check_slopes, wrong(mean_parameters=lambda log, x: RIGHT.mean_parameters(log, x * (1 + 1e-6)))),
    ]:
        with pytest.raises(AssertionError):
            check(record, GAMMA)
    swapped = replace(RIGHT.statistics[0], function=np.sqrt), RIGHT.statistics[1]
    with pytest.raises(AssertionError):
        check_moments(wrong(statistics=swapped), GAMMA, oracle)


# -- which record --------------------------------------------------------------------------------------------


def test_no_record_for_other_families_nor_for_wrappers():
    for d in (dist.Cauchy(), dist.Normal(np.zeros(2), 1.0).to_event(1), dist.Normal().mask(True)):
        assert d.exponential_family is None
    assert dist.Normal(np.zeros(2), 1.0).to_event(1).core.exponential_family.family is dist.Normal


def test_fixed_parameters_are_read_off_a_distribution_or_given():
    assert dist.exponential_family(dist.Binomial(7, 0.2)).fixed == {"total_count": 7}
    assert dist.exponential_family(dist.Binomial, total_count=7).mean_parameters(0.0) == (3.5,)
    with pytest.raises(ModelError, match="fixed parameters total_count"):
        dist.exponential_family(dist.Binomial)
    with pytest.raises(ModelError, match="no further argument"):
        dist.exponential_family(dist.Normal, loc=0.0)
