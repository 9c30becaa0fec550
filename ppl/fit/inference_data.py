"""A fit in the form that ArviZ reads: named arrays with named axes, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithms.noise import Stream, generator
from ..elbo import Problem
from ..errors import ModelError
from ..model import Site
from ..version import __version__
from .files import arguments_by_name
from .predictive import at_draws, is_data

DRAWS = 1000  # where nobody says how many
OTHER_NAMES = {"log_density": "lp"}  # that ArviZ has for what stands beside draws
LARGEST = 100_000_000  # numbers in a group of draws for every datum; a larger one is left out


def to_arviz(fit: Any, num_samples: int | None, seed: int) -> Any:
    """The groups of a fit; see `Fit.to_arviz`."""
    try:
        import arviz
        import xarray
    except ImportError:
        raise ModelError("to_arviz() without arviz", "the extra 'arviz'", "pip install 'ppl[arviz]'") from None
    p, weights, chains = fit.problem, {}, 1
    sampled = fit.solution.sampled
    if sampled is not None and not sampled.weighted:
        chains, num_samples = sampled.chains, num_samples or sampled.count
        chains = chains if num_samples == sampled.count else 1
    num_samples = num_samples or DRAWS
    if fit.verdict.corrected:
        draws, rows = fit._resample(num_samples, seed, "to_arviz()")
        weights["log_weight"] = fit.ratios.mixture.log_weights[rows]
    else:
        draws = fit._everything(num_samples, seed)
        if sampled is not None and not sampled.weighted:
            rows = sampled.chosen(generator(seed, 2, Stream.ORDER), num_samples)
            weights = {OTHER_NAMES.get(n, n): _of_kind(n, x[rows]) for n, x in sampled.stats.items()}
    latent = {n: draws[n] for n in fit.solution.derivation.latent if n in draws}
    needed = set(p.graph.nodes) - p.graph.summed_out
    sites, densities = at_draws(p.model, p.args, p.kwargs, latent, fit.params, num_samples, needed)
    observed = {n: _observed(s) for n, s in sites.items() if is_data(s)}
    there = {n: x for n in densities if (x := _there(sites[n])) is not None}
    densities = {n: x[:, there[n]] if n in there else x for n, x in densities.items()}
    groups = {"posterior": {n: x for n, x in draws.items() if n in fit.graph.nodes}}
    if num_samples * sum(map(np.size, observed.values())) <= LARGEST:
        predicted = fit._predict(draws, p.args, dict(p.kwargs), num_samples, seed, (), fit.verdict.corrected)
        groups["posterior_predictive"] = {n: x for n, x in predicted.items() if n in observed}
        groups["log_likelihood"] = {n: x for n, x in densities.items() if x.size}
    groups |= {"sample_stats": weights, "observed_data": observed, "constant_data": _constants(p, observed)}
    attrs = {
        "inference_library": "ppl",
        "inference_library_version": __version__,
        "verdict": fit.verdict.word,
        "elbo": fit.elbo,
    }
    labels = {q.name: np.arange(q.size) for s in sites.values() for q in s.plates}
    labels |= {"chain": np.arange(chains), "draw": np.arange(num_samples // chains)} | {
        _cells(n): np.flatnonzero(x) for n, x in there.items()
    }
    found = {}
    for group, arrays in groups.items():
        chain = () if group in ("observed_data", "constant_data") else ("chain", "draw")
        variables = {}
        for name, x in arrays.items():
            shape = x.shape[1:] if chain else x.shape
            if group == "log_likelihood" and name in there:
                axes = [_cells(name)]
            elif group == "constant_data":
                axes = _numbered(name, shape)
            else:
                axes = _axes(name, shape, sites, whole=group != "log_likelihood")
            variables[name] = (*chain, *axes), np.reshape(x, (chains, -1, *shape)) if chain else x
        used = {axis for axes, _ in variables.values() for axis in axes}
        if variables:
            found[group] = xarray.Dataset(variables, {n: x for n, x in labels.items() if n in used}, attrs)
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**found, attrs=attrs)
    tree = xarray.DataTree.from_dict(found)
    tree.attrs.update(attrs)
    return tree


def _of_kind(name: str, x: np.ndarray) -> np.ndarray:
    """Numbers beside draws, counts and truths as these."""
    kinds = {"diverging": bool, "n_steps": int, "tree_depth": int}
    return x.astype(kinds.get(name, x.dtype))


def _observed(site: Site) -> np.ndarray:
    """What was observed, NaN where it is missing."""
    gaps = site.options.get("gaps")
    return np.asarray(site.value if gaps is None else np.where(gaps.missing, np.nan, gaps.obs))


def _there(site: Site) -> np.ndarray | None:
    """Where a log density is that of an observation, of which nothing is missing; None where all are."""
    gaps = site.options.get("gaps")
    return None if gaps is None else ~np.any(gaps.missing, axis=tuple(range(-site.fn.event_dim, 0)))


def _cells(name: str) -> str:
    """The axis of the entries that are not missing; its labels are their numbers in the whole."""
    return f"{name}_observed"


def _constants(p: Problem, observed: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of numbers among the model's arguments that are not the data themselves."""
    arrays = {n: x for n, x in arguments_by_name(p).items() if isinstance(x, np.ndarray) and x.dtype.kind in "biuf"}
    return {n: np.asarray(x) for n, x in arrays.items() if n not in observed}


def _numbered(name: str, shape: tuple[int, ...]) -> list[str]:
    return [f"{name}_dim_{i}" for i in range(len(shape))]


def _axes(name: str, shape: tuple[int, ...], sites: Mapping[str, Site], whole: bool) -> list[str]:
    """The names of a site's axes: those of its plates, numbers elsewhere; a log density is not `whole`: no events."""
    axes, site = _numbered(name, shape), sites.get(f"{name}_decentered", sites.get(name))
    if site is not None:
        event = len(site.fn.event_shape) if whole and site.type == "sample" else 0
        for q in site.plates:
            at = len(shape) - event + q.dim
            if 0 <= at < len(shape) and shape[at] == q.size:
                axes[at] = q.name
    return axes
