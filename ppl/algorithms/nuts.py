"""The no-U-turn sampler, by the library mici, in the coordinates of a variational fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ..elbo import Derivation, Objective, Problem, choose, derive
from ..errors import ModelError, NumericalError
from ..guides import Joint
from ..model.calls import check_names, count_of
from .density import LogDensity
from .deterministic import check_executor, triangle
from .interrupts import BetweenSteps
from .noise import Stream, generator
from .sampled import Sampled
from .stages import ASKED, INTERRUPTED, Info, Keep, Run, Solution, State
from .start import good_start

GUIDE = "meanfield"  # whose noise the chains walk in
DENSE = 300  # latent dimensions up to which the warm start has all covariances
FEW = 50  # and up to which the chains' own covariances are estimated, not their variances alone
SPLIT = (0.15, 0.3, 0.75, 1.0)  # of the warm-up: ends of the windows after which the metric is estimated
FEWEST = 20  # draws of a window, for an estimate
MAX_DEPTH = 10
NO_WEIGHTS = "chains walk on the posterior itself: R-hat, effective sizes and divergences judge them"
STATS = ("log_density", "diverging", "n_steps", "tree_depth", "acceptance_rate", "energy", "step_size")


class Settled(NamedTuple):
    """What the warm-up leaves: positions (chains, D), the metric's root, and the step size."""

    positions: np.ndarray
    root: np.ndarray
    step_size: float


@dataclass(frozen=True)
class NUTS:
    """Draws from the posterior by the no-U-turn sampler (Hoffman and Gelman 2014), as a referee.

    Several chains begin at draws of a variational fit, and walk in its noise e, u = loc + scale e on the
    unconstrained axis, where the posterior is about standard normal: the fit is the first metric. The
    warm-up adapts the step size and refines the metric. Finite sites are summed out and drawn back;
    `guide=` at a site is ignored. Needs the library mici (extra `mcmc`).

    The verdict is by R-hat, effective sample sizes and divergences; there is no k-hat, and `fit.elbo` is
    that of the fit the chains began from. `fit.history` is the mean log density of the chains, draw by draw.

    Parameters
    ----------
    steps
        draws that each chain keeps.
    chains
        how many chains.
    warmup
        draws of each chain before these.
    target
        the mean acceptance rate that the step size is adapted to; nearer to 1 means smaller steps.
    gradients
        gradient evaluations after which no further draw is begun, warm-up included; None: no limit.
    init
        "auto" (a short deterministic fit), an earlier Fit, whose guide and form of the model are taken, or a
        dict of a guide's parameter values.
    callback
        called as `callback(state, info)` after every draw of all chains; returning False ends the run.
    checkpoint, checkpoint_every
        as of `ppl.BBVI`: a file that keeps the draws while the run goes on.

    Raises
    ------
    ModelError
        a learned parameter (`ppl.param`), a discrete site that is not summed out, a jump on the way to the
        density, or no mici.
    NumericalError
        chains that find no step size.

    >>> NUTS(steps=500, chains=2).warmup
    400
    """

    steps: int = 1000
    chains: int = 4
    warmup: int = 400
    target: float = 0.9
    gradients: int | None = None
    init: Any = "auto"
    callback: Callable[[State, Info], Any] | None = None
    checkpoint: str | PathLike | None = None
    checkpoint_every: float = 30.0

    name = "nuts"
    ignores_guides = True

    def run(
        self,
        p: Problem,
        guide: Any,
        *,
        seed: int = 0,
        executor: str = "auto",
        progress: Callable | None = None,
        starts: Mapping[str, np.ndarray] | None = None,
        objective: Objective | None = None,
        run: Run | None = None,
        keep: Keep | None = None,
        sampled: Sampled | None = None,
        values: Mapping[str, np.ndarray] | None = None,
    ) -> Solution:
        """Warm up, and draw; `sampled` and its guide's `values` are what an earlier run kept, to go on from."""
        check_executor(self.name, executor)
        for field in ("steps", "chains", "warmup"):
            count_of(field, getattr(self, field))
        if not 0.0 < self.target < 1.0:
            raise ModelError(f"target={self.target!r}", "an acceptance rate between 0 and 1", "target=0.9")
        mici = _mici()
        root = None
        if values is None:
            values, root = self._warm_start(p, guide, seed, starts, objective)
        density = LogDensity.of(p, GUIDE, values, seed, "NUTS")
        full = {q.name: q.size for q in density.objective.derivation.plates.values()}
        d = derive(replace(p, dtype=np.dtype(np.float64)), GUIDE, plate_sizes=full, seed=seed)
        values = {**{n: x.init for n, x in d.parameters.items()}, **values}  # those of a guide that is ignored
        begun = Solution(dict(values), np.zeros(0), "", False, 0, Objective(d, choose(d)), "numpy", guide=GUIDE)
        return _Chains(self, mici, density, seed).run(begun, root, sampled, progress, keep)

    def _warm_start(
        self, p: Problem, guide: Any, seed: int, starts: Mapping[str, np.ndarray] | None, objective: Objective | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """A factorised Gaussian guide, and a root of the covariance of its noise: by what is given, or a pilot."""
        flat = LogDensity.of(p, GUIDE, {}, seed, "NUTS")  # refuses, before anything is fitted, what cannot be sampled
        d = derive(p, guide, seed=seed)
        if isinstance(self.init, dict):
            check_names("init", self.init, d.parameters)
            starts = {n: np.asarray(self.init.get(n, x.init), dtype=float) for n, x in d.parameters.items()}
        elif starts is None:
            objective = Objective(d, choose(d))
            starts = good_start(p, guide, d, objective, seed).values
        subsampled = any(q.subsampled for q in p.graph.plates.values())
        if guide == GUIDE and 1 < flat.size <= DENSE and not subsampled:
            known = None if objective is None or isinstance(self.init, dict) else (objective, dict(starts))
            d = derive(p, "fullrank", seed=seed)
            starts = {**starts, **good_start(p, "fullrank", d, Objective(d, choose(d)), seed, known).values}
        return factorised(p, d, starts, [f.name for f in flat.factors])


def factorised(
    p: Problem, d: Derivation, values: Mapping[str, np.ndarray], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters of a factorised guide with the locations and variances of a Gaussian one, and the rest of it.

    The rest is a root of the correlations, by which the noise of these sites, in order, is correlated.
    """
    joint = next((f for f in d.factors if f.name == Joint.NAME), None)
    if joint is None:
        kept = {f"{n}.{kind}": values[f"{n}.{kind}"] for n in names for kind in ("loc", "scale")}
        return kept, np.ones(sum(np.size(values[f"{n}.scale"]) for n in names))
    ends = np.cumsum([0, *(int(np.prod(p.shapes[s], dtype=np.int64)) for s in joint.sites)])
    places = {s: np.arange(a, b) for s, a, b in zip(joint.sites, ends, ends[1:], strict=False)}
    of = {
        kind: np.asarray(values.get(f"{Joint.NAME}.{kind}", 0.0))
        for kind in ("loc", "scale", "scale_tril", "cov_factor")
    }
    root = (
        of["scale_tril"] if of["scale_tril"].ndim else np.concatenate([of["cov_factor"], np.diag(of["scale"])], axis=1)
    )
    scale = np.linalg.norm(root, axis=1)
    out = {}
    for n in names:
        out[f"{n}.loc"], out[f"{n}.scale"] = (x[places[n]].reshape(p.shapes[n]) for x in (of["loc"], scale))
    order = np.concatenate([places[n] for n in names])
    return out, triangle((root / scale[:, None])[order])


class _Kept(NamedTuple):
    """One draw of every chain: noise (chains, D), and numbers (chains, len(STATS))."""

    noise: np.ndarray
    stats: np.ndarray


@dataclass(frozen=True)
class _Chains:
    """The chains of one run, in coordinates b of their own: e = root b."""

    settings: NUTS
    mici: Any
    density: LogDensity
    seed: int

    def run(
        self,
        begun: Solution,
        root: np.ndarray | None,
        before: Sampled | None,
        progress: Callable | None,
        keep: Keep | None,
    ) -> Solution:
        """Draws until there are enough, or somebody wants no more of them."""
        s, held, why = self.settings, BetweenSteps(), ""
        kept = [] if before is None else self._of(before)
        spent = 0 if before is None else int(before.state["gradients"])
        total = s.steps + (s.warmup if before is None else 0)
        bar = progress(total) if progress else None
        if bar is not None:
            bar.what = "log density"
        heights = [float(k.stats[:, 0].mean()) for k in kept]
        settled = None if before is None else Settled(*(before.state[n] for n in Settled._fields))
        try:
            with held.listening():
                if settled is None:
                    settled, spent = self._warmed_up(root, held, bar)
                shown = [heights[-1] if heights else np.nan] * (total - s.steps)
                steps = [self._step(settled.root, float(settled.step_size)) for _ in range(s.chains)]
                while len(kept) < s.steps and not why:
                    with held:
                        moved = [
                            step(b, c, s.warmup + len(kept))
                            for c, (step, b) in enumerate(zip(steps, settled.positions, strict=True))
                        ]
                        settled = settled._replace(positions=np.array([b for b, _ in moved]))
                        noise = _times(settled.root, settled.positions)
                        kept.append(_Kept(noise, np.array([[x[n] for n in STATS] for _, x in moved], dtype=float)))
                        spent += int(sum(x["n_steps"] for _, x in moved))
                        heights.append(float(kept[-1].stats[:, 0].mean()))
                    if bar is not None:
                        bar.update([*shown, *heights])
                    if s.callback is not None:
                        state = State(len(kept), settled.positions, None, float(settled.step_size))
                        why = ASKED if s.callback(state, Info(heights[-1], True)) is False else ""
                    if s.gradients is not None and spent >= s.gradients:
                        why = f"the limit of {s.gradients} gradient evaluations was reached"
                    if not why and keep is not None and keep.due():
                        with held:
                            keep.write(self._solution(begun, kept, settled, spent, ""), None)
        except KeyboardInterrupt:
            why = INTERRUPTED
        finally:
            if bar is not None:
                bar.close()
        if settled is None or len(kept) < FEWEST:
            what = "this is the fit that the chains begin from, and not a draw of theirs"
            return replace(begun, stop_reason=f"{why}: {what}", interrupted=True, gradients=spent)
        return self._solution(begun, kept, settled, spent, why)

    def _solution(self, begun: Solution, kept: Sequence[_Kept], settled: Settled, spent: int, why: str) -> Solution:
        s, count = self.settings, len(kept)
        rows, stats = (np.stack(x, axis=1) for x in zip(*kept, strict=True))  # (chains, draws, ...)
        state = {**{n: np.asarray(x) for n, x in settled._asdict().items()}, "gradients": np.asarray(spent)}
        by_name = dict(zip(STATS, stats.reshape(-1, len(STATS)).T, strict=True))
        noise = self.density.noise(rows.reshape(-1, rows.shape[-1]), self.seed)
        reason = f"{s.chains} chains kept {count} draws each, after {s.warmup} of warm-up"
        return replace(
            begun,
            history=stats[:, :, 0].mean(0),
            stop_reason=f"{reason}; {why}" if why else reason,
            converged=why != INTERRUPTED,
            steps=count,
            interrupted=why == INTERRUPTED,
            gradients=spent,
            no_weights=NO_WEIGHTS,
            sampled=Sampled(noise, s.chains, by_name, state),
        )

    def _of(self, before: Sampled) -> list[_Kept]:
        """The draws of an earlier run, one of every chain at a time."""
        rows = np.concatenate([before.noise[f.name].reshape(before.count, -1) for f in self.density.factors], axis=1)
        stats = np.stack([before.stats[n] for n in STATS], axis=1)
        shape = (before.chains, before.count // before.chains, -1)
        return [_Kept(*k) for k in zip(*(np.swapaxes(x.reshape(shape), 0, 1) for x in (rows, stats)), strict=True)]

    # -- one chain ---------------------------------------------------------------------------------
    def _system(self, root: np.ndarray) -> Any:
        """What mici walks on: minus the log density in b, and its gradient; a value of infinity is no value."""

        def slope(b: np.ndarray) -> tuple[np.ndarray, float]:
            value, e_slope = self.density(_times(root, b))
            finite = np.isfinite(value) and bool(np.all(np.isfinite(e_slope)))
            return (-_times(root.T, e_slope), -value) if finite else (np.full(b.shape, np.nan), np.nan)

        return self.mici.systems.EuclideanMetricSystem(lambda b: slope(b)[1], grad_neg_log_dens=slope)

    def _transitions(self, root: np.ndarray, step_size: float | None) -> tuple[Any, Any]:
        system = self._system(root)
        integrator = self.mici.integrators.LeapfrogIntegrator(system, step_size)
        kinds = self.mici.transitions
        walk = kinds.MultinomialDynamicIntegrationTransition(system, integrator, max_tree_depth=MAX_DEPTH)
        return kinds.IndependentMomentumTransition(system), walk

    def _step(self, root: np.ndarray, step_size: float) -> Callable:
        """One draw of a chain after another, with numbers of its own."""
        turn, walk = self._transitions(root, step_size)
        return lambda b, chain, number: self._moved(turn, walk, b, chain, number)[:2]

    def _moved(self, turn: Any, walk: Any, b: np.ndarray, chain: int, number: int) -> tuple[np.ndarray, dict, Any]:
        rng = generator(self.seed, (chain << 40) + number, Stream.CHAINS)
        state, _ = turn.sample(self.mici.states.ChainState(pos=b, mom=None, dir=1), rng)
        with np.errstate(all="ignore"):
            state, stats = walk.sample(state, rng)
            stats["tree_depth"] += 1  # doublings, counted from one
            stats["log_density"], stats["energy"] = -walk.system.neg_log_dens(state), walk.system.h(state)
        stats["acceptance_rate"], stats["n_steps"] = stats["av_metrop_accept_prob"], stats["n_step"]
        return state.pos, stats, state

    # -- the warm-up ---------------------------------------------------------------------------------
    def _warmed_up(self, root: np.ndarray, held: BetweenSteps, bar: Any) -> tuple[Settled, int]:
        """Step size and metric, from where a draw of the guide is; and how many gradients that took."""
        s = self.settings
        noise = np.array([self._start(root, c) for c in range(s.chains)])
        step, spent, done, history = None, 0, 0, []
        ends = [max(int(share * s.warmup), n + 1) for n, share in enumerate(SPLIT[:-1])]
        for end in (*ends, s.warmup):
            positions, seen = _solved(root, noise), []
            adapter = self.mici.adapters.DualAveragingStepSizeAdapter(self.settings.target)
            pairs = [self._transitions(root, step) for _ in range(s.chains)]
            learnt = [
                self._adapted(adapter, turn, walk, b, c)
                for c, ((turn, walk), b) in enumerate(zip(pairs, positions, strict=True))
            ]
            for number in range(done, end):
                with held:
                    for c, (turn, walk) in enumerate(pairs):
                        positions[c], stats, state = self._moved(turn, walk, positions[c], c, number)
                        adapter.update(learnt[c], state, stats, walk)
                        spent += stats["n_steps"]
                    seen.append(_times(root, positions))
                    history.append(float(stats["log_density"]))
                if bar is not None:
                    bar.update(history)
                if s.gradients is not None and spent >= s.gradients // 2 and number + 1 >= ends[0]:
                    end = s.warmup  # what is left is for draws
                    break
            step = float(np.exp(np.mean([x["smoothed_log_step_size"] for x in learnt])))
            noise, done = seen[-1], end
            if done < s.warmup and len(seen) * s.chains >= FEWEST:
                root = _root(np.concatenate(seen[len(seen) // 2 if done == ends[0] else 0 :]))
            elif done >= s.warmup:
                break
        return Settled(_solved(root, noise), root, step), spent

    def _adapted(self, adapter: Any, turn: Any, walk: Any, b: np.ndarray, chain: int) -> dict:
        rng = generator(self.seed, (chain << 40) + (1 << 39), Stream.CHAINS)
        state, _ = turn.sample(self.mici.states.ChainState(pos=b, mom=None, dir=1), rng)
        try:
            with np.errstate(all="ignore"):
                return adapter.initialize(state, walk)
        except self.mici.errors.AdaptationError:
            raise NumericalError(
                "chains that find no step size: the log density is flat, or jumps, where they begin",
                "a proper posterior with a smooth density",
                "ppl.infer(model, ...).verdict, which may say in which direction nothing holds it",
            ) from None

    def _start(self, root: np.ndarray, chain: int) -> np.ndarray:
        """A draw of the guide with a finite density, nearer to its middle where there is none farther out."""
        rng = generator(self.seed, (chain << 40) + (1 << 39) + 1, Stream.CHAINS)
        for attempt in range(100):
            e = _times(root, rng.standard_normal(self.density.size) * 0.97**attempt)
            value, slope = self.density(e)
            if np.isfinite(value) and np.all(np.isfinite(slope)):
                return e
        raise NumericalError(
            "a log density that is not finite at 100 draws of the fit that the chains begin from",
            "a density that is finite where the posterior is",
            "init= an earlier fit, or an algorithm that says which term it is: algorithm='bbvi'",
        )


def _root(rows: np.ndarray) -> np.ndarray:
    """A root of the draws' covariance, drawn towards the identity as if by five draws of the guide."""
    n, size = rows.shape
    share = n / (n + 5.0)
    if size > FEW or n < 5 * size:
        return np.sqrt(share * rows.var(0, ddof=1) + 1.0 - share)
    return np.linalg.cholesky(share * np.cov(rows.T).reshape(size, size) + (1.0 - share) * np.eye(size))


def _times(root: np.ndarray, b: np.ndarray) -> np.ndarray:
    """root b, for one or many b; a vector stands for a diagonal."""
    return b * root if root.ndim == 1 else b @ root.T


def _solved(root: np.ndarray, e: np.ndarray) -> np.ndarray:
    return e / root if root.ndim == 1 else np.linalg.solve(root, e.T).T


def _mici() -> Any:
    try:
        import mici
    except ImportError:
        raise ModelError("NUTS without mici", "the extra 'mcmc'", "pip install 'ppl[mcmc]'") from None
    return mici
