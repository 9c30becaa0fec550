"""Log densities in as many digits as wanted, by family, and the places far out at which the law of tails asks for them.

`rows` puts both into the rows of a family.
"""

from __future__ import annotations

from mpmath import mp


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
    side = -1 if low + high < 2 * loc else 1  # where the two terms do not cancel
    ends = sorted(side * (end - loc) / scale / mp.sqrt(2) for end in (low, high))
    return normal(x, loc, scale) - mp.log((mp.erfc(ends[0]) - mp.erfc(ends[1])) / 2)


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
            ("TruncatedNormal", {"loc": m, "scale": s, "low": m + s * z, "high": high}, m + s * (z + 0.5 * w))
            for m, s in spread
            for z in (-41.0, -1.0, 0.0, 40.0)
            for w in (small, 1.0)
            if (high := m + s * (z + w)) > m + s * z
        ),
    ]


def far_of(name):
    """Parameters and values of one family, for sizes from small to large; None where it has no formula."""
    if name not in EXACT:
        return None
    return lambda small, large: [(parameters, x) for family, parameters, x in cases(small, large) if family == name]
