"""Values of sites and deterministics at given noise of the guide, and of what was summed out given these."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ..algorithms import noise
from ..array import compile_program, prune
from ..array.batching import batch
from ..elbo import Derivation

CHUNK_WORK = 2_000_000  # counted cost of one batched run
CHUNK_SIZE = 8_000_000  # numbers in the tables of one run, where sites were summed out


def draws_at(
    d: Derivation,
    values: Mapping[str, Any],
    eps: Mapping[str, np.ndarray],
    names: Collection[str],
    count: int,
    seed: int,
    block: int = 0,
) -> dict[str, np.ndarray]:
    """Some of the derivation's `results` at this noise: {name: (count, ...)}.

    Sites that were summed out are drawn from their exact conditional given the rest, with the seed's own numbers.
    """
    outputs = {n: i for n, i in {**d.site_outputs, **d.deterministic_outputs}.items() if n in names}
    program = prune(d.program, tuple(d.program.outputs[i] for i in outputs.values()))
    summed = d.states is not None and any(n in d.states.names for n in names)
    size = CHUNK_WORK // max(program.work, 1)
    size = min(size, CHUNK_SIZE // d.states.size) if summed else size
    rng = noise.generator(seed, block, noise.Stream.STATES)
    flags, made, parts = noise_flags(d), {}, []
    for inputs, some in chunks(d, values, eps, count, size):
        if some not in made:
            made[some] = compile_program(batch(program, flags, some))
        with np.errstate(all="ignore"):
            part = dict(zip(outputs, made[some](*inputs), strict=True))
        if summed:
            part |= {n: x for n, x in d.states.draw(inputs, flags, some, rng).items() if n in names}
        parts.append(part)
    return {n: np.concatenate([np.asarray(p[n]) for p in parts]) for n in names}


def noise_flags(d: Derivation) -> list[bool]:
    """Which inputs of the derivation's program differ from draw to draw."""
    own = {f.noise_input for f in d.factors}
    return [i in own for i in range(len(d.program.inputs))]


def chunks(
    d: Derivation, values: Mapping[str, Any], eps: Mapping[str, np.ndarray], count: int, size: int
) -> Iterator[tuple[list, int]]:
    """Inputs of the derivation's program with full plates, for `size` draws at once, and how many they are."""
    rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
    size = int(np.clip(size, 1, count))
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield d.inputs(values, rows, {n: x[start:stop] for n, x in eps.items()}), stop - start


def probabilities(
    d: Derivation,
    values: Mapping[str, Any],
    eps: Mapping[str, np.ndarray],
    name: str,
    weights: np.ndarray,
) -> np.ndarray:
    """P(state) of a site that was summed out, averaged over weighted draws: (states, *axes of its batch)."""
    flags, total, done = noise_flags(d), 0.0, 0
    for inputs, size in chunks(d, values, eps, len(weights), CHUNK_SIZE // (3 * d.states.size)):
        by = weights[done : done + size]
        some = d.states.probabilities(name, inputs, flags, size)
        some = np.where(by.reshape((size, *(1,) * (some.ndim - 1))) > 0.0, some, 0.0)
        total, done = total + np.tensordot(by, some, 1), done + size
    return total
