"""Noise for the particles: exact in distribution, arranged so that averages vary less.

Every particle by itself has independent standard noise, so estimates stay unbiased; together
the particles are spread out. Blocks come from a counter-based generator: block b of seed s is
always the same, which is what lets a run be resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from ..elbo import FactorFacts


def generator(seed: int, block: int, stream: int = 0) -> np.random.Generator:
    """The generator of a block of steps."""
    return np.random.Generator(
        np.random.Philox(
            key=np.array([seed, stream], dtype=np.uint64), counter=np.array([0, 0, 0, block], dtype=np.uint64)
        )
    )


def draw(rng: np.random.Generator, factors: Sequence[FactorFacts], steps: int, particles: int) -> dict[str, np.ndarray]:
    """Noise of every factor for some steps: arrays (steps, particles, *noise_shape)."""
    out = {}
    for f in factors:
        shape = (steps, particles, *f.noise_shape)
        if f.noise_kind == "normal":
            out[f.name] = stratified_normal(rng, shape) if particles > 1 else rng.standard_normal(shape)
        elif f.noise_kind == "uniform":
            out[f.name] = open_uniform(rng, shape)
        else:
            out[f.name] = rng.integers(0, 2**62, shape)
    return out


def open_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers strictly between 0 and 1."""
    return np.clip(rng.random(shape), 1e-300, 1.0 - 2.0**-53)


def stratified_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise in antithetic pairs, its absolute values stratified over the pairs.

    Axis 1 counts the particles. Odd functions of the noise average to zero exactly, and sums of
    functions of single coordinates nearly so (McKay, Beckman and Conover 1979; Owen 1997); each
    particle by itself is exactly standard normal, so nothing is biased.
    """
    steps, particles, *rest = shape
    pairs = particles // 2
    if pairs == 0:
        return rng.standard_normal(shape)
    strata = np.argsort(rng.random((steps, pairs, *rest)), axis=1)
    u = (strata + rng.random((steps, pairs, *rest))) / pairs
    half = special.ndtri(0.5 + 0.5 * np.clip(u, 1e-16, 1.0 - 1e-16)) * rng.choice(
        np.array([-1.0, 1.0]), (steps, pairs, *rest)
    )
    parts = [half, -half]
    if particles % 2:
        parts.append(rng.standard_normal((steps, 1, *rest)))
    return np.concatenate(parts, axis=1)


def whitened(rng: np.random.Generator, factors: Sequence[FactorFacts], particles: int) -> dict[str, np.ndarray]:
    """Fixed draws for a deterministic objective: antithetic, of unit variance, uncorrelated where there are enough.

    Not for stochastic gradients: such draws are not exactly standard normal.
    """
    normal = [f for f in factors if f.noise_kind == "normal"]
    sizes = [int(np.prod(f.noise_shape, dtype=np.int64)) for f in normal]
    half, size = particles // 2, sum(sizes)
    e = rng.standard_normal((half, size))
    if half >= size > 0:
        q = np.linalg.qr(e)[0] * half**0.5
        e = q * np.sign(np.sum(q * e, 0))
    elif size:
        e = e / np.sqrt(np.mean(e * e, 0))
    e = np.concatenate([e, -e])
    out = {}
    for f, part in zip(normal, np.split(e, np.cumsum(sizes)[:-1], axis=1) if normal else [], strict=True):
        out[f.name] = part.reshape(2 * half, *f.noise_shape)
    rest = [f for f in factors if f.noise_kind != "normal"]
    return {**out, **{k: v[0] for k, v in draw(rng, rest, 1, 2 * half).items()}}
