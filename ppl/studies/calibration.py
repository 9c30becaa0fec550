"""Are the fits of this model calibrated, over data that the model itself draws?

    z ~ p(z), y ~ p(y | z), q = fit(y):   p = Q(draw < z) is uniform if q is the posterior

Simulation-based calibration of variational fits: Yao, Vehtari, Simpson and Gelman (2018), "Yes, but did it
work? Evaluating variational inference", section 4. Asymmetry about 1/2 is bias, too many p near 0 and 1 a q
that is too narrow, too few one that is too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from ..errors import ModelError, PPLError
from ..fit import prior_predictive
from ..fit.plot import pyplot
from ..fit.predictive import observations
from ..infer import infer
from ..model import Handler, Site, handlers
from ..model.calls import check_call, check_names, count_of, refuse_own_names, seed_of

SURE = 0.01  # chance that a calibrated fit is called otherwise, over all scalars and tests
DRAWS = 1000  # of a fit
SHOWN = 30  # rows of the printed table
OWN = ("num_simulations", "guide", "algorithm", "sites", "resample", "seed", "progress")


class _Given(Handler):
    """Observed sites have the data of a simulation."""

    def __init__(self, data: Mapping[str, Any]):
        super().__init__()
        self.data = data

    def process(self, site: Site) -> Site:
        given = site.type == "sample" and site.is_observed and site.name in self.data
        return replace(site, value=self.data[site.name]) if given else site


@dataclass(frozen=True)
class Calibration:
    """What VSBC found; prints as a table, the worst scalars first.

    `p_values` has P(draw < true value) of every simulation, by scalar. With x = Phi^-1(p), which is standard
    normal for an exact guide, `shift` is the mean of x: by how many sds the fit lies too low. `width` is its
    sd: by what factor the fit's sd falls short.
    """

    p_values: Mapping[str, np.ndarray]
    words: Mapping[str, int]  # how many fits had which word
    failures: tuple[str, ...]

    @property
    def shift(self) -> dict[str, float]:
        return {n: float(np.mean(special.ndtri(p))) for n, p in self.p_values.items()}

    @property
    def width(self) -> dict[str, float]:
        return {n: float(np.sqrt(np.mean(special.ndtri(p) ** 2))) for n, p in self.p_values.items()}

    @property
    def tests(self) -> dict[str, dict[str, float]]:
        """The chance of figures as extreme, for a calibrated fit: of the shift, of the width, of the uniform shape."""
        from scipy import stats

        out = {}
        for name, p in self.p_values.items():
            x, n = special.ndtri(p), len(p)
            square = stats.chi2(n).cdf(np.sum(x * x))
            out[name] = {
                "shift": float(2.0 * special.ndtr(-abs(np.sum(x)) / n**0.5)),
                "width": float(2.0 * min(square, 1.0 - square)),
                "shape": float(stats.kstest(p, "uniform").pvalue),
            }
        return out

    @property
    def flagged(self) -> dict[str, str]:
        """What is wrong, by scalar: "shifted", "too narrow", "too wide" or "another shape"; empty where nothing is."""
        tests, width, out = self.tests, self.width, {}
        sure = SURE / max(3 * len(tests), 1)
        for name, found in tests.items():
            said = ["shifted"] if found["shift"] < sure else []
            said += [("too narrow" if width[name] > 1.0 else "too wide")] if found["width"] < sure else []
            said = said or (["another shape"] if found["shape"] < sure else [])
            if said:
                out[name] = ", ".join(said)
        return out

    @property
    def calibrated(self) -> bool:
        return not self.flagged

    def __str__(self) -> str:
        names, flagged, tests = sorted(self.p_values, key=self._worst), self.flagged, self.tests
        width = max([4, *map(len, names[:SHOWN])])
        count = len(next(iter(self.p_values.values()), []))
        words = ", ".join(f"{n} {w}" for w, n in self.words.items())
        lines = [f"Calibration over {count} simulated data sets (fits: {words})", ""]
        lines.append(f"{'':<{width}}{'shift':>9}{'width':>9}{'p':>10}")
        for name in names[:SHOWN]:
            least = min(tests[name].values())
            row = f"{name:<{width}}{self.shift[name]:>9.2f}{self.width[name]:>9.2f}{least:>10.2g}"
            lines.append(f"{row}  {flagged.get(name, '')}".rstrip())
        if len(names) > SHOWN:
            lines.append(f"({len(names) - SHOWN} more)")
        lines += ["", self._said()]
        lines += [f"{len(self.failures)} fits failed, the first with: {self.failures[0]}"] if self.failures else []
        return "\n".join(lines)

    __repr__ = __str__

    def _said(self) -> str:
        if self.calibrated:
            return f"Calibrated, as far as {len(next(iter(self.p_values.values()), []))} simulations can tell."
        worst = min(self.flagged, key=self._worst)
        share = f"{len(self.flagged)} of {len(self.p_values)} scalars"
        return f"Not calibrated: {share}, {worst} ({self.flagged[worst]}) first."

    def _worst(self, name: str) -> float:
        return min(self.tests[name].values())

    def to_pandas(self) -> Any:
        """The table as a pandas frame."""
        import pandas

        rows = {n: (self.shift[n], self.width[n], *t.values(), self.flagged.get(n, "")) for n, t in self.tests.items()}
        columns = ["shift", "width", "p shift", "p width", "p shape", "flagged"]
        return pandas.DataFrame.from_dict(rows, orient="index", columns=columns)

    def plot(self) -> Any:
        """Histograms of the p-values, the worst first, with the range that a calibrated fit has (extra `plot`)."""
        plt = pyplot()
        names = sorted(self.p_values, key=self._worst)[:12]
        columns = min(len(names), 4)
        rows = -(-len(names) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.9 * columns, 2.2 * rows), squeeze=False, sharex=True, layout="constrained"
        )
        for ax in axes.ravel()[len(names) :]:
            ax.axis("off")
        for ax, name in zip(axes.ravel(), names, strict=False):
            p = self.p_values[name]
            bins = int(np.clip(len(p) // 10, 5, 20))
            mean, sd = len(p) / bins, np.sqrt(len(p) / bins * (1 - 1 / bins))
            ax.axhspan(max(mean - 2 * sd, 0), mean + 2 * sd, color="0.9", zorder=0)
            ax.hist(p, bins=bins, range=(0, 1), color="C1" if name in self.flagged else "C0", alpha=0.8)
            ax.set_title(f"{name} {self.flagged.get(name, '')}", fontsize=9)
            ax.tick_params(labelsize=7)
        figure.supxlabel("P(draw < true value)", fontsize=9)
        return figure


def vsbc(
    model: Callable,
    *args: Any,
    num_simulations: int = 100,
    guide: Any = None,
    algorithm: Any = "auto",
    sites: Sequence[str] | None = None,
    resample: bool | None = None,
    seed: int = 0,
    progress: bool = True,
    **kwargs: Any,
) -> Calibration:
    """Fit data that the model draws from its prior, many times, and see where the true values lie in the fits.

    A wrong prior of the user's is not found by this: truth and fit share it.

    Parameters
    ----------
    model, *args, **kwargs
        as for `ppl.infer`; the observed values among the arguments only say which sites are observed.
    num_simulations
        how many data sets; 100 tell a width of 1.25 from 1, as errors go.
    guide, algorithm
        as for `ppl.infer`: what is calibrated.
    sites
        the latent sites to look at; by default all continuous ones.
    resample
        whether draws are weighted ones, or the guide's own; None: weighted where a fit's verdict corrects by
        weights, so that what is calibrated is what its table shows.
    seed, progress
        as for `ppl.infer`.

    Raises
    ------
    ModelError
        no observed or no continuous latent site, a flat prior or a subsampled plate; a guide that reads data
        which are no argument as they stand; every fit failing.

    >>> import ppl, ppl.distributions as dist
    >>> def model(y):
    ...     mu = ppl.sample("mu", dist.Normal(0, 1))
    ...     ppl.sample("y", dist.Normal(mu, 1), obs=y)
    >>> ppl.vsbc(model, 0.0, num_simulations=20, algorithm="laplace", progress=False).calibrated
    True
    """
    refuse_own_names(model, OWN, "ppl.vsbc")
    check_call(model, args, kwargs)
    count, seed = count_of("num_simulations", num_simulations), seed_of(seed)
    graph = _checked(model, args, kwargs)
    latent = [n.name for n in graph.of_kind("latent") if n.name not in graph.summed_out]
    observed = [n.name for n in graph.of_kind("observed")]
    check_names("sites", sites or (), latent)
    truth = prior_predictive(model, *args, num_samples=count, seed=seed, **kwargs)
    names = [n for n in sites or latent if truth[n].dtype.kind == "f"]
    if not names:
        raise ModelError(
            "a model without continuous latent sites", "sites with an order among many values", "fit.predict"
        )

    call = _with_data(model, args, kwargs, observed, guide)
    ranks, words, failures = {n: [] for n in names}, {}, []
    from tqdm import tqdm

    for m in tqdm(range(count), disable=not progress, leave=False, unit="fit", delay=1):
        simulated, own_args, own_kwargs = call({n: truth[n][m] for n in observed})
        options = {"guide": guide, "algorithm": algorithm, "seed": seed + m, "progress": False}
        try:
            fit = infer(simulated, *own_args, **options, **own_kwargs)
            draws = fit.sample(DRAWS, resample=fit.verdict.corrected if resample is None else resample)
        except PPLError as error:
            failures.append(error.got)
            continue
        words[fit.verdict.word] = words.get(fit.verdict.word, 0) + 1
        for n in names:
            below = np.sum(draws[n] < truth[n][m], axis=0) + 0.5 * np.sum(draws[n] == truth[n][m], axis=0)
            ranks[n].append((below + 0.5) / (DRAWS + 1.0))
    if not words:
        raise ModelError(
            f"{count} fits that all failed, the first with: {failures[0]}", "fits", "ppl.infer on the data"
        )
    found = {}
    for n, of_fits in ranks.items():
        table = np.stack(of_fits)
        for index in np.ndindex(table.shape[1:]):
            found[f"{n}[{','.join(map(str, index))}]" if index else n] = table[(slice(None), *index)]
    return Calibration(found, words, tuple(failures))


def _with_data(
    model: Callable, args: tuple, kwargs: Mapping[str, Any], observed: Sequence[str], guide: Any
) -> Callable[[Mapping[str, np.ndarray]], tuple[Callable, tuple, dict]]:
    """What to fit instead, given other data: the model with other arguments, where the data are arguments.

    Where they are not, as they stand, they are put in their places inside the model; a guide would not see them.
    """
    seen = observations(model, args, kwargs)
    of = {**dict(enumerate(args)), **kwargs}
    places = {
        n: [key for key, x in of.items() if isinstance(x, np.ndarray | float | int) and _equal(x, seen[n][0])]
        for n in observed
    }
    taken = [keys[0] for keys in places.values() if len(keys) == 1]
    if len(taken) == len(observed) == len(set(taken)):

        def replaced(data: Mapping[str, np.ndarray]) -> tuple[Callable, tuple, dict]:
            new = {**of, **{places[n][0]: x for n, x in data.items()}}
            return model, tuple(new[i] for i in range(len(args))), {n: new[n] for n in kwargs}

        return replaced
    with handlers.trace() as trace, handlers.seed(rng_seed=0):
        model(*args, **kwargs)
    if callable(guide) or any(s.guide is not None for s in trace.values()):
        raise ModelError(
            "calibration of a guide that may read the data, where these are no argument as they stand",
            "every observed value to be one argument of the model, and another than the others",
            "a model with y= and obs=y",
        )

    def simulated(data: Mapping[str, Any], /, *a: Any, **k: Any) -> None:
        with _Given(data):
            model(*a, **k)

    return lambda data: (simulated, (data, *args), dict(kwargs))


def _equal(x: Any, value: np.ndarray) -> bool:
    x = np.asarray(x)
    return x.shape == value.shape and np.array_equal(x, value, equal_nan=x.dtype.kind == "f" == value.dtype.kind)


def _checked(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """The model's graph, if data can be drawn from it."""
    from ..graph import graph

    found = graph(model, *args, **kwargs)
    flat = [n.name for n in found.of_kind("latent") if n.family == "ImproperUniform"]
    if flat or found.of_kind("factor"):
        what = f"the flat prior of '{flat[0]}'" if flat else "a factor"
        raise ModelError(f"calibration of a model with {what}", "a prior that can be drawn from", "a proper prior")
    if not found.of_kind("observed"):
        raise ModelError("calibration of a model without observed sites", "sites with obs=", "obs= at a site")
    subsampled = [q.name for q in found.plates.values() if q.subsampled]
    if subsampled:
        raise ModelError(
            "calibration of a model with a subsampled plate",
            "data sets that are small enough to be fitted many times",
            "subsample_size=None",
            plate=subsampled[0],
        )
    return found
