"""Programs run for many draws at once, in parts that fit the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..algorithms import noise
from ..array import Program, batch, compile_program, prune
from ..elbo import Derivation, FactorFacts

CHUNK_WORK = 2_000_000


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
    d: Derivation, values: Mapping[str, Any], eps: Mapping[str, np.ndarray], names: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Values of sites and deterministics, {name: number of its output}, at this noise: {name: (S, ...)}."""
    program = prune(d.program, tuple(d.program.outputs[i] for i in names.values()))
    rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
    inputs, total = {f.noise_input for f in d.factors}, len(next(iter(eps.values())))
    flags = [i in inputs for i in range(len(program.inputs))]
    size = int(np.clip(CHUNK_WORK // max(program.work, 1), 1, total))
    parts, made = [], {}
    for start in range(0, total, size):
        count = min(size, total - start)
        if count not in made:
            made[count] = compile_program(batch(program, flags, count))
        with np.errstate(all="ignore"):
            parts.append(made[count](*d.inputs(values, rows, {n: x[start : start + count] for n, x in eps.items()})))
    return {n: np.concatenate([np.asarray(p[i]) for p in parts]) for i, n in enumerate(names)}


def independent(rng: np.random.Generator, factors: Sequence[FactorFacts], count: int) -> dict[str, np.ndarray]:
    everyone = {f.name for f in factors}
    return {n: x[0] for n, x in noise.draw(rng, factors, 1, count, everyone).items()}
