"""The hand-written updates of the benchmark end where the ones that are found do."""

import numpy as np
import pytest

from benchmarks import closed_forms as b


@pytest.mark.parametrize(("model", "by_hand"), [(b.diagonal, b.diagonal_by_hand), (b.full, b.full_by_hand)])
def test_mixtures_have_one_bound(model, by_hand):
    b.agree(b._mixture(model, by_hand, 300, 2, 3))


def test_topics_have_one_set_of_sums():
    word, doc = b.documents(20, 12, 3, 30)
    r = np.random.default_rng(1).dirichlet(np.ones(3), size=len(word))
    ours, by_hand = b.ours(b.topics, (word, doc, 12, 3), r), b.topics_by_hand(word, doc, 12, r)
    state = by_hand.__closure__[[c for c in by_hand.__code__.co_freevars].index("state")].cell_contents
    for _ in range(3000):
        ours()
        by_hand()
    found = ours.ascent.naturals(ours.state[0])
    np.testing.assert_allclose(found["theta", "log"] + 1.0, 0.1 + state[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found["phi", "log"] + 1.0, 0.02 + state[1].T, rtol=1e-6, atol=1e-8)
