"""One fit against one reference, in reference standard deviations.

    error = (mean of the fit - reference mean) / reference sd,   ratio = sd of the fit / reference sd

*Good*: every |error| <= 0.15 and every ratio within 20 %. *Wrong*: some |error| > 0.5, or some ratio
beyond a factor 2. Between the two it is *right*.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ppl

from .models import Posterior


@dataclass(frozen=True)
class Comparison:
    """A fit in numbers: per scalar its error and sd ratio."""

    posterior: Posterior
    fit: ppl.Fit
    names: tuple[str, ...]
    errors: np.ndarray
    ratios: np.ndarray
    seconds: float

    @property
    def worst(self) -> float:
        return float(np.max(np.abs(self.errors)))

    @property
    def good(self) -> bool:
        return bool(self.worst <= 0.15 and np.all(np.abs(self.ratios - 1) <= 0.2))

    @property
    def wrong(self) -> bool:
        return bool(not self.worst <= 0.5 or np.any(self.ratios > 2) or not np.all(self.ratios >= 0.5))

    @property
    def grade(self) -> str:
        return "good" if self.good else "wrong" if self.wrong else "right"

    @property
    def at(self) -> str:
        """The scalar whose mean is worst."""
        return self.names[int(np.argmax(np.abs(self.errors)))]

    def __str__(self) -> str:
        low, high = int(np.argmin(self.ratios)), int(np.argmax(self.ratios))
        ratios = f"{self.ratios[low]:.2f} {self.names[low]} .. {self.ratios[high]:.2f} {self.names[high]}"
        verdict = f"{'converged' if self.fit.verdict.converged else 'not converged'}, {self.fit.verdict.word}"
        return (
            f"{self.posterior.name}: {self.grade}; worst mean {self.worst:.3f} {self.at}; sd ratios {ratios}; "
            f"ELBO {self.fit.elbo:.3f} ({self.fit.elbo_se:.3f}); {self.seconds:.2f} s; {verdict}"
        )


def compare(posterior: Posterior, options: Mapping[str, Any], *, seed: int = 0) -> Comparison:
    """Fit with these options of `ppl.infer` and compare every scalar of the reference."""
    arguments = posterior.arguments(posterior.data())
    begun = time.process_time()
    fit = ppl.infer(posterior.model, *arguments, seed=seed, progress=False, **options)
    seconds = time.process_time() - begun
    reference = posterior.reference()
    found = all_moments(fit, reference)
    errors = [(found[name][0] - mean) / sd for name, (mean, sd) in reference.items()]
    ratios = [found[name][1] / sd for name, (_, sd) in reference.items()]
    return Comparison(posterior, fit, tuple(reference), np.array(errors), np.array(ratios), seconds)


def all_moments(fit: ppl.Fit, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Mean and sd of scalars named as in the reference; axes of length one that plates added do not count."""
    marginals, out = {}, {}
    for name in names:
        site, index = split(name)
        if site not in marginals:
            marginal = fit[site]
            marginals[site] = tuple(np.ravel(x) if index else np.asarray(x) for x in (marginal.mean, marginal.sd))
        mean, sd = marginals[site]
        out[name] = float(mean[index]), float(sd[index])
    return out


def split(name: str) -> tuple[str, tuple[int, ...]]:
    """`beta[2]` -> ("beta", (1,)); `tau` -> ("tau", ())."""
    found = re.fullmatch(r"(\w+)\[(\d+)\]", name)
    return (found[1], (int(found[2]) - 1,)) if found else (name, ())


def factorised_sds(posterior: Posterior) -> dict[str, float]:
    """Sds of the best factorised Gaussian for a Gaussian with the covariance of the reference draws.

    The optimum of KL(q || p) over diagonal q has precisions diag(Cov^-1) (Bishop 2006, eq. 10.13), on
    the axis where the guide is Gaussian: sigma is therefore measured by its logarithm, and comes back
    as the sd of a log-normal with the posterior's mean.
    """
    reference = posterior.reference()
    draws = posterior.draws()
    columns = [_column(draws, name) for name in reference]
    logged = [name.startswith("sigma") for name in reference]
    table = np.column_stack([np.log(c) if log else c for c, log in zip(columns, logged, strict=True)])
    sds = 1 / np.sqrt(np.diag(np.linalg.inv(np.cov(table.T))))
    return {
        name: float(mean * np.sqrt(np.expm1(s * s)) if log else s)
        for (name, (mean, _)), s, log in zip(reference.items(), sds, logged, strict=True)
    }


def _column(draws: dict[str, np.ndarray], name: str) -> np.ndarray:
    site, index = split(name)
    return draws[name] if name in draws else draws[site][(slice(None), *index)]
