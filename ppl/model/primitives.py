"""What a user writes inside a model: sample, param, plate, deterministic, factor.

Each makes one frozen `Site`, shows it to the handlers in force, and returns its value.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..array import is_recorded
from ..distributions import Distribution, Unit, constraints
from ..errors import DataError, ModelError, ShapeError, SupportError, in_words, user_line
from .context import Context, current, outside_plates, reset_context, send, set_context
from .missing import Gaps, MissingEntries, Parts, gaps_of, lacks_any, plain
from .site import PlateFrame, RowAxes, RowNumbers, Site, plate_shape, row_axes, rows_in_use


def sample(
    name: str,
    d: Distribution,
    obs: Any = None,
    *,
    sample_shape: Sequence[int] = (),
    infer: dict | None = None,
    obs_mask: Any = None,
    guide: Distribution | None = None,
    estimator: str | None = None,
) -> Any:
    """A random site; with `obs=`, an observed one.

    Inside plates the distribution is repeated along the plates' axes, so that
    `dist.Normal(mu, tau)` in a plate of eight is eight independent draws.

    Parameters
    ----------
    name
        unique within the model.
    d
        its distribution given what came before.
    obs
        the observed value, of shape plates + event shape; None makes it latent. Entries that are NaN
        (or masked in a `np.ma` array, or None) are missing, see below.
    sample_shape
        extra leading batch axes.
    infer
        accepted for NumPyro's sake and ignored, with a warning.
    obs_mask
        booleans of the batch's shape (or the observation's), True where observed. The rest is missing.
    guide
        this site's variational distribution, in place; it may use data, parameters and
        earlier latent values. Used by `infer` only.
    estimator
        overrides how gradients through this site are estimated: a class ("exact", "enumerate", "pathwise", "score")
        or one of its members, as "stl", "leave-one-out", "disarm", "relax", "nvil"; it is refused where it would be
        wrong. "concrete" and "straight-through" are biased, and the fit says so.

    Raises
    ------
    ShapeError
        a batch axis that no plate claims, an observation of another length than its plate.
    SupportError
        an observed value that the distribution cannot produce.

    Missing entries are a latent site `<name>_unobserved`, in the order of the observation, and the
    value returned is the completed array. Where no density reads it they are summed out exactly, and
    drawn from the model given the rest. `fit["<name>"]` has the completed array, too.

    >>> import ppl, ppl.distributions as dist
    >>> def model():
    ...     return ppl.sample("z", dist.Normal(0, 1))
    >>> round(float(ppl.handlers.seed(model, 0)()), 4)
    0.1257
    """
    _check_name(name, "sample")
    if not isinstance(d, Distribution):
        hint = "dist.Normal(0, 1) from ppl.distributions"
        raise ModelError(f"sample('{name}', {_brief(d)})", "a distribution of ppl", hint, site=name)
    if infer:
        note = f"site '{name}': infer={infer!r} is ignored; ppl chooses by itself (estimator= overrides)"
        warnings.warn(note, UserWarning, stacklevel=3)
    context = current()
    if sample_shape:
        d = d.expand_by(tuple(sample_shape))
    d = _into_plates(name, d, context.plates)
    if guide is not None:
        guide = _into_plates(name, guide, context.plates)
    value = _observation(name, obs)
    rows = _all_rows(value, context.plates) if is_recorded(value) else None
    if not context.plates and obs is not None and (obs_mask is not None or lacks_any(value)):
        d = _over(d, np.shape(value))
    gaps = gaps_of(name, d, value, obs_mask, rows and rows.lacks()) if obs is not None else None
    if gaps is not None:
        value = gaps.obs
    if gaps is not None and guide is not None:
        hint = f"a guide function that draws '{name}_unobserved'"
        raise ModelError(
            "guide= in place of an observation with missing entries", "an automatic guide", hint, site=name
        )
    site = Site(
        name,
        "sample",
        d,
        value,
        obs is not None,
        context.plates,
        guide=guide,
        estimator=estimator,
        where=user_line(),
        options={} if gaps is None else {"incomplete": lambda site: _completed(site, value, gaps), "lacks": gaps},
    )
    site = send(site)
    _check_value(site, rows if site.value is value or gaps is not None else None)
    return site.value


sample = in_words(sample, "ppl.sample", 'ppl.sample("y", dist.Normal(0, 1), obs=y)')


def _over(d: Distribution, shape: tuple[int, ...]) -> Distribution:
    """Outside plates: the distribution over all that is observed."""
    batch = shape[: len(shape) - d.event_dim]
    try:
        return d.expand(np.broadcast_shapes(batch, d.batch_shape))
    except ValueError:
        return d


def _completed(site: Site, value: Any, gaps: Gaps) -> Site:
    """A site on its way back: if nobody gave it another value, its missing entries are asked for."""
    if site.value is not value:
        return replace(site, options={k: v for k, v in site.options.items() if k not in ("incomplete", "lacks")})

    def latent(name: str, d: MissingEntries) -> Any:
        options = {"part_of": site.name, "gaps": gaps}
        part = Site(name, "sample", d, estimator=site.estimator, where=site.where, options=options)
        if d.places is None:
            return send(replace(part, plates=site.plates)).value
        with outside_plates():
            if not site.plates:
                return send(part).value
            with plate(f"{site.name}_missing", len(d.places)):
                return send(replace(part, plates=current().plates)).value

    return gaps.completed(site, latent)


def param(
    name: str,
    init: Any = None,
    constraint: constraints.Constraint = constraints.real,
    event_dim: int | None = None,
) -> Any:
    """A learned point parameter, in its constrained values.

    Parameters
    ----------
    name
        unique within the model and its guide.
    init
        a number, one event, a full-size array, or a callable `(rng, indices) -> rows`.
    constraint
        the set its values live in; the optimizer works on the unconstrained axis.
    event_dim
        how many axes on the right belong to one event; by default, outside plates, all.

    Inside a subsampled plate it has one value per datum; the rows in use are returned.

    >>> import ppl
    >>> float(ppl.handlers.seed(lambda: ppl.param("a", 2.0), 0)())
    2.0
    """
    _check_name(name, "param")
    if init is None and not current().handlers:
        raise ModelError(f"param('{name}') without init", "a starting value", "ppl.param(name, 0.0)", site=name)
    plates = current().plates
    options = {"init": init, "constraint": constraint, "event_dim": event_dim, "default": None}
    site = Site(name, "param", None, None, False, plates, options=options, where=user_line())
    rows = dict(current().rows)
    options["default"] = lambda: parameter_rows(full_parameter(site, np.random.default_rng(0)), site, rows)
    return send(site).value


param = in_words(param, "ppl.param", 'ppl.param("a", 0.0)')


def full_parameter(site: Site, rng: np.random.Generator) -> np.ndarray:
    """The starting value of a parameter at full size: plates' sizes, then the event axes."""
    init, plates = site.options["init"], site.plates
    constraint = site.options["constraint"]
    if callable(init):
        rows = init(rng, np.arange(plates[-1].size) if plates else np.arange(0))
        init = rows
    value = np.array(init, dtype=np.result_type(init, np.float64) if np.asarray(init).dtype.kind in "biu" else None)
    event_dim = site.options["event_dim"]
    if event_dim is None:
        event_dim = constraint.event_dim if plates else value.ndim
    sizes = [1] * max((-p.dim for p in plates), default=0)
    for p in plates:
        sizes[p.dim] = p.size
    event = value.shape[value.ndim - event_dim :] if event_dim else ()
    if not plates:
        return value
    lead = value.shape[: value.ndim - event_dim]
    try:
        return np.array(np.broadcast_to(value, (*np.broadcast_shapes(lead, tuple(sizes)), *event)))
    except ValueError:
        raise ShapeError(
            f"init of shape {value.shape}",
            f"shape {tuple(sizes)} of its plates followed by its event axes",
            "event_dim=, or an init of the plate's full size",
            site=site.name,
        ) from None


def parameter_axes(site: Site, ndim: int) -> RowAxes:
    """The axes of a full-size parameter of `ndim` axes whose rows its plates choose."""
    event_dim = site.options["event_dim"]
    if event_dim is None:
        event_dim = site.options["constraint"].event_dim
    return row_axes(site.plates, ndim - event_dim)


def parameter_rows(value: Any, site: Site, indices: Mapping[str, Any]) -> Any:
    """The rows of a full-size parameter that the plates have in use."""
    default = {p.name: np.arange(p.subsample_size) for p in site.plates}
    return rows_in_use(value, parameter_axes(site, np.ndim(value)), {**default, **indices})


def deterministic(name: str, value: Any) -> Any:
    """A named function of sites, kept in every result.

    >>> import ppl
    >>> ppl.handlers.seed(lambda: ppl.deterministic("two", 2.0), 0)()
    2.0
    """
    _check_name(name, "deterministic")
    site = Site(name, "deterministic", None, value, False, current().plates, where=user_line())
    return send(site).value if current().handlers else value


deterministic = in_words(deterministic, "ppl.deterministic", 'ppl.deterministic("name", value)')


def factor(name: str, log_weight: Any) -> None:
    """A free term of the log joint density: log p is multiplied by exp(log_weight).

    >>> import ppl
    >>> ppl.handlers.seed(lambda: ppl.factor("prior", -1.0), 0)()
    """
    _check_name(name, "factor")
    fn = _into_plates(name, Unit(log_weight), current().plates)
    send(Site(name, "sample", fn, np.zeros(0), True, current().plates, where=user_line(), options={"factor": True}))


factor = in_words(factor, "ppl.factor", 'ppl.factor("name", log_weight)')


class plate:
    """Conditional independence: the sites inside have one row for each of `size` elements.

    With `subsample_size` each run uses that many rows, and log densities inside are scaled
    by size / subsample_size. `as i` gives the indices in use: index data by them. Where there are
    fewer rows than that, all are used.

    The first plate takes the last batch axis (-1), one nested in it the axis before (-2);
    `dim=` fixes one.

    >>> import numpy as np, ppl, ppl.distributions as dist
    >>> def model(y):
    ...     with ppl.plate("rows", len(y)):
    ...         return ppl.sample("z", dist.Normal(0, 1))
    >>> ppl.handlers.seed(model, 0)(np.zeros(3)).shape
    (3,)
    """

    def __init__(self, name: str, size: int, subsample_size: int | None = None, dim: int | None = None):
        _check_name(name, "plate")
        size = _whole(name, size, "size")
        self.asked = size if subsample_size is None else _whole(name, subsample_size, "subsample_size")
        if dim is not None and dim >= 0:
            raise ShapeError(f"dim={dim}", "a negative axis, counted from the right", "dim=-1", plate=name)
        self.name, self.size, self.subsample_size, self.dim = name, size, min(self.asked, size), dim
        self._tokens: list = []

    __init__ = in_words(__init__, "ppl.plate", 'ppl.plate("rows", len(y))')

    def __enter__(self) -> Any:
        context = current()
        frame, indices = self._open(context)
        self._tokens.append(
            set_context(replace(context, plates=(*context.plates, frame), rows=(*context.rows, (frame.name, indices))))
        )
        return indices

    def __exit__(self, *_) -> None:
        reset_context(self._tokens.pop())

    def _open(self, context: Context):
        taken = {p.dim: p for p in context.plates}
        dim = self.dim
        if dim is None:
            dim = -1
            while dim in taken:
                dim -= 1
        elif dim in taken:
            raise ShapeError(
                f"axis {dim} for this plate",
                f"an axis that plate '{taken[dim].name}' does not use",
                "another dim=",
                plate=self.name,
            )
        if any(p.name == self.name for p in context.plates):
            hint = f"ppl.plate('{self.name}_2', ...) for the inner one"
            raise ShapeError("the plate inside itself", "plates with names of their own", hint, plate=self.name)
        frame = PlateFrame(self.name, self.size, self.subsample_size, dim)
        site = Site(self.name, "plate", None, None, False, context.plates, options={"frame": frame}, where=user_line())
        default = np.arange(self.subsample_size).view(RowNumbers)
        site = replace(site, options={"frame": frame, "default": default, "asked": self.asked})
        if context.handlers:
            site = send(site)
            return site.options["frame"], site.value
        return frame, default


def _whole(name: str, n: Any, what: str) -> int:
    if is_recorded(n):
        raise ModelError(f"a random {what}", "a size that depends on the arguments alone", "len(y)", plate=name)
    try:
        whole = int(n)
    except (TypeError, ValueError):
        raise ModelError(f"{what}={n!r}", "a whole number", "len(x)", plate=name) from None
    if whole != n or whole < 0:
        raise ModelError(f"{what}={n!r}", "a whole number", "len(x)", plate=name)
    if whole == 0:
        raise DataError(
            f"{what} 0: there are no data in this plate", "at least one row", "check what was passed in", plate=name
        )
    return whole


def _check_name(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name:
        raise ModelError(f"{what}({name!r}, ...)", "a name as first argument", f'ppl.{what}("name", ...)')


def _brief(x: Any) -> str:
    text = repr(x)
    return text if len(text) < 40 else f"{type(x).__name__}"


def _observation(name: str, obs: Any) -> Any:
    if obs is None or is_recorded(obs):
        return obs
    value = plain(obs)
    if value.dtype == object and all(isinstance(v, int) for v in value.ravel()):
        value = value.astype(float)  # integers beyond 64 bits
    if value.dtype == object or value.dtype.kind not in "biuf":
        raise DataError(f"obs of type {value.dtype}", "numbers", "convert the column before", site=name)
    return value if np.ndim(value) else value[()]


def _into_plates(name: str, d: Distribution, plates: tuple[PlateFrame, ...]) -> Distribution:
    """The distribution repeated along the plates' axes; every batch axis must be a plate's."""
    if not plates:
        return d
    wanted = plate_shape(plates)
    batch = d.batch_shape
    claimed = {p.dim: p for p in plates}
    for axis in range(-len(batch), 0):
        n, frame = batch[axis], claimed.get(axis)
        if n == 1:
            continue
        if frame is None:
            raise ShapeError(
                f"batch shape {batch} inside plate{'s' if len(plates) > 1 else ''} of shape {wanted}",
                f"every batch axis to belong to a plate; axis {axis} of length {n} does not",
                f"{type(d).__name__}(...).to_event({len(batch) - len(wanted) if len(batch) > len(wanted) else 1}) "
                "if these numbers are one event, or a plate around them",
                site=name,
                plate=plates[-1].name,
            )
        if n != frame.subsample_size:
            raise ShapeError(
                f"batch shape {batch}",
                f"{frame.subsample_size} rows in plate '{frame.name}'"
                + (f" (it is subsampled from {frame.size})" if frame.subsampled else ""),
                "index the data by the plate: x[i]"
                if frame.subsampled
                else f"{type(d).__name__}(...).to_event(1) if these {n} numbers are one event, "
                "or the plate's size, len(x), to match the data",
                site=name,
                plate=frame.name,
            )
    shape = np.broadcast_shapes(batch, wanted)
    return d if shape == batch else d.expand(shape)


def _check_value(site: Site, rows: Any = None) -> None:
    """An observation must fit its distribution; a plate that it ignores is worth an error."""
    if not site.is_observed or site.options.get("factor"):
        return
    value, wanted = site.value, site.fn.shape()
    shape = np.shape(value)
    if shape != wanted:
        _check_shape(site, shape, wanted)
    gaps = site.options.get("gaps")
    if gaps is not None and not is_recorded(gaps.values):
        site.fn.check_value(gaps.values, site=site.name)
    elif not is_recorded(value):
        site.fn.check_value(value, site=site.name)
    elif site.fn.event_dim == 0 and rows is not None:
        _check_all_rows(site, rows, gaps is not None)


def _check_shape(site: Site, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    for p in site.plates:
        axis = p.dim - site.fn.event_dim
        if p.subsampled and -axis <= len(shape) and shape[axis] == p.size:
            raise ShapeError(
                f"obs of shape {shape}: all {p.size} rows",
                f"the {p.subsample_size} rows in use: plate '{p.name}' is subsampled",
                "`with ppl.plate(...) as i:` and obs=y[i]",
                site=site.name,
                plate=p.name,
            )
    try:
        whole = np.broadcast_shapes(shape, wanted)
        fits = whole == wanted or (not site.plates and whole == shape)  # (n, 1) beside (n,) would be all pairs
    except ValueError:
        fits = False
    if not fits or (site.plates and shape):
        claims = f"plates {plate_shape(site.plates)} and event {site.fn.event_shape}"
        raise ShapeError(
            f"obs of shape {shape}",
            f"shape {wanted}: {claims if site.plates else 'batch and event of its distribution'}",
            "a plate of the data's length, or to_event() for the axes of one observation",
            site=site.name,
            plate=site.plates[-1].name if site.plates else None,
        )


def _all_rows(value: Any, plates: tuple[PlateFrame, ...]) -> Parts | None:
    """All rows of a minibatch that comes from known arrays; None where it does not."""
    sizes = {p.name: p.size for p in plates}
    every = {id(rows): sizes[name] for name, rows in current().rows if name in sizes}
    with np.errstate(all="ignore"):
        try:
            return Parts.of(value, every)
        except (ValueError, IndexError):  # written for the rows in use: a reshape to their number, say
            return None


def _check_all_rows(site: Site, parts: Parts, lacking: bool) -> None:
    """Every row of the data, not only those in use, must be in the support, or missing where some are."""
    support = site.fn.support
    if support.depends_on_recorded:
        return
    for first, rows in parts:
        with np.errstate(all="ignore"):
            inside = np.asarray(support(rows))
            if lacking:
                inside = inside | np.isnan(rows)
        if inside.shape == rows.shape and not inside.all():
            place = np.argwhere(~inside)[0]
            where = tuple(int(i) for i in place + first)
            raise SupportError(
                f"the value {rows[tuple(place)]} at index {where} for {type(site.fn.core).__name__}",
                str(support),
                "a family whose support holds the data, or dropping the entry",
                site=site.name,
            )
