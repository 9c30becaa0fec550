"""Counts by category, and categories in an order."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

import ppl.distributions as dist

from .row import Row, array

_CUTS = array(-1.3, 0.2, 2.5)


def _ordered(name, cdf, predictor, cuts):
    """The oracle by differences of the cumulative probabilities."""
    p = np.diff(cdf(cuts - predictor), prepend=0.0, append=1.0)
    return Row(dist.FAMILIES[name](predictor, cuts), stats.rv_discrete(values=(np.arange(len(p)), p)), f"{name}-cut")


CATEGORIES = [
    _ordered("OrderedLogistic", special.expit, 0.4, _CUTS),
    _ordered("OrderedLogistic", special.expit, -1.7, array(0.3, 0.5)),
    _ordered("OrderedLogistic", special.expit, 1.0, array(0.3)),
    _ordered("OrderedProbit", special.ndtr, 0.4, _CUTS),
    _ordered("OrderedProbit", special.ndtr, -1.7, array(0.3, 0.5)),
]

_SIMPLEX = array(0.2, 0.5, 0.3)
_COUNTS = array(0.7, 2.0, 3.5)

# Vectors, with an oracle of the log mass of one value.
CATEGORIES_VECTORS = [
    Row(dist.Multinomial(7, _SIMPLEX), stats.multinomial(7, _SIMPLEX), "Multinomial-probs"),
    Row(dist.Multinomial(40, logits=np.log(_SIMPLEX) + 7.0), stats.multinomial(40, _SIMPLEX), "Multinomial-logits"),
    Row(dist.DirichletMultinomial(_COUNTS, 9), stats.dirichlet_multinomial(_COUNTS, 9), "DirichletMultinomial-0"),
    Row(
        dist.DirichletMultinomial(array(1.0, 1.0), 4),
        stats.dirichlet_multinomial(array(1.0, 1.0), 4),
        "DirichletMultinomial-flat",
    ),
]

# Rows without a sampling law or an oracle, for the laws of shapes and gradients.
CATEGORIES_SHAPES = [
    Row(dist.Multinomial(5, array(0.4, 0.6, 0.0)), None, "Multinomial-zero"),
    Row(dist.OrderedLogistic(array(-0.5, 1.0), _CUTS), None, "OrderedLogistic-batched"),
    Row(dist.OrderedProbit(array([-0.5], [1.0]), np.stack([_CUTS, _CUTS + 1.0])), None, "OrderedProbit-batched"),
    Row(dist.Multinomial(array([3], [6]), np.stack([_SIMPLEX, _SIMPLEX[::-1]])), None, "Multinomial-batched"),
    Row(dist.DirichletMultinomial(_COUNTS, array(2, 6)), None, "DirichletMultinomial-batched"),
]
