"""Distributions, constraints and transforms, under NumPyro's names and argument names.

    parameters, noise --from_noise--> value --log_prob--> log density

Everything is plain NumPy on numbers, arrays or recorded arrays. `FAMILIES` lists all families by name.

>>> from ppl.distributions import Gamma, kl_divergence
>>> d = Gamma(2.0, 3.0).expand((4,)).to_event(1)
>>> d.event_shape, kl_divergence(d, d).round(6)
((4,), np.float64(0.0))
"""

from ppl.distributions import constraints, records, transforms
from ppl.distributions.base import Distribution, Independent, MaskedDistribution
from ppl.distributions.bounded import (
    Beta,
    TruncatedNormal,
    Uniform,
)
from ppl.distributions.combinators import (
    Delta,
    ImproperUniform,
    MixtureSameFamily,
    TransformedDistribution,
    Unit,
)
from ppl.distributions.discrete import (
    Bernoulli,
    BetaBinomial,
    Binomial,
    Categorical,
    DiscreteUniform,
    Geometric,
    NegativeBinomial2,
    OneHotCategorical,
    Poisson,
)
from ppl.distributions.divergence import has_kl, kl_divergence, register_kl
from ppl.distributions.exponential import ExponentialFamily, Statistic, exponential_family
from ppl.distributions.multivariate import Dirichlet, LowRankMultivariateNormal, MultivariateNormal
from ppl.distributions.positive import (
    Chi2,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    LogNormal,
    Pareto,
    Weibull,
)
from ppl.distributions.real import (
    Cauchy,
    Gumbel,
    Laplace,
    Logistic,
    Normal,
    StudentT,
)
from ppl.distributions.transforms import biject_to

FAMILIES: dict[str, type[Distribution]] = {
    family.__name__: family
    for family in (
        Bernoulli,
        Beta,
        BetaBinomial,
        Binomial,
        Categorical,
        Cauchy,
        Chi2,
        Delta,
        Dirichlet,
        DiscreteUniform,
        Exponential,
        Gamma,
        Geometric,
        Gumbel,
        HalfCauchy,
        HalfNormal,
        ImproperUniform,
        Independent,
        InverseGamma,
        Laplace,
        LogNormal,
        Logistic,
        LowRankMultivariateNormal,
        MaskedDistribution,
        MixtureSameFamily,
        MultivariateNormal,
        NegativeBinomial2,
        Normal,
        OneHotCategorical,
        Pareto,
        Poisson,
        StudentT,
        TransformedDistribution,
        TruncatedNormal,
        Uniform,
        Unit,
        Weibull,
    )
}

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Delta",
    "Dirichlet",
    "DiscreteUniform",
    "Distribution",
    "Exponential",
    "ExponentialFamily",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "ImproperUniform",
    "Independent",
    "InverseGamma",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LowRankMultivariateNormal",
    "MaskedDistribution",
    "MixtureSameFamily",
    "MultivariateNormal",
    "NegativeBinomial2",
    "Normal",
    "OneHotCategorical",
    "Pareto",
    "Poisson",
    "Statistic",
    "StudentT",
    "TransformedDistribution",
    "TruncatedNormal",
    "Uniform",
    "Unit",
    "Weibull",
    "biject_to",
    "constraints",
    "exponential_family",
    "has_kl",
    "kl_divergence",
    "register_kl",
    "transforms",
]
