"""The front door: a model function and its arguments in, a Fit out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
    without_guides,
)
from .algorithms.stages import INTERRUPTED
from .array import BranchOnDraw
from .elbo import Problem, problem
from .errors import GuideError, ModelError, PPLError, nearest
from .fit import Fit, continued, evaluate, judge, keeping, kept
from .guides import check_guide
from .model.calls import refuse_own_names, seed_of

EXECUTORS = ("auto", "numpy", "eager", "jax")
UNCHANGED = ("point", "conjugate")  # guides of algorithms that fit the sites as they are written
WORDS = ("not trusted", "usable", "trusted")
WHY_CAVI = "algorithm: CAVI, because discrete sites have exact updates in closed form here, and no noise"
OWN = ("guide", "algorithm", "seed", "progress", "executor")


def infer(
    model: Callable,
    *args: Any,
    guide: str | Callable | None = None,
    algorithm: Any = "auto",
    seed: int = 0,
    progress: Any = True,
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
        the variational family: "meanfield", "fullrank", "lowrank", "amortized" (networks for the latents of
        plates, from what is observed there), a function with the model's arguments, or None for the automatic one.
    algorithm
        a name ("bbvi"), an object (`ppl.BBVI(steps=1000)`), or "auto": `BBVI`, and where its fit is not
        trusted a full-rank guide, then `DADVI`; the best of them is kept. `explain()` says which, and why.
    seed
        the same seed gives the same answer.
    progress
        show a bar when the run takes longer than a second; or a class of bars, which is made with the number of
        steps to come and has `update(history)` and `close()`.
    executor
        "numpy", "eager", "jax" (compiled by JAX; the steps of `BBVI` have noise of JAX's keys, `DADVI`, `Laplace` and
        `MAP` find what NumPy finds), or "auto": eager where control flow depends on a draw, JAX for the steps of
        `BBVI` where it is installed and a step costs much.

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
    refuse_own_names(model, OWN, "ppl.infer")
    check_guide(guide)
    if executor not in EXECUTORS:
        close = nearest(str(executor), EXECUTORS)
        raise ModelError(f"executor={executor!r}", f"one of {EXECUTORS}", f"executor='{close or EXECUTORS[0]}'")
    seed = seed_of(seed)
    chosen = _algorithm(algorithm)
    own = getattr(chosen, "guide", None)
    if own is not None and guide not in (None, own):
        raise GuideError(
            f"guide={guide!r} with algorithm '{chosen.name}'", f"no guide: it fits {own!r} by its nature", "no guide="
        )
    bar = progress if callable(progress) else Bar if progress else None
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
    p = without_guides(p, chosen, seed)
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
    setup = replace(setup, gradients=fit.solution.gradients)  # of all that is tried
    if algorithm != "auto":
        return fit
    fit = _noting(fit, f"algorithm: {type(chosen).__name__}, because {_why(fit)}")
    chooses = guide is None and fit.executor != "eager" and may_try_others(setup)
    if chooses and fit.verdict.word == "not trusted" and not fit.solution.interrupted:
        fit = _second_opinion(fit, chosen, setup, seed, executor, bar)
    if first is None:
        return fit
    best, other = sorted((first, fit), key=lambda x: (WORDS.index(x.verdict.word), x.elbo), reverse=True)
    name = type(other.algorithm).__name__
    return _noting(best, f"also tried, algorithm: {name}, and found no better: {_standing(other)}")


def _why(fit: Fit) -> str:
    """Why stochastic gradients are what is tried first."""
    subsampled = [q.name for q in fit.problem.graph.plates.values() if q.subsampled]
    if fit.executor == "eager":
        return "control flow depends on a draw, which only stochastic gradients follow"
    if subsampled:
        return f"plate '{subsampled[0]}' is subsampled, and only stochastic gradients read minibatches"
    if fit.solution.plan.any_score:
        return "some term has no gradient in the guide's draws, and only stochastic gradients use its score"
    return (
        "every term has a gradient in the guide's draws, or is exact: stochastic gradients, averaged, are quick there"
    )


def _noting(fit: Fit, *notes: str) -> Fit:
    """The fit with notes before its own."""
    return replace(fit, solution=fit.solution.noting(notes))


def _standing(fit: Fit) -> str:
    k_hat = fit.verdict.k_hat
    return f"{fit.verdict.word}, bound {fit.elbo:.2f}" + ("" if k_hat is None else f", k-hat {k_hat:.2f}")


def _fitted(chosen: Any, setup: Setup, seed: int, executor: str, bar: Any) -> Fit:
    """Run the algorithm on what was set up, and judge what it found."""
    p, guide, path = setup.problem, setup.guide, getattr(chosen, "checkpoint", None)
    keep = {} if path is None else {"keep": keeping(p, guide, chosen, seed, setup.notes)}
    solution = chosen.run(
        p, guide, seed=seed, executor=executor, progress=bar, starts=setup.starts, objective=setup.objective, **keep
    )
    solution = replace(solution, gradients=solution.gradients + setup.gradients)
    fit = Fit.of(p, guide, solution.noting(setup.notes, setup.doubts), seed, chosen)
    if path is not None and (solution.run is not None or solution.converged):  # else there is nothing to go on from
        fit.save(path)
    return fit


def _second_opinion(fit: Fit, chosen: Any, setup: Setup, seed: int, executor: str, bar: Any) -> Fit:
    """A fit that is not trusted against others, in order: a full-rank guide, then fixed draws with linear response."""
    tried: list[str] = []
    for name, algorithm, guide in (
        ("guide: full-rank", chosen, "fullrank"),
        ("algorithm: DADVI", DADVI(), DADVI.guide),
    ):
        if fit.verdict.word != "not trusted":
            break
        if guide == setup.guide == "fullrank":
            continue
        before = _standing(fit)
        try:
            found = _fitted(algorithm, replace(setup, guide=guide, starts=None, objective=None), seed, executor, bar)
        except PPLError as problem:  # it has no gradient, or no start: the fit that there is remains
            tried.append(f"also tried, {name}: {problem.got}")
            continue
        ranks = [(WORDS.index(x.verdict.word), x.elbo) for x in (fit, found)]
        if ranks[1] > ranks[0]:
            fit, tried = found, [*tried, f"{name}, because the fit before was worse: {before}"]
        else:
            tried.append(f"also tried, {name}, and found no better: {_standing(found)}")
    return _noting(fit, *tried)


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
            close = nearest(algorithm, sorted(ALGORITHMS)) or "auto"
            raise ModelError(f"algorithm={algorithm!r}", f"'auto' or one of {sorted(ALGORITHMS)}", f"'{close}'")
        return ALGORITHMS[algorithm]()
    if isinstance(algorithm, type) or not hasattr(algorithm, "run"):
        of_class = isinstance(algorithm, type) and algorithm in ALGORITHMS.values()
        hint = f"ppl.{algorithm.__name__}()" if of_class else "ppl.BBVI(steps=1000)"
        raise ModelError(f"algorithm={algorithm!r}", "a name or an algorithm", hint)
    return algorithm
