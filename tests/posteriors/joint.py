"""The log joint density of a model on the unconstrained axis, and its gradient, for many draws at once.

    u = t^-1(value of a site),   log p(u) = sum of log p(site) + sum of log |d value / du|

Recorded by the library's own recorder, so that what is checked is what is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ppl.array import Tape, batch, compile_program, gradient, program_of
from ppl.distributions import biject_to
from ppl.elbo import problem
from ppl.graph import Recorder, record_model
from ppl.guides.automatic import unconstrained_shape


@dataclass(frozen=True)
class Joint:
    """A model with its data as a function of one vector, all latent sites side by side."""

    names: tuple[str, ...]  # one per coordinate
    shapes: dict[str, tuple[int, ...]]  # of the sites, as the model has them
    log_density: Callable  # rows of coordinates -> log density of each
    score: Callable  # rows of coordinates -> rows of gradients
    coordinates: Callable  # {site: rows of values} -> rows of coordinates

    @property
    def size(self) -> int:
        return len(self.names)


def joint_of(model: Callable, *args, jacobian: bool = True) -> Joint:
    """Record a model. `jacobian=False` leaves the Jacobians out, for controls."""
    free = problem(model, args, {})
    slices, size = {}, 0
    for name, shape in free.shapes.items():
        slices[name] = slice(size, size + int(np.prod(shape)))
        size = slices[name].stop

    tape = Tape()
    u, jacobians, shapes = tape.input(np.zeros(size), "u"), [], {}

    def from_coordinates(recorder, site):
        transform = biject_to(site.fn.support)
        mine = np.reshape(u[slices[site.name]], unconstrained_shape(site))
        value = transform(mine)
        shapes[site.name] = site.fn.shape()
        jacobians.append(np.sum(transform.log_abs_det_jacobian(mine, value)))
        return value

    recorded = record_model(model, args, {}, Recorder(tape, from_coordinates))
    total = sum(np.sum(s.fn.log_prob(s.value)) * s.plate_scale for s in recorded.of_kind())
    program = program_of(tape, [total + sum(jacobians) if jacobian else total])
    names = tuple(f"{n}[{i + 1}]" for n, s in slices.items() for i in range(s.stop - s.start))
    return Joint(
        names,
        shapes,
        _rowwise(program, 0),
        _rowwise(gradient(program, [0]), 1),
        lambda draws: _coordinates(model, args, slices, shapes, draws),
    )


def _rowwise(program, output: int) -> Callable:
    def over(rows):
        rows = np.asarray(rows, dtype=float)
        return compile_program(batch(program, [True], len(rows)))(rows)[output]

    return over


def _coordinates(model, args, slices, shapes, draws):
    """The inverse transforms, whose supports may depend on other sites, recorded and batched."""
    tape, outputs = Tape(), {}

    def from_value(recorder, site):
        transform = biject_to(site.fn.support)
        example = transform(np.zeros(unconstrained_shape(site)))
        value = tape.input(np.asarray(getattr(example, "value", example)), site.name)
        outputs[site.name] = np.reshape(transform.inverse(value), -1)
        return value

    record_model(model, args, {}, Recorder(tape, from_value))
    program = program_of(tape, [outputs[name] for name in slices])
    count = len(next(iter(draws.values())))
    values = [np.reshape(draws[x.name], (count, *shapes[x.name])) for x in program.inputs]
    with np.errstate(all="ignore"):
        return np.concatenate(compile_program(batch(program, [True] * len(values), count))(*values), axis=1)
