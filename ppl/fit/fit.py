"""The result of an inference: the posterior, its bound, its verdict, and how it came about."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..algorithms import Bar, Solution
from ..algorithms.evaluate import Bound, bound_of, evaluate
from ..algorithms.noise import Stream, draw, generator
from ..array import compile_program, is_recorded, prune
from ..elbo import Derivation, EagerObjective, FactorFacts, Finite, Problem, derive, network_of
from ..elbo.flow import flow
from ..errors import ModelError, PPLError
from ..graph import ModelGraph
from ..guides import Joint, NormalChain, StateChain
from ..model import RowTable
from ..model.calls import check_call, check_names, count_of, refuse_own_names, seed_of
from ..model.missing import part_name
from .drift import drifts
from .explain import explain
from .marginals import (
    Marginal,
    from_chain,
    from_distribution,
    from_draws,
    from_gaussian,
    from_states,
    from_weighted,
    joined,
)
from .predictive import Draws, posterior_predictive
from .runs import draws_at, probabilities, rows_of
from .summary import Summary, number, summarize
from .verdict import Verdict, judge
from .weights import EXACT, Ratios, log_evidence, ratios_of, weigh

if TYPE_CHECKING:
    from .amortized import Gap
    from .heldout import Predictive
    from .information import Information, LogLikelihood

SUMMARY_DRAWS = 4000
LARGEST_TABLE = 100_000  # numbers of a site that a table shows
STATES_WORK = 100_000_000  # counted cost of averaging what was summed out over draws


class Evidence(NamedTuple):
    """An estimate of log p(data), and its standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class Fit:
    """What `ppl.infer` returns; `print` shows the verdict, then the table.

    `fit["site"]` has `.mean`, `.sd` and `.quantile(q)`; `fit.sample(n)` draws, `fit.predict()`
    gives the posterior predictive, `fit.explain()` the derived bound.
    """

    problem: Problem
    guide: Any
    solution: Solution
    bound: Bound
    ratios: Ratios | str
    verdict: Verdict
    seed: int
    algorithm: Any = None

    @classmethod
    def of(cls, p: Problem, guide: Any, solution: Solution, seed: int, algorithm: Any = None) -> Fit:
        """The fit that a solution makes: its bound, its draws' weights, and what these say."""
        guide = guide if solution.guide is None else solution.guide
        if solution.sampled is not None:
            return cls._of_draws(p, guide, solution, seed, algorithm)
        if solution.bound is None:
            bound = evaluate(p, guide, solution.objective, solution.values, executor=solution.executor, seed=seed)
        else:
            bound = Bound(solution.bound, 0.0, 0, {t: (x, 0.0) for t, x in solution.terms.items()})
        ratios = solution.no_weights or weigh(p, guide, solution, seed)
        verdict = judge(solution, bound, ratios, p.graph.warnings)
        if verdict.word == "not trusted":
            verdict = replace(verdict, warnings=(*verdict.warnings, *solution.symmetries))
        return cls(p, guide, solution, bound, ratios, verdict, seed, algorithm)

    @classmethod
    def _of_draws(cls, p: Problem, guide: Any, solution: Solution, seed: int, algorithm: Any) -> Fit:
        """The fit of a solution that has draws in the place of a guide."""
        if solution.sampled.weighted:
            ratios = ratios_of(solution, seed)
            own = ratios.log_ratios
            bound = bound_of(own, {})
            return cls(
                p, guide, solution, bound, ratios, judge(solution, bound, ratios, p.graph.warnings), seed, algorithm
            )
        from .chains import judge_chains

        objective, values = solution.objective, solution.values
        bound = evaluate(p, guide, objective, values, executor=solution.executor, seed=seed)
        verdict = judge_chains(solution, p.graph.warnings, drifts(solution, seed), seed)
        return cls(p, guide, solution, bound, solution.no_weights, verdict, seed, algorithm)

    # -- facts -------------------------------------------------------------------------------
    @property
    def elbo(self) -> float:
        """The bound on the log evidence, for the full data."""
        return self.bound.elbo

    @property
    def elbo_se(self) -> float:
        """Its Monte Carlo standard error; 0 where every term is exact."""
        return self.bound.se

    @property
    def history(self) -> np.ndarray:
        """The bound's estimate at every step."""
        return self.solution.history

    @property
    def held_out(self) -> np.ndarray:
        """The bound on held-out data in training: rows (step, bound)."""
        run = self.solution.run
        return np.array(run.held_out if run is not None else (), dtype=float).reshape(-1, 2)

    @property
    def params(self) -> dict[str, np.ndarray]:
        """Learned parameters, the guide's and the model's, in their constrained values."""
        return self.solution.values

    @property
    def graph(self) -> ModelGraph:
        """The model as a graph of distributions."""
        return self.problem.shown or self.problem.graph

    @property
    def executor(self) -> str:
        """What ran the array program."""
        return self.solution.executor

    # -- the posterior -------------------------------------------------------------------------
    @cached_property
    def _full(self) -> Derivation:
        """The derivation with every plate at its full size."""
        d = self.solution.derivation
        subsampled = {p.name: p.size for p in d.plates.values() if p.subsampled}
        if not subsampled:
            return d
        return derive(
            self.problem,
            self.guide,
            plate_sizes=subsampled,
            starts=self.params,
            eager=self.executor == "eager",
            seed=self.seed,
        )

    def sample(
        self, num_samples: int = 1000, *, seed: int | None = None, resample: bool = False
    ) -> dict[str, np.ndarray]:
        """Draws from the guide: `{site or deterministic: array (num_samples, ...)}`.

        With `resample=True` they are drawn by their smoothed importance weights, which brings them
        nearer to the posterior where k-hat is below 0.7.

        Raises
        ------
        ModelError
            with `resample=True`, where there are no importance weights.

        >>> import ppl, ppl.distributions as dist
        >>> def model():
        ...     z = ppl.sample("z", dist.Normal(0, 1))
        ...     ppl.sample("y", dist.Normal(z, 1), obs=1.0)
        >>> ppl.infer(model, progress=False).sample(10)["z"].shape
        (10,)
        """
        num_samples, seed = self._asked(num_samples, seed)
        draws = self._some(num_samples, seed, resample, "fit.sample(resample=True)")
        return {n: x for n, x in draws.items() if n in self.graph.nodes}

    def _asked(self, num_samples: Any, seed: Any) -> tuple[int, int]:
        return count_of("num_samples", num_samples), self.seed if seed is None else seed_of(seed)

    def _some(self, num_samples: int, seed: int, resample: bool, what: str) -> dict[str, np.ndarray]:
        return self._resample(num_samples, seed, what)[0] if resample else self._everything(num_samples, seed)

    def _everything(self, num_samples: int, seed: int) -> dict[str, np.ndarray]:
        """Draws of everything, auxiliary sites of a rewritten model included."""
        return (self._sample_eagerly if self.executor == "eager" else self._sample)(num_samples, seed)

    def _resample(self, num_samples: int, seed: int, what: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The same by importance weights, and the numbers of the weighted draws that they are."""
        found = self._weighed(what)
        by = np.exp(found.mixture.log_weights)
        rows = generator(seed, 1, Stream.ORDER).choice(len(by), num_samples, p=by / by.sum())
        return {n: x[rows] for n, x in found.draws.items()}, rows

    def _weighed(self, what: str) -> Ratios:
        if isinstance(self.ratios, str):
            got = f"{what} where there are no importance weights: {self.ratios}"
            raise ModelError(got, "a fit with a k-hat", "the guide's draws as they are: resample=False")
        return self.ratios

    def log_evidence(self, num_samples: int = 2000, *, seed: int | None = None) -> Evidence:
        """Importance-weighted estimate of log p(data), with its standard error.

        log mean of p(data, z) / q(z) over draws of the guide, every plate element averaged out by
        itself. It is never far below the bound; where k-hat is above 0.7 its error says too little.

        Raises
        ------
        ModelError
            where draws cannot be weighed: control flow depends on one, or the fit is a point.

        >>> import ppl, ppl.distributions as dist
        >>> def model():
        ...     z = ppl.sample("z", dist.Normal(0, 1))
        ...     ppl.sample("y", dist.Normal(z, 1), obs=1.0)
        >>> round(float(ppl.infer(model, progress=False).log_evidence().value), 2)
        -1.52
        """
        num_samples, seed = self._asked(num_samples, seed)
        if self.solution.sampled is not None:
            return Evidence(*self._weighed("fit.log_evidence()").log_evidence())
        found = log_evidence(self.problem, self.guide, self.solution, seed, num_samples)
        if found == EXACT:
            return Evidence(self.elbo, 0.0)
        if isinstance(found, str):
            got = f"fit.log_evidence() where draws cannot be weighed: {found}"
            raise ModelError(got, "a fit with a k-hat", "fit.elbo, which is a bound on it unless the fit is a point")
        return Evidence(*found)

    def log_predictive(
        self, *args: Any, num_samples: int = 1000, seed: int | None = None, keep: Sequence[str] = (), **kwargs: Any
    ) -> Predictive:
        """The log density of held-out data given those of the fit, with its standard error.

        `args` and `kwargs` are the model's, with the held-out data in place of the fitted ones. Each element is
        predicted by itself, `log E_q[p(y_n | globals)]`; `.value` is their sum, `.pointwise` has them apart, `.se`
        is the Monte Carlo standard error, and `.how` says in words how it was computed. It is in closed form, with
        an error of 0, where the posterior's families and the density of an element are conjugate: Student's t for
        a normal and its precision in one block, their mixtures where labels are latent, beta-Bernoulli, ...; else
        it is averaged over posterior draws.

        Elements of plates that hold observations are new: their latent sites are averaged out, given the globals.
        Of the plates named in `keep` they are the fitted ones.

        Raises
        ------
        ModelError
            if the arguments do not fit the model, nothing in them is observed, or the model has an argument with a
            name of these.

        >>> import ppl, ppl.distributions as dist
        >>> def model(y):
        ...     p = ppl.sample("p", dist.Beta(1.0, 1.0))
        ...     with ppl.plate("n", len(y)):
        ...         ppl.sample("y", dist.Bernoulli(p), obs=y)
        >>> fit = ppl.infer(model, np.array([1, 1, 0]), algorithm="cavi", progress=False)
        >>> found = fit.log_predictive(np.array([1, 0]))
        >>> round(float(np.exp(found.pointwise[0])), 4), found.se, found.how
        (0.6, 0.0, 'closed form, each element by itself')
        """
        from .heldout import held_out

        refuse_own_names(self.problem.model, ("num_samples", "seed", "keep"), "fit.log_predictive")
        check_call(self.problem.model, args, kwargs)
        num_samples, seed = self._asked(num_samples, seed)
        return held_out(self, args, kwargs, num_samples, seed, keep)

    def _sample(self, num_samples: int, seed: int) -> dict[str, np.ndarray]:
        d = self._full
        found = draws_at(d, self.params, self._noise(num_samples, seed), d.results, num_samples, seed)
        if self.solution.sampled is not None:  # chain after chain
            return found
        order = generator(seed, 0, Stream.ORDER).permutation(num_samples)  # antithetic partners apart
        return {n: x[order] for n, x in found.items()}

    def _noise(self, num_samples: int, seed: int) -> dict[str, np.ndarray]:
        """Noise of the guide for so many draws; that of draws which stand in its place."""
        sampled = self.solution.sampled
        if sampled is not None:
            rows = sampled.chosen(generator(seed, 2, Stream.ORDER), num_samples)
            return {n: x[rows] for n, x in sampled.own.items()}
        factors = self._full.factors
        return {n: e[0] for n, e in draw(generator(seed, 0, Stream.DRAWS), factors, 1, num_samples).items()}

    def _sample_eagerly(self, num_samples: int, seed: int) -> dict[str, np.ndarray]:
        d = self._full
        objective = EagerObjective(
            self.problem, self.guide, self.params, plate_sizes={p.name: p.size for p in d.plates.values()}
        )
        rows = {n: np.arange(d.plates[n].size) for n in d.index_inputs}
        eps = self._noise(num_samples, seed)
        order = generator(seed, 0, Stream.ORDER).permutation(num_samples)
        return {n: x[order] for n, x in objective.sample(self.params, rows, eps, num_samples).items()}

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        sampled = self.solution.sampled
        return self.sample(SUMMARY_DRAWS if sampled is None else sampled.count)

    @cached_property
    def _marginals(self) -> dict[str, Marginal]:
        return {}

    def __getitem__(self, site: str) -> Marginal:
        """The marginal of a latent site or a deterministic."""
        d = self.solution.derivation
        known = self._draws if self.executor == "eager" else d.results
        if site not in known:
            hint = self._instead(site, known)
            raise ModelError(f"fit['{site}']", f"a latent site or deterministic: {self.sites}", hint, site=site)
        if site not in self._marginals:
            self._marginals[site] = self._marginal(site)
        return self._marginals[site]

    def _instead(self, site: str, known: Collection[str]) -> str:
        """What to ask for in place of a site that has no marginal."""
        node = self.graph.nodes.get(site)
        whole = next((n for n in known if part_name(n) == site), None)
        if whole is not None:
            return f"fit['{whole}'], the completed observation: of a subsampled plate any entry may be missing"
        if node is None:
            close = get_close_matches(str(site), [*known], 1)
            return f"fit['{close[0]}']" if close else "fit.sites for their names"
        if node.kind == "observed":
            return f"fit.predict()['{site}'] for new draws: it is observed"
        if node.kind == "parameter":
            return f"fit.params['{site}']: it is a parameter"
        return "a site that every branch of the model has"

    @cached_property
    def _guides(self) -> dict[str, tuple | None]:
        """For each factor the concrete parameters of its guide; None where they depend on other draws."""
        return self._guides_of(self._full)

    @cached_property
    def _shared_guides(self) -> dict[str, tuple | None]:
        """The same with the plates as a step had them: right for what is outside subsampled plates."""
        return self._guides_of(self.solution.derivation, in_use=True)

    def _guides_of(self, d: Derivation, in_use: bool = False) -> dict[str, tuple | None]:
        fixed = self._fixed(d)
        rows = rows_of(d, in_use)
        noise = {f.name: d.examples[f.noise_input] for f in d.factors}
        program = prune(d.program, tuple(x for xs in fixed.values() for x in xs))
        arrays = iter(compile_program(program)(*d.inputs(self.params, rows, noise)))
        found = {name: tuple(next(arrays) for _ in xs) for name, xs in fixed.items()}
        return {name: found.get(name) for name in d.guides}

    def _fixed(self, d: Derivation) -> dict[str, list]:
        """The parameters of guides that depend on no draw, as references."""
        seen = flow(d.program, {f.name: 1 << i for i, f in enumerate(d.factors)})
        refs = {name: [d.program.outputs[i] for i in outputs] for name, (outputs, _) in d.guides.items()}
        return {name: xs for name, xs in refs.items() if not any(seen.of(x)[0] for x in xs)}

    def _by_rows(self, site: str, factor: FactorFacts) -> Marginal | None:
        """The marginal of a large plate's elements, a minibatch at a time; None where it depends on other draws."""
        d, (plate,) = self.solution.derivation, [p for p in factor.plates if p.subsampled]
        if factor.name not in (fixed := self._fixed(d)):
            return None
        run = compile_program(prune(d.program, tuple(fixed[factor.name])))
        noise = {f.name: d.examples[f.noise_input] for f in d.factors}
        parts = []
        for start in range(0, plate.size, plate.subsample_size):
            rows = np.arange(start, start + plate.subsample_size) % plate.size
            q = d.guides[factor.name][1](tuple(run(*d.inputs(self.params, {plate.name: rows}, noise))))
            parts.append(from_distribution(site, q, lambda: self._draws[site]))
        at = len(self.problem.sites[site].fn.batch_shape) + plate.dim
        return joined(site, parts, at, plate.size)

    def guide_of(self, site: str) -> Any:
        """q of a site of its own, at the parameters found; None where it depends on other draws."""
        factor = self._factors.get(site)
        if factor is None or self._guides[factor.name] is None or len(factor.sites) != 1:
            return None
        return self._full.guides[factor.name][1](self._guides[factor.name])

    @cached_property
    def _factors(self) -> dict[str, FactorFacts]:
        """The factor that decides each site."""
        return {s: f for f in self.solution.derivation.factors for s in f.sites}

    def _concrete(self, factor: FactorFacts) -> tuple | None:
        """The concrete parameters of a factor's guide, for all elements; None where they depend on other draws."""
        if self.executor == "eager":
            return None
        shared = not any(p.subsampled for p in factor.plates)
        return (self._shared_guides if shared else self._guides)[factor.name]

    @property
    def _on_demand(self) -> bool:
        """Are rows of parameters computed when they are asked for?"""
        return any(isinstance(x, RowTable) for x in self.params.values())

    def _draws_of(self, site: str) -> np.ndarray:
        """Draws of one site; one outside subsampled plates needs none of their elements."""
        d = self.solution.derivation
        own = self._factors.get(site)
        local = own is None or any(p.subsampled for p in own.plates)
        if local or self.executor == "eager" or not any(p.subsampled for p in d.plates.values()):
            return self._draws[site]
        shared = [f for f in d.factors if not any(p.subsampled for p in f.plates)]
        rng = generator(self.seed, 0, Stream.DRAWS)
        eps = {f.name: np.broadcast_to(x := d.examples[f.noise_input], (SUMMARY_DRAWS, *x.shape)) for f in d.factors}
        eps |= {n: e[0] for n, e in draw(rng, shared, 1, SUMMARY_DRAWS).items()}
        return draws_at(d, self.params, eps, [site], SUMMARY_DRAWS, self.seed, in_use=True)[site]

    def _marginal(self, site: str) -> Marginal:
        states = self.solution.derivation.states if self.executor != "eager" else None
        states = self._full.states if states is not None else None
        finite = next((s for s in states.sites if s.name == site), None) if states is not None else None
        if finite is not None:
            return self._of_states(finite)
        if self.verdict.corrected:
            found = self._weighed(f"fit['{site}']")
            if site in self._summed_by(found):
                return self._by_weights(found, self._summed_by(found)[site])
            return from_weighted(site, found.draws[site], np.exp(found.mixture.log_weights))
        if self.solution.sampled is not None:
            return from_draws(site, self._draws[site])
        factor = self._factors.get(site)
        local = factor is not None and any(p.subsampled for p in factor.plates)
        if local and self._on_demand and (found := self._by_rows(site, factor)) is not None:
            return found
        values = None if factor is None else self._concrete(factor)
        if values is None:
            return from_draws(site, self._draws_of(site))
        if factor.name == Joint.NAME:
            return self._from_joint(site, self._full, factor)
        _, rebuild = (self._full if local else self.solution.derivation).guides[factor.name]
        q = rebuild(values)
        if isinstance(q, StateChain | NormalChain):
            part = self.guide.chain(site).part(site)
            return from_chain(site, q, part, self._full.shape_of(site), lambda: self._draws_of(site))
        if q.shape() != self._shape(site):  # its axes stand in another order
            return from_draws(site, self._draws_of(site))
        return from_distribution(site, q, lambda: self._draws_of(site))

    def _shape(self, site: str) -> tuple[int, ...]:
        """The shape of a site with every plate at its full size."""
        s = self.problem.sites[site]
        shape = list(s.fn.shape())
        for p in s.plates:
            shape[len(shape) - s.fn.event_dim + p.dim] = p.size
        return tuple(shape)

    def _of_states(self, finite: Finite) -> Marginal:
        """The marginal of a site that was summed out: its exact conditional, averaged over the guide's draws."""
        if self.verdict.corrected:
            return self._by_weights(self._weighed(f"fit['{finite.name}']"), finite)
        d = self._full
        count = int(np.clip(STATES_WORK // max(d.states.work, 1), 50, 1000)) if d.factors else 1
        weights = np.full(count, 1.0 / count)
        noise = self._noise(count, self.seed)
        return from_states(finite, probabilities(d, self.params, noise, finite.name, weights), not d.factors)

    @staticmethod
    def _summed_by(found: Ratios) -> dict[str, Finite]:
        """The sites that are summed out of the weights."""
        states = found.derivation.states
        return {} if states is None else {s.name: s for s in states.sites}

    @staticmethod
    def _by_weights(found: Ratios, finite: Finite) -> Marginal:
        """A finite site's exact conditional, averaged over weighted draws."""
        weights = np.exp(found.mixture.log_weights)
        return from_states(finite, probabilities(found.derivation, found.values, found.noise, finite.name, weights))

    def _from_joint(self, site: str, d: Derivation, factor: FactorFacts) -> Marginal:
        _, rebuild = d.guides[factor.name]
        joint = rebuild(self._guides[factor.name])
        start = 0
        for name in factor.sites:
            shape = self.problem.shapes[name]
            stop = start + int(np.prod(shape, dtype=np.int64))
            if name == site:
                break
            start = stop
        transform = d.transforms[site]
        if transform.domain.event_dim or any(map(is_recorded, transform.tree_flatten()[0])):  # onto a moving support
            return from_draws(site, self._draws[site])
        loc, sd = (np.reshape(x[start:stop], shape) for x in (joint.mean, np.sqrt(joint.variance)))
        return from_gaussian(site, loc, sd, None if transform.is_identity else transform)

    def summary(self) -> Summary:
        """The table of all latent sites and deterministics, but those of more than 100,000 numbers."""
        return summarize({n: self[n] for n in self.sites if self._size(n) <= LARGEST_TABLE})

    def _size(self, name: str) -> int:
        """How many numbers a site or a deterministic has with every plate at its full size."""
        if self.executor == "eager":
            return int(np.prod(np.shape(self._draws[name])[1:]))
        d, site = self.solution.derivation, self.problem.sites.get(name)
        return int(np.prod(d.shape_of(name)) * np.prod([p.scale for p in site.plates] if site else [1.0]))

    @property
    def sites(self) -> list[str]:
        """Latent sites and deterministics with results; those of some branches only have none."""
        d = self.solution.derivation
        known = self._draws if self.executor == "eager" else d.results
        whole = {n for n in known if part_name(n) in known and self._is_part(part_name(n))}  # shown by what they lack
        return [n for n in self.graph.nodes if n in known and n not in whole]

    def _is_part(self, name: str) -> bool:
        return name in self.problem.sites and "part_of" in self.problem.sites[name].options

    # -- predictions -----------------------------------------------------------------------------
    def predict(
        self,
        *args: Any,
        num_samples: int = 1000,
        seed: int | None = None,
        new: Sequence[str] = (),
        resample: bool | None = None,
        **kwargs: Any,
    ) -> Draws:
        """Posterior predictive draws of the observed sites, and of what depends on them.

        Without arguments the training arguments are used. Observed sites are drawn anew even
        where `obs=` is passed. A plate of the same size keeps its fitted local posteriors; one of
        another size, or named in `new`, draws its latent sites from the prior given the others.

        The posterior draws behind them are the guide's, or with `resample=True` drawn by their
        importance weights; None is what the verdict says: by weights where it corrects the summaries
        by them. `.resampled` of the result says which it was, `.notes` what else was done.

        Raises
        ------
        ModelError
            if the arguments do not fit the model, the model has an argument with a name of these,
            `new` names no plate, or `resample=True` where there are no importance weights.
        ShapeError
            if an argument asks for elements that no fitted plate has.

        >>> import ppl, ppl.distributions as dist
        >>> def model(x, y=None):
        ...     b = ppl.sample("b", dist.Normal(0, 10))
        ...     with ppl.plate("rows", len(x)):
        ...         ppl.sample("y", dist.Normal(b * x, 1), obs=y)
        >>> fit = ppl.infer(model, np.arange(4.0), y=2 * np.arange(4.0), progress=False)
        >>> drawn = fit.predict(np.array([10.0, 20.0]), num_samples=500)
        >>> drawn["y"].shape, drawn.resampled
        ((500, 2), False)
        """
        refuse_own_names(self.problem.model, ("num_samples", "seed", "new", "resample"), "fit.predict")
        if not args and not kwargs:
            args, kwargs = self.problem.args, dict(self.problem.kwargs)
        check_call(self.problem.model, args, kwargs)
        num_samples, seed = self._asked(num_samples, seed)
        resample = self.verdict.corrected if resample is None else resample
        amortized = self._on(args, kwargs, seed)
        if amortized is not None:
            draws = {**amortized._everything(num_samples, seed)}
            return amortized._predict(draws, args, kwargs, num_samples, seed, (), False)
        draws = self._some(num_samples, seed, resample, "fit.predict(resample=True)")
        return self._predict(draws, args, kwargs, num_samples, seed, new, resample)

    def posterior(self, *args: Any, seed: int | None = None, **kwargs: Any) -> Fit:
        """The posterior on other data, of any size, by the networks of an amortised guide: no step is taken.

        Arguments are the model's. What comes back is a Fit of these data: its marginals, draws, bound and verdict;
        parameters, and the guide of what is outside plates, are those of this fit.

        Raises
        ------
        GuideError
            where the guide has parameters for each row of the data: only networks know others.

        >>> import ppl, ppl.distributions as dist
        >>> def model(y):
        ...     a, b = ppl.param("a", 0.0), ppl.param("b", 0.5)
        ...     with ppl.plate("rows", len(y)):
        ...         z = ppl.sample("z", dist.Normal(0, 1), guide=dist.Normal(a + b * y, 0.7))
        ...         ppl.sample("y", dist.Normal(z, 1), obs=y)
        >>> fit = ppl.infer(model, np.linspace(-2, 2, 9), progress=False)
        >>> fit.posterior(np.array([1.0, 3.0]))["z"].mean.round(1)
        array([0.5, 1.5])
        """
        refuse_own_names(self.problem.model, ("seed",), "fit.posterior")
        check_call(self.problem.model, args, kwargs)
        _, seed = self._asked(1, seed)
        from .amortized import applied

        return applied(self, args, kwargs, seed)

    def log_likelihood(self, *args: Any, samples: int = 100, seed: int | None = None, **kwargs: Any) -> LogLikelihood:
        """Estimates of log p(x) of every datum by importance weights, where all latents stand in the plate of the data.

        log of the mean of `samples` weights p(x, z) / q(z | x): in expectation it rises with `samples` to log p(x)
        (Burda, Grosse and Salakhutdinov 2016). Without arguments the data of the fit are used, with them others,
        which an amortised guide takes. The result has `.value` of all data, its standard error `.se`, and `.each`.

        Raises
        ------
        ModelError
            where a latent or an observation stands outside the plate.
        GuideError
            for other data, where the guide has parameters for each row.

        >>> import ppl, ppl.distributions as dist
        >>> def model(y):
        ...     with ppl.plate("rows", len(y)):
        ...         z = ppl.sample("z", dist.Normal(0, 1))
        ...         ppl.sample("y", dist.Normal(z, 1), obs=y)
        >>> fit = ppl.infer(model, np.array([0.0, 1.0, 2.0]), progress=False)
        >>> exact = dist.Normal(0, 2**0.5).log_prob(np.array([0.0, 1.0, 2.0]))
        >>> bool(np.allclose(fit.log_likelihood().each, exact, atol=0.02))
        True
        """
        from .information import log_likelihood

        refuse_own_names(self.problem.model, ("samples", "seed"), "fit.log_likelihood")
        samples, seed = self._asked(samples, seed)
        return log_likelihood(self._of(args, kwargs, seed), samples, seed)

    def information(self, *args: Any, draws: int = 16, seed: int | None = None, **kwargs: Any) -> Information:
        """Rate, distortion, mutual information I(z; x) between bounds, and active units, in nats per datum.

        Of the data of the fit, or with arguments of other data, which an amortised guide takes. See `Information`.

        Raises
        ------
        ModelError
            where a latent stands outside the plate of the data, or its guide depends on another draw.

        >>> import ppl, ppl.distributions as dist
        >>> def model(y):
        ...     with ppl.plate("rows", len(y)):
        ...         z = ppl.sample("z", dist.Normal(0, 1))
        ...         ppl.sample("y", dist.Normal(z, 1), obs=y)
        >>> y = 2**0.5 * np.random.default_rng(0).normal(size=500)
        >>> found = ppl.infer(model, y, progress=False).information()
        >>> bool(abs(found.at_least.value - 0.5 * np.log(2)) < 0.1), found.active
        (True, 1)
        """
        from .information import information

        refuse_own_names(self.problem.model, ("draws", "seed"), "fit.information")
        draws, seed = self._asked(draws, seed)
        return information(self._of(args, kwargs, seed), draws, seed)

    def _of(self, args: tuple, kwargs: dict, seed: int) -> Fit:
        """The fit on other data, where there are any."""
        from .amortized import applied

        if not args and not kwargs:
            return self
        check_call(self.problem.model, args, kwargs)
        return applied(self, args, kwargs, seed, judged=False)

    def amortization_gap(self, *args: Any, steps: int = 1000, seed: int | None = None, **kwargs: Any) -> Gap:
        """How much bound the networks of an amortised guide lose to guides of each datum's own.

        Every latent of a plate gets a Normal of its own on the unconstrained axis, which begins with the moments
        of the network's answer and is optimised for so many steps at most; the model's parameters stay. Without
        arguments the data of the fit are used. `.gap` is the difference of the bounds, with its standard error
        `.se`; `.fit` is the optimised fit. Where the network's family is richer than a Normal the gap may be negative.

        Cremer, Li and Duvenaud 2018, "Inference suboptimality in variational autoencoders", section 3.

        Raises
        ------
        GuideError
            where the guide has parameters for each row, or the model latents outside plates.
        """
        refuse_own_names(self.problem.model, ("seed", "steps"), "fit.amortization_gap")
        if not args and not kwargs:
            args, kwargs = self.problem.args, dict(self.problem.kwargs)
        check_call(self.problem.model, args, kwargs)
        _, seed = self._asked(1, seed)
        from .amortized import gap

        return gap(self, args, kwargs, count_of("steps", steps), seed)

    def _on(self, args: tuple, kwargs: dict, seed: int) -> Fit | None:
        """This fit on other data, where its guide has networks and takes them; None elsewhere."""
        same = args is self.problem.args or not self._amortized
        if same or self.executor == "eager":
            return None
        from .amortized import applied

        try:
            return applied(self, args, kwargs, seed, judged=False)
        except (PPLError, TypeError, AttributeError):  # observations that are None, say: the prior then
            return None

    @property
    def _amortized(self) -> bool:
        """May the guide be that of other data, too?"""
        inline = any(s.guide is not None for s in self.problem.sites.values())
        return self.guide == "amortized" or inline or callable(self.guide)

    def _predict(
        self,
        draws: dict[str, np.ndarray],
        args: tuple,
        kwargs: dict,
        num_samples: int,
        seed: int,
        new: Sequence[str],
        resampled: bool,
    ) -> Draws:
        draws = {n: x for n, x in draws.items() if n in self.solution.derivation.latent}
        new = (new,) if isinstance(new, str) else new
        check_names("new", new, self.solution.derivation.plates)
        sizes = {p.name: p.size for p in self.solution.derivation.plates.values()}
        hidden = {n.name for n in self.graph.of_kind("latent")}
        found = posterior_predictive(
            self.problem.model, args, kwargs, draws, self.params, sizes, new, num_samples, seed + 1, hidden
        )
        return Draws(found, notes=found.notes, resampled=resampled)

    # -- going on, and keeping -----------------------------------------------------------------------
    def resume(self, steps: int | None = None, *, callback: Callable | None = None, progress: bool = True) -> Fit:
        """Go on for more steps: the fit that one unbroken run of all these steps would have given, to the bit.

        `steps` is how many more; by default what the algorithm has left, or as many again as were
        taken where nothing is left. A run that had converged goes on in its last stage, and says so.
        The callback of the steps so far is not asked again; `callback` may be another one.

        Raises
        ------
        ModelError
            where there are no steps to go on from, or a file does not hold the algorithm.

        >>> import ppl, ppl.distributions as dist
        >>> def model():
        ...     z = ppl.sample("z", dist.Normal(0, 1))
        ...     ppl.sample("y", dist.Normal(z, 1), obs=1.0)
        >>> fit = ppl.infer(model, algorithm=ppl.BBVI(steps=70), progress=False)
        >>> len(fit.resume(steps=30, progress=False).history)
        100
        """
        from .files import go_on, steps_of

        run, algorithm = self.solution.run, self.algorithm
        if algorithm is None:
            raise ModelError(
                "fit.resume() where the algorithm is gone: files hold no optimizer that is not of ppl.optim",
                "the algorithm",
                "ppl.infer(..., algorithm=ppl.BBVI(optimizer=..., checkpoint=path)) with the path of the file",
            )
        chains = self.solution.sampled is not None and bool(self.solution.sampled.state)
        if run is None and not chains:
            raise ModelError(
                "fit.resume() where there are no steps to go on from",
                "a fit by steps, as of ppl.BBVI(), or by draws, as of ppl.NUTS()",
                "ppl.infer(...)",
            )
        done = self.solution.steps
        if steps is None:
            most = steps_of(algorithm, self.problem)
            steps = most - done if done < most and not (run and run.converged) else done
        algorithm = replace(algorithm, steps=done + count_of("steps", steps), callback=callback)
        if getattr(algorithm, "epochs", None) is not None:
            algorithm = replace(algorithm, epochs=None)
        return go_on(self.problem, self.guide, self.solution, algorithm, self.seed, Bar if progress else None)

    def save(self, path: str | PathLike) -> None:
        """Write the fit to one file of arrays and text (NumPy's npz); `ppl.load(path, model)` reads it.

        The file holds no code: model, guide function and callback are not in it, nor are arguments
        that live elsewhere (memory maps, HDF5 or Zarr data sets): `ppl.load` is given these again.

        >>> import ppl, ppl.distributions as dist, tempfile
        >>> def model(y):
        ...     z = ppl.sample("z", dist.Normal(0, 1))
        ...     ppl.sample("y", dist.Normal(z, 1), obs=y)
        >>> fit = ppl.infer(model, 1.0, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fit.save(f"{folder}/fit.npz")
        ...     again = ppl.load(f"{folder}/fit.npz", model)
        >>> again.elbo == fit.elbo
        True
        """
        from .files import save

        save(self, path)

    def to_arviz(self, num_samples: int | None = None, *, seed: int | None = None) -> Any:
        """The fit as ArviZ's InferenceData, or DataTree where ArviZ is newer (extra `arviz`).

        | group | holds |
        |---|---|
        | posterior | draws of latent sites and deterministics, as one chain (1,000 unless told); resampled by their \
importance weights where the verdict corrects by these; of chains all draws, chain by chain |
        | posterior_predictive, log_likelihood | of the observed sites, at these draws; the latter pointwise |
        | observed_data, constant_data | what was observed, NaN where it is missing, and the other arrays \
among the arguments |
        | sample_stats | the log importance weights of the draws, where they were resampled by them; of chains \
`diverging`, `lp`, `energy`, `n_steps`, `tree_depth`, `acceptance_rate` and `step_size` |

        Axes of plates have the plates' names. Attributes name the library, the verdict and the bound.
        Where entries of an observation are missing, its log likelihood is that of the others, along an
        axis `<site>_observed` whose labels are their numbers: what was not seen cannot be predicted well.

        Raises
        ------
        ModelError
            where ArviZ is not there.

        >>> import ppl, ppl.distributions as dist
        >>> def model(y):
        ...     mu = ppl.sample("mu", dist.Normal(0, 1))
        ...     with ppl.plate("rows", len(y)):
        ...         ppl.sample("y", dist.Normal(mu, 1), obs=y)
        >>> data = ppl.infer(model, np.ones(5), progress=False).to_arviz(100)  # doctest: +SKIP
        >>> data.log_likelihood["y"].dims  # doctest: +SKIP
        ('chain', 'draw', 'rows')
        """
        from .inference_data import to_arviz

        count, seed = self._asked(1 if num_samples is None else num_samples, seed)
        return to_arviz(self, None if num_samples is None else count, seed)

    # -- words and pictures --------------------------------------------------------------------------
    def explain(self) -> str:
        """The derived bound, term by term: estimator, reason, value; and the choices made.

        >>> import ppl, ppl.distributions as dist
        >>> def model():
        ...     z = ppl.sample("z", dist.Normal(0, 1))
        ...     ppl.sample("y", dist.Normal(z, 1), obs=1.0)
        >>> print(ppl.infer(model, progress=False).explain().partition("Term by term")[0].rstrip())
        The bound
          log p(data) >= ELBO = -KL(q(z) || p(z)) + E[log p(y | z)]
          q(z): Normal (automatic)
          guide: meanfield; algorithm: bbvi; executor: numpy
        """
        guide = (
            self.guide if isinstance(self.guide, str) else "the function given" if callable(self.guide) else "automatic"
        )
        return explain(
            self.problem,
            self.solution.derivation,
            self.solution.plan,
            self.bound,
            self.solution.notes,
            guide,
            getattr(self.algorithm, "name", "not in the file"),
            self.executor,
        )

    def plot(self, sites: Sequence[str] | None = None) -> Any:
        """A picture of the history and the marginals (extra `plot`); returns the matplotlib figure."""
        from .plot import plot

        return plot(self, sites)

    def report(self, path: str | PathLike) -> None:
        """Write one self-contained HTML page on the fit (extra `plot`): nothing is fetched from anywhere.

        Verdict, table, marginals beside the prior, predictive checks, the history, the derived bound with the
        choices made, and the graph.

        Raises
        ------
        ModelError
            without matplotlib.
        DataError
            where the file cannot be written.

        >>> import ppl, ppl.distributions as dist, tempfile, pathlib
        >>> def model(y):
        ...     z = ppl.sample("z", dist.Normal(0, 1))
        ...     ppl.sample("y", dist.Normal(z, 1), obs=y)
        >>> fit = ppl.infer(model, 1.0, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fit.report(f"{folder}/fit.html")
        ...     print(pathlib.Path(f"{folder}/fit.html").read_text()[:15])
        <!doctype html>
        """
        from .report import report

        report(self, path)

    def bound_in_words(self) -> str:
        """The bound and how many steps it took, in a sentence without its full stop."""
        elbo = f"ELBO {number(self.elbo)}" + (f" (s.e. {number(self.elbo_se)})" if self.elbo_se else " (exact)")
        elbo, count = "ELBO not finite" if self.bound.broken else elbo, f"{self.solution.steps} steps"
        sampled = self.solution.sampled
        if sampled is not None and sampled.weighted:
            count = f"{count[:-5]}paths"
        elif sampled is not None:
            elbo, count = (
                f"{elbo} of the Gaussian that the chains began from",
                f"{self.solution.steps} draws of each chain",
            )
        return f"{elbo}; {count}"

    def __str__(self) -> str:
        head = f"{self.verdict}\n{self.bound_in_words()}."
        d = self.solution.derivation
        learned = [
            n for n in self.params if self.graph.nodes.get(n) is not None and self.graph.nodes[n].kind == "parameter"
        ]
        inside: dict[str, list[int]] = {}  # of networks: how many numbers each weight has
        for n in self.params:
            if network := network_of(n, d.networks):
                inside.setdefault(network, []).append(self.params[n].size)
        alone = [n for n in learned if not network_of(n, d.networks)]
        parts = [head]
        if d.results:
            parts += ["", self.summary().text(most=10)]
            large = [f"fit['{n}'] has {size:,} numbers" for n in self.sites if (size := self._size(n)) > LARGEST_TABLE]
            parts += [f"(not shown: {', '.join(large)})"] * bool(large)
        if alone or inside:
            parts += [
                "",
                "Parameters",
                *(f"  {n} = {np.array2string(self.params[n], precision=4, threshold=10)}" for n in alone),
                *(f"  {n}: a network of {sum(x):,} weights in {len(x)} arrays" for n, x in inside.items()),
            ]
        return "\n".join(parts)

    __repr__ = __str__
