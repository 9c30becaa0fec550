"""The noise of the particles: standard for each particle, apart for each purpose, balanced over the particles."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ppl.algorithms.noise import Stream, generator, stratified_normal

STEPS = 10_000
ODD = {"z": lambda z: z, "z^3": lambda z: z**3, "tanh": np.tanh, "sign": np.sign}


def draws(particles, rest=(), seed=0, steps=STEPS):
    return stratified_normal(generator(seed, 0, Stream.STEPS), (steps, particles, *rest))


@pytest.mark.parametrize("block", [0, 1, 7])
def test_streams_of_one_seed_and_block_are_pairwise_different(block):
    numbers = {s: generator(5, block, s).standard_normal(500) for s in Stream}
    for a, b in combinations(Stream, 2):
        assert not np.any(numbers[a] == numbers[b]), (a, b)
        # A correlation of 500 independent pairs has a standard error of 500 ** -0.5.
        assert abs(np.corrcoef(numbers[a], numbers[b])[0, 1]) < 4 * 500**-0.5, (a, b)


def test_blocks_and_seeds_are_pairwise_different_and_repeatable():
    numbers = {k: generator(*k, Stream.STEPS).random(100) for k in ((0, 0), (0, 1), (1, 0), (1, 1), (2**63 - 1, 0))}
    for a, b in combinations(numbers, 2):
        assert not np.any(numbers[a] == numbers[b]), (a, b)
    np.testing.assert_array_equal(numbers[0, 1], generator(0, 1, Stream.STEPS).random(100))


@pytest.mark.parametrize("particles", [2, 4, 32])
@pytest.mark.parametrize("odd", ODD)
def test_odd_functions_average_to_zero(particles, odd):
    z = draws(particles, (3,), steps=200)
    largest = np.abs(ODD[odd](z)).max()
    assert np.abs(ODD[odd](z).sum(1)).max() <= 1e-14 * particles * largest


@pytest.mark.parametrize("particles", [1, 2, 3, 4, 7, 16])
def test_each_particle_is_standard_normal(particles):
    z = draws(particles, (2,))
    for k in range(particles):
        for j in range(2):
            x = z[:, k, j]
            assert stats.kstest(x, "norm").pvalue > 1e-4, (k, j)
            assert abs(x.mean()) < 4.5 * STEPS**-0.5
            assert abs(x.var() - 1.0) < 4.5 * (2.0 / STEPS) ** 0.5


def test_the_check_of_normality_catches_a_wrong_scale():
    assert stats.kstest(1.1 * draws(2)[:, 0], "norm").pvalue < 1e-4


@pytest.mark.parametrize("particles", [4, 32])
def test_even_functions_vary_less_than_with_independent_noise(particles):
    # Of independent draws, the mean of z^2 has variance 2 / particles; of pairs alone, twice that.
    seen = np.var((draws(particles) ** 2).mean(1))
    # With four particles, two pairs: the halves of the half normal (below and above its median).
    assert seen < 2.0 / particles * (1.0 if particles > 4 else 2.0)


def test_coordinates_of_a_particle_are_independent():
    z = draws(8, (2,))[:, 0]
    for f in (lambda x: x, lambda x: x**2):
        assert abs(np.corrcoef(f(z[:, 0]), f(z[:, 1]))[0, 1]) < 4 * STEPS**-0.5
