"""A fit as a file, and a run that goes on from one.

    fit.save(path)                          ppl.load(path, model) -> Fit        fit.resume() -> Fit
    a run --Keep, now and then--> file      ppl.infer(...) again --continued--> Fit

The file says what was found and where the run stood. The model is code and is given again: it is recorded
anew, and must have the parameters, and the densities, that it had.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_type_hints

import numpy as np

from .. import optim
from ..algorithms import ALGORITHMS, Keep, Run, Solution, State, rewritten, without_guides
from ..algorithms.coordinates import Coordinates
from ..algorithms.evaluate import Bound
from ..algorithms.noise import Stream, draw, generator
from ..algorithms.sampled import Sampled
from ..algorithms.stages import ASKED, Point, Settings, Sums, Window
from ..algorithms.tables import Table, tables_at
from ..elbo import Derivation, Objective, Plan, Problem, bounds, choose, derive, problem
from ..elbo.estimators import ESTIMATORS
from ..errors import DataError, GuideError, ModelError
from ..guides import Families
from ..model.calls import refuse_own_names
from ..version import __version__
from . import store
from .fit import Fit
from .tree import check_shapes, check_tree, damaged, fits
from .verdict import Verdict
from .weights import Ratios, pointwise, ratios_of

FORMAT = 2  # of the files
SHARE = 20  # how much longer a run goes on between two writings than one of them takes
CUT_OFF = "the run was cut off: this is where it stood when it was last kept"
IN_DRAWS = "those of the draws"
FREE = ("steps", "epochs", "callback", "checkpoint", "checkpoint_every")  # settings that may change on the way


# -- writing -------------------------------------------------------------------------------------------
def save(fit: Fit, path: str | os.PathLike) -> None:
    """Write a fit to a file; see `Fit.save`."""
    s = fit.solution
    tree = _of_problem(fit.problem, fit.guide, s.objective, s.executor, fit.seed, fit.algorithm)
    values = {n: np.asarray(x) for n, x in s.values.items()}  # rows that are computed on demand among them
    history = None if s.run else s.history
    tree["run"], tree["sampled"] = s.run and _of_run(s.run), _of_draws(s)
    tree["solution"] = [values, history, s.stop_reason, s.converged, s.steps, s.notes, s.interrupted, s.doubts]
    tree["bound"] = [getattr(fit.bound, f.name) for f in dataclasses.fields(Bound)]
    tree["verdict"] = [getattr(fit.verdict, f.name) for f in dataclasses.fields(Verdict)]
    r = fit.ratios
    weighted = s.sampled is not None and s.sampled.weighted
    tree["ratios"] = (
        r if isinstance(r, str) else IN_DRAWS if weighted else [r.log_ratios, r.elements, r.mixed, r.noise, r.seed]
    )
    store.write(path, tree)


def keeping(p: Problem, guide: Any, algorithm: Any, seed: int, notes: tuple[str, ...] = ()) -> Keep:
    """Writes runs of an algorithm to its checkpoint, not more often than it says."""
    every, next_time = algorithm.checkpoint_every, [time.monotonic() + algorithm.checkpoint_every]
    made: dict[str, Any] = {}  # what is the same in every writing

    def write(run: Run | Solution, settings: Settings | None = None) -> None:
        begun = time.monotonic()
        of = run if settings is None else settings
        if not made:
            used = getattr(of, "guide", None) or guide
            made.update(_of_problem(p, used, of.objective, of.executor, seed, algorithm))
        run = run.noting(notes) if settings is None else replace(run, notes=(*notes, *run.notes))
        left = {"run": None, "sampled": _of_draws(run)} if settings is None else {"run": _of_run(run), "sampled": None}
        store.write(algorithm.checkpoint, {**made, **left})
        now = time.monotonic()
        next_time[0] = now + (max(every, SHARE * (now - begun)) if every else 0.0)

    return Keep(lambda: time.monotonic() >= next_time[0], write)


def _of_problem(p: Problem, guide: Any, objective: Objective, executor: str, seed: int, algorithm: Any) -> dict:
    """What says which problem it is, and which algorithm."""
    if not objective.plain:  # its terms are those of the bound that was climbed
        d = derive(p, guide, seed=seed)
        objective = Objective(d, choose(d))
    d = objective.derivation
    return {
        "format": FORMAT,
        "version": __version__,
        "model": getattr(p.model, "__name__", ""),
        "args": tuple(p.args),
        "kwargs": dict(p.kwargs),
        "digests": {n: store.digest(x) for n, x in _by_name(p.model, p.args, p.kwargs).items()},
        "guide": _of_guide(guide),
        "form": dict(p.form),
        "seed": seed,
        "executor": executor,
        "dtype": d.program.dtype.name,
        "shapes": {n: tuple(x.init.shape) for n, x in d.parameters.items()},
        "terms": _terms(objective, seed),
        "members": _members(objective),
        "algorithm": _of_algorithm(algorithm),
    }


def _members(objective: Objective) -> dict[str, tuple[str, str]]:
    """The control variates that a pilot chose, and its words."""
    open_ones = [f.name for f in objective.derivation.factors if f.estimator in (None, "score")]
    found = {n: objective.plan.choice_of(n) for n in open_ones}
    return {n: (c.member, c.reason.why) for n, c in found.items() if c is not None and c.member}


def _of_guide(guide: Any) -> Any:
    """The name of an automatic guide, or the families of one; a function is left out."""
    if isinstance(guide, Families):
        return guide.rows()
    automatic = isinstance(guide, str) or guide is None
    return guide if automatic else store.Missing(getattr(guide, "__name__", "a function"))


def _of_algorithm(algorithm: Any) -> dict | None:
    """Its name and its settings; what is code is left out."""
    if algorithm is None:
        return None
    settings = {f.name: getattr(algorithm, f.name) for f in dataclasses.fields(algorithm) if f.init}
    if not isinstance(init := settings.get("init"), str):  # where it began says nothing about how it goes on
        settings["init"] = store.digest(getattr(init, "params", init))
    if settings.get("held_out") is not None:
        settings["held_out"] = store.digest(settings["held_out"])
    optimizer = settings.get("optimizer")
    if optimizer is not None:
        ours = optim.OPTIMIZERS.get(type(optimizer).__name__) is type(optimizer)
        of = _of_record(optimizer)
        of[1]["step_size"] = _of_schedule(of[1].get("step_size"))
        ours &= not isinstance(of[1]["step_size"], store.Missing)
        settings["optimizer"] = of if ours else store.Missing(type(optimizer).__name__)
    bound = settings.get("bound")
    if bound is not None:
        settings["bound"] = [type(bound).__name__, dataclasses.asdict(bound)]
    weights = settings.get("weights") or {}
    if any(callable(w) for w in weights.values()):
        settings["weights"] = store.Missing("a schedule")
    elif weights:
        settings["weights"] = {n: {"nats": w.nats} if isinstance(w, bounds.FreeBits) else w for n, w in weights.items()}
    if settings.get("dtype") is not None:
        settings["dtype"] = np.dtype(settings["dtype"]).name
    if settings.get("checkpoint") is not None:
        settings["checkpoint"] = os.fspath(settings["checkpoint"])
    return {"name": algorithm.name, "settings": {n: x for n, x in settings.items() if not callable(x)}}


def _of_record(x: Any) -> list:
    return [type(x).__name__, {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}]


def _of_schedule(size: Any) -> Any:
    """A step size: a number, or one of our schedules by its name and fields."""
    if not callable(size):
        return size
    ours = optim.SCHEDULES.get(type(size).__name__) is type(size)
    return _of_record(size) if ours else store.Missing("a schedule")


def _of_run(run: Run) -> dict:
    """A run as nested arrays."""
    state, answer = run.state, run.answer
    return {
        "origin": run.where.starts,
        "start": run.start,
        "state": [state.step, state.x, _of_moments(state.optimizer), state.rate, state.skipped],
        "baselines": state.baselines,
        "tables": {n: [t.x, _of_moments(t.optimizer), t.average, t.visits] for n, t in state.tables.items()},
        "windows": [np.array([w.elbo for w in run.windows]), np.array([w.x for w in run.windows])],
        "sums": tuple(run.sums),
        "answer": answer and [answer.x, answer.tables],
        "converged": run.converged,
        "history": run.history,
        "notes": run.notes,
        "doubts": run.doubts,
        "trained": run.trained,
        "states": dict(state.states),
        "kept_states": run.kept_states and dict(run.kept_states),
        "held_out": run.held_out,
    }


def _of_draws(s: Solution) -> dict | None:
    """Draws in the place of a guide."""
    if s.sampled is None:
        return None
    held = {f.name: getattr(s.sampled, f.name) for f in dataclasses.fields(Sampled)}
    return {**held, "values": dict(s.values), "notes": s.notes, "reason": s.no_weights, "history": s.history}


def _of_moments(moments: Any) -> tuple | None:
    return None if moments is None else tuple(moments)


def _terms(objective: Objective, seed: int) -> dict[str, float]:
    """The value of each term for one draw where the guide starts: it differs where model, guide or data do."""
    d = objective.derivation
    values = {n: x.init for n, x in d.parameters.items()}
    rows = {n: np.arange(d.plates[n].subsample_size) for n in d.index_inputs}
    eps = {n: e[0] for n, e in draw(generator(seed, 0, Stream.COMPARISON), d.factors, 1, 1).items()}
    with np.errstate(all="ignore"):
        _, terms, _ = objective.evaluate(values, rows, eps, 1)
    return {t.text: float(x) for t, x in zip(d.terms, np.asarray(terms)[0], strict=True)}


def _by_name(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names that the model has for them."""
    try:
        return dict(inspect.signature(model).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return {**{str(i): x for i, x in enumerate(args)}, **kwargs}


def arguments_by_name(p: Problem) -> dict[str, Any]:
    """The arguments of a problem by the names that the model has for them."""
    return _by_name(p.model, p.args, p.kwargs)


# -- reading -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Saved:
    """What a file says of a fit, beside the model as it was recorded anew."""

    problem: Problem
    guide: Any
    solution: Solution
    algorithm: Any
    seed: int
    tree: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        return "solution" in self.tree


def load(path: str | os.PathLike, model: Callable, *args: Any, guide: Callable | None = None, **kwargs: Any) -> Fit:
    """The fit that `fit.save(path)` wrote, or where a run stood when it was last kept in `path`.

    Parameters
    ----------
    path
        the file; nothing in it is run.
    model
        the model function that was fitted.
    *args, **kwargs
        its arguments, where the file does not hold them; else they are those of the fit.
    guide
        the guide function, where the fit had one.

    Raises
    ------
    DataError
        if the file is not one of ours, misses an argument, or is of another model or other data.
    GuideError
        if a guide function is missing.

    >>> import ppl, ppl.distributions as dist, tempfile
    >>> def model(y):
    ...     z = ppl.sample("z", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(z, 1), obs=y)
    >>> fit = ppl.infer(model, 1.0, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit.save(f"{folder}/fit.npz")
    ...     print(ppl.load(f"{folder}/fit.npz", model).verdict.word)
    trusted
    """
    refuse_own_names(model, ("path", "guide"), "ppl.load")
    saved = _restored(path, model, args, kwargs, guide, None)
    return _judged(saved)


def _judged(saved: Saved) -> Fit:
    """The fit of a file; where that holds no more than a run, its bound and verdict are worked out."""
    p, s, tree = saved.problem, saved.solution, saved.tree
    if not saved.finished:
        return Fit.of(p, saved.guide, s, saved.seed, saved.algorithm)
    ratios = tree["ratios"]
    if s.sampled is not None and s.sampled.weighted:
        ratios = ratios_of(s, saved.seed)
    elif not isinstance(ratios, str):
        of, values, correlated = pointwise(p, saved.guide, s, saved.seed)
        log_ratios, elements, mixed, noise, _ = ratios
        count, all_draws = len(np.atleast_1d(log_ratios)), len(np.atleast_1d(mixed))
        check_shapes("weights", {"own": log_ratios, "mixed": mixed}, {"own": (count,), "mixed": (all_draws,)})
        check_shapes("weighed draws", noise, {f.name: (all_draws, *f.noise_shape) for f in of.factors})
        sizes = {n: (count, of.plates[n].size) if n in of.plates else () for n in elements}
        check_shapes("weights of elements", elements, sizes)
        ratios = Ratios(*ratios, of, values, correlated)
    return Fit(p, saved.guide, s, Bound(*tree["bound"]), ratios, Verdict(*tree["verdict"]), saved.seed, saved.algorithm)


def kept(algorithm: Any) -> bool:
    """Is the checkpoint of an algorithm there already?"""
    path = getattr(algorithm, "checkpoint", None)
    if path is None:
        return False
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"checkpoint={path!r}", "the path of a file", 'checkpoint="fit.npz"')
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise DataError(
            f"a checkpoint in '{folder}', which is no folder", "a folder that is there", "os.makedirs first"
        )
    return os.path.exists(path)


def continued(
    algorithm: Any,
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    guide: Any,
    seed: int,
    progress: Callable | None = None,
) -> Fit:
    """The fit of a call of `ppl.infer` whose checkpoint is there already: read, or gone on with from there."""
    path = algorithm.checkpoint
    try:
        saved = _restored(path, model, args, kwargs, guide if callable(guide) else None, algorithm)
        _check_same(saved, algorithm, guide, seed)
    except (DataError, GuideError) as error:
        hint = f"another checkpoint, or without the file '{os.fspath(path)}' if it is of no more use"
        raise DataError(f"a checkpoint that is of another run: {error.got}", error.expected, hint) from None
    s = saved.solution
    left = steps_of(algorithm, saved.problem) - s.steps
    if saved.finished and (
        (s.run is None and s.sampled is None)
        or (s.run and s.converged)
        or left <= 0
        or (not s.interrupted and s.stop_reason == ASKED)
    ):
        return _judged(saved)
    return go_on(saved.problem, saved.guide, s, algorithm, seed, progress)


def go_on(p: Problem, guide: Any, s: Solution, algorithm: Any, seed: int, progress: Callable | None = None) -> Fit:
    """Go on from where a run stood, up to the steps of the algorithm."""
    path = getattr(algorithm, "checkpoint", None)
    kept = {} if path is None else {"keep": keeping(p, guide, algorithm, seed)}
    stood = {"run": s.run} if s.sampled is None else {"sampled": s.sampled, "values": s.values}
    found = algorithm.run(
        p, guide, seed=seed, executor=s.executor, progress=progress, objective=s.objective, **stood, **kept
    )
    found = found if s.sampled is None else found.noting(s.notes, s.doubts)
    fit = Fit.of(p, guide, found, seed, algorithm)
    if path is not None:
        save(fit, path)
    return fit


def steps_of(algorithm: Any, p: Problem) -> int:
    """How many steps an algorithm takes at most."""
    return algorithm.steps_for(p.graph.plates) if hasattr(algorithm, "steps_for") else algorithm.steps


def _check_same(saved: Saved, algorithm: Any, guide: Any, seed: int) -> None:
    """Is the file that of the same guide, seed and settings?"""
    if saved.seed != seed:
        raise DataError(f"the seed {saved.seed}", f"seed={seed}", f"seed={saved.seed}")
    if isinstance(guide, str) and guide != saved.guide:
        raise DataError(f"guide='{saved.guide}'", f"guide='{guide}'", f"guide='{saved.guide}'")
    here, there = _of_algorithm(algorithm), saved.tree["algorithm"]
    if there["name"] != here["name"]:
        raise DataError(f"algorithm '{there['name']}'", f"'{here['name']}'", "the algorithm of the file")
    for name, x in here["settings"].items():
        if name not in FREE and store.digest(x) != store.digest(there["settings"].get(name)):
            raise DataError(
                f"{name}={there['settings'].get(name)!r}",
                f"{name}={getattr(algorithm, name)!r}",
                "the setting of the file",
            )


def _restored(
    path: str | os.PathLike,
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    guide: Callable | None,
    algorithm: Any,
) -> Saved:
    """Read a file, record the model anew, and check that they belong together."""
    tree = store.read(path)
    if isinstance(tree, dict):
        tree.setdefault("sampled", None)  # files of versions that knew no draws
    if not isinstance(tree, dict) or not fits(tree.get("format"), int):
        raise DataError(f"'{os.fspath(path)}', which holds no fit", "a file written by fit.save(path)", "another path")
    if tree["format"] > FORMAT:
        raise DataError(
            f"a file of format {tree['format']}, written by version {tree.get('version')}",
            f"format {FORMAT} or older",
            "a newer version of ppl",
        )
    if tree["format"] == 1 and isinstance(tree.get("run"), dict):  # which knew of no training
        tree["run"] = {**tree["run"], "trained": False, "states": {}, "kept_states": None, "held_out": ()}
    check_tree(tree)
    args, kwargs = _arguments(tree, model, args, kwargs)
    guide, seed, eager = _guide(tree, guide), tree["seed"], tree["executor"] == "eager"
    algorithm = algorithm or _algorithm(tree["algorithm"])
    p = without_guides(problem(model, args, kwargs, guide=guide, eager=eager, seed=seed), algorithm, seed)
    if tree["form"]:
        unknown = sorted(set(tree["form"]) - set(p.shapes))
        if unknown:
            raise _changed(f"a model without latent site {', '.join(unknown)}")
        p = rewritten(p, tree["form"], seed)
    full = {q.name: q.size for q in p.graph.plates.values()} if tree["sampled"] else None
    d = derive(replace(p, dtype=np.dtype(tree["dtype"])), guide, plate_sizes=full, seed=seed, eager=eager)
    _check_shapes(tree["shapes"], {n: tuple(x.init.shape) for n, x in d.parameters.items()})
    shapes = {n: x.init.shape for n, x in d.parameters.items()}
    objective = Objective(d, _with_members(choose(d), tree["members"]))
    _check_terms(tree["terms"], _terms(objective, seed), 1e-3 if d.program.dtype == np.float32 else 1e-6)
    run = _run(tree["run"], objective, algorithm, eager) if tree["run"] and algorithm else None
    if "solution" in tree:
        values, history, reason, converged, steps, notes, interrupted, doubts = tree["solution"]
        if history is None:
            history = tree["run"]["history"]
        check_shapes("values", values, shapes)
    elif tree["sampled"]:
        values, history, notes = (tree["sampled"][n] for n in ("values", "history", "notes"))
        reason, converged, steps, interrupted, doubts = CUT_OFF, False, len(history), True, ()
        check_shapes("values", values, shapes)
    else:
        if run is None:
            got = "a checkpoint whose optimizer is of a class of its own"
            raise DataError(got, "the optimizer beside it", "ppl.infer(...) with the algorithm of the checkpoint")
        values, history, notes = run.values, run.history, run.notes
        reason, converged, steps, interrupted, doubts = CUT_OFF, False, run.state.step, True, run.doubts
    executor = tree["executor"]
    s = Solution(values, history, reason, converged, steps, objective, executor, tuple(notes), interrupted, run)
    s = replace(s, doubts=tuple(doubts), **_draws(tree["sampled"], d))
    if np.ndim(history) != 1:
        raise damaged(f"a history of shape {np.shape(history)}")
    return Saved(p, guide, s, algorithm, seed, tree)


def _arguments(tree: Mapping[str, Any], model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict]:
    """The model's arguments: those given, which must be those of the fit, or those of the file."""
    if not args and not kwargs:
        args, kwargs = tree["args"], tree["kwargs"]
        for name, x in _by_name(model, args, kwargs).items():
            there = tree["digests"].get(name)
            if there is not None and there != store.digest(x):
                raise damaged(f"an argument '{name}' that is not the one that was written")
            if (what := _missing(x)) is not None:
                raise DataError(
                    f"a file without the argument '{name}': {what}, which a file does not hold",
                    "the model's arguments beside the path",
                    f"ppl.load(path, {tree['model'] or 'model'}, ...) with the arguments of ppl.infer",
                )
        return args, kwargs
    for name, x in _by_name(model, args, kwargs).items():
        there, here = tree["digests"].get(name), store.digest(x)
        if there is not None and here is not None and here != there:
            raise DataError(
                f"an argument '{name}' with another value than in the fit",
                "the arguments of the fit",
                "ppl.load(path, model) without arguments, and fit.predict(...) for other data",
            )
    return args, dict(kwargs)


def _missing(x: Any) -> str | None:
    """What is missing in a value, if anything is."""
    if isinstance(x, store.Missing):
        return x.what
    if dataclasses.is_dataclass(x):
        x = [getattr(x, f.name) for f in dataclasses.fields(x)]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return next((found for v in parts if (found := _missing(v)) is not None), None)


def _guide(tree: Mapping[str, Any], guide: Callable | None) -> Any:
    """The guide's name in the file, or the function given."""
    named = tree["guide"]
    if not isinstance(named, store.Missing):
        if guide is not None:
            raise GuideError("a guide function", f"none: the fit's guide is the automatic '{named}'", "no guide=")
        return Families.of(named) if isinstance(named, list) else named
    if guide is None:
        raise GuideError(
            f"a fit with the guide function '{named.what}', which a file does not hold",
            "that function beside the path",
            f"ppl.load(path, {tree['model'] or 'model'}, guide={named.what})",
        )
    return guide


def _changed(got: str) -> DataError:
    return DataError(got, "the model, the guide and the data of the fit", "the code as it was, or ppl.infer(...) anew")


def _check_shapes(there: Mapping[str, tuple], here: Mapping[str, tuple]) -> None:
    new, gone = sorted(set(here) - set(there)), sorted(set(there) - set(here))
    differing = [f"'{n}' of shape {here[n]} where the file has {x}" for n, x in there.items() if here.get(n, x) != x]
    if new or gone or differing:
        words = [f"new: {', '.join(new)}"] * bool(new) + [f"gone: {', '.join(gone)}"] * bool(gone) + differing
        raise _changed(f"parameters that differ from the file's: {'; '.join(words)}")


def _check_terms(there: Mapping[str, float], here: Mapping[str, float], rtol: float) -> None:
    if set(there) != set(here):
        differing = sorted(set(there) ^ set(here))
        raise _changed(f"a bound with other terms than in the file: {'; '.join(differing)}")
    size = max((abs(x) for x in there.values() if np.isfinite(x)), default=0.0)
    for text, x in there.items():
        if not np.isclose(here[text], x, rtol=rtol, atol=rtol * 1e-3 * size, equal_nan=True):
            raise _changed(f"{text} = {here[text]:.6g} where the guide starts, and {x:.6g} in the file")


def _algorithm(tree: Mapping[str, Any] | None) -> Any:
    """The algorithm of a file; None where a file does not hold it."""
    if tree is None or tree["name"] not in ALGORITHMS:
        return None
    kind, settings = ALGORITHMS[tree["name"]], dict(tree["settings"])
    if settings.get("optimizer") is not None:
        if isinstance(settings["optimizer"], store.Missing):
            return None
        settings["optimizer"] = _optimizer(settings["optimizer"])
    if isinstance(settings.get("weights"), store.Missing) or settings.get("held_out") is not None:
        return None
    if "bound" in settings:
        settings["bound"] = _bound_of(settings["bound"])
    if settings.get("weights") is not None:
        settings["weights"] = _weights_of(settings["weights"])
    hints = get_type_hints(kind, vars(sys.modules[kind.__module__]))
    known = {f.name for f in dataclasses.fields(kind)} - {"init"}
    held = {n: x for n, x in settings.items() if n in known and _missing(x) is None}
    for n, x in held.items():
        if not fits(x, hints[n]):
            raise damaged(f"{n}={x!r} among the settings of '{tree['name']}'")
    try:
        return kind(**held)
    except ModelError:  # a setting without a default was code
        return None


def _optimizer(held: Any) -> Any:
    """One of ours, from its name and its settings."""
    if fits(held, tuple[str, dict[str, Any]]) and held[0] in optim.OPTIMIZERS:
        kind, settings = optim.OPTIMIZERS[held[0]], dict(held[1])
        schedule = settings.get("step_size")
        if fits(schedule, tuple[str, dict[str, float | tuple[float, ...]]]) and schedule[0] in optim.SCHEDULES:
            of, fields = optim.SCHEDULES[schedule[0]], schedule[1]
            if set(fields) == {f.name for f in dataclasses.fields(of)}:
                settings["step_size"] = of(**{n: tuple(x) if isinstance(x, list) else x for n, x in fields.items()})
        if not all(fits(x, float) for n, x in settings.items() if n != "step_size" or not callable(x)):
            raise damaged(f"the optimizer {held!r}")
        if set(settings) == {f.name for f in dataclasses.fields(kind)}:
            return kind(**settings)
    raise damaged(f"the optimizer {held!r}")


def _bound_of(held: Any) -> Any:
    """One of the bounds, from its name and its fields."""
    if not fits(held, tuple[str, dict[str, float]]) or held[0] not in ("ELBO", "IWAE", "Renyi"):
        raise damaged(f"bound={held!r}")
    try:
        return getattr(bounds, held[0])(**held[1])
    except (TypeError, ModelError):
        raise damaged(f"bound={held!r}") from None


def _weights_of(held: Any) -> dict[str, Any]:
    """Weights of sites, of which free bits are kept by their field."""
    if not fits(held, dict[str, float | dict[str, float]]):
        raise damaged(f"weights={held!r}")
    try:
        return {n: bounds.FreeBits(**w) if isinstance(w, dict) else w for n, w in held.items()}
    except TypeError:
        raise damaged(f"weights={held!r}") from None


def _with_members(plan: Plan, members: Mapping[str, tuple[str, str]]) -> Plan:
    """The plan with the control variates that a pilot chose."""
    for name, (member, why) in members.items():
        found = plan.choice_of(name)
        if found is None or found.estimator != "score" or getattr(ESTIMATORS.get(member), "control", None) is None:
            raise damaged(f"'{member}' as the estimator of '{name}'")
        plan = plan.with_member(name, member, why)
    return plan


def _run(tree: Mapping[str, Any], objective: Objective, algorithm: Any, eager: bool) -> Run:
    """The run of a file, in the coordinates of this derivation."""
    d, trained = objective.derivation, tree["trained"] and not eager
    optimizer = algorithm.the_optimizer(trained) if hasattr(algorithm, "the_optimizer") else algorithm.optimizer
    shapes = {n: x.init.shape for n, x in d.parameters.items()}
    check_shapes("the parameters of a run", tree["origin"], shapes)
    check_shapes("the start of a run", tree["start"], shapes)
    where = Coordinates.at(d, tree["origin"], tables=not eager, absolute=trained)
    states = {n: x.init.shape for n, x in d.parameters.items() if not x.learned}
    for held in (tree["states"], tree["kept_states"]) if trained else ():
        if held is not None:
            check_shapes("states", held, states)
    step, x, moments, rate, skipped = tree["state"]
    tables = tables_at(where, d, optimizer)
    beside, size = {n: t.x.shape for n, t in tables.items()}, (where.size,)
    check_shapes("the tables of a run", {n: t[0] for n, t in tree["tables"].items()}, beside)
    points = {"state": x, "sums": tree["sums"][1] if np.ndim(tree["sums"][1]) else x}
    if tree["answer"]:
        points["answer"] = tree["answer"][0]
        check_shapes("the tables of an answer", tree["answer"][1], beside)
    check_shapes("a run", points, dict.fromkeys(points, size))
    count = len(np.atleast_1d(tree["windows"][0]))
    held = dict(zip(("bounds", "places"), tree["windows"], strict=True))
    check_shapes("windows", held, {"bounds": (count,), "places": (count, *size) if count else np.shape(held["places"])})
    tables = {n: _table(t, *tree["tables"][n]) for n, t in tables.items()}
    baselines = tuple(tree["baselines"])
    if baselines:
        there, here = ({str(i): x for i, x in enumerate(xs)} for xs in (baselines, objective.start))
        check_shapes("states of control variates", there, {n: np.shape(x) for n, x in here.items()})
    moments = _moments(optimizer.init(x), moments)
    state = State(step, x, moments, rate, skipped, tables, baselines, dict(tree["states"]))
    windows = tuple(Window(float(e), w) for e, w in zip(*tree["windows"], strict=True))
    answer = tree["answer"] and Point(*tree["answer"])
    start, sums, notes = tree["start"], Sums(*tree["sums"]), tuple(tree["notes"])
    of_training = trained, tuple(map(tuple, tree["held_out"])), tree["kept_states"]
    converged, history, doubts = tree["converged"], tree["history"], tuple(tree["doubts"])
    return Run(where, state, start, windows, sums, answer, converged, history, notes, doubts, *of_training)


def _draws(tree: Mapping[str, Any] | None, d: Derivation) -> dict[str, Any]:
    """What a solution with draws has beside others."""
    if tree is None:
        return {}
    held = {f.name: tree[f.name] for f in dataclasses.fields(Sampled)}
    count = len(held["noise"][d.factors[0].name]) if set(held["noise"]) == {f.name for f in d.factors} else 0
    check_shapes("draws", held["noise"], {f.name: (count, *f.noise_shape) for f in d.factors})
    sampled = Sampled(**held)
    own = sampled.count
    check_shapes("numbers beside draws", held["stats"], {n: (own,) for n in held["stats"]})
    whole = sampled.weighted == (held["mixed"] is not None) and own % max(sampled.chains, 1) == 0 < sampled.chains
    if not whole or (sampled.weighted and (np.shape(held["mixed"]) != (count,) or own > count)):
        raise damaged("draws and weights that do not belong together")
    return {"sampled": sampled, "no_weights": tree["reason"]}


def _table(fresh: Table, x: np.ndarray, moments: Any, average: np.ndarray, visits: np.ndarray) -> Table:
    wanted = {"average": fresh.average.shape, "visits": fresh.visits.shape}
    check_shapes("a table", {"average": average, "visits": visits}, wanted)
    return fresh._replace(x=x, optimizer=_moments(fresh.optimizer, moments), average=average, visits=visits)


def _moments(fresh: Any, held: tuple | None) -> Any:
    """An optimizer's state of the kind that it begins with."""
    shapes = [None if x is None else [np.shape(v) for v in x] for x in (fresh, held)]
    if shapes[0] != shapes[1] or not (held is None or fits(held, tuple[np.ndarray | int, ...])):
        raise damaged("the state of another optimizer")
    return fresh if held is None else type(fresh)(*held)
