"""The amortised guide: a network for each local latent of a plate, from what is observed in that plate.

    observed rows of the plate -> features -> MLP -> loc, scale of a Normal on the unconstrained axis

| parameter | what it is |
|---|---|
| `<site>.net.<layer>.weight`, `.bias` | the weights of the network of a site |
| `<site>.net.rows.<layer>.weight`, `.bias` | of that which rows of a plate inside go through, before their mean |
| `<site>.features.<observed site>.shift`, `.scale` | what observed numbers are standardised by |

A site that comes later in the plate is told the draws of the earlier ones. Sites outside plates, and those in whose
plates nothing is observed, have the mean-field guide. The networks work in the program's own dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..array import is_recorded
from ..array.recording import concrete, value_at
from ..distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Normal,
    OneHotCategorical,
    TransformedDistribution,
    biject_to,
    constraints,
)
from ..errors import GuideError
from ..graph import Recorder, as_argument, ours_first, some_value
from ..model import Site
from .automatic import mean_field, unconstrained_shape
from .factor import Factor, single_site

HIDDEN = (32, 256)  # the least and the most units of a hidden layer


class Amortized:
    """Makes the factors of local latents while a model is recorded."""

    def __init__(self) -> None:
        self.observed: list[Site] = []
        self.drawn: list[tuple[Site, Any]] = []  # local latents so far, with their draws on the unconstrained axis
        self.rows: dict[int, np.ndarray] = {}

    def look(self, recorder: Recorder, model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
        """Run the model once to see what it observes, in the rows in use; its latents have some values there."""
        seeing = Recorder(
            recorder.tape,
            lambda own, site: some_value(site, own.rng),
            plate_sizes=recorder.plate_sizes,
            starts=recorder.starts,
            indices=recorder.given,
        )
        seeing.run["seed"] = recorder.run["seed"]
        seeing.plates, seeing.indices, seeing.parameters = recorder.plates, recorder.indices, recorder.parameters
        with seeing, ours_first():
            model(*map(as_argument, args), **{k: as_argument(v) for k, v in kwargs.items()})
        recorder.saw_float32 |= seeing.saw_float32
        self.observed = [s for s in seeing.sites.values() if s.is_observed and not s.options.get("factor")]
        plates = recorder.plates
        self.rows = {id(i): np.arange(plates[n].size) for n, i in recorder.indices.items() if is_recorded(i)}

    def factor(self, recorder: Recorder, site: Site) -> Factor:
        """q(site | what is observed in its plates, and the earlier latents there)."""
        inside = [s for s in self.observed if site.plates and set(site.plates) <= set(s.plates)]
        if not inside or "part_of" in site.options:
            return mean_field(recorder, site)
        features = [_features(self, recorder, site, s) for s in inside]
        features += [_spread_over(x, site, s) for s, x in self.drawn if set(s.plates) <= set(site.plates)]
        x = np.concatenate(features, axis=-1)
        if site.fn.is_discrete:
            return single_site(recorder, site, self._discrete(recorder, site, x), "automatic")
        transform = biject_to(site.fn.support)
        shape = unconstrained_shape(site)
        event = shape[len(site.fn.batch_shape) :]
        size = int(np.prod(event, dtype=np.int64))
        net = nn.MLP(x.shape[-1], *_hidden(x.shape[-1], size), (size, size), heads=("real", "positive"))
        loc, scale = (np.reshape(y, shape) for y in net.apply(_weights(recorder, f"{site.name}.net", net), x))
        q: Distribution = Normal(loc, scale).to_event(len(event))
        if not transform.is_identity:
            q = TransformedDistribution(q, [transform])
        found = single_site(recorder, site, q, "automatic")
        self.drawn.append((site, np.reshape(found.draw, (*site.fn.batch_shape, size))))
        return found

    def _discrete(self, recorder: Recorder, site: Site, x: Any) -> Distribution:
        fn, batch = site.fn.core, site.fn.batch_shape
        if isinstance(fn, Bernoulli):
            shape = site.fn.shape()
        elif isinstance(fn, Categorical | OneHotCategorical):
            extra = site.fn.event_shape if isinstance(fn, Categorical) else site.fn.event_shape[:-1]
            shape = (*batch, *extra, np.shape(concrete(fn.probs))[-1])
        else:
            raise GuideError(
                f"a latent {type(fn).__name__}",
                "a continuous family, Bernoulli or Categorical, for which networks are built",
                "guide= in place, or a guide function that draws this site",
                site=site.name,
            )
        size = int(np.prod(shape[len(batch) :], dtype=np.int64))
        net = nn.MLP(x.shape[-1], *_hidden(x.shape[-1], size), size)
        logits = np.reshape(net.apply(_weights(recorder, f"{site.name}.net", net), x), shape)
        family = type(fn) if isinstance(fn, Bernoulli) else Categorical
        family = OneHotCategorical if isinstance(fn, OneHotCategorical) else family
        own = isinstance(fn, OneHotCategorical)
        return family(logits=logits).to_event(site.fn.event_dim - own)


def _hidden(ins: int, outs: int) -> tuple[int, int]:
    """Units of the two hidden layers."""
    width = int(np.clip(2 * (ins + outs), *HIDDEN))
    return width, width


def _weights(recorder: Recorder, name: str, net: Any) -> dict[str, Any]:
    """The weights of a network as parameters of the guide."""
    recorder.of_guide = tuple(dict.fromkeys((*recorder.of_guide, name)))
    rng = np.random.default_rng([recorder.run["seed"], *name.encode()])

    def registered(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
        return {
            key: registered(x, f"{path}.{key}")
            if isinstance(x, Mapping)
            else recorder.parameter(f"{path}.{key}", lambda x=x: x, constraints.real)
            for key, x in tree.items()
        }

    return registered(net.init(rng, np.float64), name)


def _features(own: Amortized, recorder: Recorder, site: Site, seen: Site) -> Any:
    """What is observed at one site as a row of features for each element of the latent's plates."""
    x = _numbers(own, recorder, site, seen)
    batch = np.shape(x)[:-1]
    axes = tuple(len(batch) + p.dim for p in seen.plates if p not in site.plates)
    if not axes:
        return _spread_over(x, site, seen)
    # Elements of a plate inside are exchangeable: each through one network, then their mean (Zaheer et al. 2017).
    ins = x.shape[-1]
    width = _hidden(ins, ins)[0]
    name = f"{site.name}.net.rows" if len(own.observed) == 1 else f"{site.name}.net.rows.{seen.name}"
    net = nn.MLP(ins, width, width)
    embedded = np.mean(net.apply(_weights(recorder, name, net), x), axis=axes, keepdims=True)
    return _spread_over(embedded, site, seen)


def _spread_over(x: Any, site: Site, of: Site) -> Any:
    """Features (..., n) of another site's batch in the latent's own batch."""
    batch = site.fn.batch_shape
    lead = np.shape(x)[:-1]
    if len(lead) > len(batch):  # axes of plates inside, of length one by now
        x = np.reshape(x, (*lead[len(lead) - len(batch) :], np.shape(x)[-1]))
    return np.broadcast_to(x, (*batch, np.shape(x)[-1]))


def _numbers(own: Amortized, recorder: Recorder, site: Site, seen: Site) -> Any:
    """Observed values as (batch..., numbers): categories one-hot, others standardised, gaps zero beside a mask."""
    gaps = seen.options.get("gaps") or seen.options.get("lacks")
    value = seen.value if gaps is None else gaps.values
    ndim = seen.fn.event_dim
    batch = np.shape(value)[: np.ndim(value) - ndim]
    core = seen.fn.core
    if isinstance(core, Categorical):
        states = np.arange(np.shape(concrete(core.probs))[-1])
        x = np.where(value[..., None] == states, 1.0, 0.0)
    elif isinstance(core, Bernoulli | OneHotCategorical):
        x = 2.0 * value - 1.0
    else:
        counts = seen.fn.is_discrete
        x = np.log1p(value) if counts else value
        x = _standardised(own, recorder, site, seen, x, ndim)
    parts = [np.reshape(x, (*batch, -1))]
    if gaps is not None:
        there = np.reshape(np.where(gaps.missing, 0.0, 1.0), (*batch, -1))
        parts = [parts[0] * (there if there.shape[-1] == parts[0].shape[-1] else 1.0), there]
    return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def _standardised(own: Amortized, recorder: Recorder, site: Site, seen: Site, x: Any, event_dim: int) -> Any:
    """(x - mean) / sd of every number of an event over all the data, as it was for the data of the fit."""
    name = f"{site.name}.features.{seen.name}"

    def of_data(f: Callable) -> Callable[[], np.ndarray]:
        def found() -> np.ndarray:
            every = value_at(x, own.rows) if is_recorded(x) else x
            every = np.asarray(concrete(x) if every is None else every, dtype=float)
            lead = tuple(range(every.ndim - event_dim))
            return np.asarray(f(np.where(np.isfinite(every), every, np.nan), lead))

        return found

    def spread(every: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
        sd = np.nanstd(every, axis=lead)
        return np.where(sd > 1e-6 * max(np.max(sd, initial=0.0), 1e-300), sd, 1.0)  # what never changes tells nothing

    shift = recorder.parameter(
        f"{name}.shift", of_data(lambda every, lead: np.nanmean(every, axis=lead)), constraints.real, learned=False
    )
    scale = recorder.parameter(f"{name}.scale", of_data(spread), constraints.real, learned=False)
    return (x - shift) / scale
