"""Have several chains forgotten where they began, and how many independent draws are theirs worth?

R-hat and effective sample sizes of rank-normalised, split chains: Vehtari, Gelman, Simpson, Carpenter and
Buerkner (2021), "Rank-normalization, folding, and localization: an improved R-hat". All take draws
(chains, draws, ...) and look at every scalar by itself.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, special

QUANTILES = (0.05, 0.95)  # of the tails whose effective size is asked for


def r_hat(x: np.ndarray) -> np.ndarray:
    """The larger of the R-hats of the ranks and of the folded ranks, which see location and scale.

    >>> x = np.random.default_rng(0).standard_normal((4, 500))
    >>> bool(r_hat(x) < 1.01), bool(r_hat(x + np.arange(4)[:, None]) > 1.5)
    (True, True)
    """
    x = _split(x)
    folded = np.abs(x - np.median(x, axis=(0, 1)))
    return np.maximum(_plain_r_hat(_ranked(x)), _plain_r_hat(_ranked(folded)))


def bulk_size(x: np.ndarray) -> np.ndarray:
    """Effective sample size of the ranks: how well means are known.

    >>> x = np.random.default_rng(0).standard_normal((4, 500))
    >>> bool(1500 < bulk_size(x) < 2500)
    True
    """
    return _effective_size(_ranked(_split(x)))


def tail_size(x: np.ndarray) -> np.ndarray:
    """The smaller effective sample size of the indicators of the 5 % and 95 % quantiles."""
    x = _split(x)
    sizes = [_effective_size((x <= np.quantile(x, q, axis=(0, 1))).astype(float)) for q in QUANTILES]
    return np.minimum(*sizes)


def _split(x: np.ndarray) -> np.ndarray:
    """Each chain as two."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def _ranked(x: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks among all draws."""
    from scipy.stats import rankdata

    shape, count = x.shape, x.shape[0] * x.shape[1]
    ranks = rankdata(x.reshape(count, -1), axis=0)
    return special.ndtri((ranks - 0.375) / (count + 0.25)).reshape(shape)


def _plain_r_hat(x: np.ndarray) -> np.ndarray:
    n = x.shape[1]
    between, within = n * x.mean(1).var(0, ddof=1), x.var(1, ddof=1).mean(0)
    with np.errstate(all="ignore"):
        found = np.sqrt((between / within + n - 1) / n)
    return np.where(within > 0, found, np.where(between > 0, np.inf, np.nan))


def _effective_size(x: np.ndarray) -> np.ndarray:
    """Geyer's initial monotone sequence over all chains: draws / (1 + 2 sum of autocorrelations)."""
    chains, n = x.shape[:2]
    centred = x - x.mean(1, keepdims=True)
    size = fft.next_fast_len(2 * n)
    spectrum = fft.rfft(centred, size, axis=1)
    covariance = fft.irfft(np.abs(spectrum) ** 2, size, axis=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + (x.mean(1).var(0, ddof=1) if chains > 1 else 0.0)
    with np.errstate(all="ignore"):
        rho = 1.0 - (within - covariance) / total
    rho[0] = 1.0
    even = n // 2 * 2
    pairs = rho[:even].reshape(even // 2, 2, *rho.shape[1:]).sum(1)  # positive and falling for a reversible chain
    kept = np.cumprod(pairs > 0, axis=0).astype(bool)
    kept[0] = True
    pairs = np.minimum.accumulate(np.where(kept, pairs, 0.0), axis=0)
    first_left_out = np.minimum(kept.sum(0), len(pairs) - 1)
    beyond = np.take_along_axis(rho[:even:2], first_left_out[None], 0)[0]
    tau = -1.0 + 2.0 * pairs.sum(0) + np.maximum(np.where(kept.all(0), 0.0, beyond), 0.0)
    tau = np.maximum(tau, 1.0 / np.log10(chains * n))
    return np.where(total > 0, chains * n / tau, np.nan)
