"""Hidden Markov models and a mixture whose states the engine sums out, against the same by hand and the references."""

from __future__ import annotations

import numpy as np
import pytest

from ppl.elbo import Objective, choose, derive, problem
from tests.data_folder import why_absent

from .compare import compare
from .models import POSTERIORDB
from .models.enumerated import ENUMERATED

ABSENT = why_absent(POSTERIORDB)
pytestmark = [pytest.mark.posteriors, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]
CASES = pytest.mark.parametrize(("by_hand", "with_states"), ENUMERATED, ids=lambda p: p.name)


@CASES
def test_the_bound_is_that_of_the_model_summed_out_by_hand(by_hand, with_states):
    rng = np.random.default_rng(0)
    bounds, noise = [], None
    for posterior in (by_hand, with_states):
        d = derive(problem(posterior.model, posterior.arguments(posterior.data()), {}), "meanfield", pointwise=True)
        noise = noise or {f.name: rng.standard_normal((5, *f.noise_shape)) for f in d.factors}
        values = {n: x.init for n, x in d.parameters.items()}
        bounds.append(Objective(d, choose(d)).evaluate(values, {}, noise, 5)[0])
    apart = 0.0 if "mix" in by_hand.name else np.log(2)
    np.testing.assert_allclose(bounds[0] - bounds[1], apart, atol=1e-8)


@CASES
def test_the_fit_matches_the_reference(by_hand, with_states):
    c = compare(with_states, {})
    assert c.good and c.fit.verdict.word != "not trusted", str(c)
