"""The terms of the bound written out: each as a formula in parameters, draws and data."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from ..array import Ref, prune, written
from ..elbo import Derivation, Problem, Term

MOST = 60  # lines; a longer program is nothing to read
LARGEST = 100_000  # elements of an array up to which it is compared with the arguments


def formulas(p: Problem, d: Derivation) -> list[str]:
    """One line for every named value, and one for every term; none where they would be too many."""
    terms = [d.program.outputs[t.output] for t in d.terms]
    sites = {n: d.program.outputs[i] for n, i in d.site_outputs.items()}
    program = prune(d.program, (*terms, *sites.values()))
    named = zip(sites, program.outputs[len(terms) :], strict=True)
    names = {x.index: n for n, x in named if type(x) is Ref}
    if len(program.steps) > 4 * MOST:
        return []
    text = written(program, names, _arguments(p))
    lines = [f"{name} = {expression}" for name, expression, _ in text.lines]
    for t, x, output in zip(d.terms, program.outputs, text.outputs, strict=False):
        shape = program.signature(x)[0] if type(x) is Ref else np.shape(x)
        lines.append(f"{t.text} = {_scaled(t)}{_summed(t, shape, output)}")
    return lines if len(lines) <= MOST else []


def _scaled(t: Term) -> str:
    return "" if t.scale == 1.0 else f"{t.scale:.6g} * "


def _summed(t: Term, shape: tuple[int, ...], text: str) -> str:
    if not int(np.prod(shape, dtype=np.int64)) > 1:
        return text if t.scale == 1.0 else f"({text})"
    plates = " and ".join(q.name for q in t.plates)
    return f"sum over {plates} of ({text})" if plates else f"sum({text})"


def _arguments(p: Problem) -> Callable[[np.ndarray], str | None]:
    """A name for an array: that of the one argument of the model with the same elements."""
    try:
        bound = inspect.signature(p.model).bind(*p.args, **p.kwargs).arguments
    except (TypeError, ValueError):
        bound = {}
    known = {n: np.asarray(x) for n, x in bound.items() if isinstance(x, np.ndarray) and 1 < x.size <= LARGEST}
    known |= {
        s.name: np.asarray(s.value) for s in p.sites.values() if s.is_observed and isinstance(s.value, np.ndarray)
    }

    def name(x: np.ndarray) -> str | None:
        same = [n for n, y in known.items() if y.shape == x.shape and np.array_equal(x, y)]
        return same[0] if len(same) == 1 else None

    return name
