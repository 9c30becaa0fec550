"""Log densities far out: forty standard deviations away, at parameters of 1e-8 and 1e8, and in single precision."""

from __future__ import annotations

import mpmath
import pytest
from mpmath import mp

import ppl.distributions as dist

from .registry import CONTINUOUS

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
# Tails of 40 scales on both sides, and shapes and scales of 1e-8, 1 and 1e8.
SPREAD = [(loc, scale) for loc in (-1.3, 0.0) for scale in (1e-8, 1.0, 1e8)]
SHAPES = (1e-8, 0.37, 2.5, 1e8)
FAR = (-40.0, -3.7, 0.3, 40.0)


def located(name, *shapes):
    """A family of location and scale, with its shapes first; values at 40 scales."""
    return [(name, {"loc": m, "scale": s, **k}, m + s * z) for m, s in SPREAD for k in shapes or ({},) for z in FAR]


def positive(name, *parameters, x=(1e-8, 0.3, 1.0, 40.0, 1e8)):
    return [(name, p, value) for p in parameters for value in x]


def pairs(first, second):
    return [{first: a, second: b} for a in SHAPES for b in SHAPES]


CASES = [
    *[case for name in ("Normal", "Cauchy", "Laplace", "Logistic", "Gumbel", "SoftLaplace") for case in located(name)],
    *located("StudentT", *({"df": df} for df in SHAPES)),
    *located("SkewNormal", *({"alpha": a} for a in (-40.0, 1e-8, 2.5, 1e8))),
    *located("AsymmetricLaplace", *({"asymmetry": a} for a in SHAPES)),
    *[("Levy", {"loc": m, "scale": s}, m + s * z) for m, s in SPREAD for z in (1e-3, 0.3, 40.0, 1e8)],
    *positive("LogNormal", *({"loc": m, "scale": s} for m in (-1.3, 0.0) for s in (0.1, 1.0, 1e8))),
    *positive("LogLogistic", *({"loc": m, "scale": s} for m in (-1.3, 0.0) for s in (0.1, 1.0, 1e8))),
    *[(n, {"scale": s}, s * z) for n in ("HalfNormal", "HalfCauchy", "Rayleigh") for s in SHAPES for z in (1e-8, 40.0)],
    *positive("Exponential", *({"rate": r} for r in SHAPES)),
    *positive("Gamma", *pairs("concentration", "rate")),
    *positive("Erlang", {"concentration": 3, "rate": 1e-8}, {"concentration": 10**8, "rate": 1e8}),
    *positive("InverseGamma", *pairs("concentration", "rate")),
    *positive("Chi2", *({"df": df} for df in SHAPES)),
    *positive("FisherSnedecor", *pairs("df1", "df2")),
    *positive("HalfStudentT", *pairs("df", "scale")),
    *positive("Wald", *pairs("mean", "concentration")),
    *positive("Gompertz", *({"concentration": c, "rate": r} for c in SHAPES for r in (1e-8, 1.0, 2.5))),
    *positive("Weibull", *({"scale": s, "concentration": k} for s in SHAPES for k in (1e-8, 0.37, 2.5))),
    *[("Pareto", {"scale": s, "alpha": a}, s * z) for s in SHAPES for a in SHAPES for z in (1.0, 1.3, 40.0, 1e8)],
    *[(n, p, x) for n in ("Beta", "Kumaraswamy") for p in pairs("concentration1", "concentration0")
      for x in (1e-8, 0.3, 0.9999)],
    *[("LogitNormal", {"loc": m, "scale": s}, x) for m, s in SPREAD for x in (1e-8, 0.3, 0.9999)],
    *[("VonMises", {"loc": m, "concentration": k}, x) for m in (-1.3, 0.0) for k in SHAPES for x in (-3.1, 0.0, 3.1)],
    *[("Uniform", {"low": -1e-8, "high": h}, 0.0) for h in SHAPES],
    *[("LogUniform", {"low": 1e-8, "high": h}, 1e-8) for h in (1.1e-8, 1.0, 1e8)],
    *[("Triangular", {"low": -1e-8, "high": h, "peak": 1e-9}, x) for h in (1e-8, 1.0, 1e8) for x in (-1e-9, 5e-9)],
    *[("TruncatedNormal", {"loc": 0.0, "scale": 1.0, "low": z, "high": z + w}, z + 0.5 * w)
      for z in (-41.0, -1.0, 40.0) for w in (1e-8, 1.0)],
]  # fmt: skip
TOO_FAR = 1e300  # the size up to which a log density is asked for


def test_every_continuous_family_is_looked_at_far_out():
    names = {type(row.d).__name__ for row in CONTINUOUS} - {
        "Independent", "MaskedDistribution", "MixtureSameFamily", "TransformedDistribution", "TruncatedDistribution",
    }  # fmt: skip
    assert names <= set(EXACT) == {name for name, _, _ in CASES}


@pytest.mark.parametrize("name", EXACT)
def test_log_densities_far_out_are_exact(name):
    """To 1e-7 of the larger of the log density and 1, in double precision."""
    checked = 0
    for family, parameters, x in CASES:
        if family != name:
            continue
        with mpmath.workdps(40 if name != "SkewNormal" else 60):
            expected = EXACT[name](mp.mpf(x), **{k: mp.mpf(v) for k, v in parameters.items()})
            if abs(expected) > TOO_FAR:
                continue
            expected = float(expected)
        found = float(dist.FAMILIES[name](**parameters).log_prob(x))
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-7), (parameters, x)
        checked += 1
    assert checked > 0
