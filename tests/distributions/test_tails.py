"""Log densities far out: forty standard deviations away, at parameters of 1e-8 and 1e8, and in single precision."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mp
from scipy import special

import ppl.distributions as dist
from ppl.distributions import constraints

from .registry import CONTINUOUS, DISCRETE
from .registry.bounded import BOUNDED
from .registry.exact import log_beta
from .registry.positive import POSITIVE
from .registry.real import REAL

pytestmark = pytest.mark.filterwarnings("error")


TOO_FAR = 1e300  # the size up to which a log density is asked for
# The first row of each family of numbers on the line has the formula that all its rows share.
FAMILIES = {type(row.d).__name__: row for row in reversed(REAL + POSITIVE + BOUNDED)}
FAMILIES.pop("TruncatedDistribution")


def test_every_continuous_family_is_looked_at_far_out():
    for name, row in FAMILIES.items():
        assert row.exact is not None and row.far(1e-8, 1e8), name


def exact(name, parameters, x):
    """The log density in forty digits, or in more where a tail has to be told from 1; None where it is too large."""
    with mpmath.workdps(40 if name != "SkewNormal" else 60):
        found = FAMILIES[name].exact(mp.mpf(x), **{k: mp.mpf(v) for k, v in parameters.items()})
        return None if abs(found) > TOO_FAR else float(found)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_log_densities_far_out_are_exact(name):
    """To 1e-7 of the larger of the log density and 1, in double precision."""
    for parameters, x in FAMILIES[name].far(1e-8, 1e8):
        expected = exact(name, parameters, x)
        if expected is not None:
            found = float(dist.FAMILIES[name](**parameters).log_prob(x))
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-7), (parameters, x)


def test_a_density_that_underflows_is_caught():
    """The logarithm of a density, and not a log density: forty standard deviations out it is minus infinity."""
    with np.errstate(divide="ignore"):
        found = np.log(np.exp(-0.5 * 40.0**2) / np.sqrt(2.0 * np.pi))
    assert found != pytest.approx(exact("Normal", {"loc": 0.0, "scale": 1.0}, 40.0), rel=1e-7)


def test_the_range_of_single_precision():
    """To 3e-4 of the larger of the log density and 1, up to 40 scales out and for shapes and scales of 1e-3 to 1e3."""
    for name, parameters, x in ((n, *case) for n, row in FAMILIES.items() for case in row.far(1e-3, 1e3)):
        single = {k: np.float32(v) for k, v in parameters.items()}
        x = np.float32(x)
        expected = dist.FAMILIES[name](**{k: float(v) for k, v in single.items()}).log_prob(float(x))
        if abs(expected) < 1e37:
            found = dist.FAMILIES[name](**single).log_prob(x)
            assert found.dtype == np.float32
            assert found == pytest.approx(expected, rel=3e-4, abs=3e-4), (name, single, x)


TRUNCATED_NORMALS = [  # standardised bounds: wide and narrow, in the middle and far out on both sides
    *((a, a + w) for a in (-1e6, -1e3, -41.0, -1.0, 0.0, 0.3, 40.0, 1e4, 1e6) for w in (1e-7, 1e-3, 0.09, 0.11, 1.0)),
    *((a, None) for a in (-1e4, -30.0, -1.0, 0.0, 3.0, 40.0, 1e5, 1e8)),
    *((None, b) for b in (-1e8, -40.0, 0.0, 1.0, 30.0)),
]


@pytest.mark.parametrize(("low", "high"), TRUNCATED_NORMALS)
def test_moments_of_a_truncated_normal(low, high):
    """Against the textbook formulas (Johnson, Kotz and Balakrishnan 1994, section 10.1) in many digits."""
    d = dist.TruncatedNormal(0.0, 1.0, low, high)
    flip = high is None or (low is not None and low + high > 0)  # into the lower tail, where the terms keep digits
    with mpmath.workdps(120):
        a, b = (None if end is None else mp.mpf(end) for end in (low, high))
        if flip:
            a, b = None if b is None else -b, -a
        # Over the density at b, so that nothing underflows.
        tail = lambda z: mp.erfc(-z / mp.sqrt(2)) / 2 if z > -1e4 else mills(z)
        mills = lambda z: (
            mp.npdf(z) * mp.fsum((-1) ** k * mp.fac2(2 * k - 1) / mp.mpf(-z) ** (2 * k + 1) for k in range(9))
        )
        mass = tail(b) - (0 if a is None else tail(a))
        at_a, at_b = (0 if a is None else mp.npdf(a) / mass), mp.npdf(b) / mass
        shift = at_a - at_b
        variance = 1 + (0 if a is None else a * at_a) - b * at_b - shift**2
        entropy = mp.log(mass) + ((0 if a is None else a * at_a) - b * at_b + 1 + mp.log(2 * mp.pi)) / 2
        mean = float(-shift if flip else shift)
    assert d.mean == pytest.approx(mean, rel=1e-12, abs=1e-12)
    assert d.variance == pytest.approx(float(variance), rel=1e-9)
    assert d.entropy() == pytest.approx(float(entropy), rel=1e-9, abs=1e-9)


FAR_TRUNCATED_NORMALS = [
    *((a, None) for a in (7.9, 8.1, 20.0, 1e3, 1e5, 1e8)),
    *((None, -a) for a in (8.1, 1e5)),
    *((a, a + w) for a, w in ((5.0, 2.0), (8.5, 40.0), (30.0, 0.5), (100.0, 2e-3), (1e4, 1e-3), (1e5, 1.0))),
    *((-a - w, -a) for a, w in ((9.0, 40.0), (1e6, 1e-6))),
]


@pytest.mark.parametrize(("low", "high"), FAR_TRUNCATED_NORMALS)
def test_draws_of_a_truncated_normal_far_out_are_rounded_quantiles(low, high):
    """To a last digit of the draw, and 1e-14 of its distance from the bound that is nearer to the middle."""
    d = dist.TruncatedNormal(0.0, 1.0, low, high)
    upper = low is not None and low > 0
    near, far = (low, high) if upper else (-high, None if low is None else -low)
    with mpmath.workdps(80):
        series = lambda z: mp.npdf(z) / z * (1 - 1 / z**2 + 3 / z**4 - 15 / z**6)
        tail = lambda z: mp.erfc(z / mp.sqrt(2)) / 2 if z < 5e3 else series(z)
        a, top = mp.mpf(near), 0 if far is None else tail(mp.mpf(far))
        for q in (1e-6, 0.01, 0.3, 0.7, 0.999, 1 - 1e-9):
            x = float(d.icdf(q))
            beyond = (tail(abs(mp.mpf(x))) - top) / (tail(a) - top)
            error = abs(beyond - (1 - mp.mpf(q) if upper else mp.mpf(q))) * (tail(a) - top) / mp.npdf(x)
            assert error < np.spacing(abs(x)) + 1e-14 * (abs(x) - near), q


LOG_TAILS = [
    (dist.Normal(0.3, 1.2), lambda x: mp.erfc(abs(x - mp.mpf(0.3)) / mp.mpf(1.2) / mp.sqrt(2)) / 2),
    (dist.Logistic(0.3, 1.2), lambda x: 1 / (1 + mp.exp(abs(x - mp.mpf(0.3)) / mp.mpf(1.2)))),
    (dist.Laplace(0.3, 1.2), lambda x: mp.exp(-abs(x - mp.mpf(0.3)) / mp.mpf(1.2)) / 2),
    (dist.Cauchy(0.3, 1.2), lambda x: mp.atan(mp.mpf(1.2) / abs(x - mp.mpf(0.3))) / mp.pi),
]


@pytest.mark.parametrize(("d", "tail"), LOG_TAILS, ids=lambda v: type(v).__name__)
def test_both_tails_are_known_on_the_log_scale(d, tail):
    with mpmath.workdps(50):
        for x in (-500.0, -47.7, 48.3, 500.0):
            near, far = (d.log_cdf, d.log_survival) if x < 0 else (d.log_survival, d.log_cdf)
            expected = tail(mp.mpf(x))
            assert float(near(x)) == pytest.approx(float(mp.log(expected)), rel=1e-12)
            assert float(far(x)) == pytest.approx(float(mp.log1p(-expected)), rel=1e-9, abs=1e-300)


TRUNCATED = [  # a family, and bounds deep in its upper tail: mean far above, draws and density from its survival
    (dist.Normal(0.0, 1.0), 40.0, None),
    (dist.Normal(0.0, 1.0), 40.0, 40.5),
    (dist.Normal(0.0, 1.0), None, -40.0),
    (dist.Normal(0.0, 1.0), -40.5, -40.0),
    (dist.Exponential(2.0), 500.0, 501.0),
    (dist.Logistic(0.0, 1.0), 800.0, 801.0),
    (dist.Gumbel(0.0, 1.0), 800.0, None),
    (dist.LogNormal(0.0, 0.1), 60.0, 61.0),
    (dist.Weibull(1.0, 2.5), 20.0, None),
    (dist.Gamma(2.5, 1.0), 600.0, 601.0),
]


@pytest.mark.parametrize(("base", "low", "high"), TRUNCATED, ids=str)
def test_truncation_far_out(base, low, high):
    """The density integrates to one where all the base's mass is 1e-300, and the quantiles undo the cdf."""
    d = dist.TruncatedDistribution(base, low, high)
    q = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999])
    x = d.icdf(q)
    assert np.all(np.diff(x) > 0) and np.all(d.support(x))
    np.testing.assert_allclose(d.cdf(x), q, rtol=1e-6)
    edges = d.icdf(np.array([1e-12, 1e-6, 1e-3, *np.linspace(0.05, 0.95, 7), 1 - 1e-3, 1 - 1e-6, 1 - 1e-12]))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half, middle = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    values = np.exp(d.log_prob(middle[:, None] + half[:, None] * nodes))
    assert half @ (values @ weights) == pytest.approx(1.0, abs=1e-6)


# Families whose tail has no known logarithm: beyond the smallest double they answer -inf, and never a wrong number.
NO_LOGARITHM = {"VonMises", "MixtureSameFamily", "MixtureGeneral", "TruncatedDistribution"}
TAIL_ROWS = [row for row in CONTINUOUS if row.scalar and row.d.has("cdf") and row.d.has("icdf")]


def far_out(d, side):
    """Values further and further out on one side, up to a log density of -5000 or the end of the support."""
    edge, step = float(d.icdf(0.02 if side < 0 else 0.98)), abs(float(d.icdf(0.75) - d.icdf(0.25)))
    low, high = constraints.bounds(d.support) or (-np.inf, np.inf)
    end = float(low if side < 0 else high)
    for k in range(12):
        x = edge + side * step * 2.0**k if np.isinf(end) else end - side * abs(end - edge) * 4.0 ** -(k + 1)
        rising = np.isfinite(end) and d.log_prob(x + 0.99 * (end - x)) > d.log_prob(x)  # a singular end
        if d.log_prob(x) > -5000.0 and d.support(x) and not rising:
            yield x, end


def log_integral(d, x, end):
    """The log of the mass from x to the end of its side, by quadrature of the density over its height at x."""
    height, side, width = d.log_prob(x), np.sign(end - x), abs(end - x)
    if np.isinf(width):
        width = 1e-3 * abs(d.icdf(0.75) - d.icdf(0.25))
        while d.log_prob(x + side * width) > height - 60.0 and width < 1e150:
            width *= 2.0
    near = 0.5 ** np.arange(250.0 if np.isinf(end) else 50.0, 0.0, -0.5)
    edges = width * np.concatenate([[0.0], near, 1.0 - near[::-1][1:], [1.0]])  # dense at both ends
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half, middle = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    with np.errstate(all="ignore"):
        heights = np.exp(d.log_prob(x + side * (middle[:, None] + half[:, None] * nodes)) - height)
    return height + np.log(half @ (heights @ weights))


@pytest.mark.parametrize("row", TAIL_ROWS, ids=str)
@pytest.mark.parametrize("side", [-1, 1])
def test_log_tails_are_the_integral_of_the_density(row, side):
    """Of every family with a cdf, to 1e-6, down to a log probability of -5000."""
    d = row.d
    for x, end in far_out(d, side):
        found, expected = float((d.log_cdf if side < 0 else d.log_survival)(x)), log_integral(d, x, end)
        if type(d).__name__ in NO_LOGARITHM and found == -np.inf:
            assert expected < -36.0  # 1e-16, of a survival that is one minus the cdf
        elif type(d).__name__ in NO_LOGARITHM:
            assert found == pytest.approx(expected, rel=1e-6, abs=max(1e-6, 1e-14 * np.exp(min(-expected, 600.0))))
        else:
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), x


@pytest.mark.parametrize("row", [row for row in DISCRETE if row.scalar and row.d.has("cdf")], ids=str)
def test_log_tails_of_counts_are_sums_of_masses(row):
    d = row.d
    mean, sd = float(d.mean) if d.has("mean") else 3.0, float(np.sqrt(d.variance)) if d.has("variance") else 3.0
    if not np.isfinite(mean + sd):
        return
    exact = type(d).__name__ in {"Poisson", "Geometric", "Binomial", "NegativeBinomial", "NegativeBinomial2"}
    for z in (-1.0, 0.0, 2.0, 12.0, 60.0 if exact else 12.0):
        x = np.floor(mean + z * sd)
        beyond = np.arange(x + 1, x + 2 + 60 * max(sd, 5.0))
        expected = special.logsumexp(d.log_prob(beyond))
        found = float(d.log_survival(x))
        if exact or expected > -18.0:
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-7) or (expected < -700.0 and found == -np.inf)
        else:
            assert found < -18.0


@pytest.mark.parametrize("row", TAIL_ROWS, ids=str)
def test_quantiles_on_the_log_scale_undo_the_log_tails(row):
    """Where a family has them of its own, down to a probability of exp(-2000)."""
    d = row.d
    for quantile, log_tail, default in (
        (d._isf_exp, d.log_survival, dist.Distribution._isf_exp),
        (d._icdf_exp, d.log_cdf, dist.Distribution._icdf_exp),
    ):
        if quantile.__func__ is default:
            continue
        for log_q in (-2000.0, -600.0, -30.0, -1.0, -0.1):
            with np.errstate(all="ignore"):
                x = quantile(log_q)
            ends = [e for e in constraints.bounds(d.support) or () if np.isfinite(e) and e != 0.0]  # to which x rounds
            inside = np.isfinite(x) and d.support(x) and 1e-290 < abs(x) < 1e290
            inside = inside and all(abs(x - e) > 1e-6 * abs(e) for e in ends)
            if inside:
                assert float(log_tail(x)) == pytest.approx(log_q, rel=1e-6)


def exact_counts(name, x, a, b, n):
    """The log mass of beta-binomial and beta-negative-binomial counts in sixty digits."""
    with mpmath.workdps(60):
        x, a, b, n = map(mp.mpf, (x, a, b, n))
        lg = mp.loggamma
        if name == "BetaBinomial":
            return float(lg(n + 1) - lg(x + 1) - lg(n - x + 1) + log_beta(x + a, n - x + b) - log_beta(a, b))
        return float(lg(x + n) - lg(x + 1) - lg(n) + log_beta(x + a, n + b) - log_beta(a, b))


@pytest.mark.parametrize("a", (1e-8, 0.37, 2.5, 1e4, 1e8))
@pytest.mark.parametrize("b", (1e-8, 0.37, 2.5, 1e4, 1e8))
def test_counts_of_drawn_probabilities_are_exact(a, b):
    """To 1e-7 of the larger of the log mass and 1, for shapes from 1e-8 to 1e8 and counts up to 1e8."""
    for n in (1, 10, 10**4, 10**8):
        for x in {0, 1, n // 3, n}:
            expected = exact_counts("BetaBinomial", x, a, b, n)
            assert dist.BetaBinomial(a, b, n).log_prob(x) == pytest.approx(expected, rel=1e-7, abs=1e-7), (n, x)
    for n in (1e-8, 0.37, 2.5, 1e4, 1e8):
        for x in (0, 1, 7, 10**4, 10**8):
            expected = exact_counts("BetaNegativeBinomial", x, a, b, n)
            found = dist.BetaNegativeBinomial(a, b, n).log_prob(x)
            assert found == pytest.approx(expected, rel=1e-7, abs=1e-7), (n, x)
