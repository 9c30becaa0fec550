"""The elements of a plate: which latents are theirs, and which rows of which terms.

Latents of a plate are independent given the rest where no row of a term depends on two of its elements. That
is read off the program: the noise of half the elements is changed, and the rows that change with it are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..algorithms import noise
from ..array import compile_program, prune, reachable, refs
from ..elbo import Derivation, FactorFacts
from .runs import independent


@dataclass(frozen=True)
class Group:
    """Latents whose elements are independent of each other given the rest, and the terms that read them.

    `units[i]` gives the element of every row of the i-th term.
    """

    plate: str
    size: int
    factors: tuple[FactorFacts, ...]
    terms: tuple[int, ...]
    units: tuple[np.ndarray, ...]

    @property
    def dimension(self) -> int:
        """How many coordinates of noise an element has."""
        return sum(prod(f.noise_shape) // self.size for f in self.factors)


def groups(d: Derivation, values: Mapping[str, Any], rows: Mapping[str, Any], seed: int) -> list[Group]:
    """The plates whose elements can be averaged out one by one."""
    by_plate: dict[str, list[FactorFacts]] = {}
    for f in d.factors:
        if f.plates and f.noise_kind != "seed":
            by_plate.setdefault(f.plates[0].name, []).append(f)
    reached = {p: reachable(d.program, {f.noise_input for f in fs}) for p, fs in by_plate.items()}
    reads = {
        p: [i for i, t in enumerate(d.terms) if not r.isdisjoint(refs((d.program.outputs[t.output],)))]
        for p, r in reached.items()
    }
    taken: set[int] = set()
    found = []
    for plate in sorted(by_plate, key=lambda p: -d.plates[p].size):
        if taken.isdisjoint(reads[plate]):
            group = _group(d, plate, by_plate[plate], reads[plate], values, rows, seed)
            if group is not None:
                found.append(group)
                taken |= set(reads[plate])
    return found


def _group(
    d: Derivation, plate: str, factors: Sequence[FactorFacts], terms: Sequence[int], values: Any, rows: Any, seed: int
) -> Group | None:
    """Change the noise of those elements whose number has a given bit, and see which rows follow."""
    size = d.plates[plate].size
    bits = max(int(size - 1).bit_length(), 1)
    rng = noise.generator(seed, 1, noise.Stream.WEIGHTS)
    others = [f for f in d.factors if f not in factors]
    base = {n: x[0] for n, x in independent(rng, others, 1).items()}
    before, after, *more = ({n: x[0] for n, x in independent(rng, factors, 1).items()} for _ in range(4))
    program = prune(d.program, tuple(d.program.outputs[d.terms[i].output] for i in terms))
    run = compile_program(program)

    def terms_with(noises: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [np.ravel(x) for x in run(*d.inputs(values, rows, {**base, **noises}))]

    def terms_at(changed: np.ndarray) -> list[np.ndarray]:
        mixed = {}
        for f in factors:
            shape = [1] * len(f.noise_shape)
            shape[axis_of(f, plate)] = size
            mixed[f.name] = np.where(changed.reshape(shape), after[f.name], before[f.name])
        return terms_with(mixed)

    low, high = terms_at(np.zeros(size, bool)), terms_at(np.ones(size, bool))
    # Rows that never move are nobody's: those under a mask, or whose entry is not the one that is missing.
    others = [high, *map(terms_with, more)]
    still = [np.all([x == a for x in xs], axis=0) for a, *xs in zip(low, *others, strict=True)]
    units = [np.zeros(x.shape, int) for x in low]
    for bit in range(bits):
        moved = terms_at((np.arange(size) >> bit & 1).astype(bool))
        for unit, a, b, x, rest in zip(units, low, high, moved, still, strict=True):
            as_high, as_low = np.isclose(x, b, rtol=1e-9, atol=0.0), np.isclose(x, a, rtol=1e-9, atol=0.0)
            as_high = as_high & ~rest
            if not np.all(as_high ^ as_low):  # several elements in one row, or none that can be told
                return None
            unit += as_high.astype(int) << bit
    return Group(plate, size, tuple(factors), tuple(terms), tuple(units))


def axis_of(f: FactorFacts, plate: str) -> int:
    """The axis of a factor's noise that belongs to a plate."""
    return f.batch_ndim + next(p.dim for p in f.plates if p.name == plate)


def _weighted(d: Derivation, term: int, x: Any) -> np.ndarray:
    return np.asarray(x, dtype=float) * d.terms[term].scale


def by_element(d: Derivation, g: Group, by_term: Mapping[int, Any], count: int, nodes: int) -> np.ndarray:
    """Log ratios (count, nodes, N): the rows of every term added up by element."""
    out = np.zeros((count, nodes, g.size))
    with np.errstate(invalid="ignore"):  # where both densities are infinite, at the edge of what a double holds
        _add_rows(out, d, g, by_term, count, nodes)
    out[np.isnan(out)] = -np.inf
    return out


def _add_rows(out: np.ndarray, d: Derivation, g: Group, by_term: Mapping[int, Any], count: int, nodes: int) -> None:
    for i, unit in zip(g.terms, g.units, strict=True):
        x = np.broadcast_to(_weighted(d, i, by_term[i]).reshape(count, nodes, -1), (count, nodes, len(unit)))
        if len(unit) == g.size and np.array_equal(unit, np.arange(g.size)):
            out += x
        else:
            order = np.argsort(unit, kind="stable")
            present, starts = np.unique(unit[order], return_index=True)
            out[:, :, present] += np.add.reduceat(x[:, :, order], starts, axis=2)
