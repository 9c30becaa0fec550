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

from ppl.distributions import constraints, transforms
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
from ppl.errors import ModelError

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


class UnknownFamily(ModelError, AttributeError):
    """A name that this package does not have."""


def __getattr__(name: str) -> NoReturn:
    if name.startswith("_"):
        raise AttributeError(name)
    close = get_close_matches(name, FAMILIES, 3, 0.5)
    raise UnknownFamily(f"ppl.distributions.{name}", f"one of {len(FAMILIES)} families", f"{' or '.join(close)}")


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
    "StudentT",
    "TransformedDistribution",
    "TruncatedNormal",
    "Uniform",
    "Unit",
    "Weibull",
    "biject_to",
    "constraints",
    "has_kl",
    "kl_divergence",
    "register_kl",
    "transforms",
]
