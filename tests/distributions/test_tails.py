"""Log densities far out: forty standard deviations away, at parameters of 1e-8 and 1e8, and in single precision."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mp

import ppl.distributions as dist

from .registry.bounded import BOUNDED
from .registry.positive import POSITIVE
from .registry.real import REAL

pytestmark = pytest.mark.filterwarnings("error")


def log_beta(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def t_density(x, df, loc, scale):
    z = (x - loc) / scale
    return -(df + 1) / 2 * mp.log1p(z * z / df) - mp.log(scale) - mp.log(df) / 2 - log_beta(df / 2, mp.mpf(1) / 2)


def normal(x, loc, scale):
    return -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


def logistic(x, loc, scale):
    z = abs(x - loc) / scale
    return -z - 2 * mp.log1p(mp.exp(-z)) - mp.log(scale)


def gamma(x, concentration, rate):
    return concentration * mp.log(rate) + (concentration - 1) * mp.log(x) - rate * x - mp.loggamma(concentration)


def asymmetric(x, loc, scale, asymmetry):
    side = scale * asymmetry if x < loc else scale / asymmetry
    return -abs(x - loc) / side - mp.log(scale * (asymmetry + 1 / asymmetry))


def skewed(x, loc, scale, alpha):
    z = (x - loc) / scale
    return mp.log(2) + normal(x, loc, scale) + mp.log(mp.erfc(-alpha * z / mp.sqrt(2)) / 2)


def fisher(x, df1, df2):
    a, b = df1 / 2, df2 / 2
    return a * mp.log(df1 / df2) + (a - 1) * mp.log(x) - (a + b) * mp.log1p(df1 * x / df2) - log_beta(a, b)


def wald(x, mean, concentration):
    return (mp.log(concentration / (2 * mp.pi)) - 3 * mp.log(x)) / 2 - concentration * (x / mean - 1) ** 2 / (2 * x)


def beta(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    return (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x) - log_beta(a, b)


def kumaraswamy(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    return mp.log(a) + mp.log(b) + (a - 1) * mp.log(x) + (b - 1) * mp.log(-mp.expm1(a * mp.log(x)))


def von_mises(x, loc, concentration):
    return concentration * (mp.cos(x - loc) - 1) - mp.log(2 * mp.pi) - mp.log(scaled_bessel(concentration))


def scaled_bessel(k):
    """exp(-k) I_0(k), by its asymptotic series (DLMF 10.40.1) where that is exact to all digits."""
    if k < 1e4:
        return mp.exp(-k) * mp.besseli(0, k)
    terms = [mp.mpf(1)]
    for n in range(1, 30):
        terms.append(terms[-1] * (2 * n - 1) ** 2 / (8 * n * k))
    return mp.fsum(terms) / mp.sqrt(2 * mp.pi * k)


def triangular(x, low, high, peak):
    return mp.log(2 / (high - low)) + mp.log((x - low) / (peak - low) if x < peak else (high - x) / (high - peak))


def truncated(x, loc, scale, low, high):
    mass = (mp.erfc((low - loc) / scale / mp.sqrt(2)) - mp.erfc((high - loc) / scale / mp.sqrt(2))) / 2
    return normal(x, loc, scale) - mp.log(mass)


EXACT = {
    "Normal": normal,
    "Cauchy": lambda x, loc, scale: -mp.log1p(((x - loc) / scale) ** 2) - mp.log(mp.pi * scale),
    "StudentT": t_density,
    "Laplace": lambda x, loc, scale: -abs(x - loc) / scale - mp.log(2 * scale),
    "Logistic": logistic,
    "Gumbel": lambda x, loc, scale: (loc - x) / scale - mp.exp((loc - x) / scale) - mp.log(scale),
    "SkewNormal": skewed,
    "AsymmetricLaplace": asymmetric,
    "SoftLaplace": lambda x, loc, scale: -mp.log(mp.cosh((x - loc) / scale)) - mp.log(mp.pi * scale),
    "LogNormal": lambda x, loc, scale: normal(mp.log(x), loc, scale) - mp.log(x),
    "HalfNormal": lambda x, scale: normal(x, 0, scale) + mp.log(2),
    "HalfCauchy": lambda x, scale: -mp.log1p((x / scale) ** 2) - mp.log(mp.pi * scale / 2),
    "Exponential": lambda x, rate: mp.log(rate) - rate * x,
    "Gamma": gamma,
    "Erlang": gamma,
    "Chi2": lambda x, df: gamma(x, df / 2, mp.mpf(1) / 2),
    "InverseGamma": lambda x, concentration, rate: gamma(1 / x, concentration, rate) - 2 * mp.log(x),
    "Weibull": lambda x, scale, concentration: (
        mp.log(concentration / scale) + (concentration - 1) * mp.log(x / scale) - (x / scale) ** concentration
    ),
    "Pareto": lambda x, scale, alpha: mp.log(alpha / x) + alpha * mp.log(scale / x),
    "HalfStudentT": lambda x, df, scale: t_density(x, df, 0, scale) + mp.log(2),
    "LogLogistic": lambda x, loc, scale: logistic(mp.log(x), loc, scale) - mp.log(x),
    "FisherSnedecor": fisher,
    "Rayleigh": lambda x, scale: mp.log(x) - 2 * mp.log(scale) - (x / scale) ** 2 / 2,
    "Gompertz": lambda x, concentration, rate: (
        mp.log(concentration * rate) + rate * x - concentration * mp.expm1(rate * x)
    ),
    "Wald": wald,
    "Levy": lambda x, loc, scale: (
        mp.log(scale / (2 * mp.pi)) / 2 - scale / (2 * (x - loc)) - mp.mpf(3) / 2 * mp.log(x - loc)
    ),
    "Uniform": lambda x, low, high: -mp.log(high - low),
    "Beta": beta,
    "TruncatedNormal": truncated,
    "LogUniform": lambda x, low, high: -mp.log(x) - mp.log(mp.log(high / low)),
    "Triangular": triangular,
    "Kumaraswamy": kumaraswamy,
    "LogitNormal": lambda x, loc, scale: normal(mp.log(x / (1 - x)), loc, scale) - mp.log(x) - mp.log1p(-x),
    "VonMises": von_mises,
}
TOO_FAR = 1e300  # the size up to which a log density is asked for
FAR = (-40.0, -3.7, 0.3, 40.0)  # in scales


def cases(small: float, large: float) -> list[tuple[str, dict, float]]:
    """Families, parameters and values: 40 scales out on both sides, scales and shapes from `small` to `large`."""
    sizes, values = (small, 0.37, 2.5, large), (small, 0.3, 1.0, 40.0, large)
    spread = [(loc, scale) for loc in (-1.3, 0.0) for scale in (small, 1.0, large)]

    def located(name, *shapes):
        return [(name, {"loc": m, "scale": s, **k}, m + s * z) for m, s in spread for k in shapes or ({},) for z in FAR]

    def positive(name, *parameters, x=values):
        return [(name, p, value) for p in parameters for value in x]

    def pairs(first, second):
        return [{first: a, second: b} for a in sizes for b in sizes]

    logs = [{"loc": m, "scale": s} for m in (-1.3, 0.0) for s in (0.1, 1.0, large)]
    return [
        *(x for name in ("Normal", "Cauchy", "Laplace", "Logistic", "Gumbel", "SoftLaplace") for x in located(name)),
        *located("StudentT", *({"df": df} for df in sizes)),
        *located("SkewNormal", *({"alpha": a} for a in (-40.0, small, 2.5, large))),
        *located("AsymmetricLaplace", *({"asymmetry": a} for a in sizes)),
        *(("Levy", {"loc": m, "scale": s}, m + s * z) for m, s in spread for z in (0.01, 0.3, 40.0, large)),
        *(x for name in ("LogNormal", "LogLogistic") for x in positive(name, *logs)),
        *(
            (name, {"scale": s}, s * z)
            for name in ("HalfNormal", "HalfCauchy", "Rayleigh")
            for s in sizes
            for z in (small, 40.0)
        ),
        *positive("Exponential", *({"rate": r} for r in sizes)),
        *positive("Gamma", *pairs("concentration", "rate")),
        *positive("Erlang", {"concentration": 3, "rate": small}, {"concentration": int(large), "rate": large}),
        *positive("InverseGamma", *pairs("concentration", "rate")),
        *positive("Chi2", *({"df": df} for df in sizes)),
        *positive("FisherSnedecor", *pairs("df1", "df2")),
        *positive("HalfStudentT", *pairs("df", "scale")),
        *positive("Wald", *pairs("mean", "concentration")),
        *positive("Gompertz", *({"concentration": c, "rate": r} for c in sizes for r in (small, 1.0, 2.5))),
        *positive("Weibull", *({"scale": s, "concentration": k} for s in sizes for k in (small, 0.37, 2.5))),
        *(("Pareto", {"scale": s, "alpha": a}, s * z) for s in sizes for a in sizes for z in (1.001, 1.3, 40.0, large)),
        *(
            (name, p, x)
            for name in ("Beta", "Kumaraswamy")
            for p in pairs("concentration1", "concentration0")
            for x in (small, 0.3, 0.9999)
        ),
        *(("LogitNormal", {"loc": m, "scale": s}, x) for m, s in spread for x in (small, 0.3, 0.9999)),
        *(
            ("VonMises", {"loc": m, "concentration": k}, x)
            for m in (-1.3, 0.0)
            for k in sizes
            for x in (-3.1, 0.0, 3.1)
        ),
        *(("Uniform", {"low": -small, "high": h}, 0.0) for h in sizes),
        *(("LogUniform", {"low": small, "high": h}, 1.01 * small) for h in (1.1 * small, 1.0, large)),
        *(
            ("Triangular", {"low": -small, "high": h, "peak": 0.1 * small}, x * small)
            for h in (small, 1.0, large)
            for x in (-0.1, 0.5)
        ),
        *(
            ("TruncatedNormal", {"loc": 0.0, "scale": 1.0, "low": z, "high": z + w}, z + 0.5 * w)
            for z in (-41.0, -1.0, 40.0)
            for w in (small, 1.0)
        ),
    ]


CASES = cases(1e-8, 1e8)


def test_every_continuous_family_is_looked_at_far_out():
    names = {type(row.d).__name__ for row in REAL + POSITIVE + BOUNDED} - {"TruncatedDistribution"}
    assert names == set(EXACT) == {name for name, _, _ in CASES}


def exact(name, parameters, x):
    """The log density in forty digits, or in more where a tail has to be told from 1; None where it is too large."""
    with mpmath.workdps(40 if name != "SkewNormal" else 60):
        found = EXACT[name](mp.mpf(x), **{k: mp.mpf(v) for k, v in parameters.items()})
        return None if abs(found) > TOO_FAR else float(found)


@pytest.mark.parametrize("name", EXACT)
def test_log_densities_far_out_are_exact(name):
    """To 1e-7 of the larger of the log density and 1, in double precision."""
    for family, parameters, x in CASES:
        expected = exact(name, parameters, x) if family == name else None
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
    for name, parameters, x in cases(1e-3, 1e3):
        single = {k: np.float32(v) for k, v in parameters.items()}
        x = np.float32(x)
        expected = dist.FAMILIES[name](**{k: float(v) for k, v in single.items()}).log_prob(float(x))
        if abs(expected) < 1e37:
            found = dist.FAMILIES[name](**single).log_prob(x)
            assert found.dtype == np.float32
            assert found == pytest.approx(expected, rel=3e-4, abs=3e-4), (name, single, x)


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
