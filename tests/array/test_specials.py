"""Special functions where their formulas are delicate: at removable singularities, and in shape parameters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import ppl.array as A
from ppl.array.quantiles import (
    beta_shift,
    log_gamma_quantile,
    log_wald_quantile,
    logit_beta_quantile,
    von_mises_cdf,
    von_mises_quantile,
)
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
    single = np.ones(2, np.float32)
    for a, x, kind in (
        (single, single, np.float32),
        (2.0, single, np.float32),
        (single, 1.5, np.float32),
        (2.0, 1.5, np.float64),
        (np.ones(2), single, np.float64),
    ):
        assert gammainc_slope(a, x).dtype == kind
        recorded = A.record(lambda a, x: (gammainc_slope(a, x),), [a, x])
        assert A.run(recorded, a, x)[0].dtype == kind
    assert np.shape(gammainc_slope(np.ones((0, 3)), np.ones(3))) == (0, 3)


BETAS = [(1e-3, 1e-3), (1e-3, 0.7), (0.5, 0.5), (0.05, 300.0), (3.0, 40.0), (10.0, 11.0), (150.0, 12.0), (1e3, 1e3)]


@pytest.mark.parametrize(("a", "b"), BETAS)
def test_a_beta_quantile_and_its_shifts_are_exact(a, b):
    """The quantile undoes the distribution function, and moves with the first shape as differences in forty digits."""
    mp = pytest.importorskip("mpmath").mp

    def below(a, t):
        """The distribution function, less 1 where x > 1 / 2, from the smaller of x and 1 - x."""
        small = 1 / (1 + mp.exp(abs(t)))
        first, second = (b, a) if t > 0 else (a, b)
        return (-1 if t > 0 else 1) * mp.betainc(first, second, 0, small, regularized=True)

    levels = np.array([1e-6, 0.01, 0.37, 0.8, 1 - 1e-6])
    t = logit_beta_quantile(a, b, levels)
    with mp.workdps(40):
        for level, at, shift in zip(levels, t, beta_shift(a, b, t), strict=True):
            at, exact, step = mp.mpf(float(at)), mp.mpf(a), mp.mpf(a) * mp.mpf(10) ** -12
            level = mp.mpf(float(level)) - (1 if at > 0 else 0)
            height = mp.exp(a * (at - mp.log1p(mp.exp(at))) - b * mp.log1p(mp.exp(at))) / mp.beta(a, b)
            # An error of the quantile itself, and what one of 1e-16 in the level makes.
            assert abs((below(a, at) - level) / height) < 1e-14 * (1 + abs(at)) + 3e-16 * abs(level) / height
            slope = (below(exact + step, at) - below(exact - step, at)) / (2 * step)
            assert shift == pytest.approx(float(-slope / height), rel=1e-10)


FAR = np.array([1e-15, 1e-10, 1e-3, 0.37, 0.8, 1 - 1e-6])  # levels


def deviations_off(log_height, z, level):
    """How far z is from the quantile at a level, in standard deviations, of a nearly normal density."""
    nodes, weights = np.polynomial.legendre.leggauss(20)

    def integral(low, high):
        edges = np.linspace(low, high, 60)
        half, middle = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
        return half @ (np.exp(log_height(middle[:, None] + half[:, None] * nodes)) @ weights)

    below, above = integral(min(z, 0) - 12, z), integral(z, max(z, 0) + 12)
    gap = below - level * (below + above) if z < 0 else (1 - level) * (below + above) - above
    return abs(gap) / np.exp(log_height(z))


@pytest.mark.parametrize("a", [9e4, 1e5, 1e7, 1e12])
def test_gamma_quantiles_of_large_shapes(a):
    """Against quadrature of the density of `log x`: SciPy's own inverse is off by 0.2 deviations at 1e9 and 1e-10."""
    log_height = lambda z: a * (z / np.sqrt(a) - np.expm1(z / np.sqrt(a)))
    for t, level in zip(log_gamma_quantile(a, FAR), FAR):
        error = deviations_off(log_height, (t - np.log(a)) * np.sqrt(a), level)
        assert error < 2e-10 + 3e-16 * np.log(a) * np.sqrt(a)  # a last digit of the quantile


@pytest.mark.parametrize(
    ("a", "b"),
    [(1e3, 1e3), (1e3, 1e9), (1e9, 1e3), (300.0, 2e8), (1e5, 1e5), (1e5, 1e12), (1e12, 1e7), (1e12, 1e12)],
)
def test_beta_quantiles_of_large_shapes(a, b):
    """Against quadrature of the density of `log x - log(1 - x)`: SciPy's inverse is wrong at shapes of just 1000."""
    width, m, rest = np.sqrt(1 / a + 1 / b), a / (a + b), b / (a + b)
    log_height = lambda z: -a * np.log1p(rest * np.expm1(-width * z)) - b * np.log1p(m * np.expm1(width * z))
    for t, level in zip(logit_beta_quantile(a, b, FAR), FAR):
        error = deviations_off(log_height, (t - np.log(a / b)) / width, level)
        assert error < 1e-9 + 3e-16 * (1 + abs(np.log(a / b))) / width


@pytest.mark.parametrize("shapes", [(1e8, 3e8), (1e12, 1e12), (1e12, 1e25), (1e30, 1e20)])
def test_beta_shifts_of_huge_shapes(shapes):
    """How the quantile moves with both shapes at once is how a normal one does: its mean, and its width."""
    a, b = shapes
    t = logit_beta_quantile(a, b, FAR[2:])
    together = a * beta_shift(a, b, t) - b * beta_shift(b, a, -t)
    narrower = -0.5 * np.sqrt(1 / a + 1 / b) * special.ndtri(FAR[2:])  # of t, as both grow
    mean = 0.5 * (1 / a - 1 / b)
    assert np.all(np.abs(together - narrower - mean) < 1e-7 * np.abs(narrower) + 20 / min(a, b) + 3e-15)


@pytest.mark.parametrize(("a", "b"), [(1e4, 1e4), (30.0, 1e4), (0.5, 5e3), (1e8, 1e8), (0.5, 5e7), (2.9, 1e11)])
def test_beta_shifts_of_large_shapes(a, b):
    """Against five points of SciPy's own distribution function, near its middle where these keep their digits."""
    levels = np.array([0.05, 0.3, 0.6, 0.9])
    t = logit_beta_quantile(a, b, levels)
    h = 2e-3 * min(a, np.sqrt(a), np.sqrt(a / b) * np.sqrt(a))
    low, high = special.expit(-np.abs(t)), t > 0

    def below(a):
        return np.where(high, -special.betainc(b, a, low), special.betainc(a, b, low))

    slope = sum(w * below(a + k * h) for k, w in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))) / h
    height = np.exp(-a * np.logaddexp(0.0, -t) - b * np.logaddexp(0.0, t) - special.betaln(a, b))
    np.testing.assert_allclose(beta_shift(a, b, t), -slope / height, rtol=1e-6)


@pytest.mark.parametrize("concentration", [1e-3, 0.7, 12.0, 300.0, 1e4])
def test_von_mises_quantiles_are_those_of_the_integral(concentration):
    """The density, by SciPy's Bessel function and a fine rule, integrates from -pi to each quantile to its level."""
    levels = np.array([1e-6, 0.01, 0.37, 0.8, 0.999])
    nodes, weights = np.polynomial.legendre.leggauss(400)
    circle = 2 * np.pi * special.i0e(concentration)
    for loc in (0.0, -1.3, 3.0, 7.5):
        for level in levels:
            x = von_mises_quantile(loc, concentration, level)
            peaks = loc + 2 * np.pi * np.arange(-3, 3)[:, None] + np.array([-12.0, 0.0, 12.0]) / np.sqrt(concentration)
            edges = np.unique(np.clip([-np.pi, x, *np.ravel(peaks)], -np.pi, x))
            at = 0.5 * np.diff(edges)[:, None] * (1 + nodes) + edges[:-1, None]
            height = np.exp(-2 * concentration * np.sin(0.5 * (at - loc)) ** 2) / circle
            assert 0.5 * np.diff(edges) @ (height @ weights) == pytest.approx(level, abs=1e-12)
            assert von_mises_cdf(loc, concentration, x) == pytest.approx(level, abs=1e-13)


@pytest.mark.parametrize("ratio", [1e-4, 0.3, 20.0, 1e4, 1e8])
def test_inverse_gaussian_quantiles_undo_the_distribution_function(ratio):
    levels = np.array([1e-9, 1e-3, 0.3, 0.5, 0.9, 0.999])
    oracle = stats.invgauss(1 / ratio, scale=ratio)
    np.testing.assert_allclose(oracle.cdf(np.exp(log_wald_quantile(ratio, levels))), levels, rtol=1e-9)


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
