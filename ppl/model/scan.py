"""`ppl.scan`: a loop over time in a model, one operation of the program whatever its length.

Sites inside get a leading time axis: `z` of T steps is one site of shape (T, ...). While a
model is recorded the step runs once; run by hand, it is a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..array import is_recorded
from ..array.recording import value_at
from ..array.scan import BodyRecorder, flatten, pair, steps_of
from ..errors import ModelError
from .context import current, reset_context, set_context
from .handlers import Handler
from .missing import Gaps, gaps_of, lacks_any
from .scanned import ScannedDistribution
from .site import Site


def scan(f: Callable, init: Any, xs: Any = None, length: int | None = None) -> tuple[Any, Any]:
    """A loop over time: `carry, y = f(carry, x)` for each x along the first axis of xs.

    Parameters
    ----------
    f
        one step, `f(carry, x) -> (carry, y)`; it may contain `ppl.sample`, also observed, and
        `ppl.deterministic`. carry, x and y may be nested tuples, lists and dicts of arrays.
    init
        the carry before the first step; its shapes stay the same.
    xs
        what the steps run over, or None with `length`.

    Returns the last carry and the ys, stacked. Sites inside get a leading time axis. Observations that
    are missing at some steps (NaN, or false in `obs_mask=`) are summed out; what reads them gets NaN.

    >>> import ppl, ppl.distributions as dist
    >>> def walk(y):
    ...     def step(z, y_t):
    ...         z = ppl.sample("z", dist.Normal(z, 0.1))
    ...         ppl.sample("y", dist.Normal(z, 1.0), obs=y_t)
    ...         return z, z
    ...     return ppl.scan(step, 0.0, y)[1]
    >>> ppl.handlers.seed(walk, 0)(np.zeros(5)).shape
    (5,)
    """
    leaves, build = flatten(xs)
    steps = steps_of(leaves, length)
    tape = next((h.tape for h in current().handlers if hasattr(h, "tape")), None)
    if tape is None:
        return _loop(f, init, leaves, build, steps)
    starts, rebuild = flatten(init)
    body = BodyRecorder(tape, steps, starts, leaves)
    inside = _Recording(body, steps, leaves)
    with inside:
        carry, y = pair(f(rebuild(body.carries), build(body.xs)))
    last, ys, extra = body.finish(carry, y, rebuild, inside.outputs)
    inside.tell(extra)
    return last, ys


class _Asked(NamedTuple):
    """A site with its time axis as the handlers outside made it, its law, and who will see it."""

    site: Site
    law: ScannedDistribution
    watching: tuple[Handler, ...]

    def tell(self, value: Any, log_density: Any) -> None:
        """After the loop: show the finished site to the handlers that it reached."""
        self.law.log_density = log_density
        for handler in self.watching:
            handler.seen(replace(self.site, value=value))


def _ask(handler: Handler, site: Site, length: int) -> _Asked:
    """What the handlers outside the scan make of a site with its time axis."""
    context = current()
    outer = context.handlers[: context.handlers.index(handler)]
    law = ScannedDistribution(site.fn, length) if site.type == "sample" else None
    token = set_context(replace(context, handlers=outer))
    try:
        site = replace(site, fn=law)
        reached = 0
        for reached in range(len(outer) - 1, -1, -1):
            site = outer[reached].process(site)
            if site.stop:
                break
        else:
            reached = 0
        return _Asked(site, law, outer[reached:])
    finally:
        reset_context(token)


class _Recording(Handler):
    """Inside a recorded step: latent sites are asked for once, with their time axis."""

    def __init__(self, body: BodyRecorder, length: int, leaves: Sequence):
        super().__init__()
        self.body, self.length, self.leaves = body, length, leaves
        self.outputs: list[Any] = []
        self.kept: list[tuple[_Asked, Any]] = []  # with the value of all steps, where it is known

    def process(self, site: Site) -> Site:
        if site.type == "deterministic":
            self.outputs.append(site.value)
            self.kept.append((_ask(self, site, self.length), None))
            return replace(site, stop=True)
        if site.type != "sample":
            return site
        if site.options.get("factor"):
            hint = "ppl.factor(name, ys) after the scan"
            raise ModelError("ppl.factor inside ppl.scan", "the step to return it as y", hint, site=site.name)
        if site.guide is not None:
            raise ModelError(
                "guide= inside ppl.scan",
                "a guide function, or an automatic guide",
                "no guide= in the step",
                site=site.name,
            )
        asked, log_density = _ask(self, site, self.length), None
        whole = None if asked.site.value is site.value else asked.site.value
        if whole is None and site.value is not None and site.is_observed:
            site, log_density = self._summed_out(site)
        value = site.value if whole is None else self.body.add_x(whole)
        self.outputs.append(site.fn.log_prob(value) if log_density is None else log_density)
        if whole is None:
            self.outputs.append(value)
        self.kept.append((asked, whole))
        return replace(site, value=value, is_observed=asked.site.is_observed, stop=True)

    def _summed_out(self, site: Site) -> tuple[Site, Any]:
        """An observation that lacks some steps: NaN for who reads it there, and its density where it is observed."""
        gaps, options = site.options.get("lacks"), {}
        if gaps is None:
            step = self._one_step_of_nan(site.value)
            gaps = gaps_of(site.name, site.fn, site.value, None, None if step is None else np.isnan(step))
        if gaps is None:
            return site, None
        options = {k: v for k, v in site.options.items() if k not in ("incomplete", "lacks")}
        seen = site.fn.mask(np.logical_not(gaps.whole_events))
        return replace(site, value=np.where(gaps.missing, np.nan, gaps.obs), options=options), seen.log_prob(
            gaps.values
        )

    def _one_step_of_nan(self, value: Any) -> Any:
        """A step of a known series that lacks something, or None."""
        if any(map(is_recorded, self.leaves)) or not any(map(lacks_any, self.leaves)):
            return None  # (recorded: rows of a minibatch)
        given = {id(x): np.asarray(leaf) for x, leaf in zip(self.body.xs, self.leaves, strict=False)}
        for t in range(self.length):
            step = value_at(value, {i: x[t] for i, x in given.items()}) if is_recorded(value) else value
            if step is None or lacks_any(step):
                return step
        return None

    def tell(self, stacked: Sequence[Any]) -> None:
        """After the step: every site goes out with its time axis."""
        rest = list(stacked)
        for asked, whole in self.kept:
            output = rest.pop(0)
            if asked.law is None:
                for handler in asked.watching:
                    handler.seen(replace(asked.site, value=output))
                continue
            asked.tell(rest.pop(0) if whole is None else whole, output)


def _loop(f: Callable, carry: Any, leaves: Sequence, build: Callable, length: int) -> tuple[Any, Any]:
    inside, ys = _Running(length), []
    for t in range(length):
        inside.time = t
        with inside:
            carry, y = pair(f(carry, build([x[t] for x in leaves])))
        ys.append(flatten(y))
    inside.tell()
    columns = zip(*(parts for parts, _ in ys), strict=True)
    return carry, ys[0][1]([np.stack([np.asarray(x) for x in column]) for column in columns])


class _Running(Handler):
    """Inside a step of a plain loop: values by time, collected for one site each."""

    def __init__(self, length: int):
        super().__init__()
        self.length, self.time = length, 0
        self.asked: dict[str, tuple[_Asked, bool]] = {}  # asked once; with whether a handler gave all values
        self.found: dict[str, list[Site]] = {}

    def process(self, site: Site) -> Site:
        if site.type not in ("sample", "deterministic"):
            return site
        if site.name not in self.asked:
            asked = _ask(self, site, self.length)
            self.asked[site.name] = asked, asked.site.value is not site.value and asked.site.value is not None
        if site.type == "sample":
            asked, given = self.asked[site.name]
            value = asked.site.value[self.time] if given else site.value
            if asked.site.value is None:  # drawn, also where the model observes it
                if asked.site.rng is None:
                    hint = "ppl.handlers.seed(model, 0)(...) to run it by hand"
                    what = f"sample('{site.name}', ...) with no source of randomness"
                    raise ModelError(what, "a seed", hint, site=site.name)
                value = site.fn.sample(asked.site.rng)
            complete = site.options.get("incomplete", lambda site: site)
            site = complete(replace(site, value=value))
        self.found.setdefault(site.name, []).append(site)
        return replace(site, stop=True)

    def tell(self) -> None:
        for name, sites in self.found.items():
            asked, _ = self.asked[name]
            value = np.stack([np.asarray(s.value) for s in sites])
            if asked.law is None:
                for handler in asked.watching:
                    handler.seen(replace(asked.site, value=value))
                continue
            if any("gaps" in s.options for s in sites):
                asked = asked._replace(site=replace(asked.site, options={"gaps": _of_all_steps(sites)}))
            asked.tell(value, np.stack([np.asarray(s.fn.log_prob(s.value)) for s in sites]))


def _of_all_steps(sites: Sequence[Site]) -> Gaps:
    """What the observations of all steps lack."""
    gaps = [
        s.options.get("gaps") or Gaps(s.value, s.value, np.zeros(np.shape(s.value), bool), None, 0, False)
        for s in sites
    ]
    obs, values, missing = (np.stack([getattr(g, n) for g in gaps]) for n in ("obs", "values", "missing"))
    return Gaps(obs, values, missing, None, max(g.entry_dim for g in gaps), all(g.all_missing for g in gaps))
