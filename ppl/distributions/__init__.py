"""Distributions, constraints and transforms, under NumPyro's names and argument names.

    parameters, noise --from_noise--> value --log_prob--> log density

Everything is plain NumPy on numbers, arrays or recorded arrays. `FAMILIES` lists all families by name.

>>> from ppl.distributions import Gamma, kl_divergence
>>> d = Gamma(2.0, 3.0).expand((4,)).to_event(1)
>>> d.event_shape, kl_divergence(d, d).round(6)
((4,), np.float64(0.0))
"""

from difflib import get_close_matches
from typing import NoReturn

from ppl.distributions import constraints, records, transforms
from ppl.distributions.base import Distribution, Independent, MaskedDistribution
from ppl.distributions.bounded import (
    Beta,
    Kumaraswamy,
    LogitNormal,
    LogUniform,
    Triangular,
    TruncatedNormal,
    Uniform,
    VonMises,
)
from ppl.distributions.categories import DirichletMultinomial, Multinomial, OrderedLogistic, OrderedProbit
from ppl.distributions.chains import AR, CAR, GaussianRandomWalk, GaussianStateSpace
from ppl.distributions.combinators import Delta, ImproperUniform, TransformedDistribution, Unit
from ppl.distributions.discrete import (
    Bernoulli,
    BetaBinomial,
    BetaNegativeBinomial,
    Binomial,
    Categorical,
    DiscreteUniform,
    DiscretizedLogistic,
    GammaPoisson,
    Geometric,
    NegativeBinomial,
    NegativeBinomial2,
    OneHotCategorical,
    Poisson,
)
from ppl.distributions.divergence import has_kl, kl_divergence, register_kl
from ppl.distributions.exponential import ExponentialFamily, Statistic, exponential_family
from ppl.distributions.joint import NormalGamma
from ppl.distributions.matrices import LKJ, InverseWishart, LKJCholesky, MatrixNormal, Wishart, WishartCholesky
from ppl.distributions.mixtures import Mixture, MixtureGeneral, MixtureSameFamily
from ppl.distributions.multivariate import (
    Dirichlet,
    LogisticNormal,
    LowRankMultivariateNormal,
    MultivariateNormal,
    MultivariateStudentT,
    ZeroSumNormal,
)
from ppl.distributions.positive import (
    Chi2,
    ChiSquared,
    Erlang,
    Exponential,
    FisherSnedecor,
    Gamma,
    Gompertz,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    InverseGaussian,
    Levy,
    LogLogistic,
    LogNormal,
    Pareto,
    Rayleigh,
    Wald,
    Weibull,
)
from ppl.distributions.real import (
    AsymmetricLaplace,
    Cauchy,
    Gumbel,
    Laplace,
    Logistic,
    Normal,
    SkewNormal,
    SoftLaplace,
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
from ppl.distributions.truncated import TruncatedCauchy, TruncatedDistribution
from ppl.distributions.zeros import (
    HurdleDistribution,
    ZeroInflatedDistribution,
    ZeroInflatedNegativeBinomial2,
    ZeroInflatedPoisson,
)
from ppl.errors import ModelError

FAMILIES: dict[str, type[Distribution]] = {
    family.__name__: family
    for family in tuple(globals().values())
    if isinstance(family, type) and issubclass(family, Distribution) and family is not Distribution
}


class UnknownFamily(ModelError, AttributeError):
    """A name that this package does not have."""


def __getattr__(name: str) -> NoReturn:
    if name.startswith("_"):
        raise AttributeError(name)
    close = get_close_matches(name, FAMILIES, 3, 0.5)
    raise UnknownFamily(f"ppl.distributions.{name}", f"one of {len(FAMILIES)} families", f"{' or '.join(close)}")


__all__ = [
    "AR",
    "CAR",
    "FAMILIES",
    "LKJ",
    "AsymmetricLaplace",
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
    "ChiSquared",
    "Delta",
    "Dirichlet",
    "DirichletMultinomial",
    "DiscreteUniform",
    "DiscretizedLogistic",
    "Distribution",
    "Erlang",
    "Exponential",
    "ExponentialFamily",
    "FisherSnedecor",
    "Gamma",
    "GammaPoisson",
    "GaussianRandomWalk",
    "GaussianStateSpace",
    "Geometric",
    "GeometricLogits",
    "GeometricProbs",
    "Gompertz",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "HurdleDistribution",
    "ImproperUniform",
    "Independent",
    "InverseGamma",
    "InverseGaussian",
    "InverseWishart",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "Levy",
    "LogLogistic",
    "LogNormal",
    "LogUniform",
    "Logistic",
    "LogisticNormal",
    "LogitNormal",
    "LowRankMultivariateNormal",
    "MaskedDistribution",
    "MatrixNormal",
    "Mixture",
    "MixtureGeneral",
    "MixtureSameFamily",
    "Multinomial",
    "MultinomialLogits",
    "MultinomialProbs",
    "MultivariateNormal",
    "MultivariateStudentT",
    "NegativeBinomial",
    "NegativeBinomial2",
    "NegativeBinomialLogits",
    "NegativeBinomialProbs",
    "Normal",
    "NormalGamma",
    "OneHotCategorical",
    "OrderedLogistic",
    "OrderedProbit",
    "Pareto",
    "Poisson",
    "Rayleigh",
    "SkewNormal",
    "SoftLaplace",
    "Statistic",
    "StudentT",
    "TransformedDistribution",
    "Triangular",
    "TruncatedCauchy",
    "TruncatedDistribution",
    "TruncatedNormal",
    "Uniform",
    "Unit",
    "VonMises",
    "Wald",
    "Weibull",
    "Wishart",
    "WishartCholesky",
    "ZeroInflatedDistribution",
    "ZeroInflatedNegativeBinomial2",
    "ZeroInflatedPoisson",
    "ZeroSumNormal",
    "biject_to",
    "constraints",
    "exponential_family",
    "has_kl",
    "kl_divergence",
    "register_kl",
    "transforms",
]
