"""Draws of the data: from the prior, and from the posterior.

The model is recorded once, with noise as its inputs, and all draws are one batched run of that
program. Where it cannot be recorded (it branches on a draw, say), it is run by hand, once for
each draw; that is also how every mistake in it is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..algorithms.noise import open_uniform
from ..array import Program, Tape, compile_program, is_recorded, paused_collector, program_of
from ..errors import ModelError, ShapeError, user_line
from ..graph import Recorder, record_model
from ..guides.factor import draw_base
from ..model import Handler, RowNumbers, Site, handlers, parameter_rows
from ..model.calls import check_call, check_names, count_of, refuse_own_names, seed_of
from .draws import run_in_chunks


class Draws(dict):
    """`{site: array (num_samples, ...)}`; `notes` says in words what was done beside the plain thing.

    `resampled`: the posterior draws behind these were drawn by their importance weights.
    """

    def __init__(self, *args: Any, notes: Sequence[str] = (), resampled: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.notes, self.resampled = tuple(notes), resampled


class _Full(Handler):
    """Plates are full, or of the sizes asked for."""

    def __init__(self, sizes: Mapping[str, int] | None = None):
        super().__init__()
        self.sizes = sizes or {}

    def process(self, site: Site) -> Site:
        if site.type == "plate" and site.value is None:
            frame = site.options["frame"]
            size = self.sizes.get(site.name, frame.size)
            frame = replace(frame, size=size, subsample_size=size)
            return replace(site, value=np.arange(size).view(RowNumbers), options={**site.options, "frame": frame})
        return site


class _Unobserved(_Full):
    """Observed sites are drawn anew, too."""

    def process(self, site: Site) -> Site:
        if site.type == "sample" and site.is_observed and not site.options.get("factor"):
            return replace(site, value=None, is_observed=False)
        return super().process(site)


def prior_predictive(
    model: Callable,
    *args: Any,
    num_samples: int = 1000,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    **kwargs: Any,
) -> Draws:
    """Draws of every site from the prior; observed sites are drawn too.

    `sizes` sets plates to other sizes. Parameters take their starting values.

    Raises
    ------
    ModelError
        if the arguments do not fit the model, or `sizes` names no plate of it.
    ShapeError
        if the model's own arrays fix the length of a plate that `sizes` changes.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y=None):
    ...     mu = ppl.sample("mu", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> draws = ppl.prior_predictive(model, 0.3, num_samples=200)
    >>> draws["y"].shape
    (200,)
    """
    refuse_own_names(model, ("num_samples", "seed", "sizes"), "ppl.prior_predictive")
    check_call(model, args, kwargs)
    count, seed = count_of("num_samples", num_samples), seed_of(seed)
    sizes = {n: count_of(f"sizes[{n!r}]", size, f"sizes={{{n!r}: 10}}") for n, size in (sizes or {}).items()}
    at_once = _recorded(model, args, kwargs, lambda _: [_Unobserved(sizes)], {}, count, seed)
    if at_once is not None:
        found, plates = at_once
        check_names("sizes", sizes, plates)
        return Draws(found)
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        try:
            with handlers.trace() as trace, handlers.seed(rng_seed=rng), _Unobserved(sizes):
                model(*args, **kwargs)
        except ShapeError as error:
            if not sizes:
                raise
            hint = "sizes= for plates whose length no argument fixes, or arguments of the new length"
            raise ShapeError(f"{error.got}, with sizes={sizes}", error.expected, hint, site=error.site) from None
        check_names("sizes", sizes, [s.name for s in trace.values() if s.type == "plate"])
        rows.append({s.name: s.value for s in trace.values() if _kept(s)})
    return Draws(_stacked(rows))


def posterior_predictive(
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    draws: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    plate_sizes: Mapping[str, int],
    new: Sequence[str],
    count: int,
    seed: int,
    hidden: Collection[str],
) -> Draws:
    """Run the model at each posterior draw, with its observed sites drawn anew."""
    fresh: set[str] = set()
    started: set[str] = set()  # parameters with a row per element of a plate that has changed its size

    def value_of(site: Site, of_draw: Callable[[str], Any]) -> Any:
        if site.type == "param" and site.name in params:
            if all(plate_sizes.get(p.name) == p.size for p in site.plates):
                return parameter_rows(params[site.name], site, {})
            started.add(site.name)
            return None
        if site.type != "sample" or site.name not in draws:
            return None
        changed = [p.name for p in site.plates if p.name in new or plate_sizes.get(p.name) != p.size]
        fresh.update(changed)
        return None if changed else of_draw(site.name)

    def inside(of_draw: Callable[[str], Any]) -> list[Handler]:
        given = handlers.substitute(substitute_fn=lambda site: value_of(site, of_draw))
        return [given, _Unobserved()]  # the last is the innermost: substitute sees observed sites as latent ones

    at_once = _recorded(model, args, kwargs, inside, draws, count, seed)
    known = {*draws, *hidden}
    if at_once is not None:
        found = {n: x for n, x in at_once[0].items() if n not in known}
    else:
        rng = np.random.default_rng(seed)
        rows = []
        for k in range(count):
            with handlers.trace() as trace, handlers.seed(rng_seed=rng), _all(inside(lambda n, k=k: draws[n][k])):
                _run(model, args, kwargs, plate_sizes)
            rows.append({s.name: s.value for s in trace.values() if s.name not in known and _kept(s)})
        found = _stacked(rows)
    notes = [f"plate '{p}' is new: its latent sites are drawn from the prior given the others" for p in sorted(fresh)]
    notes += [
        f"parameter '{n}' has no fitted rows for a plate of this size: its starting value is used"
        for n in sorted(started)
    ]
    return Draws(found, notes=notes)


def observations(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What was observed at each site, with full plates, and which entries of it are there."""
    with handlers.trace() as trace, handlers.seed(rng_seed=0), _Full():
        model(*args, **kwargs)
    found = {}
    for name, site in trace.items():
        if is_data(site):
            gaps, value = site.options.get("gaps"), np.asarray(site.value)
            found[name] = (value, np.ones(value.shape, bool) if gaps is None else ~np.asarray(gaps.missing))
    return found


def _run(model: Callable, args: tuple, kwargs: Mapping[str, Any], fitted: Mapping[str, int]) -> None:
    """Run a model at new arguments; where these do not fit the fitted plates, NumPy's words are not the user's."""
    try:
        model(*args, **kwargs)
    except (IndexError, ValueError) as problem:
        if isinstance(problem, ValueError) and "broadcast" not in str(problem):
            raise
        sizes = ", ".join(f"{size} in '{name}'" for name, size in fitted.items()) or "none"
        raise ShapeError(
            f"arguments that do not fit the fitted latent sites: {problem}",
            f"indices and lengths within the plates of the fit: {sizes}",
            "a plate whose size follows an argument: its latent sites are then drawn from the prior given the others",
            where=user_line(problem),
        ) from problem


def at_draws(
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    draws: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    count: int,
    needed: Collection[str],
) -> tuple[dict[str, Site], dict[str, np.ndarray]]:
    """All sites with full plates at the first posterior draw, and log densities of the observed ones at every draw.

    The densities are pointwise: arrays (count, *batch shape). Where a latent site that is needed has no
    draws there are none.
    """

    def inside(of_draw: Callable[[str], Any]) -> list[Handler]:
        def value_of(site: Site) -> Any:
            if site.type == "param" and site.name in params:
                return parameter_rows(params[site.name], site, {})
            return of_draw(site.name) if site.type == "sample" and site.name in draws else None

        return [handlers.substitute(substitute_fn=value_of), _Full()]

    def at(k: int) -> dict[str, Site]:
        with handlers.trace() as trace, handlers.seed(rng_seed=0), _all(inside(lambda n: draws[n][k])):
            model(*args, **kwargs)
        return dict(trace)

    def log_density(site: Site) -> Any:
        return site.fn.log_prob(site.value) if is_data(site) else None

    sites = at(0)
    if any(s.type == "sample" and not s.is_observed and n in needed and n not in draws for n, s in sites.items()):
        return sites, {}
    at_once = _recorded(model, args, kwargs, inside, draws, count, 0, log_density)
    if at_once is not None:
        return sites, at_once[0]
    rows = [{n: x for n, s in at(k).items() if (x := log_density(s)) is not None} for k in range(count)]
    return sites, _stacked(rows)


class _Starting(Handler):
    """Parameters that nobody gives take their starting values."""

    def process(self, site: Site) -> Site:
        if site.type == "param" and site.value is None:
            return replace(site, value=site.options["default"]())
        return site


class _Drawing(Recorder):
    """Records a model that draws its own sites; posterior draws of some of them are inputs.

    `conditions` are recorded truths, one for each condition on a distribution's parameters: what a
    run by hand would refuse.
    """

    def __init__(self, draws: Mapping[str, np.ndarray]):
        super().__init__(Tape(), _Drawing._drawn)
        self.draws = draws
        self.of_posterior: dict[str, Any] = {}
        self.sources: list[Callable[[np.random.Generator, int, int], np.ndarray]] = []  # rows of the inputs, in order
        self.conditions: list[Any] = []

    def of_draw(self, name: str) -> Any:
        """The posterior draws of a site, as one input."""
        if name not in self.of_posterior:
            self.of_posterior[name] = self.tape.input(self.draws[name][0], name)
            self.sources.append(lambda _, start, stop: self.draws[name][start:stop])
        return self.of_posterior[name]

    def _drawn(self, site: Site) -> Any:
        if site.rng is not None:
            raise ModelError(
                "a site with a generator of its own", "one that is drawn anew", "ppl.sample without it", site=site.name
            )
        noise, kind, value = draw_base(self, site.name, site.fn)
        self.sources.append(partial(_noise, kind, noise.shape))
        return value

    def seen(self, site: Site) -> None:
        super().seen(site)
        d = site.fn if site.type == "sample" else None
        while d is not None:
            for name, constraint in d.arg_constraints.items():
                value = d.parameters.get(name)
                if value is not None and (is_recorded(value) or constraint.depends_on_recorded):
                    self.conditions.append(np.all(constraint(value)))
            d = getattr(d, "base_dist", None)


def _noise(kind: str, shape: tuple[int, ...], rng: np.random.Generator, start: int, stop: int) -> np.ndarray:
    rows = (stop - start, *shape)
    if kind == "normal":
        return rng.standard_normal(rows)
    return open_uniform(rng, rows) if kind == "uniform" else rng.integers(0, 2**62, rows)


@paused_collector()
def _recorded(
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    inside: Callable[[Callable[[str], Any]], list[Handler]],
    draws: Mapping[str, np.ndarray],
    count: int,
    seed: int,
    of: Callable[[Site], Any] | None = None,
) -> tuple[dict[str, np.ndarray], list[str]] | None:
    """Draws of every site by one program, and the plates; None where the model must be run by hand.

    `of` makes something else of a site, or None to leave it out.
    """

    def recorded() -> tuple[_Drawing, dict[str, Any], list, Program]:
        recorder = _Drawing(draws)

        def drawing(*a: Any, **k: Any) -> None:
            with _all([_Starting(), *inside(recorder.of_draw)]):
                model(*a, **k)

        record_model(drawing, args, kwargs, recorder)
        made = [(s.name, of(s) if of else s.value if _kept(s) else None) for s in recorder.sites.values()]
        values = {n: x for n, x in made if x is not None}
        conditions = [x for x in recorder.conditions if is_recorded(x)]
        return recorder, values, conditions, program_of(recorder.tape, [*conditions, *values.values()])

    try:
        recorder, values, conditions, program = recorded()
        again = recorded()[-1]
    except Exception:  # whatever it is, the run by hand meets it too, or does not mind
        return None
    rng = np.random.default_rng(seed)
    first = [source(rng, 0, 1)[0] for source in recorder.sources]
    # A model with randomness of its own (np.random, a generator) is another one each time it is run.
    if not _same(compile_program(program)(*first), compile_program(again)(*first)):
        return None
    rng = np.random.default_rng(seed)
    found = run_in_chunks(
        program,
        [True] * len(program.inputs),
        count,
        lambda start, stop: [source(rng, start, stop) for source in recorder.sources],
    )
    if not all(map(np.all, found[: len(conditions)])):
        return None
    return dict(zip(values, found[len(conditions) :], strict=True)), list(recorder.plates)


def _same(some: Sequence, others: Sequence) -> bool:
    if len(some) != len(others):
        return False
    pairs = zip(some, others, strict=True)
    return all(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f") for a, b in pairs)


@contextmanager
def _all(them: Sequence[Handler]) -> Iterator[None]:
    """Several handlers, from the outermost to the innermost."""
    with ExitStack() as stack:
        for handler in them:
            stack.enter_context(handler)
        yield


def is_data(site: Site) -> bool:
    """Was it observed?"""
    return site.type == "sample" and site.is_observed and not site.options.get("factor")


def _kept(site: Site) -> bool:
    return site.type in ("sample", "deterministic") and not site.options.get("factor")


def _stacked(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    names = [n for n in rows[0] if all(n in r for r in rows)]
    try:
        return {n: np.stack([np.asarray(r[n]) for r in rows]) for n in names}
    except ValueError:
        raise ModelError(
            "a site whose shape differs from draw to draw", "the same shape in every run of the model", "a padded array"
        ) from None
