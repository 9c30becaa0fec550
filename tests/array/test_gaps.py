"""Gaps above tangents against forty digits, from far apart down to the last digits, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp

from ppl.array import binet, binet_bend, binet_slope, gammaln_gap, xlogx_gap

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


@pytest.mark.parametrize("x", [1e-8, 0.3, 2.0, 15.9, 16.0, 300.0, 1e8, 1e15])
def test_what_stirlings_formula_leaves_out(x):
    """And its derivatives, to 1e-12 of themselves; at small numbers to 1e-15 of the terms of the formula."""
    with mp.workdps(80):
        exact = lambda x: mp.loggamma(x) - (x - mp.mpf(1) / 2) * mp.log(x) + x - mp.log(2 * mp.pi) / 2
        at = mp.mpf(x)
        slope, bend = mp.digamma(at) - mp.log(at) + 1 / (2 * at), mp.zeta(2, at) - 1 / at - 1 / (2 * at**2)
        for function, wanted in ((binet, exact(at)), (binet_slope, slope), (binet_bend, bend)):
            allowed = 0.0 if x > 16 else 3e-15
            assert float(function(x)) == pytest.approx(float(wanted), rel=2e-14, abs=allowed)
