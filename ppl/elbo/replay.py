"""Programs recorded once more, with something else in the place of their draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..array import Program, Tape, needed, stop_gradient, substitute
from ..array.operations import draw_of
from ..array.program import Input
from ..array.recording import call_recording


def input_like(tape: Tape, x: Input, lead: tuple[int, ...] = ()) -> Any:
    """An input of a tape that looks like one of a program, with leading axes."""
    return tape.input(np.broadcast_to(np.zeros((), x.dtype), (*lead, *x.shape)), x.name)


def inputs_of(tape: Tape, program: Program) -> list:
    """The inputs of a program, on a tape."""
    return [input_like(tape, x) for x in program.inputs]


def live(name: str, x: Any) -> Any:
    """A draw as it is."""
    return x


def held(names: frozenset[str]) -> Callable[[str, Any], Any]:
    """Draws of these factors as constants."""
    return lambda name, x: stop_gradient(x) if name in names else x


def replayed(program: Program, inputs: Sequence, draw: Callable[[str, Any], Any], outputs: Sequence) -> list:
    """Outputs of a derivation's program, recorded again with `draw(name, x)` in the place of every draw."""
    values: dict[int, Any] = dict(enumerate(inputs))
    for i in sorted(needed(program, tuple(outputs))):
        if i >= len(inputs):
            step = program.steps[i - len(inputs)]
            args, kwargs = substitute((step.args, step.kwargs), values.__getitem__)
            is_draw = step.fun is draw_of.run
            values[i] = draw(args[1], args[0]) if is_draw else call_recording(step.fun, args, kwargs)
    return substitute(list(outputs), values.__getitem__)
