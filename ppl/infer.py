"""The front door: a model function and its arguments in, a Fit out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from .algorithms import (
    ALGORITHMS,
    BBVI,
    CAVI,
    DADVI,
    Bar,
    Setup,
    has_closed_forms,
    matching,
    may_try_others,
    rewritten,
    set_up,
)
from .algorithms.stages import INTERRUPTED
from .array import BranchOnDraw
from .elbo import Problem, problem
from .errors import GuideError, ModelError, PPLError
from .fit import Fit, continued, evaluate, judge, keeping, kept
from .model.calls import refuse_own_names

UNCHANGED = ("point", "conjugate")  # guides of algorithms that fit the sites as they are written
WORDS = ("not trusted", "usable", "trusted")
WHY_CAVI = "coordinate ascent in closed form: discrete sites have exact updates here, and score functions are noisy"
OWN = ("guide", "algorithm", "seed", "progress", "executor")


def infer(
    model: Callable,
    *args: Any,
    guide: str | Callable | None = None,
    algorithm: Any = "auto",
    seed: int = 0,
    progress: bool = True,
    executor: str = "auto",
    **kwargs: Any,
) -> Fit:
    """Fit the posterior of a model to data.

    Parameters
    ----------
    model
        a plain function over NumPy with `ppl.sample` statements.
    *args, **kwargs
        its arguments.
    guide
        the variational family: "meanfield", "fullrank", "lowrank", a function with the model's
        arguments, or None for the automatic one.
    algorithm
        a name ("bbvi"), an object (`ppl.BBVI(steps=1000)`), or "auto".
    seed
        the same seed gives the same answer.
    progress
        show a bar when the run takes longer than a second.
    executor
        "numpy", "eager", or "auto": eager only where control flow depends on a draw.

    Raises
    ------
    PPLError
        one of its kinds, with the site's name, what was expected and what to try.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 10))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> fit = ppl.infer(model, 1.5, progress=False)
    >>> round(float(fit["mu"].mean), 2)
    1.49
    """
    refuse_own_names(model, OWN, "infer")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ModelError(f"seed={seed!r}", "a whole number from 0 to 2**63 - 1", "seed=0")
    chosen = _algorithm(algorithm)
    own = getattr(chosen, "guide", None)
    if own is not None and guide not in (None, own):
        raise GuideError(f"guide={guide!r} with algorithm '{chosen.name}'", f"no guide: it fits {own!r} by its nature")
    bar = Bar if progress else None
    if kept(chosen):
        return continued(chosen, model, args, kwargs, guide, seed, bar)
    eager = executor == "eager"
    try:
        p = problem(model, args, kwargs, eager=eager, seed=seed)
    except BranchOnDraw:
        if executor != "auto":
            raise
        p = problem(model, args, kwargs, eager=True, seed=seed)
        executor = "eager"
    first = None
    if algorithm == "auto" and guide is None and executor == "auto" and has_closed_forms(p):
        first = _fitted(CAVI(), Setup(p, CAVI.guide, None, (WHY_CAVI,)), seed, executor, bar)
        if first.verdict.word != "not trusted" or first.solution.interrupted:
            return first
    setup, init = Setup(p, guide, None, ()), getattr(chosen, "init", None)
    if isinstance(init, Fit):  # its parameters, and with its guide also its form of the model
        form = init.problem.form if guide in (None, init.guide) else {}
        same = init.guide if guide is None and init.guide != "point" else guide
        setup = Setup(rewritten(p, form, seed) if form else p, same, None, ())
        chosen = replace(chosen, init=init.params)
    elif guide is None and isinstance(init, dict):
        setup = matching(p, init, seed)
    elif guide is None and executor != "eager" and own not in UNCHANGED:
        try:
            setup = set_up(p, seed)
        except BranchOnDraw:
            setup = Setup(p, "meanfield", None, ())
        except KeyboardInterrupt:
            return _interrupted(p, seed)
    if own is not None:
        setup = replace(setup, guide=own, starts=None, objective=None)
    fit = _fitted(chosen, setup, seed, executor, bar)
    chooses = guide is None and algorithm == "auto" and fit.executor == "numpy" and may_try_others(setup)
    if chooses and fit.verdict.word == "not trusted" and not fit.solution.interrupted:
        fit = _second_opinion(fit, chosen, setup, seed, executor, bar)
    return fit if first is None else _better(first, fit)


def _fitted(chosen: Any, setup: Setup, seed: int, executor: str, bar: Any) -> Fit:
    """Run the algorithm on what was set up, and judge what it found."""
    p, guide, path = setup.problem, setup.guide, getattr(chosen, "checkpoint", None)
    keep = {} if path is None else {"keep": keeping(p, guide, chosen, seed, setup.notes)}
    solution = chosen.run(
        p, guide, seed=seed, executor=executor, progress=bar, starts=setup.starts, objective=setup.objective, **keep
    )
    fit = Fit.of(p, guide, solution.noting(setup.notes), seed, chosen)
    if path is not None and (solution.run is not None or solution.converged):  # else there is nothing to go on from
        fit.save(path)
    return fit


def _better(a: Fit, b: Fit) -> Fit:
    """The one that is trusted more; of equals the one with the higher bound."""
    return max((a, b), key=lambda x: (WORDS.index(x.verdict.word), x.elbo))


def _second_opinion(fit: Fit, chosen: Any, setup: Setup, seed: int, executor: str, bar: Any) -> Fit:
    """A fit that is not trusted against others, in order: a full-rank guide, then fixed draws with linear response."""
    for name, algorithm, guide in (("full-rank guide", chosen, "fullrank"), ("fixed draws", DADVI(), DADVI.guide)):
        if fit.verdict.word != "not trusted":
            break
        if guide == setup.guide == "fullrank":
            continue
        before = "-" if fit.verdict.k_hat is None else f"{fit.verdict.k_hat:.2f}"
        note = f"{name}, because the fit before has a k-hat of {before}, and a bound of {fit.elbo:.2f}"
        other = replace(setup, guide=guide, starts=None, objective=None, notes=(*setup.notes, note))
        try:
            found = _fitted(algorithm, other, seed, executor, bar)
        except PPLError:  # it has no gradient, or no start: the fit that there is remains
            continue
        ranks = [(WORDS.index(x.verdict.word), x.elbo) for x in (fit, found)]
        fit = found if ranks[1] > ranks[0] else fit
    return fit


def _interrupted(p: Problem, seed: int) -> Fit:
    """What there is when the first thing that happens is Ctrl-C: the guide as it starts."""
    solution = BBVI(steps=1).run(p, "meanfield", seed=seed, starts={})
    solution = replace(solution, stop_reason=INTERRUPTED, converged=False, interrupted=True, run=None)
    bound = evaluate(p, "meanfield", solution.objective, solution.values, executor=solution.executor, seed=seed)
    ratios = INTERRUPTED
    verdict = judge(solution, bound, ratios, p.graph.warnings)
    return Fit(p, "meanfield", solution, bound, ratios, verdict, seed, BBVI())


def _algorithm(algorithm: Any) -> Any:
    if algorithm == "auto":
        return BBVI()
    if isinstance(algorithm, str):
        if algorithm not in ALGORITHMS:
            close = get_close_matches(algorithm, ALGORITHMS, 1)
            raise ModelError(
                f"algorithm={algorithm!r}", f"'auto' or one of {sorted(ALGORITHMS)}", f"'{close[0]}'" if close else ""
            )
        return ALGORITHMS[algorithm]()
    if not hasattr(algorithm, "run"):
        raise ModelError(f"algorithm={algorithm!r}", "a name or an algorithm", "ppl.BBVI(steps=1000)")
    return algorithm
