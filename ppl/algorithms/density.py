"""The log density of a model's latent sites, as a function of the noise of a Gaussian guide.

    u = loc + scale e,   log p(data, e) = log p(data, z(u)) + log |dz / du| + log |du / de|

A fitted Gaussian is a good unit of length: in its noise e the posterior is about standard normal, so that
a sampler needs no other metric, and a draw e is one that every result can be computed from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..array import batch, compile_program, prune
from ..array.program import needed
from ..elbo import Derivation, FactorFacts, Objective, Problem
from ..errors import GuideError, ModelError
from .coordinates import Coordinates
from .deterministic import FixedDraws, gaussian_sites, whole
from .noise import Stream, draw, generator

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
AT_ONCE = 2_000_000  # counted cost of one batched run


@dataclass(frozen=True)
class LogDensity:
    """log p(data, e) and its gradient; `values` are the parameters of the guide whose noise e is."""

    objective: Objective  # without closed forms, so that the terms of one draw are those of its density
    values: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, p: Problem, guide: Any, values: Mapping[str, np.ndarray], seed: int, what: str) -> LogDensity:
        """The density of all rows, for an automatic guide.

        Raises
        ------
        ModelError
            a learned parameter, a discrete latent site that is not summed out, or a jump.
        """
        try:
            objective = whole(p, guide, seed, what, pointwise=True)
        except GuideError as error:  # a guide is what is not needed here
            if error.site not in p.sites or not p.sites[error.site].fn.is_discrete:
                raise
            raise ModelError(
                f"{what} of a model with a discrete latent site that is not summed out",
                "continuous latent sites, and finite ones that can be summed out: only these have gradients",
                "the site summed out by hand, in ppl.factor",
                site=error.site,
            ) from None
        found = cls(objective, values)
        if not found.factors:
            raise ModelError(f"{what} of a model without continuous latent sites", "latent sites", 'algorithm="cavi"')
        d = objective.derivation
        own = {f"{f.name}.{kind}" for f in found.factors for kind in ("loc", "scale", "scale_tril")}
        learned = [n for n in _used(d) if n not in own]
        if learned:
            raise ModelError(
                f"{what} of a model with the learned parameter '{learned[0]}'",
                "latent sites alone: there is nothing that would learn it",
                f'ppl.sample("{learned[0]}", ...) with a prior in place of ppl.param, '
                f"or its fitted value: ppl.handlers.substitute(model, fit.params)",
                site=learned[0],
            )
        return found

    @cached_property
    def factors(self) -> tuple[FactorFacts, ...]:
        """The guide's Gaussian factors; e is their noise, one after the other."""
        d = self.objective.derivation
        names = set(gaussian_sites(d))
        return tuple(f for f in d.factors if f.name in names)

    @cached_property
    def _sizes(self) -> list[int]:
        return [math.prod(f.noise_shape) for f in self.factors]

    @property
    def size(self) -> int:
        return sum(self._sizes)

    @cached_property
    def fixed(self) -> FixedDraws:
        """Minus the log density. With zero noise a draw is its location: e is what the locations are moved by."""
        d = self.objective.derivation
        where = Coordinates.at(d, self.values)
        free = [f"{f.name}.loc" for f in self.factors]
        zero = {n: np.zeros(s) for n, s in where.shapes.items()}

        def values_of(*raw: Any) -> dict[str, Any]:
            pieces = dict(zip(free, raw, strict=True))
            values = where.values(*({**zero, **pieces}[n] for n in where.shapes))
            return {n: v if n in pieces else where.starts[n] for n, v in values.items()}

        noise = {f.name: _middle(f) for f in d.factors}
        return FixedDraws(self.objective, values_of, [np.zeros(where.shapes[n]) for n in free], noise)

    def __call__(self, e: np.ndarray) -> tuple[float, np.ndarray]:
        """log p(data, e) and its gradient."""
        value, slope = self.fixed(e)
        return -value - self.size * _HALF_LOG_2PI, -slope

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """log p(data, e) of many draws (S, D)."""
        program = prune(self.fixed.program, self.fixed.program.outputs[1:2])
        flags = [i == 0 for i in range(len(program.inputs))]
        size = int(np.clip(AT_ONCE // max(program.work, 1), 1, max(len(rows), 1)))
        parts, made = [np.zeros(0)], {}
        for start in range(0, len(rows), size):
            some = np.asarray(rows[start : start + size], dtype=float)
            if len(some) not in made:
                made[len(some)] = compile_program(batch(program, flags, len(some)))
            with np.errstate(all="ignore"):
                parts.append(np.asarray(made[len(some)](some, *self.fixed.rest)[0], dtype=float))
        return np.concatenate(parts) - self.size * _HALF_LOG_2PI

    def noise(self, rows: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """Noise of all factors for draws (S, D); that of missing entries, which nothing reads, is drawn."""
        d, count = self.objective.derivation, len(rows)
        parts = np.split(rows, np.cumsum(self._sizes)[:-1], axis=1)
        found = {f.name: x.reshape(count, *f.noise_shape) for f, x in zip(self.factors, parts, strict=True)}
        others = [f for f in d.factors if f.name not in found]
        drawn = draw(generator(seed, 1, Stream.DRAWS), others, 1, count, {f.name for f in others})
        return {**found, **{n: x[0] for n, x in drawn.items()}}


def _middle(f: FactorFacts) -> np.ndarray:
    """Zero noise, or what stands for it where a factor's draw is read by no density."""
    if f.noise_kind == "normal":
        return np.zeros((1, *f.noise_shape))
    return np.full((1, *f.noise_shape), 0.5) if f.noise_kind == "uniform" else np.zeros((1, *f.noise_shape), int)


def _used(d: Derivation) -> list[str]:
    """The parameters that some term depends on."""
    read = needed(d.program, tuple(d.program.outputs[t.output] for t in d.terms))
    return [n for n, i in d.parameter_inputs.items() if i in read]
