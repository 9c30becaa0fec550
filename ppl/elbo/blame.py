"""Why a bound is not finite, in words: the first operation that made it so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..array import Program, Ref, prune, refs
from ..array.program import substitute
from ..distributions import constraints
from ..errors import NumericalError
from .derivation import Derivation
from .objective import Objective

FAR = 1e30  # where a parameter has run away


EXTREME = "a look at scales that may reach zero, data of extreme size, or log of a negative number in that term"
ABSENT = "dropping these rows, or ppl.sample(..., obs=column) for this column: its NaN entries become latent"
IMPROPER = "a proper prior, such as Normal(0, 10)"
IMPOSSIBLE = "a support that holds the data wherever the prior draws, or a start where it does (algorithm's init=)"


def refusal(
    objective: Objective,
    values: Mapping[str, Any],
    rows: Mapping,
    noise: Mapping,
    *,
    what: str,
    history: np.ndarray,
) -> NumericalError:
    """The error that `what` was met at these values: which terms are not finite there, and why."""
    d, count = objective.derivation, len(next(iter(noise.values()), [0]))
    with np.errstate(all="ignore"):
        _, terms, _ = objective.evaluate(dict(values), dict(rows), dict(noise), count)
    bad = [i for i, column in enumerate(np.asarray(terms).T) if not np.all(np.isfinite(column))]
    culprit = f" in {', '.join(d.terms[i].text for i in bad)}" if bad else ""
    cause, hint = blame(d, bad, values, rows, noise)
    culprit += f": {cause}" if cause else ""
    expected = "finite log densities where the guide draws"
    return NumericalError(f"{what}{culprit}", expected, hint, state=dict(values), history=history)


def blame(
    d: Derivation, terms: Sequence[int], values: Mapping[str, Any], rows: Mapping, noise: Mapping
) -> tuple[str, str]:
    """What made these terms of the bound other than finite, at which site, or which parameter ran away; what to try.

    `noise` has draws along its first axis.
    """
    draws = range(len(next(iter(noise.values()), [0])))
    inputs = [d.inputs(values, rows, {n: e[k] for n, e in noise.items()}) for k in draws]
    with np.errstate(all="ignore"):
        for term in (d.terms[i] for i in terms):
            place = f", at site '{term.site}'" + (f" ({term.where})" if term.where else "")
            program = prune(d.program, (d.program.outputs[term.output],))
            for given in inputs:
                found = _origin(program, given)
                outside = _outside(d, term.site, given) if found else None
                if outside is not None:
                    return outside[0] + place, outside[1]
                if found:
                    kinds = {"an array": ABSENT, "the density": IMPOSSIBLE}
                    hint = next((h for start, h in kinds.items() if found.startswith(start)), EXTREME)
                    return found + place, hint
    far = list(dict.fromkeys(s for n, x in values.items() for s in _far(d, n, np.asarray(x))))
    if not far:
        return "", EXTREME
    return f"the guide of {' and '.join(far)} ran away, as with a flat prior where there are no data", IMPROPER


def _outside(d: Derivation, site: str, inputs: Sequence[Any]) -> tuple[str, str] | None:
    """The argument of a site's family that has left its constraint, and what to try."""
    arguments = d.arguments.get(site, ())
    program = prune(d.program, tuple(d.program.outputs[a.output] for a in arguments))
    for argument, value in zip(arguments, _values(program, inputs), strict=True):
        inside = np.asarray(argument.constraint(value))
        if not inside.all():
            hint = f"a {argument.name} that is {argument.constraint} wherever the guide draws"
            if argument.constraint == constraints.positive:
                hint += f": np.exp({argument.name}) for a free number, or a prior such as HalfNormal(1)"
            return f"{argument.family}({argument.name}={_at(value, inside)})", hint
    return None


def _at(value: Any, inside: np.ndarray) -> str:
    """The first event outside, in short."""
    event = np.asarray(value)[tuple(np.argwhere(~inside)[0])] if inside.ndim else np.asarray(value)
    return np.array2string(event, precision=4, threshold=6)


def pieces(d: Derivation, sites: Sequence[str], vector: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of a joint factor's array that belong to each of its sites."""
    start = 0
    for s in sites:
        shape, _ = d.program.signature(d.program.outputs[d.site_outputs[s]])
        size = int(np.prod(d.transforms[s].inverse_shape(shape), dtype=np.int64))
        yield s, vector[start : start + size]
        start += size


def _far(d: Derivation, name: str, x: np.ndarray) -> list[str]:
    """The sites, or the parameter, of which this value has run away."""
    owner = next((f for f in d.factors if f.origin == "automatic" and f.name == name.rpartition(".")[0]), None)
    if np.all(np.abs(x) < FAR):
        return []
    if owner is None or len(owner.sites) == 1:
        return [f"parameter {name}" if owner is None else owner.sites[0]]
    return [s for s, part in pieces(d, owner.sites, x) if not np.all(np.abs(part) < FAR)]


def _known(program: Program, inputs: Sequence[Any]) -> list:
    """The inputs, and the value of every step."""
    known = list(inputs)
    for fun, args, kwargs, *_ in program.steps:
        known.append(fun(*substitute(args, known.__getitem__), **substitute(kwargs, known.__getitem__)))
    return known


def _values(program: Program, inputs: Sequence[Any]) -> tuple:
    return substitute(program.outputs, _known(program, inputs).__getitem__)


def _origin(program: Program, inputs: Sequence[Any]) -> str:
    """Walk back from an output that is not finite to the operation whose arguments still are."""
    known = _known(program, inputs)
    bad = {i for i, x in enumerate(known) if _off(x)}
    at = next((i for i in refs(program.outputs) if i in bad), None)
    while at is not None:
        if at < len(inputs):
            return f"the parameter '{program.inputs[at].name}' is {_first(known[at])}"
        step = program.steps[at - len(inputs)]
        args = _chosen(step, known, at)
        before = next((i for i in refs(args) if i in bad), None)
        if before is None:
            return _told(step.fun.__name__, args, substitute(args, known.__getitem__), known[at])
        at = before
    return ""


def _chosen(step: Any, known: Sequence[Any], at: int) -> tuple:
    """The arguments, of a `where` only the one that gave the offending element."""
    if step.fun is not np.where:
        return step.args
    condition = substitute(step.args[0], known.__getitem__)
    place = np.unravel_index(np.argmax(~np.isfinite(known[at])), np.shape(known[at]))
    return (step.args[1 if np.broadcast_to(condition, np.shape(known[at]))[place] else 2],)


def _told(name: str, args: tuple, given: tuple, result: Any) -> str:
    for x, own in zip(args, given, strict=True):
        if type(x) is not Ref and _off(own):
            if np.ndim(own):
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(own))[0])
                return f"an array of shape {np.shape(own)} in the model is {_first(own)} at index {place}"
            return "the density is zero, the data are impossible there" if own == -np.inf else f"a constant is {own}"
    place = np.unravel_index(np.argmax(~np.isfinite(result)), np.shape(result))
    numbers = [x for x in given if _is_float(x)]
    try:
        shown = ", ".join(f"{np.broadcast_to(x, np.shape(result))[place]:.4g}" for x in numbers)
    except ValueError:
        shown = f"numbers up to {max(float(np.max(np.abs(x), initial=0.0)) for x in numbers):.4g}"
    return f"{name}({shown}) is {_first(result)}"


def _is_float(x: Any) -> bool:
    return np.asarray(x).dtype.kind in "iuf" if not isinstance(x, tuple | list | dict | slice | str) else False


def _off(x: Any) -> bool:
    x = x if hasattr(x, "dtype") or isinstance(x, float) else None
    return x is not None and np.asarray(x).dtype.kind == "f" and not np.all(np.isfinite(x))


def _first(x: Any) -> str:
    return str(np.ravel(x)[np.argmax(~np.isfinite(np.ravel(x)))])
