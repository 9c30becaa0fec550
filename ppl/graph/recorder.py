"""Run a model once onto a tape: what it draws, learns and indexes by becomes recorded.

    model function, arguments --record_model--> RecordedModel(tape, sites, plates, parameters)

Whoever records decides what a latent site's value is: an input of its own (to look at the
model), or a guide's draw (to derive a bound).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..array import Argument, Recorded, Tape, is_recorded
from ..array.recording import concrete, tape_of
from ..array.rows import Rows, is_row_source
from ..distributions import Delta, Unit, constraints
from ..distributions.combinators import point_log_density
from ..errors import ModelError, PPLError, ShapeError
from ..model import (
    Handler,
    PlateFrame,
    RowAxes,
    RowNumbers,
    RowTable,
    Site,
    full_parameter,
    parameter_axes,
    rows_in_use,
)
from ..model.calls import check_call
from ..model.handlers import check_repeat
from ..model.missing import plain
from .frames import as_column, is_pandas

LARGEST_COPY = 1 << 26  # bytes of an argument that a fit keeps a copy of


@dataclass(frozen=True)
class Parameter:
    """A learned point parameter: its starting value at full size, and its recorded input.

    Where subsampled plates choose rows of it, `rows` says along which axes, and the input is the
    rows in use: what is not in use costs a step nothing. One that is not `learned` is a `ppl.state`.
    """

    name: str
    init: np.ndarray
    constraint: constraints.Constraint
    node: Recorded | None  # while it is being recorded
    rows: RowAxes = ()
    learned: bool = True


class Recorder(Handler):
    """Gives sites recorded values while the model runs, and keeps what it saw.

    `latent(recorder, site)` returns the recorded value of a latent site.
    `plate_sizes` overrides how many rows of a plate are in use; `starts` are parameter values;
    `indices` and `noise` are examples of these inputs. `training` is what `ppl.training()` answers,
    `asked_training` whether it was asked: then the model may be another one elsewhere.
    """

    def __init__(
        self,
        tape: Tape,
        latent: Callable[[Recorder, Site], Any],
        *,
        plate_sizes: Mapping[str, int] | None = None,
        starts: Mapping[str, Any] | None = None,
        indices: Mapping[str, np.ndarray] | None = None,
        noise: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
        training: bool = False,
    ):
        super().__init__()
        self.training, self.asked_training = training, False
        self.run: dict[str, Any] = {"seed": seed}
        self.of_guide: tuple[str, ...] = ()  # the networks of a guide function that was run before
        self.tape, self.latent = tape, latent
        self.plate_sizes, self.starts, self.given = plate_sizes or {}, starts or {}, indices or {}
        self.noise, self.rng = noise or {}, np.random.default_rng(seed)
        self.ways: Mapping[str, Any] = {}  # sites that are drawn in a way of their own
        self.sites: dict[str, Site] = {}
        self.branches_before: dict[str, int] = {}  # how many branches were taken before a site
        self.plates: dict[str, PlateFrame] = {}
        self.indices: dict[str, Any] = {}
        self.parameters: dict[str, Parameter] = {}
        self.updates: dict[str, Any] = {}  # of states
        self.saw_float32 = False  # in a parameter's starting value
        self.is_guide = False

    def beginning(self) -> dict[str, Any]:
        return self.run

    @property
    def networks(self) -> tuple[str, ...]:
        """Modules whose weights are learned."""
        return (*self.of_guide, *(n for n, m in self.run.get("modules", {}).items() if m.prior is None))

    def process(self, site: Site) -> Site:
        if site.type == "plate":
            return self._open_plate(site)
        if site.type == "param":
            return replace(site, value=self._parameter_rows(site)) if site.value is None else site
        if site.type == "sample":
            site = _kept(site)
            if site.value is None and not self.is_guide and isinstance(site.fn.core, Delta | Unit):
                return self._determined(site)
            self.saw_float32 |= np.result_type(site.options.get("start", 0)) == np.float32
            return replace(site, value=self.latent(self, site)) if site.value is None else site
        return site

    def _determined(self, site: Site) -> Site:
        """A latent site of the model without any choice: a named value, and what its log density counts."""
        counted = replace(site, is_observed=True, options={**site.options, "factor": True})
        if isinstance(site.fn.core, Unit):
            return replace(counted, value=np.zeros(site.fn.shape()))
        weight = point_log_density(site.fn)
        if is_recorded(weight) or np.any(weight):
            name = f"{site.name}_log_density"
            self.seen(replace(counted, name=name, fn=Unit(weight), value=np.zeros((*np.shape(weight), 0))))
        return replace(site, type="deterministic", value=np.broadcast_to(site.fn.core.v, site.fn.shape()), fn=None)

    def seen(self, site: Site) -> None:
        before = self.sites.get(site.name)
        if before is not None:
            check_repeat(before, site)
        else:
            self.sites[site.name] = site
            self.branches_before[site.name] = len(self.tape.branches)

    def _open_plate(self, site: Site) -> Site:
        frame = site.options["frame"]
        in_use = self.plate_sizes.get(site.name, frame.subsample_size)
        subsampled = frame.subsampled
        frame = replace(frame, subsample_size=in_use)
        if site.name not in self.indices:
            self.plates[site.name] = frame
            rows = self.given.get(site.name, np.arange(in_use).view(RowNumbers))
            self.indices[site.name] = self.tape.input(rows, f"{site.name}.indices") if subsampled else rows
        return replace(site, value=self.indices[site.name], options={**site.options, "frame": frame})

    def _parameter_rows(self, site: Site) -> Any:
        if site.name not in self.parameters and site.options["init"] is None and site.name not in self.starts:
            raise ModelError(
                f"param('{site.name}') without init", "a starting value", "ppl.param(name, 0.0)", site=site.name
            )
        return self.parameter(
            site.name,
            lambda: full_parameter(site, self.rng),
            site.options["constraint"],
            lambda ndim: parameter_axes(site, ndim),
            learned=not site.options.get("state", False),
        )

    def parameter(
        self,
        name: str,
        init: Callable[[], Any],
        constraint: constraints.Constraint,
        axes: Callable[[int], RowAxes] = lambda ndim: (),
        learned: bool = True,
    ) -> Recorded:
        """The recorded value of a parameter, or of its rows in use: an input of its own, made on first use.

        `init` gives the full size; `axes` says which of so many axes have rows that plates choose.
        """
        if name not in self.parameters:
            value = self.starts[name] if name in self.starts else init()
            if not isinstance(value, RowTable):
                value = self._checked(name, np.asarray(value), constraint)
            rows = axes(value.ndim)
            used = rows_in_use(value, rows, {plate: concrete(self.indices[plate]) for _, plate in rows})
            self.parameters[name] = Parameter(name, value, constraint, self.tape.input(used, name), rows, learned)
        return self.parameters[name].node

    def _checked(self, name: str, value: np.ndarray, constraint: constraints.Constraint) -> np.ndarray:
        self.saw_float32 |= value.dtype == np.float32
        value = value.astype(np.float64, copy=value.flags.writeable)
        alike = [n > 0 == step for n, step in zip(value.shape, value.strides, strict=True)]
        batch = value.ndim - constraint.event_dim
        if not np.all(constraint(value[tuple(slice(1) if x else slice(None) for x in alike[:batch])])):
            raise ModelError(
                f"parameter '{name}' starting at {np.array2string(value, threshold=5)}",
                f"a value in its constraint, {constraint}",
                "another init=",
                site=name,
            )
        return value


def _kept(site: Site) -> Site:
    """The site with arrays of its own where the model could still change them after the statement."""
    arrays, rebuild = site.fn.tree_flatten()
    if any(map(_open, arrays)):
        site = replace(site, fn=rebuild(tuple(np.array(a) if _open(a) else a for a in arrays)))
    return replace(site, value=np.array(site.value)) if _open(site.value) else site


def _open(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.flags.writeable


@dataclass(frozen=True)
class RecordedModel:
    """What one run of a model left on the tape."""

    tape: Tape
    sites: dict[str, Site]
    plates: dict[str, PlateFrame]
    indices: dict[str, Any]
    parameters: dict[str, Parameter]
    branches_before: dict[str, int]

    def of_kind(self, *, observed: bool | None = None) -> list[Site]:
        """Random sites, in order: all, the observed ones or the latent ones."""
        return [s for s in self.sites.values() if s.type == "sample" and observed in (None, s.is_observed)]


def record_model(model: Callable, args: tuple, kwargs: Mapping[str, Any], recorder: Recorder) -> RecordedModel:
    """Run `model(*args, **kwargs)` under the recorder and check what only the whole model shows."""
    check_call(model, args, kwargs)
    before = _global_randomness()
    with recorder, ours_first():
        model(*map(as_argument, args), **{k: as_argument(v) for k, v in kwargs.items()})
    if _global_randomness() != before:
        raise ModelError(
            "random numbers from np.random inside the model, which is run once and recorded: they would never change",
            "ppl.sample for what is random",
            "numbers that were drawn before, as an argument of the model",
        )
    recorded = RecordedModel(
        recorder.tape, recorder.sites, recorder.plates, recorder.indices, recorder.parameters, recorder.branches_before
    )
    _check_subsampling(recorded)
    return recorded


def _global_randomness() -> tuple:
    """Where NumPy's global generator stands."""
    _, key, position, *_ = np.random.get_state()
    return position, int(key[0]), int(key[-1])


def float32_in(x: Any) -> bool:
    """Is there a float32 array among the arguments?"""
    if isinstance(x, dict):
        return any(map(float32_in, x.values()))
    if isinstance(x, list | tuple):
        return any(map(float32_in, x))
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return any(float32_in(getattr(x, f.name)) for f in dataclasses.fields(x))
    return getattr(x, "dtype", None) == np.float32


@contextmanager
def ours_first() -> Iterator[None]:
    """NumPy wraps an error of ours, raised while it looks at an array, in one of its own: ours says more."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if isinstance(error.__cause__, PPLError):
            raise error.__cause__ from None
        if "read-only" in str(error):
            raise ModelError(
                "a change in place of an argument", "models that leave their data alone", "y = y.copy()"
            ) from error
        raise


def each_argument(x: Any, change: Callable[[Any], Any]) -> Any:
    """A model argument with a change made to whatever stands in its dicts, lists, tuples and dataclasses."""
    if isinstance(x, dict):
        return {k: each_argument(v, change) for k, v in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(each_argument(v, change) for v in x))
    if isinstance(x, list | tuple):
        return type(x)(each_argument(v, change) for v in x)
    if dataclasses.is_dataclass(x) and not isinstance(x, type) and not is_network(x):
        fields = {f.name: each_argument(getattr(x, f.name), change) for f in dataclasses.fields(x) if f.init}
        return dataclasses.replace(x, **fields)
    return change(x)


def is_network(x: Any) -> bool:
    """Has it `init` and `apply`, as `ppl.module` asks for? Such an argument is code, not data."""
    return callable(getattr(x, "init", None)) and callable(getattr(x, "apply", None))


class Masked(np.ma.MaskedArray):
    """A masked array of which a minibatch is picked with NaN where it is masked."""

    def __getitem__(self, key: Any) -> Any:
        return as_argument(plain(self))[key] if tape_of((key,)) is not None else super().__getitem__(key)


def as_argument(x: Any) -> Any:
    """A model argument as the recorder wants it: arrays that a minibatch may index.

    So may pandas columns, and what is sliced like an array: an HDF5 or Zarr data set. Numbers,
    strings and None pass as they are.
    """
    return each_argument(x, _indexable)


def _indexable(x: Any) -> Any:
    if isinstance(x, np.ma.MaskedArray):
        return x.view(Masked)
    if isinstance(x, np.ndarray) and x.dtype != object:
        view = x.view(Argument)
        view.flags.writeable = False  # the model must not change the data it is given
        return view
    if is_pandas(x):
        return as_column(x)
    return Rows(x) if is_row_source(x) else x


def own_argument(x: Any) -> Any:
    """A model argument that is the fit's own: arrays are copied, so that what the user changes later changes no result.

    Arrays above 64 MiB and memory maps are shared with the user.
    """
    return each_argument(x, _copied)


def _copied(x: Any) -> Any:
    if not isinstance(x, np.ndarray):
        return x.copy() if is_pandas(x) else x
    fixed = x.flags.owndata and not x.flags.writeable  # a copy of ours, or as good
    if fixed or isinstance(x, np.memmap) or x.nbytes > LARGEST_COPY:
        return x
    own = x.copy()
    own.flags.writeable = False
    return own


def _check_subsampling(recorded: RecordedModel) -> None:
    """An observation that stands outside a subsampled plate but has its length was meant to be inside."""
    for site in recorded.of_kind(observed=True):
        for plate in recorded.plates.values():
            outside = plate.subsampled and plate.name not in site.plate_names
            if outside and not site.plates and plate.size in np.shape(site.value):
                raise ShapeError(
                    f"{plate.size} observations outside plate '{plate.name}', which is subsampled from {plate.size}",
                    "observations of a subsampled plate inside it, so that they are scaled with it",
                    "indent the statement under the plate, with obs=y[i]",
                    site=site.name,
                    plate=plate.name,
                )
