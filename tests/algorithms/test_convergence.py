"""R-hat and effective sample sizes, against ArviZ and against chains whose autocorrelation is known."""

from __future__ import annotations

import numpy as np
import pytest

from ppl.algorithms.convergence import bulk_size, r_hat, tail_size


def chains(rho: float, seed: int = 0, draws: int = 700, df: float | None = None) -> np.ndarray:
    """Autoregressive chains (4, draws, 3) of lag-one correlation rho, from their stationary law."""
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((4, draws, 3)) if df is None else rng.standard_t(df, (4, draws, 3))
    x = np.empty_like(e)
    x[:, 0] = e[:, 0] / np.sqrt(1 - rho * rho)
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + e[:, t]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95, -0.4])
@pytest.mark.parametrize("df", [None, 1.5])
def test_they_are_arvizs(rho, df):
    arviz = pytest.importorskip("arviz")
    x = chains(rho, df=df)
    data = arviz.convert_to_dataset({"x": x})
    assert r_hat(x) == pytest.approx(arviz.rhat(data)["x"].values, rel=1e-9)
    # Pairs of autocorrelations that rise are averaged there in another order: less than one per cent.
    assert bulk_size(x) == pytest.approx(arviz.ess(data, method="bulk")["x"].values, rel=0.01)
    assert tail_size(x) == pytest.approx(arviz.ess(data, method="tail")["x"].values, rel=0.01)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_size_of_autoregressive_chains(rho):
    x = chains(rho, draws=5000)
    exact = x[..., 0].size * (1 - rho) / (1 + rho)
    # The estimate's own relative error is about sqrt(10 / size) here; four of these.
    assert bulk_size(x) == pytest.approx(exact, rel=4 * np.sqrt(10 / exact))


def test_chains_apart_are_noticed_in_location_and_in_scale():
    x = chains(0.0)
    assert np.all(r_hat(x) < 1.01)
    assert np.all(r_hat(x + np.arange(4)[:, None, None]) > 1.3)
    assert np.all(r_hat(x * np.array([1.0, 1.0, 1.0, 5.0])[:, None, None]) > 1.05)


def test_what_never_moves_has_no_figures():
    assert np.isnan(r_hat(np.ones((2, 20)))) and np.isnan(bulk_size(np.ones((2, 20))))
