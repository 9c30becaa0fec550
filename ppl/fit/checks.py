"""Does the model predict data like those observed? Statistics of replicates beside those of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError, nearest
from ..model.calls import check_call, count_of, refuse_own_names, seed_of
from .fit import Fit
from .plot import pyplot
from .predictive import observations, prior_predictive
from .summary import number

STATISTICS: Mapping[str, Callable] = {"mean": np.mean, "sd": np.std, "smallest": np.min, "largest": np.max}
EXTREME = 0.025  # a p-value as far from 0.5 as this is worth a word
OWN = ("statistics", "site", "num_samples", "seed")


@dataclass(frozen=True)
class PredictiveCheck:
    """Statistics T of the data and of replicates; prints as a table.

    `p_values[name]` is P(T(replicate) > T(data)), ties counted by half: near 0 or 1 the model hardly predicts
    what was seen.
    """

    kind: str  # "prior" or "posterior"
    site: str
    observed: Mapping[str, float]
    replicated: Mapping[str, np.ndarray]

    @property
    def p_values(self) -> dict[str, float]:
        return {n: _p_value(x, self.observed[n]) for n, x in self.replicated.items()}

    @property
    def missed(self) -> tuple[str, ...]:
        """The statistics that the model hardly predicts."""
        return tuple(n for n, p in self.p_values.items() if not EXTREME <= p <= 1.0 - EXTREME)

    def __str__(self) -> str:
        width = max(len("statistic"), *map(len, self.observed))
        head = f"{'statistic':<{width}}" + "".join(f"{c:>11}" for c in ("data", "mean", "5%", "95%", "p"))
        lines = [f"{self.kind.capitalize()} predictive check of '{self.site}'", "", head]
        for name, (mean, low, high, p) in self.rows().items():
            row = "".join(f"{number(x):>11}" for x in (self.observed[name], mean, low, high))
            lines.append(f"{name:<{width}}{row}{p:>11.3f}")
        said = f"The model hardly predicts: {', '.join(self.missed)}." if self.missed else "Nothing stands out."
        return "\n".join([*lines, "", said])

    __repr__ = __str__

    def rows(self) -> dict[str, tuple[float, float, float, float]]:
        """Mean, 5 % and 95 % quantile of the replicates, and the p-value, by statistic."""
        out = {}
        for name, x in self.replicated.items():
            low, high = np.quantile(x, [0.05, 0.95])
            out[name] = float(x.mean()), float(low), float(high), self.p_values[name]
        return out

    def to_pandas(self) -> Any:
        """The table as a pandas frame."""
        import pandas

        rows = {n: (self.observed[n], *row) for n, row in self.rows().items()}
        return pandas.DataFrame.from_dict(rows, orient="index", columns=["data", "mean", "5%", "95%", "p"])

    def plot(self) -> Any:
        """A histogram of the replicates for every statistic, and a line at the data (extra `plot`)."""
        plt = pyplot()
        count = len(self.observed)
        columns = min(count, 4)
        rows = -(-count // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.2 * columns, 2.4 * rows), squeeze=False, layout="constrained"
        )
        for ax in axes.ravel()[count:]:
            ax.axis("off")
        for ax, (name, x) in zip(axes.ravel(), self.replicated.items(), strict=False):
            low, high = np.quantile(x, [0.002, 0.998])
            seen = self.observed[name]
            if not high > low:
                low, high = low - 0.5, high + 0.5
            ax.hist(np.clip(x, low, high), bins=40, range=(low, high), color="C0", alpha=0.7)
            ax.axvline(seen, color="C1", lw=2)
            ax.set_title(f"{name}: p = {self.p_values[name]:.3f}", fontsize=10)
            ax.set_yticks([])
            ax.tick_params(labelsize=8)
        figure.suptitle(f"'{self.site}': {self.kind} replicates, and the data (line)", fontsize=10)
        return figure


def predictive_check(
    source: Fit | Callable,
    *args: Any,
    statistics: Callable | Sequence[Callable] | Mapping[str, Callable] | None = None,
    site: str | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> PredictiveCheck:
    """Compare statistics of the observed data with those of data that the model draws.

    Parameters
    ----------
    source
        a fit: replicates come from its posterior predictive. Or a model function with its arguments: from the
        prior predictive.
    statistics
        functions of one array of the site's shape to a number; by default mean, sd, smallest and largest.
    site
        the observed site; by default the only one.
    num_samples, seed
        how many replicates, and their seed.

    Raises
    ------
    ModelError
        no observed site, or several and none named; a statistic that is no number.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     rate = ppl.sample("rate", dist.Gamma(2, 1))
    ...     with ppl.plate("rows", len(y)):
    ...         ppl.sample("y", dist.Poisson(rate), obs=y)
    >>> fit = ppl.infer(model, np.array([0, 0, 0, 9, 0, 0, 11, 0]), progress=False)
    >>> ppl.predictive_check(fit, statistics={"zeros": lambda y: np.mean(y == 0)}).missed
    ('zeros',)
    """
    num_samples, seed = count_of("num_samples", num_samples), seed_of(seed)
    if isinstance(source, Fit):
        if args or kwargs:
            raise ModelError("a fit with a model's arguments", "the fit alone: it has them", "predictive_check(fit)")
        p = source.problem
        model, args, kwargs, kind = p.model, p.args, p.kwargs, "posterior"
    else:
        refuse_own_names(source, OWN, "ppl.predictive_check")
        check_call(source, args, kwargs)
        model, kind = source, "prior"
    seen = observations(model, args, kwargs)
    name = _site_of(seen, site)
    if kind == "posterior":
        draws = source.predict(num_samples=num_samples, seed=seed)[name]
    else:
        draws = prior_predictive(model, *args, num_samples=num_samples, seed=seed, **kwargs)[name]
    values, there = seen[name]
    found = _named(statistics)
    observed = {n: _number(n, f, values[there]) for n, f in found.items()}
    flat = draws[:, there]
    replicated = {n: np.array([_number(n, f, row) for row in flat]) for n, f in found.items()}
    return PredictiveCheck(kind, name, observed, replicated)


def _named(statistics: Any) -> dict[str, Callable]:
    if statistics is None:
        return dict(STATISTICS)
    if callable(statistics):
        statistics = [statistics]
    if isinstance(statistics, Sequence) and not isinstance(statistics, str):
        statistics = {getattr(f, "__name__", f"statistic {i + 1}"): f for i, f in enumerate(statistics)}
    if not isinstance(statistics, Mapping) or not statistics or not all(map(callable, statistics.values())):
        raise ModelError(f"statistics={statistics!r}", "functions of an array", 'statistics={"largest": np.max}')
    return dict(statistics)


def _site_of(seen: Mapping[str, Any], site: str | None) -> str:
    if site is None and len(seen) == 1:
        return next(iter(seen))
    if not seen:
        raise ModelError("a model without an observed site", "data to compare with", "obs= at a site")
    if site not in seen:
        close = nearest(str(site), sorted(seen)) or next(iter(seen))
        got = "several observed sites" if site is None else f"site={site!r}"
        raise ModelError(got, f"site= one of {sorted(seen)}", f"site='{close}'")
    return site


def _number(name: str, f: Callable, x: np.ndarray) -> float:
    found = np.asarray(f(x))
    if found.size != 1 or found.dtype.kind not in "biuf":
        raise ModelError(f"statistic '{name}' of shape {found.shape}", "one number", "lambda y: y.mean()")
    return float(found.reshape(()))


def _p_value(replicated: np.ndarray, observed: float) -> float:
    return float(np.mean(replicated > observed) + 0.5 * np.mean(replicated == observed))
