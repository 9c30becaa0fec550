"""Many draws by one program: as many at once as arrays pay for, the rest in further runs of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..array import Program, batch, compile_program

WORK = 2_000_000  # counted cost of one batched run


def run_in_chunks(
    program: Program, batched: Sequence[bool], count: int, inputs: Callable[[int, int], Sequence[Any]]
) -> list[np.ndarray]:
    """The program's outputs at `count` draws, each of shape (count, ...).

    `batched` says which of its inputs have one value for each draw; `inputs(start, stop)` gives all
    inputs for these draws, and is asked for them in order. What is not finite is passed on without a word.
    """
    size = int(np.clip(WORK // max(program.work, 1), 1, count))
    parts, made = [], {}
    for start in range(0, count, size):
        stop = min(start + size, count)
        if stop - start not in made:
            made[stop - start] = compile_program(batch(program, batched, stop - start))
        with np.errstate(all="ignore"):
            parts.append(made[stop - start](*inputs(start, stop)))
    return [np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(len(program.outputs))]
