"""What a model keeps from step to step without a gradient: moving averages, codebooks, counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..array import stop_gradient
from ..distributions import constraints
from ..errors import ModelError, ShapeError, in_words, user_line
from .context import current, memory, outside_plates, send
from .site import Site


@dataclass(frozen=True)
class Kept:
    """A state in one run of a model: its value before this step, and what it will be after it."""

    name: str
    value: Any = field(repr=False)

    def update(self, new: Any) -> None:
        """Say what the value is to be after a step of a fit. Elsewhere the state stays as it was learned.

        With several draws in a step it is the mean over the draws.
        """
        if np.shape(new) != np.shape(self.value):
            raise ShapeError(
                f"an update of shape {np.shape(new)}",
                f"shape {np.shape(self.value)}, as the state has it",
                "np.mean(..., axis=0) over the rows",
                site=self.name,
            )
        for handler in current().handlers:
            if hasattr(handler, "updates"):
                handler.updates[self.name] = new


def state(name: str, init: Any) -> Kept:
    """A state that a model keeps through training, without a gradient: `.value`, and `.update(new)`.

    Parameters
    ----------
    name
        unique within the model; the same name again is the same state.
    init
        its value before the first step: a number or an array of floats.

    It is an input of every step of `ppl.BBVI`, which gives what `update` says to the next one; it stands in
    `fit.params`, in files and checkpoints, and has no axes of plates.

    Raises
    ------
    ModelError
        an init that is no array of numbers, or a second one of another shape.
    ShapeError
        an update of another shape.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     seen = ppl.state("mean of y", 0.0)
    ...     seen.update(0.9 * seen.value + 0.1 * np.mean(y))
    ...     with ppl.plate("rows", len(y)):
    ...         ppl.sample("y", dist.Normal(ppl.param("mu", 0.0), 1), obs=y)
    >>> fit = ppl.infer(model, np.full(3, 2.0), algorithm=ppl.BBVI(steps=2), progress=False)
    >>> round(float(fit.params["mean of y"]), 6)
    0.38
    """
    if not isinstance(name, str) or not name:
        raise ModelError(f"state({name!r}, ...)", "a name as first argument", 'ppl.state("average", 0.0)')
    start = np.asarray(init)
    if start.dtype.kind not in "biuf":
        raise ModelError(f"state('{name}', {init!r:.40})", "a number or an array of them", "0.0", site=name)
    start = start.astype(np.result_type(start, np.float32) if start.dtype.kind == "f" else np.float64)
    known = memory("states")
    if name not in known:
        options = {"init": start, "constraint": constraints.real, "event_dim": start.ndim, "state": True}
        with outside_plates():
            site = Site(name, "param", options={**options, "default": start}, where=user_line())
            known[name] = Kept(name, stop_gradient(send(site).value))
    elif np.shape(known[name].value) != start.shape:
        got = f"a second state '{name}' of shape {start.shape}"
        raise ModelError(got, f"its first shape, {np.shape(known[name].value)}", "a name of its own", site=name)
    return known[name]


state = in_words(state, "ppl.state", 'ppl.state("average", 0.0)')
