"""Algorithms side by side on one model and one data set: one table, one picture.

Every algorithm runs with a seed of its own. What does not apply says why, and what takes long can be limited
by one budget of gradient evaluations. A gradient evaluation is that of the log joint density, or of what is
climbed, at one draw of all rows; for closed-form updates a sweep counts as one.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import shorten
from typing import Any

import numpy as np

from ..algorithms import ALGORITHMS, BBVI, Bar
from ..array import BranchOnDraw
from ..elbo import problem
from ..errors import ModelError, PPLError, nearest
from ..fit import Fit
from ..fit.plot import pyplot
from ..fit.summary import number
from ..guides import Families
from ..infer import infer
from ..model.calls import check_call, count_of, refuse_own_names, seed_of

OWN = ("algorithms", "referee", "held_out", "budget", "seed", "progress")
GUIDES = ("meanfield", "fullrank", "lowrank")
USUAL = ("auto", *GUIDES[:2], "cavi", "svi", "em", "dadvi", "laplace", "pathfinder", "map")
NEAR = 0.1  # nats below the best bound that count as there
LONGEST = 180  # characters of a reason in the printed table
RECENT = 50  # steps of a stochastic run whose bounds are averaged
MARGIN = 2.0  # nats below the middle of the bounds that the picture still shows


@dataclass(frozen=True)
class Row:
    """What one algorithm came to; `why_not` says why it did not apply. What is None does not apply, either."""

    name: str
    fit: Fit | None = None
    why_not: str = ""
    seconds: float = float("nan")
    trace: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))  # seconds, and the bound there
    held_out: tuple[float, float] | None = None
    error: float | None = None  # of the worst mean, in the referee's sds
    ratios: tuple[float, float] | None = None  # the smallest and the largest sd, by the referee's
    at: str = ""  # whose mean that is
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> float | None:
        """The ELBO, where it is a bound on the evidence."""
        return None if self.fit is None or no_bound(self.fit) else self.fit.elbo


def no_bound(fit: Fit) -> str:
    """Why `fit.elbo` is not the bound of what was found; empty where it is."""
    if fit.guide == "point":
        return "a point has no bound: its density is not that of the data"
    if isinstance(fit.guide, Families) and any(f.kind == "point" for f in fit.guide.sites):
        return "some sites are points: what is maximised is not a bound on the evidence"
    if fit.solution.sampled is not None and not fit.solution.sampled.weighted:
        return "chains have no bound"
    return "" if np.isfinite(fit.elbo) else "the bound is not finite"


@dataclass(frozen=True)
class Comparison:
    """Fits of one model by several algorithms; prints as a table.

    `comparison["dadvi"]` is that fit, `.rows` has all, `.best` the name of the best.
    """

    rows: tuple[Row, ...]
    referee: str = ""
    budget: int | None = None
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Fit:
        row = next((r for r in self.rows if r.name == name), None)
        if row is None or row.fit is None:
            known = [r.name for r in self.rows if r.fit is not None]
            why = f": {row.why_not}" if row is not None else ""
            raise ModelError(f"comparison['{name}']{why}", f"one of {known}", f"'{nearest(name, known) or 'auto'}'")
        return row.fit

    @property
    def fits(self) -> dict[str, Fit]:
        return {r.name: r.fit for r in self.rows if r.fit is not None}

    @property
    def best(self) -> str | None:
        """Of the fits with the best word, and a bound within 0.1 nats of the highest among these, the one that took
        the fewest gradients; None where none is to be used.
        """
        for word in ("trusted", "usable"):
            held = [r for r in self.rows if r.bound is not None and r.fit.verdict.word == word]
            top = max((r.bound for r in held), default=0.0)
            near = [r for r in held if r.bound >= top - NEAR]
            if near:
                return min(near, key=lambda r: r.fit.solution.gradients).name
        return None

    @property
    def best_bound(self) -> float:
        """The highest bound among fits that may be used, or among all where none may."""
        usable = [r.bound for r in self.rows if r.bound is not None and r.fit.verdict.word != "not trusted"]
        return max(usable or [r.bound for r in self.rows if r.bound is not None], default=float("nan"))

    def time_to_best(self, name: str) -> float:
        """Seconds until the bound was within 0.1 nats of the best; infinity where it never was, NaN without one."""
        row = next(r for r in self.rows if r.name == name)
        if row.bound is None:
            return float("nan")
        seconds, bounds = row.trace
        there = np.flatnonzero(bounds >= self.best_bound - NEAR)
        if there.size:
            return float(seconds[there[0]])
        return row.seconds if row.bound >= self.best_bound - NEAR - 2.0 * row.fit.elbo_se else float("inf")

    # -- as words ----------------------------------------------------------------------------------
    def _columns(self) -> list[tuple[str, Callable[[Row], str]]]:
        out: list[tuple[str, Callable[[Row], str]]] = [
            ("verdict", lambda r: r.fit.verdict.word),
            ("ELBO", lambda r: _short(r.bound)),
            ("s.e.", lambda r: "" if r.bound is None else f"{r.fit.elbo_se:.2g}" if r.fit.elbo_se else "exact"),
            ("k-hat", lambda r: "-" if r.fit.verdict.k_hat is None else _clipped(r.fit.verdict.k_hat)),
        ]
        if self.referee:
            out.append(("error", lambda r: "-" if r.error is None else f"{r.error:.2f}"))
            out.append(("sd ratios", lambda r: "-" if r.ratios is None else "{:.2f}..{:.2f}".format(*r.ratios)))
        if any(r.held_out for r in self.rows):
            out.append(("held out", lambda r: "-" if r.held_out is None else "{:.2f} ({:.2g})".format(*r.held_out)))
        out += [
            ("to best", lambda r: _seconds(self.time_to_best(r.name))),
            ("seconds", lambda r: _seconds(r.seconds)),
            ("gradients", lambda r: f"{r.fit.solution.gradients:,}"),
        ]
        return out

    def __str__(self) -> str:
        done, columns = [r for r in self.rows if r.fit is not None], self._columns()
        table = [["", *(name for name, _ in columns)], *([r.name, *(f(r) for _, f in columns)] for r in done)]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = []
        for row in table:
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            cells += [x.rjust(w) for x, w in zip(row[2:], widths[2:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        lines += ["", self._said()]
        if self.referee:
            lines.append(
                f"error: of the worst mean, in sds of {self.referee}; sd ratios: smallest and largest, by its."
            )
        lines.append(f"to best: seconds until the bound was within {NEAR} nats of the best.")
        other = [f"{r.name}: {shorten(r.why_not, LONGEST, placeholder=' ...')}" for r in self.rows if r.fit is None]
        notes = [*self.notes, *(f"{r.name}: {n}" for r in done for n in r.notes)]
        for title, texts in (("Does not apply", other), ("Notes", notes)):
            lines += ["", title, *(f"  {t}" for t in texts)] if texts else []
        return "\n".join(lines)

    __repr__ = __str__

    def _said(self) -> str:
        if self.best is None:
            return "None of them is to be used as it is: see their verdicts."
        row = next(r for r in self.rows if r.name == self.best)
        return f"{self.best} is the best: {row.fit.verdict.word}, ELBO {_short(row.bound)}."

    def to_pandas(self) -> Any:
        """The table as a pandas frame, by algorithm; what does not apply is NaN, and `why_not` says why."""
        import pandas

        rows = {}
        for r in self.rows:
            f = r.fit
            rows[r.name] = {
                "verdict": f and f.verdict.word,
                "converged": f and f.verdict.converged,
                "elbo": np.nan if r.bound is None else r.bound,
                "elbo_se": np.nan if r.bound is None else f.elbo_se,
                "k_hat": np.nan if f is None or f.verdict.k_hat is None else f.verdict.k_hat,
                "error": np.nan if r.error is None else r.error,
                "error_at": r.at,
                "smallest_sd": np.nan if r.ratios is None else r.ratios[0],
                "largest_sd": np.nan if r.ratios is None else r.ratios[1],
                "held_out": np.nan if r.held_out is None else r.held_out[0],
                "held_out_se": np.nan if r.held_out is None else r.held_out[1],
                "seconds_to_best": np.nan if f is None else self.time_to_best(r.name),
                "seconds": r.seconds,
                "gradients": np.nan if f is None else f.solution.gradients,
                "why_not": r.why_not,
            }
        return pandas.DataFrame.from_dict(rows, orient="index")

    def loo(self) -> Any:
        """ArviZ's comparison of the fits by leave-one-out predictive densities (extra `arviz`)."""
        try:
            import arviz
        except ImportError:
            raise ModelError(
                "comparison.loo() without arviz", "the extra 'arviz'", "pip install 'ppl[arviz]'"
            ) from None
        return arviz.compare({n: f.to_arviz() for n, f in self.fits.items() if f.guide != "point"})

    # -- as a picture ------------------------------------------------------------------------------
    def plot(self) -> Any:
        """Bounds against time, one line for each algorithm, a dot where it ended (extra `plot`)."""
        plt = pyplot()
        figure, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
        drawn = [r for r in self.rows if r.bound is not None]
        ends, best = [r.bound for r in drawn], self.best_bound
        low = max(min(ends, default=0.0), best - 3.0 * (best - np.median(ends)) - MARGIN) if ends else -1.0
        room = max(0.25 * (max(best, *ends, low) - low), 0.5) if ends else 1.0
        for i, row in enumerate(drawn):
            seconds, bounds = row.trace
            color, below = f"C{i % 10}", row.bound < low
            label = f"{row.name} ({_short(row.bound)}, below)" if below else row.name
            at, marker = (low - 0.7 * room, "v") if below else (row.bound, "o" if i < 10 else "s")
            ax.plot(seconds, bounds, color=color, lw=1.2, alpha=0.8)
            ax.plot([row.seconds], [at], ls="", ms=7, marker=marker, color=color, label=label)
        if ends:
            ax.set_ylim(low - room, max(best, *ends) + 0.4 * room)
            ax.axhspan(best - NEAR, best, color="0.85", zorder=0, label=f"{NEAR} nats")
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(plt.matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        ax.xaxis.set_minor_formatter(lambda x, _: "")
        ax.set_xlabel("seconds")
        ax.set_ylabel("ELBO")
        ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        ax.set_title("Bounds against time", fontsize=10)
        return figure


def compare(
    model: Callable,
    *args: Any,
    algorithms: Sequence[Any] | Mapping[str, Any] | None = None,
    referee: Any = None,
    held_out: tuple[tuple, Mapping[str, Any]] | None = None,
    budget: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **kwargs: Any,
) -> Comparison:
    """Run the algorithms that apply on one model and its data, and put them side by side.

    Parameters
    ----------
    model, *args, **kwargs
        as for `ppl.infer`.
    algorithms
        names of algorithms ("dadvi") or of guides ("fullrank": stochastic gradients with that guide), "auto",
        or objects (`ppl.BBVI(steps=500)`); or a dict of these, or of options of `ppl.infer`, by a name of your
        own. By default all but NUTS.
    referee
        what is held to be right: a Fit (of `ppl.NUTS`, say), draws `{site: array (num_samples, ...)}`, or
        moments `{site: (mean, sd)}`.
    held_out
        the arguments `(args, kwargs)` of `fit.log_predictive`: data that the fits have not seen.
    budget
        gradient evaluations that each may take: the steps are cut to it. What ends by itself, and took more,
        is noted.
    seed
        every algorithm has its own, from this and its name.
    progress
        show bars.

    Raises
    ------
    ModelError
        an unknown algorithm, or a referee that has no site of the model.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 10))
    ...     with ppl.plate("rows", len(y)):
    ...         ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> found = ppl.compare(model, np.arange(5.0), algorithms=["cavi", "laplace", "em"], progress=False)
    >>> sorted(found.fits), round(found["cavi"].elbo, 3)
    (['cavi', 'laplace'], -13.009)
    """
    refuse_own_names(model, OWN, "ppl.compare")
    check_call(model, args, kwargs)
    seed, budget = seed_of(seed), None if budget is None else count_of("budget", budget)
    try:  # what is wrong with the model is no algorithm's
        problem(model, args, kwargs, seed=seed)
    except BranchOnDraw:
        problem(model, args, kwargs, eager=True, seed=seed)
    known = _moments(referee)
    asked = _asked(USUAL if algorithms is None else algorithms)
    if held_out is not None:
        held_out = _held_out(held_out)
    rows = []
    for name, options in asked.items():
        options = _within(options, budget)
        rows.append(_row(name, model, args, kwargs, options, seed, progress, known, held_out, budget))
    if referee is not None and all(r.error is None for r in rows if r.fit is not None) and any(r.fit for r in rows):
        sites = sorted({s for r in rows if r.fit is not None for s in r.fit.sites})
        raise ModelError(f"a referee of {sorted(known)}", f"some of the sites {sites}", "{'site': (mean, sd)}")
    notes = () if algorithms is not None else ("nuts was not asked for: algorithms=[..., 'nuts'], or as the referee",)
    return Comparison(tuple(rows), _called(referee), budget, notes)


def _row(
    name: str,
    model: Callable,
    args: tuple,
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    seed: int,
    progress: bool,
    known: Mapping[str, tuple[np.ndarray, np.ndarray]],
    held_out: tuple[tuple, dict] | None,
    budget: int | None,
) -> Row:
    """One algorithm, timed from its call to its return; what is asked of the fit after that is not."""
    clocks: list[_Clock] = []
    begun = time.perf_counter()

    def clock(total: int) -> _Clock:
        clocks.append(_Clock(total, begun, Bar(total) if progress else None))
        return clocks[-1]

    own = (seed + zlib.crc32(name.encode())) % 2**32
    try:
        fit = infer(model, *args, seed=own, progress=clock, **options, **kwargs)
    except PPLError as error:
        return Row(name, why_not=f"{error.got} (expected {error.expected})" if error.expected else error.got)
    seconds = time.perf_counter() - begun
    notes = [no_bound(fit)] if no_bound(fit) else []
    if budget is not None and fit.solution.gradients > budget:
        notes.append(f"{fit.solution.gradients:,} gradient evaluations, beyond the budget of {budget:,}")
    row = Row(name, fit, seconds=seconds, trace=_trace(fit, clocks, seconds))
    if known:
        row = replace(row, **_errors(fit, known))
    if held_out is not None:
        try:
            found = fit.log_predictive(*held_out[0], **held_out[1])
            row = replace(row, held_out=(float(found.value), float(found.se)))
        except PPLError as error:
            notes.append(f"no held-out density: {error.got}")
    return replace(row, notes=tuple(notes))


class _Clock:
    """A bar that writes down when how many steps were taken."""

    def __init__(self, total: int, begun: float, bar: Bar | None):
        self.begun, self.bar, self.times, self.counts = begun, bar, [], []

    def update(self, history: Sequence[float]) -> None:
        self.times.append(time.perf_counter() - self.begun)
        self.counts.append(len(history))
        if self.bar is not None:
            self.bar.update(history)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _trace(fit: Fit, clocks: Sequence[_Clock], seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and bounds on the way; those of stochastic steps are averages of the last ones. The fit is the end."""
    times, bounds = [], []
    clock = next((c for c in reversed(clocks) if c.counts and c.counts[-1] == len(fit.history)), None)
    if clock is not None and fit.algorithm.name in ("bbvi", "svi", "cavi", "em") and not no_bound(fit):
        noisy = fit.algorithm.name in ("bbvi", "svi")
        sums = np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(fit.history), fit.history, 0.0))])
        for at, count in zip(clock.times, clock.counts, strict=True):
            width = min(RECENT, count) if noisy else 1
            if count:
                times.append(at)
                bounds.append((sums[count] - sums[count - width]) / width)
    if not no_bound(fit):
        times.append(seconds)
        bounds.append(fit.elbo)
    return np.array(times), np.array(bounds)


def _asked(algorithms: Any) -> dict[str, dict[str, Any]]:
    """Options of `ppl.infer` by name."""
    if isinstance(algorithms, str) or not isinstance(algorithms, Sequence | Mapping):
        got = f"algorithms={algorithms!r}"
        raise ModelError(got, "a list of names or algorithms, or a dict", 'algorithms=["auto", "dadvi"]')
    if isinstance(algorithms, Mapping):
        return {str(n): _options(a) for n, a in algorithms.items()}
    out: dict[str, dict[str, Any]] = {}
    for a in algorithms:
        name = a if isinstance(a, str) else getattr(a, "name", str(a))
        while name in out:
            name += "'"
        out[name] = _options(a)
    return out


def _options(asked: Any) -> dict[str, Any]:
    if isinstance(asked, Mapping):
        return dict(asked)
    if not isinstance(asked, str):
        return {"algorithm": asked}
    known = ("auto", *GUIDES, *ALGORITHMS)
    if asked not in known:
        close = nearest(asked, known) or "auto"
        raise ModelError(f"algorithms with '{asked}'", f"names among {sorted(known)}, or objects", f"'{close}'")
    return {"algorithm": BBVI(), "guide": asked} if asked in GUIDES else {"algorithm": asked}


def _within(options: Mapping[str, Any], budget: int | None) -> dict[str, Any]:
    """The options with steps cut to the budget, where an algorithm has steps to be cut."""
    algorithm = options.get("algorithm", "auto")
    if isinstance(algorithm, str):
        algorithm = ALGORITHMS.get(algorithm, lambda: "auto")()
    if budget is None or algorithm == "auto" or not hasattr(algorithm, "steps"):
        return dict(options)
    changes: dict[str, Any] = {}
    if hasattr(algorithm, "gradients"):
        changes["gradients"] = min(budget, algorithm.gradients or budget)
    else:
        each = (algorithm.particles or 24) if algorithm.name == "bbvi" else getattr(algorithm, "paths", 1)
        changes["steps"] = max(min(algorithm.steps, budget // each), 1)
    return {**options, "algorithm": replace(algorithm, **changes)}


# -- the referee, and data that were held out ---------------------------------------------------------
def _moments(referee: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Means and sds by site."""
    if referee is None:
        return {}
    if isinstance(referee, Fit):
        return {n: (np.asarray(referee[n].mean), np.asarray(referee[n].sd)) for n in referee.sites}
    if not isinstance(referee, Mapping) or not referee:
        raise ModelError(
            f"referee={referee!r}", "a fit, draws or moments by site", "referee=ppl.infer(model, ..., algorithm='nuts')"
        )
    out = {}
    for name, x in referee.items():
        if isinstance(x, tuple) and len(x) == 2:
            out[name] = np.asarray(x[0], dtype=float), np.asarray(x[1], dtype=float)
        else:
            draws = np.asarray(x, dtype=float)
            if draws.ndim < 1 or len(draws) < 2:
                raise ModelError(f"draws of shape {draws.shape}", "(num_samples, ...)", "(mean, sd)", site=name)
            out[name] = draws.mean(0), draws.std(0)
    return out


def _called(referee: Any) -> str:
    if referee is None:
        return ""
    return f"the {referee.algorithm.name} fit" if isinstance(referee, Fit) and referee.algorithm else "the referee"


def _errors(fit: Fit, known: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """The worst error of a mean, in the referee's sds, and the range of the sds; {} where they share no site."""
    worst, at, low, high = -1.0, "", np.inf, 0.0
    for name in (n for n in fit.sites if n in known):
        (mean, sd), m = known[name], fit[name]
        if np.size(mean) != np.size(m.mean):
            got = f"a referee with '{name}' of shape {np.shape(mean)}"
            raise ModelError(got, f"shape {np.shape(m.mean)}", "the model's own shapes", site=name)
        own_mean, own_sd = np.reshape(m.mean, np.shape(mean)), np.reshape(m.sd, np.shape(sd))
        varies = sd > 0
        if not np.any(varies):
            continue
        with np.errstate(all="ignore"):
            error = np.where(varies, np.abs(own_mean - mean) / sd, 0.0)
            ratio = own_sd[varies] / sd[varies]
        if error.max() > worst:
            worst, at = float(error.max()), name
        low, high = min(low, float(ratio.min())), max(high, float(ratio.max()))
    return {"error": worst, "ratios": (low, high), "at": at} if at else {}


def _held_out(held_out: Any) -> tuple[tuple, dict]:
    """(args, kwargs)."""
    if isinstance(held_out, tuple) and len(held_out) == 2:
        args, kwargs = held_out
        if isinstance(args, tuple | list) and isinstance(kwargs, Mapping):
            return tuple(args), dict(kwargs)
    raise ModelError("held_out= of another kind", "the arguments of a call, (args, kwargs)", "held_out=((x, y), {})")


def _short(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}" if abs(x) < 1e6 else number(x)


def _clipped(k: float) -> str:
    return "< 0" if k < 0 else "> 10" if k > 10 else f"{k:.2f}"


def _seconds(x: float) -> str:
    return "-" if np.isnan(x) else "never" if np.isinf(x) else f"{x:.2f}" if x < 100 else f"{x:.0f}"
