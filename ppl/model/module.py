"""Networks in models: their weights are parameters of the model, or random sites with a prior.

    net.init(rng) -> {"layer": {"weight": array}}    weights are named "<module>.layer.weight"
    net.apply(weights, *inputs, uniform=None)        a pure function; `uniform(shape)` is noise for dropout

A network is any frozen value with these two functions. Nothing else is asked of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..distributions import Distribution, Uniform
from ..errors import ModelError, ShapeError, in_words, user_line
from .context import current, memory, outside_plates, seed_of_run, send
from .primitives import param
from .site import Site

Weights = Mapping[str, Any]


def module(name: str, net: Any, prior: Any = None) -> Module:
    """A network as part of a model: what is returned is called with the network's inputs.

    Parameters
    ----------
    name
        unique among the modules of the model. The same name again, with the same network, is the same weights.
    net
        `net.init(rng)` is weights as a nested dict of arrays; `net.apply(weights, *inputs, uniform=None)` the output.
    prior
        None: weights are learned, as `ppl.param`s `<name>.<path>`. A distribution, or a function
        `(path, shape) -> distribution`: they are random sites of these names.

    Weights stand outside all plates, wherever the call stands. With float32 weights the program works in float32.
    While a model is fitted the network is given noise for dropout, and elsewhere none.

    Raises
    ------
    ModelError
        what is no network; one name for two networks.
    ShapeError
        inputs that the network does not take; weights, or a prior, of another shape than the network's.

    >>> import ppl
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Line:
    ...     def init(self, rng): return {"slope": rng.normal(size=2)}
    ...     def apply(self, weights, x, uniform=None): return x @ weights["slope"]
    >>> def model(x):
    ...     return ppl.module("line", Line())(x)
    >>> sites = ppl.handlers.trace(ppl.handlers.seed(model, 0)).get_trace(np.ones((3, 2)))
    >>> {name: site["value"].shape for name, site in sites.items()}
    {'line.slope': (2,)}
    """
    if not isinstance(name, str) or not name:
        raise ModelError(f"module({name!r}, ...)", "a name as first argument", 'ppl.module("decoder", net)')
    if isinstance(net, type) or not (callable(getattr(net, "init", None)) and callable(getattr(net, "apply", None))):
        what = f"the class {net.__name__}" if isinstance(net, type) else f"{type(net).__name__} {net!r:.60}"
        hint = f"{net.__name__}(...)" if isinstance(net, type) else "ppl.nn.MLP(784, 400, 20)"
        raise ModelError(f"{what} as a network", "net.init(rng) and net.apply(weights, *inputs)", hint, site=name)
    known = memory("modules")
    if name not in known:
        known[name] = Module(name, net, prior, _registered(name, net, prior))
    elif not _same(known[name].net, net) or not _same(known[name].prior, prior):
        raise ModelError(
            f"module '{name}' a second time, with {_different(known[name], net, prior)}",
            "one network for each name",
            f"ppl.module('{name}_2', ...) for the other one",
            site=name,
        )
    return known[name]


module = in_words(module, "ppl.module", 'ppl.module("decoder", net)')


@dataclass(frozen=True)
class Module:
    """A network with its weights in one run of a model: a function of the network's inputs."""

    name: str
    net: Any
    prior: Any = field(repr=False)
    weights: Weights = field(repr=False)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        try:
            return self.net.apply(self.weights, *inputs, uniform=self._noise if _is_training() else None, **options)
        except (ShapeError, ValueError) as problem:
            if getattr(problem, "site", None) is not None:
                raise
            shapes = ", ".join(str(np.shape(x)) for x in inputs)
            got = getattr(problem, "got", problem)
            raise ShapeError(
                f"inputs of shape {shapes} for {self.net!r:.80}: {got}",
                "inputs that the network takes, one in each row",
                "x.reshape(len(x), -1), or a network as wide as the data",
                site=self.name,
            ) from problem

    def _noise(self, shape: tuple[int, ...]) -> Any:
        """Standard uniform noise, drawn anew at every step of a fit."""
        training()  # asked: without noise the model is another one
        drawn = memory("noise")
        drawn[self.name] = number = drawn.get(self.name, 0) + 1
        law = Uniform(0.0, 1.0).expand(tuple(shape)).to_event(len(shape))
        with outside_plates():
            return send(Site(f"{self.name}.noise{number}", "sample", law, options={"noise": True})).value


def _is_training() -> bool:
    return any(getattr(h, "training", False) for h in current().handlers)


def training() -> bool:
    """Is the model being fitted, by a step that learns? (Elsewhere noise for dropout, say, would be in the results.)

    >>> training()
    False
    """
    for handler in current().handlers:
        if hasattr(handler, "training"):
            handler.asked_training = True
    return _is_training()


def _registered(name: str, net: Any, prior: Any) -> Weights:
    """The weights of a network, each a parameter or a random site."""
    starts = dict(_leaves(name, net.init(np.random.default_rng([seed_of_run(), *name.encode()])), name))
    values = {}
    with outside_plates():
        for path, start in starts.items():
            value = param(path, start) if prior is None else _random(name, path, start, prior)
            if np.shape(value) != np.shape(start):
                raise ShapeError(
                    f"weights of shape {np.shape(value)} for '{path}' of module '{name}'",
                    f"shape {np.shape(start)}, as the network has them",
                    "the network that these weights are of, or another name for this one",
                    site=path,
                )
            values[path.removeprefix(f"{name}.")] = value
    return _tree(values)


def _random(name: str, path: str, start: np.ndarray, prior: Any) -> Any:
    """Weights as a random site of their own."""
    shape = np.shape(start)
    own = callable(prior) and not isinstance(prior, Distribution)
    d = prior(path.removeprefix(f"{name}."), shape) if own else prior
    if not isinstance(d, Distribution):
        got, hint = f"a prior {d!r:.60} for '{path}'", "prior=dist.Normal(0, 1)"
        raise ModelError(got, "a distribution, or a function (path, shape) -> distribution", hint, site=name)
    if not d.event_shape:
        with suppress(ValueError):  # said below
            d = d.expand(shape).to_event(len(shape))
    if d.shape() != shape:
        raise ShapeError(
            f"a prior of shape {d.shape()} for '{path}'",
            f"shape {shape}, or that of one number",
            "a function (path, shape) -> distribution, for a prior of each array",
            site=name,
        )
    return send(Site(path, "sample", d, where=user_line(), options={"start": start})).value


def _leaves(name: str, tree: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """(path, array) of a nested dict, in order."""
    if not isinstance(tree, Mapping):
        try:
            found = np.asarray(tree)
        except ValueError:
            found = np.empty(0, object)
        if path == name or found.dtype.kind not in "biuf":
            got, expected = (
                f"{type(tree).__name__} from net.init(rng) at '{path}'",
                "a nested dict of arrays of numbers",
            )
            raise ModelError(got, expected, 'return {"weight": w, "bias": b}', site=name)
        yield path, found
        return
    for key, x in tree.items():
        yield from _leaves(name, x, f"{path}.{key}")


def _tree(values: Mapping[str, Any]) -> Weights:
    """The nested dict that paths with dots stand for."""
    out: dict[str, Any] = {}
    for path, x in values.items():
        *way, last = path.split(".")
        inner = out
        for key in way:
            inner = inner.setdefault(key, {})
        inner[last] = x
    return out


def _same(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)
    except ValueError:  # networks that hold arrays
        return False


def _different(known: Module, net: Any, prior: Any) -> str:
    if not _same(known.net, net):
        return f"the network {net!r:.80} where the first was {known.net!r:.80}"
    return f"prior={prior!r:.60} where the first had {known.prior!r:.60}"
