"""Gaps above tangents against forty digits, from far apart down to the last digits, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp

from ppl.array import gammaln_gap, xlogx_gap

EXACT = {
    xlogx_gap: lambda x, y: x * mp.log(x / y) - x + y,
    gammaln_gap: lambda x, y: mp.loggamma(x) - mp.loggamma(y) - mp.digamma(y) * (x - y),
}
AWAY = np.array([1e-12, 1e-9, 1e-6, 1e-3, 0.0199, 0.0201, 0.49, 0.51, 0.9])


@pytest.mark.parametrize("y", [1e-8, 1e-3, 0.7, 2.0, 55.5, 1e4, 1e8])
@pytest.mark.parametrize("gap", EXACT, ids=["xlogx", "gammaln"])
def test_gaps_keep_the_digits_of_the_difference(gap, y):
    x = y * (1 + np.concatenate([-AWAY, AWAY]))
    with mp.workdps(60):
        wanted = np.array([float(EXACT[gap](mp.mpf(v), mp.mpf(y))) for v in x])
    # Below a fiftieth the integrand is a difference of digammas, each rounded: 1e-16 of log y, over y (x - y) / y^2.
    allowed = 4e-11 + 1e-15 * (1 + abs(np.log(y))) / np.abs(x / y - 1)
    assert np.all(np.abs(gap(x, y) / wanted - 1) < allowed)


def test_gaps_at_their_edges():
    np.testing.assert_array_equal(
        xlogx_gap(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 2.0, 0.0, 1.0])), [0, 2, np.inf, 0]
    )
    assert gammaln_gap(2.5, 2.5) == 0.0
    for gap in EXACT:
        assert gap(1.0, np.float32(1.5)).dtype == np.float32 and gap(1, 2).dtype == np.float64
        assert np.shape(gap(np.ones((0, 3)), np.ones(3))) == (0, 3)
