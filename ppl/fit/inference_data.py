"""A fit in the form that ArviZ reads: named arrays with named axes, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..elbo import Problem
from ..errors import ModelError
from ..model import Site
from ..version import __version__
from .files import arguments_by_name
from .predictive import at_draws, is_data

LARGEST = 100_000_000  # numbers in a group of draws for every datum; a larger one is left out


def to_arviz(fit: Any, num_samples: int, seed: int) -> Any:
    """The groups of a fit; see `Fit.to_arviz`."""
    try:
        import arviz
        import xarray
    except ImportError:
        raise ModelError("to_arviz() without arviz", "the extra 'arviz'", "pip install 'ppl[arviz]'") from None
    p, weights = fit.problem, {}
    if fit.verdict.corrected:
        draws, rows = fit._resample(num_samples, seed)
        weights["log_weight"] = fit.ratios.mixture.log_weights[rows]
    else:
        draws = fit._everything(num_samples, seed)
    latent = {n: draws[n] for n in fit.solution.derivation.latent if n in draws}
    sites, densities = at_draws(p.model, p.args, p.kwargs, latent, fit.params, num_samples)
    observed = {n: np.asarray(s.value) for n, s in sites.items() if is_data(s)}
    groups = {"posterior": {n: x for n, x in draws.items() if n in fit.graph.nodes}}
    if num_samples * sum(map(np.size, observed.values())) <= LARGEST:
        predicted = fit._predict(draws, p.args, dict(p.kwargs), num_samples, seed, ())
        groups["posterior_predictive"] = {n: x for n, x in predicted.items() if n in observed}
        groups["log_likelihood"] = densities
    groups |= {"sample_stats": weights, "observed_data": observed, "constant_data": _constants(p, observed)}
    attrs = {
        "inference_library": "ppl",
        "inference_library_version": __version__,
        "verdict": fit.verdict.word,
        "elbo": fit.elbo,
    }
    plates = {q.name: np.arange(q.size) for s in sites.values() for q in s.plates}
    found = {}
    for group, arrays in groups.items():
        chain = () if group in ("observed_data", "constant_data") else ("chain", "draw")
        variables = {}
        for name, x in arrays.items():
            shape = x.shape[1:] if chain else x.shape
            axes = _axes(name, shape, sites, whole=group != "log_likelihood") if group != "constant_data" else None
            variables[name] = (*chain, *(axes or _numbered(name, shape))), x[None] if chain else x
        used = {axis for axes, _ in variables.values() for axis in axes}
        labels = {"chain": [0], "draw": np.arange(num_samples), **plates}
        if variables:
            found[group] = xarray.Dataset(variables, {n: x for n, x in labels.items() if n in used}, attrs)
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**found, attrs=attrs)
    tree = xarray.DataTree.from_dict(found)
    tree.attrs.update(attrs)
    return tree


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
