"""One row per family and parameter setting: the distribution, and an oracle that knows nothing of it.

The laws of the other files run over these rows. Every family has typical, non-integer, boundary and
batched settings. The oracle of a scalar family is a frozen distribution of scipy.stats, that of a vector
family has the log density of one value. A family belongs into the file that its module in
`ppl.distributions` is named after.
"""

from __future__ import annotations

import numpy as np

import ppl.distributions as dist

from .bounded import BOUNDED
from .categories import CATEGORIES, CATEGORIES_SHAPES, CATEGORIES_VECTORS
from .chains import CHAINS, CHAINS_SHAPES
from .composed import COMPOSED, COMPOSED_SHAPES, COMPOSED_VECTORS
from .discrete import DISCRETE as _DISCRETE
from .discrete import DISCRETE_SHAPES, DISCRETE_VECTORS
from .joint import JOINT, JOINT_SHAPES
from .matrices import MATRICES, MATRICES_SHAPES
from .mixtures import MIXTURE, MIXTURES, MIXTURES_COUNTS, MIXTURES_SHAPES
from .multivariate import MULTIVARIATE, MULTIVARIATE_SHAPES
from .positive import POSITIVE
from .real import REAL
from .row import Row
from .zeros import ZEROS, ZEROS_SHAPES

CONTINUOUS = REAL + POSITIVE + BOUNDED + COMPOSED + MIXTURES
DISCRETE = _DISCRETE + CATEGORIES + ZEROS + MIXTURES_COUNTS
SCALAR_ROWS = CONTINUOUS + DISCRETE
VECTOR_ROWS = MULTIVARIATE + MATRICES + CHAINS + JOINT + DISCRETE_VECTORS + CATEGORIES_VECTORS + COMPOSED_VECTORS
OTHER_ROWS = [
    *(MULTIVARIATE_SHAPES + MATRICES_SHAPES + CHAINS_SHAPES + JOINT_SHAPES),
    *(DISCRETE_SHAPES + CATEGORIES_SHAPES + ZEROS_SHAPES + COMPOSED_SHAPES + MIXTURES_SHAPES),
]
ALL_ROWS = SCALAR_ROWS + VECTOR_ROWS + OTHER_ROWS


def interior_value(row: Row, rng_seed: int = 0):
    """A value of the support, of shape (4,) + the distribution's own."""
    if isinstance(row.d, dist.ImproperUniform):
        return np.full((4, *row.d.shape()), 1.0 / max(row.d.event_shape, default=1))
    return row.d.sample(rng_seed, (4,))
