"""Special functions where their formulas are delicate: at removable singularities, and in shape parameters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import ppl.array as A
from ppl.array.specials import gammainc_slope


def slope(fun, x):
    """The gradient of a scalar function."""
    return A.compile_program(A.gradient(A.record(lambda x: (fun(x),), [x]), [0]))(x)[1]


SHAPES = (1e-2, 0.3, 1.0, 2.5, 40.0, 1e3, 1e4)
LEVELS = np.array([1e-9, 1e-3, 0.3, 0.5, 0.7, 0.99, 1 - 1e-9])


@pytest.mark.parametrize("a", SHAPES)
def test_the_slope_of_gammainc_in_its_shape_is_exact(a):
    """To 1e-9 of its own size, in both tails too, against differences in forty digits."""
    mpmath = pytest.importorskip("mpmath")
    x = special.gammaincinv(a, LEVELS)
    found = gammainc_slope(np.full(x.shape, a), x)
    with mpmath.workdps(40):
        step = mpmath.mpf(a) * mpmath.mpf(10) ** -12
        for got, at in zip(found[x > 0], x[x > 0], strict=True):
            high, low = (
                mpmath.gammainc(mpmath.mpf(a) + s * step, 0, mpmath.mpf(at), regularized=True) for s in (1, -1)
            )
            assert got == pytest.approx(float((high - low) / (2 * step)), rel=1e-9, abs=0)


def test_the_slope_of_gammainc_at_its_edges():
    np.testing.assert_array_equal(gammainc_slope(np.array([0.5, 2.0, 2.0]), np.array([0.0, 0.0, np.inf])), 0)
    assert np.isnan(gammainc_slope(-1.0, 1.0)) and np.isnan(gammainc_slope(1.0, -1.0))
    assert gammainc_slope(np.float32(2.0), np.float32(1.5)).dtype == np.float32
    assert np.shape(gammainc_slope(np.ones((0, 3)), np.ones(3))) == (0, 3)


def test_a_gamma_quantile_moves_with_its_shape():
    """Implicit reparameterisation: the quantile at a fixed level, differentiated in the shape."""
    for a in (0.05, 0.7, 3.0, 200.0):
        step = 1e-5 * a
        ends = [special.gammaincinv(a + s * step, 0.4) for s in (1, -1)]
        assert slope(lambda a: special.gammaincinv(a, 0.4), np.float64(a)) == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), rel=1e-6
        )


SINGULAR = {
    "sinc": (np.sinc, 0.0, 0.0),
    "sinc, near": (np.sinc, 1e-9, -(np.pi**2) / 3 * 1e-9),
    "exprel": (special.exprel, 0.0, 0.5),
    "exprel, near": (special.exprel, 1e-9, 0.5),
    "i1": (special.i1, 0.0, 0.5),
    "i1e": (special.i1e, 0.0, 0.5),
    "j1": (special.j1, 0.0, 0.5),
    "spence": (special.spence, 1.0, -1.0),
    "boxcox in its power": (lambda p: special.boxcox(2.0, p), 0.0, np.log(2.0) ** 2 / 2),
    "xlogy": (lambda x: special.xlogy(x, 2.0), 0.0, np.log(2.0)),
    "fmax of a missing number": (lambda x: np.fmax(x, np.nan), 1.5, 1.0),
    "nansum of a missing number": (lambda x: np.nansum(np.stack([x, np.nan])), 1.5, 1.0),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_derivatives_at_removable_singularities(name):
    fun, at, expected = SINGULAR[name]
    assert slope(fun, np.float64(at)) == pytest.approx(expected, rel=1e-9, abs=1e-15)
