"""Programs run for many draws at once, in parts that fit the cache."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..algorithms import noise
from ..array import Program, batch, compile_program, prune
from ..elbo import Derivation, FactorFacts

CHUNK_WORK = 2_000_000
CHUNK_SIZE = 8_000_000  # numbers in the tables of one run, where sites were summed out


def nested(program: Program, d: Derivation, local: set[str], values: Any, rows: Any) -> Any:
    """Runs the terms for `count` draws: outputs (count, nodes, *rows), what no node moves being computed once."""
    inner = {f.noise_input for f in d.factors if f.name in local}
    outer = {f.noise_input for f in d.factors if f.name not in local}
    inputs = range(len(program.inputs))
    made: dict[tuple[int, int], Any] = {}

    def run(count: int, own: Mapping[str, Any], at_nodes: Mapping[str, Any], nodes: int) -> tuple:
        if (count, nodes) not in made:
            over_nodes = batch(program, [i in inner for i in inputs], nodes) if local else program
            made[count, nodes] = compile_program(batch(over_nodes, [i in outer for i in inputs], count))
        try:
            with np.errstate(all="ignore"):
                return made[count, nodes](*d.inputs(values, rows, {**own, **at_nodes}))
        except np.linalg.LinAlgError:  # a wide draw whose matrix has no factor: it alone has no density
            if count == 1:
                return tuple(np.full((1, nodes, 1) if local else (1, 1), np.nan) for _ in program.outputs)
            return one_by_one(count, own, at_nodes, nodes)

    def one_by_one(count: int, own: Mapping[str, Any], at_nodes: Mapping[str, Any], nodes: int) -> tuple:
        each = [run(1, {n: x[i : i + 1] for n, x in own.items()}, at_nodes, nodes) for i in range(count)]
        shapes = [np.broadcast_shapes(*(np.shape(x[k]) for x in each)) for k in range(len(program.outputs))]
        return tuple(np.concatenate([np.broadcast_to(x[k], s) for x in each]) for k, s in enumerate(shapes))

    return run


def draws_at(
    d: Derivation,
    values: Mapping[str, Any],
    eps: Mapping[str, np.ndarray],
    names: Collection[str],
    count: int,
    seed: int,
    block: int = 0,
    in_use: bool = False,
) -> dict[str, np.ndarray]:
    """Some of the derivation's `results` at this noise: {name: (count, ...)}; plates are full, or as `in_use`.

    Sites that were summed out are drawn from their exact conditional given the rest, with the seed's own numbers.
    """
    outputs = {n: i for n, i in {**d.site_outputs, **d.deterministic_outputs}.items() if n in names}
    program = prune(d.program, tuple(d.program.outputs[i] for i in outputs.values()))
    summed = d.states is not None and any(n in d.states.names for n in names)
    size = CHUNK_WORK // max(program.work, 1)
    size = min(size, CHUNK_SIZE // d.states.size) if summed else size
    rng = noise.generator(seed, block, noise.Stream.STATES)
    flags, made, parts = noise_flags(d), {}, []
    for inputs, some in chunks(d, values, eps, count, size, in_use):
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
    d: Derivation, values: Mapping[str, Any], eps: Mapping[str, np.ndarray], count: int, size: int, in_use: bool = False
) -> Iterator[tuple[list, int]]:
    """Inputs of the derivation's program with full plates, for `size` draws at once, and how many they are."""
    rows = rows_of(d, in_use)
    size = int(np.clip(size, 1, count))
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield d.inputs(values, rows, {n: x[start:stop] for n, x in eps.items()}), stop - start


def rows_of(d: Derivation, in_use: bool = False) -> dict[str, np.ndarray]:
    """Row numbers of the plates: all, or as many as a minibatch has."""
    return {n: np.arange(d.plates[n].subsample_size if in_use else d.plates[n].size) for n in d.index_inputs}


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


def independent(rng: np.random.Generator, factors: Sequence[FactorFacts], count: int) -> dict[str, np.ndarray]:
    everyone = {f.name for f in factors}
    return {n: x[0] for n, x in noise.draw(rng, factors, 1, count, everyone).items()}
