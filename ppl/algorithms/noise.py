"""Noise for the particles: exact in distribution, arranged so that averages vary less.

Every particle by itself has standard noise; for pathwise factors the particles together are
spread out, which keeps averages unbiased. Factors with a score weight draw independently: the
leave-one-out baseline of a particle must know nothing of its draw. Blocks come from a
counter-based generator: block b of seed s is always the same, which is what lets a run be resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from scipy import special

from ..elbo import FactorFacts

MANY = 32  # factors from which those of one kind are drawn at once


class Stream(IntEnum):
    """What randomness is for: every purpose has numbers of its own."""

    STEPS = 0
    BOUND = 1
    DRAWS = 2
    COMPARISON = 3
    PILOT = 4
    FIXED = 5
    STARTS = 6
    ROWS = 7
    ORDER = 8
    WEIGHTS = 9
    STATES = 10
    EPOCHS = 11
    CHAINS = 12
    PATHS = 13


def generator(seed: int, block: int, stream: Stream) -> np.random.Generator:
    """The generator of a block, for one purpose."""
    return np.random.Generator(
        np.random.Philox(
            key=np.array([seed, stream], dtype=np.uint64), counter=np.array([0, 0, 0, block], dtype=np.uint64)
        )
    )


def draw(
    rng: np.random.Generator,
    factors: Sequence[FactorFacts],
    steps: int,
    particles: int,
    independent: Collection[str] = (),
    mirrored: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Noise of every factor for some steps: arrays (steps, particles, *noise_shape).

    `independent` names the factors whose particles must not know of each other; of those in `mirrored`,
    which have uniform noise u, every second particle has one minus that of the one before.
    """
    kinds: dict[Any, tuple[str, bool, list[FactorFacts]]] = {}
    for f in factors:
        alone = f.noise_kind == "normal" and (particles == 1 or f.name in independent)
        together = (f.noise_kind, alone) if len(factors) >= MANY else f.name
        kinds.setdefault(together, (f.noise_kind, alone, []))[2].append(f)
    out = {}
    for kind, alone, members in kinds.values():
        sizes = [prod(f.noise_shape) for f in members]
        shape = (steps, particles, sum(sizes))
        if kind == "normal":
            eps = rng.standard_normal(shape) if alone else stratified_normal(rng, shape)
        else:
            eps = open_uniform(rng, shape) if kind == "uniform" else rng.integers(0, 2**62, shape)
        for f, end, size in zip(members, accumulate(sizes), sizes, strict=True):
            out[f.name] = eps[..., end - size : end].reshape(steps, particles, *f.noise_shape)
            if f.name in mirrored:
                out[f.name][:, 1::2] = 1.0 - out[f.name][:, : particles // 2 * 2 : 2]
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
