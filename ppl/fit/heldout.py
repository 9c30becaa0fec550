"""The log density of data that were held out: in closed form where there is one, else by posterior draws.

    log p(y_n | data) = log E_q[ p(y_n | globals) ],   elements n by themselves, then added up

What an element has of its own (labels, factors) is new to the fit: it is summed out, or averaged out by importance
weights, given the globals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np
from scipy import special

from ..algorithms import DADVI, noise
from ..algorithms.closed_form import families_of, naturals
from ..array import batch, compile_program, prune
from ..conjugacy import NoClosedForm, log_predictive, recognize, record
from ..elbo import Derivation, derive, problem
from ..errors import ConjugacyError, ModelError, PPLError
from ..graph.recorder import as_argument
from ..guides import Families
from ..model import Site, handlers, param, parameter_rows
from ..model.calls import check_names
from .elements import Group, by_element, groups
from .nodes import placed
from .predictive import _Full, is_data
from .runs import CHUNK_WORK, independent

NODES = 128  # of what an element has of its own
LARGEST = 20_000_000  # numbers in a table of draws by elements
FEWEST = 50  # draws
GIVEN = "{} given"  # the input that a posterior draw of a site is


@dataclass(frozen=True)
class Predictive:
    """The log density of held-out data.

    `value` is the sum of `pointwise`, which has an entry for each element; `se` its Monte Carlo standard error, 0
    in closed form; `how` says which way it was computed.
    """

    value: float
    se: float
    pointwise: np.ndarray
    how: str


@dataclass(eq=False)
class HeldOut:
    """A fit and new arguments of its model. Elements of the plates `keep` are the fitted ones."""

    fit: Any
    args: tuple
    kwargs: Mapping[str, Any]
    keep: Sequence[str] = ()
    fresh: tuple[str, ...] = field(init=False)
    observed: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        d = self.fit.solution.derivation
        self.fitted = {p.name: p.size for p in d.plates.values()}
        check_names("keep", self.keep, self.fitted)
        sites = problem(self.given({}), self.args, self.kwargs).sites
        self.observed = tuple(n for n, s in sites.items() if is_data(s))
        if not self.observed:
            raise ModelError("held-out arguments without an observation", "obs= of some site", "y=y_new")
        new = {p.name for n in self.observed for p in sites[n].plates} - {*self.keep}
        new |= {p.name for s in sites.values() for p in s.plates if self.fitted.get(p.name) != p.size}
        latent = [s for s in sites.values() if s.type == "sample" and not s.is_observed]
        alone = [s for s in latent if s.name not in d.latent or any(p.name in new for p in s.plates)]
        self.fresh = tuple(s.name for s in alone)
        self.globals = tuple(s.name for s in latent if s.name not in self.fresh)
        self.continuous = tuple(s.name for s in alone if not s.fn.is_discrete)

    def given(self, values: Mapping[str, Any], inputs: bool = False) -> Callable:
        """The model at these values of its sites and at the fitted parameters, with full plates.

        As `inputs`, the values are parameters of a program.
        """
        model, params, fitted = self.fit.problem.model, self.fit.params, self.fitted

        @wraps(model)
        def at(*args: Any, **kwargs: Any) -> Any:
            found = {n: _as_input(n, x) if inputs else as_argument(x) for n, x in values.items()}

            def value_of(site: Site) -> Any:
                if site.type == "param" and site.name in params:
                    same = all(fitted.get(p.name) == p.size for p in site.plates)
                    return as_argument(parameter_rows(params[site.name], site, {})) if same else None
                return found.get(site.name)

            with handlers.substitute(substitute_fn=value_of), _Full():
                return model(*args, **kwargs)

        return at

    # -- closed form -----------------------------------------------------------------------------
    def closed(self) -> np.ndarray:
        """Log density of every element; raises `NoClosedForm`."""
        fit = self.fit
        families = fit.guide if isinstance(fit.guide, Families) else None
        if not self.globals and not self.fresh:
            raise NoClosedForm("nothing is latent")
        points = [n for n in self.globals if self._is_point(n)]
        if len(points) == len(self.globals) and not self.fresh:
            raise NoClosedForm("nothing is left to be averaged over")
        if families is None and len(points) < len(self.globals):
            raise NoClosedForm("the posterior is of no conjugate family")
        values = {n: fit._everything(1, 0)[n][0] for n in points}
        pairs = [] if families is None else [(f.site, f.given) for f in families.sites if f.given]
        try:
            recorded = record(self.given(values), self.args, self.kwargs)
            found = recognize(recorded, blocks=pairs, by_element=True)
        except ConjugacyError as error:
            raise NoClosedForm(error.got) from None
        needed = {o.block for p in found.products if p.site in (*self.fresh, *self.observed) for o in p.operands}
        eta = {}
        for n in needed - {*self.fresh}:
            b = found.blocks.get(n)
            if b is None or families_of(b) != tuple(map(families.find, b.sites)):
                raise NoClosedForm("some term has no closed-form expectation")
            eta.update({(n, s): x for s, x in naturals(b, fit.params).items()})
        if not {*self.fresh} <= set(found.blocks):
            raise NoClosedForm("what an element has of its own is of no conjugate family")
        return log_predictive(found, eta, self.fresh, self.observed)

    def _is_point(self, site: str) -> bool:
        guide = self.fit.guide
        return guide == "point" or (isinstance(guide, Families) and (f := guide.find(site)) and f.kind == "point")

    # -- posterior draws ---------------------------------------------------------------------------
    def by_draws(self, count: int, seed: int) -> np.ndarray:
        """Log density of every element at every draw: (draws, elements)."""
        fit = self.fit
        draws = fit._some(count, seed, fit.verdict.corrected, "fit.log_predictive()")
        draws = {n: x for n, x in draws.items() if n in self.globals}
        if all(map(self._is_point, self.globals)):
            count = 1
            draws = {n: x[:1] for n, x in draws.items()}
        first = {n: x[0] for n, x in draws.items()}
        p = problem(self.given(first, inputs=True), self.args, self.kwargs)
        values = {**{n: x for n, x in fit.params.items()}, **self._near(draws)}
        d = derive(p, "meanfield", pointwise=True, seed=seed)
        values = {n: values[n] if _fits(values.get(n), x.init) else np.asarray(x.init) for n, x in d.parameters.items()}
        return _Table(d, {n: draws[n] for n in first}, values, {*self.fresh, *self.observed}, seed).run(count)

    def _near(self, draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Parameters of normals of what elements have of their own, near its posterior at typical globals."""
        if not self.continuous:
            return {}
        typical = {n: _middle(x) for n, x in draws.items()}
        p = problem(self.given(typical), self.args, self.kwargs)
        try:
            return DADVI().run(p, "meanfield", seed=0).values
        except PPLError:
            return {}


def _as_input(name: str, value: Any) -> Any:
    x = param(GIVEN.format(name), np.asarray(value, dtype=float))
    return x.astype(int) if np.asarray(value).dtype.kind in "iub" else x


def _middle(x: np.ndarray) -> np.ndarray:
    """The draw that is nearest to the mean of all, in their standard deviations."""
    flat = x.reshape(len(x), -1).astype(float)
    far = np.sum((flat - flat.mean(0)) ** 2 / np.maximum(flat.var(0), 1e-300), axis=1)
    return x[np.argmin(far)]


def _fits(value: Any, init: Any) -> bool:
    return value is not None and np.shape(value) == np.shape(init)


@dataclass(eq=False)
class _Table:
    """Log densities of elements at draws of the globals, which are inputs of the program."""

    d: Derivation
    draws: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    mine: set[str]
    seed: int

    def __post_init__(self) -> None:
        d = self.d
        self.terms = [i for i, t in enumerate(d.terms) if {t.site, *t.summed} & self.mine]
        fixed = {**self.values, **{GIVEN.format(n): x[0] for n, x in self.draws.items()}}
        self.groups = groups(d, fixed, {}, self.seed) if d.factors else []
        local = {f.name for g in self.groups for f in g.factors}
        self.inner = sorted({i for g in self.groups for i in g.terms if i in self.terms})
        self.outer = [i for i in self.terms if i not in self.inner]
        self.together = [f for f in d.factors if f.name not in local]  # weighed as they are drawn
        self.local = {f.noise_input for f in d.factors if f.name in local}
        self.program = prune(d.program, tuple(d.program.outputs[d.terms[i].output] for i in (*self.outer, *self.inner)))
        self.made: dict[tuple[int, int], Any] = {}

    def _run(self, count: int, own: Mapping[str, Any], at_nodes: Mapping[str, Any], nodes: int) -> tuple:
        """The terms at draws and nodes: (count, nodes, ...), or (count, ...) where there are no nodes."""
        d = self.d
        if (count, nodes) not in self.made:
            moved = {d.parameter_inputs[GIVEN.format(n)] for n in self.draws} | {f.noise_input for f in self.together}
            inputs = range(len(self.program.inputs))
            inner = batch(self.program, [i in self.local for i in inputs], nodes) if self.local else self.program
            self.made[count, nodes] = compile_program(batch(inner, [i in moved for i in inputs], count))
        values = {**self.values, **{GIVEN.format(n): own[n] for n in self.draws}}
        drawn = {f.name: own[f.name] for f in self.together}
        with np.errstate(all="ignore"):
            return self.made[count, nodes](*d.inputs(values, {}, {**drawn, **at_nodes}))

    def _tables(self, count: int, own: Mapping, at_nodes: Mapping, nodes: int) -> dict[int, Any]:
        out = self._run(count, own, at_nodes, nodes)
        return dict(zip((*self.outer, *self.inner), out, strict=True))

    def run(self, count: int) -> np.ndarray:
        """Log densities (count, elements)."""
        rng = noise.generator(self.seed, 9, noise.Stream.WEIGHTS)
        own = {**self.draws, **independent(rng, self.together, count)}
        sets = placed(rng, self.d, self.groups, NODES, own, self._tables) if self.groups else [{}]
        nodes = NODES if self.groups else 1
        size = int(np.clip(CHUNK_WORK // max(self.program.work * nodes, 1), 1, count))
        parts = []
        for turn, start in enumerate(range(0, count, size)):
            some = {n: x[start : start + size] for n, x in own.items()}
            parts.append(self._elements(min(size, count - start), some, sets[turn % len(sets)], nodes))
        return np.concatenate(parts)

    def _elements(self, count: int, own: Mapping, points: Mapping, nodes: int) -> np.ndarray:
        found = self._tables(count, own, {n: x for p in points.values() for n, x in p.noise.items()}, nodes)
        tables: dict[str, Any] = {}
        for g in self.groups:
            x = by_element(self.d, _only(g, self.inner), found, count, nodes) + points[g.plate].log_ratios
            tables[g.plate] = special.logsumexp(x, axis=1) - np.log(nodes)
        apart = []
        for i in self.outer:
            t = self.d.terms[i]
            x = np.asarray(found[i])[:, 0] if self.groups else np.asarray(found[i])
            x = np.broadcast_to(x, (count, *x.shape[1:])) * t.scale
            home = next((p for p in t.plates if p.name in tables), None)
            if home is not None and x.ndim > -home.dim:
                at = x.ndim + home.dim
                tables[home.name] = tables[home.name] + x.sum(axis=tuple(j for j in range(1, x.ndim) if j != at))
            else:
                apart.append((t, x))
        whole = [*tables.values(), *_apart(apart)]
        whole = np.concatenate([x.reshape(count, -1) for x in whole], axis=1)
        return whole.sum(1, keepdims=True) if self.together else whole


def _only(g: Group, terms: Sequence[int]) -> Group:
    """A group with some of its terms."""
    kept = [(i, u) for i, u in zip(g.terms, g.units, strict=True) if i in terms]
    return Group(g.plate, g.size, g.factors, tuple(i for i, _ in kept), tuple(u for _, u in kept))


def _apart(found: Sequence[tuple[Any, np.ndarray]]) -> list[np.ndarray]:
    """Terms of the same elements added up: those of one shape, else those of plates that all have."""
    if len({x.shape for _, x in found}) <= 1:
        return [sum(x for _, x in found)] if found else []
    common = set.intersection(*({p.name for p in t.plates} for t, _ in found))
    if not common:
        return [x for _, x in found]
    out = 0.0
    for t, x in found:
        at = {x.ndim + p.dim for p in t.plates if p.name in common}
        out = out + x.sum(axis=tuple(i for i in range(1, x.ndim) if i not in at))
    return [out]


def held_out(
    fit: Any, args: tuple, kwargs: Mapping[str, Any], count: int, seed: int, keep: Sequence[str]
) -> Predictive:
    """The log density of held-out data, in closed form where there is one."""
    asked = HeldOut(fit, args, kwargs, (keep,) if isinstance(keep, str) else tuple(keep))
    try:
        pointwise = asked.closed()
        return Predictive(float(np.sum(pointwise)), 0.0, pointwise, "closed form, each element by itself")
    except NoClosedForm as reason:
        why = str(reason)
    table = asked.by_draws(count, seed)
    top = table.max(0)
    weights = np.exp(table - top)
    means = weights.mean(0)
    pointwise = top + np.log(means)
    influence = np.sum(weights / means, axis=1)
    se = float(influence.std(ddof=1) / len(table) ** 0.5) if len(table) > 1 else 0.0
    by = ", by importance weights" if fit.verdict.corrected else ""
    parts = [f"{len(table)} posterior draws{by}" if len(table) > 1 else "at the fitted values"]
    summed = [n for n in asked.fresh if n not in asked.continuous]
    if summed:
        parts.append(f"{', '.join(summed)} summed out")
    if asked.continuous:
        parts.append(f"{', '.join(asked.continuous)} averaged out by importance weights")
    if len(table) > 1:
        parts[-1] += f": no closed form, as {why}"
    return Predictive(float(pointwise.sum()), se, pointwise, "; ".join(parts))
