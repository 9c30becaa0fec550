"""The posteriors: each a model function, its arguments from the data file, and what is known of its shape.

Sites carry the names of the reference file, so that `beta[2]` there is `fit["beta"].mean[1]` here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from tests.data_folder import data_folder

FOLDER = "posteriordb"


@dataclass(frozen=True)
class Posterior:
    """A model, its data and its reference.

    `regression`: the posterior is Gaussian in (coefficients, log sd) up to terms of order 1/N, so
    that the optimum of either Gaussian family is known from the posterior's covariance.
    """

    name: str
    folder: str
    model: Callable
    arguments: Callable[[Mapping[str, Any]], tuple]
    regression: bool = False

    @property
    def path(self):
        return data_folder() / FOLDER / self.folder

    def data(self) -> dict[str, Any]:
        raw = json.loads((self.path / "data.json").read_text())
        return {k: np.array(v) if isinstance(v, list) else v for k, v in raw.items()}

    def reference(self) -> dict[str, tuple[float, float]]:
        """Mean and sd of every scalar."""
        found = json.loads((self.path / "reference.json").read_text())["parameters"]
        return {name: (x["mean"], x["sd"]) for name, x in found.items()}

    def draws(self) -> dict[str, np.ndarray]:
        with np.load(self.path / "draws.npz") as file:
            return {name: file[name] for name in file.files}


def flat(*shape: int) -> dist.Distribution:
    """The improper prior that is constant on all vectors."""
    return dist.ImproperUniform(constraints.real, (), shape)


def eight_schools_centred(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_noncentred(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(y)):
        z = ppl.sample("z", dist.Normal(0, 1))
        theta = ppl.deterministic("theta", mu + tau * z)
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def autoregression(y, order):
    alpha = ppl.sample("alpha", dist.Normal(0, 10))
    beta = ppl.sample("beta", dist.Normal(0, 10).expand((order,)).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfCauchy(2.5))
    lags = np.column_stack([y[order - k : len(y) - k] for k in range(1, order + 1)])
    with ppl.plate("time", len(lags)):
        ppl.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y[order:])


def child_scores(x, y):
    beta = ppl.sample("beta", flat(x.shape[1]))
    sigma = ppl.sample("sigma", dist.HalfCauchy(2.5))
    with ppl.plate("children", len(y)):
        ppl.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def party_identification(x, y):
    beta = ppl.sample("beta", flat(x.shape[1]))
    sigma = ppl.sample("sigma", dist.ImproperUniform(constraints.positive, (), ()))
    with ppl.plate("voters", len(y)):
        ppl.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def radon_noncentred(y, county, uranium, floor, counties):
    mu = ppl.sample("mu_alpha", dist.Normal(0, 10))
    spread = ppl.sample("sigma_alpha", dist.HalfNormal(1))
    noise = ppl.sample("sigma_y", dist.HalfNormal(1))
    beta = ppl.sample("beta", dist.Normal(0, 10).expand((2,)).to_event(1))
    with ppl.plate("counties", counties):
        z = ppl.sample("z", dist.Normal(0, 1))
        alpha = ppl.deterministic("alpha", mu + spread * z)
    with ppl.plate("houses", len(y)):
        ppl.sample("y", dist.Normal(alpha[county] + beta[0] * uranium + beta[1] * floor, noise), obs=y)


def wells(distance, switched):
    beta = ppl.sample("beta", flat(2))
    with ppl.plate("households", len(switched)):
        ppl.sample("switched", dist.Bernoulli(logits=beta[0] + beta[1] * distance), obs=switched)


def _columns(*columns) -> np.ndarray:
    """A design matrix with an intercept."""
    return np.column_stack([np.ones(len(columns[0])), *columns]).astype(float)


def _voters(d):
    ages = [d["age_discrete"] == k for k in (2, 3, 4)]
    return _columns(d["real_ideo"], d["race_adj"], *ages, d["educ1"], d["gender"], d["income"])


POSTERIORS = (
    Posterior(
        "eight schools, centred",
        "eight_schools-eight_schools_noncentered",
        eight_schools_centred,
        lambda d: (d["y"], d["sigma"]),
    ),
    Posterior(
        "eight schools, non-centred",
        "eight_schools-eight_schools_noncentered",
        eight_schools_noncentred,
        lambda d: (d["y"], d["sigma"]),
    ),
    Posterior("arK", "arK-arK", autoregression, lambda d: (d["y"], d["K"]), regression=True),
    Posterior(
        "kidscore_momhsiq",
        "kidiq-kidscore_momhsiq",
        child_scores,
        lambda d: (_columns(d["mom_hs"], d["mom_iq"]), d["kid_score"]),
        regression=True,
    ),
    Posterior("nes1972", "nes1972-nes", party_identification, lambda d: (_voters(d), d["partyid7"]), regression=True),
    Posterior(
        "radon_hierarchical_intercept",
        "radon_mn-radon_hierarchical_intercept_noncentered",
        radon_noncentred,
        lambda d: (d["log_radon"], d["county_idx"] - 1, d["log_uppm"], d["floor_measure"], d["J"]),
    ),
    Posterior("wells_dist", "wells_data-wells_dist", wells, lambda d: (d["dist"], d["switched"]), regression=True),
)
BY_NAME = {p.name: p for p in POSTERIORS}
