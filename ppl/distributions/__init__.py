"""Distributions, constraints and transforms, under NumPyro's names and argument names.

    parameters, noise --from_noise--> value --log_prob--> log density

Everything is plain NumPy on numbers, arrays or recorded arrays. `FAMILIES` lists all families by name.

>>> from ppl.distributions import Gamma, kl_divergence
>>> d = Gamma(2.0, 3.0).expand((4,)).to_event(1)
>>> d.event_shape, kl_divergence(d, d).round(6)
((4,), np.float64(0.0))
"""

from ppl.distributions import constraints, transforms
from ppl.distributions.base import Distribution, Independent, MaskedDistribution
from ppl.distributions.bounded import (
    Beta,
    TruncatedNormal,
    Uniform,
)
from ppl.distributions.categories import DirichletMultinomial, Multinomial, OrderedLogistic, OrderedProbit
from ppl.distributions.combinators import (
    Delta,
    ImproperUniform,
    TransformedDistribution,
    Unit,
)
from ppl.distributions.discrete import (
    Bernoulli,
    BetaBinomial,
    BetaNegativeBinomial,
    Binomial,
    Categorical,
    DiscreteUniform,
    GammaPoisson,
    Geometric,
    NegativeBinomial,
    NegativeBinomial2,
    OneHotCategorical,
    Poisson,
)
from ppl.distributions.divergence import has_kl, kl_divergence, register_kl
from ppl.distributions.mixtures import Mixture, MixtureGeneral, MixtureSameFamily
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
from ppl.distributions.spellings import (
    BernoulliLogits,
    BernoulliProbs,
    BinomialLogits,
    BinomialProbs,
    CategoricalLogits,
    CategoricalProbs,
    GeometricLogits,
    GeometricProbs,
    MultinomialLogits,
    MultinomialProbs,
    NegativeBinomialLogits,
    NegativeBinomialProbs,
)
from ppl.distributions.transforms import biject_to
from ppl.distributions.zeros import (
    HurdleDistribution,
    ZeroInflatedDistribution,
    ZeroInflatedNegativeBinomial2,
    ZeroInflatedPoisson,
)

FAMILIES: dict[str, type[Distribution]] = {
    family.__name__: family
    for family in (
        Bernoulli,
        Beta,
        BetaBinomial,
        BetaNegativeBinomial,
        Binomial,
        Categorical,
        Cauchy,
        Chi2,
        Delta,
        Dirichlet,
        DirichletMultinomial,
        DiscreteUniform,
        Exponential,
        Gamma,
        GammaPoisson,
        Geometric,
        Gumbel,
        HalfCauchy,
        HalfNormal,
        HurdleDistribution,
        ImproperUniform,
        Independent,
        InverseGamma,
        Laplace,
        LogNormal,
        Logistic,
        LowRankMultivariateNormal,
        MaskedDistribution,
        MixtureGeneral,
        MixtureSameFamily,
        Multinomial,
        MultivariateNormal,
        NegativeBinomial,
        NegativeBinomial2,
        Normal,
        OneHotCategorical,
        OrderedLogistic,
        OrderedProbit,
        Pareto,
        Poisson,
        StudentT,
        TransformedDistribution,
        TruncatedNormal,
        Uniform,
        Unit,
        Weibull,
        ZeroInflatedDistribution,
        ZeroInflatedNegativeBinomial2,
        ZeroInflatedPoisson,
    )
}

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "BernoulliLogits",
    "BernoulliProbs",
    "Beta",
    "BetaBinomial",
    "BetaNegativeBinomial",
    "Binomial",
    "BinomialLogits",
    "BinomialProbs",
    "Categorical",
    "CategoricalLogits",
    "CategoricalProbs",
    "Cauchy",
    "Chi2",
    "Delta",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscreteUniform",
    "Distribution",
    "Exponential",
    "Gamma",
    "GammaPoisson",
    "Geometric",
    "GeometricLogits",
    "GeometricProbs",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "HurdleDistribution",
    "ImproperUniform",
    "Independent",
    "InverseGamma",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LowRankMultivariateNormal",
    "MaskedDistribution",
    "Mixture",
    "MixtureGeneral",
    "MixtureSameFamily",
    "Multinomial",
    "MultinomialLogits",
    "MultinomialProbs",
    "MultivariateNormal",
    "NegativeBinomial",
    "NegativeBinomial2",
    "NegativeBinomialLogits",
    "NegativeBinomialProbs",
    "Normal",
    "OneHotCategorical",
    "OrderedLogistic",
    "OrderedProbit",
    "Pareto",
    "Poisson",
    "StudentT",
    "TransformedDistribution",
    "TruncatedNormal",
    "Uniform",
    "Unit",
    "Weibull",
    "ZeroInflatedDistribution",
    "ZeroInflatedNegativeBinomial2",
    "ZeroInflatedPoisson",
    "biject_to",
    "constraints",
    "has_kl",
    "kl_divergence",
    "register_kl",
    "transforms",
]
